//! Threads of every sort are enrolled by the lock that they contend for, whoever started them, and again after somebody
//! switched the extension off; then they are granted time.

use crate::kernels::{Kernel, facts};
use crate::libcs::Libc;
use crate::programs::LIBRARY;
use crate::test;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::debian::GLIBCS;
use invar_guest::image::Image;
use libtest_mimic::Trial;

/// Who registers the threads' areas: this program, and libc.
fn libcs() -> [Libc; 2] {
    let [oldest, middle, _] = &GLIBCS;
    [Libc::Unregistered(oldest), Libc::Plain(middle)]
}

fn cells() -> impl Iterator<Item = (Kernel, Libc)> {
    let kernels = || Kernel::ALL.into_iter().filter(|kernel| kernel.grants());
    libcs().into_iter().flat_map(move |libc| kernels().map(move |kernel| (kernel, libc)))
}

fn name(kernel: Kernel, libc: Libc) -> String {
    format!("threads enrol, kernel {}, {}", kernel.name(), libc.name())
}

pub fn tests() -> Vec<Trial> {
    let cell = |(kernel, libc): (Kernel, Libc)| {
        let missing = kernel.missing().or_else(|| libc.missing());
        test(name(kernel, libc), missing, move || threads_enrol(kernel, libc))
    };
    cells().map(cell).collect()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let cells = cells().filter(|(of, libc)| *of == kernel && libc.missing().is_none());
    cells.map(|(kernel, libc)| libc.job(name(kernel, libc), &["enrol", LIBRARY], image)).collect()
}

fn threads_enrol(kernel: Kernel, libc: Libc) {
    let name = name(kernel, libc);
    let facts = facts(kernel.run(), &name);
    const ENROLLED: &str = "enabled before 0, after 2, granted 2";
    // Where libc registers areas it has none for a thread that it did not start: correct, and without the benefit. And each
    // of its own has one from the beginning.
    let (unknown_to_libc, idle) = match libc {
        Libc::Unregistered(_) => (ENROLLED, "None"),
        _ => ("enabled before 0, after 0, granted 0", "enabled false, request left false"),
    };
    let expected = [
        ("by hand", "Ok(())"),
        ("child after fork", "enabled"),
        ("child after fork, granted", "true"),
        ("threads of the child", ENROLLED),
        ("child ended with", "0"),
        ("audit of this thread", "enabled true, request left false"),
        ("audit of one that forgot", "enabled true, request left true"),
        ("audit of one that is idle", idle),
        ("std::thread", ENROLLED),
        ("std::thread, spin lock", ENROLLED),
        ("pthread_create", ENROLLED),
        ("thrd_create", ENROLLED),
        ("SIGEV_THREAD", ENROLLED),
        ("clone", unknown_to_libc),
        ("pool of a library", ENROLLED),
        ("the library's verdict", "1, 0 sites bound"),
        ("before the hostile thread", ENROLLED),
        ("main thread, switched off", "true"),
        ("after the hostile thread", ENROLLED),
        ("main thread, enrolled again", "true"),
    ];
    let all: Vec<_> = expected.iter().map(|(name, _)| (*name, *facts.get(name).unwrap_or(&"nothing"))).collect();
    assert_eq!(all, expected);
    let counted = kernel.run().outcomes[&name].counts.expect("counts");
    assert!(counted.granted >= 20 && counted.yielded > 0, "{counted}");
}
