//! Counts the system calls by which a thread is enrolled: runs itself once more, with a last word `child`, and looks on.
//!
//! One line a fact: its name, a tab, the numbers of the calls.
#![allow(unsafe_code)]

#[allow(dead_code, unreachable_pub)] // of the tests, which use more of it
#[path = "../../../../tests/common/trace.rs"]
mod trace;

use invar::timeslice::enrol;
use invar_guest_programs::{say, switch_off};
use std::process::Command;

/// A call that nobody else makes stands between what is told apart.
const MARK: libc::c_long = libc::SYS_getppid;

fn main() {
    if std::env::args().next_back().as_deref() == Some("child") {
        return std::thread::spawn(child).join().expect("the thread");
    }
    // By the loader, perhaps, with which this was started.
    let words = std::fs::read("/proc/self/cmdline").expect("the words");
    let words: Vec<_> = words.split(|&byte| byte == 0).filter(|word| !word.is_empty()).collect();
    let mut words = words.iter().map(|word| std::str::from_utf8(word).expect("text"));
    let mut again = Command::new(words.next().expect("a program"));
    again.args(words).arg("child");
    let calls = trace::calls(again).expect("a good end");
    let thread = calls.iter().find(|call| call.number == MARK).expect("a mark").thread;
    let numbers: Vec<_> = calls.iter().filter(|call| call.thread == thread).map(|call| call.number).collect();
    let parts: Vec<_> = numbers.split(|&number| number == MARK).collect();
    let [_, first, again, _, switched_off, end] = parts[..] else { panic!("five marks in {numbers:?}") };
    for (name, calls) in [("first", first), ("again", again), ("switched off", switched_off), ("end", end)] {
        say(name, format_args!("{calls:?}"));
    }
}

fn child() {
    // SAFETY: no arguments, no effects.
    let mark = || unsafe { libc::syscall(MARK) };
    mark();
    enrol().expect("slices");
    mark();
    for _ in 0..100 {
        enrol().expect("slices");
    }
    mark();
    switch_off();
    mark();
    enrol().expect("slices");
    mark();
}
