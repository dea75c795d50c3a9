//! Libraries that are opened in other people's processes, beside threads that run: Python, Node, Java and Redis, and C programs
//! in which something else goes on meanwhile. Every library is bound wholly, and no thread ever sees a wrong result.
//!
//! The libraries (`tests/programs/native` and those beside it, `tests/programs/c/hosted.c`) start threads before they are bound.
//! These execute all sites until the end, and see that each result is right. So do the host's threads.

mod common;

use common::c::{LINK, compiler, libinvar};
use common::elf::Image;
use common::probed::function_of;
use common::refuse::{Refused, cannot_refuse, refuse};
use common::trace::no_tracing;
use common::uprobe::{Probe, no_uprobes};
use common::{
    BINDER, Build, Temporary, binder_compiler, command, missing_tool, must, output, replace, run, scratch, sites, tale,
    test,
};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn main() -> ExitCode {
    let hosts = HOSTS.map(|host| {
        let missing = sites().or_else(host.missing).or_else(|| host.library.missing());
        test(host.name, missing, move || in_a_host(&host))
    });
    let late = MODES.iter().flat_map(|&mode| {
        let binders = BINDERS.into_iter().filter(move |binder| mode != "spaces" || *binder != Binder::Reference);
        binders.map(move |binder| {
            test(&format!("late, {mode}, by {binder:?}"), binder.missing(), move || opened_late(mode, binder))
        })
    });
    let tools = [Binder::Runtime, Binder::Libinvar].into_iter().flat_map(|binder| -> [Trial; 2] {
        let gdb = binder.missing().or_else(|| missing_tool("gdb")).or_else(no_tracing);
        let uprobes = binder.missing().or_else(no_uprobes);
        [
            test(&format!("late, beside gdb, by {binder:?}"), gdb, move || beside_gdb(binder)),
            test(&format!("late, beside uprobes, by {binder:?}"), uprobes, move || beside_uprobes(binder)),
        ]
    });
    let redis: [(&str, &[Refused], &str); 2] =
        [("Redis", &[], "swap"), ("Redis, as its unit hardens it", &[Refused::ExecGain], "memfd")];
    let redis = redis.map(|(name, refused, writer)| {
        let missing = sites().or_else(|| missing_tool("cc")).or_else(no_redis).or_else(|| cannot_refuse(refused));
        test(name, missing, move || in_redis(refused, writer))
    });
    run(hosts.into_iter().chain(late).chain(tools).chain(redis))
}

/// What binds a library: the runtime in it, libinvar, or the binder in C in libinvar's place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Binder {
    Runtime,
    Libinvar,
    Reference,
}

const BINDERS: [Binder; 3] = [Binder::Runtime, Binder::Libinvar, Binder::Reference];

impl Binder {
    fn missing(self) -> Option<String> {
        let make = || if self == Self::Libinvar { missing_tool("make") } else { None };
        sites().or_else(|| missing_tool("cc")).or_else(make)
    }

    fn library(self) -> PathBuf {
        match self {
            Self::Runtime => Build::release().library("native"),
            Self::Libinvar => in_c(true),
            Self::Reference => in_c(false),
        }
    }

    /// Where the loader finds what it is linked with.
    fn path(self) -> PathBuf {
        if self == Self::Libinvar { libinvar().into() } else { PathBuf::new() }
    }
}

fn source(name: &str) -> String {
    format!("{}/tests/programs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Built once.
fn built(name: &'static str, once: &OnceLock<PathBuf>, cc: impl FnOnce() -> Command) -> PathBuf {
    let build = || {
        let new = Temporary::path(name);
        must(cc().arg("-o").arg(&new.0));
        let path = scratch().join(name);
        replace(&path, &std::fs::read(&new.0).unwrap());
        path
    };
    once.get_or_init(build).clone()
}

/// The library in C, linked with libinvar or with nothing that binds it.
fn in_c(linked: bool) -> PathBuf {
    static BUILT: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let cc = || {
        let mut cc = compiler("cc -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -fcf-protection=none");
        cc.arg(format!("-I{}/capi/binder", env!("CARGO_MANIFEST_DIR"))).arg(source("c/hosted.c"));
        if linked {
            cc.arg("-L").arg(libinvar()).args(LINK);
        }
        cc
    };
    built(["hosted.so", "hosted-libinvar.so"][usize::from(linked)], &BUILT[usize::from(linked)], cc)
}

/// Copies of a library, each a module of its own.
fn copies(library: &Path, number: usize) -> Vec<Temporary> {
    let bytes = std::fs::read(library).unwrap();
    (0..number).map(|_| Temporary::executable("hosted", &bytes)).collect()
}

/// Somebody else's process, which opens libraries of this sort.
#[derive(Clone, Copy)]
struct Host {
    name: &'static str,
    missing: fn() -> Option<String>,
    library: HostedLibrary,
    start: fn() -> Command,
}

#[derive(Clone, Copy)]
enum HostedLibrary {
    /// This package of `tests/programs`.
    Rust(&'static str),
    C,
}

impl HostedLibrary {
    fn missing(self) -> Option<String> {
        if matches!(self, Self::C) { Binder::Libinvar.missing() } else { None }
    }
}

const HOSTS: [Host; 7] = [
    Host {
        name: "Python, a module by PyO3",
        missing: no_python,
        library: HostedLibrary::Rust("extension"),
        start: || python("module"),
    },
    Host {
        name: "Python, the same library by ctypes",
        missing: no_python,
        library: HostedLibrary::Rust("extension"),
        start: || python("ctypes"),
    },
    Host {
        name: "Python, a library in C by ctypes",
        missing: no_python,
        library: HostedLibrary::C,
        start: || python("ctypes"),
    },
    Host { name: "Node, an addon in Rust", missing: no_node, library: HostedLibrary::Rust("addon"), start: node },
    Host { name: "Node, an addon in C", missing: no_node, library: HostedLibrary::C, start: node },
    Host { name: "Java, a library in Rust", missing: no_java, library: HostedLibrary::Rust("native"), start: java },
    Host { name: "Java, a library in C", missing: no_java, library: HostedLibrary::C, start: java },
];

/// Modules by PyO3 are built for its stable interface.
fn no_python() -> Option<String> {
    let asked =
        Command::new("python3").args(["-c", "import ctypes, sys; sys.exit(sys.version_info < (3, 9))"]).output();
    (!asked.is_ok_and(|asked| asked.status.success())).then(|| "no python3 from 3.9 on, with ctypes".into())
}

fn python(kind: &str) -> Command {
    let mut python = command("python3");
    python.arg(source("hosts/python.py")).arg(kind);
    python
}

fn no_node() -> Option<String> {
    missing_tool("node")
}

fn node() -> Command {
    let mut node = command("node");
    node.arg(source("hosts/node.js"));
    node
}

fn no_java() -> Option<String> {
    missing_tool("java").or_else(|| missing_tool("javac"))
}

fn java() -> Command {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    let classes = CLASSES.get_or_init(|| {
        let folder = scratch().join("classes");
        let sources = ["hosts/Host.java", "hosts/Library.java"].map(source);
        must(Command::new("javac").arg("-d").arg(&folder).args(sources));
        folder
    });
    let mut java = command("java");
    java.arg("-cp").arg(classes).arg("Host").arg(classes);
    java
}

fn in_a_host(host: &Host) {
    let (library, path) = match host.library {
        HostedLibrary::Rust(package) => (Build::release().library(package), PathBuf::new()),
        HostedLibrary::C => (in_c(true), libinvar().into()),
    };
    let copies = copies(&library, 6);
    let tale = tale((host.start)().args(copies.iter().map(|copy| &copy.0)).env("LD_LIBRARY_PATH", path));
    let number =
        |name: &str| tale.results[name].parse::<u64>().unwrap_or_else(|_| panic!("{name}: {:?}", tale.results));
    assert_eq!(number("wrong"), 0, "{:?}", tale.results);
    assert!(number("calls") > 0, "{:?}", tale.results);
    let image = Image::read(&library);
    for at in 0..copies.len() {
        let sites = image.site_records().len() as u64;
        assert!(sites >= 600);
        assert_eq!([number(&format!("sites {at}")), number(&format!("bound {at}"))], [sites; 2], "{:?}", tale.results);
    }
    // The libraries in Rust say more.
    if let HostedLibrary::C = host.library {
        return;
    }
    assert_eq!(tale.modules.len(), copies.len());
    for copy in &copies {
        let module = tale.module(copy.0.to_str().unwrap());
        module.assert_bound();
        assert_eq!(module.writers, "swap");
    }
    assert!(tale.differs.iter().all(|(path, ..)| copies.iter().any(|copy| copy.0 == *path)), "{:?}", tale.differs);
    tale.assert_only_sites_differ(&image);
}

/// What `tests/programs/c/late.c` does, and says.
const MODES: [&str; 7] = ["turns", "both", "spaces", "fork", "vfork", "spawn", "signals"];

fn late(binder: Binder) -> Command {
    static BUILT: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let with_binder = binder == Binder::Reference;
    let cc = || {
        let mut cc = binder_compiler("cc -O2 -rdynamic -pthread");
        cc.arg(source("c/late.c")).args(["-ldl", "-lrt"]);
        if with_binder {
            cc.args(["-DBINDER", BINDER]);
        }
        cc
    };
    let name = ["late", "late-binder"][usize::from(with_binder)];
    let mut late = command(built(name, &BUILT[usize::from(with_binder)], cc));
    late.env("LD_LIBRARY_PATH", binder.path()).env("INVAR_KEYS", "slice=force");
    late
}

/// Each fact by its name.
fn facts(text: &str) -> BTreeMap<&str, u64> {
    let facts = text.lines().filter_map(|line| line.split_once('\t'));
    facts.map(|(name, value)| (name, value.parse().expect("a number"))).collect()
}

fn opened_late(mode: &str, binder: Binder) {
    let copies = copies(&binder.library(), if mode == "spaces" { 6 } else { 3 });
    let mut late = late(binder);
    late.args([mode, "12"]).args(copies.iter().map(|copy| &copy.0));
    let output = must(&mut late);
    let said = String::from_utf8_lossy(&output.stdout);
    let facts = facts(&said);
    assert_eq!(facts["wrong"], 0, "{facts:?}");
    assert_eq!(facts["bound"], facts["sites"], "{facts:?}");
    assert!(facts["sites"] >= 6 * 600 && facts["calls"] > 0, "{facts:?}");
    if mode != "spaces" {
        assert!(facts["during"] > 0, "no site was executed while it was bound: {facts:?}");
    }
    if let "turns" | "both" | "signals" = mode {
        assert_eq!(facts["mappings before"], facts["mappings after"], "{facts:?}");
    }
    assert_eq!(facts["children"] > 0, matches!(mode, "fork" | "vfork" | "spawn"), "{facts:?}");
    assert_eq!(facts["signals"] > 0, mode == "signals", "{facts:?}");
    // Whoever came in between executed sites of a library that was being opened.
    assert_eq!(facts["meetings"] > 0, matches!(mode, "fork" | "vfork" | "signals"), "{facts:?}");
}

/// A program that opens a library again and again until it is told to end.
struct Opening {
    process: Child,
    library: Temporary,
    _resident: Temporary,
}

impl Opening {
    fn start(binder: Binder) -> Self {
        let [resident, library] = copies(&binder.library(), 2).try_into().ok().unwrap();
        let mut late = late(binder);
        late.args(["until", "0"]).arg(&resident.0).arg(&library.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = late.spawn().expect("it starts");
        let mut ready = [0; 6];
        std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut ready).expect("its word");
        assert_eq!(&ready, b"ready\n");
        Self { process, library, _resident: resident }
    }

    fn goes_on(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }

    /// How it ended, and what it said.
    fn end(mut self) -> BTreeMap<String, u64> {
        drop(self.process.stdin.take());
        let output = self.process.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", output.status);
        facts(&said).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A function that does not begin with a site, and a site in it.
fn chosen(image: &Image) -> (u64, common::elf::SiteRecord) {
    let enters = image.site_records().into_iter().filter(|record| record.kind == 2);
    let mut chosen = enters.map(|record| (function_of(image, record.site), record));
    let begins = |address: u64| image.site_records().iter().any(|record| record.site == address);
    chosen.find(|&(function, _)| !begins(function)).expect("a function")
}

/// It comes, stops at breakpoints that it sets in each copy that is loaded, and goes.
fn beside_gdb(binder: Binder) {
    const STOPS: u32 = 40;
    let mut opening = Opening::start(binder);
    let image = Image::read(&opening.library.0);
    let (function, _) = chosen(&image);
    let elf = goblin::elf::Elf::parse(&image.bytes).unwrap();
    let symbol = elf.syms.iter().find(|symbol| symbol.is_function() && symbol.st_value == function);
    let name = elf.strtab.get_at(symbol.expect("a symbol").st_name).unwrap();
    for _ in 0..2 {
        let settings = ["pagination off", "confirm off", "debuginfod enabled off", "language c", "width 0"];
        let mut gdb = command("gdb");
        gdb.args(["-nx", "-batch", "-p", &opening.process.id().to_string()]);
        gdb.args(settings.iter().flat_map(|setting| ["-iex".into(), format!("set {setting}")]));
        let lines = [&format!("break {name}"), &format!("ignore 1 {STOPS}"), "continue", "info breakpoints"];
        gdb.args(lines.into_iter().flat_map(|line| ["-ex", line])).env("HOME", "/nonexistent");
        let output = output(&mut gdb);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(said.contains(&format!("breakpoint already hit {} times", STOPS + 1)), "{said}");
        assert!(opening.goes_on(), "{said}");
    }
    let facts = opening.end();
    assert_eq!((facts["wrong"], facts["bound"]), (0, facts["sites"]), "{facts:?}");
}

/// One after the other, in each place that may have one. Where one stands in a site when that is to be bound, it is left.
fn beside_uprobes(binder: Binder) {
    let mut opening = Opening::start(binder);
    let image = Image::read(&opening.library.0);
    let (function, site) = chosen(&image);
    for address in [function, site.site].repeat(3) {
        let probes = Probe::everywhere(&opening.library.0, image.offset(address) as u64).expect("a probe");
        while probes.iter().map(Probe::hits).sum::<u64>() < 100 {
            assert!(opening.goes_on(), "the process has ended");
            std::thread::yield_now();
        }
    }
    let facts = opening.end();
    assert_eq!(facts["wrong"], 0, "{facts:?}");
    let left = facts["sites"] - facts["bound"];
    assert!(left <= facts["rounds"] + 20, "{facts:?}");
}

/// Debian's package of its tools has the server too, by another name.
fn redis() -> Option<Command> {
    ["redis-server", "redis-check-rdb"].into_iter().find_map(|program| {
        let start = || {
            let mut server = command(program);
            server.arg0("redis-server");
            server
        };
        let said = start().arg("--version").output().ok()?;
        String::from_utf8_lossy(&said.stdout).contains("Redis server").then(start)
    })
}

fn no_redis() -> Option<String> {
    redis().is_none().then(|| "no redis-server".into())
}

/// A connection to the server.
struct Client(BufReader<UnixStream>);

impl Client {
    /// What the server answers, in its protocol.
    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("a server");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer");
        answer.trim_end().into()
    }
}

/// A module that is loaded beside the server's own threads, while others use it.
fn in_redis(refused: &'static [Refused], writer: &str) {
    let folder = Temporary::path("redis");
    std::fs::create_dir(&folder.0).unwrap();
    let library = &copies(&in_c(true), 1)[0];
    let mut server = redis().expect("looked for before");
    server.args(["--port", "0", "--unixsocket", "socket", "--save", "", "--io-threads", "3", "--dir"]).arg(&folder.0);
    server.args(["--enable-module-command", "yes"]).current_dir(&folder.0);
    server.env("LD_LIBRARY_PATH", libinvar()).env("INVAR_REPORT", folder.0.join("report")).stdout(Stdio::null());
    refuse(&mut server, refused);
    let mut server = server.spawn().expect("the server");
    let connect = || Some(Client(BufReader::new(UnixStream::connect(folder.0.join("socket")).ok()?)));
    let mut client = loop {
        match connect() {
            Some(client) => break client,
            None => assert_eq!(server.try_wait().expect("its state"), None, "it has ended"),
        }
        std::thread::yield_now();
    };
    let loaded = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut other = connect().expect("another connection");
        let counting = scope.spawn(move || {
            let mut number = 0;
            while number < 100 || !loaded.load(SeqCst) {
                number += 1;
                assert_eq!(other.ask("INCR number"), format!(":{number}"));
            }
        });
        let said = client.ask(&format!("MODULE LOAD {}", library.0.display()));
        loaded.store(true, SeqCst);
        assert_eq!(said, "+OK");
        counting.join().unwrap();
    });
    let sites = Image::read(&library.0).site_records().len();
    for (what, answer) in [(0, 0), (1, sites), (2, sites), (4, 0)] {
        assert_eq!(client.ask(&format!("HOSTED.ASK {what}")), format!(":{answer}"), "asked {what}");
    }
    client.0.get_mut().write_all(b"SHUTDOWN NOSAVE\r\n").unwrap();
    assert!(server.wait().expect("its end").success());
    let report = std::fs::read_to_string(folder.0.join("report")).expect("a report");
    assert!(report.contains(&format!("{sites} bound by {writer} in ")), "{report}");
}
