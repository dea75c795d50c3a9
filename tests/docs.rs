//! What the documents say of names, numbers and commands is so, and their examples are programs.

mod common;
#[path = "../docs/pictures.rs"]
mod pictures;

use common::{ANYWHERE, Temporary, cargo, command, missing_tool, must, rustc, scratch, sites, test};
use invar::{Kind, Origin, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    common::run([
        test("the README's example does what it says", sites().or_else(no_avx2), example_in_the_readme),
        test("the README's symbol compiles", sites(), symbol_in_the_readme),
        test(
            "the README's versions compile, and its figures are of the crate that is compared",
            ANYWHERE,
            versions_in_the_readme,
        ),
        test("the README's example in C compiles", missing_tool("cc"), example_in_c),
        test("links lead to files", ANYWHERE, links_lead_to_files),
        test("links in the crates' documentation lead to headings", ANYWHERE, links_lead_to_headings),
        test("commands name what is there", ANYWHERE, commands_name_what_is_there),
        test("a fresh machine needs the newest compiler of all", ANYWHERE, the_newest_compiler),
        test("invar(3) has each function and each code", ANYWHERE, manual_of_the_header),
        test("the README's sentences on slices are what its tables say", ANYWHERE, worth_of_slices),
        test("limits are the code's", ANYWHERE, limits),
        test("the binder makes the calls that its README lists", ANYWHERE, calls_of_the_binder),
        test("each place has a test, and each test its place", ANYWHERE, places_and_their_tests),
        test("all tell one version", ANYWHERE, one_version),
        test("the site ABI's numbers are the header's and the runtime's", ANYWHERE, numbers_of_the_abi),
        test("the site ABI's tables are the structures in C", missing_tool("cc"), structures_in_c),
        test("the site ABI's forms are the runtime's", sites(), forms_of_the_abi),
        test("the glossary defines each term once", ANYWHERE, terms_of_the_glossary),
        test("the glossary's names are there", ANYWHERE, names_of_the_glossary),
        test("no document has a word that the glossary rules out", ANYWHERE, words_that_are_not_used),
        test("pictures are what their program draws", ANYWHERE, pictures_are_drawn),
        test("pictures are readable on light and dark pages", ANYWHERE, pictures_are_readable),
    ])
}

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between two texts, the first time.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let from = text.find(before).unwrap_or_else(|| panic!("no {before:?}")) + before.len();
    let length = text[from..].find(after).unwrap_or_else(|| panic!("no {after:?} behind {before:?}"));
    &text[from..from + length]
}

/// Why the example would not choose what its output shows.
fn no_avx2() -> Option<String> {
    (!invar::cpu::AVX2.get()).then(|| "this CPU has no AVX2".into())
}

/// The runtime, built as for any program.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = cargo();
        // The other has a feature of the runtime's that the README shows.
        cargo.args(["build", "--release", "--quiet", "--locked", "--package=invar-rt", "--package=multiversioned"]);
        cargo.arg("--message-format=json");
        let said = String::from_utf8(must(cargo.arg("--target-dir").arg(scratch().join("documents"))).stdout).unwrap();
        let is_it = |path: &&str| path.ends_with("/libinvar.rlib");
        said.split('"').find(is_it).expect("the library's path").into()
    })
}

/// The compiler, as cargo calls it for a package `fast`.
fn compiler(source: &Path, result: &Path) -> Command {
    let mut rustc = rustc();
    rustc.args(["--edition=2024", "--crate-name=fast", "-O", "-Dwarnings"]).arg(source).arg("-o").arg(result);
    rustc.arg("--extern").arg(format!("invar={}", library().display()));
    let folder = library().parent().expect("a folder");
    rustc.arg("-L").arg(format!("dependency={}", folder.join("deps").display()));
    rustc.arg("-L").arg(format!("dependency={}", folder.display()));
    rustc.env("CARGO_PKG_NAME", "fast").env("CARGO_CRATE_NAME", "fast");
    rustc
}

fn example_in_the_readme() {
    let readme = read("README.md");
    let (source, program) = (Temporary::path("readme.rs"), Temporary::path("readme"));
    std::fs::write(&source.0, between(&readme, "```rust\n// src/main.rs\n", "\n```")).unwrap();
    must(&mut compiler(&source.0, &program.0));
    let run = |chatty: Option<&str>| {
        let said = must(command(&program.0).env_remove("CHATTY").envs(chatty.map(|value| ("CHATTY", value)))).stdout;
        String::from_utf8(said).unwrap()
    };
    let said = run(None);
    let shown = between(&readme, "prints something like\n\n```text\n", "\n```");
    // Addresses are this build's, and the time is this run's.
    let masked = |line: &str| {
        let is_own = |word: &&str| word.starts_with("0x") || word.chars().all(|character| character.is_ascii_digit());
        let words = line.split(' ').map(|word| if is_own(&word) && !word.is_empty() { "..." } else { word });
        // Where the one writer is refused it is the other.
        words.collect::<Vec<_>>().join(" ").replace(" by memfd ", " by swap ")
    };
    let lines: Vec<_> = said.lines().map(masked).collect();
    for line in shown.lines() {
        // What this kernel and this CPU have decides these: their names are enough.
        let name = line.split_inclusive(" = ").next().expect("a line");
        match name.trim() {
            "key slice =" | "key slice.counting =" | "keys cpu.* =" => {
                assert!(lines.iter().any(|said| said.starts_with(name)), "no {name:?} in\n{said}");
            }
            _ => assert!(lines.contains(&masked(line)), "no {line:?} in\n{said}"),
        }
    }
    let chatty = run(Some("1"));
    assert!(chatty.starts_with("counting\n2\n") && chatty.contains("  key fast.chatty = on (probe)"), "{chatty}");
}

fn symbol_in_the_readme() {
    let readme = read("README.md");
    let symbol = between(&readme, "```rust\ninvar::ifunc! {\n", "\n```");
    let (source, result) = (Temporary::path("symbol.rs"), Temporary::path("libsymbol.rmeta"));
    let variant = |features: &str, name: &str| {
        format!(
            "{features}\n/// # Safety\n/// As for `mylib_copy`.\n\
             pub unsafe fn {name}(to: *mut u8, _: *const u8, _: usize) -> *mut u8 {{ to }}\n"
        )
    };
    let variants = [
        variant("#[target_feature(enable = \"avx512bw\")]", "copy_avx512"),
        variant("#[target_feature(enable = \"avx2\")]", "copy_avx2"),
        variant("", "copy_anywhere"),
    ];
    std::fs::write(&source.0, format!("invar::ifunc! {{\n{symbol}\n{}", variants.concat())).unwrap();
    must(compiler(&source.0, &result.0).args(["--crate-type=lib", "--emit=metadata"]));
}

fn versions_in_the_readme() {
    let readme = read("README.md");
    let function = between(&readme, "```rust\n#[invar::multiversion", "\n```");
    let (source, result) = (Temporary::path("versions.rs"), Temporary::path("libversions.rmeta"));
    std::fs::write(&source.0, format!("#[invar::multiversion{function}\n")).unwrap();
    must(compiler(&source.0, &result.0).args(["--crate-type=lib", "--emit=metadata"]));
    let version = between(&readme, "compares it with the crate\n`multiversion` (", ")").to_owned();
    assert!(read("benches/Cargo.toml").contains(&format!("\nmultiversion = \"{version}\"\n")), "{version}");
    assert!(read("Cargo.lock").contains(&format!("name = \"multiversion\"\nversion = \"{version}\"\n")), "{version}");
}

fn example_in_c() {
    let readme = read("README.md");
    let source = between(&readme, "```c\n", "\n```");
    // What stands behind the declarations is what a function does.
    let (declarations, statements) = source.split_once("\n\n").expect("declarations, then statements");
    let (declarations, rest) = match statements.split_once("\n\n") {
        Some((more, statements)) => (format!("{declarations}\n{more}"), statements),
        None => (declarations.to_owned(), statements),
    };
    let program = format!("{declarations}\nvoid use(void)\n{{\n{}\n}}\n", rest.replace(" ...", ";"));
    let file = Temporary::path("readme.c");
    std::fs::write(&file.0, program).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-empty-body", "-c", "-o", "/dev/null", "-xc"]);
    must(cc.arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/capi/include")).arg(&file.0));
}

const DOCUMENTS: [&str; 15] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "abi/README.md",
    "arch/README.md",
    "measure/README.md",
    "capi/binder/README.md",
    "cli/README.md",
    "docs/json.md",
    "docs/places.md",
    "docs/profile.md",
    "docs/sections.md",
    "docs/site-abi.md",
    "lock/README.md",
    "macros/README.md",
];

fn links_lead_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in DOCUMENTS.iter().chain(&PAGES).chain(&["docs/glossary.md"]) {
        let folder = root.join(document).parent().unwrap().to_owned();
        let text = read(document);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = link.split('#').next().unwrap();
            assert!(link.contains("://") || folder.join(file).exists(), "{document}: nothing is at {link}");
        }
    }
}

/// All code in Rust below these folders.
fn code_below(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = vec![];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().expect("a name").to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

/// rustdoc looks for items, and not for headings in them.
fn links_lead_to_headings() {
    let pages = [read("docs/sections.md"), read("src/timeslice/mod.rs").replace("//! ", "")].join("\n");
    let headings = pages.lines().filter_map(|line| line.strip_prefix("# "));
    let headings: BTreeSet<_> = headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect();
    let mut found = 0;
    for (file, text) in code_below(&["src", "lock/src"]) {
        for link in ["timeslice#", "(self#"].iter().flat_map(|mark| text.split(mark).skip(1)) {
            let heading = link.split(')').next().unwrap();
            assert!(headings.contains(heading), "{file}: no heading is {heading}");
            found += 1;
        }
    }
    assert!(found > 2, "{found}");
}

/// The words behind each of these, up to what ends a command.
fn words_behind<'a>(text: &'a str, command: &str) -> Vec<Vec<&'a str>> {
    let ends = |character| matches!(character, '`' | '\n' | '#' | ';' | ')');
    let commands = text.split(command).skip(1).map(|rest| rest.split(ends).next().unwrap());
    commands.map(|words| words.split_ascii_whitespace().collect()).collect()
}

fn commands_name_what_is_there() {
    let readme = read("README.md");
    let manifest = read("Cargo.toml");
    let is_test = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/{name}.rs")).exists();
    let mut tests = 0;
    for name in words_behind(&readme, "--test ").iter().filter_map(|words| words.first()) {
        assert!(is_test(name), "the README has: --test {name}");
        tests += 1;
    }
    assert!(tests > 0);
    // What chooses among a file's tests is a part of one's name.
    for rest in readme.split("--test ").skip(1) {
        let (name, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(filter) = behind.strip_prefix('\'').and_then(|filter| filter.split('\'').next()) else { continue };
        assert!(read(&format!("tests/{name}.rs")).contains(filter), "no test in {name} is {filter:?}");
    }
    let members = between(&manifest, "\nmembers = [", "]");
    let packages = members.split(',').map(|member| member.trim().trim_matches('"'));
    let packages: BTreeSet<_> = packages
        .map(|member| between(&read(&format!("{member}/Cargo.toml")), "\nname = \"", "\"").to_owned())
        .collect();
    let named = ["cargo run ", "cargo bench ", "cargo test ", "cargo build "].map(|cargo| words_behind(&readme, cargo));
    for words in named.concat() {
        for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
            assert!(packages.contains(pair[1]), "the README has: -p {}", pair[1]);
        }
    }
    let benches = between(&readme, "`-- slice`", "behind it");
    for name in benches.split('`').skip(1).step_by(2).chain(["slice"]) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/{name}.rs")).exists(), "no bench {name}");
    }
}

fn the_newest_compiler() {
    let manifests = ["Cargo.toml", "lock/Cargo.toml", "guest/programs/Cargo.toml", "capi/Cargo.toml"];
    let version = |path: &&str| -> (u32, u32) {
        let text = read(path);
        let (major, minor) = between(&text, "\nrust-version = \"", "\"").split_once('.').expect("two numbers");
        (major.parse().unwrap(), minor.parse().unwrap())
    };
    let (major, minor) = manifests.iter().map(version).max().expect("a manifest");
    assert!(read("README.md").contains(&format!("needs Linux, Rust {major}.{minor} and `cc`")), "Rust {major}.{minor}");
}

/// The figures of the table with this heading, by the row's name.
fn figures<'a>(text: &'a str, heading: &str) -> BTreeMap<&'a str, Vec<f64>> {
    let (_, table) = text.split_once(heading).unwrap_or_else(|| panic!("no table {heading:?}"));
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty() && !line.starts_with('`'));
    let rows = rows.map(|row| {
        let (name, figures) = row.split_at(row.find("  ").expect("columns"));
        (name, figures.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect())
    });
    rows.collect()
}

fn worth_of_slices() {
    let readme = read("README.md");
    let prose = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = |before: &str, after: &str| -> f64 {
        let number = between(&prose, before, after);
        number.parse().unwrap_or_else(|_| panic!("{number:?} between {before:?} and {after:?}"))
    };
    let operations = figures(&readme, "operations a ms; threads:          1        2        4       16       64");
    let waits = figures(&readme, "waits in us; threads: 16         p50      p99    p99.9   p99.99  longest");
    let (of_two, of_four, of_sixteen) = (1, 2, 3);
    let gain = |with: &str, without: &str| operations[with][of_sixteen] / operations[without][of_sixteen];
    let percent = |ratio: f64| (100.0 * (ratio - 1.0)).round();
    assert_eq!(percent(gain("SpinLock, always", "SpinLock, never")), said("on one CPU ", " % by a `SpinLock`"));
    assert!(prose.contains("nearly ten times as much by a loop that does nothing but try"));
    assert!((9.0..10.0).contains(&gain("spin + slices", "spin")));
    assert_eq!(percent(gain("Mutex, always", "Mutex, never")), said("hardly more gets done (", " %)"));

    let of_a_thousand = 2;
    let least = |names: [&str; 3]| names.map(|name| waits[name][of_a_thousand]).into_iter().fold(f64::MAX, f64::min);
    let most = |names: [&str; 3]| names.map(|name| waits[name][of_a_thousand]).into_iter().fold(0.0, f64::max);
    let without = least(["pthread_mutex", "spin, then futex", "Mutex, never"]);
    let with = most(["pthread_mutex + slices", "spin, then futex + slices", "Mutex, always"]);
    assert_eq!((without / 100.0).round() / 10.0, said("one wait of a thousand took ", " milliseconds or longer"));
    assert_eq!(with, said("without extensions, and ", " microseconds or less with them"));

    let kept = |lock: &str| {
        let of = |way: &str| operations[&*format!("{lock}, {way}")][of_sixteen];
        100.0 * (of("adaptive") - of("never")) / (of("always") - of("never"))
    };
    let about = |kept: f64, said: f64| assert!((kept - said).abs() < 2.0, "{kept} % and not {said} %");
    about(kept("SpinLock"), said("half or more for one of ten thousand, ", " % of the spin lock's operations"));
    about(kept("Mutex"), said("% of the spin lock's operations, and ", " % of the mutex's"));
    let less = |lock: &str, threads: usize| {
        operations[&*format!("{lock}, adaptive")][threads] < operations[&*format!("{lock}, never")][threads]
    };
    assert!(
        prose.contains("With two threads, and the spin lock with four, they got less done than locks that never ask")
    );
    assert!(less("Mutex", of_two) && less("SpinLock", of_two) && less("SpinLock", of_four));
}

fn calls_of_the_binder() {
    let (readme, binder) = (read("capi/binder/README.md"), read("capi/binder/binder.c"));
    let listed = between(&readme, "System calls: ", "where the first writer is refused");
    let listed: BTreeSet<_> = listed.split('`').skip(1).step_by(2).collect();
    // Each by its number, with its name beside the first; three are made in assembler.
    let mut names = BTreeMap::new();
    let in_assembler = binder.split("%%eax\\n\\tsyscall").map(|before| before.rsplit("movl $").next().unwrap());
    let in_assembler: Vec<_> = in_assembler.take(binder.matches("%%eax\\n\\tsyscall").count()).collect();
    for call in binder.split("call(").skip(1).chain(in_assembler.iter().copied()) {
        let (number, rest) = call.split_at(call.find(|character: char| !character.is_ascii_digit()).unwrap());
        let name = rest.strip_prefix(" /* ").and_then(|rest| rest.split(' ').next());
        if !number.is_empty() && names.get(number).is_none_or(|known: &Option<&str>| known.is_none()) {
            names.insert(number, name);
        }
    }
    let made: BTreeSet<_> = names.values().map(|name| name.expect("a name")).collect();
    assert_eq!(made, listed);
    // One instruction for all others.
    let instructions = binder.replace("syscalls/syscall_64.tbl", "").matches("syscall").count();
    assert_eq!((in_assembler.len(), instructions), (3, 4), "there is another way to make calls");
}

/// The last cell of each row names tests, by what stands in their files.
fn places_and_their_tests() {
    let page = read("docs/places.md");
    let mut named = BTreeSet::new();
    for row in table(&page, "# Where it binds") {
        let [_, _, tests] = row[..] else { panic!("{row:?}") };
        let (file, names) = tests.split_once(" : ").unwrap_or_else(|| panic!("{row:?}"));
        let file = file.trim_matches('`');
        for name in names.split('`').skip(1).step_by(2) {
            let is_there = if name.contains('"') { name.to_owned() } else { format!("\"{name}\"") };
            assert!(read(file).contains(&is_there), "{file} has no {name:?}");
            if file == "tests/places.rs" {
                named.insert(name.to_owned());
            }
        }
    }
    // What makes the tests there has their names as its first argument.
    let source = read("tests/places.rs");
    let makers = ["test(", "with_either_binder(", "rules(", "scripts(", "mounted(", "with_memfd(", "by("];
    let mut made = BTreeSet::new();
    for maker in makers {
        for (at, _) in source.match_indices(maker) {
            let is_whole =
                !source[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '.');
            if let Some(rest) = source[at + maker.len()..].trim_start().strip_prefix('"').filter(|_| is_whole) {
                made.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    assert!(made.len() > 40, "{made:?}");
    assert_eq!(made, named);
}

/// Numbers that stand in several places.
fn limits() {
    let readme = read("README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    // The table's own test compares this document with the code.
    let profile = read("docs/profile.md");
    let counts: Vec<_> = table(&profile, "# Counts and profiles").iter().map(|row| row[1].to_owned()).collect();
    let of = |at: usize| counts[at].split(" x ").next().unwrap().replace("1024", "1,024");
    assert_eq!(of(2), of(3));
    assert!(readme.contains(&format!("room for {} sites and threads and {} modules", of(3), of(1))), "{counts:?}");
    let (system, adaptive) = (read("lock/src/system.rs"), read("lock/src/adaptive/mod.rs"));
    assert!(system.contains("HEAT: u32 = 1 << 16;") && system.contains("SPINS: u32 = 100;"));
    assert!(readme.contains("locked 65,536 times more") && adaptive.contains("cold after 65,536 times"));
    assert!(adaptive.contains("has looked a hundred times in vain"));
}

/// The header's interface: what stands before its insides.
fn interface() -> String {
    let header = read("capi/include/invar.h");
    header.split("/* What stands behind the macros.").next().unwrap().to_owned()
}

fn manual_of_the_header() {
    let (interface, manual) = (interface(), read("capi/man/invar.3"));
    let names = between(&manual, ".SH NAME\n", ".SH LIBRARY").replace(['\n', ','], " ");
    let named: BTreeSet<_> = names.split(" \\- ").next().unwrap().split_ascii_whitespace().collect();
    let functions = interface.split("\nINVAR_API ").skip(1).map(|rest| rest.split('(').next().unwrap());
    let macros = interface.split("\n#define ").skip(1).map(|rest| rest.split(['(', ' ', '\n']).next().unwrap());
    let public = |name: &&str| {
        !name.ends_with('_') && !matches!(*name, "INVAR_H" | "INVAR_SITES" | "INVAR_HIDDEN" | "INVAR_API")
    };
    let functions: Vec<_> = functions.filter_map(|words| words.split([' ', '*']).next_back()).collect();
    assert!(functions.len() > 5, "{functions:?}");
    let mut all: BTreeSet<_> = functions.iter().copied().chain(macros.filter(public)).collect();
    let synopsis = between(&manual, ".SH SYNOPSIS\n", ".SH DESCRIPTION");
    for name in &all {
        assert!(synopsis.contains(name), "invar(3) has no synopsis of {name}");
    }
    // The version's is in the synopsis alone; the other header has these.
    all.remove("INVAR_VERSION");
    all.extend(["INVAR_IFUNC", "INVAR_CPU_KEY", "invar_evidence"]);
    assert_eq!(named, all);

    let codes: BTreeSet<_> = constants(between(&interface, "enum {\n\tINVAR_OK", "};")).map(|(name, _)| name).collect();
    let errors = between(&manual, ".SH ERRORS\n", ".SH ATTRIBUTES");
    let described: BTreeSet<_> = errors.split(".TP\n.B ").skip(1).map(|rest| rest.lines().next().unwrap()).collect();
    assert!(codes.len() > 5);
    assert_eq!(described, codes);
}

/// Names and values in an enumeration.
fn constants(text: &str) -> impl Iterator<Item = (&str, u8)> {
    let lines = text.lines().filter_map(|line| line.trim().split_once(" = "));
    lines.filter(|(name, _)| name.starts_with("INVAR_")).map(|(name, rest)| {
        let number = rest.split(|character: char| !character.is_ascii_digit()).next().unwrap();
        (name, number.parse().expect("a number"))
    })
}

fn one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let (compatible, _) = version.rsplit_once('.').unwrap();
    let dependency = format!("`{} = \"{compatible}\"`", env!("CARGO_PKG_NAME"));
    assert!(read("README.md").contains(&dependency), "the README has no {dependency}");
    let numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
    let number = numbers.fold(0, |sum, number| sum << 8 | number);
    assert!(interface().contains(&format!("\n#define INVAR_VERSION {number:#08x}\n")), "{number:#08x}");
    for manual in ["invar.1", "invar.3", "invar.7"] {
        assert!(read(&format!("capi/man/{manual}")).starts_with(".TH INVAR "), "{manual}");
        assert!(read(&format!("capi/man/{manual}")).lines().next().unwrap().contains(&format!("\"invar {version}\"")));
    }
}

fn numbers_of_the_abi() {
    let (abi, interface) = (read("docs/site-abi.md"), interface());
    let origins: Vec<_> = constants(between(&interface, "enum {\n", "};")).collect();
    assert_eq!(origins.len(), 6);
    let listed: Vec<_> =
        origins.iter().map(|(_, number)| format!("{number} {}", Origin::from_byte(*number).name())).collect();
    assert!(abi.contains(&format!("| origin | {};", listed.join(", "))), "docs/site-abi.md has not: {listed:?}");
    for (name, number) in origins {
        let word = name.strip_prefix("INVAR_ORIGIN_").expect("an origin").to_lowercase();
        assert_eq!(Origin::from_byte(number).name(), word, "{name}");
    }
    // `docs/json.md` has the same words.
    let json = read("docs/json.md");
    let words = between(&json, "| origin | string or null | ", "; null");
    let words: Vec<_> = words.split(", ").map(|word| word.trim_matches('`').to_owned()).collect();
    assert_eq!(words, (0..6).map(|number| Origin::from_byte(number).name().to_owned()).collect::<Vec<_>>());
}

/// The cells of the first table behind this text, row by row.
fn table<'a>(text: &'a str, behind: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = text.split_once(behind).unwrap_or_else(|| panic!("no {behind:?}"));
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn structures_in_c() {
    let abi = read("docs/site-abi.md");
    let mut program = String::from("#define INVAR_PORTABLE\n#include <stddef.h>\n#include \"binder.h\"\n");
    let structures = [
        ("### State and verdict", "invar_verdict", &[][..]),
        ("## Key records", "invar_key_record", &[]),
        // These are named as if they were reserved, or are not measured by the binder.
        ("## Outcome", "invar_outcome", &["lock", "said", "nanoseconds"]),
    ];
    for (heading, name, left_out) in structures {
        let rows = table(&abi, heading);
        let [last_offset, last_size] = [0, 1].map(|at| rows.last().unwrap()[at].parse::<usize>().unwrap());
        let whole = last_offset + last_size;
        program += &format!("_Static_assert(sizeof(struct {name}) == {whole}, \"\");\n");
        for row in rows.iter().filter(|row| !row[2].is_empty() && !left_out.contains(&row[2])) {
            let [offset, size, field] = row[..3] else { panic!("{row:?}") };
            program += &format!(
                "_Static_assert(offsetof(struct {name}, {field}) == {offset} && \
                 sizeof ((struct {name} *)0)->{field} == {size}, \"{field}\");\n"
            );
        }
    }
    assert!(program.lines().count() > 20, "{program}");
    let file = Temporary::path("structures.c");
    std::fs::write(&file.0, program).unwrap();
    must(common::binder_compiler("cc -c -xc -o /dev/null").arg(&file.0));
}

/// The bytes that a word of hexadecimal digits gives.
fn bytes(word: &str) -> Vec<u8> {
    let digits = word.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{word:?}"))).collect()
}

/// Makes code of what the document has of forms.
struct Forms<'a> {
    /// The second instructions by their names: the shorter and the longer form, without the distance.
    seconds: Vec<(&'a str, [Vec<u8>; 2])>,
    request: i32,
}

impl<'a> Forms<'a> {
    fn of(abi: &'a str, request: i32) -> Self {
        let listed = between(abi, " and 6 in the longer one:", ".\n");
        let seconds = listed.split([',', ';']).map(|part| part.trim()).filter(|part| part.contains('`')).map(|part| {
            let codes = part.split('`').skip(1).step_by(2).map(|code| code.split(" rel").next().unwrap());
            let codes: Vec<Vec<u8>> = codes.map(|code| code.split(' ').flat_map(bytes).collect()).collect();
            (
                part.split(['`', ' ', '\n']).next().unwrap(),
                codes.try_into().unwrap_or_else(|codes| panic!("{codes:x?}")),
            )
        });
        let seconds: Vec<_> = seconds.collect();
        let names: Vec<_> = seconds.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["jne", "jb", "jnc", "jmp", "nop"]);
        Self { seconds, request }
    }

    /// The code of a cell: instructions, with commas between.
    fn code(&self, cell: &str, site: &Site) -> Vec<u8> {
        let mut code = vec![];
        for instruction in cell.split(", ") {
            let words: Vec<_> = instruction.split(['`', ' ']).filter(|word| !word.is_empty()).collect();
            let is_long = site.length >= 14;
            if let Some((name, forms)) = self.seconds.iter().find(|(name, _)| *name == words[0]) {
                code.extend(&forms[usize::from(is_long)]);
                let distance = |size: usize| site.target.wrapping_sub(site.address + (code.len() + size) as u64) as i64;
                match (*name, is_long) {
                    ("nop", _) => {}
                    (_, true) => code.extend((distance(4) as i32).to_le_bytes()),
                    (_, false) => code.extend((distance(1) as i8).to_le_bytes()),
                }
                continue;
            }
            // Distances count from the instruction's end.
            let length = |word: &&str| match *word {
                "disp32" | "rel32" | "request" => 4,
                "target" => 0,
                word => word.len().div_ceil(2),
            };
            let end = site.address + (code.len() + words.iter().map(length).sum::<usize>()) as u64;
            for word in words {
                match word {
                    "disp32" => code.extend((site.state.wrapping_sub(end) as i32).to_le_bytes()),
                    "rel32" => code.extend((site.target.wrapping_sub(end) as i32).to_le_bytes()),
                    "request" => code.extend(self.request.to_le_bytes()),
                    "S" => code.push(site.value),
                    "target" => {}
                    word => code.extend(bytes(word)),
                }
            }
        }
        code
    }
}

fn forms_of_the_abi() {
    let abi = read("docs/site-abi.md");
    let forms = Forms::of(&abi, -0x1234);
    let rows = table(&abi, "## x86-64");
    let kinds: Vec<_> = rows.iter().map(|row| row[0].parse().ok().and_then(|kind| Kind::of(kind, 0))).collect();
    assert_eq!(kinds, [Some(Kind::Branch), Some(Kind::SliceEnter), Some(Kind::SliceLeave), Some(Kind::Select)]);
    assert!(abi.contains("An ordered branch has jb in the place of jne"));
    // In the other columns it is as a branch.
    let ordered = [rows[0][0], rows[0][1], &rows[0][2].replace("jne", "jb"), rows[0][3], rows[0][4]].map(str::to_owned);
    let ordered = ordered.iter().map(|cell| &**cell).collect::<Vec<_>>();
    let mut compared = 0;
    for (row, kind) in rows.iter().chain([&ordered]).zip(kinds.into_iter().chain([Some(Kind::Ordered)])) {
        let [_, lengths, checked, same, other] = row[..] else { panic!("{row:?}") };
        for length in lengths.split(", ").map(|length| length.parse().expect("a length")) {
            let value = u8::from(!kind.unwrap().is_slice());
            let (address, state) = (0x5555_1000, 0x5555_8123);
            let site = Site { address, target: address + 0x40, state, length, kind: kind.unwrap(), value };
            let made = |code: Option<invar_abi::Code>| code.expect("a form").write_to(&mut [0; 16]).to_vec();
            assert_eq!(forms.code(checked, &site), made(invar_arch::checked(&site)), "{row:?}");
            let bound = |key: u8| made(invar_arch::bound(&site, key, forms.request));
            assert_eq!(forms.code(same, &site), bound(value), "{row:?}");
            if kind != Some(Kind::Select) {
                assert_eq!(forms.code(other, &site), bound(1 - value), "{row:?}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 9);
    constants_of_the_abi(&abi);
    let request = format!("the byte at offset {} of each thread's `struct rseq`", invar_arch::AREA_REQUEST);
    assert!(abi.contains(&request), "{request:?}");
}

/// Each form of a constant, for each register.
fn constants_of_the_abi(abi: &str) {
    let rows = table(abi, "The forms of a constant");
    let sorts: Vec<_> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(sorts, [("32", "0 to 7"), ("32", "8 to 15"), ("64", "0 to 7"), ("64", "8 to 15")]);
    for row in rows {
        let (first, wide) = (if row[1] == "0 to 7" { 0 } else { 8 }, if row[0] == "64" { 32 } else { 0 });
        for register in first..first + 8 {
            let (address, target) = (0x5555_1000, 0x5555_8128);
            let length = row[2].parse().expect("a length");
            let site =
                Site { address, target, state: target - 256, length, kind: Kind::Constant, value: register + wide };
            let made = |code: Option<invar_abi::Code>| code.expect("a form").write_to(&mut [0; 16]).to_vec();
            let spelt = |cell: &str, number: u64| {
                let mut code = vec![];
                for word in cell.split(['`', ' ', ',']).filter(|word| !word.is_empty()) {
                    match word {
                        "low" => code.push(5 + 8 * (register & 7)),
                        "high" => code.push(0xc0 + (register & 7)),
                        "opcode" => code.push(0xb8 + (register & 7)),
                        "disp32" => code.extend(((target - address) as i32 - i32::from(length)).to_le_bytes()),
                        "rest" => {
                            code.extend((number as u32).wrapping_sub(address as u32 + u32::from(length)).to_le_bytes())
                        }
                        // As long as the form is.
                        "number" => code.extend(&number.to_le_bytes()[..usize::from(length) - code.len()]),
                        word => code.extend(bytes(word)),
                    }
                }
                code
            };
            assert_eq!(spelt(row[3], 0), made(invar_arch::checked(&site)), "{row:?}");
            for (cell, number) in [(row[4], 0x8765_4321), (row[5], 0x1234_5678_9abc_def0)] {
                if cell.contains('`') {
                    assert_eq!(spelt(cell, number), made(invar_arch::constant(&site, number)), "{row:?}");
                }
            }
        }
    }
}

/// The rows of all tables of the glossary that begin with this heading.
fn glossary<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let tables = text.match_indices(heading).map(|(at, _)| table(&text[at..], heading.split('|').next().unwrap()));
    tables.flatten().collect()
}

fn terms_of_the_glossary() {
    let text = read("docs/glossary.md");
    let rows = glossary(&text, "| term | meaning |");
    let mut terms = BTreeSet::new();
    for row in &rows {
        let [term, meaning, ..] = row[..] else { panic!("{row:?}") };
        assert!(terms.insert(term), "{term} is defined twice");
        assert!(meaning.ends_with('.') && meaning.matches(". ").count() < 3, "{term}: {meaning}");
        // A word that the definition needs and does not explain is a term as well.
        for word in meaning.split("**").skip(1).step_by(2) {
            let is_known = |row: &Vec<&str>| row[0] == word || row[1].contains(word) || word.starts_with(row[0]);
            let base = |row: &Vec<&str>| word.trim_end_matches("ing").trim_end_matches('s') == row[0];
            assert!(rows.iter().any(|row| is_known(row) || base(row)), "{term}: {word} is no term");
        }
    }
    assert!(terms.len() > 50, "{terms:?}");

    let rustdoc = read("src/lib.rs").replace("//! ", "");
    let words: Vec<_> = table(&rustdoc, "# Words").iter().map(|row| row[0].to_owned()).collect();
    let manual = read("capi/man/invar.7");
    let words_in_c = between(&manual, ".SS Words\n", ".SS ").split(".TP\n").skip(1);
    let words_in_c: Vec<_> = words_in_c.map(|rest| rest.lines().next().unwrap().to_owned()).collect();
    assert!(words.len() > 5 && words_in_c.len() > 3, "{words:?} {words_in_c:?}");
    for word in words.iter().chain(&words_in_c) {
        assert!(terms.contains(&**word), "{word} is not in the glossary");
    }
    for (document, link) in [("README.md", "(docs/glossary.md)"), ("CONTRIBUTING.md", "(docs/glossary.md)")] {
        assert!(read(document).contains(link), "{document} does not lead to the glossary");
    }
    assert!(rustdoc.contains("docs/glossary.md"), "the documentation of the crate does not lead to the glossary");
}

fn names_of_the_glossary() {
    let text = read("docs/glossary.md");
    let header = ["invar.h", "invar-ifunc.h"].map(|name| read(&format!("capi/include/{name}"))).concat();
    let code: Vec<_> = code_below(&["src", "abi", "macros/src"]).into_iter().map(|(_, text)| text).collect();
    let code = code.concat();
    let holds = |text: &str, before: &str, name: &str| {
        let whole = format!("{before}{name}");
        let ends =
            |at: usize| !text[at + whole.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
        text.match_indices(&whole).any(|(at, _)| ends(at))
    };
    let (mut in_rust, mut in_c) = (0, 0);
    for row in glossary(&text, "| term | meaning |") {
        for name in row[2].split('`').skip(1).step_by(2) {
            let last = name.rsplit("::").next().unwrap();
            let found = match name.strip_prefix("#[").and_then(|name| name.strip_suffix(']')) {
                Some(attribute) => code.contains(&format!("#[{attribute}(")),
                None if last.ends_with('!') => holds(&code, "macro_rules! ", last.trim_end_matches('!')),
                // A variant has its enumeration before it.
                None => {
                    ["pub fn ", "pub struct ", "pub enum ", "pub trait ", "pub static ", "pub const ", "pub mod "]
                        .iter()
                        .any(|before| holds(&code, before, last))
                        || name.matches("::").count() == 2 && holds(&code, "\n    ", last)
                        || holds(&code, "pub type ", last)
                }
            };
            assert!(found, "{}: there is no {name} in Rust", row[0]);
            in_rust += 1;
        }
        for name in row[3].split('`').skip(1).step_by(2) {
            assert!(holds(&header, "", name), "{}: there is no {name} in C", row[0]);
            in_c += 1;
        }
    }
    assert!(in_rust > 30 && in_c > 20, "{in_rust} {in_c}");
}

/// The words of a document: without code, the addresses of links, and cells of tables that are the name of a field.
fn words(text: &str) -> Vec<String> {
    let blocks = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    let text = blocks.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let mut without_links = String::new();
    for (at, part) in text.split("](").enumerate() {
        without_links += if at == 0 { part } else { part.split_once(')').map_or("", |(_, behind)| behind) };
    }
    let is_field = |cell: &&str| cell.trim().split(", ").all(|name| !name.contains(' ')) && !cell.trim().is_empty();
    let cells = |line: &str| -> String {
        match line.starts_with('|') {
            true => line.split('|').filter(|cell| !is_field(cell)).collect::<Vec<_>>().join(" | "),
            false => line.to_owned(),
        }
    };
    let plain = without_links.lines().map(cells).collect::<Vec<_>>().join(" ").to_lowercase();
    // A dot inside is a file's, and what is no word stands between words.
    let words = plain.split_whitespace().flat_map(|word| {
        let inside = |next: char| next.is_alphanumeric() || matches!(next, '_' | '.' | '\'');
        word.split(move |next: char| !inside(next)).map(|word| word.trim_matches('.').to_owned())
    });
    words.collect()
}

/// The pages that keep to the glossary's words. Others speak of ELF sections by their names, or of what had other names.
const PAGES: [&str; 9] = [
    "README.md",
    "CONTRIBUTING.md",
    "capi/binder/README.md",
    "docs/adding.md",
    "docs/how-it-works.md",
    "docs/json.md",
    "docs/places.md",
    "docs/profile.md",
    "docs/sections.md",
];

/// The words in a text that the glossary rules out, each with what is around.
fn ruled_out(text: &str, rows: &[Vec<&str>]) -> Vec<String> {
    let words = words(text);
    let around = |at: usize| words[at.saturating_sub(4)..(at + 4).min(words.len())].join(" ");
    let mut found = vec![];
    for row in rows {
        // Alone it is wrong; behind the words that the next cell has before it, it is right.
        if let Some((word, _)) = row[0].split_once(", alone") {
            let right = row[1].split([',', ';']).filter_map(|right| right.split_once(word));
            let right: Vec<_> = right.map(|(before, _)| before.trim().to_lowercase()).collect();
            assert!(!right.is_empty(), "{row:?}");
            let forms = [word.to_owned(), format!("{word}s"), format!("{word}'s")];
            for at in (0..words.len()).filter(|&at| forms.contains(&words[at])) {
                if at == 0 || !right.contains(&words[at - 1]) {
                    found.push(format!("{word:?} alone: {}", around(at)));
                }
            }
            continue;
        }
        for term in row[0].split(", ") {
            let term: Vec<_> = term.split(' ').collect();
            for at in 0..words.len().saturating_sub(term.len() - 1) {
                let here = &words[at..at + term.len()];
                let (last, before) = here.split_last().unwrap();
                if before.iter().zip(&term).all(|(word, term)| word == term)
                    && last.strip_suffix('s').unwrap_or(last) == term[term.len() - 1]
                {
                    found.push(format!("{:?}: {}", term.join(" "), around(at)));
                }
            }
        }
    }
    found
}

fn words_that_are_not_used() {
    let text = read("docs/glossary.md");
    let rows = glossary(&text, "| not this | but this |");
    assert!(rows.len() > 5, "{rows:?}");
    let wrong = "Slices of a section, a\nstatic key, thread numbers and alternatives";
    assert_eq!(ruled_out(wrong, &rows).len(), 5, "{:?}", ruled_out(wrong, &rows));
    let right = "A time slice extension, `slice`, critical sections, ELF sections, [x](section.md), docs/sections.md";
    assert_eq!(ruled_out(right, &rows), [""; 0]);
    let mut found = vec![];
    // The crate's own page, without the code behind it.
    let crates = read("src/lib.rs");
    let crates: Vec<_> = crates.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    assert!(crates.len() > 50, "{crates:?}");
    found.extend(ruled_out(&crates.join("\n"), &rows).iter().map(|wrong| format!("src/lib.rs: {wrong}")));
    for document in PAGES {
        found.extend(ruled_out(&read(document), &rows).iter().map(|wrong| format!("{document}: {wrong}")));
    }
    assert!(found.is_empty(), "{} words\n{}", found.len(), found.join("\n"));
}

fn pictures_are_drawn() {
    for (path, picture) in pictures::all() {
        let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("INVAR_TEST_DRAW").is_some() {
            std::fs::write(&whole, &picture).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        assert!(read(path) == picture, "{path} is not what docs/pictures.rs draws: INVAR_TEST_DRAW=1 writes it anew");
        let name = path.strip_prefix("docs/").expect("a picture of a page");
        assert!(read("docs/how-it-works.md").contains(&format!("]({name})")), "no page shows {path}");
    }
}

/// WCAG 2.2, "contrast ratio": 4.5 is what text should have, and 3 what other shapes should.
fn pictures_are_readable() {
    fn luminance(colour: [u8; 3]) -> f64 {
        let [red, green, blue] = colour.map(|byte| {
            let part = f64::from(byte) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
    let contrast = |one, other| {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    };
    for palette in [pictures::LIGHT, pictures::DARK] {
        for behind in [palette.page, palette.boxes] {
            assert!(contrast(palette.text, behind) >= 4.5 && contrast(palette.strong, behind) >= 4.5);
            assert!(contrast(palette.line, behind) >= 3.0);
        }
    }
    for (path, picture) in pictures::all() {
        assert!(picture.contains("(prefers-color-scheme: dark)") && picture.contains("class=\"page\"/>"), "{path}");
    }
}
