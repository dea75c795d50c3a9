//! What libinvar (`capi/`) needs beside the Rust interface. Not part of it.
#![allow(unsafe_code)]

use crate::key::decide;
use crate::key::state::State;
use crate::key::state::Verdict;
use crate::load;
use crate::module;
use crate::report::text::{print, print_others};
use crate::report::{copy, of};
use crate::serve::serve_by;
use crate::switch::Setting;
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

/// A switch and a value, by names that need not be UTF-8.
pub fn setting<'a>(name: &'a [u8], value: &'a [u8]) -> Setting<'a> {
    Setting::by_names(name, value)
}

/// Lets others set switches that `allow` allows.
pub fn serve(mut allow: impl FnMut(&CStr, &CStr) -> bool) -> Result<core::convert::Infallible, i32> {
    serve_by(&mut allow)
}

/// Writes the report to a descriptor, which stays open; `false` if not all of it was taken.
pub fn report(descriptor: i32) -> bool {
    let Some(file) = File::duplicate(descriptor) else { return false };
    let mut taken = true;
    let mut out = Buffered::new(|text: &[u8]| taken = taken && sys::print(Some(&file), text));
    copy::each(|copied| print(&of(copied), &mut out));
    print_others(&mut out);
    out.flush();
    taken
}
