//! x86-64 on Linux.

mod area;
mod exchange;
mod observe;
mod site;
#[cfg(all(test, target_env = "gnu"))]
mod stepping;
mod symbol;
mod system;
mod thread;

#[doc(hidden)]
pub use area::{OBSERVED_REQUEST, OBSERVED_WITHDRAWAL};
pub use area::{
    RSEQ_SIGNATURE, SYS_RSEQ, area, holds_area, is_glibc, libc_area, own_area_offset, take_back, thread_pointer,
};
pub use exchange::{EXCHANGE_LENGTH, exchange, exchange_by, exchange_code};
pub use invar_abi::x86_64::{bound, checked, constant, near_branch};
pub use observe::{Observer, observe};
pub use site::{print, stands, stands_under_breakpoint, store};
pub use symbol::IFUNC;
pub use system::{PRCTL, synchronise, syscall, syscall_for_resolvers, ticks};
pub use thread::start;

/// This folder's name.
pub const NAME: &str = "x86_64";

/// Sites can be bound.
pub const PATCHES: bool = true;
