//! Compiles the C half, as an object file, with the C compiler that Rust links with.
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let object = PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join("protocol.o");
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", "src/protocol.c", "-o"])
        .arg(&object)
        .status()
        .expect("cc");
    assert!(compiled.success(), "cc failed");
    println!("cargo::rustc-link-arg-bin=contend={}", object.display());
    println!("cargo::rerun-if-changed=src/protocol.c");
}
