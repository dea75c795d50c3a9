//! Files that a resolver reads: the environment with which the process was started, and what the kernel says of it.
//!
//! As all that a resolver calls, this does nothing for which the compiler would call a function of libc's.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use invar_arch as arch;

/// Calls `take` with each byte of a file, until it has enough; `false` if the file cannot be read.
pub(super) fn each_byte(path: &[u8], mut take: impl FnMut(u8) -> bool) -> bool {
    const AT_ONCE: usize = 2048;
    let mut buffer = MaybeUninit::<[u8; AT_ONCE]>::uninit();
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: both paths end in NUL.
    let file = unsafe { call(libc::SYS_openat, libc::AT_FDCWD as usize, path.as_ptr() as usize, flags) };
    if file < 0 {
        return false;
    }
    let mut more = true;
    let mut readable = true;
    while more {
        // SAFETY: the kernel writes at most so many bytes to the buffer.
        let length = unsafe { call(libc::SYS_read, file as usize, buffer.as_mut_ptr() as usize, AT_ONCE) };
        readable = length >= 0;
        more = length == AT_ONCE as isize;
        let mut at = 0;
        while at < length {
            // SAFETY: one of the bytes that the kernel wrote.
            if !take(unsafe { buffer.as_ptr().cast::<u8>().offset(at).read() }) {
                more = false;
                break;
            }
            at += 1;
        }
    }
    // SAFETY: our own descriptor.
    unsafe { call(libc::SYS_close, file as usize, 0, 0) };
    readable
}

/// `sys::call` for resolvers: without optimisation, an array of arguments would be copied by libc's `memcpy`.
///
/// # Safety
///
/// The call with these arguments must be sound.
unsafe fn call(number: libc::c_long, first: usize, second: usize, third: usize) -> isize {
    // SAFETY: as the caller vouches.
    unsafe { arch::syscall_for_resolvers(number as usize, first, second, third) }
}

/// Whether settings do not count, as `AT_SECURE` says; also where that cannot be told.
pub(super) fn is_secure() -> bool {
    const BYTES: u32 = usize::BITS / 8;
    let (mut kind, mut value, mut at, mut secure) = (0_usize, 0_usize, 0, true);
    each_byte(b"/proc/self/auxv\0", |byte| {
        // The lowest byte of a word comes first.
        let word = if at < BYTES { &mut kind } else { &mut value };
        *word = *word >> 8 | (byte as usize) << (usize::BITS - 8);
        at = (at + 1) % (2 * BYTES);
        let found = at == 0 && kind == libc::AT_SECURE as usize;
        if found {
            secure = value != 0;
        }
        !found
    });
    secure
}
