//! The kernels, the C libraries, and one boot of each kernel with all that is to be run there.

use crate::{grants, matrix, seccomp};
use invar_guest::cache::{Cache, LOADER};
use invar_guest::console::Job;
use invar_guest::image::Image;
use invar_guest::machine::{Machine, QEMU, Run, Time};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

/// How long a guest may take, on a machine that has other things to do as well.
const LIMIT: Duration = Duration::from_secs(200);

/// A kernel, and how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// It grants.
    On,
    /// It could grant, and is told not to.
    OffAtBoot,
    /// It grants, and kills who breaks the protocol.
    Strict,
    /// The distribution's, which cannot.
    CompiledOut,
}

impl Kernel {
    pub const ALL: [Self; 4] = [Self::On, Self::OffAtBoot, Self::Strict, Self::CompiledOut];

    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::OffAtBoot => "rseq_slice_ext=0",
            Self::Strict => "rseq_debug=1",
            Self::CompiledOut => "compiled out",
        }
    }

    pub fn grants(self) -> bool {
        matches!(self, Self::On | Self::Strict)
    }

    fn file(self) -> Option<PathBuf> {
        let cache = Cache::of_this_user();
        if self == Self::CompiledOut { cache.stock_kernel() } else { cache.kernel() }
    }

    /// Why nothing can be run on it here.
    pub fn missing(self) -> Option<String> {
        if !invar_arch::PATCHES {
            return Some(format!("the folder `{}` has the checked form only", invar_arch::NAME));
        }
        if Command::new(QEMU).arg("--version").output().is_err() {
            return Some(format!("no {QEMU}"));
        }
        match (self, self.file()) {
            (_, Some(_)) => None,
            (Self::CompiledOut, None) => Some("no kernel of Debian's".into()),
            (_, None) => Some("no kernel that grants".into()),
        }
    }

    pub fn machine(self) -> Machine {
        let line = if matches!(self, Self::On | Self::CompiledOut) { "" } else { self.name() };
        // Where nothing is granted there is nothing to count, and the host's time is faster.
        let time = if self.grants() { Time::Instructions } else { Time::Host };
        Machine { kernel: self.file().expect("a kernel"), line: line.into(), time, limit: LIMIT }
    }

    /// What came of all jobs on this kernel; the first who asks boots it.
    pub fn run(self) -> &'static Run {
        static RUNS: [OnceLock<Result<Run, String>>; 4] = [const { OnceLock::new() }; 4];
        let run = RUNS[self as usize].get_or_init(|| self.boot().map_err(|error| error.to_string()));
        run.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Boots it and runs all jobs.
    pub fn boot(self) -> invar_guest::Result<Run> {
        let mut image = image();
        let jobs = [matrix::jobs(self, &mut image), seccomp::jobs(self), grants::jobs(self)].concat();
        self.machine().run(&image, &jobs)
    }
}

/// What a job said that came to a good end: its lines, by their names.
pub fn facts(run: &'static Run, job: &str) -> BTreeMap<&'static str, &'static str> {
    let output = run.output(job).unwrap_or_else(|error| panic!("{error}"));
    output.lines().filter_map(|line| line.split_once('\t')).collect()
}

/// A job that runs this in the guest.
pub fn job(name: impl Into<String>, environment: &[(&str, &str)], command: &[&str]) -> Job {
    Job {
        name: name.into(),
        environment: environment.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
    }
}

/// The environment with which any glibc leaves it to the program to register its threads' areas.
pub const UNREGISTERED: (&str, &str) = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");

/// An image with the programs in `/bin`.
pub fn image() -> Image {
    let mut image = Image::new(Path::new(env!("CARGO_BIN_EXE_invar-guest"))).expect("the command");
    for name in ["sections", "confine", "contend"] {
        image.program(&PROGRAMS.join(name)).expect("a program");
    }
    image
}

/// The folder of this package's programs.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| build("dynamic", ""));
/// The same, each linked into one file with its C library.
static STATIC: LazyLock<PathBuf> = LazyLock::new(|| build("static", "-Ctarget-feature=+crt-static"));

/// Built as a user would, which has nothing to do with how these tests are built.
fn build(name: &str, rustflags: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if (name.starts_with("CARGO") && name != "CARGO_HOME") || name == "RUSTFLAGS" {
            cargo.env_remove(&name);
        }
    }
    // With a target given, the options do not reach procedural macros and build scripts.
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/programs"));
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", &triple, "--target-dir"]).arg(&target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "{name} programs: {}", String::from_utf8_lossy(&output.stderr));
    target.join(triple).join("release")
}

/// A C library, and how it is told to deal with areas.
#[derive(Clone, Copy, Debug)]
pub enum Libc {
    /// This version of glibc, as it comes.
    Version(&'static str),
    /// The same, told not to register areas.
    Unregistered(&'static str),
    /// This machine's, in one file with the program.
    Static,
}

impl Libc {
    pub const ALL: [Self; 5] =
        [Self::Version("2.36"), Self::Unregistered("2.36"), Self::Version("2.41"), Self::Version("2.43"), Self::Static];

    pub fn name(self) -> String {
        match self {
            Self::Version(version) => format!("glibc {version}"),
            Self::Unregistered(version) => format!("glibc {version} with rseq=0"),
            Self::Static => "static glibc".into(),
        }
    }

    /// The version that programs run with.
    pub fn version(self) -> String {
        match self {
            Self::Version(version) | Self::Unregistered(version) => version.into(),
            Self::Static => own_version(),
        }
    }

    /// Whether it registers areas that are large enough for slices.
    pub fn registers_enough(self) -> bool {
        let version = self.version();
        let (major, minor) = version.split_once('.').expect("two numbers");
        (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap()) >= (2, 41)
    }

    /// Why nothing can be run with it here.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Static => (!can_link_statically()).then(|| "no libc.a".into()),
            Self::Version(version) | Self::Unregistered(version) => (version != own_version()
                && Cache::of_this_user().libc(version).is_none())
            .then(|| format!("no glibc {version}")),
        }
    }

    /// Puts what is needed into the image, and says how `/bin/sections` is started with this library.
    pub fn sections(self, image: &mut Image) -> (Vec<(&'static str, &'static str)>, Vec<String>) {
        let plain = vec!["/bin/sections".into()];
        match self {
            Self::Static => {
                let program = "/bin/sections-static";
                image.file(program.into(), &STATIC.join("sections"));
                (vec![], vec![program.into()])
            }
            Self::Version(version) | Self::Unregistered(version) => {
                let environment = if matches!(self, Self::Unregistered(_)) { vec![UNREGISTERED] } else { vec![] };
                if version == own_version() {
                    return (environment, plain);
                }
                let folder = Cache::of_this_user().libc(version).expect("it is not missing");
                for file in [LOADER, "libc.so.6"] {
                    image.file(format!("/glibc-{version}/{file}"), &folder.join(file));
                }
                let loader = format!("/glibc-{version}/{LOADER}");
                let start = [loader, "--library-path".into(), format!("/glibc-{version}")];
                (environment, start.into_iter().chain(plain).collect())
            }
        }
    }
}

/// The version of this machine's glibc.
fn own_version() -> String {
    // SAFETY: a constant string.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

fn can_link_statically() -> bool {
    let said = Command::new("cc").arg("-print-file-name=libc.a").output().map(|output| output.stdout);
    said.is_ok_and(|path| path.starts_with(b"/"))
}
