//! Constructors in any order: what runs before the runtime's own takes its sites' checked form, which goes by the first value
//! of a key that is not decided yet. Afterwards the same sites go by the verdict.
#![cfg(target_os = "linux")]

use std::ffi::{c_char, c_int};
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

invar::values! { enum Speed { Walk, Run, Fly } }
invar::key! { #[name = "test.early"] static EARLY: bool = |_| Ok(true); }
invar::key! { #[name = "test.early_speed"] static SPEED: Speed = |_| Ok(Speed::Fly); }

fn walk() -> u8 {
    1
}
fn run() -> u8 {
    2
}
fn fly() -> u8 {
    3
}

invar::dispatch! {
    fn go() -> u8 {
        SPEED == Speed::Fly => fly,
        SPEED == Speed::Run => run,
        _ => walk,
    }
}

/// The same sites each time: it is compiled once.
#[inline(never)]
fn look() -> [u8; 2] {
    [u8::from(black_box(invar::branch!(EARLY))), black_box(go())]
}

/// What each constructor saw; 255 where it has not run.
static SEEN: [[AtomicU8; 2]; 3] = [const { [const { AtomicU8::new(255) }; 2] }; 3];

fn note<const WHICH: usize>() {
    for (seen, value) in SEEN[WHICH].iter().zip(look()) {
        seen.store(value, Relaxed);
    }
}

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

extern "C" fn constructor<const WHICH: usize>(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    note::<WHICH>();
}

#[used]
#[unsafe(link_section = ".preinit_array")]
static BEFORE_ALL: Constructor = constructor::<0>;

#[used]
#[unsafe(link_section = ".init_array.00001")]
static BEFORE_THE_RUNTIME: Constructor = constructor::<1>;

#[used]
#[unsafe(link_section = ".init_array")]
static OF_ORDINARY_PRIORITY: Constructor = constructor::<2>;

#[test]
fn sites_are_right_before_and_after_they_are_bound() {
    let seen = SEEN.each_ref().map(|values| values.each_ref().map(|value| value.load(Relaxed)));
    assert_eq!(seen, [[0, 1], [0, 1], [1, 3]], "before all, before the runtime, after it");
    assert_eq!(look(), [1, 3]);
}
