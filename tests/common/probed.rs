//! The programs of uprobes.rs and gdb.rs: they execute sites of every kind when they are asked to (`tests/programs/probed`), and
//! their results stay what they are, whoever looks.

use super::c::{LINK, compiler, libinvar};
use super::elf::{Image, SiteRecord};
use super::{Build, Temporary, command, must, replace, scratch};
use goblin::elf::Elf;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::OnceLock;

/// In which languages there is one.
pub const LANGUAGES: [Language; 2] = [("Rust", None, in_rust), ("C", Some("cc"), in_c)];

/// Name, what builds its program, and the program.
pub type Language = (&'static str, Option<&'static str>, fn() -> PathBuf);

pub fn in_rust() -> PathBuf {
    Build::release().program("probed")
}

pub fn in_c() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/probed.c");
        let new = Temporary::path("probed-c");
        let mut cc = compiler("cc -std=c11 -O2 -Wall -Wextra -Werror -fcf-protection=none");
        must(cc.arg(source).arg("-L").arg(libinvar()).args(LINK).arg("-o").arg(&new.0));
        let program = scratch().join("probed-c");
        replace(&program, &std::fs::read(&new.0).unwrap());
        program
    };
    BUILT.get_or_init(build).clone()
}

/// The program, which waits for the next byte.
pub struct Running {
    pub process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(program: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = command(program);
        command.env("LD_LIBRARY_PATH", libinvar_if_built()).envs(settings.iter().copied());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let (ask, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, ask, answers: BufReader::new(answers) }
    }

    /// 100 executions of each function.
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        line
    }

    pub fn again(&mut self) -> String {
        self.ask.write_all(b"\n").expect("it is there");
        self.answer()
    }

    /// What stands at this address of the file, in memory.
    pub fn code(&self, address: u64, length: u8) -> Vec<u8> {
        let process = self.process.id();
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("its maps");
        // Its first mapping is the file's begin.
        let base = maps.split('-').next().map(|base| u64::from_str_radix(base, 16).expect("an address"));
        let mut code = vec![0; length.into()];
        let memory = std::fs::File::open(format!("/proc/{process}/mem")).expect("its memory");
        memory.read_exact_at(&mut code, base.expect("a mapping") + address).expect("its text");
        code
    }

    pub fn end(mut self) {
        drop(self.ask);
        assert!(self.process.wait().expect("its end").success());
    }
}

/// Programs in Rust need none.
pub fn libinvar_if_built() -> PathBuf {
    scratch().join("capi")
}

/// What 100 executions come to.
pub const RIGHT: &str = "1100100\n";

/// The length of a site's first instruction.
pub fn first_instruction(record: &SiteRecord) -> u64 {
    [8, 10, 9][usize::from(record.kind) - 1]
}

/// The sites of functions that the program executes again and again: of the program's own keys, and of the time slice key.
pub fn probed(image: &Image) -> Vec<SiteRecord> {
    let keys = image.key_records();
    let key = |record: &SiteRecord| keys.iter().find(|key| key.state == record.state).expect("a key");
    let is_probed = |record: &SiteRecord| {
        let name = &key(record).name;
        name.starts_with("probed") || name == "slice" && record.kind != 1
    };
    image.site_records().into_iter().filter(is_probed).collect()
}

/// Where the function begins in which this site stands.
pub fn function_of(image: &Image, site: u64) -> u64 {
    let elf = Elf::parse(&image.bytes).expect("an ELF file");
    let starts = elf.syms.iter().filter(|symbol| symbol.is_function()).map(|symbol| symbol.st_value);
    starts.filter(|start| *start <= site).max().expect("its function")
}
