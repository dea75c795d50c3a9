//! What nobody has decided yet: a setting or the key's probe says it.
#![allow(unsafe_code)]

use super::slice::{SLICES, force, is_slice_key};
use crate::key::state::{Verdict, is_reserved};
use crate::module::{self, Module, ModuleKey};
use crate::settings::{Mode, Settings};
use crate::text::number as decimal;
use crate::timeslice;
use invar_abi::{Origin, flags};

/// Decides a key that nobody decided before.
#[cold]
pub(super) fn choose(
    own: &Module<'_>,
    has_others: bool,
    settings: &Settings,
    key: &ModuleKey<'_>,
    verdict: &mut Verdict,
) {
    if key.flags & flags::SYMBOL != 0 {
        return probe(key, verdict);
    }
    if key.flags & flags::OWN == 0 && is_reserved(key.name()) {
        return verdict.fail("only a key of invar's own can have this name");
    }
    let wanted = settings.key(key.name());
    if key.flags & flags::NUMBER != 0 && settings.mode != Mode::Off {
        probe(key, verdict);
        return wanted.map_or((), |wanted| lower(wanted, verdict));
    }
    let value = wanted.and_then(|wanted| (0..key.values).find(|&value| key.value_name(value) == wanted));
    // The first value needs nothing, so there is nothing to probe.
    if settings.mode == Mode::Off || value == Some(0) {
        verdict.start(0, Origin::Setting);
        verdict.evidence.text(if settings.mode == Mode::Off { "INVAR=off" } else { "INVAR_KEYS" });
        return;
    }
    if SLICES && wanted == Some(b"force") && is_slice_key(key) {
        return force(verdict);
    }
    probe_by_program(own, has_others, key, verdict);
    match (wanted, value) {
        (None, _) => {}
        (_, Some(value)) if value < verdict.value => {
            verdict.value = value;
            verdict.origin = Origin::Setting as u8;
            verdict.evidence.text("; lowered by INVAR_KEYS");
        }
        (_, Some(value)) if value == verdict.value => {}
        (_, Some(_)) => _ = verdict.evidence.text("; INVAR_KEYS asks for more than the probe allows"),
        (_, None) => _ = verdict.evidence.text("; INVAR_KEYS names a value that this key does not have"),
    }
    if SLICES && settings.guard && verdict.value != 0 && is_slice_key(key) {
        timeslice::guard_at_load(&mut verdict.evidence);
    }
}

/// Lowers a constant to the number that a setting has for it, if the probe found a higher one.
#[cold]
fn lower(wanted: &[u8], verdict: &mut Verdict) {
    let why = match decimal(wanted) {
        None => "; INVAR_KEYS has no number for it",
        Some(_) if verdict.value == 0 => return,
        Some(number) if number < verdict.data => {
            verdict.data = number;
            verdict.origin = Origin::Setting as u8;
            "; lowered by INVAR_KEYS"
        }
        Some(number) if number == verdict.data => return,
        Some(_) => "; INVAR_KEYS asks for more than the probe allows",
    };
    verdict.evidence.text(why);
}

/// Probes the time slice key of a library by the program's probe, if it has one that can tell: constructors of libraries that
/// a program was linked with run before its own, and only the program, which is never unloaded, can register an area.
#[cold]
pub(super) fn probe_by_program(own: &Module<'_>, has_others: bool, key: &ModuleKey<'_>, verdict: &mut Verdict) {
    if SLICES && is_slice_key(key) && has_others && !own.is_program() {
        // SAFETY: the program stays loaded.
        let program = unsafe { module::find(|module| module.is_program()) };
        if let Some(theirs) = program.as_ref().and_then(|program| program.keys().find(is_slice_key)) {
            probe(&theirs, verdict);
            if verdict.origin() != Origin::Failed {
                return;
            }
        }
    }
    probe(key, verdict);
}

/// What a key's probe says.
#[cold]
pub(crate) fn probe(key: &ModuleKey<'_>, verdict: &mut Verdict) {
    let Some(probe) = key.probe else {
        return verdict.fail("a tool has moved the module's code after it was linked, and with it the probe");
    };
    verdict.start(0, Origin::Probe);
    probe(verdict, key.record);
    // A probe in another language may answer anything.
    verdict.evidence.limit();
    verdict.disown();
    if verdict.value >= key.values {
        verdict.fail("the probe's value is none that the key has");
    } else if verdict.origin != Origin::Probe as u8 {
        verdict.value = 0;
        verdict.origin = Origin::Failed as u8;
    }
}
