//! The guest itself: it is the same in every run, and one that hangs is stopped.

use crate::boots::{Kernel, image, job};
use crate::test;
use libtest_mimic::Trial;
use std::time::Duration;

pub fn tests() -> Vec<Trial> {
    vec![
        test("a repeated run is the same, byte by byte", Kernel::On.missing(), a_repeated_run_is_the_same),
        test("a guest that hangs is stopped", Kernel::On.missing(), a_guest_that_hangs_is_stopped),
        test("a guest that goes down is not taken for one that is well", Kernel::On.missing(), a_guest_that_goes_down),
    ]
}

fn a_repeated_run_is_the_same() {
    let again = Kernel::On.boot().unwrap_or_else(|error| panic!("{error}"));
    assert!(!again.stopped && again.outcomes.len() > 5, "{}", again.console);
    assert_eq!(Kernel::On.run().console, again.console);
}

fn a_guest_that_hangs_is_stopped() {
    let mut machine = Kernel::OffAtBoot.machine();
    machine.limit = Duration::from_secs(15);
    let jobs = [job("well", &[], &["/bin/sections"]), job("hangs", &[], &["/bin/confine", "hang"])];
    let run = machine.run(&image(), &jobs).unwrap_or_else(|error| panic!("{error}"));
    assert!(run.stopped);
    assert!(run.output("well").is_ok(), "{}", run.console);
    let error = run.outcome("hangs").unwrap_err().to_string();
    assert!(error.starts_with("the guest was stopped at its time limit before `hangs`"), "{error}");
    assert!(error.contains("### begin hangs\n"), "its console is shown: {error}");
}

fn a_guest_that_goes_down() {
    let mut machine = Kernel::OffAtBoot.machine();
    machine.line += " rdinit=/nothing";
    let run = machine.run(&image(), &[job("any", &[], &["/bin/sections"])]).unwrap_or_else(|error| panic!("{error}"));
    let error = run.output("any").unwrap_err().to_string();
    assert!(error.starts_with("the guest went down before `any`") && error.contains("Kernel panic"), "{error}");
}
