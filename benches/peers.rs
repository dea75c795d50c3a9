//! The ways in which a program chooses at run time, each as its project offers it, in one run: 4096 functions of each, with one site.
//!
//! Those that branch are compared with a function that asks nothing, those that call with a direct call.

use crate::peers_load;
use goblin::elf::Elf;
use invar_measure::cold;
use invar_measure::machine::{Bench, Loop};
use invar_measure::{Batch, Part, Random, Samples, Table, Targets, alternate, calibrate, per_operation};
use plotters::prelude::*;
use std::arch::x86_64::_mm_clflush;
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// A function with a site, called by address. The measured form of [`Loop`]: what else that is given stays where it is.
type Site = extern "C" fn(u64) -> u64;

/// Of each peer.
const COPIES: usize = 4096;

/// `[f::<0>, f::<1>, ...]`, as sixteen by sixteen by sixteen.
macro_rules! copies {
    ($f:ident $a:tt $b:tt $c:tt) => { $f::<{ $a * 256 + $b * 16 + $c }> as Site };
    ($f:ident $($at:tt)*) => {
        [
            copies!($f $($at)* 0), copies!($f $($at)* 1), copies!($f $($at)* 2), copies!($f $($at)* 3),
            copies!($f $($at)* 4), copies!($f $($at)* 5), copies!($f $($at)* 6), copies!($f $($at)* 7),
            copies!($f $($at)* 8), copies!($f $($at)* 9), copies!($f $($at)* 10), copies!($f $($at)* 11),
            copies!($f $($at)* 12), copies!($f $($at)* 13), copies!($f $($at)* 14), copies!($f $($at)* 15),
        ]
    };
}

/// A module for each peer; what it returns depends on the copy, so that no two are made one.
macro_rules! peers {
    ($($module:ident $name:literal $number:ident => $result:expr;)*) => {
        $(
            mod $module {
                #[allow(unused_imports)] // not every peer needs them
                use super::*;

                extern "C" fn site<const N: u64>($number: u64) -> u64 {
                    ($result) ^ N
                }

                pub(super) static SITES: [[[Site; 16]; 16]; 16] = copies!(site);
            }
        )*
        const NAMES: &[&str] = &[$($name),*];
        const MODULES: &[&str] = &[$(stringify!($module)),*];
        fn sites() -> Vec<&'static [Site]> {
            vec![$($module::SITES.as_flattened().as_flattened()),*]
        }
    };
}

invar::key! { #[name = "peers.on"] static ON: bool = |_| Ok(true); }
invar::switch! { #[name = "peers.switch"] static SWITCH: bool = |_| Ok(true); }
invar::dispatch! {
    #[inline(always)]
    fn dispatched(number: u64) -> u64 { ON => chosen, _ => other }
}
invar::pointer! { static POINTER: fn(u64) -> u64 = { ON => chosen, _ => other }; }
static_keys::define_static_key_true!(STATIC_KEY);
cpufeatures::new!(avx2, "avx2");
static BOOL: AtomicBool = AtomicBool::new(true);
static CHOSEN: AtomicPtr<()> = AtomicPtr::new(first as fn(u64) -> u64 as *mut ());

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicPtr};

#[inline(never)]
fn chosen(number: u64) -> u64 {
    black_box(number)
}

#[inline(never)]
fn other(number: u64) -> u64 {
    black_box(number.rotate_left(1))
}

/// Chooses at the first call, as memchr does.
#[inline(never)]
fn first(number: u64) -> u64 {
    CHOSEN.store(chosen as fn(u64) -> u64 as *mut (), Relaxed);
    chosen(number)
}

/// Where a branch leads that does not hold.
#[cold]
#[inline(never)]
fn rare(number: u64) -> u64 {
    number.rotate_left(7)
}

#[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.2"), dispatcher = "indirect")]
fn indirect(number: u64) -> u64 {
    black_box(number)
}

#[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.2"), dispatcher = "direct")]
fn direct(number: u64) -> u64 {
    black_box(number)
}

// One that the loader asks for the function. Rust calls what another object may define through the GOT.
core::arch::global_asm!(
    ".pushsection .text.peers_resolver, \"ax\", @progbits",
    ".globl peers_ifunc",
    ".hidden peers_ifunc",
    ".type peers_ifunc, @gnu_indirect_function",
    "peers_ifunc: lea rax, [rip + {chosen}]",
    "ret",
    ".popsection",
    chosen = sym chosen_c,
);

#[inline(never)]
extern "C" fn chosen_c(number: u64) -> u64 {
    black_box(number)
}

/// One instruction calls what the loader has chosen; `what` says through which table.
macro_rules! call {
    ($what:literal, $number:expr) => {{
        let result: u64;
        // SAFETY: the function that the resolver returns has this type.
        unsafe { core::arch::asm!($what, inlateout("rdi") $number => _, lateout("rax") result, clobber_abi("C")) };
        result
    }};
}

/// `number`, if this holds.
macro_rules! when {
    ($condition:expr, $number:expr) => {
        if $condition { $number.wrapping_add(1) } else { rare($number) }
    };
}

peers! {
    nothing "nothing asked" number => number.wrapping_add(1);
    branch "invar::branch!" number => when!(invar::branch!(ON), number);
    switch "invar::branch! of a switch" number => when!(invar::branch!(SWITCH), number);
    static_key "static-keys" number => when!(static_keys::static_branch_likely!(STATIC_KEY), number);
    boolean "AtomicBool" number => when!(BOOL.load(Relaxed), number);
    logging "log's level check" number => when!(log::Level::Debug > log::max_level(), number);
    features "cpufeatures" number => when!(avx2::get(), number);
    detection "is_x86_feature_detected!" number => when!(std::is_x86_feature_detected!("avx2"), number);
    call "direct call" number => chosen(number);
    dispatch "invar::dispatch!" number => dispatched(number);
    pointer "invar::pointer!" number => POINTER(number);
    atomic "AtomicPtr, as memchr's" number => {
        // SAFETY: only such functions are stored there.
        let function: fn(u64) -> u64 = unsafe { std::mem::transmute(CHOSEN.load(Relaxed)) };
        function(number)
    };
    versions_indirect "multiversion, indirect" number => indirect(number);
    versions_direct "multiversion, direct" number => direct(number);
    ifunc_got "IFUNC through the GOT" number => call!("call qword ptr [rip + peers_ifunc@GOTPCREL]", number);
    ifunc_plt "IFUNC through the PLT" number => call!("call peers_ifunc@PLT", number);
}

/// The first of those that call; each sort is compared with the first of it.
fn calls() -> usize {
    MODULES.iter().position(|&module| module == "call").expect("a peer")
}

const NOTE: &str = "\
Of each peer 4096 functions with one site. Warm: one of them, again and again. In a row: all of them, one behind the
other. Code cold: the function's lines are flushed from every cache before its call, which is not predicted; functions
that it calls are warm. Code and data cold: flushed is also all data that the program may write to, and the GOT.
indirect: the default of the crate multiversion; direct: its default for generic functions.
Multiverse (a plugin for GCC) is not measured here. Published (Rommel, Dietrich, Rodin and Lohmann, EuroSys 2019,
figure 1, a spinlock, other machine): compiled in 6.64 cycles, asked each time 9.75, multiverse 7.48.";

pub(crate) fn run() -> io::Result<()> {
    if !invar::cpu::AVX2.get() {
        println!("This CPU has no AVX2, which some of the peers ask for.");
        return Ok(());
    }
    log::set_max_level(log::LevelFilter::Info);
    static_keys::global_init();
    let sites = sites();
    // What chooses at the first call has chosen now, and all choose alike.
    for (at, functions) in sites.iter().enumerate() {
        let wanted = if at < calls() { 8 } else { 7 };
        assert!(functions.iter().enumerate().all(|(n, site)| site(7) == wanted ^ n as u64), "{}", NAMES[at]);
    }

    let program = Program::of_this()?;
    let samples = measure(&sites, &program);
    let titles = ["warm", "4096 in a row", "code cold", "code and data cold"];
    let (count, split) = (NAMES.len(), calls());
    let parts = titles.iter().enumerate().flat_map(|(at, title)| {
        let part =
            move |what: &str, from: usize, to: usize| (format!("{what}, {title}, ns"), from..to, at * count + from);
        [part("one branch", 0, split), part("one call", split, count)]
    });
    let parts: Vec<_> = parts.collect();
    let parts: Vec<_> =
        parts.iter().map(|(title, rows, first)| Part { title, names: &NAMES[rows.clone()], first: *first }).collect();
    println!("{}", Table::of(&samples, &parts, &[NOTE]));

    let sizes = program.sizes(&sites);
    println!(
        "{:27}{:>8}{:>14}{:>11}{:>15}{:>12}{:>12}",
        "all peers, ns", "warm", "4096 in a row", "code cold", "all cold", "code, bytes", "tables"
    );
    for (at, (name, (code, tables))) in NAMES.iter().zip(&sizes).enumerate() {
        let [warm, row, code_cold, cold] = [0, 1, 2, 3].map(|way| samples.time(way * count + at).median);
        println!("{name:27}{warm:8.2}{row:14.2}{code_cold:11.1}{cold:15.1}{code:12.1}{tables:12}");
    }
    println!("\nto set or bind a site\n{}", toggles());

    let place = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("peers.svg");
    draw(&place, &samples, &titles).map_err(io::Error::other)?;
    println!("a program from start to end\n{}", peers_load::compare()?);
    println!("{}", place.display());
    Ok(())
}

/// For each way to measure all peers, in that order.
fn measure(sites: &[&'static [Site]], program: &Program) -> Samples {
    let bench = &Bench::new();
    let warm = sites.iter().map(|functions| -> Batch<'_> {
        let site = functions[0];
        let run = move |count| {
            per_operation(count, || {
                let last = (0..count).fold(1, |number, _| black_box(site)(number));
                black_box(last);
            })
        };
        let count = calibrate(run);
        Box::new(move || Ok(run(count)))
    });
    let row = sites.iter().map(|&functions| -> Batch<'_> {
        let run = move || functions.iter().fold(1, |number, site| site(number));
        Box::new(move || Ok(per_operation(COPIES as u64, || _ = black_box(run()))))
    });
    let cold = [false, true].into_iter().flat_map(|data_cold| {
        sites.iter().map(move |functions| -> Batch<'_> {
            // SAFETY: an address; it is called by a few instructions, which pass in the first register what the function takes.
            let call = |&site: &Site| unsafe { std::mem::transmute::<Site, Loop>(site) };
            let mut calls: Vec<Loop> = functions.iter().map(call).collect();
            let (mut times, mut random) = (vec![0; COPIES], Random(0x2545_f491_4f6c_dd1d));
            Box::new(move || {
                random.shuffle(&mut calls);
                // With the data flushed as well a call takes longer: fewer do.
                let some = if data_cold { COPIES / 8 } else { COPIES };
                let flush = || {
                    if data_cold {
                        program.flush();
                    }
                };
                Ok(cold::timed(bench, &calls[..some], Program::MOST + 64, &mut times[..some], flush))
            })
        })
    });
    let mut batches: Vec<_> = warm.chain(row).chain(cold).collect();
    let Ok(samples) = alternate(Duration::from_secs(30), &mut batches);
    samples
}

/// This program's file.
struct Program {
    file: Vec<u8>,
    /// Where its data is in memory.
    data: Vec<Range<usize>>,
}

impl Program {
    /// No site's function is longer.
    const MOST: usize = 192;

    fn of_this() -> io::Result<Self> {
        unsafe extern "C" {
            // The linker's: where the file's first byte is.
            static __ehdr_start: u8;
        }
        let file = std::fs::read("/proc/self/exe")?;
        let elf = Elf::parse(&file).map_err(io::Error::other)?;
        let base = &raw const __ehdr_start as usize;
        let is_data = |name: &str| [".data", ".bss", ".got", ".got.plt"].contains(&name);
        let sections = elf.section_headers.iter();
        let ours = sections.filter(|section| elf.shdr_strtab.get_at(section.sh_name).is_some_and(is_data));
        let data = ours.map(|section| {
            let begin = base + section.sh_addr as usize;
            begin..begin + section.sh_size as usize
        });
        // Slots of pointers are in sections of their own.
        let slot = &raw const POINTER as usize;
        let data: Vec<_> = data.chain(std::iter::once(slot..slot + size_of_val(&POINTER))).collect();
        assert!(data.len() >= 4, "a program has data, bss and GOT");
        Ok(Self { file, data })
    }

    /// Removes the data from every cache.
    fn flush(&self) {
        // From the begin of a line: else the last line, which may have the one word that matters, would be left out.
        for line in self.data.iter().flat_map(|part| (part.start & !63..part.end).step_by(64)) {
            // SAFETY: memory of this program, which keeps its values.
            unsafe { _mm_clflush(line as *const u8) };
        }
    }

    /// For each peer the bytes of a function with a site, and those of the tables that tell where a site is.
    fn sizes(&self, sites: &[&[Site]]) -> Vec<(f64, usize)> {
        let elf = Elf::parse(&self.file).expect("as before");
        MODULES
            .iter()
            .zip(sites)
            .map(|(module, _)| {
                let is_ours = |symbol: &str| symbol.contains(&format!("5peers{}{module}4site", module.len()));
                let functions = elf.syms.iter().filter(|symbol| symbol.is_function());
                let ours = functions.filter(|symbol| elf.strtab.get_at(symbol.st_name).is_some_and(is_ours));
                let sizes: Vec<u64> = ours.map(|symbol| symbol.st_size).collect();
                assert_eq!(sizes.len(), COPIES, "{module}");
                assert!(sizes.iter().all(|&size| size <= Self::MOST as u64), "{module}");
                // docs/site-abi.md, "Records"; the crate's `JumpEntry`.
                let tables = match *module {
                    "branch" | "switch" | "dispatch" => 16,
                    "static_key" => 24,
                    _ => 0,
                };
                (sizes.iter().sum::<u64>() as f64 / COPIES as f64, tables)
            })
            .collect()
    }
}

/// What it takes to set again what can be set again, and to bind what is bound once.
fn toggles() -> Targets {
    let (mut on, mut key) = (true, true);
    let mut batches: [Batch<'_>; 2] = [
        Box::new(|| {
            on = !on;
            Ok(per_operation(COPIES as u64, || assert!(SWITCH.set(on).is_ok_and(|set| set.bound as usize >= COPIES))))
        }),
        Box::new(|| {
            key = !key;
            // SAFETY: this process has one thread.
            Ok(per_operation(COPIES as u64, || unsafe { if key { STATIC_KEY.enable() } else { STATIC_KEY.disable() } }))
        }),
    ];
    let Ok(samples) = alternate(Duration::from_secs(3), &mut batches);
    let mut targets = Targets::default();
    targets.show("a switch set, ns a site", format!("{:.0}", samples.time(0)), "4096 sites");
    targets.show("static-keys, ns a site", format!("{:.0}", samples.time(1)), "4096 sites");
    invar::report().modules(|module| {
        if module.sites() > 2 * COPIES {
            let each = module.nanoseconds() as f64 / module.sites() as f64;
            targets.show("bound when loaded, ns a site", format!("{each:.0}"), "once, of this program");
        }
    });
    targets
}

type Plot<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Bars: a panel for each way to measure, with the middle half of the rounds as a line.
fn draw(place: &Path, samples: &Samples, titles: &[&str]) -> Plot<()> {
    let say = |error: DrawingAreaErrorKind<_>| -> Box<dyn std::error::Error + Send + Sync> { error.to_string().into() };
    let root = SVGBackend::new(place, (960, 820)).into_drawing_area();
    root.fill(&WHITE).map_err(say)?;
    let title = "One choice at run time, ns: what it takes; blue is invar, grey asks nothing or calls directly";
    let panels = root.titled(title, ("sans-serif", 17)).map_err(say)?.split_evenly((2, 2));
    for (at, (panel, title)) in panels.iter().zip(titles).enumerate() {
        let rows: Vec<_> = (0..NAMES.len()).map(|row| samples.time(at * NAMES.len() + row)).collect();
        let most = rows.iter().map(|time| time.high).fold(0.0, f64::max) * 1.05;
        let mut chart = ChartBuilder::on(panel)
            .caption(*title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(170)
            .build_cartesian_2d(0.0..most, (0..NAMES.len() as i32).into_segmented())
            .map_err(say)?;
        // From the top down.
        let place = |row: usize| (NAMES.len() - 1 - row) as i32;
        let name = |at: &SegmentValue<i32>| match at {
            SegmentValue::CenterOf(at) => NAMES.get(NAMES.len() - 1 - *at as usize).copied().unwrap_or("").to_owned(),
            _ => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().max_light_lines(0).y_labels(NAMES.len()).y_label_formatter(&name);
        mesh.label_style(("sans-serif", 12)).draw().map_err(say)?;
        for (row, time) in rows.iter().enumerate() {
            let colour = match MODULES[row] {
                "nothing" | "call" => RGBColor(140, 140, 140),
                "branch" | "switch" | "dispatch" | "pointer" => RGBColor(30, 100, 200),
                _ => RGBColor(220, 140, 0),
            };
            let (low, high) = (SegmentValue::Exact(place(row)), SegmentValue::Exact(place(row) + 1));
            let mut bar = Rectangle::new([(0.0, low), (time.median, high)], colour.filled());
            bar.set_margin(2, 2, 0, 0);
            let middle = SegmentValue::CenterOf(place(row));
            let line = PathElement::new([(time.low, middle.clone()), (time.high, middle)], BLACK);
            chart.draw_series([bar]).map_err(say)?;
            chart.draw_series([line]).map_err(say)?;
        }
    }
    root.present().map_err(say)?;
    Ok(())
}
