//! What the sites of a critical section go to: the whole protocol, out of line.

/// Goes to a function that comes back behind this place: eight bytes at each site, of a block where the compiler knows of no
/// call.
///
/// The function is told by `t0` where to come back to (the ABI's second link register, as compilers use it for code that saves
/// registers), and preserves every register but `t5` and `t6`, which the site has used, and those of vectors, of which a system call
/// leaves nothing (Linux, Documentation/arch/riscv/vector.rst). `ra` stays what it is: a leaf function stays one; and to an
/// unwinder, which knows nothing of what is done here, the function around is at every instruction what it was.
///
/// Stands in an `unsafe` block: the function must be such a one, as [`__slice_paths!`](crate::__slice_paths) makes them.
/// Hidden, since the stubs by which a library's own functions can be replaced change other registers.
#[doc(hidden)]
#[macro_export]
macro_rules! __call_cold {
    ($function:path) => {
        ::core::arch::asm!(
            "call t0, {function}",
            ".hidden {function}",
            function = sym $function,
            out("t0") _, out("t5") _, out("t6") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    };
}

/// How the functions that are gone to by [`__call_cold!`](crate::__call_cold) begin: to unwinders, the frame of the function
/// around ends where its stack pointer stands, `t0` has the address in it, and its `ra` is as it left it.
#[doc(hidden)]
#[macro_export]
macro_rules! __cold_begin {
    () => {
        ".cfi_startproc
        .cfi_return_column 5"
    };
}

/// And where they go to somebody who watches, if one does: by `t5`.
#[doc(hidden)]
#[macro_export]
macro_rules! __cold_observed {
    () => {
        "2:
        auipc t5, %pcrel_hi({observed})
        ld t5, %pcrel_lo(2b)(t5)
        beqz t5, 3f
        jr t5
        3:"
    };
}

/// The calling thread's area, in `t5`. To the first label 4 behind this where requests go nowhere: by the one distance that is no
/// place.
#[doc(hidden)]
#[macro_export]
macro_rules! __cold_area {
    () => {
        "2:
        auipc t5, %pcrel_hi({state} + 8)
        lw t5, %pcrel_lo(2b)(t5)
        lui t6, 0x80000
        beq t5, t6, 4f
        add t5, t5, tp"
    };
}

/// Emits the two functions behind the slice sites of one key, by [`__call_cold!`](crate::__call_cold): `$request` is the
/// whole of an unbound slice enter; `$withdraw` is the whole of an unbound leave, and the rare end of a bound one, which took
/// the request back already.
///
/// `$state` is the path of the key's static, which says where requests go (docs/site-abi.md, "State and verdict"): at its
/// eighth byte the distance of each thread's area from its thread pointer, behind it the system call that gives up the CPU,
/// negative for none. Where it says -2^31, no memory is touched.
///
/// The two statics in brackets are words that hold the addresses of functions in the place of these two, where somebody watches
/// ([`observe`](crate::observe)); else 0.
///
/// ```text
/// request:   if area != nowhere { area.request = 1 }
/// withdraw:  if area != nowhere {
///                area.request = 0;
///                if area.granted && yield >= 0 { syscall(yield) }
///            }
/// ```
///
/// In this order: once the request is 0 no grant begins, and one that began before is seen. Any system call ends a grant, so its
/// result is of no interest, and `errno` is left alone.
#[doc(hidden)]
#[macro_export]
macro_rules! __slice_paths {
    (
        $state:path, [$observed_request:path, $observed_withdrawal:path],
        $(#[$meta:meta])* $vis:vis $request:ident, $withdraw:ident
    ) => {
        $(#[$meta])*
        #[unsafe(naked)]
        $vis extern "C" fn $request() {
            ::core::arch::naked_asm!(
                $crate::__cold_begin!(),
                $crate::__cold_observed!(),
                $crate::__cold_area!(),
                "li t6, 1",
                "sb t6, {request}(t5)",
                "4:",
                "jr t0",
                ".cfi_endproc",
                observed = sym $observed_request,
                state = sym $state,
                request = const $crate::AREA_REQUEST,
            )
        }

        $(#[$meta])*
        #[unsafe(naked)]
        $vis extern "C" fn $withdraw() {
            ::core::arch::naked_asm!(
                $crate::__cold_begin!(),
                $crate::__cold_observed!(),
                $crate::__cold_area!(),
                "sb zero, {request}(t5)",
                "lbu t6, {granted}(t5)",
                "beqz t6, 4f",
                "2:",
                "auipc t5, %pcrel_hi({state} + 12)",
                "lw t5, %pcrel_lo(2b)(t5)",
                "bltz t5, 4f",
                "addi sp, sp, -16",
                ".cfi_adjust_cfa_offset 16",
                "sd a0, 0(sp)", // which has the result
                "sd a7, 8(sp)",
                "mv a7, t5",
                "ecall",
                "ld a7, 8(sp)",
                "ld a0, 0(sp)",
                "addi sp, sp, 16",
                ".cfi_adjust_cfa_offset -16",
                "4:",
                "jr t0",
                ".cfi_endproc",
                observed = sym $observed_withdrawal,
                state = sym $state,
                request = const $crate::AREA_REQUEST,
                granted = const $crate::AREA_REQUEST + 1,
            )
        }
    };
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::area::{area, own_area_offset};
    use core::arch::asm;
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// As a key's state, so far as its paths look at it.
    #[repr(C, align(8))]
    struct State(AtomicU64, AtomicU64);
    static STATE: State = State(AtomicU64::new(0), AtomicU64::new(0));
    static UNOBSERVED: AtomicU64 = AtomicU64::new(0);
    crate::__slice_paths!(STATE, [UNOBSERVED, UNOBSERVED], pub(crate) request_out_of_line, withdraw_out_of_line);

    fn set_area(area: isize, yield_number: i32) {
        STATE.1.store(u64::from(area as i32 as u32) | u64::from(yield_number as u32) << 32, Relaxed);
    }

    /// Calls the function with something else in every register that a call may change, and fails unless all of it is
    /// there afterwards, but for `t0`, `t5` and `t6`.
    pub(crate) fn call(function: extern "C" fn()) {
        let general: [u64; 13] = core::array::from_fn(|at| (UMASK << 32) + UMASK + at as u64);
        let float: [u64; 20] = core::array::from_fn(|at| (1 << 60) + at as u64);
        let (mut general_after, mut float_after) = ([0_u64; 13], [0_u64; 20]);
        // SAFETY: as in `__call_cold!`; each register is loaded and stored, s2 to s5 hold the addresses.
        unsafe {
            asm!(
                ".option push",
                ".option arch, +d",
                ".macro each_general instruction, memory",
                "\\instruction a0, 0(\\memory)",
                "\\instruction a1, 8(\\memory)",
                "\\instruction a2, 16(\\memory)",
                "\\instruction a3, 24(\\memory)",
                "\\instruction a4, 32(\\memory)",
                "\\instruction a5, 40(\\memory)",
                "\\instruction a6, 48(\\memory)",
                "\\instruction a7, 56(\\memory)",
                "\\instruction t1, 64(\\memory)",
                "\\instruction t2, 72(\\memory)",
                "\\instruction t3, 80(\\memory)",
                "\\instruction t4, 88(\\memory)",
                "\\instruction ra, 96(\\memory)",
                ".endm",
                ".macro each_float instruction, memory",
                "\\instruction fa0, 0(\\memory)",
                "\\instruction fa1, 8(\\memory)",
                "\\instruction fa2, 16(\\memory)",
                "\\instruction fa3, 24(\\memory)",
                "\\instruction fa4, 32(\\memory)",
                "\\instruction fa5, 40(\\memory)",
                "\\instruction fa6, 48(\\memory)",
                "\\instruction fa7, 56(\\memory)",
                "\\instruction ft0, 64(\\memory)",
                "\\instruction ft1, 72(\\memory)",
                "\\instruction ft2, 80(\\memory)",
                "\\instruction ft3, 88(\\memory)",
                "\\instruction ft4, 96(\\memory)",
                "\\instruction ft5, 104(\\memory)",
                "\\instruction ft6, 112(\\memory)",
                "\\instruction ft7, 120(\\memory)",
                "\\instruction ft8, 128(\\memory)",
                "\\instruction ft9, 136(\\memory)",
                "\\instruction ft10, 144(\\memory)",
                "\\instruction ft11, 152(\\memory)",
                ".endm",
                "each_general ld, s2",
                "each_float fld, s3",
                "jalr t0, s6",
                "each_general sd, s4",
                "each_float fsd, s5",
                ".purgem each_general",
                ".purgem each_float",
                ".option pop",
                in("s2") general.as_ptr(), in("s3") float.as_ptr(),
                in("s4") general_after.as_mut_ptr(), in("s5") float_after.as_mut_ptr(),
                in("s6") function,
                out("t5") _, out("t6") _,
                clobber_abi("C"),
            );
        }
        // The first is what the call that yields is given.
        assert_eq!((general_after, float_after), (general, float));
    }

    /// What `umask`, in the place of the call that yields, is given: its trace is what the next one returns.
    const UMASK: u64 = 0o123;

    /// Whether a system call was made since this was called last.
    fn yielded() -> bool {
        const NEUTRAL: libc::mode_t = 0o022;
        // SAFETY: changes a number of this process, which the tests here do not use otherwise.
        match unsafe { libc::umask(NEUTRAL) } {
            NEUTRAL => false,
            mask => {
                assert_eq!(u64::from(mask), UMASK);
                true
            }
        }
    }

    /// One test, since all of it is about one area and one mask.
    #[test]
    fn the_protocol() {
        let offset = own_area_offset();
        // SAFETY: this thread's area, 64 bytes, registered with nobody.
        let area = unsafe { core::slice::from_raw_parts_mut(area(offset), 64) };
        // SAFETY: as in `yielded`.
        let mask = unsafe { libc::umask(0o022) };

        // Linux, include/uapi/linux/rseq.h: slice_ctrl, request and granted.
        const REQUEST: usize = 28;
        const GRANTED: usize = 29;
        let mut run = |function: extern "C" fn(), request, granted| {
            area.fill(0xa5);
            (area[REQUEST], area[GRANTED]) = (request, granted);
            call(function);
            let beside = (0..64).filter(|at| ![REQUEST, GRANTED].contains(at));
            assert!(beside.into_iter().all(|at| area[at] == 0xa5), "{area:x?}");
            (area[REQUEST], area[GRANTED], yielded())
        };

        set_area(offset, libc::SYS_umask as i32);
        assert_eq!(run(request_out_of_line, 0, 0), (1, 0, false));
        assert_eq!(run(withdraw_out_of_line, 1, 0), (0, 0, false), "nobody granted");
        assert_eq!(run(withdraw_out_of_line, 0, 0), (0, 0, false), "taken back already, or lost");
        assert_eq!(run(withdraw_out_of_line, 0, 1), (0, 1, true), "granted; the kernel takes that back");
        assert_eq!(run(withdraw_out_of_line, 1, 1), (0, 1, true), "and asked for again");

        set_area(offset, -1);
        assert_eq!(run(withdraw_out_of_line, 0, 1), (0, 1, false), "no way to yield");

        set_area(i32::MIN as isize, libc::SYS_umask as i32);
        assert_eq!(run(request_out_of_line, 0, 0), (0, 0, false), "without an area nothing is stored");
        assert_eq!(run(withdraw_out_of_line, 1, 1), (1, 1, false), "nor is anything looked at");

        // SAFETY: as above.
        unsafe { libc::umask(mask) };
    }
}
