//! Makes the calling thread one that can be granted slices, after load and in any module.
//!
//! To enrol is to register the thread's rseq area, where nobody has, and to enable the extension. New threads start without it,
//! and anybody in the process may disable it for the thread it runs in. So a thread enrols where it learns that it could gain: on
//! the contended path of a lock.
#![allow(unsafe_code)] // of the static branches

use super::answers::NotEnrolled;
use super::area::{self, AreaOffset};
use super::key::{SLICE, is_available};
use super::register;
use super::rseq::{self, ENOTSUPP, FLAG_AVAILABLE, FLAG_ENABLED};
use crate::sys::{self, Errno};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Makes the calling thread one that can be granted slices. The thread that loads the runtime is; others start without.
///
/// Where the thread is enrolled already, this reads a word and makes no system call. Else it makes one system call, `prctl`, and
/// if libc registers no areas one before it, `rseq`, by which it registers the program's own area for this thread, whatever
/// module calls. `errno` stays as it was. Do not call it inside a critical section: any system call ends a grant. Where the
/// time slice key is off, the call is a static branch to its `Err`.
///
/// A thread stays enrolled, and so does the child of a `fork`, until somebody disables the extension *in that
/// thread*, or the thread ends. Where libc is not glibc, a destructor of thread-specific data unregisters the thread's area, by
/// three system calls, since musl unmaps a detached thread's memory before the thread is gone. A thread that such a libc did not
/// start must not enrol there. A thread that `clone` made without a thread pointer of its own takes its parent's state for its
/// own: it must not enter critical sections.
///
/// # Errors
///
/// [`NotEnrolled`] says why not. Critical sections are correct all the same.
///
/// ```
/// if let Err(why) = invar::timeslice::enrol() {
///     eprintln!("no time slice extensions in this thread: {why}");
/// }
/// ```
#[inline(always)]
pub fn enrol() -> Result<(), NotEnrolled> {
    // In line, so that neither site nor code is in a module that does not call it.
    if crate::branch!(SLICE) { enrol_now() } else { Err(NotEnrolled::Absent) }
}

/// [`enrol`] for the contended path of a lock, which is cold and taken again and again. Where threads keep being refused, it is
/// tried once in 1,024 times only.
///
/// Call it before waiting, and outside the critical section.
#[inline(always)]
pub fn enrol_contended() {
    if crate::branch!(SLICE) {
        enrol_contended_now();
    }
}

/// Enrols the calling thread, where the key is on.
#[cold]
#[inline(never)]
pub(super) fn enrol_now() -> Result<(), NotEnrolled> {
    let area = area::offset();
    if is_enabled(area) {
        return Ok(());
    }
    match area {
        Some(area) if is_available() => enrol_at(&CallingThread(area), area::libcs_area().is_some()),
        _ => Err(NotEnrolled::Absent),
    }
}

/// Whether the kernel looks at the calling thread's requests.
#[cfg(feature = "profile")]
pub(super) fn is_enrolled() -> bool {
    is_enabled(area::offset())
}

fn is_enabled(area: Option<AreaOffset>) -> bool {
    area.is_some_and(|area| rseq::flags(area) & FLAG_ENABLED != 0)
}

/// What enrolling asks of the kernel; a test can answer in its place.
trait Enrollable {
    fn flags(&self) -> u32;
    fn has_unregistered(&self) -> bool;
    fn register(&self) -> sys::Result<()>;
    fn enable(&self) -> sys::Result<()>;
}

/// By its area's distance from the thread pointer. Where the key is on and libc registers none it is the program's, which
/// is never unloaded, whatever module this code is in.
struct CallingThread(AreaOffset);

impl Enrollable for CallingThread {
    fn flags(&self) -> u32 {
        rseq::flags(self.0)
    }

    fn has_unregistered(&self) -> bool {
        register::has_unregistered(self.0)
    }

    fn register(&self) -> sys::Result<()> {
        register::register(self.0)
    }

    fn enable(&self) -> sys::Result<()> {
        rseq::enable()
    }
}

/// Makes two system calls in a thread's life, or one where the C library registers areas; and one more whenever the extension
/// was disabled for the thread. Three more follow at its end, where the C library unmaps a thread's memory before the thread
/// is gone ([`register`]).
#[cold]
fn enrol_at(thread: &impl Enrollable, libcs: bool) -> Result<(), NotEnrolled> {
    // Only the kernel sets the flag, in an area that is registered and large enough.
    if !libcs && thread.flags() & FLAG_AVAILABLE == 0 {
        if thread.has_unregistered() {
            return Err(NotEnrolled::Ending);
        }
        match thread.register() {
            // EBUSY: this very area, by a signal handler a moment ago.
            Ok(()) | Err(Errno(libc::EBUSY)) => {}
            Err(Errno(libc::EINVAL | libc::EPERM)) => return Err(NotEnrolled::OtherArea),
            Err(Errno(errno)) => return Err(NotEnrolled::Refused(errno)),
        }
    }
    match thread.enable() {
        Ok(()) if thread.flags() & FLAG_ENABLED != 0 => Ok(()),
        // An area elsewhere; one of 32 bytes.
        Ok(()) | Err(Errno(ENOTSUPP)) => Err(NotEnrolled::OtherArea),
        Err(Errno(libc::ENXIO)) => Err(NotEnrolled::NoArea),
        Err(Errno(errno)) => Err(NotEnrolled::Refused(errno)),
    }
}

/// How often enrolling failed in a row, in any thread.
static FAILURES: AtomicU32 = AtomicU32::new(0);
/// Failures from which on it is tried seldom.
const PATIENCE: u32 = 16;
/// How seldom: once in so many times.
const SELDOM: u32 = 1024;

/// The same for a path that is taken again and again: where threads keep being refused, a system call is made seldom.
#[cold]
#[inline(never)]
fn enrol_contended_now() {
    if !is_enabled(area::offset()) {
        attempt(&FAILURES, || enrol_now().is_ok());
    }
}

fn attempt(failures: &AtomicU32, enrol: impl FnOnce() -> bool) {
    let failed = failures.load(Relaxed);
    let due = failed < PATIENCE || failed.is_multiple_of(SELDOM);
    // A count that another thread changes meanwhile is as good as any.
    failures.store(if due && enrol() { 0 } else { failed.wrapping_add(1).max(failed.min(PATIENCE)) }, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};
    use std::vec::Vec;

    /// A thread, and what was asked of it.
    struct Machine {
        flags: Cell<u32>,
        unregistered: bool,
        register: i32,
        enable: i32,
        calls: RefCell<Vec<&'static str>>,
    }

    fn fresh() -> Machine {
        Machine { flags: Cell::new(0), unregistered: false, register: 0, enable: 0, calls: RefCell::new(Vec::new()) }
    }

    fn result(errno: i32) -> sys::Result<()> {
        if errno == 0 { Ok(()) } else { Err(Errno(errno)) }
    }

    impl Enrollable for Machine {
        fn flags(&self) -> u32 {
            self.flags.get()
        }

        fn has_unregistered(&self) -> bool {
            self.unregistered
        }

        fn register(&self) -> sys::Result<()> {
            self.calls.borrow_mut().push("register");
            if self.register == 0 {
                self.flags.set(FLAG_AVAILABLE);
            }
            result(self.register)
        }

        fn enable(&self) -> sys::Result<()> {
            self.calls.borrow_mut().push("enable");
            if self.enable == 0 && self.flags.get() & FLAG_AVAILABLE != 0 {
                self.flags.set(FLAG_AVAILABLE | FLAG_ENABLED);
            }
            result(self.enable)
        }
    }

    /// What comes of it, and the calls that it took.
    fn enrolled(machine: Machine, libcs: bool) -> (Result<(), NotEnrolled>, Vec<&'static str>) {
        let result = enrol_at(&machine, libcs);
        (result, machine.calls.into_inner())
    }

    #[test]
    fn an_own_area_is_registered_once() {
        assert_eq!(enrolled(fresh(), false), (Ok(()), ["register", "enable"].into()));
        let disabled = Machine { flags: Cell::new(FLAG_AVAILABLE), ..fresh() };
        assert_eq!(enrolled(disabled, false), (Ok(()), ["enable"].into()));
    }

    #[test]
    fn an_area_that_was_unregistered_is_not_registered_again() {
        let ending = Machine { unregistered: true, ..fresh() };
        assert_eq!(enrolled(ending, false), (Err(NotEnrolled::Ending), [].into()));
    }

    #[test]
    fn an_area_of_libcs_is_not_registered() {
        let libcs = Machine { flags: Cell::new(FLAG_AVAILABLE), ..fresh() };
        assert_eq!(enrolled(libcs, true), (Ok(()), ["enable"].into()));
        let not_libcs_thread = Machine { enable: libc::ENXIO, ..fresh() };
        assert_eq!(enrolled(not_libcs_thread, true), (Err(NotEnrolled::NoArea), ["enable"].into()));
    }

    #[test]
    fn somebody_elses_area() {
        let other = Err(NotEnrolled::OtherArea);
        assert_eq!(enrolled(Machine { register: libc::EINVAL, ..fresh() }, false).0, other);
        assert_eq!(enrolled(Machine { enable: ENOTSUPP, ..fresh() }, true).0, other);
        // The kernel enables an area that is not the one at the offset.
        assert_eq!(enrolled(fresh(), true).0, other);
    }

    #[test]
    fn a_filter_refuses() {
        let refused = Err(NotEnrolled::Refused(libc::EACCES));
        assert_eq!(enrolled(Machine { register: libc::EACCES, ..fresh() }, false).0, refused);
        assert_eq!(enrolled(Machine { enable: libc::EACCES, ..fresh() }, false).0, refused);
    }

    #[test]
    fn refusals_are_met_seldom() {
        let failures = AtomicU32::new(0);
        let mut tries = 0;
        // `timeslice::enrol_contended` says how seldom.
        for _ in 0..10 * 1024 {
            attempt(&failures, || {
                tries += 1;
                false
            });
        }
        assert_eq!(tries, PATIENCE + 9);
        failures.store(SELDOM, Relaxed);
        attempt(&failures, || true);
        assert_eq!(failures.load(Relaxed), 0, "one success, and all are tried again");
        failures.store(u32::MAX, Relaxed);
        attempt(&failures, || false);
        assert!(failures.load(Relaxed) >= PATIENCE, "the count does not begin anew");
    }

    #[cfg(feature = "profile")]
    #[test]
    fn no_thread_is_enrolled_where_nothing_is_available() {
        assert!(!is_enrolled() || is_available());
    }
}
