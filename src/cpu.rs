//! The CPU's features as keys, for programs that choose a routine by them.
//!
//! Each key proves the `target_feature` of its name, and all features that this builds on. A key of a psABI level proves all
//! features of the level. A key is on where std's `is_x86_feature_detected!` says that the feature is there: the CPU has it, and
//! the operating system saves its registers. It is off where a feature is missing that this one builds on, which a hypervisor
//! may hide. A module carries the keys that it uses, and no others.
#![allow(unsafe_code)] // the records
#![allow(unused_imports)] // where no feature is known

use crate::key::handle::{CPU, Key};
use crate::key::state::{self, Verdict};
use crate::symbol::features::proves;
use invar_abi::{KeyRecord, flags};
use invar_arch as arch;

macro_rules! declare {
    ($($key:ident $name:literal $doc:literal,)*) => {
        unsafe extern "C" {
            $(
                #[doc = $doc]
                #[link_name = concat!("invar2_cpu_", stringify!($key))]
                pub safe static $key: Key<bool, { arch::feature_mask($name) | CPU }>;
            )*
        }

        // State, names and record are a group: linkers that collect garbage keep all of it, where something refers to
        // the state, or nothing. Directives only, no instruction.
        core::arch::global_asm!(
            ".macro invar_cpu_key symbol, name",
            ".ifndef \\symbol",
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
            ".pushsection invar2_keys, \"aG\", %progbits, \\symbol, comdat",
            ".balign 4",
            ".long \\symbol - ., 2b - ., {probe} - .",
            ".short 3b - 2b",
            ".byte 2, {flags}",
            ".popsection",
            ".endif",
            ".endm",
            $(concat!("invar_cpu_key invar2_cpu_", stringify!($key), ", ", $name),)*
            ".purgem invar_cpu_key",
            probe = sym probe,
            flags = const flags::PROVES | flags::OWN,
        );

        /// Whether the CPU has it, by name. A module that calls these carries every key.
        pub static ALL: &[(&str, fn() -> bool)] = &[$(($name, || $key.get())),*];
    };
}

arch::cpu_keys!(declare);

/// One probe for all, which goes by the key's name.
extern "C" fn probe(verdict: &mut Verdict, record: &KeyRecord) {
    // SAFETY: one of the records above, whose names are string literals.
    let name = unsafe { state::name(record) }.strip_prefix(b"cpu.");
    let known = name.and_then(arch::features_named);
    verdict.value = u8::from(known.is_some_and(|features| proves(features, &mut verdict.evidence)));
}
