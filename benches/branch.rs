//! Static branches and dispatch, beside the ways in which programs otherwise choose at run time.

use crate::cold::{COLD, COPIES};
use crate::form::Form;
use invar_measure::choice::{Choice, LOOPS, NAMES};
use invar_measure::cold::{self, Functions};
use invar_measure::machine::Bench;
use invar_measure::{Part, Table, alternate, floor};
use std::io;
use std::time::Duration;

macro_rules! functions {
    ($($variants:tt)*) => { const FUNCTIONS: &[Functions<COPIES>] = invar_measure::cold_functions!(4096; $($variants)*); };
}
invar_measure::choice_variants!(functions);

/// The variants that branch, and behind them those that call; each sort is compared with the first of it.
const CALLS: usize = Choice::Direct as usize;

pub(crate) fn run() -> io::Result<()> {
    println!("holds, bound: {}", Form::of("invar-measure.on", invar::Kind::Branch));
    println!("does not hold, bound: {}\n", Form::of("invar-measure.off", invar::Kind::Branch));

    let bench = &Bench::new();
    let mut batches: Vec<_> = LOOPS.iter().map(|&code| bench.batch(code)).collect();
    let Ok(warm) = alternate(Duration::from_secs(8), &mut batches);
    println!("{}", Table::of(&warm, &parts(["one branch, warm, ns", "one call, warm, ns"], 0), &[&floor(&warm)]));

    let cold = cold::measure(FUNCTIONS, Duration::from_secs(12));
    let code = parts(["one branch, code cold, ns", "one call, code cold, ns"], 0);
    let data = parts(["one branch, code and data cold, ns", "one call, code and data cold, ns"], NAMES.len());
    print!("{}", Table::of(&cold, &[code, data].concat(), &[COLD]));
    Ok(())
}

/// The branches and the calls, of which the first stands at this sample.
fn parts<'a>([branches, calls]: [&'a str; 2], first: usize) -> [Part<'a>; 2] {
    [
        Part { title: branches, names: &NAMES[..CALLS], first },
        Part { title: calls, names: &NAMES[CALLS..], first: first + CALLS },
    ]
}
