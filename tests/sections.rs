//! What the feature `assert` finds, in builds with debug assertions and in no other.

mod common;

use common::{ANYWHERE, Build, command, output, run, sites, test};
use std::process::ExitCode;

fn main() -> ExitCode {
    run([
        test("careful sections are nobody's business", sites(), careful_sections_are_fine),
        test("a nested section is found", sites(), || found("nested", "begins inside another one")),
        test("a forgotten section is found", sites(), || found("forgotten", "behind one that was forgotten")),
        test("a lock under a lock is found", sites(), || found("locks", "begins inside another one")),
        test("a section that ends elsewhere is found", sites(), || found("other thread", "ends in another thread")),
        test("without the feature nothing is asserted", ANYWHERE, || nobody_minds(&Build::debug())),
        test("a release build asserts nothing", ANYWHERE, || {
            nobody_minds(&asserting(Build::release(), "asserting-release"))
        }),
    ])
}

fn asserting(build: Build, name: &str) -> Build {
    build.named(name).argument("--features").argument("assert")
}

/// With the extension absent, and with requests that are set.
const SLICE: [&str; 2] = ["slice=off", "slice=force"];

fn careful_sections_are_fine() {
    let program = asserting(Build::debug(), "asserting-debug").program("careless");
    for slice in SLICE {
        let output = output(command(&program).arg("careful").env("INVAR_KEYS", slice));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The line of the program that has the case's name behind it.
fn line(case: &str) -> usize {
    let source = include_str!("programs/careless/src/main.rs");
    1 + source.lines().position(|line| line.ends_with(&format!("// {case}"))).expect("a line of this case")
}

fn found(case: &str, message: &str) {
    let program = asserting(Build::debug(), "asserting-debug").program("careless");
    for slice in SLICE {
        let output = output(command(&program).arg(case).env("INVAR_KEYS", slice));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(101), "{errors}");
        let place = format!("careless/src/main.rs:{}:", line(case));
        assert!(errors.contains(message) && errors.contains(&place), "{errors}");
    }
}

fn nobody_minds(build: &Build) {
    let program = build.program("careless");
    for (case, slice) in
        ["careful", "nested", "forgotten", "locks", "other thread"].into_iter().zip(SLICE.iter().cycle())
    {
        let output = output(command(&program).arg(case).env("INVAR_KEYS", slice));
        assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "nobody minded; a section has 0 bytes\n");
    }
}
