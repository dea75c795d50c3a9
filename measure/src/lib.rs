//! What `invar` saves and what it costs, measured alternately in one run.
//!
//! [`alternate`] is the harness, [`Table`] a comparison, [`ways`] what the `invar` command shows; `cargo bench` runs the
//! longer ones, each of which prints its figures beside the targets they are to meet.

#[cfg(bound_sites)]
#[doc(hidden)]
pub mod choice;
#[cfg(bound_sites)]
#[doc(hidden)]
pub mod cold;
mod harness;
mod table;
mod target;
mod ways;

#[cfg_attr(bound_sites, path = "x86_64.rs")]
#[cfg_attr(not(bound_sites), path = "portable.rs")]
#[doc(hidden)]
pub mod machine;

pub use harness::{Batch, Random, Samples, Spread, alternate, calibrate, per_operation};
#[doc(hidden)]
pub use table::floor;
pub use table::{Part, Table};
pub use target::Targets;
pub use ways::{BOUND, Cost, Way, ways};
