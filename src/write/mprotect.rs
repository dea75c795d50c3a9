//! The writer `mprotect`: makes a span writable, stores, and gives it back the protection it had.
//!
//! The span stays executable meanwhile. In a process with one thread there is nobody else who could use that,
//! and it is what makes this writer safe: the text that is changed is also the text that runs (a Rust library is
//! linked into its user), signal handlers may run at any time, and where executable memory can be had but not
//! regained (`PR_SET_MDWE`) the first call is refused and not the last.

use super::{Code, Errno, Range, Result, stands, store};
use crate::sys::{self, File};

const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

pub(crate) struct Mprotect {
    /// The mapping that was last looked up, and its protection.
    mapping: (Range<usize>, i32),
    /// The pages that are writable now.
    span: Range<usize>,
    page_size: usize,
    /// Whether everything that was put reads back.
    whole: bool,
}

impl Mprotect {
    pub(super) fn start() -> Self {
        Self { mapping: (0..0, 0), span: 0..0, page_size: sys::page_size(), whole: true }
    }

    /// # Safety
    ///
    /// See [`Session::open`](super::Session::open).
    pub(super) unsafe fn open(&mut self, span: Range<usize>) -> Result<()> {
        if !holds(&self.mapping.0, &span) {
            self.mapping = mapping_of(&span)?;
        }
        // SAFETY: adds rights only; the one thread goes on executing here.
        unsafe { sys::protect(span.start, span.len(), WRITABLE) }?;
        sys::populate_for_writing(span.start, span.len());
        self.span = span;
        self.whole = true;
        Ok(())
    }

    /// # Safety
    ///
    /// See [`Session::put`](super::Session::put).
    #[inline]
    pub(super) unsafe fn put(&mut self, address: usize, code: Code) {
        let site = address..address + code.len();
        if !holds(&self.span, &site) && !self.extend(&site) {
            self.whole = false;
            return;
        }
        let to = address as *mut u8;
        // SAFETY: inside the span, which is readable and writable.
        unsafe {
            store(to, code);
            self.whole &= stands(to, code);
        }
    }

    /// Takes in the page behind the span, into which a site reaches.
    #[cold]
    fn extend(&mut self, site: &Range<usize>) -> bool {
        let more = self.span.end..self.span.end + self.page_size;
        let fits = self.span.start <= site.start && site.end <= more.end && holds(&self.mapping.0, &more);
        // SAFETY: adds rights only, to text of the same mapping.
        let extended = fits && unsafe { sys::protect(more.start, more.len(), WRITABLE) }.is_ok();
        if extended {
            self.span.end = more.end;
        }
        extended
    }

    pub(super) fn close(&mut self) -> Result<bool> {
        let span = core::mem::take(&mut self.span);
        // SAFETY: the protection that the pages had.
        unsafe { sys::protect(span.start, span.len(), self.mapping.1) }?;
        Ok(self.whole)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn maps_are_read_line_by_line() {
        let maps = b"559f1c400000-559f1c402000 r--p 00000000 08:01 1 /usr/bin/a-b c\n\
            559f1c402000-559f1c500000 r-xp 00002000 08:01 1 /usr/bin/x\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
        let mut line = Line::default();
        let lines: Vec<_> = maps
            .iter()
            .filter_map(|&byte| line.take(byte).then_some((line.start, line.end, line.protection)))
            .collect();
        let (r, x) = (libc::PROT_READ, libc::PROT_EXEC);
        assert_eq!(
            lines,
            [
                (0x559f1c400000, 0x559f1c402000, r),
                (0x559f1c402000, 0x559f1c500000, r | x),
                (0xffffffffff600000, 0xffffffffff601000, x),
            ]
        );
    }

    #[test]
    fn this_code_is_in_an_executable_mapping() {
        let here = maps_are_read_line_by_line as fn() as usize;
        let (mapping, protection) = mapping_of(&(here..here + 1)).expect("/proc is mounted");
        assert!(mapping.contains(&here));
        assert_eq!(protection, libc::PROT_READ | libc::PROT_EXEC);
        assert_eq!(mapping_of(&(0..1)), Err(Errno(libc::ENOMEM)));
    }
}
