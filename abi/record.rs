//! The records of a module's two tables.

use crate::distance::Distance;
use crate::distance::u16_at;
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

    /// How many bytes its state has, with the number behind it; `None` if what stands beside `flags` is no key's. `names` are all of
    /// its names.
    pub fn state_length(&self, names: &[u8]) -> Option<usize> {
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
