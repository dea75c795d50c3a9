//! The built-in keys of all architectures: this one's, and those of others, which are off. Each name is declared once.

#[path = "aarch64/keys.rs"]
mod aarch64;
#[path = "riscv64/keys.rs"]
mod riscv64;
#[path = "x86_64/keys.rs"]
mod x86_64;

/// Calls another macro of keys with `$then` and the keys whose names x86-64 and AArch64 share, so that one of both has them.
#[doc(hidden)]
#[macro_export]
macro_rules! __with_shared_cpu_keys {
    ($keys:ident $then:ident) => {
        $crate::$keys! {
            $then
            AES "aes" "AES: AES-NI; on AArch64 also multiplication of polynomials.",
            SM4 "sm4" "The cipher SM4; on AArch64 also the hash SM3.",
        }
    };
}

/// Calls `$then!` with one line for each built-in key of this architecture.
#[cfg(invar_cpu = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! cpu_keys {
    ($then:ident) => {
        $crate::__with_shared_cpu_keys! { __x86_64_cpu_keys $then }
    };
}
#[cfg(invar_cpu = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! cpu_keys {
    ($then:ident) => {
        $crate::__with_shared_cpu_keys! { __aarch64_cpu_keys $then }
    };
}
#[cfg(invar_cpu = "riscv64")]
#[doc(hidden)]
#[macro_export]
macro_rules! cpu_keys {
    ($then:ident) => {
        $crate::__riscv64_cpu_keys! { $then }
    };
}
#[cfg(invar_cpu = "portable")]
#[doc(hidden)]
#[macro_export]
macro_rules! cpu_keys {
    ($then:ident) => {
        $then! {}
    };
}

/// Calls `$then!` several times, with one line for each built-in key that only other architectures have.
#[cfg(invar_cpu = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! foreign_cpu_keys {
    ($then:ident) => {
        $crate::__aarch64_cpu_keys! { $then }
        $crate::__riscv64_cpu_keys! { $then }
    };
}
#[cfg(invar_cpu = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! foreign_cpu_keys {
    ($then:ident) => {
        $crate::__x86_64_cpu_keys! { $then }
        $crate::__riscv64_cpu_keys! { $then }
    };
}
#[cfg(invar_cpu = "riscv64")]
#[doc(hidden)]
#[macro_export]
macro_rules! foreign_cpu_keys {
    ($then:ident) => {
        $crate::__with_shared_cpu_keys! { __x86_64_cpu_keys $then }
        $crate::__aarch64_cpu_keys! { $then }
    };
}
#[cfg(invar_cpu = "portable")]
#[doc(hidden)]
#[macro_export]
macro_rules! foreign_cpu_keys {
    ($then:ident) => {
        $crate::__with_shared_cpu_keys! { __x86_64_cpu_keys $then }
        $crate::__aarch64_cpu_keys! { $then }
        $crate::__riscv64_cpu_keys! { $then }
    };
}
