//! The routine as a shared library, for programs in C: its symbols are those of a crate that this one depends on.

pub use copy::{mylib_copy, mylib_ran};
