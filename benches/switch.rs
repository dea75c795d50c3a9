//! Switches beside their neighbours: a logging facade whose thousand calls are off, and what it costs to turn them on.
//!
//! The facade is the crate `log`'s `debug!`, once as it is, whose check loads the most verbose level that is wanted, and once
//! behind a switch. The neighbour for setting is the crate `static-keys`, which makes text writable and stores to it, a site at a time.

use invar_measure::{Batch, Part, Table, Targets, alternate, per_operation};
use std::arch::x86_64::{_mm_clflush, _mm_mfence};
use std::hint::black_box;
use std::io;
use std::time::Duration;

invar::switch! {
    /// Whether `debug!` is wanted.
    #[name = "bench.debug"]
    static DEBUG: bool = |_| Ok(false);
}
static_keys::define_static_key_false!(STATIC_KEY);

/// Calls in each function.
const CALLS: usize = 1000;

/// The call, a thousand times, each behind a bit of work.
macro_rules! thousand {
    ($($call:tt)*) => { ten! { ten! { ten! { $($call)* } } } };
}
macro_rules! ten {
    ($($body:tt)*) => {
        { $($body)* } { $($body)* } { $($body)* } { $($body)* } { $($body)* }
        { $($body)* } { $($body)* } { $($body)* } { $($body)* } { $($body)* }
    };
}

macro_rules! functions {
    ($($name:ident($number:ident) $call:expr;)*) => {
        $(
            #[inline(never)]
            fn $name(mut $number: u32) -> u32 {
                thousand! {
                    $number = $number.rotate_left(1) ^ 0x1234_5678;
                    $call;
                }
                $number
            }
        )*
    };
}

functions! {
    nothing(number) {};
    by_log(number) log::debug!("{number}");
    by_switch(number) if invar::branch!(DEBUG) { log::debug!("{number}") };
    by_static_key(number) if static_keys::static_branch_unlikely!(STATIC_KEY) { log::debug!("{number}") };
}

const NAMES: [&str; 4] = ["no call", "log's own check", "switch, off", "static-keys, off"];
const FUNCTIONS: [fn(u32) -> u32; 4] = [nothing, by_log, by_switch, by_static_key];

pub(crate) fn run() -> io::Result<()> {
    log::set_max_level(log::LevelFilter::Info);
    static_keys::global_init();
    let warm = FUNCTIONS.map(|function| -> Batch<'_> {
        Box::new(move || {
            Ok(per_operation(10 * CALLS as u64, || (0..10).for_each(|_| _ = black_box(function(black_box(1))))))
        })
    });
    let cold = FUNCTIONS.map(|function| -> Batch<'_> {
        Box::new(move || {
            flush(function);
            Ok(per_operation(CALLS as u64, || _ = black_box(function(black_box(1)))))
        })
    });
    let Ok(samples) = alternate(Duration::from_secs(10), &mut warm.into_iter().chain(cold).collect::<Vec<_>>());
    let parts = [
        Part { title: "one call that is off, warm, ns", names: &NAMES, first: 0 },
        Part { title: "one call that is off, code cold, ns", names: &NAMES, first: NAMES.len() },
    ];
    const NOTE: &str = "A thousand calls, one behind the other. Code cold: all lines of the function are flushed first; the level is warm.";
    print!("{}", Table::of(&samples, &parts, &[NOTE]));

    let mut on = false;
    let mut key = false;
    let mut toggles: [Batch<'_>; 2] = [
        Box::new(|| {
            on = !on;
            Ok(per_operation(1, || assert!(DEBUG.set(on).is_ok_and(|set| set.bound as usize >= CALLS))))
        }),
        Box::new(|| {
            key = !key;
            // SAFETY: this process has one thread.
            Ok(per_operation(1, || unsafe { if key { STATIC_KEY.enable() } else { STATIC_KEY.disable() } }))
        }),
    ];
    let Ok(samples) = alternate(Duration::from_secs(4), &mut toggles);
    let mut targets = Targets::default();
    let micro = |variant| samples.time(variant).median / 1000.0;
    let is_met = micro(0) < 18.0 * CALLS as f64;
    targets.add(
        "set a switch with 1,000 sites, us",
        format!("{:.0}", micro(0)),
        "one site of static-keys each: 18000",
        is_met,
    );
    targets.show("static-keys, the same sites, us", format!("{:.0}", micro(1)), "in the same rounds");
    print!("\n{targets}");
    Ok(())
}

/// Takes a function, as far as it can reach, out of all caches.
fn flush(function: fn(u32) -> u32) {
    /// More than a thousand calls have.
    const BYTES: usize = 64 << 10;
    const LINE: usize = 64;
    let start = function as *const u8;
    for offset in (0..BYTES).step_by(LINE) {
        // SAFETY: text of this program, or what is mapped behind it, which a flush does not change.
        unsafe { _mm_clflush(start.wrapping_add(offset)) };
    }
    // SAFETY: a fence.
    unsafe { _mm_mfence() };
}
