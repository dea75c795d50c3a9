//! The site: its forms, which are those of `invar_abi::jump`, and the instructions that emit it.

pub(super) use invar_abi::riscv64::FORMS;

/// Emits one checked site, as [`__jump_site!`](crate::__jump_site!) does.
///
/// `$kind` is `branch`, `slice_enter` or `slice_leave`; or `ordered`, which is a branch that falls through for higher values too;
/// `$state` the path of a static whose first byte is the key's state; `$value` an integer constant; `$otherwise` a block of type
/// `()` or `!`.
/// Must stand in an `unsafe` block: the runtime will rewrite these instructions, which is sound for every
/// static that a key record names.
///
/// - Site and check have no compressed instruction, and no linker makes any of them shorter: it would go by what is there at link
///   time. Both are aligned while that is still allowed: else a linker that makes the code before them shorter would not align
///   them again.
/// - A function must not be so far from the end of its section as 1 MiB: rustc has a section for each function.
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    (branch, $($site:tt)*) => { $crate::__site!(@emit "bne t5, t6, 4f", 1, 1, 0, $($site)*) };
    (ordered, $($site:tt)*) => { $crate::__site!(@emit "bltu t6, t5, 4f", 1, 1, 1, $($site)*) };
    (slice_enter, $($site:tt)*) => { $crate::__site!(@emit "bne t5, t6, 4f", 2, 2, 0, $($site)*) };
    (slice_leave, $($site:tt)*) => { $crate::__site!(@emit "bne t5, t6, 4f", 4, 3, 0, $($site)*) };
    (@emit $skip:literal, $instructions:literal, $kind:literal, $flags:literal, $($site:tt)*) => {
        $crate::__jump_site!(
            [".balign 4" ".subsection 1" ".balign 4" ".previous" ".option push" ".option norelax" ".option norvc"]
            ["auipc t6, %pcrel_hi({state})" "lbu t6, %pcrel_lo(3b)(t6)" "li t5, {value}" $skip]
            [".option pop"]
            ["t5" "t6"] "j", $instructions, $kind, $flags, $($site)*
        )
    };
}

/// Emits one checked site of a select, as [`__jump_select!`](crate::__jump_select!) does.
///
/// Must stand in an `unsafe` block, for the same reason as [`__site!`](crate::__site!).
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    ($($select:tt)*) => {
        $crate::__jump_select!(
            [".balign 4" ".subsection 1" ".balign 4" ".previous" ".option push" ".option norelax" ".option norvc"]
            ["auipc t6, %pcrel_hi({state})" "lbu t6, %pcrel_lo(3b)(t6)" "addi t5, zero, .Linvar_value" "bne t5, t6, 4f"]
            [".option pop"]
            ["t5" "t6"] "j",
            $($select)*
        )
    };
}

/// Emits one load of a constant's number, as [`__jump_number!`](crate::__jump_number!) does.
///
/// Must stand in an `unsafe` block, for the same reason as [`__site!`](crate::__site!).
#[doc(hidden)]
#[macro_export]
macro_rules! __number {
    ($($number:tt)*) => {
        $crate::__jump_number!(
            [
                ".set .Linvar_value, 0"
                ".irp name, zero, ra, sp, gp, tp, t0, t1, t2, s0, s1, a0, a1, a2, a3, a4, a5, a6, a7, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, t3, t4, t5, t6"
                ".set .Linvar_register_\\name, .Linvar_value"
                ".set .Linvar_value, .Linvar_value + 1"
                ".endr"
            ]
            [".balign 4" ".option push" ".option norelax" ".option norvc"]
            [".Linvar_page\\number: auipc {number}, %pcrel_hi({state} + {behind})"]
            ["lwu {number}, %pcrel_lo(.Linvar_page\\number)({number})" "ld {number}, %pcrel_lo(.Linvar_page\\number)({number})"]
            [".option pop"]
            $($number)*
        )
    };
}
