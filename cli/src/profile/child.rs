//! Running the command that is to be counted.
#![allow(unsafe_code)] // signal handlers, and waiting without taking the child's number from it

use crate::inherited;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// The child's number while signals are to be passed on to it.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal that came before there was a child.
static EARLY: AtomicI32 = AtomicI32::new(0);

/// Runs it to its end. What a terminal sends to all its processes ends it only, and not this command, which has something to
/// show then; a request to end this command is passed on.
pub fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let _handlers = [
        Handler::install(libc::SIGINT, ignore),
        Handler::install(libc::SIGQUIT, ignore),
        Handler::install(libc::SIGTERM, pass_on),
        Handler::install(libc::SIGHUP, pass_on),
    ];
    let restore = || {
        inherited::restore();
        Ok(())
    };
    // SAFETY: async-signal-safe, and takes no memory.
    unsafe { command.pre_exec(restore) };
    let mut child = command.spawn()?;
    CHILD.store(child.id() as i32, SeqCst);
    let early = EARLY.swap(0, SeqCst);
    if early != 0 {
        pass_on(early);
    }
    wait_for_end(child.id());
    // From here on its number may be another process's.
    CHILD.store(0, SeqCst);
    child.wait()
}

/// Waits, and leaves the child to be waited for.
fn wait_for_end(child: u32) {
    loop {
        // SAFETY: a structure of numbers, for which zeros are valid.
        let mut status = unsafe { std::mem::zeroed() };
        // SAFETY: fills in the structure.
        let result = unsafe { libc::waitid(libc::P_PID, child, &mut status, libc::WEXITED | libc::WNOWAIT) };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// A handler; dropped, what was there before. A program that is started has the default in its place, as by `execve(2)`.
struct Handler(i32, Option<libc::sigaction>);

impl Handler {
    fn install(signal: i32, handler: extern "C" fn(i32)) -> Self {
        // SAFETY: structures of numbers and addresses, for which zeros are valid; the handlers below are async-signal-safe.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            let known = libc::sigaction(signal, std::ptr::null(), &mut before) == 0;
            // Who ignores it wants its programs to do so too.
            let take =
                known && before.sa_sigaction != libc::SIG_IGN && libc::sigaction(signal, &action, &mut before) == 0;
            Self(signal, take.then_some(before))
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if let Self(signal, Some(before)) = self {
            // SAFETY: as it was.
            unsafe { libc::sigaction(*signal, before, std::ptr::null_mut()) };
        }
    }
}

extern "C" fn ignore(_: i32) {}

extern "C" fn pass_on(signal: i32) {
    match CHILD.load(SeqCst) {
        0 => EARLY.store(signal, SeqCst),
        // SAFETY: two system calls at most, the child is not waited for yet, and errno stays as it was.
        child => unsafe {
            let errno = *libc::__errno_location();
            libc::kill(child, signal);
            *libc::__errno_location() = errno;
        },
    }
}
