//! x86-64 on Linux.

#[path = "../area.rs"]
mod area;
mod cold;
mod exchange;
#[path = "../ifunc.rs"]
mod ifunc;
mod observe;
mod site;
#[cfg(all(test, target_env = "gnu"))]
mod stepping;
mod symbol;
mod system;
mod thread;
mod tls;

pub use area::{
    RSEQ_SIGNATURE, SYS_RSEQ, area, holds_area, is_glibc, libc_area, own_area_offset, take_back, thread_pointer,
};
pub use exchange::{EXCHANGE_LENGTH, exchange, exchange_by, exchange_code};
pub use ifunc::IFUNC;
pub use invar_abi::x86_64::{bound, checked, constant, near_branch};
pub use observe::observe;
pub use site::{stands_under_breakpoint, store_under_breakpoint};
pub use system::{PRCTL, synchronise, syscall, syscall_for_resolvers, ticks};
pub use thread::start;

/// This folder's name.
pub const NAME: &str = "x86_64";

/// Sites can be bound.
pub const PATCHES: bool = true;

/// An instruction holds any number.
pub const HOLDS_NUMBERS: bool = true;

/// Critical sections ask for time.
pub const REQUESTS: bool = true;

/// What a kernel needs that is compiled without the extension.
pub const KERNEL_NEEDS: &str = "needs CONFIG_RSEQ_SLICE_EXTENSION=y";
