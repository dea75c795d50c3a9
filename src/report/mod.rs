//! Every decision and every site, as data; [`text`] shows it, [`load`] writes it where a setting wants it.

#[cfg_attr(invar_elsewhere, path = "../elsewhere/copy.rs")]
pub(crate) mod copy;
#[cfg(all(feature = "report", not(invar_elsewhere)))]
pub(crate) mod load;
pub(crate) mod text;

use crate::bind::writer::Writer;
use crate::bind::{Reason, SiteStatus};
use crate::key::state::Verdict;
use copy::{Copied, KeyOf};
use core::ffi::CStr;
use invar_abi::{Kind, Site};

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
    /// Calls `visit` with each module that carries sites or keys, in the loader's order. What it sees is a copy, of one
    /// moment: `visit` may do what it likes, and other threads may load and unload libraries meanwhile.
    ///
    /// A module of which the kernel gives no memory for a copy is left out.
    pub fn modules(&self, mut visit: impl FnMut(&ModuleReport<'_>)) {
        copy::each(|copied| visit(&of(copied)));
    }
}

/// One module: an executable or a shared library.
#[derive(Clone, Copy)]
pub struct ModuleReport<'a> {
    module: &'a Copied,
}

pub(crate) fn of(module: &Copied) -> ModuleReport<'_> {
    ModuleReport { module }
}

impl<'a> ModuleReport<'a> {
    /// The path it was loaded from; empty for the program itself.
    pub fn path(&self) -> &'a CStr {
        self.module.path()
    }

    fn path_bytes(&self) -> &'a [u8] {
        self.module.path_bytes()
    }

    /// What the loader added to the addresses in the file.
    pub fn base(&self) -> usize {
        self.module.head().base
    }

    /// Whether its constructor has run: before that nothing is decided or bound.
    pub fn is_loaded(&self) -> bool {
        self.module.head().loaded
    }

    /// Why sites stay in checked form, if they do.
    pub fn reason(&self) -> Option<Reason> {
        self.module.head().reason
    }

    /// Number of sites in its table.
    pub fn sites(&self) -> usize {
        self.module.sites().len()
    }

    /// Number of sites that are bound, each read back.
    pub fn bound(&self) -> usize {
        self.module.head().bound as usize
    }

    /// Time that binding took, in nanoseconds, verification and read-back included; 0 where there are no sites.
    pub fn nanoseconds(&self) -> u64 {
        self.module.head().nanoseconds
    }

    /// The writers that were used.
    pub fn writers(&self) -> impl Iterator<Item = Writer> + use<> {
        Writer::from_bits(self.module.head().writers)
    }

    /// The writers that were refused, for all of the text or for some, and why. Those that were not asked are none of them.
    pub fn refusals(&self) -> impl Iterator<Item = (Writer, Reason)> + use<> {
        let refusals = self.module.head().refusals;
        Writer::from_bits(!0).zip(refusals).filter_map(|(writer, number)| Some((writer, Reason::from_refusal(number)?)))
    }

    /// Its keys, each once: object files in C have a record each of the time slice key that they share, and an archive of the
    /// runtime has one more. Keys of one name that were decided differently, as of two versions of a package, are two.
    pub fn keys(&self) -> impl Iterator<Item = KeyReport<'a>> + use<'_, 'a> {
        let module = self.module;
        module.keys().filter(|key| key.first).map(move |key| KeyReport { module, key })
    }

    /// Number of records in its table of keys that lead to none: they are corrupt, and their sites stay in checked form.
    pub fn invalid_keys(&self) -> usize {
        self.module.head().invalid_keys
    }

    /// Its sites, in the order of the table.
    pub fn bindings(&self) -> impl Iterator<Item = Binding<'_>> {
        let module = self.module;
        module.sites().iter().enumerate().map(move |(index, stands)| {
            let found = stands.found.map(|(site, key)| (site, KeyReport { module, key: module.key(key) }));
            Binding { index, status: stands.status, live: stands.live, found }
        })
    }
}

/// One key of one module.
#[derive(Clone, Copy)]
pub struct KeyReport<'a> {
    module: &'a Copied,
    key: KeyOf<'a>,
}

impl<'a> KeyReport<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        core::str::from_utf8(self.name_bytes()).unwrap_or("?")
    }

    /// The name of its value; of a constant, that of its type, or `default` where nobody could decide.
    pub fn value(&self) -> &'a str {
        core::str::from_utf8(self.value_name(self.key.value)).unwrap_or("?")
    }

    /// Its number, if it is a constant that is decided.
    pub fn number(&self) -> Option<u64> {
        self.key.verdict.as_ref().filter(|_| self.key.is_number).map(|verdict| verdict.data)
    }

    /// Whether it can be set again.
    pub fn is_switch(&self) -> bool {
        self.key.is_switch
    }

    /// How it was decided; `None` if it is not yet.
    pub fn verdict(&self) -> Option<Verdict> {
        self.key.verdict
    }

    fn name_bytes(&self) -> &'a [u8] {
        self.module.name(self.key, 0)
    }

    fn value_name(&self, value: u8) -> &'a [u8] {
        self.module.name(self.key, value as usize + 1)
    }
}

/// What became of one site.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    index: usize,
    status: SiteStatus,
    live: bool,
    found: Option<(Site, KeyReport<'a>)>,
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
        self.found.map(|(_, key)| key)
    }
}

/// One word or two for what stands at a site.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Branch | Kind::Ordered => "branch",
        Kind::SliceEnter => "slice enter",
        Kind::SliceLeave => "slice leave",
        Kind::Pointer => "pointer",
        Kind::Constant => "constant",
        Kind::Select => "select",
    }
}

/// What stands between a key and a site's value, as reports have it; empty for a site that has none.
pub fn relation(kind: Kind) -> &'static str {
    match kind {
        Kind::Branch | Kind::Select | Kind::Pointer => " == ",
        Kind::Ordered => " >= ",
        Kind::SliceEnter | Kind::SliceLeave | Kind::Constant => "",
    }
}

#[cfg(test)]
#[allow(unsafe_code)] // in the macros
mod tests {
    use super::*;
    use invar_abi::Origin;
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

    #[test]
    fn a_site_has_its_key() {
        let _ = (crate::branch!(newer::SAME), crate::branch!(newer::KEY), crate::branch!(older::SAME));
        let states = [
            (&raw const newer::SAME as usize, "report.one"),
            (&raw const newer::KEY as usize, "report.two"),
            (&raw const older::SAME as usize, "report.one"),
        ];
        let mut found = 0;
        report().modules(|module| {
            for binding in module.bindings() {
                let state = binding.site().expect("a site").state as usize;
                for (_, name) in states.iter().filter(|(address, _)| *address == state) {
                    assert_eq!(binding.key().expect("its key").name(), *name);
                    found += 1;
                }
            }
        });
        assert_eq!(found, if invar_arch::PATCHES { 3 } else { 0 });
    }
}
