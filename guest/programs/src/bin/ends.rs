//! Threads that end and that nobody waits for: their handles are dropped, before or after they enrolled. Whoever unmaps a
//! thread's memory in that thread must have the kernel forget its area before.
//!
//! One line a fact: its name, a tab, its value.
#![allow(unsafe_code)]

use invar::timeslice::{self, NotEnrolled};
use invar_guest_programs::{Area, end_by_signals, say};
use invar_lock::Mutex;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const THREADS: u32 = 300;
/// How many may be on their way.
const AT_ONCE: u32 = 20;

/// How many threads began enrolled, enrolled by hand, and ended.
static BEFORE: AtomicU32 = AtomicU32::new(0);
static ENROLLED: AtomicU32 = AtomicU32::new(0);
static ENDED: AtomicU32 = AtomicU32::new(0);
/// In destructors: how many had their area given back, or still have it.
static ENDING: AtomicU32 = AtomicU32::new(0);
static STILL: AtomicU32 = AtomicU32::new(0);

fn main() {
    end_by_signals();
    thread::spawn(disturb);
    run("handle dropped", || drop(thread::spawn(work)));
    run("handle dropped later", || {
        let thread = thread::spawn(work);
        thread::yield_now();
        drop(thread);
    });
    run("handle dropped by itself", || {
        let both: &'static (Mutex<Option<JoinHandle<()>>>, Barrier) =
            Box::leak(Box::new((Mutex::new(None), Barrier::new(2))));
        let thread = thread::spawn(|| {
            work();
            both.1.wait();
            drop(both.0.lock().take());
        });
        *both.0.lock() = Some(thread);
        both.1.wait();
    });
    run("joined", || thread::spawn(work).join().expect("the thread"));
}

fn run(name: &str, start: impl Fn()) {
    let all = [&BEFORE, &ENROLLED, &ENDED, &ENDING, &STILL];
    all.iter().for_each(|count| count.store(0, SeqCst));
    for made in 0..THREADS {
        start();
        while ENDED.load(SeqCst) + AT_ONCE < made {
            thread::yield_now();
        }
    }
    while ENDED.load(SeqCst) < THREADS {
        thread::yield_now();
    }
    // The last of them have some instructions left.
    thread::sleep(Duration::from_millis(10));
    let [before, enrolled, _, ending, still] = all.map(|count| count.load(SeqCst));
    say(name, format_args!("{before} before, {enrolled} enrolled, {ending} given back, {still} not"));
}

/// Wants the CPU often, before everybody else: a thread that is about to end loses it at each of its last instructions.
fn disturb() {
    // SAFETY: plain old data, for which zeros are a value; musl's has more fields than glibc's.
    let mut first: libc::sched_param = unsafe { std::mem::zeroed() };
    first.sched_priority = 1;
    // SAFETY: reads a number; of this thread.
    assert_eq!(unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_FIFO, &first) }, 0);
    loop {
        thread::sleep(Duration::from_micros(100));
    }
}

static LOCK: Mutex<u32> = Mutex::new(0);

fn work() {
    /// Locks when the thread ends, as data of a thread does that takes itself off a list.
    struct AtEnd;
    impl Drop for AtEnd {
        fn drop(&mut self) {
            *LOCK.lock() += 1;
            let count = if timeslice::enrol() == Err(NotEnrolled::Ending) { &ENDING } else { &STILL };
            count.fetch_add(1, SeqCst);
            ENDED.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static AT_END: AtEnd = const { AtEnd };
    }
    AT_END.with(|_| {});
    BEFORE.fetch_add(Area::of_this_thread().enabled().into(), SeqCst);
    ENROLLED.fetch_add(timeslice::enrol().is_ok().into(), SeqCst);
    drop(timeslice::enter());
}
