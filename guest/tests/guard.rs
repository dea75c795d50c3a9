//! Once the process is guarded nobody in it can switch the extension off, and slices are granted as before; where it cannot
//! be, nothing is changed.

use crate::kernels::{Kernel, assert_given_up, facts, job};
use crate::libcs::{Libc, UNREGISTERED};
use crate::programs::LIBRARY;
use crate::test;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::glibc::GLIBCS;
use invar_guest::image::Image;
use invar_guest::machine::Run;
use libtest_mimic::Trial;

pub const SETTING: (&str, &str) = ("INVAR_GUARD", "1");

/// Who asks for the guard.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Setting,
    Call,
}

/// Who registers the threads' areas: this program, libc, and both in one file.
fn cells(kernel: Kernel) -> Vec<(By, Libc)> {
    let [oldest, middle, _] = &GLIBCS;
    let by_setting = [Libc::Unregistered(oldest), Libc::Plain(middle), Libc::Static].map(|libc| (By::Setting, libc));
    let all = [&by_setting[..], &[(By::Call, Libc::Unregistered(oldest))]].concat();
    if kernel.grants() { all } else { vec![] }
}

fn name(by: By, libc: Libc) -> String {
    format!("guarded by {}, {}", if by == By::Setting { "setting" } else { "call" }, libc.name())
}

const NOBODY: &str = "guarded without privileges";
const IN_VAIN: &str = "a thread with a filter of its own is in the guard's way";
const FORCED: &str = "forced slices are not guarded";
const ABSENT: &str = "absent slices are not guarded";
const PRELOAD: &str = "guarded by a library before the program";

/// Filters that stand in the way at load, and what the evidence says.
const BEFORE: [(&str, &str); 2] = [
    ("seccomp=1", "; not guarded: refused with errno 1"),
    ("seccomp=kill", "; not guarded: a seccomp filter kills who installs another"),
];

fn before(rule: &str) -> String {
    format!("not guarded under a filter: {rule}")
}

pub fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    let mut add = |name: String, kernel: Kernel, libc: Option<Libc>, body: fn(&'static Run, &str)| {
        let missing = kernel.missing().or_else(|| libc.and_then(Libc::missing));
        tests.push(test(format!("{name}, kernel {}", kernel.name()), missing, move || body(kernel.run(), &name)));
    };
    for kernel in Kernel::ALL {
        for (by, libc) in cells(kernel) {
            let body = if by == By::Setting { guarded_by_setting } else { guarded_by_call };
            add(name(by, libc), kernel, Some(libc), body);
        }
        if kernel.grants() {
            add(NOBODY.into(), kernel, None, guarded_without_privileges);
            add(IN_VAIN.into(), kernel, None, in_vain);
            add(FORCED.into(), kernel, None, not_guarded);
            add(PRELOAD.into(), kernel, None, guarded_by_a_library);
            for (rule, _) in BEFORE {
                add(before(rule), kernel, None, not_guarded_under_a_filter);
            }
        } else {
            add(ABSENT.into(), kernel, None, not_guarded);
        }
    }
    tests
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let set = [UNREGISTERED, SETTING];
    if !kernel.grants() {
        return Ok(vec![job(ABSENT, &set, &["/bin/guard", "nobody"])]);
    }
    let mut jobs = vec![
        job(NOBODY, &[UNREGISTERED], &["/bin/guard", "nobody"]),
        job(IN_VAIN, &[UNREGISTERED], &["/bin/guard", "in-vain"]),
        job(FORCED, &[UNREGISTERED, SETTING, ("INVAR_KEYS", "slice=force")], &["/bin/guard", "nobody"]),
        job(PRELOAD, &[UNREGISTERED, SETTING, ("LD_PRELOAD", LIBRARY)], &["/bin/sections"]),
    ];
    let set_behind = format!("{}={}", SETTING.0, SETTING.1);
    let confined = |rule| ["/bin/confine", rule, "--", &*set_behind, "/bin/sections"];
    jobs.extend(BEFORE.map(|(rule, _)| job(before(rule), &[UNREGISTERED], &confined(rule))));
    for (by, libc) in cells(kernel).into_iter().filter(|(_, libc)| libc.missing().is_none()) {
        // One file with its libc opens no library.
        let library = if matches!(libc, Libc::Static) { None } else { Some(LIBRARY) };
        let words: Vec<_> = ["guard"].into_iter().chain(library).collect();
        let mut job = libc.job(name(by, libc), &words, image)?;
        let setting = if by == By::Setting { Some(SETTING) } else { None };
        // The one that is linked statically registers too small areas here, unless it is told not to.
        let unregistered = if matches!(libc, Libc::Static) { Some(UNREGISTERED) } else { None };
        job.environment
            .extend(setting.into_iter().chain(unregistered).map(|(name, value)| (name.into(), value.into())));
        jobs.push(job);
    }
    Ok(jobs)
}

pub fn guarded_by_setting(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    assert!(facts["evidence"].starts_with("available") && facts["evidence"].ends_with("; guarded"), "{facts:?}");
    assert_eq!(facts["filters at load"], "1");
    assert_eq!(facts["executed: evidence"], facts["evidence"]);
    guarded(run, name);
}

pub fn guarded_by_call(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    assert!(facts["evidence"].starts_with("available") && !facts["evidence"].contains("guarded"), "{facts:?}");
    assert_eq!(facts["filters at load"], "0");
    guarded(run, name);
}

fn guarded(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    let expected = [
        ("enabled before", "true"),
        ("guard", "Ok(())"),
        ("filters", "1"),
        ("enabled after", "true"),
        ("guard again", "Ok(())"),
        ("filters after all", "1"),
        // This one, two bystanders, the hostile one itself.
        ("hostile thread, refused", "4"),
        ("hostile thread, this thread enabled", "true"),
        ("hostile thread, others enabled", "2"),
        ("a later thread", "enrolled Ok(()), switched off true to true, -1"),
        ("granted", "4"),
        ("child after fork", "switched off true to true, -1, granted 4"),
        ("child ended with", "0"),
        // Enrolled by its own runtime, under the filter.
        ("executed: filters at load", "1"),
        ("executed: executed, switched off", "true to true, -1"),
        ("executed program ended with", "exit status: 0"),
    ];
    let all: Vec<_> = expected.iter().map(|(name, _)| (*name, *facts.get(name).unwrap_or(&"nothing"))).collect();
    assert_eq!(all, expected);
    if !name.contains("static") {
        assert_eq!(facts["guard of a library"], "Ok(())");
    }
    let counted = run.outcomes[name].counts.expect("counts");
    assert_given_up(&counted, 8, counted.yielded);
}

fn guarded_without_privileges(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    let keys = ["no_new_privs before", "guard", "no_new_privs after", "filters", "switched off"];
    assert_eq!(keys.map(|key| facts[key]), ["0", "Ok(())", "1", "1", "true to true, -1"]);
}

fn in_vain(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    assert_eq!(facts["guard"], "Err(OtherFilters(of the other thread))");
    let keys = ["filters", "no_new_privs", "switched off", "enrolled again", "granted"];
    assert_eq!(keys.map(|key| facts[key]), ["0", "0", "true to false, 0", "Ok(())", "4"]);
}

fn not_guarded(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    assert!(!facts["evidence"].contains("guarded"), "{}", facts["evidence"]);
    let keys = ["filters at load", "guard", "no_new_privs after", "filters"];
    assert_eq!(keys.map(|key| facts[key]), ["0", "Err(Absent)", "0", "0"]);
}

fn guarded_by_a_library(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    assert!(facts["evidence"].ends_with("; guarded"), "{}", facts["evidence"]);
    assert_eq!((facts["slice"], facts["filters"]), ("on", "1"));
    assert_eq!((facts["grants"], facts["yields"]), (facts["sections"], facts["sections"]));
}

fn not_guarded_under_a_filter(run: &'static Run, name: &str) {
    let facts = facts(run, name);
    let (_, evidence) = BEFORE.iter().find(|(rule, _)| name == before(rule)).expect("a rule");
    assert!(facts["evidence"].ends_with(evidence), "{}", facts["evidence"]);
    assert_eq!((facts["slice"], facts["filters"]), ("on", "1"));
    assert_eq!((facts["grants"], facts["yields"]), (facts["sections"], facts["sections"]));
}
