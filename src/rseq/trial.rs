//! Tries system calls in a child where a seccomp filter might kill for them.

use super::{ENOTSUPP, Fate, PR_ENABLE, PR_RSEQ_SLICE_EXTENSION, PR_SET, SYS_RSEQ_SLICE_YIELD, Trial};
use crate::sys::{self, Errno, File};

const FREE: Trial = Trial { enable: Fate::Answered, slice_yield: Fate::Answered, sched_yield: Fate::Answered };

/// Without a filter nothing needs to be tried.
pub(super) fn run() -> Trial {
    if filtered() == Some(false) {
        return FREE;
    }
    let enable = in_child(libc::SYS_prctl, [PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE, 0, 0, 0]);
    if enable != Fate::Answered {
        return Trial { enable, ..FREE };
    }
    let slice_yield = in_child(SYS_RSEQ_SLICE_YIELD.into(), [0; 6]);
    let sched_yield =
        if slice_yield == Fate::Answered { Fate::Answered } else { in_child(libc::SYS_sched_yield, [0; 6]) };
    Trial { enable, slice_yield, sched_yield }
}

/// Whether a seccomp filter stands, from `/proc/self/status`; `None` where that cannot be read.
fn filtered() -> Option<bool> {
    let file = File::open(c"/proc/self/status", libc::O_RDONLY).ok()?;
    // The file is some 1.5 KiB, and the line stands in its last third.
    let mut status = [0; 4096];
    let mut length = 0;
    while length < status.len() {
        match file.read(&mut status[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(_) => return None,
        }
    }
    const LINE: &[u8] = b"\nSeccomp:\t";
    let at = status[..length].windows(LINE.len()).position(|window| window == LINE)? + LINE.len();
    Some(status.get(at) != Some(&b'0'))
}

/// Exit codes of the child: 0 for success, 255 for an error that does not fit, else the error number.
const LARGE_ERROR: usize = 255;

/// Makes one system call in a child process and reads its fate.
fn in_child(number: libc::c_long, args: [usize; 6]) -> Fate {
    // Exit signal 0: the program gets no SIGCHLD, and its wait calls do not see the child.
    // SAFETY: shares no memory. The child makes system calls only, so it does not matter which locks were held.
    let child = match unsafe { sys::call(libc::SYS_clone, [0; 6]) } {
        Ok(0) => {
            // SAFETY: as the caller's call.
            let code = match unsafe { sys::call(number, args) } {
                Ok(_) => 0,
                Err(Errno(errno)) => (errno as usize).min(LARGE_ERROR),
            };
            sys::exit(code as i32)
        }
        Ok(child) => child,
        Err(Errno(errno)) => return Fate::Refused(errno),
    };
    let mut status = 0_i32;
    loop {
        // SAFETY: fills in one number.
        let waited = unsafe { sys::call(libc::SYS_wait4, [child, &raw mut status as usize, libc::__WALL as usize, 0, 0, 0]) };
        match waited {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(errno)) => return Fate::Refused(errno),
            Ok(_) => break,
        }
    }
    if !libc::WIFEXITED(status) {
        return Fate::Killed;
    }
    match libc::WEXITSTATUS(status) {
        // The kernel's own answers to prctl 79 and to a yield; it is not these that a filter changes.
        0 | libc::EINVAL | libc::ENXIO => Fate::Answered,
        code if code as usize == LARGE_ERROR && ENOTSUPP as usize > LARGE_ERROR => Fate::Answered,
        // ENOSYS is what a kernel without the call says, and what many filters say; for a yield both mean the same.
        code => Fate::Refused(code),
    }
}
