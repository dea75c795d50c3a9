//! gdb on a program that runs, in Rust and C: breakpoints where functions with sites begin, on the first instruction of sites of
//! every kind, and on the second, which a debugger may use. They are hit, and the program's results stay what they are. Sites
//! in which a breakpoint stands when they are to be bound are left alone, and the report says so.

mod common;

use common::elf::{Image, SiteRecord};
use common::probed::{LANGUAGES, RIGHT, Running, first_instruction, function_of, libinvar_if_built, probed};
use common::trace::no_tracing;
use common::{Build, Temporary, command, missing_tool, output, run, sites, test};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let missing = |tool: Option<&str>| {
        sites().or_else(|| tool.and_then(missing_tool)).or_else(|| missing_tool("gdb")).or_else(no_tracing)
    };
    let newer = test("breakpoints on ordered branches, selects and constants", missing(None), on_the_newer_kinds);
    run([newer].into_iter().chain(LANGUAGES.into_iter().flat_map(|(language, tool, program)| {
        [
            test(&format!("breakpoints on a program that is loaded, {language}"), missing(tool), move || {
                when_it_is_loaded(&program());
            }),
            test(&format!("breakpoints that are there before it is bound, {language}"), missing(tool), move || {
                before_it_is_bound(&program());
            }),
            test(&format!("a debugger that comes to a program and goes, {language}"), missing(tool), move || {
                attached(&program());
            }),
        ]
    })))
}

/// Where breakpoints are set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Function,
    First,
    Second,
}

const PLACES: [Place; 3] = [Place::Function, Place::First, Place::Second];

impl Place {
    fn of(self, image: &Image, record: &SiteRecord) -> u64 {
        match self {
            Self::Function => function_of(image, record.site),
            Self::First => record.site,
            Self::Second => record.site + first_instruction(record),
        }
    }
}

/// A debugger with a program of which `main` tells where it is.
struct Session {
    script: String,
    main: u64,
}

/// How often each function runs for one answer.
const RUNS: u64 = 100;

impl Session {
    fn new(program: &Path) -> Self {
        let bytes = std::fs::read(program).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        let is_main = |symbol: &goblin::elf::Sym| elf.strtab.get_at(symbol.st_name) == Some("main");
        let main = elf.syms.iter().find(is_main).expect("main").st_value;
        let script = ["pagination off", "confirm off", "debuginfod enabled off", "language c", "width 0"];
        Self { script: script.map(|setting| format!("set {setting}\n")).concat(), main }
    }

    fn line(&mut self, line: &str) {
        self.script += line;
        self.script.push('\n');
    }

    /// An address of the file, in the process.
    fn at(&self, address: u64) -> String {
        format!("*((unsigned long)&main - {} + {address})", self.main)
    }

    /// Breakpoints that let the functions run once for an answer, and stop in the next.
    fn break_at(&mut self, addresses: &BTreeSet<u64>) {
        for address in addresses {
            let at = self.at(*address);
            // The debugger's own counts follow each other.
            writeln!(self.script, "break {at}\nignore $bpnum {RUNS}").unwrap();
        }
    }

    fn show(&mut self, records: &[SiteRecord]) {
        for record in records {
            let at = self.at(record.site);
            writeln!(self.script, "printf \"site %x:\", {}", record.site).unwrap();
            for byte in 0..record.length {
                writeln!(self.script, "printf \" %02x\", *((unsigned char *)&{at} + {byte})").unwrap();
            }
            self.line("echo \\n");
        }
    }

    fn command(&self, name: &str, program: &Path) -> (Temporary, Command) {
        let script = Temporary::path(name);
        std::fs::write(&script.0, &self.script).unwrap();
        let mut gdb = command("gdb");
        gdb.args(["-nx", "-batch", "-x"]).arg(&script.0).arg(program);
        // No shell's start, and nothing that it would look for.
        gdb.env("LD_LIBRARY_PATH", libinvar_if_built()).env_remove("LD_PRELOAD").env("HOME", "/nonexistent");
        (script, gdb)
    }
}

/// What a session said.
struct Said(String);

impl Said {
    fn of(output: std::process::Output) -> Self {
        Self([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
    }

    /// The answers of the program.
    fn answers(&self) -> Vec<&str> {
        self.0
            .lines()
            .filter(|line| line.len() == RIGHT.len() - 1 && line.bytes().all(|byte| byte.is_ascii_digit()))
            .collect()
    }

    /// The bytes of each site, each time they were shown.
    fn shown(&self) -> Vec<(u64, Vec<u8>)> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("site ")?.split_once(": "));
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        lines.map(|(site, bytes)| (number(site), bytes.split(' ').map(|byte| number(byte) as u8).collect())).collect()
    }

    /// How often each breakpoint was hit, by its address in the file.
    fn hits(&self, main: u64) -> Vec<(u64, u64)> {
        let base =
            |line: &str| line.strip_prefix("main is at ").map(|at| at.trim().parse::<u64>().expect("a number") - main);
        let base = self.0.lines().find_map(base).unwrap_or_else(|| panic!("{}", self.0));
        let lines: Vec<_> = self.0.lines().collect();
        let of = |at: usize| {
            // Num Type Disp Enb Address What
            let mut fields = lines[at].split_whitespace();
            let address = fields.clone().position(|field| field == "keep").and_then(|_| fields.nth(4))?;
            let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()? - base;
            let hit = lines[at + 1..].iter().take_while(|line| line.starts_with(['\t', ' ']));
            let hit = hit.filter_map(|line| line.trim().strip_prefix("breakpoint already hit ")).next();
            Some((address, hit.map_or(0, |hit| hit.split(' ').next().unwrap().parse().unwrap())))
        };
        (0..lines.len()).filter_map(of).collect()
    }
}

/// A file with one byte, for two answers.
fn one_byte() -> Temporary {
    Temporary::executable("gdb-input", b"\n")
}

const SHOW_MAIN: &str = "printf \"main is at %lu\\n\", (unsigned long)&main";

/// Fails unless every breakpoint that is hit at all was hit each time, and there is one of each kind.
fn assert_hit(said: &Said, main: u64, image: &Image, place: Place, bound: bool) {
    let hits = said.hits(main);
    for kind in 1..=3 {
        let of_kind = probed(image).into_iter().filter(|record| record.kind == kind);
        let of_kind: Vec<_> = of_kind
            .filter_map(|record| hits.iter().find(|(at, _)| *at == place.of(image, &record)))
            .map(|(_, hits)| *hits)
            .collect();
        // The last instruction is not executed where a jump stands before it.
        let jumped = |hits| bound && place == Place::Second && hits == 0;
        assert!(
            of_kind.iter().all(|&hits| hits >= RUNS || jumped(hits)),
            "{place:?}, kind {kind}: {hits:x?}\n{}",
            said.0
        );
        assert!(of_kind.iter().any(|&hits| hits >= RUNS), "{place:?}, kind {kind}: {hits:x?}\n{}", said.0);
    }
}

fn when_it_is_loaded(program: &Path) {
    let (image, input) = (Image::read(program), one_byte());
    let records = probed(&image);
    for (settings, bound) in [
        (&[("INVAR_KEYS", "slice=off")][..], true),
        (&[("INVAR_KEYS", "slice=force")], true),
        (&[("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "off")], false),
    ] {
        for place in PLACES {
            let mut session = Session::new(program);
            session.line("tbreak *(unsigned long)&main");
            session.line(&format!("run < {}", input.0.display()));
            session.line(SHOW_MAIN);
            session.show(&records);
            session.break_at(&records.iter().map(|record| place.of(&image, record)).collect());
            session.line("continue\ninfo breakpoints\ndelete");
            session.show(&records);
            session.line("continue");
            let (_script, mut gdb) = session.command("gdb-loaded", program);
            let said = Said::of(output(gdb.envs(settings.iter().copied())));
            assert_eq!(said.answers(), [RIGHT.trim(); 2], "{settings:?} {place:?}: {}", said.0);
            assert!(said.0.contains("exited normally"), "{settings:?} {place:?}: {}", said.0);
            assert_hit(&said, session.main, &image, place, bound);
            let shown = said.shown();
            let (before, after) = shown.split_at(records.len());
            assert_eq!(before, after, "{settings:?} {place:?}: a breakpoint left something behind");
            for (site, bytes) in before {
                assert_eq!(*bytes != image.at(*site, bytes.len()), bound, "{settings:?}: {bytes:x?}");
            }
        }
    }
}

/// What stands there is somebody else's: the site stays as it is, and says so. The others are bound.
fn before_it_is_bound(program: &Path) {
    let (image, input) = (Image::read(program), one_byte());
    let records = probed(&image);
    for place in PLACES {
        // Also a site that is met first when all are there.
        let addresses: BTreeSet<_> = records.iter().map(|record| place.of(&image, record)).collect();
        let is_met = |record: &SiteRecord| {
            addresses.iter().any(|at| (record.site..record.site + u64::from(record.length)).contains(at))
        };
        let session_of = |end: &[&str]| {
            let mut session = Session::new(program);
            session.line(&format!("starti < {}", input.0.display()));
            session.line(SHOW_MAIN);
            session.break_at(&addresses);
            session.line("continue\ninfo breakpoints\ndelete");
            session.show(&records);
            end.iter().for_each(|line| session.line(line));
            session
        };
        let session = session_of(&["continue"]);
        let (_script, mut gdb) = session.command("gdb-before", program);
        let settings = [("INVAR_KEYS", "slice=force"), ("INVAR_REPORT", "stderr")];
        let said = Said::of(output(gdb.envs(settings)));
        assert_eq!(said.answers(), [RIGHT.trim(); 2], "{place:?}: {}", said.0);
        assert!(said.0.contains("exited normally"), "{place:?}: {}", said.0);
        assert_hit(&said, session.main, &image, place, true);
        let report = said.0.lines().skip_while(|line| !line.contains("module (program) at 0x"));
        let report: Vec<_> = report.take_while(|line| !line.starts_with("Breakpoint ")).collect();
        for record in &records {
            let (_, bytes) = said.shown().into_iter().find(|(site, _)| *site == record.site).expect("its bytes");
            let is_left = bytes == image.at(record.site, bytes.len());
            assert_eq!(is_left, is_met(record), "{place:?} {record:x?}: {bytes:x?}\n{}", said.0);
            let line =
                report.iter().find(|line| line.contains(&format!("site {:#x} ", record.site))).expect("its line");
            let says = if is_met(record) { ": foreign bytes, left alone" } else { ": bound to " };
            assert!(line.contains(says), "{place:?}: {line}");
        }
        // Where binding is required that is the end.
        let (_script, mut gdb) = session_of(&[]).command("gdb-required", program);
        let said = Said::of(output(gdb.env("INVAR", "require").env("INVAR_KEYS", "slice=force")));
        let is_refused = said.0.contains(&format!("exited with code 0{:o}]", invar::EXIT_REQUIRED));
        assert_eq!(is_refused, records.iter().any(is_met), "{place:?}: {}", said.0);
        assert_eq!(said.0.contains("foreign bytes, left alone"), is_refused, "{place:?}: {}", said.0);
    }
}

/// On their first instruction, which is the only one of some. None stops: the program goes on, and its answers stay what they are.
fn on_the_newer_kinds() {
    let program = Build::release().program("numbers");
    let (image, input) = (Image::read(&program), one_byte());
    let is_newer = |record: &SiteRecord| record.kind > 4 || record.flags != 0;
    let newer: Vec<_> = image.site_records().into_iter().filter(is_newer).collect();
    let mut running = Running::start(&program, &[("NUMBERS_ANSWER", "1")]);
    // The first line is that of a probe, in the constructor.
    assert!(running.answer().starts_with("probe"));
    let right = running.answer();
    running.end();
    // They are there when it is bound, or come behind that.
    for (begin, writer) in [
        ("tbreak *(unsigned long)&main\nrun", "auto"),
        ("tbreak *(unsigned long)&main\nrun", "off"),
        ("starti", "auto"),
    ] {
        let mut session = Session::new(&program);
        session.line(&format!("{begin} < {}", input.0.display()));
        session.line(SHOW_MAIN);
        for record in &newer {
            let at = session.at(record.site);
            session.line(&format!("break {at}\nignore $bpnum 1000000"));
        }
        session.line("continue\ninfo breakpoints");
        let (_script, mut gdb) = session.command("gdb-newer", &program);
        let said = Said::of(output(gdb.env("NUMBERS_ANSWER", "1").env("INVAR_WRITER", writer)));
        let answers = said.0.lines().filter(|line| *line == right.trim_end()).count();
        assert_eq!(answers, 2, "{begin} {writer}: {right}{}", said.0);
        assert!(said.0.contains("exited normally"), "{begin} {writer}: {}", said.0);
        let hits = said.hits(session.main);
        let is_hit = |record: &&SiteRecord| hits.iter().any(|&(at, hits)| at == record.site && hits > 0);
        let sorts: BTreeSet<_> = newer.iter().filter(is_hit).map(|record| (record.kind, record.flags)).collect();
        assert_eq!(sorts, BTreeSet::from([(1, 1), (5, 0), (6, 0)]), "{begin} {writer}: {}", said.0);
    }
}

/// It is there for one answer.
fn attached(program: &Path) {
    let image = Image::read(program);
    let records = probed(&image);
    for place in PLACES {
        let mut running = Running::start(program, &[("INVAR_KEYS", "slice=force")]);
        assert_eq!(running.answer(), RIGHT);
        let code: Vec<_> = records.iter().map(|record| running.code(record.site, record.length)).collect();
        let mut session = Session::new(program);
        session.line(&format!("attach {}", running.process.id()));
        session.line(SHOW_MAIN);
        session.break_at(&records.iter().map(|record| place.of(&image, record)).collect());
        session.line("echo it is there\\n");
        session.line("continue\ninfo breakpoints\ndelete\ndetach");
        let (_script, mut gdb) = session.command("gdb-attached", program);
        let mut gdb = gdb.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(gdb.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut text = String::new();
        for line in lines.by_ref() {
            let there = line == "it is there";
            text += &(line + "\n");
            if there {
                break;
            }
        }
        if !text.ends_with("it is there\n") {
            let rest = gdb.wait_with_output().unwrap();
            panic!("{text}{}", String::from_utf8_lossy(&rest.stderr));
        }
        // In the second it stops, and the debugger goes.
        for _ in 0..2 {
            assert_eq!(running.again(), RIGHT, "{place:?}");
        }
        lines.for_each(|line| text += &(line + "\n"));
        assert!(gdb.wait().unwrap().success(), "{text}");
        assert_hit(&Said(text), session.main, &image, place, true);
        assert_eq!(running.again(), RIGHT, "{place:?}: afterwards");
        let now: Vec<_> = records.iter().map(|record| running.code(record.site, record.length)).collect();
        assert_eq!(code, now, "{place:?}");
        running.end();
    }
}
