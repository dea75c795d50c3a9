//! Nothing is bound here: the types by which reports and results say so.

#[cfg(feature = "switch")]
#[path = "../bind/changes.rs"]
mod changes;
#[path = "../bind/status.rs"]
mod status;
#[path = "../bind/writer.rs"]
pub(crate) mod writer;

#[cfg(feature = "switch")]
use crate::module::Module;
#[cfg(feature = "switch")]
pub(crate) use changes::{Change, Changes, MOST, Unchanged};
pub use status::{Reason, SiteStatus};

/// A site that is bound would be counted by the tables that are not read here.
const _: () = assert!(!invar_arch::PATCHES, "sites are emitted for a binder, and there is none");

/// Here they lead to their fallbacks.
pub fn declare_pointers() {}

/// What became of the sites of some switches: there are none.
#[cfg(feature = "switch")]
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) bound: u32,
    pub(crate) checked: u32,
}

/// There are no sites.
///
/// # Safety
///
/// None: nothing happens.
#[cfg(feature = "switch")]
#[allow(unsafe_code)] // as where there are some
pub(crate) unsafe fn change(_: &Module<'_>, _: &Changes<'_>, _: bool) -> Result<Counted, Unchanged> {
    Ok(Counted::default())
}
