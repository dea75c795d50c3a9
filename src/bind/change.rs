//! The sites of switches: one bound form takes the place of another.
//!
//! The pages are exchanged as at load, by the same writers, while other threads run in them. What stands at a site need not be
//! what stood there at load: it is the checked form, or the bound one of any value, and a debugger's breakpoint or a uprobe may have
//! taken the place of the first byte, which all forms have in common.
//!
//! A module is changed wholly or not at all: where one site cannot follow, nothing is exchanged.

use super::changes::{Change, Changes, Unchanged};
use super::pointers;
use super::resolve::{self, Filled, Resolver, Work};
use super::status::{Reason, SiteStatus};
use super::window::Window;
use super::write;
use super::writer::{Wish, Writer};
use crate::module::Module;
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::outcome::reason;
use invar_abi::{Code, Kind, Site, SiteRecord};
use invar_arch as arch;

/// The sites of switches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// In the bound form for the value that they are to have.
    pub(crate) bound: u32,
    /// In checked form.
    pub(crate) checked: u32,
    /// In the bound form for another value.
    stale: u32,
    /// The first that stands in none of these, or out of sight.
    foreign: Option<usize>,
}

/// Reasons of modules whose sites may all be bound.
const STAYING: [u8; 2] = [reason::WRITABLE, reason::POINTERS];

/// Binds all sites of these switches to the values that they are to have, if any are bound to others; or, if it is tried `again`, stay in
/// checked form.
///
/// # Safety
///
/// The module must stay loaded, the switches be its own and sealed, and nobody else may bind sites of it meanwhile.
#[cold]
pub(crate) unsafe fn change(module: &Module<'_>, changes: &Changes<'_>, again: bool) -> Result<Counted, Unchanged> {
    let mut resolver = Resolver::new(module);
    resolver.changes = Some(changes);
    let before = resolver.counted();
    let wish = Wish::kept();
    // What is not bound could not be when the module was loaded, or an exchange has failed there since. Or it was not to be.
    let may_bind = wish != Wish::None && module.outcome.reason.load(Relaxed) != reason::SETTING;
    let is_left = again && before.checked > 0 && may_bind;
    if before.stale == 0 && before.foreign.is_none() && !is_left {
        return Ok(before);
    }
    if before.foreign.is_some() {
        return Err(Unchanged { reason: Reason::Changed, stale: before.stale, foreign: before.foreign });
    }
    if wish == Wish::None {
        // Another copy of the runtime has bound them, when its settings were others.
        return Err(Unchanged { reason: Reason::Setting, stale: before.stale, foreign: None });
    }
    let (had_unbound, were_left) = (has_unbound(module), module.outcome.left.load(Relaxed));
    // SAFETY: as the caller vouches.
    let result = unsafe { exchange(module, &mut resolver, wish, !again || before.stale == 0) };
    let after = resolver.counted();
    let left = || module.outcome.left.load(Relaxed);
    let is_in_place = module.outcome.writers.load(Relaxed) & Writer::Mprotect as u8 != 0;
    // Other keys' sites may have been bound as well; or pages of the file have taken the place of those with bound sites
    // (`arch::exchange`). Also where not all pages could be exchanged: what is bound by now stays so.
    if is_in_place || result.is_err() || had_unbound {
        resolver.count_again();
    }
    let note = |(number, detail)| {
        module.outcome.reason.store(number, Relaxed);
        module.outcome.detail.store(detail, Relaxed);
    };
    match result {
        Err(why) if matches!(why, Reason::Writable(_)) || left() > were_left => note(why.to_numbers()),
        // What an earlier exchange left in checked form is bound.
        _ if left() == 0 && !STAYING.contains(&module.outcome.reason.load(Relaxed)) => note((0, 0)),
        _ => {}
    }
    if after.stale > 0 || after.foreign.is_some() {
        let reason = result.err().unwrap_or(Reason::Unreadable);
        return Err(Unchanged { reason, stale: after.stale, foreign: None });
    }
    Ok(after)
}

/// Exchanges the pages with sites of the switches. Where one window is refused, the others may have more sites that can be bound, or taken
/// back: `goes_on`. A set that is refused leaves them as they are.
///
/// # Safety
///
/// As for [`change`].
unsafe fn exchange(module: &Module<'_>, resolver: &mut Resolver<'_>, wish: Wish, goes_on: bool) -> Result<(), Reason> {
    let (changes, mut refusal) = (resolver.changes, None);
    let is_changed =
        |record: &&SiteRecord| changes.is_some_and(|changes| changes.iter().any(|change| change.is_of(record)));
    for text in module.texts() {
        let mut start = text.range.start;
        while start < text.range.end {
            let window = Window::with(module.sites.iter().filter(is_changed), module.sites, &text, start);
            start = window.end();
            if !window.is_empty() {
                let work = Work { before: Some(before), fill };
                // SAFETY: as the caller vouches.
                let result = unsafe { write::window(&window, resolver, wish, work) };
                if !goes_on {
                    result?;
                } else {
                    refusal = refusal.or(result.err());
                }
            }
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Whether there may be sites of the module that are not bound, of any key.
fn has_unbound(module: &Module<'_>) -> bool {
    (module.outcome.bound.load(Relaxed) as usize) < module.sites.len()
}

/// What stands at a site of a switch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Checked,
    New,
    Stale,
    Foreign,
}

impl<'a> Resolver<'a> {
    /// The form of a record's site for a value of its switch; that of a select, by the record for the value.
    fn form(&mut self, record: &SiteRecord, value: u8) -> Option<Code> {
        let (site, _) = self.telling_of(record, value).ok()?;
        arch::bound(&site, value, 0)
    }

    /// What stands here at a record's site, whose switch is to have another value; and the bound form that is to stand there.
    ///
    /// # Safety
    ///
    /// `place` must be valid for reads of the site's length.
    unsafe fn look(
        &mut self,
        change: &Change<'_>,
        record: &SiteRecord,
        site: &Site,
        place: *const u8,
    ) -> (Standing, Option<Code>) {
        // SAFETY: as the caller vouches.
        let stands = |code: Code| unsafe { arch::stands_under_breakpoint(code, place) };
        let new = self.form(record, change.value);
        let standing = match () {
            () if new.is_some_and(stands) => Standing::New,
            () if arch::checked(site).is_some_and(stands) => Standing::Checked,
            () if (0..change.values).any(|value| self.form(record, value).is_some_and(stands)) => Standing::Stale,
            () => Standing::Foreign,
        };
        (standing, new)
    }

    /// The switch of a record's site, if it is to have another value, and the site.
    fn changed(&mut self, record: &SiteRecord) -> Option<(Change<'a>, Site)> {
        let change = *self.changes?.iter().find(|change| change.is_of(record))?;
        // A record that describes no site was never bound; nor was a select that does not say where each value goes.
        if record.kind == Kind::Select as u8 {
            self.telling(record).ok()?;
        }
        self.site(record).ok().map(|(site, _)| (change, site))
    }

    /// Counts the module's sites again that are bound, to whatever value.
    #[cold]
    fn count_again(&mut self) {
        let mut count = 0;
        for record in self.module.sites {
            let is_bound = match self.changed(record) {
                Some((change, site)) => {
                    let place = site.address as usize;
                    let can_be_read = self.text.can_be_read(place, site.length.into());
                    // SAFETY: it can be read.
                    let mut standing = || unsafe { self.look(&change, record, &site, place as *const u8) }.0;
                    can_be_read && matches!(standing(), Standing::New | Standing::Stale)
                }
                None => {
                    self.is_bound(record, arch::stands_under_breakpoint)
                        || pointers::inspect(self, record).0 == SiteStatus::Bound
                }
            };
            count += u32::from(is_bound);
        }
        let outcome = self.module.outcome;
        let all = outcome.bound.load(Relaxed) + outcome.left.load(Relaxed);
        outcome.bound.store(count, Relaxed);
        outcome.left.store(all.saturating_sub(count), Relaxed);
    }

    /// Looks at all sites of the switches.
    #[cold]
    fn counted(&mut self) -> Counted {
        let mut counted = Counted::default();
        for record in self.module.sites {
            let Some((change, site)) = self.changed(record) else { continue };
            let place = site.address as usize;
            let standing = if self.text.can_be_read(place, site.length.into()) {
                // SAFETY: it can be read.
                unsafe { self.look(&change, record, &site, place as *const u8) }.0
            } else {
                Standing::Foreign
            };
            match standing {
                Standing::Checked => counted.checked += 1,
                Standing::New => counted.bound += 1,
                Standing::Stale => counted.stale += 1,
                Standing::Foreign => counted.foreign = counted.foreign.or(Some(place)),
            }
        }
        counted
    }
}

/// Makes of the file's pages what stands in the text, but for what others have changed there. Sites of the switches may go by other
/// values than these have: when they are taken back, or where a child was made while they were set.
///
/// # Safety
///
/// As for [`resolve::fill`].
unsafe fn before(resolver: &mut Resolver<'_>, window: &Window<'_>, delta: usize) -> Filled {
    // SAFETY: as the caller vouches.
    unsafe { resolve::fill(resolver, window, delta) };
    let has_unbound = has_unbound(resolver.module);
    for record in resolver.module.sites {
        let (text, length) = (record.address(), usize::from(record.length));
        if let Some(part) = window.part(text, length) {
            // Under a breakpoint it is not taken for ours: no memfd may take the place of a page with a uprobe.
            if resolver.is_bound(record, arch::stands::<false>) {
                // SAFETY: the part lies in the window's runs, which can be read, and so in their copy.
                unsafe { libc::memcpy(part.start.wrapping_add(delta) as _, part.start as _, part.len()) };
            }
            continue;
        }
        if !window.holds(text, length) {
            continue;
        }
        let place = text.wrapping_add(delta) as *mut u8;
        let Some((change, site)) = resolver.changed(record) else {
            // Of another key. What could not be bound so far stands as the compiler left it, and nobody has changed it.
            if has_unbound
                && let Ok((site, _)) = resolver.site(record)
                // SAFETY: as below.
                && let Some(code) = arch::checked(&site).filter(|&code| unsafe { arch::stands::<false>(code, text as _) })
            {
                // SAFETY: as below.
                unsafe { arch::store::<false>(code, place) };
            }
            continue;
        };
        // SAFETY: a site of the window lies whole in its runs, which can be read, and so in their copy.
        unsafe {
            let stands = |code: &Code| arch::stands_under_breakpoint(*code, text as *const u8);
            let bound = (0..change.values).find_map(|value| resolver.form(record, value).filter(stands));
            if let Some(code) = bound.or_else(|| arch::checked(&site).filter(stands))
                && resolver.look(&change, record, &site, place).0 != Standing::Foreign
            {
                arch::store::<false>(code, place);
            }
        }
    }
    Filled::default()
}

/// Binds the sites of the switches in memory that lies `delta` bytes behind the text; and those of other keys that could not be bound so
/// far, to the values that these have.
///
/// # Safety
///
/// As for [`resolve::fill`].
unsafe fn fill(resolver: &mut Resolver<'_>, window: &Window<'_>, delta: usize) -> Filled {
    if has_unbound(resolver.module) {
        // SAFETY: as the caller vouches.
        unsafe { resolve::fill(resolver, window, delta) };
    }
    for record in resolver.module.sites {
        if !window.holds(record.address(), record.length.into()) {
            continue;
        }
        let Some((change, site)) = resolver.changed(record) else { continue };
        let place = record.address().wrapping_add(delta) as *mut u8;
        // SAFETY: a site of the window lies whole in its runs.
        unsafe {
            if let (Standing::Checked | Standing::Stale, Some(code)) = resolver.look(&change, record, &site, place) {
                arch::store_under_breakpoint(code, place);
            }
        }
    }
    // The caller looks at all sites of the switches.
    Filled::default()
}
