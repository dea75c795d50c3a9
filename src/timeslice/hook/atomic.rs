//! The atomic pointer of the list; the model of `tests/spare.rs` has one of its own in this place.

pub(super) use core::sync::atomic::AtomicPtr;
