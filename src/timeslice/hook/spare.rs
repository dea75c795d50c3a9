//! A list of what can be used again: any thread takes from it and gives back, and none waits for another.
//!
//! `tests/spare.rs` compiles it in a model of the memory.
#![allow(unsafe_code)]

use super::atomic::AtomicPtr;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What a list holds.
pub(super) trait Linked {
    /// What comes behind this one.
    ///
    /// # Safety
    ///
    /// The caller must own it.
    unsafe fn next(this: *mut Self) -> *mut Self;

    /// Has this come behind it, or nothing if that is null.
    ///
    /// # Safety
    ///
    /// The caller must own it.
    unsafe fn set_next(this: *mut Self, next: *mut Self);
}

/// The first of the list.
pub(super) struct Spare<T>(pub(super) AtomicPtr<T>);

impl<T: Linked> Spare<T> {
    /// One that the caller then owns; null if there is none.
    pub(super) fn take(&self) -> *mut T {
        // All of them, so that no two threads can take the same.
        let first = self.0.swap(null_mut(), Acquire);
        if !first.is_null() {
            // SAFETY: what is in the list is nobody's; who took it owns it.
            unsafe {
                let rest = T::next(first);
                if !rest.is_null() {
                    self.give_back(rest);
                }
            }
        }
        first
    }

    /// Puts it into the list, and all that come behind it.
    ///
    /// # Safety
    ///
    /// The caller must own them.
    pub(super) unsafe fn give_back(&self, first: *mut T) {
        if self.0.compare_exchange(null_mut(), first, Release, Relaxed).is_ok() {
            return;
        }
        let mut last = first;
        // SAFETY: the caller's; and `last` stays so until the exchange succeeds.
        unsafe {
            while !T::next(last).is_null() {
                last = T::next(last);
            }
            let mut head = self.0.load(Relaxed);
            loop {
                T::set_next(last, head);
                match self.0.compare_exchange(head, first, Release, Relaxed) {
                    Ok(_) => return,
                    Err(now) => head = now,
                }
            }
        }
    }
}
