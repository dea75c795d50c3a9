//! Filters that refuse or kill for the two calls of the slice extension.

use crate::kernels::{Kernel, assert_given_up, facts, job};
use crate::libcs::UNREGISTERED;
use crate::test;
use invar_guest::console::{Counts, End, Job};
use libtest_mimic::Trial;

/// Filters that stand when the program begins.
struct Before {
    rules: &'static str,
    /// What the evidence says.
    evidence: &'static str,
    then: Then,
}

/// What comes of sections.
enum Then {
    /// The extension is off.
    Off,
    /// Each grant ends with `sched_yield`.
    SchedYield,
    /// Grants are left to expire.
    Expire,
}

const BEFORE: &[Before] = &[
    Before { rules: "prctl=1", evidence: "refused by a seccomp filter: prctl 79 gives errno 1;", then: Then::Off },
    Before { rules: "prctl=38", evidence: "refused by a seccomp filter: prctl 79 gives errno 38;", then: Then::Off },
    Before { rules: "prctl=kill", evidence: "refused by a seccomp filter: prctl 79 kills;", then: Then::Off },
    Before {
        rules: "prctl=kill yield=kill",
        evidence: "refused by a seccomp filter: prctl 79 kills;",
        then: Then::Off,
    },
    Before {
        rules: "yield=1",
        evidence: "a seccomp filter refuses 471: yields by sched_yield",
        then: Then::SchedYield,
    },
    Before {
        rules: "yield=38",
        evidence: "a seccomp filter refuses 471: yields by sched_yield",
        then: Then::SchedYield,
    },
    Before {
        rules: "yield=kill",
        evidence: "a seccomp filter refuses 471: yields by sched_yield",
        then: Then::SchedYield,
    },
    Before {
        rules: "yield=kill sched_yield=kill",
        evidence: "a seccomp filter kills on 471 and sched_yield: grants are left to expire",
        then: Then::Expire,
    },
];

/// Filters that are installed once the program runs; and whether the end of a granted section then kills.
const AFTER: &[(&str, bool)] =
    &[("prctl=1", false), ("prctl=kill", false), ("yield=1", false), ("yield=38", false), ("yield=kill", true)];

/// What a filter kills with.
const SIGSYS: i32 = 31;

const KERNEL: Kernel = Kernel::Strict;

fn before(rules: &str) -> String {
    format!("filter before load: {rules}")
}

fn after(rules: &str) -> String {
    format!("filter after load: {rules}")
}

pub fn tests() -> Vec<Trial> {
    let before = BEFORE.iter().map(|case| test(before(case.rules), KERNEL.missing(), || check_before(case)));
    let after =
        AFTER.iter().map(|&(rules, kills)| test(after(rules), KERNEL.missing(), move || check_after(rules, kills)));
    before.chain(after).collect()
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if kernel != KERNEL {
        return vec![];
    }
    let words = |first, rules: &'static str, last: &[&'static str]| {
        [first].into_iter().chain(rules.split(' ')).chain(last.iter().copied()).collect::<Vec<_>>()
    };
    let before = BEFORE.iter().map(|case| {
        job(before(case.rules), &[UNREGISTERED], &words("/bin/confine", case.rules, &["--", "/bin/sections"]))
    });
    let after = AFTER.iter().map(|(rules, _)| job(after(rules), &[UNREGISTERED], &words("/bin/sections", rules, &[])));
    before.chain(after).collect()
}

fn check_before(case: &Before) {
    let name = before(case.rules);
    let facts = facts(KERNEL.run(), &name);
    let counted = KERNEL.run().outcomes[&name].counts.expect("counts");
    assert!(facts["evidence"].contains(case.evidence), "{}", facts["evidence"]);
    let number = |name| facts[name].parse::<u64>().unwrap();
    let (sections, grants, yields) = (number("sections"), number("grants"), number("yields"));
    match case.then {
        Then::Off => {
            assert_eq!(facts["slice"], "off");
            assert_eq!((grants, counted), (0, Counts::default()));
        }
        Then::SchedYield => {
            assert_eq!(facts["slice"], "on");
            assert_eq!((grants, yields), (sections, sections));
            assert_given_up(&counted, grants, counted.aborted);
        }
        Then::Expire => {
            assert_eq!(facts["slice"], "on");
            assert_eq!((grants, yields), (sections, 0));
            // The kernel took back each.
            assert!(counted.granted >= grants && counted.revoked == counted.granted, "{counted}");
        }
    }
}

fn check_after(rules: &'static str, kills: bool) {
    let name = after(rules);
    let outcome = KERNEL.run().outcome(&name).unwrap_or_else(|error| panic!("{error}"));
    let counted = outcome.counts.expect("counts");
    if kills {
        // Nothing in the process can foresee it; `docs/security.md` names the call that must be let through.
        assert_eq!(outcome.end, End::Signal(SIGSYS), "{}", outcome.output);
        // One more if time ran out before the first looked for its grant.
        assert!((1..=2).contains(&counted.granted), "not at the end of its first granted section: {counted}");
        return;
    }
    let facts = facts(KERNEL.run(), &name);
    assert!(
        facts["evidence"].starts_with("available") && !facts["evidence"].contains("filter"),
        "{}",
        facts["evidence"]
    );
    assert_eq!(facts["filters"], "1", "it stands once the program runs");
    assert_eq!((facts["grants"], facts["yields"]), (facts["sections"], facts["sections"]), "{counted}");
    let grants = facts["grants"].parse().expect("a number");
    assert_given_up(&counted, grants, counted.yielded + counted.aborted);
}
