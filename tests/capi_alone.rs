//! Programs in C without libinvar: it costs speed, not meaning. What probes say is what keys have, as with libinvar, in any order;
//! nothing is decided twice; and CPU features are keys like any other.

mod common;

use common::c::{CAPI, LINK, compiler, libinvar, missing, must};
use common::{CROSS_CC, EMULATOR, command, missing_emulator, run, scratch, sites, test};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut tests = vec![];
    for words in [
        "gcc -std=c11 -O2",
        "clang -O0",
        "g++ -xc++ -O2",
        "gcc -O1 -DINVAR_PORTABLE",
        "musl-gcc -O2 -static -DNO_PREINIT",
    ] {
        let missing = || missing(words.split(' ').next().unwrap());
        tests.push(test(&format!("keys are what their probes say, {words}"), missing(), move || {
            alone(&build("alone", "alone.c", words, false), !words.contains("PORTABLE"));
        }));
        if !words.contains("PORTABLE") {
            let missing = sites().or_else(|| self::missing("make")).or_else(missing);
            tests.push(test(&format!("with libinvar as without, {words}"), missing, move || {
                with_libinvar(&build("alone", "alone.c", words, true));
            }));
        }
    }
    for words in [
        "gcc -O2 -pthread",
        "clang -O0 -pthread",
        "gcc -O2 -pthread -masm=intel",
        "clang++ -xc++ -O2 -pthread",
        "gcc -O1 -pthread -DINVAR_PORTABLE",
    ] {
        let missing = missing(words.split(' ').next().unwrap());
        tests.push(test(&format!("another thread asks, {words}"), missing, move || another_thread_asks(words)));
    }
    tests.push(test("keys are what their probes say, AArch64", missing_emulator(), || {
        let program = build("alone", "alone.c", &format!("{CROSS_CC} -O2"), false);
        assert_alone(&facts(command(EMULATOR[0]).args(&EMULATOR[1..]).arg(program)), false);
    }));
    for words in ["g++ -O2", "clang++ -O0", "clang++ -O2 -fuse-ld=lld"] {
        let missing = missing(words.split(' ').next().unwrap());
        tests.push(test(&format!("one verdict for a name, {words}"), missing, move || one_verdict(words)));
    }
    tests.push(test("an IFUNC that is bound late opens nothing", missing("gcc").or_else(sites), bound_late));
    for words in ["gcc -O2", "gcc -O2 -DINVAR_PORTABLE", "clang -O0", "g++ -xc++ -O2"] {
        let missing = || missing(words.split(' ').next().unwrap());
        tests.push(test(&format!("CPU keys, {words}"), missing(), move || cpu_keys(words)));
    }
    tests.push(test("CPU keys obey settings", sites().or_else(|| missing("make")), cpu_keys_obey_settings));
    run(tests)
}

/// Builds a program of `tests/programs/c`, with libinvar or without.
fn build(name: &str, source: &str, words: &str, with: bool) -> PathBuf {
    let words_in_name: String = words.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = scratch().join(format!("c-{name}-{words_in_name}{}", if with { "-with" } else { "" }));
    let source = Path::new(CAPI).parent().unwrap().join("tests/programs/c").join(source);
    let mut command = compiler(&format!("{words} -Wall -Wextra"));
    command.arg(source).arg("-xnone");
    if with {
        command.arg(format!("-L{}", libinvar().display())).args(LINK);
    }
    must(command.arg("-o").arg(&path));
    path
}

/// What a program says, by the first word of each line: what it says with numbers, and why.
fn facts(command: &mut Command) -> BTreeMap<String, [String; 2]> {
    let said = String::from_utf8(must(command).stdout).unwrap();
    let facts = said.lines().map(|line| {
        let mut fields = line.splitn(3, '\t').map(String::from);
        let mut next = || fields.next().unwrap_or_default();
        (next(), [next(), next()])
    });
    facts.collect()
}

/// Value, origin, runs of the probe, and what a branch for value 1 says.
const VERDICTS: [(&str, &str); 10] = [
    ("a_first", "1 0 1 1"),
    ("a_circle", "0 1 1 0"),
    ("a_twist", "0 1 1 0"),
    ("a_outside", "1 0 1 1"),
    ("a_self", "0 1 1 0"),
    ("a_beyond", "0 1 1 0"),
    ("a_odd", "0 1 1 0"),
    ("a_lost", "0 1 1 0"),
    ("a_long", "1 0 1 1"),
    ("a_last", "1 0 1 1"),
];

fn assert_verdicts(facts: &BTreeMap<String, [String; 2]>, portable: bool) {
    for (name, expected) in VERDICTS {
        // Where there are no sites, only the first of a circle is known to be in it.
        let expected = if portable && name == "a_twist" { "1 0 1 1" } else { expected };
        assert_eq!(facts[name][0], expected, "{name}: {facts:#?}");
    }
    // Before any constructor, where there is such a time: not with musl.
    assert_ne!(facts["early"][0], "1");
    for (name, why) in [("a_first", "as the last"), ("a_lost", "cannot tell"), ("a_last", "is")] {
        assert_eq!(facts[name][1], why, "{facts:#?}");
    }
    assert_eq!(facts["a_beyond"][1], "the probe's value is none that the key has");
}

const MEANWHILE: &str = "it was asked for while it was being decided";

fn assert_alone(facts: &BTreeMap<String, [String; 2]>, portable: bool) {
    assert_verdicts(facts, portable);
    // Where there are no sites, nobody knows which thread asks.
    let why = if portable { MEANWHILE } else { "its probe asks for it, by way of others or not" };
    for name in ["a_circle", "a_twist", "a_self"].iter().filter(|name| !portable || **name != "a_twist") {
        assert_eq!(facts[*name][1], why);
    }
    let slice = facts.get("slice").map(|slice| &*slice[0]);
    assert_eq!(slice, (!portable).then_some("0 1 libinvar is not there to probe"));
}

fn alone(program: &Path, has_sites: bool) {
    assert_alone(
        &facts(&mut command(program)),
        !has_sites || cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))),
    );
    // Without libinvar there is nobody to heed settings.
    let facts = facts(command(program).env("INVAR", "off").env("INVAR_KEYS", "a_last=off"));
    assert_eq!(facts["a_last"][0], "1 0 1 1");
}

fn with_libinvar(program: &Path) {
    let run = |keys: &str| facts(command(program).env("LD_LIBRARY_PATH", libinvar()).env("INVAR_KEYS", keys));
    let plain = run("");
    assert_verdicts(&plain, false);
    assert_ne!(plain["slice"][0], "0 1 libinvar is not there to probe");
    // Settings reach what is asked for on the way, and its probe does not run.
    let lowered = run("a_last=off");
    assert_eq!((&*lowered["a_last"][0], &*lowered["a_first"][0]), ("0 3 0 0", "0 0 1 0"));
}

/// For one key while it is being decided, and nobody for the other.
fn another_thread_asks(words: &str) {
    let facts = facts(&mut command(build("asked", "asked.c", words, false)));
    assert_eq!(facts["asked for"], ["0 1 0".into(), MEANWHILE.to_owned()], "{facts:#?}");
    assert_eq!(facts["meanwhile"], ["1 0 1", "as it is"], "{facts:#?}");
}

fn one_verdict(words: &str) {
    let mut expected = vec![build("twins", "twins.cc", words, false)];
    if sites().or_else(|| missing("make")).is_none() {
        expected.push(build("twins", "twins.cc", words, true));
    }
    for program in expected {
        let said = must(command(&program).env("LD_LIBRARY_PATH", libinvar())).stdout;
        assert_eq!(String::from_utf8_lossy(&said), "1 1 1 1\n1\n", "{}", program.display());
    }
}

/// The header's constructor has made the choice when a filter forbids to look for settings.
fn bound_late() {
    let folder = scratch().join("c-late");
    std::fs::create_dir_all(&folder).unwrap();
    let sources = Path::new(CAPI).parent().unwrap().join("tests/programs/c");
    let library = folder.join("libcopy.so");
    must(compiler("gcc -O2 -fPIC -fplt -shared").arg(sources.join("copy.c")).arg("-o").arg(library));
    let program = folder.join("forbids");
    // A filter of the program's own, which has no copy of libc's to be bound late either.
    let words = format!("gcc -O2 -fplt -fno-pie -no-pie -Wl,-z,lazy -L{0} -Wl,-rpath,{0}", folder.display());
    must(compiler(&words).arg(sources.join("forbids.c")).arg("-lcopy").arg("-o").arg(&program));
    let relocations = must(Command::new("readelf").args(["-W", "-r"]).arg(&program)).stdout;
    let relocations = String::from_utf8_lossy(&relocations);
    assert!(relocations.lines().any(|line| line.contains("JUMP_SLO") && line.contains("mylib_copy")), "{relocations}");
    let anywhere = must(command(&program).env("INVAR", "off")).stdout;
    assert_eq!(String::from_utf8_lossy(&anywhere), "copied 1 0 0\n");
    must(&mut command(&program));
}

/// Names and values of all keys of features that the runtime has.
macro_rules! names {
    ($($key:ident $name:literal $doc:literal,)*) => { [$($name),*] };
}

#[cfg(target_arch = "x86_64")]
fn names() -> Vec<&'static str> {
    invar_arch::cpu_keys!(names).to_vec()
}

fn cpu_keys(words: &str) {
    let identifier = |name: &str| name.replace(['.', '-'], "_");
    let declared: String = names().iter().map(|name| format!("INVAR_CPU_KEY({});\n", identifier(name))).collect();
    // Where there are no sites there are no names either.
    let portable = words.contains("PORTABLE");
    let said = |name: &&str| {
        let key = format!("cpu_{}", identifier(name));
        let name = if portable { "\"cpu.\"".into() } else { format!("invar_names_invar_key_{key}") };
        format!("\tprintf(\"%s %d %d\\n\", {name}, invar_branch({key}), invar_value({key}));\n")
    };
    let said: String = names().iter().map(said).collect();
    // In two files.
    let folder = scratch().join(format!("c-cpu-{}", words.replace([' ', '='], "")));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("cpu.c");
    std::fs::write(
        &source,
        format!(
            "#include <invar-ifunc.h>\n#include <stdio.h>\n{declared}\nint main(void)\n{{\n{said}\treturn 0;\n}}\n"
        ),
    )
    .unwrap();
    let other = folder.join("other.c");
    std::fs::write(
        &other,
        format!("#include <invar-ifunc.h>\n{declared}\nint other(void) {{ return invar_branch(cpu_avx2); }}\n"),
    )
    .unwrap();
    let program = folder.join("cpu");
    must(compiler(&format!("{words} -Wall -Wextra -Werror -pedantic")).arg(source).arg(other).arg("-o").arg(&program));
    let said = String::from_utf8(must(&mut command(&program)).stdout).unwrap();
    let features = invar_arch::cpu_features();
    let expected: Vec<_> = names()
        .iter()
        .map(|name| {
            let mask = invar_arch::features_named(name.as_bytes()).expect("a feature");
            let on = u8::from(features & mask == mask);
            let name = if portable { "" } else { name };
            format!("cpu.{name} {on} {on}")
        })
        .collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

fn cpu_keys_obey_settings() {
    let program = build("levels", "cpu.c", "gcc -O2", true);
    let run = |keys: &str| {
        let mut run = command(&program);
        let said = must(run.env("LD_LIBRARY_PATH", libinvar()).env("INVAR_KEYS", keys)).stdout;
        String::from_utf8(said).unwrap()
    };
    let has = |name: &str| {
        let mask = invar_arch::features_named(name.as_bytes()).expect("a feature");
        invar_arch::cpu_features() & mask == mask
    };
    for (keys, off) in [("", ""), ("cpu.avx2=off", "avx2"), ("cpu.sse4.2=off", "sse4.2")] {
        let on = |name: &str| u8::from(has(name) && name != off);
        let level = if on("avx2") == 1 {
            "avx2"
        } else if on("sse4.2") == 1 {
            "sse4.2"
        } else {
            "anywhere"
        };
        let said = run(keys);
        let expected = format!("keys\t{} {}\nlevel\t{level}\n", on("avx2"), on("sse4.2"));
        assert!(said.starts_with(&expected), "{keys}: {said}");
        assert!(said.contains(&format!("key cpu.sse4.2 = {}", if on("sse4.2") == 1 { "on" } else { "off" })), "{said}");
    }
    assert!(run("").contains(" sites, ") && !run("").contains(": checked"));
}
