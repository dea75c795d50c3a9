//! Writers: the ways to change bytes in executable pages.
//!
//! A session takes the new code of one site after another. [`choose`] says which writer a commit begins with; where
//! that one is refused, the other takes its place.
#![allow(unsafe_code)]

mod mem;
mod mprotect;

use crate::sys::{Errno, Result, Scratch};
use core::ops::Range;
use invar_abi::Code;

/// In the place of the kernel's error number: the text is mapped shared, so that other processes have it too.
pub(crate) const SHARED: Errno = Errno(0);

/// A way to change bytes in executable pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// `pwrite` to `/proc/self/mem`. No page ever becomes writable, and it works under `PR_SET_MDWE`; refused
    /// under `proc_mem.force_override=never` (Linux 6.12) and where `/proc` is not mounted.
    Mem = 1,
    /// `mprotect` over whole spans. The cheapest for many pages; refused under `PR_SET_MDWE`, seccomp filters
    /// against writable and executable memory, and on sealed mappings.
    Mprotect = 2,
}

impl Writer {
    /// One word, as settings and reports use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mem => "mem",
            Self::Mprotect => "mprotect",
        }
    }

    /// The writers that a module's outcome gives as bits (`docs/site-abi.md`).
    pub fn from_bits(bits: u8) -> impl Iterator<Item = Self> {
        [Self::Mem, Self::Mprotect].into_iter().filter(move |writer| bits & *writer as u8 != 0)
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Mem => Self::Mprotect,
            Self::Mprotect => Self::Mem,
        }
    }
}

/// The writer to begin with, for a stretch of text of `text` pages of which `pages` have sites.
///
/// mprotect has a price for the whole stretch: two system calls, a look at the maps, and a copy of each page, with
/// sites or without. mem has one for each run of pages with sites: a system call, and copies of what is written.
/// Measured, they meet at five pages in one run, and at thirty if every second page has sites (`cargo bench --bench bind`).
pub(crate) fn choose(pages: usize, text: usize) -> Writer {
    let (dense, half_dense) = (4 * pages >= 3 * text, 2 * pages >= text);
    if pages >= 6 && dense || pages >= 32 && half_dense { Writer::Mprotect } else { Writer::Mem }
}

/// A writer at work.
pub(crate) enum Session {
    Mem(mem::Mem),
    Mprotect(mprotect::Mprotect),
}

impl Session {
    /// Prepares to write in `text`. On an error nothing has changed.
    ///
    /// # Safety
    ///
    /// `text` must lie in the text of one module, and this be the process's only thread until the session
    /// has [finished](Self::finish).
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn start(writer: Writer, text: Range<usize>) -> Result<Self> {
        Ok(match writer {
            Writer::Mem => Self::Mem(mem::Mem::start(text)?),
            // SAFETY: as the caller vouches.
            Writer::Mprotect => Self::Mprotect(unsafe { mprotect::Mprotect::start(text) }?),
        })
    }

    /// Prepares for a site at `address`, before its code is looked at: a page that is mapped for reading is dearer to
    /// copy when it is written to.
    #[inline(always)]
    pub(crate) fn approach(&mut self, address: usize) {
        if let Self::Mprotect(mprotect) = self {
            mprotect.approach(address);
        }
    }

    /// Takes the new code for `address`; an error may be that of code taken before.
    ///
    /// # Safety
    ///
    /// The code must be right to execute there, and lie in the session's text.
    #[inline(never)]
    pub(crate) unsafe fn put(&mut self, address: usize, code: Code) -> Result<()> {
        match self {
            // SAFETY: as the caller vouches.
            Self::Mem(mem) => unsafe { mem.put(address, code) },
            // SAFETY: as the caller vouches.
            Self::Mprotect(mprotect) => unsafe { mprotect.put(address, code) },
        }
    }

    /// Makes all that was taken stand in the text.
    #[cold]
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self {
            Self::Mem(mem) => mem.flush(),
            Self::Mprotect(mprotect) => {
                mprotect.finish();
                Ok(())
            }
        }
    }

    /// Ends the session; an error if the text does not have the protection that it had before.
    pub(crate) fn close(&mut self) -> Result<()> {
        match self {
            Self::Mem(_) => Ok(()),
            Self::Mprotect(mprotect) => mprotect.close(),
        }
    }

    /// How many sites were written and read back as they should be.
    pub(crate) fn bound(&self) -> u32 {
        match self {
            Self::Mem(mem) => mem.bound,
            Self::Mprotect(mprotect) => mprotect.bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    /// Where the two were measured to meet; pages with sites, and all.
    #[test]
    fn mprotect_begins_where_it_is_the_cheaper() {
        use Writer::{Mem, Mprotect};
        let expected = [
            (1, 1, Mem),
            (5, 5, Mem),
            (6, 6, Mprotect),
            (6, 8, Mprotect),
            (6, 9, Mem),
            (31, 41, Mprotect),
            (31, 62, Mem),
            (32, 64, Mprotect),
            (32, 65, Mem),
            (1000, 2001, Mem),
        ];
        for (pages, text, writer) in expected {
            assert_eq!(choose(pages, text), writer, "{pages} of {text}");
        }
    }

    #[test]
    fn writers_by_bits() {
        let writers = |bits| Writer::from_bits(bits).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 4].map(writers), [vec![], vec![Writer::Mem], vec![Writer::Mprotect], vec![]]);
        assert_eq!(writers(255), [Writer::Mem, Writer::Mprotect]);
    }
}
