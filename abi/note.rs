//! The note, by which others find a module's header.

use crate::distance::u32_at;
use core::ops::Range;

/// The note's owner, with the NUL that its size counts.
pub const OWNER: &[u8; 6] = b"invar\0";

/// The owner as it stands in a note, with the zeros that it is padded with.
pub const PADDED_OWNER: [u8; 8] = *b"invar\0\0\0";

/// The version of the ABI: the note's type.
pub const VERSION: u32 = 2;

/// Length of the descriptor: the distance to the header, and flags.
pub const DESCRIPTOR: usize = 8;

/// What any note begins with: how long its parts are, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the owner, in bytes.
    pub owner: u32,
    /// Length of the descriptor, in bytes.
    pub descriptor: u32,
    /// The type, whose meaning is the owner's.
    pub kind: u32,
}

impl Head {
    /// In bytes. The owner stands behind it.
    pub const LENGTH: usize = 12;

    /// The head that these bytes of a file are.
    pub const fn decode(bytes: &[u8; Self::LENGTH]) -> Self {
        Self { owner: u32_at(bytes, 0), descriptor: u32_at(bytes, 4), kind: u32_at(bytes, 8) }
    }

    /// Whether a note that has this head, and our owner, is of this version.
    pub fn is_ours(&self) -> bool {
        self.owner as usize == OWNER.len() && self.kind == VERSION && self.descriptor as usize == DESCRIPTOR
    }

    /// Where its owner stands, from its first byte on.
    pub fn owner(&self) -> Range<u64> {
        Self::LENGTH as u64..Self::LENGTH as u64 + u64::from(self.owner)
    }

    /// Where its descriptor stands, from its first byte on.
    ///
    /// All notes are stepped through by four bytes, whatever their segment's alignment: mold puts notes of alignment 4 behind one of
    /// alignment 8 into one segment, and the one note that has alignment 8, the GNU property note, is a multiple of 8 long.
    pub fn descriptor(&self) -> Range<u64> {
        let start = self.owner().end.next_multiple_of(4);
        start..start + u64::from(self.descriptor)
    }
}

/// Head and owner of ours, in a process.
const OURS: [u32; 5] = {
    let [i, n, v, a, r, end, zero, other] = PADDED_OWNER;
    let owner = [u32::from_ne_bytes([i, n, v, a]), u32::from_ne_bytes([r, end, zero, other])];
    [OWNER.len() as u32, DESCRIPTOR as u32, VERSION, owner[0], owner[1]]
};

/// Which version of this ABI the first note is of, among these of this process, that is not of this one.
pub fn other_version(mut notes: &[u32]) -> Option<u32> {
    loop {
        let [owner, descriptor, version, ..] = *notes else { return None };
        let length = 3 + owner.div_ceil(4) as usize + descriptor.div_ceil(4) as usize;
        let (note, behind) = notes.split_at_checked(length)?;
        let is_ours = [descriptor, version] == [OURS[1], OURS[2]];
        if owner == OURS[0] && note[3..].starts_with(&OURS[3..]) && !is_ours {
            return Some(version);
        }
        notes = behind;
    }
}

/// Where ours leads among these notes of this process, which stand one behind the other, in their place.
#[inline(always)] // called once by a runtime
pub fn leads_to(mut notes: &[u32]) -> Option<usize> {
    loop {
        let [owner, descriptor, ..] = *notes else { return None };
        let length = 3 + owner.div_ceil(4) as usize + descriptor.div_ceil(4) as usize;
        let (note, behind) = notes.split_at_checked(length)?;
        if let Some([distance, ..]) = note.strip_prefix(&OURS) {
            return Some((&raw const *distance as usize).wrapping_add_signed(*distance as i32 as isize));
        }
        notes = behind;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn note(owner: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [owner.len() as u32, descriptor.len() as u32, kind] {
            bytes.extend(word.to_ne_bytes());
        }
        for part in [owner, descriptor] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn words(notes: &[u8]) -> Vec<u32> {
        notes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    #[test]
    fn our_note_is_found_among_others() {
        let mut notes = note(b"GNU\0", 3, &[7; 20]);
        notes.extend(note(b"a longer name\0", 3, &[7; 70_001]));
        notes.extend(note(&[b'x'; 300], 3, &[7; 1]));
        notes.extend(note(OWNER, 1, &[1; DESCRIPTOR]));
        notes.extend(note(OWNER, VERSION, &[2; DESCRIPTOR + 4]));
        notes.extend(note(b"INVAR\0", VERSION, &[2; DESCRIPTOR]));
        assert_eq!(leads_to(&words(&notes)), None, "other versions and owners are not ours");
        assert_eq!(other_version(&words(&notes)), Some(1));
        let other = |owner: &[u8], kind, length| other_version(&words(&note(owner, kind, &[2; 24][..length])));
        assert_eq!(other(OWNER, VERSION, DESCRIPTOR + 4), Some(VERSION));
        assert_eq!(other(OWNER, VERSION, DESCRIPTOR), None, "ours");
        assert_eq!(other(b"INVAR\0", 1, DESCRIPTOR), None, "another owner's");
        let before = notes.len();
        notes.extend(note(OWNER, VERSION, &[16, 0, 0, 0, 0, 0, 0, 0]));
        notes.extend(note(OWNER, VERSION, &[32, 0, 0, 0, 0, 0, 0, 0]));
        let found = words(&notes);
        let distance = &raw const found[before / 4 + 5] as usize;
        let expected = if cfg!(target_endian = "little") { 16 } else { 16 << 24 };
        assert_eq!(leads_to(&found), Some(distance + expected), "the first counts");
        assert_eq!(leads_to(&found[..before / 4 + 6]), None, "it is cut off");

        let head = Head::decode(notes[before..][..Head::LENGTH].try_into().unwrap());
        assert!(cfg!(target_endian = "big") || head.is_ours(), "{head:?}");
    }

    #[test]
    fn a_head_says_where_the_rest_is() {
        let ours = Head { owner: 6, descriptor: 8, kind: VERSION };
        assert!(ours.is_ours());
        for other in [Head { owner: 5, ..ours }, Head { descriptor: 12, ..ours }, Head { kind: VERSION + 1, ..ours }] {
            assert!(!other.is_ours(), "{other:?}");
        }
        assert_eq!((ours.owner(), ours.descriptor()), (12..18, 20..28));
        let shorter = Head { owner: 4, ..ours };
        assert_eq!((shorter.owner(), shorter.descriptor()), (12..16, 16..24));
    }

    #[test]
    fn notes_of_any_length_are_stepped_over() {
        let lengths = 0..24_u8;
        for (owner, descriptor) in lengths.clone().flat_map(|owner| lengths.clone().map(move |length| (owner, length)))
        {
            let before = note(&[b'x'; 24][..owner.into()], 3, &[0xff; 24][..descriptor.into()]);
            let behind = |kind| words(&[&*before, &note(OWNER, kind, &[0; DESCRIPTOR])].concat());
            let (ours, other) = (behind(VERSION), behind(VERSION - 1));
            let place = &raw const ours[before.len() / 4 + 5] as usize;
            assert_eq!(leads_to(&ours), Some(place), "{owner}, {descriptor}");
            assert_eq!(other_version(&other), Some(VERSION - 1), "{owner}, {descriptor}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_may_stand_in_a_note_segment(notes in prop::collection::vec(any::<u32>(), 0..50)) {
            leads_to(&notes);
        }

        #[test]
        fn a_note_that_is_cut_off_is_none(cut in 0usize..7) {
            let whole = words(&note(OWNER, VERSION, &[3; DESCRIPTOR]));
            prop_assert_eq!(whole.len(), 7);
            prop_assert!(leads_to(&whole).is_some());
            prop_assert_eq!(leads_to(&whole[..cut]), None);
        }
    }
}
