//! CPU features, as the kernel tells every process: those that all CPUs of the machine have, whose registers it saves.

use crate::closures;
use crate::tables::aarch64::features;

/// Who says so, for evidence.
pub const FEATURE_SOURCE: &str = "the kernel's HWCAP";

/// The two words of the auxiliary vector.
const HWCAP: usize = 0;
const HWCAP2: usize = 1;

macro_rules! table {
    ($($name:literal $word:ident [$($bit:literal),*] $builds_on:literal,)*) => {
        /// Names of the features, by bit of [`cpu_features`], with a space behind each.
        pub const FEATURES: &str = concat!($($name, " "),*);

        const COUNT: usize = [$($name),*].len();

        /// Where the kernel says that one is there: a word, and bits of it.
        const BITS: [(usize, u64); COUNT] = [$(($word, 0 $(| 1 << $bit)*)),*];

        /// Each with all that it builds on.
        const CLOSED: [u64; COUNT] = closures([$($builds_on),*]);
    };
}

features!(table);

/// The features of this machine's CPUs, a bit for each name of [`FEATURES`].
pub fn cpu_features() -> u64 {
    // SAFETY: reads what the kernel gave to the process.
    features_of([libc::AT_HWCAP, libc::AT_HWCAP2].map(|word| unsafe { libc::getauxval(word) }))
}

/// The same, by the arguments of a resolver, which runs before libc can be asked: the first word, with a bit by which more is known,
/// and a structure of its own size and both words (glibc 2.30, sysdeps/aarch64/sys/ifunc.h).
pub fn cpu_features_for_resolvers(arguments: Option<&[usize; 2]>) -> u64 {
    const MORE: usize = 1 << 62;
    const SIZE: u64 = 24;
    let Some(&[first, more]) = arguments else { return cpu_features() };
    let mut words = [(first & !MORE) as u64, 0];
    if first & MORE != 0 {
        let more = more as *const u64;
        // SAFETY: the loader's structure, of which the first word is its size, and the last of these is there if that says so.
        words[1] = unsafe { if more.read() >= SIZE { more.add(2).read() } else { 0 } };
    }
    features_of(words)
}

/// What these words say.
fn features_of(words: [u64; 2]) -> u64 {
    let mut features = 0;
    for (at, &(word, bits)) in BITS.iter().enumerate() {
        features |= u64::from(words[word] & bits == bits) << at;
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
    use std::arch::is_aarch64_feature_detected;

    #[test]
    fn a_feature_counts_with_all_that_it_builds_on() {
        let of = |list: &str| crate::feature_mask(list);
        assert_eq!(features_of([0, 0]), 0);
        assert_eq!(features_of([1 << 1 | 1 << 3, 0]), of("neon"), "half of what `aes` needs");
        assert_eq!(features_of([1 << 1 | 1 << 3 | 1 << 4, 0]), of("aes"));
        assert_eq!(features_of([1 << 3 | 1 << 4, 0]), 0, "and nothing that it builds on");
        assert_eq!(features_of([1 << 22, 1 << 1]), 0);
        assert_eq!(features_of([1 << 1 | 1 << 9 | 1 << 10 | 1 << 22, 1 << 1]), of("sve2"));
        assert_eq!(features_of([u64::MAX; 2]), (1 << COUNT) - 1);
    }

    #[test]
    fn resolvers_are_told_the_same() {
        // SAFETY: reads what the kernel told the loader.
        let [first, second] = [libc::AT_HWCAP, libc::AT_HWCAP2].map(|word| unsafe { libc::getauxval(word) });
        let told = |size: u64, first: u64| {
            let more = [size, first, second];
            cpu_features_for_resolvers(Some(&[first as usize, more.as_ptr() as usize]))
        };
        assert_eq!(told(24, first | 1 << 62), cpu_features());
        assert_eq!(told(0, first), features_of([first, 0]), "an old loader, which gives one word");
        assert_eq!(told(16, first | 1 << 62), features_of([first, 0]));
        assert_eq!(cpu_features_for_resolvers(None), cpu_features());
    }

    #[test]
    fn the_standard_library_says_the_same() {
        let here = cpu_features();
        macro_rules! same {
            ($($name:tt)*) => { $(assert_eq!(here & crate::feature_mask($name) == crate::feature_mask($name), is_aarch64_feature_detected!($name), $name);)* };
        }
        same!("neon" "aes" "sha2" "crc" "lse" "fp16" "rdm" "jsconv" "fcma" "rcpc" "dpb" "sha3" "sm4" "dotprod" "sve" "fhm" "dit");
        same!("lse2" "rcpc2" "flagm" "ssbs" "sb" "paca" "pacg" "dpb2" "sve2" "sve2-aes" "sve2-bitperm" "sve2-sha3" "sve2-sm4");
        same!("frintts" "f32mm" "f64mm" "i8mm" "bf16" "rand" "bti" "mte");
    }
}
