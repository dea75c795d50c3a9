//! How a thread goes through a chain: with known values in all registers, and the request byte that is its own.
#![allow(unsafe_code)] // code that was made at run time, by assembly

use std::arch::{asm, naked_asm};
use std::cell::Cell;

thread_local! {
    /// What the sites take for the byte in an rseq area. The kernel does not know it.
    static REQUEST: Cell<u8> = const { Cell::new(0) };
}

/// The request byte of this thread.
pub(super) fn request() -> u8 {
    // SAFETY: it is there as long as the thread. Code that the compiler does not see has written it.
    REQUEST.with(|byte| unsafe { byte.as_ptr().read_volatile() })
}

/// How far the request byte is from the thread pointer. The same in all threads: an executable's thread locals have a fixed
/// place (ELF Handling For Thread-Local Storage, "local exec"); the caller makes sure of it.
pub(super) fn request_offset() -> i64 {
    let pointer: i64;
    // SAFETY: the word at the thread pointer is its own address (psABI x86-64, "Thread-Local Storage").
    unsafe { asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags)) };
    REQUEST.with(|byte| byte.as_ptr() as i64) - pointer
}

/// What a chain came back with.
#[repr(C)]
pub(super) struct Returned {
    /// A bit for each site.
    pub(super) bits: u64,
    /// 0 if all registers were as before; else the bits that changed in any of them.
    pub(super) changed: u64,
}

/// The flags that a program can have at a site, whatever it does: carry, parity, adjust, zero, sign and overflow.
pub(super) const FLAGS: u64 = 0x8d5;
/// The flag with which the CPU traps behind each instruction (Intel SDM volume 3, 2.3).
pub(super) const TRAP: u64 = 0x100;

/// Goes through the chain at this address, with these flags at its begin.
///
/// # Safety
///
/// The chain changes no register but `r11`, and no memory but the request byte; unless what is tested is wrong, and then the
/// process may do anything.
pub(super) unsafe fn call(chain: *const u8, flags: u64) -> Returned {
    // Bit 1 is always set.
    // SAFETY: as the caller vouches.
    unsafe { through(chain, flags | 2) }
}

/// The value is no address, so that an instruction which takes it for one is seen.
#[unsafe(naked)]
unsafe extern "sysv64" fn through(chain: *const u8, flags: u64) -> Returned {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "push rsi",
        "movabs rax, {known}",
        "mov rbx, rax",
        "mov rcx, rax",
        "mov rdx, rax",
        "mov rsi, rax",
        "mov rdi, rax",
        "mov rbp, rax",
        "mov r8, rax",
        "mov r9, rax",
        "mov r10, rax",
        "mov r12, rax",
        "mov r13, rax",
        "mov r14, rax",
        "mov r15, rax",
        "xor r11d, r11d",
        "popfq",
        "call [rsp]",
        "mov [rsp], r11",
        "movabs r11, {known}",
        "xor rax, r11",
        "xor rbx, r11",
        "xor rcx, r11",
        "xor rdx, r11",
        "xor rsi, r11",
        "xor rdi, r11",
        "xor rbp, r11",
        "xor r8, r11",
        "xor r9, r11",
        "xor r10, r11",
        "xor r12, r11",
        "xor r13, r11",
        "xor r14, r11",
        "xor r15, r11",
        "or rdx, rax",
        "or rdx, rbx",
        "or rdx, rcx",
        "or rdx, rsi",
        "or rdx, rdi",
        "or rdx, rbp",
        "or rdx, r8",
        "or rdx, r9",
        "or rdx, r10",
        "or rdx, r12",
        "or rdx, r13",
        "or rdx, r14",
        "or rdx, r15",
        "pop rax",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        known = const 0x8bad_5a5a_5a5a_5aa7_u64,
    )
}
