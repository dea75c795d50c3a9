//! A copy that goes past the caches from a size on, which a probe finds: the size in the instruction, and in memory.

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

invar::constant! {
    /// From where on a copy is not worth a place in the caches: three quarters of the largest.
    #[name = "invar-bench.far"]
    #[fallback(3 << 20)]
    static FAR: usize = |evidence| {
        let read = |index| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok();
        let size = (0..8).rev().find_map(read).ok_or("no cache is listed")?;
        let kib: usize = size.trim().trim_end_matches('K').parse().map_err(|_| "no size in KiB")?;
        evidence.number(kib as i64).text(" KiB of cache");
        Ok(kib * 768)
    };
}

/// What a library has that asks once and keeps the answer.
static FAR_IN_MEMORY: AtomicUsize = AtomicUsize::new(0);

macro_rules! copies {
    ($($name:ident $far:expr;)*) => {
        $(
            #[inline(never)]
            fn $name(to: &mut [u8], from: &[u8]) {
                if from.len() >= $far { past_the_caches(to, from) } else { to.copy_from_slice(from) }
            }
        )*
    };
}
copies! {
    bound invar::value!(FAR);
    loaded FAR_IN_MEMORY.load(Relaxed);
    fixed 96 << 20;
}

#[cold]
#[inline(never)]
fn past_the_caches(to: &mut [u8], from: &[u8]) {
    use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let skip = to.as_ptr().align_offset(16).min(from.len());
    let (head, whole) = (skip, (from.len() - skip) / 16 * 16);
    to[..head].copy_from_slice(&from[..head]);
    for at in (head..head + whole).step_by(16) {
        // SAFETY: both are in bounds, and the target is aligned to 16 bytes.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().add(at).cast::<__m128i>());
            _mm_stream_si128(to.as_mut_ptr().add(at).cast::<__m128i>(), bytes);
        }
    }
    // SAFETY: SSE is there on every x86-64.
    unsafe { _mm_sfence() };
    to[head + whole..].copy_from_slice(&from[head + whole..]);
}

type Copy = fn(&mut [u8], &[u8]);
const COPIES: [(&str, Copy); 3] = [("no size to ask for", fixed), ("bound", bound), ("loaded", loaded)];

pub(crate) fn run() -> io::Result<()> {
    FAR_IN_MEMORY.store(FAR.get(), Relaxed);
    println!("{} bytes and more go past the caches: {}\n", FAR.get(), FAR.verdict().expect("decided").evidence());
    let form = crate::form::Form::of("invar-bench.far", invar::Kind::Constant);
    println!("the site: {form}\n");
    let (mut to, from) = ([0; 64], [1; 64]);
    println!("a copy of 32 bytes, ns           warm    data cold");
    for (name, warm, cold) in alternate(|copy, is_cold| {
        if is_cold {
            // SAFETY: the lines of both, which are this program's.
            unsafe {
                core::arch::x86_64::_mm_clflush((&raw const FAR_IN_MEMORY).cast());
                core::arch::x86_64::_mm_clflush((&raw const FAR).cast::<u8>().add(256));
                core::arch::x86_64::_mm_mfence();
            }
        }
        let times = if is_cold { 1 } else { 1000 };
        let started = Instant::now();
        for _ in 0..times {
            copy(black_box(&mut to[..32]), black_box(&from[..32]));
        }
        started.elapsed().as_nanos() as f64 / f64::from(times)
    }) {
        println!("{name:30} {warm:7.2} {cold:12.1}");
    }
    Ok(())
}

/// Medians of many rounds, one after the other: warm and cold.
fn alternate(mut round: impl FnMut(Copy, bool) -> f64) -> Vec<(&'static str, f64, f64)> {
    const ROUNDS: usize = 20_000;
    let mut samples = vec![[Vec::new(), Vec::new()]; COPIES.len()];
    for turn in 0..ROUNDS {
        for (samples, (_, copy)) in samples.iter_mut().zip(COPIES) {
            samples[1].push(round(copy, true));
            if turn % 20 == 0 {
                samples[0].push(round(copy, false));
            }
        }
    }
    let median = |samples: &mut Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    let names = COPIES.iter().map(|(name, _)| *name);
    names.zip(&mut samples).map(|(name, [warm, cold])| (name, median(warm), median(cold))).collect()
}
