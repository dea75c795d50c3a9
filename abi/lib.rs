//! The site ABI as code: what `docs/site-abi.md` says, in the same order, for everybody who binds sites or looks at them.
//!
//! Safe and pure: nothing here reads memory that it is not given, and every host can look at modules of every machine.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod site;
pub mod x86_64;

pub use site::{Code, Kind, Site};

/// The note's owner, with the NUL that its size counts.
pub const OWNER: &[u8; 6] = b"invar\0";

/// The note's type: the version of the ABI.
pub const VERSION: u32 = 2;
