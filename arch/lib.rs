//! What `invar` knows about an instruction set, and nothing else does: how a site looks in checked and in
//! bound form, how a system call is made, where a thread's rseq area lies, what the CPU offers.
//!
//! One folder per architecture, and [`portable`](self#portable) for every other one.
//! All of them export the same names:
//!
//! | name | what it is |
//! |---|---|
//! | `NAME`, `PATCHES` | the folder's name; whether its sites can be bound at all |
//! | `__site!` | emits one checked site and its record |
//! | [`checked`], [`bound`] | the bytes of a site before and after binding |
//! | [`synchronise`] | makes this CPU see the code that was just written |
//! | [`syscall`] | a raw system call: `-errno` on failure, `errno` untouched |
//! | [`libc_area`], [`own_area_offset`], [`area`] | where the C library's and our own rseq area lie |
//! | [`request`], [`withdraw`] | the slice protocol for an unbound site, and its cold path |
//! | `cpu_keys!`, [`cpu_features`], [`named_feature`] | the CPU features that a program would choose by |
//!
//! # portable
//!
//! Holds the checked form only: a site is an ordinary load and compare, it leaves no record, and nothing is
//! ever written. `--cfg invar_portable` selects it on any machine.
#![no_std]

#[cfg_attr(
    all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)),
    path = "x86_64/mod.rs"
)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable))),
    path = "portable/mod.rs"
)]
mod machine;

// Which features a CPU has is another question than whether sites can be bound: code that names a feature's key is
// to compile wherever the feature exists.
#[cfg_attr(target_arch = "x86_64", path = "x86_64/cpu.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "portable/cpu.rs")]
mod cpu;

pub use cpu::{FEATURES, cpu_features, level};
pub use machine::{
    NAME, PATCHES, RSEQ_SIGNATURE, area, bound, checked, libc_area, own_area_offset, request, synchronise, syscall,
    withdraw,
};

/// What stands at a site. The numbers are part of the site ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A static branch: falls through if the key has the record's value, else goes to the target.
    Branch = 1,
    /// Slice enter: bound to one store of the request byte, or to nothing.
    SliceEnter = 2,
    /// Slice leave: bound to taking the request back and testing what it was, or to nothing.
    SliceLeave = 3,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Branch),
            2 => Some(Self::SliceEnter),
            3 => Some(Self::SliceLeave),
            _ => None,
        }
    }
}

/// A site with its addresses worked out, as they are (or would be) at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of the first instruction.
    pub address: u64,
    /// Where the checked form jumps if the key's value is not `value`.
    pub target: u64,
    /// Address of the key's state byte.
    pub state: u64,
    /// Length in bytes, of the checked and of every bound form.
    pub length: u8,
    /// What stands there.
    pub kind: Kind,
    /// The value for which the site falls through.
    pub value: u8,
}

/// The longest site of any architecture, in bytes.
pub const MAX_SITE: usize = 16;

/// The bytes of one site.
///
/// Kept as one number, first byte lowest: code for a site is built with shifts and compared in one go, which is
/// what makes binding a hundred thousand of them a matter of milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Code {
    bits: u128,
    length: u8,
}

impl Code {
    /// No bytes.
    pub const fn new() -> Self {
        Self { bits: 0, length: 0 }
    }

    /// How many bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, and zeros up to the longest site.
    #[inline]
    pub fn padded(&self) -> [u8; MAX_SITE] {
        self.bits.to_le_bytes()
    }

    /// Whether `memory`, as long as the longest site, begins with these bytes.
    #[inline(always)]
    pub fn begins(&self, memory: [u8; MAX_SITE]) -> bool {
        let beyond = 8 * (MAX_SITE as u32).saturating_sub(self.length.into());
        let difference = self.bits ^ u128::from_le_bytes(memory);
        difference.checked_shl(beyond).unwrap_or(0) == 0
    }

    /// The `length` low bytes of `bits`, which has no others.
    #[allow(dead_code)] // not where nothing is encoded
    #[inline(always)]
    const fn from_bits(bits: u64, length: u8) -> Self {
        Self { bits: bits as u128, length }
    }

    #[allow(dead_code)] // not where nothing is encoded
    #[inline(always)]
    const fn push(self, bits: u64, length: u8) -> Self {
        self.append(Self::from_bits(bits, length))
    }

    /// Both, one behind the other; together no longer than the longest site.
    #[allow(dead_code)] // not where nothing is encoded
    #[inline(always)]
    const fn append(self, more: Self) -> Self {
        Self { bits: self.bits | more.bits << (8 * self.length), length: self.length + more.length }
    }
}

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(&self.padded()[..self.len().min(MAX_SITE)]).finish()
    }
}

/// Offset of the request byte (`slice_ctrl.request`) in `struct rseq`; `granted` is the byte behind it.
/// Source: Linux 7.0, include/uapi/linux/rseq.h.
pub const AREA_REQUEST: usize = 28;

/// The features in a comma-separated list of names, as in `#[target_feature(enable = "...")]`, as bits of
/// [`cpu_features`]; or those of the one level that is named.
///
/// # Panics
///
/// On a name that is neither; at compile time, where it is called there.
pub const fn feature_mask(list: &str) -> u64 {
    match level(list.as_bytes()) {
        Some(features) => features,
        None => all(list.as_bytes()),
    }
}

/// The features that one name stands for.
pub const fn named_feature(name: &[u8]) -> Option<u64> {
    match level(name) {
        Some(features) => Some(features),
        None => match feature(name) {
            Some(bit) => Some(1 << bit),
            None => None,
        },
    }
}

/// The features in a list, whose names have commas or spaces between them. Panics on an unknown name.
const fn all(mut list: &[u8]) -> u64 {
    let mut features = 0;
    while !list.is_empty() {
        let mut end = 0;
        while end < list.len() && list[end] != b',' && list[end] != b' ' {
            end += 1;
        }
        let (name, more) = list.split_at(end);
        match feature(name) {
            Some(bit) => features |= 1 << bit,
            None => panic!("invar knows no CPU feature of this name"),
        }
        list = if more.is_empty() { more } else { more.split_at(1).1 };
    }
    features
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
