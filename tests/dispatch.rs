//! `dispatch!` declares ordinary functions: generics, lifetimes, `where` clauses, any number of arms. This crate may not
//! use `unsafe`, as many may not: the macros need none of it.
#![forbid(unsafe_code)]
#![allow(clippy::multiple_bound_locations)] // they are to be in both places

use std::fmt::Debug;

invar::values! { enum Speed { Walk, Run, Fly } }
invar::key! { #[name = "test.yes"] static YES: bool = |_| Ok(true); }
invar::key! { #[name = "test.no"] static NO: bool = |_| Err("never"); }
invar::key! { #[name = "test.speed"] static SPEED: Speed = |_| Ok(Speed::Run); }

mod variants {
    pub(crate) fn first<T>(_: T) -> &'static str {
        "first"
    }
    pub(crate) fn second<T>(_: T) -> &'static str {
        "second"
    }
    pub(crate) fn third<T>(_: T) -> &'static str {
        "third"
    }
    pub(crate) fn push(to: &mut Vec<u8>) {
        to.push(1);
    }
    pub(crate) fn push_two(to: &mut Vec<u8>) {
        to.extend([1, 2]);
    }
    pub(crate) fn longest<'a, T: ?Sized, const N: usize>(all: [&'a T; N], or: Option<Result<&'a T, ()>>) -> &'a T
    where
        T: PartialOrd + std::fmt::Debug,
    {
        all.into_iter().fold(or.unwrap().unwrap(), |a, b| if b > a { b } else { a })
    }
}

invar::dispatch! {
    /// The first arm that holds.
    fn chosen<T>(value: T) -> &'static str {
        NO => variants::first,
        SPEED == Speed::Fly => variants::first,
        SPEED == Speed::Run => variants::second,
        YES => variants::first,
        _ => variants::third,
    }
}
invar::dispatch! {
    fn fallback(value: u8,) -> &'static str { self::NO => variants::first, _ => variants::third }
}
invar::dispatch! {
    fn nothing_returned(to: &mut Vec<u8>) { YES => variants::push_two, _ => variants::push }
}
invar::dispatch! {
    #[inline(never)]
    pub(crate) fn everything<'a, T: ?Sized, const N: usize>(
        all: [&'a T; N],
        or: Option<Result<&'a T, ()>>,
    ) -> &'a T
    where
        T: PartialOrd + Debug,
    {
        YES => variants::longest,
        _ => variants::longest,
    }
}

#[test]
fn the_first_arm_that_holds_is_called() {
    assert_eq!(chosen("generic"), "second");
    assert_eq!(fallback(1), "third");
}

#[test]
fn arguments_and_results_pass_through() {
    let mut bytes = Vec::new();
    nothing_returned(&mut bytes);
    assert_eq!(bytes, [1, 2]);
    let (a, b) = (String::from("a"), String::from("b"));
    assert_eq!(everything([a.as_str(), b.as_str()], Some(Ok(""))), "b");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_variant_with_features_is_called_where_they_are() {
    #[target_feature(enable = "avx2")]
    fn with_avx2<T: Copy>(_: T) -> bool {
        true
    }
    fn without<T: Copy>(_: T) -> bool {
        false
    }
    invar::key! { #[name = "test.fast"] #[requires("avx2,bmi2")] static FAST: bool = |_| Ok(true); }
    invar::dispatch! {
        fn simple<T: Copy>(value: T) -> bool {
            invar::cpu::AVX2 => #[target_feature(enable = "avx2")] with_avx2,
            _ => without,
        }
    }
    #[target_feature(enable = "avx512bw,avx512f,fma,avx2,sse2")]
    fn with_all<T: Copy>(_: T) -> bool {
        true
    }
    invar::dispatch! {
        fn implied<T: Copy>(value: T) -> bool {
            invar::cpu::AVX512BW => #[target_feature(enable = "avx512bw,avx512f,fma")] with_all,
            _ => without,
        }
    }
    invar::dispatch! {
        fn composed<T: Copy>(value: T) -> bool {
            FAST => #[target_feature(enable = "avx2,bmi2")] with_avx2,
            _ => without,
        }
    }
    let avx2 = std::is_x86_feature_detected!("avx2");
    assert_eq!(simple(1), avx2);
    assert_eq!(implied(1), std::is_x86_feature_detected!("avx512bw"));
    assert_eq!(composed("x"), avx2 && std::is_x86_feature_detected!("bmi2"));
}

/// By name, what the built-in keys have is what std says.
#[test]
#[cfg(target_arch = "x86_64")]
fn keys_of_the_cpu_say_what_std_says() {
    macro_rules! compare {
        ($($name:tt)*) => {
            $(
                let (_, key) = invar::cpu::ALL.iter().find(|(name, _)| *name == $name).expect($name);
                assert_eq!(key(), std::is_x86_feature_detected!($name), $name);
            )*
            // And `fsrm`, of which std knows nothing, and the levels.
            assert_eq!(invar::cpu::ALL.len(), [$($name),*].len() + 4);
        };
    }
    compare! {
        "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq" "avx512f" "avx512fp16" "avx512ifma"
        "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni" "avx512vp2intersect" "avx512vpopcntdq" "avxifma" "avxneconvert" "avxvnni"
        "avxvnniint16" "avxvnniint8" "bmi1" "bmi2" "cmpxchg16b" "ermsb" "f16c" "fma" "gfni" "kl" "lzcnt" "movbe" "pclmulqdq" "popcnt"
        "rdrand" "rdseed" "sha" "sha512" "sm3" "sm4" "sse3" "sse4.1" "sse4.2" "sse4a" "ssse3" "tbm" "vaes" "vpclmulqdq" "widekl"
        "xsave" "xsavec" "xsaveopt"
    }
}
