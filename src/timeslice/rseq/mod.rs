//! The kernel's side of the slice extension: what it takes, and whether this process has it.
//!
//! Source of every number here: Linux 7.0, include/uapi/linux/rseq.h, include/uapi/linux/prctl.h and
//! kernel/rseq.c. System call numbers from 403 on are the same on every architecture.
#![allow(unsafe_code)]

mod audit;
mod ending;
mod enrol;
mod guard;
mod probe;
mod trial;

use crate::key::{Origin, Verdict};
use crate::module;
use crate::sys::{self, Errno, Result};
use crate::timeslice::SLICE;
pub(crate) use audit::audit;
pub use audit::{Area, Thread};
pub use enrol::NotEnrolled;
#[cfg(feature = "profile")]
pub(crate) use enrol::is_enrolled;
pub(crate) use enrol::{enrol, enrol_contended};
pub use guard::NotGuarded;
pub(crate) use guard::{guard, guard_at_load, set as guard_anyway};
use invar_arch as arch;
pub(crate) use probe::Available;

/// The size up to which `struct rseq` must be registered for the field to be in it.
const FEATURE_SIZE: u64 = 33;
/// Length and alignment of the area that the runtime registers where nobody else does.
const OWN_LENGTH: usize = 64;

const RSEQ_FLAG_UNREGISTER: usize = 1;

/// `getauxval`: how much of `struct rseq` this kernel knows.
const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;

/// `struct rseq`, `cpu_id`, at offset 4: what it says of a thread that shall have no area (`RSEQ_CPU_ID_REGISTRATION_FAILED`).
const AREA_CPU: usize = 4;
const NO_CPU: i32 = -2;

/// `struct rseq`, flags, at offset 16: the thread may have the extension; it has.
const AREA_FLAGS: usize = 16;
const FLAG_AVAILABLE: u32 = 1 << 4;
const FLAG_ENABLED: u32 = 1 << 5;

const PR_RSEQ_SLICE_EXTENSION: usize = 79;
const PR_SET: usize = 2;
const PR_ENABLE: usize = 1;

pub(crate) const SYS_RSEQ_SLICE_YIELD: i32 = 471;
/// Not in libc: an operation that the kernel could do, but does not here.
const ENOTSUPP: i32 = 524;

/// The slice key's probe.
pub(crate) fn probe(verdict: &mut Verdict) -> Option<Available> {
    if !arch::PATCHES {
        verdict.evidence.text("on this architecture invar has no slice sites");
        return None;
    }
    probe::decide(&ThisProcess, &mut verdict.evidence)
}

/// Whether the slice key is on, and not because it was forced.
fn is_available() -> bool {
    let mut verdict = Verdict::undecided();
    SLICE.copy(&mut verdict) && verdict.value != 0 && verdict.origin() != Origin::Forced
}

/// What the probe asks of the world; a test can answer in its place.
trait Facts {
    /// `AT_RSEQ_FEATURE_SIZE`, 0 if the kernel has none.
    fn feature_size(&self) -> u64;
    /// What the C library registered for each thread: distance from the thread pointer, and size.
    fn libc_area(&self) -> Option<(isize, u32)>;
    /// Our own area, if this code can never be unloaded.
    fn own_area(&self) -> Option<isize>;
    /// Tries the system calls in a child where a seccomp filter stands.
    fn trial(&self) -> Trial;
    /// Enables the extension for the calling thread.
    fn enable(&self) -> Result<()>;
    /// Whether the calling thread's flags, in the area at this offset, say ENABLED.
    fn enabled(&self, area: isize) -> bool;
    /// Calls `rseq_slice_yield`, which does nothing outside a grant.
    fn slice_yield(&self) -> Result<()>;
    /// Registers the area at this offset for the calling thread.
    fn register(&self, area: isize) -> Result<()>;
    /// Takes that back.
    fn unregister(&self, area: isize);
}

/// What became of the system calls that were tried in a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    /// Whether a filter stands, and they were tried at all.
    filtered: bool,
    enable: Fate,
    slice_yield: Fate,
    sched_yield: Fate,
}

/// What became of one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The kernel answered it, with success or an error of its own.
    Answered,
    /// A filter answered it with this error.
    Refused(i32),
    /// A filter killed the caller.
    Killed,
    /// No child could be made to try it: error number.
    Untried(i32),
}

struct ThisProcess;

impl Facts for ThisProcess {
    fn feature_size(&self) -> u64 {
        sys::auxiliary(AT_RSEQ_FEATURE_SIZE)
    }

    fn libc_area(&self) -> Option<(isize, u32)> {
        arch::libc_area()
    }

    fn own_area(&self) -> Option<isize> {
        own_area()
    }

    fn trial(&self) -> Trial {
        trial::run()
    }

    fn enable(&self) -> Result<()> {
        enable()
    }

    fn enabled(&self, area: isize) -> bool {
        flags(area) & FLAG_ENABLED != 0
    }

    fn slice_yield(&self) -> Result<()> {
        // SAFETY: no arguments; outside a grant it has no effect.
        unsafe { sys::call(SYS_RSEQ_SLICE_YIELD.into(), [0; 6]) }.map(drop)
    }

    fn register(&self, area: isize) -> Result<()> {
        register(area)
    }

    fn unregister(&self, area: isize) {
        let _ = rseq_at(arch::area(area) as usize, RSEQ_FLAG_UNREGISTER);
    }
}

/// Enables the extension for the calling thread.
fn enable() -> Result<()> {
    // SAFETY: changes nothing but whether the kernel looks at this thread's request byte.
    unsafe { sys::call(libc::SYS_prctl, [PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE, 0, 0, 0]) }.map(drop)
}

/// The flags that the kernel keeps in the calling thread's area at this offset; 0 where nobody registered it.
fn flags(area: isize) -> u32 {
    if !arch::holds_area(area) {
        return 0;
    }
    let area = arch::area(area);
    // SAFETY: inside memory that is an area's in every thread; the kernel writes it.
    unsafe { area.wrapping_add(AREA_FLAGS).cast::<u32>().read_volatile() }
}

/// Distance of our own area from each thread's pointer, in the program; a library has none. And the program itself is
/// never unloaded, while that a library stays cannot be known from inside; but libinvar is linked so that it does.
pub(crate) fn own_area() -> Option<isize> {
    let own = module::own()?;
    #[cfg(feature = "capi")]
    let stays = own.stays();
    #[cfg(not(feature = "capi"))]
    let stays = own.is_program();
    stays.then(arch::own_area_offset)
}

/// Registers our own area at this offset for the calling thread, until it ends.
fn register(area: isize) -> Result<()> {
    if !arch::holds_area(area) {
        return Err(Errno(libc::EINVAL));
    }
    let area = arch::area(area) as usize;
    ending::give_back_at_end(area)?;
    rseq_at(area, 0)
}

/// rseq(2) for our own area in the calling thread.
fn rseq_at(area: usize, flags: usize) -> Result<()> {
    // SAFETY: our own thread-local area, in code that is never unloaded; the kernel writes to it while it is registered.
    unsafe { sys::call(arch::SYS_RSEQ, [area, OWN_LENGTH, flags, arch::RSEQ_SIGNATURE as usize, 0, 0]) }.map(drop)
}
