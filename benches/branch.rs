//! Static branches and dispatch, beside the ways in which programs otherwise choose at run time.

use crate::cold::{self, functions};
use crate::form::Form;
use invar_measure::machine::{Bench, Loop};
use invar_measure::{Part, Table, alternate, batch, floor};
use std::io;
use std::time::Duration;

/// Each chooses between `inc` and, out of line, `dec`; from the direct call on, `inc` stands in a function.
macro_rules! variants {
    ($then:ident) => { $then! {
        Inline "no branch" ["inc eax"] [] [];

        BoundHolds "bound, holds"
            ["22: .byte 0x40", "cmp byte ptr [rip + {on}], 1", "jne 20f", "23:", "inc eax", "21:",
             invar_measure::site_record!("{on}", "22", "20f", "23", "1", "1")]
            [] ["20: dec eax", "jmp 21b"];

        BoundOther "bound, does not hold"
            ["22: .byte 0x40", "cmp byte ptr [rip + {off}], 1", "jne 20f", "23:", "inc eax", "21:",
             invar_measure::site_record!("{off}", "22", "20f", "23", "1", "1")]
            [] ["20: dec eax", "jmp 21b"];

        CheckedHolds "unbound or a static bool, holds"
            ["cmp byte ptr [rip + {state_on}], 1", "jne 20f", "inc eax", "21:"] [] ["20: dec eax", "jmp 21b"];

        CheckedOther "the same, does not hold"
            ["cmp byte ptr [rip + {state_off}], 1", "jne 20f", "inc eax", "21:"] [] ["20: dec eax", "jmp 21b"];

        // What is_x86_feature_detected! compiles to: is the cache filled, and is the bit set?
        Feature "cached CPU features"
            ["mov r9, qword ptr [rip + {features}]", "test r9, r9", "je 20f", "test r9d, 0x8000", "je 20f", "inc eax", "21:"]
            [] ["20: dec eax", "jmp 21b"];

        Direct "direct call" ["call {increment}"] [] [];

        Dispatch "dispatch, bound"
            ["22: .byte 0x40", "cmp byte ptr [rip + {on}], 1", "jne 20f", "23:", "call {increment}", "21:",
             invar_measure::site_record!("{on}", "22", "20f", "23", "1", "1")]
            [] ["20: dec eax", "jmp 21b"];

        FeatureCall "cached CPU features, call"
            ["mov r9, qword ptr [rip + {features}]", "test r9, r9", "je 20f", "test r9d, 0x8000", "je 20f", "call {increment}", "21:"]
            [] ["20: dec eax", "jmp 21b"];

        PointerCall "function pointer" ["call qword ptr [rip + {pointer}]"] [] [];
    } };
}

variants!(functions);

macro_rules! loops {
    ($($variant:ident $name:literal $before:tt $behind:tt $cold:tt;)*) => {
        // Only one of the numbers is used.
        #[allow(dead_code)]
        enum Variant { $($variant),* }
        const NAMES: &[&str] = &[$($name),*];
        const LOOPS: &[Loop] = &[$({ batch!(code $before [] $behind $cold); code }),*];
    };
}
variants!(loops);

/// The variants that branch, and behind them those that call; each sort is compared with the first of it.
const CALLS: usize = Variant::Direct as usize;

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
    print!("{}", Table::of(&cold, &[code, data].concat(), &[cold::NOTE]));
    Ok(())
}

/// The branches and the calls, of which the first stands at this sample.
fn parts<'a>([branches, calls]: [&'a str; 2], first: usize) -> [Part<'a>; 2] {
    [
        Part { title: branches, names: &NAMES[..CALLS], first },
        Part { title: calls, names: &NAMES[CALLS..], first: first + CALLS },
    ]
}
