//! Keeps everybody from disabling the extension: a seccomp filter refuses the one `prctl` which does, in all threads and for
//! good.
//!
//! Source of what is said of filters here: Linux 7.3, kernel/seccomp.c.
#![allow(unsafe_code)]

use super::answers::NotGuarded;
use super::key::{SLICE, is_available};
use super::rseq::{PR_ENABLE, PR_RSEQ_SLICE_EXTENSION, PR_SET};
use super::trial::{self, Fate};
use crate::sys::{self, Errno};
use crate::text::Evidence;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};
use invar_arch as arch;

/// Makes it impossible to disable the extension, for all threads of this process and the rest of its life.
///
/// From then on `prctl(PR_RSEQ_SLICE_EXTENSION, PR_RSEQ_SLICE_EXTENSION_SET, 0)` fails with `EPERM` in every thread, also in
/// those that start later, and also as a 32-bit or an x32 call. So does every such call with bit 0 of the third argument clear.
/// All other calls go on as before. It enrols no thread. `INVAR_GUARD=1` does the same at load, and
/// the time slice key's evidence says what came of it: `guarded`, or why not.
///
/// It is a seccomp filter, and that has its price:
///
/// - It cannot be taken back.
/// - Children and the programs that they or this process execute inherit it. They can enable the extension, and then
///   not disable it.
/// - Without `CAP_SYS_ADMIN` in its user namespace the process gets `no_new_privs` as well, all threads of it, and
///   programs that it executes too: a setuid or setgid program, or one with file capabilities, then runs without them.
///   Where the capability is there it stays as it was.
/// - Every system call becomes slower by some nanoseconds, as under any filter, and `prctl` by some more: `cargo bench -p
///   invar-bench -- guard` tells. The filter's program runs for `prctl` only, 7 instructions of it, 11 to enrol a thread:
///   of all other calls the kernel knows from the beginning that they pass (Linux 5.11, kernel/seccomp.c,
///   `seccomp_cache_prepare`), but for x32 calls, which take 5.
/// - All threads must have the same filters when it is installed, since all get it or none.
///
/// Where the process is guarded already, by any module's runtime, this makes four system calls and changes nothing. The calling
/// thread must be outside any critical section. Where seccomp filters stand, a child process tries first, since some of them kill.
///
/// **What it does not cover.** A thread loses the extension with its area, and may unregister that by `rseq(2)`. This is
/// left alone: libc does it to none of its threads while they run, and where memory with an area in it is about to go,
/// refusing would have the kernel write to memory that belongs to other code by then. The guard does not stop code that means
/// harm, which can write to any memory of its process.
///
/// # Errors
///
/// [`NotGuarded`] says why not, and no thread is guarded then. Threads for which somebody disables the extension are enrolled
/// again where they wait for a lock, as without the guard.
///
/// ```
/// if let Err(why) = invar::timeslice::guard() {
///     eprintln!("time slice extensions may be disabled: {why}");
/// }
/// ```
#[inline(always)]
pub fn guard() -> Result<(), NotGuarded> {
    if crate::branch!(SLICE) { guard_now() } else { Err(NotGuarded::Absent) }
}

/// [`guard`] whatever the key is: what a filter does, and costs, any kernel can show.
#[doc(hidden)]
pub fn __guard_anyway() -> Result<(), NotGuarded> {
    install_once()
}

/// Guards the process, where the key is on.
#[cold]
#[inline(never)]
fn guard_now() -> Result<(), NotGuarded> {
    if is_available() { install_once() } else { Err(NotGuarded::Absent) }
}

/// The same at load, for a key that is about to be sealed as on: adds to its evidence what came of it.
#[cold]
pub(super) fn at_load(evidence: &mut Evidence) {
    match install_once() {
        Ok(()) => _ = evidence.text("; guarded"),
        Err(why) => why.tell(evidence.text("; not guarded: ")),
    }
}

/// Guards the process, whatever the key is.
#[cold]
fn install_once() -> Result<(), NotGuarded> {
    if arch::PRCTL.is_empty() {
        return Err(NotGuarded::Absent);
    }
    let _turn = Turn::take();
    if is_guarded() {
        return Ok(());
    }
    let own = trial::filters_of_this_thread();
    let mut other = None;
    // The kernel refuses where another thread has a filter that this one has not; where it is the other way round, it
    // would give the other all filters of this one. Without /proc only the kernel can tell.
    let _ = sys::each_thread(|thread| {
        if trial::filters(thread).is_some_and(|filters| Some(filters) != own) {
            other = Some(thread);
        }
    });
    if let Some(thread) = other {
        return Err(NotGuarded::OtherFilters(thread));
    }
    // A filter that stands might kill for it: let a child go first.
    if own != Some(0) {
        match trial::in_child(&mut install) {
            Fate::Answered => {}
            Fate::Killed => return Err(NotGuarded::Killed),
            Fate::Refused(errno) | Fate::Untried(errno) => return Err(NotGuarded::Refused(errno)),
        }
    }
    match install() {
        Ok(0) => Ok(()),
        Ok(thread) => Err(NotGuarded::OtherFilters(thread as u32)),
        Err(Errno(errno)) => Err(NotGuarded::Refused(errno)),
    }
}

/// The turn of the calling thread: two that install the guard at a time would leave two filters. No signal handler runs meanwhile,
/// which would wait for its own thread.
struct Turn {
    is_taken: bool,
    _silence: Option<sys::Silence>,
}

/// Whether a thread has its turn.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Turn {
    fn take() -> Self {
        /// Half a second. Not for ever: in a child of `fork` the thread whose turn it was is not there.
        const TRIES: u32 = 8_000;
        let _silence = sys::Silence::begin(&u64::MAX).ok();
        let mut tries = 0..TRIES;
        let is_taken = tries.any(|_| {
            let free = !TAKEN.swap(true, Acquire);
            if !free {
                sys::sleep(sys::REST);
            }
            free
        });
        Self { is_taken, _silence }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_taken {
            TAKEN.store(false, Release);
        }
    }
}

/// Whether disabling is refused, and enabling is not. Asked by calls that change nothing with or without a guard: the kernel refuses
/// all that have a fourth argument (Linux 7.3, kernel/sys.c), and the guard does not look at it.
fn is_guarded() -> bool {
    let answer = |enable| {
        // SAFETY: changes nothing.
        unsafe { sys::call(libc::SYS_prctl, [PR_RSEQ_SLICE_EXTENSION, PR_SET, enable, 1, 0]) }
    };
    answer(0) == Err(Errno(libc::EPERM)) && answer(PR_ENABLE) == Err(Errno(libc::EINVAL))
}

/// Installs the filter in all threads or in none, and then returns one that has other filters. The thread loses the right to
/// gain privileges by exec only where the kernel makes that a condition; with the filter, so do the others.
#[cold]
#[inline(never)]
fn install() -> sys::Result<usize> {
    // A guard is no sandbox: speculation stays as it is.
    const FLAGS: usize = (libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) as usize;
    let program = libc::sock_fprog { len: LENGTH as u16, filter: FILTER.as_ptr().cast_mut() };
    let args = [libc::SECCOMP_SET_MODE_FILTER as usize, FLAGS, &raw const program as usize];
    for _ in 0..2 {
        // SAFETY: the kernel copies the program, which lets all calls pass but one.
        match unsafe { sys::call(libc::SYS_seccomp, args) } {
            // Without CAP_SYS_ADMIN.
            Err(Errno(libc::EACCES)) => {}
            result => return result,
        }
        // SAFETY: takes away a right, and touches no memory.
        let _ = unsafe { sys::call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]) };
    }
    Err(Errno(libc::EACCES))
}

const LENGTH: usize = 1 + 3 * arch::PRCTL.len() + 8;

/// The filter, in classic BPF. It reads the call's number first, and nothing but number and machine of other calls than
/// `prctl`: these the kernel finds out once, when the filter is installed, and never runs it for them again (since Linux
/// 5.11, `seccomp_cache_prepare`).
///
/// It refuses what would disable: `option` 79, of which the kernel reads 32 bits; `arg2` 2; bit 0 of `arg3` clear (Linux
/// 7.3, kernel/sys.c and `rseq_slice_extension_prctl`). Of each argument it reads the lower half: of a 32-bit call's the
/// kernel ignores the upper one, which the filter sees all the same. A 64-bit call with more bits is one that the kernel
/// refuses with `EINVAL`.
static FILTER: [libc::sock_filter; LENGTH] = filter();

const fn filter() -> [libc::sock_filter; LENGTH] {
    use core::mem::offset_of;
    use libc::seccomp_data as data;

    const ENTRIES: usize = arch::PRCTL.len();
    const ARGUMENTS: usize = 1 + 3 * ENTRIES;
    const ALLOW: usize = LENGTH - 1;

    // The last line, and all that are not written below.
    let mut lines = [line(RETURN, libc::SECCOMP_RET_ALLOW); LENGTH];
    if ENTRIES == 0 {
        return lines;
    }
    lines[0] = load(offset_of!(data, nr));
    let mut entry = 0;
    // A loop over a number that is known to be 0, as where there are none, would be pointed out.
    let entries: &[(u32, u32)] = &arch::PRCTL;
    while entry < entries.len() {
        let (machine, number) = entries[entry];
        let (at, block) = (1 + entry, 1 + ENTRIES + 2 * entry);
        lines[at] = jump(at, IF_EQUAL, number, block, if entry + 1 < entries.len() { at + 1 } else { ALLOW });
        lines[block] = load(offset_of!(data, arch));
        lines[block + 1] = jump(block + 1, IF_EQUAL, machine, ARGUMENTS, ALLOW);
        entry += 1;
    }
    // The lower half comes first.
    const _: () = assert!(cfg!(target_endian = "little") || ENTRIES == 0);
    let at = ARGUMENTS;
    lines[at] = load(offset_of!(data, args));
    lines[at + 1] = jump(at + 1, IF_EQUAL, PR_RSEQ_SLICE_EXTENSION as u32, at + 2, ALLOW);
    lines[at + 2] = load(offset_of!(data, args) + 8);
    lines[at + 3] = jump(at + 3, IF_EQUAL, PR_SET as u32, at + 4, ALLOW);
    lines[at + 4] = load(offset_of!(data, args) + 16);
    lines[at + 5] = jump(at + 5, IF_ANY_BIT, PR_ENABLE as u32, ALLOW, at + 6);
    lines[at + 6] = line(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    lines
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

const fn line(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn load(offset: usize) -> libc::sock_filter {
    line(LOAD, offset as u32)
}

/// Goes from line `at` to one of two others behind it.
const fn jump(at: usize, code: u32, k: u32, then: usize, otherwise: usize) -> libc::sock_filter {
    assert!(then > at && otherwise > at && then - at <= 256 && otherwise - at <= 256);
    libc::sock_filter { jt: (then - at - 1) as u8, jf: (otherwise - at - 1) as u8, ..line(code, k) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A system call as a filter sees it: `struct seccomp_data`.
    #[derive(Clone, Copy, Debug)]
    struct Call {
        number: u32,
        machine: u32,
        args: [u64; 6],
    }

    impl Call {
        fn word(&self, offset: u32) -> u32 {
            match offset {
                0 => self.number,
                4 => self.machine,
                // Behind the instruction pointer.
                16..64 => (self.args[(offset as usize - 16) / 8] >> (offset % 8 * 8)) as u32,
                _ => panic!("nothing that the filter has to do with"),
            }
        }
    }

    /// What the filter returns, how many instructions it took, and whether an argument was read.
    fn run(filter: &[libc::sock_filter], call: Call) -> (u32, usize, bool) {
        let (mut at, mut accumulator, mut arguments_read) = (0, 0, false);
        for count in 1.. {
            let line = filter[at];
            let jump = |condition| usize::from(if condition { line.jt } else { line.jf });
            at += 1;
            match u32::from(line.code) {
                LOAD => {
                    accumulator = call.word(line.k);
                    arguments_read |= line.k >= 16;
                }
                IF_EQUAL => at += jump(accumulator == line.k),
                IF_ANY_BIT => at += jump(accumulator & line.k != 0),
                RETURN => return (line.k, count, arguments_read),
                code => panic!("instruction {code:#x}"),
            }
        }
        unreachable!()
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    fn expected(call: Call) -> u32 {
        let is_prctl = arch::PRCTL.contains(&(call.machine, call.number));
        let [option, operation, enable, ..] = call.args.map(|argument| argument as u32);
        if is_prctl && option == 79 && operation == 2 && enable & 1 == 0 { REFUSE } else { ALLOW }
    }

    /// Values around those that matter, with anything or nothing above the lower half.
    fn argument() -> impl Strategy<Value = u64> {
        let lower = prop_oneof![Just(79_u32), Just(2), Just(0), Just(1), 76_u32..82, 0_u32..4, any::<u32>()];
        let upper = prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()];
        (lower, upper).prop_map(|(lower, upper)| u64::from(lower) | u64::from(upper) << 32)
    }

    fn call() -> impl Strategy<Value = Call> {
        let (machines, entries): (std::vec::Vec<_>, std::vec::Vec<_>) = arch::PRCTL.into_iter().chain([(0, 0)]).unzip();
        let of = |values| proptest::sample::select(values);
        let number = prop_oneof![4 => of(entries), 1 => any::<u32>()];
        let machine = prop_oneof![4 => of(machines), 1 => any::<u32>()];
        let slices = (argument(), argument(), argument()).prop_map(|(a, b, c)| [a, b, c]);
        let close = (0_u64..4).prop_map(|enable| [79, 2, enable]);
        let rest = [argument(), argument(), argument()];
        (number, machine, prop_oneof![slices, close], rest).prop_map(|(number, machine, [a, b, c], [d, e, f])| Call {
            number,
            machine,
            args: [a, b, c, d, e, f],
        })
    }

    #[test]
    fn refuses_what_would_disable_and_nothing_else() {
        let rng_seed = proptest::test_runner::RngSeed::Fixed(1);
        let config = ProptestConfig { cases: 4_000, failure_persistence: None, rng_seed, ..ProptestConfig::default() };
        let filter = filter();
        proptest!(config, |(call in call())| {
            let (returned, _, arguments_read) = run(&filter, call);
            prop_assert_eq!(returned, expected(call));
            // The kernel must be able to tell without them that other calls pass.
            prop_assert!(!arguments_read || arch::PRCTL.contains(&(call.machine, call.number)));
        });
    }

    /// Behind the longest text that the probe leaves: three sentences, of which the last is for a filter.
    #[test]
    fn the_reason_is_not_cut_off() {
        let mut evidence = Evidence::new();
        evidence
            .text("available: prctl 79 succeeded and ENABLED reads back; area of invar at thread pointer - 2147483648");
        evidence.text("; a seccomp filter kills on 471 and sched_yield: grants are left to expire; not guarded: ");
        NotGuarded::OtherFilters(u32::MAX).tell(&mut evidence);
        assert!(evidence.as_str().ends_with("thread 4294967295 has other seccomp filters"));
    }

    /// As the documentation of `timeslice::guard` says.
    #[test]
    fn how_long_it_takes() {
        // Where there is no way to disable it the filter lets everything pass, by its first line.
        let (machine, number) = arch::PRCTL.first().copied().unwrap_or_default();
        let expected = if arch::PRCTL.is_empty() { [1; 4] } else { [2 + arch::PRCTL.len(), 7, 9, 11] };
        let instructions = |number, args: [u64; 3]| {
            let [a, b, c] = args;
            run(&filter(), Call { number, machine, args: [a, b, c, 0, 0, 0] }).1
        };
        let calls = [
            (u32::MAX, [0; 3]),
            (number, [libc::PR_GET_NAME as u64, 0, 0]),
            (number, [79, 1, 0]),
            (number, [79, 2, 1]),
        ];
        assert_eq!(calls.map(|(number, args)| instructions(number, args)), expected);
    }
}
