//! The time slice key's probe: every way in which the extension can be missing has a message and advice of its own.
#![allow(unsafe_code)]

use super::area::{self, AreaOffset};
use super::key::SLICE;
use super::register;
use super::rseq::{
    self, AT_RSEQ_FEATURE_SIZE, ENOTSUPP, FEATURE_SIZE, FLAG_ENABLED, RSEQ_FLAG_UNREGISTER, SYS_RSEQ_SLICE_YIELD,
};
use super::trial::{self, Fate, Trial};
use crate::key::state::{RawProbe, Verdict};
use crate::sys::{self, Errno};
use crate::text::Evidence;
use invar_abi::{KeyRecord, Origin, flags};
use invar_arch as arch;

const _: () = {
    const FLAGS: u8 = flags::SLICE | flags::TIMESLICE | flags::OWN;
    extern "C" fn slice_probe(verdict: &mut Verdict, _: &KeyRecord) {
        // SAFETY: the probe of this key.
        unsafe { crate::__key_record!(crate::key::declare::Name::Given("slice"), SLICE, bool, slice_probe, FLAGS) };
        probe(verdict);
    }
    #[used]
    static KEEP: RawProbe = slice_probe;
};

/// Decides the time slice key.
pub(super) fn probe(verdict: &mut Verdict) {
    let available = decide(&ThisProcess, &mut verdict.evidence);
    match available.and_then(|available| Some((AreaOffset::new(available.area)?, available.yield_call))) {
        Some((area, yield_call)) => {
            verdict.value = 1;
            verdict.data = area.encode(yield_call);
        }
        // Absent is an answer like any other, and not a probe that failed.
        None => verdict.origin = Origin::Probe as u8,
    }
}

/// What the sites need to know of an available extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Available {
    /// Distance of each thread's area from its thread pointer.
    area: isize,
    /// The system call by which the cold path yields; negative for none.
    yield_call: i32,
}

/// Whether every thread has an area that may be written at one constant offset, on a kernel that grants.
///
/// That is what stays true for the life of the process. Whether a *thread* has the extension enabled can change at
/// any time, and is not asked: in one that has not, the bound code has no effect.
#[cold]
fn decide(facts: &impl Facts, evidence: &mut Evidence) -> Option<Available> {
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
        Fate::Untried(errno) => {
            evidence.text("a seccomp filter stands, and no child could be made to try prctl 79 under it: errno ");
            evidence.number(errno.into());
            return None;
        }
    }
    // Any system call ends a grant, so an error is as good as an answer; only death is not.
    let yield_call = match (trial.slice_yield, trial.sched_yield) {
        (Fate::Answered, _) => SYS_RSEQ_SLICE_YIELD,
        (_, Fate::Answered) => libc::SYS_sched_yield as i32,
        (Fate::Refused(_), _) => SYS_RSEQ_SLICE_YIELD,
        (Fate::Killed | Fate::Untried(_), _) => -1,
    };

    let libc = facts.libc_area().filter(|&(_, size)| size > 0);
    let (area, owner) = match (facts.enable(), libc) {
        (Err(Errno(ENOTSUPP)), _) if compiled_out(facts, &trial) => {
            evidence.text("kernel compiled without the extension: prctl 79 gives 524 and system call 471 ENOSYS; ");
            evidence.text(arch::KERNEL_NEEDS);
            if trial.filtered {
                evidence.text(", unless it is the seccomp filter that says ENOSYS");
            }
            return None;
        }
        // The kernel was asked first: it says what it lacks, if it does.
        (Ok(()) | Err(Errno(ENOTSUPP | libc::ENXIO)), _) if !facts.makes_requests() => {
            evidence.text("the kernel has the extension, and invar makes no requests on this architecture");
            return None;
        }
        (Ok(()), Some((area, _))) if facts.enabled(area) => (area, "libc"),
        (Ok(()), _) => return somebody_else(evidence),
        (Err(Errno(ENOTSUPP)), Some((_, size))) => {
            if u64::from(size) < FEATURE_SIZE {
                evidence.text("libc registered 32 bytes (__rseq_size is ").number(size.into());
                evidence.text("): use glibc 2.41 or newer, or start with GLIBC_TUNABLES=glibc.pthread.rseq=0 so that invar registers its own area");
            } else {
                evidence.text(
                    "off at boot: prctl 79 gives 524 on a kernel that has the extension; boot without rseq_slice_ext=0",
                );
            }
            return None;
        }
        // Off at boot, the kernel says ENOTSUPP before it looks for a registration.
        (Err(Errno(libc::ENXIO | ENOTSUPP)), _) => (register(facts, evidence)?, "invar"),
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
    match yield_call {
        SYS_RSEQ_SLICE_YIELD => {}
        -1 => _ = evidence.text("; a seccomp filter kills on 471 and sched_yield: grants are left to expire"),
        _ => _ = evidence.text("; a seccomp filter refuses 471: yields by sched_yield"),
    }
    Some(Available { area, yield_call })
}

/// Whether the kernel lacks the yield call as well, which one that is only switched off has. A filter may say the same,
/// and is called only where it has been seen not to kill.
#[cold]
fn compiled_out(facts: &impl Facts, trial: &Trial) -> bool {
    matches!(trial.slice_yield, Fate::Answered | Fate::Refused(libc::ENOSYS))
        && facts.slice_yield() == Err(Errno(libc::ENOSYS))
}

/// No area is registered: registers our own, where that is safe.
#[cold]
fn register(facts: &impl Facts, evidence: &mut Evidence) -> Option<isize> {
    let Some(area) = facts.own_area() else {
        evidence.text("rseq is not registered, and this library could be unloaded, so it must not register; ");
        evidence.text("link invar into the program, or let libc register (glibc 2.41, glibc.pthread.rseq=1)");
        return None;
    };
    // EBUSY: another copy of the runtime in this program has registered the very same area.
    match facts.register(area) {
        Ok(()) | Err(Errno(libc::EBUSY)) if facts.enable() == Ok(()) && facts.enabled(area) => Some(area),
        Ok(()) => {
            facts.unregister(area);
            evidence.text(
                "off at boot: registered an area of its own, and prctl 79 still refuses; boot without rseq_slice_ext=0",
            );
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

#[cold]
fn somebody_else(evidence: &mut Evidence) -> Option<Available> {
    evidence.text("area owned by somebody else, such as tcmalloc's per-CPU caches; only one owner is possible: ");
    evidence.text("turn that off (for tcmalloc, GLIBC_TUNABLES=glibc.pthread.rseq=1 lets libc own it)");
    None
}

/// What the probe asks of the world; a test can answer in its place.
trait Facts {
    /// `AT_RSEQ_FEATURE_SIZE`, 0 if the kernel has none.
    fn feature_size(&self) -> u64;
    /// Whether critical sections can ask for time, if the kernel grants it.
    fn makes_requests(&self) -> bool;
    /// What the C library registered for each thread: distance from the thread pointer, and size.
    fn libc_area(&self) -> Option<(isize, u32)>;
    /// Our own area, if this code can never be unloaded.
    fn own_area(&self) -> Option<isize>;
    /// Tries the system calls in a child where a seccomp filter stands.
    fn trial(&self) -> Trial;
    /// Enables the extension for the calling thread.
    fn enable(&self) -> sys::Result<()>;
    /// Whether the calling thread's flags, in the area at this offset, say ENABLED.
    fn enabled(&self, area: isize) -> bool;
    /// Calls `rseq_slice_yield`, which does nothing outside a grant.
    fn slice_yield(&self) -> sys::Result<()>;
    /// Registers the area at this offset for the calling thread.
    fn register(&self, area: isize) -> sys::Result<()>;
    /// Takes that back.
    fn unregister(&self, area: isize);
}

struct ThisProcess;

impl Facts for ThisProcess {
    fn feature_size(&self) -> u64 {
        sys::auxiliary(AT_RSEQ_FEATURE_SIZE)
    }

    fn makes_requests(&self) -> bool {
        arch::REQUESTS
    }

    fn libc_area(&self) -> Option<(isize, u32)> {
        arch::libc_area()
    }

    fn own_area(&self) -> Option<isize> {
        area::own_area().map(AreaOffset::get)
    }

    fn trial(&self) -> Trial {
        trial::run()
    }

    fn enable(&self) -> sys::Result<()> {
        rseq::enable()
    }

    fn enabled(&self, area: isize) -> bool {
        AreaOffset::new(area).is_some_and(|area| rseq::flags(area) & FLAG_ENABLED != 0)
    }

    fn slice_yield(&self) -> sys::Result<()> {
        // SAFETY: no arguments; outside a grant it has no effect.
        unsafe { sys::call(SYS_RSEQ_SLICE_YIELD.into(), []) }.map(drop)
    }

    fn register(&self, area: isize) -> sys::Result<()> {
        AreaOffset::new(area).ok_or(Errno(libc::EINVAL)).and_then(register::register)
    }

    fn unregister(&self, area: isize) {
        let _ = rseq::rseq_at(arch::area(area) as usize, RSEQ_FLAG_UNREGISTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::string::{String, ToString};

    /// A machine on which everything is as the extension wants it; each test spoils one thing.
    struct Machine {
        feature_size: u64,
        makes_requests: bool,
        libc_area: Option<(isize, u32)>,
        own_area: Option<isize>,
        trial: Trial,
        enable: Result<(), i32>,
        enabled: bool,
        slice_yield: Result<(), i32>,
        register: Result<(), i32>,
        /// What prctl answers once an area of our own is registered.
        enable_registered: Result<(), i32>,
        registered: Cell<bool>,
    }

    /// As the kernel's headers have them (Linux 7.0: uapi/linux/rseq.h, prctl.h; arch/x86/entry/syscalls).
    #[test]
    fn the_kernels_numbers() {
        use super::rseq::{AREA_FLAGS, PR_ENABLE, PR_RSEQ_SLICE_EXTENSION, PR_SET};
        assert_eq!((PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE), (79, 2, 1));
        assert_eq!((AREA_FLAGS, FLAG_ENABLED, FEATURE_SIZE, AT_RSEQ_FEATURE_SIZE), (16, 0x20, 33, 27));
        assert_eq!((SYS_RSEQ_SLICE_YIELD, ENOTSUPP), (471, 524));
        assert_eq!(invar_arch::AREA_REQUEST, 28);
    }

    const ANSWERED: Trial =
        Trial { filtered: false, enable: Fate::Answered, slice_yield: Fate::Answered, sched_yield: Fate::Answered };

    fn good() -> Machine {
        Machine {
            feature_size: 33,
            makes_requests: true,
            libc_area: Some((-160, 33)),
            own_area: Some(-64),
            trial: ANSWERED,
            enable: Ok(()),
            enabled: true,
            slice_yield: Ok(()),
            register: Ok(()),
            enable_registered: Ok(()),
            registered: Cell::new(false),
        }
    }

    impl Facts for Machine {
        fn feature_size(&self) -> u64 {
            self.feature_size
        }
        fn makes_requests(&self) -> bool {
            self.makes_requests
        }
        fn libc_area(&self) -> Option<(isize, u32)> {
            self.libc_area
        }
        fn own_area(&self) -> Option<isize> {
            self.own_area
        }
        fn trial(&self) -> Trial {
            self.trial
        }
        fn enable(&self) -> sys::Result<()> {
            if self.registered.get() { self.enable_registered } else { self.enable }.map_err(Errno)
        }
        fn enabled(&self, area: isize) -> bool {
            let owner = if self.registered.get() { self.own_area } else { self.libc_area.map(|(area, _)| area) };
            self.enabled && Some(area) == owner
        }
        fn slice_yield(&self) -> sys::Result<()> {
            self.slice_yield.map_err(Errno)
        }
        fn register(&self, area: isize) -> sys::Result<()> {
            assert_eq!(Some(area), self.own_area);
            self.registered.set(self.registered.get() || self.register.is_ok());
            self.register.map_err(Errno)
        }
        fn unregister(&self, area: isize) {
            assert!(self.registered.replace(false) && Some(area) == self.own_area);
        }
    }

    fn verdict(machine: Machine) -> (Option<Available>, String) {
        let mut evidence = Evidence::new();
        let available = decide(&machine, &mut evidence);
        let text = evidence.as_str().to_string();
        assert!(!text.is_empty() && text.len() < 238, "evidence is there, and not cut off: {text}");
        assert!(available.is_some() || !machine.registered.get(), "an area that is of no use stays registered: {text}");
        (available, text)
    }

    /// The machine's verdict is "absent", with a message that begins so and this advice in it.
    fn absent(machine: Machine, message: &str, advice: &str) {
        let (available, text) = verdict(machine);
        assert_eq!(available, None, "{text}");
        assert!(text.starts_with(message) && text.contains(advice), "{text}");
    }

    #[test]
    fn available_in_the_area_of_libc() {
        let (available, text) = verdict(good());
        assert_eq!(available, Some(Available { area: -160, yield_call: SYS_RSEQ_SLICE_YIELD }));
        assert_eq!(text, "available: prctl 79 succeeded and ENABLED reads back; area of libc at thread pointer - 160");
    }

    #[test]
    fn kernel_without_the_field() {
        absent(
            Machine { feature_size: 28, ..good() },
            "kernel without the field: AT_RSEQ_FEATURE_SIZE is 28",
            "Linux 7.0",
        );
        absent(Machine { feature_size: 0, ..good() }, "kernel without the field", "Linux 7.0");
    }

    #[test]
    fn kernel_without_the_call() {
        absent(Machine { enable: Err(libc::EINVAL), ..good() }, "prctl 79 gives errno 22", "Linux 7.0");
        absent(Machine { enable: Err(libc::EIO), ..good() }, "prctl 79 gives errno 5", "no known kernel");
    }

    #[test]
    fn compiled_without_the_extension() {
        let machine = || Machine { enable: Err(ENOTSUPP), slice_yield: Err(libc::ENOSYS), ..good() };
        for libc_area in [Some((-160, 33)), Some((-160, 20)), None] {
            for makes_requests in [true, false] {
                let machine = Machine { libc_area, makes_requests, ..machine() };
                absent(machine, "kernel compiled without", arch::KERNEL_NEEDS);
            }
        }
        // In a container, whose filter has not heard of the call either.
        let trial = Trial { filtered: true, slice_yield: Fate::Refused(libc::ENOSYS), ..ANSWERED };
        let filtered = || Machine { trial, ..machine() };
        absent(filtered(), "kernel compiled without", "unless it is the seccomp filter");
        absent(Machine { libc_area: Some((-160, 32)), ..filtered() }, "kernel compiled without", "seccomp filter");
    }

    /// The kernel is asked on every architecture, and it alone says what it has.
    #[test]
    fn kernel_that_has_what_nobody_asks_for() {
        let machine = |enable| Machine { enable, makes_requests: false, libc_area: None, own_area: None, ..good() };
        for enable in [Ok(()), Err(libc::ENXIO), Err(ENOTSUPP)] {
            absent(machine(enable), "the kernel has the extension", "no requests on this architecture");
        }
        absent(machine(Err(libc::EINVAL)), "prctl 79 gives errno 22", "Linux 7.0");
        absent(Machine { feature_size: 28, ..machine(Ok(())) }, "kernel without the field", "Linux 7.0");
    }

    #[test]
    fn off_at_boot() {
        absent(Machine { enable: Err(ENOTSUPP), ..good() }, "off at boot", "rseq_slice_ext=0");
        // Where nobody has registered, the kernel gives the same error; a registration of our own tells.
        let unregistered =
            Machine { libc_area: Some((-160, 0)), enable: Err(ENOTSUPP), enable_registered: Err(ENOTSUPP), ..good() };
        absent(unregistered, "off at boot", "rseq_slice_ext=0");
    }

    #[test]
    fn available_at_boot_only_in_name() {
        // Early 7.0 kernels set AVAILABLE although the extension was off: only ENABLED counts.
        absent(
            Machine { enabled: false, ..good() },
            "area owned by somebody else",
            "GLIBC_TUNABLES=glibc.pthread.rseq=1",
        );
    }

    #[test]
    fn libc_registered_32_bytes() {
        for size in [20, 28, 32] {
            let machine = Machine { libc_area: Some((-160, size)), enable: Err(ENOTSUPP), ..good() };
            absent(machine, "libc registered 32 bytes", "GLIBC_TUNABLES=glibc.pthread.rseq=0");
        }
    }

    #[test]
    fn not_registered_in_a_program() {
        for libc_area in [None, Some((-160, 0))] {
            let (available, text) = verdict(Machine { libc_area, enable: Err(libc::ENXIO), ..good() });
            assert_eq!(available, Some(Available { area: -64, yield_call: SYS_RSEQ_SLICE_YIELD }));
            assert!(text.contains("area of invar at thread pointer - 64"), "{text}");
        }
    }

    #[test]
    fn not_registered_in_a_library() {
        let machine = Machine { libc_area: None, own_area: None, enable: Err(libc::ENXIO), ..good() };
        absent(machine, "rseq is not registered, and this library could be unloaded", "link invar into the program");
    }

    #[test]
    fn registration_fails() {
        let machine = |errno| Machine { libc_area: None, enable: Err(libc::ENXIO), register: Err(errno), ..good() };
        let by_another_copy = Machine { enable: Ok(()), registered: Cell::new(true), ..machine(libc::EBUSY) };
        assert_eq!(register(&by_another_copy, &mut Evidence::new()), Some(-64));
        absent(machine(libc::EBUSY), "area owned by somebody else", "GLIBC_TUNABLES=glibc.pthread.rseq=1");
        absent(machine(libc::EINVAL), "area owned by somebody else", "GLIBC_TUNABLES=glibc.pthread.rseq=1");
        absent(machine(libc::ENOSYS), "rseq is not registered, and registering gives errno 38", "");
    }

    #[test]
    fn area_owned_by_somebody_else() {
        // A legacy registration that libc knows nothing of; then one that is large enough.
        let legacy = Machine { libc_area: None, enable: Err(ENOTSUPP), register: Err(libc::EINVAL), ..good() };
        absent(legacy, "area owned by somebody else", "GLIBC_TUNABLES=glibc.pthread.rseq=1");
        absent(
            Machine { libc_area: Some((-160, 0)), ..good() },
            "area owned by somebody else",
            "GLIBC_TUNABLES=glibc.pthread.rseq=1",
        );
    }

    #[test]
    fn refused_by_seccomp() {
        let refused = Trial { enable: Fate::Refused(libc::EPERM), ..ANSWERED };
        absent(Machine { trial: refused, ..good() }, "refused by a seccomp filter: prctl 79 gives errno 1", "471");
        let untried = Trial { filtered: true, enable: Fate::Untried(libc::EAGAIN), ..ANSWERED };
        absent(Machine { trial: untried, ..good() }, "a seccomp filter stands, and no child", "errno 11");
        let killed = Trial { enable: Fate::Killed, ..ANSWERED };
        absent(Machine { trial: killed, ..good() }, "refused by a seccomp filter: prctl 79 kills", "471");
    }

    #[test]
    fn the_way_to_yield() {
        let with = |slice_yield, sched_yield| {
            let machine = Machine { trial: Trial { slice_yield, sched_yield, ..ANSWERED }, ..good() };
            verdict(machine).0.expect("a refused yield does not make the extension absent").yield_call
        };
        let refused = Fate::Refused(libc::ENOSYS);
        let sched_yield = libc::SYS_sched_yield as i32;
        assert_eq!(with(Fate::Answered, Fate::Answered), SYS_RSEQ_SLICE_YIELD);
        assert_eq!(with(refused, Fate::Answered), sched_yield);
        assert_eq!(with(refused, refused), SYS_RSEQ_SLICE_YIELD);
        assert_eq!(with(Fate::Killed, Fate::Answered), sched_yield);
        assert_eq!(with(Fate::Killed, refused), -1);
        assert_eq!(with(Fate::Killed, Fate::Killed), -1);
        assert_eq!(with(Fate::Untried(libc::EAGAIN), Fate::Untried(libc::EAGAIN)), -1);
    }
}
