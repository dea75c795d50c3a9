//! The programs of `guest/programs`, and the image that they are in.

use invar_guest::Result;
use invar_guest::image::Image;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An image with the programs in `/bin`.
pub fn image() -> Result<Image> {
    let mut image = Image::new(Path::new(env!("CARGO_BIN_EXE_invar-guest")))?;
    for name in ["sections", "confine", "contend", "enrol", "guard", "violate", "watched"] {
        image.program(&program(name)?)?;
    }
    image.file(LIBRARY.into(), &program("libinvar_guest_programs.so")?);
    Ok(image)
}

/// In the guest: these programs' common code, as a library with a runtime of its own.
pub const LIBRARY: &str = "/bin/libinvar_guest_programs.so";

/// One of this package's programs, on this machine.
pub fn program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    Ok(BUILT.get_or_init(|| build("dynamic", &[], "")).as_ref().map_err(String::as_str)?.join(name))
}

/// The same, linked into one file with its C library.
pub fn static_program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    let built = BUILT.get_or_init(|| build("static", &["--bins"], "-Ctarget-feature=+crt-static"));
    Ok(built.as_ref().map_err(String::as_str)?.join(name))
}

/// The folder in which the programs are, or why there is none.
type Programs = std::result::Result<PathBuf, String>;

/// Built as a user would, which has nothing to do with how these tests are built.
fn build(name: &str, what: &[&str], rustflags: &str) -> Programs {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if (name.starts_with("CARGO") && name != "CARGO_HOME") || name == "RUSTFLAGS" {
            cargo.env_remove(&name);
        }
    }
    // With a target given, the options do not reach procedural macros and build scripts.
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/programs"));
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", &triple, "--target-dir"]);
    cargo.arg(&target).args(what);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    let output = cargo.output().expect("cargo");
    let built = output.status.success().then(|| target.join(triple).join("release"));
    built.ok_or_else(|| format!("the {name} programs were not built:\n{}", String::from_utf8_lossy(&output.stderr)))
}
