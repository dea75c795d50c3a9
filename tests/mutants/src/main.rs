//! Changes the code, one place at a time, and looks for a test that fails.
//!
//! ```text
//! tests/mutate src/text.rs lock/src        these files, or all in a folder
//! tests/mutate src/bind/mod.rs --tests lib,settings     looked at by these tests only
//! tests/mutate src/text.rs --own                    by the unit tests in the file
//! tests/mutate src/text.rs --lived LOG              those only that lived, or never ran, when this was printed
//! tests/mutate src --longest 1                      without tests that take more seconds
//! tests/mutate src --budget 5     for each change and file of tests so many seconds, the tests first that come by the fewest changes
//! ```
//!
//! All of it happens in a copy, `target/mutants/tree`, which is built once: each change is compiled in beside what stands
//! there, and `MUTANT=NUMBER` chooses it when a program starts. Constants, patterns, what is in a macro's brackets, assembly, and
//! what runs before a constructor are not changed; functions that are `const` only for calls in a running program.
//!
//! The unit tests look first. What lives then is looked at by each file of integration tests in turn, and only by those of its tests
//! that come by the changed place. What still lives at the end is a place that no test sees, or a change that means the same.

mod change;

use change::{Mutant, change};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What runs, in this order, until something fails: what sees much in little time first.
const STAGES: &[&[&str]] = &[
    &["-p", "invar-rt", "-p", "invar-arch", "-p", "invar-abi", "--lib"],
    &["-p", "invar-lock", "--test", "model"],
    &["-p", "invar-rt", "--test", "spare"],
    &["-p", "invar-rt", "--test", "dispatch"],
    &["-p", "invar-rt", "--test", "report"],
    &["-p", "invar-rt", "--test", "settings"],
    &["-p", "invar-rt", "--test", "verdicts"],
    &["-p", "invar-rt", "--test", "modules"],
    &["-p", "invar-rt", "--test", "switches"],
    &["-p", "invar-rt", "--test", "numbers"],
    &["-p", "invar-rt", "--test", "pointers"],
    &["-p", "invar-rt", "--test", "writers"],
    &["-p", "invar-rt", "--test", "damage"],
    &["-p", "invar-rt", "--test", "faults"],
    &["-p", "invar-rt", "--test", "constructors"],
    &["-p", "invar-rt", "--test", "multiversion"],
    &["-p", "invar-rt", "--test", "encodings"],
    &["-p", "invar-rt", "--test", "jumps"],
    &["-p", "invar-rt", "--test", "forms"],
    &["-p", "invar-rt", "--test", "guard"],
    &["-p", "invar-rt", "--test", "ifunc"],
    &["-p", "invar-rt", "--test", "sections"],
    &["-p", "invar-rt", "--test", "hook"],
    &["-p", "invar-rt", "--test", "room"],
    &["-p", "invar-rt", "--test", "children"],
    &["-p", "invar-rt", "--test", "tools"],
    &["-p", "invar-rt", "--test", "capi"],
    &["-p", "invar-rt", "--test", "capi_alone"],
    &["-p", "invar-rt", "--test", "deciders"],
    &["-p", "invar-rt", "--test", "places"],
    &["-p", "invar-rt", "--test", "boundaries"],
    &["-p", "invar-rt", "--test", "binder"],
    &["-p", "invar-tool", "--test", "profile"],
    &["-p", "invar-tool", "--test", "sites"],
    &["-p", "invar-tool", "--test", "verify"],
    &["-p", "invar-tool", "--test", "set"],
    &["-p", "invar-tool", "--test", "stress"],
    &["-p", "invar-tool", "--test", "hostile"],
    &["-p", "invar-tool", "--test", "doctor"],
    &["-p", "invar-tool", "--test", "documents"],
    &["-p", "invar-tool", "--test", "probe"],
    &["-p", "invar-tool", "--test", "run"],
    &["-p", "invar-lock", "--lib", "--test", "stress"],
];

/// Files of tests that are no stage: they look at texts, at what compilers make, at packages, or at machines that are emulated, or need
/// minutes for what others see in seconds.
const NO_STAGES: &str = "adding builds calls compile_fail counts cxx docs everywhere examples gdb hosts hygiene packaging patches \
                         portable ports preload record release rewriters rooms unmodified uprobes";

/// How many changes there may be, and how long the file is in which tests note those that they come by.
const MOST: usize = 65536;

fn main() -> ExitCode {
    let root = root();
    let mut arguments = std::env::args().skip(1);
    let (mut wanted, mut tests, mut only_own, mut lived) = (vec![], String::new(), false, None);
    let (mut longest, mut budget) = (Duration::MAX, Duration::MAX);
    let seconds = |argument: Option<String>| {
        Duration::from_secs_f32(argument.and_then(|seconds| seconds.parse().ok()).expect("seconds"))
    };
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
            "--longest" => longest = seconds(arguments.next()),
            "--budget" => budget = seconds(arguments.next()),
            "--own" => (tests, only_own) = ("lib".into(), true),
            _ => wanted.push(argument),
        }
    }
    assert_every_file_is_known(&root);
    let tree = root.join("target/mutants/tree");
    let mutants = copy(&root, &tree, &wanted);
    assert!(mutants.len() < MOST);
    let mut left: Vec<_> = mutants.iter().enumerate().map(|(at, mutant)| (at + 1, mutant)).collect();
    left.sort_by_key(|(_, mutant)| wanted.iter().position(|wanted| Path::new(&mutant.file).starts_with(wanted)));
    left.retain(|(_, mutant)| lived.as_ref().is_none_or(|lived| lived.contains(&mutant.place())));
    println!("{} changes, of {}", left.len(), mutants.len());
    // By file: how many there are, how many each stage killed.
    let mut sums: BTreeMap<&str, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
    left.iter().for_each(|(_, mutant)| sums.entry(&mutant.file).or_default().0 += 1);

    let mut was_seen = vec![false; MOST];
    for words in STAGES {
        let is_chosen = |test| words.last().is_some_and(|word| word.trim_start_matches("--") == test);
        let of_lock = words.contains(&"invar-lock");
        let is_for = |mutant: &Mutant| mutant.file.starts_with("lock") == of_lock;
        let chosen = tests.is_empty() || tests.split(',').any(is_chosen);
        if !chosen || !left.iter().any(|(_, mutant)| is_for(mutant)) {
            continue;
        }
        let Some(stage) = Stage::new(&tree, words, longest) else { continue };
        left.retain(|&(number, mutant)| {
            let own = own_tests(&mutant.file);
            let (own, others): (Vec<_>, Vec<_>) = stage
                .tests
                .iter()
                .filter(|test| test.seen[number])
                .partition(|test| stage.has_units && test.name.contains(&own));
            was_seen[number] |= !own.is_empty() || !others.is_empty();
            let others = if only_own { vec![] } else { within(budget, others) };
            let Some(how) = [own, others].iter().find_map(|tests| stage.kill(number, tests)) else { return true };
            println!("killed by {}{how}\t{}", stage.name, mutant.place());
            *sums.get_mut(&*mutant.file).expect("counted").1.entry(stage.name.clone()).or_default() += 1;
            false
        });
        println!("{} live after {}", left.len(), stage.name);
    }
    for (number, mutant) in &left {
        println!("{}\t{}", if was_seen[*number] { "LIVES" } else { "NEVER RUN" }, mutant.place());
    }
    for (file, (count, killed)) in sums {
        let lives = count - killed.values().sum::<usize>();
        let killed: Vec<_> = killed.iter().map(|(stage, count)| format!("{stage} {count}")).collect();
        println!("{file}: {count} changes, {lives} live; killed by {}", killed.join(", "));
    }
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of the project.
fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).expect("the project")
}

/// A new file of tests is a stage, or is said to be none.
fn assert_every_file_is_known(root: &Path) {
    let mut unknown = vec![];
    for folder in ["tests", "cli/tests", "lock/tests"] {
        for file in fs::read_dir(root.join(folder)).expect("a folder") {
            let path = file.expect("a file").path();
            let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".rs")) else { continue };
            let name = name.rsplit('/').next().expect("a name").to_owned();
            if !STAGES.iter().any(|words| words.last() == Some(&&*name))
                && !NO_STAGES.split(' ').any(|other| other == name)
            {
                unknown.push(name);
            }
        }
    }
    assert!(unknown.is_empty(), "neither a stage nor none: {unknown:?}");
}

/// As many of these tests as take so long, those first that come by the fewest changes.
fn within(budget: Duration, mut tests: Vec<&Test>) -> Vec<&Test> {
    if budget < Duration::MAX {
        tests.sort_by_cached_key(|test| test.seen.iter().filter(|&&seen| seen).count());
        let mut spent = Duration::ZERO;
        tests.retain(|test| {
            let is_first = spent.is_zero();
            spent += test.took;
            is_first || spent <= budget
        });
    }
    tests
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
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        if let Ok(leads_to) = fs::read_link(root.join(name)) {
            if fs::read_link(&to).is_err() {
                symlink(leads_to, &to).expect("a link");
            }
            continue;
        }
        let Ok(mut bytes) = fs::read(root.join(name)) else { continue };
        // Only modules stand in these, and what they re-export. A build script is no part of what is built.
        let is_other = matches!(name, "abi/lib.rs" | "src/lib.rs") || Path::new(name).ends_with("build.rs");
        let is_wanted = !is_other && !is_for_tests(root, Path::new(name));
        let is_wanted = is_wanted && wanted.iter().any(|wanted| Path::new(name).starts_with(wanted));
        let text = || String::from_utf8(bytes.clone()).expect("text");
        if is_wanted && name.ends_with(".rs") {
            bytes = change(name, &text(), &mut mutants).into_bytes();
        } else if name == "abi/lib.rs" {
            let features = "#![feature(core_intrinsics, const_eval_select)]\n#![allow(internal_features)]\n";
            let text = text().replace("#![forbid(unsafe_code)]\n", features);
            bytes = (text + include_str!("chosen.rs")).into_bytes();
        } else if name == "src/lib.rs" {
            let all = "pub mod __private {\n";
            bytes = text().replace(all, &format!("{all}    pub use invar_abi::mutants;\n")).into_bytes();
        }
        for (file, from, into) in BUILT_BEFORE {
            if name == *file {
                let text = String::from_utf8(bytes).expect("text");
                assert!(text.contains(from), "{name}: no {from}");
                bytes = text.replace(from, into).into_bytes();
            }
        }
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::write(&to, &bytes).expect("a file");
        fs::set_permissions(&to, root.join(name).metadata().expect("a file").permissions()).expect("permissions");
    }
    mutants
}

/// Places in the tests that build programs, in a file, as they are, and as they are in the copy: what is there for one change is
/// there for all.
const BUILT_BEFORE: &[(&str, &str, &str)] = &[
    (
        "tests/common/mod.rs",
        "built.get_or_init(|| self.build_with_cargo(package, file, &result));",
        "built.get_or_init(|| {
            if std::env::var_os(\"MUTANT\").is_none() || !result.exists() {
                self.build_with_cargo(package, file, &result)
            }
        });",
    ),
    (
        "tests/common/c.rs",
        "make(\"capi\", &[]);",
        "if std::env::var_os(\"MUTANT\").is_none() || !scratch().join(\"capi\").exists() {
            make(\"capi\", &[]);
        }",
    ),
];

/// Whether the module that a file is, is there for unit tests only, by what declares it: beside it, or the file of its folder.
fn is_for_tests(root: &Path, file: &Path) -> bool {
    let module = format!("mod {};", file.file_stem().expect("a name").to_string_lossy());
    let folder = file.parent().expect("a folder");
    [folder.join("lib.rs"), folder.join("mod.rs"), folder.with_extension("rs")].iter().any(|parent| {
        let parent = fs::read_to_string(root.join(parent)).unwrap_or_default();
        let lines: Vec<_> = parent.lines().collect();
        let is_for_tests = |line: &str| line.starts_with("#[cfg(") && line.contains("test");
        lines.windows(2).any(|pair| pair[1].ends_with(&module) && is_for_tests(pair[0]))
    })
}

/// Tests that are run together.
struct Stage {
    name: String,
    folder: PathBuf,
    has_units: bool,
    tests: Vec<Test>,
    /// Tests that fail here without a change, or take too long.
    left_out: Vec<String>,
}

/// One test, that passes without a change.
struct Test {
    program: PathBuf,
    name: String,
    /// By number: whether it comes by the change.
    seen: Vec<bool>,
    took: Duration,
}

impl Stage {
    /// Builds it, and runs each test without a change.
    fn new(tree: &Path, words: &[&str], longest: Duration) -> Option<Self> {
        let build = cargo(tree).args(["test", "--no-run", "--color=never"]).args(words).output().expect("cargo");
        let said = String::from_utf8_lossy(&build.stderr);
        assert!(build.status.success(), "{said}");
        let package = words[1].trim_start_matches("invar-");
        let package = match package {
            "lock" => "lock",
            "tool" => "cli",
            _ => "",
        };
        let name = words.iter().filter(|word| !word.starts_with("-p") && !word.starts_with("invar-"));
        let name =
            name.map(|word| word.trim_start_matches("--")).filter(|word| *word != "test").collect::<Vec<_>>().join(" ");
        let mut stage = Self {
            name,
            folder: tree.join(package),
            has_units: words.contains(&"--lib"),
            tests: vec![],
            left_out: vec![],
        };
        let executables = said.lines().filter(|line| line.trim_start().starts_with("Executable "));
        let start = Instant::now();
        let mut long = vec![];
        for line in executables {
            let program = tree.join(line.rsplit_once('(').expect("a path").1.trim_end_matches(')'));
            let list = Command::new(&program).current_dir(&stage.folder).arg("--list").output().expect("a list").stdout;
            for line in String::from_utf8_lossy(&list).lines() {
                let Some(name) = line.strip_suffix(": test") else { continue };
                // Those that are skipped say why in front.
                let name = name.trim_start();
                if name.starts_with('[') {
                    continue;
                }
                match stage.test(tree, &program, name) {
                    Some(test) if test.took > longest => long.push(test.name),
                    Some(test) => stage.tests.push(test),
                    // Some tests look at the code that the compiler made, which is another one here.
                    None => stage.left_out.push(name.to_owned()),
                }
            }
        }
        println!("{}: {} tests, {:.1} s", stage.name, stage.tests.len(), start.elapsed().as_secs_f32());
        for test in stage.tests.iter().filter(|_| !stage.has_units) {
            println!("  {:.1} s\t{}", test.took.as_secs_f32(), test.name);
        }
        long.iter().for_each(|test| println!("  without the test {test:?}, which takes longer"));
        stage.left_out.iter().for_each(|test| println!("  without the test {test:?}, which fails"));
        stage.left_out.extend(long);
        (!stage.tests.is_empty()).then_some(stage)
    }

    /// Runs a test without a change; `None` if it fails.
    fn test(&self, tree: &Path, program: &Path, name: &str) -> Option<Test> {
        let path = tree.join("seen");
        fs::write(&path, [0; MOST]).expect("a file");
        let command = || {
            let mut command = self.command(program, Duration::from_secs(1200));
            command.args(["--exact", name]).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        // Programs are built first, once for all changes; no change has the number 0.
        if !self.has_units && !command().status().expect("timeout").success() {
            return None;
        }
        let start = Instant::now();
        let passes = command().env("MUTANTS_SEEN", &path).env("MUTANT", "0").status().expect("timeout").success();
        let seen = fs::read(&path).expect("a file").iter().map(|&byte| byte != 0).collect();
        passes.then(|| Test { program: program.into(), name: name.into(), seen, took: start.elapsed() })
    }

    /// How a change dies by these tests. The first that fails is the last.
    fn kill(&self, number: usize, tests: &[&Test]) -> Option<&str> {
        let mut programs: Vec<_> = tests.iter().map(|test| &test.program).collect();
        programs.dedup();
        programs.into_iter().find_map(|program| {
            let run: Vec<_> = tests.iter().filter(|test| test.program == *program).collect();
            let took = run.iter().map(|test| test.took).sum::<Duration>();
            // Time enough, also where much else runs.
            let mut command = self.command(program, 5 * took + Duration::from_secs(10));
            let others = self.tests.iter().filter(|test| test.program == *program).map(|test| &test.name);
            let others = others.filter(|name| !run.iter().any(|run| run.name == **name)).chain(&self.left_out);
            command.arg("--exact").args(others.flat_map(|name| ["--skip", name]));
            command.env("MUTANT", number.to_string());
            let said = program.with_extension("said");
            // A file: who outlives the tests could hold a pipe open for ever.
            let file = File::create(&said).expect("a file");
            let mut timeout = command.stdout(file).stderr(Stdio::null()).spawn().expect("timeout");
            loop {
                if let Some(status) = timeout.try_wait().expect("timeout") {
                    let too_long = status.code() == Some(137) || status.signal() == Some(9);
                    return (!status.success()).then_some(if too_long { ", whose time is up" } else { "" });
                }
                if String::from_utf8_lossy(&fs::read(&said).expect("a file")).contains(" FAILED\n") {
                    // It passes the signal on to its group.
                    let _ = Command::new("kill").arg(timeout.id().to_string()).status();
                    let _ = timeout.wait();
                    return Some("");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    }

    fn command(&self, program: &Path, limit: Duration) -> Command {
        let mut timeout = Command::new("timeout");
        timeout.args(["-s", "KILL", &limit.as_secs().to_string()]).current_dir(&self.folder);
        // A change may ask for memory without end. What a test builds is built as its own program was.
        timeout.args(["prlimit", "--as=17179869184"]).arg(program).env("RUSTC_BOOTSTRAP", BOOTSTRAP);
        timeout.stdin(Stdio::null());
        timeout
    }
}

/// The one crate that may use what the compiler has for itself: the switch does.
const BOOTSTRAP: &str = "invar_abi";

fn cargo(tree: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tree).env("RUSTFLAGS", "--cap-lints=warn").env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.env("RUSTC_BOOTSTRAP", BOOTSTRAP).env_remove("CARGO_TARGET_DIR");
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_tests_is_known() {
        assert_every_file_is_known(&root());
    }

    #[test]
    fn what_is_for_tests_is_not_changed() {
        let is_for_tests = |file: &str| is_for_tests(&root(), Path::new(file));
        assert!(is_for_tests("src/module/image.rs") && is_for_tests("src/key/decide/tests.rs"));
        assert!(!is_for_tests("src/module/lock.rs") && !is_for_tests("src/key/decide/seal.rs"));
    }

    /// Where none was before.
    #[test]
    fn a_copy_has_all_that_git_knows() {
        let tree = std::env::temp_dir().join(format!("invar-mutants-{}", std::process::id()));
        let mutants = copy(&root(), &tree, &["abi/judge.rs".into()]);
        let features = fs::read_to_string(tree.join("macros/src/features/x86_64.rs"));
        let changed = fs::read_to_string(tree.join("abi/judge.rs"));
        fs::remove_dir_all(&tree).expect("our own folder");
        assert!(features.is_ok(), "by a link");
        assert!(!mutants.is_empty() && changed.is_ok_and(|text| text.contains("mutants")));
    }
}
