//! Threads of any sort that meet at a lock, and then enter sections on a CPU that somebody else wants as well.

use crate::{Area, say};
use invar_lock::lock_api::RawMutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

/// How many threads meet.
pub const THREADS: u32 = 2;
/// How many sections each enters.
const SECTIONS: u32 = 4;

/// What the threads find out.
#[derive(Default)]
pub struct Contest {
    arrived: AtomicU32,
    enabled_before: AtomicU32,
    enabled_after: AtomicU32,
    granted: AtomicU32,
    left: AtomicU32,
}

impl Contest {
    /// Nobody has come yet.
    pub const fn new() -> Self {
        Self {
            arrived: AtomicU32::new(0),
            enabled_before: AtomicU32::new(0),
            enabled_after: AtomicU32::new(0),
            granted: AtomicU32::new(0),
            left: AtomicU32::new(0),
        }
    }

    /// Holds the lock until each of [`THREADS`] threads, which `start` starts, waits for it in [`take_part`](Self::take_part);
    /// says what came of them.
    pub fn hold<R: RawMutex>(&self, name: &str, lock: &R, start: impl FnOnce()) {
        let state = lock.lock();
        start();
        wait_for(&self.arrived);
        // On the one CPU they go on until they sleep, or give way.
        sleep(Duration::from_millis(10));
        // SAFETY: locked above, with this state.
        unsafe { lock.unlock(state) };
        wait_for(&self.left);
        let [before, after, granted] =
            [&self.enabled_before, &self.enabled_after, &self.granted].map(|count| count.load(SeqCst));
        say(name, format_args!("enabled before {before}, after {after}, granted {granted}"));
    }

    /// In a thread of any sort, libc's or not: no thread-local is used, and nothing that could panic.
    pub fn take_part<R: RawMutex>(&self, lock: &R) {
        let area = Area::of_this_thread();
        count(&self.enabled_before, area.enabled());
        count(&self.arrived, true);
        let state = lock.lock();
        // SAFETY: locked above, with this state.
        unsafe { lock.unlock(state) };
        count(&self.enabled_after, area.enabled());
        let mut granted = false;
        // Who is not enrolled would wait in vain, and for long.
        for _ in 0..if area.enabled() { SECTIONS } else { 0 } {
            granted |= area.enter_granted().is_some();
        }
        count(&self.granted, granted);
        count(&self.left, true);
    }
}

fn count(counter: &AtomicU32, one: bool) {
    counter.fetch_add(one.into(), SeqCst);
}

fn wait_for(counter: &AtomicU32) {
    while counter.load(SeqCst) < THREADS {
        sleep(Duration::from_millis(1));
    }
}

/// Name of the function that a library made of this crate exports.
pub const POOL: &std::ffi::CStr = c"guest_contest_of_a_pool";

/// The contest with threads of the library's own, at a lock of its own, with its own copy of the runtime.
#[unsafe(no_mangle)]
extern "C" fn guest_contest_of_a_pool() {
    static LOCK: invar_lock::RawMutex = invar_lock::RawMutex::INIT;
    static CONTEST: Contest = Contest::new();
    CONTEST.hold("pool of a library", &LOCK, || {
        for _ in 0..THREADS {
            std::thread::spawn(|| CONTEST.take_part(&LOCK));
        }
    });
    invar::report().modules(|module| {
        let slice = module.keys().find(|key| key.name() == "slice").and_then(|key| key.verdict());
        if let Some(verdict) = slice.filter(|verdict| verdict.origin() == invar::Origin::Adopted) {
            let bound = if module.bound() == module.sites() { "all" } else { "not all" };
            say("the library's verdict", format_args!("{}, {bound} sites bound", verdict.value()));
        }
    });
}

/// Name of another one.
pub const GUARD: &std::ffi::CStr = c"guest_guard_of_a_library";

/// The guard, by the library's own copy of the runtime.
#[unsafe(no_mangle)]
extern "C" fn guest_guard_of_a_library() {
    say("guard of a library", format_args!("{:?}", invar::timeslice::guard()));
}
