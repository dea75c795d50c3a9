//! The CPU's features as keys, for programs that choose a routine by them.
//!
//! Each key proves the `target_feature` of its name, and all features that this builds on. A key is on where std's macros for this
//! architecture say that the feature is there. Here a program carries every key of its architecture, and a constructor decides all
//! of them.
#![allow(unsafe_code)] // the constructor's place

#[allow(unused_imports)] // where no feature is known
use crate::key::decide::load;
use crate::key::handle::{CPU, Key};
use crate::key::record::{Declaration, Declared};
use crate::key::state::Verdict;
use crate::symbol::features::proves;
use invar_abi::{KeyRecord, flags};
use invar_arch as arch;

macro_rules! declare {
    ($($key:ident $name:literal $doc:literal,)*) => {
        $(
            #[doc = $doc]
            pub static $key: Key<bool, { arch::feature_mask($name) | CPU }> = {
                static DECLARATION: Declaration = Declaration::new(
                    &$key,
                    concat!("cpu.", $name, "\0off\0on\0").as_bytes(),
                    2,
                    probe::<{ arch::feature_mask($name) }>,
                    flags::PROVES | flags::OWN,
                );
                Key::declared(Declared::by(&DECLARATION))
            };
        )*
    };
}

macro_rules! declare_with_list {
    () => {
        /// Whether the CPU has it, by name.
        pub static ALL: &[(&str, fn() -> bool)] = &[];
    };
    ($($key:ident $name:literal $doc:literal,)+) => {
        declare! { $($key $name $doc,)+ }

        crate::__constructor!(decide);
        extern "C" fn decide() {
            $(load($key.declared);)+
        }

        /// Whether the CPU has it, by name.
        pub static ALL: &[(&str, fn() -> bool)] = &[$(($name, || $key.get())),+];
    };
}

arch::cpu_keys!(declare_with_list);

mod foreign {
    use super::*;
    arch::foreign_cpu_keys!(declare);
}
#[allow(unused_imports, unreachable_pub)] // where there are none
pub use foreign::*;

extern "C" fn probe<const FEATURES: u64>(verdict: &mut Verdict, _: &KeyRecord) {
    verdict.value = u8::from(proves(FEATURES, &mut verdict.evidence));
}
