//! The base of the protocols: atomics, critical sections, and three operations of the kernel: to wait, to wake and to yield. `errno`
//! stays as it was.
#![allow(unsafe_code)]

pub(crate) use core::hint::spin_loop as relax;
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU32};
pub(crate) use invar::timeslice::{CriticalSection as Section, enrol_contended as enrol, enter, leave};

/// How often a waiter looks before it sleeps, or gives up the CPU: long enough for most critical sections to end.
pub(crate) const SPINS: u32 = 100;

/// How often an adaptive lock is taken until it is cold, if nobody waits for it meanwhile. `crate::adaptive` says why so often.
pub(crate) const HEAT: u32 = 1 << 16;

/// Sleeps until the word is woken, unless it is not `expected`; may return at any time. futex(2).
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    futex(word.as_ptr(), libc::FUTEX_WAIT, expected);
}

/// Wakes one thread that sleeps on the word.
pub(crate) fn wake(word: &AtomicU32) {
    futex(word.as_ptr(), libc::FUTEX_WAKE, 1);
}

/// A word whose memory is gone when it is woken does no harm: the kernel looks at its address only.
fn futex(word: *mut u32, operation: i32, value: u32) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: no timeout; the kernel compares the word with the value, or uses its address as a name.
    keep_errno(|| unsafe { libc::syscall(libc::SYS_futex, word, operation, value, 0_usize) });
}

/// Lets others run first, sched_yield(2).
pub(crate) fn yield_cpu() {
    // SAFETY: no arguments, and no effect but that.
    keep_errno(|| unsafe { libc::syscall(libc::SYS_sched_yield) });
}

/// `syscall(3)` notes in `errno` why a call failed, which nobody asks here.
fn keep_errno(call: impl FnOnce() -> libc::c_long) {
    // SAFETY: the calling thread's own.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        call();
        *errno = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_stays_as_it_was() {
        // SAFETY: this thread's.
        unsafe { *libc::__errno_location() = libc::ENOTTY };
        let word = AtomicU32::new(1);
        // The word is another: EAGAIN.
        wait(&word, 2);
        wake(&word);
        yield_cpu();
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, libc::ENOTTY);
    }
}
