//! What happens when a module is loaded, in order:
//!
//! 1. settings are read;
//! 2. each key is decided: adopted from a module that decided one of its name, else chosen by a setting, else
//!    probed; then sealed;
//! 3. the module's sites are bound;
//! 4. the report is written, if one is wanted.
//!
//! Every module carries its own copy of the runtime and binds itself; the copies meet through their notes only.
#![allow(unsafe_code)]

use crate::key::{Origin, Verdict, flags};
use crate::module::{self, Module, ModuleKey, Outcome};
use crate::settings::{self, EXIT_REQUIRED, Mode, Settings};
use crate::{bind, report, slice, sys};
use core::sync::atomic::Ordering::Relaxed;

/// This module's outcome; its note leads here.
pub(crate) static OUTCOME: Outcome = Outcome::new();

/// Runs before constructors of ordinary priority, and before those that C programs may ask for (101 and up).
#[ctor::ctor(unsafe, priority = 99)]
fn load() {
    let outcome = module::note(&OUTCOME);
    // SAFETY: our own code's module, and only used by it.
    let Some(mut own) = (unsafe { module::containing(core::ptr::from_ref(outcome) as usize) }) else { return };
    // What the note says of our own outcome may be wrong; what the compiler says is not.
    own.outcome = outcome;
    if outcome.loaded() {
        return;
    }
    let settings = Settings::from_environment();
    if settings.help {
        settings::help();
    }

    adopt(&own, &settings);
    for key in own.keys() {
        if key.state.begin() {
            key.state.seal(&decide(&key, &settings));
        }
    }
    slice::load();

    let wish = if settings.mode == Mode::Off { bind::Wish::None } else { settings.writer };
    // SAFETY: our own module, its keys sealed.
    unsafe { bind::bind(&own, wish, slice::request_offset()) };

    if let Some(destination) = settings.report {
        report::write(&own, destination);
    }
    if settings.mode == Mode::Require {
        require(&own);
    }
}

/// Takes over what other modules have decided for keys of the same name.
#[cold]
fn adopt(own: &Module<'_>, settings: &Settings) {
    module::each(&mut |other| {
        if other.base == own.base {
            return;
        }
        for theirs in other.keys() {
            let Some(verdict) = theirs.state.verdict() else { continue };
            for ours in own.keys().filter(|ours| ours.name() == theirs.name()) {
                if ours.state.begin() {
                    ours.state.seal(&adopted(&ours, &theirs, verdict, settings));
                }
            }
        }
    });
}

/// What another module's verdict means for a key of ours.
#[cold]
fn adopted(ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>, verdict: Verdict, settings: &Settings) -> Verdict {
    if !ours.same_as(theirs) || verdict.value >= ours.values {
        let mut failed = Verdict::new(0, Origin::Failed);
        failed.evidence.text("another module decided a key of this name with other values");
        return failed;
    }
    // Our code would execute what this value stands for: believe our own probe as well.
    if ours.flags & flags::PROVES != 0 {
        let own = decide(ours, settings);
        if own.value < verdict.value {
            return own;
        }
    }
    // Forced memory is each module's own: another module's goes away with it.
    if verdict.origin() == Origin::Forced {
        return forced();
    }
    verdict.by(Origin::Adopted)
}

/// Decides a key that nobody decided before.
#[cold]
fn decide(key: &ModuleKey<'_>, settings: &Settings) -> Verdict {
    if settings.mode == Mode::Off {
        let mut verdict = Verdict::new(0, Origin::Setting);
        verdict.evidence.text("INVAR=off");
        return verdict;
    }
    let Some(wanted) = settings.key(key.name()) else { return probed(key) };
    match (0..key.values).find(|&value| key.value_name(value) == wanted) {
        // The first value needs nothing, so there is nothing to probe.
        Some(0) => {
            let mut verdict = Verdict::new(0, Origin::Setting);
            verdict.evidence.text("INVAR_KEYS");
            verdict
        }
        Some(value) => {
            let mut verdict = probed(key);
            if value < verdict.value {
                verdict.value = value;
                verdict.origin = Origin::Setting as u8;
                verdict.evidence.text("; lowered by INVAR_KEYS");
            } else if value > verdict.value {
                verdict.evidence.text("; INVAR_KEYS asks for more than the probe allows");
            }
            verdict
        }
        None if wanted == b"force" && key.flags & flags::SLICE != 0 => forced(),
        None => {
            let mut verdict = probed(key);
            verdict.evidence.text("; INVAR_KEYS names a value that this key does not have");
            verdict
        }
    }
}

/// The slice key by `INVAR_KEYS=slice=force`: the available form, on memory of this module's own.
#[cold]
fn forced() -> Verdict {
    let mut verdict = Verdict::new(1, Origin::Forced);
    verdict.data = slice::own_memory();
    verdict.evidence.text("INVAR_KEYS; the sites write to this module's own memory, which the kernel does not look at");
    verdict
}

#[cold]
fn probed(key: &ModuleKey<'_>) -> Verdict {
    let mut verdict = Verdict::new(0, Origin::Probe);
    (key.probe)(&mut verdict, key.record);
    // A probe in another language may answer anything.
    if verdict.value >= key.values {
        verdict = Verdict::new(0, Origin::Failed);
        verdict.evidence.text("the probe's value is none that the key has");
    }
    if verdict.origin() != Origin::Probe {
        verdict.value = 0;
        verdict.origin = Origin::Failed as u8;
    }
    verdict
}

/// `INVAR=require`: ends the process unless everything is bound, and slice sites to an available extension.
#[cold]
fn require(own: &Module<'_>) {
    let unbound = own.sites.len() as u32 - own.outcome.bound.load(Relaxed).min(own.sites.len() as u32);
    let slices = report::of(own).bindings().any(|binding| binding.needs_slice());
    let absent = slices && !slice::SLICE.get();
    if unbound > 0 || absent {
        report::write(own, c"stderr");
        let why = if unbound > 0 { "a site is not bound" } else { "the slice extension is absent" };
        let mut text = crate::text::Text::<128>::new();
        text.text("invar: INVAR=require: ").text(why).text("\n");
        sys::print(None, text.as_bytes());
        sys::exit(EXIT_REQUIRED);
    }
}
