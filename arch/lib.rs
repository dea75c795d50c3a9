//! What `invar` knows about an instruction set, and nothing else does: how a site is emitted and exchanged, how a system
//! call is made, where a thread's rseq area lies, what the CPU offers. The forms of a site are `invar-abi`'s.
//!
//! One folder per architecture, and [`portable`](self#portable) for every other one. A folder has a file for each face of the
//! machine that is its own, and takes the others from `portable`. All of them export the same names:
//!
//! | name | what it is |
//! |---|---|
//! | `NAME`, `PATCHES` | the folder's name; whether its sites can be bound at all |
//! | `REQUESTS`, `KERNEL_NEEDS` | whether critical sections ask for time, on a kernel that grants; what one needs that does not |
//! | `HOLDS_NUMBERS` | whether every number has an instruction that holds it |
//! | `__site!` | emits one checked site and its record |
//! | `__select!`, `__number!` | the same for the sites of a select and of a constant |
//! | [`checked`], [`bound`], [`constant`], [`near_branch`] | the bytes of a site before and after binding |
//! | [`store`], [`stands`], [`print`] | puts them to their place, looks whether they are there, and what is (of all machines) |
//! | [`store_under_breakpoint`], [`stands_under_breakpoint`] | the same where somebody may have set a breakpoint |
//! | [`exchange`], [`exchange_by`], [`exchange_code`] | exchanges pages of code, also those that it is called from |
//! | [`synchronise`] | makes the CPUs see the code that was just written |
//! | [`syscall`], [`syscall_for_resolvers`] | a raw system call: `-errno` on failure, `errno` untouched |
//! | `PRCTL` | every machine and number by which `prctl(2)` can be called |
//! | [`libc_area`], [`own_area_offset`], [`area`], [`holds_area`] | where the C library's and our own rseq area lie, and where one can |
//! | `__slice_paths!`, `__call_cold!` | the slice protocol for an unbound site, and its cold path |
//! | [`start`], [`Call`] | a thread's start routine that does something before another |
//! | `cpu_keys!`, [`cpu_features`], [`feature_mask`] | the CPU features that a program would choose by |
//! | `foreign_cpu_keys!`, [`FOREIGN`], `__with_features!` | those of other architectures, which no CPU here has |
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

// `build.rs` chooses both.
#[cfg_attr(invar_machine = "x86_64", path = "x86_64/mod.rs")]
#[cfg_attr(invar_machine = "aarch64", path = "aarch64/mod.rs")]
#[cfg_attr(invar_machine = "riscv64", path = "riscv64/mod.rs")]
#[cfg_attr(invar_machine = "portable", path = "portable/mod.rs")]
mod machine;

// Which features a CPU has is another question than whether sites can be bound: code that names a feature's key is
// to compile wherever the feature exists.
#[cfg_attr(invar_cpu = "x86_64", path = "x86_64/cpu.rs")]
#[cfg_attr(invar_cpu = "aarch64", path = "aarch64/cpu.rs")]
#[cfg_attr(invar_cpu = "riscv64", path = "riscv64/cpu.rs")]
#[cfg_attr(invar_cpu = "portable", path = "portable/cpu.rs")]
mod cpu;

mod bytes;
mod foreign;
mod keys;
mod message;
mod observers;
#[cfg_attr(invar_machine = "portable", allow(dead_code))]
mod registers;
mod tables;
mod word;

pub use bytes::{print, stands, store};
#[cfg(invar_cpu = "x86_64")]
#[doc(hidden)]
pub use cpu::cpu_features_of;
pub use cpu::{FEATURE_SOURCE, FEATURES, cpu_features, cpu_features_for_resolvers, level};
pub use foreign::FOREIGN;
pub use machine::{
    EXCHANGE_LENGTH, HOLDS_NUMBERS, IFUNC, KERNEL_NEEDS, NAME, PATCHES, PRCTL, REQUESTS, RSEQ_SIGNATURE, SYS_RSEQ,
    area, bound, checked, constant, exchange, exchange_by, exchange_code, holds_area, is_glibc, libc_area, near_branch,
    observe, own_area_offset, stands_under_breakpoint, start, store_under_breakpoint, synchronise, syscall,
    syscall_for_resolvers, take_back, thread_pointer, ticks,
};
#[doc(hidden)]
pub use message::Message;
pub use observers::Observers;
#[doc(hidden)]
pub use word::AtomicU64;

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
        if (named & !FOREIGN) >> bit & 1 == 1 {
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
            None if is_foreign_name(name) => features |= FOREIGN,
            None => return None,
        }
        list = more;
    }
    Some(features)
}

/// Of each feature, by bit, with the names of those that it builds on: it, and all that it builds on.
#[allow(dead_code)] // where no feature is known
const fn closures<const N: usize>(builds_on: [&str; N]) -> [u64; N] {
    let mut closed = [0; N];
    let mut at = 0;
    while at < N {
        closed[at] = 1 << at | listed(builds_on[at].as_bytes()).unwrap();
        at += 1;
    }
    // And with what that builds on (Warshall).
    let mut round = 0;
    while round < N * N {
        let (other, at) = (round / N, round % N);
        if closed[at] >> other & 1 == 1 {
            closed[at] |= closed[other];
        }
        round += 1;
    }
    closed
}

/// The features without those that lack what they build on: a hypervisor may show the one without the other.
#[allow(dead_code)] // where no feature is known
fn without_gaps(present: u64, closed: &[u64]) -> u64 {
    let mut features = present;
    for (at, closed) in closed.iter().enumerate() {
        if present & closed != *closed {
            features &= !(1 << at);
        }
    }
    features
}

/// The first name in a list that is none of a feature.
const fn first_unknown(mut list: &[u8]) -> &[u8] {
    loop {
        let (name, more) = split(list);
        if listed(name).is_none() || more.is_empty() {
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

/// Sees that a list has a feature which no CPU of this architecture has: the arm that names it was left out.
///
/// # Panics
///
/// Where it has none; at compile time, where it is called there.
pub const fn is_foreign(list: &str) {
    assert!(
        feature_mask(list) & FOREIGN != 0,
        "on this architecture an arm of invar names each feature by itself, as `enable = \"neon\", enable = \"crc\"`: a list in one string is taken on x86-64 only"
    );
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
    if features & FOREIGN != 0 {
        take("what another architecture has");
    }
}

/// The bit of the feature with this name.
const fn feature(name: &[u8]) -> Option<u32> {
    position(FEATURES, name)
}

const _: () = {
    let (names, mut at, mut count) = (FEATURES.as_bytes(), 0, 0);
    while at < names.len() {
        count += (names[at] == b' ') as u32;
        at += 1;
    }
    assert!(1_u64.wrapping_shl(count) <= FOREIGN, "no feature of this architecture has this bit");
};

/// Whether an architecture has a feature with this name.
const fn is_foreign_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < foreign::NAMES.len() {
        if position(foreign::NAMES[at], name).is_some() {
            return true;
        }
        at += 1;
    }
    false
}

/// The position of a name in such a string of names.
const fn position(names: &str, name: &[u8]) -> Option<u32> {
    let names = names.as_bytes();
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
        ::core::concat!(".protected ", $symbol)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_of_another_architecture_is_known_and_never_there() {
        let names = foreign::NAMES.iter().flat_map(|names| names.split_ascii_whitespace());
        for name in names {
            let is_native = FEATURES.split_ascii_whitespace().any(|native| native == name);
            let is_level = level(name.as_bytes()).is_some();
            assert_eq!(feature_mask(name) & FOREIGN == 0, is_native || is_level, "{name}");
            assert_ne!(feature_mask(name), 0, "{name}");
        }
        assert_eq!(cpu_features() & FOREIGN, 0);
        assert_eq!(features_named(b"avx2,neon,nothing"), None);
    }

    #[cfg(invar_cpu = "x86_64")]
    #[test]
    fn a_name_that_two_have_is_the_native_one() {
        assert_eq!(feature_mask("aes,sm4") & FOREIGN, 0);
        assert_eq!(feature_mask("avx2,neon"), feature_mask("avx2") | FOREIGN);
        assert_eq!(feature_mask("zbb"), FOREIGN);
        is_foreign("avx2,neon");
        assert!(std::panic::catch_unwind(|| is_foreign("avx2,aes")).is_err());
    }
}
