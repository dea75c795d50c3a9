//! The judge: what a site record describes, and what stands at its site. One for the process itself, for a file, and for another
//! process; each is a [`Memory`].

use crate::record::{SiteRecord, flags};
use crate::site::{Code, Kind, Site};
use crate::state;
use crate::x86_64;

/// A module, in some memory.
pub trait Memory {
    /// A key of the module.
    type Key: Copy;

    /// Whether this range lies whole in one segment of the module's text.
    fn is_text(&mut self, address: u64, length: u8) -> bool;

    /// The key whose state is at this address, and the flags of its record.
    fn key(&mut self, state: u64) -> Option<(Self::Key, u8)>;

    /// Whether a slot of this length can be here: an aligned word, in a segment that is writable as it is linked, and not executable.
    fn is_slot(&mut self, address: u64, length: u8) -> bool;

    /// Whether this address lies in a segment of the module.
    fn is_loaded(&mut self, address: u64) -> bool;

    /// The number that a constant was sealed with.
    fn number(&mut self, key: Self::Key) -> Option<u64>;

    /// Reads text; `false` if it cannot be read.
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool;
}

/// Where the record is that tells how the site of this one is bound, whose key has this value: so many records on. That of a select
/// stands among those for the other values; any other site has one.
pub fn telling(record: &SiteRecord, value: u8) -> isize {
    match Kind::of(record.kind, record.flags) {
        Some(Kind::Select) => isize::from(value) - isize::from(record.value),
        _ => 0,
    }
}

/// Whether a record, which [`telling`] led to, is another of the same select, for this value. `places` are where both lead.
pub fn is_of_select(of: &SiteRecord, places: [[u64; 3]; 2], value: u8) -> bool {
    let [[site, _, state], [theirs, _, their_state]] = places;
    Kind::of(of.kind, of.flags) == Some(Kind::Select) && of.value == value && (site, state) == (theirs, their_state)
}

/// What is wrong with a site record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A kind, or flags, that this version of the ABI does not have, or that this version of the runtime leaves alone.
    Kind,
    /// The site or its target does not lie in the module's text. A linker that discards a function but not its
    /// record leaves such records; they do no harm.
    OutsideText,
    /// No key of the module has its state where the record says.
    NoKey,
    /// A slice site that depends on a key of another sort, or on another value than the first; or a pointer that depends on a key
    /// which is not decided as those of pointers are.
    WrongKey,
    /// A constant whose key has no number, or whose number is another than its key's.
    WrongNumber,
    /// A select whose records do not stand one behind the other, from value to value, or say something else than the code.
    Select,
    /// No site of this kind has this length, or its target is out of reach.
    Length,
    /// The site's text may be executed, but not read, so that it cannot be verified.
    Unreadable,
    /// A pointer's slot is no aligned word of the module's data, or its target lies outside the module.
    NoSlot,
    /// No record says where the pointer leads as it is linked.
    NoFallback,
}

impl Fault {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Kind => "unknown kind or flags",
            Self::OutsideText => "site or target outside the module's text",
            Self::NoKey => "no key has its state there",
            Self::WrongKey => "no site of this kind can depend on this key",
            Self::WrongNumber => "its number is not its key's",
            Self::Select => {
                "it is not as the code behind the site says, or the record for the key's value is not in its place"
            }
            Self::Length => "no site of this kind has this length",
            Self::Unreadable => "its text cannot be read",
            Self::NoSlot => "slot outside the module's data, or target outside the module",
            Self::NoFallback => "no record for its first value",
        }
    }
}

/// The site that a record describes, whose distances lead to these places (site, target and state), and its key.
pub fn site<M: Memory>(record: &SiteRecord, places: [u64; 3], memory: &mut M) -> Result<(Site, M::Key), Fault> {
    if record.kind == Kind::Pointer as u8 { pointer(record, places, memory) } else { code(record, places, memory) }
}

/// The same, where it is no pointer.
pub fn code<M: Memory>(record: &SiteRecord, places: [u64; 3], memory: &mut M) -> Result<(Site, M::Key), Fault> {
    let [address, target, state] = places;
    let (length, value) = (record.length, record.value);
    let is_code = |kind: &Kind| *kind != Kind::Pointer;
    let kind = Kind::of(record.kind, record.flags).filter(is_code).ok_or(Fault::Kind)?;
    let is_constant = kind == Kind::Constant;
    if !(is_constant || memory.is_text(target, 1)) || !memory.is_text(address, length) {
        return Err(Fault::OutsideText);
    }
    let (key, key_flags) = memory.key(state).ok_or(Fault::NoKey)?;
    // The checked forms of a branch and a slice enter are alike: only the key tells them apart.
    if kind.is_slice() && (key_flags & flags::SLICE == 0 || value != 0) {
        return Err(Fault::WrongKey);
    }
    if is_constant && (key_flags & flags::NUMBER == 0 || target != state.wrapping_add(state::NUMBER as u64)) {
        return Err(Fault::WrongNumber);
    }
    let site = Site { address, target, state, length, kind, value };
    // Its checked form says nothing of what the record says.
    if kind == Kind::Select && !has_link(&site, memory)? {
        return Err(Fault::Select);
    }
    Ok((site, key))
}

/// Whether the chain behind a select is as its record says.
fn has_link<M: Memory>(site: &Site, memory: &mut M) -> Result<bool, Fault> {
    let (address, link) = x86_64::link(site).ok_or(Fault::Length)?;
    let (mut expected, mut bytes) = ([0; Code::LONGEST], [0; Code::LONGEST]);
    let (expected, here) = (link.write_to(&mut expected), &mut bytes[..link.len()]);
    if !memory.is_text(address, link.len() as u8) {
        return Err(Fault::OutsideText);
    }
    if memory.read(address, here) { Ok(here == expected) } else { Err(Fault::Unreadable) }
}

/// The slot that a pointer's record describes.
pub fn pointer<M: Memory>(record: &SiteRecord, places: [u64; 3], memory: &mut M) -> Result<(Site, M::Key), Fault> {
    let [address, target, state] = places;
    let (length, value, kind) = (record.length, record.value, Kind::Pointer);
    if record.kind != kind as u8 || record.flags != 0 {
        return Err(Fault::Kind);
    }
    if !memory.is_slot(address, length) || !memory.is_loaded(target) {
        return Err(Fault::NoSlot);
    }
    let (key, key_flags) = memory.key(state).ok_or(Fault::NoKey)?;
    let site = Site { address, target, state, length, kind, value };
    if key_flags & flags::SYMBOL != 0 { Ok((site, key)) } else { Err(Fault::WrongKey) }
}

/// What stands at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The form that the compiler left.
    Checked,
    /// The one for the record's value.
    FallsThrough,
    /// The one for all other values.
    Goes,
    /// The same, but that requests go to a byte of which nothing is known.
    Requests,
    /// Something else.
    Foreign,
}

impl Standing {
    /// Whether it is the form for this value of the site's key.
    pub fn is_for(self, site: &Site, value: u8) -> bool {
        self == if site.falls_through(value) { Self::FallsThrough } else { Self::Goes }
    }
}

/// What stands at a site of x86-64 with this key, whose requests go so far from each thread's pointer, if that is known.
pub fn standing<M: Memory>(site: &Site, key: M::Key, request: Option<i32>, memory: &mut M) -> Result<Standing, Fault> {
    let checked = x86_64::checked(site).ok_or(Fault::Length)?;
    let mut bytes = [0; Code::LONGEST];
    let here = &mut bytes[..checked.len()];
    if !memory.read(site.address, here) {
        return Err(Fault::Unreadable);
    }
    let is = |form: Option<Code>| form.is_some_and(|form| form.write_to(&mut [0; Code::LONGEST]) == here);
    let goes = |request| is(x86_64::goes(site, request));
    Ok(if is(Some(checked)) {
        Standing::Checked
    } else if site.kind == Kind::Constant {
        let holds = |number| is(x86_64::constant(site, number));
        if memory.number(key).is_some_and(holds) { Standing::FallsThrough } else { Standing::Foreign }
    } else if is(x86_64::falls_through(site)) {
        Standing::FallsThrough
    } else if !site.kind.is_slice() || request.is_some() {
        if goes(request.unwrap_or(0)) { Standing::Goes } else { Standing::Foreign }
    } else {
        // It stands where each request goes.
        let place = u32::from_le_bytes([here[5], here[6], here[7], here[8]]) as i32;
        if goes(place) { Standing::Requests } else { Standing::Foreign }
    })
}
