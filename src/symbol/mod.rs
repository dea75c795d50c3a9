//! Symbols that the loader binds once: C functions with one variant for each value of some keys.
//!
//! A resolver runs before its module is relocated, before constructors and, in a static program, before there is a thread
//! pointer. All that it calls is in this file, in `environ`, in [`reader`](crate::settings::reader), and in `arch`: system calls and
//! `cpuid`. It calls no function of libc's, and does nothing for which the compiler would call one, such as to compare slices, or to
//! clear or copy many bytes.
#![allow(unsafe_code)]

#[cfg_attr(invar_elsewhere, path = "../elsewhere/environ.rs")]
mod environ;
pub(crate) mod features;

use crate::key::state::Verdict;
use crate::settings::reader::{Mode, Reader, Said, pair, same};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use environ::{each_byte, is_secure};
use invar_arch::{self as arch, AtomicU64};

/// Declares a function with C linkage that is one of several variants, chosen by keys when the module is loaded.
///
/// ```
/// invar::ifunc! {
///     /// How many bytes of a text are spaces.
///     ///
///     /// # Safety
///     ///
///     /// `length` bytes must be readable at `text`.
///     #[unsafe(no_mangle)]
///     pub unsafe extern "C" fn example_spaces(text: *const u8, length: usize) -> usize {
///         invar::cpu::AVX2 => #[target_feature(enable = "avx2")] unsafe spaces_avx2,
///         _ => unsafe spaces_anywhere,
///     }
/// }
///
/// # #[cfg(target_arch = "x86_64")]
/// #[target_feature(enable = "avx2")]
/// unsafe fn spaces_avx2(text: *const u8, length: usize) -> usize {
///     # unsafe { core::slice::from_raw_parts(text, length) }.iter().filter(|&&byte| byte == b' ').count() /*
///     ...
///     # */
/// }
/// unsafe fn spaces_anywhere(text: *const u8, length: usize) -> usize {
///     # unsafe { core::slice::from_raw_parts(text, length) }.iter().filter(|&&byte| byte == b' ').count() /*
///     ...
///     # */
/// }
///
/// assert_eq!(unsafe { example_spaces(b"a b c".as_ptr(), 5) }, 2);
/// ```
///
/// Arms are those of [`dispatch!`](crate::dispatch!), also with `&&` between conditions. The same rule
/// holds. A variant is called as safe code, from a function
/// with the features that its arm names. The conditions must prove these features. Anything else does not compile. In a function that is
/// `unsafe`, a variant may have the word `unsafe` before it. By that word you vouch for two things that the compiler cannot see
/// then: every caller that may call the function may call the variant, and the variant needs no features but those that its arm
/// names.
///
/// The symbol has the function's name, by which other modules call it. It is exported like any `#[no_mangle]` function. By this
/// attribute, which cannot be left out, you vouch that no other symbol in the process has the name. In Rust the function is
/// declared like one in an `extern` block. It is no `const` item: a path to it is a function pointer that the loader fills in.
/// It may have the attributes `doc`, `cfg`, `allow`, `expect`, `warn`, `deny`, `must_use` and `deprecated`, and no others. A
/// program that uses a Rust `dylib` declares its symbols in an `extern` block: with their paths the program does not link.
///
/// **Where all conditions are that a key of [`cpu`](crate::cpu)'s is on, and libc knows `STT_GNU_IFUNC`** (glibc), it is such a symbol. A call from another
/// module, which goes by that module's PLT or GOT in any case, leads directly to the variant. The resolver asks the CPU itself. It
/// reads in `/proc/self/environ` whether a setting turns off one of the keys, so that it chooses as the keys will have it. That is
/// done once for a module, by three system calls and one more for each two kilobytes of environment; where there are settings,
/// once for each symbol. What the program changes in its environment after it was started is not seen there.
///
/// **Elsewhere, or with another condition**, as one on a key whose probe may call libc and needs a thread pointer, it is an ordinary function. Its
/// branches on the keys are bound in place. Before the module's constructor has run, the keys have their first values.
///
/// The [`report()`](crate::report()) has a key of the function's name. The key's value is the variant. Its evidence says of which
/// sort the symbol is, and says so if the keys were decided otherwise than the resolver chose. `INVAR_KEYS` does not set this
/// key, only those in the arms. A key that [`key!`](crate::key!) gives the same name is another one.
///
/// A key that proves less does not compile:
///
/// ```compile_fail
/// invar::ifunc! {
///     #[unsafe(no_mangle)]
///     extern "C" fn example_wrong(x: u32) -> u32 {
///         invar::cpu::AVX2 => #[target_feature(enable = "avx512f")] wide,
///         _ => narrow,
///     }
/// }
/// #[target_feature(enable = "avx512f")]
/// fn wide(x: u32) -> u32 { x }
/// fn narrow(x: u32) -> u32 { x }
/// example_wrong(1);
/// ```
#[macro_export]
macro_rules! ifunc {
    ($($declaration:tt)*) => { $crate::__ifunc! { @attributes [] [] [] $($declaration)* } };
}

/// Sorts an [`ifunc!`](crate::ifunc!)'s attributes into conditions, that of the symbol, and the rest; brings its arms into one form,
/// and the variants' names in a row from the last arm to the first; then declares the function.
///
/// A rule that emits an `unsafe` block which is not sound by itself is handed the word `unsafe` as a token.
#[doc(hidden)]
#[macro_export]
macro_rules! __ifunc {
    // With its own tokens: the compiler is to see that this attribute is the program's.
    (@attributes $cfg:tt $export:tt $rest:tt $sign:tt $attribute:tt $($more:tt)*) => {
        $crate::__ifunc! { @attribute $sign $attribute $cfg $export $rest [$sign $attribute] $($more)* }
    };
    (@attribute # [unsafe(no_mangle)] $cfg:tt [] $rest:tt $attribute:tt $($more:tt)*) => {
        $crate::__ifunc! { @attributes $cfg $attribute $rest $($more)* }
    };
    (@attribute # [cfg $condition:tt] [$($cfg:tt)*] $export:tt $rest:tt [$($attribute:tt)*] $($more:tt)*) => {
        $crate::__ifunc! { @attributes [$($cfg)* $($attribute)*] $export $rest $($more)* }
    };
    // No attribute that would make the function another one than the symbol.
    (@attribute # [doc $($what:tt)*] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [allow $what:tt] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [expect $what:tt] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [warn $what:tt] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [deny $what:tt] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [must_use $($what:tt)*] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [deprecated $($what:tt)*] $($all:tt)*) => { $crate::__ifunc! { @rest $($all)* } };
    (@attribute # [$($attribute:tt)*] $($all:tt)*) => {
        ::core::compile_error!(::core::concat!("ifunc! takes no attribute #[", ::core::stringify!($($attribute)*), "]"));
    };
    (@rest $cfg:tt $export:tt [$($rest:tt)*] [$($attribute:tt)*] $($more:tt)*) => {
        $crate::__ifunc! { @attributes $cfg $export [$($rest)* $($attribute)*] $($more)* }
    };
    (@attribute $first:tt $second:tt $cfg:tt [] $rest:tt $($more:tt)*) => {
        ::core::compile_error!("ifunc! makes a symbol that other modules see: no other may have its name, for which you vouch \
            by #[unsafe(no_mangle)] before the function");
    };
    (@attribute $first:tt $second:tt $cfg:tt $export:tt $rest:tt [$($declaration:tt)*] $($more:tt)*) => {
        $crate::__ifunc! { @declaration $cfg $export $rest $($declaration)* $($more)* }
    };
    (@declaration $cfg:tt $export:tt $rest:tt
        $vis:vis unsafe extern "C" fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? { $($arms:tt)* }
    ) => {
        $crate::__ifunc! { @arms { $cfg $rest $export [$vis] unsafe $name ($($argument: $type),*) } [$($result)?] [] [] $($arms)* }
    };
    (@declaration $cfg:tt $export:tt $rest:tt
        $vis:vis extern "C" fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? { $($arms:tt)* }
    ) => {
        $crate::__ifunc! { @arms { $cfg $rest $export [$vis] safe $name ($($argument: $type),*) } [$($result)?] [] [] $($arms)* }
    };

    (@arms $head:tt [] $($rest:tt)*) => { $crate::__ifunc! { @arms $head [()] $($rest)* } };
    (@arms $head:tt $result:tt $arms:tt $names:tt _ => unsafe $variant:path $(,)?) => {
        $crate::__ifunc! { @function $head $result $arms $names [unsafe] $variant }
    };
    (@arms $head:tt $result:tt $arms:tt $names:tt _ => $variant:path $(,)?) => {
        $crate::__ifunc! { @function $head $result $arms $names [] $variant }
    };
    // The usual ones at once: each step is one of the compiler's recursion limit.
    (@arms $head:tt $result:tt $arms:tt $names:tt $($key:ident)::+ => $($rest:tt)+) => {
        $crate::__ifunc! { @features $head $result $arms $names [[$($key)::+]] $($rest)+ }
    };
    (@arms $head:tt $result:tt $arms:tt $names:tt $($key:ident)::+ == $($value:ident)::+ => $($rest:tt)+) => {
        $crate::__ifunc! { @features $head $result $arms $names [[$($key)::+ == $($value)::+]] $($rest)+ }
    };
    // Else what stands before `=>` is taken apart into conditions, which `&&` stands between.
    (@arms $head:tt $result:tt $arms:tt $names:tt $first:tt $($rest:tt)+) => {
        $crate::__ifunc! { @conditions { $head $result $arms $names } [] [] $first $($rest)+ }
    };
    (@arms $($rest:tt)*) => {
        ::core::compile_error!("ifunc! has arms `KEY => variant,` or `KEY == VALUE => variant,`, perhaps with `&&` between conditions, \
            and `_ => variant` as the last")
    };
    (@conditions $arms:tt [] [] _ $($rest:tt)*) => { $crate::__ifunc! { @arms } };
    (@conditions $arms:tt [$($done:tt)*] [$($condition:tt)+] && $($rest:tt)+) => {
        $crate::__ifunc! { @conditions $arms [$($done)* [$($condition)+]] [] $($rest)+ }
    };
    (@conditions { $($arms:tt)* } [$($done:tt)*] [$($condition:tt)+] => $($rest:tt)+) => {
        $crate::__ifunc! { @features $($arms)* [$($done)* [$($condition)+]] $($rest)+ }
    };
    (@conditions $arms:tt $done:tt [$($condition:tt)*] $a:ident :: $b:ident :: $c:ident $($rest:tt)+) => {
        $crate::__ifunc! { @conditions $arms $done [$($condition)* $a::$b::$c] $($rest)+ }
    };
    (@conditions $arms:tt $done:tt [$($condition:tt)*] $a:ident :: $b:ident $($rest:tt)+) => {
        $crate::__ifunc! { @conditions $arms $done [$($condition)* $a::$b] $($rest)+ }
    };
    (@conditions $arms:tt $done:tt [$($condition:tt)*] $next:tt $($rest:tt)+) => {
        $crate::__ifunc! { @conditions $arms $done [$($condition)* $next] $($rest)+ }
    };
    (@conditions $($rest:tt)*) => { $crate::__ifunc! { @arms } };
    (@features $head:tt $result:tt $arms:tt $names:tt $conditions:tt
        #[target_feature($(enable = $features:tt),+ $(,)?)] $($rest:tt)+
    ) => {
        $crate::__ifunc! { @arm $head $result $arms $names { $conditions [$($features)+] } $($rest)+ }
    };
    (@features $head:tt $result:tt $arms:tt $names:tt $conditions:tt $($rest:tt)+) => {
        $crate::__ifunc! { @arm $head $result $arms $names { $conditions [] } $($rest)+ }
    };
    (@arm $head:tt $result:tt [$($arms:tt)*] [$($names:tt)*] { $($arm:tt)* } unsafe $variant:path, $($rest:tt)+) => {
        $crate::__ifunc! { @arms $head $result [$($arms)* { $($arm)* [unsafe] ($variant) }] [[$variant] $($names)*] $($rest)+ }
    };
    (@arm $head:tt $result:tt [$($arms:tt)*] [$($names:tt)*] { $($arm:tt)* } $variant:path, $($rest:tt)+) => {
        $crate::__ifunc! { @arms $head $result [$($arms)* { $($arm)* [] ($variant) }] [[$variant] $($names)*] $($rest)+ }
    };
    (@arm $($rest:tt)*) => { $crate::__ifunc! { @arms } };

    (@function { [$($cfg:tt)*] $attributes:tt $export:tt $vis:tt $safety:tt $name:ident $arguments:tt } [$result:ty]
        [$({ [$([$($condition:tt)+])+] $features:tt $trust:tt ($variant:path) })*] [$([$names:path])*] $last_trust:tt $last:path
    ) => {
        $crate::__ifunc! { @exported $export }
        $($cfg)*
        $crate::__ifunc! { @extern unsafe $attributes $vis $safety $name $arguments $result }

        // Items are not hygienic: their names are none that a program would have.
        $($cfg)*
        const _: () = {
            // Those of the CPU that each arm depends on, a condition after the other; none where an arm depends on anything else.
            static __INVAR_ARMS: $crate::__private::Arms<
                { <[&str]>::len(&[$($(::core::stringify!($($condition)+)),+),*]) },
                { <[&str]>::len(&[$(::core::stringify!($variant)),*]) },
            > = $crate::__private::Arms::new(
                [$($($crate::__features_of!($($condition)+)),+),*],
                [$(<[&str]>::len(&[$(::core::stringify!($($condition)+)),+]) as u8),*],
            );
            const __INVAR_IFUNC: bool =
                $crate::__private::IFUNC $($(&& $crate::__features_of!($($condition)+) != 0)+)*;
            static __INVAR_CHOSEN: $crate::__private::Chosen = $crate::__private::Chosen::new();

            $crate::__private::__symbol! {
                $export $name $arguments $result, __INVAR_IFUNC as u8, __invar_resolve, __invar_ordinary::<__INVAR_IFUNC>
            }

            // Which arguments it is given, and whether it is, depends on the machine: whoever needs them knows.
            extern "C" fn __invar_resolve(first: usize, second: usize) -> *const () {
                let arguments = [first, second];
                let (chosen, mut _arm) = ($crate::__private::choose(&__INVAR_CHOSEN, __INVAR_ARMS.all(), ::core::option::Option::Some(&arguments)), 0);
                $(
                    $crate::__private::__with_features! { $features { if chosen == _arm {
                        $crate::__ifunc! { @variant $safety $trust $features $arguments $result, $variant }
                        return $crate::__private::__address_of!(__invar_variant);
                    } } }
                    _arm += 1;
                )*
                $crate::__ifunc! { @variant $safety $last_trust [] $arguments $result, $last }
                $crate::__private::__address_of!(__invar_variant)
            }

            $crate::__ifunc! { @ordinary $safety $arguments $arguments $result
                [$({ [$([$($condition)+])+] $features $trust ($variant) })*] $last_trust $last
            }

            const _: () = {
                $crate::__key_of_variants!([@symbol] $crate::__private::Name::Given(::core::stringify!($name)); ::core::stringify!($last) $(, ::core::stringify!($names))*);
                extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
                    // SAFETY: this probe, of the key above.
                    unsafe {
                        $crate::__key_record!($crate::__private::Name::Given(::core::stringify!($name)), __INVAR_KEY, __InvarVariant, __invar_probe,
                            $crate::__private::SYMBOL);
                    }
                    let mut by_keys = 0;
                    let holds: [bool; [$(::core::stringify!($variant)),*].len()] = [$($($crate::__holds!($($condition)+))&&+),*];
                    while (by_keys as usize) < holds.len() && !holds[by_keys as usize] {
                        by_keys += 1;
                    }
                    $crate::__private::probe_symbol(verdict, __INVAR_IFUNC, &__INVAR_CHOSEN, __INVAR_ARMS.all(), by_keys);
                }
            };
        };
    };

    (@exported [# [unsafe(no_mangle)]]) => {};

    // The function that Rust calls.
    (@extern $unsafe:tt [$($meta:tt)*] [$vis:vis] $safety:tt $name:ident ($($argument:ident: $type:ty),*) $result:ty) => {
        $unsafe extern "C" {
            $($meta)*
            #[link_name = $crate::__private::__symbol_link_name!($name)]
            $vis $safety fn $name($($argument: $type),*) -> $result;
        }
    };

    // A variant in the C calling convention, with the features that its arm names, and called as safe code: that does not compile if
    // it needs others.
    (@variant $safety:tt $trust:tt [$($features:tt)*] ($($argument:ident: $type:ty),*) $result:ty, $variant:path) => {
        $(#[target_feature(enable = $features)])*
        extern "C" fn __invar_variant($($argument: $type),*) -> $result {
            $crate::__ifunc! { @call $safety $trust $variant, $($argument),* }
        }
    };
    (@call $safety:tt [] $variant:path, $($argument:ident),*) => { $variant($($argument),*) };
    (@call unsafe [$unsafe:tt] $variant:path, $($argument:ident),*) => {
        // SAFETY: as the function's caller vouches, and the program by this word in the arm.
        $unsafe { $variant($($argument),*) }
    };
    (@call safe $trust:tt $($rest:tt)*) => {
        ::core::compile_error!("a function that is safe to call has no `unsafe` variants: \
            declare it as `unsafe extern \"C\" fn`, or make the variant safe")
    };

    // The symbol where it is an ordinary one; else without a site.
    (@ordinary $safety:tt $all:tt ($($argument:ident: $type:ty),*) $result:ty
        [$({ [$([$($condition:tt)+])+] $features:tt $trust:tt ($variant:path) })*] $last_trust:tt $last:path
    ) => {
        extern "C" fn __invar_ordinary<const __INVAR_IS_IFUNC: bool>($($argument: $type),*) -> $result {
            if __INVAR_IS_IFUNC {
                ::core::unreachable!();
            }
            $(
                $crate::__ifunc! { @proof [$([$($condition)+])+] $features }
                $crate::__private::__with_features! { $features { if $($crate::branch!($($condition)+))&&+ {
                    // SAFETY: the keys have these values only on a CPU that has these features.
                    $crate::__ifunc! { @return unsafe $safety $trust $features $all $result, $variant }
                } } }
            )*
            $crate::__ifunc! { @return unsafe $safety $last_trust [] $all $result, $last }
        }
    };
    (@proof $conditions:tt []) => {};
    (@proof [$([$($condition:tt)+])+] [$($features:tt)+]) => {
        const _: () = $crate::__private::prove(&[$($crate::__proof!($($condition)+)),+], ::core::concat!($($features, ","),+));
    };
    (@return $unsafe:tt $safety:tt $trust:tt $features:tt ($($argument:ident: $type:ty),*) $result:ty, $variant:path) => {
        $crate::__ifunc! { @variant $safety $trust $features ($($argument: $type),*) $result, $variant }
        #[allow(unused_unsafe)]
        return $unsafe { __invar_variant($($argument),*) };
    };
}

/// The CPU features that a condition of [`ifunc!`](crate::ifunc!) is, which the resolver knows; 0 if it is anything else.
#[doc(hidden)]
#[macro_export]
macro_rules! __features_of {
    ($($key:ident)::+) => { $crate::__private::is_features(&raw const $($key)::+, 1) };
    ($($key:ident)::+ == $value:expr) => { $crate::__private::is_features(&raw const $($key)::+, $value as u8) };
    ($($other:tt)+) => { 0 };
}

/// What [`ifunc!`](crate::ifunc!) expands to, and nobody else should use.
#[doc(hidden)]
pub(crate) mod expansion {
    use super::*;

    /// What an arm depends on: a key of the CPU's features, these, and its name. It has no pointers: they would not be relocated yet.
    #[derive(Debug)]
    pub struct Condition {
        pub(super) needs: u64,
        /// The key's name without `cpu.`, and zeros behind it.
        pub(super) name: [u8; arch::CPU_KEY_NAME],
    }

    impl Condition {
        /// One on the built-in key of these features; one that never holds if there are none.
        const fn new(features: u64) -> Self {
            match features {
                0 => Self { needs: u64::MAX, name: [0; arch::CPU_KEY_NAME] },
                _ => Self { needs: features, name: arch::cpu_key_name(features) },
            }
        }
    }

    /// The conditions of all arms, one behind the other, and how many each arm has.
    #[derive(Debug)]
    pub struct Arms<const CONDITIONS: usize, const ARMS: usize> {
        conditions: [Condition; CONDITIONS],
        lengths: [u8; ARMS],
    }

    impl<const CONDITIONS: usize, const ARMS: usize> Arms<CONDITIONS, ARMS> {
        /// Of keys with these features.
        pub const fn new(features: [u64; CONDITIONS], lengths: [u8; ARMS]) -> Self {
            assert!(CONDITIONS <= 64, "ifunc! has 64 conditions at most");
            // One more than the last arm's number has room in the byte that says which was chosen, and is a value of the key.
            assert!(ARMS <= 62, "ifunc! has 62 arms at most");
            let mut conditions = [const { Condition::new(0) }; CONDITIONS];
            let mut at = 0;
            while at < CONDITIONS {
                conditions[at] = Condition::new(features[at]);
                at += 1;
            }
            Self { conditions, lengths }
        }

        /// The same, of any number.
        pub const fn all(&self) -> AllArms<'_> {
            AllArms { conditions: &self.conditions, lengths: &self.lengths }
        }
    }

    /// The arms of one symbol.
    #[derive(Clone, Copy, Debug)]
    pub struct AllArms<'a> {
        pub(super) conditions: &'a [Condition],
        pub(super) lengths: &'a [u8],
    }

    /// What was chosen for one symbol: 0 for nothing yet, else one more than the arm's number, and why.
    #[derive(Debug)]
    pub struct Chosen(pub(super) AtomicU8);

    impl Chosen {
        /// Nothing yet.
        #[allow(clippy::new_without_default)]
        pub const fn new() -> Self {
            Self(AtomicU8::new(0))
        }
    }

    /// The number of the arm that a resolver with these arguments takes, the same at every call; beyond all for the last.
    pub fn choose(chosen: &Chosen, arms: AllArms<'_>, arguments: Option<&[usize; 2]>) -> u8 {
        let known = chosen.0.load(Relaxed);
        let choice = if known == 0 { look(arms, arguments) } else { known };
        chosen.0.store(choice, Relaxed);
        (choice & ARM) - 1
    }

    /// Says to which variant a symbol is bound, and whether its keys would have it so.
    pub fn probe_symbol(verdict: &mut Verdict, ifunc: bool, chosen: &Chosen, arms: AllArms<'_>, by_keys: u8) {
        let arm = if ifunc { choose(chosen, arms, None) } else { by_keys };
        let why = chosen.0.load(Relaxed);
        verdict.value = arms.lengths.len() as u8 - arm;
        let evidence = &mut verdict.evidence;
        evidence.text(match (ifunc, arch::IFUNC) {
            (true, _) => "an IFUNC symbol, by ",
            (false, false) => "an ordinary symbol, as there is no IFUNC here",
            (false, true) => "an ordinary symbol, as not all of its keys are the CPU's",
        });
        if ifunc {
            evidence.text(arch::FEATURE_SOURCE);
        }
        if why & LOWERED != 0 {
            evidence.text("; lowered by INVAR or INVAR_KEYS");
        }
        if why & UNREADABLE != 0 {
            evidence.text("; /proc/self/environ cannot be read: without settings");
        }
        if arm != by_keys {
            evidence.text("; its keys were decided otherwise, after the loader had bound it");
        }
    }
}

use expansion::{AllArms, Condition};

// What `Chosen` has.
const ARM: u8 = 0x3f;
const LOWERED: u8 = 0x40;
const UNREADABLE: u8 = 0x80;

/// The facts that this module knows: the CPU's features, that the CPU was asked, and that there are no settings.
static FACTS: AtomicU64 = AtomicU64::new(0);
const ASKED: u64 = 1 << 63;
const NO_SETTINGS: u64 = 1 << 62;

#[cold]
fn look(arms: AllArms<'_>, arguments: Option<&[usize; 2]>) -> u8 {
    let mut facts = FACTS.load(Relaxed);
    if facts & ASKED == 0 {
        facts |= ASKED | arch::cpu_features_for_resolvers(arguments);
    }
    let mut settings = SymbolSettings { off: false, lowered: 0, found: false, unreadable: false };
    if facts & NO_SETTINGS == 0 {
        settings.read(arms.conditions);
        if !settings.found && !settings.unreadable {
            facts |= NO_SETTINGS;
        }
    }
    FACTS.store(facts, Relaxed);
    first_that_holds(arms, facts, &settings)
}

/// One more than the number of the first arm that holds by these facts and settings, and why.
#[inline(always)] // called once
fn first_that_holds(arms: AllArms<'_>, facts: u64, settings: &SymbolSettings) -> u8 {
    let (mut number, mut why, mut at) = (1, 0, 0);
    for &length in arms.lengths {
        let (mut is_there, mut is_lowered) = (true, settings.off);
        for _ in 0..length {
            is_there &= arms.conditions.get(at).is_some_and(|condition| condition.needs & !facts == 0);
            is_lowered |= settings.lowered >> at & 1 != 0;
            at += 1;
        }
        if is_there {
            if !is_lowered {
                break;
            }
            why = LOWERED;
        }
        number += 1;
    }
    number | why | if settings.unreadable { UNREADABLE } else { 0 }
}

/// The settings of some conditions' keys, as [`crate::settings`] has them; read by system calls, and byte by byte.
struct SymbolSettings {
    off: bool,
    /// A bit for each condition.
    lowered: u64,
    found: bool,
    unreadable: bool,
}

/// The beginning of a word: enough of it to tell words apart.
struct Word<'a> {
    bytes: &'a mut MaybeUninit<[u8; WORD]>,
    length: usize,
}

const WORD: usize = 64;
// Whatever is longer is cut, and none of these.
const _: () = assert!(CPU.len() + arch::CPU_KEY_NAME + b"=off".len() < WORD);

/// What the names of keys of the CPU's features begin with.
const CPU: &[u8] = b"cpu.";

impl SymbolSettings {
    fn read(&mut self, conditions: &[Condition]) {
        // Not a part of the word, into which it would be copied.
        let mut bytes = MaybeUninit::uninit();
        let mut word = Word { bytes: &mut bytes, length: 0 };
        let mut reader = Reader::new();
        match each_byte(b"/proc/self/environ\0", |byte| {
            self.take(byte, &mut reader, &mut word, conditions);
            true
        }) {
            true if self.off || self.lowered != 0 => {
                if is_secure() {
                    (self.off, self.lowered) = (false, 0);
                }
            }
            true => {}
            false => self.unreadable = true,
        }
    }

    fn take(&mut self, byte: u8, reader: &mut Reader, word: &mut Word<'_>, conditions: &[Condition]) {
        if !reader.ends(byte) {
            return word.push(byte);
        }
        if let Some(said) = reader.take(word.read(), byte) {
            self.hear(said, conditions);
        }
        word.length = 0;
    }

    fn hear(&mut self, said: Said<'_>, conditions: &[Condition]) {
        self.found = true;
        match said {
            Said::Mode(Some(mode)) => self.off = mode == Mode::Off,
            Said::Mode(None) => {}
            Said::Entry { entry, first } => {
                if first {
                    self.lowered = 0;
                }
                let Some((key, value)) = pair(entry) else { return };
                for (at, condition) in conditions.iter().enumerate() {
                    if condition.is_of(key) {
                        let off = same(value, b"off");
                        self.lowered = self.lowered & !(1 << at) | u64::from(off) << at;
                    }
                }
            }
        }
    }
}

impl Condition {
    /// Whether this is its key's name.
    fn is_of(&self, key: &[u8]) -> bool {
        let mut length = 0;
        while length < self.name.len() && self.name[length] != 0 {
            length += 1;
        }
        match (key.get(..CPU.len()), key.get(CPU.len()..), self.name.get(..length)) {
            (Some(first), Some(rest), Some(name)) => same(first, CPU) && same(rest, name),
            _ => false,
        }
    }
}

impl Word<'_> {
    fn push(&mut self, byte: u8) {
        if self.length < WORD {
            // SAFETY: in bounds.
            unsafe { self.bytes.as_mut_ptr().cast::<u8>().add(self.length).write(byte) };
            self.length += 1;
        }
    }

    fn read(&self) -> &[u8] {
        // SAFETY: so many were pushed.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::expansion::{Arms, Chosen, choose, probe_symbol};
    use super::*;
    use std::vec::Vec;

    /// A condition on a key of this name.
    fn on(needs: u64, name: &str) -> Condition {
        let mut condition = Condition { needs, name: [0; arch::CPU_KEY_NAME] };
        condition.name[..name.len()].copy_from_slice(name.as_bytes());
        condition
    }

    /// An arm for each condition.
    fn each(conditions: &[Condition]) -> AllArms<'_> {
        AllArms { conditions, lengths: &[1; 64][..conditions.len()] }
    }

    const NONE: SymbolSettings = SymbolSettings { off: false, lowered: 0, found: false, unreadable: false };

    /// What an environment says of two keys.
    fn read(environment: &str) -> SymbolSettings {
        let conditions = [on(0, "fast"), on(0, "wide-2")];
        let (mut settings, mut bytes, mut reader) = (NONE, MaybeUninit::uninit(), Reader::new());
        let mut word = Word { bytes: &mut bytes, length: 0 };
        environment.bytes().for_each(|byte| settings.take(byte, &mut reader, &mut word, &conditions));
        settings
    }

    /// As the runtime reads them ([`crate::settings`]).
    #[test]
    fn environments_are_read_byte_by_byte() {
        for &(environment, off, lowered) in crate::settings::reader::tests::ENVIRONMENTS {
            let settings = read(environment);
            assert_eq!((settings.off, settings.lowered), (off, lowered), "{environment:?}");
            assert!(settings.found || !off && lowered == 0, "{environment:?}");
        }
        for nothing in ["", "A=INVAR=off\0", "INVAR\0", "INVAR=\0INVAR_KEYS=\0", "INVAR=off"] {
            assert!(!read(nothing).found, "{nothing:?}");
        }
    }

    #[test]
    fn of_a_word_only_the_beginning_is_kept() {
        let mut bytes = MaybeUninit::uninit();
        let mut word = Word { bytes: &mut bytes, length: 0 };
        assert_eq!(word.read(), b"");
        (0..WORD as u8 + 9).for_each(|byte| word.push(byte));
        let all: Vec<u8> = (0..WORD as u8).collect();
        assert_eq!(word.read(), all);
    }

    #[test]
    fn a_condition_knows_its_key() {
        let (fast, full) = (on(0, "fast"), on(0, "a-name-of-the-most-bytes"));
        assert!(fast.is_of(b"cpu.fast") && full.is_of(b"cpu.a-name-of-the-most-bytes"));
        for other in [&b""[..], b"cpu", b"cpu.", b"fast", b"cpu.fas", b"cpu.faster", b"cpu.fast\0", b"cpx.fast"] {
            assert!(!fast.is_of(other) && !full.is_of(other), "{other:?}");
        }
    }

    #[test]
    fn the_first_arm_that_holds_is_taken() {
        let conditions = [on(0b11, "a"), on(0b01, "b"), on(u64::MAX, "c")];
        let lowered = |lowered| SymbolSettings { lowered, ..NONE };
        for (facts, settings, first) in [
            (0b11, NONE, 1),
            (0b01, NONE, 2),
            (0b10, NONE, 4),
            (0b111, lowered(0b001), 2 | LOWERED),
            (0b111, lowered(0b011), 4 | LOWERED),
            (0b111, lowered(0b010), 1),
            (0b01, lowered(0b001), 2),
            (0b11, SymbolSettings { off: true, ..NONE }, 4 | LOWERED),
            (0b00, SymbolSettings { off: true, ..NONE }, 4),
            (0b11, SymbolSettings { unreadable: true, ..NONE }, 1 | UNREADABLE),
        ] {
            let found = first_that_holds(each(&conditions), facts, &settings);
            assert_eq!(found, first, "{facts:b} {}", settings.lowered);
        }
        let arms = Arms::<1, 1>::new([0], [1]);
        assert_eq!(first_that_holds(arms.all(), u64::MAX >> 1, &NONE), 2, "a condition that is none of the CPU's");
    }

    #[test]
    fn an_arm_holds_where_all_its_conditions_do() {
        let conditions = [on(0b001, "a"), on(0b010, "b"), on(0b100, "c"), on(0b001, "a")];
        let arms = AllArms { conditions: &conditions, lengths: &[2, 1, 1] };
        let lowered = |lowered| SymbolSettings { lowered, ..NONE };
        for (facts, settings, first) in [
            (0b111, NONE, 1),
            (0b101, NONE, 2),
            (0b110, NONE, 2),
            (0b010, NONE, 4),
            (0b001, NONE, 3),
            (0b111, lowered(0b0010), 2 | LOWERED),
            (0b111, lowered(0b1001), 2 | LOWERED),
            (0b011, lowered(0b1001), 4 | LOWERED),
            (0b111, lowered(0b0100), 1),
            (0b011, lowered(0b0100), 1),
            (0b001, lowered(0b0010), 3),
        ] {
            assert_eq!(first_that_holds(arms, facts, &settings), first, "{facts:b} {}", settings.lowered);
        }
    }

    #[test]
    fn a_choice_stays() {
        let chosen = Chosen::new();
        // No CPU has all features that there could be, and each has none.
        let conditions = [on(u64::MAX >> 2, "a"), on(0, "b")];
        assert_eq!((choose(&chosen, each(&conditions), None), chosen.0.load(Relaxed) & ARM), (1, 2));
        assert_ne!(FACTS.load(Relaxed) & ASKED, 0);
        assert_eq!(choose(&chosen, each(&[on(0, "c")]), None), 1, "the same at every call");
        chosen.0.store(1 | LOWERED | UNREADABLE, Relaxed);
        assert_eq!(choose(&chosen, each(&conditions), None), 0);
    }

    #[test]
    fn what_a_symbol_is_bound_to_is_said() {
        let conditions = [on(0, "a"), on(0, "b")];
        let said = |ifunc, chosen, by_keys| {
            let mut verdict = Verdict::undecided();
            probe_symbol(&mut verdict, ifunc, &Chosen(AtomicU8::new(chosen)), each(&conditions), by_keys);
            (verdict.value(), std::string::String::from(verdict.evidence()))
        };
        let by = std::format!("an IFUNC symbol, by {}", arch::FEATURE_SOURCE);
        assert_eq!(said(true, 1, 0), (2, by.clone()));
        assert_eq!(said(true, 3, 2), (0, by.clone()));
        assert_eq!(said(true, 2 | LOWERED, 1), (1, by.clone() + "; lowered by INVAR or INVAR_KEYS"));
        let unreadable = "; /proc/self/environ cannot be read: without settings";
        let otherwise = "; its keys were decided otherwise, after the loader had bound it";
        assert_eq!(said(true, 1 | UNREADABLE, 2), (2, by + unreadable + otherwise));
        let why = if arch::IFUNC { "not all of its keys are the CPU's" } else { "there is no IFUNC here" };
        assert_eq!(said(false, 0, 1), (1, std::format!("an ordinary symbol, as {why}")));
    }

    #[test]
    fn files_are_read_to_their_end_or_until_it_is_enough() {
        let program = std::fs::read("/proc/self/exe").expect("the program");
        let part = &program[..5000];
        let path = std::env::temp_dir().join(std::format!("invar-symbol-{}", std::process::id()));
        std::fs::write(&path, part).expect("a file");
        let name = std::format!("{}\0", path.display());
        let read = |most: usize| {
            let mut bytes = Vec::new();
            let readable = each_byte(name.as_bytes(), |byte| {
                bytes.push(byte);
                bytes.len() < most
            });
            (readable, bytes)
        };
        let (all, some) = (read(usize::MAX), read(2050));
        let open = std::fs::read_dir("/proc/self/fd").expect("files");
        let stays = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).any(|open| open == path);
        std::fs::remove_file(&path).expect("a file");
        assert_eq!(all, (true, part.to_vec()));
        assert_eq!(some, (true, part[..2050].to_vec()));
        assert!(!stays, "it is closed");
        assert!(!each_byte(b"/nowhere/at/all\0", |_| true) && !each_byte(b"/\0", |_| true));
    }

    #[test]
    fn raised_privileges_are_seen() {
        assert_eq!(is_secure(), crate::sys::auxiliary(libc::AT_SECURE) != 0);
    }
}
