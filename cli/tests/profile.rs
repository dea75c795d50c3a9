//! `invar profile`, on commands and on files.
//!
//! Commands that are counted are this very program, told to be a `subject`: its sites are known, and so is how often they are
//! entered. Files are written here after `docs/profile.md`, and by none of the command's code.

mod common;

use common::{ANYWHERE, INVAR, Said, Temporary, command, invar, needs, run, sites, test};
use invar::timeslice::enter;
use invar_tool::profile::layout::{BUCKETS, Table, bounds};
use invar_tool::profile::sites::{CountedFile, Profile};
use invar_tool::profile::source::{Frame, SourcePlace};
use invar_tool::profile::{listing, plot};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

fn main() -> ExitCode {
    if let Some(story) = std::env::args().nth(1).and_then(|argument| argument.strip_prefix(SUBJECT).map(String::from)) {
        return subject(&story);
    }
    run([
        test("every section is counted where it begins", sites(), every_section_is_counted_where_it_begins),
        test("a site is named by its line", lines(), a_site_is_named_by_its_line),
        test("durations are those of the clock", sites(), durations_are_those_of_the_clock),
        test("threads and processes add up", sites(), threads_and_processes_add_up),
        test("a program that is killed has counted", sites(), a_program_that_is_killed_has_counted),
        test("a program that still runs can be looked at", sites(), a_program_that_still_runs_can_be_looked_at),
        test("signals are the command's", sites(), signals_are_the_commands),
        test("text and JSON agree", sites(), text_and_json_agree),
        test("keys that are set stay set", ANYWHERE, keys_that_are_set_stay_set),
        test("the command goes on as ever", needs("/bin/sh"), the_command_goes_on_as_ever),
        test("who counts nothing is told so", needs("/bin/true"), who_counts_nothing_is_told_so),
        test("a command that cannot be run", needs("/etc/passwd"), a_command_that_cannot_be_run),
        test("the listing goes where it should", sites(), the_listing_goes_where_it_should),
        test("output that cannot be written", needs("/dev/full"), output_that_cannot_be_written),
        test("usage errors exit with 2", ANYWHERE, usage_errors_exit_with_2),
        test("each reason has its word", ANYWHERE, each_reason_has_its_word),
        test("sites with most to gain come first", ANYWHERE, sites_with_most_to_gain_come_first),
        test("buckets are those of the layout", ANYWHERE, buckets_are_those_of_the_layout),
        test("durations come from the two clocks", ANYWHERE, durations_come_from_the_two_clocks),
        test("processes with different clocks do not add up", ANYWHERE, different_clocks_do_not_add_up),
        test("a file that only counts threads", ANYWHERE, a_file_that_only_counts_threads),
        test("a module that is gone or another", birth(), a_module_that_is_gone_or_another),
        test("a frame of the program's own is shown", ANYWHERE, a_frame_of_the_programs_own_is_shown),
        test("what is no profile is refused", needs("/dev/null"), what_is_no_profile_is_refused),
        test("any length of a file is shown or refused", ANYWHERE, any_length_is_shown_or_refused),
        test("paths cannot speak to the terminal", ANYWHERE, paths_cannot_speak_to_the_terminal),
    ])
}

fn lines() -> Option<String> {
    sites().or_else(|| (!cfg!(debug_assertions)).then(|| "built without debug information".into()))
}

/// For tests that need to know when a file was made.
fn birth() -> Option<String> {
    let made = std::env::current_exe().unwrap().metadata().unwrap().created();
    made.err().map(|error| format!("the file system does not say when a file was made: {error}"))
}

// The subject.

const SUBJECT: &str = "subject:";

#[inline(never)]
fn often() -> u32 {
    let (_slice, line) = (enter(), line!());
    std::hint::black_box(line)
}

#[inline(never)]
fn seldom() -> u32 {
    let (_slice, line) = (enter(), line!());
    std::hint::black_box(line)
}

#[inline(always)]
fn inlined() -> u32 {
    let (_slice, line) = (enter(), line!());
    std::hint::black_box(line)
}

#[inline(never)]
fn around_inlined() -> u32 {
    inlined()
}

#[inline(never)]
fn another_around_inlined() -> u32 {
    inlined() + 1
}

#[inline(never)]
fn twice() -> u32 {
    inlined() + inlined()
}

#[inline(never)]
fn outer() {
    let _slice = enter();
    seldom();
}

#[inline(never)]
fn sleeping() {
    let _slice = enter();
    std::thread::sleep(NAP);
}

const NAP: Duration = Duration::from_millis(20);

fn repeat(number: usize, mut section: impl FnMut() -> u32) {
    for _ in 0..number {
        section();
    }
}

fn subject(story: &str) -> ExitCode {
    match story {
        "known" => {
            repeat(1000, often);
            repeat(7, seldom);
            repeat(5, || {
                outer();
                0
            });
            repeat(3, around_inlined);
            repeat(2, another_around_inlined);
            repeat(4, twice);
        }
        "sleep" => {
            sleeping();
            sleeping();
            repeat(1000, often);
        }
        "family" => {
            repeat(3, often);
            let threads = [(); 4].map(|()| std::thread::spawn(|| repeat(250, often)));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            // SAFETY: the child enters sections and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                repeat(40, often);
                // SAFETY: as it says.
                unsafe { libc::_exit(0) };
            }
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
            // Another program, of another number; and one of the same.
            assert!(told("known").status().unwrap().success());
            panic!("{}", told("known").exec());
        }
        "killed" => {
            repeat(11, often);
            // SAFETY: a system call on numbers.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        "interrupt" => {
            repeat(11, often);
            // SAFETY: a system call on numbers.
            unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
        }
        "wait" => {
            repeat(5, often);
            println!("ready");
            std::io::stdin().read_exact(&mut [0]).unwrap();
            repeat(6, often);
        }
        "keys" => print!("{}", std::env::var("INVAR_KEYS").unwrap_or_default()),
        story => panic!("{story}"),
    }
    ExitCode::SUCCESS
}

/// The arguments that make a subject of this program.
fn this(story: &str) -> [String; 2] {
    [std::env::current_exe().unwrap().to_str().unwrap().into(), format!("{SUBJECT}{story}")]
}

fn told(story: &str) -> Command {
    let [program, argument] = this(story);
    let mut command = Command::new(program);
    command.arg(argument);
    command
}

// Running it.

fn profile(options: &[&str], story: &str) -> Command {
    let mut profile = command(INVAR);
    profile.arg("profile").args(options).arg("--").args(this(story));
    profile
}

fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

fn counted(story: &str) -> Value {
    said(profile(&["--json"], story)).json()
}

fn site_list(document: &Value) -> &Vec<Value> {
    document["sites"].as_array().expect("sites")
}

/// The sites in functions of this name, from the symbol table, which is there in any build.
fn sites_in<'a>(document: &'a Value, function: &str) -> Vec<&'a Value> {
    let is_in = |site: &&Value| site["symbol"]["name"].as_str().is_some_and(|name| name.ends_with(function));
    site_list(document).iter().filter(is_in).collect()
}

fn site_in<'a>(document: &'a Value, function: &str) -> &'a Value {
    let [site] = sites_in(document, function)[..] else { panic!("not one site in {function}: {document:#}") };
    site
}

fn requests(document: &Value, function: &str) -> Value {
    site_in(document, function)["requests"].clone()
}

/// The lengths that a histogram has sections of: from and below, in nanoseconds, and how many.
fn held(site: &Value) -> Vec<(f64, f64, u64)> {
    let bucket = |bucket: &Value| {
        let number = |field: &str| bucket[field].as_f64().unwrap_or(f64::INFINITY);
        (number("from_ns"), number("below_ns"), bucket["sections"].as_u64().unwrap())
    };
    site["held"].as_array().unwrap().iter().map(bucket).collect()
}

fn every_section_is_counted_where_it_begins() {
    let document = counted("known");
    assert_eq!(document["schema"], "invar.profile/1");
    assert_eq!(document["command"], serde_json::json!(this("known")));
    assert_eq!(document["exit_code"], 0);
    let addresses = site_list(&document).iter().map(|site| site["addresses"].as_array().unwrap().len());
    assert_eq!(addresses.sum::<usize>(), 7, "{document:#}");
    for (function, requests, nested) in [
        ("::often", 1000, 0),
        ("::seldom", 12, 0),
        ("::outer", 5, 5),
        ("profile::around_inlined", 3, 0),
        ("::another_around_inlined", 2, 0),
    ] {
        let site = site_in(&document, function);
        assert_eq!((&site["requests"], &site["nested"]), (&requests.into(), &nested.into()), "{site:#}");
        assert_eq!(held(site).iter().map(|bucket| bucket.2).sum::<u64>(), requests, "{site:#}");
        let path = std::fs::canonicalize(&this("known")[0]).unwrap();
        assert_eq!(site["module"], path.to_str().unwrap());
        if site["kernel_grants"] == false {
            assert_eq!(site["verdict"], if nested > 0 { "nested" } else { "fits" }, "{site:#}");
            assert_eq!(site["lost"], nested);
        }
    }
    let [process] = &document["processes"].as_array().unwrap()[..] else { panic!("{document:#}") };
    assert_eq!(process["threads"].as_array().unwrap().len(), 1);
    assert_eq!(process["threads"][0]["requests"], 1030);
    assert!(process.get("file").is_none(), "a file that is gone");
}

fn a_site_is_named_by_its_line() {
    let document = counted("known");
    for (function, line) in [("::often", often()), ("::seldom", seldom()), ("profile::around_inlined", inlined())] {
        let site = site_in(&document, function);
        assert!(site["file"].as_str().unwrap().ends_with("tests/profile.rs"), "{site:#}");
        assert_eq!(site["line"], line, "{site:#}");
    }
    // Copies of one place are one site, but not in another function.
    let copies = site_in(&document, "::twice");
    assert_eq!((&copies["line"], &copies["requests"]), (&inlined().into(), &8.into()));
    assert_eq!(copies["addresses"].as_array().unwrap().len(), 2, "{copies:#}");
    assert_eq!(site_list(&document).len(), 6, "{document:#}");

    let site = site_in(&document, "profile::around_inlined");
    assert_eq!(site["function"], "profile::inlined");
    let frames = site["frames"].as_array().unwrap();
    let functions = frames.iter().map(|frame| frame["function"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(functions.last(), Some(&"profile::around_inlined"));
    assert!(functions.contains(&"invar::timeslice::section::enter"), "{site:#}");

    let text = said(profile(&[], "known"));
    let place = format!(": profile::often at tests/profile.rs:{}\n", often());
    assert!(text.errors.contains(&place), "{}", text.errors);
    for caller in ["around_inlined", "another_around_inlined"] {
        let place = format!(": profile::inlined at tests/profile.rs:{} in profile::{caller}\n", inlined());
        assert!(text.errors.contains(&place), "{}", text.errors);
    }
}

fn durations_are_those_of_the_clock() {
    let document = counted("sleep");
    let site = site_in(&document, "::sleeping");
    // Whatever slept took as long as that; the two clocks were read within some microseconds of each other.
    let nap = NAP.as_nanos() as f64 * 0.99;
    assert!(held(site).iter().all(|&(_, below, _)| below > nap), "{site:#}");
    assert_eq!(site["longer_than_slice"], 2);
    let percentiles = ["p50_ns", "p99_ns", "max_ns"].map(|field| site[field].as_f64().unwrap());
    assert!(percentiles.is_sorted() && percentiles[0] > nap, "{site:#}");
    assert!(site["ns"].as_f64().unwrap() > 2.0 * nap, "{site:#}");
    if site["kernel_grants"] == false {
        assert_eq!(site["verdict"], "too long");
        // It sleeps most of the time, but none of that can be gained.
        assert_eq!(site_list(&document)[1], *site);
    }
}

fn threads_and_processes_add_up() {
    let document = counted("family");
    // What forked goes on in the same file; what was started anew, in the same process or another, has its own.
    let processes = document["processes"].as_array().unwrap();
    let requests_of = |process: &Value| {
        let threads = process["threads"].as_array().unwrap();
        threads.iter().map(|thread| thread["requests"].as_u64().unwrap()).sum::<u64>()
    };
    let mut sums = processes.iter().map(requests_of).collect::<Vec<_>>();
    sums.sort();
    assert_eq!(sums, [1030, 1030, 3 + 1000 + 40]);
    assert_eq!(requests(&document, "::often"), 3 + 1000 + 40 + 2000);
    assert_eq!(requests(&document, "::outer"), 10);
    let numbers =
        processes.iter().map(|process| process["process"].as_u64()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(numbers.len(), 2);

    let text = said(profile(&[], "family")).errors;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(": 3 programs with counts of their own, "), "{text}");
    assert!(text.contains(" 3103 sections at 6 sites; "), "{text}");
}

fn a_program_that_is_killed_has_counted() {
    for (story, code) in [("killed", 128 + 9), ("interrupt", 128 + 2)] {
        let said = said(profile(&["--json"], story));
        assert_eq!((said.code, said.errors.as_str()), (code, ""));
        let document = serde_json::from_str(&said.out).unwrap();
        assert_eq!(requests(&document, "::often"), 11);
        assert_eq!(document["exit_code"], code);
    }
}

/// A program that said "ready".
fn waiting(mut command: Command) -> std::process::Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    child
}

fn a_program_that_still_runs_can_be_looked_at() {
    let file = Temporary::new("live", b"");
    std::fs::remove_file(&file.0).unwrap();
    let mut program = told("wait");
    program.env("INVAR_SLICE", "profile").env("INVAR_PROFILE", &file.0).env("INVAR_KEYS", "slice=force");
    let mut child = waiting(program);
    let look = || invar(["profile", "--json", file.path()]).json();
    let document = look();
    assert_eq!(requests(&document, "::often"), 5);
    assert_eq!(document["processes"][0]["process"], child.id());
    assert_eq!(document["processes"][0]["file"], file.path());
    assert_eq!((&document["command"], &document["exit_code"]), (&Value::Null, &Value::Null));
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(requests(&look(), "::often"), 11);
}

fn signals_are_the_commands() {
    let send = |child: &std::process::Child, signal| {
        // SAFETY: a system call on numbers, and the child is not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    };
    // Like a terminal's, which goes to both; this one to the command alone, which leaves it at that.
    let mut child = waiting(profile(&["--json"], "wait"));
    send(&child, libc::SIGINT);
    send(&child, libc::SIGQUIT);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(requests(&serde_json::from_slice(&output.stdout).unwrap(), "::often"), 11);

    // A request to end is passed on.
    let mut child = waiting(profile(&["--json"], "wait"));
    let open = child.stdin.take();
    send(&child, libc::SIGTERM);
    let output = child.wait_with_output().unwrap();
    drop(open);
    assert_eq!(output.status.code(), Some(128 + libc::SIGTERM));
    assert_eq!(requests(&serde_json::from_slice(&output.stdout).unwrap(), "::often"), 5);
}

fn text_and_json_agree() {
    let file = Temporary::new("both", b"");
    std::fs::remove_file(&file.0).unwrap();
    let mut program = told("known");
    program.env("INVAR_SLICE", "profile").env("INVAR_PROFILE", &file.0).env("INVAR_KEYS", "slice=force");
    assert!(program.status().unwrap().success());
    let text = invar(["profile", file.path()]).text();
    let document = invar(["profile", "--json", file.path()]).json();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("  requests"));
    assert_eq!(lines.next().unwrap().split_whitespace().collect::<Vec<_>>()[..3], ["requests", "nested", "longer"]);
    for site in site_list(&document) {
        let numbers = lines.next().unwrap().split_whitespace().collect::<Vec<_>>();
        for (number, field) in numbers.iter().zip(["requests", "nested", "longer_than_slice"]) {
            assert_eq!(*number, site[field].to_string(), "{field}\n{text}");
        }
        let place = lines.next().unwrap();
        assert!(place.starts_with(&format!("    {}: ", site["verdict"].as_str().unwrap())), "{place}");
        if lines_are_known(site) {
            let function = site["function"].as_str().unwrap();
            assert!(place.contains(&format!(": {function} at ")), "{place}");
            let line = format!(":{}", site["line"]);
            assert!(place.ends_with(&line) || place.contains(&format!("{line} in ")), "{place}");
        }
        let word = format!("\n  {}: ", site["verdict"].as_str().unwrap());
        assert!(text.contains(&word), "{text}");
    }
    assert_eq!(lines.next(), Some(""), "{text}");
    assert!(text.lines().filter(|line| !line.contains(" at ")).all(|line| line.chars().count() <= 100), "{text}");
}

fn lines_are_known(site: &Value) -> bool {
    !site["line"].is_null()
}

fn keys_that_are_set_stay_set() {
    let probe = invar(["probe", "--json"]).json();
    let grants = probe["keys"][0]["value"] == "on";
    for (set, forced) in [
        ("", "slice=force"),
        ("other=off", "other=off,slice=force"),
        ("slice=off", "slice=off"),
        ("other=off,slice=force", "other=off,slice=force"),
    ] {
        let mut run = profile(&[], "keys");
        run.env("INVAR_KEYS", set);
        assert_eq!(said(run).out, if grants { set } else { forced });
    }
}

fn the_command_goes_on_as_ever() {
    let folder = Temporary::new("folder", b"");
    std::fs::remove_file(&folder.0).unwrap();
    std::fs::create_dir(&folder.0).unwrap();
    let mut run = command(INVAR);
    run.args(["profile", "--", "sh", "-c", "cat; echo \"$1\" >&2; exit 7", "sh", "--json -- '"]);
    let mut child = run
        .env("TMPDIR", &folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"as it is").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"as it is");
    assert!(output.stderr.starts_with(b"--json -- '\nnote: sh counted nothing: "), "{output:?}");
    // And leaves nothing behind; no file can be left in a folder that can be removed.
    std::fs::remove_dir(&folder.0).unwrap();
}

fn who_counts_nothing_is_told_so() {
    let of = |program: &[&str], name: &str, value: &str| {
        let mut run = command(INVAR);
        run.args(["profile", "--"]).args(program).env(name, value);
        let said = said(run);
        assert_eq!(said.code, 0);
        said.errors.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(
        of(&["/bin/true"], "A", "B")
            .starts_with("note: /bin/true counted nothing: it carries no slice sites of invar, or ")
    );
    let [program, argument] = &this("known");
    let known = [program.as_str(), argument];
    assert!(of(&known, "INVAR", "off").ends_with(" counted nothing: INVAR=off is set"));
    let said = of(&known, "INVAR_KEYS", "slice=off");
    assert!(said.ends_with(" counted nothing: INVAR_KEYS turns the time slice key off"), "{said}");

    let document = invar(["profile", "--json", "--", "/bin/true"]).json();
    assert_eq!((&document["processes"], &document["sites"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert!(document["remarks"][0].as_str().unwrap().contains("counted nothing"));
}

fn a_command_that_cannot_be_run() {
    for (program, code, why) in [
        ("/nowhere/at/all", 127, "No such file"),
        ("no-such-command", 127, "No such file"),
        ("/etc/passwd", 126, "Permission denied"),
    ] {
        let said = invar(["profile", "--", program]);
        assert_eq!((said.code, said.out.as_str()), (code, ""));
        assert!(said.errors.starts_with(&format!("invar: cannot run {program}: {why}")), "{}", said.errors);
        assert_eq!(said.errors.lines().count(), 1);
    }
}

fn the_listing_goes_where_it_should() {
    let (file, picture) = (Temporary::new("listing", &[b'x'; 100_000]), Temporary::new("plot.svg", b""));
    let with_file = said(profile(&["--output", file.path(), "--plot", picture.path()], "known"));
    assert_eq!((with_file.code, with_file.out.as_str(), with_file.errors.as_str()), (0, "", ""));
    let text = std::fs::read_to_string(&file.0).unwrap();
    assert!(text.contains("  requests  "), "{text}");
    assert!(!text.contains("xx"), "what was there before is left");

    let json = said(profile(&["--json", "--output", file.path()], "known"));
    assert_eq!((json.out.as_str(), json.errors.as_str()), ("", ""));
    let document: Value = serde_json::from_slice(&std::fs::read(&file.0).unwrap()).unwrap();
    let svg = std::fs::read_to_string(&picture.0).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for site in site_list(&document) {
        assert!(svg.contains(site["symbol"]["name"].as_str().unwrap()) || lines_are_known(site), "{svg}");
    }
    assert_eq!(svg.matches("an extension: 5 us").count(), site_list(&document).len());

    // Before the command is run, which may take long.
    let refused = invar(["profile", "--output", "/nowhere/at/all", "--", "sh", "-c", "echo ran"]);
    assert!(refused.refusal().starts_with("/nowhere/at/all: No such file"));
}

fn output_that_cannot_be_written() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut to_stdout = command(INVAR);
    to_stdout.args(["profile", "--json", "--", "true"]).stdout(full());
    let output = to_stdout.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("invar: cannot write the output: "));
    let to_file = invar(["profile", "--output", "/dev/full", "--", "true"]);
    assert_eq!(to_file.code, 1);
    assert!(to_file.errors.starts_with("invar: cannot write the output: /dev/full: No space"), "{}", to_file.errors);
    let mut closed = command(INVAR);
    closed.args(["profile", "--json", "--", "sh", "-c", "exit 3"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = closed.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(3), &b""[..]));
}

fn usage_errors_exit_with_2() {
    assert_eq!(invar(["profile"]).code, 2);
    assert_eq!(invar(["profile", "--"]).code, 2);
    assert_eq!(invar(["profile", "file", "--", "true"]).code, 2);
    assert_eq!(invar(["profile", "--jsn", "--", "true"]).code, 2);
    let help = invar(["profile", "--help"]).text();
    assert!(help.contains("standard error, since standard output is CMD's") && help.contains("127: "), "{help}");
}

// Files, written after docs/profile.md.

const LENGTH: usize = 852_224;
const MODULES: usize = 256;
const THREADS: usize = 65_792;
const SITES: usize = 327_936;
const MODULE_START: u64 = 0x10_000;
const REQUESTS: usize = 8;
const GRANTS: usize = 16;
const YIELDS: usize = 24;
const LOST: usize = 32;
const TOO_LONG: usize = 40;
const INTERRUPTED: usize = 48;
const NESTED: usize = 56;
const NOT_ENROLLED: usize = 64;
const HELD: usize = 128;

/// A file in which two ticks are a nanosecond, and its parts.
#[derive(Clone)]
struct Written(Vec<u8>);

impl Written {
    fn new() -> Self {
        let mut file = Self(vec![0; LENGTH]);
        file.0[..8].copy_from_slice(b"invarsl1");
        for (offset, number) in [(8, 77), (16, 2), (24, 5000), (32, 1), (40, 1), (48, 1000), (56, 9000)] {
            file.put(offset, number);
        }
        file.put(64, 1000 + 200_000_000);
        file.put(72, 9000 + 100_000_000);
        file.put(MODULES, MODULE_START);
        file.put(MODULES + 8, 2 * MODULE_START);
        file.0[MODULES + 16..][..12].copy_from_slice(b"/nowhere/app");
        file.put(THREADS + 256, 1);
        file.put(THREADS + 256 + 8, 77);
        file.put(THREADS + 256 + 16, 123);
        file
    }

    fn put(&mut self, offset: usize, number: u64) -> &mut Self {
        self.0[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        self
    }

    /// A site with these counters, at a distance in the module that is its place in the file.
    fn site(&mut self, place: usize, counters: &[(usize, u64)]) -> &mut Self {
        let at = SITES + 512 * place;
        self.put(at, MODULE_START + place as u64);
        for &(field, number) in counters {
            self.put(at + field, number);
        }
        self
    }

    fn held(&mut self, place: usize, bucket: usize, sections: u32) -> &mut Self {
        let at = SITES + 512 * place + HELD + 4 * bucket;
        self.0[at..at + 4].copy_from_slice(&sections.to_le_bytes());
        self
    }

    /// What the command says of it, as text and as JSON.
    fn shown(&self) -> (String, Value) {
        let file = Temporary::new(&format!("written-{}", unique()), &self.0);
        let text = invar(["profile", file.path()]).text();
        (text, invar(["profile", "--json", file.path()]).json())
    }
}

fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Address and verdict of each site.
fn verdicts(document: &Value) -> Vec<(&str, &str)> {
    site_list(document)
        .iter()
        .map(|site| (site["addresses"][0].as_str().unwrap(), site["verdict"].as_str().unwrap()))
        .collect()
}

fn each_reason_has_its_word() {
    let mut file = Written::new();
    let words = [
        ("gains", vec![(GRANTS, 9), (YIELDS, 9), (LOST, 8), (TOO_LONG, 8)]),
        ("too long", vec![(GRANTS, 8), (YIELDS, 8), (LOST, 9), (TOO_LONG, 9)]),
        ("interrupted", vec![(LOST, 5), (INTERRUPTED, 5)]),
        ("nested", vec![(LOST, 5), (NESTED, 5)]),
        ("not enrolled", vec![(GRANTS, 9), (YIELDS, 9), (NOT_ENROLLED, 51)]),
        ("gains", vec![(GRANTS, 1), (YIELDS, 1), (NOT_ENROLLED, 50)]),
        ("late", vec![(GRANTS, 9), (YIELDS, 4)]),
        ("lost", vec![(LOST, 10), (TOO_LONG, 4), (INTERRUPTED, 1)]),
        ("never preempted", vec![]),
    ];
    for (place, (_, counters)) in words.iter().enumerate() {
        file.site(place, counters).site(place, &[(REQUESTS, 100)]).held(place, 10, 100);
    }
    file.site(words.len(), &[]);
    let (text, document) = file.shown();
    let said = verdicts(&document);
    assert_eq!(said.len(), words.len() + 1);
    let idle = [("idle", vec![])];
    for (place, (word, _)) in words.iter().chain(&idle).enumerate() {
        let address = format!("{place:#x}");
        assert!(said.contains(&(&address, word)), "{word}: {said:?}");
        assert!(text.contains(&format!("    {word}: app+{address}\n")), "{text}");
        assert!(text.contains(&format!("\n  {word}: ")), "{text}");
    }
    let gains = site_list(&document).iter().find(|site| site["addresses"][0] == "0x0").unwrap();
    assert_eq!((&gains["grants"], &gains["kernel_grants"]), (&9.into(), &true.into()));
    let lost = site_list(&document).iter().find(|site| site["verdict"] == "lost").unwrap();
    assert_eq!(lost["unexplained"], 5);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let columns = "  requests  grants  yields  too long  interrupted  nested  not enrolled     p50     p99     max\n";
    assert!(text.contains(columns), "{text}");
    assert!(
        text.contains(
            "       100       9       9         8            0       0             0  384 ns  384 ns  384 ns\n"
        ),
        "{text}"
    );
}

fn sites_with_most_to_gain_come_first() {
    let mut file = Written::new();
    file.site(0, &[(REQUESTS, 900)]).held(0, 10, 900);
    // Lost, but not because somebody wanted the CPU.
    file.site(1, &[(REQUESTS, 100), (LOST, 90), (NESTED, 90)]).held(1, 10, 100);
    file.site(2, &[(REQUESTS, 100), (GRANTS, 4), (YIELDS, 4), (LOST, 3), (TOO_LONG, 3)]).held(2, 10, 100);
    file.site(3, &[(REQUESTS, 100), (LOST, 8), (INTERRUPTED, 8)]).held(3, 10, 100);
    let order =
        |document: &Value| verdicts(document).into_iter().map(|(address, _)| address.to_owned()).collect::<Vec<_>>();
    assert_eq!(order(&file.shown().1), ["0x3", "0x2", "0x0", "0x1"]);

    // Where nothing is granted, by the time in sections that an extension covers.
    let mut file = Written::new();
    file.put(40, 0);
    file.site(0, &[(REQUESTS, 100)]).held(0, 10, 100);
    // From 1024 us on: much time, of which nothing can be gained.
    file.site(1, &[(REQUESTS, 100)]).held(1, 34, 90).held(1, 0, 10);
    file.site(2, &[(REQUESTS, 50)]).held(2, 18, 50);
    let (text, document) = file.shown();
    assert_eq!(verdicts(&document), [("0x2", "fits"), ("0x0", "fits"), ("0x1", "too long")]);
    assert_eq!(site_list(&document)[2]["longer_than_slice"], 90);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("only durations are known, which sections are too long, not which gain"), "{text}");
    // 50 sections of 8192 to 12288 ticks, two of which are a nanosecond.
    assert!(text.contains("        50       0       0     256 us  6.1 us  6.1 us  6.1 us\n"), "{text}");
}

fn buckets_are_those_of_the_layout() {
    assert_eq!(BUCKETS, 96);
    assert_eq!(
        [0, 1, 2, 3, 94, 95].map(bounds),
        [(0, Some(24)), (24, Some(32)), (32, Some(48)), (48, Some(64)), (1 << 51, Some(3 << 50)), (3 << 50, None),]
    );
    let mut file = Written::new();
    file.site(0, &[(REQUESTS, 100), (72, 31_000)]).held(0, 0, 50).held(0, 2, 48).held(0, 20, 1).held(0, 95, 1);
    let (text, document) = file.shown();
    let site = &site_list(&document)[0];
    assert_eq!(document["ticks_per_ns"], 2.0);
    assert_eq!((&site["ticks"], &site["ns"]), (&31_000.into(), &15_500.0.into()));
    assert_eq!(
        held(site),
        [(0.0, 12.0, 50), (16.0, 24.0, 48), (8192.0, 12288.0, 1), ((3_u64 << 49) as f64, f64::INFINITY, 1)]
    );
    assert_eq!([&site["p50_ns"], &site["p99_ns"], &site["max_ns"]], [&12.0.into(), &12288.0.into(), &Value::Null]);
    assert!(text.contains("  12 ns  12 us  >1688850 s\n"), "{text}");
    assert_eq!(site["longer_than_slice"], 2);
}

fn durations_come_from_the_two_clocks() {
    // Nothing later is known, and no counter gets from there to here: ticks remain.
    let mut file = Written::new();
    file.site(0, &[(REQUESTS, 1)]).held(0, 2, 1).put(64, 0).put(72, 0).put(48, 1 << 63);
    let (text, document) = file.shown();
    assert_eq!(document["ticks_per_ns"], Value::Null);
    let site = &site_list(&document)[0];
    assert_eq!((&site["p50_ns"], &site["longer_than_slice"], &site["ns"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!((&site["held"][0]["from_ticks"], &site["held"][0]["below_ticks"]), (&32.into(), &48.into()));
    assert!(text.contains("  48 ticks"), "{text}");
    assert!(document["remarks"].to_string().contains("how long a tick was is not known"));
    // A time that runs backwards, stands still, or flies.
    for later in [(500, 10_000), (1 << 63 | 2000, 9000), (1 << 63, 10_000), (u64::MAX, 9001)] {
        file.put(64, later.0).put(72, later.1);
        assert_eq!(file.shown().1["ticks_per_ns"], Value::Null, "{later:?}");
    }
    // A short one is better than none.
    file.put(64, 1 << 63 | 3000).put(72, 10_000);
    assert_eq!(file.shown().1["ticks_per_ns"], 3.0);
}

fn different_clocks_do_not_add_up() {
    let (mut one, mut other) = (Written::new(), Written::new());
    one.site(0, &[(REQUESTS, 100), (YIELDS, u64::MAX)]).held(0, 4, u32::MAX);
    other.site(0, &[(REQUESTS, 20), (YIELDS, 1)]).held(0, 4, 1);
    let first = Temporary::new("clock-1", &one.0);
    let second = Temporary::new("clock-2", &other.0);
    let document = invar(["profile", "--json", first.path(), second.path()]).json();
    let site = &site_list(&document)[0];
    assert_eq!((&site["requests"], &site["yields"]), (&120.into(), &u64::MAX.into()));
    assert_eq!(site["held"][0]["sections"], 1_u64 << 32);
    assert_eq!(document["processes"].as_array().unwrap().len(), 2);

    std::fs::write(&second.0, &other.clone().put(64, 1000 + 300_000_000).0).unwrap();
    let refusal = invar(["profile", first.path(), second.path()]).refusal();
    assert!(refusal.ends_with("counted with another clock than the files before: show it by itself"), "{refusal}");
    std::fs::write(&second.0, &other.put(24, 30_000).0).unwrap();
    let refusal = invar(["profile", first.path(), second.path()]).refusal();
    assert!(refusal.ends_with("counted with extensions of another length: show it by itself"), "{refusal}");
}

fn a_file_that_only_counts_threads() {
    let mut file = Written::new();
    file.put(16, 1);
    let (text, document) = file.shown();
    assert!(site_list(&document).is_empty());
    assert_eq!(document["processes"][0]["threads"][0]["requests"], 123);
    assert!(text.contains("counts threads only (INVAR_SLICE=count)") && text.contains(" 123 sections"), "{text}");
    assert!(!text.contains("requests"), "{text}");
}

fn a_module_that_is_gone_or_another() {
    let program = std::fs::read(INVAR).unwrap();
    let module = Temporary::new("module", &program);
    let mut file = Written::new();
    let path = module.path().as_bytes();
    file.0[MODULES + 16..][..path.len()].copy_from_slice(path);
    file.site(0, &[(REQUESTS, 1)]);
    // Outside of the module.
    file.site(1, &[(REQUESTS, 1), (0, 5 * MODULE_START)]);
    let remarks = |document: &Value| document["remarks"].to_string();
    assert_eq!(remarks(&file.shown().1), "[]");

    let later = SystemTime::now() + Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&module.0).unwrap().set_modified(later).unwrap();
    let (text, document) = file.shown();
    assert!(remarks(&document).contains(": its file was changed since it was loaded: no names"), "{document:#}");
    let name = module.0.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(&format!(": {name}+0x0\n")) && text.contains(": no known module+0x50000\n"), "{text}");

    std::fs::write(&module.0, "no program").unwrap();
    let long_ago = SystemTime::UNIX_EPOCH;
    std::fs::File::options().write(true).open(&module.0).unwrap().set_modified(long_ago).unwrap();
    assert!(remarks(&file.shown().1).contains(": its file is no program any more: no names"));
    drop(module);
    assert!(remarks(&file.shown().1).contains(": its file is gone, or cannot be read: no names"));
    // To open a pipe would wait for ever.
    file.0[MODULES + 16..][..10].copy_from_slice(b"/dev/null\0");
    assert!(remarks(&file.shown().1).contains("/dev/null: its file is gone, or cannot be read: no names"));
}

fn a_frame_of_the_programs_own_is_shown() {
    let shown = |functions: &[&str]| {
        let frame = |function: &&str| Frame { function: Some((*function).into()), ..Frame::default() };
        let place = SourcePlace { frames: functions.iter().map(frame).collect(), symbol: None };
        place.frame().and_then(|frame| frame.function.clone()).unwrap_or_default()
    };
    let own =
        ["app::main", "<app::Table as core::ops::drop::Drop>::drop", "<app::Lock as lock_api::mutex::RawMutex>::lock"];
    for own in own.into_iter().chain(["invariant::run", "c_function", "stdx::run", "core_dump"]) {
        let others = [
            "invar_arch::machine::area::request",
            "invar::timeslice::section::enter",
            "<invar_lock::spin::Raw as lock_api::mutex::RawMutex>::lock",
            "lock_api::mutex::Mutex<R,T>::lock",
            "<T as core::convert::Into<U>>::into",
            "std::thread::local::LocalKey<T>::with",
            "alloc::boxed::Box<T>::new",
            "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
            "<&mut core::fmt::Formatter as core::fmt::Write>::write_str",
        ];
        assert_eq!(shown(&[&others[..], &[own, "app::outermost"]].concat()), own);
    }
    // Names have no path where there are line tables only; files have one.
    let tables = [
        ("request", "/home/me/invar/arch/x86_64/area.rs"),
        ("enter", "/home/me/invar/src/timeslice/section.rs"),
        ("lock", "/home/me/invar/lock/src/spin.rs"),
        ("enter", "/home/me/.cargo/registry/src/index/invar-rt-0.1.0/src/timeslice/section.rs"),
        ("enter", "invar-0.1.0/src/timeslice/section.rs"),
        ("request", "/home/me/.cargo/registry/src/index/invar-arch-0.1.0/x86_64/area.rs"),
        ("lock<u64>", "/home/me/.cargo/registry/src/index/lock_api-0.4.14/src/mutex.rs"),
        ("call_once", "/rustc/59807616e1fa/library/core/src/ops/function.rs"),
    ];
    for own in
        [("enter", "/home/me/invar/guest/programs/src/bin/enter.rs"), ("lock", "invar-demo/src/timeslice/section.rs")]
    {
        let frame = |&(function, file): &(&str, &str)| {
            let (function, file) = (Some(function.to_owned()), Some(file.to_owned()));
            Frame { function, file, line: Some(1) }
        };
        let frames = tables.iter().chain([&own]).map(frame).collect();
        let place = SourcePlace { frames, symbol: None };
        assert_eq!(place.frame(), Some(&frame(&own)));
    }
    // Where there is none, it is the one whose code it is.
    assert_eq!(shown(&["invar::timeslice::section::enter", "invar_lock::Mutex::lock"]), "invar_lock::Mutex::lock");
    assert_eq!(shown(&[]), "");
}

fn what_is_no_profile_is_refused() {
    let refusal = |bytes: &[u8]| {
        let file = Temporary::new(&format!("refused-{}", unique()), bytes);
        let why = invar(["profile", file.path()]).refusal();
        why.strip_prefix(&format!("{}: ", file.path())).unwrap().to_owned()
    };
    let whole = Written::new();
    assert_eq!(refusal(b""), "the file is empty");
    assert_eq!(refusal(b"text"), "not a profile");
    assert_eq!(refusal(&[b'x'; LENGTH]), "not a profile");
    assert_eq!(refusal(&[0; LENGTH]), "a profile whose process ended, or is, at the very start");
    assert_eq!(refusal(b"invarsl2"), "a profile of a layout that is not known here");
    let cut_off = "a profile that is cut off, or has something behind it";
    assert_eq!(refusal(&whole.0[..LENGTH - 1]), cut_off);
    assert_eq!(refusal(&[&whole.0[..], b"x"].concat()), cut_off);
    assert!(refusal(&whole.clone().put(16, 3).0).starts_with("a damaged profile: it does not say"));
    assert!(refusal(&whole.clone().put(24, 0).0).starts_with("a damaged profile: extensions without length"));
    assert!(refusal(&whole.clone().put(40, 2).0).starts_with("a damaged profile: neither yes nor no"));
    assert!(refusal(&whole.clone().put(MODULES + 8, 1).0).starts_with("a damaged profile: a module that ends"));
    assert_eq!(invar(["profile", "/dev/null"]).refusal(), "/dev/null: not a regular file");
    assert!(invar(["profile", "/nowhere/at/all"]).refusal().starts_with("/nowhere/at/all: No such file"));
    assert_eq!(invar(["profile", "/"]).refusal(), "/: not a regular file");
}

/// A file with something in every part of it.
fn rich() -> Written {
    let mut file = Written::new();
    file.site(0, &[(REQUESTS, 100), (GRANTS, 9), (YIELDS, 9), (72, 5000)]).held(0, 5, 99).held(0, 60, 1);
    file.site(3, &[(REQUESTS, 7), (LOST, 7), (TOO_LONG, 2), (NESTED, 3), (INTERRUPTED, 1)]).held(3, 95, 3);
    file
}

/// All three forms come out, or one line of refusal does.
fn survives(bytes: &[u8]) {
    let table = match Table::parse(bytes) {
        Ok(table) => table,
        Err(why) => return assert!(!why.is_empty() && !why.contains('\n')),
    };
    let file = CountedFile { path: "file".into(), made: None, table };
    let profile = Profile::new(vec![file]).expect("one file agrees with itself");
    let (mut text, mut json) = (Vec::new(), Vec::new());
    listing::text(&profile, None, &mut text).unwrap();
    listing::json(&profile, None, &mut json).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    let document: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(site_list(&document).len(), profile.sites.len());
    let svg = plot::svg(&profile);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
}

fn any_length_is_shown_or_refused() {
    let whole = rich().0;
    for length in (0..300).chain((300..LENGTH).step_by(LENGTH / 50)).chain([LENGTH - 1, LENGTH]) {
        survives(&whole[..length]);
    }
    Table::parse(&whole).expect("the whole");
}

fn paths_cannot_speak_to_the_terminal() {
    let mut file = rich();
    let path = "/nowhere/\u{1b}[2J<&>\u{202e}".as_bytes();
    file.0[MODULES + 16..][..path.len()].copy_from_slice(path);
    survives(&file.0);
    let (text, document) = file.shown();
    assert!(text.contains("\\u{1b}[2J<&>\\u{202e}"), "{text}");
    assert_eq!(site_list(&document)[0]["module"].as_str().unwrap().as_bytes(), path);
    let table = Table::parse(&file.0).unwrap();
    let svg =
        plot::svg(&Profile::new(vec![CountedFile { path: Path::new("file").into(), made: None, table }]).unwrap());
    assert!(svg.contains("\\u{1b}[2J&lt;&amp;&gt;\\u{202e}"), "{svg}");
}
