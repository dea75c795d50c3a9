//! System calls, and seeing one's own writes to code.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, _rdtsc};

/// Makes one system call; returns what the kernel left in `rax`: `-4095..=-1` is `-errno`.
///
/// # Safety
///
/// The call with these arguments must be sound, as if made through libc's `syscall(2)`.
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the call itself; the kernel changes rax, rcx and r11 only, and flags.
    // Not `nomem`: the kernel reads and writes what the arguments point to.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Serialises this CPU, so that it executes code as it now stands in memory, even if it was written through
/// another address (Intel SDM volume 3, 10.1.3; AMD APM volume 2, 7.6.1).
pub fn synchronise() {
    if crate::cpu::serializes() {
        // SAFETY: the CPU has the instruction, and it has no other effect.
        unsafe { asm!(".byte 0x0f, 0x01, 0xe8", options(nostack, preserves_flags)) }
    } else {
        // The one serialising instruction that every x86-64 CPU has for user mode. In a virtual machine it costs an exit,
        // ten microseconds and more, so it is the second choice.
        let _ = __cpuid(0);
    }
}

/// The time stamp counter, which counts at one rate on all CPUs where the kernel trusts it; no system call.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction; Linux leaves it to user mode unless `PR_SET_TSC` forbids it.
    unsafe { _rdtsc() }
}
