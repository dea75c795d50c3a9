//! The macro that declares a symbol.

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
    (:: $($condition:tt)+) => { $crate::__absolute!(__features_of $($condition)+) };
    ($($key:ident)::+) => { $crate::__private::is_features(&raw const $($key)::+, 1) };
    ($($key:ident)::+ == $value:expr) => { $crate::__private::is_features(&raw const $($key)::+, $value as u8) };
    ($($other:tt)+) => { 0 };
}
