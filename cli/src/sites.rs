//! `invar sites`: the keys and sites of a file or of a process.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::{Contents, Segments};
use crate::listing::{self, Listing};
use crate::module::{Image, Module};
use crate::process::Process;
use crate::symbols::Symbols;
use crate::text::{self, Format, clean, count, lossy};
use serde::Serialize;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

/// What is listed. `docs/json.md` describes it.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    #[serde(flatten)]
    subject: Subject,
    modules: Vec<Listing<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Subject {
    File(String),
    Process(u32),
}

/// Lists the sites of the file of this name, else of the process of this number.
pub fn run(subject: &OsStr, format: Format, out: &mut dyn Write) -> Result<()> {
    let path = Path::new(subject);
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pid = subject.to_str().filter(is_number).map(str::parse);
    match pid {
        Some(pid) if path.symlink_metadata().is_err() => match pid {
            Ok(pid) => of_process(pid, format, out),
            Err(_) => Err(Error::file(path, "neither a file nor the number of a process")),
        },
        _ => of_file(path, &Contents::open(path)?, format, out),
    }
}

/// Lists the sites of the file of this name and content.
pub fn of_file(path: &Path, content: &dyn Image, format: Format, out: &mut dyn Write) -> Result<()> {
    let unusable = |why: &str| Error::file(path, why);
    let headers = Headers::read(content, 0).map_err(unusable)?;
    if let Some(why) = headers.never_loaded() {
        return Err(unusable(why));
    }
    let segments = Segments::new(content, &headers);
    let module = Module::read(&segments, 0, &headers).map_err(|why| unusable(&why))?;
    if module.is_none() && segments.is_cut_off() {
        return Err(unusable("the file is cut off before the end of its segments"));
    }
    let name = lossy(path.as_os_str().as_encoded_bytes());
    let listing = module.map(|module| {
        let mut listing = Listing::new(name.clone(), &headers, Ok(module));
        listing.symbols = Symbols::read(content, &headers);
        listing.remarks.extend(segments.is_cut_off().then_some("the file is cut off before the end of its segments"));
        listing
    });
    let nothing = if headers.program.is_empty() { " (no program headers: nothing that could be loaded)" } else { "" };
    Document::new(Subject::File(name), listing.into_iter().collect()).write(nothing, format, out)
}

/// Lists the sites of everything that a process has loaded.
pub fn of_process(pid: u32, format: Format, out: &mut dyn Write) -> Result<()> {
    let process = Process::open(pid)?;
    let loaded = process.loaded().collect::<Vec<_>>();
    let with_note = loaded.iter().filter_map(|loaded| {
        let module = Module::read(process.memory(), loaded.base, &loaded.headers).transpose()?;
        Some((loaded, process.file(loaded), module))
    });
    let with_note = with_note.collect::<Vec<_>>();
    let (files, modules): (Vec<_>, Vec<_>) =
        with_note.into_iter().map(|(loaded, file, module)| (file, (loaded, module))).unzip();
    let listings = modules.into_iter().zip(&files).map(|((loaded, module), file)| {
        let mut listing = Listing::new(loaded.path(), &loaded.headers, module);
        match file {
            Ok(file) => listing.symbols = Symbols::read(file, &loaded.headers),
            Err(why) => listing.remarks.push(why),
        }
        listing
    });
    let listings = listings.collect();
    let nothing = format!(" in {}", count(loaded.len() as u64, "loaded file"));
    Document::new(Subject::Process(pid), listings).write(&nothing, format, out)
}

impl<'a> Document<'a> {
    fn new(subject: Subject, modules: Vec<Listing<'a>>) -> Self {
        Self { schema: "invar.sites/1", version: env!("CARGO_PKG_VERSION"), subject, modules }
    }

    /// `nothing` goes behind "no sites".
    fn write(&self, nothing: &str, format: Format, out: &mut dyn Write) -> Result<()> {
        match format {
            Format::Json => text::json(out, self)?,
            Format::Text if self.modules.is_empty() => match &self.subject {
                Subject::File(name) => writeln!(out, "{}: no sites{nothing}", clean(name))?,
                Subject::Process(pid) => writeln!(out, "process {pid}: no sites{nothing}")?,
            },
            Format::Text => {
                for (index, module) in self.modules.iter().enumerate() {
                    if index > 0 {
                        writeln!(out)?;
                    }
                    listing::print(module, out)?;
                }
            }
        }
        Ok(())
    }
}
