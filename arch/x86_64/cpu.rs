//! CPU features, from cpuid and xgetbv. A feature counts only if the operating system saves its registers.

use crate::tables::x86_64::{self as levels, features};
use crate::{all, closures, listed};
use core::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};

/// The features of a level of the System V x86-64 psABI, by its name.
pub const fn level(name: &[u8]) -> Option<u64> {
    const V2: u64 = all(levels::V2.as_bytes()).unwrap();
    const V3: u64 = V2 | all(levels::V3.as_bytes()).unwrap();
    const V4: u64 = V3 | all(levels::V4.as_bytes()).unwrap();
    match name {
        b"x86-64-v2" => Some(V2),
        b"x86-64-v3" => Some(V3),
        b"x86-64-v4" => Some(V4),
        _ => None,
    }
}

/// Who says so, for evidence.
pub const FEATURE_SOURCE: &str = "cpuid";

/// What cpuid says of a CPU's features.
type Registers = [u32; 10];

// Which register of which leaf; two numbers where it is not the first of a leaf's parts.
const ECX_1: u8 = 0;
const EDX_1: u8 = 1;
const EBX_7: u8 = 2;
const ECX_7: u8 = 3;
const EDX_7: u8 = 4;
const EAX_7_1: u8 = 5;
const EDX_7_1: u8 = 6;
const EAX_D_1: u8 = 7;
const EBX_19: u8 = 8;
const ECX_80000001: u8 = 9;

// What the operating system must save, as bits of XCR0: nothing beyond SSE, the AVX state, the AVX-512 state.
const SSE: u8 = 0;
const YMM: u8 = 0b110;
const ZMM: u8 = 0b1110_0110;

/// What the table says, one constant for each question.
macro_rules! table {
    ($($name:literal $register:ident $bit:literal $state:ident $builds_on:literal,)*) => {
        /// Names of the features, by bit of [`cpu_features`], with a space behind each. One string, and not an array of them: that
        /// would be relocated in every module.
        pub const FEATURES: &str = concat!($($name, " "),*);

        const COUNT: usize = [$($bit),*].len();
        const BITS: [(u8, u8, u8); COUNT] = [$(($register, $bit, $state)),*];

        /// Each with all that it builds on.
        const CLOSED: [u64; COUNT] = closures([$($builds_on),*]);
    };
}

features!(table);

/// A feature and all that it builds on.
pub(crate) const fn closed(bit: u32) -> u64 {
    CLOSED[bit as usize]
}

/// The features of this CPU under this operating system, a bit for each name of [`FEATURES`].
pub fn cpu_features() -> u64 {
    match libc_registers() {
        Some(registers) => features(&registers),
        None => cpu_features_for_resolvers(None),
    }
}

/// The same without a call of libc's, and without anything that must be relocated first. Resolvers are given no arguments.
pub fn cpu_features_for_resolvers(_arguments: Option<&[usize; 2]>) -> u64 {
    with_cpuid_registers(features)
}

fn features(registers: &Registers) -> u64 {
    let one = registers[ECX_1 as usize];
    // SAFETY: `xgetbv` exists where cpuid reports OSXSAVE.
    let saved = if one >> 27 & 1 == 1 { unsafe { xcr0() as u8 } } else { 0 };
    cpu_features_of(registers, saved)
}

/// What these registers say, of which the operating system saves this state. `invar-ifunc.h` says the same, which a test
/// compares.
#[doc(hidden)]
pub fn cpu_features_of(registers: &[u32; 10], saved: u8) -> u64 {
    let mut features = 0;
    for (at, (register, bit, state)) in BITS.iter().enumerate() {
        let present = registers[*register as usize % 10] >> bit & 1 == 1 && saved & state == *state;
        features |= u64::from(present) << at;
    }
    without_gaps(features)
}

/// The features without those that lack what they build on: a hypervisor may show the one without the other. Nor does bit
/// manipulation count without AVX: Skylakes that have neither report it (Intel, erratum SKL052).
fn without_gaps(present: u64) -> u64 {
    const AVX: u64 = listed(b"avx").unwrap();
    const BMI: u64 = listed(b"bmi1 bmi2").unwrap();
    let features = crate::without_gaps(present, &CLOSED);
    if features & AVX == 0 { features & !BMI } else { features }
}

/// Whether the CPU has `serialize` (Intel SDM volume 2), as far as libc tells: to ask the CPU would serialise it.
#[cfg(invar_machine = "x86_64")]
pub(crate) fn serializes() -> bool {
    libc_leaves().is_some_and(|leaf| leaf(INDEX_7)[3] >> 14 & 1 == 1)
}

/// Leaf 0x19 means something where leaf 7 says that there is a Key Locker (Intel SDM volume 2, CPUID).
const fn has_key_locker(ecx_7: u32) -> bool {
    ecx_7 >> 23 & 1 == 1
}

/// What the CPU says of itself: a leaf, and a part of it.
#[inline(always)]
pub(crate) fn cpuid(leaf: u32, part: u32) -> CpuidResult {
    // SAFETY: every x86-64 CPU has the instruction. The function is a safe one in newer compilers.
    #[allow(unused_unsafe)]
    unsafe {
        __cpuid_count(leaf, part)
    }
}

/// The registers by cpuid itself. In a virtual machine each of these is an exit to the hypervisor, some
/// microseconds long, so it is the second choice.
#[cold]
fn with_cpuid_registers<T>(then: impl FnOnce(&Registers) -> T) -> T {
    let one = cpuid(1, 0);
    // Not returned, and no row of zeros alone: without optimisation, to copy or clear so many bytes would be a call of libc's.
    let mut registers = [one.ecx, one.edx, 0, 0, 0, 0, 0, 0, 0, 0];
    let last = cpuid(0, 0).eax;
    if last >= 7 {
        let seven = cpuid(7, 0);
        registers[EBX_7 as usize] = seven.ebx;
        registers[ECX_7 as usize] = seven.ecx;
        registers[EDX_7 as usize] = seven.edx;
        // How many parts there are behind the first.
        if seven.eax >= 1 {
            let part = cpuid(7, 1);
            registers[EAX_7_1 as usize] = part.eax;
            registers[EDX_7_1 as usize] = part.edx;
        }
        if last >= 0x19 && has_key_locker(seven.ecx) {
            registers[EBX_19 as usize] = cpuid(0x19, 0).ebx;
        }
    }
    if last >= 0xd {
        registers[EAX_D_1 as usize] = cpuid(0xd, 1).eax;
    }
    if cpuid(0x8000_0000, 0).eax > 0x8000_0000 {
        registers[ECX_80000001 as usize] = cpuid(0x8000_0001, 0).ecx;
    }
    then(&registers)
}

/// The registers as glibc read them when the process started; `None` with another libc.
fn libc_registers() -> Option<Registers> {
    let leaf = libc_leaves()?;
    let ([_, _, ecx_1, edx_1], [_, ebx_7, ecx_7, edx_7], [eax_7_1, _, _, edx_7_1]) =
        (leaf(INDEX_1), leaf(INDEX_7), leaf(INDEX_7_1));
    let ebx_19 = if has_key_locker(ecx_7) { leaf(INDEX_19)[1] } else { 0 };
    let (eax_d_1, ecx_80000001) = (leaf(INDEX_D_1)[0], leaf(INDEX_80000001)[2]);
    // A leaf that this libc did not read is zero: ask the CPU.
    (ecx_1 != 0).then_some([ecx_1, edx_1, ebx_7, ecx_7, edx_7, eax_7_1, edx_7_1, eax_d_1, ebx_19, ecx_80000001])
}

// How glibc counts the leaves that it read.
const INDEX_1: u32 = 0;
const INDEX_7: u32 = 1;
const INDEX_80000001: u32 = 2;
const INDEX_D_1: u32 = 3;
const INDEX_7_1: u32 = 6;
const INDEX_19: u32 = 7;

/// Only Linux has glibc.
#[cfg(not(target_os = "linux"))]
fn libc_leaves() -> Option<impl Fn(u32) -> [u32; 4]> {
    None::<fn(u32) -> [u32; 4]>
}

/// What cpuid said of each leaf when glibc read it, in the order eax, ebx, ecx, edx (2.33 and newer,
/// `<sys/platform/x86.h>`); `None` with another libc.
#[cfg(target_os = "linux")]
fn libc_leaves() -> Option<impl Fn(u32) -> [u32; 4]> {
    /// And what of it is active.
    #[repr(C)]
    struct Leaf {
        cpuid: [u32; 4],
        active: [u32; 4],
    }

    let leaf: *const ();
    // SAFETY: reads one GOT entry.
    unsafe {
        core::arch::asm!(
            ".weak __x86_get_cpuid_feature_leaf",
            "mov {leaf}, qword ptr [rip + __x86_get_cpuid_feature_leaf@GOTPCREL]",
            leaf = out(reg) leaf,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    // SAFETY: null, or the address of a function of this type.
    let leaf = unsafe { core::mem::transmute::<*const (), Option<unsafe extern "C" fn(u32) -> *const Leaf>>(leaf) }?;
    // SAFETY: glibc's function takes any index and gives a leaf that is constant after start-up.
    Some(move |index| unsafe { (*leaf(index)).cpuid })
}

/// # Safety
///
/// The CPU must have `xgetbv`, enabled by the operating system.
#[target_feature(enable = "xsave")]
pub(crate) unsafe fn xcr0() -> u64 {
    // SAFETY: as the caller vouches; register 0 always exists.
    unsafe { _xgetbv(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What std says of the same CPU, feature by feature.
    #[test]
    fn std_detects_the_same() {
        macro_rules! compare {
            ($($name:tt)*) => {
                $(
                    let ours = cpu_features() & listed($name.as_bytes()).unwrap() != 0;
                    assert_eq!(ours, std::is_x86_feature_detected!($name), $name);
                )*
                // All but `fsrm` and `lahfsahf`, which std does not know by a stable name.
                const COMPARED: usize = [$($name),*].len();
                assert_eq!(COMPARED + 2, FEATURES.split_ascii_whitespace().count());
            };
        }
        compare! {
            "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq" "avx512f" "avx512fp16" "avx512ifma"
            "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni" "avx512vp2intersect" "avx512vpopcntdq" "avxifma" "avxneconvert"
            "avxvnni" "avxvnniint16" "avxvnniint8" "bmi1" "bmi2" "cmpxchg16b" "ermsb" "f16c" "fma" "fxsr" "gfni" "kl" "lzcnt" "movbe"
            "pclmulqdq" "popcnt" "rdrand" "rdseed" "sha" "sha512" "sm3" "sm4" "sse" "sse2" "sse3" "sse4.1" "sse4.2" "sse4a" "ssse3"
            "tbm" "vaes" "vpclmulqdq" "widekl" "xsave" "xsavec" "xsaveopt" "xsaves"
        }
    }

    /// The registers of a CPU that has everything.
    const EVERYTHING: Registers = [u32::MAX; 10];
    const EVERY: u64 = u64::MAX >> (64 - COUNT);

    #[test]
    fn a_feature_without_what_it_builds_on_does_not_count() {
        assert_eq!(without_gaps(EVERY), EVERY);
        let without = |names: &[u8]| without_gaps(EVERY & !listed(names).unwrap());
        for (missing, gone) in [
            (&b"fma"[..], &b"fma avx512f avx512bw avx512vbmi avx512vl avx512bf16 avx512fp16"[..]),
            (b"sse3", b"ssse3 sse4.1 sse4.2 sse4a avx avx2 f16c vaes vpclmulqdq avx512f avxvnni sha512 sm3"),
            (b"aes", b"aes vaes"),
            (b"kl", b"kl widekl"),
            (b"xsave", b"xsavec xsaveopt xsaves"),
            (b"avx", b"bmi1 bmi2 avx2 avx512fp16"),
        ] {
            assert_eq!(without(missing) & listed(gone).unwrap(), 0);
        }
        let has = |missing, names| without(missing) & listed(names).unwrap() == listed(names).unwrap();
        assert!(has(b"fma", b"avx2 f16c bmi1 bmi2") && has(b"avx512bw", b"avx512f avx512vl") && has(b"widekl", b"kl"));
    }

    /// Registers that the operating system does not save are not there: by the state's component in XCR0, from what is known of each
    /// feature without the table.
    #[test]
    fn a_feature_whose_registers_are_not_saved_does_not_count() {
        const X87_AND_SSE: u8 = 0b11;
        const AND_AVX: u8 = 0b111;
        const ALL: u8 = 0b1110_0111;
        assert_eq!(cpu_features_of(&EVERYTHING, ALL), EVERY);
        let named = |saved| {
            let features = cpu_features_of(&EVERYTHING, saved);
            let names = FEATURES.split_ascii_whitespace().enumerate();
            names.filter(move |(bit, _)| features >> bit & 1 == 1).map(|(_, name)| name)
        };
        for part in [0b100, 0b10_0000, 0b100_0000, 0b1000_0000, 0b10] {
            assert!(!named(ALL & !part).any(|name| name.starts_with("avx512")), "{part:#b}");
        }
        let wide = ["fma", "f16c", "vaes", "vpclmulqdq", "sha512", "sm3", "sm4"];
        assert!(
            !named(X87_AND_SSE)
                .any(|name| wide.contains(&name) || name.starts_with("avx") || name.starts_with("xsave"))
        );
        assert!(named(AND_AVX).filter(|name| wide.contains(name)).count() == wide.len());
        for plain in ["sse4.2", "aes", "sha", "gfni", "popcnt", "rdrand", "kl", "sse4a", "tbm"] {
            assert!(named(0).any(|name| name == plain), "{plain}");
        }
    }

    #[test]
    fn a_set_is_told_by_what_it_builds_on() {
        let roots = |names: &[u8]| {
            let mut roots = std::vec::Vec::new();
            crate::each_root(listed(names).unwrap(), |name| roots.push(std::string::String::from(name)));
            roots
        };
        assert_eq!(roots(b"avx512bw avx512f avx512vbmi bmi2"), ["bmi2", "avx512f"]);
        assert_eq!(roots(b"avx512bw"), ["avx512bw"]);
        assert!(roots(b"").is_empty());
    }

    #[test]
    fn lists_and_levels_have_names() {
        use crate::{feature_mask, features_named, first_missing};
        assert_eq!(feature_mask("avx512bw,avx512f"), feature_mask("avx512bw"));
        assert_eq!(features_named(b"avx512bw,avx1024"), None);
        assert_eq!(features_named(b"avx2,"), features_named(b"avx2"));
        let [v2, v3, v4] = ["x86-64-v2", "x86-64-v3", "x86-64-v4"].map(feature_mask);
        assert!(v2 & !v3 == 0 && v3 & !v4 == 0 && v2 != v3 && v3 != v4);
        assert_eq!(first_missing("sse2,fma,avx512f", feature_mask("avx2,fma")), Some(&b"avx512f"[..]));
        assert_eq!(first_missing("sse2,fma", feature_mask("fma")), None);
        assert_eq!(first_missing("sse2", 0), Some(&b"sse2"[..]));
        for name in FEATURES.split_ascii_whitespace() {
            assert_eq!(features_named(name.as_bytes()), Some(closed(crate::feature(name.as_bytes()).unwrap())));
        }
    }

    #[test]
    #[should_panic = "invar knows no CPU feature `avx1024`"]
    fn an_unknown_name_is_named() {
        crate::feature_mask("avx2,avx1024,sse");
    }

    #[test]
    fn a_list_has_what_its_names_have() {
        let mask = |list: &str| crate::features_named(list.as_bytes()).expect("features");
        let names: std::vec::Vec<_> = FEATURES.split_ascii_whitespace().collect();
        for one in &names {
            for other in &names {
                assert_eq!(mask(&std::format!("{one},{other}")), mask(one) | mask(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn every_key_has_a_name_of_its_own() {
        for (at, name) in crate::CPU_KEYS.iter().enumerate() {
            let padded = crate::cpu_key_name(crate::feature_mask(name));
            assert_eq!(padded.split(|&byte| byte == 0).next(), Some(name.as_bytes()));
            assert!(!crate::CPU_KEYS[..at].contains(name) && padded.last() == Some(&0));
        }
        assert_eq!(crate::cpu_key_name(u64::MAX), [0; crate::CPU_KEY_NAME], "there is no such key");
    }

    /// Twice the same bits, from two sources; where libc has none, the first is shown to be absent.
    #[test]
    fn libc_read_what_the_cpu_says() {
        match libc_registers() {
            Some(registers) => with_cpuid_registers(|said| assert_eq!(registers, *said)),
            None if cfg!(target_env = "gnu") => panic!("glibc 2.33 and newer has the function"),
            None => {}
        }
    }
}
