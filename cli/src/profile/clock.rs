//! How long a tick is.
#![allow(unsafe_code)] // reading a clock whose numbers other processes have noted

use super::layout::{Clocks, Table};
use std::time::Duration;

/// Ticks of the time stamp counter in a nanosecond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

/// Two readings this far apart, each true to a microsecond, give the rate to a part in five thousand.
const APART: Duration = Duration::from_millis(10);
/// How much two rates of one counter may differ.
const TOLERANCE: f64 = 0.01;

impl Rate {
    /// The rate of the counter that a process read, as far as it can be known.
    ///
    /// Either the process itself read both clocks twice; or this one reads them now, if they are still the same: then the time
    /// since the process read them gives the rate that they have now.
    pub fn of(table: &Table) -> Option<Self> {
        let own = || table.later.and_then(|later| Self::between(table.start, later, Duration::from_nanos(1)));
        let long = table.later.and_then(|later| Self::between(table.start, later, APART));
        long.or_else(|| Self::until_now(table.start)).or_else(own)
    }

    fn until_now(start: Clocks) -> Option<Self> {
        let before = now()?;
        std::thread::sleep(APART);
        let after = now()?;
        let here = Self::between(before, after, APART)?;
        Self::between(start, after, APART).filter(|rate| rate.is_close_to(here))
    }

    /// Whether both can be the same counter's.
    pub fn is_close_to(self, other: Self) -> bool {
        (self.0 - other.0).abs() <= TOLERANCE * other.0
    }

    fn between(start: Clocks, end: Clocks, least: Duration) -> Option<Self> {
        let ticks = end.ticks.checked_sub(start.ticks)?;
        let nanoseconds = end.nanoseconds.checked_sub(start.nanoseconds)?;
        let rate = ticks as f64 / nanoseconds as f64;
        // Time stamp counters run at the rate of some part of the computer, between a megahertz and 100 GHz.
        (u128::from(nanoseconds) >= least.as_nanos() && (0.001..100.0).contains(&rate)).then_some(Self(rate))
    }

    /// So many ticks, in nanoseconds.
    pub fn nanoseconds(self, ticks: u64) -> f64 {
        ticks as f64 / self.0
    }
}

/// Both clocks; `None` where this build knows no time stamp counter.
fn now() -> Option<Clocks> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let ticks = invar_arch::ticks();
    // SAFETY: fills in one timespec.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) } == 0;
    let nanoseconds = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    (done && ticks != 0).then_some(Clocks { ticks, nanoseconds })
}
