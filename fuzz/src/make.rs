//! Makes modules: small ELF files with keys and sites, by a description, after `docs/site-abi.md`. Every address is an offset in
//! the file.

use crate::input::Input;
use invar_abi::{Code, Kind, Site, x86_64};

/// Where things are.
pub mod at {
    /// The program headers, and how many.
    pub const PROGRAM: usize = 64;
    /// How many program headers.
    pub const PROGRAMS: usize = 6;
    /// The note.
    pub const NOTE: usize = 0x1a0;
    /// The site table.
    pub const SITES: usize = 0x200;
    /// The key table.
    pub const KEYS: usize = 0x280;
    /// All names.
    pub const NAMES: usize = 0x2c0;
    /// The text.
    pub const TEXT: usize = 0x400;
    /// The module's header, with which the data begins. It is read-only once it is relocated.
    pub const HEADER: usize = 0x800;
    /// Where that ends.
    pub const RELRO_END: usize = 0x840;
    /// The outcome.
    pub const OUTCOME: usize = 0x840;
    /// The states of keys.
    pub const STATES: usize = 0x900;
    /// Where the part of the data ends that the file has.
    pub const FILE_END: usize = 0xc00;
    /// Where the data ends in memory.
    pub const END: usize = 0xd00;
}

/// As many fit.
pub const MOST_KEYS: usize = 4;
/// As many fit.
pub const MOST_SITES: usize = 8;
const SITE_ROOM: usize = 64;
const STATE: usize = 256;
/// All probes. Nobody calls them.
const PROBE: usize = at::TEXT + 0x3f0;
/// The place of each thread's request byte in modules that are bound.
const REQUEST: i32 = -0x64;

/// A module.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Its keys.
    pub keys: Vec<Key>,
    /// Its sites.
    pub sites: Vec<Marked>,
    /// Whether its constructor has run.
    pub loaded: bool,
}

/// A key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its values' names.
    pub values: Vec<String>,
    /// Its record's flags.
    pub flags: u8,
    /// The value, if it is sealed.
    pub sealed: Option<u8>,
}

/// A site.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    /// What it is.
    pub kind: Kind,
    /// The position of its key.
    pub key: usize,
    /// The value for which it falls through.
    pub value: u8,
    /// Whether its jump is a long one.
    pub is_long: bool,
    /// The value for which it is bound.
    pub bound: Option<u8>,
}

impl Description {
    /// One of each: a module with all kinds of keys and sites, before it is loaded or after.
    pub fn of_everything(loaded: bool) -> Self {
        let key = |name: &str, values: &[&str], flags, value| Key {
            name: name.into(),
            values: values.iter().map(|&value| value.into()).collect(),
            flags,
            sealed: loaded.then_some(value),
        };
        let keys = vec![
            key("slice", &["off", "on"], 2 | 8 | 16, 1),
            key("a.switch", &["off", "on"], 0, 0),
            key("a.width", &["none", "narrow", "wide"], 1, 2),
        ];
        let site = |kind, key: usize, value, is_long| Marked {
            kind,
            key,
            value,
            is_long,
            bound: loaded.then_some([1, 0, 2][key]),
        };
        let sites = vec![
            site(Kind::Branch, 1, 1, false),
            site(Kind::Branch, 2, 2, true),
            site(Kind::Branch, 2, 1, false),
            site(Kind::SliceEnter, 0, 0, false),
            site(Kind::SliceLeave, 0, 0, true),
        ];
        Self { keys, sites, loaded }
    }

    /// One that is well formed, by any bytes.
    pub(crate) fn by(input: &mut Input<'_>) -> Self {
        let choices = input.byte();
        let name = |input: &mut Input<'_>| {
            let length = 1 + usize::from(input.byte() % 6);
            (0..length).map(|_| char::from(b'a' + input.byte() % 26)).collect::<String>()
        };
        let keys = (0..usize::from(choices) % (MOST_KEYS + 1)).map(|index| {
            let (flags, values, sealed) = (input.byte(), 2 + input.byte() % 3, input.byte());
            Key {
                name: name(input),
                values: (0..values).map(|_| name(input)).collect(),
                flags: flags & 0x1f,
                // The last state is zero in the file.
                sealed: Some(sealed % values).filter(|_| flags & 0x80 != 0 && index + 1 < MOST_KEYS),
            }
        });
        let keys: Vec<_> = keys.collect();
        let slices = |key: &usize| keys[*key].flags & 2 != 0;
        let sites = (0..usize::from(choices / 16) % (MOST_SITES + 1)).filter_map(|_| {
            let [key, kind, value, form] = [input.byte(), input.byte(), input.byte(), input.byte()];
            let key = usize::from(key).checked_rem(keys.len())?;
            let kind = [Kind::Branch, Kind::SliceEnter, Kind::SliceLeave]
                [if slices(&key) { usize::from(kind % 3) } else { 0 }];
            let values = keys[key].values.len() as u8;
            let value = if kind == Kind::Branch { value % values } else { 0 };
            let bound = keys[key].sealed.filter(|_| form & 2 != 0);
            Some(Marked { kind, key, value, is_long: form & 1 != 0, bound })
        });
        let sites = sites.collect();
        Self { keys, sites, loaded: choices & 8 != 0 }
    }

    /// The records' view of a site.
    pub fn site(&self, index: usize) -> Site {
        let Marked { kind, key, value, is_long, .. } = self.sites[index];
        let shortest = [10, 12, 11][kind as usize - 1];
        let address = at::TEXT + SITE_ROOM * index;
        Site {
            address: address as u64,
            target: address as u64 + if is_long { 0x180 } else { 0x20 },
            state: self.state(key),
            length: shortest + if is_long { 4 } else { 0 },
            kind,
            value,
        }
    }

    /// Where a key's state is.
    pub fn state(&self, key: usize) -> u64 {
        (at::STATES + STATE * key) as u64
    }

    /// The module as it is loaded, for a machine of this number.
    pub fn memory(&self, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; at::END];
        headers(&mut bytes, machine);
        note(&mut bytes);
        let (sites, keys) = (at::SITES + 16 * self.sites.len(), at::KEYS + 16 * self.keys.len());
        header(&mut bytes, machine, sites, keys);
        let mut names = at::NAMES;
        for (index, key) in self.keys.iter().enumerate() {
            let text: String = std::iter::once(&key.name).chain(&key.values).flat_map(|name| [name, "\0"]).collect();
            let record = at::KEYS + 16 * index;
            distance(&mut bytes, record, at::STATES + STATE * index);
            distance(&mut bytes, record + 4, names);
            distance(&mut bytes, record + 8, PROBE);
            put(&mut bytes, record + 12, &(text.len() as u16).to_le_bytes());
            put(&mut bytes, record + 14, &[key.values.len() as u8, key.flags]);
            put(&mut bytes, names, text.as_bytes());
            names += text.len();
            if let Some(value) = key.sealed {
                let state = at::STATES + STATE * index;
                put(&mut bytes, state, &[value, 2, 0]);
                put(&mut bytes, state + 16, b"\x03\0why");
            }
        }
        assert!(names <= at::TEXT, "the names end at {names:#x}");
        for (index, marked) in self.sites.iter().enumerate() {
            let site = self.site(index);
            let record = at::SITES + 16 * index;
            for (field, place) in [(record, site.address), (record + 4, site.target), (record + 8, site.state)] {
                distance(&mut bytes, field, place as usize);
            }
            put(&mut bytes, record + 12, &[site.length, site.kind as u8, site.value, 0]);
            let code = match marked.bound {
                Some(value) => x86_64::bound(&site, value, REQUEST),
                None => x86_64::checked(&site),
            };
            put(&mut bytes, site.address as usize, code.expect("a form").write_to(&mut [0; Code::LONGEST]));
        }
        if self.loaded {
            let bound = self.sites.iter().filter(|site| site.bound.is_some()).count() as u32;
            put(&mut bytes, at::OUTCOME, &[1, 0, 1]);
            put(&mut bytes, at::OUTCOME + 8, &bound.to_le_bytes());
            put(&mut bytes, at::OUTCOME + 16, &(REQUEST as u32 ^ 1 << 31).to_le_bytes());
        }
        bytes
    }

    /// The module's file, with sections for its note and for its functions' names.
    pub fn file(&self, machine: u16) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.note.invar\0.shstrtab\0.symtab\0.strtab\0";
        const FUNCTIONS: &[u8] = b"\0first\0_ZN4fuzz6second17h0123456789abcdefE\0";
        let mut bytes = self.memory(machine);
        bytes.truncate(at::FILE_END);
        // What stands behind the last segment is not of the module, whatever it looks like: a sealed state.
        bytes.extend([1, 2, 0]);
        bytes.resize(at::FILE_END + STATE, 0);
        let mut append = |new: &[u8]| {
            let at = bytes.len() as u64;
            bytes.extend(new);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            (at, new.len() as u64)
        };
        let (names, functions) = (append(NAMES), append(FUNCTIONS));
        // Name, kind and section; address; size (elf(5)).
        let (name, text) = ([1, 7], at::TEXT as u64);
        let kind = 0x12 << 32 | 1 << 48;
        let symbols = [[0; 3], [name[0] | kind, text, 0x80], [name[1] | kind, text + 0x80, 0x300]];
        let symbols =
            append(&symbols.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
        // Name and type, flags, address, offset, size, link and information, alignment, size of an entry.
        let note = at::NOTE as u64;
        let sections: [[u64; 8]; 5] = [
            [0; 8],
            [1 | 7 << 32, 2, note, note, 28, 0, 4, 0],
            [13 | 3 << 32, 0, 0, names.0, names.1, 0, 1, 0],
            [23 | 2 << 32, 0, 0, symbols.0, symbols.1, 4 | 1 << 32, 8, 24],
            [31 | 3 << 32, 0, 0, functions.0, functions.1, 0, 1, 0],
        ];
        let sections = sections.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        let (table, _) = append(&sections);
        put(&mut bytes, 40, &table.to_le_bytes());
        put(&mut bytes, 58, &[64, 0, 5, 0, 2, 0]);
        bytes
    }
}

/// The ELF header and the program headers.
fn headers(bytes: &mut [u8], machine: u16) {
    put(bytes, 0, b"\x7fELF\x02\x01\x01");
    put(bytes, 16, &3_u16.to_le_bytes());
    put(bytes, 18, &machine.to_le_bytes());
    put(bytes, 20, &1_u32.to_le_bytes());
    put(bytes, 32, &(at::PROGRAM as u64).to_le_bytes());
    put(bytes, 52, &[64, 0, 56, 0, at::PROGRAMS as u8, 0]);
    const LOAD: u32 = 1;
    const NOTE: u32 = 4;
    const STACK: u32 = 0x6474_e551;
    const RELRO: u32 = 0x6474_e552;
    let data = at::END - at::HEADER;
    let programs = [
        (LOAD, 4, 0, at::TEXT, at::TEXT),
        (LOAD, 5, at::TEXT, at::HEADER - at::TEXT, at::HEADER - at::TEXT),
        (LOAD, 6, at::HEADER, at::FILE_END - at::HEADER, data),
        (NOTE, 4, at::NOTE, 28, 28),
        (RELRO, 4, at::HEADER, at::RELRO_END - at::HEADER, at::RELRO_END - at::HEADER),
        (STACK, 6, 0, 0, 0),
    ];
    for (index, (kind, flags, start, in_file, in_memory)) in programs.into_iter().enumerate() {
        let at = at::PROGRAM + 56 * index;
        put(bytes, at, &u32::to_le_bytes(kind));
        put(bytes, at + 4, &u32::to_le_bytes(flags));
        let numbers = [start, start, start, in_file, in_memory, 8];
        numbers
            .iter()
            .enumerate()
            .for_each(|(field, number)| put(bytes, at + 8 + 8 * field, &(*number as u64).to_le_bytes()));
    }
}

fn note(bytes: &mut [u8]) {
    put(bytes, at::NOTE, b"\x06\0\0\0\x08\0\0\0\x02\0\0\0invar\0\0\0");
    distance(bytes, at::NOTE + 20, at::HEADER);
}

fn header(bytes: &mut [u8], machine: u16, sites: usize, keys: usize) {
    put(bytes, at::HEADER, b"\x89invar\r\n\x02\0\0\0\x38\0");
    put(bytes, at::HEADER + 14, &machine.to_le_bytes());
    for (field, place) in [at::SITES, sites, at::KEYS, keys, at::OUTCOME, 0, at::TEXT].into_iter().enumerate() {
        distance(bytes, at::HEADER + 20 + 4 * field, place);
    }
    put(bytes, at::HEADER + 48, &(at::TEXT as u64).to_le_bytes());
}

/// A distance, which counts from its own field.
fn distance(bytes: &mut [u8], field: usize, place: usize) {
    put(bytes, field, &(place as u32).wrapping_sub(field as u32).to_le_bytes());
}

/// Puts bytes in their place.
pub fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}
