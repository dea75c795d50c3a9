//! `invar stress`: what is right passes, what is wrong is seen, and nothing is left behind.

mod common;

use common::{HAS_SITES, INVAR, Said, command, invar, needs, run_singly, sites, test};
use serde_json::Value;
use std::io::Error;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

fn main() -> ExitCode {
    let executes = || sites().or_else(not_possible);
    let refused = || executes().or_else(no_mdwe);
    run_singly([
        test("a billion executions are right", executes(), a_billion_executions_are_right),
        test("sites lie across lines and pages in every way", executes(), sites_lie_in_every_way),
        test("each writer alone is right", executes(), each_writer_alone_is_right),
        test("one thread is enough", executes(), one_thread_is_enough),
        test("a thread inside a site meets the forms of ABI 1", executes(), forms_of_abi_1_are_seen),
        test("stores by the byte are seen", executes(), stores_by_the_byte_are_seen),
        test("stores across cache lines are seen", executes(), stores_across_lines_are_seen),
        test("the text has the figures of the JSON", executes(), text_has_the_figures),
        test("where swap is refused, memfd is tested", refused(), memfd_is_tested_where_swap_is_refused),
        test("where all is refused, the reason is said", refused(), the_reason_is_said),
        test("elsewhere the reason is said", HAS_SITES.then(|| "sites are bound here".into()), no_sites_elsewhere),
        test("usage errors exit with 2", None, usage_errors_exit_with_2),
        test("its process ends with the command", executes().or_else(no_children), its_process_ends_with_the_command),
    ])
}

/// Why this machine cannot run the test, if that is so.
fn not_possible() -> Option<String> {
    let said = invar(["stress", "--executions=1"]);
    (said.code == 2).then(|| said.errors.trim().to_owned())
}

/// Why no process can be forbidden to make memory executable.
fn no_mdwe() -> Option<String> {
    let error = without_new_code(command("true")).status().err()?;
    Some(format!("prctl(PR_SET_MDWE): {error}"))
}

fn no_children() -> Option<String> {
    needs("/proc/thread-self/children")
}

fn a_billion_executions_are_right() {
    let document = invar(["stress", "--json", "--executions=1000000000"]).json();
    assert_eq!(document["wrong"], Value::Null);
    assert!(total(&document["executions"]) >= 1_000_000_000, "{document:#}");
    let exchanges = &document["exchanges"];
    assert!(number(&exchanges["swap"]) + number(&exchanges["memfd"]) > 0, "{document:#}");
    for kind in ["branch", "enter", "leave", "ordered", "select"] {
        assert!(number(&document["stood"][kind]) > 0, "no thread stood inside a {kind}: {document:#}");
    }
    for kind in ["branch", "enter", "leave", "ordered", "select", "constant"] {
        assert!(number(&document["executions"][kind]) > 0, "no {kind} was executed: {document:#}");
    }
    assert!(number(&document["switched"]) > 0, "{document:#}");
}

fn sites_lie_in_every_way() {
    let document = invar(["stress", "--json", "--executions=1"]).json();
    // The lengths of a branch, a slice enter, a slice leave, an ordered branch, a select, a constant.
    let lengths: [&[u64]; 6] = [&[10, 14], &[12, 16], &[11, 15], &[10, 14], &[9], &[7, 11]];
    let [branch, enter, leave, ordered, select, constant] =
        lengths.map(|lengths| lengths.iter().map(|length| length - 1).sum::<u64>());
    let pages = branch + enter + leave + ordered + select + constant;
    assert_eq!(number(&document["sites_across_pages"]), pages);
    // At every offset in a line, branches of two values, and leaves with and without a request.
    let in_lines = 2 * branch + enter + 2 * leave + ordered + select + constant;
    assert_eq!(number(&document["sites_across_lines"]), in_lines + pages);
    assert_eq!(number(&document["sites"]), (7 * 2 + 1) * 64 + pages);
}

fn each_writer_alone_is_right() {
    for (writer, other) in [("swap", "memfd"), ("memfd", "swap")] {
        let said = invar(["stress", "--json", "--executions=20000000", "--protocol", writer]);
        let document = said.json();
        assert_eq!((&document["wrong"], &document["protocol"]), (&Value::Null, &writer.into()));
        assert!(number(&document["exchanges"][writer]) > 0, "{document:#}");
        assert_eq!(number(&document["exchanges"][other]), 0, "{document:#}");
    }
}

fn one_thread_is_enough() {
    let document = invar(["stress", "--json", "--executions=1", "--threads=1"]).json();
    assert_eq!((&document["wrong"], number(&document["threads"])), (&Value::Null, 1));
    assert!(total(&document["stood"]) > 0, "{document:#}");
}

fn forms_of_abi_1_are_seen() {
    let wrong = seen("abi1");
    // Whoever goes on where the last instruction began is in the middle of a nop, whose bytes are zeros, and add to what
    // `rax` points to.
    assert!(wrong.starts_with("SIGSEGV at byte "), "{wrong}");
}

fn stores_by_the_byte_are_seen() {
    seen("bytes");
}

fn stores_across_lines_are_seen() {
    seen("lines");
}

/// What is said of a protocol that is wrong.
fn seen(protocol: &str) -> String {
    let said = invar(["stress", "--json", "--executions=1000000000", "--protocol", protocol]);
    assert_eq!((said.code, said.errors.as_str()), (1, ""), "{}", said.out);
    let document: Value = serde_json::from_str(&said.out).expect("JSON");
    let wrong = document["wrong"].as_str().expect("what is wrong").to_owned();
    let places = ["branch of", "slice enter of", "slice leave of", "select of", "constant of", "sites", "outside"];
    assert!(places.iter().any(|place| wrong.contains(place)), "it does not say where: {wrong}");

    let said = invar(["stress", "--executions=1000000000", "--protocol", protocol]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("\nWRONG: ") && !said.out.contains("\nright"), "{}", said.out);
    wrong
}

fn text_has_the_figures() {
    let text = invar(["stress", "--executions=1", "--threads=2"]).text();
    assert!(text.starts_with("2 threads for "), "{text}");
    for what in [
        "\n1078 sites, ",
        " exchanges of pages: ",
        " executions ",
        " with a thread inside\n",
        "\nordered branches ",
        "\nselects ",
        "\nconstants ",
        "\nthe key was set ",
        "\nright: ",
    ] {
        assert!(text.contains(what), "no {what:?} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

fn memfd_is_tested_where_swap_is_refused() {
    let document = hardened(&["--json", "--executions=1"]).json();
    assert_eq!(document["wrong"], Value::Null);
    assert!(number(&document["exchanges"]["memfd"]) > 0, "{document:#}");
    assert_eq!(number(&document["exchanges"]["swap"]), 0, "{document:#}");
    let remark = document["remarks"][0].as_str().expect("a remark");
    assert!(remark.starts_with("swap is refused: "), "{remark}");
}

fn the_reason_is_said() {
    for protocol in ["swap", "bytes"] {
        let why = hardened(&["--executions=1", "--protocol", protocol]).refusal();
        let expected = format!("the stress test is not possible here: {protocol} is refused: ");
        assert!(why.starts_with(&expected), "{why}");
    }
}

fn no_sites_elsewhere() {
    let why = invar(["stress"]).refusal();
    assert!(why.contains("leaves no sites"), "{why}");
}

fn usage_errors_exit_with_2() {
    for wrong in [
        &["--threads=0"] as &[&str],
        &["--seconds=0"],
        &["--executions=0"],
        &["--seconds=1", "--executions=1"],
        &["--protocol=mem"],
        &["1"],
    ] {
        let output = command(INVAR).arg("stress").args(wrong).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{wrong:?}");
    }
}

/// The command is killed, and this process gets its child: that was killed too, and did not end by itself.
fn its_process_ends_with_the_command() {
    // SAFETY: a setting of this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let mut invar = command(INVAR);
    invar.args(["stress", "--seconds=30", "--threads=2"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut invar = invar.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", invar.id());
    let tester = loop {
        assert!(invar.try_wait().unwrap().is_none(), "the command has ended");
        let tester = std::fs::read_to_string(&children).unwrap_or_default();
        let threads = std::fs::read_dir(format!("/proc/{}/task", tester.trim()));
        // It has done by then what it does first.
        if threads.is_ok_and(|threads| threads.count() == 3) {
            break tester.trim().parse::<i32>().expect("one child");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    invar.kill().unwrap();
    invar.wait().unwrap();
    let mut status = 0;
    // SAFETY: a system call that writes a number.
    let ended = unsafe { libc::waitpid(tester, &mut status, 0) };
    assert_eq!(ended, tester, "{}", Error::last_os_error());
    assert_eq!(std::process::ExitStatus::from_raw(status).signal(), Some(libc::SIGKILL));
}

/// A run where the kernel lets nobody make memory executable.
fn hardened(arguments: &[&str]) -> Said {
    let mut hardened = without_new_code(command(INVAR));
    let output = hardened.arg("stress").args(arguments).output().expect("the command starts");
    Said {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        errors: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// With `PR_MDWE_REFUSE_EXEC_GAIN` (include/uapi/linux/prctl.h, Linux 6.3), which children inherit.
fn without_new_code(mut command: Command) -> Command {
    const PR_SET_MDWE: i32 = 65;
    // SAFETY: a system call on numbers, in the child.
    unsafe {
        command.pre_exec(|| match libc::prctl(PR_SET_MDWE, 1, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        });
    }
    command
}

fn total(by_kind: &Value) -> u64 {
    by_kind.as_object().expect("a number for each kind").values().map(number).sum()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
