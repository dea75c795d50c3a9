//! Enrolled threads end, those as well that nobody waits for: musl unmaps their memory while they run, and the kernel must have
//! forgotten their areas by then.

use crate::kernels::{Kernel, facts, job};
use crate::programs::{ends_in_c, ends_in_rust, no_musl, no_musl_gcc};
use crate::test;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::image::Image;
use libtest_mimic::Trial;
use std::path::PathBuf;

/// A program, and what it says: name and value.
struct Program {
    name: &'static str,
    missing: fn() -> Option<String>,
    build: fn() -> Result<PathBuf>,
    ways: &'static [&'static str],
    said: &'static str,
}

const IN_C: &[&str] = &["return", "pthread_exit", "detached later", "detaches itself", "cancelled"];
const IN_RUST: &[&str] = &["handle dropped", "handle dropped later", "handle dropped by itself", "joined"];

const PROGRAMS: [Program; 4] = [
    Program {
        name: "in C",
        missing: no_musl_gcc,
        build: || ends_in_c(false),
        ways: IN_C,
        said: "0 before, 300 enrolled, 300 given back, 0 not",
    },
    Program {
        name: "in C with wrappers",
        missing: no_musl_gcc,
        build: || ends_in_c(true),
        ways: IN_C,
        said: "300 before, 300 enrolled, 300 given back, 0 not",
    },
    Program {
        name: "in Rust",
        missing: no_musl,
        build: || ends_in_rust(false),
        ways: IN_RUST,
        said: "0 before, 300 enrolled, 300 given back, 0 not",
    },
    Program {
        name: "in Rust with the hook",
        missing: no_musl,
        build: || ends_in_rust(true),
        ways: IN_RUST,
        said: "300 before, 300 enrolled, 300 given back, 0 not",
    },
];

/// One kernel each, since a run takes its time.
fn cells() -> impl Iterator<Item = (Kernel, &'static Program)> {
    [Kernel::On, Kernel::Strict].into_iter().cycle().zip(&PROGRAMS)
}

fn name(program: &Program) -> String {
    format!("threads of a program {} end, musl", program.name)
}

pub fn tests() -> Vec<Trial> {
    let cell = |(kernel, program): (Kernel, &'static Program)| {
        let missing = kernel.missing().or_else(program.missing);
        test(format!("{}, kernel {}", name(program), kernel.name()), missing, move || they_end(kernel, program))
    };
    cells().map(cell).collect()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let cells = cells().filter(|(of, program)| *of == kernel && (program.missing)().is_none());
    let job = |(_, program): (Kernel, &Program)| {
        let path = format!("/bin/ends-{}", program.name.replace(' ', "-"));
        image.file(path.clone(), &(program.build)()?);
        Ok(job(name(program), &[], &[&path]))
    };
    cells.map(job).collect()
}

fn they_end(kernel: Kernel, program: &Program) {
    let facts = facts(kernel.run(), &name(program));
    let said: Vec<_> = program.ways.iter().map(|way| (*way, *facts.get(way).unwrap_or(&"nothing"))).collect();
    let expected: Vec<_> = program.ways.iter().map(|way| (*way, program.said)).collect();
    assert_eq!(said, expected);
}
