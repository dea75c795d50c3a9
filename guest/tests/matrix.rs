//! Kernel by C library: what the probe says, whose area it is, and what comes of sections.

use crate::kernels::{Kernel, assert_given_up, facts};
use crate::libcs::Libc;
use crate::test;
use invar_guest::Result;
use invar_guest::console::{Counts, Job};
use invar_guest::glibc::version_numbers;
use invar_guest::image::Image;
use invar_guest::machine::Run;
use libtest_mimic::Trial;

fn cells() -> impl Iterator<Item = (Kernel, Libc)> {
    Libc::all().into_iter().flat_map(|libc| Kernel::ALL.map(|kernel| (kernel, libc)))
}

fn name(kernel: Kernel, libc: Libc) -> String {
    format!("kernel {}, {}", kernel.name(), libc.name())
}

pub fn tests() -> Vec<Trial> {
    tests_of(cells(), name, check)
}

/// A test for each of these cells.
pub fn tests_of(
    cells: impl Iterator<Item = (Kernel, Libc)>,
    name: fn(Kernel, Libc) -> String,
    check: fn(Kernel, Libc),
) -> Vec<Trial> {
    let cell = |(kernel, libc): (Kernel, Libc)| {
        let missing = kernel.missing().or_else(|| libc.missing());
        test(name(kernel, libc), missing, move || check(kernel, libc))
    };
    cells.map(cell).collect()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let cells = cells().filter(|(of, libc)| *of == kernel && libc.missing().is_none());
    cells.map(|(kernel, libc)| libc.job(name(kernel, libc), &["sections"], image)).collect()
}

/// What the time slice key must say on this kernel, with a C library of this version.
struct Expected {
    value: &'static str,
    /// How the evidence begins.
    evidence: &'static str,
    /// What else is in it.
    advice: &'static str,
}

fn expected(kernel: Kernel, unregistered: bool, version: &str) -> Expected {
    let registers_enough = version_numbers(version) >= Some((2, 41));
    let (value, evidence, advice) = match kernel {
        Kernel::CompiledOut => ("off", "kernel compiled without the extension", "CONFIG_RSEQ_SLICE_EXTENSION=y"),
        Kernel::OffAtBoot if unregistered => {
            ("off", "off at boot: registered an area of its own", "boot without rseq_slice_ext=0")
        }
        _ if unregistered => ("on", "available", "area of invar at thread pointer"),
        _ if !registers_enough => ("off", "libc registered 32 bytes", "GLIBC_TUNABLES=glibc.pthread.rseq=0"),
        Kernel::OffAtBoot => ("off", "off at boot: prctl 79 gives 524", "boot without rseq_slice_ext=0"),
        Kernel::On | Kernel::Strict => ("on", "available", "area of libc at thread pointer"),
    };
    Expected { value, evidence, advice }
}

fn check(kernel: Kernel, libc: Libc) {
    let (name, run) = (name(kernel, libc), kernel.run());
    let facts = facts(run, &name);
    assert!(libc.is(facts["libc"]), "ran with {}", facts["libc"]);
    assert_eq!(facts["static"], matches!(libc, Libc::Static | Libc::Musl).to_string());
    check_run(kernel, run, &name, matches!(libc, Libc::Unregistered(_) | Libc::Musl));
}

/// What the program `sections` said in this job, with a C library that registers areas or does not.
pub fn check_run(kernel: Kernel, run: &'static Run, name: &str, unregistered: bool) {
    let facts = facts(run, name);
    let Expected { value, evidence, advice } = expected(kernel, unregistered, facts["libc"]);
    let said = facts["evidence"];
    assert_eq!((facts["slice"], facts["origin"]), (value, "probe"), "{said}");
    assert!(said.starts_with(evidence) && said.contains(advice), "{said}");

    // Who registered; and where requests go. Where the extension is absent that is our own memory, registered or not.
    let owner = match (unregistered, value) {
        (false, _) => "libc",
        (true, "on") => "invar",
        (true, _) => "nobody",
    };
    let (goal, flags) = if value == "on" { (owner, "0x30") } else { ("invar", "0x0") };
    assert_eq!(facts["the kernel knows the area of"], owner);
    assert_eq!((facts["requests go to the area of"], facts["its flags"]), (goal, flags));

    // On or off, every site was bound.
    assert_eq!(facts["bound"], facts["sites"]);
    assert_ne!(facts["sites"], "0");

    let number = |name| facts[name].parse::<u64>().unwrap();
    let (sections, grants, yields) = (number("sections"), number("grants"), number("yields"));
    let counted = run.outcomes[name].counts;
    if value == "off" {
        assert_eq!((grants, yields), (0, 0));
        assert_eq!(counted, (kernel != Kernel::CompiledOut).then(Counts::default));
    } else {
        // The program and the kernel have counted the same.
        let counted = counted.expect("counts");
        assert_given_up(&counted, grants, counted.yielded);
        assert_eq!((grants, yields), (sections, sections), "each section waits for its grant");
    }
}
