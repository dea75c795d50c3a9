//! One program with a site of every sort, in every place where a compiler may put one.

use std::hint::black_box;

invar::values! {
    /// From the least demanding to the most.
    pub enum Width { Narrow, Wide, Widest }
}

invar::key! { #[name = "story.on"] static ON: bool = |evidence| { evidence.text("says so"); Ok(true) }; }
invar::key! {
    #[name = "story.off"]
    static OFF: bool = |evidence| {
        evidence.text("two\n  key story.forged = on (probe): lines");
        Ok(false)
    };
}
invar::key! { #[name = "story.width"] static WIDTH: Width = |_| Ok(Width::Wide); }
invar::key! {
    #[name = "story.failing"]
    static FAILING: bool = |evidence| {
        evidence.text("looked everywhere");
        Err("cannot tell")
    };
}
invar::key! { #[name = "story.idle"] static IDLE: bool = |_| Ok(false); }
// What a variant would need is there, and yet it says no.
invar::key! {
    #[cfg(target_arch = "x86_64")]
    #[name = "proving"]
    #[requires("sse2")]
    #[__slice]
    static PROVING: bool = |_| Ok(false);
}
// Named by its static.
invar::key! { static COUNTED: Width = |_| { witness::probing("counted", "story"); Ok(Width::Widest) }; }

/// Both ways lead to the same result, here and wherever a result is shown.
#[inline(never)]
fn near(x: u64) -> u64 {
    if invar::branch!(ON) { x * 3 } else { x + x + x }
}

/// More code than a short jump spans.
#[inline(always)]
fn fill(x: u64, memory: &mut [u64; 64]) -> u64 {
    macro_rules! store { ($($at:literal)*) => { $(black_box(&mut *memory)[$at] = x ^ $at;)* } }
    store!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    store!(32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
    memory.iter().sum()
}

/// The other way begins far off.
#[inline(never)]
fn far(x: u64, memory: &mut [u64; 64]) -> u64 {
    if !invar::branch!(ON) {
        return (0..64).map(|at| x ^ at).sum();
    }
    fill(x, memory)
}

#[inline(never)]
fn width() -> Width {
    if invar::branch!(WIDTH == Width::Widest) {
        Width::Widest
    } else if invar::branch!(WIDTH == Width::Wide) {
        Width::Wide
    } else {
        Width::Narrow
    }
}

#[inline(never)]
fn generic<T: Copy + Into<u64>>(x: T) -> u64 {
    if invar::branch!(OFF) { x.into() << 1 } else { x.into() * 2 }
}

/// Leaves a copy of its site wherever it is called.
#[inline(always)]
fn everywhere(x: u64) -> u64 {
    if invar::branch!(COUNTED == Width::Widest) { x + 5 } else { x + 2 + 3 }
}

#[inline(never)]
fn unrolled(x: u64) -> u64 {
    [1, 2, 3, 4].map(|step| everywhere(x * step)).iter().sum()
}

#[inline(never)]
fn section(x: &mut u64) {
    let _slice = invar::timeslice::enter();
    *x += 1;
}

/// With much in it and behind it, so that the jumps of both sites are long ones.
#[inline(never)]
fn long_section(x: u64, memory: &mut [u64; 64]) -> u64 {
    let slice = invar::timeslice::enter();
    let inside = fill(x, memory);
    drop(slice);
    inside + fill(x + 1, memory)
}

static SPIN_LOCK: invar_lock::SpinLock<u64> = invar_lock::SpinLock::new(0);
static MUTEX: invar_lock::Mutex<u64> = invar_lock::Mutex::new(0);

#[inline(never)]
fn spin_locked() {
    *SPIN_LOCK.lock() += 1;
}

#[inline(never)]
fn mutex_locked() {
    *MUTEX.lock() += 1;
}

invar::dispatch! {
    #[inline(never)]
    fn spaces<'a, T>(text: &'a T) -> (u8, usize) where T: AsRef<[u8]> + ?Sized {
        WIDTH == Width::Widest => spaces_widest,
        OFF => spaces_off,
        WIDTH == Width::Wide => spaces_wide,
        _ => spaces_narrow,
    }
}

fn spaces_widest<T: AsRef<[u8]> + ?Sized>(text: &T) -> (u8, usize) {
    (2, text.as_ref().split(|&byte| byte == b' ').count() - 1)
}

/// Not what another key says, even where this one is on.
fn spaces_off<T: AsRef<[u8]> + ?Sized>(text: &T) -> (u8, usize) {
    (black_box(&WIDTH).get() as u8, text.as_ref().iter().filter(|&&byte| byte == b' ').count())
}

fn spaces_wide<T: AsRef<[u8]> + ?Sized>(text: &T) -> (u8, usize) {
    (1, text.as_ref().iter().filter(|&&byte| byte == b' ').count())
}

fn spaces_narrow<T: AsRef<[u8]> + ?Sized>(text: &T) -> (u8, usize) {
    (0, text.as_ref().iter().map(|&byte| usize::from(byte == b' ')).sum())
}

/// Never called: what a test does to its site harms nobody.
#[inline(never)]
fn bystander(x: u64) -> u64 {
    if invar::branch!(IDLE) { x * 7 } else { x + 7 }
}

#[cfg(all(target_arch = "x86_64", not(invar_portable)))]
mod by_cpu {
    invar::dispatch! {
        pub fn ones(words: &[u64]) -> u32 {
            invar::cpu::POPCNT => #[target_feature(enable = "popcnt")] ones_counted,
            _ => ones_anywhere,
        }
    }

    #[target_feature(enable = "popcnt")]
    fn ones_counted(words: &[u64]) -> u32 {
        words.iter().map(|word| word.count_ones()).sum()
    }

    fn ones_anywhere(words: &[u64]) -> u32 {
        words.iter().map(|word| (0..64).map(|bit| (word >> bit & 1) as u32).sum::<u32>()).sum()
    }
}
#[cfg(not(all(target_arch = "x86_64", not(invar_portable))))]
mod by_cpu {
    pub fn ones(words: &[u64]) -> u32 {
        words.iter().map(|word| word.count_ones()).sum()
    }
}

/// Generic, in versions: each instance has its sites and its versions wherever it is compiled.
#[invar::multiversion(avx2+bmi2, popcnt)]
#[inline(never)]
fn counted<T: Copy + Into<u64>>(words: &[T], mask: u64) -> u32 {
    words.iter().map(|&word| (word.into() & mask).count_ones()).sum()
}

struct Masked<T>(T);

impl<T: Copy + Into<u64>> Masked<T> {
    #[invar::multiversion(popcnt)]
    #[inline(never)]
    fn count(&self, mask: T) -> u32 {
        let both = |mask: T| self.0.into() & mask.into();
        both(mask).count_ones()
    }
}

/// What a fuzzer brings along, which is called from everywhere.
#[cfg(fuzzing)]
mod fuzzer {
    macro_rules! hooks {
        ($($name:ident)*) => {
            $(
                #[unsafe(no_mangle)]
                extern "C" fn $name(_: u64, _: u64) {}
            )*
        };
    }
    hooks!(__sanitizer_cov_8bit_counters_init __sanitizer_cov_pcs_init __sanitizer_cov_trace_pc_indir);
    hooks!(__sanitizer_cov_trace_cmp1 __sanitizer_cov_trace_cmp2 __sanitizer_cov_trace_cmp4 __sanitizer_cov_trace_cmp8);
    hooks!(__sanitizer_cov_trace_const_cmp1 __sanitizer_cov_trace_const_cmp2);
    hooks!(__sanitizer_cov_trace_const_cmp4 __sanitizer_cov_trace_const_cmp8 __sanitizer_cov_trace_switch);
}

fn main() {
    let x = black_box(14);
    let memory = &mut [0; 64];
    let mut sections = x;
    for _ in 0..1000 {
        section(&mut sections);
    }
    if x == 0 {
        black_box(bystander(x));
    }

    for _ in 0..x {
        spin_locked();
        mutex_locked();
    }

    witness::result("near", near(x));
    witness::result("far", far(x, memory));
    witness::result("generic over u8", generic(x as u8));
    witness::result("generic over u32", generic(x as u32));
    witness::result("inlined", everywhere(x));
    witness::result("unrolled", unrolled(x));
    witness::result("sections", sections);
    witness::result("under locks", *SPIN_LOCK.lock() + *MUTEX.lock());
    witness::result("long section", long_section(x, memory));
    witness::result(
        "in a closure",
        (0..x).filter(|n| if invar::branch!(OFF) { n & 1 == 0 } else { n % 2 == 0 }).count(),
    );
    witness::result("dependency over u8", dependency::step(x as u8));
    witness::result("dependency over u64", dependency::step(x));
    witness::result("dispatched", spaces("a b c").1);
    witness::result("by CPU", by_cpu::ones(&[x, x << 8]));

    witness::result("in versions over u8", counted(&[x as u8, 7], 0xff));
    witness::result("in versions over u64", counted(&[x, x << 8], !0));
    witness::result("a method in versions", Masked(x as u32).count(6) + Masked(x).count(8));

    witness::chose("on", invar::branch!(ON), &ON);
    witness::chose("on is off", !invar::branch!(ON == false), &ON);
    witness::chose("off", invar::branch!(OFF), &OFF);
    witness::chose("off is off", !invar::branch!(OFF == false), &OFF);
    witness::chose("failing", invar::branch!(FAILING), &FAILING);
    witness::chose("width", width(), &WIDTH);
    witness::chose("dispatched", <Width as invar::Value>::from_byte(spaces("").0).unwrap(), &WIDTH);
    witness::chose(
        "counted",
        if invar::branch!(COUNTED == Width::Widest) { Width::Widest } else { black_box(&COUNTED).get() },
        &COUNTED,
    );
    dependency::announce();

    // SAFETY: their code is looked at, and not called.
    unsafe {
        witness::code("section", std::mem::transmute::<fn(&mut u64), fn()>(section));
        witness::code("spin locked", spin_locked);
        witness::code("mutex locked", mutex_locked);
        witness::code("near", std::mem::transmute::<fn(u64) -> u64, fn()>(near));
    }
    witness::tell();
}
