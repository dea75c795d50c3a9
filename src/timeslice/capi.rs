//! What libinvar (`capi/`) needs of the wing beside its Rust interface. Not part of that.
#![allow(unsafe_code)]

use super::hook::start;
use super::probe;
use super::profile::{load, watch};
use crate::key::state::Verdict;
use core::ffi::{c_int, c_void};
use core::ops::Range;
use invar_arch::Call;

/// The probe of the time slice key.
pub fn probe_slice(verdict: &mut Verdict) {
    probe::probe(verdict);
}

/// In the place of a request at the site that called.
pub fn count_request(site: usize) {
    watch::entered(site);
}

/// In the place of its withdrawal.
pub fn count_withdrawal(site: usize) {
    watch::left(site);
}

/// Makes a module known to who reads the counts: its range of addresses and its path.
pub fn count_module(range: Range<usize>, path: &[u8]) {
    load::add_module(range, path);
}

/// Creates a thread that makes a call, of a function with its argument: 0 if it does. The first word is for the creator itself.
pub type Creator = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> c_int;

/// Has `create` create a thread that makes this call, and is enrolled before.
///
/// # Safety
///
/// `create` must be what its type says; this first word and this call must be right for it.
pub unsafe fn create_thread(
    create: Creator,
    with: *mut c_void,
    function: *const c_void,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: as the caller vouches.
    start::create(Call { function, argument }, |call| unsafe { create(with, call.function, call.argument) })
}
