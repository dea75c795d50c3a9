//! Forks that wait: a child of `fork` has one thread, and nobody in it gives back what its parent's other threads held.
//!
//! libc calls three functions around each `fork` (`pthread_atfork`). Two sorts of threads meet here: those that have work to do which
//! takes locks, and those that fork. Neither waits for ever: the work may be waited for by a thread that forks, by way of others, as a
//! library's constructor that holds the loader's lock.
#![allow(unsafe_code)]

use super::signals::Silence;
use super::time::wait_until;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// How many threads are at such work.
static WORKING: AtomicU32 = AtomicU32::new(0);
/// How many threads are between the beginning of a `fork` and its end.
static FORKING: AtomicU32 = AtomicU32::new(0);

/// How many of these wait for work to end.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// How many threads have begun with such work, and hold locks perhaps.
static BEGUN: AtomicU32 = AtomicU32::new(0);
/// There were some when this process was made.
static STRANDED: AtomicBool = AtomicBool::new(false);

/// A `fork` waits as long for work to end. Then it goes on, and its child has the locks that are held at that moment. Work waits as
/// long for a `fork` to end, as one of a process with much memory does late. Then it begins, since who forks may be waiting for it.
const PATIENCE: u64 = 1_000_000_000;

/// Has `fork` wait for work from now on. The C library forgets this with the module (`__cxa_finalize`), or unloads none. It unmaps
/// the module even where a `fork` is in one of these functions (glibc 2.36 and newer, posix/register-atfork.c): see [`without_forks`].
fn hold_forks() {
    static HELD: AtomicBool = AtomicBool::new(false);
    if !HELD.swap(true, SeqCst) {
        // Without memory for it, children are made as they come.
        // SAFETY: the functions are of this module, which the C library knows; they call nobody else's code.
        let _ = unsafe { libc::pthread_atfork(Some(begin), Some(end), Some(end_in_child)) };
    }
}

/// Works while no `fork` of the C library's makes a child. No signal's handler of this thread runs meanwhile, which might fork.
///
/// When it returns, no `fork` waits in this module: the module may be closed then.
#[cold]
pub(crate) fn without_forks(work: &mut dyn FnMut()) {
    hold_forks();
    let _silence = Silence::begin(&u64::MAX);
    // Whoever comes second of the two sees the other one.
    let mut begun = || {
        WORKING.fetch_add(1, SeqCst);
        let is_alone = FORKING.load(SeqCst) == 0;
        if !is_alone {
            WORKING.fetch_sub(1, SeqCst);
        }
        is_alone
    };
    if !wait_until(PATIENCE, &mut begun) {
        WORKING.fetch_add(1, SeqCst);
    }
    BEGUN.fetch_add(1, SeqCst);
    work();
    BEGUN.fetch_sub(1, SeqCst);
    // While others work here, the module stays.
    if WORKING.fetch_sub(1, SeqCst) == 1 {
        wait_until(PATIENCE, &mut || WAITING.load(SeqCst) == 0);
    }
}

unsafe extern "C" fn begin() {
    FORKING.fetch_add(1, SeqCst);
    // Before it looks whether there is work, so that who ends that sees it wait.
    WAITING.fetch_add(1, SeqCst);
    wait_until(PATIENCE, &mut || WORKING.load(SeqCst) == 0);
    WAITING.fetch_sub(1, SeqCst);
    // Not for the loader: it may be unmapping this module.
}

unsafe extern "C" fn end() {
    FORKING.fetch_sub(1, SeqCst);
}

/// The child has none of the other threads.
unsafe extern "C" fn end_in_child() {
    STRANDED.fetch_or(BEGUN.load(SeqCst) != 0, SeqCst);
    for count in [&WORKING, &FORKING, &WAITING, &BEGUN] {
        count.store(0, SeqCst);
    }
}

/// Whether a `fork` was tired of waiting, and this is its child: a lock that was held then is for ever.
pub(crate) fn is_stranded() -> bool {
    STRANDED.load(SeqCst)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a child of this process is stranded.
    fn is_child_stranded() -> bool {
        // SAFETY: the child makes one system call.
        match unsafe { libc::fork() } {
            // SAFETY: as above.
            0 => unsafe { libc::_exit(i32::from(is_stranded())) },
            child => {
                let mut status = 0;
                // SAFETY: the child above.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status != 0
            }
        }
    }

    #[test]
    fn a_child_knows_that_it_was_made_beside_work() {
        without_forks(&mut || {});
        assert!(!is_child_stranded());
        // Work that waits for the child is not waited for by its `fork`, or not for ever.
        without_forks(&mut || assert!(std::thread::spawn(is_child_stranded).join().expect("a child")));
        assert!(!is_child_stranded() && !is_stranded());
    }
}
