//! Systems that refuse to change code: what a hardened machine does, done to one process before it begins.

use libc::{c_long, sock_filter};
use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Something that the kernel will refuse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refused {
    /// `PR_SET_MDWE`: nothing may become executable that was not (`EACCES`).
    ExecGain,
    /// A seccomp filter as systemd's `MemoryDenyWriteExecute` has: `mprotect` with `PROT_EXEC` (`EPERM`).
    MprotectExec,
    /// A seccomp filter against `mprotect` with `PROT_EXEC` and without `PROT_WRITE` (`EPERM`): who makes text writable cannot
    /// take that back.
    MprotectBack,
    /// A seccomp filter against `mprotect` with `PROT_WRITE` (`EPERM`): what is read-only stays that.
    MprotectWrite,
    /// A seccomp filter against `mprotect` with `PROT_READ` and without `PROT_WRITE` (`EPERM`), which loaders need: for static programs
    /// of a libc that protects nothing.
    MprotectRead,
    /// A seccomp filter against `mremap` (`EPERM`).
    Mremap,
    /// A seccomp filter against `memfd_create` (`EPERM`).
    Memfd,
    /// A seccomp filter against `statx` (`EPERM`), which tells the number of threads.
    Statx,
    /// A seccomp filter against shared mappings (`EPERM`), which no loader needs.
    MapShared,
    /// A seccomp filter against `ptrace` (`EPERM`).
    Ptrace,
    /// All of the seccomp filter that systemd's `MemoryDenyWriteExecute` is where the kernel has no `PR_SET_MDWE`, `EPERM` (systemd,
    /// src/shared/seccomp-util.c, `seccomp_memory_deny_write_execute`).
    WriteExecute,
    /// Docker's default profile, for a container with the default capabilities (`docker.txt`).
    Docker,
    /// Calls that the system does not have (`ENOSYS`), as a kernel in user space may not.
    Missing(&'static [c_long]),
}

/// Lets `command` run with these things refused. The rules are inherited over `exec`, so that the loader and the
/// runtime's constructor meet them.
pub fn refuse(command: &mut Command, refused: &'static [Refused]) {
    let filters: Vec<_> = refused.iter().map(|refused| refused.filter()).collect();
    // SAFETY: the child makes system calls only, on numbers and on memory that is there by then.
    unsafe {
        command.pre_exec(move || {
            filters.iter().try_for_each(|program| match program {
                Some(program) => install(program),
                None => zero(libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)),
            })
        });
    }
}

/// Why a test under these rules cannot run here.
pub fn cannot_refuse(refused: &'static [Refused]) -> Option<String> {
    let mut command = Command::new("true");
    refuse(&mut command, refused);
    // Where it may not open its libraries, it says so.
    command.stderr(Stdio::null()).status().err().map(|error| format!("the kernel does not take {refused:?}: {error}"))
}

const PR_SET_MDWE: libc::c_int = 65;
const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;

impl Refused {
    /// The filter that refuses it; none for what is refused without.
    fn filter(self) -> Option<Vec<sock_filter>> {
        let one = |number, bits: Option<(u32, i32)>| {
            allowing(&[Rule::new(number, REFUSE).when(bits.map(|(at, bits)| (at, Is::Any(bits as u32))))])
        };
        Some(match self {
            Self::ExecGain => return None,
            Self::MprotectExec => one(libc::SYS_mprotect, Some((2, libc::PROT_EXEC))),
            Self::MprotectBack => {
                let rule = Rule::new(libc::SYS_mprotect, REFUSE);
                allowing(&[rule.when([(2, Is::Any(libc::PROT_EXEC as u32)), (2, Is::None(libc::PROT_WRITE as u32))])])
            }
            Self::MprotectWrite => one(libc::SYS_mprotect, Some((2, libc::PROT_WRITE))),
            Self::MprotectRead => {
                let rule = Rule::new(libc::SYS_mprotect, REFUSE);
                allowing(&[rule.when([(2, Is::Any(libc::PROT_READ as u32)), (2, Is::None(libc::PROT_WRITE as u32))])])
            }
            Self::Mremap => one(libc::SYS_mremap, None),
            Self::Memfd => one(libc::SYS_memfd_create, None),
            Self::Statx => one(libc::SYS_statx, None),
            Self::MapShared => one(libc::SYS_mmap, Some((3, libc::MAP_SHARED))),
            Self::Ptrace => one(libc::SYS_ptrace, None),
            Self::WriteExecute => {
                let both = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;
                let rule = |number, is| Rule::new(number, REFUSE).when([(2, is)]);
                let executable = Is::Any(libc::PROT_EXEC as u32);
                allowing(&[
                    rule(libc::SYS_mmap, Is::Masked(both, both)),
                    rule(libc::SYS_mprotect, executable),
                    rule(libc::SYS_pkey_mprotect, executable),
                    rule(libc::SYS_shmat, Is::Any(libc::SHM_EXEC as u32)),
                ])
            }
            Self::Docker => {
                let rules: Vec<_> = include_str!("docker.txt").lines().filter_map(Rule::of_docker).collect();
                compile(&rules, REFUSE)
            }
            Self::Missing(calls) => {
                let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
                allowing(&calls.iter().map(|&number| Rule::new(number, errno)).collect::<Vec<_>>())
            }
        })
    }
}

/// What a filter answers in the place of the kernel: `EPERM`.
pub const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// Installs a filter in the calling thread that does this to a system call; where the number of an argument and bits are
/// given, only if it has any of these bits.
pub fn filter(number: c_long, bits: Option<(u32, i32)>, action: u32) -> Result<()> {
    install(&allowing(&[Rule::new(number, action).when(bits.map(|(at, bits)| (at, Is::Any(bits as u32))))]))
}

/// The same, unless the argument has any of other bits.
pub fn filter_unless(number: c_long, bits: Option<(u32, i32)>, unless: i32, action: u32) -> Result<()> {
    let when = bits.map(|(at, bits)| [(at, Is::Any(bits as u32)), (at, Is::None(unless as u32))]);
    install(&allowing(&[Rule::new(number, action).when(when.into_iter().flatten())]))
}

/// What the lower half of an argument is.
#[derive(Clone, Copy)]
enum Is {
    Equal(u32),
    Less(u32),
    More(u32),
    /// One of these bits is set.
    Any(u32),
    /// None of them.
    None(u32),
    /// Of the first's bits those of the second are set.
    Masked(u32, u32),
}

/// What becomes of a system call, if its arguments are so.
struct Rule {
    number: c_long,
    when: Vec<(u32, Is)>,
    action: u32,
}

impl Rule {
    fn new(number: c_long, action: u32) -> Self {
        Self { number, when: vec![], action }
    }

    fn when(mut self, arguments: impl IntoIterator<Item = (u32, Is)>) -> Self {
        self.when.extend(arguments);
        self
    }

    /// A line of `docker.txt`.
    fn of_docker(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u32>().expect("a number");
        let allow = |at| Self::new(number(at).into(), libc::SECCOMP_RET_ALLOW);
        match words[..] {
            ["#", ..] => None,
            [_, at] => Some(allow(at)),
            [_, at, "if", argument, is, value] => {
                let value = number(value);
                let is = match is {
                    "=" => Is::Equal(value),
                    "<" => Is::Less(value),
                    ">" => Is::More(value),
                    "&" => Is::None(value),
                    _ => panic!("{line}"),
                };
                Some(allow(at).when([(number(argument), is)]))
            }
            [_, at, "errno", errno] => Some(Self::new(number(at).into(), libc::SECCOMP_RET_ERRNO | number(errno))),
            _ => panic!("{line}"),
        }
    }
}

/// A filter that allows everything else.
fn allowing(rules: &[Rule]) -> Vec<sock_filter> {
    compile(rules, libc::SECCOMP_RET_ALLOW)
}

/// A filter of which the first rule that holds counts.
fn compile(rules: &[Rule], otherwise: u32) -> Vec<sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const IF_MORE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
    const IF_NOT_LESS: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const IF_ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let line = |code: u32, k, jt, jf| sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![];
    for rule in rules {
        let mut block = vec![];
        for &(argument, is) in &rule.when {
            // Behind the number in seccomp_data, from 16 on, eight bytes each, low half first.
            block.push(line(LOAD, 16 + 8 * argument, 0, 0));
            let (code, value, holds) = match is {
                Is::Equal(value) => (IF_EQUAL, value, true),
                Is::Less(value) => (IF_NOT_LESS, value, false),
                Is::More(value) => (IF_MORE, value, true),
                Is::Any(bits) => (IF_ANY_BIT, bits, true),
                Is::None(bits) => (IF_ANY_BIT, bits, false),
                Is::Masked(mask, value) => {
                    block.push(line(AND, mask, 0, 0));
                    (IF_EQUAL, value, true)
                }
            };
            // The way out is filled in below.
            block.push(if holds { line(code, value, 0, OUT) } else { line(code, value, OUT, 0) });
        }
        block.push(line(RETURN, rule.action, 0, 0));
        block.splice(0..0, [line(LOAD, 0, 0, 0), line(IF_EQUAL, rule.number as u32, 0, OUT)]);
        let length = block.len();
        for (at, line) in block.iter_mut().enumerate() {
            for way in [&mut line.jt, &mut line.jf] {
                *way = if *way == OUT { (length - at - 1) as u8 } else { 0 };
            }
        }
        program.extend(block);
    }
    program.push(line(RETURN, otherwise, 0, 0));
    program
}

/// Behind a rule's last line.
const OUT: u8 = u8::MAX;

/// Installs a filter in the calling thread.
fn install(program: &[sock_filter]) -> Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: numbers, and a program that the kernel copies.
    unsafe {
        zero(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        zero(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}

fn zero(result: libc::c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
