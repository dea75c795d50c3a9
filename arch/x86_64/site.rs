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
/// The section's `R` flag (`SHF_GNU_RETAIN`) keeps the record under `--gc-sections`.
/// Without `options(nomem)` the site is a compiler barrier, which the slice protocol needs.
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
            "2:",
            $prefix,
            "cmp byte ptr [rip + {state}], {value}",
            "jne {otherwise}",
            "3:",
            ".pushsection invar_sites, \"aR\", @progbits",
            ".balign 4",
            ".long 2b - ., {otherwise} - ., {state} - .",
            ".byte 3b - 2b, {kind}, {value}, 0",
            ".popsection",
            state = sym $state,
            value = const $value,
            kind = const $kind,
            otherwise = label $otherwise,
            options(nostack),
        )
    };
}

const JNE: u8 = 0x5;
const JNC: u8 = 0x3;

/// The bytes that the compiler left at `site`; `None` if no site of its kind has its length, or if a distance
/// does not fit.
#[inline]
pub fn checked(site: &Site) -> Option<Code> {
    let code = match site.kind {
        Kind::Branch | Kind::SliceEnter => Code::new(),
        Kind::SliceLeave => Code::new().push(&[0x3e]),
    };
    // The displacement counts from the end of the compare: four bytes of it, and the immediate.
    let compare_end = site.address.wrapping_add(code.length as u64 + 7);
    let code = code
        .push(&[0x80, 0x3d])
        .push(&distance(compare_end, site.state)?.to_le_bytes())
        .push(&[site.value]);
    conditional_jump(code, site, JNE)
}

/// The bytes that bind `site` to a key whose value is `value`, where the request byte of every thread lies
/// `request_offset` bytes from its thread pointer; `None` as for [`checked`].
#[inline]
pub fn bound(site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    let falls_through = value == site.value;
    match site.kind {
        _ if falls_through => Some(nop(Code::new(), site.length as usize)),
        Kind::Branch => {
            let end = site.address.wrapping_add(5);
            let jump = Code::new().push(&[0xe9]).push(&distance(end, site.target)?.to_le_bytes());
            Some(nop(jump, site.length as usize))
        }
        Kind::SliceEnter => {
            // Operand size prefixes, which a byte store ignores, keep the longer form one instruction.
            let padding = (site.length as usize).checked_sub(9)?;
            let store = Code::new()
                .push([0x66; 4].get(..padding)?)
                .push(&[0x64, 0xc6, 0x04, 0x25])
                .push(&request_offset.to_le_bytes())
                .push(&[1]);
            Some(store)
        }
        Kind::SliceLeave => {
            let take_back = Code::new().push(&[0x64, 0xd0, 0x2c, 0x25]).push(&request_offset.to_le_bytes());
            conditional_jump(take_back, site, JNC)
        }
    }
}

/// Appends the jump that ends `site`, to its target, in the size that the site's length leaves for it.
#[inline]
fn conditional_jump(code: Code, site: &Site, condition: u8) -> Option<Code> {
    let end = site.address.wrapping_add(site.length as u64);
    let distance = distance(end, site.target)?;
    match (site.length).checked_sub(code.length)? {
        2 => Some(code.push(&[0x70 | condition, i8::try_from(distance).ok()? as u8])),
        6 => Some(code.push(&[0x0f, 0x80 | condition]).push(&distance.to_le_bytes())),
        _ => None,
    }
}

#[inline]
fn distance(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok()
}

/// Fills `code` up to `length` bytes with a single nop (Intel SDM volume 2, NOP, table 4-12; beyond nine bytes
/// with further operand size prefixes, as assemblers do).
#[inline]
fn nop(code: Code, length: usize) -> Code {
    // The longest forms first, so that one copy from the right end gives every length.
    const LONG: [u8; 15] = [0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
    match length.saturating_sub(code.length as usize) {
        0 => code,
        1 => code.push(&[0x90]),
        2 => code.push(&[0x66, 0x90]),
        3 => code.push(&[0x0f, 0x1f, 0x00]),
        4 => code.push(&[0x0f, 0x1f, 0x40, 0]),
        5 => code.push(&[0x0f, 0x1f, 0x44, 0, 0]),
        6 => code.push(&[0x66, 0x0f, 0x1f, 0x44, 0, 0]),
        7 => code.push(&[0x0f, 0x1f, 0x80, 0, 0, 0, 0]),
        more => code.push(&LONG[LONG.len() - more.min(LONG.len())..]),
    }
}
