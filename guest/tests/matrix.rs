//! Kernel by C library: what the probe says, whose area it is, and what comes of sections.

use crate::boots::{Kernel, Libc, facts, job};
use crate::test;
use invar_guest::console::{Counts, Job};
use invar_guest::image::Image;
use libtest_mimic::Trial;

fn cells() -> impl Iterator<Item = (Kernel, Libc)> {
    Libc::ALL.into_iter().flat_map(|libc| Kernel::ALL.map(|kernel| (kernel, libc)))
}

fn name(kernel: Kernel, libc: Libc) -> String {
    format!("kernel {}, {}", kernel.name(), libc.name())
}

pub fn tests() -> Vec<Trial> {
    let cell = |(kernel, libc): (Kernel, Libc)| {
        let missing = kernel.missing().or_else(|| libc.missing());
        test(name(kernel, libc), missing, move || check(kernel, libc))
    };
    cells().map(cell).collect()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Vec<Job> {
    let cells = cells().filter(|(of, libc)| *of == kernel && libc.missing().is_none());
    let mut to_job = |(kernel, libc): (Kernel, Libc)| {
        let (environment, command) = libc.sections(image);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        job(name(kernel, libc), &environment, &command)
    };
    cells.map(&mut to_job).collect()
}

/// What the slice key must be: its value, how the evidence begins and what else is in it; and whose area it is that
/// requests go to. Where the extension is absent that is our own memory, which the kernel does not look at.
fn expected(kernel: Kernel, libc: Libc) -> (&'static str, &'static str, &'static str, &'static str) {
    let unregistered = matches!(libc, Libc::Unregistered(_));
    match kernel {
        Kernel::CompiledOut => {
            ("off", "kernel compiled without the extension", "CONFIG_RSEQ_SLICE_EXTENSION=y", "invar")
        }
        Kernel::OffAtBoot if unregistered => {
            ("off", "off at boot: registered an area of its own", "boot without rseq_slice_ext=0", "invar")
        }
        _ if unregistered => ("on", "available", "area of invar at thread pointer", "invar"),
        _ if !libc.registers_enough() => {
            ("off", "libc registered 32 bytes", "GLIBC_TUNABLES=glibc.pthread.rseq=0", "invar")
        }
        Kernel::OffAtBoot => ("off", "off at boot: prctl 79 gives 524", "boot without rseq_slice_ext=0", "invar"),
        Kernel::On | Kernel::Strict => ("on", "available", "area of libc at thread pointer", "libc"),
    }
}

fn check(kernel: Kernel, libc: Libc) {
    let (name, run) = (name(kernel, libc), kernel.run());
    let facts = facts(run, &name);
    let version = facts["libc"];
    assert!(version == libc.version(), "ran with glibc {version}");

    let (value, evidence, advice, owner) = expected(kernel, libc);
    let said = facts["evidence"];
    assert_eq!((facts["slice"], facts["origin"]), (value, "probe"), "{said}");
    assert!(said.starts_with(evidence) && said.contains(advice), "{said}");
    let flags = if value == "on" { "0x30" } else { "0x0" };
    assert_eq!((facts["requests go to the area of"], facts["its flags"]), (owner, flags));

    // On or off, every site was bound.
    assert_eq!(facts["bound"], facts["sites"]);
    assert_ne!(facts["sites"], "0");

    let number = |name| facts[name].parse::<u64>().unwrap();
    let (sections, grants, yields) = (number("sections"), number("grants"), number("yields"));
    let counted = run.outcomes[&name].counts;
    if value == "off" {
        assert_eq!((grants, yields), (0, 0));
        assert_eq!(counted, (kernel != Kernel::CompiledOut).then(Counts::default));
    } else {
        // The program and the kernel have counted the same.
        let counted = counted.expect("counts");
        assert_eq!((counted.granted, counted.yielded), (grants, yields), "{counted}");
        assert_eq!((counted.revoked, counted.aborted), (0, 0), "{counted}");
        assert_eq!((grants, yields), (sections, sections), "each section waits for its grant");
    }
}
