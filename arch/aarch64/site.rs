//! The site: its forms, which are those of `invar_abi::jump`, and the instructions that emit it.

pub(super) use invar_abi::aarch64::FORMS;

/// Emits one checked site, as [`__jump_site!`](crate::__jump_site!) does.
///
/// `$kind` is `branch`, `slice_enter` or `slice_leave`; or `ordered`, which is a branch that falls through for higher values too;
/// `$state` the path of a static whose first byte is the key's state; `$value` an integer constant; `$otherwise` a block of type
/// `()` or `!`.
/// Must stand in an `unsafe` block: the runtime will rewrite these instructions, which is sound for every
/// static that a key record names.
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    (branch, $($site:tt)*) => { $crate::__site!(@emit "cbnz w16, 4f", 1, 0, $($site)*) };
    (ordered, $($site:tt)*) => { $crate::__site!(@emit "tbnz w16, #31, 4f", 1, 1, $($site)*) };
    (slice_enter, $($site:tt)*) => { $crate::__site!(@emit "cbnz w16, 4f", 2, 0, $($site)*) };
    (slice_leave, $($site:tt)*) => { $crate::__site!(@emit "cbnz w16, 4f", 3, 0, $($site)*) };
    (@emit $skip:literal, $kind:literal, $flags:literal, $($site:tt)*) => {
        $crate::__jump_site!(
            []
            ["adrp x16, {state}" "ldrb w16, [x16, #:lo12:{state}]" "sub w16, w16, #{value}" $skip]
            []
            ["x16"] "b", 1, $kind, $flags, $($site)*
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
            []
            ["adrp x16, {state}" "ldrb w16, [x16, #:lo12:{state}]" "sub w16, w16, #.Linvar_value" "cbnz w16, 4f"]
            []
            ["x16"] "b",
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
                ".irp name, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30"
                ".set .Linvar_register_x\\name, \\name"
                ".endr"
            ]
            []
            ["adrp {number}, {state} + {behind}"]
            ["ldr {number:w}, [{number}, #:lo12:{state} + {behind}]" "ldr {number}, [{number}, #:lo12:{state} + {behind}]"]
            []
            $($number)*
        )
    };
}
