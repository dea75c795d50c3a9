//! A critical section: the request with which it begins, and the end of that.
#![allow(unsafe_code)]
// The cold block of a site is in an unsafe block of its own on some architectures, and inherits one on others.
#![allow(unused_unsafe)]

use super::assertion;
use super::key::SLICE;
use core::sync::atomic::AtomicUsize;
#[cfg(feature = "profile")]
use core::sync::atomic::Ordering::Relaxed;
use invar_arch as arch;

/// A critical section, which requests that its time slice be extended; ends when dropped.
///
/// Belongs to its thread, whose request byte it set. Without the feature `assert` it has no size: a lock can hand it from
/// the function that locks to the one that unlocks. One that is forgotten leaves the request set until [`leave`] is
/// called, or the thread is preempted or ends another section.
///
/// It is not `Send`, and neither is a future that holds one over `.await`:
///
/// ```compile_fail,E0277
/// async fn wait() {
///     let _slice = invar::timeslice::enter();
///     std::future::pending::<()>().await;
/// }
/// fn spawn(_: impl Future + Send) {}
/// spawn(wait());
/// ```
#[must_use = "the section ends when this is dropped"]
pub struct CriticalSection {
    begun: assertion::Begun,
    /// Stays in its thread.
    _thread: core::marker::PhantomData<*mut ()>,
}

/// Begins a critical section, which should not be preempted.
///
/// Keep it short: an extension lasts a few microseconds, then the thread is preempted all the same. Inside it make
/// no system call (any of them ends a grant), and do not nest sections: the inner one's end ends the outer one's
/// request too. Both cost the benefit only; the [module](crate::timeslice#inside-a-critical-section) has every case.
///
/// # Panics
///
/// Never, unless the program's author asks for it by the feature `assert`, and then only in builds with debug assertions:
/// where a section begins inside another one.
///
/// Bound, this is one instruction: a store of one byte to a constant offset from the thread pointer, or a nop. On a machine that
/// cannot store a number it has one more, which loads it.
///
/// ```
/// # use std::sync::atomic::{AtomicBool, Ordering};
/// # static LOCKED: AtomicBool = AtomicBool::new(false);
/// {
///     let _slice = invar::timeslice::enter();
///     while LOCKED.swap(true, Ordering::Acquire) { std::hint::spin_loop() }
///     // ... a few hundred instructions ...
///     LOCKED.store(false, Ordering::Release);
/// }
/// ```
#[inline(always)]
#[cfg_attr(all(feature = "assert", debug_assertions), track_caller)]
pub fn enter() -> CriticalSection {
    let begun = assertion::Begun::here();
    // SAFETY: SLICE begins with its state byte, and its record names it. Where the key is on, the area that its state
    // says is every thread's own, and the function behind the site preserves every register.
    unsafe { arch::__site!(slice_enter, SLICE, 0, { unsafe { arch::__call_cold!(request_out_of_line) } }) };
    CriticalSection { begun, _thread: core::marker::PhantomData }
}

impl Drop for CriticalSection {
    #[inline(always)]
    fn drop(&mut self) {
        self.begun.end();
        leave();
    }
}

/// Ends the calling thread's critical section where its [`CriticalSection`] was forgotten, as by a lock that requests only at
/// times, and whose word says whether it did.
///
/// Bound, these are two instructions, or three, or nops. Without a section it does nothing, only slowly.
///
/// ```
/// std::mem::forget(invar::timeslice::enter());
/// // ...
/// invar::timeslice::leave();
/// ```
#[inline(always)]
pub fn leave() {
    assertion::left();
    // SAFETY: as in `enter`.
    unsafe { arch::__site!(slice_leave, SLICE, 0, { unsafe { arch::__call_cold!(withdraw_out_of_line) } }) };
}

// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for CriticalSection {}

/// The addresses of functions in the place of the two below, where somebody watches; else 0.
static OBSERVED_REQUEST: AtomicUsize = AtomicUsize::new(0);
static OBSERVED_WITHDRAWAL: AtomicUsize = AtomicUsize::new(0);

/// From now on all that reaches the cold path of a site goes to these functions, which [`arch::observe`] made.
#[cfg(feature = "profile")]
pub(super) fn observe([request, withdrawal]: [extern "C" fn(); 2]) {
    OBSERVED_REQUEST.store(request as *const () as usize, Relaxed);
    OBSERVED_WITHDRAWAL.store(withdrawal as *const () as usize, Relaxed);
}

arch::__slice_paths!(
    SLICE, [OBSERVED_REQUEST, OBSERVED_WITHDRAWAL],
    pub(crate) request_out_of_line, withdraw_out_of_line
);
