//! One program on every system: it compiles unchanged, and where it can be run here, each macro comes to the same as where sites are
//! bound. `docs/platforms.md` says what is tested for which target; the table below and the page are one.

mod common;

use common::{
    ANYWHERE, Build, CROSS_CC, EMULATOR, cargo, command, missing_emulator, missing_target, missing_tool, must, scratch,
    test,
};
use libtest_mimic::Trial;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, OnceLock};

/// What is needed to run the program on a target, if it is missing, and how it is run there.
type Runner = (fn() -> Option<String>, fn(&str) -> String);

/// A target, and how it is tested.
struct Target {
    name: &'static str,
    /// What compiles there: the library without std, or all of the program.
    std: bool,
    run: Option<Runner>,
}

const fn checked(name: &'static str) -> Target {
    Target { name, std: true, run: None }
}

const fn run(name: &'static str, missing: fn() -> Option<String>, run: fn(&str) -> String) -> Target {
    Target { name, std: true, run: Some((missing, run)) }
}

/// In the order of the page.
const TARGETS: &[Target] = &[
    run("aarch64-unknown-linux-gnu", missing_emulator, |target| emulated(target, Some(CROSS_CC), &EMULATOR)),
    run("riscv64gc-unknown-linux-gnu", missing_risc, |target| emulated(target, Some(RISC_CC), &RISC_EMULATOR)),
    run("i686-unknown-linux-musl", || missing_tool("qemu-i386"), |target| emulated(target, None, &["qemu-i386"])),
    run("s390x-unknown-linux-gnu", missing_big_endian, |target| emulated(target, Some(BIG_CC), &BIG_EMULATOR)),
    run("x86_64-pc-windows-gnu", missing_wine, on_windows),
    run("wasm32-unknown-unknown", || missing_tool("node"), in_javascript),
    run("wasm32-wasip1", || missing_tool("node"), by_wasi),
    checked("i686-unknown-linux-gnu"),
    checked("x86_64-pc-windows-msvc"),
    checked("x86_64-apple-darwin"),
    checked("aarch64-apple-darwin"),
    checked("x86_64-unknown-freebsd"),
    checked("aarch64-linux-android"),
    Target { name: "x86_64-unknown-none", std: false, run: None },
    Target { name: "thumbv7em-none-eabi", std: false, run: None },
];

/// Why other systems are not tried: these tests run twice, and no other system has to do with this one's sites.
fn once() -> Option<String> {
    cfg!(invar_portable).then(|| "tried where the tests run without --cfg invar_portable".into())
}

fn main() -> ExitCode {
    let mut tests: Vec<Trial> = Vec::new();
    for target in TARGETS {
        let missing_target = || once().or_else(|| missing_target(target.name));
        tests.push(test(&format!("compiles for {}", target.name), missing_target(), || compiles(target)));
        if let Some((missing, run)) = target.run {
            let missing = missing_target().or_else(missing);
            let name = target.name;
            tests.push(test(&format!("does the same on {name}"), missing, move || does_the_same(&run(name))));
        }
    }
    for (target, missing, run, key) in [
        (
            "aarch64-unknown-linux-gnu",
            missing_emulator as fn() -> Option<String>,
            (|target| emulated(target, Some(CROSS_CC), &EMULATOR)) as fn(&str) -> String,
            "thrice_crc (probe): an IFUNC symbol, by the kernel's HWCAP",
        ),
        (
            // The emulator has no such system call before version 8.1.
            RISC,
            missing_risc,
            |target| emulated(target, Some(RISC_CC), &RISC_EMULATOR),
            " (probe): an IFUNC symbol, by riscv_hwprobe",
        ),
    ] {
        let missing = once().or_else(|| missing_target(target)).or_else(missing);
        tests.push(test(&format!("the loader binds symbols on {target}"), missing, move || {
            let said = run(target);
            let line = said.lines().find(|line| line.starts_with("  key anywhere_thrice = "));
            assert!(line.is_some_and(|line| line.ends_with(key)), "{line:?}: {said}");
        }));
    }
    let risc = once().or_else(|| missing_target(RISC)).or_else(missing_risc);
    tests.push(test("does the same where RISC-V's linkers make code shorter", risc, || does_the_same(&relaxed())));
    tests.push(test("does the same here by the half that binds nothing", ANYWHERE, half_that_binds_nothing));
    tests.push(test("does the same under miri", once().or_else(missing_miri), under_miri));
    tests.push(test("the program is the README's", ANYWHERE, program_of_the_readme));
    tests.push(test("the page has each target", ANYWHERE, page_has_each_target));
    tests.push(test("C on x86_64-pc-windows-gnu", missing_wine(), c_on_windows));
    tests.push(test("C on s390x-unknown-linux-gnu", missing_big_endian(), c_on_big_endian));
    for target in ZIG_TARGETS {
        let missing = missing_zig();
        tests.push(test(&format!("C links for {target}"), missing, || must_link_by_zig(target)));
    }
    tests.push(test("C refuses a compiler that it does not know", missing_tool("cc"), c_by_another_compiler));
    common::run(tests)
}

/// Cargo for the program and this target, in a folder that all targets share.
fn cargo_for(command: &str, target: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([command, "--quiet", "--locked", "--package=anywhere", "--target", target]);
    cargo.arg("--target-dir").arg(scratch().join("anywhere"));
    cargo.env("CARGO_INCREMENTAL", "0");
    cargo
}

fn compiles(target: &Target) {
    let mut cargo = cargo_for("check", target.name);
    cargo.arg("--lib").env("CARGO_ENCODED_RUSTFLAGS", "-Dwarnings");
    if target.std {
        cargo.args(["--bins", "--examples"]);
    }
    must(&mut cargo);
}

/// Builds what cargo calls so, and says where it is.
fn built(target: &str, linker: Option<&str>, what: &[&str], file: &str) -> PathBuf {
    let mut cargo = cargo_for("build", target);
    let variable = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
    cargo.args(what).envs(linker.map(|linker| (variable, linker)));
    must(&mut cargo);
    scratch().join("anywhere").join(target).join("debug").join(file)
}

fn said(command: &mut Command) -> String {
    String::from_utf8(must(command).stdout).unwrap().replace("\r\n", "\n")
}

/// What each macro comes to; of all that the program says.
fn results(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("result ") || line.starts_with("sum ")).collect()
}

/// What it says where sites are bound, if this machine binds them.
fn here() -> &'static str {
    static SAID: OnceLock<String> = OnceLock::new();
    SAID.get_or_init(|| said(&mut command(Build::debug().program("anywhere"))))
}

fn does_the_same(said: &str) {
    let expected = results(here());
    assert!(expected.len() > 20, "{expected:?}");
    // Who says one number only says the last.
    let expected = if said.starts_with("sum ") { &expected[expected.len() - 1..] } else { &expected[..] };
    assert_eq!(results(said), expected, "{said}");
    if !said.starts_with("sum ") {
        // All sites are, and pointers have some on every little-endian Linux.
        let nothing = said.contains("0 sites, 0 bound; what is not bound stays checked: this system has no other form");
        // But one constant, on a machine where no instruction holds its number.
        let loaded =
            said.matches(" constant anywhere.large, 4 bytes: checked, no instruction holds its number\n").count();
        let are_bound = |[all, bound]: [u32; 2]| all >= 6 && all == bound + loaded as u32;
        assert!(nothing || loaded < 2 && sites(said).is_some_and(are_bound), "{said}");
        assert!(said.contains("\n  key anywhere.on = on (probe): says so\n"), "{said}");
    }
}

/// How many sites the report has, and how many of them are bound.
fn sites(said: &str) -> Option<[u32; 2]> {
    let module = said.lines().find(|line| line.starts_with("module (program)"))?;
    let (before, behind) = module.split_once(" sites, ")?;
    let (all, bound) = (before.rsplit(' ').next()?, behind.split_once(" bound ")?.0);
    Some([all.parse().ok()?, bound.parse().ok()?])
}

fn emulated(target: &str, linker: Option<&str>, emulator: &[&str]) -> String {
    let program = built(target, linker, &["--bin=anywhere"], "anywhere");
    said(command(emulator[0]).args(&emulator[1..]).arg(program))
}

/// Sites stay aligned.
fn relaxed() -> String {
    let build = Build::debug().target(RISC, Some(RISC_CC)).named("relaxed").rustflag("-Ctarget-feature=+relax");
    said(command(RISC_EMULATOR[0]).args(&RISC_EMULATOR[1..]).arg(build.program("anywhere")))
}

const RISC: &str = "riscv64gc-unknown-linux-gnu";
const RISC_CC: &str = "riscv64-linux-gnu-gcc";
const RISC_EMULATOR: [&str; 3] = ["qemu-riscv64", "-L", "/usr/riscv64-linux-gnu"];

fn missing_risc() -> Option<String> {
    missing_tool(RISC_EMULATOR[0]).or_else(|| missing_tool(RISC_CC))
}

const BIG_CC: &str = "s390x-linux-gnu-gcc";
const BIG_EMULATOR: [&str; 3] = ["qemu-s390x", "-L", "/usr/s390x-linux-gnu"];

fn missing_big_endian() -> Option<String> {
    missing_tool(BIG_EMULATOR[0]).or_else(|| missing_tool(BIG_CC))
}

const WINDOWS_CC: &str = "x86_64-w64-mingw32-gcc";

/// Wine's loader, where the path or Debian has it.
fn wine() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        ["wine64", "/usr/lib/wine/wine64", "wine"].into_iter().find(|wine| missing_tool(wine).is_none())
    })
}

fn missing_wine() -> Option<String> {
    if wine().is_none() { Some("no wine64".into()) } else { missing_tool(WINDOWS_CC) }
}

/// Runs a program on wine, with nothing left of it.
fn by_wine(program: &Path) -> String {
    // One at a time: they share a Windows, whose server goes with it.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = program.parent().unwrap();
    let library = folder.join("bcryptprimitives.dll");
    if !library.exists() {
        // Of Windows 10; std takes random numbers from it, and wine before 9 has none.
        let source = scratch().join("bcryptprimitives.c");
        std::fs::write(
            &source,
            "__declspec(dllexport) int ProcessPrng(unsigned char *to, size_t n) { while (n) to[--n] = 4; return 1; }",
        )
        .unwrap();
        must(Command::new(WINDOWS_CC).args(["-shared", "-include", "stddef.h", "-o"]).arg(&library).arg(source));
    }
    let wine = wine().unwrap();
    let environment = [("WINEPREFIX", scratch().join("wine")), ("WINEDEBUG", "-all".into())];
    let text = said(command(wine).arg(program).envs(environment.clone()));
    let server = Path::new(wine).with_file_name("wineserver");
    for server in [server, "wineserver".into()] {
        if Command::new(&server).arg("-k").envs(environment.clone()).status().is_ok() {
            break;
        }
    }
    text
}

fn on_windows(target: &str) -> String {
    let program = built(target, Some(WINDOWS_CC), &["--bin=anywhere"], "anywhere.exe");
    let said = by_wine(&program);
    // Keys of the CPU's features are decided although no probe asks for them.
    #[cfg(target_arch = "x86_64")]
    for (name, is_there) in invar::cpu::ALL {
        let line = format!("  keys cpu.* = {} (probe):", if is_there() { "on" } else { "off" });
        let has =
            |said: &str| said.lines().any(|said| said.starts_with(&line) && said.split(' ').any(|word| word == *name));
        assert!(has(&said), "cpu.{name}: {said}");
    }
    said
}

fn in_javascript(target: &str) -> String {
    let module = built(target, None, &["--example=exports"], "examples/exports.wasm");
    let script = "WebAssembly.instantiate(require('fs').readFileSync(process.argv[1]), {})\
        .then(({ instance }) => console.log('sum ' + instance.exports.anywhere_sum()))";
    said(command("node").args(["-e", script]).arg(module))
}

fn by_wasi(target: &str) -> String {
    let module = built(target, None, &["--bin=anywhere"], "anywhere.wasm");
    let script = "const { WASI } = require('wasi'); const wasi = new WASI({ version: 'preview1' });\
        WebAssembly.compile(require('fs').readFileSync(process.argv[1]))\
        .then((module) => WebAssembly.instantiate(module, { wasi_snapshot_preview1: wasi.wasiImport }))\
        .then((instance) => wasi.start(instance))";
    said(command("node").args(["--no-warnings", "-e", script]).arg(module))
}

fn half_that_binds_nothing() {
    let program = Build::debug().named("elsewhere").rustflag("--cfg=invar_elsewhere").program("anywhere");
    let said = said(&mut command(program));
    does_the_same(&said);
    assert!(said.starts_with("result ") && said.contains("this system has no other form"), "{said}");
}

/// Why nothing can be interpreted here.
fn missing_miri() -> Option<String> {
    let there = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    let there = there.is_ok_and(|output| output.status.success());
    (!there).then(|| "no miri: rustup +nightly component add miri rust-src".into())
}

fn under_miri() {
    let mut miri = cargo();
    let program = std::mem::replace(&mut miri, Command::new("cargo"));
    // As from this test, but by rustup's cargo, which knows other toolchains.
    miri.current_dir(program.get_current_dir().unwrap());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => miri.env(name, value),
            None => miri.env_remove(name),
        };
    }
    miri.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    miri.args(["+nightly", "miri", "run", "--quiet", "--locked", "--package=anywhere", "--bin=anywhere"]);
    // A newer compiler warns of more than this one.
    miri.env("CARGO_ENCODED_RUSTFLAGS", "");
    miri.arg("--target-dir").arg(scratch().join("anywhere"));
    does_the_same(&said(&mut miri));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn program_of_the_readme() {
    let (readme, program) = (read("README.md"), read("tests/programs/anywhere/src/bin/readme.rs"));
    let code = readme.split("```rust\n// src/main.rs\n").nth(1).expect("the README's program").split("```").next();
    assert_eq!(program.split_once("\n\n").map(|(_, program)| program), code);
}

/// What a cell says of the tests here; behind those of other files.
fn of_this_file(cell: &str) -> String {
    cell.rsplit("; ").next().unwrap_or(cell).to_owned()
}

/// Each test that the page names is in the file that it names.
fn tests_of_other_files_are_there(cell: &str) {
    let (others, _) = cell.rsplit_once("; ").unwrap_or_default();
    for tests in others.split("; ").filter(|tests| !tests.is_empty()) {
        let (file, names) = tests.split_once(" : ").expect("a file, and tests");
        let source = read(file.trim_matches('`'));
        for name in names.split("`, `").map(|name| name.trim_matches('`')) {
            // What stands before a colon is put there for each machine.
            let title = name.rsplit(": ").next().expect("a title");
            assert!(source.contains(title), "{file} has no test {name}");
        }
    }
}

/// The page's rows are the table's: each test that it names for a target is one of this file, and none is left out.
fn page_has_each_target() {
    let page = read("docs/platforms.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .filter(|row: &Vec<&str>| row.last().is_some_and(|cell| cell.contains("tests/everywhere.rs")))
        .collect();
    let expected: Vec<Vec<String>> = TARGETS
        .iter()
        .map(|target| {
            let name = target.name;
            let ran = target.run.map_or(String::new(), |_| format!(", `does the same on {name}`"));
            vec![format!("`{name}`"), format!("`tests/everywhere.rs` : `compiles for {name}`{ran}")]
        })
        .collect();
    rows.iter().for_each(|row| tests_of_other_files_are_there(row[row.len() - 1]));
    let rows: Vec<_> = rows.iter().map(|row| vec![row[0].to_owned(), of_this_file(row[row.len() - 1])]).collect();
    assert_eq!(rows, expected);
    for target in ZIG_TARGETS {
        assert!(page.contains(&format!("`C links for {target}`")), "{target}");
    }
}

const C_PROGRAM: &str = "tests/programs/c/anywhere.c";
/// Systems for which zig can link in a short time.
const ZIG_TARGETS: &[&str] = &["x86_64-macos", "aarch64-macos", "x86_64-freebsd"];

/// A compiler with the header and the program.
fn with_header(compiler: &mut Command) -> &mut Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-I"]);
    compiler.arg(root.join("capi/include")).arg(root.join(C_PROGRAM))
}

const C_SAYS: &str = "on 1\nwidth 2\nvalue 2\nnumber 64\nsection 7\n";

fn c_on_windows() {
    let program = scratch().join("anywhere-c.exe");
    must(with_header(&mut Command::new(WINDOWS_CC)).arg("-o").arg(&program));
    assert_eq!(by_wine(&program), C_SAYS);
}

fn c_on_big_endian() {
    let program = scratch().join("anywhere-c-s390x");
    must(with_header(&mut Command::new(BIG_CC)).arg("-o").arg(&program));
    assert_eq!(said(command(BIG_EMULATOR[0]).args(&BIG_EMULATOR[1..]).arg(&program)), C_SAYS);
}

fn zig() -> Command {
    let mut zig = Command::new("python3");
    zig.args(["-m", "ziglang"]).env("ZIG_GLOBAL_CACHE_DIR", scratch().join("zig"));
    zig.env("ZIG_LOCAL_CACHE_DIR", scratch().join("zig"));
    zig
}

fn missing_zig() -> Option<String> {
    let there = zig().arg("version").output().is_ok_and(|output| output.status.success());
    (!there).then(|| "no zig: pip install ziglang".into())
}

fn must_link_by_zig(target: &str) {
    let program = scratch().join(format!("anywhere-c-{target}"));
    must(with_header(zig().args(["cc", "-target", target])).arg("-o").arg(&program));
    assert!(std::fs::metadata(&program).unwrap().len() > 0);
}

/// MSVC's compiler says that it is none of those that the header is for.
fn c_by_another_compiler() {
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/capi/include/invar.h");
    let failed = Command::new("cc").args(["-E", "-U__GNUC__", "-D_MSC_VER=1940", header]).output().unwrap();
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && said.contains("invar.h needs gcc or clang"), "{said}");
}
