//! The time slice wing (`src/timeslice/`) is one: the core enters it at the places that its head comment names, and its files
//! build on each other one way only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The files below a folder, by their paths from `src/`, each without comments, unit tests and quoted text.
fn files(folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Path::new(SOURCE).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = code(&fs::read_to_string(&path).unwrap());
                found.insert(path.strip_prefix(SOURCE).unwrap().to_str().unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 10, "{folder}: {found:?}");
    found
}

/// What the compiler makes of a file: comments are not of it, and unit tests, which stand at the end, may look anywhere.
fn code(text: &str) -> String {
    let end = ["\nmod tests {", "\npub(super) mod tests {"].iter().filter_map(|begin| text.find(begin)).min();
    let lines = text[..end.unwrap_or(text.len())].lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths in a text that go on from `from`, as `timeslice::`: what stands behind it, with braces resolved.
fn paths(text: &str, from: &str) -> BTreeSet<String> {
    let is_word = |before: &str| before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    let found = text.match_indices(from).filter(|&(at, _)| !is_word(&text[..at]));
    found.flat_map(|(at, _)| expanded(&text[at + from.len()..])).collect()
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expanded(path: &str) -> Vec<String> {
    let end = path.find(|next: char| !(next.is_alphanumeric() || next == '_' || next == ':')).unwrap_or(path.len());
    let (head, rest) = path.split_at(end);
    let Some(list) = rest.strip_prefix('{').filter(|_| head.is_empty() || head.ends_with("::")) else {
        return vec![head.trim_end_matches(':').to_owned()];
    };
    let (mut depth, mut items) = (0, vec![String::new()]);
    for next in list.chars() {
        match next {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(next == '{') - i32::from(next == '}');
                items.last_mut().unwrap().push(next);
            }
        }
    }
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.flat_map(expanded).map(|item| format!("{head}{item}")).collect()
}

#[test]
fn the_core_enters_at_the_places_that_are_named() {
    let head = fs::read_to_string(format!("{SOURCE}/timeslice/mod.rs")).unwrap();
    let list = head.split("enters here at five places").nth(1).and_then(|rest| rest.split("//\n// The files").next());
    let named = list.expect("a list").lines().filter_map(|line| line.strip_prefix("// - `")?.split_once('`'));
    let named: BTreeSet<String> = named.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(named.len(), 5, "{named:?}");

    let mut entered = BTreeSet::new();
    for (file, text) in files("").iter().filter(|(file, _)| !file.starts_with("timeslice/")) {
        for place in paths(text, "timeslice::") {
            assert!(!place.contains("::"), "{file} goes past mod.rs: timeslice::{place}");
            entered.insert(place);
        }
    }
    // The module itself, as it is imported, and what one of the places is asked with.
    assert!(entered.remove("self") && entered.remove("Requests"), "{entered:?}");
    assert_eq!(entered, named);
}

/// The file of the wing that a path begins with, from one of its folders.
fn file_of<'a>(files: &'a BTreeMap<String, String>, folder: &str, path: &str) -> Option<&'a String> {
    let mut at = folder.to_owned();
    for step in path.split("::") {
        let (file, inner) = (format!("{at}/{step}.rs"), format!("{at}/{step}"));
        if let Some((file, _)) = files.get_key_value(&file) {
            return Some(file);
        }
        if !files.contains_key(&format!("{inner}/mod.rs")) {
            break;
        }
        at = inner;
    }
    files.get_key_value(&format!("{at}/mod.rs")).map(|(file, _)| file)
}

/// What a file of the wing depends on in the wing.
fn dependencies<'a>(files: &'a BTreeMap<String, String>, file: &str, text: &str) -> BTreeSet<&'a String> {
    assert!(!text.contains("super::super::"), "{file}: from further up, name it by crate::timeslice");
    let (own, _) = file.rsplit_once('/').unwrap();
    let below = |from: &str, folder: &str| {
        // A module inside the file imports the file by a star.
        let paths = paths(text, from).into_iter().filter(|path| !path.is_empty());
        paths.filter_map(|path| file_of(files, folder, &path)).collect::<Vec<_>>()
    };
    below("crate::timeslice::", "timeslice").into_iter().chain(below("super::", own)).collect()
}

#[test]
fn files_build_on_each_other_one_way() {
    let files = files("timeslice");
    let mut left = BTreeMap::new();
    for (file, text) in files.iter().filter(|(file, _)| !file.ends_with("/mod.rs")) {
        let dependencies = dependencies(&files, file, text);
        let through = dependencies.iter().find(|found| found.ends_with("/mod.rs"));
        assert!(through.is_none(), "{file} imports through {through:?}, and not from the file that has it");
        left.insert(file, dependencies);
    }
    // As if the parser saw nothing.
    assert!(left.values().map(BTreeSet::len).sum::<usize>() > 25, "{left:#?}");
    // Those are taken away that depend on nothing that is left; a circle stays.
    while !left.is_empty() {
        let free: BTreeSet<_> =
            left.iter().filter(|(_, on)| !on.iter().any(|on| left.contains_key(on))).map(|(file, _)| *file).collect();
        assert!(!free.is_empty(), "a circle is in {left:#?}");
        left.retain(|file, _| !free.contains(file));
    }
}
