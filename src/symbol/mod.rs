//! Symbols that the loader binds once: C functions with one variant for each value of some keys.
//!
//! A resolver runs before its module is relocated, before constructors and, in a static program, before there is a thread
//! pointer. All that it calls is in this file and in `arch`: system calls and `cpuid`. It calls no function of libc's, and
//! does nothing for which the compiler would call one, such as to compare slices, or to clear or copy many bytes.
#![allow(unsafe_code)]

pub(crate) mod features;

use crate::key::state::Verdict;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use invar_arch as arch;

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
/// Arms are those of [`dispatch!`](crate::dispatch!), and the same rule holds. A variant is called as safe code, from a function
/// with the features that its arm names. The key must prove these features. Anything else does not compile. In a function that is
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
/// **Where all keys are [`cpu`](crate::cpu)'s, and libc knows `STT_GNU_IFUNC`** (glibc), it is such a symbol. A call from another
/// module, which goes by that module's PLT or GOT in any case, leads directly to the variant. The resolver asks the CPU itself. It
/// reads in `/proc/self/environ` whether a setting turns off one of the keys, so that it chooses as the keys will have it. That is
/// done once for a module, by three system calls and one more for each two kilobytes of environment; where there are settings,
/// once for each symbol. What the program changes in its environment after it was started is not seen there.
///
/// **Elsewhere, or with another key**, whose probe may call libc and needs a thread pointer, it is an ordinary function. Its
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
    (@arms $head:tt $result:tt $arms:tt $names:tt $($key:ident)::+ => $($rest:tt)+) => {
        $crate::__ifunc! { @arms $head $result $arms $names $($key)::+ == true => $($rest)+ }
    };
    (@arms $head:tt $result:tt $arms:tt $names:tt
        $($key:ident)::+ == $value:expr => #[target_feature(enable = $features:literal)] $($rest:tt)+
    ) => {
        $crate::__ifunc! { @arm $head $result $arms $names { ($($key)::+) ($value) [$features] } $($rest)+ }
    };
    (@arms $head:tt $result:tt $arms:tt $names:tt $($key:ident)::+ == $value:expr => $($rest:tt)+) => {
        $crate::__ifunc! { @arm $head $result $arms $names { ($($key)::+) ($value) [] } $($rest)+ }
    };
    (@arm $head:tt $result:tt [$($arms:tt)*] [$($names:tt)*] { $($arm:tt)* } unsafe $variant:path, $($rest:tt)+) => {
        $crate::__ifunc! { @arms $head $result [$($arms)* { $($arm)* [unsafe] ($variant) }] [[$variant] $($names)*] $($rest)+ }
    };
    (@arm $head:tt $result:tt [$($arms:tt)*] [$($names:tt)*] { $($arm:tt)* } $variant:path, $($rest:tt)+) => {
        $crate::__ifunc! { @arms $head $result [$($arms)* { $($arm)* [] ($variant) }] [[$variant] $($names)*] $($rest)+ }
    };
    (@arms $($rest:tt)*) => {
        ::core::compile_error!("ifunc! has arms `KEY => variant,` or `KEY == VALUE => variant,`, and `_ => variant` as the last")
    };
    (@arm $($rest:tt)*) => { $crate::__ifunc! { @arms } };

    (@function { [$($cfg:tt)*] $attributes:tt $export:tt $vis:tt $safety:tt $name:ident $arguments:tt } [$result:ty]
        [$({ ($($key:ident)::+) ($value:expr) $features:tt $trust:tt ($variant:path) })*] [$([$names:path])*] $last_trust:tt $last:path
    ) => {
        $crate::__ifunc! { @exported $export }
        $($cfg)*
        $crate::__ifunc! { @extern unsafe $attributes $vis $safety $name $arguments $result }

        // Items are not hygienic: their names are none that a program would have.
        $($cfg)*
        const _: () = {
            // Those of the CPU that each arm depends on; none where an arm depends on anything else.
            static __INVAR_ARMS: [$crate::__private::Arm; [$(stringify!($variant)),*].len()] =
                [$($crate::__private::Arm::new($crate::__private::is_features(&raw const $($key)::+, $value as u8))),*];
            const __INVAR_IFUNC: bool =
                $crate::__private::IFUNC $(&& $crate::__private::is_features(&raw const $($key)::+, $value as u8) != 0)*;
            static __INVAR_CHOSEN: $crate::__private::Chosen = $crate::__private::Chosen::new();

            $crate::__private::__symbol! {
                $export $name $arguments $result, __INVAR_IFUNC as u8, __invar_resolve, __invar_ordinary::<__INVAR_IFUNC>
            }

            extern "C" fn __invar_resolve() -> *const () {
                let (chosen, mut _arm) = ($crate::__private::choose(&__INVAR_CHOSEN, &__INVAR_ARMS), 0);
                $(
                    if chosen == _arm {
                        $crate::__ifunc! { @variant $safety $trust $features $arguments $result, $variant }
                        return $crate::__private::__address_of!(__invar_variant);
                    }
                    _arm += 1;
                )*
                $crate::__ifunc! { @variant $safety $last_trust [] $arguments $result, $last }
                $crate::__private::__address_of!(__invar_variant)
            }

            $crate::__ifunc! { @ordinary $safety $arguments $arguments $result
                [$({ ($($key)::+) ($value) $features $trust ($variant) })*] $last_trust $last
            }

            const _: () = {
                #[derive(Clone, Copy, PartialEq)]
                struct __InvarVariant(u8);
                impl $crate::Value for __InvarVariant {
                    const NAMES: &'static [&'static str] = &[stringify!($last), $(stringify!($names)),*];
                    const BY_MACRO: $crate::__private::ByMacro = $crate::__private::ByMacro;
                    fn to_byte(self) -> u8 {
                        self.0
                    }
                    fn from_byte(byte: u8) -> ::core::option::Option<Self> {
                        ::core::option::Option::Some(Self(byte))
                    }
                }
                static __INVAR_KEY: $crate::Key<__InvarVariant> = $crate::Key::new();
                extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
                    // SAFETY: this probe, of the key above.
                    unsafe {
                        $crate::__key_record!([stringify!($name)] __INVAR_KEY, __InvarVariant, __invar_probe,
                            $crate::__private::SYMBOL);
                    }
                    let mut by_keys = 0;
                    let _ = [$($($key)::+.get() == $value),*].iter().find(|&&holds| {
                        by_keys += u8::from(!holds);
                        holds
                    });
                    $crate::__private::probe_symbol(verdict, __INVAR_IFUNC, &__INVAR_CHOSEN, &__INVAR_ARMS, by_keys);
                }
                #[used]
                static __INVAR_KEEP: $crate::__private::RawProbe = __invar_probe;
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
    (@variant $safety:tt $trust:tt [$($features:literal)?] ($($argument:ident: $type:ty),*) $result:ty, $variant:path) => {
        $(#[target_feature(enable = $features)])?
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
        [$({ ($($key:ident)::+) ($value:expr) $features:tt $trust:tt ($variant:path) })*] $last_trust:tt $last:path
    ) => {
        extern "C" fn __invar_ordinary<const __INVAR_IS_IFUNC: bool>($($argument: $type),*) -> $result {
            if __INVAR_IS_IFUNC {
                unreachable!();
            }
            $(
                $crate::__ifunc! { @proof ($($key)::+) ($value) $features }
                if $crate::branch!($($key)::+ == $value) {
                    // SAFETY: the key has this value only on a CPU that has these features.
                    $crate::__ifunc! { @return unsafe $safety $trust $features $all $result, $variant }
                }
            )*
            $crate::__ifunc! { @return unsafe $safety $last_trust [] $all $result, $last }
        }
    };
    (@proof $key:tt $value:tt []) => {};
    (@proof ($($key:ident)::+) ($value:expr) [$features:literal]) => {
        const _: () = $crate::__private::prove(&[$crate::__private::proof(&raw const $($key)::+, $value as u8)], $features);
    };
    (@return $unsafe:tt $safety:tt $trust:tt $features:tt ($($argument:ident: $type:ty),*) $result:ty, $variant:path) => {
        $crate::__ifunc! { @variant $safety $trust $features ($($argument: $type),*) $result, $variant }
        #[allow(unused_unsafe)]
        return $unsafe { __invar_variant($($argument),*) };
    };
}

/// What [`ifunc!`](crate::ifunc!) expands to, and nobody else should use.
#[doc(hidden)]
pub(crate) mod expansion {
    use super::*;

    /// The features that an arm depends on, and its key's name. It has no pointers: they would not be relocated yet.
    #[derive(Debug)]
    pub struct Arm {
        pub(super) needs: u64,
        /// The key's name without `cpu.`, and zeros behind it.
        pub(super) name: [u8; arch::CPU_KEY_NAME],
    }

    impl Arm {
        /// An arm for the built-in key of these features; one that never holds if there are none.
        pub const fn new(features: u64) -> Self {
            match features {
                0 => Self { needs: u64::MAX, name: [0; arch::CPU_KEY_NAME] },
                _ => Self { needs: features, name: arch::cpu_key_name(features) },
            }
        }
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

    /// The number of the arm that a resolver takes, the same at every call; beyond all for the last.
    pub fn choose(chosen: &Chosen, arms: &[Arm]) -> u8 {
        let known = chosen.0.load(Relaxed);
        let choice = if known == 0 { look(arms) } else { known };
        chosen.0.store(choice, Relaxed);
        (choice & ARM) - 1
    }

    /// Says to which variant a symbol is bound, and whether its keys would have it so.
    pub fn probe_symbol(verdict: &mut Verdict, ifunc: bool, chosen: &Chosen, arms: &[Arm], by_keys: u8) {
        let arm = if ifunc { choose(chosen, arms) } else { by_keys };
        let why = chosen.0.load(Relaxed);
        verdict.value = arms.len() as u8 - arm;
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

use expansion::Arm;

// What `Chosen` has.
const ARM: u8 = 0x3f;
const LOWERED: u8 = 0x40;
const UNREADABLE: u8 = 0x80;

/// The facts that this module knows: the CPU's features, that the CPU was asked, and that there are no settings.
static FACTS: AtomicU64 = AtomicU64::new(0);
const ASKED: u64 = 1 << 63;
const NO_SETTINGS: u64 = 1 << 62;

#[cold]
fn look(arms: &[Arm]) -> u8 {
    let mut facts = FACTS.load(Relaxed);
    if facts & ASKED == 0 {
        facts |= ASKED | arch::cpu_features_for_resolvers();
    }
    let mut settings = Settings { off: false, lowered: 0, found: false, unreadable: false };
    if facts & NO_SETTINGS == 0 {
        settings.read(arms);
        if !settings.found && !settings.unreadable {
            facts |= NO_SETTINGS;
        }
    }
    FACTS.store(facts, Relaxed);
    first_that_holds(arms, facts, &settings)
}

/// One more than the number of the first arm that holds by these facts and settings, and why.
#[inline(always)] // called once
fn first_that_holds(arms: &[Arm], facts: u64, settings: &Settings) -> u8 {
    let (mut number, mut why) = (1, 0);
    for (at, arm) in arms.iter().enumerate() {
        if arm.needs & !facts == 0 {
            if !settings.off && settings.lowered >> at & 1 == 0 {
                break;
            }
            why = LOWERED;
        }
        number += 1;
    }
    number | why | if settings.unreadable { UNREADABLE } else { 0 }
}

/// The settings of some arms' keys, as [`crate::settings`] has them; read by system calls, and byte by byte.
struct Settings {
    off: bool,
    /// A bit for each arm.
    lowered: u64,
    found: bool,
    unreadable: bool,
}

/// Which part of the environment a word belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Name,
    Mode,
    Keys,
    Other,
}

/// The beginning of a word: enough of it to tell words apart.
struct Word<'a> {
    bytes: &'a mut MaybeUninit<[u8; WORD]>,
    length: usize,
}

const WORD: usize = 64;

impl Settings {
    fn read(&mut self, arms: &[Arm]) {
        // Not a part of the reader, into which it would be copied.
        let mut bytes = MaybeUninit::uninit();
        let word = Word { bytes: &mut bytes, length: 0 };
        let mut reader = Reader { part: Part::Name, word, equals: None, fresh: false };
        match each_byte(b"/proc/self/environ\0", |byte| {
            reader.take(byte, self, arms);
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
}

struct Reader<'a> {
    part: Part,
    word: Word<'a>,
    /// Where the first `=` of a word of `INVAR_KEYS` is.
    equals: Option<usize>,
    /// Whether nothing of this `INVAR_KEYS` has been read.
    fresh: bool,
}

impl Reader<'_> {
    fn take(&mut self, byte: u8, settings: &mut Settings, arms: &[Arm]) {
        let ends = byte == 0 || (byte == b',' && self.part == Part::Keys);
        let names = byte == b'=' && self.part == Part::Name;
        if byte != 0 && self.part == Part::Keys && self.fresh {
            // The last one counts, unless it is empty.
            settings.lowered = 0;
            self.fresh = false;
        }
        if !ends && !names {
            if byte == b'=' && self.equals.is_none() {
                self.equals = Some(self.word.length);
            }
            self.word.push(byte);
            return;
        }
        match self.part {
            Part::Name if names => {
                let (mode, keys) = (self.word.is(b"INVAR"), self.word.is(b"INVAR_KEYS"));
                self.part = if mode {
                    Part::Mode
                } else if keys {
                    Part::Keys
                } else {
                    Part::Other
                };
                settings.found |= mode || keys;
                self.fresh = true;
            }
            Part::Mode if self.word.is(b"off") => settings.off = true,
            Part::Mode if self.word.is(b"auto") || self.word.is(b"require") => settings.off = false,
            Part::Keys => self.key(settings, arms),
            _ => {}
        }
        (self.word.length, self.equals) = (0, None);
        if byte == 0 {
            self.part = Part::Name;
        }
    }

    fn key(&self, settings: &mut Settings, arms: &[Arm]) {
        let Some(equals) = self.equals else { return };
        for (at, arm) in arms.iter().enumerate() {
            let mut length = 0;
            while length < arm.name.len() && arm.name[length] != 0 {
                length += 1;
            }
            let named = equals == 4 + length && self.word.has(0, b"cpu.", 4) && self.word.has(4, &arm.name, length);
            if named {
                let off = self.word.length == equals + 4 && self.word.has(equals + 1, b"off", 3);
                settings.lowered = settings.lowered & !(1 << at) | u64::from(off) << at;
            }
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

    fn is(&self, other: &[u8]) -> bool {
        self.length == other.len() && self.has(0, other, other.len())
    }

    /// Whether the first bytes of `other` stand at `start`.
    fn has(&self, start: usize, other: &[u8], length: usize) -> bool {
        if start + length > self.length {
            return false;
        }
        let mut at = 0;
        while at < length {
            // SAFETY: in what was pushed.
            if unsafe { self.bytes.as_ptr().cast::<u8>().add(start + at).read() } != other[at] {
                return false;
            }
            at += 1;
        }
        true
    }
}

/// Calls `take` with each byte of a file, until it has enough; `false` if the file cannot be read.
fn each_byte(path: &[u8], mut take: impl FnMut(u8) -> bool) -> bool {
    const AT_ONCE: usize = 2048;
    let mut buffer = MaybeUninit::<[u8; AT_ONCE]>::uninit();
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: both paths end in NUL.
    let file = unsafe { call(libc::SYS_openat, libc::AT_FDCWD as usize, path.as_ptr() as usize, flags) };
    if file < 0 {
        return false;
    }
    let mut more = true;
    let mut readable = true;
    while more {
        // SAFETY: the kernel writes at most so many bytes to the buffer.
        let length = unsafe { call(libc::SYS_read, file as usize, buffer.as_mut_ptr() as usize, AT_ONCE) };
        readable = length >= 0;
        more = length == AT_ONCE as isize;
        let mut at = 0;
        while at < length {
            // SAFETY: one of the bytes that the kernel wrote.
            if !take(unsafe { buffer.as_ptr().cast::<u8>().offset(at).read() }) {
                more = false;
                break;
            }
            at += 1;
        }
    }
    // SAFETY: our own descriptor.
    unsafe { call(libc::SYS_close, file as usize, 0, 0) };
    readable
}

/// `sys::call` for resolvers: without optimisation, an array of arguments would be copied by libc's `memcpy`.
///
/// # Safety
///
/// The call with these arguments must be sound.
unsafe fn call(number: libc::c_long, first: usize, second: usize, third: usize) -> isize {
    // SAFETY: as the caller vouches.
    unsafe { arch::syscall_for_resolvers(number as usize, first, second, third) }
}

/// Whether settings do not count, as `AT_SECURE` says; also where that cannot be told.
fn is_secure() -> bool {
    const BYTES: u32 = usize::BITS / 8;
    let (mut kind, mut value, mut at, mut secure) = (0_usize, 0_usize, 0, true);
    each_byte(b"/proc/self/auxv\0", |byte| {
        // The lowest byte of a word comes first.
        let word = if at < BYTES { &mut kind } else { &mut value };
        *word = *word >> 8 | (byte as usize) << (usize::BITS - 8);
        at = (at + 1) % (2 * BYTES);
        let found = at == 0 && kind == libc::AT_SECURE as usize;
        if found {
            secure = value != 0;
        }
        !found
    });
    secure
}

#[cfg(test)]
mod tests {
    use super::expansion::{Chosen, choose, probe_symbol};
    use super::*;
    use std::vec::Vec;

    /// An arm for a key of this name.
    fn arm(needs: u64, name: &str) -> Arm {
        let mut arm = Arm { needs, name: [0; arch::CPU_KEY_NAME] };
        arm.name[..name.len()].copy_from_slice(name.as_bytes());
        arm
    }

    const NONE: Settings = Settings { off: false, lowered: 0, found: false, unreadable: false };

    /// What an environment says of two arms.
    fn read(environment: &str) -> (bool, u64, bool) {
        let arms = [arm(0, "fast"), arm(0, "wide-2")];
        let (mut settings, mut bytes) = (NONE, MaybeUninit::uninit());
        let word = Word { bytes: &mut bytes, length: 0 };
        let mut reader = Reader { part: Part::Name, word, equals: None, fresh: false };
        environment.bytes().for_each(|byte| reader.take(byte, &mut settings, &arms));
        (settings.off, settings.lowered, settings.found)
    }

    #[test]
    fn the_environment_is_read_byte_by_byte() {
        for nothing in
            ["", "A=INVAR=off\0", "INVARX=off\0", "XINVAR=off\0", "A=b,INVAR=off\0", "INVAR\0", "=INVAR=off\0"]
        {
            assert_eq!(read(nothing), (false, 0, false), "{nothing:?}");
        }
        for (environment, off) in [
            ("INVAR=off\0", true),
            ("A\0INVAR=off\0B=c\0", true),
            ("INVAR=off\0INVAR=\0INVAR=on\0", true),
            ("INVAR=off\0INVAR=auto\0", false),
            ("INVAR=off\0INVAR=require\0", false),
            ("INVAR=auto\0INVAR=off\0", true),
            ("INVAR=of\0", false),
            ("INVAR=off,\0", false),
            ("INVAR=off", false),
        ] {
            assert_eq!(read(environment), (off, 0, true), "{environment:?}");
        }
        let long = "x".repeat(2 * WORD);
        for (keys, lowered) in [
            ("", 0),
            ("cpu.fast=off", 1),
            ("cpu.wide-2=off", 2),
            ("cpu.wide-2=off,cpu.fast=off", 3),
            ("cpu.fast=off,cpu.fast=on", 0),
            ("cpu.fast=off,cpu.wide-2=on", 1),
            ("a=b,,c,cpu.fast=off,=", 1),
            ("cpu.fast=offf", 0),
            ("cpu.fast=of", 0),
            ("cpu.fast=on", 0),
            ("cpu.fast==off", 0),
            ("cpu.fast=off=off", 0),
            ("cpu.fastoff", 0),
            ("cpu.fas=off", 0),
            ("cpu.fasts=off", 0),
            ("cpu.fust=off", 0),
            ("cpx.fast=off", 0),
            ("fast=off", 0),
            (&*std::format!("{long}=off,cpu.fast=off"), 1),
            (&*std::format!("cpu.fast=off{long}"), 0),
        ] {
            assert_eq!(read(&std::format!("INVAR_KEYS={keys}\0")), (false, lowered, true), "{keys}");
        }
        let last = |more| read(&std::format!("INVAR_KEYS=cpu.fast=off\0{more}")).1;
        assert_eq!(last("INVAR_KEYS=cpu.wide-2=off\0"), 2, "the last one counts");
        assert_eq!(last("INVAR_KEYS=a\0"), 0);
        assert_eq!(last("INVAR_KEYS=\0"), 1, "unless it is empty");
        assert_eq!(last("A=b\0INVAR=auto\0"), 1);
    }

    #[test]
    fn of_a_word_only_the_beginning_is_kept() {
        let mut bytes = MaybeUninit::uninit();
        let mut word = Word { bytes: &mut bytes, length: 0 };
        assert!(word.is(b"") && !word.is(b"a"));
        (0..WORD as u8 + 9).for_each(|byte| word.push(byte));
        let all: Vec<u8> = (0..WORD as u8).collect();
        assert!(word.length == WORD && word.is(&all) && !word.is(&all[1..]));
        assert!(word.has(3, &[3, 4, 9], 2) && !word.has(3, &[3, 4, 9], 3));
        assert!(word.has(WORD - 1, &[WORD as u8 - 1], 1) && !word.has(WORD, &[0], 1));
    }

    #[test]
    fn the_first_arm_that_holds_is_taken() {
        let arms = [arm(0b11, "a"), arm(0b01, "b"), arm(u64::MAX, "c")];
        let lowered = |lowered| Settings { lowered, ..NONE };
        for (facts, settings, first) in [
            (0b11, NONE, 1),
            (0b01, NONE, 2),
            (0b10, NONE, 4),
            (0b111, lowered(0b001), 2 | LOWERED),
            (0b111, lowered(0b011), 4 | LOWERED),
            (0b111, lowered(0b010), 1),
            (0b01, lowered(0b001), 2),
            (0b11, Settings { off: true, ..NONE }, 4 | LOWERED),
            (0b00, Settings { off: true, ..NONE }, 4),
            (0b11, Settings { unreadable: true, ..NONE }, 1 | UNREADABLE),
        ] {
            assert_eq!(first_that_holds(&arms, facts, &settings), first, "{facts:b} {}", settings.lowered);
        }
        assert_eq!(Arm::new(0).needs, u64::MAX);
    }

    #[test]
    fn a_choice_stays() {
        let chosen = Chosen::new();
        // No CPU has all features that there could be, and each has none.
        let arms = [arm(u64::MAX >> 2, "a"), arm(0, "b")];
        assert_eq!((choose(&chosen, &arms), chosen.0.load(Relaxed) & ARM), (1, 2));
        assert_ne!(FACTS.load(Relaxed) & ASKED, 0);
        assert_eq!(choose(&chosen, &[arm(0, "c")]), 1, "the same at every call");
        chosen.0.store(1 | LOWERED | UNREADABLE, Relaxed);
        assert_eq!(choose(&chosen, &arms), 0);
    }

    #[test]
    fn what_a_symbol_is_bound_to_is_said() {
        let arms = [arm(0, "a"), arm(0, "b")];
        let said = |ifunc, chosen, by_keys| {
            let mut verdict = Verdict::undecided();
            probe_symbol(&mut verdict, ifunc, &Chosen(AtomicU8::new(chosen)), &arms, by_keys);
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
