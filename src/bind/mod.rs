//! Binding: writes each key's value into its sites.
//!
//! survey the table, choose a writer -> verify, write and read back each site, page by page -> record the outcome.
//!
//! A site is verified by *building* the bytes that its record promises and comparing them with what is there.
//! What differs (a debugger's breakpoint, a corrupt record) is left alone. Per-site results are not stored: the
//! code itself says whether it is bound, and [`inspect`] reads it again when a report is wanted.
//!
//! Linkers keep tables in the order of the code, so one pass over the table is one pass over the pages. A table in
//! another order is bound as well, at the price of more system calls.
#![allow(unsafe_code)]

pub(crate) mod write;

use crate::key::{State, flags};
use crate::module::Module;
use crate::site::{SiteRecord, leads_to};
use crate::sys::{self, Errno};

use core::ops::Range;
use core::sync::atomic::Ordering::{Relaxed, Release};
use invar_abi::{Code, Kind, Site};
use invar_arch as arch;
use write::{Session, Writer};

/// What stands at a site now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteStatus {
    /// The code for the key's value, without a check.
    Bound,
    /// The checked form that the compiler left. [`Reason`] says why.
    Checked,
    /// Other code: somebody has changed it, as a debugger does by a breakpoint. It was left alone.
    Foreign,
    /// The record does not describe a site of this module.
    Invalid(Fault),
}

impl SiteStatus {
    /// In words.
    pub(crate) fn describe(self) -> &'static [u8] {
        match self {
            Self::Bound => b"bound to ",
            Self::Checked => b"checked",
            Self::Foreign => b"foreign bytes, left alone",
            Self::Invalid(fault) => fault.describe().as_bytes(),
        }
    }
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
    /// A slice site that depends on a key of another sort, or on another value than the first.
    WrongKey,
    /// No site of this kind has this length, or its target is out of reach.
    Length,
    /// The site's text may be executed, but not read, so that it cannot be verified.
    Unreadable,
}

impl Fault {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Kind => "unknown kind or flags",
            Self::OutsideText => "site or target outside the module's text",
            Self::NoKey => "no key has its state there",
            Self::WrongKey => "no slice site can depend on this key",
            Self::Length => "no site of this kind has this length",
            Self::Unreadable => "its text cannot be read",
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
    /// The process had this many threads, more than one, when the module was loaded.
    Threads(u32),
    /// The number of threads could not be read from `/proc/self/task`: error number.
    ThreadsUnknown(i32),
    /// The kernel refused every writer. The error number is that of the last one.
    Refused(i32),
    /// Sites are bound, but the kernel refused, with this error number, to give the text back the protection that it had. It
    /// stays writable.
    Writable(i32),
    /// A tool has moved the module's code after it was linked. The tables lead to the places where the code was.
    Rewritten,
    /// There are sites in text that may be executed, but not read.
    Unreadable,
    /// The text is mapped shared. Other processes would execute the code that is written there.
    Shared,
}

impl Reason {
    /// The reason in words, behind which [`detail`](Self::detail) belongs.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Setting => "by setting",
            Self::Architecture => "this architecture has no other form",
            Self::Threads(_) => {
                "code is changed only while the process has one thread, and an emulator's threads count, and what io_uring \
                 or another part of the kernel runs for it: load this module earlier, or not under the emulator; threads:"
            }
            Self::ThreadsUnknown(_) => "/proc/self/task does not tell the number of threads: errno",
            Self::Refused(_) => "every writer was refused, the last with errno",
            Self::Writable(_) => "its text stays writable, as the protection that it had was refused with errno",
            Self::Rewritten => {
                "a tool has moved code of this module after it was linked, and not the tables' distances"
            }
            Self::Unreadable => "there are sites in text that cannot be read",
            Self::Shared => "the text is mapped shared, and other processes would execute what is written there",
        }
    }

    /// The number that goes with the reason: an error number, or a number of threads.
    pub fn detail(self) -> Option<u32> {
        match self {
            Self::Setting | Self::Architecture | Self::Rewritten | Self::Unreadable | Self::Shared => None,
            _ => Some(self.to_numbers().1),
        }
    }

    fn to_numbers(self) -> (u8, u32) {
        match self {
            Self::Setting => (1, 0),
            Self::Architecture => (2, 0),
            Self::Threads(threads) => (3, threads),
            Self::ThreadsUnknown(errno) => (4, errno as u32),
            Self::Refused(errno) => (5, errno as u32),
            Self::Writable(errno) => (6, errno as u32),
            Self::Rewritten => (7, 0),
            Self::Unreadable => (8, 0),
            Self::Shared => (9, 0),
        }
    }

    /// The reason that a module's outcome gives in numbers (`docs/site-abi.md`).
    pub fn from_numbers(reason: u8, detail: u32) -> Option<Self> {
        match reason {
            1 => Some(Self::Setting),
            2 => Some(Self::Architecture),
            3 => Some(Self::Threads(detail)),
            4 => Some(Self::ThreadsUnknown(detail as i32)),
            5 => Some(Self::Refused(detail as i32)),
            6 => Some(Self::Writable(detail as i32)),
            7 => Some(Self::Rewritten),
            8 => Some(Self::Unreadable),
            9 => Some(Self::Shared),
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
    let result = if module.sites.is_empty() && arch::PATCHES {
        Ok(())
    } else {
        // SAFETY: as the caller vouches.
        admit(module, wish).and_then(|()| unsafe { commit(module, wish) })
    };
    let outcome = module.outcome;
    if let Err(reason) = result {
        say(module, reason);
    }
    outcome.nanoseconds.store(sys::now().saturating_sub(started), Relaxed);
    outcome.phase.store(1, Release);
}

/// Why the module's sites stay in checked form, if they do.
pub(crate) fn reason(module: &Module<'_>) -> Option<Reason> {
    Reason::from_numbers(module.outcome.reason.load(Relaxed), module.outcome.detail.load(Relaxed))
}

fn say(module: &Module<'_>, reason: Reason) {
    let (number, detail) = reason.to_numbers();
    module.outcome.reason.store(number, Relaxed);
    module.outcome.detail.store(detail, Relaxed);
}

/// Which writers the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Any,
    Only(Writer),
    None,
}

/// Whether code may be changed at all now: while it is written to, no other thread may execute it.
fn admit(module: &Module<'_>, wish: Wish) -> Result<(), Reason> {
    if wish == Wish::None {
        return Err(Reason::Setting);
    }
    if !arch::PATCHES {
        return Err(Reason::Architecture);
    }
    if module.rewritten {
        return Err(Reason::Rewritten);
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
    let mut survey = Survey::new(module);
    let (first, second) = match wish {
        Wish::Only(writer) => (writer, None),
        _ => {
            let writer = write::choose(survey.pages, survey.text.len() / sys::page_size() + 1);
            (writer, Some(writer.other()))
        }
    };
    // SAFETY: as the caller vouches.
    let written = unsafe { pass(module, first, &mut survey) };
    let written = match (written, second) {
        (Err(write::SHARED), _) => written,
        // SAFETY: as the caller vouches. What the first writer has bound is passed by.
        (Err(_), Some(writer)) => unsafe { pass(module, writer, &mut survey) },
        (written, _) => written,
    };
    arch::synchronise();
    match written {
        Ok(()) if survey.unreadable => Err(Reason::Unreadable),
        Ok(()) => Ok(()),
        Err(write::SHARED) => Err(Reason::Shared),
        Err(Errno(errno)) => Err(Reason::Refused(errno)),
    }
}

/// Where a module's sites are, by their records alone: reading the text now would make each page's copy dearer.
struct Survey {
    /// From the first site to the end of the last.
    text: Range<usize>,
    /// How often the page changes from one record to the next; in a table in order, how many pages have sites.
    pages: usize,
    /// A pass has met sites that nobody can read.
    unreadable: bool,
}

impl Survey {
    fn new(module: &Module<'_>) -> Self {
        let mut text = Text::of(module);
        let mut survey = Self { text: 0..0, pages: 0, unreadable: false };
        let (shift, mut page) = (sys::page_size().trailing_zeros(), 0);
        for record in module.sites {
            let address = record.address();
            let end = address.wrapping_add(record.length.into());
            if text.holds(address, record.length.into()) {
                let start = if survey.text.is_empty() { address } else { survey.text.start.min(address) };
                survey.text = start..survey.text.end.max(end);
                survey.pages += usize::from(address >> shift != page);
                page = address >> shift;
            }
        }
        survey
    }
}

/// Binds what this writer can: every site whose key is decided and that stands in checked form. Counts those that stand
/// bound already, as the sites of duplicate records do, and those that are left as they are.
///
/// # Safety
///
/// As for [`commit`].
unsafe fn pass(module: &Module<'_>, writer: Writer, survey: &mut Survey) -> sys::Result<()> {
    if survey.text.is_empty() {
        return Ok(());
    }
    let outcome = module.outcome;
    let mut resolver = Resolver::new(module);
    // SAFETY: the survey's range lies in the module's text; one thread, as the caller vouches.
    let mut session = unsafe { Session::start(writer, survey.text.clone()) }?;
    let (mut sites, mut already, mut written) = (0, 0, Ok(()));
    for record in module.sites {
        let Ok((site, key)) = resolver.site(record) else { continue };
        session.approach(site.address as usize);
        let Some(code) = resolver.bound(&site, key) else { continue };
        sites += 1;
        if !resolver.text.is_readable(&site) {
            survey.unreadable = true;
        } else if resolver.is_checked(&site) {
            // SAFETY: a verified site, and its form for its key's value.
            written = unsafe { session.put(site.address as usize, code) };
            if written.is_err() {
                break;
            }
        } else if reads(&site, code) {
            already += 1;
        }
    }
    let written = written.and(session.finish());
    if let Err(Errno(errno)) = session.close() {
        say(module, Reason::Writable(errno));
    }
    let bound = session.bound();
    if bound > 0 {
        outcome.writers.fetch_or(writer as u8, Relaxed);
    }
    outcome.bound.store(already + bound, Relaxed);
    outcome.left.store(sites - already - bound, Relaxed);
    written
}

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

/// Whether this code stands at the site.
#[inline(always)]
fn reads(site: &Site, code: Code) -> bool {
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
        let page = sys::page_size();
        let readable = sys::is_readable(start, end - start);
        self.readable = if readable { start & !(page - 1)..end.next_multiple_of(page) } else { 0..0 };
        readable
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
    module: &'a Module<'a>,
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

    /// Whether the site stands as the compiler left it.
    #[inline]
    fn is_checked(&self, site: &Site) -> bool {
        arch::checked(site).is_some_and(|code| reads(site, code))
    }

    /// The bytes that bind the site to its key's value, if it has one.
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{SITE_ABI, table};

    /// `docs/site-abi.md`, outcome: reason, writers and detail.
    #[test]
    fn reasons_have_their_numbers() {
        use Reason::*;
        let documented = table(SITE_ABI, "## Outcome");
        let row = |name: &str| documented.iter().find(|row| row[2] == name).expect("a row")[3];
        let words = [
            (Setting, "setting"),
            (Architecture, "architecture"),
            (Threads(0), "threads"),
            (ThreadsUnknown(0), "threads unknown"),
            (Refused(0), "refused"),
            (Rewritten, "the module was rewritten"),
            (Unreadable, "a site cannot be read"),
            (Shared, "the text is mapped shared"),
        ];
        for (reason, words) in words {
            let (number, _) = reason.to_numbers();
            let words = std::format!("{number} {words}");
            assert!(row("reason").split([',', ';']).any(|listed| listed.trim() == words), "{reason:?}: no {words:?}");
        }
        assert!(row("reason").ends_with("; or 6: they are bound, and the text stays writable"));
        assert_eq!(row("writers"), "those that were used: bit 0 mem, bit 1 mprotect");
        assert_eq!([Writer::Mem as u8, Writer::Mprotect as u8], [1, 2]);
        assert_eq!(row("detail"), "number of threads (reason 3) or error number (4, 5, 6)");
        let reasons = [
            Setting,
            Architecture,
            Threads(7),
            ThreadsUnknown(7),
            Refused(7),
            Writable(7),
            Rewritten,
            Unreadable,
            Shared,
        ];
        for (number, reason) in (1..).zip(reasons) {
            let has_detail = (3..=6).contains(&number);
            assert_eq!(reason.to_numbers(), (number, if has_detail { 7 } else { 0 }));
            assert_eq!(reason.detail(), has_detail.then_some(7));
            assert_eq!(Reason::from_numbers(number, 7), Some(reason));
        }
        assert_eq!([0, 10, 255].map(|number| Reason::from_numbers(number, 7)), [None; 3]);
    }
}
