//! Programs that depend on `invar` as a user's would, built in a folder of their own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, str};

/// A package in the making: files by path, and what its manifest says beside name and edition, from the table
/// `[workspace]` on. `{invar}` stands for the dependency on this `invar`.
pub(crate) struct Package<'a> {
    pub(crate) name: &'a str,
    pub(crate) manifest: &'a str,
    pub(crate) files: Vec<(String, String)>,
}

impl Package<'_> {
    /// Builds it optimised, without a network, with the versions that this workspace has and these compiler
    /// flags; returns the folder that its products lie in.
    pub(crate) fn build(&self, flags: &str) -> io::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name);
        let invar = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let manifest = format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n{}",
            self.name, self.manifest
        );
        let manifest = ("Cargo.toml".to_owned(), manifest);
        for (path, text) in self.files.iter().chain([&manifest]) {
            write(&folder.join(path), &text.replace("{invar}", &format!("{{ path = {invar:?} }}")))?;
        }
        fs::copy(Path::new(invar).join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let target = folder.join("target");
        let host = host()?;
        let flags = format!("{} {flags}", std::env::var("RUSTFLAGS").unwrap_or_default());
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--workspace", "--release", "--offline", "--quiet", "--target-dir"]);
        // With a target named, the flags are not for what runs at build time.
        command.arg(&target).args(["--target", &host]).env("RUSTFLAGS", flags).current_dir(&folder);
        output(&mut command)?;
        Ok(target.join(host).join("release"))
    }
}

/// The target that the compiler builds for by default.
fn host() -> io::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    let host =
        str::from_utf8(&version.stdout).ok().and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")));
    host.map(str::to_owned).ok_or_else(|| io::Error::other("rustc -vV names no host"))
}

/// Writes a file unless it has this text already: what is not touched is not built again.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

/// Runs a command to its end; an error if it fails.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, str::from_utf8(&output.stderr).unwrap_or("?"))))
}
