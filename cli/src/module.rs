//! A module, as its note describes it: keys, site records, outcome (`docs/site-abi.md`).
//!
//! The same reading serves files and processes. Nothing that is read is believed before it is compared with the
//! segments, and nothing is allocated by a size that stands in the module alone.
//!
//! The numbers of the ABI stand here once more, on purpose: a reader of its own, which shows where the runtime and the
//! document differ.

use crate::elf::Headers;
use crate::image::Image;
use crate::text::lossy;
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_NOTE};
use invar::{Origin, Reason, Writer};
use std::collections::HashMap;
use std::ops::Range;

/// Reads `N` bytes.
fn bytes<const N: usize>(image: &dyn Image, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    image.read(address, &mut bytes).then_some(bytes)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The address to which the distance at `bytes[at]` leads, if the bytes stand at `address`.
fn target(address: u64, bytes: &[u8], at: usize) -> u64 {
    address.wrapping_add(at as u64).wrapping_add_signed(i64::from(word(bytes, at) as i32))
}

/// One linked object that carries sites or keys.
pub struct Module<'a> {
    /// What was added to the addresses in the file.
    pub base: u64,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Key records that describe no key: position in the table, and what is wrong.
    pub invalid_keys: Vec<(u64, &'static str)>,
    /// What came of binding it.
    pub outcome: Outcome,
    image: &'a dyn Image,
    segments: Vec<Segment>,
    by_state: HashMap<u64, usize>,
    sites: Range<u64>,
    outcome_address: u64,
}

struct Segment {
    range: Range<u64>,
    flags: u32,
}

/// A key of a module.
pub struct Key {
    /// Its name.
    pub name: String,
    /// The names of its values.
    pub values: Vec<String>,
    /// The address of its state.
    pub state: u64,
    /// Whether slice sites may depend on it.
    pub slices: bool,
    /// What was decided, if something was.
    pub verdict: Option<Verdict>,
}

/// A key's state, sealed.
#[derive(PartialEq)]
pub struct Verdict {
    /// The value's position among the key's values.
    pub value: u8,
    /// Who decided.
    pub origin: Origin,
    /// Why.
    pub evidence: String,
}

/// What came of binding a module.
#[derive(Default, PartialEq)]
pub struct Outcome {
    /// Whether the module's constructor has run.
    pub loaded: bool,
    /// Why sites stay checked.
    pub reason: Option<Reason>,
    /// Names of the writers that were used.
    pub writers: Vec<&'static str>,
    /// How many sites were bound.
    pub bound: u32,
    /// Distance of each thread's request byte from its thread pointer.
    pub request_offset: i32,
    /// How long it took.
    pub nanoseconds: u64,
}

/// A site record, its distances worked out.
#[derive(Clone, Copy)]
pub struct Record {
    /// Position in the table.
    pub index: u64,
    /// The site's first byte.
    pub address: u64,
    /// Where its checked form jumps.
    pub target: u64,
    /// Its key's state.
    pub state: u64,
    /// In bytes.
    pub length: u8,
    /// The number of its kind.
    pub kind: u8,
    /// The value for which it falls through.
    pub value: u8,
    /// 0 in this version.
    pub flags: u8,
    /// Whether every byte of the record is 0: a linker's way to blank what it discards.
    pub blank: bool,
}

const RECORD: usize = 16;
const STATE: usize = 256;
const OUTCOME: usize = 32;
/// How many records are read at a time.
const BATCH: u64 = 4096;
/// The flag of a key record without which no slice site may depend on the key.
const KEY_FOR_SLICES: u8 = 2;
/// What a module may make this command keep: key records, and bytes of their names altogether.
const MOST_KEYS: u64 = 65_536;
const MOST_NAMES: usize = 4 << 20;

impl<'a> Module<'a> {
    /// The module with these headers, loaded at `base`; `None` if it carries no note.
    pub fn read(image: &'a dyn Image, base: u64, headers: &Headers) -> Result<Option<Self>, String> {
        let segments = headers
            .loads()
            .map(|header| {
                let start = base.wrapping_add(header.p_vaddr);
                Segment { range: start..start.saturating_add(header.p_memsz), flags: header.p_flags }
            })
            .collect();
        let mut module = Self {
            base,
            keys: Vec::new(),
            invalid_keys: Vec::new(),
            outcome: Outcome::default(),
            image,
            segments,
            by_state: HashMap::new(),
            sites: 0..0,
            outcome_address: 0,
        };
        let Some(note) = find_note(image, base, headers)? else { return Ok(None) };
        let descriptor: [u8; DESCRIPTOR] = bytes(image, note).ok_or("the note's descriptor cannot be read")?;
        let at = |field: usize| target(note, &descriptor, field);
        module.sites = module.table("site", at(0)..at(4))?;
        let keys = module.table("key", at(8)..at(12))?;
        module.outcome_address = at(16);
        if !module.is_writable(module.outcome_address, OUTCOME as u64) {
            return Err("the note's outcome is not in writable memory".into());
        }
        module.outcome = module.read_outcome().ok_or("the note's outcome cannot be read")?;
        module.read_keys(keys)?;
        Ok(Some(module))
    }

    /// The number of site records.
    pub fn records_len(&self) -> u64 {
        (self.sites.end - self.sites.start) / RECORD as u64
    }

    /// The site records, read as they are asked for; fewer than [`records_len`](Self::records_len) if not all of them
    /// can be read.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let address = |index| self.sites.start + index * RECORD as u64;
        let mut batch = Vec::new();
        (0..self.records_len()).map_while(move |index| {
            let at = (index % BATCH) as usize;
            if at == 0 {
                let count = BATCH.min(self.records_len() - index) as usize;
                batch.resize(count, [0; RECORD]);
                if !self.image.read(address(index), batch.as_flattened_mut()) {
                    batch.clear();
                }
            }
            // Where not all of a batch can be read, a part of it can.
            let bytes = batch.get(at).copied().or_else(|| bytes(self.image, address(index)))?;
            Some(Record::new(index, address(index), &bytes))
        })
    }

    /// Whether what its sites are judged by is still as it was read: what came of binding, and every key.
    pub fn is_as_read(&self) -> bool {
        self.read_outcome().as_ref() == Some(&self.outcome)
            && self.keys.iter().all(|key| {
                let state = self.variable(key.state);
                state.is_some_and(|state| Verdict::read(&state) == key.verdict)
            })
    }

    /// Whether the module's constructor was at work when this was read: keys decided, and not all of it done.
    pub fn is_being_bound(&self) -> bool {
        !self.outcome.loaded && self.keys.iter().any(|key| key.verdict.is_some())
    }

    /// The key whose state stands here.
    pub fn key(&self, state: u64) -> Option<&Key> {
        self.by_state.get(&state).map(|&index| &self.keys[index])
    }

    /// Whether this range lies in a segment that may be read and executed.
    pub fn is_text(&self, address: u64, length: u64) -> bool {
        self.within(address, length, PF_R | PF_X)
    }

    /// What stands at `address`, `length` bytes of it.
    pub fn code(&self, address: u64, length: u8) -> Option<Vec<u8>> {
        let mut code = vec![0; length.into()];
        self.image.read(address, &mut code).then_some(code)
    }

    /// Whether this range may hold what the runtime writes.
    fn is_writable(&self, address: u64, length: u64) -> bool {
        address.is_multiple_of(8) && self.within(address, length, PF_R | PF_W)
    }

    /// Whether a segment with all of these flags holds this range whole.
    fn within(&self, address: u64, length: u64, flags: u32) -> bool {
        address.checked_add(length).is_some_and(|end| {
            self.segments.iter().any(|segment| {
                segment.range.start <= address && end <= segment.range.end && segment.flags & flags == flags
            })
        })
    }

    fn read_outcome(&self) -> Option<Outcome> {
        self.variable(self.outcome_address).map(Outcome::read)
    }

    /// Reads `N` bytes that the runtime writes.
    fn variable<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.image.read_variable(address, &mut bytes).then_some(bytes)
    }

    /// A table between two addresses: whole records, in readable memory, and really there to its last byte.
    fn table(&self, what: &str, range: Range<u64>) -> Result<Range<u64>, String> {
        if range.start == range.end {
            return Ok(0..0);
        }
        let length = range.end.checked_sub(range.start).ok_or(format!("the {what} table ends before it starts"))?;
        if !self.within(range.start, length, PF_R) || !range.start.is_multiple_of(4) {
            return Err(format!("the {what} table does not lie in the module's readable memory"));
        }
        if bytes::<1>(self.image, range.start).and(bytes::<1>(self.image, range.end - 1)).is_none() {
            return Err(format!("the {what} table is cut off"));
        }
        Ok(range)
    }

    fn read_keys(&mut self, table: Range<u64>) -> Result<(), String> {
        let count = (table.end - table.start) / RECORD as u64;
        if count > MOST_KEYS {
            return Err(format!("the key table has {count} records, which no module has"));
        }
        let mut names_left = MOST_NAMES;
        for index in 0..count {
            match self.read_key(table.start + index * RECORD as u64, &mut names_left) {
                Ok(key) => {
                    self.by_state.entry(key.state).or_insert(self.keys.len());
                    self.keys.push(key);
                }
                Err(why) => self.invalid_keys.push((index, why)),
            }
        }
        Ok(())
    }

    fn read_key(&self, address: u64, names_left: &mut usize) -> Result<Key, &'static str> {
        let record: [u8; RECORD] = bytes(self.image, address).ok_or("the record cannot be read")?;
        let (state, names, probe) =
            (target(address, &record, 0), target(address, &record, 4), target(address, &record, 8));
        let (length, values) = (usize::from(record[12]) | usize::from(record[13]) << 8, record[14]);
        if !(2..=64).contains(&values) {
            return Err("a key has 2 to 64 values");
        }
        if !self.is_writable(state, STATE as u64) {
            return Err("its state is not in writable memory");
        }
        if !self.within(probe, 1, PF_X) {
            return Err("its probe is not in the module's text");
        }
        *names_left = names_left.checked_sub(length).ok_or("the names before it are longer than any module's")?;
        let mut text = vec![0; length];
        if !self.within(names, length as u64, PF_R) || !self.image.read(names, &mut text) {
            return Err("its names are not in readable memory");
        }
        let mut names = text.split(|&byte| byte == 0).map(lossy).collect::<Vec<_>>();
        if names.pop().is_none_or(|rest| !rest.is_empty()) || names.len() != usize::from(values) + 1 {
            return Err("it has not as many names as values");
        }
        let verdict = Verdict::read(&self.variable(state).ok_or("its state cannot be read")?);
        let slices = record[15] & KEY_FOR_SLICES != 0;
        Ok(Key { values: names.split_off(1), name: names.swap_remove(0), state, slices, verdict })
    }
}

impl Key {
    /// The name of one of its values; a number if it has no such value.
    pub fn value_name(&self, value: u8) -> String {
        self.values.get(usize::from(value)).cloned().unwrap_or_else(|| format!("value {value}"))
    }

    /// The value that its state has been sealed with.
    pub fn decided(&self) -> Option<u8> {
        self.verdict.as_ref().map(|verdict| verdict.value)
    }
}

impl Verdict {
    fn read(state: &[u8; STATE]) -> Option<Self> {
        const SEALED: u8 = 2;
        let origin = Origin::from_byte(state[2]);
        let length = usize::from(state[16]) | usize::from(state[17]) << 8;
        let evidence = &state[18..STATE.min(18 + length)];
        (state[1] == SEALED).then(|| Self { value: state[0], origin, evidence: lossy(evidence) })
    }
}

impl Outcome {
    /// The distance of each thread's request byte, if it is known: never 0 where the extension can be used.
    pub fn request(&self) -> Option<i32> {
        (self.loaded || self.request_offset != 0).then_some(self.request_offset)
    }

    fn read(bytes: [u8; OUTCOME]) -> Self {
        Self {
            loaded: bytes[0] != 0,
            reason: Reason::from_numbers(bytes[1], word(&bytes, 4)),
            writers: Writer::from_bits(bytes[2]).map(Writer::name).collect(),
            bound: word(&bytes, 8),
            request_offset: word(&bytes, 16) as i32,
            nanoseconds: u64::from(word(&bytes, 24)) | u64::from(word(&bytes, 28)) << 32,
        }
    }
}

impl Record {
    fn new(index: u64, address: u64, bytes: &[u8; RECORD]) -> Self {
        let at = |field| target(address, bytes, field);
        let [length, kind, value, flags] = [bytes[12], bytes[13], bytes[14], bytes[15]];
        let blank = bytes.iter().all(|&byte| byte == 0);
        Self { index, address: at(0), target: at(4), state: at(8), length, kind, value, flags, blank }
    }
}

/// The note's owner, type (the version of the ABI) and length of descriptor.
const OWNER: &[u8; 6] = b"invar\0";
const ABI: u32 = 2;
const DESCRIPTOR: usize = 24;
/// Notes are few. A file of zeros reads as a great many empty ones.
const MOST_NOTES: usize = 4096;

/// The address of the descriptor of the module's note.
fn find_note(image: &dyn Image, base: u64, headers: &Headers) -> Result<Option<u64>, String> {
    let mut left = MOST_NOTES;
    let mut other = None;
    for header in headers.program.iter().filter(|header| header.p_type == PT_NOTE) {
        let start = base.wrapping_add(header.p_vaddr);
        let mut at = 0_u64;
        while at.saturating_add(12) <= header.p_memsz && left > 0 {
            left -= 1;
            let Some(head) = bytes::<12>(image, start.wrapping_add(at)) else { break };
            let (name_length, length, kind) = (word(&head, 0), word(&head, 4), word(&head, 8));
            // Lengths have 32 bits and `at` stays below a segment's size, so these sums only overflow with it.
            let name = at + 12;
            let descriptor = name.saturating_add(name_length.into()).saturating_add(3) & !3;
            let end = descriptor.saturating_add(length.into());
            if end > header.p_memsz {
                break;
            }
            if name_length as usize == OWNER.len() && bytes(image, start.wrapping_add(name)) == Some(*OWNER) {
                if kind == ABI && length as usize == DESCRIPTOR {
                    return Ok(Some(start.wrapping_add(descriptor)));
                }
                other = Some((kind, length));
            }
            at = end.saturating_add(3) & !3;
        }
    }
    match other {
        Some((kind, length)) => {
            Err(format!("its note (type {kind}, {length} bytes) is of an ABI version that this command does not know"))
        }
        None => Ok(None),
    }
}
