//! Two grammars of the settings, one answer: that of the runtime, in Rust, and that of resolvers in C, which have one of their own in
//! `capi/include/invar-ifunc.h`, as they run before their module is relocated.
//!
//! Each environment is judged by both. The environments are made from a fixed seed: settings that are right, misspelt, empty, long,
//! given twice, with spaces, with separators too many or too few, and in other cases. Both must say the same of each, without an
//! exception. What only the runtime says, that a setting is misspelt, a resolver cannot.

use invar::__fuzz::Taken;
use libtest_mimic::{Arguments, Trial};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Where the program in C finds each environment: behind this name, in the memory that `/proc/self/environ` shows.
const ROOM: usize = 16 << 10;
/// How many environments are made.
const ENVIRONMENTS: usize = 20_000;

/// The features that resolvers ask for, as `invar-ifunc.h` names them, and the runtime's keys.
const FEATURES: [(&str, &str); 4] =
    [("avx2", "cpu.avx2"), ("avx512bw", "cpu.avx512bw"), ("sse4_1", "cpu.sse4.1"), ("x86_64_v3", "cpu.x86-64-v3")];

/// Reads environments, as many bytes behind four that say how many, and writes what a resolver makes of each.
const PROGRAM: &str = r#"
#include <invar-ifunc.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

int main(void)
{
	char *start = environ[0];
	size_t room = strlen(start) + 1;
	uint32_t length;

	while (fread(&length, sizeof length, 1, stdin) == 1) {
		unsigned char found = 0;
		unsigned lowered;

		/* Behind it only variables that are empty. */
		memset(start, 0, room);
		if (length > room || fread(start, 1, length, stdin) != length)
			return 1;
		lowered = invar_lowered_(NAMES, 4, &found);
		printf("%x %x\n", lowered, found);
	}
	return 0;
}
"#;

fn main() -> ExitCode {
    let tests = [("gcc", "-O2"), ("clang", "-O0")].into_iter().map(|(compiler, option)| {
        let name = format!("resolvers read each environment as the runtime does, {compiler} {option}");
        let missing = missing(compiler);
        let body = move || {
            both_say_the_same(compiler, option);
            Ok(())
        };
        let kind = missing.as_ref().map_or(String::new(), |why| format!("skipped: {why}"));
        Trial::test(name, body).with_kind(kind).with_ignored_flag(missing.is_some())
    });
    let mut tests: Vec<_> = tests.collect();
    tests.push(Trial::test("environments of every sort are made", || {
        every_sort_is_made();
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Why there is no such resolver here.
fn missing(compiler: &str) -> Option<String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        return Some("resolvers in C are for x86-64 and glibc".into());
    }
    let found = Command::new(compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    (!found.is_ok_and(|status| status.success())).then(|| format!("{compiler} is not installed"))
}

/// A file that goes away with this.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn program(compiler: &str, option: &str) -> Temporary {
    let folder = std::env::temp_dir();
    let name = format!("invar-resolvers-{}-{compiler}{option}", std::process::id());
    let (source, program) = (Temporary(folder.join(format!("{name}.c"))), Temporary(folder.join(name)));
    let names = FEATURES.map(|(name, _)| name).join("\\0");
    std::fs::write(&source.0, PROGRAM.replace("NAMES", &format!("\"{names}\""))).expect("a file");
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../capi/include");
    let mut command = Command::new(compiler);
    command.args([option, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(headers);
    let output = command.arg(&source.0).arg("-o").arg(&program.0).output().expect("a compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// What is made of an environment: whether all is switched off, and which features, a bit each; and whether there are settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    lowered: u32,
    found: bool,
}

/// By the runtime.
fn by_the_runtime(environment: &[u8]) -> Said {
    let variables = environment.split(|&byte| byte == 0).map(|variable| CString::new(variable).expect("no NUL"));
    let variables: Vec<_> = variables.collect();
    let taken = Taken::new(variables.iter().map(|variable| &**variable), &mut |_| ());
    let is_off = |key: &str| taken.key(key.as_bytes()) == Some(b"off");
    let bits = FEATURES.iter().enumerate().map(|(at, (_, key))| u32::from(is_off(key)) << at);
    let lowered = if taken.mode() == "off" { u32::MAX } else { bits.sum() };
    let is_setting =
        |variable: &CString| [&b"INVAR="[..], b"INVAR_KEYS="].iter().any(|name| variable.to_bytes().starts_with(name));
    Said { lowered, found: variables.iter().any(is_setting) }
}

/// By a resolver in C.
fn by_a_resolver(program: &Path, environments: &[Vec<u8>]) -> Vec<Said> {
    let mut command = Command::new(program);
    command.env_clear().env("ROOM", "x".repeat(ROOM)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let (mut input, mut output) = (child.stdin.take().expect("input"), child.stdout.take().expect("output"));
    let said = std::thread::scope(|scope| {
        scope.spawn(move || {
            for environment in environments {
                input.write_all(&(environment.len() as u32).to_le_bytes()).expect("the length");
                input.write_all(environment).expect("an environment");
            }
        });
        let mut said = String::new();
        output.read_to_string(&mut said).expect("answers");
        said
    });
    assert!(child.wait().expect("its end").success());
    let line = |line: &str| {
        let (lowered, found) = line.split_once(' ').expect("two numbers");
        let number = |text| u32::from_str_radix(text, 16).expect("a number");
        assert!(number(found) & 2 == 0, "it could not be read");
        Said { lowered: number(lowered), found: number(found) & 1 != 0 }
    };
    said.lines().map(line).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        // xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % most
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// A word with a fault, as people make them and as nobody does.
    fn spoilt(&mut self, word: &str) -> String {
        let at = self.below(word.len() + 1);
        let (before, behind) = word.split_at(at);
        match self.below(10) {
            0 => format!("{before} {behind}"),
            1 => format!("{before}={behind}"),
            2 => format!("{before},{behind}"),
            3 => word.to_uppercase(),
            4 => behind.into(),
            5 => before.into(),
            6 => format!("{before}{}{behind}", self.one_of(&["x", "\t", ".", "_", "-", "\u{e4}"])),
            7 => word.repeat(2),
            8 => format!("{before}{}{behind}", "long".repeat(self.below(40))),
            _ => String::new(),
        }
    }

    fn perhaps_spoilt(&mut self, word: &str) -> String {
        if self.below(6) == 0 { self.spoilt(word) } else { word.into() }
    }

    /// An entry of `INVAR_KEYS`.
    fn entry(&mut self) -> String {
        let key = match self.below(6) {
            0 => self.one_of(&["cpu.sse4_1", "cpu.x86_64_v3", "cpu.avx", "avx2", "slice", "program.key", ""]),
            _ => FEATURES[self.below(FEATURES.len())].1,
        };
        let value = match self.below(5) {
            0 | 1 => "on",
            2 => self.one_of(&["", "none", "of", "offf", "OFF", "0", "off "]),
            _ => "off",
        };
        let (key, value) = (self.perhaps_spoilt(key), self.perhaps_spoilt(value));
        match self.below(12) {
            0 => key,
            1 => format!("{key}=={value}"),
            _ => format!("{key}={value}"),
        }
    }

    fn keys(&mut self) -> String {
        let entries: Vec<_> = (0..self.below(9)).map(|_| self.entry()).collect();
        let separator = if self.below(8) == 0 { self.one_of(&[",,", ", ", " ,", ";", " ", "=,", ",="]) } else { "," };
        let keys = entries.join(separator);
        match self.below(12) {
            0 => format!(",{keys}"),
            1 => format!("{keys},"),
            _ => keys,
        }
    }

    fn variable(&mut self) -> String {
        let name = match self.below(8) {
            0..3 => "INVAR",
            3..7 => "INVAR_KEYS",
            _ => self.one_of(&["INVAR_KEY", "INVARX", "INVAR_", "XINVAR_KEYS", "invar", "INVAR_WRITER", "PATH", ""]),
        };
        let value = match name {
            "INVAR" => {
                let mode = self.one_of(&["off", "auto", "require", "", "on"]);
                self.perhaps_spoilt(mode)
            }
            _ => self.keys(),
        };
        let name = if self.below(16) == 0 { self.spoilt(name) } else { name.into() };
        if self.below(24) == 0 { name } else { format!("{name}={value}") }
    }

    /// Variables with a NUL behind each. Others stand before them, so that what is read at a time ends anywhere.
    fn environment(&mut self) -> Vec<u8> {
        let mut environment = String::new();
        if self.below(3) == 0 {
            let length = self.below(5000);
            environment = format!("A={}\0", "x".repeat(length));
        }
        for _ in 0..self.below(5) {
            environment.push_str(&self.variable());
            environment.push('\0');
        }
        environment.into_bytes()
    }
}

fn environments() -> Vec<Vec<u8>> {
    let mut random = Random(0x1dea_5eed);
    let mut environments = vec![b"".to_vec(), b"\0\0INVAR=off\0".to_vec()];
    environments.resize_with(ENVIRONMENTS, || random.environment());
    environments
}

fn both_say_the_same(compiler: &str, option: &str) {
    let (program, environments) = (program(compiler, option), environments());
    let said = by_a_resolver(&program.0, &environments);
    assert_eq!(said.len(), environments.len());
    let differ = environments.iter().zip(said).filter_map(|(environment, resolver)| {
        let runtime = by_the_runtime(environment);
        let text = String::from_utf8_lossy(environment);
        (runtime != resolver).then(|| format!("{runtime:x?} {resolver:x?}: {:?}", text.trim_start_matches("A=xx")))
    });
    let differ: Vec<_> = differ.collect();
    assert!(
        differ.is_empty(),
        "{} of {ENVIRONMENTS} differ:\n{}",
        differ.len(),
        differ[..differ.len().min(20)].join("\n")
    );
}

/// As if all environments said nothing.
fn every_sort_is_made() {
    let environments = environments();
    assert!(environments.iter().all(|environment| environment.len() < ROOM));
    let said: BTreeSet<_> = environments.iter().map(|environment| by_the_runtime(environment)).collect();
    // Nothing at all, nothing that counts, all off, and each set of the four.
    assert_eq!(said.len(), 1 + 16 + 1, "{said:x?}");
    let has = |part: &[u8]| environments.iter().any(|one| one.windows(part.len()).any(|window| window == part));
    for part in [
        &b"INVAR=OFF\0"[..],
        b"INVAR= off\0",
        b"INVAR=\0",
        b"INVAR_KEYS=\0",
        b",,",
        b"==off",
        b"longlonglonglonglong",
        b"cpu.avx2=off,cpu.avx2=on",
    ] {
        assert!(has(part), "{}", String::from_utf8_lossy(part));
    }
}
