//! `invar`, `invar probe`, and what is common to all commands.

mod common;

use common::{ANYWHERE, HAS_SITES, INVAR, command, invar, needs, run, sites, terminal, test};
use std::process::{ExitCode, Stdio};

fn main() -> ExitCode {
    run([
        test("probe lists the built-in keys with evidence", ANYWHERE, probe_lists_the_built_in_keys),
        test("probe's JSON says the same", ANYWHERE, json_says_the_same),
        test("a setting shows in the verdict", ANYWHERE, a_setting_shows_in_the_verdict),
        test("without arguments it shows itself", needs("/proc/self/mem"), without_arguments_it_shows_itself),
        test("critical sections are measured if asked for", ANYWHERE, critical_sections_are_measured_if_asked_for),
        test("colours are there if asked for", ANYWHERE, colours_are_there_if_asked_for),
        test("progress is said on a terminal alone", sites(), progress_is_said_on_a_terminal_alone),
        test("completions name each command", ANYWHERE, completions_name_each_command),
        test("nothing is bound by setting", needs("/proc/self/mem"), nothing_is_bound_by_setting),
        test("usage errors exit with 2", ANYWHERE, usage_errors_exit_with_2),
        test("help and version exit with 0", ANYWHERE, help_and_version_exit_with_0),
        test("a reader may go away", ANYWHERE, a_reader_may_go_away),
        test("a full disk is an error", needs("/dev/full"), a_full_disk_is_an_error),
        test(
            "errors that nobody can read change nothing",
            needs("/dev/full"),
            errors_that_nobody_can_read_change_nothing,
        ),
    ])
}

fn probe_lists_the_built_in_keys() {
    let text = invar(["probe"]).text();
    let first = text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(first[0], "slice");
    assert!(["on", "off"].contains(&first[1]) && first.len() > 4, "no evidence: {first:?}");
    assert_eq!(text.contains("cpu.avx2 "), cfg!(target_arch = "x86_64"), "{text}");
    assert!(!text.contains("invar.cpus"), "the command's own keys are not built in");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

fn json_says_the_same() {
    let text = invar(["probe"]).text();
    let document = invar(["probe", "--json"]).json();
    assert_eq!(document["schema"], "invar.probe/1");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["architecture"], invar_arch::NAME);
    let keys = document["keys"].as_array().unwrap();
    // Continued lines begin with more space.
    let lines = text.lines().filter(|line| !line[2..].starts_with(' ')).collect::<Vec<_>>();
    assert_eq!(keys.len(), lines.len());
    for (key, line) in keys.iter().zip(lines) {
        let words = ["name", "value", "origin"].map(|field| key[field].as_str().unwrap());
        assert!(line.split_whitespace().take(3).eq(words), "{line}\n{key}");
        assert!(key["evidence"].is_string());
    }
}

fn a_setting_shows_in_the_verdict() {
    let output = command(INVAR).args(["probe", "--json"]).env("INVAR_KEYS", "slice=off").output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["keys"][0]["name"], "slice");
    assert_eq!(document["keys"][0]["origin"], "setting");
}

fn without_arguments_it_shows_itself() {
    let text = invar([]).text();
    assert!(text.contains("\ntime slice extension: slice = "), "{text}");
    assert!(text.contains("  invar.cpus"), "{text}");
    let compares = ["40 80 3d ", "66 66 40 80 3d ", "66 40 80 3d "].map(|bytes| format!("    file    {bytes}"));
    let shown: usize = compares.iter().map(|compare| text.matches(compare).count()).sum();
    assert_eq!(shown >= 4, HAS_SITES, "{text}");
    assert_eq!(text.matches("    memory  ").count(), text.matches("    file    ").count());
    assert_eq!(text.contains(": bound to o"), HAS_SITES, "{text}");
    // What is there to be measured only is counted, and left to the table.
    let (this_machine, table) = text.split_once("what it saves\n").expect("a table");
    assert!(!table.is_empty());
    assert!(!this_machine.contains("invar-measure."), "{text}");
    assert_eq!(this_machine.contains(" sites that the table below measures: "), HAS_SITES, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    // Cold figures come first, critical sections only where they gain, and what was gained last.
    if HAS_SITES {
        let places = ["one call, ns", "  dispatch, bound", "  function pointer"].map(|words| table.find(words));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        let heading = table.lines().find(|line| line.starts_with("one call, ns")).unwrap();
        assert!(heading.find("cold") < heading.find("warm"), "{text}");
    }
    let has_slices = text.contains("time slice extension: slice = on");
    assert_eq!(table.contains("critical section"), has_slices, "{text}");
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("Gained on this machine"), "{text}");
}

fn critical_sections_are_measured_if_asked_for() {
    let text = invar(["--slices"]).text();
    assert_eq!(text.contains("critical section around nothing, ns"), HAS_SITES, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let said = invar(["--slices", "probe"]);
    assert_eq!((said.code, said.out.is_empty()), (2, true), "{}", said.errors);
}

fn colours_are_there_if_asked_for() {
    let said = |arguments: &[&str]| {
        let output = command(INVAR).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Standard output is a pipe.
    for arguments in [&["doctor"] as &[&str], &["doctor", "--color=auto"], &["doctor", "--color=never"]] {
        assert!(!said(arguments).contains('\u{1b}'), "{arguments:?}");
    }
    let coloured = said(&["doctor", "--color=always"]);
    assert!(coloured.starts_with("\u{1b}[1mtime slice extension\u{1b}[0m"), "{coloured:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), said(&["--color", "never", "doctor"]));
    assert_eq!(invar(["doctor", "--color=sometimes"]).code, 2);
}

/// The test of one site is over at once, but what is done is said before.
fn progress_is_said_on_a_terminal_alone() {
    let arguments = ["stress", "--executions=1"];
    let quiet = invar(arguments);
    assert!(quiet.errors.is_empty() || quiet.code == 2, "{}", quiet.errors);
    let said = |colour: &str| {
        let (ours, theirs) = terminal();
        let output = command(INVAR).args(arguments).arg(colour).stderr(theirs).output().unwrap();
        assert_eq!(output.status.code(), Some(quiet.code));
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(!out.contains("testing: ") && !out.contains('\u{1b}'), "{out}");
        // The terminal's other side is closed: what was said is read, and then an error.
        let mut said = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &ours, &mut said);
        String::from_utf8(said).unwrap()
    };
    let plain = said("--color=never");
    assert!(plain.starts_with("\rtesting: 0 seconds"), "{plain:?}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    // The line is gone at the end.
    let first = plain.split('\r').nth(1).unwrap();
    assert!(plain.contains(&format!("\r{}\r", " ".repeat(first.len()))), "{plain:?}");
    assert!(said("--color=always").contains("\u{1b}[2mtesting: 0 seconds\u{1b}[0m"));
}

fn completions_name_each_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = invar(["completions", shell]).text();
        for word in ["probe", "doctor", "sites", "verify", "profile", "stress", "set", "completions", "manifest"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(invar(["completions", "none"]).code, 2);
}

fn nothing_is_bound_by_setting() {
    let output = command(INVAR).env("INVAR_WRITER", "off").stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = if HAS_SITES { "no site is bound: by setting" } else { "there is nothing to bind" };
    assert!(text.contains(&format!("\nsites of this program: {said}\n")), "{text}");
    assert!(!text.contains(": bound to"), "{text}");
    assert!(text.contains("\nGained on this machine: nothing. "), "{text}");
}

fn usage_errors_exit_with_2() {
    assert_eq!(invar(["sites"]).code, 2);
    assert_eq!(invar(["probe", "--jsn"]).code, 2);
    assert_eq!(invar(["nonsense"]).code, 2);
}

fn help_and_version_exit_with_0() {
    let help = invar(["--help"]).text();
    assert!(help.contains("probe") && help.contains("sites") && !help.contains("wait"), "{help}");
    assert!(help.contains("Exit code 1: the output"), "{help}");
    assert!(invar(["sites", "--help"]).text().contains("number of a process"));
    assert_eq!(invar(["--version"]).text(), format!("invar {}\n", env!("CARGO_PKG_VERSION")));
}

fn a_reader_may_go_away() {
    for arguments in [&["probe"] as &[&str], &["probe", "--json"], &["sites", INVAR], &["sites", "--json", INVAR]] {
        let mut child = command(INVAR).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
    }
}

fn a_full_disk_is_an_error() {
    for arguments in [&["probe"] as &[&str], &["sites", "--json", INVAR], &["--help"], &["--version"]] {
        let output = command(INVAR).args(arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("invar: cannot write the output: "));
    }
}

fn errors_that_nobody_can_read_change_nothing() {
    for arguments in [&["sites", "/nowhere/at/all"] as &[&str], &["nonsense"]] {
        let output = command(INVAR).args(arguments).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let output = command(INVAR).arg("probe").stdout(full()).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

fn full() -> std::fs::File {
    std::fs::File::options().write(true).open("/dev/full").unwrap()
}
