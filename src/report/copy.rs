//! A module as it was at one moment, copied while the loader's lock keeps it from going away. Who looks at the copy may
//! wait, print, load, unload and panic.
#![allow(unsafe_code)]

use crate::bind::{self, Reason, Resolver, SiteStatus};
use crate::key::state::Verdict;
use crate::module::{self, Module, ModuleKey};
use crate::sys::Scratch;
use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use invar_abi::{Site, flags};

/// The copy, in memory of its own: [`Head`], keys, sites, text.
pub(crate) struct Copied {
    memory: Scratch,
}

/// What there is once, and where the rest is.
pub(super) struct Head {
    /// What comes behind it in the loader's order.
    next: Option<Copied>,
    pub(super) base: usize,
    pub(super) loaded: bool,
    pub(super) reason: Option<Reason>,
    pub(super) writers: u8,
    pub(super) refusals: [u16; invar_abi::outcome::WRITERS],
    pub(super) bound: u32,
    pub(super) nanoseconds: u64,
    pub(super) invalid_keys: usize,
    keys: usize,
    sites: usize,
    path: usize,
}

pub(super) struct CopiedKey {
    /// `None` before it is sealed.
    pub(super) verdict: Option<Verdict>,
    pub(super) value: u8,
    /// Somebody has begun to decide it.
    pub(super) begun: bool,
    /// Its verdict has a number.
    pub(super) is_number: bool,
    /// It can be set again.
    pub(super) is_switch: bool,
    /// The first of several that say the same.
    pub(super) first: bool,
    state: usize,
    /// Its names, by their place in the text.
    names: usize,
    length: usize,
}

/// How reports hold one.
pub(super) type KeyOf<'a> = &'a CopiedKey;

#[derive(Clone, Copy)]
pub(super) struct Stands {
    pub(super) status: SiteStatus,
    /// Its record is of code that is there.
    pub(super) live: bool,
    /// The site, and its key by number.
    pub(super) found: Option<(Site, usize)>,
}

const KEYS: usize = size_of::<Head>().next_multiple_of(16);
const _: () = assert!(align_of::<Head>() <= 16 && align_of::<CopiedKey>() <= 8 && align_of::<Stands>() <= 8);

/// Calls `visit` with a copy of each module, all made at one moment. One for which there is no memory is left out.
pub(crate) fn each(mut visit: impl FnMut(&Copied)) {
    let mut last = None;
    module::each(|module| {
        if let Some(mut copied) = Copied::of(module) {
            copied.head_mut().next = last.take();
            last = Some(copied);
        }
    });
    let mut first = None;
    while let Some(mut copied) = last {
        last = copied.head_mut().next.take();
        copied.head_mut().next = first;
        first = Some(copied);
    }
    while let Some(mut copied) = first {
        first = copied.head_mut().next.take();
        visit(&copied);
    }
}

impl Copied {
    /// The copy, if there is memory for it.
    #[cold]
    #[inline(never)]
    pub(crate) fn of(module: &Module<'_>) -> Option<Self> {
        let (mut keys, mut names, sites) = (0, 0, module.sites.len());
        for key in module.keys() {
            (keys, names) = (keys + 1, names + key.names().len());
        }
        let path = module.path.to_bytes_with_nul();
        let text = KEYS + keys * size_of::<CopiedKey>() + sites * size_of::<Stands>();
        let mut copied = Self { memory: Scratch::new(text + path.len() + names).ok()? };
        let outcome = module.outcome;
        let head = Head {
            next: None,
            loaded: outcome.phase.load(Acquire) != 0,
            base: module.base,
            reason: bind::reason(module),
            writers: outcome.writers.load(Relaxed),
            refusals: outcome.refusals.each_ref().map(|refusal| refusal.load(Relaxed)),
            bound: outcome.bound.load(Relaxed),
            nanoseconds: outcome.nanoseconds.load(Relaxed),
            invalid_keys: module.invalid_keys(),
            keys,
            sites,
            path: path.len(),
        };
        copied.put(0, head);
        copied.put_text(text, path);
        copied.copy_keys(module, text + path.len());
        copied.copy_sites(module);
        Some(copied)
    }

    fn copy_keys(&mut self, module: &Module<'_>, mut names: usize) {
        for (number, key) in module.keys().enumerate() {
            let is_same = |other: &ModuleKey<'_>| other.same_as(&key) && other.state.outcome() == key.state.outcome();
            let first = module.keys().find(is_same).is_some_and(|first| core::ptr::eq(first.record, key.record));
            let copy = CopiedKey {
                verdict: key.state.verdict(),
                value: key.state.value(),
                begun: key.state.begun(),
                is_number: key.flags & flags::NUMBER != 0,
                is_switch: key.flags & flags::SWITCH != 0,
                first,
                state: core::ptr::from_ref(key.state) as usize,
                names,
                length: key.names().len(),
            };
            self.put(KEYS + number * size_of::<CopiedKey>(), copy);
            self.put_text(names, key.names());
            names += key.names().len();
        }
    }

    fn copy_sites(&mut self, module: &Module<'_>) {
        let mut resolver = Resolver::new(module);
        let mut last = None;
        for (number, record) in module.sites.iter().enumerate() {
            let (status, site) = bind::inspect(&mut resolver, record);
            let found = site.and_then(|site| {
                let is_its = |number: &usize| self.all_keys()[*number].state == site.state as usize;
                last = last.filter(is_its).or_else(|| (0..self.head().keys).find(is_its));
                Some((site, last?))
            });
            self.put(
                KEYS + self.head().keys * size_of::<CopiedKey>() + number * size_of::<Stands>(),
                Stands { status, live: module.is_live(record), found },
            );
        }
    }

    /// Puts a value where it belongs; nothing outside the memory.
    fn put<T>(&mut self, at: usize, value: T) {
        if let Some(place) = self.memory.bytes().get_mut(at..at + size_of::<T>()) {
            // SAFETY: in bounds and aligned: memory of whole pages, and all places are multiples of the type's alignment.
            unsafe { place.as_mut_ptr().cast::<T>().write(value) };
        }
    }

    fn put_text(&mut self, at: usize, text: &[u8]) {
        if let Some(place) = self.memory.bytes().get_mut(at..at + text.len()) {
            place.copy_from_slice(text);
        }
    }

    /// # Safety
    ///
    /// So many values of this type must have been put there, one behind the other.
    unsafe fn array<T>(&self, at: usize, count: usize) -> &[T] {
        // SAFETY: as the caller vouches; nothing is put there again while it is borrowed.
        unsafe { core::slice::from_raw_parts((self.memory.address() + at) as *const T, count) }
    }

    pub(super) fn head(&self) -> &Head {
        // SAFETY: put there at once.
        unsafe { &*(self.memory.address() as *const Head) }
    }

    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: put there at once; borrowed from the one who has the copy.
        unsafe { &mut *(self.memory.address() as *mut Head) }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = KeyOf<'_>> {
        self.all_keys().iter()
    }

    pub(super) fn key(&self, number: usize) -> KeyOf<'_> {
        &self.all_keys()[number]
    }

    fn all_keys(&self) -> &[CopiedKey] {
        // SAFETY: put there before they are looked at.
        unsafe { self.array(KEYS, self.head().keys) }
    }

    pub(super) fn sites(&self) -> &[Stands] {
        // SAFETY: put there before they are looked at.
        unsafe { self.array(KEYS + self.head().keys * size_of::<CopiedKey>(), self.head().sites) }
    }

    fn text(&self, at: usize, length: usize) -> &[u8] {
        // SAFETY: bytes, of memory that is zero at first.
        unsafe { self.array(at, length) }
    }

    pub(super) fn path(&self) -> &CStr {
        CStr::from_bytes_with_nul(self.path_with_nul()).unwrap_or(c"?")
    }

    /// The same without a look for its end, which takes much code.
    pub(super) fn path_bytes(&self) -> &[u8] {
        self.path_with_nul().split_last().map_or(&[], |(_, path)| path)
    }

    fn path_with_nul(&self) -> &[u8] {
        let at = KEYS + self.head().keys * size_of::<CopiedKey>() + self.head().sites * size_of::<Stands>();
        self.text(at, self.head().path)
    }

    /// The name of a key, 0, and those of its values.
    pub(super) fn name(&self, key: &CopiedKey, number: usize) -> &[u8] {
        module::name(self.text(key.names, key.length), number)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // What is in our memory and has some of its own.
        drop(self.head_mut().next.take());
    }
}
