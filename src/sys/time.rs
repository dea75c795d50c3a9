//! Clocks, and waiting.
#![allow(unsafe_code)]

use super::raw::call;
#[cfg(target_pointer_width = "64")]
use super::raw::retry;

/// Nanoseconds on the monotonic clock.
#[inline(never)]
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in one timespec (by way of the vDSO where there is one).
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How long to sleep before looking again whether another process or thread did something, in nanoseconds: less than the
/// timer's slack that the kernel adds.
#[cfg(feature = "timeslice")]
pub(crate) const REST: u32 = 10_000;

/// Sleeps. A signal's handler makes it no shorter, and many of them make it no longer: what is left of a sleep, as the kernel
/// says it, includes the timer's slack, but a time on the clock does not (Linux, kernel/time/hrtimer.c).
pub(crate) fn sleep(nanoseconds: u32) {
    let end = now() + u64::from(nanoseconds);
    #[cfg(target_pointer_width = "64")] // elsewhere the call has several numbers
    {
        const SECOND: u64 = 1_000_000_000;
        let time = libc::timespec { tv_sec: (end / SECOND) as _, tv_nsec: (end % SECOND) as _ };
        let [clock, absolute] = [libc::CLOCK_MONOTONIC as usize, libc::TIMER_ABSTIME as usize];
        // SAFETY: reads one timespec.
        let _ = retry(|| unsafe { call(libc::SYS_clock_nanosleep, [clock, absolute, &raw const time as usize, 0]) });
    }
    #[cfg(not(target_pointer_width = "64"))]
    while now() < end {
        // SAFETY: no arguments, and no effect but that others run first.
        let _ = unsafe { call(libc::SYS_sched_yield, []) };
    }
}

/// Waits for another thread, by naps, until it has `done` that; `false` if it has not after as many nanoseconds.
#[cold]
#[inline(never)]
pub(crate) fn wait_until(longest: u64, done: &mut dyn FnMut() -> bool) -> bool {
    // Nobody asks for the time where nothing is to be waited for, as in most cases.
    let mut begun = None;
    let mut nap = 1_000;
    while !done() {
        let time = now();
        if time - *begun.get_or_insert(time) >= longest {
            return false;
        }
        sleep(nap);
        // Not much longer than it takes the other thread, and 20 times in a second at least.
        nap = (nap + nap / 2).min(50_000_000);
    }
    true
}
