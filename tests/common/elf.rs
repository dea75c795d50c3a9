//! What stands in a program's file, read after `docs/site-abi.md` and by none of the runtime's code.

use goblin::elf::Elf;
use goblin::elf::program_header::{PF_W, PF_X, PT_GNU_RELRO, PT_LOAD};
use std::ops::Range;
use std::path::Path;

/// An ELF file, and where its note leads.
pub struct Image {
    pub bytes: Vec<u8>,
    segments: Vec<Segment>,
    /// What is writable until the loader is done with it.
    relro: Vec<Range<u64>>,
    /// The note's descriptor, in the file.
    pub note: Range<usize>,
    /// The tables, in the file.
    pub sites: Range<usize>,
    pub keys: Range<usize>,
    /// The module's header, in the file.
    pub own: Range<usize>,
}

struct Segment {
    memory: Range<u64>,
    offset: usize,
    in_file: usize,
    flags: u32,
}

/// One record of the site table, its distances worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteRecord {
    pub site: u64,
    pub target: u64,
    pub state: u64,
    pub length: u8,
    pub kind: u8,
    pub value: u8,
    pub flags: u8,
}

/// One record of the key table, its distances worked out.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub state: u64,
    pub probe: u64,
    pub name: String,
    pub values: u8,
    pub flags: u8,
}

impl Image {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(bytes)
    }

    pub fn parse(bytes: Vec<u8>) -> Self {
        let elf = Elf::parse(&bytes).expect("an ELF file");
        let segments: Vec<_> = elf
            .program_headers
            .iter()
            .filter(|header| header.p_type == PT_LOAD)
            .map(|header| Segment {
                memory: header.p_vaddr..header.p_vaddr + header.p_memsz,
                offset: header.p_offset as usize,
                in_file: header.p_filesz as usize,
                flags: header.p_flags,
            })
            .collect();
        let relro = elf
            .program_headers
            .iter()
            .filter(|header| header.p_type == PT_GNU_RELRO)
            .map(|header| header.p_vaddr..header.p_vaddr + header.p_memsz)
            .collect();
        let note = elf
            // By section: linkers may put notes of different alignment into one segment.
            .iter_note_sections(&bytes, Some(".note.invar"))
            .expect("notes")
            .map(|note| note.expect("a whole note"))
            .find(|note| note.name == "invar" && note.n_type == 2)
            .expect("a note of invar's");
        assert_eq!(note.desc.len(), 8);
        let note = note.desc.as_ptr() as usize - bytes.as_ptr() as usize;

        let mut image = Self { bytes, segments, relro, note: note..note + 8, sites: 0..0, keys: 0..0, own: 0..0 };
        let own = image.offset(image.distance(note));
        assert_eq!(&image.bytes[own..own + 8], b"\x89invar\r\n");
        image.own = own..own + 56;
        let ends: Vec<_> = (5..9).map(|word| image.offset(image.distance(own + 4 * word))).collect();
        image.sites = ends[0]..ends[1];
        image.keys = ends[2]..ends[3];
        image
    }

    /// Where in the file the byte stands that is at `address` in memory.
    pub fn offset(&self, address: u64) -> usize {
        let segment = self.segments.iter().find(|segment| {
            // A table's end may be its segment's.
            segment.memory.start <= address && address <= segment.memory.start + segment.in_file as u64
        });
        let segment = segment.unwrap_or_else(|| panic!("{address:#x} is not in the file"));
        segment.offset + (address - segment.memory.start) as usize
    }

    /// Where in memory the byte will be that stands at `offset` in the file.
    pub fn address(&self, offset: usize) -> u64 {
        let segment =
            self.segments.iter().find(|segment| (segment.offset..segment.offset + segment.in_file).contains(&offset));
        let segment = segment.unwrap_or_else(|| panic!("{offset:#x} is not loaded"));
        segment.memory.start + (offset - segment.offset) as u64
    }

    /// Where the distance in the file at `offset` leads, in memory.
    pub fn distance(&self, offset: usize) -> u64 {
        let distance = i32::from_le_bytes(self.bytes[offset..offset + 4].try_into().unwrap());
        self.address(offset).wrapping_add_signed(distance.into())
    }

    /// The bytes at an address.
    pub fn at(&self, address: u64, length: usize) -> &[u8] {
        let offset = self.offset(address);
        &self.bytes[offset..offset + length]
    }

    pub fn site_records(&self) -> Vec<SiteRecord> {
        assert_eq!(self.sites.len() % 16, 0);
        self.sites
            .clone()
            .step_by(16)
            .map(|at| SiteRecord {
                site: self.distance(at),
                target: self.distance(at + 4),
                state: self.distance(at + 8),
                length: self.bytes[at + 12],
                kind: self.bytes[at + 13],
                value: self.bytes[at + 14],
                flags: self.bytes[at + 15],
            })
            .collect()
    }

    pub fn key_records(&self) -> Vec<KeyRecord> {
        assert_eq!(self.keys.len() % 16, 0);
        self.keys
            .clone()
            .step_by(16)
            .map(|at| {
                let names = &self.bytes[self.offset(self.distance(at + 4))..];
                let name = names.split(|&byte| byte == 0).next().unwrap();
                KeyRecord {
                    state: self.distance(at),
                    probe: self.distance(at + 8),
                    name: str::from_utf8(name).expect("a key's name").to_owned(),
                    values: self.bytes[at + 14],
                    flags: self.bytes[at + 15],
                }
            })
            .collect()
    }

    /// The executable parts: address and bytes.
    pub fn text(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.segments
            .iter()
            .filter(|segment| segment.flags & PF_X != 0)
            .map(|segment| (segment.memory.start, &self.bytes[segment.offset..segment.offset + segment.in_file]))
    }

    /// Whether this may be executed.
    pub fn is_text(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| segment.flags & PF_X != 0 && segment.memory.contains(&address))
    }

    /// The addresses of what may be written to.
    pub fn data(&self) -> impl Iterator<Item = Range<u64>> {
        self.segments.iter().filter(|segment| segment.flags & PF_W != 0).map(|segment| segment.memory.clone())
    }

    /// Whether all of this is zero when the program is loaded.
    pub fn is_blank(&self, range: Range<u64>) -> bool {
        self.segments.iter().all(|segment| {
            let in_file = segment.memory.start..segment.memory.start + segment.in_file as u64;
            let (start, end) = (range.start.max(in_file.start), range.end.min(in_file.end));
            start >= end || self.at(start, (end - start) as usize).iter().all(|&byte| byte == 0)
        })
    }

    /// The state of the key of this name.
    pub fn state(&self, name: &str) -> u64 {
        self.key_records().iter().find(|key| key.name == name).expect("a key of this name").state
    }

    /// Where that ends which is read-only once the loader is done with it.
    pub fn relro_end(&self) -> u64 {
        self.relro.iter().map(|relro| relro.end).max().expect("a PT_GNU_RELRO segment")
    }

    /// Whether this is read-only once the loader is done with it.
    pub fn is_relro(&self, address: u64) -> bool {
        self.relro.iter().any(|relro| relro.contains(&address))
    }
}

/// The shared libraries that the loader must find for this file.
pub fn needed(bytes: &[u8]) -> Vec<String> {
    Elf::parse(bytes).expect("an ELF file").libraries.iter().map(|&name| name.to_owned()).collect()
}

/// The names that others can find in it.
pub fn exported(bytes: &[u8]) -> Vec<String> {
    let elf = Elf::parse(bytes).expect("an ELF file");
    let exported = elf.dynsyms.iter().filter(|symbol| !symbol.is_import());
    exported.map(|symbol| elf.dynstrtab.get_at(symbol.st_name).expect("a name").to_owned()).collect()
}
