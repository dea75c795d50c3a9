//! libinvar-preload in front of programs that know nothing of it: every lock means what it meant. Where the time slice key is off
//! nothing of the library is left in the way of a call. `cli/tests/run.rs` has `invar run`, and the guest has grants.

mod common;

use common::c::{libinvar, make, missing, must};
use common::refuse::{Refused, cannot_refuse, refuse};
use common::{command, elf, missing_target, missing_tool, output, run, scratch, sites, test};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let needs = |tool: &str| sites().or_else(|| missing("make")).or_else(|| missing("cc")).or_else(|| missing(tool));
    let mut tests = vec![
        test("it exports what the C library has, and nothing else", needs("cc"), what_it_exports),
        test("a thread asks while it holds a lock", needs("cc"), a_thread_asks_while_it_holds_a_lock),
        test(
            "where mprotect is refused, calls pass through",
            refusable(NO_WRITE).or_else(|| needs("cc")),
            passes_through,
        ),
        test("under PR_SET_MDWE it steps aside", refusable(MDWE).or_else(|| needs("cc")), steps_aside_under_mdwe),
        test("not an instruction more", needs("cc").or_else(|| missing("valgrind")), not_an_instruction_more),
        test("a group is turned off alone", needs("cc"), a_group_is_turned_off_alone),
        test("what a lock costs in instructions", needs("cc").or_else(|| missing("valgrind")), what_a_lock_costs),
        test(
            "a child with musl steps aside",
            needs("cc").or_else(|| missing("musl-gcc")),
            a_child_with_musl_steps_aside,
        ),
        test("beside an audit library", needs("cc").or_else(not_x86), beside_an_audit_library),
        test("the environment is given back", needs("cc"), the_environment_is_given_back),
        test("sysbench", needs("sysbench"), sysbench),
        test("stress-ng", needs("stress-ng"), stress_ng),
        test("python3", needs("python3"), python),
        test("redis", needs("redis-server").or_else(|| missing("redis-cli")), redis),
        test("memcached", needs("cc").or_else(|| installed("memcached")), memcached),
        test("nginx", needs("cc").or_else(|| installed("nginx")), nginx),
    ];
    tests.extend(SETTINGS.map(|setting| {
        let name = format!("locks mean what they meant, {}", if setting.is_empty() { "as it comes" } else { setting });
        test(&name, needs("cc"), move || locks_mean_what_they_meant(setting))
    }));
    tests.extend([
        test("RISC-V: it exports what the C library has, and nothing else", missing_risc(), risc_exports),
        test("RISC-V: a thread asks while it holds a lock", missing_risc(), risc_asks),
        test("RISC-V: pointers lead where they should", missing_risc(), risc_pointers),
    ]);
    tests.extend(LINKED.map(|how| {
        let name = format!("pointers lead where they should, {}", if how.is_empty() { "as it comes" } else { how });
        test(&name, needs("cc"), move || pointers_lead_where_they_should(how))
    }));
    run(tests)
}

/// Off on this machine, unless its kernel grants; requests where nobody looks, bound and counted; a group alone.
const SETTINGS: [&str; 6] = [
    "",
    "INVAR=off",
    "INVAR_KEYS=slice=force",
    "INVAR_KEYS=slice=force INVAR_SLICE=count",
    "INVAR_KEYS=slice=force INVAR_WRITER=off",
    "INVAR_KEYS=slice=force,preload_mutex=off",
];

/// How the program is linked.
const LINKED: [&str; 5] =
    ["", "-Wl,-z,lazy", "-Wl,-z,relro,-z,now", "-no-pie -fno-pie -Wl,-z,relro,-z,now", "-fno-plt -Wl,-z,now"];

const NO_WRITE: &[Refused] = &[Refused::MprotectWrite];
const MDWE: &[Refused] = &[Refused::ExecGain];

fn refusable(refused: &'static [Refused]) -> Option<String> {
    cannot_refuse(refused)
}

/// Why there is no such server: those that do not say their version by `--version`.
fn installed(server: &str) -> Option<String> {
    let found = Command::new(server).arg(if server == "nginx" { "-v" } else { "-V" }).output();
    (!found.is_ok_and(|output| output.status.success())).then(|| format!("no {server}"))
}

const NAME: &str = "libinvar-preload.so.0";

fn library() -> PathBuf {
    libinvar().join(NAME)
}

/// A program of `tests/programs/c`.
fn build(source: &str, name: &str, options: &str) -> PathBuf {
    build_by("cc", source, name, options)
}

fn build_by(compiler: &str, source: &str, name: &str, options: &str) -> PathBuf {
    let name: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
    let path = scratch().join(format!("preload-{name}"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/c");
    let mut cc = Command::new(compiler);
    cc.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-pthread"]).args(options.split_ascii_whitespace());
    must(cc.arg(folder.join(source)).arg("-o").arg(&path));
    path
}

/// The same command with the library in front, and these settings.
fn in_front(mut command: Command, settings: &str) -> Command {
    command.env("LD_PRELOAD", library());
    command.envs(settings.split_ascii_whitespace().map(|setting| setting.split_once('=').expect("a setting")));
    command
}

/// What a command that succeeds writes to standard output; it says nothing else.
fn said(command: &mut Command) -> String {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?} {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Names of functions, without their versions.
fn exported(path: &Path) -> BTreeSet<String> {
    elf::exported(&std::fs::read(path).unwrap()).into_iter().collect()
}

/// Where this process's own C library is.
fn libc() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.split_ascii_whitespace().find(|word| word.contains("/libc.so.6")).expect("a C library");
    path.into()
}

fn what_it_exports() {
    exports_what_the_libc_has(&library(), &libc(), &["GLIBC_2.2.5", "GLIBC_2.3.2"]);
}

fn exports_what_the_libc_has(own: &Path, libc: &Path, versions: &[&str]) {
    let (own, libcs) = (exported(own), exported(libc));
    let versions: BTreeSet<_> = versions.iter().copied().map(String::from).collect();
    let functions: BTreeSet<_> = own.difference(&versions).filter(|name| !name.is_empty()).cloned().collect();
    let strange: Vec<_> = functions.difference(&libcs).collect();
    assert!(strange.is_empty(), "nobody else has {strange:?}");
    // Whatever the C library has that takes, releases or waits with a lock is here.
    let prefixes = ["pthread_mutex_", "pthread_spin_", "pthread_rwlock_", "pthread_cond_", "mtx_", "cnd_"];
    let acts = |name: &str| {
        // Some have a second name, for programs of old.
        let name = name.strip_prefix("__").unwrap_or(name);
        let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
        rest.is_some_and(|rest| rest.ends_with("lock") || rest.ends_with("wait"))
    };
    let expected: BTreeSet<_> = libcs.into_iter().filter(|name| acts(name)).collect();
    assert!(expected.len() > 20, "{expected:?}");
    assert_eq!(functions, expected);
}

fn locks_mean_what_they_meant(settings: &str) {
    let program = build("locks.c", &format!("locks {settings}"), "");
    let without = said(&mut command(&program));
    let with = said(&mut in_front(command(&program), settings));
    assert_eq!(with, without);
    // It says what POSIX does.
    for line in ["errorcheck\tEPERM 0 EDEADLK EBUSY EDEADLK EPERM EBUSY 0 0", "wait\t0 EBUSY 0", "sum, spin\t20000"] {
        assert!(without.lines().any(|said| said == line), "{line}\n{without}");
    }
    assert!(without.lines().count() > 40, "{without}");
}

/// Why there is no audit library: it has functions of one machine.
fn not_x86() -> Option<String> {
    (!cfg!(all(target_arch = "x86_64", target_env = "gnu"))).then(|| "audit.c is for glibc on x86-64".into())
}

/// One that sees calls return. A `dlsym(RTLD_NEXT)` by way of the PLT would be told that the loader has called it (glibc dies of that).
fn beside_an_audit_library() {
    let program = build("audited.c", "audited", "-Wl,-z,lazy");
    let audit = build("audit.c", "audit", "-shared -fPIC");
    for front in [library(), libinvar().join("libinvar-hook.so.0")] {
        for settings in ["INVAR_KEYS=slice=off", "INVAR_KEYS=slice=force"] {
            let mut command = in_front(command(&program), settings);
            command.env("LD_PRELOAD", &front).env("LD_LIBRARY_PATH", libinvar()).env("LD_AUDIT", &audit);
            assert_eq!(said(&mut command), "190\n", "{front:?} {settings}");
        }
    }
}

fn a_thread_asks_while_it_holds_a_lock() {
    let program = build("asks.c", "asks", "");
    let area = area(&library());
    for settings in ["INVAR_KEYS=slice=force", "INVAR_KEYS=slice=force INVAR_SLICE=count"] {
        let mut asking = in_front(command(&program), settings);
        assert_eq!(said(asking.arg(area.to_string())), ASKS, "{settings}");
    }
}

/// Where the runtime's own area lies in the library's thread-local memory.
fn area(library: &Path) -> u64 {
    let bytes = std::fs::read(library).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let symbol = elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some("invar_area"));
    symbol.expect("an area").st_value
}

/// The request byte after each step; of a waiter, as another thread sees it, when it is woken, and when it has released.
const ASKS: &str = "\
one lock\t0 1 0
nested\t1 1 1 0
of all kinds\t1 1 1 1 1 0
an attempt that fails\t1 1 0 1 1 0 0
a release that fails\t1 1 0
of a dead owner\t1 0 0
lost, then another lock\t0 1 1 0
granted, then another lock\t0 0
a wait in vain\t1 0
waiting, woken, released\t0 1 0
waiting, cancelled, released\t0 0 0
by the names of old programs\t1 1 1 0
at the end\t1 0
";

/// The module of each pointer's function, by the module that has the pointer; both libraries that the program uses among them.
fn owners(program: &Path, opened: &Path, settings: &str) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut found = BTreeMap::<_, BTreeMap<_, usize>>::new();
    for line in said(in_front(command(program), settings).arg(opened)).lines() {
        let [module, function, owner] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let kind = if function.contains("spin") { "spin" } else { "other" };
        *found.entry(format!("{module} {kind}")).or_default().entry(owner.to_owned()).or_default() += 1;
    }
    found
}

fn pointers_lead_where_they_should(how: &str) {
    for binding in ["-Wl,-z,lazy", "-Wl,-z,now"] {
        let library = |name: &str| {
            build("bound.c", &format!("{name} {how}{binding}"), &format!("-DLIBRARY -shared -fPIC {binding}"))
        };
        let (needed, opened) = (library("needed"), library("opened"));
        let options = format!("{how} -Wl,--no-as-needed {}", needed.display());
        let program = build("bound.c", &format!("bound {how}{binding}"), &options);
        let modules = ["program", &name(&needed), &name(&opened)].map(String::from);
        for (settings, [spin, other]) in [
            ("INVAR_KEYS=slice=off", ["libc.so.6"; 2]),
            ("INVAR=off", ["libc.so.6"; 2]),
            ("INVAR_KEYS=slice=force", [NAME; 2]),
            ("INVAR_KEYS=slice=force,preload_spin=off", ["libc.so.6", NAME]),
        ] {
            let found = owners(&program, &opened, settings);
            for module in &modules {
                let of = |kind: &str| found[&format!("{module} {kind}")].clone();
                let expected = |owner: &str, count| BTreeMap::from([(owner.to_owned(), count)]);
                assert_eq!(of("spin"), expected(spin, 2), "{settings} {binding} {module} {found:#?}");
                assert_eq!(of("other"), expected(other, 7), "{settings} {binding} {module} {found:#?}");
            }
            assert_eq!(found["dlsym other"].keys().collect::<Vec<_>>(), [other], "{settings}");
        }
    }
}

const RISC: &str = "riscv64gc-unknown-linux-gnu";
const RISC_CC: &str = "riscv64-linux-gnu-gcc";
/// Where that compiler has its C library.
const RISC_LIBRARIES: &str = "/usr/riscv64-linux-gnu";
const RISC_EMULATOR: &str = "qemu-riscv64";

fn missing_risc() -> Option<String> {
    let tools = missing_tool(RISC_EMULATOR).or_else(|| missing_tool(RISC_CC)).or_else(|| missing("make"));
    sites().or(tools).or_else(|| missing_target(RISC))
}

fn risc_library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        make("preload-riscv64", &[&format!("CARGO_BUILD_TARGET={RISC}"), &format!("CC={RISC_CC}")]);
        scratch().join("preload-riscv64").join(NAME)
    });
    built.clone()
}

/// The program on an emulator, with the library in front, and these settings.
fn on_risc(program: &Path, settings: &str) -> Command {
    let mut emulator = command(RISC_EMULATOR);
    // The emulator is a program of this machine, and cannot load the library: the program is given LD_PRELOAD by -E.
    emulator.args(["-L", RISC_LIBRARIES, "-E", &format!("LD_PRELOAD={}", risc_library().display())]);
    emulator.envs(settings.split_ascii_whitespace().map(|setting| setting.split_once('=').expect("a setting")));
    emulator.arg(program);
    emulator
}

fn risc_exports() {
    exports_what_the_libc_has(&risc_library(), &Path::new(RISC_LIBRARIES).join("lib/libc.so.6"), &[]);
}

fn risc_asks() {
    let program = build_by(RISC_CC, "asks.c", "asks risc", "");
    let area = area(&risc_library()).to_string();
    let asked = |settings| said(on_risc(&program, settings).arg(&area));
    for settings in ["INVAR_KEYS=slice=force", "INVAR_KEYS=slice=force INVAR_WRITER=off"] {
        assert_eq!(asked(settings), ASKS, "{settings}");
    }
    assert_eq!(asked("INVAR_KEYS=slice=off"), ASKS.replace('1', "0"));
}

/// Bound at once and at the first call, by way of `R_RISCV_JUMP_SLOT` and of `R_RISCV_64`, in pages that are read-only and in others.
fn risc_pointers() {
    for how in ["-Wl,-z,lazy", "-Wl,-z,relro,-z,now", "-fno-plt -Wl,-z,now"] {
        let options = format!("-fPIE -pie {how}");
        let program = build_by(RISC_CC, "bound.c", &format!("bound risc {how}"), &options);
        let options = format!("-DLIBRARY -shared -fPIC {how}");
        let opened = build_by(RISC_CC, "bound.c", &format!("opened risc {how}"), &options);
        for (settings, spin, other) in [
            ("INVAR_KEYS=slice=off", "libc.so.6", "libc.so.6"),
            ("INVAR_KEYS=slice=force", NAME, NAME),
            ("INVAR_KEYS=slice=force,preload_spin=off", "libc.so.6", NAME),
        ] {
            let said = said(on_risc(&program, settings).arg(&opened));
            for line in said.lines() {
                let owner = if line.contains("spin") { spin } else { other };
                assert!(line.ends_with(&format!("\t{owner}")), "{settings} {how}: {line}\n{said}");
            }
            for module in ["program".to_owned(), name(&opened)] {
                let count = said.lines().filter(|line| line.starts_with(&format!("{module}\t"))).count();
                assert!(count >= 9, "{settings} {how} {module}\n{said}");
            }
            assert!(said.contains("dlsym\t"), "{said}");
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Pages that cannot be written to leave the functions where they are, and each call gets the C library's answer. New threads
/// cannot be had under this rule.
fn passes_through() {
    let program = build("lock.c", "lock refused", "-Wl,-z,relro,-z,now");
    let mut refused = in_front(command(&program), "INVAR_KEYS=slice=off");
    refuse(refused.arg("1000"), NO_WRITE);
    let output = output(&mut refused);
    let errors = String::from_utf8_lossy(&output.stderr);
    let told = "invar: calls pass through libinvar-preload, which cannot step aside: Operation not permitted\n";
    assert!(output.status.success() && errors.contains(told), "{} {errors}", output.status);
}

fn steps_aside_under_mdwe() {
    let library = build("bound.c", "opened mdwe", "-DLIBRARY -shared -fPIC");
    let program = build("bound.c", "bound mdwe", "-Wl,-z,relro,-z,now");
    let mut bound = in_front(command(&program), "INVAR_KEYS=slice=off");
    refuse(&mut bound, MDWE);
    let said = said(bound.arg(&library));
    assert!(said.lines().count() > 15 && said.lines().all(|line| line.ends_with("\tlibc.so.6")), "{said}");
}

/// What 1,000 locks and their releases take: those of the second half of the calls, which is like the first. The calls are the
/// program's, or those of a library that it opens.
fn instructions(program: &Path, opened: Option<&Path>, library: Option<PathBuf>, keys: &str) -> u64 {
    let all = |times: &str| {
        let mut callgrind = command("valgrind");
        callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg(times).args(opened);
        callgrind.envs(library.iter().map(|path| ("LD_PRELOAD", path))).env("INVAR_KEYS", keys);
        let said = String::from_utf8(output(&mut callgrind).stderr).unwrap();
        let collected = said.lines().find_map(|line| line.split_once("Collected : "));
        collected.unwrap_or_else(|| panic!("{said}")).1.trim().parse::<u64>().unwrap()
    };
    all("2000") - all("1000")
}

fn not_an_instruction_more() {
    let program = build("lock.c", "lock", "-Wl,-z,relro,-z,now");
    let opened =
        |binding: &str| build("lock.c", &format!("opened {binding}"), &format!("-DLIBRARY -shared -fPIC {binding}"));
    for opened in [None, Some(opened("-Wl,-z,lazy")), Some(opened("-Wl,-z,relro,-z,now"))] {
        let without = instructions(&program, opened.as_deref(), None, "slice=off");
        let with = instructions(&program, opened.as_deref(), Some(library()), "slice=off");
        println!("1,000 times a lock and its release: {without} instructions without the library, {with} with it");
        assert_eq!(with, without, "{opened:?}");
    }
}

/// docs/run.md says how many. Other compilers need a few more or less.
fn what_a_lock_costs() {
    let program = build("lock.c", "lock costs", "-Wl,-z,relro,-z,now");
    let without = instructions(&program, None, None, "slice=force");
    let more = instructions(&program, None, Some(library()), "slice=force") - without;
    println!("\n1,000 times a lock and its release: {without} instructions, and {more} more for the requests\n");
    assert!((20_000..30_000).contains(&more), "{more}");
}

/// Another C library's loader refuses a library in which symbols are missing, and with it the program.
fn a_child_with_musl_steps_aside() {
    let program = build_by("musl-gcc", "other_libc.c", "other libc", "");
    for settings in ["INVAR_KEYS=slice=force", "INVAR_KEYS=slice=off", "INVAR=off"] {
        let said = said(&mut in_front(command(&program), settings));
        let (results, module) = said.split_once('\n').expect("two lines");
        assert_eq!(results, "0 0", "{settings}");
        assert!(module.contains("musl"), "{settings}: {module}");
    }
}

/// As `invar run --own-rseq` leaves it. What follows the environment is where programs look for it.
fn the_environment_is_given_back() {
    let program = build("environment.c", "environment", "");
    let page = said(Command::new("getconf").arg("PAGESIZE"));
    let page = page.trim();
    for (before, entry) in [("", ""), ("GLIBC_TUNABLES=before", "GLIBC_TUNABLES=before\t")] {
        let mut restored = in_front(command(&program), "GLIBC_TUNABLES=glibc.pthread.rseq=0");
        let said = said(restored.env("_INVAR_BEFORE", before).env("A", "other"));
        let line = |who: &str, other: &str| format!("{who}\t{other}{page}\n");
        let sorted = |text: &str| {
            let mut lines: Vec<Vec<_>> =
                text.lines().map(|line| line.split('\t').map(String::from).collect()).collect();
            lines.iter_mut().for_each(|words| words.sort());
            lines
        };
        let expected = ["environ", "main", "arguments"].map(|who| line(who, &format!("A=other\t{entry}"))).concat();
        assert_eq!(sorted(&said), sorted(&expected));
    }
}

fn a_group_is_turned_off_alone() {
    let program = build("lock.c", "lock counted", "");
    let report = |keys: &str| {
        let mut lock = in_front(command(&program), "INVAR_REPORT=stderr");
        let output = output(lock.arg("10").env("INVAR_KEYS", keys));
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().filter_map(|line| line.trim().strip_prefix("key preload_")).map(String::from).collect::<Vec<_>>()
    };
    let [mutex, spin, rwlock] = &report("slice=force,preload_mutex=off")[..] else { panic!("three keys") };
    assert!(mutex.starts_with("mutex = off (setting)"), "{mutex}");
    assert!(spin.starts_with("spin = on (probe)") && rwlock.starts_with("rwlock = on (probe)"), "{spin} {rwlock}");
    let off = report("slice=off");
    let of_groups = off.iter().filter(|key| key.contains(" = off (probe): the time slice key is off"));
    assert_eq!(of_groups.count(), 3, "{off:?}");
}

/// Settings under which programs of others are run: as on a kernel that grants nothing, and with requests.
const WAYS: [&str; 2] = ["INVAR_KEYS=slice=off", "INVAR_KEYS=slice=force"];

fn sysbench() {
    for settings in WAYS {
        for words in [
            "mutex --threads=4 --mutex-num=2 --mutex-locks=2000 --mutex-loops=10 run",
            "threads --threads=4 --thread-locks=2 --events=300 --time=0 run",
        ] {
            let mut sysbench = command("sysbench");
            sysbench.args(words.split(' '));
            let said = said(&mut in_front(sysbench, settings));
            let events = said.lines().find_map(|line| line.trim().strip_prefix("total number of events:"));
            let expected = if words.starts_with("mutex") { "4" } else { "300" };
            assert_eq!(events.map(str::trim), Some(expected), "{said}");
        }
    }
}

fn stress_ng() {
    for settings in WAYS {
        let mut stress = command("stress-ng");
        // By time: with a number of operations its semaphores may wait for an alarm that never comes.
        stress.args(["--mutex", "2", "--pthread", "1", "--sem", "1", "--futex", "1", "--timeout", "2"]);
        stress.args(["--verify", "--metrics-brief"]);
        stress.args(["--temp-path"]).arg(scratch());
        let output = output(&mut in_front(stress, settings));
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success() && said.contains("successful run completed"), "{settings}\n{said}");
    }
}

fn python() {
    const PROGRAM: &str = "
import threading, queue
total, lock, inbox, done = 0, threading.Lock(), queue.Queue(), threading.Condition()
def work():
    global total
    while (item := inbox.get()) is not None:
        with lock: total += item
        with done: done.notify()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for item in range(2000): inbox.put(item)
for _ in threads: inbox.put(None)
for thread in threads: thread.join()
with done: assert not done.wait(0.01)
print(total)
";
    for settings in WAYS {
        let mut python = command("python3");
        python.args(["-c", PROGRAM]);
        assert_eq!(said(&mut in_front(python, settings)), "1999000\n");
    }
}

/// A server of these tests, which ends with them.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
    }

    fn connect(&mut self, port: u16) -> TcpStream {
        let begin = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    return stream;
                }
                Err(error) => {
                    let ended = self.0.try_wait().unwrap();
                    assert!(ended.is_none() && begin.elapsed() < Duration::from_secs(60), "{error} {ended:?}");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Whether the library is in it.
    fn has_the_library(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/maps", self.0.id())).unwrap().contains(NAME)
    }

    /// Ends it as its user would.
    fn end(mut self) {
        // SAFETY: a signal to this process's own child, which is not waited for yet.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of the loopback interface that nobody uses.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A line that the server answers, without its end.
fn ask(stream: &mut BufReader<TcpStream>, question: &str) -> String {
    stream.get_mut().write_all(question.as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Clients that ask at the same time, each for its own.
fn from_clients(server: &mut Server, port: u16, client: impl Fn(&mut BufReader<TcpStream>, usize) + Sync) {
    let streams: Vec<_> = (0..4).map(|_| server.connect(port)).collect();
    std::thread::scope(|scope| {
        for (number, stream) in streams.into_iter().enumerate() {
            let client = &client;
            scope.spawn(move || client(&mut BufReader::new(stream), number));
        }
    });
}

fn redis() {
    for settings in WAYS {
        let (port, folder) = (free_port(), folder("preload-redis"));
        let mut redis = command("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--io-threads", "4", "--io-threads-do-reads", "yes", "--dir"]);
        redis.arg(&folder).args(["--port", &port.to_string()]);
        let mut server = Server::start(&mut in_front(redis, settings));
        from_clients(&mut server, port, |stream, number| {
            for times in 1..=500 {
                assert_eq!(ask(stream, &format!("INCR of{number}\r\n")), format!(":{times}"));
            }
        });
        assert!(server.has_the_library());
        server.end();
    }
}

fn memcached() {
    for settings in WAYS {
        let port = free_port();
        let mut memcached = command("memcached");
        memcached.args(["-l", "127.0.0.1", "-t", "4", "-U", "0", "-u", "root", "-p", &port.to_string()]);
        let mut server = Server::start(&mut in_front(memcached, settings));
        from_clients(&mut server, port, |stream, number| {
            assert_eq!(ask(stream, &format!("set of{number} 0 0 1\r\n0\r\n")), "STORED");
            for times in 1..=500 {
                assert_eq!(ask(stream, &format!("incr of{number} 1\r\n")), times.to_string());
            }
        });
        assert!(server.has_the_library());
        server.end();
    }
}

fn nginx() {
    for settings in WAYS {
        let (port, folder) = (free_port(), folder("preload-nginx"));
        std::fs::write(folder.join("file"), "a file\n".repeat(1000)).unwrap();
        let place = folder.display();
        let configuration = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/log; thread_pool four threads=4;
             events {{}}
             http {{
               access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
               uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
               server {{ listen 127.0.0.1:{port}; root {place}; aio threads=four; sendfile off; }}
             }}"
        );
        std::fs::write(folder.join("configuration"), configuration).unwrap();
        let mut nginx = command("nginx");
        nginx.arg("-c").arg(folder.join("configuration")).arg("-p").arg(&folder).arg("-e").arg(folder.join("log"));
        let mut server = Server::start(&mut in_front(nginx, settings));
        from_clients(&mut server, port, |stream, _| {
            for _ in 0..100 {
                let answer = ask(stream, "GET /file HTTP/1.1\r\nHost: here\r\n\r\n");
                assert_eq!(answer, "HTTP/1.1 200 OK");
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                }
                let mut content = vec![0; 7000];
                stream.read_exact(&mut content).unwrap();
                assert!(content.ends_with(b"a file\n"));
            }
        });
        assert!(server.has_the_library());
        server.end();
    }
}
