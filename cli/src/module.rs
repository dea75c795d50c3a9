//! A module, as its header describes it: keys, site records, outcome (`docs/site-abi.md`).
//!
//! The same reading serves files and processes. Nothing that is read is believed before it is compared with the
//! segments, and nothing is allocated by a size that stands in the module alone. What bytes mean is told by `invar-abi`.

use crate::elf::Headers;
use crate::image::Image;
use crate::text::lossy;
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_RELRO, PT_NOTE, ProgramHeader};
use invar::{Kind, Origin, Reason, Writer};
use invar_abi::header::HeaderFault;
use invar_abi::{
    Distance, Header, KeyFault, KeyRecord, Segmented, SiteRecord, flags, header, machine, note, outcome, state,
};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

/// Reads `N` bytes.
fn bytes<const N: usize>(image: &dyn Image, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    image.read(address, &mut bytes).then_some(bytes)
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
    /// Its note leads elsewhere than to its header.
    pub note_was_moved: bool,
    /// Whose forms its sites have, as [`Headers::forms`] says.
    pub forms: u16,
    image: &'a dyn Image,
    segments: Vec<Segment>,
    /// What is read-only once the loader is done with it.
    relro: Vec<Range<u64>>,
    by_state: HashMap<u64, usize>,
    /// Where pointers lead, by slot, state and value; worked out when there are some.
    pointer_targets: OnceCell<HashMap<(u64, u64, u8), u64>>,
    sites: Range<u64>,
    outcome_address: u64,
}

struct Segment {
    range: Range<u64>,
    /// The part of it that the file fills.
    in_file: u64,
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
    /// Of its record's flags, those that its sites depend on: whether slice sites or pointers may, whether it is a constant or a switch.
    pub flags: u8,
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
    /// How often a switch was set.
    pub sets: u32,
    /// A constant's number; what bound code needs beside the value.
    pub data: u64,
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
    /// Names of those that were refused, and why.
    pub refusals: Vec<(&'static str, String)>,
    /// How many sites were bound.
    pub bound: u32,
    /// Distance of each thread's request byte from its thread pointer.
    pub request: Option<i32>,
    /// How long it took.
    pub nanoseconds: u64,
}

/// A site record, its distances worked out.
#[derive(Clone, Copy)]
pub struct Record {
    /// As it was read.
    pub record: SiteRecord,
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
    /// Whether every byte of the record is 0: a tool has removed it from the file. No linker leaves one.
    pub blank: bool,
}

const RECORD: usize = SiteRecord::LENGTH;
/// How many records are read at a time.
const BATCH: u64 = 4096;
/// How much is looked through at a time for a header, and how often. No module has more data than that.
const SCANNED: u64 = 1 << 12;
const MOST_SCANNED: usize = 1 << 18;
/// What a module may make this command keep: key records, and bytes of their names altogether.
const MOST_KEYS: u64 = 65_536;
const MOST_NAMES: usize = 4 << 20;

impl<'a> Module<'a> {
    /// The module with these headers, loaded at `base`; `None` if it carries no note.
    pub fn read(image: &'a dyn Image, base: u64, headers: &Headers) -> Result<Option<Self>, String> {
        let range = |header: &ProgramHeader| {
            let start = base.wrapping_add(header.p_vaddr);
            start..start.saturating_add(header.p_memsz)
        };
        let segments = headers.loads().map(|header| Segment {
            range: range(header),
            in_file: header.p_filesz.min(header.p_memsz),
            flags: header.p_flags,
        });
        let relro = headers.program.iter().filter(|header| header.p_type == PT_GNU_RELRO);
        let mut module = Self {
            base,
            keys: Vec::new(),
            invalid_keys: Vec::new(),
            outcome: Outcome::default(),
            note_was_moved: false,
            forms: headers.forms(),
            image,
            segments: segments.collect(),
            relro: relro.map(range).collect(),
            by_state: HashMap::new(),
            pointer_targets: OnceCell::new(),
            sites: 0..0,
            outcome_address: 0,
        };
        let Some(leads_to) = module.find_note(headers)? else { return Ok(None) };
        let (address, header) = module.find_header(leads_to, machine::number(headers.machine_number()))?;
        module.note_was_moved = address != leads_to;
        module.sites = module.table("site", header.sites(address))?;
        let keys = module.table("key", header.keys(address))?;
        module.outcome_address = header.outcome(address);
        module.outcome = module.read_outcome().ok_or("the module's outcome cannot be read")?;
        module.read_keys(keys)?;
        Ok(Some(module))
    }

    /// Where the module's note leads.
    fn find_note(&self, headers: &Headers) -> Result<Option<u64>, String> {
        let image = self.image;
        let mut left = MOST_NOTES;
        let mut other = None;
        for header in headers.program.iter().filter(|header| header.p_type == PT_NOTE) {
            let start = self.base.wrapping_add(header.p_vaddr);
            // What the loader does not map to be read, nobody finds in a process.
            if !start.is_multiple_of(4) || !self.within(start, header.p_memsz & !3, PF_R) {
                continue;
            }
            let mut at = 0_u64;
            while at.saturating_add(note::Head::LENGTH as u64) <= header.p_memsz && left > 0 {
                left -= 1;
                let here = start.wrapping_add(at);
                let Some(head) = bytes(image, here).map(|bytes| note::Head::decode(&bytes)) else { break };
                let descriptor = head.descriptor();
                let end = at.saturating_add(descriptor.end.next_multiple_of(4));
                if end > header.p_memsz {
                    break;
                }
                let owner = head.owner();
                if owner.end - owner.start == note::OWNER.len() as u64
                    && bytes(image, here.wrapping_add(owner.start)) == Some(note::PADDED_OWNER)
                {
                    if head.is_ours() {
                        let at = here.wrapping_add(descriptor.start);
                        let distance = bytes(image, at).ok_or("the note's descriptor cannot be read")?;
                        return Ok(Some(Distance::new(i32::from_le_bytes(distance)).from(at)));
                    }
                    other = Some(head);
                }
                at = end;
            }
        }
        match other {
            Some(note::Head { kind, descriptor, .. }) => Err(format!(
                "its note (type {kind}, {descriptor} bytes) is of an ABI version that this command does not know"
            )),
            None => Ok(None),
        }
    }

    /// The module's header, and where it is: where the note leads, if one begins there; else wherever in the data the first is that
    /// can be used.
    fn find_header(&self, leads_to: u64, machine: u16) -> Result<(u64, Header), String> {
        let is_filled = |segment: &Segment| {
            let from = leads_to.checked_sub(segment.range.start);
            from.is_some_and(|from| segment.in_file.saturating_sub(from) >= header::MAGIC.len() as u64)
        };
        let may_begin = leads_to.is_multiple_of(header::ALIGNMENT as u64)
            && self.within(leads_to, Header::LENGTH as u64, PF_R)
            && self.segments.iter().any(is_filled);
        if may_begin && bytes(self.image, leads_to).ok_or("the module's header is cut off")? == header::MAGIC {
            let header = self.read_header(leads_to, machine).map_err(|fault| refusal(fault, machine))?;
            return self.check_places(leads_to, &header).map(|()| (leads_to, header));
        }
        let usable = |&address: &u64| {
            let header = self.read_header(address, machine).ok()?;
            self.check_places(address, &header).ok()?;
            Some(header)
        };
        let found =
            self.candidates().take(header::MOST_CANDIDATES).find_map(|address| Some((address, usable(&address)?)));
        found.ok_or_else(|| "its note leads to no header, and none that can be used is elsewhere".into())
    }

    /// Where headers may begin, in data.
    fn candidates(&self) -> impl Iterator<Item = u64> {
        const ALIGNMENT: u64 = header::ALIGNMENT as u64;
        let is_data = |segment: &&Segment| segment.flags & (PF_R | PF_W) == PF_R | PF_W;
        let parts = self.segments.iter().filter(is_data).flat_map(|segment| {
            let end = segment.range.start.saturating_add(segment.in_file);
            let start = segment.range.start.checked_next_multiple_of(ALIGNMENT).unwrap_or(end);
            (start..end).step_by(SCANNED as usize).map(move |at| at..end.min(at.saturating_add(SCANNED)))
        });
        let mut buffer = vec![0; SCANNED as usize];
        // What cannot be read is skipped, and the command does not look for ever.
        parts.take(MOST_SCANNED).flat_map(move |part| {
            let bytes = &mut buffer[..(part.end - part.start) as usize];
            let is_there = self.image.read_if_there(part.start, bytes);
            let found = header::candidates(if is_there { bytes } else { &[] }, part.start);
            found.map(|at| part.start + at as u64).collect::<Vec<_>>()
        })
    }

    fn read_header(&self, address: u64, machine: u16) -> Result<Header, HeaderFault> {
        let readable = self.within(address, Header::LENGTH as u64, PF_R);
        let header = bytes(self.image, address).filter(|_| readable).map(|bytes| Header::decode(&bytes));
        let header = header.ok_or(HeaderFault::Magic)?;
        header.check(machine).map(|()| header)
    }

    /// Whether all that a header says lies in the module.
    fn check_places(&self, address: u64, header: &Header) -> Result<(), String> {
        self.table("site", header.sites(address))?;
        self.table("key", header.keys(address))?;
        if !self.is_writable(header.outcome(address), outcome::LENGTH as u64) {
            return Err("the module's outcome is not in writable memory".into());
        }
        Ok(())
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

    /// The site record at this position, if there is one.
    pub fn record(&self, index: u64) -> Option<Record> {
        let address = self.sites.start + index.checked_mul(RECORD as u64)?;
        let bytes = bytes(self.image, address).filter(|_| index < self.records_len())?;
        Some(Record::new(index, address, &bytes))
    }

    /// Whether what its sites are judged by is still as it was read: what came of binding, and every key.
    pub fn is_as_read(&self) -> bool {
        self.read_outcome().as_ref() == Some(&self.outcome)
            && self.keys.iter().all(|key| {
                let state = self.variable(key.state);
                state.is_some_and(|state| Verdict::read(&state) == key.verdict)
            })
    }

    /// Whether what was read of it is true of one moment: nothing has changed since, nor was about to.
    pub fn is_settled(&self) -> bool {
        self.is_as_read() && !self.is_being_bound() && !self.is_being_set()
    }

    /// Whether somebody is setting switches now, or sealing a key: the first module says so for all.
    fn is_being_set(&self) -> bool {
        self.variable(self.outcome_address.wrapping_add(outcome::LOCK)) != Some([0])
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

    /// Whether this address lies in one of its segments.
    pub fn is_loaded(&self, address: u64) -> bool {
        self.within(address, 1, 0)
    }

    /// What a word of its data holds.
    pub fn word(&self, address: u64, length: u8) -> Option<u64> {
        let mut word = [0; 8];
        self.image.read(address, word.get_mut(..length.into())?).then(|| u64::from_le_bytes(word))
    }

    /// Where a pointer's slot leads for this value, by the records of the slot that a record is of.
    pub fn pointer_target(&self, record: &Record, value: u8) -> Option<u64> {
        let targets = self.pointer_targets.get_or_init(|| {
            let is_one = |record: &Record| {
                record.kind == Kind::Pointer as u8 && record.flags == 0 && self.is_loaded(record.target)
            };
            let mut targets = HashMap::new();
            for record in self.records().filter(is_one) {
                targets.entry((record.address, record.state, record.value)).or_insert(record.target);
            }
            targets
        });
        targets.get(&(record.address, record.state, value)).copied()
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
        if range.end < range.start {
            return Err(format!("the {what} table ends before it starts"));
        }
        let count = Segmented::records(self, &range, RECORD as u64, align_of::<SiteRecord>() as u64);
        let count = count.ok_or(format!("the {what} table does not lie in the module's readable memory"))?;
        if count == 0 {
            return Ok(0..0);
        }
        let range = range.start..range.start + count * RECORD as u64;
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
                Ok(None) => {}
                Ok(Some(key)) => {
                    self.by_state.entry(key.state).or_insert(self.keys.len());
                    self.keys.push(key);
                }
                Err(why) => self.invalid_keys.push((index, why)),
            }
        }
        Ok(())
    }

    /// The key of a record; `None` of a blank one.
    fn read_key(&self, address: u64, names_left: &mut usize) -> Result<Option<Key>, &'static str> {
        let record = KeyRecord::decode(&bytes(self.image, address).ok_or("the record cannot be read")?);
        if record.is_blank() {
            return Ok(None);
        }
        let places @ [state, names, _] = record.places(address);
        let length = usize::from(record.names_length);
        let left = names_left.checked_sub(length).ok_or("the names before it are longer than any module's")?;
        let mut text = vec![0; length];
        let is_there = self.within(names, length as u64, PF_R) && self.image.read(names, &mut text);
        record.judge(places, is_there.then_some(&text), self).map_err(KeyFault::describe)?;
        // Names of a record that is none use up nothing.
        *names_left = left;
        // Behind the last end there is nothing.
        let mut names = text.split(|&byte| byte == 0).map(lossy).collect::<Vec<_>>();
        names.pop();
        let flags = record.flags & (flags::SLICE | flags::SYMBOL | flags::SWITCH | flags::NUMBER);
        let verdict = Verdict::read(&self.variable(state).ok_or("its state cannot be read")?);
        Ok(Some(Key { values: names.split_off(1), name: names.swap_remove(0), state, flags, verdict }))
    }
}

impl Segmented for Module<'_> {
    fn holds(&self, address: u64, length: u64, rights: u32) -> bool {
        self.within(address, length, rights)
    }

    fn is_relro(&self, address: u64, length: u64) -> bool {
        self.relro.iter().any(|range| address < range.end && range.start < address + length)
    }
}

impl Key {
    /// The name of one of its values; a number if it has no such value.
    pub fn value_name(&self, value: u8) -> String {
        self.values.get(usize::from(value)).cloned().unwrap_or_else(|| format!("value {value}"))
    }

    /// Whether another key is described as this one is: its names, its values, and what its sites may do.
    pub fn describes(&self, other: &Self) -> bool {
        (&self.name, &self.values, self.flags) == (&other.name, &other.values, other.flags)
    }

    /// The number that a constant has been sealed with.
    pub fn number(&self) -> Option<u64> {
        self.verdict.as_ref().filter(|_| self.flags & flags::NUMBER != 0).map(|verdict| verdict.data)
    }

    /// The name of the value, or the number, that it has been sealed with.
    pub fn decision(&self) -> Option<String> {
        self.number().map(|number| number.to_string()).or_else(|| self.decided().map(|value| self.value_name(value)))
    }

    /// The value that its state has been sealed with.
    pub fn decided(&self) -> Option<u8> {
        self.verdict.as_ref().map(|verdict| verdict.value)
    }
}

impl Verdict {
    fn read(state: &[u8; state::LENGTH]) -> Option<Self> {
        let sealed = state::Sealed::decode(state)?;
        let sets = u32::from_ne_bytes(state[state::SETS..][..4].try_into().ok()?);
        let evidence = lossy(sealed.evidence);
        Some(Self { value: sealed.value, origin: sealed.origin, sets, data: sealed.data, evidence })
    }
}

impl Outcome {
    fn read(bytes: [u8; outcome::LENGTH]) -> Self {
        let outcome = outcome::Outcome::decode(&bytes);
        Self {
            loaded: outcome.phase != 0,
            reason: Reason::from_numbers(outcome.reason, outcome.detail),
            writers: Writer::from_bits(outcome.writers).map(Writer::name).collect(),
            refusals: Writer::from_bits(!0)
                .zip(outcome.refusals)
                .filter_map(|(writer, number)| Some((writer.name(), brief(Reason::from_refusal(number)?))))
                .collect(),
            bound: outcome.bound,
            request: outcome.request,
            nanoseconds: outcome.nanoseconds,
        }
    }

    /// The distance of each thread's request byte, if it is known; 0, where no x86-64 program has it, if there is none.
    pub fn request(&self) -> Option<i32> {
        if self.loaded { Some(self.request.unwrap_or(0)) } else { self.request }
    }
}

impl Record {
    fn new(index: u64, address: u64, bytes: &[u8; RECORD]) -> Self {
        let record = SiteRecord::decode(bytes);
        let [address, target, state] = record.places(address);
        let SiteRecord { length, kind, value, flags, .. } = record;
        let blank = bytes.iter().all(|&byte| byte == 0);
        Self { record, index, address, target, state, length, kind, value, flags, blank }
    }
}

/// Why a writer was refused, in a few words.
fn brief(reason: Reason) -> String {
    match reason {
        Reason::Refused(errno) => format!("errno {errno}"),
        reason => reason.brief().into(),
    }
}

/// What is said of a header that cannot be used.
fn refusal(fault: HeaderFault, machine: u16) -> String {
    match fault {
        HeaderFault::Machine => format!("its header is for another machine than the file's, which is {machine}"),
        HeaderFault::Version | HeaderFault::Length | HeaderFault::Flags => {
            format!("its header is of an ABI version that this command does not know, by its {}", fault.field())
        }
        _ => format!("its header has a wrong {}", fault.field()),
    }
}

/// Notes are few. A file of zeros reads as a great many empty ones.
const MOST_NOTES: usize = 4096;
