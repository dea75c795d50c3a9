//! A file as an image: its segments, at the addresses that it gives them.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::image::Image;
use goblin::elf::program_header::ProgramHeader;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What a file holds, read as it is asked for.
///
/// The file itself is never mapped: whoever cuts it off meanwhile would end this command with SIGBUS.
pub struct Contents(File);

impl Contents {
    /// Opens a regular file that is not empty.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::file(path, error);
        // To open a device may do something. Another file may stand there when it is opened, so that must not wait.
        regular(path, &std::fs::metadata(path).map_err(failed)?)?;
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
        regular(path, &file.metadata().map_err(failed)?)?;
        Ok(Self(file))
    }
}

impl Contents {
    /// Fills `buffer` as a mapping of the file at `offset` is filled: behind the file's end with zeros. Returns how many bytes
    /// are the file's.
    pub fn read_as_mapped(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer[filled..].fill(0);
        Ok(filled)
    }
}

fn regular(path: &Path, metadata: &Metadata) -> Result<()> {
    match metadata {
        other if !other.is_file() => Err(Error::file(path, "not a regular file")),
        empty if empty.len() == 0 => Err(Error::file(path, "the file is empty")),
        _ => Ok(()),
    }
}

impl Image for Contents {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.0.read_exact_at(buffer, offset).is_ok()
    }
}

/// Bytes as a file's, at their offsets.
pub struct Bytes<'a>(pub &'a [u8]);

impl Image for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let found = usize::try_from(offset).ok().and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        found.is_some_and(|bytes| {
            buffer.copy_from_slice(bytes);
            true
        })
    }
}

/// What is said of a file whose segments reach beyond its end.
pub const CUT_OFF: &str = "the file is cut off before the end of its segments";

/// A file's segments, at their addresses, as far as the file fills them.
pub struct Segments<'a> {
    file: &'a dyn Image,
    loads: Vec<&'a ProgramHeader>,
}

impl<'a> Segments<'a> {
    /// The segments of the file with these headers.
    pub fn new(file: &'a dyn Image, headers: &'a Headers) -> Self {
        Self { file, loads: headers.loads().collect() }
    }

    /// Whether a segment reaches beyond the end of the file.
    pub fn is_cut_off(&self) -> bool {
        let ends_there = |load: &&ProgramHeader| {
            let last = load.p_offset.checked_add(load.p_filesz - 1);
            last.is_some_and(|last| self.file.read(last, &mut [0]))
        };
        !self.loads.iter().filter(|load| load.p_filesz > 0).all(ends_there)
    }

    /// Where in the file that stands which is loaded at `address`, `length` bytes of it.
    pub fn offset(&self, address: u64, length: u64) -> Option<u64> {
        let holds = |load: &&&ProgramHeader| {
            let start = address.checked_sub(load.p_vaddr);
            start.and_then(|start| start.checked_add(length)).is_some_and(|end| end <= load.p_filesz)
        };
        let load = self.loads.iter().find(holds)?;
        load.p_offset.checked_add(address - load.p_vaddr)
    }
}

impl Image for Segments<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.offset(address, buffer.len() as u64).is_some_and(|offset| self.file.read(offset, buffer))
    }

    /// What the file does not fill, the loader fills with zeros.
    fn read_variable(&self, address: u64, buffer: &mut [u8]) -> bool {
        if !self.read(address, buffer) {
            buffer.fill(0);
        }
        true
    }
}
