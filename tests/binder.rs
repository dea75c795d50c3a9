//! The reference binder in C (`capi/binder`): what it is made of, that it binds what the runtime binds, byte for byte, and a
//! program without a C library that binds itself.
//!
//! `damage`, `writers`, `forms` and `modules` run their tests with it too.

mod common;

use common::{
    BINDER, Build, Temporary, binder_compiler, cases, command, missing_tool, must, output, run, scratch, sites, tale,
    test, with_either_binder,
};
use invar_abi::x86_64::{bound, checked};
use invar_abi::{Kind, Site};
use libtest_mimic::Trial;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

fn main() -> ExitCode {
    let mut tests = vec![
        test("it has at most 400 lines", common::ANYWHERE, || assert!(lines() <= 400, "{} lines", lines())),
        test("its forms are the runtime's", needs("cc"), its_forms_are_the_runtimes),
        test("it binds what the runtime binds", needs("cc"), it_binds_what_the_runtime_binds),
        test("the lowest verdict of a fact counts", needs("cc"), the_lowest_counts),
        test("a runtime in the program leaves what it bound", needs("cc"), a_runtime_leaves_what_it_bound),
    ];
    tests.extend(with_either_binder("a program with all keys off", sites(), all_keys_off));
    tests.extend(["gcc", "clang"].map(|compiler| {
        test(&format!("it needs nothing, by {compiler}"), needs(compiler), move || needs_nothing(compiler))
    }));
    tests.extend(["gcc", "clang"].map(|compiler| {
        test(&format!("a lock without a libc, by {compiler}"), needs(compiler), move || demonstration(compiler))
    }));
    tests.extend(WAYS.map(|[compiler, how]| -> Trial {
        let name = format!("in libinvar's place, {compiler} {how}");
        test(&name, needs(compiler.split(' ').next().unwrap()), move || in_libinvars_place(compiler, how))
    }));
    run(tests)
}

/// Compiler and options; how it is linked.
const WAYS: [[&str; 2]; 8] = [
    ["gcc -O2", ""],
    ["gcc -O0", "-no-pie -fno-pie"],
    ["gcc -O2", "-static"],
    ["gcc -Os", "-static-pie"],
    ["gcc -O2 -flto", ""],
    ["clang -O2", "-fuse-ld=lld -Wl,--gc-sections"],
    ["clang -O3", "-fuse-ld=mold"],
    ["clang -O0", "-fuse-ld=lld -static"],
];

fn needs(compiler: &str) -> Option<String> {
    sites().or_else(|| missing_tool(compiler))
}

fn program(name: &str) -> String {
    format!("{}/tests/programs/c/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// With comments.
fn lines() -> usize {
    let text = |name: &str| std::fs::read_to_string(BINDER.replace(".c", name)).expect("the binder");
    text(".c").lines().count() + text(".h").lines().count()
}

/// No function and no variable of anybody else's, no memory of its own that changes, and no register but the general ones.
fn needs_nothing(compiler: &'static str) {
    use goblin::elf::{Elf, section_header::SHF_WRITE};
    for optimisation in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
        let object = Temporary::path("binder.o");
        let words =
            format!("{compiler} {optimisation} -ffreestanding -pedantic -Wshadow -mgeneral-regs-only -c {BINDER}");
        must(binder_compiler(&words).arg("-o").arg(&object.0));
        let bytes = std::fs::read(&object.0).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let name = |symbol: &goblin::elf::Sym| elf.strtab.get_at(symbol.st_name).unwrap_or_default().to_owned();
        let undefined = elf.syms.iter().filter(|symbol| symbol.st_shndx == 0).map(|symbol| name(&symbol));
        assert_eq!(undefined.filter(|name| !name.is_empty()).collect::<Vec<_>>(), [""; 0], "{words}");
        let written = elf.section_headers.iter().filter(|section| section.sh_flags & u64::from(SHF_WRITE) != 0);
        assert!(written.clone().all(|section| section.sh_size == 0), "{words}: {:?}", written.collect::<Vec<_>>());
        let global = elf.syms.iter().filter(|symbol| symbol.st_bind() != 0).map(|symbol| name(&symbol));
        assert_eq!(global.collect::<Vec<_>>(), ["invar_bind"], "{words}");
    }
}

/// One record of the site table; distances count from their own fields.
#[repr(C)]
struct Record {
    site: i32,
    target: i32,
    state: i32,
    length: u8,
    kind: u8,
    value: u8,
    flags: u8,
}

type Forms = extern "C" fn(&Record, u8, u32, &mut [u8; 16], &mut [u8; 16]) -> i32;

/// The binder's own function, in this process.
static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let built = Temporary::path("forms.so");
    let words = format!("cc -O2 -I{}/capi/binder -shared -fPIC", env!("CARGO_MANIFEST_DIR"));
    // The functions beside it are not used.
    must(binder_compiler(&words).args(["-Wno-unused-function", &program("forms.c"), "-o"]).arg(&built.0));
    let path = std::ffi::CString::new(built.0.to_str().unwrap()).unwrap();
    // SAFETY: our own library, which has no constructors and stays; the function has this type.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null());
        let function = libc::dlsym(library, c"binder_forms".as_ptr());
        assert!(!function.is_null());
        std::mem::transmute::<*mut libc::c_void, Forms>(function)
    }
});

proptest! {
    #![proptest_config(cases(20_000))]

    fn random_forms(
        record in (any::<i32>(), jump(), far(), length(), 1..=3_u8, any::<u8>()),
        same in any::<bool>(), value in any::<u8>(), request in prop_oneof![Just(0), any::<u32>()],
    ) {
        let (site, target, state, length, kind, key_value) = record;
        // Distances count from their own fields; the target's and the state's are chosen from the site here.
        let target = site.wrapping_add(target).wrapping_sub(4);
        let state = site.wrapping_add(state).wrapping_sub(8);
        let record = Box::new(Record { site, target, state, length, kind, value: key_value, flags: 0 });
        let value = if same { key_value } else { value };
        let address = |field: &i32| (&raw const *field as u64).wrapping_add_signed((*field).into());
        let known = Site {
            address: address(&record.site),
            target: address(&record.target),
            state: address(&record.state),
            length,
            kind: [Kind::Branch, Kind::SliceEnter, Kind::SliceLeave][usize::from(kind) - 1],
            value: key_value,
        };
        let has_form = known.kind == Kind::Branch || value == key_value || request != 0;
        // The outcome's number for a place has the highest bit inverted.
        let place = (request ^ 1 << 31) as i32;
        let expected = checked(&known).zip(bound(&known, value, place)).filter(|_| has_form);
        let (mut ours, mut theirs) = ([[0; 16]; 2], [[0; 16]; 2]);
        let [was, is] = &mut ours;
        let found = FORMS(&record, value, request, was, is) != 0;
        assert_eq!(found, expected.is_some(), "{known:?} {value} {request}");
        if let Some((checked, bound)) = expected {
            for (code, (ours, theirs)) in [checked, bound].iter().zip(ours.iter().zip(&mut theirs)) {
                assert_eq!(ours[..length.into()], *code.write_to(theirs), "{known:?} {value} {request}");
            }
        }
    }
}

fn its_forms_are_the_runtimes() {
    random_forms();
}

/// From a site to its target: most within reach of a short jump, some at the edge of what a long one reaches.
fn jump() -> impl Strategy<Value = i32> {
    prop_oneof![-150..150_i32, any::<i32>(), far()]
}

fn far() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), i32::MIN..i32::MIN + 32, i32::MAX - 32..=i32::MAX]
}

fn length() -> impl Strategy<Value = u8> {
    prop_oneof![8 => prop::sample::select(&[10_u8, 11, 12, 14, 15, 16]), 1 => any::<u8>()]
}

/// In every program that the tests have: the same keys, the same sites, the same bytes, and nothing else changed.
fn it_binds_what_the_runtime_binds() {
    let libraries = ["plugin", "rival"].map(|name| Build::release().library(name));
    for build in [Build::release(), Build::debug()] {
        for (program, arguments) in [("story", &[][..]), ("foreign", &[]), ("host", &libraries)] {
            let told = |in_c: bool| {
                let run = move |command: &mut Command| tale(command.args(arguments));
                if in_c {
                    common::in_front(|| run(&mut command(build.program(program))))
                } else {
                    run(&mut command(build.program(program)))
                }
            };
            let (runtime, binder) = (told(false), told(true));
            assert_eq!(runtime.results, binder.results, "{program}");
            assert_eq!(runtime.differs, binder.differs, "{program}");
            assert_eq!(runtime.modules.len(), binder.modules.len());
            for (runtime, binder) in runtime.modules.iter().zip(&binder.modules) {
                runtime.assert_bound();
                binder.assert_bound();
                assert_eq!(runtime.keys, binder.keys, "{program}");
                assert_eq!(format!("{:?}", runtime.bindings), format!("{:?}", binder.bindings), "{program}");
            }
        }
    }
}

fn all_keys_off() {
    let tale = tale(command(Build::release().program("story")).env("INVAR", "off"));
    tale.assert_consistent();
    tale.program().assert_checked();
    assert_eq!(tale.program().reason, "by setting");
    assert!(tale.program().keys.iter().all(|key| key.origin == "setting"), "{:?}", tale.program().keys);
}

/// Each fact by its name.
fn facts(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let facts = text.lines().filter_map(|line| line.split_once('\t'));
    facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The program of `tests/capi.rs`, with the binder linked into it.
fn in_libinvars_place(compiler: &'static str, how: &'static str) {
    let built = Temporary::path("keys");
    let sources = ["keys.c", "elsewhere.c", "load.c"].map(program);
    let mut cc = binder_compiler(compiler);
    must(cc.args(how.split_ascii_whitespace()).args(sources).args([BINDER, "-o"]).arg(&built.0));
    let run = |command: &mut Command| {
        let facts = facts(&must(command).stdout);
        let said = [("keys", "wide some 1 1"), ("times", "21"), ("elsewhere", "3"), ("sections", "34")];
        for (name, value) in said.into_iter().chain([("libinvar", "not there"), ("next descriptor", "the same")]) {
            assert_eq!(facts[name], value, "{facts:?}");
        }
        facts["binder"].clone()
    };
    let alone = run(&mut command(&built.0));
    let bound = alone.strip_prefix("0 ").and_then(|said| said.strip_suffix(" bound, 0 left, detail 0"));
    assert!(bound.is_some_and(|bound| bound.parse::<u32>().unwrap() >= 9), "{alone}");
    // Keys are decided all the same.
    assert_eq!(run(command(&built.0).env("WITH_A_THREAD", "")), "3 0 bound, 0 left, detail 2");
}

/// Value and origin of a key whose probe gives 2, beside others of its name (`tests/programs/c/lowest.c`).
fn the_lowest_counts() {
    let built = Temporary::path("lowest");
    must(binder_compiler("cc -O2").args([&*program("lowest.c"), "-o"]).arg(&built.0));
    let facts = facts(&must(&mut command(&built.0)).stdout);
    for (case, expected) in [
        ("a fact that nobody else has", "0: 2 0"),
        ("the second is lower", "0: 1 2"),
        ("the first is lower", "0: 1 2"),
        ("a twin is lower", "0: 1 0"),
        ("another is lower than a twin", "0: 1 2"),
        ("all of them differ", "0: 0 2"),
        ("no fact", "0: 2 2"),
        ("no fact, and a twin", "0: 1 0"),
        ("a failed twin", "0: 0 1"),
        ("a failed time slice key", "0: 2 0"),
    ] {
        assert_eq!(facts[case], expected, "{case}: {facts:#?}");
    }
}

/// The program's own runtime finds its module bound, and its report tells what the binder did.
fn a_runtime_leaves_what_it_bound() {
    let program = Build::release().program("story");
    let tale = common::in_front(|| tale(command(&program).env("INVAR_REPORT", "stderr")));
    tale.program().assert_bound();
    assert_eq!(tale.program().writers, "swap");
    assert_eq!(tale.errors, "", "who bound nothing has nothing to report at load");
    // What nobody bound, it binds.
    let own = tale_of_the_runtime(&program);
    assert!(own.contains(" bound by mem in "), "{own}");
}

fn tale_of_the_runtime(program: &std::path::Path) -> String {
    tale(command(program).env("INVAR_REPORT", "stderr")).errors
}

/// Grants can be had in the guest only (`guest/tests/binder.rs`).
fn demonstration(compiler: &'static str) {
    let path: PathBuf = scratch().join(format!("demo-{compiler}-{}", std::process::id()));
    let program = Temporary(path);
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/capi/binder/demo/build");
    must(Command::new(build).arg(&program.0).env("CC", compiler));
    let elf = std::fs::read(&program.0).unwrap();
    let elf = goblin::elf::Elf::parse(&elf).unwrap();
    assert!(elf.dynamic.is_none() && elf.interpreter.is_none());
    let said = output(&mut command(&program.0));
    let facts = facts(&said.stdout);
    assert!(said.status.success(), "{:?} {facts:?}", said.status);
    assert_eq!((&*facts["binder"], &*facts["thread pointer meanwhile"], &*facts["left"]), ("0", "0", "0"), "{facts:?}");
    assert!(facts["bound"].parse::<u32>().unwrap() >= 4, "{facts:?}");
    assert_eq!(facts["sum"], facts["expected"]);
}
