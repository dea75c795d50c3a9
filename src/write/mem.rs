//! The writer `/proc/self/mem`: the kernel writes to pages that nobody else may write to, and copies them on the
//! way as a debugger's write would. The mapping stays file-backed, so perf, gdb and uprobes keep working.

use super::{Code, Range, Result, Scratch};
use crate::sys::File;

/// As much as is written at once: longer gains nothing.
const WINDOW: usize = 64 << 10;
/// Sites this far apart do not share a window. What lies between would be copied for nothing, and need not be
/// readable; nearer, there is no whole page between them.
const GAP: usize = 4096;

pub(crate) struct Mem {
    file: File,
    buffer: Scratch,
    /// The addresses that the buffer stands for, up to the last site that was put.
    window: Range<usize>,
    /// How many sites were put into the window.
    waiting: u32,
    pub(super) bound: u32,
}

impl Mem {
    pub(super) fn start(_text: Range<usize>) -> Result<Self> {
        let file = File::open(b"/proc/self/mem\0", libc::O_RDWR)?;
        Ok(Self { file, buffer: Scratch::new(WINDOW)?, window: 0..0, waiting: 0, bound: 0 })
    }

    /// # Safety
    ///
    /// See [`Session::put`](super::Session::put).
    #[inline]
    pub(super) unsafe fn put(&mut self, address: usize, code: Code) -> Result<()> {
        let end = address + code.len();
        if address < self.window.start || address >= self.window.end + GAP || end > self.window.start + WINDOW {
            self.flush()?;
            self.window = address..address;
        }
        let buffer = self.buffer.bytes().as_mut_ptr();
        // SAFETY: everything between two sites of one window is on their pages, which are text; the window, and so
        // the buffer, ends behind this site.
        unsafe {
            if end > self.window.end {
                let text = self.window.end as *const u8;
                let room = buffer.add(self.window.end - self.window.start);
                core::ptr::copy_nonoverlapping(text, room, end - self.window.end);
                self.window.end = end;
            }
            code.store(buffer.add(address - self.window.start));
        }
        self.waiting += 1;
        Ok(())
    }

    /// Writes the window to the text, and reads it back.
    #[cold]
    pub(super) fn flush(&mut self) -> Result<()> {
        let window = core::mem::take(&mut self.window);
        let waiting = core::mem::take(&mut self.waiting);
        let Some(bytes) = self.buffer.bytes().get(..window.len()) else { return Ok(()) };
        if waiting > 0 {
            // SAFETY: the text as it was, with new code that is right to execute.
            unsafe { self.file.write_at(window.start, bytes) }?;
            // SAFETY: the text that was just written, readable as it was before.
            let text = unsafe { core::slice::from_raw_parts(window.start as *const u8, window.len()) };
            if text == bytes {
                self.bound += waiting;
            }
        }
        Ok(())
    }
}
