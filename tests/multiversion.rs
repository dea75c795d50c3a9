//! `multiversion`: which version of a function runs, on this CPU, on one with fewer features, and where settings lower keys; that
//! all of them mean the same; and what is left of the choice where sites are bound.

mod common;

use common::{
    ANYWHERE, Build, CROSS_CC, EMULATOR, Tale, command, missing_emulator, missing_target, missing_tool, run, sites,
    tale, test,
};
use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

fn main() -> ExitCode {
    run([
        test("the first version that this CPU has runs", ANYWHERE, || the_first_that_is_there_runs(&Build::release())),
        test("the same without optimisation", ANYWHERE, || the_first_that_is_there_runs(&Build::debug())),
        test("and in checked form", ANYWHERE, in_checked_form),
        test("every version runs", missing_features(), every_version_runs),
        test("a CPU without the features", missing_tool(OTHER_CPU[0]).or_else(foreign), a_cpu_without_the_features),
        test("a program that has the features anyhow", missing_level().or_else(foreign), compiled_for_the_features),
        test("on AArch64, versions for its CPUs", missing_emulator().or_else(|| missing_target(AARCH64)), on_aarch64),
        test(
            "and on a 32-bit machine",
            missing_tool(NARROW_EMULATOR).or_else(|| missing_target(NARROW)),
            on_a_32_bit_machine,
        ),
        test("each version has its sites", sites(), each_version_has_its_sites),
        test("a call of a bound function asks nothing", sites(), a_bound_call_asks_nothing),
        test("nothing of the macros is in the program", ANYWHERE, nothing_of_the_macros_is_in_the_program),
    ])
}

/// Each function that tells its version, with those that it has.
const FUNCTIONS: [(&str, &[&str]); 29] = [
    ("free", &["avx512bw", "avx2"]),
    ("generic", &["avx2"]),
    ("explicit", &["avx2"]),
    ("patterns", &["avx2"]),
    ("opaque", &["avx2"]),
    ("elided", &["avx2"]),
    ("recursive", &["avx2"]),
    ("peek", &["avx2"]),
    ("conditions", &["avx2"]),
    ("together", &["avx512bw+gfni", "avx2+bmi2", "sse4.2"]),
    ("levels", &["x86-64-v4", "x86-64-v3", "x86-64-v2"]),
    ("copies", &["fsrm", "ermsb"]),
    ("inlined", &["avx2"]),
    ("tracked", &["avx2"]),
    ("match", &["avx2"]),
    ("many", &["avx2"]),
    ("by macro", &["avx2"]),
    ("renamed", &["avx2"]),
    ("by path", &["avx2"]),
    ("uses", &["avx2+bmi2", "avx2", "bmi2"]),
    ("get", &["avx512bw", "avx2"]),
    ("add", &["avx2"]),
    ("count", &["avx2"]),
    ("own", &["avx512bw", "avx2"]),
    ("boxed", &["avx2"]),
    ("whole", &["avx2"]),
    ("new", &["avx2"]),
    ("apart", &["avx2"]),
    ("same", &["avx2"]),
];

/// What `has!` says in each version of a function: see `knows` in the program.
const KNOWS: [(&str, &str); 3] = [
    ("avx512bw", "11011110 true (false, [true]) wide 1"),
    ("avx2+bmi2", "01110110 true (true, [true]) narrow 1"),
    ("avx", "00010110 false (false, [true]) other 1"),
];

/// Results that tell of the version.
const OF_VERSIONS: [&str; 1] = ["knows"];

/// All keys that these functions ask.
const KEYS: [&str; 10] =
    ["avx512bw", "gfni", "x86-64-v4", "avx2", "bmi2", "x86-64-v3", "avx", "sse4.2", "x86-64-v2", "fsrm"];

/// Ways to lower them: with each, other versions are the first.
const LOWERED: [&[&str]; 7] = [
    &[],
    &["avx512bw", "x86-64-v4", "fsrm"],
    &["gfni", "bmi2"],
    &["avx512bw", "avx2", "x86-64-v4", "x86-64-v3"],
    &["avx512bw", "bmi2", "fsrm", "ermsb"],
    &["avx512bw", "avx2", "x86-64-v4", "x86-64-v3", "avx", "bmi2", "sse4.2", "x86-64-v2", "fsrm", "ermsb"],
    &KEYS,
];

fn settings(lowered: &[&str]) -> String {
    lowered.iter().map(|key| format!("cpu.{key}=off")).collect::<Vec<_>>().join(",")
}

/// The version that is to run, where these keys are off.
fn chosen<'a>(versions: &[&'a str], features: u64, lowered: &[&str]) -> &'a str {
    let is_on = |name: &&str| {
        let needs = invar_arch::features_named(name.as_bytes());
        needs.is_some_and(|needs| needs & !features == 0) && !lowered.contains(name)
    };
    let is_there = |version: &&&str| version.split('+').collect::<Vec<_>>().iter().all(is_on);
    versions.iter().find(is_there).copied().unwrap_or("plain")
}

/// Fails unless these versions ran, and all else is as in the other run.
fn assert_chosen(told: &Tale, features: u64, lowered: &[&str], plain: &Tale) {
    for (name, versions) in FUNCTIONS {
        let version = &told.results[&format!("{name}: version")];
        assert_eq!(version, chosen(versions, features, lowered), "{name}, without {lowered:?}");
    }
    let version = &*told.results["knows: version"];
    assert_eq!(version, chosen(&KNOWS.map(|(version, _)| version), features, lowered));
    if let Some((_, knows)) = KNOWS.iter().find(|(of, _)| *of == version) {
        assert_eq!(told.results["knows"], *knows, "{version}");
    }
    let results = |tale: &Tale| -> BTreeMap<String, String> {
        let all =
            tale.results.iter().filter(|(name, _)| !name.ends_with(": version") && !OF_VERSIONS.contains(&&***name));
        all.map(|(name, result)| (name.clone(), result.clone())).collect()
    };
    assert!(results(told).len() > FUNCTIONS.len());
    assert_eq!(results(told), results(plain), "without {lowered:?}");
}

/// A run of the program with these keys off.
fn told(build: &Build, lowered: &[&str]) -> Tale {
    let mut program = command(build.program("multiversioned"));
    if !lowered.is_empty() {
        program.env("INVAR_KEYS", settings(lowered));
    }
    tale(&mut program)
}

fn the_first_that_is_there_runs(build: &Build) {
    let plain = told(build, &KEYS);
    for lowered in LOWERED {
        let told = told(build, lowered);
        assert_eq!(told.errors, "", "{lowered:?}");
        assert_chosen(&told, invar_arch::cpu_features(), lowered, &plain);
        told.program().assert_bound();
    }
}

fn in_checked_form() {
    let plain = told(&Build::release(), &KEYS);
    let mut program = command(Build::release().program("multiversioned"));
    let told = tale(program.env("INVAR_WRITER", "off").env("INVAR_KEYS", settings(&["avx512bw"])));
    told.program().assert_checked();
    assert_chosen(&told, invar_arch::cpu_features(), &["avx512bw"], &plain);
}

/// Why not every version can run here.
fn missing_features() -> Option<String> {
    let has = |version: &&str| chosen(&[version], invar_arch::cpu_features(), &[]) != "plain";
    let missing = FUNCTIONS.iter().flat_map(|(_, versions)| *versions).find(|version| !has(version));
    missing.map(|version| format!("this CPU has no {version}"))
}

fn every_version_runs() {
    let seen: BTreeSet<_> = LOWERED
        .iter()
        .flat_map(|lowered| {
            let results = told(&Build::release(), lowered).results.into_iter();
            results.filter_map(|(name, version)| Some((name.strip_suffix(": version")?.to_owned(), version)))
        })
        .collect();
    let all = FUNCTIONS.into_iter().chain([("knows", &["avx512bw", "avx2+bmi2", "avx"][..])]);
    for (name, versions) in all {
        for version in versions.iter().chain(&["plain"]) {
            assert!(seen.contains(&(name.to_owned(), String::from(*version))), "{name}: {version} never ran");
        }
    }
}

/// Where the program is none of this emulator's.
fn foreign() -> Option<String> {
    (!cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))).then(|| "another machine's features".into())
}

const OTHER_CPU: [&str; 3] = ["qemu-x86_64", "-cpu", "Nehalem"];

/// It would trap at the first instruction that it does not have.
fn a_cpu_without_the_features() {
    let program = Build::release().program("multiversioned");
    let plain = tale(command(&program).env("INVAR_KEYS", settings(&KEYS)));
    let told = tale(command(OTHER_CPU[0]).args(&OTHER_CPU[1..]).arg(&program));
    let has = invar_arch::feature_mask("x86-64-v2") | invar_arch::feature_mask("sse4.2,popcnt");
    assert_chosen(&told, has, &[], &plain);
    assert_eq!(told.results["levels: version"], "x86-64-v2");
    assert_eq!(told.results["free: version"], "plain");
}

fn missing_level() -> Option<String> {
    let level = invar_arch::features_named(b"x86-64-v3").unwrap_or(0);
    (level & !invar_arch::cpu_features() != 0).then(|| "this CPU is below x86-64-v3".into())
}

/// The plain version knows them as well.
fn compiled_for_the_features() {
    let build = Build::release().named("multiversioned v3").rustflag("-Ctarget-cpu=x86-64-v3");
    let told = told(&build, &KEYS);
    assert_eq!(told.results["knows: version"], "plain");
    assert_eq!(told.results["knows"], "01111111 true (true, [true]) narrow 1");
    assert_eq!(told.results["uses"], self::told(&Build::release(), &[]).results["uses"]);
}

const AARCH64: &str = "aarch64-unknown-linux-gnu";
const NARROW: &str = "i686-unknown-linux-musl";
const NARROW_EMULATOR: &str = "qemu-i386";

/// NEON is part of it, which `has!` knows of the plain version.
fn on_aarch64() {
    let program = Build::release().target(AARCH64, Some(CROSS_CC)).program("multiversioned");
    for (cpu, settings, version) in [
        ("max", "", "sve2"),
        ("max", "cpu.sve2=off", "crc+lse"),
        ("cortex-a76", "", "crc+lse"),
        ("cortex-a72", "", "crc"),
        ("cortex-a72", "cpu.crc=off", "plain"),
    ] {
        let mut run = command(EMULATOR[0]);
        run.args(&EMULATOR[1..]).args(["-cpu", cpu]).arg(&program).env("INVAR_KEYS", settings);
        let told = tale(&mut run);
        assert_chosen(&told, 0, &KEYS, &self::told(&Build::release(), &KEYS));
        assert_eq!(told.results["knows"], "00000010 false (false, [false]) other 0");
        assert_eq!(told.results["elsewhere: version"], version, "{cpu} {settings}");
    }
}

fn on_a_32_bit_machine() {
    let program = Build::release().target(NARROW, None).program("multiversioned");
    let told = tale(command(NARROW_EMULATOR).arg(program));
    assert_chosen(&told, 0, &KEYS, &self::told(&Build::release(), &KEYS));
}

/// Without optimisation each function is there once: one site for each feature of a version.
fn each_version_has_its_sites() {
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    // Those that tell no version.
    let others: [(&str, &[&str]); 5] = [
        ("spaces", &["avx512bw", "avx2"]),
        ("early", &["avx2"]),
        ("changes", &["avx2"]),
        ("with", &["avx2"]),
        ("knows", &["avx512bw", "avx2+bmi2", "avx"]),
    ];
    for key in FUNCTIONS.iter().chain(&others).flat_map(|(_, versions)| versions.iter().flat_map(|v| v.split('+'))) {
        *wanted.entry(format!("cpu.{key}")).or_default() += 1;
    }
    let told = told(&Build::debug(), &[]);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for site in told.program().bindings.iter().filter_map(|binding| binding.site.as_ref()) {
        if site.key.starts_with("cpu.") {
            assert_eq!((&*site.kind, site.value), ("branch", 1));
            *found.entry(site.key.clone()).or_default() += 1;
        }
    }
    assert_eq!(found, wanted);
}

/// From the function's first instruction to the version's.
fn a_bound_call_asks_nothing() {
    let file = std::fs::read(Build::release().program("multiversioned")).unwrap();
    let elf = goblin::elf::Elf::parse(&file).unwrap();
    let functions: Vec<_> =
        elf.syms.iter().filter_map(|sym| Some((sym.st_value, elf.strtab.get_at(sym.st_name)?))).collect();
    let is_spaces = |name: &str| name.contains("multiversioned") && name.contains("spaces");
    let front = functions.iter().find(|(_, name)| is_spaces(name) && !name.contains("__invar")).expect("spaces").0;
    for lowered in [&[][..], &["avx512bw"], &["avx512bw", "avx2"]] {
        let version = chosen(&["avx512bw", "avx2"], invar_arch::cpu_features(), lowered);
        let told = told(&Build::release(), lowered);
        let (mut at, mut steps) = (front, 0);
        while !functions.iter().any(|&(begin, name)| begin == at && name.contains(&format!("__invar_spaces_{version}")))
        {
            let code = &told.code["spaces"][(at - front) as usize..];
            let instruction = Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode();
            at = match (instruction.mnemonic(), instruction.op0_kind()) {
                (Mnemonic::Nop, _) => instruction.next_ip(),
                (Mnemonic::Jmp, OpKind::NearBranch64) => instruction.near_branch_target(),
                _ => panic!("to {version}, behind {steps} instructions: {instruction}"),
            };
            steps += 1;
        }
        // Two nops, or a jump, for each site; and a jump to the version.
        assert!((2..=4).contains(&steps), "{steps} instructions to {version}");
    }
}

fn nothing_of_the_macros_is_in_the_program() {
    let bytes = std::fs::read(Build::release().program("multiversioned")).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("cpu.") && !has("invar_macros") && !has("proc_macro2"));
}
