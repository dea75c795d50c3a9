//! Sites of other machines than this one, bound in a guest of that machine: an emulator of processes alone does not tell what a kernel
//! does with pages, nor what a CPU does with code that was exchanged.
//!
//! One boot for each machine runs all that is to be run there. Without QEMU or a kernel the tests are shown as ignored, with the reason.

mod common;

use common::c::{self, CAPI, compiler, make};
use common::{
    Build, Tale, Temporary, binder_compiler, cargo, command, missing_target, missing_tool, must, run, scratch, tale,
    test,
};
use invar_abi::machine::{AARCH64, RISCV};
use invar_abi::{Code, Kind, Site, forms};
use invar_guest::cache::{Cache, HOW};
use invar_guest::console::Job;
use invar_guest::image::Image;
use invar_guest::machine::{Machine, Processor, Run, Time};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

fn main() -> ExitCode {
    run(PORTS.iter().flat_map(Port::tests))
}

/// A machine that sites are bound on, and what builds for it here.
struct Port {
    name: &'static str,
    processor: Processor,
    /// Its number in ELF.
    machine: u16,
    target: &'static str,
    compiler: &'static str,
    /// Which of the versions of `elsewhere`, in `tests/programs/multiversioned`, its CPU has.
    version: &'static str,
    /// Where the compiler's C library is.
    libraries: &'static str,
    loader: &'static str,
    /// Runs a program of the machine in this kernel.
    emulator: &'static str,
    /// Whether critical sections ask for time.
    requests: bool,
    run: OnceLock<Run>,
}

static PORTS: [Port; 2] = [
    Port {
        name: "AArch64",
        processor: Processor::Aarch64,
        machine: AARCH64,
        target: "aarch64-unknown-linux-gnu",
        compiler: "aarch64-linux-gnu-gcc",
        version: "crc",
        libraries: "/usr/aarch64-linux-gnu/lib",
        loader: "/lib/ld-linux-aarch64.so.1",
        emulator: "qemu-aarch64",
        requests: false,
        run: OnceLock::new(),
    },
    Port {
        name: "RISC-V",
        processor: Processor::Riscv64,
        machine: RISCV,
        target: "riscv64gc-unknown-linux-gnu",
        compiler: "riscv64-linux-gnu-gcc",
        version: "zba+zbb",
        libraries: "/usr/riscv64-linux-gnu/lib",
        loader: "/lib/ld-linux-riscv64-lp64d.so.1",
        emulator: "qemu-riscv64",
        requests: true,
        run: OnceLock::new(),
    },
];

/// A program in the guest: name, file in its `/bin`, settings, arguments.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// What is run.
const ROWS: &[Row] = &[
    ("release", "story", &[], &[]),
    ("debug", "story-debug", &[], &[]),
    ("small", "story-small", &[], &[]),
    ("dynamic", "story-dynamic", &[], &[]),
    ("memfd", "story", &[("INVAR_WRITER", "memfd")], &[]),
    ("mprotect", "story", &[("INVAR_WRITER", "mprotect")], &[]),
    ("off", "story", &[("INVAR_WRITER", "off")], &[]),
    ("library", "host", &[], &["--cycles", "3", "/bin/libsmall.so"]),
    ("switches", "switched", &[], &["story"]),
    ("switches beside threads", "switched", &[], &["beside", "20", "/bin/libswitching.so"]),
    ("switches in a library", "switched", &[], &["library", "/bin/libswitching.so"]),
    ("versions", "multiversioned", &[], &[]),
    ("constants", "numbers", &[], &["/bin/libnumbers-c.so"]),
    ("constants, reported", "numbers", &[("INVAR_REPORT", "stderr")], &[]),
    ("constants, off", "numbers", &[("INVAR_WRITER", "off")], &["/bin/libnumbers-c.so"]),
    ("C", "many-c", &[], &[]),
    ("C, dynamic", "many-c-dynamic", &[], &[]),
    ("C, without libinvar", "many-c-without", &[], &[]),
    ("C, keys", "keys-c", &[], &[]),
    ("C, switches", "switched-c", &[], &["/bin/libswitching-c.so"]),
    ("C, by the binder", "binder-c", &[], &[]),
    ("C, selects", "selects-c", &[("SELECTS_WIDTH", "widest")], &["huge", "narrow", "wide"]),
];

/// A program in C: name, sources, options. With `-linvar` it is linked with the shared library, with `-static` with the archive.
const IN_C: &[(&str, &[&str], &[&str])] = &[
    ("many-c", &["many.c"], &["-O2", "-static"]),
    ("many-c-dynamic", &["many.c"], &["-Os", "-linvar"]),
    ("many-c-without", &["many.c"], &["-O0"]),
    ("keys-c", &["keys.c", "elsewhere.c"], &["-O0", "-static"]),
    ("switched-c", &["switched.c"], &["-O2", "-linvar"]),
    ("libswitching-c.so", &["switching.c"], &["-O2", "-shared", "-fPIC"]),
    ("selects-c", &["selects.c"], &["-O2", "-linvar"]),
    ("libnumbers-c.so", &["numbers.c"], &["-O2", "-shared", "-fPIC", "-linvar"]),
    (
        "binder-c",
        &["keys.c", "elsewhere.c", "load.c", "../../../capi/binder/binder.c"],
        &["-O2", "-fno-stack-protector"],
    ),
];

impl Port {
    fn tests(&'static self) -> Vec<Trial> {
        let test =
            |what: &str, body: fn(&Self)| test(&format!("{}: {what}", self.name), self.missing(), move || body(self));
        vec![
            test("every site is bound, however it was built", Self::every_site_is_bound),
            test("every writer binds", Self::every_writer_binds),
            test("unbound sites mean the same", Self::unbound_sites_mean_the_same),
            test("a library is bound as often as it is opened", Self::a_library_is_bound),
            test("switches are set", Self::switches_are_set),
            test("the CPU's version of a function runs", Self::the_version_runs),
            test("constants are bound that one instruction holds", Self::constants_are_bound),
            test("C: every site is bound", Self::every_site_of_c_is_bound),
            test("C: keys are decided, and switches set", Self::keys_and_switches_of_c),
            test("the time slice key asks the kernel", Self::the_kernel_is_asked),
            common::test(
                &format!("{}: what is known of the machine holds there", self.name),
                self.missing_to_build().or_else(|| missing_tool(self.emulator)),
                || self.tests_of_arch_pass(),
            ),
            common::test(
                &format!("{}: C: the binder's forms are the runtime's", self.name),
                self.missing_to_build().or_else(|| missing_tool(self.emulator)),
                || self.its_forms_are_the_runtimes(),
            ),
        ]
    }

    fn missing(&self) -> Option<String> {
        let kernel = || {
            let kernel = Cache::of_this_user().foreign_kernel(self.processor);
            kernel.is_none().then(|| format!("no kernel: {HOW}, or {}=FILE", self.processor.variable()))
        };
        self.missing_to_build().or_else(|| missing_tool(self.processor.qemu())).or_else(kernel)
    }

    fn missing_to_build(&self) -> Option<String> {
        // These tests run twice, and another machine has nothing to do with this one's sites.
        let once = cfg!(invar_portable).then(|| "tried where the tests run without --cfg invar_portable".into());
        once.or_else(|| missing_tool(self.compiler))
            .or_else(|| missing_tool("make"))
            .or_else(|| missing_target(self.target))
    }

    /// The variable that tells cargo something of the target.
    fn variable(&self, what: &str) -> String {
        format!("CARGO_TARGET_{}_{what}", self.target.replace('-', "_").to_uppercase())
    }

    fn build(&self, build: Build, name: &str) -> Build {
        build.target(self.target, Some(self.compiler)).named(&format!("{}-{name}", self.target))
    }

    /// In one file with its C library.
    fn alone(&self, build: Build, name: &str) -> Build {
        self.build(build, name).rustflag("-Ctarget-feature=+crt-static")
    }

    /// The command that is process 1 of the guest.
    fn init(&self) -> PathBuf {
        let (root, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), scratch().join("init"));
        let linker = self.variable("LINKER");
        let mut cargo = cargo();
        cargo.current_dir(root).args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "invar-guest",
            "--bin",
            "invar-guest",
        ]);
        cargo.args(["--target", self.target, "--target-dir"]).arg(&folder).env(linker, self.compiler);
        must(&mut cargo);
        folder.join(self.target).join("debug/invar-guest")
    }

    /// The folder with libinvar.
    fn libinvar(&self) -> PathBuf {
        let folder = format!("capi-{}", self.target);
        make(&folder, &[&format!("CARGO_BUILD_TARGET={}", self.target), &format!("CC={}", self.compiler)]);
        scratch().join(folder)
    }

    /// One of [`IN_C`], built by this compiler with libinvar in this folder.
    fn in_c(compiler_name: &str, libinvar: &Path, program: &str) -> PathBuf {
        let (_, sources, options) = IN_C.iter().find(|(name, ..)| *name == program).expect("one of them");
        let built = scratch().join(format!("ports-{compiler_name}-{program}"));
        let sources = sources.iter().map(|source| format!("{CAPI}/../tests/programs/c/{source}"));
        let mut cc = compiler(&format!("{compiler_name} -std=gnu11 -I{CAPI}/binder"));
        cc.args(sources).args(*options).arg("-o").arg(&built).arg("-L").arg(libinvar);
        if options.contains(&"-static") {
            cc.args(["-Wl,-u,invar_load", "-l:libinvar.a"]);
        }
        must(&mut cc);
        built
    }

    fn boot(&self) -> invar_guest::Result<Run> {
        let mut image = Image::new(&self.init())?;
        let alone = self.alone(Build::release(), "alone");
        let dynamic = self.build(Build::release(), "dynamic");
        for (name, file) in [
            ("story", alone.program("story")),
            ("story-debug", self.alone(Build::debug(), "alone-debug").program("story")),
            ("story-small", self.alone(Build::small(), "alone-small").program("story")),
            ("story-dynamic", dynamic.program("story")),
            ("host", dynamic.program("host")),
            ("switched", dynamic.program("switched")),
            ("multiversioned", dynamic.program("multiversioned")),
            ("numbers", dynamic.program("numbers")),
            (
                "libsmall.so",
                self.build(Build::small(), "small-all").argument("--features").argument("all").library("small"),
            ),
            ("libswitching.so", dynamic.library("switching")),
        ] {
            image.file(format!("/bin/{name}"), &file);
        }
        let libinvar = self.libinvar();
        image.file("/lib/libinvar.so.0".into(), &libinvar.join("libinvar.so.0"));
        for (name, ..) in IN_C {
            image.file(format!("/bin/{name}"), &Self::in_c(self.compiler, &libinvar, name));
        }
        let libraries = Path::new(self.libraries);
        image.file(self.loader.into(), &libraries.join(Path::new(self.loader).file_name().expect("a name")));
        for name in ["libc.so.6", "libgcc_s.so.1", "libm.so.6"] {
            image.file(format!("/lib/{name}"), &libraries.join(name));
        }
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let jobs = ROWS.iter().map(|(name, file, settings, arguments)| Job {
            name: (*name).into(),
            environment: settings.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            command: [words(&[&format!("/bin/{file}")]), words(arguments)].concat(),
        });
        let kernel = Cache::of_this_user().foreign_kernel(self.processor).expect("a kernel");
        let limit = Duration::from_secs(600);
        let (line, time) = (String::new(), Time::Host);
        Machine { processor: self.processor, kernel, line, time, limit, share: None }
            .run(&image, &jobs.collect::<Vec<_>>())
    }

    /// What a job said; the first who asks boots the guest.
    fn said(&self, job: &str) -> &str {
        let run = self.run.get_or_init(|| self.boot().unwrap_or_else(|error| panic!("{error}")));
        run.output(job).unwrap_or_else(|error| panic!("{error}"))
    }

    fn tale(&self, job: &str) -> Tale {
        let tale = Tale::read(self.said(job), String::new());
        assert!(tale.ended, "{job} did not come to its end");
        tale
    }

    /// What it says is what it says on this machine.
    fn story(&self, job: &str) -> Tale {
        let (here, there) = (tale(&mut command(Build::release().program("story"))), self.tale(job));
        assert_eq!((&there.results, there.choices()), (&here.results, here.choices()), "{job}");
        there.assert_consistent();
        there
    }

    fn every_site_is_bound(&self) {
        for (job, least) in [("release", 50), ("debug", 30), ("small", 40), ("dynamic", 50)] {
            let tale = self.story(job);
            let module = tale.program();
            assert!(module.sites >= least, "{job}: {module:#?}");
            assert_eq!((module.bound, &*module.writers, &*module.reason), (module.sites, "swap", "-"), "{job}");
            assert!(module.bindings.iter().all(|binding| binding.status == "Bound"), "{module:#?}");
            let lengths: Vec<_> = module.bindings.iter().filter_map(|it| Some(it.site.as_ref()?.length)).collect();
            assert!(lengths.iter().all(|length| self.lengths().contains(length)), "{job}: {lengths:?}");
        }
    }

    /// Of sites: one instruction, but for critical sections that ask for time.
    fn lengths(&self) -> &[usize] {
        if self.requests { &[4, 8, 16] } else { &[4] }
    }

    fn every_writer_binds(&self) {
        for job in ["memfd", "mprotect"] {
            let tale = self.story(job);
            let module = tale.program();
            assert_eq!((module.bound, &*module.writers), (module.sites, job), "{module:#?}");
        }
    }

    fn unbound_sites_mean_the_same(&self) {
        let tale = self.story("off");
        let module = tale.program();
        assert!(module.sites > 0 && module.bound == 0, "{module:#?}");
        assert!(module.bindings.iter().all(|binding| binding.status == "Checked"), "{module:#?}");
    }

    fn a_library_is_bound(&self) {
        // The program itself looks whether it is.
        let tale = self.tale("library");
        assert!(tale.held.len() >= 2 && tale.held.iter().all(|(_, before, after)| before == after), "{:?}", tale.held);
    }

    fn switches_are_set(&self) {
        let library = Build::release().library("switching");
        let switched = || command(Build::release().program("switched"));
        let here: [Command; 2] = {
            let (mut story, mut of_library) = (switched(), switched());
            story.arg("story");
            of_library.arg("library").arg(library);
            [story, of_library]
        };
        for (job, mut here) in ["switches", "switches in a library"].into_iter().zip(here) {
            let (here, there) = (tale(&mut here).results, self.tale(job).results);
            // How many sites there are is the compiler's choice.
            let of_all = |results: BTreeMap<String, String>| results.into_keys().collect::<Vec<_>>();
            assert_eq!(of_all(there), of_all(here), "{job}");
        }
        self.tale("switches beside threads");
    }

    fn the_version_runs(&self) {
        let tale = self.tale("versions");
        assert_eq!(tale.results["elsewhere: version"], self.version, "{:?}", tale.results);
        assert_eq!(tale.results["elsewhere"], 0x7707_3096.to_string());
        let module = tale.program();
        assert_eq!(module.bound, module.sites, "{module:#?}");
    }

    /// In Rust and in C.
    fn constants_are_bound(&self) {
        let here = tale(&mut command(Build::release().program("numbers")));
        let [bound, off] = ["constants", "constants, off"].map(|job| self.tale(job));
        bound.assert_consistent();
        assert_eq!((&bound.results, bound.choices()), (&off.results, off.choices()));
        assert!(here.results.iter().all(|(name, result)| bound.results[name] == *result), "{:?}", bound.results);
        assert_eq!((&*bound.results["C: own"], &*bound.results["C: half"]), ("fedcba9876543210", "fedc fedc"));
        // Numbers of 13 bits and more without zeros behind them; and those that take more than one instruction there as well.
        let sixteen = ["numbers.half", "numbers_half", "numbers_too_large"];
        let none = ["numbers.big", "numbers.asks", "numbers_own"];
        let is_held = |key: &str| !none.contains(&key) && (self.machine == AARCH64 || !sixteen.contains(&key));
        for module in &bound.modules {
            let mut seen = [0, 0];
            for binding in &module.bindings {
                let site = binding.site.as_ref().expect("a site");
                let is_constant = site.kind == "constant";
                let expected = if is_constant && !is_held(&site.key) { "Checked" } else { "Bound" };
                assert_eq!(binding.status, expected, "{site:x?}");
                assert!(!is_constant || site.length == 4, "{site:x?}");
                seen[usize::from(binding.status == "Bound")] += usize::from(is_constant);
            }
            let has_some = !module.path.ends_with("libinvar.so.0");
            assert_eq!(seen.map(|count| count > 0), [has_some; 2], "{module:#?}");
            assert_eq!(module.bound, module.bindings.iter().filter(|binding| binding.status == "Bound").count());
            assert_eq!(module.reason, "-");
        }
        let said = self.said("constants, reported");
        let missed: Vec<_> =
            said.lines().filter(|line| line.ends_with(": checked, no instruction holds its number")).collect();
        assert!(missed.iter().any(|line| line.contains(" constant numbers.big, 4 bytes")), "{missed:?}");
        assert!(!said.contains(": checked\n") && off.modules.iter().all(|module| module.bound == 0));
    }

    fn every_site_of_c_is_bound(&self) {
        for (job, least) in
            [("C", 540), ("C, dynamic", 540), ("C, without libinvar", 0), ("C, by the binder", 0), ("C, keys", 8)]
        {
            let said = self.said(job);
            let (facts, report) = said.split_once("module (program) at ").unwrap_or((said, ""));
            let mut facts: Vec<_> = facts.lines().collect();
            if job == "C, by the binder" {
                // It says so first, and where the next descriptor is.
                let bound =
                    facts[0].strip_prefix("binder\t0 ").and_then(|said| said.strip_suffix(" bound, 0 left, detail 0"));
                assert!(bound.is_some_and(|bound| bound.parse::<u32>().is_ok_and(|bound| bound >= 9)), "{facts:?}");
                facts.drain(..2);
            }
            let expected: &[&str] = match job {
                "C, keys" | "C, by the binder" => {
                    &["keys\twide some 1 1", "early\t1", "times\t21", "elsewhere\t3", "sections\t34"]
                }
                _ => &["sum\t5381685", "lost\t0"],
            };
            assert_eq!(facts[..expected.len()], *expected, "{job}");
            let report = report.split("\nmodule ").next().unwrap_or_default();
            let is_bound = |line: &&str| {
                line.starts_with("  site ")
                    && self.lengths().iter().any(|length| line.contains(&format!(", {length} bytes: bound to ")))
            };
            let bound = report.lines().filter(is_bound).count();
            assert!(bound >= least, "{job}: {report}");
            let others: Vec<_> =
                report.lines().filter(|line| line.starts_with("  site ") && !line.contains(": bound to ")).collect();
            assert!(others.is_empty(), "{job}: {others:?}");
        }
    }

    /// They say what they say on this machine.
    fn keys_and_switches_of_c(&self) {
        let libinvar = c::libinvar();
        let built = |program| Self::in_c("cc", libinvar, program);
        let (mut switched, mut selects) = (command(built("switched-c")), command(built("selects-c")));
        switched.arg(built("libswitching-c.so"));
        selects.args(["huge", "narrow", "wide"]).env("SELECTS_WIDTH", "widest");
        for (job, here) in [("C, switches", &mut switched), ("C, selects", &mut selects)] {
            let here = String::from_utf8(must(here.env("LD_LIBRARY_PATH", libinvar)).stdout).expect("text");
            assert_eq!(self.said(job).trim_end(), here.trim_end(), "{job}");
        }
    }

    /// Of a kernel that has no extension, or that has it.
    fn the_kernel_is_asked(&self) {
        let tale = self.tale("release");
        let key = tale.program().key("slice");
        let evidence = key.evidence.as_str();
        let is_known = |beginning: &&str| evidence.starts_with(beginning);
        let asked = ["available: ", "kernel without the field", "kernel compiled without the extension"];
        assert!(asked.iter().any(is_known), "{key:?}");
        assert!(self.requests || key.value == "off" && !evidence.contains("CONFIG_"), "{key:?}");
        assert_eq!(key.value == "on", evidence.starts_with("available: "), "{key:?}");
        // And in C.
        let (said, value) = (self.said("C, keys"), &key.value);
        let is_bound = |length: &usize| said.contains(&format!(", {length} bytes: bound to {value}\n"));
        assert!(self.lengths().iter().all(is_bound), "{value}: {said}");
    }

    /// The binder in C has the forms that the runtime has.
    fn its_forms_are_the_runtimes(&self) {
        let built = Temporary::path("forms");
        let source = format!("{CAPI}/../tests/programs/c/forms_told.c");
        let mut cc = binder_compiler(&format!("{} -O2 -static", self.compiler));
        // The functions beside them are not used.
        must(cc.args(["-Wno-unused-function", &source, "-o"]).arg(&built.0));
        // A multiplicative generator with full period (L'Ecuyer 1999, table 2).
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(3_202_034_522_624_059_733) % (1 << 63);
            (seed >> 20) % below
        };
        // Most targets are within reach, or nearly, and most places within reach of a request.
        let rows: Vec<_> = (0..20_000)
            .map(|_| {
                let reach = 1 << [12, 21, 22, 28][next(4) as usize];
                let aligned = if next(8) == 0 { !1 } else { !3 };
                let to_target = (next(reach) as i32 - reach as i32 / 2) & aligned;
                let ends = [-0x801, -0x800, 0x7fe, 0x7ff, 0x800];
                let place = if next(2) == 0 { ends[next(5) as usize] } else { next(0x1000) as i32 - 0x800 };
                let request = if next(8) == 0 { 0 } else { place as u32 ^ 1 << 31 };
                let (length, kind) = ([4, 8, 16, 12][next(4) as usize], next(3) as u8 + 1);
                (to_target, length, kind, next(2) as u8, next(2) as u8, request)
            })
            .collect();
        let told = rows.iter().map(|(to_target, length, kind, key_value, value, request)| {
            // Distances count from their own fields.
            format!("4096 {} 4096 {length} {kind} {key_value} {value} {request}\n", 4096 - 4 + to_target)
        });
        let input = Temporary::executable("rows", told.collect::<String>().as_bytes());
        let mut emulator = command(self.emulator);
        emulator.arg(&built.0).stdin(std::fs::File::open(&input.0).expect("the rows"));
        let said = String::from_utf8(must(&mut emulator).stdout).expect("text");
        assert_eq!(said.lines().count(), rows.len());
        let mut with_forms = BTreeMap::new();
        for (said, &(to_target, length, kind, key_value, value, request)) in said.lines().zip(&rows) {
            let (at, theirs) = said.split_once(' ').unwrap_or((said, ""));
            let address = at.parse::<u64>().expect("an address") + 4096;
            let site = Site {
                address,
                target: address.wrapping_add_signed(to_target.into()),
                state: 0,
                length,
                kind: Kind::of(kind, 0).expect("a kind"),
                value: key_value,
            };
            // The outcome's number for a place has the highest bit inverted.
            let bound = forms::bound(self.machine, &site, value, (request ^ 1 << 31) as i32);
            let ours = forms::checked(self.machine, &site).zip(bound);
            let hexadecimal = |code: Code| {
                let mut bytes = [0; Code::LONGEST];
                code.write_to(&mut bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            };
            let ours = ours.map(|(checked, bound)| format!("{} {}", hexadecimal(checked), hexadecimal(bound)));
            *with_forms.entry((kind, value == key_value)).or_insert(0) += u32::from(ours.is_some());
            assert_eq!(theirs, ours.unwrap_or_default(), "{site:x?} {value} {request:#x}");
        }
        let expected = |(kind, is_same): (u8, bool)| kind == 1 || is_same || self.requests;
        assert!(with_forms.iter().all(|(&of, &count)| (count > 100) == expected(of)), "{with_forms:?}");
    }

    /// `arch/` has unit tests of the machine's own, which an emulator of processes runs.
    fn tests_of_arch_pass(&self) {
        let mut cargo = cargo();
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["test", "--quiet", "--locked", "--package", "invar-arch", "--lib", "--target", self.target]);
        cargo.arg("--target-dir").arg(scratch().join("arch")).env(self.variable("LINKER"), self.compiler);
        let libraries = self.libraries.strip_suffix("/lib").expect("a prefix");
        cargo.env(self.variable("RUNNER"), format!("{} -L {libraries}", self.emulator));
        let said = String::from_utf8(must(&mut cargo).stdout).unwrap();
        assert!(said.contains("test result: ok"), "{said}");
    }
}
