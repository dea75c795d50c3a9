//! `invar`: what this machine offers, how this very program was bound, and what that saves.

mod saved;

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::{Contents, Segments};
use crate::inspect::Tally;
use crate::keys::{self, Line, SLICE};
use crate::listing::{Listing, Row, describe};
use crate::module::Module;
use crate::own;
use crate::process::Process;
use crate::progress::Progress;
use crate::style::{GOOD, HEADING, POOR, styled};
use crate::symbols::Symbols;
use crate::text::{NARROW, count, wrap_at};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How long the measurement of calls may take, and that of critical sections.
const BUDGET: Duration = Duration::from_secs(4);
const BUDGET_OF_SLICES: Duration = Duration::from_secs(3);
/// How many sites are shown.
const SHOWN: usize = 6;

/// Shows it all, within ten seconds. What critical sections cost is shown where time slice extensions are there, or if `slices` asks
/// for it.
pub fn run(slices: bool, out: &mut dyn Write) -> Result<()> {
    own::exercise();
    let keys = keys::own();
    let has_slices = keys.iter().any(|line| line.name == SLICE && line.value == "on");
    print_keys(keys, out)?;
    match print_sites(out) {
        // Without /proc there is nothing to look at, but much left to say.
        Err(Error::Input(subject, why)) => {
            wrap_at(NARROW, out, "", &format!("this program's sites cannot be shown: {subject}: {why}"))?
        }
        result => result?,
    }
    writeln!(out, "\n{}", styled(HEADING, "what it saves"))?;
    let is_shown = slices || has_slices;
    out.flush()?;
    let mut progress = Progress::default();
    // Nothing is said while it measures: whoever writes takes a CPU.
    if own::is_watched() {
        let budget = BUDGET + if is_shown { BUDGET_OF_SLICES } else { Duration::ZERO };
        progress.say(&format!("measuring for {} seconds ...", budget.as_secs()));
    }
    let ways = invar_measure::ways(BUDGET);
    let table = is_shown.then(|| invar_measure::Table::measure(BUDGET_OF_SLICES));
    drop(progress);
    let gain = saved::print(ways, out)?;
    if let Some(table) = table {
        write!(out, "\n{table}")?;
    }
    writeln!(out)?;
    wrap_at(NARROW, out, "", &gain)?;
    Ok(())
}

fn print_keys(lines: Vec<Line>, out: &mut dyn Write) -> io::Result<()> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let here = format!("invar {} on {}, Linux {}", env!("CARGO_PKG_VERSION"), invar_arch::NAME, kernel.trim());
    writeln!(out, "{}\n", styled(HEADING, here))?;
    let (slice, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.name == SLICE);
    let others = others.into_iter().filter(|line| !is_measured(&line.name)).collect::<Vec<_>>();
    for Line { name, value, decision } in slice.iter().map(Line::cleaned) {
        let (origin, evidence) = decision.map_or(("undecided", String::new()), |(origin, why)| (origin.name(), why));
        let style = if value == "on" { GOOD } else { POOR };
        writeln!(out, "{}: {name} = {} ({origin})", styled(HEADING, "time slice extension"), styled(style, value))?;
        wrap_at(NARROW, out, "  ", &evidence)?;
        writeln!(out, "  `invar doctor` says more, and what to do")?;
    }
    writeln!(out, "\n{}", styled(HEADING, "keys of this program"))?;
    keys::print_compact(NARROW, &others, out)
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
    wrap_at(NARROW, out, &format!("{}: ", styled(HEADING, "sites of this program")), &describe(&in_memory))?;
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
            Some(place) if what.len() + place.len() > NARROW => writeln!(out, "{what}\n   {place}")?,
            place => writeln!(out, "{what}{}", place.unwrap_or_default())?,
        }
        for (when, row) in [("file", before), ("memory", after)] {
            row.print_code(NARROW, &format!("    {when:8}"), out)?;
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
