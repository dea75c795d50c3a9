//! Programs that know nothing of time slices get them in the C library's locks, by `invar run`, also under a kernel that
//! kills who breaks the protocol; and each lock means what it meant.

use crate::kernels::{Kernel, facts, job};
use crate::libcs::UNREGISTERED;
use crate::programs::{PRELOAD, no_make};
use crate::test;
use invar_guest::console::Job;
use libtest_mimic::Trial;

/// The kinds of locks that a program can want.
const KINDS: [&str; 4] = ["mutex", "spin", "rwlock", "c11"];
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
        tests.extend(KINDS.map(|kind| test(name(kind), missing(), move || granted_where_they_were_not(kernel, kind))));
        // It waits and makes system calls under its locks. After a revoked grant a strict kernel kills for that (docs/sections.md),
        // and when a grant is revoked is a matter of chance.
        if kernel == Kernel::On {
            tests.push(test(name("POSIX"), missing(), move || locks_mean_what_they_meant(kernel)));
        }
        tests.push(test(name("counted"), missing(), move || the_caller_is_named(kernel)));
        tests.push(test(name("not asked"), missing(), move || ownership_is_not_changed_unasked(kernel)));
    }
    tests
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if !kernel.grants() || no_make().is_some() {
        return vec![];
    }
    let words = KINDS.map(contest).into_iter().chain((kernel == Kernel::On).then(|| LOCKS.to_owned()));
    let mut jobs: Vec<_> = words.flat_map(|words| Way::ALL.map(|way| way.job(&words))).collect();
    jobs.push(job(
        EXPLAINED,
        &[],
        &["/bin/invar", "run", "--library", PRELOAD, "--", "/bin/unmodified", "mutex", "20"],
    ));
    let run = ["/bin/invar", "run", "--own-rseq", "--library", PRELOAD, "--profile", "--"];
    jobs.push(job(PROFILED, &[], &[&run[..], &["/bin/unmodified", "mutex", MILLISECONDS]].concat()));
    jobs
}

fn granted_where_they_were_not(kernel: Kernel, kind: &str) {
    println!("\nhow often threads had the lock, kernel {}, {kind}", kernel.name());
    for way in Way::ALL {
        let name = way.name(&contest(kind));
        let facts = facts(kernel.run(), &name);
        let counts = kernel.run().outcomes[&name].counts.expect("counts");
        println!("  {:22}{:>8} times; {counts}", way.what(), facts["times"]);
        assert_eq!(facts["alone"], "yes", "{name}");
        if way == Way::Alone {
            assert_eq!((counts.granted, counts.yielded), (0, 0), "{name}: {counts}");
        } else {
            assert!(counts.granted > 10 && counts.yielded * 10 >= counts.granted * 9, "{name}: {counts}");
        }
    }
}

fn locks_mean_what_they_meant(kernel: Kernel) {
    let said = |way: Way| kernel.run().output(&way.name(LOCKS)).unwrap_or_else(|error| panic!("{error}"));
    assert!(said(Way::Alone).lines().count() > 40, "{}", said(Way::Alone));
    for way in [Way::Run, Way::ByHand] {
        assert_eq!(said(way), said(Way::Alone), "{way:?}");
        let counts = kernel.run().outcomes[&way.name(LOCKS)].counts.expect("counts");
        assert!(counts.granted > 0, "{way:?}: {counts}");
    }
}

fn the_caller_is_named(kernel: Kernel) {
    let said = kernel.run().output(PROFILED).unwrap_or_else(|error| panic!("{error}"));
    let counts = kernel.run().outcomes[PROFILED].counts.expect("counts");
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
