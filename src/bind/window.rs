//! Where sites are: a stretch of one executable segment, page by page.

use crate::module::{Module, TextSegment};
use crate::sys;
use core::ops::Range;
use invar_abi::{Code, SiteRecord};

/// Words of a window's map, with one bit for each page: 128 MiB of text where a page has 4 KiB, and no more of the stack than one
/// page.
const WORDS: usize = 512;
const MOST: usize = WORDS * 64;

/// As many runs at most, in one window.
const MOST_RUNS: usize = 256;

/// Where more pages without sites end a run: a mapping more costs less than to compare them.
const GAP: usize = 16;

/// Pages of a segment's text, and which of them have sites.
pub(super) struct Window<'a> {
    pub(super) text: &'a TextSegment,
    /// The first page's address.
    start: usize,
    /// Where the next window begins.
    end: usize,
    /// Where sites may lie: the segment's bytes from the window's first page on.
    sites: Range<usize>,
    /// How many of these bytes may be a site's first.
    begin: usize,
    /// How many of them may be the first of any site, however long.
    inside: usize,
    shift: u32,
    /// As many pages without sites, in a row, end a run.
    gap: usize,
    /// There are sites in pages that cannot be read.
    pub(super) unreadable: bool,
    /// Sites in pages that are not in the map are not the window's.
    is_sparse: bool,
    map: [u64; WORDS],
}

impl<'a> Window<'a> {
    /// From this address of the segment on.
    #[cold]
    pub(super) fn new(module: &Module<'_>, text: &'a TextSegment, start: usize) -> Self {
        Self::of(module.sites.iter(), text, start)
    }

    /// The same, with the pages only in which the sites of some records lie, or which are exchanged together with these.
    #[cfg(feature = "switch")]
    #[cold]
    pub(super) fn with<'r>(
        records: impl Iterator<Item = &'r SiteRecord> + Clone,
        text: &'a TextSegment,
        start: usize,
    ) -> Self {
        let mut window = Self::of(records, text, start);
        (window.inside, window.is_sparse) = (0, true);
        let mut at = 0;
        while let Some(run) = (Stretches { window: &window, at, gap: window.gap }).next() {
            at = window.page(run.end);
            run.step_by(1 << window.shift).for_each(|address| window.mark(address));
        }
        window
    }

    /// The bytes of a site, of these, that lie in the pages of such a window, where not all of them do.
    #[cfg(feature = "switch")]
    pub(super) fn part(&self, address: usize, length: usize) -> Option<Range<usize>> {
        let begins = self.text.range.start.max(self.start) <= address && address < self.end;
        if !begins || !(1..=Code::LONGEST).contains(&length) || self.end - address < length {
            return None;
        }
        let (end, last) = (address + length, self.page(address + length - 1));
        match [self.page(address), last].map(|page| self.has_sites(page)) {
            [true, false] => Some(address..self.address(last)),
            [false, true] => Some(self.address(last)..end),
            _ => None,
        }
    }

    #[inline(always)] // called once for each sort of records
    fn of<'r>(records: impl Iterator<Item = &'r SiteRecord> + Clone, text: &'a TextSegment, start: usize) -> Self {
        let shift = sys::page_size().trailing_zeros();
        let mut window = Self::blank(text, start, shift, MOST);
        // No site lies in two windows: a page that is exchanged twice would be taken for changed the second time.
        for fewer in 1..64 {
            if window.end() == text.range.end || !records.clone().any(|record| window.ends_inside(record)) {
                break;
            }
            window = Self::blank(text, start, shift, MOST - fewer);
        }
        // Where sites lie whole in the page that was marked last.
        let mut marked = 0..0;
        for record in records {
            let address = record.address();
            if !marked.contains(&address) && window.holds(address, record.length.into()) {
                window.mark(address);
                window.mark(address + usize::from(record.length).clamp(1, Code::LONGEST) - 1);
                let page = address >> shift << shift;
                marked = page..page + (1 << shift) - Code::LONGEST;
            }
        }
        // A process may have so many mappings, and each run is some more.
        while window.runs().count() > MOST_RUNS {
            window.gap *= 2;
        }
        if !window.runs().all(|run| sys::can_be_read(&run)) {
            window.leave_out_unreadable_pages();
        }
        window.narrow();
        window
    }

    /// Without sites, and of so many pages at most.
    fn blank(text: &'a TextSegment, start: usize, shift: u32, most: usize) -> Self {
        let first = start >> shift;
        let pages = (((text.range.end - 1) >> shift) - first + 1).min(most);
        let start = first << shift;
        let sites = text.range.start.max(start)..text.range.end;
        let end = (start + (pages << shift)).min(text.range.end);
        let begin = end - sites.start;
        let inside = begin.min(sites.len().saturating_sub(Code::LONGEST - 1));
        Self {
            text,
            start,
            end,
            sites,
            begin,
            inside,
            shift,
            gap: GAP,
            unreadable: false,
            is_sparse: false,
            map: [0; WORDS],
        }
    }

    /// Whether a record's site begins in the window, and ends behind it.
    fn ends_inside(&self, record: &SiteRecord) -> bool {
        let (address, length) = (record.address(), usize::from(record.length));
        self.holds(address, length) && address + length > self.end
    }

    /// No site lies outside the runs, whatever its record says by now: the table may be in memory that changes.
    fn narrow(&mut self) {
        let span = self.span();
        self.sites = self.sites.start.max(span.start)..self.sites.end.min(span.end);
        self.begin = self.begin.min(self.sites.len());
        self.inside = self.inside.min(self.sites.len().saturating_sub(Code::LONGEST - 1));
    }

    /// The sites in these pages are not the window's any more, and nothing is exchanged but pages with sites.
    #[cold]
    fn leave_out_unreadable_pages(&mut self) {
        (self.gap, self.inside, self.unreadable, self.is_sparse) = (1, 0, true, true);
        for page in 0..WORDS * 64 {
            let address = self.address(page);
            if self.has_sites(page) && !sys::can_be_read(&(address..address + (1 << self.shift))) {
                self.map[page / 64] &= !(1 << (page % 64));
            }
        }
    }

    fn has_sites(&self, page: usize) -> bool {
        self.map[page / 64 % WORDS] >> (page % 64) & 1 != 0
    }

    /// Whether a site begins in the window, and lies whole in the segment; then it lies in pages of the map.
    #[inline(always)]
    pub(super) fn holds(&self, address: usize, length: usize) -> bool {
        self.holds_any(address) || self.holds_last(address, length)
    }

    /// Whether that is so whatever the length, of those that sites have.
    #[inline(always)]
    pub(super) fn holds_any(&self, address: usize) -> bool {
        address.wrapping_sub(self.sites.start) < self.inside
    }

    #[cold]
    fn holds_last(&self, address: usize, length: usize) -> bool {
        let offset = address.wrapping_sub(self.sites.start);
        let lies_in = offset < self.begin && length <= Code::LONGEST && length <= self.sites.len() - offset;
        let is_in_map = |address| self.has_sites(self.page(address));
        lies_in && (!self.is_sparse || is_in_map(address) && is_in_map(address + length.max(1) - 1))
    }

    #[inline(always)]
    fn page(&self, address: usize) -> usize {
        (address - self.start) >> self.shift
    }

    #[inline(always)]
    fn mark(&mut self, address: usize) {
        let page = self.page(address);
        self.map[page / 64 % WORDS] |= 1 << (page % 64);
    }

    /// Where the next window begins.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Whether there are no sites.
    pub(super) fn is_empty(&self) -> bool {
        self.next(0).is_none()
    }

    /// From the first page with sites to the last, in runs that are exchanged at once.
    pub(super) fn runs(&self) -> Stretches<'_> {
        Stretches { window: self, at: 0, gap: self.gap }
    }

    /// Pages with sites that stand one behind the other.
    pub(super) fn dense(&self) -> Stretches<'_> {
        Stretches { window: self, at: 0, gap: 1 }
    }

    /// From the first run to the last.
    pub(super) fn span(&self) -> Range<usize> {
        let mut runs = self.runs();
        let mut span = runs.next().unwrap_or(0..0);
        for run in runs {
            span.end = run.end;
        }
        span
    }

    fn address(&self, page: usize) -> usize {
        self.start + (page << self.shift)
    }

    /// The first page with sites from this one on.
    fn next(&self, page: usize) -> Option<usize> {
        let (mut word, mut bits) = (page / 64, u64::MAX << (page % 64));
        while word < WORDS {
            let found = self.map[word] & bits;
            if found != 0 {
                return Some(64 * word + found.trailing_zeros() as usize);
            }
            (word, bits) = (word + 1, u64::MAX);
        }
        None
    }
}

/// Pages from one with sites to another, with fewer than `gap` without sites at any place between.
pub(super) struct Stretches<'a> {
    window: &'a Window<'a>,
    at: usize,
    gap: usize,
}

impl Iterator for Stretches<'_> {
    type Item = Range<usize>;

    #[inline(never)]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.window.next(self.at)?;
        self.at = start + 1;
        while let Some(next) = self.window.next(self.at).filter(|&next| next - self.at < self.gap) {
            self.at = next + 1;
        }
        Some(self.window.address(start)..self.window.address(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const PAGE: usize = 4096;
    const TEXT: TextSegment = TextSegment { range: 0x10_0100..0x40_0000, offset: 0x100, protection: 5 };

    /// With sites at these addresses.
    fn window(sites: &[(usize, usize)]) -> Window<'static> {
        let mut window = Window::blank(&TEXT, TEXT.range.start, 12, MOST);
        for &(address, length) in sites {
            assert!(window.holds(address, length));
            window.mark(address);
            window.mark(address + length - 1);
        }
        window
    }

    #[test]
    fn sites_lie_whole_in_the_segment() {
        let window = window(&[]);
        let (start, end) = (TEXT.range.start, TEXT.range.end);
        for (address, length, held) in [
            (start, 10, true),
            (start - 1, 10, false),
            (start & !(PAGE - 1), 10, false),
            (end - 10, 10, true),
            (end - 10, 11, false),
            (end - 16, 16, true),
            (end - 15, 16, false),
            (end, 10, false),
            (0, 10, false),
            (usize::MAX - 3, 10, false),
            (end - 15, 255, false),
        ] {
            assert_eq!(window.holds(address, length), held, "{address:x} {length}");
            assert!(held || !window.holds_any(address));
        }
        assert!(window.is_empty() && window.runs().next().is_none());
        assert_eq!(window.end(), end);
    }

    #[test]
    fn runs_end_where_many_pages_have_no_sites() {
        let page = |number: usize| 0x10_0000 + number * PAGE;
        let ranges = |window: &Window<'_>, dense| -> Vec<_> {
            if dense { window.dense().collect() } else { window.runs().collect() }
        };
        let far = GAP + 1;
        let found = window(&[(page(0) + 0x100, 10), (page(1) - 4, 10), (page(GAP), 10), (page(GAP + far), 14)]);
        assert_eq!(ranges(&found, false), [page(0)..page(GAP + 1), page(GAP + far)..page(GAP + far + 1)]);
        assert_eq!(
            ranges(&found, true),
            [page(0)..page(2), page(GAP)..page(GAP + 1), page(GAP + far)..page(GAP + far + 1)]
        );
        assert_eq!(found.span(), page(0)..page(GAP + far + 1));
        // Over the ends of the map's words.
        let long = window(&[(page(63), 10), (page(64), 10), (page(127), 10), (page(128), 10)]);
        assert_eq!(ranges(&long, true), [page(63)..page(65), page(127)..page(129)]);
        let one = window(&[(page(2) + 8, 10)]);
        assert!(one.runs().eq(core::iter::once(page(2)..page(3))));
    }

    #[test]
    fn a_segment_is_looked_at_in_windows() {
        let text = TextSegment { range: 0x10_0100..0x10_0100 + 3 * (MOST << 12), offset: 0x100, protection: 5 };
        let first = Window::blank(&text, text.range.start, 12, MOST);
        assert_eq!(first.end(), 0x10_0000 + (MOST << 12));
        let second = Window::blank(&text, first.end(), 12, MOST);
        assert!(first.holds(first.end() - 1, 10) && !second.holds(first.end() - 1, 10), "a site is where it begins");
        assert!(!first.holds(first.end(), 10) && second.holds(first.end(), 10));
    }
}
