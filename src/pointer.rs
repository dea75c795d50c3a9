//! Pointers: words of data that lead to what a key has chosen, and tables of them.
#![allow(unsafe_code)]

use crate::key::state::Verdict;
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr};

/// A pointer that leads to one of several functions, chosen when the module is loaded: what [`pointer!`](crate::pointer!) and
/// [`pointers!`](crate::pointers!) declare.
///
/// It is called like what it leads to, `COUNT(text)`: one indirect call, of the word in memory.
#[repr(transparent)]
pub struct Pointer<F>(UnsafeCell<F>);

// SAFETY: nobody can write to it by what is public. The runtime stores one aligned word, before the module's ordinary constructors.
unsafe impl<F: Sync> Sync for Pointer<F> {}

impl<F: Copy> Pointer<F> {
    /// One that leads to its fallback.
    ///
    /// # Safety
    ///
    /// `F` must be the type of a function pointer.
    #[doc(hidden)]
    pub const unsafe fn new(fallback: F) -> Self {
        assert!(size_of::<F>() == size_of::<usize>());
        Self(UnsafeCell::new(fallback))
    }

    /// Where it leads now: to its fallback until the module's constructor has run, then to what its key has chosen.
    ///
    /// An atomic load, also for threads that a probe has left running.
    #[inline(always)]
    pub fn get(&self) -> F {
        // SAFETY: a word of this size; its address is not null.
        let word = unsafe { &*self.0.get().cast::<AtomicPtr<()>>() }.load(Relaxed);
        // SAFETY: a value of this type was stored there, which is as large.
        unsafe { core::mem::transmute_copy(&word) }
    }
}

/// By a plain load, which the call can do itself.
impl<F> Deref for Pointer<F> {
    type Target = F;

    #[inline(always)]
    fn deref(&self) -> &F {
        // SAFETY: the word changes once at most, while the module is being loaded, by one store of the runtime's, from one function of
        // the type to another that means the same. All loads of an aligned word find one of them.
        unsafe { &*self.0.get() }
    }
}

impl<F: core::fmt::Debug> core::fmt::Debug for Pointer<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Pointer").field(&**self).finish()
    }
}

/// Declares a pointer to one of several functions, chosen by keys when the module is loaded.
///
/// ```
/// invar::pointer! {
///     /// How many bytes of a text are spaces.
///     pub static COUNT: fn(text: &[u8]) -> usize = {
///         invar::cpu::AVX2 => #[target_feature(enable = "avx2")] count_avx2,
///         _ => count_anywhere,
///     };
/// }
///
/// # #[cfg(target_arch = "x86_64")]
/// #[target_feature(enable = "avx2")]
/// fn count_avx2(text: &[u8]) -> usize { text.iter().filter(|&&byte| byte == b' ').count() }
/// fn count_anywhere(text: &[u8]) -> usize { text.iter().filter(|&&byte| byte == b' ').count() }
///
/// assert_eq!(COUNT(b"a b c"), 2);
/// ```
///
/// The static is a [`Pointer`]. As it is linked it leads to the last variant, the fallback. When the keys are decided, the
/// runtime stores where it leads from then on, and the memory is read-only again. No code changes: this works on every machine with 64
/// bits, and where the system lets nobody change code. A call is one indirect call. There is no other load before it, and no branch.
/// Until the module's constructor has run, and where the runtime cannot store, a call is one of the fallback.
///
/// Arms are those of [`dispatch!`](crate::dispatch!), and the same rule holds: a variant with `#[target_feature]` has these
/// features named in its arm, and the key must prove them. The type is `fn(..) -> ..` or `extern "C" fn(..) -> ..`, with names
/// for its arguments or, up to eight, without; lifetimes in it are elided. A variant that is `unsafe` is not taken.
///
/// The [`report()`](crate::report()) has a key of the static's name; `#[name = "..."]` gives another. Its value is the variant, its
/// evidence the arm. No setting is for this key, only for those in the arms.
///
/// A key that proves less does not compile:
///
/// ```compile_fail
/// invar::key! { static WISH: bool = |_| Ok(true); }
/// invar::pointer! {
///     static COUNT: fn(&[u8]) -> usize = {
///         WISH => #[target_feature(enable = "avx2")] count_avx2,
///         _ => count_anywhere,
///     };
/// }
/// #[target_feature(enable = "avx2")]
/// fn count_avx2(text: &[u8]) -> usize { text.len() }
/// fn count_anywhere(text: &[u8]) -> usize { text.len() }
/// COUNT(b"");
/// ```
#[macro_export]
macro_rules! pointer {
    ($($declaration:tt)*) => { $crate::__pointers! { @attributes [one] [] [] [] $($declaration)* } };
}

/// Declares a table of pointers: a struct, and a static of it, whose pointers all lead to the functions of one arm.
///
/// ```
/// invar::pointers! {
///     /// What this program does with samples.
///     pub static DSP: struct Dsp {
///         /// The sum.
///         pub sum: fn(&[u8]) -> u32,
///         pub difference: fn(u32, u32) -> u32,
///     } = {
///         invar::cpu::AVX2 => #[target_feature(enable = "avx2")] { sum: sum_avx2, difference: difference_avx2 },
///         _ => { sum: sum_anywhere, difference: difference_anywhere },
///     };
/// }
///
/// # #[cfg(target_arch = "x86_64")]
/// #[target_feature(enable = "avx2")]
/// fn sum_avx2(samples: &[u8]) -> u32 { samples.iter().map(|&sample| u32::from(sample)).sum() }
/// # #[cfg(target_arch = "x86_64")]
/// #[target_feature(enable = "avx2")]
/// fn difference_avx2(a: u32, b: u32) -> u32 { a.abs_diff(b) }
/// fn sum_anywhere(samples: &[u8]) -> u32 { samples.iter().map(|&sample| u32::from(sample)).sum() }
/// fn difference_anywhere(a: u32, b: u32) -> u32 { a.abs_diff(b) }
///
/// assert_eq!((DSP.difference)((DSP.sum)(b"\x01\x02"), 5), 2);
/// ```
///
/// Each arm has a variant for each field, in the order of the struct. The struct's fields are [`Pointer`]s, and the rest is as with
/// [`pointer!`](crate::pointer!). The key's values have the names of the arms' keys, and the first is `fallback`.
#[macro_export]
macro_rules! pointers {
    ($($declaration:tt)*) => { $crate::__pointers! { @attributes [table] [] [] [] $($declaration)* } };
}

/// Sorts the attributes of a [`pointer!`](crate::pointer!) or a table into the key's name, conditions, and the rest; brings fields and
/// arms into one form; then declares all.
#[doc(hidden)]
#[macro_export]
macro_rules! __pointers {
    (@attributes $sort:tt [] $cfg:tt $rest:tt #[name = $name:literal] $($more:tt)*) => {
        $crate::__pointers! { @attributes $sort [$name] $cfg $rest $($more)* }
    };
    (@attributes $sort:tt $name:tt [$($cfg:tt)*] $rest:tt #[cfg($($condition:tt)*)] $($more:tt)*) => {
        $crate::__pointers! { @attributes $sort $name [$($cfg)* #[cfg($($condition)*)]] $rest $($more)* }
    };
    (@attributes $sort:tt $name:tt $cfg:tt [$($rest:tt)*] #[$meta:meta] $($more:tt)*) => {
        $crate::__pointers! { @attributes $sort $name $cfg [$($rest)* #[$meta]] $($more)* }
    };
    (@attributes [one] $name:tt $cfg:tt $rest:tt
        $vis:vis static $pointer:ident: extern $abi:literal fn $arguments:tt $(-> $result:ty)? = { $($arms:tt)+ } $(;)?
    ) => {
        $crate::__pointers! { @fields { one $name $cfg $rest [$vis] $pointer } { $($arms)+ } []
            [] [$vis] it: extern $abi fn $arguments $(-> $result)?, }
    };
    (@attributes [one] $name:tt $cfg:tt $rest:tt
        $vis:vis static $pointer:ident: fn $arguments:tt $(-> $result:ty)? = { $($arms:tt)+ } $(;)?
    ) => {
        $crate::__pointers! { @fields { one $name $cfg $rest [$vis] $pointer } { $($arms)+ } []
            [] [$vis] it: fn $arguments $(-> $result)?, }
    };
    (@attributes [table] $name:tt $cfg:tt $rest:tt
        $vis:vis static $table:ident: struct $type:ident { $($fields:tt)+ } = { $($arms:tt)+ } $(;)?
    ) => {
        $crate::__pointers! { @field { table $type $name $cfg $rest [$vis] $table } { $($arms)+ } [] [] $($fields)+ }
    };
    (@attributes [one] $($rest:tt)*) => {
        ::core::compile_error!("pointer! declares `static NAME: fn(..) -> .. = { KEY => variant, .., _ => variant };`, where the \
            type may begin with `extern \"C\"`")
    };
    (@attributes [table] $($rest:tt)*) => {
        ::core::compile_error!("pointers! declares `static NAME: struct Type { field: fn(..) -> .., .. } = { KEY => { field: variant, .. }, \
            .., _ => { .. } };`")
    };

    // A field's attributes.
    (@field $head:tt $arms:tt $done:tt [$($meta:tt)*] #[$attribute:meta] $($rest:tt)*) => {
        $crate::__pointers! { @field $head $arms $done [$($meta)* #[$attribute]] $($rest)* }
    };
    (@field $head:tt $arms:tt $done:tt []) => { $crate::__pointers! { @fields $head $arms $done } };
    (@field $head:tt $arms:tt $done:tt $meta:tt $vis:vis $field:ident: $($rest:tt)*) => {
        $crate::__pointers! { @fields $head $arms $done $meta [$vis] $field: $($rest)* }
    };
    // Its type, without names of arguments, with `-> ()`.
    (@fields $head:tt $arms:tt $done:tt $meta:tt $vis:tt $field:ident:
        $(extern $abi:literal)? fn($($argument:ident: $type:ty),* $(,)?) -> $result:ty $(, $($rest:tt)*)?
    ) => {
        $crate::__pointers! { @next $head $arms $done
            { $meta $vis $field [$(extern $abi)?] ($($argument: $type),*) ($($type),*) [$result] } $($($rest)*)? }
    };
    (@fields $head:tt $arms:tt $done:tt $meta:tt $vis:tt $field:ident:
        $(extern $abi:literal)? fn($($argument:ident: $type:ty),* $(,)?) $(, $($rest:tt)*)?
    ) => {
        $crate::__pointers! { @next $head $arms $done
            { $meta $vis $field [$(extern $abi)?] ($($argument: $type),*) ($($type),*) [()] } $($($rest)*)? }
    };
    (@fields $head:tt $arms:tt $done:tt $meta:tt $vis:tt $field:ident: $(extern $abi:literal)? fn($($type:ty),* $(,)?) $($rest:tt)*) => {
        $crate::__pointers! { @name [a b c d e f g h] [$(($type))*] []
            { $head $arms $done $meta $vis $field [$(extern $abi)?] } $($rest)* }
    };
    (@name $names:tt [] [$($named:tt)*] { $head:tt $arms:tt $done:tt $meta:tt $vis:tt $field:ident [$($abi:tt)*] } $($rest:tt)*) => {
        $crate::__pointers! { @fields $head $arms $done $meta $vis $field: $($abi)* fn($($named)*) $($rest)* }
    };
    (@name [$name:ident $($names:ident)*] [($type:ty) $($types:tt)*] [$($named:tt)*] $($rest:tt)*) => {
        $crate::__pointers! { @name [$($names)*] [$($types)*] [$($named)* $name: $type,] $($rest)* }
    };
    (@name $($rest:tt)*) => { ::core::compile_error!("give the arguments names: there are more than eight") };
    (@next $head:tt $arms:tt [$($done:tt)*] $field:tt) => {
        $crate::__pointers! { @arms $head [$($done)* $field] $arms [] [] }
    };
    (@next { one $($head:tt)* } $arms:tt [$($done:tt)*] $field:tt $($rest:tt)+) => {
        ::core::compile_error!("what stands behind the pointer's type?")
    };
    (@next { table $($head:tt)* } $arms:tt [$($done:tt)*] $field:tt $($rest:tt)+) => {
        $crate::__pointers! { @field { table $($head)* } $arms [$($done)* $field] [] $($rest)+ }
    };
    (@fields { table $($head:tt)* } $arms:tt [$($done:tt)+]) => {
        $crate::__pointers! { @arms { table $($head)* } [$($done)+] $arms [] [] }
    };
    (@fields $($rest:tt)*) => {
        ::core::compile_error!("a pointer's type is `fn(..) -> ..` or `extern \"C\" fn(..) -> ..`")
    };

    // Arms, and the names of the key's values behind the first, from the last arm to the first.
    (@arms { one $($head:tt)* } $fields:tt { _ => $variant:path $(,)? } [$($arms:tt)+] $names:tt) => {
        $crate::__pointers! { @declare { one $($head)* } $fields [$($arms)+] (it: $variant)
            [::core::stringify!($variant)] $names }
    };
    (@arms { table $($head:tt)* } $fields:tt { _ => { $($field:ident: $variant:path),+ $(,)? } $(,)? } [$($arms:tt)+] $names:tt) => {
        $crate::__pointers! { @declare { table $($head)* } $fields [$($arms)+] ($($field: $variant),+)
            ["fallback"] $names }
    };
    (@arms $head:tt $fields:tt { $($key:ident)::+ => $($rest:tt)+ } $arms:tt $names:tt) => {
        $crate::__pointers! { @arm $head $fields $arms $names { ($($key)::+) (true) ($($key)::+) } $($rest)+ }
    };
    (@arms $head:tt $fields:tt { $($key:ident)::+ == $value:expr => $($rest:tt)+ } $arms:tt $names:tt) => {
        $crate::__pointers! { @arm $head $fields $arms $names { ($($key)::+) ($value) ($($key)::+ == $value) } $($rest)+ }
    };
    (@arm $head:tt $fields:tt $arms:tt $names:tt { $($arm:tt)* } #[target_feature(enable = $features:literal)] $($rest:tt)+) => {
        $crate::__pointers! { @variants $head $fields $arms $names { $($arm)* [$features] } $($rest)+ }
    };
    (@arm $head:tt $fields:tt $arms:tt $names:tt { $($arm:tt)* } $($rest:tt)+) => {
        $crate::__pointers! { @variants $head $fields $arms $names { $($arm)* [] } $($rest)+ }
    };
    (@variants { one $($head:tt)* } $fields:tt [$($arms:tt)*] [$($names:tt)*] { $($arm:tt)* } $variant:path, $($rest:tt)+) => {
        $crate::__pointers! { @arms { one $($head)* } $fields { $($rest)+ }
            [$($arms)* { $($arm)* (it: $variant) }] [::core::stringify!($variant), $($names)*] }
    };
    (@variants { table $($head:tt)* } $fields:tt $arms:tt $names:tt $arm:tt { $($field:ident: $variant:path),+ $(,)? }, $($rest:tt)+) => {
        $crate::__pointers! { @variants { table $($head)* } $fields $arms $names $arm { $($field: $variant),+ } $($rest)+ }
    };
    (@variants { table $($head:tt)* } $fields:tt [$($arms:tt)*] [$($names:tt)*] { $key:tt $value:tt $holds:tt $features:tt }
        { $($field:ident: $variant:path),+ $(,)? } $($rest:tt)+
    ) => {
        $crate::__pointers! { @arms { table $($head)* } $fields { $($rest)+ }
            [$($arms)* { $key $value $holds $features ($($field: $variant),+) }]
            [$crate::__private::arm_name(::core::stringify!($key), ::core::stringify!($value)), $($names)*] }
    };
    (@arms { one $($head:tt)* } $($rest:tt)*) => {
        ::core::compile_error!("pointer! has arms `KEY => variant,` or `KEY == VALUE => variant,`, and `_ => variant` as the last")
    };
    (@arms { table $($head:tt)* } $($rest:tt)*) => {
        ::core::compile_error!("pointers! has arms `KEY => { field: variant, .. },` or `KEY == VALUE => { .. },`, and `_ => { .. }` as the last")
    };
    (@variants $head:tt $($rest:tt)*) => { $crate::__pointers! { @arms $head } };

    (@declare { one $name:tt [$($cfg:tt)*] [$($rest:tt)*] [$vis:vis] $pointer:ident }
        [{ $meta:tt $field_vis:tt it [$($abi:tt)*] $arguments:tt ($($type:ty),*) [$result:ty] }] $arms:tt (it: $variant:path) $first:tt $names:tt
    ) => {
        $($cfg)*
        $($rest)*
        #[unsafe(link_section = ".data.rel.ro.invar_pointers")]
        $vis static $pointer: $crate::Pointer<$($abi)* fn($($type),*) -> $result> = {
            $crate::__pointers! { @key $pointer $name $first $names
                [{ (0_usize) it [$($abi)*] $arguments [$result] }] $arms (it: $variant) }
            // SAFETY: a function pointer.
            unsafe { $crate::Pointer::new(<__InvarFallback<0>>::call as $($abi)* fn($($type),*) -> $result) }
        };
    };
    (@declare { table $struct:ident $name:tt [$($cfg:tt)*] [$($rest:tt)*] [$vis:vis] $table:ident }
        [$({ [$($meta:tt)*] [$field_vis:vis] $field:ident [$($abi:tt)*] $arguments:tt ($($type:ty),*) [$result:ty] })+] $arms:tt $variants:tt
        $first:tt $names:tt
    ) => {
        $($cfg)*
        $($rest)*
        #[repr(C)]
        $vis struct $struct {
            $($($meta)* $field_vis $field: $crate::Pointer<$($abi)* fn($($type),*) -> $result>,)+
        }
        $($cfg)*
        $($rest)*
        #[unsafe(link_section = ".data.rel.ro.invar_pointers")]
        $vis static $table: $struct = {
            $crate::__pointers! { @key $table $name $first $names
                [$({ (::core::mem::offset_of!($struct, $field)) $field [$($abi)*] $arguments [$result] })+] $arms $variants }
            $struct {
                $(
                    // SAFETY: a function pointer.
                    $field: unsafe {
                        $crate::Pointer::new(<__InvarFallback<{ ::core::mem::offset_of!($struct, $field) }>>::call
                            as $($abi)* fn($($type),*) -> $result)
                    },
                )+
            }
        };
    };

    // The key, whose probe holds the records. Items are not hygienic: their names are none that a program would have.
    (@key $static:ident [$($name:literal)?] [$first:expr] [$($names:expr,)*] $fields:tt
        [$({ ($($key:ident)::+) ($value:expr) $holds:tt $features:tt $variants:tt })+] $fallbacks:tt
    ) => {
        #[derive(Clone, Copy, PartialEq)]
        struct __InvarVariant(u8);
        impl $crate::Value for __InvarVariant {
            const NAMES: &'static [&'static str] = &[$first, $($names),*];
            const BY_MACRO: $crate::__private::ByMacro = $crate::__private::ByMacro;
            fn to_byte(self) -> u8 {
                self.0
            }
            fn from_byte(byte: u8) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(Self(byte))
            }
        }
        static __INVAR_KEY: $crate::Key<__InvarVariant> = $crate::Key::new();
        struct __InvarFallback<const OFFSET: usize>;
        $crate::__pointers! { @fallbacks $fields $fallbacks }
        extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
            // SAFETY: this probe, of the key above.
            unsafe {
                $crate::__key_record!(@emit $crate::__pointers!(@name_of $static $($name)?),
                    __INVAR_KEY, __InvarVariant, __invar_probe, $crate::__private::SYMBOL);
            }
            $crate::__pointers! { @records $static $fields [$({ ($($key)::+) ($value) $features $variants })+] }
            $crate::__pointers! { @first_records $static $fields }
            $(const { $crate::__private::same_type(&raw const $($key)::+, $value) };)+
            $crate::__private::probe_pointers(verdict, &[$(($($key)::+.get() == $value, ::core::stringify!($holds))),+]);
        }
        #[used]
        static __INVAR_KEEP: $crate::__private::Keep = $crate::__private::Keep::new(__invar_probe);
    };
    (@name_of $static:ident $name:literal) => { $crate::__private::Name::Given($name) };
    (@name_of $static:ident) => {
        $crate::__private::Name::Default {
            package: ::core::option_env!("CARGO_PKG_NAME"),
            path: ::core::module_path!(),
            identifier: ::core::stringify!($static),
        }
    };

    // The fallbacks, each a function that is there once: where the slot leads as it is linked is where its record says.
    (@fallbacks [$({ ($offset:expr) $field:ident [$($abi:tt)*] ($($argument:ident: $type:ty),*) [$result:ty] })+]
        ($($named:ident: $variant:path),+)
    ) => {
        $(
            const _: () = assert!($crate::__private::same_name(::core::stringify!($field), ::core::stringify!($named)),
                "each arm has the fields of the struct, in their order");
            impl __InvarFallback<{ $offset }> {
                #[inline(never)]
                $($abi)* fn call($($argument: $type),*) -> $result {
                    $variant($($argument),*)
                }
            }
        )+
    };
    (@first_records $static:ident [$({ ($offset:expr) $field:ident $abi:tt $arguments:tt $result:tt })+]) => {
        $( $crate::__pointers! { @record $static ($offset) (<__InvarFallback<{ $offset }>>::call) (0) } )+
    };

    // The value of an arm is the number of arms from it on.
    (@records $static:ident $fields:tt []) => {};
    (@records $static:ident $fields:tt [$arm:tt $($rest:tt)*]) => {
        $crate::__pointers! { @arm_records $static $fields $arm (<[&str]>::len(&[$(::core::stringify!($rest)),*]) as u8 + 1) }
        $crate::__pointers! { @records $static $fields [$($rest)*] }
    };
    (@arm_records $static:ident [$({ $offset:tt $field:ident [$($abi:tt)*] $arguments:tt [$result:ty] })+]
        { $key:tt $value:tt $features:tt ($($named:ident: $variant:path),+) } $number:tt
    ) => {
        $crate::__pointers! { @proof $key $value $features }
        $({
            const _: () = assert!($crate::__private::same_name(::core::stringify!($field), ::core::stringify!($named)),
                "each arm has the fields of the struct, in their order");
            $crate::__pointers! { @variant $features [$($abi)*] $arguments [$result] $variant }
            $crate::__pointers! { @record $static $offset (__invar_variant) $number }
        })+
    };
    (@proof $key:tt $value:tt []) => {};
    (@proof ($($key:ident)::+) ($value:expr) [$features:literal]) => {
        const _: () = $crate::__private::prove(&[$crate::__private::proof(&raw const $($key)::+, $value as u8)], $features);
    };
    // A safe call among equals: does not compile if the variant needs more than the arm names.
    (@variant [$($features:literal)?] [$($abi:tt)*] ($($argument:ident: $type:ty),*) [$result:ty] $variant:path) => {
        $(#[target_feature(enable = $features)])?
        #[inline(never)]
        $($abi)* fn __invar_variant($($argument: $type),*) -> $result {
            $variant($($argument),*)
        }
    };

    // The record of a slot, for one value of its key: kind 4 of docs/site-abi.md.
    (@record $static:ident ($offset:expr) ($($target:tt)+) ($number:expr)) => {
        // SAFETY: no instruction, only data. The slot is as large as a pointer, leads to functions of one type, and to one with CPU
        // features only where its key proves them.
        unsafe {
            ::core::arch::asm!(
                ".pushsection invar2_sites, \"ao?\", %progbits, {probe}",
                ".balign 4",
                ".long {slot} + {offset} - ., {target} - ., {state} - .",
                ".byte {length}, 4, {number}, 0",
                ".popsection",
                $crate::__private::__protected!("{slot}"),
                probe = sym __invar_probe,
                slot = sym $static,
                offset = const $offset,
                target = sym $($target)+,
                state = sym __INVAR_KEY,
                length = const ::core::mem::size_of::<usize>(),
                number = const $number,
                options(nomem, nostack, preserves_flags),
            )
        };
    };
}

/// Whether this module declares pointers, as its probes say. Where nobody sets it, what binds them is not linked.
static DECLARED: AtomicBool = AtomicBool::new(false);

/// Whether this module declares pointers; known when its keys are decided.
pub(crate) fn are_declared() -> bool {
    DECLARED.load(Relaxed)
}

/// What the macros expand to, and nobody else should use.
pub(crate) mod expansion {
    use super::*;

    /// Says which arm is the first that holds; an arm's value is the number of arms from it on.
    #[cold]
    pub fn probe_pointers(verdict: &mut Verdict, arms: &[(bool, &str)]) {
        DECLARED.store(true, Relaxed);
        let first = arms.iter().position(|&(holds, _)| holds);
        verdict.value = (arms.len() - first.unwrap_or(arms.len())) as u8;
        match first.and_then(|first| arms.get(first)) {
            Some((_, why)) => verdict.evidence.text(why.trim_matches(['(', ')'])),
            None => verdict.evidence.text("no arm holds"),
        };
    }

    /// What an arm of a table is called: its value, or its key where that is to be on, without the path.
    pub const fn arm_name(key: &'static str, value: &'static str) -> &'static str {
        last_of_path(if same_name(value, "(true)") { key } else { value })
    }

    /// The last name of a path in brackets.
    const fn last_of_path(path: &'static str) -> &'static str {
        let bytes = path.as_bytes();
        let end = bytes.len() - 1;
        let mut start = end;
        while start > 0 && bytes[start - 1] != b':' && bytes[start - 1] != b'(' && bytes[start - 1] != b' ' {
            start -= 1;
        }
        path.split_at(end).0.split_at(start).1
    }

    /// Whether two names are the same.
    pub const fn same_name(first: &str, second: &str) -> bool {
        let (first, second) = (first.as_bytes(), second.as_bytes());
        let mut at = 0;
        while at < first.len() && at < second.len() && first[at] == second[at] {
            at += 1;
        }
        at == first.len() && at == second.len()
    }
}

#[cfg(test)]
mod tests {
    use super::expansion::*;

    #[test]
    fn arms_have_names() {
        assert_eq!(arm_name("(invar::cpu::AVX2)", "(true)"), "AVX2");
        assert_eq!(arm_name("(WIDE)", "(true)"), "WIDE");
        assert_eq!(arm_name("(WIDTH)", "(Width::Wide)"), "Wide");
        assert!(!same_name("a", "ab") && !same_name("ab", "a") && !same_name("b", "a") && same_name("", ""));
    }
}
