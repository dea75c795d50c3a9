//! A choice of ways in which every two values of two columns meet.

use std::collections::BTreeSet;

/// One value of each column.
pub type Way = Vec<&'static str>;

/// All combinations of the columns' values that are possible.
pub fn all(columns: &[&[&'static str]], possible: impl Fn(&Way) -> bool) -> Vec<Way> {
    let mut ways: Vec<Way> = vec![vec![]];
    for column in columns {
        ways = ways.iter().flat_map(|way| column.iter().map(|value| [&way[..], &[*value]].concat())).collect();
    }
    ways.into_iter().filter(possible).collect()
}

/// A choice of these that has every pair which they have: always the one next that has most pairs which none has yet.
pub fn pairwise(all: &[Way]) -> Vec<Way> {
    let (mut chosen, mut met) = (vec![], BTreeSet::new());
    loop {
        let new = |way: &Way| pairs(way).filter(|pair| !met.contains(pair)).count();
        let Some(next) = all.iter().max_by_key(|way| new(way)).filter(|way| new(way) > 0) else { return chosen };
        met.extend(pairs(next));
        chosen.push(next.clone());
    }
}

/// The pairs of a way, each value with its column.
pub fn pairs(way: &Way) -> impl Iterator<Item = [(usize, &'static str); 2]> + '_ {
    let value = |at: usize| (at, way[at]);
    (0..way.len()).flat_map(move |a| (a + 1..way.len()).map(move |b| [value(a), value(b)]))
}
