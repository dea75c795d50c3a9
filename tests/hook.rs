//! The hook on thread creation: threads are what they are without it, whatever the linker; and where slices are off it
//! makes no system call.

mod common;

use common::elf;
use common::trace::{self, no_tracing};
use common::{ANYWHERE, Build, command, output, run, sites, test};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let linked = |linker: &'static str| {
        let missing = sites().or_else(|| no_linker(linker));
        test(&format!("linked by {linker}"), missing, move || assert_hooked(&linked_by(linker)))
    };
    run([
        test("without the feature nothing is defined", ANYWHERE, without_the_feature_nothing_is_defined),
        linked(RUST_LLD),
        linked("bfd"),
        linked("gold"),
        linked("mold"),
        linked("lld"),
        test("in a debug build", sites(), || assert_hooked(&hooked(Build::debug(), "hook-debug"))),
        test("with fat LTO, and panics that abort", sites(), || {
            let build = hooked(Build::release(), "hook-fat").setting("lto", "fat").setting("panic", "abort");
            assert_hooked(&build);
        }),
        test("in a static program", sites(), in_a_static_program),
        test("where sites are not bound", ANYWHERE, where_sites_are_not_bound),
        test("a hook that libraries do not find is seen", sites(), a_hidden_hook_is_seen),
        test("handing over makes no system call", sites().or_else(no_tracing), handing_over_makes_no_system_call),
    ])
}

fn hooked(build: Build, name: &str) -> Build {
    build.named(name).argument("--features").argument("hook")
}

/// The linker that rustc brings along.
const RUST_LLD: &str = "rust-lld";

fn linked_by(linker: &str) -> Build {
    let build = hooked(Build::release(), &format!("hook-{linker}"));
    if linker == RUST_LLD {
        return build;
    }
    build.rustflag("-Clinker-features=-lld").rustflag(format!("-Clink-arg=-fuse-ld={linker}"))
}

/// Why it cannot be used here, from a try.
fn no_linker(name: &str) -> Option<String> {
    if name == RUST_LLD {
        return None;
    }
    let mut cc = Command::new("cc");
    cc.args([&format!("-fuse-ld={name}"), "-Wl,--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    let found = cc.current_dir(common::scratch()).status().is_ok_and(|status| status.success());
    (!found).then(|| format!("cc has no linker {name}"))
}

/// What the program says, with these settings.
fn said(program: &Path, settings: &[(&str, &str)]) -> String {
    let output = output(command(program).arg(Build::release().library("starter")).envs(settings.iter().copied()));
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const EXPECTED: &str = "\
std::thread\t4950
pthread_create\ttrue
thrd_create\t-5
pthread_exit\ttrue
pthread_cancel\ttrue
smallest stack\ttrue
detached\t10
refused\ttrue, true
errno\t77, 0
at once\t39800
";

const LIBRARY: &str = "the library calls what the program calls\ttrue\nlibrary\t7\n";

fn expected(slice: bool) -> String {
    format!("time slice key\t{slice}\nhook in front\ttrue\n{EXPECTED}{LIBRARY}")
}

/// What of libc's the program defines, for shared libraries to find.
fn defined(program: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(program).unwrap();
    let names = elf::exported(&bytes);
    names.into_iter().filter(|name| ["pthread_create", "thrd_create"].contains(&name.as_str())).collect()
}

fn assert_hooked(build: &Build) {
    let program = build.program("threads");
    assert_eq!(defined(&program).len(), 2, "{:?}", defined(&program));
    // With slices absent a pass-through; else by way of the new thread's own first steps.
    assert_eq!(said(&program, &[("INVAR_KEYS", "slice=off")]), expected(false));
    assert_eq!(said(&program, &[("INVAR_KEYS", "slice=force")]), expected(true));
}

fn without_the_feature_nothing_is_defined() {
    let program = Build::release().program("threads");
    assert!(defined(&program).is_empty());
    let said = said(&program, &[("INVAR_KEYS", "slice=off")]);
    assert_eq!(said, format!("time slice key\tfalse\n{EXPECTED}{LIBRARY}"));
}

fn in_a_static_program() {
    let program = hooked(Build::release(), "hook-static").rustflag("-Ctarget-feature=+crt-static").program("threads");
    for (setting, slice) in [("slice=off", false), ("slice=force", true)] {
        let output = output(command(&program).env("INVAR_KEYS", setting));
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("time slice key\t{slice}\nhook in front\ttrue\n{EXPECTED}"));
    }
}

fn where_sites_are_not_bound() {
    let program = linked_by(RUST_LLD).program("threads");
    let slice = invar_arch::PATCHES;
    let settings = [("INVAR_KEYS", if slice { "slice=force" } else { "slice=off" }), ("INVAR_WRITER", "off")];
    assert_eq!(said(&program, &settings), expected(slice));
}

fn a_hidden_hook_is_seen() {
    let build = hooked(Build::release(), "hook-hidden").link_argument("-Wl,--exclude-libs,ALL");
    let program = build.program("threads");
    assert!(defined(&program).is_empty());
    let seen = expected(true).replace("front\ttrue", "front\tfalse").replace("calls\ttrue", "calls\tfalse");
    assert_eq!(said(&program, &[("INVAR_KEYS", "slice=force")]), seen);
}

fn handing_over_makes_no_system_call() {
    const THREADS: usize = 20;
    // Loading the two programs differs; so what the second half of the threads adds.
    let added = |program: PathBuf, setting: &str| {
        let calls = |threads: usize| {
            let mut command = command(&program);
            command.args(["--only", &threads.to_string()]).env("INVAR_KEYS", setting);
            trace::calls(command).unwrap().len()
        };
        calls(2 * THREADS) - calls(THREADS)
    };
    // Forced, nothing is enrolled: what is left is what the new threads need to know.
    for setting in ["slice=off", "slice=force"] {
        let without = added(Build::release().program("threads"), setting);
        let with = added(linked_by(RUST_LLD).program("threads"), setting);
        println!("{setting}: {with} calls for {THREADS} threads with the hook, {without} without");
        assert_eq!(with, without);
    }
}
