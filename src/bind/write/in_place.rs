//! The writer `mprotect`: makes the pages writable, stores, and gives them back the protection that they had.
//!
//! They stay executable meanwhile. In a process with one thread there is nobody else who could use that,
//! and it is what makes this writer safe: the text that is changed is also the text that runs (a Rust library is
//! linked into its user), and where executable memory can be had but not regained (`PR_SET_MDWE`) the first call is
//! refused and not the last. Signals wait until all is written: a handler could meet half a site.

use super::super::resolve::{self, Filled, Resolver, Work};
use super::super::status::Reason;
use super::super::window::Window;
use crate::sys::{self, Errno, File, Silence};
use core::ops::Range;
use invar_arch as arch;

const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

/// Does this work to the sites of a window.
///
/// # Safety
///
/// See [`super::window`].
#[cold]
pub(super) unsafe fn write(window: &Window<'_>, resolver: &mut Resolver<'_>, work: Work) -> Result<Filled, Reason> {
    see_that_it_is_alone(resolver)?;
    let span = window.span();
    let protection = protection_of(&span)?;
    let _silence = Silence::begin(&u64::MAX)?;
    // SAFETY: adds rights only; the one thread goes on executing here.
    unsafe { sys::protect(span.start, span.len(), WRITABLE) }?;
    for pages in window.dense() {
        // SAFETY: changes no content. Whatever it says, the pages are there.
        let _ = unsafe { sys::populate_for_writing(pages.start, pages.len()) };
    }
    if work.before.is_some() {
        // An exchange that failed may have left pages of the file (`arch::exchange`), where sites of other keys stand in checked form.
        // SAFETY: the text itself, which is writable now, and which no other thread executes.
        unsafe { resolve::fill(resolver, window, 0) };
    }
    // SAFETY: as above.
    let filled = unsafe { (work.fill)(resolver, window, 0) };
    arch::synchronise(&span);
    // SAFETY: the protection that the pages had.
    let restore = || unsafe { sys::protect(span.start, span.len(), protection) };
    // Twice: the kernel may have been short of memory for a moment.
    restore().or_else(|_| restore()).map_err(|Errno(errno)| Reason::Writable(errno))?;
    Ok(filled)
}

/// An error where there are other threads. One that a probe has started and joined may not be gone yet: the kernel wakes the thread
/// that joins it before it takes it from its list (Linux, kernel/exit.c, `do_exit`). So it is waited for, once.
#[cold]
fn see_that_it_is_alone(resolver: &mut Resolver<'_>) -> Result<(), Reason> {
    let longest = if core::mem::take(&mut resolver.waits) { 13_000_000 } else { 0 };
    let mut threads = Ok(0);
    sys::wait_until(longest, &mut || {
        threads = sys::threads();
        !threads.is_ok_and(|threads| threads > 1)
    });
    match threads {
        Ok(1) => Ok(()),
        Ok(threads) => Err(Reason::Threads(threads)),
        Err(Errno(errno)) => Err(Reason::ThreadsUnknown(errno)),
    }
}

/// The protection of the private mappings that hold `pages` whole, from `/proc/self/maps`. They are more than one where some pages
/// were exchanged before.
#[cold]
fn protection_of(pages: &Range<usize>) -> Result<i32, Reason> {
    let file = File::open(b"/proc/self/maps\0", libc::O_RDONLY)?;
    let mut line = Line::default();
    let mut buffer = [0; 1024];
    let (mut known, mut protection) = (pages.start, None);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Err(Errno(libc::ENOMEM).into());
        }
        for &byte in buffer.iter().take(read) {
            if !(line.take(byte) && line.start <= known && known < line.end) {
                continue;
            }
            if line.shared {
                return Err(Reason::Shared);
            }
            if *protection.get_or_insert(line.protection) != line.protection {
                return Err(Reason::Changed);
            }
            known = line.end;
            if pages.end <= known {
                return Ok(line.protection);
            }
        }
    }
}

/// One line of the maps, read byte by byte: `START-END rwxp ...`.
#[derive(Default)]
pub(crate) struct Line {
    field: u8,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) protection: i32,
    pub(crate) shared: bool,
}

impl Line {
    /// Takes the line's next byte; true at its end.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
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
        assert_eq!(protection_of(&(0..1)), Err(Reason::Refused(libc::ENOMEM)));
    }

    #[test]
    fn pages_have_one_protection_or_none() {
        let page = sys::page_size();
        for (memory, expected, over) in [
            (sys::Scratch::new(3 * page), Ok(libc::PROT_READ), Reason::Changed),
            #[cfg(feature = "timeslice")]
            (sys::Scratch::shared(3 * page), Err(Reason::Shared), Reason::Shared),
        ] {
            let memory = memory.expect("memory");
            let middle = memory.address() + page..memory.address() + 2 * page;
            // SAFETY: a page of ours, a mapping of its own from now on.
            unsafe { sys::protect(middle.start, page, libc::PROT_READ) }.expect("read only");
            assert_eq!(protection_of(&middle), expected);
            for more in [middle.start - 1..middle.end, middle.start..middle.end + 1] {
                assert_eq!(protection_of(&more), Err(over));
            }
        }
    }
}
