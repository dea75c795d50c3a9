//! The ways to exchange text, by name, and why one may be refused.

use super::status::Reason;
use crate::sys::Errno;
#[cfg(feature = "switch")]
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A way to exchange text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Writer {
    /// A private copy of the file's pages takes the place of the text. The mapping stays the file's, so that perf, gdb and uprobes
    /// keep working. Refused where memory that was writable must not become executable: under `PR_SET_MDWE`, and by
    /// seccomp filters.
    Swap = invar_abi::outcome::writer::SWAP,
    /// Pages of a sealed memfd with the same bytes take the place of the text. Only where nobody has changed the text: a uprobe does
    /// not survive in other memory than its file's.
    Memfd = invar_abi::outcome::writer::MEMFD,
    /// `mprotect`: the text is writable for a moment. Only while the process has one thread.
    Mprotect = invar_abi::outcome::writer::MPROTECT,
}

impl Writer {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 3] = [Self::Swap, Self::Memfd, Self::Mprotect];

    /// One word, as settings and reports use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Memfd => "memfd",
            Self::Mprotect => "mprotect",
        }
    }

    /// The writers that a module's outcome gives as bits (`docs/site-abi.md`).
    pub fn from_bits(bits: u8) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |writer| bits & *writer as u8 != 0)
    }
}

/// Which writers the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Any,
    Only(Writer),
    None,
}

impl Wish {
    pub(super) fn allows(self, writer: Writer) -> bool {
        self == Self::Any || self == Self::Only(writer)
    }
}

/// The writers that sets may use, as bits: what the settings allowed when the module of this copy of the runtime was loaded. A program may
/// change its environment later, and nobody may read that meanwhile.
#[cfg(feature = "switch")]
static ALLOWED: AtomicU8 = AtomicU8::new(u8::MAX);

#[cfg(feature = "switch")]
impl Wish {
    /// Has sets heed it.
    #[cold]
    pub(crate) fn keep(self) {
        let bits = Writer::ALL.map(|writer| if self.allows(writer) { writer as u8 } else { 0 });
        ALLOWED.store(bits.into_iter().fold(0, |all, bit| all | bit), Relaxed);
    }

    /// What was kept.
    #[cold]
    pub(crate) fn kept() -> Self {
        let mut allowed = Writer::from_bits(ALLOWED.load(Relaxed));
        match (allowed.next(), allowed.next()) {
            (Some(writer), None) => Self::Only(writer),
            (None, _) => Self::None,
            _ => Self::Any,
        }
    }
}

/// A writer that the kernel refused.
impl From<Errno> for Reason {
    fn from(Errno(errno): Errno) -> Self {
        Self::Refused(errno)
    }
}

/// What came of asking the writers.
#[derive(Default)]
pub(super) struct Ledger {
    /// The bits of those that were used.
    pub(super) used: u8,
    /// Why the others were refused, or for some of the text.
    pub(super) refusals: [Option<Reason>; Writer::ALL.len()],
}

impl Ledger {
    pub(super) fn refuse(&mut self, writer: Writer, why: Reason) {
        self.refusals[(writer as u8).trailing_zeros() as usize % Writer::ALL.len()] = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn writers_by_bits() {
        let writers = |bits| Writer::from_bits(bits).collect::<Vec<_>>();
        assert_eq!(
            [0, 1, 2, 4, 8].map(writers),
            [vec![], vec![Writer::Swap], vec![Writer::Memfd], vec![Writer::Mprotect], vec![]]
        );
        assert_eq!(writers(255), Writer::ALL);
    }

    #[test]
    fn a_wish_allows_all_or_one() {
        let allowed = |wish: Wish| Writer::ALL.map(|writer| wish.allows(writer));
        assert_eq!(allowed(Wish::Any), [true; 3]);
        assert_eq!(allowed(Wish::Only(Writer::Memfd)), [false, true, false]);
        assert_eq!(allowed(Wish::None), [false; 3]);
    }

    #[cfg(feature = "switch")]
    #[test]
    fn sets_heed_what_was_allowed() {
        assert_eq!(Wish::kept(), Wish::Any, "no setting says more");
        for wish in [Wish::None, Wish::Only(Writer::Swap), Wish::Only(Writer::Memfd), Wish::Only(Writer::Mprotect)] {
            wish.keep();
            assert_eq!(Wish::kept(), wish);
        }
        Wish::Any.keep();
        assert_eq!(Wish::kept(), Wish::Any);
    }

    #[test]
    fn refusals_stand_in_the_order_of_the_bits() {
        let mut ledger = Ledger::default();
        ledger.refuse(Writer::Mprotect, Reason::Shared);
        ledger.refuse(Writer::Swap, Reason::Changed);
        assert_eq!(ledger.refusals, [Some(Reason::Changed), None, Some(Reason::Shared)]);
        ledger.refuse(Writer::Memfd, Reason::Refused(1));
        ledger.refuse(Writer::Swap, Reason::OtherFile);
        assert_eq!(ledger.refusals, [Some(Reason::OtherFile), Some(Reason::Refused(1)), Some(Reason::Shared)]);
    }
}
