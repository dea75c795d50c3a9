//! Writers: the ways to change bytes in executable pages.
//!
//! A writer opens one span of neighbouring pages at a time, takes new code for the sites in it, and closes it.
//! Which one a commit begins with is [`choose`]'s answer; where a writer is refused, the other takes its place.
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

    /// The longest span of whole pages that the writer takes at once.
    pub(crate) fn span_bytes(self) -> usize {
        match self {
            Self::Mem => mem::SPAN,
            Self::Mprotect => usize::MAX,
        }
    }
}

/// The writer for `pages` pages that stand in `runs` runs of neighbours.
///
/// One run costs mprotect two system calls and a look at the maps, however many pages it has; mem costs one
/// system call and two copies for each span, and less than mprotect's fixed cost while there are few pages.
pub(crate) fn choose(pages: usize, runs: usize) -> Writer {
    const PAGES_A_RUN: usize = 16;
    if pages >= PAGES_A_RUN * runs.max(1) { Writer::Mprotect } else { Writer::Mem }
}

/// A writer at work.
pub(crate) enum Session {
    Mem(mem::Mem),
    Mprotect(mprotect::Mprotect),
}

impl Session {
    pub(crate) fn start(writer: Writer) -> Result<Self> {
        Ok(match writer {
            Writer::Mem => Self::Mem(mem::Mem::start()?),
            Writer::Mprotect => Self::Mprotect(mprotect::Mprotect::start()),
        })
    }

    /// Prepares to write in `span`. On an error nothing has changed.
    ///
    /// # Safety
    ///
    /// `span` must be whole pages of one module's readable text, and this the process's only thread until
    /// [`close`](Self::close) has returned.
    pub(crate) unsafe fn open(&mut self, span: Range<usize>) -> Result<()> {
        match self {
            Self::Mem(mem) => mem.open(span),
            // SAFETY: as the caller vouches.
            Self::Mprotect(mprotect) => unsafe { mprotect.open(span) },
        }
    }

    /// Takes the new code for `address`, which begins in the open span.
    ///
    /// # Safety
    ///
    /// A span must be open, and this code must be right to execute there.
    pub(crate) unsafe fn put(&mut self, address: usize, code: Code) {
        match self {
            // SAFETY: as the caller vouches.
            Self::Mem(mem) => unsafe { mem.put(address, code) },
            // SAFETY: as the caller vouches.
            Self::Mprotect(mprotect) => unsafe { mprotect.put(address, code) },
        }
    }

    /// Makes what was taken stand in the text, and reads it back: whether all of it does.
    pub(crate) fn close(&mut self) -> Result<bool> {
        match self {
            Self::Mem(mem) => mem.close(),
            Self::Mprotect(mprotect) => mprotect.close(),
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
