//! Distances, by which everything is found.

/// A distance that counts from the address of its own field.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance(i32);

impl Distance {
    /// So many bytes on, or back.
    pub const fn new(bytes: i32) -> Self {
        Self(bytes)
    }

    /// Its four bytes in a file.
    pub(crate) const fn decode(bytes: &[u8], at: usize) -> Self {
        Self(u32_at(bytes, at) as i32)
    }

    /// How many bytes.
    pub const fn bytes(self) -> i32 {
        self.0
    }

    /// Where it leads if its field stands at this address.
    pub const fn from(self, address: u64) -> u64 {
        address.wrapping_add_signed(self.0 as i64)
    }

    /// Where it leads from where it stands: for a record that is used in its place, and not copied.
    #[inline(always)]
    pub fn here(&self) -> usize {
        (&raw const *self as usize).wrapping_add_signed(self.0 as isize)
    }
}

/// The distance from a thread pointer that is no place on any machine.
pub(crate) const NOWHERE: i32 = i32::MIN;

pub(crate) const fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u16_at(bytes, at) as u32 | (u16_at(bytes, at + 2) as u32) << 16
}

pub(crate) const fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u32_at(bytes, at) as u64 | (u32_at(bytes, at + 4) as u64) << 32
}
