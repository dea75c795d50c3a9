//! Switches: keys that are set again while threads run. Sites and keys go by the new value in all modules, or by the old one where
//! that cannot be had.

mod common;

use common::c::{LINK, compiler, libinvar, must};
use common::elf::Image;
use common::refuse::{Refused, cannot_refuse};
use common::{
    ANYWHERE, BoundSite, Build, Tale, Temporary, command, missing_dynamic_musl, missing_target, output, run, scratch,
    sites, tale, test, with_either_binder,
};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
        add("children are made while others set", ANYWHERE, children);
    }
    for (mode, build, kibibytes) in [("debug", Build::debug as fn() -> Build, 48), ("release", Build::release, 32)] {
        let name = format!("a set takes so much stack, {mode}");
        trials.push(test(&name, sites(), move || stack(&build(), kibibytes)));
    }
    trials.extend(with_either_binder("sets ask the writer that a setting names", sites(), by_one_writer));
    for (refused, outcome) in REFUSED {
        let missing = sites().or_else(|| missing(refused));
        let refused_words = if refused.is_empty() { "nothing" } else { refused };
        trials.push(test(&format!("refused when set: {refused_words}"), missing, move || refuse(refused, outcome)));
    }
    for (name, missing, body) in [
        ("several threads set", ANYWHERE, several_threads as fn()),
        ("several threads set, with a loader that does not exclude", missing_target(&musl()), several_threads_in_turn),
        ("what is wrong is set by nobody", ANYWHERE, what_is_wrong),
        ("what stays checked is tried again by the same values, in place", sites(), || {
            tried_again("mprotect", "threads")
        }),
        ("what stays checked is tried again by the same values, by a memfd", sites(), || {
            tried_again("memfd", "descriptors")
        }),
        ("a setting is heeded by who read it", sites(), apart),
        ("a site that somebody has changed", sites(), a_foreign_site),
        ("a breakpoint on a key's site is counted as at load", breakpoints(), a_breakpoint),
        ("another module's switch has no such value", sites(), no_such_value),
        ("a library's file is gone", sites(), || without_file("", "Refused(2)")),
        ("another file is in the place of a library's", sites(), || without_file("replaced", "OtherFile")),
        ("a library's file is gone, and the others' pages are a memfd's", memfd_alone(), || {
            without_file("mdwe", "Refused(2)")
        }),
        ("a library in a namespace of its own", glibc(), in_a_namespace),
        ("signals' handlers execute sites and set none", ANYWHERE, handlers),
        ("a child sets its own", ANYWHERE, a_child),
        ("children are made while others set, with another loader", missing_dynamic_musl(), children_of_musl),
        ("children are made while a library is closed", ANYWHERE, beside_closing),
        ("a handler that interrupted the loader", x86_and_glibc(), interrupting),
        ("a static program that does not say where its headers are", glibc(), without_a_header_of_headers),
        ("sites that were never bound follow", ANYWHERE, never_bound),
        ("a select has no third value", ANYWHERE, no_third_value),
        ("a switch that is off costs no jump", sites(), no_jump_while_off),
        ("a facade's calls that are off run straight on", x86(), a_facade_runs_straight_on),
        ("a setting says with what a switch begins", ANYWHERE, a_setting),
        ("probes are asked again", ANYWHERE, asked_again),
        ("a checkpoint is restored", criu(), || from_a_checkpoint("auto")),
        ("a checkpoint is restored, whose pages are a memfd's", criu(), || from_a_checkpoint("memfd")),
        ("others set switches where the program allows it", ANYWHERE, others_set),
        ("a process of the user that stands for anybody obeys root alone", not_for_others(), anybody),
        ("switches in C", sites(), in_c),
        ("a switch of Rust and C", sites(), of_rust_and_c),
        ("sets in C are counted", sites(), counted_in_c),
        ("probes in C are asked again", sites(), asked_again_in_c),
        ("probes in C are asked again without libinvar", ANYWHERE, asked_again_in_c_alone),
        ("a signal's handler in C", sites(), handler_in_c),
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

/// A module is there already, whose switch somebody has set: to what the program's can have, or to more.
fn no_such_value() {
    let key = |value: u8| {
        let sealed = Temporary::path("sealed.so");
        let mut compiler =
            compiler("cc -O1 -shared -fPIC -DLENGTH=38 -DVALUES=4 -DFLAGS=32 -DORIGIN=5 -DDATA=0 -DSETS=1");
        compiler.arg(r#"-DNAMES="switched.level\0quiet\0error\0info\0debug""#).arg(format!("-DVALUE={value}"));
        must(compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/sealed.c")).arg("-o").arg(&sealed.0));
        let tale = tale(switched(&Build::release(), "wrong").env("LD_PRELOAD", &sealed.0));
        tale.program().assert_bound();
        let key = tale.program().key("switched.level");
        (key.value.clone(), key.origin.clone())
    };
    let of = |value: &str, origin: &str| (value.into(), origin.into());
    assert_eq!([key(2), key(4), key(255)], [of("info", "adopted"), of("quiet", "failed"), of("quiet", "failed")]);
}

fn each_value(build: &Build) {
    let tale = tale(&mut switched(build, "story"));
    assert_eq!(tale.results["before"], "Error false");
    assert_eq!(tale.results["after"], "set the program's");
    let [bound, checked] = numbers(&tale, "level")[..] else { panic!("{tale:?}") };
    // Each of eight functions has four branches on it, and a select, whose four records count.
    let expected = if invar_arch::PATCHES { (bound.max(8 * (4 + 4)), 0) } else { (0, 0) };
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

fn in_a_namespace() {
    let tale = tale(switched(&Build::release(), "namespace").arg(Build::release().library("switching")));
    assert_eq!(tale.results["namespace"], "its own");
    tale.program().assert_bound();
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

/// Nothing is set then, and nothing is left with another value. The program looks at which site is named; the report has the same one.
fn a_foreign_site() {
    let tale = release("foreign");
    let foreign: Vec<_> = tale.program().bindings.iter().filter(|binding| binding.status == "Foreign").collect();
    let [binding] = foreign[..] else { panic!("{foreign:?}") };
    assert!(binding.site.as_ref().is_some_and(|site| site.key == "switched.level"), "{binding:?}");
    // The count of those that were bound is as it was, however often a set is refused.
    assert_eq!(tale.program().bound, tale.program().sites);
}

/// The library's sites cannot be bound while a thread is there, if the text is to be written in place; nor by a memfd, if there can be
/// none. Sets ask the writer that the setting allows, and no other one.
fn tried_again(writer: &str, cause: &str) {
    let library = Build::release().library("switching");
    let run =
        |writer| tale(switched(&Build::release(), "again").args([&library]).arg(cause).env("INVAR_WRITER", writer));
    let tale = run(writer);
    let [refused, same, once_more] = ["refused", "same", "once more"].map(|name| numbers(&tale, name));
    assert!(refused[0] > 0 && refused[1] > 0, "{refused:?}");
    assert_eq!((&same, &once_more), (&vec![refused[0] + refused[1], 0], &same));
    assert!(tale.modules.iter().all(|module| module.bound == 0 || module.writers == writer), "{tale:?}");
    let library = tale.module("libswitching.so");
    let switches: Vec<_> = library
        .bindings
        .iter()
        .filter(|binding| {
            binding.site.as_ref().is_some_and(|site| ["switched.level", "switched.trace"].contains(&&*site.key))
        })
        .collect();
    assert!(switches.len() > 1 && switches.iter().all(|binding| binding.status == "Bound"), "{switches:?}");
    let bound = library.bindings.iter().filter(|binding| binding.status == "Bound").count();
    assert_eq!(library.bound, bound, "{library:?}");
    // So is what else stands in these pages, and the reason is gone.
    assert_eq!((library.bound, &*library.reason), (library.sites, "-"), "{library:?}");
    // Nobody binds what is not to be bound.
    assert_eq!(numbers(&run("off"), "same"), [0, same[0]]);
}

fn by_one_writer() {
    for writer in ["swap", "memfd", "mprotect"] {
        let tale = tale(switched(&Build::release(), "story").env("INVAR_WRITER", writer));
        assert_eq!(tale.program().writers, writer);
        tale.program().assert_bound();
    }
}

/// Of the library's copy, that it asks no writer.
fn apart() {
    let tale = tale(switched(&Build::release(), "apart").arg(Build::release().library("switching")));
    assert_eq!((&*tale.results["first"], &*tale.results["second"]), ("1", "1"));
    let [first, second] = ["first set", "second set"].map(|name| numbers(&tale, name));
    assert!(first[0] > 0 && first[1] > 0 && first == second, "{first:?} {second:?}");
    tale.program().assert_bound();
    tale.module("libswitching.so").assert_checked();
}

/// Why there is no such test.
fn breakpoints() -> Option<String> {
    sites().or_else(|| (!cfg!(target_arch = "x86_64")).then(|| "the program stores an int3".into()))
}

/// After text was written in place, each set has all sites counted.
fn a_breakpoint() {
    let tale = tale(switched(&Build::release(), "breakpoint").env("INVAR_WRITER", "mprotect"));
    let foreign: Vec<_> = tale.program().bindings.iter().filter(|binding| binding.status == "Foreign").collect();
    let [binding] = foreign[..] else { panic!("{foreign:?}") };
    assert!(binding.site.as_ref().is_some_and(|site| site.key == "switched.fixed"), "{binding:?}");
    assert_eq!(tale.program().bound, tale.program().sites);
}

fn memfd_alone() -> Option<String> {
    sites().or_else(|| missing("mdwe"))
}

/// The program's sites are set before it is seen that the library's cannot be, and taken back.
fn without_file(words: &str, why: &str) {
    let library = Temporary::executable("libswitching", &std::fs::read(Build::release().library("switching")).unwrap());
    let tale = tale(switched(&Build::release(), &format!("refused threads {words}")).arg(&library.0));
    assert_eq!(tale.results["set"], format!("Refused({why}, 0)"));
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

fn children(build: &Build) {
    let tale = tale(switched(build, "forks 50").arg(build.library("switching")));
    let [right, refused, stuck] = numbers(&tale, "forks")[..] else { panic!("{tale:?}") };
    // Without a clock nobody knows how many a machine refuses that gives this one no time.
    assert!(right > 0 && (right + refused, stuck) == (50, 0), "{right} right, {refused} refused, {stuck} killed");
    assert!(numbers(&tale, "sets")[0] >= 50);
    tale.program().assert_bound();
}

fn children_of_musl() {
    children(&Build::dynamic_musl());
}

/// A fork that waits for a library's sets is gone from there before the library is.
fn beside_closing() {
    let tale = tale(switched(&Build::release(), "closing 400").arg(Build::release().library("switching")));
    assert_eq!(tale.results["closing"], "400");
}

/// Why the loader does not say what it is at.
fn glibc() -> Option<String> {
    (!cfg!(target_env = "gnu")).then(|| "only glibc's loader says that it is at work, and has namespaces".into())
}

/// It is told that it must not set, each time that the loader is about to map or unmap a library.
fn interrupting() {
    let tale = tale(switched(&Build::release(), "interrupting").arg(Build::release().library("switching")));
    let [handled, refused] = numbers(&tale, "interrupting")[..] else { panic!("{tale:?}") };
    assert!(refused == 40 && handled >= 80, "{handled} handled, {refused} refused");
    tale.program().assert_bound();
}

/// Why there is no such test.
fn x86_and_glibc() -> Option<String> {
    glibc().or_else(|| {
        (!cfg!(target_arch = "x86_64")).then(|| "the program returns from the loader's function by hand".into())
    })
}

/// Which GNU ld makes. Its address, and so that of what the loader says of itself, cannot be known by its headers.
fn without_a_header_of_headers() {
    let mut build = Build::release().named("switched-static-pie");
    for flag in ["-Ctarget-feature=+crt-static", "-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"] {
        build = build.rustflag(flag);
    }
    let tale = tale(&mut switched(&build, "child"));
    assert_eq!((&*tale.results["child"], &*tale.results["parent"]), ("0", "true"));
    tale.program().assert_bound();
}

/// The documentation of `set` says how much.
fn stack(build: &Build, kibibytes: u64) {
    let tale = tale(&mut switched(build, "stack"));
    let used = numbers(&tale, "stack")[0];
    assert!(8 << 10 < used && used <= kibibytes << 10, "{used}");
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

/// Bound or not.
fn no_third_value() {
    for writer in ["auto", "off"] {
        let tale = tale(switched(&Build::release(), "two 5000").env("INVAR_WRITER", writer));
        assert_eq!(tale.results["met"], "0 1 1", "{writer}");
    }
}

/// The answer by which a site has no jump is off of a switch, and on of a key.
fn no_jump_while_off() {
    let image = Image::read(&Build::release().program("switched"));
    let values_of = |name: &str| {
        let state = image.state(name);
        let sites = image.site_records().into_iter().filter(|site| site.state == state);
        sites.map(|site| site.value).collect::<BTreeSet<_>>()
    };
    assert_eq!(values_of("switched.trace"), BTreeSet::from([0]));
    assert_eq!(values_of("switched.fixed"), BTreeSet::from([1]));

    let tale = release("wrong");
    let program = tale.program();
    assert_eq!(program.key("switched.trace").value, "off");
    let sites = program.bindings.iter().filter_map(|binding| binding.site.as_ref());
    let traces: Vec<_> = sites.filter(|site| site.key == "switched.trace").collect();
    assert!(!traces.is_empty());
    for site in traces {
        // What docs/site-abi.md has for two nops.
        let nops: &[u8] = if cfg!(target_arch = "x86_64") {
            &[0x40, 0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0x66, 0x90]
        } else if cfg!(target_arch = "aarch64") {
            &[0x1f, 0x20, 0x03, 0xd5]
        } else {
            &[0x13, 0, 0, 0]
        };
        assert_eq!(site.bytes, nops, "{site:?}");
    }
}

/// Why there is no such test.
fn x86() -> Option<String> {
    sites().or_else(|| (!cfg!(target_arch = "x86_64")).then(|| "the decoder is x86-64's".into()))
}

/// By disassembly: a function with three calls of a facade runs from its begin to its return without a jump. What is to be done where
/// the switch is on stands behind that.
fn a_facade_runs_straight_on() {
    let image = Image::read(&Build::release().program("switched"));
    let elf = goblin::elf::Elf::parse(&image.bytes).unwrap();
    let function =
        elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some("through_a_facade")).unwrap();
    let (begin, length) = (function.st_value, function.st_size as usize);
    let decoder = Decoder::with_ip(64, image.at(begin, length), begin, DecoderOptions::NONE);
    let straight: Vec<_> =
        decoder.into_iter().take_while(|instruction| instruction.flow_control() != FlowControl::Return).collect();
    let end = straight.last().unwrap().next_ip();
    let state = image.state("switched.trace");
    let sites = image.site_records();
    let sites: Vec<_> = sites.iter().filter(|site| site.state == state && (begin..end).contains(&site.site)).collect();
    assert_eq!(sites.len(), 3, "one for each call: {straight:?}");
    assert!(sites.iter().all(|site| site.value == 0 && site.target > end), "{sites:?} {straight:?}");
    let is_of_a_site = |jump: &Instruction| {
        sites.iter().any(|site| {
            jump.next_ip() == site.site + u64::from(site.length) && jump.near_branch_target() == site.target
        })
    };
    for instruction in straight.iter().filter(|instruction| instruction.flow_control() != FlowControl::Next) {
        assert!(is_of_a_site(instruction), "{instruction}: {straight:?}");
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

/// Of each key and constant what it has, and what its probe says on the other machine.
const DIFFER: &str = "switched.line 64 128,switched.stays off on,switched.unknown default 18446744073709551615";

fn asked_again() {
    let tale = release("rebind");
    assert_eq!(tale.results["differ"], DIFFER);
    follows_its_probe(&tale);
}

/// All sites of the switch whose probe has another answer are bound to that, as many as the compiler made of it.
fn follows_its_probe(tale: &Tale) {
    let program = tale.program();
    program.assert_bound();
    let is_its = |site: &&BoundSite| site.key == "switched.follows";
    let sites = program.bindings.iter().filter_map(|binding| binding.site.as_ref()).filter(is_its).count();
    assert_eq!(sites > 0, invar_arch::PATCHES);
    assert_eq!(tale.results["rebound"], format!("{sites} 0"));
}

/// Why no process can be restored from a checkpoint here.
fn criu() -> Option<String> {
    let checked = Command::new("criu").arg("check").output();
    match checked {
        Err(_) => Some("no criu".into()),
        Ok(said) if !said.status.success() => {
            let said = [said.stdout, said.stderr].concat();
            Some(format!("criu check: {}", String::from_utf8_lossy(&said).lines().last().unwrap_or("failed")))
        }
        Ok(_) => None,
    }
}

/// The program is killed with its checkpoint, and goes on in another process of its number.
fn from_a_checkpoint(writer: &str) {
    let images = Temporary::path("checkpoint");
    std::fs::create_dir(&images.0).unwrap();
    let [go, out] = ["go", "out"].map(|name| images.0.join(name));
    let log = std::fs::File::create(&out).unwrap();
    let mut program = switched(&Build::release(), "restored");
    program.arg(&go).env("INVAR_WRITER", writer).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    // SAFETY: in a child of one thread, one system call: criu takes whole sessions.
    unsafe {
        program.pre_exec(|| if libc::setsid() > 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) });
    }
    let mut child = Started(program.spawn().unwrap());
    let said = || std::fs::read_to_string(&out).unwrap();
    wait_for(|| said().starts_with("result\twaits"));
    let criu = |words: &str| {
        must(Command::new("criu").args(words.split(' ')).arg("--images-dir").arg(&images.0).args(["-v1"]));
    };
    criu(&format!("dump --tree {}", child.0.id()));
    assert!(child.0.wait().unwrap().code().is_none(), "it was killed");
    // Whatever comes of it, it ends by itself.
    std::fs::write(&go, "").unwrap();
    criu("restore --restore-detached");
    wait_for(|| said().ends_with("\nend\n"));
    let tale = Tale::read(&said(), String::new());
    assert_eq!(tale.results["differ"], DIFFER);
    follows_its_probe(&tale);
}

/// A process that ends with this.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Waits until this is so.
fn wait_for(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it takes too long");
}

/// A process that lets others set its switches, and ends with this.
struct Serving(Started, SocketAddr);

impl Serving {
    fn start(command: &mut Command) -> Self {
        let process = Started(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let begin = format!("@invar/{}/", process.0.id());
        for _ in 0..1000 {
            let unix = std::fs::read_to_string("/proc/self/net/unix").unwrap();
            if let Some(name) = unix.split_ascii_whitespace().find(|word| word.starts_with(&begin)) {
                return Self(process, SocketAddr::from_abstract_name(&name[1..]).unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not serve");
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

fn others_set() {
    let mut serving = Serving::start(&mut switched(&Build::release(), "serve"));
    let (mut stdin, stdout) = (serving.0.0.stdin.take().unwrap(), serving.0.0.stdout.take().unwrap());
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
    if not_root().is_none() {
        assert_eq!(said_to_nobody(&serving), DENIED);
    }
}

const NOBODY: u32 = 65534;
const DENIED: &str = "denied for other users than its own";

/// Why nobody can become another user here.
fn not_root() -> Option<String> {
    // SAFETY: no arguments, no effects.
    (unsafe { libc::geteuid() } != 0).then(|| "not root".into())
}

/// Why user 65534 cannot execute what the tests build.
fn not_for_others() -> Option<String> {
    let is_open = |folder: &Path| folder.metadata().is_ok_and(|folder| folder.mode() & 1 != 0);
    let scratch = scratch();
    let closed = scratch.ancestors().find(|folder| !is_open(folder));
    not_root().or_else(|| closed.map(|folder| format!("{} is closed to others", folder.display())))
}

/// The kernel names this user in the place of all whom a user namespace does not know.
fn anybody() {
    let serving = Serving::start(switched(&Build::release(), "serve").uid(NOBODY).gid(NOBODY));
    assert!(serving.ask(b"switched.trace\0on\0").starts_with("set "), "root may");
    assert_eq!(said_to_nobody(&serving), DENIED);
}

/// What a process of another user is told: a child connects after it has become that, and executes `cat`.
fn said_to_nobody(serving: &Serving) -> String {
    let address = serving.1.clone();
    let mut child = Command::new("cat");
    // SAFETY: in a child of one thread, system calls alone: the socket becomes the standard input.
    unsafe {
        child.pre_exec(move || {
            if libc::setuid(NOBODY) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let stream = UnixStream::connect_addr(&address)?;
            libc::shutdown(stream.as_raw_fd(), libc::SHUT_WR);
            if libc::dup2(stream.as_raw_fd(), 0) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    String::from_utf8_lossy(&child.output().unwrap().stdout).into_owned()
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
        name if name.contains("rebound") => source("rebound"),
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

/// The library's runtime is libinvar's, the program has its own.
fn of_rust_and_c() {
    let folder = format!("-L{}", libinvar().display());
    let options: Vec<_> = ["-shared", "-fPIC", &*folder].into_iter().chain(LINK).collect();
    let library = build_in_c("libswitching_of_both.so", &options);
    for build in [Build::debug(), Build::release()] {
        let tale = tale(switched(&build, "c").arg(&library).env("LD_LIBRARY_PATH", libinvar()));
        assert!(numbers(&tale, "sites")[0] >= 2, "one in each at least");
        assert_eq!(tale.results["sites"], tale.results["at last"]);
        let in_c = tale.module("libswitching_of_both.so");
        in_c.assert_bound();
        tale.program().assert_bound();
        for module in [tale.program(), in_c] {
            let key = module.key("switched_trace");
            assert_eq!((&*key.value, &*key.origin, &*key.evidence), ("on", "set", "Rust's"), "{}", module.path);
        }
    }
}

/// The number is `INVAR_IN_HANDLER`.
fn handler_in_c() {
    let folder = format!("-L{}", libinvar().display());
    let program = build_in_c("switched_handler", &[&*folder].into_iter().chain(LINK).collect::<Vec<_>>());
    let said = output(command(&program).arg("handler").env("LD_LIBRARY_PATH", libinvar()));
    let expected = "\
        in a handler: 10, level 1 (1), trace 0 (0)\n\
        several: 10, level 1 (1), trace 0 (0)\n\
        behind it: 0, level 2 (2), trace 0 (0)\n";
    assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
    assert!(said.status.success());
}

/// As many sites as the program has, then the library's too. One that is not set has no counts.
fn counted_in_c() {
    let folder = format!("-L{}", libinvar().display());
    let link: Vec<_> = [&*folder].into_iter().chain(LINK).collect();
    let program = build_in_c("switched_counted", &link);
    let library = build_in_c("libswitching_counted.so", &[&["-shared", "-fPIC"], &link[..]].concat());
    for writer in ["auto", "off"] {
        let mut command = command(&program);
        command.arg("counted").arg(&library).env("LD_LIBRARY_PATH", libinvar()).env("INVAR_WRITER", writer);
        let said = output(&mut command);
        let counts = |sites: u32| match writer {
            "auto" => format!("{sites} bound, 0 checked"),
            _ => format!("0 bound, {sites} checked"),
        };
        let expected = [
            ("level: 0, level 2 (2), trace 0 (0)", counts(2)),
            ("trace: 0, level 2 (2), trace 1 (1)", counts(1)),
            ("both: 0, level 2 (2), trace 1 (1)", counts(3)),
            ("level: 0, level 2 (2), trace 1 (1)", counts(2)),
            ("trace: 0, level 2 (2), trace 1 (1)", counts(2)),
            ("both: 0, level 2 (2), trace 1 (1)", counts(4)),
            ("none: 4, level 2 (2), trace 1 (1)", "47 bound, 47 checked".into()),
        ];
        let expected: String = expected.iter().map(|(said, counts)| format!("{said}\n{counts}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&said.stdout), expected, "{writer}");
        assert!(said.status.success());
    }
}

/// What is told of each key; a compiler puts keys into any order.
const TOLD: [&str; 7] = [
    "told cpu.avx2: on, off",
    "told cpu.sse4.2: on, off",
    "told cpu.x86-64-v3: on, off",
    "told rebound_half: 65535, default",
    "told rebound_line: 64, 128",
    "told rebound_stays: off, on",
    "told rebound_unknown: default, 18446744073709551615",
];

const REBOUND: [&str; 13] = [
    "same: 0, follows 0 (0), by hand 0 (0), stays 0 (0), line 64",
    "0 bound, 0 checked",
    "other: 0, follows 1 (1), by hand 0 (0), stays 0 (0), line 64",
    "1 bound, 0 checked",
    "again: 0, follows 1 (1), by hand 0 (0), stays 0 (0), line 64",
    "1 bound, 0 checked",
    "small: 5, follows 1 (1), by hand 0 (0), stays 0 (0), line 64",
    "1 bound, 0 checked",
    "back: 0, follows 0 (0), by hand 0 (0), stays 0 (0), line 64",
    "1 bound, 0 checked",
    "library rebound_library: off, on",
    "0 bound, 0 checked, branch 0",
    "library: 0",
];

/// Each module asks its own. What was set by hand stays, and keys do.
fn asked_again_in_c() {
    let folder = format!("-L{}", libinvar().display());
    let link: Vec<_> = [&*folder].into_iter().chain(LINK).collect();
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/rebound_too.c");
    let program = build_in_c("rebound", &[&[other], &link[..]].concat());
    let library = build_in_c("librebound.so", &[&["-DLIBRARY", "-shared", "-fPIC"], &link[..]].concat());
    for writer in ["auto", "off"] {
        let mut command = command(&program);
        command.arg(&library).env("LD_LIBRARY_PATH", libinvar()).env("INVAR_WRITER", writer);
        let said = output(&mut command);
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(text.rfind("told ") < text.find("other: "), "where they are first asked on the other machine: {text}");
        let (mut told, others): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("told "));
        told.sort();
        assert_eq!(told, TOLD, "{writer}: once");
        let expected = REBOUND.map(|line| match writer {
            "off" => line.replace("1 bound, 0 checked", "0 bound, 1 checked"),
            _ => line.to_owned(),
        });
        assert_eq!(others, expected, "{writer}");
        assert!(said.status.success());
    }
}

/// Nobody is there to ask: `INVAR_NO_KEY`, and nothing is told or counted.
fn asked_again_in_c_alone() {
    let said = output(&mut command(build_in_c("rebound_alone", &[])));
    let stays = "4, follows 0 (0), by hand 0 (0), stays 0 (0), line 64\n47 bound, 47 checked\n";
    let expected = ["same", "other", "again", "small", "back"].map(|what| format!("{what}: {stays}")).concat();
    assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
}
