//! What the documents say of names, numbers and commands is so, and their examples are programs.

mod common;
#[path = "../docs/pictures.rs"]
mod pictures;

use common::{ANYWHERE, Temporary, cargo, command, missing_tool, must, rustc, scratch, sites, test};
use invar::{Kind, Origin, Site};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    common::run([
        test("the README is short", ANYWHERE, the_readme_is_short),
        test("the README's example does what it says", sites().or_else(no_avx2), example_in_the_readme),
        test("the book's contents list every page once", ANYWHERE, contents_of_the_book),
        test("samples in Rust are programs", sites(), samples_in_rust),
        test("samples in C compile", missing_tool("cc"), samples_in_c),
        test("the version of the crate that is compared is the one that is built", ANYWHERE, compared_version),
        test("links lead to files and to headings", ANYWHERE, links_lead_somewhere),
        test("links in the crates' documentation lead to headings", ANYWHERE, links_lead_to_headings),
        test("commands name what is there", ANYWHERE, commands_name_what_is_there),
        test("a fresh machine needs the newest compiler of all", ANYWHERE, the_newest_compiler),
        test("invar(3) has each function and each code", ANYWHERE, manual_of_the_header),
        test("the sentences on time slices are what the tables say", ANYWHERE, worth_of_slices),
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
        test("no file calls the time slice key otherwise", ANYWHERE, name_of_the_time_slice_key),
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
    &built()[0]
}

/// The locks, built with it.
fn locks() -> &'static Path {
    &built()[1]
}

fn built() -> &'static [PathBuf; 2] {
    static BUILT: OnceLock<[PathBuf; 2]> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = cargo();
        // A feature of the runtime's that the documents show.
        cargo.args(["build", "--release", "--quiet", "--locked", "--features=invar-rt/multiversion"]);
        cargo.args(["--package=invar-rt", "--package=invar-lock", "--message-format=json"]);
        cargo.arg("--target-dir").arg(scratch().join("documents")).current_dir(env!("CARGO_MANIFEST_DIR"));
        let said = String::from_utf8(must(&mut cargo).stdout).unwrap();
        ["/libinvar.rlib", "/libinvar_lock.rlib"].map(|name| {
            let found = said.split('"').find(|path| path.ends_with(name));
            found.unwrap_or_else(|| panic!("no path of {name}")).into()
        })
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

/// What somebody reads before the book.
fn the_readme_is_short() {
    let readme = read("README.md");
    let (bytes, lines) = (readme.len(), readme.lines().count());
    assert!(bytes <= 9 * 1024 && lines <= 180, "{bytes} bytes, {lines} lines");
}

fn compared_version() {
    let page = read("docs/library-authors.md");
    let version = between(&page, "compares it with the crate\n`multiversion` (", ")").to_owned();
    assert!(read("benches/Cargo.toml").contains(&format!("\nmultiversion = \"{version}\"\n")), "{version}");
    assert!(read("Cargo.lock").contains(&format!("name = \"multiversion\"\nversion = \"{version}\"\n")), "{version}");
}

/// Each fenced sample of a document in this language.
fn samples(document: &str, language: &str) -> Vec<String> {
    let text = read(document);
    let (mut samples, mut is_inside) = (vec![], false);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) if &*info == language => {
                is_inside = true;
                samples.push(String::new());
            }
            Event::End(TagEnd::CodeBlock) => is_inside = false,
            Event::Text(code) if is_inside => *samples.last_mut().unwrap() += &code,
            _ => {}
        }
    }
    samples
}

/// The README and the book.
fn for_users() -> impl Iterator<Item = String> {
    std::iter::once("README.md".to_owned()).chain(pages())
}

/// As rustdoc tests them, in a crate that depends on the runtime and on its locks.
fn samples_in_rust() {
    let mut tried = 0;
    for document in for_users() {
        let samples = samples(&document, "rust").len();
        if samples == 0 {
            continue;
        }
        let mut rustdoc = Command::new(PathBuf::from(env!("CARGO")).with_file_name("rustdoc"));
        rustdoc.args(["--test", "--edition=2024", "--color=never"]).arg(&document);
        for (name, path) in [("invar", library()), ("invar_lock", locks())] {
            let folder = path.parent().expect("a folder");
            rustdoc.arg("--extern").arg(format!("{name}={}", path.display()));
            rustdoc.arg("-L").arg(format!("dependency={}", folder.join("deps").display()));
            rustdoc.arg("-L").arg(format!("dependency={}", folder.display()));
        }
        rustdoc.env("CARGO_PKG_NAME", "mypackage").env("CARGO_CRATE_NAME", "mypackage");
        rustdoc.current_dir(env!("CARGO_MANIFEST_DIR"));
        let said = String::from_utf8(must(&mut rustdoc).stdout).unwrap();
        assert!(
            said.contains(&format!("test result: ok. {samples} passed; 0 failed; 0 ignored;")),
            "{document}: {said}"
        );
        tried += samples;
    }
    assert!(tried > 8, "{tried}");
}

/// Each is a file of C.
fn samples_in_c() {
    let mut tried = 0;
    for (document, sample) in for_users().flat_map(|document| {
        let samples = samples(&document, "c");
        samples.into_iter().map(move |sample| (document.clone(), sample))
    }) {
        let file = Temporary::path("sample.c");
        std::fs::write(&file.0, &sample).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null", "-xc"]);
        cc.arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/capi/include")).arg(&file.0);
        let output = cc.output().unwrap();
        assert!(output.status.success(), "{document}: {}", String::from_utf8_lossy(&output.stderr));
        tried += 1;
    }
    assert!(tried >= 2, "{tried}");
}

/// Documents that are no pages of the book.
const OTHERS: [&str; 11] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "abi/README.md",
    "arch/README.md",
    "measure/README.md",
    "capi/binder/README.md",
    "cli/README.md",
    "lock/README.md",
    "macros/README.md",
];

/// The pages of the book, in its order.
fn pages() -> Vec<String> {
    let contents = read("docs/SUMMARY.md");
    let pages = links(&contents).into_iter().map(|link| format!("docs/{link}"));
    pages.collect()
}

fn contents_of_the_book() {
    let listed = pages();
    let mut sorted = listed.clone();
    sorted.sort();
    let in_folder = |folder: &str| {
        let files = std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let pages = names.filter(|name| name.ends_with(".md") && name != "SUMMARY.md");
        pages.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    let mut there = [in_folder("docs"), in_folder("docs/ports")].concat();
    there.sort();
    assert!(there.len() > 20, "{there:?}");
    assert_eq!(sorted, there);
    for page in listed {
        assert!(read(&page).starts_with("# "), "{page} has no title");
    }
}

/// The places that a document links to, pictures included.
fn links(text: &str) -> Vec<String> {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES);
    let links = events.filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    });
    links.collect()
}

/// The names by which links lead to headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut heading) = (BTreeSet::new(), None);
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => _ = heading.as_mut().map(|heading| *heading += &text),
            Event::End(TagEnd::Heading(_)) => {
                let words = heading.take().expect("a heading").to_lowercase().replace(' ', "-");
                let is_kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
                anchors.insert(words.chars().filter(is_kept).collect());
            }
            _ => {}
        }
    }
    anchors
}

/// A page of the book leads to other pages and pictures of it, or to elsewhere: what is beside the book is not in it.
fn links_lead_somewhere() {
    let pages = pages();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut to_headings = 0;
    for document in OTHERS.map(String::from).iter().chain(&pages) {
        let text = read(document);
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => {
                    let folder = Path::new(document).parent().unwrap();
                    folder.join(file).to_str().expect("a name").to_owned()
                }
            };
            assert!(root.join(&target).exists(), "{document}: nothing is at {link}");
            if pages.contains(document) {
                let is_picture = target.starts_with("docs/") && target.ends_with(".svg");
                assert!(is_picture || pages.contains(&target), "{document}: {link} is not in the book");
            }
            if !heading.is_empty() {
                assert!(anchors(&read(&target)).contains(heading), "{document}: no heading is {link}");
                to_headings += 1;
            }
        }
    }
    assert!(to_headings > 3, "{to_headings}");
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
    let readme = for_users().map(|document| read(&document)).collect::<Vec<_>>().join("\n");
    let manifest = read("Cargo.toml");
    let is_test = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/{name}.rs")).exists();
    let mut tests = 0;
    for name in words_behind(&readme, "--test ").iter().filter_map(|words| words.first()) {
        assert!(is_test(name), "the documents have: --test {name}");
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
            assert!(packages.contains(pair[1]), "the documents have: -p {}", pair[1]);
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

/// Without the comments behind figures, which say where they were measured (tests/record.rs).
fn without_marks(text: &str) -> String {
    text.split("<!--").map(|part| part.rsplit("-->").next().unwrap_or(part)).collect()
}

fn worth_of_slices() {
    let page = read("docs/time-slices.md");
    let prose = without_marks(&page).split_whitespace().collect::<Vec<_>>().join(" ");
    let said = |before: &str, after: &str| -> f64 {
        let number = between(&prose, before, after);
        number.parse().unwrap_or_else(|_| panic!("{number:?} between {before:?} and {after:?}"))
    };
    let operations = figures(&page, "operations a ms; threads:          1        2        4       16       64");
    let waits = figures(&page, "waits in us; threads: 16         p50      p99    p99.9   p99.99  longest");
    let (of_two, of_four, of_sixteen) = (1, 2, 3);
    let gain = |with: &str, without: &str| operations[with][of_sixteen] / operations[without][of_sixteen];
    let percent = |ratio: f64| (100.0 * (ratio - 1.0)).round();
    assert_eq!(
        percent(gain("SpinLock, always", "SpinLock, never")),
        said("on one CPU a `SpinLock` gets ", " % more done")
    );
    assert!(prose.contains("A loop that does nothing but try gets nearly ten times as much done"));
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
    let name = |call: &str| call.split(',').next().unwrap_or_default().to_owned();
    let mut made: BTreeSet<_> = binder.split("call(SYS_").skip(1).map(name).collect();
    // Three are made in assembler, and one instruction makes all others.
    for (machine, instruction) in [("x86_64", "syscall"), ("aarch64", "svc #0"), ("riscv64", "ecall")] {
        let code = read(&format!("capi/binder/{machine}.h")).replace("syscalls/syscall_64.tbl", "");
        let code = code.replace("static long system_call", "");
        let in_assembler =
            ["mremap", "mmap", "munmap"].map(|name| (name, code.matches(&format!(" /* {name} */")).count()));
        assert!(in_assembler.iter().all(|(_, count)| *count == 1), "{machine}: {in_assembler:?}");
        let instructions = code.matches(instruction).count();
        assert_eq!(instructions, 4, "{machine}: there is another way to make calls");
        made.extend(in_assembler.map(|(name, _)| name.to_owned()));
    }
    assert_eq!(made, listed.into_iter().map(str::to_owned).collect());
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
    let makers = [
        "test(",
        "with_either_binder(",
        "rules(",
        "scripts(",
        "mounted(",
        "with_memfd(",
        "by(",
        "program(",
        "library(",
    ];
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
    let words = |page: &str| read(page).split_whitespace().collect::<Vec<_>>().join(" ");
    // The table's own test compares this document with the code.
    let profile = read("docs/profile.md");
    let counts: Vec<_> = table(&profile, "# Counts and profiles").iter().map(|row| row[1].to_owned()).collect();
    let of = |at: usize| counts[at].split(" x ").next().unwrap().replace("1024", "1,024");
    assert_eq!(of(2), of(3));
    assert!(
        words("docs/profiling.md").contains(&format!("room for {} sites and threads and {} modules", of(3), of(1))),
        "{counts:?}"
    );
    let (system, adaptive) = (read("lock/src/system.rs"), read("lock/src/adaptive/mod.rs"));
    assert!(system.contains("HEAT: u32 = 1 << 16;") && system.contains("SPINS: u32 = 100;"));
    assert!(
        words("docs/locks.md").contains("locked 65,536 times more") && adaptive.contains("cold after 65,536 times")
    );
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
    // Sizes are those of the site ABI.
    use invar_abi::{Header, KeyRecord, SiteRecord, outcome, state};
    let record = format!("{} bytes in a module's file that describe one site or one key", SiteRecord::LENGTH);
    assert_eq!(SiteRecord::LENGTH, size_of::<KeyRecord>());
    for (term, size) in [
        ("state", format!("The {} bytes of a key", state::LENGTH)),
        ("record", record),
        ("module header", format!("{} bytes in a module's memory", Header::LENGTH)),
        ("outcome", format!("{} bytes in a module's memory", outcome::LENGTH)),
    ] {
        let meaning = rows.iter().find(|row| row[0] == term).unwrap_or_else(|| panic!("no {term}"))[1];
        assert!(meaning.starts_with(&size), "{term}: {meaning}");
    }

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

/// Pages that do not keep to the glossary's words: it lists those that are ruled out, and the site ABI speaks of ELF sections.
const WITH_OTHER_WORDS: [&str; 2] = ["docs/glossary.md", "docs/site-abi.md"];

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
    let mut documents = pages();
    // A port is a patch to a project, which is patched with it.
    documents.retain(|page| !WITH_OTHER_WORDS.contains(&&**page) && !page.starts_with("docs/ports/"));
    documents.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "capi/binder/README.md"].map(String::from));
    for document in documents {
        let prose = without_marks(&read(&document));
        found.extend(ruled_out(&prose, &rows).iter().map(|wrong| format!("{document}: {wrong}")));
    }
    assert!(found.is_empty(), "{} words\n{}", found.len(), found.join("\n"));
}

/// Where a text has the glossary's "time slice key" without its first word. Words may stand on two lines, of a comment as well.
fn slice_keys_alone(text: &str) -> Vec<String> {
    let is_inside = |next: char| next.is_alphanumeric() || next == '_';
    let is_between = |next: char| next.is_whitespace() || matches!(next, '-' | '/' | '*' | '!' | '#');
    let text = text.replace("Slice", "slice");
    let alone = text.match_indices("slice").filter(|&(at, word)| {
        let (before, behind) = (&text[..at], &text[at + word.len()..]);
        let next = behind.trim_start_matches(is_between);
        let next = &next[..next.find(|next| !is_inside(next)).unwrap_or(next.len())];
        let is_word = !before.ends_with(is_inside) && !behind.starts_with(is_inside);
        is_word
            && matches!(next, "key" | "keys")
            && !before.trim_end_matches(is_between).to_lowercase().ends_with("time")
    });
    alone.map(|(at, _)| text[at..].chars().take(40).collect()).collect()
}

/// A reader looks for a term by the glossary's words: in code, comments, messages and headers as well.
fn name_of_the_time_slice_key() {
    let wrong = "/// The slice\n    /// key, a slice-key and Slice keys";
    assert_eq!(slice_keys_alone(wrong).len(), 3, "{:?}", slice_keys_alone(wrong));
    let right =
        "the time\n * slice key, Time slice keys, `slice_key`, the key `slice`, static SLICE: Key, (\"slice\", key)";
    assert_eq!(slice_keys_alone(right), [""; 0]);
    // What was built or found is nobody's text, and this test names what it looks for.
    const LEFT_OUT: [&str; 5] = [".git", "target", "vendor", "fuzz/corpus", "tests/docs.rs"];
    const ENDS: [&str; 14] = ["rs", "c", "h", "cc", "cpp", "S", "py", "sh", "md", "txt", "toml", "1", "3", "7"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut seen, mut found) = (vec![root.to_owned()], 0, vec![]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(root).unwrap().to_str().expect("a name").to_owned();
            if kind.is_symlink() || LEFT_OUT.iter().any(|part| name.ends_with(part)) {
            } else if kind.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|end| ENDS.iter().any(|known| end == *known)) {
                // What has no text has no words, nor has what is gone by now.
                let Ok(text) = std::fs::read(&path) else { continue };
                let alone = slice_keys_alone(&String::from_utf8_lossy(&text));
                seen += 1;
                found.extend(alone.iter().map(|alone| format!("{name}: {alone}")));
            }
        }
    }
    assert!(seen > 400, "{seen} files");
    assert!(found.is_empty(), "{} times\n{}", found.len(), found.join("\n"));
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
