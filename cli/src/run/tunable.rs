//! Who owns the rseq areas of a program's threads: its C library, or the runtime.
//!
//! glibc 2.35 to 2.40 registers 32 bytes, which the kernel extends no slices for. The tunable `glibc.pthread.rseq=0` has it register
//! none; then the runtime registers its own. That changes who owns them, so it is done only where it is asked for.

use super::subject::Subject;
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

/// glibc's variable for its tunables.
pub const VARIABLE: &str = "GLIBC_TUNABLES";
const TUNABLE: &str = "glibc.pthread.rseq";
const OFF: &str = "glibc.pthread.rseq=0";
/// The size from which an area is large enough (Linux 7.0, include/uapi/linux/rseq.h).
const LARGE_ENOUGH: u32 = 33;
/// What administrators configure tunables by (glibc 2.44).
const CONFIGURATION: &str = "/etc/tunables.conf";

/// Who owns them in this process; a program that the same loader loads is like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The C library, with areas that are too small.
    TooSmall,
    /// The C library; or the runtime, as the C library registers none.
    Either,
}

impl Owner {
    /// As this process shows it.
    pub fn of_this_process() -> Self {
        match invar_arch::libc_area() {
            Some((_, 1..LARGE_ENOUGH)) => Self::TooSmall,
            _ => Self::Either,
        }
    }
}

/// Whether this kernel's areas have the field for requests.
pub fn kernel_has_the_field() -> bool {
    super::replace::rseq_feature_size() >= u64::from(LARGE_ENOUGH)
}

/// The tunables with which the program's C library registers no areas, if its loader heeds that.
pub fn owning(subject: &Subject) -> Result<OsString> {
    let tunables = with_off(std::env::var_os(VARIABLE).unwrap_or_default());
    let mut loader = Command::new(&subject.loader);
    loader.arg("--list-tunables").env(VARIABLE, &tunables).env_remove("LD_PRELOAD");
    let said = loader.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = said.map_err(|error| Error::file(&subject.loader, format_args!("cannot list its tunables: {error}")))?;
    let said = String::from_utf8_lossy(&said.stdout);
    match said.lines().find_map(|line| line.strip_prefix("glibc.pthread.rseq: ")) {
        Some(value) if value.starts_with("0 ") => Ok(tunables),
        Some(_) if is_configured() => Err(Error::file(
            &subject.path,
            format_args!("--own-rseq has no effect: {CONFIGURATION} fixes glibc.pthread.rseq, and allows no override"),
        )),
        Some(_) => {
            Err(Error::file(&subject.path, "--own-rseq has no effect: its loader keeps glibc.pthread.rseq as it is"))
        }
        None => {
            Err(Error::file(&subject.path, "--own-rseq has no effect: its loader has no tunable glibc.pthread.rseq"))
        }
    }
}

/// Whether administrators have configured it. The file may have lines for other tunables alone.
fn is_configured() -> bool {
    let mut text = Vec::new();
    let read = File::open(CONFIGURATION).and_then(|file| file.take(1 << 20).read_to_end(&mut text));
    read.is_ok() && text.windows(TUNABLE.len()).any(|part| part == TUNABLE.as_bytes())
}

/// The same tunables, but for that one: the last one counts.
pub fn with_off(mut tunables: OsString) -> OsString {
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push(OFF);
    tunables
}
