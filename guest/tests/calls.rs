//! A thread is enrolled by as many system calls as the documentation of `slice::enrol` says.

use crate::kernels::{Kernel, facts};
use crate::libcs::Libc;
use crate::test;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::glibc::GLIBCS;
use invar_guest::image::Image;
use libtest_mimic::Trial;

/// Who registers the threads' areas: libc, this program, and this program where it must take them back.
fn libcs() -> [Libc; 3] {
    let [oldest, middle, _] = &GLIBCS;
    [Libc::Plain(middle), Libc::Unregistered(oldest), Libc::Musl]
}

fn name(libc: Libc) -> String {
    format!("calls by which threads are enrolled, {}", libc.name())
}

const KERNEL: Kernel = Kernel::On;

pub fn tests() -> Vec<Trial> {
    let trial = |libc: Libc| {
        let missing = KERNEL.missing().or_else(|| libc.missing());
        test(format!("{}, kernel {}", name(libc), KERNEL.name()), missing, move || calls(libc))
    };
    libcs().map(trial).into()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let libcs = libcs().into_iter().filter(|libc| kernel == KERNEL && libc.missing().is_none());
    libcs.map(|libc| libc.job(name(libc), &["calls"], image)).collect()
}

// Linux, arch/x86/entry/syscalls/syscall_64.tbl.
const RT_SIGPROCMASK: u32 = 14;
const PRCTL: u32 = 157;
const RSEQ: u32 = 334;

fn calls(libc: Libc) {
    let facts = facts(KERNEL.run(), &name(libc));
    println!("{facts:#?}");
    let first: &[u32] = if matches!(libc, Libc::Plain(_)) { &[PRCTL] } else { &[RSEQ, PRCTL] };
    assert_eq!(facts["first"], format!("{first:?}"));
    assert_eq!(facts["again"], "[]");
    assert_eq!(facts["switched off"], format!("[{PRCTL}]"));
    // Before its memory goes, and nowhere else.
    let given_back = format!("{RT_SIGPROCMASK}, {RSEQ}, {RT_SIGPROCMASK}");
    assert_eq!(facts["end"].contains(&given_back), matches!(libc, Libc::Musl));
    assert_eq!(facts["end"].contains(&RSEQ.to_string()), matches!(libc, Libc::Musl));
}
