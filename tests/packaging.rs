//! libinvar as a packager builds it and as a build tool links it: what `make` takes, what `make install` leaves, every
//! linker and tool that may drop what nothing refers to; which compilers and dependencies serve; which system calls a
//! filter must let pass.

mod common;

use common::c::{CAPI, HOOK, LINK, compiler, libinvar, make, missing, missing_linker, must, places, without_cargos};
use common::{ANYWHERE, EMULATOR, command, missing_emulator, missing_target, output, run, scratch, sites, test};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let mut tests = vec![
        test("what is built does not depend on the folder", needs("make"), built_in_another_folder),
        test("what is built, make install installs, and builds nothing", needs("make"), installed_as_it_is),
        test("nothing is installed where nothing was built", needs("make"), nothing_to_install),
        test("folders with spaces, and nothing left", needs("pkg-config"), folders_with_spaces),
        test("a folder that make cannot build in is refused", needs("make"), folders_that_make_cannot_use),
        test("a packager's flags are heeded", needs("make"), flags_are_heeded),
        test("make check tries what was built", needs("make"), checked),
        test("stripped on demand only", needs("make"), stripped_on_demand),
        test("returns are for shadow stacks", needs("make"), returns_are_for_shadow_stacks),
        test("built for AArch64", needs("make").or_else(missing_emulator).or_else(no_aarch64), built_for_aarch64),
        test("linked by libtool", needs("pkg-config").or_else(|| missing("libtool")), linked_by_libtool),
        test("linked by meson", needs("ninja").or_else(|| missing("meson")), linked_by_meson),
        test("linked by CMake, told by pkg-config", needs("pkg-config").or_else(|| missing("cmake")), linked_by_cmake),
        test("bound when stripped", needs("make"), bound_when_stripped),
        test("invar(7) lists every system call", ANYWHERE, system_calls_are_listed),
        test("and no other is made", needs("strace"), no_other_system_calls),
        test("libinvar is built with the oldest libc that serves", ANYWHERE, oldest_libc),
        test("invar-lock wants no newer Rust than lock_api does", ANYWHERE, rust_version_of_the_locks),
        test("what is published says what it is", ANYWHERE, published_ones_are_described),
        test("packages hold what users need, and no more", ANYWHERE, packages_hold_what_users_need),
    ];
    tests.extend(["bfd", "gold", "lld", "mold"].map(|linker| {
        let missing = needs("make").or_else(|| missing_linker(linker));
        test(&format!("-linvar alone links it, {linker}"), missing, move || linked_by(linker))
    }));
    tests.extend(packages().into_iter().map(|(name, manifest, version)| {
        let missing = sites().or_else(|| no_toolchain(&version));
        let is_published = is_published(&manifest);
        let from = if is_published { ", from its package" } else { "" };
        let title = format!("{name} is built by Rust {version}{from}");
        test(&title, missing, move || {
            let unpacked = || unpacked().join(&name);
            built_by(&name, &if is_published { unpacked() } else { manifest }, is_published, &version)
        })
    }));
    run(tests)
}

/// Once is enough: libinvar is not built as these tests are.
fn needs(tool: &str) -> Option<String> {
    sites().or_else(|| missing("make")).or_else(|| missing("cc")).or_else(|| missing(tool))
}

fn no_aarch64() -> Option<String> {
    missing_target(AARCH64)
}

const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// What is built to be installed.
const BUILT: [&str; 7] = [
    "libinvar.so.0",
    "libinvar.a",
    "libinvar-needed.o",
    "libinvar-hook.so.0",
    "libinvar-hook.a",
    "libinvar-hook-needed.o",
    "libinvar-preload.so.0",
];

/// A folder of this name, empty.
fn empty(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Where it is installed, once for all tests.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let root = empty("packaged");
        libinvar();
        make("capi", &["install", &format!("PREFIX={}", root.display())]);
        root
    })
}

/// What a command that fails says.
fn refusal(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "{command:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn built_in_another_folder() {
    let copy = empty("another folder").join("deeper");
    std::fs::create_dir_all(&copy).unwrap();
    let mut copying = Command::new("cp");
    must(
        copying
            .args(["-R", "Cargo.toml", "build.rs", "src", "abi", "arch", "docs"])
            .arg(&copy)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    std::fs::create_dir(copy.join("capi")).unwrap();
    let files =
        ["Cargo.toml", "Cargo.lock", "Makefile", "invar.map", "hook.map", "runtime", "src", "preload", "include"];
    must(Command::new("cp").arg("-R").args(files).arg(copy.join("capi")).current_dir(CAPI));

    let build = empty("built-elsewhere");
    let mut elsewhere = without_cargos("make");
    elsewhere.arg("-C").arg(copy.join("capi")).arg(format!("BUILD={}", build.display()));
    must(elsewhere.arg(format!("CARGO={}", env!("CARGO"))));
    for name in BUILT {
        let [here, there] = [libinvar(), &build].map(|folder| std::fs::read(folder.join(name)).unwrap());
        assert!(here == there, "{name} depends on the folder in which it was built");
        let said = |path: &[u8]| here.windows(path.len()).any(|window| window == path);
        assert!(!said(env!("CARGO_MANIFEST_DIR").as_bytes()) && !said(b"/registry/src"), "{name} names a folder");
    }
}

fn installed_as_it_is() {
    const BUILD_ID: &str = "0x0123456789abcdef";
    make("capi-flagged", &[&format!("LDFLAGS=-Wl,--build-id={BUILD_ID}")]);
    let before = contents(&scratch().join("capi-flagged"));
    let library = &before[Path::new("libinvar.so.0")];
    assert!(library.windows(8).any(|bytes| bytes == b"\x01\x23\x45\x67\x89\xab\xcd\xef"), "not linked with LDFLAGS");

    let root = empty("capi-flagged-root");
    // Whatever would be called to build fails.
    let nobody = ["CARGO=false", "CC=false", "LD=false", "AR=false", "OBJCOPY=false", "PREFIX=/usr"];
    let destination = format!("DESTDIR={}", root.display());
    must(
        without_cargos("make")
            .args(["-C", CAPI])
            .args(places("capi-flagged"))
            .args(nobody)
            .args(["install", &destination]),
    );
    assert_eq!(contents(&scratch().join("capi-flagged")).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for name in BUILT {
        assert!(std::fs::read(root.join("usr/lib").join(name)).unwrap() == before[Path::new(name)], "{name}");
    }
}

/// The files of a folder, each with what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

fn nothing_to_install() {
    let root = empty("capi-nothing-root");
    empty("capi-nothing");
    for goal in ["install", "check"] {
        let destination = format!("DESTDIR={}", root.display());
        let mut make = without_cargos("make");
        let said = refusal(make.args(["-C", CAPI, goal, &destination]).args(places("capi-nothing")));
        assert!(said.contains("libinvar.so.0 is not built: run make, with no target, before"), "{said}");
    }
    assert!(contents(&root).is_empty() && contents(&scratch().join("capi-nothing")).is_empty());
}

fn folders_with_spaces() {
    let root = empty("a stage");
    libinvar();
    let settings = [format!("DESTDIR={}", root.display()), "PREFIX=/opt/two words".into()];
    let settings = settings.each_ref().map(String::as_str);
    make("capi", &[&["install"], &settings[..]].concat());
    let prefix = root.join("opt/two words");
    let found = contents(&prefix);
    assert!(found.contains_key(Path::new("lib/libinvar.so.0")) && found.contains_key(Path::new("include/invar.h")));
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    let said = String::from_utf8(must(pkg_config.args(["--cflags", "--libs", "invar-hook"])).stdout).unwrap();
    let words = [r"-I/opt/two\ words/include", r"-L/opt/two\ words/lib", HOOK[0], LINK[0], LINK[1]];
    assert_eq!(said.trim_end(), words.join(" "));
    make("capi", &[&["uninstall"], &settings[..]].concat());
    assert!(contents(&root).is_empty(), "{:?}", contents(&root).keys());
}

/// Whatever is to be done, and before anything is. (Not with make -C: then make does not see the path.)
fn folders_that_make_cannot_use() {
    let folder = empty("two words");
    let link = folder.join("capi");
    std::os::unix::fs::symlink(CAPI, &link).unwrap();
    let (makefile, build) = (link.join("Makefile"), folder.join("build"));
    let words = |name: &str, path: &Path| format!("{name}={}", path.display());
    let told = |arguments: &[&str]| {
        let mut make = without_cargos("make");
        make.current_dir(scratch()).arg("CARGO=false").args(arguments);
        let said = refusal(&mut make);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    for goal in ["all", "check", "install", "clean"] {
        let said = told(&["-f", makefile.to_str().unwrap(), goal]);
        assert!(said.contains("this Makefile's path has a space in it: use make -C FOLDER"), "{said}");
        for name in ["BUILD", "CARGO_TARGET"] {
            let said = told(&["-C", CAPI, goal, &words(name, &build)]);
            assert!(said.contains("BUILD and CARGO_TARGET must be paths without a space"), "{said}");
        }
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "something was built");
}

/// As sections and build ids show.
fn flags_are_heeded() {
    let flags = ["CPPFLAGS=-DINVAR_PORTABLE", "CFLAGS=-O1"];
    make("capi-flags", &flags);
    let elf = |name: &str, see: &dyn Fn(&[&str])| {
        let bytes = std::fs::read(scratch().join(name).join("libinvar-hook.so.0")).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        let names = elf.section_headers.iter().filter_map(|header| elf.shdr_strtab.get_at(header.sh_name));
        see(&names.collect::<Vec<_>>());
    };
    libinvar();
    elf("capi", &|names| assert!(names.contains(&".debug_info") && names.contains(&"invar2_keys"), "{names:?}"));
    elf("capi-flags", &|names| {
        assert!(!names.contains(&".debug_info"), "CFLAGS: {names:?}");
        assert!(!names.contains(&"invar2_keys"), "CPPFLAGS: {names:?}");
    });
    // Others, and it is built again; the same, and it is not.
    let library = scratch().join("capi-flags/libinvar-hook.so.0");
    let time = || library.metadata().unwrap().modified().unwrap();
    let before = time();
    make("capi-flags", &flags);
    assert_eq!(time(), before);
    make("capi-flags", &["CPPFLAGS=", "CFLAGS=-O1"]);
    elf("capi-flags", &|names| assert!(names.contains(&"invar2_keys"), "{names:?}"));
}

fn checked() {
    let copy = empty("capi-checked");
    libinvar();
    for name in BUILT.into_iter().chain(["libinvar.so", "libinvar-hook.so"]) {
        must(Command::new("cp").arg("-P").arg(libinvar().join(name)).arg(&copy));
    }
    let check = || {
        let mut check = without_cargos("make");
        check.args(["-C", CAPI, "check"]).args(places("capi-checked"));
        check
    };
    must(&mut check());
    // A library that does nothing.
    let source = copy.join("nothing.c");
    std::fs::write(&source, "int invar_load(const void *module) { return module == 0; }\n").unwrap();
    let words = ["-shared", "-fPIC", "-Wl,-soname,libinvar.so.0", "-o"];
    must(Command::new("cc").args(words).arg(copy.join("libinvar.so.0")).arg(&source));
    let said = refusal(&mut check());
    assert!(said.contains("libinvar is not there, or of another version than invar.h"), "{said}");
}

/// The names of the sections of a file that was installed.
fn sections(path: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(path).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let names = elf.section_headers.iter().filter_map(|header| elf.shdr_strtab.get_at(header.sh_name));
    names.map(String::from).collect()
}

fn stripped_on_demand() {
    let library = format!("lib/libinvar.so.{}", env!("CARGO_PKG_VERSION"));
    let found = sections(&installed().join(&library));
    assert!(found.contains(".symtab") && found.contains(".debug_line"), "{found:?}");
    let line = std::fs::read(installed().join(&library)).unwrap();
    assert!(line.windows(12).any(|bytes| bytes == b"src/probe.rs" || bytes.starts_with(b"settings.rs")), "no lines");

    let root = empty("capi-stripped-root");
    make("capi", &["install-strip", &format!("PREFIX={}", root.display())]);
    let found = sections(&root.join(&library));
    assert!(!found.contains(".symtab") && !found.contains(".debug_line"), "{found:?}");
    let program = root.join("program");
    must(linked(&program).arg(root.join("lib/libinvar.a")).arg("-Wl,-u,invar_load"));
    assert_eq!(must(&mut command(&program)).stdout, b"1 with\n");
}

/// x86 feature SHSTK (System V ABI for x86-64, "Program Property").
fn returns_are_for_shadow_stacks() {
    const FEATURE_1_AND: u32 = 0xc000_0002;
    const SHSTK: u32 = 1 << 1;
    for name in ["libinvar.so.0", "libinvar-hook.so.0"] {
        let bytes = std::fs::read(libinvar().join(name)).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        let mut notes = elf.iter_note_sections(&bytes, Some(".note.gnu.property")).expect("properties");
        let note = notes.next().expect("a note").unwrap();
        let word = |at: usize| u32::from_le_bytes(note.desc[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(8) & SHSTK), (FEATURE_1_AND, SHSTK), "{name}");
    }
}

fn built_for_aarch64() {
    let target = format!("CARGO_BUILD_TARGET={AARCH64}");
    make("capi-aarch64", &[&target]);
    for name in ["libinvar.so.0", "libinvar-hook.so.0"] {
        let bytes = std::fs::read(scratch().join("capi-aarch64").join(name)).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        assert_eq!((elf.header.e_machine, elf.soname), (goblin::elf::header::EM_AARCH64, Some(name)));
    }
    make("capi-aarch64", &["check", &target, &format!("EMULATOR={}", EMULATOR.join(" "))]);
}

fn source() -> String {
    format!("{}/tests/programs/c/linked.c", env!("CARGO_MANIFEST_DIR"))
}

/// Builds the program, which needs nothing; what it is linked with is to be added.
fn linked(program: &Path) -> Command {
    let mut cc = compiler("cc -O1 -Wl,--as-needed -ffunction-sections -Wl,--gc-sections");
    cc.arg(source()).arg("-o").arg(program);
    cc
}

/// Whether a program or library that was linked needs it.
fn assert_needed(file: &Path) {
    assert_needs(file, "libinvar.so.0");
}

fn assert_needs(file: &Path, library: &str) {
    let bytes = std::fs::read(file).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    assert!(elf.libraries.contains(&library), "{} needs {:?}", file.display(), elf.libraries);
}

/// Whether this program finds it.
fn assert_there(program: &Path) {
    let said = must(command(program).env("LD_LIBRARY_PATH", installed().join("lib"))).stdout;
    assert_eq!(String::from_utf8_lossy(&said), "1 with\n");
}

/// By the words that everybody tries first, and by those of pkg-config.
fn linked_by(linker: &str) {
    let program = scratch().join(format!("packaged-{linker}"));
    for words in [&["-linvar"][..], &LINK, &["-linvar-hook", "-linvar"]] {
        for how in [&["-fPIE", "-pie"][..], &["-fno-pie", "-no-pie"], &["-shared", "-fPIC", "-Wl,-z,defs"]] {
            let folder = format!("-L{}", installed().join("lib").display());
            must(linked(&program).arg(format!("-fuse-ld={linker}")).args(how).arg(folder).args(words));
            assert_needed(&program);
            if words[0] == HOOK[0] {
                assert_needs(&program, "libinvar-hook.so.0");
            }
            if how[0] != "-shared" {
                assert_there(&program);
            }
        }
    }
}

/// The words of pkg-config.
fn options() -> Vec<String> {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig")).args(["--cflags", "--libs", "invar"]);
    let said = String::from_utf8(must(&mut pkg_config).stdout).unwrap();
    said.split_ascii_whitespace().map(String::from).collect()
}

/// A program, and a library that a program is linked to.
fn linked_by_libtool() {
    let folder = empty("packaged-libtool");
    let libtool = |words: &str, more: &[String]| {
        let mut libtool = Command::new("libtool");
        libtool.current_dir(&folder).args(["--tag=CC", "--silent"]).args(words.split(' ')).args(more);
        must(&mut libtool);
    };
    let alone = [format!("-L{}", installed().join("lib").display()), "-linvar".to_owned()];
    libtool("--mode=compile cc -O1 -c -o linked.lo", &[&options()[..1], &[source()]].concat());
    for words in [options(), alone.into()] {
        libtool("--mode=link cc -Wl,--as-needed -o program linked.lo", &words);
        assert_needed(&folder.join("program"));
        assert_there(&folder.join("program"));
        libtool("--mode=link cc -Wl,--as-needed -rpath /usr/lib -o liblinked.la linked.lo", &words);
        assert_needed(&folder.join(".libs/liblinked.so"));
    }
}

fn linked_by_meson() {
    let folder = empty("packaged-meson");
    must(Command::new("cp").arg(source()).arg(folder.join("linked.c")));
    let project = "project('linked', 'c')\n\
                   executable('program', 'linked.c', dependencies: dependency('invar'))\n\
                   shared_library('linked', 'linked.c', dependencies: dependency('invar'))\n\
                   executable('hooked', 'linked.c', dependencies: dependency('invar-hook'))\n";
    std::fs::write(folder.join("meson.build"), project).unwrap();
    let mut setup = without_cargos("meson");
    must(setup.args(["setup", "build"]).current_dir(&folder).env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig")));
    must(without_cargos("ninja").args(["-C", "build"]).current_dir(&folder));
    for name in ["program", "hooked"] {
        assert_needed(&folder.join("build").join(name));
        assert_there(&folder.join("build").join(name));
    }
    assert_needed(&folder.join("build/liblinked.so"));
    assert_needs(&folder.join("build/hooked"), "libinvar-hook.so.0");
}

/// What its own package does a test in `tests/capi.rs` tries.
fn linked_by_cmake() {
    let folder = empty("packaged-cmake");
    let lists = format!(
        "cmake_minimum_required(VERSION 3.18)\nproject(linked C)\nfind_package(PkgConfig REQUIRED)\n\
         pkg_check_modules(INVAR REQUIRED IMPORTED_TARGET invar)\nset(CMAKE_EXE_LINKER_FLAGS -Wl,--as-needed)\n\
         add_executable(program {0})\ntarget_link_libraries(program PkgConfig::INVAR)\n\
         add_executable(flags {0})\ntarget_include_directories(flags PRIVATE ${{INVAR_INCLUDE_DIRS}})\n\
         target_link_libraries(flags ${{INVAR_LDFLAGS}})\n",
        source()
    );
    std::fs::write(folder.join("CMakeLists.txt"), lists).unwrap();
    let mut cmake = without_cargos("cmake");
    must(cmake.args(["-B", "build"]).current_dir(&folder).env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig")));
    must(without_cargos("cmake").args(["--build", "build"]).current_dir(&folder));
    for name in ["program", "flags"] {
        assert_needed(&folder.join("build").join(name));
        assert_there(&folder.join("build").join(name));
    }
}

/// `strip` keeps what is loaded, and so the tables.
fn bound_when_stripped() {
    let program = scratch().join("packaged-stripped");
    must(linked(&program).arg(format!("-L{}", installed().join("lib").display())).args(LINK));
    must(Command::new("strip").arg("--strip-all").arg(&program));
    let mut program = command(&program);
    program.env("LD_LIBRARY_PATH", installed().join("lib")).env("INVAR_REPORT", "stderr");
    let report = String::from_utf8(must(&mut program).stderr).unwrap();
    let site = report.lines().find(|line| line.contains(" branch linked_here == on, "));
    assert!(site.is_some_and(|line| line.ends_with(": bound to on")), "{report}");
}

/// The names in a list of invar(7) that begins after these words.
fn listed(heading: &str) -> BTreeSet<String> {
    let manual = std::fs::read_to_string(format!("{CAPI}/man/invar.7")).unwrap();
    let list = manual.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading} in invar(7)"));
    let list = list.split("\n.").next().expect("a list");
    list.split([',', ' ', '\n', '.']).filter(|word| !word.is_empty()).map(String::from).collect()
}

const AT_LOAD: &str = ".\\\" calls at load\n";
const LATER: &str = ".\\\" calls later\n";

/// Those that the source names.
fn system_calls_are_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    for folder in ["src", "abi", "arch", "capi/src"] {
        for (path, bytes) in contents(&root.join(folder)) {
            let text = String::from_utf8(bytes).unwrap();
            let text = text.split("#[cfg(test)]\nmod").next().expect("one part at least");
            let rust = path.extension().is_some_and(|extension| extension == "rs");
            for name in text.split("SYS_").skip(1).filter(|_| rust) {
                let end = name.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(name.len());
                named.insert(name[..end].to_lowercase());
            }
        }
    }
    // On 32-bit machines; a name of a capability.
    let named: BTreeSet<_> = named.into_iter().filter(|name| !["mmap2", "admin"].contains(&&**name)).collect();
    let all: BTreeSet<_> = listed(AT_LOAD).union(&listed(LATER)).cloned().collect();
    assert_eq!(all, named, "listed, and in the source");
}

/// As the kernel sees them, each by the libraries that its caller's stack goes through.
fn no_other_system_calls() {
    let program = scratch().join("packaged-calls");
    must(linked(&program).arg(format!("-L{}", libinvar().display())).args(LINK));
    let calls = |settings: &[(&str, &str)], argument: &[&str]| {
        let log = common::Temporary::path("calls");
        let mut strace = command("strace");
        strace.args(["-f", "-k", "-o"]).arg(&log.0).arg(&program).args(argument);
        output(strace.env("LD_LIBRARY_PATH", libinvar()).envs(settings.iter().copied()));
        let text = String::from_utf8_lossy(&std::fs::read(&log.0).unwrap()).into_owned();
        let (mut found, mut name) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if line.starts_with(" > ") {
                if line.contains("/libinvar.so.0") {
                    found.insert(name.clone());
                }
            } else {
                // Its number, then NAME(...; or <... NAME resumed>..., if another one's came between.
                let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
                let call = call.strip_prefix("<... ").unwrap_or(call);
                // Not a process's end.
                if call.starts_with(char::is_alphabetic) {
                    name = call.split(['(', ' ']).next().unwrap_or_default().to_owned();
                }
            }
        }
        found
    };
    let (at_load, later) = (listed(AT_LOAD), listed(LATER));
    let plain = calls(&[], &[]);
    assert!(plain.contains("mmap") && plain.contains("openat"), "the stacks show who calls: {plain:?}");
    let others: Vec<_> = plain.difference(&at_load).collect();
    assert!(others.is_empty(), "{others:?} at load");
    for settings in [
        &[("INVAR_WRITER", "mprotect")][..],
        &[("INVAR_REPORT", "stderr"), ("INVAR", "require")],
        &[("INVAR_SLICE", "count"), ("INVAR_KEYS", "slice=force")],
    ] {
        let found = calls(settings, &["all"]);
        assert!(found.contains("ptrace") || settings.contains(&("INVAR", "require")), "the audit's: {found:?}");
        let others: Vec<_> = found.iter().filter(|name| !at_load.contains(*name) && !later.contains(*name)).collect();
        assert!(others.is_empty(), "{settings:?}: {others:?}");
    }
}

/// Each crate with the folder of its manifest and its rust-version.
fn packages() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")).map(String::from))?;
        line.split_once('"').map(|(value, _)| value.to_owned())
    };
    let workspace = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let common = field(&workspace, "rust-version").expect("of the workspace");
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).expect("members");
    let folders = members.split('"').skip(1).step_by(2).chain(["capi"]);
    let packages = folders.map(|folder| {
        let text = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap();
        let own = field(&text, "rust-version").unwrap_or_else(|| common.clone());
        (field(&text, "name").expect("a name"), root.join(folder), own)
    });
    packages.collect()
}

/// The crates that a registry gets, each by its name and its folder.
fn published() -> Vec<(String, PathBuf)> {
    let all = packages().into_iter().map(|(name, folder, _)| (name, folder));
    all.filter(|(_, folder)| is_published(folder)).collect()
}

fn is_published(folder: &Path) -> bool {
    !manifest(folder).contains("\npublish = false\n")
}

fn manifest(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("Cargo.toml")).unwrap()
}

fn published_ones_are_described() {
    let published = published();
    assert!(published.len() > 4, "{published:?}");
    for (name, folder) in published {
        let text = manifest(&folder);
        let manifest = text.split("[package]\n").nth(1).expect("a package");
        let (package, _) = manifest.split_once("\n[").expect("tables behind it");
        let field = |field: &str| {
            let mut lines = package.lines().filter(|line| line.split([' ', '.']).next() == Some(field));
            lines.next().unwrap_or_else(|| panic!("{name} has no {field}"))
        };
        for inherited in ["version", "edition", "license", "rust-version"] {
            field(inherited);
        }
        assert!(field("description").len() > 40, "{name}");
        assert_eq!(field("readme"), "readme = \"README.md\"", "{name}");
        assert_eq!(field("documentation"), format!("documentation = \"https://docs.rs/{name}\""));
        // As the registry wants them.
        let words = |name: &str| field(name).split('"').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
        let (keywords, categories) = (words("keywords"), words("categories"));
        assert!((1..=5).contains(&keywords.len()) && (1..=5).contains(&categories.len()), "{name}");
        let is_word = |word: &String| {
            word.len() <= 20
                && word.chars().all(|character| character.is_ascii_alphanumeric() || "_-+".contains(character))
        };
        assert!(keywords.iter().all(is_word), "{name}: {keywords:?}");
        let documented = "\n[package.metadata.docs.rs]\ntargets = [\"x86_64-unknown-linux-gnu\"]\n";
        assert!(text.contains(documented), "{name} says nothing to docs.rs");
    }
}

fn packages_hold_what_users_need() {
    let published = published();
    for (name, folder) in published {
        let mut cargo = without_cargos(env!("CARGO"));
        cargo.args(["package", "--list", "--allow-dirty", "--offline", "--package", &name]);
        let said = must(cargo.current_dir(env!("CARGO_MANIFEST_DIR"))).stdout;
        let said = String::from_utf8(said).unwrap();
        let files: BTreeSet<_> = said.lines().collect();
        for needed in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml", "Cargo.lock"] {
            assert!(files.contains(needed), "{name} has no {needed}: {files:?}");
        }
        // Also what is compiled on other machines only.
        let library = if folder.join("src").exists() { "src" } else { "" };
        for code in
            contents(&folder.join(library)).keys().filter(|path| path.extension().is_some_and(|end| end == "rs"))
        {
            let path = Path::new(library).join(code);
            assert!(files.contains(path.to_str().unwrap()), "{name} has no {path:?}");
        }
        let is_code = |file: &str| file.ends_with(".rs") && !file.split('/').any(|folder| folder == "tests");
        let is_told = |file: &str| !file.contains('/') || name == "invar-rt" && file.starts_with("docs/");
        let others: Vec<_> = files.iter().filter(|file| !is_code(file) && !is_told(file)).collect();
        assert!(others.is_empty(), "{name} holds {others:?}");
    }
}

/// A workspace of the published packages, as they were packed: each is built from what it holds and on the others' packages.
///
/// `cargo package` itself would build them on what it unpacked last time, since their versions are the same.
fn unpacked() -> &'static Path {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let published = published();
        let (packed, unpacked) = (empty("packed"), empty("unpacked"));
        let mut cargo = without_cargos(env!("CARGO"));
        cargo.args(["package", "--no-verify", "--allow-dirty", "--offline", "--target-dir"]).arg(&packed);
        cargo.args(published.iter().map(|(name, _)| format!("--package={name}")));
        must(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
        let mut workspace = "[workspace]\nmembers = [\"invar-*\"]\nresolver = \"3\"\n\n[patch.crates-io]\n".to_owned();
        for (name, _) in &published {
            let package = packed.join(format!("package/{name}-{}.crate", env!("CARGO_PKG_VERSION")));
            let folder = unpacked.join(name);
            std::fs::create_dir(&folder).unwrap();
            // With the time of this, by which cargo sees what is new.
            let mut tar = Command::new("tar");
            must(tar.args(["-xmz", "--strip-components=1", "-f"]).arg(&package).arg("-C").arg(&folder));
            workspace += &format!("{name} = {{ path = \"{name}\" }}\n");
        }
        std::fs::write(unpacked.join("Cargo.toml"), workspace).unwrap();
        std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"), unpacked.join("Cargo.lock")).unwrap();
        unpacked
    })
}

/// Toolchains as rustup calls them.
fn no_toolchain(version: &str) -> Option<String> {
    let there = |name: &str| {
        let mut rustup = Command::new("rustup");
        rustup.args(["run", name, "rustc", "--version"]).output().is_ok_and(|output| output.status.success())
    };
    (!there(&format!("{version}.0"))).then(|| format!("no Rust {version}: rustup toolchain install {version}.0"))
}

fn built_by(name: &str, folder: &Path, is_package: bool, version: &str) {
    let target = scratch().join(format!("rust-{version}"));
    let mut cargo = without_cargos("rustup");
    cargo.args(["run", &format!("{version}.0"), "cargo", "check", "--quiet", "--package", name]);
    // The lock file beside packages is the whole workspace's: what is not there any more goes.
    cargo.arg(if is_package { "--offline" } else { "--locked" });
    cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").current_dir(folder);
    if name == "invar-rt" {
        cargo.args(["--features", "hook,multiversion"]);
    }
    if name == "invar-capi" {
        cargo.arg("--release");
    }
    must(cargo.arg("--target-dir").arg(target));
}

/// Whose oldest version that serves is the one of the lock file.
fn rust_version_of_the_locks() {
    let mut cargo = without_cargos(env!("CARGO"));
    // Of one platform, since no build downloads what the others need.
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let words = ["metadata", "--format-version", "1", "--locked", "--offline"];
    let said = must(cargo.args(words).args(platform).current_dir(env!("CARGO_MANIFEST_DIR"))).stdout;
    let said = String::from_utf8(said).unwrap();
    let of = |name: &str, field: &str| {
        let package = said.split(&format!("{{\"name\":\"{name}\",\"version\":")).nth(1).expect("a package");
        let value = package.split(&format!("\"{field}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.expect("a field").to_owned()
    };
    assert_eq!(of("invar-lock", "rust_version"), of("lock_api", "rust_version"));
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/lock/Cargo.toml")).unwrap();
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let bound = manifest.split("\nlock_api = { version = \"").nth(1).and_then(|rest| rest.split('"').next());
    let locked = lock.split("name = \"lock_api\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    assert_eq!(locked, bound, "what is built with is the oldest");
}

fn oldest_libc() {
    let manifest = std::fs::read_to_string(format!("{CAPI}/Cargo.toml")).unwrap();
    let bound = manifest.split("\nlibc = { version = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("libc");
    let lock = std::fs::read_to_string(format!("{CAPI}/Cargo.lock")).unwrap();
    let locked = lock.split("name = \"libc\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    assert_eq!(locked, Some(bound));
    let workspace = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(workspace.contains(&format!("\nlibc = {{ version = \"{bound}\"")), "the runtime wants another one");
}
