//! The harness: several variants in turn, round by round, so that what disturbs one disturbs them all.
//!
//! A round runs one short batch of every variant, in an order that changes from round to round. Two variants are
//! compared within a round, and what is shown is the middle half of those comparisons. criterion and divan run
//! one benchmark after the other, tango compares two binaries, and zenbench, which does alternate, compares means:
//! one preempted batch moves them.

use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

/// Runs one batch of a variant, and returns the nanoseconds that one of its operations took. An error ends the
/// measurement: a round without one of its variants compares nothing.
pub type Batch<'a, E = Infallible> = Box<dyn FnMut() -> Result<f64, E> + 'a>;

/// Runs `operations` of something in one go, and returns the nanoseconds that each of them took.
pub fn per_operation(operations: u64, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / operations as f64
}

/// How many operations take about ten microseconds, long against reading the clock and short against what disturbs,
/// if `time` tells the nanoseconds that each of so many takes.
pub fn calibrate(mut time: impl FnMut(u64) -> f64) -> u64 {
    const BATCH: f64 = 10_000.0;
    const MOST: u64 = 1 << 24;
    let mut count = 100;
    loop {
        // The fastest of a few: what is slower was disturbed.
        let fastest = (0..5).map(|_| time(count)).fold(f64::INFINITY, f64::min);
        if fastest * count as f64 >= BATCH / 4.0 {
            return (BATCH / fastest).ceil() as u64;
        }
        if count >= MOST {
            return count;
        }
        count *= 2;
    }
}

/// Runs the batches in rounds, every batch once in each, for about as long as `budget`; at least nine rounds.
pub fn alternate<E>(budget: Duration, batches: &mut [Batch<'_, E>]) -> Result<Samples, E> {
    let started = Instant::now();
    let mut samples = Samples(vec![Vec::new(); batches.len()]);
    let mut order: Vec<usize> = (0..batches.len()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // The first round warms caches and predictors up, and does not count.
    for batch in batches.iter_mut() {
        batch()?;
    }
    let mut rounds = 0;
    while rounds < FEWEST || started.elapsed() < budget {
        random.shuffle(&mut order);
        for &variant in &order {
            samples.0[variant].push(batches[variant]()?);
        }
        rounds += 1;
    }
    Ok(samples)
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

    /// How many nanoseconds more than `base` a variant takes, compared in each round.
    pub fn more(&self, variant: usize, base: usize) -> Spread {
        Spread::of(self.differences(variant, base))
    }

    /// What a variant adds to `base`, as a part of what `other` adds to it, compared in each round.
    /// `None` if what `other` adds does not exceed the noise, and nothing can be divided by it.
    pub fn added(&self, variant: usize, other: usize, base: usize) -> Option<Spread> {
        let added = |of| self.differences(of, base);
        let parts = || Spread::of(added(variant).zip(added(other)).map(|(part, whole)| part / whole));
        (self.ratio(other, base).word() == "slower").then(parts)
    }

    fn differences(&self, variant: usize, base: usize) -> impl Iterator<Item = f64> {
        self.0[variant].iter().zip(&self.0[base]).map(|(time, base)| time - base)
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

    /// The same values in another unit.
    pub fn times(self, factor: f64) -> Self {
        Self { low: self.low * factor, median: self.median * factor, high: self.high * factor }
    }

    /// What a spread of ratios means, in a word or two: within noise if the middle half includes 1, or if the median
    /// is within 2 % of it.
    pub fn word(&self) -> &'static str {
        match () {
            () if (self.low..=self.high).contains(&1.0) || (self.median - 1.0).abs() <= 0.02 => "within noise",
            () if self.median < 1.0 => "faster",
            () => "slower",
        }
    }
}

/// The median, and in brackets where the middle half lies; two decimals, or as many as are asked for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let [low, median, high] = [self.low, self.median, self.high].map(|value| rounded(value, decimals));
        write!(f, "{median:.decimals$} [{low:.decimals$} {high:.decimals$}]")
    }
}

/// The number with so many decimals; what that makes zero has no sign.
pub(crate) fn rounded(value: f64, decimals: usize) -> f64 {
    let scale = 10_f64.powi(decimals as i32);
    (value * scale).round() / scale + 0.0
}

/// Marsaglia's xorshift, from a seed that is not 0: enough to shuffle by.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Puts the items into another order, each as likely as any (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
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
        let word = |low, median, high| Spread { low, median, high }.word();
        assert_eq!(word(0.9, 0.95, 1.1), "within noise");
        assert_eq!(word(1.0, 1.05, 1.1), "within noise");
        assert_eq!(word(0.7, 0.8, 0.9), "faster");
        assert_eq!(word(1.1, 1.15, 1.2), "slower");
        // Too little to be told from a difference of layout, however narrow the interval.
        assert_eq!(word(1.01, 1.01, 1.02), "within noise");
        assert_eq!(word(0.98, 0.985, 0.99), "within noise");
        assert_eq!(word(1.01, 1.03, 1.05), "slower");
    }

    #[test]
    fn a_spread_is_shown_with_as_many_decimals_as_wanted() {
        let spread = Spread { low: 1.0, median: 1.25, high: 2.0 };
        assert_eq!(spread.to_string(), "1.25 [1.00 2.00]");
        assert_eq!(format!("{spread:.0}"), "1 [1 2]");
        assert_eq!(Spread { low: -0.001, ..spread }.to_string(), "1.25 [0.00 2.00]");
        assert_eq!(spread.times(10.0), Spread { low: 10.0, median: 12.5, high: 20.0 });
    }

    #[test]
    fn a_batch_is_ten_microseconds_long_whatever_it_runs() {
        assert_eq!(calibrate(|_| 0.25), 40_000);
        assert_eq!(calibrate(|_| 50.0), 200);
        // The clock's own time does not count.
        assert!((36_000..=40_000).contains(&calibrate(|count| 0.25 + 100.0 / count as f64)));
        assert_eq!(calibrate(|_| 0.0), calibrate(|_| 0.0), "ends");
    }

    #[test]
    fn differences_are_taken_within_a_round() {
        let samples = Samples(vec![vec![1.0, 5.0, 9.0], vec![3.0, 7.0, 11.0]]);
        assert_eq!(samples.more(1, 0), Spread { low: 2.0, median: 2.0, high: 2.0 });
        assert_eq!(samples.more(0, 0).median, 0.0);
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
        let Ok(samples) = alternate(Duration::ZERO, &mut batches);
        drop(batches);
        assert_eq!(samples.rounds(), FEWEST);
        assert_eq!(runs, [FEWEST + 1; 3]);
    }

    fn counting(runs: &mut usize) -> Batch<'_> {
        Box::new(|| {
            *runs += 1;
            Ok(1.0)
        })
    }

    #[test]
    fn a_batch_that_fails_ends_it_all() {
        let mut left = 5;
        let failing = || {
            left -= 1;
            if left == 0 { Err("the fifth") } else { Ok(1.0) }
        };
        let mut batches: [Batch<'_, _>; 2] = [Box::new(|| Ok(1.0)), Box::new(failing)];
        assert_eq!(alternate(Duration::ZERO, &mut batches).err(), Some("the fifth"));
    }

    #[test]
    fn a_shuffle_keeps_everything() {
        let mut items: Vec<u32> = (0..100).collect();
        Random(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        let first = items.clone();
        Random(2).shuffle(&mut items);
        assert_ne!(items, first);
        items.sort();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn every_order_is_as_likely_as_any() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..6000 {
            let mut items = [1, 2, 3];
            random.shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        assert!(seen.len() == 6 && seen.values().all(|times| (850..1150).contains(times)), "{seen:?}");
    }
}
