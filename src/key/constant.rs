//! Constants: numbers that are decided once, when the program is loaded.
#![allow(unsafe_code)]

use crate::key::decide;
use crate::key::handle::IsKey;
use crate::key::record::Declared;
use crate::key::state::{Numbered, State, Verdict};
use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;
use invar_arch::AtomicU64;

/// A number that is decided at load, declared with [`constant!`](crate::constant!) and read with [`value!`](crate::value!).
///
/// Until the runtime's constructor has run, and wherever it could not decide, it is the one that the declaration has as `fallback`.
#[repr(C)]
pub struct Constant<T: Number> {
    numbered: Numbered,
    declared: Declared,
    value: PhantomData<fn() -> T>,
}

/// A type of number that a constant can be: `u8`, `u16`, `u32`, `u64` or `usize`.
pub trait Number: Copy + sealed::Sealed + 'static {
    /// Names of the values of its key: that of a number which nobody decided, and that of any other.
    #[doc(hidden)]
    const NAMES: [&'static str; 2];

    /// How many bits it has.
    #[doc(hidden)]
    const BITS: u32;

    #[doc(hidden)]
    fn to_number(self) -> u64;

    #[doc(hidden)]
    fn from_number(number: u64) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($type:ident)*) => {
        $(
            impl sealed::Sealed for $type {}
            impl Number for $type {
                const NAMES: [&'static str; 2] =
                    [DEFAULT, invar_abi::state::NUMBER_NAMES[$type::BITS.ilog2() as usize - 2]];
                const BITS: u32 = $type::BITS;

                #[inline(always)]
                fn to_number(self) -> u64 {
                    self as u64
                }

                #[inline(always)]
                fn from_number(number: u64) -> Self {
                    number as Self
                }
            }
        )*
    };
}
const DEFAULT: &str = invar_abi::state::NUMBER_NAMES[0];
numbers!(u8 u16 u32 u64 usize);

impl<T: Number> IsKey for Constant<T> {
    const IS_NUMBERED: bool = true;
}

impl<T: Number> Constant<T> {
    /// Undecided, with this number until then, as bits.
    #[doc(hidden)]
    pub const fn declared(fallback: u64, declared: Declared) -> Self {
        let numbered = Numbered { state: State::new(), number: AtomicU64::new(fallback) };
        Self { numbered, declared, value: PhantomData }
    }

    /// The number, by ordinary loads. In a fast path use [`value!`](crate::value!), which loads nothing once it is bound.
    ///
    /// In a probe, a constant that is not decided yet is decided now, as by [`Key::get`](crate::Key::get), of which all is true
    /// here too, with the fallback in the place of the first value. One thing is not: a thread that has waited in vain gets the
    /// fallback whatever other modules say, and the constant fails.
    #[inline]
    pub fn get(&self) -> T {
        if !self.numbered.state.decided() {
            decide::demand(&self.numbered.state, self.declared);
        }
        T::from_number(self.numbered.number.load(Relaxed))
    }

    /// How it was decided, and why; `None` before the runtime's constructor. Its value is 0 where nobody could decide, else 1.
    pub fn verdict(&self) -> Option<Verdict> {
        decide::verdict(&self.numbered.state, self.declared)
    }
}

/// What the macros expand to.
pub(crate) mod expansion {
    use super::{Constant, Number};
    use crate::key::declare::fail;
    use crate::key::handle::{ByMacro, Value};
    use crate::key::state::Verdict;
    use crate::text::Evidence;
    use core::marker::PhantomData;
    use invar_abi::flags;

    /// The flags of a constant's record.
    pub const NUMBER: u8 = flags::NUMBER;

    /// The values of a constant's key.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Decided<T>(PhantomData<T>);

    impl<T: Number + PartialEq> Value for Decided<T> {
        const NAMES: &'static [&'static str] = &<T as Number>::NAMES;
        const BY_MACRO: ByMacro = ByMacro;

        fn to_byte(self) -> u8 {
            0
        }

        fn from_byte(_: u8) -> Option<Self> {
            None
        }
    }

    /// Fails to compile if this is no constant, even if it leads to one; whether it has more than 32 bits.
    pub const fn is_wide<T: Number>(_: *const Constant<T>) -> bool {
        T::BITS > 32
    }

    /// The number as the constant's type has it.
    #[inline(always)]
    pub fn typed<T: Number>(_: *const Constant<T>, number: u64) -> T {
        T::from_number(number)
    }

    /// Runs a constant's probe.
    pub fn probe_number<T: Number>(
        verdict: &mut Verdict,
        _: &Constant<T>,
        probe: fn(&mut Evidence) -> Result<T, &'static str>,
    ) {
        match probe(&mut verdict.evidence) {
            Ok(number) => (verdict.value, verdict.data) = (1, number.to_number()),
            Err(reason) => fail(verdict, reason),
        }
    }
}

/// Declares a constant: a static whose number the runtime decides once, when the program or library is loaded.
///
/// ```
/// invar::constant! {
///     /// How many bytes are worth a copy past the caches.
///     #[fallback(1 << 20)]
///     pub static FAR: usize = |evidence| {
///         evidence.text("as on the machine that this was written on");
///         Ok(3 << 20)
///     };
/// }
///
/// fn is_far(bytes: &[u8]) -> bool {
///     bytes.len() >= invar::value!(FAR)
/// }
/// assert!(!is_far(b"near"));
/// assert_eq!(FAR.get(), 3 << 20);
/// ```
///
/// The type is `u8`, `u16`, `u32`, `u64` or `usize`. `#[fallback(..)]` is the number before the constant is decided, and where its probe
/// fails; 0 where it is left out.
///
/// The probe is one as [`key!`](crate::key!) has, that returns a number. So is all else: when it runs, its evidence, the name and
/// `#[name = "..."]`. A process has one number for each name, in Rust and in C: a constant adopts that of a constant of its name, and
/// fails if that has another width.
///
/// `INVAR_KEYS=name=NUMBER` lowers the number, in decimal; a higher one than the probe's is not taken. `INVAR=off` leaves the fallback.
#[macro_export]
macro_rules! constant {
    ($($declaration:tt)*) => { $crate::__constant! { [] [] [] [] $($declaration)* } };
}

/// Sorts a constant's attributes into name, fallback, conditions, and the rest, then declares it.
#[doc(hidden)]
#[macro_export]
macro_rules! __constant {
    ([] $fallback:tt $cfg:tt $rest:tt #[name = $name:literal] $($more:tt)*) => {
        $crate::__constant! { [$name] $fallback $cfg $rest $($more)* }
    };
    ($name:tt [] $cfg:tt $rest:tt #[fallback($fallback:expr)] $($more:tt)*) => {
        $crate::__constant! { $name [$fallback] $cfg $rest $($more)* }
    };
    ($name:tt $fallback:tt [$($cfg:tt)*] $rest:tt #[cfg($($condition:tt)*)] $($more:tt)*) => {
        $crate::__constant! { $name $fallback [$($cfg)* #[cfg($($condition)*)]] $rest $($more)* }
    };
    ($name:tt $fallback:tt $cfg:tt [$($rest:tt)*] #[$meta:meta] $($more:tt)*) => {
        $crate::__constant! { $name $fallback $cfg [$($rest)* #[$meta]] $($more)* }
    };
    ([$($name:literal)?] [$($fallback:expr)?] [$($cfg:tt)*] [$($meta:tt)*]
        $vis:vis static $key:ident: $type:ty = $probe:expr;
    ) => {
        $($cfg)*
        $($meta)*
        $vis static $key: $crate::Constant<$type> = {
            // Items are not hygienic: their names are none that a program would have.
            const __INVAR_FALLBACK: $type = 0 $(+ $fallback)?;
            extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
                // SAFETY: the probe below, of the constant above.
                unsafe {
                    $crate::__key_record!($crate::__name!([$($name)?] $key), $key, $crate::__private::Decided<$type>, __invar_probe,
                        $crate::__private::NUMBER);
                }
                $crate::__private::probe_number(verdict, &$key, $probe);
            }
            $crate::Constant::declared(__INVAR_FALLBACK as u64, $crate::__declared!(
                $crate::__name!([$($name)?] $key), $key, $crate::__private::Decided<$type>, __invar_probe, $crate::__private::NUMBER
            ))
        };
    };
}

/// A constant's number. Unbound it is one load; bound, the instruction holds the number, and loads nothing.
///
/// ```
/// # invar::constant! { #[fallback(64)] static LINE: u32 = |_| Err("nobody knows"); }
/// let stride = invar::value!(LINE);
/// assert_eq!(stride, 64);
/// ```
///
/// For the compiler this is a number that does not change. It may ask for it before a loop, once for two places, or not at all. The
/// number does change once: while the module is loaded, from the fallback to what was decided. So what runs before that, or beside
/// it, may go by the fallback, and a function that began before may do so up to its end; each use of one `value!` sees one number.
/// In a probe, or in a constructor, use [`Constant::get`](crate::Constant::get).
#[macro_export]
macro_rules! value {
    (:: $($key:ident)::+) => {{
        use ::$($key)::+ as __INVAR_KEY;
        $crate::value!(__INVAR_KEY)
    }};
    ($($key:ident)::+) => {
        $crate::__private::typed(
            &raw const $($key)::+,
            // SAFETY: a constant's static begins with its state, behind which its number stands, and its record names it.
            unsafe { $crate::__private::__number!($($key)::+, 256, $crate::__private::is_wide(&raw const $($key)::+)) },
        )
    };
}
