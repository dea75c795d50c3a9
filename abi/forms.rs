//! The forms of every machine, by its number ([`machine`](crate::machine)).
//!
//! In line, so that for who knows the machine while he is compiled only its forms are there.

use crate::machine::{AARCH64, RISCV, X86_64};
use crate::site::{Code, Kind, Site};
use crate::{aarch64, jump, riscv64, x86_64};

/// Whether sites of this machine have forms.
#[inline]
pub const fn are_known(machine: u16) -> bool {
    matches!(machine, X86_64 | AARCH64 | RISCV)
}

/// The bytes that the compiler left at `site`; `None` if no site of its kind has its length, or if a distance does not fit.
#[inline]
pub fn checked(machine: u16, site: &Site) -> Option<Code> {
    match machine {
        X86_64 => x86_64::checked(site),
        AARCH64 => aarch64::FORMS.checked(site),
        RISCV => riscv64::FORMS.checked(site),
        _ => None,
    }
}

/// The bytes that bind `site` where it falls through; `None` as for [`checked`], for a constant and for a select.
#[inline]
pub fn falls_through(machine: u16, site: &Site) -> Option<Code> {
    match machine {
        X86_64 => x86_64::falls_through(site),
        AARCH64 => aarch64::FORMS.falls_through(site),
        RISCV => riscv64::FORMS.falls_through(site),
        _ => None,
    }
}

/// The same where it does not, with each thread's request byte so far from its thread pointer; `None` as for [`checked`], for a constant,
/// and where the machine has no such form.
#[inline]
pub fn goes(machine: u16, site: &Site, request_offset: i32) -> Option<Code> {
    match machine {
        X86_64 => x86_64::goes(site, request_offset),
        AARCH64 => aarch64::FORMS.goes(site, request_offset),
        RISCV => riscv64::FORMS.goes(site, request_offset),
        _ => None,
    }
}

/// The bytes that bind `site` to a key with this value.
#[inline]
pub fn bound(machine: u16, site: &Site, value: u8, request_offset: i32) -> Option<Code> {
    if site.falls_through(value) { falls_through(machine, site) } else { goes(machine, site, request_offset) }
}

/// The bytes that bind a constant to its number; `None` as for [`checked`], for a site that is none, and where no instruction of the
/// machine's holds the number.
#[inline]
pub fn constant(machine: u16, site: &Site, number: u64) -> Option<Code> {
    match machine {
        X86_64 => x86_64::constant(site, number),
        AARCH64 => aarch64::FORMS.constant(site, number),
        RISCV => riscv64::FORMS.constant(site, number),
        _ => None,
    }
}

/// Numbers by which it can be seen what the forms of a constant have in common: for each such form those that differ in each byte which the
/// number decides.
#[inline]
pub fn examples(machine: u16, site: &Site) -> &'static [&'static [u64]] {
    let [half, whole] = match machine {
        X86_64 => x86_64::EXAMPLES,
        AARCH64 => aarch64::FORMS.numbers.examples,
        RISCV => riscv64::FORMS.numbers.examples,
        _ => [&[] as &[&[u64]]; 2],
    };
    if site.value & jump::WIDE == 0 { half } else { whole }
}

/// Where the request byte is to which these bytes, of a slice site, store; of any other bytes, any number.
#[inline]
pub fn request_in(machine: u16, here: &[u8]) -> Option<i32> {
    match machine {
        X86_64 => here.get(5..9).map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        AARCH64 => aarch64::FORMS.request_in(here),
        RISCV => riscv64::FORMS.request_in(here),
        _ => None,
    }
}

/// How many bytes of text there must be at the target of a site of this kind.
#[inline]
pub const fn target_length(machine: u16, kind: Kind) -> u8 {
    match machine {
        AARCH64 | RISCV if !matches!(kind, Kind::Constant | Kind::Select) => jump::CHECK,
        _ => 1,
    }
}

/// How many pieces of code stand beside a site of this kind, and are no part of it, but have to be as its record says: of a select the link of
/// its chain, elsewhere the check out of line; where instructions have four bytes, in two pieces. Of a constant there it is the instruction
/// before the site.
#[inline]
pub const fn companions(machine: u16, kind: Kind) -> usize {
    match machine {
        X86_64 => matches!(kind, Kind::Select) as usize,
        AARCH64 | RISCV => match kind {
            Kind::Pointer => 0,
            Kind::Constant => 1,
            _ => 2,
        },
        _ => 0,
    }
}

/// Where one of them stands, and its bytes; `None` as for [`checked`].
#[inline]
pub fn companion(machine: u16, site: &Site, number: usize) -> Option<(u64, Code)> {
    match machine {
        X86_64 => x86_64::link(site),
        AARCH64 if site.kind == Kind::Constant => aarch64::FORMS.before(site),
        RISCV if site.kind == Kind::Constant => riscv64::FORMS.before(site),
        AARCH64 => aarch64::FORMS.check(site, number == 1),
        RISCV => riscv64::FORMS.check(site, number == 1),
        _ => None,
    }
}
