//! The kernels, and one boot of each with all that is to be run there.

use crate::programs::image;
use crate::{
    binder, c, calls, doctor, ends, enrol, grants, guard, inside, matrix, places, preload, profile, seccomp, strict,
    unmodified,
};
use invar_guest::Result;
use invar_guest::cache::Cache;
use invar_guest::console::{Counts, Job};
use invar_guest::machine::{Machine, Processor, QEMU, Run, Time};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a guest may take, on a machine that has other things to do as well.
const LIMIT: Duration = Duration::from_secs(600);

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
        self.on(Processor::X86_64, self.file().expect("a kernel"))
    }

    /// The same with the kernel of this processor that is in this file.
    pub fn on(self, processor: Processor, kernel: PathBuf) -> Machine {
        let line = if matches!(self, Self::On | Self::CompiledOut) { "" } else { self.name() };
        // Where nothing is granted there is nothing to count, and the host's time is faster.
        let time = if self.grants() { Time::Instructions } else { Time::Host };
        Machine { processor, kernel, line: line.into(), time, limit: LIMIT, share: None }
    }

    /// What came of all jobs on this kernel; the first who asks boots it.
    pub fn run(self) -> &'static Run {
        static RUNS: [OnceLock<std::result::Result<Run, String>>; 4] = [const { OnceLock::new() }; 4];
        let run = RUNS[self as usize].get_or_init(|| self.boot().map_err(|error| error.to_string()));
        run.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Boots it and runs all jobs.
    pub fn boot(self) -> Result<Run> {
        let mut image = image()?;
        let (matrix, enrol) = (matrix::jobs(self, &mut image)?, enrol::jobs(self, &mut image)?);
        let doctor = doctor::jobs(self, &mut image)?;
        let (c, guard) = (c::jobs(self, &mut image)?, guard::jobs(self, &mut image)?);
        let ends = [ends::jobs(self, &mut image)?, calls::jobs(self, &mut image)?].concat();
        let sections = [strict::jobs(self), inside::jobs(self), preload::jobs(self), seccomp::jobs(self)].concat();
        let counts = [profile::jobs(self), grants::jobs(self), unmodified::jobs(self)].concat();
        let binder = [binder::jobs(&mut image)?, places::jobs(self, &mut image)?].concat();
        let jobs = [matrix, doctor, enrol, c, ends, sections, guard, counts, binder].concat();
        self.machine().run(&image, &jobs)
    }
}

/// What a job said that came to a good end: its lines, by their names.
pub fn facts(run: &'static Run, job: &str) -> BTreeMap<&'static str, &'static str> {
    let output = run.output(job).unwrap_or_else(|error| panic!("{error}"));
    output.lines().filter_map(|line| line.split_once('\t')).collect()
}

/// Each of these sections waited for its grant and gave the CPU up by a call; the kernel counted so many of these calls.
///
/// The kernel may have granted more: one grant can come and go between two looks at it. And a few were revoked: time can
/// run out between the look and the call.
pub fn assert_given_up(counts: &Counts, sections: u64, calls: u64) {
    assert!(counts.granted >= sections && counts.granted == calls + counts.revoked && calls * 2 > sections, "{counts}");
}

/// A job that runs this in the guest.
pub fn job(name: impl Into<String>, environment: &[(&str, &str)], command: &[&str]) -> Job {
    Job {
        name: name.into(),
        environment: environment.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
    }
}
