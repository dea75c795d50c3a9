//! `careless CASE` uses sections as one should not; says at the end that nobody minded.

use invar_lock::{Mutex, SpinLock};

static OUTER: Mutex<()> = Mutex::new(());
static INNER: SpinLock<()> = SpinLock::new(());

fn main() {
    match &*std::env::args().nth(1).expect("a case") {
        "careful" => {
            for _ in 0..2 {
                drop(invar::timeslice::enter());
                drop(OUTER.lock());
                drop(INNER.try_lock());
            }
        }
        "nested" => {
            let _outer = invar::timeslice::enter();
            let _inner = invar::timeslice::enter(); // nested
        }
        "forgotten" => {
            std::mem::forget(invar::timeslice::enter());
            drop(invar::timeslice::enter()); // forgotten
        }
        "locks" => {
            let _outer = OUTER.lock();
            let _inner = INNER.lock(); // locks
        }
        "other thread" => {
            struct Moved(invar::timeslice::CriticalSection);
            // SAFETY: not so, which is what this is about.
            unsafe impl Send for Moved {}
            let moved = Moved(invar::timeslice::enter()); // other thread
            let ended = std::thread::spawn(move || {
                let whole = moved;
                drop(whole.0);
            });
            if ended.join().is_err() {
                std::process::exit(101);
            }
        }
        _ => panic!("no such case"),
    }
    println!("nobody minded; a section has {} bytes", size_of::<invar::timeslice::CriticalSection>());
}
