//! A library whose constructor runs before the program's: it decides the time slice key by the program's probe, and both are
//! granted in the program's area.

use crate::kernels::{Kernel, assert_given_up, facts, job};
use crate::libcs::UNREGISTERED;
use crate::programs::LIBRARY;
use crate::test;
use invar_guest::console::Job;
use libtest_mimic::Trial;

const NAME: &str = "a library is loaded before the program";

pub fn tests() -> Vec<Trial> {
    let test = |kernel: Kernel| {
        test(format!("{NAME}, kernel {}", kernel.name()), kernel.missing(), move || granted_all_the_same(kernel))
    };
    [Kernel::On, Kernel::Strict].map(test).into()
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    let environment = [UNREGISTERED, ("LD_PRELOAD", LIBRARY)];
    if kernel.grants() { vec![job(NAME, &environment, &["/bin/sections"])] } else { vec![] }
}

fn granted_all_the_same(kernel: Kernel) {
    let facts = facts(kernel.run(), NAME);
    assert_eq!(facts["slice"], "on", "{}", facts["evidence"]);
    assert!(facts["evidence"].contains("area of invar at thread pointer"), "{}", facts["evidence"]);
    assert_eq!((facts["grants"], facts["yields"]), (facts["sections"], facts["sections"]));
    let counted = kernel.run().outcomes[NAME].counts.expect("counts");
    assert_given_up(&counted, 16, counted.yielded);
}
