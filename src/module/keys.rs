//! Keys of modules, as their records say.
#![allow(unsafe_code)]

use crate::key::state::{Numbered, RawProbe, State};
use core::sync::atomic::AtomicU64;
use invar_abi::{KeyRecord, flags};

/// A key of a module, every distance worked out and found to lie in the module.
#[derive(Clone, Copy)]
pub(crate) struct ModuleKey<'a> {
    pub(crate) state: &'a State,
    /// `None` in a module that was rewritten: nobody knows where it is.
    pub(crate) probe: Option<RawProbe>,
    pub(crate) record: &'a KeyRecord,
    pub(crate) values: u8,
    pub(crate) flags: u8,
    /// Its name, then each value's, each with a NUL behind it.
    pub(crate) names: &'a [u8],
}

impl<'a> ModuleKey<'a> {
    pub(crate) fn name(&self) -> &'a [u8] {
        self.text(0)
    }

    /// The name of one of the key's values.
    pub(crate) fn value_name(&self, value: u8) -> &'a [u8] {
        self.text(value as usize + 1)
    }

    /// Name and value names, as one string.
    pub(crate) fn names(&self) -> &'a [u8] {
        self.names
    }

    /// Its number, if it is a constant.
    pub(crate) fn number(&self) -> Option<&'a AtomicU64> {
        let numbered = core::ptr::from_ref(self.state) as usize as *const Numbered;
        // SAFETY: of a key with this flag, the number behind the state was found to be there.
        (self.flags & flags::NUMBER != 0).then(|| unsafe { &(*numbered).number })
    }

    /// Whether all names are the same.
    pub(crate) fn same_as(&self, other: &ModuleKey<'_>) -> bool {
        self.names == other.names
    }

    fn text(&self, index: usize) -> &'a [u8] {
        name(self.names, index)
    }
}

/// One of a key's names: its own, or behind that a value's.
#[inline(never)]
pub(crate) fn name(names: &[u8], index: usize) -> &[u8] {
    let (mut start, mut left) = (0, index);
    for (end, &byte) in names.iter().enumerate() {
        if byte == 0 {
            if left == 0 {
                return names.get(start..end).unwrap_or(b"?");
            }
            (start, left) = (end + 1, left - 1);
        }
    }
    b"?"
}
