//! Time slice requests: tell the kernel that a critical section is short, so that it lets the thread finish it.
//!
//! On a kernel with the rseq time slice extension, a thread that is about to be preempted between
//! [`enter`] and the drop of the [`CriticalSection`] may be let run for a few microseconds more (5 by default, 5 to 50 by
//! the administrator's choice). It then owes the CPU, and yields it when the critical section ends.
//!
//! Where the extension is absent, both are nops. There is nothing to check and nothing to choose at run time.
//!
//! # Threads
//!
//! The kernel looks at the requests of threads that are enrolled: the one that loads the runtime, and those that
//! [`enrol`], as locks of `invar-lock` do where they wait. An executable with the Cargo feature `hook` has other threads
//! enrolled too, before their own code runs: all that libc starts by the names `pthread_create` and `thrd_create`, for the
//! program and for its shared libraries, those of `std::thread` among them. That costs one system call in each thread,
//! `prctl`, and a second one, `rseq`, where the program registers its own areas; where the time slice key is off it costs none.
//! `errno`, attributes, the smallest stack, backtraces, `pthread_exit` and cancellation are as without the hook.
//!
//! The hook defines these functions, and its definitions stand before libc's. So:
//!
//! - Threads that libc starts by itself (`SIGEV_THREAD`, `aio_read`, `getaddrinfo_a`) and those of `clone` do not pass
//!   through; nor does, in a static program with musl, `thrd_create`. They enrol as without the hook. So do threads that
//!   are started before the runtime is loaded.
//! - Only one definition can be linked into an executable: that of a sanitizer, for example, is another.
//! - The linker must export them, which GNU ld, gold, lld and mold do unless told otherwise
//!   (`--exclude-libs`, for example). `hook_is_in_front()`, which is there with the feature, says whether libraries
//!   find them.
//! - It is the executable that asks for the feature. In a library the definitions count only where it is linked before
//!   libc, and it must not be unloaded.
//!
//! # What it did
//!
//! `INVAR_SLICE=count` has requests, grants, yields and losses counted by thread ([`counts`], [`each_thread_counts`]).
//! `INVAR_SLICE=profile` has them counted by site as well, with the reasons of losses and a histogram of the critical
//! sections' lengths, in a file that `invar profile` shows (`docs/profile.md`). Where the extension is absent, add
//! `INVAR_KEYS=slice=force`: then the histogram can be had.
//!
//! The counting form is the checked form, whose cold path then leads to the code that counts. It makes each critical section longer,
//! and takes more stack. Before a section at a site that has lost one, it asks for the thread's CPU time. It needs a clock
//! that every program may read, and where the CPU has `xsave`, that. Where it is not chosen, sites are bound as if it did not exist.
//!
#![doc = include_str!("../../docs/sections.md")]
//
// # How the wing is built
//
// The core (`src/` without this folder) enters here at five places, all of them in `entry`:
//
// - `own_key`: which key is to be decided first;
// - `memory_for`: where requests go, by what a setting or another module says;
// - `load`: where they go if the time slice key is off;
// - `guard_at_load`: the guard, where a setting asks for it;
// - `request_offset`: what a module's slice sites are bound to, or that they are counted.
//
// The files in the order in which they build on each other:
//
// - `answers`: what calls answer with. `key`: the time slice key. `area`: where requests go. `rseq`: the kernel's numbers and calls.
//   `register`: a thread's own rseq area.
// - `trial`: which calls a seccomp filter leaves. `probe`: decides the key. `enrol`, `audit`, `guard`: the calls of these names.
// - `assertion`, `section`: critical sections. `profile`: counts them. `hook`: enrols threads as they are created.
// - `entry`, and `capi` for libinvar.

#[cfg(feature = "timeslice")]
mod answers;
#[cfg(feature = "timeslice")]
mod assertion;
#[cfg(feature = "timeslice")]
mod audit;
#[cfg(feature = "timeslice")]
mod enrol;
#[cfg(feature = "timeslice")]
mod guard;
#[cfg(feature = "timeslice")]
mod probe;
#[cfg(feature = "timeslice")]
mod register;
#[cfg(feature = "timeslice")]
mod rseq;
#[cfg(feature = "timeslice")]
mod section;
#[cfg(feature = "timeslice")]
mod trial;

#[cfg(feature = "capi")]
#[doc(hidden)]
#[path = "capi.rs"]
pub mod __capi;
#[cfg(any(feature = "hook", feature = "capi"))]
mod hook;
#[cfg(feature = "profile")]
mod profile;

pub(crate) mod area; // for unit tests of the core
mod entry;
mod key;

#[cfg(feature = "profile")]
pub use answers::Counts;
#[cfg(feature = "timeslice")]
pub use answers::{Area, NotEnrolled, NotGuarded, Thread};
#[cfg(feature = "timeslice")]
pub use area::__area;
#[cfg(feature = "timeslice")]
pub use audit::audit;
#[cfg(feature = "timeslice")]
pub use enrol::{enrol, enrol_contended};
pub(crate) use entry::{Requests, guard_at_load, load, memory_for, own_key, request_offset};
#[cfg(feature = "timeslice")]
pub use guard::{__guard_anyway, guard};
#[cfg(feature = "hook")]
pub use hook::symbols::hook_is_in_front;
pub use key::SLICE;
#[cfg(feature = "profile")]
pub use profile::counting::{COUNTING, Counting};
#[cfg(feature = "profile")]
pub use profile::counts::{counts, each_thread_counts};
#[cfg(feature = "timeslice")]
pub use section::{CriticalSection, enter, leave};
