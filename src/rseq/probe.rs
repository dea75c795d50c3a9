//! The slice key's verdict: every way in which the extension can be missing has a message and advice of its own.

use super::{ENOTSUPP, FEATURE_SIZE, Facts, Fate, SYS_RSEQ_SLICE_YIELD};
use crate::sys::Errno;
use crate::text::Evidence;

/// What the sites need to know of an available extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Available {
    /// Distance of each thread's area from its thread pointer.
    pub(crate) area: isize,
    /// The system call by which the cold path gives up the CPU; negative for none.
    pub(crate) yield_number: i32,
}

/// Whether every thread has an area that may be written at one constant offset, on a kernel that grants.
///
/// That is what stays true for the life of the process. Whether a *thread* has the extension enabled can change at
/// any time, and is not asked: in one that has not, the bound code has no effect.
pub(super) fn decide(facts: &impl Facts, evidence: &mut Evidence) -> Option<Available> {
    let size = facts.feature_size();
    if size < FEATURE_SIZE {
        evidence.text("kernel without the field: AT_RSEQ_FEATURE_SIZE is ").number(size as i64);
        evidence.text(", 33 needed; needs Linux 7.0 with CONFIG_RSEQ_SLICE_EXTENSION=y");
        return None;
    }

    // A filter that kills would end the program at the first call: let a child go first.
    let trial = facts.trial();
    match trial.enable {
        Fate::Answered => {}
        Fate::Refused(errno) => {
            evidence.text("refused by a seccomp filter: prctl 79 gives errno ").number(errno.into());
            evidence.text("; allow prctl 79 and system call 471");
            return None;
        }
        Fate::Killed => {
            evidence.text("refused by a seccomp filter: prctl 79 kills; allow prctl 79 and system call 471");
            return None;
        }
    }
    // Any system call ends a grant, so an error is as good as an answer; only death is not.
    let yield_number = match (trial.slice_yield, trial.sched_yield) {
        (Fate::Answered, _) => SYS_RSEQ_SLICE_YIELD,
        (_, Fate::Answered) => libc::SYS_sched_yield as i32,
        (Fate::Refused(_), _) => SYS_RSEQ_SLICE_YIELD,
        (Fate::Killed, _) => -1,
    };

    let libc = facts.libc_area().filter(|&(_, size)| size > 0);
    let (area, owner) = match (facts.enable(), libc) {
        (Ok(()), Some((area, _))) if facts.enabled(area) => (area, "libc"),
        (Ok(()), _) => return somebody_else(evidence),
        (Err(Errno(libc::ENXIO)), _) => (register(facts, evidence)?, "invar"),
        (Err(Errno(ENOTSUPP)), _) => return not_supported(facts, libc, trial.slice_yield, evidence),
        (Err(Errno(errno)), _) => {
            evidence.text("prctl 79 gives errno ").number(errno.into());
            evidence.text(match errno {
                libc::EINVAL => ": the kernel has the field and not the call; use Linux 7.0 or newer",
                _ => ", which no known kernel gives",
            });
            return None;
        }
    };
    evidence.text("available: prctl 79 succeeded and ENABLED reads back; area of ").text(owner);
    evidence.text(" at thread pointer ").text(if area < 0 { "- " } else { "+ " }).number(area.unsigned_abs() as i64);
    match yield_number {
        SYS_RSEQ_SLICE_YIELD => {}
        -1 => _ = evidence.text("; a seccomp filter kills on 471 and sched_yield: grants are left to expire"),
        _ => _ = evidence.text("; a seccomp filter refuses 471: yields by sched_yield"),
    }
    Some(Available { area, yield_number })
}

/// `prctl` says ENOTSUPP: which of the three reasons is it?
fn not_supported(
    facts: &impl Facts,
    libc: Option<(isize, u32)>,
    tried: Fate,
    evidence: &mut Evidence,
) -> Option<Available> {
    let compiled_out = tried == Fate::Answered && facts.slice_yield() == Err(Errno(libc::ENOSYS));
    match libc {
        _ if compiled_out => {
            evidence.text("kernel compiled without the extension: prctl 79 gives 524 and system call 471 ENOSYS; ");
            evidence.text("needs CONFIG_RSEQ_SLICE_EXTENSION=y");
        }
        Some((_, size)) if u64::from(size) < FEATURE_SIZE => {
            evidence.text("libc registered 32 bytes (__rseq_size is ").number(size.into());
            evidence.text("): use glibc 2.41 or newer, or start with GLIBC_TUNABLES=glibc.pthread.rseq=0 so that invar registers its own area");
        }
        Some(_) => {
            evidence.text("off at boot: prctl 79 gives 524 on a kernel that has the extension; boot without rseq_slice_ext=0");
        }
        None => return somebody_else(evidence),
    }
    None
}

/// No area is registered: registers our own, where that is safe.
fn register(facts: &impl Facts, evidence: &mut Evidence) -> Option<isize> {
    let Some(area) = facts.own_area() else {
        evidence.text("rseq is not registered, and this library could be unloaded, so it must not register; ");
        evidence.text("link invar into the program, or let libc register (glibc 2.41, glibc.pthread.rseq=1)");
        return None;
    };
    match facts.register(area) {
        Ok(()) if facts.enable() == Ok(()) && facts.enabled(area) => Some(area),
        Ok(()) => {
            evidence.text("off at boot: registered an area of its own, and prctl 79 still refuses; boot without rseq_slice_ext=0");
            None
        }
        Err(Errno(libc::EBUSY | libc::EINVAL | libc::EPERM)) => {
            somebody_else(evidence);
            None
        }
        Err(Errno(errno)) => {
            evidence.text("rseq is not registered, and registering gives errno ").number(errno.into());
            None
        }
    }
}

fn somebody_else(evidence: &mut Evidence) -> Option<Available> {
    evidence.text("area owned by somebody else, such as tcmalloc's per-CPU caches; only one owner is possible: ");
    evidence.text("turn that off (for tcmalloc, GLIBC_TUNABLES=glibc.pthread.rseq=1 lets libc own it)");
    None
}
