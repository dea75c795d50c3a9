//! The guest itself: it is the same in every run, and one that hangs is stopped.

use crate::kernels::{Kernel, job};
use crate::programs::{image, program};
use crate::test;
use invar_guest::console::End;
use invar_guest::machine::QEMU;
use libtest_mimic::Trial;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

pub fn tests() -> Vec<Trial> {
    vec![
        test("a repeated run is the same, byte by byte", Kernel::On.missing(), a_repeated_run_is_the_same),
        test("a guest that hangs is stopped", Kernel::On.missing(), a_guest_that_hangs_is_stopped),
        test("the command reports like a test run", Kernel::On.missing(), the_command_reports),
        test("a folder is there as it is here", Kernel::On.missing(), a_folder_is_there),
        test("a guest that goes down is not taken for one that is well", Kernel::On.missing(), a_guest_that_goes_down),
        test("a guest goes with who runs it", Kernel::On.missing(), a_guest_goes_with_who_runs_it),
    ]
}

fn a_repeated_run_is_the_same() {
    let again = Kernel::On.boot().unwrap_or_else(|error| panic!("{error}"));
    assert!(!again.stopped && again.outcomes.len() > 5, "{}", again.console);
    assert_eq!(Kernel::On.run().console, again.console);
}

fn a_guest_that_hangs_is_stopped() {
    let jobs = [job("well", &[], &["/bin/sections"]), job("hangs", &[], &["/bin/contend", "spin", "0", "1000000000"])];
    // Here, as much time as this machine needs for what ends.
    let stopped_after = |seconds| {
        let mut machine = Kernel::OffAtBoot.machine();
        machine.limit = Duration::from_secs(seconds);
        let run = machine.run(&image().unwrap(), &jobs).unwrap_or_else(|error| panic!("{error}"));
        assert!(run.stopped);
        run
    };
    let mut runs = [10, 40, 160].into_iter().map(stopped_after);
    let run = runs.find(|run| run.output("well").is_ok()).expect("a guest that gets on");
    let error = run.outcome("hangs").unwrap_err().to_string();
    assert!(error.starts_with("the guest was stopped at its time limit before `hangs`"), "{error}");
    assert!(error.contains("### begin hangs\n"), "its console is shown: {error}");
}

fn the_command_reports() {
    let contend = program("contend").unwrap();
    let (good, bad) = (format!("{} spin 1 1", contend.display()), format!("{} badly 1 1", contend.display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_invar-guest"));
    let output = command.args(["run", "--show-output", &good, &bad]).output().expect("the command");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{said}");
    assert!(said.contains("running 2 tests") && said.contains("1 passed; 1 failed"), "{said}");
    assert!(said.contains("operations\t") && said.contains("no such way"), "{said}");
}

/// A program by a link, in a folder that only its owner may enter, with its libraries; one that may not be executed.
fn a_folder_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    for (name, mode) in [("program", 0o700), ("file", 0o600)] {
        std::fs::copy(program("contend").unwrap(), inner.join(name)).unwrap();
        std::fs::set_permissions(inner.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    symlink("inner/program", folder.path().join("link")).unwrap();
    let mut image = image().unwrap();
    image.tree("/there".into(), folder.path()).unwrap();
    let jobs = [job("link", &[], &["/there/link", "spin", "1", "1"]), job("file", &[], &["/there/inner/file"])];
    let run = Kernel::OffAtBoot.machine().run(&image, &jobs).unwrap_or_else(|error| panic!("{error}"));
    assert!(run.output("link").unwrap_or_else(|error| panic!("{error}")).contains("operations\t"));
    assert_eq!(run.outcome("file").unwrap().end, End::Error(13), "EACCES");
}

fn a_guest_that_goes_down() {
    let mut machine = Kernel::OffAtBoot.machine();
    machine.line += " rdinit=/nothing";
    let run = machine
        .run(&image().unwrap(), &[job("any", &[], &["/bin/sections"])])
        .unwrap_or_else(|error| panic!("{error}"));
    let error = run.output("any").unwrap_err().to_string();
    assert!(error.starts_with("the guest went down before `any`") && error.contains("Kernel panic"), "{error}");
}

fn a_guest_goes_with_who_runs_it() {
    let forever = format!("{} spin 1 1000000000", program("contend").unwrap().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_invar-guest"));
    let mut runner = command.args(["run", &forever]).stdout(Stdio::null()).spawn().expect("the command");
    let threads = format!("/proc/{}/task", runner.id());
    // The program that a process executes; none if it has ended, waited for or not.
    let executes = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    let emulator = sooner_or_later("an emulator", || {
        let threads = std::fs::read_dir(&threads).into_iter().flatten().flatten();
        let mut children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let child = children.find(|list| !list.is_empty())?.trim().to_owned();
        executes(&child)?.ends_with(QEMU).then_some(child)
    });
    runner.kill().unwrap();
    runner.wait().unwrap();
    sooner_or_later("its end", || executes(&emulator).is_none().then_some(()));
}

/// Asks until there is an answer.
fn sooner_or_later<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(answer) = answer() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    panic!("{what}: never");
}
