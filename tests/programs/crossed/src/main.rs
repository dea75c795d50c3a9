//! Probes that wait for threads which ask for keys; with an argument, while a timer sends signals.

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
        // For the other to ask, too. It may come later. The signals are for those who wait.
        alarms(libc::SIG_BLOCK);
        thread::sleep(std::time::Duration::from_millis(100));
        alarms(libc::SIG_UNBLOCK);
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

fn alarms(how: i32) {
    // SAFETY: a set of signals is numbers, and those that the calling thread lets wait are its own.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::pthread_sigmask(how, &set, std::ptr::null_mut());
    }
}

/// Before all constructors: with an argument, a signal each 200 microseconds of the clock, to whichever thread.
#[used]
#[unsafe(link_section = ".init_array.00050")]
static TIMER: extern "C" fn(i32) = {
    extern "C" fn nothing(_: i32) {}
    extern "C" fn begin(arguments: i32) {
        let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        if arguments > 1 {
            // SAFETY: a handler that does nothing, and a timer.
            unsafe {
                libc::signal(libc::SIGALRM, nothing as extern "C" fn(i32) as libc::sighandler_t);
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
            }
        }
    }
    begin
};

fn in_a_thread(ask: fn() -> bool) -> bool {
    thread::spawn(ask).join().unwrap()
}

fn main() {
    let none = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let off = libc::itimerval { it_interval: none, it_value: none };
    // SAFETY: ends what was begun above.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &off, std::ptr::null_mut()) };
    witness::chose("round", invar::branch!(ROUND), &ROUND);
    witness::chose("about", invar::branch!(ABOUT), &ABOUT);
    witness::chose("itself", invar::branch!(ITSELF), &ITSELF);
    witness::chose("one", invar::branch!(ONE), &ONE);
    witness::chose("two", invar::branch!(TWO), &TWO);
    witness::tell();
}
