//! A program without the standard library: the runtime needs libc only.
//!
//! `cargo run --profile small --features no_std --example no_std`
#![no_std]
#![no_main]

use core::ffi::{c_char, c_int};

invar::key! {
    /// Whether anybody reads what is printed.
    static TERMINAL: bool = |_| {
        // SAFETY: asks about a number.
        Ok(unsafe { libc::isatty(libc::STDOUT_FILENO) } == 1)
    };
}

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    let line = if invar::branch!(TERMINAL) { c"to a terminal" } else { c"to a file or a pipe" };
    // SAFETY: a string with an end.
    unsafe { libc::puts(line.as_ptr()) };
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}
