//! Calls every pointer, and says what there is.

use std::hint::black_box;

fn main() {
    pointers::tell("program");
    witness::chose("text", invar::branch!(FAST), &FAST);
    witness::result("directly", black_box(calls_directly)(1));
    witness::result("directly, loaded", black_box(calls_what_it_has)(1));
    witness::tell();
}

fn one(number: u32) -> u32 {
    number + 1
}
fn two(number: u32) -> u32 {
    number + 2
}
invar::key! { #[name = "program.fast"] static FAST: bool = |_| Ok(true); }
invar::pointer! {
    #[name = "program.direct"]
    static DIRECT: fn(u32) -> u32 = { FAST => two, _ => one };
}

/// For the disassembler.
#[unsafe(no_mangle)]
#[inline(never)]
fn calls_directly(number: u32) -> u32 {
    DIRECT(number) ^ 1
}

/// The same, by an atomic load.
#[unsafe(no_mangle)]
#[inline(never)]
fn calls_what_it_has(number: u32) -> u32 {
    DIRECT.get()(number) ^ 1
}
