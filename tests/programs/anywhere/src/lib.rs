//! Each of the runtime's macros once, without std, and as far as it goes without `unsafe`: the same source on every system.
#![no_std]
#![deny(unsafe_code)]

invar::values! {
    pub enum Width { Narrow, Wide, Widest }
}

invar::key! { pub static ON: bool = |evidence| { evidence.text("says so"); Ok(true) }; }
invar::key! { #[name = "anywhere.width"] pub static WIDTH: Width = |_| Ok(Width::Wide); }
invar::key! { static FAILING: bool = |_| Err("on purpose"); }
invar::key! { #[requires("avx2,bmi2")] static FAST: bool = |_| Ok(true); }
// Its probe asks for another key, and for one that asks for this one.
invar::key! { static ASKS: bool = |_| Ok(ON.get() && WIDTH.get() == Width::Wide); }
invar::key! { static THIS: bool = |_| { THAT.get(); Ok(true) }; }
invar::key! { static THAT: bool = |_| { THIS.get(); Ok(true) }; }
// One name has one verdict.
invar::key! { #[name = "anywhere.width"] static SAME: Width = |_| Ok(Width::Widest); }
invar::key! { #[name = "anywhere.width"] static OTHER: bool = |_| Ok(true); }
invar::constant! { #[fallback(3)] pub static LINE: u32 = |_| Ok(64); }
invar::constant! { #[fallback(1 << 40)] static LARGE: u64 = |_| Err("nobody knows"); }
invar::switch! { pub static TRACE: bool = |_| Ok(false); }

invar::dispatch! {
    fn spaces(text: &[u8]) -> i64 {
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] spaces_avx2,
        FAST => #[target_feature(enable = "avx2,bmi2")] spaces_fast,
        WIDTH == Width::Widest => spaces_widest,
        _ => spaces_anywhere,
    }
}

// Each architecture has its own arms, and `AES` is a name that two have.
invar::dispatch! {
    fn native(text: &[u8]) -> i64 {
        invar::cpu::AVX512VBMI2 && invar::cpu::SVE2 && invar::cpu::V => spaces_impossible,
        invar::cpu::NEON && invar::cpu::CRC => #[target_feature(enable = "neon", enable = "crc")] spaces_crc,
        invar::cpu::ZBA && invar::cpu::ZBB => #[target_feature(enable = "zba", enable = "zbb",)] spaces_zba,
        invar::cpu::AVX2 && invar::cpu::BMI2 => #[target_feature(enable = "avx2", enable = "bmi2")] spaces_fast,
        // No architecture has both.
        invar::cpu::NEON && invar::cpu::AVX2 => #[target_feature(enable = "neon", enable = "avx2")] spaces_of_none,
        invar::cpu::AES => #[target_feature(enable = "aes")] spaces_aes,
        invar::cpu::NEON => #[target_feature(enable = "neon")] spaces_neon,
        invar::cpu::ZBB => #[target_feature(enable = "zbb")] spaces_zbb,
        _ => spaces_anywhere,
    }
}

invar::pointer! {
    static COUNT: fn(text: &[u8]) -> i64 = {
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] spaces_avx2,
        FAST => #[target_feature(enable = "avx2,bmi2")] spaces_fast,
        ON => spaces_widest,
        _ => spaces_anywhere,
    };
}

invar::pointers! {
    static BOTH: struct Both { first: fn(&[u8]) -> i64, second: fn(&[u8]) -> i64 } = {
        WIDTH == Width::Wide => { first: nothing, second: spaces_anywhere },
        _ => { first: spaces_anywhere, second: spaces_anywhere },
    };
}

#[allow(unsafe_code)] // the symbol's name
mod symbol {
    use super::*;
    invar::ifunc! {
        #[unsafe(no_mangle)]
        pub extern "C" fn anywhere_twice(number: u32) -> u32 {
            invar::cpu::AVX2 => #[target_feature(enable = "avx2")] twice_avx2,
            ON => twice_on,
            _ => twice_anywhere,
        }
    }

    // By nothing but the CPU: an IFUNC symbol where there are some.
    invar::ifunc! {
        #[unsafe(no_mangle)]
        pub extern "C" fn anywhere_thrice(number: u32) -> u32 {
            invar::cpu::AVX2 => #[target_feature(enable = "avx2")] thrice_avx2,
            invar::cpu::CRC => #[target_feature(enable = "crc")] thrice_crc,
            invar::cpu::ZBB => #[target_feature(enable = "zbb")] thrice_zbb,
            _ => thrice_anywhere,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn thrice_avx2(number: u32) -> u32 {
        number * 3
    }
    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "crc")]
    fn thrice_crc(number: u32) -> u32 {
        number * 3
    }
    #[cfg(target_arch = "riscv64")]
    #[target_feature(enable = "zbb")]
    fn thrice_zbb(number: u32) -> u32 {
        number * 3
    }
    fn thrice_anywhere(number: u32) -> u32 {
        number * 3
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn twice_avx2(number: u32) -> u32 {
        number * 2
    }
    fn twice_on(number: u32) -> u32 {
        number << 1
    }
    fn twice_anywhere(number: u32) -> u32 {
        number + number
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn spaces_avx2(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn spaces_fast(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[target_feature(enable = "aes")]
fn spaces_aes(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn spaces_neon(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,crc")]
fn spaces_crc(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
#[cfg(target_arch = "riscv64")]
#[target_feature(enable = "zba,zbb")]
fn spaces_zba(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
#[cfg(target_arch = "riscv64")]
#[target_feature(enable = "zbb")]
fn spaces_zbb(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
fn spaces_impossible(_: &[u8]) -> i64 {
    -1
}
fn spaces_widest(text: &[u8]) -> i64 {
    spaces_anywhere(text)
}
fn spaces_anywhere(text: &[u8]) -> i64 {
    text.iter().filter(|&&byte| byte == b' ').count() as i64
}
fn nothing(_: &[u8]) -> i64 {
    7
}

#[invar::multiversion(avx2+bmi2, popcnt)]
fn ones(words: &[u64]) -> i64 {
    words.iter().map(|word| i64::from(word.count_ones())).sum()
}

/// What each macro comes to, which is the same everywhere.
pub fn each(say: &mut dyn FnMut(&str, i64)) {
    say("branch", invar::branch!(ON).into());
    say("not", (!invar::branch!(FAILING)).into());
    say("equal", invar::branch!(WIDTH == Width::Wide).into());
    say("ordered", (invar::branch!(WIDTH >= Width::Wide) && invar::branch!(WIDTH < Width::Widest)).into());
    say("select", invar::select!(WIDTH: Width { Narrow => 1, Wide => 2, Widest => 3 }));
    say("select without type", invar::select!(ON { true => 1, false => 0 }));
    say("value", invar::value!(LINE).into());
    say("value that failed", invar::value!(LARGE) as i64);
    say("dispatch", spaces(b"a b c"));
    say("dispatch by each architecture", native(b"a b c"));
    let [x86, arm, risc] = [invar::cpu::AVX2.get(), invar::cpu::SVE.get(), invar::cpu::ZBS.get()];
    say("one architecture", (u8::from(x86) + u8::from(arm) + u8::from(risc) < 2).into());
    say("pointer", COUNT(b"a b c"));
    say("pointers", (BOTH.first)(b"a") + (BOTH.second)(b"a b"));
    say("ifunc", symbol::anywhere_twice(21).into());
    say("ifunc by the CPU", symbol::anywhere_thrice(14).into());
    say("multiversion", ones(&[7, 1 << 63]));
    say("asks", ASKS.get().into());
    say("cycle", i64::from(THIS.get()) + i64::from(THAT.get()));
    say("same name", (SAME.get() == WIDTH.get()).into());
    say("same name, other values", OTHER.get().into());

    let _section = invar::timeslice::enter();
    core::mem::forget(invar::timeslice::enter());
    invar::timeslice::leave();
    say("enrolled", (invar::timeslice::enrol().is_ok() && !invar::timeslice::SLICE.get()).into());

    let before = invar::branch!(TRACE);
    let set = TRACE.set(true);
    say("switch", (set.is_ok() && !before && invar::branch!(TRACE) && TRACE.get()).into());
    let set = invar::set(&[invar::Setting::named("anywhere.trace", "off")]);
    say("switch by name", (set.is_ok() && !invar::branch!(TRACE)).into());
    say(
        "no such switch",
        (invar::set(&[invar::Setting::named("anywhere.on", "off")]) == Err(invar::NotSet::Unknown)).into(),
    );
    let mut differs = 0;
    let again = invar::rebind(|_, _, _| differs += 1);
    say("rebind", i64::from(again.is_ok()) + differs);

    let verdict = ON.verdict();
    say("verdict", verdict.is_some_and(|verdict| verdict.value() == 1 && verdict.evidence() == "says so").into());
    say("failed", FAILING.verdict().is_some_and(|verdict| verdict.origin() == invar::Origin::Failed).into());
    let mut keys = 0;
    invar::report().modules(|module| {
        keys +=
            module.keys().filter(|key| key.name().starts_with("anywhere.") && key.verdict().is_some()).count() as i64;
    });
    say("keys in the report", keys);
    say("foreign features are known", invar::cpu::ALL.iter().all(|(name, _)| !name.is_empty()).into());
}

/// The same as one number, for a host that has nothing else.
pub fn sum() -> i32 {
    let mut sum: i64 = 0;
    each(&mut |name, number| sum = sum.wrapping_mul(31).wrapping_add(number).wrapping_add(name.len() as i64));
    sum as i32
}
