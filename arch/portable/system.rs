//! System calls by way of libc, on Linux.

/// Makes one system call by way of libc, whose `errno` stays as it was; returns `-errno` on failure.
///
/// # Safety
///
/// The call with these arguments must be sound.
pub unsafe fn syscall<const N: usize>(number: usize, args: [usize; N]) -> isize {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    // SAFETY: the caller vouches for the call; this thread's `errno` can be read and written.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let result = libc::syscall(number as _, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5));
        if result != -1 {
            return result as isize;
        }
        let why = core::mem::replace(&mut *errno, before);
        -(why as isize)
    }
}

/// There are no resolvers.
///
/// # Safety
///
/// As [`syscall`]'s.
pub unsafe fn syscall_for_resolvers(number: usize, first: usize, second: usize, third: usize) -> isize {
    // SAFETY: as the caller vouches.
    unsafe { syscall(number, [first, second, third]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_stays_as_it_was() {
        // SAFETY: closes no descriptor; this thread's `errno` can be read and written.
        unsafe {
            *libc::__errno_location() = libc::ENOTTY;
            assert_eq!(syscall(libc::SYS_close as usize, [usize::MAX]), -(libc::EBADF as isize));
            assert_eq!(*libc::__errno_location(), libc::ENOTTY);
        }
    }
}
