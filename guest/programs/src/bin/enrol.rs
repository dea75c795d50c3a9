//! `enrol LIBRARY`: threads of every sort contend for a lock, and are enrolled by it; then for grants. The library is this
//! package's own.
//!
//! One line a fact: its name, a tab, its value.
#![allow(unsafe_code)]

use invar::timeslice::Area;
use invar_guest_programs::contest::{Contest, POOL, THREADS};
use invar_guest_programs::{Area as ThisArea, end_by_signals, open, say, switch_off};
use invar_lock::lock_api::RawMutex as _;
use invar_lock::{Mutex, RawMutex, RawSpinLock};
use std::ffi::{c_int, c_ulong, c_void};
use std::sync::Barrier;
use std::time::Duration;
use std::{mem, ptr, thread};

static MUTEX: RawMutex = RawMutex::INIT;
static SPIN_LOCK: RawSpinLock = RawSpinLock::INIT;

invar::key! {
    /// Decided before `main`, behind the time slice key: a thread of its probe's is enrolled like any other.
    static PROBED: bool = |evidence| {
        let body = || {
            let enrolled = invar::timeslice::enrol();
            drop(invar_lock::Mutex::new(()).lock());
            enrolled
        };
        let enrolled = thread::spawn(body).join().expect("a thread that ends");
        evidence.text(&format!("{enrolled:?}"));
        Ok(true)
    };
}

fn main() {
    end_by_signals();
    say("in a probe's thread", PROBED.verdict().expect("a verdict").evidence());
    #[cfg(feature = "hook")]
    say("hook in front", invar::timeslice::hook_is_in_front());
    #[cfg(not(feature = "hook"))]
    say("hook in front", "no hook");
    say("by hand", format_args!("{:?}", invar::timeslice::enrol()));
    fork();
    audit();
    rival();
    std_threads("std::thread");
    spinning();
    contest("pthread_create", pthread_create);
    contest("thrd_create", thrd_create);
    contest("SIGEV_THREAD", timers);
    contest("clone", clone);
    pool(&std::env::args().nth(1).expect("a library"));
    hostile();
}

/// Holds the mutex while threads that `start` starts come to it.
fn contest(name: &str, start: fn(&'static Contest)) {
    let contest: &Contest = Box::leak(Box::default());
    contest.hold(name, &MUTEX, || start(contest));
}

fn each(mut start: impl FnMut()) {
    (0..THREADS).for_each(|_| start());
}

/// Wants the CPU all the time.
fn rival() {
    thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
}

fn std_threads(name: &str) {
    contest(name, |contest| each(|| drop(thread::spawn(|| contest.take_part(&MUTEX)))));
}

fn spinning() {
    let contest: &Contest = Box::leak(Box::default());
    let start = || each(|| drop(thread::spawn(|| contest.take_part(&SPIN_LOCK))));
    contest.hold("std::thread, spin lock", &SPIN_LOCK, start);
}

/// What C starts as a thread.
extern "C" fn start_routine(contest: *mut c_void) -> *mut c_void {
    // SAFETY: made by `argument`.
    unsafe { &*contest.cast::<Contest>() }.take_part(&MUTEX);
    ptr::null_mut()
}

fn argument(contest: &'static Contest) -> *mut c_void {
    ptr::from_ref(contest).cast_mut().cast()
}

fn pthread_create(contest: &'static Contest) {
    each(|| {
        let mut thread = 0;
        // SAFETY: as pthread_create(3) wants it; the argument lives for ever.
        let error = unsafe { libc::pthread_create(&mut thread, ptr::null(), start_routine, argument(contest)) };
        assert_eq!(error, 0);
    });
}

fn thrd_create(contest: &'static Contest) {
    unsafe extern "C" {
        // ISO C11, 7.26.5.1.
        fn thrd_create(
            thread: *mut c_ulong,
            start: extern "C" fn(*mut c_void) -> c_int,
            argument: *mut c_void,
        ) -> c_int;
    }
    extern "C" fn start(contest: *mut c_void) -> c_int {
        start_routine(contest);
        0
    }
    each(|| {
        let mut thread = 0;
        // SAFETY: as the standard wants it; the argument lives for ever.
        assert_eq!(unsafe { thrd_create(&mut thread, start, argument(contest)) }, 0);
    });
}

fn timers(contest: &'static Contest) {
    /// sigevent(3type), with the fields of `SIGEV_THREAD`.
    #[repr(C)]
    struct Event {
        value: *mut c_void,
        signal: c_int,
        notify: c_int,
        function: extern "C" fn(*mut c_void) -> *mut c_void,
        attributes: *mut c_void,
        rest: [usize; 4],
    }
    const _: () = assert!(size_of::<Event>() == size_of::<libc::sigevent>());
    const SIGEV_THREAD: c_int = 2;
    each(|| {
        let mut event = Event {
            value: argument(contest),
            signal: 0,
            notify: SIGEV_THREAD,
            function: start_routine,
            attributes: ptr::null_mut(),
            rest: [0; 4],
        };
        let soon = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: as timer_create(2) and timer_settime(2) want it; the value lives for ever.
        unsafe {
            let mut timer = mem::zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, (&raw mut event).cast(), &mut timer), 0);
            let once = libc::itimerspec { it_interval: mem::zeroed(), it_value: soon };
            assert_eq!(libc::timer_settime(timer, 0, &once, ptr::null_mut()), 0);
        }
    });
}

/// Threads that libc knows nothing of, with a thread pointer of their own and nothing behind it.
fn clone(contest: &'static Contest) {
    const BLOCK: usize = 1 << 16;
    const FLAGS: c_int = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS;
    extern "C" fn start(contest: *mut c_void) -> c_int {
        start_routine(contest);
        0
    }
    each(|| {
        // SAFETY: new memory for each, never given back: the upper half is the stack; in the middle of the lower one is the
        // thread pointer, at an address as round as that of any thread, where the ABI wants its own address to stand.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let block =
                libc::mmap(ptr::null_mut(), 2 * BLOCK, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            assert_ne!(block, libc::MAP_FAILED);
            let pointer = block.byte_add(BLOCK / 2);
            pointer.cast::<*mut c_void>().write(pointer);
            let (stack, none) = (block.byte_add(2 * BLOCK), ptr::null_mut::<c_int>());
            assert!(libc::clone(start, stack, FLAGS, argument(contest), none, pointer, none) > 0);
        }
    });
}

/// The child, and threads that it starts.
fn fork() {
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let area = ThisArea::of_this_thread();
        say("child after fork", if area.enabled() { "enabled" } else { "not enabled" });
        rival();
        say("child after fork, granted", area.enter_granted().is_some());
        std_threads("threads of the child");
        std::process::exit(0);
    }
    let mut status = -1;
    // SAFETY: fills in one number.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    say("child ended with", status);
}

/// What is listed of this thread, of one that forgot a section and sleeps, and of one that never enrolled.
fn audit() {
    static NUMBERS: Mutex<[u32; 2]> = Mutex::new([0; 2]);
    let number = || {
        // SAFETY: no arguments, no effects.
        unsafe { libc::gettid() as u32 }
    };
    for place in 0..2 {
        thread::spawn(move || {
            NUMBERS.lock()[place] = number();
            if place == 0 {
                invar::timeslice::enrol().expect("slices");
                mem::forget(invar::timeslice::enter());
            }
            thread::sleep(Duration::MAX);
        });
    }
    thread::sleep(Duration::from_millis(10));
    let [forgetful, idle] = *NUMBERS.lock();
    invar::timeslice::audit(|thread| {
        let whose = [(number(), "this thread"), (forgetful, "one that forgot"), (idle, "one that is idle")];
        let whose = whose.iter().find(|(number, _)| *number == thread.id).map_or("somebody", |(_, whose)| whose);
        say(
            &format!("audit of {whose}"),
            match thread.area {
                Area::Registered { enabled, request, asleep, .. } => {
                    format!("enabled {enabled}, request left {}", request && asleep)
                }
                other => format!("{other:?}"),
            },
        );
    })
    .expect("the threads");
}

/// A library that comes when there are threads, and has threads of its own.
fn pool(library: &str) {
    // SAFETY: this package's library, whose function has this type.
    unsafe { mem::transmute::<*mut c_void, extern "C" fn()>(open(library, POOL))() };
}

/// A thread has all others switch the extension off, each for itself, by a signal. They take part before and after.
fn hostile() {
    let (before, after): (&Contest, &Contest) = (Box::leak(Box::default()), Box::leak(Box::default()));
    let over: &Barrier = Box::leak(Box::new(Barrier::new(THREADS as usize + 1)));
    before.hold("before the hostile thread", &MUTEX, || {
        each(|| {
            thread::spawn(|| {
                before.take_part(&MUTEX);
                over.wait();
                after.take_part(&MUTEX);
            });
        });
    });
    thread::spawn(switch_all_off).join().expect("the hostile thread");
    say("main thread, switched off", !ThisArea::of_this_thread().enabled());
    after.hold("after the hostile thread", &MUTEX, || {
        over.wait();
    });
    say("main thread, enrolled again", invar::timeslice::enrol().is_ok() && ThisArea::of_this_thread().enabled());
}

fn switch_all_off() {
    extern "C" fn handler(_: c_int) {
        _ = switch_off();
    }
    // SAFETY: the handler makes one system call.
    unsafe { libc::signal(libc::SIGUSR1, handler as extern "C" fn(c_int) as libc::sighandler_t) };
    let process = std::process::id();
    for task in std::fs::read_dir("/proc/self/task").expect("the threads") {
        let task: i32 = task.expect("a thread").file_name().to_string_lossy().parse().expect("its number");
        // SAFETY: a signal with a handler, to a thread of this process.
        unsafe { libc::syscall(libc::SYS_tgkill, process, task, libc::SIGUSR1) };
    }
    // On the one CPU: long enough for all of them to have run.
    thread::sleep(Duration::from_millis(100));
}
