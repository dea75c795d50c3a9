//! What goes over the guest's console: a list of jobs before it starts, what came of them once it runs.

use std::collections::BTreeMap;
use std::fmt;

/// One program to run in the guest.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// One that no other job of the guest has.
    pub name: String,
    /// Its environment, besides nothing.
    pub environment: Vec<(String, String)>,
    /// The program's path in the guest, and its arguments.
    pub command: Vec<String>,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it wrote to standard output and standard error.
    pub output: String,
    /// How it ended.
    pub end: End,
    /// What the kernel counted meanwhile, if it counts.
    pub counts: Option<Counts>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It did not start, because of this error.
    Error(i32),
}

/// What became of time slice extensions, in the kernel's words.
/// Source: Linux 7.0, kernel/rseq.c, `rseq_stats_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Extensions that were granted.
    pub granted: u64,
    /// Those that ran out before the thread gave up the CPU.
    pub expired: u64,
    /// Those that the kernel ended by preempting the thread.
    pub revoked: u64,
    /// Those that ended with `rseq_slice_yield`.
    pub yielded: u64,
    /// Those that ended with another system call.
    pub aborted: u64,
}

impl Counts {
    const NAMES: [&str; 5] = ["sgrant", "sexpir", "srevok", "syield", "sabort"];

    fn from_numbers([granted, expired, revoked, yielded, aborted]: [u64; 5]) -> Self {
        Self { granted, expired, revoked, yielded, aborted }
    }

    fn numbers(&self) -> [u64; 5] {
        [self.granted, self.expired, self.revoked, self.yielded, self.aborted]
    }

    /// Reads the kernel's table: a name, a colon and a number in each line.
    pub(crate) fn read(table: &str) -> Option<Self> {
        let number = |name| {
            let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse().ok()
        };
        let mut numbers = [0; 5];
        for (to, name) in numbers.iter_mut().zip(Self::NAMES) {
            *to = number(name)?;
        }
        Some(Self::from_numbers(numbers))
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let (now, before) = (self.numbers(), earlier.numbers());
        Self::from_numbers(std::array::from_fn(|at| now[at].wrapping_sub(before[at])))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = Self::NAMES.iter().zip(self.numbers()).map(|(name, number)| format!("{name}={number}"));
        f.write_str(&fields.by_ref().collect::<Vec<_>>().join(" "))
    }
}

impl Job {
    /// One line of the job list.
    pub(crate) fn to_line(&self) -> String {
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let fields: Vec<_> =
            [self.name.clone()].into_iter().chain(variables).chain(["--".into()]).chain(self.command.clone()).collect();
        assert!(fields.iter().all(|field| !field.contains(['\t', '\n'])), "{fields:?} cannot be passed on");
        fields.join("\t")
    }

    /// The job of a line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(str::to_owned);
        let name = fields.next()?;
        let variables = fields.by_ref().take_while(|field| field != "--");
        let environment = variables.filter_map(|field| field.split_once('=').map(|(a, b)| (a.into(), b.into())));
        Some(Self { name, environment: environment.collect(), command: fields.collect() })
    }
}

const BEGIN: &str = "### begin ";
const END: &str = "### end ";

/// What stands before a job's output.
pub(crate) fn begin(job: &Job) -> String {
    format!("{BEGIN}{}", job.name)
}

/// What stands behind it, on a line of its own.
pub(crate) fn end(end: &End, counts: Option<Counts>) -> String {
    let (what, number) = match end {
        End::Exit(code) => ("exit", code),
        End::Signal(signal) => ("signal", signal),
        End::Error(error) => ("error", error),
    };
    format!("\n{END}{what} {number} {}", counts.map_or(String::new(), |counts| counts.to_string()))
}

/// What came of each job that came to its end, from all that the console showed.
pub(crate) fn read(console: &str) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    let mut current: Option<(&str, Vec<&str>)> = None;
    for line in console.lines() {
        if let Some(name) = line.strip_prefix(BEGIN) {
            current = Some((name, vec![]));
        } else if let Some((end, counts)) = line.strip_prefix(END).and_then(read_end) {
            // The line break before the mark is not the job's.
            if let Some((name, lines)) = current.take() {
                let output = lines.join("\n");
                outcomes.insert(name.to_owned(), Outcome { output, end, counts });
            }
        } else if let Some((_, lines)) = &mut current {
            lines.push(line);
        }
    }
    outcomes
}

fn read_end(line: &str) -> Option<(End, Option<Counts>)> {
    let mut words = line.split(' ');
    let (what, number) = (words.next()?, words.next()?.parse().ok()?);
    let end = match what {
        "exit" => End::Exit(number),
        "signal" => End::Signal(number),
        _ => End::Error(number),
    };
    // The same table in one line.
    let table = words.collect::<Vec<_>>().join("\n").replace('=', ":");
    Some((end, Counts::read(&table)))
}
