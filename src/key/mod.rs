//! Keys: named values that are decided once, when the program is loaded.
#![allow(unsafe_code)]

pub(crate) mod decide;

use crate::site::leads_to;
use crate::text::{Evidence, Sink};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
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
    /// The key's value, by ordinary loads. In a fast path use [`branch!`](crate::branch!), which loads nothing.
    ///
    /// In a probe, a key that is not decided yet is decided now, by its own probe. A probe that asks for its own key, directly
    /// or by way of other probes, gets the first value, and all keys of the cycle fail. A thread that asks for a key which
    /// another thread is deciding waits for it, but not for ever, since the probe may wait for that thread. After a second the
    /// thread gets the first value, and the key fails; but where another module has decided a key of this name meanwhile, the
    /// thread gets its value, which the key adopts. So what a probe was told of a key is true. A key that another thread is still
    /// deciding when all other keys of the module are decided fails too: nobody sees a value change.
    ///
    /// A signal's handler may use [`branch!`](crate::branch!) at any time, but must not call this before the module is loaded:
    /// it would run the key's probe, or ask for the key whose probe it interrupts, which then fails.
    ///
    /// In a child that another thread forks during the load nobody ends it: a key that is not decided is decided by whoever
    /// calls this, and a `branch!` of it changes then.
    #[inline]
    pub fn get(&self) -> T {
        let value = if self.state.decided() { self.state.value() } else { crate::key::decide::demand(&self.state) };
        match T::from_byte(value).or(T::from_byte(0)) {
            Some(value) => value,
            // `values!` makes no type without a first value.
            None => unreachable!(),
        }
    }

    /// What stands behind it.
    #[cfg(feature = "timeslice")]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Copies the verdict, if there is one yet.
    #[cfg(feature = "timeslice")]
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
    /// The origin that a verdict gives as a number (`docs/site-abi.md`). Any other number is taken for that of `Failed`, since
    /// such a verdict is not to be believed.
    pub fn from_byte(byte: u8) -> Self {
        let known = [Self::Probe, Self::Failed, Self::Adopted, Self::Setting, Self::Forced];
        known.get(byte as usize).copied().unwrap_or(Self::Failed)
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
    /// What bound code needs beside the value: of the slice key, where each thread's area lies (`docs/site-abi.md`).
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
    reserved: u8,
    /// While the key is being decided: a number from 1 on, which is higher for what was begun later; and [`GIVEN_UP`], which
    /// other threads set. 0 from [`settle`](Self::settle) on.
    order: AtomicU32,
    /// While the key is being decided: by which thread. Then the verdict's.
    data: AtomicU64,
    /// While the key is being decided: the name of a key in whose probe it was asked for. Then the verdict's.
    evidence: UnsafeCell<Evidence>,
}

const UNDECIDED: u8 = 0;
const DECIDING: u8 = 1;
const SEALED: u8 = 2;

/// In a state's `order`: a thread that waited for the key has gone on with the first value, so that it must be that.
const GIVEN_UP: u32 = 1 << 31;

// SAFETY: the cells are written and read only by the thread that moved `status` from UNDECIDED to DECIDING, until it moves
// on to SEALED; and read by those that saw SEALED with acquire ordering, after which nobody writes any more.
unsafe impl Sync for State {}

const _: () = assert!(size_of::<State>() == 256 && size_of::<Verdict>() == 256);

impl State {
    const fn new() -> Self {
        Self {
            value: AtomicU8::new(0),
            status: AtomicU8::new(UNDECIDED),
            origin: UnsafeCell::new(0),
            reserved: 0,
            order: AtomicU32::new(0),
            data: AtomicU64::new(0),
            evidence: UnsafeCell::new(Evidence::new()),
        }
    }

    /// The key's value as sites see it.
    #[inline]
    pub(crate) fn value(&self) -> u8 {
        self.value.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn decided(&self) -> bool {
        self.status.load(Ordering::Acquire) == SEALED
    }

    /// The verdict's data, once the value can be seen to be another than the first.
    #[cfg(feature = "timeslice")]
    #[inline]
    pub(crate) fn data(&self) -> Option<u64> {
        (self.value.load(Ordering::Acquire) != 0).then(|| self.data.load(Ordering::Relaxed))
    }

    /// Whether somebody has begun to decide.
    pub(crate) fn begun(&self) -> bool {
        self.status.load(Ordering::Acquire) != UNDECIDED
    }

    /// Whether somebody is at it.
    pub(crate) fn is_being_decided(&self) -> bool {
        self.status.load(Ordering::Acquire) == DECIDING
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
            verdict.data = self.data.load(Ordering::Relaxed);
            // SAFETY: sealed, so nobody writes.
            unsafe {
                verdict.origin = *self.origin.get();
                verdict.evidence.clone_from(&*self.evidence.get());
            }
            verdict.evidence.limit();
            verdict.status = SEALED;
        }
        sealed
    }

    /// Takes the right to decide for this thread. If the thread gets it, it must call [`seal`](Self::seal). `order` is from 1
    /// on, and higher for what is begun later.
    #[cold]
    pub(crate) fn begin(&self, thread: u64, order: u32) -> bool {
        // A record that leads into somebody else's memory would have us write there.
        let bytes = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: in bounds. Volatile, since this may be no state at all.
        let blank = (0..size_of::<Self>()).all(|at| unsafe { bytes.add(at).read_volatile() } == 0);
        if !blank {
            return false;
        }
        let ours = self.status.compare_exchange(UNDECIDED, DECIDING, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if ours {
            self.order.store(order, Ordering::Relaxed);
            self.data.store(thread, Ordering::Relaxed);
        }
        ours
    }

    /// What [`begin`](Self::begin) was given, where this thread is deciding the key.
    pub(crate) fn begun_by(&self, thread: u64) -> Option<u32> {
        let ours = self.status.load(Ordering::Relaxed) == DECIDING && self.data.load(Ordering::Relaxed) == thread;
        ours.then(|| self.order.load(Ordering::Relaxed) & !GIVEN_UP)
    }

    /// For a thread that will wait no longer for the one that decides: whether the key's value is the first from now on. It
    /// is not where that thread is about to seal it.
    pub(crate) fn give_up(&self) -> bool {
        let given_up = |order| if order == 0 { None } else { Some(order | GIVEN_UP) };
        self.order.fetch_update(Ordering::Relaxed, Ordering::Relaxed, given_up).is_ok()
    }

    /// Whether some thread has given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.order.load(Ordering::Relaxed) & GIVEN_UP != 0
    }

    /// For the thread that is deciding, which is about to seal: whether the value must be the first. No thread gives up later.
    pub(crate) fn settle(&self) -> bool {
        self.order.swap(0, Ordering::Relaxed) & GIVEN_UP != 0
    }

    /// Notes the name of a key in whose probe this one, which this thread is deciding, was asked for.
    pub(crate) fn note_cycle(&self, thread: u64, name: &[u8]) {
        if self.begun_by(thread).is_some() {
            // SAFETY: this thread is deciding the key, so the cell is its own.
            unsafe { *self.evidence.get() = Evidence::new() };
            // SAFETY: as above.
            unsafe { (*self.evidence.get()).put(name) };
        }
    }

    /// Copies what was noted of a key that this thread is deciding; empty where nothing was.
    pub(crate) fn cycle(&self, thread: u64) -> Evidence {
        match self.begun_by(thread) {
            // SAFETY: as above.
            Some(_) => unsafe { *self.evidence.get() },
            None => Evidence::new(),
        }
    }

    /// Decides, for the rest of the process's life. Without the right that [`begin`](Self::begin) gives, nothing happens.
    ///
    /// The value is stored last: a thread that sees it sees the verdict's data too, which says where requests go.
    #[cold]
    pub(crate) fn seal(&self, verdict: &Verdict) {
        if self.status.load(Ordering::Relaxed) != DECIDING {
            return;
        }
        self.data.store(verdict.data, Ordering::Relaxed);
        // SAFETY: DECIDING, so the cells are the caller's alone.
        unsafe {
            *self.origin.get() = verdict.origin;
            *self.evidence.get() = verdict.evidence;
        }
        self.value.store(verdict.value, Ordering::Release);
        self.status.store(SEALED, Ordering::Release);
    }
}

/// What a key record's `flags` may say.
pub(crate) mod flags {
    /// The value is a fact of safety: probe in every module, and adopt no more than the probe allows.
    pub(crate) const PROVES: u8 = 1;
    /// Slice sites may depend on this key.
    pub(crate) const SLICE: u8 = 2;
    /// The loader has bound a symbol by this key: the probe alone decides, after all keys without this flag.
    pub(crate) const SYMBOL: u8 = 4;
    /// This is *the* time slice key, whose verdict says where requests go. `NAME=force` is a setting for it.
    pub(crate) const TIMESLICE: u8 = 8;
    /// A key of the runtime's own, decided before those of the program. Only such a key may have a reserved name.
    pub(crate) const OWN: u8 = 16;
    /// All of them. A record with another one is of a later version.
    pub(crate) const ALL: u8 = PROVES | SLICE | SYMBOL | TIMESLICE | OWN;
}

/// Whether only keys of the runtime's own may have this name.
pub(crate) const fn is_reserved(name: &[u8]) -> bool {
    matches!(name, b"slice" | [b's', b'l', b'i', b'c', b'e', b'.', ..] | [b'c', b'p', b'u', b'.', ..])
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
pub type RawProbe = extern "C" fn(&mut Verdict, &KeyRecord);

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
    }

    /// The features with which a key has this value, for one that depends on nothing else; 0 for any other.
    pub const fn is_features<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, value: u8) -> u64 {
        if PROVES & CPU != 0 && value == 1 { PROVES & !CPU } else { 0 }
    }

    /// Only `values!` is to implement `Value`. A type that implements it by hand may have a key that is wrong, but none that
    /// proves features which are not there: no probe is called before the features are seen.
    #[derive(Debug)]
    pub struct ByMacro;

    /// Fails to compile if this is no key, even if it leads to one, as a reference does: sites have its address.
    pub const fn is_key<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>) {}

    /// The same, and if the value is not of the key's type.
    pub const fn same_type<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, _: T) {}

    /// Fails to compile if the key, where it has this value, does not prove these features.
    pub const fn prove<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, value: u8, features: &str) {
        assert!(value != 0, "a key's first value proves nothing: no variant that needs CPU features can be its");
        if let Some(missing) = arch::first_missing(features, PROVES & !CPU) {
            arch::Message::new("this key does not prove the CPU feature `")
                .and(missing)
                .and(b"` that the variant needs: name it in the key's `requires`, or take a `cpu` key that proves it")
                .panic()
        }
    }

    /// The flags of a key's record.
    pub const fn flags(proves: u64, slice: bool) -> u8 {
        (if proves == 0 { 0 } else { super::flags::PROVES }) | (if slice { super::flags::SLICE } else { 0 })
    }

    /// The flags of a symbol's key.
    pub const SYMBOL: u8 = super::flags::SYMBOL;

    /// Where a key's name comes from.
    #[derive(Clone, Copy, Debug)]
    pub enum Name {
        /// It is this.
        Given(&'static str),
        /// It is that of the package (of the crate, where cargo does not say), of the modules in it, and of the static, with
        /// dots between.
        Default {
            /// `CARGO_PKG_NAME`, if there is one.
            package: Option<&'static str>,
            /// `module_path!()`, which begins with the crate.
            path: &'static str,
            /// The static's.
            identifier: &'static str,
        },
    }

    /// The length of [`names`].
    pub const fn names_length<T: Value>(name: Name) -> usize {
        write_names::<T>(&mut [], name)
    }

    /// The key's name, and those of its values, which are in lower case; each with a NUL behind it. `flags` are the key's.
    pub const fn names<T: Value, const N: usize>(name: Name, flags: u8) -> [u8; N] {
        let mut names = [0; N];
        write_names::<T>(&mut names, name);
        assert!(
            flags & super::flags::OWN != 0 || !is_reserved_first(&names),
            "`slice`, `slice.*` and `cpu.*` are names of invar's own keys: give this key another by #[name = \"...\"]"
        );
        names
    }

    const fn is_reserved_first(names: &[u8]) -> bool {
        let mut end = 0;
        while names[end] != 0 {
            end += 1;
        }
        super::is_reserved(names.split_at(end).0)
    }

    /// Writes the names as far as there is room, and returns how long they are.
    const fn write_names<T: Value>(names: &mut [u8], name: Name) -> usize {
        assert!(T::NAMES.len() >= 2 && T::NAMES.len() <= 64, "a key has 2 to 64 values");
        let mut at = match name {
            Name::Given(name) => append(names, 0, name.as_bytes(), false),
            Name::Default { package, path, identifier } => {
                let path = path.as_bytes();
                let modules = behind_crate(path);
                let at = match package {
                    Some(package) => append(names, 0, package.as_bytes(), false),
                    None => append(names, 0, path.split_at(path.len() - modules.len()).0, false),
                };
                let at = append(names, at, modules, true);
                let at = append(names, at, b"::", true);
                append(names, at, identifier.as_bytes(), true)
            }
        };
        assert!(at > 0, "a key has a name");
        at += 1;
        let mut value = 0;
        while value < T::NAMES.len() {
            at = append(names, at, T::NAMES[value].as_bytes(), true) + 1;
            value += 1;
        }
        at
    }

    /// A module's path from the `::` behind its crate's name on; empty for the crate itself.
    const fn behind_crate(path: &[u8]) -> &[u8] {
        let mut at = 0;
        while at < path.len() && path[at] != b':' {
            at += 1;
        }
        path.split_at(at).1
    }

    /// Writes what fits of a part of a name, and returns where it would end. The mark of a raw identifier is left out. In lower
    /// case, which is for paths, `::` becomes a dot.
    const fn append(names: &mut [u8], start: usize, part: &[u8], lower: bool) -> usize {
        let (mut from, mut to) = (0, start);
        while from < part.len() {
            let rest = part.split_at(from).1;
            let begins = from == 0 || part[from - 1] == b':';
            let byte = match rest {
                [b'r', b'#', ..] if begins => {
                    from += 2;
                    continue;
                }
                [b':', b':', ..] if lower => {
                    from += 1;
                    b'.'
                }
                [byte, ..] if lower => byte.to_ascii_lowercase(),
                [byte, ..] => *byte,
                [] => 0,
            };
            assert!(
                byte > b' ' && byte != b'=' && byte != b',' && byte < 0x7f,
                "a key's name has only visible ASCII, without '=' and ',': give it one by #[name = \"...\"]"
            );
            if to < names.len() {
                names[to] = byte;
            }
            from += 1;
            to += 1;
        }
        to
    }

    pub use super::{KeyRecord, RawProbe};

    /// Keeps a key linked with all that it needs: its probe, with the record in it, and the runtime.
    #[derive(Debug)]
    pub struct Keep(#[allow(dead_code)] RawProbe, #[allow(dead_code)] &'static Here);

    impl Keep {
        /// For the key with this probe.
        pub const fn new(probe: extern "C" fn(&mut Verdict, &KeyRecord)) -> Self {
            // SAFETY: only its address is taken.
            Self(probe, unsafe { &HERE })
        }
    }

    /// A place in the runtime.
    #[derive(Debug)]
    #[repr(C)]
    pub struct Here(u8);

    unsafe extern "C" {
        /// Hidden (`module.rs`, `__key_record!`): a Rust `dylib` has a runtime for its own keys alone, and a program that
        /// uses such a library, and would have no other, is not linked. The linker's message shows the name.
        #[link_name = "invar2_is_to_be_linked_into_every_module_that_has_keys"]
        static HERE: Here;
    }

    /// Runs a key's probe.
    pub fn probe<T: Value, const PROVES: u64>(
        verdict: &mut Verdict,
        _: &Key<T, PROVES>,
        probe: fn(&mut Evidence) -> Result<T, &'static str>,
    ) {
        if !crate::symbol::features::proves(PROVES, &mut verdict.evidence) {
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
/// constructor aborts the process), and put into the evidence what it saw. On an error the key has its first
/// value, and the report shows the error.
///
/// A probe may ask for other keys by [`Key::get`]: [`cpu`](crate::cpu)'s and the time slice key are decided before it, others
/// on demand. It may take locks, start threads and join them, enrol its thread in the slice extension, and print the report.
/// It may read the environment and, with glibc, the command line (`std::env::args`; musl gives a program its arguments in
/// `main` only). A site whose key is not decided yet takes the branch of the key's first value. Where a probe leaves
/// a thread running in a program that had one thread, the load takes 13 milliseconds more: the thread may be about to end.
///
/// **The name** in settings and reports is that of the package, of the modules in which the static stands, and of the static
/// in lower case, with dots between: `mypackage.vectors.wide`. `#[name = "..."]` gives another. The names `slice`, `slice.*`
/// and `cpu.*` are those of the runtime's own keys, and no other key compiles with one. A process has one verdict for each
/// name: a key whose name has been decided, in this module or in another one, adopts that verdict, or fails if its values
/// have other names. Only a key that fails may have another value than those of its name in other modules. Symbols of [`ifunc!`](crate::ifunc!) are no keys: one may have the name of a key.
///
/// **Proof.** `#[requires("avx2,bmi2")]` makes the key stay at its first value, without a call of the probe,
/// on a CPU that lacks any of these features, or of those that they build on. Features have the compiler's names: all that are
/// stable in Rust 1.95 are known, and `ermsb`, `fsrm` and `lahfsahf`. One level of the psABI, as `x86-64-v3`, may stand in place
/// of the list. Only such a key, or one of [`cpu`](crate::cpu)'s, can choose a `#[target_feature]` variant in
/// [`dispatch!`](crate::dispatch!) and [`ifunc!`](crate::ifunc!). Its probe runs in every module that declares it, since its value
/// must be true there.
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
                // SAFETY: the probe below, of the key above.
                unsafe {
                    $crate::__key_record!([$($name)?] $key, $type, __invar_probe, $crate::__private::flags($key.proves(), $slice));
                }
                $crate::__private::probe(verdict, &$key, $probe);
            }
            #[used]
            static __INVAR_KEEP: $crate::__private::Keep = $crate::__private::Keep::new(__invar_probe);
        };
    };
}

/// Emits a key's record. Stands in its probe, since only an `asm!` in a function can name what this block
/// declares; the probe is compiled exactly once, being reached by its address alone.
///
/// Stands in an `unsafe` block: the runtime will call the probe, and bind by what it says.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_record {
    ([] $key:ident, $($rest:tt)*) => {
        $crate::__key_record!(@emit $crate::__private::Name::Default {
            package: ::core::option_env!("CARGO_PKG_NAME"),
            path: ::core::module_path!(),
            identifier: ::core::stringify!($key),
        }, $key, $($rest)*)
    };
    ([$name:expr] $($rest:tt)*) => { $crate::__key_record!(@emit $crate::__private::Name::Given($name), $($rest)*) };
    (@emit $name:expr, $key:ident, $type:ty, $probe:ident, $flags:expr) => {{
        static __INVAR_NAMES: [u8; $crate::__private::names_length::<$type>($name)] =
            $crate::__private::names::<$type, { $crate::__private::names_length::<$type>($name) }>($name, $flags);
        const { $crate::__private::is_key(&raw const $key) };
        let _: $crate::__private::RawProbe = $probe;
        ::core::arch::asm!(
            ".pushsection invar2_keys, \"aR\", %progbits",
            ".balign 4",
            ".long {state} - ., {names} - ., {probe} - .",
            ".short {length}",
            ".byte {values}, {flags}",
            ".popsection",
            $crate::__private::__protected!("{state}"),
            ".hidden {names}",
            ".hidden {probe}",
            ".hidden invar2_is_to_be_linked_into_every_module_that_has_keys",
            state = sym $key,
            names = sym __INVAR_NAMES,
            probe = sym $probe,
            length = const __INVAR_NAMES.len(),
            values = const <$type as $crate::Value>::NAMES.len(),
            flags = const $flags,
            options(nomem, nostack, preserves_flags),
        );
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{SITE_ABI, assert_layout, fields, table};
    use core::mem::offset_of;
    use std::string::ToString;

    /// A state in memory of another module's, with this said to be the evidence's length (`docs/site-abi.md`).
    fn state(length: u16) -> State {
        let mut bytes = [b'x'; 256];
        bytes[..18].fill(0);
        (bytes[0], bytes[1]) = (1, SEALED);
        bytes[16..18].copy_from_slice(&length.to_ne_bytes());
        // SAFETY: numbers alone.
        unsafe { core::mem::transmute(bytes) }
    }

    #[test]
    fn records_and_states_are_as_documented() {
        let record = fields!(KeyRecord: state names probe names_length values flags);
        assert_layout(SITE_ABI, "## Key records", &record, size_of::<KeyRecord>());
        assert!(SITE_ABI.contains(&std::format!("4-byte aligned, {} bytes a record. A", size_of::<KeyRecord>())));

        let text = offset_of!(Verdict, evidence);
        let [value, status, origin, data] = fields!(Verdict: value status origin data);
        let evidence = [("evidence_length", text, 2), ("evidence", text + 2, 238)];
        let verdict = [&[value, status, origin, data][..], &evidence].concat();
        assert_layout(SITE_ABI, "### State and verdict", &verdict, size_of::<Verdict>());
        assert_eq!(text + size_of::<Evidence>(), size_of::<Verdict>());
        // A state is a verdict in the making.
        assert_eq!(fields!(State: value status origin data evidence).map(|(_, offset, _)| offset), [0, 1, 2, 8, text]);
        assert!(SITE_ABI.contains(&std::format!("distance to the key's state, {} bytes", size_of::<State>())));
        assert!(SITE_ABI.contains(&std::format!(
            "| {UNDECIDED} undecided, {DECIDING} being decided, {SEALED} sealed: written last"
        )));
    }

    #[test]
    fn flags_are_as_documented() {
        let documented = table(SITE_ABI, "| 15 | 1 | flags | below |");
        let meant = [
            (flags::PROVES, "is a fact of safety"),
            (flags::SLICE, "may have sites of kinds 2 and 3"),
            (flags::SYMBOL, "is a symbol's"),
            (flags::TIMESLICE, "is the time slice key"),
            (flags::OWN, "is the runtime's own"),
        ];
        assert_eq!(documented.len(), meant.len());
        for (row, (flag, words)) in documented.iter().zip(meant) {
            assert!(row[0] == flag.to_string() && row[1].starts_with(words), "{row:?}");
        }
        assert_eq!(meant.iter().fold(0, |all, (flag, _)| all | flag), flags::ALL);
    }

    /// Programs in other languages are given a copy, and read as many bytes as it says.
    #[test]
    fn a_copy_of_a_verdict_has_a_length_that_is_true() {
        for (said, is) in [(0, 0), (5, 5), (238, 238), (239, 238), (60000, 238)] {
            let verdict = state(said).verdict().expect("sealed");
            // SAFETY: plain data.
            let bytes: [u8; 256] = unsafe { core::mem::transmute(verdict) };
            assert_eq!(u16::from_ne_bytes([bytes[16], bytes[17]]), is, "{said}");
            assert_eq!(verdict.evidence().len(), is.into());
            assert_eq!((verdict.value(), bytes[1]), (1, SEALED));
        }
    }

    /// One thread decides, once, and only what it has begun.
    #[test]
    fn a_state_is_decided_by_whoever_began() {
        let state = State::new();
        let mut verdict = Verdict::undecided();
        (verdict.value, verdict.origin, verdict.data) = (1, Origin::Setting as u8, 5);
        verdict.evidence.text("seen");
        state.seal(&verdict);
        assert!(!state.begun() && !state.decided() && state.value() == 0, "nobody has begun");
        assert!(state.outcome().is_none() && state.verdict().is_none() && !state.copy(&mut Verdict::undecided()));
        assert_eq!((state.begun_by(0), state.begun_by(7)), (None, None));

        assert!(state.begin(7, 3) && state.begun() && !state.decided());
        assert!(!state.begin(7, 4) && !state.begin(8, 4), "it is being decided");
        assert_eq!((state.begun_by(7), state.begun_by(8)), (Some(3), None));
        assert!(state.outcome().is_none() && state.verdict().is_none());

        assert!(!state.settle(), "nobody has given up");
        state.seal(&verdict);
        assert!(state.decided() && state.begun() && state.value() == 1);
        assert_eq!((state.begun_by(7), state.begun_by(5)), (None, None), "it is decided");
        assert_eq!(state.outcome(), Some((1, Origin::Setting as u8)));
        assert_eq!(state.order.load(Ordering::Relaxed), 0, "reserved once it is sealed");
        let mut copy = Verdict::undecided();
        assert!(state.copy(&mut copy));
        assert_eq!((copy.value(), copy.origin(), copy.data, copy.evidence()), (1, Origin::Setting, 5, "seen"));
        state.seal(&Verdict::undecided());
        assert_eq!(state.value(), 1, "for the rest of the process's life");
        assert!(!state.begin(7, 0));
        verdict.start(0, Origin::Failed);
        assert_eq!((verdict.value(), verdict.origin(), verdict.data, verdict.evidence()), (0, Origin::Failed, 0, ""));
    }

    /// A record that leads elsewhere leads to bytes that are something else's.
    #[test]
    fn only_blank_memory_is_begun() {
        for at in [0, 1, 2, 7, 8, 16, 255] {
            let mut bytes = [0u8; 256];
            bytes[at] = 1;
            // SAFETY: numbers alone.
            let state: State = unsafe { core::mem::transmute(bytes) };
            assert!(!state.begin(7, 0), "{at}");
        }
    }

    #[test]
    fn a_cycle_is_noted_by_whoever_decides() {
        let state = State::new();
        state.note_cycle(7, b"one");
        assert!(state.begin(7, 0), "nothing was noted");
        assert_eq!(state.cycle(7).as_str(), "");
        state.note_cycle(8, b"two");
        assert_eq!(state.cycle(7).as_str(), "");
        state.note_cycle(7, b"three");
        state.note_cycle(7, b"four");
        assert_eq!((state.cycle(7).as_str(), state.cycle(8).as_str()), ("four", ""));
    }

    #[test]
    fn values_and_origins_have_numbers_and_names() {
        assert_eq!([0, 1, 2, 255].map(bool::from_byte), [Some(false), Some(true), None, None]);
        assert_eq!((false.to_byte(), true.to_byte()), (0, 1));
        let origins = [0, 1, 2, 3, 4, 5, 255].map(|byte| Origin::from_byte(byte).name());
        assert_eq!(origins, ["probe", "failed", "adopted", "setting", "forced", "failed", "failed"]);
    }

    /// What the macro's probe makes of the program's.
    #[test]
    fn a_probe_says_what_it_saw_and_why_it_failed() {
        fn answer<const PROVES: u64>(probe: fn(&mut Evidence) -> Result<bool, &'static str>) -> Verdict {
            let mut verdict = Verdict::undecided();
            expansion::probe(&mut verdict, &Key::<bool, PROVES>::new(), probe);
            verdict
        }
        let said =
            |verdict: Verdict| (verdict.value(), verdict.origin(), std::string::String::from(verdict.evidence()));
        let seen = |evidence: &mut Evidence| {
            evidence.text("seen");
            Ok(true)
        };
        assert_eq!(said(answer::<0>(seen)), (1, Origin::Probe, "seen".into()));
        assert_eq!(said(answer::<0>(|_| Err("why"))), (0, Origin::Failed, "why".into()));
        let both = said(answer::<0>(|evidence| {
            evidence.text("seen");
            Err("why")
        }));
        assert_eq!(both, (0, Origin::Failed, "seen; why".into()));
        // No machine has all features that there are.
        assert_eq!(answer::<{ !CPU }>(|_| panic!("it is not asked")).value(), 0);
        let text = std::format!("{:?}", answer::<0>(seen));
        assert!(text.contains("Verdict") && text.contains("seen") && text.contains("Probe"), "{text}");
    }
}
