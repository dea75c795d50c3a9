//! Tries system calls in a child where a seccomp filter might kill for them.
#![allow(unsafe_code)]

use super::rseq::{ENOTSUPP, PR_ENABLE, PR_RSEQ_SLICE_EXTENSION, PR_SET, SYS_RSEQ_SLICE_YIELD};
use crate::sys::{self, Errno, File};

/// What became of the system calls that were tried in a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// Whether a filter stands, and they were tried at all.
    pub(super) filtered: bool,
    pub(super) enable: Fate,
    pub(super) slice_yield: Fate,
    pub(super) sched_yield: Fate,
}

/// What became of one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The kernel answered it, with success or an error of its own.
    Answered,
    /// A filter answered it with this error.
    Refused(i32),
    /// A filter killed the caller.
    Killed,
    /// No child could be made to try it: errno.
    Untried(i32),
}

const FREE: Trial =
    Trial { filtered: false, enable: Fate::Answered, slice_yield: Fate::Answered, sched_yield: Fate::Answered };

/// Without a filter nothing needs to be tried.
#[cold]
pub(super) fn run() -> Trial {
    if filters_of_this_thread() == Some(0) {
        return FREE;
    }
    let enable = call_in_child(libc::SYS_prctl, [PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE, 0, 0, 0]);
    if enable != Fate::Answered {
        return Trial { filtered: true, enable, ..FREE };
    }
    let slice_yield = call_in_child(SYS_RSEQ_SLICE_YIELD.into(), [0; 6]);
    let sched_yield =
        if slice_yield == Fate::Answered { Fate::Answered } else { call_in_child(libc::SYS_sched_yield, [0; 6]) };
    Trial { filtered: true, enable, slice_yield, sched_yield }
}

/// How many seccomp filters stand in the calling thread; `None` where that cannot be read.
pub(super) fn filters_of_this_thread() -> Option<u32> {
    filters_in(File::open(b"/proc/thread-self/status\0", libc::O_RDONLY))
}

/// The same for another thread of this process.
pub(super) fn filters(thread: u32) -> Option<u32> {
    filters_in(sys::open_of_thread(thread, b"/status\0"))
}

/// From the file `status` of a thread, in which every kernel that has the extension says it (since Linux 5.9).
fn filters_in(file: sys::Result<File>) -> Option<u32> {
    let file = file.ok()?;
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
    const LINE: &[u8] = b"\nSeccomp_filters:\t";
    let at = status[..length].windows(LINE.len()).position(|window| window == LINE)? + LINE.len();
    Some(sys::number(&status[at..]))
}

/// Makes one system call in a child process and reads its fate.
#[cold]
fn call_in_child(number: libc::c_long, args: [usize; 6]) -> Fate {
    // SAFETY: the calls that are tried here touch no memory.
    in_child(&mut || unsafe { sys::call(number, args) })
}

/// The fate of what makes system calls, in a child process.
#[cold]
pub(super) fn in_child(work: &mut dyn FnMut() -> sys::Result<usize>) -> Fate {
    match sys::child(drop, |_| work().map_or_else(|Errno(errno)| errno, |_| 0)) {
        Err(Errno(errno)) => Fate::Untried(errno),
        Ok(None) => Fate::Killed,
        // The kernel's own answers to prctl 79 and to a yield; it is not these that a filter changes.
        Ok(Some(0 | libc::EINVAL | libc::ENXIO | ENOTSUPP)) => Fate::Answered,
        // ENOSYS is what a kernel without the call says, and what many filters say; for a yield both mean the same.
        Ok(Some(errno)) => Fate::Refused(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    /// A system call, or one option of it, and what a filter does to that.
    type Rule = (libc::c_long, Option<usize>, u32);

    const fn slices(action: u32) -> Rule {
        (libc::SYS_prctl, Some(PR_RSEQ_SLICE_EXTENSION), action)
    }

    /// Whether `run` gives `expected` in a process with a filter of these rules, and leaves no core, which is allowed. The
    /// filter is gone with the process.
    fn under_filter(rules: &[Rule], expected: Trial) -> bool {
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let skip_unless =
            |k: u32, jf: u8| libc::sock_filter { jf, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) };
        let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        let answer = |action: u32| statement(libc::BPF_RET | libc::BPF_K, action);
        const NUMBER: u32 = core::mem::offset_of!(libc::seccomp_data, nr) as u32;
        const FIRST_ARGUMENT: u32 = core::mem::offset_of!(libc::seccomp_data, args) as u32;
        let mut filter = std::vec::Vec::new();
        for &(number, option, action) in rules {
            filter.push(load(NUMBER));
            filter.push(skip_unless(number as u32, if option.is_some() { 3 } else { 1 }));
            if let Some(option) = option {
                filter.push(load(FIRST_ARGUMENT));
                filter.push(skip_unless(option as u32, 1));
            }
            filter.push(answer(action));
        }
        filter.push(answer(libc::SECCOMP_RET_ALLOW));
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };

        static NUMBER_OF_FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER_OF_FOLDERS.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(std::format!("invar-trial-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
        // SAFETY: the child makes system calls only, and ends itself.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                let mut core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                libc::getrlimit(libc::RLIMIT_CORE, &mut core);
                core.rlim_cur = core.rlim_max;
                libc::setrlimit(libc::RLIMIT_CORE, &core);
                libc::chdir(path.as_ptr());
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
                libc::_exit(if set != 0 { 3 } else { i32::from(run() != expected) });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            status
        };
        let left = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(status != 3 << 8, "this kernel has no seccomp filters");
        assert_eq!(left, 0, "a core");
        status == 0
    }

    /// What a kernel without the extension makes of the calls: EINVAL, ENOSYS, success.
    fn kernel() -> Trial {
        let old = call_in_child(SYS_RSEQ_SLICE_YIELD.into(), [0; 6]);
        Trial { slice_yield: old, ..FILTERED }
    }

    const FILTERED: Trial = Trial { filtered: true, ..FREE };

    #[test]
    fn without_a_filter_nothing_is_tried() {
        // Where this test itself runs under a filter, as in some containers, something is.
        assert_eq!(run().filtered, filters_of_this_thread() != Some(0));
    }

    #[test]
    fn a_filter_that_means_something_else() {
        assert!(under_filter(&[(libc::SYS_acct, None, KILL)], kernel()));
        // Nor that which would keep a child from leaving a core.
        assert!(under_filter(&[(libc::SYS_prctl, Some(libc::PR_SET_DUMPABLE as usize), KILL)], kernel()));
    }

    #[test]
    fn a_filter_on_prctl() {
        for rule in [slices as fn(u32) -> Rule, |action| (libc::SYS_prctl, None, action)] {
            assert!(under_filter(&[rule(KILL)], Trial { enable: Fate::Killed, ..FILTERED }));
            assert!(under_filter(&[rule(REFUSE)], Trial { enable: Fate::Refused(libc::EPERM), ..FILTERED }));
        }
    }

    #[test]
    fn a_filter_on_children() {
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EAGAIN as u32;
        let untried = Trial { enable: Fate::Untried(libc::EAGAIN), ..FILTERED };
        assert!(under_filter(&[(libc::SYS_clone, None, refuse)], untried));
    }

    #[test]
    fn a_filter_on_the_yields() {
        let slice_yield = |action| (SYS_RSEQ_SLICE_YIELD.into(), None, action);
        let refused = Fate::Refused(libc::EPERM);
        assert!(under_filter(&[slice_yield(KILL)], Trial { slice_yield: Fate::Killed, ..FILTERED }));
        assert!(under_filter(&[slice_yield(REFUSE)], Trial { slice_yield: refused, ..FILTERED }));
        let both = [slice_yield(KILL), (libc::SYS_sched_yield, None, REFUSE)];
        assert!(under_filter(&both, Trial { slice_yield: Fate::Killed, sched_yield: refused, ..FILTERED }));
        let both = [slice_yield(KILL), (libc::SYS_sched_yield, None, KILL)];
        assert!(under_filter(&both, Trial { slice_yield: Fate::Killed, sched_yield: Fate::Killed, ..FILTERED }));
    }
}
