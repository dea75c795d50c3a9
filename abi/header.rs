//! A module's header: where its tables and its outcome are. By it a module knows itself; others find it by the note, or by its
//! first bytes where a tool has moved the note.

use crate::distance::Distance;
use crate::distance::{u16_at, u32_at, u64_at};
use crate::note::VERSION;
use core::ops::Range;

/// What a header begins with: 8 bytes that no text has, that no linker makes, and that are no address of any machine's.
pub const MAGIC: [u8; 8] = *b"\x89invar\r\n";

/// Headers, like the place of every magic, are aligned to so many bytes.
pub const ALIGNMENT: usize = 8;

/// A module's header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The ABI's version, [`VERSION`].
    pub version: u32,
    /// The header's own length, [`LENGTH`](Self::LENGTH).
    pub length: u16,
    /// The machine that the module is for ([`machine`](crate::machine)).
    pub machine: u16,
    /// None in this version.
    pub flags: u32,
    /// To the first site record.
    pub sites_start: Distance,
    /// To the end of the site table.
    pub sites_stop: Distance,
    /// To the first key record.
    pub keys_start: Distance,
    /// To the end of the key table.
    pub keys_stop: Distance,
    /// To the module's outcome.
    pub outcome: Distance,
    /// To the module's ELF header, if that is loaded; else nowhere.
    pub elf_header: Distance,
    /// To a piece of the module's code.
    pub code: Distance,
    /// The address of the same piece, which the loader works out. Tools that move code carry addresses along, and no distances.
    pub address: u64,
}

const _: () = assert!(size_of::<Header>() == Header::LENGTH);

/// The field for which a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HeaderFault {
    /// There is another magic, or nothing to read.
    Magic,
    /// It is of another version.
    Version,
    /// It has another length.
    Length,
    /// It is for another machine.
    Machine,
    /// It has flags, which are for a later version.
    Flags,
    /// The site table does not lie in the module's readable memory.
    Sites,
    /// Nor does the key table.
    Keys,
    /// The outcome does not lie in the module's writable memory.
    Outcome,
    /// No loaded file that the loader knows has it, nor is there one at its ELF header.
    ElfHeader,
}

impl HeaderFault {
    /// The names of the fields, in the order of the faults.
    pub const FIELDS: &[u8] = b"magic\0version\0length\0machine\0flags\0sites\0keys\0outcome\0elf_header\0";

    /// The name of the field.
    pub fn field(self) -> &'static str {
        let name = Self::FIELDS.split(|&byte| byte == 0).nth(self as usize);
        name.and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("?")
    }
}

impl Header {
    /// In bytes.
    pub const LENGTH: usize = 56;

    /// The header that these bytes of a file are.
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Self {
        let mut magic = [0; 8];
        magic.copy_from_slice(&bytes[..8]);
        let distance = |at| Distance::decode(bytes, at);
        Self {
            magic,
            version: u32_at(bytes, 8),
            length: u16_at(bytes, 12),
            machine: u16_at(bytes, 14),
            flags: u32_at(bytes, 16),
            sites_start: distance(20),
            sites_stop: distance(24),
            keys_start: distance(28),
            keys_stop: distance(32),
            outcome: distance(36),
            elf_header: distance(40),
            code: distance(44),
            address: u64_at(bytes, 48),
        }
    }

    /// Whether it is a header of this version, for this machine.
    pub fn check(&self, machine: u16) -> Result<(), HeaderFault> {
        match self {
            _ if self.magic != MAGIC => Err(HeaderFault::Magic),
            _ if self.version != VERSION => Err(HeaderFault::Version),
            _ if self.length as usize != Self::LENGTH => Err(HeaderFault::Length),
            _ if self.machine != machine => Err(HeaderFault::Machine),
            _ if self.flags != 0 => Err(HeaderFault::Flags),
            _ => Ok(()),
        }
    }

    /// Where the site table is, if the header is at this address.
    pub fn sites(&self, address: u64) -> Range<u64> {
        self.sites_start.from(address.wrapping_add(20))..self.sites_stop.from(address.wrapping_add(24))
    }

    /// Where the key table is.
    pub fn keys(&self, address: u64) -> Range<u64> {
        self.keys_start.from(address.wrapping_add(28))..self.keys_stop.from(address.wrapping_add(32))
    }

    /// Where the outcome is.
    pub fn outcome(&self, address: u64) -> u64 {
        self.outcome.from(address.wrapping_add(36))
    }

    /// Where the ELF header is.
    pub fn elf_header(&self, address: u64) -> u64 {
        self.elf_header.from(address.wrapping_add(40))
    }

    /// Whether a tool has moved the code of which the header was written, by a header in its place; known once the loader is done
    /// with the module.
    pub fn is_rewritten(&self) -> bool {
        self.code.here() as u64 != self.address
    }
}

/// How many places that begin as headers do are looked at, where the note leads to none: one header is expected, and chance
/// makes hardly any.
pub const MOST_CANDIDATES: usize = 64;

/// Where in these bytes, the first of which stands at `address`, headers may begin.
pub fn candidates(bytes: &[u8], address: u64) -> impl Iterator<Item = usize> + '_ {
    let first = (address.wrapping_neg() % ALIGNMENT as u64) as usize;
    let (words, _) = bytes.get(first..).unwrap_or_default().as_chunks::<ALIGNMENT>();
    let found = words.iter().enumerate().filter(|(_, word)| **word == MAGIC);
    found.map(move |(at, _)| first + ALIGNMENT * at)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::machine;
    use std::vec::Vec;

    /// Each field's bytes are its offset, and one more for each behind the first.
    fn counted() -> [u8; Header::LENGTH] {
        let mut bytes = core::array::from_fn(|at| at as u8);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..14].copy_from_slice(&(Header::LENGTH as u16).to_le_bytes());
        bytes[14..16].copy_from_slice(&machine::X86_64.to_le_bytes());
        bytes[16..20].fill(0);
        bytes
    }

    #[test]
    fn a_headers_bytes_are_its_fields() {
        let header = Header::decode(&counted());
        assert_eq!(header.check(machine::X86_64), Ok(()));
        assert_eq!(header.sites_start.bytes(), 0x1716_1514);
        assert_eq!(header.sites(1000), 0x1716_1514 + 1020..0x1b1a_1918 + 1024);
        assert_eq!(header.keys(1000), 0x1f1e_1d1c + 1028..0x2322_2120 + 1032);
        assert_eq!((header.outcome(1000), header.elf_header(1000)), (0x2726_2524 + 1036, 0x2b2a_2928 + 1040));
        assert_eq!((header.code.bytes(), header.address), (0x2f2e_2d2c, 0x3736_3534_3332_3130));
        assert!(header.is_rewritten());
        let here = Header { code: Distance::new(4), ..header };
        let mut here = std::boxed::Box::new(here);
        here.address = &raw const here.code as u64 + 4;
        assert!(!here.is_rewritten());
        assert_eq!(core::mem::offset_of!(Header, address), 48);
    }

    #[test]
    fn each_field_is_checked() {
        for (at, fault) in
            [(0, HeaderFault::Magic), (7, HeaderFault::Magic), (8, HeaderFault::Version), (13, HeaderFault::Length)]
        {
            let mut bytes = counted();
            bytes[at] ^= 1;
            assert_eq!(Header::decode(&bytes).check(machine::X86_64), Err(fault));
        }
        for at in 16..20 {
            let mut bytes = counted();
            bytes[at] = 0x80;
            assert_eq!(Header::decode(&bytes).check(machine::X86_64), Err(HeaderFault::Flags));
        }
        assert_eq!(Header::decode(&counted()).check(machine::AARCH64), Err(HeaderFault::Machine));
        let names = [HeaderFault::Magic, HeaderFault::Machine, HeaderFault::Sites, HeaderFault::ElfHeader]
            .map(HeaderFault::field);
        assert_eq!(names, ["magic", "machine", "sites", "elf_header"]);
        assert_eq!(HeaderFault::FIELDS.iter().filter(|&&byte| byte == 0).count(), HeaderFault::ElfHeader as usize + 1);
    }

    #[test]
    fn headers_are_looked_for_where_they_can_be() {
        let mut bytes = [0; 100];
        for at in [3, 16, 40, 92] {
            bytes[at..at + 8].copy_from_slice(&MAGIC);
        }
        let found = |address| candidates(&bytes, address).collect::<Vec<_>>();
        assert_eq!(found(0x1000), [16, 40]);
        assert_eq!(found(0x1005), [3]);
        assert_eq!(found(0x1004), [92]);
        assert_eq!(candidates(&bytes[..3], 0x1005).count(), 0);
        assert_eq!(candidates(&bytes[..2], 0x1001).count() + candidates(&[], 1).count(), 0);
        assert_eq!(candidates(&bytes[16..], u64::MAX - 7).collect::<Vec<_>>(), [0, 24]);
    }
}
