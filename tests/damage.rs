//! Damaged programs: whatever stands in a module's tables and in its note, and whatever somebody else has put on
//! a site, the program runs as before, and nothing is written to but sites that the compiler left.
//!
//! `PROPTEST_CASES=10000 PROPTEST_RNG_SEED=7 cargo test --test damage` looks further.
//!
//! Two sorts of damage cannot be told from the truth, and are not done here: a probe at some other address of the
//! program's text, which the runtime would call, and a state in zeroed memory that the program uses for something
//! else, which it would fill in.

mod common;

use common::elf::Image;
use common::{Build, Tale, Temporary, bound_in_c, cases, command, run, sites, tale, test, with_either_binder};
use proptest::prelude::*;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::LazyLock;

fn main() -> ExitCode {
    let either: [(&str, fn()); 12] = [
        ("damaged site records", damaged_site_records),
        ("damaged key records", damaged_key_records),
        ("damaged names", damaged_names),
        ("a damaged note", a_damaged_note),
        ("a damaged header", a_damaged_header),
        ("a note that was moved is not missed", a_note_that_was_moved_is_not_missed),
        ("every field, one at a time", every_field_one_at_a_time),
        ("states in memory that is read-only again", states_in_memory_that_is_read_only_again),
        ("states in memory that is in use", states_in_memory_that_is_in_use),
        ("records that are there twice, or lead nowhere", records_twice_or_blank),
        ("records of another version are skipped", records_of_another_version_are_skipped),
        ("a breakpoint on a site is left alone", a_breakpoint_on_a_site_is_left_alone),
    ];
    let missed = test("a note that is gone is not missed", sites(), a_note_that_is_gone_is_not_missed);
    let removed = test("a record that was removed is missed", sites(), a_record_that_was_removed_is_missed);
    let says = "a module whose header cannot be used says so";
    let says = test(says, sites(), a_module_whose_header_cannot_be_used_says_so);
    let counted = test("key records that are corrupt are counted", sites(), key_records_that_are_corrupt_are_counted);
    let numbers: [(&str, fn()); 3] = [
        ("damaged site records of the newer kinds", damaged_newer_site_records),
        ("damaged key records of constants", damaged_constants),
        ("every field of the newer kinds, one at a time", every_field_of_the_newer_kinds),
    ];
    let numbers = numbers.map(|(name, body)| test(name, sites(), move || of_numbers(body)));
    let either = either.map(|(name, body)| with_either_binder(name, sites(), body));
    run(either.into_iter().flatten().chain([missed, removed, says, counted]).chain(numbers))
}

/// The story as it was built, and what it says.
static STORY: LazyLock<(Image, Tale)> = LazyLock::new(|| {
    let program = Build::release().program("story");
    let tale = tale(&mut command(&program));
    tale.program().assert_bound();
    (Image::read(&program), tale)
});

/// The same of the program with ordered branches, selects and constants. The numbers of those that nobody decides are others.
static WITH_NUMBERS: LazyLock<(Image, Tale)> = LazyLock::new(|| {
    let program = Build::release().program("numbers");
    let tale = tale(&mut command(&program));
    tale.program().assert_bound();
    (Image::read(&program), tale)
});

thread_local! {
    /// A test runs in one thread.
    static OF_NUMBERS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs a test with the other program.
fn of_numbers(body: impl FnOnce()) {
    OF_NUMBERS.set(true);
    body();
    OF_NUMBERS.set(false);
}

/// The program that is damaged.
fn subject() -> &'static (Image, Tale) {
    if OF_NUMBERS.get() { &WITH_NUMBERS } else { &STORY }
}

/// One change to the file.
#[derive(Clone, Debug)]
struct Damage {
    offset: usize,
    bytes: Vec<u8>,
}

proptest! {
    #![proptest_config(cases(250))]

    fn damaged_site_records(damage in prop::collection::vec(field(|image| records(&image.sites), SITE_FIELDS), 1..5)) {
        assert_harmless(&damage);
    }

    fn damaged_key_records(damage in prop::collection::vec(field(|image| records(&image.keys), KEY_FIELDS), 1..5)) {
        assert_harmless(&damage);
    }

    fn damaged_newer_site_records(
        damage in prop::collection::vec(field(|image| records(&image.sites), SITE_FIELDS), 1..5),
    ) {
        let tale = assert_harmless(&damage);
        assert_eq!(tale.results, subject().1.results);
    }

    fn damaged_constants(damage in prop::collection::vec(field(|image| records(&image.keys), KEY_FIELDS), 1..5)) {
        assert_harmless(&damage);
    }

    fn damaged_header(damage in prop::collection::vec(field(|image| vec![image.own.start], OWN_FIELDS), 1..3)) {
        assert_harmless(&damage);
    }

    fn damaged_note(damage in prop::collection::vec(field(|image| vec![image.note.start], NOTE_FIELDS), 1..3)) {
        assert_harmless(&damage);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    fn damaged_names(key in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let image = &STORY.0;
        let record = records(&image.keys)[key.index(image.keys.len() / 16)];
        let length = u16::from_le_bytes(image.bytes[record + 12..record + 14].try_into().unwrap());
        let offset = image.offset(image.distance(record + 4)) + at.index(length.into());
        assert_harmless(&[Damage { offset, bytes: vec![byte] }]);
    }
}

/// What a field of a record holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    /// A distance to anything that the runtime looks at before it believes it.
    Distance,
    /// A distance to what the runtime calls.
    ToCode,
    /// A distance to what the runtime writes to.
    ToData,
    /// A number of this many bytes.
    Number(usize),
}
use Field::{Distance, Number, ToCode, ToData};

const SITE_FIELDS: &[(usize, Field)] =
    &[(0, Distance), (4, Distance), (8, Distance), (12, Number(1)), (13, Number(1)), (14, Number(1)), (15, Number(1))];
const KEY_FIELDS: &[(usize, Field)] =
    &[(0, ToData), (4, Distance), (8, ToCode), (12, Number(2)), (14, Number(1)), (15, Number(1))];
/// From the note's head on, which is 20 bytes long: sizes, type, owner.
const NOTE_FIELDS: &[(usize, Field)] = &[
    (0, Distance),
    (4, Number(4)),
    (0_usize.wrapping_sub(20), Number(4)),
    (0_usize.wrapping_sub(16), Number(4)),
    (0_usize.wrapping_sub(12), Number(4)),
    (0_usize.wrapping_sub(8), Number(4)),
];

/// Of a module's header; an address, which the loader works out, is behind these.
const OWN_FIELDS: &[(usize, Field)] = &[
    (0, Number(4)),
    (4, Number(4)),
    (8, Number(4)),
    (12, Number(2)),
    (14, Number(2)),
    (16, Number(4)),
    (20, Distance),
    (24, Distance),
    (28, Distance),
    (32, Distance),
    (36, ToData),
    (40, Distance),
    (44, Distance),
];

fn records(table: &Range<usize>) -> Vec<usize> {
    table.clone().step_by(16).collect()
}

fn a_damaged_note() {
    damaged_note();
}

fn a_damaged_header() {
    damaged_header();
}

/// Damage to one field of one of the records that `records` finds.
fn field(records: fn(&Image) -> Vec<usize>, fields: &'static [(usize, Field)]) -> impl Strategy<Value = Damage> {
    let new = prop_oneof![
        any::<i32>().prop_map(New::Any),
        (-64..64).prop_map(New::Near),
        (-40..40).prop_map(|records| New::Near(16 * records)),
        any::<prop::sample::Index>().prop_map(New::Neighbours),
        any::<prop::sample::Index>().prop_map(New::Somewhere),
    ];
    (any::<prop::sample::Index>(), prop::sample::select(fields), new).prop_map(move |(record, (at, field), new)| {
        let image = &subject().0;
        let records = records(image);
        let record = records[record.index(records.len())];
        damage(image, &records, record.wrapping_add(at), at, field, new)
    })
}

/// What a field gets.
#[derive(Clone, Debug)]
enum New {
    Any(i32),
    /// Something near what it has.
    Near(i32),
    /// What another record has there: the same place, if it is a distance.
    Neighbours(prop::sample::Index),
    /// An aligned address of the program's.
    Somewhere(prop::sample::Index),
}

fn damage(image: &Image, records: &[usize], offset: usize, at: usize, field: Field, new: New) -> Damage {
    let word = |offset: usize| i32::from_le_bytes(image.bytes[offset..offset + 4].try_into().unwrap());
    let old = word(offset);
    let mut value = match new {
        New::Any(value) => value,
        New::Near(distance) => old.wrapping_add(distance),
        New::Neighbours(index) => {
            let other = records[index.index(records.len())].wrapping_add(at);
            let moved = (other as i32).wrapping_sub(offset as i32);
            word(other).wrapping_add(if matches!(field, Number(_)) { 0 } else { moved })
        }
        New::Somewhere(index) => {
            let end = image.data().map(|data| data.end).max().unwrap() as usize;
            (8 * index.index(end / 8) as i32).wrapping_sub(image.address(offset) as i32)
        }
    };
    let leads_to = |value: i32| image.address(offset).wrapping_add_signed(value.into());
    let length = match field {
        Number(length) => length,
        Distance => 4,
        ToCode => {
            if image.is_text(leads_to(value)) && value != old {
                value = old.wrapping_add(1 << 28);
            }
            4
        }
        ToData => {
            // The state of another key, if that has as many values, and is a constant if this one is: two records that agree on a
            // state are one key.
            let keys = image.key_records();
            let of = |state| keys.iter().find(|key| key.state == state).map(|key| (key.values, key.flags & 64));
            let known = of(leads_to(value)).is_some_and(|values| of(leads_to(old)).is_none_or(|own| own == values));
            // A misplaced state is to be found out if it is no memory, read-only when it counts, or not aligned.
            let shown = leads_to(value) % 8 != 0 || !image.data().any(|data| data.contains(&leads_to(value)));
            if !shown && !known && !image.is_relro(leads_to(value)) {
                value = old.wrapping_add(1 << 28);
            }
            4
        }
    };
    Damage { offset, bytes: value.to_le_bytes()[..length].to_vec() }
}

/// The program with this damage.
fn damaged(damage: &[Damage]) -> Temporary {
    let mut bytes = subject().0.bytes.clone();
    for Damage { offset, bytes: new } in damage {
        bytes[*offset..*offset + new.len()].copy_from_slice(new);
    }
    Temporary::executable("damaged", &bytes)
}

/// Runs the story with this damage.
fn assert_harmless(damage: &[Damage]) -> Tale {
    let plain = &subject().1;
    let copy = damaged(damage);
    // The report looks at every record once more.
    let tale = tale(command(&copy.0).env("INVAR_REPORT", "/dev/null"));
    tale.assert_consistent();
    assert!(OF_NUMBERS.get() || tale.results == plain.results, "{:?}", tale.results);
    tale.assert_only_sites_differ(&subject().0);
    tale
}

fn every_field_of_the_newer_kinds() {
    let image = &WITH_NUMBERS.0;
    every_field(&[(records(&image.sites), SITE_FIELDS), (records(&image.keys), KEY_FIELDS)]);
}

fn every_field_one_at_a_time() {
    let image = &STORY.0;
    every_field(&[
        (records(&image.sites), SITE_FIELDS),
        (records(&image.keys), KEY_FIELDS),
        (vec![image.note.start], NOTE_FIELDS),
        (vec![image.own.start], OWN_FIELDS),
    ]);
}

/// Records, and the fields that each has.
type Records<'a> = (Vec<usize>, &'a [(usize, Field)]);

fn every_field(tables: &[Records<'_>]) {
    let image = &subject().0;
    let extremes = [0, 1, 2, 3, 7, 16, 255, 256, i32::MAX, i32::MIN, -1, -16];
    for (records, fields) in tables {
        for &(at, field) in *fields {
            for value in extremes {
                // In all records at once, so that no run is without effect.
                let all: Vec<_> = records
                    .iter()
                    .map(|record| damage(image, records, record.wrapping_add(at), at, field, New::Any(value)))
                    .collect();
                assert_harmless(&all);
            }
        }
    }
}

/// The padding behind what the loader relocates: blank as an undecided state is, in a writable segment, and
/// protected before the constructor runs.
fn states_in_memory_that_is_read_only_again() {
    let image = &STORY.0;
    let padding = (image.relro_end() - 256) & !7;
    let misplaced = records(&image.keys).into_iter().map(|record| {
        let distance = (padding as i32).wrapping_sub(image.address(record) as i32);
        Damage { offset: record, bytes: distance.to_le_bytes().into() }
    });
    assert_harmless(&misplaced.collect::<Vec<_>>());
}

/// What is not blank is nobody's undecided state.
fn states_in_memory_that_is_in_use() {
    let image = &STORY.0;
    let places =
        image.data().flat_map(|data| (data.start.next_multiple_of(8)..data.end.saturating_sub(256)).step_by(8));
    let mut places = places.filter(|&at| !image.is_relro(at) && !image.is_relro(at + 255));
    // No pointer, which the loader fills in, and what would be a state that nobody has begun to decide.
    let taken = |at| !image.is_blank(at..at + 8) && image.is_blank(at + 1..at + 2);
    let place = places.find(|&at| taken(at)).expect("data that is not blank");
    let misplaced = records(&image.keys).into_iter().map(|record| {
        let distance = (place as i32).wrapping_sub(image.address(record) as i32);
        Damage { offset: record, bytes: distance.to_le_bytes().into() }
    });
    let tale = assert_harmless(&misplaced.collect::<Vec<_>>());
    let keys = &tale.program().keys;
    assert!(keys.iter().all(|key| key.origin == "undecided"), "{keys:?}");
}

fn key_records_that_are_corrupt_are_counted() {
    let said = |bytes: &[u8], at: usize, records: &[usize]| {
        let damage: Vec<_> = records.iter().map(|record| Damage { offset: record + at, bytes: bytes.into() }).collect();
        let copy = damaged(&damage);
        let output = command(&copy.0).env("INVAR_REPORT", "stderr").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let all = records(&STORY.0.keys);
    let expected = |count: usize| format!("; key records that are corrupt: {count}\n");
    // One name only; the names end elsewhere.
    assert!(said(&[1], 14, &all).contains(&expected(all.len())));
    assert!(said(&[3, 0], 12, &all[..2]).contains(&expected(2)));
    // Blank ones are none.
    assert!(!said(&[0; 16], 0, &all).contains("corrupt"));
    assert!(!said(&[], 0, &[]).contains("corrupt"));
}

/// As linkers leave them that fold functions, or discard them. They do not count where binding is required.
fn records_twice_or_blank() {
    let (image, plain) = &*STORY;
    let sites = records(&image.sites);
    let idle = sites.iter().position(|&record| image.distance(record + 8) == image.state("story.idle")).unwrap();
    let (spare, other) = (sites[idle], sites[idle - 1]);
    // The distances count from their own fields.
    let moved = |at: usize| (image.distance(other + at) as i32).wrapping_sub(image.address(spare + at) as i32);
    let twice = [moved(0), moved(4), moved(8)].map(i32::to_le_bytes).concat();
    let twice = [&twice, &image.bytes[other + 12..other + 16]].concat();
    // A linker that discards code leaves what it does not relocate.
    let blank = [&[0; 12], &image.bytes[spare + 12..spare + 16]].concat();
    for record in [twice, blank] {
        let mut bytes = image.bytes.clone();
        bytes[spare..spare + 16].copy_from_slice(&record);
        let copy = Temporary::executable("records", &bytes);
        for writer in ["swap", "memfd", "mprotect"] {
            let settings = [("INVAR", "require"), ("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", writer)];
            let tale = tale(command(&copy.0).envs(settings));
            tale.assert_consistent();
            assert_eq!(tale.results, plain.results);
            tale.assert_only_sites_differ(&STORY.0);
        }
    }
}

/// As a tool leaves it that removes a section.
fn a_record_that_was_removed_is_missed() {
    let (image, _) = &*STORY;
    let mut bytes = image.bytes.clone();
    let spare = records(&image.sites)[0];
    bytes[spare..spare + 16].fill(0);
    let copy = Temporary::executable("removed", &bytes);
    let output = common::output(command(&copy.0).envs([("INVAR", "require"), ("INVAR_KEYS", "slice=force")]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(invar::EXIT_REQUIRED), "{errors}");
    let all = records(&image.sites).len();
    let why = format!("{} of {all} sites are bound; not site record 0: unknown kind or flags\n", all - 1);
    assert!(errors.ends_with(&why), "{errors}");
}

/// Flags that are not 0, or an unknown kind, at every site.
fn records_of_another_version_are_skipped() {
    let (image, plain) = &*STORY;
    let sites = [(15, 1), (15, 2), (15, 0x80), (13, 0), (13, 4), (13, 5), (13, 6), (13, 7)]
        .map(|(at, byte)| (&image.sites, at, byte));
    // Flags that do not go together, or that no key of this version has; and one that makes it a constant, which it is not.
    let keys = [0x22, 0x40, 0x80, 0xe0, 0x3f, 0x7f].map(|flags| (&image.keys, 15, flags));
    for (table, at, byte) in sites.into_iter().chain(keys) {
        let mut bytes = image.bytes.clone();
        records(table).into_iter().for_each(|record| bytes[record + at] = byte);
        let copy = Temporary::executable("version", &bytes);
        let tale = tale(&mut command(&copy.0));
        tale.assert_consistent();
        assert_eq!(tale.results, plain.results);
        assert_eq!((tale.program().bound, &tale.differs), (0, &vec![]), "{at} {byte}");
    }
}

/// The module finds itself without it. That nobody else does is no matter: there is one module.
fn a_note_that_is_gone_is_not_missed() {
    let (image, plain) = &*STORY;
    let mut bytes = image.bytes.clone();
    bytes[image.note.start - 8] ^= 1;
    let copy = Temporary::executable("noteless", &bytes);
    let tale = tale(command(&copy.0).env("INVAR", "require").env("INVAR_KEYS", "slice=force"));
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    tale.program().assert_bound();
}

/// Wherever it leads now: the module itself knows its header, and others look for it. So does the binder, which has nothing else.
fn a_note_that_was_moved_is_not_missed() {
    let (image, plain) = &*STORY;
    for distance in [0, 1, 4, 8, -8, 4096, i32::MAX, i32::MIN] {
        let mut bytes = image.bytes.clone();
        bytes[image.note.start..][..4].copy_from_slice(&distance.to_le_bytes());
        let copy = Temporary::executable("moved", &bytes);
        let tale = tale(command(&copy.0).env("INVAR_KEYS", "slice=force"));
        tale.assert_consistent();
        assert_eq!(tale.results, plain.results);
        tale.program().assert_bound();
    }
}

/// Where that is asked, with the field; and nothing of the module is bound, nor looked at by others.
fn a_module_whose_header_cannot_be_used_says_so() {
    let (image, plain) = &*STORY;
    for (field, at, new) in [
        ("magic", 0, 0_i32),
        ("magic", 4, 0),
        ("version", 8, 3),
        ("length", 12, 64 | 62 << 16),
        ("machine", 12, 56 | 183 << 16),
        ("flags", 16, 1),
        ("sites", 20, i32::MIN),
        ("sites", 24, i32::MAX),
        ("keys", 28, i32::MIN),
        ("keys", 32, i32::MAX),
        ("outcome", 36, i32::MAX),
    ] {
        let mut bytes = image.bytes.clone();
        bytes[image.own.start + at..][..4].copy_from_slice(&new.to_le_bytes());
        let copy = Temporary::executable("unknown", &bytes);
        let tale = tale(command(&copy.0).env("INVAR_REPORT", "stderr"));
        assert_eq!((&tale.results, tale.modules.len()), (&plain.results, 0), "{field}");
        assert!(tale.differs.is_empty(), "{field}: {:?}", tale.differs);
        let rest = "its sites stay checked, and no setting reaches its keys";
        let said = format!("a module's header has a wrong {field}: {rest}");
        assert_eq!(tale.errors, format!("invar: {said}\n"));
        let required = common::output(command(&copy.0).env("INVAR", "require"));
        assert_eq!(required.status.code(), Some(invar::EXIT_REQUIRED));
        assert_eq!(String::from_utf8_lossy(&required.stderr), format!("invar: INVAR=require: {said}\n"));
    }
}

fn a_breakpoint_on_a_site_is_left_alone() {
    const INT3: u8 = 0xcc;
    let (image, plain) = &*STORY;
    let idle = plain.program().bindings.iter().map(|binding| binding.site.as_ref().unwrap());
    let idle = idle.filter(|site| site.key == "story.idle").collect::<Vec<_>>();
    let [idle] = idle[..] else { panic!("the program has one site that it never runs: {idle:?}") };
    let mut bytes = image.bytes.clone();
    bytes[image.offset(idle.address)] = INT3;

    let copy = Temporary::executable("breakpoint", &bytes);
    let tale = tale(command(&copy.0).env("INVAR_REPORT", "stderr"));
    tale.assert_consistent();
    tale.assert_only_sites_differ(&STORY.0);
    let module = tale.program();
    assert_eq!((module.sites, module.bound), (plain.program().sites, plain.program().sites - 1));
    for binding in &module.bindings {
        let site = binding.site.as_ref().unwrap();
        let is_it = site.address == idle.address;
        assert_eq!(binding.status, if is_it { "Foreign" } else { "Bound" });
        if is_it {
            assert_eq!(site.bytes, [&[INT3], &image.at(site.address, site.length)[1..]].concat());
        }
    }
    if bound_in_c() {
        // It writes no report, and knows nothing of `require`.
        return;
    }
    assert!(tale.errors.contains(": foreign bytes, left alone\n"), "{}", tale.errors);
    // One site that is not bound is enough for those who require it.
    let required = common::output(command(&copy.0).env("INVAR", "require").env("INVAR_KEYS", "slice=force"));
    assert_eq!(required.status.code(), Some(invar::EXIT_REQUIRED));
}
