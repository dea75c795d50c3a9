//! The calling thread's `struct rseq`, addressed from the thread pointer (`fs`).

use crate::AREA_REQUEST;
use core::arch::{asm, global_asm};

// One 64-byte area for each thread, zero until the kernel writes to it, in the initial-exec TLS block, so that
// its distance from the thread pointer is the same in every thread. Weak, so that two versions of this crate in
// one link share it.
global_asm!(
    ".pushsection .tbss.invar_area, \"awT\", @nobits",
    ".balign 64",
    ".weak invar_area",
    ".hidden invar_area",
    ".type invar_area, @object",
    ".size invar_area, 64",
    "invar_area:",
    ".zero 64",
    ".popsection",
);

/// The signature that rseq abort handlers carry here; registrations of a thread's area must agree on it.
/// Source: glibc, sysdeps/unix/sysv/linux/x86/bits/rseq.h.
pub const RSEQ_SIGNATURE: u32 = 0x5305_3053;

/// Distance of this module's own area from the thread pointer, in bytes. The same in every thread, and safe to
/// write in every thread, registered with the kernel or not.
pub fn own_area_offset() -> isize {
    let offset: isize;
    // SAFETY: reads one GOT entry that the linker or loader filled in.
    unsafe {
        asm!("mov {}, qword ptr [rip + invar_area@GOTTPOFF]", out(reg) offset, options(nostack, pure, readonly, preserves_flags));
    }
    offset
}

/// What the C library says of the area it registers for each thread: `__rseq_offset` and `__rseq_size`
/// (glibc 2.35 and newer). `None` where it has no such symbols.
pub fn libc_area() -> Option<(isize, u32)> {
    let (offset, size): (*const isize, *const u32);
    // SAFETY: reads two GOT entries. Weak, and through the GOT rather than PC-relative: the linker must not
    // decide at link time that a symbol of a shared libc is absent.
    unsafe {
        asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            "mov {offset}, qword ptr [rip + __rseq_offset@GOTPCREL]",
            "mov {size}, qword ptr [rip + __rseq_size@GOTPCREL]",
            offset = out(reg) offset,
            size = out(reg) size,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    // SAFETY: where the symbols exist they are what <sys/rseq.h> declares, constant after start-up.
    (!offset.is_null() && !size.is_null()).then(|| unsafe { (offset.read(), size.read()) })
}

/// Address of the calling thread's area.
pub fn area(offset: isize) -> *mut u8 {
    let thread: *mut u8;
    // SAFETY: the first word at the thread pointer is the thread pointer itself (x86-64 TLS ABI).
    unsafe {
        asm!("mov {}, qword ptr fs:[0]", out(reg) thread, options(nostack, pure, readonly, preserves_flags));
    }
    thread.wrapping_offset(offset)
}

/// Requests a slice extension for the calling thread: what a bound slice enter does in one instruction.
///
/// # Safety
///
/// The 33 bytes from `offset` must be this thread's to write.
#[inline(always)]
pub unsafe fn request(offset: isize) {
    // SAFETY: as the caller vouches.
    unsafe {
        asm!("mov byte ptr fs:[{area} + {request}], 1", area = in(reg) offset, request = const AREA_REQUEST, options(nostack, preserves_flags));
    }
}

/// Takes the request back, and gives up the CPU if an extension was granted meanwhile. It is the cold path of
/// a bound leave, which took the request back already, as well as the whole of an unbound one:
///
/// ```text
/// was = request; request = 0;
/// if !was && granted && yield_number >= 0 { syscall(yield_number) }
/// ```
///
/// Any system call ends a grant, so a result is of no interest, and `errno` is left alone. The registers that
/// the kernel changes are this block's own clobbers: the hot path beside it loses none.
///
/// # Safety
///
/// As for [`request`]; `yield_number` is negative or a system call without arguments or effects.
#[inline(always)]
pub unsafe fn withdraw(offset: isize, yield_number: i32) {
    // SAFETY: as the caller vouches. `shr` of a byte that is 0 or 1 leaves 0, and the old value in carry.
    unsafe {
        asm!(
            "shr byte ptr fs:[{area} + {request}], 1",
            "jc 2f",
            "cmp byte ptr fs:[{area} + {granted}], 0",
            "je 2f",
            "test eax, eax",
            "js 2f",
            "syscall",
            "2:",
            area = in(reg) offset,
            request = const AREA_REQUEST,
            granted = const AREA_REQUEST + 1,
            inlateout("eax") yield_number => _,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
}
