//! Adaptive locks that nobody waits for. The story has the others; with these it would be too large for `tests/writers.rs`.

use invar_lock::adaptive::{Mutex, SpinLock};

static SPIN_LOCK: SpinLock<u64> = SpinLock::new(0);
static MUTEX: Mutex<u64> = Mutex::new(0);

#[inline(never)]
fn spin_locked() {
    *SPIN_LOCK.lock() += 1;
}

#[inline(never)]
fn mutex_locked() {
    *MUTEX.lock() += 1;
}

fn main() {
    for _ in 0..14 {
        spin_locked();
        mutex_locked();
    }
    witness::result("under adaptive locks", *SPIN_LOCK.lock() + *MUTEX.lock());
    witness::code("spin locked", spin_locked);
    witness::code("mutex locked", mutex_locked);
    witness::tell();
}
