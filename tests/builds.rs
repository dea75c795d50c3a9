//! However a program is built, none of its sites is lost and all of them are bound: profiles, link time
//! optimisation, linkers, relocation models.
//!
//! `cargo test` builds a choice: every two values of what rustc itself offers meet in one of nine builds, each other linker
//! makes one, and so does everything that puts more into the code, or leaves more in it. All 615 combinations, in about half
//! an hour:
//!
//! ```sh
//! INVAR_TEST_MATRIX=full cargo test --test builds
//! ```

mod common;

use common::elf::{self, Image};
use common::{
    ANYWHERE, BoundSite, Build, Temporary, c, command, full_matrix, missing_target, must, run, scratch, sites, tale,
    test,
};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let ways = if full_matrix() { all() } else { pairs().into_iter().chain(other_linkers()).chain(extras()).collect() };
    let mut tests: Vec<Trial> = ways.into_iter().map(Way::test).collect();
    let sanitizer = nightly_is_missing("a sanitizer in Rust");
    tests.push(test("with cargo-fuzz's flags and its address sanitizer", sites().or(sanitizer), || {
        nothing_is_lost(&fuzzed_and_sanitized().program("story"));
    }));
    for linker in if full_matrix() { &LINKERS[..] } else { &[Linker::RustLld, Linker::Gnu] } {
        let missing = || sites().or_else(|| linker.missing());
        let name = |name: &str| format!("{name}, {}", linker.name());
        tests.push(test(&name("a Rust dylib is bound"), missing(), move || a_dylib_is_bound(*linker)));
        let unlinked = move || what_a_dylib_has_no_form_for_is_not_linked(*linker);
        tests.push(test(&name("what a Rust dylib has no form for is not linked"), missing(), unlinked));
    }
    for linker in LINKERS {
        let missing = sites().or_else(|| linker.missing());
        tests.push(test(&format!("sites in Rust and C, {}", linker.name()), missing, move || in_rust_and_c(linker)));
    }
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    tests.push(test("with musl, in one file", sites().or_else(|| missing_target(&musl)), move || {
        nothing_is_lost(&Build::release().target(&musl, None).program("story"));
    }));
    tests.push(test("the choice has every pair", ANYWHERE, the_choice_has_every_pair));
    tests.push(test("the runtime adds no more to a library than is said", sites(), the_runtime_is_small));
    tests.push(test("a small library needs libc only", ANYWHERE, a_small_library_needs_libc_only));
    run(tests)
}

/// One way to build a program.
#[derive(Clone, Copy)]
struct Way {
    optimisation: &'static str,
    units: &'static str,
    lto: &'static str,
    panic: &'static str,
    linker: Linker,
    model: Model,
    extra: Extra,
}

/// What else a compiler puts into the code, or a linker leaves in it.
#[derive(Clone, Copy, PartialEq)]
enum Extra {
    Nothing,
    /// Counters for a profile, on edges.
    Profile,
    /// What cargo-fuzz asks for, without a sanitizer, which a stable rustc does not have.
    Fuzzing,
    /// Padding, so that no jump crosses 32 bytes. Intel, "Mitigations for Jump Conditional Code Erratum", 2.4.
    Boundaries,
    /// The same of more jumps, by the other way to ask for it.
    MoreBoundaries,
    /// What nobody calls, and all that debuggers read.
    DeadCode,
}

#[derive(Clone, Copy, PartialEq)]
enum Linker {
    /// The one that rustc brings along.
    RustLld,
    Gnu,
    Gold,
    Mold,
    Lld,
}

#[derive(Clone, Copy, PartialEq)]
enum Model {
    Pie,
    NoPie,
    Static,
}

const OPTIMISATIONS: [&str; 3] = ["0", "3", "s"];
const UNITS: [&str; 2] = ["1", "16"];
const LTO: [&str; 3] = ["off", "thin", "fat"];
const PANIC: [&str; 2] = ["unwind", "abort"];
const LINKERS: [Linker; 5] = [Linker::RustLld, Linker::Gnu, Linker::Gold, Linker::Mold, Linker::Lld];
const EXTRAS: [Extra; 5] = [Extra::Profile, Extra::Fuzzing, Extra::Boundaries, Extra::MoreBoundaries, Extra::DeadCode];
const MODELS: [Model; 3] = [Model::Pie, Model::NoPie, Model::Static];

/// Every two values of two columns, with the two linkers that a stable rustc has options for.
fn pairs() -> Vec<Way> {
    use Linker::{Gnu, RustLld};
    use Model::{NoPie, Pie, Static};
    vec![
        way("0", "16", "off", "unwind", RustLld, Pie),
        way("0", "1", "thin", "abort", Gnu, NoPie),
        way("0", "16", "fat", "abort", RustLld, Static),
        way("3", "1", "off", "abort", RustLld, NoPie),
        way("3", "16", "thin", "unwind", Gnu, Static),
        way("3", "1", "fat", "unwind", Gnu, Pie),
        way("s", "1", "off", "abort", Gnu, Static),
        way("s", "1", "thin", "abort", RustLld, Pie),
        way("s", "16", "fat", "unwind", RustLld, NoPie),
    ]
}

fn other_linkers() -> Vec<Way> {
    vec![
        way("3", "16", "off", "unwind", Linker::Gold, Model::Pie),
        way("s", "1", "off", "abort", Linker::Mold, Model::NoPie),
        way("3", "16", "fat", "unwind", Linker::Lld, Model::Static),
    ]
}

fn extras() -> Vec<Way> {
    vec![
        way("3", "16", "thin", "unwind", Linker::RustLld, Model::Pie).with(Extra::Profile),
        way("3", "1", "off", "unwind", Linker::RustLld, Model::Pie).with(Extra::Fuzzing),
        way("3", "16", "off", "abort", Linker::RustLld, Model::Pie).with(Extra::Boundaries),
        way("s", "1", "fat", "unwind", Linker::Gnu, Model::NoPie).with(Extra::MoreBoundaries),
        way("0", "16", "off", "unwind", Linker::RustLld, Model::Static).with(Extra::DeadCode),
    ]
}

fn way(
    optimisation: &'static str,
    units: &'static str,
    lto: &'static str,
    panic: &'static str,
    linker: Linker,
    model: Model,
) -> Way {
    Way { optimisation, units, lto, panic, linker, model, extra: Extra::Nothing }
}

fn the_choice_has_every_pair() {
    let columns = |way: &Way| {
        let (linker, model) = (way.linker.name(), way.model.name());
        [way.optimisation, way.units, way.lto, way.panic, linker, model]
    };
    let met: BTreeSet<_> = pairs()
        .iter()
        .flat_map(|way| {
            let values = columns(way);
            (0..6).flat_map(move |a| (a + 1..6).map(move |b| (a, values[a], b, values[b])))
        })
        .collect();
    for way in all().iter().filter(|way| matches!(way.linker, Linker::RustLld | Linker::Gnu)) {
        let values = columns(way);
        for (a, b) in (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b))) {
            assert!(met.contains(&(a, values[a], b, values[b])), "{} and {} never meet", values[a], values[b]);
        }
    }
}

fn all() -> Vec<Way> {
    let mut ways = Vec::new();
    for optimisation in OPTIMISATIONS {
        for units in UNITS {
            for lto in LTO {
                for panic in PANIC {
                    for linker in LINKERS {
                        for model in MODELS {
                            ways.push(way(optimisation, units, lto, panic, linker, model));
                        }
                    }
                }
            }
        }
    }
    // What is added has to do with how code is generated and linked, and with nothing else.
    for extra in EXTRAS {
        for (linker, lto) in LINKERS.into_iter().flat_map(|linker| LTO.map(|lto| (linker, lto))) {
            ways.push(way("3", "16", lto, "unwind", linker, Model::Pie).with(extra));
        }
    }
    ways
}

impl Extra {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Profile => ", counted for a profile",
            Self::Fuzzing => ", with cargo-fuzz's flags",
            Self::Boundaries => ", branches within boundaries",
            Self::MoreBoundaries => ", more branches within boundaries",
            Self::DeadCode => ", dead code kept",
        }
    }

    fn rustflags(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Profile => &["-Cprofile-generate"],
            // cargo-fuzz 0.13, src/project.rs.
            Self::Fuzzing => &[
                "-Cpasses=sancov-module",
                "-Cllvm-args=-sanitizer-coverage-level=4",
                "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
                "-Cllvm-args=-sanitizer-coverage-pc-table",
                "-Cllvm-args=-sanitizer-coverage-trace-compares",
                "--cfg=fuzzing",
                "-Ccodegen-units=1",
            ],
            Self::Boundaries => &["-Cllvm-args=-x86-branches-within-32B-boundaries"],
            Self::MoreBoundaries => &[
                "-Cllvm-args=-x86-align-branch-boundary=32",
                "-Cllvm-args=-x86-align-branch=fused+jcc+jmp+call+ret+indirect",
            ],
            Self::DeadCode => &["-Clink-dead-code", "-Cdebuginfo=2"],
        }
    }
}

impl Model {
    fn name(self) -> &'static str {
        match self {
            Self::Pie => "pie",
            Self::NoPie => "no-pie",
            Self::Static => "static",
        }
    }
}

impl Linker {
    fn name(self) -> &'static str {
        match self {
            Self::RustLld => "rust-lld",
            Self::Gnu => "bfd",
            Self::Gold => "gold",
            Self::Mold => "mold",
            Self::Lld => "lld",
        }
    }

    /// The build, by this linker.
    fn links(self, build: Build) -> Build {
        if self == Self::RustLld {
            return build;
        }
        build.rustflag("-Clinker-features=-lld").rustflag(format!("-Clink-arg=-fuse-ld={}", self.name()))
    }

    /// Whether it knows that what is ordered with a function is of no use without it (SHF_LINK_ORDER).
    fn drops_records(self) -> bool {
        matches!(self, Self::RustLld | Self::Lld)
    }

    /// Why it cannot be used here, from a try.
    fn missing(self) -> Option<String> {
        if self == Self::RustLld {
            return None;
        }
        let found = Command::new("cc")
            .args([&format!("-fuse-ld={}", self.name()), "-Wl,--version"])
            .current_dir(scratch())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        (!found).then(|| format!("cc has no linker {}", self.name()))
    }
}

impl Way {
    fn with(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    fn name(&self) -> String {
        let Self { optimisation, units, lto, panic, linker, model, extra } = self;
        let (linker, model, extra) = (linker.name(), model.name(), extra.name());
        format!("opt {optimisation}, units {units}, lto {lto}, panic {panic}, {linker}, {model}{extra}")
    }

    fn build(&self) -> Build {
        let mut build = Build::release()
            .named(&self.name())
            .setting("opt-level", self.optimisation)
            .setting("codegen-units", self.units)
            .setting("lto", self.lto)
            .setting("panic", self.panic)
            .setting("debug-assertions", if self.optimisation == "0" { "true" } else { "false" });
        for flag in self.extra.rustflags() {
            build = build.rustflag(*flag);
        }
        build = self.linker.links(build);
        match self.model {
            Model::Pie => build,
            Model::NoPie => build.rustflag("-Crelocation-model=static"),
            Model::Static => build.rustflag("-Ctarget-feature=+crt-static"),
        }
    }

    fn test(self) -> Trial {
        let missing = sites().or_else(|| self.linker.missing());
        test(&self.name(), missing, move || {
            let program = self.build().program("story");
            nothing_is_lost(&program);
            // What counts for a profile refers to every function that it counts.
            let kept = matches!(self.extra, Extra::DeadCode | Extra::Profile);
            let dropped = self.linker.drops_records() && !kept;
            assert!(!(dropped && has_idle_table(&program)), "a function that nobody calls is kept by its site");
        })
    }
}

/// Whether the program has what only a function of its dependency needs that nobody calls.
fn has_idle_table(program: &Path) -> bool {
    const MARK: &[u8] = b"needed by a function that nobody calls";
    std::fs::read(program).unwrap().windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// Why there is nothing here that only a nightly rustc has.
fn nightly_is_missing(what: &str) -> Option<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-V").output().expect("rustc");
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!version.contains("nightly")).then(|| format!("{what} needs a nightly rustc, and this is {version}"))
}

fn fuzzed_and_sanitized() -> Build {
    let build = Build::release().named("fuzzed and sanitized").rustflag("-Zsanitizer=address");
    Extra::Fuzzing.rustflags().iter().fold(build, |build, flag| build.rustflag(*flag))
}

fn dylib(linker: Linker) -> Build {
    linker.links(Build::release().named(&format!("dylib {}", linker.name()))).rustflag("-Cprefer-dynamic")
}

/// Every site of the library is bound, also for a private key, and nothing of the runtime's is anybody else's.
fn a_dylib_is_bound(linker: Linker) {
    let library = dylib(linker).library("shared");
    let program = dylib(linker).program("sharing");
    let folders = [library.parent().unwrap(), &target_libraries()].map(|folder| folder.display().to_string());
    let tale = tale(command(&program).env("LD_LIBRARY_PATH", folders.join(":")));
    tale.assert_consistent();
    let library = tale.module("libshared.so");
    library.assert_bound();
    assert!(library.sites >= 6, "{library:#?}");
    for key in ["shared.private", "shared.public", "dependency.ready", "cpu.popcnt", "slice"] {
        library.key(key);
    }
    // Symbols are called by any module, and by the library itself.
    for from in ["inside", "outside"] {
        assert_eq!(tale.results[&format!("symbols {from}")], "3 103");
    }
    let of_symbol = |name: &str| library.key(name).evidence.split([',', ' ']).nth(1).map(String::from);
    assert_eq!(of_symbol("shared_by_cpu").as_deref(), Some(if invar_arch::IFUNC { "IFUNC" } else { "ordinary" }));
    assert_eq!(of_symbol("shared_by_key").as_deref(), Some("ordinary"));
    let path = dylib(linker).library("shared");
    let names = elf::exported(&std::fs::read(path).unwrap());
    let ours: Vec<_> = names.iter().filter(|name| name.starts_with("__") || name.starts_with("invar_")).collect();
    // GNU gold has thread-local memory of its own among them.
    assert!(ours.iter().all(|name| *name == "invar_area"), "{ours:?}");
}

/// A site of the library's key that is compiled into the program; a key of the program, which would have no runtime; and a symbol
/// by its path, which is its name inside the library.
fn what_a_dylib_has_no_form_for_is_not_linked(linker: Linker) {
    for (feature, name) in [
        ("ask", "PUBLIC"),
        ("own", "invar2_is_to_be_linked_into_every_module_that_has_keys"),
        ("path", "__invar_symbol_shared_by_cpu"),
    ] {
        let build = dylib(linker).named(&format!("dylib {feature} {}", linker.name()));
        let said = build.argument("--features").argument(feature).fails("sharing");
        assert!(said.contains("linking with") && said.contains(name), "{said}");
    }
}

/// Where rustc's own libraries are.
fn target_libraries() -> PathBuf {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--print", "target-libdir"])
        .output()
        .expect("rustc");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// One table of what both compilers left, in one link.
fn in_rust_and_c(linker: Linker) {
    let object = Temporary::path("mixed.o");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/mixed.c");
    must(c::compiler("cc -O2 -fPIC").args(["-c", source, "-o"]).arg(&object.0));
    let build = Build::release().named(&format!("mixed {}", linker.name()));
    let build = linker.links(build).link_argument(object.0.display()).link_argument("-Wl,--undefined=mixed_sites");
    let program = build.program("adaptive");
    let tale = tale(&mut command(&program));
    let module = tale.program();
    module.assert_bound();
    module.key("mixed_c");
    let of_c = |site: &BoundSite| site.key == "mixed_c";
    let in_c = module.bindings.iter().filter_map(|binding| binding.site.as_ref()).filter(|site| of_c(site)).count();
    assert!(in_c == 2 && module.sites > in_c, "{module:#?}");
}

/// Runs the program, and looks for sites in its code that are not in its table.
fn nothing_is_lost(program: &Path) {
    // Where it is compiled to be profiled, the profile is not asked for.
    let tale = tale(command(program).env("LLVM_PROFILE_FILE", "/dev/null"));
    tale.assert_consistent();
    tale.program().assert_bound();
    for key in ["story.on", "story.off", "story.width", "story.failing", "story.counted", "slice", "dependency.ready"] {
        tale.program().key(key);
    }
    let image = Image::read(program);
    let records: BTreeSet<_> = image.site_records().iter().map(|record| record.site).collect();
    for site in compares(&image) {
        assert!(records.contains(&site), "a compare at {site:#x} has no record");
    }
    // Each of these has at least one, in functions that are not inlined: near, far, generic (2), spaces (3), counted (3 each of
    // 2), count (2), bystander, width (2), section (2), long_section (2), step (2), announce, ones; and both locks (2 each).
    assert!(records.len() >= 30, "{} sites", records.len());
}

/// Every `rex cmp byte ptr [rip + state], value; jne` in the text whose state is that of a key of the program's.
fn compares(image: &Image) -> Vec<u64> {
    let mut states = BTreeSet::new();
    for key in image.key_records() {
        // The runtime's own code compares the time slice key as anybody may, and asks for no site.
        if key.name.starts_with("story.") || key.name == "dependency.ready" {
            states.insert(key.state);
        }
    }
    assert_eq!(states.len(), 7);
    let mut found = Vec::new();
    for (start, text) in image.text() {
        for (at, window) in text.windows(10).enumerate() {
            let address = start + at as u64;
            let displacement = i32::from_le_bytes(window[3..7].try_into().unwrap());
            let state = (address + 8).wrapping_add_signed(displacement.into());
            let jumps = window[8] == 0x75 || window[8..] == [0x0f, 0x85];
            if window[..3] == [0x40, 0x80, 0x3d] && states.contains(&state) && jumps {
                found.push(address);
            }
        }
    }
    assert!(!found.is_empty(), "no site in the text");
    found
}

/// What the runtime may add to a small library, in KiB, by the library's features: with keys of its own, with slices
/// too, with everything.
const LIMITS: [(&str, u64); 3] = [("bound", 44), ("slice", 56), ("all", 86)];

/// The small library with these features, built for size.
fn small(features: &str) -> Build {
    Build::small().named(&format!("small-{features}")).argument("--features").argument(features)
}

fn the_runtime_is_small() {
    let size = |features: &str| small(features).library("small").metadata().unwrap().len();
    let without = size("");
    let added = LIMITS.map(|(features, limit)| (features, size(features) - without, limit << 10));
    println!("\nadded to a library of {without} bytes");
    for (features, added, limit) in added {
        println!("  {features:10}{:8.1} KiB, limit {}", added as f64 / 1024.0, limit >> 10);
    }
    println!();
    assert!(added.iter().all(|&(_, added, limit)| added < limit), "{added:?}");
}

fn a_small_library_needs_libc_only() {
    let bytes = std::fs::read(small("all").library("small")).unwrap();
    assert_eq!(elf::needed(&bytes), ["libc.so.6"]);
}
