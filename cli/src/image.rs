//! Where bytes come from: a file, or the memory of a process.

use memmap2::MmapMut;

/// Where bytes come from, by address: in a file an offset, or what its headers make of it.
pub trait Image {
    /// Fills `buffer` with what stands at `address`; false unless all of it is there.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;

    /// The same for what may have been given back, so that nothing follows from it if it is not there.
    fn read_if_there(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.read(address, buffer)
    }

    /// The same for what the runtime writes.
    fn read_variable(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.read(address, buffer)
    }
}

/// A part of a file that is larger than this is not copied. The symbol tables of a browser with all its symbols are
/// smaller.
const MOST_COPIED: u64 = 512 << 20;

/// Copies a part of a file into a mapping of its own; `None` if the file does not have it, or if it is too large.
pub fn copy(file: &dyn Image, offset: u64, length: u64) -> Option<MmapMut> {
    let last = offset.checked_add(length.checked_sub(1)?)?;
    // A size that the file does not live up to is not worth any memory.
    if length > MOST_COPIED || !file.read(last, &mut [0]) {
        return None;
    }
    let mut copy = MmapMut::map_anon(usize::try_from(length).ok()?).ok()?;
    file.read(offset, &mut copy).then_some(copy)
}
