//! The site ABI as code, for everybody who binds sites or looks at them, in the order of `docs/site-abi.md`: the note that leads
//! to a module's header, the header, the segments that things may be in, the records, the state of a key, the outcome, the forms of
//! sites, and the judge of what stands at one.
//!
//! Safe and pure: nothing here reads memory that it is not given, and every host can look at modules of every machine. A structure
//! that is used where it stands, in the process itself, is in that process's byte order; `decode` takes the bytes of a file or of
//! another process, which are little-endian.
#![no_std]
#![forbid(unsafe_code)]

pub mod aarch64;
mod distance;
pub mod forms;
pub mod header;
pub mod judge;
pub mod jump;
pub mod machine;
pub mod note;
pub mod outcome;
pub mod record;
pub mod riscv64;
pub mod segments;
mod site;
pub mod state;
pub mod x86_64;

pub use distance::Distance;
pub use header::Header;
pub use note::VERSION;
pub use record::{KeyFault, KeyRecord, SiteRecord, flags};
pub use segments::Segmented;
pub use site::{Code, Kind, NearBranch, ORDERED, Site};
pub use state::Origin;
