//! The one table of AArch64's features.

/// Calls `$then!` with what stands behind it and the features, by bit of `cpu_features`: name; where the kernel says that it is
/// there, as a word and bits of it; what it builds on.
///
/// Names and what builds on what are the compiler's (rustc, rustc_target/src/target_features.rs; LLVM, AArch64Features.td). Where the kernel says
/// that they are there: Linux, arch/arm64/include/uapi/asm/hwcap.h and Documentation/arch/arm64/elf_hwcaps.rst.
macro_rules! features {
    ($then:ident $($with:tt)*) => {
        $then! {
            $($with)*
            "neon" HWCAP [1] "",
            "aes" HWCAP [3, 4] "neon",
            "sha2" HWCAP [5, 6] "neon",
            "crc" HWCAP [7] "",
            "lse" HWCAP [8] "",
            "fp16" HWCAP [9, 10] "neon",
            "rdm" HWCAP [12] "neon",
            "jsconv" HWCAP [13] "neon",
            "fcma" HWCAP [14] "neon",
            "rcpc" HWCAP [15] "",
            "dpb" HWCAP [16] "",
            "sha3" HWCAP [17, 21] "sha2",
            "sm4" HWCAP [18, 19] "neon",
            "dotprod" HWCAP [20] "neon",
            "sve" HWCAP [22] "neon,fp16",
            "fhm" HWCAP [23] "fp16",
            "dit" HWCAP [24] "",
            "lse2" HWCAP [25] "",
            "rcpc2" HWCAP [26] "rcpc",
            "flagm" HWCAP [27] "",
            "ssbs" HWCAP [28] "",
            "sb" HWCAP [29] "",
            "paca" HWCAP [30] "",
            "pacg" HWCAP [31] "",
            "dpb2" HWCAP2 [0] "dpb",
            "sve2" HWCAP2 [1] "sve",
            "sve2-aes" HWCAP2 [2, 3] "sve2,aes",
            "sve2-bitperm" HWCAP2 [4] "sve2",
            "sve2-sha3" HWCAP2 [5] "sve2,sha3",
            "sve2-sm4" HWCAP2 [6] "sve2,sm4",
            "frintts" HWCAP2 [8] "",
            "f32mm" HWCAP2 [10] "sve",
            "f64mm" HWCAP2 [11] "sve",
            "i8mm" HWCAP2 [13] "neon",
            "bf16" HWCAP2 [14] "neon",
            "rand" HWCAP2 [16] "",
            "bti" HWCAP2 [17] "",
            "mte" HWCAP2 [18] "",
        }
    };
}
pub(crate) use features;
