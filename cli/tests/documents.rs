//! What the command prints has the fields that `docs/json.md` lists; its manual has the options that it takes.

mod common;

use common::{ANYWHERE, INVAR, Waiting, invar, needs, run, sites, test};
use invar_tool::doctor::{BEGINNINGS, Cause};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SUBJECT) {
        drop(invar::timeslice::enter());
        return ExitCode::SUCCESS;
    }
    run([
        test("probe's fields are those of the documentation", ANYWHERE, fields_of_probe),
        test("doctor's, and its causes", ANYWHERE, fields_of_doctor),
        test("those of a file's sites", sites(), fields_of_sites),
        test("those of a manifest", sites(), fields_of_a_manifest),
        test("those of a verified process", sites().or_else(|| needs("/proc/self/mem")), fields_of_a_verified_process),
        test("those of a profile", sites(), fields_of_a_profile),
        test("those of a run", needs("/bin/true"), fields_of_a_run),
        test("those of a stress test", sites().or_else(no_stress), fields_of_a_stress_test),
        test("the manual is made of the help", ANYWHERE, manual_of_the_help),
    ])
}

const JSON: &str = include_str!("../../docs/json.md");
const MANUAL: &str = include_str!("../../capi/man/invar.1");

/// With this argument the tests are a program that has a section.
const SUBJECT: &str = "subject";

/// The fields in the first table behind this text.
fn listed(behind: &str) -> BTreeSet<String> {
    listed_in(JSON, behind)
}

fn listed_in(text: &str, behind: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(behind).unwrap_or_else(|| panic!("docs/json.md has no {behind:?}"));
    let table = rest.lines().skip_while(|line| !line.starts_with("| field |"));
    let rows = table.skip(2).map_while(|line| line.strip_prefix("| "));
    let names = rows.flat_map(|row| row.split(" | ").next().unwrap().split(", ").map(str::to_owned));
    names.collect()
}

fn fields(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap_or_else(|| panic!("{object} is no object")).keys().cloned().collect()
}

/// The entries of an array, of which there is one.
fn entries(value: &Value) -> &[Value] {
    let entries = value.as_array().expect("an array");
    assert!(!entries.is_empty());
    entries
}

fn assert_all(objects: &[Value], listed: &BTreeSet<String>) {
    for object in objects {
        assert_eq!(&fields(object), listed, "{object:#}");
    }
}

fn fields_of_probe() {
    let document = invar(["probe", "--json"]).json();
    assert_eq!(fields(&document), listed("## invar.probe/1"));
    assert_all(entries(&document["keys"]), &listed("A key of `keys`:"));
}

fn fields_of_doctor() {
    let document = invar(["doctor", "--json"]).json();
    assert_eq!(fields(&document), listed("## invar.doctor/1"));
    let causes = JSON.split("| cause | string | why: ").nth(1).and_then(|rest| rest.lines().next()).expect("causes");
    let causes: BTreeSet<_> = causes.split('`').skip(1).step_by(2).collect();
    let known: Vec<_> = BEGINNINGS.iter().map(|(_, cause)| *cause).chain([Cause::Setting, Cause::Forced]).collect();
    let known = serde_json::to_value(known).unwrap();
    let known: BTreeSet<_> = entries(&known).iter().map(|cause| cause.as_str().unwrap()).collect();
    assert_eq!(causes, known);
}

fn fields_of_sites() {
    let document = invar(["sites", "--json", INVAR]).json();
    let mut listed_here = listed("## invar.sites/1");
    assert!(listed_here.remove("file *or* process"));
    listed_here.insert("file".into());
    assert_eq!(fields(&document), listed_here);

    let (_, sites) = JSON.split_once("## invar.sites/1").expect("a section");
    let modules = entries(&document["modules"]);
    assert_all(modules, &listed("A module of `modules`:"));
    for module in modules {
        assert_eq!(fields(&module["outcome"]), listed("`outcome`, as in"));
        assert_all(entries(&module["keys"]), &listed_in(sites, "A key of `keys`:"));
        assert_all(entries(&module["sites"]), &listed("A site of `sites`:"));
    }
}

fn fields_of_a_profile() {
    let this = std::env::current_exe().unwrap();
    let document = invar(["profile", "--json", "--", this.to_str().unwrap(), SUBJECT]).json();
    assert_eq!(fields(&document), listed("## invar.profile/1"));
    let mut of_process = listed("A process of `processes`:");
    // Its files are gone.
    assert!(of_process.remove("file"));
    assert_all(entries(&document["processes"]), &of_process);
    assert_all(entries(&document["sites"]), &listed("A site of `sites`, in all processes"));
}

fn fields_of_a_run() {
    let said = invar(["run", "--json", "--", "/bin/true"]);
    let document: Value = serde_json::from_str(&said.errors).expect("JSON");
    let (_, run) = JSON.split_once("## invar.run/1").expect("a section");
    assert_eq!(fields(&document), listed("## invar.run/1"));
    assert_all(entries(&document["locks"]), &listed_in(run, "An entry of `locks`:"));
}

fn fields_of_a_manifest() {
    let document = invar(["sites", "--manifest", INVAR]).json();
    let (_, tables) = JSON.split_once("## invar.manifest/1").expect("a section");
    assert_eq!(fields(&document), listed("## invar.manifest/1"));
    let sites = entries(&document["sites"]);
    assert_all(sites, &listed_in(tables, "An entry of `sites`:"));
    for site in sites {
        assert_all(entries(&site["new"]), &listed_in(tables, "A form of `new`:"));
    }
}

fn fields_of_a_verified_process() {
    let process = Waiting::start(INVAR);
    // A breakpoint in a bound site, so that there is something of each kind.
    let listed_sites = invar(["sites", "--json", &process.pid()]).json();
    let module = &listed_sites["modules"][0];
    let number = |hex: &Value| u64::from_str_radix(hex.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let at = number(&module["base"]) + number(&module["sites"][0]["address"]);
    let memory = std::fs::File::options().write(true).open(format!("/proc/{}/mem", process.pid())).unwrap();
    memory.write_all_at(&[0xcc], at).unwrap();

    let document: Value = serde_json::from_str(&invar(["verify", "--json", &process.pid()]).out).unwrap();
    let (_, tables) = JSON.split_once("## invar.verify/1").expect("a section");
    assert_eq!(fields(&document), listed("## invar.verify/1"));
    let of_process = entries(&document["processes"]);
    assert_all(of_process, &listed_in(tables, "A process of `processes`:"));
    let files = entries(&of_process[0]["files"]);
    assert_all(files, &listed_in(tables, "A file of `files`:"));
    let own = files.iter().find(|file| !file["unexplained"].as_array().unwrap().is_empty()).expect("a breakpoint");
    assert_all(entries(&own["sites"]), &listed_in(tables, "A site of a file's `sites`:"));
    assert_all(entries(&own["unexplained"]), &listed_in(tables, "A difference of `unexplained`:"));
}

/// Why this machine cannot run one.
fn no_stress() -> Option<String> {
    let said = invar(["stress", "--executions=1"]);
    (said.code == 2).then(|| said.errors.trim().to_owned())
}

fn fields_of_a_stress_test() {
    let document = invar(["stress", "--json", "--executions=1"]).json();
    assert_eq!(fields(&document), listed("## invar.stress/1"));
    for field in ["executions", "stood"] {
        assert_eq!(fields(&document[field]), listed("`executions` and `stood`:"));
    }
    assert_eq!(fields(&document["exchanges"]), listed("`exchanges`:"));
}

/// What the command prints as its manual is the page that is installed.
fn manual_of_the_help() {
    let made = invar(["manual"]).text();
    if std::env::var_os("INVAR_TEST_WRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../capi/man/invar.1"), made).unwrap();
        return;
    }
    for (at, (is, wanted)) in MANUAL.lines().zip(made.lines()).enumerate() {
        assert_eq!(is, wanted, "invar(1), line {}: INVAR_TEST_WRITE=1 writes it anew", at + 1);
    }
    assert_eq!(MANUAL, made, "invar(1): INVAR_TEST_WRITE=1 writes it anew");
    // What the help says of the exit code is in it too.
    let plain = made.replace("\\", "");
    for command in ["probe", "doctor", "sites", "verify", "run", "profile", "stress", "set", "completions"] {
        let help = invar([command, "--help"]).text();
        let words =
            |text: &str| text.split_whitespace().map(|word| word.replace('`', "")).collect::<Vec<_>>().join(" ");
        let first = help.split("\n\n").next().expect("a paragraph");
        assert!(
            words(&plain).contains(words(first).trim_end_matches('.')),
            "invar(1) has not what {command} is: {first}"
        );
        let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.map(|word| word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric())) {
            let is_there = matches!(option, "help" | "version") || plain.contains(&format!("\nfB--{option}fR"));
            assert!(is_there, "invar(1) has no --{option}");
        }
    }
}
