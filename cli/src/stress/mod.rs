//! `invar stress`: whether threads may execute sites while their pages are exchanged, on this very machine.
//!
//! It tests what the writers `swap` and `memfd` rest on: threads may execute sites, and stand inside of them, while the pages
//! are exchanged. The test itself (`x86_64`) runs in a process of its own, so that whatever it ends by is a verdict.

pub mod options;
mod outcome;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)))]
mod x86_64;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::text::{self as listing, Format, count};
use clap::ValueEnum;
use options::{Limit, Protocol, StressOptions};
use outcome::{Answer, ByKind, Exchanges, StressOutcome};
use serde::Serialize;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Exit code where something is wrong.
const EXIT_WRONG: u8 = 1;

/// `docs/json.md` describes it.
#[derive(Serialize)]
struct StressDocument {
    schema: &'static str,
    version: &'static str,
    protocol: String,
    #[serde(flatten)]
    outcome: StressOutcome,
}

/// The number of threads if nothing else is said: more than there are CPUs, so that some are kept from them inside of sites.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cpus| cpus.get() + 1)
}

/// Tests, and says what came of it. Returns the exit code.
pub fn run(options: &StressOptions, format: Format, out: &mut dyn Write) -> Result<u8> {
    let seconds = match options.limit {
        Limit::Seconds(seconds) => Some(seconds),
        Limit::Executions(_) => None,
    };
    let outcome = match Progress::count("testing", seconds, || in_process_of_its_own(options))? {
        Answer::Done(outcome) => outcome,
        Answer::Impossible(why) => return Err(Error::input("the stress test is not possible here", why)),
    };
    let code = if outcome.wrong.is_some() { EXIT_WRONG } else { 0 };
    match format {
        Format::Text => print(&outcome, out)?,
        Format::Json => {
            let schema = "invar.stress/1";
            let version = env!("CARGO_PKG_VERSION");
            listing::json(out, &StressDocument { schema, version, protocol: name(options.protocol), outcome })?;
        }
    }
    Ok(code)
}

/// What the process does that this command has started: it tests, and writes its answer for [`run`].
pub fn run_here(options: &StressOptions, command: u32, out: &mut dyn Write) -> Result<()> {
    listing::json(out, &answer(options, command))?;
    Ok(())
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)))]
fn answer(options: &StressOptions, command: u32) -> Answer {
    x86_64::run(options, command)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable))))]
fn answer(_: &StressOptions, _: u32) -> Answer {
    Answer::Impossible(format!("the folder `{}` of arch leaves no sites", invar_arch::NAME))
}

fn in_process_of_its_own(options: &StressOptions) -> Result<Answer> {
    let this = std::env::current_exe().map_err(|error| Error::input("this program cannot be found", error))?;
    let limit = match options.limit {
        Limit::Seconds(number) => format!("--seconds={number}"),
        Limit::Executions(number) => format!("--executions={number}"),
    };
    let mut command = Command::new(&this);
    command.arg("stress").arg(format!("--here={}", std::process::id())).arg(limit);
    command.arg(format!("--threads={}", options.threads)).arg(format!("--protocol={}", name(options.protocol)));
    // Said once is enough.
    command.env_remove("INVAR_REPORT").env_remove("INVAR_HELP");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Error::Command(this.to_string_lossy().into_owned(), error))?;
    match output.status.signal() {
        // What a process does to itself. Others are sent by somebody, and say nothing of sites.
        Some(signal @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGABRT)) => {
            let wrong = Some(format!("the process was ended by signal {signal}"));
            Ok(Answer::Done(StressOutcome { threads: options.threads as u64, wrong, ..StressOutcome::default() }))
        }
        _ => serde_json::from_slice(&output.stdout).map_err(|_| {
            Error::input("the stress test", format!("its process has ended without an answer: {}", output.status))
        }),
    }
}

fn name(protocol: Protocol) -> String {
    protocol.to_possible_value().expect("none is skipped").get_name().into()
}

/// A kind, and how many there are of it.
type KindColumn = (&'static str, fn(&ByKind) -> u64);

/// What the text has of each kind.
const KINDS: [KindColumn; 7] = [
    ("branches", |number| number.branch),
    ("slice enters", |number| number.enter),
    ("slice leaves", |number| number.leave),
    ("ordered branches", |number| number.ordered),
    ("selects", |number| number.select),
    ("constants", |number| number.constant),
    ("all", ByKind::total),
];

fn print(outcome: &StressOutcome, out: &mut dyn Write) -> Result<()> {
    let StressOutcome { threads, sites, sites_across_lines, sites_across_pages, milliseconds, exchanges, .. } = outcome;
    let seconds = *milliseconds as f64 / 1000.0;
    let Exchanges { swap, memfd, in_place } = exchanges;
    let in_place = if *in_place > 0 { format!(", {in_place} in place") } else { String::new() };
    writeln!(out, "{} for {seconds:.1} seconds", count(*threads, "thread"))?;
    writeln!(out, "{sites} sites, {sites_across_lines} across two cache lines, {sites_across_pages} across two pages")?;
    writeln!(out, "{} of pages: {swap} by swap, {memfd} by memfd{in_place}", count(exchanges.total(), "exchange"))?;
    let StressOutcome { executions, stood, switched, missed_requests, remarks, wrong, .. } = outcome;
    writeln!(out, "{:20}{:>20}{:>24}", "", "executions", "with a thread inside")?;
    for (what, of) in KINDS {
        writeln!(out, "{what:20}{:>20}{:>24}", of(executions), of(stood))?;
    }
    writeln!(out, "the key was set {} as a switch, while threads ran", count(*switched, "time"))?;
    let missed = count(*missed_requests, "request");
    writeln!(out, "{missed} missed by threads inside a slice enter, which is allowed")?;
    for remark in remarks {
        listing::wrap(out, "", remark)?;
    }
    match wrong {
        None => {
            writeln!(out, "right: results, registers and request bytes are as they must be, and no thread faulted")?
        }
        Some(what) => listing::wrap(out, "WRONG: ", what)?,
    }
    Ok(())
}
