//! What the kernel's files and this process say of the time slice extension.
#![allow(unsafe_code)]

use crate::text::lossy;
use std::ffi::CStr;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What somebody has set, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// To this value.
    Is(String),
    /// It is not set.
    Not,
    /// Nobody can say: there is nothing to read.
    Unknown,
}

/// What can be known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel's release, as `uname -r` gives it.
    pub release: String,
    /// `CONFIG_RSEQ_SLICE_EXTENSION` in the kernel's configuration.
    pub config: Setting,
    /// `rseq_slice_ext` in the boot line.
    pub boot: Setting,
    /// The C library and its version.
    pub libc: String,
    /// How many bytes libc registers for each thread (`__rseq_size`), where it says so.
    pub registered: Option<u32>,
    /// `glibc.pthread.rseq` in `GLIBC_TUNABLES`.
    pub tunable: Setting,
    /// `glibc.pthread.rseq` in `/etc/tunables.conf`, which glibc 2.44 and newer has (elf/tunconf.c).
    pub tunable_of_system: Setting,
    /// Whether that one may not be overridden by `GLIBC_TUNABLES`.
    pub is_final: bool,
    /// Whether a seccomp filter stands.
    pub is_filtered: bool,
    /// Whether this is a container, by the files that docker and podman leave.
    pub is_container: bool,
}

/// The tunable that says whether glibc registers areas.
const TUNABLE: &str = "glibc.pthread.rseq";

impl Facts {
    /// Of the files below this root, and of this process.
    pub fn of_this_process(root: &Path) -> Self {
        Self {
            libc: libc_name(),
            registered: registered(),
            tunable: tunable_in(&std::env::var("GLIBC_TUNABLES").unwrap_or_default().replace(':', "\n")).0,
            ..Self::of_files(root)
        }
    }

    /// Of the files below this root alone.
    pub fn of_files(root: &Path) -> Self {
        let read = |path: &str| std::fs::read(root.join(path)).ok().map(|bytes| lossy(&bytes));
        let release = read("proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let boot = match read("proc/cmdline") {
            Some(line) => {
                let mut words = line.split_whitespace().filter_map(|word| word.strip_prefix("rseq_slice_ext="));
                words.next_back().map_or(Setting::Not, |value| Setting::Is(value.into()))
            }
            None => Setting::Unknown,
        };
        let (tunable_of_system, is_final) =
            read("etc/tunables.conf").map_or((Setting::Unknown, false), |text| tunable_in(&text));
        let status = read("proc/self/status").unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            config: config(root, &release),
            release,
            boot,
            libc: String::new(),
            registered: None,
            tunable: Setting::Not,
            tunable_of_system,
            is_final,
            // 2 is SECCOMP_MODE_FILTER (proc_pid_status(5)).
            is_filtered: mode.is_some_and(|mode| mode.trim() == "2"),
            is_container: [".dockerenv", "run/.containerenv"].iter().any(|path| root.join(path).exists()),
        }
    }

    /// Whether this is Linux 7.0 or newer.
    pub(super) fn is_7(&self) -> bool {
        self.release.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 7)
    }

    pub(super) fn kernel(&self) -> String {
        let release = if self.release.is_empty() { "of an unknown release" } else { &self.release };
        let config = match &self.config {
            Setting::Is(value) => format!("CONFIG_RSEQ_SLICE_EXTENSION={value}"),
            Setting::Not => "CONFIG_RSEQ_SLICE_EXTENSION is not set".into(),
            Setting::Unknown => "its configuration cannot be read".into(),
        };
        let boot = match &self.boot {
            Setting::Is(value) => format!("boot line: rseq_slice_ext={value}"),
            Setting::Not => "boot line: no rseq_slice_ext".into(),
            Setting::Unknown => "its boot line cannot be read".into(),
        };
        format!("Linux {release}; {config}; {boot}")
    }

    pub(super) fn process(&self) -> String {
        let libc = if self.libc.is_empty() { "a C library without a name" } else { &self.libc };
        let registered = match self.registered {
            Some(0) => "registers no areas".into(),
            Some(size) => format!("registers areas of {size} bytes"),
            None => "does not say whether it registers areas".into(),
        };
        let environment = match &self.tunable {
            Setting::Is(value) => format!("GLIBC_TUNABLES: {TUNABLE}={value}"),
            _ => "GLIBC_TUNABLES does not say".into(),
        };
        let system = match &self.tunable_of_system {
            Setting::Is(value) if self.is_final => {
                format!("/etc/tunables.conf: {TUNABLE}={value}, not to be overridden")
            }
            Setting::Is(value) => format!("/etc/tunables.conf: {TUNABLE}={value}"),
            Setting::Not => "/etc/tunables.conf does not say".into(),
            Setting::Unknown => "no /etc/tunables.conf".into(),
        };
        let filter = if self.is_filtered { "a seccomp filter" } else { "no seccomp filter" };
        let container = if self.is_container { ", in a container" } else { "" };
        format!("{libc} {registered}; {environment}; {system}; {filter}{container}")
    }
}

/// The tunable in lines of `NAME=VALUE`; the last one counts. And whether the environment may not override it.
///
/// Words or signs may stand before a name (tunables.conf(5)): `nonoverridable` or `-`; `onlysecure` or `@`, which is for programs
/// with raised privileges alone. Lines behind a filter in brackets are for other programs than this one.
fn tunable_in(lines: &str) -> (Setting, bool) {
    let mut found = (Setting::Not, false);
    for line in lines.lines().map(str::trim).take_while(|line| !line.starts_with('[')) {
        let Some((before, value)) = line.split_once('=') else { continue };
        let Some(before) = before.trim_end().strip_suffix(TUNABLE) else { continue };
        let is = |word, sign| before.split_whitespace().any(|part| part == word) || before.contains(sign);
        if !is("onlysecure", '@') && !before.contains('#') {
            found = (Setting::Is(value.trim().into()), is("nonoverridable", '-'));
        }
    }
    found
}

/// `CONFIG_RSEQ_SLICE_EXTENSION` of the kernel of this release.
fn config(root: &Path, release: &str) -> Setting {
    let places = [format!("boot/config-{release}"), format!("lib/modules/{release}/config")];
    let text = places.iter().find_map(|path| std::fs::read(root.join(path)).ok());
    let Some(text) = text.or_else(|| unpacked(&root.join("proc/config.gz"))) else { return Setting::Unknown };
    let text = lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix("CONFIG_RSEQ_SLICE_EXTENSION="));
    value.map_or(Setting::Not, |value| Setting::Is(value.trim().into()))
}

/// What a file holds that gzip has packed.
fn unpacked(path: &PathBuf) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(target_env = "gnu")]
fn libc_name() -> String {
    // SAFETY: returns a string that never changes.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
fn libc_name() -> String {
    if cfg!(target_env = "musl") { "musl".into() } else { String::new() }
}

/// glibc 2.35 and newer says it by a variable.
fn registered() -> Option<u32> {
    const NAME: &CStr = c"__rseq_size";
    // SAFETY: looks a name up.
    let size = unsafe { libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr()) }.cast::<u32>();
    // SAFETY: null, or the variable, which is `const unsigned int` (sys/rseq.h) and never unloaded.
    unsafe { size.as_ref() }.copied()
}
