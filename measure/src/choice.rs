//! Ways in which a program chooses at run time, side by side.

use crate::cold::{self, Functions};
use crate::harness::{Samples, alternate};
use crate::machine::{Bench, Loop};
use std::time::Duration;

/// Calls `$then!` with the variants that choose: `Name "what it is" [before] [behind] [out of line];`. Each chooses between `inc` and, out of line, `dec`; from the direct call on, `inc` stands in a function.
#[doc(hidden)]
#[macro_export]
macro_rules! choice_variants {
    ($then:ident) => { $then! {
        Inline "no branch" ["inc eax"] [] [];

        BoundHolds "bound, holds"
            ["22: .byte 0x40", "cmp byte ptr [rip + {on}], 1", "jne 20f", "23:", "inc eax", "21:",
             $crate::site_record!("{on}", "22", "20f", "23", "1", "1")]
            [] ["20: dec eax", "jmp 21b"];

        BoundOther "bound, does not hold"
            ["22: .byte 0x40", "cmp byte ptr [rip + {off}], 1", "jne 20f", "23:", "inc eax", "21:",
             $crate::site_record!("{off}", "22", "20f", "23", "1", "1")]
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
             $crate::site_record!("{on}", "22", "20f", "23", "1", "1")]
            [] ["20: dec eax", "jmp 21b"];

        FeatureCall "cached CPU features, call"
            ["mov r9, qword ptr [rip + {features}]", "test r9, r9", "je 20f", "test r9d, 0x8000", "je 20f", "call {increment}", "21:"]
            [] ["20: dec eax", "jmp 21b"];

        PointerCall "function pointer" ["call qword ptr [rip + {pointer}]"] [] [];
    } };
}

macro_rules! declare {
    ($($variant:ident $name:literal $before:tt $behind:tt $cold:tt;)*) => {
        /// The variants, in their order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        #[doc(hidden)]
        pub enum Choice { $($variant),* }

        /// Their names.
        #[doc(hidden)]
        pub const NAMES: &[&str] = &[$($name),*];

        /// Each in a loop.
        #[doc(hidden)]
        pub const LOOPS: &[Loop] = &[$({ $crate::batch!(code $before [] $behind $cold); code }),*];

        /// Each as few functions: enough that the CPU does not know which comes next, and little text.
        const FUNCTIONS: &[Functions<16>] = $crate::cold_functions!(16; $($variant $name $before $behind $cold;)*);
    };
}
choice_variants!(declare);

/// The ways that call, as the demonstration compares them: cold, as [`cold::measure`] has them, and warm.
pub(crate) fn measure(budget: Duration) -> [Samples; 2] {
    let cold = cold::measure(&FUNCTIONS[FIRST..], budget * 3 / 4);
    let bench = &Bench::new();
    let mut batches: Vec<_> = LOOPS[FIRST..].iter().map(|&code| bench.batch(code)).collect();
    let Ok(warm) = alternate(budget / 4, &mut batches);
    [cold, warm]
}

/// The first variant that calls. Those behind it do as well.
pub(crate) const FIRST: usize = Choice::Direct as usize;
