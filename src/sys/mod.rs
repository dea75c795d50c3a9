//! The kernel, as far as the runtime needs it: raw system calls, so that nothing that interposes on libc is run
//! from a constructor, and `errno` stays as it was.

#[cfg(feature = "timeslice")]
mod child;
mod file;
#[cfg(feature = "switch")]
mod fork;
mod memory;
mod print;
mod process;
mod raw;
mod signals;
#[cfg(feature = "switch")]
mod socket;
#[cfg(all(test, feature = "profile"))]
mod tests;
mod time;

#[cfg(feature = "timeslice")]
pub(crate) use child::{child, wait};
pub(crate) use file::File;
#[cfg(feature = "profile")]
pub(crate) use file::remove;
#[cfg(feature = "switch")]
pub(crate) use fork::{is_stranded, without_forks};
pub(crate) use memory::{
    Mapping, Scratch, can_be_read, is_locked, is_readable, is_writable, lock, map_file, page_size,
    populate_for_writing, protect, seal, unmap,
};
#[cfg(feature = "profile")]
pub(crate) use memory::{blank_after_fork, keep};
pub(crate) use print::complain;
#[cfg(feature = "report")]
pub(crate) use print::print;
pub(crate) use process::process_id;
#[cfg(feature = "timeslice")]
pub(crate) use process::{asleep, each_thread, number, open_of_thread};
pub(crate) use process::{auxiliary, exit, thread_id, threads};
#[cfg(feature = "profile")]
pub(crate) use process::{program_path, thread_time};
#[cfg(feature = "timeslice")]
pub(crate) use raw::call;
pub(crate) use raw::{Errno, Result};
pub(crate) use signals::Silence;
#[cfg(feature = "switch")]
pub(crate) use signals::is_on_signal_stack;
#[cfg(feature = "switch")]
pub(crate) use socket::{Listener, Peer};
#[cfg(feature = "timeslice")]
pub(crate) use time::{REST, sleep};
pub(crate) use time::{now, wait_until};
