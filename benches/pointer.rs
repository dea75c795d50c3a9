//! Calls by a pointer, beside the ways in which programs otherwise call one of several functions: in Rust, by functions that are not in
//! line. On machines where no site is bound too: pointers are.

use invar_measure::{Batch, Part, Table, alternate, calibrate, floor, per_operation};
use std::hint::black_box;
use std::io;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

invar::key! { #[name = "invar-bench.on"] static ON: bool = |_| Ok(true); }

fn add_one(number: u64) -> u64 {
    number + 1
}
fn add_two(number: u64) -> u64 {
    number + 2
}

#[inline(never)]
fn direct(number: u64) -> u64 {
    add_one(number)
}

invar::dispatch! {
    #[inline(never)]
    fn dispatched(number: u64) -> u64 { ON => add_one, _ => add_two }
}

invar::pointer! { static POINTER: fn(u64) -> u64 = { ON => add_one, _ => add_two }; }

invar::pointers! {
    static TABLE: struct Table2 { one: fn(u64) -> u64, two: fn(u64) -> u64 } = {
        ON => { one: add_one, two: add_two },
        _ => { one: add_two, two: add_one },
    };
}

/// What a program has that chooses at the first call, as memchr does.
static LAZY: AtomicPtr<()> = AtomicPtr::new(first as fn(u64) -> u64 as *mut ());

#[inline(never)]
fn first(number: u64) -> u64 {
    LAZY.store(add_one as fn(u64) -> u64 as *mut (), Relaxed);
    add_one(number)
}

#[inline(always)]
fn lazy(number: u64) -> u64 {
    // SAFETY: only such functions are stored there.
    let function: fn(u64) -> u64 = unsafe { std::mem::transmute(LAZY.load(Relaxed)) };
    function(number)
}

/// A function pointer in memory that the program may write to.
static mut PLAIN: fn(u64) -> u64 = add_one;

#[inline(always)]
fn plain(number: u64) -> u64 {
    // SAFETY: nobody writes to it.
    let function = unsafe { (&raw const PLAIN).read_volatile() };
    function(number)
}

const NAMES: [&str; 8] = [
    "nothing",
    "direct call",
    "dispatch!, a call",
    "pointer!",
    "pointer!, atomic load",
    "pointers!",
    "AtomicPtr",
    "function pointer",
];

/// One batch of calls, each of which waits for the one before.
#[inline(always)]
fn batch(call: impl Fn(u64) -> u64 + Copy + 'static) -> Batch<'static> {
    let time = move |count| {
        per_operation(count, || {
            let mut number = black_box(1_u64);
            for _ in 0..count {
                number = black_box(call(number));
            }
        })
    };
    let count = calibrate(time);
    Box::new(move || Ok(time(count)))
}

#[allow(clippy::redundant_closure)] // the closures are what is measured
pub(crate) fn run() -> io::Result<()> {
    let report = invar::report();
    report.modules(|module| {
        let keys = module.keys().filter(|key| key.name().contains("invar-bench"));
        keys.for_each(|key| println!("{} = {}", key.name(), key.value()));
    });
    println!();
    let mut batches = [
        batch(|number| number),
        batch(direct),
        batch(dispatched),
        batch(|number| POINTER(number)),
        batch(|number| POINTER.get()(number)),
        batch(|number| (TABLE.one)(number)),
        batch(lazy),
        batch(plain),
    ];
    let Ok(warm) = alternate(Duration::from_secs(6), &mut batches);
    assert_eq!((TABLE.two)(1), 3);
    println!(
        "{}",
        Table::of(&warm, &[Part { title: "one call, warm, ns", names: &NAMES, first: 0 }], &[&floor(&warm)])
    );
    Ok(())
}
