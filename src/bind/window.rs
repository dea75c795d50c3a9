//! Where sites are: a stretch of one executable segment, page by page.

use crate::module::TextSegment;
use crate::sys;
use core::ops::Range;
use invar_abi::{Code, SiteRecord};

/// Words of a window's map, with one bit for each page: 128 MiB of text where a page has 4 KiB, and no more of the stack than one
/// page.
const WORDS: usize = 512;
const MOST: usize = WORDS * 64;

/// Where sites lie across the end of each, as in no code, the window gets no shorter than that.
const LEAST: usize = MOST - 63;

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
    pub(super) fn new(records: &[SiteRecord], text: &'a TextSegment, start: usize) -> Self {
        Self::of(records.iter(), text, start)
    }

    /// The same, with the pages only in which the sites of some records lie, or which are exchanged together with these. No site of any
    /// record lies in these and in others: where an exchange fails, it would have one half of each form.
    #[cfg(feature = "switch")]
    #[cold]
    pub(super) fn with<'r>(
        records: impl Iterator<Item = &'r SiteRecord> + Clone,
        all: &[SiteRecord],
        text: &'a TextSegment,
        start: usize,
    ) -> Self {
        let mut window = Self::of(records, text, start);
        (window.inside, window.is_sparse) = (0, true);
        let mut has_more = true;
        while has_more {
            window.mark_runs();
            has_more = all.iter().filter(|record| window.complete(record)).count() > 0;
        }
        window.sites = text.range.start.max(window.start)..text.range.end;
        window.begin = window.end - window.sites.start;
        window.narrow();
        window
    }

    /// Marks all pages of the runs.
    #[cfg(feature = "switch")]
    fn mark_runs(&mut self) {
        let mut at = 0;
        while let Some(run) = (Stretches { window: self, at, gap: self.gap }).next() {
            at = self.page(run.end);
            run.step_by(1 << self.shift).for_each(|address| self.mark(address));
        }
    }

    /// Marks the page in which the rest of a record's site lies, where one of its pages is marked; whether there is such a page.
    #[cfg(feature = "switch")]
    fn complete(&mut self, record: &SiteRecord) -> bool {
        let (address, length) = (record.address(), usize::from(record.length));
        let Some(part) = self.part(address, length) else { return false };
        let rest = if part.start == address { address + length - 1 } else { address };
        let page = self.address(self.page(rest));
        let can_be_read = sys::can_be_read(&(page..page + (1 << self.shift)));
        if can_be_read {
            self.mark(rest);
        }
        can_be_read
    }

    /// The bytes of a site, of any record, that lie in the pages of such a window, where not all of them do: the others cannot be read.
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
        let mut most = MOST;
        let mut window = loop {
            let window = Self::blank(text, start, shift, most);
            // No site lies in two windows: a page that is exchanged twice would be taken for changed the second time.
            if most == LEAST
                || window.end() == text.range.end
                || !records.clone().any(|record| window.ends_inside(record))
            {
                break window;
            }
            most -= 1;
        };
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

    /// Whether the page at this address of a run has sites.
    pub(super) fn has_sites_at(&self, address: usize) -> bool {
        self.has_sites(self.page(address))
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

    /// The first stretch from this page on; an empty one behind the map where there is none. Not an `Option`: two words are returned in
    /// registers, three are not.
    #[inline(never)]
    fn stretch(&self, from: usize, gap: usize) -> Range<usize> {
        let Some(first) = self.next(from) else { return self.address(MOST)..self.address(MOST) };
        let mut behind = first + 1;
        while let Some(next) = self.next(behind).filter(|&next| next - behind < gap) {
            behind = next + 1;
        }
        self.address(first)..self.address(behind)
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

    #[inline(always)] // into many loops, which then keep all of this in registers
    fn next(&mut self) -> Option<Range<usize>> {
        let stretch = self.window.stretch(self.at, self.gap);
        self.at = self.window.page(stretch.end);
        (!stretch.is_empty()).then_some(stretch)
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use invar_abi::Distance;
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
        for alone in [0, 2, 64, 200] {
            let one = window(&[(page(alone) + 0x100, 10)]);
            assert!(!one.is_empty() && one.runs().eq(core::iter::once(page(alone)..page(alone + 1))));
        }
        let two = window(&[(page(1), 10), (page(3), 10)]);
        assert_eq!(ranges(&two, true), [page(1)..page(2), page(3)..page(4)]);
        assert!(window(&[]).span().is_empty());
    }

    /// A segment of so many pages, all of which can be read, and a table of sites in it: so far from its beginning, of such a length.
    struct Segment {
        text: TextSegment,
        records: &'static [SiteRecord],
        _memory: [sys::Scratch; 2],
    }

    impl Segment {
        fn new(pages: usize, sites: impl Iterator<Item = (usize, u8)> + Clone) -> Self {
            let count = sites.clone().count();
            // Near each other, as a module's are.
            let memory = [pages * sys::page_size(), count * SiteRecord::LENGTH]
                .map(|bytes| sys::Scratch::new(bytes).expect("memory"));
            let [start, table] = [memory[0].address(), memory[1].address()];
            for (at, (offset, length)) in sites.enumerate() {
                let place = table + at * SiteRecord::LENGTH;
                let mut record = SiteRecord::decode(&[0; 16]);
                record.site = Distance::new((start as isize + offset as isize - place as isize) as i32);
                record.length = length;
                // SAFETY: in the table, which is big enough.
                unsafe { (place as *mut SiteRecord).write(record) };
            }
            // SAFETY: as many as were written, and not used when the memory is gone.
            let records = unsafe { core::slice::from_raw_parts(table as *const SiteRecord, count) };
            Self {
                text: TextSegment { range: start..start + pages * sys::page_size(), offset: 0, protection: 5 },
                records,
                _memory: memory,
            }
        }

        fn window(&self) -> Window<'_> {
            Window::new(self.records, &self.text, self.text.range.start)
        }

        /// These pages, by their numbers.
        fn pages(&self, ranges: impl Iterator<Item = Range<usize>>) -> Vec<(usize, usize)> {
            let number = |address: usize| (address - self.text.range.start) / sys::page_size();
            ranges.map(|range| (number(range.start), number(range.end))).collect()
        }
    }

    #[test]
    fn pages_of_sites_are_those_of_their_first_and_last_byte() {
        let page = sys::page_size();
        let dense = |sites: &[(usize, u8)]| {
            let segment = Segment::new(64, sites.iter().copied());
            segment.pages(segment.window().dense())
        };
        assert_eq!(dense(&[(page + 100, 10), (2 * page - 10, 10)]), [(1, 2)]);
        assert_eq!(dense(&[(page + 100, 10), (2 * page - 9, 10)]), [(1, 3)], "one byte of it");
        assert_eq!(dense(&[(2 * page - 9, 10), (page + 100, 10)]), [(1, 3)]);
        assert_eq!(dense(&[(page + 100, 10), (4 * page - 15, 16), (0, 10)]), [(0, 2), (3, 5)]);
        assert_eq!(dense(&[(page - 1, 1)]), [(0, 1)]);
        assert_eq!(dense(&[(page, 0), (page - 1, 1)]), [(0, 2)], "whatever a record says");
        assert_eq!(dense(&[(3 * page - 15, 255), (5 * page - 16, 16)]), [(2, 5)]);
        assert_eq!(
            dense(&[(64 * page - 10, 10), (64 * page - 9, 10)]),
            [(63, 64)],
            "the other one is not in the segment"
        );
    }

    #[test]
    fn nothing_is_held_outside_the_runs() {
        let page = sys::page_size();
        let segment = Segment::new(64, [(2 * page + 8, 10), (50 * page, 10)].into_iter());
        let window = segment.window();
        assert_eq!(segment.pages(window.runs()), [(2, 3), (50, 51)]);
        let start = segment.text.range.start;
        for (address, length, held) in [
            (2 * page - 1, 10, false),
            (2 * page, 10, true),
            (51 * page - 10, 10, true),
            (51 * page - 9, 10, false),
            (51 * page - 1, 1, true),
            (51 * page, 10, false),
            (60 * page, 10, false),
        ] {
            assert_eq!(window.holds(start + address, length), held, "{address:x} {length}");
            assert!(held || !window.holds_any(start + address), "{address:x}");
        }
        assert!(!window.unreadable);
    }

    #[test]
    fn there_are_not_too_many_runs() {
        let far = (GAP + 1) * sys::page_size();
        let runs = |count: usize| {
            let segment = Segment::new((GAP + 1) * count, (0..count).map(|at| (at * far, 10)));
            segment.window().runs().count()
        };
        assert_eq!((runs(MOST_RUNS), runs(MOST_RUNS + 1)), (MOST_RUNS, 1));
    }

    #[test]
    fn pages_that_cannot_be_read_are_left_out() {
        let page = sys::page_size();
        let sites =
            [(0, 10), (page - 4, 10), (page + 100, 10), (3 * page - 16, 16), (3 * page + 8, 10), (4 * page - 4, 10)];
        let segment = Segment::new(8, sites.into_iter());
        let start = segment.text.range.start;
        // SAFETY: a page of ours, which nobody needs.
        unsafe { sys::protect(start + page, page, libc::PROT_NONE) }.expect("no access");
        let window = segment.window();
        assert!(window.unreadable);
        assert_eq!(segment.pages(window.runs()), [(0, 1), (2, 5)]);
        let held = sites.map(|(offset, length)| window.holds(start + offset, length.into()));
        assert_eq!(held, [true, false, false, true, true, true]);
        assert!(!window.holds_any(start), "each is looked at");
        for (length, held) in [(0, true), (1, true), (2, false)] {
            assert_eq!(window.holds(start + page - 1, length), held, "{length}");
        }
    }

    /// Where an exchange fails, a site of which one half is exchanged would have one half of each form.
    #[cfg(feature = "switch")]
    #[test]
    fn no_site_lies_in_exchanged_pages_and_in_others() {
        let page = sys::page_size();
        // The last one is of a switch; each of the first two crosses the end of the pages that the one behind it is in.
        let sites = [(11 * page - 4, 10), (10 * page - 2, 10), (20 * page - 4, 10), (9 * page + 100, 10)];
        let segment = Segment::new(64, sites.into_iter());
        let start = segment.text.range.start;
        let with = || Window::with(segment.records[3..].iter(), segment.records, &segment.text, start);
        let window = with();
        assert_eq!(segment.pages(window.runs()), [(9, 12)]);
        let held = sites.map(|(offset, length)| window.holds(start + offset, length.into()));
        assert_eq!(held, [true, true, false, true]);
        assert!(segment.records.iter().all(|record| window.part(record.address(), record.length.into()).is_none()));
        // SAFETY: a page of ours, which nobody needs.
        unsafe { sys::protect(start + 11 * page, page, libc::PROT_NONE) }.expect("no access");
        let window = with();
        assert_eq!(segment.pages(window.runs()), [(9, 11)]);
        assert_eq!(window.part(start + sites[0].0, 10), Some(start + 11 * page - 4..start + 11 * page));
    }

    #[test]
    fn any_page_may_be_one_that_cannot_be_read() {
        let page = sys::page_size();
        for gone in [0, 1, 63, 64, 65, 600, 1000] {
            let segment = Segment::new(1001, (0..1001).map(|number| (number * page, 10)));
            let start = segment.text.range.start;
            // SAFETY: a page of ours, which nobody needs.
            unsafe { sys::protect(start + gone * page, page, libc::PROT_NONE) }.expect("no access");
            let window = segment.window();
            assert!((0..1001).all(|number| window.holds(start + number * page, 10) == (number != gone)), "{gone}");
        }
    }

    #[test]
    fn no_site_lies_in_two_windows() {
        let page = sys::page_size();
        for (offset, most) in [(MOST * page - 10, MOST), (MOST * page - 9, MOST - 1), (MOST * page, MOST)] {
            let segment = Segment::new(MOST + 4, [(offset, 10)].into_iter());
            let (window, start) = (segment.window(), segment.text.range.start);
            assert_eq!(window.end(), start + most * page, "{offset:x}");
            let second = Window::new(segment.records, &segment.text, window.end());
            let held = [window, second].map(|window| window.holds(start + offset, 10));
            assert_eq!(held, [offset < most * page, offset >= most * page]);
        }
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
