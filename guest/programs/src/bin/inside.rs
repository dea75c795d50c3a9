//! `inside CASE [granted]` does in a section what one should not, or must be able to: before its time is extended, or
//! after. Says what the two bytes were at each step.
//!
//! Nothing is printed in between: a system call would be one more thing done inside.
#![allow(unsafe_code)]

use invar::timeslice::{CriticalSection, enter};
use invar_guest_programs::{Area, end_by_signals, say};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{mem, ptr, thread};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let case = arguments.first().expect("inside CASE [granted]").as_str();
    if case != "std's handler" {
        end_by_signals();
    }
    let steps = Steps::begin(arguments.get(1).is_some());
    match case {
        "nested" => nested(&steps, || ()),
        "nested, system call in the inner section" => nested(&steps, system_call),
        "nested, inner section granted" => nested_inner_granted(&steps),
        "nested, system call after the inner section" => nested_then_call(&steps),
        "system call" => plain(&steps, system_call),
        "contended lock" => contended_lock(&steps),
        "sleep" => plain(&steps, || thread::sleep(MOMENT)),
        "handler" => handler(&steps, || ()),
        "handler, system call" => handler(&steps, system_call),
        "handler, section" => handler(&steps, || drop(enter())),
        "handler, system call in a section" => handler(&steps, call_in_a_section),
        "siglongjmp" => jump(&steps),
        "fork" => fork(&steps),
        "posix_spawn" => plain(&steps, spawn),
        "vfork, section" => plain(&steps, sharing_child),
        "execve" => plain(&steps, execute),
        "after execve" => return say("child", steps.area.state()),
        "panic" => panic(&steps),
        "panic that must not unwind" => plain(&steps, || must_not_unwind()),
        "forgotten" => forgotten(&steps),
        "thread ends" => thread_ends(&steps),
        "await" => awaiting(&steps),
        "after a revoked grant, system call" => after_revocation(&steps, system_call),
        "after a revoked grant, handler" => after_revocation(&steps, || interrupted(|| ())),
        "after a revoked grant, system call before" => after_revocation_and_call(&steps),
        "std's handler" => nested(&steps, system_call),
        _ => panic!("no such case"),
    }
    say("steps", steps.seen());
}

const MOMENT: Duration = Duration::from_millis(1);

/// What was seen, step by step.
struct Steps {
    area: Area,
    /// Whether sections wait for their time to be extended, on a CPU that somebody else wants as well.
    granted: bool,
    seen: [Cell<&'static str>; 8],
    count: Cell<usize>,
}

impl Steps {
    fn begin(granted: bool) -> Self {
        if granted {
            thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        Self { area: Area::of_this_thread(), granted, seen: [const { Cell::new("") }; 8], count: Cell::new(0) }
    }

    /// Begins a section, and waits for a grant if one is wanted.
    fn enter(&self) -> CriticalSection {
        if self.granted { self.area.enter_granted().expect("a grant") } else { enter() }
    }

    fn step(&self) {
        let step = self.count.get();
        self.seen[step].set(self.area.state());
        self.count.set(step + 1);
    }

    fn seen(&self) -> String {
        self.seen[..self.count.get()].iter().map(Cell::get).collect::<Vec<_>>().join(", ")
    }
}

/// The shortest there is.
fn system_call() {
    // SAFETY: no arguments, no effects.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn call_in_a_section() {
    let _slice = enter();
    system_call();
}

/// Something that is done in a section.
fn plain(steps: &Steps, act: impl FnOnce()) {
    let slice = steps.enter();
    steps.step();
    act();
    steps.step();
    drop(slice);
    steps.step();
}

fn nested(steps: &Steps, act: impl FnOnce()) {
    let outer = steps.enter();
    steps.step();
    let inner = enter();
    steps.step();
    act();
    drop(inner);
    steps.step();
    drop(outer);
    steps.step();
}

fn nested_inner_granted(steps: &Steps) {
    // A tuple is dropped from its first field on.
    let (inner, outer) = steps
        .area
        .enter_granted_by(|| {
            let outer = enter();
            (enter(), outer)
        })
        .expect("a grant");
    steps.step();
    drop(inner);
    steps.step();
    drop(outer);
    steps.step();
}

fn nested_then_call(steps: &Steps) {
    plain(steps, || {
        drop(enter());
        steps.step();
        system_call();
    });
}

/// A lock that is taken under another section, and held by somebody who lets go only once it is waited for.
fn contended_lock(steps: &Steps) {
    static LOCK: invar_lock::Mutex<()> = invar_lock::Mutex::new(());
    static WANTED: AtomicBool = AtomicBool::new(false);
    let held = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = LOCK.lock();
            held.wait();
            while !WANTED.load(SeqCst) {
                thread::sleep(MOMENT);
            }
            thread::sleep(10 * MOMENT);
        });
        held.wait();
        plain(steps, || {
            WANTED.store(true, SeqCst);
            let guard = LOCK.lock();
            steps.step();
            drop(guard);
        });
    });
}

thread_local! {
    static IN_HANDLER: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Runs this in a signal handler, without a system call that would bring it about.
fn interrupted(act: fn()) {
    IN_HANDLER.set(Some(act));
    // SAFETY: an instruction that raises SIGTRAP; the handler of `install` comes back behind it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("int3");
    }
    // SAFETY: the same, of four bytes.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        std::arch::asm!(".option push", ".option norvc", "ebreak", ".option pop");
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "riscv64")))]
    panic!("no such instruction is known here");
}

/// To be called outside the section.
fn install() {
    extern "C" fn handle(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel's record of the thread that was interrupted.
        step_over(unsafe { &mut *context.cast::<libc::ucontext_t>() });
        IN_HANDLER.get().expect("something to do")();
    }
    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: a handler that does what this program wants it to, with no signal more blocked; zeros are an empty set.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handle as Handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
    }
}

/// Where the CPU stands at the instruction that raised the signal, it goes on behind it.
fn step_over(context: &mut libc::ucontext_t) {
    #[cfg(target_arch = "riscv64")]
    {
        context.uc_mcontext.__gregs[libc::REG_PC] += 4;
    }
    #[cfg(not(target_arch = "riscv64"))]
    let _ = context;
}

fn handler(steps: &Steps, act: fn()) {
    install();
    plain(steps, || interrupted(act));
}

unsafe extern "C" {
    // In `jump.c`.
    fn jump_left(function: extern "C" fn()) -> bool;
    fn jump_out() -> !;
}

fn jump(steps: &Steps) {
    thread_local! {
        static STEPS: Cell<*const Steps> = const { Cell::new(ptr::null()) };
    }
    extern "C" fn section() {
        // SAFETY: set below, to what outlives this call.
        let steps = unsafe { &*STEPS.get() };
        // No destructor may be pending in a frame that is jumped over.
        mem::forget(steps.enter());
        steps.step();
        // SAFETY: back to where `section` was called from, over its frame and the handler's.
        interrupted(|| unsafe { jump_out() });
    }
    STEPS.set(steps);
    install();
    // SAFETY: calls the function.
    assert!(unsafe { jump_left(section) });
    steps.step();
    drop(enter());
    steps.step();
}

fn fork(steps: &Steps) {
    let slice = steps.enter();
    steps.step();
    // SAFETY: the child of a process whose other thread, if there is one, holds no lock.
    let child = unsafe { libc::fork() };
    steps.step();
    drop(slice);
    steps.step();
    if child == 0 {
        say("child", steps.seen());
        // SAFETY: what was printed is flushed with the line.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child, without its status.
    assert_eq!(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }, child);
}

/// This program once more, to say how it begins.
const PROGRAM: (&CStr, [&CStr; 2]) = (c"/proc/self/exe", [c"inside", c"after execve"]);

fn spawn() {
    let (program, words) = PROGRAM;
    let argv = [words[0].as_ptr().cast_mut(), words[1].as_ptr().cast_mut(), ptr::null_mut()];
    // SAFETY: a program, its arguments and environment, as posix_spawn(3) wants them.
    unsafe {
        let mut child = 0;
        unsafe extern "C" {
            static environ: *const *mut libc::c_char;
        }
        let error = libc::posix_spawn(&mut child, program.as_ptr(), ptr::null(), ptr::null(), argv.as_ptr(), environ);
        assert_eq!(error, 0);
        assert_eq!(libc::waitpid(child, ptr::null_mut(), 0), child);
    }
}

fn execute() {
    let (program, words) = PROGRAM;
    let argv = [words[0].as_ptr(), words[1].as_ptr(), ptr::null()];
    // SAFETY: as in `spawn`.
    unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
    panic!("execv failed");
}

/// A child in this memory, and with this thread pointer, as that of vfork(2) is.
fn sharing_child() {
    extern "C" fn child(_: *mut c_void) -> c_int {
        drop(enter());
        0
    }
    let mut stack = vec![0_u128; 4096];
    let none = ptr::null_mut::<c_void>();
    // SAFETY: on a stack of its own, while this thread waits.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let child = libc::clone(child, stack.as_mut_ptr_range().end.cast(), flags, none);
        assert_eq!(libc::waitpid(child, ptr::null_mut(), 0), child);
    }
}

fn panic(steps: &Steps) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _slice = steps.enter();
        steps.step();
        panic!("in a section");
    }));
    steps.step();
    assert!(result.is_err());
}

extern "C" fn must_not_unwind() {
    panic!("in a section");
}

fn forgotten(steps: &Steps) {
    mem::forget(steps.enter());
    steps.step();
    if steps.granted {
        system_call();
        steps.step();
    }
    drop(enter());
    steps.step();
}

fn thread_ends(steps: &Steps) {
    let granted = steps.granted;
    thread::spawn(move || {
        let area = Area::of_this_thread();
        invar::timeslice::enrol().expect("slices");
        mem::forget(if granted { area.enter_granted() } else { Some(enter()) });
        area.state()
    })
    .join()
    .map(|state| steps.seen[0].set(state))
    .expect("a thread");
    steps.count.set(1);
    steps.step();
}

/// Two tasks of one thread, the first of which waits in its section.
fn awaiting(steps: &Steps) {
    let mut polled = false;
    let mut first = pin!(async {
        let _slice = enter();
        std::future::poll_fn(|_| if mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    });
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    steps.step();
    drop(enter());
    steps.step();
    assert!(first.as_mut().poll(&mut context).is_ready());
    steps.step();
}

/// A section that is too long, and another one before the thread makes any system call.
fn revoked(steps: &Steps) -> CriticalSection {
    let slice = steps.enter();
    while steps.area.granted() {
        std::hint::spin_loop();
    }
    drop(slice);
    steps.step();
    enter()
}

fn after_revocation(steps: &Steps, act: impl FnOnce()) {
    install();
    let slice = revoked(steps);
    steps.step();
    act();
    steps.step();
    drop(slice);
    steps.step();
}

fn after_revocation_and_call(steps: &Steps) {
    let slice = revoked(steps);
    drop(slice);
    system_call();

    let slice = enter();
    steps.step();
    system_call();
    steps.step();
    drop(slice);
    steps.step();
}
