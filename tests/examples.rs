//! Each of `examples/` prints what it says, bound and not.

mod common;

use common::{ANYWHERE, command, must, run, scratch, test};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    run([
        test("examples/README.md lists each example, with a test", ANYWHERE, each_is_listed),
        test("branch", ANYWHERE, || {
            prints("branch", &[], "nop\njump\n");
            prints("branch", &[("CHATTY", "1")], "nop\n  has 3 letters\njump\n  has 4 letters\n");
        }),
        test("dispatch", ANYWHERE, || {
            prints("dispatch", &[], "3 spaces\n");
            prints("dispatch", &[("INVAR_KEYS", "cpu.avx2=off")], "3 spaces\n");
        }),
        test("multiversion", ANYWHERE, || {
            let version = if invar::cpu::AVX2.get() { "avx2" } else { "plain" };
            prints("multiversion", &[], &format!("3 spaces, by the version {version}\n"));
            prints("multiversion", &[("INVAR_KEYS", "cpu.avx2=off")], "3 spaces, by the version plain\n");
        }),
        test("switch", ANYWHERE, || prints("switch", &[], "trace: step 2\nresult: 6\n")),
        test("constant", ANYWHERE, || {
            prints("constant", &[("INVAR_KEYS", "invar-examples.parts=1")], "parts: 1\nsum: 499500\n");
            let parts = 2 * std::thread::available_parallelism().unwrap().get();
            prints("constant", &[], &format!("parts: {}\nsum: 499500\n", parts.min(64)));
        }),
        test("pointers", ANYWHERE, || {
            prints("pointers", &[], "295\n");
            prints("pointers", &[("INVAR_KEYS", "cpu.avx2=off")], "295\n");
        }),
        test("lock", ANYWHERE, || prints("lock", &[], "40000\n")),
        test("library", ANYWHERE, || {
            prints("library", &[], "nop and NOP are the same: false\n");
            prints("library", &[("FOLD_CASE", "1")], "nop and NOP are the same: true\n");
        }),
        test("plugin", ANYWHERE, || {
            prints("plugin", &[], "42\ninvar-example-plugin.negative = off\n");
            prints("plugin", &[("NEGATIVE", "1"), ("QUIET", "1")], "-42\n");
        }),
        test("no_std", ANYWHERE, || prints_as(small(), "no_std", &[], "to a file or a pipe\n")),
    ])
}

/// Where cargo leaves the examples, with these words more.
fn built(words: &[&str]) -> PathBuf {
    let target = scratch().parent().expect("the target's folder").to_owned();
    let mut cargo = common::cargo();
    cargo.args(["build", "--quiet", "--locked", "--package=invar-examples"]).args(words);
    must(cargo.arg("--target-dir").arg(&target).current_dir(env!("CARGO_MANIFEST_DIR")));
    target
}

fn usual() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built(&["--examples"]).join("debug/examples"))
}

fn small() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built(&["--profile=small", "--features=no_std", "--example=no_std"]).join("small/examples"))
}

fn prints(name: &str, settings: &[(&str, &str)], expected: &str) {
    prints_as(usual(), name, settings, expected);
}

/// As it is, and where it is to decide what it decides and bind nothing.
fn prints_as(folder: &Path, name: &str, settings: &[(&str, &str)], expected: &str) {
    for writer in ["auto", "off"] {
        let mut program: Command = command(folder.join(name));
        for variable in ["CHATTY", "FOLD_CASE", "NEGATIVE", "QUIET"] {
            program.env_remove(variable);
        }
        let said = must(program.env("INVAR_WRITER", writer).envs(settings.iter().copied())).stdout;
        assert_eq!(String::from_utf8(said).unwrap(), expected, "{name}, INVAR_WRITER={writer}, {settings:?}");
    }
}

/// In the manifest, in the README and here.
fn each_is_listed() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (manifest, readme, tests) =
        (read("examples/Cargo.toml"), read("examples/README.md"), read("tests/examples.rs"));
    let built: BTreeSet<_> =
        manifest.split("[[example]]\nname = \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let listed: BTreeSet<_> = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(built, listed);
    assert_eq!(built.len(), 10);
    for name in built {
        assert!(tests.contains(&format!("test(\"{name}\", ANYWHERE")), "{name} has no test");
    }
}
