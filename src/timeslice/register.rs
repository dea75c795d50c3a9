//! Registers the program's own rseq area for a thread, and unregisters it before the thread ends.
//!
//! The kernel writes to a registered area whenever it lets the thread go on after another one had its CPU (Linux 7.3,
//! include/linux/rseq_entry.h, `rseq_exit_to_user_mode_restart`), and kills with SIGSEGV where nothing is mapped. musl
//! unmaps the stack of a detached thread, with its thread-local memory, in that thread (musl 1.2.5, src/thread/pthread_create.c,
//! `__pthread_exit`), so there is a time at which the area is gone and the thread is not. glibc never does: a stack is
//! reused or unmapped once the kernel has cleared the thread ID, which is after the last return to its code (glibc
//! 2.41, nptl/nptl-stack.c, `__nptl_free_stacks`; Linux 7.3, kernel/fork.c, `mm_release`).
#![allow(unsafe_code)]

use super::area::AreaOffset;
use super::rseq::{AREA_CPU, AREA_FLAGS, NO_CPU, RSEQ_FLAG_UNREGISTER, rseq_at};
use crate::sys::{Errno, Result, Silence};
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use invar_arch as arch;

/// Registers our own rseq area at this offset for the calling thread, until it ends.
pub(super) fn register(area: AreaOffset) -> Result<()> {
    let area = area.of_this_thread() as usize;
    unregister_at_end(area)?;
    rseq_at(area, 0)
}

/// Has the calling thread unregister this area at its end, however that comes: by return, `pthread_exit` or cancellation. To
/// be called before the area is registered.
///
/// By a destructor of thread-specific data, which musl calls before it looks whether the thread is detached. An error where
/// there is no key left, or no memory.
#[cold]
fn unregister_at_end(area: usize) -> Result<()> {
    if arch::is_glibc() {
        return Ok(());
    }
    // SAFETY: a key that is never deleted.
    checked(unsafe { libc::pthread_setspecific(key()?, area as *const c_void) })
}

/// This module's key for thread-specific data, made once.
fn key() -> Result<libc::pthread_key_t> {
    /// The key and one; 0 before there is any.
    static KEY: AtomicU32 = AtomicU32::new(0);
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        return Ok(key);
    }
    let mut key = 0;
    // SAFETY: fills in a number. The destructor is called with what was set, which is never null.
    checked(unsafe { libc::pthread_key_create(&mut key, Some(unregister)) })?;
    match KEY.compare_exchange(0, key + 1, Relaxed, Relaxed) {
        Ok(_) => Ok(key),
        Err(first) => {
            // SAFETY: nobody has seen this one.
            unsafe { libc::pthread_key_delete(key) };
            Ok(first - 1)
        }
    }
}

fn checked(error: libc::c_int) -> Result<()> {
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

/// In a thread that ends: from now on the kernel does not write to its area, and nobody registers it again. Critical
/// sections are correct until the end, and request nothing.
unsafe extern "C" fn unregister(area: *mut c_void) {
    // A handler in between would take the flags for the kernel's.
    let Ok(_silence) = Silence::begin(&u64::MAX) else { return };
    match rseq_at(area as usize, RSEQ_FLAG_UNREGISTER) {
        // EINVAL: it never was registered, or another copy of the runtime has unregistered it.
        Ok(()) | Err(Errno(libc::EINVAL)) => {
            // SAFETY: this thread's own area, which is there until its memory goes, and nobody else's any more.
            unsafe {
                area.byte_add(AREA_FLAGS).cast::<u32>().write_volatile(0);
                area.byte_add(AREA_CPU).cast::<i32>().write_volatile(NO_CPU);
            }
        }
        Err(_) => {}
    }
}

/// Whether the calling thread has unregistered the area at this offset, as it ends.
pub(super) fn has_unregistered(area: AreaOffset) -> bool {
    // SAFETY: inside memory that is an area's in every thread; the kernel writes it.
    unsafe { area.of_this_thread().wrapping_add(AREA_CPU).cast::<i32>().read_volatile() == NO_CPU }
}
