//! Sites, of any machine: what a record says of one, and the bytes that can stand there.

/// In the flags of a branch's record: it falls through for higher values as well.
pub const ORDERED: u8 = 1;

/// What stands at a site. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A static branch: falls through if the key has the record's value, else goes to the target.
    Branch = 1,
    /// Slice enter: bound to one store of the request byte, or to nothing.
    SliceEnter = 2,
    /// Slice leave: bound to taking the request back and testing what it was, or to nothing.
    SliceLeave = 3,
    /// A pointer: a word of data that leads to the target of the record for the key's value. It is no code.
    Pointer = 4,
    /// A constant: an instruction that loads the key's number, bound to one that holds it.
    Constant = 5,
    /// A select: goes to the target if the key has the record's value. There is one record for each value.
    Select = 6,
    /// An ordered branch: falls through if the key has the record's value or a higher one. A record has the number of a branch
    /// for it, and the flag [`ORDERED`].
    Ordered = 0x81,
}

impl Kind {
    /// The kind with this number in a record, and these flags beside it; if there is one.
    pub const fn of(byte: u8, flags: u8) -> Option<Self> {
        match (byte, flags) {
            (1, 0) => Some(Self::Branch),
            (1, ORDERED) => Some(Self::Ordered),
            (2, 0) => Some(Self::SliceEnter),
            (3, 0) => Some(Self::SliceLeave),
            (4, 0) => Some(Self::Pointer),
            (5, 0) => Some(Self::Constant),
            (6, 0) => Some(Self::Select),
            _ => None,
        }
    }

    /// The number that a record has for it.
    pub const fn number(self) -> u8 {
        self as u8 & !0x80
    }

    /// Whether it belongs to a critical section.
    pub const fn is_slice(self) -> bool {
        matches!(self, Self::SliceEnter | Self::SliceLeave)
    }
}

/// A site with its addresses worked out, as they are (or would be) at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of the first instruction.
    pub address: u64,
    /// Where the checked form jumps if the key's value is not `value`; of a select, where the bound form jumps if it is; of a
    /// constant, where the number is.
    pub target: u64,
    /// Address of the key's state byte.
    pub state: u64,
    /// Length in bytes, of the checked and of every bound form.
    pub length: u8,
    /// What stands there.
    pub kind: Kind,
    /// The value for which the site falls through; of a select, for which it goes to the target. Of a constant, the number of the
    /// register, and 32 more for one of 64 bits.
    pub value: u8,
}

impl Site {
    /// Whether its bound form for this value is the one that does not go to the target.
    pub const fn falls_through(&self, value: u8) -> bool {
        match self.kind {
            Kind::Branch | Kind::SliceEnter | Kind::SliceLeave => value == self.value,
            Kind::Ordered => value >= self.value,
            Kind::Select => value != self.value,
            Kind::Constant | Kind::Pointer => true,
        }
    }
}

/// A branch, by what its record says, in a module that is smaller than 2 GiB.
#[derive(Clone, Copy, Debug)]
pub struct NearBranch {
    /// From the site's first byte to the target's.
    pub to_target: i32,
    /// From the site's first byte to the key's state.
    pub to_state: i32,
    /// As in [`Site`].
    pub length: u8,
    /// As in [`Site`].
    pub value: u8,
    /// It falls through for higher values as well.
    pub ordered: bool,
}

/// The bytes of one site: of one instruction of a machine whose instructions have four, or of up to three of x86-64's.
///
/// Kept as the first eight and the last eight, which overlap where there are fewer than sixteen: two moves store or compare
/// a long site whole, and touch nothing beside it. Fewer than eight are moved as the first four and the last four.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code {
    first: u64,
    /// 0 where there are fewer than eight bytes.
    last: u64,
    length: u8,
}

impl Code {
    /// The longest site of any machine.
    pub const LONGEST: usize = 16;

    /// Of 4 to 8 bytes, the first of all lowest, and nothing behind the last.
    pub(crate) const fn short(bytes: u64, length: u8) -> Self {
        debug_assert!(length >= 4 && length <= 8 && (length == 8 || bytes >> (8 * length) == 0));
        Self { first: bytes, last: if length == 8 { bytes } else { 0 }, length }
    }

    /// Of 9 to 16 bytes, by the first eight and the last eight.
    pub(crate) const fn long(first: u64, last: u64, length: u8) -> Self {
        debug_assert!(length > 8 && length as usize <= Self::LONGEST);
        Self { first, last, length }
    }

    /// How many bytes.
    #[allow(clippy::len_without_is_empty)] // never empty
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// The first eight bytes, the first of all lowest.
    #[inline(always)]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The last eight bytes, the last of all highest; 0 where there are fewer.
    #[inline(always)]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// By how much the last eight bytes are rotated in [`print`](Self::print): by no whole bytes, so that those which are among the
    /// first eight as well are not in one place, and do not cancel each other.
    pub const ROTATED: u32 = 29;

    /// A number that other bytes would seldom give.
    #[inline(always)]
    pub const fn print(&self) -> u64 {
        self.first ^ self.last.rotate_left(Self::ROTATED)
    }

    /// Copies the bytes to the front of `bytes`, and returns those.
    pub fn write_to<'a>(&self, bytes: &'a mut [u8; Self::LONGEST]) -> &'a [u8] {
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        if self.len() > 8 {
            bytes[self.len() - 8..self.len()].copy_from_slice(&self.last.to_le_bytes());
        }
        &bytes[..self.len()]
    }
}

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.write_to(&mut [0; Self::LONGEST])).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_bytes() {
        let bytes: [u8; Code::LONGEST] = core::array::from_fn(|at| at as u8 + 1);
        for length in 9..=Code::LONGEST {
            let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| bytes[at + byte]));
            let code = Code::long(word(0), word(length - 8), length as u8);
            let mut written = [0; Code::LONGEST];
            assert_eq!(code.write_to(&mut written), &bytes[..length]);
            assert!(written[length..].iter().all(|&byte| byte == 0), "it wrote more than {length} bytes");
        }
    }

    #[test]
    fn one_bit_makes_another_print() {
        let (first, last) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        for bit in 0..64 {
            let print = Code::long(first, last, 16).print();
            assert_ne!(Code::long(first ^ 1 << bit, last, 16).print(), print);
            assert_ne!(Code::long(first, last ^ 1 << bit, 16).print(), print);
        }
    }
}
