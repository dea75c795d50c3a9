//! Counts the system calls of a program, exactly, as `strace -c` would.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How many system calls the program makes from its first instruction to its end. It must have one thread.
pub(crate) fn system_calls(command: &mut Command) -> io::Result<usize> {
    // SAFETY: between fork and exec, one system call.
    unsafe { command.pre_exec(|| check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop)) };
    let child = command.spawn()?.id() as libc::pid_t;

    // The first stop is exec's. From here on stops for system calls are told from signals by bit 7.
    let mut status = wait(child)?;
    // SAFETY: the child is ours, and stopped.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESYSGOOD) })?;
    let (mut stops, mut signal) = (0, 0);
    while libc::WIFSTOPPED(status) {
        // SAFETY: as above; a signal that stopped it is delivered.
        check(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, child, 0, signal) })?;
        status = wait(child)?;
        let is_call = libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80;
        stops += usize::from(is_call);
        signal = if is_call || !libc::WIFSTOPPED(status) { 0 } else { libc::WSTOPSIG(status) };
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        return Err(io::Error::other(format!("{command:?} ended with wait status {status:#x}")));
    }
    // One stop on the way in and one on the way out, which the last call, exit_group, does not have.
    Ok(stops.div_ceil(2))
}

fn wait(child: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: fills in one number.
    check(unsafe { libc::waitpid(child, &mut status, 0) }.into()).map(|_| status)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
