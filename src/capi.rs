//! What libinvar (`capi/`) needs beside the Rust interface. Not part of it.
#![allow(unsafe_code)]

use crate::key::decide;
use crate::key::state::State;
use crate::key::state::Verdict;
use crate::load;
use crate::module;
use crate::rebind::rebind_by;
use crate::report::text::{print, print_others};
use crate::report::{copy, of};
use crate::serve::serve_by;
use crate::switch::{NotSet, Set, Setting};
use crate::sys::{self, File};
use crate::text::Buffered;
use core::ffi::CStr;

/// Decides and binds for the module whose header this is; `false` if it is none.
pub fn load(header: usize) -> bool {
    load::load_other(header)
}

/// Decides the key whose state this is, if its module, which has this header, is being loaded; `false` if it is not decided.
///
/// # Safety
///
/// It must be the state of a key.
pub unsafe fn decide(state: *const Verdict, header: usize) -> bool {
    // SAFETY: a state, as the caller vouches: its layout is that of a verdict.
    let state = unsafe { &*state.cast::<State>() };
    decide::demand_in(header, state);
    state.decided()
}

/// The verdict on the first key of this name that is decided, in the loader's order.
pub fn verdict(name: &[u8]) -> Option<Verdict> {
    let mut found = None;
    module::each(|module| {
        if found.is_none() {
            found = module.keys().filter(|key| key.name() == name).find_map(|key| key.state.verdict());
        }
    });
    found
}

/// As many switches can be set at once.
pub const MOST_SETTINGS: usize = crate::bind::MOST;

/// A switch and a value, by names that need not be UTF-8.
pub fn setting<'a>(name: &'a [u8], value: &'a [u8]) -> Setting<'a> {
    Setting::by_names(name, value)
}

/// Asks the probes of the module with this header again.
///
/// # Errors
///
/// As of [`rebind`](crate::rebind()).
///
/// # Safety
///
/// The module must stay loaded meanwhile.
pub unsafe fn rebind(header: usize, mut differs: impl FnMut(&CStr, &CStr, &CStr)) -> Result<Set, NotSet> {
    // SAFETY: as the caller vouches.
    let module = unsafe { module::at(header) }.map_err(|_| NotSet::Unknown)?;
    rebind_by(&module, &mut differs)
}

/// Lets others set switches that `allow` allows.
pub fn serve(mut allow: impl FnMut(&CStr, &CStr) -> bool) -> Result<core::convert::Infallible, i32> {
    serve_by(&mut allow)
}

/// Writes the report to a descriptor, which stays open; `false` if not all of it was taken.
pub fn report(descriptor: i32) -> bool {
    let Some(file) = File::duplicate(descriptor) else { return false };
    let mut taken = true;
    let mut write = |text: &[u8]| taken = taken && sys::print(Some(&file), text);
    let mut out = Buffered::new(&mut write);
    copy::each(|copied| print(&of(copied), &mut out));
    print_others(&mut out);
    out.flush();
    taken
}
