//! Programs that know nothing of time slices, on RISC-V. They have boots of their own: those of the others take long enough.

use super::{COMPILER, GRANTING, KERNELS, LOADER, Libc, TARGET, boot_with, image_with_libcs};
use crate::kernels::{Kernel, facts, job};
use crate::programs::{PRELOAD, Programs, UNMODIFIED, command_for, libinvar_for, no_make, unmodified};
use crate::test;
use crate::unmodified::{
    KINDS, every_job, granted_where_they_were_not, locks_mean_what_they_meant, the_caller_is_named,
};
use invar_guest::Result;
use invar_guest::console::{Counts, End, Job};
use invar_guest::image::Image;
use invar_guest::machine::Run;
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Of the compiler's tools: lists a file's symbols.
const SYMBOLS: &str = "riscv64-linux-gnu-nm";

/// The library in front, by hand, with a C library that registers areas; in all else the C library registers none.
const BY_HAND: &str = "RISC-V, unmodified, the library preloaded, a glibc that registers areas";
/// Where the pointers of programs lead that the library is in front of.
const POINTERS: &str = "RISC-V, pointers of an unmodified program";
/// What a thread requests at each step (`tests/programs/c/asks.c`), where the kernel's answer counts, and where a setting does.
const ASKS: [(&str, &[(&str, &str)]); 2] =
    [("RISC-V, what a thread requests", &[]), ("RISC-V, what it requests if forced", &[("INVAR_KEYS", "slice=force")])];
/// A program of another float ABI, which cannot load the library.
const OTHER_ABI: &str = "RISC-V, a program of another float ABI";

pub fn tests() -> Vec<Trial> {
    let missing = || super::missing().or_else(no_make);
    let name = |kernel: Kernel, what: &str| format!("RISC-V, unmodified programs, {what}, kernel {}", kernel.name());
    let mut tests = Vec::new();
    for kernel in GRANTING {
        let whose = format!("RISC-V, kernel {}", kernel.name());
        tests.extend(KINDS.map(|kind| {
            let whose = whose.clone();
            test(name(kernel, kind), missing(), move || granted_where_they_were_not(run(kernel), &whose, kind))
        }));
        tests.push(test(name(kernel, "counted"), missing(), move || the_caller_is_named(run(kernel))));
        let registered = missing().or_else(|| Libc::New.missing());
        tests.push(test(name(kernel, "a glibc that registers areas"), registered, move || by_hand(run(kernel))));
    }
    tests.push(test(name(Kernel::On, "POSIX"), missing(), || locks_mean_what_they_meant(run(Kernel::On))));
    tests.push(test(name(Kernel::On, "another float ABI"), missing(), || is_refused(run(Kernel::On))));
    tests.extend(KERNELS.map(|kernel| {
        test(name(kernel, "pointers"), missing(), move || pointers_lead_where_they_should(kernel, run(kernel)))
    }));
    let off = || nothing_is_asked_for(run(Kernel::OffAtBoot));
    tests.push(test(name(Kernel::OffAtBoot, "nothing is asked for"), missing(), off));
    tests
}

/// What came of all jobs on this kernel; the first who asks boots it.
fn run(kernel: Kernel) -> &'static Run {
    static RUNS: [OnceLock<std::result::Result<Run, String>>; 3] = [const { OnceLock::new() }; 3];
    let run = RUNS[kernel as usize].get_or_init(|| boot(kernel).map_err(|error| error.to_string()));
    run.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

fn boot(kernel: Kernel) -> Result<Run> {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| error.to_string())).as_ref().map_err(String::as_str)?;
    boot_with(kernel, &image(built)?, &jobs(kernel, built)?)
}

fn jobs(kernel: Kernel, built: &Path) -> Result<Vec<Job>> {
    let preloaded = ("LD_PRELOAD", PRELOAD);
    let mut jobs = vec![job(POINTERS, &[preloaded], &["/bin/bound", "/bin/bound.so"])];
    jobs.extend(every_job(kernel));
    match kernel {
        Kernel::OffAtBoot => {
            let area = area(built)?;
            for (name, settings) in ASKS {
                let environment: Vec<_> = settings.iter().copied().chain([preloaded]).collect();
                jobs.push(job(name, &environment, &["/bin/asks", &area]));
            }
        }
        Kernel::On => jobs.push(job(OTHER_ABI, &[], &["/bin/invar", "run", "--library", PRELOAD, "--", "/bin/soft"])),
        _ => {}
    }
    if kernel.grants() && Libc::New.missing().is_none() {
        let loader = format!("/new/{LOADER}");
        jobs.push(job(
            BY_HAND,
            &[preloaded],
            &[&loader, "--library-path", "/new:/lib", "/bin/unmodified", "mutex", "200"],
        ));
    }
    Ok(jobs)
}

/// The library's file name.
const LIBRARY: &str = "libinvar-preload.so.0";
/// The programs, of `guest/programs/c` and `tests/programs/c`.
const PROGRAMS: [&str; 6] = ["unmodified", "locks", "asks", "bound", "bound.so", "soft"];

/// Builds libinvar, and beside it these programs.
fn build() -> Result<PathBuf> {
    let folder = libinvar_for(TARGET, COMPILER, "riscv64-c")?;
    for name in UNMODIFIED.into_iter().chain(["asks"]) {
        unmodified(COMPILER, name, &[], &folder)?;
    }
    for options in [&["-fPIE", "-pie"][..], &["-DLIBRARY", "-shared", "-fPIC"]] {
        unmodified(COMPILER, "bound", options, &folder)?;
    }
    // Of another float ABI, by `e_flags` at offset 48: lp64 (EF_RISCV_FLOAT_ABI_SOFT).
    let mut soft = fs::read(folder.join("unmodified"))?;
    soft[48] &= !6;
    fs::write(folder.join("soft"), soft)?;
    fs::set_permissions(folder.join("soft"), Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn image(built: &Path) -> Result<Image> {
    static COMMAND: OnceLock<Programs> = OnceLock::new();
    let mut image = image_with_libcs()?;
    image.file(PRELOAD.into(), &built.join(LIBRARY));
    let command = COMMAND.get_or_init(|| command_for(TARGET, COMPILER));
    image.file("/bin/invar".into(), command.as_ref().map_err(String::as_str)?);
    for name in PROGRAMS {
        image.file(format!("/bin/{name}"), &built.join(name));
    }
    Ok(image)
}

/// Where the runtime's own area lies in the library's thread-local memory.
fn area(built: &Path) -> Result<String> {
    let said = String::from_utf8(Command::new(SYMBOLS).arg(built.join(LIBRARY)).output()?.stdout)?;
    let line = said.lines().find(|line| line.ends_with(" invar_area")).ok_or("no area")?;
    Ok(format!("0x{}", line.split(' ').next().unwrap_or_default()))
}

fn by_hand(run: &'static Run) {
    let (facts, counts) = (facts(run, BY_HAND), run.outcomes[BY_HAND].counts.expect("counts"));
    println!("{counts}");
    assert_eq!(facts["alone"], "yes");
    assert!(counts.granted > 10 && counts.yielded * 10 >= counts.granted * 9, "{counts}");
}

/// Of the program, of a library that it opens, and what `dlsym(3)` finds: to the library where the kernel grants, and else to the C
/// library, as if the library were not there.
fn pointers_lead_where_they_should(kernel: Kernel, run: &'static Run) {
    let said = run.output(POINTERS).unwrap_or_else(|error| panic!("{error}"));
    let owner = format!("\t{}", if kernel.grants() { LIBRARY } else { "libc.so.6" });
    let lines: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 15 && lines.iter().all(|line| line.ends_with(&owner)), "{said}");
    assert!(["program\t", "bound.so\t", "dlsym\t"].iter().all(|module| said.contains(module)), "{said}");
}

/// What each way of running it says and counts where the kernel is told not to grant; and no request byte is ever set, as it is if a
/// setting forces that.
fn nothing_is_asked_for(run: &'static Run) {
    for name in every_job(Kernel::OffAtBoot).into_iter().map(|job| job.name) {
        let said = run.output(&name).unwrap_or_else(|error| panic!("{error}"));
        assert!(said.contains("alone\tyes"), "{name}: {said}");
        assert_eq!(run.outcomes[&name].counts, Some(Counts::default()), "{name}");
    }
    let [asked, forced] = ASKS.map(|(name, _)| facts(run, name));
    let requests = |said: &BTreeMap<&str, &str>| said.values().filter(|bytes| bytes.contains('1')).count();
    assert!(requests(&forced) > 10, "{forced:?}");
    assert!(requests(&asked) == 0 && asked.keys().eq(forced.keys()), "{asked:?}");
}

fn is_refused(run: &'static Run) {
    let outcome = run.outcome(OTHER_ABI).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.end == End::Exit(2) && outcome.output.contains("for another machine"), "{outcome:?}");
}
