//! The command: has a kernel that grants, runs programs in it. In the guest it is process 1.
#![forbid(unsafe_code)]

use clap::Parser;
use invar_guest::cache::{Cache, HOW, KERNEL, named_kernel};
use invar_guest::console::Job;
use invar_guest::debian::{self, Suite};
use invar_guest::glibc;
use invar_guest::image::Image;
use invar_guest::machine::{Machine, Processor, Time};
use invar_guest::{Result, init, kernel};
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A Linux guest that grants time slice extensions.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Fetches and builds what the guest tests need, unless the cache has it: a kernel, C libraries.
    Get {
        /// Build the kernel from this source tree, not from Debian's package.
        #[arg(long)]
        source: Option<PathBuf>,
    },
    /// Runs programs in the guest, and reports like any test run.
    Run {
        /// What to add to the kernel's command line.
        #[arg(long, default_value = "")]
        line: String,
        /// Count time in instructions: slower, and the same in every run.
        #[arg(long)]
        icount: bool,
        /// How many seconds the guest may run.
        #[arg(long, default_value_t = 60)]
        limit: u64,
        /// Show what the programs write, and what the kernel counted, also of those that end well.
        #[arg(long)]
        show_output: bool,
        /// A folder to have in the guest, and where; programs in it have their libraries. Not below /tmp, which is empty.
        #[arg(long, value_name = "PATH=FOLDER")]
        tree: Vec<String>,
        /// Programs, each with its arguments, separated by spaces; `NAME=VALUE` in front sets its environment.
        #[arg(required = true)]
        programs: Vec<String>,
    },
}

fn main() -> ExitCode {
    if std::process::id() == 1 {
        let Err(error) = init::run();
        eprintln!("{error}");
        return ExitCode::FAILURE; // the kernel panics, and the machine is gone
    }
    let done = match Command::parse() {
        Command::Get { source } => get(source.as_deref()),
        Command::Run { line, icount, limit, show_output, tree, programs } => {
            let time = if icount { Time::Instructions } else { Time::Host };
            let limit = Duration::from_secs(limit);
            run(&programs, &tree, show_output, |kernel| Machine {
                processor: Processor::X86_64,
                kernel,
                line,
                time,
                limit,
                share: None,
            })
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("invar-guest: {error}");
        ExitCode::from(2)
    })
}

/// Gets one thing after the other, whatever becomes of those before; fails if one of them cannot be had, but for kernels of other
/// machines.
fn get(source: Option<&Path>) -> Result<ExitCode> {
    let cache = Cache::of_this_user();
    let mut missing = 0;
    let mut have = |what: &str, got: Result<PathBuf>| match got {
        Ok(path) => println!("{what}: {}", path.display()),
        Err(error) => {
            eprintln!("{what}: {error}");
            missing += 1;
        }
    };
    for glibc in &glibc::GLIBCS {
        have(&glibc.name(), Suite::open(glibc.suite, &cache).and_then(|suite| suite.unpack("libc6")));
    }
    let without = |processor: Processor| format!("a kernel of {} without the extension", processor.architecture());
    have(&without(Processor::X86_64), stock_kernel(Processor::X86_64, &cache));
    let granting = match named_kernel().filter(|_| source.is_none()) {
        Some(file) if file.is_file() => Ok(file),
        Some(file) => Err(format!("{KERNEL} names {}, which is no file", file.display()).into()),
        None => kernel::build(source, &cache),
    };
    have("a kernel with the extension", granting);
    // Their tests are few, and are shown as ignored where there is none.
    for processor in [Processor::Aarch64, Processor::Riscv64] {
        match stock_kernel(processor, &cache) {
            Ok(path) => println!("{}: {}", without(processor), path.display()),
            Err(error) => eprintln!("{}: {error}; its tests are ignored", without(processor)),
        }
    }
    let glibc = glibc::of_other_machines();
    match Suite::of(Processor::Riscv64.architecture(), glibc.suite, &cache)
        .and_then(|suite| suite.unpack("libc6:riscv64"))
    {
        Ok(path) => println!("{} of riscv64: {}", glibc.name(), path.display()),
        Err(error) => eprintln!("{} of riscv64: {error}; its tests are ignored", glibc.name()),
    }
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder of the distribution's kernel, or the kernel that the environment names.
fn stock_kernel(processor: Processor, cache: &Cache) -> Result<PathBuf> {
    if let Some(named) = cache.foreign_kernel(processor).filter(|_| std::env::var_os(processor.variable()).is_some()) {
        return Ok(named);
    }
    let suite = Suite::of(processor.architecture(), debian::KERNELS, cache)?;
    suite.unpack(&suite.last(debian::STOCK, processor.kernel())?)
}

fn run(
    programs: &[String],
    trees: &[String],
    show_output: bool,
    machine: impl FnOnce(PathBuf) -> Machine,
) -> Result<ExitCode> {
    let kernel =
        Cache::of_this_user().kernel().ok_or_else(|| format!("there is no kernel that grants; to have one: {HOW}"))?;
    let mut image = Image::new(&std::env::current_exe()?)?;
    for tree in trees {
        let (path, folder) = tree.split_once('=').ok_or_else(|| format!("--tree {tree}: not PATH=FOLDER"))?;
        image.tree(path.trim_end_matches('/').to_owned(), Path::new(folder))?;
    }
    let mut jobs = Vec::new();
    for line in programs {
        let mut words = line.split_whitespace().peekable();
        let mut environment = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            environment.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let program = words.next().ok_or("an empty command")?;
        let mut command = vec![image.program(&Path::new(program).canonicalize()?)?];
        command.extend(words.map(str::to_owned));
        jobs.push(Job { name: line.clone(), environment, command });
    }
    let run = machine(kernel).run(&image, &jobs)?;
    let trial = |job: Job| {
        let output = run.output(&job.name).map(str::to_owned).map_err(|error| error.to_string());
        let counts = run.outcomes.get(&job.name).and_then(|outcome| outcome.counts);
        Trial::test(job.name, move || {
            let output = output?;
            if show_output {
                println!("\n{output}");
                counts.inspect(|counts| println!("{counts}"));
            }
            Ok(())
        })
    };
    let arguments = Arguments { test_threads: Some(1), ..Arguments::default() };
    Ok(libtest_mimic::run(&arguments, jobs.into_iter().map(trial).collect()).exit_code())
}
