//! Switches: keys that are set again while threads run. Sites and keys go by the new value in all modules, or by the old one where
//! that cannot be had.

mod common;

use common::c::{LINK, compiler, libinvar, must};
use common::refuse::{Refused, cannot_refuse};
use common::{
    ANYWHERE, Build, Tale, Temporary, command, missing_target, output, run, scratch, sites, tale, test,
    with_either_binder,
};
use libtest_mimic::Trial;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// What is refused when the switches are set, and what comes of it: the writer, or the reason.
const REFUSED: [(&str, Result<&str, &str>); 7] = [
    ("", Ok("swap")),
    ("mdwe", Ok("swap+memfd")),
    ("mdwe memfd", Err("Refused(13)")),
    ("mremap", Ok("swap+mprotect")),
    ("mremap threads", Err("Refused(1)")),
    ("mdwe mremap", Err("Refused(13)")),
    ("mdwe memfd threads", Err("Refused(13)")),
];

fn main() -> ExitCode {
    let builds = [("debug", Build::debug as fn() -> Build), ("release", Build::release)];
    let mut trials: Vec<Trial> = Vec::new();
    for (mode, build) in builds {
        let name = format!("each value follows each other one, {mode}");
        trials.extend(with_either_binder(&name, ANYWHERE, move || each_value(&build())));
        let mut add = |name: &str, missing, body: fn(&Build)| {
            trials.push(test(&format!("{name}, {mode}"), missing, move || body(&build())));
        };
        add("sites are set beside threads that execute them", ANYWHERE, beside_threads);
        add("a library has the same switches", ANYWHERE, a_library);
    }
    for (refused, outcome) in REFUSED {
        let missing = sites().or_else(|| missing(refused));
        let refused_words = if refused.is_empty() { "nothing" } else { refused };
        trials.push(test(&format!("refused when set: {refused_words}"), missing, move || refuse(refused, outcome)));
    }
    for (name, missing, body) in [
        ("several threads set", ANYWHERE, several_threads as fn()),
        ("several threads set, with a loader that does not exclude", missing_target(&musl()), several_threads_in_turn),
        ("what is wrong is set by nobody", ANYWHERE, what_is_wrong),
        ("a site that somebody has changed", sites(), a_foreign_site),
        ("a library's file is gone", sites(), || without_file("")),
        ("a library's file is gone, and the others' pages are a memfd's", memfd_alone(), || without_file("mdwe")),
        ("signals' handlers execute sites and set none", ANYWHERE, handlers),
        ("a child sets its own", ANYWHERE, a_child),
        ("sites that were never bound follow", ANYWHERE, never_bound),
        ("a setting says with what a switch begins", ANYWHERE, a_setting),
        ("probes are asked again", ANYWHERE, asked_again),
        ("others set switches where the program allows it", ANYWHERE, others_set),
        ("switches in C", sites(), in_c),
        ("others set switches of a program in C", sites(), others_set_in_c),
        ("sites of other keys lie in exchanged pages in part", memfd_alone(), in_part),
        ("switches in C without libinvar", ANYWHERE, in_c_alone),
    ] {
        trials.push(test(name, missing, body));
    }
    run(trials)
}

fn switched(build: &Build, arguments: &str) -> Command {
    let mut command = command(build.program("switched"));
    command.args(arguments.split_ascii_whitespace());
    command
}

fn release(arguments: &str) -> Tale {
    tale(&mut switched(&Build::release(), arguments))
}

/// A result with several numbers in it.
fn numbers(tale: &Tale, name: &str) -> Vec<u64> {
    tale.results[name].split(' ').map(|number| number.parse().unwrap()).collect()
}

fn each_value(build: &Build) {
    let tale = tale(&mut switched(build, "story"));
    assert_eq!(tale.results["before"], "Error false");
    assert_eq!(tale.results["after"], "set the program's");
    let [bound, checked] = numbers(&tale, "level")[..] else { panic!("{tale:?}") };
    // Each of eight functions has three sites of it.
    let expected = if invar_arch::PATCHES { (bound.max(24), 0) } else { (0, 0) };
    assert_eq!((bound, checked), expected);
    tale.program().assert_bound();
    assert_eq!(tale.program().key("switched.broken").origin, "set");
}

fn beside_threads(build: &Build) {
    let library = build.library("switching");
    let tale = tale(switched(build, "beside 300").arg(library));
    let number = |name| numbers(&tale, name)[0];
    assert!(number("quiet") > 0 && number("looked") > number("quiet") && number("opened") > 0, "{:?}", tale.results);
    tale.program().assert_bound();
}

fn a_library(build: &Build) {
    let tale = tale(switched(build, "library").arg(build.library("switching")));
    assert_eq!((&*tale.results["opened"], &*tale.results["again"]), ("210", "100"));
    let [with, without] = numbers(&tale, "sites")[..] else { panic!("{tale:?}") };
    if invar_arch::PATCHES {
        assert!(with > without && without > 0, "sites of both modules, then of one: {with} {without}");
    }
    for module in &tale.modules {
        module.assert_bound();
    }
    let library = tale.modules.iter().find(|module| module.path.ends_with("libswitching.so")).unwrap();
    assert_eq!(library.key("switched.level").origin, "adopted");
    assert_eq!(library.key("switched.disputed").origin, "failed");
}

/// Why this cannot be refused here.
fn missing(refused: &str) -> Option<String> {
    const MDWE: &[Refused] = &[Refused::ExecGain];
    if refused.contains("mdwe") { cannot_refuse(MDWE) } else { None }
}

fn refuse(refused: &str, outcome: Result<&str, &str>) {
    let tale = release(&format!("refused {refused}"));
    let set = &tale.results["set"];
    match outcome {
        Ok(writers) => {
            assert!(set.split(' ').next().unwrap().parse::<u32>().unwrap() > 0, "{set}");
            assert_eq!(tale.program().writers, writers);
        }
        // No site was left with another value.
        Err(reason) => assert_eq!(*set, format!("Refused({reason}, 0)")),
    }
    tale.program().assert_bound();
}

/// Nothing is set then, and nothing is left with another value.
fn a_foreign_site() {
    assert_eq!(release("foreign").results["set"], "Err(Refused(Changed, 0))");
}

fn memfd_alone() -> Option<String> {
    sites().or_else(|| missing("mdwe"))
}

/// The program's sites are set before it is seen that the library's cannot be, and taken back.
fn without_file(refused: &str) {
    let library = Temporary::executable("libswitching", &std::fs::read(Build::release().library("switching")).unwrap());
    let tale = tale(switched(&Build::release(), &format!("refused threads {refused}")).arg(&library.0));
    assert_eq!(tale.results["set"], "Refused(Refused(2), 0)");
    tale.modules.iter().for_each(|module| module.assert_bound());
}

fn several_threads() {
    let tale = release("crowd 200");
    assert_eq!(tale.results["agrees"], "true");
    tale.program().assert_bound();
}

fn musl() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// There the lock of the process alone keeps them apart: nobody must be tired of waiting for it while others set.
fn several_threads_in_turn() {
    let tale = tale(&mut switched(&Build::release().target(&musl(), None), "crowd 10000"));
    assert_eq!(tale.results["agrees"], "true");
    tale.program().assert_bound();
}

fn what_is_wrong() {
    let tale = release("wrong");
    assert_eq!((&*tale.results["early"], &*tale.results["agrees"]), ("true", "true"));
}

fn handlers() {
    let tale = release("handler");
    assert_eq!(tale.results["refused"], "true");
    assert!(numbers(&tale, "handled")[0] >= 500);
    tale.program().assert_bound();
}

fn a_child() {
    let tale = release("child");
    assert_eq!((&*tale.results["child"], &*tale.results["parent"]), ("0", "true"));
}

/// Where no writer was to be asked, and where all were refused.
fn never_bound() {
    for (setting, value) in [("INVAR_WRITER", "off"), ("INVAR", "off")] {
        for arguments in ["beside 50", "wrong", "child"] {
            let tale = tale(switched(&Build::release(), arguments).env(setting, value));
            tale.program().assert_checked();
        }
    }
}

fn a_setting() {
    let begins = |entry: &str| {
        let tale = tale(switched(&Build::release(), "child").env("INVAR_KEYS", entry));
        let key = tale.program().key("switched.level").clone();
        (key.value, key.origin)
    };
    assert_eq!(begins("switched.level=quiet"), ("quiet".into(), "setting".into()));
    assert_eq!(begins("switched.level=debug"), ("error".into(), "probe".into()), "settings lower");
}

fn asked_again() {
    let tale = release("rebind");
    assert_eq!(tale.results["differ"], "switched.stays off on");
    let sites = if invar_arch::PATCHES { "2 0" } else { "0 0" };
    assert_eq!(tale.results["rebound"], sites);
    tale.program().assert_bound();
}

/// A process that lets others set its switches, and ends with this.
struct Serving(Child, SocketAddr);

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let begin = format!("@invar/{}/", process.id());
        for _ in 0..1000 {
            let unix = std::fs::read_to_string("/proc/self/net/unix").unwrap();
            if let Some(name) = unix.split_ascii_whitespace().find(|word| word.starts_with(&begin)) {
                return Self(process, SocketAddr::from_abstract_name(&name[1..]).unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        process.kill().unwrap();
        panic!("it does not serve: {:?}", process.wait());
    }

    /// What it answers to these bytes.
    fn ask(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect_addr(&self.1).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn others_set() {
    let mut serving = Serving::start(&mut switched(&Build::release(), "serve"));
    let (mut stdin, stdout) = (serving.0.stdin.take().unwrap(), serving.0.stdout.take().unwrap());
    let mut said = BufReader::new(stdout).lines().map(Result::unwrap);
    assert_eq!(said.next().unwrap(), "ready");
    let mut state = || {
        stdin.write_all(b"\n").unwrap();
        said.next().unwrap()
    };
    assert_eq!(state(), "Error false true");
    let set = serving.ask(b"switched.level\0info\0switched.trace\0on\0");
    assert!(set.starts_with("set ") && set.ends_with(" 0"), "{set}");
    assert_eq!(state(), "Info true true");
    let none = b"switched.trace\0off\0".repeat(65);
    for (request, answer) in [
        (&b"switched.trace\0off\0switched.none\0on\0"[..], "unknown"),
        (b"switched.trace\0off\0switched.level\0loud\0", "value"),
        (b"switched.trace\0off\0switched.level\0debug\0", "denied"),
        (b"switched.trace\0off\0switched.broken\0on\0", "denied"),
        (b"switched.trace\0off", "denied"),
        (b"switched.trace\0off\0more", "denied"),
        (b"switched.trace\0", "denied"),
        (b"", "denied"),
        (b"\xff\0\xff\0", "denied"),
        (&none, "denied"),
        (&vec![b'a'; 5000], "denied"),
    ] {
        let said = serving.ask(request);
        assert_eq!(said.split(' ').next(), Some(answer), "{said}");
        assert!(said.len() > answer.len() + 10, "and why: {said}");
        assert_eq!(state(), "Info true true", "{request:?}");
    }
    // Whoever does not say that this was all may have been about to say more.
    let mut slow = UnixStream::connect_addr(&serving.1).unwrap();
    slow.write_all(b"switched.trace\0off\0").unwrap();
    let mut said = String::new();
    slow.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("denied "), "{said}");
    assert_eq!(state(), "Info true true");
    // Whoever connects and says nothing keeps the others waiting for a moment only.
    let _silent = UnixStream::connect_addr(&serving.1).unwrap();
    assert!(serving.ask(b"switched.trace\0off\0").starts_with("set "));
    assert_eq!(state(), "Info false true");
    another_user(&serving);
}

/// Another user's process is not heard: `test` is executed by a child that connects after it has become somebody else.
fn another_user(serving: &Serving) {
    // SAFETY: no arguments, no effects.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let address = serving.1.clone();
    let mut child = Command::new("cat");
    // SAFETY: in a child of one thread, system calls alone: the socket becomes the standard input.
    unsafe {
        child.pre_exec(move || {
            if libc::setuid(65534) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let stream = UnixStream::connect_addr(&address)?;
            libc::shutdown(stream.as_raw_fd(), libc::SHUT_WR);
            if libc::dup2(stream.as_raw_fd(), 0) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let said = child.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "denied for other users than its own");
}

fn others_set_in_c() {
    let folder = format!("-L{}", libinvar().display());
    let program = build_in_c("switched_serving", &[&*folder].into_iter().chain(LINK).collect::<Vec<_>>());
    let serving = Serving::start(command(&program).arg("serve").env("LD_LIBRARY_PATH", libinvar()));
    assert!(serving.ask(b"switched_level\0debug\0").starts_with("set "));
    assert!(serving.ask(b"switched_level\0error\0").starts_with("denied "));
    assert!(serving.ask(b"switched_trace\0on\0").starts_with("denied "));
}

/// These are no change that somebody has made.
fn in_part() {
    let folder = format!("-L{}", libinvar().display());
    let program = build_in_c("switched_dense", &[&*folder].into_iter().chain(LINK).collect::<Vec<_>>());
    let said = output(command(&program).env("LD_LIBRARY_PATH", libinvar()));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "0 0 12048\n0 0 2048\n".repeat(2));
}

fn build_in_c(name: &str, options: &[&str]) -> PathBuf {
    let out = scratch().join(name);
    let source = |name: &str| format!("{}/tests/programs/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let source = match name {
        "switched_dense" => source(name),
        name if name.ends_with(".so") => source("switching"),
        _ => source("switched"),
    };
    must(compiler("cc -O2 -Wall -Wextra -Werror").arg(source).arg("-o").arg(&out).args(options));
    out
}

const IN_C: &str = "\
start: 0, level 1 (1), trace 0 (0)
quiet: 0, level 0 (0), trace 0 (0)
error: 0, level 1 (1), trace 0 (0)
debug: 0, level 2 (2), trace 0 (0)
both: 0, level 2 (2), trace 1 (1)
library: 2
no value: 5, level 2 (2), trace 1 (1)
no switch: 4, level 2 (2), trace 1 (1)
nothing: 4, level 2 (2), trace 1 (1)
null: 5, level 2 (2), trace 1 (1)
one of two: 5, level 2 (2), trace 1 (1)
too many: 5, level 2 (2), trace 1 (1)
verdict: 1 by 5, the program's
off: 0, level 2 (2), trace 0 (0)
library: 0
";

fn in_c() {
    let folder = format!("-L{}", libinvar().display());
    let link: Vec<_> = [&*folder].into_iter().chain(LINK).collect();
    let program = build_in_c("switched", &link);
    let library = build_in_c("libswitching_in_c.so", &[&["-shared", "-fPIC"], &link[..]].concat());
    for settings in [&[][..], &[("INVAR_WRITER", "off")], &[("INVAR_WRITER", "memfd")]] {
        let mut command = command(&program);
        command.arg(&library).env("LD_LIBRARY_PATH", libinvar()).envs(settings.iter().copied());
        let output = output(&mut command);
        assert_eq!(String::from_utf8_lossy(&output.stdout), IN_C, "{settings:?}");
        assert!(output.status.success());
    }
}

fn in_c_alone() {
    let program = build_in_c("switched_alone", &[]);
    let output = output(&mut command(program));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "without libinvar: 0, level 1 (1), trace 0 (0)\n");
}
