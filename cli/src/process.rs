//! A running process as an image: its memory, and the modules that are mapped there.
//!
//! Headers, notes and tables are read from memory too, where they are what the process really uses, even if a file
//! has been replaced or deleted since. Only function names need the file.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::Contents;
use crate::image::Image;
use crate::text::lossy;
use goblin::elf::program_header::ProgramHeader;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process whose memory may be read.
pub struct Process {
    /// Its number.
    pub pid: u32,
    directory: PathBuf,
    mappings: Vec<Mapping>,
    memory: Memory,
}

/// A mapping of the process.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where it is.
    pub range: Range<u64>,
    /// Where in the file it begins.
    pub offset: u64,
    /// Whether it may be executed.
    pub executable: bool,
    /// The file's path; `None` for memory without a file.
    pub path: Option<Vec<u8>>,
}

struct Memory {
    file: File,
    /// Whether something could not be read.
    failed: Cell<bool>,
}

impl Image for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let done = self.file.read_exact_at(buffer, address).is_ok();
        self.failed.set(self.failed.get() || !done);
        done
    }

    fn read_if_there(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.file.read_exact_at(buffer, address).is_ok()
    }
}

/// What became of a process since it was opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Since {
    /// It has the same programs and libraries, and all that was asked for could be read.
    Same,
    /// It has others, or has given memory back.
    Changed,
    /// It has ended.
    Ended,
}

/// An ELF file that the process has loaded.
pub struct Loaded {
    /// Its headers, as they stand in memory.
    pub headers: Headers,
    /// What was added to the addresses in the file.
    pub base: u64,
    /// `None` for what was unpacked into memory, as upx does it, and for what is the kernel's.
    path: Option<Vec<u8>>,
    range: Range<u64>,
}

/// How often a process that changes is looked at, and how long it is left alone in between.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);
/// What the kernel says of a process without memory.
const ESRCH: i32 = 3;

impl Process {
    /// The process with this number.
    pub fn open(pid: u32) -> Result<Self> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let refused = |error: std::io::Error| {
            Error::input(
                format_args!("process {pid}"),
                match error.kind() {
                    _ if !Path::new("/proc/self").exists() => "/proc is not mounted".into(),
                    ErrorKind::NotFound => "there is no such process".into(),
                    _ if error.raw_os_error() == Some(ESRCH) => "it has ended, or is the kernel's".into(),
                    ErrorKind::PermissionDenied => "no permission to read its memory: that takes the same user or \
                        CAP_SYS_PTRACE, and Yama or a user namespace may forbid it still"
                        .into(),
                    _ => error.to_string(),
                },
            )
        };
        let mappings = Mapping::all(&directory).map_err(refused)?;
        let file = File::open(directory.join("mem")).map_err(refused)?;
        if mappings.is_empty() {
            return Err(Error::input(format_args!("process {pid}"), "it has ended, or is the kernel's"));
        }
        Ok(Self { pid, directory, mappings, memory: Memory { file, failed: Cell::new(false) } })
    }

    /// Looks at the process with this number until it did not change meanwhile, as `look` says beside its result; at most
    /// ten times, the last of which is told to `look`.
    pub fn look_steadily<T>(pid: u32, mut look: impl FnMut(&Self, bool) -> Result<(T, bool)>) -> Result<T> {
        let mut left = LOOKS;
        loop {
            left -= 1;
            let (seen, is_steady) = look(&Self::open(pid)?, left == 0)?;
            if is_steady || left == 0 {
                return Ok(seen);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether a process with this number may have memory: it has not ended, and is not the kernel's.
    pub fn has_memory(pid: u32) -> bool {
        // The kernel's have no program.
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .map_or_else(|error| error.kind() != ErrorKind::NotFound, |_| true)
    }

    /// What became of it since it was opened.
    pub fn since(&self) -> Since {
        let is_program = |mapping: &&Mapping| mapping.executable && mapping.path.is_some();
        match Mapping::all(&self.directory) {
            Ok(now) if now.is_empty() => Since::Ended,
            Err(_) => Since::Ended,
            Ok(now) if !now.iter().filter(is_program).eq(self.mappings.iter().filter(is_program)) => Since::Changed,
            Ok(_) if self.memory.failed.get() => Since::Changed,
            Ok(_) => Since::Same,
        }
    }

    /// Whether it is the same since it was opened; an error if it has ended.
    pub fn is_same(&self) -> Result<bool> {
        match self.since() {
            Since::Ended => Err(Error::input(format_args!("process {}", self.pid), "it ended while it was read")),
            since => Ok(since == Since::Same),
        }
    }

    /// Its memory.
    pub fn memory(&self) -> &dyn Image {
        &self.memory
    }

    /// The ELF files that it has loaded, in the order of their addresses; and what has the form of one in other memory.
    pub fn loaded(&self) -> Vec<Loaded> {
        let loaded = self.mappings.iter().filter_map(|mapping| {
            if mapping.offset != 0 {
                return None;
            }
            let headers = Headers::read(&self.memory, mapping.range.start).ok()?;
            let first = headers.loads().min_by_key(|load| load.p_offset)?;
            let base = mapping.range.start.wrapping_sub(start_of_file(first));
            // A file may be mapped to be read, or its first page twice: what is loaded has its text in place.
            let mut text = headers.text_segments().map(|text| base.wrapping_add(text.p_vaddr));
            let is_loaded = text.any(|address| self.is_executable(address));
            drop(text);
            is_loaded.then(|| Loaded { headers, base, path: mapping.path.clone(), range: mapping.range.clone() })
        });
        let loaded = loaded.collect();
        // What else is mapped need not be an ELF file, nor reach to the end of its headers.
        self.memory.failed.set(false);
        loaded
    }

    /// Its executable memory.
    pub fn text(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().filter(|mapping| mapping.executable)
    }

    /// How many KiB of each mapping are copies of its own and not its file's, by the address at which it begins.
    pub fn private(&self) -> std::io::Result<BTreeMap<u64, u64>> {
        Ok(private(&std::fs::read(self.directory.join("smaps"))?))
    }

    /// Opens the file that `loaded` was loaded from, or says why that cannot be.
    pub fn file(&self, loaded: &Loaded) -> std::result::Result<Contents, &'static str> {
        let Some(path) = &loaded.path else {
            return Err("it was unpacked into memory, and is mapped from no file");
        };
        let (file, is_the_mapped_one) = self.open_file(&loaded.range, path)?;
        match Headers::read(&file, 0) {
            _ if is_the_mapped_one => Ok(file),
            Ok(headers) if headers == loaded.headers => Ok(file),
            _ => Err("the file has been replaced since"),
        }
    }

    /// Opens the file that stands where the mapping's file stood, or says why that cannot be.
    pub fn file_of(&self, mapping: &Mapping) -> std::result::Result<Contents, &'static str> {
        let path = mapping.path.as_ref().ok_or("it is mapped from no file")?;
        self.open_file(&mapping.range, path).map(|(file, _)| file)
    }

    /// The file, and whether it is for sure the one that is mapped.
    fn open_file(&self, range: &Range<u64>, path: &[u8]) -> std::result::Result<(Contents, bool), &'static str> {
        // The mapping itself leads to a deleted file too, but only for a privileged reader.
        let mapped = self.directory.join(format!("map_files/{:x}-{:x}", range.start, range.end));
        if let Ok(file) = Contents::open(&mapped) {
            return Ok((file, true));
        }
        if path.ends_with(DELETED) {
            return Err("the file has been deleted since");
        }
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let file = Contents::open(&self.directory.join("root").join(OsStr::from_bytes(path)));
        file.map(|file| (file, false)).map_err(|_| "the file cannot be opened")
    }

    fn is_executable(&self, address: u64) -> bool {
        self.mappings.iter().any(|mapping| mapping.executable && mapping.range.contains(&address))
    }
}

impl Loaded {
    /// The path that the process knows it by.
    pub fn path(&self) -> String {
        self.path.as_ref().map_or("(in no file)".into(), |path| lossy(path))
    }

    /// Whether it has one.
    pub fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// Where in its file that stands which is to stand at `address`, if that is in a page of its text; and where the pages
    /// of this text begin and end.
    pub fn text_at(&self, address: u64) -> Option<(u64, Range<u64>)> {
        self.text_pages().find(|(_, pages)| pages.contains(&address)).map(|(offset, pages)| {
            let into = address - pages.start;
            (offset + into, pages)
        })
    }

    /// The pages of its text, each with the place in the file of the first.
    pub fn text_pages(&self) -> impl Iterator<Item = (u64, Range<u64>)> {
        self.headers.text_segments().filter_map(|text| {
            let start = self.base.wrapping_add(text.p_vaddr);
            let end = start.checked_add(text.p_filesz)?.checked_next_multiple_of(PAGE)?;
            let before = start % PAGE;
            let offset = text.p_offset.checked_sub(before)?;
            offset.checked_add(end - start + before).map(|_| (offset, start - before..end))
        })
    }
}

/// What the kernel writes behind the path of a file that is gone (`fs/d_path.c`).
const DELETED: &[u8] = b" (deleted)";
/// The smallest page of any machine: every other page consists of these.
const PAGE: u64 = 4096;

/// The address at which the file's first byte would stand.
fn start_of_file(first: &ProgramHeader) -> u64 {
    first.p_vaddr.wrapping_sub(first.p_offset)
}

impl Mapping {
    /// The path of its file, if it has one.
    pub fn path(&self) -> Option<String> {
        self.path.as_deref().map(lossy)
    }

    fn all(directory: &Path) -> std::io::Result<Vec<Self>> {
        let maps = std::fs::read(directory.join("maps"))?;
        Ok(maps.split(|&byte| byte == b'\n').filter_map(Self::parse).collect())
    }

    /// One line of `/proc/PID/maps`: range, permissions, offset, device, inode, path.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let mut field = || {
            let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
            let (field, behind) = rest.split_at(end);
            rest = behind.trim_ascii_start();
            std::str::from_utf8(field).ok()
        };
        let (range, permissions, offset, _device, inode) = (field()?, field()?, field()?, field()?, field()?);
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            range: number(start)?..number(end)?,
            offset: number(offset)?,
            executable: permissions.as_bytes().get(2) == Some(&b'x'),
            path: (inode != "0").then(|| unescaped(rest)),
        })
    }
}

/// What [`Process::private`] tells, by the text of `/proc/PID/smaps`.
pub fn private(smaps: &[u8]) -> BTreeMap<u64, u64> {
    let mut start = 0;
    let mut counted: &[&[u8]] = &[];
    let mut private = BTreeMap::<_, u64>::new();
    for line in smaps.split(|&byte| byte == b'\n') {
        if let Some(Mapping { range, path, .. }) = Mapping::parse(line) {
            start = range.start;
            // Pages of a file that is memory only are copies all of them.
            let is_memory = path.is_some_and(|path| path.starts_with(b"/memfd:"));
            counted = if is_memory { &[b"Rss:"] } else { &[b"Anonymous:", b"Swap:"] };
        } else if let Some(number) = counted.iter().find_map(|name| line.strip_prefix(*name)) {
            let number = std::str::from_utf8(number).ok().and_then(|text| text.trim().strip_suffix(" kB"));
            let sum = private.entry(start).or_default();
            *sum = sum.saturating_add(number.and_then(|number| number.parse().ok()).unwrap_or(0));
        }
    }
    private
}

/// A path as it is: the kernel writes a line feed in it as `\012`, and nothing else (`fs/proc/task_mmu.c`).
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut rest = path;
    let mut plain = Vec::with_capacity(path.len());
    while let [first, behind @ ..] = rest {
        let byte;
        (byte, rest) = rest.strip_prefix(b"\\012").map_or((*first, behind), |behind| (b'\n', behind));
        plain.push(byte);
    }
    plain
}
