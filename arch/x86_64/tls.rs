//! The thread pointer (`fs`), and what lies at a distance from it.

use crate::AREA_REQUEST;
use core::arch::asm;

/// The signature that rseq abort handlers carry here; registrations of a thread's area must agree on it.
/// Source: glibc, sysdeps/unix/sysv/linux/x86/bits/rseq.h.
pub const RSEQ_SIGNATURE: u32 = 0x5305_3053;
/// The number of rseq(2), which the libc crate does not have for every machine, nor at first with musl.
/// Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl.
pub const SYS_RSEQ: libc::c_long = 334;

/// Distance of the program's own area from the thread pointer, in bytes: the same in every thread, and safe to write in
/// every thread, registered with the kernel or not. In a library that is true of the calling thread only.
///
/// By the general dynamic model of the x86-64 TLS ABI, which the linker turns into one instruction in a program. In a
/// library it remains a call, which is never made; the initial-exec model would take of the little static memory that
/// the loader keeps for libraries that are opened later, and a few dozen of them would use it up.
#[cfg(not(feature = "resident"))]
pub fn own_area_offset() -> isize {
    let area: *mut u8;
    // SAFETY: the sequence that the ABI prescribes, with the registers of a call.
    unsafe {
        asm!(
            // Weak, so that a library does not need the loader by name.
            ".weak __tls_get_addr",
            ".byte 0x66",
            "lea rdi, [rip + invar_area@TLSGD]",
            ".value 0x6666",
            "rex64",
            "call __tls_get_addr@PLT",
            out("rax") area,
            clobber_abi("C"),
        );
    }
    area as isize - thread_pointer() as isize
}

/// Distance of this module's own area from the thread pointer, in bytes: the same in every thread.
///
/// By the initial-exec model of the x86-64 TLS ABI, which one library in a process may well use: its memory is part of every
/// thread's, also where the library is opened later.
#[cfg(feature = "resident")]
pub fn own_area_offset() -> isize {
    let offset: isize;
    // SAFETY: reads a GOT entry, which the loader has filled in.
    unsafe {
        asm!(
            "mov {}, qword ptr [rip + invar_area@GOTTPOFF]",
            out(reg) offset,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    offset
}

/// The code that loads the address of a symbol from the GOT.
macro_rules! got_load {
    ($name:literal) => {
        concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]")
    };
}
pub(super) use got_load;

/// The calling thread's pointer: an address that no other thread of the process has.
pub fn thread_pointer() -> *mut u8 {
    let thread: *mut u8;
    // SAFETY: the first word at the thread pointer is the thread pointer itself (x86-64 TLS ABI).
    unsafe {
        asm!("mov {}, qword ptr fs:[0]", out(reg) thread, options(nostack, pure, readonly, preserves_flags));
    }
    thread
}

/// Whether an area of 33 bytes can lie at this distance from the thread pointer: not where libc's control block begins
/// (glibc, sysdeps/x86_64/nptl/tls.h, `tcbhead_t`, 704 bytes), and aligned to 32 bytes, as the kernel wants it at least
/// (Linux, kernel/rseq.c).
pub const fn holds_area(offset: isize) -> bool {
    (offset < -32 || offset >= 704) && offset % 32 == 0 && offset as i32 as isize == offset
}

/// Takes the request in the area at this offset back; `false` if it was gone already.
pub fn take_back(area: isize) -> bool {
    let was: u8;
    // SAFETY: the request byte of the calling thread's own area.
    unsafe {
        asm!(
            "shr byte ptr fs:[{area} + {request}], 1",
            "setc {was}",
            area = in(reg) area,
            request = const AREA_REQUEST,
            was = out(reg_byte) was,
            options(nostack),
        );
    }
    was != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_aligned_and_not_where_libc_keeps_its_own() {
        let (inside, outside) = ([-32, 0, 32, 672, 1 << 31, i64::MAX - 31], [-64, -96, 704, 736, i32::MIN as i64]);
        let holds = |offset: i64| holds_area(offset as isize);
        assert!(!inside.into_iter().any(holds) && outside.into_iter().all(holds));
        assert!(![-48, -65, 705, 720].into_iter().any(holds), "not aligned");
    }
}
