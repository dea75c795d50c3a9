//! `invar`: what this machine offers, how this very program was bound, and what that saves.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::{Contents, Segments};
use crate::inspect::Tally;
use crate::keys::{self, Line, SLICE};
use crate::listing::{Listing, Row, describe};
use crate::module::Module;
use crate::own;
use crate::process::Process;
use crate::symbols::Symbols;
use crate::text::{WIDTH, count, wrap};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How long the measurement may take.
const BUDGET: Duration = Duration::from_secs(5);
/// How many sites are shown.
const SHOWN: usize = 6;

/// Shows it all, within ten seconds.
pub fn run(out: &mut dyn Write) -> Result<()> {
    own::exercise();
    print_keys(keys::own(), out)?;
    match print_sites(out) {
        // Without /proc there is nothing to look at, but much left to say.
        Err(Error::Input(subject, why)) => {
            wrap(out, "", &format!("this program's sites cannot be shown: {subject}: {why}"))?
        }
        result => result?,
    }
    writeln!(out, "\nwhat it saves")?;
    if own::is_watched() {
        writeln!(out, "measuring for {} seconds ...", BUDGET.as_secs())?;
    }
    out.flush()?;
    write!(out, "{}", invar_measure::Table::measure(BUDGET))?;
    Ok(())
}

fn print_keys(lines: Vec<Line>, out: &mut dyn Write) -> io::Result<()> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    writeln!(out, "invar {} on {}, Linux {}\n", env!("CARGO_PKG_VERSION"), invar_arch::NAME, kernel.trim())?;
    let (slice, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.name == SLICE);
    let others = others.into_iter().filter(|line| !is_measured(&line.name)).collect::<Vec<_>>();
    for Line { name, value, decision } in slice.iter().map(Line::cleaned) {
        let (origin, evidence) = decision.map_or(("undecided", String::new()), |(origin, why)| (origin.name(), why));
        writeln!(out, "time slice extension: {name} = {value} ({origin})")?;
        wrap(out, "  ", &evidence)?;
    }
    writeln!(out, "\nkeys of this program")?;
    keys::print_compact(&others, out)
}

/// Whether a key is there to be measured only.
fn is_measured(key: &str) -> bool {
    key.starts_with("invar-measure.")
}

/// A few sites of this program as they stand in its file and in its memory.
fn print_sites(out: &mut dyn Write) -> Result<()> {
    let path = Path::new("/proc/self/exe");
    let file = Contents::open(path)?;
    let unusable = |why: &str| Error::file(path, why);
    let headers = Headers::read(&file, 0).map_err(unusable)?;
    let segments = Segments::new(&file, &headers);
    let process = Process::open(std::process::id())?;
    let base = own_base();

    let read = |image, base| Module::read(image, base, &headers).map_err(|why| unusable(&why));
    let (Some(in_file), Some(in_memory)) = (read(&segments, 0)?, read(process.memory(), base)?) else {
        return Err(unusable("there is no note in this program"));
    };
    writeln!(out)?;
    wrap(out, "sites of this program: ", &describe(&in_memory))?;
    let mut before = Listing::new(String::new(), &headers, Ok(in_file));
    before.symbols = Symbols::read(&file, &headers);
    let after = Listing::new(String::new(), &headers, Ok(in_memory));
    print_pairs(before.rows().zip(after.rows()).collect(), out)?;
    Ok(())
}

fn own_base() -> u64 {
    let mut base = 0;
    invar::report().modules(|module| {
        if module.path().is_empty() {
            base = module.base() as u64;
        }
    });
    base
}

/// Shows one site of each kind and key, those of this command's own functions first, and counts the others.
fn print_pairs(mut pairs: Vec<(Row, Row)>, out: &mut dyn Write) -> io::Result<()> {
    pairs.sort_by_key(|(before, _)| !before.symbol.as_ref().is_some_and(|place| place.name.contains(own::PATH)));
    let (mut shown, mut rest, mut measured) = (Vec::new(), Tally::default(), Tally::default());
    for (before, after) in &pairs {
        if after.key.as_ref().is_some_and(|key| is_measured(key)) {
            measured.add(&after.standing);
            continue;
        }
        let sort = (after.kind, &after.key);
        if shown.len() == SHOWN || shown.contains(&sort) {
            rest.add(&after.standing);
            continue;
        }
        shown.push(sort);
        let what = format!("  {}: {}", after.what(), after.standing);
        match before.symbol.as_ref().map(|place| format!(" in {place}")) {
            // A name is as long as its program would have it.
            Some(place) if what.len() + place.len() > WIDTH => writeln!(out, "{what}\n   {place}")?,
            place => writeln!(out, "{what}{}", place.unwrap_or_default())?,
        }
        for (when, row) in [("file", before), ("memory", after)] {
            row.print_code(&format!("    {when:8}"), out)?;
        }
    }
    if rest.total() > 0 {
        writeln!(out, "  and {}: {rest}", count(rest.total(), "more site"))?;
    }
    if measured.total() > 0 {
        writeln!(out, "  and {} that the table below measures: {measured}", count(measured.total(), "site"))?;
    }
    Ok(())
}
