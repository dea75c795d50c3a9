//! Pointers and a table of them, in a program and in a library that it may open: which function each leads to, and whether anybody can
//! write to them.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

invar::values! {
    pub enum Width { Narrow, Wide, Widest }
}
invar::key! {
    #[name = "pointers.width"]
    static WIDTH: Width = |_| Ok(Width::Wide);
}
invar::key! {
    #[name = "pointers.fast"]
    static FAST: bool = |_| Ok(true);
}
invar::key! {
    #[name = "pointers.never"]
    static NEVER: bool = |_| Ok(false);
}

/// Which functions were called.
static CALLED: AtomicU32 = AtomicU32::new(0);

macro_rules! variants {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $number:literal $value:expr;)+) => {
        $(
            fn $name($($argument: $type),*) -> $result {
                CALLED.fetch_add($number, Relaxed);
                $value
            }
        )+
    };
}
variants! {
    narrow(text: &[u8]) -> usize = 1 text.len();
    wide(text: &[u8]) -> usize = 10 text.len();
    widest(text: &[u8]) -> usize = 100 text.len();
    add(a: u32, b: u32) -> u32 = 1 a + b;
    add_fast(a: u32, b: u32) -> u32 = 10 b + a;
    first(all: &[u8]) -> Option<&u8> = 1 all.first();
    first_fast(all: &[u8]) -> Option<&u8> = 10 all.iter().next();
    nothing() -> () = 1 ();
    nothing_fast() -> () = 10 ();
    other_nothing() -> () = 100 ();
}

invar::pointer! {
    /// By a key with several values.
    #[name = "pointers.length"]
    pub static LENGTH: fn(&[u8]) -> usize = {
        NEVER => widest,
        WIDTH == Width::Widest => widest,
        WIDTH == Width::Wide => wide,
        _ => narrow,
    };
}

invar::pointer! {
    /// Its name is the default one; named arguments; nothing returned.
    static NOTHING: fn() = { NEVER => other_nothing, FAST => nothing_fast, _ => nothing };
}

invar::pointer! {
    /// It stays at its fallback.
    #[name = "pointers.fallback"]
    static FALLBACK: fn() = { NEVER => other_nothing, _ => nothing }
}

mod by_c {
    pub(super) extern "C" fn fast(number: u64) -> u64 {
        number + 2
    }
    pub(super) extern "C" fn slow(number: u64) -> u64 {
        number + 1
    }
}
invar::pointer! {
    #[name = "pointers.c"]
    pub static BY_C: extern "C" fn(number: u64) -> u64 = { FAST => by_c::fast, _ => by_c::slow };
}

invar::pointers! {
    /// A table.
    #[name = "pointers.table"]
    pub static TABLE: struct Table {
        /// Adds.
        pub add: fn(u32, u32) -> u32,
        pub(crate) first: fn(all: &[u8]) -> Option<&u8>,
        nothing: fn(),
    } = {
        NEVER => { add: add, first: first, nothing: other_nothing },
        WIDTH == Width::Wide => { add: add_fast, first: first_fast, nothing: nothing_fast, },
        _ => { add: add, first: first, nothing: nothing },
    };
}

invar::pointer! {
    /// By several conditions at once, and by each comparison.
    #[name = "pointers.several"]
    static SEVERAL: fn(&[u8]) -> usize = {
        FAST && NEVER => widest,
        !FAST && WIDTH >= Width::Wide => widest,
        !WIDTH == Width::Wide && FAST => widest,
        !WIDTH <= Width::Wide => widest,
        WIDTH > Width::Wide => widest,
        WIDTH < Width::Wide && FAST => widest,
        NEVER && WIDTH <= Width::Wide => widest,
        WIDTH != Width::Narrow && !NEVER && FAST == true => wide,
        _ => narrow,
    };
}
invar::pointers! {
    #[name = "pointers.arms"]
    static ARMS: struct Arms { length: fn(&[u8]) -> usize } = {
        NEVER && FAST => { length: widest },
        WIDTH >= Width::Wide && !NEVER => { length: wide },
        _ => { length: narrow },
    };
}
invar::dispatch! {
    #[pointer]
    fn dispatched_by_several(text: &[u8]) -> usize {
        FAST && NEVER => widest,
        !WIDTH < Width::Widest => widest,
        FAST && WIDTH <= Width::Wide && !NEVER => wide,
        _ => narrow,
    }
}

#[cfg(target_arch = "x86_64")]
mod features {
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn sum_avx2(numbers: &[u32; 16]) -> u32 {
        numbers.iter().sum::<u32>() | 0x8000_0000
    }
    pub(super) fn sum(numbers: &[u32; 16]) -> u32 {
        numbers.iter().sum()
    }
    invar::key! { #[name = "pointers.avx2"] #[requires("avx2,bmi2")] static BOTH: bool = |_| Ok(true); }
    invar::pointer! {
        #[name = "pointers.sum"]
        pub static SUM: fn(&[u32; 16]) -> u32 = {
            BOTH => #[target_feature(enable = "avx2,bmi2")] sum_avx2,
            _ => sum,
        };
    }
    invar::pointer! {
        /// No key proves both.
        #[name = "pointers.sum_by_two"]
        pub static SUM_BY_TWO: fn(&[u32; 16]) -> u32 = {
            invar::cpu::AVX2 && invar::cpu::BMI2 => #[target_feature(enable = "avx2,bmi2")] sum_avx2,
            _ => sum,
        };
    }
    pub(super) fn is_right() -> bool {
        let sums = |fast: bool| if fast { 0x8000_0010 } else { 16 };
        let two = invar::cpu::AVX2.get() && invar::cpu::BMI2.get();
        SUM(&[1; 16]) == sums(BOTH.get()) && SUM_BY_TWO(&[1; 16]) == sums(two)
    }
}

invar::dispatch! {
    /// By a pointer of its own.
    #[pointer]
    pub fn dispatched(text: &[u8]) -> usize {
        WIDTH == Width::Wide => wide,
        _ => narrow,
    }
}

/// Calls a function, and says which it was.
fn says<T: std::fmt::Debug>(module: &str, name: &str, call: impl FnOnce() -> T) {
    CALLED.store(0, Relaxed);
    let result = call();
    witness::result(&format!("{module}: {name}"), format!("{result:?} by {}", CALLED.load(Relaxed)));
}

/// Calls all of them.
pub fn tell(module: &str) {
    says(module, "length", || LENGTH(black_box(b"abc")));
    says(module, "length, loaded", || LENGTH.get()(black_box(b"abc")));
    says(module, "nothing", || NOTHING());
    says(module, "fallback", || FALLBACK());
    says(module, "c", || BY_C(1));
    says(module, "add", || (TABLE.add)(1, 2));
    says(module, "first", || (TABLE.first)(b"ab").copied());
    says(module, "table nothing", || (TABLE.nothing)());
    says(module, "dispatched", || dispatched(b"abcd"));
    says(module, "several", || SEVERAL(b"abc"));
    says(module, "arms", || (ARMS.length)(b"abc"));
    says(module, "dispatched by several", || dispatched_by_several(b"abc"));
    #[cfg(target_arch = "x86_64")]
    witness::result(&format!("{module}: features"), features::is_right());
    for (name, slot) in slots() {
        witness::result(&format!("{module}: {name}"), protection(slot));
    }
}

/// The slots that are looked at.
pub fn slots() -> [(&'static str, usize); 2] {
    [("slot", &raw const LENGTH as usize), ("table", &raw const TABLE as usize)]
}

/// How memory at an address is mapped, as /proc/self/maps has it, and whether the kernel says it is sealed.
pub fn protection(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut found = None;
    for line in maps.lines() {
        let mut words = line.split(' ');
        let range = words.next().and_then(|range| range.split_once('-'));
        let bounds = range.and_then(|(start, end)| {
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        });
        match (bounds, &mut found) {
            (Some(range), None) if range.contains(&address) => found = words.next().map(String::from),
            (Some(_), Some(_)) => break,
            (None, Some(found)) if line.starts_with("VmFlags:") && line.contains(" sl") => found.push_str(" sealed"),
            _ => {}
        }
    }
    found.expect("it is mapped")
}
