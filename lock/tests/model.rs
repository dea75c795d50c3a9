//! Every interleaving of a few threads, with two preemptions in each, keeps the locks' promises, in a model of
//! the memory and of the futex call: the protocols' own source, over loom's atomics.
#![forbid(unsafe_code)]
#![allow(dead_code, unreachable_pub)] // a part of the crate is compiled here

#[path = "../src/protocol.rs"]
mod protocol;

/// The model's side of `src/system.rs`.
mod system {
    pub use loom::sync::atomic::{AtomicU8, AtomicU32};
    use loom::sync::{Condvar, Mutex};
    use std::cell::Cell;
    use std::sync::atomic::Ordering::SeqCst;

    pub const SPINS: u32 = 1;

    loom::thread_local! {
        /// Whether the thread's request is set.
        static REQUEST: Cell<bool> = Cell::new(false);
    }

    pub fn requested() -> bool {
        REQUEST.with(Cell::get)
    }

    pub struct Section(());

    /// Never on top of another one.
    pub fn enter() -> Section {
        assert!(!REQUEST.with(|request| request.replace(true)), "a section in a section");
        Section(())
    }

    impl Drop for Section {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                assert!(REQUEST.with(|request| request.replace(false)), "no section was open");
            }
        }
    }

    fn system_call() {
        assert!(!requested(), "a system call in a section");
    }

    pub fn enrol() {
        system_call();
    }

    /// Loom decides who runs.
    pub fn relax() {}

    pub fn yield_cpu() {
        system_call();
        loom::thread::yield_now();
    }

    loom::lazy_static! {
        /// Under which the kernel compares and queues; and its queue of sleepers.
        static ref COMPARE: Mutex<()> = Mutex::new(());
        static ref SLEEPERS: Condvar = Condvar::new();
    }

    pub fn wait(word: &AtomicU32, expected: u32) {
        system_call();
        let compare = COMPARE.lock().unwrap();
        if word.load(SeqCst) == expected {
            drop(SLEEPERS.wait(compare));
        }
    }

    pub fn wake(_: &AtomicU32) {
        system_call();
        let _compare = COMPARE.lock().unwrap();
        SLEEPERS.notify_one();
    }
}

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use system::Section;

/// Threads that each lock so often, or try to, and count: all is counted, and nobody waits for ever, which loom would report.
fn model<W: Send + Sync + 'static>(
    threads: u32,
    times: u32,
    new: fn() -> W,
    lock: fn(&W) -> Option<Section>,
    unlock: fn(&W, Section),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let shared = Arc::new((new(), AtomicU32::new(0)));
        let work = move |(word, count): &(W, AtomicU32)| {
            let mut counted = 0;
            for _ in 0..times {
                if let Some(section) = lock(word) {
                    assert!(system::requested(), "the holder does not ask");
                    // One is lost unless the lock keeps others out, and shows what they did.
                    count.store(count.load(Relaxed) + 1, Relaxed);
                    counted += 1;
                    unlock(word, section);
                }
                assert!(!system::requested(), "a request is left set");
            }
            counted
        };
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || work(&shared))
            })
            .collect();
        let counted = work(&shared) + others.into_iter().map(|other| other.join().unwrap()).sum::<u32>();
        assert_eq!(shared.1.load(Relaxed), counted);
    });
}

/// In one run; more of them take minutes, and few faults need more.
const PREEMPTIONS: usize = 2;

fn mutex(threads: u32, times: u32) {
    use protocol::mutex::{FREE, lock, unlock};
    model(threads, times, || AtomicU32::new(FREE), |word| Some(lock(word)), unlock);
}

#[test]
fn mutex_two_threads() {
    mutex(2, 2);
}

#[test]
fn mutex_three_threads() {
    mutex(3, 1);
}

/// Its waiters may look for ever, which has no end in a model: here they try.
#[test]
fn spin_lock_three_threads() {
    use protocol::spin::{FREE, try_lock, unlock};
    model(3, 2, || system::AtomicU8::new(FREE), try_lock, unlock);
}

#[test]
fn a_failed_attempt_leaves_no_request() {
    loom::model(|| {
        let word = AtomicU32::new(protocol::mutex::FREE);
        let section = protocol::mutex::try_lock(&word).expect("it is free");
        assert!(protocol::mutex::is_locked(&word) && system::requested());
        protocol::mutex::unlock(&word, section);
        let other = protocol::mutex::lock(&word);
        drop(other); // as if another thread held it
        assert!(protocol::mutex::try_lock(&word).is_none() && !system::requested());
    });
}
