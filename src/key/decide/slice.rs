//! What is said of the time slice key alone.

use crate::key::state::Verdict;
use crate::module::ModuleKey;
use crate::timeslice::{self, Requests};
use invar_abi::{Origin, flags};

/// Whether this module can have slice sites at all.
pub(crate) const SLICES: bool = cfg!(feature = "timeslice");

/// Whether it is *the* time slice key: there may be others for slice sites, as for measurements.
pub(crate) fn is_slice_key(key: &ModuleKey<'_>) -> bool {
    const BOTH: u8 = flags::SLICE | flags::TIMESLICE;
    key.flags & BOTH == BOTH
}

/// The time slice key by `INVAR_KEYS=slice=force`: the available form, on memory that is safe to write.
#[cold]
pub(super) fn force(verdict: &mut Verdict) {
    match timeslice::memory_for(Requests::Forced) {
        Some(data) => {
            verdict.start(1, Origin::Forced);
            verdict.data = data;
            verdict.evidence.text("INVAR_KEYS; requests go to memory that is safe to write, and nobody grants them");
        }
        None => verdict.fail("cannot be forced: a library needs an area of libc's (glibc 2.35 or newer)"),
    }
}
