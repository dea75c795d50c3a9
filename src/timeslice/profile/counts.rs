//! What was counted, for who asks: of the process, and of each of its threads. And this module's view of the table.
#![allow(unsafe_code)]

use super::counting::Counting;
use super::table::Table;
use crate::sys;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// What slice sites asked for and got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Sections begun.
    pub requests: u64,
    /// Grants that were still there when the section ended. The kernel's own count is higher by those that ran out.
    pub grants: u64,
    /// Of those, sections that gave up the CPU in time.
    pub yields: u64,
    /// Requests that were gone, and no grant there: it ran out, or a system call ended it; or the thread was
    /// rescheduled without one, or a section inside ended the request.
    pub lost: u64,
}

/// What this process's sections asked for and got, where `INVAR_SLICE=count` or `profile` has it counted.
pub fn counts() -> Option<Counts> {
    let mut all = Counts::default();
    each_thread_counts(|_, counts| {
        all.requests += counts.requests;
        all.grants += counts.grants;
        all.yields += counts.yields;
        all.lost += counts.lost;
    })
    .then_some(all)
}

/// The same by threads: calls `visit` with each thread's number, as `gettid(2)` gives it, and its counts; `false` where nothing
/// is counted.
///
/// The first has number 0, and stands for all threads for which there was no place (`docs/profile.md`). A thread that was given
/// the memory of a thread that ended adds to the counts of that.
pub fn each_thread_counts(mut visit: impl FnMut(u32, Counts)) -> bool {
    each_thread(&mut visit)
}

/// Visits the threads that entered sections: number, and what they did. The first has number 0, and counts for threads
/// beyond the first thousand. A thread counts on for one that ended, whose memory it was given.
fn each_thread(visit: &mut dyn FnMut(u32, Counts)) -> bool {
    let Some(table) = table() else { return false };
    for thread in table.threads() {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let counts = Counts {
            requests: count(&thread.requests),
            grants: count(&thread.grants),
            yields: count(&thread.yields),
            lost: count(&thread.lost),
        };
        visit(thread.number.load(Relaxed) as u32, counts);
    }
    true
}

/// This module's view of the process's table; null where nothing is counted.
pub(super) static TABLE: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());

/// This process's number, in memory that a child of `fork` finds blank; null where there is none.
pub(super) static PROCESS: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

/// The process's number: by a system call once, and where the kernel is too old for such memory that of the parent.
pub(super) fn process() -> u64 {
    // SAFETY: null, or memory that is never unmapped.
    let Some(known) = (unsafe { PROCESS.load(Relaxed).as_ref() }) else { return 0 };
    match known.load(Relaxed) {
        0 => {
            let process = sys::process_id();
            known.store(process, Relaxed);
            process
        }
        process => process,
    }
}

pub(super) fn table() -> Option<&'static Table> {
    // SAFETY: null, or a table that is never unmapped.
    unsafe { TABLE.load(Relaxed).as_ref() }
}

pub(super) fn sites_count(table: &Table) -> bool {
    table.header.counting.load(Relaxed) == Counting::Profile as u64
}
