//! A module's outcome: what came of binding it.

use crate::distance::{NOWHERE, u16_at, u32_at, u64_at};

/// In bytes.
pub const LENGTH: usize = 40;
/// Where the lock is.
pub const LOCK: u64 = 3;

/// Why sites stay checked, by numbers; 0 is no reason.
pub mod reason {
    /// By a setting.
    pub const SETTING: u8 = 1;
    /// The machine has no other form.
    pub const ARCHITECTURE: u8 = 2;
    /// The process had more than one thread: how many.
    pub const THREADS: u8 = 3;
    /// Nobody could tell how many: errno.
    pub const THREADS_UNKNOWN: u8 = 4;
    /// Every writer was refused: errno of the first.
    pub const REFUSED: u8 = 5;
    /// Sites are bound, and the text stays writable: errno.
    pub const WRITABLE: u8 = 6;
    /// A tool has moved code.
    pub const REWRITTEN: u8 = 7;
    /// A site cannot be read.
    pub const UNREADABLE: u8 = 8;
    /// The text is mapped shared.
    pub const SHARED: u8 = 9;
    /// Another file is at the module's path.
    pub const OTHER_FILE: u8 = 10;
    /// The text is not as in its file.
    pub const CHANGED: u8 = 11;
    /// Pages with pointers could not be made writable, or read-only again: errno.
    pub const POINTERS: u8 = 12;
}

/// The writers that were used, by bits.
pub mod writer {
    /// A private copy of the file's pages takes the place of the text.
    pub const SWAP: u8 = 1;
    /// Pages of a memfd do.
    pub const MEMFD: u8 = 2;
    /// The text in its place, made writable for a moment by `mprotect`.
    pub const MPROTECT: u8 = 4;
}

/// How many writers there are.
pub const WRITERS: usize = 3;

/// Why a writer was refused, by numbers: those of the kernel's errors, and from here on those of [`reason`]; 0 if it was not.
pub const REFUSED_FOR_REASON: u16 = 4096;

/// What a module's runtimes say to each other, by bits.
pub mod said {
    /// Which variables are misspelt.
    pub const VARIABLES: u32 = 1;
    /// Which names in `INVAR_KEYS` are.
    pub const KEYS: u32 = 2;
    /// The module's keys are being decided.
    pub const DECIDING: u32 = 4;
    /// What `INVAR_HELP` asks for.
    pub const HELP: u32 = 8;
    /// Which modules of the process have tables of another version.
    pub const OTHERS: u32 = 16;
    /// One for each thread that is sealing a key.
    pub const SEALING: u32 = 1 << 8;
}

/// The number that stands for where requests go. Every distance from a thread pointer is a place, also 0, on one machine or another;
/// but the lowest is none. So the highest bit is inverted: 0, as which an outcome begins, is no place.
pub const fn request_to_number(distance: Option<i32>) -> u32 {
    match distance {
        Some(distance) => (distance ^ NOWHERE) as u32,
        None => 0,
    }
}

/// Where requests go by this number, from each thread's pointer.
pub const fn request_from_number(number: u32) -> Option<i32> {
    if number == 0 { None } else { Some(number as i32 ^ NOWHERE) }
}

/// What the bytes of an outcome say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// 0 before the module's constructor, 1 after it.
    pub phase: u8,
    /// Of [`reason`].
    pub reason: u8,
    /// Of [`writer`].
    pub writers: u8,
    /// A number of threads, or an errno, with the reasons that have one.
    pub detail: u32,
    /// How many sites are bound.
    pub bound: u32,
    /// How many were left where other code stands.
    pub left: u32,
    /// Where the request byte of each thread is, from its thread pointer.
    pub request: Option<i32>,
    /// How long it took.
    pub nanoseconds: u64,
    /// Why each writer was refused, in the order of their bits: [`REFUSED_FOR_REASON`].
    pub refusals: [u16; WRITERS],
}

impl Outcome {
    /// The outcome that these bytes of another process are.
    pub fn decode(bytes: &[u8; LENGTH]) -> Self {
        Self {
            phase: bytes[0],
            reason: bytes[1],
            writers: bytes[2],
            detail: u32_at(bytes, 4),
            bound: u32_at(bytes, 8),
            left: u32_at(bytes, 12),
            request: request_from_number(u32_at(bytes, 16)),
            nanoseconds: u64_at(bytes, 24),
            refusals: core::array::from_fn(|writer| u16_at(bytes, 32 + 2 * writer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_but_one_has_a_number() {
        for distance in [0, 28, -32, i32::MAX, i32::MIN + 1] {
            assert_eq!(request_from_number(request_to_number(Some(distance))), Some(distance));
        }
        assert_eq!((request_to_number(None), request_from_number(0)), (0, None));
        assert_eq!(request_to_number(Some(i32::MIN)), request_to_number(None));
    }

    #[test]
    fn an_outcomes_bytes_are_its_fields() {
        assert_eq!(Outcome::decode(&[0; LENGTH]), Outcome::default());
        let outcome = Outcome::decode(&core::array::from_fn(|at| at as u8));
        assert_eq!((outcome.phase, outcome.reason, outcome.writers), (0, 1, 2));
        assert_eq!((outcome.detail, outcome.bound, outcome.left), (0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c));
        assert_eq!(outcome.request, Some((0x1312_1110 ^ 1_u32 << 31) as i32));
        assert_eq!(outcome.nanoseconds, 0x1f1e_1d1c_1b1a_1918);
        assert_eq!(outcome.refusals, [0x2120, 0x2322, 0x2524]);
    }
}
