//! The lock that all copies of the runtime in a process share.

use super::walk::{Alone, each_among};
use crate::sys;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Runs `work` while no other copy of the runtime in this process does. It must be short, and wait for nobody.
///
/// The lock is the first module's. glibc's loader keeps that module where it is meanwhile, and all others out of here, by its
/// own lock; musl never unloads any. A signal's handler, which may want the same, has to wait.
#[cold]
#[inline(never)]
pub(crate) fn exclusively(work: &mut dyn FnMut()) {
    exclusively_among(None, false, work);
}

/// The same for a module that was alone, perhaps. Signals wait already, or are to wait.
#[cold]
#[inline(never)]
pub(crate) fn exclusively_among(alone: Option<&Alone<'_>>, is_silent: bool, work: &mut dyn FnMut()) {
    // Whoever needs no silence is in a constructor, and its work needs no note of the process.
    let _silence = if is_silent { None } else { sys::Silence::begin(&u64::MAX).ok() };
    let mut work = Some(work);
    each_among(alone, |first| {
        if let Some(work) = work.take() {
            /// The lock was waited for in vain.
            static IN_VAIN: AtomicBool = AtomicBool::new(false);
            /// The process that had it last, by way of this copy.
            static TAKEN_IN: AtomicU32 = AtomicU32::new(0);
            const SECOND: u64 = 1_000_000_000;
            let lock = &first.outcome.lock;
            // Nobody waits long but for who sets switches. The process is asked for where that can matter: it is a system call.
            let is_asked = cfg!(feature = "switch") && (!is_silent || lock.load(Ordering::Relaxed) != 0);
            let process = if is_asked { sys::process_id() as u32 } else { 0 };
            // Who has it in this process gives it back, however many others want it first. In a child, that may be a thread
            // of its parent's.
            let was_taken = process != 0 && TAKEN_IN.load(Ordering::Relaxed) == process;
            let longest = if was_taken { 60 * SECOND } else { SECOND };
            let is_ours = with_lock(lock, &IN_VAIN, longest, work);
            if process != 0 && is_ours {
                TAKEN_IN.store(process, Ordering::Relaxed);
            }
        }
    });
    // Where the loader lists none, nobody else is there either.
    if let Some(work) = work {
        work();
    }
}

/// Runs `work` with the lock. In a child of `fork` nobody may be there to give it back: after as many nanoseconds it goes on
/// without it, leaves it as it is, and does not wait for it again. Whether it had the lock.
fn with_lock(lock: &AtomicU8, in_vain: &AtomicBool, longest: u64, work: &mut dyn FnMut()) -> bool {
    let longest = if in_vain.load(Ordering::Relaxed) { 0 } else { longest };
    let is_ours = sys::wait_until(longest, &mut || lock.swap(1, Ordering::Acquire) == 0);
    in_vain.store(!is_ours, Ordering::Relaxed);
    work();
    if is_ours {
        lock.store(0, Ordering::Release);
    }
    is_ours
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use crate::module::{among_others, own_header};
    use core::ffi::c_int;
    use core::sync::atomic::Ordering::Relaxed;
    use std::vec;

    /// Whoever took it may be gone, as in a child of `fork`: the work is done. Or it was slow: then the lock is still its own.
    #[test]
    fn a_lock_is_given_back_by_who_took_it() {
        let (lock, in_vain) = (AtomicU8::new(0), AtomicBool::new(false));
        let locked = |longest| {
            let mut seen = None;
            with_lock(&lock, &in_vain, longest, &mut || seen = Some(lock.load(Relaxed)));
            (seen, lock.load(Relaxed), in_vain.load(Relaxed))
        };
        assert_eq!(locked(u64::MAX), (Some(1), 0, false), "free");
        lock.store(1, Relaxed);
        assert_eq!(locked(1_000), (Some(1), 1, true), "another's");
        assert_eq!(locked(u64::MAX), (Some(1), 1, true), "it is not waited for twice");
        lock.store(0, Relaxed);
        assert_eq!(locked(u64::MAX), (Some(1), 0, false), "free again");
    }

    /// A library that another thread opens may be a module.
    #[test]
    fn what_the_loader_adds_may_be_another_module() {
        // SAFETY: this code is the module's, and gone with it.
        let (own, added) = unsafe { among_others(own_header()) }.expect("this program");
        let alone = Alone { module: &own, added: added.expect("it is alone") };
        // What is visited without a walk is the module as it is here, at another place.
        let told = |alone: Option<&Alone<'_>>| {
            let (mut told, lock) = (vec![], &own.outcome.lock);
            exclusively_among(alone, false, &mut || told.push(lock.load(Relaxed)));
            let mut is_alone = false;
            each_among(alone, |module| is_alone = core::ptr::eq(module, &raw const own));
            assert_eq!(told, [1]);
            is_alone
        };
        let counts = cfg!(target_env = "gnu");
        assert_eq!(told(Some(&alone)), counts);
        // SAFETY: a library of libc's that this program does not need.
        assert!(!unsafe { libc::dlopen(c"libresolv.so.2".as_ptr(), libc::RTLD_NOW) }.is_null() || !counts);
        assert!(!told(Some(&alone)) && !told(None));
    }

    /// A handler may want the same, and would wait for its own thread.
    #[test]
    fn signals_wait_for_what_is_exclusive() {
        static HANDLED: AtomicBool = AtomicBool::new(false);
        extern "C" fn handle(_: c_int) {
            HANDLED.store(true, Relaxed);
        }
        let mut meanwhile = None;
        // SAFETY: a signal that nobody else here uses, and a handler that sets a flag.
        unsafe { libc::signal(libc::SIGUSR1, handle as extern "C" fn(c_int) as libc::sighandler_t) };
        exclusively(&mut || {
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGUSR1) };
            meanwhile = Some(HANDLED.load(Relaxed));
        });
        assert_eq!((meanwhile, HANDLED.load(Relaxed)), (Some(false), true));
    }

    /// However many signals come.
    #[test]
    fn a_lock_is_waited_for() {
        static HANDLED: AtomicU32 = AtomicU32::new(0);
        extern "C" fn handle(_: c_int) {
            HANDLED.fetch_add(1, Relaxed);
        }
        // SAFETY: a signal that nobody else here uses, and a handler that counts.
        unsafe { libc::signal(libc::SIGUSR2, handle as extern "C" fn(c_int) as libc::sighandler_t) };
        let lock = AtomicU8::new(1);
        // SAFETY: no effects.
        let waits = unsafe { libc::pthread_self() } as usize;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Each comes in a nap of its own.
                for number in 0..100 {
                    // SAFETY: the thread waits for this one.
                    assert_eq!(unsafe { libc::pthread_kill(waits as libc::pthread_t, libc::SIGUSR2) }, 0);
                    while HANDLED.load(Relaxed) <= number {
                        std::thread::yield_now();
                    }
                }
                lock.store(0, Ordering::Release);
            });
            with_lock(&lock, &AtomicBool::new(false), 600_000_000_000, &mut || {
                assert_eq!(HANDLED.load(Relaxed), 100, "it was waited for");
            });
        });
        assert_eq!(lock.load(Relaxed), 0);
    }
}
