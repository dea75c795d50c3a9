//! What binding costs: by number of sites, by writer, beside running threads, in a library that is opened late, and against the
//! floor that copy-on-write sets.
//!
//! Each time is the runtime's own, from its report: planning, verification, writing and read-back. Programs with
//! so many sites are built here and started in turn. The floor is the same program's, started with an argument: it
//! binds nothing, and writes one byte on each page that has sites. Instructions are counted by callgrind.
//!
//! Threads that run beside are started by a constructor that runs before the runtime's. The time of a late library is that of
//! `dlopen`.

use crate::program::{Package, output};
use invar_measure::{Batch, Samples, Targets, alternate};
use std::io;
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

    /// The library with these sites.
    fn file(self, folder: &Path) -> PathBuf {
        folder.join(format!("liblate_{}.so", self.name().replace('-', "_")))
    }

    /// A key, and as many sites that depend on it. Half of them are bound to a nop, and half to a jump.
    fn declarations(self) -> String {
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
            "#
        )
    }

    /// A program with these sites.
    fn program(self) -> String {
        format!(
            r#"
            {declarations}

            {BESIDE}

            /// Before the runtime's own constructor, which has priority 100.
            #[used]
            #[unsafe(link_section = ".init_array.00050")]
            static BEFORE: extern "C" fn() = beside::start;

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
            declarations = self.declarations(),
            sites = self.sites(),
            pages = self.pages,
            step = if self.scattered { 8192 } else { 4096 },
        )
    }

    /// A library with these sites, which tells whether all of them are bound.
    fn library(self) -> String {
        let sites = self.sites();
        format!(
            r#"
            {declarations}

            #[unsafe(no_mangle)]
            pub extern "C" fn all_are_bound() -> bool {{
                let mut are_bound = false;
                invar::report().modules(|module| are_bound = (module.sites(), module.bound()) == ({sites}, {sites}));
                are_bound
            }}
            "#,
            declarations = self.declarations(),
        )
    }
}

/// Starts as many threads as `BESIDE` says, and waits until they run. A constructor calls it, which may have the loader's locks. So
/// nothing here uses thread-local variables, for which a thread may wait for the loader, nor std's threads, which have some.
const BESIDE: &str = r#"
mod beside {
    use std::ffi::{c_char, c_void};
    use std::ptr::{null, null_mut};
    use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

    unsafe extern "C" {
        fn pthread_create(
            thread: *mut usize,
            attributes: *const c_void,
            routine: extern "C" fn(*mut c_void) -> *mut c_void,
            argument: *mut c_void,
        ) -> i32;
        fn sched_yield() -> i32;
        fn getenv(name: *const c_char) -> *const c_char;
        fn atoi(text: *const c_char) -> i32;
        fn abort() -> !;
    }

    static RUNNING: AtomicI32 = AtomicI32::new(0);

    /// Until the process ends.
    extern "C" fn run(_: *mut c_void) -> *mut c_void {
        RUNNING.fetch_add(1, Relaxed);
        loop {
            std::hint::spin_loop();
        }
    }

    pub extern "C" fn start() {
        unsafe {
            let wanted = getenv(c"BESIDE".as_ptr());
            let wanted = if wanted.is_null() { 0 } else { atoi(wanted) };
            for _ in 0..wanted {
                if pthread_create(&mut 0, null(), run, null_mut()) != 0 {
                    abort();
                }
            }
            while RUNNING.load(Relaxed) < wanted {
                sched_yield();
            }
        }
    }
}
"#;

/// Tells the nanoseconds that it takes to open a library.
fn opener() -> String {
    format!(
        r#"
        use std::ffi::{{CString, c_char, c_void}};
        use std::time::Instant;

        {BESIDE}

        unsafe extern "C" {{
            fn dlopen(path: *const c_char, flags: i32) -> *mut c_void;
            fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
        }}

        fn main() {{
            const RTLD_NOW: i32 = 2;
            let path = CString::new(std::env::args().nth(1).unwrap()).unwrap();
            beside::start();
            let started = Instant::now();
            let library = unsafe {{ dlopen(path.as_ptr(), RTLD_NOW) }};
            let time = started.elapsed();
            assert!(!library.is_null());
            let all_are_bound = unsafe {{ dlsym(library, c"all_are_bound".as_ptr()) }};
            assert!(!all_are_bound.is_null());
            let all_are_bound: extern "C" fn() -> bool = unsafe {{ std::mem::transmute(all_are_bound) }};
            assert_eq!(all_are_bound(), std::env::var_os("INVAR").is_none());
            println!("{{}}", time.as_nanos());
        }}
        "#
    )
}

pub(crate) fn run() -> io::Result<()> {
    let bulk = [1, 10, 100, 1000].map(|pages| Layout { sites_a_page: 100, pages, scattered: false });
    let few = [1, 16, 256].map(|pages| Layout { sites_a_page: 10, pages, scattered: false });
    let apart = [16, 256].map(|pages| Layout { sites_a_page: 10, pages, scattered: true });
    let layouts: Vec<_> = bulk.into_iter().chain(few).chain(apart).collect();
    let one = Layout { sites_a_page: 1, pages: 1, scattered: false };
    let sizes = [one, bulk[0], bulk[2], bulk[3]];

    let folder = package(&layouts, &sizes).build("")?;
    let mut targets = Targets::default();
    by_writer(&folder, &layouts, &mut targets)?;
    beside_threads(&folder, &sizes)?;
    late(&folder, &sizes)?;
    match instructions(&folder, &bulk[3], &bulk[1]) {
        Ok(count) => targets.add("instructions a bound site", format!("{count:.0}"), "<= 130", count <= 130.0),
        Err(error) => println!("Instructions were not counted: valgrind: {error}."),
    }
    println!("\n{targets}");
    Ok(())
}

/// A program of each layout, a library of each of the sizes, and what opens these.
fn package(layouts: &[Layout], sizes: &[Layout]) -> Package<'static> {
    let mut files = vec![("src/bin/opener.rs".to_owned(), opener())];
    for layout in layouts.iter().chain(&sizes[..1]) {
        files.push((format!("src/bin/{}.rs", layout.name()), layout.program()));
    }
    for size in sizes {
        let name = format!("late-{}", size.name());
        let head = format!("[package]\nname = {name:?}\nversion = \"0.0.0\"\nedition = \"2024\"");
        let manifest = format!("{head}\n[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\ninvar-rt = {{invar}}\n");
        files.push((format!("{name}/Cargo.toml"), manifest));
        files.push((format!("{name}/src/lib.rs"), size.library()));
    }
    Package { name: "bind", manifest: "members = [\"late-*\"]\n[dependencies]\ninvar-rt = {invar}\n", files }
}

/// Each writer, and the floor.
fn by_writer(folder: &Path, layouts: &[Layout], targets: &mut Targets) -> io::Result<()> {
    let runs = [Run::Swap, Run::Memfd, Run::Mprotect, Run::Floor];
    let samples = measure(folder, layouts, &runs, Duration::from_secs(20))?;
    println!("binding, us a commit: planning, verification, writing and read-back; the floor: copy-on-write faults");
    println!("{:>6} {:>5}  {:20} {:20} {:20} {:20} swap/floor", "sites", "pages", "swap", "memfd", "mprotect", "floor");
    for (at, layout) in layouts.iter().enumerate() {
        let [swap, memfd, mprotect, floor] = [0, 1, 2, 3].map(|run| runs.len() * at + run);
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
    Ok(())
}

/// A program that is bound while other threads of it run.
fn beside_threads(folder: &Path, sizes: &[Layout]) -> io::Result<()> {
    let runs = [Run::Swap, Run::Beside(1), Run::Beside(4), Run::Floor];
    let samples = measure(folder, sizes, &runs, Duration::from_secs(10))?;
    println!("\nbinding beside running threads, us a commit by swap; the floor: copy-on-write faults, without threads");
    println!(
        "{:>6} {:>5}  {:20} {:20} {:20} {:20} 1/floor",
        "sites", "pages", "no thread", "1 thread", "4 threads", "floor"
    );
    for (at, layout) in sizes.iter().enumerate() {
        let variants = [0, 1, 2, 3].map(|run| runs.len() * at + run);
        let [alone, one, four, floor] = variants.map(|variant| samples.time(variant).to_string());
        let ratio = samples.ratio(variants[1], variants[3]);
        println!("{:6} {:>5}  {alone:20} {one:20} {four:20} {floor:20} {ratio}", layout.sites(), layout.pages);
    }
    println!("{}", threads_do_not_rest(samples.rounds()));
    Ok(())
}

/// A library that is opened while other threads of the program run.
fn late(folder: &Path, sizes: &[Layout]) -> io::Result<()> {
    let runs = [Run::Unbound, Run::Late(0), Run::Late(1), Run::Late(4)];
    let samples = measure(folder, sizes, &runs, Duration::from_secs(10))?;
    println!("\na library that is opened late, us a dlopen");
    println!(
        "{:>6} {:>5}  {:20} {:20} {:20} {:20}",
        "sites", "pages", "INVAR=off", "no thread", "1 thread", "4 threads"
    );
    for (at, layout) in sizes.iter().enumerate() {
        let times = [0, 1, 2, 3].map(|run| samples.time(runs.len() * at + run).to_string());
        let [unbound, alone, one, four] = times;
        println!("{:6} {:>5}  {unbound:20} {alone:20} {one:20} {four:20}", layout.sites(), layout.pages);
    }
    println!("{}", threads_do_not_rest(samples.rounds()));
    Ok(())
}

/// What is to be known of such times.
fn threads_do_not_rest(rounds: usize) -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "The threads compute all the time. This machine has {cpus} CPUs: what takes longer than a time slice has to share them. \
         Median and middle half of {rounds} rounds; each time from a process of its own."
    )
}

/// What a program is started for.
#[derive(Clone, Copy)]
enum Run {
    Swap,
    Memfd,
    Mprotect,
    Floor,
    /// By swap, while as many threads run.
    Beside(u32),
    /// A library is opened while as many threads run.
    Late(u32),
    /// A library is opened, and nothing is bound.
    Unbound,
}

impl Run {
    /// The nanoseconds that the program tells.
    fn of(self, folder: &Path, layout: &Layout) -> io::Result<f64> {
        let mut command = Command::new(folder.join(match self {
            Self::Late(_) | Self::Unbound => "opener".to_owned(),
            _ => layout.name(),
        }));
        command.env_clear();
        match self {
            Self::Swap => command.env("INVAR_WRITER", "swap"),
            Self::Memfd => command.env("INVAR_WRITER", "memfd"),
            Self::Mprotect => command.env("INVAR_WRITER", "mprotect"),
            Self::Floor => command.env("INVAR", "off").arg("floor"),
            Self::Beside(threads) => command.env("INVAR_WRITER", "swap").env("BESIDE", threads.to_string()),
            Self::Late(threads) => command.arg(layout.file(folder)).env("BESIDE", threads.to_string()),
            Self::Unbound => command.arg(layout.file(folder)).env("INVAR", "off"),
        };
        String::from_utf8_lossy(&output(&mut command)?.stdout).trim().parse().map_err(io::Error::other)
    }
}

/// For each layout its program as each [`Run`], in that order: us.
fn measure(folder: &Path, layouts: &[Layout], runs: &[Run], budget: Duration) -> io::Result<Samples> {
    let mut batches: Vec<Batch<'_, io::Error>> = Vec::new();
    for layout in layouts {
        for run in runs {
            batches.push(Box::new(move || Ok(run.of(folder, layout)? / 1000.0)));
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
