//! Says early and in words where invar cannot work, in place of the assembler's complaints.
//!
//! The linker needs no arguments: each table's section is retained by its own flag, and its boundary symbols are
//! weak and hidden in the assembly that names them (`src/module/mod.rs`).

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") != "linux" {
        println!(
            "cargo::error=invar needs Linux: it finds its tables through ELF program headers and writes code through Linux interfaces"
        );
    }
    if target("ENDIAN") != "little" {
        println!("cargo::error=invar's site ABI is little-endian only");
    }
}
