//! What loading costs: system calls, instructions and page faults, which can be counted, and time.
//!
//! A program without sites that has the runtime in it against the same program without, linked dynamically and
//! statically; and a shared library against an empty one, opened and closed in a process that knows no `invar`.

use crate::program::{Package, output};
use crate::trace;
use invar_measure::{Batch, Samples, Targets, alternate};
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// They differ in one line.
const PROGRAMS: &[(&str, &str)] =
    &[("src/bin/plain.rs", "fn main() {}"), ("src/bin/with.rs", "use invar as _;\nfn main() {}")];

/// So do the libraries.
const LIBRARY: &str = "#[unsafe(no_mangle)]\npub extern \"C\" fn function() {}";

/// Tells the nanoseconds and the page faults that opening and closing took, of each library that it is asked for; with
/// an argument opens and closes that library once.
const LOADER: &str = r#"
use std::{ffi::CString, io, mem::zeroed, time::Instant};

fn load(path: String) {
    let path = CString::new(path).unwrap();
    unsafe {
        let (mut before, mut after): (libc::rusage, libc::rusage) = (zeroed(), zeroed());
        libc::getrusage(libc::RUSAGE_SELF, &mut before);
        let started = Instant::now();
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        libc::dlclose(library);
        let time = started.elapsed();
        libc::getrusage(libc::RUSAGE_SELF, &mut after);
        assert!(libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD).is_null(), "it stayed loaded");
        println!("{} {}", time.as_nanos(), after.ru_minflt - before.ru_minflt);
    }
}

fn main() {
    std::env::args().skip(1).for_each(load);
    if std::env::args().len() == 1 {
        io::stdin().lines().for_each(|line| load(line.unwrap()));
    }
}
"#;

pub(crate) fn run() -> io::Result<()> {
    let folder = libraries().build("")?;
    let mut targets = Targets::default();
    let program = |folder: &Path| ["plain", "with"].map(|name| folder.join(name));

    // A package of its own: static linking knows no shared libraries.
    match programs("load-static").build("-Ctarget-feature=+crt-static") {
        Ok(folder) => compare_programs("static program", program(&folder).each_ref(), true, &mut targets)?,
        Err(error) => targets.show("static program", "cannot be linked here".into(), &error.to_string()),
    }
    compare_programs("dynamic program", program(&folder).each_ref(), false, &mut targets)?;
    compare_libraries(&folder, &mut targets)?;
    print!("{targets}");
    Ok(())
}

/// The two programs.
fn programs(name: &str) -> Package<'_> {
    let file = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
    Package { name, manifest: "[dependencies]\ninvar-rt = {invar}\n", files: PROGRAMS.iter().map(file).collect() }
}

/// The two programs, the two libraries, and what loads these.
fn libraries() -> Package<'static> {
    let member = |name, sort, dependency| {
        let manifest = "[package]\nversion = \"0.0.0\"\nedition = \"2024\"\nname = ";
        (format!("{name}/Cargo.toml"), format!("{manifest}{name:?}\n{sort}[dependencies]\n{dependency}\n"))
    };
    let mut package = programs("load");
    package.manifest = "members = [\"plain\", \"with\", \"loader\"]\n[dependencies]\ninvar-rt = {invar}\n";
    let library = "[lib]\ncrate-type = [\"cdylib\"]\n";
    package.files.extend([
        member("plain", library, ""),
        member("with", library, "invar-rt = {invar}"),
        member("loader", "", "libc = \"0.2\""),
        ("plain/src/lib.rs".to_owned(), LIBRARY.to_owned()),
        ("with/src/lib.rs".to_owned(), format!("use invar as _;\n{LIBRARY}")),
        ("loader/src/main.rs".to_owned(), LOADER.to_owned()),
    ]);
    package
}

/// A program from its start to its end. The design has targets for a static one.
fn compare_programs(what: &str, programs: [&PathBuf; 2], has_target: bool, targets: &mut Targets) -> io::Result<()> {
    // Signals wait and come again, but where nobody can have a handler yet.
    let most = if has_target { 0 } else { 2 };
    report_counts(what, programs.map(|program| trace::count(|| quiet(program))), most, targets)?;
    let batch = |program: &PathBuf| -> Batch<'_, io::Error> {
        let mut command = quiet(program);
        Box::new(move || {
            let started = Instant::now();
            output(&mut command)?;
            Ok(started.elapsed().as_nanos() as f64)
        })
    };
    let samples = alternate(Duration::from_secs(6), &mut programs.map(batch))?;
    report_time(what, &samples, has_target, targets);
    Ok(())
}

/// A library from `dlopen` to `dlclose`.
fn compare_libraries(folder: &Path, targets: &mut Targets) -> io::Result<()> {
    // As an installer leaves them: what a linker wrote lies in the page cache in other pieces, and no two of its files alike.
    let installed = folder.join("installed");
    fs::create_dir_all(&installed)?;
    let libraries = ["libplain.so", "libwith.so"].map(|name| (folder.join(name), installed.join(name)));
    let libraries = libraries.map(|(linked, copy)| {
        // A new file each time.
        fs::remove_file(&copy)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        fs::copy(linked, &copy).map(|_| copy)
    });
    let [plain, with] = libraries;
    let libraries = [plain?, with?];
    let loader = folder.join("loader");
    let counted = libraries.each_ref().map(|library| {
        trace::count(|| {
            let mut command = quiet(&loader);
            command.arg(library);
            command
        })
    });
    report_counts("shared library", counted, 2, targets)?;

    let mut child = quiet(&loader).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (questions, answers) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
    let pipes = RefCell::new((questions, BufReader::new(answers)));
    let ask = |library: &Path| -> io::Result<[f64; 2]> {
        let (questions, answers) = &mut *pipes.borrow_mut();
        writeln!(questions, "{}", library.display())?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let numbers =
            line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>().map_err(io::Error::other)?;
        numbers.try_into().map_err(|_| io::Error::other(format!("{loader:?} answers {line:?}")))
    };
    // Those of the last time; from the second on they are the same each time.
    let faults = [const { Cell::new(0.0) }; 2];
    let batch = |at: usize| -> Batch<'_, io::Error> {
        let (library, faults) = (&libraries[at], &faults[at]);
        Box::new(move || {
            let [time, had] = ask(library)?;
            faults.set(had);
            Ok(time)
        })
    };
    let samples = alternate(Duration::from_secs(6), &mut [batch(0), batch(1)])?;
    let [plain, with] = faults.each_ref().map(Cell::get);
    targets.show("shared library, loaded again: page faults more", difference(with as usize, plain as usize), "");
    report_time("shared library", &samples, true, targets);
    drop(pipes);
    child.wait().map(drop)
}

fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn difference(with: usize, plain: usize) -> String {
    format!("{with} - {plain} = {}", with as isize - plain as isize)
}

/// What was counted without the runtime and with it, where so many system calls more are right.
fn report_counts(
    what: &str,
    counted: [io::Result<trace::Counts>; 2],
    most: usize,
    targets: &mut Targets,
) -> io::Result<()> {
    let [plain, with] = counted;
    let (plain, with) = (plain?, with?);
    let calls = (format!("{what}: system calls more"), difference(with.calls, plain.calls));
    targets.add(&calls.0, calls.1, &format!("<= {most}"), with.calls <= plain.calls + most);
    targets.show(&format!("{what}: instructions more"), difference(with.instructions, plain.instructions), "");
    targets.show(&format!("{what}: page faults more"), difference(with.faults, plain.faults), "");
    Ok(())
}

fn report_time(what: &str, samples: &Samples, has_target: bool, targets: &mut Targets) {
    let ratio = samples.ratio(1, 0);
    let [plain, with] = [0, 1].map(|variant| samples.time(variant).median / 1000.0);
    let what = format!("{what}: time, {} rounds", samples.rounds());
    let figure = format!("{with:.1} us / {plain:.1} us = {ratio}");
    if has_target {
        targets.add(&what, figure, "<= 1.1", ratio.median <= 1.1);
    } else {
        targets.show(&what, figure, NONE);
    }
}

/// The design names static programs and shared libraries.
const NONE: &str = "not in the design";
