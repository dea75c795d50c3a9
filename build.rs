//! Chooses the half of the runtime that is compiled: the one that binds, on Linux, or `src/elsewhere`, which decides keys and binds
//! nothing.
//!
//! The linker needs no arguments: each table's section is retained by its own flag, and its boundary symbols are
//! weak and hidden in the assembly that names them (`src/module/mod.rs`).

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    // Tables are found through ELF program headers, and read as little-endian; code is written through Linux interfaces. Miri
    // interprets a program that has neither.
    let binds = target("TARGET_OS") == "linux"
        && target("TARGET_ENDIAN") == "little"
        && matches!(&*target("TARGET_ENV"), "gnu" | "musl")
        && env::var_os("CARGO_CFG_MIRI").is_none();
    if !binds {
        println!("cargo::rustc-cfg=invar_elsewhere");
    }
}
