//! Where requests go: which memory of each thread the slice sites write to, and by which system call they yield.
//!
//! Both stand in the data of the time slice key's verdict, in one word (`SliceData`): the distance of each thread's rseq area from
//! its thread pointer, and the system call's number. Where the key is off other keys may have slice sites all the same, as for
//! measurements; their requests go to memory that is safe to write and that nobody looks at ([`spare_memory`]).
//!
//! No other file knows how that word is made, or which areas there are.

#[cfg(feature = "timeslice")]
use super::key::SLICE;
#[cfg(feature = "timeslice")]
use crate::module;
use crate::module::Module;
#[cfg(feature = "timeslice")]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use invar_abi::state::SliceData;
use invar_arch as arch;

/// Distance of each thread's rseq area from its thread pointer, where one can lie: memory that is an area's in every thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AreaOffset(i32);

impl AreaOffset {
    /// `None` where no area can lie at this distance.
    pub(super) fn new(offset: isize) -> Option<Self> {
        i32::try_from(offset).ok().filter(|&bytes| bytes != i32::MIN && arch::holds_area(offset)).map(Self)
    }

    /// What a verdict's data say.
    fn decode(data: u64) -> Option<Self> {
        Self::new(SliceData::decode(data).area? as isize)
    }

    /// In bytes.
    pub(super) fn get(self) -> isize {
        self.0 as isize
    }

    /// The calling thread's area.
    #[cfg(feature = "timeslice")]
    pub(super) fn of_this_thread(self) -> *mut u8 {
        arch::area(self.get())
    }

    /// The data of a verdict that says this, and that a thread yields by this system call; a negative one is none.
    #[cfg(feature = "timeslice")]
    pub(super) fn encode(self, yield_call: i32) -> u64 {
        SliceData { area: Some(self.0), yield_call }.encode()
    }
}

/// Where each thread's area is; `None` where requests go nowhere.
pub(super) fn offset() -> Option<AreaOffset> {
    AreaOffset::decode(data())
}

/// [`offset`] in bytes, for measurements.
#[cfg(feature = "timeslice")]
#[doc(hidden)]
pub fn __area() -> Option<isize> {
    offset().map(AreaOffset::get)
}

/// Where the request byte of each thread lies, from its thread pointer, if there is one.
pub(super) fn request_offset() -> Option<i32> {
    offset().map(|area| area.0 + arch::AREA_REQUEST as i32)
}

/// The system call by which a thread yields what it was granted; negative for none.
#[cfg(feature = "profile")]
pub(super) fn yield_call() -> i32 {
    SliceData::decode(data()).yield_call
}

/// Whether a grant is given up at its end. Not where a filter kills for each call that would; there it outlasts its section.
#[cfg(all(feature = "assert", debug_assertions))]
pub(super) fn is_yielded() -> bool {
    SLICE.state().data().is_some_and(|data| SliceData::decode(data).yield_call >= 0)
}

/// What the time slice key's verdict says beside its value; where the key is off, what it would say if it were forced. `None` where
/// requests go nowhere.
pub(crate) fn memory() -> Option<u64> {
    Some(data()).filter(|&data| is_area(data))
}

/// The same as a verdict has it, whatever that is.
fn data() -> u64 {
    #[cfg(feature = "timeslice")]
    {
        SLICE.state().data().unwrap_or_else(|| SPARE.load(Relaxed))
    }
    #[cfg(not(feature = "timeslice"))]
    NOWHERE
}

/// The data that say that requests go nowhere.
const NOWHERE: u64 = SliceData { area: None, yield_call: -1 }.encode();

/// The same where the key is off. Found once: it takes a walk over the modules.
#[cfg(feature = "timeslice")]
static SPARE: AtomicU64 = AtomicU64::new(NOWHERE);

/// Finds it, behind the decision of the time slice key, before that of others which slice sites may depend on. Where the module
/// that is loaded is our own, nobody has to look for that.
#[cfg_attr(not(feature = "timeslice"), expect(unused_variables))]
pub(super) fn find_spare_memory(loaded: Option<&Module<'_>>) {
    #[cfg(feature = "timeslice")]
    if SLICE.state().data().is_none() {
        let own = loaded.filter(|loaded| loaded.has_header(module::own_header()));
        let area = own.map_or_else(own_area, own_area_of);
        SPARE.store(area.or_else(libcs).map_or(NOWHERE, spare), Relaxed);
    }
}

/// The verdict's data for memory that is safe to write in every thread where the extension is absent: the program's own
/// area; in a library, which has none at a constant distance from the thread pointer, two bytes of libc's that nobody else
/// uses. `None` where there is neither.
pub(crate) fn spare_memory() -> Option<u64> {
    #[cfg(feature = "timeslice")]
    {
        own_area().or_else(libcs).map(spare)
    }
    #[cfg(not(feature = "timeslice"))]
    None
}

/// Bytes 28 and 29 of an area lie in the 32 bytes of the oldest layout, behind its last field.
#[cfg(feature = "timeslice")]
fn spare(area: AreaOffset) -> u64 {
    area.encode(-1)
}

/// The C library's, where an area can lie.
#[cfg(feature = "timeslice")]
fn libcs() -> Option<AreaOffset> {
    AreaOffset::new(libcs_area()?)
}

/// Whether a verdict's data can be believed, if another module says it of this process.
pub(super) fn is_believable(data: u64) -> bool {
    AreaOffset::decode(data).is_some_and(|area| libcs_area().is_none_or(|libcs| libcs == area.get()))
}

/// Whether a verdict's data says where requests go.
pub(crate) fn is_area(data: u64) -> bool {
    AreaOffset::decode(data).is_some()
}

/// The rseq area that the C library registers for each thread, where it does.
pub(crate) fn libcs_area() -> Option<isize> {
    arch::libc_area().filter(|&(_, size)| size > 0).map(|(area, _)| area)
}

/// Distance of our own area from each thread's pointer, in the program; a library has none. And the program itself is
/// never unloaded, while that a library stays cannot be known from inside; but libinvar is linked so that it does.
#[cfg(feature = "timeslice")]
pub(super) fn own_area() -> Option<AreaOffset> {
    own_area_of(&module::own()?)
}

/// The same, where that is the module of this code.
#[cfg(feature = "timeslice")]
fn own_area_of(own: &Module<'_>) -> Option<AreaOffset> {
    #[cfg(feature = "capi")]
    let stays = own.stays();
    #[cfg(not(feature = "capi"))]
    let stays = own.is_program();
    if stays { AreaOffset::new(arch::own_area_offset()) } else { None }
}

#[cfg(all(test, feature = "timeslice"))]
mod tests {
    use super::*;

    /// On some machine 0 may be a place; nowhere is none on any.
    #[test]
    fn nowhere_is_no_place() {
        assert_eq!((AreaOffset::new(i32::MIN as isize), AreaOffset::decode(NOWHERE)), (None, None));
        assert_eq!(AreaOffset::new(0).is_some(), arch::holds_area(0));
        for distance in [-160, -64, 704] {
            let area = AreaOffset::new(distance);
            assert_eq!(area.is_some(), arch::holds_area(distance));
            assert!(
                area.is_none_or(|area| AreaOffset::decode(area.encode(471)) == Some(area) && area.get() == distance)
            );
        }
    }

    /// A verdict's data, wherever requests go by them.
    fn data(area: isize, yield_call: i32) -> u64 {
        SliceData { area: Some(area as i32), yield_call }.encode()
    }

    /// Another module may say anything.
    #[test]
    fn only_the_area_that_libc_registers_is_believed() {
        assert!(is_believable(data(0, -1)) <= arch::holds_area(0), "the control block");
        assert!(!is_believable(NOWHERE));
        match libcs_area() {
            Some(area) => {
                assert!(is_believable(data(area, -1)) && is_believable(data(area, 471)));
                assert!(is_area(data(area - 64, -1)) && !is_believable(data(area - 64, -1)));
            }
            None => assert_eq!(is_believable(data(-64, -1)), arch::REQUESTS),
        }
    }

    /// The request is byte 28 of the area (Linux 7.0, include/uapi/linux/rseq.h).
    #[test]
    fn sites_are_bound_to_the_request_byte() {
        assert_eq!(request_offset().map(|request| request as isize), offset().map(|area| area.get() + 28));
        assert_eq!(offset().is_some(), memory().is_some());
    }
}
