//! What was found, for people and for programs.

use crate::error::Result;
use crate::symbols::Place;
use crate::text::{self, Format, Hex, clean, count, wrap};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What was found. `docs/json.md` describes it.
#[derive(Serialize)]
pub(super) struct VerifyDocument {
    pub(super) schema: &'static str,
    pub(super) version: &'static str,
    pub(super) processes: Vec<Verified>,
    pub(super) private_kib: Option<u64>,
    /// Processes that may not be read.
    pub(super) unreadable: u64,
}

/// One process.
#[derive(Default, Serialize)]
pub(super) struct Verified {
    pub(super) process: u32,
    /// Whether it was changing while it was read.
    pub(super) changing: bool,
    pub(super) files: Vec<ComparedText>,
    pub(super) private_kib: Option<u64>,
    /// Executable memory that comes from no file, which is not compared.
    pub(super) without_file_bytes: u64,
}

/// The text of one file.
#[derive(Default, Serialize)]
pub(super) struct ComparedText {
    pub(super) path: String,
    pub(super) base: Option<Hex>,
    pub(super) compared_bytes: u64,
    pub(super) private_kib: Option<u64>,
    /// Why there is nothing to compare with.
    pub(super) problem: Option<String>,
    /// The bound sites that explain a difference.
    pub(super) sites: Vec<Explained>,
    pub(super) unexplained: Vec<Difference>,
    /// Whether there are more that are not listed.
    pub(super) more: bool,
}

/// A site that differs from the file since it is bound.
#[derive(Clone, Serialize)]
pub(super) struct Explained {
    pub(super) address: Hex,
    pub(super) length: u8,
    pub(super) key: String,
    pub(super) bound_to: String,
    pub(super) origin: &'static str,
    pub(super) evidence: String,
}

/// Bytes that differ for no known reason.
#[derive(Serialize)]
pub(super) struct Difference {
    /// Where it begins, as an address of the file; of the process if the file is not loaded as a program is.
    pub(super) address: Hex,
    pub(super) length: u64,
    pub(super) symbol: Option<Place>,
    /// The first bytes of each.
    pub(super) file: String,
    /// `None` if they cannot be read.
    pub(super) memory: Option<String>,
}

impl VerifyDocument {
    /// Of these processes, and of so many that may not be read.
    pub(super) fn new(processes: Vec<Verified>, unreadable: u64) -> Self {
        let private_kib = total(processes.iter().map(|process| process.private_kib));
        Self { schema: "invar.verify/1", version: env!("CARGO_PKG_VERSION"), processes, private_kib, unreadable }
    }

    /// Writes it; the exit code.
    pub(super) fn write(&self, format: Format, out: &mut dyn Write) -> Result<u8> {
        match format {
            Format::Json => text::json(out, self)?,
            Format::Text => self.print(out)?,
        }
        Ok(u8::from(!self.processes.iter().all(Verified::is_explained)))
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for process in &self.processes {
            process.print(out)?;
        }
        if self.processes.len() > 1 {
            let sum = |of: fn(&ComparedText) -> u64| {
                self.processes.iter().flat_map(|process| &process.files).map(of).sum::<u64>()
            };
            writeln!(
                out,
                "{} processes: {} KiB of text private, {}",
                self.processes.len(),
                self.private_kib.unwrap_or(0),
                count(sum(|file| file.unexplained.len() as u64), "unexplained difference"),
            )?;
        }
        if self.unreadable > 0 {
            writeln!(
                out,
                "{} may not be read",
                match self.unreadable {
                    1 => "1 process".into(),
                    number => format!("{number} processes"),
                }
            )?;
        }
        Ok(())
    }
}

/// Of those that are known; `None` if none is.
pub(super) fn total(all: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    all.flatten().reduce(|sum, one| sum + one)
}

impl Verified {
    fn is_explained(&self) -> bool {
        !self.changing && self.files.iter().all(ComparedText::is_explained)
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let sum = |of: fn(&ComparedText) -> u64| self.files.iter().map(of).sum::<u64>();
        let private = self.private_kib.unwrap_or(0);
        let told = format!(
            "{} KiB of text in {} compared, {private} KiB private; {}, {}",
            sum(|file| file.compared_bytes) >> 10,
            count(self.files.len() as u64, "file"),
            count(sum(|file| file.sites.len() as u64), "bound site"),
            count(sum(|file| file.unexplained.len() as u64), "unexplained difference"),
        );
        wrap(out, &format!("process {}: ", self.process), &told)?;
        if self.without_file_bytes > 0 {
            writeln!(
                out,
                "  {} KiB of executable memory come from no file, and are not compared",
                self.without_file_bytes >> 10
            )?;
        }
        if self.changing {
            writeln!(out, "  the process was changing while it was read: this is no snapshot")?;
        }
        self.files.iter().try_for_each(|file| file.print(out))
    }
}

impl ComparedText {
    fn is_explained(&self) -> bool {
        self.problem.is_none() && self.unexplained.is_empty()
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_explained() && self.sites.is_empty() {
            return Ok(());
        }
        let private = self.private_kib.map_or(String::new(), |kib| format!(", {kib} KiB private"));
        writeln!(out, "  {}: {} KiB{private}", clean(&self.path), self.compared_bytes >> 10)?;
        if let Some(problem) = &self.problem {
            wrap(out, "    cannot be verified: ", &clean(problem))?;
        }
        let mut verdicts = BTreeMap::<_, u64>::new();
        for site in &self.sites {
            *verdicts.entry((&site.key, &site.bound_to, site.origin, &site.evidence)).or_default() += 1;
        }
        for ((key, value, origin, evidence), number) in verdicts {
            let told = format!("{} == {}: {origin}: {}", clean(key), clean(value), clean(evidence));
            wrap(out, &format!("    {} bound, ", count(number, "site")), &told)?;
        }
        for difference in &self.unexplained {
            difference.print(out)?;
        }
        if self.more {
            writeln!(out, "    and more")?;
        }
        Ok(())
    }
}

impl Difference {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let place = self.symbol.as_ref().map_or(String::new(), |place| format!("  {place}"));
        writeln!(out, "    {:<#10x}  {} unexplained{place}", self.address.0, count(self.length, "byte"))?;
        writeln!(out, "                file    {}", self.file)?;
        writeln!(out, "                memory  {}", self.memory.as_deref().unwrap_or("cannot be read"))
    }
}
