//! Static branches and dispatch, beside the ways in which programs otherwise choose at run time.

#[macro_use]
#[path = "cold.rs"]
mod cold;
#[path = "form.rs"]
mod form;

use form::Form;
use invar_bench::machine::{Bench, Loop};
use invar_bench::{alternate, batch};
use std::time::Duration;

/// Each chooses between `inc` and, out of line, `dec`; the calls' variant does the one.
macro_rules! variants {
    ($then:ident) => { $then! {
        Inline "no branch" ["inc eax"] [] [];

        BoundHolds "bound, holds"
            ["22: cmp byte ptr [rip + {on}], 1", "jne 20f", "23:", "inc eax", "21:",
             invar_bench::site_record!("{on}", "22", "20f", "23", "1", "1")]
            [] ["20: dec eax", "jmp 21b"];

        BoundOther "bound, does not hold"
            ["22: cmp byte ptr [rip + {off}], 1", "jne 20f", "23:", "inc eax", "21:",
             invar_bench::site_record!("{off}", "22", "20f", "23", "1", "1")]
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
            ["22: cmp byte ptr [rip + {on}], 1", "jne 20f", "23:", "call {increment}", "21:",
             invar_bench::site_record!("{on}", "22", "20f", "23", "1", "1")]
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
        const VARIANTS: &[(&str, Loop)] = &[$(($name, { batch!(code $before [] $behind $cold); code })),*];
    };
}
variants!(loops);

pub(crate) fn main() {
    println!("holds, bound: {}", Form::of("invar-bench.on", invar::Kind::Branch));
    println!("does not hold, bound: {}\n", Form::of("invar-bench.off", invar::Kind::Branch));

    let bench = &Bench::new();
    let mut batches: Vec<_> = VARIANTS.iter().map(|variant| bench.batch(variant.1)).collect();
    let samples = alternate(Duration::from_secs(8), &mut batches);
    println!("{:33}{:22}against no branch     against a direct call", "one branch or call, warm, ns", "");
    for (at, (name, _)) in VARIANTS.iter().enumerate() {
        let [branch, call] = [0, 6].map(|base| samples.ratio(at, base));
        let [branch, call] = [branch, call].map(|ratio| format!("{:.2} {}", ratio.median, ratio.word()));
        println!("{name:33}{:22}{branch:22}{call}", samples.time(at).to_string());
    }
    println!("{} rounds\n", samples.rounds());

    let names: Vec<_> = VARIANTS.iter().map(|variant| variant.0).collect();
    cold::print(&names, &cold::measure(FUNCTIONS, Duration::from_secs(8)));
}
