//! Programs and libraries, in Rust and C, that tools have changed after they were linked, or that linkers have laid out in
//! other ways: each does what it did, and its sites are bound, or left alone with a reason that `INVAR=require` and the report
//! show. Other modules of the process see the same, or say why not. tests/tools.rs has llvm-bolt, cli/tests/rewriters.rs what
//! `invar sites` says.

mod common;

use common::c::{LINK, compiler, libinvar, missing, missing_linker, must};
use common::rewrite::{self, PREFIX, Rewriter, patchelfs, upx};
use common::{Build, MUSL, Tale, Temporary, command, missing_target, output, replace, run, scratch, sites, tale, test};
use libtest_mimic::Trial;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let rpath = libinvar_folder();
    let rpath = rpath.to_str().expect("a path");
    let (any, programs, libraries) = (rewrite::any(rpath), rewrite::programs(), rewrite::libraries());
    let mut tests = vec![];
    for rewriter in any.iter().chain(&programs) {
        tests.extend(subject("a program in Rust", rewriter, rust(), program_in_rust));
        tests.extend(subject("a program in C", rewriter, c(), program_in_c));
        tests.extend(subject("a program in Rust that opens libraries", rewriter, rust(), host_in_rust));
    }
    for rewriter in any.iter().chain(&libraries) {
        tests.extend(subject("a library in Rust", rewriter, rust(), library_in_rust));
        tests.extend(subject("a library in C", rewriter, c(), library_in_c));
    }
    for (at, which) in ["the system's", "the newest"].into_iter().enumerate() {
        let missing = c().or_else(|| patchelfs(&[("", &[])])[at].missing.clone());
        tests.push(test(&format!("a library in C, {which} patchelf, as auditwheel"), missing, move || {
            as_auditwheel(at)
        }));
    }
    tests.push(test("the two patchelfs are two versions", not_debian().or_else(one_patchelf), two_patchelfs));
    tests.extend(subject("a program in Rust", &upx("--best"), rust(), program_in_rust));
    tests.extend(subject("a program in C", &upx("--best"), c(), program_in_c));
    tests.extend(subject(
        "a static program in Rust",
        &upx("--best"),
        rust().or_else(|| missing_target(MUSL)),
        static_in_rust,
    ));
    tests.extend(subject("a static program in C", &upx("--best"), c(), static_in_c));
    let missing = || c().or_else(|| missing("clang")).or_else(|| missing_linker("lld"));
    for (name, options) in LAYOUTS {
        tests.push(test(&format!("a program in C, {name}"), missing(), move || laid_out_in_c(options)));
    }
    let missing = rust().or_else(|| missing_linker("lld"));
    tests.push(test("a program in Rust, functions in reverse order", missing, reversed_in_rust));
    tests.push(test("tables that are removed, in Rust", rust().or_else(|| common::missing_tool("objcopy")), no_tables));
    run(tests)
}

fn subject(what: &str, rewriter: &Rewriter, missing: Option<String>, body: fn(&Rewriter)) -> Option<Trial> {
    let missing = missing.or_else(|| rewriter.missing.clone());
    let (name, rewriter) = (format!("{what}, {}", rewriter.name), rewriter.clone());
    Some(test(&name, missing, move || body(&rewriter)))
}

/// Why no package tells its version here.
fn not_debian() -> Option<String> {
    common::missing_tool("dpkg-query").or_else(|| common::missing_tool("zcat"))
}

/// Why there are not two versions here.
fn one_patchelf() -> Option<String> {
    let mut versions = vec![];
    for (which, found) in rewrite::patchelf_versions() {
        match found {
            Ok([said, _]) => versions.push(said),
            Err(why) => return Some(format!("{which} patchelf: {why}")),
        }
    }
    (versions[0] == versions[1]).then(|| format!("the system's patchelf is the newest, {}", versions[0]))
}

/// As if one had been run twice: tests that are called after two versions would say the same, and show nothing of the other one.
fn two_patchelfs() {
    let versions = rewrite::patchelf_versions().map(|(which, versions)| {
        let [said, packaged] = versions.unwrap_or_else(|why| panic!("{which}: {why}"));
        println!("{which} patchelf is {said}, by its package {packaged}");
        assert_eq!(said, packaged, "{which} patchelf is not the package's");
        said
    });
    let [system, newest] = versions;
    assert!(rewrite::is_older(&system, &newest), "the system's patchelf is {system}, and the newest is {newest}");
}

fn rust() -> Option<String> {
    sites()
}

fn c() -> Option<String> {
    sites().or_else(|| missing("make")).or_else(|| missing("gcc"))
}

/// What the report says of a module in C whose tables libinvar does not find.
const UNKNOWN: &str =
    "a module's note or tables cannot be used: its sites stay checked, and no setting reaches its keys";

/// Where libinvar is, whether it is built or not.
fn libinvar_folder() -> PathBuf {
    scratch().join("capi")
}

/// The search path with the prefix in it that is to be replaced.
fn prefixed() -> String {
    format!("-Wl,-rpath,{PREFIX}/lib")
}

fn in_rust() -> Build {
    Build::release().named("rewritten").link_argument(prefixed())
}

/// A copy of a file, changed.
fn rewritten(file: &Path, rewriter: &Rewriter) -> Temporary {
    let copy = Temporary::executable("rewritten", &std::fs::read(file).expect("a file"));
    rewriter.change(&copy.0);
    assert_ne!(std::fs::read(&copy.0).unwrap(), std::fs::read(file).unwrap(), "it changes nothing");
    copy
}

/// Whether all is bound, and else why not.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Bound,
    Left(String),
}

impl Fate {
    /// What a module says of itself where INVAR_REPORT asks: of the program, or of the library of this path.
    fn told(errors: &str, path: Option<&Path>) -> Self {
        if errors.contains(UNKNOWN) {
            return Self::Left(UNKNOWN.into());
        }
        let name = path.map_or("(program)".into(), |path| path.display().to_string());
        let line = errors.lines().find_map(|line| line.strip_prefix(&format!("module {name} at 0x")));
        let line = line.unwrap_or_else(|| panic!("no module {name} in {errors}"));
        let (_, rest) = line.split_once(": ").expect("what became of it");
        let (sites, rest) = rest.split_once(" sites, ").expect("how many");
        let (bound, rest) = rest.split_once(" bound").expect("how many");
        assert_ne!(sites, "0", "{errors}");
        match rest.split_once("; what is not bound stays checked: ") {
            Some((_, why)) => Self::Left(why.into()),
            None => {
                assert_eq!(bound, sites, "neither bound nor a reason: {errors}");
                Self::Bound
            }
        }
    }

    /// Fails unless this is what `INVAR=require` says as well.
    fn assert_required(&self, command: &mut Command) {
        let output = output(command.env("INVAR", "require").env("INVAR_KEYS", "slice=force"));
        let errors = String::from_utf8_lossy(&output.stderr);
        match self {
            Self::Bound => assert!(output.status.success(), "{errors}"),
            Self::Left(why) => {
                assert_eq!(output.status.code(), Some(invar::EXIT_REQUIRED), "{errors}");
                assert!(errors.contains(why), "{errors}");
            }
        }
    }

    /// Fails unless all is bound: a module's own code knows its tables, wherever its note is.
    fn assert_bound(&self) {
        assert_eq!(*self, Self::Bound);
    }
}

/// Runs it with a report.
fn reported(command: &mut Command) -> (String, String) {
    let output = must(command.env("INVAR_REPORT", "stderr").env("INVAR_KEYS", "slice=force"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn program_in_rust(rewriter: &Rewriter) {
    story_is_bound(&in_rust().program("story"), rewriter);
}

fn static_in_rust(rewriter: &Rewriter) {
    story_is_bound(&Build::release().target(MUSL, None).program("story"), rewriter);
}

fn story_is_bound(story: &Path, rewriter: &Rewriter) {
    let plain = tale(&mut command(story));
    let copy = rewritten(story, rewriter);
    let now = tale(&mut command(&copy.0));
    now.assert_consistent();
    assert_eq!((now.choices(), &now.results), (plain.choices(), &plain.results));
    assert_eq!(now.probes, plain.probes);
    now.program().assert_bound();
    assert_eq!(now.program().sites, plain.program().sites);
    let (_, errors) = reported(&mut command(&copy.0));
    let fate = Fate::told(&errors, None);
    fate.assert_bound();
    fate.assert_required(&mut command(&copy.0));
}

/// C programs of tests/programs/c, as this file: once for each set of options.
fn built_in_c(compiler_words: &str, name: &str, options: &[&str]) -> PathBuf {
    let all = [compiler_words, name, &options.join(" ")].concat();
    let number = all.bytes().fold(7_u32, |number, byte| number.wrapping_mul(31).wrapping_add(byte.into()));
    let path = scratch().join(format!("rewriters-{name}-{number:x}"));
    let source = format!("{}/tests/programs/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let new = Temporary::path(name);
    let mut command = compiler(&format!("{compiler_words} -std=gnu11 -O2 -Wall -Wextra -Werror"));
    must(command.arg(source).args(options).arg("-o").arg(&new.0));
    replace(&path, &std::fs::read(&new.0).unwrap());
    path
}

/// The same with libinvar, from where [`prefixed`] says or the environment.
fn with_libinvar(compiler_words: &str, name: &str, options: &[&str]) -> PathBuf {
    let (search, rpath) = (format!("-L{}", libinvar().display()), prefixed());
    built_in_c(compiler_words, name, &[options, &[&search, &rpath], &LINK].concat())
}

fn probed() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| with_libinvar("gcc", "probed", &[]))
}

fn piece() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| with_libinvar("gcc", "piece", &["-shared", "-fPIC"]))
}

fn caller() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built_in_c("gcc", "caller", &[]))
}

/// A run in which libinvar is found.
fn in_c(program: &Path) -> Command {
    let mut command = command(program);
    command.env("LD_LIBRARY_PATH", libinvar()).stdin(std::process::Stdio::null());
    command
}

fn program_in_c(rewriter: &Rewriter) {
    let copy = rewritten(probed(), rewriter);
    probed_is_as_it_was(&copy.0).assert_bound();
}

fn static_in_c(rewriter: &Rewriter) {
    let program = with_libinvar("gcc", "probed", &["-static"]);
    let copy = rewritten(&program, rewriter);
    probed_is_as_it_was(&copy.0).assert_bound();
}

/// Checks what it computes, and returns what becomes of its sites.
fn probed_is_as_it_was(program: &Path) -> Fate {
    for (name, value) in [("INVAR", "auto"), ("INVAR_WRITER", "off"), ("INVAR_WRITER", "mprotect")] {
        let output = must(in_c(program).env(name, value));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1100100\n", "{name}={value}");
    }
    let (out, errors) = reported(&mut in_c(program));
    assert_eq!(out, "1100100\n", "{errors}");
    let fate = Fate::told(&errors, None);
    fate.assert_required(&mut in_c(program));
    fate
}

fn library_in_c(rewriter: &Rewriter) {
    let copy = rewritten(piece(), rewriter);
    piece_is_as_it_was(&copy.0).assert_bound();
    let fate = seen_by_others(in_c(&in_rust().program("host")).arg("--silent"), &copy.0, rewriter);
    assert!(fate.is_none_or(|keys| keys.iter().any(|key| key == "piece")), "its key is not there");
}

fn piece_is_as_it_was(library: &Path) -> Fate {
    let call = || {
        let mut command = in_c(caller());
        command.arg(library).args(["piece", "5"]);
        command
    };
    let (out, errors) = reported(&mut call());
    assert_eq!(out, "piece(5) = 1006\n", "{errors}");
    let fate = Fate::told(&errors, Some(library));
    fate.assert_required(&mut call());
    fate
}

fn library_in_rust(rewriter: &Rewriter) {
    let library = in_rust().library("plugin");
    let host = in_rust().program("host");
    let plain = tale(command(&host).arg(&library));
    let copy = rewritten(&library, rewriter);
    let mut told = command(&host);
    let now = tale(told.arg(&copy.0).env("INVAR_REPORT", "stderr"));
    now.assert_consistent();
    assert_eq!((now.choices(), &now.results, &now.probes), (plain.choices(), &plain.results, &plain.probes));
    Fate::told(&now.errors, Some(&copy.0)).assert_bound();
    Fate::Bound.assert_required(command(&host).arg("--silent").arg(&copy.0));
    seen_by_others(command(&host).arg("--silent"), &copy.0, rewriter);
}

/// A program in Rust that opens a library: its own report has the library, with the keys that are returned, as the library's
/// own has it; or says why not.
fn seen_by_others(host: &mut Command, library: &Path, rewriter: &Rewriter) -> Option<Vec<String>> {
    let now = tale(host.arg(library).env("INVAR_REPORT", "stderr").env("INVAR_KEYS", "slice=force"));
    let path = library.to_str().unwrap();
    let own = Fate::told(&now.errors, Some(library));
    let Some(module) = now.modules.iter().find(|module| module.path == path) else {
        assert!(rewriter.hides || says_why_not(&now, path), "nothing is said of {path}: {}", now.errors);
        return None;
    };
    assert_eq!(own == Fate::Bound, module.bound == module.sites, "{module:?}, and it says {own:?}");
    if own == Fate::Bound {
        module.assert_bound();
    }
    Some(module.keys.iter().map(|key| key.name.clone()).collect())
}

/// Whether any line of a report has a reason for what is not in it.
fn says_why_not(tale: &Tale, path: &str) -> bool {
    tale.errors.lines().any(|line| line.contains(path) && line.contains("note"))
}

/// A library sees the keys of the program, and adopts them.
fn host_in_rust(rewriter: &Rewriter) {
    let copy = rewritten(&in_rust().program("host"), rewriter);
    let library = Build::release().library("plugin");
    let now = tale(command(&copy.0).arg(&library).env("INVAR_REPORT", "stderr"));
    now.assert_consistent();
    now.program().assert_bound();
    now.module("libplugin.so").assert_bound();
    let key = now.module("libplugin.so").key("shared.width");
    let is_adopted = (&*key.origin, &*key.evidence) == ("adopted", "host's");
    assert!(is_adopted || rewriter.hides || says_why_not(&now, "(program)"), "two verdicts, and no reason: {key:?}");
}

/// A wheel's libraries bring along what they need, by names that nothing else has.
fn as_auditwheel(which: usize) {
    let folder = Temporary::path("wheel");
    let libraries = folder.0.join("wheel.libs");
    std::fs::create_dir_all(&libraries).unwrap();
    let (extension, dependency) = (folder.0.join("piece.so"), libraries.join("libinvar-1a2b3c4d.so.0"));
    std::fs::copy(piece(), &extension).unwrap();
    std::fs::copy(libinvar().join("libinvar.so.0"), &dependency).unwrap();
    let change = |file: &Path, options: &[&[&str]]| patchelfs(&[("as auditwheel", options)])[which].change(file);
    change(&dependency, &[&["--set-soname", "libinvar-1a2b3c4d.so.0"]]);
    change(
        &extension,
        &[
            &["--replace-needed", "libinvar.so.0", "libinvar-1a2b3c4d.so.0"],
            &["--remove-rpath"],
            &["--force-rpath", "--set-rpath", "$ORIGIN/wheel.libs"],
        ],
    );
    let needed = common::elf::needed(&std::fs::read(&extension).unwrap());
    assert!(needed.iter().any(|name| name == "libinvar-1a2b3c4d.so.0"), "{needed:?}");
    // Nothing else tells where it is.
    let call = || {
        let mut command = command(caller());
        command.arg(&extension).args(["piece", "5"]);
        command
    };
    let (out, errors) = reported(&mut call());
    assert_eq!(out, "piece(5) = 1006\n", "{errors}");
    let fate = Fate::told(&errors, Some(&extension));
    fate.assert_required(&mut call());
    fate.assert_bound();
}

/// Ways to lay out code: blocks apart from their functions, as profiles have it, in other segments, in other orders.
const LAYOUTS: [(&str, &[&str]); 10] = [
    ("a section for each block", &["-fbasic-block-sections=all"]),
    ("a section for each block, jumps left out", &["-fbasic-block-sections=all", "-Wl,--optimize-bb-jumps"]),
    ("blocks by a profile", &["-fbasic-block-sections=list={blocks}", "-Wl,--symbol-ordering-file={order}"]),
    (
        "blocks by a profile, jumps left out",
        &["-fbasic-block-sections=list={blocks}", "-Wl,--symbol-ordering-file={order}", "-Wl,--optimize-bb-jumps"],
    ),
    ("functions by a list", &["-ffunction-sections", "-Wl,--symbol-ordering-file={order}"]),
    ("functions that are alike are one", &["-ffunction-sections", "-Wl,--icf=all"]),
    ("code apart", &["-Wl,-z,separate-code"]),
    ("segments apart", &["-Wl,-z,separate-loadable-segments"]),
    ("code and data in one segment", &["-Wl,-z,noseparate-code", "-Wl,--no-rosegment"]),
    ("large pages", &["-Wl,-z,max-page-size=0x200000"]),
];

/// What stays in one cluster, and what goes elsewhere.
const BLOCKS: &str = "!on\n!!0 2\n!!1\n!off\n!!0\n!!2 1\n!section\n!!0 4\n!!2\n!main\n!!0\n";
const ORDER: &str = "section.__part.1\nsection\nmain\noff\non.__part.1\non\nmain.cold\n";

fn laid_out_in_c(options: &[&str]) {
    let folder = Temporary::path("layout");
    std::fs::create_dir(&folder.0).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (blocks, order) = (file("blocks", BLOCKS), file("order", ORDER));
    let options: Vec<_> =
        options.iter().map(|option| option.replace("{blocks}", &blocks).replace("{order}", &order)).collect();
    let options = options.iter().map(|option| &**option);
    // That the list names what is not there is as it is with an old profile.
    let options: Vec<_> = options.chain(["-fuse-ld=lld", "-Wl,--no-warn-symbol-ordering"]).collect();
    let program = with_libinvar("clang", "probed", &options);
    probed_is_as_it_was(&program).assert_bound();
}

fn reversed_in_rust() {
    let plain = in_rust().program("story");
    let bytes = std::fs::read(&plain).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let mut functions: Vec<_> = elf.syms.iter().filter(|symbol| symbol.is_function() && symbol.st_value > 0).collect();
    functions.sort_by_key(|symbol| std::cmp::Reverse(symbol.st_value));
    let names = functions.iter().filter_map(|symbol| elf.strtab.get_at(symbol.st_name));
    let order = Temporary::path("order");
    std::fs::write(&order.0, names.collect::<Vec<_>>().join("\n")).unwrap();
    // The list is another in each run, and cargo is not told: the name says what it is for.
    let lld =
        ["-fuse-ld=lld", "-Wl,--no-warn-symbol-ordering", &format!("-Wl,--symbol-ordering-file={}", order.0.display())]
            .map(String::from);
    let build = Build::release().named("reversed");
    let reversed = lld.iter().fold(build, |build, argument| build.link_argument(argument)).program("story");
    let before = tale(&mut command(&plain));
    let now = tale(&mut command(&reversed));
    now.assert_consistent();
    assert_eq!((now.choices(), &now.results), (before.choices(), &before.results));
    now.program().assert_bound();
    let positions = |file: &Path| {
        let image = common::elf::Image::read(file);
        let main = |elf: &goblin::elf::Elf<'_>| {
            elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some("main")).map(|main| main.st_value)
        };
        main(&goblin::elf::Elf::parse(&image.bytes).unwrap())
    };
    assert_ne!(positions(&plain), positions(&reversed), "the same order");
    Fate::Bound.assert_required(&mut command(&reversed));
}

/// Sections that nobody told the tool to keep: there are no records, so nothing is bound, and nothing else is taken for one.
fn no_tables() {
    let story = in_rust().program("story");
    let plain = tale(&mut command(&story));
    let copy = Temporary::executable("rewritten", &std::fs::read(&story).unwrap());
    must(Command::new("objcopy").args(["-R", "invar2_sites"]).arg(&copy.0));
    let now = tale(command(&copy.0).env("INVAR_KEYS", "slice=force"));
    now.assert_consistent();
    assert_eq!(now.results, plain.results);
    assert_eq!(now.program().bound, 0, "{:?}", now.program());
    assert!(now.differs.is_empty(), "{:?}", now.differs);
    Fate::Left("unknown kind or flags".into()).assert_required(&mut command(&copy.0));
}
