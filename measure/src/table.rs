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
    /// Measures slice enter and leave, around nothing and around a lock, for about as long as `budget`: medians, in 80 columns.
    pub fn measure(budget: Duration) -> Self {
        Self::slice_by(&machine::measure(budget), Self::brief)
    }

    /// The table of what [`machine::measure`] returned.
    #[doc(hidden)]
    pub fn slice(samples: &Samples) -> Self {
        Self::slice_by(samples, Self::of)
    }

    fn slice_by(samples: &Samples, table: fn(&Samples, &[Part<'_>], &[&str]) -> Self) -> Self {
        let names = machine::names();
        if names.is_empty() {
            let why = "Nothing to compare: sites are not bound on this machine, each is a load and a compare.\n";
            return Self(why.to_owned());
        }
        let empty = Part { title: "critical section around nothing, ns", names: &names, first: 0 };
        let locked =
            Part { title: "critical section around an uncontended lock, ns", names: &names, first: names.len() };
        let floor = floor(samples);
        let notes = [Some(floor.as_str()), machine::caveat()];
        table(samples, &[empty, locked], &notes.into_iter().flatten().collect::<Vec<_>>())
    }

    /// The table of these parts, with medians alone.
    fn brief(samples: &Samples, parts: &[Part<'_>], notes: &[&str]) -> Self {
        let mut text = String::new();
        for &Part { title, names, first } in parts {
            text += &format!("{title:52}{:>8}\n", "ratio");
            for (at, name) in names.iter().enumerate() {
                let mut line = format!("  {name:38}{:12.2}", samples.time(first + at).median);
                if at > 0 {
                    let ratio = samples.ratio(first + at, first);
                    line += &format!("{:8.2}  {}", ratio.median, ratio.word());
                }
                text += &format!("{line}\n");
            }
            text += "\n";
        }
        for note in notes {
            let mut column = 0;
            for word in note.split(' ') {
                let is_next = column > 0 && column + word.len() < 80;
                text += if column == 0 {
                    ""
                } else if is_next {
                    " "
                } else {
                    "\n"
                };
                column = if is_next { column + 1 + word.len() } else { word.len() };
                text += word;
            }
            text += "\n";
        }
        Self(text)
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

    fn table(form: fn(&Samples, &[Part<'_>], &[&str]) -> Table) -> String {
        let mut times = [1.0, 1.0, 3.0, 1000.0, 99999.0];
        let batch = |time: &mut f64| -> crate::Batch<'static> {
            let time = *time;
            Box::new(move || Ok(time))
        };
        let mut batches: Vec<_> = times.iter_mut().map(batch).collect();
        let Ok(samples) = alternate(Duration::ZERO, &mut batches);
        let first = Part { title: "first", names: &["nothing", "the same", "more"], first: 0 };
        let second = Part { title: "second", names: &["slow", "a name that is as long as any is"], first: 3 };
        form(&samples, &[first, second], &[&floor(&samples)]).to_string()
    }

    #[test]
    fn each_part_is_compared_with_its_own_first_row() {
        let text = table(Table::of);
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
        for line in table(Table::of).lines() {
            assert!(line.chars().count() <= 100 && line == line.trim_end(), "{line:?}");
        }
    }

    #[test]
    fn a_brief_table_has_medians_and_eighty_columns() {
        let text = table(Table::brief);
        assert!(text.lines().all(|line| line.chars().count() <= 80 && line == line.trim_end()), "{text}");
        let words = |start: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("nothing"), ["nothing", "1.00"]);
        assert_eq!(words("more"), ["more", "3.00", "3.00", "slower"]);
        assert_eq!(words("slow"), ["slow", "1000.00"]);
    }
}
