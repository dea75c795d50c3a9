//! That the strict kernel is strict: it kills who breaks the protocol, and the other one does not. What runs there
//! without a signal keeps to the protocol.

use crate::kernels::{Kernel, job};
use crate::libcs::UNREGISTERED;
use crate::test;
use invar_guest::console::{End, Job};
use libtest_mimic::Trial;

const NAME: &str = "a request that is set again while time is extended";
/// What the kernel kills with (Linux 7.0, kernel/rseq.c).
const SIGSEGV: i32 = 11;

pub fn tests() -> Vec<Trial> {
    let test = |(kernel, end): (Kernel, End)| {
        test(format!("{NAME}, kernel {}", kernel.name()), kernel.missing(), move || {
            let outcome = kernel.run().outcome(NAME).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(outcome.end, end, "{}", outcome.output);
        })
    };
    [(Kernel::On, End::Exit(0)), (Kernel::Strict, End::Signal(SIGSEGV))].map(test).into()
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if kernel.grants() { vec![job(NAME, &[UNREGISTERED], &["/bin/violate"])] } else { vec![] }
}
