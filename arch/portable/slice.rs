//! Where nobody has written down how requests are made: critical sections ask for nothing, whatever the kernel has.

/// They ask for nothing.
pub const REQUESTS: bool = false;

/// No thread is enrolled: nobody has to be kept from switching the extension off.
pub const PRCTL: [(u32, u32); 0] = [];

/// No request is made here.
pub const RSEQ_SIGNATURE: u32 = 0;
/// No request is made here.
pub const SYS_RSEQ: core::ffi::c_long = -1;

/// No request is made here.
pub fn libc_area() -> Option<(isize, u32)> {
    None
}

/// Nobody needs to know here: no area is ever registered.
pub fn is_glibc() -> bool {
    false
}

/// No request is made here.
pub fn own_area_offset() -> isize {
    0
}

/// No request is made here.
pub fn area(_offset: isize) -> *mut u8 {
    core::ptr::null_mut()
}

/// No request is made here.
pub const fn holds_area(_offset: isize) -> bool {
    false
}

/// Nothing is ever called.
#[doc(hidden)]
#[macro_export]
macro_rules! __call_cold {
    ($function:path) => {
        _ = $function as extern "C" fn()
    };
}

/// No request is made here: neither function is ever reached.
#[doc(hidden)]
#[macro_export]
macro_rules! __slice_paths {
    (
        $state:path, [$observed_request:path, $observed_withdrawal:path],
        $(#[$meta:meta])* $vis:vis $request:ident, $withdraw:ident
    ) => {
        $(#[$meta])*
        $vis extern "C" fn $request() {}
        $(#[$meta])*
        $vis extern "C" fn $withdraw() {}
    };
}

/// There is nothing to observe: no request is made here.
pub fn observe<O: crate::observers::Observers>() -> Option<[extern "C" fn(); 2]> {
    None
}

/// No request is made here.
pub fn take_back(_area: isize) -> bool {
    false
}

/// An address that no other thread of the process has: that of its `errno` (POSIX.1-2024, errno(3p)).
#[cfg(target_os = "linux")]
pub fn thread_pointer() -> *mut u8 {
    // SAFETY: no arguments, no effects.
    unsafe { libc::__errno_location() }.cast()
}

/// Nobody tells threads apart here.
#[cfg(not(target_os = "linux"))]
pub fn thread_pointer() -> *mut u8 {
    core::ptr::null_mut()
}

/// Not needed where nothing is observed.
pub fn ticks() -> u64 {
    0
}

/// Never called: no thread is enrolled here.
pub extern "C" fn start(_argument: *mut core::ffi::c_void) -> *mut core::ffi::c_void {
    core::ptr::null_mut()
}
