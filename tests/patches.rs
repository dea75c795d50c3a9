//! The patches to other projects (`ports/`): each is one that `patch` takes, has a page for its project's maintainers, and applies to
//! the source that its `build` fetched, where that is.

mod common;

use common::{ANYWHERE, missing_tool, must, run, test};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut tests = vec![test("a damaged patch is seen", ANYWHERE, damaged_ones_are_seen)];
    for port in ports() {
        let name = port.file_name().unwrap().to_str().unwrap().to_owned();
        let source = source(&name);
        let missing = source.as_ref().err().cloned().or_else(|| missing_tool("patch"));
        let folder = port.clone();
        tests.push(test(&format!("{name}: what a port has"), ANYWHERE, move || is_whole(&folder)));
        tests.push(test(&format!("{name}: the patches apply"), missing, move || {
            let source = source.expect("there when the tests were listed");
            for patch in patches(&port) {
                let mut command = Command::new("patch");
                command.args(["-p1", "--dry-run", "--fuzz=0", "--batch", "-i"]).arg(&patch).arg("-d");
                must(command.arg(&source));
            }
        }));
    }
    assert!(tests.len() > 2, "no port was found");
    run(tests)
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The folders of `ports/`.
fn ports() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(ROOT).join("ports")).unwrap();
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A project's source as `ports/NAME/build FOLDER/NAME` left it, or why there is none.
fn source(name: &str) -> Result<PathBuf, String> {
    let folder = std::env::var_os("INVAR_PORTS").ok_or("INVAR_PORTS names no folder in which ports were built")?;
    let source = Path::new(&folder).join(name).join("source");
    source.is_dir().then_some(source).ok_or_else(|| format!("no {name}/source in {}", folder.display()))
}

fn is_whole(folder: &Path) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let page = std::fs::read_to_string(Path::new(ROOT).join(format!("docs/ports/{name}.md"))).expect("a page");
    let patches = patches(folder);
    assert!(patches.contains(&folder.join("invar.patch")), "{patches:?}");
    for patch in patches {
        let text = std::fs::read_to_string(&patch).unwrap();
        for file in files(&text).unwrap_or_else(|why| panic!("{}: {why}", patch.display())) {
            assert!(page.contains(&format!("`{file}`")), "docs/ports/{name}.md does not name {file}");
        }
    }
    let summary = std::fs::read_to_string(Path::new(ROOT).join("docs/SUMMARY.md")).unwrap();
    assert!(summary.contains(&format!("(ports/{name}.md)")), "the book does not have the page of {name}");
    for script in ["build", "measure"] {
        must(Command::new("sh").arg("-n").arg(folder.join(script)));
    }
}

/// Its own, and those that it is compared with.
fn patches(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut patches: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "patch")).collect();
    patches.sort();
    patches
}

/// The files that a unified diff changes, or why it is none. (diffutils, "Detailed Description of Unified Format")
fn files(patch: &str) -> Result<Vec<&str>, String> {
    if !patch.ends_with('\n') {
        return Err("its last line has no end".into());
    }
    let mut lines = patch.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let before = line.strip_prefix("--- a/").ok_or_else(|| format!("no file begins with {line:?}"))?;
        let after = lines.next().and_then(|line| line.strip_prefix("+++ b/"));
        if after != Some(before) {
            return Err(format!("{before} becomes {after:?}"));
        }
        found.push(before);
        let mut hunks = 0;
        while let Some(head) = lines.next_if(|line| line.starts_with("@@ ")) {
            let numbers = head.trim_start_matches("@@ ").split(" @@").next().expect("a part");
            let count = |sign| {
                let range = numbers.split(' ').find_map(|range| range.strip_prefix(sign))?;
                range.split_once(',').map_or(Some(1), |(_, count)| count.parse::<usize>().ok())
            };
            let (Some(mut old), Some(mut new)) = (count('-'), count('+')) else {
                return Err(format!("no numbers in {head:?}"));
            };
            while old + new > 0 {
                let line = lines.next().ok_or("a hunk ends too early")?;
                let (is_old, is_new) = match line.chars().next() {
                    Some(' ') => (1, 1),
                    Some('-') => (1, 0),
                    Some('+') => (0, 1),
                    _ => return Err(format!("in a hunk: {line:?}")),
                };
                old = old.checked_sub(is_old).ok_or("a hunk has more lines than its head says")?;
                new = new.checked_sub(is_new).ok_or("a hunk has more lines than its head says")?;
            }
            hunks += 1;
        }
        if hunks == 0 {
            return Err(format!("{before} is not changed"));
        }
    }
    Ok(found)
}

fn damaged_ones_are_seen() {
    const WHOLE: &str = "--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,3 @@\n one\n+more\n two\n";
    assert_eq!(files(WHOLE), Ok(vec!["x.c"]));
    for (what, with) in [
        ("+more\n", ""),
        (" two\n", " two"),
        ("+++ b/x.c", "+++ b/y.c"),
        ("--- a/x.c", "--- x.c"),
        ("+more", "more"),
        ("+1,3 @@", "+1,2 @@"),
        ("@@ -1,2 +1,3 @@\n one\n+more\n two\n", ""),
    ] {
        let damaged = WHOLE.replace(what, with);
        assert!(damaged != WHOLE && files(&damaged).is_err(), "{damaged}");
    }
}
