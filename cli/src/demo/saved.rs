//! What a bound call saves on this machine: a table, cold figures first, and a sentence.

use crate::style::{GOOD, styled};
use invar_measure::{BOUND, Cost, Way, machine};
use std::io::{self, Write};

/// Writes the table, and returns the sentence.
pub(super) fn print(ways: Option<Vec<Way>>, out: &mut dyn Write) -> io::Result<String> {
    let Some(ways) = ways else {
        writeln!(out, "nothing to compare: no site is bound on this machine")?;
        return Ok(NOTHING.into());
    };
    writeln!(out, "{:37}{:>10}{:>8}{:>15}{:>8}", "one call, ns", "cold", "ratio", "warm", "ratio")?;
    for Way { name, cold, warm } in &ways {
        let line = format!("  {name:35}{:10.2}{:8.2}{:15.2}{:8.2}", cold.time, cold.ratio, warm.time, warm.ratio);
        writeln!(out, "{}", if *name == BOUND { styled(GOOD, line) } else { line })?;
    }
    writeln!(out, "Cold: neither the code nor its data is in a cache. Medians.")?;
    Ok(match machine::caveat() {
        Some(why) => format!("Gained on this machine: nothing. {why}"),
        None => gain(&ways),
    })
}

/// What is said where nothing is bound.
const NOTHING: &str =
    "Gained on this machine: nothing. Sites keep their checked form, each a load and a compare; pointers are bound.";

/// What the bound call is compared with in the sentence.
const OTHERS: [(&str, &str); 2] =
    [("function pointer", "a function pointer"), ("cached CPU features, call", "a test of cached CPU features")];

/// What was gained, in a sentence, cold first.
fn gain(ways: &[Way]) -> String {
    let of = |name: &str| ways.iter().find(|way| way.name == name).expect("a way that is measured");
    let bound = of(BOUND);
    let part = |cost: Cost, bound: Cost, what: &str| match cost.is_slower {
        true => format!("{} of {} ns against {what}", rounded(cost.time - bound.time), rounded(cost.time)),
        false => format!("nothing that exceeds the noise against {what}"),
    };
    let parts = |cost: fn(&Way) -> Cost| match OTHERS.iter().any(|(name, _)| cost(of(name)).is_slower) {
        true => OTHERS.map(|(name, what)| part(cost(of(name)), cost(bound), what)).join(", "),
        false => "nothing that exceeds the noise".into(),
    };
    let (cold, warm) = (parts(|way| way.cold), parts(|way| way.warm));
    format!("Gained on this machine by a bound call: where code and data are cold, {cold}; warm, {warm}.")
}

/// With as many digits as say something.
fn rounded(nanoseconds: f64) -> String {
    if nanoseconds.abs() < 10.0 { format!("{nanoseconds:.2}") } else { format!("{nanoseconds:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_was_measured() {
        let cost = |time: f64, is_slower| Cost { time, ratio: 1.0, is_slower };
        let way = |name, cold, warm| Way { name, cold, warm };
        let ways = [
            way(BOUND, cost(190.0, false), cost(1.0, false)),
            way("function pointer", cost(340.0, true), cost(1.5, true)),
            way("cached CPU features, call", cost(330.0, true), cost(1.01, false)),
        ];
        let said = gain(&ways);
        assert!(
            said.contains("cold, 150 of 340 ns against a function pointer, 140 of 330 ns against a test"),
            "{said}"
        );
        assert!(said.contains("; warm, 0.50 of 1.50 ns against a function pointer, nothing that exceeds"), "{said}");
        let quiet = ways.map(|way| Way { warm: cost(1.0, false), ..way });
        assert!(gain(&quiet).ends_with("; warm, nothing that exceeds the noise."), "{}", gain(&quiet));
    }
}
