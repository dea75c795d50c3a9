//! No setting is heeded: there is no environment that could be read without a C library.

#[path = "../settings/reader.rs"]
pub(crate) mod reader;

/// Exit code of a process that `INVAR=require` ends, which nothing does here.
pub const EXIT_REQUIRED: i32 = 78;

/// The settings table: name, values, meaning. It is empty here.
pub const SETTINGS: &[(&str, &str, &str)] = &[];
