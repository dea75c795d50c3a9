//! Process 1 of the guest: runs the jobs of its list, one after the other, says what came of them, switches off.

use crate::Result;
use crate::console::{Counts, End, Job, begin, end};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use std::convert::Infallible;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Where the list of jobs is, one a line.
pub(crate) const JOBS: &str = "/jobs";
/// The folders that are mounted: what, where.
const MOUNTS: [(&str, &str); 5] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("debugfs", "/sys/kernel/debug"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")];
/// The longest extension, in nanoseconds; named alike as a setting on the kernel's command line.
pub(crate) const SLICE: &str = "slice_ext_nsec";
const RSEQ: &str = "/sys/kernel/debug/rseq";

/// Does everything; comes back only if something failed.
pub fn run() -> Result<Infallible> {
    for (what, place) in MOUNTS {
        mount(what, place, what, MountFlags::empty(), None).map_err(|error| format!("{place}: {error}"))?;
    }
    // What the kernel does not know on its command line it passes on.
    if let Some(nanoseconds) = std::env::var_os(SLICE) {
        let setting = format!("{RSEQ}/{SLICE}");
        if fs::exists(&setting)? {
            fs::write(&setting, nanoseconds.as_encoded_bytes())?;
        }
    }
    for job in fs::read_to_string(JOBS)?.lines().filter_map(Job::from_line) {
        println!("{}", begin(&job));
        let before = counts();
        let ended = execute(&job);
        let counts = counts().zip(before).map(|(after, before)| after.since(&before));
        println!("{}", end(&ended, counts));
    }
    reboot(RebootCommand::PowerOff)?;
    unreachable!("the machine is off")
}

fn execute(job: &Job) -> End {
    let Some((program, arguments)) = job.command.split_first() else { return End::Exit(0) };
    let environment = job.environment.iter().map(|(name, value)| (name, value));
    match Command::new(program).args(arguments).env_clear().envs(environment).status() {
        Ok(status) => match status.signal() {
            Some(signal) => End::Signal(signal),
            None => End::Exit(status.code().unwrap_or(-1)),
        },
        Err(error) => End::Error(error.raw_os_error().unwrap_or(-1)),
    }
}

/// What the kernel has counted so far; `None` on one that does not count.
fn counts() -> Option<Counts> {
    Counts::read(&fs::read_to_string(format!("{RSEQ}/stats")).ok()?)
}
