//! The writer `mprotect`: makes a span writable, stores, and gives it back the protection it had.
//!
//! The span stays executable meanwhile. In a process with one thread there is nobody else who could use that,
//! and it is what makes this writer safe: the text that is changed is also the text that runs (a Rust library is
//! linked into its user), and where executable memory can be had but not regained (`PR_SET_MDWE`) the first call is
//! refused and not the last. Signals wait until the session has ended: a handler could meet half a site.

use super::{Code, Errno, Range, Result, SHARED};
use crate::sys::{self, File, Silence};
use invar_arch as arch;

const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

/// As much is copied ahead of the sites as then is still in the cache when they are written.
const AHEAD: usize = 256 << 10;

pub(crate) struct Mprotect {
    /// The pages that are writable now.
    pages: Range<usize>,
    /// The protection they had.
    protection: i32,
    /// Up to where the pages have been copied.
    copied: usize,
    /// The site before, to be read back: right behind its store, the read would wait for it.
    last: Option<(*const u8, Code)>,
    pub(super) bound: u32,
    _silence: Silence,
}

impl Mprotect {
    /// # Safety
    ///
    /// See [`Session::start`](super::Session::start).
    pub(super) unsafe fn start(text: Range<usize>) -> Result<Self> {
        let page = sys::page_size();
        let pages = text.start & !(page - 1)..text.end.next_multiple_of(page);
        let protection = protection_of(&pages)?;
        let _silence = Silence::begin(&u64::MAX)?;
        // SAFETY: adds rights only; the one thread goes on executing here.
        unsafe { sys::protect(pages.start, pages.len(), WRITABLE) }?;
        Ok(Self { copied: pages.start, pages, protection, last: None, bound: 0, _silence })
    }

    #[inline(always)]
    pub(super) fn approach(&mut self, address: usize) {
        if address >= self.copied {
            self.copy_ahead(address);
        }
    }

    #[cold]
    fn copy_ahead(&mut self, address: usize) {
        let start = self.copied.max(address & !(sys::page_size() - 1));
        self.copied = (start + AHEAD).min(self.pages.end);
        sys::populate_for_writing(start, self.copied.saturating_sub(start));
    }

    /// # Safety
    ///
    /// See [`Session::put`](super::Session::put).
    #[inline]
    pub(super) unsafe fn put(&mut self, address: usize, code: Code) -> Result<()> {
        if self.pages.start <= address && address + code.len() <= self.pages.end {
            self.read_back();
            // SAFETY: in the pages that are readable and writable.
            unsafe { arch::store(code, address as *mut u8) };
            self.last = Some((address as *const u8, code));
        }
        Ok(())
    }

    #[inline(always)]
    fn read_back(&mut self) {
        if let Some((at, code)) = self.last.take() {
            // SAFETY: stored there just now.
            self.bound += u32::from(unsafe { arch::stands(code, at) });
        }
    }

    pub(super) fn finish(&mut self) {
        self.read_back();
    }

    /// Tries twice: the kernel may have been short of memory for a moment.
    pub(super) fn close(&mut self) -> Result<()> {
        // SAFETY: the protection that the pages had.
        let restore = || unsafe { sys::protect(self.pages.start, self.pages.len(), self.protection) };
        restore().or_else(|_| restore())
    }
}

/// The protection of the one private mapping that holds `pages` whole, from `/proc/self/maps`.
#[cold]
fn protection_of(pages: &Range<usize>) -> Result<i32> {
    let file = File::open(b"/proc/self/maps\0", libc::O_RDONLY)?;
    let mut line = Line::default();
    let mut buffer = [0; 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Err(Errno(libc::ENOMEM));
        }
        for &byte in buffer.iter().take(read) {
            if line.take(byte) && line.start <= pages.start && pages.end <= line.end {
                return if line.shared { Err(SHARED) } else { Ok(line.protection) };
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
    shared: bool,
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
            (2, b's') => self.shared = true,
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
            559f1c500000-559f1c501000 rw-p 00000000 00:00 0\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
        let mut line = Line::default();
        let lines: Vec<_> = maps
            .iter()
            .filter_map(|&byte| line.take(byte).then_some((line.start, line.end, line.protection)))
            .collect();
        let (r, w, x) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
        assert_eq!(
            lines,
            [
                (0x559f1c400000, 0x559f1c402000, r),
                (0x559f1c402000, 0x559f1c500000, r | x),
                (0x559f1c500000, 0x559f1c501000, r | w),
                (0xffffffffff600000, 0xffffffffff601000, x),
            ]
        );
    }

    #[test]
    fn this_code_is_in_an_executable_mapping() {
        let here = maps_are_read_line_by_line as fn() as usize;
        assert_eq!(protection_of(&(here..here + 1)), Ok(libc::PROT_READ | libc::PROT_EXEC));
        assert_eq!(protection_of(&(0..1)), Err(Errno(libc::ENOMEM)));
    }

    /// Code goes to the pages that are writable meanwhile and to no others, and they are again what they were.
    #[test]
    fn sites_are_written_and_the_protection_comes_back() {
        use crate::sys::Scratch;
        use invar_abi::{Kind, Site};
        let page = sys::page_size();
        let mut text = Scratch::new(8 * page).unwrap();
        let start = text.bytes().as_ptr() as usize;
        let pages = start + page..start + 7 * page;
        let read_only = libc::PROT_READ;
        // SAFETY: the scratch memory, which is only read until it is writable again.
        unsafe { sys::protect(pages.start, pages.len(), read_only) }.unwrap();
        assert_eq!(protection_of(&pages), Ok(read_only));

        // Neither end is at a page's.
        // SAFETY: no other thread has this memory.
        let mut session = unsafe { Mprotect::start(pages.start + 100..pages.end - 100) }.unwrap();
        assert_eq!(protection_of(&pages), Ok(WRITABLE));
        let site = Site { address: 0, target: 64, state: 128, length: 10, kind: Kind::Branch, value: 1 };
        let code = arch::bound(&site, 1, 0);
        assert_eq!(code.is_some(), arch::PATCHES);
        let Some(code) = code else { return session.close().unwrap() };
        let inside = [pages.start, pages.start + page - 4, pages.end - code.len()];
        let outside = [pages.start - code.len(), pages.start - 1, pages.end - code.len() + 1, pages.end];
        for address in inside.into_iter().chain(outside) {
            session.approach(address.min(pages.end - 1));
            // SAFETY: in the scratch memory, or refused.
            unsafe { session.put(address, code) }.unwrap();
        }
        session.finish();
        session.close().unwrap();
        assert_eq!((session.bound, protection_of(&pages)), (3, Ok(read_only)));
        let written = text.bytes().iter().filter(|&&byte| byte != 0).count();
        // SAFETY: in the scratch memory.
        assert!(inside.iter().all(|&address| unsafe { arch::stands(code, address as *const u8) }));
        let length = code.write_to(&mut [0; 16]).iter().filter(|&&byte| byte != 0).count();
        assert_eq!(written, 3 * length);
    }
}
