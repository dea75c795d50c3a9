//! Who decides a key, where more than one could: threads that load modules at once, by a loader that keeps others out
//! meanwhile (glibc's) and by one that does not (musl's).

mod common;

use common::c::{LINK, compiler, libinvar, make, missing_linker};
use common::{
    ANYWHERE, Build, Key, MUSL, Temporary, cargo, command, missing_dynamic_musl, missing_tool, must, replace, run,
    scratch, sites, tale, test,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut tests = vec![];
    for libc in [Libc::Glibc, Libc::Musl] {
        let name = |name: &str| format!("{name}, {libc:?}");
        for (first, who) in
            [("library", "the library first"), ("program", "the program first"), ("asked", "and tell so")]
        {
            let name = name(&format!("two threads that decide one key agree, {who}"));
            tests.push(test(&name, libc.missing(), move || agree(libc, first)));
        }
        let missing = || libc.missing().or_else(|| missing_tool(libc.compiler()));
        for last in ["first", "second", ""] {
            let who = if last.is_empty() { "in a race".into() } else { format!("the {last} to begin ends last") };
            let name = name(&format!("libraries that are loaded at once agree, {who}"));
            tests.push(test(&name, missing(), move || loaded_at_once(libc, last)));
        }
    }
    for timer in [false, true] {
        let name = "what a probe is told of a key that another thread decides is true";
        let name = format!("{name}{}", if timer { ", however many signals come" } else { "" });
        tests.push(test(&name, ANYWHERE, move || told_by_threads(timer)));
    }
    for libc in [Libc::Glibc, Libc::Musl] {
        let missing = sites().or_else(|| libc.missing()).or_else(|| missing_tool("make"));
        let missing = missing.or_else(|| missing_tool(libc.compiler()));
        tests.push(test(&format!("libraries in C that are loaded at once agree, {libc:?}"), missing, move || {
            loaded_at_once_in_c(libc);
        }));
    }
    tests.push(test("two versions of the crate in one program, and in its library", sites(), two_versions));
    for first in ["Rust", "C"] {
        let missing = sites().or_else(|| missing_tool("make")).or_else(|| missing_linker("bfd"));
        let name = format!("C beside Rust, and libinvar too, is decided once, {first} first");
        tests.push(test(&name, missing, move || beside_rust_and_libinvar(first)));
    }
    run(tests)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Libc {
    Glibc,
    Musl,
}

impl Libc {
    fn missing(self) -> Option<String> {
        if self == Self::Musl { missing_dynamic_musl() } else { ANYWHERE }
    }

    fn build(self) -> Build {
        if self == Self::Musl { Build::dynamic_musl() } else { Build::release() }
    }

    fn compiler(self) -> &'static str {
        if self == Self::Musl { "musl-gcc" } else { "cc" }
    }
}

/// A program's probe has a thread open a library that has the same key. Both probes run, and who ends first is set. The thread
/// may ask for the program's key then, whose probe waits for it: it is told what the library has.
fn agree(libc: Libc, first: &str) {
    let library = libc.build().library("decider");
    let tale = tale(
        command(libc.build().program("deciders"))
            .arg(&library)
            .args([first])
            .env("DECIDERS_LIBRARY", &library)
            .env("DECIDERS_FIRST", first),
    );
    tale.assert_consistent();
    if first == "asked" {
        assert_eq!(tale.results["told"], "true", "by a thread that waited in vain");
    }
    let first = if first == "program" { "program" } else { "library" };
    let keys = [tale.program().key("shared.agreed"), tale.module("libdecider.so").key("shared.agreed")];
    assert_eq!(tale.probes.len(), 2, "{:?}", tale.probes);
    for key in keys {
        assert_eq!([&*key.value, &*key.evidence], [if first == "library" { "on" } else { "off" }, first], "{keys:?}");
    }
    let origins = keys.map(|key| &*key.origin);
    assert_eq!(origins, if first == "library" { ["adopted", "probe"] } else { ["probe", "adopted"] });
}

/// A program that opens libraries at once. While glibc's loader lists what it has loaded, it keeps others out; of musl's, this
/// makes what it takes longer, for others to do something meanwhile.
fn at_once(libc: Libc) -> Temporary {
    let program = Temporary::path("at-once");
    let slow = if libc == Libc::Musl { "-DSLOW" } else { "" };
    let words = format!("{} -O1 -Wall -Wextra -Werror -pthread -rdynamic {slow}", libc.compiler());
    must(compiler(&words).arg(c_source("at_once.c")).arg("-ldl").arg("-o").arg(&program.0));
    program
}

fn c_source(name: &str) -> String {
    format!("{}/tests/programs/c/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Two files with these bytes.
fn copies(library: &[u8]) -> [Temporary; 2] {
    ["one.so", "other.so"].map(|name| Temporary::executable(name, library))
}

/// Two copies of a library, each opened by a thread of its own.
fn loaded_at_once(libc: Libc, last: &str) {
    let program = at_once(libc);
    let copies = copies(&std::fs::read(libc.build().library("meeting")).unwrap());
    let tale = tale(command(&program.0).args(copies.each_ref().map(|copy| &copy.0)).env("MEETING_LAST", last));
    tale.assert_consistent();
    let [one, other] = &tale.modules[..] else { panic!("{:#?}", tale.modules) };
    let keys: Vec<&Key> = one.keys.iter().filter(|key| key.name.starts_with("meeting.")).collect();
    assert_eq!(keys.len(), 30);
    // Where the loader keeps the second out until the first is loaded, it need not probe.
    assert_eq!(tale.probes.len(), if libc == Libc::Musl { 60 } else { 30 }, "{:?}", tale.probes);
    for one in keys {
        let other = other.key(&one.name);
        assert_eq!((&one.value, &one.evidence), (&other.value, &other.evidence), "one verdict");
        assert_eq!(one.value.to_lowercase(), one.evidence, "what the probe said whose verdict it is");
        let mut origins = [&*one.origin, &*other.origin];
        origins.sort_unstable();
        assert_eq!(origins, ["adopted", "probe"]);
        if libc == Libc::Musl && !last.is_empty() {
            assert_ne!(one.evidence, last, "the verdict is that of who ends first");
        }
    }
}

/// Two threads that ask for one key are told the same. Where a probe waits for a thread that asks for its key, straight or by
/// the probe of another one, it does not wait for ever, and its key fails with a reason.
fn told_by_threads(timer: bool) {
    let mut run = command(Build::release().program("crossed"));
    if timer {
        run.arg("timer");
    }
    let tale = tale(&mut run);
    tale.assert_consistent();
    let key = |name: &str| tale.program().key(&format!("crossed.{name}"));
    let mut both = ["one", "two"].map(|name| [&*key(name).value, &*key(name).evidence]);
    both.sort_unstable();
    assert_eq!(both, [["on", ""], ["on", "on, on"]]);
    for name in ["about", "round", "itself"] {
        assert_eq!(tale.results[&format!("saw {name}")], key(name).value, "what a probe saw of {name}: {tale:#?}");
    }
    let failed: Vec<_> = tale.program().keys.iter().filter(|key| key.origin == "failed").collect();
    // Of the two that wait for each other, the one that was begun first.
    assert!(failed.len() == 2 && failed.iter().any(|key| key.name == "crossed.itself"), "{failed:?}");
    for key in failed {
        let reason = "another thread asked for it and waited in vain: the probe is slow, or waits for that thread";
        assert_eq!([&*key.value, &*key.evidence], ["off", reason]);
    }
}

/// The same in C: one libinvar decides for both, in two threads. It is there from the beginning: musl's loader opens no library
/// later that has thread-local memory at a constant offset.
fn loaded_at_once_in_c(libc: Libc) {
    let libinvar = match libc {
        Libc::Glibc => libinvar().to_owned(),
        Libc::Musl => {
            make("capi-musl", &[&format!("CARGO_BUILD_TARGET={MUSL}"), "CC=musl-gcc"]);
            scratch().join("capi-musl")
        }
    };
    let program = at_once(libc);
    let library = Temporary::path("meets.so");
    let words = format!("{} -O1 -Wall -Wextra -Werror -fPIC -shared -L{}", libc.compiler(), libinvar.display());
    must(compiler(&words).arg(c_source("meets.c")).args(LINK).arg("-o").arg(&library.0));
    let copies = copies(&std::fs::read(&library.0).unwrap());
    let mut run = command(&program.0);
    run.env("LD_LIBRARY_PATH", &libinvar).env("LD_PRELOAD", libinvar.join("libinvar.so.0"));
    let said = must(run.args(copies.each_ref().map(|copy| &copy.0))).stdout;
    let said = String::from_utf8(said).unwrap();
    let of = |word: &str| said.lines().map(str::trim).filter(|line| line.starts_with(word)).collect::<Vec<_>>();
    assert_eq!(of("probes "), [if libc == Libc::Musl { "probes 2" } else { "probes 1" }; 8], "{said}");
    for number in 0..8 {
        let [one, other] = of(&format!("met_{number} "))[..] else { panic!("{said}") };
        assert_eq!(one, other, "{said}");
        let turn = one.split(' ').nth(1).expect("what a site chose");
        assert!(one.ends_with(&format!(" {turn} {turn}")), "{said}");
        let turn = if turn == "1" { "first" } else { "second" };
        let mut keys = of(&format!("key met_{number} "));
        keys.sort_unstable();
        let told = ["adopted", "probe"].map(|origin| format!("key met_{number} = {turn} ({origin}): {turn}"));
        assert_eq!(keys, told, "{said}");
    }
}

/// Two versions of the crate in one module have one table, and the keys of either ask for those of the other. The library,
/// which has one of them, is opened by a probe; its own probe asks for the key that is being decided.
fn two_versions() {
    let [program, library] = versions();
    let tale = tale(command(program).env("VERSIONS_LIBRARY", library));
    tale.assert_consistent();
    let program = tale.program();
    program.assert_bound();
    let said = |name: &str| {
        let key = program.key(&format!("versions.{name}"));
        [&*key.value, &*key.origin, &*key.evidence]
    };
    for name in ["first", "second", "third"] {
        assert_eq!(said(name)[0], "on", "{:?}", said(name));
        assert_eq!(tale.probes.iter().filter(|(key, _)| key == name).count(), 1, "{:?}", tale.probes);
    }
    for [one, other] in [["ping", "pong"], ["pong", "ping"], ["opens", "opens"]] {
        let mut cycle = format!("a cycle: the probes of versions.{one} and versions.{other} ask for each other's keys");
        if one == other {
            cycle = "a cycle: its probe asks for it, or a signal's handler did meanwhile".into();
        }
        assert_eq!(said(one), ["off", "failed", &cycle]);
    }
    assert_eq!(tale.results["sections"], "2");
    let library = tale.module("library.so");
    let opened = library.key("versions.opened");
    assert_eq!([&*opened.value, &*opened.evidence], ["on", "saw off"], "what it was told is true");
    assert_eq!(library.key("versions.third").value, "on");
    let of = |count: fn(&common::Module) -> usize| tale.modules.iter().map(count).sum::<usize>();
    let [sites, bound] = [of(|module| module.sites), of(|module| module.bound)];
    assert_eq!(tale.results["the new version sees"], format!("{:?}", [2, sites, bound]), "as the old one does");
}

/// A program and a library with the crate as it is, and with a copy that is called newer.
fn versions() -> [PathBuf; 2] {
    let folder = scratch().join("versions");
    let newer = folder.join("newer");
    fs::create_dir_all(&newer).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut copying = Command::new("cp");
    must(
        copying.arg("-Ru").args(["src", "abi", "arch", "docs", "build.rs", "README.md"]).arg(&newer).current_dir(here),
    );
    // What has not changed is not built again.
    let write = |path: PathBuf, text: String| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return;
        }
        fs::write(path, text).unwrap();
    };
    let manifest = fs::read_to_string(here.join("Cargo.toml")).unwrap();
    let (package, tests) = manifest.split_once("\n[dev-dependencies]").expect("what tests need, at the end");
    assert!(tests.contains("[[test]]"));
    let version = package.split("version = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version");
    let renamed = |text: &str| text.replace(&format!("version = \"{version}\""), &format!("version = \"1{version}\""));
    let newest = renamed(package);
    let line = newest.lines().find(|line| line.starts_with("members = ")).expect("members");
    let newest = newest.replace(line, "members = [\".\", \"abi\", \"arch\"]");
    let line = newest.lines().find(|line| line.starts_with("default-members = ")).expect("default members");
    write(newer.join("Cargo.toml"), newest.replace(line, ""));
    let arch = fs::read_to_string(here.join("arch/Cargo.toml")).unwrap();
    write(newer.join("arch/Cargo.toml"), renamed(&arch));
    write(
        folder.join("Cargo.toml"),
        "[workspace]\nmembers = [\"program\", \"library\"]\nexclude = [\"newer\"]\nresolver = \"3\"\n".into(),
    );
    let programs = here.join("tests/programs");
    for (name, target) in [("program", "[[bin]]"), ("library", "[lib]\ncrate-type = [\"cdylib\"]")] {
        let source = programs.join("versions").join(format!("{name}.rs"));
        let depends = format!("invar-rt = {{ path = \"{}\" }}\n", here.display())
            + "libc = { version = \"0.2\", default-features = false }\n";
        let text = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\npublish = false\n\n{target}\nname = \"{name}\"\n"
        ) + &format!(
            "path = \"{}\"\n\n[dependencies]\nnew = {{ package = \"invar-rt\", path = \"../newer\" }}\n",
            source.display()
        ) + if name == "program" { &depends } else { "" };
        write(folder.join(name).join("Cargo.toml"), text);
    }
    if !folder.join("Cargo.lock").exists() {
        fs::copy(programs.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    }
    let target = scratch().join("programs-versions");
    must(cargo().args(["build", "--quiet", "--offline", "--target-dir"]).arg(&target).current_dir(&folder));
    ["program", "liblibrary.so"].map(|file| target.join("debug").join(file))
}

/// The module has a runtime of its own, and libinvar would load it, too. Whose constructor is first has the one decide, or the
/// other, for both languages: nothing twice.
fn beside_rust_and_libinvar(first: &str) {
    let mut build = Build::release().named(&format!("beside-{first}-first"));
    if first == "C" {
        // rustc has what it is told to link stand behind all that is its own.
        let folder = scratch().join("c-first");
        fs::create_dir_all(&folder).unwrap();
        let script = "#!/bin/sh\nfor word do\n shift\n case $word in\n */beside.o) object=$word ;;\n \
                      *) set -- \"$@\" \"$word\" ;;\n esac\ndone\nexec ld.bfd \"$object\" \"$@\"\n";
        replace(&folder.join("ld.bfd"), script.as_bytes());
        build = build.link_argument("-fuse-ld=bfd").link_argument(format!("-B{}", folder.display()));
    }
    let program = build.program("beside");
    let libinvar = libinvar().join("libinvar.so.0");
    for with in [false, true] {
        let mut run = command(&program);
        if with {
            run.env("LD_PRELOAD", &libinvar);
        }
        let tale = tale(&mut run);
        let module = tale.program();
        let place = |name: &str| module.keys.iter().position(|key| key.name == name);
        assert_eq!(place("c_beside") < place("beside.rust"), first == "C", "which was linked first");
        module.assert_bound();
        let of_libinvar = tale.modules.iter().filter(|module| module.path.ends_with("libinvar.so.0")).count();
        assert_eq!(of_libinvar, usize::from(with));
        let mut probes: Vec<_> = tale.probes.iter().map(|(key, _)| &**key).collect();
        probes.sort_unstable();
        assert_eq!(probes, ["beside.rust", "c_asks", "c_beside", "c_ping", "c_pong"]);
        assert_eq!([&*tale.results["beside"], &*tale.results["asks"]], ["1 1 1", "1"]);
        for key in ["beside.rust", "c_asks", "c_beside"] {
            assert_eq!([&*module.key(key).value, &*module.key(key).origin], ["on", "probe"]);
        }
        for [one, other] in [["c_ping", "c_pong"], ["c_pong", "c_ping"]] {
            let said = format!("a cycle: the probes of {one} and {other} ask for each other's keys");
            assert_eq!([&*module.key(one).origin, &*module.key(one).evidence], ["failed", &said]);
        }
        let slices: Vec<_> = module.keys.iter().filter(|key| key.name == "slice").collect();
        assert!(slices.iter().all(|slice| slice.value == slices[0].value && slice.evidence == slices[0].evidence));
    }
}
