//! The built-in keys for AArch64's features, which code of every machine may name.

/// Calls `$then!` with other lines, and one for each key: constant, name behind `cpu.`, documentation. The name is one of `FEATURES`.
#[doc(hidden)]
#[macro_export]
macro_rules! __aarch64_cpu_keys {
    ($then:ident $($other:tt)*) => {
        $then! {
            $($other)*
            NEON "neon" "Advanced SIMD.",
            SHA2 "sha2" "SHA-1 and SHA-256.",
            CRC "crc" "CRC-32.",
            LSE "lse" "Large system extensions: atomic operations of one instruction.",
            FP16 "fp16" "Half precision.",
            RDM "rdm" "Rounding double multiply and accumulate.",
            JSCONV "jsconv" "Conversion of numbers as JavaScript has it.",
            FCMA "fcma" "Complex numbers.",
            RCPC "rcpc" "Loads with acquire, weaker than sequentially consistent ones.",
            DPB "dpb" "Cache maintenance to the point of persistence.",
            SHA3 "sha3" "SHA-512 and SHA-3.",
            DOTPROD "dotprod" "Dot products of bytes.",
            SVE "sve" "Scalable vectors.",
            FHM "fhm" "Half precision multiply and accumulate to single.",
            DIT "dit" "Timing that does not depend on data.",
            LSE2 "lse2" "Atomic loads and stores that are not aligned, and of 16 bytes.",
            RCPC2 "rcpc2" "The same loads, and stores, with an offset.",
            FLAGM "flagm" "Manipulation of flags.",
            SSBS "ssbs" "Control of speculative store bypass.",
            SB "sb" "The speculation barrier.",
            PACA "paca" "Pointer authentication, of addresses.",
            PACG "pacg" "Pointer authentication, of any data.",
            DPB2 "dpb2" "Cache maintenance to the point of deep persistence.",
            SVE2 "sve2" "Scalable vectors, second version.",
            SVE2_AES "sve2-aes" "AES on scalable vectors.",
            SVE2_BITPERM "sve2-bitperm" "Bit permutations on scalable vectors.",
            SVE2_SHA3 "sve2-sha3" "SHA-3 on scalable vectors.",
            SVE2_SM4 "sve2-sm4" "SM4 on scalable vectors.",
            FRINTTS "frintts" "Rounding to integers of 32 and 64 bits.",
            F32MM "f32mm" "Multiplication of matrices, single precision.",
            F64MM "f64mm" "Multiplication of matrices, double precision.",
            I8MM "i8mm" "Multiplication of matrices of bytes.",
            BF16 "bf16" "`bfloat16` numbers.",
            RAND "rand" "Random numbers.",
            BTI "bti" "Branch target identification.",
            MTE "mte" "Memory tagging.",
        }
    };
}
