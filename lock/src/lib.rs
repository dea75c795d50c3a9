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
//! | any other mutex | if there is a CPU for every thread that wants it, or what is done under it takes longer than an extension |
//!
//! What one thread pays, `cargo bench -p invar-bench -- lock` says: on the CPUs that we have measured, asking always costs
//! nothing that could be told from chance.
//!
//! # What they do
//!
//! - **Uncontended**: one atomic instruction to lock and one to unlock, as always. Whether the thread is enrolled in the
//!   extension, or anything else, is not asked; no system call is made.
//! - **Contended**: the thread gives the CPU to whoever holds the lock if its own time was extended, enrols itself in the
//!   extension ([`invar::slice::enrol_contended`]), and waits outside any section. It asks again before every attempt.
//! - A **panic** releases the lock; there is no poisoning.
//!
//! # When they gain
//!
//! Only where more threads want the lock than there are CPUs for them, and only if what is done under it takes less than
//! the extension: 5 microseconds, unless the administrator chose another time. Make no system call under the lock: it
//! ends the extension. Where one lock is taken under another, the inner one's release ends the request of both. All of
//! that costs the benefit, and nothing else.
//!
//! Whatever is done under a lock, [`invar::slice`](invar::slice#inside-a-section) says what becomes of its section. Waiting for
//! a lock under another one is safe anywhere: a section ends before each system call that these locks make. On kernels with
//! `rseq_debug`, which are for finding mistakes, a system call of the program's own under two locks may kill.
//!
//! The Cargo feature `assert` makes a lock panic that is taken under another one, in builds with debug assertions; the message
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

/// What [`Mutex::lock`](lock_api::Mutex::lock) returns: releases the lock when dropped. It stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::Mutex<u64> = invar_lock::Mutex::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A lock whose waiters never sleep: they spin, and give up the CPU now and then. For what takes less than a microsecond or
/// two; its release is an ordinary store.
pub type SpinLock<T> = lock_api::Mutex<RawSpinLock, T>;

/// What locking a [`SpinLock`] returns: releases the lock when dropped. It stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::SpinLock<u64> = invar_lock::SpinLock::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;
