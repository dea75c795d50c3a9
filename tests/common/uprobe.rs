//! Uprobes, attached to files by `perf_event_open`.

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
pub struct Probe(OwnedFd);

impl Probe {
    /// At this place of a file; for one process, or for whoever runs on this CPU.
    pub fn attach(file: &Path, offset: u64, process: Option<u32>, cpu: i32) -> Result<Self> {
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

    /// For whoever executes this place of a file, on any CPU.
    pub fn everywhere(file: &Path, offset: u64) -> Result<Vec<Self>> {
        cpus().into_iter().map(|cpu| Self::attach(file, offset, None, cpu)).collect()
    }

    pub fn hits(&self) -> u64 {
        let mut hits = 0_u64;
        // SAFETY: fills in a number of eight bytes.
        assert_eq!(unsafe { libc::read(self.0.as_raw_fd(), (&raw mut hits).cast(), 8) }, 8);
        hits
    }
}

/// Those on which something may run.
pub fn cpus() -> Vec<i32> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_else(|_| "0".into());
    let number = |text: &str| text.parse().expect("a CPU's number");
    let range = |range: &str| match range.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(range)..=number(range),
    };
    online.trim().split(',').flat_map(range).collect()
}

/// Why there are none here, from a try at this program's first instruction.
pub fn no_uprobes() -> Option<String> {
    let program = std::env::current_exe().expect("this program");
    let bytes = std::fs::read(&program).expect("its file");
    let elf = goblin::elf::Elf::parse(&bytes).expect("an ELF file");
    let text = elf.program_headers.iter().find(|header| header.is_executable()).expect("text");
    let entry = elf.header.e_entry - text.p_vaddr + text.p_offset;
    let own = Probe::attach(&program, entry, Some(std::process::id()), -1);
    let all = cpus().into_iter().map(|cpu| Probe::attach(&program, entry, None, cpu));
    std::iter::once(own).chain(all).find_map(Result::err).map(|error| format!("no uprobes: {error}"))
}
