//! The reference binder in C (`capi/binder`): what it is made of, that it binds what the runtime binds, byte for byte, and a
//! program without a C library that binds itself.
//!
//! `damage`, `writers`, `forms` and `modules` run their tests with it too.

mod common;

use common::hole::{no_holes, output_with_holes};
use common::refuse::{Refused, cannot_refuse, refuse};
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
    tests.extend(["gcc", "clang", "aarch64-linux-gnu-gcc", "riscv64-linux-gnu-gcc"].map(|compiler| {
        test(&format!("it needs nothing, by {compiler}"), needs(compiler), move || needs_nothing(compiler))
    }));
    tests.extend(["gcc", "clang"].map(|compiler| {
        test(&format!("a lock without a libc, by {compiler}"), needs(compiler), move || demonstration(compiler))
    }));
    tests.extend(WAYS.map(|[compiler, how]| -> Trial {
        let name = format!("in libinvar's place, {compiler} {how}");
        test(&name, needs(compiler.split(' ').next().unwrap()), move || in_libinvars_place(compiler, how))
    }));
    tests.push(test("it exchanges pages beside threads that run in them", needs("cc"), beside_threads));
    let missing = needs("cc").or_else(|| cannot_refuse(&[Refused::ExecGain, Refused::Mremap, Refused::Memfd]));
    tests.push(test("another file, text that was changed, and what is refused", missing, odd_text));
    tests.extend(["-O0", "-O2"].map(|options| {
        let missing = needs("cc").or_else(no_holes);
        test(&format!("its own text in a hole, {options}"), missing, move || its_own_text_in_a_hole(options))
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
    std::fs::read_to_string(BINDER).expect("the binder").lines().count()
}

/// No function and no variable of anybody else's, no memory of its own that changes, and no register but the general ones.
fn needs_nothing(compiler: &'static str) {
    use goblin::elf::{Elf, section_header::SHF_WRITE};
    let is_risc = compiler.starts_with("riscv64");
    // This one's compiler has no such option; -march says it.
    let general = if is_risc { "-march=rv64imac -mabi=lp64" } else { "-mgeneral-regs-only" };
    for optimisation in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
        let object = Temporary::path("binder.o");
        let words = format!("{compiler} {optimisation} -ffreestanding -pedantic -Wshadow {general} -c {BINDER}");
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
        // The code that is executed elsewhere lies in one page, whatever linkers make shorter before it.
        let mut relocations = elf.shdr_relocs.iter().flat_map(|(_, all)| all.iter());
        let is_aligned = |relocation: goblin::elf::Reloc| {
            relocation.r_type == goblin::elf::reloc::R_RISCV_ALIGN && relocation.r_addend.is_some_and(|by| by >= 252)
        };
        assert_eq!(relocations.any(is_aligned), is_risc, "{words}");
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
    for (thread, in_place) in [(false, false), (true, false), (false, true)] {
        let variables = [(thread, "WITH_A_THREAD"), (in_place, "IN_PLACE")];
        let variables = variables.into_iter().filter_map(|(is_set, name)| is_set.then_some((name, "")));
        let said = run(command(&built.0).envs(variables));
        let bound = said.strip_prefix("0 ").and_then(|said| said.strip_suffix(" bound, 0 left, detail 0"));
        assert!(bound.is_some_and(|bound| bound.parse::<u32>().unwrap() >= 9), "{said}");
    }
    // Keys are decided all the same.
    let left = run(command(&built.0).env("WITH_A_THREAD", "").env("IN_PLACE", ""));
    assert!(left.starts_with("3 0 bound, ") && left.ends_with(" left, detail 2"), "{left}");
}

/// A library of 1,200 sites, bound while three threads go through its functions: each call gives what one value of the key gives,
/// none goes back to the value before, each that begins after binding has the new one, and no request is left behind.
fn beside_threads() {
    let [library, host] = ["busy.so", "beside-threads"].map(Temporary::path);
    must(binder_compiler("cc -O2 -shared -fPIC").args([&*program("busy.c"), "-o"]).arg(&library.0));
    let sources = [&*program("beside_threads.c"), BINDER, "-o"];
    must(binder_compiler("cc -O2 -rdynamic -pthread").args(sources).arg(&host.0));
    for (writers, used) in [("7", "1"), ("2", "2")] {
        for (busy, slice) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 1), (1, 1)] {
            let values = [busy, slice].map(|value: u8| value.to_string());
            let facts = facts(&must(command(&host.0).arg(&library.0).arg(writers).args(values)).stdout);
            let expected = [("binder", "0"), ("writers", used), ("functions", "400"), ("bound", "1200"), ("left", "0")];
            for (name, value) in expected.into_iter().chain(["wrong", "back", "asked"].map(|name| (name, "0"))) {
                assert_eq!(facts[name], value, "writers {writers}, busy {busy}, slice {slice}: {name} in {facts:?}");
            }
            // Calls were made before it was bound, and after.
            let calls = |name: &str| facts[name].parse::<u64>().unwrap() > 400;
            assert_eq!((calls("off"), calls("on")), (true, busy == 1), "{facts:?}");
        }
    }
    // In place it would not be right.
    let in_place = facts(&must(command(&host.0).arg(&library.0).args(["4", "1", "1"])).stdout);
    assert_eq!([&in_place["binder"], &in_place["bound"], &in_place["wrong"]], ["3", "0", "0"], "{in_place:?}");
}

/// What is exchanged is the module's own file, and what somebody has changed in the text stays: a memfd would not do for that.
fn odd_text() {
    let [library, host, short] = ["odd.so", "odd-text", "odd-short.so"].map(Temporary::path);
    must(binder_compiler("cc -O2 -shared -fPIC").args([&*program("busy.c"), "-o"]).arg(&library.0));
    must(binder_compiler("cc -O2 -rdynamic").args([&*program("odd_text.c"), BINDER, "-o"]).arg(&host.0));
    // The same program headers, and nothing behind them.
    std::fs::write(&short.0, &std::fs::read(&library.0).unwrap()[..4096]).unwrap();
    let path = |file: &Temporary| file.0.to_str().unwrap().to_owned();
    let [own, other, short] = [path(&library), path(&host), path(&short)];
    let cases: [(&'static [Refused], &str, &str, bool, &str); 17] = [
        (&[], "3", &own, false, "0 0 by 1"),
        (&[], "3", &other, false, "10 0 by 0"),
        (&[], "3", &short, false, "10 0 by 0"),
        (&[], "7", &other, false, "0 0 by 4"),
        (&[], "3", "/nowhere/at/all", false, "5 2 by 0"),
        (&[], "7", "/nowhere/at/all", false, "0 0 by 4"),
        (&[], "3", "", false, "1 0 by 0"),
        (&[], "7", "", false, "0 0 by 4"),
        (&[], "1", &own, true, "0 0 by 1"),
        (&[], "2", &own, true, "11 0 by 0"),
        (&[], "3", &own, true, "0 0 by 1"),
        (&[], "6", &own, true, "0 0 by 4"),
        (&[Refused::ExecGain], "3", &own, false, "0 0 by 2"),
        (&[Refused::ExecGain, Refused::Memfd], "3", &own, false, "5 13 by 0"),
        (&[Refused::Mremap], "3", &own, false, "5 1 by 0"),
        (&[Refused::Mremap], "2", &own, false, "5 1 by 0"),
        (&[Refused::Mremap], "7", &own, false, "0 0 by 4"),
    ];
    for (refused, writers, path, is_changed, came) in cases {
        let mut run = command(&host.0);
        run.arg(&library.0).args([writers, path]).args(is_changed.then_some("change"));
        refuse(&mut run, refused);
        let facts = facts(&must(&mut run).stdout);
        let case = format!("{refused:?} {writers} {path} {is_changed}: {facts:?}");
        assert_eq!(format!("{} by {}", facts["binder"], facts["writers"]), came, "{case}");
        assert_eq!((&*facts["wrong"], &*facts["mapped"]), ("0", "as before"), "{case}");
        assert_eq!(facts["spare"], if is_changed { "a breakpoint" } else { "as it was" }, "{case}");
        // Where it has no writer it does not look at the sites.
        let is_bound = !came.ends_with(" by 0");
        let left = if is_bound || came.starts_with("1 ") { "0" } else { "1200" };
        assert_eq!([&facts["bound"], &facts["left"]], [if is_bound { "1200" } else { "0" }, left], "{case}");
    }
}

/// A program that binds itself: what exchanges its pages is in them.
fn its_own_text_in_a_hole(options: &'static str) {
    let built = Temporary::path("hole");
    let mut cc = binder_compiler(&format!("cc {options} -static"));
    // Sites before the binder and behind it.
    let sources = [&*program("keys.c"), &program("load.c"), BINDER, &program("elsewhere.c")];
    must(cc.args(sources).arg("-o").arg(&built.0));
    let (said, holes) = output_with_holes(&mut command(&built.0));
    let facts = facts(said.as_bytes());
    // Both tries to exchange the pages left one.
    assert_eq!((holes, &*facts["times"], &*facts["sections"]), (2, "21", "34"), "{facts:?}");
    let came = &facts["binder"];
    assert!(came.starts_with("5 0 bound, ") && came.ends_with(" left, detail 12"), "{came}");
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
    assert!(own.contains(" bound by swap in "), "{own}");
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
