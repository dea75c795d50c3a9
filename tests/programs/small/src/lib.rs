//! A small shared library in `no_std`, with the runtime in it or, to see what that costs, without.
#![no_std]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

#[cfg(feature = "bound")]
mod bound {
    invar::key! { #[name = "small.quick"] static QUICK: bool = |_| Ok(true); }

    pub fn quick() -> bool {
        #[cfg(feature = "slice")]
        let _slice = invar::timeslice::enter();
        invar::branch!(QUICK)
    }
}
#[cfg(not(feature = "bound"))]
mod bound {
    pub fn quick() -> bool {
        true
    }
}

/// Twice the number, and two.
#[unsafe(no_mangle)]
pub extern "C" fn small_work(x: u64) -> u64 {
    if bound::quick() { 2 * x + 2 } else { x + x + 2 }
}

/// A string of libc's, so that both variants need it.
#[unsafe(no_mangle)]
pub extern "C" fn small_length(text: *const core::ffi::c_char) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { libc::strlen(text) }
}
