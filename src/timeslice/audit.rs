//! Which threads of this process are enrolled, by the kernel's word.
//!
//! A thread's area can be found by the thread itself, and by a tracer (Linux 5.13, `PTRACE_GET_RSEQ_CONFIGURATION`), which
//! must be of another process (Linux, kernel/ptrace.c, `ptrace_attach`). So a child is made to ask.
#![allow(unsafe_code)]

use super::answers::{Area, Thread};
use super::area;
use super::rseq::{self, AREA_FLAGS, FEATURE_SIZE, FLAG_AVAILABLE, FLAG_ENABLED};
use crate::sys::{self, Errno, Scratch};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use invar_arch as arch;

/// Lists this process's threads: their rseq areas, which of them are enrolled, and which have a request left set.
///
/// The calling thread must be outside any critical section. A child process traces the threads one after the other, as a
/// debugger would. Each is stopped for a moment, which may make a few system calls return `EINTR` (`signal(7)`, "Interruption of system calls by
/// stop signals"). Threads that start or end meanwhile may be missing. Where no child can be made or may trace, the areas of the
/// other threads are [`Area::Unknown`]. So is, with `ETIMEDOUT`, the area of a thread that does not stop within a second, which is
/// for all threads together. A process that `PR_SET_PTRACER` allowed to trace may no longer do so: only the child may, for as long
/// as it runs. Signals to the calling thread wait meanwhile.
///
/// This is for people and tests, not for a fast path: it makes a process, and that makes some system calls for each thread.
///
/// # Errors
///
/// The errno if `/proc` is not there, or there is no memory.
///
/// ```
/// invar::timeslice::audit(|thread| println!("{thread:?}")).expect("the threads");
/// ```
pub fn audit(mut each: impl FnMut(Thread)) -> Result<(), i32> {
    audit_now(&mut each).map_err(|error| error.0)
}

/// Calls `each` for every thread of this process.
#[cold]
fn audit_now(each: &mut dyn FnMut(Thread)) -> sys::Result<()> {
    let room = sys::threads()? as usize + MORE;
    let mut memory = Scratch::shared(room * size_of::<Entry>())?;
    // SAFETY: aligned as a mapping is; zeros are an entry, and so is whatever its atomics hold.
    let entries: &[Entry] = unsafe { core::slice::from_raw_parts(memory.bytes().as_mut_ptr().cast(), room) };
    let mut count = 0;
    sys::each_thread(|id| {
        if let Some(entry) = entries.get(count) {
            entry.id.store(id, Relaxed);
            // Until the child says better: something may end it.
            entry.detail.store(libc::ECHILD as u32, Relaxed);
            count += 1;
        }
    })?;
    let entries = &entries[..count];
    if let Err(Errno(errno)) = in_child(|| trace(entries)) {
        entries.iter().for_each(|entry| entry.set(0, errno as u32, 0));
    }
    for entry in entries {
        if !entry.is_known() && entry.id.load(Relaxed) == sys::thread_id() {
            ask_oneself(entry);
        }
        each(entry.thread());
    }
    Ok(())
}

/// What the child has found out of a thread, in memory that both have. Zero is: nothing.
#[repr(C)]
struct Entry {
    /// The thread's ID.
    id: AtomicU32,
    known: AtomicU32,
    /// An errno, or the bits of what is so.
    detail: AtomicU32,
    address: AtomicUsize,
}

// What is known.
const NONE: u32 = 1;
const REGISTERED: u32 = 2;
// Nothing yet: the thread was asked to stop, and was asleep or not.
const AWAITED: u32 = 3;
const AWAITED_ASLEEP: u32 = 4;
// What is so.
const ENABLED: u32 = 1;
const REQUEST: u32 = 2;
const ASLEEP: u32 = 4;

impl Entry {
    fn set(&self, known: u32, detail: u32, address: usize) {
        self.detail.store(detail, Relaxed);
        self.address.store(address, Relaxed);
        self.known.store(known, Relaxed);
    }

    fn is_known(&self) -> bool {
        matches!(self.known.load(Relaxed), NONE | REGISTERED)
    }

    fn is_awaited(&self) -> bool {
        matches!(self.known.load(Relaxed), AWAITED | AWAITED_ASLEEP)
    }

    fn thread(&self) -> Thread {
        let detail = self.detail.load(Relaxed);
        let area = match self.known.load(Relaxed) {
            NONE => Area::None,
            REGISTERED => Area::Registered {
                address: self.address.load(Relaxed),
                enabled: detail & ENABLED != 0,
                request: detail & REQUEST != 0,
                asleep: detail & ASLEEP != 0,
            },
            _ => Area::Unknown(detail as i32),
        };
        Thread { id: self.id.load(Relaxed), area }
    }
}

/// Room for the threads that start while they are counted.
const MORE: usize = 64;

/// A thread can read its own area, if it is the one that the sites write to.
fn ask_oneself(entry: &Entry) {
    let Some(area) = area::offset() else { return };
    let flags = rseq::flags(area);
    if flags & FLAG_AVAILABLE != 0 {
        let area = area.of_this_thread();
        // SAFETY: this thread's area; the kernel says AVAILABLE only in one that has the byte.
        let request = unsafe { area.add(arch::AREA_REQUEST).read_volatile() };
        entry.set(REGISTERED, bits(flags, request, true), area as usize);
    }
}

fn bits(flags: u32, request: u8, asleep: bool) -> u32 {
    let bit = |is, bit| if is { bit } else { 0 };
    bit(flags & FLAG_ENABLED != 0, ENABLED) | bit(request != 0, REQUEST) | bit(asleep, ASLEEP)
}

/// Runs `work`, which may only make system calls, in a child that may trace this process; waits until it is done.
fn in_child(work: impl FnOnce()) -> sys::Result<()> {
    // Where Yama stands only a tracer that was named may be a child (Linux, Documentation/admin-guide/LSM/Yama.rst).
    const PR_SET_PTRACER: usize = 0x5961_6d61;
    let allow = |tracer: usize| {
        // SAFETY: says who may trace; EINVAL where nobody asks.
        let _ = unsafe { sys::call(libc::SYS_prctl, [PR_SET_PTRACER, tracer, 0, 0, 0]) };
    };
    let done = sys::child(allow, |parent| {
        // A signal that stops the process's group would stop the child while it has a thread of the process stopped, perhaps
        // the one that waits for it.
        // SAFETY: touches no memory.
        let _ = unsafe { sys::call(libc::SYS_setpgid, [0, 0]) };
        if parent.is_introduced() {
            work();
        }
        0
    });
    allow(0);
    done.map(drop)
}

/// How long all threads together may take, in nanoseconds.
const LIMIT: u64 = 1_000_000_000;
/// How long one of them is waited for before the next one is asked.
const PATIENCE: u64 = 20_000_000;

/// In the child: asks one thread after the other; then those again that did not answer at once.
fn trace(entries: &[Entry]) {
    let begun = sys::now();
    for entry in entries {
        stop(entry);
        let asked = sys::now();
        while entry.is_awaited() && sys::now() - asked < PATIENCE && sys::now() - begun < LIMIT {
            listen(entry);
        }
    }
    while entries.iter().any(Entry::is_awaited) && sys::now() - begun < LIMIT {
        entries.iter().filter(|entry| entry.is_awaited()).for_each(listen);
    }
    // A thread that stops later goes on when this child ends (ptrace(2)).
}

// Linux, include/uapi/linux/ptrace.h.
const PTRACE_PEEKDATA: usize = 2;
const PTRACE_DETACH: usize = 17;
const PTRACE_SEIZE: usize = 0x4206;
const PTRACE_INTERRUPT: usize = 0x4207;
const PTRACE_GET_RSEQ_CONFIGURATION: usize = 0x420f;
const PTRACE_EVENT_STOP: i32 = 128;

fn ptrace(request: usize, thread: usize, address: usize, data: usize) -> sys::Result<usize> {
    // SAFETY: the other process is read only; what is written here is as large as the request wants it.
    unsafe { sys::call(libc::SYS_ptrace, [request, thread, address, data]) }
}

/// Has a thread stop.
fn stop(entry: &Entry) {
    let thread = entry.id.load(Relaxed);
    // Asked first: stopped, it is not asleep.
    let asleep = sys::asleep(thread);
    let thread = thread as usize;
    let asked = ptrace(PTRACE_SEIZE, thread, 0, 0).and_then(|_| ptrace(PTRACE_INTERRUPT, thread, 0, 0));
    match asked {
        Ok(_) => entry.set(if asleep { AWAITED_ASLEEP } else { AWAITED }, libc::ETIMEDOUT as u32, 0),
        Err(Errno(errno)) => entry.set(0, errno as u32, 0),
    }
}

/// Looks at the thread's area, if the thread has stopped, and lets it go on; else waits a moment.
fn listen(entry: &Entry) {
    let thread = entry.id.load(Relaxed) as usize;
    let asleep = entry.known.load(Relaxed) == AWAITED_ASLEEP;
    let stopped = match sys::wait(thread, libc::WNOHANG) {
        Ok(None) => return sys::sleep(sys::REST),
        Ok(Some(status)) if libc::WIFSTOPPED(status) => Ok(status),
        Ok(Some(_)) => Err(Errno(libc::ESRCH)),
        Err(error) => Err(error),
    };
    let area = stopped.and_then(|status| {
        let area = look(thread);
        // Stopped by a signal that came first, it gets that.
        let signal = if status >> 16 == PTRACE_EVENT_STOP { 0 } else { libc::WSTOPSIG(status) };
        let _ = ptrace(PTRACE_DETACH, thread, 0, signal as usize);
        area
    });
    match area {
        Ok(None) => entry.set(NONE, 0, 0),
        Ok(Some((address, flags, request))) => entry.set(REGISTERED, bits(flags, request, asleep), address),
        Err(Errno(errno)) => entry.set(0, errno as u32, 0),
    }
}

/// Address, flags and request byte of a stopped thread's area.
fn look(thread: usize) -> sys::Result<Option<(usize, u32, u8)>> {
    /// `struct ptrace_rseq_configuration`: address, size and signature, flags.
    type Configuration = [u64; 3];

    let peek = |address: usize| {
        let mut word = 0_u64;
        ptrace(PTRACE_PEEKDATA, thread, address, &raw mut word as usize).map(|_| word)
    };
    let mut configuration: Configuration = [0; 3];
    let size = size_of::<Configuration>();
    ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread, size, &raw mut configuration as usize)?;
    let [address, size_and_signature, _] = configuration;
    if address == 0 {
        return Ok(None);
    }
    let address = address as usize;
    // The flags are the lower half of their word. An area of 32 bytes ends before the request could count.
    let flags = peek(address + AREA_FLAGS)? as u32;
    let word = peek(address + AREA_REQUEST_WORD)?;
    let counts = size_and_signature as u32 as u64 >= FEATURE_SIZE;
    let request = if counts { (word >> (8 * (arch::AREA_REQUEST - AREA_REQUEST_WORD))) as u8 } else { 0 };
    Ok(Some((address, flags, request)))
}

/// Where a word begins that has the request byte in it.
const AREA_REQUEST_WORD: usize = arch::AREA_REQUEST & !7;

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry with this in it.
    fn entry(id: u32, known: u32, detail: u32, address: usize) -> Entry {
        Entry {
            id: AtomicU32::new(id),
            known: AtomicU32::new(known),
            detail: AtomicU32::new(detail),
            address: AtomicUsize::new(address),
        }
    }

    #[test]
    fn a_thread_that_is_gone_is_unknown() {
        let none = entry(i32::MAX as u32, REGISTERED, 0, 64);
        trace(core::slice::from_ref(&none));
        assert_eq!(none.thread().area, Area::Unknown(libc::ESRCH));
    }

    #[test]
    fn what_is_known_of_a_thread_is_said() {
        for (flags, request, is_asleep) in [
            (0, 0, false),
            (FLAG_AVAILABLE, 0, false),
            (FLAG_ENABLED, 0, true),
            (FLAG_AVAILABLE | FLAG_ENABLED, 1, false),
            (0, 255, true),
        ] {
            let found = entry(7, 0, 0, 0);
            found.set(REGISTERED, bits(flags, request, is_asleep), 64);
            let thread = found.thread();
            assert_eq!(thread.id, 7);
            let Area::Registered { address, enabled, request: requested, asleep } = thread.area else {
                panic!("{thread:?}");
            };
            assert_eq!((address, enabled, requested, asleep), (64, flags & FLAG_ENABLED != 0, request != 0, is_asleep));
        }
        assert_eq!(entry(7, NONE, 5, 64).thread().area, Area::None);
        for (known, is_known, is_awaited) in [
            (0, false, false),
            (NONE, true, false),
            (REGISTERED, true, false),
            (AWAITED, false, true),
            (AWAITED_ASLEEP, false, true),
        ] {
            let entry = entry(7, known, 5, 64);
            assert_eq!((entry.is_known(), entry.is_awaited()), (is_known, is_awaited), "{known}");
            assert!(is_known || entry.thread().area == Area::Unknown(5));
        }
    }
}
