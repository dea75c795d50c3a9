//! Settings: one prefix, one table, read once from the environment when a module is loaded.
//!
//! They can only lower: turn a key off, or choose a value that its probe allows. Programs that run with raised
//! privileges (`AT_SECURE`) ignore them.
#![allow(unsafe_code)]

use crate::bind::Wish;
#[cfg(feature = "profile")]
use crate::profile::Counting;
use crate::sys;
#[cfg(any(feature = "report", feature = "profile"))]
use crate::text::{Sink, Text};
use crate::write::Writer;
use core::ffi::{CStr, c_char};

/// What the environment says.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) writer: Wish,
    pub(crate) report: Option<&'static CStr>,
    pub(crate) help: bool,
    pub(crate) guard: bool,
    keys: &'static [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    Auto,
    Require,
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
        "choose a value that the key's probe allows, as slice=off; slice=force binds it for measurements",
    ),
    ("INVAR_WRITER", "auto|mem|mprotect|off", "how code is written; off: sites stay in checked form [auto]"),
    (
        "INVAR_REPORT",
        "stderr|FILE",
        "list keys, sites and reasons at load; FILE is appended to, and %p in it is the process",
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
    ("INVAR_GUARD", "0|1", "1: where the slice key is on, a seccomp filter refuses to switch slices off, for good [0]"),
    ("INVAR_HELP", "1", "print this table at load, and go on"),
];

impl Settings {
    #[cold]
    pub(crate) fn from_environment() -> Self {
        let mut settings =
            Self { mode: Mode::Auto, writer: Wish::Any, report: None, help: false, guard: false, keys: b"" };
        if sys::auxiliary(libc::AT_SECURE) == 0 {
            for variable in environment() {
                settings.take(variable);
            }
        }
        settings
    }

    /// The value that `INVAR_KEYS` names for this key; the last one counts.
    #[cold]
    pub(crate) fn key(&self, name: &[u8]) -> Option<&'static [u8]> {
        self.keys
            .split(|&byte| byte == b',')
            .filter_map(|setting| {
                let equals = name_length(setting)?;
                (&setting[..equals] == name).then_some(&setting[equals + 1..])
            })
            .next_back()
    }

    #[cold]
    fn take(&mut self, variable: &'static CStr) {
        let bytes = variable.to_bytes();
        let Some(rest) = bytes.strip_prefix(b"INVAR") else { return };
        let Some(equals) = name_length(rest) else { return };
        let (name, value) = (&rest[..equals], &rest[equals + 1..]);
        if value.is_empty() {
            return;
        }
        match place(name, b" _KEYS _WRITER _REPORT _SLICE _PROFILE _HELP _GUARD") {
            Some(0) => match place(value, b"off auto require") {
                Some(0) => self.mode = Mode::Off,
                Some(1) => self.mode = Mode::Auto,
                Some(_) => self.mode = Mode::Require,
                None => unknown(bytes),
            },
            Some(1) => {
                self.keys = value;
                let named = |setting: &[u8]| setting.is_empty() || name_length(setting).is_some();
                if !value.split(|&byte| byte == b',').all(named) {
                    sys::complain(&[bytes, b" is not KEY=VALUE,...; what is not is ignored"]);
                }
            }
            Some(2) => match place(value, b"off auto mem mprotect") {
                Some(0) => self.writer = Wish::None,
                Some(1) => self.writer = Wish::Any,
                Some(2) => self.writer = Wish::Only(Writer::Mem),
                Some(_) => self.writer = Wish::Only(Writer::Mprotect),
                None => unknown(bytes),
            },
            // SAFETY: behind `INVAR_REPORT=`, in the same string.
            Some(3) => self.report = Some(unsafe { CStr::from_ptr(value.as_ptr().cast()) }),
            // Both are for the probe of their key.
            #[cfg(feature = "profile")]
            Some(4) if counting_named(value).is_none() => unknown(bytes),
            Some(4 | 5) => {}
            Some(6) => self.help = value != b"0",
            Some(_) if !cfg!(feature = "slice") => {}
            Some(_) => match place(value, b"0 1") {
                Some(chosen) => self.guard = chosen == 1,
                None => unknown(bytes),
            },
            // Another program's, or a later version's.
            None => {}
        }
    }
}

/// What `INVAR_SLICE` and `INVAR_PROFILE` say: what to count, and where. For the probe of that key.
#[cfg(feature = "profile")]
#[cold]
pub(crate) fn counting() -> (Counting, Option<Path>) {
    let value = |name: &[u8]| environment().filter_map(|variable| variable.to_bytes().strip_prefix(name)).last();
    let counting = match sys::auxiliary(libc::AT_SECURE) {
        0 => value(b"INVAR_SLICE=").and_then(counting_named).unwrap_or(Counting::Off),
        _ => Counting::Off,
    };
    let default = (counting == Counting::Profile).then_some(b"invar-%p.profile" as &[u8]);
    let file = value(b"INVAR_PROFILE=").filter(|file| !file.is_empty()).or(default);
    (counting, file.map(expand))
}

#[cfg(feature = "profile")]
fn counting_named(value: &[u8]) -> Option<Counting> {
    match place(value, b"off count profile") {
        Some(0) => Some(Counting::Off),
        Some(1) => Some(Counting::Count),
        Some(_) => Some(Counting::Profile),
        None => None,
    }
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

/// How long the name before `=` is.
fn name_length(setting: &[u8]) -> Option<usize> {
    setting.iter().position(|&byte| byte == b'=')
}

/// The place of `word` in a list of words with a space between them: the compiler would compare in line with each, in
/// a good part of this code.
#[cold]
#[inline(never)]
fn place(word: &[u8], words: &[u8]) -> Option<usize> {
    words.split(|&byte| byte == b' ').position(|other| other == word)
}

#[cold]
#[inline(never)]
fn unknown(setting: &[u8]) {
    sys::complain(&[setting, b" is none of the values that INVAR_HELP=1 lists, and is ignored"]);
}

unsafe extern "C" {
    // POSIX, exec(3p).
    static environ: *const *const c_char;
}

fn environment() -> impl Iterator<Item = &'static CStr> {
    // SAFETY: libc's own vector of strings, ending in a null pointer. Nobody may change it while a constructor
    // reads it; getenv would ask the same of the program.
    let mut next = unsafe { environ };
    core::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: as above.
        unsafe {
            let variable = *next;
            next = next.add(1);
            (!variable.is_null()).then(|| CStr::from_ptr(variable))
        }
    })
}
