//! Arguments of the `invar` command.
#![forbid(unsafe_code)]

use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use invar_tool::error::{Error, Result};
use invar_tool::text::Format;
use invar_tool::{demo, doctor, manifest, manual, probe, profile, run, set, sites, stress, verify};
use std::ffi::OsString;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What this machine offers, how programs are bound, what it saves.
///
/// Without a command: this machine's verdicts, the sites of this very program before and
/// after binding, and what binding saves, measured in a few seconds.
#[derive(Parser)]
#[command(name = "invar", version, verbatim_doc_comment, after_help = EXIT_CODES)]
struct Arguments {
    /// Whether to use colours: where standard output is a terminal, or always, or never
    ///
    /// `auto` heeds NO_COLOR and TERM as well.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", global = true)]
    color: Colours,
    /// Without a command: measure critical sections as well, also where the kernel grants no time
    #[arg(long)]
    slices: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Colours {
    Auto,
    Always,
    Never,
}

impl From<Colours> for ColorChoice {
    fn from(colours: Colours) -> Self {
        match colours {
            Colours::Auto => Self::Auto,
            Colours::Always => Self::AlwaysAnsi,
            Colours::Never => Self::Never,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// List every built-in key: its value on this machine, who decided, and why
    Probe {
        /// Print JSON (schema invar.probe/1)
        #[arg(long)]
        json: bool,
    },
    /// Say why the time slice extension is off here, and what to do
    ///
    /// Five lines: whether it is there; why, as the probe of the key `slice` saw it; what the kernel's
    /// release, configuration and boot line say; what the C library, its tunables and the seccomp
    /// filter of this process say; and what to do.
    #[command(verbatim_doc_comment)]
    Doctor {
        /// Print JSON (schema invar.doctor/1)
        #[arg(long)]
        json: bool,
    },
    /// List the keys and sites of an ELF file or of a running process, with disassembly
    Sites {
        /// An ELF file, or the number of a process; a number is a file if there is one of that name
        #[arg(value_name = "FILE|PID")]
        subject: OsString,
        /// Print JSON (schema invar.sites/1)
        #[arg(long)]
        json: bool,
        /// Print, as JSON (schema invar.manifest/1), which bytes of a FILE may change in memory, and to what
        #[arg(long, conflicts_with = "json")]
        manifest: bool,
    },
    /// Verify that a process executes what its files hold, but for sites that are bound
    ///
    /// Compares every executable page that comes from a file with the file. What differs must lie
    /// in a site that is bound to its key's verdict; anything else is listed. Memory that comes
    /// from no file is counted, and not compared.
    #[command(verbatim_doc_comment, after_help = VERIFY_EXIT_CODES)]
    Verify {
        /// The number of a process
        #[arg(value_name = "PID", required_unless_present = "all")]
        pid: Option<u32>,
        /// Verify every process that may be read
        #[arg(long, conflicts_with = "pid")]
        all: bool,
        /// Print JSON (schema invar.verify/1)
        #[arg(long)]
        json: bool,
    },
    /// Run a program whose locks ask for time slices, though it knows nothing of them
    ///
    /// Puts libinvar-preload in front of the C library's mutexes, spin locks and read-write locks, for
    /// CMD and for what it starts, with glibc on x86-64 and RISC-V. Where this machine grants no time slices,
    /// CMD is run as if by itself. This process becomes CMD. docs/run.md has what is refused, and the limits.
    #[command(verbatim_doc_comment, after_help = RUN_EXIT_CODES)]
    Run {
        /// Only these locks ask for time
        #[arg(long, value_name = "LOCKS", value_delimiter = ',', value_enum)]
        only: Vec<run::plan::Group>,
        /// Where the areas that glibc registers are too small (2.35 to 2.40), have it register none, for this program only
        #[arg(long)]
        own_rseq: bool,
        /// Say on standard error what is done, who takes locks, and what is out of reach
        #[arg(long)]
        report: bool,
        /// Say that as JSON (schema invar.run/1); with --profile, print the profile as JSON
        #[arg(long)]
        json: bool,
        /// Count what becomes of the critical sections, as `invar profile` does
        #[arg(long)]
        profile: bool,
        /// With --profile: draw how long the critical sections of the first eight places took
        #[arg(long, value_name = "FILE.svg", requires = "profile")]
        plot: Option<PathBuf>,
        /// With --profile: write the listing to this file
        #[arg(long, value_name = "FILE", requires = "profile")]
        output: Option<PathBuf>,
        /// Where libinvar-preload is, if it is not installed
        #[arg(long, value_name = "FILE")]
        library: Option<PathBuf>,
        /// The command to run, and its arguments
        #[arg(last = true, value_name = "CMD", required = true)]
        command: Vec<OsString>,
    },
    /// Count what becomes of a program's critical sections: which gain, which are too long
    ///
    /// Runs CMD with INVAR_SLICE=profile, and shows what it and its children counted: a line for
    /// each site, those with most to gain first, and its place in the source if there is debug
    /// information. Or shows FILEs that were made so before (docs/profile.md), also while their
    /// processes still run. Where this machine's kernel grants nothing, the sites are bound all the
    /// same (INVAR_KEYS=slice=force), and durations are what can be said.
    ///
    /// Where neither CMD nor a library that it needs carries sites, its pthread and C11 locks are counted, by the
    /// places that take them, as `invar run --profile` does.
    ///
    /// The table of a run goes to standard error, since standard output is CMD's. With --json, and
    /// for FILEs, the listing goes to standard output. Signals of the terminal are left to CMD.
    #[command(verbatim_doc_comment, after_help = PROFILE_EXIT_CODES)]
    Profile {
        /// Print JSON (schema invar.profile/1)
        #[arg(long)]
        json: bool,
        /// Draw how long the sections of the first eight sites took
        #[arg(long, value_name = "FILE.svg")]
        plot: Option<PathBuf>,
        /// Write the listing to this file
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Count the C library's locks as well as CMD's own sites, by this libinvar-preload
        #[arg(long, value_name = "FILE", requires = "command")]
        library: Option<PathBuf>,
        /// Profiles that were made before
        #[arg(value_name = "FILE", required_unless_present = "command")]
        files: Vec<PathBuf>,
        /// A command to run, and its arguments
        #[arg(last = true, value_name = "CMD", conflicts_with = "files")]
        command: Vec<OsString>,
    },
    /// Test whether sites may be exchanged while threads execute them, on this machine
    ///
    /// Threads execute sites of every kind, at every offset in a cache line and across pages, while
    /// their pages are exchanged as the runtime does it, and while a thread stands inside a site.
    /// Results, registers and request bytes must be right, and no thread may fault. The test runs
    /// in a process of its own.
    #[command(verbatim_doc_comment, after_help = STRESS_EXIT_CODES)]
    Stress {
        /// Test for so many seconds
        #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "executions", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        seconds: u64,
        /// Test until so many sites were executed
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        executions: Option<u64>,
        /// So many threads execute sites; one more than there are CPUs if nothing is said
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
        threads: Option<u64>,
        /// Print JSON (schema invar.stress/1)
        #[arg(long)]
        json: bool,
        /// How sites are exchanged
        #[arg(long, hide = true, value_enum, default_value = "runtime")]
        protocol: stress::options::Protocol,
        /// Test in this process, and write the answer for the command with this process ID
        #[arg(long, hide = true)]
        here: Option<u32>,
    },
    /// Set switches of a process that lets others do so
    ///
    /// The process calls invar::serve, in C invar_serve, and may refuse. It must be the user's own.
    #[command(verbatim_doc_comment, after_help = SET_EXIT_CODES)]
    Set {
        /// The number of a process
        #[arg(value_name = "PID")]
        pid: u32,
        /// Switches and the values that they are to have: all of them are set, or none
        #[arg(value_name = "NAME=VALUE", required = true)]
        settings: Vec<String>,
        /// Print JSON (schema invar.set/1)
        #[arg(long)]
        json: bool,
    },
    /// Print what completes this command's arguments in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print this command's manual page, made of its help
    #[command(hide = true)]
    Manual,
    /// Say "ready" and wait for the end of standard input: a process with sites, to look at
    #[command(hide = true)]
    Wait {
        /// Let others set the switch `tool.waiting`.
        #[arg(long)]
        serve: bool,
    },
}

const EXIT_CODES: &str = "Exit code 1: the output cannot be written. 2: the arguments or the input cannot be used.";
const STRESS_EXIT_CODES: &str = "Exit code 1: something is wrong, which is said, or the output cannot be written.
2: the arguments cannot be used, or the test is not possible here, for the reason that is said.";
const VERIFY_EXIT_CODES: &str =
    "Exit code 1: something differs and is not explained, or cannot be compared; or the output cannot be written.
2: the arguments cannot be used, or the process cannot be read.";
const SET_EXIT_CODES: &str =
    "Exit code 1: the process has not set them, for the reason that is said; or the output cannot be written.
2: the arguments cannot be used, or the process cannot be asked.";
const RUN_EXIT_CODES: &str = "Exit code: CMD's own. 127: there is no CMD; 126: it cannot be run.
2: the arguments cannot be used, or nothing can be put in front of CMD's calls, for the reason that is said.";
const PROFILE_EXIT_CODES: &str =
    "Exit code: CMD's, 128 and its number if a signal ended it. 127: there is no CMD; 126: it cannot be run.
1: the output cannot be written. 2: the arguments or a FILE cannot be used.";
/// Exit code where the output cannot be written.
const EXIT_NO_OUTPUT: u8 = 1;
/// Exit codes for a command that cannot be run, and for one that is not there, as env(1) has them.
const EXIT_NOT_RUN: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;
/// Exit code for every input that cannot be used; clap's for usage errors.
const EXIT_BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(arguments) => {
            // Standard error, which is not at hand here, goes by the same.
            ColorChoice::from(arguments.color).write_global();
            let mut out = BufWriter::new(AutoStream::new(std::io::stdout().lock(), arguments.color.into()));
            run(arguments, &mut out).and_then(|code| match out.flush() {
                // Whoever reads has enough, as `head` does.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Output(error)),
                _ => Ok(code),
            })
        }
        Err(usage) if usage.use_stderr() => {
            // Where that cannot be written, the exit code has to do.
            let _ = usage.print();
            return ExitCode::from(EXIT_BAD_INPUT);
        }
        // Help, or the version.
        Err(answer) => answer.print().and_then(|()| std::io::stdout().flush()).map(|()| 0).map_err(Error::Output),
    };
    let (code, error) = match result {
        Ok(code) => return code.into(),
        // Whoever reads has enough, as `head` does.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(error @ Error::Output(_)) => (EXIT_NO_OUTPUT, error),
        Err(error @ Error::Input(..)) => (EXIT_BAD_INPUT, error),
        Err(Error::Command(name, error)) => {
            let code = if error.kind() == ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_RUN };
            (code, Error::Command(name, error))
        }
    };
    let _ = writeln!(std::io::stderr(), "invar: {error}");
    ExitCode::from(code)
}

/// The exit code.
fn run(arguments: Arguments, out: &mut dyn Write) -> Result<u8> {
    match arguments.command {
        None => demo::run(arguments.slices, out)?,
        Some(_) if arguments.slices => return Err(Error::input("--slices", "it is for `invar` without a command")),
        Some(Command::Probe { json }) => probe::run(Format::new(json), out)?,
        Some(Command::Doctor { json }) => doctor::run(Format::new(json), out)?,
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "invar", &mut script);
            out.write_all(&script)?;
        }
        Some(Command::Manual) => out.write_all(manual::page(&mut Arguments::command()).as_bytes())?,
        Some(Command::Sites { subject, manifest: true, .. }) => manifest::run(Path::new(&subject), out)?,
        Some(Command::Sites { subject, json, .. }) => sites::run(&subject, Format::new(json), out)?,
        Some(Command::Verify { pid, json, .. }) => {
            return match pid {
                Some(pid) => verify::of_process(pid, Format::new(json), out),
                None => verify::of_all(Format::new(json), out),
            };
        }
        Some(Command::Profile { json, plot, output, library, files, command }) => {
            let options = profile::ProfileOptions { format: Format::new(json), output, plot };
            return match command.is_empty() {
                true => profile::of_files(&files, &options, out).map(|()| 0),
                false => run::count(command, library, options, out),
            };
        }
        Some(Command::Run { only, own_rseq, report, json, profile, plot, output, library, command }) => {
            let counting = profile.then(|| profile::ProfileOptions { format: Format::new(json), output, plot });
            let shown = (report || json && !profile).then(|| Format::new(json && !profile));
            let options = run::RunOptions { only, own_rseq, report: shown, library, profile: counting };
            return run::of_command(command, &options, out);
        }
        Some(Command::Stress { seconds, executions, threads, json, protocol, here }) => {
            let limit = executions.map_or(stress::options::Limit::Seconds(seconds), stress::options::Limit::Executions);
            let threads = threads.map_or_else(stress::default_threads, |number| number as usize);
            let options = stress::options::StressOptions { limit, threads, protocol };
            return match here {
                Some(command) => stress::run_here(&options, command, out).map(|()| 0),
                None => stress::run(&options, Format::new(json), out),
            };
        }
        Some(Command::Set { pid, settings, json }) => return set::run(pid, &settings, Format::new(json), out),
        Some(Command::Wait { serve }) => wait(serve, out)?,
    }
    Ok(0)
}

invar::switch! {
    #[name = "tool.waiting"]
    static WAITING: bool = |_| Ok(false);
}

fn wait(serve: bool, out: &mut dyn Write) -> Result<()> {
    if serve {
        std::thread::spawn(|| invar::serve(|switch, _| switch.starts_with("tool.")));
        std::hint::black_box(invar::branch!(WAITING));
    }
    writeln!(out, "ready")?;
    out.flush()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).map(drop).map_err(Error::Output)
}
