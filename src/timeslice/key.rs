//! The time slice key. What decides it is its probe (`probe`); what its verdict says of memory, `area` reads.

use crate::key::handle::Key;
#[cfg(feature = "timeslice")]
use crate::key::state::Verdict;
#[cfg(feature = "timeslice")]
use invar_abi::Origin;

/// The time slice key, named `slice`. It is on where every thread has an area for requests at one constant offset, on a kernel that
/// grants. It does not say that a thread is *enabled*: in a thread that is not, requests have no effect.
pub static SLICE: Key<bool> = Key::new();

/// Whether the key is on, and not because it was forced.
#[cfg(feature = "timeslice")]
pub(super) fn is_available() -> bool {
    let mut verdict = Verdict::undecided();
    SLICE.copy(&mut verdict) && verdict.value != 0 && verdict.origin() != Origin::Forced
}
