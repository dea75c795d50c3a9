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
    // A system call changes a0 only; t0 to t6 are anybody's between two calls, and so are a5 to a7.
    naked_asm!(
        ".cfi_startproc",
        ".option push",
        ".option norelax",
        ".option norvc",
        "2:",
        "mv t0, a0",
        "mv t1, a1",
        "mv t2, a2",
        "mv t3, a3",
        "mv t4, a4",
        "li t5, {tries}",
        "3:",
        "mv a0, t0",
        "mv a1, t1",
        "mv a2, t1",
        "li a3, 3", // MREMAP_MAYMOVE | MREMAP_FIXED
        "mv a4, t2",
        "li a7, {mremap}", // (from, length, length, flags, to)
        "ecall",
        "beq a0, t2, 4f",
        // Where it has unmapped the text, the next try has less to do.
        "li a6, {tries}",
        "bne t5, a6, 5f",
        "addi t5, t5, -1",
        "j 3b",
        "5:",
        "mv t6, a0",
        "mv a0, t2",
        "mv a1, t1",
        "li a2, 5", // PROT_READ | PROT_EXEC
        "lui a3, 0x100", // MAP_FIXED_NOREPLACE
        "addi a3, a3, 2", // MAP_PRIVATE
        "mv a4, t3",
        "mv a5, t4",
        "li a7, {mmap}", // (to, length, protection, flags, file, offset)
        "ecall",
        "mv a6, a0",
        "mv a0, t6",
        "beq a6, t2, 4f", // it is mapped there
        "li a5, -{exists}",
        "beq a6, a5, 4f", // something is
        "lui a5, 0xfffff",
        "addi a5, a5, 1",
        "bltu a6, a5, 6f", // or somewhere else: below -4095
        "addi t5, t5, -1",
        "bnez t5, 3b",
        "j 4f",
        "6:",
        "mv a0, a6",
        "mv a1, t1",
        "li a7, {munmap}", // (somewhere, length)
        "ecall",
        "mv a0, t6",
        "4:",
        "ret",
        ".org 2b + {most}", // an error where it is longer
        ".option pop",
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
            "lga {code}, {function}",
            code = out(reg) code,
            function = sym exchange,
            options(nostack, preserves_flags, pure, readonly),
        );
    }
    code
}

/// Calls [`exchange`] by the address of its code or of a copy: not by a pointer, of which control-flow integrity would ask where it
/// comes from. Then has every CPU see the new text.
///
/// # Safety
///
/// As for [`exchange`]; and at `code` its [`EXCHANGE_LENGTH`] bytes must stand.
pub unsafe fn exchange_by(code: usize, from: usize, length: usize, to: usize, file: usize, offset: usize) -> isize {
    let result: isize;
    // SAFETY: the code of an `extern "C"` function with these arguments, which the caller vouches for.
    unsafe {
        asm!(
            "jalr {code}",
            code = in(reg) code,
            inlateout("a0") from => result,
            inlateout("a1") length => _,
            inlateout("a2") to => _,
            inlateout("a3") file => _,
            inlateout("a4") offset => _,
            clobber_abi("C"),
        );
    }
    if result as usize == to {
        super::system::synchronise(&(to..to + length));
    }
    result
}

/// How long the code of [`exchange`] is, in bytes.
pub const EXCHANGE_LENGTH: usize = 224;

/// A filter may refuse both calls, with the text as it was: so often they cost little.
const TRIES: u32 = 100;
