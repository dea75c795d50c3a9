//! Code that is met once: thousands of copies, each in a function of its own, and each flushed from every cache before
//! it is called. To read much other memory before does not do: half of the copies are back in the second-level cache
//! when their turn comes, since the core prefetches what lies on a page that it executes.

use invar_measure::machine::{Bench, Loop};
use invar_measure::{Batch, Random, Samples, alternate};
use std::arch::x86_64::{_mm_clflush, _mm_lfence, _mm_mfence, _rdtsc};
use std::time::{Duration, Instant};

/// Copies of each variant.
pub(crate) const COPIES: usize = 4096;
/// From one copy to the next, for every variant.
const STRIDE: usize = 128;
/// What is cold, precisely.
pub(crate) const NOTE: &str = "\
Of each variant 4096 copies, 128 bytes apart, each called once a round, in a new order each round.
Code cold: the copy's two cache lines are flushed to memory before its call, which is not predicted;
what it reads and writes, and functions that it calls, are warm.
Code and data cold: flushed is also what the copy itself reads and writes, not what functions do.
Each call is timed alone, from fence to fence, so that its stores count; every row has the fences.
A round's time is the mean of the middle half of its calls.";

/// A variant's functions: a table of distances, each from its own place.
pub(crate) type Functions = unsafe extern "C" fn() -> *const [i32; COPIES];

/// Declares `FUNCTIONS`, the functions of each variant. The section is fifty bytes of code that need no memory; what
/// is out of line stands at the end of its function, where compilers put it.
macro_rules! functions {
    ($($variant:ident $name:literal [$($before:expr),*] [$($behind:expr),*] [$($cold:expr),*];)*) => {
        const FUNCTIONS: &[$crate::cold::Functions] = &[$({
            #[unsafe(naked)]
            unsafe extern "C" fn functions() -> *const [i32; $crate::cold::COPIES] {
                invar_measure::assemble!(
                    "lea rax, [rip + 60f]",
                    "ret",
                    ".pushsection .rodata.invar_measure, \"a\", @progbits",
                    ".balign 4",
                    "60:",
                    ".popsection",
                    ".rept 4096",
                    ".p2align 7",
                    "50:",
                    $($before,)*
                    ".rept 10",
                    "add eax, 0x12345678",
                    ".endr",
                    $($behind,)*
                    "ret",
                    $($cold,)*
                    ".pushsection .rodata.invar_measure, \"a\", @progbits",
                    ".long 50b - .",
                    ".popsection",
                    ".endr",
                )
            }
            functions
        }),*];
    };
}
pub(crate) use functions;

/// Every variant with its code cold, then every variant with code and data cold.
pub(crate) fn measure(variants: &[Functions], budget: Duration) -> Samples {
    let bench = &Bench::new();
    let batch = |functions: Functions, data_cold| -> Batch<'_> {
        let (mut calls, mut times) = (calls(functions), [0; COPIES]);
        // The same seed, so that all variants have the same order in the same round.
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        Box::new(move || {
            random.shuffle(&mut calls);
            Ok(timed(bench, &calls, &mut times, data_cold))
        })
    };
    let code = variants.iter().map(|&functions| batch(functions, false));
    let data = variants.iter().map(|&functions| batch(functions, true));
    let mut batches: Vec<_> = code.chain(data).collect();
    let Ok(samples) = alternate(budget, &mut batches);
    samples
}

/// The nanoseconds that a call took, without what is done between them: the mean of the middle half.
fn timed(bench: &Bench, calls: &[Loop], times: &mut [u64], data_cold: bool) -> f64 {
    let (started, first) = (Instant::now(), ticks());
    for (&call, time) in calls.iter().zip(&mut *times) {
        if data_cold {
            bench.flush();
        }
        for line in (0..STRIDE).step_by(64) {
            // SAFETY: the copy's own bytes, which keep their values.
            unsafe { _mm_clflush((call as *const u8).wrapping_add(line)) };
        }
        let before = ticks();
        bench.run_unpredicted(call);
        *time = ticks().wrapping_sub(before);
    }
    let all = ticks().wrapping_sub(first);
    let nanoseconds_a_tick = started.elapsed().as_nanos() as f64 / all as f64;
    times.sort_unstable();
    let middle = &times[times.len() / 4..times.len() * 3 / 4];
    middle.iter().sum::<u64>() as f64 / middle.len() as f64 * nanoseconds_a_tick
}

/// The time stamp counter, when all before it is done and nothing behind it has begun.
fn ticks() -> u64 {
    // SAFETY: these exist on every x86-64 CPU and touch no memory.
    unsafe {
        _mm_mfence();
        _mm_lfence();
        let ticks = _rdtsc();
        _mm_lfence();
        ticks
    }
}

/// A variant's functions, which must lie in memory as every variant's do.
fn calls(functions: Functions) -> Vec<Loop> {
    // SAFETY: returns the address of its table, which is never written.
    let table = unsafe { &*functions() };
    let address = |distance: &i32| (&raw const *distance as usize).wrapping_add_signed(*distance as isize);
    let addresses: Vec<usize> = table.iter().map(address).collect();
    assert!(addresses[0].is_multiple_of(STRIDE), "copies begin with a cache line");
    assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] == STRIDE), "a copy is longer than {STRIDE} bytes");
    // SAFETY: each distance leads to a function of the form that all of a variant's code has.
    addresses.into_iter().map(|address| unsafe { std::mem::transmute::<usize, Loop>(address) }).collect()
}
