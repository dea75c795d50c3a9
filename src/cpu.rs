//! The CPU's features as keys, for programs that choose a routine by them.
//!
//! Each proves the `target_feature`s of its name; the psABI levels prove all of theirs. A module carries those that it
//! uses.
#![allow(unsafe_code)] // the records
#![allow(unused_imports)] // where no feature is known

use crate::key::{Key, KeyRecord, Verdict, flags};
use crate::text::{Evidence, Sink};
use core::sync::atomic::{AtomicU64, Ordering};
use invar_arch as arch;

macro_rules! declare {
    ($($key:ident $name:literal $doc:literal,)*) => {
        unsafe extern "C" {
            $(
                #[doc = $doc]
                #[link_name = concat!("invar_cpu_", stringify!($key))]
                pub safe static $key: Key<bool, { arch::feature_mask($name) }>;
            )*
        }

        // State, names and record are a group: linkers that collect garbage keep all of it, where something refers to
        // the state, or nothing. Directives only, no instruction.
        core::arch::global_asm!(
            ".macro invar_cpu_key symbol, name",
            ".pushsection .bss.\\symbol, \"awG\", %nobits, \\symbol, comdat",
            ".balign 8",
            ".weak \\symbol",
            ".hidden \\symbol",
            ".type \\symbol, %object",
            ".size \\symbol, 256",
            "\\symbol:",
            ".zero 256",
            ".popsection",
            ".pushsection .rodata.\\symbol, \"aG\", %progbits, \\symbol, comdat",
            "2:",
            ".asciz \"cpu.\\name\", \"off\", \"on\"",
            "3:",
            ".popsection",
            ".pushsection invar_keys, \"aG\", %progbits, \\symbol, comdat",
            ".balign 4",
            ".long \\symbol - ., 2b - ., {probe} - .",
            ".short 3b - 2b",
            ".byte 2, {flags}",
            ".popsection",
            ".endm",
            $(concat!("invar_cpu_key invar_cpu_", stringify!($key), ", ", $name),)*
            ".purgem invar_cpu_key",
            probe = sym probe,
            flags = const flags::PROVES,
        );

        /// Whether the CPU has it, by name. A module that calls these carries every key.
        pub static ALL: &[(&str, fn() -> bool)] = &[$(($name, || $key.get())),*];
    };
}

arch::cpu_keys!(declare);

/// One probe for all, which goes by the key's name.
extern "C" fn probe(verdict: &mut Verdict, record: &KeyRecord) {
    // SAFETY: one of the records above, whose names are string literals.
    let name = unsafe { record.name() }.strip_prefix(b"cpu.");
    let known = name.and_then(arch::features_named);
    verdict.value = u8::from(known.is_some_and(|features| proves(features, &mut verdict.evidence)));
}

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
