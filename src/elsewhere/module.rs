//! The keys of this program or library, in a list that their declarations make.
#![allow(unsafe_code)]

use crate::key::handle::IsKey;
use crate::key::state::{Numbered, RawProbe, State};
use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr};
use invar_arch::AtomicU64;

/// What a macro knows of the key that it declares.
#[derive(Debug)]
pub struct Declaration {
    state: *const State,
    /// Whether a number stands behind the state.
    is_numbered: bool,
    /// Its name, then each value's, each with a NUL behind it.
    names: &'static [u8],
    probe: RawProbe,
    values: u8,
    flags: u8,
    /// What was decided after it; while it is being decided, what was begun before it and is not decided either.
    next: AtomicPtr<Declaration>,
}

// SAFETY: the state can be shared, and so can all else.
unsafe impl Sync for Declaration {}

impl Declaration {
    /// Of this key.
    pub const fn new<K: IsKey>(key: &'static K, names: &'static [u8], values: u8, probe: RawProbe, flags: u8) -> Self {
        let (state, is_numbered) = (core::ptr::from_ref(key).cast(), K::IS_NUMBERED);
        Self { state, is_numbered, names, probe, values, flags, next: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// The key.
    pub(crate) fn key(&'static self) -> ModuleKey<'static> {
        let Self { names, probe, values, flags, .. } = *self;
        // SAFETY: keys and constants begin with their state (`repr(C)`), and this one is a static.
        let state = unsafe { &*self.state };
        ModuleKey { state, declaration: self, names, probe, values, flags }
    }
}

/// A key that is declared.
#[derive(Clone, Copy)]
pub(crate) struct ModuleKey<'a> {
    pub(crate) state: &'a State,
    pub(crate) probe: RawProbe,
    pub(crate) values: u8,
    pub(crate) flags: u8,
    declaration: &'static Declaration,
    names: &'a [u8],
}

impl<'a> ModuleKey<'a> {
    pub(crate) fn name(&self) -> &'a [u8] {
        name(self.names, 0)
    }

    pub(crate) fn value_name(&self, value: u8) -> &'a [u8] {
        name(self.names, value as usize + 1)
    }

    /// Name and value names, as one string.
    pub(crate) fn names(&self) -> &'a [u8] {
        self.names
    }

    /// Its number, if it is a constant.
    pub(crate) fn number(&self) -> Option<&'static AtomicU64> {
        let numbered = self.declaration.state.cast::<Numbered>();
        // SAFETY: it was declared as a static of this type.
        self.declaration.is_numbered.then(|| unsafe { &(*numbered).number })
    }

    pub(crate) fn same_as(&self, other: &ModuleKey<'_>) -> bool {
        self.names == other.names
    }
}

/// This program or library; no other is known.
pub(crate) struct Module<'a> {
    pub(crate) base: usize,
    /// No tool has moved anything that would matter.
    pub(crate) rewritten: bool,
    pub(crate) outcome: &'a Outcome,
}

/// What came of loading it.
pub(crate) struct Outcome {
    loaded: AtomicBool,
}

impl Outcome {
    /// Whether a constructor has run.
    pub(crate) fn loaded(&self) -> bool {
        self.loaded.load(Relaxed)
    }
}

static OUTCOME: Outcome = Outcome { loaded: AtomicBool::new(false) };
static FIRST: AtomicPtr<Declaration> = AtomicPtr::new(core::ptr::null_mut());
static LAST: AtomicPtr<Declaration> = AtomicPtr::new(core::ptr::null_mut());

/// Notes that a constructor runs.
pub(crate) fn note() {
    OUTCOME.loaded.store(true, Relaxed);
}

/// What is being decided, the last one first. Who looks has the lock ([`exclusively`]).
static BEGUN: AtomicPtr<Declaration> = AtomicPtr::new(core::ptr::null_mut());

/// Notes that a key is being decided. The caller has the lock.
pub(crate) fn begin(declaration: &'static Declaration) {
    declaration.next.store(BEGUN.load(Relaxed), Relaxed);
    BEGUN.store(core::ptr::from_ref(declaration).cast_mut(), Relaxed);
}

/// Calls `visit` with the keys that were begun since this one was, and with this one. The caller has the lock.
pub(crate) fn since(declaration: &'static Declaration, visit: &mut dyn FnMut(&ModuleKey<'_>)) {
    for begun in along(&BEGUN) {
        visit(&begun.key());
        if core::ptr::eq(begun, declaration) {
            return;
        }
    }
}

/// Puts a key that was being decided at the end of the list of those that are. The caller has the lock.
pub(crate) fn enlist(declaration: &'static Declaration) {
    let new = core::ptr::from_ref(declaration).cast_mut();
    let is_this = |link: &&AtomicPtr<Declaration>| core::ptr::eq(link.load(Relaxed), new);
    let mut links = core::iter::once(&BEGUN).chain(along(&BEGUN).map(|begun| &begun.next));
    if let Some(link) = links.find(is_this) {
        link.store(declaration.next.swap(core::ptr::null_mut(), Relaxed), Relaxed);
    }
    // SAFETY: only statics are in the list.
    match unsafe { LAST.swap(new, Relaxed).as_ref() } {
        Some(last) => last.next.store(new, Release),
        None => FIRST.store(new, Release),
    }
}

/// The declarations from this link on.
fn along(link: &AtomicPtr<Declaration>) -> impl Iterator<Item = &'static Declaration> {
    // SAFETY: only statics are in the lists.
    let next = |link: &AtomicPtr<Declaration>| unsafe { link.load(Acquire).as_ref() };
    core::iter::successors(next(link), move |declaration| next(&declaration.next))
}

impl Module<'_> {
    /// [`keys`].
    pub(crate) fn keys(&self) -> impl Iterator<Item = ModuleKey<'static>> + use<> {
        keys()
    }

    /// Those with such flags.
    pub(crate) fn keys_of(&self, these: u8, wanted: u8) -> impl Iterator<Item = ModuleKey<'static>> {
        keys().filter(move |key| key.flags & these == wanted)
    }

    /// The key with this state.
    pub(crate) fn key_at(&self, state: usize) -> Option<ModuleKey<'static>> {
        self.keys().find(|key| core::ptr::from_ref(key.state) as usize == state)
    }

    /// A key of this name that is wanted, and its position; looked for from `start` on.
    pub(crate) fn find_key(
        &self,
        name: &[u8],
        start: usize,
        wanted: &dyn Fn(&ModuleKey<'_>) -> bool,
    ) -> Option<(usize, ModuleKey<'static>)> {
        self.keys().enumerate().skip(start).find(|(_, key)| key.name() == name && wanted(key))
    }
}

/// The keys that are decided, in that order.
pub(crate) fn keys() -> impl Iterator<Item = ModuleKey<'static>> {
    along(&FIRST).map(Declaration::key)
}

/// This program or library.
pub(crate) fn own() -> Option<Module<'static>> {
    Some(Module { base: 0, rewritten: false, outcome: &OUTCOME })
}

/// Calls `visit` with it.
pub(crate) fn each(mut visit: impl FnMut(&Module<'_>)) {
    own().iter().for_each(&mut visit);
}

/// Nothing is known of others.
pub(crate) fn each_other(_: &mut dyn FnMut(&CStr, usize, u32)) {}

/// No loader can be asked: who sets a switch in a constructor waits for nobody here.
pub(crate) fn loader_rests() -> bool {
    true
}

/// Works while no other thread does. There is no system to wait by: `work` calls nobody else's code.
pub(crate) fn exclusively(work: &mut dyn FnMut()) {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    while TAKEN.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
        core::hint::spin_loop();
    }
    work();
    TAKEN.store(false, Release);
}

/// One of a key's names: its own, or behind that a value's.
pub(crate) fn name(names: &[u8], index: usize) -> &[u8] {
    names.split(|&byte| byte == 0).nth(index).unwrap_or(b"?")
}
