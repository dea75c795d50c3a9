//! The forms of x86-64, byte by byte. `n` is one nop as long as the jump behind the first instruction; `j` is `eb rel8` or
//! `40 e9 rel32`, to the target.
//!
//! | kind | length | checked | bound, key has the record's value | bound, key has another value |
//! |---|---|---|---|---|
//! | branch | 10, 14 | `40 80 3d disp32 value`, jne | `40 0f 1f 80 00000000`, n | `40 e9 rel32 66 90`, j |
//! | enter | 12, 16 | `66 66 40 80 3d disp32 00`, jne | `66 66 0f 1f 84 00 00000000`, n | `66 64 c6 04 25 request 01`, n |
//! | leave | 11, 15 | `66 40 80 3d disp32 00`, jne | `66 0f 1f 84 00 00000000`, n | `66 64 d0 2c 25 request`, jnc |
//!
//! What the prefixes buy, which mean nothing to these instructions (an empty REX; operand size on byte operations):
//!
//! - All forms of a site begin with the same byte: a uprobe puts the *file's* first byte back when it goes.
//! - The last instruction begins at the same place in all forms, and no thread is ever at any other place inside. In a bound
//!   form it is right for a thread that comes from the compare of the checked one. The jump of the checked form goes by that
//!   compare: a bound branch is never exchanged for the checked one, and a uprobe on the jump goes by any flags.
//! - Linux takes uprobes on such instructions, as it does not with the segment prefixes `2e` and `3e`
//!   (arch/x86/kernel/uprobes.c, `is_prefix_bad`). `66` stands before no jump, which AMD's CPUs would shorten.
//!
//! What a record promises can therefore be *built* and compared; nothing is ever decoded.

use crate::{Code, Kind, NearBranch, Site};

/// The bytes that the compiler left at `site`; `None` if no site of its kind has its length, or if a distance
/// does not fit.
#[inline(never)]
pub fn checked(site: &Site) -> Option<Code> {
    match site.kind {
        Kind::Branch => compare::<BRANCH>(site, 0x40),
        Kind::SliceEnter => compare::<ENTER>(site, 0x40_6666),
        Kind::SliceLeave => compare::<LEAVE>(site, 0x4066),
    }
}

/// The bytes that bind `site` to a key whose value is `value`, where the request byte of every thread lies
/// `request_offset` bytes from its thread pointer; `None` as for [`checked`].
#[inline(never)]
pub fn bound(site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    let request = u128::from(request_offset as u32) << 40;
    match (site.kind, value == site.value) {
        (Kind::Branch, true) => nop::<BRANCH>(site, 0x801f_0f40),
        (Kind::Branch, false) => {
            let target = distance(site.address.wrapping_add(6), site.target)?;
            jump::<BRANCH>(site, 0x9066_0000_0000_e940 | u128::from(target) << 16, 0xeb, 0xe940)
        }
        (Kind::SliceEnter, true) => nop::<ENTER>(site, 0x84_1f0f_6666),
        (Kind::SliceLeave, true) => nop::<LEAVE>(site, 0x841f_0f66),
        (Kind::SliceEnter, false) => nop::<ENTER>(site, 0x01 << 72 | request | 0x25_04c6_6466),
        (Kind::SliceLeave, false) => jump::<LEAVE>(site, request | 0x25_2cd0_6466, 0x73, 0x830f),
    }
}

/// Gives `then` what [`checked`] and [`bound`] give for a branch of this length and value, whose target and state lie so far from its
/// first byte. In line, and both at once: of branches there are the most.
#[inline(always)]
pub fn near_branch<R>(branch: NearBranch, value: u8, then: impl FnOnce(Code, Code) -> R) -> Option<R> {
    let compare = 0x3d_8040 | u64::from(branch.to_state.wrapping_sub(8) as u32) << 24 | u64::from(branch.value) << 56;
    let is_value = value == branch.value;
    let to_target = u64::from(branch.to_target.wrapping_sub(6) as u32);
    let first = if is_value { 0x801f_0f40 } else { 0x9066_0000_0000_e940 | to_target << 16 };
    match branch.length.wrapping_sub(BRANCH) {
        SHORT => {
            let to = i8::try_from(branch.to_target.wrapping_sub(i32::from(BRANCH + SHORT))).ok()?;
            let to = u64::from(to as u8) << 8;
            let second = if is_value { 0x9066 } else { 0xeb | to };
            Some(then(behind::<SHORT>(compare, 0x75 | to), behind::<SHORT>(first, second)))
        }
        LONG => {
            let to = u64::from(branch.to_target.wrapping_sub(i32::from(BRANCH + LONG)) as u32) << 16;
            let second = if is_value { NOP_OF_6 } else { 0xe940 | to };
            Some(then(behind::<LONG>(compare, 0x850f | to), behind::<LONG>(first, second)))
        }
        _ => None,
    }
}

/// A first instruction of eight bytes, and a second one of so many.
#[inline(always)]
fn behind<const SECOND: u8>(first: u64, second: u64) -> Code {
    Code::long(first, first >> (8 * SECOND) | second << (64 - 8 * SECOND), BRANCH + SECOND)
}

// The lengths of the first instruction.
const BRANCH: u8 = 8;
const ENTER: u8 = 10;
const LEAVE: u8 = 9;
// And of the second.
const SHORT: u8 = 2;
const LONG: u8 = 6;

/// A compare of `FIRST` bytes, with these prefixes, and `jne`.
#[inline(always)]
fn compare<const FIRST: u8>(site: &Site, prefixes: u128) -> Option<Code> {
    // The displacement counts from the end of the compare.
    let state = distance(site.address.wrapping_add(FIRST.into()), site.state)?;
    let compare = 0x3d80 | u64::from(state) << 16 | u64::from(site.value) << 48;
    jump::<FIRST>(site, prefixes | u128::from(compare) << (8 * (FIRST - 7)), 0x75, 0x850f)
}

/// A first instruction, and a jump to the target, with these opcodes where it can lead near and far.
#[inline(always)]
fn jump<const FIRST: u8>(site: &Site, first: u128, near: u8, far: u16) -> Option<Code> {
    let to = distance(site.address.wrapping_add(site.length.into()), site.target)?;
    match site.length.wrapping_sub(FIRST) {
        SHORT => Some(short::<FIRST>(first, near, i8::try_from(to as i32).ok()? as u8)),
        LONG => Some(long::<FIRST>(first, u64::from(far) | u64::from(to) << 16)),
        _ => None,
    }
}

/// `66 0f 1f 44 00 00`: Intel SDM volume 2, NOP, table 4-12; so are the others.
const NOP_OF_6: u64 = 0x0000_441f_0f66;

/// A first instruction, and a nop.
#[inline(always)]
fn nop<const FIRST: u8>(site: &Site, first: u128) -> Option<Code> {
    match site.length.wrapping_sub(FIRST) {
        SHORT => Some(short::<FIRST>(first, 0x66, 0x90)),
        LONG => Some(long::<FIRST>(first, NOP_OF_6)),
        _ => None,
    }
}

/// A site that has `FIRST` bytes and two behind them.
///
/// Its shifts are by constants: others of so many bits are a call at some levels of optimisation.
#[inline(always)]
fn short<const FIRST: u8>(first: u128, opcode: u8, operand: u8) -> Code {
    let bytes = first | u128::from(u16::from_le_bytes([opcode, operand])) << (8 * FIRST);
    Code::long(bytes as u64, (bytes >> (8 * (FIRST + SHORT - 8))) as u64, FIRST + SHORT)
}

/// A site that has `FIRST` bytes and six behind them.
#[inline(always)]
fn long<const FIRST: u8>(first: u128, second: u64) -> Code {
    let bytes = first | u128::from(second) << (8 * FIRST);
    Code::long(bytes as u64, (bytes >> (8 * (FIRST + LONG - 8))) as u64, FIRST + LONG)
}

/// The displacement that leads from one address to another, as the 32 bits of an instruction.
#[inline(always)]
fn distance(from: u64, to: u64) -> Option<u32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok().map(|distance| distance as u32)
}
