//! Deciding keys: one verdict for each name in a process.
//!
//! A key is adopted if a key of its name is sealed, in this module or in another one; else a setting or its probe
//! decides. What came out is sealed by [`agree`], which looks again: where two threads decide one key, in two modules, the
//! first that seals it decides for both. Nobody waits for a probe of another module, which may wait for us.
//!
//! The runtime's own keys are decided first, the time slice key before all. A probe that asks for another key of its
//! module has it decided on the way ([`demand`]), or waits for the thread that is at it, but not for ever: that may wait for us.
#![allow(unsafe_code)]

use crate::key::record::Declared;
use crate::key::state::{State, Verdict, is_reserved};
use crate::module::{self, Module, ModuleKey, Outcome};
use crate::settings::{Mode, Settings};
use crate::sys;
use crate::text::{Sink, number as decimal};
use crate::timeslice::{self, Requests};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use invar_abi::outcome::said::{DECIDING, SEALING};
use invar_abi::state::number_width;
use invar_abi::{Origin, flags};

/// Whether this module can have slice sites at all.
pub(crate) const SLICES: bool = cfg!(feature = "timeslice");

/// How long a thread waits for one that may be waiting for it, in nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// And for one that waits for nobody: as long as it takes, but in a child of `fork`, where that thread is not.
const MINUTE: u64 = 60 * SECOND;

/// What a thread knows that decides keys of a module.
struct Decider<'a> {
    own: &'a Module<'a>,
    settings: &'a Settings<'a>,
    /// The thread's number ([`this_thread`]).
    thread: u64,
    /// There may be other modules.
    has_others: bool,
    /// Signals wait, or need not.
    is_silent: bool,
}

/// Signals that wait while the runtime's own keys are decided: all but SIGSYS, since where a filter answers a system call by that
/// signal, and it cannot be delivered, the kernel ends the process (Linux, kernel/signal.c, `force_sig_info_to_task`).
const ALL_BUT_SIGSYS: u64 = !(1 << (libc::SIGSYS - 1));

/// Has these wait.
pub(crate) fn silence() -> Option<sys::Silence> {
    sys::Silence::begin(&ALL_BUT_SIGSYS).ok()
}

/// Stands for the thread that decides the runtime's own keys, as no thread has this number: to ask for the thread's own is a system
/// call, and a cycle takes a probe of the program's. A handler of SIGSYS that asks for one of these keys meanwhile waits a second, and gets
/// its first value.
const NOBODY: u64 = u64::MAX;

/// Decides and seals all keys of a module. `has_others` is false where no other module was there a moment ago. Returns whether the
/// module has probes of its own, and the process had one thread when they began. Signals wait already, until the runtime's own keys are
/// decided, or have no handlers yet.
pub(crate) fn all(own: &Module<'_>, has_others: bool, settings: &Settings, silence: Option<sys::Silence>) -> bool {
    own.outcome.said.fetch_or(DECIDING, Relaxed);
    // One verdict at a time, in one place: copies of it would be a good part of this code.
    let mut verdict = Verdict::undecided();
    let mut by = Decider { own, settings, thread: NOBODY, has_others, is_silent: true };
    if has_others {
        by.adopt(&mut verdict);
    }
    // Requests of this copy's sites go where its own key says, so that one goes before those that C has.
    if SLICES && let Some(key) = timeslice::own_key(own) {
        by.decide(&key, 1, &mut verdict);
    }
    by.each(&mut verdict, flags::TIMESLICE, flags::TIMESLICE);
    timeslice::load(Some(own));
    by.each(&mut verdict, flags::OWN, flags::OWN);
    drop(silence);
    by.is_silent = false;
    let is_left = |key: ModuleKey<'_>| !key.state.begun();
    if own.keys_of(flags::TIMESLICE | flags::OWN, 0).any(is_left) {
        by.thread = this_thread();
    }
    const OTHERS: u8 = flags::SYMBOL | flags::TIMESLICE | flags::OWN;
    let has_probes = own.keys_of(OTHERS, 0).any(is_left);
    let was_alone = has_probes && sys::threads() == Ok(1);
    by.each(&mut verdict, OTHERS, 0);
    // By other threads, which may be waiting for this one.
    sys::wait_until(13_000_000, &mut || !own.keys().any(|key| key.state.is_being_decided()));
    close(own.outcome);
    by.each(&mut verdict, flags::SYMBOL, flags::SYMBOL);
    was_alone
}

/// No key of the module can be sealed from here on, but with its first value and but for those of symbols, which nobody asks
/// for: a probe may have left a thread behind that is deciding one, and whoever looks now would see the value change.
#[cold]
fn close(outcome: &Outcome) {
    outcome.said.fetch_and(!DECIDING, AcqRel);
    sys::wait_until(MINUTE, &mut || outcome.said.load(Acquire) < SEALING);
}

/// The value of a key that was asked for before it was decided. While its module's keys are being decided, it is decided
/// now; unless this thread is at it: then the key, and all that the thread has begun since, are in a cycle, and fail. If another
/// thread is at it, it is waited for.
#[cold]
#[inline(never)]
pub(crate) fn demand(state: &State, _: Declared) -> u8 {
    // This module's outcome can be read before there is a loader to ask.
    if is_deciding(module::outcome()) { demand_in(module::own_header(), state) } else { state.value() }
}

/// The verdict of a key, if it is decided.
#[inline(always)]
pub(crate) fn verdict(state: &State, _: Declared) -> Option<Verdict> {
    state.verdict()
}

/// [`demand`] for a key of the module with this header.
#[cold]
#[inline(never)]
pub(crate) fn demand_in(header: usize, state: &State) -> u8 {
    // SAFETY: the module whose probe, or whose constructor, is at work.
    let own = unsafe { module::at(header) };
    if let Some(own) = own.ok().filter(|own| is_deciding(own.outcome))
        && let Some(key) = own.key_at(core::ptr::from_ref(state) as usize)
    {
        let thread = this_thread();
        match state.begun_by(thread) {
            Some(order) => note_cycle(&own, &key, order),
            None => {
                let last = own.keys().filter_map(|key| key.state.begun_by(thread)).max();
                let settings = Settings::from_environment(false);
                let mut verdict = Verdict::undecided();
                let by = Decider { own: &own, settings: &settings, thread, has_others: true, is_silent: false };
                by.decide(&key, last.map_or(1, |last| last + 1), &mut verdict);
                if !wait_for(state) {
                    return give_up(&own, &key, &mut verdict);
                }
            }
        }
    }
    state.value()
}

/// Waits until the thread that is deciding a key has sealed it, or another one has given it up; `false` if neither came.
#[cold]
fn wait_for(state: &State) -> bool {
    sys::wait_until(SECOND, &mut || !state.is_being_decided() || state.is_given_up())
}

/// The value of a key that was waited for in vain. Nobody can tell whether the thread that is deciding it waits for this one,
/// so its value is the first from now on. But where another key of its name is sealed, it will be that one's.
#[cold]
fn give_up(own: &Module<'_>, key: &ModuleKey<'_>, verdict: &mut Verdict) -> u8 {
    let mut told = None;
    module::exclusively(&mut || {
        // A constant's value does not say all.
        if !key.state.is_given_up()
            && is_shared(key)
            && key.flags & flags::NUMBER == 0
            && adopt_sealed(own, key, verdict)
        {
            told = Some(verdict.value);
        } else if key.state.give_up() {
            told = Some(0);
        }
    });
    // It is about to be sealed, or was.
    told.unwrap_or_else(|| {
        sys::wait_until(MINUTE, &mut || key.state.decided());
        key.state.value()
    })
}

/// [`demand`] for C in this module (`invar2_demand`). A function of its own, as it is hidden: `Key::get` is in line in programs
/// that use a Rust `dylib` with keys.
#[cold]
extern "C" fn demand_in_c(state: &State) -> u8 {
    demand(state, Declared)
}

/// Emits what tells code in C of this module that it is loaded by a runtime of its own, and leads to [`demand_in_c`]. Called from
/// the constructor, so that it is linked wherever that is.
pub(crate) fn offer_to_c() {
    // SAFETY: no instruction, only data in another section.
    unsafe {
        core::arch::asm!(
            ".ifndef invar2_demand",
            ".pushsection .rodata.invar2_demand, \"a\", %progbits",
            ".balign 4",
            ".weak invar2_demand",
            ".hidden invar2_demand",
            ".set invar2_demand, .",
            ".long {demand} - .",
            ".hidden {demand}",
            ".popsection",
            ".endif",
            demand = sym demand_in_c,
            options(nomem, nostack, preserves_flags),
        );
    }
}

fn is_deciding(outcome: &Outcome) -> bool {
    outcome.said.load(Relaxed) & DECIDING != 0
}

/// A number that no other thread of the process has. One that begins later seldom has it: its thread pointer may be that of a
/// thread which ended in a probe.
fn this_thread() -> u64 {
    sys::thread_id().into()
}

/// Notes a cycle in the key that was asked for, and in those that this thread has begun since. The probe of the last of these
/// has asked.
#[cold]
fn note_cycle(own: &Module<'_>, asked: &ModuleKey<'_>, order: u32) {
    let thread = this_thread();
    let (mut last, mut asks) = (order, *asked);
    for key in own.keys() {
        if let Some(begun) = key.state.begun_by(thread).filter(|&begun| begun >= order) {
            key.state.note_cycle(thread, asked.name());
            if begun >= last {
                (last, asks) = (begun, key);
            }
        }
    }
    asked.state.note_cycle(thread, asks.name());
}

impl Decider<'_> {
    /// Decides and seals the keys that nobody has, and that have of `these` flags just the `wanted` ones.
    #[inline(never)]
    fn each(&self, verdict: &mut Verdict, these: u8, wanted: u8) {
        for key in self.own.keys_of(these, wanted) {
            self.decide(&key, 1, verdict);
        }
    }

    /// Decides and seals a key of ours, if nobody has begun to. `order` is higher than that of all keys that this thread is
    /// deciding.
    #[cold]
    #[inline(never)]
    fn decide(&self, key: &ModuleKey<'_>, order: u32, verdict: &mut Verdict) {
        if key.state.begun() {
            return;
        }
        // A signal's handler that asks for the key finds it untouched, or knows whose it is.
        let silence = self.silence();
        if !key.state.begin(self.thread, order) {
            return;
        }
        drop(silence);
        let is_shared = is_shared(key);
        let twin = if is_shared { sealed_twin(self.own, key) } else { None };
        match twin {
            Some(twin) => _ = adopt_twin(key, &twin, verdict),
            None => {
                choose(self, key, verdict);
                let other = key.state.cycle(self.thread);
                if other.as_bytes() == key.name() {
                    fail(verdict, "a cycle: its probe asks for it, or a signal's handler did meanwhile");
                } else if !other.as_bytes().is_empty() {
                    fail(verdict, "a cycle: the probes of ");
                    verdict.evidence.put(key.name());
                    verdict.evidence.text(" and ").bytes(other.as_bytes()).text(" ask for each other's keys");
                }
            }
        }
        if is_shared {
            return self.agree(key, verdict);
        }
        if key.flags & flags::PROVES != 0 {
            adopt_lower(self.own, key, verdict);
        }
        let _silence = self.silence();
        seal(self.own, key, verdict);
    }

    /// Seals a key of ours that others may have as well, unless one of them is sealed by now: then ours says what that says.
    ///
    /// Only one thread at a time is here, of all copies of the runtime.
    #[cold]
    fn agree(&self, key: &ModuleKey<'_>, verdict: &mut Verdict) {
        let mut seal = || {
            adopt_sealed(self.own, key, verdict);
            seal(self.own, key, verdict);
        };
        if self.is_silent { module::exclusively_in_silence(&mut seal) } else { module::exclusively(&mut seal) }
    }

    /// Has signals wait, where they do not yet.
    fn silence(&self) -> Option<sys::Silence> {
        if self.is_silent { None } else { sys::Silence::begin(&u64::MAX).ok() }
    }
}

/// Whether all keys of its name have one verdict. Facts of safety, and what became of symbols, are each module's own.
fn is_shared(key: &ModuleKey<'_>) -> bool {
    key.flags & (flags::PROVES | flags::SYMBOL) == 0
}

/// What a key is by another of its name that is sealed, in our module or else in the first that has one; `false` if none is.
#[cold]
fn adopt_sealed(own: &Module<'_>, key: &ModuleKey<'_>, verdict: &mut Verdict) -> bool {
    let mut adopted = false;
    if let Some(twin) = sealed_twin(own, key) {
        adopted = true;
        let _ = adopt_twin(key, &twin, verdict);
    }
    module::each(|other| {
        if !adopted
            && other.base != own.base
            && let Some((_, theirs)) = sealed(other, key, 0)
        {
            adopted = true;
            adopt_key(key, &theirs, verdict);
        }
    });
    adopted
}

/// A sealed key of this name in a module, and its position; looked for from `start` on. For the runtime's own keys only those
/// of their sort have their name, and what tells of a symbol has nobody's: functions and keys are named by different people.
#[cold]
fn sealed<'a>(other: &Module<'a>, ours: &ModuleKey<'_>, start: usize) -> Option<(usize, ModuleKey<'a>)> {
    other.find_key(ours.name(), start, &|theirs| {
        theirs.state.decided()
            && ((ours.flags | theirs.flags) & (flags::OWN | flags::SYMBOL) == 0 || are_of_a_sort(ours, theirs))
    })
}

/// Another key of this name in our own module. A time slice key in C that only lacked libinvar's probe does not count.
#[cold]
fn sealed_twin<'a>(own: &Module<'a>, key: &ModuleKey<'_>) -> Option<ModuleKey<'a>> {
    let (_, twin) = sealed(own, key, 0)?;
    let failed = twin.state.outcome().is_some_and(|(_, origin)| Origin::from_byte(origin) == Origin::Failed);
    (!failed || !is_slice_key(key)).then_some(twin)
}

/// Whether two keys of one name can be one key: their flags say the same, but for what each module proves on its own.
fn are_of_a_sort(ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>) -> bool {
    (ours.flags ^ theirs.flags) & !flags::PROVES == 0
}

impl Decider<'_> {
    /// Takes over what other modules have decided for keys of the same name, and seals it. Signals wait.
    #[cold]
    fn adopt(&self, verdict: &mut Verdict) {
        module::each(|other| {
            if other.base == self.own.base {
                return;
            }
            // Copies of the runtime have their keys in one order: the next is likely to be found where the last one was.
            let mut place = 0;
            // Slice sites depend on the time slice key, and where others may as well it is to say first where requests go: these
            // are adopted when it is their turn (`agree`).
            let is_early = |ours: &ModuleKey<'_>| {
                let later = flags::PROVES | flags::SYMBOL | if is_slice_key(ours) { 0 } else { flags::SLICE };
                ours.flags & later == 0
            };
            for ours in self.own.keys().filter(is_early) {
                let Some((at, theirs)) = sealed(other, &ours, place) else { continue };
                place = at + 1;
                if !ours.state.begun() && ours.state.begin(self.thread, 1) {
                    adopt_key(&ours, &theirs, verdict);
                    seal(self.own, &ours, verdict);
                }
            }
        });
    }
}

/// The same for a key that proves something. Our own probe has decided it, since our code would execute what the value stands
/// for. A verdict that is higher is not taken.
#[cold]
fn adopt_lower(own: &Module<'_>, ours: &ModuleKey<'_>, verdict: &mut Verdict) {
    module::each(|other| {
        let is_own = other.base == own.base;
        match sealed(other, ours, 0).filter(|(_, theirs)| theirs.state.value() <= verdict.value) {
            // Two that say the same stay two that have been probed.
            Some((_, twin)) if is_own && twin.state.value() == verdict.value && ours.same_as(&twin) => {}
            Some((_, twin)) if is_own => _ = adopt_twin(ours, &twin, verdict),
            Some((_, theirs)) => adopt_key(ours, &theirs, verdict),
            None => {}
        }
    });
}

/// What another module's verdict means for a key of ours.
#[cold]
fn adopt_key(ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>, verdict: &mut Verdict) {
    const NONE: &str = "another module's verdict is none";
    if !adopt_twin(ours, theirs, verdict) {
        return;
    }
    match verdict.origin() {
        // Forced memory may be the program's own, or its libc's: each module finds what is there.
        Origin::Forced if is_slice_key(ours) => force(verdict),
        Origin::Forced => fail(verdict, NONE),
        Origin::Failed if verdict.value != 0 => fail(verdict, NONE),
        _ if is_slice_key(ours)
            && verdict.value != 0
            && timeslice::memory_for(Requests::Adopted(verdict.data)).is_none() =>
        {
            fail(verdict, "another module says that requests go where this process has no area");
        }
        _ => verdict.origin = Origin::Adopted as u8,
    }
}

/// The same for a key of our own module: both have one verdict. `false` if they cannot.
#[cold]
fn adopt_twin(ours: &ModuleKey<'_>, twin: &ModuleKey<'_>, verdict: &mut Verdict) -> bool {
    if !are_of_a_sort(ours, twin) {
        fail(verdict, "a key of this name and another sort has been decided");
    } else if !ours.same_as(twin) || twin.state.value() >= ours.values {
        fail(verdict, "a key of this name with other values has been decided");
    } else {
        return twin.state.copy(verdict);
    }
    false
}

/// Decides a key that nobody decided before.
#[cold]
fn choose(by: &Decider<'_>, key: &ModuleKey<'_>, verdict: &mut Verdict) {
    let settings = by.settings;
    if key.flags & flags::SYMBOL != 0 {
        return probe(key, verdict);
    }
    if key.flags & flags::OWN == 0 && is_reserved(key.name()) {
        return fail(verdict, "only a key of invar's own can have this name");
    }
    let wanted = settings.key(key.name());
    if key.flags & flags::NUMBER != 0 && settings.mode != Mode::Off {
        probe(key, verdict);
        return wanted.map_or((), |wanted| lower(wanted, verdict));
    }
    let value = wanted.and_then(|wanted| (0..key.values).find(|&value| key.value_name(value) == wanted));
    // The first value needs nothing, so there is nothing to probe.
    if settings.mode == Mode::Off || value == Some(0) {
        verdict.start(0, Origin::Setting);
        verdict.evidence.text(if settings.mode == Mode::Off { "INVAR=off" } else { "INVAR_KEYS" });
        return;
    }
    if SLICES && wanted == Some(b"force") && is_slice_key(key) {
        return force(verdict);
    }
    probe_by_program(by, key, verdict);
    match (wanted, value) {
        (None, _) => {}
        (_, Some(value)) if value < verdict.value => {
            verdict.value = value;
            verdict.origin = Origin::Setting as u8;
            verdict.evidence.text("; lowered by INVAR_KEYS");
        }
        (_, Some(value)) if value == verdict.value => {}
        (_, Some(_)) => _ = verdict.evidence.text("; INVAR_KEYS asks for more than the probe allows"),
        (_, None) => _ = verdict.evidence.text("; INVAR_KEYS names a value that this key does not have"),
    }
    if SLICES && settings.guard && verdict.value != 0 && is_slice_key(key) {
        timeslice::guard_at_load(&mut verdict.evidence);
    }
}

/// Lowers a constant to the number that a setting has for it, if the probe found a higher one.
#[cold]
fn lower(wanted: &[u8], verdict: &mut Verdict) {
    let why = match decimal(wanted) {
        None => "; INVAR_KEYS has no number for it",
        Some(_) if verdict.value == 0 => return,
        Some(number) if number < verdict.data => {
            verdict.data = number;
            verdict.origin = Origin::Setting as u8;
            "; lowered by INVAR_KEYS"
        }
        Some(number) if number == verdict.data => return,
        Some(_) => "; INVAR_KEYS asks for more than the probe allows",
    };
    verdict.evidence.text(why);
}

/// Whether it is *the* time slice key: there may be others for slice sites, as for measurements.
pub(crate) fn is_slice_key(key: &ModuleKey<'_>) -> bool {
    const BOTH: u8 = flags::SLICE | flags::TIMESLICE;
    key.flags & BOTH == BOTH
}

/// The time slice key by `INVAR_KEYS=slice=force`: the available form, on memory that is safe to write.
#[cold]
fn force(verdict: &mut Verdict) {
    match timeslice::memory_for(Requests::Forced) {
        Some(data) => {
            verdict.start(1, Origin::Forced);
            verdict.data = data;
            verdict.evidence.text("INVAR_KEYS; requests go to memory that is safe to write, and nobody grants them");
        }
        None => fail(verdict, "cannot be forced: a library needs an area of libc's (glibc 2.35 or newer)"),
    }
}

/// Probes the time slice key of a library by the program's probe, if it has one that can tell: constructors of libraries that
/// a program was linked with run before its own, and only the program, which is never unloaded, can register an area.
#[cold]
fn probe_by_program(by: &Decider<'_>, key: &ModuleKey<'_>, verdict: &mut Verdict) {
    if SLICES && is_slice_key(key) && by.has_others && !by.own.is_program() {
        // SAFETY: the program stays loaded.
        let program = unsafe { module::find(|module| module.is_program()) };
        if let Some(theirs) = program.as_ref().and_then(|program| program.keys().find(is_slice_key)) {
            probe(&theirs, verdict);
            if verdict.origin() != Origin::Failed {
                return;
            }
        }
    }
    probe(key, verdict);
}

/// What a key's probe says.
#[cold]
pub(crate) fn probe(key: &ModuleKey<'_>, verdict: &mut Verdict) {
    let Some(probe) = key.probe else {
        return fail(verdict, "a tool has moved the module's code after it was linked, and with it the probe");
    };
    verdict.start(0, Origin::Probe);
    probe(verdict, key.record);
    // A probe in another language may answer anything.
    verdict.evidence.limit();
    verdict.disown();
    if verdict.value >= key.values {
        fail(verdict, "the probe's value is none that the key has");
    } else if verdict.origin != Origin::Probe as u8 {
        verdict.value = 0;
        verdict.origin = Origin::Failed as u8;
    }
}

/// Seals a key of our own module, which slice sites may depend on: then its verdict says where requests go, and that is where
/// an area can be, or the key is off. Signals are blocked: a handler that asks for the key would wait for its own thread.
#[cold]
fn seal(own: &Module<'_>, ours: &ModuleKey<'_>, verdict: &mut Verdict) {
    if verdict.value != 0 && ours.flags & flags::SLICE != 0 {
        let requests = if is_slice_key(ours) { Requests::Sealed(verdict.data) } else { Requests::OfAnother };
        match timeslice::memory_for(requests) {
            Some(data) => verdict.data = data,
            None => fail(verdict, "there is no memory for slice requests that is safe to write"),
        }
    }
    if ours.state.settle() && verdict.value != 0 {
        fail(verdict, "another thread asked for it and waited in vain: the probe is slow, or waits for that thread");
    }
    let width = if ours.flags & flags::NUMBER == 0 { None } else { number_width(ours.names()) };
    if width.is_some_and(|width| verdict.data.checked_shr(width).unwrap_or(0) != 0) {
        fail(verdict, "its number has more bits than its type");
    }
    // In the module's turn, or too late.
    let enter = |said| (said & DECIDING != 0).then_some(said + SEALING);
    let in_turn = own.outcome.said.fetch_update(Acquire, Relaxed, enter).is_ok();
    if !in_turn && ours.flags & flags::SYMBOL == 0 {
        fail(verdict, "decided by another thread, and not before all other keys of the module were");
    }
    if let Some(number) = ours.number() {
        // Where nobody decided, it is the one that the file has.
        if verdict.value == 0 && !verdict.is_copy() {
            verdict.data = number.load(Relaxed);
        }
        number.store(verdict.data, Release);
    }
    ours.state.seal(verdict);
    if in_turn {
        own.outcome.said.fetch_sub(SEALING, Release);
    }
}

#[cold]
#[inline(never)] // at so many places
fn fail(verdict: &mut Verdict, reason: &str) {
    verdict.start(0, Origin::Failed);
    verdict.evidence.text(reason);
}

#[cfg(all(test, feature = "timeslice"))]
mod tests {
    use super::*;
    use crate::key::handle::Key;
    use crate::key::state::RawProbe;
    use crate::module::tests::Image;
    use crate::timeslice::area;
    use invar_abi::KeyRecord;
    use invar_abi::state::SliceData;
    use std::boxed::Box;
    use std::string::String;

    static RECORD: KeyRecord = KeyRecord::decode(&[0; KeyRecord::LENGTH]);
    const NAMES: &[u8] = b"of.test\0low\0middle\0high\0";
    const TIMESLICE: u8 = flags::SLICE | flags::TIMESLICE | flags::OWN;

    /// A key with three values that nobody has decided.
    fn key(flags: u8, probe: RawProbe) -> ModuleKey<'static> {
        let state = Box::leak(Box::new(const { Key::<bool>::new() })).state();
        ModuleKey { state, probe: Some(probe), record: &RECORD, values: 3, flags, names: NAMES }
    }

    /// One with this verdict.
    fn sealed_key(flags: u8, value: u8, origin: u8, data: u64) -> ModuleKey<'static> {
        let key = key(flags, untouched);
        assert!(key.state.begin(1, 0));
        let mut verdict = Verdict::undecided();
        (verdict.value, verdict.origin, verdict.data) = (value, origin, data);
        verdict.evidence.text("theirs");
        key.state.seal(&verdict);
        key
    }

    extern "C" fn untouched(_: &mut Verdict, _: &KeyRecord) {}
    extern "C" fn middle(verdict: &mut Verdict, _: &KeyRecord) {
        verdict.value = 1;
        verdict.evidence.text("seen");
    }
    extern "C" fn too_high(verdict: &mut Verdict, _: &KeyRecord) {
        verdict.value = 3;
    }
    extern "C" fn another_origin(verdict: &mut Verdict, _: &KeyRecord) {
        (verdict.value, verdict.origin) = (1, Origin::Adopted as u8);
    }

    fn decider<'a>(own: &'a Module<'a>, settings: &'a Settings<'a>) -> Decider<'a> {
        Decider { own, settings, thread: this_thread(), has_others: true, is_silent: false }
    }

    /// This program, as if its keys were being decided.
    fn being_decided() -> Module<'static> {
        // SAFETY: numbers alone, and zero is what has not been loaded.
        let outcome: Outcome = unsafe { core::mem::zeroed() };
        outcome.said.fetch_or(DECIDING, Relaxed);
        let mut own = module::own().expect("this program");
        own.outcome = Box::leak(Box::new(outcome));
        own
    }

    #[test]
    fn what_is_sealed_too_late_has_the_first_value() {
        let own = being_decided();
        let sealed = |flags| {
            let key = key(flags, middle);
            assert!(key.state.begin(1, 1));
            let mut verdict = Verdict::undecided();
            verdict.value = 1;
            seal(&own, &key, &mut verdict);
            key.state.outcome().map(|(value, origin)| (value, Origin::from_byte(origin)))
        };
        assert_eq!(sealed(0), Some((1, Origin::Probe)));
        assert_eq!(own.outcome.said.load(Relaxed), DECIDING, "nobody is sealing");
        close(own.outcome);
        assert_eq!(sealed(0), Some((0, Origin::Failed)));
        assert_eq!(sealed(flags::SYMBOL), Some((1, Origin::Probe)), "what tells of a symbol is sealed last");
        assert_eq!(own.outcome.said.load(Relaxed), 0);
    }

    #[test]
    fn who_is_sealing_is_waited_for() {
        let own = being_decided();
        own.outcome.said.fetch_add(SEALING, Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(core::time::Duration::from_millis(100));
                own.outcome.said.fetch_sub(SEALING, Release);
            });
            close(own.outcome);
            assert_eq!(own.outcome.said.load(Relaxed), 0);
        });
        // And its value is told, however late it comes.
        let ours = key(0, middle);
        assert!(ours.state.begin(1, 1) && !ours.state.settle());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(core::time::Duration::from_millis(2500));
                let mut verdict = Verdict::undecided();
                verdict.value = 1;
                ours.state.seal(&verdict);
            });
            assert!(!wait_for(ours.state));
            assert_eq!(give_up(&own, &ours, &mut Verdict::undecided()), 1);
        });
    }

    /// Value, origin and reason.
    fn said(verdict: &Verdict) -> (u8, Origin, String) {
        (verdict.value(), verdict.origin(), verdict.evidence().into())
    }

    fn chosen(key: &ModuleKey<'_>, settings: &Settings) -> (u8, Origin, String) {
        let own = module::own().expect("this program");
        let mut verdict = Verdict::undecided();
        choose(&decider(&own, settings), key, &mut verdict);
        said(&verdict)
    }

    #[test]
    fn what_a_probe_answers_is_limited() {
        let answer = |key: ModuleKey<'_>| {
            let mut verdict = Verdict::undecided();
            (verdict.value, verdict.data) = (2, 7);
            probe(&key, &mut verdict);
            assert_eq!(verdict.data, 0, "nothing is left of another verdict");
            said(&verdict)
        };
        assert_eq!(answer(key(0, untouched)), (0, Origin::Probe, "".into()));
        assert_eq!(answer(key(0, middle)), (1, Origin::Probe, "seen".into()));
        let none = "the probe's value is none that the key has";
        assert_eq!(answer(key(0, too_high)), (0, Origin::Failed, none.into()));
        assert_eq!(answer(key(0, another_origin)), (0, Origin::Failed, "".into()));
        let (value, origin, reason) = answer(ModuleKey { probe: None, ..key(0, middle) });
        assert_eq!((value, origin), (0, Origin::Failed));
        assert!(reason.starts_with("a tool has moved"), "{reason}");
    }

    #[test]
    fn a_setting_chooses_what_the_probe_allows() {
        for (entry, value, origin, reason) in [
            (&b""[..], 1, Origin::Probe, "seen"),
            (b"other=low", 1, Origin::Probe, "seen"),
            (b"of.test=low", 0, Origin::Setting, "INVAR_KEYS"),
            (b"of.test=middle", 1, Origin::Probe, "seen"),
            (b"of.test=high", 1, Origin::Probe, "seen; INVAR_KEYS asks for more than the probe allows"),
            (b"of.test=force", 1, Origin::Probe, "seen; INVAR_KEYS names a value that this key does not have"),
        ] {
            assert_eq!(chosen(&key(0, middle), &Settings::of_keys(entry)), (value, origin, reason.into()));
        }
        extern "C" fn high(verdict: &mut Verdict, _: &KeyRecord) {
            verdict.value = 2;
            verdict.evidence.text("seen");
        }
        let lowered = chosen(&key(0, high), &Settings::of_keys(b"of.test=middle"));
        assert_eq!(lowered, (1, Origin::Setting, "seen; lowered by INVAR_KEYS".into()));
        let mut off = Settings::of_keys(b"");
        off.mode = Mode::Off;
        assert_eq!(chosen(&key(0, middle), &off), (0, Origin::Setting, "INVAR=off".into()));
        // What became of a symbol is a fact.
        for settings in [off, Settings::of_keys(b"of.test=low")] {
            assert_eq!(chosen(&key(flags::SYMBOL, middle), &settings), (1, Origin::Probe, "seen".into()));
        }
    }

    #[test]
    fn only_a_key_of_the_runtimes_own_has_a_reserved_name() {
        const RESERVED: &[u8] = b"slice.mine\0low\0middle\0high\0";
        let of = |flags| chosen(&ModuleKey { names: RESERVED, ..key(flags, middle) }, &Settings::of_keys(b""));
        assert_eq!(of(0), (0, Origin::Failed, "only a key of invar's own can have this name".into()));
        assert_eq!(of(flags::OWN), (1, Origin::Probe, "seen".into()));
    }

    #[test]
    fn only_the_time_slice_key_can_be_forced() {
        let force = Settings::of_keys(b"of.test=force");
        for (flags, is_it) in [
            (flags::SLICE, false),
            (flags::TIMESLICE, false),
            (flags::SLICE | flags::OWN, false),
            (flags::SLICE | flags::TIMESLICE, true),
            (TIMESLICE, true),
        ] {
            assert_eq!(is_slice_key(&key(flags, middle)), is_it, "{flags}");
            assert_eq!(chosen(&key(flags, middle), &Settings::of_keys(b"")), (1, Origin::Probe, "seen".into()));
            let (value, origin, reason) = chosen(&key(flags, middle), &force);
            match area::spare_memory() {
                Some(data) if is_it => {
                    assert_eq!((value, origin), (1, Origin::Forced));
                    assert!(reason.starts_with("INVAR_KEYS; requests go to memory"), "{reason}");
                    let mut verdict = Verdict::undecided();
                    super::force(&mut verdict);
                    assert_eq!(verdict.data, data);
                }
                None if is_it => assert_eq!((value, origin), (0, Origin::Failed)),
                _ => assert_eq!((value, origin), (1, Origin::Probe)),
            }
        }
    }

    /// Without its probe, which is data here.
    #[test]
    fn what_another_module_has_decided_is_adopted_early() {
        let program = module::own().expect("this program");
        let is_early = |flags: u8| flags & (flags::PROVES | flags::SYMBOL | flags::SLICE) == 0;
        let theirs = program.keys().find(|key| is_early(key.flags) && key.state.decided()).expect("a key of its own");
        let decided = theirs.state.verdict().expect("a verdict");
        let adopted = |flags, status| {
            let mut image = Image::new();
            image.names[0] = [0; 160];
            image.names[0][..theirs.names().len()].copy_from_slice(theirs.names());
            let record = &mut image.keys[0];
            (record.names_length, record.values, record.flags) = (theirs.names().len() as u16, theirs.values, flags);
            // One that some thread has begun has an order as well.
            image.states[0][0] = u64::from_ne_bytes([0, status, 0, 0, status, 0, 0, 0]);
            image.outcome.said.store(DECIDING, Relaxed);
            let module = image.module();
            decider(&module, &Settings::of_keys(b"")).adopt(&mut Verdict::undecided());
            let [ours, other] = [0, 1].map(|at| module.keys().nth(at).expect("a key").state.verdict());
            assert!(other.is_none(), "nobody has decided it");
            ours.map(|verdict| (verdict.value(), verdict.origin(), String::from(verdict.evidence())))
        };
        let expected = (decided.value(), Origin::Adopted, String::from(decided.evidence()));
        assert_eq!(adopted(theirs.flags, 0), Some(expected));
        for later in [flags::PROVES, flags::SYMBOL, flags::SLICE] {
            assert_eq!(adopted(theirs.flags | later, 0), None, "{later}");
        }
        assert_eq!(adopted(theirs.flags, 1), None, "a thread is deciding it");
        decider(&program, &Settings::of_keys(b"")).adopt(&mut Verdict::undecided());
        assert_eq!(theirs.state.outcome(), Some((decided.value(), decided.origin)), "not from itself");
    }

    /// A module whose keys are being decided, with two of the names that a key of this program has, and that key's verdict.
    fn another_module() -> (Box<Image>, ModuleKey<'static>) {
        let program = module::own().expect("this program");
        let is_shared = |key: &ModuleKey<'_>| is_shared(key) && !is_slice_key(key) && key.state.decided();
        let theirs = program.keys().find(is_shared).expect("a key");
        let mut image = Image::new();
        for (names, record) in image.names.iter_mut().zip(&mut image.keys) {
            *names = [0; 160];
            names[..theirs.names().len()].copy_from_slice(theirs.names());
            record.names_length = theirs.names().len() as u16;
            (record.values, record.flags) = (theirs.values, theirs.flags);
        }
        image.outcome.said.store(DECIDING, Relaxed);
        (image, theirs)
    }

    /// One that was sealed in its own module comes first.
    #[test]
    fn what_was_sealed_meanwhile_counts() {
        let (mut image, theirs) = another_module();
        let expected = theirs.state.value();
        {
            let module = image.module();
            let ours = module.keys().next().expect("a key");
            let mut verdict = Verdict::undecided();
            verdict.start((expected + 1) % theirs.values, Origin::Probe);
            assert!(ours.state.begin(this_thread(), 1));
            decider(&module, &Settings::of_keys(b"")).agree(&ours, &mut verdict);
            let sealed = ours.state.verdict().expect("a verdict");
            assert_eq!((sealed.value(), sealed.origin()), (expected, Origin::Adopted));
        }
        // Now the second has a twin, which says something else.
        image.states[0][0] ^= u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
        let module = image.module();
        let [twin, ours] = [0, 1].map(|at| module.keys().nth(at).expect("a key"));
        let mut verdict = Verdict::undecided();
        assert!(adopt_sealed(&module, &ours, &mut verdict));
        assert_eq!((verdict.value(), twin.state.value()), (expected ^ 1, expected ^ 1));
        let image = Image::new();
        let module = image.module();
        let unknown = module.keys().next().expect("a key");
        assert!(!adopt_sealed(&module, &unknown, &mut verdict), "nobody has it");
    }

    #[test]
    fn who_waits_in_vain_goes_on_with_what_will_be() {
        let given_up = |flags: u8, named_as_theirs: bool, twice: bool| {
            let (mut image, theirs) = another_module();
            if !named_as_theirs {
                image.names[0][0] = b'~';
            }
            image.keys[0].flags |= flags;
            let module = image.module();
            let ours = module.keys().next().expect("a key");
            assert!(ours.state.begin(1, 1) && (!twice || ours.state.give_up()));
            let value = give_up(&module, &ours, &mut Verdict::undecided());
            assert_eq!(value, if ours.state.is_given_up() { 0 } else { theirs.state.value() });
            ours.state.is_given_up()
        };
        assert!(!given_up(0, true, false), "its value is that of the other one");
        assert!(given_up(0, false, false), "there is no other one");
        assert!(given_up(flags::PROVES, true, false), "its own probe decides");
        assert!(given_up(0, true, true), "another thread has gone on with the first value");
    }

    #[test]
    fn what_can_be_one_key_is_adopted() {
        let adopted = |ours: &ModuleKey<'_>, theirs: &ModuleKey<'_>| {
            let mut verdict = Verdict::undecided();
            adopt_key(ours, theirs, &mut verdict);
            said(&verdict)
        };
        let ours = key(0, middle);
        let good = (1, Origin::Adopted, "theirs".into());
        assert_eq!(adopted(&ours, &sealed_key(0, 1, Origin::Probe as u8, 0)), good);
        assert_eq!(adopted(&ours, &sealed_key(flags::PROVES, 1, Origin::Setting as u8, 0)), good);
        assert_eq!(adopted(&ours, &sealed_key(0, 0, Origin::Failed as u8, 0)), (0, Origin::Adopted, "theirs".into()));

        let fails = |theirs: &ModuleKey<'_>, why: &str| {
            assert_eq!(adopted(&ours, theirs), (0, Origin::Failed, why.into()));
        };
        let none = "another module's verdict is none";
        fails(&sealed_key(0, 1, Origin::Forced as u8, 0), none);
        fails(&sealed_key(0, 1, Origin::Failed as u8, 0), none);
        fails(&sealed_key(0, 1, 99, 0), none);
        for flag in [flags::SLICE, flags::OWN, flags::SYMBOL, flags::TIMESLICE] {
            fails(&sealed_key(flag, 1, 0, 0), "a key of this name and another sort has been decided");
        }
        let other_names = ModuleKey { names: b"of.test\0low\0middle\0higher\0", ..sealed_key(0, 1, 0, 0) };
        fails(&other_names, "a key of this name with other values has been decided");
        fails(&sealed_key(0, 3, 0, 0), "a key of this name with other values has been decided");
    }

    #[test]
    fn where_requests_go_is_believed_of_an_area_only() {
        let ours = key(TIMESLICE, middle);
        let adopted = |origin: Origin, value, data| {
            let mut verdict = Verdict::undecided();
            adopt_key(&ours, &sealed_key(TIMESLICE, value, origin as u8, data), &mut verdict);
            (verdict.value, verdict.origin())
        };
        assert_eq!(adopted(Origin::Failed, 0, 0), (0, Origin::Adopted));
        // Each module finds for itself what it is safe to write to.
        let forced = area::spare_memory().map_or((0, Origin::Failed), |_| (1, Origin::Forced));
        let libcs = area::libcs_area().map(|area| SliceData { area: Some(area as i32), yield_call: -1 }.encode());
        for (data, right) in
            [(Some(0), false), (Some(1 << 31), false), (libcs.map(|data| data + 32), false), (libcs, true)]
        {
            let Some(data) = data else { continue };
            let believed = if right { (1, Origin::Adopted) } else { (0, Origin::Failed) };
            assert_eq!(adopted(Origin::Probe, 1, data), believed, "{data:x}");
            assert_eq!(adopted(Origin::Forced, 1, data), forced);
        }
    }

    #[test]
    fn what_is_sealed_has_memory_for_its_sites() {
        let own = being_decided();
        let sealed = |flags, value, data| {
            let key = key(flags, middle);
            assert!(key.state.begin(1, 0));
            let mut verdict = Verdict::undecided();
            (verdict.value, verdict.data) = (value, data);
            seal(&own, &key, &mut verdict);
            let verdict = key.state.verdict().expect("sealed");
            (verdict.value, verdict.origin(), verdict.data)
        };
        assert_eq!(sealed(0, 1, 5), (1, Origin::Probe, 5), "no site of it makes requests");
        assert_eq!(sealed(TIMESLICE, 0, 0), (0, Origin::Probe, 0));
        assert_eq!(sealed(TIMESLICE, 1, 5), (0, Origin::Failed, 0));
        if let Some(data) = area::spare_memory() {
            assert_eq!(sealed(TIMESLICE, 1, data), (1, Origin::Probe, data));
        }
        // Another key with such sites has the memory of the time slice key, whatever it says.
        let memory = area::memory();
        let expected = memory.map_or((0, Origin::Failed, 0), |memory| (1, Origin::Probe, memory));
        assert_eq!(sealed(flags::SLICE, 1, 5), expected);
    }

    crate::key! { #[name = "decide.fine"] static FINE: bool = |evidence| { evidence.text("fine"); Ok(true) }; }
    crate::key! { #[name = "decide.failed"] static FAILED: bool = |_| Err("on purpose"); }
    const FINE_NAMES: &[u8] = b"decide.fine\0off\0on\0";
    const FAILED_NAMES: &[u8] = b"decide.failed\0off\0on\0";

    #[test]
    fn a_twin_is_one_that_can_be() {
        let own = module::own().expect("this program");
        assert!(FINE.get() && !FAILED.get());
        let has_twin = |flags, names| {
            let ours = ModuleKey { names, ..key(flags, middle) };
            let twin = sealed_twin(&own, &ours);
            assert!(twin.is_none_or(|twin| twin.name() == ours.name()));
            twin.is_some()
        };
        assert!(has_twin(0, FINE_NAMES) && has_twin(0, FAILED_NAMES) && !has_twin(0, NAMES));
        assert!(has_twin(flags::SLICE, FINE_NAMES), "whatever their sorts, they have one name");
        assert!(!has_twin(flags::OWN, FINE_NAMES), "but for the runtime's own");
        // As one of C's that had nobody to ask.
        assert!(has_twin(flags::SLICE | flags::TIMESLICE, FINE_NAMES));
        assert!(!has_twin(flags::SLICE | flags::TIMESLICE, FAILED_NAMES));
    }

    #[test]
    fn a_twin_decides_but_for_facts() {
        let own = being_decided();
        for (flags, evidence) in [(0, "fine"), (flags::PROVES, "seen"), (flags::SYMBOL, "seen")] {
            let ours = ModuleKey { names: FINE_NAMES, values: 2, ..key(flags, middle) };
            decider(&own, &Settings::of_keys(b"")).decide(&ours, 0, &mut Verdict::undecided());
            let verdict = ours.state.verdict().expect("decided");
            assert_eq!(said(&verdict), (1, Origin::Probe, evidence.into()), "{flags}");
        }
        // A lower verdict is taken for a fact as well.
        let ours = ModuleKey { names: FAILED_NAMES, values: 2, ..key(flags::PROVES, middle) };
        decider(&own, &Settings::of_keys(b"")).decide(&ours, 0, &mut Verdict::undecided());
        assert_eq!(said(&ours.state.verdict().expect("decided")), (0, Origin::Failed, "on purpose".into()));
        // And no higher one.
        let ours = ModuleKey { names: FINE_NAMES, values: 2, ..key(flags::PROVES, untouched) };
        decider(&own, &Settings::of_keys(b"")).decide(&ours, 0, &mut Verdict::undecided());
        assert_eq!(said(&ours.state.verdict().expect("decided")), (0, Origin::Probe, "".into()));
    }

    #[test]
    fn a_library_asks_the_programs_probe_for_slices() {
        let own = module::own().expect("this program");
        let mut library = own;
        library.path = c"library";
        let answer = |own: &Module<'_>, flags| {
            let mut verdict = Verdict::undecided();
            probe_by_program(&decider(own, &Settings::of_keys(b"")), &key(flags, middle), &mut verdict);
            said(&verdict)
        };
        let seen = (1, Origin::Probe, "seen".into());
        assert_eq!(answer(&own, TIMESLICE), seen);
        assert_eq!(answer(&library, 0), seen);
        let mut theirs = Verdict::undecided();
        probe(&own.keys().find(is_slice_key).expect("the program's"), &mut theirs);
        let theirs = if theirs.origin() == Origin::Failed { seen } else { said(&theirs) };
        assert_eq!(answer(&library, TIMESLICE), theirs);
    }

    #[test]
    fn a_probe_may_leave_a_length_that_lies() {
        extern "C" fn lies(verdict: &mut Verdict, _: &KeyRecord) {
            // SAFETY: the evidence's length (`docs/site-abi.md`), which may be any number.
            unsafe { core::ptr::from_mut(verdict).cast::<u8>().add(16).cast::<u16>().write(60000) };
        }
        let mut verdict = Verdict::undecided();
        probe(&key(0, lies), &mut verdict);
        // SAFETY: numbers alone.
        let bytes: [u8; 256] = unsafe { core::mem::transmute(verdict) };
        assert_eq!(u16::from_ne_bytes([bytes[16], bytes[17]]), 238);
    }

    #[test]
    fn a_key_is_decided_once() {
        let own = being_decided();
        let settings = Settings::of_keys(b"");
        let mut verdict = Verdict::undecided();
        let ours = key(0, middle);
        decider(&own, &settings).decide(&ours, 0, &mut verdict);
        assert_eq!(said(&ours.state.verdict().expect("decided")), (1, Origin::Probe, "seen".into()));
        decider(&own, &settings).decide(&ModuleKey { probe: Some(untouched), ..ours }, 0, &mut verdict);
        assert_eq!(ours.state.value(), 1, "and never again");
        let begun = key(0, middle);
        assert!(begun.state.begin(1, 0));
        decider(&own, &settings).decide(&begun, 0, &mut verdict);
        assert!(!begun.state.decided(), "somebody else is at it");
    }
}
