//! The text in memory, and the ways to exchange it: the runtime's, and wrong ones.
#![allow(unsafe_code)] // mappings

use super::text::{LINE, NUMBER, PAGE, Text, number};
use std::fs::File;
use std::io::{Error, Result, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};

/// A page with the state of the key, and behind it the text, as a loader would have mapped it.
pub(super) struct LoadedText {
    start: *mut u8,
    length: usize,
    file: File,
}

// SAFETY: it is the address of mappings that stay as long as the process; who changes them is said at each function.
unsafe impl Sync for LoadedText {}
// SAFETY: as above.
unsafe impl Send for LoadedText {}

const READ_EXECUTE: i32 = libc::PROT_READ | libc::PROT_EXEC;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

impl LoadedText {
    /// Maps the text from a file that has no name. Also says what stood in the way of a file on a disk.
    pub(super) fn new(text: &Text) -> Result<(Self, Option<String>)> {
        let in_file = tempfile::tempfile().and_then(|mut file| {
            file.write_all(&text.bytes)?;
            Self::of(file, text)
        });
        match in_file {
            Ok(loaded) => Ok((loaded, None)),
            // As on a file system that is mounted noexec.
            Err(why) => Self::of(memfd(&text.bytes)?, text).map(|loaded| {
                (loaded, Some(format!("the text is in a memfd, since a temporary file cannot be executed: {why}")))
            }),
        }
    }

    fn of(file: File, text: &Text) -> Result<Self> {
        let length = text.bytes.len();
        let start = map(null_mut(), PAGE + length, libc::PROT_NONE, None)?;
        let loaded = Self { start, length, file };
        // SAFETY: pages that were just mapped.
        check(unsafe { libc::mprotect(start.cast(), PAGE, READ_WRITE) })?;
        loaded.put_back()?;
        Ok(loaded)
    }

    /// Where the text begins.
    pub(super) fn text(&self) -> *mut u8 {
        self.start.wrapping_add(PAGE)
    }

    /// Decides the key, and the number of the constants.
    pub(super) fn decide(&self, value: u8) {
        // SAFETY: it has a page, which others only read.
        unsafe { AtomicU64::from_ptr(self.start.add(NUMBER).cast()).store(number(value), SeqCst) };
        self.set(value);
    }

    /// Sets the key, as a switch is set.
    pub(super) fn set(&self, value: u8) {
        // SAFETY: it has a page, which others only read.
        unsafe { AtomicU8::from_ptr(self.start).store(value, SeqCst) };
    }

    /// Whether these bytes are in the text.
    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        // SAFETY: it is mapped, and is not written to meanwhile, as the caller is who exchanges it.
        unsafe { std::slice::from_raw_parts(self.text(), self.length) == bytes }
    }

    /// Maps the file over the text: all sites are in checked form. No thread may be in the text.
    pub(super) fn put_back(&self) -> Result<()> {
        map(self.text(), self.length, READ_EXECUTE, Some(&self.file)).map(drop)
    }

    /// The writer `swap`: the file's pages a second time, with the sites of `image` stored in them, take the text's place.
    pub(super) fn swap(&self, text: &Text, image: &[u8]) -> Result<()> {
        let copy = map(null_mut(), self.length, READ_WRITE, Some(&self.file))?;
        for site in &text.sites {
            let bytes = &image[text.range(site)];
            // SAFETY: our own pages, as long as the text.
            unsafe { copy.add(text.range(site).start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        // SAFETY: our own pages.
        let done = check(unsafe { libc::mprotect(copy.cast(), self.length, READ_EXECUTE) });
        done.and_then(|()| self.exchange(copy)).inspect_err(|_| self.unmap(copy))
    }

    /// The writer `memfd`: the pages of a file in memory take the text's place.
    pub(super) fn memfd(&self, image: &[u8]) -> Result<()> {
        let copy = map(null_mut(), self.length, READ_EXECUTE, Some(&memfd(image)?))?;
        self.exchange(copy).inspect_err(|_| self.unmap(copy))
    }

    /// By the runtime's own function.
    fn exchange(&self, copy: *mut u8) -> Result<()> {
        let text = self.text() as usize;
        // SAFETY: the copy is our own pages; what is at `text` may become the copy, or the file; the function is not in it.
        let at = unsafe { invar_arch::exchange(copy as usize, self.length, text, self.file.as_raw_fd() as usize, 0) };
        if at as usize == text { Ok(()) } else { Err(Error::from_raw_os_error(-at as i32)) }
    }

    fn unmap(&self, copy: *mut u8) {
        // SAFETY: our own pages, which nobody has used.
        unsafe { libc::munmap(copy.cast(), self.length) };
    }

    /// A wrong way: makes the text writable, and stores byte by byte. `between` is what others do while a site is half written;
    /// it ends the work by `false`.
    pub(super) fn store_bytes(&self, text: &Text, image: &[u8], mut between: impl FnMut() -> bool) -> Result<()> {
        self.writable(|| {
            for offset in text.sites.iter().flat_map(|site| text.range(site)) {
                let byte = self.text().wrapping_add(offset);
                // SAFETY: a byte of the text. Who executes it meanwhile is in danger, which is what is to be seen.
                let differs = unsafe { byte.read() } != image[offset];
                if differs {
                    // SAFETY: as above.
                    unsafe { byte.write_volatile(image[offset]) };
                    if !between() {
                        return;
                    }
                }
            }
        })
    }

    /// A wrong way: makes the text writable, and stores those sites that lie across two cache lines, line by line: what a store
    /// across lines is for the CPU, too (Intel SDM volume 3, "Guaranteed Atomic Operations"). `between` is as for [`store_bytes`](Self::store_bytes).
    pub(super) fn store_lines(&self, text: &Text, image: &[u8], mut between: impl FnMut() -> bool) -> Result<()> {
        self.writable(|| {
            for range in text.sites.iter().map(|site| text.range(site)) {
                let line = range.start.next_multiple_of(LINE);
                // SAFETY: bytes of the text, which nobody else writes.
                let before = unsafe { std::slice::from_raw_parts(self.text().add(range.start), range.len()) };
                let is_in_two_lines = range.start < line && line < range.end;
                if !is_in_two_lines || before == &image[range.clone()] {
                    continue;
                }
                for half in [range.start..line, line..range.end] {
                    let bytes = &image[half.clone()];
                    // SAFETY: bytes of the text. Who executes them meanwhile is in danger, which is what is to be seen.
                    unsafe { self.text().add(half.start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                    if !between() {
                        return;
                    }
                }
            }
        })
    }

    fn writable(&self, store: impl FnOnce()) -> Result<()> {
        // SAFETY: the text stays what it is; the caller wants to store to it.
        check(unsafe { libc::mprotect(self.text().cast(), self.length, READ_EXECUTE | libc::PROT_WRITE) })?;
        store();
        // SAFETY: as above.
        check(unsafe { libc::mprotect(self.text().cast(), self.length, READ_EXECUTE) })
    }
}

/// Maps pages of a file, or none, privately; at this address if it is not null, over what is there.
fn map(at: *mut u8, length: usize, protection: i32, file: Option<&File>) -> Result<*mut u8> {
    let place = if at.is_null() { 0 } else { libc::MAP_FIXED };
    let (flags, file) = file.map_or((libc::MAP_ANONYMOUS, -1), |file| (0, file.as_raw_fd()));
    // SAFETY: where an address is given, it is that of our own text.
    let start = unsafe { libc::mmap(at.cast(), length, protection, libc::MAP_PRIVATE | place | flags, file, 0) };
    if start == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(start.cast()) }
}

fn memfd(bytes: &[u8]) -> Result<File> {
    // SAFETY: a system call that reads a name.
    let file = unsafe { libc::memfd_create(c"invar-stress".as_ptr(), libc::MFD_CLOEXEC) };
    check(file.min(0))?;
    // SAFETY: it is new, and nobody else's.
    let mut file = unsafe { File::from_raw_fd(file) };
    file.write_all(bytes)?;
    Ok(file)
}

fn check(result: i32) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
