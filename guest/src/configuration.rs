//! What our kernel has.

/// What it has, over `allnoconfig`.
pub(crate) const CONFIGURATION: &str = include_str!("../config.fragment");

/// Names the configuration: a hash (FNV-1a, 64 bits).
pub fn configuration() -> String {
    let hash = CONFIGURATION
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}
