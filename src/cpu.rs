//! The CPU's features as keys, for programs that choose a routine by them.
//!
//! Each key proves the `target_feature` of its name, and all features that this builds on. A key of a psABI level proves all
//! features of the level. A key is on where std's `is_x86_feature_detected!` says that the feature is there: the CPU has it, and
//! the operating system saves its registers. It is off where a feature is missing that this one builds on, which a hypervisor
//! may hide. A module carries the keys that it uses, and no others.
//!
//! A key tells what all CPUs of the machine have. On AArch64 and RISC-V the kernel says so (the auxiliary vector,
//! `riscv_hwprobe(2)`). On x86-64 the CPU is asked that runs the constructor, as the others have the same features: the cores of
//! Intel's hybrid processors share one instruction set, and AVX-512 is there only where those are turned off that lack it (Intel,
//! "Game Dev Guide for 12th Gen Intel Core Processor"). After a process was moved to another machine see
//! [`rebind`](crate::rebind()).
#![allow(unsafe_code)] // the records
#![allow(unused_imports)] // where no feature is known

use crate::key::handle::{CPU, Key};
use crate::key::state::{self, Verdict};
use crate::symbol::features::proves;
use invar_abi::{KeyRecord, flags};
use invar_arch as arch;

macro_rules! declare {
    ($features:path: $($key:ident $name:literal $doc:literal,)*) => {
        #[allow(improper_ctypes)] // `Declared` has no size
        unsafe extern "C" {
            $(
                #[doc = $doc]
                #[link_name = concat!("invar2_cpu_", stringify!($key))]
                pub safe static $key: Key<bool, { $features($name) | CPU }>;
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
    };
}

macro_rules! declare_with_list {
    ($($key:ident $name:literal $doc:literal,)*) => {
        declare! { arch::feature_mask: $($key $name $doc,)* }

        /// Whether the CPU has it, by name. A module that calls these carries every key.
        pub static ALL: &[(&str, fn() -> bool)] = &[$(($name, || $key.get())),*];
    };
}

arch::cpu_keys!(declare_with_list);

/// Those of other architectures, which are always off: so that code which names one compiles everywhere.
mod foreign {
    use super::*;

    macro_rules! declare_foreign {
        ($($key:ident $name:literal $doc:literal,)*) => {
            declare! { foreign: $($key $name $doc,)* }
        };
    }
    arch::foreign_cpu_keys!(declare_foreign);

    /// What `feature_mask` says of each of them. It would look for each name, for which the compiler takes a second.
    const fn foreign(_: &str) -> u64 {
        arch::FOREIGN
    }
}
#[allow(unused_imports, unreachable_pub)] // where there are none
pub use foreign::*;

/// One probe for all, which goes by the key's name.
extern "C" fn probe(verdict: &mut Verdict, record: &KeyRecord) {
    // SAFETY: one of the records above, whose names are string literals.
    let name = unsafe { state::name(record) }.strip_prefix(b"cpu.");
    let known = name.and_then(arch::features_named);
    verdict.value = u8::from(known.is_some_and(|features| proves(features, &mut verdict.evidence)));
}
