//! Constructors in any order: what runs before the runtime's own takes its sites' checked form, which goes by the first value
//! of a key that is not decided yet. Afterwards the same sites go by the verdict.
#![cfg(target_os = "linux")]

use std::ffi::{c_char, c_int, c_void};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

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
static BEFORE_THE_RUNTIME: Constructor = begins;

/// Begins a thread that executes the sites while they are bound, and from then on.
extern "C" fn begins(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    note::<1>();
    let mut thread = 0;
    // SAFETY: the function takes no argument, and needs nothing that is not there yet.
    let begun = unsafe { libc::pthread_create(&raw mut thread, std::ptr::null(), beside, std::ptr::null_mut()) };
    assert_eq!(begun, 0);
    while OF_THE_THREAD[0].load(Relaxed) == 0 {
        std::hint::spin_loop();
    }
}

/// How often the thread saw what the sites give before they are bound, and what they give afterwards; and anything else.
static OF_THE_THREAD: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn beside(nothing: *mut c_void) -> *mut c_void {
    let mut has_changed = [false; 2];
    while !ENDED.load(Relaxed) {
        let seen = look();
        let is_right = [0, 1].map(|site| match seen[site] == [1, 3][site] {
            true => true,
            // The first values, and never again.
            false => seen[site] == [0, 1][site] && !has_changed[site],
        });
        has_changed = [0, 1].map(|site| seen[site] == [1, 3][site]);
        let what = if is_right != [true; 2] { 2 } else { usize::from(has_changed == [true; 2]) };
        OF_THE_THREAD[what].fetch_add(1, Relaxed);
    }
    nothing
}

#[used]
#[unsafe(link_section = ".init_array")]
static OF_ORDINARY_PRIORITY: Constructor = constructor::<2>;

#[test]
fn sites_are_right_before_and_after_they_are_bound() {
    let seen = SEEN.each_ref().map(|values| values.each_ref().map(|value| value.load(Relaxed)));
    assert_eq!(seen, [[0, 1], [0, 1], [1, 3]], "before all, before the runtime, after it");
    assert_eq!(look(), [1, 3]);
}

/// The program is bound beside the thread, which a constructor has begun before the runtime's own ran.
#[test]
fn a_thread_may_be_there_already() {
    let [before, after] = [0, 1].map(|what| OF_THE_THREAD[what].load(Relaxed));
    while OF_THE_THREAD[1].load(Relaxed) < after + 1000 {
        std::thread::yield_now();
    }
    ENDED.store(true, Relaxed);
    assert!(before > 0 && OF_THE_THREAD[2].load(Relaxed) == 0, "{OF_THE_THREAD:?}");
    let mut modules = 0;
    invar::report().modules(|module| {
        if module.path().is_empty() {
            modules += 1;
            assert_eq!(
                (module.sites() > 0, module.bound()),
                (invar_arch::PATCHES, module.sites()),
                "{}",
                invar::report()
            );
        }
    });
    assert_eq!(modules, 1);
}
