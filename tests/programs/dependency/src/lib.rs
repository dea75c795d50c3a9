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

/// Nobody calls this: with it goes the table, where the linker knows that the record of the site belongs to it.
#[inline(never)]
pub fn idle(at: usize) -> u8 {
    if invar::branch!(READY) { IDLE[at % IDLE.len()] } else { 0 }
}

static IDLE: [u8; 64 << 10] = {
    let mut table = [0; 64 << 10];
    table.split_at_mut(IDLE_MARK.len()).0.copy_from_slice(IDLE_MARK);
    table
};

const IDLE_MARK: &[u8] = b"needed by a function that nobody calls";
