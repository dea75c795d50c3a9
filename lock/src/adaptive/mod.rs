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
//! - A thread that has looked a hundred times in vain takes it that the holder was preempted, and makes the lock hot when it
//!   gets it.
//! - Each time that a hot lock is locked it cools by a degree, and is cold after 65,536 times if nobody waits again. No
//!   clock is read.
//!
//! It stays hot for so long because slices hide the reason for them: as long as they are granted nobody waits, and a lock that
//! became cold at once would lose them again. A CPU is given to another thread every few milliseconds, in which a lock may be
//! taken thousands of times, and the lock has to stay hot for several of these times. `cargo bench -p invar-guest --bench benefit` compares
//! adaptive locks with those that always ask; to try another number, change `HEAT` in `src/system.rs`.
#![allow(unsafe_code)]

mod protocol;

use crate::system::AtomicU32;
use lock_api::GuardNoSend;
use protocol::{mutex, spin};

/// The raw lock of a [`Mutex`]: four bytes.
#[derive(Debug)]
pub struct RawMutex(AtomicU32);

/// The raw lock of a [`SpinLock`]: four bytes.
#[derive(Debug)]
pub struct RawSpinLock(AtomicU32);

/// A lock whose waiters spin for a moment, then sleep until it is released.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// The guard that [`Mutex::lock`](lock_api::Mutex::lock) returns: it releases the lock when dropped, and stays in its thread.
///
/// ```compile_fail,E0277
/// static LOCK: invar_lock::adaptive::Mutex<u64> = invar_lock::adaptive::Mutex::new(0);
/// let guard = LOCK.lock();
/// std::thread::spawn(move || drop(guard));
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A lock whose waiters never sleep: they spin, and give up the CPU now and then.
pub type SpinLock<T> = lock_api::Mutex<RawSpinLock, T>;

/// The guard of a [`SpinLock`]: it releases the lock when dropped, and stays in its thread.
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
        // SAFETY: the thread that set LOCKED owns the lock, and only its `unlock` clears it; acquire and release. The guard has no
        // state, and keeps the critical section that the word tells of in its thread.
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
