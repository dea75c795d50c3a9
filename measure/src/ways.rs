//! What a bound call saves on this machine: what the `invar` command shows.

use std::time::Duration;

/// One way to call a function that was chosen at run time.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// What it is.
    pub name: &'static str,
    /// What a call takes if neither its code nor its data is in a cache.
    pub cold: Cost,
    /// What it takes in a loop.
    pub warm: Cost,
}

/// What a call takes.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Nanoseconds, the median.
    pub time: f64,
    /// How many times as long as the bound call of [`BOUND`].
    pub ratio: f64,
    /// Whether it takes longer than that, beyond the noise.
    pub is_slower: bool,
}

/// The way that all are compared with.
pub const BOUND: &str = "dispatch, bound";

/// Measures all ways for about as long as `budget`; `None` where no site is bound, so that there is nothing to compare.
#[cfg(bound_sites)]
pub fn ways(budget: Duration) -> Option<Vec<Way>> {
    use crate::choice::{self, Choice, FIRST, NAMES};
    use crate::harness::Samples;

    let [cold, warm] = choice::measure(budget);
    let (count, bound) = (NAMES.len() - FIRST, Choice::Dispatch as usize - FIRST);
    let cost = |samples: &Samples, first: usize, at: usize| {
        let ratio = samples.ratio(first + at, first + bound);
        Cost { time: samples.time(first + at).median, ratio: ratio.median, is_slower: ratio.word() == "slower" }
    };
    // Among the cold ones those with warm data stand first.
    let way = |at: usize| Way { name: NAMES[FIRST + at], cold: cost(&cold, count, at), warm: cost(&warm, 0, at) };
    Some((0..count).map(way).collect())
}

/// No site is bound.
#[cfg(not(bound_sites))]
pub fn ways(_: Duration) -> Option<Vec<Way>> {
    None
}
