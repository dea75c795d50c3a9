//! The site: what emits it, and what exchanges its bytes. Their forms are those of `invar_abi::x86_64`.

use invar_abi::Code;

/// Emits one checked site, and its record in the section `invar2_sites`:
/// falls through if the state byte at `$state` is `$value`, else runs `$otherwise`.
///
/// ```text
/// if *$state != $value { $otherwise }
/// ```
///
/// `$kind` is `branch`, `slice_enter` or `slice_leave`; `$state` the path of a static whose first byte is the
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
        $crate::__site!(@emit "0x40", 1, $state, $value, $otherwise)
    };
    (slice_enter, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "0x66, 0x66, 0x40", 2, $state, $value, $otherwise)
    };
    (slice_leave, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "0x66, 0x40", 3, $state, $value, $otherwise)
    };
    (@emit $prefixes:literal, $kind:literal, $state:path, $value:expr, $otherwise:block) => {
        ::core::arch::asm!(
            ".irp otherwise, {otherwise}",
            ".ifndef .Linvar\\otherwise",
            ".Linvar\\otherwise:",
            ".endif",
            "2:",
            ::core::concat!(".byte ", $prefixes, ", 0x80, 0x3d"),
            ".long {state} - . - 5",
            ".byte {value}",
            "jne \\otherwise",
            "3:",
            ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar\\otherwise",
            ".balign 4",
            ".long 2b - ., \\otherwise - ., {state} - .",
            ".byte 3b - 2b, {kind}, {value}, 0",
            ".popsection",
            ".endr",
            ".protected {state}",
            state = sym $state,
            value = const $value,
            kind = const $kind,
            otherwise = label $otherwise,
            options(nostack),
        )
    };
}

/// Stores a site's bytes at `to`, and touches nothing beside it.
///
/// # Safety
///
/// `to` must be valid for writes of this many bytes.
#[inline(always)]
pub unsafe fn store(code: Code, to: *mut u8) {
    // SAFETY: both lie in the code's length, which is that of a site of this machine: more than eight.
    unsafe {
        to.cast::<u64>().write_unaligned(code.first());
        to.add(code.len() - 8).cast::<u64>().write_unaligned(code.last());
    }
}

/// Whether a site's bytes stand at `at`.
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes.
#[inline(always)]
pub unsafe fn stands(code: Code, at: *const u8) -> bool {
    // SAFETY: both lie in the code's length, which is that of a site of this machine: more than eight.
    unsafe {
        at.cast::<u64>().read_unaligned() == code.first()
            && at.add(code.len() - 8).cast::<u64>().read_unaligned() == code.last()
    }
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

/// [`Code::print`] of a site's bytes at `at`; 0 for a length that no site of this machine has.
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes, if they are no more than [`Code::LONGEST`].
#[inline(always)]
pub unsafe fn print(at: *const u8, length: usize) -> u64 {
    let behind = length.wrapping_sub(8);
    if behind > Code::LONGEST - 8 {
        return 0;
    }
    // SAFETY: both lie in the length.
    unsafe { at.cast::<u64>().read_unaligned() ^ at.add(behind).cast::<u64>().read_unaligned().rotate_left(32) }
}
