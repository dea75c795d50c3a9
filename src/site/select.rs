//! Select: one of several expressions, by a key of several values, in one step.

/// Evaluates the arm for the key's value, as `match` does: bound, by one jump, however many values there are.
///
/// ```
/// # invar::values! { pub enum Width { Narrow, Wide, Widest } }
/// # invar::key! { static WIDTH: Width = |_| Ok(Width::Wide); }
/// # invar::key! { static FAST: bool = |_| Ok(true); }
/// let lanes = invar::select!(WIDTH: Width { Narrow => 1, Wide | Widest => 8 });
/// assert_eq!(lanes, 8);
/// let bytes = invar::select!(WIDTH { Width::Widest => 64, Width::Wide => 32, _ => 8 });
/// assert_eq!(bytes, 32);
/// assert!(invar::select!(FAST { true => lanes > 1, false => false }));
/// ```
///
/// With the key's type behind its name an arm has the names of values, without it patterns as in `match`; several have `|` between
/// them, and `_` stands for all others. As in `match` the arms must be there for all values, are of one type, and may `return`,
/// `break`, `continue` and `?`. An arm's expression ends in a comma. A pattern has no condition, and binds no name.
///
/// Unbound it is a nop, and behind it a compare and a jump for each value. Bound, the nop is a jump to the arm. Two values are one jump or two nops by [`branch!`](crate::branch!), which is better then.
#[macro_export]
macro_rules! select {
    (:: $($key:ident)::+ { $($arms:tt)* }) => {{
        use ::$($key)::+ as __INVAR_KEY;
        $crate::select!(__INVAR_KEY { $($arms)* })
    }};
    (:: $($key:ident)::+ : $type:ty { $($arms:tt)* }) => {{
        use ::$($key)::+ as __INVAR_KEY;
        $crate::select!(__INVAR_KEY: $type { $($arms)* })
    }};
    ($($key:ident)::+ : $type:ty { $($arms:tt)* }) => {
        $crate::__select_arms!(@named [$($key)::+] [$type] [] $($arms)*)
    };
    ($($key:ident)::+ { $($pattern:pat => $arm:expr),+ $(,)? }) => {
        $crate::__select_arms!(@number [$($key)::+] [] [
             0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
        ] $([$pattern, $arm])+)
    };
    ($($wrong:tt)*) => {
        ::core::compile_error!("select! has a key, perhaps with `: Type`, and arms `VALUE => expression,` in braces");
    };
}

/// Puts the type before the names of values, gives each arm a number, and puts the select together.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_arms {
    (@named [$($key:tt)+] [$type:ty] [$($done:tt)*] $($value:ident)|+ => $arm:expr $(, $($rest:tt)*)?) => {
        $crate::__select_arms!(@named [$($key)+] [$type] [$($done)* $(<$type>::$value)|+ => $arm,] $($($rest)*)?)
    };
    (@named [$($key:tt)+] $type:tt [$($done:tt)*] _ => $arm:expr $(,)?) => {
        $crate::select!($($key)+ { $($done)* _ => $arm })
    };
    (@named [$($key:tt)+] $type:tt [$($done:tt)+]) => {
        $crate::select!($($key)+ { $($done)+ })
    };
    (@named $($wrong:tt)*) => {
        ::core::compile_error!(
            "select! has arms `NAME => expression,` or `NAME | NAME => expression,`, and perhaps `_ => expression` as the last"
        );
    };

    (@number $key:tt [$($done:tt)*] [$number:literal $($numbers:literal)*] [$pattern:pat, $arm:expr] $($more:tt)*) => {
        $crate::__select_arms!(@number $key [$($done)* [$number $pattern, $arm]] [$($numbers)*] $($more)*)
    };
    (@number [$($key:tt)+] [$([$number:literal $pattern:pat, $arm:expr])+] [$($rest:literal)*]) => {{
        // The arm of each value.
        #[allow(unreachable_patterns)]
        const __INVAR_ARMS: [u8; 64] = {
            let (mut arms, mut position) = ([64; 64], 0);
            while position < $crate::__private::count(&raw const $($key)+) {
                arms[position as usize] = match $crate::__private::value_at(&raw const $($key)+, position) {
                    $($pattern => $number,)+
                    // That one is missing is said once, below.
                    _ => 64,
                };
                position += 1;
            }
            arms
        };
        let arm: u8 = '__invar_site: {
            // SAFETY: a key's static begins with its state byte, and its record names it.
            unsafe {
                $crate::__private::__select!(
                    $($key)+,
                    $crate::__private::count(&raw const $($key)+),
                    [$([$number $crate::__private::values_of(&__INVAR_ARMS, $number), { break '__invar_site $number }])+],
                    __INVAR_ARMS[0],
                    match $crate::__private::loaded(&raw const $($key)+) {
                        $($pattern => $number,)+
                    }
                )
            }
        };
        match arm { $($number => $arm,)+ _ => ::core::unreachable!() }
    }};
}

/// What the macro expands to.
pub(crate) mod expansion {
    use crate::key::handle::{Key, Value};

    /// The values that have this arm, as bits.
    pub const fn values_of(arms: &[u8; 64], arm: u8) -> u64 {
        let (mut values, mut position) = (0, 0);
        while position < arms.len() {
            values |= ((arms[position] == arm) as u64) << position;
            position += 1;
        }
        values
    }

    /// The key's value as it is now.
    ///
    /// # Safety
    ///
    /// It must be the address of a static.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub unsafe fn loaded<T: Value, const PROVES: u64>(key: *const Key<T, PROVES>) -> T {
        // SAFETY: as the caller vouches.
        let byte = unsafe { &*key }.state.value();
        match T::from_byte(byte).or(T::from_byte(0)) {
            Some(value) => value,
            // `values!` makes no type without a first value.
            None => ::core::unreachable!(),
        }
    }
}
