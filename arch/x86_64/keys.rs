//! The built-in keys for x86-64's features, which code of every machine may name.

/// Calls `$then!` with other lines, and one for each key: constant, name behind `cpu.`, documentation. The name is one of `FEATURES`
/// or of a level.
#[doc(hidden)]
#[macro_export]
macro_rules! __x86_64_cpu_keys {
    ($then:ident $($other:tt)*) => {
        $then! {
            $($other)*
            SSE3 "sse3" "SSE3.",
            SSSE3 "ssse3" "Supplemental SSE3.",
            SSE4_1 "sse4.1" "SSE4.1.",
            SSE4_2 "sse4.2" "SSE4.2.",
            SSE4A "sse4a" "SSE4a, of AMD.",
            POPCNT "popcnt" "`popcnt`.",
            MOVBE "movbe" "`movbe`.",
            CMPXCHG16B "cmpxchg16b" "`cmpxchg16b`.",
            PCLMULQDQ "pclmulqdq" "Carry-less multiplication.",
            AVX "avx" "AVX, its registers saved by the operating system.",
            F16C "f16c" "Half precision conversions.",
            FMA "fma" "Fused multiply and add, three operands.",
            AVX2 "avx2" "AVX2.",
            BMI1 "bmi1" "Bit manipulation, first set.",
            BMI2 "bmi2" "Bit manipulation, second set.",
            TBM "tbm" "Trailing bit manipulation, of AMD.",
            LZCNT "lzcnt" "`lzcnt`.",
            ADX "adx" "Multi-precision add with carry.",
            SHA "sha" "SHA-1 and SHA-256.",
            SHA512 "sha512" "SHA-512.",
            SM3 "sm3" "The hash SM3.",
            KL "kl" "Key Locker, enabled by the operating system.",
            WIDEKL "widekl" "Key Locker on eight blocks.",
            RDRAND "rdrand" "`rdrand`.",
            RDSEED "rdseed" "`rdseed`.",
            XSAVE "xsave" "`xsave`, enabled by the operating system.",
            XSAVEOPT "xsaveopt" "`xsaveopt`.",
            XSAVEC "xsavec" "`xsavec`.",
            VAES "vaes" "AES on wide vectors.",
            VPCLMULQDQ "vpclmulqdq" "Carry-less multiplication on wide vectors.",
            GFNI "gfni" "Galois field instructions.",
            AVXVNNI "avxvnni" "Neural network instructions on 256 bits, without AVX-512.",
            AVXVNNIINT8 "avxvnniint8" "The same on any bytes.",
            AVXVNNIINT16 "avxvnniint16" "The same on any words.",
            AVXIFMA "avxifma" "Integer fused multiply and add, without AVX-512.",
            AVXNECONVERT "avxneconvert" "Conversions of half and `bfloat16` numbers, without AVX-512.",
            ERMSB "ermsb" "Enhanced `rep movsb` and `rep stosb`.",
            FSRM "fsrm" "Fast short `rep movsb`.",
            AVX512F "avx512f" "AVX-512 foundation, its registers saved by the operating system.",
            AVX512BW "avx512bw" "AVX-512 on bytes and words.",
            AVX512CD "avx512cd" "AVX-512 conflict detection.",
            AVX512DQ "avx512dq" "AVX-512 on double and quad words.",
            AVX512VL "avx512vl" "AVX-512 on 128 and 256 bits.",
            AVX512IFMA "avx512ifma" "AVX-512 integer fused multiply and add.",
            AVX512VBMI "avx512vbmi" "AVX-512 byte permutations.",
            AVX512VBMI2 "avx512vbmi2" "AVX-512 byte and word compression and shifts.",
            AVX512VNNI "avx512vnni" "AVX-512 neural network instructions.",
            AVX512BITALG "avx512bitalg" "AVX-512 bit counts of bytes and words.",
            AVX512VPOPCNTDQ "avx512vpopcntdq" "AVX-512 bit counts of double and quad words.",
            AVX512VP2INTERSECT "avx512vp2intersect" "AVX-512 intersections.",
            AVX512BF16 "avx512bf16" "AVX-512 on `bfloat16` numbers.",
            AVX512FP16 "avx512fp16" "AVX-512 on half precision numbers.",
            X86_64_V2 "x86-64-v2" "The x86-64-v2 level of the psABI.",
            X86_64_V3 "x86-64-v3" "The x86-64-v3 level of the psABI.",
            X86_64_V4 "x86-64-v4" "The x86-64-v4 level of the psABI.",
        }
    };
}
