//! The kernel's side of the slice extension: its numbers and its calls, for the calling thread.
//!
//! Source of every number here: Linux 7.0, include/uapi/linux/rseq.h, include/uapi/linux/prctl.h and
//! kernel/rseq.c. System call numbers from 403 on are the same on every architecture.
#![allow(unsafe_code)]

use super::area::AreaOffset;
use crate::sys::{self, Result};
use invar_arch as arch;

/// The size up to which `struct rseq` must be registered for the field to be in it.
pub(super) const FEATURE_SIZE: u64 = 33;
/// Length and alignment of the area that the runtime registers where nobody else does.
pub(super) const OWN_LENGTH: usize = 64;

pub(super) const RSEQ_FLAG_UNREGISTER: usize = 1;

/// `getauxval`: how much of `struct rseq` this kernel knows.
pub(super) const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;

/// `struct rseq`, `cpu_id`, at offset 4: what it says of a thread that shall have no area (`RSEQ_CPU_ID_REGISTRATION_FAILED`).
pub(super) const AREA_CPU: usize = 4;
pub(super) const NO_CPU: i32 = -2;

/// `struct rseq`, flags, at offset 16: the thread may have the extension; it has.
pub(super) const AREA_FLAGS: usize = 16;
pub(super) const FLAG_AVAILABLE: u32 = 1 << 4;
pub(super) const FLAG_ENABLED: u32 = 1 << 5;

pub(super) const PR_RSEQ_SLICE_EXTENSION: usize = 79;
pub(super) const PR_SET: usize = 2;
pub(super) const PR_ENABLE: usize = 1;

pub(super) const SYS_RSEQ_SLICE_YIELD: i32 = 471;
/// Not in libc: an operation that the kernel could do, but does not here.
pub(super) const ENOTSUPP: i32 = 524;

/// Enables the extension for the calling thread.
pub(super) fn enable() -> Result<()> {
    // SAFETY: changes nothing but whether the kernel looks at this thread's request byte.
    unsafe { sys::call(libc::SYS_prctl, [PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE, 0, 0]) }.map(drop)
}

/// The flags that the kernel keeps in the calling thread's area at this offset; 0 where nobody registered it.
pub(super) fn flags(area: AreaOffset) -> u32 {
    // SAFETY: inside memory that is an area's in every thread; the kernel writes it.
    unsafe { area.of_this_thread().wrapping_add(AREA_FLAGS).cast::<u32>().read_volatile() }
}

/// rseq(2) for our own area in the calling thread.
pub(super) fn rseq_at(area: usize, flags: usize) -> Result<()> {
    // SAFETY: our own thread-local area, in code that is never unloaded; the kernel writes to it while it is registered.
    unsafe { sys::call(arch::SYS_RSEQ, [area, OWN_LENGTH, flags, arch::RSEQ_SIGNATURE as usize]) }.map(drop)
}
