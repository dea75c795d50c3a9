//! The tables of features of all architectures: those of others say which names no CPU here has.

#[path = "aarch64/features.rs"]
pub(crate) mod aarch64;
#[path = "riscv64/features.rs"]
pub(crate) mod riscv64;
#[path = "x86_64/features.rs"]
#[allow(dead_code)] // which levels have what
pub(crate) mod x86_64;
