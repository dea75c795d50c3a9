//! `cargo bench -p invar-bench` runs everything, with `-- slice` or other names only those.

#[cfg(bound_sites)]
mod abi1;
#[cfg(bound_sites)]
mod bind;
#[cfg(bound_sites)]
mod branch;
#[cfg(bound_sites)]
mod cold;
#[cfg(bound_sites)]
mod form;
#[cfg(bound_sites)]
mod guard;
mod load;
#[cfg(bound_sites)]
mod lock;
#[cfg(bound_sites)]
mod multiversion;
#[cfg(bound_sites)]
mod numbers;
#[cfg(bound_sites)]
mod peers;
#[cfg(bound_sites)]
mod peers_load;
mod pointer;
mod program;
#[cfg(bound_sites)]
mod run;
#[cfg(bound_sites)]
mod slice;
#[cfg(bound_sites)]
mod switch;
mod trace;

use std::io;
use std::process::ExitCode;

type Bench = (&'static str, fn() -> io::Result<()>);

#[cfg(bound_sites)]
const BENCHES: &[Bench] = &[
    ("slice", slice::run),
    ("lock", lock::run),
    ("branch", branch::run),
    ("pointer", pointer::run),
    ("abi1", abi1::run),
    ("bind", bind::run),
    ("numbers", numbers::run),
    ("load", load::run),
    ("guard", guard::run),
    ("switch", switch::run),
    ("multiversion", multiversion::run),
    ("peers", peers::run),
    ("run", run::run),
];
/// Elsewhere no site is bound, and there is nothing to compare.
#[cfg(not(bound_sites))]
const BENCHES: &[Bench] = &[("pointer", pointer::run), ("load", load::run)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(bound_sites)]
    if arguments.iter().any(|argument| argument == lock::ANSWER) {
        lock::answer().expect("questions that can be answered");
        return ExitCode::SUCCESS;
    }
    // `cargo test --all-targets` starts benchmarks too, and is to be quick.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, run) in BENCHES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
    {
        println!("== {name}\n");
        if let Err(error) = run() {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
        println!();
    }
    ExitCode::SUCCESS
}
