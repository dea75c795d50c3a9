//! The one table of 64-bit RISC-V's features.

/// Calls `$then!` with what stands behind it and the features, by bit of `cpu_features`: name; which bit of the kernel's answer says
/// that it is there; what it builds on.
///
/// Names are the compiler's (rustc, rustc_target/src/target_features.rs). Where the kernel says that they are there: Linux,
/// arch/riscv/include/uapi/asm/hwprobe.h, `RISCV_HWPROBE_KEY_IMA_EXT_0`.
macro_rules! features {
    ($then:ident $($with:tt)*) => {
        $then! {
            $($with)*
            "v" 2 "",
            "zba" 3 "",
            "zbb" 4 "",
            "zbs" 5 "",
            "zbc" 7 "",
            "zbkb" 8 "",
            "zbkc" 9 "",
            "zbkx" 10 "",
            "zknd" 11 "",
            "zkne" 12 "",
            "zknh" 13 "",
            "zksed" 14 "",
            "zksh" 15 "",
            "zkt" 16 "",
            "zfh" 27 "zfhmin",
            "zfhmin" 28 "",
            "zfa" 32 "",
            "ztso" 33 "",
            "zacas" 34 "",
            "zicond" 35 "",
            "zawrs" 48 "",
        }
    };
}
pub(crate) use features;
