//! Keys that are asked for before they are decided.
#![allow(unsafe_code)]

use super::adopt::{adopt_sealed, is_shared};
use super::decider::{Decider, this_thread};
use crate::key::record::Declared;
use crate::key::state::{State, Verdict};
use crate::module::{self, Module, ModuleKey, Outcome};
use crate::settings::Settings;
use crate::sys;
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::flags;
use invar_abi::outcome::said::DECIDING;

/// How long a thread waits for one that may be waiting for it, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// And for one that waits for nobody: as long as it takes, but in a child of `fork`, where that thread is not.
pub(super) const MINUTE: u64 = 60 * SECOND;

/// The value of a key that was asked for before it was decided. While its module's keys are being decided, it is decided
/// now; unless this thread is at it: then the key, and all that the thread has begun since, are in a cycle, and fail. If another
/// thread is at it, it is waited for.
#[cold]
#[inline(never)]
pub(crate) fn demand(state: &State, _: Declared) -> u8 {
    // This module's outcome can be read before there is a loader to ask.
    if is_deciding(module::outcome()) { demand_in(module::own_header(), state) } else { state.value() }
}

/// The verdict of a key, if it is decided.
#[inline(always)]
pub(crate) fn verdict(state: &State, _: Declared) -> Option<Verdict> {
    state.verdict()
}

/// [`demand`] for a key of the module with this header.
#[cold]
#[inline(never)]
pub(crate) fn demand_in(header: usize, state: &State) -> u8 {
    // SAFETY: the module whose probe, or whose constructor, is at work.
    let own = unsafe { module::at(header) };
    if let Some(own) = own.ok().filter(|own| is_deciding(own.outcome))
        && let Some(key) = own.key_at(core::ptr::from_ref(state) as usize)
    {
        let thread = this_thread();
        match state.begun_by(thread) {
            Some(order) => note_cycle(&own, &key, order),
            None => {
                let last = own.keys().filter_map(|key| key.state.begun_by(thread)).max();
                let settings = Settings::from_environment(false);
                let mut verdict = Verdict::undecided();
                let by = Decider { own: &own, settings: &settings, thread, alone: None, is_silent: false };
                by.decide(&key, last.map_or(1, |last| last + 1), &mut verdict);
                if !wait_for(state) {
                    return give_up(&own, &key, &mut verdict);
                }
            }
        }
    }
    state.value()
}

/// Waits until the thread that is deciding a key has sealed it, or another one has given it up; `false` if neither came.
#[cold]
pub(super) fn wait_for(state: &State) -> bool {
    sys::wait_until(SECOND, &mut || !state.is_being_decided() || state.is_given_up())
}

/// The value of a key that was waited for in vain. Nobody can tell whether the thread that is deciding it waits for this one,
/// so its value is the first from now on. But where another key of its name is sealed, it will be that one's.
#[cold]
pub(super) fn give_up(own: &Module<'_>, key: &ModuleKey<'_>, verdict: &mut Verdict) -> u8 {
    let mut told = None;
    module::exclusively(&mut || {
        // A constant's value does not say all.
        if !key.state.is_given_up()
            && is_shared(key)
            && key.flags & flags::NUMBER == 0
            && adopt_sealed(own, None, key, verdict)
        {
            told = Some(verdict.value);
        } else if key.state.give_up() {
            told = Some(0);
        }
    });
    // It is about to be sealed, or was.
    told.unwrap_or_else(|| {
        sys::wait_until(MINUTE, &mut || key.state.decided());
        key.state.value()
    })
}

/// Notes a cycle in the key that was asked for, and in those that this thread has begun since. The probe of the last of these
/// has asked.
#[cold]
fn note_cycle(own: &Module<'_>, asked: &ModuleKey<'_>, order: u32) {
    let thread = this_thread();
    let (mut last, mut asks) = (order, *asked);
    for key in own.keys() {
        if let Some(begun) = key.state.begun_by(thread).filter(|&begun| begun >= order) {
            key.state.note_cycle(thread, asked.name());
            if begun >= last {
                (last, asks) = (begun, key);
            }
        }
    }
    asked.state.note_cycle(thread, asks.name());
}

fn is_deciding(outcome: &Outcome) -> bool {
    outcome.said.load(Relaxed) & DECIDING != 0
}

/// [`demand`] for C in this module (`invar2_demand`). A function of its own, as it is hidden: `Key::get` is in line in programs
/// that use a Rust `dylib` with keys.
#[cold]
extern "C" fn demand_in_c(state: &State) -> u8 {
    demand(state, Declared)
}

/// Emits what tells code in C of this module that it is loaded by a runtime of its own, and leads to [`demand_in_c`]. Called from
/// the constructor, so that it is linked wherever that is.
pub(crate) fn offer_to_c() {
    // SAFETY: no instruction, only data in another section.
    unsafe {
        core::arch::asm!(
            ".ifndef invar2_demand",
            ".pushsection .rodata.invar2_demand, \"a\", %progbits",
            ".balign 4",
            ".weak invar2_demand",
            ".hidden invar2_demand",
            ".set invar2_demand, .",
            ".long {demand} - .",
            ".hidden {demand}",
            ".popsection",
            ".endif",
            demand = sym demand_in_c,
            options(nomem, nostack, preserves_flags),
        );
    }
}
