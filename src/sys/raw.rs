//! System calls as the kernel has them.
#![allow(unsafe_code)]

use invar_arch as arch;

/// The kernel's errno, 1 to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// # Safety
///
/// The call with these arguments must be sound.
#[inline(always)] // an array of arguments would take more instructions than the call
pub(crate) unsafe fn call<const N: usize>(number: libc::c_long, args: [usize; N]) -> Result<usize> {
    // SAFETY: as the caller vouches.
    let result = unsafe { arch::syscall(number as usize, args) };
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

pub(super) fn retry(mut operation: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match operation() {
            Err(Errno(libc::EINTR)) => continue,
            result => return result,
        }
    }
}
