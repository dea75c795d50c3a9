//! Systems that refuse to change code: what a hardened machine does, done to one process before it begins.

use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

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
}

/// Lets `command` run with these things refused. The rules are inherited over `exec`, so that the loader and the
/// runtime's constructor meet them.
pub fn refuse(command: &mut Command, refused: &'static [Refused]) {
    // SAFETY: the child makes system calls only, on numbers and on its own memory.
    unsafe { command.pre_exec(|| refused.iter().try_for_each(|refused| refused.install())) };
}

/// Why a test under these rules cannot run here.
pub fn cannot_refuse(refused: &'static [Refused]) -> Option<String> {
    let mut command = Command::new("true");
    refuse(&mut command, refused);
    command.status().err().map(|error| format!("the kernel does not take {refused:?}: {error}"))
}

const PR_SET_MDWE: libc::c_int = 65;
const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;

impl Refused {
    fn install(self) -> Result<()> {
        match self {
            // SAFETY: numbers only.
            Self::ExecGain => zero(unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) }),
            Self::MprotectExec => filter(libc::SYS_mprotect, Some((2, libc::PROT_EXEC)), REFUSE),
            Self::MprotectBack => {
                filter_unless(libc::SYS_mprotect, Some((2, libc::PROT_EXEC)), libc::PROT_WRITE, REFUSE)
            }
            Self::Mremap => filter(libc::SYS_mremap, None, REFUSE),
            Self::Memfd => filter(libc::SYS_memfd_create, None, REFUSE),
            Self::Statx => filter(libc::SYS_statx, None, REFUSE),
            Self::MapShared => filter(libc::SYS_mmap, Some((3, libc::MAP_SHARED)), REFUSE),
            Self::Ptrace => filter(libc::SYS_ptrace, None, REFUSE),
        }
    }
}

/// What a filter answers in the place of the kernel: `EPERM`.
pub const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// Installs a filter in the calling thread that does this to a system call; where the number of an argument and bits are
/// given, only if it has any of these bits.
pub fn filter(number: libc::c_long, bits: Option<(u32, i32)>, action: u32) -> Result<()> {
    filter_unless(number, bits, 0, action)
}

/// The same, unless the argument has any of other bits.
pub fn filter_unless(number: libc::c_long, bits: Option<(u32, i32)>, unless: i32, action: u32) -> Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // Without bits the argument does not matter: the second jump leads on as well.
    let (argument, mask, otherwise) = bits.map_or((0, 0, 0), |(argument, bits)| (argument, bits as u32, 2));
    let program = [
        // seccomp_data: the number at 0, the arguments from 16 on, eight bytes each, low half first.
        line(LOAD, 0, 0, 0),
        line(IF_EQUAL, number as u32, 0, 4),
        line(LOAD, 16 + 8 * argument, 0, 0),
        line(IF_ANY_BIT, mask, 0, otherwise),
        line(IF_ANY_BIT, unless as u32, 1, 0),
        line(RETURN, action, 0, 0),
        line(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
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
