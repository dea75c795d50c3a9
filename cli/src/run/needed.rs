//! The libraries that a program needs, as its own loader finds them.

use super::subject::Subject;
use crate::error::{Error, Result};
use goblin::elf::Elf;
use goblin::elf::section_header::SHN_UNDEF;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and the libraries that it needs.
pub struct Needed {
    /// By the loader's word; the program itself first.
    pub paths: Vec<PathBuf>,
}

/// Libraries that register rseq areas themselves, by the beginning of their names.
const OWNERS: [&str; 2] = ["libtcmalloc", "librseq"];
/// What they call a thread's area (tcmalloc, internal/percpu_rseq_x86_64.S; librseq before 0.1), also where they are linked statically.
const AREA: &str = "__rseq_abi";
/// The name of the note by which modules with sites are found (`docs/site-abi.md`).
const NOTE: &str = "invar";

/// What has to be the first library of its program, and looks whether it is (LLVM, compiler-rt/lib/asan/asan_linux.cpp).
const FIRST: [&str; 2] = ["libasan", "libclang_rt.asan"];

/// Asks the loader, which loads them and runs no code of the program (`ld.so(8)`, `--list`).
pub fn of(subject: &Subject) -> Result<Needed> {
    let mut paths = vec![subject.path.clone()];
    // Not by a name that the loader would take for an option.
    let path = if subject.path.is_relative() { Path::new(".").join(&subject.path) } else { subject.path.clone() };
    let mut loader = Command::new(&subject.loader);
    let said = loader.arg("--list").arg(path).stdin(Stdio::null()).stderr(Stdio::null()).output();
    if said.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        // The kernel will not find it either, and says so.
        return Ok(Needed { paths });
    }
    let asked = |error| Error::file(&subject.loader, format_args!("cannot say which libraries are needed: {error}"));
    // `name => path (0xaddress)`, or the path alone; what the kernel maps by itself has a name only.
    for line in said.map_err(asked)?.stdout.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        let from = line.windows(4).position(|four| four == b" => ").map_or(0, |at| at + 4);
        let to = line.windows(3).rposition(|three| three == b" (0").unwrap_or(from);
        if from < to && line[from..to].contains(&b'/') {
            paths.push(PathBuf::from(OsStr::from_bytes(&line[from..to])));
        }
    }
    Ok(Needed { paths })
}

impl Needed {
    /// What owns the rseq areas of the program's threads: a library, or the program itself.
    pub fn owner_of_rseq(&self) -> Option<String> {
        let owner = self.paths.iter().skip(1).map(|path| name(path));
        let owner = owner.into_iter().find(|name| OWNERS.iter().any(|owner| name.starts_with(owner)));
        owner.or_else(|| self.each(|name, elf, _| defines(elf, AREA).then(|| name.to_owned())).into_iter().next())
    }

    /// A library in front of which none may be.
    pub fn first_of_all(&self) -> Option<String> {
        let names = self.paths.iter().skip(1).map(|path| name(path));
        names.into_iter().find(|name| FIRST.iter().any(|first| name.starts_with(first)))
    }

    /// Whether one of them carries sites.
    pub fn has_sites(&self) -> bool {
        let has_note = |elf: &Elf<'_>, bytes: &[u8]| {
            elf.iter_note_headers(bytes)
                .is_some_and(|mut notes| notes.any(|note| note.is_ok_and(|note| note.name == NOTE)))
        };
        !self.each(|_, elf, bytes| has_note(elf, bytes).then_some(())).is_empty()
    }

    /// Which functions each of them refers to, by its name.
    pub fn functions(&self) -> BTreeMap<String, Vec<String>> {
        let refers = |name: &str, elf: &Elf<'_>, _: &[u8]| {
            let imports = elf.dynsyms.iter().filter(|symbol| symbol.is_import());
            let names = imports.filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name).map(str::to_owned));
            Some((name.to_owned(), names.collect()))
        };
        self.each(refers).into_iter().collect()
    }

    /// What is asked of each, by its name and its file; not the C library itself and its loader.
    fn each<T>(&self, ask: impl Fn(&str, &Elf<'_>, &[u8]) -> Option<T>) -> Vec<T> {
        let of = |path: &PathBuf| {
            let name = name(path);
            let bytes =
                fs::read(path).ok().filter(|_| !name.starts_with("libc.so") && !name.starts_with("ld-linux"))?;
            ask(&name, &Elf::parse(&bytes).ok()?, &bytes)
        };
        self.paths.iter().filter_map(of).collect()
    }
}

/// Whether a module has a symbol of this name itself; also one that it keeps to itself, unless it is stripped.
fn defines(elf: &Elf<'_>, wanted: &str) -> bool {
    let tables = [(&elf.dynsyms, &elf.dynstrtab), (&elf.syms, &elf.strtab)];
    tables.into_iter().any(|(symbols, names)| {
        symbols
            .iter()
            .any(|symbol| symbol.st_shndx != SHN_UNDEF as usize && names.get_at(symbol.st_name) == Some(wanted))
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
