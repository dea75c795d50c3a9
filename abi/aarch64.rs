//! The instructions of AArch64 that [`jump`](crate::jump)'s forms are made of.
//!
//! | check | |
//! |---|---|
//! | `adrp x16, state` | |
//! | `ldrb w16, [x16, :lo12:state]` | |
//! | `sub w16, w16, value` | |
//! | `cbnz w16, . + 8` | of an ordered branch: `tbnz w16, 31, . + 8` |
//! | `b site + 4` | |
//! | `b` | to where the site goes |
//!
//! | constant | bound | |
//! |---|---|---|
//! | `adrp x, number` | | before the site |
//! | `ldr w, [x, :lo12:number]` | `movz w, 16 bits << 0 or 16` | or `movn`, by the complement |
//! | `ldr x, [x, :lo12:number]` | the same, or `movz x, 16 bits << 32 or 48` | or `movn` |
//!
//! No flag changes, and no register but a constant's own and x16, which linkers may use between any two functions (AAPCS64, 6.1.1).
//!
//! Source of the encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C6.2.

use crate::jump::{Encoding, Numbers, WIDE};
use crate::site::{Kind, Site};

/// How they are encoded.
pub const FORMS: Encoding = Encoding { nop: 0xd503_201f, jump, check, requests: None, numbers: NUMBERS };

/// 31 is `xzr`, or `sp`.
const NUMBERS: Numbers = Numbers { load, immediate, no_register: 31, examples: [HALVES, WHOLE] };
const HALVES: &[&[u64]] = &[&[0, 0xffff, 0xffff_0000], &[0xffff_ffff, 0xffff_0001, 0x0001_ffff]];
const WHOLE: &[&[u64]] = &[
    HALVES[0],
    HALVES[1],
    &[1 << 32, 0xffff << 32, 0xffff << 48],
    &[u64::MAX, 0xffff_ffff_ffff_0001, 0x0000_ffff_ffff_ffff],
];

/// `b`: as far as 128 MiB.
fn jump(from: u64, to: u64) -> Option<u32> {
    let distance = to.wrapping_sub(from) as i64;
    let fits = distance % 4 == 0 && (-(1 << 27)..1 << 27).contains(&distance);
    fits.then_some(0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff)
}

/// `adrp register`: as far as 4 GiB.
fn page(register: u32, from: u64, to: u64) -> Option<u32> {
    let pages = ((to >> 12) as i64).wrapping_sub((from >> 12) as i64);
    let fits = (-(1 << 20)..1 << 20).contains(&pages);
    let pages = pages as u32;
    fits.then_some(0x9000_0000 | register | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5)
}

fn check(site: &Site) -> Option<[u32; 4]> {
    let skip = if site.kind == Kind::Ordered { 0x37f8_0050 } else { 0x3500_0050 };
    Some([
        page(16, site.target, site.state)?,
        0x3940_0210 | ((site.state & 0xfff) as u32) << 10,
        0x5100_0210 | u32::from(site.value) << 10,
        skip,
    ])
}

/// The load's offset counts in its own size.
fn load(site: &Site, register: u32) -> Option<[u32; 2]> {
    let offset = (site.target & 0xfff) as u32;
    let load = if site.value & WIDE == 0 { 0xb940_0000 | (offset / 4) << 10 } else { 0xf940_0000 | (offset / 8) << 10 };
    Some([page(register, site.address.wrapping_sub(4), site.target)?, load | register << 5 | register])
}

/// `movz` or `movn`. What is moved into the lower half of a register is 0 in the upper one.
fn immediate(register: u32, number: u64) -> Option<u32> {
    /// The 16 bits of a number, and their place, if all others are 0.
    fn chunk(number: u64, places: u32) -> Option<u32> {
        let place = (0..places).find(|place| number & !(0xffff << (16 * place)) == 0)?;
        Some(place << 21 | ((number >> (16 * place)) as u32) << 5)
    }
    let half = u64::from(u32::MAX);
    let low = if number > half {
        None
    } else {
        let moved = chunk(number, 2).map(|bits| 0x5280_0000 | bits);
        moved.or_else(|| chunk(number ^ half, 2).map(|bits| 0x1280_0000 | bits))
    };
    let found = low.or_else(|| chunk(number, 4).map(|bits| 0xd280_0000 | bits));
    found.or_else(|| chunk(!number, 4).map(|bits| 0x9280_0000 | bits)).map(|found| found | register)
}
