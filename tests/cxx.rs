//! Sites in every build: in functions of C++ that several files have, under whatever options move code or put some into it, by
//! every linker, on other machines, and with the newest compilers, where they are (`tests/sid`).
//!
//! `cargo test` builds a choice in which every two values of two columns meet. All combinations:
//!
//! ```sh
//! INVAR_TEST_MATRIX=full cargo test --test cxx
//! ```

mod common;

use common::c::{CAPI, LINK, compiler, libinvar, missing, missing_linker, must};
use common::pairs::{Way, all, pairs, pairwise};
use common::{Build, CROSS_CC, EMULATOR, command, full_matrix, missing_emulator, run, scratch, sites, tale, test};
use goblin::elf::Elf;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const LINKERS: [&str; 4] = ["bfd", "gold", "lld", "mold"];

/// Compiler and language; level; linker; what else is asked for.
const COLUMNS: [&[&str]; 4] = [
    &["g++ -std=c++11", "g++ -std=c++20", "clang++ -std=c++11", "clang++ -std=c++20"],
    &["-O0", "-O1", "-O2"],
    &LINKERS,
    &["-fPIE -pie", "-fno-pie -no-pie -fcf-protection=full", "-static -ffunction-sections -Wl,--gc-sections"],
];

/// What cannot be linked, with sites or without.
const IMPOSSIBLE: [(&str, &str, &str); 2] = [
    (
        "g++ -std=c++20",
        "-fno-pie -no-pie -fcf-protection=full",
        "g++ 12 has constants that refer to discarded coroutines",
    ),
    ("-static -ffunction-sections -Wl,--gc-sections", "gold", "gold refuses the notes in libstdc++.a"),
];

fn is_possible(way: &Way) -> bool {
    !IMPOSSIBLE.iter().any(|(one, other, _)| way.contains(one) && way.contains(other))
}

/// What moves code, or puts some into it, that sites are to survive.
const OPTIONS: [&str; 35] = [
    "gcc -O3",
    "gcc -Os -fcf-protection=full",
    "gcc -O2 -Wa,-mbranches-within-32B-boundaries",
    "gcc -O0 -Wa,-malign-branch-boundary=32 -Wa,-malign-branch=jcc+fused+jmp+call+ret -Wa,-malign-branch-prefix-size=5",
    "gcc -O2 -mcmodel=medium -mlarge-data-threshold=1",
    "gcc -O0 -mcmodel=medium -mlarge-data-threshold=1 -fno-pie -no-pie",
    "gcc -O2 -fprofile-generate",
    "gcc -O0 -fprofile-arcs -ftest-coverage",
    "gcc -O2 -flto",
    "gcc -O2 -ffunction-sections -Wl,--gc-sections",
    "gcc -O2 -finstrument-functions",
    "gcc -O2 -fstack-protector-all -mindirect-branch=thunk",
    "gcc -O1 -masm=intel",
    "gcc -O0 -pg",
    "gcc -O2 -fsanitize=address,undefined",
    "gcc -O0 -fsanitize=thread",
    "clang -O3",
    "clang -Os -fcf-protection=full",
    "clang -O2 -mbranches-within-32B-boundaries",
    "clang -O0 -malign-branch-boundary=32 -malign-branch=jcc,jmp,fused,call,ret,indirect -mpad-max-prefix-size=5",
    "clang -O2 -fno-integrated-as -Wa,-mbranches-within-32B-boundaries",
    "clang -O2 -mcmodel=medium",
    "clang -O0 -fprofile-generate",
    "clang -O2 -fprofile-instr-generate -fcoverage-mapping",
    "clang -O2 -flto -fuse-ld=lld",
    "clang -O2 -flto=thin -fuse-ld=lld",
    "clang -O2 -finstrument-functions",
    "clang -O2 -fsanitize=fuzzer-no-link",
    "clang -O0 -fsanitize-coverage=trace-pc-guard,edge,trace-cmp",
    "clang -O2 -fsanitize=address",
    "clang -O0 -fsanitize=memory",
    "clang -O2 -fsanitize=safe-stack",
    "clang -O2 -fsanitize=undefined,integer",
    "clang -O2 -fsanitize=thread",
    "clang -O2 -fsanitize=cfi -flto -fvisibility=hidden -fuse-ld=lld",
];

/// Where there are no sites, and keys all the same: branches are ordinary loads, or libinvar is not found (DataFlowSanitizer gives
/// another name to all that a program calls).
const WITHOUT: [&str; 3] = [
    "clang -O0 -mspeculative-load-hardening -Werror",
    "clang -O2 -mspeculative-load-hardening -Werror",
    "clang -O2 -fsanitize=dataflow",
];

/// For the newest compilers. Levels alternate.
const NEWEST: [&str; 14] = [
    "gcc -O2 -std=c23 -pedantic -Wall -Wextra -Wshadow -Wundef -Werror",
    "gcc -O2 -flto",
    "gcc -O2 -fprofile-generate",
    "clang -O0 -std=c23 -pedantic -Wall -Wextra -Wshadow -Wundef -Werror",
    "clang -O2 -mbranches-within-32B-boundaries",
    "clang -O2 -mcmodel=medium -mlarge-data-threshold=1",
    "clang -O2 -fprofile-generate",
    "clang -O2 -fsanitize=fuzzer-no-link",
    "clang -O2 -flto -fuse-ld=lld",
    "g++ -O0 -std=c++20",
    "g++ -O2 -std=c++26 -pedantic -Wall -Wextra -Wshadow -Wundef -Werror",
    "clang++ -O0 -std=c++20",
    "clang++ -O2 -std=c++26 -pedantic -Wall -Wextra -Wshadow -Wundef -Werror",
    "clang++ -O1 -std=c++11 -fuse-ld=lld",
];

/// Compilers for other machines, without a C library.
const MACHINES: [&str; 7] = [
    "gcc -m32",
    "gcc -mx32",
    "clang --target=i386-linux-gnu",
    "clang --target=aarch64-linux-gnu",
    "clang --target=riscv64-linux-gnu",
    "clang --target=s390x-linux-gnu",
    CROSS_CC,
];

fn main() -> ExitCode {
    let possible = all(&COLUMNS, is_possible);
    let ways = if full_matrix() { possible } else { pairwise(&possible) };
    let mut tests: Vec<_> = ways
        .into_iter()
        .map(|way| {
            let words = [way[0], way[1], way[3]].join(" ");
            let missing = needs(way[0]).or_else(|| missing_linker(way[2]));
            test(&format!("two files, {words} {}", way[2]), missing, move || {
                two_files(&Here, &format!("{words} -fuse-ld={}", way[2]));
            })
        })
        .collect();
    tests.push(test("the choice has every pair", None, the_choice_has_every_pair));
    tests.extend(IMPOSSIBLE.map(|(one, other, why)| {
        test(&format!("two files, {one} with {other}"), Some(why.into()), || unreachable!("there is no such program"))
    }));
    tests.extend(OPTIONS.map(|words| {
        let missing = needs(words).or_else(|| does_not_link(words));
        test(&format!("all bound, {words}"), missing, move || all_bound(&Here, words))
    }));
    tests.extend(WITHOUT.map(|words| {
        let missing = needs(words).or_else(|| does_not_link(words));
        test(&format!("no sites, {words}"), missing, move || no_sites(words))
    }));
    for linker in LINKERS {
        let missing = || needs("gcc").or_else(|| missing_linker(linker));
        tests.push(test(&format!("dead code, {linker}"), missing(), move || dead_code(linker)));
        tests.push(test(&format!("dynamic symbols, {linker}"), missing(), move || nothing_is_exported(linker)));
        tests.push(test(&format!("C and Rust in one module, {linker}"), missing(), move || c_beside_rust(linker)));
        tests.push(test(&format!("objects that were linked before, {linker}"), missing(), move || {
            linked_before(linker)
        }));
    }
    tests.push(test("names that are macros", needs("gcc"), names_that_are_macros));
    for (language, words) in [("C", "gcc -xc -std=c11"), ("C", "clang -xc -std=c11"), ("C++", "g++ -xc++ -std=c++11")] {
        let compiler = words.split(' ').next().unwrap();
        tests.push(test(&format!("reserved names, {language}, {compiler}"), missing(compiler), move || {
            reserved_names(words)
        }));
    }
    for words in MACHINES {
        for language in ["-xc -std=c11", "-xc++ -std=c++17"] {
            let words = format!("{words} {language}");
            let missing = compiles_nothing(&words);
            tests.push(test(&format!("both headers, {words}"), missing, move || headers_compile(&words)));
        }
    }
    tests.push(test("both headers run on AArch64", missing_emulator(), runs_on_aarch64));
    let newest = Sid::find();
    for words in NEWEST {
        let sid = newest.clone();
        let missing = sites().or_else(|| missing("make")).or(sid.clone().err());
        tests.push(test(&format!("the newest {words}"), missing, move || {
            let sid = sid.expect("there when the tests were listed");
            if words.contains("++") { two_files(&sid, words) } else { all_bound(&sid, words) }
        }));
    }
    for (words, how) in [("g++ -O0", GCC), ("g++ -O2", GCC), ("clang++ -O0", CLANG), ("clang++ -O2", CLANG)] {
        let sid = newest.clone();
        let missing = sites().or_else(|| missing("make")).or(sid.clone().err());
        tests.push(test(&format!("C++20 modules, the newest {words}"), missing, move || {
            modules(&sid.expect("there when the tests were listed"), words, how);
        }));
    }
    let code = run(tests);
    if let Ok(sid) = newest {
        sid.clean();
    }
    code
}

/// Why this compiler cannot be used here to build what libinvar binds.
fn needs(words: &str) -> Option<String> {
    sites().or_else(|| missing("make")).or_else(|| missing(words.split(' ').next().expect("a compiler")))
}

/// Why nothing can be linked with these options, from a try: their runtime may be in a package of its own.
fn does_not_link(words: &str) -> Option<String> {
    let mut command = compiler(&format!("{words} -xc - -o /dev/null"));
    command.current_dir(scratch()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    std::io::Write::write_all(&mut child.stdin.take()?, b"int main(void) { return 0; }").ok()?;
    (!child.wait().is_ok_and(|status| status.success())).then(|| "the options' runtime is not there".into())
}

/// Why this compiler compiles nothing, not even nothing.
fn compiles_nothing(words: &str) -> Option<String> {
    let tried = compiler(&format!("{words} -ffreestanding -c -o /dev/null -")).stdin(Stdio::null()).output();
    (!tried.is_ok_and(|tried| tried.status.success())).then(|| format!("no {words}"))
}

fn the_choice_has_every_pair() {
    let possible = all(&COLUMNS, is_possible);
    let wanted: BTreeSet<_> = possible.iter().flat_map(pairs).collect();
    let chosen = pairwise(&possible);
    assert_eq!(chosen.iter().flat_map(pairs).collect::<BTreeSet<_>>(), wanted);
    assert!(chosen.len() < possible.len() / 4, "{} of {}", chosen.len(), possible.len());
}

// Where programs are built, and run.

trait Place {
    /// A folder of the tests' own.
    fn folder(&self, name: &str) -> PathBuf;
    /// A command in that folder, which finds the other one's files under the path that is given back.
    fn command(&self, folder: &Path, words: &str) -> Command;
    /// Where commands find the sources, the headers and libinvar.
    fn sources(&self) -> [String; 3];
    /// A run of a program that was built here.
    fn run(&self, program: &Path) -> Command;
}

/// This system.
struct Here;

impl Place for Here {
    fn folder(&self, name: &str) -> PathBuf {
        let folder = scratch().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn command(&self, folder: &Path, words: &str) -> Command {
        let mut words = words.split_ascii_whitespace();
        let mut command = Command::new(words.next().expect("a command"));
        command.args(words).current_dir(folder);
        command
    }

    fn sources(&self) -> [String; 3] {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c");
        [sources.into(), format!("{CAPI}/include"), libinvar().to_str().unwrap().into()]
    }

    fn run(&self, program: &Path) -> Command {
        let mut run = command(program);
        run.env("LD_LIBRARY_PATH", libinvar());
        run
    }
}

/// The root of a small system with the newest compilers, as `tests/sid` makes it.
#[derive(Clone)]
struct Sid {
    root: PathBuf,
    /// A folder in it.
    files: PathBuf,
}

impl Sid {
    fn find() -> Result<Self, String> {
        let root =
            std::env::var_os("INVAR_TEST_SID").ok_or("INVAR_TEST_SID names no folder that tests/sid has made")?;
        let root = PathBuf::from(root);
        if !root.join("complete").exists() {
            return Err(format!("{} is none that tests/sid has made", root.display()));
        }
        let root = root.canonicalize().unwrap();
        let sid = Self { files: root.join(format!("tmp/invar-{}", std::process::id())), root };
        let tried = sid.command(Path::new("tmp"), "g++ --version").output();
        let works = tried.is_ok_and(|tried| tried.status.success());
        works.then_some(sid).ok_or_else(|| "programs cannot be run in another root: needs root".into())
    }
}

impl Place for Sid {
    fn folder(&self, name: &str) -> PathBuf {
        static COPIED: std::sync::OnceLock<()> = std::sync::OnceLock::new();
        COPIED.get_or_init(|| {
            std::fs::create_dir_all(self.files.join("lib")).unwrap();
            for (from, to) in [(Here.sources()[0].clone(), "c"), (Here.sources()[1].clone(), "include")] {
                must(Command::new("cp").arg("-r").arg(from).arg(self.files.join(to)));
            }
            for file in ["libinvar.so", "libinvar-needed.o", "libinvar.so.0", "libinvar.a"] {
                std::fs::copy(libinvar().join(file), self.files.join("lib").join(file)).unwrap();
            }
        });
        let folder = self.files.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn command(&self, folder: &Path, words: &str) -> Command {
        let inside = Path::new("/").join(folder.strip_prefix(&self.root).unwrap_or(folder));
        let mut command = Command::new("unshare");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("-R")
            .arg(&self.root)
            .arg("-w")
            .arg(inside);
        command.args(words.split_ascii_whitespace());
        command
    }

    fn sources(&self) -> [String; 3] {
        let files = Path::new("/").join(self.files.strip_prefix(&self.root).unwrap());
        ["c", "include", "lib"].map(|name| files.join(name).to_str().unwrap().to_owned())
    }

    /// By the C library that is there, on this system's kernel and `/proc`.
    fn run(&self, program: &Path) -> Command {
        let mut run = command(self.root.join("usr/lib64/ld-linux-x86-64.so.2"));
        let [libraries, own] = [self.root.join("usr/lib/x86_64-linux-gnu"), self.files.join("lib")];
        run.arg("--library-path").arg(format!("{}:{}", libraries.display(), own.display())).arg(program);
        run
    }
}

impl Sid {
    fn clean(&self) {
        let _ = std::fs::remove_dir_all(&self.files);
    }
}

/// Builds a program of these sources with libinvar.
fn build(place: &impl Place, words: &str, sources: &[&str]) -> PathBuf {
    let name: String = words.chars().filter(char::is_ascii_alphanumeric).collect();
    let folder = place.folder(&format!("cxx-{}-{name}", sources[0].replace('.', "")));
    let [c, include, library] = place.sources();
    let mut command = place.command(&folder, words);
    command.arg(format!("-I{include}")).args(sources.iter().map(|source| format!("{c}/{source}")));
    must(command.args(["-o", "program", &format!("-L{library}")]).args(LINK));
    folder.join("program")
}

/// What a program says before its report, and the part of that which is about the program.
fn story(command: &mut Command) -> (String, String) {
    let said = String::from_utf8(must(command).stdout).unwrap();
    let (facts, report) = said.split_once("module (program) at ").unwrap_or((&said, ""));
    (facts.to_owned(), report.split("\nmodule ").next().unwrap().to_owned())
}

/// The program has at least so many sites, all are bound, and every record is one of a site.
fn assert_bound(report: &str, least: usize) {
    let count = |before: &str| {
        let words = report.lines().next().unwrap_or_default().split([' ', ',']).collect::<Vec<_>>();
        let at = words.iter().position(|word| *word == before).unwrap_or_else(|| panic!("{report}"));
        words[at - 1].parse::<usize>().unwrap()
    };
    assert!(count("sites") >= least && count("bound") == count("sites"), "{report}");
    assert!(
        report.lines().filter(|line| line.starts_with("  site ")).all(|line| line.contains(": bound to ")),
        "{report}"
    );
    assert!(!report.contains("record"), "{report}");
}

fn two_files(place: &impl Place, words: &str) {
    let program = build(place, words, &["shared.cc", "shared_elsewhere.cc"]);
    let (facts, report) = story(&mut place.run(&program));
    let (here, elsewhere) = if words.contains("c++11") { (368011176, 368011187) } else { (458311206, 458311222) };
    assert_eq!(facts, format!("here\t{here}\nelsewhere\t{elsewhere}\n"));
    // A function that nobody calls goes with its site, where the linker can tell.
    let least = if words.contains("--gc-sections") { 27 } else { 28 };
    assert_bound(&report, if words.contains("c++11") { 16 } else { least });
    let (facts, report) = story(place.run(&program).env("INVAR_KEYS", "c_wide=off"));
    let (here, elsewhere) = if words.contains("c++11") { (67988934, 67988945) } else { (157688962, 157688978) };
    assert_eq!(facts, format!("here\t{here}\nelsewhere\t{elsewhere}\n"));
    assert_bound(&report, 16);
}

fn all_bound(place: &impl Place, words: &str) {
    let program = build(place, words, &["many.c"]);
    let mut run = place.run(&program);
    // Where instrumentation writes its files.
    run.current_dir(program.parent().unwrap()).env("ASAN_OPTIONS", "detect_leaks=0");
    no_random_addresses(&mut run);
    let (facts, report) = story(&mut run);
    assert_eq!(facts, "sum\t5381685\nlost\t0\n");
    assert_bound(&report, 1082);
}

/// Runtimes of older sanitizers do not know addresses as random as newer kernels make them.
fn no_random_addresses(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: one system call on a number.
    unsafe {
        command.pre_exec(|| {
            libc::personality(libc::ADDR_NO_RANDOMIZE as _);
            Ok(())
        })
    };
}

fn no_sites(words: &str) {
    let program = build(&Here, words, &["many.c"]);
    let mut run = Here.run(&program);
    no_random_addresses(&mut run);
    let (facts, report) = story(&mut run);
    assert_eq!(facts, "sum\t5381685\nlost\t0\n");
    if words.contains("dataflow") {
        assert_eq!(report, "", "libinvar was found: this is no longer an exception");
    } else {
        // The pointer alone has a record for each value.
        assert!(
            report.contains(": 2 sites, 2 bound in ") && report.contains("\n  key many_on = on (probe)"),
            "{report}"
        );
        // The key is libinvar's to decide.
        let (facts, _) = story(Here.run(&program).env("INVAR_KEYS", "many_on=off"));
        assert_ne!(facts, "sum\t5381685\nlost\t0\n");
    }
}

/// A function that nobody calls is dropped although it has sites, where the linker knows SHF_LINK_ORDER, and so is one to which only a
/// pointer leads that nobody uses; with none is any other site lost.
fn dead_code(linker: &str) {
    let words = format!("gcc -O2 -ffunction-sections -fdata-sections -Wl,--gc-sections -fuse-ld={linker}");
    let program = build(&Here, &words, &["dead.c"]);
    let (facts, report) = story(&mut Here.run(&program));
    assert_eq!(facts, "used\t1\n");
    assert_bound(&report, 1);
    let size = program.metadata().unwrap().len();
    println!("{size} bytes");
    assert!(linker != "lld" || size < 256 << 10, "{size} bytes");
}

/// A library in C has no symbol of invar's that others could find.
fn nothing_is_exported(linker: &str) {
    for words in ["gcc -O2", "gcc -O0 -ffunction-sections -Wl,--gc-sections", "clang -O2"] {
        if missing(words.split(' ').next().unwrap()).is_some() {
            continue;
        }
        let folder = Here.folder("cxx-exported");
        let library = folder.join(format!("lib-{linker}{}.so", words.replace([' ', ','], "")));
        let mut command = compiler(&format!("{words} -shared -fPIC -fuse-ld={linker}"));
        command.args(["keys.c", "elsewhere.c"].map(|source| format!("{}/{source}", Here.sources()[0])));
        must(command.arg("-o").arg(&library));
        let bytes = std::fs::read(&library).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        for symbol in elf.dynsyms.iter() {
            let name = elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default();
            let is_weak_and_elsewhere = symbol.st_shndx == 0 && symbol.st_bind() == goblin::elf::sym::STB_WEAK;
            assert!(!name.contains("invar_") || is_weak_and_elsewhere, "{name}: {symbol:?}");
            assert_eq!(symbol.st_visibility(), goblin::elf::sym::STV_DEFAULT, "{name}: {symbol:?}");
        }
    }
}

/// Records of both sorts in one table; the runtime in Rust loads the module, and keys in C obey settings there.
fn c_beside_rust(linker: &str) {
    let build = Build::release().named(&format!("beside-{linker}")).link_argument(format!("-fuse-ld={linker}"));
    let program = build.program("beside");
    for (keys, expected) in [("", "1 1 1"), ("c_beside=off", "0 1 1"), ("beside.rust=off", "1 0 0")] {
        let tale = tale(command(&program).env("INVAR_KEYS", keys));
        tale.program().assert_bound();
        // Sites of both languages are in the one table.
        let of = |key: &str| {
            tale.program().bindings.iter().filter(|binding| binding.site.as_ref().unwrap().key == key).count()
        };
        assert!(of("c_beside") == 1 && of("beside.rust") == 1, "{:#?}", tale.program());
        assert_eq!(tale.results["beside"], expected, "{keys}");
        // Rust has no pointer there, and binds the one of C.
        assert_eq!(of("c_pointer"), 2);
        assert_eq!(tale.results["pointer"], if keys.starts_with("c_") { "1" } else { "11" }, "{keys}");
        // Its probe asks for the key behind it; two others for each other's.
        assert_eq!(tale.results["asks"], expected[..1], "{keys}");
        for (name, other) in [("c_ping", "c_pong"), ("c_pong", "c_ping")] {
            let said = format!("a cycle: the probes of {name} and {other} ask for each other's keys");
            assert_eq!(tale.program().key(name).evidence, said);
        }
        let origin = |name: &str| tale.program().key(name).origin.clone();
        let of = |name: &str| if keys.starts_with(name) { "setting" } else { "probe" };
        assert_eq!([origin("c_beside"), origin("beside.rust")], [of("c_beside"), of("beside.rust")]);
    }
}

/// `ld -r` makes one object of several, as some build systems do.
fn linked_before(linker: &str) {
    let folder = Here.folder(&format!("cxx-before-{linker}"));
    let [c, ..] = Here.sources();
    let link = if linker == "bfd" || linker == "gold" { format!("ld.{linker}") } else { "ld.bfd".into() };
    for name in ["keys", "elsewhere"] {
        let object = folder.join(format!("{name}.o"));
        must(compiler("gcc -O2 -ffunction-sections -c").arg(format!("{c}/{name}.c")).arg("-o").arg(object));
    }
    must(&mut Here.command(&folder, &format!("{link} -r keys.o elsewhere.o -o both.o")));
    let mut command =
        Here.command(&folder, &format!("gcc both.o -o program -fuse-ld={linker} -L{}", Here.sources()[2]));
    must(command.args(LINK));
    let (facts, report) = story(&mut Here.run(&folder.join("program")));
    assert!(facts.contains("keys\twide some 1 1\n") && facts.contains("elsewhere\t3\n"), "{facts}");
    assert_bound(&report, 9);
}

fn names_that_are_macros() {
    for words in ["gcc -std=c11 -O2", "g++ -xc++ -std=c++11 -O0"] {
        let program = build(&Here, words, &["names.c"]);
        let (facts, report) = story(&mut Here.run(&program));
        assert_eq!(facts, "one\t1 1\ntwo\t0 0\nnumber\t1 2\ndispatch\t1 9 2 2 2 2\n");
        for key in ["one = on", "two = off", "number = all", "through = one", "through_both = one+not-two"] {
            assert!(report.contains(&format!("\n  key {key} (probe)")), "{report}");
        }
        assert_bound(&report, 10);
    }
}

/// By every macro that takes a name.
fn reserved_names(words: &str) {
    let compiles = |text: &str| {
        let source = scratch().join(format!("cxx-reserved-{}.c", words.replace([' ', '+', '='], "")));
        std::fs::write(&source, format!("#include <invar-ifunc.h>\n{text}\n")).unwrap();
        let output = compiler(&format!("{words} -c -o /dev/null")).arg(&source).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let probe = "static void probe(struct invar_verdict *verdict) { verdict->value = 1; }\nstatic int base(void) { return 0; }\n";
    for (macros, name) in [
        ("INVAR_KEY(NAME, probe);", "slice"),
        ("INVAR_KEY_VALUES(NAME, probe, \"off\\0on\", 2);", "slice"),
        ("INVAR_IFUNC(int, NAME, (void), (), base, avx2, base);", "slice"),
    ] {
        let (compiled, said) = compiles(&format!("{probe}{}", macros.replace("NAME", name)));
        assert!(
            !compiled && said.contains("`slice` is the name of a key of invar's own: give this one another"),
            "{said}"
        );
        let (compiled, said) = compiles(&format!("{probe}{}", macros.replace("NAME", "slices")));
        assert!(compiled, "{said}");
    }
    // Features that nobody knows.
    let (compiled, said) = compiles("INVAR_CPU_KEY(avx3);");
    assert!(!compiled && said.contains("INVAR_CPU_avx3"), "{said}");
}

fn headers_compile(words: &str) {
    for level in ["-O0", "-O2"] {
        let flags = "-ffreestanding -pedantic -Wall -Wextra -Wshadow -Wundef -Werror -c -o /dev/null";
        must(compiler(&format!("{words} {level} {flags}")).arg(format!("{}/everywhere.c", Here.sources()[0])));
    }
}

fn runs_on_aarch64() {
    let program = Here.folder("cxx-aarch64").join("everywhere");
    must(
        compiler(&format!("{CROSS_CC} -O2")).arg(format!("{}/everywhere.c", Here.sources()[0])).arg("-o").arg(&program),
    );
    must(command(EMULATOR[0]).args(&EMULATOR[1..]).arg(program));
}

/// The steps that make `program` of `module.cppm`, which exports functions with sites, and `module.cc`, which imports them.
type Steps = &'static [&'static str];
const GCC: Steps = &[
    "WORDS -std=c++20 -fmodules -IINCLUDE -xc++ -c SOURCES/module.cppm -o module.o",
    "WORDS -std=c++20 -fmodules -c SOURCES/module.cc -o main.o",
];
const CLANG: Steps = &[
    "WORDS -std=c++20 -IINCLUDE -xc++-module --precompile SOURCES/module.cppm -o mylib.pcm",
    "WORDS -std=c++20 -c mylib.pcm -o module.o",
    "WORDS -std=c++20 -fmodule-file=mylib=mylib.pcm -c SOURCES/module.cc -o main.o",
];
const BOTH: Steps = &[
    "WORDS -std=c++20 -IINCLUDE -DREPORT -c SOURCES/module.cc -o report.o",
    "WORDS main.o module.o report.o -o program -LLIBRARY",
];

fn modules(place: &impl Place, words: &str, steps: Steps) {
    let folder = place.folder(&format!("modules-{}", words.replace([' ', '+'], "")));
    let [sources, include, library] = place.sources();
    for step in steps.iter().chain(BOTH) {
        let step = step.replace("WORDS", words).replace("SOURCES", &sources).replace("INCLUDE", &include);
        let mut command = place.command(&folder, &step.replace("LIBRARY", &library));
        must(if step.contains("-o program") { command.args(LINK) } else { &mut command });
    }
    let (facts, report) = story(&mut place.run(&folder.join("program")));
    assert_eq!(facts, "here\t11148\n");
    assert_bound(&report, 12);
}
