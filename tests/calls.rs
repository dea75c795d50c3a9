//! System calls are as many as the documentation says. What enrolling a thread makes, the guest's tests count.

mod common;

use common::c::{compiler, missing};
use common::trace::{self, Call, no_tracing};
use common::{Build, Temporary, must, run, rustc, sites, test};
use invar::timeslice::{__guard_anyway as guard, NotEnrolled, enrol, enrol_contended};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(GUARD) => {
            assert_eq!(guard(), Ok(()));
            watched(|| assert_eq!(guard(), Ok(())));
            return ExitCode::SUCCESS;
        }
        Some(ENROL) => {
            watched(|| {
                for _ in 0..2000 {
                    assert_eq!(enrol(), Err(NotEnrolled::Absent));
                    enrol_contended();
                }
            });
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let traced = || sites().or_else(no_tracing);
    run([
        test("the guard, again: four calls", traced(), the_guard_again),
        test("enrolling where nobody grants: none", traced(), enrolling_in_vain),
        test("loading: two calls, those of keys, and those of sites", traced(), loading),
        test("loading a static program: none", traced(), loading_static),
        test("resolvers in C: three in each file", traced().or_else(|| missing("gcc")), resolvers_in_c),
        test("resolvers in Rust: three in each module", traced(), resolvers_in_rust),
    ])
}

const GUARD: &str = "--guard";
const ENROL: &str = "--enrol";

/// What is counted stands between two calls that nobody else makes.
const MARK: libc::c_long = libc::SYS_getppid;

fn watched(work: impl FnOnce()) {
    // SAFETY: no arguments, no effects.
    let mark = || unsafe { libc::syscall(MARK) };
    mark();
    work();
    mark();
}

/// The numbers of the calls between the marks, of this program with such an argument.
fn calls_of(scenario: &str, settings: &[(&str, &str)]) -> Vec<libc::c_long> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(scenario).envs(settings.iter().copied());
    let numbers: Vec<_> = trace::calls(command).expect("a good end").iter().map(|call| call.number).collect();
    let parts: Vec<_> = numbers.split(|&number| number == MARK).collect();
    let [_, between, _] = parts[..] else { panic!("two marks in {numbers:?}") };
    between.to_vec()
}

/// `timeslice::guard`: "already guarded, it makes four system calls".
fn the_guard_again() {
    let (mask, prctl) = (libc::SYS_rt_sigprocmask, libc::SYS_prctl);
    assert_eq!(calls_of(GUARD, &[]), [mask, prctl, prctl, mask]);
}

/// `timeslice::enrol`: "where the time slice key is off, the call is a static branch to its `Err`".
fn enrolling_in_vain() {
    for setting in ["slice=off", "slice=force"] {
        assert_eq!(calls_of(ENROL, &[("INVAR_KEYS", setting)]), [], "{setting}");
    }
}

/// A program with a key of its own and a thousand sites in ten pages that are one run. Its first calls behind the loader's last, which
/// unmaps the loader's cache, are those of the runtime; `main` has none before the standard library's `poll`.
fn loading() {
    let [program, without_keys] = ["few", "adaptive"].map(|program| Build::release().program(program));
    let calls = |program: &Path, settings: &[(&str, &str)]| {
        let mut command = Command::new(program);
        command.env_clear().envs(settings.iter().copied());
        let calls = trace::calls(command).expect("a good end").into_iter().map(|call| call.number);
        let until_main: Vec<_> = calls.take_while(|&call| call != libc::SYS_poll).collect();
        let first = until_main.iter().rposition(|&call| call == libc::SYS_rseq || call == libc::SYS_prlimit64);
        let behind = &until_main[first.expect("the loader's")..];
        let first = behind.iter().position(|&call| call == libc::SYS_rt_sigprocmask).expect("the runtime's");
        behind[first..].to_vec()
    };
    use libc::{SYS_close, SYS_openat, SYS_pread64, SYS_rt_sigprocmask as MASK, SYS_statx};
    use libc::{SYS_getpid, SYS_gettid, SYS_lseek, SYS_madvise, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync};
    // The runtime's own keys: signals wait.
    let own = [MASK, MASK];
    // The program's: which thread this is, and how many there are, before its probe runs; signals wait while it begins, and while
    // it is sealed.
    let key = [SYS_gettid, SYS_statx, MASK, MASK, MASK, SYS_getpid, MASK];
    let pages = 10;
    let copy = [&[SYS_madvise; 2][..], &[SYS_openat, SYS_pread64, SYS_lseek, SYS_mmap]].concat();
    let exchange = [SYS_mprotect, SYS_msync, SYS_mremap, SYS_close];
    // Whether each page is writable, and one for the copy of all.
    let sites = [copy, vec![SYS_madvise; pages + 1], exchange.to_vec()].concat();
    assert_eq!(calls(&program, &[]), [&own[..], &key, &sites].concat());
    let unbound = [("INVAR_WRITER", "off")];
    assert_eq!(calls(&program, &unbound), [&own[..], &key].concat());
    assert_eq!(calls(&without_keys, &unbound), own);
}

/// A static program in which nobody can have a handler yet, so no signal waits; and nothing else is asked of the kernel.
fn loading_static() {
    const STATIC: &str = "-Ctarget-feature=+crt-static";
    let [source, without] = ["bare.rs", "bare"].map(Temporary::path);
    std::fs::write(&source.0, "fn main() {}").unwrap();
    must(rustc().args(["-O", STATIC, "-o"]).arg(&without.0).arg(&source.0));
    // It has no key of its own.
    let with = Build::release().named("static").rustflag(STATIC).program("adaptive");
    let calls = |program: &Path| {
        let mut command = Command::new(program);
        command.env_clear().env("INVAR_WRITER", "off");
        let calls = trace::calls(command).expect("a good end").into_iter().map(|call| call.number);
        calls.take_while(|&call| call != libc::SYS_poll).collect::<Vec<_>>()
    };
    assert_eq!(calls(&with), calls(&without.0));
}

/// What a program opens, reads and closes: for each file its path, and how often it is read.
fn files(program: &Path, environment: &[(&str, &str)]) -> Vec<(String, usize)> {
    let mut command = Command::new(program);
    command.env_clear().envs(environment.iter().copied()).stdout(Stdio::null());
    let mut files: Vec<(String, usize)> = vec![];
    let mut is_open = false;
    for Call { number, path, .. } in trace::calls(command).expect("a good end") {
        match number {
            libc::SYS_openat => {
                assert!(!is_open, "{path}");
                files.push((path, 0));
                is_open = true;
            }
            libc::SYS_read => files.last_mut().expect("a file").1 += 1,
            libc::SYS_close => is_open = false,
            _ => {}
        }
    }
    assert!(!is_open, "{files:?}");
    files
}

const ENVIRONMENT: &str = "/proc/self/environ";
const AUXILIARY: &str = "/proc/self/auxv";

/// The header `invar-ifunc.h`: how often its resolvers read which file.
fn resolvers_in_c() {
    let source = |file: &str| {
        let function = |name: &str| {
            format!(
                "static int base_{name}(int x) {{ return x; }}\n\
                 static int other_{name}(int x) {{ return x + 1; }}\n\
                 INVAR_IFUNC(int, mylib_{name}, (int x), (x), base_{name}, sse3, other_{name});\n"
            )
        };
        let functions = ["1", "2"].map(|number| function(&format!("{file}{number}"))).concat();
        format!("#include <invar-ifunc.h>\n{functions}")
    };
    let main = "int mylib_a1(int), mylib_a2(int), mylib_b1(int), mylib_b2(int);\n\
                int main(void) { return mylib_a1(0) + mylib_a2(0) + mylib_b1(0) + mylib_b2(0) > 4; }\n";
    let sources = [source("a"), source("b"), main.into()].map(|text| {
        let file = Temporary::path("resolvers.c");
        std::fs::write(&file.0, text).unwrap();
        file
    });
    let program = Temporary::path("resolvers");
    let paths = sources.iter().map(|file| &file.0);
    // Nothing but resolvers opens files in a static program.
    must(compiler("gcc -O2 -static -xc").args(paths).arg("-o").arg(&program.0));

    let (environment, auxiliary) = ((ENVIRONMENT.to_owned(), 1), (AUXILIARY.to_owned(), 1));
    // Without settings once in each file.
    assert_eq!(files(&program.0, &[]), vec![environment.clone(); 2]);
    assert_eq!(files(&program.0, &[("OTHER", "off")]), vec![environment.clone(); 2]);
    // Two kilobytes at a time.
    let long = "x".repeat(3000);
    assert_eq!(files(&program.0, &[("LONG", &long)]), vec![(ENVIRONMENT.to_owned(), 2); 2]);
    // With settings once for each function; where they switch something off, it is asked whether they count.
    assert_eq!(files(&program.0, &[("INVAR", "auto")]), vec![environment.clone(); 4]);
    for setting in [("INVAR", "off"), ("INVAR_KEYS", "cpu.sse3=off")] {
        assert_eq!(
            files(&program.0, &[setting]),
            vec![[environment.clone(), auxiliary.clone()]; 4].concat(),
            "{setting:?}"
        );
    }
}

/// `ifunc!`: three system calls for a module.
fn resolvers_in_rust() {
    let program = Build::release().program("symbols");
    let read = |environment: &[(&str, &str)]| {
        let files = files(&program, environment);
        let wanted = files.into_iter().filter(|(path, _)| [ENVIRONMENT, AUXILIARY].contains(&&**path));
        wanted.collect::<Vec<_>>()
    };
    let environment = (ENVIRONMENT.to_owned(), 1);
    assert_eq!(read(&[]), vec![environment.clone()]);
    assert_eq!(read(&[("LONG", &"x".repeat(3000))]), [(ENVIRONMENT.to_owned(), 2)]);
    // Three of its symbols are IFUNCs.
    assert_eq!(read(&[("INVAR", "auto")]), vec![environment.clone(); 3]);
    assert_eq!(read(&[("INVAR", "off")]), vec![[environment, (AUXILIARY.to_owned(), 1)]; 3].concat());
}
