//! Site records worked out, and what stands at their sites.
#![allow(unsafe_code)]

use super::status::{Fault, SiteStatus};
use super::window::Window;
use crate::key::{State, flags};
use crate::module::Module;
use crate::site::{SiteRecord, leads_to};
use crate::sys;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::{Code, Kind, Site};
use invar_arch as arch;

/// What stands at a record's site, and the site itself if the record describes one.
#[cold]
pub(crate) fn inspect(resolver: &mut Resolver<'_>, record: &SiteRecord) -> (SiteStatus, Option<Site>) {
    let (site, key) = match resolver.site(record) {
        Ok(found) => found,
        Err(fault) => return (SiteStatus::Invalid(fault), None),
    };
    let Some(checked) = arch::checked(&site) else { return (SiteStatus::Invalid(Fault::Length), None) };
    if !resolver.text.is_readable(&site) {
        return (SiteStatus::Invalid(Fault::Unreadable), None);
    }
    let status = if reads(&site, checked) {
        SiteStatus::Checked
    } else if resolver.bound(&site, key).is_some_and(|code| reads(&site, code)) {
        SiteStatus::Bound
    } else {
        SiteStatus::Foreign
    };
    (status, Some(site))
}

/// Whether this code stands at the site, which can be read.
#[inline(always)]
pub(super) fn reads(site: &Site, code: Code) -> bool {
    // SAFETY: a resolved site lies whole in its module's text, which was found to be readable.
    code.len() == site.length as usize && unsafe { arch::stands(code, site.address as usize as *const u8) }
}

/// A module's text, by the segment that was met last.
struct Text<'a> {
    module: &'a Module<'a>,
    segment: Range<usize>,
    /// Pages that the kernel could read a moment ago. What a segment's flags say is not enough: it may have been protected
    /// since it was loaded, and not every CPU can execute what it cannot read.
    readable: Range<usize>,
}

impl<'a> Text<'a> {
    fn of(module: &'a Module<'a>) -> Self {
        Self { module, segment: 0..0, readable: 0..0 }
    }

    /// Whether a site of the text can be read.
    #[inline]
    fn is_readable(&mut self, site: &Site) -> bool {
        let (start, end) = (site.address as usize, site.address as usize + site.length as usize);
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

/// More keys than most modules have. Beyond, each change from key to key looks through the key table.
const SLOTS: usize = 128;

/// Works out site records, remembering what they have in common.
pub(crate) struct Resolver<'a> {
    pub(super) module: &'a Module<'a>,
    text: Text<'a>,
    /// The states last met, by their addresses, which are 256 bytes apart; and their keys' flags.
    keys: [(Option<&'a State>, u8); SLOTS],
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(module: &'a Module<'a>) -> Self {
        Self { module, text: Text::of(module), keys: [(None, 0); SLOTS] }
    }

    /// The site of this record of the module's table, and its key's state.
    #[inline(always)]
    fn site(&mut self, record: &SiteRecord) -> Result<(Site, &'a State), Fault> {
        let (address, target, state) = (record.address(), leads_to(&record.target), leads_to(&record.state));
        let length = record.length;
        let kind = Kind::from_byte(record.kind).filter(|_| record.flags == 0).ok_or(Fault::Kind)?;
        if !self.text.holds(target, 1) || !self.text.holds(address, length as usize) {
            return Err(Fault::OutsideText);
        }
        let (key, flags) = self.key(state).ok_or(Fault::NoKey)?;
        // The checked forms of a branch and a slice enter are alike: only the key tells them apart.
        if kind != Kind::Branch && (flags & flags::SLICE == 0 || record.value != 0) {
            return Err(Fault::WrongKey);
        }
        let (address, target, state) = (address as u64, target as u64, state as u64);
        Ok((Site { address, target, state, length, kind, value: record.value }, key))
    }

    /// The site of a record that has a form to bind, and that.
    #[inline(always)]
    pub(super) fn to_bind(&mut self, record: &SiteRecord) -> Option<(Site, Code)> {
        let (site, key) = self.site(record).ok()?;
        let code = self.bound(&site, key)?;
        Some((site, code))
    }

    /// Whether a site of the text can be read.
    #[inline]
    pub(super) fn is_readable(&mut self, site: &Site) -> bool {
        self.text.is_readable(site)
    }

    /// Binds the sites of a window that stand in checked form, in memory that lies `delta` bytes behind the text.
    ///
    /// # Safety
    ///
    /// There, the window's runs must be mapped and writable, and nobody else may use them. The keys have their final values.
    pub(super) unsafe fn fill(&mut self, window: &Window<'_>, delta: usize) {
        for record in self.module.sites {
            let Some((site, code)) = self.to_bind(record) else { continue };
            let address = site.address as usize;
            if !window.holds(address, site.length.into()) {
                continue;
            }
            let Some(checked) = arch::checked(&site) else { continue };
            let place = address.wrapping_add(delta) as *mut u8;
            // SAFETY: a site of the window lies whole in its runs, and both forms have its length.
            unsafe {
                if arch::stands(checked, place) {
                    arch::store(code, place);
                }
            }
        }
    }

    /// The bytes that bind the site to its key's value, if it has one.
    #[inline(always)]
    fn bound(&self, site: &Site, key: &State) -> Option<Code> {
        let (value, request_offset) = (key.value(), self.module.outcome.request_offset.load(Relaxed));
        // Without memory for requests there is no form that makes one.
        let has_form = site.kind == Kind::Branch || value == site.value || request_offset != 0 || !arch::PATCHES;
        if key.decided() && has_form { arch::bound(site, value, request_offset) } else { None }
    }

    /// The key whose state has this address, and its flags.
    #[inline(always)]
    fn key(&mut self, state: usize) -> Option<(&'a State, u8)> {
        let slot = state / size_of::<State>() % SLOTS;
        let (key, flags) = self.keys[slot];
        match key {
            Some(key) if core::ptr::from_ref(key) as usize == state => Some((key, flags)),
            _ => self.look_up(slot, state),
        }
    }

    #[cold]
    fn look_up(&mut self, slot: usize, state: usize) -> Option<(&'a State, u8)> {
        let key = self.module.key_at(state)?;
        self.keys[slot] = (Some(key.state), key.flags);
        Some((key.state, key.flags))
    }
}
