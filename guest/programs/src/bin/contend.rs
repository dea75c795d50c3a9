//! `contend WAY THREADS MILLISECONDS`: threads that want one lock all the time, on CPUs that are too few for them.
//! Says how often one had it.
#![allow(unsafe_code)]

use invar_guest_programs::{Area, end_by_signals};
use std::cell::UnsafeCell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

fn main() {
    end_by_signals();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, threads, milliseconds] = &arguments[..] else { panic!("contend WAY THREADS MILLISECONDS") };
    let work: fn() -> i64 = match way.as_str() {
        "spin" => spin,
        "spin-then-yield" => spin_then_yield,
        "spin-then-futex" => spin_then_futex,
        "pthread_mutex" => mutex,
        "by-hand" => slices_by_hand,
        "slices" => slices,
        "spin-lock" => spin_lock,
        "mutex" => invar_mutex,
        _ => panic!("no such way"),
    };
    let threads: Vec<_> = (0..threads.parse().expect("a number")).map(|_: u32| std::thread::spawn(work)).collect();
    std::thread::sleep(Duration::from_millis(milliseconds.parse().expect("a number")));
    STOP.store(true, Ordering::Relaxed);
    let operations: i64 = threads.into_iter().map(|thread| thread.join().expect("a thread")).sum();
    println!("operations\t{operations}");
}

static STOP: AtomicBool = AtomicBool::new(false);

fn until_told(mut operation: impl FnMut() -> bool) -> i64 {
    let mut operations = 0;
    while !STOP.load(Ordering::Relaxed) {
        operations += i64::from(operation());
    }
    operations
}

/// What is done under the lock: some two hundred instructions, less than a slice of five microseconds has.
#[inline(never)]
fn work() {
    for step in 0..black_box(50) {
        black_box(step);
    }
}

static LOCK: AtomicBool = AtomicBool::new(false);

/// Does the work if the lock is free.
#[inline(never)]
extern "C" fn attempt(lock: &AtomicBool) -> bool {
    if lock.swap(true, Ordering::Acquire) {
        return false;
    }
    work();
    lock.store(false, Ordering::Release);
    true
}

fn spin() -> i64 {
    until_told(|| attempt(&LOCK))
}

/// Who does not get the lock gives up the CPU, as in `protocol.c`: else it is chance how long its holder waits for it.
fn slices() -> i64 {
    Area::of_this_thread().enrol().expect("slices");
    until_told(|| {
        let slice = invar::slice::enter();
        let done = attempt(&LOCK);
        drop(slice);
        if !done {
            std::thread::yield_now();
        }
        done
    })
}

fn slices_by_hand() -> i64 {
    unsafe extern "C" {
        /// In `protocol.c`.
        fn protocol_contend(section: extern "C" fn(&AtomicBool) -> bool, lock: &AtomicBool, stop: &AtomicBool) -> i64;
    }
    // SAFETY: calls the section with the lock, reads the flag, and enrols this thread.
    let operations = unsafe { protocol_contend(attempt, &LOCK, &STOP) };
    assert!(operations >= 0, "no slices");
    operations
}

/// How often a lock is tried before its holder is left to its own.
const TRIES: u32 = 100;

fn spin_then_yield() -> i64 {
    until_told(|| {
        for _ in 0..TRIES {
            if attempt(&LOCK) {
                return true;
            }
            spin_loop();
        }
        std::thread::yield_now();
        false
    })
}

/// 0 free, 1 taken, 2 taken and somebody may be asleep.
static FUTEX: AtomicU32 = AtomicU32::new(0);

fn spin_then_futex() -> i64 {
    let futex = |operation: libc::c_int, value: u32| {
        let operation = operation | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the kernel compares one word of ours, or wakes who waits for it.
        unsafe { libc::syscall(libc::SYS_futex, FUTEX.as_ptr(), operation, value, 0) }
    };
    let free = |to| FUTEX.compare_exchange(0, to, Ordering::Acquire, Ordering::Relaxed).is_ok();
    until_told(|| {
        let taken = (0..TRIES).any(|_| {
            spin_loop();
            free(1)
        });
        if !taken {
            while FUTEX.swap(2, Ordering::Acquire) != 0 {
                futex(libc::FUTEX_WAIT, 2);
            }
        }
        work();
        if FUTEX.swap(0, Ordering::Release) == 2 {
            futex(libc::FUTEX_WAKE, 1);
        }
        true
    })
}

fn mutex() -> i64 {
    struct Mutex(UnsafeCell<libc::pthread_mutex_t>);
    // SAFETY: a mutex is made for several threads.
    unsafe impl Sync for Mutex {}
    static MUTEX: Mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    until_told(|| {
        // SAFETY: initialised, and never moved.
        unsafe { libc::pthread_mutex_lock(MUTEX.0.get()) };
        work();
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(MUTEX.0.get()) };
        true
    })
}

fn spin_lock() -> i64 {
    static LOCK: invar_lock::SpinLock<()> = invar_lock::SpinLock::new(());
    until_told(|| {
        let _guard = LOCK.lock();
        work();
        true
    })
}

fn invar_mutex() -> i64 {
    static LOCK: invar_lock::Mutex<()> = invar_lock::Mutex::new(());
    until_told(|| {
        let _guard = LOCK.lock();
        work();
        true
    })
}
