//! Code that is met once: many copies, each in a function of its own, and each flushed from every cache before
//! it is called. To read much other memory before does not do: half of the copies are back in the second-level cache
//! when their turn comes, since the core prefetches what lies on a page that it executes.

use crate::harness::{Batch, Random, Samples, alternate};
use crate::machine::{Bench, Loop};
use std::arch::x86_64::{_mm_clflush, _mm_lfence, _mm_mfence, _rdtsc};
use std::time::{Duration, Instant};

/// From one copy to the next, for every variant.
const STRIDE: usize = 128;
/// A variant's functions: a table of distances, each from its own place.
pub type Functions<const COPIES: usize> = unsafe extern "C" fn() -> *const [i32; COPIES];

/// The functions of each variant, in so many copies. The section is fifty bytes of code that need no memory; what is out of line
/// stands at the end of its function, where compilers put it.
#[doc(hidden)]
#[macro_export]
macro_rules! cold_functions {
    ($copies:literal; $($variant:ident $name:literal [$($before:expr),*] [$($behind:expr),*] [$($cold:expr),*];)*) => {
        &[$({
            #[unsafe(naked)]
            unsafe extern "C" fn functions() -> *const [i32; $copies] {
                $crate::assemble!(
                    "lea rax, [rip + 60f]",
                    "ret",
                    ".pushsection .rodata.invar_measure, \"a\", @progbits",
                    ".balign 4",
                    "60:",
                    ".popsection",
                    concat!(".rept ", $copies),
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
        }),*]
    };
}

/// Every variant with its code cold, then every variant with code and data cold.
pub fn measure<const COPIES: usize>(variants: &[Functions<COPIES>], budget: Duration) -> Samples {
    let bench = &Bench::new();
    let batch = |functions: Functions<COPIES>, data_cold| -> Batch<'_> {
        let (mut calls, mut times) = (calls(functions), [0; COPIES]);
        // The same seed, so that all variants have the same order in the same round.
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        Box::new(move || {
            random.shuffle(&mut calls);
            Ok(timed(bench, &calls, STRIDE, &mut times, || {
                if data_cold {
                    bench.flush();
                }
            }))
        })
    };
    let code = variants.iter().map(|&functions| batch(functions, false));
    let data = variants.iter().map(|&functions| batch(functions, true));
    let mut batches: Vec<_> = code.chain(data).collect();
    let Ok(samples) = alternate(budget, &mut batches);
    samples
}

/// The nanoseconds that a call took, without what is done between them: the mean of the middle half. Before each, so many bytes of
/// its code are flushed, and what `flush_data` flushes.
pub fn timed(bench: &Bench, calls: &[Loop], bytes: usize, times: &mut [u64], mut flush_data: impl FnMut()) -> f64 {
    let (started, first) = (Instant::now(), ticks());
    for (&call, time) in calls.iter().zip(&mut *times) {
        flush_data();
        for line in (0..bytes).step_by(64) {
            // SAFETY: bytes of this program's text, which keep their values.
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
fn calls<const COPIES: usize>(functions: Functions<COPIES>) -> Vec<Loop> {
    // SAFETY: returns the address of its table, which is never written.
    let table = unsafe { &*functions() };
    let address = |distance: &i32| (&raw const *distance as usize).wrapping_add_signed(*distance as isize);
    let addresses: Vec<usize> = table.iter().map(address).collect();
    assert!(addresses[0].is_multiple_of(STRIDE), "copies begin with a cache line");
    assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] == STRIDE), "a copy is longer than {STRIDE} bytes");
    // SAFETY: each distance leads to a function of the form that all of a variant's code has.
    addresses.into_iter().map(|address| unsafe { std::mem::transmute::<usize, Loop>(address) }).collect()
}
