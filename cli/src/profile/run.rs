//! What was run to be counted.

use std::ffi::OsString;

/// A command that ran to its end.
pub struct Run {
    /// With its arguments.
    pub command: Vec<OsString>,
    /// How it ended.
    pub code: u8,
}
