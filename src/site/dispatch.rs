//! Dispatch: one function, one variant for each value of a key.

/// Declares an ordinary function whose body is one of several, chosen by keys at load.
///
/// ```
/// invar::dispatch! {
///     /// How many bytes of `text` are spaces.
///     pub fn count(text: &[u8]) -> usize {
///         invar::cpu::AVX2 => #[target_feature(enable = "avx2")] count_avx2,
///         _ => count_anywhere,
///     }
/// }
///
/// # #[cfg(target_arch = "x86_64")]
/// #[target_feature(enable = "avx2")]
/// fn count_avx2(text: &[u8]) -> usize { text.iter().filter(|&&byte| byte == b' ').count() }
/// fn count_anywhere(text: &[u8]) -> usize { text.iter().filter(|&&byte| byte == b' ').count() }
///
/// assert_eq!(count(b"a b c"), 2);
/// ```
///
/// An arm is `KEY => variant` or `KEY == VALUE => variant`; the first that holds is called, and `_` stands last. In the place of
/// `==` all comparisons of [`branch!`](crate::branch!) may stand, and before a key or a comparison `!`. Several conditions have `&&` between
/// them, and hold together: `invar::cpu::AVX2 && !SMALL => variant`. For `||` write two arms with one variant.
///
/// Each condition is a [`branch!`](crate::branch!), so the function is an ordinary one: safe, inlinable, with references,
/// lifetimes, generics and `where` clauses. At `-O` a bound dispatch is a nop or a jump, and a jump to the variant.
/// Arguments are plain names. Type parameters must follow from the arguments. Methods (`self`), `async`, `unsafe` and `extern`
/// functions are not taken. With the Cargo feature of this name, the attribute
/// `multiversion` makes variants and dispatch of one body, also for methods.
///
/// With `#[pointer]` among its attributes, the function has no branches: it calls by a [`pointer!`](crate::pointer!) of its own, which is
/// bound on every machine, and where code cannot be changed. Such a function has no generics. Where its pointer is not
/// bound, the last variant is called.
///
/// ```
/// invar::dispatch! {
///     #[pointer]
///     fn count(text: &[u8]) -> usize {
///         invar::cpu::AVX2 => #[target_feature(enable = "avx2")] count_avx2,
///         _ => count_anywhere,
///     }
/// }
/// # #[cfg(target_arch = "x86_64")]
/// # #[target_feature(enable = "avx2")]
/// # fn count_avx2(text: &[u8]) -> usize { text.len() }
/// # fn count_anywhere(text: &[u8]) -> usize { text.len() }
/// assert_eq!(count(b"a b c"), 5);
/// ```
///
/// A variant with `#[target_feature]` has these features named in its arm, and the key must prove them. The built-in keys in
/// [`cpu`](crate::cpu) do so, and a [`key!`](crate::key!) that requires them. A key proves the features as well on which its own
/// build: `AVX512BW` proves `avx512bw,avx512f,fma`. Of several conditions each proves what it can, and a comparison what is true
/// wherever it holds: `==`, `>=` and `>` prove, unless the first value is among what they hold for. Any other key does not compile:
///
/// ```compile_fail
/// invar::key! { static WISH: bool = |_| Ok(true); }
/// invar::dispatch! {
///     fn count(text: &[u8]) -> usize {
///         WISH => #[target_feature(enable = "avx2")] count_avx2,
///         _ => count_anywhere,
///     }
/// }
/// #[target_feature(enable = "avx2")]
/// fn count_avx2(text: &[u8]) -> usize { text.len() }
/// fn count_anywhere(text: &[u8]) -> usize { text.len() }
/// count(b"");
/// ```
///
/// and so does a variant that needs features which its arm does not name:
///
/// ```compile_fail
/// invar::dispatch! {
///     fn count(text: &[u8]) -> usize {
///         invar::cpu::AVX2 => count_avx2,
///         _ => count_anywhere,
///     }
/// }
/// #[target_feature(enable = "avx2")]
/// fn count_avx2(text: &[u8]) -> usize { text.len() }
/// fn count_anywhere(text: &[u8]) -> usize { text.len() }
/// count(b"");
/// ```
#[macro_export]
macro_rules! dispatch {
    ($($declaration:tt)+) => { $crate::__dispatch! { @attributes [] $($declaration)+ } };
}

/// Takes a [`dispatch!`](crate::dispatch!) apart from left to right: generics (by counting angle brackets),
/// arguments and result, `where` clause, arms; then puts the function together.
#[doc(hidden)]
#[macro_export]
macro_rules! __dispatch {
    (@attributes [$($meta:tt)*] #[pointer] $($rest:tt)+) => { $crate::__dispatch! { @pointer [$($meta)*] $($rest)+ } };
    (@attributes [$($meta:tt)*] #[$other:meta] $($rest:tt)+) => {
        $crate::__dispatch! { @attributes [$($meta)* #[$other]] $($rest)+ }
    };
    (@attributes $meta:tt $vis:vis fn $name:ident $($rest:tt)+) => {
        $crate::__dispatch! { @generics { $meta [$vis] $name } [] [] $($rest)+ }
    };

    // An ordinary function that calls what a pointer leads to.
    (@pointer [$($meta:tt)*] #[$other:meta] $($rest:tt)+) => { $crate::__dispatch! { @pointer [$($meta)* #[$other]] $($rest)+ } };
    (@pointer [$($meta:tt)*] $vis:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? { $($arms:tt)+ }) => {
        $($meta)*
        $vis fn $name($($argument: $type),*) $(-> $result)? {
            $crate::pointer! { #[allow(non_upper_case_globals)] static $name: fn($($argument: $type),*) $(-> $result)? = { $($arms)+ }; }
            $name.get()($($argument),*)
        }
    };
    (@pointer $($rest:tt)*) => {
        ::core::compile_error!("dispatch! with #[pointer] takes functions without generics: a pointer has one type")
    };

    (@generics $head:tt $generics:tt [] ($($arguments:tt)*) $($rest:tt)+) => {
        $crate::__dispatch! { @result $head $generics ($($arguments)*) $($rest)+ }
    };
    (@generics $head:tt [$($done:tt)*] [$($depth:tt)*] < $($rest:tt)+) => {
        $crate::__dispatch! { @generics $head [$($done)* <] [$($depth)* x] $($rest)+ }
    };
    (@generics $head:tt [$($done:tt)*] [x $($depth:tt)*] > $($rest:tt)+) => {
        $crate::__dispatch! { @generics $head [$($done)* >] [$($depth)*] $($rest)+ }
    };
    (@generics $head:tt [$($done:tt)*] [x x $($depth:tt)*] >> $($rest:tt)+) => {
        $crate::__dispatch! { @generics $head [$($done)* >>] [$($depth)*] $($rest)+ }
    };
    (@generics $head:tt [$($done:tt)*] $depth:tt $next:tt $($rest:tt)+) => {
        $crate::__dispatch! { @generics $head [$($done)* $next] $depth $($rest)+ }
    };

    (@result $head:tt $generics:tt $arguments:tt -> $result:ty { $($arms:tt)* }) => {
        $crate::__dispatch! { @arms $head { $generics $arguments [$result] [] } [] $($arms)* }
    };
    (@result $head:tt $generics:tt $arguments:tt -> $result:ty where $($rest:tt)+) => {
        $crate::__dispatch! { @where $head { $generics $arguments [$result] } [where] $($rest)+ }
    };
    (@result $head:tt $generics:tt $arguments:tt $($rest:tt)+) => {
        $crate::__dispatch! { @result $head $generics $arguments -> () $($rest)+ }
    };

    (@where $head:tt { $($signature:tt)* } $where:tt { $($arms:tt)* }) => {
        $crate::__dispatch! { @arms $head { $($signature)* $where } [] $($arms)* }
    };
    (@where $head:tt $signature:tt [$($done:tt)*] $next:tt $($rest:tt)+) => {
        $crate::__dispatch! { @where $head $signature [$($done)* $next] $($rest)+ }
    };

    (@arms $head:tt $signature:tt [$($body:tt)*] _ => $variant:path $(,)?) => {
        $crate::__dispatch! { @function $head $signature [$($body)*] $variant }
    };
    // The usual ones at once: each step is one of the compiler's recursion limit.
    (@arms $head:tt $signature:tt $body:tt $($key:ident)::+ => $($rest:tt)+) => {
        $crate::__dispatch! { @arm $head $signature $body [[$($key)::+]] $($rest)+ }
    };
    (@arms $head:tt $signature:tt $body:tt $($key:ident)::+ == $($value:ident)::+ => $($rest:tt)+) => {
        $crate::__dispatch! { @arm $head $signature $body [[$($key)::+ == $($value)::+]] $($rest)+ }
    };
    // Else what stands before `=>` is taken apart into conditions, which `&&` stands between.
    (@arms $head:tt $signature:tt $body:tt $($arm:tt)+) => {
        $crate::__dispatch! { @conditions $head $signature $body [] [] $($arm)+ }
    };
    (@conditions $head:tt $signature:tt $body:tt [$($done:tt)*] [$($condition:tt)+] && $($rest:tt)+) => {
        $crate::__dispatch! { @conditions $head $signature $body [$($done)* [$($condition)+]] [] $($rest)+ }
    };
    (@conditions $head:tt $signature:tt $body:tt [$($done:tt)*] [$($condition:tt)+] => $($rest:tt)+) => {
        $crate::__dispatch! { @arm $head $signature $body [$($done)* [$($condition)+]] $($rest)+ }
    };
    (@conditions $head:tt $signature:tt $body:tt $done:tt [$($condition:tt)*] $a:ident :: $b:ident :: $c:ident $($rest:tt)+) => {
        $crate::__dispatch! { @conditions $head $signature $body $done [$($condition)* $a::$b::$c] $($rest)+ }
    };
    (@conditions $head:tt $signature:tt $body:tt $done:tt [$($condition:tt)*] $a:ident :: $b:ident $($rest:tt)+) => {
        $crate::__dispatch! { @conditions $head $signature $body $done [$($condition)* $a::$b] $($rest)+ }
    };
    (@conditions $head:tt $signature:tt $body:tt $done:tt [$($condition:tt)*] $next:tt $($rest:tt)+) => {
        $crate::__dispatch! { @conditions $head $signature $body $done [$($condition)* $next] $($rest)+ }
    };
    (@arm $head:tt { [$($generics:tt)*] ($($name:ident: $type:ty),* $(,)?) [$result:ty] [$($where:tt)*] } [$($body:tt)*]
        [$([$($condition:tt)+])+] #[target_feature($(enable = $features:tt),+ $(,)?)] $variant:path, $($rest:tt)+
    ) => {
        $crate::__dispatch! { @arms $head { [$($generics)*] ($($name: $type),*) [$result] [$($where)*] } [$($body)*
            const _: () = $crate::__private::prove(&[$($crate::__proof!($($condition)+)),+], ::core::concat!($($features, ","),+));
            $crate::__private::__with_features! { [$($features)+] { if $($crate::branch!($($condition)+))&&+ {
                // A safe call among equals: does not compile if the variant needs more than the arm names.
                #[target_feature($(enable = $features),+)]
                #[inline]
                fn __invar_variant $($generics)* ($($name: $type),*) -> $result $($where)* {
                    $variant($($name),*)
                }
                // SAFETY: the keys have these values only on a CPU that has these features.
                return unsafe { __invar_variant($($name),*) };
            } } }
        ] $($rest)+ }
    };
    (@arm $head:tt { $generics:tt ($($name:ident: $type:ty),* $(,)?) $result:tt $where:tt } [$($body:tt)*]
        [$([$($condition:tt)+])+] $variant:path, $($rest:tt)+
    ) => {
        $crate::__dispatch! { @arms $head { $generics ($($name: $type),*) $result $where } [$($body)*
            if $($crate::branch!($($condition)+))&&+ {
                return $variant($($name),*);
            }
        ] $($rest)+ }
    };

    (@function { [$($meta:tt)*] [$vis:vis] $function:ident }
        { [$($generics:tt)*] ($($name:ident: $type:ty),* $(,)?) [$result:ty] [$($where:tt)*] } [$($body:tt)*] $variant:path
    ) => {
        $($meta)*
        $vis fn $function $($generics)* ($($name: $type),*) -> $result $($where)* {
            $($body)*
            $variant($($name),*)
        }
    };
    (@$($rest:tt)*) => {
        ::core::compile_error!(
            "dispatch! has arms `KEY => variant,` or `KEY == VALUE => variant,`, perhaps with `&&` between conditions, and `_ => variant` as the last"
        );
    };
}

/// What a condition of [`dispatch!`](crate::dispatch!) proves: features, and whether it is that a key has its first value.
#[doc(hidden)]
#[macro_export]
macro_rules! __proof {
    (! $($condition:tt)+) => { $crate::__private::NO_PROOF };
    (:: $($condition:tt)+) => { $crate::__absolute!(__proof $($condition)+) };
    ($($key:ident)::+) => { $crate::__private::proof(&raw const $($key)::+, 1) };
    ($($key:ident)::+ == $value:expr) => { $crate::__private::proof(&raw const $($key)::+, $value as u8) };
    ($($key:ident)::+ >= $value:expr) => { $crate::__private::proof(&raw const $($key)::+, $value as u8) };
    // Such a value is not the first.
    ($($key:ident)::+ > $value:expr) => { $crate::__private::proof(&raw const $($key)::+, 1) };
    ($($other:tt)+) => { $crate::__private::NO_PROOF };
}

/// What [`multiversion`](macro@crate::multiversion) makes of one version: a call of it, if all these keys are on.
#[cfg(feature = "multiversion")]
#[doc(hidden)]
#[macro_export]
macro_rules! __version {
    ([] $call:expr) => {
        // SAFETY: the plain version has no features but those for which all of this is compiled. As below, if the function is an
        // unsafe one.
        unsafe { $call }
    };
    ([$($key:ident $features:literal)+] $call:expr) => {
        if $($crate::branch!($crate::cpu::$key))&&+ {
            $(const _: () = $crate::__private::prove(&[$crate::__private::proof(&raw const $crate::cpu::$key, 1)], $features);)+
            // SAFETY: the version needs no other features than these, which the keys prove where they are on. If the function
            // is an unsafe one, its caller has promised what its body needs. It may never return.
            #[allow(unreachable_code)]
            return unsafe { $call };
        }
    };
}

/// Whether the version of a function in which this stands has these CPU features: a constant. See
/// [`multiversion`](macro@crate::multiversion), which gives it its value.
#[cfg(feature = "multiversion")]
#[macro_export]
macro_rules! has {
    ($($feature:tt)*) => {
        ::core::compile_error!(
            "`invar::has!` has a value in the body of a function with #[invar::multiversion], but not in items inside"
        )
    };
}

/// The name of the version of a function in which this stands, as `"avx2"`, or `"plain"`: a constant. See
/// [`multiversion`](macro@crate::multiversion), which gives it its value.
#[cfg(feature = "multiversion")]
#[macro_export]
macro_rules! version {
    () => {
        ::core::compile_error!("`invar::version!` has a value in the body of a function with #[invar::multiversion], but not in items inside")
    };
}
