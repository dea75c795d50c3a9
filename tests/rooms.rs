//! Files build on each other one way, in each package: no circle of imports. The core enters the time slice wing
//! (`src/timeslice/`) at the places that the wing's head comment names. And in a package each name of a type means one type.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the packages' sources, and how many imports are seen in each at least: as if the parser saw nothing.
/// Those of one file, or of programs that share nothing, have none.
const PACKAGES: [(&str, usize); 14] = [
    ("abi", 10),
    ("arch", 10),
    ("macros/src", 6),
    ("src", 120),
    ("lock/src", 6),
    ("cli/src", 60),
    ("capi/src", 0),
    ("fuzz/src", 15),
    ("guest/src", 5),
    ("guest/programs/src", 1),
    ("measure/src", 3),
    ("benches", 10),
    ("examples", 0),
    ("tests/mutants/src", 1),
];

/// Packages in whose folder others are, so that they stand in no list: those of the tests are built one by one, as a user would.
const OTHERS: [&str; 1] = ["tests/programs"];

/// A package's files by their paths from its folder, each without comments and unit tests.
fn files(package: &str) -> BTreeMap<String, String> {
    read(package, code)
}

/// The same, with what is made of each.
fn read(package: &str, code: fn(&str) -> String) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() && !path.ends_with("target") {
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
    let lines = without_tests(text).lines().map(|line| line.split("//").next().unwrap());
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("$crate::", "")
        .replace("(in crate::", "(in ")
        .replace("(in super::super)", "")
}

fn without_tests(text: &str) -> &str {
    let end = ["\nmod tests {", "\npub(super) mod tests {", "\npub(crate) mod tests {"]
        .iter()
        .filter_map(|begin| text.find(begin))
        .min();
    &text[..end.unwrap_or(text.len())]
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

/// What a machine does has no memory of its own that changes: whoever asks it keeps what is to be kept.
#[test]
fn machines_keep_nothing() {
    let files = files("arch");
    // What the tests step with.
    let own = files.iter().filter(|(file, _)| !file.ends_with("stepping.rs"));
    let changing = own.flat_map(|(file, text)| {
        let is_changing = |line: &&str| {
            let is_static = ["static ", "pub static ", "pub(crate) static "].iter().any(|word| line.starts_with(word));
            is_static && ["Atomic", "Cell", "static mut", "Mutex"].iter().any(|word| line.contains(word))
        };
        text.lines().map(str::trim).filter(is_changing).map(move |line| format!("{file}: {line}"))
    });
    assert_eq!(changing.collect::<Vec<_>>(), [""; 0]);
    assert!(files.len() > 20, "{files:?}");
}

/// A type that a text declares: its name, and whether under a condition (`cfg`).
#[derive(Debug, PartialEq)]
struct Declared {
    name: String,
    has_condition: bool,
}

/// Comments are left out, and of strings and characters what is in them: a brace there is none of the code's.
fn bare(text: &str) -> String {
    let text = without_tests(text);
    let bytes = text.as_bytes();
    let (mut code, mut at) = (String::new(), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        let begins_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let hashes = rest.strip_prefix("br").or(rest.strip_prefix('r')).filter(|_| begins_word).map(|rest| {
            let hashes = rest.len() - rest.trim_start_matches('#').len();
            (hashes, rest[hashes..].starts_with('"'))
        });
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
            continue;
        }
        let length = if let Some((hashes, true)) = hashes {
            let opening = rest.find('"').unwrap() + 1;
            let closing = format!("\"{}", "#".repeat(hashes));
            opening + rest[opening..].find(&closing).map_or(rest.len() - opening, |end| end + closing.len())
        } else if bytes[at] == b'"' {
            let (mut end, bytes) = (1, rest.as_bytes());
            while end < bytes.len() && bytes[end] != b'"' {
                end += 1 + usize::from(bytes[end] == b'\\');
            }
            (end + 1).min(bytes.len())
        } else if let Some(character) = rest.strip_prefix('\'') {
            // A lifetime has no quote behind its first character.
            let first = character.chars().next().map_or(0, char::len_utf8);
            match character.strip_prefix('\\') {
                Some(escaped) => {
                    2 + escaped.char_indices().skip(1).find(|(_, next)| *next == '\'').map_or(0, |(end, _)| end + 1)
                }
                None if character[first..].starts_with('\'') => first + 2,
                None => 0,
            }
        } else {
            0
        };
        if length == 0 {
            let next = rest.chars().next().unwrap();
            code.push(next);
            at += next.len_utf8();
        } else {
            code.push_str("\"\"");
            at = text.len().min(at + length);
            while !text.is_char_boundary(at) {
                at += 1;
            }
        }
    }
    code
}

/// The types that bare code declares. Those that an `impl` or a trait has are the trait's, and what a macro's argument is called is not
/// known.
fn declared(text: &str) -> Vec<Declared> {
    let (mut head, mut blocks, mut found) = (String::new(), Vec::new(), Vec::new());
    for next in text.chars() {
        if !matches!(next, '{' | '}' | ';') {
            head.push(next);
            continue;
        }
        let ended = std::mem::take(&mut head);
        let words: Vec<_> = ended.split(|next: char| !(next.is_alphanumeric() || matches!(next, '_' | '$'))).collect();
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let has_condition = ended.contains("#[cfg(") || blocks.last().is_some_and(|&(_, has_condition)| has_condition);
        if next != '}' && !blocks.last().is_some_and(|&(is_of_trait, _)| is_of_trait) {
            let declaring = |pair: &&[&str]| {
                let is_name = pair[1].starts_with(|first: char| first.is_uppercase());
                matches!(pair[0], "struct" | "enum" | "union" | "trait" | "type") && is_name
            };
            // A bound may stand behind a trait's name, but no other declaration.
            let found_here = words.windows(2).find(declaring);
            found.extend(found_here.map(|pair| Declared { name: pair[1].to_owned(), has_condition }));
        }
        match next {
            '{' => {
                let is_of_trait = !words.contains(&"fn") && (words.contains(&"impl") || words.contains(&"trait"));
                blocks.push((is_of_trait, has_condition));
            }
            '}' => _ = blocks.pop(),
            _ => {}
        }
    }
    found
}

/// A public module's types that have the names of the crate's own, so that a program chooses by one `use`.
const CHOSEN_BY_USE: [(&str, &str, &[&str]); 1] =
    [("lock/src", "adaptive/", &["Mutex", "MutexGuard", "RawMutex", "RawSpinLock", "SpinLock", "SpinLockGuard"])];

/// Where a name means two types, a reader takes one for the other. What is chosen from is one type all the same, as a program has
/// only one of it: alternatives in a file under conditions, and what `src/elsewhere/` has in place of the rest.
#[test]
fn a_name_means_one_type_in_a_package() {
    let (mut twice, mut seen) = (BTreeMap::new(), 0);
    for (package, _) in PACKAGES {
        let mut places = BTreeMap::<String, BTreeMap<String, Vec<Declared>>>::new();
        for (file, text) in read(package, bare) {
            for declared in declared(&text) {
                places.entry(declared.name.clone()).or_default().entry(file.clone()).or_default().push(declared);
            }
        }
        seen += places.len();
        for (package_of, module, names) in CHOSEN_BY_USE.iter().filter(|(of, ..)| *of == package) {
            for name in *names {
                let files = places.get_mut(*name).unwrap_or_else(|| panic!("{package_of} has no {name}"));
                let all = files.len();
                files.retain(|file, _| !file.starts_with(module));
                assert!(files.len() + 1 == all && all == 2, "{package_of}: {name} is in {files:?}");
            }
        }
        for (name, files) in places {
            let count = |elsewhere: bool| -> usize {
                let there = files.iter().filter(|(file, _)| file.starts_with("elsewhere/") == elsewhere);
                there.map(|(_, all)| if all.iter().all(|one| one.has_condition) { 1 } else { all.len() }).sum()
            };
            if count(true) > 1 || count(false) > 1 {
                twice.insert(join(package, &name), files.into_keys().collect::<Vec<_>>());
            }
        }
    }
    assert!(seen > 300, "{seen} types");
    assert!(twice.is_empty(), "{} names mean several types: {twice:#?}", twice.len());
}

#[test]
fn declared_types_are_seen() {
    let text = r##"
        pub(crate) struct One<'a>(&'a str);
        #[cfg(a)] #[derive(Clone)] enum Two { Three, Four { five: char } }
        impl<T> Trait for One<'_> where T: 'static { type Item = Six; fn next(&self) -> impl Sized { struct Seven; '{' } }
        unsafe trait Eight: Nine { type Item; }
        const BRACES: &str = "} struct Ten; {"; const RAW: &str = r#"" struct Eleven; {"#;
        // struct No; {
        const ADDRESS: &str = "https://"; /* enum No { */
        type Twelve = fn(type_of: Thirteen); union Fourteen { a: u8 } struct $name;
        mod inner { type Fifteen = ['\''; b'"']; }
        #[cfg(b)] mod other { invar::pointers! { static IT: struct Sixteen { a: fn() } = {} } }
    "##;
    let found: Vec<_> =
        declared(&bare(text)).into_iter().map(|declared| (declared.name, declared.has_condition)).collect();
    let names = ["One", "Two", "Seven", "Eight", "Twelve", "Fourteen", "Fifteen", "Sixteen"];
    assert_eq!(found, names.map(|name| (name.to_owned(), matches!(name, "Two" | "Sixteen"))));
}

/// A package that nobody lists is one that no test here looks at.
#[test]
fn each_package_is_looked_at() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.to_owned()];
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = folder.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            // A release has other people's packages in `vendor`.
            if kind.is_dir() && ![".git", "target", "vendor"].iter().any(|left_out| path.ends_with(left_out)) {
                folders.push(path);
            } else if path.ends_with("Cargo.toml") && !OTHERS.iter().any(|others| name.starts_with(others)) {
                seen += 1;
                let is_listed = PACKAGES.iter().any(|(listed, _)| {
                    *listed == join(&name, "src") || *listed == name || name.starts_with(&format!("{listed}/"))
                });
                if !is_listed {
                    missing.insert(name);
                }
            }
        }
    }
    assert!(seen >= PACKAGES.len(), "{seen}");
    assert!(missing.is_empty(), "no test here looks at {missing:?}");
}
