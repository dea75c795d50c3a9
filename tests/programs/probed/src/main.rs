//! Executes sites of every kind when it is asked to, and says what came of it. probed.c does the same in C.

use std::hint::black_box;
use std::io::{Read, Write, stdin, stdout};

invar::key! {
    #[name = "probed.on"]
    static ON: bool = |_| Ok(true);
}
invar::key! {
    #[name = "probed.off"]
    static OFF: bool = |_| Ok(false);
}

#[inline(never)]
fn on() -> u32 {
    if invar::branch!(ON) { 1 } else { 10 }
}

#[inline(never)]
fn off() -> u32 {
    if invar::branch!(OFF) { 100 } else { 1000 }
}

#[inline(never)]
fn section(count: &mut u32) {
    let _slice = invar::timeslice::enter();
    *count += 10_000;
}

fn main() {
    // A line for each byte; the first says that it is there.
    let mut byte = [0];
    loop {
        let mut sum = 0;
        for _ in 0..100 {
            sum += black_box(on()) + black_box(off());
            section(black_box(&mut sum));
        }
        println!("{sum}");
        stdout().flush().expect("a reader");
        if stdin().read(&mut byte).expect("standard input") == 0 {
            return;
        }
    }
}
