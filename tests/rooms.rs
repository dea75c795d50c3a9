//! Files build on each other one way, in each package: no circle of imports. And the core enters the time slice wing
//! (`src/timeslice/`) at the places that the wing's head comment names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the packages' sources, and how many imports are seen in each at least: as if the parser saw nothing.
const PACKAGES: [(&str, usize); 9] = [
    ("abi", 10),
    ("arch", 10),
    ("macros/src", 6),
    ("src", 120),
    ("lock/src", 6),
    ("cli/src", 60),
    ("fuzz/src", 15),
    ("guest/src", 5),
    ("measure/src", 3),
];

/// A package's files by their paths from its folder, each without comments, unit tests and quoted text.
fn files(package: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let text = code(&fs::read_to_string(&path).unwrap());
                found.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// What the compiler makes of a file: comments are not of it, and unit tests, which stand at the end, may look anywhere. What a macro
/// expands to belongs to whoever calls it.
fn code(text: &str) -> String {
    let end = ["\nmod tests {", "\npub(super) mod tests {", "\npub(crate) mod tests {"]
        .iter()
        .filter_map(|begin| text.find(begin))
        .min();
    let lines = text[..end.unwrap_or(text.len())].lines().map(|line| line.split("//").next().unwrap());
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("$crate::", "")
        .replace("(in crate::", "(in ")
        .replace("(in super::super)", "")
}

/// The paths in a text that go on from `from`, as `timeslice::`: what stands behind it, with braces resolved.
fn paths(text: &str, from: &str) -> BTreeSet<String> {
    let is_part = |before: &str| before.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == ':');
    let found = text.match_indices(from).filter(|&(at, _)| !is_part(&text[..at]));
    found.flat_map(|(at, _)| expanded(&text[at + from.len()..])).collect()
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`. What a macro is called by is no path to a file.
fn expanded(path: &str) -> Vec<String> {
    let end = path.find(|next: char| !(next.is_alphanumeric() || next == '_' || next == ':')).unwrap_or(path.len());
    let (head, rest) = path.split_at(end);
    if rest.starts_with('!') {
        return Vec::new();
    }
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

/// The file in which the modules of a file lie: itself at the root, or where it is named after its folder.
fn folder(file: &str) -> String {
    let (folder, name) = file.rsplit_once('/').map_or(("", file), |(folder, name)| (folder, name));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => file.trim_end_matches(".rs").to_owned(),
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The file of the module that lies in this folder.
fn file_of_folder(files: &BTreeMap<String, String>, folder: &str) -> Option<String> {
    let of_root = ["lib.rs", "main.rs"].map(String::from);
    let candidates = if folder.is_empty() { of_root } else { [format!("{folder}/mod.rs"), format!("{folder}.rs")] };
    candidates.into_iter().find(|file| files.contains_key(file))
}

/// The path that an attribute names for a module that is declared in a text.
fn named_by_attribute(text: &str, module: &str) -> Option<String> {
    let (before, _) = text.split_once(&format!("mod {module};"))?;
    let attributes = &before[before.rfind(";").map_or(0, |end| end + 1)..];
    Some(attributes.rsplit_once("path = \"")?.1.split('"').next()?.to_owned())
}

/// The deepest file to which a path leads that begins in a folder.
fn file_of(files: &BTreeMap<String, String>, mut at: String, path: &str) -> Option<String> {
    for step in path.split("::").filter(|step| !step.is_empty()) {
        if step == "super" {
            at = at.rsplit_once('/').map_or(String::new(), |(above, _)| above.to_owned());
            continue;
        }
        let next = join(&at, step);
        if file_of_folder(files, &next).is_none() {
            // A module may have a file of another name, one of those that attributes choose from.
            let parent = file_of_folder(files, &at)?;
            let named = named_by_attribute(&files[&parent], step).map(|path| join(&at, &path));
            return Some(named.filter(|named| files.contains_key(named)).unwrap_or(parent));
        }
        at = next;
    }
    file_of_folder(files, &at)
}

/// What a file depends on in its package.
fn dependencies(files: &BTreeMap<String, String>, file: &str, text: &str) -> BTreeSet<String> {
    let own = folder(file);
    let above = own.rsplit_once('/').map_or(String::new(), |(above, _)| above.to_owned());
    let mut found = BTreeSet::new();
    for (from, at) in [("crate::", String::new()), ("super::", above), ("self::", own.clone())] {
        // A module inside the file imports the file by a star.
        let paths = paths(text, from).into_iter().filter(|path| !path.is_empty());
        found.extend(paths.filter_map(|path| file_of(files, at.clone(), &path)));
    }
    // Modules that the file declares are named without more.
    for declared in text.split("mod ").skip(1) {
        let name: String = declared.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect();
        if declared[name.len()..].starts_with(';') {
            let paths = paths(text, &format!("{name}::"));
            found.extend(paths.iter().filter_map(|path| file_of(files, own.clone(), &format!("{name}::{path}"))));
        }
    }
    found.remove(file);
    found
}

#[test]
fn files_build_on_each_other_one_way() {
    let mut circles = BTreeMap::new();
    for (package, least) in PACKAGES {
        let files = files(package);
        let mut left: BTreeMap<_, _> =
            files.iter().map(|(file, text)| (file, dependencies(&files, file, text))).collect();
        let seen = left.values().map(BTreeSet::len).sum::<usize>();
        assert!(seen >= least, "{package}: {seen} imports in {left:#?}");
        // Those are taken away that depend on nothing that is left; a circle stays, and what depends on it.
        loop {
            let free: BTreeSet<_> = left
                .iter()
                .filter(|(_, on)| !on.iter().any(|on| left.contains_key(on)))
                .map(|(file, _)| (*file).clone())
                .collect();
            if free.is_empty() {
                break;
            }
            left.retain(|file, _| !free.contains(*file));
        }
        let stuck: BTreeSet<_> = left.keys().map(|file| (*file).clone()).collect();
        let circle =
            left.into_iter().map(|(file, on)| (file.clone(), on.intersection(&stuck).cloned().collect::<Vec<_>>()));
        circles.extend(circle.map(|(file, on)| (join(package, &file), on)));
    }
    assert!(circles.is_empty(), "circles are in {circles:#?}");
}

#[test]
fn the_core_enters_the_wing_at_the_places_that_are_named() {
    let files = files("src");
    let head = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/timeslice/mod.rs")).unwrap();
    let list = head.split("enters here at five places").nth(1).and_then(|rest| rest.split("//\n// The files").next());
    let named = list.expect("a list").lines().filter_map(|line| line.strip_prefix("// - `")?.split_once('`'));
    let named: BTreeSet<String> = named.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(named.len(), 5, "{named:?}");

    let mut entered = BTreeSet::new();
    for (file, text) in files.iter().filter(|(file, _)| !file.starts_with("timeslice/")) {
        for place in ["timeslice::", "crate::timeslice::"].iter().flat_map(|from| paths(text, from)) {
            assert!(!place.contains("::"), "{file} goes past mod.rs: timeslice::{place}");
            entered.insert(place);
        }
    }
    // The module itself, as it is imported, and what one of the places is asked with.
    assert!(entered.remove("self") && entered.remove("Requests"), "{entered:?}");
    assert_eq!(entered, named);
}
