//! That the strict kernel is strict: it kills who breaks the protocol, and the other one does not. What runs there
//! without a signal keeps to the protocol.

use crate::kernels::{Kernel, job};
use crate::libcs::UNREGISTERED;
use crate::test;
use invar_guest::console::{End, Job};
use invar_guest::machine::Run;
use libtest_mimic::Trial;

const NAME: &str = "a request that is set again while time is extended";
/// What the kernel kills with (Linux 7.0, kernel/rseq.c).
pub const KILLED: End = End::Signal(11);

pub fn tests() -> Vec<Trial> {
    let test = |(kernel, end): (Kernel, End)| {
        test(format!("{NAME}, kernel {}", kernel.name()), kernel.missing(), move || {
            ends(kernel.run(), end);
        })
    };
    [(Kernel::On, End::Exit(0)), (Kernel::Strict, KILLED)].map(test).into()
}

/// How who breaks the protocol ended.
pub fn ends(run: &Run, end: End) {
    let outcome = run.outcome(NAME).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome.end, end, "{}", outcome.output);
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if kernel.grants() { vec![violate()] } else { vec![] }
}

/// For a kernel that grants.
pub fn violate() -> Job {
    job(NAME, &[UNREGISTERED], &["/bin/violate"])
}
