//! `invar sites`: the keys and sites of a file or of a process.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::{CUT_OFF, Contents, Segments};
use crate::image::Image;
use crate::listing::{self, Listing};
use crate::module::Module;
use crate::process::Process;
use crate::symbols::Symbols;
use crate::text::{self, Format, clean, count, lossy};
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// What is listed. `docs/json.md` describes it.
#[derive(Serialize)]
struct SitesDocument<'a> {
    schema: &'static str,
    version: &'static str,
    #[serde(flatten)]
    subject: Listed,
    modules: Vec<Listing<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Listed {
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
    let headers = Headers::of_loadable(content).map_err(unusable)?;
    let segments = Segments::new(content, &headers);
    let module = Module::read(&segments, 0, &headers).map_err(|why| unusable(&why))?;
    if module.is_none() && segments.is_cut_off() {
        return Err(unusable(CUT_OFF));
    }
    let name = lossy(path.as_os_str().as_encoded_bytes());
    let listing = module.map(|module| {
        let mut listing = Listing::new(name.clone(), &headers, Ok(module));
        listing.symbols = Symbols::read(content, &headers);
        listing.remarks.extend(segments.is_cut_off().then(|| CUT_OFF.to_owned()));
        listing
    });
    let nothing = if headers.program.is_empty() { " (no program headers: nothing that could be loaded)" } else { "" };
    Ok(SitesDocument::new(Listed::File(name), listing.into_iter().collect()).write(nothing, format, out)?)
}

/// The most site records that a process may have: its listing is kept until it is known to be true.
const MOST_RECORDS: u64 = 1 << 20;

/// Lists the sites of everything that a process has loaded.
pub fn of_process(pid: u32, format: Format, out: &mut dyn Write) -> Result<()> {
    let listing = Process::look_steadily(pid, |process, is_last| {
        Ok(match snapshot(process, format)? {
            Some(listing) => (listing, true),
            None if is_last => (look(process, true, format)?.0, false),
            None => (Vec::new(), false),
        })
    })?;
    Ok(out.write_all(&listing)?)
}

/// The listing of a process, unless it changed while it was read.
pub fn snapshot(process: &Process, format: Format) -> Result<Option<Vec<u8>>> {
    let (listing, is_steady) = look(process, false, format)?;
    Ok(is_steady.then_some(listing))
}

/// The listing of a process, and whether it is true of one moment. If it is known to be `changing`, that is said.
fn look(process: &Process, changing: bool, format: Format) -> Result<(Vec<u8>, bool)> {
    let unusable = |why: &str| Error::input(format_args!("process {}", process.pid), why);
    let loaded = process.loaded();
    let modules = loaded.iter().filter_map(|loaded| {
        let module = Module::read(process.memory(), loaded.base, &loaded.headers).transpose()?;
        let mut listing = Listing::new(loaded.path(), &loaded.headers, module);
        if changing {
            listing.remarks.push("the process was changing while it was read: this is no snapshot".into());
        }
        listing.remarks.extend(listing.module().and_then(not_loaded).map(str::to_owned));
        match process.file(loaded) {
            Ok(file) => listing.symbols = Symbols::read(&file, &loaded.headers),
            Err(why) => listing.remarks.push(format!("no function has a name: {why}")),
        }
        Some(listing)
    });
    let modules = modules.collect::<Vec<_>>();
    if modules.iter().filter_map(Listing::module).map(Module::records_len).sum::<u64>() > MOST_RECORDS {
        return Err(unusable("its site tables have more records than any process has"));
    }

    let files = loaded.iter().filter(|loaded| loaded.has_file()).count();
    let nothing = format!(" in {}", count(files as u64, "loaded file"));
    let nothing = if changing { nothing + ", which are changing" } else { nothing };
    let document = SitesDocument::new(Listed::Process(process.pid), modules);
    let mut listing = Vec::new();
    document.write(&nothing, format, &mut listing)?;
    let is_settled = document.modules.iter().filter_map(Listing::module).all(Module::is_settled);
    Ok((listing, process.is_same()? && is_settled))
}

/// What to know of a module whose constructor has not run to its end.
fn not_loaded(module: &Module<'_>) -> Option<&'static str> {
    match module.outcome.loaded {
        true => None,
        false if module.is_being_bound() => Some("its constructor is running: keys and sites are being changed"),
        false => Some("its constructor has not run: no key is decided, and every site is as in the file"),
    }
}

impl<'a> SitesDocument<'a> {
    fn new(subject: Listed, modules: Vec<Listing<'a>>) -> Self {
        Self { schema: "invar.sites/1", version: env!("CARGO_PKG_VERSION"), subject, modules }
    }

    /// `nothing` goes behind "no sites".
    fn write(&self, nothing: &str, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Json => text::json(out, self)?,
            Format::Text if self.modules.is_empty() => match &self.subject {
                Listed::File(name) => writeln!(out, "{}: no sites{nothing}", clean(name))?,
                Listed::Process(pid) => writeln!(out, "process {pid}: no sites{nothing}")?,
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
