//! A module's segments, as far as they say where its things may be.

use core::ops::Range;

/// The rights of a segment, as its program header has them (`p_flags`).
pub mod rights {
    /// It may be executed.
    pub const EXECUTE: u32 = 1;
    /// It may be written to.
    pub const WRITE: u32 = 2;
    /// It may be read.
    pub const READ: u32 = 4;
}

/// What consists of segments, as a module does: in this process, in a file, or in another process.
pub trait Segmented {
    /// Whether one segment with all of these [`rights`] holds this range whole.
    fn holds(&self, address: u64, length: u64, rights: u32) -> bool;

    /// Whether some of this range is read-only once the loader is done with the module (`PT_GNU_RELRO`).
    fn is_relro(&self, address: u64, length: u64) -> bool;

    /// How many whole records of so many bytes a table between two addresses has, if all of them can be read. Nothing lies anywhere.
    /// `alignment` is a power of two.
    #[inline]
    fn records(&self, range: &Range<u64>, record: u64, alignment: u64) -> Option<u64> {
        let count = range.end.checked_sub(range.start)? / record;
        // Not `is_multiple_of`: each table of each object comes by here at load, and a division is long.
        let is_there = || range.start & (alignment - 1) == 0 && self.holds(range.start, count * record, rights::READ);
        (count == 0 || is_there()).then_some(count)
    }

    /// Whether the runtime may write here, to something of its own.
    #[inline]
    fn is_writable(&self, address: u64, length: u64) -> bool {
        address.is_multiple_of(8)
            && self.holds(address, length, rights::READ | rights::WRITE)
            && !self.is_relro(address, length)
    }

    /// Whether a pointer's slot of this length can be here. It may be read-only by then: its page is made writable for the store.
    #[inline]
    fn is_slot(&self, address: u64, length: u64) -> bool {
        matches!(length, 4 | 8)
            && address.is_multiple_of(length)
            && self.holds(address, length, rights::READ | rights::WRITE)
            && !self.holds(address, length, rights::EXECUTE)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Segments with their rights, and what is read-only later.
    pub(crate) struct Ranges(pub(crate) &'static [(Range<u64>, u32)], pub(crate) Range<u64>);

    impl Segmented for Ranges {
        fn holds(&self, address: u64, length: u64, rights: u32) -> bool {
            let is_held = |(range, has): &(Range<u64>, u32)| {
                range.start <= address && address + length <= range.end && has & rights == rights
            };
            self.0.iter().any(is_held)
        }

        fn is_relro(&self, address: u64, length: u64) -> bool {
            address < self.1.end && self.1.start < address + length
        }
    }

    #[test]
    fn tables_are_where_they_can_be_read() {
        let segments = Ranges(&[(0..100, 5), (104..200, 2), (200..300, 4)], 0..0);
        for (start, end, count) in [
            (0, 96, Some(6)),
            (4, 100, Some(6)),
            (4, 99, Some(5)),
            (8, 104, None),
            (8, 108, None),
            (2, 98, None),
            (104, 120, None),
            (104, 119, Some(0)),
            (2, 17, Some(0)),
            (400, 400, Some(0)),
            (400, 399, None),
            (284, 300, Some(1)),
            (288, 304, None),
        ] {
            assert_eq!(segments.records(&(start..end), 16, 4), count, "{start} {end}");
        }
    }

    #[test]
    fn things_are_in_the_data() {
        let segments = Ranges(&[(0..100, 5), (104..200, 6), (200..300, 4), (304..400, 7)], 104..120);
        for (address, length, is_writable, is_slot) in [
            (120, 8, true, true),
            (192, 8, true, true),
            (192, 9, false, false),
            (184, 16, true, false),
            (124, 4, false, true),
            (124, 8, false, false),
            (122, 4, false, false),
            (104, 8, false, true),
            (112, 16, false, false),
            (8, 8, false, false),
            (208, 8, false, false),
            (304, 8, true, false),
        ] {
            let found = (segments.is_writable(address, length), segments.is_slot(address, length));
            assert_eq!(found, (is_writable, is_slot), "{address} {length}");
        }
    }
}
