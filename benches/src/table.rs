//! The table that the `invar` command shows: slice enter and leave in every form, side by side.

use crate::{Samples, Spread, machine};
use std::fmt;
use std::time::Duration;

/// What slice enter and leave cost around nothing, and around a lock that nobody else wants.
pub struct Table {
    /// In the order of the rows; the first is the base of the ratios.
    rows: Vec<Row>,
    rounds: usize,
    /// What makes a row not what its name says.
    caveat: Option<&'static str>,
}

/// One variant.
struct Row {
    name: &'static str,
    columns: [Column; 2],
}

/// One variant around one section.
struct Column {
    time: Spread,
    ratio: Spread,
}

impl Table {
    /// Measures for about as long as `budget`.
    pub fn measure(budget: Duration) -> Self {
        Self::of(&machine::measure(budget))
    }

    /// The table of what [`machine::measure`] returned.
    #[doc(hidden)]
    pub fn of(samples: &Samples) -> Self {
        let names = machine::names();
        let column = |variant, base| Column { time: samples.time(variant), ratio: samples.ratio(variant, base) };
        let row = |(at, name)| Row { name, columns: [column(at, 0), column(names.len() + at, names.len())] };
        Self {
            rows: names.iter().copied().enumerate().map(row).collect(),
            rounds: samples.rounds(),
            caveat: machine::caveat(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(
                f,
                "Nothing to compare: sites are not bound on this machine, each is a load and a compare."
            );
        }
        writeln!(f, "{:33}{:40}around an uncontended lock", "slice enter + leave, ns", "around nothing")?;
        for row in &self.rows {
            write!(f, "{:33}", row.name)?;
            for (at, Column { time, ratio }) in row.columns.iter().enumerate() {
                let width = if at == 0 { 12 } else { 0 };
                write!(f, "{:20}{:5.2} {:width$} ", time.to_string(), ratio.median, ratio.word())?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "Median and middle half of {} rounds; ratios to the first row, compared in each round.",
            self.rounds
        )?;
        self.caveat.map_or(Ok(()), |caveat| writeln!(f, "{caveat}"))
    }
}
