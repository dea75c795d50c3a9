//! Arguments of the `invar` command.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use invar_cli::error::{Error, Result};
use invar_cli::text::Format;
use invar_cli::{demo, probe, sites};
use std::ffi::OsString;
use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;

/// What this machine offers, how programs are bound, what it saves.
///
/// Without a command: this machine's verdicts, the sites of this very program before and
/// after binding, and what binding saves, measured in a few seconds.
#[derive(Parser)]
#[command(name = "invar", version, verbatim_doc_comment, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List every built-in key: its value on this machine, who decided, and why
    Probe {
        /// Print JSON (schema invar.probe/1)
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
    },
    /// Say "ready" and wait for the end of standard input: a process with sites, to look at
    #[command(hide = true)]
    Wait,
}

const EXIT_CODES: &str = "Exit code 1: the output cannot be written. 2: the arguments or the input cannot be used.";
/// Exit code where the output cannot be written.
const EXIT_NO_OUTPUT: u8 = 1;
/// Exit code for every input that cannot be used; clap's for usage errors.
const EXIT_BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(arguments) => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            run(arguments.command, &mut out).and_then(|()| Ok(out.flush()?))
        }
        Err(usage) if usage.use_stderr() => {
            // Where that cannot be written, the exit code has to do.
            let _ = usage.print();
            return ExitCode::from(EXIT_BAD_INPUT);
        }
        // Help, or the version.
        Err(answer) => answer.print().and_then(|()| std::io::stdout().flush()).map_err(Error::Output),
    };
    let (code, error) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        // Whoever reads has enough, as `head` does.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(error @ Error::Output(_)) => (EXIT_NO_OUTPUT, error),
        Err(error @ Error::Input(..)) => (EXIT_BAD_INPUT, error),
    };
    let _ = writeln!(std::io::stderr(), "invar: {error}");
    ExitCode::from(code)
}

fn run(command: Option<Command>, out: &mut dyn Write) -> Result<()> {
    match command {
        None => demo::run(out),
        Some(Command::Probe { json }) => probe::run(Format::new(json), out),
        Some(Command::Sites { subject, json }) => sites::run(&subject, Format::new(json), out),
        Some(Command::Wait) => wait(out),
    }
}

fn wait(out: &mut dyn Write) -> Result<()> {
    writeln!(out, "ready")?;
    out.flush()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).map(drop).map_err(Error::Output)
}
