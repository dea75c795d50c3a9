//! QEMU, without KVM: one boot, in which all jobs are run.

use crate::console::{self, End, Job, Outcome};
use crate::image::Image;
use crate::init::SLICE;
use crate::{Result, succeed};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// The emulator of the first of them.
pub const QEMU: &str = Processor::X86_64.qemu();

/// What is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// As most PCs.
    X86_64,
    /// 64-bit Arm: a Cortex-A72.
    Aarch64,
    /// RISC-V, of 64 bits.
    Riscv64,
}

impl Processor {
    /// The emulator.
    pub const fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
            Self::Riscv64 => "qemu-system-riscv64",
        }
    }

    /// As Debian calls it.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// The end of the names of Debian's packages that have a kernel for it.
    pub const fn kernel(self) -> &'static str {
        match self {
            Self::X86_64 => "-cloud-amd64",
            Self::Aarch64 => "-cloud-arm64",
            Self::Riscv64 => "-riscv64",
        }
    }

    /// The variable that names another kernel for it.
    pub fn variable(self) -> String {
        format!("INVAR_GUEST_KERNEL_{}", self.architecture().to_uppercase())
    }

    /// What the emulator is told of the machine, and the kernel on its command line.
    fn words(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::X86_64 => (&[], "console=ttyS0"),
            Self::Aarch64 => (&["-M", "virt", "-cpu", "cortex-a72"], "console=ttyAMA0"),
            // The emulator describes its instruction set in an older way than new kernels want by themselves
            // (Linux, Documentation/admin-guide/kernel-parameters.txt).
            Self::Riscv64 => (&["-M", "virt"], "console=ttyS0 riscv_isa_fallback"),
        }
    }
}

/// What the guest's clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The host's time. Fast; but an instruction takes so long that nearly every extension would expire, so they
    /// are made ten times as long.
    Host,
    /// Four nanoseconds an instruction: what happens does not depend on the host, and is the same in every run.
    Instructions,
}

/// A machine to boot: one CPU, half a gigabyte of memory.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What is emulated.
    pub processor: Processor,
    /// The kernel; packed, if its name ends in `.gz`.
    pub kernel: PathBuf,
    /// What is added to the kernel's command line.
    pub line: String,
    /// What its clocks show.
    pub time: Time,
    /// How long it may run.
    pub limit: Duration,
    /// A folder of the host's that it can mount, to read: a 9p file system with the tag `host`.
    pub share: Option<PathBuf>,
}

/// What came of one boot.
#[derive(Clone, Debug)]
pub struct Run {
    /// All that the console showed.
    pub console: String,
    /// What came of the jobs that came to their end, by name.
    pub outcomes: BTreeMap<String, Outcome>,
    /// Whether it was stopped because it ran for too long.
    pub stopped: bool,
}

impl Machine {
    /// Boots, runs the jobs, and is gone.
    pub fn run(&self, image: &Image, jobs: &[Job]) -> Result<Run> {
        let archive = image.write(jobs)?;
        let (words, console) = self.processor.words();
        let mut line = format!("{console} quiet panic=-1 rdinit=/init {}", self.line);
        // Killed with whoever waits for it, however that one ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", self.processor.qemu()]).args(words);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        qemu.args(["-serial", "file:/dev/stdout"]);
        qemu.args(["-m", "512", "-smp", "1", "-accel", "tcg,thread=single"]);
        if let Some(folder) = &self.share {
            let folder = folder.display();
            let options = "mount_tag=host,security_model=none,readonly=on,multidevs=remap";
            qemu.args(["-virtfs", &format!("local,path={folder},{options}")]);
        }
        match (self.time, self.processor) {
            (Time::Host, Processor::X86_64) => {
                qemu.args(["-cpu", "max"]);
                // On a busy host the timer looks as if it were broken.
                line += &format!(" no_timer_check {SLICE}=50000");
            }
            (Time::Host, _) => {}
            (Time::Instructions, processor) => {
                qemu.args(["-icount", "shift=2,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-seed", "1"]);
                line += " norandmaps";
                if processor == Processor::X86_64 {
                    qemu.args(["-cpu", "max,-rdrand,-rdseed"]);
                    line += " tsc=reliable";
                }
            }
        }
        let kernel = unpacked(&self.kernel)?;
        qemu.arg("-kernel").arg(kernel.as_ref().map_or(&*self.kernel, |file| file.path())).args([
            "-initrd",
            "/dev/stdin",
            "-append",
            &line,
        ]);
        qemu.stdin(archive).stdout(Stdio::piped()).stderr(Stdio::piped());

        let (console, stopped) = watch(&mut qemu, self.limit)?;
        Ok(Run { outcomes: console::read(&console), console, stopped })
    }
}

/// A kernel's file, unpacked if it is packed.
pub(crate) fn unpacked(kernel: &Path) -> Result<Option<NamedTempFile>> {
    if kernel.extension().is_none_or(|extension| extension != "gz") {
        return Ok(None);
    }
    let file = NamedTempFile::new()?;
    succeed(Command::new("gzip").arg("-dc").arg(kernel).stdout(file.reopen()?))?;
    Ok(Some(file))
}

/// Ends the process whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the program writes, until it ends or the limit is reached; and whether it is the latter.
fn watch(command: &mut Command, limit: Duration) -> Result<(String, bool)> {
    let deadline = Instant::now() + limit;
    let mut child = Ended(command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?);
    let (mut output, mut errors) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let (send, received) = channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            let _ = send.send(buffer[..length].to_vec());
        }
    });
    let mut console = Vec::new();
    let stopped = loop {
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => console.extend(bytes),
            Err(RecvTimeoutError::Timeout) => break true,
            Err(RecvTimeoutError::Disconnected) => break false,
        }
    };
    if stopped {
        let _ = child.0.kill();
    }
    let status = child.0.wait()?;
    if !stopped {
        let _ = reader.join();
    }
    if !stopped && !status.success() {
        let mut message = String::new();
        errors.read_to_string(&mut message)?;
        return Err(format!("{command:?}: {status}\n{message}").into());
    }
    // A terminal's line ends.
    Ok((String::from_utf8_lossy(&console).replace('\r', ""), stopped))
}

impl Run {
    /// What came of this job.
    ///
    /// # Errors
    ///
    /// If it did not come to its end, with all that the console showed.
    pub fn outcome(&self, name: &str) -> Result<&Outcome> {
        self.outcomes.get(name).ok_or_else(|| {
            let why = if self.stopped { "the guest was stopped at its time limit" } else { "the guest went down" };
            format!("{why} before `{name}` came to its end; its console:\n{}", self.console).into()
        })
    }

    /// What this job wrote.
    ///
    /// # Errors
    ///
    /// If it did not end well.
    pub fn output(&self, name: &str) -> Result<&str> {
        let outcome = self.outcome(name)?;
        match outcome.end {
            End::Exit(0) => Ok(&outcome.output),
            ref end => Err(format!("`{name}` ended with {end:?}:\n{}", outcome.output).into()),
        }
    }
}
