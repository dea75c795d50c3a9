//! Writers: the ways to exchange text.
//!
//! Each window of text is offered to them in one order, that of [`Writer::ALL`]; what one was refused, the next one tries.
//!
//! - `swap` and `memfd` exchange pages. A private copy of them is made from the module's file, the sites are bound in the copy
//!   ([`copy`]), and pages that can be executed take the place of the text: the copy itself, or a memfd's with the same bytes. Nobody
//!   stores to bytes that could be executed meanwhile, and old and new pages mean the same: other threads may run in them.
//! - `mprotect` makes the text writable for a moment ([`in_place`]): for text without a file, in a process with one thread.
#![allow(unsafe_code)]

mod copy;
mod in_place;

use super::resolve::{Filled, Resolver, Work};
use super::status::Reason;
use super::window::Window;
use super::writer::{Ledger, Wish, Writer};
use core::sync::atomic::Ordering::Relaxed;

#[cfg(feature = "fuzz")]
pub(crate) use in_place::Line;

/// Does some work to the sites of a window. An error is that of the first writer that was refused, since the others
/// can do less; text that could not be exchanged is as it was.
///
/// # Safety
///
/// The tables must be the module's, and its keys have their final values.
#[cold]
pub(super) unsafe fn window(
    window: &Window<'_>,
    resolver: &mut Resolver<'_>,
    wish: Wish,
    work: Work,
) -> Result<Filled, Reason> {
    let outcome = resolver.module.outcome;
    let mut ledger = Ledger::default();
    let (swap, memfd) = (wish.allows(Writer::Swap), wish.allows(Writer::Memfd));
    let mut result = Err(Reason::Changed);
    if swap || memfd {
        // SAFETY: as the caller vouches.
        result = unsafe { copy::exchange(window, resolver, [swap, memfd], work, &mut ledger) };
    }
    if wish.allows(Writer::Mprotect) && result.is_err() {
        // SAFETY: as the caller vouches.
        let later = unsafe { in_place::write(window, resolver, work) };
        match later {
            Ok(_) | Err(Reason::Writable(_)) => {
                ledger.used |= Writer::Mprotect as u8;
                result = later;
            }
            Err(why) => {
                ledger.refuse(Writer::Mprotect, why);
                if !swap && !memfd {
                    result = later;
                }
            }
        }
    }
    outcome.writers.fetch_or(ledger.used, Relaxed);
    for (noted, refusal) in outcome.refusals.iter().zip(ledger.refusals) {
        if let Some(refusal) = refusal {
            noted.store(refusal.to_refusal(), Relaxed);
        }
    }
    result
}
