//! The harness: several variants in turn, round by round, so that what disturbs one disturbs them all.
//!
//! A round runs one short batch of every variant, in an order that changes from round to round. Two variants are
//! compared within a round, and what is shown is the middle half of those comparisons. criterion and divan run
//! one benchmark after the other, tango compares two binaries, and zenbench, which does alternate, compares means:
//! one preempted batch moves them.

use std::fmt;
use std::time::{Duration, Instant};

/// Runs one batch of a variant, and returns the nanoseconds that one of its operations took.
pub type Batch<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Whether this is `cargo bench`: `cargo test --all-targets` starts benchmarks too, and is to be quick.
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Runs `operations` of something in one go, and returns the nanoseconds that each of them took.
pub fn per_operation(operations: u64, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / operations as f64
}

/// Runs the batches in rounds, every batch once in each, for about as long as `budget`; at least nine rounds.
pub fn alternate(budget: Duration, batches: &mut [Batch<'_>]) -> Samples {
    let started = Instant::now();
    let mut samples = Samples(vec![Vec::new(); batches.len()]);
    let mut order: Vec<usize> = (0..batches.len()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // The first round warms caches and predictors up, and does not count.
    for batch in batches.iter_mut() {
        batch();
    }
    let mut rounds = 0;
    while rounds < FEWEST || started.elapsed() < budget {
        random.shuffle(&mut order);
        for &variant in &order {
            samples.0[variant].push(batches[variant]());
        }
        rounds += 1;
    }
    samples
}

/// The fewest rounds of which the middle half says anything.
const FEWEST: usize = 9;

/// The nanoseconds of one operation, by variant and round.
#[derive(Default)]
pub struct Samples(Vec<Vec<f64>>);

impl Samples {
    /// How many rounds there were.
    pub fn rounds(&self) -> usize {
        self.0.first().map_or(0, Vec::len)
    }

    /// The times of one variant.
    pub fn time(&self, variant: usize) -> Spread {
        Spread::of(self.0[variant].iter().copied())
    }

    /// How many times as long as `base` a variant takes, compared in each round.
    pub fn ratio(&self, variant: usize, base: usize) -> Spread {
        Spread::of(self.0[variant].iter().zip(&self.0[base]).map(|(time, base)| time / base))
    }

    /// What a variant adds to `base`, as a part of what `other` adds to it, compared in each round.
    /// `None` if what `other` adds does not exceed the noise, and nothing can be divided by it.
    pub fn added(&self, variant: usize, other: usize, base: usize) -> Option<Spread> {
        let added = |of: usize| self.0[of].iter().zip(&self.0[base]).map(|(time, base)| time - base);
        let parts = || Spread::of(added(variant).zip(added(other)).map(|(part, whole)| part / whole));
        (self.ratio(other, base).low > 1.0).then(parts)
    }
}

/// The middle half of some values: a quarter of them lie below, and a quarter above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The lower quartile.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// The spread of these values, of which there is at least one.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let quantile = |part: f64| {
            let place = part * (values.len() - 1) as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Self { low: quantile(0.25), median: quantile(0.5), high: quantile(0.75) }
    }

    /// What a spread of ratios means, in a word or two.
    pub fn word(&self) -> &'static str {
        match () {
            () if self.high < 1.0 => "faster",
            () if self.low > 1.0 => "slower",
            () => "within noise",
        }
    }
}

/// The median, and in brackets where the middle half lies.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, median, high } = self;
        write!(f, "{median:.2} [{low:.2} {high:.2}]")
    }
}

/// A figure beside the number that it is to reach.
pub struct Target<'a> {
    /// What was measured.
    pub what: &'a str,
    /// What came out.
    pub figure: String,
    /// The number to reach, in words.
    pub wanted: &'a str,
    /// Whether it is reached.
    pub met: bool,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "NOT met" };
        write!(f, "{}: {} (target {})  {met}", self.what, self.figure, self.wanted)
    }
}

/// Marsaglia's xorshift: enough to shuffle by.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_half_whatever_the_order() {
        assert_eq!(Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]), Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Spread { low: 1.75, median: 2.5, high: 3.25 });
        assert_eq!(Spread::of([7.0]), Spread { low: 7.0, median: 7.0, high: 7.0 });
    }

    #[test]
    fn one_slow_round_changes_no_median() {
        assert_eq!(Spread::of([1.0, 1.0, 1.0, 1000.0, 1.0]).high, 1.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine became four times as slow; the ratio did not.
        let samples = Samples(vec![vec![1.0, 1.0, 4.0, 4.0], vec![2.0, 2.0, 8.0, 8.0]]);
        assert_eq!(samples.ratio(1, 0), Spread { low: 2.0, median: 2.0, high: 2.0 });
        assert_eq!(samples.time(0).median, 2.5);
    }

    #[test]
    fn a_word_for_the_interval() {
        let word = |low, high| Spread { low, median: (low + high) / 2.0, high }.word();
        assert_eq!(word(0.9, 1.1), "within noise");
        assert_eq!(word(1.0, 1.1), "within noise");
        assert_eq!(word(0.7, 0.9), "faster");
        assert_eq!(word(1.1, 1.2), "slower");
    }

    #[test]
    fn added_cost_is_divided_by_what_exceeds_the_noise_only() {
        let samples = Samples(vec![vec![1.0; 4], vec![2.0; 4], vec![5.0; 4], vec![0.9, 1.0, 1.0, 1.1]]);
        assert_eq!(samples.added(1, 2, 0), Some(Spread { low: 0.25, median: 0.25, high: 0.25 }));
        assert_eq!(samples.added(1, 3, 0), None);
    }

    #[test]
    fn every_round_has_every_variant() {
        let mut runs = [0, 0, 0];
        let [a, b, c] = &mut runs;
        let mut batches: Vec<Batch<'_>> = vec![a, b, c].into_iter().map(counting).collect();
        let samples = alternate(Duration::ZERO, &mut batches);
        drop(batches);
        assert_eq!(samples.rounds(), FEWEST);
        assert_eq!(runs, [FEWEST + 1; 3]);
    }

    fn counting(runs: &mut usize) -> Batch<'_> {
        Box::new(|| {
            *runs += 1;
            1.0
        })
    }

    #[test]
    fn a_shuffle_keeps_everything() {
        let mut items: Vec<u32> = (0..100).collect();
        Random(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_target_says_whether_it_is_met() {
        let target = Target { what: "binding", figure: "29.1 ns".into(), wanted: "<= 35", met: true };
        assert_eq!(target.to_string(), "binding: 29.1 ns (target <= 35)  met");
    }
}
