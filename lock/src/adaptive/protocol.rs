//! The adaptive locks' protocols, over what `crate::system` has: the machine's, or a model's (`tests/model.rs`).
//!
//! - A *cold* lock is taken by one attempt, without a request, on the one value that a cold and free word has. On a *hot* one
//!   this attempt fails, and the next is made in a critical section: at no moment is a hot lock held without a request.
//! - The word also says whether its holder asks, so the release of a cold lock is one attempt as well, and no guard needs to
//!   remember anything.
//! - A thread that waited for so long that the holder may have been preempted makes the lock hot when it gets it. A thread that
//!   gets a hot lock cools it by a degree. Nothing else changes the heat, and no clock is read.
//!
//! Critical sections and enrolment are otherwise as in `crate::protocol`.

use crate::system::{AtomicU32, HEAT, SPINS, enrol, enter, leave, relax};
use core::hint::cold_path; // out of line, as long as the lock is cold
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Free, and cold.
pub(crate) const FREE: u32 = 0;
const LOCKED: u32 = 1 << 0;
/// The holder is in a critical section. Set and cleared with `LOCKED`.
pub(crate) const ASKING: u32 = 1 << 1;
/// Locked, and somebody may be asleep, or gave up the CPU.
const AWAITED: u32 = 1 << 2;
const STATE: u32 = LOCKED | ASKING | AWAITED;

/// The unit of heat, which is counted in all bits above the state.
pub(crate) const DEGREE: u32 = 1 << 3;
pub(crate) const HOT: u32 = HEAT * DEGREE;

#[inline]
pub(crate) fn try_lock(word: &AtomicU32) -> bool {
    match word.compare_exchange(FREE, LOCKED, Acquire, Relaxed) {
        Ok(_) => true,
        Err(seen) => {
            cold_path();
            seen & LOCKED == 0 && take(word, seen, seen - DEGREE)
        }
    }
}

/// Locks a word that was `seen` free, in a critical section; what else it is to say is in `rest`.
#[inline]
fn take(word: &AtomicU32, seen: u32, rest: u32) -> bool {
    let section = enter();
    let is_mine = word.compare_exchange(seen, rest + (LOCKED | ASKING), Acquire, Relaxed).is_ok();
    if is_mine {
        core::mem::forget(section); // the release ends it
    }
    is_mine
}

/// Looks for a while whether the lock is free; what was seen last.
fn watch(word: &AtomicU32) -> u32 {
    let mut seen = word.load(Relaxed);
    for _ in 0..SPINS {
        if seen & LOCKED == 0 {
            break;
        }
        relax();
        seen = word.load(Relaxed);
    }
    seen
}

#[inline]
pub(crate) fn is_locked(word: &AtomicU32) -> bool {
    word.load(Relaxed) & LOCKED != 0
}

/// Waiters spin, then sleep.
pub(crate) mod mutex {
    use super::*;
    use crate::system::{wait, wake};

    #[inline]
    pub(crate) fn lock(word: &AtomicU32) {
        if !try_lock(word) {
            lock_contended(word);
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(word: &AtomicU32) {
        enrol();
        if watch(word) & LOCKED == 0 && try_lock(word) {
            return;
        }
        loop {
            let seen = word.load(Relaxed);
            let awaited = seen | AWAITED;
            if seen & LOCKED == 0 {
                // Others may be asleep as well, so the word must say so from now on.
                if take(word, seen, HOT | AWAITED) {
                    return;
                }
            } else if seen == awaited || word.compare_exchange(seen, awaited, Relaxed, Relaxed).is_ok() {
                wait(word, awaited);
            }
        }
    }

    /// Called by the thread that locked it.
    #[inline]
    pub(crate) fn unlock(word: &AtomicU32) {
        let Err(seen) = word.compare_exchange(LOCKED, FREE, Release, Relaxed) else { return };
        cold_path();
        // Meanwhile it may become awaited; what else it says is the holder's.
        let seen = word.swap(seen & !STATE, Release);
        if seen & STATE == LOCKED | ASKING {
            leave();
        } else {
            release_contended(word, seen);
        }
    }

    #[cold]
    #[inline(never)]
    fn release_contended(word: &AtomicU32, seen: u32) {
        if seen & ASKING != 0 {
            leave();
        }
        wake(word);
        enrol();
    }
}

/// Waiters spin, and give up the CPU now and then.
pub(crate) mod spin {
    use super::*;
    use crate::system::yield_cpu;

    #[inline]
    pub(crate) fn lock(word: &AtomicU32) {
        if !try_lock(word) {
            lock_contended(word);
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(word: &AtomicU32) {
        enrol();
        let mut in_vain = false;
        loop {
            let seen = watch(word);
            if seen & LOCKED == 0 {
                if if in_vain { take(word, seen, HOT) } else { try_lock(word) } {
                    return;
                }
                continue;
            }
            in_vain = true;
            if seen & AWAITED == 0 {
                // Only a hint: the release may miss it.
                let _ = word.compare_exchange(seen, seen | AWAITED, Relaxed, Relaxed);
            }
            yield_cpu();
        }
    }

    /// Called by the thread that locked it.
    #[inline]
    pub(crate) fn unlock(word: &AtomicU32) {
        let seen = word.load(Relaxed);
        // What others may add to it meanwhile is only a hint.
        word.store(seen & !STATE, Release);
        if seen == LOCKED {
            return;
        }
        cold_path();
        if seen & STATE == LOCKED | ASKING {
            leave();
        } else {
            release_contended(seen);
        }
    }

    #[cold]
    #[inline(never)]
    fn release_contended(seen: u32) {
        if seen & ASKING != 0 {
            leave();
        }
        enrol();
    }
}
