//! Every machine that has no folder of its own: checked forms only.
//!
//! A site is a load and a compare, leaves no record and is never written to. The slice extension counts as
//! absent, since its protocol needs instructions that touch a thread's area in one step.

mod symbol;

pub use symbol::IFUNC;

use invar_abi::{Code, NearBranch, Site};

/// This folder's name.
pub const NAME: &str = "portable";

/// No site can be bound.
pub const PATCHES: bool = false;

/// Emits one checked site, in an `unsafe` block: falls through if the state byte at `$state` is `$value`, else runs `$otherwise`.
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    (ordered, $state:path, $value:expr, $otherwise:block) => {
        if $crate::__state!($state) < const { $value } {
            $otherwise
        }
    };
    ($kind:ident, $state:path, $value:expr, $otherwise:block) => {
        if $crate::__state!($state) != const { $value } {
            $otherwise
        }
    };
}

/// A key's value: the first byte of every state static.
#[doc(hidden)]
#[macro_export]
macro_rules! __state {
    ($state:path) => {
        (*(&raw const $state).cast::<::core::sync::atomic::AtomicU8>()).load(::core::sync::atomic::Ordering::Relaxed)
    };
}

/// No site: by the state byte.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    ($state:path, $count:expr, [$([$number:literal $values:expr, $block:block])*], $first:expr, $otherwise:expr) => {
        $otherwise
    };
}

/// Loads the number of a constant's static, in an `unsafe` block.
#[doc(hidden)]
#[macro_export]
macro_rules! __number {
    ($state:path, $behind:literal, $wide:expr) => {
        (*(&raw const $state).byte_add($behind).cast::<::core::sync::atomic::AtomicU64>())
            .load(::core::sync::atomic::Ordering::Relaxed)
    };
}

/// There are no sites.
pub fn checked(_site: &Site) -> Option<Code> {
    None
}

/// There are no sites.
pub fn constant(_site: &Site, _number: u64) -> Option<Code> {
    None
}

/// There are no sites.
pub fn near_branch<R>(_branch: NearBranch, _value: u8, _then: impl FnOnce(Code, Code) -> R) -> Option<R> {
    None
}

/// There are no sites.
pub fn bound(_site: &Site, _value: u8, _request_offset: i32) -> Option<Code> {
    None
}

/// No code is ever written.
///
/// # Safety
///
/// None: there is no site's code.
pub unsafe fn store<const LONG: bool>(_code: Code, _to: *mut u8) {}

/// No site's code is anywhere.
///
/// # Safety
///
/// None: there is no site's code.
pub unsafe fn stands<const LONG: bool>(_code: Code, _at: *const u8) -> bool {
    false
}

/// No site's code is anywhere.
///
/// # Safety
///
/// None: there is no site's code.
pub unsafe fn stands_under_breakpoint(_code: Code, _at: *const u8) -> bool {
    false
}

/// No site's code is anywhere.
///
/// # Safety
///
/// None: nothing is read.
pub unsafe fn print<const LONG: bool>(_at: *const u8, _length: usize) -> u64 {
    0
}

/// No code is ever exchanged.
///
/// # Safety
///
/// None: nothing happens.
pub unsafe extern "C" fn exchange(_from: usize, _length: usize, _to: usize, _file: usize, _offset: usize) -> isize {
    -(libc::ENOSYS as isize)
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
    -(libc::ENOSYS as isize)
}

/// No code is ever exchanged.
pub const EXCHANGE_LENGTH: usize = 1;

/// No code is ever written.
pub fn synchronise() {}

/// Makes one system call by way of libc, whose `errno` stays as it was; returns `-errno` on failure.
///
/// # Safety
///
/// The call with these arguments must be sound.
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    // SAFETY: the caller vouches for the call; this thread's `errno` can be read and written.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let result = libc::syscall(number as _, args[0], args[1], args[2], args[3], args[4], args[5]);
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
    unsafe { syscall(number, [first, second, third, 0, 0, 0]) }
}

/// The slice extension is absent here: nobody has to be kept from switching it off.
pub const PRCTL: [(u32, u32); 0] = [];

/// The slice extension is absent here.
pub const RSEQ_SIGNATURE: u32 = 0;
/// The slice extension is absent here.
pub const SYS_RSEQ: libc::c_long = -1;

/// The slice extension is absent here.
pub fn libc_area() -> Option<(isize, u32)> {
    None
}

/// Nobody needs to know here: no area is ever registered.
pub fn is_glibc() -> bool {
    false
}

/// The slice extension is absent here.
pub fn own_area_offset() -> isize {
    0
}

/// The slice extension is absent here.
pub fn area(_offset: isize) -> *mut u8 {
    core::ptr::null_mut()
}

/// The slice extension is absent here.
pub const fn holds_area(_offset: isize) -> bool {
    false
}

/// Nothing is ever called.
#[doc(hidden)]
#[macro_export]
macro_rules! __call_cold {
    ($function:path) => {
        $function()
    };
}

/// The slice extension is absent here: neither function is ever reached.
#[doc(hidden)]
#[macro_export]
macro_rules! __slice_paths {
    ($state:path, $(#[$meta:meta])* $vis:vis $request:ident, $withdraw:ident) => {
        $(#[$meta])*
        $vis extern "C" fn $request() {}
        $(#[$meta])*
        $vis extern "C" fn $withdraw() {}
    };
}

/// What would stand in for a request or its withdrawal.
pub type Observer = extern "C" fn(usize);

/// There is nothing to observe: the slice extension is absent here.
pub fn observe(_request: Observer, _withdrawal: Observer) -> bool {
    false
}

/// The slice extension is absent here.
pub fn take_back(_area: isize) -> bool {
    false
}

/// An address that no other thread of the process has: that of its `errno` (POSIX.1-2024, errno(3p)).
pub fn thread_pointer() -> *mut u8 {
    // SAFETY: no arguments, no effects.
    unsafe { libc::__errno_location() }.cast()
}

/// Not needed where nothing is observed.
pub fn ticks() -> u64 {
    0
}

/// Never called: the slice extension is absent here.
pub extern "C" fn start(_argument: *mut core::ffi::c_void) -> *mut core::ffi::c_void {
    core::ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_stays_as_it_was() {
        // SAFETY: closes no descriptor; this thread's `errno` can be read and written.
        unsafe {
            *libc::__errno_location() = libc::ENOTTY;
            assert_eq!(syscall(libc::SYS_close as usize, [usize::MAX, 0, 0, 0, 0, 0]), -(libc::EBADF as isize));
            assert_eq!(*libc::__errno_location(), libc::ENOTTY);
        }
    }
}
