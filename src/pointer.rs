//! Pointers: words of data that lead to what a key has chosen, and tables of them.
#![allow(unsafe_code)]

use crate::key::state::Verdict;
use crate::text::Evidence;
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

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
/// runtime stores where it leads from then on, and the memory is read-only again. No code changes: this works on every little-endian
/// Linux with glibc or musl, and where the system lets nobody change code. A call is one indirect call. There is no other load before
/// it, and no branch.
/// Until the module's constructor has run, and where the runtime cannot store, a call is one of the fallback.
///
/// Arms are those of [`dispatch!`](crate::dispatch!): `KEY => variant` or `KEY == VALUE => variant`, with the same comparisons, `!` and `&&`;
/// but no key is a switch.
/// Its rule holds too: a variant with `#[target_feature]` has these features named in its arm, and the conditions must prove them. The type is `fn(..) -> ..` or `extern "C" fn(..) -> ..`, with names
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
/// [`pointer!`](crate::pointer!). The key's values are called after the arms, as `avx2`, `wide` for `WIDTH == Width::Wide`, `wide-or-more`
/// for `>=`, and `avx2+not-small` for `invar::cpu::AVX2 && !SMALL`. The first is `fallback`.
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
    // The usual ones at once: each step is one of the compiler's recursion limit.
    (@arms $head:tt $fields:tt { $($key:ident)::+ => $($rest:tt)+ } $arms:tt $names:tt) => {
        $crate::__pointers! { @arm $head $fields $arms $names [[$($key)::+]] $($rest)+ }
    };
    (@arms $head:tt $fields:tt { $($key:ident)::+ == $($value:ident)::+ => $($rest:tt)+ } $arms:tt $names:tt) => {
        $crate::__pointers! { @arm $head $fields $arms $names [[$($key)::+ == $($value)::+]] $($rest)+ }
    };
    // Else what stands before `=>` is taken apart into conditions, which `&&` stands between.
    (@arms $head:tt $fields:tt { $first:tt $($arm:tt)+ } $arms:tt $names:tt) => {
        $crate::__pointers! { @conditions { $head $fields $arms $names } [] [] $first $($arm)+ }
    };
    (@conditions { $head:tt $fields:tt $arms:tt $names:tt } [] [] _ $($rest:tt)*) => { $crate::__pointers! { @arms $head } };
    (@conditions $arms:tt [$($done:tt)*] [$($condition:tt)+] && $($rest:tt)+) => {
        $crate::__pointers! { @conditions $arms [$($done)* [$($condition)+]] [] $($rest)+ }
    };
    (@conditions { $head:tt $fields:tt $arms:tt $names:tt } [$($done:tt)*] [$($condition:tt)+] => $($rest:tt)+) => {
        $crate::__pointers! { @arm $head $fields $arms $names [$($done)* [$($condition)+]] $($rest)+ }
    };
    (@conditions $arms:tt $done:tt [$($condition:tt)*] $a:ident :: $b:ident :: $c:ident $($rest:tt)+) => {
        $crate::__pointers! { @conditions $arms $done [$($condition)* $a::$b::$c] $($rest)+ }
    };
    (@conditions $arms:tt $done:tt [$($condition:tt)*] $a:ident :: $b:ident $($rest:tt)+) => {
        $crate::__pointers! { @conditions $arms $done [$($condition)* $a::$b] $($rest)+ }
    };
    (@conditions $arms:tt $done:tt [$($condition:tt)*] $next:tt $($rest:tt)+) => {
        $crate::__pointers! { @conditions $arms $done [$($condition)* $next] $($rest)+ }
    };
    (@conditions { $head:tt $($arms:tt)* } $($rest:tt)*) => { $crate::__pointers! { @arms $head } };
    (@arm $head:tt $fields:tt $arms:tt $names:tt $conditions:tt #[target_feature($(enable = $features:tt),+ $(,)?)] $($rest:tt)+) => {
        $crate::__pointers! { @variants $head $fields $arms $names { $conditions [$($features)+] } $($rest)+ }
    };
    (@arm $head:tt $fields:tt $arms:tt $names:tt $conditions:tt $($rest:tt)+) => {
        $crate::__pointers! { @variants $head $fields $arms $names { $conditions [] } $($rest)+ }
    };
    (@variants { one $($head:tt)* } $fields:tt [$($arms:tt)*] [$($names:tt)*] { $($arm:tt)* } $variant:path, $($rest:tt)+) => {
        $crate::__pointers! { @arms { one $($head)* } $fields { $($rest)+ }
            [$($arms)* { $($arm)* (it: $variant) }] [::core::stringify!($variant), $($names)*] }
    };
    (@variants { table $($head:tt)* } $fields:tt $arms:tt $names:tt $arm:tt { $($field:ident: $variant:path),+ $(,)? }, $($rest:tt)+) => {
        $crate::__pointers! { @variants { table $($head)* } $fields $arms $names $arm { $($field: $variant),+ } $($rest)+ }
    };
    (@variants { table $($head:tt)* } $fields:tt [$($arms:tt)*] [$($names:tt)*] { $conditions:tt $features:tt }
        { $($field:ident: $variant:path),+ $(,)? } $($rest:tt)+
    ) => {
        $crate::__pointers! { @arms { table $($head)* } $fields { $($rest)+ }
            [$($arms)* { $conditions $features ($($field: $variant),+) }] [$crate::__arm_name!($conditions), $($names)*] }
    };
    (@arms { one $($head:tt)* } $($rest:tt)*) => {
        ::core::compile_error!("pointer! has arms `KEY => variant,` or `KEY == VALUE => variant,`, perhaps with `&&` between conditions, \
            and `_ => variant` as the last")
    };
    (@arms { table $($head:tt)* } $($rest:tt)*) => {
        ::core::compile_error!("pointers! has arms `KEY => { field: variant, .. },` or `KEY == VALUE => { .. },`, perhaps with `&&` between \
            conditions, and `_ => { .. }` as the last")
    };
    (@variants $head:tt $($rest:tt)*) => { $crate::__pointers! { @arms $head } };

    (@declare { one $name:tt [$($cfg:tt)*] [$($rest:tt)*] [$vis:vis] $pointer:ident }
        [{ $meta:tt $field_vis:tt it [$($abi:tt)*] $arguments:tt ($($type:ty),*) [$result:ty] }] $arms:tt (it: $variant:path) $first:tt $names:tt
    ) => {
        $crate::__slots! {
            $($cfg)*
            $($rest)*
            $vis static $pointer: $crate::Pointer<$($abi)* fn($($type),*) -> $result> = {
                $crate::__pointers! { @key $pointer $name $first $names
                    [{ (0_usize) it [$($abi)*] $arguments [$result] }] $arms (it: $variant) }
                // SAFETY: a function pointer.
                unsafe { $crate::Pointer::new(<__InvarFallback<0>>::call as $($abi)* fn($($type),*) -> $result) }
            };
        }
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
        $crate::__slots! {
            $($cfg)*
            $($rest)*
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
        }
    };

    // The key, whose probe holds the records. Items are not hygienic: their names are none that a program would have.
    (@key $static:ident [$($name:literal)?] [$first:expr] [$($names:expr,)*] $fields:tt
        [$({ [$([$($condition:tt)+])+] $features:tt $variants:tt })+] $fallbacks:tt
    ) => {
        $crate::__key_of_variants!([] $crate::__name!([$($name)?] $static); $first $(, $names)*);
        struct __InvarFallback<const OFFSET: usize>;
        $crate::__pointers! { @fallbacks $fields $fallbacks }
        extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
            $($(const _: () = $crate::__private::stays($crate::__key_of!($($condition)+));)+)+
            // SAFETY: this probe, of the key above.
            unsafe {
                $crate::__key_record!($crate::__name!([$($name)?] $static),
                    __INVAR_KEY, __InvarVariant, __invar_probe, $crate::__private::SYMBOL);
            }
            $crate::__private::declare_pointers();
            $crate::__private::probe_pointers(verdict, &[
                $(($($crate::__holds!($($condition)+))&&+, ::core::stringify!($($($condition)+)&&+))),+
            ]);
            $crate::__pointers! { @records verdict $static $fields [$({ [$([$($condition)+])+] $features $variants })+] }
            $crate::__pointers! { @first_records verdict $static $fields }
        }
    };

    // The fallbacks, each a function that is there once: where the slot leads as it is linked is where its record says.
    (@fallbacks [$({ ($offset:expr) $field:ident [$($abi:tt)*] ($($argument:ident: $type:ty),*) [$result:ty] })+]
        ($($named:ident: $variant:path),+)
    ) => {
        $(
            const _: () = ::core::assert!($crate::__private::same_name(::core::stringify!($field), ::core::stringify!($named)),
                "each arm has the fields of the struct, in their order");
            impl __InvarFallback<{ $offset }> {
                #[inline(never)]
                $($abi)* fn call($($argument: $type),*) -> $result {
                    $variant($($argument),*)
                }
            }
        )+
    };
    (@first_records $verdict:ident $static:ident [$({ ($offset:expr) $field:ident $abi:tt $arguments:tt $result:tt })+]) => {
        $( $crate::__pointers! { @record $verdict $static ($offset) (<__InvarFallback<{ $offset }>>::call) (0) } )+
    };

    // The value of an arm is the number of arms from it on.
    (@records $verdict:ident $static:ident $fields:tt []) => {};
    (@records $verdict:ident $static:ident $fields:tt [$arm:tt $($rest:tt)*]) => {
        $crate::__pointers! { @arm_records $verdict $static $fields $arm (<[&str]>::len(&[$(::core::stringify!($rest)),*]) as u8 + 1) }
        $crate::__pointers! { @records $verdict $static $fields [$($rest)*] }
    };
    (@arm_records $verdict:ident $static:ident [$({ $offset:tt $field:ident [$($abi:tt)*] $arguments:tt [$result:ty] })+]
        { $conditions:tt $features:tt ($($named:ident: $variant:path),+) } $number:tt
    ) => {
        $crate::__pointers! { @proof $conditions $features }
        $(
            const _: () = ::core::assert!($crate::__private::same_name(::core::stringify!($field), ::core::stringify!($named)),
                "each arm has the fields of the struct, in their order");
            $crate::__private::__with_features! { $features { {
                $crate::__pointers! { @variant $features [$($abi)*] $arguments [$result] $variant }
                $crate::__pointers! { @record $verdict $static $offset (__invar_variant) $number }
            } } }
        )+
    };
    (@proof $conditions:tt []) => {};
    (@proof [$([$($condition:tt)+])+] [$($features:tt)+]) => {
        const _: () = $crate::__private::prove(&[$($crate::__proof!($($condition)+)),+], ::core::concat!($($features, ","),+));
    };
    // A safe call among equals: does not compile if the variant needs more than the arm names.
    (@variant [$($features:tt)*] [$($abi:tt)*] ($($argument:ident: $type:ty),*) [$result:ty] $variant:path) => {
        $(#[target_feature(enable = $features)])*
        #[inline(never)]
        $($abi)* fn __invar_variant($($argument: $type),*) -> $result {
            $variant($($argument),*)
        }
    };

    // A slot, and where it leads for one value of its key.
    (@record $verdict:ident $static:ident ($offset:expr) ($($target:tt)+) ($number:expr)) => {
        $crate::__slot!($verdict, $static, $offset, ($($target)+), $number)
    };
}

/// What an arm of a table is called: each condition's value, or its key where that is to be on, without the path.
#[doc(hidden)]
#[macro_export]
macro_rules! __arm_name {
    ([$([$($condition:tt)+])+]) => {{
        const __INVAR_PARTS: &[[&str; 3]] = &[$($crate::__arm_part!($($condition)+)),+];
        const __INVAR_ARM: &[u8; $crate::__private::arm_name_length(__INVAR_PARTS)] = &$crate::__private::arm_name(__INVAR_PARTS);
        match ::core::str::from_utf8(__INVAR_ARM) {
            ::core::result::Result::Ok(name) => name,
            ::core::result::Result::Err(_) => ::core::unreachable!(),
        }
    }};
}

/// The name of one condition: what stands before it, a path, and what stands behind.
#[doc(hidden)]
#[macro_export]
macro_rules! __arm_part {
    (:: $($condition:tt)+) => { $crate::__arm_part!($($condition)+) };
    (! :: $($condition:tt)+) => { $crate::__arm_part!(! $($condition)+) };
    (! ! $($condition:tt)+) => { $crate::__arm_part!($($condition)+) };
    (! $($key:ident)::+ $(== true)?) => { ["not-", ::core::stringify!($($key)::+), ""] };
    (! $($key:ident)::+ == $($value:tt)+) => { $crate::__arm_part!($($key)::+ != $($value)+) };
    (! $($key:ident)::+ != $($value:tt)+) => { $crate::__arm_part!($($key)::+ == $($value)+) };
    (! $($key:ident)::+ >= $($value:tt)+) => { $crate::__arm_part!($($key)::+ < $($value)+) };
    (! $($key:ident)::+ > $($value:tt)+) => { $crate::__arm_part!($($key)::+ <= $($value)+) };
    (! $($key:ident)::+ < $($value:tt)+) => { $crate::__arm_part!($($key)::+ >= $($value)+) };
    (! $($key:ident)::+ <= $($value:tt)+) => { $crate::__arm_part!($($key)::+ > $($value)+) };
    ($($key:ident)::+ $(== true)?) => { ["", ::core::stringify!($($key)::+), ""] };
    ($($key:ident)::+ == $value:expr) => { ["", ::core::stringify!($value), ""] };
    ($($key:ident)::+ != $value:expr) => { ["not-", ::core::stringify!($value), ""] };
    ($($key:ident)::+ >= $value:expr) => { ["", ::core::stringify!($value), "-or-more"] };
    ($($key:ident)::+ > $value:expr) => { ["above-", ::core::stringify!($value), ""] };
    ($($key:ident)::+ < $value:expr) => { ["below-", ::core::stringify!($value), ""] };
    ($($key:ident)::+ <= $value:expr) => { ["", ::core::stringify!($value), "-or-less"] };
}

/// The place of a condition's key.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_of {
    (! $($condition:tt)+) => { $crate::__key_of!($($condition)+) };
    (:: $($condition:tt)+) => { $crate::__absolute!(__key_of $($condition)+) };
    ($($key:ident)::+) => { &raw const $($key)::+ };
    ($($key:ident)::+ == $value:expr) => { &raw const $($key)::+ };
    ($($key:ident)::+ != $value:expr) => { &raw const $($key)::+ };
    ($($key:ident)::+ >= $value:expr) => { &raw const $($key)::+ };
    ($($key:ident)::+ > $value:expr) => { &raw const $($key)::+ };
    ($($key:ident)::+ <= $value:expr) => { &raw const $($key)::+ };
    ($($key:ident)::+ < $value:expr) => { &raw const $($key)::+ };
}

/// Whether a condition holds by the keys as they are now, as [`branch!`](crate::branch!) says it, without a site.
#[doc(hidden)]
#[macro_export]
macro_rules! __holds {
    (! $($condition:tt)+) => { !$crate::__holds!($($condition)+) };
    (:: $($condition:tt)+) => { $crate::__absolute!(__holds $($condition)+) };
    ($($key:ident)::+) => { $crate::__holds!($($key)::+ == true) };
    ($($key:ident)::+ == $value:expr) => {{
        const { $crate::__private::same_type(&raw const $($key)::+, $value) };
        $($key)::+.get() == $value
    }};
    ($($key:ident)::+ != $value:expr) => { !$crate::__holds!($($key)::+ == $value) };
    ($($key:ident)::+ >= $value:expr) => {{
        const __INVAR_LEAST: u8 = $crate::__private::not_below(&raw const $($key)::+, $value as u8);
        const { $crate::__private::same_type(&raw const $($key)::+, $value) };
        $crate::Value::to_byte($($key)::+.get()) >= __INVAR_LEAST
    }};
    ($($key:ident)::+ > $value:expr) => {{
        const __INVAR_LEAST: u8 = $crate::__private::above(&raw const $($key)::+, $value as u8);
        const { $crate::__private::same_type(&raw const $($key)::+, $value) };
        $crate::Value::to_byte($($key)::+.get()) >= __INVAR_LEAST
    }};
    ($($key:ident)::+ < $value:expr) => { !$crate::__holds!($($key)::+ >= $value) };
    ($($key:ident)::+ <= $value:expr) => { !$crate::__holds!($($key)::+ > $value) };
}

/// What the macros expand to, and nobody else should use.
pub(crate) mod expansion {
    use super::*;

    /// Says which arm is the first that holds; an arm's value is the number of arms from it on.
    #[cold]
    pub fn probe_pointers(verdict: &mut Verdict, arms: &[(bool, &str)]) {
        let first = arms.iter().position(|&(holds, _)| holds);
        verdict.value = (arms.len() - first.unwrap_or(arms.len())) as u8;
        match first.and_then(|first| arms.get(first)) {
            Some((_, why)) => said(why, &mut verdict.evidence),
            None => _ = verdict.evidence.text("no arm holds"),
        }
    }

    /// Without the spaces and line breaks that the compiler has put into it: around `::`, and where it was long.
    fn said(why: &str, evidence: &mut Evidence) {
        let mut follows = true;
        for word in why.split([' ', '\n']) {
            let is_path = word == "::";
            if !follows && !is_path {
                evidence.text(" ");
            }
            evidence.text(word);
            follows = is_path;
        }
    }

    /// The length of [`arm_name`].
    pub const fn arm_name_length(parts: &[[&str; 3]]) -> usize {
        write_arm_name(&mut [], parts)
    }

    /// What an arm of a table is called, by the parts of its conditions.
    pub const fn arm_name<const N: usize>(parts: &[[&str; 3]]) -> [u8; N] {
        let mut name = [0; N];
        write_arm_name(&mut name, parts);
        name
    }

    /// Writes as much as there is room for, and returns how long it is.
    const fn write_arm_name(name: &mut [u8], parts: &[[&str; 3]]) -> usize {
        let (mut at, mut part) = (0, 0);
        while part < parts.len() {
            let [before, path, behind] = parts[part];
            at = if part == 0 { at } else { append(name, at, b"+") };
            at = append(name, at, before.as_bytes());
            at = append(name, at, last_of_path(path.as_bytes()));
            at = append(name, at, behind.as_bytes());
            part += 1;
        }
        at
    }

    const fn append(name: &mut [u8], start: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if start + at < name.len() {
                name[start + at] = bytes[at];
            }
            at += 1;
        }
        start + at
    }

    /// The last name of a path.
    const fn last_of_path(path: &[u8]) -> &[u8] {
        let mut start = path.len();
        while start > 0 && path[start - 1] != b':' && path[start - 1] != b' ' {
            start -= 1;
        }
        path.split_at(start).1
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
    use crate::key::state::Verdict;

    #[test]
    fn arms_have_names() {
        assert_eq!(crate::__arm_name!([[invar::cpu::AVX2]]), "AVX2");
        assert_eq!(crate::__arm_name!([[WIDE == true]]), "WIDE");
        assert_eq!(crate::__arm_name!([[WIDTH == Width::Wide]]), "Wide");
        assert_eq!(
            crate::__arm_name!([[::invar::cpu::AVX2][!::small::SMALL][!!::WIDE == true][!A == true]]),
            "AVX2+not-SMALL+WIDE+not-A"
        );
        assert_eq!(
            crate::__arm_name!([[!A == X::B][!A != X::B][!A >= X::B][!A > X::B][!A < X::B][!::a::A <= X::B]]),
            "not-B+B+below-B+B-or-less+B-or-more+above-B"
        );
        assert_eq!(crate::__arm_name!([[cpu::AVX2][!SMALL][WIDTH >= Width::Wide]]), "AVX2+not-SMALL+Wide-or-more");
        let others = [
            crate::__arm_name!([[A != X::B]]),
            crate::__arm_name!([[A > X::B]]),
            crate::__arm_name!([[A < B]]),
            crate::__arm_name!([[A <= ::X::B][A == false]]),
        ];
        assert_eq!(others, ["not-B", "above-B", "below-B", "B-or-less+false"]);
        let said = |arm| {
            let mut verdict = Verdict::undecided();
            probe_pointers(&mut verdict, &[(false, "no"), (true, arm), (true, "last")]);
            (verdict.value(), std::string::String::from(verdict.evidence()))
        };
        assert_eq!(said("WIDE"), (2, "WIDE".into()));
        let spaced = ":: invar :: cpu :: AVX2 && !NEVER && WIDTH >=\nWidth::Wide && a :: B";
        assert_eq!(said(spaced).1, "::invar::cpu::AVX2 && !NEVER && WIDTH >= Width::Wide && a::B");
        assert!(!same_name("a", "ab") && !same_name("ab", "a") && !same_name("b", "a") && same_name("", ""));
    }
}
