//! Memory: mappings, their protection, and whether there is any at an address.
#![allow(unsafe_code)]

use super::file::File;
use super::process::auxiliary;
use super::raw::{Errno, Result, call};
use core::ops::Range;

/// mmap(2): on 32-bit machines it would take its arguments in memory, or does not exist.
#[cfg(not(target_pointer_width = "32"))]
const SYS_MMAP: libc::c_long = libc::SYS_mmap;
/// mmap2(2), which counts the offset in pages: none is used here.
#[cfg(target_pointer_width = "32")]
const SYS_MMAP: libc::c_long = libc::SYS_mmap2;

/// Anonymous memory, zero at first, given back on drop.
pub(crate) struct Scratch {
    address: usize,
    bytes: usize,
}

impl Scratch {
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        Self::mapped(bytes, libc::MAP_PRIVATE)
    }

    /// The same memory in a child process.
    #[cfg(feature = "timeslice")]
    pub(crate) fn shared(bytes: usize) -> Result<Self> {
        Self::mapped(bytes, libc::MAP_SHARED)
    }

    fn mapped(bytes: usize, flags: i32) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping where nothing is mapped.
        let address = unsafe { call(SYS_MMAP, [0, bytes, protection as usize, flags as usize, usize::MAX, 0]) }?;
        Ok(Self { address, bytes })
    }

    /// Where it is: at the beginning of a page.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// The memory as bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our own mapping, initialised by the kernel, borrowed as long as the slice lives.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: our own mapping; slices of it borrow `self`.
        let _ = unsafe { call(libc::SYS_munmap, [self.address, self.bytes]) };
    }
}

/// Memory that is never given back, zero at first: a file's, or the process's own.
#[cfg(feature = "profile")]
pub(crate) fn keep(file: Option<&File>, bytes: usize) -> Result<usize> {
    let (flags, descriptor) = match file {
        Some(file) => (libc::MAP_SHARED, file.descriptor()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, usize::MAX),
    };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where nothing is mapped.
    unsafe { call(SYS_MMAP, [0, bytes, protection as usize, flags as usize, descriptor, 0]) }
}

/// A page of the process's own that is zero again in each child of `fork`: Linux 4.14.
#[cfg(feature = "profile")]
pub(crate) fn blank_after_fork() -> Result<usize> {
    const MADV_WIPEONFORK: usize = 18;
    let page = keep(None, page_size())?;
    // SAFETY: our own page, of which nobody relies on anything.
    let advised = unsafe { call(libc::SYS_madvise, [page, page_size(), MADV_WIPEONFORK]) };
    // SAFETY: nobody knows it.
    advised.inspect_err(|_| unsafe { unmap(page, page_size()) }).map(|_| page)
}

/// Changes the protection of whole pages.
///
/// # Safety
///
/// Whatever runs on or reads these pages meanwhile must be able to do so under `protection`.
#[inline(never)]
pub(crate) unsafe fn protect(start: usize, length: usize, protection: i32) -> Result<()> {
    // SAFETY: as the caller vouches.
    unsafe { call(libc::SYS_mprotect, [start, length, protection as usize]) }.map(drop)
}

/// Makes what pages are mapped to, and how they are protected, final: Linux 6.10. Elsewhere nothing happens.
///
/// # Safety
///
/// Nobody may have to change that.
pub(crate) unsafe fn seal(start: usize, length: usize) {
    /// One number on all machines: Linux, scripts/syscall.tbl.
    const SYS_MSEAL: libc::c_long = 462;
    // SAFETY: as the caller vouches.
    let _ = unsafe { call(SYS_MSEAL, [start, length, 0, 0, 0, 0]) };
}

/// Whether the process may read all of this, which is no longer than a few pages: the kernel tries, and there is no fault.
#[cold]
#[inline(never)]
pub(crate) fn is_readable(address: usize, length: usize) -> bool {
    let page = page_size();
    let mut at = address & !(page - 1);
    // The kernel takes a null pointer for no set.
    if at == 0 {
        return false;
    }
    while at < address.saturating_add(length) {
        // SAFETY: Linux, kernel/signal.c, rt_sigprocmask: copies a set of eight bytes from there, then refuses a first
        // argument that it does not know. Changes nothing.
        if unsafe { call(libc::SYS_rt_sigprocmask, [usize::MAX, at, 0, size_of::<u64>()]) } == Err(Errno(libc::EFAULT))
        {
            return false;
        }
        at += page;
    }
    true
}

/// Private pages of a file, writable or executable, somewhere. The kernel counts no memory for those that are never written.
#[inline(never)]
pub(crate) fn map_file(file: &File, offset: usize, length: usize, protection: i32) -> Result<usize> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_NORESERVE) as usize;
    // As mmap2 counts it, where that is the call.
    let offset = if cfg!(target_pointer_width = "32") { offset >> 12 } else { offset };
    // SAFETY: a new mapping where nothing is mapped.
    unsafe { call(SYS_MMAP, [0, length, protection as usize, flags, file.descriptor(), offset]) }
}

/// Unmaps whole pages.
///
/// # Safety
///
/// Nobody may use them any more.
#[inline(never)]
pub(crate) unsafe fn unmap(start: usize, length: usize) {
    // SAFETY: as the caller vouches.
    let _ = unsafe { call(libc::SYS_munmap, [start, length]) };
}

/// Pages of a file that can be read and executed. They are unmapped on drop.
pub(crate) struct Mapping {
    start: usize,
    length: usize,
}

impl Mapping {
    pub(crate) fn of_file(file: &File, offset: usize, length: usize) -> Result<Self> {
        let start = map_file(file, offset, length, libc::PROT_READ | libc::PROT_EXEC)?;
        Ok(Self { start, length })
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own pages, whose owner is gone.
        unsafe { unmap(self.start, self.length) };
    }
}

/// Linux 5.14.
const MADV_POPULATE_READ: usize = 22;
const MADV_POPULATE_WRITE: usize = 23;

/// Makes private copies of writable pages at once. An error if they cannot be had, where to touch them would be a signal.
///
/// # Safety
///
/// The pages must be writable, and nobody may write to them meanwhile.
pub(crate) unsafe fn populate_for_writing(start: usize, length: usize) -> Result<()> {
    // SAFETY: changes no content.
    match unsafe { call(libc::SYS_madvise, [start, length, MADV_POPULATE_WRITE]) } {
        Err(Errno(libc::EINVAL | libc::ENOSYS | libc::EPERM)) => {
            for page in (start..start + length).step_by(page_size()) {
                let byte = page as *mut u8;
                // SAFETY: as the caller vouches. It stays what it was.
                unsafe { byte.write_volatile(byte.read_volatile()) };
            }
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Whether a page can be written to now. What cannot be stays as it is, and so does the content of what can.
pub(crate) fn is_writable(page: usize) -> bool {
    // SAFETY: changes no content. An error where the mapping is not writable, or the kernel does not know the advice.
    unsafe { call(libc::SYS_madvise, [page, page_size(), MADV_POPULATE_WRITE]) }.is_ok() && knows_advice()
}

/// Whether pages are locked in memory, if only some of them.
pub(crate) fn is_locked(pages: &Range<usize>) -> bool {
    // SAFETY: msync(2): does nothing else to a private mapping.
    let asked = unsafe { call(libc::SYS_msync, [pages.start, pages.len(), libc::MS_INVALIDATE as usize]) };
    asked == Err(Errno(libc::EBUSY))
}

/// Locks pages in memory.
///
/// # Safety
///
/// They must be the caller's own.
pub(crate) unsafe fn lock(start: usize, length: usize) -> Result<()> {
    // SAFETY: changes no content.
    unsafe { call(libc::SYS_mlock, [start, length]) }.map(drop)
}

/// Whether the kernel knows the advice to populate. An emulator may say yes to advice that it does not know; there is never anything
/// at address 0.
fn knows_advice() -> bool {
    // SAFETY: reads pages, or none.
    let asked = unsafe { call(libc::SYS_madvise, [0, page_size(), MADV_POPULATE_READ]) };
    asked == Err(Errno(libc::ENOMEM))
}

/// Whether the process may read all of these pages, of which the kernel is asked at once, if it can be.
#[cold]
pub(crate) fn can_be_read(pages: &Range<usize>) -> bool {
    // SAFETY: reads pages, or none.
    let populate = |start, length| unsafe { call(libc::SYS_madvise, [start, length, MADV_POPULATE_READ]) };
    // What is for execution alone by its mapping, many a CPU reads all the same.
    knows_advice() && populate(pages.start, pages.len()).is_ok() || is_readable(pages.start, pages.len())
}

/// Bytes in a page.
#[inline(never)]
pub(crate) fn page_size() -> usize {
    match auxiliary(libc::AT_PAGESZ) as usize {
        size if size.is_power_of_two() => size,
        _ => 4096,
    }
}

#[cfg(test)]
mod readable {
    use super::*;

    #[test]
    fn what_can_be_read_is_told_without_a_fault() {
        let page = page_size();
        let mut memory = Scratch::new(3 * page).unwrap();
        let start = memory.bytes().as_ptr() as usize;
        assert!(is_readable(start, 3 * page) && is_readable(start + page - 1, 2) && is_readable(start, 1));
        assert!(is_readable(page_size as fn() -> usize as usize, 1), "code can be read");
        // SAFETY: our own page, that nobody looks at.
        unsafe { protect(start + page, page, libc::PROT_NONE) }.unwrap();
        assert!(is_readable(start, page) && is_readable(start + 2 * page, page));
        assert!(!is_readable(start, page + 1) && !is_readable(start + page, 1) && !is_readable(start, 3 * page));
        assert!(!is_readable(0, 1) && !is_readable(usize::MAX, 1) && !is_readable(usize::MAX - page, 2 * page));
    }
}
