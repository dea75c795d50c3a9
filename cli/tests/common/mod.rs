//! What the command's tests share.
#![allow(dead_code, unreachable_pub)] // each test file uses a part

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// The command itself: the program with sites that these tests look at.
pub const INVAR: &str = env!("CARGO_BIN_EXE_invar");

/// Whether this build has site records: the portable form leaves none.
pub const HAS_SITES: bool = cfg!(all(target_arch = "x86_64", target_os = "linux", not(invar_portable)));

/// Runs the tests of one file.
pub fn run(tests: impl IntoIterator<Item = Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().collect()).exit_code()
}

/// Runs the tests of one file one after the other.
pub fn run_singly(tests: impl IntoIterator<Item = Trial>) -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, tests.into_iter().collect()).exit_code()
}

/// A test, or its place in the list if something is `missing` that it needs.
pub fn test(name: &str, missing: Option<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    let is_missing = missing.is_some();
    let kind = missing.map_or(String::new(), |reason| format!("skipped: {reason}"));
    let trial = Trial::test(name, || {
        body();
        Ok(())
    });
    trial.with_kind(kind).with_ignored_flag(is_missing)
}

/// For tests that run anywhere.
pub const ANYWHERE: Option<String> = None;

/// For tests of site records.
pub fn sites() -> Option<String> {
    (!HAS_SITES).then(|| format!("the folder `{}` of arch leaves no site records", invar_arch::NAME))
}

/// For tests that need this file.
pub fn needs(path: &str) -> Option<String> {
    (!Path::new(path).exists()).then(|| format!("there is no {path}"))
}

/// What a run of the command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub errors: String,
}

/// Runs the command with these arguments, and with no settings but its own.
pub fn invar<const N: usize>(arguments: [&str; N]) -> Said {
    let output = command(INVAR).args(arguments).output().expect("the command starts");
    Said {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        errors: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Both sides of a terminal: what one reads, and what a program writes to. The second is closed when its program is.
pub fn terminal() -> (std::fs::File, Stdio) {
    use std::os::fd::{FromRawFd, OwnedFd};
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: the two numbers are written; the rest is left as it is by default.
    assert_eq!(unsafe { libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()) }, 0);
    // SAFETY: they were opened just now, and nobody else has them.
    let [ours, theirs] = [ours, theirs].map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    (ours.into(), theirs.into())
}

/// A run of `program` without settings.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("INVAR") {
            command.env_remove(name);
        }
    }
    // A shell starts what goes on in the background with these ignored, which is inherited.
    // SAFETY: system calls on numbers, in the child.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGQUIT] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

impl Said {
    /// What it said, if it was content with its input.
    pub fn text(self) -> String {
        assert_eq!((self.code, self.errors.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The same, as JSON.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    /// Why it was not content: one line.
    pub fn refusal(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (2, ""), "{}", self.errors);
        let line = self.errors.strip_prefix("invar: ").and_then(|rest| rest.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("not one line: {:?}", self.errors));
        assert!(!line.contains('\n'), "{line}");
        line.into()
    }
}

/// The modules of a document.
pub fn modules(document: &Value) -> &Vec<Value> {
    document["modules"].as_array().expect("modules")
}

/// The sites of a document with one module.
pub fn site_list(document: &Value) -> &Vec<Value> {
    assert_eq!(modules(document).len(), 1, "{document:#}");
    document["modules"][0]["sites"].as_array().expect("sites")
}

/// A program that has sites and waits, until it is dropped.
pub struct Waiting(pub Child);

impl Waiting {
    /// The command, waiting.
    pub fn start(program: impl AsRef<Path>) -> Self {
        let mut waiting = command(program);
        waiting.arg("wait");
        Self::of(waiting)
    }

    /// Whatever says "ready" and then waits for its standard input.
    pub fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = loop {
            match command.spawn() {
                // A program that was just written may still be open in a child that another thread is starting.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                child => break child.expect("it starts"),
            }
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A file of this test's own, gone when it ends.
pub struct Temporary(pub PathBuf);

impl Temporary {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let file = Self::unused(name);
        std::fs::write(&file.0, bytes).unwrap();
        std::fs::set_permissions(&file.0, Permissions::from_mode(0o755)).unwrap();
        file
    }

    /// Another name of a program.
    pub fn link(name: &str, program: &str) -> Self {
        let file = Self::unused(name);
        let _ = std::fs::remove_file(&file.0);
        std::fs::hard_link(program, &file.0).unwrap();
        file
    }

    /// With nothing there yet.
    pub fn unused(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id())))
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
