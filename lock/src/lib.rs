//! Locks whose holders ask the kernel for the time to finish.
//!
//! A thread that is preempted while it holds a lock keeps all others waiting, for milliseconds. On a kernel with the rseq
//! time slice extension these locks ask for a few microseconds more: one instruction before the attempt to lock, two after
//! the release, bound in place by [`invar`] when the program is loaded. Where the extension is absent they are nops, and the
//! locks are ordinary ones.
//!
//! ```
//! static TOTAL: invar_lock::SpinLock<u64> = invar_lock::SpinLock::new(0);
//! static NAMES: invar_lock::Mutex<Vec<String>> = invar_lock::Mutex::new(Vec::new());
//!
//! *TOTAL.lock() += 1;
//! NAMES.lock().push("one".into());
//! ```
//!
//! All of them are types of [`lock_api`], which has guards for parts of the data, and more. The raw locks fit its other types
//! too.
//!
//! # Which one
//!
//! | | |
//! |---|---|
//! | [`Mutex`] | waiters sleep: take this one unless you know better |
//! | [`SpinLock`] | waiters never sleep: for what takes less than a microsecond or two |
//! | [`adaptive::Mutex`], [`adaptive::SpinLock`] | the same, asking only once somebody had to wait: for locks that are hardly ever waited for, where even a store beside the atomic instruction is too much |
//! | any other mutex | if there is a CPU for every thread that wants it, or if it is held for longer than an extension lasts |
//!
//! What one thread pays, `cargo bench -p invar-bench -- lock` says.
//!
//! # What they do
//!
//! - **Uncontended**: one atomic instruction to lock and one to unlock, as always. The lock does not ask whether the thread
//!   is enrolled in the extension, or anything else, and makes no system call.
//! - **Contended**: a thread whose own time was extended gives the CPU to the thread that holds the lock. It enrols itself in
//!   the extension ([`invar::timeslice::enrol_contended`]), and waits outside any critical section. It asks again before every
//!   attempt.
//! - A **panic** releases the lock; there is no poisoning.
//!
//! # When they gain
//!
//! They gain only where more threads want the lock than there are CPUs for them, and only if the lock is held for less than
//! the extension: 5 microseconds, unless the administrator chose another time. Make no system call under the lock: it
//! ends the extension. Where one lock is taken under another, the inner one's release ends the request of both. All of
//! that costs the benefit, and nothing else.
//!
//! [`invar::timeslice`](invar::timeslice#inside-a-critical-section) lists what may be done in a critical section, as under a
//! lock, and the effect of it.
//! Waiting for a lock under another one is safe on every kernel: a critical section ends before each system call that these
//! locks make. On kernels with `rseq_debug`, which are for finding mistakes, a system call of the program's own under two locks may kill.
//!
//! With the Cargo feature `assert`, in builds with debug assertions, a lock panics that is taken under another one. The message
//! names the caller.
#![no_std]
#![deny(unsafe_code)]

pub mod adaptive;
mod mutex;
mod protocol;
mod spin;
mod system;

pub use lock_api;
pub use mutex::RawMutex;
pub use spin::RawSpinLock;

/// A lock whose waiters spin for a moment, then sleep until it is released.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// The guard that [`Mutex::lock`](lock_api::Mutex::lock) returns: it releases the lock when dropped, and stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::Mutex<u64> = invar_lock::Mutex::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A lock whose waiters never sleep: they spin, and give up the CPU now and then. It is for work of less than a microsecond or
/// two. Its release is an ordinary store.
pub type SpinLock<T> = lock_api::Mutex<RawSpinLock, T>;

/// The guard of a [`SpinLock`]: it releases the lock when dropped, and stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::SpinLock<u64> = invar_lock::SpinLock::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;

/// Its example is tried, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
