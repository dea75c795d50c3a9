//! Modules: the linked objects of this process that carry sites, each known by its header (`docs/site-abi.md`).
//!
//! Others find a module by its note, through the program headers that the loader keeps: that needs no exported symbol, works for
//! an `RTLD_LOCAL` library too, and ends with the library. Where a tool has moved the note, the header is found by its magic.
//!
//! A module finds itself without the note, by the header that its own code knows: tools remove notes as well, and a loader may
//! not list a module that it has loaded.

#[cfg(test)]
pub(crate) mod image;
mod keys;
#[cfg(feature = "switch")]
mod loader;
mod lock;
mod note;
mod outcome;
mod segments;
mod tables;
mod walk;

pub(crate) use keys::{ModuleKey, name};
pub(crate) use lock::{exclusively, exclusively_among};
pub(crate) use note::{note, own_header};
pub(crate) use outcome::{Outcome, outcome};
pub(crate) use segments::TextSegment;
pub(crate) use tables::Module;
#[cfg(feature = "fuzz")]
pub(crate) use walk::in_memory;
#[cfg(feature = "switch")]
pub(crate) use walk::loader_rests;
#[cfg(any(feature = "timeslice", feature = "switch", test))]
pub(crate) use walk::own;
pub(crate) use walk::{Added, Alone, among_others, at, each, each_among, each_other, find, is_static_program, one_is};
