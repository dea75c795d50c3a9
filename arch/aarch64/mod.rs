//! AArch64 on Linux.

mod exchange;
#[path = "../ifunc.rs"]
mod ifunc;
#[path = "../jump.rs"]
mod jump;
mod site;
#[path = "../portable/slice.rs"]
mod slice;
mod symbol;
mod system;

pub use exchange::{EXCHANGE_LENGTH, exchange, exchange_by, exchange_code};
pub use ifunc::IFUNC;
pub use jump::{HOLDS_NUMBERS, bound, checked, constant, near_branch, stands_under_breakpoint, store_under_breakpoint};
pub use slice::{
    PRCTL, REQUESTS, RSEQ_SIGNATURE, SYS_RSEQ, area, holds_area, is_glibc, libc_area, observe, own_area_offset, start,
    take_back, thread_pointer, ticks,
};
pub use system::{synchronise, syscall, syscall_for_resolvers};

/// This folder's name.
pub const NAME: &str = "aarch64";

/// Sites can be bound.
pub const PATCHES: bool = true;

/// What a kernel needs that is compiled without the extension: `GENERIC_ENTRY`, first of all (Linux 7.3, init/Kconfig).
pub const KERNEL_NEEDS: &str = "this kernel's architecture has none yet (Linux 7.3)";
