//! The CPU's features as keys, for programs that choose a routine by them.
//!
//! Each proves the `target_feature`s of its name; the psABI levels prove all of theirs.

#![allow(unsafe_code)] // what `key!` expands to

use crate::text::Evidence;
use core::sync::atomic::{AtomicU64, Ordering};
use invar_arch as arch;

macro_rules! declare {
    ($($key:ident $name:literal $features:literal $doc:literal,)*) => {
        $(crate::key! {
            #[doc = $doc]
            #[name = $name]
            #[requires($features)]
            pub static $key: bool = present;
        })*
    };
}

arch::cpu_keys!(declare);

/// The probe of a key whose `requires` says everything.
#[cfg_attr(invar_portable, allow(dead_code))]
fn present(_: &mut Evidence) -> Result<bool, &'static str> {
    Ok(true)
}

/// Whether this CPU has all of `features`; says in the evidence which are there, or which are not.
pub(crate) fn proves(features: u64, evidence: &mut Evidence) -> bool {
    if features == 0 {
        return true;
    }
    let missing = features & !detected();
    let (words, listed) = if missing == 0 { ("the CPU has", features) } else { ("the CPU lacks", missing) };
    evidence.text(words);
    for (bit, name) in arch::FEATURES.iter().enumerate() {
        if listed >> bit & 1 == 1 {
            evidence.text(" ").text(name);
        }
    }
    missing == 0
}

/// Asks the CPU once in each module: every question is an exit to the hypervisor in a virtual machine.
fn detected() -> u64 {
    const ASKED: u64 = 1 << 63;
    static FEATURES: AtomicU64 = AtomicU64::new(0);
    let mut features = FEATURES.load(Ordering::Relaxed);
    if features == 0 {
        features = arch::cpu_features() | ASKED;
        FEATURES.store(features, Ordering::Relaxed);
    }
    features
}
