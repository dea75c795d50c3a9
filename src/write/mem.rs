//! The writer `/proc/self/mem`: the kernel writes to pages that nobody else may write to, and copies them on the
//! way as a debugger's write would. The mapping stays file-backed, so perf, gdb and uprobes keep working.

use super::{Range, Result, Scratch};
use crate::sys::File;

/// Longer spans gain nothing: one copy in, one out, one system call for each.
pub(super) const SPAN: usize = 64 << 10;

/// Enough for a span and a site that reaches into the page behind it.
const BUFFER: usize = SPAN + 4096;

pub(crate) struct Mem {
    file: File,
    buffer: Scratch,
    span: Range<usize>,
}

impl Mem {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            file: File::open(c"/proc/self/mem", libc::O_RDWR)?,
            buffer: Scratch::new(BUFFER)?,
            span: 0..0,
        })
    }

    /// # Safety
    ///
    /// `span` must be readable.
    pub(super) unsafe fn open(&mut self, span: Range<usize>) -> Result<()> {
        let buffer = self.buffer.bytes();
        let copy = buffer.get_mut(..span.len()).ok_or(super::Errno(libc::E2BIG))?;
        // SAFETY: readable, as the caller vouches, and no part of the buffer.
        unsafe { core::ptr::copy_nonoverlapping(span.start as *const u8, copy.as_mut_ptr(), span.len()) };
        self.span = span;
        Ok(())
    }

    pub(super) fn put(&mut self, address: usize, code: &[u8]) {
        let start = address.wrapping_sub(self.span.start);
        if let Some(room) = self.buffer.bytes().get_mut(start..start.wrapping_add(code.len())) {
            room.copy_from_slice(code);
        }
    }

    pub(super) fn close(&mut self) -> Result<()> {
        let span = core::mem::take(&mut self.span);
        let bytes = self.buffer.bytes().get(..span.len()).unwrap_or(&[]);
        // SAFETY: the span as it was when opened, with the sites that were put.
        unsafe { self.file.write_at(span.start, bytes) }
    }
}
