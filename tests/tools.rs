//! Modules that a tool has changed after they were linked, that their loader does not list, that go while somebody looks at
//! them, or whose text is not as it usually is: each is bound, or says why it is not, and nothing is called, read or written
//! where it no longer is.

mod common;

use common::c::{LINK, compiler, libinvar, missing, must};
use common::elf::Image;
use common::{
    Build, MUSL_LOADER, Temporary, bound_in_c, command, missing_dynamic_musl, output, replace, run, scratch, sites,
    tale, test, with_either_binder,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::{Mutex, PoisonError};

fn main() -> ExitCode {
    let c = || sites().or_else(|| missing("make")).or_else(|| missing("gcc"));
    let in_rust = "code that llvm-bolt has moved, in Rust";
    let in_rust = with_either_binder(in_rust, sites().or_else(|| bolt().err()), moved_code_in_rust);
    let tests = [
        test("libraries that are closed while others look at them, in C", c(), closed_while_looked_at),
        test("libraries that are closed while others look at them, in Rust", sites(), closed_while_looked_at_in_rust),
        test("a program with its own list of what is loaded", c(), a_list_of_its_own),
        test("a library that a static program opens", c(), opened_by_a_static_program),
        test("notes that are removed, in Rust", sites().or_else(|| missing("objcopy")), notes_removed_in_rust),
        test("notes that are removed, in C", c().or_else(|| missing("objcopy")), notes_removed_in_c),
        test("notes that were moved, in C", c(), notes_moved_in_c),
        test("notes that patchelf has moved", c().or_else(|| missing("patchelf")), notes_moved_by_patchelf),
        test("a header in C that cannot be used", c(), a_header_in_c_that_cannot_be_used),
        test("readelf reads the note", c().or_else(|| missing("readelf")), readelf_reads_the_note),
        test("eu-elflint knows nothing against it", c().or_else(|| missing("eu-elflint")), elflint_finds_nothing_wrong),
        test("code that llvm-bolt has moved, in C", c().or_else(|| bolt().err()), moved_code_in_c),
        test("one function that is not where it was linked", sites(), one_function_is_elsewhere),
        test("text that is to be executed only", c(), text_to_be_executed_only),
        test("text that cannot be read for a while", c(), text_that_cannot_be_read),
        test("text in a shared mapping", c(), text_in_a_shared_mapping),
        test("the report lists what the CPU has", c(), the_report_lists_what_the_cpu_has),
        test("a library opened beside a part of the kernel", c().or_else(no_worker), opened_beside_a_worker),
        test(
            "a program that musl's loader was told to run",
            sites().or_else(missing_dynamic_musl),
            run_by_musls_loader,
        ),
    ];
    run(tests.into_iter().chain(in_rust))
}

/// What the report calls these.
const MOVED: &str = "a tool has moved code of this module after it was linked, and not the tables' distances";
const UNREADABLE: &str = "there are sites in text that cannot be read";
const SHARED: &str = "the text is mapped shared, and other processes would execute what is written there";

/// What is said of a module with a header that cannot be used, for this field.
fn unknown(field: &str) -> String {
    let rest = "its sites stay checked, and no setting reaches its keys";
    format!("a module's header has a wrong {field}: {rest}")
}

fn source(name: &str) -> String {
    format!("{}/tests/programs/c/{name}.c", env!("CARGO_MANIFEST_DIR"))
}

/// Builds one of the C files, as this file: once, as it may be running.
fn build(file: &str, name: &str, options: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let path = scratch().join(format!("tools-{file}"));
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(&path) {
        let new = Temporary::path(file);
        let mut command = compiler("gcc -O2 -Wall -Wextra -Werror -pthread");
        must(command.arg(source(name)).args(options).arg("-o").arg(&new.0));
        replace(&path, &std::fs::read(&new.0).unwrap());
        built.insert(path.clone());
    }
    path
}

/// The same with libinvar.
fn with_libinvar(file: &str, name: &str, options: &[&str]) -> PathBuf {
    let folder = libinvar().display();
    let (search, path) = (format!("-L{folder}"), format!("-Wl,-rpath,{folder}"));
    build(file, name, &[options, &[&search, &path], &LINK].concat())
}

/// The library of `piece.c`.
fn piece(file: &str, options: &[&str]) -> PathBuf {
    with_libinvar(file, "piece", &[&["-shared", "-fPIC"], options].concat())
}

/// A run of `caller.c` that was built with these options.
fn caller(file: &str, options: &[&str]) -> Command {
    command(build(file, "caller", &[&["-rdynamic"], options].concat()))
}

/// Runs it with a setting; what it says, and what it says of itself at load.
fn said(command: &mut Command, setting: &str, value: &str) -> (Output, String, String) {
    let output = output(command.env(setting, value));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    (output, out, errors)
}

/// What a report has on the module whose line has this in it: that line, and those of its keys and sites.
fn of<'a>(report: &'a str, module: &str) -> Vec<&'a str> {
    let mut lines = report.lines().skip_while(|line| !(line.starts_with("module ") && line.contains(module)));
    let first = lines.next().unwrap_or_else(|| panic!("no {module} in {report}"));
    [first].into_iter().chain(lines.take_while(|line| line.starts_with("  "))).collect()
}

/// Fails unless the library is bound, and opened where that is required.
fn assert_bound(mut caller: impl FnMut() -> Command, library: &Path, module: &str) {
    let run = |command: &mut Command, setting, value| said(command.arg(library).args(["piece", "5"]), setting, value);
    let (_, out, errors) = run(&mut caller(), "INVAR_REPORT", "stderr");
    assert_eq!(out, "piece(5) = 1006\n", "{errors}");
    let lines: Vec<_> = errors.lines().collect();
    let is_it = |pair: &&[&str]| pair[1] == "  key piece = on (probe): its own";
    let line = lines.windows(2).find(is_it).unwrap_or_else(|| panic!("{errors}"))[0];
    let named = line.starts_with(&format!("module {module} at 0x"));
    assert!(named && line.contains(": 1 sites, 1 bound by "), "{errors}");
    let (output, _, errors) = run(&mut caller(), "INVAR", "require");
    assert!(output.status.success(), "{errors}");
}

/// Fails unless nothing more of the library is bound than this many sites, the report says why, and it cannot be opened
/// where binding is required.
fn assert_left(library: &Path, calls: &[&str], results: &str, bound: usize, why: &str) {
    let run = |setting, value| said(caller("caller", &[]).arg(library).args(calls), setting, value);
    let (output, out, errors) = run("INVAR_REPORT", "stderr");
    assert!(output.status.success(), "{errors}");
    assert_eq!(out, results, "{errors}");
    let lines = of(&errors, library.to_str().unwrap());
    assert!(lines[0].contains(&format!(" sites, {bound} bound")), "{errors}");
    assert!(lines[0].contains(&format!("; what is not bound stays checked: {why}")), "{errors}");
    let (output, _, errors) = run("INVAR", "require");
    assert_eq!(output.status.code(), Some(invar::EXIT_REQUIRED), "{errors}");
    assert!(errors.contains(why), "{errors}");
}

fn closed_while_looked_at() {
    let libraries = ["beside-one.so", "beside-two.so"].map(|file| piece(file, &[]));
    let output = must(command(with_libinvar("beside", "beside", &[])).arg("10000").args(libraries));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "asked yes, met yes\n");
}

fn closed_while_looked_at_in_rust() {
    let small = Build::small().named("small-all").argument("--features").argument("all").library("small");
    let output = must(command(Build::release().program("host")).args(["--beside", "5000"]).arg(small));
    assert!(output.stdout.ends_with(b"\nlooked: yes, met: yes\n"), "{output:?}");
}

fn a_list_of_its_own() {
    let caller_of = || caller("list", &["-DLIST"]);
    assert_bound(caller_of, &piece("listed.so", &[]), "(not in the loader's list)");
    let small = Build::small().named("small-all").argument("--features").argument("all").library("small");
    assert_small_is_bound(caller_of(), &small);
}

fn opened_by_a_static_program() {
    // That dlopen needs the same libc when it runs is what the linker says.
    let caller_of = || caller("static", &["-static", "-Wno-error", "-Wl,--no-warnings"]);
    assert_bound(caller_of, &piece("static.so", &[]), "(not in the loader's list)");
    let small = Build::small().named("small-all").argument("--features").argument("all").library("small");
    assert_small_is_bound(caller_of(), &small);
}

/// The library in Rust.
fn assert_small_is_bound(mut caller: Command, small: &Path) {
    let settings = [("INVAR", "require"), ("INVAR_KEYS", "slice=force")];
    let caller = caller.arg(small).args(["small_work", "20"]).envs(settings);
    let (output, out, errors) = said(caller, "INVAR_REPORT", "stderr");
    // Its slice sites need an area, which not every libc has that is opened so.
    let lines = of(&errors, "(not in the loader's list) at 0x");
    let sites: Vec<_> = lines.iter().filter(|line| line.starts_with("  site ")).collect();
    assert!(!sites.is_empty() && sites.iter().all(|site| site.contains(": bound to ")), "{errors}");
    assert!(lines.contains(&"  key small.quick = on (probe)"), "{errors}");
    let absent = errors.ends_with("the slice extension is absent\n");
    assert!(out == "small_work(20) = 42\n" && output.status.success() || absent, "{errors}");
}

fn without_notes(file: &Path) -> Temporary {
    let copy = Temporary::executable("tools-noteless", &std::fs::read(file).unwrap());
    must(Command::new("objcopy").args(["-R", ".note.invar"]).arg(&copy.0));
    copy
}

fn notes_removed_in_rust() {
    let program = without_notes(&Build::release().program("story"));
    let tale = tale(command(&program.0).envs([("INVAR", "require"), ("INVAR_KEYS", "slice=force")]));
    tale.assert_consistent();
    tale.program().assert_bound();
}

/// The library's constructor tells libinvar where its header is.
fn notes_removed_in_c() {
    let library = without_notes(&piece("noted.so", &[]));
    assert_bound(|| caller("caller", &[]), &library.0, library.0.to_str().unwrap());
}

/// As tools leave it that move notes: others look for its header.
fn notes_moved_in_c() {
    let image = Image::read(&piece("noted.so", &[]));
    let mut bytes = image.bytes.clone();
    let distance = i32::from_le_bytes(bytes[image.note.start..][..4].try_into().unwrap());
    bytes[image.note.start..][..4].copy_from_slice(&(distance + 4096).to_le_bytes());
    let library = Temporary::executable("tools-moved-note", &bytes);
    assert_bound(|| caller("caller", &[]), &library.0, library.0.to_str().unwrap());
    // The report of all modules is libinvar's.
    let (_, out, _) = said(caller("caller", &[]).arg(&library.0).arg("piece_report"), "INVAR", "auto");
    let lines = of(&out, library.0.to_str().unwrap());
    assert!(lines.contains(&"  key piece = on (probe): its own"), "{out}");
}

/// With more than there was room for in its old place.
fn notes_moved_by_patchelf() {
    let long = format!("/nowhere/{}", "x".repeat(5000));
    let patched = |file: &Path| {
        let copy = Temporary::executable("tools-patched", &std::fs::read(file).unwrap());
        must(Command::new("patchelf").args(["--add-rpath", &long]).arg(&copy.0));
        copy
    };
    let library = patched(&piece("patched.so", &[]));
    assert_bound(|| caller("caller", &[]), &library.0, library.0.to_str().unwrap());
    let (_, out, _) = said(caller("caller", &[]).arg(&library.0).arg("piece_report"), "INVAR", "auto");
    assert!(of(&out, library.0.to_str().unwrap()).contains(&"  key piece = on (probe): its own"), "{out}");

    let program = patched(&Build::release().program("story"));
    let tale = tale(command(&program.0).envs([("INVAR", "require"), ("INVAR_KEYS", "slice=force")]));
    tale.assert_consistent();
    tale.program().assert_bound();
}

/// The library's own constructor decides its keys, as without libinvar.
fn a_header_in_c_that_cannot_be_used() {
    let image = Image::read(&piece("headed.so", &[]));
    for (field, at, new) in [
        ("magic", 4, 0_i32),
        ("version", 8, 3),
        ("length", 12, 64 | 62 << 16),
        ("machine", 12, 56 | 183 << 16),
        ("flags", 16, 1),
        ("sites", 24, i32::MAX),
        ("keys", 28, i32::MIN),
        ("outcome", 36, i32::MAX),
    ] {
        let mut bytes = image.bytes.clone();
        bytes[image.own.start + at..][..4].copy_from_slice(&new.to_le_bytes());
        let library = Temporary::executable("tools-headed", &bytes);
        let run = |setting, value| said(caller("caller", &[]).arg(&library.0).args(["piece", "5"]), setting, value);
        let (output, out, errors) = run("INVAR", "auto");
        assert!(output.status.success() && out == "piece(5) = 1006\n", "{field}: {errors}");
        let (_, out, errors) = run("INVAR_REPORT", "stderr");
        assert_eq!(out, "piece(5) = 1006\n", "{field}");
        assert!(errors.contains(&format!("invar: {}\n", unknown(field))), "{errors}");
        let (output, _, errors) = run("INVAR", "require");
        assert_eq!(output.status.code(), Some(invar::EXIT_REQUIRED), "{errors}");
        assert_eq!(errors, format!("invar: INVAR=require: {}\n", unknown(field)));
    }
}

fn readelf_reads_the_note() {
    for file in [&Build::release().program("story"), &piece("noted.so", &[])] {
        let output = must(Command::new("readelf").args(["-n", "-W"]).arg(file));
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(errors, "", "{}", file.display());
        let is_it = |line: &&str| line.split_whitespace().take(2).eq(["invar", "0x00000008"]);
        assert_eq!(said.lines().filter(is_it).count(), 1, "{said}");
    }
}

/// It knows the types of a few owners' notes, and says of all others that it does not (elfutils, src/elflint.c, check_note_data).
/// That is all that it says of the note, and of the header's section.
fn elflint_finds_nothing_wrong() {
    for file in [&Build::release().program("story"), &piece("noted.so", &[])] {
        let output = output(Command::new("eu-elflint").arg("--gnu-ld").arg(file));
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        let about = |line: &&str| ["note", "invar", "data.rel.ro"].iter().any(|word| line.contains(word));
        let lines: Vec<_> = said.lines().filter(about).collect();
        let unknown = "unknown object file note type 2 with owner name 'invar' at offset ";
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(unknown)), "{said}");
    }
}

/// The tool, by the name that it has here.
fn bolt() -> Result<&'static str, String> {
    let names = ["llvm-bolt", "llvm-bolt-22", "llvm-bolt-19", "llvm-bolt-16", "llvm-bolt-15"];
    names.into_iter().find(|name| missing(name).is_none()).ok_or_else(|| "no llvm-bolt".into())
}

/// What the tool makes of a file with these options.
fn bolted(file: &Path, options: &[&str]) -> Temporary {
    let moved = Temporary::path("tools-bolted");
    must(Command::new(bolt().unwrap()).arg(file).arg("-o").arg(&moved.0).args(options));
    moved
}

/// With what it needs to move whole functions; with text that has room for them in the old place; without.
fn moved_code_in_c() {
    let plain = piece("bolt.so", &[]);
    let whole = piece("bolt-whole.so", &["-Wl,--emit-relocs"]);
    let roomy = piece("bolt-roomy.so", &["-Wl,--emit-relocs", "-falign-functions=4096"]);
    let in_old_place = ["-use-old-text", "-align-text=16", "-align-functions=16", "-lite=0"];
    let blocks = ["-reorder-blocks=reverse", "-split-functions"];
    for (file, options) in [
        (&whole, &[][..]),
        (&whole, &["-use-gnu-stack"]),
        (&whole, &["-lite=1"]),
        (&roomy, &in_old_place),
        (&plain, &blocks),
    ] {
        let moved = bolted(file, options);
        assert_left(&moved.0, &["piece", "5"], "piece(5) = 6\n", 0, MOVED);
        let (_, out, _) = said(caller("caller", &[]).arg(&moved.0).arg("piece_report"), "INVAR", "auto");
        let lines = of(&out, moved.0.to_str().unwrap());
        let probe =
            "  key piece = off (failed): a tool has moved the module's code after it was linked, and with it the probe";
        assert_eq!(lines[1], probe, "{options:?}");
    }
    // It is the tool that does it.
    for file in [&plain, &whole, &roomy] {
        assert_bound(|| caller("caller", &[]), file, file.to_str().unwrap());
    }
}

fn moved_code_in_rust() {
    let program = Build::release().named("emit-relocs").link_argument("-Wl,--emit-relocs").program("story");
    let plain = tale(&mut command(&program));
    plain.program().assert_bound();
    let moved = bolted(&program, &[]);
    let tale = tale(&mut command(&moved.0));
    tale.assert_consistent();
    assert_eq!((&tale.results, tale.probes.len()), (&plain.results, 0), "a probe was called");
    assert_eq!((tale.program().bound, &*tale.program().reason), (0, MOVED));
    assert!(tale.differs.is_empty(), "{:?}", tale.differs);
    if bound_in_c() {
        // It knows nothing of `require`.
        return;
    }
    let required = output(command(&moved.0).env("INVAR", "require").env("INVAR_KEYS", "slice=force"));
    assert_eq!(required.status.code(), Some(invar::EXIT_REQUIRED));
}

/// As tools leave it that move code and add no segment: the address says where it is, and the distance where it was.
fn one_function_is_elsewhere() {
    let program = Build::release().program("story");
    let plain = tale(&mut command(&program));
    let image = Image::read(&program);
    let mut bytes = image.bytes.clone();
    let distance = image.own.start + 44;
    let moved = i32::from_le_bytes(bytes[distance..distance + 4].try_into().unwrap()) + 16;
    bytes[distance..distance + 4].copy_from_slice(&moved.to_le_bytes());
    let copy = Temporary::executable("tools-elsewhere", &bytes);
    let tale = tale(&mut command(&copy.0));
    tale.assert_consistent();
    assert_eq!((&tale.results, tale.probes.len()), (&plain.results, 0), "a probe was called");
    assert_eq!((tale.program().bound, &*tale.program().reason), (0, MOVED));
}

/// With protection keys a CPU can tell execution from reading (Linux, Documentation/core-api/protection-keys.rst and
/// mm/mmap.c, `execute_only_pkey`); else it is as text always is.
fn text_to_be_executed_only() {
    use goblin::elf::program_header::{PF_R, PF_X, PT_LOAD};
    let file = piece("executed.so", &["-Wl,-z,separate-code"]);
    let mut bytes = std::fs::read(&file).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let text = |header: &goblin::elf::ProgramHeader| (header.p_type, header.p_flags) == (PT_LOAD, PF_R | PF_X);
    let at = elf.program_headers.iter().position(text).expect("a segment of text");
    // System V ABI: the flags are the second word of a program header.
    let flags = elf.header.e_phoff as usize + at * usize::from(elf.header.e_phentsize) + 4;
    bytes[flags..flags + 4].copy_from_slice(&PF_X.to_le_bytes());
    let hidden = Temporary::executable("tools-executed", &bytes);
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    if processors.split_whitespace().any(|feature| feature == "ospke") {
        assert_left(&hidden.0, &["piece", "5"], "piece(5) = 1006\n", 0, UNREADABLE);
    } else {
        assert_bound(|| caller("caller", &[]), &hidden.0, hidden.0.to_str().unwrap());
    }
}

/// Everything else is bound, and what the report says is true when it is asked.
fn text_that_cannot_be_read() {
    let library = piece("locked.so", &["-DLOCKED"]);
    let calls = ["piece", "5", "unlocked", "7"];
    assert_left(&library, &calls, "piece(5) = 1006\nunlocked(7) = 1008\n", 1, UNREADABLE);
    let path = library.to_str().unwrap();
    let report = |calls: &[&str]| {
        let (output, out, errors) = said(caller("caller", &[]).arg(&library).args(calls), "INVAR", "auto");
        assert!(output.status.success(), "{errors}");
        out
    };
    let ends = |report: &str| {
        let lines = of(report, path);
        let end = |line: &&str| line.rsplit(": ").next().unwrap().to_owned();
        lines.iter().filter(|line| line.starts_with("  site ")).map(end).collect::<BTreeSet<_>>()
    };
    assert_eq!(ends(&report(&["piece_report"])), ["bound to on", "its text cannot be read"].map(String::from).into());
    assert_eq!(ends(&report(&["unlocked", "7", "piece_report"])), ["bound to on", "checked"].map(String::from).into());
}

/// Pages of its own take the place of those that other processes have too.
fn text_in_a_shared_mapping() {
    let library = piece("shared.so", &["-DSHARED"]);
    for writer in ["auto", "swap", "memfd", "mprotect"] {
        let (_, out, errors) = said(
            caller("caller", &[]).env("INVAR_WRITER", writer).arg(&library).args(["piece", "5"]),
            "INVAR_REPORT",
            "stderr",
        );
        // 0 is what it says where the file has changed.
        assert_eq!(out, "piece(5) = 1006\n", "{writer}");
        let line = of(&errors, library.to_str().unwrap())[0].to_owned();
        if writer == "mprotect" {
            assert!(line.ends_with(&format!("{SHARED}; refused: mprotect (the text is mapped shared)")), "{line}");
        } else {
            assert!(line.contains(" 1 bound by "), "{line}");
        }
    }
}

/// In libinvar, which has a key for each: one line for those that it has and one for the others, and nothing of them elsewhere.
fn the_report_lists_what_the_cpu_has() {
    let library = piece("listed.so", &[]);
    let mut caller = caller("caller", &[]);
    caller.arg(&library).args(["piece", "5"]).env("INVAR_KEYS", "cpu.popcnt=off");
    let (_, _, errors) = said(&mut caller, "INVAR_REPORT", "stderr");
    let listed = |value: &str| -> Vec<&str> {
        let begin = format!("  keys cpu.* = {value} (probe): ");
        let lines: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix(begin.as_str())).collect();
        assert_eq!(lines.len(), 1, "{value}: {errors}");
        lines[0].split(' ').collect()
    };
    let (on, off) = (listed("on"), listed("off"));
    assert!(on.contains(&"sse3") && on.iter().all(|feature| !off.contains(feature)), "{errors}");
    assert!(!on.contains(&"popcnt") && !off.contains(&"popcnt"), "{errors}");
    assert!(errors.contains("  key cpu.popcnt = off (setting): INVAR_KEYS\n"), "{errors}");
}

/// Why no part of the kernel works for a process here.
fn no_worker() -> Option<String> {
    let output = output(caller("worker", &["-DWORKER"]).arg("/"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code() == Some(3)).then_some(errors)
}

/// It counts as a thread, and may read what it likes.
fn opened_beside_a_worker() {
    let library = piece("worked.so", &[]);
    for (writer, bound) in [("auto", true), ("mprotect", false)] {
        let mut beside = caller("worker", &["-DWORKER"]);
        beside.env("INVAR_WRITER", writer).arg(&library).args(["piece", "5"]);
        let (_, out, errors) = said(&mut beside, "INVAR_REPORT", "stderr");
        assert_eq!(out, "piece(5) = 1006\n", "{errors}");
        let line = of(&errors, library.to_str().unwrap())[0];
        assert!(
            if bound {
                line.contains(" 1 bound by swap")
            } else {
                line.contains("io_uring") && line.ends_with("threads: 2; refused: mprotect (more than one thread)")
            },
            "{line}"
        );
    }
}

/// The kernel then says where the loader's program headers are.
fn run_by_musls_loader() {
    let program = Build::dynamic_musl().program("story");
    let needed = common::elf::needed(&Image::read(&program).bytes);
    assert_eq!(needed, ["libc.so"], "it is not musl's loader that loads it");
    for mut command in [command(&program), {
        let mut loader = command(MUSL_LOADER);
        loader.arg(&program);
        loader
    }] {
        let tale = tale(&mut command);
        tale.assert_consistent();
        assert_eq!(tale.modules.len(), 1);
        tale.program().assert_bound();
    }
}
