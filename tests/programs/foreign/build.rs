//! Compiles the C half, as an object file, with the C compiler that Rust links with.
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let object = PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join("sites.o");
    let compiled = Command::new("cc")
        .args(["-std=gnu99", "-O2", "-fPIC", "-pedantic", "-Wall", "-Wextra", "-Werror", "-c", "sites.c", "-o"])
        .arg(&object)
        .status()
        .expect("cc");
    assert!(compiled.success(), "cc failed");
    println!("cargo::rustc-link-arg-bins={}", object.display());
    println!("cargo::rerun-if-changed=sites.c");
}
