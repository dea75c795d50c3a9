//! What `invar` knows about an instruction set, and nothing else does: how a site is emitted and exchanged, how a system
//! call is made, where a thread's rseq area lies, what the CPU offers. The forms of a site are `invar-abi`'s.
//!
//! One folder per architecture, and [`portable`](self#portable) for every other one.
//! All of them export the same names:
//!
//! | name | what it is |
//! |---|---|
//! | `NAME`, `PATCHES` | the folder's name; whether its sites can be bound at all |
//! | `__site!` | emits one checked site and its record |
//! | `__select!`, `__number!` | the same for the sites of a select and of a constant |
//! | [`checked`], [`bound`], [`constant`], [`near_branch`] | the bytes of a site before and after binding |
//! | [`store`], [`stands`], [`stands_under_breakpoint`], [`print`] | puts them to their place, looks whether they are there, and what is |
//! | [`exchange`], [`exchange_by`], [`exchange_code`] | exchanges pages of code, also those that it is called from |
//! | [`synchronise`] | makes this CPU see the code that was just written |
//! | [`syscall`], [`syscall_for_resolvers`] | a raw system call: `-errno` on failure, `errno` untouched |
//! | `PRCTL` | every machine and number by which `prctl(2)` can be called |
//! | [`libc_area`], [`own_area_offset`], [`area`], [`holds_area`] | where the C library's and our own rseq area lie, and where one can |
//! | `__slice_paths!`, `__call_cold!` | the slice protocol for an unbound site, and its cold path |
//! | [`start`], [`Call`] | a thread's start routine that does something before another |
//! | `cpu_keys!`, [`cpu_features`], [`feature_mask`] | the CPU features that a program would choose by |
//! | `__symbol!`, `__address_of!`, `IFUNC` | a symbol that the loader binds, and whether it does |
//! | `__protected!` | the directive by which a dylib has an exported static of its own |
//!
//! # portable
//!
//! Holds the checked form only: a site is an ordinary load and compare, it leaves no record, and nothing is
//! ever written. `--cfg invar_portable` selects it on any machine.
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg_attr(
    all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)),
    path = "x86_64/mod.rs"
)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable))),
    path = "portable/mod.rs"
)]
mod machine;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)))]
#[doc(hidden)]
pub use machine::{OBSERVED_REQUEST, OBSERVED_WITHDRAWAL};

// Which features a CPU has is another question than whether sites can be bound: code that names a feature's key is
// to compile wherever the feature exists.
#[cfg_attr(target_arch = "x86_64", path = "x86_64/cpu.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "portable/cpu.rs")]
mod cpu;
mod message;

#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
pub use cpu::cpu_features_of;
pub use cpu::{FEATURE_SOURCE, FEATURES, cpu_features, cpu_features_for_resolvers, level};
pub use machine::{
    EXCHANGE_LENGTH, IFUNC, NAME, Observer, PATCHES, PRCTL, RSEQ_SIGNATURE, SYS_RSEQ, area, bound, checked, constant,
    exchange, exchange_by, exchange_code, holds_area, is_glibc, libc_area, near_branch, observe, own_area_offset,
    print, stands, stands_under_breakpoint, start, store, synchronise, syscall, syscall_for_resolvers, take_back,
    thread_pointer, ticks,
};
#[doc(hidden)]
pub use message::Message;

/// A function that takes one word, and the word: what [`start`] goes on with.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Call {
    /// The function.
    pub function: *const core::ffi::c_void,
    /// What it is called with.
    pub argument: *mut core::ffi::c_void,
}

/// Offset of the request byte (`slice_ctrl.request`) in `struct rseq`; `granted` is the byte behind it.
/// Source: Linux 7.0, include/uapi/linux/rseq.h.
pub const AREA_REQUEST: usize = 28;

/// The features in a comma-separated list of names, as in `#[target_feature(enable = "...")]`, as bits of
/// [`cpu_features`], with all that they build on; or those of the one level that is named.
///
/// # Panics
///
/// On a name that is neither; at compile time, where it is called there.
pub const fn feature_mask(list: &str) -> u64 {
    match features_named(list.as_bytes()) {
        Some(features) => features,
        None => Message::new("invar knows no CPU feature `").and(first_unknown(list.as_bytes())).and(b"`").panic(),
    }
}

/// The same for a name that may be unknown.
pub const fn features_named(list: &[u8]) -> Option<u64> {
    match level(list) {
        None => all(list),
        level => level,
    }
}

/// The features in a list, whose names have commas or spaces between them, and all that they build on.
const fn all(list: &[u8]) -> Option<u64> {
    let Some(named) = listed(list) else { return None };
    let (mut features, mut bit) = (named, 0);
    while named >> bit != 0 {
        if named >> bit & 1 == 1 {
            features |= cpu::closed(bit);
        }
        bit += 1;
    }
    Some(features)
}

/// The features in a list, and no others.
const fn listed(mut list: &[u8]) -> Option<u64> {
    let mut features = 0;
    while !list.is_empty() {
        let (name, more) = split(list);
        match feature(name) {
            Some(bit) => features |= 1 << bit,
            None => return None,
        }
        list = more;
    }
    Some(features)
}

/// The first name in a list that is none of a feature.
const fn first_unknown(mut list: &[u8]) -> &[u8] {
    loop {
        let (name, more) = split(list);
        if feature(name).is_none() || more.is_empty() {
            return name;
        }
        list = more;
    }
}

/// The first name of a list, and what stands behind it.
const fn split(list: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while end < list.len() && list[end] != b',' && list[end] != b' ' {
        end += 1;
    }
    let (name, more) = list.split_at(end);
    (name, if more.is_empty() { more } else { more.split_at(1).1 })
}

/// The first feature in such a list that is not there with `proved`, or builds on one that is not.
///
/// # Panics
///
/// As [`feature_mask`].
pub const fn first_missing(list: &str, proved: u64) -> Option<&[u8]> {
    let mut left = if feature_mask(list) & !proved == 0 { &[] } else { list.as_bytes() };
    while !left.is_empty() {
        let (name, more) = split(left);
        match features_named(name) {
            Some(features) if features & !proved == 0 => left = more,
            _ => return Some(name),
        }
    }
    None
}

/// Calls `take` with the name of each feature of a set that no other one of the set has to be there for.
pub fn each_root(features: u64, mut take: impl FnMut(&str)) {
    for (bit, name) in FEATURES.split_ascii_whitespace().enumerate() {
        if features >> bit & 1 == 1 && cpu::closed(bit as u32) & features == 1 << bit {
            take(name);
        }
    }
}

/// The bit of the feature with this name.
const fn feature(name: &[u8]) -> Option<u32> {
    let names = FEATURES.as_bytes();
    let (mut at, mut matching, mut bit) = (0, 0, 0);
    // `matching` is how far the name agrees with the one that is being read; beyond all lengths, not at all.
    while at < names.len() {
        if names[at] == b' ' {
            if matching == name.len() && matching > 0 {
                return Some(bit);
            }
            bit += 1;
            matching = 0;
        } else if matching < name.len() && name[matching] == names[at] {
            matching += 1;
        } else {
            matching = usize::MAX;
        }
        at += 1;
    }
    None
}

/// The name of the built-in key for exactly these features, without `cpu.`, and zeros behind it; all zeros if there is none.
pub const fn cpu_key_name(features: u64) -> [u8; CPU_KEY_NAME] {
    let mut at = 0;
    while at < CPU_KEYS.len() {
        let name = CPU_KEYS[at].as_bytes();
        if feature_mask(CPU_KEYS[at]) == features {
            let mut padded = [0; CPU_KEY_NAME];
            padded.split_at_mut(name.len()).0.copy_from_slice(name);
            return padded;
        }
        at += 1;
    }
    [0; CPU_KEY_NAME]
}

/// How long the name of a built-in key may be, and a zero behind it.
pub const CPU_KEY_NAME: usize = 24;

macro_rules! key_names {
    ($($key:ident $name:literal $doc:literal,)*) => {
        const CPU_KEYS: &[&str] = &[$($name),*];
    };
}
cpu_keys!(key_names);

/// For `asm!`: makes a static `protected`, so that a table in a Rust `dylib`, which exports it, leads to the library's own.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __protected {
    ($symbol:literal) => {
        concat!(".protected ", $symbol)
    };
}

/// Nothing: for most other machines LLVM puts statics into one (GlobalMerge.cpp), so that what the compiler names is a sum,
/// which the directive does not take. A `dylib` with keys is not linked there.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __protected {
    ($symbol:literal) => {
        ""
    };
}
