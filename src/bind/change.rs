//! The sites of switches: one bound form takes the place of another.
//!
//! The pages are exchanged as at load, by the same writers, while other threads run in them. What stands at a site need not be
//! what stood there at load: it is the checked form, or the bound one of any value, and a debugger's breakpoint or a uprobe may have
//! taken the place of the first byte, which all forms have in common.
//!
//! A module is changed wholly or not at all: where one site cannot follow, nothing is exchanged.

use super::changes::{Change, Changes};
use super::resolve::{self, Filled, Resolver, Work};
use super::status::Reason;
use super::window::Window;
use super::write;
use super::writer::{Refusal, Wish};
use crate::module::Module;
use core::sync::atomic::Ordering::Relaxed;
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
    /// In none of these, or out of sight.
    foreign: u32,
}

/// Binds all sites of these switches to the values that they are to have, if any are bound to others. An error says why, and how
/// many still are.
///
/// # Safety
///
/// The module must stay loaded, the switches be its own and sealed, and nobody else may bind sites of it meanwhile.
#[cold]
pub(crate) unsafe fn change(module: &Module<'_>, changes: &Changes<'_>) -> Result<Counted, (Reason, u32)> {
    let mut resolver = Resolver::new(module);
    resolver.changes = Some(changes);
    let before = resolver.counted();
    if before.stale == 0 && before.foreign == 0 {
        // What is not bound could not be when the module was loaded.
        return Ok(before);
    }
    if before.foreign > 0 {
        return Err((Reason::Changed, before.stale));
    }
    // SAFETY: as the caller vouches.
    let result = unsafe { exchange(module, &mut resolver) };
    let after = resolver.counted();
    if after.stale > 0 || after.foreign > 0 {
        return Err((result.err().map_or(Reason::Unreadable, Reason::from), after.stale));
    }
    let (bound, left) = (&module.outcome.bound, &module.outcome.left);
    let more = before.checked - after.checked;
    bound.fetch_add(more, Relaxed);
    left.store(left.load(Relaxed).saturating_sub(more), Relaxed);
    Ok(after)
}

/// # Safety
///
/// As for [`change`].
unsafe fn exchange(module: &Module<'_>, resolver: &mut Resolver<'_>) -> Result<(), Refusal> {
    let changes = resolver.changes;
    let is_changed =
        |record: &&SiteRecord| changes.is_some_and(|changes| changes.iter().any(|change| change.is_of(record)));
    for text in module.texts() {
        let mut start = text.range.start;
        while start < text.range.end {
            let window = Window::with(module.sites.iter().filter(is_changed), &text, start);
            start = window.end();
            if !window.is_empty() {
                let work = Work { before: Some(before), fill };
                // SAFETY: as the caller vouches.
                unsafe { write::window(&window, resolver, Wish::Any, work) }?;
            }
        }
    }
    Ok(())
}

impl Change<'_> {
    /// What stands here at a site of the switch, of which at least as many bytes as it has can be read; and the bound form that is to
    /// stand there.
    ///
    /// # Safety
    ///
    /// `place` must be valid for reads of the site's length.
    unsafe fn look(&self, site: &Site, place: *const u8) -> (Standing, Option<Code>) {
        // SAFETY: as the caller vouches.
        let stands = |code: Code| unsafe { arch::stands_under_breakpoint(code, place) };
        let new = bound(site, self.value);
        let standing = match () {
            () if new.is_some_and(stands) => Standing::New,
            () if arch::checked(site).is_some_and(stands) => Standing::Checked,
            () if self.forms(site).any(stands) => Standing::Stale,
            () => Standing::Foreign,
        };
        (standing, new)
    }

    /// All that may stand at a site of the switch.
    fn forms(&self, site: &Site) -> impl Iterator<Item = Code> {
        arch::checked(site).into_iter().chain((0..self.values).filter_map(|value| bound(site, value)))
    }
}

/// The form for a value; a select's site stays checked, as at load.
fn bound(site: &Site, value: u8) -> Option<Code> {
    if site.kind == Kind::Select { None } else { arch::bound(site, value, 0) }
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
    /// The switch of a record's site, if it is to have another value, and the site.
    fn changed(&mut self, record: &SiteRecord) -> Option<(Change<'a>, Site)> {
        let change = *self.changes?.iter().find(|change| change.is_of(record))?;
        // A record that describes no site was never bound.
        self.site(record).ok().map(|(site, _)| (change, site))
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
                unsafe { change.look(&site, place as *const u8) }.0
            } else {
                Standing::Foreign
            };
            *match standing {
                Standing::Checked => &mut counted.checked,
                Standing::New => &mut counted.bound,
                Standing::Stale => &mut counted.stale,
                Standing::Foreign => &mut counted.foreign,
            } += 1;
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
    for record in resolver.module.sites {
        let (text, length) = (record.address(), usize::from(record.length));
        if let Some(part) = window.part(text, length) {
            if resolver.is_bound(record) {
                // SAFETY: the part lies in the window's runs, which can be read, and so in their copy.
                unsafe { libc::memcpy(part.start.wrapping_add(delta) as _, part.start as _, part.len()) };
            }
            continue;
        }
        if !window.holds(text, length) {
            continue;
        }
        let Some((change, site)) = resolver.changed(record) else { continue };
        let place = text.wrapping_add(delta) as *mut u8;
        // SAFETY: a site of the window lies whole in its runs, which can be read, and so in their copy.
        unsafe {
            if let Some(code) = change.forms(&site).find(|&code| arch::stands_under_breakpoint(code, text as *const u8))
                && change.look(&site, place).0 != Standing::Foreign
            {
                arch::store::<false>(code, place);
            }
        }
    }
    Filled::default()
}

/// Binds the sites of the switches in memory that lies `delta` bytes behind the text.
///
/// # Safety
///
/// As for [`resolve::fill`].
unsafe fn fill(resolver: &mut Resolver<'_>, window: &Window<'_>, delta: usize) -> Filled {
    for record in resolver.module.sites {
        if !window.holds(record.address(), record.length.into()) {
            continue;
        }
        let Some((change, site)) = resolver.changed(record) else { continue };
        let place = record.address().wrapping_add(delta) as *mut u8;
        // SAFETY: a site of the window lies whole in its runs.
        unsafe {
            if let (Standing::Checked | Standing::Stale, Some(code)) = change.look(&site, place) {
                let first = place.read();
                arch::store::<false>(code, place);
                place.write(first);
            }
        }
    }
    // The caller looks at all sites of the switches.
    Filled::default()
}
