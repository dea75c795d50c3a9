//! Exchanging pages that may hold the code which exchanges them.

use core::arch::{asm, naked_asm};

/// `mremap(2)`: moves the `length` bytes of pages at `from` over those at `to`. Returns `to`, or `-errno`.
///
/// The kernel unmaps the pages at `to` before the last step that can fail. If it fails then, and a second time, `file` is mapped
/// there, from `offset` on, to be read and executed. Where the pages are still mapped, that changes nothing (`MAP_FIXED_NOREPLACE`, Linux
/// 4.17; an older kernel maps the file somewhere else, which is undone). Where the file cannot be mapped either, both are tried again and again: the
/// caller cannot go on without its text, and the kernel may have been short of memory for a moment.
///
/// The code can be executed at any address, so that a second mapping of it serves where its own pages are exchanged. It is
/// [`EXCHANGE_LENGTH`] bytes long, and uses no memory.
///
/// # Safety
///
/// `from` must be pages of the caller's own, and what is at `to` may become what is at `from`, or the file. This function must not
/// be in these pages.
#[unsafe(naked)]
pub unsafe extern "C" fn exchange(from: usize, length: usize, to: usize, file: usize, offset: usize) -> isize {
    // A system call changes x0 only; x9 to x16 are anybody's between two calls.
    naked_asm!(
        ".cfi_startproc",
        "2:",
        "hint #34", // bti c
        "mov x9, x0",
        "mov x10, x1",
        "mov x11, x2",
        "mov x12, x3",
        "mov x13, x4",
        "mov w14, #{tries}",
        "3:",
        "mov x0, x9",
        "mov x1, x10",
        "mov x2, x10",
        "mov x3, #3", // MREMAP_MAYMOVE | MREMAP_FIXED
        "mov x4, x11",
        "mov x8, #{mremap}", // (from, length, length, flags, to)
        "svc #0",
        "cmp x0, x11",
        "b.eq 4f",
        // Where it has unmapped the text, the next try has less to do.
        "cmp w14, #{tries}",
        "b.ne 5f",
        "sub w14, w14, #1",
        "b 3b",
        "5:",
        "mov x15, x0",
        "mov x0, x11",
        "mov x1, x10",
        "mov x2, #5", // PROT_READ | PROT_EXEC
        "mov w3, #2", // MAP_PRIVATE
        "movk w3, #0x10, lsl #16", // MAP_FIXED_NOREPLACE
        "mov x4, x12",
        "mov x5, x13",
        "mov x8, #{mmap}", // (to, length, protection, flags, file, offset)
        "svc #0",
        "mov x16, x0",
        "mov x0, x15",
        "cmp x16, x11", // it is mapped there
        "b.eq 4f",
        "cmn x16, #{exists}", // something is
        "b.eq 4f",
        "cmn x16, #4095", // or somewhere else
        "b.lo 6f",
        "sub w14, w14, #1",
        "cbnz w14, 3b",
        "b 4f",
        "6:",
        "mov x0, x16",
        "mov x1, x10",
        "mov x8, #{munmap}", // (somewhere, length)
        "svc #0",
        "mov x0, x15",
        "4:",
        "ret",
        ".org 2b + {most}", // an error where it is longer
        ".cfi_endproc",
        tries = const TRIES,
        exists = const libc::EEXIST,
        most = const EXCHANGE_LENGTH,
        mremap = const libc::SYS_mremap,
        mmap = const libc::SYS_mmap,
        munmap = const libc::SYS_munmap,
    )
}

/// Where the code of [`exchange`] is.
pub fn exchange_code() -> usize {
    let code;
    // SAFETY: a load from the global offset table, as a library in Rust (`dylib`) that exports the function would need it.
    unsafe {
        asm!(
            "adrp {code}, :got:{function}",
            "ldr {code}, [{code}, #:got_lo12:{function}]",
            code = out(reg) code,
            function = sym exchange,
            options(nostack, preserves_flags, pure, readonly),
        );
    }
    code
}

/// Calls [`exchange`] by the address of its code or of a copy: not by a pointer, of which control-flow integrity (clang's and
/// rustc's `cfi`) would ask where it comes from. Then has every CPU see the new text, which the kernel has maintained the caches of as it
/// became executable (Linux, arch/arm64/mm/flush.c, `__sync_icache_dcache`).
///
/// # Safety
///
/// As for [`exchange`]; and at `code` its [`EXCHANGE_LENGTH`] bytes must stand.
pub unsafe fn exchange_by(code: usize, from: usize, length: usize, to: usize, file: usize, offset: usize) -> isize {
    let result: isize;
    // SAFETY: the code of an `extern "C"` function with these arguments, which the caller vouches for.
    unsafe {
        asm!(
            "blr {code}",
            code = in(reg) code,
            inlateout("x0") from => result,
            inlateout("x1") length => _,
            inlateout("x2") to => _,
            inlateout("x3") file => _,
            inlateout("x4") offset => _,
            clobber_abi("C"),
        );
    }
    if result as usize == to {
        super::system::synchronise(&(to..to + length));
    }
    result
}

/// How long the code of [`exchange`] is, in bytes.
pub const EXCHANGE_LENGTH: usize = 192;

/// A filter may refuse both calls, with the text as it was: so often they cost little.
const TRIES: u32 = 100;
