//! Each place that `docs/adding.md` and `docs/how-it-works.md` list is there, and no place is left out that one of their words
//! tells.

mod common;

use common::{ANYWHERE, run, test};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    run([
        test("each place of the page on additions exists", ANYWHERE, || places_exist("docs/adding.md", 150)),
        test("each place of the page on how it works exists", ANYWHERE, || places_exist("docs/how-it-works.md", 25)),
        test("no file that holds a chapter's word is left out", ANYWHERE, no_file_is_left_out),
    ])
}

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The places in the rows of tables: a file and a text in it, in two code spans with a colon between.
fn places(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter(|line| line.starts_with('|') && line.contains("` : `"));
    let mut places = vec![];
    for row in rows {
        let mut rest = row;
        while let Some((file, behind)) = rest.split_once("` : `") {
            // A text with code spans of its own has two of these marks, and a space inside.
            let (text, end) = match behind.strip_prefix("` ") {
                Some(text) => (text, " ``"),
                None => (behind, "`"),
            };
            let (text, more) = text.split_once(end).unwrap_or_else(|| panic!("no end of the text in {row:?}"));
            places.push((file.rsplit('`').next().expect("a file"), text));
            rest = more;
        }
    }
    places
}

fn places_exist(page: &str, least: usize) {
    let page = read(page);
    let places = places(&page);
    assert!(places.len() >= least, "only {} places", places.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources();
    let mut gone = vec![];
    for (file, text) in &places {
        let why = match std::fs::read_to_string(root.join(file)) {
            Ok(content) if content.contains(text) => continue,
            Ok(_) => format!("{file} has no {text:?}"),
            Err(error) => format!("{file}: {error}; {text:?}"),
        };
        let others: Vec<_> = sources.iter().filter(|file| read(file).contains(text)).map(|file| &**file).collect();
        gone.push(format!("{why}; found in: {}", if others.is_empty() { "no file".into() } else { others.join(" ") }));
    }
    assert!(gone.is_empty(), "{} of {} places:\n{}", gone.len(), places.len(), gone.join("\n"));
}

/// What is not a place to change: tests are found by failing, the changes are a list of what was, and the places of the two
/// pages have a test of their own.
const LEFT_OUT: [&str; 5] = ["/tests/", "/target/", "CHANGELOG.md", "docs/adding.md", "docs/how-it-works.md"];

/// The files below these folders that a person would change.
fn sources() -> Vec<String> {
    fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.unwrap();
            // `capi/runtime` leads to the folder above.
            let kind = entry.file_type().unwrap();
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_str().expect("a name").to_owned();
            let ends = [".rs", ".c", ".h", ".md", ".1", ".3", ".7", "Makefile"];
            if LEFT_OUT.iter().any(|part| format!("/{name}/").contains(part)) || kind.is_symlink() {
            } else if kind.is_dir() {
                collect(root, &path, files);
            } else if ends.iter().any(|end| name.ends_with(end)) {
                files.push(name);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for folder in ["src", "abi", "arch", "macros", "lock", "capi", "cli", "measure", "benches", "docs"] {
        collect(root, &root.join(folder), &mut files);
    }
    files
}

fn no_file_is_left_out() {
    let page = read("docs/adding.md");
    let sources = sources();
    assert!(sources.len() > 100, "only {} files", sources.len());
    let (mut words_of_all, mut missing) = (0, vec![]);
    for chapter in page.split("\n## ").skip(1) {
        let name = chapter.lines().next().expect("a heading");
        let Some((_, rest)) = chapter.split_once("\nWords: ") else { continue };
        let words: Vec<_> = rest.lines().next().expect("words").split('`').skip(1).step_by(2).collect();
        words_of_all += words.len();
        let listed: BTreeSet<_> = places(chapter).into_iter().map(|(file, _)| file).collect();
        let mut found = 0;
        for file in &sources {
            let content = read(file);
            if words.iter().any(|word| content.contains(word)) {
                found += 1;
                if !listed.contains(&**file) {
                    missing.push(format!("{name}: {file}"));
                }
            }
        }
        assert!(found > 3, "{name}: only {found} files have these words");
    }
    assert!(words_of_all >= 5, "only {words_of_all} words");
    assert!(missing.is_empty(), "docs/adding.md does not list:\n{}", missing.join("\n"));
}
