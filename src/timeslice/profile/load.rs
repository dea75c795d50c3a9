//! What happens to the counting form when a module is loaded.
#![allow(unsafe_code)]

use super::counting::COUNTING;
use super::counts::{PROCESS_ID, TABLE, process_id};
use super::table::{MAGIC, Table};
use super::watch;
use crate::key::state::Verdict;
use crate::module::Module;
use crate::sys;
use crate::timeslice::key::SLICE;
use crate::timeslice::section;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use invar_abi::Origin;
use invar_arch as arch;

/// Whether this module's slice sites stay in checked form, to be counted. Begins to, where the keys say so.
#[cold]
pub(crate) fn load(own: &Module<'_>) -> bool {
    let mut verdict = Verdict::undecided();
    if !SLICE.get() || !COUNTING.copy(&mut verdict) || verdict.value == 0 {
        return false;
    }
    let table = verdict.data as usize as *mut Table;
    // SAFETY: what a key of this name carries is a table, in memory that is never unmapped.
    let Some(known) = (unsafe { table.as_ref() }) else { return false };
    if known.header.magic.load(Relaxed) != MAGIC {
        return false;
    }
    let granting = SLICE.verdict().is_some_and(|verdict| verdict.origin() != Origin::Forced);
    known.header.grants.store(granting.into(), Relaxed);
    let mut buffer = [0; 1024];
    known.add_module(own.range(), if own.is_program() { sys::program_path(&mut buffer) } else { own.path.to_bytes() });
    // libinvar is here once for each module that it loads.
    if PROCESS_ID.load(Relaxed).is_null()
        && let Ok(blank) = sys::blank_after_fork()
    {
        PROCESS_ID.store(blank as *mut AtomicU64, Relaxed);
        process_id();
    }
    TABLE.store(table, Relaxed);
    arch::observe::<watch::Watch>().map(section::observe).is_some()
}

/// Makes a module known that has no sites of its own, and whose calls are counted.
#[cfg(feature = "capi")]
pub(crate) fn add_module(range: core::ops::Range<usize>, path: &[u8]) {
    if let Some(table) = super::counts::table() {
        table.add_module(range, path);
    }
}
