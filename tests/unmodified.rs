//! Programs of the distribution, with libinvar-preload in front of them: each says the same with it as without, on a machine that
//! grants nothing and with requests. They take minutes, so that `INVAR_TEST_PROGRAMS=1` has them run. `tests/preload.rs` has the
//! quick ones, and docs/run.md the table.

mod common;

use common::c::{libinvar, missing};
use common::{Temporary, command, must, output, run, scratch, sites, test};
use libtest_mimic::Arguments;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn main() -> ExitCode {
    let needs = |tools: &[&str]| {
        let wanted = std::env::var_os("INVAR_TEST_PROGRAMS").is_some();
        let not_wanted =
            (!wanted).then(|| "runs large programs, for minutes: INVAR_TEST_PROGRAMS=1 has it done".into());
        let without = ["make", "cc"].iter().chain(tools).find_map(|tool| missing(tool));
        not_wanted.or_else(sites).or(without)
    };
    let from_source = |name, source, body: fn()| {
        let missing = needs(&["apt-get", "tar", "xz"]).or_else(|| missing_source(name, source));
        test(name, missing, body)
    };
    run([
        test("git", needs(&["git"]), git),
        test("python3's own tests", needs(&["python3"]).or_else(no_python_tests), python),
        test("a Java virtual machine", needs(&["javac"]), java),
        test("PostgreSQL", needs(&[]).or_else(no_postgresql), postgresql),
        from_source(GIT_OWN, git_source, git_own),
        from_source(NPTL_TEST, glibc_source, nptl),
    ])
}

/// Nothing in front; the library where nothing is granted; and where requests are made, though nobody looks at them.
const WAYS: [Option<&str>; 3] = [None, Some("slice=off"), Some("slice=force")];

/// Runs this in each way: all must say the same, which is returned.
fn the_same_each_way(what: impl Fn(&dyn Fn(&Path) -> Command) -> String) -> String {
    let says = |way: Option<&'static str>| what(&|program| in_way(way, program));
    let alone = says(WAYS[0]);
    for way in &WAYS[1..] {
        assert_eq!(says(*way), alone, "{way:?}");
    }
    alone
}

/// The program in one of the ways.
fn in_way(way: Option<&str>, program: &Path) -> Command {
    let mut command = command(program);
    if let Some(keys) = way {
        command.env("LD_PRELOAD", libinvar().join("libinvar-preload.so.0")).env("INVAR_KEYS", keys);
    }
    command
}

/// A folder of this name, empty.
fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// Its commands that have threads: a pack is made, indexed and searched by several.
fn git() {
    const STEPS: &str = "
set -e
git init -q -b main .
cp -r \"$SOURCES\" sources
for round in 1 2 3 4; do
  echo $round >sources/round
  git add -A
  git commit -q -m $round
done
git -c pack.threads=4 repack -q -a -d -f --window=50
git index-pack --threads=4 --fsck-objects $(ls .git/objects/pack/*.pack) | cut -c1-5
git fsck --full --strict
git grep --threads 4 -c pthread HEAD -- sources | sort
git -c index.threads=4 -c core.preloadIndex=true status --porcelain
git log --format='%H %T'
git count-objects -v | grep -E '^(in-pack|packs)'
";
    let said = the_same_each_way(|program| {
        let place = folder("unmodified-git");
        let mut shell = program(Path::new("sh"));
        shell.args(["-c", STEPS]).current_dir(&place).env("HOME", &place);
        shell.env("SOURCES", concat!(env!("CARGO_MANIFEST_DIR"), "/capi/preload")).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            for (what, value) in [("NAME", "a"), ("EMAIL", "a@example.com"), ("DATE", "2026-01-01T00:00:00Z")] {
                shell.env(format!("GIT_{who}_{what}"), value);
            }
        }
        text(must(&mut shell).stdout)
    });
    assert!(said.contains("packs: 1") && said.contains("preload.c:"), "{said}");
}

/// Those of threads, and of what is built on them.
const PYTHON_TESTS: [&str; 5] = ["test_thread", "test_threading", "test_threading_local", "test_queue", "test_fork1"];

fn no_python_tests() -> Option<String> {
    let found = output(Command::new("python3").args(["-c", "import test.test_threading"])).status.success();
    (!found).then(|| "python3 has no tests with it".into())
}

fn python() {
    let said = the_same_each_way(|program| {
        let mut python = program(Path::new("python3"));
        python
            .args(["-m", "test", "--verbose3", "--timeout", "300"])
            .args(PYTHON_TESTS)
            .current_dir(folder("unmodified-python"));
        // Some may fail on this machine, but no others. How long it took is not said here.
        let said = text(output(&mut python).stdout);
        let lines = said.lines().filter(|line| line.starts_with("Total tests:") || line.contains("tests OK"));
        lines.collect::<Vec<_>>().join("\n")
    });
    assert!(said.contains("tests OK"), "{said}");
}

/// Monitors, locks of java.util.concurrent, and threads of the virtual machine's own: compilers and collectors.
fn java() {
    const SOURCE: &str = r#"
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.*;

public class Locks {
    static long sum;
    static synchronized void add(long number) { sum += number; }

    public static void main(String[] arguments) throws Exception {
        Lock lock = new ReentrantLock();
        ConcurrentHashMap<Integer, Long> map = new ConcurrentHashMap<>();
        BlockingQueue<Integer> queue = new ArrayBlockingQueue<>(16);
        ExecutorService workers = Executors.newFixedThreadPool(4);
        List<Future<Long>> results = new ArrayList<>();
        for (int worker = 0; worker < 4; worker++)
            results.add(workers.submit(() -> {
                long own = 0;
                for (int number; (number = queue.take()) >= 0; own += number) {
                    byte[] litter = new byte[4096];
                    add(number + litter[number % 4096]);
                    lock.lock();
                    try { map.merge(number % 10, 1L, Long::sum); } finally { lock.unlock(); }
                }
                return own;
            }));
        for (int number = 0; number < 50000; number++) queue.put(number);
        for (int worker = 0; worker < 4; worker++) queue.put(-1);
        long own = 0;
        for (Future<Long> result : results) own += result.get();
        workers.shutdown();
        System.gc();
        System.out.println(sum + " " + own + " " + new TreeMap<>(map));
    }
}
"#;
    let said = the_same_each_way(|program| {
        let place = folder("unmodified-java");
        std::fs::write(place.join("Locks.java"), SOURCE).unwrap();
        must(program(Path::new("javac")).arg("Locks.java").current_dir(&place));
        let collectors = ["-XX:+UseParallelGC", "-XX:+UseG1GC"].map(|collector| {
            text(must(program(Path::new("java")).args([collector, "-Xmx64m", "Locks"]).current_dir(&place)).stdout)
        });
        collectors.concat()
    });
    let once =
        "1249975000 1249975000 {0=5000, 1=5000, 2=5000, 3=5000, 4=5000, 5=5000, 6=5000, 7=5000, 8=5000, 9=5000}\n";
    assert_eq!(said, once.repeat(2));
}

/// Where the newest version's programs are, as Debian has them.
fn postgresql_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("pgbench").exists()).max()
}

/// It does not run as root, and then takes the user that its package has made.
fn postgresql_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().find_map(|line| line.strip_prefix("postgres:"))?.split(':').collect::<Vec<_>>();
    Some((fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?))
}

fn is_root() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

fn no_postgresql() -> Option<String> {
    if postgresql_programs().is_none() {
        return Some("no PostgreSQL in /usr/lib/postgresql".into());
    }
    (is_root() && postgresql_user().is_none())
        .then(|| "PostgreSQL does not run as root, and there is no user postgres".into())
}

/// A server for pgbench's four clients, whose sums agree at the end.
fn postgresql() {
    const STEPS: &str = "
set -e
initdb --no-sync -A trust -U tester -D data >initdb.out 2>&1 || { cat initdb.out; exit 1; }
pg_ctl -D data -w -l log -o \"-c listen_addresses= -c fsync=off -k $PWD\" start >start.out 2>&1 || { cat start.out log; exit 1; }
trap 'pg_ctl -D data -m immediate stop >/dev/null 2>&1' EXIT
export PGHOST=$PWD PGUSER=tester PGDATABASE=postgres
pgbench -q -i -s 2 2>init.out || { cat init.out; exit 1; }
pgbench -n -c 4 -j 4 -t 250 >run.out 2>&1 || { cat run.out; exit 1; }
grep 'actually processed' run.out
psql -At -c \"select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),
  (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches),
  (select count(*) from pgbench_history)\"
pg_ctl -D data -m fast -w stop >/dev/null
trap - EXIT
";
    let programs = postgresql_programs().expect("PostgreSQL");
    let said = the_same_each_way(|program| {
        // Sockets have short paths, and the user must be able to come here.
        let folder = Temporary(std::env::temp_dir().join(format!("invar-pg-{}", std::process::id())));
        let place = &folder.0;
        std::fs::create_dir(place).unwrap();
        let mut shell = program(Path::new("sh"));
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
        shell.args(["-c", STEPS]).current_dir(place).env("PATH", path).env("HOME", place);
        if is_root() {
            let (user, group) = postgresql_user().expect("a user");
            std::os::unix::fs::chown(place, Some(user), Some(group)).unwrap();
            // The library must be readable for it.
            if let Some(library) = shell.get_envs().find_map(|(name, value)| (name == "LD_PRELOAD").then_some(value?)) {
                let copy = place.join("libinvar-preload.so.0");
                std::fs::copy(library, &copy).unwrap();
                shell.env("LD_PRELOAD", copy);
            }
            shell.uid(user).gid(group);
        }
        text(must(&mut shell).stdout)
    });
    assert!(said.contains("1000/1000") && said.ends_with("t|t|1000\n"), "{said}");
}

/// Where the sources of the release are that Debian has of this package, without its own changes. They are fetched once.
fn source_of(package: &str) -> Result<PathBuf, String> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.filter(|_| release.lines().any(|line| line == "ID=debian"));
    let suite = suite.ok_or("the source package is fetched on Debian only")?;
    let place = scratch().join(format!("{package}-source"));
    let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/ports/source");
    let said = Command::new(fetch).args([package, suite]).arg(&place).output().map_err(|error| error.to_string())?;
    if !said.status.success() {
        let errors = String::from_utf8_lossy(&said.stderr);
        return Err(errors.lines().last().unwrap_or("no reason is said").into());
    }
    Ok(place.join("source"))
}

/// The same, if it is the version that is installed, which this file says.
fn source_of_version(package: &str, file: &str, says: &str) -> Result<PathBuf, String> {
    let source = source_of(package)?;
    let version = std::fs::read_to_string(source.join(file)).map_err(|error| error.to_string())?;
    if version.lines().any(|line| line == says) { Ok(source) } else { Err(format!("its {file} does not say {says}")) }
}

/// Why a test cannot have its sources. It is looked at where the test, or all are asked for: to look is to fetch.
fn missing_source(test: &str, source: fn() -> Result<PathBuf, String>) -> Option<String> {
    let asked = Arguments::from_args();
    let is_asked_for = asked.filter.is_none_or(|filter| test.contains(&filter));
    if asked.list || !is_asked_for || asked.skip.iter().any(|skip| test.contains(skip)) {
        return None;
    }
    source().err().map(|why| format!("the source package cannot be had: {why}"))
}

/// With Debian's own git in the path, which another one may stand in front of.
const GIT: &str = "/usr/bin/git";
const GIT_OWN: &str = "git's own tests";
/// Those of packs, and of what is searched by several threads.
const GIT_TESTS: [&str; 4] = ["t5300-pack-object", "t5302-pack-index", "t5316-pack-delta-depth", "t7810-grep"];

fn git_source() -> Result<PathBuf, String> {
    let said = Command::new(GIT).arg("--version").output().map_err(|error| format!("{GIT}: {error}"))?;
    source_of_version("git", "version", text(said.stdout).trim().trim_start_matches("git version "))
}

/// Of git itself nothing is built but what its tests call beside it.
fn git_own() {
    let source = git_source().expect("sources");
    let without = "NO_CURL NO_OPENSSL NO_GETTEXT NO_TCLTK NO_PERL NO_PYTHON NO_EXPAT".split(' ');
    let mut make = Command::new("make");
    make.args(["-s", "-j2", "CFLAGS=-O0"]).args(without.map(|part| format!("{part}=1")));
    must(make.args(["t/helper/test-tool", "GIT-BUILD-OPTIONS"]).current_dir(&source));
    // The installed one finds its templates by itself, and searches by PCRE.
    std::fs::create_dir_all(source.join("templates/blt")).unwrap();
    let options = source.join("GIT-BUILD-OPTIONS");
    let said = std::fs::read_to_string(&options).unwrap();
    std::fs::write(&options, said.replace("USE_LIBPCRE2=''", "USE_LIBPCRE2='1'")).unwrap();
    let said = the_same_each_way(|program| {
        let place = folder("unmodified-git-own");
        let tests = GIT_TESTS.map(|test| {
            let mut shell = program(Path::new("sh"));
            shell.arg(format!("{test}.sh")).arg(format!("--root={}", place.display()));
            shell.current_dir(source.join("t")).env("GIT_TEST_INSTALLED", Path::new(GIT).parent().unwrap());
            text(must(&mut shell).stdout)
        });
        tests.concat()
    });
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    println!("{passed} pass alone, and in both ways with the library");
    assert!(passed > 300 && said.contains("# passed all "), "{said}");
}

/// The release that is installed, without the distribution's patches.
fn glibc_source() -> Result<PathBuf, String> {
    source_of_version("glibc", "version.h", &format!("#define VERSION \"{}\"", glibc_version()))
}

/// Of the glibc that is installed.
fn glibc_version() -> String {
    let said = text(output(Command::new("getconf").arg("GNU_LIBC_VERSION")).stdout);
    said.trim().trim_start_matches("glibc ").to_owned()
}

const NPTL_TEST: &str = "nptl: glibc's own tests of locks";

/// Those of locks, and of what ends threads that wait for them.
const NPTL: [&str; 9] = ["mutex", "rwlock", "spin", "cond", "robust", "mtx", "cnd", "cancel", "cleanup"];

/// The files of glibc's `support` that these tests need. They are one unit for the compiler, which reads each header once.
const SUPPORT: &str = "check delayed_exit ignore_stderr next_to_fault oom_error set_fortify_handler
    support_create_timer support_mutex_pi_monotonic support_need_proc support_paths support_record_failure
    support_shared_allocate support_test_compare_failure support_test_main support_test_verify_impl
    support_wait_for_thread_exit support_write_file_string timespec timespec-add timespec-sub write_message
    xasprintf xcalloc xchdir xclock_gettime xclose xdup2 xfclose xfopen xfork xftruncate xmalloc xmemstream xmmap
    xmprotect xmunmap xopen xpipe xpoll xposix_memalign xraise xrealloc xsigaction xsignal xstrdup xstrndup xsysconf
    xunlink xwaitpid xwrite";

/// The tests' sources by name. Of a static program the library is not a part. On 64-bit machines `time64` is the same again.
fn nptl_tests(source: &Path) -> BTreeMap<String, PathBuf> {
    let folders = ["nptl", "sysdeps/pthread"].map(|folder| std::fs::read_dir(source.join(folder)).unwrap());
    let files = folders.into_iter().flatten().flatten().map(|entry| entry.path());
    let named = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".c")?.to_owned();
        let kind = name.strip_prefix("tst-")?;
        let wanted = NPTL.iter().any(|begin| kind.starts_with(begin));
        let part = ["-static", "-time64", "-common", "-self-cleanup", "aux"].iter().any(|end| name.ends_with(end));
        (wanted && !part).then_some((name, path))
    });
    named.collect()
}

/// Does this with each item, eight at a time: most of these tests sleep.
fn each<T: Sync, R: Send>(items: &[T], body: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
                    let result = body(item);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Builds them against this machine's glibc. Returns the programs that there are, and the names of those that cannot be built so:
/// they need what only glibc's own build has.
fn build_nptl(source: &Path, place: &Path) -> (Vec<(String, PathBuf)>, Vec<String>) {
    let headers = place.join("headers");
    std::fs::create_dir(&headers).unwrap();
    // What glibc's configuration would say is not asked for. The tests that want the other one need nothing from it.
    for name in ["config.h", "pthreadP.h"] {
        std::fs::write(headers.join(name), "").unwrap();
    }
    let cc = |folder: &Path| {
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O2", "-w", "-pthread", "-D_GNU_SOURCE", "-DTIMEOUTFACTOR=1"]).arg("-I").arg(&headers);
        // Behind the system's: these headers are of the same names, and not for programs.
        for folder in [
            folder,
            source,
            &source.join("support"),
            &source.join("nptl"),
            &source.join("sysdeps/pthread"),
            &source.join("include"),
        ] {
            cc.arg("-idirafter").arg(folder);
        }
        cc
    };
    let threads = std::fs::read_dir(source.join("support")).unwrap().flatten();
    let threads = threads.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".c").map(String::from));
    let threads = threads.filter(|name| name.starts_with("xpthread_"));
    let files = SUPPORT.split_ascii_whitespace().map(String::from).chain(threads);
    let mut unit: String = files.map(|name| format!("#include <support/{name}.c>\n")).collect();
    // The last one has a variable of a name that another one has.
    unit += "#define test_dir test_dir_of_temp_file\n#include <support/temp_file.c>\n";
    std::fs::write(place.join("support.c"), unit).unwrap();
    let paths = "SRCDIR OBJDIR OBJDIR_ELF_LDSO INSTDIR LIBDIR BINDIR SBINDIR SLIBDIR ROOTSBINDIR COMPLOCALEDIR";
    let paths = paths.split(' ').map(|name| format!("-D{name}_PATH=\"/\""));
    let support = place.join("support.o");
    must(cc(place).args(paths).arg("-c").arg(place.join("support.c")).arg("-o").arg(&support));

    let tests: Vec<_> = nptl_tests(source).into_iter().collect();
    let built = each(&tests, |(name, file)| {
        let mut cc = cc(file.parent().unwrap());
        // As glibc's Makefiles have it.
        if name.contains("cancelx") || name.contains("cleanupx") {
            cc.args(["-fexceptions", "-fasynchronous-unwind-tables"]);
        }
        if ["tst-cleanup2", "tst-cleanupx2"].contains(&&**name) {
            cc.arg("-fno-builtin");
        }
        let program = place.join(name);
        let done = output(cc.arg(file).arg(&support).arg("-o").arg(&program)).status.success();
        (name.clone(), program, done)
    });
    let (done, not) = built.into_iter().partition::<Vec<_>, _>(|(.., done)| *done);
    let mut not: Vec<_> = not.into_iter().map(|(name, ..)| name).collect();
    not.sort();
    (done.into_iter().map(|(name, program, _)| (name, program)).collect(), not)
}

/// How one of them ends in this way: its driver ends a test that takes too long. It may have files in this folder.
fn nptl_ends(way: Option<&str>, name: &str, program: &Path, folder: &Path) -> ExitStatus {
    let mut test = in_way(way, program);
    match name {
        "tst-cancel7" | "tst-cancelx7" => drop(test.arg("--command").arg(format!("exec {}", program.display()))),
        // A million otherwise, which takes minutes.
        "tst-mutex10" => drop(test.args(["--iterations", "2000"])),
        _ => (),
    }
    test.current_dir(folder).env("TIMEOUTFACTOR", "2");
    test.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

/// Of glibc 2.36: what needs glibc's own build, and what fails alone too, where machines are slow or always.
const NOT_BUILT: [&str; 5] = ["tst-cancel25", "tst-cleanup4", "tst-cleanupx4", "tst-rwlock19", "tst-rwlock20"];
const FAIL_ALONE: [&str; 2] = ["tst-cancelx1", "tst-robust-fork"];

/// The locks' own tests, by those who wrote them. What fails alone has to fail with the library as well.
fn nptl() {
    let source = glibc_source().expect("sources");
    let place = folder("unmodified-nptl");
    let (programs, not_built) = build_nptl(&source, &place);
    let folders = ["alone", "aside", "asking"].map(|name| place.join(name));
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
        // Some tests open a Makefile in their working directory; glibc's build has one.
        std::fs::write(folder.join("Makefile"), "all:\n".repeat(1000)).unwrap();
    }
    libinvar();
    let ends = each(&programs, |(name, program)| {
        // They measure time, and one may fail on a busy machine. So one that ends otherwise is tried again; then it has to pass in
        // each way, since a fault of the library that does not always show could fail in all ways by chance.
        let mut tries = Vec::new();
        loop {
            let ends = [0, 1, 2].map(|way| nptl_ends(WAYS[way], name, program, &folders[way]));
            let agree = ends.iter().all(|end| *end == ends[0]) && (tries.is_empty() || ends[0].success());
            tries.push(ends);
            if agree || tries.len() == 4 {
                return (name.clone(), tries, agree);
            }
        }
    });
    let mut passed = 0;
    let (mut fail, mut again, mut differ) = (Vec::new(), Vec::new(), Vec::new());
    for (name, tries, agree) in ends {
        let is_again = tries.len() > 1;
        match tries.last().unwrap()[0] {
            _ if !agree => differ.push(format!("{name} {tries:?}")),
            end if end.success() => passed += 1,
            _ => fail.push(name.clone()),
        }
        if agree && is_again {
            again.push(name);
        }
    }
    for list in [&mut fail, &mut again, &mut differ] {
        list.sort();
    }
    println!("{passed} pass alone, and in both ways with the library; {} differ", differ.len());
    println!("fail in all ways: {fail:?}\ntried more than once: {again:?}\ncannot be built: {not_built:?}");
    assert!(differ.is_empty(), "{differ:#?}");
    if glibc_version() == "2.36" {
        assert_eq!(not_built, NOT_BUILT);
        assert!(fail.iter().all(|name| FAIL_ALONE.contains(&&**name)), "{fail:?}");
    }
    assert!(passed >= 170, "{passed}");

    // And the library was there.
    let (_, program) = programs.iter().find(|(name, _)| name == "tst-mutex1").expect("a test");
    let said = must(in_way(WAYS[2], program).env("INVAR_REPORT", "stderr"));
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("key preload_mutex = on"), "{said}");
}
