//! The system calls of a program and of the processes that it makes, as a tracer sees them.

use std::fs::File;
use std::io::{Error, Result};
use std::mem::{offset_of, zeroed};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A system call at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who makes it: a thread's number.
    pub thread: libc::pid_t,
    pub number: libc::c_long,
    pub args: [u64; 6],
    /// What an `openat` opens; empty for other calls.
    pub path: String,
}

/// Why nothing can be traced here, from a try.
pub fn no_tracing() -> Option<String> {
    calls(Command::new("true")).err().map(|error| format!("no tracing: {error}"))
}

/// Runs a program to its end, which must be a good one; returns the calls of all its threads and children.
pub fn calls(command: Command) -> Result<Vec<Call>> {
    calls_with_head_start(command, 0)
}

/// The same; a thread or process that was just made begins so many calls, or ends, before who made it goes on.
pub fn calls_with_head_start(mut command: Command, head_start: usize) -> Result<Vec<Call>> {
    let check = |result: libc::c_long| if result == -1 { Err(Error::last_os_error()) } else { Ok(result) };
    // SAFETY: between fork and exec, a system call without arguments.
    unsafe { command.pre_exec(move || check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop)) };
    // SAFETY: what it starts is waited for by this thread only.
    let child = command.spawn()?.id() as libc::pid_t;
    let wait = |pid: libc::pid_t| -> Result<(libc::pid_t, libc::c_int)> {
        let mut status = 0;
        // SAFETY: fills in one number. Threads of a tracee, and no other children of this thread's.
        let pid = check(unsafe { libc::waitpid(pid, &mut status, libc::__WALL | libc::__WNOTHREAD) }.into())?;
        Ok((pid as libc::pid_t, status))
    };
    wait(child)?;
    let children = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;
    let options = libc::PTRACE_O_TRACESYSGOOD | children | libc::PTRACE_O_EXITKILL;
    // SAFETY: the child is ours, and stopped.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, options) })?;
    let go_on = |thread: libc::pid_t, signal: libc::c_int| {
        // SAFETY: as above; a signal that stopped it is delivered. One that was killed meanwhile is not there.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, 0, signal) };
    };
    let (mut stopped, mut signal, mut calls) = (child, 0, Vec::new());
    // Who waits for another's head start, until there are so many calls.
    let mut held = None;
    loop {
        if held.is_none_or(|(thread, _)| thread != stopped) {
            go_on(stopped, signal);
        }
        let status = loop {
            let (pid, status) = wait(-1)?;
            let ended = !libc::WIFSTOPPED(status);
            if let Some((thread, _)) = held.take_if(|(_, until)| ended || calls.len() >= *until) {
                go_on(thread, 0);
            }
            if !ended || pid == child {
                stopped = pid;
                break status;
            }
        };
        if !libc::WIFSTOPPED(status) {
            let ended = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return if ended { Ok(calls) } else { Err(Error::other(format!("wait status {status:#x}"))) };
        }
        let call = libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80;
        if call {
            calls.extend(begun(stopped)?);
        }
        if head_start > 0 && (libc::PTRACE_EVENT_FORK..=libc::PTRACE_EVENT_CLONE).contains(&(status >> 16)) {
            held = Some((stopped, calls.len() + head_start));
        }
        let event = status >> 16 != 0 || libc::WSTOPSIG(status) == libc::SIGSTOP;
        signal = if call || event { 0 } else { libc::WSTOPSIG(status) };
    }
}

/// The call on whose way into the kernel this thread stopped; `None` on its way out.
fn begun(thread: libc::pid_t) -> Result<Option<Call>> {
    /// Linux 5.3, include/uapi/linux/ptrace.h: `struct ptrace_syscall_info`, as far as a call's beginning.
    #[repr(C)]
    struct Info {
        stop: u8,
        machine: u32,
        pointers: [u64; 2],
        number: u64,
        args: [u64; 6],
    }
    const PTRACE_GET_SYSCALL_INFO: u16 = 0x420e;
    const ENTRY: u8 = 1;
    const _: () = assert!(offset_of!(Info, number) == 24);
    // SAFETY: the thread is stopped; the kernel fills in as many bytes at most.
    let (info, filled) = unsafe {
        let mut info: Info = zeroed();
        let filled =
            libc::ptrace(PTRACE_GET_SYSCALL_INFO.into(), thread, size_of::<Info>(), (&raw mut info).cast::<u8>());
        (info, filled)
    };
    if filled == -1 {
        return Err(Error::last_os_error());
    }
    if info.stop != ENTRY {
        return Ok(None);
    }
    let number = info.number as libc::c_long;
    let path = if number == libc::SYS_openat { text_at(thread, info.args[1])? } else { String::new() };
    Ok(Some(Call { thread, number, args: info.args, path }))
}

/// The text at this address in the thread's memory, up to a NUL.
fn text_at(thread: libc::pid_t, address: u64) -> Result<String> {
    let memory = File::open(format!("/proc/{thread}/mem"))?;
    // Nothing may be mapped behind it.
    let mut bytes = [0; 256];
    let length = memory.read_at(&mut bytes, address)?;
    let text = bytes[..length].split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}
