//! What a program is, and why nothing can be put in front of its calls.

use crate::error::{Error, Result};
use crate::text::{clean, lossy};
use goblin::container::Ctx;
use goblin::elf::header::{EI_CLASS, ELFCLASS64, EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64};
use goblin::elf::program_header::PT_INTERP;
use goblin::elf::{Elf, Header, ProgramHeader};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A program in whose place something can be loaded before its libraries.
pub struct Subject {
    /// Where it is; of a script, its interpreter.
    pub path: PathBuf,
    /// The dynamic loader that it asks for.
    pub loader: PathBuf,
    /// What it brings itself that no library can reach.
    pub out_of_reach: Vec<&'static str>,
}

/// `execve(2)`: so many interpreters of interpreters.
const MOST_INTERPRETERS: usize = 5;
/// `S_ISUID | S_ISGID`.
const SET_ID: u32 = 0o6000;

impl Subject {
    /// Finds the program of this name, as a shell would.
    pub fn find(name: &OsStr) -> Result<Self> {
        let not_run = |error| Error::Command(clean(&lossy(name.as_bytes())), error);
        let mut path = search(name).map_err(not_run)?;
        for _ in 0..MOST_INTERPRETERS {
            let unread = |error| Error::file(&path, error);
            match interpreter(&beginning(&path).map_err(unread)?) {
                // Without it the script cannot be run either (execve(2)).
                Some(interpreter) => path = can_be_run(&interpreter).map(|()| interpreter).map_err(not_run)?,
                None => {
                    let bytes = fs::read(&path).map_err(unread)?;
                    return Self::examine(path, &bytes);
                }
            }
        }
        Err(Error::file(&path, "too many interpreters, one for the other"))
    }

    /// Its file's name.
    pub fn name(&self) -> String {
        clean(&lossy(self.path.file_name().unwrap_or(self.path.as_os_str()).as_bytes()))
    }

    fn examine(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let refuse = |why: &str| Err(Error::file(&path, why));
        if is_privileged(&path) {
            return refuse(
                "it runs with raised privileges (set-user-ID, set-group-ID or file capabilities): the loader preloads nothing there",
            );
        }
        let Some((header, loader)) = loaded_by(bytes) else {
            return refuse("not a program that can be looked at: the ELF headers cannot be read");
        };
        let is_own = header.e_machine == OWN_MACHINE && has_own_float_abi(header.e_flags);
        if header.e_ident[EI_CLASS] != ELFCLASS64 || !is_own {
            return refuse("a program for another machine than this command's, whose library it cannot load");
        }
        let Some(loader) = loader else {
            return refuse(
                "linked statically: its calls do not pass through the loader, so that nothing can be put in front of them",
            );
        };
        if !loader.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-linux")) {
            return refuse("its C library is not glibc, for which the library is made");
        }
        // The rest is not what it is run by: packers leave some that cannot be read.
        let out_of_reach = Elf::parse(bytes).map(|elf| out_of_reach(&elf)).unwrap_or_default();
        Ok(Self { path, loader, out_of_reach })
    }
}

/// A program's header, and the loader that it asks for; read as the kernel reads it, without its sections. None if that cannot be read.
fn loaded_by(bytes: &[u8]) -> Option<(Header, Option<PathBuf>)> {
    let header = Elf::parse_header(bytes).ok()?;
    let context = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let (offset, count) = (usize::try_from(header.e_phoff).ok()?, header.e_phnum.into());
    let segments = ProgramHeader::parse(bytes, offset, count, context).ok()?;
    let Some(named) = segments.iter().find(|segment| segment.p_type == PT_INTERP) else { return Some((header, None)) };
    let path = bytes.get(usize::try_from(named.p_offset).ok()?..)?.get(..usize::try_from(named.p_filesz).ok()?)?;
    let path = path.split(|&byte| byte == 0).next()?;
    Some((header, Some(PathBuf::from(OsStr::from_bytes(path)))))
}

/// Of this command.
pub(super) const OWN_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    EM_AARCH64
} else if cfg!(target_arch = "riscv64") {
    EM_RISCV
} else if cfg!(target_arch = "arm") {
    EM_ARM
} else {
    EM_386
};

/// Whether these `e_flags` name the float ABI of this command, and of the library. On RISC-V it is `lp64d`
/// (`EF_RISCV_FLOAT_ABI_DOUBLE`): glibc's loader loads no library of another one (`EF_RISCV_FLOAT_ABI`; RISC-V ELF psABI).
const fn has_own_float_abi(flags: u32) -> bool {
    !cfg!(target_arch = "riscv64") || flags & 6 == 4
}

/// As `execvp(3)` searches.
fn search(name: &OsStr) -> io::Result<PathBuf> {
    if name.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return can_be_run(&path).map(|()| path);
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut refused = io::ErrorKind::NotFound.into();
    for folder in std::env::split_paths(&folders) {
        let path = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
        match can_be_run(&path).and_then(|()| has_interpreter(&path)) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn can_be_run(path: &Path) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    super::replace::may_execute(path)
}

/// Whether the interpreter that a script names is there: the search goes on where the kernel finds none.
fn has_interpreter(path: &Path) -> io::Result<()> {
    let bytes = beginning(path).unwrap_or_default();
    named_interpreter(&bytes).map_or(Ok(()), |mut words| can_be_run(&path_of(words.next())))
}

/// What the kernel looks at, of a file that may have any size.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LOOKED_AT as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// So much of a file the kernel looks at for its interpreter (Linux, include/uapi/linux/binfmts.h, `BINPRM_BUF_SIZE`).
const LOOKED_AT: usize = 256;

/// The words of the line by which a script names its interpreter; none where the kernel finds no such line.
fn named_interpreter(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let looked_at = &bytes[..bytes.len().min(LOOKED_AT)];
    let line = looked_at.strip_prefix(b"#!")?.split(|&byte| byte == b'\n' || byte == 0).next()?;
    // A name that is cut off is none (Linux, fs/binfmt_script.c).
    let is_whole = line.len() + 2 < LOOKED_AT || line.trim_ascii_start().iter().any(|byte| b" \t".contains(byte));
    is_whole.then(|| line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty()))
}

/// An interpreter's; without a word the shell's.
fn path_of(word: Option<&[u8]>) -> PathBuf {
    PathBuf::from(OsString::from_vec(word.unwrap_or(b"/bin/sh").to_vec()))
}

/// The interpreter of a script; that of one which names none is the shell (`execvp(3)`).
pub fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    if bytes.starts_with(goblin::elf::header::ELFMAG) {
        return None;
    }
    let Some(mut words) = named_interpreter(bytes) else { return Some(path_of(None)) };
    let path = path_of(words.next());
    // `#!/usr/bin/env -S A=1 NAME`: that becomes the program. With other options `env` itself is looked at.
    let through_env = path.file_name() == Some(OsStr::new("env"));
    let named = words.find(|&word| word != b"-S" && !word.contains(&b'='));
    let named = named.filter(|name| through_env && !name.starts_with(b"-"));
    Some(named.and_then(|name| search(OsStr::from_bytes(name)).ok()).unwrap_or(path))
}

/// Whether the kernel raises the privileges of who runs it.
fn is_privileged(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & SET_ID != 0) || super::replace::has_capabilities(path)
}

/// Locks of its own, by what its file shows.
fn out_of_reach(elf: &Elf<'_>) -> Vec<&'static str> {
    let section =
        |name: &str| elf.section_headers.iter().any(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(name));
    let needs = |part: &str| elf.libraries.iter().any(|library| library.contains(part));
    let defines = |part: &str| {
        elf.syms.iter().any(|symbol| elf.strtab.get_at(symbol.st_name).is_some_and(|name| name.contains(part)))
    };
    let mut found = Vec::new();
    if section(".note.go.buildid") || section(".go.buildinfo") {
        found.push("the locks of Go's runtime, which calls the kernel by itself");
    }
    if needs("libjli") || needs("libjvm") {
        found.push("the monitors of the Java virtual machine, but for those that it builds on the C library's");
    }
    if defines("rust_begin_unwind") || defines("rust_eh_personality") || defines("rust_panic") {
        found.push("locks of Rust, of std::sync or of crates, which call the kernel by themselves");
    }
    found
}
