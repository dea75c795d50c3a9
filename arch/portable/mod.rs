//! Every machine that has no folder of its own: checked forms only. Other machines take from here what they do not have.
//!
//! A site is a load and a compare, leaves no record and is never written to.

mod exchange;
mod number;
mod select;
mod site;
mod slice;
mod symbol;
#[cfg_attr(not(target_os = "linux"), path = "nowhere.rs")]
mod system;

pub use exchange::{EXCHANGE_LENGTH, exchange, exchange_by, exchange_code};
pub use site::{bound, checked, constant, near_branch, stands_under_breakpoint, store_under_breakpoint, synchronise};
pub use slice::{
    PRCTL, REQUESTS, RSEQ_SIGNATURE, SYS_RSEQ, area, holds_area, is_glibc, libc_area, observe, own_area_offset, start,
    take_back, thread_pointer, ticks,
};
pub use symbol::IFUNC;
pub use system::{syscall, syscall_for_resolvers};

/// This folder's name.
pub const NAME: &str = "portable";

/// No site can be bound.
pub const PATCHES: bool = false;

/// There is no site that would have to.
pub const HOLDS_NUMBERS: bool = true;

/// What a kernel needs that is compiled without the extension.
pub const KERNEL_NEEDS: &str = "needs CONFIG_RSEQ_SLICE_EXTENSION=y, if this architecture has it";
