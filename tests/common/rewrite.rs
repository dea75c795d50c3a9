//! Tools that change programs and libraries after they were linked, as distributors and packagers use them.
//!
//! The command's tests have this file too: it needs nothing of the others.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that changes a file, where it is.
#[derive(Clone)]
pub struct Rewriter {
    /// What tests are called after it.
    pub name: String,
    /// Why it cannot be had here.
    pub missing: Option<String>,
    /// Others may not know of the module afterwards, since nothing leads to its note.
    pub hides: bool,
    change: Change,
}

#[derive(Clone)]
enum Change {
    /// A tool's words before the file's name, `{debug}` for another file; each line of options is a run.
    Tool(Vec<String>, Vec<Vec<String>>),
    /// Done here.
    Bytes(fn(Vec<u8>) -> Vec<u8>),
}

impl Rewriter {
    /// Changes the file.
    pub fn change(&self, file: &Path) {
        match &self.change {
            Change::Tool(words, runs) => runs.iter().for_each(|options| {
                let debug = file.with_added_extension("debug").display().to_string();
                let words: Vec<_> = words.iter().map(|word| word.replace("{debug}", &debug)).collect();
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).args(options).arg(file);
                let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
                let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
                assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
                let _ = std::fs::remove_file(debug);
            }),
            Change::Bytes(change) => {
                let bytes = std::fs::read(file).expect("a file");
                std::fs::write(file, change(bytes)).expect("the same file");
            }
        }
    }
}

/// Where a file is rewritten to be found, as far as this matters.
pub const NEW_RPATH: &str = "/opt/rewritten/lib";
/// What [`cut_prefix`] replaces: long, as a package manager has it that builds in one folder and installs in others.
pub const PREFIX: &str = "/build/placehold_placehold_placehold_placehold_placehold_placehold_placehold/env";
/// And by what: somewhere that is there.
pub const NEW_PREFIX: &str = "/usr";
/// The name of who does that.
pub const OTHER_PREFIX: &str = "another prefix";

/// Those that take programs and libraries alike.
pub fn any(rpath: &str) -> Vec<Rewriter> {
    // More than anybody left room for.
    let long = format!("{rpath}{}", format!(":{NEW_RPATH}").repeat(40));
    let mut rewriters = patchelfs(&[
        ("a long rpath", &[&["--set-rpath", &long]]),
        ("a large page", &[&["--page-size", "65536", "--set-rpath", &long]]),
        ("another library", &[&["--add-needed", "libm.so.6"]]),
        ("as conda", &[&["--force-rpath", "--set-rpath", rpath]]),
        (
            "three times",
            &[&["--set-rpath", &long], &["--add-needed", "libm.so.6"], &["--set-rpath", &format!("{long}:/")]],
        ),
    ]);
    rewriters.extend(keepers());
    rewriters
}

/// Those that need no room and move nothing.
pub fn keepers() -> Vec<Rewriter> {
    let tool = |name: &str, hides, words: &[&str]| Rewriter {
        name: name.into(),
        missing: missing(words[0]),
        hides,
        change: Change::Tool(words.iter().map(ToString::to_string).collect(), vec![vec![]]),
    };
    let here =
        |name: &str, change| Rewriter { name: name.into(), missing: None, hides: false, change: Change::Bytes(change) };
    vec![
        tool("strip -s", false, &["strip", "-s"]),
        tool("strip -R .note*", true, &["strip", "-R", ".note*"]),
        tool("eu-strip -f", false, &["eu-strip", "-f", "{debug}"]),
        // Where notes are left, their segment has the address 0 then (GNU objcopy 2.40), and PT_GNU_RELRO is gone.
        tool("objcopy, the build's notes", true, &["objcopy", "-R", ".note.gnu.build-id", "-R", ".comment"]),
        tool("objcopy, no debug information", false, &["objcopy", "--strip-debug", "--compress-debug-sections"]),
        here("no section headers", cut_sections),
        here(OTHER_PREFIX, cut_prefix),
    ]
}

/// For programs.
pub fn programs() -> Vec<Rewriter> {
    // The same loader by another name, which is longer.
    let loader = format!("/lib64{}/ld-linux-x86-64.so.2", "/../lib64".repeat(40));
    patchelfs(&[("another interpreter", &[&["--set-interpreter", &loader]])])
}

/// For libraries.
pub fn libraries() -> Vec<Rewriter> {
    patchelfs(&[("another name", &[&["--set-soname", &format!("lib{}.so.1", "rewritten".repeat(20))]])])
}

/// Compresses programs: at this level. The best one takes many minutes with large ones.
pub fn upx(level: &str) -> Rewriter {
    let options = [level, "-qqq"].map(String::from).to_vec();
    let (words, missing) = match newest("upx-ucl") {
        Ok(words) => (words, None),
        Err(why) => (vec!["upx".into()], self::missing("upx").map(|_| why)),
    };
    Rewriter { name: "upx".into(), missing, hides: false, change: Change::Tool(words, vec![options]) }
}

/// What starts patchelf, as the system has it and the newest suite; or why it cannot be had.
fn both_patchelfs() -> [(&'static str, Result<Vec<String>, String>); 2] {
    let system = match missing("patchelf") {
        None => Ok(vec!["patchelf".to_owned()]),
        Some(why) => Err(why),
    };
    [("the system's", system), ("the newest", newest("patchelf"))]
}

/// The versions of patchelf that tests are run with: what each says of itself, and the package that it is from. Of one that cannot be
/// had, why.
pub fn patchelf_versions() -> [(&'static str, Result<[String; 2], String>); 2] {
    both_patchelfs().map(|(which, words)| (which, words.and_then(|words| versions_of(&words))))
}

fn versions_of(words: &[String]) -> Result<[String; 2], String> {
    let said = said_by(Command::new(&words[0]).args(&words[1..]).arg("--version"))?;
    let said = said.trim().strip_prefix("patchelf ").ok_or_else(|| format!("no version: {said:?}"))?;
    let version = match words.last().filter(|tool| tool.contains('/')) {
        // It is in usr/bin, below the root that has its package's papers.
        Some(tool) => version_in(Path::new(tool).ancestors().nth(3).ok_or("not below a root")?, "patchelf"),
        None => installed_version("patchelf"),
    };
    Ok([said.to_owned(), version?])
}

fn said_by(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version of a package of Debian's that is installed, without what Debian adds to it.
fn installed_version(package: &str) -> Result<String, String> {
    let version = said_by(Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]))?;
    if version.is_empty() { Err(format!("no package {package} is installed")) } else { Ok(upstream(&version)) }
}

/// The same of one that lies in a folder: by its papers.
fn version_in(root: &Path, package: &str) -> Result<String, String> {
    let papers = root.join("usr/share/doc").join(package).join("changelog.Debian.gz");
    let text = said_by(Command::new("zcat").arg(&papers))?;
    let version = text.split_once(" (").and_then(|(_, rest)| rest.split(')').next());
    version.map(upstream).ok_or_else(|| format!("{} tells no version", papers.display()))
}

fn upstream(version: &str) -> String {
    version.rsplit_once('-').map_or(version, |(upstream, _)| upstream).to_owned()
}

/// Whether a version is older than another, number by number.
pub fn is_older(version: &str, than: &str) -> bool {
    let numbers = |version: &str| version.split('.').map(|part| part.parse().expect("a number")).collect::<Vec<u32>>();
    numbers(version) < numbers(than)
}

/// patchelf, as the system has it and the newest suite, with these lines of options.
pub fn patchelfs(uses: &[(&str, &[&[&str]])]) -> Vec<Rewriter> {
    let [system, newest] = both_patchelfs().map(|(_, words)| match words {
        Ok(words) => (words, None),
        Err(why) => (vec![], Some(why)),
    });
    let run = |run: &&[&str]| run.iter().map(ToString::to_string).collect();
    let of = |(which, (words, missing)): (&str, &(Vec<String>, Option<String>))| {
        uses.iter()
            .map(|(name, runs)| Rewriter {
                name: format!("{which} patchelf, {name}"),
                missing: missing.clone(),
                hides: false,
                change: Change::Tool(words.clone(), runs.iter().map(run).collect()),
            })
            .collect::<Vec<_>>()
    };
    [("the system's", &system), ("the newest", &newest)].into_iter().flat_map(of).collect()
}

fn missing(tool: &str) -> Option<String> {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    (!found).then(|| format!("no {tool}"))
}

/// The words that start a tool of the newest suite, from a folder of `tests/sid`.
fn newest(tool: &str) -> Result<Vec<String>, String> {
    let root = std::env::var_os("INVAR_TEST_REWRITERS").map(PathBuf::from);
    let root = root.ok_or("INVAR_TEST_REWRITERS names no folder that tests/sid has made with these tools")?;
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let (loader, tool) = (libraries.join("ld-linux-x86-64.so.2"), root.join("usr/bin").join(tool));
    let words =
        [&*loader, "--library-path".as_ref(), &libraries, &tool].map(|word| word.display().to_string()).to_vec();
    let tried = Command::new(&words[0]).args(&words[1..]).arg("--version").output();
    let works = tried.is_ok_and(|tried| tried.status.success());
    works.then_some(words).ok_or_else(|| format!("{} cannot be run", tool.display()))
}

/// As `sstrip`: nothing that only linkers and debuggers look at.
fn cut_sections(mut bytes: Vec<u8>) -> Vec<u8> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    // ELF64: e_phoff, e_phentsize, e_phnum; p_offset, p_filesz.
    let (table, size, count) = (word(32), half(54), half(56));
    let ends = (0..count).map(|at| table + at * size).map(|header| word(header + 8) + word(header + 32));
    let end = ends.max().expect("segments").max(table + size * count);
    bytes.truncate(end);
    // e_shoff; e_shnum and e_shstrndx.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    bytes
}

/// As conda installs: in each string of the file the one prefix is replaced by the other, and the rest moves forward.
fn cut_prefix(mut bytes: Vec<u8>) -> Vec<u8> {
    let starts = |bytes: &[u8], from: usize| {
        bytes[from..].windows(PREFIX.len()).position(|window| window == PREFIX.as_bytes()).map(|at| from + at)
    };
    let (mut from, mut replaced) = (0, 0);
    while let Some(at) = starts(&bytes, from) {
        let end = at + bytes[at..].iter().position(|&byte| byte == 0).expect("the end of a string");
        let rest = bytes[at + PREFIX.len()..end].to_vec();
        let mut new = [NEW_PREFIX.as_bytes(), &rest].concat();
        new.resize(end - at, 0);
        bytes[at..end].copy_from_slice(&new);
        (from, replaced) = (end, replaced + 1);
    }
    assert!(replaced > 0, "nothing in the file has the prefix");
    bytes
}
