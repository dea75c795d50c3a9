//! What loading costs: system calls, which can be counted, and time.
//!
//! A program without sites that has the runtime in it against the same program without, linked dynamically and
//! statically; and a shared library against an empty one, opened and closed in a process that knows no `invar`.

mod program;
mod trace;

use invar_bench::{Batch, Target, alternate, per_operation};
use program::{Package, output};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// They differ in one line.
const PROGRAMS: &[(&str, &str)] =
    &[("src/bin/plain.rs", "fn main() {}"), ("src/bin/with.rs", "use invar as _;\nfn main() {}")];

/// So do the libraries.
const LIBRARY: &str = "#[unsafe(no_mangle)]\npub extern \"C\" fn function() {}";

/// Tells the nanoseconds that opening and closing took; without arguments, of each library that it is asked for.
const LOADER: &str = r#"
use std::{ffi::CString, io, time::Instant};

fn load(path: String) {
    let path = CString::new(path).unwrap();
    let started = Instant::now();
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        libc::dlclose(library);
        let time = started.elapsed();
        assert!(libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD).is_null(), "it stayed loaded");
        println!("{}", time.as_nanos());
    }
}

fn main() {
    std::env::args().skip(1).for_each(load);
    if std::env::args().len() == 1 {
        io::stdin().lines().for_each(|line| load(line.unwrap()));
    }
}
"#;

fn main() {
    if invar_bench::is_bench() {
        program::finish(run());
    }
}

fn run() -> io::Result<()> {
    let folder = libraries().build("")?;
    let [dynamic, with] = ["plain", "with"].map(|name| folder.join(name));
    compare_programs("dynamic program", &dynamic, &with)?;

    // A package of its own: static linking knows no shared libraries.
    match programs("load-static").build("-Ctarget-feature=+crt-static") {
        Ok(folder) => compare_programs("static program", &folder.join("plain"), &folder.join("with"))?,
        Err(error) => println!("static program: cannot be linked here, so not measured: {error}"),
    }

    compare_libraries(&folder)
}

/// The two programs.
fn programs(name: &str) -> Package<'_> {
    let file = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
    Package { name, manifest: "[dependencies]\ninvar = {invar}\n", files: PROGRAMS.iter().map(file).collect() }
}

/// The two programs, the two libraries, and what loads these.
fn libraries() -> Package<'static> {
    let member = |name, sort, dependency| {
        let manifest = "[package]\nversion = \"0.0.0\"\nedition = \"2024\"\nname = ";
        (format!("{name}/Cargo.toml"), format!("{manifest}{name:?}\n{sort}[dependencies]\n{dependency}\n"))
    };
    let mut package = programs("load");
    package.manifest = "members = [\"plain\", \"with\", \"loader\"]\n[dependencies]\ninvar = {invar}\n";
    let library = "[lib]\ncrate-type = [\"cdylib\"]\n";
    package.files.extend([
        member("plain", library, ""),
        member("with", library, "invar = {invar}"),
        member("loader", "", "libc = \"0.2\""),
        ("plain/src/lib.rs".to_owned(), LIBRARY.to_owned()),
        ("with/src/lib.rs".to_owned(), format!("use invar as _;\n{LIBRARY}")),
        ("loader/src/main.rs".to_owned(), LOADER.to_owned()),
    ]);
    package
}

/// A program from its start to its end.
fn compare_programs(what: &str, plain: &Path, with: &Path) -> io::Result<()> {
    report_calls(what, trace::system_calls(&mut quiet(plain))?, trace::system_calls(&mut quiet(with))?);
    let run = |program: &Path| -> Batch<'_> {
        let mut command = quiet(program);
        Box::new(move || per_operation(1, || drop(output(&mut command))))
    };
    let samples = alternate(Duration::from_secs(6), &mut [run(plain), run(with)]);
    report_time(what, &samples);
    Ok(())
}

/// A library from `dlopen` to `dlclose`.
fn compare_libraries(folder: &Path) -> io::Result<()> {
    let [plain, with] = ["libplain.so", "libwith.so"].map(|name| folder.join(name));
    let loader = folder.join("loader");
    let calls = |library: &PathBuf| trace::system_calls(quiet(&loader).arg(library));
    report_calls("shared library", calls(&plain)?, calls(&with)?);

    let mut child = quiet(&loader).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (questions, answers) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
    let pipes = std::cell::RefCell::new((questions, BufReader::new(answers)));
    let ask = |library: &Path| -> io::Result<f64> {
        let (questions, answers) = &mut *pipes.borrow_mut();
        writeln!(questions, "{}", library.display())?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        line.trim().parse().map_err(io::Error::other)
    };
    ask(&plain)?;
    ask(&with)?;
    let batch = |library| -> Batch<'_> { Box::new(move || ask(library).unwrap_or(f64::NAN)) };
    let samples = alternate(Duration::from_secs(6), &mut [batch(&plain), batch(&with)]);
    report_time("shared library", &samples);
    drop(pipes);
    child.wait().map(drop)
}

fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn report_calls(what: &str, plain: usize, with: usize) {
    let more = with as isize - plain as isize;
    let figure = format!("{with} - {plain} = {more}");
    println!("{}", Target { what: &format!("{what}, system calls more"), figure, wanted: "<= 6", met: more <= 6 });
}

fn report_time(what: &str, samples: &invar_bench::Samples) {
    let ratio = samples.ratio(1, 0);
    let [plain, with] = [0, 1].map(|variant| samples.time(variant).median / 1000.0);
    let figure = format!("{with:.1} us / {plain:.1} us = {ratio}, {} rounds", samples.rounds());
    println!("{}", Target { what: &format!("{what}, time"), figure, wanted: "<= 1.1", met: ratio.median <= 1.1 });
}
