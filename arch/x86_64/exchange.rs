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
/// [`EXCHANGE_LENGTH`] bytes long, and uses no memory but the stack.
///
/// # Safety
///
/// `from` must be pages of the caller's own, and what is at `to` may become what is at `from`, or the file. This function must not
/// be in these pages.
#[unsafe(naked)]
pub unsafe extern "C" fn exchange(from: usize, length: usize, to: usize, file: usize, offset: usize) -> isize {
    // A system call changes rax, rcx and r11 only.
    naked_asm!(
        ".cfi_startproc",
        "2:",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        "mov rbx, rcx",
        "mov rbp, rdi",
        "mov r9, r8",
        "mov r8, rdx",
        "mov r12d, {tries}",
        "3:",
        "mov rdi, rbp",
        "mov rdx, rsi",
        "mov r10d, 3", // MREMAP_MAYMOVE | MREMAP_FIXED
        "mov eax, {mremap}", // (from, length, length, flags, to)
        "syscall",
        "cmp rax, r8",
        "je 4f",
        // Where it has unmapped the text, the next try has less to do.
        "cmp r12d, {tries}",
        "jne 5f",
        "dec r12d",
        "jmp 3b",
        "5:",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "mov rdi, r8",
        "mov edx, 5", // PROT_READ | PROT_EXEC
        "mov r10d, 0x100002", // MAP_PRIVATE | MAP_FIXED_NOREPLACE
        "mov r8, rbx",
        "mov eax, {mmap}", // (to, length, protection, flags, file, offset)
        "syscall",
        "mov r8, rdi",
        "mov rcx, rax",
        "pop rax",
        ".cfi_adjust_cfa_offset -8",
        "cmp rcx, r8", // it is mapped there
        "je 4f",
        "cmp rcx, -{exists}", // something is
        "je 4f",
        "cmp rcx, -4095", // or somewhere else
        "jb 6f",
        "dec r12d",
        "jnz 3b",
        "jmp 4f",
        "6:",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "mov rdi, rcx",
        "mov eax, {munmap}", // (somewhere, length)
        "syscall",
        "pop rax",
        ".cfi_adjust_cfa_offset -8",
        "4:",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".org 2b + {most}, 0xcc", // an error where it is longer
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
    // SAFETY: a load from the global offset table. A library in Rust (`dylib`) exports the function, and refers to it in no other
    // way; elsewhere linkers make it a computed address.
    unsafe {
        asm!(
            "mov {code}, qword ptr [rip + {function}@GOTPCREL]",
            code = out(reg) code,
            function = sym exchange,
            options(nostack, preserves_flags, pure, readonly),
        );
    }
    code
}

/// Calls [`exchange`] by the address of its code or of a copy: not by a pointer, of which control-flow integrity (clang's and
/// rustc's `cfi`) would ask where it comes from.
///
/// # Safety
///
/// As for [`exchange`]; and at `code` its [`EXCHANGE_LENGTH`] bytes must stand.
pub unsafe fn exchange_by(code: usize, from: usize, length: usize, to: usize, file: usize, offset: usize) -> isize {
    let result: isize;
    // SAFETY: the code of an `extern "C"` function with these arguments, which the caller vouches for.
    unsafe {
        asm!(
            "call rax",
            inlateout("rax") code as isize => result,
            inlateout("rdi") from => _,
            inlateout("rsi") length => _,
            inlateout("rdx") to => _,
            inlateout("rcx") file => _,
            inlateout("r8") offset => _,
            clobber_abi("sysv64"),
        );
    }
    result
}

/// How long the code of [`exchange`] is, in bytes.
pub const EXCHANGE_LENGTH: usize = 144;

/// A filter may refuse both calls, with the text as it was: so often they cost little.
const TRIES: u32 = 100;
