//! What a key is before it is decided, meanwhile and afterwards: its state, which becomes its verdict. `docs/site-abi.md` gives the
//! layout; the numbers are `invar-abi`'s.
#![allow(unsafe_code)]

use crate::text::{Evidence, Sink};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use invar_abi as abi;
use invar_abi::state::{DECIDING, SEALED, UNDECIDED};
use invar_abi::{KeyRecord, Origin};
use invar_arch::AtomicU64;

/// A decided key's value and the reason for it.
///
/// 256 bytes; `docs/site-abi.md` gives the layout. A probe receives one to fill in, and every module's key states
/// have the same layout, so that the other modules of the process can read them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Verdict {
    pub(crate) value: u8,
    status: u8,
    pub(crate) origin: u8,
    reserved: u8,
    sets: u32,
    /// What bound code needs beside the value: of the time slice key, where each thread's area lies (`docs/site-abi.md`); of a
    /// constant, its number.
    pub(crate) data: u64,
    pub(crate) evidence: Evidence,
}

impl Verdict {
    pub(crate) const fn undecided() -> Self {
        Self { value: 0, status: 0, origin: 0, reserved: 0, sets: 0, data: 0, evidence: Evidence::new() }
    }

    /// Begins anew, without evidence, and without what a probe may have left in the rest of it.
    #[cold]
    #[inline(never)]
    pub(crate) fn start(&mut self, value: u8, origin: Origin) {
        *self = Self::undecided();
        (self.value, self.origin) = (value, origin as u8);
    }

    /// Nothing was decided, for this reason: the first value.
    #[cold]
    #[inline(never)] // at so many places
    pub(crate) fn fail(&mut self, reason: &str) {
        self.start(0, Origin::Failed);
        self.evidence.text(reason);
    }

    /// How often a switch was set since it was decided; the count begins anew after 2^32.
    pub fn sets(&self) -> u32 {
        self.sets
    }

    /// Whether it was copied from a state.
    pub(crate) fn is_copy(&self) -> bool {
        self.status == SEALED
    }

    /// From now on it is none.
    pub(crate) fn disown(&mut self) {
        self.status = 0;
    }

    /// Position of the value among its type's names.
    pub fn value(&self) -> u8 {
        self.value
    }

    /// Who decided.
    pub fn origin(&self) -> Origin {
        Origin::from_byte(self.origin)
    }

    /// Why, in words.
    pub fn evidence(&self) -> &str {
        self.evidence.as_str()
    }
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Verdict")
            .field("value", &self.value)
            .field("origin", &self.origin())
            .field("evidence", &self.evidence)
            .finish()
    }
}

/// A verdict in the making: what stands behind a [`Key`], and what sites compare with. Zero is undecided.
#[repr(C)]
pub(crate) struct State {
    value: AtomicU8,
    status: AtomicU8,
    origin: AtomicU8,
    reserved: u8,
    /// While the key is being decided: a number from 1 on, which is higher for what was begun later; and [`GIVEN_UP`], which
    /// other threads set. 0 from [`settle`](Self::settle) on. Of a sealed switch: how often it was set.
    order: AtomicU32,
    /// While the key is being decided: by which thread. Then the verdict's.
    data: AtomicU64,
    /// While the key is being decided: the name of a key in whose probe it was asked for. Then the verdict's.
    evidence: UnsafeCell<Evidence>,
}

/// In a state's `order`: a thread that waited for the key has gone on with the first value, so that it must be that.
const GIVEN_UP: u32 = 1 << 31;

// SAFETY: the cells are written and read only by the thread that moved `status` from UNDECIDED to DECIDING, until it moves
// on to SEALED; and read by those that saw SEALED with acquire ordering, after which nobody writes any more.
unsafe impl Sync for State {}

const _: () = {
    use abi::state::{DATA, EVIDENCE, EVIDENCE_LENGTH, LENGTH, ORIGIN, STATUS, VALUE};
    assert!(size_of::<State>() == LENGTH && size_of::<Verdict>() == LENGTH);
    assert!(offset_of!(State, value) == VALUE && offset_of!(Verdict, value) == VALUE);
    assert!(offset_of!(State, status) == STATUS && offset_of!(Verdict, status) == STATUS);
    assert!(offset_of!(State, origin) == ORIGIN && offset_of!(Verdict, origin) == ORIGIN);
    assert!(offset_of!(State, data) == DATA && offset_of!(Verdict, data) == DATA);
    assert!(offset_of!(State, evidence) == EVIDENCE_LENGTH && offset_of!(Verdict, evidence) == EVIDENCE_LENGTH);
    assert!(size_of::<Evidence>() == LENGTH - EVIDENCE_LENGTH && EVIDENCE - EVIDENCE_LENGTH == 2);
};

impl State {
    pub(crate) const fn new() -> Self {
        Self {
            value: AtomicU8::new(0),
            status: AtomicU8::new(UNDECIDED),
            origin: AtomicU8::new(0),
            reserved: 0,
            order: AtomicU32::new(0),
            data: AtomicU64::new(0),
            evidence: UnsafeCell::new(Evidence::new()),
        }
    }

    /// The key's value as sites see it.
    #[inline]
    pub(crate) fn value(&self) -> u8 {
        self.value.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn decided(&self) -> bool {
        self.status.load(Ordering::Acquire) == SEALED
    }

    /// The verdict's data, once the value can be seen to be another than the first.
    #[cfg(feature = "timeslice")]
    #[inline]
    pub(crate) fn data(&self) -> Option<u64> {
        (self.value.load(Ordering::Acquire) != 0).then(|| self.data.load(Ordering::Relaxed))
    }

    /// The number of a constant's sealed verdict.
    pub(crate) fn number(&self) -> Option<u64> {
        self.decided().then(|| self.data.load(Ordering::Relaxed))
    }

    /// Whether somebody has begun to decide.
    pub(crate) fn begun(&self) -> bool {
        self.status.load(Ordering::Acquire) != UNDECIDED
    }

    /// Whether somebody is at it.
    pub(crate) fn is_being_decided(&self) -> bool {
        self.status.load(Ordering::Acquire) == DECIDING
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let mut verdict = Verdict::undecided();
        self.copy(&mut verdict).then_some(verdict)
    }

    /// Value and origin of a sealed verdict.
    pub(crate) fn outcome(&self) -> Option<(u8, u8)> {
        self.decided().then(|| (self.value(), self.origin.load(Ordering::Relaxed)))
    }

    /// Copies a sealed verdict; false, and nothing is copied, if it is not sealed.
    #[cold]
    pub(crate) fn copy(&self, verdict: &mut Verdict) -> bool {
        let sealed = self.decided();
        if sealed {
            verdict.value = self.value();
            verdict.data = self.data.load(Ordering::Relaxed);
            verdict.sets = self.order.load(Ordering::Relaxed);
            verdict.origin = self.origin.load(Ordering::Relaxed);
            // SAFETY: sealed, so nobody writes.
            verdict.evidence.clone_from(unsafe { &*self.evidence.get() });
            verdict.evidence.limit();
            verdict.status = SEALED;
        }
        sealed
    }

    /// Takes the right to decide for this thread. If the thread gets it, it must call [`seal`](Self::seal). `order` is from 1
    /// on, and higher for what is begun later.
    #[cold]
    pub(crate) fn begin(&self, thread: u64, order: u32) -> bool {
        // A record that leads into somebody else's memory would have us write there.
        let bytes = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: in bounds. Volatile, since this may be no state at all.
        let blank = (0..size_of::<Self>()).all(|at| unsafe { bytes.add(at).read_volatile() } == 0);
        if !blank {
            return false;
        }
        let ours = self.status.compare_exchange(UNDECIDED, DECIDING, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if ours {
            self.order.store(order, Ordering::Relaxed);
            self.data.store(thread, Ordering::Relaxed);
        }
        ours
    }

    /// What [`begin`](Self::begin) was given, where this thread is deciding the key.
    pub(crate) fn begun_by(&self, thread: u64) -> Option<u32> {
        let ours = self.status.load(Ordering::Relaxed) == DECIDING && self.data.load(Ordering::Relaxed) == thread;
        ours.then(|| self.order.load(Ordering::Relaxed) & !GIVEN_UP)
    }

    /// For a thread that will wait no longer for the one that decides: whether the key's value is the first from now on. It
    /// is not where that thread is about to seal it.
    pub(crate) fn give_up(&self) -> bool {
        let given_up = |order| if order == 0 { None } else { Some(order | GIVEN_UP) };
        self.order.fetch_update(Ordering::Relaxed, Ordering::Relaxed, given_up).is_ok()
    }

    /// Whether some thread has given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.order.load(Ordering::Relaxed) & GIVEN_UP != 0
    }

    /// For the thread that is deciding, which is about to seal: whether the value must be the first. No thread gives up later.
    pub(crate) fn settle(&self) -> bool {
        self.order.swap(0, Ordering::Relaxed) & GIVEN_UP != 0
    }

    /// Notes the name of a key in whose probe this one, which this thread is deciding, was asked for.
    pub(crate) fn note_cycle(&self, thread: u64, name: &[u8]) {
        if self.begun_by(thread).is_some() {
            // SAFETY: this thread is deciding the key, so the cell is its own.
            unsafe { *self.evidence.get() = Evidence::new() };
            // SAFETY: as above.
            unsafe { (*self.evidence.get()).put(name) };
        }
    }

    /// Copies what was noted of a key that this thread is deciding; empty where nothing was.
    pub(crate) fn cycle(&self, thread: u64) -> Evidence {
        match self.begun_by(thread) {
            // SAFETY: as above.
            Some(_) => unsafe { *self.evidence.get() },
            None => Evidence::new(),
        }
    }

    /// Decides, for the rest of the process's life. Without the right that [`begin`](Self::begin) gives, nothing happens.
    ///
    /// The value is stored last: a thread that sees it sees the verdict's data too, which says where requests go.
    #[cold]
    pub(crate) fn seal(&self, verdict: &Verdict) {
        if self.status.load(Ordering::Relaxed) != DECIDING {
            return;
        }
        self.data.store(verdict.data, Ordering::Relaxed);
        self.origin.store(verdict.origin, Ordering::Relaxed);
        // SAFETY: DECIDING, so the cell is the caller's alone.
        unsafe { *self.evidence.get() = verdict.evidence };
        self.value.store(verdict.value, Ordering::Release);
        self.status.store(SEALED, Ordering::Release);
    }
}

/// The state of a constant, and its number: until the key is sealed the one that its file has, from then on that of the verdict.
#[repr(C)]
pub(crate) struct Numbered {
    pub(crate) state: State,
    pub(crate) number: AtomicU64,
}

const _: () = {
    use abi::state::{NUMBER, NUMBER_LENGTH};
    assert!(offset_of!(Numbered, number) == NUMBER && size_of::<Numbered>() == NUMBER + NUMBER_LENGTH);
};

#[cfg(feature = "switch")]
impl State {
    /// How often a sealed switch was set.
    pub(crate) fn sets(&self) -> u32 {
        self.order.load(Ordering::Relaxed)
    }

    /// Gives a sealed switch another value. Its evidence stays: it says why the first value was chosen.
    #[cold]
    pub(crate) fn set(&self, value: u8, origin: Origin) {
        self.value.store(value, Ordering::Release);
        self.origin.store(origin as u8, Ordering::Relaxed);
        self.order.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether only keys of the runtime's own may have this name.
pub(crate) const fn is_reserved(name: &[u8]) -> bool {
    matches!(name, b"slice" | [b's', b'l', b'i', b'c', b'e', b'.', ..] | [b'c', b'p', b'u', b'.', ..])
}

/// The name of a key.
///
/// # Safety
///
/// The record must lead to its names, as one that [`key!`](crate::key!) emits does, and stand where it was emitted.
pub(crate) unsafe fn name(record: &KeyRecord) -> &[u8] {
    let names = (&raw const record.names).cast::<u8>().wrapping_offset(record.names.bytes() as isize);
    // SAFETY: as the caller vouches; a NUL stands behind the name.
    unsafe { core::ffi::CStr::from_ptr(names.cast()) }.to_bytes()
}

/// Decides a key: fills in the verdict it is given, for the key of this record.
pub type RawProbe = extern "C" fn(&mut Verdict, &KeyRecord);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{SITE_ABI, assert_layout, fields, table};
    use invar_abi::flags;
    use std::string::ToString;

    /// A state in memory of another module's, with this said to be the evidence's length (`docs/site-abi.md`).
    fn state(length: u16) -> State {
        let mut bytes = [b'x'; 256];
        bytes[..18].fill(0);
        (bytes[0], bytes[1]) = (1, SEALED);
        bytes[16..18].copy_from_slice(&length.to_ne_bytes());
        // SAFETY: numbers alone.
        unsafe { core::mem::transmute(bytes) }
    }

    #[test]
    fn records_and_states_are_as_documented() {
        let record = fields!(KeyRecord: state names probe names_length values flags);
        assert_layout(SITE_ABI, "## Key records", &record, size_of::<KeyRecord>());
        assert!(SITE_ABI.contains(&std::format!("4-byte aligned, {} bytes a record. A", size_of::<KeyRecord>())));

        let text = offset_of!(Verdict, evidence);
        let [value, status, origin, sets, data] = fields!(Verdict: value status origin sets data);
        let evidence = [("evidence_length", text, 2), ("evidence", text + 2, 238)];
        let verdict = [&[value, status, origin, sets, data][..], &evidence].concat();
        assert_layout(SITE_ABI, "### State and verdict", &verdict, size_of::<Verdict>());
        assert_eq!(text + size_of::<Evidence>(), size_of::<Verdict>());
        // A state is a verdict in the making.
        assert_eq!(fields!(State: value status origin data evidence).map(|(_, offset, _)| offset), [0, 1, 2, 8, text]);
        assert!(SITE_ABI.contains(&std::format!("distance to the key's state, {} bytes", size_of::<State>())));
        assert!(SITE_ABI.contains(&std::format!(
            "| {UNDECIDED} undecided, {DECIDING} being decided, {SEALED} sealed: written last"
        )));
    }

    #[test]
    fn flags_are_as_documented() {
        let documented = table(SITE_ABI, "| 15 | 1 | flags | below |");
        let meant = [
            (flags::PROVES, "is a fact of safety"),
            (flags::SLICE, "may have sites of kinds 2 and 3"),
            (flags::SYMBOL, "is a symbol's"),
            (flags::TIMESLICE, "is the time slice key"),
            (flags::OWN, "is the runtime's own"),
            (flags::SWITCH, "is a switch"),
            (flags::NUMBER, "is a constant"),
        ];
        assert_eq!(documented.len(), meant.len());
        for (row, (flag, words)) in documented.iter().zip(meant) {
            assert!(row[0] == flag.to_string() && row[1].starts_with(words), "{row:?}");
        }
        assert_eq!(meant.iter().fold(0, |all, (flag, _)| all | flag), flags::ALL);
    }

    /// Programs in other languages are given a copy, and read as many bytes as it says.
    #[test]
    fn a_copy_of_a_verdict_has_a_length_that_is_true() {
        for (said, is) in [(0, 0), (5, 5), (238, 238), (239, 238), (60000, 238)] {
            let verdict = state(said).verdict().expect("sealed");
            // SAFETY: plain data.
            let bytes: [u8; 256] = unsafe { core::mem::transmute(verdict) };
            assert_eq!(u16::from_ne_bytes([bytes[16], bytes[17]]), is, "{said}");
            assert_eq!(verdict.evidence().len(), is.into());
            assert_eq!((verdict.value(), bytes[1]), (1, SEALED));
        }
    }

    /// One thread decides, once, and only what it has begun.
    #[test]
    fn a_state_is_decided_by_whoever_began() {
        let state = State::new();
        let mut verdict = Verdict::undecided();
        (verdict.value, verdict.origin, verdict.data) = (1, Origin::Setting as u8, 5);
        verdict.evidence.text("seen");
        state.seal(&verdict);
        assert!(!state.begun() && !state.decided() && state.value() == 0, "nobody has begun");
        assert!(state.outcome().is_none() && state.verdict().is_none() && !state.copy(&mut Verdict::undecided()));
        assert_eq!((state.begun_by(0), state.begun_by(7)), (None, None));

        assert!(state.begin(7, 3) && state.begun() && !state.decided());
        assert!(!state.begin(7, 4) && !state.begin(8, 4), "it is being decided");
        assert_eq!((state.begun_by(7), state.begun_by(8)), (Some(3), None));
        assert!(state.outcome().is_none() && state.verdict().is_none());
        #[cfg(feature = "timeslice")]
        assert_eq!(state.data(), None, "nor does the value say that there are any");

        assert!(!state.settle(), "nobody has given up");
        state.seal(&verdict);
        assert!(state.decided() && state.begun() && state.value() == 1);
        assert_eq!((state.begun_by(7), state.begun_by(5)), (None, None), "it is decided");
        assert_eq!(state.outcome(), Some((1, Origin::Setting as u8)));
        #[cfg(feature = "timeslice")]
        assert_eq!(state.data(), Some(5));
        assert_eq!(state.order.load(Ordering::Relaxed), 0, "reserved once it is sealed");
        let mut copy = Verdict::undecided();
        assert!(state.copy(&mut copy));
        assert_eq!((copy.value(), copy.origin(), copy.data, copy.evidence()), (1, Origin::Setting, 5, "seen"));
        state.seal(&Verdict::undecided());
        assert_eq!(state.value(), 1, "for the rest of the process's life");
        assert!(!state.begin(7, 0));
        verdict.start(0, Origin::Failed);
        assert_eq!((verdict.value(), verdict.origin(), verdict.data, verdict.evidence()), (0, Origin::Failed, 0, ""));
    }

    /// What a probe is given, and what is read of a state that nobody has begun.
    #[test]
    fn what_is_undecided_is_blank() {
        // SAFETY: plain data.
        let bytes: [u8; 256] = unsafe { core::mem::transmute(Verdict::undecided()) };
        assert_eq!(bytes, [0; 256]);
    }

    /// A thread that waits no longer goes on with the first value, unless the other one is about to seal.
    #[test]
    fn a_thread_that_gives_up_is_heard() {
        let state = State::new();
        assert!(!state.give_up() && !state.is_being_decided(), "nobody has begun");
        assert!(state.begin(7, 3) && state.is_being_decided() && !state.is_given_up());
        assert!(state.give_up() && state.is_given_up() && state.give_up(), "two may");
        assert_eq!(state.begun_by(7), Some(3));
        assert!(state.settle() && !state.is_given_up());
        assert!(!state.give_up() && !state.is_given_up(), "too late");
        state.seal(&Verdict::undecided());
        assert!(!state.is_being_decided() && !state.give_up() && state.value() == 0);
    }

    /// A record that leads elsewhere leads to bytes that are something else's.
    #[test]
    fn only_blank_memory_is_begun() {
        for at in [0, 1, 2, 7, 8, 16, 255] {
            let mut bytes = [0u8; 256];
            bytes[at] = 1;
            // SAFETY: numbers alone.
            let state: State = unsafe { core::mem::transmute(bytes) };
            assert!(!state.begin(7, 0), "{at}");
        }
    }

    #[test]
    fn a_cycle_is_noted_by_whoever_decides() {
        let state = State::new();
        state.note_cycle(7, b"one");
        assert!(state.begin(7, 0), "nothing was noted");
        assert_eq!(state.cycle(7).as_str(), "");
        state.note_cycle(8, b"two");
        assert_eq!(state.cycle(7).as_str(), "");
        state.note_cycle(7, b"three");
        state.note_cycle(7, b"four");
        assert_eq!((state.cycle(7).as_str(), state.cycle(8).as_str()), ("four", ""));
    }
}
