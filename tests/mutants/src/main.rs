//! Changes the code, one place at a time, and looks for a test that fails.
//!
//! ```text
//! tests/mutate src/text.rs lock/src        these files, or all in a folder
//! tests/mutate src/bind/mod.rs --tests lib,settings     looked at by these tests only
//! tests/mutate src/text.rs --own                    by the unit tests in the file
//! tests/mutate src/text.rs --lived LOG              those only that lived, or never ran, when this was printed
//! ```
//!
//! All of it happens in a copy, `target/mutants/tree`, which is built once: each change is compiled in beside what stands
//! there, and `MUTANT=NUMBER` chooses it when a program starts. Constants, patterns, assembly, and what runs before a
//! constructor are not changed. What lives is a place that no test sees, or a change that means the same.

mod change;

use change::{Mutant, change};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What runs, in this order, until something fails. Fast ones first.
const STAGES: &[&[&str]] = &[
    &["-p", "invar-rt", "-p", "invar-arch", "--lib"],
    &["-p", "invar-lock", "--test", "model"],
    &["-p", "invar-rt", "--test", "spare"],
    &["-p", "invar-rt", "--test", "dispatch"],
    &["-p", "invar-rt", "--test", "report"],
    &["-p", "invar-rt", "--test", "settings"],
    &["-p", "invar-rt", "--test", "verdicts"],
    &["-p", "invar-rt", "--test", "modules"],
    &["-p", "invar-rt", "--test", "encodings"],
    &["-p", "invar-rt", "--test", "forms"],
    &["-p", "invar-rt", "--test", "writers"],
    &["-p", "invar-rt", "--test", "guard"],
    &["-p", "invar-rt", "--test", "ifunc"],
    &["-p", "invar-rt", "--test", "damage"],
    &["-p", "invar-rt", "--test", "sections"],
    &["-p", "invar-rt", "--test", "hook"],
    &["-p", "invar-rt", "--test", "room"],
    &["-p", "invar-rt", "--test", "children"],
    &["-p", "invar-rt", "--test", "compile_fail"],
    &["-p", "invar-rt", "--test", "capi"],
    &["-p", "invar-lock", "--lib", "--test", "stress"],
];

fn main() -> ExitCode {
    let root = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).expect("the project");
    let mut arguments = std::env::args().skip(1);
    let (mut wanted, mut tests, mut only_own, mut lived) = (vec![], String::new(), false, None);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--tests" => tests = arguments.next().expect("names, with commas between them"),
            "--lived" => {
                let log = fs::read_to_string(arguments.next().expect("a file")).expect("a file");
                let lives = |line: &str| {
                    Some(line.strip_prefix("LIVES\t").or_else(|| line.strip_prefix("NEVER RUN\t"))?.to_owned())
                };
                lived = Some(log.lines().filter_map(lives).collect::<Vec<_>>());
            }
            "--own" => (tests, only_own) = ("lib".into(), true),
            _ => wanted.push(argument),
        }
    }
    let tree = root.join("target/mutants/tree");
    let mutants = copy(&root, &tree, &wanted);
    println!("{} changes", mutants.len());
    let stages: Vec<Stage> = STAGES
        .iter()
        .filter(|words| {
            tests.is_empty()
                || tests.split(',').any(|test| words.last().is_some_and(|word| word.trim_start_matches("--") == test))
        })
        .filter(|words| wanted.iter().any(|wanted| wanted.starts_with("lock") == words.contains(&"invar-lock")))
        .filter_map(|words| Stage::new(&tree, words))
        .collect();

    let mut lives = 0;
    let mut order: Vec<_> = mutants.iter().enumerate().collect();
    order.sort_by_key(|(_, mutant)| wanted.iter().position(|wanted| Path::new(&mutant.file).starts_with(wanted)));
    for (at, Mutant { file, line, what }) in order {
        let place = format!("{file}:{line}: {what}");
        if lived.as_ref().is_some_and(|lived| !lived.contains(&place)) {
            continue;
        }
        let seen = || stages.iter().filter(|stage| stage.seen[at + 1] && stage.is_of_lock == file.starts_with("lock"));
        let (number, own) = ((at + 1).to_string(), own_tests(file));
        let fails = |stage: &Stage, filter: &str| !stage.run(&[("MUTANT", &number)], filter, stage.limit(filter));
        let killer = seen().find(|stage| stage.has_units && fails(stage, &own) || !only_own && fails(stage, ""));
        let fate = match killer {
            Some(stage) => format!("killed by {}", stage.name),
            None if seen().next().is_none() => "NEVER RUN".into(),
            None => "LIVES".into(),
        };
        lives += usize::from(killer.is_none());
        println!("{fate}\t{place}");
    }
    println!("{lives} of {} changes live", mutants.len());
    if lives == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the names of a file's own unit tests begin with, or have in them.
fn own_tests(file: &str) -> String {
    let path = Path::new(file);
    let path = if path.ends_with("mod.rs") { path.parent().expect("a folder") } else { path };
    format!("{}::", path.file_stem().expect("a name").to_string_lossy())
}

/// Copies what git knows, with changes in what is wanted. Files that stay the same are not written, so that little is built again.
fn copy(root: &Path, tree: &Path, wanted: &[String]) -> Vec<Mutant> {
    let list = Command::new("git").current_dir(root).args(["ls-files", "-co", "--exclude-standard"]).output();
    let list = String::from_utf8(list.expect("git").stdout).expect("names");
    let mut mutants = vec![];
    for name in list.lines() {
        let to = tree.join(name);
        if let Ok(leads_to) = fs::read_link(root.join(name)) {
            if fs::read_link(&to).is_err() {
                symlink(leads_to, &to).expect("a link");
            }
            continue;
        }
        let Ok(mut bytes) = fs::read(root.join(name)) else { continue };
        let is_wanted = wanted.iter().any(|wanted| Path::new(name).starts_with(wanted));
        if is_wanted && name.ends_with(".rs") {
            bytes = change(name, str::from_utf8(&bytes).expect("text"), &mut mutants).into_bytes();
        }
        if name == "arch/lib.rs" {
            bytes.extend_from_slice(b"\nextern crate self as invar_arch;\n");
            bytes.extend_from_slice(include_bytes!("chosen.rs"));
        }
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::write(&to, &bytes).expect("a file");
        fs::set_permissions(&to, root.join(name).metadata().expect("a file").permissions()).expect("permissions");
    }
    mutants
}

/// Tests that are run together.
struct Stage {
    name: String,
    folder: PathBuf,
    is_of_lock: bool,
    has_units: bool,
    programs: Vec<PathBuf>,
    /// By number: whether the change is come by.
    seen: Vec<bool>,
    /// Tests that fail here without a change.
    passed_by: Vec<String>,
    took: Duration,
}

impl Stage {
    /// Builds it, and runs it without a change; `None` if it does not pass then.
    fn new(tree: &Path, words: &[&str]) -> Option<Self> {
        let build = Command::new("cargo")
            .current_dir(tree)
            .args(["test", "--no-run", "--color=never"])
            .args(words)
            .env("RUSTFLAGS", "--cap-lints=warn")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .expect("cargo");
        let said = String::from_utf8_lossy(&build.stderr);
        assert!(build.status.success(), "{said}");
        let executables = said.lines().filter(|line| line.trim_start().starts_with("Executable "));
        let programs = executables.filter_map(|line| Some(tree.join(line.rsplit_once('(')?.1.trim_end_matches(')'))));
        let (is_of_lock, has_units) = (words.contains(&"invar-lock"), words.contains(&"--lib"));
        let folder = if is_of_lock { tree.join("lock") } else { tree.to_owned() };
        let name = words.iter().filter(|word| !word.starts_with("-")).copied().collect::<Vec<_>>().join(" ");
        let (programs, took) = (programs.collect(), Duration::ZERO);
        let mut stage = Self { name, folder, is_of_lock, has_units, programs, seen: vec![], passed_by: vec![], took };
        let (seen, limit) = (tree.join("seen"), Duration::from_secs(600));
        fs::write(&seen, [0; 65536]).expect("a file");
        stage.run(&[("MUTANTS_SEEN", seen.to_str().expect("a path"))], "", limit);
        stage.seen = fs::read(&seen).expect("a file").iter().map(|&byte| byte != 0).collect();
        // Some tests look at the code that the compiler made, which is another one here.
        stage.passed_by = stage.fails(limit);
        let start = Instant::now();
        let passes = stage.run(&[], "", limit);
        stage.took = start.elapsed();
        let count = stage.seen.iter().filter(|&&seen| seen).count();
        println!("{}: comes by {count}, {:.1} s", stage.name, stage.took.as_secs_f32());
        stage.passed_by.iter().for_each(|test| println!("  without the test {test:?}"));
        if !passes {
            println!("  does not pass: left out");
        }
        passes.then_some(stage)
    }

    /// Time enough, also where much else runs.
    fn limit(&self, filter: &str) -> Duration {
        if filter.is_empty() { 10 * self.took + Duration::from_secs(30) } else { Duration::from_secs(20) }
    }

    /// Whether all tests pass that have this in their name. The first that does not is the last.
    fn run(&self, settings: &[(&str, &str)], filter: &str, limit: Duration) -> bool {
        self.programs.iter().all(|program| {
            let said = program.with_extension("said");
            let mut command = self.command(program, limit);
            command.args(Some(filter).filter(|filter| !filter.is_empty()));
            // A file: who outlives the tests could hold a pipe open for ever.
            let file = File::create(&said).expect("a file");
            command.envs(settings.iter().copied()).stdout(file).stderr(Stdio::null());
            let mut timeout = command.spawn().expect("timeout");
            loop {
                if let Some(status) = timeout.try_wait().expect("timeout") {
                    return status.success();
                }
                if String::from_utf8_lossy(&fs::read(&said).expect("a file")).contains(" FAILED\n") {
                    // It passes the signal on to its group.
                    let _ = Command::new("kill").arg(timeout.id().to_string()).status();
                    let _ = timeout.wait();
                    return false;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    }

    /// The tests that fail without a change.
    fn fails(&self, limit: Duration) -> Vec<String> {
        let said = |program| {
            String::from_utf8_lossy(&self.command(program, limit).output().expect("timeout").stdout).into_owned()
        };
        let lines: Vec<_> = self
            .programs
            .iter()
            .flat_map(|program| said(program).lines().map(String::from).collect::<Vec<_>>())
            .collect();
        let failed = lines.iter().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        failed.map(|name| name.trim().into()).collect()
    }

    fn command(&self, program: &Path, limit: Duration) -> Command {
        let mut timeout = Command::new("timeout");
        timeout.args(["-s", "KILL", &limit.as_secs().to_string()]).current_dir(&self.folder);
        // A change may ask for memory without end.
        timeout.args(["prlimit", "--as=17179869184"]).arg(program);
        timeout.args(self.passed_by.iter().flat_map(|test| ["--skip", test])).stdin(Stdio::null());
        timeout
    }
}
