//! The one table of x86-64's features, and the levels of the psABI. `macros/` has it too, by a link.

/// Calls `$then!` with what stands behind it and the features, by bit of `cpu_features`: name; where cpuid reports it (Intel SDM
/// volume 2, CPUID; AMD APM volume 3, appendix E), and the state that it needs (Intel SDM volume 1, chapters 13 to 15); what it
/// builds on.
///
/// Names and what builds on what are the compiler's (rustc, `rustc_target/src/target_features.rs`), as far as it knows them: code
/// that is compiled for a feature may use all that it builds on.
macro_rules! features {
    ($then:ident $($with:tt)*) => {
        $then! {
            $($with)*
            "sse3" ECX_1 0 SSE "sse2",
            "pclmulqdq" ECX_1 1 SSE "sse2",
            "ssse3" ECX_1 9 SSE "sse3",
            "fma" ECX_1 12 YMM "avx",
            "cmpxchg16b" ECX_1 13 SSE "",
            "sse4.1" ECX_1 19 SSE "ssse3",
            "sse4.2" ECX_1 20 SSE "sse4.1",
            "movbe" ECX_1 22 SSE "",
            "popcnt" ECX_1 23 SSE "",
            "aes" ECX_1 25 SSE "sse2",
            "xsave" ECX_1 26 YMM "",
            "avx" ECX_1 28 YMM "sse4.2",
            "f16c" ECX_1 29 YMM "avx",
            "bmi1" EBX_7 3 SSE "",
            "avx2" EBX_7 5 YMM "avx",
            "bmi2" EBX_7 8 SSE "",
            "ermsb" EBX_7 9 SSE "",
            "avx512f" EBX_7 16 ZMM "avx2,fma,f16c",
            "avx512dq" EBX_7 17 ZMM "avx512f",
            "adx" EBX_7 19 SSE "",
            "avx512cd" EBX_7 28 ZMM "avx512f",
            "sha" EBX_7 29 SSE "sse2",
            "avx512bw" EBX_7 30 ZMM "avx512f",
            "avx512vl" EBX_7 31 ZMM "avx512f",
            "avx512vbmi" ECX_7 1 ZMM "avx512bw",
            "gfni" ECX_7 8 SSE "sse2",
            "vaes" ECX_7 9 YMM "avx2,aes",
            "vpclmulqdq" ECX_7 10 YMM "avx,pclmulqdq",
            "avx512vnni" ECX_7 11 ZMM "avx512f",
            "fsrm" EDX_7 4 SSE "",
            "lahfsahf" ECX_80000001 0 SSE "",
            "lzcnt" ECX_80000001 5 SSE "",
            "sse" EDX_1 25 SSE "",
            "sse2" EDX_1 26 SSE "sse",
            "fxsr" EDX_1 24 SSE "",
            "rdrand" ECX_1 30 SSE "",
            "rdseed" EBX_7 18 SSE "",
            "sse4a" ECX_80000001 6 SSE "sse3",
            "tbm" ECX_80000001 21 SSE "",
            "avx512ifma" EBX_7 21 ZMM "avx512f",
            "avx512vbmi2" ECX_7 6 ZMM "avx512bw",
            "avx512bitalg" ECX_7 12 ZMM "avx512bw",
            "avx512vpopcntdq" ECX_7 14 ZMM "avx512f",
            "avx512vp2intersect" EDX_7 8 ZMM "avx512f",
            "avx512fp16" EDX_7 23 ZMM "avx512bw",
            "avx512bf16" EAX_7_1 5 ZMM "avx512bw",
            "avxvnni" EAX_7_1 4 YMM "avx2",
            "avxifma" EAX_7_1 23 YMM "avx2",
            "avxvnniint8" EDX_7_1 4 YMM "avx2",
            "avxneconvert" EDX_7_1 5 YMM "avx2",
            "avxvnniint16" EDX_7_1 10 YMM "avx2",
            "sha512" EAX_7_1 0 YMM "avx2",
            "sm3" EAX_7_1 1 YMM "avx",
            "sm4" EAX_7_1 2 YMM "avx2",
            "kl" EBX_19 0 SSE "sse2",
            "widekl" EBX_19 2 SSE "kl",
            "xsaveopt" EAX_D_1 0 YMM "xsave",
            "xsavec" EAX_D_1 1 YMM "xsave",
            "xsaves" EAX_D_1 3 YMM "xsave",
        }
    };
}
pub(crate) use features;

/// What a level has beside what the one before it has (System V x86-64 psABI, table 3.1).
pub(crate) const V2: &str = "cmpxchg16b fxsr lahfsahf popcnt sse4.2";
pub(crate) const V3: &str = "avx2 bmi1 bmi2 f16c fma lzcnt movbe xsave";
pub(crate) const V4: &str = "avx512bw avx512cd avx512dq avx512vl";
