//! Probes that wait for threads which ask for keys.

use invar::Evidence;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;

// Which of the two is begun first is the linker's choice, so each may be the one that the other's thread asks for.
invar::key! { static ROUND: bool = |evidence| Ok(saw("about", in_a_thread(|| ABOUT.get()), evidence)); }
invar::key! { static ABOUT: bool = |evidence| Ok(saw("round", in_a_thread(|| ROUND.get()), evidence)); }
invar::key! { static ITSELF: bool = |evidence| Ok(saw("itself", in_a_thread(|| ITSELF.get()), evidence)); }

/// Says what a probe saw of a key. `true`, whatever that is.
fn saw(name: &str, value: bool, evidence: &mut Evidence) -> bool {
    let value = if value { "on" } else { "off" };
    println!("result\tsaw {name}\t{value}");
    evidence.text("saw ").text(value);
    true
}

/// How many threads have come to ask for the slow one of two.
static ASKING: AtomicU32 = AtomicU32::new(0);
static BEGUN: AtomicBool = AtomicBool::new(false);

// The one that is begun first has two threads ask for the other, which is slow.
invar::key! { static ONE: bool = |evidence| Ok(by_two(|| TWO.get(), evidence)); }
invar::key! { static TWO: bool = |evidence| Ok(by_two(|| ONE.get(), evidence)); }

fn by_two(other: fn() -> bool, evidence: &mut Evidence) -> bool {
    if BEGUN.swap(true, SeqCst) {
        while ASKING.load(SeqCst) < 2 {
            thread::yield_now();
        }
        // For the other to ask, too. It may come later.
        thread::sleep(std::time::Duration::from_millis(20));
        return true;
    }
    let ask = || {
        ASKING.fetch_add(1, SeqCst);
        other()
    };
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(ask);
        (ask(), other.join().unwrap())
    });
    evidence.text(if one { "on" } else { "off" }).text(if other { ", on" } else { ", off" });
    one && other
}

fn in_a_thread(ask: fn() -> bool) -> bool {
    thread::spawn(ask).join().unwrap()
}

fn main() {
    witness::chose("round", invar::branch!(ROUND), &ROUND);
    witness::chose("about", invar::branch!(ABOUT), &ABOUT);
    witness::chose("itself", invar::branch!(ITSELF), &ITSELF);
    witness::chose("one", invar::branch!(ONE), &ONE);
    witness::chose("two", invar::branch!(TWO), &TWO);
    witness::tell();
}
