//! Sections that somebody watches: ordinary functions in place of the out-of-line request and its withdrawal.
//!
//! Those preserve every register, which no compiled function does. So a frame around each call keeps what a compiler
//! may use: the registers of a C call, and by `xsave` the vector registers, as large as this CPU has them.

use super::area::{OBSERVED_REQUEST, OBSERVED_WITHDRAWAL};
use core::arch::naked_asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// What stands in for one of the two; is given the address behind the call, by which its site is known.
pub type Observer = extern "C" fn(usize);

static REQUEST: AtomicUsize = AtomicUsize::new(0);
static WITHDRAWAL: AtomicUsize = AtomicUsize::new(0);
/// Size of the area that `xsave` fills, and the components that it saves.
static STATE_BYTES: AtomicUsize = AtomicUsize::new(0);
static STATE_COMPONENTS: AtomicU32 = AtomicU32::new(0);

/// Has all that reaches the cold path of a site call these functions, which then do what it does. They may use any register, and
/// up to 3 KiB of stack go to keeping those. `false`, and nothing changes, on a CPU without `xsave`.
pub fn observe(request: Observer, withdrawal: Observer) -> bool {
    // SSE, AVX, AVX-512 (opmask, upper halves, upper registers), and APX's general registers; not the x87 stack, nor tiles, which
    // no compiler uses unasked. Source: Intel SDM volume 1, 13.1.
    const COMPONENTS: u64 = 1 << 1 | 1 << 2 | 0b111 << 5 | 1 << 19;
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: the operating system has enabled the instruction.
    let components = unsafe { crate::cpu::xcr0() } & COMPONENTS;
    // The legacy area, which has the SSE registers, and the header; then where each component ends.
    let ends = (2..64).filter(|component| components >> component & 1 == 1).map(|component| {
        let component = __cpuid_count(0xd, component);
        (component.ebx + component.eax) as usize
    });
    STATE_BYTES.store(ends.max().unwrap_or(0).max(LEGACY + HEADER), Relaxed);
    STATE_COMPONENTS.store(components as u32, Relaxed);
    REQUEST.store(request as usize, Relaxed);
    WITHDRAWAL.store(withdrawal as usize, Relaxed);
    OBSERVED_REQUEST.store(observed_request as *const () as usize, Relaxed);
    OBSERVED_WITHDRAWAL.store(observed_withdrawal as *const () as usize, Relaxed);
    true
}

/// Intel SDM volume 1, 13.4: the parts that every area has.
const LEGACY: usize = 512;
const HEADER: usize = 64;

/// The header must be zero where `xsave` does not write it.
macro_rules! call_observer {
    ($observer:ident) => {
        naked_asm!(
            "push rbp",
            "mov rbp, rsp",
            "push rax",
            "push rcx",
            "push rdx",
            "push rsi",
            "push rdi",
            "push r8",
            "push r9",
            "push r10",
            "push r11",
            "sub rsp, qword ptr [rip + {bytes}]",
            "and rsp, -64",
            "xor edx, edx",
            ".irp at, 0, 8, 16, 24, 32, 40, 48, 56",
            "mov qword ptr [rsp + {header} + \\at], rdx",
            ".endr",
            "mov eax, dword ptr [rip + {components}]",
            "xsave [rsp]",
            "mov rdi, qword ptr [rbp + 8]",
            "call qword ptr [rip + {observer}]",
            "xor edx, edx",
            "mov eax, dword ptr [rip + {components}]",
            "xrstor [rsp]",
            "lea rsp, [rbp - 72]",
            "pop r11",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rdi",
            "pop rsi",
            "pop rdx",
            "pop rcx",
            "pop rax",
            "pop rbp",
            "ret",
            bytes = sym STATE_BYTES,
            components = sym STATE_COMPONENTS,
            observer = sym $observer,
            header = const LEGACY,
        )
    };
}

#[unsafe(naked)]
extern "C" fn observed_request() {
    call_observer!(REQUEST)
}

#[unsafe(naked)]
extern "C" fn observed_withdrawal() {
    call_observer!(WITHDRAWAL)
}
