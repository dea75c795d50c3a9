//! Chooses the folders that are compiled: of the machine (`invar_machine`), and of the CPU's features (`invar_cpu`).

use std::env;

/// Architectures with a folder of their own.
const FOLDERS: [&str; 3] = ["x86_64", "aarch64", "riscv64"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, values: &[&str]| {
        let value = env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
        values.iter().any(|&expected| value == expected)
    };
    let has = |name: &str| env::var_os(format!("CARGO_CFG_{name}")).is_some();

    let folder = FOLDERS.into_iter().find(|&folder| is("TARGET_ARCH", &[folder]));
    let is_linux = is("TARGET_OS", &["linux"]);
    let is_wide = is("TARGET_POINTER_WIDTH", &["64"]);
    // Miri interprets a program that has neither code nor a CPU.
    let is_real = !has("MIRI");

    // Code is exchanged through Linux's interfaces, and in the layout of ELF files of 64 bits. Other libcs have not been tried.
    let binds = is_real
        && is_linux
        && is_wide
        && is("TARGET_ENDIAN", &["little"])
        && is("TARGET_ENV", &["gnu", "musl"])
        && !has("INVAR_PORTABLE")
        && !has("INVAR_ELSEWHERE");
    choose("machine", folder.filter(|_| binds));

    // An x86-64 CPU can be asked itself, another one only through Linux.
    let can_be_asked = |folder: &&str| is_real && (*folder == "x86_64" || is_linux && is_wide);
    choose("cpu", folder.filter(can_be_asked));
}

/// Sets a cfg to the name of a folder, which is `portable` where no other fits.
fn choose(cfg: &str, folder: Option<&str>) {
    let values = FOLDERS.map(|folder| format!("\"{folder}\"")).join(", ");
    println!("cargo::rustc-check-cfg=cfg(invar_{cfg}, values({values}, \"portable\"))");
    println!("cargo::rustc-cfg=invar_{cfg}=\"{}\"", folder.unwrap_or("portable"));
}
