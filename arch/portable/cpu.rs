//! Machines whose CPU features nobody has written down yet: none is known.

/// Nobody says so.
pub const FEATURE_SOURCE: &str = "";

/// No feature is known.
pub const FEATURES: &str = "";

/// No feature is known.
pub fn cpu_features() -> u64 {
    0
}

/// No feature is known.
pub fn cpu_features_for_resolvers(_arguments: Option<&[usize; 2]>) -> u64 {
    0
}

/// No level is known.
pub const fn level(_name: &[u8]) -> Option<u64> {
    None
}

/// No feature is known.
pub(crate) const fn closed(_bit: u32) -> u64 {
    0
}
