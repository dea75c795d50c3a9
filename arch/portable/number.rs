//! A constant without sites.

/// Loads the number of a constant's static, in an `unsafe` block.
#[doc(hidden)]
#[macro_export]
macro_rules! __number {
    ($state:path, $behind:literal, $wide:expr) => {
        (*(&raw const $state).byte_add($behind).cast::<$crate::AtomicU64>())
            .load(::core::sync::atomic::Ordering::Relaxed)
    };
}
