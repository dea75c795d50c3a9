//! What the distribution's programs gain by `invar run`: `cargo bench -p invar-guest --bench programs` runs each by itself and
//! with the library in front, in a guest that grants. It prints the table of `docs/run.md`.
//!
//! The guest has one CPU, and counts time in instructions, four nanoseconds each.
#![forbid(unsafe_code)]

#[allow(dead_code, unreachable_pub)] // a part of the tests
#[path = "../tests/programs.rs"]
mod programs;

use invar_guest::Result;
use invar_guest::cache::{Cache, HOW};
use invar_guest::console::{Counts, Job};
use invar_guest::image::Image;
use invar_guest::machine::{Machine, Processor, Run, Time};
use programs::PRELOAD;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The host's. The guest takes some minutes.
const LIMIT: Duration = Duration::from_secs(3600);

/// A program, and how its output says what it got done.
struct Program {
    name: &'static str,
    /// Its file's name.
    file: &'static str,
    /// Behind the file's name.
    arguments: &'static [&'static str],
    /// What runs in its place, if it takes more than one command: a script for `sh`, which has the program and what is to stand
    /// before it as its arguments.
    script: Option<&'static str>,
    rate: fn(&str) -> Option<f64>,
    /// Of what the rate counts, the time that 99 of 100 need at most, in milliseconds, where the program says it.
    longest: fn(&str) -> Option<f64>,
}

const SYSBENCH: Program = Program {
    name: "",
    file: "sysbench",
    arguments: &[],
    script: None,
    rate: |said| Some(behind(said, "total number of events:")? / behind(said, "total time:")?),
    longest: |said| behind(said, "99th percentile:"),
};

const REDIS: &str = "\"$@\" --port 0 --unixsocket /tmp/redis --io-threads 4 --io-threads-do-reads yes --save '' --logfile /tmp/log & \
    until [ -S /tmp/redis ]; do /bin/sleep 0.05; done; \
    /bin/redis-benchmark -s /tmp/redis -c 8 -n 4000 -t get --csv; kill $!; wait $!; rm -f /tmp/redis";

/// Two threads put numbers through a queue of eight places, and two take them out.
const PYTHON: &str = "import threading, queue, time; q = queue.Queue(8); n = 2000; \
    puts = [threading.Thread(target=lambda: [q.put(i) for i in range(n)]) for _ in range(2)]; \
    gets = [threading.Thread(target=lambda: [q.get() for _ in range(n)]) for _ in range(2)]; \
    began = time.monotonic(); [t.start() for t in puts + gets]; [t.join() for t in puts + gets]; \
    print('rate', 2 * n / (time.monotonic() - began))";

const PROGRAMS: [Program; 6] = [
    Program {
        name: "sysbench threads, 8 threads, 2 locks",
        arguments: &[
            "threads",
            "--threads=8",
            "--thread-locks=2",
            "--thread-yields=100",
            "--time=2",
            "--events=0",
            "--percentile=99",
            "run",
        ],
        ..SYSBENCH
    },
    Program {
        name: "sysbench mutex, 8 threads, 1 lock",
        arguments: &[
            "mutex",
            "--threads=8",
            "--mutex-num=1",
            "--mutex-locks=50000",
            "--mutex-loops=200",
            "--percentile=99",
            "run",
        ],
        ..SYSBENCH
    },
    Program {
        name: "stress-ng mutex, 8 threads",
        file: "stress-ng",
        arguments: &["--mutex", "1", "--mutex-procs", "8", "-t", "2", "--metrics-brief", "--temp-path", "/tmp"],
        script: None,
        // "stress-ng: metrc: [66] mutex BOGO-OPS REAL USER SYSTEM OPS-A-SECOND ..."
        rate: |said| word_behind(said, "] mutex ", 4),
        longest: |_| None,
    },
    Program {
        name: "redis, GET, 4 I/O threads, 8 clients",
        file: "redis-server",
        arguments: &[],
        script: Some(REDIS),
        // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
        rate: |said| column(said, "\"GET\"", 1),
        longest: |said| column(said, "\"GET\"", 6),
    },
    Program {
        name: "python3, a queue of four threads",
        file: "python3",
        arguments: &["-S", "-E", "-c", PYTHON],
        script: None,
        rate: |said| behind(said, "rate"),
        longest: |_| None,
    },
    Program {
        name: "zstd, 4 threads",
        file: "zstd",
        arguments: &["-b1", "-i1", "-T4", "/bin/redis-server"],
        script: None,
        // "1#redis-server : 1000000 -> 400000 (x2.500), 300.0 MB/s, 900.0 MB/s"
        rate: |said| said.split(',').find_map(|part| part.trim().strip_suffix(" MB/s")?.trim().parse().ok()),
        longest: |_| None,
    },
];

/// The word with this number behind the first place where this stands; no unit behind its number counts.
fn word_behind(said: &str, label: &str, number: usize) -> Option<f64> {
    let word = said.split_once(label)?.1.split_whitespace().nth(number)?;
    word.trim_end_matches('s').parse().ok()
}

fn behind(said: &str, label: &str) -> Option<f64> {
    word_behind(said, label, 0)
}

/// Of a line of quoted values.
fn column(said: &str, first: &str, number: usize) -> Option<f64> {
    said.lines().find(|line| line.starts_with(first))?.split(',').nth(number)?.trim_matches('"').parse().ok()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Alone,
    /// By `invar run`, in whose place the runtime owns the areas.
    Run,
}

impl Program {
    fn job(&self, way: Way) -> Job {
        let file = format!("/bin/{}", self.file);
        let prefix: &[&str] = match way {
            Way::Alone => &[],
            Way::Run => &["/bin/invar", "run", "--own-rseq", "--library", PRELOAD, "--"],
        };
        let script = self.script.map_or(vec![], |script| vec!["/bin/sh", "-c", script, "sh"]);
        let command = [&script, prefix, &[&*file], self.arguments].concat();
        Job {
            name: self.job_name(way),
            // Where Python has its library, which its file does not tell in the guest.
            environment: [("PYTHONHOME", "/usr")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            command: command.into_iter().map(str::to_owned).collect(),
        }
    }

    fn job_name(&self, way: Way) -> String {
        format!("{}, {way:?}", self.name)
    }

    fn figures(&self, way: Way, run: &Run) -> Result<Figures> {
        let name = self.job_name(way);
        let said = run.output(&name)?;
        let rate = (self.rate)(said).ok_or_else(|| format!("`{name}` says no rate:\n{said}"))?;
        let counts = run.outcome(&name)?.counts.ok_or("the kernel does not count")?;
        Ok(Figures { rate, longest: (self.longest)(said), counts })
    }
}

struct Figures {
    rate: f64,
    longest: Option<f64>,
    counts: Counts,
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benchmarks too, and is to be quick.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("programs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let kernel = Cache::of_this_user().kernel().ok_or_else(|| format!("no kernel that grants; to have one: {HOW}"))?;
    let machine = Machine {
        processor: Processor::X86_64,
        kernel,
        line: String::new(),
        time: Time::Instructions,
        limit: LIMIT,
        share: None,
    };
    let mut image = programs::image()?;
    for name in PROGRAMS.iter().map(|program| program.file).chain(["redis-benchmark", "sh", "sleep", "rm"]) {
        image.program(&installed(name)?)?;
    }
    add_pythons_library(&mut image)?;
    let ways = [Way::Alone, Way::Run];
    let jobs: Vec<_> = PROGRAMS.iter().flat_map(|program| ways.map(|way| program.job(way))).collect();
    let run = machine.run(&image, &jobs)?;

    println!(
        "{:38}{:>10}{:>10}{:>8}{:>10}{:>10}{:>8}{:>8}",
        "program", "alone", "run", "ratio", "p99 alone", "p99 run", "grants", "yields"
    );
    for program in &PROGRAMS {
        let [alone, with] = ways.map(|way| program.figures(way, &run));
        let (alone, with) = (alone?, with?);
        let longest = |figures: &Figures| figures.longest.map_or("-".to_owned(), |time| format!("{time:.2}"));
        println!(
            "{:38}{:10.1}{:10.1}{:8.3}{:>10}{:>10}{:8}{:8}",
            program.name,
            alone.rate,
            with.rate,
            with.rate / alone.rate,
            longest(&alone),
            longest(&with),
            with.counts.granted,
            with.counts.yielded
        );
    }
    Ok(())
}

/// A program of the distribution, whatever else is in `PATH`.
fn installed(name: &str) -> Result<PathBuf> {
    let found = ["/usr/bin", "/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
    found.into_iter().find(|file| file.is_file()).ok_or_else(|| format!("there is no {name} here").into())
}

/// What Python reads when it begins.
fn add_pythons_library(image: &mut Image) -> Result<()> {
    let asks = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let output = Command::new(installed("python3")?).args(["-c", asks]).output()?;
    let folder = String::from_utf8(output.stdout)?.trim().to_owned();
    image.tree(folder.clone(), Path::new(&folder))
}
