//! What can happen while pages are exchanged, by a tracer: a kernel that has no memory for the last step of `mremap`, as it has
//! unmapped what stood at the target by then; a debugger that takes a breakpoint away.

use super::Temporary;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why nothing can be traced here, from a try.
pub fn no_holes() -> Option<String> {
    let mut command = Command::new("true");
    if !cfg!(target_arch = "x86_64") {
        return Some("the tracer knows the registers of x86-64 only".into());
    }
    begin(&mut command, Stdio::null()).err().map(|error| format!("no process can be traced: {error}"))
}

/// Starts a program that stops for its tracer, this thread, before its first instruction.
fn begin(command: &mut Command, output: Stdio) -> std::io::Result<libc::pid_t> {
    // SAFETY: one system call in the child, on numbers.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let pid = command.stdout(output).spawn()?.id() as libc::pid_t;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    // SAFETY: a child of this thread that stops for it.
    unsafe {
        assert_eq!(libc::waitpid(pid, &mut 0, 0), pid);
        assert_eq!(libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options), 0);
    }
    Ok(pid)
}

/// Has a child that stopped go on, with this signal, to its next system call, or from that; its status there.
#[cfg(target_arch = "x86_64")]
fn next_stop(pid: libc::pid_t, signal: libc::c_int) -> libc::c_int {
    let mut status = 0;
    // SAFETY: a child of this thread that stops for it; the kernel fills in what is given.
    unsafe {
        libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, signal);
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
    }
    status
}

/// Runs a program of one thread to its end, which must be a good one. Each `mremap` to a fixed place unmaps what is there, and fails
/// with `ENOMEM`. Returns what the program says, and how often that was.
#[cfg(target_arch = "x86_64")]
pub fn output_with_holes(command: &mut Command) -> (String, usize) {
    let said = Temporary::path("holes");
    let pid = begin(command, File::create(&said.0).unwrap().into()).unwrap();
    let (mut holes, mut signal, mut is_inside, mut fails) = (0, 0, false, false);
    loop {
        let status = next_stop(pid, signal);
        if !libc::WIFSTOPPED(status) {
            assert_eq!(status, 0, "{command:?}: its end, after {holes} holes");
            return (std::fs::read_to_string(&said.0).unwrap(), holes);
        }
        signal = libc::WSTOPSIG(status);
        if signal != libc::SIGTRAP | 0x80 {
            continue;
        }
        signal = 0;
        is_inside = !is_inside;
        // SAFETY: as above; the registers are numbers.
        unsafe {
            let mut registers: libc::user_regs_struct = std::mem::zeroed();
            assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers), 0);
            let fixed = registers.r10 & libc::MREMAP_FIXED as u64 != 0;
            if is_inside && registers.orig_rax == libc::SYS_mremap as u64 && fixed {
                // Its length is where that of munmap is.
                (registers.orig_rax, registers.rdi) = (libc::SYS_munmap as u64, registers.r8);
                (holes, fails) = (holes + 1, true);
            } else if !is_inside && std::mem::take(&mut fails) {
                assert_eq!(registers.rax, 0, "munmap");
                registers.rax = -i64::from(libc::ENOMEM) as u64;
            } else {
                continue;
            }
            assert_eq!(libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw mut registers), 0);
        }
    }
}

/// Runs a program to its end, which must be a good one. There is a breakpoint at this address of its file until a copy of its text
/// becomes executable, which is to take the place of the text. Returns what the program says, and the byte that is there at the end
/// in memory, and in the file.
#[cfg(target_arch = "x86_64")]
pub fn output_with_breakpoint(command: &mut Command, address: u64) -> (String, [u8; 2]) {
    const BREAKPOINT: u8 = 0xcc;
    let said = Temporary::path("breakpoint");
    let pid = begin(command, File::create(&said.0).unwrap().into()).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let program = std::fs::canonicalize(Path::new(command.get_program())).unwrap();
    let base = maps.lines().find(|line| line.ends_with(program.to_str().unwrap())).expect("its mapping");
    let base = u64::from_str_radix(base.split('-').next().unwrap(), 16).unwrap();
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
    let byte = || {
        let mut byte = [0];
        memory.read_exact_at(&mut byte, base + address).unwrap();
        byte[0]
    };
    let in_file = byte();
    memory.write_all_at(&[BREAKPOINT], base + address).unwrap();
    let (mut is_there, mut at_end, mut signal) = (true, BREAKPOINT, 0);
    loop {
        let status = next_stop(pid, signal);
        if !libc::WIFSTOPPED(status) {
            assert!(!is_there, "nothing was to be exchanged");
            assert_eq!(status, 0, "{command:?}: its end");
            return (std::fs::read_to_string(&said.0).unwrap(), [at_end, in_file]);
        }
        signal = libc::WSTOPSIG(status);
        if signal != libc::SIGTRAP | 0x80 {
            continue;
        }
        (signal, at_end) = (0, byte());
        // SAFETY: as above; the registers are numbers.
        let registers = unsafe {
            let mut registers: libc::user_regs_struct = std::mem::zeroed();
            assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers), 0);
            registers
        };
        let executable = registers.rdx & libc::PROT_EXEC as u64 != 0;
        if is_there && registers.orig_rax == libc::SYS_mprotect as u64 && executable {
            memory.write_all_at(&[in_file], base + address).unwrap();
            is_there = false;
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn output_with_breakpoint(_: &mut Command, _: u64) -> (String, [u8; 2]) {
    unreachable!("there are no sites here")
}

#[cfg(not(target_arch = "x86_64"))]
pub fn output_with_holes(_: &mut Command) -> (String, usize) {
    unreachable!("there are no sites here")
}
