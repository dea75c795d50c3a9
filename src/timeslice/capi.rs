//! What libinvar (`capi/`) needs of the wing beside its Rust interface. Not part of that.
#![allow(unsafe_code)]

use super::probe;
use super::profile::watch;
use crate::Verdict;

/// The probe of the slice key.
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
