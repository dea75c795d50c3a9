//! Compiles the C halves, as object files, with the C compiler that Rust links with.
use std::path::PathBuf;
use std::process::Command;

fn main() {
    // Of another machine, that which links there.
    let linker = std::env::var_os("RUSTC_LINKER").unwrap_or("cc".into());
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    for (file, program) in [("protocol", "contend"), ("jump", "inside")] {
        let source = format!("src/{file}.c");
        let object = PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join(file).with_extension("o");
        let compiled = Command::new(&linker)
            .args(["-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", &source, "-o"])
            .arg(&object)
            .status()
            .expect("a C compiler");
        assert!(compiled.success(), "the C compiler failed");
        println!("cargo::rustc-link-arg-bin={program}={}", object.display());
        println!("cargo::rerun-if-changed={source}");
    }
}
