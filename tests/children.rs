//! The runtime's child processes leave no trace: no handler of the program runs in them, no core, no zombie, no signal; nobody
//! else may trace; and whoever does not answer them is not waited for.
//!
//! Each test is a process of its own, this program with `--child NAME`, in a process group of its own: some signals go to all of it.

mod common;

use common::refuse::{REFUSE, filter, filter_unless};
use common::trace::{self, no_tracing};
use common::{Temporary, run, sites, test};
use invar::timeslice::{__guard_anyway as guard, Area, NotGuarded, Thread, audit};
use std::ffi::{c_int, c_void};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Barrier, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

/// Name, what must be there, and what is done in a process of its own.
type Scenario = (&'static str, fn() -> Option<String>, fn());

const SCENARIOS: &[Scenario] = &[
    ("no handler of the program runs in a child", sites, no_handler_runs),
    ("a group that is stopped goes on", sites, a_stopped_group_goes_on),
    ("no signal, no zombie", sites, || no_trace_is_left(|| {})),
    ("no zombie where SIGCHLD is ignored", sites, || no_trace_is_left(ignore_children)),
    ("no zombie in a subreaper", sites, || no_trace_is_left(become_subreaper)),
    ("somebody waits for all children", sites, somebody_waits_for_all_children),
    ("a thread that does not answer is named, and not waited for", no_audit, a_thread_does_not_answer),
    ("every thread is listed", no_audit, every_thread_is_listed),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        let name = arguments.next().expect("a name");
        match name.as_str() {
            ABORT => {
                allow_cores();
                std::process::abort();
            }
            AUDIT => audit(drop).expect("the threads"),
            GUARD => assert_eq!(guard(), Ok(())),
            GUARD_AT_ONCE => guard_at_once(),
            KILLED => killed(),
            KILLED_FOR_FLAG => killed_for_flag(),
            _ => SCENARIOS.iter().find(|(known, ..)| *known == name).expect("a scenario").2(),
        }
        return ExitCode::SUCCESS;
    }
    let scenarios = SCENARIOS
        .iter()
        .map(|&(name, missing, _)| test(name, missing(), move || assert!(child(name, Path::new("/")).success())));
    let more = [
        test("no core is left", sites().or_else(no_cores), no_core_is_left),
        test("only the child may trace", no_tracing(), only_the_child_may_trace),
        test("the guard leaves speculation as it is", sites().or_else(no_tracing), speculation_stays_as_it_is),
        test("threads that guard at once leave one filter", sites(), one_filter),
    ];
    run(scenarios.chain(more))
}

const CHILD: &str = "--child";
const ABORT: &str = "abort";
const AUDIT: &str = "audit";
const GUARD: &str = "guard";
const GUARD_AT_ONCE: &str = "guard at once";
const KILLED: &str = "killed for a guard";
const KILLED_FOR_FLAG: &str = "killed for another prctl";

/// This program again, for a scenario.
fn again(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([CHILD, name]).stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a scenario in a process of its own, and in this folder; ends it, and all of its group, if it hangs.
fn child(name: &str, folder: &Path) -> ExitStatus {
    const LIMIT: Duration = Duration::from_secs(600);
    let mut process = again(name).current_dir(folder).spawn().expect("this program again");
    let group = -(process.id() as libc::pid_t);
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            println!("stopped after {LIMIT:?}");
            // SAFETY: the group's leader was not waited for.
            unsafe { libc::kill(group, libc::SIGKILL) };
        }
    });
    let status = process.wait().expect("its end");
    drop(ended);
    watchdog.join().expect("the watchdog");
    status
}

/// Has children made, by the two who make any.
fn make_children() {
    assert_eq!(guard(), Err(NotGuarded::Refused(libc::EPERM)));
    audit(drop).expect("the threads");
}

/// Under a filter that refuses the guard, each attempt is made in a child first.
fn refuse_guard() {
    filter(libc::SYS_seccomp, None, REFUSE).expect("a filter");
}

/// A number that processes share.
fn shared() -> &'static AtomicU32 {
    // SAFETY: new memory, which stays; zeros are a value.
    unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(null_mut(), size_of::<AtomicU32>(), protection, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        &*memory.cast()
    }
}

/// A process that does this again and again.
struct Sender(libc::pid_t);

impl Sender {
    fn new(again: impl Fn()) -> Self {
        // SAFETY: this process has one thread; numbers.
        unsafe {
            match libc::fork() {
                0 => {
                    // If it is not told to end, as where this process is killed.
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                    loop {
                        again();
                        // Whom it sends to gets on in between, however fast this loop is.
                        thread::sleep(Duration::from_micros(100));
                    }
                }
                child => Self(child),
            }
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // SAFETY: our own child, which was not waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            assert_eq!(libc::waitpid(self.0, null_mut(), 0), self.0);
        }
    }
}

fn handle(signal: c_int, action: libc::sighandler_t) {
    // SAFETY: the handlers of this file touch atomics, and ask for numbers.
    assert_ne!(unsafe { libc::signal(signal, action) }, libc::SIG_ERR);
}

fn handler(function: extern "C" fn(c_int)) -> libc::sighandler_t {
    function as libc::sighandler_t
}

fn no_handler_runs() {
    static PARENT: AtomicU32 = AtomicU32::new(0);
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static IN_CHILDREN: OnceLock<&AtomicU32> = OnceLock::new();
    extern "C" fn count(_: c_int) {
        let here = std::process::id() == PARENT.load(SeqCst);
        if here { &RUNS } else { IN_CHILDREN.get().expect("set below") }.fetch_add(1, SeqCst);
    }
    PARENT.store(std::process::id(), SeqCst);
    let in_children = *IN_CHILDREN.get_or_init(shared);
    handle(libc::SIGUSR1, libc::SIG_IGN);
    let _sender = Sender::new(|| {
        // SAFETY: to this group, in which everybody handles or ignores it.
        unsafe { libc::kill(0, libc::SIGUSR1) };
    });
    handle(libc::SIGUSR1, handler(count));
    refuse_guard();
    while RUNS.load(SeqCst) < 2000 {
        make_children();
    }
    assert_eq!(in_children.load(SeqCst), 0, "handlers ran in children");
}

fn a_stopped_group_goes_on() {
    const STOPS: u32 = 2000;
    let (stops, this) = (shared(), std::process::id() as libc::pid_t);
    let _sender = Sender::new(|| {
        // At the end the sender is killed. Between the two signals that would leave this process stopped.
        if stops.load(SeqCst) == STOPS {
            return;
        }
        // SAFETY: from a group of its own, to the other, which is stopped and has its first process alone go on.
        unsafe {
            libc::setpgid(0, 0);
            libc::kill(-this, libc::SIGSTOP);
            libc::kill(this, libc::SIGCONT);
        }
        stops.fetch_add(1, SeqCst);
    });
    refuse_guard();
    while stops.load(SeqCst) < STOPS {
        make_children();
    }
}

/// How many children there are, ended or not, whatever their signal is.
fn children() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).expect("its children");
    tasks.map(|task| of(task.expect("a thread")).split_ascii_whitespace().count()).sum()
}

fn no_trace_is_left(prepare: fn()) {
    static SIGNALS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: c_int) {
        SIGNALS.fetch_add(1, SeqCst);
    }
    handle(libc::SIGCHLD, handler(count));
    prepare();
    refuse_guard();
    for _ in 0..20 {
        make_children();
        assert_eq!(children(), 0);
    }
    assert_eq!(SIGNALS.load(SeqCst), 0);
}

fn ignore_children() {
    handle(libc::SIGCHLD, libc::SIG_IGN);
}

fn become_subreaper() {
    // SAFETY: numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
}

/// And takes those of the runtime as well.
fn somebody_waits_for_all_children() {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    static OVER: AtomicBool = AtomicBool::new(false);
    refuse_guard();
    let waiting = thread::spawn(|| {
        while !OVER.load(SeqCst) {
            // SAFETY: wants no status.
            let child = unsafe { libc::waitpid(-1, null_mut(), libc::__WALL) };
            TAKEN.fetch_add((child > 0).into(), SeqCst);
        }
    });
    let threads = || {
        let mut threads = Vec::new();
        audit(|thread| threads.push((thread.id, is_late(&thread)))).expect("the threads");
        threads.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (known, _) = threads();
    // So often somebody took a child, and all threads answered in time.
    let mut answered = 0;
    while answered < 10 {
        let before = TAKEN.load(SeqCst);
        make_children();
        let (numbers, late) = threads();
        assert_eq!(numbers, known);
        answered += usize::from(TAKEN.load(SeqCst) > before && !late.contains(&true));
    }
    OVER.store(true, SeqCst);
    waiting.join().expect("the other thread");
    assert_eq!(children(), 0);
}

fn is_unknown(thread: &Thread) -> bool {
    matches!(thread.area, Area::Unknown(_))
}

/// Whether it did not stop within a second: it cannot, or the machine has much to do.
fn is_late(thread: &Thread) -> bool {
    thread.area == Area::Unknown(libc::ETIMEDOUT)
}

/// Why nobody can be asked here, from a try.
fn no_audit() -> Option<String> {
    let unknown = |thread: &Thread| is_unknown(thread);
    let (asked, other) = (Barrier::new(2), Barrier::new(2));
    let threads = thread::scope(|scope| {
        scope.spawn(|| {
            other.wait();
            asked.wait();
        });
        other.wait();
        let mut threads = Vec::new();
        let result = audit(|thread| threads.push(thread));
        asked.wait();
        result.map(|()| threads)
    });
    match threads {
        Err(errno) => Some(format!("no threads are listed: errno {errno}")),
        Ok(threads) => threads.iter().any(unknown).then(|| format!("nobody can be asked: {threads:?}")),
    }
}

fn number() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { libc::gettid() as u32 }
}

/// What is said of this thread and of all others, once all of them answer.
fn said_of(number: u32) -> (Area, Vec<Thread>) {
    let mut threads = vec![];
    while threads.is_empty() || threads.iter().any(is_late) {
        threads.clear();
        audit(|thread| threads.push(thread)).expect("the threads");
    }
    let at = threads.iter().position(|thread| thread.id == number).expect("it is there");
    (threads.remove(at).area, threads)
}

/// Waits for its child as after `vfork`: until that one executes another program or ends, and for no signal but SIGKILL.
fn a_thread_does_not_answer() {
    let mut pipe = [-1; 2];
    // SAFETY: fills in two descriptors.
    assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    let [end, other_end] = pipe;
    extern "C" fn read(end: *mut c_void) -> c_int {
        let mut byte = 0_u8;
        // SAFETY: fills in a byte, once somebody writes one.
        unsafe { libc::syscall(libc::SYS_read, end as usize, &raw mut byte, 1) as c_int - 1 }
    }
    let (tell, told) = mpsc::channel();
    // More than one, and others around them.
    let waiting = [(); 2].map(|()| {
        let tell = tell.clone();
        thread::spawn(move || {
            let mut stack = [0_u128; 1024];
            tell.send(number()).expect("who asked");
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            // SAFETY: on a stack of its own, which is there until the child has ended; it makes one system call.
            unsafe {
                let child = libc::clone(read, stack.as_mut_ptr().add(1024).cast(), flags, end as usize as *mut c_void);
                let mut status = -1;
                assert_eq!((libc::waitpid(child, &mut status, 0), status), (child, 0));
            }
            tell.send(number()).expect("who asked");
            thread::sleep(Duration::MAX);
        })
    });
    let bystander = thread::spawn(|| thread::sleep(Duration::MAX));
    let numbers = [(); 2].map(|()| told.recv().expect("a number"));
    while children() < 2 {
        thread::yield_now();
    }
    // Again if others are late as well.
    let mut all_others_answer = false;
    while !all_others_answer {
        let mut threads = Vec::new();
        audit(|thread| threads.push(thread)).expect("the threads");
        assert_eq!(threads.len(), 4, "{threads:?}");
        assert!(threads.iter().all(|thread| is_late(thread) == is_unknown(thread)), "{threads:?}");
        let (waiting, others): (Vec<_>, Vec<_>) = threads.iter().partition(|thread| numbers.contains(&thread.id));
        assert!(waiting.len() == 2 && waiting.into_iter().all(is_late), "{threads:?}");
        all_others_answer = !others.into_iter().any(is_late);
    }
    // They go on, and answer.
    // SAFETY: reads two bytes.
    assert_eq!(unsafe { libc::write(other_end, [0_u8; 2].as_ptr().cast(), 2) }, 2);
    numbers.iter().for_each(|_| _ = told.recv().expect("a number"));
    for number in numbers {
        assert!(!matches!(said_of(number).0, Area::Unknown(_)));
    }
    drop((waiting, bystander));
}

/// Whoever's areas they are here: each thread's lies as far from its thread pointer as that of any other.
fn every_thread_is_listed() {
    let both = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            both.wait();
            both.wait();
            (number(), invar_arch::area(0) as usize)
        });
        both.wait();
        let (own, others) = said_of(number());
        both.wait();
        let (number, pointer) = other.join().unwrap();
        let [other] = others[..] else { panic!("{others:?}") };
        assert_eq!(other.id, number);
        match (own, other.area) {
            (Area::Registered { address: own, .. }, Area::Registered { address: other, .. }) => {
                let distance = |address: usize, pointer: usize| address.wrapping_sub(pointer);
                let here = invar_arch::area(0) as usize;
                // Where no thread's pointer is known it is 0.
                assert!(pointer == 0 || distance(own, here) == distance(other, pointer), "{own:x} {other:x}");
            }
            (own, other) => {
                assert_eq!((own, other), (Area::None, Area::None));
                assert!(invar_arch::libc_area().is_none_or(|(_, size)| size == 0), "libc says that it registers areas");
            }
        }
    });
}

/// Why no core is left here by whoever leaves one elsewhere, from a try.
fn no_cores() -> Option<String> {
    let left = cores_of(ABORT);
    left.is_empty().then(|| "a process that is killed leaves no core in its folder (core(5))".into())
}

/// What a scenario that is killed leaves in its folder.
fn cores_of(name: &str) -> Vec<String> {
    let Temporary(folder) = &Temporary::path("cores");
    std::fs::create_dir(folder).expect("a folder");
    let status = child(name, folder);
    assert!(status.success() || status.signal() == Some(libc::SIGABRT), "{status}");
    let names = std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn allow_cores() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills in and reads numbers.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_CORE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_CORE, &limit), 0);
    }
}

fn killed() {
    allow_cores();
    filter(libc::SYS_seccomp, None, libc::SECCOMP_RET_KILL_PROCESS).expect("a filter");
    assert_eq!(guard(), Err(NotGuarded::Killed));
}

/// The guard does not need the call that would keep a child from leaving a core.
fn killed_for_flag() {
    allow_cores();
    let others = !libc::PR_SET_DUMPABLE;
    let kill = libc::SECCOMP_RET_KILL_PROCESS;
    filter_unless(libc::SYS_prctl, Some((0, libc::PR_SET_DUMPABLE)), others, kill).expect("a filter");
    assert_eq!(guard(), Ok(()));
}

fn no_core_is_left() {
    for name in [KILLED, KILLED_FOR_FLAG] {
        assert_eq!(cores_of(name), [""; 0], "{name}");
    }
}

/// The calls of a scenario that somebody traces, which keeps the runtime's own children from doing so.
fn traced(name: &str) -> Vec<trace::Call> {
    trace::calls(again(name)).expect("a good end")
}

fn only_the_child_may_trace() {
    /// Linux, include/uapi/linux/prctl.h.
    const PR_SET_PTRACER: u64 = 0x5961_6d61;
    // Whatever the child does first, it traces when it was named.
    let calls = trace::calls_with_head_start(again(AUDIT), 20).expect("a good end");
    let process = calls[0].thread;
    let tracers = calls.iter().filter(|call| call.number == libc::SYS_ptrace && call.thread != process);
    let tracer = tracers.map(|call| call.thread).next().expect("a tracer");
    let told = calls.iter().filter(|call| {
        let allows = call.number == libc::SYS_prctl && call.args[0] == PR_SET_PTRACER;
        allows || call.number == libc::SYS_ptrace
    });
    let mut told = told.map(|call| (call.thread, if call.thread == process { call.args[1] } else { 0 }));
    assert_eq!(told.next(), Some((process, tracer as u64)), "before it traces");
    assert_eq!(told.next_back(), Some((process, 0)), "when it is gone");
    assert!(told.all(|(thread, _)| thread == tracer), "nobody else is allowed, and nobody else does");
}

fn speculation_stays_as_it_is() {
    let flags: Vec<_> =
        traced(GUARD).iter().filter(|call| call.number == libc::SYS_seccomp).map(|call| call.args[1]).collect();
    assert!(!flags.is_empty());
    assert!(flags.iter().all(|flags| flags & libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW != 0), "{flags:x?}");
}

fn guard_at_once() {
    const THREADS: usize = 8;
    let all = Barrier::new(THREADS);
    thread::scope(|scope| {
        let guards = [(); THREADS].map(|()| {
            scope.spawn(|| {
                all.wait();
                guard()
            })
        });
        assert!(guards.map(|guard| guard.join().unwrap()).iter().all(|result| *result == Ok(())));
    });
    let status = std::fs::read_to_string("/proc/self/status").expect("the status");
    assert!(status.contains("\nSeccomp_filters:\t1\n"), "{status}");
}

fn one_filter() {
    for _ in 0..20 {
        assert!(child(GUARD_AT_ONCE, Path::new("/")).success());
    }
}
