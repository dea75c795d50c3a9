//! CPU features of other architectures than this one: code may name them, and no CPU here has one.

use crate::tables::{aarch64, riscv64, x86_64};

/// In a set of features: there is one in it that no CPU of this architecture has.
pub const FOREIGN: u64 = 1 << 61;

/// Calls `$then!` with what stands in brackets, and the name of each feature of a table.
macro_rules! each_name {
    ($then:ident [$($with:tt)*] $($name:tt $register:ident $bit:literal $state:ident $builds_on:literal,)*) => {
        $then! { $($with)* $($name)* }
    };
    ($then:ident [$($with:tt)*] $($name:tt $word:ident $bits:tt $builds_on:literal,)*) => {
        $then! { $($with)* $($name)* }
    };
    ($then:ident [$($with:tt)*] $($name:tt $bit:literal $builds_on:literal,)*) => {
        $then! { $($with)* $($name)* }
    };
}

macro_rules! joined {
    ($($name:tt)*) => {
        concat!($($name, " ",)*)
    };
}

/// Names of features and of levels, those of all architectures, with a space behind each. Who has found a name
/// among this one's does not look here.
pub(crate) const NAMES: [&str; 4] = [
    x86_64::features!(each_name joined []),
    aarch64::features!(each_name joined []),
    riscv64::features!(each_name joined []),
    "x86-64-v2 x86-64-v3 x86-64-v4 ",
];

// An arm with features stays where the compiler knows them, and vanishes where it does not: there a program need not have the code.
// Names are looked up only once macros are expanded, so the macros themselves have a rule for each feature.

/// Expands to what stands in braces, for code without features, or with some that the compiler knows for this architecture, all of them; else
/// to nothing. Miri's compiler knows x86-64's there.
#[doc(hidden)]
#[macro_export]
macro_rules! __with_features {
    ([] $code:tt) => {
        $crate::__kept! { [] $code }
    };
    ([$feature:tt] $code:tt) => {
        $crate::__if_native! { [$feature] $code }
    };
    ([$feature:tt $($more:tt)+] $code:tt) => {
        $crate::__if_native! { [$feature] { $crate::__with_features! { [$($more)+] $code } } }
    };
}

/// The code of an arm that stays.
#[doc(hidden)]
#[macro_export]
macro_rules! __kept {
    ($features:tt { $($code:tt)* }) => { $($code)* };
}

/// An arm that vanishes.
#[doc(hidden)]
#[macro_export]
macro_rules! __left_out {
    ($features:tt $code:tt) => {};
}

/// The same for what may be a list of names in one string, which no rule takes apart.
#[doc(hidden)]
#[macro_export]
macro_rules! __list_left_out {
    ([$features:tt] $code:tt) => {
        const _: () = $crate::is_foreign($features);
    };
}

/// Makes a macro which goes on with one macro where one of these names stands in brackets, and with another one else.
macro_rules! sorting {
    ($d:tt $macro:ident $listed:ident $other:ident $($name:tt)*) => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $macro {
            $(([$name] $d code:tt) => { $crate::$listed! { [$name] $d code } };)*
            ($d features:tt $d code:tt) => { $crate::$other! { $d features $d code } };
        }
    };
}

// On x86-64 a list stays.
#[cfg(target_arch = "x86_64")]
x86_64::features!(each_name sorting [$ __if_native __kept __unless_of_aarch64]);
#[cfg(target_arch = "x86_64")]
aarch64::features!(each_name sorting [$ __unless_of_aarch64 __left_out __unless_of_riscv64]);
#[cfg(target_arch = "x86_64")]
riscv64::features!(each_name sorting [$ __unless_of_riscv64 __left_out __kept]);
#[cfg(target_arch = "aarch64")]
aarch64::features!(each_name sorting [$ __if_native __kept __list_left_out]);
#[cfg(target_arch = "riscv64")]
riscv64::features!(each_name sorting [$ __if_native __kept __list_left_out]);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
each_name!(sorting [$ __if_native __kept __list_left_out]);
