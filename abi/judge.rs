//! The judge: what a site record describes, and what stands at its site. One for the process itself, for a file, and for another
//! process; each is a [`Memory`].

use crate::record::{SiteRecord, flags};
use crate::site::{Code, Kind, Site};
use crate::state;
use crate::{forms, machine};

/// A module, in some memory.
pub trait Memory {
    /// A key of the module.
    type Key: Copy;

    /// The machine that the module is for.
    #[inline(always)]
    fn machine(&self) -> u16 {
        machine::HERE
    }

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
    if is_select(record) { isize::from(value) - isize::from(record.value) } else { 0 }
}

/// Whether a record, which [`telling`] led to, is another of the same select, for this value. `places` are where both lead.
pub fn is_of_select(of: &SiteRecord, places: [[u64; 3]; 2], value: u8) -> bool {
    let [[site, _, state], [theirs, _, their_state]] = places;
    is_select(of) && of.value == value && (site, state) == (theirs, their_state)
}

/// Whether it is one of a select's records.
fn is_select(record: &SiteRecord) -> bool {
    (record.kind, record.flags) == (Kind::Select as u8, 0)
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
    /// The check, which stands out of line, is not as the record says.
    Check,
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
            Self::Check => "the check out of line is not as the record says",
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
    let machine = memory.machine();
    if !(is_constant || memory.is_text(target, forms::target_length(machine, kind))) || !memory.is_text(address, length)
    {
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
    // Nothing else tells that the record is that of this code.
    for number in 0..forms::companions(machine, kind) {
        if !has_companion(&site, number, memory)? {
            return Err(if kind == Kind::Select { Fault::Select } else { Fault::Check });
        }
    }
    Ok((site, key))
}

/// Whether a piece of code beside the site is as its record says.
fn has_companion<M: Memory>(site: &Site, number: usize, memory: &mut M) -> Result<bool, Fault> {
    let (address, code) = forms::companion(memory.machine(), site, number).ok_or(Fault::Length)?;
    let mut bytes = [0; Code::LONGEST];
    let here = &mut bytes[..code.len()];
    if !memory.is_text(address, code.len() as u8) {
        return Err(Fault::OutsideText);
    }
    if memory.read(address, here) { Ok(are(here, Some(code))) } else { Err(Fault::Unreadable) }
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

/// Whether these bytes are those of a form.
fn are(bytes: &[u8], form: Option<Code>) -> bool {
    form.is_some_and(|form| form.write_to(&mut [0; Code::LONGEST]) == bytes)
}

/// What stands at a site with this key, whose requests go so far from each thread's pointer, if that is known.
pub fn standing<M: Memory>(site: &Site, key: M::Key, request: Option<i32>, memory: &mut M) -> Result<Standing, Fault> {
    let machine = memory.machine();
    let checked = forms::checked(machine, site).ok_or(Fault::Length)?;
    let mut bytes = [0; Code::LONGEST];
    let here = &mut bytes[..checked.len()];
    if !memory.read(site.address, here) {
        return Err(Fault::Unreadable);
    }
    let is = |form| are(here, form);
    let goes = |request| is(forms::goes(machine, site, request));
    Ok(if is(Some(checked)) {
        Standing::Checked
    } else if site.kind == Kind::Constant {
        let holds = |number| is(forms::constant(machine, site, number));
        if memory.number(key).is_some_and(holds) { Standing::FallsThrough } else { Standing::Foreign }
    } else if is(forms::falls_through(machine, site)) {
        Standing::FallsThrough
    } else if !site.kind.is_slice() || request.is_some() {
        if goes(request.unwrap_or(0)) { Standing::Goes } else { Standing::Foreign }
    } else {
        // It stands where each request goes.
        if forms::request_in(machine, here).is_some_and(goes) { Standing::Requests } else { Standing::Foreign }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Distance;
    use crate::x86_64;
    use core::ops::Range;

    /// Text of a module, which holds one site.
    struct Text {
        range: Range<u64>,
        bytes: Option<[u8; Code::LONGEST]>,
    }

    impl Memory for Text {
        type Key = u64;

        fn machine(&self) -> u16 {
            machine::X86_64
        }

        fn is_text(&mut self, address: u64, length: u8) -> bool {
            self.range.start <= address && address + u64::from(length) <= self.range.end
        }

        /// One of a branch, and one of slices.
        fn key(&mut self, state: u64) -> Option<(u64, u8)> {
            match state {
                0x5000 => Some((state, flags::PROVES)),
                0x5100 => Some((state, flags::SLICE | flags::PROVES)),
                0x5200 => Some((state, flags::SYMBOL)),
                _ => None,
            }
        }

        fn is_slot(&mut self, address: u64, length: u8) -> bool {
            address == 0x6000 && length == 8
        }

        fn is_loaded(&mut self, address: u64) -> bool {
            self.range.contains(&address)
        }

        fn number(&mut self, _: u64) -> Option<u64> {
            None
        }

        fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool {
            assert_eq!(address, SITE.address);
            self.bytes.is_some_and(|here| {
                bytes.copy_from_slice(&here[..bytes.len()]);
                true
            })
        }
    }

    const SITE: Site =
        Site { address: 0x1000, target: 0x1fff, state: 0x5000, length: 10, kind: Kind::Branch, value: 1 };
    const ENTER: Site = Site { state: 0x5100, length: 12, kind: Kind::SliceEnter, value: 0, target: 0x1020, ..SITE };
    const LEAVE: Site = Site { length: 11, kind: Kind::SliceLeave, ..ENTER };

    /// What a record says of this site, if these are its kind and flags.
    fn judged(site: &Site, kind: u8, flags: u8) -> Result<(Site, u64), Fault> {
        let nowhere = Distance::new(0);
        let (length, value) = (site.length, site.value);
        let record = SiteRecord { site: nowhere, target: nowhere, state: nowhere, length, kind, value, flags };
        let mut text = Text { range: 0x1000..0x2000, bytes: None };
        super::site(&record, [site.address, site.target, site.state], &mut text)
    }

    #[test]
    fn a_record_describes_a_site() {
        for site in [SITE, ENTER, LEAVE, Site { state: 0x5100, ..SITE }, Site { address: 0x1ff6, ..SITE }] {
            assert_eq!(judged(&site, site.kind as u8, 0), Ok((site, site.state)));
        }
        for kind in [0, 7, 255] {
            assert_eq!(judged(&SITE, kind, 0), Err(Fault::Kind), "{kind}");
        }
        for (kind, flags) in [(1, 2), (2, 1), (4, 1)] {
            assert_eq!(judged(&SITE, kind, flags), Err(Fault::Kind), "flags are for a later version");
        }
        let pointer = Site { address: 0x6000, state: 0x5200, length: 8, kind: Kind::Pointer, ..SITE };
        assert_eq!(judged(&pointer, 4, 0), Ok((pointer, 0x5200)));
        for (wrong, why) in [
            (Site { address: 0x1000, ..pointer }, Fault::NoSlot),
            (Site { length: 4, ..pointer }, Fault::NoSlot),
            (Site { target: 0x2000, ..pointer }, Fault::NoSlot),
            (Site { state: 0x5000, ..pointer }, Fault::WrongKey),
            (Site { state: 0x5001, ..pointer }, Fault::NoKey),
        ] {
            assert_eq!(judged(&wrong, 4, 0), Err(why), "{wrong:x?}");
        }
        assert_eq!(judged(&Site { length: 7, ..SITE }, 5, 0), Err(Fault::WrongNumber));
        for outside in [
            Site { address: 0xfff, ..SITE },
            Site { address: 0x1ff7, ..SITE },
            Site { target: 0xfff, ..SITE },
            Site { target: 0x2000, ..SITE },
        ] {
            assert_eq!(judged(&outside, 1, 0), Err(Fault::OutsideText), "{outside:x?}");
        }
        assert_eq!(judged(&Site { state: 0x5001, ..SITE }, 1, 0), Err(Fault::NoKey));
        for slice in [ENTER, LEAVE] {
            for wrong in [Site { state: 0x5000, ..slice }, Site { value: 1, ..slice }] {
                assert_eq!(judged(&wrong, slice.kind as u8, 0), Err(Fault::WrongKey), "{wrong:x?}");
            }
        }
    }

    #[test]
    fn what_stands_there_is_told() {
        let stands = |site: &Site, code: Option<Code>, request| {
            let mut bytes = [0; Code::LONGEST];
            code.expect("a form").write_to(&mut bytes);
            standing(site, 0, request, &mut Text { range: 0..0, bytes: Some(bytes) })
        };
        let branch = Site { target: 0x1020, ..SITE };
        for site in [branch, Site { value: 0, ..branch }, ENTER, LEAVE] {
            for request in [None, Some(0x12), Some(-0x34)] {
                let stands = |code| stands(&site, code, request);
                assert_eq!(stands(x86_64::checked(&site)), Ok(Standing::Checked));
                assert_eq!(stands(x86_64::bound(&site, site.value, 0)), Ok(Standing::FallsThrough));
                assert_eq!(stands(x86_64::checked(&Site { state: 0x5200, ..site })), Ok(Standing::Foreign));
                let another = site.value ^ 1;
                let goes = stands(x86_64::bound(&site, another, request.unwrap_or(0x7654_3210)));
                let is_known = site.kind == Kind::Branch || request.is_some();
                assert_eq!(goes, Ok(if is_known { Standing::Goes } else { Standing::Requests }), "{site:x?}");
                if site.kind != Kind::Branch && is_known {
                    assert_eq!(
                        stands(x86_64::bound(&site, another, 0x7654_3210)),
                        Ok(Standing::Foreign),
                        "another byte"
                    );
                }
            }
        }
        let unreadable = |site| standing(site, 0, None, &mut Text { range: 0..0, bytes: None });
        assert_eq!(unreadable(&branch), Err(Fault::Unreadable));
        assert_eq!(unreadable(&SITE), Err(Fault::Length), "the target is too far");
    }

    #[test]
    fn a_form_is_for_values() {
        for (standing, is) in [
            (Standing::FallsThrough, [false, true, false]),
            (Standing::Goes, [true, false, true]),
            (Standing::Requests, [false; 3]),
            (Standing::Checked, [false; 3]),
            (Standing::Foreign, [false; 3]),
        ] {
            assert_eq!([0, 1, 2].map(|value| standing.is_for(&SITE, value)), is, "{standing:?}");
        }
    }
}
