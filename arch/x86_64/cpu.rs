//! CPU features, from cpuid and xgetbv. A feature counts only if the operating system saves its registers.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Calls `$then!` with one line for each built-in key: constant, key name, what it proves (names of
/// `FEATURES`), its documentation.
#[doc(hidden)]
#[macro_export]
macro_rules! cpu_keys {
    ($then:ident) => {
        $then! {
            SSE3 "cpu.sse3" "sse3" "SSE3.",
            SSSE3 "cpu.ssse3" "ssse3" "Supplemental SSE3.",
            SSE4_1 "cpu.sse4.1" "sse4.1" "SSE4.1.",
            SSE4_2 "cpu.sse4.2" "sse4.2" "SSE4.2.",
            POPCNT "cpu.popcnt" "popcnt" "`popcnt`.",
            MOVBE "cpu.movbe" "movbe" "`movbe`.",
            AES "cpu.aes" "aes" "AES-NI.",
            PCLMULQDQ "cpu.pclmulqdq" "pclmulqdq" "Carry-less multiplication.",
            AVX "cpu.avx" "avx" "AVX, its registers saved by the operating system.",
            F16C "cpu.f16c" "f16c" "Half precision conversions.",
            FMA "cpu.fma" "fma" "Fused multiply and add, three operands.",
            AVX2 "cpu.avx2" "avx2" "AVX2.",
            BMI1 "cpu.bmi1" "bmi1" "Bit manipulation, first set.",
            BMI2 "cpu.bmi2" "bmi2" "Bit manipulation, second set.",
            LZCNT "cpu.lzcnt" "lzcnt" "`lzcnt`.",
            ADX "cpu.adx" "adx" "Multi-precision add with carry.",
            SHA "cpu.sha" "sha" "SHA-1 and SHA-256.",
            VAES "cpu.vaes" "vaes" "AES on wide vectors.",
            VPCLMULQDQ "cpu.vpclmulqdq" "vpclmulqdq" "Carry-less multiplication on wide vectors.",
            GFNI "cpu.gfni" "gfni" "Galois field instructions.",
            ERMS "cpu.erms" "erms" "Enhanced `rep movsb` and `rep stosb`.",
            FSRM "cpu.fsrm" "fsrm" "Fast short `rep movsb`.",
            AVX512F "cpu.avx512f" "avx512f" "AVX-512 foundation, its registers saved by the operating system.",
            AVX512BW "cpu.avx512bw" "avx512bw" "AVX-512 on bytes and words.",
            AVX512DQ "cpu.avx512dq" "avx512dq" "AVX-512 on double and quad words.",
            AVX512VL "cpu.avx512vl" "avx512vl" "AVX-512 on 128 and 256 bits.",
            AVX512VBMI "cpu.avx512vbmi" "avx512vbmi" "AVX-512 byte permutations.",
            AVX512VNNI "cpu.avx512vnni" "avx512vnni" "AVX-512 neural network instructions.",
            X86_64_V2 "cpu.x86-64-v2" "sse3,ssse3,sse4.1,sse4.2,popcnt,cmpxchg16b,lahfsahf"
                "The x86-64-v2 level of the psABI.",
            X86_64_V3 "cpu.x86-64-v3"
                "sse3,ssse3,sse4.1,sse4.2,popcnt,cmpxchg16b,lahfsahf,avx,avx2,bmi1,bmi2,f16c,fma,lzcnt,movbe,xsave"
                "The x86-64-v3 level of the psABI.",
            X86_64_V4 "cpu.x86-64-v4"
                "sse3,ssse3,sse4.1,sse4.2,popcnt,cmpxchg16b,lahfsahf,avx,avx2,bmi1,bmi2,f16c,fma,lzcnt,movbe,xsave,avx512f,avx512bw,avx512cd,avx512dq,avx512vl"
                "The x86-64-v4 level of the psABI.",
        }
    };
}

/// Names of the features, by bit of [`cpu_features`]; those that the compiler knows too have its names.
pub const FEATURES: &[&str] = &{
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].0;
        at += 1;
    }
    names
};

/// Which register of which cpuid leaf.
#[derive(Clone, Copy)]
enum Leaf {
    Ecx1,
    Ebx7,
    Ecx7,
    Edx7,
    Ecx80000001,
}
use Leaf::{Ebx7, Ecx1, Ecx7, Ecx80000001, Edx7};

// What the operating system must save, as bits of XCR0: nothing beyond SSE, the AVX state, the AVX-512 state.
const SSE: u8 = 0;
const YMM: u8 = 0b110;
const ZMM: u8 = 0b1110_0110;

/// Name, where cpuid reports it, and the state it needs (Intel SDM volume 2, CPUID; AMD APM volume 3, E.3, E.4).
const TABLE: [(&str, Leaf, u8, u8); 32] = [
    ("sse3", Ecx1, 0, SSE),
    ("pclmulqdq", Ecx1, 1, SSE),
    ("ssse3", Ecx1, 9, SSE),
    ("fma", Ecx1, 12, YMM),
    ("cmpxchg16b", Ecx1, 13, SSE),
    ("sse4.1", Ecx1, 19, SSE),
    ("sse4.2", Ecx1, 20, SSE),
    ("movbe", Ecx1, 22, SSE),
    ("popcnt", Ecx1, 23, SSE),
    ("aes", Ecx1, 25, SSE),
    // OSXSAVE: the instruction exists, and the operating system has enabled it.
    ("xsave", Ecx1, 27, SSE),
    ("avx", Ecx1, 28, YMM),
    ("f16c", Ecx1, 29, YMM),
    ("bmi1", Ebx7, 3, SSE),
    ("avx2", Ebx7, 5, YMM),
    ("bmi2", Ebx7, 8, SSE),
    ("erms", Ebx7, 9, SSE),
    ("avx512f", Ebx7, 16, ZMM),
    ("avx512dq", Ebx7, 17, ZMM),
    ("adx", Ebx7, 19, SSE),
    ("avx512cd", Ebx7, 28, ZMM),
    ("sha", Ebx7, 29, SSE),
    ("avx512bw", Ebx7, 30, ZMM),
    ("avx512vl", Ebx7, 31, ZMM),
    ("avx512vbmi", Ecx7, 1, ZMM),
    ("gfni", Ecx7, 8, SSE),
    ("vaes", Ecx7, 9, YMM),
    ("vpclmulqdq", Ecx7, 10, YMM),
    ("avx512vnni", Ecx7, 11, ZMM),
    ("fsrm", Edx7, 4, SSE),
    ("lahfsahf", Ecx80000001, 0, SSE),
    ("lzcnt", Ecx80000001, 5, SSE),
];

/// The features of this CPU under this operating system, a bit for each name of [`FEATURES`].
///
/// Executes `cpuid` five times; in a virtual machine each is an exit to the hypervisor, so keep the answer.
pub fn cpu_features() -> u64 {
    let one = __cpuid(1);
    let seven = (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0));
    let extended = (__cpuid(0x8000_0000).eax > 0x8000_0000).then(|| __cpuid(0x8000_0001));
    // SAFETY: `xgetbv` exists where cpuid reports OSXSAVE.
    let saved = if one.ecx >> 27 & 1 == 1 { unsafe { xcr0() as u8 } } else { 0 };

    let mut features = 0;
    for (at, (_, leaf, bit, state)) in TABLE.iter().enumerate() {
        let register = match leaf {
            Ecx1 => one.ecx,
            Ebx7 => seven.map_or(0, |leaf| leaf.ebx),
            Ecx7 => seven.map_or(0, |leaf| leaf.ecx),
            Edx7 => seven.map_or(0, |leaf| leaf.edx),
            Ecx80000001 => extended.map_or(0, |leaf| leaf.ecx),
        };
        let present = register >> bit & 1 == 1 && saved & state == *state;
        features |= u64::from(present) << at;
    }
    features
}

/// # Safety
///
/// The CPU must have `xgetbv`, enabled by the operating system.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: as the caller vouches; register 0 always exists.
    unsafe { _xgetbv(0) }
}
