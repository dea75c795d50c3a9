//! Why a command ends early.

use crate::text::{clean, lossy};
use std::fmt;
use std::path::Path;

/// Why a command ends early.
#[derive(Debug)]
pub enum Error {
    /// This input cannot be used: what it is, and what is wrong with it.
    Input(String, String),
    /// This command cannot be run.
    Command(String, std::io::Error),
    /// The output cannot be written.
    Output(std::io::Error),
}

/// A command's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// This input cannot be used.
    pub fn input(subject: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Input(subject.to_string(), why.to_string())
    }

    /// This file cannot be used.
    pub fn file(path: &Path, why: impl fmt::Display) -> Self {
        let name = clean(&lossy(path.as_os_str().as_encoded_bytes()));
        Self::input(if name.is_empty() { "\"\"" } else { &name }, why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(subject, why) => write!(f, "{subject}: {why}"),
            Self::Command(name, error) => write!(f, "cannot run {name}: {error}"),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}
