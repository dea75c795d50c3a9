//! Each target for a moment: what is kept for it, and changes of that, the same in each run. `PROPTEST_CASES` and
//! `PROPTEST_RNG_SEED` ask for more, and for others.

use invar_fuzz::{TARGETS, Target};
use libtest_mimic::{Arguments, Trial};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// What came from long runs.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

fn main() -> ExitCode {
    let trials = TARGETS.iter().flat_map(|target| {
        let test = |name: &str, body: fn(&'static Target)| {
            Trial::test(format!("{}: {name}", target.name), move || {
                body(target);
                Ok(())
            })
        };
        [test("what is kept", what_is_kept), test("changes of that", changes_of_that)]
    });
    let folders = Trial::test("each folder of what is kept is a target's", || {
        each_folder_is_a_targets();
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.chain([folders]).collect()).exit_code()
}

/// The seeds, and the files in `fuzz/corpus`.
fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut kept: Vec<_> =
        (target.seeds)().into_iter().enumerate().map(|(number, seed)| (format!("seed {number}"), seed)).collect();
    let folder = Path::new(CORPUS).join(target.name);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    kept.extend(paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).expect("an input"))));
    kept
}

fn each_folder_is_a_targets() {
    let names = fs::read_dir(CORPUS).expect("the corpus").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().expect("a name")).collect();
    names.sort();
    let mut targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    targets.sort_unstable();
    assert_eq!(names, targets);
}

fn what_is_kept(target: &Target) {
    for (name, input) in kept(target) {
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(outcome.is_ok(), "it is {name}");
    }
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    /// A number of four bytes.
    Number(Index, u32),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// A piece of another input takes the place of what is there.
    Splice(Index, Index, Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let edges = [0, 1, 0xff, 0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];
    let near = -0x1000..0x1000_i32;
    let number = prop_oneof![prop::sample::select(edges.to_vec()), near.prop_map(|near| near as u32), any::<u32>()];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), number).prop_map(|(at, number)| Change::Number(at, number)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..24)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1..64_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), any::<Index>(), any::<Index>(), 1..256_usize)
            .prop_map(|(at, other, from, length)| Change::Splice(at, other, from, length)),
    ]
}

fn changed(mut input: Vec<u8>, changes: &[Change], kept: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let length = input.len();
        match change {
            Change::Byte(at, byte) if length > 0 => input[at.index(length)] = *byte,
            Change::Number(at, number) if length >= 4 => {
                // Most numbers are aligned.
                let at = at.index(length - 3) & !3;
                input[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            Change::Insert(at, bytes) => {
                let at = at.index(length + 1);
                input.splice(at..at, bytes.iter().copied());
            }
            Change::Remove(at, removed) if length > 0 => {
                let at = at.index(length);
                input.drain(at..length.min(at + removed));
            }
            Change::Splice(at, other, from, taken) => {
                let other = &kept[other.index(kept.len())];
                if !other.is_empty() {
                    let (at, from) = (at.index(length + 1), from.index(other.len()));
                    let piece = &other[from..other.len().min(from + taken)];
                    let end = length.min(at + piece.len());
                    input.splice(at..end, piece.iter().copied());
                }
            }
            _ => {}
        }
    }
    input
}

fn changes_of_that(target: &'static Target) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 1000;
    }
    let kept: Vec<_> = kept(target).into_iter().map(|(_, input)| input).collect();
    let inputs = (any::<Index>(), prop::collection::vec(change(), 1..8));
    let made = |(first, changes): &(Index, Vec<Change>)| changed(kept[first.index(kept.len())].clone(), changes, &kept);
    let outcome = TestRunner::new(config).run(&inputs, |choice| {
        (target.run)(&made(&choice));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, choice)) => {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
            fs::write(&path, made(&choice)).expect("the input is written");
            panic!("{why}\nthe input, to be kept in fuzz/corpus/{}, is {}", target.name, path.display());
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
