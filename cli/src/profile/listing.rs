//! A profile for people, and as JSON.

use super::layout::Counts;
use super::run::Run;
use super::sites::{Held, Judgement, Profile, ProfiledProcess, ProfiledSite};
use super::source::Frame;
use crate::text::{self, Hex, clean, count, lossy, wrap};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// `docs/json.md` describes it.
#[derive(Serialize)]
struct ProfileDocument<'a> {
    schema: &'static str,
    version: &'static str,
    command: Option<Vec<String>>,
    exit_code: Option<u8>,
    slice_ns: u64,
    slice_is_known: bool,
    ticks_per_ns: Option<f64>,
    remarks: &'a [String],
    processes: Vec<ProcessEntry<'a>>,
    sites: Vec<SiteEntry<'a>>,
}

#[derive(Serialize)]
struct ProcessEntry<'a> {
    process: u64,
    /// Missing for a file that is gone when the command ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    kernel_grants: bool,
    sites_lost: u64,
    modules_lost: u64,
    modules: Vec<ModuleEntry>,
    threads: &'a [super::layout::Thread],
}

#[derive(Serialize)]
struct ModuleEntry {
    path: String,
    start: Hex,
    end: Hex,
}

#[derive(Serialize)]
struct SiteEntry<'a> {
    module: Option<String>,
    addresses: Vec<Hex>,
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    #[serde(flatten)]
    place: &'a super::source::SourcePlace,
    kernel_grants: bool,
    verdict: &'static str,
    #[serde(flatten)]
    counts: Counts,
    unexplained: u64,
    longer_than_slice: Option<u64>,
    ticks: u64,
    ns: Option<f64>,
    p50_ns: Option<f64>,
    p99_ns: Option<f64>,
    max_ns: Option<f64>,
    held: Vec<Bucket>,
}

#[derive(Serialize)]
struct Bucket {
    from_ticks: u64,
    below_ticks: Option<u64>,
    from_ns: Option<f64>,
    below_ns: Option<f64>,
    sections: u64,
}

/// Writes it as JSON.
pub fn json(profile: &Profile, run: Option<&Run>, out: &mut dyn Write) -> io::Result<()> {
    text::json(
        out,
        &ProfileDocument {
            schema: "invar.profile/1",
            version: env!("CARGO_PKG_VERSION"),
            command: run.map(|run| run.command.iter().map(|word| lossy(word.as_encoded_bytes())).collect()),
            exit_code: run.map(|run| run.code),
            slice_ns: profile.slice,
            slice_is_known: profile.slice_is_known,
            ticks_per_ns: profile.rate.map(|rate| rate.0),
            remarks: &profile.remarks,
            processes: profile.processes.iter().map(|process| ProcessEntry::new(process, run.is_none())).collect(),
            sites: profile.sites.iter().map(|site| SiteEntry::new(profile, site)).collect(),
        },
    )
}

impl<'a> ProcessEntry<'a> {
    fn new(process: &'a ProfiledProcess, has_file: bool) -> Self {
        let module = |module: &super::layout::CountedModule| ModuleEntry {
            path: lossy(&module.path),
            start: Hex(module.range.start),
            end: Hex(module.range.end),
        };
        Self {
            process: process.number,
            file: has_file.then(|| lossy(process.path.as_os_str().as_encoded_bytes())),
            kernel_grants: process.grants,
            sites_lost: process.sites_lost,
            modules_lost: process.modules_lost,
            modules: process.modules.iter().map(module).collect(),
            threads: &process.threads,
        }
    }
}

impl<'a> SiteEntry<'a> {
    fn new(profile: &Profile, site: &'a ProfiledSite) -> Self {
        let ns = |ticks: u64| profile.rate.map(|rate| rate.nanoseconds(ticks));
        let quantile = |share| site.held.quantile(share).and_then(|(_, to)| ns(to?));
        let bucket = |(from, below, sections): (u64, Option<u64>, u64)| Bucket {
            from_ticks: from,
            below_ticks: below,
            from_ns: ns(from),
            below_ns: below.and_then(ns),
            sections,
        };
        let frame = site.place.frame();
        Self {
            module: site.module.as_deref().map(lossy),
            addresses: site.addresses.iter().copied().map(Hex).collect(),
            function: frame.and_then(|frame| frame.function.as_deref()),
            file: frame.and_then(|frame| frame.file.as_deref()),
            line: frame.and_then(|frame| frame.line),
            place: &site.place,
            kernel_grants: site.grants,
            verdict: site.verdict(profile.slice, profile.rate).word(),
            counts: site.counts,
            unexplained: site.counts.unexplained(),
            longer_than_slice: site.held.longer(profile.slice, profile.rate),
            ticks: site.held.ticks,
            ns: ns(site.held.ticks),
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            max_ns: quantile(1.0),
            held: site.held.filled().map(bucket).collect(),
        }
    }
}

/// Writes it for people.
pub fn text(profile: &Profile, run: Option<&Run>, out: &mut dyn Write) -> io::Result<()> {
    if !profile.processes.is_empty() {
        wrap(out, "", &summary(profile, run))?;
    }
    for remark in &profile.remarks {
        wrap(out, "note: ", remark)?;
    }
    let (granted, others): (Vec<_>, Vec<_>) = profile.sites.iter().partition(|site| site.grants);
    table(profile, GRANTED, &granted, out)?;
    table(profile, NOT_GRANTED, &others, out)?;
    explain(profile, !granted.is_empty(), !others.is_empty(), out)
}

fn summary(profile: &Profile, run: Option<&Run>) -> String {
    let sum = |of: fn(&ProfiledProcess) -> u64| profile.processes.iter().map(of).fold(0, u64::saturating_add);
    let subject = match run {
        Some(run) => clean(&lossy(run.command[0].as_encoded_bytes())) + ": ",
        None => String::new(),
    };
    let threads = sum(|process| process.threads.len() as u64);
    let sections = sum(|process| process.threads.iter().map(|thread| thread.requests).fold(0, u64::saturating_add));
    let processes = match profile.processes.len() as u64 {
        1 => format!("process {}", profile.processes[0].number),
        // What `fork` makes goes on in the same file.
        number => count(number, "program") + " with counts of their own",
    };
    let slice = time_of(profile.slice as f64);
    let known = if profile.slice_is_known { "" } else { " (the kernel's default; what it is set to cannot be read)" };
    format!(
        "{subject}{processes}, {}, {} at {}; an extension lasts {slice}{known}",
        count(threads, "thread"),
        count(sections, "section"),
        count(profile.sites.len() as u64, "site"),
    )
}

/// A column's title, and what stands in it.
type SiteColumn = (&'static str, fn(&Profile, &ProfiledSite) -> String);

const GRANTED: &[SiteColumn] = &[
    ("requests", |_, site| site.counts.requests.to_string()),
    ("grants", |_, site| site.counts.grants.to_string()),
    ("yields", |_, site| site.counts.yields.to_string()),
    ("too long", |_, site| site.counts.too_long.to_string()),
    ("interrupted", |_, site| site.counts.interrupted.to_string()),
    ("nested", |_, site| site.counts.nested.to_string()),
    ("not enrolled", |_, site| site.counts.not_enrolled.to_string()),
    ("p50", |profile, site| held(profile, &site.held, 0.5)),
    ("p99", |profile, site| held(profile, &site.held, 0.99)),
    ("max", |profile, site| held(profile, &site.held, 1.0)),
];

const NOT_GRANTED: &[SiteColumn] = &[
    ("requests", |_, site| site.counts.requests.to_string()),
    ("nested", |_, site| site.counts.nested.to_string()),
    ("longer", |profile, site| match site.held.longer(profile.slice, profile.rate) {
        Some(longer) => longer.to_string(),
        None => "?".into(),
    }),
    ("coverable", |profile, site| time(profile, site.held.within(profile.slice, profile.rate))),
    ("p50", |profile, site| held(profile, &site.held, 0.5)),
    ("p99", |profile, site| held(profile, &site.held, 0.99)),
    ("max", |profile, site| held(profile, &site.held, 1.0)),
];

/// Two lines for each site: numbers, and below them what it is and where.
fn table(profile: &Profile, columns: &[SiteColumn], sites: &[&ProfiledSite], out: &mut dyn Write) -> io::Result<()> {
    if sites.is_empty() {
        return Ok(());
    }
    let rows = sites.iter().map(|site| columns.iter().map(|(_, cell)| cell(profile, site)).collect::<Vec<_>>());
    let rows = rows.collect::<Vec<_>>();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(columns[column].0.len()) + 2
    };
    let widths = (0..columns.len()).map(width).collect::<Vec<_>>();
    let line = |cells: Vec<&str>| {
        cells.into_iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect::<String>()
    };
    writeln!(out, "\n{}", line(columns.iter().map(|&(title, _)| title).collect()))?;
    for (row, site) in rows.iter().zip(sites) {
        writeln!(out, "{}", line(row.iter().map(String::as_str).collect()))?;
        let word = site.verdict(profile.slice, profile.rate).word();
        writeln!(out, "    {word}: {}", place(profile, site))?;
    }
    Ok(())
}

/// Where a site is, in the words of the source if they are to be had.
pub fn place(profile: &Profile, site: &ProfiledSite) -> String {
    let module = site.module.as_deref().map_or("no known module".into(), |path| {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        clean(&lossy(name))
    });
    let several = profile.sites.iter().any(|other| other.module != site.module);
    let behind = if several { format!(" ({module})") } else { String::new() };
    match (site.place.frame(), &site.place.symbol) {
        (Some(Frame { function, file: Some(file), line }), _) => {
            let function = function.as_deref().map_or(String::new(), |function| clean(function) + " at ");
            let line = line.map_or(String::new(), |line| format!(":{line}"));
            format!("{function}{}{line}{}{behind}", clean(&shortened(file)), caller(profile, site))
        }
        (_, Some(symbol)) => format!("{symbol}{behind}"),
        _ => format!("{module}+{:#x}", site.addresses[0]),
    }
}

/// The function that a site was inlined into, where that is what tells it from another.
fn caller(profile: &Profile, site: &ProfiledSite) -> String {
    let (shown, outermost) = (site.place.frame(), site.place.frames.last());
    let is_twin = |other: &&ProfiledSite| other.place.frame() == shown && other.place.frames.last() != outermost;
    match outermost.and_then(|outermost| outermost.function.as_deref()) {
        Some(function) if profile.sites.iter().any(|other| is_twin(&other)) => format!(" in {}", clean(function)),
        _ => String::new(),
    }
}

/// Without the folder that this command runs in.
fn shortened(file: &str) -> String {
    // Everything is in the root.
    let here = std::env::current_dir().ok().filter(|here| here.parent().is_some());
    let rest = here.and_then(|here| Path::new(file).strip_prefix(here).ok().map(lossy_path));
    rest.unwrap_or_else(|| file.into())
}

fn lossy_path(path: &Path) -> String {
    lossy(path.as_os_str().as_encoded_bytes())
}

const GRANTED_WORDS: &str = "Sites with most sections that were to be preempted come first. requests: sections begun. \
    grants: was granted time, and still had it at the end; yields: of those, gave up the CPU in time. Lost their request: \
    too long, by an estimate used more CPU time than an extension has; interrupted, by a system call, a signal or a \
    fault; nested, by the end of a section inside. not enrolled: began in threads that the kernel does not look at.";

const NOT_GRANTED_WORDS: &str = "Sites with most time that extensions could cover come first. requests: sections begun. \
    nested: the end of a section inside ended their request. longer: took longer than the SLICE of an extension. \
    coverable: the time in the others; the more of it, the more often is one preempted that could have been let finish.";

const DURATIONS: &str = "p50, p99, max: half of the sections, 99 of 100, all took less.";

const VERDICTS: &str =
    "The word before the place says what most are, of those that somebody wanted to preempt, or of all:";

/// Explains the words that were used.
fn explain(profile: &Profile, granted: bool, not_granted: bool, out: &mut dyn Write) -> io::Result<()> {
    if profile.sites.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    if granted {
        wrap(out, "", GRANTED_WORDS)?;
    }
    if not_granted {
        let slice = time_of(profile.slice as f64);
        wrap(out, "", &NOT_GRANTED_WORDS.replace("SLICE", &slice))?;
    }
    wrap(out, "", DURATIONS)?;
    writeln!(out, "{VERDICTS}")?;
    let words = profile.sites.iter().map(|site| site.verdict(profile.slice, profile.rate));
    for verdict in words.collect::<BTreeSet<Judgement>>() {
        wrap(out, &format!("  {}: ", verdict.word()), verdict.meaning())?;
    }
    Ok(())
}

/// What this share of the sections took less than.
fn held(profile: &Profile, held: &Held, share: f64) -> String {
    match held.quantile(share) {
        None => "-".into(),
        Some((_, Some(to))) => time(profile, to),
        Some((from, None)) => format!(">{}", time(profile, from)),
    }
}

fn time(profile: &Profile, ticks: u64) -> String {
    profile.rate.map_or_else(|| format!("{ticks} ticks"), |rate| time_of(rate.nanoseconds(ticks)))
}

/// Two or three digits.
pub fn time_of(nanoseconds: f64) -> String {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let fits = |&&(_, size): &&(&str, f64)| nanoseconds < 999.5 * size;
    let (unit, size) = units.iter().find(fits).unwrap_or(&units[3]);
    let value = nanoseconds / size;
    // Nanoseconds are whole.
    if value < 9.95 && *size > 1.0 && value.fract() != 0.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}
