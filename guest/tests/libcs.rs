//! The C libraries, and how programs are started with them.

use crate::kernels::job;
use crate::programs::{no_musl, static_program};
use invar_guest::Result;
use invar_guest::cache::{Cache, LOADER};
use invar_guest::console::Job;
use invar_guest::glibc::{GLIBCS, Glibc};
use invar_guest::image::Image;
use std::process::Command;

/// The environment with which any glibc leaves it to the program to register its threads' areas.
pub const UNREGISTERED: (&str, &str) = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");

/// A C library, and how it is told to deal with areas.
#[derive(Clone, Copy)]
pub enum Libc {
    /// As it comes.
    Plain(&'static Glibc),
    /// Told not to register areas.
    Unregistered(&'static Glibc),
    /// This machine's, in one file with the program.
    Static,
    /// Rust's, in one file with the program; it registers no areas.
    Musl,
}

impl Libc {
    pub fn all() -> [Self; 6] {
        let [oldest, middle, newest] = &GLIBCS;
        let plain = [oldest, middle, newest].map(Self::Plain);
        [plain[0], Self::Unregistered(oldest), plain[1], plain[2], Self::Static, Self::Musl]
    }

    pub fn name(self) -> String {
        match self {
            Self::Plain(glibc) => glibc.name(),
            Self::Unregistered(glibc) => format!("{} with rseq=0", glibc.name()),
            Self::Static => "static glibc".into(),
            Self::Musl => "musl".into(),
        }
    }

    /// Whether this is its version.
    pub fn is(self, version: &str) -> bool {
        match self {
            Self::Plain(glibc) | Self::Unregistered(glibc) => glibc.is(version),
            Self::Static => version == own_version(),
            Self::Musl => version == "musl",
        }
    }

    /// Why nothing can be run with it here.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Static => (!can_link_statically()).then(|| "no libc.a".into()),
            Self::Musl => no_musl(),
            Self::Plain(glibc) | Self::Unregistered(glibc) => {
                let here = glibc.is(&own_version()) || Cache::of_this_user().libc(glibc).is_some();
                (!here).then(|| format!("no {}", glibc.name()))
            }
        }
    }

    /// The job that runs one of the programs with this library; puts what it needs into the image.
    pub fn job(self, name: String, words: &[&str], image: &mut Image) -> Result<Job> {
        let (glibc, environment) = match self {
            Self::Plain(glibc) => (glibc, [].as_slice()),
            Self::Unregistered(glibc) => (glibc, [UNREGISTERED].as_slice()),
            Self::Static | Self::Musl => {
                let c_library = if matches!(self, Self::Musl) { "musl" } else { "gnu" };
                let program = format!("/bin/{}-{c_library}", words[0]);
                image.file(program.clone(), &static_program(words[0], c_library)?);
                return Ok(job(name, &[], &[&[&*program], &words[1..]].concat()));
            }
        };
        let program = format!("/bin/{}", words[0]);
        let command = [&[&*program], &words[1..]].concat();
        if glibc.is(&own_version()) {
            return Ok(job(name, environment, &command));
        }
        let from = Cache::of_this_user().libc(glibc).expect("it is not missing");
        let folder = format!("/glibc-{}", glibc.suite);
        for file in [LOADER, "libc.so.6"] {
            image.file(format!("{folder}/{file}"), &from.join(file));
        }
        let loader = format!("{folder}/{LOADER}");
        Ok(job(name, environment, &[&[&*loader, "--library-path", &folder], &*command].concat()))
    }
}

/// The version of this machine's glibc.
fn own_version() -> String {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().map(|output| output.stdout);
    // `glibc 2.36`; with another library there is no such name.
    String::from_utf8_lossy(&said.unwrap_or_default()).trim().trim_start_matches("glibc ").to_owned()
}

fn can_link_statically() -> bool {
    let said = Command::new("cc").arg("-print-file-name=libc.a").output().map(|output| output.stdout);
    said.is_ok_and(|path| path.starts_with(b"/"))
}
