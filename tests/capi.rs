//! libinvar and its header, as C and C++ programs use them: every compiler, language, linker and way to link, with the
//! library there and without it. `cargo test --test capi` builds it by `make -C capi`.

mod common;

use common::c::{CAPI, HOOK, LINK, compiler, libinvar, make, missing, missing_linker, must, static_options};
use common::elf::Image;
use common::trace::no_tracing;
use common::{CROSS_CC, EMULATOR, Temporary, command, full_matrix, missing_emulator, run, scratch, sites, test};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut tests = vec![
        test("libinvar needs libc only, is small and exports what it says", missing("make"), what_it_is),
        test(
            "the hook needs libinvar, is small and exports what it stands in front of",
            missing("make"),
            what_the_hook_is,
        ),
        test(
            "make install installs what pkg-config then finds",
            missing("make").or_else(|| missing("pkg-config")),
            installed,
        ),
        test("the example is copied and built", needs("cc").or_else(|| missing("pkg-config")), example_is_copied),
        test("PostgreSQL's patch has ten lines at most", None, patch_is_short),
        test("PostgreSQL's patch applies", postgresql().err().or_else(|| missing("patch")), patch_applies),
        test(
            "a backtrace goes from a probe through libinvar",
            needs("gcc").or_else(|| missing("gdb")).or_else(no_tracing),
            backtraces_go_through_libinvar,
        ),
        test("the example in invar(3) is one", missing("cc"), example_in_the_manual),
        test("CMake finds it", needs("cc").or_else(|| missing("cmake")), cmake_finds_it),
        test("preloaded, it binds a program that was not linked with it", needs("cc"), preloaded),
        test("threads are enrolled at their creation", needs("cc"), threads_are_enrolled_at_creation),
        test("threads end as they do without it", needs("g++"), threads_end_as_they_do_without_it),
        test(
            "threads end as they do without it, behind a sanitizer",
            needs("g++").or_else(no_sanitizer),
            threads_end_as_they_do_behind_a_sanitizer,
        ),
        test("forked processes are counted apart", needs("cc"), forked_processes_are_counted_apart),
        test("sections in C are counted by site", needs("cc"), sections_are_counted),
        test("grants and losses are counted apart", needs("cc"), grants_and_losses_are_counted_apart),
        test("keys in C where no site can be", missing("cc"), || {
            keys_are_decided_without_sites("cc -O2 -std=c11 -DINVAR_PORTABLE", &[]);
        }),
        test("keys in C on AArch64", missing_emulator(), || {
            keys_are_decided_without_sites(&format!("{CROSS_CC} -O2 -std=c11"), &EMULATOR);
        }),
        test("wrong arguments, small structures and newer ones", needs("cc"), arguments_are_looked_at),
        test(
            "a static program's threads pass by the wrappers, wherever they are created",
            needs("c++").or_else(|| missing("pkg-config")),
            static_threads_are_wrapped,
        ),
    ];
    tests.extend(["bfd", "gold", "lld", "mold"].map(|linker| {
        let missing = needs("cc").or_else(|| missing_linker(linker));
        test(&format!("threads are wrapped in a static program, {linker}"), missing, move || {
            threads_are_wrapped_by(linker);
        })
    }));
    for words in ["cc -std=gnu11", "c++ -xc++ -std=c++11"] {
        let compiler = words.split(' ').next().expect("a compiler");
        tests.extend(["bfd", "gold", "lld", "mold"].map(|linker| {
            let missing = needs(compiler).or_else(|| missing_linker(linker));
            let name = format!("modules of the first version are left alone, {words}, {linker}");
            test(&name, missing, move || the_first_version_is_left_alone(words, linker))
        }));
    }
    tests.extend(OBJECTS.map(|way| {
        let compiler = way.split(' ').next().unwrap_or(way);
        test(&format!("sites in C++, {way}"), needs(compiler), move || objects_are_in_between(way))
    }));
    tests.extend(LANGUAGES.iter().enumerate().map(|(at, language)| {
        let name = format!("the header is clean under {}", language.join(" "));
        test(&name, needs(language[0]), move || header_is_clean(at, language))
    }));
    tests.extend(WAYS.map(|way| {
        let name =
            format!("keys in C, {}", way.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" "));
        let [compiler, ..] = way[0].split(' ').collect::<Vec<_>>()[..] else { unreachable!() };
        let linker = way[2].strip_prefix("-fuse-ld=").expect("a linker");
        test(&name, needs(compiler).or_else(|| missing_linker(linker)), move || keys_are_bound(way))
    }));
    tests.extend(RARE.map(|way| {
        let compiler = way.split(' ').next().expect("a compiler");
        test(&format!("what is rare stands behind all else, {way}"), needs(compiler), move || rare_is_behind(way))
    }));
    run(tests)
}

const LANGUAGES: [[&str; 3]; 8] = [
    ["gcc", "-xc", "-std=c11"],
    ["clang", "-xc", "-std=c11"],
    ["clang", "-xc", "-std=gnu17"],
    ["g++", "-xc++", "-std=c++11"],
    ["g++", "-xc++", "-std=c++17"],
    ["g++", "-xc++", "-std=c++20"],
    ["clang++", "-xc++", "-std=c++11"],
    ["clang++", "-xc++", "-std=c++17"],
];
const OPTIMISATIONS: [&str; 5] = ["-O0", "-O1", "-O2", "-O3", "-Os"];
const MODELS: [&str; 3] = ["-fPIE", "-fPIC", "-fno-pie"];
/// Where no site can be, or no IFUNC; where the assembler reads another syntax.
const OTHERS: [&str; 5] = [
    "-O2 -fno-pie -mcmodel=large",
    "-O2 -fPIC -mcmodel=large",
    "-O2 -DINVAR_PORTABLE",
    "-O2 -DINVAR_NO_IFUNC",
    "-O2 -fPIE -masm=intel",
];

/// Compiler and options; how it is linked; by what.
const WAYS: [[&str; 3]; 16] = [
    ["gcc -O1 -masm=intel", "", "-fuse-ld=bfd"],
    ["gcc -O2", "", "-fuse-ld=bfd"],
    ["gcc -O0", "-no-pie -fno-pie", "-fuse-ld=bfd"],
    ["gcc -O2 -flto", "", "-fuse-ld=bfd"],
    ["gcc -O2", "-static", "-fuse-ld=bfd"],
    ["gcc -Os", "-static-pie", "-fuse-ld=bfd"],
    ["gcc -O2 -ffunction-sections", "-Wl,--gc-sections", "-fuse-ld=gold"],
    ["gcc -O3", "-static", "-fuse-ld=gold"],
    ["clang -O2", "", "-fuse-ld=lld"],
    ["clang -O2 -ffunction-sections", "-Wl,--gc-sections", "-fuse-ld=lld"],
    ["clang -O0", "-static", "-fuse-ld=lld"],
    ["clang -O3", "-static-pie", "-fuse-ld=mold"],
    ["g++ -xc++ -O2", "", "-fuse-ld=mold"],
    ["clang++ -xc++ -O2", "-no-pie -fno-pie", "-fuse-ld=lld"],
    ["g++ -xc++ -O0", "-static", "-fuse-ld=bfd"],
    ["musl-gcc -O2", "-static", "-fuse-ld=bfd"],
];

/// Compilers and options for what only C++ has.
const OBJECTS: [&str; 5] = [
    "g++ -std=c++11 -O0",
    "g++ -std=c++17 -O2",
    "clang++ -std=c++11 -O0",
    "clang++ -std=c++17 -O2 -fuse-ld=lld",
    "clang++ -std=c++20 -Os -static",
];

/// Compilers that are told what is rare.
const RARE: [&str; 3] = ["gcc -O2", "gcc -O3", "clang -O2"];

const SOURCES: [&str; 2] = ["keys.c", "elsewhere.c"];

/// The same for tests that need libinvar to bind something.
fn needs(compiler: &str) -> Option<String> {
    sites().or_else(|| missing("make")).or_else(|| missing(compiler))
}

fn sources() -> [String; 2] {
    SOURCES.map(|name| format!("{}/tests/programs/c/{name}", env!("CARGO_MANIFEST_DIR")))
}

/// Builds the program of `tests/programs/c`; with libinvar, or without.
fn build(name: &str, [words, how, linker]: [&str; 3], with: bool) -> PathBuf {
    let path = scratch().join(format!("c-{}", name.replace([' ', '=', ','], "")));
    let mut command = compiler(words);
    command
        .args(how.split_ascii_whitespace())
        .args(sources())
        .arg("-xnone")
        .args([linker, "-Wl,--as-needed", "-o"])
        .arg(&path);
    if with {
        command.arg(format!("-L{}", libinvar().display())).args(LINK);
    }
    must(&mut command);
    path
}

/// What it says: before the report, each line by its name; then the report.
fn story(program: &mut Command) -> (BTreeMap<String, String>, String) {
    let output = String::from_utf8(must(program).stdout).expect("text");
    let (facts, report) = output.split_once("\nmodule ").unwrap_or((&output, ""));
    let facts = facts.lines().map(|line| line.split_once('\t').unwrap_or((line, "")));
    (facts.map(|(name, value)| (name.into(), value.into())).collect(), report.into())
}

fn keys_are_bound(way: [&'static str; 3]) {
    let program = build(&way.join(" "), way, true);
    let run = |settings: &[(&str, &str)]| {
        story(command(&program).env("LD_LIBRARY_PATH", libinvar()).envs(settings.iter().copied()))
    };
    for (settings, keys, times) in [
        (&[][..], "wide some 1 1", "21"),
        (&[("INVAR_KEYS", "slice=force")], "wide some 1 1", "21"),
        (&[("INVAR_KEYS", "c_wide=off,c_mode=none")], "0 0", "14"),
        (&[("INVAR", "off")], "0 0", "14"),
    ] {
        let (facts, report) = run(settings);
        let said = format!("{settings:?} {facts:#?}\n{report}");
        assert_eq!((&*facts["keys"], &*facts["times"], &*facts["sections"]), (keys, times, "34"), "{said}");
        assert_eq!(&*facts["early"], if times == "21" { "1" } else { "0" }, "{said}");
        assert_eq!(
            (&*facts["libinvar"], &*facts["no key"]),
            ("there", "no module has decided a key of this name"),
            "{said}"
        );
        let program = report.split("\nmodule ").next().expect("the program comes first");
        assert!(program.starts_with("(program) at ") && !program.contains("libinvar is not there"), "{said}");
        let sites: Vec<_> = program.lines().filter(|line| line.starts_with("  site ")).collect();
        assert!(sites.len() >= 9, "{said}");
        let expected = if settings == [("INVAR", "off")] { ": checked" } else { ": bound to " };
        assert!(sites.iter().all(|site| site.contains(expected)), "{said}");
        assert_eq!(
            program.matches("\n  key slice = ").count(),
            1,
            "one key, however many object files have it: {said}"
        );
        assert!(program.contains("slice enter slice") && program.contains("slice leave slice"), "{said}");
    }
    let required = command(&program).env("LD_LIBRARY_PATH", libinvar()).env("INVAR", "require").output().unwrap();
    let absent = String::from_utf8_lossy(&required.stderr).contains("the slice extension is absent");
    assert!(required.status.code() == Some(invar::EXIT_REQUIRED) && absent || run(&[]).1.contains("key slice = on"));
    let (facts, _) = run(&[]);
    assert_eq!((&*facts["elsewhere"], &*facts["key"]), ("3", "0 says so"));

    // Without libinvar, every site is as the compiler left it, and means the same.
    if !way[1].contains("static") {
        let alone = build(&format!("{}-alone", way.join(" ")), way, false);
        let (facts, _) = story(&mut command(&alone));
        let expected = [
            ("early", "1"),
            ("keys", "wide some 1 1"),
            ("times", "21"),
            ("elsewhere", "3"),
            ("sections", "34"),
            ("libinvar", "not there"),
        ];
        assert_eq!(facts, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}

fn objects() -> String {
    format!("{}/tests/programs/c/objects.cc", env!("CARGO_MANIFEST_DIR"))
}

fn objects_are_in_between(way: &str) {
    let program = scratch().join(format!("c-objects-{}", way.replace([' ', '=', '+'], "")));
    let link = format!("-L{}", libinvar().display());
    must(compiler(way).arg(objects()).arg("-o").arg(&program).arg(link).args(LINK));
    for (settings, expected) in [
        (&[][..], ["46", "5 5", "7", "1 8", "3 1 21", "9"]),
        (&[("INVAR_KEYS", "slice=force")], ["46", "5 5", "7", "1 8", "3 1 21", "9"]),
        (&[("INVAR", "off")], ["0", "4 5", "0", "1 8", "0 0 14", "-1"]),
    ] {
        let (facts, report) =
            story(command(&program).env("LD_LIBRARY_PATH", libinvar()).envs(settings.iter().copied()));
        let found = ["locked", "both", "thrown", "jumps", "others", "kept"].map(|name| &*facts[name]);
        assert_eq!(found, expected, "{settings:?} {report}");
        let program = report.split("\nmodule ").next().expect("the program comes first");
        let left: Vec<_> =
            program.lines().filter(|line| line.contains(" site ") && !line.contains(": bound")).collect();
        assert!(!settings.is_empty() && settings[0].1 == "off" || left.is_empty(), "{left:?}");
    }
}

/// Off, no jump is on the way: what follows each site is not one that goes around the rare code.
fn rare_is_behind(way: &str) {
    let program = scratch().join(format!("c-rare-{}", way.replace([' ', '+'], "")));
    let source = format!("{}/tests/programs/c/rare.c", env!("CARGO_MANIFEST_DIR"));
    must(compiler(way).arg(source).arg("-o").arg(&program));
    let image = Image::read(&program);
    let records = image.site_records();
    assert!(records.len() >= 5, "{records:?}");
    for record in records {
        let next = image.at(record.site + u64::from(record.length), 5);
        let goes_around = (next[0] == 0xeb && next[1] < 0x80) || (next[0] == 0xe9 && next[4] < 0x80);
        assert!(!goes_around, "{way}: a jump forward behind {record:?}");
    }
    // On where libinvar is not there to set it, so that the checked form goes through the rare code and back.
    assert_eq!(command(&program).status().unwrap().code(), Some(0), "{way}");
}

/// Keys are what their probes say.
fn keys_are_decided_without_sites(compiler: &str, emulator: &[&str]) {
    let way = [compiler, "", "-Wl,--as-needed"];
    let program = build(&format!("portable-{}", way[0]), way, false);
    let [program, arguments @ ..] = &*[emulator, &[program.to_str().unwrap()]].concat() else { unreachable!() };
    let (facts, _) = story(command(program).args(arguments));
    let expected = [("early", "1"), ("keys", "wide some 1 1"), ("times", "21"), ("elsewhere", "3"), ("sections", "34")];
    for (name, value) in expected {
        assert_eq!(facts[name], value, "{facts:?}");
    }
}

/// And that of symbols, which `copy.c` has.
/// Each language meets each optimisation, and the languages together meet each optimisation with each model.
fn header_is_clean(at: usize, &[program, language, standard]: &[&str; 3]) {
    let symbols = format!("{}/tests/programs/c/copy.c", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = sources().into_iter().chain([symbols]).chain((language == "-xc++").then(objects)).collect();
    let ways = OPTIMISATIONS.iter().enumerate().flat_map(|(nth, level)| {
        let chosen =
            MODELS.iter().enumerate().filter(move |(model, _)| full_matrix() || *model == (nth + at) % MODELS.len());
        chosen.map(move |(_, model)| format!("{level} {model}"))
    });
    for options in ways.chain(OTHERS.map(String::from)) {
        for source in &files {
            let flags = "-pedantic -Wall -Wextra -Wshadow -Wundef -Werror -c -o /dev/null";
            must(compiler(&format!("{program} {language} {standard} {options} {flags}")).arg(source));
        }
    }
}

/// The names that a library exports, each with the number of its version.
fn exports(elf: &goblin::elf::Elf<'_>) -> BTreeMap<String, u16> {
    let versions = elf.versym.as_ref().expect("versions");
    let defined = elf.dynsyms.iter().enumerate().filter(|(_, symbol)| symbol.st_shndx != 0);
    let name = |at| elf.dynstrtab.get_at(at).expect("a name").to_owned();
    defined.map(|(at, symbol)| (name(symbol.st_name), versions.get_at(at).expect("a version").vs_val)).collect()
}

/// What both libraries are: small but for what tells debuggers about them, and never unloaded.
fn library(name: &str, limit: usize, parse: impl FnOnce(&goblin::elf::Elf<'_>)) {
    let stripped = Temporary::path(name);
    must(Command::new("strip").arg("-o").arg(&stripped.0).arg(libinvar().join(name)));
    let bytes = std::fs::read(&stripped.0).unwrap();
    println!("{name}: {} bytes", bytes.len());
    assert!(bytes.len() <= limit, "more than {limit}");
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    assert_eq!(elf.soname, Some(name));
    assert!(elf.program_headers.iter().any(|header| header.p_type == goblin::elf::program_header::PT_GNU_RELRO));
    let flags = elf.dynamic.as_ref().map_or(0, |dynamic| dynamic.info.flags_1);
    assert_ne!(flags & goblin::elf::dynamic::DF_1_NOW, 0);
    assert_ne!(flags & goblin::elf::dynamic::DF_1_NODELETE, 0, "the kernel writes to its memory, threads begin in it");
    parse(&elf);
}

/// It has no tables for unwinding, but frame pointers.
fn backtraces_go_through_libinvar() {
    let program = build("backtrace", ["gcc", "-O1 -g", "-Wl,--as-needed"], true);
    let mut gdb = command("gdb");
    gdb.args(["-batch", "-nx", "-ex", "break probe_mode", "-ex", "run", "-ex", "backtrace"]).arg(&program);
    let said = String::from_utf8(must(gdb.env("LD_LIBRARY_PATH", libinvar())).stdout).unwrap();
    let places = ["probe_mode (", " invar_load (", " in invar2_load_this_module_ (", " in _start ("];
    let found = places.map(|place| said.rfind(place));
    assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{found:?} in {said}");
}

fn what_the_hook_is() {
    library("libinvar-hook.so.0", 20 << 10, |elf| {
        assert_eq!(elf.libraries, ["libinvar.so.0", "libc.so.6"]);
        // Without a version, so that they are found for every version that is asked for.
        let expected = ["invar_hook", "pthread_create", "thrd_create"].map(|name| (name.to_owned(), 1));
        assert_eq!(exports(elf), expected.into());
    });
}

fn what_it_is() {
    let mut exported = BTreeMap::new();
    library("libinvar.so.0", 107 << 10, |elf| {
        assert_eq!(elf.libraries, ["libc.so.6"]);
        exported = exports(elf);
    });
    assert!(exported.values().all(|&version| version == 2), "all of the first version: {exported:?}");
    assert!(exported.remove("INVAR_0").is_some(), "its name");
    let exported: BTreeSet<_> = exported.keys().map(String::as_str).collect();
    let header = std::fs::read_to_string(format!("{CAPI}/include/invar.h")).unwrap();
    let declared = names_declared(&header);
    assert_eq!(exported, declared, "exported, and declared in the header");

    // What stands behind the macros is not for people.
    let internal: BTreeSet<_> = header.split("for this file alone").nth(1).map(names_declared).expect("a heading");
    let manual = std::fs::read_to_string(format!("{CAPI}/man/invar.3")).unwrap();
    let synopsis = manual.split(".SH SYNOPSIS").nth(1).and_then(|rest| rest.split(".SH").next()).expect("a synopsis");
    let functions = synopsis.split(['"', ' ', '*', '\n']).filter_map(|word| word.split_once('(').map(|(name, _)| name));
    let described: BTreeSet<_> = functions.filter(|name| name.to_lowercase().starts_with("invar_")).collect();
    let symbols = std::fs::read_to_string(format!("{CAPI}/include/invar-ifunc.h")).unwrap();
    // Those with a _ or a number behind are nobody's business.
    let macros =
        header.lines().chain(symbols.lines()).filter_map(|line| line.strip_prefix("#define ")?.split_once('('));
    let is_public =
        |name: &&str| !name.contains(' ') && !name.starts_with("invar_key_") && name.ends_with(char::is_alphabetic);
    let macros = macros.map(|(name, _)| name).filter(is_public);
    let public: BTreeSet<_> = exported.difference(&internal).copied().chain(macros).chain(["invar_evidence"]).collect();
    assert_eq!(described, public, "described in invar(3), and in the headers");
    for name in public {
        assert!(manual.matches(name).count() >= 2, "{name} stands in the synopsis only");
    }
    for (name, _, _) in invar::SETTINGS {
        let manual = std::fs::read_to_string(format!("{CAPI}/man/invar.7")).unwrap();
        assert!(manual.contains(&format!(".BR {name} =")), "{name} is not in invar(7)");
    }
}

/// The names of the functions that a part of the header declares.
fn names_declared(header: &str) -> BTreeSet<&str> {
    let declarations = header.split("\nINVAR_API ").skip(1);
    declarations.filter_map(|declaration| declaration.split('(').next()?.rsplit([' ', '*']).next()).collect()
}

/// The root of what `make install` installs.
fn install(name: &str, settings: &[&str]) -> PathBuf {
    let root = scratch().join(format!("capi-{name}-root"));
    let _ = std::fs::remove_dir_all(&root);
    libinvar();
    make("capi", &[&["install", "PREFIX=/usr", &format!("DESTDIR={}", root.display())], settings].concat());
    root
}

/// The words that pkg-config has for what is installed there.
fn pkg_config(root: &Path, package: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", root.join("usr/lib/pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", root);
    let said = String::from_utf8(must(command.args(arguments).arg(package)).stdout).unwrap();
    said.split_ascii_whitespace().map(String::from).collect()
}

fn installed() {
    let root = install("installed", &[]);
    let files = |root: &Path| {
        let found =
            must(Command::new("find").args([".", "!", "-type", "d", "-printf", "%P %#m %l\n"]).current_dir(root));
        let found = String::from_utf8(found.stdout).unwrap();
        found.lines().map(|line| line.trim_end().to_owned()).collect::<BTreeSet<_>>()
    };
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        "include/invar-ifunc.h 0644",
        "include/invar.h 0644",
        "lib/cmake/invar/invar-config-version.cmake 0644",
        "lib/cmake/invar/invar-config.cmake 0644",
        "lib/libinvar-hook-needed.o 0644",
        "lib/libinvar-hook.a 0644",
        "lib/libinvar-hook.so 0644",
        &format!("lib/libinvar-hook.so.0 0777 libinvar-hook.so.{version}"),
        &format!("lib/libinvar-hook.so.{version} 0755"),
        &format!("lib/libinvar-preload.so.0 0777 libinvar-preload.so.{version}"),
        &format!("lib/libinvar-preload.so.{version} 0755"),
        "lib/libinvar-needed.o 0644",
        "lib/libinvar.a 0644",
        "lib/libinvar.so 0644",
        &format!("lib/libinvar.so.0 0777 libinvar.so.{version}"),
        &format!("lib/libinvar.so.{version} 0755"),
        "lib/pkgconfig/invar-hook.pc 0644",
        "lib/pkgconfig/invar.pc 0644",
        "share/man/man1/invar.1 0644",
        "share/man/man3/invar.3 0644",
        "share/man/man7/invar.7 0644",
    ];
    assert_eq!(files(&root), expected.map(|file| format!("usr/{file}")).into());
    let program = root.join("program");
    let mut cc = Command::new("cc");
    let flags = pkg_config(&root, "invar", &["--cflags", "--libs"]);
    must(cc.args(["-O2", "-Wl,--as-needed"]).args(sources()).args(flags).arg("-lm").arg("-o").arg(&program));
    let (facts, _) = story(command(&program).env("LD_LIBRARY_PATH", root.join("usr/lib")));
    assert_eq!(facts["libinvar"], "there");
    assert_eq!(needed(&program), ["libinvar.so.0", "libc.so.6"]);
    let mut cc = Command::new("cc");
    let flags = pkg_config(&root, "invar-hook", &["--cflags", "--libs"]);
    must(cc.args(["-O2", "-Wl,--as-needed"]).args(sources()).args(flags).arg("-lm").arg("-o").arg(&program));
    assert_eq!(needed(&program), ["libinvar-hook.so.0", "libinvar.so.0", "libc.so.6"]);
    assert_eq!(pkg_config(&root, "invar", &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let moved = pkg_config(&root, "invar", &["--define-variable=prefix=/moved", "--cflags", "--libs"]);
    for (option, folder) in [("-I", "/moved/include"), ("-L", "/moved/lib")] {
        assert!(moved.iter().any(|word| word.starts_with(option) && word.ends_with(folder)), "{moved:?}");
    }
}

/// The libraries that a program names.
fn needed(program: &Path) -> Vec<String> {
    let bytes = std::fs::read(program).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    elf.libraries.iter().map(|name| name.to_string()).collect()
}

/// Whether a program has the archive's wrappers; libgcc has one for the other function.
fn are_threads_wrapped(program: &Path) -> bool {
    let bytes = std::fs::read(program).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    elf.syms
        .iter()
        .any(|symbol| elf.strtab.get_at(symbol.st_name) == Some("__wrap_thrd_create") && symbol.st_shndx != 0)
}

/// By the options that are for static links, also where the only call is libstdc++'s, which the compiler puts behind all others.
fn static_threads_are_wrapped() {
    let root = install("static", &[]);
    let source = root.join("thread.cc");
    std::fs::write(
        &source,
        "#include <invar.h>\n#include <cstdio>\n#include <thread>\n\
         int main() { int x = 0; std::thread([&] { x = 1; }).join(); std::printf(\"%d\\n\", x); }\n",
    )
    .unwrap();
    let program = root.join("thread");
    let mut cxx = Command::new("c++");
    let flags = pkg_config(&root, "invar-hook", &["--static", "--cflags", "--libs"]);
    must(cxx.args(["-O2", "-static"]).arg(&source).args(&flags).arg("-o").arg(&program));
    assert!(are_threads_wrapped(&program));
    let said = must(command(&program).env("INVAR_KEYS", "slice=force").env("INVAR_REPORT", "stderr"));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "1\n");
    assert!(String::from_utf8_lossy(&said.stderr).contains("key slice = on (forced)"), "{said:?}");

    // With the wrappers alone, which find no library to ask.
    let flags = flags.into_iter().filter(|flag| flag != "-linvar" && !flag.contains("invar_load"));
    must(Command::new("c++").args(["-O2", "-static"]).arg(&source).args(flags).arg("-o").arg(&program));
    assert!(are_threads_wrapped(&program));
    let said = must(command(&program).env("INVAR_REPORT", "stderr"));
    assert_eq!((&*said.stdout, &*said.stderr), (&b"1\n"[..], &b""[..]));
}

/// In a module of their own, and in one that has tables of both versions, whichever comes first.
fn the_first_version_is_left_alone(words: &str, linker: &str) {
    let folder = Temporary::path("versions");
    std::fs::create_dir(&folder.0).unwrap();
    let at = |name: &str| folder.0.join(name);
    let source = |name: &str| format!("{}/tests/programs/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let compiler = || compiler(&format!("{words} -O2 -Wall -Wextra -Werror"));
    let linked = format!("-fuse-ld={linker}");
    let object = |name: &str, options: &[&str]| {
        let path = at(&format!("{name}.o"));
        must(compiler().arg("-c").args(options).arg(source(name)).arg("-o").arg(&path));
        path
    };
    let library = at("libfirst.so");
    let shared = ["-DWHERE=in_library", "-shared", "-fPIC", &*linked];
    must(compiler().args(shared).arg(source("first")).arg("-o").arg(&library));
    let (first, both) = (object("first", &["-DWHERE=in_program"]), object("both", &[]));
    // The compiler's words say which language sources are in; objects are in none.
    let link = || {
        let mut link = Command::new(words.split(' ').next().unwrap());
        link.arg(&linked).arg(format!("-L{}", libinvar().display()));
        link
    };
    for (number, order) in [[&first, &both], [&both, &first]].into_iter().enumerate() {
        for library_first in [true, false] {
            let program = at(&format!("both-{number}-{library_first}"));
            let mut link = link();
            link.args(order);
            if library_first {
                link.arg(&library).args(LINK);
            } else {
                link.args(LINK).arg(&library);
            }
            must(link.arg("-o").arg(&program));
            let path = format!("{}:{}", folder.0.display(), libinvar().display());
            let output = must(command(&program).env("LD_LIBRARY_PATH", &path));
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.starts_with("1 0 0\n"), "{order:?}: {said}");
            // Once in a process, whichever of its modules says it.
            let loaded = must(command(&program).env("LD_LIBRARY_PATH", &path).env("INVAR_REPORT", "stderr"));
            let loaded = String::from_utf8_lossy(&loaded.stderr).into_owned();
            assert_eq!(loaded.matches("are of version 1 of the site ABI, and left alone\n").count(), 2, "{loaded}");
            assert!(said.contains(" 1 sites, 1 bound ") && said.contains("key second = on"), "{order:?}: {said}");
            assert!(!said.contains("key first"), "{order:?}: {said}");
            // Both modules that have them, and nothing else is said of the library.
            let of_others = |path: &str| {
                let line = said
                    .lines()
                    .find(|line| line.starts_with(&format!("module {path} ")) && line.contains(" version "));
                line.is_some_and(|line| line.ends_with(": its tables are of version 1 of the site ABI, and left alone"))
            };
            assert!(of_others("(program)") && of_others(library.to_str().unwrap()), "{order:?}: {said}");
            assert_eq!(
                (said.matches("libfirst").count(), said.matches("left alone").count()),
                (1, 2),
                "{order:?}: {said}"
            );
        }
    }
}

/// What they say, in C; here without counts and with them.
fn arguments_are_looked_at() {
    let program = scratch().join("c-arguments");
    let mut cc = compiler("cc -std=c11 -O1 -Wall -Wextra -Werror");
    let source = format!("{}/tests/programs/c/arguments.c", env!("CARGO_MANIFEST_DIR"));
    must(cc.arg(source).arg(format!("-L{}", libinvar().display())).args(LINK).arg("-o").arg(&program));
    for counted in [false, true] {
        let mut program = command(&program);
        program.env("LD_LIBRARY_PATH", libinvar());
        if counted {
            program.arg("counted").env("INVAR_SLICE", "count").env("INVAR_KEYS", "slice=force");
        }
        let (facts, report) = story(&mut program);
        assert_eq!(facts.keys().collect::<Vec<_>>(), ["looked"], "{facts:#?} {report}");
        // Longer than what is written at once, and whole.
        let evidence = report.lines().find_map(|line| line.strip_prefix("  key c_after = on (probe): "));
        assert_eq!(evidence, Some(&"0123456789".repeat(24)[..238]), "{report}");
        assert!(report.contains("key c_beyond = off (failed): the probe's value is none that the key has"), "{report}");
        assert!(report.lines().last().is_some_and(|line| line.contains("branch slice == on, ")), "{report}");
    }
}

/// The example as it stands, in a folder of its own, with the installed library.
fn example_is_copied() {
    let root = install("example", &[]);
    let folder = root.join("copy");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["Makefile", "counter.c"] {
        std::fs::copy(format!("{CAPI}/examples/counter/{file}"), folder.join(file)).unwrap();
    }
    let mut build = Command::new("make");
    build.current_dir(&folder).env_remove("MAKEFLAGS");
    must(build.env("PKG_CONFIG_PATH", root.join("usr/lib/pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &root));
    let libraries = root.join("usr/lib");
    let run = |name: &str, value: &str| {
        let output = must(command(folder.join("counter")).env("LD_LIBRARY_PATH", &libraries).env(name, value));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run("CHATTY", "1").0, "done\n1000\n");
    let (said, report) = run("INVAR_REPORT", "stderr");
    assert_eq!(said, "1000\n");
    assert!(report.contains("branch chatty == on, 10 bytes: bound to off"), "{report}");
}

fn example_in_the_manual() {
    let manual = std::fs::read_to_string(format!("{CAPI}/man/invar.3")).unwrap();
    let text =
        manual.split(".SH EXAMPLES\n.nf\n").nth(1).and_then(|rest| rest.split("\n.fi").next()).expect("an example");
    let source = scratch().join("c-manual.c");
    std::fs::write(&source, text.replace("\\-", "-") + "\nint main(void) { return spins() != 10; }\n").unwrap();
    let program = source.with_extension("");
    must(compiler("cc -O2 -Wall -Wextra -Werror").arg(&source).arg("-o").arg(&program));
    must(&mut command(program));
}

const PATCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/capi/examples/postgresql/invar.patch");

fn patch_is_short() {
    let patch = std::fs::read_to_string(PATCH).unwrap();
    let files: Vec<_> = patch.lines().filter(|line| line.starts_with("+++ ")).collect();
    assert_eq!(files, ["+++ b/src/include/storage/s_lock.h"]);
    let changed = patch.lines().filter(|line| line.starts_with(['+', '-']));
    let changed = changed.filter(|line| !line.starts_with("+++ ") && !line.starts_with("--- ")).count();
    assert!((1..=10).contains(&changed), "{changed} lines");
}

/// PostgreSQL's source as `capi/examples/postgresql/build FOLDER` left it, or why there is none.
fn postgresql() -> Result<PathBuf, String> {
    let folder =
        std::env::var_os("INVAR_POSTGRESQL").ok_or("INVAR_POSTGRESQL names no folder of the example's `build`")?;
    let source = Path::new(&folder).join("source");
    source.is_dir().then_some(source).ok_or_else(|| format!("no source in {}", folder.display()))
}

fn patch_applies() {
    let source = postgresql().expect("there when the tests were listed");
    let mut patch = Command::new("patch");
    must(patch.args(["-p1", "--dry-run", "--fuzz=0", "--batch", "-i", PATCH, "-d"]).arg(source));
}

/// With CMake, both the shared library and the archive; where distributions with folders for each architecture have them, and
/// moved since.
fn cmake_finds_it() {
    let installed = install("cmake", &["LIBDIR=/usr/lib/x86_64-linux-gnu"]);
    let root = installed.with_file_name("capi-cmake moved");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::rename(installed, &root).unwrap();
    let project = root.join("project");
    std::fs::create_dir_all(&project).unwrap();
    let sources = sources().join(" ");
    let version = env!("CARGO_PKG_VERSION");
    let lists = format!(
        "cmake_minimum_required(VERSION 3.18)\nproject(example C)\nfind_package(invar {version} REQUIRED)\n\
         add_executable(shared {sources})\ntarget_link_libraries(shared invar::invar m)\n\
         add_executable(archive {sources})\ntarget_link_libraries(archive invar::static)\n\
         add_executable(hook {sources})\ntarget_link_libraries(hook invar::hook m)\n\
         add_executable(hook-archive {sources})\ntarget_link_libraries(hook-archive invar::hook-static)\n"
    );
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", root.join("usr").display());
    let configure = |lists: &str| {
        std::fs::write(project.join("CMakeLists.txt"), lists).unwrap();
        let mut cmake = Command::new("cmake");
        cmake.args(["-S", ".", "-B", "build", &prefix, "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed"]);
        cmake.current_dir(&project).output().unwrap()
    };
    let newer = lists.replace(&format!("invar {version}"), "invar 99.0");
    assert!(!configure(&newer).status.success(), "there is no 99.0");
    std::fs::remove_dir_all(project.join("build")).unwrap();
    let configured = configure(&lists);
    assert!(configured.status.success(), "{configured:?}");
    must(Command::new("cmake").args(["--build", "build"]).current_dir(&project).env_remove("MAKEFLAGS"));
    for name in ["shared", "archive", "hook", "hook-archive"] {
        let (facts, report) = story(&mut command(project.join("build").join(name)));
        assert_eq!((&*facts["keys"], &*facts["libinvar"]), ("wide some 1 1", "there"), "{name}: {report}");
    }
    assert_eq!(needed(&project.join("build/shared")), ["libinvar.so.0", "libc.so.6"]);
    assert_eq!(needed(&project.join("build/archive")), ["libc.so.6"]);
    assert_eq!(needed(&project.join("build/hook")), ["libinvar-hook.so.0", "libinvar.so.0", "libc.so.6"]);
    assert_eq!(needed(&project.join("build/hook-archive")), ["libc.so.6"]);
    assert!(are_threads_wrapped(&project.join("build/hook-archive")));
    assert!(!are_threads_wrapped(&project.join("build/archive")));
}

fn preloaded() {
    let program = build("preloaded", ["cc -O2", "", "-Wl,-z,now"], false);
    let (facts, report) = story(command(&program).env("LD_PRELOAD", libinvar().join("libinvar.so.0")));
    assert_eq!((&*facts["keys"], &*facts["libinvar"]), ("wide some 1 1", "there"), "{report}");
}

/// Builds `threads.c`, linked with libinvar in the ordinary way or not.
fn threads(name: &str, options: &[&str], with: bool) -> PathBuf {
    let path = scratch().join(format!("c-threads-{name}"));
    let mut cc = compiler("cc -std=c11 -O2 -pthread");
    cc.arg(format!("{}/tests/programs/c/threads.c", env!("CARGO_MANIFEST_DIR"))).args(options).arg("-o").arg(&path);
    if with {
        cc.arg(format!("-L{}", libinvar().display())).args(LINK);
    }
    must(&mut cc);
    path
}

/// Its threads return what they return, whoever stands in front of the C library. Returns the report.
fn threads_return(program: &mut Command) -> String {
    let (facts, report) = story(program.env("INVAR_KEYS", "slice=force"));
    for (name, value) in [("returned", "1"), ("exited", "2"), ("counted", "7"), ("refused", "1"), ("many", "1000")] {
        assert_eq!(facts[name], value, "{name}: {report}");
    }
    let listed = (!report.is_empty()).then_some("0 1 1 1");
    assert_eq!(facts.get("listed").map(String::as_str), listed, "{facts:?}");
    report
}

const HOOK_LIBRARY: &str = "libinvar-hook.so.0";

/// And the report says who does.
fn threads_are_enrolled_at_creation() {
    const IN_FRONT: &str = "key slice.hook = on (probe): threads are enrolled when they are created";
    let linked = threads("linked", &HOOK, true);
    let alone = threads("alone", &[], false);
    let report = threads_return(command(&linked).env("LD_LIBRARY_PATH", libinvar()));
    assert!(report.contains(IN_FRONT), "{report}");
    let report = threads_return(command(&alone).env("LD_LIBRARY_PATH", libinvar()).env("LD_PRELOAD", HOOK_LIBRARY));
    assert!(report.contains(IN_FRONT), "{report}");
    threads_return(&mut command(&alone));
    // Without the hook nobody stands in between.
    let without = threads("without", &[], true);
    let report = threads_return(command(&without).env("LD_LIBRARY_PATH", libinvar()));
    assert!(report.contains("key slice = on (forced)") && !report.contains("slice.hook"), "{report}");

    let front = scratch().join("libin-front.so");
    let in_front = format!("{}/tests/programs/c/in_front.c", env!("CARGO_MANIFEST_DIR"));
    must(Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&front).arg(in_front));
    let report = threads_return(command(&linked).env("LD_LIBRARY_PATH", libinvar()).env("LD_PRELOAD", &front));
    let expected =
        format!("key slice.hook = off (probe): in front of this pthread_create stands that of {}", front.display());
    assert!(report.contains(&expected), "{report}");

    threads_return(&mut command(threads("static", &["-static"], true)));
    // Nothing asks for the library here.
    let archive = libinvar().join("libinvar-hook.a");
    let wraps = ["-static", "-Wl,--wrap=pthread_create,--wrap=thrd_create", archive.to_str().unwrap()];
    threads_return(&mut command(threads("wrappers", &wraps, false)));
}

fn threads_are_wrapped_by(linker: &str) {
    let (linked, wraps) = (format!("-fuse-ld={linker}"), static_options());
    let options: Vec<_> = ["-static", &linked].into_iter().chain(wraps.iter().map(String::as_str)).collect();
    let program = threads(&format!("wrapped-{linker}"), &options, true);
    assert!(are_threads_wrapped(&program));
    threads_return(&mut command(program));
}

/// Builds `ends.cpp`.
fn ends(name: &str, options: &[&str], with: bool) -> PathBuf {
    let path = scratch().join(format!("c-ends-{name}"));
    let mut cc = compiler("g++ -std=c++17 -O1 -Wall -Wextra -Werror -pthread");
    cc.arg(format!("{}/tests/programs/c/ends.cpp", env!("CARGO_MANIFEST_DIR"))).args(options).arg("-o").arg(&path);
    if with {
        cc.arg("-DREPORT").arg(format!("-L{}", libinvar().display())).args(LINK);
    }
    must(&mut cc);
    path
}

/// What it says, and the report.
fn how_threads_end(program: &mut Command) -> (String, String) {
    let settings = [("INVAR_KEYS", "slice=force"), ("ASAN_OPTIONS", "detect_leaks=0")];
    let said = String::from_utf8(must(program.env("LD_LIBRARY_PATH", libinvar()).envs(settings)).stdout).unwrap();
    let (facts, report) = said.split_once("module ").unwrap_or((&said, ""));
    (facts.to_owned(), report.to_owned())
}

/// By exceptions, `pthread_exit` and cancellation, which unwind their stacks; in C++.
fn threads_end_as_they_do_without_it() {
    let alone = ends("alone", &[], false);
    let (expected, _) = how_threads_end(&mut command(&alone));
    assert_eq!(expected.lines().count(), 11, "{expected}");
    let preloaded = how_threads_end(command(&alone).env("LD_PRELOAD", HOOK_LIBRARY));
    assert_eq!(preloaded.0, expected, "preloaded");
    let (said, report) = how_threads_end(&mut command(ends("linked", &HOOK, true)));
    assert_eq!(said, expected, "linked: {report}");
    assert!(report.contains("key slice.hook = on"), "{report}");
    let wraps = static_options();
    let options: Vec<_> = ["-static"].into_iter().chain(wraps.iter().map(String::as_str)).collect();
    assert_eq!(how_threads_end(&mut command(ends("wrapped", &options, true))).0, expected, "wrapped");
}

/// The same with a sanitizer in front.
fn threads_end_as_they_do_behind_a_sanitizer() {
    let (expected, _) = how_threads_end(&mut command(ends("alone-of-asan", &[], false)));
    let (said, report) = how_threads_end(&mut command(ends("asan", &["-fsanitize=address", HOOK[0]], true)));
    assert_eq!(said, expected, "{report}");
    let in_front = report.lines().find(|line| line.contains("key slice.hook = off (probe): in front of"));
    assert!(in_front.expect("a line").contains("/libasan.so"), "{report}");
}

fn no_sanitizer() -> Option<String> {
    let asan = Command::new("g++").arg("-print-file-name=libasan.so").output();
    (!asan.is_ok_and(|output| output.stdout.starts_with(b"/"))).then(|| "g++ has no libasan.so".into())
}

/// Children of `fork` have the same thread pointer, and are told apart all the same.
fn forked_processes_are_counted_apart() {
    let program = scratch().join("c-forks");
    let source = format!("{}/tests/programs/c/forks.c", env!("CARGO_MANIFEST_DIR"));
    let mut cc = compiler("cc -std=c11 -D_GNU_SOURCE -O1 -fno-unroll-loops");
    must(cc.arg(source).arg(format!("-L{}", libinvar().display())).args(LINK).arg("-o").arg(&program));
    let profile = Temporary::path("profile");
    let settings = [("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", "profile")];
    let mut forks = command(&program);
    must(forks.env("LD_LIBRARY_PATH", libinvar()).envs(settings).env("INVAR_PROFILE", &profile.0));
    let table = std::fs::read(&profile.0).unwrap();
    // docs/profile.md: requests, and how many are in the histogram, of each site.
    let number = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
    let sites = (0..1024).map(|at| 327_936 + 512 * at).filter(|&at| number(at) != 0);
    let held = |at: usize| table[at + 128..at + 512].chunks(4).map(|n| u32::from_le_bytes(n.try_into().unwrap())).sum();
    let mut found: Vec<(u64, u32)> = sites.map(|at| (number(at + 8), held(at))).collect();
    found.sort();
    assert_eq!(found, [(60_000, 60_000), (600_000, 600_000)]);
}

fn sections_are_counted() {
    let program = build("counted", ["cc -O2", "", "-Wl,-z,now"], true);
    let profile = scratch().join(format!("c-profile-{}", std::process::id()));
    let settings = [("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", "profile")];
    let mut command = command(&program);
    let (facts, report) =
        story(command.env("LD_LIBRARY_PATH", libinvar()).envs(settings).env("INVAR_PROFILE", &profile));
    assert_eq!(facts["sections"], "34", "{report}");
    let table = std::fs::read(&profile).unwrap();
    std::fs::remove_file(&profile).unwrap();
    // docs/profile.md: the requests of each site.
    let number = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
    let sites = (0..1024).map(|at| 327_936 + 512 * at).filter(|&at| number(at) != 0);
    let mut requests: Vec<_> = sites.map(|at| number(at + 8)).collect();
    requests.sort();
    // Once elsewhere; four times in a loop, which the compiler may have unrolled.
    assert_eq!(requests.iter().sum::<u64>(), 5, "{requests:?} {report}");
    assert!(report.contains("slice enter slice, ") && report.contains("checked"), "{report}");
}

/// Nobody yields: where the key is forced there is no call for it.
fn grants_and_losses_are_counted_apart() {
    let program = scratch().join("c-counts");
    let source = format!("{}/tests/programs/c/counts.c", env!("CARGO_MANIFEST_DIR"));
    let mut cc = compiler("cc -std=c11 -O1 -Wall -Wextra -Werror");
    must(cc.arg(source).arg(format!("-L{}", libinvar().display())).args(LINK).arg("-o").arg(&program));
    let mut counts = command(&program);
    counts.env("LD_LIBRARY_PATH", libinvar()).envs([("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", "count")]);
    let (facts, report) = story(&mut counts);
    assert_eq!(facts["counts"], "9 requests, 3 grants, 0 yields, 4 lost", "{facts:?} {report}");
}
