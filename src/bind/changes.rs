//! Which switches of a module are to have other values, and why they have not.

use super::status::Reason;
use crate::key::state::State;
use invar_abi::{Origin, SiteRecord};

/// A switch of a module, and the value that its sites are to have.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) state: &'a State,
    pub(crate) value: u8,
    /// How many values it has.
    pub(crate) values: u8,
    /// Who wants it.
    pub(crate) origin: Origin,
}

/// As many switches of one module can be set at once.
pub(crate) const MOST: usize = 64;

/// The switches of a module that are to have other values.
#[derive(Clone, Copy)]
pub(crate) struct Changes<'a>([Option<Change<'a>>; MOST]);

impl Default for Changes<'_> {
    fn default() -> Self {
        Self([None; MOST])
    }
}

impl<'a> Changes<'a> {
    /// `false` if they are too many.
    pub(crate) fn push(&mut self, change: Change<'a>) -> bool {
        let free = self.0.iter_mut().find(|change| change.is_none());
        free.map(|free| *free = Some(change)).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Change<'a>> {
        self.0.iter().map_while(Option::as_ref)
    }

    /// The same switches with the values that they have.
    pub(crate) fn back(&self) -> Self {
        Self(self.0.map(|change| change.map(|change| Change { value: change.state.value(), ..change })))
    }
}

impl Change<'_> {
    pub(super) fn is_of(&self, record: &SiteRecord) -> bool {
        core::ptr::from_ref(self.state) as usize == record.state.here()
    }
}

/// Why the sites of switches were left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unchanged {
    pub(crate) reason: Reason,
    /// How many are bound to another value than they are to have.
    pub(crate) stale: u32,
    /// The site whose code somebody has changed, if that is why.
    pub(crate) foreign: Option<usize>,
}
