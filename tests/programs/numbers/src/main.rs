//! A program that compares values, selects by them, and has constants; it loads the libraries that are its arguments.

use std::ffi::CString;
use std::hint::black_box;
use std::io::Read;

invar::values! {
    pub enum Width { Narrow, Wide, Widest, Huge }
}

/// What the test wants, whichever it is.
fn wanted(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

invar::key! {
    #[name = "numbers.width"]
    static WIDTH: Width = |_| Ok([Width::Narrow, Width::Wide, Width::Widest, Width::Huge][wanted("NUMBERS_WIDTH", 1) as usize]);
}
invar::key! { #[name = "numbers.fast"] static FAST: bool = |_| Ok(wanted("NUMBERS_WIDTH", 1) % 2 == 1); }
invar::constant! {
    /// Documented.
    #[name = "numbers.line"]
    #[fallback(64)]
    static LINE: u32 = |evidence| {
        witness::probing("numbers.line", "numbers");
        evidence.text("seen");
        Ok(wanted("NUMBERS_LINE", 128) as u32)
    };
}
invar::constant! { #[name = "numbers.byte"] static BYTE: u8 = |_| Ok(250); }
invar::constant! { #[name = "numbers.half"] static HALF: u16 = |_| Ok(65_500); }
invar::constant! { #[name = "numbers.far"] #[fallback(3 << 20)] static FAR: usize = |_| Ok(0x5000_0000); }
invar::constant! { #[name = "numbers.big"] #[fallback(1)] static BIG: u64 = |_| Ok(0x1234_5678_9abc_def0); }
invar::constant! { #[name = "numbers.failing"] #[fallback(7)] static FAILING: u64 = |_| Err("cannot tell"); }
// By the number of one that may come later.
invar::constant! { #[name = "numbers.asks"] static ASKS: u64 = |_| Ok(u64::from(LINE.get()) + BIG.get()); }
// C has a name without a dot.
invar::constant! { #[name = "numbers_shared"] static SHARED: u32 = |_| Ok(LINE.get() + 1); }
invar::constant! { #[name = "numbers.round"] #[fallback(11)] static ROUND: u32 = |_| Ok(ROUND.get() + 1); }

#[inline(never)]
fn named() -> u8 {
    invar::select!(WIDTH: Width { Widest => 2, Narrow => 0, Huge => 3, Wide => 1 })
}

#[inline(never)]
fn in_patterns() -> u8 {
    invar::select!(crate::WIDTH { Width::Narrow | Width::Wide => u8::from(invar::select!(FAST { true => true, false => false })), _ => named() })
}

/// Arms that leave the function and the loop.
#[inline(never)]
fn leaving(text: &str) -> Option<u8> {
    let mut turns = 0;
    loop {
        turns += 1;
        let digit: u8 = invar::select!(WIDTH: Width {
            Narrow => { if turns < 3 { continue } 0 },
            Wide => text.parse().ok()?,
            Widest => break,
            _ => return Some(3),
        });
        return Some(digit);
    }
    Some(2)
}

#[inline(never)]
fn generic<T: Copy + Into<u64>>(x: T) -> u64 {
    let add = || invar::select!(WIDTH: Width { Narrow => x.into(), _ => x.into() * 2 });
    add() + [1, 2].map(|_| u64::from(invar::value!(LINE))).iter().sum::<u64>()
}

/// Each comparison, as a bit.
#[inline(never)]
fn compared() -> u8 {
    let bits = [
        invar::branch!(WIDTH >= Width::Wide),
        invar::branch!(WIDTH >= Width::Huge),
        invar::branch!(WIDTH > Width::Narrow),
        invar::branch!(WIDTH < Width::Widest),
        invar::branch!(WIDTH <= Width::Widest),
        invar::branch!(WIDTH != Width::Wide),
        invar::branch!(!FAST),
        invar::branch!(!FAST == false),
    ];
    bits.iter().fold(0, |all, &bit| all << 1 | u8::from(bit))
}

/// The same by ordinary loads.
fn compared_by_loads() -> u8 {
    let (width, fast) = (black_box(&WIDTH).get() as u8, black_box(&FAST).get());
    let bits = [width >= 1, width >= 3, width > 0, width < 2, width <= 2, width != 1, !fast, fast];
    bits.iter().fold(0, |all, &bit| all << 1 | u8::from(bit))
}

invar::dispatch! {
    #[inline(never)]
    fn chosen<T>(x: T) -> u64 where T: Into<u64> {
        WIDTH >= Width::Widest && FAST => third,
        WIDTH > Width::Narrow && !FAST => second,
        WIDTH != Width::Narrow => first,
        _ => none,
    }
}
fn third<T: Into<u64>>(x: T) -> u64 {
    x.into() + 3
}
fn second<T: Into<u64>>(x: T) -> u64 {
    x.into() + 2
}
fn first<T: Into<u64>>(x: T) -> u64 {
    x.into() + 1
}
fn none<T: Into<u64>>(x: T) -> u64 {
    x.into()
}

fn chosen_by_loads() -> u64 {
    match (black_box(&WIDTH).get(), black_box(&FAST).get()) {
        (Width::Widest | Width::Huge, true) => 3,
        (Width::Narrow, _) => 0,
        (_, false) => 2,
        _ => 1,
    }
}

/// In each register that the compiler has.
#[inline(never)]
fn many(x: u64) -> u64 {
    let numbers = [
        u64::from(invar::value!(LINE)),
        u64::from(invar::value!(BYTE)),
        u64::from(invar::value!(HALF)),
        invar::value!(FAR) as u64,
        invar::value!(BIG),
        invar::value!(FAILING),
        invar::value!(ASKS),
        u64::from(invar::value!(ROUND)),
    ];
    let mut sum = x;
    for (turn, number) in (1..).zip(numbers) {
        sum = sum.rotate_left(7) ^ number.wrapping_mul(turn) ^ x;
    }
    black_box(numbers).iter().fold(sum, |sum, number| sum.wrapping_add(*number))
}

/// A line for each byte of standard input: what the sites of some functions come to.
fn answer() {
    loop {
        println!("{} {} {} {}", named(), in_patterns(), compared(), many(black_box(1)));
        if std::io::stdin().read(&mut [0]).expect("standard input") == 0 {
            return;
        }
    }
}

fn main() {
    if std::env::var_os("NUMBERS_ANSWER").is_some() {
        return answer();
    }
    let digit = (black_box(&WIDTH).get() as u8).to_string();
    witness::chose("named", <Width as invar::Value>::from_byte(named()).unwrap(), &WIDTH);
    let by_loads = match black_box(&WIDTH).get() {
        Width::Narrow | Width::Wide => black_box(&FAST).get().into(),
        other => other as u8,
    };
    witness::agree("in patterns", in_patterns(), by_loads);
    witness::agree("leaving", leaving(&digit).unwrap(), WIDTH.get() as u8);
    witness::agree("compared", compared(), compared_by_loads());
    witness::agree("dispatched", (chosen(1u8) - 1) as u8, chosen_by_loads() as u8);
    witness::result("generic over u8", generic(3u8));
    witness::result("line", invar::value!(LINE));
    witness::result("byte", invar::value!(BYTE));
    witness::result("half", invar::value!(HALF));
    witness::result("far", invar::value!(FAR));
    witness::result("big", invar::value!(BIG));
    witness::result("failing", invar::value!(FAILING));
    witness::result("asks", invar::value!(ASKS));
    witness::result("round", invar::value!(crate::ROUND));
    witness::result("shared", invar::value!(SHARED));
    witness::result("many", many(black_box(1)));
    let agree = (invar::value!(LINE), invar::value!(BYTE), invar::value!(HALF), invar::value!(FAR), invar::value!(BIG))
        == (LINE.get(), BYTE.get(), HALF.get(), FAR.get(), BIG.get());
    witness::agree("sites and constants", agree.into(), 1);
    for library in std::env::args().skip(1) {
        let path = CString::new(library).expect("a path");
        // SAFETY: runs the library's constructors, and a function of this type that the tests' libraries have.
        unsafe {
            let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!library.is_null(), "{path:?}");
            std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(libc::dlsym(library, c"tell_story".as_ptr()))();
        }
    }
    witness::tell();
}
