//! The sites of this program itself, so that it can show what becomes of them: two keys, a dispatch over a third, a constant, and
//! a critical section.
#![allow(unsafe_code)] // what the macros expand to

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// What the names of this module's functions contain.
pub(crate) const PATH: &str = "invar_tool::own::";

/// Runs every site once: what is shown is code that has run.
pub(crate) fn exercise() {
    use std::hint::black_box;
    black_box(lines(black_box(b"one\ntwo\n")));
    black_box(add(black_box(1)));
    black_box(spins());
}

invar::values! {
    /// How many CPUs this process may use.
    pub(crate) enum Cpus { One, Few, Many }
}

invar::key! {
    /// How long a lock should spin depends on it.
    #[name = "invar.cpus"]
    pub(crate) static CPUS: Cpus = |evidence| {
        let cpus = std::thread::available_parallelism().map_err(|_| "the number of CPUs is not known")?.get();
        evidence.number(cpus as i64).text(" CPUs; few are up to 8");
        Ok(match cpus { 1 => Cpus::One, 2..=8 => Cpus::Few, _ => Cpus::Many })
    };
}

invar::key! {
    /// Somebody is waiting for the measurement, then.
    #[name = "invar.terminal"]
    pub(crate) static TERMINAL: bool = |evidence| {
        let terminal = std::io::stderr().is_terminal();
        evidence.text("standard error is ").text(if terminal { "a terminal" } else { "no terminal" });
        Ok(terminal)
    };
}

invar::constant! {
    /// How often a lock should look before it waits.
    #[name = "invar.spins"]
    #[fallback(100)]
    pub(crate) static SPINS: u32 = |evidence| {
        evidence.text("0 for one CPU, else 200");
        Ok(if CPUS.get() == Cpus::One { 0 } else { 200 })
    };
}

/// How often to look, by what there is.
#[inline(never)]
pub(crate) fn spins() -> u32 {
    let worth = invar::select!(CPUS: Cpus { One => 0, Few => invar::value!(SPINS), Many => invar::value!(SPINS) * 2 });
    if invar::branch!(CPUS >= Cpus::Few) { worth } else { 0 }
}

#[cfg(target_arch = "x86_64")]
invar::dispatch! {
    /// How many lines a text has.
    #[inline(never)]
    pub(crate) fn lines(text: &[u8]) -> usize {
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] lines_avx2,
        _ => lines_anywhere,
    }
}

fn lines_anywhere(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

// Where no CPU feature is known, there is nothing to choose.
#[cfg(not(target_arch = "x86_64"))]
use lines_anywhere as lines;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn lines_avx2(text: &[u8]) -> usize {
    lines_anywhere(text)
}

/// Whether somebody watches.
#[inline(never)]
pub(crate) fn is_watched() -> bool {
    invar::branch!(TERMINAL)
}

/// Adds to a sum under a lock of one word, and returns it.
#[inline(never)]
pub(crate) fn add(number: u64) -> u64 {
    static LOCKED: AtomicBool = AtomicBool::new(false);
    static SUM: AtomicU64 = AtomicU64::new(0);
    let _slice = invar::timeslice::enter();
    while LOCKED.swap(true, Acquire) {
        // With one CPU, whoever holds the lock cannot run while this spins.
        if invar::branch!(CPUS == Cpus::One) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
    let sum = SUM.load(Relaxed) + number;
    SUM.store(sum, Relaxed);
    LOCKED.store(false, Release);
    sum
}
