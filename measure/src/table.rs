//! Variants side by side, and the table that the `invar` command shows: slice enter and leave in every form.

use crate::harness::{Samples, rounded};
use crate::machine;
use std::fmt;
use std::time::Duration;

/// Times of some variants, and what each is against the first of its part.
pub struct Table(String);

/// Variants that are compared with the first of them.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// What was measured, in a line.
    pub title: &'a str,
    /// The variants.
    pub names: &'a [&'static str],
    /// Where the first stands among the samples; the others follow.
    pub first: usize,
}

impl Table {
    /// Measures slice enter and leave, around nothing and around a lock, for about as long as `budget`.
    pub fn measure(budget: Duration) -> Self {
        Self::slice(&machine::measure(budget))
    }

    /// The table of what [`machine::measure`] returned.
    #[doc(hidden)]
    pub fn slice(samples: &Samples) -> Self {
        let names = machine::names();
        if names.is_empty() {
            let why = "Nothing to compare: sites are not bound on this machine, each is a load and a compare.\n";
            return Self(why.to_owned());
        }
        let empty = Part { title: "slice enter + leave around nothing, ns", names: &names, first: 0 };
        let locked =
            Part { title: "slice enter + leave around an uncontended lock, ns", names: &names, first: names.len() };
        let floor = floor(samples);
        let notes = [Some(floor.as_str()), machine::caveat()];
        Self::of(samples, &[empty, locked], &notes.into_iter().flatten().collect::<Vec<_>>())
    }

    /// The table of these parts, and under it what there is to say.
    pub fn of(samples: &Samples, parts: &[Part<'_>], notes: &[&str]) -> Self {
        let mut text = String::new();
        for &Part { title, names, first } in parts {
            text += &format!("{title:58}{:>7}  ratio\n", "more");
            for (at, name) in names.iter().enumerate() {
                let variant = first + at;
                let mut line = format!("{name:33}{:25}", samples.time(variant).to_string());
                if at > 0 {
                    let (more, ratio) = (samples.more(variant, first).median, samples.ratio(variant, first));
                    line += &format!("{:7.2}  {:19} {}", rounded(more, 2), ratio.to_string(), ratio.word());
                }
                text += &format!("{}\n", line.trim_end());
            }
            text += "\n";
        }
        text += &format!("Median and middle half of {} rounds; against the first row, ", samples.rounds());
        text += "compared in each round. Within noise:\n";
        text += "the ratio's middle half includes 1, or its median is within 2 % of 1.\n";
        for note in notes {
            text += &format!("{note}\n");
        }
        Self(text)
    }
}

/// What a loop whose first variant does nothing cannot see.
#[doc(hidden)]
pub fn floor(samples: &Samples) -> String {
    let turn = samples.time(0).median;
    format!("The loop alone takes {turn:.2} ns a turn: what the CPU does beside it in the same cycle shows as nothing.")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alternate;

    fn table() -> String {
        let mut times = [1.0, 1.0, 3.0, 1000.0, 99999.0];
        let batch = |time: &mut f64| -> crate::Batch<'static> {
            let time = *time;
            Box::new(move || Ok(time))
        };
        let mut batches: Vec<_> = times.iter_mut().map(batch).collect();
        let Ok(samples) = alternate(Duration::ZERO, &mut batches);
        let first = Part { title: "first", names: &["nothing", "the same", "more"], first: 0 };
        let second = Part { title: "second", names: &["slow", "a name that is as long as any is"], first: 3 };
        Table::of(&samples, &[first, second], &[&floor(&samples)]).to_string()
    }

    #[test]
    fn each_part_is_compared_with_its_own_first_row() {
        let text = table();
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned).unwrap_or_default();
        assert_eq!(line("nothing").split_whitespace().collect::<Vec<_>>(), ["nothing", "1.00", "[1.00", "1.00]"]);
        assert!(line("the same").ends_with("   0.00  1.00 [1.00 1.00]    within noise"), "{text}");
        assert!(line("more").ends_with("   2.00  3.00 [3.00 3.00]    slower"), "{text}");
        assert!(line("a name").contains("98999.00  100.00"), "{text}");
        assert!(!line("slow").contains("slower"), "{text}");
    }

    #[test]
    fn lines_have_at_most_a_hundred_columns_and_no_blanks_behind() {
        for line in table().lines() {
            assert!(line.chars().count() <= 100 && line == line.trim_end(), "{line:?}");
        }
    }
}
