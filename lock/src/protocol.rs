//! Both locks' protocols, over what `crate::system` has for atomics and for the kernel: the machine's, or a model's
//! (`tests/model.rs`).
//!
//! The rules of critical sections:
//!
//! - A critical section begins before every attempt to lock: a thread that asked afterwards could be preempted in between, with the
//!   lock. It ends after the release, or at once if the attempt failed.
//! - None is open while a thread waits. So a thread that was granted time and did not get the lock gives the CPU to its holder,
//!   and no request is set again on top of a grant, for which `rseq_debug` would kill at the next system call.
//! - A thread that waits enrols, and so does one that kept others waiting: it would otherwise be preempted with the lock again
//!   and again, if it never waits itself.
//! - A thread that slept begins a new critical section, as it must: a request does not survive preemption.

/// Waiters spin, then sleep. By Drepper, "Futexes Are Tricky" (2011), mutex 3.
pub(crate) mod mutex {
    use crate::system::{AtomicU32, SPINS, Section, enrol, enter, relax, wait, wake};
    use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

    pub(crate) const FREE: u32 = 0;
    const LOCKED: u32 = 1;
    /// Locked, and somebody may be asleep.
    const AWAITED: u32 = 2;

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock(word: &AtomicU32) -> Section {
        match try_begin(word) {
            (section, true) => section,
            (section, false) => lock_contended(word, section),
        }
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
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn try_lock(word: &AtomicU32) -> Option<Section> {
        let (section, locked) = try_begin(word);
        locked.then_some(section)
    }

    /// Begins a critical section, and says whether the lock was free and is now the caller's.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_begin(word: &AtomicU32) -> (Section, bool) {
        let section = enter();
        (section, word.compare_exchange(FREE, LOCKED, Acquire, Relaxed).is_ok())
    }

    /// Called by the thread that locked it, with the critical section that it got.
    #[inline]
    pub(crate) fn unlock(word: &AtomicU32, section: Section) {
        let awaited = word.swap(FREE, Release) == AWAITED;
        drop(section);
        if awaited {
            release_contended(word);
        }
    }

    #[cold]
    #[inline(never)]
    fn release_contended(word: &AtomicU32) {
        wake(word);
        enrol();
    }

    #[inline]
    pub(crate) fn is_locked(word: &AtomicU32) -> bool {
        word.load(Relaxed) != FREE
    }
}

/// Waiters spin, and give up the CPU now and then.
pub(crate) mod spin {
    use crate::system::{AtomicU8, SPINS, Section, enrol, enter, relax, yield_cpu};
    use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

    pub(crate) const FREE: u8 = 0;
    const LOCKED: u8 = 1;
    /// Locked, and somebody gave up the CPU for that. Only a hint: the release may miss it.
    const AWAITED: u8 = 2;

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock(word: &AtomicU8) -> Section {
        match try_begin(word) {
            (section, true) => section,
            (section, false) => lock_contended(word, section),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(word: &AtomicU8, section: Section) -> Section {
        drop(section);
        enrol();
        loop {
            let taken = (0..SPINS).all(|_| {
                relax();
                word.load(Relaxed) != FREE
            });
            if let Some(section) = try_lock(word) {
                return section;
            }
            if taken {
                let _ = word.compare_exchange(LOCKED, AWAITED, Relaxed, Relaxed);
                yield_cpu();
            }
        }
    }

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn try_lock(word: &AtomicU8) -> Option<Section> {
        let (section, locked) = try_begin(word);
        locked.then_some(section)
    }

    /// Begins a critical section, and says whether the lock was free and is now the caller's.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_begin(word: &AtomicU8) -> (Section, bool) {
        let section = enter();
        (section, word.compare_exchange(FREE, LOCKED, Acquire, Relaxed).is_ok())
    }

    /// Called by the thread that locked it, with the critical section that it got.
    #[inline]
    pub(crate) fn unlock(word: &AtomicU8, section: Section) {
        let awaited = word.load(Relaxed) == AWAITED;
        word.store(FREE, Release);
        drop(section);
        if awaited {
            release_contended();
        }
    }

    #[cold]
    #[inline(never)]
    fn release_contended() {
        enrol();
    }

    #[inline]
    pub(crate) fn is_locked(word: &AtomicU8) -> bool {
        word.load(Relaxed) != FREE
    }
}
