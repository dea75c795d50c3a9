//! The CPU's features as keys, for programs that choose a routine by them.
//!
//! Each proves the `target_feature`s of its name; the psABI levels prove all of theirs.

#![allow(unsafe_code)] // the records
#![allow(unused_imports)] // where no feature is known

use crate::key::{Key, KeyRecord, Verdict, flags};
use crate::text::{Evidence, Sink};
use core::sync::atomic::{AtomicU64, Ordering};
use invar_arch as arch;

#[cfg(feature = "cpu")]
macro_rules! declare {
    ($($key:ident $name:literal $doc:literal,)*) => {
        $(
            #[doc = $doc]
            pub static $key: Key<bool, { arch::feature_mask($name) }> = Key::new();
        )*

        /// One probe for all, which goes by the key's name: a function for each would be most of what these keys take in
        /// every module.
        extern "C" fn probe(verdict: &mut Verdict, record: &KeyRecord) {
            $(crate::__key_record!([concat!("cpu.", $name)] $key, bool, probe, flags::PROVES);)*
            // SAFETY: one of the records above, whose names are string literals.
            let name = unsafe { record.name() }.strip_prefix(b"cpu.");
            let known = name.and_then(arch::features_named);
            verdict.value = u8::from(known.is_some_and(|features| proves(features, &mut verdict.evidence)));
        }
        #[used]
        static KEEP: crate::key::RawProbe = probe;
    };
}

#[cfg(feature = "cpu")]
arch::cpu_keys!(declare);

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
    evidence.text("the CPU lacks ");
    // The names stand in the order of the bits, each with a space behind it.
    let mut bits = missing;
    for byte in arch::FEATURES.bytes() {
        if bits & 1 == 1 {
            evidence.put(&[byte]);
        }
        bits >>= u32::from(byte == b' ');
    }
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
