//! This process and its threads.
#![allow(unsafe_code)]

#[cfg(feature = "timeslice")]
use super::file::File;
use super::raw::{Errno, Result, call};

/// The number of threads of this process, if the kernel tells.
#[cold]
pub(crate) fn threads() -> Result<u32> {
    // Linux, include/uapi/linux/stat.h: 256 bytes, in whose fifth word the number of links is. Old versions of the libc crate
    // do not have it with musl.
    const STATX_NLINK: usize = 4;
    let mut status = [0_u32; 64];
    let path = c"/proc/self/task";
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, STATX_NLINK, status.as_mut_ptr() as usize];
    // SAFETY: `path` ends in NUL; the kernel fills in one `struct statx`.
    unsafe { call(libc::SYS_statx, args) }?;
    // Linux fs/proc/base.c, proc_task_getattr: two links and one for each thread.
    status[4].checked_sub(2).filter(|&threads| threads > 0).ok_or(Errno(libc::ENOSYS))
}

/// The decimal number with which the text begins; 0 if there is none.
#[cfg(feature = "timeslice")]
pub(crate) fn number(text: &[u8]) -> u32 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u32, byte| number.wrapping_mul(10).wrapping_add((byte - b'0').into()))
}

/// The numbers of this process's threads, those that start or end meanwhile perhaps.
#[cfg(feature = "timeslice")]
pub(crate) fn each_thread(mut each: impl FnMut(u32)) -> Result<()> {
    let folder = File::open(b"/proc/self/task\0", libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut buffer = [0_u64; 128];
    loop {
        let args = [folder.descriptor(), buffer.as_mut_ptr() as usize, size_of_val(&buffer)];
        // SAFETY: the kernel writes at most as many bytes to the buffer.
        let length = unsafe { call(libc::SYS_getdents64, args) }?;
        if length == 0 {
            return Ok(());
        }
        // SAFETY: as bytes, which all of it is.
        let mut entries = unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
        // getdents64(2): two numbers of eight bytes, the length of the entry in two, a type, the name and a NUL.
        while let Some(entry) = entries.get(16..18).map(|length| u16::from_le_bytes([length[0], length[1]]) as usize) {
            let thread = number(&entries[19..]);
            if thread != 0 {
                each(thread);
            }
            entries = entries.get(entry.max(1)..).unwrap_or_default();
        }
    }
}

/// An entry of the auxiliary vector; 0 if there is none.
pub(crate) fn auxiliary(entry: libc::c_ulong) -> u64 {
    // SAFETY: reads libc's copy of the vector.
    unsafe { libc::getauxval(entry) as u64 }
}

pub(crate) fn process_id() -> u64 {
    // SAFETY: no arguments, no effects.
    unsafe { call(libc::SYS_getpid, []) }.unwrap_or(0) as u64
}

/// Opens `/proc/THREAD` and this behind it, a slash and up to six letters and a NUL, for a thread of any process.
#[cfg(feature = "timeslice")]
pub(crate) fn open_of_thread(thread: u32, file: &[u8]) -> Result<File> {
    let mut path = *b"/proc/0000000000.......\0";
    let mut rest = thread;
    for digit in path[6..16].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // The kernel takes no number that begins with 0.
    let zeros = path[6..16].iter().take_while(|&&digit| digit == b'0').count();
    path.copy_within(0..6, zeros);
    path[16..].iter_mut().zip(file).for_each(|(to, from)| *to = *from);
    File::open(&path[zeros..], libc::O_RDONLY)
}

/// Whether a thread, of this process or its parent, waits in a system call.
#[cfg(feature = "timeslice")]
pub(crate) fn asleep(thread: u32) -> bool {
    // proc_pid_stat(5): ID, name in parentheses, state. The name has 15 bytes at most.
    let mut start = [0; 64];
    let read = open_of_thread(thread, b"/stat\0").and_then(|file| file.read(&mut start));
    let name_end = start[..read.unwrap_or(0)].iter().rposition(|&byte| byte == b')');
    name_end.and_then(|end| start.get(end + 2)).is_some_and(|state| b"SD".contains(state))
}

/// The calling thread's ID.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { call(libc::SYS_gettid, []) }.unwrap_or(0) as u32
}

/// The calling thread's CPU time, in nanoseconds. A system call.
#[cfg(feature = "profile")]
pub(crate) fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let args = [libc::CLOCK_THREAD_CPUTIME_ID as usize, &raw mut time as usize];
    // SAFETY: fills in one timespec.
    let _ = unsafe { call(libc::SYS_clock_gettime, args) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The path of the program; empty where it is not known.
#[cfg(feature = "profile")]
pub(crate) fn program_path(buffer: &mut [u8]) -> &[u8] {
    let path = c"/proc/self/exe";
    let folder = libc::AT_FDCWD as usize;
    let args = [folder, path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the path ends in NUL; the kernel writes at most as many bytes to the buffer.
    let length = unsafe { call(libc::SYS_readlinkat, args) }.unwrap_or(0);
    &buffer[..length.min(buffer.len())]
}

/// Ends the process at once, all threads.
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        let _ = unsafe { call(libc::SYS_exit_group, [code as usize]) };
    }
}
