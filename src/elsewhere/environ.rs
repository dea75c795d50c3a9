//! There are no resolvers, and no environment is read.

/// The file cannot be read.
pub(super) fn each_byte(_: &[u8], _: impl FnMut(u8) -> bool) -> bool {
    false
}

/// Nobody can tell.
pub(super) fn is_secure() -> bool {
    true
}
