//! Where no site can be bound there is nothing to compare.

use crate::harness::Samples;
use std::time::Duration;

/// No variants.
pub fn names() -> Vec<&'static str> {
    Vec::new()
}

/// Nothing was measured, so nothing is in doubt.
pub fn caveat() -> Option<&'static str> {
    None
}

/// Measures nothing.
pub fn measure(_budget: Duration) -> Samples {
    Samples::default()
}
