//! Writers: the ways to change bytes in executable pages.
//!
//! A session takes the new code of one site after another. [`choose`] says which writer a commit begins with; where
//! that one is refused, the other takes its place.
#![allow(unsafe_code)]

mod mem;
mod mprotect;

use crate::sys::{Errno, Result, Scratch};
use core::ops::Range;
use invar_arch::Code;

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

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Mem => Self::Mprotect,
            Self::Mprotect => Self::Mem,
        }
    }
}

/// The writer to begin with, for a text of `text` pages of which `pages` have sites.
///
/// mprotect has a price for the whole text, whatever is written: two system calls, a look at the maps, and a copy of
/// each page. mem has one for each run of pages with sites: a system call, and copies of what is written. They meet at
/// about eight pages in one run; where sites are scattered, mem is always cheaper.
pub(crate) fn choose(pages: usize, text: usize) -> Writer {
    if pages >= 8 && 2 * pages >= text { Writer::Mprotect } else { Writer::Mem }
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
    /// `text` must lie in the readable text of one module, and this be the process's only thread until the session
    /// has [finished](Self::finish).
    pub(crate) unsafe fn start(writer: Writer, text: Range<usize>) -> Result<Self> {
        Ok(match writer {
            Writer::Mem => Self::Mem(mem::Mem::start(text)?),
            // SAFETY: as the caller vouches.
            Writer::Mprotect => Self::Mprotect(unsafe { mprotect::Mprotect::start(text) }?),
        })
    }

    /// Takes the new code for `address`; an error may be that of code taken before.
    ///
    /// # Safety
    ///
    /// The code must be right to execute there, and lie in the session's text.
    #[inline]
    pub(crate) unsafe fn put(&mut self, address: usize, code: Code) -> Result<()> {
        match self {
            // SAFETY: as the caller vouches.
            Self::Mem(mem) => unsafe { mem.put(address, code) },
            // SAFETY: as the caller vouches.
            Self::Mprotect(mprotect) => unsafe { mprotect.put(address, code) },
        }
    }

    /// Makes all that was taken stand in the text, and ends the session.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self {
            Self::Mem(mem) => mem.flush(),
            Self::Mprotect(mprotect) => mprotect.finish(),
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

/// Stores code in two moves, without a call: they overlap where it is shorter than 16 bytes.
///
/// # Safety
///
/// `to` must be writable for the code's length.
#[inline(always)]
unsafe fn store(to: *mut u8, code: Code) {
    let (first, last, behind) = halves(code);
    // SAFETY: both lie in the code's length.
    unsafe {
        to.cast::<[u8; 8]>().write(first);
        to.add(behind).cast::<[u8; 8]>().write(last);
    }
}

/// Whether code stands there.
///
/// # Safety
///
/// `at` must be readable for the code's length.
#[inline(always)]
unsafe fn stands(at: *const u8, code: Code) -> bool {
    let (first, last, behind) = halves(code);
    // SAFETY: both lie in the code's length. Volatile, so that it is the memory that answers.
    unsafe {
        at.cast::<u64>().read_volatile() == u64::from_ne_bytes(first)
            && at.add(behind).cast::<u64>().read_volatile() == u64::from_ne_bytes(last)
    }
}

/// The code's first eight bytes, its last eight, and where those begin. No site is shorter.
#[inline(always)]
fn halves(code: Code) -> ([u8; 8], [u8; 8], usize) {
    let behind = code.len().saturating_sub(8).min(8);
    let bits = u128::from_le_bytes(code.padded());
    ((bits as u64).to_le_bytes(), ((bits >> (8 * behind)) as u64).to_le_bytes(), behind)
}
