//! Keys: named values that are decided once, when the program is loaded.
#![allow(unsafe_code)]

use crate::site::leads_to;
use crate::text::Evidence;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, Ordering};
use invar_arch as arch;

/// A startup-invariant value, declared with [`key!`](crate::key!).
///
/// Until the runtime's constructor has run, and wherever it could not decide, a key has its type's first value
/// (`false` for `bool`). `PROVES` is the set of CPU features that hold wherever the key has any other value.
#[repr(transparent)]
pub struct Key<T: Value, const PROVES: u64 = 0> {
    state: State,
    value: PhantomData<fn() -> T>,
}

/// In the `PROVES` of a key that is on if and only if the CPU has these features, unless a setting lowered it.
pub(crate) const CPU: u64 = 1 << 63;

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
    const BY_MACRO: expansion::ByMacro;
}

impl Value for bool {
    const NAMES: &'static [&'static str] = &["off", "on"];
    const BY_MACRO: expansion::ByMacro = expansion::ByMacro;

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

impl<T: Value, const PROVES: u64> Key<T, PROVES> {
    /// The key's value, by an ordinary load. In a fast path use [`branch!`](crate::branch!), which loads nothing.
    #[inline]
    pub fn get(&self) -> T {
        match T::from_byte(self.state.value.load(Ordering::Relaxed)).or(T::from_byte(0)) {
            Some(value) => value,
            // `values!` makes no type without a first value.
            None => unreachable!(),
        }
    }

    /// Copies the verdict, if there is one yet.
    #[cfg(feature = "slice")]
    pub(crate) fn copy(&self, verdict: &mut Verdict) -> bool {
        self.state.copy(verdict)
    }

    /// How the key was decided, and why; `None` before the runtime's constructor.
    pub fn verdict(&self) -> Option<Verdict> {
        self.state.verdict()
    }
}

/// Where a verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// This module ran the key's probe.
    Probe,
    /// The probe ran and could not tell; the key has its first value.
    Failed,
    /// Another module of the process had decided a key of this name.
    Adopted,
    /// A setting chose a value that needs no more than the probe allows.
    Setting,
    /// A setting forced the slice extension's form, for measurements.
    Forced,
}

impl Origin {
    /// The origin that a verdict gives as a number (`docs/site-abi.md`).
    pub fn from_byte(byte: u8) -> Self {
        [Self::Probe, Self::Failed, Self::Adopted, Self::Setting, Self::Forced][(byte as usize).min(4)]
    }

    /// One word, as reports show it.
    pub fn name(self) -> &'static str {
        ["probe", "failed", "adopted", "setting", "forced"][self as usize]
    }
}

/// A decided key's value and the reason for it.
///
/// 256 bytes; `docs/site-abi.md` gives the layout. A probe receives one to fill in, and every module's key states
/// have the same layout, so that the other modules of the process can read them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Verdict {
    pub(crate) value: u8,
    status: u8,
    pub(crate) origin: u8,
    reserved: [u8; 5],
    /// What the bound code needs beside the value: for the slice key where each thread's request byte lies.
    pub(crate) data: u64,
    pub(crate) evidence: Evidence,
}

impl Verdict {
    pub(crate) const fn undecided() -> Self {
        Self { value: 0, status: 0, origin: 0, reserved: [0; 5], data: 0, evidence: Evidence::new() }
    }

    /// Begins anew, without evidence, and without what a probe may have left in the rest of it.
    #[cold]
    pub(crate) fn start(&mut self, value: u8, origin: Origin) {
        *self = Self::undecided();
        (self.value, self.origin) = (value, origin as u8);
    }

    /// Position of the value among its type's names.
    pub fn value(&self) -> u8 {
        self.value
    }

    /// Who decided.
    pub fn origin(&self) -> Origin {
        Origin::from_byte(self.origin)
    }

    /// Why, in words.
    pub fn evidence(&self) -> &str {
        self.evidence.as_str()
    }
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Verdict")
            .field("value", &self.value)
            .field("origin", &self.origin())
            .field("evidence", &self.evidence)
            .finish()
    }
}

/// A verdict in the making: what stands behind a [`Key`], and what sites compare with. Zero is undecided.
#[repr(C)]
pub(crate) struct State {
    value: AtomicU8,
    status: AtomicU8,
    origin: UnsafeCell<u8>,
    reserved: [u8; 5],
    data: UnsafeCell<u64>,
    evidence: UnsafeCell<Evidence>,
}

const UNDECIDED: u8 = 0;
const DECIDING: u8 = 1;
const SEALED: u8 = 2;

// SAFETY: the cells are written only by whoever moved `status` from UNDECIDED to DECIDING, and read only after
// SEALED was seen with acquire ordering, after which nobody writes any more.
unsafe impl Sync for State {}

const _: () = assert!(size_of::<State>() == 256 && size_of::<Verdict>() == 256);

impl State {
    const fn new() -> Self {
        Self {
            value: AtomicU8::new(0),
            status: AtomicU8::new(UNDECIDED),
            origin: UnsafeCell::new(0),
            reserved: [0; 5],
            data: UnsafeCell::new(0),
            evidence: UnsafeCell::new(Evidence::new()),
        }
    }

    /// The key's value as sites see it.
    pub(crate) fn value(&self) -> u8 {
        self.value.load(Ordering::Relaxed)
    }

    pub(crate) fn decided(&self) -> bool {
        self.status.load(Ordering::Acquire) == SEALED
    }

    /// Whether somebody has begun to decide.
    pub(crate) fn begun(&self) -> bool {
        self.status.load(Ordering::Acquire) != UNDECIDED
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let mut verdict = Verdict::undecided();
        self.copy(&mut verdict).then_some(verdict)
    }

    /// Value and origin of a sealed verdict.
    pub(crate) fn outcome(&self) -> Option<(u8, u8)> {
        // SAFETY: sealed, so nobody writes.
        self.decided().then(|| (self.value(), unsafe { *self.origin.get() }))
    }

    /// Copies a sealed verdict; false, and nothing is copied, if it is not sealed.
    #[cold]
    pub(crate) fn copy(&self, verdict: &mut Verdict) -> bool {
        let sealed = self.decided();
        if sealed {
            verdict.value = self.value();
            // SAFETY: sealed, so nobody writes.
            unsafe {
                verdict.origin = *self.origin.get();
                verdict.data = *self.data.get();
                verdict.evidence.clone_from(&*self.evidence.get());
            }
            verdict.evidence.limit();
            verdict.status = SEALED;
        }
        sealed
    }

    /// Takes the right to decide; whoever gets it must call [`seal`](Self::seal).
    #[cold]
    pub(crate) fn begin(&self) -> bool {
        // A record that leads into somebody else's memory would have us write there.
        let bytes = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: in bounds. Volatile, since this may be no state at all.
        let blank = (0..size_of::<Self>()).all(|at| unsafe { bytes.add(at).read_volatile() } == 0);
        if !blank {
            return false;
        }
        self.status.compare_exchange(UNDECIDED, DECIDING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    /// Decides, for the rest of the process's life. Without the right that [`begin`](Self::begin) gives, nothing happens.
    pub(crate) fn seal(&self, verdict: &Verdict) {
        if self.status.load(Ordering::Relaxed) != DECIDING {
            return;
        }
        // SAFETY: DECIDING, so the cells are the caller's alone.
        unsafe {
            *self.origin.get() = verdict.origin;
            *self.data.get() = verdict.data;
            *self.evidence.get() = verdict.evidence;
        }
        self.value.store(verdict.value, Ordering::Relaxed);
        self.status.store(SEALED, Ordering::Release);
    }
}

/// What a key record's `flags` may say.
pub(crate) mod flags {
    /// The value is a fact of safety: probe in every module, and adopt no more than the probe allows.
    pub(crate) const PROVES: u8 = 1;
    /// Slice sites may depend on this key, and `NAME=force` is a setting for it.
    pub(crate) const SLICE: u8 = 2;
    /// The loader has bound a symbol by this key: the probe alone decides, after all keys without this flag.
    pub(crate) const SYMBOL: u8 = 4;
}

/// One key of a module's key table, as it stands in the file. All distances count from their own field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KeyRecord {
    pub(crate) state: i32,
    pub(crate) names: i32,
    pub(crate) probe: i32,
    pub(crate) names_length: u16,
    pub(crate) values: u8,
    pub(crate) flags: u8,
}

impl KeyRecord {
    /// The address of the key's state.
    #[inline]
    pub(crate) fn state_address(&self) -> usize {
        leads_to(&self.state)
    }

    /// The key's name.
    ///
    /// # Safety
    ///
    /// The record must lead to its names, as one that [`key!`](crate::key!) emits does.
    pub(crate) unsafe fn name(&self) -> &[u8] {
        let names = (&raw const self.names).cast::<u8>().wrapping_offset(self.names as isize);
        // SAFETY: as the caller vouches; a NUL stands behind the name.
        unsafe { core::ffi::CStr::from_ptr(names.cast()) }.to_bytes()
    }
}

/// Decides a key: fills in the verdict it is given, for the key of this record.
pub(crate) type RawProbe = extern "C" fn(&mut Verdict, &KeyRecord);

/// What [`key!`](crate::key!) and its like expand to, and nobody else should use.
#[doc(hidden)]
pub(crate) mod expansion {
    use super::*;

    impl<T: Value, const PROVES: u64> Key<T, PROVES> {
        /// Undecided.
        #[allow(clippy::new_without_default)]
        pub const fn new() -> Self {
            Self { state: State::new(), value: PhantomData }
        }

        /// The CPU features that a value other than the first proves.
        pub const fn proves(&self) -> u64 {
            PROVES & !CPU
        }

        /// The features with which the key has this value, for one that depends on nothing else; 0 for any other.
        pub const fn is_features(&self, value: u8) -> u64 {
            if PROVES & CPU != 0 && value == 1 { PROVES & !CPU } else { 0 }
        }
    }

    /// Only `values!` is to implement `Value`.
    #[derive(Debug)]
    pub struct ByMacro;

    /// Fails to compile if the value is not of the key's type.
    pub const fn same_type<T: Value, const PROVES: u64>(_: &Key<T, PROVES>, _: T) {}

    /// Fails to compile if the key, where it has this value, does not prove these features.
    pub const fn prove(proved: u64, value: u8, features: &str) {
        assert!(value != 0, "a key's first value proves nothing");
        assert!(
            arch::feature_mask(features) & !proved == 0,
            "this key does not prove the features that the variant needs: name them in the key's `requires`"
        );
    }

    /// The flags of a key's record.
    pub const fn flags(proves: u64, slice: bool) -> u8 {
        (if proves == 0 { 0 } else { super::flags::PROVES }) | (if slice { super::flags::SLICE } else { 0 })
    }

    /// The flags of a symbol's key.
    pub const SYMBOL: u8 = super::flags::SYMBOL;

    /// The length of [`names`].
    pub const fn names_length<T: Value>(name: &str) -> usize {
        let mut length = plain(name).len() + 1;
        let mut value = 0;
        while value < T::NAMES.len() {
            length += plain(T::NAMES[value]).len() + 1;
            value += 1;
        }
        length
    }

    /// The key's name, in lower case if it is made from an identifier, and those of its values, always in lower
    /// case; each with a NUL behind it.
    pub const fn names<T: Value, const N: usize>(name: &str, lower: bool) -> [u8; N] {
        assert!(
            !name.is_empty() && T::NAMES.len() >= 2 && T::NAMES.len() <= 64,
            "a key has a name, and 2 to 64 values"
        );
        let mut names = [0; N];
        let mut at = append(&mut names, 0, name, lower);
        let mut value = 0;
        while value < T::NAMES.len() {
            at = append(&mut names, at, T::NAMES[value], true);
            value += 1;
        }
        names
    }

    /// The bytes of an identifier's name, without the mark of a raw one.
    const fn plain(name: &str) -> &[u8] {
        match name.as_bytes() {
            [b'r', b'#', name @ ..] => name,
            name => name,
        }
    }

    const fn append(names: &mut [u8], start: usize, name: &str, lower: bool) -> usize {
        let name = plain(name);
        let mut at = 0;
        while at < name.len() {
            let byte = name[at];
            assert!(
                byte > b' ' && byte != b'=' && byte != b',' && byte < 0x7f,
                "a key's name has only visible ASCII, without '=' and ','"
            );
            names[start + at] = if lower { byte.to_ascii_lowercase() } else { byte };
            at += 1;
        }
        start + name.len() + 1
    }

    pub use super::KeyRecord;

    /// Runs a key's probe.
    pub fn probe<T: Value, const PROVES: u64>(
        verdict: &mut Verdict,
        _: &Key<T, PROVES>,
        probe: fn(&mut Evidence) -> Result<T, &'static str>,
    ) {
        if !crate::features::proves(PROVES, &mut verdict.evidence) {
            return;
        }
        match probe(&mut verdict.evidence) {
            Ok(value) => verdict.value = value.to_byte(),
            Err(reason) => {
                verdict.origin = Origin::Failed as u8;
                if !verdict.evidence.as_bytes().is_empty() {
                    verdict.evidence.text("; ");
                }
                verdict.evidence.text(reason);
            }
        }
    }
}

/// Declares an enum that a key can have as its value.
///
/// List the values from the one that needs nothing to the most demanding: the first is what the key has before
/// it is decided and where its probe fails, and a setting may choose any that stands before the probed one.
/// Their names in settings and reports are lower case.
///
/// ```
/// invar::values! {
///     /// How wide a vector this program uses.
///     pub enum Width { Narrow, Wide, Widest }
/// }
/// ```
#[macro_export]
macro_rules! values {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        $vis enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $crate::Value for $name {
            const NAMES: &'static [&'static str] = &[$(::core::stringify!($variant)),+];
            const BY_MACRO: $crate::__private::ByMacro = $crate::__private::ByMacro;

            fn to_byte(self) -> u8 {
                self as u8
            }

            fn from_byte(byte: u8) -> ::core::option::Option<Self> {
                [$(Self::$variant),+].get(byte as usize).copied()
            }
        }
    };
}

/// Declares a key: a static that the runtime decides once, when the program or library is loaded.
///
/// ```
/// invar::key! {
///     /// Whether this machine has more than one CPU.
///     pub static PARALLEL: bool = more_than_one_cpu;
/// }
///
/// fn more_than_one_cpu(evidence: &mut invar::Evidence) -> Result<bool, &'static str> {
///     let cpus = std::thread::available_parallelism().map_err(|_| "the number of CPUs is not known")?.get();
///     evidence.number(cpus as i64).text(" CPUs");
///     Ok(cpus > 1)
/// }
///
/// let spin = if invar::branch!(PARALLEL) { 100 } else { 0 };
/// # assert_eq!(spin != 0, PARALLEL.get());
/// ```
///
/// The value's type is `bool` or declared with [`values!`](crate::values!).
///
/// **The probe** is a `fn(&mut Evidence) -> Result<T, &'static str>`. It runs in the module's constructor, before
/// those of ordinary priority and before `main`, at most once: keep it short, do not panic in it (a panic in a
/// constructor aborts the process), and report in the evidence what it saw. On an error the key has its first
/// value and the report shows the error.
///
/// **The name** in settings and reports is the static's in lower case, unless `#[name = "..."]` gives another.
/// A process has one verdict for each name: if another module has decided a key of this name already, that
/// verdict is adopted. A library's key should therefore carry the library's name (`#[name = "mylib.wide"]`).
///
/// **Proof.** `#[requires("avx2,bmi2")]` makes the key stay at its first value, without a call of the probe,
/// on a CPU that lacks any of these features. Only such a key can choose a `#[target_feature]` variant in
/// [`dispatch!`](crate::dispatch!). Its probe runs in every module that declares it, since its value must be true.
///
/// ```
/// invar::key! {
///     #[name = "example.fast"]
///     #[requires("avx2,bmi2")]
///     static FAST: bool = |_| Ok(true);
/// }
/// # assert_eq!(FAST.verdict().is_some(), true);
/// ```
#[macro_export]
macro_rules! key {
    ($($declaration:tt)*) => { $crate::__key! { [] [] [false] [] [] $($declaration)* } };
}

/// Sorts a key's attributes into name, required features, whether slice sites may depend on it (for measurements;
/// not part of the interface), conditions, and the rest, then declares it.
#[doc(hidden)]
#[macro_export]
macro_rules! __key {
    ([] $requires:tt $slice:tt $cfg:tt $rest:tt #[name = $name:literal] $($more:tt)*) => {
        $crate::__key! { [$name] $requires $slice $cfg $rest $($more)* }
    };
    ($name:tt [] $slice:tt $cfg:tt $rest:tt #[requires($features:literal)] $($more:tt)*) => {
        $crate::__key! { $name [$features] $slice $cfg $rest $($more)* }
    };
    ($name:tt $requires:tt [false] $cfg:tt $rest:tt #[__slice] $($more:tt)*) => {
        $crate::__key! { $name $requires [true] $cfg $rest $($more)* }
    };
    ($name:tt $requires:tt $slice:tt [$($cfg:tt)*] $rest:tt #[cfg($($condition:tt)*)] $($more:tt)*) => {
        $crate::__key! { $name $requires $slice [$($cfg)* #[cfg($($condition)*)]] $rest $($more)* }
    };
    ($name:tt $requires:tt $slice:tt $cfg:tt [$($rest:tt)*] #[$meta:meta] $($more:tt)*) => {
        $crate::__key! { $name $requires $slice $cfg [$($rest)* #[$meta]] $($more)* }
    };
    ([$($name:literal)?] [$($features:literal)?] [$slice:literal] [$($cfg:tt)*] [$($meta:tt)*]
        $vis:vis static $key:ident: $type:ty = $probe:expr;
    ) => {
        $($cfg)*
        $($meta)*
        $vis static $key: $crate::Key<$type, { 0 $(| $crate::__private::feature_mask($features))? }> = $crate::Key::new();

        // Items are not hygienic: their names are none that a program would have.
        $($cfg)*
        const _: () = {
            extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
                $crate::__key_record!([$($name)?] $key, $type, __invar_probe, $crate::__private::flags($key.proves(), $slice));
                $crate::__private::probe(verdict, &$key, $probe);
            }
            #[used]
            static __INVAR_KEEP: extern "C" fn(&mut $crate::Verdict, &$crate::__private::KeyRecord) = __invar_probe;
        };
    };
}

/// Emits a key's record. Stands in its probe, since only an `asm!` in a function can name what this block
/// declares; the probe is compiled exactly once, being reached by its address alone.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_record {
    ([] $($rest:tt)*) => { $crate::__key_record!(@emit true, ::core::stringify, $($rest)*) };
    ([$name:expr] $($rest:tt)*) => { $crate::__key_record!(@emit false, [$name], $($rest)*) };
    (@emit $lower:literal, ::core::stringify, $key:ident, $type:ty, $probe:ident, $flags:expr) => {
        $crate::__key_record!(@emit $lower, [::core::stringify!($key)], $key, $type, $probe, $flags)
    };
    (@emit $lower:literal, [$name:expr], $key:ident, $type:ty, $probe:ident, $flags:expr) => {{
        static __INVAR_NAMES: [u8; $crate::__private::names_length::<$type>($name)] =
            $crate::__private::names::<$type, { $crate::__private::names_length::<$type>($name) }>($name, $lower);
        // SAFETY: no instruction, only data in another section.
        unsafe {
            ::core::arch::asm!(
                ".pushsection invar_keys, \"aR\", %progbits",
                ".balign 4",
                ".long {state} - ., {names} - ., {probe} - .",
                ".short {length}",
                ".byte {values}, {flags}",
                ".popsection",
                state = sym $key,
                names = sym __INVAR_NAMES,
                probe = sym $probe,
                length = const __INVAR_NAMES.len(),
                values = const <$type as $crate::Value>::NAMES.len(),
                flags = const $flags,
                options(nomem, nostack, preserves_flags),
            );
        }
    }};
}
