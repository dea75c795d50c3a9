//! The site, byte by byte.
//!
//! | kind | checked | bound, key has the record's value | bound, key has another value |
//! |---|---|---|---|
//! | branch | `cmp byte ptr [rip+state], value; jne target` | one nop | `jmp target; nop` |
//! | slice enter | the same | one nop | `mov byte ptr fs:[request], 1` |
//! | slice leave | the same, behind one `ds` prefix | one nop | `shr byte ptr fs:[request], 1; jnc target` |
//!
//! The assembler chooses between a `jne` of 2 and of 6 bytes, so a branch or enter is 9 or 13 bytes long and a
//! leave 10 or 14. The prefix makes the compare of a leave as long as the `shr`, so that both jumps stand in
//! the same place. What a record promises can therefore be *built* and compared; nothing is ever decoded.

use crate::{Code, Kind, Site};

/// Emits one checked site, and its record in the section `invar_sites`:
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
        $crate::__site!(@emit "", 1, $state, $value, $otherwise)
    };
    (slice_enter, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit "", 2, $state, $value, $otherwise)
    };
    (slice_leave, $state:path, $value:expr, $otherwise:block) => {
        $crate::__site!(@emit ".byte 0x3e", 3, $state, $value, $otherwise)
    };
    (@emit $prefix:literal, $kind:literal, $state:path, $value:expr, $otherwise:block) => {
        ::core::arch::asm!(
            ".irp otherwise, {otherwise}",
            ".ifndef .Linvar\\otherwise",
            ".Linvar\\otherwise:",
            ".endif",
            "2:",
            $prefix,
            ".byte 0x80, 0x3d",
            ".long {state} - . - 5",
            ".byte {value}",
            "jne \\otherwise",
            "3:",
            ".pushsection invar_sites, \"ao?\", @progbits, .Linvar\\otherwise",
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

/// The bytes that the compiler left at `site`; `None` if no site of its kind has its length, or if a distance
/// does not fit.
#[inline(never)]
pub fn checked(site: &Site) -> Option<Code> {
    let prefix = u8::from(site.kind == Kind::SliceLeave);
    // The displacement counts from the end of the compare: four bytes of it, and the immediate.
    let state = distance(site.address.wrapping_add(7 + u64::from(prefix)), site.state)?;
    let compare = 0x3d80 | u64::from(state) << 16 | u64::from(site.value) << 48;
    let compare = if prefix == 1 { compare << 8 | 0x3e } else { compare };
    with_jump(site, compare, 7 + prefix, JNE)
}

/// The bytes that bind `site` to a key whose value is `value`, where the request byte of every thread lies
/// `request_offset` bytes from its thread pointer; `None` as for [`checked`].
#[inline(never)]
pub fn bound(site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    let Site { length, .. } = *site;
    let (shortest, long) = (if site.kind == Kind::SliceLeave { 10 } else { 9 }, length > 10);
    if length != if long { shortest + 4 } else { shortest } {
        return None;
    }
    let request = u64::from(request_offset as u32) << 32;
    Some(match site.kind {
        // One nop: the longest that has an encoding of its own, and operand size prefixes, as assemblers make them.
        _ if value == site.value => {
            let prefixes = 8 * (u32::from(length) - 8);
            Code { first: 0x6666_6666_6666 & ((1 << prefixes) - 1) | NOP_8 << prefixes, last: NOP_8, length }
        }
        Kind::Branch => {
            let target = u64::from(distance(site.address.wrapping_add(5), site.target)?);
            let nop = if long { NOP_8 } else { NOP_4 };
            Code {
                first: 0xe9 | target << 8 | nop << 40,
                last: if long { NOP_8 } else { target | NOP_4 << 32 },
                length,
            }
        }
        Kind::SliceEnter => {
            let store = 0x2504_c664 | request;
            // Operand size prefixes, which a byte store ignores, keep the longer form one instruction.
            let first = if long { 0x6666_6666 | store << 32 } else { store };
            Code { first, last: store >> 8 | 1 << 56, length }
        }
        Kind::SliceLeave => return with_jump(site, 0x252c_d064 | request, 8, JNC),
    })
}

const JNE: u8 = 0x5;
const JNC: u8 = 0x3;

// Intel SDM volume 2, NOP, table 4-12.
const NOP_4: u64 = 0x0040_1f0f;
const NOP_8: u64 = 0x0000_0000_0084_1f0f;

/// The first `length` bytes of a site, 7 or 8, and a conditional jump to the target in the two or six bytes behind them.
#[inline(always)]
fn with_jump(site: &Site, first: u64, length: u8, condition: u8) -> Option<Code> {
    let to = distance(site.address.wrapping_add(site.length.into()), site.target)?;
    let (jump, jump_length) = match site.length.wrapping_sub(length) {
        2 => (u64::from(0x70 | condition) | u64::from(i8::try_from(to as i32).ok()? as u8) << 8, 2),
        6 => (0x0f | u64::from(0x80 | condition) << 8 | u64::from(to) << 16, 6),
        _ => return None,
    };
    Some(Code {
        first: if length == 8 { first } else { first | jump << 56 },
        last: first >> (8 * (site.length - 8)) | jump << (64 - 8 * jump_length),
        length: site.length,
    })
}

/// The displacement that leads from one address to another, as the 32 bits of an instruction.
#[inline(always)]
fn distance(from: u64, to: u64) -> Option<u32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok().map(|distance| distance as u32)
}
