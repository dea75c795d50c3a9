//! Critical sections that somebody watches: ordinary functions in place of the out-of-line request and its withdrawal.
//!
//! Those preserve nearly every register, which no compiled function does. So a frame around each call keeps what a compiler may use.

use crate::observers::Observers;
use core::arch::naked_asm;

/// The functions that are to take the place of a key's cold paths ([`__slice_paths!`](crate::__slice_paths)), so that all that
/// reaches one of those calls these, which then do what it does. They may use any register, and 272 bytes of stack go to keeping
/// those.
pub fn observe<O: Observers>() -> Option<[extern "C" fn(); 2]> {
    Some([observed_request::<O>, observed_withdrawal::<O>])
}

/// Stores or loads, by these two instructions, the registers that a call may change (RISC-V ELF psABI, "Register Convention"), but for
/// those that who comes here gives up.
macro_rules! each_register {
    ($general:literal, $float:literal) => {
        each_register!(@each
            [$general t1 16, t2 24, t3 32, t4 40, a0 48, a1 56, a2 64, a3 72, a4 80, a5 88, a6 96, a7 104]
            [$float ft0 112, ft1 120, ft2 128, ft3 136, ft4 144, ft5 152, ft6 160, ft7 168, ft8 176, ft9 184, ft10 192,
             ft11 200, fa0 208, fa1 216, fa2 224, fa3 232, fa4 240, fa5 248, fa6 256, fa7 264]
        )
    };
    (@each $([$instruction:literal $($register:ident $place:literal),*])*) => {
        concat!($(each_register!(@of $instruction $($register $place),*)),*)
    };
    (@of $instruction:literal $($register:ident $place:literal),*) => {
        concat!($($instruction, " ", stringify!($register), ", ", $place, "(sp)\n"),*)
    };
}

/// Gone to as the out-of-line request is; what it keeps for unwinders is right at every instruction.
macro_rules! call_observer {
    ($observer:path) => {
        naked_asm!(
            crate::__cold_begin!(),
            // As every machine has it that Linux's C libraries are for; the assembler is not told.
            ".option push",
            ".option arch, +d",
            "addi sp, sp, -272",
            ".cfi_adjust_cfa_offset 272",
            "sd t0, 0(sp)",
            ".cfi_rel_offset t0, 0",
            "sd ra, 8(sp)",
            ".cfi_rel_offset ra, 8",
            each_register!("sd", "fsd"),
            "mv a0, t0",
            "call {observer}",
            each_register!("ld", "fld"),
            "ld ra, 8(sp)",
            ".cfi_restore ra",
            "ld t0, 0(sp)",
            ".cfi_restore t0",
            "addi sp, sp, 272",
            ".cfi_adjust_cfa_offset -272",
            "jr t0",
            ".option pop",
            ".cfi_endproc",
            observer = sym $observer,
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
    use super::*;
    use core::arch::asm;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    static CALLS: AtomicUsize = AtomicUsize::new(0);

    /// Changes every register that a call may change.
    extern "C" fn careless(_: usize) {
        // SAFETY: registers that a C call may change.
        unsafe {
            asm!(
                ".irp register, ra, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7",
                "li \\register, -1",
                ".endr",
                ".option push",
                ".option arch, +d",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                "fmv.d.x ft\\n, a0",
                ".endr",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
                "fmv.d.x fa\\n, a0",
                ".endr",
                ".option pop",
                clobber_abi("C"),
            );
        }
        CALLS.fetch_add(1, Relaxed);
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

    #[test]
    fn observers_may_use_registers() {
        let functions = observe::<Careless>().expect("on every machine");
        functions.into_iter().for_each(super::super::cold::tests::call);
        assert_eq!(CALLS.load(Relaxed), 2);
    }
}
