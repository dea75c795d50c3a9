//! For a host that only calls: what each macro comes to, as one number.

/// See [`anywhere::sum`].
#[unsafe(no_mangle)]
pub extern "C" fn anywhere_sum() -> i32 {
    anywhere::sum()
}
