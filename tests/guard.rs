//! The guard's filter, on any kernel: one without the extension answers `prctl` 79 with `EINVAL`, and the filter with
//! `EPERM`. What it means for slices is seen in the guest's tests.
//!
//! A filter stays until its process ends, so each test is one: this program with `--child NAME`.

mod common;

use common::refuse::{REFUSE, filter};
use common::{run, sites, test};
use invar::timeslice::{__guard_anyway as guard, NotGuarded};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

/// Name, what must be there, and what is done in a process of its own.
type Scenario = (&'static str, fn() -> Option<String>, fn());

const SCENARIOS: &[Scenario] = &[
    ("one call is refused, and no other", sites, one_call_is_refused_and_no_other),
    ("32-bit calls, by int 0x80", no_32_bit_calls, calls_of_32_bits),
    ("x32 calls", sites, x32_calls),
    ("all threads are guarded, now and later", sites, all_threads_are_guarded),
    ("a child and the program it executes are guarded", sites, children_are_guarded),
    ("twice is once", sites, twice_is_once),
    ("without the privilege for it, privileges cannot be gained", sites, without_the_privilege),
    ("with the privilege for it, privileges can be gained", no_privilege, with_the_privilege),
    ("another thread has a filter of its own", sites, another_thread_has_a_filter),
    ("the calling thread has a filter of its own", sites, the_calling_thread_has_a_filter),
    ("each thread has a filter of its own", sites, each_thread_has_a_filter),
    ("a filter refuses the guard", sites, a_filter_refuses),
    ("a filter kills for the guard", sites, a_filter_kills),
    ("a filter refuses all about slices", sites, a_filter_refuses_all_about_slices),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        let name = arguments.next().expect("a name");
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: numbers. What is killed leaves no core behind.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }, 0);
        match name.as_str() {
            EXECUTED => assert_guarded(),
            INT_80 => _ = int_80(20, [0; 3]),
            _ => SCENARIOS.iter().find(|(known, ..)| *known == name).expect("a scenario").2(),
        }
        return ExitCode::SUCCESS;
    }
    run(SCENARIOS.iter().map(|&(name, missing, _)| test(name, missing(), move || assert!(child(name).success()))))
}

const CHILD: &str = "--child";
/// What a guarded process executes.
const EXECUTED: &str = "executed";
/// Makes a 32-bit call.
const INT_80: &str = "int 0x80";

/// Runs a scenario in a process of its own.
fn child(name: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let output = command.args([CHILD, name]).stdin(Stdio::null()).output().expect("this program again");
    print!("{}", String::from_utf8_lossy(&output.stderr));
    output.status
}

fn no_32_bit_calls() -> Option<String> {
    sites().or_else(|| (!child(INT_80).success()).then(|| "this kernel has no 32-bit calls".into()))
}

fn no_privilege() -> Option<String> {
    sites().or_else(|| (!has_privilege()).then(|| "needs CAP_SYS_ADMIN".into()))
}

/// `CAP_SYS_ADMIN`.
const CAP_SYS_ADMIN: u32 = 21;

fn has_privilege() -> bool {
    u64::from_str_radix(&status("CapEff"), 16).expect("a set of capabilities") & 1 << CAP_SYS_ADMIN != 0
}

/// What the kernel says of the calling thread.
fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("the status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":"));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

/// How many filters stand in this thread, and whether it may gain no privileges.
fn standing() -> [String; 2] {
    ["Seccomp_filters", "NoNewPrivs"].map(status)
}

fn thread_number() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { libc::gettid() as u32 }
}

const PRCTL: usize = libc::SYS_prctl as usize;
const EPERM: isize = -(libc::EPERM as isize);
/// What no argument of 32 bits has.
const UPPER: usize = 1 << 32;

fn call(number: usize, args: [usize; 3]) -> isize {
    let [a, b, c] = args;
    // SAFETY: the calls of this file change nothing but what `prctl` 79 does.
    unsafe { invar_arch::syscall(number, [a, b, c, 0, 0, 0]) }
}

/// A 32-bit call, from a 64-bit program; with arguments of 64 bits.
#[cfg(target_arch = "x86_64")]
fn int_80(number: usize, args: [usize; 3]) -> isize {
    let result: usize;
    // SAFETY: as in `call`. The compiler keeps rbx for itself.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) args[0] => _,
            inlateout("rax") number => result,
            in("rcx") args[1],
            in("rdx") args[2],
            in("rsi") 0,
            in("rdi") 0,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    result as i32 as isize
}

#[cfg(not(target_arch = "x86_64"))]
fn int_80(_number: usize, _args: [usize; 3]) -> isize {
    unreachable!("skipped where there are no such calls")
}

/// Whether the calling thread cannot switch the extension off.
fn is_guarded() -> bool {
    call(PRCTL, [79, 2, 0]) == EPERM
}

fn assert_guarded() {
    assert!(is_guarded());
}

/// How it is made, number and arguments; and what the guard answers, if it does.
type Call = (fn(usize, [usize; 3]) -> isize, usize, [usize; 3], Option<isize>);

/// Compares the calls' answers before and after the guard is there.
fn compare(calls: &[Call]) {
    let answers = || calls.iter().map(|&(call, number, args, _)| call(number, args)).collect::<Vec<_>>();
    let before = answers();
    assert_eq!(guard(), Ok(()));
    for ((before, after), (_, number, args, refused)) in before.into_iter().zip(answers()).zip(calls) {
        assert_ne!(before, EPERM, "{number:#x} {args:x?} before");
        assert_eq!(after, refused.unwrap_or(before), "{number:#x} {args:x?}");
    }
}

fn one_call_is_refused_and_no_other() {
    let refused = Some(EPERM);
    compare(&[
        (call, PRCTL, [79, 2, 0], refused),
        // The kernel reads 32 bits of the first argument and of the number.
        (call, PRCTL, [79 | UPPER, 2, 0], refused),
        (call, PRCTL, [79 | UPPER << 31, 2, 0], refused),
        (call, PRCTL | UPPER, [79, 2, 0], refused),
        // Never valid so far, and no way to enable.
        (call, PRCTL, [79, 2, 2], refused),
        (call, PRCTL, [79, 2, UPPER], refused),
        (call, PRCTL, [79, 2 | UPPER, 0], refused),
        (call, PRCTL, [79, 1, 0], None),
        (call, PRCTL, [79, 2, 1], None),
        (call, PRCTL, [79, 2, 1 | UPPER], None),
        (call, PRCTL, [79, 0, 0], None),
        (call, PRCTL, [79, 3, 0], None),
        (call, PRCTL, [78, 2, 0], None),
        (call, PRCTL, [80, 2, 0], None),
        (call, PRCTL, [79 << 32, 2, 0], None),
        (call, PRCTL, [libc::PR_GET_DUMPABLE as usize, 2, 0], None),
        (call, PRCTL, [libc::PR_GET_PDEATHSIG as usize, 0, 0], None),
        // The number that `prctl` has in 32-bit calls; the one before; one that there is not.
        (call, 172, [79, 2, 0], None),
        (call, PRCTL - 1, [79, 2, 0], None),
        (call, 9999, [79, 2, 0], None),
    ]);
}

fn calls_of_32_bits() {
    const PRCTL_32: usize = 172;
    let refused = Some(EPERM);
    assert_eq!(int_80(PRCTL_32, [79, 2, 1]), call(PRCTL, [79, 2, 1]), "this is not prctl");
    compare(&[
        (int_80, PRCTL_32, [79, 2, 0], refused),
        // The kernel reads 32 bits of each; the filter is shown all of them.
        (int_80, PRCTL_32, [79 | UPPER, 2 | UPPER, UPPER], refused),
        (int_80, PRCTL_32 | UPPER, [79, 2, 0], refused),
        (int_80, PRCTL_32, [79, 1, 0], None),
        (int_80, PRCTL_32, [79, 2, 1], None),
        (int_80, PRCTL_32, [79, 2, 1 | UPPER], None),
        (int_80, PRCTL_32, [78, 2, 0], None),
        // Another call, of the number that prctl has in 64-bit ones: sched_getscheduler.
        (int_80, PRCTL, [79, 2, 0], None),
    ]);
}

fn x32_calls() {
    const X32: usize = 1 << 30;
    let refused = Some(EPERM);
    // Most kernels have none of them, and say so; the filter comes before.
    compare(&[
        (call, PRCTL | X32, [79, 2, 0], refused),
        (call, PRCTL | X32 | UPPER, [79 | UPPER, 2, 0], refused),
        (call, PRCTL | X32, [79, 2, 1], None),
        (call, PRCTL | X32, [79, 1, 0], None),
        (call, 172 | X32, [79, 2, 0], None),
    ]);
}

/// A thread that does what it is told to.
struct Worker {
    orders: mpsc::Sender<fn() -> String>,
    answers: mpsc::Receiver<String>,
}

impl Worker {
    fn new() -> Self {
        let (orders, work) = mpsc::channel::<fn() -> String>();
        let (answer, answers) = mpsc::channel();
        thread::spawn(move || work.iter().for_each(|order| answer.send(order()).expect("who asked")));
        Self { orders, answers }
    }

    fn ask(&self, order: fn() -> String) -> String {
        self.orders.send(order).expect("the thread");
        self.answers.recv().expect("an answer")
    }

    fn number(&self) -> u32 {
        self.ask(|| thread_number().to_string()).parse().expect("a number")
    }

    fn is_guarded(&self) -> bool {
        self.ask(|| is_guarded().to_string()) == "true"
    }

    fn standing(&self) -> String {
        self.ask(|| format!("{:?}", standing()))
    }

    /// Has the thread forbid itself something that nobody here needs.
    fn confine(&self) {
        self.ask(|| format!("{:?}", filter(libc::SYS_acct, None, REFUSE).expect("a filter")));
    }
}

fn all_threads_are_guarded() {
    let before = [Worker::new(), Worker::new()];
    assert!(before.iter().all(|worker| !worker.is_guarded()));
    // By one that is not the first.
    assert_eq!(Worker::new().ask(|| format!("{:?}", guard())), "Ok(())");
    assert_guarded();
    assert!(before.iter().all(Worker::is_guarded));
    assert!(Worker::new().is_guarded());
    assert!(before[0].ask(|| Worker::new().is_guarded().to_string()) == "true");
}

fn children_are_guarded() {
    assert!(!child(EXECUTED).success(), "it is guarded before anything was done");
    assert_eq!(guard(), Ok(()));
    assert!(child(EXECUTED).success());
}

fn twice_is_once() {
    let worker = Worker::new();
    for _ in 0..3 {
        assert_eq!(guard(), Ok(()));
        assert_eq!(worker.ask(|| format!("{:?}", guard())), "Ok(())");
        assert_eq!(standing()[0], "1");
    }
    assert_guarded();
}

/// Gives up the privilege to install filters, where there is one.
fn become_nobody() {
    // SAFETY: a number.
    assert!(!has_privilege() || unsafe { libc::setuid(65534) } == 0);
    assert!(!has_privilege());
}

fn without_the_privilege() {
    become_nobody();
    let worker = Worker::new();
    assert_eq!(guard(), Ok(()));
    assert_eq!(standing()[1], "1");
    assert_eq!(worker.standing(), format!("{:?}", standing()));
    assert_guarded();
}

fn with_the_privilege() {
    let [_, before] = standing();
    assert_eq!(guard(), Ok(()));
    assert_eq!(standing()[1], before);
    assert_guarded();
}

fn another_thread_has_a_filter() {
    become_nobody();
    let (confined, free) = (Worker::new(), Worker::new());
    confined.confine();
    let stood = [format!("{:?}", standing()), free.standing(), confined.standing()];
    for _ in 0..2 {
        assert_eq!(guard(), Err(NotGuarded::OtherFilters(confined.number())));
    }
    assert_eq!([format!("{:?}", standing()), free.standing(), confined.standing()], stood, "something was changed");
    assert!(!is_guarded() && !free.is_guarded() && !confined.is_guarded());
    // Once it is gone nothing stands in the way.
    let number = confined.number();
    drop(confined);
    while std::path::Path::new(&format!("/proc/self/task/{number}")).exists() {
        thread::yield_now();
    }
    assert_eq!(guard(), Ok(()));
    assert!(is_guarded() && free.is_guarded());
}

fn the_calling_thread_has_a_filter() {
    become_nobody();
    let (confined, first) = (Worker::new(), thread_number());
    confined.confine();
    let stood = [format!("{:?}", standing()), confined.standing()];
    // The kernel would do it, and confine the other thread as well.
    let said = confined.ask(|| format!("{:?}", guard()));
    assert_eq!(said, format!("Err(OtherFilters({first}))"));
    assert_eq!([format!("{:?}", standing()), confined.standing()], stood, "something was changed");
    assert!(!is_guarded() && !confined.is_guarded());
}

fn each_thread_has_a_filter() {
    let other = Worker::new();
    other.confine();
    filter(libc::SYS_acct, None, REFUSE).expect("a filter");
    let stood = [format!("{:?}", standing()), other.standing()];
    assert_eq!(guard(), Err(NotGuarded::OtherFilters(other.number())));
    assert_eq!([format!("{:?}", standing()), other.standing()], stood, "something was changed");
    assert!(!is_guarded() && !other.is_guarded());
}

fn a_filter_refuses() {
    filter(libc::SYS_seccomp, None, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32).expect("a filter");
    let stood = standing();
    assert_eq!(guard(), Err(NotGuarded::Refused(libc::ENOSYS)));
    assert_eq!(standing(), stood);
    assert!(!is_guarded());
}

fn a_filter_kills() {
    filter(libc::SYS_seccomp, None, libc::SECCOMP_RET_KILL_PROCESS).expect("a filter");
    let stood = standing();
    assert_eq!(guard(), Err(NotGuarded::Killed));
    assert_eq!(standing(), stood);
    assert!(!is_guarded());
}

/// It is no guard: who switched the extension off before cannot be enrolled again, and other threads need not have it.
fn a_filter_refuses_all_about_slices() {
    filter(libc::SYS_prctl, Some((0, 79)), REFUSE).expect("a filter");
    assert_eq!((call(PRCTL, [79, 2, 1]), standing()[0].as_str()), (EPERM, "1"));
    assert_eq!(guard(), Ok(()));
    assert_eq!(standing()[0], "2");
}
