//! `invar run`: the program is what it is without it, and what nothing can be put in front of is refused.
//!
//! Where this machine's kernel grants nothing, requests are forced, into memory that nobody looks at.

mod common;

use common::{ANYWHERE, INVAR, Temporary, command, needs, run, sites, test};
use invar_tool::run::plan::Group;
use invar_tool::run::subject::interpreter;
use invar_tool::run::tunable::with_off;
use serde_json::Value;
use std::ffi::CString;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let with_library = || sites().or_else(no_tools).or_else(|| needs("/bin/sh"));
    run([
        test("where nothing is granted the program is alone", needs("/bin/sh"), the_program_is_alone),
        test("the library is in front of it and its children", with_library(), the_library_is_in_front),
        test("status, signals, descriptors and environment are its own", with_library(), all_is_its_own),
        test("entries of the environment that are no variables stay", with_library(), strange_entries_stay),
        test("another preloaded library stays", with_library(), another_preloaded_library_stays),
        test(
            "--own-rseq is for this program only",
            with_library().or_else(no_small_areas),
            own_rseq_is_for_this_program,
        ),
        test(
            "--own-rseq is refused where the loader keeps the tunable",
            with_library().or_else(no_small_areas),
            own_rseq_is_refused_where_the_loader_keeps_it,
        ),
        test(
            "--own-rseq is refused where tunables.conf forbids it",
            with_library().or_else(no_small_areas).or_else(no_namespaces),
            own_rseq_is_refused_where_it_is_forbidden,
        ),
        test("--only leaves the others alone", with_library(), only_leaves_the_others_alone),
        test("--report and --json say who takes locks", with_library(), reports_say_who_takes_locks),
        test("--profile counts", with_library(), profile_counts),
        test("the profile of its locks is drawn and written", with_library(), the_profile_is_drawn_and_written),
        test("invar profile counts them too", with_library(), invar_profile_counts_them_too),
        test("who carries sites is counted by these alone", with_library(), who_carries_sites_is_counted_by_these),
        test("static programs are refused", sites().or_else(no_tools), static_programs_are_refused),
        test("what needs tcmalloc is refused", with_library(), what_needs_tcmalloc_is_refused),
        test("what has tcmalloc in itself is refused", with_library(), what_has_tcmalloc_in_itself_is_refused),
        test("programs with raised privileges are refused", needs("/bin/true"), raised_privileges_are_refused),
        test("another machine's programs are refused", needs("/bin/true"), another_machines_programs_are_refused),
        test("scripts are what their interpreter is", needs("/bin/sh"), scripts_are_what_their_interpreter_is),
        test("the loader is asked for any program", with_library(), the_loader_is_asked_for_any_program),
        test("scripts whose interpreter cannot be run", ANYWHERE, scripts_whose_interpreter_cannot_be_run),
        test(
            "PATH is searched as the kernel permits",
            needs("/bin/true").or_else(not_root),
            path_is_searched_as_permitted,
        ),
        test("a library that is not there", with_library(), a_library_that_is_not_there),
        test("what is no such library is refused", with_library(), what_is_no_such_library_is_refused),
        test("a report that nobody reads", needs("/bin/sh"), a_report_that_nobody_reads),
        test("who ignores SIGCHLD is served too", with_library().or_else(no_env), who_ignores_sigchld_is_served_too),
        test("--profile inherits too", with_library(), the_profiled_inherits_too),
        test("sections that cannot be read", needs("/bin/true"), sections_that_cannot_be_read),
        test("what needs the address sanitizer is refused", with_library(), what_needs_asan_is_refused),
        test("scripts name their interpreter", needs("/bin/sh"), scripts_name_their_interpreter),
        test("other tunables stay", ANYWHERE, other_tunables_stay),
        test("functions have their group", ANYWHERE, functions_have_their_group),
        test("commands that cannot be run", ANYWHERE, commands_that_cannot_be_run),
    ])
}

const FORCED: (&str, &str) = ("INVAR_KEYS", "slice=force");
const LIBRARY: &str = "libinvar-preload.so.0";

fn no_tools() -> Option<String> {
    ["make", "cc"].into_iter().find_map(|tool| {
        let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
        (!found).then(|| format!("no {tool}"))
    })
}

/// Why `--own-rseq` has nothing to do here.
fn no_small_areas() -> Option<String> {
    let is_small = invar_arch::libc_area().is_some_and(|(_, size)| (1..33).contains(&size));
    (!is_small).then(|| "this C library registers no areas, or large ones".into())
}

/// Why nothing can be mounted for a process of these tests alone.
fn no_namespaces() -> Option<String> {
    let output = Command::new("unshare").args([NAMESPACES, &["true"]].concat()).output();
    (!output.is_ok_and(|output| output.status.success())).then(|| "no namespaces of users and mounts".into())
}
const NAMESPACES: &[&str] = &["--user", "--map-root-user", "--mount", "--"];

/// A folder of these tests' own.
fn scratch() -> &'static Path {
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/run"));
    std::fs::create_dir_all(folder).unwrap();
    folder
}

/// Built as a packager does.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut make = Command::new("make");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO") && name != "CARGO_HOME" || name == "RUSTFLAGS" || name == "MAKEFLAGS" {
                make.env_remove(name);
            }
        }
        let place = |name: &str, folder: &str| format!("{name}={}", scratch().join(folder).display());
        make.args(["-C", concat!(env!("CARGO_MANIFEST_DIR"), "/../capi")]);
        make.args([place("BUILD", "capi"), place("CARGO_TARGET", "../capi-cargo"), format!("CARGO={}", env!("CARGO"))]);
        let output = make.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        scratch().join("capi").join(LIBRARY)
    })
}

/// `invar run` with these options, of these words.
fn invar_run(options: &[&str], words: &[&str]) -> Command {
    let mut invar = command(INVAR);
    invar.arg("run").args(options).arg("--").args(words);
    invar
}

/// The same with requests forced, and the library.
fn forced(options: &[&str], words: &[&str]) -> Command {
    let mut all = vec!["--library", library().to_str().unwrap()];
    all.extend(options);
    let mut invar = invar_run(&all, words);
    invar.env(FORCED.0, FORCED.1);
    invar
}

fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What a program that succeeds says; nothing is on standard error.
fn said(command: &mut Command) -> String {
    let (code, said, errors) = outcome(command);
    assert_eq!((code, &*errors), (Some(0), ""), "{said}");
    said
}

fn refusal(command: &mut Command) -> String {
    let (code, said, errors) = outcome(command);
    assert_eq!((code, &*said), (Some(2), ""), "{errors}");
    errors
}

fn the_program_is_alone() {
    let mut off = invar_run(&[], &["sh", "-c", "echo \"$LD_PRELOAD,$GLIBC_TUNABLES\"; cat /proc/self/maps; exit 7"]);
    let (code, said, errors) = outcome(off.env("INVAR_KEYS", "slice=off").env("LD_PRELOAD", ""));
    assert_eq!((code, &*errors), (Some(7), ""));
    assert!(said.starts_with(",\n") && !said.contains("libinvar"), "{said}");
}

fn the_library_is_in_front() {
    let maps = said(&mut forced(&[], &["sh", "-c", "cat /proc/$$/maps; /bin/cat /proc/self/maps"]));
    let loads = maps.lines().filter(|line| line.contains(LIBRARY) && line.contains(" 00000000 ")).count();
    assert_eq!(loads, 2, "the shell and its child: {maps}");
}

fn all_is_its_own() {
    for way in [invar_run, forced] {
        assert_eq!(outcome(&mut way(&[], &["sh", "-c", "exit 7"])).0, Some(7));
        let killed = way(&[], &["sh", "-c", "kill -TERM $$"]).output().unwrap();
        assert_eq!(killed.status.signal(), Some(libc::SIGTERM));

        // No parent stays in between.
        let mut child =
            way(&[], &["sh", "-c", "echo $$; cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"given\n").unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{}\ngiven\n", child.id()));
        assert!(child.wait().unwrap().success());

        // Signals that are ignored and masks are as the caller has them; std has changed one of them before main.
        let signals = |mut command: Command| said(command.stdin(Stdio::null()));
        let status = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"];
        let mut alone = command(status[0]);
        alone.args(&status[1..]);
        assert_eq!(signals(way(&[], &status)), signals(alone));
        let mut ignoring = way(&[], &status);
        // SAFETY: a system call, in the child.
        unsafe {
            ignoring.pre_exec(|| {
                (libc::signal(libc::SIGPIPE, libc::SIG_IGN) != libc::SIG_ERR)
                    .then_some(())
                    .ok_or_else(std::io::Error::last_os_error)
            })
        };
        let signals = signals(ignoring);
        let ignored = signals.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect("a mask");
        assert_ne!(u64::from_str_radix(ignored, 16).unwrap() & 1 << (libc::SIGPIPE - 1), 0, "{signals}");

        // A closed descriptor stays closed; std opens those that it finds closed.
        let readlink = ["readlink", "/proc/self/fd/0"];
        assert_eq!(said(way(&[], &readlink).stdin(Stdio::null())), "/dev/null\n");
        let mut closed = way(&[], &readlink);
        // SAFETY: as above.
        unsafe {
            closed.pre_exec(|| {
                libc::close(0);
                Ok(())
            });
        }
        assert_eq!(outcome(&mut closed).0, Some(1));
    }
    let environment = said(forced(&[], &["env"]).env_clear().envs([("PATH", "/usr/bin:/bin"), FORCED]));
    let library = format!("LD_PRELOAD={}", library().canonicalize().unwrap().display());
    let mut expected = ["PATH=/usr/bin:/bin", "INVAR_KEYS=slice=force", &library].map(String::from).to_vec();
    let mut environment = environment.lines().map(String::from).collect::<Vec<_>>();
    expected.sort();
    environment.sort();
    assert_eq!(environment, expected);
}

/// A shared library without anything in it, of this name.
fn empty_library(name: &str) -> PathBuf {
    let path = scratch().join(name);
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-nostdlib", "-xc", "/dev/null", &format!("-Wl,-soname,{name}"), "-o"]).arg(&path);
    assert!(cc.status().unwrap().success());
    path
}

/// Entries of the environment that are no variables, which std does not show.
fn strange_entries_stay() {
    let words = ["/bin/cat", "/proc/self/environ"];
    let ways = [(invar_run(&[], &words), c"INVAR_KEYS=slice=off"), (forced(&[], &words), c"INVAR_KEYS=slice=force")];
    for (told, keys) in ways {
        let words = [told.get_program()].into_iter().chain(told.get_args());
        let words: Vec<_> = words.map(|word| CString::new(word.as_encoded_bytes()).unwrap()).collect();
        let list = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let entries = [keys, c"strange", c"A=1", c"", c"=odd"].map(CString::from);
        let mut replaced = command("/bin/true");
        // SAFETY: a system call, in the child; the lists were made before, and their strings live as long as they do.
        unsafe {
            replaced.pre_exec(move || {
                libc::execve(words[0].as_ptr(), list(&words).as_ptr(), list(&entries).as_ptr());
                Err(std::io::Error::last_os_error())
            })
        };
        let said = said(&mut replaced);
        for entry in ["strange", "A=1", "", "=odd"] {
            assert!(said.split_terminator('\0').any(|other| other == entry), "{entry:?} in {said:?}");
        }
    }
}

fn another_preloaded_library_stays() {
    let other = empty_library("libother.so");
    let mut both = forced(&[], &["sh", "-c", "echo $LD_PRELOAD; cat /proc/$$/maps"]);
    let said = said(both.env("LD_PRELOAD", &other));
    let first = format!("{}:{}\n", library().canonicalize().unwrap().display(), other.display());
    assert!(said.starts_with(&first) && said.contains(" /") && said.contains("libother.so\n"), "{said}");
}

fn own_rseq_is_for_this_program() {
    // The memory of the environment that the program began with has what is asked for, where glibc has ended each tunable by a
    // NUL; what the program passes on has not.
    let words = ["sh", "-c", "tr '\\0=' '\\n\\n' </proc/$$/environ | grep rseq; env | grep -E 'GLIBC_TUNABLES|_INVAR'"];
    let mut none = forced(&["--own-rseq"], &words);
    let (_, said, errors) = outcome(none.env_remove("GLIBC_TUNABLES"));
    assert_eq!((&*said, &*errors), ("glibc.pthread.rseq\n", ""));
    let mut some = forced(&["--own-rseq"], &words);
    let (_, said, errors) = outcome(some.env("GLIBC_TUNABLES", "glibc.malloc.check=0"));
    assert_eq!((&*said, &*errors), ("glibc.pthread.rseq\nGLIBC_TUNABLES=glibc.malloc.check=0\n", ""));
    // Not asked for, it is not done.
    let (_, said, _) = outcome(forced(&[], &words).env_remove("GLIBC_TUNABLES"));
    assert_eq!(said, "");
}

/// A program that asks for a loader which says this of its tunables.
fn program_whose_loader_says(name: &str, tunables: &str) -> PathBuf {
    let loader = scratch().join(format!("ld-linux-{name}.so.2"));
    std::fs::write(&loader, format!("#!/bin/sh\n[ \"$*\" = --list-tunables ] && echo '{tunables}'\n")).unwrap();
    std::fs::set_permissions(&loader, Permissions::from_mode(0o755)).unwrap();
    program(name, &[&format!("-Wl,--dynamic-linker={}", loader.display())])
}

/// What glibc 2.44's says where the tunable is fixed.
const KEPT: &str = "glibc.pthread.rseq: 1 (min: 0, max: 1)";

fn own_rseq_is_refused_where_the_loader_keeps_it() {
    let refused = |name: &str, tunables: &str| {
        refusal(&mut forced(&["--own-rseq"], &[program_whose_loader_says(name, tunables).to_str().unwrap()]))
    };
    let why = refused("keeps", KEPT);
    assert!(why.contains("--own-rseq has no effect: ") && why.contains("glibc.pthread.rseq"), "{why}");
    let why = refused("knows-none", "glibc.malloc.check: 0 (min: 0, max: 3)");
    assert!(why.contains("its loader has no tunable glibc.pthread.rseq"), "{why}");
    // Where it is taken the program is run, by a loader that is none: so far as the kernel can.
    let taken = program_whose_loader_says("takes", "glibc.pthread.rseq: 0 (min: 0, max: 1)");
    let (code, _, why) = outcome(&mut forced(&["--own-rseq"], &[taken.to_str().unwrap()]));
    assert!(code != Some(2) && !why.contains("--own-rseq"), "{code:?} {why}");
}

fn own_rseq_is_refused_where_it_is_forbidden() {
    let program = program_whose_loader_says("forbidden", KEPT);
    let invar = forced(&["--own-rseq"], &[program.to_str().unwrap()]);
    // An /etc of its own, with that file and nothing else.
    let refused = |line: &str| {
        let mut inside = command("unshare");
        let script = format!("mount -t tmpfs none /etc && echo '{line}' >/etc/tunables.conf && exec \"$@\"");
        inside.args(NAMESPACES).args(["sh", "-c", &script, "sh"]).arg(invar.get_program()).args(invar.get_args());
        inside.envs(invar.get_envs().filter_map(|(name, value)| Some((name, value?))));
        refusal(&mut inside)
    };
    let why = refused("glibc.pthread.rseq=1");
    assert!(why.contains("/etc/tunables.conf fixes glibc.pthread.rseq, and allows no override"), "{why}");
    let why = refused("glibc.malloc.check=1");
    assert!(why.contains("its loader keeps glibc.pthread.rseq as it is"), "{why}");
}

fn only_leaves_the_others_alone() {
    let said = said(&mut forced(&["--only", "spin,rwlock"], &["sh", "-c", "echo $INVAR_KEYS"]));
    assert_eq!(said, "slice=force,preload_mutex=off\n");
    let (code, _, errors) = outcome(&mut forced(&["--only", "barrier"], &["true"]));
    assert!(code == Some(2) && errors.contains("barrier"), "{errors}");
}

/// A program in C with these options, which takes a lock.
fn program(name: &str, options: &[&str]) -> PathBuf {
    const SOURCE: &str = "#include <pthread.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int main(void) { for (int i = 0; i < 100; i++) { pthread_mutex_lock(&lock); pthread_mutex_unlock(&lock); } return 0; }
";
    let path = scratch().join(name);
    let source = Temporary::new(&format!("{name} in C"), SOURCE.as_bytes());
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-pthread", "-xc", source.path(), "-xnone"]).args(options).arg("-o").arg(&path);
    assert!(cc.status().unwrap().success());
    path
}

fn reports_say_who_takes_locks() {
    let program = program("locking", &[]);
    let program = program.to_str().unwrap();
    let (code, _, errors) = outcome(&mut forced(&["--report"], &[program]));
    assert_eq!(code, Some(0), "{errors}");
    for line in ["locking is preloaded", "mutex         called by locking", "spin          called by nobody"] {
        assert!(errors.contains(line.trim_start_matches("locking ")), "{line}: {errors}");
    }
    let (_, _, errors) = outcome(&mut forced(&["--json", "--only", "spin"], &[program]));
    let document: Value = serde_json::from_str(&errors).unwrap();
    assert_eq!(document["schema"], "invar.run/1");
    assert_eq!(document["preloaded"], library().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(document["locks"][0]["name"], "mutex");
    assert_eq!(
        (&document["locks"][0]["wanted"], &document["locks"][0]["users"][0]),
        (&false.into(), &"locking".into())
    );
    assert_eq!(document["locks"][1]["wanted"], true);

    let mut off = invar_run(&["--json"], &[program]);
    let (_, _, errors) = outcome(off.env("INVAR_KEYS", "slice=off"));
    let document: Value = serde_json::from_str(&errors).unwrap();
    assert!(document["preloaded"].is_null() && document["why"].as_str().is_some_and(|why| !why.is_empty()), "{errors}");
}

fn profile_counts() {
    let program = program("counted", &[]);
    let mut counted = forced(&["--profile", "--json"], &[program.to_str().unwrap()]);
    let document: Value = serde_json::from_str(&said(&mut counted)).unwrap();
    let sites = document["sites"].as_array().unwrap();
    let requests: u64 = sites.iter().map(|site| site["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 100, "{document:#}");
    // Where the program calls, not where the library asks.
    assert_eq!(sites.len(), 1, "{document:#}");
    assert!(sites[0]["module"].as_str().unwrap().ends_with("/counted"), "{document:#}");
    let mut text = forced(&["--profile"], &[program.to_str().unwrap()]);
    let (code, _, errors) = outcome(&mut text);
    assert!(code == Some(0) && errors.contains("main+0x"), "{errors}");
}

fn the_profile_is_drawn_and_written() {
    let program = program("drawn", &[]);
    let [plot, listing] = ["drawn.svg", "drawn.txt"].map(|name| Temporary::new(name, b""));
    let options = ["--profile", "--plot", plot.path(), "--output", listing.path()];
    assert_eq!(said(&mut forced(&options, &[program.to_str().unwrap()])), "");
    let [plot, listing] = [plot, listing].map(|file| std::fs::read_to_string(file.path()).unwrap());
    assert!(plot.starts_with("<svg") && plot.contains("main"), "{plot}");
    assert!(listing.contains("100 sections at 1 site;") && listing.contains("main+0x"), "{listing}");
    for option in ["--plot", "--output"] {
        let (code, _, errors) = outcome(&mut invar_run(&[option, "/nowhere"], &["true"]));
        assert!(code == Some(2) && errors.contains("--profile"), "{errors}");
    }
}

/// `invar profile`, of this command.
fn invar_profile(options: &[&str], program: &str) -> Command {
    let mut invar = command(INVAR);
    invar.arg("profile").args(options).args(["--json", "--", program]);
    invar
}

fn invar_profile_counts_them_too() {
    let library = library().to_str().unwrap();
    let program = program("profiled", &[]);
    let document: Value =
        serde_json::from_str(&said(&mut invar_profile(&["--library", library], program.to_str().unwrap()))).unwrap();
    assert_eq!(document["sites"][0]["requests"], 100, "{document:#}");
    assert!(document["sites"][0]["module"].as_str().unwrap().ends_with("/profiled"), "{document:#}");
    // Where nothing can be put in front of its calls it runs all the same, and the reason is told.
    let fixed = self::program("profiled-static", &["-static"]);
    let document: Value = serde_json::from_str(&said(&mut invar_profile(&[], fixed.to_str().unwrap()))).unwrap();
    let remark = document["remarks"][0].as_str().unwrap();
    assert!(
        remark.contains("the locks of its C library are not counted: ") && remark.contains("linked statically"),
        "{remark}"
    );
    // Unless it was asked for.
    assert!(
        refusal(&mut invar_profile(&["--library", library], fixed.to_str().unwrap())).contains("linked statically")
    );
}

/// The library that is installed is in front of those alone that carry nothing themselves.
fn who_carries_sites_is_counted_by_these() {
    const SOURCE: &str = "#include <stdio.h>
#include <stdlib.h>
#ifdef SITES
#include <invar.h>
static void section(void) { invar_slice_enter(); invar_slice_leave(); }
#else
static void section(void) { }
#endif
int main(void) { section(); puts(getenv(\"LD_PRELOAD\") ? \"in front\" : \"by itself\"); return 0; }
";
    let installed = tempfile::tempdir().unwrap();
    let invar = installed.path().join("invar");
    std::fs::copy(INVAR, &invar).unwrap();
    std::fs::copy(library(), installed.path().join(LIBRARY)).unwrap();
    let source = Temporary::new("sites in C", SOURCE.as_bytes());
    for (options, expected) in [("-DNONE", "in front\n"), ("-DSITES", "by itself\n")] {
        let path = scratch().join(format!("carries{options}"));
        let mut cc = Command::new("cc");
        cc.args(["-O1", options, concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../capi/include"), "-xc", source.path()]);
        assert!(cc.arg("-o").arg(&path).status().unwrap().success());
        let mut profile = command(&invar);
        profile.args(["profile", "--output", "/dev/null", "--"]).arg(&path);
        assert_eq!(said(&mut profile), expected);
    }
}

fn static_programs_are_refused() {
    let path = program("static", &["-static"]);
    assert!(refusal(&mut invar_run(&[], &[path.to_str().unwrap()])).contains("linked statically"));
}

fn what_needs_tcmalloc_is_refused() {
    let tcmalloc = empty_library("libtcmalloc_minimal.so.4");
    let rpath = format!("-Wl,-rpath,{}", scratch().display());
    let options = ["-Wl,--no-as-needed", tcmalloc.to_str().unwrap(), &rpath];
    let path = program("with-tcmalloc", &options);
    let said = refusal(&mut forced(&[], &[path.to_str().unwrap()]));
    assert!(said.contains("libtcmalloc_minimal.so.4 registers rseq areas of its own"), "{said}");
    // And where the loader finds it by a path that is none from the root.
    let path = program("with-tcmalloc-there", &options[..2]);
    let mut there = forced(&[], &[path.to_str().unwrap()]);
    let said = refusal(there.env("LD_LIBRARY_PATH", "run").current_dir(scratch().parent().unwrap()));
    assert!(said.contains("libtcmalloc_minimal.so.4 registers rseq areas of its own"), "{said}");
}

/// Its runtime ends a program in which another library is before it.
fn what_needs_asan_is_refused() {
    let asan = empty_library("libasan.so.8");
    let rpath = format!("-Wl,-rpath,{}", scratch().display());
    let path = program("with-asan", &["-Wl,--no-as-needed", asan.to_str().unwrap(), &rpath]);
    let said = refusal(&mut forced(&[], &[path.to_str().unwrap()]));
    assert!(said.contains("libasan.so.8 ends the program where another library is in front of it"), "{said}");
}

/// A program that was linked with it statically has the same word for its areas.
fn what_has_tcmalloc_in_itself_is_refused() {
    let path = scratch().join("with-areas");
    let source =
        Temporary::new("areas in C", b"__thread char __rseq_abi[32]; int main(void) { return __rseq_abi[0]; }");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-xc", source.path(), "-o"]).arg(&path);
    assert!(cc.status().unwrap().success());
    let said = refusal(&mut forced(&[], &[path.to_str().unwrap()]));
    assert!(said.contains("with-areas registers rseq areas of its own"), "{said}");
    // And one that is preloaded counts as one that is needed.
    let tcmalloc = empty_library("libtcmalloc_minimal.so.4");
    let said = refusal(forced(&[], &["/bin/true"]).env("LD_PRELOAD", tcmalloc));
    assert!(said.contains("libtcmalloc_minimal.so.4 registers"), "{said}");
}

fn copy_of_true(name: &str, change: impl FnOnce(&mut Vec<u8>), mode: u32) -> Temporary {
    let mut bytes = std::fs::read("/bin/true").unwrap();
    change(&mut bytes);
    let copy = Temporary::new(name, &bytes);
    std::fs::set_permissions(copy.path(), Permissions::from_mode(mode)).unwrap();
    copy
}

fn raised_privileges_are_refused() {
    for mode in [0o4755, 0o2755] {
        let copy = copy_of_true("raised", |_| (), mode);
        assert!(refusal(&mut invar_run(&[], &[copy.path()])).contains("raised privileges"));
    }
}

fn another_machines_programs_are_refused() {
    // `e_machine`, at offset 18: none.
    let copy = copy_of_true("elsewhere", |bytes| bytes[18..20].fill(0), 0o755);
    assert!(refusal(&mut invar_run(&[], &[copy.path()])).contains("for another machine"));
    let cut = copy_of_true("cut off", |bytes| bytes.truncate(40), 0o755);
    assert!(refusal(&mut invar_run(&[], &[cut.path()])).contains("cannot be read"));
}

fn scripts_are_what_their_interpreter_is() {
    let script = |name: &str, text: &str| Temporary::new(name, text.as_bytes());
    for text in ["#!/bin/sh\necho \"$1\"\n", "#!/usr/bin/env sh\necho \"$1\"\n", "echo \"$1\"\n"] {
        let script = script("script", text);
        assert_eq!(said(&mut invar_run(&[], &[script.path(), "word"])), "word\n", "{text}");
    }
    let circle = script("circle", "");
    std::fs::write(circle.path(), format!("#!{}\n", circle.path())).unwrap();
    assert!(refusal(&mut invar_run(&[], &[circle.path()])).contains("too many interpreters"));
}

/// As if by itself: env(1) and shells end with these.
fn scripts_whose_interpreter_cannot_be_run() {
    let plain = Temporary::new("no-interpreter", b"");
    std::fs::set_permissions(plain.path(), Permissions::from_mode(0o644)).unwrap();
    for (interpreter, code) in [("/nowhere/at/all", 127), ("/etc", 126), (plain.path(), 126)] {
        let script = Temporary::new("a script", format!("#!{interpreter}\n").as_bytes());
        std::fs::set_permissions(script.path(), Permissions::from_mode(0o755)).unwrap();
        let (is, said, errors) = outcome(&mut invar_run(&[], &[script.path()]));
        assert_eq!((is, &*said), (Some(code), ""), "{interpreter}: {errors}");
        assert!(errors.starts_with("invar: cannot run "), "{errors}");
    }
    // The search goes on behind it.
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for (name, line) in [("first", "#!/nowhere/at/all"), ("second", "#!/bin/sh")] {
        std::fs::create_dir(place(name)).unwrap();
        std::fs::write(place(name).join("subject"), format!("{line}\necho found\n")).unwrap();
        std::fs::set_permissions(place(name).join("subject"), Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}:/usr/bin:/bin", place("first").display(), place("second").display());
    assert_eq!(said(invar_run(&[], &["subject"]).env("PATH", path).env("INVAR_KEYS", "slice=off")), "found\n");
}

/// Its path is no option of the loader's; and a loader that is not there is the kernel's affair.
fn the_loader_is_asked_for_any_program() {
    let folder = tempfile::tempdir().unwrap();
    let tcmalloc = empty_library("libtcmalloc_option.so.4");
    let rpath = format!("-Wl,-rpath,{}", scratch().display());
    let with_tcmalloc = program("as-an-option", &["-Wl,--no-as-needed", tcmalloc.to_str().unwrap(), &rpath]);
    std::fs::create_dir(folder.path().join("--d")).unwrap();
    std::fs::copy(with_tcmalloc, folder.path().join("--d/program")).unwrap();
    let said = refusal(forced(&[], &["--d/program"]).current_dir(folder.path()));
    assert!(said.contains("libtcmalloc_option.so.4 registers rseq areas of its own"), "{said}");
    let lost = program("lost", &["-Wl,--dynamic-linker=/nowhere/ld-linux-lost.so.2"]);
    let lost = lost.to_str().unwrap();
    for options in [&[][..], &["--report"]] {
        let (code, _, errors) = outcome(&mut forced(options, &[lost]));
        assert_eq!(code, Some(127), "{options:?}: {errors}");
    }
}

fn not_root() -> Option<String> {
    // SAFETY: asks for a number.
    (unsafe { libc::geteuid() } != 0).then(|| "only root becomes another user".into())
}

/// A file that others may execute, and this user may not, is passed by.
fn path_is_searched_as_permitted() {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let invar = folder.path().join("invar");
    std::fs::copy(INVAR, &invar).unwrap();
    // The first is linked statically as far as can be seen, and would be refused.
    for (place, mode, content) in [("first", 0o700, &b"\x7fELF"[..]), ("second", 0o755, b"#!/bin/sh\necho found\n")] {
        let place = folder.path().join(place);
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("subject"), content).unwrap();
        std::fs::set_permissions(place.join("subject"), Permissions::from_mode(mode)).unwrap();
    }
    let path = format!("{0}/first:{0}/second:/usr/bin:/bin", folder.path().display());
    let mut run = command(&invar);
    run.args(["run", "--", "subject"]).env("PATH", path).env("INVAR_KEYS", "slice=off").uid(NOBODY).gid(NOBODY);
    assert_eq!(said(&mut run), "found\n");
}

fn scripts_name_their_interpreter() {
    let of = |text: &str| interpreter(text.as_bytes());
    assert_eq!(of("#!/bin/sh -e\necho"), Some("/bin/sh".into()));
    assert_eq!(of("#! /bin/sh"), Some("/bin/sh".into()));
    assert_eq!(of("echo"), Some("/bin/sh".into()));
    assert!(of("#!/usr/bin/env -S sh\n").is_some_and(|path| path.ends_with("sh")));
    assert_eq!(of("\x7fELF"), None);
    assert_eq!(of("#!\n"), Some("/bin/sh".into()));
    for text in ["#!/usr/bin/env -S A=1 sh\n", "#!/usr/bin/env A=1 sh\n"] {
        assert!(of(text).is_some_and(|path| path.ends_with("sh")), "{text}");
    }
    assert_eq!(of("#!/usr/bin/env -u sh ls\n"), Some("/usr/bin/env".into()), "its options are not known");
    // The kernel takes a line of 256 bytes, and a NUL as its end.
    assert_eq!(of("#!/bin/bash\0x\n"), Some("/bin/bash".into()));
    assert_eq!(of(&format!("#!/{}\n", "x".repeat(300))), Some("/bin/sh".into()));
    assert_eq!(of(&format!("#!/bin/bash {}\n", "x".repeat(300))), Some("/bin/bash".into()));
}

fn other_tunables_stay() {
    assert_eq!(with_off("".into()), "glibc.pthread.rseq=0");
    assert_eq!(with_off("glibc.malloc.check=3".into()), "glibc.malloc.check=3:glibc.pthread.rseq=0");
}

fn functions_have_their_group() {
    let group = |function: &str| Group::ALL.into_iter().find(|group| group.has(function));
    for name in ["pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_clockwait", "mtx_timedlock", "cnd_wait"] {
        assert_eq!(group(name), Some(Group::Mutex), "{name}");
    }
    assert_eq!(group("pthread_spin_lock"), Some(Group::Spin));
    assert_eq!(group("pthread_rwlock_tryrdlock"), Some(Group::Rwlock));
    for name in ["pthread_mutex_init", "pthread_cond_signal", "pthread_create", "lockf"] {
        assert_eq!(group(name), None, "{name}");
    }
}

fn a_library_that_is_not_there() {
    let mut missing = invar_run(&["--library", "/no/library"], &["true"]);
    assert!(refusal(missing.env(FORCED.0, FORCED.1)).contains("/no/library"));
    let folder = scratch().join("a folder");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(library(), folder.join(LIBRARY)).unwrap();
    let path = folder.join(LIBRARY);
    let mut spaced = invar_run(&["--library", path.to_str().unwrap()], &["true"]);
    assert!(refusal(spaced.env(FORCED.0, FORCED.1)).contains("LD_PRELOAD cannot say this path"));
}

fn what_is_no_such_library_is_refused() {
    let bytes = std::fs::read(library()).unwrap();
    let part = |name: &str, bytes: &[u8]| Temporary::new(name, bytes);
    let parts = [
        part("empty-library", b""),
        part("text-library", b"words\n"),
        part("first-bytes", &bytes[..500]),
        part("first-pages", &bytes[..20_000]),
    ];
    let other = empty_library("libother.so");
    let paths = parts.iter().map(Temporary::path).chain(["/dev/null", "/", other.to_str().unwrap()]);
    for path in paths {
        let said = refusal(invar_run(&["--library", path], &["true"]).env(FORCED.0, FORCED.1));
        assert!(said.contains("not libinvar-preload.so.0: "), "{path}: {said}");
    }
}

/// It is not the program's affair.
fn a_report_that_nobody_reads() {
    for option in ["--report", "--json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = invar_run(&[option], &["sh", "-c", "echo ran; exit 7"]);
        let output = program.stderr(writer).stdout(std::process::Stdio::piped()).spawn().unwrap().wait_with_output();
        let output = output.unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(7), &b"ran\n"[..]), "{option}");
    }
}

/// The tool that has a program ignore signals is in coreutils since 8.31.
fn no_env() -> Option<String> {
    let found =
        Command::new("env").args(["--ignore-signal=CHLD", "true"]).status().is_ok_and(|status| status.success());
    (!found).then(|| "env has no --ignore-signal".into())
}

/// As some daemons do, whose children inherit that: the kernel then keeps no child for who waits.
fn who_ignores_sigchld_is_served_too() {
    let library = library().to_str().unwrap();
    let ignoring = |words: &[&str]| {
        let mut env = command("env");
        env.arg("--ignore-signal=CHLD").args(words).env(FORCED.0, FORCED.1);
        env
    };
    let before = [INVAR, "run", "--library", library, "--"];
    let counting = [INVAR, "run", "--profile", "--library", library, "--"];
    // A shell would have its own way with the signal.
    for words in [&["grep", "SigIgn", "/proc/self/status"][..], &["sh", "-c", "exit 5"]] {
        let alone = outcome(&mut ignoring(words));
        let ignored = alone.1.trim().rsplit('\t').next().and_then(|mask| u64::from_str_radix(mask, 16).ok());
        assert!(ignored.is_none_or(|mask| mask & 1 << 16 != 0), "{alone:?}");
        assert!(ignored.is_some() || alone.0 == Some(5), "{alone:?}");
        assert_eq!(outcome(&mut ignoring(&[&before, words].concat())), alone);
        let counted = outcome(&mut ignoring(&[&counting, words].concat()));
        assert_eq!((counted.0, &counted.1), (alone.0, &alone.1), "{}", counted.2);
    }
    let tcmalloc = empty_library("libtcmalloc_minimal.so.4");
    let mut refused = ignoring(&[INVAR, "run", "--library", library, "--", "/bin/true"]);
    assert!(refusal(refused.env("LD_PRELOAD", tcmalloc)).contains("registers rseq areas of its own"));
}

/// Descriptors that are closed, and SIGPIPE.
fn the_profiled_inherits_too() {
    let library = library().to_str().unwrap();
    for words in ["exec \"$@\" >&-", "trap '' PIPE; exec \"$@\""] {
        let show = "if [ -e /proc/$$/fd/1 ]; then echo open >&2; else echo closed >&2; fi
            grep SigIgn /proc/self/status >&2; exit 3";
        let run = |before: &[&str]| {
            let mut shell = command("/bin/sh");
            shell.args(["-c", words, "sh"]).args(before).args(["sh", "-c", show]).env(FORCED.0, FORCED.1);
            outcome(&mut shell)
        };
        let alone = run(&[]);
        let counted = run(&[INVAR, "run", "--profile", "--library", library, "--"]);
        assert!(alone.2.starts_with(if words.contains(">&-") { "closed" } else { "open" }), "{}", alone.2);
        assert_eq!(counted.0, alone.0, "{}", counted.2);
        assert!(counted.2.starts_with(&alone.2), "{words}: {} for {}", counted.2, alone.2);
    }
}

/// Neither the kernel nor the loader reads them.
fn sections_that_cannot_be_read() {
    // `e_shoff` and `e_shnum` of a 64-bit header.
    for (at, value) in [(0x28, 0x7fff_ffff_u64), (0x28, u64::MAX - 255), (0x3c, 0x0001_fff0)] {
        let change = |bytes: &mut Vec<u8>| {
            let width = if at == 0x28 { 8 } else { 2 };
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        };
        let program = copy_of_true(&format!("sections {value:x}"), change, 0o755);
        assert_eq!(said(&mut invar_run(&[], &[program.path()])), "");
    }
}

fn commands_that_cannot_be_run() {
    for (word, code) in [("/no/command", 127), ("no-command-of-this-name", 127), ("/etc", 126), ("", 127)] {
        let (is, said, errors) = outcome(&mut invar_run(&[], &[word]));
        assert_eq!((is, &*said), (Some(code), ""), "{word}: {errors}");
        assert!(errors.starts_with("invar: cannot run "), "{errors}");
    }
    assert_eq!(outcome(&mut invar_run(&[], &[])).0, Some(2));
}
