//! Where requests go: which memory of each thread the slice sites write to, and by which system call they yield.
//!
//! Both stand in the data of the slice key's verdict, in one word ([`pack`]): the distance of each thread's rseq area from its
//! thread pointer, and the system call's number. Where the key is off other keys may have slice sites all the same, as for
//! measurements; their requests go to memory that is safe to write and that nobody looks at ([`spare_memory`]).
//!
//! No other file knows how that word is made, or which areas there are.

#[cfg(feature = "timeslice")]
use super::key::SLICE;
#[cfg(feature = "timeslice")]
use crate::module;
#[cfg(feature = "timeslice")]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use invar_arch as arch;

/// Distance of each thread's rseq area from its thread pointer; 0 where requests go nowhere.
pub(super) fn offset() -> isize {
    offset_in(memory())
}

/// [`offset`], for measurements.
#[cfg(feature = "timeslice")]
#[doc(hidden)]
pub fn __area() -> isize {
    offset()
}

/// Where the request byte of each thread lies, from its thread pointer, if there is one.
pub(super) fn request_offset() -> Option<i32> {
    match offset() {
        0 => None,
        area => Some((area + arch::AREA_REQUEST as isize) as i32),
    }
}

/// The system call by which a thread yields what it was granted; negative for none.
#[cfg(feature = "profile")]
pub(super) fn yield_call() -> i32 {
    yield_call_in(memory())
}

/// Whether a grant is given up at its end. Not where a filter kills for each call that would; there it outlasts its section.
#[cfg(all(feature = "assert", debug_assertions))]
pub(super) fn is_yielded() -> bool {
    SLICE.state().data().is_some_and(|data| yield_call_in(data) >= 0)
}

/// What the slice key's verdict says beside its value; where the key is off, what it would say if it were forced.
pub(crate) fn memory() -> u64 {
    #[cfg(feature = "timeslice")]
    {
        SLICE.state().data().unwrap_or_else(|| SPARE.load(Relaxed))
    }
    #[cfg(not(feature = "timeslice"))]
    0
}

/// The same where the key is off. Found once: it takes a walk over the modules.
#[cfg(feature = "timeslice")]
static SPARE: AtomicU64 = AtomicU64::new(0);

/// Finds it, behind the decision of the slice key, before that of others which slice sites may depend on.
pub(super) fn find_spare_memory() {
    #[cfg(feature = "timeslice")]
    if SLICE.state().data().is_none() {
        SPARE.store(spare_memory().unwrap_or(0), Relaxed);
    }
}

/// The verdict's data for memory that is safe to write in every thread where the extension is absent: the program's own
/// area; in a library, which has none at a constant distance from the thread pointer, two bytes of libc's that nobody else
/// uses. `None` where there is neither.
pub(crate) fn spare_memory() -> Option<u64> {
    #[cfg(feature = "timeslice")]
    {
        // 28 and 29 lie in the 32 bytes of the oldest layout, behind its last field.
        own_area().or_else(libcs_area).map(|area| pack(area, -1))
    }
    #[cfg(not(feature = "timeslice"))]
    None
}

/// Whether a verdict's data can be believed, if another module says it of this process.
pub(super) fn is_believable(data: u64) -> bool {
    is_area(data) && libcs_area().is_none_or(|libcs| libcs == offset_in(data))
}

/// Whether a verdict's data says where requests go.
pub(crate) fn is_area(data: u64) -> bool {
    arch::holds_area(offset_in(data))
}

/// The rseq area that the C library registers for each thread, where it does.
pub(crate) fn libcs_area() -> Option<isize> {
    arch::libc_area().filter(|&(_, size)| size > 0).map(|(area, _)| area)
}

/// Distance of our own area from each thread's pointer, in the program; a library has none. And the program itself is
/// never unloaded, while that a library stays cannot be known from inside; but libinvar is linked so that it does.
#[cfg(feature = "timeslice")]
pub(super) fn own_area() -> Option<isize> {
    let own = module::own()?;
    #[cfg(feature = "capi")]
    let stays = own.stays();
    #[cfg(not(feature = "capi"))]
    let stays = own.is_program();
    stays.then(arch::own_area_offset)
}

/// Both halves fit: thread-local blocks lie within two gigabytes of the thread pointer.
#[cfg(feature = "timeslice")]
pub(crate) fn pack(area: isize, yield_call: i32) -> u64 {
    u64::from(area as i32 as u32) | u64::from(yield_call as u32) << 32
}

fn offset_in(data: u64) -> isize {
    data as i32 as isize
}

#[cfg(any(feature = "profile", all(feature = "assert", debug_assertions)))]
fn yield_call_in(data: u64) -> i32 {
    (data >> 32) as i32
}

#[cfg(all(test, feature = "timeslice"))]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_what_they_were() {
        for (area, yield_call) in [(-160, 471), (-64, -1), (704, 24), (i32::MIN as isize, i32::MAX), (0, 0)] {
            let data = pack(area, yield_call);
            assert_eq!((offset_in(data), (data >> 32) as i32), (area, yield_call));
            #[cfg(feature = "profile")]
            assert_eq!(yield_call_in(data), yield_call);
        }
    }

    /// Another module may say anything.
    #[test]
    fn only_the_area_that_libc_registers_is_believed() {
        assert!(!is_believable(pack(0, -1)), "the control block");
        match libcs_area() {
            Some(area) => {
                assert!(is_believable(pack(area, -1)) && is_believable(pack(area, 471)));
                assert!(is_area(pack(area - 64, -1)) && !is_believable(pack(area - 64, -1)));
            }
            None => assert_eq!(is_believable(pack(-64, -1)), arch::PATCHES),
        }
    }

    /// The request is byte 28 of the area (Linux 7.0, include/uapi/linux/rseq.h).
    #[test]
    fn sites_are_bound_to_the_request_byte() {
        let expected = if offset() == 0 { None } else { Some(offset() + 28) };
        assert_eq!(request_offset().map(|request| request as isize), expected);
        assert!(offset() == 0 || is_area(memory()));
    }
}
