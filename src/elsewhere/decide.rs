//! Deciding keys where constructors are all that a system has: each key by its own constructor, or before that by the first who asks.
//!
//! Nobody can tell threads apart here, nor wait for one. So a key that is asked for while it is being decided has its first value
//! from then on, and fails, with all whose decision was begun after it: they are a cycle, unless another thread has asked.
#![allow(unsafe_code)]

use crate::key::record::Declared;
use crate::key::state::{State, Verdict};
use crate::module::{self, Declaration, ModuleKey};
use invar_abi::{KeyRecord, Origin, flags};

/// What a key's constructor calls.
#[cold]
pub fn load(declared: Declared) {
    module::note();
    if let Some(declaration) = declared.0 {
        decide(declaration);
    }
}

/// The value of a key that was asked for before it was decided: it is decided now.
#[cold]
#[inline(never)]
pub(crate) fn demand(state: &State, declared: Declared) -> u8 {
    if let Some(declaration) = declared.0 {
        decide(declaration);
    }
    state.value()
}

/// The verdict of a key, which is decided now if it was not.
pub(crate) fn verdict(state: &State, declared: Declared) -> Option<Verdict> {
    if !state.decided() {
        demand(state, declared);
    }
    state.verdict()
}

/// Decides and seals a key, if nobody has begun to.
fn decide(declaration: &'static Declaration) {
    let key = declaration.key();
    let mut begun = false;
    module::exclusively(&mut || {
        begun = key.state.begin(1, 1);
        if begun {
            module::begin(declaration);
        } else if key.state.is_being_decided() {
            module::since(declaration, &mut |key| _ = key.state.give_up());
        }
    });
    if !begun {
        return;
    }
    let mut verdict = Verdict::undecided();
    let is_shared = key.flags & (flags::PROVES | flags::SYMBOL) == 0;
    let mut is_adopted = false;
    if is_shared {
        module::exclusively(&mut || is_adopted = adopt(&key, &mut verdict));
    }
    if !is_adopted {
        probe(&key, &mut verdict);
    }
    module::exclusively(&mut || {
        if is_shared && !is_adopted {
            adopt(&key, &mut verdict);
        }
        if key.state.settle() && verdict.value != 0 {
            fail(
                &mut verdict,
                "a cycle: its probe asks for it, or for a key whose probe does; or another thread asked meanwhile",
            );
        }
        if let Some(number) = key.number() {
            // Where nobody decided, it is the one that it was declared with.
            if verdict.value == 0 && !verdict.is_copy() {
                verdict.data = number.load(core::sync::atomic::Ordering::Relaxed);
            }
            number.store(verdict.data, core::sync::atomic::Ordering::Release);
        }
        key.state.seal(&verdict);
        module::enlist(declaration);
    });
}

/// Takes over the verdict of another key of this name, if there is one: a name has one verdict. A key with other values fails.
fn adopt(ours: &ModuleKey<'_>, verdict: &mut Verdict) -> bool {
    let is_other = |theirs: &ModuleKey<'_>| theirs.flags & flags::SYMBOL == 0 && theirs.state.decided();
    let Some((_, twin)) = module::own().and_then(|own| own.find_key(ours.name(), 0, &is_other)) else { return false };
    if (ours.flags ^ twin.flags) & !flags::PROVES != 0 {
        fail(verdict, "a key of this name and another sort has been decided");
    } else if !ours.same_as(&twin) {
        fail(verdict, "a key of this name with other values has been decided");
    } else {
        twin.state.copy(verdict);
    }
    true
}

/// What a key's probe says.
#[cold]
pub(crate) fn probe(key: &ModuleKey<'_>, verdict: &mut Verdict) {
    static NO_RECORD: KeyRecord = KeyRecord::decode(&[0; KeyRecord::LENGTH]);
    verdict.start(0, Origin::Probe);
    (key.probe)(verdict, &NO_RECORD);
    if verdict.value >= key.values {
        fail(verdict, "the probe's value is none that the key has");
    } else if verdict.origin() != Origin::Probe {
        verdict.value = 0;
    }
}

fn fail(verdict: &mut Verdict, reason: &str) {
    verdict.start(0, Origin::Failed);
    verdict.evidence.text(reason);
}

/// Has a word of a pointer's static lead to a function.
///
/// # Safety
///
/// The slot must be a [`Pointer`](crate::Pointer) in a static, of the function's type.
pub unsafe fn lead(slot: *const u8, function: *const ()) {
    // SAFETY: as the caller vouches: a word in a cell. Whoever loads it meanwhile finds one function of this type or another.
    let word = unsafe { &*slot.cast::<core::sync::atomic::AtomicPtr<()>>() };
    word.store(function.cast_mut(), core::sync::atomic::Ordering::Release);
}
