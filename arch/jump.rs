//! Sites of machines whose site is one jump, which leads to its check: what emits one, and which bytes stand there. Each of them
//! has this file as a face, beside its own `site`, which names its `FORMS` and its instructions.

use super::site::FORMS;
use invar_abi::{Code, NearBranch, Site};

/// The bytes that the compiler left at `site`.
pub fn checked(site: &Site) -> Option<Code> {
    FORMS.checked(site)
}

/// The bytes that bind `site` to a key whose value is `value`.
pub fn bound(site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    if site.falls_through(value) { FORMS.falls_through(site) } else { FORMS.goes(site, request_offset) }
}

/// Some numbers have no instruction that holds them.
pub const HOLDS_NUMBERS: bool = false;

/// The bytes that bind a constant to its number; `None` where no instruction holds it.
pub fn constant(site: &Site, number: u64) -> Option<Code> {
    FORMS.constant(site, number)
}

/// No branch is told by its record alone: its check has to be seen.
#[inline(always)]
pub fn near_branch<R>(_branch: NearBranch, _value: u8, _then: impl FnOnce(Code, Code) -> R) -> Option<R> {
    None
}

/// Whether a site's bytes stand at `at`. A breakpoint takes the place of a whole instruction (`brk`, `ebreak`), so that nobody can
/// tell what stood there.
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes.
pub unsafe fn stands_under_breakpoint(code: Code, at: *const u8) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { crate::stands::<false>(code, at) }
}

/// Stores a site's bytes at `to`, where no breakpoint is: see [`stands_under_breakpoint`].
///
/// # Safety
///
/// `to` must be valid for writes of this many bytes.
pub unsafe fn store_under_breakpoint(code: Code, to: *mut u8) {
    // SAFETY: as the caller vouches.
    unsafe { crate::store::<false>(code, to) }
}

/// What [`__site!`](crate::__site!) emits, a checked site, its check, and its record in the section `invar2_sites`:
/// falls through if the state byte at `$state` is `$value`, else runs `$otherwise`.
///
/// ```text
/// if *$state != $value { $otherwise }
/// ```
///
/// In brackets the machine's own: what stands before and behind the site, its check, which jumps to the label 4 where
/// `$otherwise` is to run, and what the check overwrites. `$jump` is the instruction of a jump.
///
/// - The check is in subsection 1 of the site's own section, behind all functions of that: both live and go together. It calls
///   nothing, and no unwinder knows of it.
/// - `$otherwise` is named once, by `.irp`: for each time that an operand names a label the compiler may give it another
///   block, as it does where it counts edges (`-Cprofile-generate`, fuzzers).
/// - The record is ordered with the code, by a label in it that is named after the one of `$otherwise`: a linker that knows
///   `SHF_LINK_ORDER` drops it with a function that nobody calls, and no sooner.
/// - The state is not made `protected`: the compiler may name it as a part of another static, which the directive does not take.
#[doc(hidden)]
#[macro_export]
macro_rules! __jump_site {
    (
        [$($begin:literal)*] [$($check:literal)*] [$($end:literal)*] [$($overwritten:tt)*] $jump:literal,
        $instructions:literal, $kind:literal, $flags:literal, $state:path, $value:expr, $otherwise:block
    ) => {
        ::core::arch::asm!(
            ".irp otherwise, {otherwise}",
            ".ifndef .Linvar\\otherwise",
            ".Linvar\\otherwise:",
            ".endif",
            $($begin,)*
            "2:",
            ".rept {instructions}",
            ::core::concat!($jump, " 3f"),
            ".endr",
            ".subsection 1",
            "3:",
            $($check,)*
            ::core::concat!($jump, " 5f"),
            "4:",
            ::core::concat!($jump, " \\otherwise"),
            ".previous",
            "5:",
            $($end,)*
            ".pushsection invar2_sites, \"ao?\", %progbits, .Linvar\\otherwise",
            ".balign 4",
            ".long 2b - ., 3b - ., {state} - .",
            ".byte 4 * {instructions}, {kind}, {value}, {flags}",
            ".popsection",
            ".endr",
            state = sym $state,
            value = const $value,
            instructions = const $instructions,
            kind = const $kind,
            flags = const $flags,
            otherwise = label $otherwise,
            $(out($overwritten) _,)*
            options(nostack, preserves_flags),
        )
    };
}

/// What [`__select!`](crate::__select!) emits, a checked site of a select, which is a nop, the chain behind it, and its records:
/// one for each of the key's `$count` values, in their order. The chain has a compare and a jump for each of them: what the records
/// say can be seen in the code. Who comes to its end met a switch that was being set, and begins again.
///
/// Each `$block` is of type `!`, and has a number, from 0 on, and a set of values, as bits. Bound, the site goes to the block whose
/// set has the key's value, and so does the chain. What has no block is 0; it gives `$first`. `$otherwise` means the same as all
/// of it.
///
/// The compare goes to the label 4 where the state is not `.Linvar_value`. The notes of [`__jump_site!`](crate::__jump_site!)
/// hold here too.
#[doc(hidden)]
#[macro_export]
macro_rules! __jump_select {
    (
        [$($begin:literal)*] [$($compare:literal)*] [$($end:literal)*] [$($overwritten:tt)*] $jump:literal,
        $state:path, $count:expr, [$([$number:literal $values:expr, $block:block])*], $first:expr, $otherwise:expr
    ) => {{
        ::core::arch::asm!(
            $(::core::concat!(".irp arm_", $number, ", {}"),)*
            $(::core::concat!(".set .Linvar_values_", $number, ", {}"),)*
            ".ifndef .Linvar\\arm_0",
            ".Linvar\\arm_0:",
            ".endif",
            $($begin,)*
            "2:",
            "nop",
            ".set .Linvar_value, 0",
            ".rept {count}",
            "3:",
            $($compare,)*
            $(
                ::core::concat!(
                    ".if (.Linvar_values_", $number, " >> .Linvar_value) & 1\n", $jump, " \\arm_", $number, "\n.endif"
                ),
            )*
            "4:",
            ".set .Linvar_value, .Linvar_value + 1",
            ".endr",
            ::core::concat!($jump, " 2b"),
            $($end,)*
            ".pushsection invar2_sites, \"ao?\", %progbits, .Linvar\\arm_0",
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
            ".byte 4, 6, .Linvar_value, 0",
            ".set .Linvar_value, .Linvar_value + 1",
            ".endr",
            ".popsection",
            $(::core::concat!(".endr /* ", $number, " */"),)*
            $(label $block,)*
            $(const $values,)*
            state = sym $state,
            count = const $count,
            $(out($overwritten) _,)*
            options(nostack),
        );
        // The compiler is to see that all values have an arm.
        if false { $otherwise } else { $first }
    }};
}

/// What [`__number!`](crate::__number!) emits, a load of the number that stands `$behind` bytes behind the state at `$state`, and its record;
/// the value is the number, of 64 bits where `$wide` says so, and else of 32, as a `u64`.
///
/// In brackets the machine's own: what defines for each of its registers a symbol that is its number; what stands before and behind the
/// two instructions; the first one, which has the label `.Linvar_page\\number`; and the load of 32 bits, and that of 64.
///
/// The label that the record is ordered by is named after how many there were in the file, as a block may be there more than once.
#[doc(hidden)]
#[macro_export]
macro_rules! __jump_number {
    (
        [$($registers:literal)*] [$($begin:literal)*] [$page:literal] [$half:literal $whole:literal] [$($end:literal)*]
        $state:path, $behind:literal, $wide:expr
    ) => {
        if const { $wide } {
            let number: u64;
            $crate::__jump_number!(@emit number 32 [$($registers)*] [$($begin)* $page] [$whole] [$($end)*] $state, $behind);
            number
        } else {
            // The upper half is 0.
            let number: u64;
            $crate::__jump_number!(@emit number 0 [$($registers)*] [$($begin)* $page] [$half] [$($end)*] $state, $behind);
            number
        }
    };
    (
        @emit $number:ident $more:literal [$($registers:literal)*] [$($begin:literal)*] [$load:literal] [$($end:literal)*]
        $state:path, $behind:literal
    ) => {
        ::core::arch::asm!(
            ".ifndef .Linvar_registers",
            ".set .Linvar_registers, 1",
            $($registers,)*
            ".endif",
            ".set .Linvar_value, .Linvar_register_{number}",
            ".ifndef .Linvar_numbers",
            ".set .Linvar_numbers, 0",
            ".endif",
            ".set .Linvar_numbers, .Linvar_numbers + 1",
            ".altmacro",
            ".macro invar_number number",
            $($begin,)*
            ".Linvar_number\\number:",
            $load,
            $($end,)*
            ".pushsection invar2_sites, \"ao?\", %progbits, .Linvar_number\\number",
            ".balign 4",
            ".long .Linvar_number\\number - ., {state} + {behind} - ., {state} - .",
            ".byte 4, 5, .Linvar_value + {more}, 0",
            ".popsection",
            ".endm",
            "invar_number %.Linvar_numbers",
            ".purgem invar_number",
            ".noaltmacro",
            state = sym $state,
            behind = const $behind,
            more = const $more,
            number = out(reg) $number,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}
