//! Which threads of this process are enrolled, by the kernel's word.
//!
//! A thread's area can be found by the thread itself, and by a tracer (Linux 5.13, `PTRACE_GET_RSEQ_CONFIGURATION`), which
//! must be of another process (Linux, kernel/ptrace.c, `ptrace_attach`). So a child is made to ask.

use super::{AREA_FLAGS, FEATURE_SIZE, FLAG_AVAILABLE, FLAG_ENABLED, flags};
use crate::slice;
use crate::sys::{self, Errno, Result, Scratch};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use invar_arch as arch;

/// One thread, as [`slice::audit`](crate::slice::audit) found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number, as `gettid(2)` gives it.
    pub number: u32,
    /// Its area.
    pub area: Area,
}

/// A thread's `struct rseq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Area {
    /// Nobody could be asked: the thread ended, a debugger has it, or this system lets no child trace. An error number.
    Unknown(i32),
    /// Nobody registered one.
    None,
    /// The kernel knows one.
    Registered {
        /// Where it is.
        address: usize,
        /// The thread can be granted slices.
        enabled: bool,
        /// The thread asks for an extension.
        request: bool,
        /// The thread was asleep. With a request that means one that was left set: sections make no system calls.
        asleep: bool,
    },
}

/// What the child has found out of a thread, in memory that both have. Zero is: nothing.
#[repr(C)]
struct Entry {
    number: AtomicU32,
    known: AtomicU32,
    /// An error number, or the bits of what is so.
    detail: AtomicU32,
    address: AtomicUsize,
}

// What is known.
const NONE: u32 = 1;
const REGISTERED: u32 = 2;
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
        Thread { number: self.number.load(Relaxed), area }
    }
}

/// Room for the threads that start while they are counted.
const MORE: usize = 64;

/// Calls `each` for every thread of this process.
#[cold]
pub(crate) fn audit(mut each: impl FnMut(Thread)) -> Result<()> {
    let room = sys::threads()? as usize + MORE;
    let mut memory = Scratch::shared(room * size_of::<Entry>())?;
    // SAFETY: aligned as a mapping is; zeros are an entry, and so is whatever its atomics hold.
    let entries: &[Entry] = unsafe { core::slice::from_raw_parts(memory.bytes().as_mut_ptr().cast(), room) };
    let mut count = 0;
    sys::each_thread(|number| {
        if let Some(entry) = entries.get(count) {
            entry.number.store(number, Relaxed);
            // Until the child says better: something may end it.
            entry.detail.store(libc::ECHILD as u32, Relaxed);
            count += 1;
        }
    })?;
    let entries = &entries[..count];
    if let Err(Errno(errno)) = in_child(|| entries.iter().for_each(trace)) {
        entries.iter().for_each(|entry| entry.detail.store(errno as u32, Relaxed));
    }
    for entry in entries {
        if entry.known.load(Relaxed) == 0 && entry.number.load(Relaxed) == sys::thread_id() {
            ask_oneself(entry);
        }
        each(entry.thread());
    }
    Ok(())
}

/// A thread can read its own area, if it is the one that the sites write to.
fn ask_oneself(entry: &Entry) {
    let area = arch::area(slice::area());
    let flags = flags(slice::area());
    if flags & FLAG_AVAILABLE != 0 {
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
fn in_child(work: impl FnOnce()) -> Result<()> {
    // Where Yama stands only a tracer that was named may be a child (Linux, Documentation/admin-guide/LSM/Yama.rst).
    const PR_SET_PTRACER: usize = 0x5961_6d61;
    let allow = |tracer: usize| {
        // SAFETY: says who may trace; EINVAL where nobody asks.
        let _ = unsafe { sys::call(libc::SYS_prctl, [PR_SET_PTRACER, tracer, 0, 0, 0, 0]) };
    };
    allow(usize::MAX);
    let status = sys::child(|| {
        work();
        0
    });
    allow(0);
    status.map(drop)
}

/// In the child: stops a thread, looks at its area, lets it go on.
fn trace(entry: &Entry) {
    let thread = entry.number.load(Relaxed);
    // Asked first: stopped, it is not asleep.
    let asleep = sys::asleep(thread);
    match look(thread as usize) {
        Ok(None) => entry.set(NONE, 0, 0),
        Ok(Some((address, flags, request))) => entry.set(REGISTERED, bits(flags, request, asleep), address),
        Err(Errno(errno)) => entry.set(0, errno as u32, 0),
    }
}

/// Address, flags and request byte of the thread's area.
fn look(thread: usize) -> Result<Option<(usize, u32, u8)>> {
    // Linux, include/uapi/linux/ptrace.h.
    const PTRACE_PEEKDATA: usize = 2;
    const PTRACE_DETACH: usize = 17;
    const PTRACE_SEIZE: usize = 0x4206;
    const PTRACE_INTERRUPT: usize = 0x4207;
    const PTRACE_GET_RSEQ_CONFIGURATION: usize = 0x420f;
    const PTRACE_EVENT_STOP: i32 = 128;
    /// `struct ptrace_rseq_configuration`: address, size and signature, flags.
    type Configuration = [u64; 3];

    let ptrace = |request: usize, address: usize, data: usize| {
        // SAFETY: the other process is stopped and read only; what is written here is as large as the request wants it.
        unsafe { sys::call(libc::SYS_ptrace, [request, thread, address, data, 0, 0]) }
    };
    let peek = |address: usize| {
        let mut word = 0_u64;
        ptrace(PTRACE_PEEKDATA, address, &raw mut word as usize).map(|_| word)
    };
    ptrace(PTRACE_SEIZE, 0, 0)?;
    ptrace(PTRACE_INTERRUPT, 0, 0)?;
    let status = sys::wait(thread)?;
    if !libc::WIFSTOPPED(status) {
        return Err(Errno(libc::ESRCH));
    }
    let mut configuration: Configuration = [0; 3];
    let size = size_of::<Configuration>();
    let area = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, size, &raw mut configuration as usize).and_then(|_| {
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
    });
    // Stopped by a signal that came first, it gets that.
    let signal = if status >> 16 == PTRACE_EVENT_STOP { 0 } else { libc::WSTOPSIG(status) };
    let _ = ptrace(PTRACE_DETACH, 0, signal as usize);
    area
}

/// Where a word begins that has the request byte in it.
const AREA_REQUEST_WORD: usize = arch::AREA_REQUEST & !7;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::vec::Vec;

    /// Whoever's areas they are here: each thread's lies as far from its thread pointer as that of any other.
    #[test]
    fn every_thread_is_listed() {
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let number = sys::thread_id();
                both.wait();
                both.wait();
                (number, arch::area(0) as usize)
            });
            both.wait();
            let mut threads = Vec::new();
            audit(|thread| threads.push(thread)).expect("the threads");
            both.wait();
            let (other, other_pointer) = other.join().unwrap();
            let of = |number| threads.iter().find(|thread| thread.number == number).expect("it is there").area;
            match (of(sys::thread_id()), of(other)) {
                (Area::Registered { .. }, Area::Registered { .. }) if !arch::PATCHES => {
                    std::println!("skipped: here no thread's pointer is known");
                }
                (Area::Registered { address: own, .. }, Area::Registered { address: other, .. }) => {
                    assert_eq!(own.wrapping_sub(arch::area(0) as usize), other.wrapping_sub(other_pointer));
                }
                (own, other) => {
                    std::println!("skipped: this system says of them {own:?} and {other:?}");
                    assert!(arch::libc_area().is_none_or(|(_, size)| size == 0) || matches!(own, Area::Unknown(_)));
                }
            }
        });
    }

    #[test]
    fn a_thread_that_is_gone_is_unknown() {
        let none = Entry {
            number: AtomicU32::new(i32::MAX as u32),
            known: AtomicU32::new(0),
            detail: AtomicU32::new(0),
            address: AtomicUsize::new(0),
        };
        trace(&none);
        assert_eq!(none.thread().area, Area::Unknown(libc::ESRCH));
    }
}
