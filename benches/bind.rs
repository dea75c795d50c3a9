//! What binding costs: by number of sites, by writer, and against the floor that copy-on-write sets.
//!
//! Each figure is the runtime's own, from its report: planning, verification, writing and read-back. Programs with
//! so many sites are built here and started in turn. The floor is the same program's, started with an argument: it
//! binds nothing, and writes one byte on each page that has sites.

use crate::program::{Package, output};
use invar_bench::{Batch, Samples, Targets, alternate};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where a program's sites lie: on every page, or with a page without sites behind each.
#[derive(Clone, Copy)]
struct Layout {
    sites_a_page: usize,
    pages: usize,
    scattered: bool,
}

impl Layout {
    fn sites(self) -> usize {
        self.sites_a_page * self.pages
    }

    fn name(self) -> String {
        let Self { sites_a_page, pages, scattered } = self;
        format!("{sites_a_page}-on-{pages}{}", if scattered { "-scattered" } else { "" })
    }

    /// A program with these sites. Half of them are bound to a nop, and half to a jump.
    fn source(self) -> String {
        let Self { sites_a_page, pages, scattered } = self;
        let gap = if scattered { "\".skip 4096, 0xcc\"," } else { "" };
        format!(
            r#"
            invar::key! {{ static ON: bool = |_| Ok(true); }}

            core::arch::global_asm!(
                ".pushsection .text.sites, \"ax\", @progbits",
                ".p2align 12",
                ".globl text_of_sites",
                ".hidden text_of_sites",
                "text_of_sites:",
                ".set value, 0",
                ".rept {pages}",
                ".rept {sites_a_page}",
                "2: .byte 0x40",
                "cmp byte ptr [rip + {{on}}], value",
                "jne 4f",
                "3: .skip 15, 0x90",
                "4: .skip 15, 0x90",
                ".pushsection invar2_sites, \"aR\", @progbits",
                ".long 2b - ., 4b - ., {{on}} - .",
                ".byte 3b - 2b, 1, value, 0",
                ".popsection",
                ".set value, 1 - value",
                ".endr",
                ".p2align 12, 0xcc",
                {gap}
                ".endr",
                ".popsection",
                on = sym ON,
            );

            unsafe extern "C" {{
                static mut text_of_sites: u8;
                fn mprotect(start: *mut u8, length: usize, protection: i32) -> i32;
            }}

            fn main() {{
                if std::env::args().len() > 1 {{
                    return println!("{{}}", floor());
                }}
                invar::report().modules(|module| {{
                    assert_eq!((module.sites(), module.bound()), ({sites}, {sites}));
                    println!("{{}}", module.nanoseconds());
                }});
            }}

            /// The time that the page faults take, without the call before them. Nobody executes this text.
            fn floor() -> u128 {{
                let start = &raw mut text_of_sites;
                const READ_AND_WRITE: i32 = 3;
                assert_eq!(unsafe {{ mprotect(start, {pages} * {step}, READ_AND_WRITE) }}, 0);
                let started = std::time::Instant::now();
                for page in 0..{pages} {{
                    unsafe {{ start.add(page * {step}).write_volatile(1) }};
                }}
                started.elapsed().as_nanos()
            }}
            "#,
            sites = self.sites(),
            step = if scattered { 8192 } else { 4096 },
        )
    }
}

pub(crate) fn run() -> io::Result<()> {
    let bulk = [1, 10, 100, 1000].map(|pages| Layout { sites_a_page: 100, pages, scattered: false });
    let run = [1, 2, 4, 8, 16, 32, 64, 128].map(|pages| Layout { sites_a_page: 10, pages, scattered: false });
    let apart = [2, 4, 8, 16, 32, 64, 128].map(|pages| Layout { sites_a_page: 10, pages, scattered: true });

    let layouts = bulk.iter().chain(&run).chain(&apart);
    let files = layouts.map(|layout| (format!("src/bin/{}.rs", layout.name()), layout.source())).collect();
    let folder = Package { name: "bind", manifest: "[dependencies]\ninvar = {invar}\n", files }.build("")?;

    by_size(&folder, &bulk)?;
    by_writer("one run of pages", &folder, &run)?;
    by_writer("every second page", &folder, &apart)
}

/// What a site costs, by number of sites, beside the numbers to reach.
fn by_size(folder: &Path, layouts: &[Layout]) -> io::Result<()> {
    let samples = measure(folder, layouts, Duration::from_secs(15))?;
    println!("binding, ns a site: planning, verification, writing and read-back; the floor: copy-on-write faults");
    println!(
        "{:>6} {:>5} {:20} {:20} {:5} {:19} mprotect/floor",
        "sites", "pages", "mem", "mprotect", "floor", "mem/floor"
    );
    let mut targets = Targets::default();
    for (at, layout) in layouts.iter().enumerate() {
        let Layout { pages, .. } = *layout;
        let [mem, mprotect, floor] = [Run::Mem, Run::Mprotect, Run::Floor].map(|run| 3 * at + run as usize);
        let time = |variant| format!("{:.1}", samples.time(variant));
        let ratios = [mem, mprotect].map(|writer| samples.ratio(writer, floor));
        let [x, y] = ratios.map(|ratio| ratio.to_string());
        let floor = samples.time(floor).median;
        println!("{:6} {pages:5} {:20} {:20} {floor:<5.1} {x:19} {y}", layout.sites(), time(mem), time(mprotect));
        if pages == 1000 {
            // The runtime chooses mprotect for so many.
            let what = "100,000 sites in 1,000 pages";
            targets.add(what, time(mprotect) + " ns a site", "<= 35", samples.time(mprotect).median <= 35.0);
            for ((writer, most), ratio) in [("mem", 1.6), ("mprotect", 1.3)].into_iter().zip(ratios) {
                let what = format!("{writer} writer against the floor");
                targets.add(&what, format!("{ratio} times"), &format!("<= {most}"), ratio.median <= most);
            }
        }
    }
    println!(
        "Median and middle half of {} rounds; each time from a process of its own.\n\n{targets}",
        samples.rounds()
    );
    Ok(())
}

/// What a commit costs with either writer, and from which size on which is the cheaper.
fn by_writer(what: &str, folder: &Path, layouts: &[Layout]) -> io::Result<()> {
    let samples = measure(folder, layouts, Duration::from_secs(10))?;
    println!("the writers, us a commit, ten sites a page, {what}");
    println!("{:>7}  {:25}{:25}mprotect/mem", "pages", "mem", "mprotect");
    let mut words = Vec::new();
    for (at, layout) in layouts.iter().enumerate() {
        let [mem, mprotect] = [Run::Mem, Run::Mprotect].map(|run| 3 * at + run as usize);
        let time = |variant| samples.time(variant).times(layout.sites() as f64 / 1000.0).to_string();
        let ratio = samples.ratio(mprotect, mem);
        println!("{:7}  {:25}{:25}{:17} {}", layout.pages, time(mem), time(mprotect), ratio.to_string(), ratio.word());
        words.push(ratio.word());
    }
    let mem = words.iter().take_while(|&&word| word == "slower").count();
    let mprotect = words.iter().rev().take_while(|&&word| word == "faster").count();
    let pages = |at: usize| layouts[at].pages;
    let mem = mem.checked_sub(1).map(|at| format!("mem is clearly the cheaper up to {} page(s)", pages(at)));
    let mprotect = mprotect.checked_sub(1).map(|at| layouts.len() - 1 - at);
    let mprotect = mprotect.map(|at| format!("mprotect is clearly the cheaper from {} page(s) on", pages(at)));
    for said in [mem, mprotect].into_iter().flatten() {
        println!("{said}.");
    }
    println!("Elsewhere neither is clearly. Median and middle half of {} rounds.\n", samples.rounds());
    Ok(())
}

/// What a program is started for.
#[derive(Clone, Copy)]
enum Run {
    Mem,
    Mprotect,
    Floor,
}

impl Run {
    /// The nanoseconds that the program tells.
    fn of(self, program: &Path) -> io::Result<f64> {
        let mut command = Command::new(program);
        command.env_clear();
        match self {
            Self::Mem => command.env("INVAR_WRITER", "mem"),
            Self::Mprotect => command.env("INVAR_WRITER", "mprotect"),
            Self::Floor => command.env("INVAR", "off").arg("floor"),
        };
        String::from_utf8_lossy(&output(&mut command)?.stdout).trim().parse().map_err(io::Error::other)
    }
}

/// For each layout its program as each [`Run`], in that order: ns a site.
fn measure(folder: &Path, layouts: &[Layout], budget: Duration) -> io::Result<Samples> {
    let mut batches: Vec<Batch<'_, io::Error>> = Vec::new();
    for layout in layouts {
        for run in [Run::Mem, Run::Mprotect, Run::Floor] {
            let program = folder.join(layout.name());
            batches.push(Box::new(move || Ok(run.of(&program)? / layout.sites() as f64)));
        }
    }
    alternate(budget, &mut batches)
}
