//! How a thread begins that has something to do before its start routine.

use core::arch::naked_asm;
use core::ffi::c_void;

/// A start routine, as `pthread_create` and `thrd_create` want one. The first word of what its argument points to is a
/// function, `extern "C" fn(argument) -> Call`; what that returns is jumped to.
///
/// So no frame is left behind: backtraces begin as they would have, and `pthread_exit` and cancellation, which unwind a
/// thread's stack, meet nobody's code but the thread's own.
#[unsafe(naked)]
pub extern "C" fn start(argument: *mut c_void) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "addi sp, sp, -16",
        ".cfi_adjust_cfa_offset 16",
        "sd ra, 8(sp)",
        ".cfi_rel_offset ra, 8",
        "ld t0, 0(a0)",
        "jalr t0",
        "ld ra, 8(sp)",
        ".cfi_restore ra",
        "addi sp, sp, 16",
        ".cfi_adjust_cfa_offset -16",
        "mv t1, a0",
        "mv a0, a1",
        "jr t1", // not by t0 or ra, which would be a return
        ".cfi_endproc",
    )
}
