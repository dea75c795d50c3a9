//! Comparisons, selects and constants, in programs and libraries that cargo and a C compiler built: what they come to, bound or not,
//! what stands at their sites, and one number for each name in a process.

mod common;

use common::c::{LINK, compiler, libinvar};
use common::elf::{Image, SiteRecord};
use common::{
    ANYWHERE, Build, Tale, Temporary, bound_in_c, command, missing_tool, must, run, sites, tale, test,
    with_either_binder,
};
use std::collections::BTreeSet;
use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        test("the same in every build", sites(), the_same_in_every_build),
        test("the file and memory hold the forms", sites(), the_file_and_memory_hold_the_forms),
        test("a bound select is one jump", sites(), a_bound_select_is_one_jump),
        test("a setting lowers a number", ANYWHERE, a_setting_lowers_a_number),
        test("what is no number is said", ANYWHERE, what_is_no_number_is_said),
        test("a process has one number for each name", ANYWHERE, a_process_has_one_number),
        test("in Rust and in C", sites().or_else(|| missing_tool("cc")), in_rust_and_in_c),
        test("of one byte and of two in C, bound or not", sites().or_else(|| missing_tool("cc")), small_in_c),
        test("signed constants in C do not compile", missing_tool("cc"), signed_in_c),
        test("in C alone", missing_tool("cc"), in_c_alone),
        test("selects and comparisons in C", sites().or_else(|| missing_tool("cc")), selects_in_c),
        test("comparisons in C that have one answer", missing_tool("cc"), one_answer_in_c),
        test("the instrumentation of valgrind", sites().or_else(|| missing_tool("valgrind")), under_valgrind),
        test("a select whose records are apart is left alone", sites(), records_that_are_apart),
    ];
    let values = with_either_binder("each value goes its way", ANYWHERE, each_value_goes_its_way);
    run(tests.into_iter().chain(values))
}

/// The results of all widths are one, and so are those of sites that are bound or not.
fn story(build: &Build, settings: &[(&str, &str)]) -> Tale {
    // What a build that counts would leave behind.
    let tale =
        tale(command(build.program("numbers")).env("LLVM_PROFILE_FILE", "/dev/null").envs(settings.iter().copied()));
    tale.assert_consistent();
    tale
}

fn each_value_goes_its_way() {
    for build in [Build::debug(), Build::release()] {
        for width in ["0", "1", "2", "3"] {
            let width = ("NUMBERS_WIDTH", width);
            let bound = story(&build, &[width]);
            // The binder in C leaves the new kinds alone.
            if !bound_in_c() {
                bound.program().assert_bound();
            }
            for writer in ["memfd", "mprotect", "off"] {
                let other = story(&build, &[width, ("INVAR_WRITER", writer)]);
                assert_eq!((&other.results, other.choices()), (&bound.results, bound.choices()), "{writer}");
                match writer {
                    "off" if !bound_in_c() => other.program().assert_checked(),
                    _ if !bound_in_c() => other.program().assert_bound(),
                    _ => {}
                }
            }
            let off = story(&build, &[width, ("INVAR", "off")]);
            if !bound_in_c() {
                assert_eq!((&*off.results["line"], &*off.results["far"]), ("64", "3145728"), "the fallback");
            }
        }
    }
}

/// What is peculiar about a build is what the compiler leaves of the sites, and what the linker makes of the tables.
fn the_same_in_every_build() {
    let expected = story(&Build::release(), &[]);
    for (name, settings, flags) in [
        ("numbers one unit, fat", &[("lto", "fat"), ("codegen-units", "1")][..], &["-Ctarget-feature=+crt-static"][..]),
        ("numbers small, boundaries", &[("opt-level", "s")], &["-Cllvm-args=-x86-branches-within-32B-boundaries"]),
        ("numbers dead code", &[("opt-level", "0")], &["-Clink-dead-code", "-Crelocation-model=static"]),
        ("numbers by bfd, counted", &[], &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd", "-Cprofile-generate"]),
    ] {
        let build =
            settings.iter().fold(Build::release().named(name), |build, (entry, value)| build.setting(entry, value));
        let build = flags.iter().fold(build, |build, flag| build.rustflag(*flag));
        let tale = story(&build, &[]);
        assert_eq!((&tale.results, tale.choices()), (&expected.results, expected.choices()), "{name}");
        tale.program().assert_bound();
    }
}

/// After docs/site-abi.md, by none of the runtime's code.
fn the_file_and_memory_hold_the_forms() {
    let image = Image::read(&Build::release().program("numbers"));
    let records = image.site_records();
    let tale = story(&Build::release(), &[("NUMBERS_WIDTH", "2")]);
    let bindings = &tale.program().bindings;
    let mut met = BTreeSet::new();
    let distance = |from: u64, to: u64| (to.wrapping_sub(from) as i32).to_le_bytes();
    for (record, binding) in records.iter().zip(bindings) {
        let SiteRecord { site, target, state, length, kind, value, flags } = *record;
        let memory = &binding.site.as_ref().expect("a site").bytes;
        let file = image.at(site, length.into());
        let end = site + u64::from(length);
        match (kind, flags) {
            (1, 1) => {
                assert_eq!(file[..3], [0x40, 0x80, 0x3d]);
                assert_eq!((file[7], file[8] == 0x72 || file[8..10] == [0x0f, 0x82]), (value, true), "jb");
                // The key has its third value.
                assert_eq!(memory[1], if value <= 2 { 0x0f } else { 0xe9 });
            }
            (6, 0) => {
                assert_eq!(file, [0x40, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]);
                assert_eq!((&memory[..2], &memory[6..]), (&[0x40, 0xe9][..], &[0x0f, 0x1f, 0][..]));
                if value == 2 && is_of_width(&image, state) {
                    assert_eq!(memory[2..6], distance(site + 6, target));
                }
            }
            (5, 0) => {
                assert_eq!(target, state + 256);
                let (register, is_wide) = (value & 15, value >= 32);
                let [in_the_middle, at_the_end] = if register < 8 { [0x40; 2] } else { [0x44, 0x41] };
                let width = if is_wide { 8 } else { 0 };
                let prefixes: &[u8] = if is_wide { &[0x66; 4] } else { &[] };
                let load =
                    [prefixes, &[in_the_middle + width, 0x8b, 5 + 8 * (register & 7)], &distance(end, target)].concat();
                assert_eq!(file, load);
                let number = number(&tale, &binding.site.as_ref().unwrap().key);
                let low = [&[at_the_end, 0xc7, 0xc0 + (register & 7)][..], &(number as u32).to_le_bytes()].concat();
                let expected = match (is_wide, number >> 32) {
                    (false, _) if register < 8 => low,
                    (false, _) => {
                        assert_eq!(memory[..3], [0x44, 0x8d, 5 + 8 * (register & 7)]);
                        // It depends on where the program was loaded, and the results show it.
                        memory.clone()
                    }
                    (true, 0) => [&[0x66, 0x0f, 0x1f, 0][..], &low].concat(),
                    _ => [&[0x66, at_the_end + 8, 0xb8 + (register & 7)][..], &number.to_le_bytes()].concat(),
                };
                assert_eq!(memory, &expected, "{record:x?}");
                met.insert((is_wide, number >> 32 != 0, register >= 8));
            }
            _ => {}
        }
    }
    let kinds: BTreeSet<_> = records.iter().map(|record| (record.kind, record.flags)).collect();
    assert!([(1, 0), (1, 1), (5, 0), (6, 0)].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert!(met.len() >= 4, "constants of few sorts: {met:?}");
}

fn is_of_width(image: &Image, state: u64) -> bool {
    image.state("numbers.width") == state
}

/// What a constant is said to be.
fn number(tale: &Tale, key: &str) -> u64 {
    tale.program().key(key).value.parse().expect("a number")
}

/// Each record leads to where its value goes, and the site goes to that of the key's value.
fn a_bound_select_is_one_jump() {
    let image = Image::read(&Build::release().program("numbers"));
    for (width, name) in ["narrow", "wide", "widest", "huge"].iter().enumerate() {
        let tale = story(&Build::release(), &[("NUMBERS_WIDTH", &width.to_string())]);
        assert_eq!(&tale.program().key("numbers.width").value, name);
        let mut selects = 0;
        let records = image.site_records();
        for (record, binding) in records.iter().zip(&tale.program().bindings) {
            let site = binding.site.as_ref().unwrap();
            if record.kind == 6 && site.key == "numbers.width" {
                let goes = record
                    .site
                    .wrapping_add(6)
                    .wrapping_add_signed(i32::from_le_bytes(site.bytes[2..6].try_into().unwrap()).into());
                let is_its = usize::from(record.value) == width;
                assert!(!is_its || goes == record.target, "{record:x?}");
                selects += usize::from(is_its);
            }
        }
        assert!(selects >= 4, "{selects}");
    }
}

fn a_setting_lowers_a_number() {
    for (setting, number, origin, evidence) in [
        ("numbers.line=127", "127", "setting", "seen; lowered by INVAR_KEYS"),
        ("numbers.line=0", "0", "setting", "seen; lowered by INVAR_KEYS"),
        ("numbers.line=128", "128", "probe", "seen"),
        ("numbers.line=129", "128", "probe", "seen; INVAR_KEYS asks for more than the probe allows"),
        ("numbers.line=18446744073709551616", "128", "probe", "seen; INVAR_KEYS has no number for it"),
        ("numbers.line=0x10", "128", "probe", "seen; INVAR_KEYS has no number for it"),
        ("numbers.line=default", "128", "probe", "seen; INVAR_KEYS has no number for it"),
        ("numbers.line=u32", "128", "probe", "seen; INVAR_KEYS has no number for it"),
    ] {
        let tale = story(&Build::release(), &[("INVAR_KEYS", setting)]);
        assert_eq!(tale.results["line"], number, "{setting}");
        let key = tale.program().key("numbers.line");
        assert_eq!([&*key.value, &key.origin, &key.evidence], [number, origin, evidence], "{setting}");
        tale.program().assert_bound();
        // By Constant::get, in a probe.
        assert_eq!(tale.results["shared"], (number.parse::<u32>().unwrap() + 1).to_string());
    }
    let failing = story(&Build::release(), &[("INVAR_KEYS", "numbers.failing=1")]);
    assert_eq!(failing.results["failing"], "7", "nobody knows whether it may be lower");
    // Each digit counts.
    let big = story(&Build::release(), &[("INVAR_KEYS", "numbers.big=1311768467463790319")]);
    assert_eq!(big.results["big"], "1311768467463790319");
}

/// As for other keys, once, with what there is.
fn what_is_no_number_is_said() {
    let said = |setting| story(&Build::release(), &[("INVAR_KEYS", setting)]).errors;
    let line = "INVAR_KEYS: numbers.line=many is ignored: its values are numbers, in decimal\n";
    assert_eq!(said("numbers.line=many"), format!("invar: {line}"));
    assert_eq!(said("numbers.line=5,numbers.line=0"), "");
    // What is too high is a number.
    assert_eq!(said("numbers.line=500"), "");
}

fn a_process_has_one_number() {
    let library = Build::release().library("numbering");
    let run = |settings: &[(&str, &str)]| {
        let tale = tale(command(Build::release().program("numbers")).arg(&library).envs(settings.iter().copied()));
        tale.assert_consistent();
        tale
    };
    for settings in [&[][..], &[("NUMBERS_LINE", "4294967295")], &[("INVAR_KEYS", "numbers.line=3")]] {
        let tale = run(settings);
        tale.modules.iter().for_each(|module| module.assert_bound());
        let result = |name: &str| &*tale.results[name];
        assert_eq!(result("numbering: line"), result("line"), "{settings:?}");
        assert_eq!(tale.module("libnumbering.so").key("numbers.line").origin, "adopted");
        assert_eq!(tale.probes, [("numbers.line".into(), "numbers".into())]);
        // The number of one that nobody could decide is the first's, too.
        assert_eq!((result("failing"), result("numbering: failing")), ("7", "7"));
        // One of another width is another sort of key.
        assert_eq!((result("half"), result("numbering: half")), ("65500", "5"));
        let half = tale.module("libnumbering.so").key("numbers.half");
        let why = "a key of this name with other values has been decided";
        assert_eq!([&*half.value, &half.origin, &half.evidence], ["5", "failed", why]);
        assert_eq!(result("numbering: own"), "18446744073709551615");
    }
}

/// A shared library in C, with libinvar or without.
fn in_c(name: &str, link: bool) -> Temporary {
    let library = Temporary::path(&format!("{name}.so"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/numbers.c");
    let mut cc = compiler("cc -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -fPIC -shared");
    cc.arg(source).arg("-o").arg(&library.0);
    if link {
        cc.arg("-L").arg(libinvar()).args(LINK);
    }
    must(&mut cc);
    library
}

fn in_rust_and_in_c() {
    let library = in_c("numbers", true);
    let mut numbers = command(Build::release().program("numbers"));
    let tale = tale(numbers.arg(&library.0).env("LD_LIBRARY_PATH", libinvar()));
    tale.assert_consistent();
    let result = |name: &str| &*tale.results[name];
    assert_eq!((result("shared"), result("C: shared"), result("C: asks")), ("129", "129", "130"));
    assert_eq!((result("C: own"), result("C: failing"), result("C: large")), ("fedcba9876543210", "12", "13"));
    let module = tale.module(library.0.to_str().expect("a path"));
    module.assert_bound();
    let said = |name: &str| {
        let key = module.key(name);
        [&*key.value, &*key.origin, &*key.evidence]
    };
    assert_eq!(said("numbers_shared"), ["129", "adopted", ""]);
    assert_eq!(said("numbers_large"), ["13", "failed", "its number has more bits than its type"]);
    assert_eq!(said("numbers_failing"), ["12", "failed", ""]);
    assert!(module.bindings.iter().any(|binding| binding.site.as_ref().is_some_and(|site| site.kind == "constant")));
}

/// The instruction holds the number, or loads it from where it stands in memory.
fn small_in_c() {
    let library = in_c("numbers-small", true);
    for writer in ["auto", "off"] {
        let mut numbers = command(Build::release().program("numbers"));
        numbers.arg(&library.0).env("LD_LIBRARY_PATH", libinvar()).env("INVAR_WRITER", writer);
        let tale = tale(&mut numbers);
        tale.assert_consistent();
        assert_small(&tale);
        let module = tale.module(library.0.to_str().expect("a path"));
        let said = |name: &str| {
            let key = module.key(name);
            [&*key.value, &*key.origin, &*key.evidence]
        };
        assert_eq!(said("numbers_byte"), ["254", "probe", ""]);
        assert_eq!(said("numbers_half"), ["65244", "probe", ""]);
        assert_eq!(said("numbers_too_large"), ["65535", "failed", "its number has more bits than its type"]);
        assert_eq!(said("numbers_bit"), ["1", "probe", ""]);
        assert_eq!(said("numbers_two"), ["0", "failed", "its number has more bits than its type"]);
        let status = if writer == "off" { "Checked" } else { "Bound" };
        for (name, number) in [
            ("numbers_byte", 254_u32),
            ("numbers_half", 65244),
            ("numbers_too_large", 65535),
            ("numbers_bit", 1),
            ("numbers_two", 0),
        ] {
            let its =
                module.bindings.iter().filter(|binding| binding.site.as_ref().is_some_and(|site| site.key == name));
            let [binding] = its.collect::<Vec<_>>()[..] else { panic!("one site of {name}") };
            let bytes = &binding.site.as_ref().expect("a site").bytes;
            assert_eq!(binding.status, status, "{name}");
            if writer == "off" {
                assert_eq!(bytes[..2], [0x40, 0x8b], "{name}: {bytes:x?}");
            } else {
                assert_eq!(bytes[..], [&[0x40, 0xc7, 0xc0][..], &number.to_le_bytes()].concat(), "{name}");
            }
        }
    }
}

fn assert_small(tale: &Tale) {
    let results = ["byte", "half", "too large", "bits"].map(|name| &*tale.results[&format!("C: {name}")]);
    assert_eq!(results, ["fe fe", "fedc fedc", "65535 65535", "1 0"]);
}

fn signed_in_c() {
    let source = Temporary::path("signed.c");
    for (number, compiles) in
        [("uint8_t", true), ("uint16_t", true), ("_Bool", true), ("int8_t", false), ("int", false)]
    {
        let text = format!(
            "#include <invar.h>\nstatic void probe(struct invar_verdict *verdict) {{ verdict->data = 1; }}\n\
             INVAR_CONSTANT(number, {number}, probe);\n"
        );
        std::fs::write(&source.0, text).unwrap();
        let said = compiler("cc -xc -c -o /dev/null").arg(&source.0).output().unwrap();
        let says = String::from_utf8_lossy(&said.stderr).contains("a constant is an unsigned integer");
        assert_eq!((said.status.success(), says), (compiles, !compiles), "{number}: {said:?}");
    }
}

/// Without libinvar a constant is what its probe says, on every machine.
fn in_c_alone() {
    let library = in_c("numbers-alone", false);
    let tale = tale(command(Build::release().program("numbers")).arg(&library.0));
    tale.assert_consistent();
    let results = ["shared", "asks", "own", "failing", "large"].map(|name| &*tale.results[&format!("C: {name}")]);
    assert_eq!(results, ["98", "99", "fedcba9876543210", "12", "13"]);
    assert_small(&tale);
}

const SELECTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/selects.c");
const VALUES: [&str; 4] = ["narrow", "wide", "widest", "huge"];

/// By each compiler, in each language that the header is for; bound, not bound, and without libinvar.
fn selects_in_c() {
    let link = format!("-L{}", libinvar().display());
    for words in [
        "gcc -std=c11 -O2 -Wpedantic",
        "gcc -O0 -fPIE -pie",
        "gcc -O2 -masm=intel -fno-pie -no-pie",
        "g++ -xc++ -std=c++11 -O2 -Wpedantic",
        "clang -std=c11 -O2 -Wpedantic",
        "clang -O0",
        "clang++ -xc++ -std=c++17 -O2",
        "clang -O2 -mspeculative-load-hardening",
        "gcc -O2 -DINVAR_PORTABLE",
    ] {
        if missing_tool(words.split(' ').next().unwrap()).is_some() {
            println!("skipped: {words}");
            continue;
        }
        let has_sites = !words.contains("hardening") && !words.contains("PORTABLE");
        for with_libinvar in [true, false] {
            let program = Temporary::path("selects");
            let mut cc = compiler(&format!("{words} -Wall -Wextra -Werror"));
            cc.arg(SELECTS).arg("-o").arg(&program.0);
            if with_libinvar {
                cc.arg(&link).args(LINK);
            }
            must(&mut cc);
            for (width, name) in VALUES.iter().enumerate() {
                for setting in [None, Some("off")] {
                    let mut run = command(&program.0);
                    run.args(VALUES.iter().flat_map(|from| VALUES.iter().flat_map(move |to| [from, to])));
                    run.env("SELECTS_WIDTH", name).env("LD_LIBRARY_PATH", libinvar()).env("SELECTS_REPORT", "1");
                    run.envs(setting.map(|setting| ("INVAR_WRITER", setting)));
                    let said = String::from_utf8(must(&mut run).stdout).unwrap();
                    let (first, report) = said.split_once('\n').unwrap();
                    let mut values = first.split(' ');
                    assert_eq!((values.next(), values.next()), (Some(*name), Some("wide")), "{words}");
                    let set: Vec<_> = values.map(|value| value.split_once(':').unwrap()).collect();
                    let is_right = |(at, (value, code)): (usize, &(&str, &str))| {
                        let wanted = if at % 2 == 0 { VALUES[at / 8] } else { VALUES[at / 2 % 4] };
                        *code == "0" && *value == if with_libinvar && has_sites { wanted } else { "wide" }
                    };
                    if has_sites || !with_libinvar {
                        assert!(set.iter().enumerate().all(is_right), "{words}: {first}");
                    }
                    if with_libinvar && has_sites && setting.is_none() {
                        // One that has no record for the value that its key has is looked up each time; so is one of a switch that has
                        // not a record for each.
                        let selects = report.lines().filter(|line| line.contains(" select selects_"));
                        let bound = selects.filter(|line| line.contains("bound to ")).count();
                        assert_eq!(bound, 4 + 4 + if width < 3 { 3 } else { 0 }, "{words}, {width}: {report}");
                    }
                }
            }
        }
    }
}

/// They do not compile.
fn one_answer_in_c() {
    let source = Temporary::path("one-answer.c");
    for (position, compiles) in [("1", true), ("0", false), ("64", false)] {
        let text = std::fs::read_to_string(SELECTS).unwrap();
        std::fs::write(
            &source.0,
            text.replace("invar_branch_at_least(key, 3)", &format!("invar_branch_at_least(key, {position})")),
        )
        .unwrap();
        for words in
            ["gcc -xc -c -o /dev/null", "g++ -xc++ -c -o /dev/null", "gcc -xc -DINVAR_PORTABLE -c -o /dev/null"]
        {
            let said = compiler(words).arg(&source.0).output().unwrap();
            let says =
                String::from_utf8_lossy(&said.stderr).contains("a comparison with the first value has one answer only");
            assert_eq!((said.status.success(), says), (compiles, !compiles), "{words}, {position}: {said:?}");
        }
    }
}

/// It decodes each instruction by itself, those of the file and those that are bound.
fn under_valgrind() {
    let expected = story(&Build::release(), &[]);
    for writer in ["off", "auto"] {
        let mut valgrind = command("valgrind");
        // The program reads all of its text, which valgrind says.
        valgrind.arg("--quiet").arg(Build::release().program("numbers")).env("INVAR_WRITER", writer);
        let tale = tale(&mut valgrind);
        tale.assert_consistent();
        assert_eq!(tale.results, expected.results);
    }
}

/// As a tool would leave them that sorts tables: nobody finds the record for the key's value by counting.
fn records_that_are_apart() {
    let image = Image::read(&Build::release().program("numbers"));
    let records = image.site_records();
    let width = image.state("numbers.width");
    let first = records.iter().position(|record| record.kind == 6 && record.state == width).expect("a select");
    // What it says stays true, but in the place of another.
    let (one, other) = (image.sites.start + 16 * first, image.sites.start + 16 * (first + 1));
    let mut bytes = image.bytes.clone();
    let moved = |from: usize, to: usize| {
        let shift = (image.address(from) as i32).wrapping_sub(image.address(to) as i32);
        let mut record: [u8; 16] = image.bytes[from..from + 16].try_into().unwrap();
        for at in [0, 4, 8] {
            let distance = i32::from_le_bytes(record[at..at + 4].try_into().unwrap());
            record[at..at + 4].copy_from_slice(&distance.wrapping_add(shift).to_le_bytes());
        }
        record
    };
    let (there, here) = (moved(one, other), moved(other, one));
    bytes[other..other + 16].copy_from_slice(&there);
    bytes[one..one + 16].copy_from_slice(&here);
    let copy = Temporary::executable("apart", &bytes);
    let tale = tale(&mut command(&copy.0));
    tale.assert_consistent();
    let statuses: Vec<_> = tale.program().bindings.iter().map(|binding| &*binding.status).collect();
    // The key has its second value, whose record stands first now. It tells the truth of itself, and the others count to another.
    let [its, others @ ..] = &statuses[first..first + 4] else { panic!("{statuses:?}") };
    assert!(*its == "Bound" && others.iter().all(|status| *status == "Invalid(Select)"), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status != "Bound").count(), 3);
}
