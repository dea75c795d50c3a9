//! The writer `/proc/self/mem`: the kernel writes to pages that nobody else may write to, and copies them on the
//! way as a debugger's write would. The mapping stays file-backed, so perf, gdb and uprobes keep working.

use super::{Code, Errno, Range, Result, Scratch, store};
use crate::sys::File;

/// Longer spans gain nothing: one copy in, one out, one system call for each.
pub(super) const SPAN: usize = 64 << 10;

pub(crate) struct Mem {
    file: File,
    /// A span, and room for a site that reaches into the page behind it.
    buffer: Scratch,
    /// Where the buffer's first byte belongs.
    start: usize,
    /// How much of the buffer has been copied from the text.
    copied: usize,
    /// The part of the buffer that holds new code.
    changed: Range<usize>,
}

impl Mem {
    pub(super) fn start() -> Result<Self> {
        let file = File::open(c"/proc/self/mem", libc::O_RDWR)?;
        Ok(Self { file, buffer: Scratch::new(SPAN + 4096)?, start: 0, copied: 0, changed: 0..0 })
    }

    pub(super) fn open(&mut self, span: Range<usize>) -> Result<()> {
        if span.len() > SPAN {
            return Err(Errno(libc::E2BIG));
        }
        self.start = span.start;
        self.copied = 0;
        self.changed = usize::MAX..0;
        Ok(())
    }

    /// # Safety
    ///
    /// See [`Session::put`](super::Session::put).
    #[inline]
    pub(super) unsafe fn put(&mut self, address: usize, code: Code) {
        let at = address.wrapping_sub(self.start);
        let end = at.wrapping_add(code.len());
        if at >= SPAN {
            return;
        }
        let buffer = self.buffer.bytes().as_mut_ptr();
        if end > self.copied {
            // As far as the site's last page, and no further: what is behind it may not be text.
            let whole = if end > SPAN { end } else { end.next_multiple_of(4096).min(SPAN) };
            // SAFETY: the pages from the span's start to the one where this site ends are text, and the buffer
            // has a page to spare.
            unsafe {
                let text = (self.start + self.copied) as *const u8;
                core::ptr::copy_nonoverlapping(text, buffer.add(self.copied), whole - self.copied);
            }
            self.copied = whole;
        }
        // SAFETY: a site is no longer than the page to spare.
        unsafe { store(buffer.add(at), code) };
        self.changed = self.changed.start.min(at)..self.changed.end.max(end);
    }

    pub(super) fn close(&mut self) -> Result<bool> {
        if self.changed.is_empty() {
            return Ok(true);
        }
        let bytes = self.buffer.bytes().get(self.changed.clone()).unwrap_or(&[]);
        let address = self.start.wrapping_add(self.changed.start);
        // SAFETY: text as it was, and new code that is right to execute.
        unsafe { self.file.write_at(address, bytes) }?;
        // SAFETY: the text that was just written. Whoever reads it here does so after the system call.
        let text = unsafe { core::slice::from_raw_parts(address as *const u8, bytes.len()) };
        Ok(text == bytes)
    }
}
