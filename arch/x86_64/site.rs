//! The site: what emits it, and what exchanges its bytes. Their forms are those of `invar_abi::x86_64`.

use invar_abi::Code;

/// Emits one checked site, and its record in the section `invar2_sites`:
/// falls through if the state byte at `$state` is `$value`, else runs `$otherwise`.
///
/// ```text
/// if *$state != $value { $otherwise }
/// ```
///
/// `$kind` is `branch`, `slice_enter` or `slice_leave`; or `ordered`, which is a branch that falls through for higher values too; `$state` the path of a static whose first byte is the
/// key's state; `$value` an integer constant; `$otherwise` a block of type `()` or `!`.
/// Must stand in an `unsafe` block: the runtime will rewrite these instructions, which is sound for every
/// static that a key record names.
///
/// Without `options(nomem)` the site is a compiler barrier, which the slice protocol needs.
///
/// - `$otherwise` is named once, by `.irp`: for each time that an operand names a label the compiler may give it another
///   block, as it does where it counts edges (`-Cprofile-generate`, fuzzers).
/// - The compare is written as data, behind which the assembler does not pad the jump
///   (`-x86-branches-within-32B-boundaries`; LLVM, X86AsmBackend.cpp, `isRightAfterData`).
/// - The record is ordered with the code, by a label in it that is named after the one of `$otherwise`: a linker that knows
///   `SHF_LINK_ORDER` drops it with a function that nobody calls, and no sooner.
/// - The state is `protected`: in a Rust `dylib`, which exports it, the site has the library's own; and a site that would
///   have that of another module is not linked.
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    (branch, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "0x40", "jne", 1, 0, $state, $value, $otherwise)
    };
    (ordered, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "0x40", "jb", 1, 1, $state, $value, $otherwise)
    };
    (slice_enter, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "0x66, 0x66, 0x40", "jne", 2, 0, $state, $value, $otherwise)
    };
    (slice_leave, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "0x66, 0x40", "jne", 3, 0, $state, $value, $otherwise)
    };
    (@emit $prefixes:literal, $jump:literal, $kind:literal, $flags:literal, $state:path, $value:expr, $otherwise:block) => {
        ::core::arch::asm!(
            ".irp otherwise, {otherwise}",
            ".ifndef .Linvar\\otherwise",
            ".Linvar\\otherwise:",
            ".endif",
            "2:",
            ::core::concat!(".byte ", $prefixes, ", 0x80, 0x3d"),
            ".long {state} - . - 5",
            ".byte {value}",
            ::core::concat!($jump, " \\otherwise"),
            "3:",
            ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar\\otherwise",
            ".balign 4",
            ".long 2b - ., \\otherwise - ., {state} - .",
            ".byte 3b - 2b, {kind}, {value}, {flags}",
            ".popsection",
            ".endr",
            ".protected {state}",
            state = sym $state,
            value = const $value,
            kind = const $kind,
            flags = const $flags,
            otherwise = label $otherwise,
            options(nostack),
        )
    };
}

/// Emits one checked site of a select, which is a nop, the chain behind it, and its records: one for each of the key's `$count` values,
/// in their order. The chain has a compare and a jump for each of them: what the records say can be seen in the code. Who comes to its
/// end met a switch that was being set, and begins again.
///
/// Each `$block` is of type `!`, and has a number, from 0 on, and a set of values, as bits. Bound, the site goes to the block whose set
/// has the key's value, and so does the chain. What has no block is 0; it gives `$first`. `$otherwise` means the same as all of it.
///
/// Must stand in an `unsafe` block, for the same reason as [`__site!`](crate::__site!), whose notes hold here too.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    ($state:path, $count:expr, [$([$number:literal $values:expr, $block:block])*], $first:expr, $otherwise:expr) => {{
        ::core::arch::asm!(
            $(::core::concat!(".irp arm_", $number, ", {}"),)*
            $(::core::concat!(".set .Linvar_values_", $number, ", {}"),)*
            ".ifndef .Linvar\\arm_0",
            ".Linvar\\arm_0:",
            ".endif",
            "2:",
            ".byte 0x40, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00",
            ".set .Linvar_value, 0",
            ".rept {count}",
            ".byte 0x40, 0x80, 0x3d",
            ".long {state} - . - 5",
            ".byte .Linvar_value, 0x0f, 0x84",
            $(
                ::core::concat!(
                    ".if (.Linvar_values_", $number, " >> .Linvar_value) & 1\n.long \\arm_", $number, " - . - 4\n.endif"
                ),
            )*
            ".set .Linvar_value, .Linvar_value + 1",
            ".endr",
            "jmp 2b",
            ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar\\arm_0",
            ".balign 4",
            ".set .Linvar_value, 0",
            ".rept {count}",
            ".long 2b - .",
            $(
                ::core::concat!(
                    ".if (.Linvar_values_", $number, " >> .Linvar_value) & 1\n.long \\arm_", $number, " - .\n.endif"
                ),
            )*
            ".long {state} - .",
            ".byte 9, 6, .Linvar_value, 0",
            ".set .Linvar_value, .Linvar_value + 1",
            ".endr",
            ".popsection",
            $(::core::concat!(".endr # ", $number),)*
            ".protected {state}",
            $(label $block,)*
            $(const $values,)*
            state = sym $state,
            count = const $count,
            options(nostack),
        );
        // The compiler is to see that all values have an arm.
        if false { $otherwise } else { $first }
    }};
}

/// Emits one checked site of a constant, and its record, and gives the number: that which stands `$behind` bytes behind the static
/// at `$state`, all 64 bits of it if `$wide`, else 32.
///
/// Must stand in an `unsafe` block, for the same reason as [`__site!`](crate::__site!).
///
/// - The instruction is written as data, so that its length and its prefixes are those of a form. The register's number comes from
///   its name, which is all that the compiler tells.
/// - It is `pure`: the compiler may load the number before a loop, or once for two sites, and leave out what nobody needs. The
///   number changes once, while the module is loaded.
/// - The record is ordered with the code, by a label that a macro of the assembler names after how many there were. (`\@` counts for one `asm!`
///   alone.)
#[doc(hidden)]
#[macro_export]
macro_rules! __number {
    ($state:path, $behind:literal, $wide:expr) => {
        if const { $wide } {
            let number: u64;
            $crate::__number!(@emit $state, $behind, number, "{number:r}", "0x66, 0x66, 0x66, 0x66, 0x48", 32);
            number
        } else {
            let number: u32;
            $crate::__number!(@emit $state, $behind, number, "{number:e}", "0x40", 0);
            number as u64
        }
    };
    (@emit $state:path, $behind:literal, $number:ident, $register:literal, $prefixes:literal, $more:literal) => {
        ::core::arch::asm!(
            ".ifndef .Linvar_register_rax",
            ".set .Linvar_value, 0",
            ".irp name, ax, cx, dx, bx, sp, bp, si, di",
            ".set .Linvar_register_e\\name, .Linvar_value",
            ".set .Linvar_register_r\\name, .Linvar_value",
            ".set .Linvar_value, .Linvar_value + 1",
            ".endr",
            ".irp name, 8, 9, 10, 11, 12, 13, 14, 15",
            ".set .Linvar_register_r\\name, \\name",
            ".set .Linvar_register_r\\name\\()d, \\name",
            ".endr",
            ".endif",
            ::core::concat!(".set .Linvar_value, .Linvar_register_", $register),
            ".ifndef .Linvar_numbers",
            ".set .Linvar_numbers, 0",
            ".endif",
            ".set .Linvar_numbers, .Linvar_numbers + 1",
            ".altmacro",
            ".macro invar_number number",
            ".Linvar_number\\number:",
            ::core::concat!(".byte ", $prefixes, " + 4 * (.Linvar_value >> 3), 0x8b, 5 + 8 * (.Linvar_value & 7)"),
            ".long {state} + {behind} - . - 4",
            "3:",
            ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar_number\\number",
            ".balign 4",
            ".long .Linvar_number\\number - ., {state} + {behind} - ., {state} - .",
            ".byte 3b - .Linvar_number\\number, 5, .Linvar_value + {more}, 0",
            ".popsection",
            ".endm",
            "invar_number %.Linvar_numbers",
            ".purgem invar_number",
            ".noaltmacro",
            ".protected {state}",
            state = sym $state,
            behind = const $behind,
            more = const $more,
            $number = out(reg) $number,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

/// Whether a site's bytes stand at `at`, or all but the first, which a breakpoint has taken the place of (`int3`). Who hits that
/// executes the first instruction of the file's form, or of the one that stands there, and goes on with the second.
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes.
pub unsafe fn stands_under_breakpoint(code: Code, at: *const u8) -> bool {
    const BREAKPOINT: u8 = 0xcc;
    let mut bytes = [0; Code::LONGEST];
    let bytes = code.write_to(&mut bytes);
    // SAFETY: as the caller vouches.
    let here = unsafe { core::slice::from_raw_parts(at, bytes.len()) };
    here[1..] == bytes[1..] && [bytes[0], BREAKPOINT].contains(&here[0])
}

/// Stores a site's bytes at `to`, but for a breakpoint that stands there in the place of the first one.
///
/// # Safety
///
/// `to` must be valid for reads and writes of this many bytes.
#[inline]
pub unsafe fn store_under_breakpoint(code: Code, to: *mut u8) {
    // SAFETY: as the caller vouches. All forms of a site have the first byte in common.
    unsafe {
        let first = to.read();
        crate::store::<false>(code, to);
        to.write(first);
    }
}
