//! Site records worked out, and what stands at their sites.
#![allow(unsafe_code)]

#[cfg(feature = "switch")]
use super::changes::Changes;
use super::status::SiteStatus;
use super::window::Window;
use crate::key::state::State;
use crate::module::Module;
use crate::sys;
use core::ops::Range;
use invar_abi::judge::{self, Fault, Memory, Standing};
use invar_abi::{Code, Kind, Site, SiteRecord, flags};
use invar_arch as arch;

/// What stands at a record's site, and the site itself if the record describes one.
#[cold]
pub(crate) fn inspect(resolver: &mut Resolver<'_>, record: &SiteRecord) -> (SiteStatus, Option<Site>) {
    let request = resolver.module.outcome.request();
    let found = resolver.site(record).and_then(|(site, key)| {
        let (telling, _) = resolver.telling(record)?;
        let standing = judge::standing(&telling, key, request, resolver)?;
        // What stands there for the key's value is what binds the sites of all of a select's records.
        let is_bound = key.decided() && standing.is_for(&telling, key.value());
        Ok((site, standing, is_bound))
    });
    match found {
        Ok((site, Standing::Checked, _)) => (SiteStatus::Checked, Some(site)),
        Ok((site, _, true)) => (SiteStatus::Bound, Some(site)),
        Ok((site, ..)) => (SiteStatus::Foreign, Some(site)),
        Err(fault) => (SiteStatus::Invalid(fault), None),
    }
}

/// Whether this code stands at the site, which can be read.
#[inline(always)]
fn reads(site: &Site, code: Code) -> bool {
    // SAFETY: a resolved site lies whole in its module's text, which was found to be readable.
    code.len() == site.length as usize && unsafe { arch::stands::<false>(code, site.address as usize as *const u8) }
}

/// A module's text, by the segment that was met last.
pub(super) struct ReadableText<'a> {
    module: &'a Module<'a>,
    segment: Range<usize>,
    /// Pages that the kernel could read a moment ago. What a segment's flags say is not enough: it may have been protected
    /// since it was loaded, and not every CPU can execute what it cannot read.
    readable: Range<usize>,
}

impl<'a> ReadableText<'a> {
    fn of(module: &'a Module<'a>) -> Self {
        Self { module, segment: 0..0, readable: 0..0 }
    }

    /// Whether this range of the text can be read.
    #[inline]
    pub(super) fn can_be_read(&mut self, start: usize, length: usize) -> bool {
        let end = start + length;
        self.readable.start <= start && end <= self.readable.end || self.ask(start, end)
    }

    #[cold]
    #[inline(never)]
    fn ask(&mut self, start: usize, end: usize) -> bool {
        /// What is asked for at once.
        const PAGES: usize = 16;
        let page = sys::page_size();
        let start = start & !(page - 1);
        // All of it, or as little as is needed.
        let more = start..(start + PAGES * page).min(self.segment.end).next_multiple_of(page);
        let least = start..end.next_multiple_of(page);
        let found = [more, least].into_iter().find(|range| end <= range.end && sys::can_be_read(range));
        self.readable = found.clone().unwrap_or(0..0);
        found.is_some()
    }

    /// Whether the range lies whole in one segment of the text.
    #[inline]
    fn holds(&mut self, address: usize, length: usize) -> bool {
        let Some(end) = address.checked_add(length) else { return false };
        if self.segment.start <= address && end <= self.segment.end {
            return true;
        }
        let found = self.module.text(address, length);
        self.segment = found.clone().unwrap_or(0..0);
        found.is_some()
    }
}

/// What came of filling memory with the sites of a window.
#[derive(Default)]
pub(super) struct Filled {
    /// Sites that stand there in bound form.
    pub(super) bound: u32,
    /// Others that have one.
    pub(super) left: u32,
    /// Of the bytes of all sites, in the order of the table.
    print: u64,
}

impl Filled {
    /// Binds the site at `place`, if it stands in checked form; returns the print of what stands there then.
    ///
    /// # Safety
    ///
    /// `place` must be valid for reads and writes of the forms' length, which with `LONG` is eight or more.
    #[inline(always)]
    unsafe fn put<const LONG: bool>(&mut self, (checked, bound): (Code, Code), place: *mut u8) -> u64 {
        // SAFETY: as the caller vouches.
        unsafe {
            if arch::stands::<LONG>(checked, place) {
                arch::store::<LONG>(bound, place);
            } else if !arch::stands::<LONG>(bound, place) {
                return self.leave(place, checked.len());
            }
        }
        self.bound += 1;
        bound.print()
    }

    /// Counts a site that is left as it is; returns its print.
    ///
    /// # Safety
    ///
    /// `place` must be valid for reads of this length.
    #[cold]
    #[inline(never)]
    unsafe fn leave(&mut self, place: *const u8, length: usize) -> u64 {
        self.left += 1;
        // SAFETY: as the caller vouches.
        unsafe { arch::print::<false>(place, length) }
    }
}

/// What is to be done in the copy of a window, or in the window itself: memory that lies so far behind the text.
pub(super) type Fill = unsafe fn(&mut Resolver<'_>, &Window<'_>, usize) -> Filled;

/// What the writers are asked to do.
#[derive(Clone, Copy)]
pub(super) struct Work {
    /// Makes of the file's pages what stands in the text, but for what others have changed there.
    pub(super) before: Option<Fill>,
    /// Makes of that what is to stand there.
    pub(super) fill: Fill,
}

/// [`Resolver::fill`].
///
/// # Safety
///
/// As for that.
pub(super) unsafe fn fill(resolver: &mut Resolver<'_>, window: &Window<'_>, delta: usize) -> Filled {
    // SAFETY: as the caller vouches.
    unsafe { resolver.fill(window, delta) }
}

/// The print of one site more: no two changes cancel each other that are not made for it.
#[inline(always)]
pub(super) fn mixed(prints: u64, print: u64) -> u64 {
    // 2 to the power of 64 by the golden ratio, as in Knuth, The Art of Computer Programming, 6.4.
    (prints ^ print).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// More keys than most modules have. Beyond, each change from key to key looks through the key table.
const SLOTS: usize = 128;

/// Works out site records, remembering what they have in common.
pub(crate) struct Resolver<'a> {
    pub(super) module: &'a Module<'a>,
    pub(super) text: ReadableText<'a>,
    /// The module's first segment of text, if the module is smaller than 2 GiB.
    near: usize,
    near_length: usize,
    /// The keys last met, by the addresses of their states, which are 256 bytes apart; and their flags.
    keys: [(Option<&'a State>, u8); SLOTS],
    /// The same of those that are sealed.
    values: [SealedKey; SLOTS],
    /// Threads of probes may be about to end, and were not waited for.
    pub(super) waits: bool,
    /// The switches that are to have other values.
    #[cfg(feature = "switch")]
    pub(super) changes: Option<&'a Changes<'a>>,
}

/// A key that has its value.
#[derive(Clone, Copy)]
struct SealedKey {
    /// The address of its state; one that has another slot, where the slot's key is not sealed.
    state: usize,
    value: u8,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(module: &'a Module<'a>) -> Self {
        let is_near = module.range().len() < 1 << 31;
        let near = module.texts().next().filter(|_| is_near).map_or(0..0, |text| text.range);
        let mut values = [SealedKey { state: 0, value: 0 }; SLOTS];
        values[0].state = size_of::<State>();
        Self {
            module,
            text: ReadableText::of(module),
            near: near.start,
            near_length: near.len(),
            keys: [(None, 0); SLOTS],
            values,
            waits: false,
            #[cfg(feature = "switch")]
            changes: None,
        }
    }

    /// The site of this record of the module's table, and its key's state.
    #[inline(never)]
    pub(super) fn site(&mut self, record: &SiteRecord) -> Result<(Site, &'a State), Fault> {
        judge::code(record, Self::places(record), self)
    }

    /// The slot of this record of the module's table, and its key's state.
    pub(super) fn slot(&mut self, record: &SiteRecord) -> Result<(Site, &'a State), Fault> {
        judge::pointer(record, Self::places(record), self)
    }

    fn places(record: &SiteRecord) -> [u64; 3] {
        [record.address(), record.target.here(), record.state.here()].map(|place| place as u64)
    }

    /// Whether a record's site stands in the bound form for its key's value, by what looks whether code stands at a place.
    #[cfg(feature = "switch")]
    #[cold]
    pub(super) fn is_bound(&mut self, record: &SiteRecord, stands: unsafe fn(Code, *const u8) -> bool) -> bool {
        self.telling(record).is_ok_and(|(site, key)| {
            self.text.can_be_read(site.address as usize, site.length.into())
                // SAFETY: it can be read.
                && self.bound(&site, key).is_some_and(|code| unsafe {
                    code.len() == site.length as usize && stands(code, site.address as usize as *const u8)
                })
        })
    }

    /// The same for the record that tells how this one's site is bound: of those of a select, the one for the key's value. A select of a
    /// switch has one for each value, or is left alone: it would be bound to a value from which it cannot follow.
    pub(super) fn telling(&mut self, record: &SiteRecord) -> Result<(Site, &'a State), Fault> {
        let (site, key) = self.site(record)?;
        if site.kind == Kind::Select && self.is_switch(key) {
            let values = self.module.key_at(record.state.here()).map_or(0, |key| key.values);
            (0..values).try_for_each(|value| self.telling_of(record, value).map(|_| ()))?;
        }
        self.telling_of(record, key.value())
    }

    /// The site by the record that tells how this one's site is bound where its key has this value.
    pub(super) fn telling_of(&mut self, record: &SiteRecord, value: u8) -> Result<(Site, &'a State), Fault> {
        let sites = self.module.sites;
        let on = judge::telling(record, value);
        let at = (core::ptr::from_ref(record) as usize).wrapping_sub(sites.as_ptr() as usize) / SiteRecord::LENGTH;
        match sites.get(at.wrapping_add_signed(on)) {
            _ if on == 0 => self.site(record),
            Some(telling) if judge::is_of_select(telling, [Self::places(record), Self::places(telling)], value) => {
                self.site(telling)
            }
            _ => Err(Fault::Select),
        }
    }

    /// Counts the sites one by one that have a form to bind; whether there are some that cannot be read.
    #[cold]
    pub(super) fn count(&mut self, total: &mut Filled) -> bool {
        let mut unreadable = false;
        (total.bound, total.left) = (0, 0);
        for record in self.module.sites {
            if let Ok((site, key)) = self.telling(record)
                && let Some(code) = self.bound(&site, key)
            {
                let readable = self.text.can_be_read(site.address as usize, site.length.into());
                unreadable |= !readable;
                let is_bound = readable && reads(&site, code);
                total.bound += u32::from(is_bound);
                total.left += u32::from(!is_bound);
            }
        }
        unreadable
    }

    /// Binds the sites of a window that stand in checked form, in memory that lies `delta` bytes behind the text.
    ///
    /// # Safety
    ///
    /// There, the window's runs must be mapped and writable, and nobody else may use them. The keys have their final values.
    unsafe fn fill(&mut self, window: &Window<'_>, delta: usize) -> Filled {
        let mut filled = Filled::default();
        for record in self.module.sites {
            let address = record.address();
            let place = address.wrapping_add(delta) as *mut u8;
            let print = if window.holds_any(address)
                // SAFETY: a site of the window lies whole in its runs.
                && let Some(print) = self.with_near_forms(record, |forms| unsafe { filled.put::<true>(forms, place) })
            {
                print
            } else if window.holds(address, record.length.into()) {
                // SAFETY: as above.
                unsafe { self.fill_other(record, place, &mut filled) }
            } else {
                continue;
            };
            filled.print = mixed(filled.print, print);
        }
        filled
    }

    /// # Safety
    ///
    /// See [`fill`](Self::fill).
    #[cold]
    #[inline(never)]
    unsafe fn fill_other(&mut self, record: &SiteRecord, place: *mut u8, filled: &mut Filled) -> u64 {
        let forms =
            self.telling(record).ok().and_then(|(site, key)| Some((arch::checked(&site)?, self.bound(&site, key)?)));
        // SAFETY: as the caller vouches.
        unsafe {
            forms.map_or_else(
                || arch::print::<false>(place, record.length.into()),
                |forms| filled.put::<false>(forms, place),
            )
        }
    }

    /// Whether all sites of a window read in the text as they did in the memory that was filled.
    pub(super) fn reads_back(&self, window: &Window<'_>, filled: &Filled) -> bool {
        let mut print = 0_u64;
        for record in self.module.sites {
            let (address, length) = (record.address(), usize::from(record.length));
            if window.holds(address, length) {
                // SAFETY: it lies whole in the window's runs, which were found to be readable.
                print = mixed(print, unsafe { arch::print::<false>(address as *const u8, length) });
            }
        }
        print == filled.print
    }

    /// Gives `then` the checked form of a record's site, which is known to lie in the text, and the one that binds it to its key's
    /// value: in line, where the site is what most are, a branch of a key that was met before, into the segment that was met last.
    #[inline(always)]
    fn with_near_forms<R>(&self, record: &SiteRecord, then: impl FnOnce((Code, Code)) -> R) -> Option<R> {
        let (target, state) = (record.target.here(), record.state.here());
        let slot = &self.values[state / size_of::<State>() % SLOTS];
        if slot.state == state && target.wrapping_sub(self.near) < self.near_length {
            arch::near_branch(record.near_branch()?, slot.value, |checked, bound| then((checked, bound)))
        } else {
            None
        }
    }

    /// The bytes that bind the site to its key's value, if it has one.
    fn bound(&self, site: &Site, key: &State) -> Option<Code> {
        let (value, request) = (key.value(), self.module.outcome.request());
        // Without memory for requests there is no form that makes one.
        let has_form = !site.kind.is_slice() || value == site.value || request.is_some() || !arch::PATCHES;
        match site.kind {
            _ if !key.decided() || !has_form || !self.may_bind(key) => None,
            Kind::Constant => arch::constant(site, key.number()?),
            _ => arch::bound(site, value, request.unwrap_or(0)),
        }
    }

    /// Whether a site of a key that was looked up may be bound: not one of a switch, where nobody sees to it that it follows.
    fn may_bind(&self, key: &State) -> bool {
        !self.is_switch(key) || cfg!(feature = "switch")
    }

    fn is_switch(&self, key: &State) -> bool {
        let slot = core::ptr::from_ref(key) as usize / size_of::<State>() % SLOTS;
        self.keys[slot].1 & flags::SWITCH != 0
    }

    /// The key whose state has this address, and its flags.
    #[inline]
    fn key_at(&mut self, state: usize) -> Option<(&'a State, u8)> {
        let slot = state / size_of::<State>() % SLOTS;
        match self.keys[slot] {
            (Some(key), flags) if core::ptr::from_ref(key) as usize == state => Some((key, flags)),
            _ => self.look_up(slot, state),
        }
    }

    #[cold]
    fn look_up(&mut self, slot: usize, state: usize) -> Option<(&'a State, u8)> {
        let key = self.module.key_at(state)?;
        self.keys[slot] = (Some(key.state), key.flags);
        let sealed = if key.state.decided() && (cfg!(feature = "switch") || !self.is_switch(key.state)) {
            state
        } else {
            state ^ size_of::<State>()
        };
        self.values[slot] = SealedKey { state: sealed, value: key.state.value() };
        Some((key.state, key.flags))
    }
}

/// The process's own memory.
impl<'a> Memory for Resolver<'a> {
    type Key = &'a State;

    fn is_text(&mut self, address: u64, length: u8) -> bool {
        self.text.holds(address as usize, length.into())
    }

    fn key(&mut self, state: u64) -> Option<(&'a State, u8)> {
        self.key_at(state as usize)
    }

    fn is_slot(&mut self, address: u64, length: u8) -> bool {
        usize::from(length) == size_of::<usize>() && self.module.is_slot(address as usize)
    }

    fn is_loaded(&mut self, address: u64) -> bool {
        self.module.is_loaded(address as usize)
    }

    fn number(&mut self, key: &'a State) -> Option<u64> {
        key.number()
    }

    fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        let readable = self.text.can_be_read(address as usize, bytes.len());
        if readable {
            // SAFETY: text, which the kernel could read a moment ago.
            unsafe { core::ptr::copy_nonoverlapping(address as usize as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        }
        readable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module;
    use crate::module::image::{Image, distance};
    use invar_abi::{self as abi, flags};
    use std::boxed::Box;

    #[test]
    fn text_is_what_a_segment_holds_whole() {
        let own = module::own().expect("this program");
        let segment = own.texts().next().expect("its code").range;
        let mut text = ReadableText::of(&own);
        for (address, length, held) in [
            (segment.start, 1, true),
            (segment.start, segment.len(), true),
            (segment.start - 1, 2, false),
            (segment.end - 1, 1, true),
            (segment.end - 1, 2, false),
            (segment.start, segment.len() + 1, false),
            (usize::MAX, 2, false),
        ] {
            assert_eq!(text.holds(address, length), held, "{address:x} {length}");
        }
        assert!(text.holds(segment.start, 1));
        assert_eq!(text.segment, segment, "it is remembered");
    }

    #[test]
    fn what_can_be_read_is_asked_for_in_pages() {
        let own = module::own().expect("this program");
        let (page, mut text) = (sys::page_size(), ReadableText::of(&own));
        let memory = sys::Scratch::new(40 * page).expect("memory");
        let start = memory.address();
        text.segment = start..start + 40 * page - 8;
        // SAFETY: pages of ours, which nobody needs.
        let take = |number| unsafe { sys::protect(start + number * page, page, libc::PROT_NONE) }.expect("no access");

        assert!(text.can_be_read(start + 3 * page + 8, 16));
        assert_eq!(text.readable, start + 3 * page..start + 19 * page, "more, for those that come");
        take(3);
        assert!(text.can_be_read(start + 3 * page, 16 * page), "it was asked for a moment ago");
        assert!(!text.can_be_read(start + 3 * page - 1, 2) && text.readable.is_empty());
        assert!(!text.can_be_read(start + 3 * page, 1) && text.readable.is_empty());

        assert!(text.can_be_read(start + 2 * page + 8, 8));
        assert_eq!(text.readable, start + 2 * page..start + 3 * page, "as little as is needed");
        assert!(text.can_be_read(start + 38 * page, 8));
        assert_eq!(text.readable, start + 38 * page..start + 40 * page, "to the end of the segment");
        assert!(text.can_be_read(start + 20 * page, 18 * page), "more than is asked for at once");
        text.segment = 0..0;
        assert!(text.can_be_read(start + page, 1) && text.readable == (start + page..start + 2 * page));
        assert!(text.can_be_read(start + 2 * page - 1, 1) && !text.can_be_read(start + 2 * page, page + 1));
    }

    #[test]
    fn what_stands_in_checked_form_is_bound() {
        let site = Site { address: 0x1000, target: 0x1020, state: 0x5000, length: 10, kind: Kind::Branch, value: 1 };
        let Some(forms) = arch::checked(&site).zip(arch::bound(&site, 0, 0)) else {
            return assert_eq!(arch::NAME, "portable", "there are no forms");
        };
        let mut filled = Filled::default();
        let mut put = |code: Code| {
            let mut place = [0x90; Code::LONGEST];
            code.write_to(&mut place);
            place[code.len()..].fill(0x90);
            // SAFETY: as long as any form.
            let print = unsafe { filled.put::<false>(forms, place.as_mut_ptr()) };
            (print, place, filled.bound, filled.left)
        };
        let mut bound = [0x90; Code::LONGEST];
        bound[..forms.1.len()].copy_from_slice(forms.1.write_to(&mut [0; Code::LONGEST]));
        assert_eq!(put(forms.0), (forms.1.print(), bound, 1, 0));
        assert_eq!(put(forms.1), (forms.1.print(), bound, 2, 0), "it is bound already");
        let other = arch::bound(&site, 1, 0).expect("another form");
        let (print, place, bound, left) = put(other);
        assert_eq!((print, bound, left), (other.print(), 2, 1));
        assert!(place.starts_with(other.write_to(&mut [0; Code::LONGEST])), "it stays");
    }

    #[test]
    fn one_bit_makes_another_sum_of_prints() {
        let (prints, print) = (0x0123_4567_89ab_cdef, 0x1133_5577_99bb_ddff);
        for bit in 0..64 {
            assert_ne!(mixed(prints ^ 1 << bit, print), mixed(prints, print));
            assert_ne!(mixed(prints, print ^ 1 << bit), mixed(prints, print));
        }
    }

    #[test]
    fn a_key_is_remembered_by_its_state() {
        let own = module::own().expect("this program");
        let mut resolver = Resolver::new(&own);
        let text = own.texts().next().expect("its code").range;
        assert_eq!((resolver.near, resolver.near_length), (text.start, text.len()));
        let slot_of = |state: usize| state / size_of::<State>() % SLOTS;
        let is_nobodys = |slot: usize, known: &SealedKey| slot_of(known.state) != slot;
        assert!(resolver.values.iter().enumerate().all(|(slot, known)| is_nobodys(slot, known)));
        let mut keys = 0;
        for key in own.keys() {
            let state = core::ptr::from_ref(key.state) as usize;
            for _ in 0..2 {
                let (found, flags) = resolver.key_at(state).expect("a key");
                assert_eq!((core::ptr::from_ref(found) as usize, flags), (state, key.flags));
            }
            let known = resolver.values[slot_of(state)];
            assert_eq!((known.state == state, known.value), (key.state.decided(), key.state.value()));
            assert!(key.state.decided() || is_nobodys(slot_of(state), &known));
            assert!(
                resolver.key_at(state + 1).is_none() && resolver.key_at(state - size_of::<State>() * SLOTS).is_none()
            );
            keys += 1;
        }
        assert!(keys > 0);
    }

    /// A module with one site, at the beginning of its text, of its first key; its jump leads on in the text.
    fn with_site(kind: Kind, length: u8, value: u8) -> Box<Image> {
        let mut image = Image::new();
        image.keys[0].flags = flags::SLICE;
        let record = &image.sites[0];
        let (site, target, state) = (
            distance(&record.site, &image.text),
            distance(&record.target, &image.text[32]),
            distance(&record.state, &image.states[0]),
        );
        image.sites[0] = SiteRecord { site, target, state, length, kind: kind as u8, value, flags: 0 };
        image
    }

    fn decide(image: &mut Image, value: u8) {
        image.states[0][0] = u64::from_ne_bytes([value, abi::state::SEALED, 0, 0, 0, 0, 0, 0]);
    }

    fn put(image: &mut Image, code: Code) {
        image.text = [0x90; 64];
        let mut bytes = [0; Code::LONGEST];
        let bytes = code.write_to(&mut bytes);
        image.text[..bytes.len()].copy_from_slice(bytes);
    }

    /// What a pass over its window makes of it: how many sites are bound and left, what stands there then, and whether it is what
    /// was read back.
    fn filled(image: &Image, again: bool) -> (u32, u32, [u8; 64], bool) {
        let module = image.module();
        let text = module.texts().next().expect("its code");
        let window = Window::new(module.sites, &text, text.range.start);
        let mut copy = image.text;
        let delta = (&raw mut copy as usize).wrapping_sub(&raw const image.text as usize);
        let mut resolver = Resolver::new(&module);
        // SAFETY: the window's only site lies in the text, and so in the copy.
        let mut pass = || unsafe { resolver.fill(&window, delta) };
        let mut filled = pass();
        if again {
            // The key is known.
            copy = image.text;
            filled = pass();
        }
        // SAFETY: as it was written.
        let copy = unsafe { (&raw const copy).read_volatile() };
        let reads_back = resolver.reads_back(&window, &filled);
        assert_eq!(reads_back, copy == image.text, "the text is not the copy");
        (filled.bound, filled.left, copy, reads_back)
    }

    #[test]
    fn a_window_is_filled_with_what_keys_say() {
        for (kind, length, value) in [(Kind::Branch, 10, 1), (Kind::Branch, 14, 0), (Kind::SliceEnter, 12, 0)] {
            let mut image = with_site(kind, length, value);
            let site = site_of(&image);
            let Some(checked) = arch::checked(&site) else {
                return assert_eq!(arch::NAME, "portable", "there are no forms");
            };
            put(&mut image, checked);
            let before = image.text;
            assert_eq!(filled(&image, false), (0, 0, before, true), "nobody has decided");
            for value in [0, 1] {
                decide(&mut image, value);
                let has_form = kind == Kind::Branch || value == 0;
                for again in [false, true] {
                    put(&mut image, checked);
                    let (bound, left, after, reads_back) = filled(&image, again);
                    if !has_form {
                        assert_eq!((bound, left, after, reads_back), (0, 0, before, true), "requests go nowhere");
                        continue;
                    }
                    assert_eq!((bound, left, reads_back), (1, 0, false));
                    put(&mut image, arch::bound(&site, value, 0).expect("a form"));
                    assert_eq!(after, image.text);
                    assert_eq!(filled(&image, again), (1, 0, after, true), "it is bound already");
                    image.text[0] ^= 1;
                    assert_eq!(filled(&image, again), (0, 1, image.text, true), "somebody has changed it");
                }
            }
        }
    }

    #[test]
    fn sites_are_counted_and_inspected_one_by_one() {
        let mut image = with_site(Kind::SliceEnter, 12, 0);
        let site = site_of(&image);
        let Some(checked) = arch::checked(&site) else {
            return assert_eq!(arch::NAME, "portable", "there are no forms");
        };
        let counted = |image: &Image| {
            let module = image.module();
            let mut total = Filled { bound: 7, left: 7, print: 0 };
            assert!(!Resolver::new(&module).count(&mut total), "all can be read");
            let (status, found) = inspect(&mut Resolver::new(&module), &image.sites[0]);
            assert_eq!(found, Some(site));
            (total.bound, total.left, status)
        };
        let [nop, request] = [0, 1].map(|value| arch::bound(&site, value, 28).expect("a form"));
        put(&mut image, checked);
        assert_eq!(counted(&image), (0, 0, SiteStatus::Checked), "nobody has decided");
        put(&mut image, nop);
        assert_eq!(counted(&image), (0, 0, SiteStatus::Foreign));
        decide(&mut image, 0);
        assert_eq!(counted(&image), (1, 0, SiteStatus::Bound));
        put(&mut image, checked);
        assert_eq!(counted(&image), (0, 1, SiteStatus::Checked));
        decide(&mut image, 1);
        assert_eq!(counted(&image), (0, 0, SiteStatus::Checked), "requests go nowhere");
        image.outcome.set_request(Some(28));
        assert_eq!(counted(&image), (0, 1, SiteStatus::Checked));
        put(&mut image, request);
        assert_eq!(counted(&image), (1, 0, SiteStatus::Bound));
        put(&mut image, nop);
        assert_eq!(counted(&image), (0, 1, SiteStatus::Foreign));
        image.sites[0].length = 13;
        let (status, found) = inspect(&mut Resolver::new(&image.module()), &image.sites[0]);
        assert_eq!((status, found), (SiteStatus::Invalid(Fault::Length), None));
    }

    /// What the record describes.
    fn site_of(image: &Image) -> Site {
        let module = image.module();
        let (site, _) = Resolver::new(&module).site(&image.sites[0]).expect("a site");
        site
    }
}
