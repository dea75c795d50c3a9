//! The records of a module's two tables.

use crate::distance::Distance;
use crate::distance::u16_at;
use crate::segments::{Segmented, rights};
use crate::site::{Kind, NearBranch, ORDERED};
use crate::state;

/// One site of a module's site table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteRecord {
    /// To the first byte of the site.
    pub site: Distance,
    /// To where the checked form jumps; of a constant, to its number.
    pub target: Distance,
    /// To the state of the site's key.
    pub state: Distance,
    /// Of the site, in bytes.
    pub length: u8,
    /// The number of its [`Kind`].
    pub kind: u8,
    /// As in [`Site`](crate::Site).
    pub value: u8,
    /// 0, or [`ORDERED`].
    pub flags: u8,
}

impl SiteRecord {
    /// In bytes.
    pub const LENGTH: usize = 16;

    /// The record that these bytes of a file are.
    pub const fn decode(bytes: &[u8; Self::LENGTH]) -> Self {
        let [.., length, kind, value, flags] = *bytes;
        Self {
            site: Distance::decode(bytes, 0),
            target: Distance::decode(bytes, 4),
            state: Distance::decode(bytes, 8),
            length,
            kind,
            value,
            flags,
        }
    }

    /// Where site, target and state are, if the record is at this address.
    pub const fn places(&self, address: u64) -> [u64; 3] {
        [self.site.from(address), self.target.from(address.wrapping_add(4)), self.state.from(address.wrapping_add(8))]
    }

    /// Where the site would be, by a record in its place.
    #[inline]
    pub fn address(&self) -> usize {
        self.site.here()
    }

    /// What it says of a branch, if it is one, in a module that is smaller than 2 GiB.
    #[inline(always)]
    pub fn near_branch(&self) -> Option<NearBranch> {
        (self.kind == Kind::Branch as u8 && self.flags & !ORDERED == 0).then(|| NearBranch {
            // Each distance counts from its own field.
            to_target: self.target.bytes().wrapping_sub(self.site.bytes()).wrapping_add(4),
            to_state: self.state.bytes().wrapping_sub(self.site.bytes()).wrapping_add(8),
            length: self.length,
            value: self.value,
            ordered: self.flags != 0,
        })
    }

    /// Whether it is a slice site, of the key whose state has this address; by a record in its place.
    pub fn is_slice_of(&self, key: usize) -> bool {
        Kind::of(self.kind, 0).is_some_and(Kind::is_slice) && self.state.here() == key
    }
}

/// One key of a module's key table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// To the key's state.
    pub state: Distance,
    /// To its name, behind which those of its values stand, each with a NUL at its end.
    pub names: Distance,
    /// To the function that decides it.
    pub probe: Distance,
    /// Of all names, NULs included.
    pub names_length: u16,
    /// How many values it has.
    pub values: u8,
    /// Of [`flags`].
    pub flags: u8,
}

/// What a key record's `flags` may say.
pub mod flags {
    /// The value is a fact of safety: probe in every module, and adopt no more than the probe allows.
    pub const PROVES: u8 = 1;
    /// Slice sites may depend on this key.
    pub const SLICE: u8 = 2;
    /// The loader has bound a symbol by this key, or pointers depend on it: the probe alone decides, after all keys without this
    /// flag.
    pub const SYMBOL: u8 = 4;
    /// This is *the* time slice key, whose verdict says where requests go. `NAME=force` is a setting for it.
    pub const TIMESLICE: u8 = 8;
    /// A key of the runtime's own, decided before those of the program. Only such a key may have a reserved name.
    pub const OWN: u8 = 16;
    /// A switch: its value may change after it was decided.
    pub const SWITCH: u8 = 32;
    /// A number: the key's verdict has it as its data, and it stands in eight bytes behind the state.
    pub const NUMBER: u8 = 64;
    /// All that this version knows to handle. A record with another one is left alone.
    pub const ALL: u8 = PROVES | SLICE | SYMBOL | TIMESLICE | OWN | SWITCH | NUMBER;

    /// Whether a key can have these. A switch has no other one: what is proved stays, and a slice leave of one value must not become
    /// one of another.
    pub const fn are_valid(flags: u8) -> bool {
        flags & !ALL == 0 && (flags & SWITCH == 0 || flags == SWITCH)
    }
}

/// For what a record describes no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It has too few values, or too many.
    Values,
    /// No key of this version has such flags.
    Flags,
    /// Its probe does not lie in the module's text.
    Probe,
    /// Its names do not lie in the module's readable memory.
    NoNames,
    /// Its names have other characters than names may.
    Characters,
    /// There are more names than it has values, or fewer, or the last has no end.
    Names,
    /// It says that it is a constant, and has the flags, values or names of another key.
    Constant,
    /// Its state is not where it can be written to.
    State,
    /// Its state is, and the number behind it is not.
    Number,
}

impl KeyFault {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Values => "a key has 2 to 64 values",
            Self::Flags => "its flags are of a later version, or do not go together",
            Self::Probe => "its probe is not in the module's text",
            Self::NoNames => "its names are not in readable memory",
            Self::Characters => "its names are not visible ASCII",
            Self::Names => "it has not as many names as values",
            Self::Constant => "no constant has such flags, values or names",
            Self::State => "its state is not in writable memory",
            Self::Number => "its number is not in writable memory",
        }
    }
}

const _: () = assert!(size_of::<SiteRecord>() == SiteRecord::LENGTH && size_of::<KeyRecord>() == KeyRecord::LENGTH);

impl KeyRecord {
    /// In bytes.
    pub const LENGTH: usize = 16;

    /// The fewest and the most values of a key.
    pub const VALUES: core::ops::RangeInclusive<u8> = 2..=64;

    /// The record that these bytes of a file are.
    pub const fn decode(bytes: &[u8; Self::LENGTH]) -> Self {
        let [.., values, flags] = *bytes;
        Self {
            state: Distance::decode(bytes, 0),
            names: Distance::decode(bytes, 4),
            probe: Distance::decode(bytes, 8),
            names_length: u16_at(bytes, 12),
            values,
            flags,
        }
    }

    /// Where state, names and probe are, if the record is at this address.
    pub const fn places(&self, address: u64) -> [u64; 3] {
        [self.state.from(address), self.names.from(address.wrapping_add(4)), self.probe.from(address.wrapping_add(8))]
    }

    /// Whether it was left by a linker that discarded what stood here: it describes no key, and does no harm.
    pub const fn is_blank(&self) -> bool {
        self.names_length == 0 && self.values == 0
    }

    /// Judges whether it describes a key of the module with these segments. `places` are where state, names and probe are; `names` is
    /// what stands there, if it can be read. Of a key that is sound the state may be written to, with the number behind it.
    pub fn judge(
        &self,
        [state, _, probe]: [u64; 3],
        names: Option<&[u8]>,
        segments: &impl Segmented,
    ) -> Result<(), KeyFault> {
        if !Self::VALUES.contains(&self.values) {
            return Err(KeyFault::Values);
        }
        if !flags::are_valid(self.flags) {
            return Err(KeyFault::Flags);
        }
        if !segments.holds(probe, 1, rights::EXECUTE) {
            return Err(KeyFault::Probe);
        }
        let names = names.ok_or(KeyFault::NoNames)?;
        let mut ends = 0;
        for &byte in names {
            match byte {
                0 => ends += 1,
                b'!'..=b'~' => {}
                _ => return Err(KeyFault::Characters),
            }
        }
        if ends != u32::from(self.values) + 1 || names.last() != Some(&0) {
            return Err(KeyFault::Names);
        }
        let length = self.state_length(names).ok_or(KeyFault::Constant)?;
        if segments.is_writable(state, length as u64) {
            return Ok(());
        }
        let is_for_number = length > state::LENGTH && segments.is_writable(state, state::LENGTH as u64);
        Err(if is_for_number { KeyFault::Number } else { KeyFault::State })
    }

    /// How many bytes its state has, with the number behind it; `None` if what stands beside `flags` is no key's. `names` are all of
    /// its names.
    #[inline] // out of line it may lie on a page that nothing else touches at load
    fn state_length(&self, names: &[u8]) -> Option<usize> {
        let sort = self.flags & flags::ALL;
        if sort & flags::NUMBER == 0 {
            return Some(state::LENGTH);
        }
        // By its names as well: who takes another key for one would write behind its state.
        let is_number = sort == flags::NUMBER && self.values == 2 && state::number_width(names).is_some();
        is_number.then_some(state::LENGTH + state::NUMBER_LENGTH)
    }

    /// The address of the key's state, by a record in its place.
    #[inline]
    pub fn state_address(&self) -> usize {
        self.state.here()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::tests::Ranges;

    const BYTES: [u8; 16] = [0xfc, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 0, 1, 0, 10, 11, 12, 13];

    #[test]
    fn a_records_bytes_are_its_fields() {
        let site = SiteRecord::decode(&BYTES);
        assert_eq!(site.places(0x1000), [0x0ffc, 0x1104, 0x1_1008]);
        assert_eq!((site.length, site.kind, site.value, site.flags), (10, 11, 12, 13));
        let key = KeyRecord::decode(&BYTES);
        assert_eq!(key.places(0x1000), [0x0ffc, 0x1104, 0x1_1008]);
        assert_eq!((key.names_length, key.values, key.flags), (0x0b0a, 12, 13));
        assert_eq!(SiteRecord::decode(&[0; 16]).places(2), [2, 6, 10], "it leads to itself");
    }

    /// Each rule is broken alone.
    #[test]
    fn a_key_is_judged_by_its_record() {
        const NAMES: &[u8] = b"a.key\0off\0on\0";
        const NUMBER: &[u8] = b"a.key\0default\0u8\0";
        const PLACES: [u64; 3] = [0x2000, 0x1000, 0x0fff];
        let segments = Ranges(&[(0..0x1000, 5), (0x2000..0x2200, 6), (0x3000..0x3200, 4)], 0x21f8..0x2200);
        let judged = |record: &KeyRecord, places, names: &[u8]| record.judge(places, Some(names), &segments);
        let record = KeyRecord { values: 2, flags: flags::OWN, ..KeyRecord::decode(&BYTES) };
        let number = KeyRecord { flags: flags::NUMBER, ..record };
        assert_eq!((judged(&record, PLACES, NAMES), judged(&number, PLACES, NUMBER)), (Ok(()), Ok(())));
        assert_eq!(record.judge(PLACES, None, &segments), Err(KeyFault::NoNames));

        for values in [0, 1, 65, 255] {
            assert_eq!(judged(&KeyRecord { values, ..record }, PLACES, NAMES), Err(KeyFault::Values), "{values}");
        }
        let many = [*b"a\0"; 65];
        let many = many.as_flattened();
        assert_eq!(judged(&KeyRecord { values: 64, ..record }, PLACES, many), Ok(()));
        for flags in [0x80, flags::SWITCH | flags::OWN] {
            assert_eq!(judged(&KeyRecord { flags, ..record }, PLACES, NAMES), Err(KeyFault::Flags), "{flags}");
        }
        for probe in [0x1000, 0x2000, u64::MAX - 1] {
            assert_eq!(judged(&record, [PLACES[0], 0, probe], NAMES), Err(KeyFault::Probe), "{probe:x}");
        }
        for names in [&b"a key\0off\0on\0"[..], b"a.key\0off\0\x7fon\0", b"a\xc3\0off\0on\0"] {
            assert_eq!(judged(&record, PLACES, names), Err(KeyFault::Characters), "{names:?}");
        }
        for names in [&b""[..], b"a.key\0off\0", b"a.key\0off\0on", b"a.key\0off\0on\0more\0", b"a.key\0off\0on\0more"]
        {
            assert_eq!(judged(&record, PLACES, names), Err(KeyFault::Names), "{names:?}");
        }
        assert_eq!(judged(&number, PLACES, NAMES), Err(KeyFault::Constant), "by its names");
        let proof = KeyRecord { flags: flags::NUMBER | flags::PROVES, ..record };
        assert_eq!(judged(&proof, PLACES, NUMBER), Err(KeyFault::Constant), "by its flags");
        for (state, of_key, of_number) in [
            (0x20f0, Ok(()), Ok(())),
            (0x20f8, Ok(()), Err(KeyFault::Number)),
            (0x2100, Err(KeyFault::State), Err(KeyFault::State)),
            (0x2004, Err(KeyFault::State), Err(KeyFault::State)),
            (0x3000, Err(KeyFault::State), Err(KeyFault::State)),
        ] {
            let places = [state, PLACES[1], PLACES[2]];
            assert_eq!(
                (judged(&record, places, NAMES), judged(&number, places, NUMBER)),
                (of_key, of_number),
                "{state:x}"
            );
        }
        let blank = |names_length, values| KeyRecord { names_length, values, ..record }.is_blank();
        assert!(blank(0, 0) && !blank(1, 0) && !blank(0, 1));
    }

    #[test]
    fn a_branch_is_told_by_its_record_alone() {
        let mut record = SiteRecord::decode(&BYTES);
        (record.site, record.target, record.state) = (Distance::new(-100), Distance::new(50), Distance::new(7000));
        for (kind, flags, is_branch) in
            [(1, 0, true), (1, 1, true), (1, 2, false), (2, 0, false), (3, 0, false), (0, 0, false)]
        {
            (record.kind, record.flags) = (kind, flags);
            let found = record.near_branch().map(|it| (it.to_target, it.to_state, it.length, it.value));
            assert_eq!(found, is_branch.then_some((154, 7108, 10, 12)), "{kind} {flags}");
        }
    }

    #[test]
    fn a_record_in_its_place_leads_on() {
        let mut records = [SiteRecord::decode(&[0; 16]); 2];
        records[0].site = Distance::new(16);
        records[0].state = Distance::new(8);
        let second = &raw const records[1] as usize;
        assert_eq!((records[0].address(), records[0].state.here()), (second, second));
        for (kind, is_slice) in [(0, false), (1, false), (2, true), (3, true), (4, false), (5, false), (255, false)] {
            records[0].kind = kind;
            assert_eq!(records[0].is_slice_of(second), is_slice, "{kind}");
            assert!(!records[0].is_slice_of(second + 1));
        }
    }
}
