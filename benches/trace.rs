//! Counts what a program does, exactly: its system calls, as `strace -c` would, and its instructions.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a program does from its first instruction to its end.
pub(crate) struct Counts {
    pub(crate) calls: usize,
    pub(crate) instructions: usize,
    /// Page faults that needed no reading from a device.
    pub(crate) faults: usize,
}

/// Runs a program twice, once to each system call and once instruction by instruction. It must have one thread.
pub(crate) fn count(command: impl Fn() -> Command) -> io::Result<Counts> {
    let (stops, faults) = run(&mut command(), libc::PTRACE_SYSCALL)?;
    let (instructions, _) = run(&mut command(), libc::PTRACE_SINGLESTEP)?;
    // One stop on the way in and one on the way out, which the last call, exit_group, does not have.
    Ok(Counts { calls: stops.div_ceil(2), instructions, faults })
}

/// Runs a program to its end by these requests; returns how often it stopped for them, and its page faults.
fn run(command: &mut Command, request: libc::c_uint) -> io::Result<(usize, usize)> {
    const ADDR_NO_RANDOMIZE: libc::c_ulong = 0x0004_0000;
    let prepare = || {
        // SAFETY: a system call that gives the program the same addresses, and so the same counts, each time.
        check(unsafe { libc::personality(ADDR_NO_RANDOMIZE) }.into())?;
        // SAFETY: a system call without arguments.
        check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
    };
    // SAFETY: between fork and exec, system calls only.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?.id() as libc::pid_t;

    // The first stop is exec's. From here on stops for system calls are told from signals by bit 7.
    let (mut status, mut faults) = wait(child)?;
    // SAFETY: the child is ours, and stopped.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESYSGOOD) })?;
    let ours = if request == libc::PTRACE_SYSCALL { libc::SIGTRAP | 0x80 } else { libc::SIGTRAP };
    let (mut stops, mut signal) = (0, 0);
    while libc::WIFSTOPPED(status) {
        // SAFETY: as above; a signal that stopped it is delivered.
        check(unsafe { libc::ptrace(request, child, 0, signal) })?;
        (status, faults) = wait(child)?;
        let is_ours = libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == ours;
        stops += usize::from(is_ours);
        signal = if is_ours || !libc::WIFSTOPPED(status) { 0 } else { libc::WSTOPSIG(status) };
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        return Err(io::Error::other(format!("{command:?} ended with wait status {status:#x}")));
    }
    Ok((stops, faults))
}

/// The child's next status, and the page faults that it has had.
fn wait(child: libc::pid_t) -> io::Result<(libc::c_int, usize)> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::zeroed();
    // SAFETY: fills in one number and one record.
    check(unsafe { libc::wait4(child, &mut status, 0, usage.as_mut_ptr()) }.into())?;
    // SAFETY: numbers alone, of which zero is one.
    Ok((status, unsafe { usage.assume_init() }.ru_minflt as usize))
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
