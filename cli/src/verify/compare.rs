//! One file's text, in a process and in the file.

use super::document::{ComparedText, Difference, Explained};
use crate::file::{Contents, Segments};
use crate::inspect::{Standing, inspect, obstacle};
use crate::module::Module;
use crate::process::{Loaded, Process};
use crate::symbols::Symbols;
use crate::text::{Hex, hex_bytes};
use std::ops::Range;

/// So much is compared at a time.
const PART: usize = 64 << 10;
const PAGE: usize = 4096;
/// Differences that are not further apart are one.
const GAP: usize = 8;
/// How many bytes of a difference are shown.
const SHOWN: usize = 16;
/// The most sites that a file may have which explain something: more than any program has.
const MOST_SITES: usize = 1 << 20;
/// How many differences of a file are listed.
const MOST_DIFFERENCES: usize = 1000;
/// A file whose text is in the process.
pub(super) struct ComparedFile<'a> {
    contents: Option<Contents>,
    symbols: Symbols,
    module: Option<Module<'a>>,
    /// The module's bound sites, by their addresses in the process.
    bound: Vec<(u64, Explained)>,
    base: u64,
    /// What was found.
    pub(super) text: ComparedText,
}

impl<'a> ComparedFile<'a> {
    /// The file at this path, or why there is none.
    pub(super) fn new(path: String, contents: std::result::Result<Contents, &str>) -> Self {
        let (contents, problem) = match contents {
            Ok(contents) => (Some(contents), None),
            Err(why) => (None, Some(why.to_owned())),
        };
        let text = ComparedText { path, problem, ..ComparedText::default() };
        Self { contents, symbols: Symbols::default(), module: None, bound: Vec::new(), base: 0, text }
    }

    /// The file that a program or library was loaded from.
    pub(super) fn loaded(process: &'a Process, loaded: &Loaded) -> Self {
        let mut file = Self { base: loaded.base, ..Self::new(loaded.path(), process.file(loaded)) };
        file.text.base = Some(Hex(loaded.base));
        match Module::read(process.memory(), loaded.base, &loaded.headers) {
            Ok(module) => file.module = module,
            // Whatever its sites are, they explain nothing.
            Err(why) => file.text.problem = file.text.problem.or(Some(why)),
        }
        if let Some(contents) = &file.contents {
            file.symbols = Symbols::read(contents, &loaded.headers);
            let segments = Segments::new(contents, &loaded.headers);
            if let (Some(module), Ok(Some(in_file))) = (&file.module, Module::read(&segments, 0, &loaded.headers)) {
                file.bound = bound_sites(module, &in_file, loaded.headers.forms());
            }
        }
        file.bound.sort_by_key(|&(address, _)| address);
        file
    }

    /// Whether what explains differences is still as it was read.
    pub(super) fn is_settled(&self) -> bool {
        self.module.as_ref().is_none_or(Module::is_settled)
    }

    /// Compares memory with what the file has from `offset` on.
    pub(super) fn compare(&mut self, process: &Process, range: Range<u64>, offset: u64) {
        let Some(contents) = self.contents.take() else { return };
        let (mut memory, mut file) = (vec![0; PART], vec![0; PART]);
        let mut at = range.start;
        while at < range.end {
            // A part that cannot be read whole is read page by page.
            let mut length = PART.min((range.end - at) as usize);
            if length > PAGE && !process.memory().read_if_there(at, &mut memory[..length]) {
                length = PAGE;
            }
            let (memory, file) = (&mut memory[..length], &mut file[..length]);
            let is_there = process.memory().read_if_there(at, memory);
            match contents.read_as_mapped(offset + (at - range.start), file) {
                Err(error) => self.text.problem = Some(error.to_string()),
                // Pages behind the file's end are not there.
                Ok(0) if !is_there => {}
                Ok(_) if is_there => self.explain(differences(at, file, memory)),
                Ok(_) => self.explain(vec![(at, file, None)]),
            }
            self.text.compared_bytes += if is_there { length as u64 } else { 0 };
            at += length as u64;
        }
        self.contents = Some(contents);
    }

    /// Divides differences into those that sites explain, and the others.
    fn explain(&mut self, differences: Vec<DifferentBytes<'_>>) {
        let mut explained = Vec::new();
        for (address, file, memory) in differences {
            let of_site = |at: u64| {
                let index = self.bound.partition_point(|&(start, _)| start <= at).checked_sub(1)?;
                let (start, site) = &self.bound[index];
                (at - start < site.length.into()).then_some(index)
            };
            let differs = |at: &usize| memory.is_none_or(|memory| memory[*at] != file[*at]);
            let sites = (0..file.len()).filter(differs).map(|at| of_site(address + at as u64).ok_or(at));
            let mut unexplained: Option<Range<usize>> = None;
            for site in sites {
                match site {
                    Ok(index) => explained.push(index),
                    Err(at) => unexplained.get_or_insert(at..at).end = at + 1,
                }
            }
            let Some(range) = unexplained else { continue };
            if self.text.unexplained.len() == MOST_DIFFERENCES {
                self.text.more = true;
                continue;
            }
            let shown = range.start..range.end.min(range.start + SHOWN);
            let address = address.wrapping_add(range.start as u64).wrapping_sub(self.base);
            self.text.unexplained.push(Difference {
                address: Hex(address),
                length: range.len() as u64,
                symbol: self.symbols.find(address),
                file: hex_bytes(&file[shown.clone()]),
                memory: memory.map(|memory| hex_bytes(&memory[shown])),
            });
        }
        for index in explained {
            let site = &self.bound[index].1;
            // Each of a site's bytes may differ, and a part may end in it.
            if self.text.sites.last().is_none_or(|last| last.address != site.address) {
                self.text.sites.push(site.clone());
            }
        }
    }
}

/// Bytes that differ: where, what the file has, and what stands in memory if that can be read.
type DifferentBytes<'a> = (u64, &'a [u8], Option<&'a [u8]>);

/// Where memory at `start` differs from the file.
fn differences<'a>(start: u64, file: &'a [u8], memory: &'a [u8]) -> Vec<DifferentBytes<'a>> {
    if file == memory {
        return Vec::new();
    }
    let mut ranges = Vec::<Range<usize>>::new();
    for at in (0..file.len()).filter(|&at| file[at] != memory[at]) {
        match ranges.last_mut() {
            Some(last) if at - last.end <= GAP => last.end = at + 1,
            _ => ranges.push(at..at + 1),
        }
    }
    let run = |range: Range<usize>| (start + range.start as u64, &file[range.clone()], Some(&memory[range]));
    ranges.into_iter().map(run).collect()
}

/// The sites that are bound, in the order of the table. They are those of the file: a process may have changed its tables.
fn bound_sites(module: &Module<'_>, in_file: &Module<'_>, forms: u16) -> Vec<(u64, Explained)> {
    let checkable = obstacle(forms).is_none();
    let sites = module.records().zip(in_file.records()).filter_map(|(record, original)| {
        if record.record != original.record || record.address.wrapping_sub(module.base) != original.address {
            return None;
        }
        let found = inspect(module, &record, checkable);
        let (Standing::Bound(bound_to), Some(key)) = (found.standing, found.key) else { return None };
        let described = in_file.key(original.state).filter(|described| described.describes(key))?;
        let verdict = key.verdict.as_ref()?;
        let explained = Explained {
            address: Hex(original.address),
            length: record.length,
            key: described.name.clone(),
            bound_to,
            origin: verdict.origin.name(),
            evidence: verdict.evidence.clone(),
        };
        Some((record.address, explained))
    });
    sites.take(MOST_SITES).collect()
}
