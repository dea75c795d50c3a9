//! Verdicts that are there already: of keys of the same name, in this module or in others.

use super::seal::seal;
use super::slice::{force, is_slice_key};
use crate::key::state::Verdict;
use crate::module::{self, Alone, Module, ModuleKey};
use crate::timeslice::{self, Requests};
use invar_abi::{Origin, flags};

/// Takes over what other modules have decided for keys of the same name, and seals it. Signals wait.
#[inline(always)] // called once
pub(super) fn adopt(own: &Module<'_>, thread: u64, verdict: &mut Verdict) {
    module::each(|other| {
        if other.base == own.base {
            return;
        }
        // Copies of the runtime have their keys in one order: the next is likely to be found where the last one was.
        let mut place = 0;
        // Slice sites depend on the time slice key, and where others may as well it is to say first where requests go: these
        // are adopted when it is their turn (`agree`).
        let is_early = |ours: &ModuleKey<'_>| {
            let later = flags::PROVES | flags::SYMBOL | if is_slice_key(ours) { 0 } else { flags::SLICE };
            ours.flags & later == 0
        };
        for ours in own.keys().filter(is_early) {
            let Some((at, theirs)) = sealed(other, &ours, place) else { continue };
            place = at + 1;
            if !ours.state.begun() && ours.state.begin(thread, 1) {
                adopt_key(&ours, &theirs, verdict);
                seal(own, &ours, verdict);
            }
        }
    });
}

/// Whether all keys of its name have one verdict. Facts of safety, and what became of symbols, are each module's own.
pub(super) fn is_shared(key: &ModuleKey<'_>) -> bool {
    key.flags & (flags::PROVES | flags::SYMBOL) == 0
}

/// What a key is by another of its name that is sealed, in our module or else in the first of the others that has one; `false` if none
/// is.
#[cold]
#[inline(never)]
pub(super) fn adopt_sealed(
    own: &Module<'_>,
    alone: Option<&Alone<'_>>,
    key: &ModuleKey<'_>,
    verdict: &mut Verdict,
) -> bool {
    if let Some(twin) = sealed_twin(own, key) {
        let _ = adopt_twin(key, &twin, verdict);
        return true;
    }
    let mut adopted = false;
    module::each_among(alone, |other| {
        if !adopted
            && other.base != own.base
            && let Some((_, theirs)) = sealed(other, key, 0)
        {
            adopted = true;
            adopt_key(key, &theirs, verdict);
        }
    });
    adopted
}

/// A sealed key of this name in a module, and its position; looked for from `start` on. For the runtime's own keys only those
/// of their sort have their name, and what tells of a symbol has nobody's: functions and keys are named by different people.
#[cold]
fn sealed<'a>(other: &Module<'a>, ours: &ModuleKey<'_>, start: usize) -> Option<(usize, ModuleKey<'a>)> {
    other.find_key(ours.name(), start, &|theirs| {
        theirs.state.decided()
            && ((ours.flags | theirs.flags) & (flags::OWN | flags::SYMBOL) == 0 || are_of_a_sort(ours, theirs))
    })
}

/// Another key of this name in our own module. A time slice key in C that only lacked libinvar's probe does not count.
#[cold]
pub(super) fn sealed_twin<'a>(own: &Module<'a>, key: &ModuleKey<'_>) -> Option<ModuleKey<'a>> {
    let (_, twin) = sealed(own, key, 0)?;
    let failed = twin.state.outcome().is_some_and(|(_, origin)| Origin::from_byte(origin) == Origin::Failed);
    (!failed || !is_slice_key(key)).then_some(twin)
}

/// Whether two keys of one name can be one key: their flags say the same, but for what each module proves on its own.
fn are_of_a_sort(ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>) -> bool {
    (ours.flags ^ theirs.flags) & !flags::PROVES == 0
}

/// The same for a key that proves something. Our own probe has decided it, since our code would execute what the value stands
/// for. A verdict that is higher is not taken.
#[cold]
pub(super) fn adopt_lower(own: &Module<'_>, ours: &ModuleKey<'_>, verdict: &mut Verdict) {
    module::each(|other| {
        let is_own = other.base == own.base;
        match sealed(other, ours, 0).filter(|(_, theirs)| theirs.state.value() <= verdict.value) {
            // Two that say the same stay two that have been probed.
            Some((_, twin)) if is_own && twin.state.value() == verdict.value && ours.same_as(&twin) => {}
            Some((_, twin)) if is_own => _ = adopt_twin(ours, &twin, verdict),
            Some((_, theirs)) => adopt_key(ours, &theirs, verdict),
            None => {}
        }
    });
}

/// What another module's verdict means for a key of ours.
#[cold]
pub(super) fn adopt_key(ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>, verdict: &mut Verdict) {
    const NONE: &str = "another module's verdict is none";
    if !adopt_twin(ours, theirs, verdict) {
        return;
    }
    match verdict.origin() {
        // Forced memory may be the program's own, or its libc's: each module finds what is there.
        Origin::Forced if is_slice_key(ours) => force(verdict),
        Origin::Forced => verdict.fail(NONE),
        Origin::Failed if verdict.value != 0 => verdict.fail(NONE),
        _ if is_slice_key(ours)
            && verdict.value != 0
            && timeslice::memory_for(Requests::Adopted(verdict.data)).is_none() =>
        {
            verdict.fail("another module says that requests go where this process has no area");
        }
        _ => verdict.origin = Origin::Adopted as u8,
    }
}

/// The same for a key of our own module: both have one verdict. `false` if they cannot.
#[cold]
pub(super) fn adopt_twin(ours: &ModuleKey<'_>, twin: &ModuleKey<'_>, verdict: &mut Verdict) -> bool {
    if !are_of_a_sort(ours, twin) {
        verdict.fail("a key of this name and another sort has been decided");
    } else if !ours.same_as(twin) || twin.state.value() >= ours.values {
        verdict.fail("a key of this name with other values has been decided");
    } else {
        return twin.state.copy(verdict);
    }
    false
}
