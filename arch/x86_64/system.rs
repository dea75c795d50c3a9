//! System calls, and seeing one's own writes to code.

use crate::registers::registers;
use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::ops::Range;

/// Makes one system call; returns what the kernel left in `rax`: `-4095..=-1` is `-errno`.
///
/// # Safety
///
/// The call with these arguments must be sound, as if made through libc's `syscall(2)`.
#[inline(always)]
pub unsafe fn syscall<const N: usize>(number: usize, args: [usize; N]) -> isize {
    let args = registers(args);
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

/// The same with three arguments, and without an array of them, for resolvers of symbols.
///
/// # Safety
///
/// The call with these arguments must be sound.
pub unsafe fn syscall_for_resolvers(number: usize, first: usize, second: usize, third: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps every register but these; the caller vouches for the call itself.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Every way into `prctl(2)`: the machine as a seccomp filter sees it, and the call's number there. Any of them is open to
/// any process: a 64-bit one can make 32-bit calls by `int 0x80`, and x32 calls by a bit in the number.
///
/// Source: Linux 7.3, arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl, include/uapi/linux/audit.h.
pub const PRCTL: [(u32, u32); 3] = [(AUDIT_ARCH_X86_64, 157), (AUDIT_ARCH_X86_64, 157 | X32), (AUDIT_ARCH_I386, 172)];
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// `__X32_SYSCALL_BIT`.
const X32: u32 = 1 << 30;

/// Serialises this CPU, so that it executes code as it now stands in memory, even if it was written through
/// another address (Intel SDM volume 3, 10.1.3; AMD APM volume 2, 7.6.1). Which part of it was written makes no difference.
pub fn synchronise(_text: &Range<usize>) {
    if crate::cpu::serializes() {
        // SAFETY: the CPU has the instruction, and it has no other effect.
        unsafe { asm!(".byte 0x0f, 0x01, 0xe8", options(nostack, preserves_flags)) }
    } else {
        // The one serialising instruction that every x86-64 CPU has for user mode. In a virtual machine it costs an exit,
        // ten microseconds and more, so it is the second choice.
        let _ = crate::cpu::cpuid(0, 0);
    }
}

/// The time stamp counter, which counts at one rate on all CPUs where the kernel trusts it; no system call.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction; Linux leaves it to user mode unless `PR_SET_TSC` forbids it.
    unsafe { _rdtsc() }
}
