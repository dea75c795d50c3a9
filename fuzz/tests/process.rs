//! A process that changes while it is looked at: there is an answer, or it is said that there is none.

use invar_abi::{Header, machine};
use invar_fuzz::allocated;
use invar_fuzz::make::{Description, at};
use invar_tool::error::{Error, Result};
use invar_tool::process::Process;
use invar_tool::text::Format;
use invar_tool::{sites, verify};
use libtest_mimic::{Arguments, Trial};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// A look may hold this much at one time.
const MOST_MEMORY: usize = 256 << 20;

fn main() -> ExitCode {
    let test = |name: &str, body: fn()| {
        Trial::test(name, move || {
            body();
            Ok(())
        })
    };
    let trials = vec![
        test("a process that changes is listed or not", a_process_that_changes_is_listed_or_not),
        test("a process that changes is verified or not", a_process_that_changes_is_verified_or_not),
        test("a process may end at any time", a_process_may_end_at_any_time),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What it changes: the ELF header, program headers, the note, the module's header, the tables, and the beginning of a state.
const PARTS: [[usize; 2]; 6] = [
    [0, 64],
    [at::PROGRAM, 56 * at::PROGRAMS],
    [at::NOTE, 28],
    [at::HEADER, Header::LENGTH],
    [at::SITES, at::NAMES - at::SITES],
    [at::STATES, 24],
];

/// A process that does not rest (`src/restless.rs`), until the end of the test.
struct Restless(Child, PathBuf);

impl Restless {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("restless-{name}-{}", std::process::id()));
        std::fs::write(&path, Description::of_everything(true).file(machine::HERE)).expect("the module is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_restless"));
        command.arg(&path).args(PARTS.as_flattened().iter().map(usize::to_string));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self(child, path)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.0.kill().expect("it is ended");
        self.0.wait().expect("it has ended");
        std::fs::remove_file(&self.1).expect("its module is removed");
    }
}

/// What was said, or why nothing can be; nothing else.
fn fits(format: Format, result: Result<Vec<u8>>) -> Option<String> {
    match result {
        Ok(out) => {
            let text = String::from_utf8(out).expect("UTF-8");
            if format == Format::Json {
                serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
            } else {
                let control = |character: char| character.is_control() && character != '\n';
                assert!(!text.contains(control), "{text:?}");
            }
            Some(text)
        }
        Err(Error::Input(_, why)) => {
            assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

const FORMATS: [Format; 2] = [Format::Text, Format::Json];

fn a_process_that_changes_is_listed_or_not() {
    let process = Restless::new("listed");
    for round in 0..1000 {
        let format = FORMATS[round % 2];
        let look = || sites::snapshot(&Process::open(process.pid())?, format);
        // If it was changing, nothing is said.
        if let Some(result) = allocated::at_most(MOST_MEMORY, look).transpose() {
            fits(format, result);
        }
    }
    for format in FORMATS {
        let mut out = Vec::new();
        let result = sites::of_process(process.pid(), format, &mut out);
        // One whose tables are longer than any process's, for a moment, is refused.
        assert!(fits(format, result.map(|()| out)).is_none_or(|text| !text.is_empty()));
    }
}

fn a_process_that_changes_is_verified_or_not() {
    let process = Restless::new("verified");
    for round in 0..6 {
        let format = FORMATS[round % 2];
        let mut out = Vec::new();
        let look = || verify::of_process(process.pid(), format, &mut out);
        let result = allocated::at_most(MOST_MEMORY, look);
        let is_known = result.as_ref().is_ok_and(|code| *code <= 1);
        let text = fits(format, result.map(|_| out)).expect("a verdict");
        assert!(is_known && !text.is_empty());
    }
}

fn a_process_may_end_at_any_time() {
    for round in 0..6 {
        let mut process = Restless::new("ended");
        let format = FORMATS[round % 2];
        let pid = process.pid();
        let looks = std::thread::spawn(move || {
            let mut out = Vec::new();
            let listed = sites::of_process(pid, format, &mut out);
            let mut verdict = Vec::new();
            let verified = verify::of_process(pid, format, &mut verdict);
            (fits(format, listed.map(|()| out)), fits(format, verified.map(|_| verdict)))
        });
        std::thread::sleep(std::time::Duration::from_millis(7 * round as u64));
        process.0.kill().expect("it is ended");
        process.0.wait().expect("it has ended");
        let _ = looks.join().expect("no panic");
        // Nothing is left to be said of it.
        let mut out = Vec::new();
        let result = sites::of_process(pid, format, &mut out);
        assert_eq!(fits(format, result.map(|()| out)), None);
    }
}
