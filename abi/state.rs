//! A key's state, which becomes its verdict.

use crate::distance::{NOWHERE, u16_at, u64_at};

/// In bytes.
pub const LENGTH: usize = 256;

/// Where the value is, which sites compare with.
pub const VALUE: usize = 0;
/// Where the status is.
pub const STATUS: usize = 1;
/// Where the origin is.
pub const ORIGIN: usize = 2;
/// Where, in a sealed state of a switch, it stands how often it was set.
pub const SETS: usize = 4;
/// Where eight bytes are that bound code needs beside the value.
pub const DATA: usize = 8;
/// Where the length of the evidence is.
pub const EVIDENCE_LENGTH: usize = 16;
/// Where the evidence is.
pub const EVIDENCE: usize = 18;

/// Where the number stands that a constant's sites load, if the key is one: behind the state.
pub const NUMBER: usize = LENGTH;
/// How many bytes it has.
pub const NUMBER_LENGTH: usize = 8;

/// The names of a constant's values: the first, which is that of a number which nobody decided, and one of the others, which say
/// how many bits it has.
pub const NUMBER_NAMES: [&str; 5] = ["default", "u8", "u16", "u32", "u64"];

/// How many bits the number has of a key with these names, all of them with a NUL behind each; `None` if it is no constant.
pub fn number_width(names: &[u8]) -> Option<u32> {
    let (bits, rest) = match names {
        [rest @ .., b'8', 0] => (8, rest),
        [rest @ .., b'1', b'6', 0] => (16, rest),
        [rest @ .., b'3', b'2', 0] => (32, rest),
        [rest @ .., b'6', b'4', 0] => (64, rest),
        _ => return None,
    };
    rest.ends_with(b"\0default\0u").then_some(bits)
}

/// Status: nobody has begun to decide.
pub const UNDECIDED: u8 = 0;
/// Status: somebody is at it.
pub const DECIDING: u8 = 1;
/// Status: decided, for the rest of the process's life; but for a switch, whose value may be set again.
pub const SEALED: u8 = 2;

/// Where a verdict comes from. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// This module ran the key's probe.
    Probe = 0,
    /// The probe ran and could not tell; the key has its first value.
    Failed = 1,
    /// Another module of the process had decided a key of this name.
    Adopted = 2,
    /// A setting chose a value that needs no more than the probe allows.
    Setting = 3,
    /// A setting forced the time slice extension's form, for measurements.
    Forced = 4,
    /// A switch that was set since it was decided.
    Set = 5,
}

impl Origin {
    /// The origin that a verdict gives as a number. Any other number is taken for that of `Failed`, since such a verdict is not
    /// to be believed.
    pub fn from_byte(byte: u8) -> Self {
        let known = [Self::Probe, Self::Failed, Self::Adopted, Self::Setting, Self::Forced, Self::Set];
        known.get(byte as usize).copied().unwrap_or(Self::Failed)
    }

    /// One word, as reports show it.
    pub fn name(self) -> &'static str {
        ["probe", "failed", "adopted", "setting", "forced", "set"][self as usize]
    }
}

/// What the bytes of a sealed state say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The value's position among the key's values.
    pub value: u8,
    /// Who decided.
    pub origin: Origin,
    /// What bound code needs beside the value; a constant's number.
    pub data: u64,
    /// Why, in words; no longer than there is room, whatever is said.
    pub evidence: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// The verdict that a state in another process has; `None` if it is not sealed.
    pub fn decode(state: &'a [u8; LENGTH]) -> Option<Self> {
        let end = LENGTH.min(EVIDENCE + usize::from(u16_at(state, EVIDENCE_LENGTH)));
        (state[STATUS] == SEALED).then(|| Self {
            value: state[VALUE],
            origin: Origin::from_byte(state[ORIGIN]),
            data: u64_at(state, DATA),
            evidence: &state[EVIDENCE..end],
        })
    }
}

/// What the time slice key's verdict says beside its value, where that is not 0: where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceData {
    /// Distance of each thread's rseq area from its thread pointer, in bytes. `None` is written as -2^31: each other distance is a
    /// place on some machine, 0 as well.
    pub area: Option<i32>,
    /// The system call that gives up the CPU; negative for none.
    pub yield_call: i32,
}

impl SliceData {
    /// What a verdict's data say.
    pub const fn decode(data: u64) -> Self {
        let area = data as i32;
        Self { area: if area == NOWHERE { None } else { Some(area) }, yield_call: (data >> 32) as i32 }
    }

    /// The data that say this.
    pub const fn encode(self) -> u64 {
        let area = match self.area {
            Some(area) => area,
            None => NOWHERE,
        };
        area as u32 as u64 | (self.yield_call as u32 as u64) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_may_go_to_any_distance_but_the_lowest() {
        for (data, area, yield_call) in [
            (0xffff_ffff_ffff_ff60, Some(-160), -1),
            (0x0000_01d7_0000_0000, Some(0), 471),
            (0x7fff_ffff_7fff_ffff, Some(i32::MAX), i32::MAX),
            (0x0000_0000_8000_0001, Some(i32::MIN + 1), 0),
            (0xffff_ffff_8000_0000, None, -1),
        ] {
            let says = SliceData { area, yield_call };
            assert_eq!((SliceData::decode(data), says.encode()), (says, data), "{data:x}");
        }
    }

    #[test]
    fn a_constant_is_known_by_its_names() {
        let names = |type_name: &str| {
            [&b"a.name\0"[..], NUMBER_NAMES[0].as_bytes(), b"\0", type_name.as_bytes(), b"\0"].concat()
        };
        let widths = NUMBER_NAMES.map(|name| number_width(&names(name)));
        assert_eq!(widths, [None, Some(8), Some(16), Some(32), Some(64)]);
        for other in [
            &b""[..],
            b"u8\0",
            b"a\0off\0u8\0",
            b"a\0default\0u8",
            b"adefault\0u8\0",
            b"a\0default\0u128\0",
            b"a\0default\0u24\0",
        ] {
            assert_eq!(number_width(other), None, "{other:?}");
        }
    }

    #[test]
    fn origins_have_numbers_and_names() {
        let origins = [0, 1, 2, 3, 4, 5, 6, 255].map(|byte| Origin::from_byte(byte).name());
        assert_eq!(origins, ["probe", "failed", "adopted", "setting", "forced", "set", "failed", "failed"]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|byte| Origin::from_byte(byte) as u8), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_sealed_is_a_verdict() {
        let mut state = [0; LENGTH];
        (state[VALUE], state[ORIGIN], state[DATA], state[EVIDENCE]) = (7, 3, 9, b'x');
        for status in [UNDECIDED, DECIDING, 3] {
            state[STATUS] = status;
            assert_eq!(Sealed::decode(&state), None);
        }
        state[STATUS] = SEALED;
        for (length, is) in [(0_u16, 0), (1, 1), (238, 238), (239, 238), (u16::MAX, 238)] {
            state[EVIDENCE_LENGTH..EVIDENCE].copy_from_slice(&length.to_le_bytes());
            let sealed = Sealed::decode(&state).expect("sealed");
            assert_eq!((sealed.value, sealed.origin, sealed.data), (7, Origin::Setting, 9));
            assert!(sealed.evidence.len() == is && sealed.evidence.iter().take(1).all(|&byte| byte == b'x'));
        }
    }
}
