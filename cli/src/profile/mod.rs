//! `invar profile`: which critical sections gain, and which are too long.
//!
//! | module | what it does |
//! |---|---|
//! | [`child`] | runs the command that is counted |
//! | [`layout`], [`clock`] | a profile's file; how long a tick is |
//! | [`source`] | where a site is in the source |
//! | [`sites`] | what several processes counted, as one list |
//! | [`listing`], [`plot`] | how that is shown |

pub mod child;
pub mod clock;
pub mod layout;
pub mod listing;
pub mod plot;
pub mod run;
pub mod sites;
pub mod source;

use crate::error::{Error, Result};
use crate::keys::{self, SLICE};
use crate::text::{Format, clean, lossy};
use invar::Origin;
use run::Run;
use sites::{CountedFile, Profile};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// How a profile is shown.
pub struct ProfileOptions {
    /// For people or for programs.
    pub format: Format,
    /// Where; if nowhere else, JSON and what is in files go to standard output, and the table of a run to standard error.
    pub output: Option<PathBuf>,
    /// Where to draw it.
    pub plot: Option<PathBuf>,
}

/// Shows what these files say.
pub fn of_files(paths: &[PathBuf], options: &ProfileOptions, out: &mut dyn Write) -> Result<()> {
    let targets = Targets::open(options)?;
    let files = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let mut profile = Profile::new(files)?;
    if profile.processes.iter().all(|process| process.modules.is_empty()) {
        let remark = "nothing was counted: the time slice key was off; INVAR_KEYS=slice=force counts durations";
        profile.remarks.insert(0, remark.into());
    } else if has_only_durations(&profile) {
        profile.remarks.insert(0, format!("where these were counted, {ONLY_DURATIONS}"));
    }
    targets.show(&profile, None, options.format, out)
}

/// What a command is started with, beside what counts it.
#[derive(Default)]
pub struct Start {
    /// Variables of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The kernel may grant it what it does not grant this very command, so that its time slice key is not forced.
    pub decides: bool,
    /// Why the locks of the C library are not counted, where they would be.
    pub not_in_front: Option<String>,
}

/// Runs a command, shows what it and its children counted, and returns its exit code.
pub fn of_command(command: Vec<OsString>, start: &Start, options: &ProfileOptions, out: &mut dyn Write) -> Result<u8> {
    let targets = Targets::open(options)?;
    let folder = temporary_folder()?;
    let forced = forced().filter(|_| !start.decides);
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]).env("INVAR_SLICE", "profile").env("INVAR_PROFILE", folder.path().join("%p"));
    child.envs(start.environment.iter().map(|(name, value)| (name, value)));
    if forced.is_some() {
        let set = start.environment.iter().find(|(name, _)| name == "INVAR_KEYS").map(|(_, keys)| keys.clone());
        child.env("INVAR_KEYS", with_force(set.or_else(|| std::env::var_os("INVAR_KEYS")).unwrap_or_default()));
    }
    let status = child::run(&mut child).map_err(|error| Error::Command(named(&command[0]), error))?;

    let mut remarks = Vec::new();
    let files = read_all(folder.path(), &mut remarks);
    let mut profile = Profile::new(files)?;
    if profile.processes.iter().all(|process| process.modules.is_empty()) {
        remarks.insert(0, nothing(&command[0], start.not_in_front.as_deref()));
    } else if has_only_durations(&profile) {
        let why = forced.map_or(String::new(), |why| format!(" (slice: {why})"));
        remarks.insert(0, format!("{ONLY_DURATIONS}{why}"));
    }
    profile.remarks.splice(0..0, remarks);
    let run = Run { command, code: exit_code(status) };
    let errors = &mut io::stderr();
    let out = if options.format == Format::Json { out } else { errors };
    match targets.show(&profile, Some(&run), options.format, out) {
        // Whoever reads has enough.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(run.code),
        result => result.map(|()| run.code),
    }
}

const ONLY_DURATIONS: &str = "no kernel grants time slice extensions here, and requests went to memory that nobody looks at: \
    only durations are known, which sections are too long, not which gain";

fn has_only_durations(profile: &Profile) -> bool {
    profile.processes.iter().any(|process| !process.grants && !process.modules.is_empty())
}

/// Where something is to be written. Opened before anything else, since a run can take long, and written at the end.
struct Targets {
    output: Option<(PathBuf, fs::File)>,
    plot: Option<(PathBuf, fs::File)>,
}

impl Targets {
    fn open(options: &ProfileOptions) -> Result<Self> {
        let open = |path: &Option<PathBuf>| {
            let open = |path: &PathBuf| {
                let file = fs::File::options().write(true).create(true).truncate(false).open(path);
                file.map(|file| (path.clone(), file)).map_err(|error| Error::file(path, error))
            };
            path.as_ref().map(open).transpose()
        };
        Ok(Self { output: open(&options.output)?, plot: open(&options.plot)? })
    }

    fn show(self, profile: &Profile, run: Option<&Run>, format: Format, out: &mut dyn Write) -> Result<()> {
        let mut listing = Vec::new();
        match format {
            Format::Text => listing::text(profile, run, &mut listing)?,
            Format::Json => listing::json(profile, run, &mut listing)?,
        }
        if let Some((path, file)) = self.plot {
            write(&path, file, plot::svg(profile).as_bytes())?;
        }
        match self.output {
            Some((path, file)) => write(&path, file, &listing),
            None => Ok(out.write_all(&listing).and_then(|()| out.flush())?),
        }
    }
}

fn write(path: &Path, mut file: fs::File, bytes: &[u8]) -> Result<()> {
    // A device or a pipe has no length.
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let cut = if is_regular { file.set_len(0) } else { Ok(()) };
    let name = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", named(path.as_os_str())));
    Ok(cut.and_then(|()| file.write_all(bytes)).map_err(name)?)
}

fn temporary_folder() -> Result<tempfile::TempDir> {
    let place = std::env::temp_dir();
    let failed =
        |why: &dyn std::fmt::Display| Error::input(format_args!("a temporary folder in {}", place.display()), why);
    if place.as_os_str().as_encoded_bytes().windows(2).any(|two| two == b"%p") {
        return Err(failed(&"%p in its name would mean the process"));
    }
    let place = std::path::absolute(&place).map_err(|error| failed(&error))?;
    tempfile::Builder::new().prefix("invar-profile-").tempdir_in(&place).map_err(|error| failed(&error))
}

fn read(path: &Path) -> Result<CountedFile> {
    let table = layout::read(path)?;
    let made = path.metadata().and_then(|metadata| metadata.created()).ok();
    Ok(CountedFile { path: path.into(), made, table })
}

/// What all processes have counted; what cannot be read is remarked on.
fn read_all(folder: &Path, remarks: &mut Vec<String>) -> Vec<CountedFile> {
    let mut paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    paths.sort();
    let read = |path: PathBuf| read(&path).map_err(|error| remarks.push(error.to_string())).ok();
    paths.into_iter().filter_map(read).collect()
}

/// Why the time slice key must be forced for a program of this machine to count, if it must. Where a setting turns it off, it
/// stays off.
fn forced() -> Option<String> {
    if invar::timeslice::SLICE.get() {
        return None;
    }
    let line = keys::own().into_iter().find(|line| line.name == SLICE);
    match line.and_then(|line| line.decision) {
        Some((Origin::Setting, _)) => None,
        Some((_, why)) => Some(clean(&why)),
        None => Some("not decided".into()),
    }
}

fn with_force(mut keys: OsString) -> OsString {
    if slice_in(&keys) == Some(b"force") {
        return keys;
    }
    if !keys.is_empty() {
        keys.push(",");
    }
    keys.push("slice=force");
    keys
}

/// What `INVAR_KEYS` says of the time slice key.
fn slice_in(keys: &OsStr) -> Option<&[u8]> {
    invar::__command::value_of(keys.as_encoded_bytes(), SLICE.as_bytes())
}

/// What to say where nothing was counted.
fn nothing(command: &OsStr, not_in_front: Option<&str>) -> String {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
    let keys = std::env::var_os("INVAR_KEYS").unwrap_or_default();
    let why = if is("INVAR", "off") {
        "INVAR=off is set"
    } else if slice_in(&keys) == Some(b"off") {
        "INVAR_KEYS turns the time slice key off"
    } else {
        "it carries no slice sites of invar, or its runtime does not count: built without the feature `profile` or for an \
         architecture that has none, run with raised privileges, without the environment, as another user, or with the \
         time slice key off (INVAR_REPORT=stderr says why)"
    };
    let locks =
        not_in_front.map_or(String::new(), |why| format!("; the locks of its C library are not counted: {why}"));
    format!("{} counted nothing: {why}{locks}", named(command))
}

fn named(word: &OsStr) -> String {
    clean(&lossy(word.as_encoded_bytes()))
}

/// As a shell has it.
fn exit_code(status: ExitStatus) -> u8 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1) as u8
}
