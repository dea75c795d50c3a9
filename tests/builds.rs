//! However a program is built, none of its sites is lost and all of them are bound: profiles, link time
//! optimisation, linkers, relocation models.
//!
//! `cargo test` builds a choice: every two values of what rustc itself offers meet in one of nine builds, and each
//! other linker makes one. All 540 combinations, in about half an hour:
//!
//! ```sh
//! INVAR_TEST_MATRIX=full cargo test --test builds
//! ```

mod common;

use common::elf::{self, Image};
use common::{ANYWHERE, Build, command, full_matrix, missing_target, run, scratch, sites, tale, test};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let ways = if full_matrix() { all() } else { pairs().into_iter().chain(other_linkers()).collect() };
    let mut tests: Vec<Trial> = ways.into_iter().map(Way::test).collect();
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    tests.push(test("with musl, in one file", sites().or_else(|| missing_target(&musl)), move || {
        nothing_is_lost(&Build::release().target(&musl, None).program("story"));
    }));
    tests.push(test("the choice has every pair", ANYWHERE, the_choice_has_every_pair));
    tests.push(test("the runtime adds less than 20 KiB to a library with keys", sites(), the_runtime_is_small));
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

fn way(
    optimisation: &'static str,
    units: &'static str,
    lto: &'static str,
    panic: &'static str,
    linker: Linker,
    model: Model,
) -> Way {
    Way { optimisation, units, lto, panic, linker, model }
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
                            ways.push(Way { optimisation, units, lto, panic, linker, model });
                        }
                    }
                }
            }
        }
    }
    ways
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
    fn name(&self) -> String {
        let Self { optimisation, units, lto, panic, linker, model } = self;
        let (linker, model) = (linker.name(), model.name());
        format!("opt {optimisation}, units {units}, lto {lto}, panic {panic}, {linker}, {model}")
    }

    fn build(&self) -> Build {
        let mut build = Build::release()
            .named(&self.name())
            .setting("opt-level", self.optimisation)
            .setting("codegen-units", self.units)
            .setting("lto", self.lto)
            .setting("panic", self.panic)
            .setting("debug-assertions", if self.optimisation == "0" { "true" } else { "false" });
        if self.linker != Linker::RustLld {
            build = build
                .rustflag("-Clinker-features=-lld")
                .rustflag(format!("-Clink-arg=-fuse-ld={}", self.linker.name()));
        }
        match self.model {
            Model::Pie => build,
            Model::NoPie => build.rustflag("-Crelocation-model=static"),
            Model::Static => build.rustflag("-Ctarget-feature=+crt-static"),
        }
    }

    fn test(self) -> Trial {
        let missing = sites().or_else(|| self.linker.missing());
        test(&self.name(), missing, move || nothing_is_lost(&self.build().program("story")))
    }
}

/// Runs the program, and looks for sites in its code that are not in its table.
fn nothing_is_lost(program: &Path) {
    let tale = tale(&mut command(program));
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
    // Each of these has at least one, in functions that are not inlined: near, far, generic (2), spaces (3),
    // bystander, width (2), section (2), long_section (2), step (2), announce, ones; and both locks (2 each).
    assert!(records.len() >= 22, "{} sites", records.len());
}

/// Every `cmp byte ptr [rip + state], value; jne` in the text whose state is that of a key of the program's.
fn compares(image: &Image) -> Vec<u64> {
    let mut states = BTreeSet::new();
    for key in image.key_records() {
        // The runtime's own code compares the slice key as anybody may, and asks for no site.
        if key.name.starts_with("story.") || key.name == "dependency.ready" {
            states.insert(key.state);
        }
    }
    assert_eq!(states.len(), 7);
    let mut found = Vec::new();
    for (start, text) in image.text() {
        for (at, window) in text.windows(9).enumerate() {
            let address = start + at as u64;
            let displacement = i32::from_le_bytes(window[2..6].try_into().unwrap());
            let state = (address + 7).wrapping_add_signed(displacement.into());
            let jumps = window[7] == 0x75 || window[7..9] == [0x0f, 0x85];
            if window[..2] == [0x80, 0x3d] && states.contains(&state) && jumps {
                found.push(address);
            }
        }
    }
    assert!(!found.is_empty(), "no site in the text");
    found
}

/// What the runtime may add to a small library, in KiB, by the library's features: with keys of its own, with slices
/// too, with everything.
const LIMITS: [(&str, u64); 3] = [("bound", 20), ("slice", 32), ("all", 56)];

/// The small library with these features, built for size.
fn small(features: &str) -> Build {
    Build::small().named(&format!("small-{features}")).argument("--features").argument(features)
}

fn the_runtime_is_small() {
    let size = |features: &str| small(features).library("small").metadata().unwrap().len();
    let without = size("");
    let added = LIMITS.map(|(features, limit)| (features, size(features) - without, limit << 10));
    println!("added to a library of {without} bytes, and the limit: {added:?}");
    assert!(added.iter().all(|&(_, added, limit)| added < limit), "{added:?}");
}

fn a_small_library_needs_libc_only() {
    let bytes = std::fs::read(small("all").library("small")).unwrap();
    assert_eq!(elf::needed(&bytes), ["libc.so.6"]);
}
