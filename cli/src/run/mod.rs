//! `invar run`: time slices for a program that knows nothing of them.
//!
//! What can be done is decided here, before the program is there: where nothing can be gained it is run as if by itself.
//!
//! | module | what it does |
//! |---|---|
//! | [`subject`] | what the program is, and why nothing can be put in front of its calls |
//! | [`needed`] | the libraries that it needs, and which of them take locks |
//! | [`library`] | where `libinvar-preload.so.0` is |
//! | [`tunable`] | who owns the program's rseq areas |
//! | [`plan`] | what is done, and how that is shown |
//! | [`replace`](mod@replace) | this process becomes the program |

pub mod library;
pub mod needed;
pub mod plan;
pub mod replace;
pub mod subject;
pub mod tunable;

use crate::error::{Error, Result};
use crate::keys::{self, SLICE};
use crate::profile;
use crate::text::Format;
use plan::{Group, Plan, Preload};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use subject::Subject;
use tunable::Owner;

/// What is wanted.
pub struct RunOptions {
    /// The locks that ask for time; all of them if none is named.
    pub only: Vec<Group>,
    /// Let the runtime own the program's rseq areas, where its C library's are too small.
    pub own_rseq: bool,
    /// Say on standard error what is done.
    pub report: Option<Format>,
    /// Where the library is; if nothing is said, it is looked for.
    pub library: Option<PathBuf>,
    /// Count, and show that at the end: not only run.
    pub profile: Option<profile::ProfileOptions>,
}

/// Runs a command. Returns only if that is counted, with its exit code, or if it cannot be run.
pub fn of_command(command: Vec<OsString>, options: &RunOptions, out: &mut dyn Write) -> Result<u8> {
    let subject = Subject::find(&command[0])?;
    let plan = plan(&subject, options)?;
    // Where that cannot be written, the program runs all the same.
    if let Some(format) = options.report {
        let _ = plan.show(format, &mut io::stderr().lock());
    } else if let Some(advice) = &plan.advice {
        let _ = writeln!(io::stderr(), "invar: {}: {advice}", subject.name());
    }
    let environment = plan.environment();
    match &options.profile {
        Some(profile) => {
            let decides = plan.preload.as_ref().is_some_and(|preload| preload.tunables.is_some());
            profile::of_command(command, &profile::Start { environment, decides, not_in_front: None }, profile, out)
        }
        None => {
            let name = crate::text::clean(&crate::text::lossy(command[0].as_encoded_bytes()));
            Err(Error::Command(name, replace::replace(&command, &environment)))
        }
    }
}

/// Counts a command's critical sections; where it carries no sites of its own, those of the C library's locks.
pub fn count(
    command: Vec<OsString>,
    library: Option<PathBuf>,
    profile: profile::ProfileOptions,
    out: &mut dyn Write,
) -> Result<u8> {
    let (is_asked, options) = (
        library.is_some(),
        RunOptions { only: Vec::new(), own_rseq: false, report: None, library, profile: Some(profile) },
    );
    let in_front = Subject::find(&command[0]).and_then(|subject| {
        let has_sites = !is_asked && needed::of(&subject)?.has_sites();
        if has_sites { Ok(None) } else { plan(&subject, &options).map(Some) }
    });
    let start = match in_front {
        Ok(plan) => {
            profile::Start { environment: plan.map_or_else(Vec::new, |plan| plan.environment()), ..<_>::default() }
        }
        Err(error) if is_asked => return Err(error),
        Err(error) => profile::Start { not_in_front: Some(error.to_string()), ..<_>::default() },
    };
    profile::of_command(command, &start, options.profile.as_ref().expect("it was put there"), out)
}

fn plan(subject: &Subject, options: &RunOptions) -> Result<Plan> {
    let mut plan = Plan::new(subject, &options.only);
    if options.report.is_some() {
        plan.list(&needed::of(subject)?);
    }
    let granted = slice();
    let owning_helps = Owner::of_this_process() == Owner::TooSmall && tunable::kernel_has_the_field() && !is_off();
    let own = options.own_rseq && (owning_helps || granted.is_ok() && Owner::of_this_process() == Owner::TooSmall);
    // Durations can be counted anywhere.
    let counted = options.profile.is_some() && !is_off();
    plan.why = match granted {
        Ok(()) => "the time slice key is on".into(),
        Err(why) if own => format!("the program itself decides; without --own-rseq: {why}"),
        Err(_) if counted => "to count durations".into(),
        Err(why) => {
            plan.advice = owning_helps
                .then(|| format!("runs without time slices: {why} (--own-rseq does that, for this program only)"));
            plan.why = why;
            return Ok(plan);
        }
    };
    let needed = needed::of(subject)?;
    let refuse = |why: String| Err(Error::file(&subject.path, why));
    if let Some(other) = needed.owner_of_rseq() {
        return refuse(format!("{other} registers rseq areas of its own, and only one owner is possible"));
    }
    if let Some(first) = needed.first_of_all() {
        return refuse(format!("{first} ends the program where another library is in front of it"));
    }
    let tunables = own.then(|| tunable::owning(subject)).transpose()?;
    plan.preload = Some(Preload { library: library::find(options.library.as_deref())?, tunables });
    Ok(plan)
}

/// Whether this machine grants, as this command's own runtime has decided; the reason if not.
fn slice() -> std::result::Result<(), String> {
    if invar::timeslice::SLICE.get() {
        return Ok(());
    }
    let line = keys::own().into_iter().find(|line| line.name == SLICE);
    match line.and_then(|line| line.decision) {
        Some((_, why)) => Err(why),
        None if is_off() => Err("INVAR=off is set".into()),
        None => Err("the time slice key is not decided".into()),
    }
}

/// Whether settings turn everything off.
fn is_off() -> bool {
    std::env::var_os("INVAR").is_some_and(|mode| mode == OsStr::new("off"))
}
