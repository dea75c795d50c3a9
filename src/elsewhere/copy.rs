//! What the report shows: the keys that are decided.

use crate::bind::{Reason, SiteStatus};
use crate::key::state::Verdict;
use crate::module::{self, Module, ModuleKey};
use core::ffi::CStr;
use invar_abi::{Site, flags};

/// This program or library.
pub(crate) struct Copied {
    head: Head,
}

/// What there is once.
pub(super) struct Head {
    pub(super) base: usize,
    pub(super) loaded: bool,
    pub(super) reason: Option<Reason>,
    pub(super) writers: u8,
    pub(super) refusals: [u16; invar_abi::outcome::WRITERS],
    pub(super) bound: u32,
    pub(super) nanoseconds: u64,
    pub(super) invalid_keys: usize,
}

/// One key, as it was when it was looked at.
#[derive(Clone, Copy)]
pub(super) struct CopiedKey {
    pub(super) verdict: Option<Verdict>,
    pub(super) value: u8,
    pub(super) begun: bool,
    pub(super) is_number: bool,
    pub(super) is_switch: bool,
    /// The first of several that say the same.
    pub(super) first: bool,
    names: &'static [u8],
}

/// How reports hold one: there is no memory for a copy of all.
pub(super) type KeyOf<'a> = CopiedKey;

/// Of a site; there are none.
#[derive(Clone, Copy)]
pub(super) struct Stands {
    pub(super) status: SiteStatus,
    pub(super) live: bool,
    pub(super) found: Option<(Site, usize)>,
}

/// Calls `visit` once.
pub(crate) fn each(mut visit: impl FnMut(&Copied)) {
    module::each(|module| visit(&Copied::of(module)));
}

impl Copied {
    fn of(module: &Module<'_>) -> Self {
        let head = Head {
            base: module.base,
            loaded: module.outcome.loaded(),
            reason: Some(Reason::Architecture),
            writers: 0,
            refusals: [0; invar_abi::outcome::WRITERS],
            bound: 0,
            nanoseconds: 0,
            invalid_keys: 0,
        };
        Self { head }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = CopiedKey> + use<> {
        module::keys().map(|key| CopiedKey::of(&key))
    }

    pub(super) fn key(&self, _number: usize) -> KeyOf<'_> {
        unreachable!("no site has a key")
    }

    pub(super) fn sites(&self) -> &[Stands] {
        &[]
    }

    pub(super) fn path(&self) -> &CStr {
        c""
    }

    pub(super) fn path_bytes(&self) -> &[u8] {
        &[]
    }

    /// The name of a key, 0, and those of its values.
    pub(super) fn name(&self, key: KeyOf<'_>, number: usize) -> &'static [u8] {
        module::name(key.names, number)
    }
}

impl CopiedKey {
    fn of(key: &ModuleKey<'static>) -> Self {
        let is_same = |other: &ModuleKey<'_>| other.same_as(key) && other.state.outcome() == key.state.outcome();
        Self {
            verdict: key.state.verdict(),
            value: key.state.value(),
            begun: true,
            is_number: key.flags & flags::NUMBER != 0,
            is_switch: key.flags & flags::SWITCH != 0,
            first: module::keys().find(is_same).is_some_and(|first| core::ptr::eq(first.state, key.state)),
            names: key.names(),
        }
    }
}
