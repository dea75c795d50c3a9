//! What the sites of a critical section go to: the whole protocol, out of line.

/// Goes to a function that comes back behind this place: twelve bytes at each site, of a block where the compiler knows of no
/// call.
///
/// The function is told by `r11` where to come back to, and preserves every other register. The stack pointer stays where
/// it is: to the compiler the stack is not used, so a leaf function stays one; and to an unwinder, which knows nothing of
/// what is done here, the function around is at every instruction what it was.
///
/// Stands in an `unsafe` block: the function must be such a one, as [`__slice_paths!`](crate::__slice_paths) makes them.
/// Hidden, since the stubs by which a library's own functions can be replaced may change `r11` (glibc,
/// sysdeps/x86_64/dl-trampoline.h).
#[doc(hidden)]
#[macro_export]
macro_rules! __call_cold {
    ($function:path) => {
        ::core::arch::asm!(
            "lea r11, [rip + 2f]",
            "jmp {function}",
            "2:",
            ".hidden {function}",
            function = sym $function,
            out("r11") _,
            options(nostack),
        )
    };
}

/// What the functions below refer to is in their own module, also where that is a Rust `dylib`, which exports it.
#[doc(hidden)]
#[macro_export]
macro_rules! __of_this_module {
    () => {
        ".hidden {observed}
        .protected {state}"
    };
}

/// How the functions that are gone to by [`__call_cold!`](crate::__call_cold) begin: to unwinders, the frame of the function
/// around ends where its stack pointer stands, and `r11` has the address in it.
#[doc(hidden)]
#[macro_export]
macro_rules! __cold_begin {
    () => {
        ".cfi_startproc
        .cfi_def_cfa rsp, 0
        .cfi_register rip, r11"
    };
}

/// Steps over the red zone, in which the function around may keep data. No flag changes.
#[doc(hidden)]
#[macro_export]
macro_rules! __cold_down {
    () => {
        "lea rsp, [rsp - 128]
        .cfi_adjust_cfa_offset 128"
    };
}

/// And back, to the function around.
#[doc(hidden)]
#[macro_export]
macro_rules! __cold_end {
    () => {
        "lea rsp, [rsp + 128]
        .cfi_adjust_cfa_offset -128
        jmp r11"
    };
}

/// Emits the two functions behind the slice sites of one key, by [`__call_cold!`](crate::__call_cold): `$request` is the
/// whole of an unbound slice enter; `$withdraw` is the whole of an unbound leave, and the rare end of a bound one, which took
/// the request back already.
///
/// `$state` is the path of the key's static, which says where requests go (docs/site-abi.md, "State and verdict"): at its
/// eighth byte the distance of each thread's area from its thread pointer, behind it the system call that gives up the CPU,
/// negative for none. Where it says 0, no memory is touched.
///
/// The two statics in brackets are words that hold the addresses of functions in the place of these two, where somebody watches
/// ([`observe`](crate::observe)); else 0.
///
/// ```text
/// request:   if area != 0 { area.request = 1 }
/// withdraw:  if area != 0 {
///                was = area.request; area.request = 0;
///                if !was && area.granted && yield >= 0 { syscall(yield) }
///            }
/// ```
///
/// `shr` of a byte that is 0 or 1 leaves 0, and the old value in carry. Any system call ends a grant, so its result is
/// of no interest, and `errno` is left alone.
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
                "cmp qword ptr [rip + {observed}], 0",
                "jne 3f",
                $crate::__cold_down!(),
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "movsxd rax, dword ptr [rip + {state} + 8]",
                "test rax, rax",
                "je 2f",
                "mov byte ptr fs:[rax + {request}], 1",
                "2:",
                "pop rax",
                ".cfi_adjust_cfa_offset -8",
                $crate::__cold_end!(),
                "3:",
                "jmp qword ptr [rip + {observed}]",
                ".cfi_endproc",
                $crate::__of_this_module!(),
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
                "cmp qword ptr [rip + {observed}], 0",
                "jne 3f",
                $crate::__cold_down!(),
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "movsxd rax, dword ptr [rip + {state} + 8]",
                "test rax, rax",
                "je 2f",
                "shr byte ptr fs:[rax + {request}], 1",
                "jc 2f",
                "cmp byte ptr fs:[rax + {granted}], 0",
                "je 2f",
                "mov eax, dword ptr [rip + {state} + 12]",
                "test eax, eax",
                "js 2f",
                "push rcx",
                ".cfi_adjust_cfa_offset 8",
                "push r11", // which the call changes
                ".cfi_adjust_cfa_offset 8",
                ".cfi_rel_offset rip, 0",
                "syscall",
                "pop r11",
                ".cfi_adjust_cfa_offset -8",
                ".cfi_register rip, r11",
                "pop rcx",
                ".cfi_adjust_cfa_offset -8",
                "2:",
                "pop rax",
                ".cfi_adjust_cfa_offset -8",
                $crate::__cold_end!(),
                "3:",
                "jmp qword ptr [rip + {observed}]",
                ".cfi_endproc",
                $crate::__of_this_module!(),
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
    use super::super::area::{area, own_area_offset, thread_pointer};
    #[cfg(target_env = "gnu")]
    use super::super::stepping;
    use core::arch::asm;
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// As a key's state, so far as its paths look at it.
    #[repr(C, align(8))]
    struct State(AtomicU64, AtomicU64);
    static STATE: State = State(AtomicU64::new(0), AtomicU64::new(0));
    static UNOBSERVED: AtomicU64 = AtomicU64::new(0);
    crate::__slice_paths!(STATE, [UNOBSERVED, UNOBSERVED], pub(crate) request_out_of_line, withdraw_out_of_line);

    pub(crate) fn set_area(area: isize, yield_number: i32) {
        STATE.1.store(u64::from(area as i32 as u32) | u64::from(yield_number as u32) << 32, Relaxed);
    }

    /// Calls the function with something else in every register that a call may change, and fails unless all of it is
    /// there afterwards.
    pub(crate) fn call(function: extern "C" fn()) {
        let before: [u64; 8] = core::array::from_fn(|at| (UMASK << 32) + UMASK + at as u64);
        let [mut rax, mut rcx, mut rdx, mut rsi, mut r8, mut r9, mut r10, _] = before;
        let mut rdi = UMASK;
        // SAFETY: as in `__call_cold!`.
        unsafe {
            asm!(
                "lea r11, [rip + 2f]",
                "jmp {function}",
                "2:",
                function = in(reg) function,
                inout("rax") rax, inout("rcx") rcx, inout("rdx") rdx, inout("rsi") rsi, inout("rdi") rdi,
                inout("r8") r8, inout("r9") r9, inout("r10") r10, out("r11") _,
            );
        }
        assert_eq!([rax, rcx, rdx, rsi, r8, r9, r10], before[..7]);
        assert_eq!(rdi, UMASK);
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
        assert!(offset < 0 && offset % 64 == 0, "a program's own area lies below its thread pointer: {offset}");
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

        set_area(offset, -1);
        assert_eq!(run(withdraw_out_of_line, 0, 1), (0, 1, false), "no way to yield");

        // At the thread pointer stands libc's control block, whose canary and pointer guard are words 5 and 6.
        set_area(0, libc::SYS_umask as i32);
        // SAFETY: the control block, which is readable and whose words here nobody changes.
        let words = || unsafe { thread_pointer().cast::<[u64; 8]>().read_volatile() };
        let before = words();
        assert_eq!(run(request_out_of_line, 0, 0), (0, 0, false), "without an area nothing is stored");
        assert_eq!(run(withdraw_out_of_line, 0, 1), (0, 1, false), "nor is anything looked at");
        assert_eq!(words(), before);

        // Each way through each of them, step by step: an unwinder is never lost. What stands behind a system call may be
        // stepped over.
        #[cfg(target_env = "gnu")]
        for (function, area_offset, was, yield_number, instructions) in [
            (request_out_of_line as extern "C" fn(), offset, (0, 0), -1, 11),
            (request_out_of_line, 0, (0, 0), -1, 10),
            (withdraw_out_of_line, 0, (0, 0), -1, 10),
            (withdraw_out_of_line, offset, (1, 0), -1, 12),
            (withdraw_out_of_line, offset, (0, 0), -1, 14),
            (withdraw_out_of_line, offset, (0, 1), -1, 17),
            (withdraw_out_of_line, offset, (0, 1), libc::SYS_umask as i32, 21),
        ] {
            set_area(area_offset, yield_number);
            (area[REQUEST], area[GRANTED]) = was;
            let steps = stepping::through(function as usize, &mut || call(function));
            assert!(steps.inside >= instructions && steps.lost == 0, "{area_offset} {was:?} {yield_number}: {steps:?}");
        }

        // SAFETY: as above.
        unsafe { libc::umask(mask) };
    }
}
