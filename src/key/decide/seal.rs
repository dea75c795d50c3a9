//! The end of a decision: the verdict as all will read it.

use super::slice::is_slice_key;
use crate::key::state::Verdict;
use crate::module::{Module, ModuleKey};
use crate::timeslice::{self, Requests};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use invar_abi::flags;
use invar_abi::outcome::said::{DECIDING, SEALING};
use invar_abi::state::number_width;

/// Seals a key of our own module, which slice sites may depend on: then its verdict says where requests go, and that is where
/// an area can be, or the key is off. Signals are blocked: a handler that asks for the key would wait for its own thread.
#[cold]
pub(super) fn seal(own: &Module<'_>, ours: &ModuleKey<'_>, verdict: &mut Verdict) {
    if verdict.value != 0 && ours.flags & flags::SLICE != 0 {
        let requests = if is_slice_key(ours) { Requests::Sealed(verdict.data) } else { Requests::OfAnother };
        match timeslice::memory_for(requests) {
            Some(data) => verdict.data = data,
            None => verdict.fail("there is no memory for slice requests that is safe to write"),
        }
    }
    if ours.state.settle() && verdict.value != 0 {
        verdict.fail("another thread asked for it and waited in vain: the probe is slow, or waits for that thread");
    }
    let width = if ours.flags & flags::NUMBER == 0 { None } else { number_width(ours.names()) };
    if width.is_some_and(|width| verdict.data.checked_shr(width).unwrap_or(0) != 0) {
        verdict.fail("its number has more bits than its type");
    }
    // In the module's turn, or too late.
    let enter = |said| (said & DECIDING != 0).then_some(said + SEALING);
    let in_turn = own.outcome.said.fetch_update(Acquire, Relaxed, enter).is_ok();
    if !in_turn && ours.flags & flags::SYMBOL == 0 {
        verdict.fail("decided by another thread, and not before all other keys of the module were");
    }
    if let Some(number) = ours.number() {
        // Where nobody decided, it is the one that the file has.
        if verdict.value == 0 && !verdict.is_copy() {
            verdict.data = number.load(Relaxed);
        }
        number.store(verdict.data, Release);
    }
    ours.state.seal(verdict);
    if in_turn {
        own.outcome.said.fetch_sub(SEALING, Release);
    }
}
