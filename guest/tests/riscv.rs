//! The same on RISC-V: what is decided, what comes of sections, and that bound ones are granted time as the protocol by hand is.

mod unmodified;

use crate::kernels::{Kernel, job};
use crate::libcs::UNREGISTERED;
use crate::programs::{Programs, build_for, init_for, no_target};
use crate::{enrol, grants, guard, inside, matrix, profile, strict, test};
use invar_guest::Result;
use invar_guest::cache::Cache;
use invar_guest::console::{End, Job};
use invar_guest::glibc;
use invar_guest::image::Image;
use invar_guest::machine::{Processor, Run};
use libtest_mimic::Trial;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PROCESSOR: Processor = Processor::Riscv64;
const TARGET: &str = "riscv64gc-unknown-linux-gnu";
const COMPILER: &str = "riscv64-linux-gnu-gcc";
/// Where that has its C library, which registers no areas.
const LIBRARIES: &str = "/usr/riscv64-linux-gnu/lib";
const LOADER: &str = "ld-linux-riscv64-lp64d.so.1";

/// The kernels, which are one that is told different things.
const KERNELS: [Kernel; 3] = [Kernel::On, Kernel::Strict, Kernel::OffAtBoot];
const GRANTING: [Kernel; 2] = [Kernel::On, Kernel::Strict];

/// A C library.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Libc {
    /// The compiler's, which registers no areas.
    Old,
    /// The same, in one file with the program.
    Static,
    /// One that registers areas.
    New,
}

impl Libc {
    const ALL: [Self; 3] = [Self::Old, Self::Static, Self::New];

    fn name(self) -> &'static str {
        match self {
            Self::Old => "a glibc that registers no areas",
            Self::Static => "the same, static",
            Self::New => "a glibc that registers areas",
        }
    }

    fn missing(self) -> Option<String> {
        let wanted = glibc::of_other_machines();
        let is_missing = self == Self::New && Cache::of_this_user().foreign_libc(PROCESSOR, wanted).is_none();
        is_missing.then(|| format!("no {} of RISC-V", wanted.name()))
    }

    fn is_registering(self) -> bool {
        self == Self::New
    }

    fn job(self, name: String, words: &[&str]) -> Job {
        let program = match self {
            Self::Static => format!("/static/{}", words[0]),
            _ => format!("/bin/{}", words[0]),
        };
        let command = [&[&*program], &words[1..]].concat();
        let loader = format!("/new/{LOADER}");
        match self {
            Self::New => job(name, &[], &[&[&*loader, "--library-path", "/new:/lib"], &*command].concat()),
            _ => job(name, &[], &command),
        }
    }
}

fn libcs() -> impl Iterator<Item = Libc> {
    Libc::ALL.into_iter().filter(|libc| libc.missing().is_none())
}

fn cell(kernel: Kernel, libc: Libc) -> String {
    format!("RISC-V, kernel {}, {}", kernel.name(), libc.name())
}

fn threads(kernel: Kernel, libc: Libc) -> String {
    format!("RISC-V, threads enrol, kernel {}, {}", kernel.name(), libc.name())
}

fn hooked(kernel: Kernel) -> String {
    format!("RISC-V, threads are enrolled by the hook, kernel {}", kernel.name())
}

const GUARDED: &str = "guarded by setting";
const GUARDED_LATER: &str = "guarded by call";

pub fn tests() -> Vec<Trial> {
    let of = |kernel: Kernel, what: &str, body: fn(&'static Run)| {
        test(format!("RISC-V, {what}, kernel {}", kernel.name()), missing(), move || body(run(kernel)))
    };
    let cells = KERNELS.into_iter().flat_map(|kernel| Libc::ALL.map(|libc| (kernel, libc)));
    let cells = cells.map(|(kernel, libc)| {
        let missing = missing().or_else(|| libc.missing());
        test(cell(kernel, libc), missing, move || {
            matrix::check_run(kernel, run(kernel), &cell(kernel, libc), !libc.is_registering());
        })
    });
    let enrolled = GRANTING.into_iter().flat_map(|kernel| [Libc::Old, Libc::New].map(|libc| (kernel, libc)));
    let enrolled = enrolled.map(|(kernel, libc)| {
        let missing = missing().or_else(|| libc.missing());
        test(threads(kernel, libc), missing, move || {
            enrol::check_run(run(kernel), &threads(kernel, libc), !libc.is_registering(), false);
        })
    });
    let by_hook = GRANTING.map(|kernel| {
        test(hooked(kernel), missing(), move || enrol::check_run(run(kernel), &hooked(kernel), true, true))
    });
    let granted = GRANTING.into_iter().flat_map(|kernel| {
        [
            of(kernel, "bound slices are granted like those by hand", grants::bound_slices_are_granted),
            of(kernel, "locks gain by slices", grants::locks_gain),
            of(kernel, "sections are counted", profile::counted),
            of(kernel, GUARDED, |run| guard::guarded_by_setting(run, GUARDED)),
            of(kernel, GUARDED_LATER, |run| guard::guarded_by_call(run, GUARDED_LATER)),
        ]
    });
    let strict = [
        of(Kernel::On, "a request that is set again while time is extended", |run| strict::ends(run, End::Exit(0))),
        of(Kernel::Strict, "a request that is set again while time is extended", |run| {
            strict::ends(run, strict::KILLED);
        }),
    ];
    let inside = test("RISC-V, inside a section, both kernels", missing(), || {
        inside::check_all([Kernel::On, Kernel::Strict].map(run));
    });
    let tests = cells.chain(enrolled).chain(by_hook).chain(granted).chain(strict).chain([inside]);
    tests.chain(unmodified::tests()).collect()
}

/// Why nothing can be run here.
fn missing() -> Option<String> {
    let is_there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let tool = [PROCESSOR.qemu(), COMPILER].into_iter().find(|tool| !is_there(tool)).map(|tool| format!("no {tool}"));
    let kernel = || {
        let kernel = Cache::of_this_user().foreign_granting_kernel(PROCESSOR);
        kernel.is_none().then(|| format!("no kernel of RISC-V that grants: {}=FILE names one", PROCESSOR.variable()))
    };
    // These tests run twice, and another machine has nothing to do with this one's sites.
    let once = (!invar_arch::PATCHES).then(|| "tried where the tests run without --cfg invar_portable".into());
    once.or(tool).or_else(|| no_target(TARGET)).or_else(kernel)
}

/// What came of all jobs on this kernel; the first who asks boots it.
fn run(kernel: Kernel) -> &'static Run {
    static RUNS: [OnceLock<std::result::Result<Run, String>>; 3] = [const { OnceLock::new() }; 3];
    let run = RUNS[kernel as usize].get_or_init(|| boot(kernel).map_err(|error| error.to_string()));
    run.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

fn boot(kernel: Kernel) -> Result<Run> {
    let mut jobs: Vec<_> = libcs().map(|libc| libc.job(cell(kernel, libc), &["sections"])).collect();
    if kernel.grants() {
        let enrolled = libcs().filter(|&libc| libc != Libc::Static);
        jobs.extend(enrolled.map(|libc| libc.job(threads(kernel, libc), &["enrol", LIBRARY])));
        jobs.push(job(hooked(kernel), &[UNREGISTERED], &["/hooked/enrol", LIBRARY]));
        jobs.push(job(GUARDED, &[UNREGISTERED, guard::SETTING], &["/bin/guard", LIBRARY]));
        jobs.push(job(GUARDED_LATER, &[UNREGISTERED], &["/bin/guard", LIBRARY]));
        jobs.extend([strict::violate(), profile::watched()]);
        jobs.extend(grants::every_job());
        jobs.extend(inside::every_job());
    }
    boot_with(kernel, &image()?, &jobs)
}

fn boot_with(kernel: Kernel, image: &Image, jobs: &[Job]) -> Result<Run> {
    let file = Cache::of_this_user().foreign_granting_kernel(PROCESSOR).ok_or("no kernel that grants")?;
    kernel.on(PROCESSOR, file).run(image, jobs)
}

/// An image with process 1 and the C libraries.
fn image_with_libcs() -> Result<Image> {
    static INIT: OnceLock<Programs> = OnceLock::new();
    let mut image = Image::new(INIT.get_or_init(|| init_for(TARGET, COMPILER)).as_ref().map_err(String::as_str)?)?;
    for name in [LOADER, "libc.so.6", "libgcc_s.so.1", "libm.so.6"] {
        image.file(format!("/lib/{name}"), &Path::new(LIBRARIES).join(name));
    }
    if let Some(new) = Cache::of_this_user().foreign_libc(PROCESSOR, glibc::of_other_machines()) {
        for name in [LOADER, "libc.so.6", "libm.so.6"] {
            image.file(format!("/new/{name}"), &new.join(name));
        }
    }
    Ok(image)
}

/// In the guest: these programs' common code, as a library with a runtime of its own.
const LIBRARY: &str = "/bin/libinvar_guest_programs.so";

fn image() -> Result<Image> {
    static BUILT: OnceLock<[Programs; 3]> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let build = |name: &str, what: &[&str], rustflags: &str| {
            build_for(TARGET, Some(COMPILER), &format!("riscv64-{name}"), what, rustflags)
        };
        [
            build("dynamic", &[], ""),
            build("static", &["--bin", "sections"], "-Ctarget-feature=+crt-static"),
            build("hooked", &["--features", "hook", "--bin", "enrol"], ""),
        ]
    });
    let [dynamic, alone, hooked]: [&PathBuf; 3] = {
        let mut found = built.iter().map(|built| built.as_ref().map_err(|error| error.to_string()));
        let mut next = || found.next().expect("three");
        [next()?, next()?, next()?]
    };
    let mut image = image_with_libcs()?;
    for name in ["sections", "contend", "enrol", "guard", "inside", "violate", "watched"] {
        image.file(format!("/bin/{name}"), &dynamic.join(name));
    }
    image.file(LIBRARY.into(), &dynamic.join("libinvar_guest_programs.so"));
    image.file("/static/sections".into(), &alone.join("sections"));
    image.file("/hooked/enrol".into(), &hooked.join("enrol"));
    Ok(image)
}
