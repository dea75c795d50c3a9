//! Both locks' protocols, over what `crate::system` has for atomics and for the kernel: the machine's, or a model's
//! (`tests/model.rs`).
//!
//! Of sections:
//!
//! - One begins before every attempt to lock: a thread that had to ask afterwards could be preempted in between, with the
//!   lock. It ends after the release, or at once if the attempt failed.
//! - None is open while a thread waits. Who was granted time and did not get the lock thereby gives the CPU to its holder;
//!   and no request is set again on top of a grant, for which `rseq_debug` would kill at the next system call.
//! - A thread that slept begins a new one, as it would have to: a request does not survive preemption.

/// Waiters spin, then sleep. By Drepper, "Futexes Are Tricky" (2011), mutex 3.
pub(crate) mod mutex {
    use crate::system::{AtomicU32, SPINS, Section, enrol, enter, relax, wait, wake};
    use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

    pub(crate) const FREE: u32 = 0;
    const LOCKED: u32 = 1;
    /// Locked, and somebody may be asleep.
    const AWAITED: u32 = 2;

    #[inline]
    pub(crate) fn lock(word: &AtomicU32) -> Section {
        let section = enter();
        if word.compare_exchange(FREE, LOCKED, Acquire, Relaxed).is_ok() {
            return section;
        }
        lock_contended(word, section)
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(word: &AtomicU32, section: Section) -> Section {
        drop(section);
        enrol();
        for _ in 0..SPINS {
            relax();
            if word.load(Relaxed) == FREE
                && let Some(section) = try_lock(word)
            {
                return section;
            }
        }
        loop {
            let section = enter();
            // Others may be asleep as well, so the word must say so from now on.
            if word.swap(AWAITED, Acquire) == FREE {
                return section;
            }
            drop(section);
            wait(word, AWAITED);
        }
    }

    #[inline]
    pub(crate) fn try_lock(word: &AtomicU32) -> Option<Section> {
        let section = enter();
        word.compare_exchange(FREE, LOCKED, Acquire, Relaxed).is_ok().then_some(section)
    }

    /// By whoever locked it, with the section that it got.
    #[inline]
    pub(crate) fn unlock(word: &AtomicU32, section: Section) {
        let awaited = word.swap(FREE, Release) == AWAITED;
        drop(section);
        if awaited {
            wake(word);
        }
    }

    #[inline]
    pub(crate) fn is_locked(word: &AtomicU32) -> bool {
        word.load(Relaxed) != FREE
    }
}

/// Waiters spin, and give up the CPU now and then.
pub(crate) mod spin {
    use crate::system::{AtomicBool, SPINS, Section, enrol, enter, relax, yield_cpu};
    use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

    #[inline]
    pub(crate) fn lock(locked: &AtomicBool) -> Section {
        let section = enter();
        if !locked.swap(true, Acquire) {
            return section;
        }
        lock_contended(locked, section)
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(locked: &AtomicBool, section: Section) -> Section {
        drop(section);
        enrol();
        loop {
            let taken = (0..SPINS).all(|_| {
                relax();
                locked.load(Relaxed)
            });
            if let Some(section) = try_lock(locked) {
                return section;
            }
            if taken {
                yield_cpu();
            }
        }
    }

    #[inline]
    pub(crate) fn try_lock(locked: &AtomicBool) -> Option<Section> {
        let section = enter();
        (!locked.swap(true, Acquire)).then_some(section)
    }

    /// By whoever locked it, with the section that it got.
    #[inline]
    pub(crate) fn unlock(locked: &AtomicBool, section: Section) {
        locked.store(false, Release);
        drop(section);
    }

    #[inline]
    pub(crate) fn is_locked(locked: &AtomicBool) -> bool {
        locked.load(Relaxed)
    }
}
