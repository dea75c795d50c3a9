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
        "push rdi", // also aligns the stack for the call
        ".cfi_adjust_cfa_offset 8",
        "call qword ptr [rdi]",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        "mov rdi, rdx",
        "jmp rax",
        ".cfi_endproc",
    )
}
