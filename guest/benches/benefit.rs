//! What slices are worth: `cargo bench -p invar-guest --bench benefit` runs threads that want one lock all the time on one CPU, with
//! different locks and in different numbers, in a guest that grants. It prints the tables that `docs/time-slices.md`
//! shows a part of, and draws `docs/benefit.svg`.
//!
//! Time is counted in instructions there, four nanoseconds each: one build gives the same figures in every run.
#![forbid(unsafe_code)]

#[allow(dead_code, unreachable_pub)] // a part of the tests
#[path = "../tests/programs.rs"]
mod programs;

use invar_guest::Result;
use invar_guest::cache::{Cache, HOW};
use invar_guest::console::{Counts, Job};
use invar_guest::machine::{Machine, Processor, Run, Time};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const THREADS: [u32; 5] = [1, 2, 4, 16, 64];
/// Of the guest's, for each figure.
const MILLISECONDS: &str = "2000";
/// The host's. The guest takes about two minutes.
const LIMIT: Duration = Duration::from_secs(1800);

/// A way to have a lock.
struct Way {
    name: &'static str,
    /// For `contend`.
    way: &'static str,
    /// Of the time slice key.
    setting: &'static str,
    colour: RGBColor,
    asks: Asks,
}

/// When a holder asks for the time to finish.
#[derive(PartialEq, Eq)]
enum Asks {
    Never,
    WhileHot,
    Always,
}
use Asks::{Always, Never, WhileHot};

const RED: RGBColor = RGBColor(200, 40, 40);
const ORANGE: RGBColor = RGBColor(220, 140, 0);
const BLUE: RGBColor = RGBColor(30, 100, 200);

const fn way(name: &'static str, way: &'static str, asks: Asks, colour: RGBColor) -> Way {
    Way { name, way, setting: "slice=auto", colour, asks }
}

const fn without(name: &'static str, way: &'static str) -> Way {
    Way { name, way, setting: "slice=off", colour: BLUE, asks: Never }
}

/// Waiters that never sleep, and others.
const SPINNING: [Way; 7] = [
    way("spin", "spin", Never, RED),
    way("spin + slices", "spin+slices", Always, RED),
    way("spin, then yield", "spin-then-yield", Never, ORANGE),
    way("spin, then yield + slices", "spin-then-yield+slices", Always, ORANGE),
    without("SpinLock, never", "spin-lock"),
    way("SpinLock, adaptive", "adaptive-spin-lock", WhileHot, BLUE),
    way("SpinLock, always", "spin-lock", Always, BLUE),
];
const SLEEPING: [Way; 7] = [
    way("pthread_mutex", "pthread_mutex", Never, RED),
    way("pthread_mutex + slices", "pthread_mutex+slices", Always, RED),
    way("spin, then futex", "spin-then-futex", Never, ORANGE),
    way("spin, then futex + slices", "spin-then-futex+slices", Always, ORANGE),
    without("Mutex, never", "mutex"),
    way("Mutex, adaptive", "adaptive-mutex", WhileHot, BLUE),
    way("Mutex, always", "mutex", Always, BLUE),
];

impl Way {
    fn job(&self, threads: u32) -> Job {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Job {
            name: self.job_name(threads),
            // Whatever the C library is, the program registers its threads.
            environment: vec![variable("GLIBC_TUNABLES", "glibc.pthread.rseq=0"), variable("INVAR_KEYS", self.setting)],
            command: ["/bin/contend", self.way, &threads.to_string(), MILLISECONDS].map(str::to_owned).into(),
        }
    }

    fn job_name(&self, threads: u32) -> String {
        format!("{threads} threads: {}", self.name)
    }
}

/// What came of a way.
struct Figures {
    /// Operations a millisecond.
    rate: f64,
    /// Nanoseconds.
    waits: [u64; QUANTILES.len()],
    counts: Counts,
}

/// As `contend` calls them.
const QUANTILES: [&str; 5] = ["p50", "p99", "p99.9", "p99.99", "longest"];

impl Figures {
    fn of(way: &Way, threads: u32, run: &Run) -> Result<Self> {
        let name = way.job_name(threads);
        let output = run.output(&name)?;
        let fact = |name: &str| {
            let value = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
            value.and_then(|value| value.parse::<f64>().ok()).ok_or_else(|| format!("no {name}: {output}"))
        };
        let mut waits = [0; QUANTILES.len()];
        for (wait, quantile) in waits.iter_mut().zip(QUANTILES) {
            *wait = fact(quantile)? as u64;
        }
        let counts = run.outcome(&name)?.counts.ok_or("the kernel does not count")?;
        Ok(Self { rate: fact("operations")? / fact("milliseconds")?, waits, counts })
    }
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benchmarks too, and is to be quick.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benefit: {error}");
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
    let ways = || SPINNING.iter().chain(&SLEEPING);
    let jobs: Vec<_> = ways().flat_map(|way| THREADS.map(|threads| way.job(threads))).collect();
    let run = machine.run(&programs::image()?, &jobs)?;

    let row = |way| THREADS.iter().map(|&threads| Figures::of(way, threads, &run)).collect::<Result<Vec<_>>>();
    let rows = ways().map(row).collect::<Result<Vec<_>>>()?;
    println!("{}", rates(&rows));
    for at in 0..THREADS.len() {
        println!("{}", waits(&rows, at));
    }
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("benefit.svg");
    draw(&place, &rows)?;
    println!("{}", place.display());
    Ok(())
}

fn rates(rows: &[Vec<Figures>]) -> String {
    let mut table = format!("{:27}", "operations a ms; threads:");
    table.extend(THREADS.map(|threads| format!("{threads:>9}")));
    for (way, row) in SPINNING.iter().chain(&SLEEPING).zip(rows) {
        table += &format!("\n{:27}", way.name);
        table.extend(row.iter().map(|figures| format!("{:9.0}", figures.rate)));
    }
    table + "\n"
}

/// With so many threads as stand there in `THREADS`.
fn waits(rows: &[Vec<Figures>], at: usize) -> String {
    let mut table = format!("{:27}", format!("waits in us; threads: {}", THREADS[at]));
    table.extend(QUANTILES.map(|quantile| format!("{quantile:>9}")));
    table += &format!("{:>9}{:>9}", "grants", "revoked");
    for (way, row) in SPINNING.iter().chain(&SLEEPING).zip(rows) {
        let Figures { waits, counts, .. } = &row[at];
        table += &format!("\n{:27}", way.name);
        table.extend(waits.map(|wait| format!("{:>9}", microseconds(wait))));
        table += &format!("{:9}{:9}", counts.granted, counts.revoked);
    }
    table + "\n"
}

/// With as many decimals as mean something.
fn microseconds(nanoseconds: u64) -> String {
    let value = nanoseconds as f64 / 1000.0;
    let decimals = if value < 9.995 { 2 } else { 0 };
    format!("{value:.decimals$}")
}

/// On the left the waiters that spin, on the right those that sleep.
fn draw(place: &Path, rows: &[Vec<Figures>]) -> Result<()> {
    let root = SVGBackend::new(place, (960, 1000)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = "Threads that want one lock, on one CPU: thin never asks, dashed while hot, thick always";
    let panels = root.titled(title, ("sans-serif", 18))?.split_evenly((3, 2));
    let sides = [("waiters spin", &SPINNING, &rows[..7]), ("waiters sleep", &SLEEPING, &rows[7..])];
    for (side, (title, ways, rows)) in sides.into_iter().enumerate() {
        let panel = |row: usize| Panel { area: &panels[2 * row + side], ways, rows };
        let what = format!("operations a millisecond; {title}");
        panel(0).draw(&what, 0.0..850.0, |rate| format!("{rate:.0}"), |figures| figures.rate)?;
        for (row, quantile) in [(1, 2), (2, 3)] {
            let what = format!("wait, {}; {title}", QUANTILES[quantile]);
            panel(row).draw(&what, (10.0..1e10).log_scale(), time, |figures| figures.waits[quantile] as f64)?;
        }
    }
    root.present()?;
    Ok(())
}

/// A power of ten of nanoseconds.
fn time(nanoseconds: &f64) -> String {
    match *nanoseconds {
        1e9.. => format!("{} s", nanoseconds / 1e9),
        1e6.. => format!("{} ms", nanoseconds / 1e6),
        1e3.. => format!("{} us", nanoseconds / 1e3),
        _ => format!("{nanoseconds} ns"),
    }
}

/// A part of the picture, and who is in it.
struct Panel<'a, 'b> {
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    ways: &'a [Way],
    rows: &'a [Vec<Figures>],
}

impl Panel<'_, '_> {
    fn draw<Y>(&self, title: &str, range: Y, label: fn(&f64) -> String, value: impl Fn(&Figures) -> f64) -> Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        /// One dash that is longer than any line.
        const SOLID: (u32, u32) = (10_000, 0);
        let mut chart = ChartBuilder::on(self.area)
            .caption(title, ("sans-serif", 15))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(55)
            .build_cartesian_2d(0.0..6.0, range)?;
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(0).x_labels(7).x_label_formatter(&|power: &f64| format!("{}", power.exp2()));
        mesh.x_desc("threads").y_label_formatter(&label).draw()?;
        for (way, row) in self.ways.iter().zip(self.rows) {
            let points = THREADS.iter().zip(row).map(|(&threads, figures)| (f64::from(threads).log2(), value(figures)));
            let (width, (dash, gap)) = match way.asks {
                Never => (1, SOLID),
                WhileHot => (2, (6, 4)),
                Always => (3, SOLID),
            };
            let style = way.colour.stroke_width(width);
            let key = move |(x, y)| DashedPathElement::new([(x, y), (x + 30, y)], dash, gap, style);
            chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?.label(way.name).legend(key);
        }
        if title.starts_with("operations") {
            let mut labels = chart.configure_series_labels();
            labels.position(SeriesLabelPosition::LowerLeft).legend_area_size(36);
            labels.background_style(WHITE.mix(0.8)).label_font(("sans-serif", 12)).draw()?;
        }
        Ok(())
    }
}
