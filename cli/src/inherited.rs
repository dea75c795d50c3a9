//! What programs inherit that this command starts, or becomes: as this command found it.
#![allow(unsafe_code)] // signals and descriptors

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What std changes in a process before `main`: it ignores SIGPIPE, and opens standard descriptors that are closed
/// (rust, library/std/src/sys/pal/unix/mod.rs, `init`). And what is changed here, as nobody can wait for a child where SIGCHLD is
/// ignored. A bit for each that the program must find as it was.
static CHANGED: AtomicU8 = AtomicU8::new(0);
const PIPE: u8 = 1 << 7;
const CHILD: u8 = 1 << 6;

extern "C" fn note() {
    let mut changed = 0;
    let is_ignored = |signal| {
        // SAFETY: zeros are valid; fills in the structure.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
        }
    };
    if !is_ignored(libc::SIGPIPE) {
        changed |= PIPE;
    }
    if is_ignored(libc::SIGCHLD) {
        changed |= CHILD;
        // SAFETY: the default.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
    for descriptor in 0..3 {
        // SAFETY: asks about a number.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            changed |= 1 << descriptor;
        }
    }
    CHANGED.store(changed, Relaxed);
}

/// Called by the C library before std is there.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

/// Has all that a program inherits as this process found it. Async-signal-safe, for a child before it is the program.
pub fn restore() {
    let changed = CHANGED.load(Relaxed);
    // SAFETY: numbers; nobody here needs descriptors that were closed before.
    unsafe {
        libc::signal(libc::SIGPIPE, if changed & PIPE != 0 { libc::SIG_DFL } else { libc::SIG_IGN });
        if changed & CHILD != 0 {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        }
        for descriptor in (0..3).filter(|descriptor| changed & 1 << descriptor != 0) {
            libc::close(descriptor);
        }
    }
}
