//! `cfg(bound_sites)`: where sites can be bound, and bound ones compared with others. As in `invar-arch`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(bound_sites)");
    let is = |name: &str, value: &str| env::var(format!("CARGO_CFG_{name}")).is_ok_and(|is| is == value);
    let machine = is("TARGET_ARCH", "x86_64") && is("TARGET_OS", "linux") && is("TARGET_POINTER_WIDTH", "64");
    if machine && env::var_os("CARGO_CFG_INVAR_PORTABLE").is_none() {
        println!("cargo::rustc-cfg=bound_sites");
    }
}
