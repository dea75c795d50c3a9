//! A library crate with a key and sites of its own, as a program would have among its dependencies.

invar::key! {
    /// Decided in a crate that is not the program.
    #[name = "dependency.ready"]
    pub static READY: bool = |_| Ok(true);
}

/// Instantiated in the program, with a site in each instance.
#[inline(never)]
pub fn step<T: Copy + Into<u64>>(value: T) -> u64 {
    if invar::branch!(READY) { value.into() + 1 } else { (value.into() * 2 + 2) / 2 }
}

/// Compiled here.
#[inline(never)]
pub fn announce() {
    witness::chose("in a dependency", invar::branch!(READY), &READY);
}
