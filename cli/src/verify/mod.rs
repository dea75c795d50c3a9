//! `invar verify`: whether the text of a process is that of its files, but for sites that are bound.
//!
//! Every executable page that is mapped from a file, or stands where a file was loaded, is compared with the file. A byte
//! that differs is explained if it lies in a site that is bound to its key's verdict; nothing else explains one.

mod compare;
mod document;

use crate::error::{Error, Result};
use crate::process::{Loaded, Mapping, Process};
use crate::progress::Progress;
use crate::text::Format;
use compare::ComparedFile;
use document::{Verified, VerifyDocument};
use std::collections::BTreeMap;
use std::io::Write;

/// Verifies one process. The exit code.
pub fn of_process(pid: u32, format: Format, out: &mut dyn Write) -> Result<u8> {
    VerifyDocument::new(vec![steady(pid)?], 0).write(format, out)
}

/// Verifies every process that may be read. The exit code.
pub fn of_all(format: Format, out: &mut dyn Write) -> Result<u8> {
    let entries = std::fs::read_dir("/proc").map_err(|error| Error::input("/proc", error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut pids = names.filter_map(|name| name.parse().ok()).collect::<Vec<u32>>();
    pids.sort_unstable();
    let mut unreadable = 0;
    let mut processes = Vec::new();
    let mut progress = Progress::default();
    for (at, &pid) in pids.iter().enumerate() {
        progress.say(&format!("verifying process {pid}: {} of {}", at + 1, pids.len()));
        match steady(pid) {
            Ok(verified) => processes.push(verified),
            Err(_) if Process::has_memory(pid) => unreadable += 1,
            // It has ended, or is the kernel's.
            Err(_) => {}
        }
    }
    drop(progress);
    VerifyDocument::new(processes, unreadable).write(format, out)
}

/// Looks until the process did not change meanwhile, or too often.
fn steady(pid: u32) -> Result<Verified> {
    Process::look_steadily(pid, |process, _| {
        let verified = look(process)?;
        let is_steady = !verified.changing;
        Ok((verified, is_steady))
    })
}

/// One look at a process.
fn look(process: &Process) -> Result<Verified> {
    let loaded = process.loaded();
    let private = process.private().ok();
    let mut verified = Verified { process: process.pid, ..Verified::default() };
    let mut files = Files { process, loaded: BTreeMap::new(), others: BTreeMap::new() };
    for mapping in process.text() {
        let mut at = mapping.range.start;
        while at < mapping.range.end {
            let module = loaded.iter().enumerate().find_map(|(index, loaded)| {
                let (offset, pages) = loaded.text_at(at).filter(|_| loaded.has_file())?;
                Some((index, offset, pages.end.min(mapping.range.end)))
            });
            let (file, offset, end) = match module {
                Some((index, offset, end)) => (Some(files.of_loaded(index, &loaded[index])), offset, end),
                None => {
                    let end = next_text(&loaded, at, mapping.range.end);
                    (files.of_mapping(mapping), mapping.offset + (at - mapping.range.start), end)
                }
            };
            match file {
                Some(file) => {
                    file.compare(process, at..end, offset);
                    // A mapping's pages are counted once, for the file whose text stands at its start.
                    let kib = private.as_ref().map(|private| private.get(&at).copied().unwrap_or(0));
                    file.text.private_kib = kib.map(|kib| kib + file.text.private_kib.unwrap_or(0));
                }
                None => verified.without_file_bytes += end - at,
            }
            at = end;
        }
    }
    let is_settled = files.loaded.values().all(ComparedFile::is_settled);
    verified.files = files.loaded.into_values().chain(files.others.into_values()).map(|file| file.text).collect();
    verified.private_kib = document::total(verified.files.iter().map(|file| file.private_kib));
    verified.changing = !process.is_same()? || !is_settled;
    Ok(verified)
}

/// Where behind `at` the next loaded file's text begins; at the latest `end`.
fn next_text(loaded: &[Loaded], at: u64, end: u64) -> u64 {
    let starts =
        loaded.iter().filter(|loaded| loaded.has_file()).flat_map(Loaded::text_pages).map(|(_, pages)| pages.start);
    starts.filter(|start| (at + 1..end).contains(start)).min().unwrap_or(end)
}

/// The files that text comes from.
struct Files<'a> {
    process: &'a Process,
    /// By their position among what is loaded.
    loaded: BTreeMap<usize, ComparedFile<'a>>,
    /// By their paths: what is mapped and executable, but not loaded as a program is.
    others: BTreeMap<String, ComparedFile<'a>>,
}

impl<'a> Files<'a> {
    fn of_loaded(&mut self, index: usize, loaded: &Loaded) -> &mut ComparedFile<'a> {
        let process = self.process;
        self.loaded.entry(index).or_insert_with(|| ComparedFile::loaded(process, loaded))
    }

    fn of_mapping(&mut self, mapping: &Mapping) -> Option<&mut ComparedFile<'a>> {
        // A file that is memory only has nothing to compare with but itself.
        let path = mapping.path().filter(|path| !path.starts_with("/memfd:"))?;
        let process = self.process;
        let file = || ComparedFile::new(path.clone(), process.file_of(mapping));
        Some(self.others.entry(path.clone()).or_insert_with(file))
    }
}
