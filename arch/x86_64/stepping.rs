//! For tests: whether an unwinder finds its way out at every single instruction, as a profiler's signal could need it to.

use core::arch::asm;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

// The platform's unwinder, which std links. Source: Linux Standard Base 5.0, "libgcc_s interface".
unsafe extern "C" {
    fn _Unwind_Backtrace(visit: extern "C" fn(*mut c_void, *mut bool) -> c_int, found: *mut bool) -> c_int;
    fn _Unwind_GetRegionStart(frame: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: usize) -> usize;
}

/// What came of stepping through something.
#[derive(Debug)]
pub(super) struct Steps {
    /// Instructions of the function that the caller named.
    pub(super) inside: usize,
    /// Instructions at which no unwinder would have found [`outer`].
    pub(super) lost: usize,
}

static INSIDE: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicUsize = AtomicUsize::new(0);
static FUNCTION: AtomicUsize = AtomicUsize::new(0);

/// Steps through `work`, and counts the instructions of `function` on the way.
pub(super) fn through(function: usize, mut work: &mut dyn FnMut()) -> Steps {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (count, start) in [(&INSIDE, 0), (&LOST, 0), (&FUNCTION, function)] {
        count.store(start, Relaxed);
    }
    // SAFETY: a handler for a signal that nothing else here raises, and back.
    unsafe {
        let (mut ours, mut theirs): (libc::sigaction, libc::sigaction) = core::mem::zeroed();
        ours.sa_sigaction = stepped as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &ours, &mut theirs), 0);
        outer(&raw mut work);
        libc::sigaction(libc::SIGTRAP, &theirs, core::ptr::null_mut());
    }
    Steps { inside: INSIDE.load(Relaxed), lost: LOST.load(Relaxed) }
}

/// The frame that is looked for. The trap flag (Intel SDM volume 3, 19.3) is set from one instruction of it to another.
#[inline(never)]
extern "C" fn outer(work: *mut &mut dyn FnMut()) {
    // SAFETY: a flag, for which there is a handler, and the red zone is stepped over; `work` is the caller's.
    unsafe {
        asm!("pushfq", "or dword ptr [rsp], 0x100", "popfq");
        (*work)();
        asm!("pushfq", "and dword ptr [rsp], ~0x100", "popfq");
    }
}

extern "C" fn stepped(_: c_int, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    let mut found = false;
    // SAFETY: the context of a signal; the unwinder reads tables and stack.
    unsafe {
        let at = (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        // It expects an address behind a call, and looks one byte before.
        let function = _Unwind_FindEnclosingFunction(at + 1);
        if function == FUNCTION.load(Relaxed) {
            INSIDE.fetch_add(1, Relaxed);
        }
        // Neither where its own stack moves for the flags, nor in stubs of the linker's, of which nobody says anything.
        if function == 0 || function == outer as *const () as usize {
            return;
        }
        _Unwind_Backtrace(is_outer, &raw mut found);
    }
    LOST.fetch_add((!found).into(), Relaxed);
}

extern "C" fn is_outer(frame: *mut c_void, found: *mut bool) -> c_int {
    // SAFETY: a frame of the unwinder's, and the flag that it was given.
    unsafe {
        *found |= _Unwind_GetRegionStart(frame) == outer as *const () as usize;
        // Any other number than 0 ends the walk.
        (*found).into()
    }
}
