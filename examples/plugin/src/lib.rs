//! A plugin: a shared library with a runtime and a key of its own. It is bound when it is opened, beside running threads.

invar::key! {
    /// Whether the result is to be negative.
    static NEGATIVE: bool = |_| Ok(std::env::var_os("NEGATIVE").is_some());
}

/// Twice the number, or minus that.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_twice(number: i32) -> i32 {
    if invar::branch!(NEGATIVE) { -2 * number } else { 2 * number }
}
