//! Code that is met once: thousands of copies, each in a function of its own, with caches that hold other things.

use invar_bench::machine::{Bench, Loop};
use invar_bench::{Batch, Samples, Spread, alternate, per_operation};
use std::hint::black_box;
use std::time::Duration;

/// Copies of each variant.
pub(crate) const COPIES: usize = 4096;

/// A variant's functions: a table of distances, each from its own place.
pub(crate) type Functions = unsafe extern "C" fn() -> *const [i32; COPIES];

/// Declares `FUNCTIONS`, the functions of each variant. The section is some fifty bytes of code that need no
/// memory; what is out of line stands at the end of its function, where compilers put it.
macro_rules! functions {
    ($($variant:ident $name:literal [$($before:expr),*] [$($behind:expr),*] [$($cold:expr),*];)*) => {
        const FUNCTIONS: &[cold::Functions] = &[$({
            #[unsafe(naked)]
            unsafe extern "C" fn functions() -> *const [i32; cold::COPIES] {
                invar_bench::assemble!(
                    "lea rax, [rip + 60f]",
                    "ret",
                    ".pushsection .rodata.invar_bench, \"a\", @progbits",
                    ".balign 4",
                    "60:",
                    ".popsection",
                    ".rept 4096",
                    ".p2align 4",
                    "50:",
                    $($before,)*
                    ".rept 10",
                    "add eax, 0x12345678",
                    ".endr",
                    $($behind,)*
                    "ret",
                    $($cold,)*
                    ".pushsection .rodata.invar_bench, \"a\", @progbits",
                    ".long 50b - .",
                    ".popsection",
                    ".endr",
                )
            }
            functions
        }),*];
    };
}

/// Every variant's functions in one random order, after a walk over more memory than second-level caches hold.
pub(crate) fn measure(variants: &[Functions], budget: Duration) -> Samples {
    const THRASH: usize = 16 << 20;
    let bench = &Bench::new();
    let thrash = &vec![1_u64; THRASH / 8];
    let batch = |functions: &Functions| -> Batch<'_> {
        let calls = shuffled(*functions);
        Box::new(move || {
            black_box(thrash.iter().step_by(8).sum::<u64>());
            per_operation(COPIES as u64, || calls.iter().for_each(|&call| bench.run(call, 0)))
        })
    };
    let mut batches: Vec<_> = variants.iter().map(batch).collect();
    alternate(budget, &mut batches)
}

/// The same order for every variant: an odd multiplier visits each of a power of two once.
fn shuffled(functions: Functions) -> Vec<Loop> {
    // SAFETY: returns the address of its table, which is never written.
    let table = unsafe { &*functions() };
    let address = |distance: &i32| (&raw const *distance as usize).wrapping_add_signed(*distance as isize);
    // SAFETY: each distance leads to a function of the form that all of a variant's code has.
    let call = |at: usize| unsafe { std::mem::transmute::<usize, Loop>(address(&table[at])) };
    (0..COPIES).map(|at| call(at * 2467 % COPIES)).collect()
}

/// Shows one line for each variant, and its ratio to the first.
pub(crate) fn print(names: &[&str], samples: &Samples) {
    println!("{COPIES} copies in functions of their own, called in random order, caches thrashed; ns");
    for (at, name) in names.iter().enumerate() {
        let ratio: Spread = samples.ratio(at, 0);
        println!("{name:33}{:22}{:.2} {}", samples.time(at).to_string(), ratio.median, ratio.word());
    }
    println!("{} rounds\n", samples.rounds());
}
