//! Settings: whatever they are, the program does the same, and says what was decided and why.

mod common;

use common::elf::Image;
use common::{ANYWHERE, Build, Tale, Temporary, command, no_setuid, output, run, set_user, sites, tale, test};
use invar::{EXIT_REQUIRED, SETTINGS};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
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
        test("nothing forces a key that proves features", no_features(), nothing_forces_what_proves),
        test("require ends a program with an unbound site", sites(), require_ends_a_program_with_an_unbound_site),
        test("require ends a program without its extension", sites(), require_ends_a_program_without_its_extension),
        test("require ends a program where nothing can be bound", portable(), require_ends_what_cannot_be_bound),
        test("require lets go what is bound", sites(), require_lets_go_what_is_bound),
        test("help prints the table", ANYWHERE, help_prints_the_table),
        test("the report goes where it is wanted", ANYWHERE, the_report_goes_where_it_is_wanted),
        test("a report that nobody takes harms nobody", ANYWHERE, a_report_that_nobody_takes_harms_nobody),
        test("a report waits for a slow reader", sites(), a_report_waits_for_a_slow_reader),
        test("evidence cannot pass for another line", ANYWHERE, evidence_cannot_pass_for_another_line),
        test("a path cannot pass for another line", ANYWHERE, a_path_cannot_pass_for_another_line),
        test("require counts every record whose code is there", sites(), require_counts_every_record),
        test("the report says why a key is undecided", sites(), the_report_says_why_a_key_is_undecided),
        test("what is misspelt gets a line, and is ignored", ANYWHERE, what_is_misspelt_gets_a_line),
        test("one line in a process, whoever is loaded when", ANYWHERE, one_line_in_a_process),
        test("a module without reports says what is misspelt", ANYWHERE, a_module_without_reports_complains),
        test("a module without reports says which keys are misspelt", ANYWHERE, a_module_without_reports_looks_at_keys),
        test(
            "a module without reports says what require misses",
            sites(),
            a_module_without_reports_says_what_is_missing,
        ),
        test("the docs list every setting", ANYWHERE, the_docs_list_every_setting),
        test("what the tests are told by is no misspelt setting", ANYWHERE, the_tests_variables_are_nobodys),
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
        &[("INVAR_WRITER", "swap")],
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
    let (bound, checked) = (story(&[]), story(&[("INVAR_WRITER", "off"), ("INVAR_REPORT", "stderr")]));
    checked.program().assert_checked();
    assert_eq!(checked.choices(), bound.choices());
    assert_eq!(checked.program().keys, bound.program().keys);
    if invar_arch::PATCHES {
        assert_eq!(checked.program().reason, "by setting");
        let line = checked.errors.lines().find(|line| line.starts_with("module (program) at ")).expect("its report");
        assert!(line.ends_with(" sites, 0 bound; what is not bound stays checked: by setting"), "{line}");
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

/// Why no key proves features here.
fn no_features() -> Option<String> {
    invar_arch::FEATURES.is_empty().then(|| "no CPU feature is known here".into())
}

/// Not even one that slice sites may depend on: a variant behind it would be executed.
fn nothing_forces_what_proves() {
    for keys in ["proving=force", "proving=on", "slice=force,proving=force"] {
        let [value, origin, evidence] = decided(keys, "proving");
        assert_eq!([&*value, &*origin], ["off", "probe"], "{keys}: {evidence}");
        assert!(evidence.contains("; INVAR_KEYS "), "{keys}: {evidence}");
    }
}

fn assert_ended(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(EXIT_REQUIRED), "{}", errors(output));
    assert!(errors(output).contains(why), "{}", errors(output));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("result"), "main ran");
}

fn require_ends_a_program_with_an_unbound_site() {
    let output = run_story(&[("INVAR", "require"), ("INVAR_WRITER", "off"), ("INVAR_KEYS", "slice=force")]);
    assert_ended(&output, "\ninvar: INVAR=require: (program): 0 of ");
    assert!(errors(&output).ends_with(" sites are bound; by setting\n"), "{}", errors(&output));
    assert!(errors(&output).starts_with("module (program) at "), "the report stands before it: {}", errors(&output));
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
    assert_ended(&run_story(&[("INVAR", "require")]), "0 of 0 sites are bound; this architecture has no other form");
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
    for off in ["0", "no", "off", ""] {
        assert_eq!(story(&[("INVAR_HELP", off), ("INVAR_GUARD", off)]).errors, "", "{off}");
    }
}

/// Fails unless the story's report is in the text as many times.
fn assert_report(text: &str, times: usize) {
    assert_eq!(text.matches("module (program)").count(), times, "{text}");
    let key = "  key story.failing = off (failed): looked everywhere; cannot tell\n";
    assert_eq!(text.matches(key).count(), times, "{text}");
    if invar_arch::PATCHES {
        assert!(text.contains(" branch story.width == wide, 10 bytes: bound to wide\n"), "{text}");
    }
}

fn the_report_goes_where_it_is_wanted() {
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

/// A pipe has less room than the report needs.
fn a_report_waits_for_a_slow_reader() {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    let fifo = Temporary::path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo.0).status().unwrap().success());
    let mut reader =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo.0).expect("a reader");
    // SAFETY: changes the size of our own pipe.
    assert!(unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
    let mut child = command(Build::release().program("story"))
        .env("INVAR_REPORT", &fifo.0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waiting = || {
        let mut bytes = 0;
        // SAFETY: fills in one number.
        assert_eq!(unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD, &mut bytes) }, 0);
        bytes > 0
    };
    // It has written what there was room for, and either waits for us, or has ended without the rest.
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
        if waiting() && state == Some('S') || state == Some('Z') {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // SAFETY: changes a flag of our own descriptor.
    assert_eq!(unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, 0) }, 0);
    let mut report = String::new();
    reader.read_to_string(&mut report).unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(report.len() > 4096, "it would have fitted: {} bytes", report.len());
    assert_report(&report, 1);
    assert_eq!(errors, "");
}

fn evidence_cannot_pass_for_another_line() {
    let errors = story(&[("INVAR_REPORT", "stderr")]).errors;
    assert!(errors.contains("  key story.off = off (probe): two?  key story.forged = on (probe): lines\n"), "{errors}");
    // Nor can a setting give orders to a terminal.
    let errors = story(&[("INVAR", "\u{1b}[2J\nno")]).errors;
    assert!(errors.starts_with("invar: INVAR=?[2J?no is ignored: "), "{errors}");
}

/// A path may hold anything but NUL.
fn a_path_cannot_pass_for_another_line() {
    const NAME: &[u8] = b"lib\n  key forged = on (probe)\x1b[2J\x7f\xc2\x9b31m-\xc3\xbc";
    let folder = Temporary::path("paths");
    std::fs::create_dir(&folder.0).unwrap();
    let library = Temporary(folder.0.join(OsStr::from_bytes(NAME)));
    common::replace(&library.0, &std::fs::read(Build::release().library("plugin")).unwrap());
    let shown = format!("{}/lib?  key forged = on (probe)?[2J??31m-ü", folder.0.display());
    let run = |settings: &[(&str, &str)]| {
        let mut host = command(Build::release().program("host"));
        errors(&output(host.arg("--silent").arg(&library.0).envs(settings.iter().copied())))
    };
    let report = run(&[("INVAR_REPORT", "stderr")]);
    assert!(report.contains(&format!("\nmodule {shown} at 0x")), "{report}");
    let required = run(&[("INVAR", "require"), ("INVAR_KEYS", "slice=off")]);
    if invar_arch::PATCHES {
        // The program has no slice sites.
        assert!(required.contains(&format!("\ninvar: INVAR=require: {shown}: ")), "{required}");
    }
    for text in [report, required] {
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("  key forged")), "{text}");
    }
    drop(library);
    std::fs::remove_dir(&folder.0).unwrap();
}

/// The story with these bytes over a record of its tables.
fn altered(record: usize, at: usize, bytes: &[u8]) -> Temporary {
    let mut story = std::fs::read(Build::release().program("story")).unwrap();
    story[record + at..record + at + bytes.len()].copy_from_slice(bytes);
    Temporary::executable("altered", &story)
}

fn require_counts_every_record() {
    let image = Image::read(&Build::release().program("story"));
    let all = image.site_records();
    let required = |at: usize, bytes: &[u8]| {
        let copy = altered(image.sites.start, at, bytes);
        output(command(&copy.0).env("INVAR", "require").env("INVAR_KEYS", "slice=force"))
    };
    let assert_missed = |output: Output, why: &str| {
        let (bound, all) = (all.len() - 1, all.len());
        let line = format!("\ninvar: INVAR=require: (program): {bound} of {all} sites are bound; not site {why}\n");
        assert_ended(&output, &line);
    };
    // A length that no form has; another version's flags; a state, and a target, that are none.
    assert_missed(required(12, &[all[0].length + 1]), "record 0: no site of this kind has this length");
    assert_missed(required(15, &[1]), "record 0: unknown kind or flags");
    assert_missed(required(8, &[0; 4]), "record 0: no key has its state there");
    assert_missed(required(4, &[0; 4]), "record 0: site or target outside the module's text");
    // What a tool leaves that removes a section.
    assert_missed(required(0, &[0; 16]), "record 0: unknown kind or flags");
    // What linkers leave of code that they discarded: no distances, or those to a symbol with address 0.
    assert!(required(0, &[0; 12]).status.success());
    let nowhere = (image.address(image.sites.start) as i32).wrapping_neg().to_le_bytes();
    assert!(required(0, &nowhere).status.success());
}

fn the_report_says_why_a_key_is_undecided() {
    let image = Image::read(&Build::release().program("story"));
    let place = image.keys.clone().step_by(16).zip(image.key_records()).find(|(_, key)| key.name == "story.on");
    let (record, _) = place.expect("the key");
    // In data that the program has filled in itself: what is not blank is no state.
    let taken = |at: &u64| !image.is_relro(*at) && !image.is_relro(at + 255) && !image.is_blank(*at..at + 8);
    let mut data = image.data().flat_map(|data| (data.start.next_multiple_of(8)..data.end - 256).step_by(8));
    let state = data.find(|at| taken(at) && image.is_blank(at + 1..at + 2)).expect("data that is not blank");
    let distance = (state as i32).wrapping_sub(image.address(record) as i32);
    let copy = altered(record, 0, &distance.to_le_bytes());
    let output = output(command(&copy.0).env("INVAR_REPORT", "stderr"));
    let line = "\n  key story.on undecided: its state is memory that something else uses\n";
    assert!(errors(&output).contains(line), "{}", errors(&output));
}

/// Variables, and the line that each gets.
const MISSPELT: [(&str, &str, &str); 15] = [
    ("INVAR", "requrie", "INVAR=requrie is ignored: its values are off auto require"),
    ("INVAR", "OFF", "INVAR=OFF is ignored: its values are off auto require"),
    ("INVAR_WRITER", "laser", "INVAR_WRITER=laser is ignored: its values are off auto swap memfd mprotect"),
    ("INVAR_SLICE", "all", "INVAR_SLICE=all is ignored: its values are off count profile"),
    ("INVAR_GUARD", "yes", "INVAR_GUARD=yes is ignored: its values are 0 1"),
    ("INVAR_HELP", "yes", "INVAR_HELP=yes is ignored: its values are 0 1"),
    ("INVAR_REPORT", "1", "INVAR_REPORT=1 is ignored: a file of this name is ./1"),
    ("INVAR_REPORT", "stdrr", "INVAR_REPORT=stdrr is ignored: a file of this name is ./stdrr"),
    ("INVAR_KEYS", "story.on", "INVAR_KEYS: story.on is ignored: it is not KEY=VALUE"),
    ("INVAR_KEYS", "story.on=maybe", "INVAR_KEYS: story.on=maybe is ignored: its values are off on"),
    ("INVAR_KEYS", ",story.width=", "INVAR_KEYS: story.width= is ignored: its values are narrow wide widest"),
    ("INVAR_KEYS", "story.off=force", "INVAR_KEYS: story.off=force is ignored: its values are off on"),
    ("INVAR_KEYS", "cpu.avx2=maybe", "INVAR_KEYS: cpu.avx2=maybe is ignored: its values are off on"),
    ("INVAR_KEYS", "stroy.on=off", "INVAR_KEYS: stroy.on=off: no module that is loaded so far has such a key"),
    ("INVAR_KEYS", "slice=fource,cpu.avx2=off", "INVAR_KEYS: slice=fource is ignored: its values are off on force"),
];

fn what_is_misspelt_gets_a_line() {
    let folder = Temporary::path("empty");
    std::fs::create_dir(&folder.0).unwrap();
    let run = |name: &str, value: &str| {
        let mut story = command(Build::release().program("story"));
        tale(story.env(name, value).current_dir(&folder.0))
    };
    let plain = story(&[]);
    assert_eq!(plain.errors, "");
    for (name, value, line) in MISSPELT {
        let tale = run(name, value);
        assert_eq!(tale.errors, format!("invar: {line}\n"));
        assert_eq!((&tale.results, tale.choices()), (&plain.results, plain.choices()), "{name}={value}");
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "a file was made");
    std::fs::remove_dir(&folder.0).unwrap();

    // A name that is none, without the value: it may be a password.
    let names: Vec<_> = SETTINGS.iter().map(|(name, ..)| *name).collect();
    for name in ["INVAR_REPROT", "INVAR_", "INVAR_keys"] {
        let errors = story(&[(name, "stderr")]).errors;
        let line = errors.strip_suffix('\n').and_then(|line| line.strip_prefix(&format!("invar: {name} is ignored: ")));
        let line = line.unwrap_or_else(|| panic!("{errors}"));
        assert!(names.iter().all(|name| line.split(' ').any(|word| word == *name)), "{line}");
    }
    // Several at once; the others count.
    let tale = story(&[("INVAR_KEYS", "story.on=maybe,story.on=off,oops,what=ever"), ("INVAR_HLEP", "1")]);
    assert_eq!(tale.errors.lines().count(), 4, "{}", tale.errors);
    assert_eq!(tale.program().key("story.on").value, "off");

    // Nothing to say about these: they mean nothing, somebody else, or what another process may have.
    for (name, value) in [
        ("INVAR", ""),
        ("INVAR_KEYS", ""),
        ("INVAR_KEYS", ",,story.on=on,"),
        ("INVAR_REPROT", ""),
        ("INVARIANT", "1"),
        ("INVAR_GUARD", "no"),
        ("INVAR_HELP", "off"),
        ("INVAR_TEST_MATRIX", "full"),
        ("INVAR_KEYS", "slice=off,slice=force,slice.counting=off,slice.hook=off,cpu.avx512f=off,cpu.x86-64-v4=on"),
    ] {
        assert_eq!(story(&[(name, value)]).errors, "", "{name}={value}");
    }
}

/// Each module has its own copy of the runtime, and all read the same environment.
fn one_line_in_a_process() {
    let libraries = ["plugin", "rival"].map(|name| Build::release().library(name));
    let settings = [
        ("INVAR", "requrie"),
        ("INVAR_REPROT", "stderr"),
        ("INVAR_KEYS", "shared.width=maybe,shared.disputed=off,nobodys=on,cpu.avx2=maybe"),
    ];
    let linked = libraries.iter().fold(Build::release().named("linked-twice"), |build, library| {
        build.link_argument("-Wl,--no-as-needed").link_argument(library.display())
    });
    for (host, disputed) in [(Build::release().program("host"), 1), (linked.program("host"), 0)] {
        let tale = tale(command(host).args(&libraries).envs(settings).env("INVAR_HELP", "1"));
        assert_eq!(tale.modules.len(), 3);
        for (what, times) in [
            ("invar: INVAR=requrie is ignored: ", 1),
            ("invar: INVAR_REPROT is ignored: ", 1),
            ("invar: INVAR_KEYS: shared.width=maybe is ignored: its values are narrow wide widest\n", 1),
            ("invar: INVAR_KEYS: nobodys=on: no module that is loaded so far", 1),
            ("invar: INVAR_KEYS: cpu.avx2=maybe is ignored: ", 1),
            // A key of the libraries', which the program may open later.
            ("invar: INVAR_KEYS: shared.disputed=off: no module that is loaded so far", disputed),
            ("invar: ", 5 + disputed),
            ("\nINVAR_WRITER=", 1),
        ] {
            assert_eq!(tale.errors.matches(what).count(), times, "{what}: {}", tale.errors);
        }
        let key = tale.module("libplugin.so").key("shared.disputed");
        assert!(disputed == 0 || key.origin == "setting", "a key that came later obeys: {key:?}");
    }
}

/// A program without the runtime, with the small library in front, and more libraries.
fn with_small_library(settings: &[(&str, &str)], more: &[PathBuf]) -> Output {
    let small = Build::small().named("small-bound").argument("--features").argument("bound").library("small");
    let libraries = more.iter().fold(small.display().to_string(), |all, more| format!("{all}:{}", more.display()));
    output(command("true").env("LD_PRELOAD", libraries).envs(settings.iter().copied()))
}

fn a_module_without_reports_complains() {
    for (name, value, line) in MISSPELT.iter().filter(|(name, ..)| *name != "INVAR_KEYS") {
        let output = with_small_library(&[(name, value)], &[]);
        assert!(output.status.success());
        assert_eq!(errors(&output), format!("invar: {line}\n"));
    }
    let output = with_small_library(&[("INVAR_\u{9b}31m\nforged", "1")], &[]);
    assert_eq!(errors(&output).lines().count(), 1, "{}", errors(&output));
    assert!(errors(&output).starts_with("invar: INVAR_??31m?forged is ignored: "), "{}", errors(&output));
}

/// In other words than one that has them, and the same entries.
fn a_module_without_reports_looks_at_keys() {
    let lines = [
        ("small.quick", "small.quick is ignored: it is not KEY=VALUE"),
        ("small.quick=maybe", "small.quick=maybe is ignored: the key has no such value"),
        ("small.quick=force", "small.quick=force is ignored: the key has no such value"),
        ("cpu.avx2=maybe", "cpu.avx2=maybe is ignored: the key has no such value"),
        ("slice=fource", "slice=fource is ignored: the key has no such value"),
        ("smal.quick=off", "smal.quick=off: no module that is loaded so far has such a key"),
        ("cpu.nothing=off", "cpu.nothing=off: no module that is loaded so far has such a key"),
    ];
    for (entry, line) in lines {
        // Where no feature is known here, any may be one elsewhere.
        let is_said = !entry.starts_with("cpu.nothing") || !invar_arch::FEATURES.is_empty();
        let output = with_small_library(&[("INVAR_KEYS", entry)], &[]);
        assert!(output.status.success());
        assert_eq!(errors(&output), if is_said { format!("invar: INVAR_KEYS: {line}\n") } else { String::new() });
    }
    for entry in ["small.quick=off,,small.quick=on", "slice=off,slice=force,slice.counting=count,cpu.popcnt=off"] {
        assert_eq!(errors(&with_small_library(&[("INVAR_KEYS", entry)], &[])), "", "{entry}");
    }
    // Whoever is loaded first says it, and nobody else.
    let more = [Build::release().library("plugin")];
    let output = with_small_library(&[("INVAR_KEYS", "small.quick=maybe,shared.width=maybe")], &more);
    assert_eq!(errors(&output).lines().count(), 2, "{}", errors(&output));
}

fn a_module_without_reports_says_what_is_missing() {
    let output = with_small_library(&[("INVAR", "require")], &[]);
    assert_eq!((output.status.code(), &*errors(&output)), (Some(0), ""));
    let output = with_small_library(&[("INVAR", "require"), ("INVAR_WRITER", "off")], &[]);
    assert_eq!(output.status.code(), Some(EXIT_REQUIRED));
    let errors = errors(&output);
    assert!(errors.starts_with("invar: INVAR=require: /") && errors.lines().count() == 1, "{errors}");
    assert!(errors.contains("/libsmall.so: 0 of ") && errors.ends_with(" sites are bound; by setting\n"), "{errors}");
}

/// Programs that the tests run have their variables too.
fn the_tests_variables_are_nobodys() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for file in [".ci/run", "tests/cxx.rs", "tests/common/mod.rs", "guest/src/cache.rs"] {
        let text = std::fs::read_to_string(format!("{root}/{file}")).unwrap();
        for before in ["export INVAR", "var_os(\"INVAR", "str = \"INVAR"] {
            let ends = |character: char| character != '_' && !character.is_ascii_alphanumeric();
            names.extend(text.split(before).skip(1).map(|rest| format!("INVAR{}", rest.split(ends).next().unwrap())));
        }
    }
    assert!(names.len() >= 3, "{names:?}");
    let variables: Vec<_> = names.iter().map(|name| (&**name, "/nowhere")).collect();
    assert_eq!(story(&variables).errors, "");
}

/// What `INVAR_HELP=1` prints is what can be read elsewhere.
fn the_docs_list_every_setting() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let settings = read("docs/settings.md");
    let manual = read("capi/man/invar.7");
    let environment = &manual[manual.find("\n.SH ENVIRONMENT\n").unwrap()..];
    let environment = &environment[..environment.find("\n.SH NOTES\n").unwrap()];
    let plain = environment.replace("\\fI", "").replace("\\fR", "");
    for (name, values, _) in SETTINGS {
        assert!(plain.contains(&format!("\n.BR {name} ={values}\n")), "invar(7) has not: {name}={values}");
        // By an example, where anything may stand there.
        let shown = values.split([',', 'K']).next().unwrap();
        assert!(settings.contains(&format!("`{name}={shown}")), "docs/settings.md has not: {name}={values}");
    }
    // And nothing else.
    let entries = plain.lines().filter_map(|line| line.strip_prefix(".BR INVAR")).filter(|line| line.contains(" ="));
    assert_eq!(entries.count(), SETTINGS.len());
    for word in settings.split('`').filter(|word| word.starts_with("INVAR")) {
        let name = word.split('=').next().unwrap();
        assert!(SETTINGS.iter().any(|(known, ..)| *known == name), "docs/settings.md has {word}");
    }
    // The lines that it shows are those that a program prints.
    let lines = settings.lines().filter_map(|line| line.strip_prefix("invar: "));
    let mut shown = 0;
    for line in lines {
        let (name, value) = line.split_once(['=', ':']).expect("a setting");
        let value = value.trim_start().split([' ', ':']).next().unwrap();
        assert_eq!(story(&[(name, value)]).errors, format!("invar: {line}\n"));
        shown += 1;
    }
    assert_eq!(shown, 3);
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
