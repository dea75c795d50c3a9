//! The writer `mprotect`: makes a span writable, stores, and gives it back the protection it had.
//!
//! The span stays executable meanwhile. In a process with one thread there is nobody else who could use that,
//! and it is what makes this writer safe: the text that is changed is also the text that runs (a Rust library is
//! linked into its user), signal handlers may run at any time, and where executable memory can be had but not
//! regained (`PR_SET_MDWE`) the first call is refused and not the last.

use super::{Errno, Range, Result};
use crate::sys::{self, File};

const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

pub(crate) struct Mprotect {
    /// The mapping that was last looked up, and its protection.
    mapping: (Range<usize>, i32),
    span: Range<usize>,
}

impl Mprotect {
    pub(super) fn start() -> Self {
        Self { mapping: (0..0, 0), span: 0..0 }
    }

    /// # Safety
    ///
    /// See [`Session::open`](super::Session::open).
    pub(super) unsafe fn open(&mut self, span: Range<usize>) -> Result<()> {
        let page = sys::page_size();
        let pages = span.start & !(page - 1)..span.end.next_multiple_of(page);
        if !holds(&self.mapping.0, &pages) {
            self.mapping = mapping_of(&pages)?;
        }
        // SAFETY: adds rights only; the one thread goes on executing here.
        unsafe { sys::protect(pages.start, pages.len(), WRITABLE) }?;
        sys::populate_for_writing(pages.start, pages.len());
        self.span = pages;
        Ok(())
    }

    /// # Safety
    ///
    /// See [`Session::put`](super::Session::put).
    pub(super) unsafe fn put(&mut self, address: usize, code: &[u8]) {
        if holds(&self.span, &(address..address + code.len())) {
            // SAFETY: inside the span, which is writable.
            unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), address as *mut u8, code.len()) };
        }
    }

    pub(super) fn close(&mut self) -> Result<()> {
        let span = core::mem::take(&mut self.span);
        // SAFETY: the protection that the pages had.
        unsafe { sys::protect(span.start, span.len(), self.mapping.1) }
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The mapping that holds `pages` whole, and its protection, from `/proc/self/maps`.
fn mapping_of(pages: &Range<usize>) -> Result<(Range<usize>, i32)> {
    let file = File::open(c"/proc/self/maps", libc::O_RDONLY)?;
    let mut line = Line::default();
    let mut buffer = [0; 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Err(Errno(libc::ENOMEM));
        }
        for &byte in &buffer[..read] {
            if line.take(byte) && holds(&(line.start..line.end), pages) {
                return Ok((line.start..line.end, line.protection));
            }
        }
    }
}

/// One line of the maps, read byte by byte: `START-END rwxp ...`.
#[derive(Default)]
struct Line {
    field: u8,
    start: usize,
    end: usize,
    protection: i32,
}

impl Line {
    /// Takes the line's next byte; true at its end.
    fn take(&mut self, byte: u8) -> bool {
        if self.field == 4 {
            *self = Self::default();
        }
        match (self.field, byte) {
            (_, b'\n') => self.field = 4,
            (0, b'-') | (1 | 2, b' ') => self.field += 1,
            (0, digit) => self.start = self.start << 4 | hex(digit),
            (1, digit) => self.end = self.end << 4 | hex(digit),
            (2, b'r') => self.protection |= libc::PROT_READ,
            (2, b'w') => self.protection |= libc::PROT_WRITE,
            (2, b'x') => self.protection |= libc::PROT_EXEC,
            _ => {}
        }
        self.field == 4
    }
}

fn hex(digit: u8) -> usize {
    (digit as char).to_digit(16).unwrap_or(0) as usize
}
