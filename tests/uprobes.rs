//! Uprobes on sites of a program that runs, in Rust and C: attached, hit and detached. The program's results stay what they are.
//!
//! Where sites are bound, on their first instruction; docs/site-abi.md says why not on the second. Else on both.

mod common;

use common::c::{LINK, compiler, libinvar};
use common::elf::{Image, SiteRecord};
use common::{Build, Temporary, command, missing_tool, must, run, scratch, sites, test};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, ExitCode, Stdio};

fn main() -> ExitCode {
    let missing = |tool: Option<&str>| sites().or_else(|| tool.and_then(missing_tool)).or_else(no_uprobes);
    let programs: [Language; 2] = [("Rust", None, in_rust), ("C", Some("cc"), in_c)];
    run(programs.into_iter().flat_map(|(language, tool, program)| {
        [
            test(&format!("probes on a program that runs, {language}"), missing(tool), move || {
                on_a_program_that_runs(&copy(&program()).0);
            }),
            test(&format!("probes that are there before it is loaded, {language}"), missing(tool), move || {
                before_it_is_loaded(&copy(&program()).0);
            }),
        ]
    }))
}

/// Name, what builds its program, and the program.
type Language = (&'static str, Option<&'static str>, fn() -> PathBuf);

fn in_rust() -> PathBuf {
    Build::release().program("probed")
}

fn in_c() -> PathBuf {
    let program = scratch().join("probed-c");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/probed.c");
    let mut cc = compiler("cc -std=c11 -O2 -Wall -Wextra -Werror -fcf-protection=none");
    must(cc.arg(source).arg("-L").arg(libinvar()).args(LINK).arg("-o").arg(&program));
    program
}

/// A file of the test's own: a probe is in all processes that execute it.
fn copy(program: &Path) -> Temporary {
    Temporary::executable("probed", &std::fs::read(program).expect("its file"))
}

/// Linux, include/uapi/linux/perf_event.h: `struct perf_event_attr`, PERF_ATTR_SIZE_VER5.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    before: [u64; 5],
    /// `uprobe_path`, and `probe_offset`.
    config1: u64,
    config2: u64,
    behind: [u64; 5],
}

/// A uprobe, attached as long as this is there.
struct Probe(OwnedFd);

impl Probe {
    /// At this place of a file; for one process, or for whoever runs on this CPU.
    fn attach(file: &Path, offset: u64, process: Option<u32>, cpu: i32) -> Result<Self> {
        let kind = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
        let path = CString::new(file.as_os_str().as_bytes())?;
        let attributes = Attributes {
            kind: kind.trim().parse().map_err(Error::other)?,
            size: size_of::<Attributes>() as u32,
            config1: path.as_ptr() as u64,
            config2: offset,
            ..Default::default()
        };
        let process = process.map_or(-1, |process| process as i32);
        let flags = 8; // PERF_FLAG_FD_CLOEXEC
        // SAFETY: reads the structure and the path.
        let file = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, process, cpu, -1, flags) };
        if file == -1 {
            return Err(Error::last_os_error());
        }
        // SAFETY: a new descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(file as i32) }))
    }

    fn hits(&self) -> u64 {
        let mut hits = 0_u64;
        // SAFETY: fills in a number of eight bytes.
        assert_eq!(unsafe { libc::read(self.0.as_raw_fd(), (&raw mut hits).cast(), 8) }, 8);
        hits
    }
}

/// Those on which something may run.
fn cpus() -> Vec<i32> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_else(|_| "0".into());
    let number = |text: &str| text.parse().expect("a CPU's number");
    let range = |range: &str| match range.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(range)..=number(range),
    };
    online.trim().split(',').flat_map(range).collect()
}

/// Why there are none here, from a try at this program's first instruction.
fn no_uprobes() -> Option<String> {
    let program = std::env::current_exe().expect("this program");
    let bytes = std::fs::read(&program).expect("its file");
    let elf = goblin::elf::Elf::parse(&bytes).expect("an ELF file");
    let text = elf.program_headers.iter().find(|header| header.is_executable()).expect("text");
    let entry = elf.header.e_entry - text.p_vaddr + text.p_offset;
    let own = Probe::attach(&program, entry, Some(std::process::id()), -1);
    let all = cpus().into_iter().map(|cpu| Probe::attach(&program, entry, None, cpu));
    std::iter::once(own).chain(all).find_map(Result::err).map(|error| format!("no uprobes: {error}"))
}

/// The program, which waits for the next byte.
struct Running {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Running {
    fn start(program: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = command(program);
        command.env("LD_LIBRARY_PATH", libinvar_if_built()).envs(settings.iter().copied());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let (ask, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, ask, answers: BufReader::new(answers) }
    }

    /// 100 executions of each function.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        line
    }

    fn again(&mut self) -> String {
        self.ask.write_all(b"\n").expect("it is there");
        self.answer()
    }

    /// What stands at this address of the file, in memory.
    fn code(&self, address: u64, length: u8) -> Vec<u8> {
        let process = self.process.id();
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("its maps");
        // Its first mapping is the file's begin.
        let base = maps.split('-').next().map(|base| u64::from_str_radix(base, 16).expect("an address"));
        let mut code = vec![0; length.into()];
        let memory = std::fs::File::open(format!("/proc/{process}/mem")).expect("its memory");
        memory.read_exact_at(&mut code, base.expect("a mapping") + address).expect("its text");
        code
    }

    fn end(mut self) {
        drop(self.ask);
        assert!(self.process.wait().expect("its end").success());
    }
}

/// Programs in Rust need none.
fn libinvar_if_built() -> PathBuf {
    scratch().join("capi")
}

/// What 100 executions come to.
const RIGHT: &str = "1100100\n";

/// The length of a site's first instruction.
fn first_instruction(record: &SiteRecord) -> u64 {
    [8, 10, 9][usize::from(record.kind) - 1]
}

/// The sites of functions that the program executes again and again: of the program's own keys, and of the time slice key.
fn probed(image: &Image) -> Vec<SiteRecord> {
    let keys = image.key_records();
    let key = |record: &SiteRecord| keys.iter().find(|key| key.state == record.state).expect("a key");
    let is_probed = |record: &SiteRecord| {
        let name = &key(record).name;
        name.starts_with("probed") || name == "slice" && record.kind != 1
    };
    image.site_records().into_iter().filter(is_probed).collect()
}

fn on_a_program_that_runs(program: &Path) {
    let image = Image::read(program);
    for settings in [
        &[("INVAR_KEYS", "slice=off")][..],
        &[("INVAR_KEYS", "slice=force")],
        &[("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "off")],
        &[("INVAR", "off")],
    ] {
        let is_bound = settings.len() == 1 && settings[0].0 == "INVAR_KEYS";
        let mut hits = [[0; 2]; 3];
        let mut running = Running::start(program, settings);
        // Before anything is attached; what is off runs the other branch.
        let before = running.answer();
        for record in probed(&image) {
            let stands = running.code(record.site, record.length);
            let is_checked = stands == image.at(record.site, record.length.into());
            assert_eq!(is_checked, !is_bound, "{settings:?} {record:x?} {stands:x?}");
        }
        assert!(before == RIGHT || settings[0].0 == "INVAR", "{before}");
        for record in probed(&image) {
            let first = first_instruction(&record);
            for (place, offset) in [(0, 0), (1, first)] {
                if place == 1 && is_bound {
                    continue;
                }
                let at = image.offset(record.site + offset) as u64;
                let process = running.process.id();
                let probe = Probe::attach(program, at, Some(process), -1)
                    .unwrap_or_else(|error| panic!("{record:x?} + {offset}: {error}"));
                assert_eq!(running.again(), before, "{settings:?} {record:x?} + {offset}: attached");
                hits[usize::from(record.kind) - 1][place] += probe.hits();
                drop(probe);
                assert_eq!(running.again(), before, "{settings:?} {record:x?} + {offset}: detached");
            }
        }
        running.end();
        // Each of the kinds, on each instruction that may have one.
        let places = if is_bound { 1 } else { 2 };
        assert!(hits.iter().all(|hits| hits[..places].iter().all(|&hits| hits >= 100)), "{settings:?}: {hits:?}");
    }
}

/// Whoever runs the file meets them: sites in which one stands are left as they are.
fn before_it_is_loaded(program: &Path) {
    let image = Image::read(program);
    for place in [0, 1] {
        let at = |record: &SiteRecord| image.offset(record.site + place * first_instruction(record)) as u64;
        let probes: Vec<_> = probed(&image)
            .iter()
            .flat_map(|record| cpus().into_iter().map(move |cpu| Probe::attach(program, at(record), None, cpu)))
            .collect::<Result<_>>()
            .unwrap_or_else(|error| panic!("{error}"));
        let mut running = Running::start(program, &[("INVAR_KEYS", "slice=force")]);
        assert_eq!(running.answer(), RIGHT);
        assert!(probes.iter().map(Probe::hits).sum::<u64>() >= 100);
        drop(probes);
        assert_eq!(running.again(), RIGHT, "detached");
        for record in probed(&image) {
            let length = record.length.into();
            assert_eq!(running.code(record.site, record.length), image.at(record.site, length), "left as it was");
        }
        running.end();
    }
}
