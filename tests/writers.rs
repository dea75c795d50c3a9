//! Each way to change code, alone and where the system refuses it: sites are bound by what is allowed, and where
//! nothing is they stay checked, the report says why, and the program does the same.

mod common;

use common::refuse::{Refused, cannot_refuse, refuse};
use common::{Build, Tale, bound_in_c, command, run, sites, tale, with_either_binder};
use libtest_mimic::Trial;
use std::process::ExitCode;

const EPERM: &str = "1";
const EACCES: &str = "13";

/// What is refused, which writer is wanted, and what comes of it: the writer that was used, or the error number.
const CASES: [(&[Refused], &str, Result<&str, &str>); 14] = [
    (&[], "mem", Ok("mem")),
    (&[], "mprotect", Ok("mprotect")),
    (&[Refused::ExecGain], "auto", Ok("mem")),
    (&[Refused::ExecGain], "mem", Ok("mem")),
    (&[Refused::ExecGain], "mprotect", Err(EACCES)),
    (&[Refused::MprotectExec], "auto", Ok("mem")),
    (&[Refused::MprotectExec], "mprotect", Err(EPERM)),
    (&[Refused::OpenReadWrite], "auto", Ok("mprotect")),
    (&[Refused::OpenReadWrite], "mem", Err(EPERM)),
    (&[Refused::Pwrite], "auto", Ok("mprotect")),
    (&[Refused::Pwrite], "mem", Err(EPERM)),
    (&[Refused::ExecGain, Refused::OpenReadWrite], "auto", Err(EACCES)),
    (&[Refused::ExecGain, Refused::Pwrite], "auto", Err(EACCES)),
    (&[Refused::MprotectExec, Refused::OpenReadWrite], "auto", Err(EPERM)),
];

fn main() -> ExitCode {
    let cases = CASES.iter().flat_map(|&(refused, writer, outcome)| -> [Trial; 2] {
        let missing = sites().or_else(|| cannot_refuse(refused));
        let refusals: Vec<_> = refused.iter().map(|refused| format!("{refused:?}")).collect();
        let refusals = if refused.is_empty() { "nothing".into() } else { refusals.join(" and ") };
        with_either_binder(&format!("{writer}, {refusals} refused"), missing, move || check(refused, writer, outcome))
    });
    let unknown = sites().or_else(|| cannot_refuse(&[Refused::Statx]));
    let unknown = with_either_binder("the number of threads is not told", unknown, the_number_of_threads_is_not_told);
    run(cases.chain(with_either_binder("many sites, each way", sites(), many_sites)).chain(unknown))
}

/// On dozens of pages in a row, where mprotect is the cheaper; a few, as the other tests have, are written by mem.
fn many_sites() {
    let run = |writer, refused| {
        let mut command = command(Build::release().program("foreign"));
        refuse(&mut command, refused);
        let tale = tale(command.env("INVAR_WRITER", writer));
        tale.assert_consistent();
        tale.program().assert_bound();
        assert!(tale.program().sites > 9000);
        (tale.program().writers.clone(), tale.differs.clone())
    };
    let (writer, by_mprotect) = run("auto", &[]);
    // The binder in C does not count pages.
    assert_eq!(writer, if bound_in_c() { "mem" } else { "mprotect" });
    let (writer, by_mem) = run("mem", &[]);
    assert_eq!(writer, "mem");
    assert_eq!(by_mem, by_mprotect, "they do not write the same");
    assert_eq!(run("auto", &[Refused::ExecGain]).0, "mem");
    let (writer, by_mprotect) = run("mprotect", &[]);
    assert_eq!((&*writer, by_mprotect), ("mprotect", by_mem));
}

/// Nothing is written where another thread may be executing it.
fn the_number_of_threads_is_not_told() {
    let plain = tale(&mut command(Build::release().program("story")));
    let tale = story(&[Refused::Statx], "auto");
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    assert_eq!(tale.choices(), plain.choices(), "keys are decided all the same");
    tale.program().assert_checked();
    assert!(tale.differs.is_empty(), "{:?}", tale.differs);
    assert_eq!(tale.program().reason, "/proc/self/task does not tell the number of threads: errno 1");
}

fn check(refused: &'static [Refused], writer: &str, outcome: Result<&str, &str>) {
    let plain = tale(&mut command(Build::release().program("story")));
    let tale = story(refused, writer);
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    assert_eq!(tale.choices(), plain.choices(), "keys are decided whoever may write");
    let module = tale.program();
    match outcome {
        Ok(used) => {
            module.assert_bound();
            assert_eq!(module.writers, used);
        }
        Err(errno) => {
            module.assert_checked();
            assert!(tale.differs.is_empty(), "{:?}", tale.differs);
            assert_eq!(module.reason, format!("every writer was refused, the last with errno {errno}"));
            assert!(
                bound_in_c() || tale.errors.contains(&module.reason),
                "the report does not say it: {}",
                tale.errors
            );
        }
    }
}

fn story(refused: &'static [Refused], writer: &str) -> Tale {
    let mut command = command(Build::release().program("story"));
    command.env("INVAR_WRITER", writer).env("INVAR_REPORT", "stderr");
    refuse(&mut command, refused);
    tale(&mut command)
}
