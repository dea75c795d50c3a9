//! Locks that ask only while they are hot: for those that hardly anybody ever waits for.
//!
//! ```
//! static NAMES: invar_lock::adaptive::Mutex<Vec<String>> = invar_lock::adaptive::Mutex::new(Vec::new());
//! NAMES.lock().push("one".into());
//! ```
//!
//! - **Cold**, as they begin, they are ordinary locks: one atomic instruction to lock, one (or a store) to unlock. There is no
//!   site on that way, not even a nop, and the thread's area is not touched.
//! - **Hot**, they ask before every attempt, as the locks of the crate's root always do. For that they make one or two
//!   atomic instructions more.
//! - Who waits for longer than most sections take, a microsecond or two, finds that the holder may have been preempted, and
//!   makes the lock hot when it gets it.
//! - Each time that a hot lock is locked it cools by a degree, and is cold after 65,536 of them if nobody waits again. No
//!   clock is read.
//!
//! So long, because slices hide what they are for: as long as they are granted nobody waits, and a lock that became cold
//! at once would lose them again. A CPU is given to another thread every few milliseconds, in which a lock is taken some
//! thousand times; it has to stay hot for several of those times. With 16 threads on one CPU, four seconds each:
//!
//! ```text
//!                               SpinLock                    Mutex
//! stays hot for      operations a ms    grants   operations a ms    grants
//! never asks                     659         0               735         0
//! 1                              649         0               745         0
//! 2^6                            634         0               736         0
//! 2^8                            659         0               723         0
//! 2^10                           716      2528               722      3358
//! 2^12                           724      2910               736      4469
//! 2^14                           735      3330               738      4490
//! 2^16                           740      4083               741      4454
//! 2^18                           743      4310               742      4537
//! 2^20                           743      4423               743      4559
//! always asks                    777      4278               773      4348
//! ```
//!
//! In that guest an instruction takes four nanoseconds, and what is done under the lock eight hundred: the twenty that a
//! hot lock takes more are most of what is missing to the last row. To cool down from a needless alarm costs some ten
//! nanoseconds 65,536 times, less than a millisecond: what somebody lost who had to wait for a preempted holder once.
#![allow(unsafe_code)]

mod protocol;

use crate::system::AtomicU32;
use lock_api::GuardNoSend;
use protocol::{mutex, spin};

/// What is behind [`Mutex`]: four bytes.
#[derive(Debug)]
pub struct RawMutex(AtomicU32);

/// What is behind [`SpinLock`]: four bytes.
#[derive(Debug)]
pub struct RawSpinLock(AtomicU32);

/// A lock whose waiters spin for a moment, then sleep until it is released.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// What [`Mutex::lock`](lock_api::Mutex::lock) returns: releases the lock when dropped. It stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::adaptive::Mutex<u64> = invar_lock::adaptive::Mutex::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A lock whose waiters never sleep: they spin, and give up the CPU now and then.
pub type SpinLock<T> = lock_api::Mutex<RawSpinLock, T>;

/// What locking a [`SpinLock`] returns: releases the lock when dropped. It stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::adaptive::SpinLock<u64> = invar_lock::adaptive::SpinLock::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;

/// Both types differ only in how they wait.
macro_rules! raw_lock {
    ($raw:ident, $protocol:ident) => {
        // SAFETY: whoever set LOCKED owns the lock, and only its `unlock` clears it; acquire and release. The guard has no
        // state, and keeps the section that the word tells of in its thread.
        unsafe impl lock_api::RawMutex for $raw {
            #[allow(clippy::declare_interior_mutable_const)] // as the trait wants it
            const INIT: Self = Self(AtomicU32::new(protocol::FREE));
            type Guard = GuardNoSend;

            #[inline]
            fn lock(&self) -> GuardNoSend {
                $protocol::lock(&self.0);
                GuardNoSend::new()
            }

            #[inline]
            fn try_lock(&self) -> Option<GuardNoSend> {
                protocol::try_lock(&self.0).then(GuardNoSend::new)
            }

            #[inline]
            unsafe fn unlock(&self, _: GuardNoSend) {
                $protocol::unlock(&self.0);
            }

            #[inline]
            fn is_locked(&self) -> bool {
                protocol::is_locked(&self.0)
            }
        }
    };
}
raw_lock!(RawMutex, mutex);
raw_lock!(RawSpinLock, spin);
