//! CPU features, from cpuid and xgetbv. A feature counts only if the operating system saves its registers.

use crate::all;
use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Calls `$then!` with one line for each built-in key: constant, name behind `cpu.`, documentation. The name is one
/// of `FEATURES` or of [`level`].
#[doc(hidden)]
#[macro_export]
macro_rules! cpu_keys {
    ($then:ident) => {
        $then! {
            SSE3 "sse3" "SSE3.",
            SSSE3 "ssse3" "Supplemental SSE3.",
            SSE4_1 "sse4.1" "SSE4.1.",
            SSE4_2 "sse4.2" "SSE4.2.",
            POPCNT "popcnt" "`popcnt`.",
            MOVBE "movbe" "`movbe`.",
            AES "aes" "AES-NI.",
            PCLMULQDQ "pclmulqdq" "Carry-less multiplication.",
            AVX "avx" "AVX, its registers saved by the operating system.",
            F16C "f16c" "Half precision conversions.",
            FMA "fma" "Fused multiply and add, three operands.",
            AVX2 "avx2" "AVX2.",
            BMI1 "bmi1" "Bit manipulation, first set.",
            BMI2 "bmi2" "Bit manipulation, second set.",
            LZCNT "lzcnt" "`lzcnt`.",
            ADX "adx" "Multi-precision add with carry.",
            SHA "sha" "SHA-1 and SHA-256.",
            VAES "vaes" "AES on wide vectors.",
            VPCLMULQDQ "vpclmulqdq" "Carry-less multiplication on wide vectors.",
            GFNI "gfni" "Galois field instructions.",
            ERMSB "ermsb" "Enhanced `rep movsb` and `rep stosb`.",
            FSRM "fsrm" "Fast short `rep movsb`.",
            AVX512F "avx512f" "AVX-512 foundation, its registers saved by the operating system.",
            AVX512BW "avx512bw" "AVX-512 on bytes and words.",
            AVX512DQ "avx512dq" "AVX-512 on double and quad words.",
            AVX512VL "avx512vl" "AVX-512 on 128 and 256 bits.",
            AVX512VBMI "avx512vbmi" "AVX-512 byte permutations.",
            AVX512VNNI "avx512vnni" "AVX-512 neural network instructions.",
            X86_64_V2 "x86-64-v2" "The x86-64-v2 level of the psABI.",
            X86_64_V3 "x86-64-v3" "The x86-64-v3 level of the psABI.",
            X86_64_V4 "x86-64-v4" "The x86-64-v4 level of the psABI.",
        }
    };
}

/// The features of a level of the System V x86-64 psABI (table 3.1), by its name.
pub const fn level(name: &[u8]) -> Option<u64> {
    const V2: u64 = all(b"sse3 ssse3 sse4.1 sse4.2 popcnt cmpxchg16b lahfsahf").unwrap();
    const V3: u64 = V2 | all(b"avx avx2 bmi1 bmi2 f16c fma lzcnt movbe xsave").unwrap();
    const V4: u64 = V3 | all(b"avx512f avx512bw avx512cd avx512dq avx512vl").unwrap();
    match name {
        b"x86-64-v2" => Some(V2),
        b"x86-64-v3" => Some(V3),
        b"x86-64-v4" => Some(V4),
        _ => None,
    }
}

/// Who says so, for evidence.
pub const FEATURE_SOURCE: &str = "cpuid";

/// Names of the features, by bit of [`cpu_features`], with a space behind each; those that the compiler knows too
/// have its names. One string, and not an array of them: that would be relocated in every module.
pub const FEATURES: &str = "sse3 pclmulqdq ssse3 fma cmpxchg16b sse4.1 sse4.2 movbe popcnt aes xsave avx f16c bmi1 avx2 \
    bmi2 ermsb avx512f avx512dq adx avx512cd sha avx512bw avx512vl avx512vbmi gfni vaes vpclmulqdq avx512vnni fsrm \
    lahfsahf lzcnt ";

// Which register of which cpuid leaf.
const ECX_1: u8 = 0;
const EBX_7: u8 = 1;
const ECX_7: u8 = 2;
const EDX_7: u8 = 3;
const ECX_80000001: u8 = 4;

// What the operating system must save, as bits of XCR0: nothing beyond SSE, the AVX state, the AVX-512 state.
const SSE: u8 = 0;
const YMM: u8 = 0b110;
const ZMM: u8 = 0b1110_0110;

/// Where cpuid reports each of `FEATURES`, and the state it needs (Intel SDM volume 2, CPUID; AMD APM volume 3,
/// E.3 and E.4). `xsave` is OSXSAVE: the instruction exists, and the operating system has enabled it.
const BITS: [(u8, u8, u8); 32] = [
    (ECX_1, 0, SSE),
    (ECX_1, 1, SSE),
    (ECX_1, 9, SSE),
    (ECX_1, 12, YMM),
    (ECX_1, 13, SSE),
    (ECX_1, 19, SSE),
    (ECX_1, 20, SSE),
    (ECX_1, 22, SSE),
    (ECX_1, 23, SSE),
    (ECX_1, 25, SSE),
    (ECX_1, 27, SSE),
    (ECX_1, 28, YMM),
    (ECX_1, 29, YMM),
    (EBX_7, 3, SSE),
    (EBX_7, 5, YMM),
    (EBX_7, 8, SSE),
    (EBX_7, 9, SSE),
    (EBX_7, 16, ZMM),
    (EBX_7, 17, ZMM),
    (EBX_7, 19, SSE),
    (EBX_7, 28, ZMM),
    (EBX_7, 29, SSE),
    (EBX_7, 30, ZMM),
    (EBX_7, 31, ZMM),
    (ECX_7, 1, ZMM),
    (ECX_7, 8, SSE),
    (ECX_7, 9, YMM),
    (ECX_7, 10, YMM),
    (ECX_7, 11, ZMM),
    (EDX_7, 4, SSE),
    (ECX_80000001, 0, SSE),
    (ECX_80000001, 5, SSE),
];

/// What the compiler takes to be there where a feature is (rustc, `target_features.rs`), each behind those that it builds on:
/// code that is compiled for the one may use the others, and a hypervisor may show the one without the others.
const IMPLIED: [(u64, u64); 16] = {
    const fn named(names: &[u8]) -> u64 {
        all(names).unwrap()
    }
    [
        (named(b"ssse3"), named(b"sse3")),
        (named(b"sse4.1"), named(b"ssse3")),
        (named(b"sse4.2"), named(b"sse4.1")),
        (named(b"avx"), named(b"sse4.2")),
        (named(b"avx2"), named(b"avx")),
        (named(b"f16c"), named(b"avx")),
        (named(b"fma"), named(b"avx")),
        (named(b"vaes"), named(b"aes avx2")),
        (named(b"vpclmulqdq"), named(b"pclmulqdq avx")),
        (named(b"avx512f"), named(b"avx2 fma f16c")),
        (named(b"avx512bw"), named(b"avx512f")),
        (named(b"avx512cd"), named(b"avx512f")),
        (named(b"avx512dq"), named(b"avx512f")),
        (named(b"avx512vl"), named(b"avx512f")),
        (named(b"avx512vnni"), named(b"avx512f")),
        (named(b"avx512vbmi"), named(b"avx512bw")),
    ]
};

/// The features of this CPU under this operating system, a bit for each name of [`FEATURES`].
pub fn cpu_features() -> u64 {
    features(&libc_registers().unwrap_or_else(cpuid_registers))
}

/// The same without a call of libc's, and without anything that must be relocated first.
pub fn cpu_features_for_resolvers() -> u64 {
    features(&cpuid_registers())
}

fn features(registers: &[u32; 5]) -> u64 {
    let one = registers[ECX_1 as usize];
    // SAFETY: `xgetbv` exists where cpuid reports OSXSAVE.
    let saved = if one >> 27 & 1 == 1 { unsafe { xcr0() as u8 } } else { 0 };
    cpu_features_of(registers, saved)
}

/// What these registers say, of which the operating system saves this state: ecx of leaf 1; ebx, ecx and edx of leaf 7; ecx of
/// leaf 0x80000001. `invar-ifunc.h` says the same, which a test compares.
#[doc(hidden)]
pub fn cpu_features_of(registers: &[u32; 5], saved: u8) -> u64 {
    let mut features = 0;
    for (at, (register, bit, state)) in BITS.iter().enumerate() {
        let present = registers[*register as usize % 5] >> bit & 1 == 1 && saved & state == *state;
        features |= u64::from(present) << at;
    }
    without_gaps(features)
}

/// The features without those that lack what they build on.
fn without_gaps(mut features: u64) -> u64 {
    for &(feature, needed) in &IMPLIED {
        if features & needed != needed {
            features &= !feature;
        }
    }
    features
}

/// Whether the CPU has `serialize` (Intel SDM volume 2), as far as libc tells: to ask the CPU would serialise it.
#[cfg(not(invar_portable))]
pub(crate) fn serializes() -> bool {
    libc_registers().is_some_and(|registers| registers[EDX_7 as usize] >> 14 & 1 == 1)
}

/// The registers by cpuid itself. In a virtual machine each of these is an exit to the hypervisor, some
/// microseconds long, so it is the second choice.
#[cold]
fn cpuid_registers() -> [u32; 5] {
    let mut registers = [__cpuid(1).ecx, 0, 0, 0, 0];
    if __cpuid(0).eax >= 7 {
        let seven = __cpuid_count(7, 0);
        registers = [registers[0], seven.ebx, seven.ecx, seven.edx, 0];
    }
    if __cpuid(0x8000_0000).eax > 0x8000_0000 {
        registers[4] = __cpuid(0x8000_0001).ecx;
    }
    registers
}

/// The registers as glibc read them when the process started (2.33 and newer, `<sys/platform/x86.h>`); `None` with
/// another libc.
fn libc_registers() -> Option<[u32; 5]> {
    /// What cpuid said, in the order eax, ebx, ecx, edx, and what of it is active.
    #[repr(C)]
    struct Leaf {
        cpuid: [u32; 4],
        active: [u32; 4],
    }
    const INDEX_1: u32 = 0;
    const INDEX_7: u32 = 1;
    const INDEX_80000001: u32 = 2;

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
    let [one, seven, extended] =
        unsafe { [(*leaf(INDEX_1)).cpuid, (*leaf(INDEX_7)).cpuid, (*leaf(INDEX_80000001)).cpuid] };
    // A leaf that this libc did not read is zero: ask the CPU.
    (one[2] != 0).then_some([one[2], seven[1], seven[2], seven[3], extended[2]])
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
                    let ours = cpu_features() & all($name.as_bytes()).unwrap() != 0;
                    assert_eq!(ours, std::is_x86_feature_detected!($name), $name);
                )*
                // All but `fsrm` and `lahfsahf`, which std does not know by a stable name.
                const COMPARED: usize = [$($name),*].len();
                assert_eq!(COMPARED + 2, FEATURES.split_ascii_whitespace().count());
            };
        }
        compare! {
            "sse3" "pclmulqdq" "ssse3" "fma" "cmpxchg16b" "sse4.1" "sse4.2" "movbe" "popcnt" "aes" "avx" "f16c" "bmi1" "avx2"
            "bmi2" "ermsb" "avx512f" "avx512dq" "adx" "avx512cd" "sha" "avx512bw" "avx512vl" "avx512vbmi" "gfni" "vaes"
            "vpclmulqdq" "avx512vnni" "lzcnt" "xsave"
        }
    }

    #[test]
    fn a_feature_without_what_it_builds_on_does_not_count() {
        let every = u64::MAX >> (64 - BITS.len());
        assert_eq!(without_gaps(every), every);
        let without = |names: &[u8]| without_gaps(every & !all(names).unwrap());
        for (missing, gone) in [
            (&b"fma"[..], &b"fma avx512f avx512bw avx512vbmi avx512vl"[..]),
            (b"sse3", b"ssse3 sse4.1 sse4.2 avx avx2 f16c vaes vpclmulqdq avx512f"),
            (b"aes", b"aes vaes"),
        ] {
            assert_eq!(without(missing) & all(gone).unwrap(), 0);
        }
        assert_ne!(without(b"fma") & all(b"avx2").unwrap(), 0);
    }

    /// Twice the same bits, from two sources; where libc has none, the first is shown to be absent.
    #[test]
    fn libc_read_what_the_cpu_says() {
        match libc_registers() {
            Some(registers) => assert_eq!(registers, cpuid_registers()),
            None if cfg!(target_env = "gnu") => panic!("glibc 2.33 and newer has the function"),
            None => {}
        }
    }
}
