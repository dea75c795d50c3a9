//! What this CPU has of the features that code may require.

use crate::text::Evidence;
use core::sync::atomic::Ordering;
use invar_arch::{self as arch, AtomicU64};

/// Whether this CPU has all of `features`; says in the evidence which it lacks.
#[cold]
pub(crate) fn proves(features: u64, evidence: &mut Evidence) -> bool {
    // Nobody is asked for nothing, and it is no evidence.
    features == 0 || are_there(features, detected(), evidence)
}

/// The same where these are there.
fn are_there(features: u64, there: u64, evidence: &mut Evidence) -> bool {
    let missing = features & !there;
    if missing == 0 {
        evidence.text(arch::FEATURE_SOURCE);
        return true;
    }
    evidence.text("the CPU lacks");
    // And what builds on these.
    arch::each_root(missing, |name| _ = evidence.text(" ").text(name));
    false
}

/// What [`detected`] found; 0 if it has not asked.
static FEATURES: AtomicU64 = AtomicU64::new(0);

/// Has the CPU asked again: the process may run on another one by now.
#[cfg(feature = "switch")]
pub(crate) fn forget() {
    FEATURES.store(0, Ordering::Relaxed);
}

/// Asks the CPU once in each module: every question is an exit to the hypervisor in a virtual machine.
fn detected() -> u64 {
    const ASKED: u64 = 1 << 63;
    let mut features = FEATURES.load(Ordering::Relaxed);
    if features == 0 {
        features = arch::cpu_features() | ASKED;
        FEATURES.store(features, Ordering::Relaxed);
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn what_is_missing_is_named() {
        let said = |features, there| {
            let mut evidence = Evidence::new();
            (are_there(features, there, &mut evidence), String::from(evidence.as_str()))
        };
        let names: std::vec::Vec<_> = arch::FEATURES.split_ascii_whitespace().collect();
        for (at, name) in names.iter().enumerate() {
            assert_eq!(said(1 << at, u64::MAX), (true, arch::FEATURE_SOURCE.into()));
            assert_eq!(said(1 << at, !(1 << at)), (false, std::format!("the CPU lacks {name}")));
        }
        // What builds on another that is missing as well goes without saying.
        let named = arch::features_named;
        if let (Some(two), Some(wide), Some(there)) =
            (named(b"bmi1,lzcnt"), named(b"avx2,avx512bw,avx512f"), named(b"sse4.2,avx,f16c,fma"))
        {
            assert_eq!(said(two, 0).1, "the CPU lacks bmi1 lzcnt");
            assert_eq!(said(wide, there).1, "the CPU lacks avx2");
        }
    }

    #[test]
    fn nothing_is_proved_without_evidence() {
        let mut evidence = Evidence::new();
        assert!(proves(0, &mut evidence) && evidence.as_str().is_empty());
        assert_eq!(detected(), detected());
        assert_eq!(detected() << 1 >> 1, arch::cpu_features());
    }
}
