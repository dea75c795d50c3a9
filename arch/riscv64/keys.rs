//! The built-in keys for 64-bit RISC-V's features, which code of every machine may name.

/// Calls `$then!` with other lines, and one for each key: constant, name behind `cpu.`, documentation. The name is one of `FEATURES`.
#[doc(hidden)]
#[macro_export]
macro_rules! __riscv64_cpu_keys {
    ($then:ident $($other:tt)*) => {
        $then! {
            $($other)*
            V "v" "Vectors.",
            ZBA "zba" "Address generation.",
            ZBB "zbb" "Basic bit manipulation.",
            ZBS "zbs" "Single bits.",
            ZBC "zbc" "Carry-less multiplication.",
            ZBKB "zbkb" "Bit manipulation for cryptography.",
            ZBKC "zbkc" "Carry-less multiplication for cryptography.",
            ZBKX "zbkx" "Crossbar permutations.",
            ZKND "zknd" "AES, decryption.",
            ZKNE "zkne" "AES, encryption.",
            ZKNH "zknh" "SHA-256 and SHA-512.",
            ZKSED "zksed" "The cipher SM4.",
            ZKSH "zksh" "The hash SM3.",
            ZKT "zkt" "Timing that does not depend on data.",
            ZFH "zfh" "Half precision.",
            ZFHMIN "zfhmin" "Half precision, conversions only.",
            ZFA "zfa" "More floating-point instructions.",
            ZTSO "ztso" "Total store ordering.",
            ZACAS "zacas" "Compare and swap.",
            ZICOND "zicond" "Conditional operations on integers.",
            ZAWRS "zawrs" "Waiting for a reservation.",
        }
    };
}
