//! Places that only another kernel than the host's has: what may be written through `/proc/PID/mem`, text that can be executed and not
//! read, a file system that lies on another machine, SELinux. What comes of each stands in `docs/places.md`.

use crate::kernels::{Kernel, facts, job};
use crate::programs::{image, program};
use crate::test;
use invar_guest::Result;
use invar_guest::console::{End, Job};
use invar_guest::image::Image;
use invar_guest::machine::{Run, Time};
use libtest_mimic::Trial;
use std::path::Path;
use std::sync::OnceLock;

/// The values of `proc_mem.force_override` (Linux, Documentation/admin-guide/kernel-parameters.txt), and whether a program may write to
/// its own memory that is read-only.
const OVERRIDES: [(&str, bool); 3] = [("always", true), ("ptrace", false), ("never", false)];

/// Under `PR_SET_MDWE` or not; the writer that is wanted; and the one that is used, or the error number.
const WRITERS: [(bool, &str, std::result::Result<&str, &str>); 6] = [
    (false, "auto", Ok("swap")),
    (false, "swap", Ok("swap")),
    (false, "memfd", Ok("memfd")),
    (true, "auto", Ok("memfd")),
    (true, "swap", Err("13")),
    (true, "memfd", Ok("memfd")),
];

const PROGRAM: &str = "/bin/places";
const EXECUTED: &str = "/bin/places-executed";
const EXECUTED_ONLY: &str = "text that can be executed only";
const SHARED: &str = "a file on 9p";

pub fn tests() -> Vec<Trial> {
    let overrides = (0..OVERRIDES.len()).map(|at| {
        let name = format!("proc_mem.force_override={}, with and without PR_SET_MDWE", OVERRIDES[at].0);
        test(name, Kernel::On.missing(), move || overridden(at))
    });
    let executed = [Kernel::On, Kernel::CompiledOut].map(|kernel| {
        let name = format!("{EXECUTED_ONLY}, kernel {}", kernel.name());
        test(name, kernel.missing(), move || executed_only(kernel))
    });
    let others = [
        test(SHARED, Kernel::On.missing(), on_another_machine),
        test("a memory cgroup of version 2 at its limit", Kernel::CompiledOut.missing(), at_its_limit),
        test("SELinux, with fewer permissions each time", Kernel::CompiledOut.missing().or_else(no_secilc), selinux),
    ];
    overrides.chain(executed).chain(others).collect()
}

/// Jobs for the boots that serve all tests.
pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    if !matches!(kernel, Kernel::On | Kernel::CompiledOut) {
        return Ok(vec![]);
    }
    static EXECUTABLE: OnceLock<tempfile::TempPath> = OnceLock::new();
    let bytes = executable_only(std::fs::read(program("places")?)?);
    let file = tempfile::NamedTempFile::new()?.into_temp_path();
    std::fs::write(&file, bytes)?;
    image.file(EXECUTED.into(), EXECUTABLE.get_or_init(|| file));
    Ok(vec![job(EXECUTED_ONLY, &[], &[EXECUTED])])
}

/// With a segment of text that the loader maps without the right to read.
fn executable_only(mut bytes: Vec<u8>) -> Vec<u8> {
    const PT_LOAD: u32 = 1;
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    // ELF64: e_phoff at 32, e_phnum at 56; headers of 56 bytes, which begin with type and flags: 1 is to execute, 4 to read.
    let (start, count) = (word(&bytes, 32) as usize, usize::from(bytes[56]));
    let text = (0..count).map(|number| start + number * 56);
    let text = text.clone().find(|&at| (word(&bytes, at), word(&bytes, at + 4)) == (PT_LOAD, 5)).expect("text");
    bytes[text + 4..text + 8].copy_from_slice(&1_u32.to_le_bytes());
    bytes
}

fn name(mdwe: bool, writer: &str) -> String {
    format!("{writer}{}", if mdwe { " under PR_SET_MDWE" } else { "" })
}

/// Nothing is written through `/proc/self/mem`, so whatever is allowed there changes nothing.
fn overridden(at: usize) {
    static RUNS: [OnceLock<Run>; OVERRIDES.len()] = [const { OnceLock::new() }; OVERRIDES.len()];
    let (value, is_forced) = OVERRIDES[at];
    let run = RUNS[at].get_or_init(|| {
        let mut machine = Kernel::On.machine();
        machine.time = Time::Host;
        machine.line = format!("proc_mem.force_override={value}");
        let jobs = WRITERS.map(|(mdwe, writer, _)| {
            let (writer_is, rules): (_, &[&str]) =
                (format!("INVAR_WRITER={writer}"), if mdwe { &["mdwe=set"] } else { &[] });
            let words = [&["/bin/confine"], rules, &["--", &writer_is, PROGRAM]].concat();
            job(name(mdwe, writer), &[], &words)
        });
        machine.run(&image().unwrap(), &jobs).unwrap_or_else(|error| panic!("{error}"))
    });
    for (mdwe, writer, then) in WRITERS {
        let facts = facts(run, &name(mdwe, writer));
        let said = format!("{}: {facts:#?}", name(mdwe, writer));
        assert_eq!(facts["right"], "true", "{said}");
        assert_eq!(facts["forced"], is_forced.to_string(), "{said}");
        match then {
            Ok(used) => assert_eq!((facts["bound"], facts["writers"]), (facts["sites"], used), "{said}"),
            Err(errno) => assert_eq!((facts["bound"], facts["detail"]), ("0", errno), "{said}"),
        }
    }
}

/// With protection keys the CPU tells one from the other; without them text can be read whenever it can be executed.
fn executed_only(kernel: Kernel) {
    let facts = facts(kernel.run(), EXECUTED_ONLY);
    let said = format!("{facts:#?}");
    assert_eq!(facts["right"], "true", "{said}");
    if kernel == Kernel::CompiledOut {
        assert_eq!((facts["bound"], facts["reason"]), ("0", "there are sites in text that cannot be read"), "{said}");
    } else {
        assert_eq!((facts["bound"], facts["writers"]), (facts["sites"], "swap"), "{said}");
    }
}

/// 9p, which reads pages from another machine as NFS does.
fn on_another_machine() {
    static RUN: OnceLock<Run> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let program = program("places").unwrap();
        let mut machine = Kernel::On.machine();
        machine.time = Time::Host;
        machine.share = program.parent().map(Path::to_owned);
        let jobs = [job(SHARED, &[], &["/bin/confine", "share=/host", "--", "/host/places"])];
        machine.run(&image().unwrap(), &jobs).unwrap_or_else(|error| panic!("{error}"))
    });
    let facts = facts(run, SHARED);
    let said = format!("{facts:#?}");
    assert_eq!((facts["right"], facts["bound"], facts["writers"]), ("true", facts["sites"], "swap"), "{said}");
}

/// A process that has no memory is killed by the kernel, wherever it writes; one that lives is bound, and right.
fn at_its_limit() {
    static RUN: OnceLock<Run> = OnceLock::new();
    let limits: Vec<_> = (1..=12).map(|times| (times * (128 << 10)).to_string()).collect();
    let run = RUN.get_or_init(|| {
        let job = |limit: &String| job(limit, &[], &["/bin/confine", &format!("memory={limit}"), "--", PROGRAM]);
        let jobs: Vec<_> = limits.iter().map(job).collect();
        Kernel::CompiledOut.machine().run(&image().unwrap(), &jobs).unwrap_or_else(|error| panic!("{error}"))
    });
    let (mut killed, mut bound) = (0, 0);
    for limit in &limits {
        if run.outcome(limit).unwrap().end == End::Signal(9) {
            killed += 1;
            continue;
        }
        let facts = facts(run, limit);
        let said = format!("{limit} bytes: {facts:#?}");
        assert_eq!((facts["right"], facts["bound"], facts["writers"]), ("true", facts["sites"], "swap"), "{said}");
        bound += 1;
    }
    assert!(killed > 0 && bound > 0, "killed {killed} times, bound {bound} times");
}

/// A policy with one type for all but files on tmpfs, which a memfd is. What it does not know is allowed.
const POLICY: &str = r#"
(handleunknown allow)
(mls false)
(class process (transition dyntransition execmem))
(class file (execute execmod))
(classorder (process file))
(sid kernel)
(sid security)
(sid unlabeled)
(sidorder (kernel security unlabeled))
(user u)
(role r)
(type own)
(type memory)
(roletype r own)
(roletype r memory)
(userrole u r)
(sensitivity s0)
(sensitivityorder (s0))
(userlevel u (s0))
(userrange u ((s0) (s0)))
(sidcontext kernel (u r own ((s0) (s0))))
(sidcontext security (u r own ((s0) (s0))))
(sidcontext unlabeled (u r own ((s0) (s0))))
(fsuse trans tmpfs (u r memory ((s0) (s0))))
(allow own self (process (transition dyntransition)))
(allow own own (file (execute)))
"#;

/// What else is allowed, and what comes of it: the writer, or an error number. Each time one permission less.
const PERMISSIONS: [(&str, std::result::Result<&str, &str>); 4] = [
    ("(allow own own (file (execmod)))", Ok("swap")),
    ("(allow own memory (file (execute)))", Ok("memfd")),
    ("(allow own self (process (execmem)))", Ok("mprotect")),
    ("", Err("13")),
];

/// Why no policy can be compiled here.
fn no_secilc() -> Option<String> {
    std::process::Command::new("secilc").arg("--help").output().err().map(|error| format!("no secilc: {error}"))
}

fn selinux() {
    static RUN: OnceLock<Run> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: String| folder.path().join(name);
        let mut image = image().unwrap();
        let jobs = (0..PERMISSIONS.len()).map(|at| {
            let more: Vec<_> = PERMISSIONS[at..].iter().map(|(rule, _)| *rule).collect();
            let (text, policy) = (path(format!("{at}.cil")), path(format!("{at}.policy")));
            std::fs::write(&text, format!("{POLICY}{}\n", more.join("\n"))).unwrap();
            let mut secilc = std::process::Command::new("secilc");
            let output = secilc.args(["-f", "/dev/null", "-o"]).arg(&policy).arg(&text).output().expect("secilc");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            image.file(format!("/policies/{at}"), &policy);
            job(at.to_string(), &[], &["/bin/confine", &format!("selinux=/policies/{at}"), "--", PROGRAM])
        });
        let jobs: Vec<_> = jobs.collect();
        let mut machine = Kernel::CompiledOut.machine();
        machine.line = "security=selinux".into();
        machine.run(&image, &jobs).unwrap_or_else(|error| panic!("{error}"))
    });
    for (at, (_, then)) in PERMISSIONS.into_iter().enumerate() {
        let facts = facts(run, &at.to_string());
        let said = format!("{at}: {facts:#?}");
        assert_eq!(facts["right"], "true", "{said}");
        match then {
            Ok(used) => assert_eq!((facts["bound"], facts["writers"]), (facts["sites"], used), "{said}"),
            Err(errno) => assert_eq!((facts["bound"], facts["detail"]), ("0", errno), "{said}"),
        }
    }
}
