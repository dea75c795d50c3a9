//! Compiles the C half, with libinvar's header and without libinvar.
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let object = PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join("beside.o");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-O2", "-fPIC", "-I../../../capi/include", "-c", "beside.c", "-o"])
        .arg(&object)
        .status()
        .expect("cc");
    assert!(compiled.success(), "cc failed");
    println!("cargo::rustc-link-arg-bins={}", object.display());
    println!("cargo::rerun-if-changed=beside.c");
    println!("cargo::rerun-if-changed=../../../capi/include/invar.h");
}
