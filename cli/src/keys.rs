//! Keys as a list: for `probe`, for `sites`, for the demonstration.

use crate::module;
use crate::text::{WIDTH, clean, wrap_at};
use invar::{KeyReport, Origin};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// One line of a list of keys.
#[derive(Clone, Debug)]
pub struct Line {
    /// The key's name.
    pub name: String,
    /// Its value's name; every value's, while it is undecided.
    pub value: String,
    /// Who decided, and why.
    pub decision: Option<(Origin, String)>,
}

/// The prefix of the built-in keys for the CPU's features.
pub const CPU: &str = "cpu.";
/// The built-in key for the time slice extension.
pub const SLICE: &str = "slice";

impl Line {
    /// Whether the key is one of the runtime's own.
    pub fn is_built_in(&self) -> bool {
        self.name == SLICE || self.is_cpu()
    }

    /// The same, fit for a terminal.
    pub fn cleaned(&self) -> Self {
        let decision = self.decision.as_ref().map(|(origin, evidence)| (*origin, clean(evidence)));
        Self { name: clean(&self.name), value: clean(&self.value), decision }
    }

    fn is_cpu(&self) -> bool {
        self.name.starts_with(CPU)
    }

    /// What else than a probe decided, and why; empty if nothing did.
    fn intervention(&self) -> String {
        match &self.decision {
            Some((origin, evidence)) if *origin != Origin::Probe => format!(" ({}: {evidence})", origin.name()),
            _ => String::new(),
        }
    }
}

impl From<&KeyReport<'_>> for Line {
    fn from(key: &KeyReport<'_>) -> Self {
        let decision = key.verdict().map(|verdict| (verdict.origin(), verdict.evidence().into()));
        let value = key.number().map_or_else(|| key.value().into(), |number| number.to_string());
        Self { name: key.name().into(), value, decision }
    }
}

impl From<&module::Key> for Line {
    fn from(key: &module::Key) -> Self {
        let decision = key.verdict.as_ref().map(|verdict| (verdict.origin, verdict.evidence.clone()));
        let value = key.decision().unwrap_or_else(|| key.values.join("|"));
        Self { name: key.name.clone(), value, decision }
    }
}

/// This program's own keys, sorted, as its runtime decided them.
pub fn own() -> Vec<Line> {
    // A program carries the CPU's keys that it uses: this one, all of them.
    std::hint::black_box(invar::cpu::ALL);
    let mut lines = Vec::new();
    // The program itself has no path; a library that carries the runtime has keys of the same names.
    invar::report().modules(|module| {
        if module.path().is_empty() {
            lines.extend(module.keys().map(|key| Line::from(&key)));
        }
    });
    sort(&mut lines);
    lines
}

/// Sorts keys for reading: the time slice key, the program's own, the CPU's; each by name.
pub fn sort(lines: &mut [Line]) {
    lines.sort_by(|a, b| (a.name != SLICE, a.is_cpu(), &a.name).cmp(&(b.name != SLICE, b.is_cpu(), &b.name)));
}

/// Writes one line for each key.
pub fn print(lines: &[Line], out: &mut dyn Write) -> io::Result<()> {
    print_aligned(WIDTH, lines.iter().map(Line::cleaned).collect(), out)
}

/// Writes one line for each key, wrapped at this width, but lists those of the CPU by their value: the evidence of each would repeat it.
pub fn print_compact(width: usize, lines: &[Line], out: &mut dyn Write) -> io::Result<()> {
    let (cpu, others) = lines.iter().map(Line::cleaned).partition::<Vec<_>, _>(Line::is_cpu);
    print_aligned(width, others, out)?;
    let mut by_verdict = BTreeMap::<(&str, String), Vec<&str>>::new();
    for line in &cpu {
        by_verdict.entry((&line.value, line.intervention())).or_default().push(&line.name[CPU.len()..]);
    }
    // "on" before "off".
    for ((value, intervention), names) in by_verdict.iter().rev() {
        wrap_at(width, out, &format!("  {CPU}* {value}: "), &format!("{}{intervention}", names.join(" ")))?;
    }
    Ok(())
}

fn print_aligned(width: usize, lines: Vec<Line>, out: &mut dyn Write) -> io::Result<()> {
    let longest =
        |text: fn(&Line) -> &str| lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0).min(32);
    let (name_width, value_width) = (longest(|line| &line.name), longest(|line| &line.value));
    for Line { name, value, decision } in lines {
        let head = format!("  {name:name_width$}  {value:value_width$}  ");
        match decision {
            None => writeln!(out, "{}", head.trim_end())?,
            Some((origin, evidence)) => wrap_at(width, out, &format!("{head}{:<9}", origin.name()), &evidence)?,
        }
    }
    Ok(())
}
