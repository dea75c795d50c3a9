//! The forms of x86-64, byte by byte. `n` is one nop as long as the jump behind the first instruction; `j` is `eb rel8` or
//! `40 e9 rel32`, to the target.
//!
//! | kind | length | checked | bound, key has the record's value | bound, key has another value |
//! |---|---|---|---|---|
//! | branch | 10, 14 | `40 80 3d disp32 value`, jne | `40 0f 1f 80 00000000`, n | `40 e9 rel32 66 90`, j |
//! | enter | 12, 16 | `66 66 40 80 3d disp32 00`, jne | `66 66 0f 1f 84 00 00000000`, n | `66 64 c6 04 25 request 01`, n |
//! | leave | 11, 15 | `66 40 80 3d disp32 00`, jne | `66 0f 1f 84 00 00000000`, n | `66 64 d0 2c 25 request`, jnc |
//! | select | 9 | `40 0f 1f 84 00 00000000` | `40 e9 rel32 0f 1f 00` | that of the record for that value |
//!
//! An ordered branch is a branch with jb in the place of jne, and a higher value is as good as the record's.
//!
//! | constant | length | checked | bound, number below 2^32 | bound, any other |
//! |---|---|---|---|---|
//! | 32 bits, to r7 | 7 | `40 8b /r disp32` | `40 c7 /0 number` | |
//! | 32 bits, from r8 | 7 | `44 8b /r disp32` | `44 8d /r number - end` | |
//! | 64 bits | 11 | `66 66 66 66 REX.W 8b /r disp32` | `66 0f 1f 00 REX c7 /0 number` | `66 REX.W b8+r number` |
//!
//! From r8 on `REX` has R where the register is in the ModRM's middle, else B. A uprobe on an instruction that goes by RIP has the
//! kernel clear B in its copy, of which it puts the first byte back (arch/x86/kernel/uprobes.c, `riprel_analyze`): so that byte has no
//! B, and the form of 32 bits is an `lea`, which has R. `66` before an immediate of two bytes would cost many CPUs some cycles, since it
//! makes four of them two; before one of eight, with REX.W, it makes nothing of it.
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

use crate::site::{Code, Kind, NearBranch, Site};

/// The bytes that the compiler left at `site`; `None` if no site of its kind has its length, or if a distance
/// does not fit.
pub fn checked(site: &Site) -> Option<Code> {
    let jump = match site.kind {
        Kind::Select => return (site.length == SELECT).then(|| Code::long(SELECT_NOP, SELECT_NOP >> 8, SELECT)),
        Kind::Constant => return load(site),
        Kind::Ordered => Second::Jump(0x72, 0x820f),
        _ => Second::Jump(0x75, 0x850f),
    };
    let first = 8 + extra(site.kind);
    // The displacement counts from the end of the compare.
    let state = distance(site.address.wrapping_add(first.into()), site.state)?;
    build(site, 0x6666, compare(state, site.value), jump)
}

/// The bytes that bind `site` to a key whose value is `value`, where the request byte of every thread lies
/// `request_offset` bytes from its thread pointer; `None` as for [`checked`], for a constant, and for a select's record that is not
/// the one for this value.
pub fn bound(site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    if site.falls_through(value) { falls_through(site) } else { goes(site, request_offset) }
}

/// The same where the site falls through.
pub fn falls_through(site: &Site) -> Option<Code> {
    match site.kind {
        Kind::Branch | Kind::Ordered => build(site, 0, BRANCH_NOP, Second::Nop),
        Kind::SliceEnter | Kind::SliceLeave => build(site, 0x6666, 0x84_1f0f, Second::Nop),
        Kind::Select | Kind::Constant | Kind::Pointer => None,
    }
}

/// The same where it does not.
pub fn goes(site: &Site, request_offset: i32) -> Option<Code> {
    let request = u64::from(request_offset as u32);
    match site.kind {
        Kind::Branch | Kind::Ordered => {
            let target = distance(site.address.wrapping_add(6), site.target)?;
            build(site, 0, jump_and_nop(target), Second::Jump(JMP_NEAR, JMP_FAR))
        }
        Kind::SliceEnter => build(site, 0x6466, 0x25_04c6 | request << 24 | 0x01 << 56, Second::Nop),
        Kind::SliceLeave => build(site, 0x66, 0x252c_d064 | request << 32, Second::Jump(0x73, 0x830f)),
        Kind::Select => {
            let target = distance(site.address.wrapping_add(6), site.target)?;
            let first = JMP_FAR | u64::from(target) << 16;
            // A nop of three bytes: `0f 1f 00`.
            (site.length == SELECT).then(|| Code::long(first | 0x1f0f << 48, first >> 8 | 0x1f0f << 40, SELECT))
        }
        Kind::Constant | Kind::Pointer => None,
    }
}

/// Numbers below 2^32, of which the sum with any other differs in each byte, and others.
pub(crate) const EXAMPLES: [&[&[u64]]; 2] = [&[BELOW], &[BELOW, &[0x0101_0101_0101_0101, 0x0202_0202_0202_0202]]];
const BELOW: &[u64] = &[0, 0x0101_0101];

/// The bytes that bind a constant to its number; `None` as for [`checked`], and for a site that is none. One of 32 bits holds as
/// many of the number's.
pub fn constant(site: &Site, number: u64) -> Option<Code> {
    let Register { low, high, wide } = register(site)?;
    // mov r/m32, imm32: the upper half becomes 0.
    let mov = u64::from(0x40 | high) | 0xc7 << 8 | u64::from(0xc0 | low) << 16 | (number & 0xffff_ffff) << 24;
    Some(match wide {
        false if high == 0 => Code::short(mov, 7),
        false => {
            // lea r32, [rip + disp32]: of the address, the lower half.
            let end = site.address.wrapping_add(7);
            Code::short(by_rip(0x44, 0x8d, low, number.wrapping_sub(end) as u32), 7)
        }
        true if number >> 32 == 0 => Code::long(0x1f_0f66 | mov << 32, mov << 8, 11),
        true => Code::long(0x66 | u64::from(0x48 | high) << 8 | u64::from(0xb8 | low) << 16 | number << 24, number, 11),
    })
}

/// Where the link of a select's chain for this record stands, and its bytes: `40 80 3d disp32 value`, `0f 84 rel32` to the target.
/// The chain is behind the site, and has a link for each value, from 0 on.
pub fn link(site: &Site) -> Option<(u64, Code)> {
    let address = site.address.wrapping_add(u64::from(site.length) + 14 * u64::from(site.value));
    let state = distance(address.wrapping_add(8), site.state)?;
    let target = distance(address.wrapping_add(14), site.target)?;
    let is_select = site.kind == Kind::Select && site.length == SELECT;
    let first = compare(state, site.value);
    is_select.then(|| (address, behind(first, first, 6, 0x840f | u64::from(target) << 16, 14)))
}

/// What a constant loads its number by: `mov`.
fn load(site: &Site) -> Option<Code> {
    let Register { low, high, wide } = register(site)?;
    let number = distance(site.address.wrapping_add(site.length.into()), site.target)?;
    let mov = |rex: u8| by_rip(rex | high << 2, 0x8b, low, number);
    Some(if wide {
        Code::long(0x6666_6666 | mov(0x48) << 32, 0x66 | mov(0x48) << 8, 11)
    } else {
        Code::short(mov(0x40), 7)
    })
}

/// An instruction with a register and a place by RIP: mod 0 and r/m 5.
fn by_rip(rex: u8, opcode: u8, low: u8, displacement: u32) -> u64 {
    u64::from(rex) | u64::from(opcode) << 8 | u64::from(low << 3 | 5) << 16 | u64::from(displacement) << 24
}

/// The register that a constant is loaded to.
struct Register {
    /// Its three lower bits.
    low: u8,
    /// The fourth.
    high: u8,
    wide: bool,
}

fn register(site: &Site) -> Option<Register> {
    let wide = match (site.value >> 5, site.length) {
        (0, 7) => false,
        (1, 11) => true,
        _ => return None,
    };
    let number = site.value & 31;
    (site.kind == Kind::Constant && number < 16).then_some(Register { low: number & 7, high: number >> 3, wide })
}

/// Gives `then` what [`checked`] and [`bound`] give for a branch of this length and value, whose target and state lie so far from its
/// first byte. In line, and both at once: of branches there are the most.
#[inline(always)]
pub fn near_branch<R>(branch: NearBranch, value: u8, then: impl FnOnce(Code, Code) -> R) -> Option<R> {
    let compare = compare(branch.to_state.wrapping_sub(8) as u32, branch.value);
    let is_value = value == branch.value || branch.ordered && value > branch.value;
    // jb in the place of jne: the opcodes of both lengths are three apart.
    let jb = if branch.ordered { 3 } else { 0 };
    let first = if is_value { BRANCH_NOP } else { jump_and_nop(branch.to_target.wrapping_sub(6) as u32) };
    match branch.length {
        10 => {
            let to = i8::try_from(branch.to_target.wrapping_sub(10)).ok()?;
            let to = u64::from(to as u8) << 8;
            let second = if is_value { SHORT_NOP } else { JMP_NEAR | to };
            Some(then(behind(compare, compare, 2, (0x75 - jb) | to, 10), behind(first, first, 2, second, 10)))
        }
        14 => {
            let to = u64::from(branch.to_target.wrapping_sub(14) as u32) << 16;
            let second = if is_value { LONG_NOP } else { JMP_FAR | to };
            Some(then(behind(compare, compare, 6, (0x850f - (jb << 8)) | to, 14), behind(first, first, 6, second, 14)))
        }
        _ => None,
    }
}

// Nops: Intel SDM volume 2, NOP, table 4-12.
const BRANCH_NOP: u64 = 0x801f_0f40;
const SHORT_NOP: u64 = 0x9066;
const LONG_NOP: u64 = 0x0000_441f_0f66;
/// Of a select, and its first eight bytes.
const SELECT: u8 = 9;
const SELECT_NOP: u64 = 0x841f_0f40;
const JMP_NEAR: u64 = 0xeb;
const JMP_FAR: u64 = 0xe940;

/// How many bytes the first instruction has beside the last eight of them, which are prefixes.
const fn extra(kind: Kind) -> u8 {
    match kind {
        Kind::SliceLeave => 1,
        Kind::SliceEnter => 2,
        _ => 0,
    }
}

/// The last eight bytes of a compare: `40 80 3d disp32 value`.
#[inline(always)]
fn compare(state: u32, value: u8) -> u64 {
    0x3d_8040 | u64::from(state) << 24 | u64::from(value) << 56
}

/// `40 e9 rel32 66 90`.
#[inline(always)]
fn jump_and_nop(target: u32) -> u64 {
    0x9066_0000_0000_0000 | JMP_FAR | u64::from(target) << 16
}

/// A site's second instruction.
enum Second {
    Nop,
    /// To the target; by these opcodes where it can lead near, and far.
    Jump(u64, u64),
}

/// A first instruction whose last eight bytes are these, with prefixes before them as the kind wants them, and a second one.
#[inline(never)]
fn build(site: &Site, prefixes: u64, tail: u64, second: Second) -> Option<Code> {
    if site.kind == Kind::Pointer {
        return None;
    }
    let extra = extra(site.kind);
    let length = site.length.wrapping_sub(8 + extra);
    let bytes = match (second, length) {
        (Second::Nop, 2) => SHORT_NOP,
        (Second::Nop, 6) => LONG_NOP,
        (Second::Jump(near, far), 2 | 6) => {
            let to = distance(site.address.wrapping_add(site.length.into()), site.target)?;
            if length == 2 {
                near | u64::from(i8::try_from(to as i32).ok()? as u8) << 8
            } else {
                far | u64::from(to) << 16
            }
        }
        _ => return None,
    };
    let prefixes = prefixes & !(u64::MAX << (8 * extra));
    Some(behind(prefixes | tail << (8 * extra), tail, length, bytes, site.length))
}

/// A first instruction, by its first and its last eight bytes, and a second one of so many.
#[inline(always)]
fn behind(first: u64, tail: u64, length: u8, second: u64, all: u8) -> Code {
    Code::long(first, tail >> (8 * length) | second << (64 - 8 * length), all)
}

/// The displacement that leads from one address to another, as the 32 bits of an instruction.
#[inline(always)]
fn distance(from: u64, to: u64) -> Option<u32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok().map(|distance| distance as u32)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::string::String;

    fn hex(code: Option<Code>) -> Option<String> {
        let code = code?;
        let mut bytes = [0; Code::LONGEST];
        Some(code.write_to(&mut bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn site(kind: Kind, length: u8, value: u8) -> Site {
        Site { address: 0x1000, target: 0x1020, state: 0x5000, length, kind, value }
    }

    /// The table above, for one site of each kind and length.
    #[test]
    fn forms_have_their_bytes() {
        let (near, far) = ("6690", "660f1f440000");
        let forms = [
            (Kind::Branch, 10, "40803df83f0000077516", "400f1f8000000000", near, "40e91a0000006690eb16"),
            (Kind::Branch, 14, "40803df83f0000070f8512000000", "400f1f8000000000", far, "40e91a000000669040e912000000"),
            (
                Kind::SliceEnter,
                12,
                "666640803df63f0000007514",
                "66660f1f840000000000",
                near,
                "6664c60425fcdebc9a016690",
            ),
            (
                Kind::SliceEnter,
                16,
                "666640803df63f0000000f8510000000",
                "66660f1f840000000000",
                far,
                "6664c60425fcdebc9a01660f1f440000",
            ),
            (Kind::SliceLeave, 11, "6640803df73f0000007515", "660f1f840000000000", near, "6664d02c25fcdebc9a7315"),
            (
                Kind::SliceLeave,
                15,
                "6640803df73f0000000f8511000000",
                "660f1f840000000000",
                far,
                "6664d02c25fcdebc9a0f8311000000",
            ),
        ];
        for (kind, length, as_checked, nop, second, goes) in forms {
            let value = if kind == Kind::Branch { 7 } else { 0 };
            let site = site(kind, length, value);
            let request = 0x9abc_defc_u32 as i32;
            assert_eq!(hex(checked(&site)).as_deref(), Some(as_checked));
            assert_eq!(hex(bound(&site, value, request)), Some(format!("{nop}{second}")), "{as_checked}");
            assert_eq!(hex(bound(&site, 1, request)).as_deref(), Some(goes));
            let branch = NearBranch { to_target: 0x20, to_state: 0x4000, length, value, ordered: false };
            for key in [value, 1] {
                let forms = near_branch(branch, key, |checked, bound| [checked, bound].map(|code| hex(Some(code))));
                let all = [checked(&site), bound(&site, key, 0)].map(hex);
                assert_eq!(forms, (kind == Kind::Branch).then_some(all), "{as_checked}");
            }
        }
    }

    #[test]
    fn no_other_site_has_forms() {
        for (kind, lengths) in [(Kind::Branch, [10, 14]), (Kind::SliceEnter, [12, 16]), (Kind::SliceLeave, [11, 15])] {
            for length in (0..=255).filter(|length| !lengths.contains(length)) {
                let site = site(kind, length, 0);
                assert_eq!([checked(&site), bound(&site, 0, 0), bound(&site, 1, 0)].map(hex), [None, None, None]);
            }
            let jumps = |length, target| hex(checked(&Site { target, ..site(kind, length, 0) })).is_some();
            let ends = [lengths[0], lengths[1]].map(|length| 0x1000 + u64::from(length));
            assert!(jumps(lengths[0], ends[0] + 127) && !jumps(lengths[0], ends[0] + 128));
            assert!(jumps(lengths[0], ends[0] - 128) && !jumps(lengths[0], ends[0] - 129));
            assert!(jumps(lengths[1], ends[1] + (1 << 31) - 1) && !jumps(lengths[1], ends[1] + (1 << 31)));
            let first = 0x1000 + u64::from(8 + extra(kind));
            let compares = |state| hex(checked(&Site { state, ..site(kind, lengths[1], 0) })).is_some();
            assert!(compares(first + (1 << 31) - 1) && !compares(first + (1 << 31)));
        }
        let near = |to_target| NearBranch { to_target, to_state: 0, length: 10, value: 0, ordered: false };
        let is_there = |branch| near_branch(branch, 0, |_, _| ()).is_some();
        assert!(is_there(near(137)) && !is_there(near(138)) && is_there(near(-118)) && !is_there(near(-119)));
    }
}
