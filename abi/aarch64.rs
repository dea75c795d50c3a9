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
//! No flag changes, and no register but x16, which linkers may use between any two functions (AAPCS64, 6.1.1).
//!
//! Source of the encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C6.2.

use crate::jump::Encoding;
use crate::site::{Kind, Site};

/// How they are encoded.
pub const FORMS: Encoding = Encoding { nop: 0xd503_201f, jump, check, requests: None };

/// `b`: as far as 128 MiB.
fn jump(from: u64, to: u64) -> Option<u32> {
    let distance = to.wrapping_sub(from) as i64;
    let fits = distance % 4 == 0 && (-(1 << 27)..1 << 27).contains(&distance);
    fits.then_some(0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff)
}

/// `adrp` reaches as far as 4 GiB.
fn check(site: &Site) -> Option<[u32; 4]> {
    let pages = ((site.state >> 12) as i64).wrapping_sub((site.target >> 12) as i64);
    let fits = (-(1 << 20)..1 << 20).contains(&pages);
    let pages = pages as u32;
    let skip = if site.kind == Kind::Ordered { 0x37f8_0050 } else { 0x3500_0050 };
    fits.then_some([
        0x9000_0010 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5,
        0x3940_0210 | ((site.state & 0xfff) as u32) << 10,
        0x5100_0210 | u32::from(site.value) << 10,
        skip,
    ])
}
