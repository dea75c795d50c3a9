//! `contend WAY THREADS MILLISECONDS`: threads that want one lock all the time, on CPUs that are too few for them.
//! Says how often one had it, and how long they waited for it.
#![allow(unsafe_code)]

use hdrhistogram::Histogram;
use invar_guest_programs::{Area, end_by_signals, say};
use invar_lock::lock_api::RawMutex;
use std::cell::UnsafeCell;
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn main() {
    end_by_signals();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, threads, milliseconds] = &arguments[..] else { panic!("contend WAY THREADS MILLISECONDS") };
    let work: fn() -> Work = match way.as_str() {
        "spin" => contend::<Spin<Plain>>,
        "spin+slices" => contend::<Spin<Slices>>,
        "spin-then-yield" => contend::<SpinThenYield<Plain>>,
        "spin-then-yield+slices" => contend::<SpinThenYield<Slices>>,
        "spin-then-futex" => contend::<SpinThenFutex<Plain>>,
        "spin-then-futex+slices" => contend::<SpinThenFutex<Slices>>,
        "pthread_mutex" => contend::<PthreadMutex<Plain>>,
        "pthread_mutex+slices" => contend::<PthreadMutex<Slices>>,
        "spin-lock" => contend::<SpinLock>,
        "adaptive-spin-lock" => contend::<AdaptiveSpinLock>,
        "mutex" => contend::<Mutex>,
        "adaptive-mutex" => contend::<AdaptiveMutex>,
        "by-hand" => by_hand,
        "bound" => bound,
        _ => panic!("no such way"),
    };
    let threads: usize = threads.parse().expect("a number");
    let together: &'static Barrier = Box::leak(Box::new(Barrier::new(threads + 1)));
    let start = |_| {
        std::thread::spawn(move || {
            together.wait();
            work()
        })
    };
    let threads: Vec<_> = (0..threads).map(start).collect();
    together.wait();
    let (started, first_tick) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_millis(milliseconds.parse().expect("a number")));
    STOP.store(true, Ordering::Relaxed);
    let (nanoseconds, last_tick) = (started.elapsed().as_nanos() as f64, ticks());
    let tick = nanoseconds / (last_tick - first_tick) as f64;
    let mut all = Work::new(first_tick);
    for thread in threads {
        let work = thread.join().expect("a thread");
        all.began = all.began.min(work.began);
        all.operations += work.operations;
        all.waits.add(work.waits).expect("the same bounds");
    }
    say("operations", all.operations);
    // They were at work before this thread had the CPU again.
    say("milliseconds", (last_tick - all.began) as f64 * tick / 1e6);
    if !all.waits.is_empty() {
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("longest", 1.0)] {
            say(name, (all.waits.value_at_quantile(part) as f64 * tick).round());
        }
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

/// What a thread did.
struct Work {
    /// The tick at which it began.
    began: u64,
    /// How often it had the lock.
    operations: i64,
    /// How many ticks it waited each time, if that was measured: with an error of one in a hundred.
    waits: Histogram<u64>,
}

impl Work {
    fn new(began: u64) -> Self {
        /// More than any of them waits.
        const MOST: u64 = 1 << 40;
        Self { began, operations: 0, waits: Histogram::new_with_bounds(1, MOST, 2).expect("bounds in order") }
    }
}

/// A clock that costs one instruction, where reading one of the system's takes as long as the work does.
#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: reads a counter, which Linux lets every program do unless asked not to.
    unsafe { std::arch::x86_64::_rdtsc() }
}
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// What is done under the lock: some two hundred instructions, less than a slice of five microseconds has.
#[inline(never)]
fn work() {
    for step in 0..black_box(50) {
        black_box(step);
    }
}

/// A lock, the same for all threads.
trait Way {
    /// What there is to know until the release.
    type Held;
    /// Before the first time.
    fn start() {}
    fn acquire() -> Self::Held;
    fn release(held: Self::Held);
}

fn contend<W: Way>() -> Work {
    W::start();
    let mut done = Work::new(ticks());
    while !STOP.load(Ordering::Relaxed) {
        let wanted = ticks();
        let held = W::acquire();
        let waited = ticks() - wanted;
        work();
        W::release(held);
        done.waits.saturating_record(waited);
        done.operations += 1;
    }
    done
}

/// Whether a holder asks for the time to finish.
trait Ask {
    type Section;
    fn start() {}
    fn enter() -> Self::Section;
}

struct Plain;

impl Ask for Plain {
    type Section = ();
    fn enter() {}
}

struct Slices;

impl Ask for Slices {
    type Section = invar::timeslice::CriticalSection;
    fn start() {
        Area::of_this_thread().enrol().expect("slices");
    }
    fn enter() -> invar::timeslice::CriticalSection {
        invar::timeslice::enter()
    }
}

static LOCK: AtomicBool = AtomicBool::new(false);

fn attempt<A: Ask>() -> Option<A::Section> {
    let section = A::enter();
    (!LOCK.swap(true, Ordering::Acquire)).then_some(section)
}

/// Waiters do nothing else.
struct Spin<A>(A);

impl<A: Ask> Way for Spin<A> {
    type Held = A::Section;
    fn start() {
        A::start();
    }
    fn acquire() -> A::Section {
        loop {
            if let Some(section) = attempt::<A>() {
                return section;
            }
        }
    }
    fn release(section: A::Section) {
        LOCK.store(false, Ordering::Release);
        drop(section);
    }
}

/// How often a lock is tried before its holder is left to its own.
const TRIES: u32 = 100;

struct SpinThenYield<A>(A);

impl<A: Ask> Way for SpinThenYield<A> {
    type Held = A::Section;
    fn start() {
        A::start();
    }
    fn acquire() -> A::Section {
        loop {
            for _ in 0..TRIES {
                if let Some(section) = attempt::<A>() {
                    return section;
                }
                spin_loop();
            }
            std::thread::yield_now();
        }
    }
    fn release(section: A::Section) {
        LOCK.store(false, Ordering::Release);
        drop(section);
    }
}

/// 0 free, 1 taken, 2 taken and somebody may be asleep.
static FUTEX: AtomicU32 = AtomicU32::new(0);

fn futex(operation: libc::c_int, value: u32) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel compares one word of ours, or wakes who waits for it.
    unsafe { libc::syscall(libc::SYS_futex, FUTEX.as_ptr(), operation, value, 0) };
}

struct SpinThenFutex<A>(A);

impl<A: Ask> Way for SpinThenFutex<A> {
    type Held = A::Section;
    fn start() {
        A::start();
    }
    fn acquire() -> A::Section {
        for _ in 0..TRIES {
            spin_loop();
            let section = A::enter();
            if FUTEX.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return section;
            }
        }
        loop {
            let section = A::enter();
            if FUTEX.swap(2, Ordering::Acquire) == 0 {
                return section;
            }
            drop(section);
            futex(libc::FUTEX_WAIT, 2);
        }
    }
    fn release(section: A::Section) {
        let awaited = FUTEX.swap(0, Ordering::Release) == 2;
        drop(section);
        if awaited {
            futex(libc::FUTEX_WAKE, 1);
        }
    }
}

/// Asks from outside: who had to sleep cannot ask again before it has the lock, and the call that sleeps or wakes is made
/// in the section.
struct PthreadMutex<A>(A);

struct Shared(UnsafeCell<libc::pthread_mutex_t>);
// SAFETY: a mutex is made for several threads.
unsafe impl Sync for Shared {}
static MUTEX: Shared = Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

impl<A: Ask> Way for PthreadMutex<A> {
    type Held = A::Section;
    fn start() {
        A::start();
    }
    fn acquire() -> A::Section {
        let section = A::enter();
        // SAFETY: initialised, and never moved.
        unsafe { libc::pthread_mutex_lock(MUTEX.0.get()) };
        section
    }
    fn release(section: A::Section) {
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(MUTEX.0.get()) };
        drop(section);
    }
}

/// The locks of `invar-lock`, whose threads enrol by themselves.
macro_rules! invar_locks {
    ($($name:ident $raw:ty;)*) => {$(
        struct $name;

        impl Way for $name {
            type Held = invar_lock::lock_api::MutexGuard<'static, $raw, ()>;
            fn acquire() -> Self::Held {
                static LOCK: invar_lock::lock_api::Mutex<$raw, ()> =
                    invar_lock::lock_api::Mutex::from_raw(<$raw>::INIT, ());
                LOCK.lock()
            }
            fn release(guard: Self::Held) {
                drop(guard);
            }
        }
    )*};
}
invar_locks! {
    SpinLock invar_lock::RawSpinLock;
    AdaptiveSpinLock invar_lock::adaptive::RawSpinLock;
    Mutex invar_lock::RawMutex;
    AdaptiveMutex invar_lock::adaptive::RawMutex;
}

/// Does the work if the lock is free.
#[inline(never)]
extern "C" fn work_if_free(lock: &AtomicBool) -> bool {
    if lock.swap(true, Ordering::Acquire) {
        return false;
    }
    work();
    lock.store(false, Ordering::Release);
    true
}

/// The protocol in C.
fn by_hand() -> Work {
    unsafe extern "C" {
        /// In `protocol.c`.
        fn protocol_contend(section: extern "C" fn(&AtomicBool) -> bool, lock: &AtomicBool, stop: &AtomicBool) -> i64;
    }
    let mut done = Work::new(ticks());
    // SAFETY: calls the section with the lock, reads the flag, and enrols this thread.
    done.operations = unsafe { protocol_contend(work_if_free, &LOCK, &STOP) };
    assert!(done.operations >= 0, "no slices");
    done
}

/// The same with sites. Who does not get the lock gives up the CPU, as in `protocol.c`: else it is chance how long its
/// holder waits for it.
fn bound() -> Work {
    Slices::start();
    let mut done = Work::new(ticks());
    while !STOP.load(Ordering::Relaxed) {
        let slice = invar::timeslice::enter();
        let locked = work_if_free(&LOCK);
        drop(slice);
        if !locked {
            std::thread::yield_now();
        }
        done.operations += i64::from(locked);
    }
    done
}
