//! What the evidence of the key `slice` means, and the remedy.

use super::facts::{Facts, Setting};
use invar::Origin;
use serde::Serialize;

/// Why the time slice extension is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is there.
    Available,
    /// The kernel has no such extension.
    Kernel,
    /// The kernel is compiled without it.
    Config,
    /// The kernel was told at boot not to have it.
    Boot,
    /// libc registered an area that is too small.
    Libc,
    /// Another library owns the thread's area.
    Owner,
    /// A seccomp filter refuses the calls.
    Filter,
    /// The kernel has it, and on this machine's architecture nobody makes requests.
    Architecture,
    /// A setting switched it off.
    Setting,
    /// A setting binds the sites where the extension is absent.
    Forced,
    /// Nothing has decided, or something that has no name here.
    Other,
}

/// How the evidence of a probe begins, and what that means. A test holds it against the probe.
pub const BEGINNINGS: [(&str, Cause); 12] = [
    ("available: ", Cause::Available),
    ("the kernel has the extension", Cause::Architecture),
    ("kernel without the field", Cause::Kernel),
    ("prctl 79 gives errno ", Cause::Kernel),
    ("kernel compiled without the extension", Cause::Config),
    ("off at boot", Cause::Boot),
    ("libc registered 32 bytes", Cause::Libc),
    ("area owned by somebody else", Cause::Owner),
    ("refused by a seccomp filter", Cause::Filter),
    ("a seccomp filter stands", Cause::Filter),
    ("rseq is not registered, and this library", Cause::Other),
    ("rseq is not registered, and registering", Cause::Other),
];

impl Cause {
    /// By who decided, and the evidence.
    pub(super) fn of(decision: Option<(Origin, &str)>) -> Self {
        match decision {
            Some((Origin::Setting, _)) => Self::Setting,
            Some((Origin::Forced, _)) => Self::Forced,
            Some((_, evidence)) => {
                let found = BEGINNINGS.iter().find(|(beginning, _)| evidence.starts_with(beginning));
                found.map_or(Self::Other, |(_, cause)| *cause)
            }
            None => Self::Other,
        }
    }

    /// What to do.
    pub(super) fn remedy(self, evidence: &str, facts: &Facts) -> String {
        const KERNEL: &str = "Linux 7.0 or newer, built with CONFIG_RSEQ_SLICE_EXTENSION=y";
        match self {
            Self::Available if evidence.contains("seccomp filter") => {
                "let the seccomp filter allow system call 471, so that threads yield at once".into()
            }
            Self::Available => "nothing".into(),
            Self::Kernel if facts.is_7() => format!("boot a kernel with CONFIG_RSEQ=y: {KERNEL}"),
            Self::Kernel => format!("boot {KERNEL}"),
            Self::Config if facts.config == Setting::Is("y".into()) => {
                "let the seccomp filter allow prctl 79 and system call 471: the kernel's configuration has the extension"
                    .into()
            }
            Self::Config if evidence.contains("architecture has none yet") => {
                "use x86-64 or RISC-V: no kernel of this architecture has it yet".into()
            }
            Self::Config => format!("boot {KERNEL}"),
            Self::Boot => match &facts.boot {
                Setting::Is(value) => format!("take rseq_slice_ext={value} out of the boot line, and boot"),
                _ => "boot without rseq_slice_ext=0, which may be built into the kernel (CONFIG_CMDLINE)".into(),
            },
            Self::Libc => {
                "use glibc 2.41 or newer; or start with GLIBC_TUNABLES=glibc.pthread.rseq=0, so that the program registers an \
                 area of its own"
                    .into()
            }
            Self::Owner if facts.tunable_of_system == Setting::Is("0".into()) && facts.is_final => {
                "take glibc.pthread.rseq=0 out of /etc/tunables.conf, and call ldconfig, so that glibc is the owner".into()
            }
            Self::Owner => {
                "let only one own it: switch off the library that registers areas, such as tcmalloc's per-CPU caches; \
                 or start with GLIBC_TUNABLES=glibc.pthread.rseq=1, so that glibc is first"
                    .into()
            }
            Self::Filter => {
                let whose = if facts.is_container { "the container's" } else { "the service's or the sandbox's" };
                format!("let {whose} seccomp filter allow prctl 79 and system call 471")
            }
            Self::Architecture => "use x86-64 or RISC-V: elsewhere programs make no requests yet".into(),
            Self::Setting => "start without the INVAR variable that switches it off".into(),
            Self::Forced => "start without INVAR_KEYS=slice=force, which is for measurements".into(),
            Self::Other if evidence.is_empty() => "start without INVAR=off".into(),
            Self::Other => "see the line above: INVAR_REPORT=stderr has the rest".into(),
        }
    }
}
