//! The calling thread's `struct rseq`. Each machine whose kernel grants time has this file as a face, beside its own `tls`.

use super::tls::got_load;
pub use super::tls::{RSEQ_SIGNATURE, SYS_RSEQ, holds_area, own_area_offset, take_back, thread_pointer};
use core::arch::global_asm;

// One 64-byte area for each thread, zero until the kernel writes to it. Weak, so that two versions of this crate in one
// link share it. In .tdata and not in .tbss: lld leaves a hole of a page in a file whose only thread-local memory is an
// aligned .tbss.
global_asm!(
    // With fat LTO the assembly of both versions becomes one.
    ".ifndef invar_area",
    ".pushsection .tdata.invar_area, \"awT\", @progbits",
    ".balign 64",
    ".weak invar_area",
    ".hidden invar_area",
    ".type invar_area, @object",
    ".size invar_area, 64",
    "invar_area:",
    ".zero 64",
    ".popsection",
    ".endif",
);

/// The address of a symbol that another module may have; 0 where none does.
///
/// Weak, and through the GOT rather than PC-relative: the linker must not decide at link time that a symbol of a shared libc is
/// absent.
macro_rules! got {
    ($name:literal) => {{
        let address: usize;
        // SAFETY: reads a GOT entry.
        unsafe {
            core::arch::asm!(
                concat!(".weak ", $name),
                got_load!($name),
                out(reg) address,
                options(nostack, pure, readonly, preserves_flags),
            );
        }
        address
    }};
}

/// What the C library says of the area it registers for each thread: `__rseq_offset` and `__rseq_size`
/// (glibc 2.35 and newer). `None` where it has no such symbols.
pub fn libc_area() -> Option<(isize, u32)> {
    let (offset, size) = (got!("__rseq_offset") as *const isize, got!("__rseq_size") as *const u32);
    // SAFETY: where the symbols exist they are what <sys/rseq.h> declares, constant after start-up.
    (!offset.is_null() && !size.is_null()).then(|| unsafe { (offset.read(), size.read()) })
}

/// Whether the C library is glibc, by a function that no other has. In one file with a program that does not use it glibc is not
/// known.
pub fn is_glibc() -> bool {
    got!("gnu_get_libc_version") != 0
}

/// Address of the calling thread's area.
pub fn area(offset: isize) -> *mut u8 {
    thread_pointer().wrapping_offset(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AREA_REQUEST;

    #[test]
    fn a_request_is_taken_back_once() {
        let offset = own_area_offset();
        assert!(holds_area(offset));
        // SAFETY: this thread's area, 64 bytes, registered with nobody.
        let area = unsafe { core::slice::from_raw_parts_mut(super::area(offset), 64) };
        for (request, is_there) in [(0, false), (1, true)] {
            area.fill(0xa5);
            area[AREA_REQUEST] = request;
            assert_eq!(take_back(offset), is_there);
            let beside = (0..64).filter(|&at| at != AREA_REQUEST);
            assert!(area[AREA_REQUEST] == 0 && beside.into_iter().all(|at| area[at] == 0xa5), "{area:x?}");
        }
    }

    #[test]
    fn libcs_area_is_none_or_one() {
        assert!(libc_area().is_none_or(|(offset, size)| size == 0 || holds_area(offset)));
        assert_eq!(is_glibc(), cfg!(target_env = "gnu"));
    }
}
