//! A program in which a thread that a probe has started decides a key, and is still at it when the program has been loaded.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

// The one whose turn comes first, which is the linker's choice, has a thread ask for the other.
invar::key! { static ONE: bool = |_| probe(|| TWO.get()); }
invar::key! { static TWO: bool = |_| probe(|| ONE.get()); }

static BEGUN: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);
static LOADED: AtomicBool = AtomicBool::new(false);
static ASKING: Mutex<Option<JoinHandle<bool>>> = Mutex::new(None);

fn probe(other: fn() -> bool) -> Result<bool, &'static str> {
    if !BEGUN.swap(true, SeqCst) {
        *ASKING.lock().unwrap() = Some(thread::spawn(other));
        wait_for(&ASKED);
    } else {
        ASKED.store(true, SeqCst);
        wait_for(&LOADED);
    }
    Ok(true)
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(SeqCst) {
        thread::yield_now();
    }
}

/// What the keys are, by either way to ask.
fn values() -> String {
    format!("{} {}, {} {}", ONE.get(), TWO.get(), invar::branch!(ONE), invar::branch!(TWO))
}

fn main() {
    witness::result("at first", values());
    LOADED.store(true, SeqCst);
    let said = ASKING.lock().unwrap().take().expect("a thread").join().expect("its end");
    witness::result("to the thread", said);
    witness::result("at last", values());
    witness::chose("one", invar::branch!(ONE), &ONE);
    witness::chose("two", invar::branch!(TWO), &TWO);
    witness::tell();
}
