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

/// The bytes that the compiler left at `site`; `None` if no site of its kind has its length, or if a distance
/// does not fit.
#[inline]
pub fn checked(site: &Site) -> Option<Code> {
    // The displacement counts from the end of the compare: four bytes of it, and the immediate.
    let compare = |prefix: u64| {
        let state = distance(site.address.wrapping_add(prefix + 7), site.state)?;
        Some(0x3d80 | u128::from(state) << 16 | u128::from(site.value) << 48)
    };
    // Kind and length first: with both known, every shift is one by a constant.
    match (site.kind, site.length) {
        (Kind::Branch | Kind::SliceEnter, 9) => Some(Code::new(compare(0)? | short_jump(site, JNE)? << 56, 9)),
        (Kind::Branch | Kind::SliceEnter, 13) => Some(Code::new(compare(0)? | near_jump(site, JNE)? << 56, 13)),
        (Kind::SliceLeave, 10) => Some(Code::new(0x3e | compare(1)? << 8 | short_jump(site, JNE)? << 64, 10)),
        (Kind::SliceLeave, 14) => Some(Code::new(0x3e | compare(1)? << 8 | near_jump(site, JNE)? << 64, 14)),
        _ => None,
    }
}

/// The bytes that bind `site` to a key whose value is `value`, where the request byte of every thread lies
/// `request_offset` bytes from its thread pointer; `None` as for [`checked`].
#[inline]
pub fn bound(site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    if value == site.value {
        return nop(site);
    }
    let request = u128::from(request_offset as u32);
    let store = 0x2504_c664 | request << 32 | 1 << 64;
    let take_back = 0x252c_d064 | request << 32;
    let jump = || Some(0xe9 | u128::from(distance(site.address.wrapping_add(5), site.target)?) << 8);
    match (site.kind, site.length) {
        (Kind::Branch, 9) => Some(Code::new(jump()? | NOP_4 << 40, 9)),
        (Kind::Branch, 13) => Some(Code::new(jump()? | NOP_8 << 40, 13)),
        (Kind::SliceEnter, 9) => Some(Code::new(store, 9)),
        // Operand size prefixes, which a byte store ignores, keep the longer form one instruction.
        (Kind::SliceEnter, 13) => Some(Code::new(0x6666_6666 | store << 32, 13)),
        (Kind::SliceLeave, 10) => Some(Code::new(take_back | short_jump(site, JNC)? << 64, 10)),
        (Kind::SliceLeave, 14) => Some(Code::new(take_back | near_jump(site, JNC)? << 64, 14)),
        _ => None,
    }
}

const JNE: u8 = 0x5;
const JNC: u8 = 0x3;

/// The conditional jump to the target that ends the site, in two bytes.
#[inline(always)]
fn short_jump(site: &Site, condition: u8) -> Option<u128> {
    let distance = i8::try_from(distance(site.address.wrapping_add(site.length.into()), site.target)? as i32).ok()?;
    Some(u128::from(0x70 | condition) | u128::from(distance as u8) << 8)
}

/// The same in six bytes.
#[inline(always)]
fn near_jump(site: &Site, condition: u8) -> Option<u128> {
    let distance = distance(site.address.wrapping_add(site.length.into()), site.target)?;
    Some(0x0f | u128::from(0x80 | condition) << 8 | u128::from(distance) << 16)
}

/// The displacement that leads from one address to another, as the 32 bits of an instruction.
#[inline(always)]
fn distance(from: u64, to: u64) -> Option<u32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok().map(|distance| distance as u32)
}

// Nops of four and eight bytes (Intel SDM volume 2, NOP, table 4-12), and longer ones with operand size prefixes in
// front, as assemblers make them.
const NOP_4: u128 = 0x0040_1f0f;
const NOP_8: u128 = 0x0000_0000_0084_1f0f;

/// A single nop as long as the site.
#[inline(always)]
fn nop(site: &Site) -> Option<Code> {
    match (site.kind, site.length) {
        (Kind::Branch | Kind::SliceEnter, 9) => Some(Code::new(0x66 | NOP_8 << 8, 9)),
        (Kind::Branch | Kind::SliceEnter, 13) => Some(Code::new(0x66_6666_6666 | NOP_8 << 40, 13)),
        (Kind::SliceLeave, 10) => Some(Code::new(0x6666 | NOP_8 << 16, 10)),
        (Kind::SliceLeave, 14) => Some(Code::new(0x6666_6666_6666 | NOP_8 << 48, 14)),
        _ => None,
    }
}
