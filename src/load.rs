//! What happens when a module is loaded, in order:
//!
//! 1. settings are read;
//! 2. each key is decided and sealed (`decide`);
//! 3. the module's sites are bound;
//! 4. the report is written, if one is wanted.
//!
//! Every module carries its own copy of the runtime and binds itself; the copies meet through their notes only.
#![allow(unsafe_code)]

use crate::bind::Reason;
use crate::bind::writer::Wish;
use crate::key::decide::{self, SLICES, is_slice_key};
use crate::module::{self, Added, Alone, Module, ModuleKey};
#[cfg(feature = "report")]
use crate::report;
use crate::settings::{EXIT_REQUIRED, Mode, Settings};
#[cfg(feature = "switch")]
use crate::switch;
use crate::text::decimal;
use crate::{bind, sys, timeslice};
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::header::HeaderFault;

/// Runs before constructors of ordinary priority, and before those that C programs may ask for (101 and up); behind that of
/// std, which is told the program's arguments (99: library/std/src/sys/args/unix.rs).
#[ctor::ctor(unsafe, priority = 100)]
fn load() {
    decide::offer_to_c();
    bind::offer_to_c();
    let outcome = module::note();
    let is_loaded = outcome.loaded();
    let settings = Settings::from_environment(!is_loaded);
    #[cfg(feature = "switch")]
    wish(&settings).keep();
    if is_loaded {
        // Another version of this crate in the same link has decided and bound all, or a binder has.
        return timeslice::load(None);
    }
    // A handler that wants the loader's list must not meet this thread at it: its lock is no thread's while it is being taken. Once,
    // and not for each of the runtime's own keys.
    // In a static program no handler is set up so early, except by code in `.preinit_array`.
    let silence = if module::is_static_program() { None } else { decide::silence() };
    // SAFETY: this code is the module's, and gone with it.
    match unsafe { module::among_others(module::own_header()) } {
        Ok((own, added)) => load_module(&own, added, &settings, silence),
        Err(fault) => unknown(fault, &settings),
    }
}

/// Says, where a setting asks, that a module cannot be known by its header.
#[cold]
fn unknown(fault: HeaderFault, settings: &Settings) {
    const WHY: &[u8] = b"INVAR=require: a module's header has a wrong ";
    let is_required = settings.mode == Mode::Require;
    if is_required || settings.report.is_some() {
        let rest = b": its sites stay checked, and no setting reaches its keys";
        let why = &WHY[if is_required { 0 } else { REQUIRED.len() }..];
        sys::complain(&[why, module::name(HeaderFault::FIELDS, fault as usize), rest]);
    }
    if is_required {
        sys::exit(EXIT_REQUIRED)
    }
}

/// Decides and binds for a module that carries no runtime, whose header this is; `false` if it is none.
#[cfg(feature = "capi")]
pub(crate) fn load_other(header: usize) -> bool {
    let settings = Settings::from_environment(true);
    let silence = decide::silence();
    // SAFETY: the module calls from its constructor.
    match unsafe { module::among_others(header) } {
        Ok((other, _)) if other.outcome.loaded() => true,
        Ok((other, added)) => {
            load_module(&other, added, &settings, silence);
            true
        }
        Err(fault) => {
            unknown(fault, &settings);
            false
        }
    }
}

fn load_module(own: &Module<'_>, added: Option<Added>, settings: &Settings, silence: Option<sys::Silence>) {
    settings.check(own);
    let alone = added.map(|added| Alone { module: own, added });
    let was_alone = decide::all(own, alone.as_ref(), settings, silence);
    let wish = wish(settings);
    let request_offset = timeslice::request_offset(own);
    // SAFETY: our own module, its keys sealed.
    let bind = || unsafe { bind::bind(own, wish, request_offset, was_alone) };
    #[cfg(feature = "switch")]
    switch::load(own, bind);
    #[cfg(not(feature = "switch"))]
    bind();

    #[cfg(feature = "report")]
    if let Some(destination) = settings.report {
        report::load::write(own, destination);
    }
    if settings.mode == Mode::Require {
        require(own);
    }
}

/// Which writers may be asked.
fn wish(settings: &Settings<'_>) -> Wish {
    if settings.mode == Mode::Off { Wish::None } else { settings.writer }
}

/// `INVAR=require`: ends the process unless every site is bound, and slice sites to an available extension. Records of code
/// that the linker discarded do not count.
#[cold]
fn require(own: &Module<'_>) {
    let (bound, sites) = (own.outcome.bound.load(Relaxed), own.live_sites());
    // The key may be there more than once: for sites in Rust, and in C.
    let is_absent = |key: ModuleKey<'_>| {
        let state = core::ptr::from_ref(key.state) as usize;
        is_slice_key(&key) && key.state.value() == 0 && own.sites.iter().any(|site| site.is_slice_of(state))
    };
    let reason = bind::reason(own);
    #[cfg(feature = "report")]
    let first = report::load::first_unbound(own);
    #[cfg(feature = "report")]
    let others = first.as_str();
    #[cfg(not(feature = "report"))]
    let others = "at the others stands other code, or their records are wrong";
    let why = match reason {
        Some(reason) => reason.describe(),
        None if bound < sites => others,
        None if SLICES && own.keys().any(is_absent) => "the slice extension is absent",
        None => return,
    };
    #[cfg(feature = "report")]
    report::load::write(own, c"stderr");
    let mut digits = [[0; 10]; 3];
    let [of_bound, of_sites, of_detail] = &mut digits;
    let detail: [&[u8]; 2] = match reason.and_then(Reason::detail) {
        Some(detail) => [b" ", decimal(detail, of_detail)],
        None => [b""; 2],
    };
    let (bound, sites) = (decimal(bound, of_bound), decimal(sites, of_sites));
    let sentence = b" sites are bound; ";
    sys::complain(&[
        REQUIRED,
        own.name(),
        b": ",
        bound,
        b" of ",
        sites,
        sentence,
        why.as_bytes(),
        detail[0],
        detail[1],
    ]);
    sys::exit(EXIT_REQUIRED)
}

const REQUIRED: &[u8] = b"INVAR=require: ";
