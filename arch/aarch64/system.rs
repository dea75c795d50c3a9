//! System calls, and seeing one's own writes to code.

use crate::registers::registers;
use core::arch::asm;
use core::mem::MaybeUninit;
use core::ops::Range;

/// Makes one system call; returns what the kernel left in `x0`: `-4095..=-1` is `-errno`.
///
/// # Safety
///
/// The call with these arguments must be sound, as if made through libc's `syscall(2)`.
#[inline(always)]
pub unsafe fn syscall<const N: usize>(number: usize, args: [usize; N]) -> isize {
    let [a, b, c, d, e, f] = registers(args);
    // SAFETY: as the caller vouches.
    unsafe { by_registers(a, b, c, d, e, f, number) }
}

/// The kernel forgets the SVE registers but for their lower 128 bits (Linux, Documentation/arch/arm64/sve.rst, "System call
/// behaviour"). So does each function that is called, for the compiler (AAPCS64, 6.1.3), and it saves none of them for one.
///
/// # Safety
///
/// As of [`syscall`].
#[inline(never)]
unsafe fn by_registers(a: Arg, b: Arg, c: Arg, d: Arg, e: Arg, f: Arg, number: usize) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the call itself; the kernel changes x0 only, and what is said above. Not `nomem`: it reads
    // and writes what the arguments point to.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack, preserves_flags),
        );
    }
    result
}

type Arg = MaybeUninit<usize>;

/// The same with three arguments, and without an array of them, for resolvers of symbols.
///
/// # Safety
///
/// The call with these arguments must be sound.
pub unsafe fn syscall_for_resolvers(number: usize, first: usize, second: usize, third: usize) -> isize {
    let result: isize;
    // SAFETY: as above. A resolver calls nobody, so the SVE registers are named as lost.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") first => result,
            in("x1") second,
            in("x2") third,
            lateout("p0") _, lateout("p1") _, lateout("p2") _, lateout("p3") _, lateout("p4") _, lateout("p5") _,
            lateout("p6") _, lateout("p7") _, lateout("p8") _, lateout("p9") _, lateout("p10") _, lateout("p11") _,
            lateout("p12") _, lateout("p13") _, lateout("p14") _, lateout("p15") _, lateout("ffr") _,
            lateout("v0") _, lateout("v1") _, lateout("v2") _, lateout("v3") _, lateout("v4") _, lateout("v5") _,
            lateout("v6") _, lateout("v7") _, lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _, lateout("v16") _, lateout("v17") _,
            lateout("v18") _, lateout("v19") _, lateout("v20") _, lateout("v21") _, lateout("v22") _, lateout("v23") _,
            lateout("v24") _, lateout("v25") _, lateout("v26") _, lateout("v27") _, lateout("v28") _, lateout("v29") _,
            lateout("v30") _, lateout("v31") _,
            options(nostack, preserves_flags),
        );
    }
    result
}

/// Makes what was written to this text what every CPU executes from now on: data and instruction caches may differ
/// (Arm ARM, B2.7.4, "Ordering and synchronization of instruction fetches"), and a CPU may have fetched ahead.
///
/// Linux lets user mode read `ctr_el0` and maintain caches (arch/arm64/kernel/cpufeature.c: `SCTLR_EL1.UCT` and `UCI`). Other
/// CPUs go on from a new context where the kernel knows how to have them do it (Linux 4.16, `MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE`);
/// elsewhere when they next enter it.
pub fn synchronise(text: &Range<usize>) {
    // The bits of the cache type register: IDC, and DIC (Arm ARM, D24.2.34).
    let cache_type: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack, preserves_flags)) };
    let line = |shift: u32| 4_usize << (cache_type >> shift & 15);
    let needs = |bit: u32| cache_type >> bit & 1 == 0;
    let lines = |length: usize| (text.start & !(length - 1)..text.end).step_by(length);
    // SAFETY: maintenance of the caches changes no memory. The text can be read.
    unsafe {
        if needs(28) {
            lines(line(16)).for_each(|at| asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)));
        }
        asm!("dsb ish", options(nostack, preserves_flags));
        if needs(29) {
            lines(line(0)).for_each(|at| asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)));
        }
        asm!("dsb ish", "isb", options(nostack, preserves_flags));
        // Without registering first it is refused.
        for command in [
            libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
            libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
        ] {
            _ = syscall(libc::SYS_membarrier as usize, [command as usize, 0, 0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_gives_what_the_kernel_says() {
        // SAFETY: closes no descriptor.
        let result = unsafe { syscall(libc::SYS_close as usize, [usize::MAX]) };
        assert_eq!(result, -(libc::EBADF as isize));
        // SAFETY: the same.
        let result = unsafe { syscall_for_resolvers(libc::SYS_close as usize, usize::MAX, 0, 0) };
        assert_eq!(result, -(libc::EBADF as isize));
    }
}
