//! What `invar` saves and what it costs, measured alternately in one run.
//!
//! [`alternate`] is the harness, [`Table`] the comparison that the `invar` command shows; `cargo bench` runs the
//! longer ones, each of which prints its figures beside the targets they are to meet.

mod harness;
mod table;

// The same condition as that of `invar-arch`: where sites can be bound.
#[cfg_attr(
    all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)),
    path = "x86_64.rs"
)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable))),
    path = "portable.rs"
)]
#[doc(hidden)]
pub mod machine;

pub use harness::{Batch, Samples, Spread, Target, alternate, is_bench, per_operation};
pub use table::Table;
