//! Settings: one prefix, one table, read once from the environment when a module is loaded.
//!
//! They can only lower: turn a key off, or choose a value that its probe allows. Programs that run with raised
//! privileges (`AT_SECURE`) ignore them.
//!
//! What is misspelt is ignored and gets a line, once in a process: the first module to be loaded looks through all
//! settings, with the keys of all modules that are there by then.
#![allow(unsafe_code)]

pub(crate) mod reader;

use crate::bind::writer::{Wish, Writer};
use crate::module::{self, Module};
use crate::sys;
use crate::text::number;
#[cfg(any(feature = "report", feature = "profile"))]
use crate::text::{Sink, Text};
use core::ffi::{CStr, c_char};
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::flags;
use invar_abi::outcome::said;
use invar_arch as arch;
pub(crate) use reader::Mode;
use reader::{MODES, NAMES, Reader, Said, name_length, place, place_between};

/// What the environment says.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) mode: Mode,
    pub(crate) writer: Wish,
    pub(crate) report: Option<&'a CStr>,
    pub(crate) help: bool,
    pub(crate) guard: bool,
    keys: &'a [u8],
    voice: Voice,
}

/// Whether what is misspelt is said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    Silent,
    /// Unless another module has said it.
    Asks,
    Loud,
}

/// Exit code of a process that `INVAR=require` ends: `EX_CONFIG` of `<sysexits.h>`.
pub const EXIT_REQUIRED: i32 = 78;

/// The settings table: name, values, meaning.
pub const SETTINGS: &[(&str, &str, &str)] = &[
    (
        "INVAR",
        "off|auto|require",
        "off: decide and bind nothing; require: exit with 78 if a site or its extension is missing [auto]",
    ),
    (
        "INVAR_KEYS",
        "KEY=VALUE,...",
        "choose a value that the key's probe allows, as slice=off, or a lower number; slice=force binds it for measurements",
    ),
    ("INVAR_WRITER", "auto|swap|memfd|mprotect|off", "how code is written; off: sites stay in checked form [auto]"),
    (
        "INVAR_REPORT",
        "stderr|FILE",
        "list keys, sites and reasons at load; FILE, a path with / . or % in it, is appended to; %p is the process",
    ),
    #[cfg(feature = "profile")]
    (
        "INVAR_SLICE",
        "off|count|profile",
        "count slice requests, grants, yields and losses; profile: of each site too. Slice sites stay in checked form [off]",
    ),
    #[cfg(feature = "profile")]
    (
        "INVAR_PROFILE",
        "FILE",
        "where INVAR_SLICE counts; %p in it is the process, and no file is overwritten [profile: invar-%p.profile]",
    ),
    (
        "INVAR_GUARD",
        "0|1",
        "1: if the time slice key is on, a seccomp filter refuses to switch slices off, for good; no and off are 0 [0]",
    ),
    ("INVAR_HELP", "0|1", "1: print this table at load, and go on; no and off are 0 [0]"),
];

/// What the names of all settings begin with.
const PREFIX: &[u8; 5] = b"INVAR";

// The words that settings have. As bytes: strings would have to be relocated, in every module.
const WRITERS: &[u8] = b"off auto swap memfd mprotect";
/// What those mean.
const WISHES: [Wish; 5] =
    [Wish::None, Wish::Any, Wish::Only(Writer::Swap), Wish::Only(Writer::Memfd), Wish::Only(Writer::Mprotect)];
const SWITCH: &[u8] = b"0 1";
/// What a switch may have as well, where it is not on.
const OFF: &[u8] = b"no off";
const COUNTING: &[u8] = b"off count profile";
#[cfg(feature = "profile")]
const PROFILE: u8 = 2;

impl Settings<'static> {
    /// What the environment says; while a module is loaded also what is misspelt in it.
    #[cold]
    pub(crate) fn from_environment(loud: bool) -> Self {
        let mut settings = Self { voice: if loud { Voice::Asks } else { Voice::Silent }, ..Self::of_keys(b"") };
        if sys::auxiliary(libc::AT_SECURE) == 0 {
            for variable in environment() {
                settings.take(variable, &mut sys::complain);
            }
        }
        settings
    }
}

impl<'a> Settings<'a> {
    /// As they are with this in `INVAR_KEYS`, and with nothing else.
    pub(crate) fn of_keys(keys: &'a [u8]) -> Self {
        let voice = Voice::Silent;
        Self { mode: Mode::Auto, writer: Wish::Any, report: None, help: false, guard: false, keys, voice }
    }

    /// What these variables say; `say` gets what is misspelt in them.
    #[cfg(feature = "fuzz")]
    pub(crate) fn of_variables(variables: impl Iterator<Item = &'a CStr>, say: &mut impl FnMut(&[&[u8]])) -> Self {
        let mut settings = Self { voice: Voice::Loud, ..Self::of_keys(b"") };
        variables.for_each(|variable| settings.take(variable, say));
        settings
    }

    /// Looks at each entry of `INVAR_KEYS`; `say` gets what is misspelt in them.
    #[cfg(feature = "fuzz")]
    pub(crate) fn check_keys(&self, say: &mut impl FnMut(&[&[u8]])) {
        reader::entries(self.keys).for_each(|entry| check_key(entry, say));
    }

    /// The value that `INVAR_KEYS` names for this key; the last one counts.
    #[cold]
    pub(crate) fn key(&self, name: &[u8]) -> Option<&'a [u8]> {
        reader::value_of(self.keys, name)
    }

    #[cold]
    fn take(&mut self, variable: &'a CStr, say: &mut impl FnMut(&[&[u8]])) {
        if let Err([variable, why, values]) = self.heed(variable) {
            misspelt(&mut self.voice, say, variable, why, values);
        }
    }

    /// Takes what a variable says; an error if it is misspelt: what is to be said of it, why, and what there is in its place.
    fn heed(&mut self, variable: &'a CStr) -> Result<(), [&'a [u8]; 3]> {
        let bytes = variable.to_bytes();
        let Some(length) = name_length(bytes) else { return Ok(()) };
        let (name, value) = (&bytes[..length], &bytes[length + 1..]);
        if value.is_empty() {
            return Ok(());
        }
        // By the first entry: the others are read when a key is looked for.
        match reader::Words::new(Reader::new(), bytes).next() {
            Some(Said::Mode(Some(mode))) => self.mode = mode,
            Some(Said::Mode(None)) => return Err([bytes, VALUES, MODES]),
            Some(Said::Entry { .. }) => self.keys = value,
            None => {}
        }
        let setting = place(name, NAMES);
        // None of those that have other values than a few words.
        let words = match setting {
            Some(2) => WRITERS,
            Some(4 | 5) => SWITCH,
            Some(6) => COUNTING,
            _ => b"",
        };
        let word = match place(value, words) {
            None if matches!(setting, Some(4 | 5)) && place(value, OFF).is_some() => Some(0),
            None if !words.is_empty() => return Err([bytes, VALUES, words]),
            word => word,
        };
        match (setting, word) {
            (Some(2), word) => self.writer = word.and_then(|word| WISHES.get(word)).copied().unwrap_or(self.writer),
            // A word alone is misspelt, or meant as a switch.
            (Some(3), _) if value != b"stderr" && !value.iter().any(|byte| b"/.%".contains(byte)) => {
                return Err([bytes, b"a file of this name is ./", value]);
            }
            // SAFETY: behind `INVAR_REPORT=`, in the same string.
            (Some(3), _) => self.report = Some(unsafe { CStr::from_ptr(value.as_ptr().cast()) }),
            (Some(4), on) => self.guard = on == Some(1),
            (Some(5), on) => self.help = on == Some(1),
            // The first two are as the reader has them, the last two for the probe of their key.
            (Some(_), _) => {}
            // INVARIANT is somebody else's; the others are for the tests of this project. What else there is may be as
            // well, and a secret: without its value.
            (None, _) => {
                let others = [b"INVAR_TEST_" as &[u8], b"INVAR_GUEST_"];
                if bytes.starts_with(b"INVAR_") && !others.iter().any(|prefix| bytes.starts_with(prefix)) {
                    return Err([name, b"there are only ", NAMES]);
                }
            }
        }
        Ok(())
    }

    /// Says once in a process what `INVAR_KEYS` names that no module has so far, and prints the table if that is wanted: a
    /// module without the feature `report` leaves the table to others.
    #[cold]
    pub(crate) fn check(&self, own: &Module<'_>) {
        #[cfg(feature = "report")]
        if self.help {
            if is_first_to_say(said::HELP) {
                sys::print(None, &TABLE);
            }
            own.outcome.said.fetch_or(said::HELP, Relaxed);
        }
        if !self.keys.is_empty() {
            if is_first_to_say(said::KEYS) {
                reader::entries(self.keys).for_each(|entry| check_key(entry, &mut sys::complain));
            }
            own.outcome.said.fetch_or(said::KEYS, Relaxed);
        }
        own.outcome.said.fetch_or(said::VARIABLES, Relaxed);
    }
}

/// What `INVAR_HELP` asks for: the table as text. Made by the compiler: strings by their addresses would have to be relocated.
#[cfg(feature = "report")]
static TABLE: [u8; table_length()] = table();

#[cfg(feature = "report")]
const fn table_length() -> usize {
    write_table(&mut [])
}

#[cfg(feature = "report")]
const fn table() -> [u8; table_length()] {
    let mut text = [0; table_length()];
    write_table(&mut text);
    text
}

/// Writes as much of the table as there is room for; returns how long all of it is.
#[cfg(feature = "report")]
const fn write_table(text: &mut [u8]) -> usize {
    let (mut end, mut at) = (0, 0);
    while at < SETTINGS.len() {
        let (name, values, meaning) = SETTINGS[at];
        let parts = [name, "=", values, "\n    ", meaning, "\n"];
        let mut part = 0;
        while part < parts.len() {
            let bytes = parts[part].as_bytes();
            let mut byte = 0;
            while byte < bytes.len() {
                if end < text.len() {
                    text[end] = bytes[byte];
                }
                (byte, end) = (byte + 1, end + 1);
            }
            part += 1;
        }
        at += 1;
    }
    end
}

/// Says why a variable is ignored, if no other module of the process has.
#[cold]
#[inline(never)]
fn misspelt(voice: &mut Voice, say: &mut impl FnMut(&[&[u8]]), variable: &[u8], why: &[u8], values: &[u8]) {
    if *voice == Voice::Asks {
        *voice = if is_first_to_say(said::VARIABLES) { Voice::Loud } else { Voice::Silent };
    }
    if *voice == Voice::Loud {
        say(&[variable, IGNORED, why, values]);
    }
}

/// Looks at one `KEY=VALUE`. A key may belong to a module that is loaded later, so it can be said only that none has it so far.
#[cold]
fn check_key(entry: &[u8], say: &mut impl FnMut(&[&[u8]])) {
    if entry.is_empty() {
        return;
    }
    let equals = name_length(entry);
    let (name, value) = entry.split_at(equals.unwrap_or(0));
    let value = value.get(1..).unwrap_or_default();
    let built_in = values_of_built_in(name);
    let mut fine = place(value, built_in).is_some();
    let mut is_key = !built_in.is_empty();
    #[cfg(feature = "report")]
    let mut values = Text::<1024>::new();
    module::one_is(&mut |module| {
        let Some(key) = module.key_named(name) else { return false };
        is_key = true;
        // The values' names stand behind the key's, each with a NUL behind it.
        let names = key.names().get(name.len() + 1..).unwrap_or_default();
        let is_number = key.flags & flags::NUMBER != 0;
        fine |= if is_number { number(value).is_some() } else { place_between(value, names, 0).is_some() };
        #[cfg(feature = "report")]
        if is_number {
            values = Text::new();
            values.put(b"numbers, in decimal");
        } else {
            values = Text::new();
            names.iter().for_each(|&byte| values.put(&[if byte == 0 { b' ' } else { byte }]));
        }
        false
    });
    // Where nothing is listed, values are not either: it would take half a kilobyte.
    #[cfg(not(feature = "report"))]
    let (wrong, values): (&[u8], &[u8]) = (b"the key has no such value", b"");
    #[cfg(feature = "report")]
    // A module's time slice key does not name what forces it.
    let (wrong, values): (&[u8], &[u8]) =
        (VALUES, if built_in.is_empty() { values.as_bytes().trim_ascii_end() } else { built_in });
    let (is_ignored, why, values): (&[u8], &[u8], &[u8]) = match () {
        () if equals.is_none() => (IGNORED, b"it is not KEY=VALUE", b""),
        () if fine => return,
        () if !is_key => (b": ", b"no module that is loaded so far has such a key", b""),
        () => (IGNORED, wrong, values),
    };
    say(&[KEYS_SETTING, entry, is_ignored, why, values]);
}

/// What a key of the runtime's own may have, which this process may do without; nothing for another key.
#[cold]
fn values_of_built_in(name: &[u8]) -> &'static [u8] {
    let is_known = |feature| {
        arch::FEATURES.is_empty()
            || place(feature, arch::FEATURES.as_bytes()).is_some()
            || arch::level(feature).is_some()
    };
    match (place(name, b"slice slice.counting slice.hook"), name.strip_prefix(b"cpu.")) {
        (Some(0), _) => b"off on force",
        (Some(1), _) => COUNTING,
        (Some(_), _) => b"off on",
        (None, Some(feature)) if is_known(feature) => b"off on",
        (None, _) => b"",
    }
}

const KEYS_SETTING: &[u8] = b"INVAR_KEYS: ";
const IGNORED: &[u8] = b" is ignored: ";
const VALUES: &[u8] = b"its values are ";

/// Whether no module has said this; from now on the first of them has. One step, since two may be loaded at once: with musl
/// their constructors do not wait for each other.
#[cold]
pub(crate) fn is_first_to_say(what: u32) -> bool {
    let (mut is_first, mut said) = (true, 0);
    module::each(|module| {
        let bits = &module.outcome.said;
        said |= if is_first { bits.fetch_or(what, Relaxed) } else { bits.load(Relaxed) };
        is_first = false;
    });
    said & what == 0
}

/// What `INVAR_SLICE` and `INVAR_PROFILE` say: what to count, as the position of its name, and where. For the probe of that key.
#[cfg(feature = "profile")]
#[cold]
pub(crate) fn counting() -> (u8, Option<Path>) {
    let value = |name: &[u8]| {
        let values = environment().filter_map(|variable| variable.to_bytes().strip_prefix(name));
        values.filter(|value| !value.is_empty()).last()
    };
    let counting = match sys::auxiliary(libc::AT_SECURE) {
        0 => value(b"INVAR_SLICE=").and_then(|value| place(value, COUNTING)).unwrap_or(0) as u8,
        _ => 0,
    };
    let default = (counting == PROFILE).then_some(b"invar-%p.profile" as &[u8]);
    let file = value(b"INVAR_PROFILE=").or(default);
    (counting, file.map(expand))
}

/// A path. One that is longer cannot be opened.
#[cfg(any(feature = "report", feature = "profile"))]
pub(crate) type Path = Text<1024>;

/// The path that a setting's pattern means here: `%p` in it is the process.
#[cfg(any(feature = "report", feature = "profile"))]
#[cold]
pub(crate) fn expand(pattern: &[u8]) -> Path {
    let mut path = Path::new();
    let mut bytes = pattern.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' && bytes.as_slice().first() == Some(&b'p') {
            bytes.next();
            path.number(sys::process_id() as i64);
        } else {
            path.put(&[byte]);
        }
    }
    path
}

unsafe extern "C" {
    // POSIX, exec(3p).
    static environ: *const *const c_char;
}

/// The variables that begin as all settings do: others are no settings.
fn environment() -> impl Iterator<Item = &'static CStr> {
    // SAFETY: libc's own vector of strings, ending in a null pointer. Nobody may change it while a constructor
    // reads it; getenv would ask the same of the program.
    let mut next = unsafe { environ };
    // SAFETY: as above.
    core::iter::from_fn(move || unsafe { next_of_ours(&mut next) })
}

/// The next of them, if there is one. Of any other variable, no more is read than its first bytes.
///
/// # Safety
///
/// `next` must be null, or lead to strings with a null pointer behind the last.
#[cold]
#[inline(never)] // one copy for all callers
unsafe fn next_of_ours(next: &mut *const *const c_char) -> Option<&'static CStr> {
    if next.is_null() {
        return None;
    }
    loop {
        // SAFETY: as the caller vouches. The null pointer ends the loop, so it is not passed by.
        let variable = unsafe { **next };
        if variable.is_null() {
            return None;
        }
        // SAFETY: as above. NUL, with which the string ends, is none of these bytes: nothing is read behind it.
        let is_ours = (0..PREFIX.len()).all(|at| unsafe { *variable.cast::<u8>().add(at) } == PREFIX[at]);
        // SAFETY: as above.
        *next = unsafe { next.add(1) };
        if is_ours {
            // SAFETY: as above.
            return Some(unsafe { CStr::from_ptr(variable) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// What is printed, and what is understood.
    #[test]
    fn the_tables_agree() {
        let sorted = |values: &str, separator| {
            let mut words: Vec<_> = values.split(separator).map(std::string::String::from).collect();
            words.sort_unstable();
            words
        };
        let off = std::format!("; {} are 0 ", str::from_utf8(OFF).unwrap().replace(' ', " and "));
        for &(name, values, meaning) in SETTINGS {
            assert!(name.as_bytes().starts_with(PREFIX), "{name}");
            assert_eq!(meaning.contains(&off), values == "0|1", "{name}: {meaning}");
            let understood = match place(name.as_bytes(), NAMES).expect(name) {
                0 => MODES,
                2 => WRITERS,
                4 | 5 => SWITCH,
                6 => COUNTING,
                _ => continue,
            };
            assert_eq!(sorted(values, '|'), sorted(str::from_utf8(understood).unwrap(), ' '), "{name}");
        }
        let names = str::from_utf8(NAMES).unwrap().split(' ');
        let printed = |name: &&str| SETTINGS.iter().any(|(known, ..)| known == name);
        assert_eq!(names.filter(|name| !printed(name)).count(), if cfg!(feature = "profile") { 0 } else { 2 });
    }

    #[test]
    fn variables_of_others_are_passed_by() {
        let found = |variables: &[&CStr]| {
            let mut vector: Vec<_> = variables.iter().map(|variable| variable.as_ptr()).collect();
            vector.push(core::ptr::null());
            let mut next = vector.as_ptr();
            // SAFETY: strings that outlive this, and a null pointer behind the last.
            let ours = core::iter::from_fn(|| unsafe { next_of_ours(&mut next) });
            ours.map(CStr::to_bytes).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), [b""; 0]);
        assert_eq!(found(&[c"", c"I", c"INVA", c"INVA=R", c"XINVAR=off", c"invar=off"]), [b""; 0]);
        assert_eq!(found(&[c"PATH=/", c"INVAR", c"INVA", c"INVAR_X=1"]), [&b"INVAR"[..], b"INVAR_X=1"]);
        // SAFETY: no vector at all.
        assert_eq!(unsafe { next_of_ours(&mut core::ptr::null()) }, None);
    }

    /// As the compiler wrote it, and as it is written here.
    #[cfg(feature = "report")]
    #[test]
    fn the_table_is_text() {
        let line = |&(name, values, meaning)| std::format!("{name}={values}\n    {meaning}\n");
        let expected: std::string::String = SETTINGS.iter().map(line).collect();
        assert_eq!(str::from_utf8(&TABLE), Ok(&*expected));
        let mut text = std::vec![b'x'; expected.len() + 1];
        assert_eq!((write_table(&mut []), write_table(&mut text)), (expected.len(), expected.len()));
        assert_eq!(text, [expected.as_bytes(), b"x"].concat());
    }

    /// What these variables make of the settings.
    fn taken(variables: &[&'static CStr]) -> Settings<'static> {
        let mut settings = Settings::of_keys(b"");
        variables.iter().for_each(|variable| settings.take(variable, &mut sys::complain));
        settings
    }

    #[test]
    fn every_value_is_understood() {
        let mode = |variable| taken(&[c"INVAR=require", variable]).mode;
        assert!(mode(c"INVAR=off") == Mode::Off && mode(c"INVAR=auto") == Mode::Auto);
        for ignored in [c"INVAR=", c"INVAR", c"INVAR=of", c"INVAR=off auto", c"invar=off", c"XINVAR=off", c"INVAR2=off"]
        {
            assert!(mode(ignored) == Mode::Require, "{ignored:?}");
        }
        let writer = |variable| taken(&[c"INVAR_WRITER=off", variable]).writer;
        assert!(matches!(writer(c"INVAR_WRITER=auto"), Wish::Any));
        assert!(matches!(writer(c"INVAR_WRITER=swap"), Wish::Only(Writer::Swap)));
        assert!(matches!(writer(c"INVAR_WRITER=memfd"), Wish::Only(Writer::Memfd)));
        assert!(matches!(writer(c"INVAR_WRITER=mprotect"), Wish::Only(Writer::Mprotect)));
        assert!(matches!(writer(c"INVAR_WRITER=no"), Wish::None));
        for (variable, path) in [
            (c"INVAR_REPORT=stderr", Some(c"stderr")),
            (c"INVAR_REPORT=./a", Some(c"./a")),
            (c"INVAR_REPORT=a.b", Some(c"a.b")),
            (c"INVAR_REPORT=a%p", Some(c"a%p")),
            (c"INVAR_REPORT=1", None),
            (c"INVAR_REPORT=stdout", None),
        ] {
            assert_eq!(taken(&[variable]).report, path);
        }
        let guard = [c"INVAR_GUARD=0", c"INVAR_GUARD=1", c"INVAR_GUARD=2"].map(|variable| taken(&[variable]).guard);
        assert_eq!(guard, [false, true, false]);
        // What is misspelt is ignored.
        assert!(
            taken(&[c"INVAR_GUARD=1", c"INVAR_GUARD=2"]).guard && taken(&[c"INVAR_HELP=1", c"INVAR_HELP=yes"]).help
        );
        assert!(!taken(&[c"INVAR_GUARD=1", c"INVAR_GUARD=no"]).guard);
        let help = [c"INVAR_HELP=0", c"INVAR_HELP=1", c"INVAR_HELP="].map(|variable| taken(&[variable]).help);
        assert_eq!(help, [false, true, false]);
    }

    /// As resolvers read them (`symbol`).
    #[test]
    fn environments_are_understood() {
        for &(environment, off, lowered) in reader::tests::ENVIRONMENTS {
            let mut settings = Settings::of_keys(b"");
            for variable in environment.as_bytes().split_inclusive(|&byte| byte == 0) {
                settings.take(CStr::from_bytes_with_nul(variable).unwrap(), &mut |_| {});
            }
            let key = |name| settings.key(name) == Some(b"off");
            let keys = u64::from(key(b"cpu.fast")) | u64::from(key(b"cpu.wide-2")) << 1;
            assert_eq!((settings.mode == Mode::Off, keys), (off, lowered), "{environment:?}");
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let settings = taken(&[c"INVAR_KEYS=b=other", c"INVAR_KEYS=a=1,ab=2,,b,a=3=4,c="]);
        let values = [&b"a"[..], b"ab", b"b", b"c", b"", b"1"].map(|name| settings.key(name));
        assert_eq!(values, [Some(&b"3=4"[..]), Some(b"2"), None, Some(b""), None, None]);
    }

    #[test]
    fn one_of_many_says_it() {
        // A bit that means nothing.
        const BIT: u32 = 1 << 7;
        const ROUNDS: u32 = 2000;
        let both = std::sync::Barrier::new(2);
        let said = || {
            let mut said = 0;
            for _ in 0..ROUNDS {
                if both.wait().is_leader() {
                    module::each(|module| _ = module.outcome.said.fetch_and(!BIT, Relaxed));
                }
                both.wait();
                said += u32::from(is_first_to_say(BIT));
            }
            said
        };
        let all = std::thread::scope(|scope| {
            let other = scope.spawn(said);
            said() + other.join().expect("how often")
        });
        assert_eq!(all, ROUNDS);
        assert!(!is_first_to_say(BIT), "and never again");
    }

    /// Others ask it, whichever of them is the first by then.
    #[test]
    fn a_module_notes_what_has_been_said() {
        // Not by this test.
        _ = is_first_to_say(said::HELP | said::KEYS);
        let noted = |keys, help| {
            let image = module::image::Image::new();
            let mut settings = Settings::of_keys(keys);
            settings.help = help;
            settings.check(&image.module());
            image.outcome.said.load(Relaxed)
        };
        let help = if cfg!(feature = "report") { said::HELP } else { 0 };
        assert_eq!(noted(b"", false), said::VARIABLES);
        assert_eq!(noted(b"a=b", false), said::VARIABLES | said::KEYS);
        assert_eq!(noted(b"", true), said::VARIABLES | help);
    }

    #[cfg(any(feature = "report", feature = "profile"))]
    #[test]
    fn a_pattern_names_the_process() {
        let process = std::process::id();
        for (pattern, path) in [
            ("", std::string::String::new()),
            ("a%pb%p", std::format!("a{process}b{process}")),
            ("%%p%q%", std::format!("%{process}%q%")),
        ] {
            assert_eq!(expand(pattern.as_bytes()).as_str(), path);
        }
    }

    #[test]
    fn keys_of_the_runtimes_own_are_known() {
        let known = |name: &&str| !values_of_built_in(name.as_bytes()).is_empty();
        let own = ["slice", "slice.counting", "slice.hook"];
        assert_eq!(own.iter().filter(|name| known(name)).count(), own.len());
        assert!(!["", "slice.other", "cpu", "cpux.sse2"].iter().any(known));
        let on_this_machine = !arch::FEATURES.is_empty();
        let mut features = arch::FEATURES.split_ascii_whitespace().map(|feature| std::format!("cpu.{feature}"));
        assert!(features.all(|name| known(&&*name)));
        assert_eq!(known(&"cpu.no-such-feature"), !on_this_machine);
    }
}
