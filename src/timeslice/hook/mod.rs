//! The hook on thread creation: threads that the C library starts for this process are enrolled before their own code
//! runs.
//!
//! [`start`] has a thread created that enrols first. What stands in front of the C library's functions is thin: `symbols`, in an
//! executable with the Cargo feature `hook`; and `capi/src/hook.c`, libinvar-hook, which comes here by way of libinvar.

mod atomic;
mod spare;
pub(super) mod start;
#[cfg(feature = "hook")]
pub(super) mod symbols;
