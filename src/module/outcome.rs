//! What came of binding a module, in its own memory.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use invar_abi as abi;

/// What came of binding a module; its header leads to it, so that every copy of the runtime can report it. Zero is
/// what has not been loaded yet.
#[repr(C)]
pub(crate) struct Outcome {
    /// 0 before the module's constructor, 1 when it has run.
    pub(crate) phase: AtomicU8,
    pub(crate) reason: AtomicU8,
    pub(crate) writers: AtomicU8,
    /// Of the first module in the loader's order: 1 while a copy of the runtime seals a key ([`exclusively`]).
    pub(super) lock: AtomicU8,
    /// The kernel's errno, or the number of threads, with the reasons that have one.
    pub(crate) detail: AtomicU32,
    pub(crate) bound: AtomicU32,
    /// Sites that a pass over the table came by and left unbound.
    pub(crate) left: AtomicU32,
    /// Where the requests of the module's slice sites go ([`abi::outcome::request_to_number`]).
    request: AtomicU32,
    /// What this module has said about the settings; and whether its keys are being decided.
    pub(crate) said: AtomicU32,
    pub(crate) nanoseconds: AtomicU64,
    /// Why each writer was refused, in the order of their bits.
    pub(crate) refusals: [AtomicU16; abi::outcome::WRITERS],
    reserved: AtomicU16,
}

// Weak, so that two versions of this crate in one link share it as they share the tables: the first constructor
// binds all. Directives only, no instruction.
core::arch::global_asm!(
    // With fat LTO the assembly of both versions becomes one.
    ".ifndef invar2_outcome",
    ".pushsection .bss.invar2_outcome, \"aw\", %nobits",
    ".balign 8",
    ".weak invar2_outcome",
    ".hidden invar2_outcome",
    ".type invar2_outcome, %object",
    ".size invar2_outcome, {length}",
    "invar2_outcome:",
    ".zero {length}",
    ".popsection",
    // What key records refer to, so that no link leaves them without it in silence.
    ".weak invar2_is_to_be_linked_into_every_module_that_has_keys",
    ".hidden invar2_is_to_be_linked_into_every_module_that_has_keys",
    ".set invar2_is_to_be_linked_into_every_module_that_has_keys, invar2_outcome",
    ".endif",
    length = const abi::outcome::LENGTH,
);
const _: () = assert!(size_of::<Outcome>() == abi::outcome::LENGTH);

unsafe extern "C" {
    #[link_name = "invar2_outcome"]
    pub(super) safe static OUTCOME: Outcome;
}

impl Outcome {
    /// Whether the module's constructor has run to its end.
    pub(crate) fn loaded(&self) -> bool {
        self.phase.load(Ordering::Acquire) != 0
    }

    /// Where the request byte of each thread lies, from its thread pointer; `None` if no site makes requests.
    pub(crate) fn request(&self) -> Option<i32> {
        abi::outcome::request_from_number(self.request.load(Ordering::Relaxed))
    }

    /// Says it, before any site is bound.
    pub(crate) fn set_request(&self, distance: Option<i32>) {
        self.request.store(abi::outcome::request_to_number(distance), Ordering::Relaxed);
    }
}

/// This module's outcome, which two versions of this crate in one link share.
pub(crate) fn outcome() -> &'static Outcome {
    &OUTCOME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{SITE_ABI, assert_layout, fields};

    #[test]
    fn outcomes_are_as_documented() {
        let outcome = fields!(Outcome: phase reason writers lock detail bound left request said nanoseconds refusals);
        assert_layout(SITE_ABI, "## Outcome", &outcome, size_of::<Outcome>());
        assert!(SITE_ABI.contains(&std::format!("the module's outcome, {} bytes", size_of::<Outcome>())));
    }

    /// The command reads the same bytes of another process.
    #[test]
    fn an_outcome_is_decoded_as_it_was_written() {
        let mut bytes = [0; abi::outcome::LENGTH];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = 3 * at as u8;
        }
        // SAFETY: atomics.
        let outcome: Outcome = unsafe { core::mem::transmute(bytes) };
        outcome.set_request(Some(-36));
        let load = |number: &AtomicU32| number.load(Ordering::Relaxed);
        let written = abi::outcome::Outcome {
            phase: outcome.phase.load(Ordering::Relaxed),
            reason: outcome.reason.load(Ordering::Relaxed),
            writers: outcome.writers.load(Ordering::Relaxed),
            detail: load(&outcome.detail),
            bound: load(&outcome.bound),
            left: load(&outcome.left),
            request: outcome.request(),
            nanoseconds: outcome.nanoseconds.load(Ordering::Relaxed),
            refusals: outcome.refusals.each_ref().map(|refusal| refusal.load(Ordering::Relaxed)),
        };
        // SAFETY: numbers alone.
        let bytes: [u8; abi::outcome::LENGTH] = unsafe { core::mem::transmute(outcome) };
        assert_eq!(abi::outcome::Outcome::decode(&bytes), written);
        assert_eq!(written.request, Some(-36));
    }
}
