//! A library that knows nothing of slices, and starts threads.

/// The address of what this library calls to start a thread.
#[unsafe(no_mangle)]
pub extern "C" fn starter_function() -> *const core::ffi::c_void {
    libc::pthread_create as *const _
}

/// What a thread of this library's own returns.
#[unsafe(no_mangle)]
pub extern "C" fn starter_start() -> u32 {
    std::thread::spawn(|| 7).join().unwrap()
}
