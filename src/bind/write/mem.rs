//! The writer `/proc/self/mem`: the kernel writes to pages that nobody else may write to, and copies them on the
//! way as a debugger's write would. The mapping stays file-backed, so perf, gdb and uprobes keep working.

use super::{Code, Range, Result, Scratch};
use crate::sys::File;
use invar_arch as arch;

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
            arch::store(code, buffer.add(address - self.window.start));
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

#[cfg(test)]
mod tests {
    use super::*;
    use invar_abi::{Kind, Site};
    use std::vec::Vec;

    const PAGE: usize = 4096;

    /// Memory in the place of text, and what may stand at a site; `None` where nothing can.
    fn text() -> Option<(Scratch, Code)> {
        let site = Site { address: 0, target: 64, state: 128, length: 10, kind: Kind::Branch, value: 1 };
        let code = arch::bound(&site, 1, 0);
        assert_eq!(code.is_some(), arch::PATCHES);
        Some((Scratch::new(4 * WINDOW).unwrap(), code?))
    }

    /// Puts the code to these places, of which the first is put first.
    fn put(mem: &mut Mem, text: &mut Scratch, code: Code, places: impl IntoIterator<Item = usize>) {
        let start = text.bytes().as_ptr() as usize;
        for place in places {
            // SAFETY: in the scratch memory, which nobody executes.
            unsafe { mem.put(start + place, code) }.unwrap();
        }
    }

    fn stands(text: &mut Scratch, code: Code, place: usize) -> bool {
        // SAFETY: in the scratch memory.
        unsafe { arch::stands(code, text.bytes()[place..place + code.len()].as_ptr()) }
    }

    /// Between them is a page that nobody asked for: it may be unreadable, and a copy of it would be for nothing.
    #[test]
    fn between_sites_that_are_far_apart_nothing_is_touched() {
        let Some((mut text, code)) = text() else { return };
        for far in [PAGE, 2 * PAGE, WINDOW - 64] {
            let second = 8 + code.len() + far;
            let mut mem = Mem::start(0..0).unwrap();
            put(&mut mem, &mut text, code, [8, second]);
            assert_eq!(mem.bound, 1, "the first stands on its own");
            let between = 8 + code.len()..second;
            text.bytes()[between.clone()].fill(7);
            mem.flush().unwrap();
            assert_eq!(mem.bound, 2);
            assert!(text.bytes()[between].iter().all(|&byte| byte == 7), "{far} bytes apart");
            assert!([8, second].iter().all(|&place| stands(&mut text, code, place)));
        }
    }

    #[test]
    fn sites_that_are_near_are_written_at_once() {
        let Some((mut text, code)) = text() else { return };
        text.bytes().fill(7);
        let mut mem = Mem::start(0..0).unwrap();
        let near = [1, 2, 3].map(|at| at * (code.len() + PAGE - 1));
        // The last of them once more: a record may be there twice.
        put(&mut mem, &mut text, code, near.into_iter().chain([near[2]]));
        assert!(mem.bound == 0 && near.iter().all(|&place| !stands(&mut text, code, place)));
        mem.flush().unwrap();
        assert!(mem.bound == 4 && near.iter().all(|&place| stands(&mut text, code, place)));
        let written = text.bytes().iter().filter(|&&byte| byte != 7).count();
        assert_eq!(written, 3 * code.len(), "what lies between is as it was");
    }

    #[test]
    fn sites_in_any_order_and_number() {
        let Some((mut text, code)) = text() else { return };
        let places: Vec<_> = (0..3 * WINDOW).step_by(1000).chain([WINDOW - code.len(), 2 * WINDOW - 1]).collect();
        for backwards in [false, true] {
            text.bytes().fill(0);
            let mut mem = Mem::start(0..0).unwrap();
            let mut in_order = places.clone();
            in_order.sort();
            in_order.dedup_by(|next, before| *next < *before + code.len());
            if backwards {
                in_order.reverse();
            }
            put(&mut mem, &mut text, code, in_order.iter().copied());
            mem.flush().unwrap();
            assert_eq!(mem.bound as usize, in_order.len());
            assert!(in_order.iter().all(|&place| stands(&mut text, code, place)));
        }
    }
}
