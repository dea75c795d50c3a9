//! What the loader says of itself to debuggers (`struct r_debug` of glibc, elf/link.h, which musl has as well, but does not always keep).
#![allow(unsafe_code)]

use super::segments::ProgramHeader;
use crate::sys;
use core::ffi::c_int;
use libc::{PT_DYNAMIC, PT_PHDR};

/// The entries of a dynamic section that are looked at (gABI, Dynamic Section).
const DT_NULL: usize = 0;
const DT_DEBUG: usize = 21;

/// Of one list of libraries: of the program's, and from glibc 2.35 on of each that `dlmopen` has begun (`struct r_debug_extended`).
#[repr(C)]
struct Debug {
    version: c_int,
    map: usize,
    breakpoint: usize,
    state: c_int,
    base: usize,
    /// From version 2 on.
    next: *const Debug,
}

/// Whether the loader is mapping or unmapping libraries at this moment, in any thread. `false` where it does not tell.
pub(crate) fn is_at_work() -> bool {
    // SAFETY: the loader's.
    debug().is_some_and(|first| unsafe { one_is_at_work(first) })
}

/// # Safety
///
/// All must be the loader's, which stay.
unsafe fn one_is_at_work(mut debug: *const Debug) -> bool {
    while !debug.is_null() {
        // SAFETY: as the caller vouches. The loader writes these words meanwhile perhaps; the last one is there from version 2 on.
        unsafe {
            if (&raw const (*debug).state).read_volatile() != 0 {
                return true;
            }
            let has_next = (&raw const (*debug).version).read_volatile() >= 2;
            debug = if has_next { (&raw const (*debug).next).read_volatile() } else { core::ptr::null() };
        }
    }
    false
}

/// The loader gives the program its address.
fn debug() -> Option<*const Debug> {
    let [table, count] = [libc::AT_PHDR, libc::AT_PHNUM].map(|entry| sys::auxiliary(entry) as usize);
    if table == 0 {
        return None;
    }
    // SAFETY: the program's headers, where the kernel says that they are.
    let headers = unsafe { core::slice::from_raw_parts(table as *const ProgramHeader, count) };
    let place = |kind| headers.iter().find(|header| header.p_type == kind).map(|header| header.p_vaddr as usize);
    // Every program that a loader has loaded says where its headers are: loaders go by that as well (glibc, elf/rtld.c; musl,
    // ldso/dynlink.c). GNU ld leaves it out of a static one, which may lie anywhere (`-static-pie`).
    let bias = table.wrapping_sub(place(PT_PHDR)?);
    let mut entry = bias.wrapping_add(place(PT_DYNAMIC)?) as *const [usize; 2];
    loop {
        // SAFETY: the dynamic section ends with an entry of this sort.
        match unsafe { entry.read() } {
            [DT_NULL, _] => return None,
            [DT_DEBUG, address] => return (address != 0).then_some(address as *const Debug),
            _ => entry = entry.wrapping_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_libraries_is_asked() {
        let list = |version, state, next| Debug { version, map: 0, breakpoint: 0, state, base: 0, next };
        let none = core::ptr::null();
        let [rests, works] = [0, 1].map(|state| list(2, state, none));
        // SAFETY: three lists of our own at most.
        let is_at_work = |first: Debug| unsafe { one_is_at_work(&raw const first) };
        assert!(!is_at_work(list(1, 0, none)) && is_at_work(list(1, 2, none)));
        assert!(is_at_work(list(2, 0, &raw const works)) && !is_at_work(list(2, 0, &raw const rests)));
        let third = list(2, 0, &raw const works);
        assert!(is_at_work(list(2, 0, &raw const third)));
        assert!(!is_at_work(list(1, 0, core::ptr::dangling())), "there is no second one before version 2");
        assert!(!super::is_at_work(), "this program opens no library");
    }
}
