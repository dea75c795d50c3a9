//! Probes that wait for threads which ask for keys.

use invar::Evidence;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
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

/// How many threads have come to ask for `SLOW`.
static ASKING: AtomicU32 = AtomicU32::new(0);

invar::key! {
    static SLOW: bool = |_| {
        while ASKING.load(SeqCst) < 2 {
            thread::yield_now();
        }
        // For the other to ask, too. It may come later.
        thread::sleep(std::time::Duration::from_millis(20));
        Ok(true)
    };
}
invar::key! {
    static SAME: bool = |evidence| {
        let ask = || {
            ASKING.fetch_add(1, SeqCst);
            SLOW.get()
        };
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(ask);
            (ask(), other.join().unwrap())
        });
        evidence.text(if one { "on" } else { "off" }).text(if other { ", on" } else { ", off" });
        Ok(one && other)
    };
}

fn in_a_thread(ask: fn() -> bool) -> bool {
    thread::spawn(ask).join().unwrap()
}

fn main() {
    witness::chose("round", invar::branch!(ROUND), &ROUND);
    witness::chose("about", invar::branch!(ABOUT), &ABOUT);
    witness::chose("itself", invar::branch!(ITSELF), &ITSELF);
    witness::chose("same", invar::branch!(SAME), &SAME);
    witness::tell();
}
