//! Critical sections that somebody watches: ordinary functions in place of the out-of-line request and its withdrawal.
//!
//! Those preserve every register, which no compiled function does. So a frame around each call keeps what a compiler
//! may use: the registers of a C call, and by `xsave` the vector registers, as large as this CPU has them.

use crate::cpu::cpuid;
use crate::observers::Observers;
use core::arch::naked_asm;

/// The functions that are to take the place of a key's cold paths ([`__slice_paths!`](crate::__slice_paths)), so that all that
/// reaches one of those calls these, which then do what it does. They may use any register, and 3 KiB of stack go to keeping
/// those. `None` on a CPU without `xsave`, or with larger registers.
pub fn observe<O: Observers>() -> Option<[extern "C" fn(); 2]> {
    can_keep_registers().then_some([observed_request::<O>, observed_withdrawal::<O>])
}

/// SSE, AVX, AVX-512 (opmask, upper halves, upper registers), and APX's general registers; not the x87 stack, nor
/// tiles, which no compiler uses unasked. Source: Intel SDM volume 1, 13.1.
const COMPONENTS: u64 = 1 << 1 | 1 << 2 | 0b111 << 5 | 1 << 19;

/// Whether `xsave` has room for what this CPU has of them: it writes nothing of components that it does not have.
fn can_keep_registers() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    if cpuid(1, 0).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: the operating system has enabled the instruction.
    let components = unsafe { crate::cpu::xcr0() } & COMPONENTS;
    // The legacy area, which has the SSE registers, and the header; then where each component ends.
    let mut ends = (2..64).filter(|component| components >> component & 1 == 1).map(|component| {
        let component = cpuid(0xd, component);
        (component.ebx + component.eax) as usize
    });
    ends.all(|end| end <= STATE_BYTES)
}

/// Size of the area that `xsave` fills. Intel has the last component at 2688, behind 1 KiB of upper AVX-512 registers; AMD before that.
const STATE_BYTES: usize = LEGACY + HEADER + 2240;
const _: () = assert!(STATE_BYTES.is_multiple_of(64));
/// Intel SDM volume 1, 13.4: the parts that every area has.
const LEGACY: usize = 512;
const HEADER: usize = 64;

/// Gone to as the out-of-line request is; what it keeps for unwinders is right at every instruction.
///
/// The header must be zero where `xsave` does not write it.
macro_rules! call_observer {
    ($observer:path) => {
        naked_asm!(
            crate::__cold_begin!(),
            crate::__cold_down!(),
            "push r11",
            ".cfi_adjust_cfa_offset 8",
            ".cfi_rel_offset rip, 0",
            "push rbp",
            ".cfi_adjust_cfa_offset 8",
            ".cfi_rel_offset rbp, 0",
            "mov rbp, rsp",
            ".cfi_def_cfa_register rbp",
            "push rax",
            "push rcx",
            "push rdx",
            "push rsi",
            "push rdi",
            "push r8",
            "push r9",
            "push r10",
            "sub rsp, {bytes}",
            "and rsp, -64",
            "xor edx, edx",
            ".irp at, 0, 8, 16, 24, 32, 40, 48, 56",
            "mov qword ptr [rsp + {header} + \\at], rdx",
            ".endr",
            "mov eax, {components}",
            "xsave [rsp]",
            "mov rdi, qword ptr [rbp + 8]",
            "call {observer}",
            "xor edx, edx",
            "mov eax, {components}",
            "xrstor [rsp]",
            "lea rsp, [rbp - 64]",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rdi",
            "pop rsi",
            "pop rdx",
            "pop rcx",
            "pop rax",
            "pop rbp",
            ".cfi_def_cfa rsp, 136",
            ".cfi_restore rbp",
            "pop r11",
            ".cfi_adjust_cfa_offset -8",
            ".cfi_register rip, r11",
            crate::__cold_end!(),
            ".cfi_endproc",
            bytes = const STATE_BYTES,
            components = const COMPONENTS,
            observer = sym $observer,
            header = const LEGACY,
        )
    };
}

#[unsafe(naked)]
extern "C" fn observed_request<O: Observers>() {
    call_observer!(O::request)
}

#[unsafe(naked)]
extern "C" fn observed_withdrawal<O: Observers>() {
    call_observer!(O::withdrawal)
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    use super::super::stepping;
    use super::*;
    use core::arch::asm;
    use std::is_x86_feature_detected;

    /// Runs between two marks in every vector register, and returns what they are afterwards: as many as this CPU has, as
    /// wide.
    macro_rules! around {
        ($between:expr, $width:literal, $move:literal, $register:literal, $($number:literal)*) => {{
            let mut marks = [[0_u8; $width]; 32];
            for (at, mark) in marks.iter_mut().enumerate() {
                mark.fill(at as u8 + 1);
            }
            let before = marks;
            let numbers = [$($number),*];
            // SAFETY: each register is loaded and stored, and the function between preserves all.
            unsafe {
                asm!(
                    $(concat!($move, " ", $register, $number, ", [{marks} + ", $width, " * ", $number, "]"),)*
                    "lea r11, [rip + 2f]",
                    "jmp {between}",
                    "2:",
                    $(concat!($move, " [{marks} + ", $width, " * ", $number, "], ", $register, $number),)*
                    marks = in(reg) &raw mut marks,
                    between = in(reg) $between,
                    out("r11") _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                    out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
                    out("xmm13") _, out("xmm14") _, out("xmm15") _,
                );
                if is_x86_feature_detected!("avx") {
                    asm!("vzeroupper");
                }
            }
            numbers.map(|at: usize| marks[at] == before[at]).iter().all(|&same| same)
        }};
    }

    /// Changes every register that a C call may change.
    extern "C" fn careless(_: usize) {
        // SAFETY: registers that a C call may change.
        unsafe {
            asm!(
                ".irp register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11",
                "xor \\register, \\register",
                ".endr",
                clobber_abi("C"),
            );
        }
        // SAFETY: registers that a C call may change.
        unsafe {
            if is_x86_feature_detected!("avx512f") {
                asm!(
                    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
                    "vpternlogd zmm\\n, zmm\\n, zmm\\n, 255",
                    ".endr",
                    "kxnorw k1, k1, k1",
                );
            } else if is_x86_feature_detected!("avx") {
                asm!("vzeroall");
            } else {
                asm!(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "pcmpeqd xmm\\n, xmm\\n", ".endr");
            }
        }
    }

    extern "C" fn preserves_vectors(between: extern "C" fn()) -> bool {
        if is_x86_feature_detected!("avx512f") {
            around!(between, 64, "vmovdqu64", "zmm", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
        } else if is_x86_feature_detected!("avx") {
            around!(between, 32, "vmovdqu", "ymm", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
        } else {
            around!(between, 16, "movdqu", "xmm", 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
        }
    }

    /// The same for the mask registers, sixteen bits of each. For CPUs that have them.
    extern "C" fn preserves_masks(between: extern "C" fn()) -> bool {
        let mut marks: [u64; 8] = core::array::from_fn(|at| 0x101 << at);
        let before = marks;
        // SAFETY: as in `around`.
        unsafe {
            asm!(
                ".irp n, 0,1,2,3,4,5,6,7",
                "kmovw k\\n, word ptr [{marks} + 8 * \\n]",
                ".endr",
                "lea r11, [rip + 2f]",
                "jmp {between}",
                "2:",
                ".irp n, 0,1,2,3,4,5,6,7",
                "kmovw word ptr [{marks} + 8 * \\n], k\\n",
                ".endr",
                marks = in(reg) &raw mut marks,
                between = in(reg) between,
                out("r11") _,
                out("k1") _, out("k2") _, out("k3") _, out("k4") _, out("k5") _, out("k6") _, out("k7") _,
            );
        }
        marks == before
    }

    /// Leaves ones in the memory that the calls to come have as their stack.
    #[inline(never)]
    fn soil_stack() {
        core::hint::black_box(&mut [0xff_u8; 32 << 10]);
    }

    struct Careless;

    impl Observers for Careless {
        extern "C" fn request(site: usize) {
            careless(site);
        }
        extern "C" fn withdrawal(site: usize) {
            careless(site);
        }
    }

    /// An area of `xsave` begins in memory that somebody has used before: what is in its header must not count.
    #[test]
    fn the_stack_may_hold_anything() {
        // What `observe` promises, without the frame's ten words and its alignment.
        const { assert!(STATE_BYTES <= (3 << 10) - 144) };
        for function in observe::<Careless>().expect("the CPU has it") {
            soil_stack();
            super::super::cold::tests::call(function);
        }
    }

    /// Each component with registers that a function may use, and none that belongs to somebody else.
    #[test]
    fn what_a_function_may_use_is_kept() {
        // Intel SDM volume 1, 13.1; Intel APX specification, 3.1.4.
        let kept = [(1, "xmm"), (2, "ymm"), (5, "k"), (6, "zmm0 to zmm15"), (7, "zmm16 to zmm31"), (19, "r16 to r31")];
        for (number, registers) in kept {
            assert_eq!(COMPONENTS >> number & 1, 1, "{registers}");
        }
        assert_eq!(COMPONENTS.count_ones() as usize, kept.len());
    }

    #[unsafe(naked)]
    extern "C" fn keeps_nothing() {
        naked_asm!("pcmpeqd xmm3, xmm3", "jmp r11")
    }

    #[test]
    fn observers_may_use_registers() {
        let has_masks = is_x86_feature_detected!("avx512f");
        let preserves = |between| (preserves_vectors(between), !has_masks || preserves_masks(between));
        let functions = observe::<Careless>().expect("the CPU has it");
        functions.into_iter().for_each(super::super::cold::tests::call);
        assert_eq!(functions.map(preserves), [(true, true); 2]);
        #[cfg(target_env = "gnu")]
        for function in functions {
            let steps = stepping::through(function as usize, &mut || super::super::cold::tests::call(function));
            assert!(steps.inside > 40 && steps.lost == 0, "{steps:?}");
        }
        assert!(!preserves_vectors(keeps_nothing), "the test sees a change");
    }
}
