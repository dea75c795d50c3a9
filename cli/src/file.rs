//! A file as an image: its segments, at the addresses that it gives them.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::module::Image;
use goblin::elf::program_header::ProgramHeader;
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// Maps a regular file that is not empty.
pub fn map(path: &Path) -> Result<Mmap> {
    // Opening anything else, a pipe say, could wait for ever.
    let metadata = std::fs::metadata(path).map_err(|error| Error::file(path, error))?;
    if !metadata.is_file() {
        return Err(Error::file(path, "not a regular file"));
    }
    let file = File::open(path).map_err(|error| Error::file(path, error))?;
    if metadata.len() == 0 {
        return Err(Error::file(path, "the file is empty"));
    }
    map_whole(&file).map_err(|error| Error::file(path, error))
}

#[allow(unsafe_code)]
fn map_whole(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: a private mapping that is only copied from, byte by byte, and of which nothing is believed. Should
    // another process write to the file meanwhile, what is copied is old or new bytes; should it cut the file off,
    // the kernel ends this command with SIGBUS.
    unsafe { Mmap::map(file) }
}

/// A file's bytes, at their offsets.
pub struct Bytes<'a>(pub &'a [u8]);

impl Image for Bytes<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let found = usize::try_from(address).ok().and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        found.is_some_and(|bytes| {
            buffer.copy_from_slice(bytes);
            true
        })
    }
}

/// A file's segments, at their addresses, as far as the file fills them.
pub struct Segments<'a> {
    bytes: Bytes<'a>,
    loads: Vec<&'a ProgramHeader>,
}

impl<'a> Segments<'a> {
    /// The segments of the file with these headers.
    pub fn new(file: &'a [u8], headers: &'a Headers) -> Self {
        Self { bytes: Bytes(file), loads: headers.loads().collect() }
    }

    /// Whether a segment reaches beyond the end of the file.
    pub fn is_cut_off(&self) -> bool {
        let length = self.bytes.0.len() as u64;
        self.loads.iter().any(|load| load.p_offset.checked_add(load.p_filesz).is_none_or(|end| end > length))
    }
}

impl Image for Segments<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let length = buffer.len() as u64;
        let holds = |load: &&&ProgramHeader| {
            let start = address.checked_sub(load.p_vaddr);
            start.and_then(|start| start.checked_add(length)).is_some_and(|end| end <= load.p_filesz)
        };
        let Some(load) = self.loads.iter().find(holds) else { return false };
        load.p_offset.checked_add(address - load.p_vaddr).is_some_and(|offset| self.bytes.read(offset, buffer))
    }
}
