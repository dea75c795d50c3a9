//! System calls, and seeing one's own writes to code.

use crate::registers::registers;
use core::arch::asm;
use core::ops::Range;

/// Makes one system call; returns what the kernel left in `a0`: `-4095..=-1` is `-errno`.
///
/// # Safety
///
/// The call with these arguments must be sound, as if made through libc's `syscall(2)`.
#[inline(always)]
pub unsafe fn syscall<const N: usize>(number: usize, args: [usize; N]) -> isize {
    let args = registers(args);
    let result: isize;
    // SAFETY: the caller vouches for the call itself; the kernel changes a0 only. Vector registers are lost in it (Linux,
    // Documentation/arch/riscv/vector.rst). Not `nomem`: it reads and writes what the arguments point to.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") args[0] => result,
            in("a1") args[1],
            in("a2") args[2],
            in("a3") args[3],
            in("a4") args[4],
            in("a5") args[5],
            lateout("v0") _, lateout("v1") _, lateout("v2") _, lateout("v3") _, lateout("v4") _, lateout("v5") _,
            lateout("v6") _, lateout("v7") _, lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _, lateout("v16") _, lateout("v17") _,
            lateout("v18") _, lateout("v19") _, lateout("v20") _, lateout("v21") _, lateout("v22") _, lateout("v23") _,
            lateout("v24") _, lateout("v25") _, lateout("v26") _, lateout("v27") _, lateout("v28") _, lateout("v29") _,
            lateout("v30") _, lateout("v31") _,
            options(nostack),
        );
    }
    result
}

/// The same with three arguments, for resolvers of symbols.
///
/// # Safety
///
/// The call with these arguments must be sound.
pub unsafe fn syscall_for_resolvers(number: usize, first: usize, second: usize, third: usize) -> isize {
    // SAFETY: as the caller vouches.
    unsafe { syscall(number, [first, second, third]) }
}

/// Makes what was written to this text what every CPU executes from now on that this process may run on: by the kernel, since no
/// program may rely on `fence.i` (Linux, Documentation/arch/riscv/cmodx.rst).
pub fn synchronise(text: &Range<usize>) {
    // SAFETY: changes no memory. For all threads: no flag.
    _ = unsafe { syscall(RISCV_FLUSH_ICACHE, [text.start, text.end, 0]) };
}

/// The time counter, which counts at one rate on all CPUs (The RISC-V Instruction Set Manual, volume I, "Zicntr"); no system call.
/// Many machines count ten million a second. The counter of cycles is the kernel's alone (Linux, Documentation/admin-guide/sysctl/kernel.rst,
/// `perf_user_access`).
pub fn ticks() -> u64 {
    let ticks;
    // SAFETY: reads a counter.
    unsafe { asm!("rdtime {}", out(reg) ticks, options(nostack, preserves_flags)) }
    ticks
}

/// Every way into `prctl(2)`: the machine as a seccomp filter sees it, and the call's number there. A process makes the calls of
/// one machine alone: one of 32 bits is another program (Linux, arch/riscv/include/asm/elf.h, `SET_PERSONALITY`).
///
/// Source: Linux, include/uapi/asm-generic/unistd.h, include/uapi/linux/audit.h (`AUDIT_ARCH_RISCV64`).
pub const PRCTL: [(u32, u32); 1] = [(0xc000_00f3, 167)];

/// Source: Linux, arch/riscv/include/uapi/asm/unistd.h.
const RISCV_FLUSH_ICACHE: usize = 259;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_gives_what_the_kernel_says() {
        // SAFETY: closes no descriptor.
        let result = unsafe { syscall(libc::SYS_close as usize, [usize::MAX]) };
        assert_eq!(result, -(libc::EBADF as isize));
    }
}
