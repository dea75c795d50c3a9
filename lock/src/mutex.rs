//! The lock whose waiters sleep.
#![allow(unsafe_code)]

use crate::protocol::mutex;
use crate::system::{AtomicU32, Section};

/// The raw lock of a [`Mutex`](crate::Mutex): four bytes.
#[derive(Debug)]
pub struct RawMutex(AtomicU32);

// SAFETY: the thread that moved the word from FREE owns the lock, and only its `unlock` makes it FREE again; acquire and release.
// The guard's state is the critical section, which unlocks nothing.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)] // as the trait wants it
    const INIT: Self = Self(AtomicU32::new(mutex::FREE));
    type Guard = Section;

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(&self) -> Section {
        mutex::lock(&self.0)
    }

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_lock(&self) -> Option<Section> {
        mutex::try_lock(&self.0)
    }

    #[inline]
    unsafe fn unlock(&self, section: Section) {
        mutex::unlock(&self.0, section);
    }

    #[inline]
    fn is_locked(&self) -> bool {
        mutex::is_locked(&self.0)
    }
}
