//! Threads that stand inside a site, and threads that fault.
//!
//! Threads that get `SIGUSR1` go on step by step. The first for whom the last instruction of a wanted site is next stays there
//! until it is released. Stepping is by the trap flag: the CPU traps behind each instruction.
#![allow(unsafe_code)] // signal handlers

use super::call::TRAP;
use super::text::{Text, share_of};
use invar_abi::Kind;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io::{Error, Result};
use std::os::unix::thread::RawPthread;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What the handlers look at.
struct WatchedText {
    text: &'static Text,
    start: usize,
}

static PLACE: OnceLock<WatchedText> = OnceLock::new();
/// What is wanted: the number of the call of [`tell`], the kind of site, the share. 0: nothing.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// What was found: the number of the call again, and the index of the site that a thread stands in.
static STANDING: AtomicUsize = AtomicUsize::new(0);
/// A number of a call is above so many bits.
const BITS: u32 = 16;

static FAULT_IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// The first fault: its signal (0: none), and the address of the instruction.
static FAULT: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

thread_local! {
    /// Whether this thread goes through chains.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread was told to stand.
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Installs the handlers, for this text at this address.
pub(super) fn prepare(text: &'static Text, start: *const u8) -> Result<()> {
    let _ = PLACE.set(WatchedText { text, start: start as usize });
    handle(libc::SIGUSR1, told)?;
    handle(libc::SIGTRAP, trapped)?;
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE].into_iter().try_for_each(|signal| handle(signal, faulted))
}

/// Says that this thread goes through chains from now on.
pub(super) fn begin() {
    IS_WORKER.set(true);
}

/// The flags that this thread needs in its next chain.
pub(super) fn flags() -> u64 {
    if IS_TOLD.get() { TRAP } else { 0 }
}

/// Tells the workers that one of them is to stand inside a site of this kind and share.
pub(super) fn tell(workers: &[RawPthread], kind: Kind, share: usize) {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, SeqCst) + 1;
    WANTED.store(call << BITS | (kind as usize) << 8 | share, SeqCst);
    for worker in workers {
        // SAFETY: a worker does not end before the process does.
        unsafe { libc::pthread_kill(*worker, libc::SIGUSR1) };
    }
}

/// Has whoever stands go on, soon, and nobody else begin to stand.
pub(super) fn release() {
    WANTED.store(0, SeqCst);
}

/// The index of the site that a thread stands in until it is released.
pub(super) fn standing() -> Option<usize> {
    let [wanted, standing] = [&WANTED, &STANDING].map(|number| number.load(SeqCst));
    (wanted != 0 && wanted >> BITS == standing >> BITS).then_some(standing % (1 << BITS))
}

/// The first fault: its signal, and where in the text the instruction is, or would be.
pub(super) fn fault() -> Option<(c_int, usize)> {
    let [signal, at] = [0, 1].map(|index| FAULT[index].load(SeqCst));
    let start = PLACE.get().map_or(0, |place| place.start);
    (signal != 0).then_some((signal as c_int, at.wrapping_sub(start)))
}

type SignalHandler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

fn handle(signal: c_int, handler: SignalHandler) -> Result<()> {
    // SAFETY: a structure of numbers, for which 0 is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // On the stack that the standard library gives each thread for handlers.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handlers do what handlers may: they read and write atomics and a thread's own numbers, and sleep.
    let result = unsafe {
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(signal, &action, null_mut())
    };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// `SIGUSR1`. Outside of the text, the thread begins to step in its next chain: this program's own code is long.
extern "C" fn told(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    if !IS_WORKER.get() {
        return;
    }
    IS_TOLD.set(true);
    // SAFETY: what the kernel passes to a handler.
    let registers = unsafe { registers(context) };
    if PLACE.get().is_some_and(|place| at(registers).wrapping_sub(place.start) < place.text.inner.len()) {
        set_trap(registers, true);
    }
}

/// `SIGTRAP`: behind a step, or a fault.
extern "C" fn trapped(signal: c_int, information: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what the kernel passes to a handler.
    let code = unsafe { (*information).si_code };
    let Some(place) = PLACE.get().filter(|_| code == libc::TRAP_TRACE && IS_WORKER.get()) else {
        return faulted(signal, information, context);
    };
    // SAFETY: as above.
    let registers = unsafe { registers(context) };
    let index = place.text.inner.get(at(registers).wrapping_sub(place.start)).map(|index| usize::from(*index));
    let wanted = WANTED.load(SeqCst);
    match index {
        _ if wanted == 0 => IS_TOLD.set(false),
        // Behind the chain: it begins to step again in the next one.
        None => {}
        Some(index) if index > 0 && is_wanted(wanted, place.text, index - 1) => {
            let before = STANDING.load(SeqCst);
            let found = wanted >> BITS << BITS | (index - 1);
            let is_first =
                before >> BITS < wanted >> BITS && STANDING.compare_exchange(before, found, SeqCst, SeqCst).is_ok();
            while is_first && WANTED.load(SeqCst) == wanted {
                sleep();
            }
            IS_TOLD.set(false);
        }
        // The flag is still there.
        Some(_) => return,
    }
    set_trap(registers, false);
}

fn is_wanted(wanted: usize, text: &Text, site: usize) -> bool {
    (text.sites[site].kind as usize) << 8 | share_of(site) == wanted % (1 << BITS)
}

/// Whatever should not have come. The thread has no place to go on from: it stays here until the process ends.
extern "C" fn faulted(signal: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    if !IS_WORKER.get() {
        // SAFETY: this ends the process by the signal, as if there were no handler.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    if !FAULT_IS_TAKEN.swap(true, SeqCst) {
        // SAFETY: what the kernel passes to a handler.
        FAULT[1].store(at(unsafe { registers(context) }), SeqCst);
        FAULT[0].store(signal as usize, SeqCst);
    }
    loop {
        sleep();
    }
}

/// # Safety
///
/// `context` is what the kernel passed to a handler that is not left while the result is in use.
unsafe fn registers<'a>(context: *mut c_void) -> &'a mut [libc::greg_t; 23] {
    // SAFETY: as the caller vouches.
    unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}

/// The instruction that is next.
fn at(registers: &[libc::greg_t; 23]) -> usize {
    registers[libc::REG_RIP as usize] as usize
}

fn set_trap(registers: &mut [libc::greg_t; 23], on: bool) {
    let flags = &mut registers[libc::REG_EFL as usize];
    *flags = if on { *flags | TRAP as i64 } else { *flags & !(TRAP as i64) };
}

/// Some microseconds.
fn sleep() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
    // SAFETY: a system call that reads a number.
    unsafe { libc::nanosleep(&time, null_mut()) };
}
