//! No pages of code are exchanged.

/// Linux's number for a call that there is not; other systems have no libc, or another number.
const ENOSYS: isize = 38;

/// No code is ever exchanged.
///
/// # Safety
///
/// None: nothing happens.
pub unsafe extern "C" fn exchange(_from: usize, _length: usize, _to: usize, _file: usize, _offset: usize) -> isize {
    -ENOSYS
}

/// No code is ever exchanged.
pub fn exchange_code() -> usize {
    0
}

/// No code is ever exchanged.
///
/// # Safety
///
/// None: nothing happens.
pub unsafe fn exchange_by(_: usize, _: usize, _: usize, _: usize, _: usize, _: usize) -> isize {
    -ENOSYS
}

/// No code is ever exchanged.
pub const EXCHANGE_LENGTH: usize = 1;
