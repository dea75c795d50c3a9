//! The forms of machines whose instructions have four bytes. A site is one of them, aligned, and the check stands out of line:
//!
//! | | site | goes to |
//! |---|---|---|
//! | checked | jump | the check |
//! | bound, the site falls through | nop | |
//! | bound, it does not | jump | the last instruction of the check |
//! | select, checked | nop | |
//! | select, bound | jump | the target of the record for the key's value |
//! | constant, checked | load of the number | |
//! | constant, bound | the number moved into the register, if one instruction can | |
//!
//! A site of a critical section has more, where the machine has instructions for requests:
//!
//! | | enter | leave |
//! |---|---|---|
//! | checked | two jumps to the check | four |
//! | bound, the site falls through | two nops | four |
//! | bound, it does not | load 1, store it as the request | store 0 as the request, load the grant, skip the next if that is 0, jump to the check's last |
//!
//! The record's target is the check, of six instructions: two load the state, one subtracts the value (or loads it), one skips the next if the
//! site is not to fall through, one jumps back behind the site, and the last one jumps to where the site goes. The first five can
//! be built from the record, and are compared before the site is bound. Where the last one leads no record says: a bound site
//! goes there by way of it.
//!
//! Behind a select stands its chain, with a link for each value: the first five instructions of a check for that value, of which the fifth jumps
//! to the record's target.
//!
//! The instruction before a constant is the first half of the number's address, in the register that the load is to overwrite. It stays.
//!
//! One aligned instruction takes the place of another one. No thread is ever inside, and none has to be told: the check and the chain mean
//! the same for as long as the module is there. In the checked form of a longer site each instruction is that jump, and none behind the
//! first is ever reached. So any of them may be exchanged before the others are: whoever runs from bound ones into one that is not finds
//! the check, which begins the site anew. To make a request, or to take it back, twice is as good as once.

use crate::site::{Code, Kind, Site};

/// How a machine encodes them.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// An instruction that does nothing.
    pub(crate) nop: u32,
    /// One that jumps from here to there, if that is not too far.
    pub(crate) jump: fn(u64, u64) -> Option<u32>,
    /// The first four instructions of a check at a site's target, if the site's state is not too far.
    pub(crate) check: fn(&Site) -> Option<[u32; 4]>,
    /// `None` on a machine whose critical sections are bound to nothing.
    pub(crate) requests: Option<Requests>,
    pub(crate) numbers: Numbers,
}

/// How a machine loads a constant's number into a register, and how it moves it there.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The instruction before a constant's site, and the one that stands there, if the number is not too far.
    pub(crate) load: fn(&Site, u32) -> Option<[u32; 2]>,
    /// One that moves a number into a register, if there is one.
    pub(crate) immediate: fn(u32, u64) -> Option<u32>,
    /// The number, of five bits, that is no register's that can be loaded.
    pub(crate) no_register: u8,
    /// For each instruction that moves a number, numbers that differ in each byte which is not the instruction's alone; of a register's
    /// lower 32 bits, and of 64.
    pub(crate) examples: [&'static [&'static [u64]]; 2],
}

/// How a machine asks for time. Each function is told how far the request byte is from the thread pointer, and gives nothing where its
/// instructions do not reach as far.
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    /// Loads 1, and stores it there.
    pub(crate) enter: fn(i32) -> Option<[u32; 2]>,
    /// Stores 0 there, loads the byte behind it, and skips the next instruction if that is 0: in this order (Linux,
    /// Documentation/userspace-api/rseq.rst).
    pub(crate) leave: fn(i32) -> Option<[u32; 3]>,
    /// What one of these stores was told.
    pub(crate) stored: fn(u32) -> i32,
}

/// Of an instruction, and of most sites.
const LENGTH: u8 = 4;
/// Of the sites of a critical section on a machine with requests.
const ENTER: u8 = 8;
const LEAVE: u8 = 16;
/// Of a check.
pub const CHECK: u8 = 24;
/// Where in the check the jump stands that leads to where the site goes.
pub const LAST: u64 = 20;
/// How long a link of a select's chain is.
const LINK: u64 = 20;
/// In the value of a constant's record: its register has 64 bits of the number, and not the lower 32.
pub(crate) const WIDE: u8 = 32;

impl Encoding {
    /// The bytes that the compiler left at `site`; `None` if there is no site of its kind and length, or if a distance does not fit.
    pub fn checked(&self, site: &Site) -> Option<Code> {
        if site.kind == Kind::Constant {
            return self.load(site).map(|[_, load]| code([load, 0, 0, 0], LENGTH));
        }
        let place = self.place(site)?;
        if site.kind == Kind::Select {
            return Some(code([self.nop; MOST], site.length));
        }
        let mut words = [0; MOST];
        for (word, from) in words.iter_mut().zip((place..).step_by(LENGTH.into())).take(count(site)) {
            *word = (self.jump)(from, site.target)?;
        }
        Some(code(words, site.length))
    }

    /// The bytes that bind `site` where it falls through; no select does.
    pub fn falls_through(&self, site: &Site) -> Option<Code> {
        self.place(site).filter(|_| site.kind != Kind::Select).map(|_| code([self.nop; MOST], site.length))
    }

    /// The bytes that bind `site` where it does not, with each thread's request byte so far from its thread pointer.
    pub fn goes(&self, site: &Site, request_offset: i32) -> Option<Code> {
        let place = self.place(site)?;
        let to_last = |from: u64| (self.jump)(from, site.target.wrapping_add(LAST));
        let words = match site.kind {
            Kind::SliceEnter => {
                let [load, store] = (self.requests?.enter)(request_offset)?;
                [load, store, 0, 0]
            }
            Kind::SliceLeave => {
                let [store, load, skip] = (self.requests?.leave)(request_offset)?;
                [store, load, skip, to_last(place.wrapping_add(12))?]
            }
            Kind::Select => [(self.jump)(place, site.target)?, 0, 0, 0],
            _ => [to_last(place)?, 0, 0, 0],
        };
        Some(code(words, site.length))
    }

    /// The bytes that bind a constant to its number; `None` as for [`checked`](Self::checked), for a site that is none, and where no
    /// instruction holds the number.
    pub fn constant(&self, site: &Site, number: u64) -> Option<Code> {
        self.load(site)?;
        let number = if site.value & WIDE == 0 { number & u64::from(u32::MAX) } else { number };
        let immediate = (self.numbers.immediate)(u32::from(site.value & !WIDE), number)?;
        Some(code([immediate, 0, 0, 0], LENGTH))
    }

    /// The instruction before a constant's site.
    pub fn before(&self, site: &Site) -> Option<(u64, Code)> {
        let [address, _] = self.load(site)?;
        Some((site.address.wrapping_sub(LENGTH.into()), code([address, 0, 0, 0], LENGTH)))
    }

    fn load(&self, site: &Site) -> Option<[u32; 2]> {
        let is_site = site.kind == Kind::Constant
            && site.length == LENGTH
            && site.address.is_multiple_of(LENGTH.into())
            && site.target.is_multiple_of(8)
            && site.value < 2 * WIDE
            && site.value & !WIDE != self.numbers.no_register;
        if is_site { (self.numbers.load)(site, u32::from(site.value & !WIDE)) } else { None }
    }

    /// Where the request byte is to which these bytes, of a slice site, store; of any other bytes, any number.
    pub fn request_in(&self, here: &[u8]) -> Option<i32> {
        let store = if here.len() == usize::from(ENTER) { here.last_chunk() } else { here.first_chunk() };
        Some((self.requests?.stored)(u32::from_le_bytes(*store?)))
    }

    /// The check, but for its last instruction, or a select's link for this record: where the first four instructions stand, or the fifth,
    /// and they.
    pub fn check(&self, site: &Site, is_fifth: bool) -> Option<(u64, Code)> {
        let behind = self.place(site)?.wrapping_add(site.length.into());
        let (start, to) = match site.kind {
            Kind::Select => (behind.wrapping_add(LINK * u64::from(site.value)), site.target),
            _ => (site.target, behind),
        };
        if is_fifth {
            let place = start.wrapping_add(LAST - 4);
            return (self.jump)(place, to).map(|jump| (place, code([jump, 0, 0, 0], LENGTH)));
        }
        Some((start, code((self.check)(&Site { target: start, ..*site })?, 16)))
    }

    /// Where the site is, if there is one of its kind and length.
    fn place(&self, site: &Site) -> Option<u64> {
        let length = match site.kind {
            Kind::SliceEnter if self.requests.is_some() => ENTER,
            Kind::SliceLeave if self.requests.is_some() => LEAVE,
            Kind::Constant | Kind::Pointer => return None,
            _ => LENGTH,
        };
        let target = if site.kind == Kind::Select { 0 } else { site.target };
        let is_aligned = (site.address | target).is_multiple_of(LENGTH.into());
        (site.length == length && is_aligned).then_some(site.address)
    }
}

/// The most instructions of a site.
const MOST: usize = 4;

/// How many it has.
fn count(site: &Site) -> usize {
    usize::from(site.length / LENGTH)
}

/// As many of these as the length has.
fn code(words: [u32; MOST], length: u8) -> Code {
    let [a, b, c, d] = words.map(u64::from);
    match length {
        LENGTH => Code::short(a, length),
        ENTER => Code::short(a | b << 32, length),
        _ => Code::long(a | b << 32, c | d << 32, length),
    }
}
