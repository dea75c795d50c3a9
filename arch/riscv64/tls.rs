//! The thread pointer (`tp`), and what lies at a distance from it.

use crate::AREA_REQUEST;
use core::arch::asm;

/// The signature that rseq abort handlers carry here; registrations of a thread's area must agree on it.
/// Source: glibc, sysdeps/unix/sysv/linux/riscv/bits/rseq.h.
pub const RSEQ_SIGNATURE: u32 = 0xf140_1073;
/// The number of rseq(2), which the libc crate does not have for every C library.
/// Source: Linux, include/uapi/asm-generic/unistd.h.
pub const SYS_RSEQ: libc::c_long = 293;

/// Distance of the program's own area from the thread pointer, in bytes: the same in every thread, and safe to write in
/// every thread, registered with the kernel or not. In a library that is true of the calling thread only.
///
/// By the general dynamic model of the RISC-V ELF psABI, a call, which is never made in a library: the initial-exec model would
/// take of the little static memory that the loader keeps for libraries that are opened later.
#[cfg(not(feature = "resident"))]
pub fn own_area_offset() -> isize {
    let area: *mut u8;
    // SAFETY: the sequence that the ABI prescribes, with the registers of a call. Not weak: in one file with the C library the
    // linker keeps the call, and would not look for who is called.
    unsafe {
        asm!(
            "la.tls.gd a0, invar_area",
            "call __tls_get_addr@plt",
            out("a0") area,
            clobber_abi("C"),
        );
    }
    area as isize - thread_pointer() as isize
}

/// Distance of this module's own area from the thread pointer, in bytes: the same in every thread.
///
/// By the initial-exec model of the RISC-V ELF psABI, which one library in a process may well use: its memory is part of every
/// thread's, also where the library is opened later.
#[cfg(feature = "resident")]
pub fn own_area_offset() -> isize {
    let offset: isize;
    // SAFETY: reads a GOT entry, which the loader has filled in.
    unsafe {
        asm!("la.tls.ie {}, invar_area", out(reg) offset, options(nostack, pure, readonly, preserves_flags));
    }
    offset
}

/// The code that loads the address of a symbol from the GOT.
macro_rules! got_load {
    ($name:literal) => {
        concat!("lga {}, ", $name)
    };
}
pub(super) use got_load;

/// The calling thread's pointer: an address that no other thread of the process has.
pub fn thread_pointer() -> *mut u8 {
    let thread: *mut u8;
    // SAFETY: the register that holds it (RISC-V ELF psABI).
    unsafe {
        asm!("mv {}, tp", out(reg) thread, options(nomem, nostack, pure, preserves_flags));
    }
    thread
}

/// Whether an area of 33 bytes can lie at this distance from the thread pointer: not below it, where libc's control block ends
/// (RISC-V ELF psABI, "Thread Local Storage"); 0 is the place of a program's first thread-local. Aligned to 32 bytes, as the kernel
/// wants it at least (Linux, kernel/rseq.c).
pub const fn holds_area(offset: isize) -> bool {
    offset >= 0 && offset % 32 == 0 && offset as i32 as isize == offset
}

/// Takes the request in the area at this offset back; `false` if it was gone already. In one instruction: what the kernel does in
/// between is before it or behind it.
pub fn take_back(area: isize) -> bool {
    let was: u32;
    // SAFETY: the four bytes with the request byte, of the calling thread's own area, of which the lowest becomes 0.
    unsafe {
        asm!(
            "amoand.w {was}, {mask}, ({request})",
            was = out(reg) was,
            mask = in(reg) !0xff_usize,
            request = in(reg) thread_pointer().wrapping_offset(area).wrapping_add(AREA_REQUEST),
            options(nostack, preserves_flags),
        );
    }
    was & 0xff != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_aligned_and_above_the_thread_pointer() {
        let (inside, outside) = ([-32, -64, i64::MIN, 1 << 31, i64::MAX - 31], [0, 32, 192, 704, (1 << 31) - 32]);
        let holds = |offset: i64| holds_area(offset as isize);
        assert!(!inside.into_iter().any(holds) && outside.into_iter().all(holds));
        assert!(![1, 16, 48, 193].into_iter().any(holds), "not aligned");
        assert!(holds_area(own_area_offset()));
    }
}
