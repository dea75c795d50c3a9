//! The lock whose waiters spin.
#![allow(unsafe_code)]

use crate::protocol::spin;
use crate::system::{AtomicU8, Section};

/// The raw lock of a [`SpinLock`](crate::SpinLock): one byte.
#[derive(Debug)]
pub struct RawSpinLock(AtomicU8);

// SAFETY: the thread that moved the byte from FREE owns the lock, and only its `unlock` makes it FREE again; acquire and release.
// The guard's state is the critical section, which unlocks nothing.
unsafe impl lock_api::RawMutex for RawSpinLock {
    #[allow(clippy::declare_interior_mutable_const)] // as the trait wants it
    const INIT: Self = Self(AtomicU8::new(spin::FREE));
    type Guard = Section;

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(&self) -> Section {
        spin::lock(&self.0)
    }

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_lock(&self) -> Option<Section> {
        spin::try_lock(&self.0)
    }

    #[inline]
    unsafe fn unlock(&self, section: Section) {
        spin::unlock(&self.0, section);
    }

    #[inline]
    fn is_locked(&self) -> bool {
        spin::is_locked(&self.0)
    }
}
