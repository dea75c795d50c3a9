//! Programs that know nothing of time slices get them in the C library's locks, by `invar run`, also under a kernel that
//! kills who breaks the protocol; and each lock means what it meant.

use crate::kernels::{Kernel, facts, job};
use crate::libcs::UNREGISTERED;
use crate::programs::{PRELOAD, no_make};
use crate::test;
use invar_guest::console::Job;
use invar_guest::machine::Run;
use libtest_mimic::Trial;

/// The kinds of locks that a program can want.
pub const KINDS: [&str; 4] = ["mutex", "spin", "rwlock", "c11"];
const MILLISECONDS: &str = "200";

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// By itself.
    Alone,
    /// By `invar run`; where glibc's areas are too small, the runtime owns them.
    Run,
    /// With the library in `LD_PRELOAD`, by hand.
    ByHand,
}

impl Way {
    const ALL: [Self; 3] = [Self::Alone, Self::Run, Self::ByHand];

    fn what(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Run => "by invar run",
            Self::ByHand => "the library preloaded",
        }
    }

    fn name(self, words: &str) -> String {
        format!("unmodified, {words}, {}", self.what())
    }

    fn job(self, words: &str) -> Job {
        let command: Vec<_> = words.split(' ').collect();
        match self {
            Self::Alone => job(self.name(words), &[], &command),
            Self::Run => {
                let run = ["/bin/invar", "run", "--own-rseq", "--library", PRELOAD, "--"];
                job(self.name(words), &[], &[&run[..], &command].concat())
            }
            Self::ByHand => job(self.name(words), &[UNREGISTERED, ("LD_PRELOAD", PRELOAD)], &command),
        }
    }
}

fn contest(kind: &str) -> String {
    format!("/bin/unmodified {kind} {MILLISECONDS}")
}

const LOCKS: &str = "/bin/locks";
/// Without `--own-rseq`, where glibc's areas are too small: the program is run as if by itself.
const EXPLAINED: &str = "unmodified, and glibc owns the areas";

/// Counted by `invar run --profile`, by the places that call.
const PROFILED: &str = "unmodified, and counted";

const GRANTING: [Kernel; 2] = [Kernel::On, Kernel::Strict];

pub fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for kernel in GRANTING {
        let missing = || kernel.missing().or_else(no_make);
        let name = |what: &str| format!("unmodified programs, {what}, kernel {}", kernel.name());
        let whose = format!("kernel {}", kernel.name());
        tests.extend(KINDS.map(|kind| {
            let whose = whose.clone();
            test(name(kind), missing(), move || granted_where_they_were_not(kernel.run(), &whose, kind))
        }));
        // It waits and makes system calls under its locks. After a revoked grant a strict kernel kills for that (docs/sections.md),
        // and when a grant is revoked is a matter of chance.
        if kernel == Kernel::On {
            tests.push(test(name("POSIX"), missing(), move || locks_mean_what_they_meant(kernel.run())));
        }
        tests.push(test(name("counted"), missing(), move || the_caller_is_named(kernel.run())));
        tests.push(test(name("not asked"), missing(), move || ownership_is_not_changed_unasked(kernel)));
    }
    tests
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if !kernel.grants() || no_make().is_some() {
        return vec![];
    }
    let mut jobs = every_job(kernel);
    jobs.push(job(
        EXPLAINED,
        &[],
        &["/bin/invar", "run", "--library", PRELOAD, "--", "/bin/unmodified", "mutex", "20"],
    ));
    jobs
}

/// Those that mean the same on each machine.
pub fn every_job(kernel: Kernel) -> Vec<Job> {
    let words = KINDS.map(contest).into_iter().chain((kernel == Kernel::On).then(|| LOCKS.to_owned()));
    let mut jobs: Vec<_> = words.flat_map(|words| Way::ALL.map(|way| way.job(&words))).collect();
    if kernel.grants() {
        let run = ["/bin/invar", "run", "--own-rseq", "--library", PRELOAD, "--profile", "--"];
        jobs.push(job(PROFILED, &[], &[&run[..], &["/bin/unmodified", "mutex", MILLISECONDS]].concat()));
    }
    jobs
}

/// `whose` run it is, in words.
pub fn granted_where_they_were_not(run: &'static Run, whose: &str, kind: &str) {
    println!("\nhow often threads had the lock, {whose}, {kind}");
    for way in Way::ALL {
        let name = way.name(&contest(kind));
        let facts = facts(run, &name);
        let counts = run.outcomes[&name].counts.expect("counts");
        println!("  {:22}{:>8} times; {counts}", way.what(), facts["times"]);
        assert_eq!(facts["alone"], "yes", "{name}");
        if way == Way::Alone {
            assert_eq!((counts.granted, counts.yielded), (0, 0), "{name}: {counts}");
        } else {
            assert!(counts.granted > 10 && counts.yielded * 10 >= counts.granted * 9, "{name}: {counts}");
        }
    }
}

pub fn locks_mean_what_they_meant(run: &'static Run) {
    let said = |way: Way| run.output(&way.name(LOCKS)).unwrap_or_else(|error| panic!("{error}"));
    assert!(said(Way::Alone).lines().count() > 40, "{}", said(Way::Alone));
    for way in [Way::Run, Way::ByHand] {
        assert_eq!(said(way), said(Way::Alone), "{way:?}");
        let counts = run.outcomes[&way.name(LOCKS)].counts.expect("counts");
        assert!(counts.granted > 0, "{way:?}: {counts}");
    }
}

pub fn the_caller_is_named(run: &'static Run) {
    let said = run.output(PROFILED).unwrap_or_else(|error| panic!("{error}"));
    let counts = run.outcomes[PROFILED].counts.expect("counts");
    println!("{said}\n{counts}");
    assert!(said.contains("gains: contend") && counts.granted > 10, "{said}");
}

fn ownership_is_not_changed_unasked(kernel: Kernel) {
    let said = kernel.run().output(EXPLAINED).unwrap_or_else(|error| panic!("{error}"));
    let counts = kernel.run().outcomes[EXPLAINED].counts.expect("counts");
    // With a newer glibc there is nothing to explain, and time is granted.
    let explained = said.contains("--own-rseq does that, for this program only");
    assert!(said.contains("alone\tyes") && explained == (counts.granted == 0), "{said} {counts}");
}
