//! Where `libinvar-preload.so.0` is.

use super::subject::OWN_MACHINE;
use crate::error::{Error, Result};
use goblin::elf::{Elf, ProgramHeader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The library's name.
pub const NAME: &str = "libinvar-preload.so.0";

/// Debian's folder for the libraries of this command's machine, in `lib`.
macro_rules! of_machine {
    ($lib:literal) => {
        if cfg!(target_arch = "riscv64") {
            concat!($lib, "/riscv64-linux-gnu")
        } else {
            concat!($lib, "/x86_64-linux-gnu")
        }
    };
}

/// Where it is installed, from this command's folder; then where libraries are.
const BESIDE: [&str; 4] = [".", "../lib", of_machine!("../lib"), "../lib64"];
const USUAL: [&str; 4] = ["/usr/local/lib", of_machine!("/usr/lib"), "/usr/lib64", "/usr/lib"];

/// The library that was named, or the first that is found.
pub fn find(named: Option<&Path>) -> Result<PathBuf> {
    let found = match named {
        Some(path) => Some(path.to_owned()),
        None => places().map(|folder| folder.join(NAME)).find(|path| path.is_file()),
    };
    let Some(path) = found else {
        let places = places().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Error::input(
            NAME,
            format_args!(
                "not in {places}; `make -C capi && make -C capi install` installs it, and --library says where it is"
            ),
        ));
    };
    let path = path.canonicalize().map_err(|error| Error::file(&path, error))?;
    // In LD_PRELOAD a colon and a space end a path, and a dollar sign begins a word of the loader's (ld.so(8)).
    if path.as_os_str().as_bytes().iter().any(|byte| b": $".contains(byte)) {
        return Err(Error::file(&path, "LD_PRELOAD cannot say this path: it has a colon, a space or a dollar sign"));
    }
    match what_is_wrong(&path) {
        Some(why) => Err(Error::file(&path, format_args!("not {NAME}: {why}"))),
        None => Ok(path),
    }
}

/// The loader goes on without a library that it cannot load, and a part of one ends the program.
fn what_is_wrong(path: &Path) -> Option<&'static str> {
    if !path.is_file() {
        return Some("no file");
    }
    let Ok(bytes) = std::fs::read(path) else { return Some("it cannot be read") };
    let Ok(elf) = Elf::parse(&bytes) else { return Some("no ELF file, or a part of one") };
    let is_here = |segment: &ProgramHeader| {
        segment.p_offset.checked_add(segment.p_filesz).is_some_and(|end| end <= bytes.len() as u64)
    };
    if !elf.program_headers.iter().all(is_here) {
        return Some("a part of it is missing");
    }
    if elf.header.e_machine != OWN_MACHINE || !elf.is_64 {
        return Some("it is for another machine");
    }
    (elf.soname != Some(NAME)).then_some("it has another name (DT_SONAME)")
}

fn places() -> impl Iterator<Item = PathBuf> {
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let beside = own.into_iter().flat_map(|folder| BESIDE.map(|place| folder.join(place)));
    beside.chain(USUAL.map(PathBuf::from))
}
