//! System calls that fail, one or more of those that the runtime makes while a program loads, or while it sets switches: a tracer
//! answers in the kernel's place.
//!
//! A call is the runtime's if its instruction lies in a file that carries the runtime, wherever that is mapped: libc's calls are
//! made from libc's text, the runtime's from its own. The program must be dynamically linked, therefore.

use std::path::PathBuf;
use std::process::Command;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not made, and the answer is this error.
    Errno(i32),
    /// It is made, and the answer is this error all the same.
    Late(i32),
    /// An `mremap` that unmaps what stands at the target, and then fails.
    Hole(i32),
    /// The third argument, a length, is no more than this.
    Short(u64),
    /// The fourth argument, flags, is without these: an older kernel does not know them.
    Unknown(u64),
}

/// A call of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub number: libc::c_long,
    /// Where in its file the call is made.
    pub place: u64,
    pub args: [u64; 6],
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub protection: String,
    pub offset: u64,
    pub path: String,
}

/// A process that is about to end.
#[derive(Clone, Debug, Default)]
pub struct End {
    pub mappings: Vec<Mapping>,
    pub descriptors: usize,
    /// The signals that wait for the first thread to let them in.
    pub blocked: String,
}

/// What came of a run.
pub struct Run {
    /// As wait(2) has it.
    pub status: i32,
    /// The runtime's calls in the part of the run that is looked at.
    pub calls: Vec<Call>,
    /// How many of the faults were met.
    pub met: usize,
    pub end: End,
    pub said: String,
    pub errors: String,
}

/// The part of a run that is looked at. A line is what the program writes to standard output, but for those of probes
/// (`tests/programs/witness`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Until the first line.
    Load,
    /// From the first line to the second.
    Set,
}

/// Runs a program to its end. Of the runtime's calls in this part, which are made from these files, those fail that are named by
/// their position.
#[cfg(target_arch = "x86_64")]
pub fn run(command: &mut Command, files: &[PathBuf], part: Part, faults: &[(usize, Fault)]) -> Run {
    tracer::Tracer::new(command, files, part, faults).run()
}

#[cfg(not(target_arch = "x86_64"))]
pub fn run(_: &mut Command, _: &[PathBuf], _: Part, _: &[(usize, Fault)]) -> Run {
    unreachable!("the tracer knows the registers of x86-64 only")
}

/// What is mapped into a process.
fn mappings(pid: libc::pid_t) -> Vec<Mapping> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the maps");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a hexadecimal number");
    let mapping = |line: &str| {
        // START-END rwxp OFFSET DEVICE INODE PATH
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (start, end) = fields[0].split_once('-').expect("two addresses");
        let path = fields.get(5..).unwrap_or_default().join(" ");
        let (start, end, offset) = (number(start), number(end), number(fields[2]));
        Mapping { start, end, protection: fields[1].into(), offset, path }
    };
    maps.lines().map(mapping).collect()
}

#[cfg(target_arch = "x86_64")]
mod tracer {
    use super::*;
    use crate::common::Temporary;
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::ErrorKind;
    use std::mem::zeroed;
    use std::os::unix::process::CommandExt;

    pub(super) struct Tracer<'a> {
        child: libc::pid_t,
        files: &'a [PathBuf],
        part: Part,
        faults: &'a [(usize, Fault)],
        /// Text that calls are made from, and whether it carries the runtime.
        known: Vec<(Mapping, bool)>,
        calls: Vec<Call>,
        /// Threads whose calls were changed: the registers that the kernel keeps, and an error to answer.
        changed: BTreeMap<libc::pid_t, (u64, u64, Option<i32>)>,
        /// Where the program is; `None` behind all parts.
        at: Option<Part>,
        met: usize,
        end: End,
        output: [Temporary; 2],
    }

    impl<'a> Tracer<'a> {
        /// Starts the program, which stops before its first instruction.
        pub(super) fn new(
            command: &mut Command,
            files: &'a [PathBuf],
            part: Part,
            faults: &'a [(usize, Fault)],
        ) -> Self {
            // SAFETY: system calls in the child, on numbers and a set of its own. A signal waits, as signals may.
            unsafe {
                command.pre_exec(|| {
                    let mut signals: libc::sigset_t = zeroed();
                    libc::sigaddset(&mut signals, libc::SIGUSR2);
                    let waits = libc::sigprocmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
                    let is_traced = libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                    if waits == 0 && is_traced == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
                });
            }
            let output = ["said", "errors"].map(Temporary::path);
            let [said, errors] = [0, 1].map(|at: usize| File::create(&output[at].0).unwrap());
            command.stdout(said).stderr(errors);
            let child = loop {
                match command.spawn() {
                    // As in `output`.
                    Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                    child => break child.expect("a program").id() as libc::pid_t,
                }
            };
            let options = libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_EXITKILL
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEEXIT;
            // SAFETY: a child of this thread that stops for it.
            unsafe {
                assert_eq!(libc::waitpid(child, &mut 0, 0), child);
                assert_eq!(libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, options), 0);
            }
            let (known, calls, changed, end) = <_>::default();
            let at = Some(Part::Load);
            Self { child, files, part, faults, known, calls, changed, at, met: 0, end, output }
        }

        pub(super) fn run(mut self) -> Run {
            let (mut thread, mut signal) = (self.child, 0);
            loop {
                let is_over = self.at.is_none_or(|at| at > self.part);
                let request = if is_over { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
                let mut status = 0;
                // SAFETY: a thread that stopped for this one, if it was not killed meanwhile.
                unsafe {
                    libc::ptrace(request, thread, 0, signal);
                    thread = libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD);
                }
                assert!(thread > 0, "{}", std::io::Error::last_os_error());
                signal = 0;
                if libc::WIFSTOPPED(status) {
                    match (status >> 16, libc::WSTOPSIG(status)) {
                        (libc::PTRACE_EVENT_EXIT, _) if thread == self.child => self.end = self.ending(),
                        (0, stop) if stop == libc::SIGTRAP | 0x80 => self.call(thread),
                        // A new thread's first stop.
                        (0, libc::SIGSTOP) => {}
                        (0, stop) => signal = stop,
                        _ => {}
                    }
                } else if thread == self.child {
                    let [said, errors] = self.output.map(|file| std::fs::read(&file.0).unwrap());
                    let [said, errors] = [said, errors].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                    return Run { status, calls: self.calls, met: self.met, end: self.end, said, errors };
                }
            }
        }

        fn ending(&self) -> End {
            let pid = self.child;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the status");
            let blocked = status.lines().find(|line| line.starts_with("SigBlk:")).expect("a set of signals").into();
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the descriptors").count();
            End { mappings: mappings(pid), descriptors, blocked }
        }

        /// A thread stopped on its way into the kernel, or out of it.
        fn call(&mut self, thread: libc::pid_t) {
            // SAFETY: the thread is stopped; the kernel fills in what is given, numbers.
            let mut info: libc::ptrace_syscall_info = unsafe { zeroed() };
            let size = size_of_val(&info);
            // SAFETY: as above.
            if unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, &raw mut info) } == -1 {
                // Killed meanwhile, with all of its process.
                return;
            }
            match info.op {
                libc::PTRACE_SYSCALL_INFO_ENTRY => {
                    // SAFETY: as the kernel says.
                    let entry = unsafe { info.u.entry };
                    let number = entry.nr as libc::c_long;
                    match self.place(info.instruction_pointer) {
                        Some(place) if self.at == Some(self.part) => {
                            self.begin(thread, Call { number, place, args: entry.args });
                        }
                        None if self.is_said(thread, number, &entry.args) => {
                            self.at = self.at.filter(|&at| at == Part::Load).map(|_| Part::Set);
                        }
                        _ => {}
                    }
                }
                _ => {
                    if let Some((rdi, rdx, errno)) = self.changed.remove(&thread) {
                        change(thread, |registers| {
                            (registers.rdi, registers.rdx) = (rdi, rdx);
                            registers.rax = errno.map_or(registers.rax, |errno| -i64::from(errno) as u64);
                        });
                    }
                }
            }
        }

        /// Where in its file an instruction is, if that carries the runtime.
        fn place(&mut self, instruction: u64) -> Option<u64> {
            let holds = |mapping: &Mapping| (mapping.start..mapping.end).contains(&instruction);
            let place = |mapping: &Mapping| instruction - mapping.start + mapping.offset;
            if let Some((mapping, is_ours)) = self.known.iter().find(|(mapping, _)| holds(mapping)) {
                return is_ours.then(|| place(mapping));
            }
            let mapping = mappings(self.child).into_iter().find(holds)?;
            let is_ours = self.files.iter().any(|file| *mapping.path == *file.to_string_lossy());
            let found = is_ours.then(|| place(&mapping));
            // A second mapping of a file is gone soon, and something else in its place.
            if !mapping.path.is_empty() && !self.known.iter().any(|(known, _)| known.path == mapping.path) {
                self.known.push((mapping, is_ours));
            }
            found
        }

        fn begin(&mut self, thread: libc::pid_t, call: Call) {
            let position = self.calls.len();
            self.calls.push(call);
            let Some(&(_, fault)) = self.faults.iter().find(|(at, _)| *at == position) else { return };
            self.met += 1;
            let [first, _, third, ..] = call.args;
            let errno = match fault {
                Fault::Errno(errno) => {
                    change(thread, |registers| registers.orig_rax = u64::MAX);
                    Some(errno)
                }
                Fault::Late(errno) => Some(errno),
                Fault::Hole(errno) => {
                    assert_eq!(call.number, libc::SYS_mremap);
                    // Its length is where that of munmap is.
                    change(thread, |registers| {
                        (registers.orig_rax, registers.rdi) = (libc::SYS_munmap as u64, registers.r8);
                    });
                    Some(errno)
                }
                Fault::Short(length) => {
                    change(thread, |registers| registers.rdx = registers.rdx.min(length));
                    None
                }
                Fault::Unknown(flags) => {
                    change(thread, |registers| registers.r10 &= !flags);
                    None
                }
            };
            self.changed.insert(thread, (first, third, errno));
        }

        /// Whether the program says something of its own.
        fn is_said(&self, thread: libc::pid_t, number: libc::c_long, args: &[u64; 6]) -> bool {
            number == libc::SYS_write && args[0] == libc::STDOUT_FILENO as u64 && {
                // SAFETY: the thread is stopped; reads one word of its memory.
                let word = unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, thread, args[1], 0) };
                !word.to_ne_bytes().starts_with(b"probe\t")
            }
        }
    }

    /// Changes registers of a stopped thread.
    fn change(thread: libc::pid_t, change: impl FnOnce(&mut libc::user_regs_struct)) {
        // SAFETY: the thread is stopped; numbers are read and written.
        unsafe {
            let mut registers: libc::user_regs_struct = zeroed();
            // One that was killed meanwhile is not there.
            if libc::ptrace(libc::PTRACE_GETREGS, thread, 0, &raw mut registers) == 0 {
                change(&mut registers);
                libc::ptrace(libc::PTRACE_SETREGS, thread, 0, &raw mut registers);
            }
        }
    }
}
