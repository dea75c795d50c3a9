//! Each way to change code, alone and where the system refuses it: sites are bound by what is allowed, and where
//! nothing is they stay checked, the report says why, and the program does the same.

mod common;

use common::elf::Image;
use common::hole::{no_holes, output_with_breakpoint, output_with_holes};
use common::probed::function_of;
use common::refuse::{Refused, cannot_refuse, refuse};
use common::{Build, Tale, bound_in_c, command, output, run, sites, tale, test, with_either_binder};
use libtest_mimic::Trial;
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};

const EPERM: &str = "1";
const EACCES: &str = "13";

/// What is refused, which writer is wanted, and what comes of it: the writer that was used, or the error number.
const CASES: [(&[Refused], &str, Result<&str, &str>); 19] = [
    (&[], "auto", Ok("swap")),
    (&[], "swap", Ok("swap")),
    (&[], "memfd", Ok("memfd")),
    (&[], "mprotect", Ok("mprotect")),
    (&[Refused::ExecGain], "auto", Ok("memfd")),
    (&[Refused::ExecGain], "swap", Err(EACCES)),
    (&[Refused::ExecGain], "memfd", Ok("memfd")),
    (&[Refused::ExecGain], "mprotect", Err(EACCES)),
    (&[Refused::MprotectExec], "auto", Ok("memfd")),
    (&[Refused::MprotectExec], "swap", Err(EPERM)),
    (&[Refused::MprotectExec], "mprotect", Err(EPERM)),
    (&[Refused::Memfd], "memfd", Err(EPERM)),
    (&[Refused::Mremap], "auto", Ok("mprotect")),
    (&[Refused::Mremap], "swap", Err(EPERM)),
    (&[Refused::Mremap], "memfd", Err(EPERM)),
    (&[Refused::ExecGain, Refused::Memfd], "auto", Err(EACCES)),
    (&[Refused::ExecGain, Refused::Mremap], "auto", Err(EACCES)),
    (&[Refused::MprotectExec, Refused::Memfd], "auto", Err(EPERM)),
    (&[Refused::MprotectExec, Refused::Mremap], "auto", Err(EPERM)),
];

/// What is refused, and what the report says of it behind the time.
const REFUSALS: [(&[Refused], &str); 4] = [
    (&[Refused::ExecGain], "; refused: swap (errno 13)"),
    (&[Refused::Mremap], "; refused: swap (errno 1), memfd (errno 1)"),
    (
        &[Refused::ExecGain, Refused::Memfd],
        "; what is not bound stays checked: every writer was refused, the first with errno 13; \
         refused: swap (errno 13), memfd (errno 1), mprotect (errno 13)",
    ),
    (
        &[Refused::Mremap, Refused::Statx],
        "; what is not bound stays checked: every writer was refused, the first with errno 1; \
         refused: swap (errno 1), memfd (errno 1), mprotect (the number of threads is not known)",
    ),
];

fn main() -> ExitCode {
    let refusals = REFUSALS.map(|(refused, said)| {
        let missing = sites().or_else(|| cannot_refuse(refused));
        test(&format!("the report has{}", said.split_once(';').unwrap().1), missing, move || reported(refused, said))
    });
    let cases = CASES.iter().flat_map(|&(refused, writer, outcome)| -> [Trial; 2] {
        let missing = sites().or_else(|| cannot_refuse(refused));
        let refusals: Vec<_> = refused.iter().map(|refused| format!("{refused:?}")).collect();
        let refusals = if refused.is_empty() { "nothing".into() } else { refusals.join(" and ") };
        with_either_binder(&format!("{writer}, {refusals} refused"), missing, move || check(refused, writer, outcome))
    });
    let unknown = sites().or_else(|| cannot_refuse(&[Refused::Statx]));
    let unknown = with_either_binder("the number of threads is not told", unknown, the_number_of_threads_is_not_told);
    let kept = sites().or_else(|| cannot_refuse(&[Refused::MprotectBack]));
    let kept = with_either_binder("text that stays writable is reported", kept, text_that_stays_writable);
    let traced = sites().or_else(cannot_trace);
    let traced = with_either_binder("signals wait while mprotect writes", traced, signals_wait);
    let limited = with_either_binder("a limit of files is no signal", sites(), a_limit_of_files);
    let many = with_either_binder("many sites, each way", sites(), many_sites);
    let holes = ["swap", "memfd"].map(|writer| {
        let name = format!("{writer}, mremap leaves a hole");
        with_either_binder(&name, sites().or_else(no_holes), move || a_hole_is_closed(writer))
    });
    let late = sites().or_else(no_holes);
    let late = with_either_binder("a breakpoint that goes at the last moment", late, a_breakpoint_that_goes);
    run(cases
        .chain([late, many, unknown, kept, traced, limited].into_iter().flatten())
        .chain(holes.into_iter().flatten())
        .chain(refusals))
}

/// Everything is bound, and the system does not take the right to write back.
fn text_that_stays_writable() {
    let run = |refused, settings: &[(&str, &str)]| {
        let mut story = command(Build::release().program("story"));
        refuse(&mut story, refused);
        // It comes to no good end: it looks for memory that is writable and executable.
        let output = output(story.envs(settings.iter().copied()));
        let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (said, errors, output.status.code())
    };
    const WHY: &str = "its text stays writable, as the protection that it had was refused with errno 1";
    let refused: [&'static [Refused]; 2] = [&[Refused::MprotectBack], &[Refused::MprotectBack, Refused::Mremap]];
    for (refused, writer) in refused.into_iter().zip(["mprotect", "auto"]) {
        let (said, errors, _) = run(refused, &[("INVAR_WRITER", writer), ("INVAR_REPORT", "stderr")]);
        assert!(errors.contains("writable and executable"), "the filter refuses nothing: {errors}");
        let line = said.lines().find(|line| line.starts_with("module\t\t")).unwrap_or_else(|| panic!("{said}"));
        let [_, _, _, sites, bound, writer, why] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!((sites, writer, why), (bound, "mprotect", WHY));
        assert!(said.contains("\nsite\t\t") && !said.contains("\tChecked\t"), "{said}");
        if bound_in_c() {
            continue;
        }
        let line = errors.lines().next().unwrap();
        assert!(line.starts_with("module (program) at ") && line.contains(&format!(" us; {WHY}")), "{errors}");
        let (_, errors, code) =
            run(refused, &[("INVAR_WRITER", writer), ("INVAR", "require"), ("INVAR_KEYS", "slice=force")]);
        assert_eq!(code, Some(invar::EXIT_REQUIRED));
        assert!(errors.ends_with(&format!(" of {sites} sites are bound; {WHY}\n")), "{errors}");
    }
}

/// The text comes back before anybody executes it, as it is in the file; in Rust, the code that exchanges pages was in it.
fn a_hole_is_closed(writer: &str) {
    let plain = tale(&mut command(Build::release().program("story")));
    let mut story = command(Build::release().program("story"));
    let (said, holes) = output_with_holes(story.env("INVAR_WRITER", writer));
    assert!(holes > 0, "nothing was moved");
    let tale = Tale::read(&said, String::new());
    assert!(tale.ended);
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    assert_eq!(tale.choices(), plain.choices());
    tale.program().assert_checked();
    assert!(tale.differs.is_empty(), "{:?}", tale.differs);
    assert_eq!(tale.program().reason, "every writer was refused, the first with errno 12");
}

/// It does not come back with the pages that are exchanged, where nobody would know it.
fn a_breakpoint_that_goes() {
    let program = Build::release().program("story");
    let plain = tale(&mut command(&program));
    let image = Image::read(&program);
    let site = image.site_records().into_iter().find(|record| record.kind == 2).expect("a section");
    let (said, [at_end, in_file]) = output_with_breakpoint(&mut command(&program), function_of(&image, site.site));
    assert_eq!(at_end, in_file);
    let tale = Tale::read(&said, String::new());
    assert!(tale.ended);
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    tale.assert_only_sites_differ(&image);
}

/// Why nobody can be traced here, from a try.
fn cannot_trace() -> Option<String> {
    let mut command = std::process::Command::new("true");
    traced(&mut command).map(|_| ()).err().map(|error| format!("no process can be traced: {error}"))
}

/// A system call that a traced program made.
struct Call {
    number: i64,
    first: u64,
    protection: i32,
    /// The signals that wait.
    blocked: u64,
}

/// Runs a program to its end; the signals that waited when it began, and its system calls.
fn traced(command: &mut std::process::Command) -> std::io::Result<(u64, Vec<Call>)> {
    const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
    // SAFETY: one system call in the child, on numbers.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = child.id() as libc::pid_t;
    // SAFETY: a child of this thread that stops for it; the kernel fills in what is given.
    unsafe {
        let mut status = 0;
        let blocked = || {
            let mut set = 0_u64;
            assert_eq!(libc::ptrace(PTRACE_GETSIGMASK, pid, size_of::<u64>(), &raw mut set), 0);
            set
        };
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        let at_first = blocked();
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        assert_eq!(libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options), 0);
        let (mut calls, mut signal) = (Vec::new(), 0);
        loop {
            libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, signal);
            assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
            if !libc::WIFSTOPPED(status) {
                assert_eq!(status, 0, "the program's end");
                return Ok((at_first, calls));
            }
            signal = libc::WSTOPSIG(status);
            if signal != libc::SIGTRAP | 0x80 {
                continue;
            }
            signal = 0;
            let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
            let size = size_of_val(&info);
            assert!(libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) > 0);
            if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                let entry = info.u.entry;
                let (number, [first, _, protection, ..]) = (entry.nr as i64, entry.args);
                calls.push(Call { number, first, protection: protection as i32, blocked: blocked() });
            }
        }
    }
}

/// A handler could meet half a site; and afterwards all is as it was.
fn signals_wait() {
    let mut story = command(Build::release().program("story"));
    let (at_first, calls) = traced(story.env("INVAR_WRITER", "mprotect")).unwrap();
    let rights = libc::PROT_WRITE | libc::PROT_EXEC;
    let is = |call: &Call, wanted| call.number == libc::SYS_mprotect && call.protection & rights == wanted;
    let begin = calls.iter().position(|call| is(call, rights)).expect("text is made writable");
    let end = calls.iter().rposition(|call| is(call, libc::PROT_EXEC)).expect("and gets its protection back");
    let cannot_wait = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
    for call in &calls[begin..=end] {
        assert_eq!(call.blocked | cannot_wait, u64::MAX, "system call {}", call.number);
        // One that names no change asks whether memory can be read.
        assert!(call.number != libc::SYS_rt_sigprocmask || call.first == u64::MAX);
    }
    assert_eq!((calls[0].blocked, calls.last().unwrap().blocked), (at_first, at_first));
}

/// What goes beyond it would bring one to whoever fills a memfd.
fn a_limit_of_files() {
    let limited = |writer: &str| {
        let mut command = command(Build::release().program("story"));
        // SAFETY: one system call in the child, on numbers.
        unsafe {
            command.pre_exec(|| {
                let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                match libc::setrlimit(libc::RLIMIT_FSIZE, &none) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        tale(command.env("INVAR_WRITER", writer))
    };
    limited("swap").program().assert_bound();
    let tale = limited("memfd");
    tale.assert_consistent();
    tale.program().assert_checked();
    assert_eq!(tale.program().reason, format!("every writer was refused, the first with errno {}", libc::EFBIG));
}

/// Every writer leaves the same code, and `swap` needs nothing that tells of threads.
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
    let (writer, by_swap) = run("auto", &[Refused::Statx]);
    assert_eq!(writer, "swap");
    for (writer, refused, used) in [
        ("swap", &[] as &[_], "swap"),
        ("memfd", &[], "memfd"),
        ("mprotect", &[], "mprotect"),
        ("auto", &[Refused::ExecGain], "memfd"),
    ] {
        let (by, differs) = run(writer, refused);
        assert_eq!(by, used);
        // Pages of a memfd are none of the file's.
        let expected = if used == "memfd" { &[][..] } else { &by_swap };
        assert!(differs == expected, "{used} does not write the same as swap");
    }
}

/// Code that is executed is not written to where another thread may be executing it.
fn the_number_of_threads_is_not_told() {
    let plain = tale(&mut command(Build::release().program("story")));
    let tale = story(&[Refused::Statx], "mprotect");
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    assert_eq!(tale.choices(), plain.choices(), "keys are decided all the same");
    tale.program().assert_checked();
    assert!(tale.differs.is_empty(), "{:?}", tale.differs);
    assert_eq!(
        tale.program().reason,
        "only the writer mprotect was left, and the number of threads is not known: errno 1"
    );
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
            assert_eq!(module.reason, format!("every writer was refused, the first with errno {errno}"));
            assert!(
                bound_in_c() || tale.errors.contains(&module.reason),
                "the report does not say it: {}",
                tale.errors
            );
        }
    }
}

fn reported(refused: &'static [Refused], said: &str) {
    let errors = story(refused, "auto").errors;
    let line = errors.lines().next().unwrap();
    assert!(line.starts_with("module (program) at ") && line.ends_with(said), "{line}");
}

fn story(refused: &'static [Refused], writer: &str) -> Tale {
    let mut command = command(Build::release().program("story"));
    command.env("INVAR_WRITER", writer).env("INVAR_REPORT", "stderr");
    refuse(&mut command, refused);
    tale(&mut command)
}
