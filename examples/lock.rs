//! A spin lock whose holder asks the kernel for the time to finish, where the kernel has that; elsewhere a spin lock.

use invar_lock::SpinLock;

static TOTAL: SpinLock<u64> = SpinLock::new(0);

fn main() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    *TOTAL.lock() += 1;
                }
            });
        }
    });
    println!("{}", *TOTAL.lock());
    // Why, or why not, stands in the evidence.
    if let Some(verdict) = invar::timeslice::SLICE.verdict() {
        eprintln!("time slice extensions: {}", verdict.evidence());
    }
}
