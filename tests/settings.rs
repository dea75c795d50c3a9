//! Settings: whatever they are, the program does the same, and says what was decided and why.

mod common;

use common::{ANYWHERE, Build, Tale, Temporary, command, no_setuid, output, run, set_user, sites, tale, test};
use invar::{EXIT_REQUIRED, SETTINGS};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};

fn main() -> ExitCode {
    run([
        test("every setting gives the same results", ANYWHERE, every_setting_gives_the_same_results),
        test("what is counted is said", sites(), what_is_counted_is_said),
        test("unbound sites follow their keys", ANYWHERE, unbound_sites_follow_their_keys),
        test("off decides and binds nothing", ANYWHERE, off_decides_and_binds_nothing),
        test("a probe that fails says why", ANYWHERE, a_probe_that_fails_says_why),
        test("a setting can lower", ANYWHERE, a_setting_can_lower),
        test("a setting cannot raise", ANYWHERE, a_setting_cannot_raise),
        test("a value that a key does not have changes nothing", ANYWHERE, an_unknown_value_changes_nothing),
        test("require ends a program with an unbound site", sites(), require_ends_a_program_with_an_unbound_site),
        test("require ends a program without its extension", sites(), require_ends_a_program_without_its_extension),
        test("require ends a program where nothing can be bound", portable(), require_ends_what_cannot_be_bound),
        test("require lets go what is bound", sites(), require_lets_go_what_is_bound),
        test("help prints the table", ANYWHERE, help_prints_the_table),
        test("the report goes where it is wanted", ANYWHERE, the_report_goes_where_it_is_wanted),
        test("a report that nobody takes harms nobody", ANYWHERE, a_report_that_nobody_takes_harms_nobody),
        test("evidence cannot pass for another line", ANYWHERE, evidence_cannot_pass_for_another_line),
        test("bad settings are named and ignored", ANYWHERE, bad_settings_are_named_and_ignored),
        test("programs with raised privileges take no settings", no_setuid(), raised_privileges_take_no_settings),
    ])
}

fn story(settings: &[(&str, &str)]) -> Tale {
    tale(command(Build::release().program("story")).envs(settings.iter().copied()))
}

fn run_story(settings: &[(&str, &str)]) -> Output {
    output(command(Build::release().program("story")).envs(settings.iter().copied()))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn every_setting_gives_the_same_results() {
    let plain = story(&[]);
    plain.assert_consistent();
    plain.program().assert_bound();
    let settings: &[&[(&str, &str)]] = &[
        &[("INVAR", "off")],
        &[("INVAR", "auto")],
        &[("INVAR_WRITER", "off")],
        &[("INVAR_WRITER", "mem")],
        &[("INVAR_WRITER", "mprotect")],
        &[("INVAR_GUARD", "1")],
        &[("INVAR_KEYS", "slice=off")],
        &[("INVAR_KEYS", "slice=force")],
        &[("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "off")],
        &[("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "mprotect")],
        &[("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", "count")],
        &[("INVAR_KEYS", "story.on=off,story.counted=narrow,cpu.popcnt=off")],
    ];
    for &settings in settings {
        let tale = story(settings);
        tale.assert_consistent();
        assert_eq!(tale.results, plain.results, "{settings:?}");
    }
}

/// Whatever becomes of the file, the program does the same.
fn what_is_counted_is_said() {
    let plain = story(&[]);
    let counted = |slices: &str, settings: &[(&str, &str)]| {
        let tale = story(&[&[("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", slices)], settings].concat());
        tale.assert_consistent();
        assert_eq!(tale.results, plain.results);
        let key = tale.program().key("slice.counting").clone();
        (tale, [key.value, key.origin, key.evidence])
    };
    let own = Temporary::path("profile");
    let path = own.0.to_str().unwrap();
    let (tale, [value, origin, evidence]) = counted("profile", &[("INVAR_PROFILE", path)]);
    assert_eq!([value, origin, evidence], ["profile", "probe", &format!("in {path}")]);
    assert!(tale.program().bound > 0, "branches are bound");
    let profile = std::fs::read(&own.0).unwrap();
    assert_eq!((&profile[..8], profile.len()), (&b"invarsl1"[..], 852_224));
    assert_eq!(std::fs::metadata(&own.0).unwrap().mode() & 0o777, 0o600);

    // A file that is there stays as it is.
    let second = Temporary(format!("{path}.2").into());
    let (_, [.., evidence]) = counted("profile", &[("INVAR_PROFILE", path)]);
    assert_eq!(evidence, format!("in {}", second.0.display()));
    assert_eq!(std::fs::read(&own.0).unwrap(), profile);

    let (_, [value, _, evidence]) = counted("count", &[]);
    assert_eq!([&*value, &*evidence], ["count", "in memory"]);
    let (tale, [value, origin, evidence]) = counted("profile", &[("INVAR_PROFILE", "/proc/none/x")]);
    assert_eq!([&*value, &*origin], ["off", "failed"]);
    assert_eq!(evidence, "in /proc/none/x: cannot be made, errno 2");
    tale.program().assert_bound();

    // There is no room: it would be a signal, now or at a section.
    let cut = Temporary::path("profile");
    let program = Build::release().program("story");
    let mut limited = command("sh");
    limited.args(["-c", "ulimit -f 100 && exec \"$0\""]).arg(program).env("INVAR_KEYS", "slice=force");
    let limited = common::tale(limited.env("INVAR_SLICE", "profile").env("INVAR_PROFILE", &cut.0));
    let key = limited.program().key("slice.counting");
    assert_eq!((&*key.value, &key.evidence), ("off", &format!("in {}: cannot be made, errno 27", cut.0.display())));
    assert!(!cut.0.exists(), "nothing is left behind");
}

fn unbound_sites_follow_their_keys() {
    let (bound, checked) = (story(&[]), story(&[("INVAR_WRITER", "off")]));
    checked.program().assert_checked();
    assert_eq!(checked.choices(), bound.choices());
    assert_eq!(checked.program().keys, bound.program().keys);
    if invar_arch::PATCHES {
        assert_eq!(checked.program().reason, "by setting");
    }
}

fn off_decides_and_binds_nothing() {
    let tale = story(&[("INVAR", "off")]);
    tale.program().assert_checked();
    assert!(tale.probes.is_empty(), "{:?}", tale.probes);
    assert!(tale.choices().values().all(|&value| value == 0), "{:?}", tale.chose);
    assert!(tale.program().keys.iter().all(|key| key.origin == "setting" && key.evidence == "INVAR=off"));
}

fn a_probe_that_fails_says_why() {
    let tale = story(&[]);
    let key = tale.program().key("story.failing");
    assert_eq!([&*key.value, &*key.origin, &*key.evidence], ["off", "failed", "looked everywhere; cannot tell"]);
    assert_eq!(tale.program().key("story.on").evidence, "says so");
    assert!(!tale.program().key("slice").evidence.is_empty());
}

/// Value, origin and evidence of a key, where `INVAR_KEYS` is this.
fn decided(keys: &str, name: &str) -> [String; 3] {
    let tale = story(&[("INVAR_KEYS", keys)]);
    tale.assert_consistent();
    let key = tale.program().key(name).clone();
    [key.value, key.origin, key.evidence]
}

fn a_setting_can_lower() {
    assert_eq!(decided("story.on=off", "story.on"), ["off", "setting", "INVAR_KEYS"]);
    assert_eq!(decided("story.width=narrow", "story.width"), ["narrow", "setting", "INVAR_KEYS"]);
    let [value, origin, evidence] = decided("story.counted=wide", "story.counted");
    assert_eq!([&*value, &*origin], ["wide", "setting"]);
    assert!(evidence.ends_with("lowered by INVAR_KEYS"), "{evidence}");
    // The last one counts, and the others are for other keys.
    assert_eq!(decided("story.on=on,other=1,story.on=off", "story.on")[0], "off");
    assert_eq!(decided("story.on=off,story.on=on", "story.on"), ["on", "probe", "says so"]);
}

fn a_setting_cannot_raise() {
    for (keys, key, stays) in [
        ("story.off=on", "story.off", "off"),
        ("story.failing=on", "story.failing", "off"),
        ("story.width=widest", "story.width", "wide"),
    ] {
        let [value, origin, evidence] = decided(keys, key);
        assert_eq!(value, stays);
        assert_ne!(origin, "setting");
        assert!(evidence.contains("INVAR_KEYS asks for more than the probe allows"), "{keys}: {evidence}");
    }
}

fn an_unknown_value_changes_nothing() {
    for (keys, key, stays) in [("story.on=maybe", "story.on", "on"), ("story.off=force", "story.off", "off")] {
        let [value, origin, evidence] = decided(keys, key);
        assert_eq!([&*value, &*origin], [stays, "probe"]);
        assert!(evidence.contains("a value that this key does not have"), "{keys}: {evidence}");
    }
}

fn assert_ended(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(EXIT_REQUIRED), "{}", errors(output));
    assert!(errors(output).contains(why), "{}", errors(output));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("result"), "main ran");
}

fn require_ends_a_program_with_an_unbound_site() {
    let output = run_story(&[("INVAR", "require"), ("INVAR_WRITER", "off"), ("INVAR_KEYS", "slice=force")]);
    assert_ended(&output, "a site is not bound");
    assert!(errors(&output).contains("by setting"), "the report says why: {}", errors(&output));
}

fn require_ends_a_program_without_its_extension() {
    let output = run_story(&[("INVAR", "require"), ("INVAR_KEYS", "slice=off")]);
    assert_ended(&output, "the slice extension is absent");
}

/// For tests of what has the checked form only.
fn portable() -> Option<String> {
    invar_arch::PATCHES.then(|| "sites can be bound here".into())
}

fn require_ends_what_cannot_be_bound() {
    assert_ended(&run_story(&[("INVAR", "require")]), "a site is not bound");
}

fn require_lets_go_what_is_bound() {
    {
        // Sites of slices, bound to memory of the program's own.
        story(&[("INVAR", "require"), ("INVAR_KEYS", "slice=force")]).program().assert_bound();
        // No site of slices: what the kernel offers does not matter.
        let mut foreign = command(Build::release().program("foreign"));
        tale(foreign.env("INVAR", "require").env("INVAR_KEYS", "slice=off")).program().assert_bound();
    }
}

fn help_prints_the_table() {
    let tale = story(&[("INVAR_HELP", "1")]);
    for (name, values, meaning) in SETTINGS {
        assert!(tale.errors.contains(&format!("{name}={values}\n")), "{name} is missing: {}", tale.errors);
        assert!(tale.errors.contains(meaning), "what {name} means is missing or cut off: {}", tale.errors);
    }
    assert_eq!(story(&[("INVAR_HELP", "0")]).errors, "");
}

fn the_report_goes_where_it_is_wanted() {
    let assert_report = |text: &str, times: usize| {
        assert_eq!(text.matches("module (program)").count(), times, "{text}");
        let key = "  key story.failing = off (failed): looked everywhere; cannot tell\n";
        assert_eq!(text.matches(key).count(), times, "{text}");
        if invar_arch::PATCHES {
            assert!(text.contains(" branch story.width == wide, 9 bytes: bound to wide\n"), "{text}");
        }
    };
    assert_report(&story(&[("INVAR_REPORT", "stderr")]).errors, 1);

    // Appended to.
    let file = Temporary::path("report");
    for times in 1..=2 {
        let tale = story(&[("INVAR_REPORT", file.0.to_str().unwrap())]);
        assert_eq!(tale.errors, "");
        assert_report(&std::fs::read_to_string(&file.0).unwrap(), times);
    }

    // A file for each process.
    let pattern = Temporary::path("report");
    let pattern = pattern.0.to_str().unwrap();
    let mut child = command(Build::release().program("story"))
        .env("INVAR_REPORT", format!("{pattern}-%p-%p"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let file = Temporary(PathBuf::from(format!("{pattern}-{0}-{0}", child.id())));
    assert_report(&std::fs::read_to_string(&file.0).unwrap(), 1);

    // What cannot be opened is not lost.
    let errors = story(&[("INVAR_REPORT", "/nowhere/at/all")]).errors;
    assert!(errors.contains("cannot open /nowhere/at/all"), "{errors}");
    assert_report(&errors, 1);
}

fn a_report_that_nobody_takes_harms_nobody() {
    // A file that cannot be written to, and a pipe without a reader, which is not waited for.
    let fifo = Temporary::path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo.0).status().unwrap().success());
    for (file, what) in [("/dev/full", "write to"), (fifo.0.to_str().unwrap(), "open")] {
        let errors = story(&[("INVAR_REPORT", file)]).errors;
        assert!(errors.contains(&format!("cannot {what} {file}, reporting here\n")), "{errors}");
        assert_eq!(errors.matches("  key story.failing").count(), 1, "{errors}");
    }

    // Standard error is such a pipe: no signal ends the program.
    for setting in [("INVAR", "bogus"), ("INVAR_HELP", "1"), ("INVAR_REPORT", "stderr")] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(Build::release().program("story"));
        let output = command.envs([setting]).stdout(Stdio::piped()).stderr(writer).spawn().unwrap().wait_with_output();
        let output = output.unwrap();
        assert!(output.status.success(), "{setting:?}: {}", output.status);
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("\nend\n"));
    }

    // A limit on the size of files brings another signal.
    let file = Temporary::path("report");
    let mut command = command(Build::release().program("story"));
    // SAFETY: one system call in the child, on numbers.
    unsafe {
        command.pre_exec(|| {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            if libc::setrlimit(libc::RLIMIT_FSIZE, &none) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let errors = tale(command.env("INVAR_REPORT", &file.0)).errors;
    assert!(errors.contains("cannot write to"), "{errors}");
}

fn evidence_cannot_pass_for_another_line() {
    let errors = story(&[("INVAR_REPORT", "stderr")]).errors;
    assert!(errors.contains("  key story.off = off (probe): two?  key story.forged = on (probe): lines\n"), "{errors}");
    // Nor can a setting give orders to a terminal.
    let errors = story(&[("INVAR", "\u{1b}[2J\nno")]).errors;
    assert!(errors.starts_with("invar: INVAR=?[2J?no is none of"), "{errors}");
}

fn bad_settings_are_named_and_ignored() {
    let plain = story(&[]);
    assert_eq!(plain.errors, "");
    for (name, value) in [
        ("INVAR", "yes"),
        ("INVAR_WRITER", "laser"),
        ("INVAR_KEYS", "story.on"),
        ("INVAR_SLICE", "all"),
        ("INVAR_GUARD", "yes"),
    ] {
        let tale = story(&[(name, value)]);
        let lines: Vec<_> = tale.errors.lines().collect();
        let [line] = lines[..] else { panic!("{lines:?}") };
        assert!(line.starts_with(&format!("invar: {name}={value} is ")), "{line}");
        assert_eq!((&tale.results, &tale.program().keys), (&plain.results, &plain.program().keys));
    }
    // Nothing to say about these.
    for (name, value) in [("INVAR", ""), ("INVAR_KEYS", ""), ("INVAR_LATER", "1"), ("INVARIANT", "1")] {
        assert_eq!(story(&[(name, value)]).errors, "", "{name}={value}");
    }
}

fn raised_privileges_take_no_settings() {
    let story = std::fs::read(Build::release().program("story")).unwrap();
    let copy = Temporary::executable("setuid-story", &story);
    let report = Temporary::path("setuid-report");
    let tale = tale(
        set_user(&copy)
            .env("INVAR", "require")
            .env("INVAR_KEYS", "slice=force,story.on=off")
            .env("INVAR_WRITER", "off")
            .env("INVAR_HELP", "1")
            .env("INVAR_REPORT", &report.0),
    );
    assert_eq!(tale.errors, "");
    assert!(!report.0.exists());
    tale.assert_consistent();
    let key = |name| [&*tale.program().key(name).value, &*tale.program().key(name).origin];
    assert_eq!(key("story.on"), ["on", "probe"]);
    assert_eq!(key("slice")[1], "probe");
}
