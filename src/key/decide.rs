//! Deciding keys: one verdict for each name in a process.
//!
//! A key is adopted if a key of its name is sealed, in this module or in another one; else a setting or its probe
//! decides. What came out is sealed by `Decider::agree`, which looks again: where two threads decide one key, in two modules, the
//! first that seals it decides for both. Nobody waits for a probe of another module, which may wait for us.
//!
//! The runtime's own keys are decided first, the time slice key before all. A probe that asks for another key of its
//! module has it decided on the way ([`demand`]), or waits for the thread that is at it, but not for ever: that may wait for us.

mod adopt;
mod choose;
mod decider;
mod demand;
mod seal;
mod slice;
#[cfg(all(test, feature = "timeslice"))]
mod tests;

use crate::key::state::Verdict;
use crate::module::{Alone, Module, ModuleKey, Outcome};
use crate::settings::Settings;
use crate::sys;
use crate::timeslice;
use adopt::adopt;
#[cfg(feature = "switch")]
pub(crate) use choose::probe;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use decider::{Decider, this_thread};
use demand::MINUTE;
#[cfg(feature = "capi")]
pub(crate) use demand::demand_in;
pub(crate) use demand::{demand, offer_to_c, verdict};
use invar_abi::flags;
use invar_abi::outcome::said::{DECIDING, SEALING};
pub(crate) use slice::{SLICES, is_slice_key};

/// Signals that wait while the runtime's own keys are decided: all but SIGSYS, since where a filter answers a system call by that
/// signal, and it cannot be delivered, the kernel ends the process (Linux, kernel/signal.c, `force_sig_info_to_task`).
const ALL_BUT_SIGSYS: u64 = !(1 << (libc::SIGSYS - 1));

/// Has these wait.
pub(crate) fn silence() -> Option<sys::Silence> {
    sys::Silence::begin(&ALL_BUT_SIGSYS).ok()
}

/// Stands for the thread that decides the runtime's own keys, as no thread has this number: to ask for the thread's own is a system
/// call, and a cycle takes a probe of the program's. A handler of SIGSYS that asks for one of these keys meanwhile waits a second, and gets
/// its first value.
const NOBODY: u64 = u64::MAX;

/// Decides and seals all keys of a module, which was alone perhaps. Returns whether the module has probes of its own, and the process
/// had one thread when they began. Signals wait already, until the runtime's own keys are decided, or have no handlers yet.
pub(crate) fn all(
    own: &Module<'_>,
    alone: Option<&Alone<'_>>,
    settings: &Settings,
    silence: Option<sys::Silence>,
) -> bool {
    own.outcome.said.fetch_or(DECIDING, Relaxed);
    // One verdict at a time, in one place: copies of it would be a good part of this code.
    let mut verdict = Verdict::undecided();
    let mut by = Decider { own, settings, thread: NOBODY, alone, is_silent: true };
    if alone.is_none() {
        adopt(own, NOBODY, &mut verdict);
    }
    // Requests of this copy's sites go where its own key says, so that one goes before those that C has.
    if SLICES && let Some(key) = timeslice::own_key(own) {
        by.decide(&key, 1, &mut verdict);
    }
    by.each(&mut verdict, flags::TIMESLICE, flags::TIMESLICE);
    timeslice::load(Some(own));
    by.each(&mut verdict, flags::OWN, flags::OWN);
    drop(silence);
    by.is_silent = false;
    let is_left = |key: ModuleKey<'_>| !key.state.begun();
    if own.keys_of(flags::TIMESLICE | flags::OWN, 0).any(is_left) {
        by.thread = this_thread();
    }
    const OTHERS: u8 = flags::SYMBOL | flags::TIMESLICE | flags::OWN;
    let has_probes = own.keys_of(OTHERS, 0).any(is_left);
    let was_alone = has_probes && sys::threads() == Ok(1);
    by.each(&mut verdict, OTHERS, 0);
    // By other threads, which may be waiting for this one.
    sys::wait_until(13_000_000, &mut || !own.keys().any(|key| key.state.is_being_decided()));
    close(own.outcome);
    by.each(&mut verdict, flags::SYMBOL, flags::SYMBOL);
    was_alone
}

/// No key of the module can be sealed from here on, but with its first value and but for those of symbols, which nobody asks
/// for: a probe may have left a thread behind that is deciding one, and whoever looks now would see the value change.
#[cold]
fn close(outcome: &Outcome) {
    outcome.said.fetch_and(!DECIDING, AcqRel);
    sys::wait_until(MINUTE, &mut || outcome.said.load(Acquire) < SEALING);
}
