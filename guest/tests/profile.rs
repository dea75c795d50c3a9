//! What the counting form counts is what the kernel counts, and the reasons that it gives for a loss are the right ones.

use crate::kernels::{Kernel, facts, job};
use crate::libcs::UNREGISTERED;
use crate::test;
use invar_guest::console::Job;
use invar_guest::machine::Run;
use libtest_mimic::Trial;
use std::collections::BTreeMap;

const NAME: &str = "sections are counted";

pub fn tests() -> Vec<Trial> {
    let kernels = [Kernel::On, Kernel::Strict].into_iter();
    kernels
        .map(|kernel| {
            test(format!("{NAME}, kernel {}", kernel.name()), kernel.missing(), move || counted(kernel.run()))
        })
        .collect()
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if kernel.grants() { vec![watched()] } else { vec![] }
}

/// For a kernel that grants.
pub fn watched() -> Job {
    let environment = [UNREGISTERED, ("INVAR_SLICE", "profile"), ("INVAR_PROFILE", "/tmp/%p.profile")];
    job(NAME, &environment, &["/bin/watched"])
}

pub fn counted(run: &'static Run) {
    let facts = facts(run, NAME);
    let kernels = run.outcomes[NAME].counts.expect("counts");
    let said = format!("{facts:#?}\n{kernels}");
    println!("{said}");
    let numbers = |name: &str| -> BTreeMap<&str, u64> {
        let numbers = facts[name].split(' ').map(|number| number.split_once('=').expect("NAME=NUMBER"));
        numbers.map(|(name, number)| (name, number.parse().expect("a number"))).collect()
    };

    let all = numbers("all");
    let cases = ["granted", "short", "too long", "with a system call", "nested", "not enrolled"].map(numbers);
    for what in ["requests", "grants", "yields", "lost"] {
        assert_eq!(cases.iter().map(|case| case[what]).sum::<u64>(), all[what], "{what}: {said}");
    }
    let [granted, short, too_long, with_call, nested, not_enrolled] = cases;
    assert_eq!(all["yields"], kernels.yielded, "{said}");
    // Each grant was there at the end of its section, or lost; hardly any request is lost to anything else.
    let granted_or_lost = all["grants"] + all["lost"] - nested["nested"];
    assert!(granted_or_lost.abs_diff(kernels.granted) <= 6, "{said}");

    // A section whose request became void before the grant is entered again. Time can run out before a section looks for its
    // grant, which is lost then, or between that look and the call.
    assert_eq!(granted["requests"], granted["grants"] + granted["lost"], "{said}");
    assert!(granted["requests"] >= 16 && granted["yields"] <= granted["grants"] && granted["yields"] > 8, "{said}");
    for case in [&granted, &short, &too_long, &with_call, &not_enrolled] {
        assert_eq!((case["sites"], case["held"]), (1, case["requests"]), "{said}");
    }
    assert!(short["grants"] >= 10 && short["lost"] <= 5, "{said}");
    let explained = |case: &BTreeMap<&str, u64>| case["too_long"] + case["interrupted"];
    for case in [&too_long, &with_call] {
        // The first loss of a site has no reason.
        assert_eq!(explained(case) + 1, case["lost"], "{said}");
        assert!(case["lost"] > 4, "{said}");
    }
    // The reason is an estimate: a section that the kernel spent long on is called too long, whatever ended it.
    assert!(too_long["too_long"] * 3 > explained(&too_long), "{said}");
    let by_call = with_call["interrupted"] * explained(&too_long);
    assert!(with_call["interrupted"] >= 4 && by_call > too_long["interrupted"] * explained(&with_call), "{said}");
    // The inner section ends the outer one's request, unless time was granted before.
    assert_eq!((nested["requests"], nested["lost"] + nested["grants"]), (20, 10), "{said}");
    assert!(nested["lost"] == nested["nested"] && nested["grants"] <= 2, "{said}");
    assert_eq!((not_enrolled["not_enrolled"], not_enrolled["lost"]), (2000, 0), "{said}");
    assert_eq!([granted, short, too_long, with_call].map(|case| case["not_enrolled"]), [0; 4], "{said}");
    let threads = ["for threads beyond the last", "first thread", "threads"].map(|name| facts[name]);
    assert_eq!(threads, ["0", "counted", "2"], "{said}");
}
