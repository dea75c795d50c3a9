//! What `fuzz/` feeds: readers of what others have written, of which no part of the interface takes bytes. Not part of it.
#![allow(unsafe_code)]

use crate::bind::writer::{Wish, Writer};
use crate::bind::{self, Line, Resolver, SiteStatus};
use crate::module;
use crate::settings::{Mode, Settings};
use core::ffi::CStr;
use core::ops::Range;

/// What some variables say.
pub struct Taken<'a>(Settings<'a>);

impl<'a> Taken<'a> {
    /// What these variables say; `say` gets what is misspelt in them, in parts.
    pub fn new(variables: impl Iterator<Item = &'a CStr>, mut say: &mut dyn FnMut(&[&[u8]])) -> Self {
        Self(Settings::of_variables(variables, &mut say))
    }

    /// Looks at each entry of `INVAR_KEYS`, as [`new`](Self::new) does at the variables.
    pub fn check_keys(&self, mut say: &mut dyn FnMut(&[&[u8]])) {
        self.0.check_keys(&mut say);
    }

    /// What `INVAR_KEYS` chooses for a key of this name.
    pub fn key(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.0.key(name)
    }

    /// What `INVAR` says.
    pub fn mode(&self) -> &'static str {
        match self.0.mode {
            Mode::Off => "off",
            Mode::Auto => "auto",
            Mode::Require => "require",
        }
    }

    /// What `INVAR_WRITER` says.
    pub fn writer(&self) -> &'static str {
        match self.0.writer {
            Wish::Any => "auto",
            Wish::None => "off",
            Wish::Only(Writer::Swap) => "swap",
            Wish::Only(Writer::Memfd) => "memfd",
            Wish::Only(Writer::Mprotect) => "mprotect",
        }
    }

    /// What `INVAR_REPORT` says.
    pub fn report(&self) -> Option<&'a CStr> {
        self.0.report
    }

    /// What `INVAR_GUARD` says.
    pub fn guard(&self) -> bool {
        self.0.guard
    }

    /// What `INVAR_HELP` says.
    pub fn help(&self) -> bool {
        self.0.help
    }
}

/// Calls `visit` with each line of `/proc/self/maps`: range, protection, and whether it is shared.
pub fn maps(text: &[u8], visit: &mut dyn FnMut(Range<usize>, i32, bool)) {
    let mut line = Line::default();
    for &byte in text {
        if line.take(byte) {
            visit(line.start..line.end, line.protection, line.shared);
        }
    }
}

/// What the runtime sees of a module.
pub enum Seen<'a> {
    /// A key: the address of its state, its names, and the value that it was decided to.
    Key(usize, &'a [u8], Option<u8>),
    /// What stands at the next site of the table.
    Site(SiteStatus),
}

/// Calls `visit` with what the runtime sees of the module whose ELF header is at this address; `false` if there is none.
///
/// # Safety
///
/// Its segments must be mapped, as their flags say, and nobody may change them meanwhile.
pub unsafe fn module(elf_header: usize, visit: &mut dyn FnMut(Seen<'_>)) -> bool {
    let mut found = false;
    let look = |module: &module::Module<'_>| {
        found = true;
        for key in module.keys() {
            let state = core::ptr::from_ref(key.state) as usize;
            visit(Seen::Key(state, key.names(), key.state.decided().then(|| key.state.value())));
        }
        let mut resolver = Resolver::new(module);
        module.sites.iter().for_each(|record| visit(Seen::Site(bind::inspect(&mut resolver, record).0)));
    };
    // SAFETY: as the caller vouches.
    unsafe { module::in_memory(elf_header, look) };
    found
}
