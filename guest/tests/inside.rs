//! What is done in sections that one should not do there, or must be able to: what comes of it, and that the strict
//! kernel kills only for what `docs/sections.md` calls a limit.

use crate::kernels::{Kernel, job};
use crate::libcs::UNREGISTERED;
use crate::test;
use invar_guest::console::{End, Job, Outcome};
use invar_guest::machine::Run;
use libtest_mimic::Trial;

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

const OK: End = End::Exit(0);
const KILLED: End = End::Signal(SIGSEGV);
const ABORTED: End = End::Signal(SIGABRT);

/// Something that the program `inside` does, before or after its time was extended.
struct Case {
    name: &'static str,
    granted: bool,
    /// The state of the two bytes, step by step; and the child's.
    steps: &'static str,
    child: &'static str,
    /// The same where the end of a section gives up the CPU in any case if time was extended.
    looking: &'static str,
    /// How it ends on a kernel that grants, and on one that is strict.
    ends: [End; 2],
}

const fn case(name: &'static str, granted: bool, steps: &'static str) -> Case {
    Case { name, granted, steps, child: "", looking: steps, ends: [OK, OK] }
}

const CASES: &[Case] = &[
    case("nested", false, "requested, requested, idle, idle"),
    Case {
        looking: "granted, requested and granted, idle, idle",
        ..case("nested", true, "granted, requested and granted, granted, idle")
    },
    case("nested, inner section granted", true, "granted, idle, idle"),
    case("nested, system call in the inner section", false, "requested, requested, idle, idle"),
    Case {
        ends: [OK, KILLED],
        ..case("nested, system call in the inner section", true, "granted, requested and granted, idle, idle")
    },
    case("nested, system call after the inner section", false, "requested, idle, idle, idle"),
    Case {
        looking: "granted, idle, idle, idle",
        ..case("nested, system call after the inner section", true, "granted, granted, idle, idle")
    },
    case("system call", false, "requested, requested, idle"),
    case("system call", true, "granted, idle, idle"),
    case("contended lock", false, "requested, requested, idle, idle"),
    case("contended lock", true, "granted, requested, idle, idle"),
    case("sleep", false, "requested, requested, idle"),
    case("sleep", true, "granted, idle, idle"),
    case("handler", false, "requested, requested, idle"),
    case("handler", true, "granted, idle, idle"),
    case("handler, system call", false, "requested, requested, idle"),
    case("handler, system call", true, "granted, idle, idle"),
    case("handler, section", false, "requested, idle, idle"),
    case("handler, section", true, "granted, idle, idle"),
    case("handler, system call in a section", false, "requested, idle, idle"),
    Case { ends: [OK, KILLED], ..case("handler, system call in a section", true, "granted, idle, idle") },
    case("siglongjmp", false, "requested, requested, idle"),
    case("siglongjmp", true, "granted, idle, idle"),
    // The kernel takes the request back where it schedules a thread in, as it does with a new one.
    Case { child: "requested, idle, idle", ..case("fork", false, "requested, requested, idle") },
    Case { child: "granted, idle, idle", ..case("fork", true, "granted, idle, idle") },
    Case { child: "idle", ..case("posix_spawn", false, "requested, requested, idle") },
    Case { child: "idle", ..case("posix_spawn", true, "granted, idle, idle") },
    case("vfork, section", false, "requested, idle, idle"),
    case("vfork, section", true, "granted, idle, idle"),
    Case { child: "idle", ..case("execve", false, "") },
    Case { child: "idle", ..case("execve", true, "") },
    case("panic", false, "requested, idle"),
    case("panic", true, "granted, idle"),
    Case { ends: [ABORTED, ABORTED], ..case("panic that must not unwind", false, "") },
    Case { ends: [ABORTED, ABORTED], ..case("panic that must not unwind", true, "") },
    case("forgotten", false, "requested, idle"),
    case("forgotten", true, "granted, idle, idle"),
    case("thread ends", false, "requested, idle"),
    case("thread ends", true, "granted, idle"),
    case("await", false, "requested, idle, idle"),
    Case { ends: [OK, KILLED], ..case("after a revoked grant, system call", true, "idle, requested, requested, idle") },
    Case { ends: [OK, KILLED], ..case("after a revoked grant, handler", true, "idle, requested, requested, idle") },
    case("after a revoked grant, system call before", true, "idle, requested, requested, idle"),
    case("std's handler", true, "granted, requested and granted, idle, idle"),
];

impl Case {
    fn name(&self) -> String {
        format!("inside a section{}: {}", if self.granted { ", granted" } else { "" }, self.name)
    }

    fn job(&self) -> Job {
        let command = ["/bin/inside", self.name, "granted"];
        job(self.name(), &[UNREGISTERED], &command[..if self.granted { 3 } else { 2 }])
    }

    fn outcome(&self, run: &'static Run) -> &'static Outcome {
        run.outcome(&self.name()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether this is what is seen if somebody else wanted the CPU in between: then the request was lost, or the time extended.
    /// The kernel's own threads may want it at any time, but hardly in the same case on both kernels. Where there is another process,
    /// who of both runs first is the scheduler's affair.
    fn was_disturbed(&self, other: &'static Run, said_here: [&str; 2]) -> bool {
        let as_expected_there = || said(self.outcome(other), "steps") == self.steps;
        let disturbed = ["requested, idle", "requested, granted"]
            .map(|steps| self.steps.replacen("requested, requested", steps, 1));
        let is_so = said_here[1] == self.child && disturbed.iter().any(|steps| *steps == said_here[0]);
        is_so && !self.granted && (!self.child.is_empty() || as_expected_there())
    }

    /// On one kernel, and what it did on the other one.
    fn check(&self, [run, other]: [&'static Run; 2], steps: &str, end: &End) {
        let outcome = self.outcome(run);
        assert_eq!(outcome.end, *end, "{}: {}", self.name(), outcome.output);
        if *end == OK {
            let said = [said(outcome, "steps"), said(outcome, "child")];
            let is_expected = said == [steps, self.child] || self.was_disturbed(other, said);
            assert!(is_expected, "{}: {}", self.name(), outcome.output);
        }
        let counts = outcome.counts.expect("counts");
        assert!(!self.granted || counts.granted > 0, "{}: {counts}", self.name());
    }
}

/// All cases, on a kernel that grants and on one that is strict, of a machine whose sections look at the grant in any case.
pub fn check_all(runs: [&'static Run; 2]) {
    let [on, strict] = runs;
    for case in CASES {
        for (runs, end) in [[on, strict], [strict, on]].into_iter().zip(&case.ends) {
            case.check(runs, case.looking, end);
        }
    }
}

/// What a job said of this, or nothing.
fn said<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    let lines = outcome.output.lines().filter_map(|line| line.split_once('\t'));
    lines.filter(|(it, _)| *it == name).map(|(_, value)| value).next().unwrap_or_default()
}

pub fn tests() -> Vec<Trial> {
    let kernels = [Kernel::On, Kernel::Strict];
    let cells = CASES
        .iter()
        .flat_map(|case| kernels.into_iter().zip(case.ends.clone()).map(move |(kernel, end)| (case, kernel, end)));
    let trial = |(case, kernel, end): (&'static Case, Kernel, End)| {
        let name = format!("{}, kernel {}", case.name(), kernel.name());
        let other = if kernel == Kernel::On { Kernel::Strict } else { Kernel::On };
        test(name, kernel.missing(), move || case.check([kernel.run(), other.run()], case.steps, &end))
    };
    let documented = test("the documentation of critical sections names every case", None, the_table_names_every_case);
    cells.map(trial).chain([documented]).collect()
}

fn the_table_names_every_case() {
    let text = include_str!("../../docs/sections.md");
    for case in CASES {
        assert!(text.contains(&format!("`{}`", case.name)), "`{}` is not in docs/sections.md", case.name);
        let rows = text.lines().filter(|line| line.starts_with('|') && line.ends_with(&format!("| `{}` |", case.name)));
        for row in rows {
            let kills = CASES.iter().any(|it| it.name == case.name && it.ends[1] == KILLED);
            assert_eq!(row.contains("**limit**"), kills, "{row}");
        }
    }
    // And there is no other.
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| inside a critical section |"));
    for row in rows {
        let name = row.trim_end_matches(" |").rsplit("| ").next().expect("a name");
        assert!(CASES.iter().any(|case| format!("`{}`", case.name) == name), "no case is {name}: {row}");
    }
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if kernel.grants() { every_job() } else { vec![] }
}

/// For a kernel that grants.
pub fn every_job() -> Vec<Job> {
    CASES.iter().map(Case::job).collect()
}
