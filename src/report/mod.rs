//! Every decision and every site, as data; [`text`] shows it, [`load`] writes it where a setting wants it.

#[cfg(feature = "report")]
pub(crate) mod load;
pub(crate) mod text;

use crate::bind::{self, Reason, Resolver, SiteStatus};
use crate::key::Verdict;
use crate::module::{self, Module, ModuleKey};
use crate::write::Writer;
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use invar_arch::{Kind, Site};

/// What the runtime did in this process: [`modules`](Self::modules), their keys, their sites. Displays as text.
///
/// It is read from the modules and their code at each call, so it says what is true now.
#[derive(Clone, Copy, Debug)]
pub struct Report(());

/// What the runtime did in this process.
pub fn report() -> Report {
    Report(())
}

impl Report {
    /// Calls `visit` with each module that carries sites or keys, in the loader's order. A library that is being
    /// looked at must not be unloaded meanwhile; whoever calls `dlclose` vouches for that, as for everything else that
    /// the process may still do with it.
    pub fn modules(&self, mut visit: impl FnMut(&ModuleReport<'_>)) {
        module::each_in_turn(|module| visit(&of(module)));
    }
}

/// One module: an executable or a shared library.
#[derive(Clone, Copy)]
pub struct ModuleReport<'a> {
    module: Module<'a>,
}

pub(crate) fn of<'a>(module: &Module<'a>) -> ModuleReport<'a> {
    ModuleReport { module: *module }
}

impl<'a> ModuleReport<'a> {
    /// The path it was loaded from; empty for the program itself.
    pub fn path(&self) -> &'a CStr {
        self.module.path
    }

    /// What the loader added to the addresses in the file.
    pub fn base(&self) -> usize {
        self.module.base
    }

    /// Whether its constructor has run: before that nothing is decided or bound.
    pub fn is_loaded(&self) -> bool {
        self.module.outcome.loaded()
    }

    /// Why sites stay in checked form, if they do.
    pub fn reason(&self) -> Option<Reason> {
        let outcome = self.module.outcome;
        Reason::from_numbers(outcome.reason.load(Relaxed), outcome.detail.load(Relaxed))
    }

    /// Number of sites in its table.
    pub fn sites(&self) -> usize {
        self.module.sites.len()
    }

    /// Number of sites that were bound at load, each read back.
    pub fn bound(&self) -> usize {
        self.module.outcome.bound.load(Relaxed) as usize
    }

    /// Time that binding took, in nanoseconds, verification and read-back included.
    pub fn nanoseconds(&self) -> u64 {
        self.module.outcome.nanoseconds.load(Relaxed)
    }

    /// The writers that were used.
    pub fn writers(&self) -> impl Iterator<Item = Writer> + use<> {
        Writer::from_bits(self.module.outcome.writers.load(Relaxed))
    }

    /// Its keys, each once: object files in C have a record each of the slice key that they share, and an archive of the
    /// runtime has one more. Keys of one name that were decided differently, as of two versions of a package, are two.
    pub fn keys(&self) -> impl Iterator<Item = KeyReport<'a>> + use<'_, 'a> {
        self.module.keys().filter(|key| self.is_first(key)).map(|key| KeyReport { key })
    }

    /// Number of records in its table of keys that lead to none: they are corrupt, and their sites stay in checked form.
    pub fn invalid_keys(&self) -> usize {
        self.module.invalid_keys()
    }

    #[cold]
    fn is_first(&self, key: &ModuleKey<'_>) -> bool {
        self.module
            .keys()
            .find(|other| other.same_as(key) && other.state.outcome() == key.state.outcome())
            .is_some_and(|first| core::ptr::eq(first.record, key.record))
    }

    /// Its sites, in the order of the table.
    pub fn bindings(&self) -> impl Iterator<Item = Binding<'_>> {
        let mut resolver = Resolver::new(&self.module);
        let mut last = None;
        self.module.sites.iter().enumerate().map(move |(index, record)| {
            let (status, site) = bind::inspect(&mut resolver, record);
            let found = site.and_then(|site| {
                let is_its = |key: &ModuleKey<'_>| key.is_at(site.state as usize);
                last = last.filter(is_its).or_else(|| self.module.keys().find(is_its));
                Some((site, last?))
            });
            Binding { index, status, found }
        })
    }
}

/// One key of one module.
#[derive(Clone, Copy)]
pub struct KeyReport<'a> {
    key: ModuleKey<'a>,
}

impl<'a> KeyReport<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        core::str::from_utf8(self.key.name()).unwrap_or("?")
    }

    /// The name of its value.
    pub fn value(&self) -> &'a str {
        core::str::from_utf8(self.key.value_name(self.key.state.value())).unwrap_or("?")
    }

    /// How it was decided; `None` if it is not yet.
    pub fn verdict(&self) -> Option<Verdict> {
        self.key.state.verdict()
    }
}

/// What became of one site.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    index: usize,
    status: SiteStatus,
    found: Option<(Site, ModuleKey<'a>)>,
}

impl<'a> Binding<'a> {
    /// Position in the module's table.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What stands there now.
    pub fn status(&self) -> SiteStatus {
        self.status
    }

    /// The site itself, unless the record is invalid.
    pub fn site(&self) -> Option<Site> {
        self.found.map(|(site, _)| site)
    }

    /// Its key, unless the record is invalid.
    pub fn key(&self) -> Option<KeyReport<'a>> {
        self.found.map(|(_, key)| KeyReport { key })
    }
}

/// One word or two for what stands at a site.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Branch => "branch",
        Kind::SliceEnter => "slice enter",
        Kind::SliceLeave => "slice leave",
    }
}

#[cfg(test)]
#[allow(unsafe_code)] // in the macros
mod tests {
    use super::*;
    use crate::key::Origin;
    use std::borrow::ToOwned;
    use std::vec::Vec;

    mod newer {
        crate::key! { #[name = "report.two"] pub(super) static KEY: bool = |_| Ok(true); }
        crate::key! { #[name = "report.one"] pub(super) static SAME: bool = |_| Ok(true); }
    }
    mod older {
        crate::values! { pub(super) enum Size { Small, Large } }
        crate::key! { #[name = "report.two"] pub(super) static KEY: Size = |_| Ok(Size::Large); }
        crate::key! { #[name = "report.one"] pub(super) static SAME: bool = |_| Err("another opinion"); }
    }

    /// As of two versions of a package.
    #[test]
    fn keys_of_one_name_are_one_unless_their_values_differ() {
        assert_eq!(newer::SAME.get(), older::SAME.get());
        let mut found = Vec::new();
        report().modules(|module| {
            let keys = module.keys().filter(|key| key.name().starts_with("report."));
            found.extend(keys.map(|key| (key.name().to_owned(), key.verdict().unwrap().origin())));
        });
        found.sort_unstable_by_key(|(name, origin)| (name.clone(), origin.name()));
        // Whichever is decided first.
        let one = if newer::SAME.get() { Origin::Probe } else { Origin::Failed };
        let name = |name: &str| name.to_owned();
        assert_eq!(
            found,
            [(name("report.one"), one), (name("report.two"), Origin::Failed), (name("report.two"), Origin::Probe)]
        );
    }
}
