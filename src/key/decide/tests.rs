//! Deciding keys, step by step.
#![allow(unsafe_code)]

use super::adopt::*;
use super::choose::*;
use super::decider::*;
use super::demand::*;
use super::seal::*;
use super::slice::*;
use super::*;
use crate::key::handle::Key;
use crate::key::state::RawProbe;
use crate::module;
use crate::module::image::Image;
use crate::settings::Mode;
use crate::timeslice::area;
use core::sync::atomic::Ordering::Release;
use invar_abi::KeyRecord;
use invar_abi::Origin;
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
    Decider { own, settings, thread: this_thread(), alone: None, is_silent: false }
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
    choose(&own, true, settings, key, &mut verdict);
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
    let forcing = Settings::of_keys(b"of.test=force");
    for (flags, is_it) in [
        (flags::SLICE, false),
        (flags::TIMESLICE, false),
        (flags::SLICE | flags::OWN, false),
        (flags::SLICE | flags::TIMESLICE, true),
        (TIMESLICE, true),
    ] {
        assert_eq!(is_slice_key(&key(flags, middle)), is_it, "{flags}");
        assert_eq!(chosen(&key(flags, middle), &Settings::of_keys(b"")), (1, Origin::Probe, "seen".into()));
        let (value, origin, reason) = chosen(&key(flags, middle), &forcing);
        match area::spare_memory() {
            Some(data) if is_it => {
                assert_eq!((value, origin), (1, Origin::Forced));
                assert!(reason.starts_with("INVAR_KEYS; requests go to memory"), "{reason}");
                let mut verdict = Verdict::undecided();
                force(&mut verdict);
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
        adopt(&module, this_thread(), &mut Verdict::undecided());
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
    adopt(&program, this_thread(), &mut Verdict::undecided());
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
    assert!(adopt_sealed(&module, None, &ours, &mut verdict));
    assert_eq!((verdict.value(), twin.state.value()), (expected ^ 1, expected ^ 1));
    let image = Image::new();
    let module = image.module();
    let unknown = module.keys().next().expect("a key");
    assert!(!adopt_sealed(&module, None, &unknown, &mut verdict), "nobody has it");
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
    for (data, right) in [(Some(0), false), (Some(1 << 31), false), (libcs.map(|data| data + 32), false), (libcs, true)]
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
        probe_by_program(own, true, &key(flags, middle), &mut verdict);
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
