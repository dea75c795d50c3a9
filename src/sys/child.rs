//! A child process that tries something, and leaves no trace.
#![allow(unsafe_code)]

use super::memory::Scratch;
use super::process::exit;
use super::raw::{Errno, Result, call, retry};
use super::signals::Silence;
use super::time::{REST, now, sleep};
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};

/// What a child process and its parent tell each other, in memory that both have.
pub(crate) struct Talk {
    introduced: AtomicU32,
    /// The work's result and one; 0 before it came to its end.
    answer: AtomicU32,
}

impl Talk {
    /// In the child: waits until the parent has introduced it; `false` if that takes too long, as where the parent is gone.
    pub(crate) fn is_introduced(&self) -> bool {
        const LIMIT: u64 = 1_000_000_000;
        let begun = now();
        while self.introduced.load(Acquire) == 0 {
            if now() - begun > LIMIT {
                return false;
            }
            sleep(REST);
        }
        true
    }
}

/// Runs `work`, which may only make system calls, in a child process, and waits; returns its result, or `None` if the child was
/// killed. `introduce` is called with the child's number in the parent.
///
/// The child leaves no trace. It shares no memory but what is mapped so, and has one thread. Its exit signal is 0: the program
/// gets no SIGCHLD, and its wait calls do not see the child, but for those that ask for all (`__WALL`). Signals are blocked in
/// it, so that no handler of the program runs twice; in the calling thread, until the child is gone. It leaves no core.
#[cold]
pub(crate) fn child(introduce: impl FnOnce(usize), work: impl FnOnce(&Talk) -> i32) -> Result<Option<i32>> {
    let mut memory = Scratch::shared(size_of::<Talk>())?;
    // SAFETY: aligned as a mapping is; zeros are a value, and so is whatever its atomics hold.
    let talk: &Talk = unsafe { &*memory.bytes().as_ptr().cast() };
    let _silence = Silence::begin(&u64::MAX)?;
    // SAFETY: shares no memory. The child makes system calls only, so it does not matter which locks were held.
    match unsafe { call(libc::SYS_clone, [0; 6]) }? {
        0 => {
            leave_no_core();
            let answer = work(talk) as u32;
            talk.answer.store(answer.wrapping_add(1), Release);
            exit(0)
        }
        child => {
            introduce(child);
            talk.introduced.store(1, Release);
            see_off(child)?;
        }
    }
    Ok(talk.answer.load(Acquire).checked_sub(1).map(|answer| answer as i32))
}

/// Keeps a child process from leaving a core, in which all memory of the program would be, where a filter kills it.
///
/// By a limit of one byte, since the call is none that is tried here: a filter that kills for one of these does not have to
/// let others pass that look like it. Less than a page goes to no file, and one byte, other than none, to no program either
/// (Linux, fs/coredump.c: `min_coredump`, "RLIMIT_CORE is set to 1"). Where cores are ruled out for good, so that the limit cannot
/// be raised to that, a program could still be given one: then by a flag of the child's memory, and `prctl`.
#[cold]
fn leave_no_core() {
    static ONE: libc::rlimit64 = libc::rlimit64 { rlim_cur: 1, rlim_max: 1 };
    let args = [0, libc::RLIMIT_CORE as usize, &raw const ONE as usize, 0];
    // SAFETY: the kernel reads two numbers.
    if unsafe { call(libc::SYS_prlimit64, args) }.is_err() {
        // SAFETY: changes a flag of the child's own memory.
        let _ = unsafe { call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0]) };
    }
}

/// Waits until the child has ended.
fn see_off(child: usize) -> Result<()> {
    loop {
        match wait(child, libc::WUNTRACED) {
            // By a signal to all of the process's group, which nothing can block. This process had it as well, and runs again.
            Ok(Some(status)) if libc::WIFSTOPPED(status) => {
                // SAFETY: our own child, which is there until it is waited for.
                unsafe { call(libc::SYS_kill, [child, libc::SIGCONT as usize]) }?;
            }
            // ECHILD: it is gone, and somebody waited for any.
            Ok(_) | Err(Errno(libc::ECHILD)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Waits until this child, or traced thread, ends or stops; returns its status, as wait(2) has it. With `WNOHANG` among the
/// flags it does not wait, and there may be none.
pub(crate) fn wait(child: usize, flags: i32) -> Result<Option<i32>> {
    let mut status = 0_i32;
    let args = [child, &raw mut status as usize, (libc::__WALL | flags) as usize, 0];
    // SAFETY: fills in one number.
    retry(|| unsafe { call(libc::SYS_wait4, args) }).map(|child| (child != 0).then_some(status))
}
