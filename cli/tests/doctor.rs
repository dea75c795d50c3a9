//! `invar doctor`: each way in which the time slice extension can be missing has a cause and a remedy of its own.

mod common;

use common::{ANYWHERE, INVAR, command, invar, run, test};
use invar::Origin;
use invar_tool::doctor::{BEGINNINGS, Cause, Diagnosis, Facts, Setting, diagnose};
use std::process::ExitCode;

fn main() -> ExitCode {
    run([
        test("five lines, and JSON that says the same", ANYWHERE, five_lines),
        test("settings are named as the cause", ANYWHERE, settings_are_named),
        test("each cell of the matrix has its remedy", ANYWHERE, cells_of_the_matrix),
        test("filters, owners and others have theirs", ANYWHERE, other_causes),
        test("what the probe says is known here", ANYWHERE, the_probes_words),
        test("facts are read from files", ANYWHERE, facts_from_files),
        test("and from a packed configuration", ANYWHERE, facts_from_a_packed_file),
        test("where nothing can be read, that is said", ANYWHERE, facts_from_nothing),
    ])
}

fn five_lines() {
    let document = invar(["doctor", "--json"]).json();
    let text = invar(["doctor"]).text();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("   ")).collect();
    assert_eq!(lines.len(), 5, "{text}");
    let available = document["available"].as_bool().unwrap();
    assert_eq!(lines[0], format!("time slice extension: {}", if available { "on" } else { "off" }));
    let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for field in ["evidence", "kernel", "process", "remedy"] {
        let value = document[field].as_str().unwrap();
        assert!(!value.is_empty() && whole.contains(value), "{field}: {text}");
    }
    // As the runtime decided it.
    let keys = invar(["probe", "--json"]).json();
    assert_eq!(keys["keys"][0]["evidence"], document["evidence"]);
}

fn settings_are_named() {
    let cause = |name: &str, value: &str| {
        let output = command(INVAR).args(["doctor", "--json"]).env(name, value).output().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["available"], false);
        document["cause"].as_str().unwrap().to_owned()
    };
    assert_eq!(cause("INVAR_KEYS", "slice=off"), "setting");
    assert_eq!(cause("INVAR", "off"), "setting");
    if cfg!(all(target_arch = "x86_64", not(invar_portable))) {
        assert_eq!(cause("INVAR_KEYS", "slice=force"), "forced");
    }
}

/// A machine of which nothing special is known.
fn facts() -> Facts {
    Facts {
        release: "7.3.4".into(),
        config: Setting::Unknown,
        boot: Setting::Not,
        libc: "glibc 2.41".into(),
        registered: Some(33),
        tunable: Setting::Not,
        tunable_of_system: Setting::Unknown,
        is_final: false,
        is_filtered: false,
        is_container: false,
    }
}

/// The cause, and these words in the remedy.
fn assert_told(diagnosis: &Diagnosis, cause: Cause, words: &str) {
    assert_eq!(diagnosis.cause(), cause, "{diagnosis:?}");
    assert!(diagnosis.remedy().contains(words), "{diagnosis:?}");
}

fn told(evidence: &str, facts: &Facts, cause: Cause, words: &str) {
    assert_told(
        &diagnose(evidence.starts_with("available"), Some((Origin::Probe, evidence.into())), facts),
        cause,
        words,
    );
}

/// What the probe says on four kernels with six C libraries, as `guest/tests/matrix.rs` sees it there.
fn cells_of_the_matrix() {
    const AVAILABLE: &str =
        "available: prctl 79 succeeded and ENABLED reads back; area of libc at thread pointer - 160";
    const COMPILED_OUT: &str =
        "kernel compiled without the extension: prctl 79 gives 524 and system call 471 ENOSYS; needs ...";
    const OFF: &str =
        "off at boot: prctl 79 gives 524 on a kernel that has the extension; boot without rseq_slice_ext=0";
    const OFF_UNREGISTERED: &str =
        "off at boot: registered an area of its own, and prctl 79 still refuses; boot without rseq_slice_ext=0";
    const SMALL: &str = "libc registered 32 bytes (__rseq_size is 20): use glibc 2.41 or newer, or start with ...";

    let off = Facts { boot: Setting::Is("0".into()), ..facts() };
    let compiled_out = Facts { config: Setting::Not, ..facts() };
    // New enough, or registering nothing (an old one with rseq=0, musl): the kernel alone decides.
    told(AVAILABLE, &facts(), Cause::Available, "nothing");
    told(OFF, &off, Cause::Boot, "take rseq_slice_ext=0 out of the boot line");
    told(OFF_UNREGISTERED, &off, Cause::Boot, "take rseq_slice_ext=0 out of the boot line");
    told(COMPILED_OUT, &compiled_out, Cause::Config, "CONFIG_RSEQ_SLICE_EXTENSION=y");
    // Too old: its area is in the way, on a kernel that is on, strict or off.
    told(SMALL, &facts(), Cause::Libc, "GLIBC_TUNABLES=glibc.pthread.rseq=0");
    told(SMALL, &facts(), Cause::Libc, "glibc 2.41");
    // An old kernel.
    let old = Facts { release: "6.12.0".into(), ..facts() };
    let field = "kernel without the field: AT_RSEQ_FEATURE_SIZE is 28, 33 needed; needs ...";
    told(field, &old, Cause::Kernel, "boot Linux 7.0 or newer");
    told(field, &facts(), Cause::Kernel, "CONFIG_RSEQ=y");
    // The boot line of a container's host may not be readable, and the option can be built in.
    told(OFF, &facts(), Cause::Boot, "CONFIG_CMDLINE");
}

fn other_causes() {
    let refused = "refused by a seccomp filter: prctl 79 gives errno 1; allow prctl 79 and system call 471";
    told(refused, &facts(), Cause::Filter, "the service's");
    told(refused, &Facts { is_container: true, ..facts() }, Cause::Filter, "the container's seccomp filter");
    let killed = "refused by a seccomp filter: prctl 79 kills; allow prctl 79 and system call 471";
    told(killed, &facts(), Cause::Filter, "allow prctl 79");
    let untried = "a seccomp filter stands, and no child could be made to try prctl 79 under it: errno 11";
    told(untried, &facts(), Cause::Filter, "allow prctl 79");
    let owned = "area owned by somebody else, such as tcmalloc's per-CPU caches; only one owner is possible: ...";
    told(owned, &facts(), Cause::Owner, "glibc.pthread.rseq=1");
    let system = Facts { tunable_of_system: Setting::Is("0".into()), ..facts() };
    told(owned, &system, Cause::Owner, "start with GLIBC_TUNABLES");
    told(owned, &Facts { is_final: true, ..system }, Cause::Owner, "out of /etc/tunables.conf");
    // A filter may say that the kernel has no such call.
    let said = "kernel compiled without the extension: ... unless it is the seccomp filter that says ENOSYS";
    let has = Facts { config: Setting::Is("y".into()), is_filtered: true, ..facts() };
    told(said, &has, Cause::Config, "let the seccomp filter allow");
    let late = "available: ...; a seccomp filter refuses 471: yields by sched_yield";
    told(late, &facts(), Cause::Available, "system call 471");
    let unused = "the kernel has the extension, and invar makes no requests on this architecture";
    told(unused, &facts(), Cause::Architecture, "x86-64");
    let none_yet = "kernel compiled without the extension: ...; this kernel's architecture has none yet (Linux 7.3)";
    told(none_yet, &Facts { config: Setting::Not, ..facts() }, Cause::Config, "no kernel of this architecture");
    told("something new", &facts(), Cause::Other, "INVAR_REPORT");
    assert_told(&diagnose(false, None, &facts()), Cause::Other, "INVAR=off");
}

/// No evidence of the probe is without a cause, and no cause waits for what the probe never says.
fn the_probes_words() {
    let probe = include_str!("../../src/timeslice/probe.rs").split("mod tests {").next().unwrap();
    for (beginning, _) in BEGINNINGS {
        assert!(probe.contains(&format!("\"{beginning}")), "the probe never says {beginning:?}");
    }
    // Texts that go on what another one began.
    const CONTINUED: [&str; 2] = ["link invar ", "turn that off"];
    let mut known = 0;
    for text in probe.split("text(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')) {
        if text.starts_with(|first: char| first.is_alphabetic()) && !CONTINUED.iter().any(|next| text.starts_with(next))
        {
            let is_known = BEGINNINGS.iter().any(|(beginning, _)| text.starts_with(beginning));
            assert!(is_known, "no cause for {:?}", text.split('"').next());
            known += 1;
        }
    }
    assert!(known >= BEGINNINGS.len(), "{known}");
}

/// A folder with these files in it.
fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

fn facts_from_files() {
    let root = root(&[
        ("proc/sys/kernel/osrelease", b"7.0.1-test\n"),
        ("proc/cmdline", b"quiet rseq_slice_ext=1 ro rseq_slice_ext=0\n"),
        ("boot/config-7.0.1-test", b"CONFIG_RSEQ=y\nCONFIG_RSEQ_SLICE_EXTENSION=y\n"),
        ("boot/config-6.1.0", b"CONFIG_RSEQ=y\n"),
        ("etc/tunables.conf", b"glibc.malloc.tcache_count=0\n- glibc.pthread.rseq = 0\n@glibc.pthread.rseq=1\n[prog:x]\nglibc.pthread.rseq=1"),
        ("proc/self/status", b"Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
        ("run/.containerenv", b""),
    ]);
    let facts = Facts::of_files(root.path());
    assert_eq!(facts.release, "7.0.1-test");
    assert_eq!((facts.config, facts.boot), (Setting::Is("y".into()), Setting::Is("0".into())));
    assert_eq!((facts.tunable_of_system, facts.is_final), (Setting::Is("0".into()), true));
    assert!(facts.is_filtered && facts.is_container);
    // The last line counts; one that is commented out does not.
    for (text, expected) in [
        ("glibc.pthread.rseq=1\noverridable glibc.pthread.rseq=0\n", (Setting::Is("0".into()), false)),
        ("nonoverridable glibc.pthread.rseq=0\n#glibc.pthread.rseq=1\n", (Setting::Is("0".into()), true)),
        ("glibc.pthread.rseq_more=0\nmore.glibc.malloc.check=1\n", (Setting::Not, false)),
    ] {
        let facts = Facts::of_files(self::root(&[("etc/tunables.conf", text.as_bytes())]).path());
        assert_eq!((facts.tunable_of_system, facts.is_final), expected, "{text}");
    }
}

fn facts_from_a_packed_file() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"# CONFIG_RSEQ_SLICE_EXTENSION is not set\n").unwrap();
    let packed = packed.finish().unwrap();
    let there =
        root(&[("proc/sys/kernel/osrelease", b"7.0.1\n"), ("proc/config.gz", &packed), ("proc/cmdline", b"ro")]);
    let facts = Facts::of_files(there.path());
    assert_eq!((facts.config, facts.boot), (Setting::Not, Setting::Not));
    // Half of it.
    let cut = root(&[("proc/config.gz", &packed[..packed.len() / 2])]);
    assert_eq!(Facts::of_files(cut.path()).config, Setting::Unknown);
}

fn facts_from_nothing() {
    let root = root(&[]);
    let facts = Facts::of_files(root.path());
    assert_eq!((&facts.config, &facts.boot), (&Setting::Unknown, &Setting::Unknown));
    assert!(!facts.is_filtered && !facts.is_container);
    let mut text = Vec::new();
    diagnose(false, None, &facts).print(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for said in ["cannot be read", "its boot line cannot be read", "no /etc/tunables.conf", "nothing has decided"] {
        assert!(text.contains(said), "{text}");
    }
}
