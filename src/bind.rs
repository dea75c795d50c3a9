//! Binding: writes each key's value into its sites.
//!
//! plan (verify every site, sort by page) -> write (span by span) -> read back -> record the outcome.
//!
//! A site is verified by *building* the bytes that its record promises and comparing them with what is there.
//! What differs (a debugger's breakpoint, a corrupt record) is left alone. Per-site results are not stored: the
//! code itself says whether it is bound, and [`inspect`] reads it again when a report is wanted.
#![allow(unsafe_code)]

use crate::key::State;
use crate::module::{Module, ModuleKey};
use crate::sys::{self, Errno, Scratch};
use crate::write::{self, Session, Writer};
use core::ops::Range;
use core::sync::atomic::Ordering::{Relaxed, Release};
use invar_arch::{self as arch, Code, Kind, MAX_SITE, Site};

/// What stands at a site now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteStatus {
    /// The code for its key's value, without a check.
    Bound,
    /// The checked form that the compiler left; see [`Reason`].
    Checked,
    /// Neither: somebody else has changed it, and it was left alone.
    Foreign,
    /// The record does not describe a site of this module.
    Invalid(Fault),
}

/// What is wrong with a site record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A kind, or flags, that this version of the ABI does not have.
    Kind,
    /// The site or its target does not lie in the module's text. A linker that discards a function but not its
    /// record leaves such records; they do no harm.
    OutsideText,
    /// No key of the module has its state where the record says.
    NoKey,
    /// No site of this kind has this length, or its target is out of reach.
    Length,
}

impl Fault {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Kind => "unknown kind or flags",
            Self::OutsideText => "site or target outside the module's text",
            Self::NoKey => "no key has its state there",
            Self::Length => "no site of this kind has this length",
        }
    }
}

/// Why a module's sites stay in checked form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// `INVAR=off` or `INVAR_WRITER=off`.
    Setting,
    /// This architecture has the checked form only.
    Architecture,
    /// The process had this many threads when the module was loaded.
    Threads(u32),
    /// The number of threads could not be read from `/proc/self/task`: error number.
    ThreadsUnknown(i32),
    /// No memory for the plan: error number.
    Memory(i32),
    /// Every writer was refused: the last one's error number.
    Refused(i32),
}

impl Reason {
    /// In words; [`detail`](Self::detail) belongs behind them.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Setting => "by setting",
            Self::Architecture => "this architecture has no other form",
            Self::Threads(_) => "code is changed only while the process has one thread; threads:",
            Self::ThreadsUnknown(_) => "/proc/self/task does not tell the number of threads: errno",
            Self::Memory(_) => "no memory for the plan: errno",
            Self::Refused(_) => "every writer was refused, the last with errno",
        }
    }

    /// The number that goes with the reason: an error number, or a number of threads.
    pub fn detail(self) -> Option<u32> {
        match self {
            Self::Setting | Self::Architecture => None,
            _ => Some(self.to_numbers().1),
        }
    }

    fn to_numbers(self) -> (u8, u32) {
        match self {
            Self::Setting => (1, 0),
            Self::Architecture => (2, 0),
            Self::Threads(threads) => (3, threads),
            Self::ThreadsUnknown(errno) => (4, errno as u32),
            Self::Memory(errno) => (5, errno as u32),
            Self::Refused(errno) => (6, errno as u32),
        }
    }

    pub(crate) fn from_numbers(reason: u8, detail: u32) -> Option<Self> {
        match reason {
            1 => Some(Self::Setting),
            2 => Some(Self::Architecture),
            3 => Some(Self::Threads(detail)),
            4 => Some(Self::ThreadsUnknown(detail as i32)),
            5 => Some(Self::Memory(detail as i32)),
            6 => Some(Self::Refused(detail as i32)),
            _ => None,
        }
    }
}

/// Binds every site of `module` whose key is decided; the outcome is in the module's own record.
///
/// # Safety
///
/// The module's tables must be its own, and the keys its sites name must have their final values.
pub(crate) unsafe fn bind(module: &Module<'_>, wish: Wish, request_offset: i32) {
    let started = sys::now();
    module.outcome.request_offset.store(request_offset, Relaxed);
    let result = if module.sites.is_empty() {
        Ok(())
    } else {
        // SAFETY: as the caller vouches.
        admit(wish).and_then(|()| unsafe { commit(module, wish) })
    };
    let outcome = module.outcome;
    if let Err(reason) = result {
        let (number, detail) = reason.to_numbers();
        outcome.reason.store(number, Relaxed);
        outcome.detail.store(detail, Relaxed);
    }
    outcome.nanoseconds.store(sys::now().saturating_sub(started), Relaxed);
    outcome.phase.store(1, Release);
}

/// Which writers the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Any,
    Only(Writer),
    None,
}

/// Whether code may be changed at all now: plain writes need that nobody else can be executing it.
fn admit(wish: Wish) -> Result<(), Reason> {
    if wish == Wish::None {
        return Err(Reason::Setting);
    }
    if !arch::PATCHES {
        return Err(Reason::Architecture);
    }
    match sys::threads() {
        Ok(1) => Ok(()),
        Ok(threads) => Err(Reason::Threads(threads)),
        Err(Errno(errno)) => Err(Reason::ThreadsUnknown(errno)),
    }
}

/// # Safety
///
/// As for [`bind`], and the process has one thread.
unsafe fn commit(module: &Module<'_>, wish: Wish) -> Result<(), Reason> {
    let mut scratch = Scratch::new(Plan::bytes(module)).map_err(|Errno(errno)| Reason::Memory(errno))?;
    let plan = Plan::new(module, &mut scratch);
    let (mut writer, mut others) = match wish {
        Wish::Only(writer) => (writer, false),
        _ => (write::choose(plan.pages, plan.runs), true),
    };
    let mut session = Session::start(writer);
    let mut next = 0;
    while let Some(pages) = plan.span(next, writer) {
        let sites = plan.sites_on(&pages);
        let written = match &mut session {
            // SAFETY: one thread, as the caller vouches; the plan has only verified sites of the module's text.
            Ok(session) => unsafe { write_span(module, plan.addresses(&pages), sites, session) },
            Err(refused) => Err(*refused),
        };
        match written {
            Ok(whole) => {
                let bound = if whole { sites.len() as u32 } else { count_bound(module, sites) };
                module.outcome.writers.fetch_or(writer as u8, Relaxed);
                module.outcome.bound.fetch_add(bound, Relaxed);
                next = pages.end;
            }
            Err(_) if others => {
                writer = writer.other();
                session = Session::start(writer);
                others = false;
            }
            Err(Errno(errno)) => return Err(Reason::Refused(errno)),
        }
    }
    module.outcome.pages.store(plan.pages as u32, Relaxed);
    arch::synchronise();
    Ok(())
}

/// Writes one span's sites; returns whether all of them read back as written.
///
/// # Safety
///
/// As for [`commit`]; `sites` are verified, and begin in `span`.
unsafe fn write_span(
    module: &Module<'_>,
    span: Range<usize>,
    sites: &[u32],
    session: &mut Session,
) -> sys::Result<bool> {
    // SAFETY: whole pages of the module's text, in a process with one thread.
    unsafe { session.open(span) }?;
    let mut resolver = Resolver::new(module);
    for &index in sites {
        let Ok((site, key)) = resolver.site(index) else { continue };
        if let Some(code) = resolver.bound(&site, key) {
            // SAFETY: the span is open; this is the form of the site for its key's value.
            unsafe { session.put(site.address as usize, code) };
        }
    }
    session.close()
}

/// How many of these sites are bound now, by what stands in the text.
#[cold]
fn count_bound(module: &Module<'_>, sites: &[u32]) -> u32 {
    let mut resolver = Resolver::new(module);
    let is_bound = |&&index: &&u32| resolver.site(index).is_ok_and(|(site, key)| resolver.is_bound(&site, key));
    sites.iter().filter(is_bound).count() as u32
}

/// What stands at a site, and the site and key if the record describes one.
pub(crate) fn inspect<'a>(resolver: &mut Resolver<'a>, index: u32) -> (SiteStatus, Option<(Site, ModuleKey<'a>)>) {
    let (site, key) = match resolver.site(index) {
        Ok(found) => found,
        Err(fault) => return (SiteStatus::Invalid(fault), None),
    };
    let status = if arch::checked(&site).is_none() {
        return (SiteStatus::Invalid(Fault::Length), None);
    } else if resolver.is_checked(&site) {
        SiteStatus::Checked
    } else if resolver.is_bound(&site, key) {
        SiteStatus::Bound
    } else {
        SiteStatus::Foreign
    };
    (status, resolver.key(site.state as usize).map(|key| (site, *key)))
}

/// Whether this code stands at the site.
#[inline(always)]
fn reads(text: &Range<usize>, site: &Site, code: Option<Code>) -> bool {
    let Some(code) = code else { return false };
    let address = site.address as usize as *const u8;
    let mut memory = [0; MAX_SITE];
    if text.end - site.address as usize >= MAX_SITE {
        // SAFETY: a resolved site lies in its module's readable text, of which there is this much.
        memory = unsafe { address.cast::<[u8; MAX_SITE]>().read() };
    } else {
        // SAFETY: a resolved site lies whole in its module's readable text.
        unsafe { core::ptr::copy_nonoverlapping(address, memory.as_mut_ptr(), (site.length as usize).min(MAX_SITE)) };
    }
    code.len() == site.length as usize && code.begins(memory)
}

/// Works out site records, remembering what they have in common.
pub(crate) struct Resolver<'a> {
    module: Module<'a>,
    text: Range<usize>,
    /// The keys last met, by address of their states, which are 256 bytes apart.
    keys: [Option<ModuleKey<'a>>; 16],
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(module: &Module<'a>) -> Self {
        Self { module: *module, text: 0..0, keys: [None; 16] }
    }

    /// The site of this record of the module's table, and its key's state.
    #[inline(always)]
    fn site(&mut self, index: u32) -> Result<(Site, &'a State), Fault> {
        let record = &self.module.sites[index as usize];
        let from = |field: &i32| (&raw const *field as usize).wrapping_add_signed(*field as isize);
        let (address, target, state) = (from(&record.site), from(&record.target), from(&record.state));
        let length = record.length;
        let kind = Kind::from_byte(record.kind).filter(|_| record.flags == 0).ok_or(Fault::Kind)?;
        self.in_text(target, 1)?;
        self.in_text(address, length as usize)?;
        let key = self.key(state).ok_or(Fault::NoKey)?.state;
        let (address, target, state) = (address as u64, target as u64, state as u64);
        Ok((Site { address, target, state, length, kind, value: record.value }, key))
    }

    /// Whether the site stands as the compiler left it.
    #[inline]
    fn is_checked(&self, site: &Site) -> bool {
        reads(&self.text, site, arch::checked(site))
    }

    /// Whether the site is bound to its key's value.
    #[inline]
    fn is_bound(&self, site: &Site, key: &State) -> bool {
        key.decided() && reads(&self.text, site, self.bound(site, key))
    }

    /// The bytes that bind the site to its key's value.
    #[inline]
    fn bound(&self, site: &Site, key: &State) -> Option<Code> {
        arch::bound(site, key.value(), self.module.outcome.request_offset.load(Relaxed))
    }

    /// Fails unless the range lies whole in the module's text; leaves in `self.text` the segment it lies in.
    #[inline]
    fn in_text(&mut self, address: usize, length: usize) -> Result<(), Fault> {
        let end = address.checked_add(length).ok_or(Fault::OutsideText)?;
        if address < self.text.start || end > self.text.end {
            self.text = self.module.text(address, length).ok_or(Fault::OutsideText)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn key(&mut self, state: usize) -> Option<&ModuleKey<'a>> {
        let slot = state / size_of::<State>() % 16;
        if !self.keys[slot].as_ref().is_some_and(|key| key.is_at(state)) {
            self.look_up(slot, state)?;
        }
        self.keys[slot].as_ref()
    }

    #[cold]
    fn look_up(&mut self, slot: usize, state: usize) -> Option<()> {
        self.keys[slot] = Some(self.module.keys().find(|key| key.is_at(state))?);
        Some(())
    }
}

/// The verified sites of a module, in the order of their pages.
struct Plan<'a> {
    /// Indices into the site table.
    order: &'a [u32],
    /// For each page of the text, where its sites end in `order`.
    ends: &'a [u32],
    /// Address of the first page.
    start: usize,
    page_size: usize,
    /// How many pages have sites, and in how many runs of neighbours.
    pages: usize,
    runs: usize,
}

/// Marks a site that is not to be written.
const SKIP: u32 = u32::MAX;

impl<'a> Plan<'a> {
    /// The scratch memory that a plan needs.
    fn bytes(module: &Module<'_>) -> usize {
        let (_, pages) = text_pages(module, sys::page_size());
        4 * (2 * module.sites.len() + pages)
    }

    fn new(module: &Module<'_>, scratch: &'a mut Scratch) -> Self {
        let page_size = sys::page_size();
        let (start, pages) = text_pages(module, page_size);
        let sites = module.sites.len();
        let (page_of, rest) = scratch.words().split_at_mut(sites);
        let (order, ends) = rest.split_at_mut(sites);
        let ends = &mut ends[..pages];

        // Verify, and count each page's sites.
        let mut resolver = Resolver::new(module);
        for (index, page) in page_of.iter_mut().enumerate() {
            *page = SKIP;
            let Ok((site, key)) = resolver.site(index as u32) else { continue };
            if key.decided() && resolver.is_checked(&site) {
                *page = ((site.address as usize - start) >> page_size.trailing_zeros()) as u32;
                ends[*page as usize] += 1;
            }
        }

        // Each page's count becomes the place where its sites begin ...
        let (mut sum, mut pages, mut runs, mut neighbour) = (0, 0, 0, false);
        for end in &mut *ends {
            let count = core::mem::replace(end, sum);
            sum += count;
            pages += usize::from(count > 0);
            runs += usize::from(count > 0 && !neighbour);
            neighbour = count > 0;
        }
        // ... and, as they are placed, the place where they end.
        for (index, &page) in page_of.iter().enumerate() {
            if page != SKIP {
                let end = &mut ends[page as usize];
                order[*end as usize] = index as u32;
                *end += 1;
            }
        }
        Self { order, ends, start, page_size, pages, runs }
    }

    /// The next run of neighbouring pages with sites, from page `next` on, no longer than `writer` takes.
    fn span(&self, next: usize, writer: Writer) -> Option<Range<usize>> {
        let most = (writer.span_bytes() / self.page_size).max(1);
        let empty = |&page: &usize| self.begin(page) == self.ends[page];
        let first = (next..self.ends.len()).find(|page| !empty(page))?;
        let last = first.saturating_add(most).min(self.ends.len());
        Some(first..(first..last).find(empty).unwrap_or(last))
    }

    fn sites_on(&self, pages: &Range<usize>) -> &'a [u32] {
        &self.order[self.begin(pages.start) as usize..self.begin(pages.end) as usize]
    }

    fn addresses(&self, pages: &Range<usize>) -> Range<usize> {
        self.start + pages.start * self.page_size..self.start + pages.end * self.page_size
    }

    fn begin(&self, page: usize) -> u32 {
        if page == 0 { 0 } else { self.ends[page - 1] }
    }
}

/// Address of the first page of the module's text, and how many there are up to the last.
fn text_pages(module: &Module<'_>, page_size: usize) -> (usize, usize) {
    let text = module.text_bounds();
    let start = text.start & !(page_size - 1);
    (start, (text.end - start).div_ceil(page_size))
}
