//! What was counted of this process and of its threads, and where this module finds it.
#![allow(unsafe_code)]

use super::super::answers::Counts;
use super::counting::Counting;
use super::table::Table;
use crate::sys;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// What this process's critical sections requested, and what came of it, where `INVAR_SLICE=count` or `profile` has it counted.
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

/// The same by threads: calls `visit` with each thread's ID, as `gettid(2)` gives it, and its counts; `false` where nothing
/// is counted.
///
/// The first has ID 0, and stands for all threads for which there was no place (`docs/profile.md`). A thread that was given
/// the memory of a thread that ended adds to the counts of that.
pub fn each_thread_counts(mut visit: impl FnMut(u32, Counts)) -> bool {
    each_thread(&mut visit)
}

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

/// This process's ID, in memory that a child of `fork` finds blank; null where there is none.
pub(super) static PROCESS_ID: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

/// The process ID: by a system call once, and where the kernel is too old for such memory that of the parent.
pub(super) fn process_id() -> u64 {
    // SAFETY: null, or memory that is never unmapped.
    let Some(known) = (unsafe { PROCESS_ID.load(Relaxed).as_ref() }) else { return 0 };
    match known.load(Relaxed) {
        0 => {
            let id = sys::process_id();
            known.store(id, Relaxed);
            id
        }
        id => id,
    }
}

pub(super) fn table() -> Option<&'static Table> {
    // SAFETY: null, or a table that is never unmapped.
    unsafe { TABLE.load(Relaxed).as_ref() }
}

pub(super) fn sites_count(table: &Table) -> bool {
    table.header.counting.load(Relaxed) == Counting::Profile as u64
}
