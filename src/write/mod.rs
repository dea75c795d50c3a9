//! Writers: the ways to change bytes in executable pages.
//!
//! A writer opens one span of neighbouring pages at a time, takes new code for the sites in it, and closes it.
//! Which one a commit begins with is [`choose`]'s answer; where a writer is refused, the other takes its place.
#![allow(unsafe_code)]

mod mem;
mod mprotect;

use crate::sys::{Errno, Result, Scratch};
use core::ops::Range;

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
    /// `span` must be loaded, readable text of one module, and this the process's only thread until
    /// [`close`](Self::close) has returned.
    pub(crate) unsafe fn open(&mut self, span: Range<usize>) -> Result<()> {
        match self {
            // SAFETY: as the caller vouches.
            Self::Mem(mem) => unsafe { mem.open(span) },
            // SAFETY: as the caller vouches.
            Self::Mprotect(mprotect) => unsafe { mprotect.open(span) },
        }
    }

    /// Takes the new bytes for `address`, which lie whole in the open span.
    ///
    /// # Safety
    ///
    /// A span must be open, and these bytes must be right to execute there.
    pub(crate) unsafe fn put(&mut self, address: usize, code: &[u8]) {
        match self {
            Self::Mem(mem) => mem.put(address, code),
            // SAFETY: as the caller vouches.
            Self::Mprotect(mprotect) => unsafe { mprotect.put(address, code) },
        }
    }

    /// Makes what was taken stand in the text. Whether it does is the caller's to read back.
    pub(crate) fn close(&mut self) -> Result<()> {
        match self {
            Self::Mem(mem) => mem.close(),
            Self::Mprotect(mprotect) => mprotect.close(),
        }
    }
}
