//! `invar doctor` names the right cause on each kernel, with each glibc; `cli/tests/doctor.rs` has the cases that need no kernel.

use crate::kernels::Kernel;
use crate::libcs::Libc;
use crate::matrix;
use crate::programs::command;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::glibc::version_numbers;
use invar_guest::image::Image;
use libtest_mimic::Trial;

/// The command is linked dynamically.
fn cells() -> impl Iterator<Item = (Kernel, Libc)> {
    let libcs = Libc::all().into_iter().filter(|libc| matches!(libc, Libc::Plain(_) | Libc::Unregistered(_)));
    libcs.flat_map(|libc| Kernel::ALL.map(|kernel| (kernel, libc)))
}

fn name(kernel: Kernel, libc: Libc) -> String {
    format!("doctor on kernel {}, {}", kernel.name(), libc.name())
}

pub fn tests() -> Vec<Trial> {
    matrix::tests_of(cells(), name, check)
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    image.program(&command()?)?;
    let cells = cells().filter(|(of, libc)| *of == kernel && libc.missing().is_none());
    cells.map(|(kernel, libc)| libc.job(name(kernel, libc), &["invar", "doctor"], image)).collect()
}

fn check(kernel: Kernel, libc: Libc) {
    let said = kernel.run().output(&name(kernel, libc)).unwrap_or_else(|error| panic!("{error}"));
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let version = said.split("process glibc ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a version");
    let registers_enough = version_numbers(version) >= Some((2, 41));
    let is_unregistered = matches!(libc, Libc::Unregistered(_));
    let (value, why, remedy) = match kernel {
        Kernel::CompiledOut => ("off", "kernel compiled without", "built with CONFIG_RSEQ_SLICE_EXTENSION=y"),
        _ if !is_unregistered && !registers_enough => ("off", "libc registered", "GLIBC_TUNABLES=glibc.pthread.rseq=0"),
        Kernel::OffAtBoot => ("off", "off at boot", "take rseq_slice_ext=0 out of the boot line"),
        Kernel::On | Kernel::Strict => ("on", "available", "nothing"),
    };
    assert!(said.starts_with(&format!("time slice extension: {value} why {why}")), "{said}");
    let (facts, to_do) = said.split_once(" to do ").expect("what to do");
    assert!(to_do.contains(remedy), "{said}");
    assert_eq!(facts.contains("boot line: rseq_slice_ext=0"), kernel == Kernel::OffAtBoot, "{said}");
    assert_eq!(facts.contains("GLIBC_TUNABLES: glibc.pthread.rseq=0"), is_unregistered, "{said}");
}
