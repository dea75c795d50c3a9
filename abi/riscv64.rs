//! The instructions of RISC-V, of 64 bits, that [`jump`](crate::jump)'s forms are made of. None of them is a compressed one.
//!
//! | check | |
//! |---|---|
//! | `auipc t6, state` | |
//! | `lbu t6, state(t6)` | |
//! | `li t5, value` | `addi t5, zero, value` |
//! | `bne t5, t6, . + 8` | of an ordered branch: `bltu t6, t5, . + 8` |
//! | `j site + 4` | |
//! | `j` | to where the site goes |
//!
//! | request | | taken back | |
//! |---|---|---|---|
//! | `li t6, 1` | `addi t6, zero, 1` | `sb zero, request(tp)` | |
//! | `sb t6, request(tp)` | | `lbu t6, request + 1(tp)` | |
//! | | | `beqz t6, . + 8` | `beq t6, zero, . + 8` |
//! | | | `j` | to the last instruction of the check |
//!
//! | constant | bound | |
//! |---|---|---|
//! | `auipc r, number` | | before the site |
//! | `lwu r, number(r)` | `addi r, zero, 12 bits` | or `lui r, 20 bits << 12` |
//! | `ld r, number(r)` | the same | |
//!
//! Source of the encodings: The RISC-V Instruction Set Manual, volume I, chapters 2.2 to 2.6.

use crate::jump::{Encoding, Numbers, Requests, WIDE};
use crate::site::{Kind, Site};

/// How they are encoded.
pub const FORMS: Encoding = Encoding {
    nop: 0x0000_0013,
    jump,
    check,
    requests: Some(Requests { enter, leave, stored }),
    // 0 is `zero`.
    numbers: Numbers { load, immediate, no_register: 0, examples: [MOVED, MOVED] },
};
const MOVED: &[&[u64]] = &[&[0, 0x7ff], &[0x1000, 0x7fff_f000]];

/// `jal zero`: as far as 1 MiB.
fn jump(from: u64, to: u64) -> Option<u32> {
    let distance = to.wrapping_sub(from) as i64;
    let fits = distance % 2 == 0 && (-(1 << 20)..1 << 20).contains(&distance);
    let bits = |from: u32, count: u32| (distance >> from) as u32 & ((1 << count) - 1);
    fits.then_some(0x6f | bits(20, 1) << 31 | bits(1, 10) << 21 | bits(11, 1) << 20 | bits(12, 8) << 12)
}

/// What `auipc` adds, and what the load after it does: they reach as far as 2 GiB, and 2 KiB less above.
fn halves(from: u64, to: u64) -> Option<(u32, u32)> {
    let distance = i32::try_from(to.wrapping_sub(from) as i64).ok()?;
    // The load's part has a sign.
    let high = distance.checked_add(0x800)? as u32 & 0xffff_f000;
    Some((high, (distance as u32).wrapping_sub(high) & 0xfff))
}

fn check(site: &Site) -> Option<[u32; 4]> {
    let (high, low) = halves(site.target, site.state)?;
    let skip = if site.kind == Kind::Ordered { 0x01ef_e463 } else { 0x01ff_1463 };
    Some([0x0000_0f97 | high, 0x000f_cf83 | low << 20, 0x0000_0f13 | u32::from(site.value) << 20, skip])
}

fn enter(request: i32) -> Option<[u32; 2]> {
    Some([0x0010_0f93, store(0x01f0_0000, request)?])
}

fn leave(request: i32) -> Option<[u32; 3]> {
    let granted = request.checked_add(1).filter(|&granted| reaches(granted))?;
    Some([store(0, request)?, 0x0002_4f83 | (granted as u32) << 20, 0x000f_8463])
}

/// `sb register, request(tp)`.
fn store(register: u32, request: i32) -> Option<u32> {
    let bits = request as u32;
    reaches(request).then_some(0x0002_0023 | register | (bits >> 5 & 0x7f) << 25 | (bits & 0x1f) << 7)
}

/// The request of such a store: the immediate has a sign.
fn stored(instruction: u32) -> i32 {
    (instruction as i32 >> 25 << 5) | (instruction >> 7 & 0x1f) as i32
}

/// Loads and stores reach as far as 2 KiB.
fn reaches(distance: i32) -> bool {
    (-0x800..0x800).contains(&distance)
}

fn load(site: &Site, register: u32) -> Option<[u32; 2]> {
    let (high, low) = halves(site.address.wrapping_sub(4), site.target)?;
    let load = if site.value & WIDE == 0 { 0x0000_6003 } else { 0x0000_3003 };
    Some([0x0000_0017 | high | register << 7, load | low << 20 | register << 15 | register << 7])
}

/// `addi register, zero` or `lui`, of which each has a sign.
fn immediate(register: u32, number: u64) -> Option<u32> {
    let number = i32::try_from(number as i64).ok()?;
    if reaches(number) {
        return Some(0x0000_0013 | (number as u32) << 20 | register << 7);
    }
    (number & 0xfff == 0).then_some(0x0000_0037 | number as u32 | register << 7)
}
