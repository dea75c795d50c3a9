//! The site ABI as code, for everybody who binds sites or looks at them: the version, and the forms of sites
//! (`docs/site-abi.md`).
//!
//! Safe and pure: nothing here reads memory, and every host can look at sites of every machine.
#![no_std]
#![forbid(unsafe_code)]

mod site;
pub mod x86_64;

pub use site::{Code, Kind, NearBranch, Site};

/// The note's owner, with the NUL that its size counts.
pub const OWNER: &[u8; 6] = b"invar\0";

/// The note's type: the version of the ABI.
pub const VERSION: u32 = 2;
