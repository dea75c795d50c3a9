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
use crate::module::{self, Module, ModuleKey};
#[cfg(feature = "profile")]
use crate::profile;
#[cfg(feature = "report")]
use crate::report;
use crate::settings::{EXIT_REQUIRED, Mode, Settings};
use crate::{bind, slice, sys};
use core::sync::atomic::Ordering::Relaxed;

/// Whether this module can have slice sites at all.
const SLICES: bool = cfg!(feature = "slice");

/// Runs before constructors of ordinary priority, and before those that C programs may ask for (101 and up).
#[ctor::ctor(unsafe, priority = 99)]
fn load() {
    let outcome = module::note();
    if outcome.loaded() {
        // Another version of this crate in the same link has bound all; its own copy of the verdict is what is missing.
        return slice::load();
    }
    let settings = Settings::from_environment();
    #[cfg(feature = "report")]
    if settings.help {
        report::load::help();
    }
    // SAFETY: our own code's module, and only used by it.
    match unsafe { module::find(|module| module.contains(core::ptr::from_ref(outcome) as usize)) } {
        Some(mut own) => {
            // What the note says of our own outcome may be wrong; what the linker says is not.
            own.outcome = outcome;
            load_module(&own, &settings);
        }
        None if settings.mode == Mode::Require => end(b"the module's note or tables cannot be used"),
        None => {}
    }
}

/// Decides and binds for a module that carries no runtime, whose outcome this is; `false` if there is none.
#[cfg(feature = "capi")]
pub(crate) fn load_other(outcome: usize) -> bool {
    let settings = Settings::from_environment();
    // SAFETY: the module calls from its constructor.
    match unsafe { module::find(|module| core::ptr::from_ref(module.outcome) as usize == outcome) } {
        Some(other) if other.outcome.loaded() => true,
        Some(other) => {
            load_module(&other, &settings);
            true
        }
        None => false,
    }
}

fn load_module(own: &Module<'_>, settings: &Settings) {
    // One verdict at a time, in one place: copies of it would be a good part of this code.
    let mut verdict = Verdict::undecided();
    if SLICES && !own.is_program() {
        decide_for_program(settings, &mut verdict);
    }
    adopt(own, &mut verdict);
    // Before those of the same name that C has: without libinvar they know no probe.
    if SLICES && let Some(key) = own.key_at(slice::state_address()) {
        decide_own(own, &key, settings, &mut verdict);
    }
    for symbols in [0, flags::SYMBOL] {
        for key in own.keys().filter(|key| key.flags & flags::SYMBOL == symbols) {
            decide_own(own, &key, settings, &mut verdict);
        }
    }
    slice::load();
    #[cfg(feature = "profile")]
    let counted = profile::load(own);
    #[cfg(not(feature = "profile"))]
    let counted = false;

    let wish = if settings.mode == Mode::Off { bind::Wish::None } else { settings.writer };
    // Slice sites that are counted stay in checked form, as where no other makes requests.
    // SAFETY: our own module, its keys sealed.
    unsafe { bind::bind(own, wish, if counted { 0 } else { slice::request_offset() }) };

    #[cfg(feature = "report")]
    if let Some(destination) = settings.report {
        report::load::write(own, destination);
    }
    if settings.mode == Mode::Require {
        require(own);
    }
}

/// Decides and seals one of our own keys, if nobody has.
#[cold]
fn decide_own(own: &Module<'_>, key: &ModuleKey<'_>, settings: &Settings, verdict: &mut Verdict) {
    // The slice key may be there twice, for sites in Rust and in C, and is probed once: that registers an area.
    let twin = if SLICES && is_slice_key(key) { own.key_begun(key.name(), 0) } else { None };
    if !key.state.begin() {
        return;
    }
    let copied = twin.is_some_and(|(_, twin)| twin.state.copy(verdict)) && verdict.origin() != Origin::Failed;
    if !copied {
        decide(key, settings, verdict);
    }
    if key.flags & flags::PROVES != 0 {
        adopt_lower(own, key, verdict);
    }
    seal(key, verdict);
}

/// Decides the program's slice key in its stead: constructors of libraries that it was linked with run before its own,
/// and only the program can register an area, as only it is never unloaded.
#[cold]
fn decide_for_program(settings: &Settings, verdict: &mut Verdict) {
    // SAFETY: the program stays loaded.
    let Some(program) = (unsafe { module::find(|module| module.is_program()) }) else { return };
    let mut decided = false;
    for key in program.keys() {
        if is_slice_key(&key) && settings.key(key.name()) != Some(b"force") && key.state.begin() {
            if !decided {
                decide(&key, settings, verdict);
                decided = verdict.origin() != Origin::Failed;
            }
            key.state.seal(verdict);
        }
    }
}

/// Takes over what other modules have decided for keys of the same name, and seals it.
#[cold]
fn adopt(own: &Module<'_>, verdict: &mut Verdict) {
    module::each(|other| {
        if other.base == own.base {
            return;
        }
        // Copies of the runtime have their keys in one order: the next is likely to be found where the last one was.
        let mut place = 0;
        for ours in own.keys().filter(|ours| ours.flags & (flags::PROVES | flags::SYMBOL) == 0) {
            let Some((at, theirs)) = other.key_begun(ours.name(), place) else { continue };
            place = at + 1;
            if ours.state.begin() {
                adopt_key(&ours, &theirs, verdict);
                seal(&ours, verdict);
            }
        }
    });
}

/// The same for a key that proves something, which our own probe has decided, since our code would execute what its value
/// stands for: a verdict that is higher than that is not taken.
#[cold]
fn adopt_lower(own: &Module<'_>, ours: &ModuleKey<'_>, verdict: &mut Verdict) {
    module::each(|other| {
        if other.base == own.base {
            return;
        }
        if let Some((_, theirs)) = other.key_begun(ours.name(), 0)
            && !(theirs.state.decided() && theirs.state.value() > verdict.value)
        {
            adopt_key(ours, &theirs, verdict);
        }
    });
}

/// What another module's verdict means for a key of ours.
#[cold]
fn adopt_key(ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>, verdict: &mut Verdict) {
    if !theirs.state.decided() {
        return fail(verdict, "another module is deciding this key: its probe loads this one");
    }
    if !ours.same_as(theirs) || theirs.state.value() >= ours.values {
        return fail(verdict, "another module decided a key of this name with other values");
    }
    theirs.state.copy(verdict);
    if verdict.origin() == Origin::Forced {
        // Forced memory may be the program's own, or its libc's: each module finds what is there.
        force(verdict);
    } else {
        verdict.origin = Origin::Adopted as u8;
    }
}

/// Decides a key that nobody decided before.
#[cold]
fn decide(key: &ModuleKey<'_>, settings: &Settings, verdict: &mut Verdict) {
    if key.flags & flags::SYMBOL != 0 {
        return probe(key, verdict);
    }
    let wanted = settings.key(key.name());
    let value = wanted.and_then(|wanted| (0..key.values).find(|&value| key.value_name(value) == wanted));
    // The first value needs nothing, so there is nothing to probe.
    if settings.mode == Mode::Off || value == Some(0) {
        verdict.start(0, Origin::Setting);
        verdict.evidence.text(if settings.mode == Mode::Off { "INVAR=off" } else { "INVAR_KEYS" });
        return;
    }
    if SLICES && wanted == Some(b"force") && key.flags & (flags::SLICE | flags::PROVES) == flags::SLICE {
        return force(verdict);
    }
    probe(key, verdict);
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
        slice::guard_at_load(&mut verdict.evidence);
    }
}

/// Whether it is *the* slice key: there may be others for slice sites, as for measurements.
fn is_slice_key(key: &ModuleKey<'_>) -> bool {
    key.flags & flags::SLICE != 0 && key.name() == slice::NAME.as_bytes()
}

/// The slice key by `INVAR_KEYS=slice=force`: the available form, on memory that is safe to write.
#[cold]
fn force(verdict: &mut Verdict) {
    match slice::spare_memory() {
        Some(data) => {
            verdict.start(1, Origin::Forced);
            verdict.data = data;
            verdict.evidence.text("INVAR_KEYS; requests go to memory that is safe to write, and nobody grants them");
        }
        None => fail(verdict, "cannot be forced: a library needs an area of libc's (glibc 2.35 or newer)"),
    }
}

#[cold]
fn probe(key: &ModuleKey<'_>, verdict: &mut Verdict) {
    verdict.start(0, Origin::Probe);
    (key.probe)(verdict, key.record);
    // A probe in another language may answer anything.
    verdict.evidence.limit();
    if verdict.value >= key.values {
        fail(verdict, "the probe's value is none that the key has");
    } else if verdict.origin != Origin::Probe as u8 {
        verdict.value = 0;
        verdict.origin = Origin::Failed as u8;
    }
}

/// Seals a key of our own module. One for slice sites that has another name than the slice key, as for measurements, brings
/// no area, or one that is not the process's: its sites use this module's, if there is any.
#[cold]
fn seal(ours: &ModuleKey<'_>, verdict: &mut Verdict) {
    if verdict.value != 0 && ours.flags & flags::SLICE != 0 && ours.name() != slice::NAME.as_bytes() {
        match slice::spare_memory() {
            Some(data) => verdict.data = data,
            None => fail(verdict, "this module has no memory for slice sites that is safe to write"),
        }
    }
    ours.state.seal(verdict);
}

fn fail(verdict: &mut Verdict, reason: &str) {
    verdict.start(0, Origin::Failed);
    verdict.evidence.text(reason);
}

/// `INVAR=require`: ends the process unless every site is bound, and slice sites to an available extension. Records that
/// describe no site do not count.
#[cold]
fn require(own: &Module<'_>) {
    // The key may be there more than once: for sites in Rust, and in C.
    let is_absent = |key: ModuleKey<'_>| {
        let state = core::ptr::from_ref(key.state) as usize;
        is_slice_key(&key) && key.state.value() == 0 && own.sites.iter().any(|site| site.is_slice_of(state))
    };
    let why: &[u8] = if own.outcome.reason.load(Relaxed) != 0 || own.outcome.left.load(Relaxed) != 0 {
        b"a site is not bound"
    } else if SLICES && own.keys().any(is_absent) {
        b"the slice extension is absent"
    } else {
        return;
    };
    #[cfg(feature = "report")]
    report::load::write(own, c"stderr");
    end(why);
}

fn end(why: &[u8]) -> ! {
    sys::complain(&[b"INVAR=require: ", why]);
    sys::exit(EXIT_REQUIRED)
}
