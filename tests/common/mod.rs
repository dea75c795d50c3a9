//! What the integration tests share: building the programs in `tests/programs`, running them, and reading what
//! they say ([`Tale`]) and what stands in their files ([`elf`]).
//!
//! A test that cannot run here is shown as ignored, with its reason: give [`test`] what it needs.
#![allow(dead_code, unreachable_pub)] // each test file is a crate of its own, and uses a part

pub mod c;
pub mod elf;
pub mod fault;
pub mod hole;
pub mod pairs;
pub mod probed;
pub mod refuse;
pub mod rewrite;
pub mod trace;
pub mod uprobe;

use libtest_mimic::{Arguments, Trial};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::{Arc, Mutex, OnceLock};

/// Runs the tests of one file.
pub fn run(tests: impl IntoIterator<Item = Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().collect()).exit_code()
}

/// A test, or its place in the list if something is `missing` that it needs.
pub fn test(name: &str, missing: Option<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    match missing {
        None => Trial::test(name, || {
            body();
            Ok(())
        }),
        Some(reason) => {
            Trial::test(name, || Err("skipped".into())).with_kind(format!("skipped: {reason}")).with_ignored_flag(true)
        }
    }
}

/// The same test twice: with programs that bind themselves, and with the binder in C (`capi/binder`), which is in front of each
/// of them and binds all its modules before their own runtime can.
pub fn with_either_binder(
    name: &str,
    missing: Option<String>,
    body: impl FnOnce() + Clone + Send + 'static,
) -> [Trial; 2] {
    let in_c = missing.clone().or_else(sites).or_else(|| missing_tool("cc"));
    let the_same = body.clone();
    [test(name, missing, body), test(&format!("{name}, bound in C"), in_c, || in_front(the_same))]
}

/// With the binder in C in front of the programs that are run.
pub fn in_front<T>(body: impl FnOnce() -> T) -> T {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            FRONT.set(false);
        }
    }
    FRONT.set(true);
    let _back = Back;
    body()
}

/// Whether the binder in C is in front of this test's programs.
pub fn bound_in_c() -> bool {
    FRONT.get()
}

thread_local! {
    /// A test runs in one thread, and starts its programs there.
    static FRONT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The binder in C, as a library to be preloaded (`tests/programs/c/front.c`).
pub fn front() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c");
        let built = Temporary::path("front.so");
        let words = ["-shared", "-fPIC", "-Wl,-z,initfirst", &*format!("{folder}/front.c"), BINDER];
        must(binder_compiler("cc -O2").args(words).arg("-o").arg(&built.0));
        let path = scratch().join("front.so");
        replace(&path, &fs::read(&built.0).unwrap());
        path
    })
}

/// The reference binder.
pub const BINDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/capi/binder/binder.c");

/// A compiler with these words, and with what its README asks for.
pub fn binder_compiler(words: &str) -> Command {
    let mut words = words.split_ascii_whitespace();
    let compiler = words.next().expect("a compiler");
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-fno-stack-protector"]).args(words);
    if !compiler.starts_with("clang") {
        command.arg("-fno-tree-loop-distribute-patterns");
    }
    if compiler.starts_with("aarch64") {
        command.arg("-mno-outline-atomics");
    }
    command.args(["include", "binder"].map(|folder| format!("-I{}/capi/{folder}", env!("CARGO_MANIFEST_DIR"))));
    command
}

/// Why this tool cannot be used here.
pub fn missing_tool(tool: &str) -> Option<String> {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    (!found).then(|| format!("no {tool}"))
}

/// Runs a command, which must succeed.
pub fn must(command: &mut Command) -> Output {
    let output = output(command);
    let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?}\n{said}");
    output
}

/// For tests that run anywhere.
pub const ANYWHERE: Option<String> = None;

/// For tests of sites that are bound.
pub fn sites() -> Option<String> {
    (!invar_arch::PATCHES).then(|| format!("the folder `{}` has the checked form only", invar_arch::NAME))
}

/// Whether a larger choice of cases was asked for.
pub fn full_matrix() -> bool {
    std::env::var_os("INVAR_TEST_MATRIX").is_some_and(|value| value == "full")
}

/// The same cases in every run, unless `PROPTEST_RNG_SEED` says otherwise; `PROPTEST_CASES` is how many. Leaves
/// no file in the source tree.
pub fn cases(number: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = number;
    }
    config
}

/// A way to build the programs, as a downstream user would choose one.
#[derive(Clone, Debug)]
pub struct Build {
    name: String,
    target: String,
    profile: &'static str,
    arguments: Vec<String>,
    rustflags: Vec<String>,
    link_arguments: Vec<String>,
    settings: Vec<(String, String)>,
}

impl Build {
    pub fn debug() -> Self {
        Self::new("debug", "dev")
    }

    pub fn release() -> Self {
        Self::new("release", "release")
    }

    /// The profile of small libraries, in `tests/programs/Cargo.toml`.
    pub fn small() -> Self {
        Self::new("small", "small")
    }

    /// For musl, whose loader then loads it ([`missing_dynamic_musl`]).
    pub fn dynamic_musl() -> Self {
        // What unwinds, by the name that Rust asks for it; it has its own.
        let folder = scratch().join("dynamic-musl");
        fs::create_dir_all(&folder).unwrap();
        let print = ["--print", "target-libdir", "--target", MUSL];
        let libraries = String::from_utf8(must(rustc().args(print)).stdout).unwrap();
        let unwinds = format!("INPUT({}/self-contained/libunwind.a)", libraries.trim());
        replace(&folder.join("libgcc_s.so"), unwinds.as_bytes());
        Self::release()
            .target(MUSL, Some("musl-gcc"))
            .named("musl-dynamic")
            .rustflag("-Ctarget-feature=-crt-static")
            .link_argument(format!("-L{}", folder.display()))
    }

    fn new(name: &str, profile: &'static str) -> Self {
        Self {
            name: name.into(),
            target: host(),
            profile,
            arguments: vec![],
            rustflags: vec![],
            link_arguments: vec![],
            settings: vec![],
        }
    }

    /// Another name, so that this build's files do not replace those of the one that it differs from.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.replace([' ', '='], "-");
        self
    }

    /// For another target, by a linker of its own.
    pub fn target(mut self, target: &str, linker: Option<&str>) -> Self {
        self.target = target.into();
        let name = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        self.settings.extend(linker.map(|linker| (name, linker.to_owned())));
        self.named(target)
    }

    /// A cargo option.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A compiler option.
    pub fn rustflag(mut self, flag: impl Into<String>) -> Self {
        self.rustflags.push(flag.into());
        self
    }

    /// A linker option, for the program and not for what it depends on.
    pub fn link_argument(mut self, argument: impl std::fmt::Display) -> Self {
        self.link_arguments.push(format!("-Clink-arg={argument}"));
        self
    }

    /// An entry of the profile.
    pub fn setting(mut self, entry: &str, value: &str) -> Self {
        let entry = entry.replace('-', "_").to_uppercase();
        let profile = self.profile.to_uppercase();
        self.settings.push((format!("CARGO_PROFILE_{profile}_{entry}"), value.into()));
        self
    }

    /// Builds a package of `tests/programs`; returns its executable.
    pub fn program(&self, package: &str) -> PathBuf {
        self.build(package, package)
    }

    /// Builds a package of `tests/programs`; returns its shared library.
    pub fn library(&self, package: &str) -> PathBuf {
        self.build(package, &format!("lib{package}.so"))
    }

    /// Fails to build a package of `tests/programs`, and returns what is said.
    pub fn fails(&self, package: &str) -> String {
        let (_lock, output) = self.run_cargo(package);
        assert!(!output.status.success(), "{package} as {} was built", self.name);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Once in a process; cargo sees to it that it costs little in the next one.
    fn build(&self, package: &str, file: &str) -> PathBuf {
        static BUILT: Mutex<BTreeMap<PathBuf, Arc<OnceLock<()>>>> = Mutex::new(BTreeMap::new());
        let result = scratch().join("built").join(&self.name).join(file);
        let built = BUILT.lock().unwrap().entry(result.clone()).or_default().clone();
        built.get_or_init(|| self.build_with_cargo(package, file, &result));
        result
    }

    fn build_with_cargo(&self, package: &str, file: &str, result: &Path) {
        let (lock, output) = self.run_cargo(package);
        assert!(
            output.status.success(),
            "{package} as {} was not built (if the lock file is old: cargo update --workspace in tests/programs)\n{}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let folder = if self.profile == "dev" { "debug" } else { self.profile };
        fs::create_dir_all(result.parent().unwrap()).unwrap();
        let built = self.target_folder().join(&self.target).join(folder).join(file);
        replace(result, &fs::read(built).expect("what cargo built"));
        drop(lock);
    }

    /// Where cargo builds it.
    fn target_folder(&self) -> PathBuf {
        // Two folders, so that two ways to build can be had at the same time. What is built ends in the same place
        // for all of a folder, and is moved away; other processes may be at it too.
        let folder = self.name.bytes().fold(0, |sum: u8, byte| sum.wrapping_add(byte)) % 2;
        scratch().join(format!("programs-{folder}"))
    }

    /// What cargo says, and the lock on its folder.
    fn run_cargo(&self, package: &str) -> (File, Output) {
        let target = self.target_folder();
        fs::create_dir_all(&target).unwrap();
        let lock = File::create(target.join("invar-tests.lock")).unwrap();
        lock.lock().unwrap();

        let mut cargo = cargo();
        let mut rustflags = self.rustflags.clone();
        if cfg!(invar_portable) {
            rustflags.push("--cfg=invar_portable".into());
        }
        // With a target given, the options do not reach procedural macros and build scripts, which are shared.
        cargo
            .args(["rustc", "--quiet", "--locked", "--profile", self.profile])
            .args(["--target", &self.target, "--package", package])
            .args(&self.arguments)
            .arg("--target-dir")
            .arg(&target)
            .arg("--")
            .args(&self.link_arguments)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"))
            .env("CARGO_INCREMENTAL", "0")
            .envs(self.settings.iter().cloned());
        let output = cargo.output().expect("cargo");
        (lock, output)
    }
}

/// A folder of the tests' own, in the target directory.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Cargo in the folder of the test programs, with nothing of what it was told for this test.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let cargos = name.starts_with("CARGO") && name != "CARGO_HOME" && !name.starts_with("CARGO_NET_");
        if cargos || name.starts_with("INVAR") || matches!(&*name, "RUSTFLAGS" | "LD_LIBRARY_PATH") {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs"));
    cargo
}

/// The compiler.
pub fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
}

/// This machine, in the compiler's words.
fn host() -> String {
    let output = rustc().arg("-vV").output().expect("rustc");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("the host").to_owned()
}

/// Why nothing can be built for this target here.
pub fn missing_target(target: &str) -> Option<String> {
    let output = rustc().args(["--print", "target-libdir", "--target", target]).output().expect("rustc");
    let folder = String::from_utf8(output.stdout).unwrap();
    let there = output.status.success() && Path::new(folder.trim()).exists();
    (!there).then(|| format!("no {target}: rustup target add {target}"))
}

pub const MUSL: &str = "x86_64-unknown-linux-musl";
pub const MUSL_LOADER: &str = "/lib/ld-musl-x86_64.so.1";

/// Why nothing can be built here that musl's loader loads.
pub fn missing_dynamic_musl() -> Option<String> {
    let loader = || (!Path::new(MUSL_LOADER).exists()).then(|| format!("no {MUSL_LOADER}"));
    missing_target(MUSL).or_else(|| missing_tool("musl-gcc")).or_else(loader)
}

/// What builds for AArch64, and runs it on this machine.
pub const CROSS_CC: &str = "aarch64-linux-gnu-gcc";
pub const EMULATOR: [&str; 3] = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"];

/// Why nothing can be built for AArch64 in C, and run.
pub fn missing_emulator() -> Option<String> {
    missing_tool(CROSS_CC).or_else(|| missing_tool(EMULATOR[0]))
}

/// Writes an executable file in one step, whoever may be running the old one.
pub fn replace(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    // Tests of one process, and others, may do so at the same time.
    let new = path.with_added_extension(format!("new{}", unique()));
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// A file that is gone at the end of the test.
pub struct Temporary(pub PathBuf);

impl Temporary {
    /// A path that no other test has.
    pub fn path(name: &str) -> Self {
        Self(scratch().join(format!("{name}-{}", unique())))
    }

    /// An executable file.
    pub fn executable(name: &str, bytes: &[u8]) -> Self {
        let file = Self::path(name);
        replace(&file.0, bytes);
        file
    }
}

impl Drop for Temporary {
    /// A folder goes with all that is in it.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}

/// A part of a name, once: no other test that runs has it.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// An unprivileged user.
const NOBODY: u32 = 65534;

/// Why a program cannot be given raised privileges here, from a try.
pub fn no_setuid() -> Option<String> {
    // SAFETY: no arguments, no effects.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root, to make a program setuid".into());
    }
    let copy = Temporary::executable("setuid-id", &std::fs::read("/usr/bin/id").unwrap_or_default());
    let user = set_user(&copy).arg("-u").output();
    match user {
        Ok(user) if user.stdout == format!("{NOBODY}\n").as_bytes() => None,
        _ => Some(format!("a setuid program does not change its user in {}", scratch().display())),
    }
}

/// Makes a program setuid: to a user with fewer privileges than ours, which is a change of privileges like any
/// other, and nothing that anybody could use who found it.
pub fn set_user(file: &Temporary) -> Command {
    chown(&file.0, Some(NOBODY), None).unwrap();
    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(file.0.metadata().unwrap().uid(), NOBODY);
    let mut command = command(&file.0);
    command.arg0("setuid");
    command
}

/// A run of `program`: with no settings but those that the test adds, and so little time to spend that one which hangs
/// ends: a minute of the CPU's, five to wait.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("INVAR") || name == "LD_LIBRARY_PATH" {
            command.env_remove(name);
        }
    }
    if bound_in_c() {
        command.env("LD_PRELOAD", front());
    }
    // SAFETY: two system calls in the child, on numbers.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(300);
            let seconds = libc::rlimit { rlim_cur: 60, rlim_max: 60 };
            if libc::setrlimit(libc::RLIMIT_CPU, &seconds) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    command
}

/// Runs a program to its end. One that waits for ever is ended by SIGALRM, unless it has a use of its own for that.
pub fn output(command: &mut Command) -> Output {
    const SECONDS: u32 = 1200;
    // SAFETY: in a child of one thread, a system call.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(SECONDS);
            Ok(())
        })
    };
    loop {
        match command.output() {
            // Another test's child was forked while the file was being written, and is about to let go of it.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            result => return result.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        }
    }
}

/// Runs one of the test programs, which must succeed, and reads what it says.
pub fn tale(command: &mut Command) -> Tale {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    let tale = Tale::read(&String::from_utf8_lossy(&output.stdout), errors);
    assert!(tale.ended, "{command:?} did not come to its end");
    tale
}

/// What a test program said; `tests/programs/witness` has the words.
#[derive(Debug, Default)]
pub struct Tale {
    /// Key and module of each probe that ran, in their order.
    pub probes: Vec<(String, String)>,
    pub results: BTreeMap<String, String>,
    /// What, what its site chose, what its key has.
    pub chose: Vec<(String, u8, u8)>,
    pub code: BTreeMap<String, Vec<u8>>,
    pub modules: Vec<Module>,
    /// Path; first and last offset.
    pub differs: Vec<(PathBuf, usize, usize)>,
    /// What, how many before, how many after.
    pub held: Vec<(String, usize, usize)>,
    pub ended: bool,
    /// Standard error.
    pub errors: String,
}

#[derive(Debug)]
pub struct Module {
    /// Empty for the program.
    pub path: String,
    pub sites: usize,
    pub bound: usize,
    pub writers: String,
    pub reason: String,
    pub keys: Vec<Key>,
    pub bindings: Vec<Binding>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: String,
    pub value: String,
    pub origin: String,
    pub evidence: String,
}

/// A site that the runtime reported.
#[derive(Debug, Clone)]
pub struct Binding {
    pub status: String,
    /// Unless its record is invalid.
    pub site: Option<BoundSite>,
}

#[derive(Debug, Clone)]
pub struct BoundSite {
    /// As in the file.
    pub address: u64,
    pub kind: String,
    pub key: String,
    pub value: u8,
    pub length: usize,
    /// As in memory.
    pub bytes: Vec<u8>,
}

impl Tale {
    pub fn read(text: &str, errors: String) -> Self {
        let mut tale = Self { errors, ..Self::default() };
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["probe", key, module] => tale.probes.push((key.into(), module.into())),
                ["result", name, value] => _ = tale.results.insert(name.into(), value.into()),
                ["chose", name, site, key] => tale.chose.push((name.into(), number(site) as u8, number(key) as u8)),
                ["code", name, bytes] => _ = tale.code.insert(name.into(), hex(bytes)),
                ["module", path, _base, sites, bound, writers, reason] => tale.modules.push(Module {
                    path: path.into(),
                    sites: number(sites),
                    bound: number(bound),
                    writers: writers.into(),
                    reason: reason.into(),
                    keys: vec![],
                    bindings: vec![],
                }),
                ["key", _, name, value, origin, evidence] => tale.modules.last_mut().unwrap().keys.push(Key {
                    name: name.into(),
                    value: value.into(),
                    origin: origin.into(),
                    evidence: evidence.into(),
                }),
                ["site", _, "-", .., status, "-"] => {
                    tale.modules.last_mut().unwrap().bindings.push(Binding { status: status.into(), site: None });
                }
                ["site", _, address, kind, key, value, length, status, bytes] => {
                    let site = BoundSite {
                        address: number(address) as u64,
                        kind: kind.into(),
                        key: key.into(),
                        value: number(value) as u8,
                        length: number(length),
                        bytes: hex(bytes),
                    };
                    let bindings = &mut tale.modules.last_mut().unwrap().bindings;
                    bindings.push(Binding { status: status.into(), site: Some(site) });
                }
                ["differs", path, first, last] => tale.differs.push((path.into(), number(first), number(last))),
                ["held", what, before, after] => tale.held.push((what.into(), number(before), number(after))),
                ["end"] => tale.ended = true,
                _ => panic!("a line that no test program says: {line}"),
            }
        }
        tale
    }

    /// The program's own module.
    pub fn program(&self) -> &Module {
        self.module("")
    }

    /// The module whose path ends so.
    pub fn module(&self, path: &str) -> &Module {
        let is_it =
            |module: &&Module| if path.is_empty() { module.path.is_empty() } else { module.path.ends_with(path) };
        self.modules.iter().find(is_it).unwrap_or_else(|| panic!("no module {path:?} in {:#?}", self.modules))
    }

    /// Fails unless every branch went where its key says.
    pub fn assert_consistent(&self) {
        assert!(!self.chose.is_empty(), "no site chose anything");
        for (name, site, key) in &self.chose {
            assert_eq!(site, key, "`{name}`: site and key disagree");
        }
    }

    /// Fails unless all that is not as in the file, or in copies of it, lies in a site that the compiler left.
    pub fn assert_only_sites_differ(&self, image: &elf::Image) {
        let place = |record: &elf::SiteRecord| {
            let offset = image.offset(record.site);
            offset..offset + usize::from(record.length)
        };
        let sites: Vec<_> = image.site_records().iter().map(place).collect();
        for (path, first, last) in &self.differs {
            // Sites may stand side by side.
            let outside = (*first..=*last).find(|at| !sites.iter().any(|site| site.contains(at)));
            assert_eq!(outside, None, "{} was written to, where no site is", path.display());
        }
    }

    /// What each site chose.
    pub fn choices(&self) -> BTreeMap<&str, u8> {
        self.chose.iter().map(|(name, site, _)| (name.as_str(), *site)).collect()
    }
}

impl Module {
    pub fn key(&self, name: &str) -> &Key {
        self.keys.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("no key {name} in {self:#?}"))
    }

    /// Fails unless every site is bound, as far as sites can be bound at all here.
    pub fn assert_bound(&self) {
        if !invar_arch::PATCHES {
            assert_eq!((self.sites, self.bound), (0, 0), "{self:#?}");
            return;
        }
        assert!(self.sites > 0, "no sites: {self:#?}");
        assert_eq!(self.bound, self.sites, "{self:#?}");
        assert_eq!(self.bindings.len(), self.sites);
        assert!(self.bindings.iter().all(|binding| binding.status == "Bound"), "{self:#?}");
        assert_eq!(self.reason, "-");
    }

    /// Fails unless every site stands as the compiler left it.
    pub fn assert_checked(&self) {
        assert_eq!(self.bound, 0, "{self:#?}");
        assert!(self.bindings.iter().all(|binding| binding.status == "Checked"), "{self:#?}");
    }
}

fn number(text: &str) -> usize {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).expect("hexadecimal digits"))
        .collect()
}
