//! What binding costs: by number of sites, by writer, and against the floor that copy-on-write sets.
//!
//! Each figure is the runtime's own, from its report: planning, verification, writing and read-back. Programs with
//! so many sites are built here and started in turn.

#[path = "../program.rs"]
mod program;

use invar_bench::{Batch, Samples, Spread, Target, alternate, per_operation};
use program::{Package, output};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
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
                ".set value, 0",
                ".rept {pages}",
                ".rept {sites_a_page}",
                "2: cmp byte ptr [rip + {{on}}], value",
                "jne 4f",
                "3: .skip 15, 0x90",
                "4: .skip 15, 0x90",
                ".pushsection invar_sites, \"aR\", @progbits",
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

            fn main() {{
                invar::report().modules(|module| {{
                    assert_eq!((module.sites(), module.bound()), ({sites}, {sites}));
                    println!("{{}}", module.nanoseconds());
                }});
            }}
            "#,
            sites = self.sites(),
        )
    }
}

pub(crate) fn main() {
    program::finish(run());
}

fn run() -> io::Result<()> {
    let bulk = [1, 10, 100, 1000].map(|pages| Layout { sites_a_page: 100, pages, scattered: false });
    let run = [1, 2, 4, 8, 16, 32, 64, 128].map(|pages| Layout { sites_a_page: 10, pages, scattered: false });
    let apart = [2, 4, 8, 16, 32, 64, 128].map(|pages| Layout { sites_a_page: 10, pages, scattered: true });

    let layouts = bulk.iter().chain(&run).chain(&apart);
    let files = layouts.map(|layout| (format!("src/bin/{}.rs", layout.name()), layout.source())).collect();
    let folder = Package { name: "bind", manifest: "[dependencies]\ninvar = {invar}\n", files }.build("")?;

    by_size(&folder, &bulk)?;
    println!("\nThe writers, us a commit, ten sites a page");
    println!("{:>7}  {:24}{:24}mprotect / mem", "pages", "mem", "mprotect");
    by_writer("one run of pages", &folder, &run)?;
    by_writer("every second page", &folder, &apart)
}

/// What a site costs, by number of sites, beside the numbers to reach.
fn by_size(folder: &Path, layouts: &[Layout]) -> io::Result<()> {
    println!("Binding, ns a site: planning, verification, writing and read-back");
    println!(
        "{:>7} {:>5}  {:24}{:24}{:24}mem x  mprotect x",
        "sites", "pages", "mem", "mprotect", "copy-on-write floor"
    );
    let samples = measure(folder, layouts, Duration::from_secs(15))?;
    for (at, layout) in layouts.iter().enumerate() {
        let [mem, mprotect, floor] = [0, 1, 2].map(|variant| samples.time(3 * at + variant).to_string());
        let [x, y] = [0, 1].map(|variant| samples.ratio(3 * at + variant, 3 * at + 2).median);
        println!("{:7} {:5}  {mem:24}{mprotect:24}{floor:24}{x:5.2}  {y:10.2}", layout.sites(), layout.pages);
    }
    println!("{} rounds; the floor writes a byte on each page of a private file mapping.\n", samples.rounds());

    let [mem, mprotect, floor] = [0, 1, 2].map(|variant| 3 * (layouts.len() - 1) + variant);
    let target = |what, spread: Spread, limit, wanted| {
        println!("{}", Target { what, figure: spread.to_string(), wanted, met: spread.median <= limit });
    };
    target("binding 100,000 sites in 1,000 pages by mprotect, ns a site", samples.time(mprotect), 35.0, "<= 35");
    target("the same against the floor", samples.ratio(mprotect, floor), 1.3, "<= 1.3");
    target("the same by mem against the floor", samples.ratio(mem, floor), 1.6, "<= 1.6");
    Ok(())
}

/// What a commit costs by either writer, and from how many pages on mprotect is the cheaper.
fn by_writer(what: &str, folder: &Path, layouts: &[Layout]) -> io::Result<()> {
    let samples = measure(folder, layouts, Duration::from_secs(8))?;
    println!("{what}, {} rounds", samples.rounds());
    let mut cheaper = None;
    for (at, layout) in layouts.iter().enumerate() {
        let [mem, mprotect] = [0, 1].map(|variant| {
            let Spread { low, median, high } = samples.time(3 * at + variant);
            let [low, median, high] = [low, median, high].map(|ns| ns * layout.sites() as f64 / 1000.0);
            format!("{median:.1} [{low:.1} {high:.1}]")
        });
        let ratio = samples.ratio(3 * at + 1, 3 * at);
        println!("{:7}  {mem:24}{mprotect:24}{ratio}", layout.pages);
        cheaper = cheaper.filter(|_| ratio.median < 1.0).or((ratio.median < 1.0).then_some(layout.pages));
    }
    match cheaper {
        Some(pages) => println!("mprotect is the cheaper from {pages} pages on"),
        None => println!("mem is the cheaper throughout"),
    }
    Ok(())
}

/// For each layout its program under mem, under mprotect, and the floor: ns a site.
fn measure(folder: &Path, layouts: &[Layout], budget: Duration) -> io::Result<Samples> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for layout in layouts {
        let program = folder.join(layout.name());
        for writer in ["mem", "mprotect"] {
            // Once for the error, if there is one.
            bound(&program, writer)?;
            let program = program.clone();
            batches.push(Box::new(move || bound(&program, writer).unwrap_or(f64::NAN) / layout.sites() as f64));
        }
        let file = File::open(&program)?;
        batches.push(Box::new(move || floor(&file, layout.pages) / layout.sites() as f64));
    }
    Ok(alternate(budget, &mut batches))
}

/// The nanoseconds that binding took in one run of the program.
fn bound(program: &PathBuf, writer: &str) -> io::Result<f64> {
    let output = output(Command::new(program).env_clear().env("INVAR_WRITER", writer))?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
}

/// The nanoseconds that it takes to write one byte on each of so many pages of the file, privately mapped.
fn floor(file: &File, pages: usize) -> f64 {
    const PAGE: usize = 4096;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
    // SAFETY: a new mapping.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), pages * PAGE, protection, flags, file.as_raw_fd(), 0) };
    assert_ne!(map, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    let time = per_operation(1, || {
        for page in 0..pages {
            // SAFETY: inside the mapping, which is as long as that, and the file is longer.
            unsafe { map.cast::<u8>().add(page * PAGE).write_volatile(1) };
        }
    });
    // SAFETY: our mapping, not used again.
    unsafe { libc::munmap(map, pages * PAGE) };
    time
}
