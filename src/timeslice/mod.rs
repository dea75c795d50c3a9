//! Time slice requests: tell the kernel that a critical section is short, so that it lets the thread finish it.
//!
//! On a kernel with the rseq time slice extension, a thread that is about to be preempted between
//! [`enter`] and the drop of the [`CriticalSection`] may be let run for a few microseconds more (5 by default, 5 to 50 by
//! the administrator's choice). It then owes the CPU, and gives it up when the section ends.
//!
//! Where the extension is absent, both are nops. There is nothing to check and nothing to choose at run time.
//!
//! # Threads
//!
//! The kernel looks at the requests of threads that are enrolled: the one that loads the runtime, and those that
//! [`enrol`], as locks of `invar-lock` do where they wait. An executable with the Cargo feature `hook` has other threads
//! enrolled too, before their own code runs: all that libc starts by the names `pthread_create` and `thrd_create`, for the
//! program and for its shared libraries, those of `std::thread` among them. That costs one system call in each thread,
//! `prctl`, and a second one, `rseq`, where the program registers its own areas; where the slice key is off it costs none.
//! `errno`, attributes, the smallest stack, backtraces, `pthread_exit` and cancellation are as without the hook.
//!
//! The hook defines these functions, and its definitions stand before libc's. So:
//!
//! - Threads that libc starts by itself (`SIGEV_THREAD`, `aio_read`, `getaddrinfo_a`) and those of `clone` do not pass
//!   through; nor does, in a static program with musl, `thrd_create`. They enrol as without the hook. So do threads that
//!   are started before the runtime is loaded.
//! - Only one definition can be linked into an executable: that of a sanitizer, for example, is another.
//! - The linker must export them, which GNU ld, gold, lld and mold do unless told otherwise
//!   (`--exclude-libs`, for example). `hook_is_in_front()`, which is there with the feature, says whether libraries
//!   find them.
//! - It is the executable that asks for the feature. In a library the definitions count only where it is linked before
//!   libc, and it must not be unloaded.
//!
//! # What it did
//!
//! `INVAR_SLICE=count` has requests, grants, yields and losses counted by thread ([`counts`], [`each_thread_counts`]).
//! `INVAR_SLICE=profile` has them counted by site as well, with the reasons of losses and a histogram of the sections'
//! lengths, in a file that `invar profile` shows (`docs/profile.md`). Where the extension is absent, add
//! `INVAR_KEYS=slice=force`: then the histogram can be had.
//!
//! The counting form is the checked form, whose cold path then leads to the code that counts. It makes each section longer,
//! and takes more stack. Before a section at a site that has lost one, it asks for the thread's CPU time. It needs `xsave`, and
//! the time stamp counter. Where it is not chosen, sites are bound as if it did not exist.
//!
#![doc = include_str!("../../docs/sections.md")]
#![allow(unsafe_code)]
// The cold block of a site is in an unsafe block of its own on some architectures, and inherits one on others.
#![allow(unused_unsafe)]

#[cfg(feature = "timeslice")]
mod assertion;
#[cfg(feature = "hook")]
mod hook;
#[cfg(feature = "profile")]
pub(crate) mod profile;
#[cfg(feature = "timeslice")]
pub(crate) mod rseq;

use crate::key::Key;
#[cfg(feature = "timeslice")]
use crate::key::{Origin, Verdict};
#[cfg(feature = "timeslice")]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use invar_arch as arch;
#[cfg(feature = "profile")]
pub use profile::{COUNTING, Counting, Counts};
#[cfg(feature = "timeslice")]
pub use rseq::{Area, NotEnrolled, NotGuarded, Thread};

/// The slice key, named `slice`. It is on where every thread has an area for requests at one constant offset, on a kernel that
/// grants. It does not say that a thread is *enabled*: in a thread that is not, requests have no effect.
pub static SLICE: Key<bool> = Key::new();

#[cfg(feature = "timeslice")]
const _: () = {
    use crate::key::flags;
    const FLAGS: u8 = flags::SLICE | flags::TIMESLICE | flags::OWN;
    extern "C" fn slice_probe(verdict: &mut Verdict, _: &crate::key::KeyRecord) {
        // SAFETY: the probe of this key.
        unsafe { crate::__key_record!(["slice"] SLICE, bool, slice_probe, FLAGS) };
        probe(verdict);
    }
    #[used]
    static KEEP: crate::key::RawProbe = slice_probe;
};

/// Decides the slice key.
#[cfg(feature = "timeslice")]
pub(crate) fn probe(verdict: &mut Verdict) {
    match rseq::probe(verdict) {
        Some(available) => {
            verdict.value = 1;
            verdict.data = pack(available.area, available.yield_number);
        }
        // Absent is an answer like any other, and not a probe that failed.
        None => verdict.origin = Origin::Probe as u8,
    }
}

/// A critical section that asks for its time slice to be extended; ends when dropped.
///
/// Belongs to its thread, whose request byte it set. Without the feature `assert` it has no size: a lock can hand it from
/// the function that locks to the one that unlocks. One that is forgotten leaves the request set until [`leave`] is
/// called, or the thread is preempted or ends another section.
///
/// It is not `Send`, and neither is a future that holds one over `.await`:
///
/// ```compile_fail,E0277
/// async fn wait() {
///     let _slice = invar::timeslice::enter();
///     std::future::pending::<()>().await;
/// }
/// fn spawn(_: impl Future + Send) {}
/// spawn(wait());
/// ```
#[cfg(feature = "timeslice")]
#[must_use = "the section ends when this is dropped"]
pub struct CriticalSection {
    begun: assertion::Begun,
    /// Stays in its thread.
    _thread: core::marker::PhantomData<*mut ()>,
}

/// Begins a section that should not be preempted.
///
/// Keep it short: an extension lasts a few microseconds, then the thread is preempted all the same. Inside it make
/// no system call (any of them ends a grant), and do not nest sections: the inner one's end ends the outer one's
/// request too. Both cost the benefit only; the [module](self#inside-a-critical-section) has every case.
///
/// # Panics
///
/// Never, unless the program's author asks for it by the feature `assert`, and then only in builds with debug assertions:
/// where a section begins inside another one.
///
/// Bound, this is one instruction: a store of one byte to a constant offset from the thread pointer, or a nop.
///
/// ```
/// # use std::sync::atomic::{AtomicBool, Ordering};
/// # static LOCKED: AtomicBool = AtomicBool::new(false);
/// {
///     let _slice = invar::timeslice::enter();
///     while LOCKED.swap(true, Ordering::Acquire) { std::hint::spin_loop() }
///     // ... a few hundred instructions ...
///     LOCKED.store(false, Ordering::Release);
/// }
/// ```
#[cfg(feature = "timeslice")]
#[inline(always)]
#[cfg_attr(all(feature = "assert", debug_assertions), track_caller)]
pub fn enter() -> CriticalSection {
    let begun = assertion::Begun::here();
    // SAFETY: SLICE begins with its state byte, and its record names it. Where the key is on, the area that its state
    // says is every thread's own, and the function behind the site preserves every register.
    unsafe { arch::__site!(slice_enter, SLICE, 0, { unsafe { arch::__call_cold!(request_out_of_line) } }) };
    CriticalSection { begun, _thread: core::marker::PhantomData }
}

#[cfg(feature = "timeslice")]
impl Drop for CriticalSection {
    #[inline(always)]
    fn drop(&mut self) {
        self.begun.end();
        leave();
    }
}

/// Ends the calling thread's section where its [`CriticalSection`] was forgotten, as by a lock that asks only at times, and whose word
/// says whether it did.
///
/// Bound, these are two instructions, or a nop. Without a section it does nothing, only slowly.
///
/// ```
/// std::mem::forget(invar::timeslice::enter());
/// // ...
/// invar::timeslice::leave();
/// ```
#[cfg(feature = "timeslice")]
#[inline(always)]
pub fn leave() {
    assertion::left();
    // SAFETY: as in `enter`.
    unsafe { arch::__site!(slice_leave, SLICE, 0, { unsafe { arch::__call_cold!(withdraw_out_of_line) } }) };
}

// SAFETY: a shared reference gives access to nothing.
#[cfg(feature = "timeslice")]
unsafe impl Sync for CriticalSection {}

/// Makes the calling thread one that can be granted slices. The thread that loads the runtime is; others start without.
///
/// Where the thread is enrolled already, this reads a word and makes no system call. Else it makes one system call, `prctl`, and
/// if libc registers no areas one before it, `rseq`, by which it registers the program's own area for this thread, whatever
/// module calls. `errno` stays as it was. Do not call it between [`enter`] and the end of a section: any system call ends a grant.
/// Where the slice key is off, the call is a static branch to its `Err`.
///
/// A thread stays enrolled, and so does the child of a `fork`, until somebody switches the extension off *in that
/// thread*, or the thread ends. Where libc is not glibc, a destructor of thread-specific data gives the thread's area back, by
/// three system calls, since musl unmaps a detached thread's memory before the thread is gone. A thread that such a libc did not
/// start must not enrol there. A thread that `clone` made without a thread pointer of its own takes its parent's state for its
/// own: it must not enter sections.
///
/// # Errors
///
/// [`NotEnrolled`] says why not. Sections are correct all the same.
///
/// ```
/// if let Err(why) = invar::timeslice::enrol() {
///     eprintln!("no time slice extensions in this thread: {why}");
/// }
/// ```
#[cfg(feature = "timeslice")]
#[inline(always)]
pub fn enrol() -> Result<(), NotEnrolled> {
    // In line, so that neither site nor code is in a module that does not call it.
    if crate::branch!(SLICE) { rseq::enrol() } else { Err(NotEnrolled::Absent) }
}

/// [`enrol`] for the contended path of a lock, which is cold and taken again and again. Where threads keep being refused, it is
/// tried once in 1,024 times only.
///
/// Call it before waiting, and outside the section.
#[cfg(feature = "timeslice")]
#[inline(always)]
pub fn enrol_contended() {
    if crate::branch!(SLICE) {
        rseq::enrol_contended();
    }
}

/// Makes it impossible to switch the extension off, for all threads of this process and the rest of its life.
///
/// From then on `prctl(PR_RSEQ_SLICE_EXTENSION, PR_RSEQ_SLICE_EXTENSION_SET, 0)` fails with `EPERM` in every thread, also in
/// those that start later, and also as a 32-bit or an x32 call. So does every such call with bit 0 of the third argument clear.
/// All other calls go on as before. No thread is enrolled or switched on by it. `INVAR_GUARD=1` does the same at load, and
/// the slice key's evidence says what came of it: `guarded`, or why not.
///
/// It is a seccomp filter, and that has its price:
///
/// - It cannot be taken back.
/// - Children and the programs that they or this process execute inherit it. They can switch the extension on, and then
///   not off.
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
/// thread must be outside any section. Where seccomp filters stand, a child process tries first, since some of them kill.
///
/// **What it does not cover.** A thread loses the extension with its area, and may unregister that by `rseq(2)`. This is
/// left alone: libc does it to none of its threads while they run, and where memory with an area in it is about to go,
/// refusing would have the kernel write to memory that belongs to other code by then. The guard does not stop code that means
/// harm, which can write to any memory of its process.
///
/// # Errors
///
/// [`NotGuarded`] says why not, and no thread is guarded then. Threads for which somebody switches the extension off are enrolled
/// again where they wait for a lock, as without the guard.
///
/// ```
/// if let Err(why) = invar::timeslice::guard() {
///     eprintln!("time slice extensions may be switched off: {why}");
/// }
/// ```
#[cfg(feature = "timeslice")]
#[inline(always)]
pub fn guard() -> Result<(), NotGuarded> {
    if crate::branch!(SLICE) { rseq::guard() } else { Err(NotGuarded::Absent) }
}

/// [`guard`] whatever the key is: what a filter does, and costs, any kernel can show.
#[cfg(feature = "timeslice")]
#[doc(hidden)]
pub fn __guard_anyway() -> Result<(), NotGuarded> {
    rseq::guard_anyway()
}

/// Guards the process for the slice key, of which this is the evidence.
pub(crate) fn guard_at_load(evidence: &mut crate::Evidence) {
    #[cfg(feature = "timeslice")]
    rseq::guard_at_load(evidence);
    #[cfg(not(feature = "timeslice"))]
    let _ = evidence;
}

/// Whether shared libraries find the hook on thread creation (Cargo feature `hook`) by the name `pthread_create`.
///
/// Where they do not, the linker did not export it, or another module's function stands in front of it. Then only threads that
/// are created by code of this file pass through. For a static program, which has no libraries, the answer is yes.
#[cfg(feature = "hook")]
pub fn hook_is_in_front() -> bool {
    hook::is_in_front()
}

/// Lists this process's threads: their areas, which of them are enrolled, and which have a request left set.
///
/// The calling thread must be outside any section. A child process traces the threads one after the other, as a debugger would.
/// Each is stopped for a moment, which may make a few system calls return `EINTR` (`signal(7)`, "Interruption of system calls by
/// stop signals"). Threads that start or end meanwhile may be missing. Where no child can be made or may trace, the areas of the
/// other threads are [`Area::Unknown`]. So is, with `ETIMEDOUT`, the area of a thread that does not stop within a second, which is
/// for all threads together. A process that `PR_SET_PTRACER` allowed to trace may no longer do so: only the child may, for as long
/// as it runs. Signals to the calling thread wait meanwhile.
///
/// This is for people and tests, not for a fast path: it makes a process, and that makes some system calls for each thread.
///
/// # Errors
///
/// The error number if `/proc` is not there, or there is no memory.
///
/// ```
/// invar::timeslice::audit(|thread| println!("{thread:?}")).expect("the threads");
/// ```
#[cfg(feature = "timeslice")]
pub fn audit(mut each: impl FnMut(Thread)) -> Result<(), i32> {
    rseq::audit(&mut each).map_err(|error| error.0)
}

/// What this process's sections asked for and got, where `INVAR_SLICE=count` or `profile` has it counted.
#[cfg(feature = "profile")]
pub fn counts() -> Option<Counts> {
    let mut all = Counts::default();
    each_thread_counts(|_, counts| {
        all.requests += counts.requests;
        all.grants += counts.grants;
        all.yields += counts.yields;
        all.lost += counts.lost;
    })
    .then_some(all)
}

/// The same by threads: calls `visit` with each thread's number, as `gettid(2)` gives it, and its counts; `false` where nothing
/// is counted.
///
/// The first has number 0, and stands for all threads for which there was no place (`docs/profile.md`). A thread that was given
/// the memory of a thread that ended adds to the counts of that.
#[cfg(feature = "profile")]
pub fn each_thread_counts(mut visit: impl FnMut(u32, Counts)) -> bool {
    crate::timeslice::profile::each_thread(&mut visit)
}

#[cfg(feature = "timeslice")]
arch::__slice_paths!(SLICE, pub(crate) request_out_of_line, withdraw_out_of_line);

/// Distance of each thread's area from its thread pointer; 0 where requests go nowhere.
///
/// It is the verdict of the time slice key that says so. Where that is off it is [`spare_memory`], since other keys may have
/// slice sites, as for measurements.
pub(crate) fn area() -> isize {
    memory() as i32 as isize
}

/// [`area`], for measurements.
#[cfg(feature = "timeslice")]
#[doc(hidden)]
pub fn __area() -> isize {
    area()
}

/// The system call that gives up the CPU; negative for none.
#[cfg(feature = "profile")]
pub(crate) fn yield_number() -> i32 {
    (memory() >> 32) as i32
}

/// What the time slice key's verdict says beside its value: [`pack`].
pub(crate) fn memory() -> u64 {
    #[cfg(feature = "timeslice")]
    {
        SLICE.state().data().unwrap_or_else(|| SPARE.load(Relaxed))
    }
    #[cfg(not(feature = "timeslice"))]
    0
}

/// The same where the key is off. Found once: it takes a walk over the modules.
#[cfg(feature = "timeslice")]
static SPARE: AtomicU64 = AtomicU64::new(0);

/// Behind the decision of the time slice key, before that of others which slice sites may depend on.
pub(crate) fn load() {
    #[cfg(feature = "timeslice")]
    if SLICE.state().data().is_none() {
        SPARE.store(spare_memory().unwrap_or(0), Relaxed);
    }
}

/// Whether a verdict's data can be believed, if another module says it of this process.
pub(crate) fn is_believable(data: u64) -> bool {
    is_area(data) && libcs_area().is_none_or(|libcs| libcs == data as i32 as isize)
}

/// Whether a verdict's data says where requests go.
pub(crate) fn is_area(data: u64) -> bool {
    arch::holds_area(data as i32 as isize)
}

/// The area of the C library's, where it registers one.
pub(crate) fn libcs_area() -> Option<isize> {
    arch::libc_area().filter(|&(_, size)| size > 0).map(|(area, _)| area)
}

/// The address of the time slice key's state.
pub(crate) fn state_address() -> usize {
    (&raw const SLICE) as usize
}

/// Where the request byte of each thread lies, from its thread pointer; 0 where there is none.
pub(crate) fn request_offset() -> i32 {
    match area() {
        0 => 0,
        area => (area + arch::AREA_REQUEST as isize) as i32,
    }
}

/// The verdict's data for memory that is safe to write in every thread where the extension is absent: the program's own
/// area; in a library, which has none at a constant distance from the thread pointer, two bytes of libc's that nobody else
/// uses. `None` where there is neither.
pub(crate) fn spare_memory() -> Option<u64> {
    #[cfg(feature = "timeslice")]
    {
        // 28 and 29 lie in the 32 bytes of the oldest layout, behind its last field.
        rseq::own_area().or_else(libcs_area).map(|area| pack(area, -1))
    }
    #[cfg(not(feature = "timeslice"))]
    None
}

/// Both halves fit: thread-local blocks lie within two gigabytes of the thread pointer.
#[cfg(feature = "timeslice")]
pub(crate) fn pack(area: isize, yield_number: i32) -> u64 {
    u64::from(area as i32 as u32) | u64::from(yield_number as u32) << 32
}
