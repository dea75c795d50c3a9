//! How a key is declared: what the macros expand to, and the macros.
#![allow(unsafe_code)]

pub use crate::key::handle::SWITCH;
use crate::key::handle::{CPU, IsKey, Key, Value};
use crate::key::state::{Verdict, is_reserved};
use crate::symbol::features;
use crate::text::Evidence;
use invar_abi::{Origin, flags as record_flags};
use invar_arch as arch;

/// The features with which a key has this value, for one that depends on nothing else; 0 for any other.
pub const fn is_features<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, value: u8) -> u64 {
    if PROVES & CPU != 0 && value == 1 { PROVES & !CPU } else { 0 }
}

/// Fails to compile if this is no key, even if it leads to one, as a reference does: sites have its address.
pub const fn is_key<K: IsKey>(_: *const K) {}

/// The same, and if the value is not of the key's type.
pub const fn same_type<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, _: T) {}

/// Fails to compile for a switch, where what is chosen by a key is chosen once.
pub const fn stays<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>) {
    assert!(PROVES & SWITCH == 0, "a pointer is chosen once, and does not follow a switch: dispatch! does");
}

/// Whether it is a switch.
pub const fn is_switch<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>) -> bool {
    PROVES & SWITCH != 0
}

/// The least value that is not below this one. A key always has one that is not below its first.
pub const fn not_below<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, value: u8) -> u8 {
    assert!(value != 0, "no value stands before the first: this has one answer only");
    value
}

/// The least value above this one. A key has none above its last.
pub const fn above<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, value: u8) -> u8 {
    assert!(value as usize + 1 < T::NAMES.len(), "no value stands behind the last: this has one answer only");
    value + 1
}

/// How many values the key has.
pub const fn count<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>) -> u8 {
    T::NAMES.len() as u8
}

/// The key's value at this position.
pub const fn value_at<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, position: u8) -> T {
    assert!(size_of::<T>() == 1 && (position as usize) < T::NAMES.len());
    // SAFETY: `values!` makes types of one byte, whose values are these positions; `bool` is another. A type that was made by
    // hand may be refused by whoever evaluates this, which is done by the compiler alone.
    unsafe { core::mem::transmute_copy(&position) }
}

/// What a condition proves.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// These CPU features.
    Features(u64),
    /// Nothing: the key may have its first value.
    First,
}

/// What a condition proves that is none for a proof.
pub const NO_PROOF: Proof = Proof::Features(0);

/// What it proves that the key has this value, or any higher one.
pub const fn proof<T: Value, const PROVES: u64>(_: *const Key<T, PROVES>, value: u8) -> Proof {
    if value == 0 { Proof::First } else { Proof::Features(PROVES & !(CPU | SWITCH)) }
}

/// Fails to compile if conditions that hold together do not prove these features.
pub const fn prove(proofs: &[Proof], features: &str) {
    let (mut proved, mut first, mut at) = (0, false, 0);
    while at < proofs.len() {
        match proofs[at] {
            Proof::Features(features) => proved |= features,
            Proof::First => first = true,
        }
        at += 1;
    }
    if let Some(missing) = arch::first_missing(features, proved) {
        assert!(!first, "a key's first value proves nothing: no variant that needs CPU features can be its");
        arch::Message::new("this key does not prove the CPU feature `")
            .and(missing)
            .and(b"` that the variant needs: name it in the key's `requires`, or take a `cpu` key that proves it")
            .panic()
    }
}

/// The flags of a key's record.
pub const fn flags<T: Value, const PROVES: u64>(key: &Key<T, PROVES>, slice: bool) -> u8 {
    (if key.proves() == 0 { 0 } else { record_flags::PROVES })
        | (if PROVES & SWITCH == 0 { 0 } else { record_flags::SWITCH })
        | (if slice { record_flags::SLICE } else { 0 })
}

/// The flags of a symbol's key.
pub const SYMBOL: u8 = record_flags::SYMBOL;

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
        flags & record_flags::OWN != 0 || !is_reserved_first(&names),
        "`slice`, `slice.*` and `cpu.*` are names of invar's own keys: give this key another by #[name = \"...\"]"
    );
    names
}

const fn is_reserved_first(names: &[u8]) -> bool {
    let mut end = 0;
    while names[end] != 0 {
        end += 1;
    }
    is_reserved(names.split_at(end).0)
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

pub use crate::key::record::*;
pub use crate::key::state::RawProbe;

/// Runs a key's probe.
pub fn probe<T: Value, const PROVES: u64>(
    verdict: &mut Verdict,
    _: &Key<T, PROVES>,
    probe: fn(&mut Evidence) -> Result<T, &'static str>,
) {
    if !features::proves(PROVES & !SWITCH, &mut verdict.evidence) {
        return;
    }
    match probe(&mut verdict.evidence) {
        Ok(value) => verdict.value = value.to_byte(),
        Err(reason) => fail(verdict, reason),
    }
}

/// The probe could not tell.
pub(crate) fn fail(verdict: &mut Verdict, reason: &str) {
    verdict.origin = Origin::Failed as u8;
    if !verdict.evidence.as_bytes().is_empty() {
        verdict.evidence.text("; ");
    }
    verdict.evidence.text(reason);
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

/// Declares a switch: a [`key!`](crate::key!) that may be set again when all is loaded, by [`Key::set`].
///
/// Its probe says with which value it begins. Sites are bound as those of any key; setting it exchanges the pages of code in which
/// its sites are. In C it is `INVAR_SWITCH`. A value that only costs something while it is looked at, as whether to log, is one for
/// a switch; what cannot change is one for a key, whose value other code may rely on.
///
/// ```
/// invar::switch! {
///     /// Whether each request is written down.
///     pub static TRACE: bool = |_| Ok(std::env::var_os("TRACE").is_some());
/// }
///
/// if invar::branch!(TRACE) {
///     println!("traced");
/// }
/// ```
///
/// Everything that [`key!`](crate::key!) says of names, values, probes and settings holds for switches, but that no
/// `#[requires(...)]` may stand there: a variant that needs features of the CPU needs a key that cannot change.
#[cfg(feature = "switch")]
#[macro_export]
macro_rules! switch {
    ($($declaration:tt)*) => {
        $crate::__key! { [] [| $crate::__private::SWITCH] [false] [] [] $($declaration)* }
    };
}

/// Sorts a key's attributes into name, required features, whether slice sites may depend on it (for measurements;
/// not part of the interface), conditions, and the rest, then declares it.
#[doc(hidden)]
#[macro_export]
macro_rules! __key {
    ([] $requires:tt $slice:tt $cfg:tt $rest:tt #[name = $name:literal] $($more:tt)*) => {
        $crate::__key! { [$name] $requires $slice $cfg $rest $($more)* }
    };
    ($name:tt [| $crate::__private::SWITCH] $slice:tt $cfg:tt $rest:tt #[requires($features:literal)] $($more:tt)*) => {
        ::core::compile_error!("a switch proves no CPU features, as it can be set to any value: declare a key! with #[requires]");
    };
    ($name:tt [] $slice:tt $cfg:tt $rest:tt #[requires($features:literal)] $($more:tt)*) => {
        $crate::__key! { $name [| $crate::__private::feature_mask($features)] $slice $cfg $rest $($more)* }
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
    ([$($name:literal)?] [$($proves:tt)*] [$slice:literal] [$($cfg:tt)*] [$($meta:tt)*]
        $vis:vis static $key:ident: $type:ty = $probe:expr;
    ) => {
        $($cfg)*
        $($meta)*
        $vis static $key: $crate::Key<$type, { 0 $($proves)* }> = {
            // Items are not hygienic: their names are none that a program would have.
            extern "C" fn __invar_probe(verdict: &mut $crate::Verdict, _: &$crate::__private::KeyRecord) {
                // SAFETY: the probe below, of the key above.
                unsafe {
                    $crate::__key_record!($crate::__name!([$($name)?] $key), $key, $type, __invar_probe, $crate::__private::flags(&$key, $slice));
                }
                $crate::__private::probe(verdict, &$key, $probe);
            }
            $crate::Key::declared($crate::__declared!(
                $crate::__name!([$($name)?] $key), $key, $type, __invar_probe, $crate::__private::flags(&$key, $slice)
            ))
        };
    };
}

/// The key of a choice between variants, of this name, with its values' names, the first one's first; and its type. Items are not
/// hygienic: whoever calls this has both, and has its probe.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_of_variants {
    ([$($sort:tt)*] $name:expr; $($names:expr),+) => {
        #[derive(Clone, Copy, PartialEq)]
        struct __InvarVariant(u8);
        impl $crate::Value for __InvarVariant {
            const NAMES: &'static [&'static str] = &[$($names),+];
            const BY_MACRO: $crate::__private::ByMacro = $crate::__private::ByMacro;
            fn to_byte(self) -> u8 {
                self.0
            }
            fn from_byte(byte: u8) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(Self(byte))
            }
        }
        static __INVAR_KEY: $crate::Key<__InvarVariant> = $crate::Key::declared($crate::__declared!(
            $($sort)* $name, __INVAR_KEY, __InvarVariant, __invar_probe, $crate::__private::SYMBOL
        ));
    };
}

/// What the macros take for a key's name: what its declaration gives, or the default.
#[doc(hidden)]
#[macro_export]
macro_rules! __name {
    ([] $key:ident) => {
        $crate::__private::Name::Default {
            package: ::core::option_env!("CARGO_PKG_NAME"),
            path: ::core::module_path!(),
            identifier: ::core::stringify!($key),
        }
    };
    ([$name:expr] $key:ident) => {
        $crate::__private::Name::Given($name)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_numbers() {
        assert_eq!([0, 1, 2, 255].map(bool::from_byte), [Some(false), Some(true), None, None]);
        assert_eq!((false.to_byte(), true.to_byte()), (0, 1));
    }

    #[test]
    fn names_are_those_of_package_modules_and_static() {
        let named = |name| {
            let mut text = std::vec![0; names_length::<bool>(name)];
            assert_eq!(write_names::<bool>(&mut text, name), text.len());
            let text = std::string::String::from_utf8(text).expect("text");
            std::string::String::from(text.strip_suffix("\0off\0on\0").expect("the values behind it"))
        };
        for given in ["a", "Ab.c-1", "a:b", "a::B", "xr#y", "ar#"] {
            assert_eq!(named(Name::Given(given)), given);
        }
        assert_eq!(named(Name::Given("r#Fast")), "Fast");
        for (package, path, identifier, name) in [
            (Some("My-pack"), "my_pack", "KEY", "My-pack.key"),
            (Some("my-pack"), "other::Deep::r#mod", "r#Key", "my-pack.deep.mod.key"),
            (None, "Krate", "A", "Krate.a"),
            (None, "r#Krate::xr#b::c", "A", "Krate.xr#b.c.a"),
        ] {
            assert_eq!(named(Name::Default { package, path, identifier }), name);
        }
        let mut short = [b'?'; 3];
        assert_eq!((append(&mut short, 1, b"abc", false), &short), (4, b"?ab"), "what fits");
        assert_eq!(names::<bool, 9>(Name::Given("s"), 0), *b"s\0off\0on\0");
        assert_eq!(names::<bool, 13>(Name::Given("slice"), record_flags::OWN), *b"slice\0off\0on\0");
    }

    #[test]
    fn reserved_names_are_refused() {
        let is_refused = |names: &[u8]| is_reserved_first(names);
        let all: [&[u8]; 4] = [b"slice\0off\0", b"slice.x\0off\0", b"cpu.x\0off\0", b"cpu.\0"];
        assert!(all.into_iter().all(is_refused));
        let others: [&[u8]; 5] = [b"slices\0off\0", b"cpu\0off\0", b"other\0cpu.x\0", b"a.slice\0", b"\0slice\0"];
        assert!(!others.into_iter().any(is_refused));
    }

    #[test]
    fn flags_say_what_a_key_is_for() {
        let (proves, slice) = (record_flags::PROVES, record_flags::SLICE);
        let (plain, proving) = (Key::<bool, 0>::new(), Key::<bool, { CPU | 1 }>::new());
        let all = [flags(&plain, false), flags(&proving, false), flags(&proving, true), flags(&plain, true)];
        assert_eq!(all, [0, proves, proves | slice, slice]);
        assert_eq!(flags(&Key::<bool, SWITCH>::new(), false), record_flags::SWITCH);
        assert_eq!([0, 1, 2].map(|value| is_features(&Key::<bool, { CPU | 6 }>::new(), value)), [0, 6, 0]);
        assert_eq!([0, 1].map(|value| is_features(&Key::<bool, 6>::new(), value)), [0; 2], "it may depend on more");
    }

    /// What the macro's probe makes of the program's.
    #[test]
    fn a_probe_says_what_it_saw_and_why_it_failed() {
        fn answer<const PROVES: u64>(probe: fn(&mut Evidence) -> Result<bool, &'static str>) -> Verdict {
            let mut verdict = Verdict::undecided();
            super::probe(&mut verdict, &Key::<bool, PROVES>::new(), probe);
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
