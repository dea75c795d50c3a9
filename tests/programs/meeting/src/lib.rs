//! A library with keys that others of its process are deciding while this one is loaded, each in a thread: where its loader
//! lets constructors of two threads run at once, as musl's does, the probes of a key run at once. The environment says which
//! of them, counted from one, ends last: `MEETING_LAST`; with none, they race.

use invar::Evidence;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

invar::values! { pub enum Turn { Nobody, First, Second } }

macro_rules! meet {
    ($($key:ident $number:literal,)*) => {
        $(invar::key! { static $key: Turn = |evidence| meet($number, concat!("meeting.", $number), evidence); })*

        /// Says what this library's sites do.
        #[unsafe(no_mangle)]
        pub extern "C" fn tell_story() {
            $({
                let turn = if invar::branch!($key == Turn::First) {
                    Turn::First
                } else if invar::branch!($key == Turn::Second) {
                    Turn::Second
                } else {
                    Turn::Nobody
                };
                witness::chose(concat!("met ", $number), turn, &$key);
            })*
        }
    };
}

meet! {
    K0 0, K1 1, K2 2, K3 3, K4 4, K5 5, K6 6, K7 7, K8 8, K9 9, K10 10, K11 11, K12 12, K13 13, K14 14, K15 15,
    K16 16, K17 17, K18 18, K19 19, K20 20, K21 21, K22 22, K23 23, K24 24, K25 25, K26 26, K27 27, K28 28, K29 29,
}

fn meet(number: usize, name: &str, evidence: &mut Evidence) -> Result<Turn, &'static str> {
    witness::probing(name, "meeting");
    // SAFETY: the program has numbers of this name (`tests/programs/c/at_once.c`).
    let begun = unsafe { &*libc::dlsym(libc::RTLD_DEFAULT, c"begun".as_ptr()).cast::<[AtomicU32; 30]>() };
    let first = begun[number].fetch_add(1, SeqCst) == 0;
    let turn = if first { "first" } else { "second" };
    evidence.text(turn);
    if cfg!(target_env = "musl") {
        let is_last = std::env::var("MEETING_LAST").is_ok_and(|last| last == turn);
        while begun[number].load(SeqCst) < 2 || is_last && !another_has_decided(number) {
            std::thread::yield_now();
        }
    }
    Ok(if first { Turn::First } else { Turn::Second })
}

fn another_has_decided(number: usize) -> bool {
    let name = format!("meeting.k{number}");
    let mut decided = false;
    invar::report().modules(|module| {
        decided |= module.keys().any(|key| key.name() == name && key.verdict().is_some());
    });
    decided
}

/// Says all there is to say about the process.
#[unsafe(no_mangle)]
pub extern "C" fn tell_all() {
    witness::tell();
}
