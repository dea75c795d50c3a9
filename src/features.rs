//! What this CPU has of the features that code may require.

use crate::text::Evidence;
use core::sync::atomic::{AtomicU64, Ordering};
use invar_arch as arch;

/// Whether this CPU has all of `features`; says in the evidence which it lacks.
#[cold]
pub(crate) fn proves(features: u64, evidence: &mut Evidence) -> bool {
    if features == 0 {
        return true;
    }
    let missing = features & !detected();
    if missing == 0 {
        evidence.text(arch::FEATURE_SOURCE);
        return true;
    }
    evidence.text("the CPU lacks");
    // And what builds on these.
    arch::each_root(missing, |name| _ = evidence.text(" ").text(name));
    false
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
