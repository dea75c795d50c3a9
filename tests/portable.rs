//! The portable folder, which any machine has: a program built with `--cfg invar_portable` does the same without
//! a site, and nothing outside `arch/` knows a machine.

mod common;

use common::{
    ANYWHERE, Binding, Build, CROSS_CC, EMULATOR, Tale, Temporary, command, missing_emulator, missing_target,
    missing_tool, run, scratch, tale, test,
};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    run([
        test("a portable program does the same", ANYWHERE, a_portable_program_does_the_same),
        test(
            "a program does the same on AArch64",
            missing_emulator().or_else(|| missing_target(TARGET)),
            a_program_does_the_same_on_aarch64,
        ),
        test(
            "a program does the same on a 32-bit machine",
            missing_tool(NARROW_EMULATOR).or_else(|| missing_target(NARROW)),
            a_program_does_the_same_on_a_32_bit_machine,
        ),
        test(
            "pointers are bound on AArch64",
            missing_emulator().or_else(|| missing_target(TARGET)),
            pointers_are_bound_on_aarch64,
        ),
        test(
            "pointers are bound on a 32-bit machine",
            missing_tool(NARROW_EMULATOR).or_else(|| missing_target(NARROW)),
            pointers_are_bound_on_a_32_bit_machine,
        ),
        test("only arch knows a machine", ANYWHERE, only_arch_knows_a_machine),
    ])
}

fn a_portable_program_does_the_same() {
    let build = Build::release().named("portable").rustflag("--cfg=invar_portable");
    does_the_same(&mut command(build.program("story")));
    // Selects, comparisons and constants.
    for width in ["0", "1", "2", "3"] {
        let numbers = |build: &Build| tale(command(build.program("numbers")).env("NUMBERS_WIDTH", width));
        let (portable, here) = (numbers(&build), numbers(&Build::release()));
        portable.assert_consistent();
        assert_eq!((&portable.results, portable.choices()), (&here.results, here.choices()));
        assert_eq!(portable.program().key("numbers.line"), here.program().key("numbers.line"));
    }
}

const TARGET: &str = "aarch64-unknown-linux-gnu";

fn a_program_does_the_same_on_aarch64() {
    does_the_same(command(EMULATOR[0]).args(&EMULATOR[1..]).arg(portable("story")));
}

/// A program for AArch64 as for any machine that has no folder.
fn portable(program: &str) -> PathBuf {
    let build = Build::release().target(TARGET, Some(CROSS_CC)).named("portable-aarch64");
    build.rustflag("--cfg=invar_portable").program(program)
}

/// Runs the program with pointers, which are bound on any machine.
fn pointers_are_bound(there: &mut Command) {
    let here = tale(&mut command(Build::release().program("pointers")));
    let there = tale(there);
    let of_all = |tale: &Tale| {
        let mut results = tale.results.clone();
        // Only here; and who seals.
        results.retain(|name, _| !name.ends_with(": features"));
        results.values_mut().for_each(|value| *value = value.trim_end_matches(" sealed").into());
        results
    };
    assert_eq!(of_all(&there), of_all(&here));
    let module = there.program();
    assert!(module.sites >= 24 && module.bound == module.sites, "{module:#?}");
    let is_bound = |binding: &Binding| {
        let kind = binding.site.as_ref().map(|site| site.kind.as_str());
        (binding.status.as_str(), kind) == ("Bound", Some("pointer"))
    };
    assert!(module.bindings.iter().all(is_bound), "{module:#?}");
}

fn pointers_are_bound_on_aarch64() {
    pointers_are_bound(command(EMULATOR[0]).args(&EMULATOR[1..]).arg(portable("pointers")));
}

fn pointers_are_bound_on_a_32_bit_machine() {
    let program = Build::release().target(NARROW, None).program("pointers");
    pointers_are_bound(command(NARROW_EMULATOR).arg(program));
}

const NARROW: &str = "i686-unknown-linux-musl";
const NARROW_EMULATOR: &str = "qemu-i386";

fn a_program_does_the_same_on_a_32_bit_machine() {
    // Where other code is left out than on this machine.
    let program = Build::release().target(NARROW, None).rustflag("-Dwarnings").program("story");
    let narrow = || {
        let mut emulator = command(NARROW_EMULATOR);
        emulator.arg(&program);
        emulator
    };
    does_the_same(&mut narrow());
    // Made by calls that take numbers of 64 bits.
    let profile = Temporary(scratch().join("narrow.profile"));
    let _ = std::fs::remove_file(&profile.0);
    let counted = tale(narrow().env("INVAR_SLICE", "count").env("INVAR_PROFILE", &profile.0));
    let key = counted.program().key("slice.counting");
    assert_eq!(key.value, "count", "{key:?}");
    assert!(std::fs::metadata(&profile.0).unwrap().len() > 0);
}

fn does_the_same(portable: &mut Command) {
    let here = tale(&mut command(Build::release().program("story")));
    let portable = tale(portable);
    assert_eq!(portable.results, here.results);
    assert_eq!(portable.choices(), here.choices());
    portable.assert_consistent();
    let module = portable.program();
    assert_eq!((module.sites, module.bound, &*module.reason), (0, 0, "this architecture has no other form"));
    assert!(portable.differs.is_empty());
    let keys_here: Vec<_> = here.program().keys.iter().filter(|key| key.name.starts_with("story.")).collect();
    for key in keys_here {
        assert_eq!(module.key(&key.name), key);
    }
}

/// Words that only an instruction set has.
const WORDS: &[&str] = &[
    "target_arch",
    "x86",
    "x86_64",
    "aarch64",
    "arm64",
    "riscv64",
    "cpuid",
    "xgetbv",
    "syscall_instruction",
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rsp",
    "rbp",
    "rip",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "eax",
    "ebx",
    "ecx",
    "edx",
    "xmm0",
    "fsbase",
    "x0",
    "x8",
    "sp",
    "lr",
    "svc",
];

fn only_arch_knows_a_machine() {
    let mut files = Vec::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        // Comments may tell of machines.
        let code: String = source.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words {
            assert!(!WORDS.contains(&word), "{}: `{word}`", file.display());
        }
        for block in code.split("asm!(").skip(1) {
            let block = block.split_once(");").map_or(block, |(block, _)| block);
            for line in block.lines().filter_map(|line| line.trim().strip_prefix('"')) {
                let is_label = line.trim_end_matches(['"', ',']).ends_with(':');
                assert!(line.starts_with('.') || is_label, "{}: an instruction: {line}", file.display());
            }
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
