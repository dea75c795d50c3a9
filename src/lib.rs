//! Decide once, at load; afterwards the code no longer asks.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod bind;
pub mod cpu;
mod dispatch;
mod key;
mod module;
mod report;
mod rseq;
mod runtime;
mod settings;
mod site;
pub mod slice;
mod sys;
mod text;
mod write;

pub use bind::{Fault, Reason, SiteStatus};
pub use invar_arch::{Kind, Site};
pub use key::{Key, Origin, Value, Verdict};
pub use report::{Binding, KeyReport, ModuleReport, Report, kind_name, report};
pub use settings::{EXIT_REQUIRED, SETTINGS};
pub use text::{Evidence, Text};
pub use write::Writer;

/// What the macros expand to. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::key::expansion::*;
    pub use invar_arch::{__site, feature_mask};
}
