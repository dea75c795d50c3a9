//! Symbols that the loader binds once: C functions with one variant for each value of some keys.
//!
//! A resolver runs before its module is relocated, before constructors and, in a static program, before there is a thread
//! pointer. All that it calls is in this file, in `environ`, in [`reader`](crate::settings::reader), and in `arch`: system calls and
//! `cpuid`. It calls no function of libc's, and does nothing for which the compiler would call one, such as to compare slices, or to
//! clear or copy many bytes.
#![allow(unsafe_code)]

mod declare;
#[cfg_attr(invar_elsewhere, path = "../elsewhere/environ.rs")]
mod environ;
pub(crate) mod features;

use crate::key::state::Verdict;
use crate::settings::reader::{Mode, Reader, Said, pair, same};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use environ::{each_byte, is_secure};
use invar_arch::{self as arch, AtomicU64};

/// What [`ifunc!`](crate::ifunc!) expands to, and nobody else should use.
#[doc(hidden)]
pub(crate) mod expansion {
    use super::*;

    /// What an arm depends on: a key of the CPU's features, these, and its name. It has no pointers: they would not be relocated yet.
    #[derive(Debug)]
    pub struct Condition {
        pub(super) needs: u64,
        /// The key's name without `cpu.`, and zeros behind it.
        pub(super) name: [u8; arch::CPU_KEY_NAME],
    }

    impl Condition {
        /// One on the built-in key of these features; one that never holds if there are none.
        const fn new(features: u64) -> Self {
            match features {
                0 => Self { needs: u64::MAX, name: [0; arch::CPU_KEY_NAME] },
                _ => Self { needs: features, name: arch::cpu_key_name(features) },
            }
        }
    }

    /// The conditions of all arms, one behind the other, and how many each arm has.
    #[derive(Debug)]
    pub struct Arms<const CONDITIONS: usize, const ARMS: usize> {
        conditions: [Condition; CONDITIONS],
        lengths: [u8; ARMS],
    }

    impl<const CONDITIONS: usize, const ARMS: usize> Arms<CONDITIONS, ARMS> {
        /// Of keys with these features.
        pub const fn new(features: [u64; CONDITIONS], lengths: [u8; ARMS]) -> Self {
            assert!(CONDITIONS <= 64, "ifunc! has 64 conditions at most");
            // One more than the last arm's number has room in the byte that says which was chosen, and is a value of the key.
            assert!(ARMS <= 62, "ifunc! has 62 arms at most");
            let mut conditions = [const { Condition::new(0) }; CONDITIONS];
            let mut at = 0;
            while at < CONDITIONS {
                conditions[at] = Condition::new(features[at]);
                at += 1;
            }
            Self { conditions, lengths }
        }

        /// The same, of any number.
        pub const fn all(&self) -> AllArms<'_> {
            AllArms { conditions: &self.conditions, lengths: &self.lengths }
        }
    }

    /// The arms of one symbol.
    #[derive(Clone, Copy, Debug)]
    pub struct AllArms<'a> {
        pub(super) conditions: &'a [Condition],
        pub(super) lengths: &'a [u8],
    }

    /// What was chosen for one symbol: 0 for nothing yet, else one more than the arm's number, and why.
    #[derive(Debug)]
    pub struct Chosen(pub(super) AtomicU8);

    impl Chosen {
        /// Nothing yet.
        #[allow(clippy::new_without_default)]
        pub const fn new() -> Self {
            Self(AtomicU8::new(0))
        }
    }

    /// The number of the arm that a resolver with these arguments takes, the same at every call; beyond all for the last.
    pub fn choose(chosen: &Chosen, arms: AllArms<'_>, arguments: Option<&[usize; 2]>) -> u8 {
        let known = chosen.0.load(Relaxed);
        let choice = if known == 0 { look(arms, arguments) } else { known };
        chosen.0.store(choice, Relaxed);
        (choice & ARM) - 1
    }

    /// Says to which variant a symbol is bound, and whether its keys would have it so.
    pub fn probe_symbol(verdict: &mut Verdict, ifunc: bool, chosen: &Chosen, arms: AllArms<'_>, by_keys: u8) {
        let arm = if ifunc { choose(chosen, arms, None) } else { by_keys };
        let why = chosen.0.load(Relaxed);
        verdict.value = arms.lengths.len() as u8 - arm;
        let evidence = &mut verdict.evidence;
        evidence.text(match (ifunc, arch::IFUNC) {
            (true, _) => "an IFUNC symbol, by ",
            (false, false) => "an ordinary symbol, as there is no IFUNC here",
            (false, true) => "an ordinary symbol, as not all of its keys are the CPU's",
        });
        if ifunc {
            evidence.text(arch::FEATURE_SOURCE);
        }
        if why & LOWERED != 0 {
            evidence.text("; lowered by INVAR or INVAR_KEYS");
        }
        if why & UNREADABLE != 0 {
            evidence.text("; /proc/self/environ cannot be read: without settings");
        }
        if arm != by_keys {
            evidence.text("; its keys were decided otherwise, after the loader had bound it");
        }
    }
}

use expansion::{AllArms, Condition};

// What `Chosen` has.
const ARM: u8 = 0x3f;
const LOWERED: u8 = 0x40;
const UNREADABLE: u8 = 0x80;

/// The facts that this module knows: the CPU's features, that the CPU was asked, and that there are no settings.
static FACTS: AtomicU64 = AtomicU64::new(0);
const ASKED: u64 = 1 << 63;
const NO_SETTINGS: u64 = 1 << 62;

#[cold]
fn look(arms: AllArms<'_>, arguments: Option<&[usize; 2]>) -> u8 {
    let mut facts = FACTS.load(Relaxed);
    if facts & ASKED == 0 {
        facts |= ASKED | arch::cpu_features_for_resolvers(arguments);
    }
    let mut settings = SymbolSettings { off: false, lowered: 0, found: false, unreadable: false };
    if facts & NO_SETTINGS == 0 {
        settings.read(arms.conditions);
        if !settings.found && !settings.unreadable {
            facts |= NO_SETTINGS;
        }
    }
    FACTS.store(facts, Relaxed);
    first_that_holds(arms, facts, &settings)
}

/// One more than the number of the first arm that holds by these facts and settings, and why.
#[inline(always)] // called once
fn first_that_holds(arms: AllArms<'_>, facts: u64, settings: &SymbolSettings) -> u8 {
    let (mut number, mut why, mut at) = (1, 0, 0);
    for &length in arms.lengths {
        let (mut is_there, mut is_lowered) = (true, settings.off);
        for _ in 0..length {
            is_there &= arms.conditions.get(at).is_some_and(|condition| condition.needs & !facts == 0);
            is_lowered |= settings.lowered >> at & 1 != 0;
            at += 1;
        }
        if is_there {
            if !is_lowered {
                break;
            }
            why = LOWERED;
        }
        number += 1;
    }
    number | why | if settings.unreadable { UNREADABLE } else { 0 }
}

/// The settings of some conditions' keys, as [`crate::settings`] has them; read by system calls, and byte by byte.
struct SymbolSettings {
    off: bool,
    /// A bit for each condition.
    lowered: u64,
    found: bool,
    unreadable: bool,
}

/// The beginning of a word: enough of it to tell words apart.
struct Word<'a> {
    bytes: &'a mut MaybeUninit<[u8; WORD]>,
    length: usize,
}

const WORD: usize = 64;
// Whatever is longer is cut, and none of these.
const _: () = assert!(CPU.len() + arch::CPU_KEY_NAME + b"=off".len() < WORD);

/// What the names of keys of the CPU's features begin with.
const CPU: &[u8] = b"cpu.";

impl SymbolSettings {
    fn read(&mut self, conditions: &[Condition]) {
        // Not a part of the word, into which it would be copied.
        let mut bytes = MaybeUninit::uninit();
        let mut word = Word { bytes: &mut bytes, length: 0 };
        let mut reader = Reader::new();
        match each_byte(b"/proc/self/environ\0", |byte| {
            self.take(byte, &mut reader, &mut word, conditions);
            true
        }) {
            true if self.off || self.lowered != 0 => {
                if is_secure() {
                    (self.off, self.lowered) = (false, 0);
                }
            }
            true => {}
            false => self.unreadable = true,
        }
    }

    fn take(&mut self, byte: u8, reader: &mut Reader, word: &mut Word<'_>, conditions: &[Condition]) {
        if !reader.ends(byte) {
            return word.push(byte);
        }
        if let Some(said) = reader.take(word.read(), byte) {
            self.hear(said, conditions);
        }
        word.length = 0;
    }

    fn hear(&mut self, said: Said<'_>, conditions: &[Condition]) {
        self.found = true;
        match said {
            Said::Mode(Some(mode)) => self.off = mode == Mode::Off,
            Said::Mode(None) => {}
            Said::Entry { entry, first } => {
                if first {
                    self.lowered = 0;
                }
                let Some((key, value)) = pair(entry) else { return };
                for (at, condition) in conditions.iter().enumerate() {
                    if condition.is_of(key) {
                        let off = same(value, b"off");
                        self.lowered = self.lowered & !(1 << at) | u64::from(off) << at;
                    }
                }
            }
        }
    }
}

impl Condition {
    /// Whether this is its key's name.
    fn is_of(&self, key: &[u8]) -> bool {
        let mut length = 0;
        while length < self.name.len() && self.name[length] != 0 {
            length += 1;
        }
        match (key.get(..CPU.len()), key.get(CPU.len()..), self.name.get(..length)) {
            (Some(first), Some(rest), Some(name)) => same(first, CPU) && same(rest, name),
            _ => false,
        }
    }
}

impl Word<'_> {
    fn push(&mut self, byte: u8) {
        if self.length < WORD {
            // SAFETY: in bounds.
            unsafe { self.bytes.as_mut_ptr().cast::<u8>().add(self.length).write(byte) };
            self.length += 1;
        }
    }

    fn read(&self) -> &[u8] {
        // SAFETY: so many were pushed.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::expansion::{Arms, Chosen, choose, probe_symbol};
    use super::*;
    use std::vec::Vec;

    /// A condition on a key of this name.
    fn on(needs: u64, name: &str) -> Condition {
        let mut condition = Condition { needs, name: [0; arch::CPU_KEY_NAME] };
        condition.name[..name.len()].copy_from_slice(name.as_bytes());
        condition
    }

    /// An arm for each condition.
    fn each(conditions: &[Condition]) -> AllArms<'_> {
        AllArms { conditions, lengths: &[1; 64][..conditions.len()] }
    }

    const NONE: SymbolSettings = SymbolSettings { off: false, lowered: 0, found: false, unreadable: false };

    /// What an environment says of two keys.
    fn read(environment: &str) -> SymbolSettings {
        let conditions = [on(0, "fast"), on(0, "wide-2")];
        let (mut settings, mut bytes, mut reader) = (NONE, MaybeUninit::uninit(), Reader::new());
        let mut word = Word { bytes: &mut bytes, length: 0 };
        environment.bytes().for_each(|byte| settings.take(byte, &mut reader, &mut word, &conditions));
        settings
    }

    /// As the runtime reads them ([`crate::settings`]).
    #[test]
    fn environments_are_read_byte_by_byte() {
        for &(environment, off, lowered) in crate::settings::reader::tests::ENVIRONMENTS {
            let settings = read(environment);
            assert_eq!((settings.off, settings.lowered), (off, lowered), "{environment:?}");
            assert!(settings.found || !off && lowered == 0, "{environment:?}");
        }
        for nothing in ["", "A=INVAR=off\0", "INVAR\0", "INVAR=\0INVAR_KEYS=\0", "INVAR=off"] {
            assert!(!read(nothing).found, "{nothing:?}");
        }
    }

    #[test]
    fn of_a_word_only_the_beginning_is_kept() {
        let mut bytes = MaybeUninit::uninit();
        let mut word = Word { bytes: &mut bytes, length: 0 };
        assert_eq!(word.read(), b"");
        (0..WORD as u8 + 9).for_each(|byte| word.push(byte));
        let all: Vec<u8> = (0..WORD as u8).collect();
        assert_eq!(word.read(), all);
    }

    #[test]
    fn a_condition_knows_its_key() {
        let (fast, full) = (on(0, "fast"), on(0, "a-name-of-the-most-bytes"));
        assert!(fast.is_of(b"cpu.fast") && full.is_of(b"cpu.a-name-of-the-most-bytes"));
        for other in [&b""[..], b"cpu", b"cpu.", b"fast", b"cpu.fas", b"cpu.faster", b"cpu.fast\0", b"cpx.fast"] {
            assert!(!fast.is_of(other) && !full.is_of(other), "{other:?}");
        }
    }

    #[test]
    fn the_first_arm_that_holds_is_taken() {
        let conditions = [on(0b11, "a"), on(0b01, "b"), on(u64::MAX, "c")];
        let lowered = |lowered| SymbolSettings { lowered, ..NONE };
        for (facts, settings, first) in [
            (0b11, NONE, 1),
            (0b01, NONE, 2),
            (0b10, NONE, 4),
            (0b111, lowered(0b001), 2 | LOWERED),
            (0b111, lowered(0b011), 4 | LOWERED),
            (0b111, lowered(0b010), 1),
            (0b01, lowered(0b001), 2),
            (0b11, SymbolSettings { off: true, ..NONE }, 4 | LOWERED),
            (0b00, SymbolSettings { off: true, ..NONE }, 4),
            (0b11, SymbolSettings { unreadable: true, ..NONE }, 1 | UNREADABLE),
        ] {
            let found = first_that_holds(each(&conditions), facts, &settings);
            assert_eq!(found, first, "{facts:b} {}", settings.lowered);
        }
        let arms = Arms::<1, 1>::new([0], [1]);
        assert_eq!(first_that_holds(arms.all(), u64::MAX >> 1, &NONE), 2, "a condition that is none of the CPU's");
    }

    #[test]
    fn an_arm_holds_where_all_its_conditions_do() {
        let conditions = [on(0b001, "a"), on(0b010, "b"), on(0b100, "c"), on(0b001, "a")];
        let arms = AllArms { conditions: &conditions, lengths: &[2, 1, 1] };
        let lowered = |lowered| SymbolSettings { lowered, ..NONE };
        for (facts, settings, first) in [
            (0b111, NONE, 1),
            (0b101, NONE, 2),
            (0b110, NONE, 2),
            (0b010, NONE, 4),
            (0b001, NONE, 3),
            (0b111, lowered(0b0010), 2 | LOWERED),
            (0b111, lowered(0b1001), 2 | LOWERED),
            (0b011, lowered(0b1001), 4 | LOWERED),
            (0b111, lowered(0b0100), 1),
            (0b011, lowered(0b0100), 1),
            (0b001, lowered(0b0010), 3),
        ] {
            assert_eq!(first_that_holds(arms, facts, &settings), first, "{facts:b} {}", settings.lowered);
        }
    }

    #[test]
    fn a_choice_stays() {
        let chosen = Chosen::new();
        // No CPU has all features that there could be, and each has none.
        let conditions = [on(u64::MAX >> 2, "a"), on(0, "b")];
        assert_eq!((choose(&chosen, each(&conditions), None), chosen.0.load(Relaxed) & ARM), (1, 2));
        assert_ne!(FACTS.load(Relaxed) & ASKED, 0);
        assert_eq!(choose(&chosen, each(&[on(0, "c")]), None), 1, "the same at every call");
        chosen.0.store(1 | LOWERED | UNREADABLE, Relaxed);
        assert_eq!(choose(&chosen, each(&conditions), None), 0);
    }

    #[test]
    fn what_a_symbol_is_bound_to_is_said() {
        let conditions = [on(0, "a"), on(0, "b")];
        let said = |ifunc, chosen, by_keys| {
            let mut verdict = Verdict::undecided();
            probe_symbol(&mut verdict, ifunc, &Chosen(AtomicU8::new(chosen)), each(&conditions), by_keys);
            (verdict.value(), std::string::String::from(verdict.evidence()))
        };
        let by = std::format!("an IFUNC symbol, by {}", arch::FEATURE_SOURCE);
        assert_eq!(said(true, 1, 0), (2, by.clone()));
        assert_eq!(said(true, 3, 2), (0, by.clone()));
        assert_eq!(said(true, 2 | LOWERED, 1), (1, by.clone() + "; lowered by INVAR or INVAR_KEYS"));
        let unreadable = "; /proc/self/environ cannot be read: without settings";
        let otherwise = "; its keys were decided otherwise, after the loader had bound it";
        assert_eq!(said(true, 1 | UNREADABLE, 2), (2, by + unreadable + otherwise));
        let why = if arch::IFUNC { "not all of its keys are the CPU's" } else { "there is no IFUNC here" };
        assert_eq!(said(false, 0, 1), (1, std::format!("an ordinary symbol, as {why}")));
    }

    #[test]
    fn files_are_read_to_their_end_or_until_it_is_enough() {
        let program = std::fs::read("/proc/self/exe").expect("the program");
        let part = &program[..5000];
        let path = std::env::temp_dir().join(std::format!("invar-symbol-{}", std::process::id()));
        std::fs::write(&path, part).expect("a file");
        let name = std::format!("{}\0", path.display());
        let read = |most: usize| {
            let mut bytes = Vec::new();
            let readable = each_byte(name.as_bytes(), |byte| {
                bytes.push(byte);
                bytes.len() < most
            });
            (readable, bytes)
        };
        let (all, some) = (read(usize::MAX), read(2050));
        let open = std::fs::read_dir("/proc/self/fd").expect("files");
        let stays = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).any(|open| open == path);
        std::fs::remove_file(&path).expect("a file");
        assert_eq!(all, (true, part.to_vec()));
        assert_eq!(some, (true, part[..2050].to_vec()));
        assert!(!stays, "it is closed");
        assert!(!each_byte(b"/nowhere/at/all\0", |_| true) && !each_byte(b"/\0", |_| true));
    }

    #[test]
    fn raised_privileges_are_seen() {
        assert_eq!(is_secure(), crate::sys::auxiliary(libc::AT_SECURE) != 0);
    }
}
