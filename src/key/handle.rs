//! A key as programs have it: a static, and the types of its values.

use crate::key::record::Declared;
use crate::key::state::State;
#[cfg(feature = "timeslice")]
use crate::key::state::Verdict;
use core::marker::PhantomData;

/// A startup-invariant value, declared with [`key!`](crate::key!).
///
/// Until the runtime's constructor has run, and wherever it could not decide, a key has its type's first value
/// (`false` for `bool`). `PROVES` is the set of CPU features that hold wherever the key has any other value.
#[repr(C)]
pub struct Key<T: Value, const PROVES: u64 = 0> {
    pub(crate) state: State,
    pub(crate) declared: Declared,
    value: PhantomData<fn() -> T>,
}

/// In the `PROVES` of a switch.
pub const SWITCH: u64 = 1 << 62;

/// In the `PROVES` of a key that is on if and only if the CPU has these features, unless a setting lowered it.
pub(crate) const CPU: u64 = 1 << 63;

/// What begins with a key's state.
pub trait IsKey {
    /// Whether a number stands behind the state.
    const IS_NUMBERED: bool = false;
}
impl<T: Value, const PROVES: u64> IsKey for Key<T, PROVES> {}

/// A type that a key can have: `bool`, or an enum declared with [`values!`](crate::values!).
pub trait Value: Copy + PartialEq + 'static {
    /// Names of the values, as settings and reports use them, from the least demanding to the most. The first
    /// is the one that needs nothing. At most 64.
    const NAMES: &'static [&'static str];

    /// The position of this value in `NAMES`.
    fn to_byte(self) -> u8;

    /// The value at this position of `NAMES`.
    fn from_byte(byte: u8) -> Option<Self>;

    /// Sites compare with `value as u8`, so the positions must be the discriminants; the macro sees to that.
    #[doc(hidden)]
    const BY_MACRO: ByMacro;
}

impl Value for bool {
    const NAMES: &'static [&'static str] = &["off", "on"];
    const BY_MACRO: ByMacro = ByMacro;

    fn to_byte(self) -> u8 {
        self.into()
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// Only `values!` is to implement `Value`. A type that implements it by hand may have a key that is wrong, but none that
/// proves features which are not there: no probe is called before the features are seen.
#[derive(Debug)]
pub struct ByMacro;

impl<T: Value, const PROVES: u64> Key<T, PROVES> {
    /// Undecided.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self::declared(Declared::NOT)
    }

    /// Undecided, as a macro declares it.
    #[doc(hidden)]
    pub const fn declared(declared: Declared) -> Self {
        Self { state: State::new(), declared, value: PhantomData }
    }

    /// The CPU features that a value other than the first proves.
    pub const fn proves(&self) -> u64 {
        PROVES & !(CPU | SWITCH)
    }

    /// What stands behind it.
    #[cfg(any(feature = "timeslice", feature = "switch"))]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Copies the verdict, if there is one yet.
    #[cfg(feature = "timeslice")]
    pub(crate) fn copy(&self, verdict: &mut Verdict) -> bool {
        self.state.copy(verdict)
    }
}
