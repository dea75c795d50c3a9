//! Building with C and C++ compilers, and building libinvar by its Makefile.

use super::scratch;
#[allow(unused_imports)] // not every test needs both
pub use super::{missing_tool as missing, must};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The folder of libinvar's sources.
pub const CAPI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/capi");
/// As `invar.pc` has it, for what is not installed.
pub const LINK: [&str; 2] = ["-Wl,-u,invar_load", "-linvar"];

/// As `invar-hook.pc` has it: the hook on thread creation, for programs that are linked to it.
pub const HOOK: [&str; 1] = ["-linvar-hook"];

/// Its options for static programs.
pub fn static_options() -> Vec<String> {
    let text = std::fs::read_to_string(format!("{CAPI}/invar-hook.pc.in")).unwrap();
    let options =
        text.lines().find_map(|line| line.strip_prefix("Libs.private: ")).expect("options of static programs");
    HOOK.into_iter().chain(options.split(' ')).map(String::from).collect()
}

/// Why what `-fuse-ld=` calls by this name cannot be used here.
pub fn missing_linker(name: &str) -> Option<String> {
    if name == "mold" { missing(name) } else { missing(&format!("ld.{name}")) }
}

/// In a folder of this name, of the tests' own.
pub fn make(folder: &str, arguments: &[&str]) -> Output {
    must(without_cargos("make").args(["-C", CAPI]).args(places(folder)).args(arguments))
}

/// Where make builds, in a folder of this name; what cargo does is done once for all.
pub fn places(folder: &str) -> [String; 3] {
    let place = |name: &str, folder: &str| format!("{name}={}", scratch().join(folder).display());
    [place("BUILD", folder), place("CARGO_TARGET", "capi-cargo"), format!("CARGO={}", env!("CARGO"))]
}

/// A command without what cargo and make have set for these tests.
pub fn without_cargos(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let cargos = name.starts_with("CARGO") && name != "CARGO_HOME" && !name.starts_with("CARGO_NET_");
        if cargos || matches!(&*name, "RUSTFLAGS" | "MAKEFLAGS" | "LD_LIBRARY_PATH") {
            command.env_remove(&name);
        }
    }
    command
}

/// The folder in which libinvar is.
pub fn libinvar() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        make("capi", &[]);
        scratch().join("capi")
    })
}

/// A compiler with these words.
pub fn compiler(words: &str) -> Command {
    let mut words = words.split_ascii_whitespace();
    let mut command = Command::new(words.next().expect("a compiler"));
    command.args(words).arg(format!("-I{CAPI}/include"));
    command
}
