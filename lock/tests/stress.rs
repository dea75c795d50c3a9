//! Many threads at each lock on this machine, as it is, and with the form that is bound where slices are available.
#![forbid(unsafe_code)]

use invar_lock::{Mutex, RawMutex, RawSpinLock, SpinLock, adaptive};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const THREADS: usize = 8;
const TIMES: usize = 20_000;

/// Two numbers that differ only while the lock is held.
fn stress<R: invar_lock::lock_api::RawMutex + Sync>() {
    let lock = invar_lock::lock_api::Mutex::<R, _>::new((0, 0));
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                together.wait();
                for turn in 0..TIMES {
                    // Every other way to lock, and sleepers now and then.
                    let Some(mut both) = (if turn % 2 == 0 { Some(lock.lock()) } else { lock.try_lock() }) else {
                        let mut both = lock.lock();
                        both.0 += 1;
                        thread::yield_now();
                        both.1 += 1;
                        continue;
                    };
                    both.0 += 1;
                    assert_eq!(both.0, both.1 + 1, "two threads hold the lock");
                    both.1 += 1;
                }
            });
        }
    });
    assert!(!lock.is_locked());
    assert_eq!(lock.into_inner(), (THREADS * TIMES, THREADS * TIMES));
}

#[test]
fn mutex_excludes() {
    stress::<RawMutex>();
}

#[test]
fn spin_lock_excludes() {
    stress::<RawSpinLock>();
}

#[test]
fn adaptive_mutex_excludes() {
    stress::<adaptive::RawMutex>();
}

#[test]
fn adaptive_spin_lock_excludes() {
    stress::<adaptive::RawSpinLock>();
}

/// The tests above once more, in processes with other settings.
#[test]
fn other_forms_exclude() {
    for settings in [
        [("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "auto")],
        [("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "off")],
    ] {
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        let output = again.arg("_excludes").envs(settings).output().expect("this program");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("4 passed"), "{settings:?}: {said}");
    }
}

/// Whoever waits for long takes no time from others: the kernel says that it sleeps, not only once.
#[test]
fn who_waits_for_a_mutex_sleeps() {
    fn sleeps<R: invar_lock::lock_api::RawMutex + Sync>() {
        let lock = invar_lock::lock_api::Mutex::<R, _>::new(());
        let held = lock.lock();
        let (say, said) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let thread = std::fs::read_link("/proc/thread-self").expect("the thread's name");
                say.send(Path::new("/proc").join(thread).join("stat")).expect("the other thread");
                drop(lock.lock());
            });
            let stat = said.recv().expect("the other thread");
            let in_a_row = (0..10_000).try_fold(0, |asleep, _| {
                thread::sleep(Duration::from_millis(1));
                // proc_pid_stat(5): the state stands behind the name, which is in brackets.
                let stat = std::fs::read_to_string(&stat).expect("a thread that waits");
                let asleep = if stat.contains(") S ") { asleep + 1 } else { 0 };
                if asleep < 20 { Ok(asleep) } else { Err("it sleeps") }
            });
            drop(held);
            assert_eq!(in_a_row, Err("it sleeps"));
        });
    }
    sleeps::<RawMutex>();
    sleeps::<adaptive::RawMutex>();
}

#[test]
fn a_panic_releases() {
    static LOCK: Mutex<u32> = Mutex::new(0);
    let panicked = thread::spawn(|| {
        *LOCK.lock() += 1;
        let _guard = LOCK.lock();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panicked.join().is_err());
    assert_eq!(*LOCK.lock(), 1);
}

#[test]
fn the_raw_locks_are_small_and_fit_any_type() {
    assert_eq!((size_of::<Mutex<u32>>(), size_of::<SpinLock<u8>>()), (8, 2));
    assert_eq!((size_of::<adaptive::Mutex<u32>>(), size_of::<adaptive::SpinLock<u32>>()), (8, 8));
    assert_eq!(size_of::<invar_lock::MutexGuard<'_, u32>>(), size_of::<usize>());
    assert_eq!(size_of::<adaptive::MutexGuard<'_, u32>>(), size_of::<usize>());
    let lock: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    let last = invar_lock::MutexGuard::map(lock.lock(), |all| &mut all[2]);
    assert!(lock.is_locked() && *last == 3);
}
