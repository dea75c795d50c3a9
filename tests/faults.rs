//! Each system call that the runtime makes while a program loads fails in each way it can, one at a time and in pairs: the program
//! ends well and with the same results, each site is bound or stands as the compiler left it, for a reason that can be read, and
//! nothing is left behind. The same of the calls that it makes to set switches: all sites go by the new values, or by the old ones for a
//! reason, and can be set the next time.

mod common;

use common::c::{LINK, compiler, libinvar, must};
use common::fault::{Call, Fault, Mapping, Part, Run, run};
use common::trace::no_tracing;
use common::{Build, Tale, Temporary, command, full_matrix, in_front, missing_tool, replace, scratch, sites, test};
use goblin::elf::Elf;
use goblin::elf::program_header::{PF_X, PT_LOAD, ProgramHeader};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let missing = || sites().or_else(|| x86_64().or_else(no_tracing));
    let trials = SCENARIOS.iter().flat_map(|scenario| {
        let name = scenario.name;
        let missing = || missing().or_else(|| missing_tool("cc").filter(|_| scenario.needs_cc()));
        let wrap =
            |body: fn(&Scenario)| move || if scenario.in_c { in_front(|| body(scenario)) } else { body(scenario) };
        let pairs = (!scenario.in_full || full_matrix())
            .then(|| test(&format!("{name}: two calls fail"), missing(), wrap(two)));
        [test(&format!("{name}: one call fails"), missing(), wrap(one))].into_iter().chain(pairs)
    });
    common::run(trials)
}

fn x86_64() -> Option<String> {
    (!cfg!(target_arch = "x86_64")).then(|| "the tracer knows the registers of x86-64 only".into())
}

/// A program that is loaded.
struct Scenario {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    what: What,
    /// It leaves a profile.
    profile: bool,
    /// By the binder in C, which is in front of the program.
    in_c: bool,
    /// Pairs are for the full matrix: another scenario has most of them.
    in_full: bool,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq)]
enum What {
    /// A program is loaded.
    Load,
    /// A library that is opened late, beside threads.
    Late,
    /// A program and a library of its have switches, which are set; the words for `switched faulted`.
    Set(&'static str),
    /// A program in C is loaded, bound by libinvar.
    LoadInC,
    /// A program in C, bound by libinvar, sets its switches.
    SetInC,
}

const PLAIN: Scenario =
    Scenario { name: "", settings: &[], what: What::Load, profile: false, in_c: false, in_full: false };

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "auto", settings: &[("INVAR_REPORT", "stderr")], ..PLAIN },
    Scenario { name: "memfd", settings: &[("INVAR_WRITER", "memfd")], ..PLAIN },
    Scenario { name: "mprotect", settings: &[("INVAR_WRITER", "mprotect")], ..PLAIN },
    Scenario { name: "late, beside threads", what: What::Late, ..PLAIN },
    Scenario {
        name: "with a profile",
        settings: &[("INVAR_SLICE", "profile"), ("INVAR_KEYS", "slice=force")],
        profile: true,
        ..PLAIN
    },
    Scenario { name: "auto, bound in C", in_c: true, ..PLAIN },
    Scenario { name: "memfd, bound in C", settings: &[("INVAR_WRITER", "memfd")], in_c: true, ..PLAIN },
    Scenario { name: "mprotect, bound in C", settings: &[("INVAR_WRITER", "mprotect")], in_c: true, ..PLAIN },
    Scenario { name: "set", what: What::Set(""), ..PLAIN },
    Scenario { name: "set, by memfd", settings: &[("INVAR_WRITER", "memfd")], what: What::Set(""), ..PLAIN },
    Scenario { name: "set, beside a thread in the sites", what: What::Set("thread"), in_full: true, ..PLAIN },
    Scenario { name: "set, where mremap is refused", what: What::Set("mremap"), in_full: true, ..PLAIN },
    Scenario { name: "a program in C, by libinvar", what: What::LoadInC, in_full: true, ..PLAIN },
    Scenario { name: "set in C, by libinvar", what: What::SetInC, in_full: true, ..PLAIN },
];

/// Writes where it is loaded what the others write when they are asked: all modules' sites.
const TELLER: (&str, &str) = ("PLUGIN_TELLS", "1");

/// A part of a profile's name.
const PROFILE: &str = "faults.profile";

impl Scenario {
    /// The files that carry the runtime, the program first.
    fn files(&self) -> Vec<PathBuf> {
        let release = Build::release();
        match self.what {
            What::Late => return vec![release.program("host"), release.library("plugin")],
            What::Set(_) => return vec![release.program("switched"), release.library("switching")],
            What::LoadInC | What::SetInC => return vec![in_c(), libinvar().join("libinvar.so.0")],
            What::Load => {}
        }
        let program = release.program("story");
        let command = command(&program);
        let in_front = command.get_envs().find(|(name, _)| *name == "LD_PRELOAD").and_then(|(_, path)| path);
        let in_front = in_front.map(PathBuf::from);
        [program].into_iter().chain(in_front).collect()
    }

    fn run(&self, faults: &[(usize, Fault)]) -> Run {
        let files = self.files();
        let mut command: Command = command(&files[0]);
        command.envs(self.settings.iter().copied());
        match self.what {
            What::Load => &mut command,
            What::Late => command.args(["--threads", "3"]).arg(&files[1]),
            What::Set(words) => command.arg("faulted").args(words.split_ascii_whitespace()).arg(&files[1]),
            What::LoadInC | What::SetInC => {
                command.arg(Build::release().library("plugin")).env("LD_LIBRARY_PATH", libinvar()).envs([TELLER]);
                command.args((self.what == What::SetInC).then_some("set"))
            }
        };
        let profile = Temporary::path(PROFILE);
        if self.profile {
            command.env("INVAR_PROFILE", &profile.0);
        }
        let part = if self.sets() { Part::Set } else { Part::Load };
        let run = run(&mut command, &files, part, faults);
        let is_mapped = run.end.mappings.iter().any(|mapping| mapping.path.contains(PROFILE));
        // One that cannot be removed either stays.
        let stays =
            faults.iter().any(|&(at, _)| run.calls.get(at).is_some_and(|call| call.number == libc::SYS_unlinkat));
        assert!(profile.0.exists() == is_mapped || stays, "a file without a table: {}", words(&run.calls, faults));
        run
    }

    fn needs_cc(&self) -> bool {
        self.in_c || matches!(self.what, What::LoadInC | What::SetInC)
    }

    /// Whether switches are set.
    fn sets(&self) -> bool {
        matches!(self.what, What::Set(_) | What::SetInC)
    }

    /// Whether threads run in text that may be unmapped for a moment, where the kernel fails so: they end the process (`docs/limits.md`).
    fn has_threads_in_text(&self) -> bool {
        self.what == What::Set("thread")
    }

    /// The ways in which a call can fail here.
    fn ways(&self, call: &Call) -> Vec<Fault> {
        let mut ways = ways(call);
        ways.retain(|way| !(matches!(way, Fault::Hole(_)) && self.has_threads_in_text()));
        ways
    }
}

/// The program in C.
fn in_c() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let built = scratch().join("faulted");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/faulted.c");
        let library = format!("-L{}", libinvar().display());
        let temporary = Temporary::path("faulted");
        let words = ["-o", temporary.0.to_str().unwrap(), source, &library];
        must(compiler("cc -O2 -Wall -Wextra -Werror").args(words).args(LINK));
        replace(&built, &std::fs::read(&temporary.0).unwrap());
        built
    };
    BUILT.get_or_init(build).clone()
}

/// The ways in which a call can fail: what its page in section 2 lists, what a filter may answer, and what the kernel has done by then.
fn ways(call: &Call) -> Vec<Fault> {
    use Fault::{Errno, Hole, Late, Short};
    let errors = |errors: &[i32]| errors.iter().map(|&errno| Errno(errno)).collect::<Vec<_>>();
    let with = |some: &[i32], others: &[Fault]| [errors(some), others.to_vec()].concat();
    match call.number {
        libc::SYS_openat => errors(&[libc::EACCES, libc::ENOENT, libc::EMFILE, libc::ENFILE, libc::EINTR]),
        // A file that ends early is a file all the same; a reader that gets little asks again.
        libc::SYS_read => with(&[libc::EIO, libc::EINTR], &[Short(0), Short(1)]),
        libc::SYS_pread64 => with(&[libc::EIO, libc::EINTR], &[Short(0), Short(1)]),
        libc::SYS_write => with(&[libc::EINTR, libc::ENOSPC, libc::EPIPE], &[Short(0), Short(1)]),
        // The descriptor is gone whatever close says (Linux, fs/open.c).
        libc::SYS_close => vec![Late(libc::EIO), Late(libc::EINTR)],
        libc::SYS_mmap => errors(&[libc::ENOMEM, libc::EPERM, libc::EACCES, libc::ENODEV]),
        libc::SYS_munmap => errors(&[libc::ENOMEM]),
        libc::SYS_mprotect => errors(&[libc::EACCES, libc::ENOMEM, libc::EPERM]),
        libc::SYS_mremap => with(&[libc::ENOMEM, libc::EFAULT, libc::EPERM], &[Hole(libc::ENOMEM), Hole(libc::EFAULT)]),
        libc::SYS_madvise => {
            errors(&[libc::EINVAL, libc::EFAULT, libc::ENOMEM, libc::EHWPOISON, libc::EPERM, libc::ENOSYS])
        }
        libc::SYS_memfd_create => errors(&[libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::EMFILE]),
        libc::SYS_lseek => errors(&[libc::ESPIPE, libc::EOVERFLOW]),
        libc::SYS_fcntl => errors(&[libc::EPERM, libc::EBUSY, libc::EINVAL]),
        libc::SYS_statx => errors(&[libc::ENOSYS, libc::EPERM]),
        libc::SYS_clone => errors(&[libc::EAGAIN, libc::ENOMEM]),
        libc::SYS_fallocate => errors(&[libc::ENOSPC, libc::EOPNOTSUPP, libc::EINTR]),
        // To give signals back what they had cannot fail (Linux, kernel/signal.c): a filter that refuses it has refused to let
        // them wait.
        libc::SYS_rt_sigprocmask if call.args[0] == libc::SIG_SETMASK as u64 => vec![],
        // Asks whether memory can be read (src/sys/memory.rs).
        libc::SYS_rt_sigprocmask if call.args[0] == u64::MAX => errors(&[libc::EFAULT, libc::EPERM]),
        libc::SYS_rt_sigprocmask => errors(&[libc::EINVAL, libc::EPERM]),
        _ => errors(&[libc::EPERM, libc::ENOSYS]),
    }
}

/// What failed, in words.
fn words(calls: &[Call], faults: &[(usize, Fault)]) -> String {
    let word = |&(at, fault): &(usize, Fault)| match calls.get(at) {
        Some(call) => format!("call {at}, {} at {:#x}({:x?}): {fault:?}", call.number, call.place, call.args),
        None => format!("call {at}, which is not made: {fault:?}"),
    };
    faults.iter().map(word).collect::<Vec<_>>().join("; ")
}

/// Calls that are made from one place, again and again, are all alike but for the first, one in the middle, and the last.
fn chosen(calls: &[Call], from: usize) -> Vec<usize> {
    let mut places = BTreeMap::<(i64, u64), Vec<usize>>::new();
    for (at, call) in calls.iter().enumerate().skip(from) {
        places.entry((call.number, call.place)).or_default().push(at);
    }
    let mut chosen = Vec::new();
    for all in places.into_values() {
        let some = [0, all.len() / 2, all.len() - 1];
        chosen.extend(all.iter().enumerate().filter(|(at, _)| full_matrix() || some.contains(at)).map(|(_, &at)| at));
    }
    chosen.sort_unstable();
    chosen
}

fn one(scenario: &Scenario) {
    let good = Good::new(scenario);
    let mut runs = 0;
    let mut failures = Vec::new();
    for at in chosen(&good.run.calls, 0) {
        for fault in scenario.ways(&good.run.calls[at]) {
            failures.extend(good.failure(&scenario.run(&[(at, fault)]), &[(at, fault)]).err());
            runs += 1;
        }
    }
    report(failures, runs);
}

/// A call fails, and then another that is made nevertheless, or because of that. Where both have to do with the text, each pair of
/// calls is tried, of others some.
fn two(scenario: &Scenario) {
    let good = Good::new(scenario);
    let mut random = Random(1);
    let mut failures = Vec::new();
    let mut runs = 0;
    for at in chosen(&good.run.calls, 0) {
        let call = &good.run.calls[at];
        let mut firsts = scenario.ways(call);
        let some = match call.number {
            libc::SYS_mremap => firsts.len(),
            _ if is_of_memory(call) => 2,
            _ => 1,
        };
        while !full_matrix() && firsts.len() > some {
            firsts.swap_remove(random.below(firsts.len()));
        }
        for first in firsts {
            let run = scenario.run(&[(at, first)]);
            for then in chosen(&run.calls, at + 1) {
                let (second, both) = (&run.calls[then], is_of_memory(call) && is_of_memory(&run.calls[then]));
                let ways = scenario.ways(second);
                if ways.is_empty() || !full_matrix() && !both && random.below(12) != 0 {
                    continue;
                }
                let faults = [(at, first), (then, ways[random.below(ways.len())])];
                failures.extend(good.failure(&scenario.run(&faults), &faults).err());
                runs += 1;
            }
        }
    }
    report(failures, runs);
}

/// Whether a call makes, changes or removes mappings.
fn is_of_memory(call: &Call) -> bool {
    let numbers = [
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_memfd_create,
    ];
    numbers.contains(&call.number)
}

fn report(failures: Vec<String>, runs: usize) {
    println!("{runs} runs");
    assert!(runs > 0, "no call was made");
    let some: Vec<_> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {runs} runs:\n{}", failures.len(), some.join("\n"));
}

/// The same numbers in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// A file that carries the runtime.
struct Image {
    path: String,
    /// Where its text is to be, from its base on, and where that is in the file.
    text: Vec<(Range<u64>, u64)>,
    length: u64,
}

impl Image {
    fn new(path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).unwrap();
        let headers = Elf::parse(&bytes).unwrap().program_headers;
        let loaded = headers.iter().filter(|header| header.p_type == PT_LOAD);
        let range = |header: &ProgramHeader| header.p_vaddr & !(PAGE - 1)..header.p_vaddr + header.p_memsz;
        let text = loaded.clone().filter(|header| header.p_flags & PF_X != 0);
        let text = text.map(|header| (range(header), header.p_offset & !(PAGE - 1))).collect();
        let length = loaded.map(|header| range(header).end).max().unwrap();
        Self { path: path.to_str().unwrap().into(), text, length }
    }

    /// Where it is mapped, and all of its segments with it.
    fn place(&self, mappings: &[Mapping]) -> Range<u64> {
        let first = mappings.iter().find(|mapping| mapping.path == self.path && mapping.offset == 0);
        first.map_or(0..0, |mapping| mapping.start..mapping.start + self.length)
    }

    /// All of its text is there, and can be read and executed, and no more.
    fn text_is_whole(&self, mappings: &[Mapping]) -> Result<(), String> {
        let base = self.place(mappings).start;
        for page in self.text.iter().flat_map(|(text, _)| text.clone().step_by(PAGE as usize)) {
            let mapping = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&(base + page)));
            if mapping.is_none_or(|mapping| mapping.protection != "r-xp") {
                return Err(format!("page {page:#x} of {}: {mapping:?}", self.path));
            }
        }
        Ok(())
    }

    /// Every byte that is not as in the file belongs to a site that is bound.
    fn only_sites_are_changed(&self, tale: &Tale) -> Result<(), String> {
        let is_it = |path: &str| tale.modules.iter().find(|module| module.path == path);
        let module = is_it(&self.path).or_else(|| is_it("")).ok_or("no module")?;
        let bound = module.bindings.iter().filter(|binding| binding.status == "Bound");
        let bound = bound.filter_map(|binding| binding.site.as_ref());
        let bound: Vec<_> = bound.map(|site| site.address..site.address + site.length as u64).collect();
        for (_, first, last) in tale.differs.iter().filter(|(path, ..)| path.to_str() == Some(&self.path)) {
            for offset in *first as u64..=*last as u64 {
                let in_memory = |(text, start): &(Range<u64>, u64)| Some(text.start + offset.checked_sub(*start)?);
                let address = self.text.iter().filter_map(in_memory).next_back();
                if !address.is_some_and(|address| bound.iter().any(|site| site.contains(&address))) {
                    return Err(format!("{}, {offset:#x}: changed, and no site", self.path));
                }
            }
        }
        Ok(())
    }
}

/// On x86-64.
const PAGE: u64 = 4096;

/// The result of a set whose calls fail.
const SET: &str = "set";

/// What it says: whether the switches were set; and of how many sites, or how many go by other values than they should.
struct SetResult {
    is_ok: bool,
    sites: u64,
    torn: u64,
}

impl SetResult {
    /// `Ok(Set { bound: 10, checked: 0 })`, `Err(Refused(Refused(12), 0))`; in C `Ok(4, 0, 0)`, `Err(-12, 0)`.
    fn read(text: &str) -> Self {
        let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        let is_ok = text.starts_with("Ok(");
        let torn = if is_ok { 0 } else { *numbers.last().expect("a number of sites") };
        Self { is_ok, sites: if is_ok { numbers.iter().sum() } else { 0 }, torn }
    }

    /// Sites that go by the wrong value are told of; there are some only where nothing could be done a second time either.
    fn agrees_with(&self, good: &Self, faults: usize) -> bool {
        let is_whole = self.torn == 0 || faults > 1;
        is_whole && (!self.is_ok || self.sites == good.sites) && (self.is_ok || faults > 0)
    }
}

/// A run in which nothing fails.
struct Good {
    files: Vec<Image>,
    /// Threads make mappings of their own, when they like.
    is_threaded: bool,
    tale: Tale,
    run: Run,
}

impl Good {
    fn new(scenario: &Scenario) -> Self {
        let run = scenario.run(&[]);
        assert_eq!(run.status, 0, "{}\n{}", run.said, run.errors);
        let tale = Tale::read(&run.said, run.errors.clone());
        let files = scenario.files().into_iter().map(Image::new).collect();
        let is_threaded = scenario.what == What::Late || scenario.has_threads_in_text();
        let good = Self { files, is_threaded, tale, run };
        assert!(
            good.tale.modules.iter().all(|module| module.bound > 0 && module.reason == "-"),
            "{:#?}",
            good.tale.modules
        );
        good.compare(&good.run, &[]).unwrap();
        good
    }

    /// What is wrong with a run, if something is.
    fn failure(&self, run: &Run, faults: &[(usize, Fault)]) -> Result<(), String> {
        let told = self.compare(run, faults);
        told.map_err(|why| format!("- {}: {why}\n{}", words(&run.calls, faults), run.errors))
    }

    fn compare(&self, run: &Run, faults: &[(usize, Fault)]) -> Result<(), String> {
        let ensure = |holds: bool, why: &dyn Fn() -> String| if holds { Ok(()) } else { Err(why()) };
        ensure(run.met == faults.len(), &|| format!("{} faults were met", run.met))?;
        if let [(first, _), (second, _)] = faults
            && let [first, second] = [first, second].map(|&at| &run.calls[at])
            && first.number == libc::SYS_mprotect
            && first.args == second.args
        {
            // Nothing is left that could be done, and the program does not like it (`tests/writers.rs`).
            let says =
                run.said.contains("mprotect\tits text stays writable, as the protection that it had was refused");
            return ensure(says, &|| run.said.clone());
        }
        ensure(run.status == 0, &|| format!("wait status {:#x}", run.status))?;
        let tale = Tale::read(&run.said, String::new());
        ensure(tale.ended, &|| format!("no end:\n{}", run.said))?;
        let mut results = tale.results.clone();
        if let (Some(set), Some(good)) = (results.get_mut(SET), self.tale.results.get(SET)) {
            let is_whole = SetResult::read(set).agrees_with(&SetResult::read(good), faults.len());
            ensure(is_whole, &|| format!("{set}, not {good}"))?;
            set.clone_from(good);
        }
        ensure(results == self.tale.results, &|| format!("{:?}", tale.results))?;
        let disagreement = tale.chose.iter().find(|(_, site, key)| site != key);
        ensure(disagreement.is_none(), &|| format!("site and key disagree: {disagreement:?}"))?;
        ensure(tale.choices() == self.tale.choices(), &|| format!("{:?}", tale.choices()))?;

        ensure(tale.modules.len() == self.tale.modules.len(), &|| format!("modules: {:#?}", tale.modules))?;
        for (module, good) in tale.modules.iter().zip(&self.tale.modules) {
            let count = |status| module.bindings.iter().filter(|binding| binding.status == status).count();
            let (bound, checked) = (count("Bound"), count("Checked"));
            let summary = || format!("{}: {} of {} sites, {}", module.path, module.bound, module.sites, module.reason);
            let counts = (bound, bound + checked) == (module.bound, module.sites);
            ensure(counts, &|| format!("{}; {bound} bound, {checked} checked", summary()))?;
            let has_reason = module.reason.len() > 20;
            ensure(module.path == good.path && has_reason == (module.bound < good.bound), &summary)?;
        }
        self.files.iter().try_for_each(|file| file.only_sites_are_changed(&tale))?;
        self.files.iter().try_for_each(|file| file.text_is_whole(&run.end.mappings))?;
        self.nothing_is_left(run, faults)
    }

    /// Neither more mappings nor descriptors nor signals that wait.
    fn nothing_is_left(&self, run: &Run, faults: &[(usize, Fault)]) -> Result<(), String> {
        let writable = run.end.mappings.iter().find(|mapping| mapping.protection.contains("wx"));
        if let Some(mapping) = writable {
            return Err(format!("writable and executable: {mapping:?}"));
        }
        let (now, then) = (self.others(run), self.others(&self.run));
        // What cannot be unmapped stays.
        let is_stuck = faults.iter().any(|&(at, _)| run.calls[at].number == libc::SYS_munmap);
        let mut more = now.clone();
        for mapping in &then {
            more.iter().position(|other| other == mapping).map(|at| more.remove(at));
        }
        if !more.is_empty() && !is_stuck {
            return Err(format!("mappings: {}", more.join(", ")));
        }
        // What is of no use without the advice is given back.
        let is_needed = |&(at, _): &(usize, Fault)| {
            let call = &run.calls[at];
            (call.number, call.args[2]) == (libc::SYS_madvise, libc::MADV_WIPEONFORK as u64)
        };
        if faults.iter().any(is_needed) && now.len() >= then.len() && !is_stuck {
            return Err("a page that children would see is still there".into());
        }
        if run.end.descriptors != self.run.end.descriptors {
            return Err(format!("{} descriptors, not {}", run.end.descriptors, self.run.end.descriptors));
        }
        if run.end.blocked != self.run.end.blocked {
            return Err(format!("{}, not {}", run.end.blocked, self.run.end.blocked));
        }
        Ok(())
    }

    /// The mappings outside the modules' own places, of which each exchange makes several: rights, length and path.
    fn others(&self, run: &Run) -> Vec<String> {
        let places: Vec<_> = self.files.iter().map(|file| file.place(&run.end.mappings)).collect();
        let is_other = |mapping: &&Mapping| {
            let is_moving = ["[heap]", "[stack]"].contains(&&*mapping.path);
            let is_threads = self.is_threaded && mapping.path.is_empty();
            !is_moving && !is_threads && !places.iter().any(|place| place.contains(&mapping.start))
        };
        let others = run.end.mappings.iter().filter(is_other);
        let mut others: Vec<_> = others
            .map(|Mapping { start, end, protection, path, .. }| {
                let path = if path.contains(PROFILE) { PROFILE } else { path };
                format!("{protection} {} {path}", end - start)
            })
            .collect();
        others.sort_unstable();
        others
    }
}
