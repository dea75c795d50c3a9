//! Binding: writes each key's value into its sites.
//!
//! For each stretch of text with sites: find their pages (`window`) -> copy these, verify and bind the sites in the copy, exchange
//! the pages for the copy (`write`) -> read all sites back and count them.
//!
//! A site is verified by *building* the bytes that its record promises and comparing them with what is there (`resolve`).
//! What differs (a debugger's breakpoint, a corrupt record) is left alone. Per-site results are not stored: the
//! code itself says whether it is bound, and [`inspect`] reads it again when a report is wanted.
#![allow(unsafe_code)]

#[cfg(feature = "switch")]
mod change;
#[cfg(feature = "switch")]
mod changes;
mod pointers;
mod resolve;
mod status;
mod window;
mod write;
pub(crate) mod writer;

use crate::module::Module;
use crate::sys;
#[cfg(feature = "switch")]
pub(crate) use change::{Counted, change};
#[cfg(feature = "switch")]
pub(crate) use changes::{Change, Changes, MOST, Unchanged};
use core::sync::atomic::Ordering::{Relaxed, Release};
use invar_arch as arch;
pub use pointers::declare_pointers;
pub(crate) use pointers::{inspect, offer_to_c};
pub(crate) use resolve::Resolver;
use resolve::{Filled, Work};
pub use status::{Reason, SiteStatus};
use window::Window;
#[cfg(feature = "fuzz")]
pub(crate) use write::Line;
use writer::Wish;

/// Binds every site of `module` whose key is decided; the outcome is in the module's own record. `was_alone`: the process had one
/// thread before the module's probes ran.
///
/// # Safety
///
/// The module's tables must be its own, and the keys its sites name must have their final values.
pub(crate) unsafe fn bind(module: &Module<'_>, wish: Wish, request: Option<i32>, was_alone: bool) {
    // Where there is nothing to bind, the time is not asked for: the first call maps two pages of the vDSO.
    let clock = || if module.sites.is_empty() { 0 } else { sys::now() };
    let started = clock();
    let outcome = module.outcome;
    outcome.set_request(request);
    let reason = if module.sites.is_empty() && arch::PATCHES {
        None
    } else if let Some(reason) = objection(module, wish) {
        Some(reason)
    } else {
        // SAFETY: as the caller vouches.
        unsafe { commit(module, wish, was_alone) }
    };
    // SAFETY: as the caller vouches.
    let reason = reason.or(unsafe { pointers::bind_declared(module, wish) });
    if let Some(reason) = reason {
        let (number, detail) = reason.to_numbers();
        outcome.reason.store(number, Relaxed);
        outcome.detail.store(detail, Relaxed);
    }
    outcome.nanoseconds.store(clock().saturating_sub(started), Relaxed);
    outcome.phase.store(1, Release);
}

/// Why the module's sites stay in checked form, if they do.
pub(crate) fn reason(module: &Module<'_>) -> Option<Reason> {
    Reason::from_numbers(module.outcome.reason.load(Relaxed), module.outcome.detail.load(Relaxed))
}

/// Why no writer is to be asked.
fn objection(module: &Module<'_>, wish: Wish) -> Option<Reason> {
    match () {
        () if wish == Wish::None => Some(Reason::Setting),
        () if !arch::PATCHES => Some(Reason::Architecture),
        () if module.rewritten => Some(Reason::Rewritten),
        () => None,
    }
}

/// # Safety
///
/// As for [`bind`].
unsafe fn commit(module: &Module<'_>, wish: Wish, was_alone: bool) -> Option<Reason> {
    let mut resolver = Resolver::new(module);
    resolver.waits = was_alone;
    let mut total = Filled::default();
    let mut refusal = None;
    // All sites were in what was exchanged, and read as they should.
    let mut is_whole = true;
    let work = Work { before: None, fill: resolve::fill };
    for text in module.texts() {
        let mut start = text.range.start;
        while start < text.range.end {
            let window = Window::new(module.sites, &text, start);
            start = window.end();
            is_whole &= !window.unreadable;
            if window.is_empty() {
                continue;
            }
            // SAFETY: as the caller vouches.
            match unsafe { write::window(&window, &mut resolver, wish, work) } {
                Ok(filled) => {
                    is_whole &= resolver.reads_back(&window, &filled);
                    total.bound += filled.bound;
                    total.left += filled.left;
                }
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
    }
    let unreadable = (!is_whole || refusal.is_some()) && resolver.count(&mut total);
    module.outcome.bound.store(total.bound, Relaxed);
    module.outcome.left.store(total.left, Relaxed);
    match refusal {
        Some(Reason::Writable(_)) => refusal,
        _ if unreadable => Some(Reason::Unreadable),
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::{self, Outcome};
    use std::boxed::Box;

    /// This program, as if it had not been loaded.
    fn program() -> Module<'static> {
        // SAFETY: numbers alone, and zero is what has not been loaded.
        let outcome: Outcome = unsafe { core::mem::zeroed() };
        let mut own = module::own().expect("this program");
        own.outcome = Box::leak(Box::new(outcome));
        own
    }

    #[test]
    fn what_comes_of_binding_is_noted() {
        let outcome = |module: Module<'static>, wish| {
            let begun = sys::now();
            module.outcome.nanoseconds.store(u64::MAX, Relaxed);
            // SAFETY: nothing is to be bound.
            unsafe { bind(&module, wish, Some(-36), false) };
            let outcome = module.outcome;
            assert!(outcome.loaded() && outcome.phase.load(Relaxed) == 1);
            assert_eq!((outcome.request(), outcome.bound.load(Relaxed)), (Some(-36), 0));
            let (took, most) = (outcome.nanoseconds.load(Relaxed), sys::now() - begun);
            assert!(took <= most, "{took} {most}");
            reason(&module)
        };
        assert_eq!(outcome(program(), Wish::None), Some(Reason::Setting));
        let mut none = program();
        none.sites = &[];
        assert_eq!(outcome(none, Wish::Any), (!arch::PATCHES).then_some(Reason::Architecture), "there are no sites");
    }

    #[test]
    fn a_setting_counts_before_what_tools_did() {
        let mut rewritten = program();
        rewritten.rewritten = true;
        assert_eq!(objection(&rewritten, Wish::None), Some(Reason::Setting));
        let (any, moved) = (objection(&program(), Wish::Any), objection(&rewritten, Wish::Any));
        let absent = (!arch::PATCHES).then_some(Reason::Architecture);
        assert_eq!((any, moved), (absent, absent.or(Some(Reason::Rewritten))));
    }
}
