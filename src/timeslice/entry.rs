//! Where the core enters the wing: at these five places and at no other (`tests/rooms.rs`). [`memory_for`] is asked
//! with [`Requests`].

use super::area;
use super::key::SLICE;
use crate::module::{Module, ModuleKey};
use crate::text::Evidence;

/// The time slice key of this copy of the runtime, if it is the module's: the one to be decided first.
pub(crate) fn own_key<'a>(own: &Module<'a>) -> Option<ModuleKey<'a>> {
    own.key_at((&raw const SLICE) as usize)
}

/// Whose requests [`memory_for`] is asked about.
pub(crate) enum Requests {
    /// Those of the time slice key, where a setting forces it.
    Forced,
    /// The same, where another module has decided it, with this data.
    Adopted(u64),
    /// The same, where it is about to be sealed as on, with this data.
    Sealed(u64),
    /// Those of another key that has slice sites.
    OfAnother,
}

/// Where these requests go, as a verdict's data says it; `None` where there is no memory for them that is safe to write.
#[inline(always)] // each caller asks for one of them
pub(crate) fn memory_for(requests: Requests) -> Option<u64> {
    match requests {
        Requests::Forced => area::spare_memory(),
        Requests::Adopted(data) => area::is_believable(data).then_some(data),
        Requests::Sealed(data) => area::is_area(data).then_some(data),
        Requests::OfAnother => area::memory(),
    }
}

/// Behind the decision of the time slice key, and before that of others which slice sites may depend on: finds where their requests
/// go if the time slice key is off. The module that is loaded, where it is known, may be the one that this code is in.
pub(crate) fn load(loaded: Option<&Module<'_>>) {
    area::find_spare_memory(loaded);
}

/// Guards the process for the time slice key, of which this is the evidence, where a setting asks for it.
pub(crate) fn guard_at_load(evidence: &mut Evidence) {
    #[cfg(feature = "timeslice")]
    super::guard::at_load(evidence);
    #[cfg(not(feature = "timeslice"))]
    let _ = evidence;
}

/// What a module's slice sites are bound to, once its keys are sealed: where the request byte of each thread lies, from its
/// thread pointer. `None` where there is none, and where critical sections are counted, which begins here: then the sites stay in
/// checked form.
#[cfg_attr(not(feature = "profile"), expect(unused_variables))]
pub(crate) fn request_offset(own: &Module<'_>) -> Option<i32> {
    #[cfg(feature = "profile")]
    if super::profile::load::load(own) {
        return None;
    }
    area::request_offset()
}
