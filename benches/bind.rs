//! What binding costs: by number of sites, by writer, and against the floor that copy-on-write sets.
//!
//! Each time is the runtime's own, from its report: planning, verification, writing and read-back. Programs with
//! so many sites are built here and started in turn. The floor is the same program's, started with an argument: it
//! binds nothing, and writes one byte on each page that has sites. Instructions are counted by callgrind.

use crate::program::{Package, output};
use invar_measure::{Batch, Samples, Targets, alternate};
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
                match std::env::args().nth(1).as_deref() {{
                    Some("floor") => return println!("{{}}", floor()),
                    Some(_) => return,
                    None => {{}}
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
    let few = [1, 16, 256].map(|pages| Layout { sites_a_page: 10, pages, scattered: false });
    let apart = [16, 256].map(|pages| Layout { sites_a_page: 10, pages, scattered: true });
    let layouts: Vec<_> = bulk.into_iter().chain(few).chain(apart).collect();

    let files = layouts.iter().map(|layout| (format!("src/bin/{}.rs", layout.name()), layout.source())).collect();
    let folder = Package { name: "bind", manifest: "[dependencies]\ninvar-rt = {invar}\n", files }.build("")?;

    let samples = measure(&folder, &layouts, Duration::from_secs(20))?;
    println!("binding, us a commit: planning, verification, writing and read-back; the floor: copy-on-write faults");
    println!("{:>6} {:>5}  {:20} {:20} {:20} {:20} swap/floor", "sites", "pages", "swap", "memfd", "mprotect", "floor");
    let mut targets = Targets::default();
    for (at, layout) in layouts.iter().enumerate() {
        let [swap, memfd, mprotect, floor] = Run::ALL.map(|run| Run::ALL.len() * at + run as usize);
        let time = |variant| samples.time(variant).to_string();
        let ratio = samples.ratio(swap, floor);
        let pages = format!("{}{}", layout.pages, if layout.scattered { "*" } else { "" });
        println!(
            "{:6} {pages:>5}  {:20} {:20} {:20} {:20} {ratio}",
            layout.sites(),
            time(swap),
            time(memfd),
            time(mprotect),
            time(floor)
        );
        if layout.pages == 1000 {
            let what = "100,000 sites in 1,000 pages, by swap against the floor";
            targets.add(what, format!("{ratio} times"), "<= 1.0", ratio.median <= 1.0);
        }
    }
    println!(
        "*: a page without sites behind each. Beside the floor's faults, swap maps the text to compare it, asks the kernel of each page \
         with sites whether the program can write to it, goes through the records three times, and moves the pages. Median and middle half of {} rounds; each time from a process of its own.",
        samples.rounds()
    );
    match instructions(&folder, &bulk[3], &bulk[1]) {
        Ok(count) => targets.add("instructions a bound site", format!("{count:.0}"), "<= 130", count <= 130.0),
        Err(error) => println!("Instructions were not counted: valgrind: {error}."),
    }
    println!("\n{targets}");
    Ok(())
}

/// What a program is started for.
#[derive(Clone, Copy)]
enum Run {
    Swap,
    Memfd,
    Mprotect,
    Floor,
}

impl Run {
    const ALL: [Self; 4] = [Self::Swap, Self::Memfd, Self::Mprotect, Self::Floor];

    /// The nanoseconds that the program tells.
    fn of(self, program: &Path) -> io::Result<f64> {
        let mut command = Command::new(program);
        command.env_clear();
        match self {
            Self::Swap => command.env("INVAR_WRITER", "swap"),
            Self::Memfd => command.env("INVAR_WRITER", "memfd"),
            Self::Mprotect => command.env("INVAR_WRITER", "mprotect"),
            Self::Floor => command.env("INVAR", "off").arg("floor"),
        };
        String::from_utf8_lossy(&output(&mut command)?.stdout).trim().parse().map_err(io::Error::other)
    }
}

/// For each layout its program as each [`Run`], in that order: us a commit.
fn measure(folder: &Path, layouts: &[Layout], budget: Duration) -> io::Result<Samples> {
    let mut batches: Vec<Batch<'_, io::Error>> = Vec::new();
    for layout in layouts {
        for run in Run::ALL {
            let program = folder.join(layout.name());
            batches.push(Box::new(move || Ok(run.of(&program)? / 1000.0)));
        }
    }
    alternate(budget, &mut batches)
}

/// How many instructions of user mode a site costs that one program has more than the other.
fn instructions(folder: &Path, more: &Layout, fewer: &Layout) -> io::Result<f64> {
    let count = |layout: &Layout| -> io::Result<f64> {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        let said = output(valgrind.arg(folder.join(layout.name())).arg("nothing"))?.stderr;
        let said = String::from_utf8_lossy(&said).into_owned();
        let count = said.lines().find_map(|line| line.split_once("Collected : "));
        count.ok_or(io::ErrorKind::NotFound)?.1.trim().parse().map_err(io::Error::other)
    };
    Ok((count(more)? - count(fewer)?) / (more.sites() - fewer.sites()) as f64)
}
