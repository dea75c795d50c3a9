//! Programs of the distribution, with libinvar-preload in front of them: each says the same with it as without, on a machine that
//! grants nothing and with requests. They take minutes, so that `INVAR_TEST_PROGRAMS=1` has them run. `tests/preload.rs` has the
//! quick ones, and docs/run.md the table.

mod common;

use common::c::{libinvar, missing};
use common::{Temporary, command, must, output, run, scratch, sites, test};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let needs = |tools: &[&str]| {
        let wanted = std::env::var_os("INVAR_TEST_PROGRAMS").is_some();
        let not_wanted =
            (!wanted).then(|| "runs large programs, for minutes: INVAR_TEST_PROGRAMS=1 has it done".into());
        let without = ["make", "cc"].iter().chain(tools).find_map(|tool| missing(tool));
        not_wanted.or_else(sites).or(without)
    };
    run([
        test("git", needs(&["git"]), git),
        test("python3's own tests", needs(&["python3"]).or_else(no_python_tests), python),
        test("a Java virtual machine", needs(&["javac"]), java),
        test("PostgreSQL", needs(&[]).or_else(no_postgresql), postgresql),
    ])
}

/// Nothing in front; the library where nothing is granted; and where requests are made, though nobody looks at them.
const WAYS: [Option<&str>; 3] = [None, Some("slice=off"), Some("slice=force")];

/// Runs this in each way: all must say the same, which is returned.
fn the_same_each_way(what: impl Fn(&dyn Fn(&Path) -> Command) -> String) -> String {
    let library = libinvar().join("libinvar-preload.so.0");
    let says = |way: Option<&str>| {
        what(&|program| {
            let mut command = command(program);
            if let Some(keys) = way {
                command.env("LD_PRELOAD", &library).env("INVAR_KEYS", keys);
            }
            command
        })
    };
    let alone = says(WAYS[0]);
    for way in &WAYS[1..] {
        assert_eq!(says(*way), alone, "{way:?}");
    }
    alone
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
