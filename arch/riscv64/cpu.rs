//! CPU features, by `riscv_hwprobe(2)`: those that all CPUs of the machine have.

use crate::closures;
use crate::tables::riscv64::features;

/// Who says so, for evidence.
pub const FEATURE_SOURCE: &str = "riscv_hwprobe";

macro_rules! table {
    ($($name:literal $bit:literal $builds_on:literal,)*) => {
        /// Names of the features, by bit of [`cpu_features`], with a space behind each.
        pub const FEATURES: &str = concat!($($name, " "),*);

        const COUNT: usize = [$($name),*].len();

        /// Which bit of the kernel's answer says that one is there.
        const BITS: [u8; COUNT] = [$($bit),*];

        /// Each with all that it builds on.
        const CLOSED: [u64; COUNT] = closures([$($builds_on),*]);
    };
}

features!(table);

/// The features of this machine's CPUs, a bit for each name of [`FEATURES`]; none before Linux 6.4, which has no such call.
pub fn cpu_features() -> u64 {
    /// `struct riscv_hwprobe`.
    #[repr(C)]
    struct Pair {
        key: i64,
        value: u64,
    }
    const SYS_RISCV_HWPROBE: libc::c_long = 258;
    const IMA_EXT_0: i64 = 4;
    let mut pair = Pair { key: IMA_EXT_0, value: 0 };
    // SAFETY: one pair, which the kernel fills in; no set of CPUs means all.
    let result = unsafe { crate::syscall(SYS_RISCV_HWPROBE as usize, [&raw mut pair as usize, 1, 0, 0, 0]) };
    // The kernel gives a key that it does not know another number.
    if result == 0 && pair.key == IMA_EXT_0 { features_of(pair.value) } else { 0 }
}

/// The same: a system call needs no libc.
pub fn cpu_features_for_resolvers(_arguments: Option<&[usize; 2]>) -> u64 {
    cpu_features()
}

/// What this answer says.
fn features_of(answer: u64) -> u64 {
    let mut features = 0;
    for (at, bit) in BITS.iter().enumerate() {
        features |= (answer >> bit & 1) << at;
    }
    crate::without_gaps(features, &CLOSED)
}

/// No level is known.
pub const fn level(_name: &[u8]) -> Option<u64> {
    None
}

/// A feature and all that it builds on.
pub(crate) const fn closed(bit: u32) -> u64 {
    CLOSED[bit as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_counts_with_all_that_it_builds_on() {
        assert_eq!(features_of(1 << 3 | 1 << 4), crate::feature_mask("zba,zbb"));
        assert_eq!(features_of(1 << 27), 0, "`zfh` builds on `zfhmin`");
        assert_eq!(features_of(1 << 27 | 1 << 28), crate::feature_mask("zfh"));
        assert_eq!(features_of(u64::MAX), (1 << COUNT) - 1);
    }
}
