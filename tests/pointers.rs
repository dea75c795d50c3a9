//! Pointers, and tables of them: wherever data can be written they lead to what their keys have chosen, and nobody can write to them
//! afterwards; elsewhere to their fallbacks, and the report says why.

mod common;

use common::c::{LINK, compiler, libinvar, missing, missing_linker};
use common::elf::Image;
use common::refuse::{Refused, cannot_refuse, refuse};
use common::{
    ANYWHERE, Build, MUSL, Module, Tale, Temporary, command, missing_target, must, output, run, sites, tale, test,
};
use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let builds: [(&str, Build); 4] = [
        ("debug", Build::debug()),
        ("release", Build::release()),
        ("fat LTO", Build::release().named("pointers lto").setting("profile.release.lto", "\"fat\"")),
        ("static glibc", Build::release().named("pointers static").rustflag("-Ctarget-feature=+crt-static")),
    ];
    let built = builds.map(|(name, build)| {
        test(&format!("bound and read-only, {name}"), ANYWHERE, move || {
            is_bound(&build.program("pointers"), true);
        })
    });
    let musl = test("bound and read-only, static musl", missing_target(MUSL), || {
        is_bound(&Build::release().target(MUSL, None).program("pointers"), true);
    });
    let fixed = test("bound and read-only, without PIE", sites(), || {
        let build = Build::release().named("pointers fixed").rustflag("-Crelocation-model=static");
        is_bound(&build.program("pointers"), true);
    });
    let open = test("bound where nothing is read-only once it is relocated", sites(), || {
        let build = Build::release().named("pointers norelro").rustflag("-Crelro-level=off");
        let tale = is_bound(&build.program("pointers"), false);
        assert_eq!(tale.results["program: slot"], "rw-p");
    });
    let c = |words: &'static str| {
        let name = format!("C: {words}");
        let linker = words.split_once("-fuse-ld=").and_then(|(_, linker)| missing_linker(linker));
        test(&name, missing(words.split(' ').next().unwrap()).or(linker), move || in_c(words))
    };
    let refused: &[(&str, &'static [Refused])] = &[
        ("nothing may become executable", &[Refused::ExecGain, Refused::Memfd]),
        ("no mprotect of code, no mremap", &[Refused::MprotectExec, Refused::Mremap]),
    ];
    let refused = refused.iter().map(|&(name, refused)| {
        let missing = sites().or_else(|| cannot_refuse(refused));
        test(&format!("bound where {name}"), missing, move || bound_where_text_cannot_change(refused))
    });
    let unwritable = cannot_refuse(&[Refused::MprotectWrite]);
    let left_open = missing_target(MUSL).or_else(|| cannot_refuse(&[Refused::MprotectRead]));
    let tests: Vec<Trial> = vec![
        musl,
        fixed,
        open,
        test("a pointer is called by one instruction", sites(), one_instruction),
        test("settings lower the keys in the arms, and not the pointer's", ANYWHERE, settings_lower_what_arms_have),
        test("nothing is bound by setting", ANYWHERE, nothing_is_bound_by_setting),
        test("the fallback stays where the kernel refuses", unwritable, refused_and_reported),
        test("a page that stays writable is reported", left_open, a_page_stays_writable),
        test("the program's pointers are sealed", no_seal(), the_program_is_sealed),
        test("a library opened beside threads", ANYWHERE, a_library_beside_threads),
        test("a library can be closed again", ANYWHERE, a_library_can_be_closed),
        test("pointers of a portable program", ANYWHERE, portable),
        test("damaged records leave the fallback", sites(), damaged_records),
        test("a slot that somebody else has changed is left alone", sites(), a_slot_that_was_changed),
        c("gcc -O2"),
        c("gcc -O0 -fPIC"),
        c("gcc -O2 -flto"),
        c("gcc -O2 -std=c99 -Wpedantic -Werror"),
        c("clang -O2"),
        c("clang -O2 -flto -fuse-ld=lld"),
        c("clang -O2 -ffunction-sections -fdata-sections -Wl,--gc-sections -fuse-ld=bfd"),
        c("clang -O0 -ffunction-sections -Wl,--gc-sections -fuse-ld=lld"),
        c("gcc -O2 -ffunction-sections -fdata-sections -Wl,--gc-sections"),
        c("gcc -O0 -ffunction-sections -Wl,--gc-sections -fuse-ld=gold"),
        c("gcc -O2 -fno-pie -no-pie -ffunction-sections -Wl,--gc-sections -fuse-ld=lld"),
        c("gcc -O1 -ffunction-sections -Wl,--gc-sections -fuse-ld=mold"),
        c("g++ -O2 -x c++ -std=c++11 -Werror"),
        c("clang++ -O2 -x c++ -std=c++20 -Werror"),
        test("C: pointers on several pages", missing("gcc"), on_several_pages),
        test("C without libinvar", missing("gcc"), c_without_libinvar),
        test("C on a machine without sites", missing("gcc"), c_without_sites),
        test("C: conditions that mean something else do not compile", missing("g++"), c_conditions_are_checked),
        test("C: a table that is not listed as it is does not compile", missing("gcc"), c_tables_are_checked),
    ];
    run(built.into_iter().chain(tests).chain(refused))
}

/// What each call says: its result, and by which function.
fn results(module: &str, chosen: bool) -> BTreeMap<String, String> {
    let by = |fast: u32, slow: u32| if chosen { fast } else { slow };
    let (fast, wide) = (by(10, 1), by(10, 1));
    let said = [
        ("length", format!("3 by {wide}")),
        ("length, loaded", format!("3 by {wide}")),
        ("nothing", format!("() by {fast}")),
        ("fallback", "() by 1".into()),
        ("c", format!("{} by 0", by(3, 2))),
        ("add", format!("3 by {wide}")),
        ("first", format!("Some(97) by {wide}")),
        ("table nothing", format!("() by {wide}")),
        ("dispatched", format!("4 by {wide}")),
        ("several", format!("3 by {wide}")),
        ("arms", format!("3 by {wide}")),
        ("dispatched by several", format!("3 by {wide}")),
    ];
    said.into_iter().map(|(name, value)| (format!("{module}: {name}"), value)).collect()
}

fn assert_results(tale: &Tale, module: &str, chosen: bool) {
    for (name, value) in results(module, chosen) {
        assert_eq!(tale.results[&name], value, "{name}");
    }
}

/// Its pointers, by the name of their key.
fn pointers<'a>(module: &'a Module, key: &'a str) -> Vec<&'a str> {
    let of_key = module.bindings.iter().filter(move |binding| {
        binding.site.as_ref().is_some_and(|site| site.kind == "pointer" && (key.is_empty() || site.key == key))
    });
    of_key.map(|binding| binding.status.as_str()).collect()
}

fn is_bound(program: &Path, read_only: bool) -> Tale {
    let tale = tale(&mut command(program));
    assert_results(&tale, "program", true);
    let module = tale.program();
    // On other machines the branch has no record.
    assert_eq!(module.bound, module.sites, "{module:#?}");
    let all = pointers(module, "");
    assert!(all.len() >= 24 && all.iter().all(|status| *status == "Bound"), "{all:?}");
    assert_eq!((pointers(module, "pointers.table").len(), pointers(module, "pointers.length").len()), (9, 4));
    for (key, value, why) in [
        ("pointers.length", "wide", "WIDTH == Width::Wide"),
        ("pointers.table", "wide", "WIDTH == Width::Wide"),
        ("pointers.nothing", "nothing_fast", "FAST"),
        ("pointers.fallback", "nothing", "no arm holds"),
        ("pointers.c", "by_c.fast", "FAST"),
        ("pointers.dispatched", "wide", "WIDTH == Width::Wide"),
        ("pointers.several", "wide", "WIDTH != Width::Narrow && !NEVER && FAST == true"),
        ("pointers.arms", "wide-or-more+not-never", "WIDTH >= Width::Wide && !NEVER"),
        ("pointers.dispatched_by_several", "wide", "FAST && WIDTH <= Width::Wide && !NEVER"),
    ] {
        let key = module.key(key);
        assert_eq!((&*key.value, &*key.origin, &*key.evidence), (value, "probe", why));
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(tale.results["program: features"], "true");
    }
    for slot in ["program: slot", "program: table"] {
        assert!(!read_only || tale.results[slot].starts_with("r--p"), "{}", tale.results[slot]);
    }
    tale
}

/// `call qword ptr [rip + slot]`, and with an atomic load, two.
fn one_instruction() {
    let program = Build::release().program("pointers");
    let image = Image::read(&program);
    let tale = tale(&mut command(&program));
    let is_direct = |site: &&common::BoundSite| site.key == "program.direct";
    let slot = tale.program().bindings.iter().filter_map(|binding| binding.site.as_ref()).find(is_direct).unwrap();
    let calls = |function: &str| {
        let elf = goblin::elf::Elf::parse(&image.bytes).unwrap();
        let symbol = elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(function)).unwrap();
        let code = image.at(symbol.st_value, symbol.st_size as usize);
        let decoder = Decoder::with_ip(64, code, symbol.st_value, DecoderOptions::NONE);
        decoder.into_iter().collect::<Vec<_>>()
    };
    let loads = |code: &[iced_x86::Instruction]| {
        let is_load = |instruction: &&iced_x86::Instruction| instruction.is_ip_rel_memory_operand();
        code.iter().filter(is_load).map(|load| load.ip_rel_memory_address()).collect::<Vec<_>>()
    };
    let direct = calls("calls_directly");
    assert_eq!(loads(&direct), [slot.address], "{direct:?}");
    let indirect: Vec<_> = direct.iter().filter(|one| one.flow_control() == FlowControl::IndirectCall).collect();
    assert!(matches!(indirect[..], [call] if call.op0_kind() == OpKind::Memory), "{direct:?}");
    assert!(direct.iter().all(|one| !matches!(one.flow_control(), FlowControl::ConditionalBranch)), "{direct:?}");
    let loaded = calls("calls_what_it_has");
    assert_eq!(loads(&loaded), [slot.address], "{loaded:?}");
    assert_eq!(loaded.len(), direct.len() + 1, "{loaded:?}");
}

fn settings_lower_what_arms_have() {
    let program = Build::release().program("pointers");
    let lowered = tale(command(&program).env("INVAR_KEYS", "pointers.width=narrow,pointers.fast=off"));
    assert_results(&lowered, "program", false);
    assert_eq!(lowered.program().bound, lowered.program().sites);
    assert_eq!(lowered.program().key("pointers.table").value, "fallback");
    let misspelt = tale(command(&program).env("INVAR_KEYS", "pointers.length=narrow"));
    assert_results(&misspelt, "program", true);
    assert!(misspelt.errors.contains("pointers.length"), "{}", misspelt.errors);
}

fn nothing_is_bound_by_setting() {
    let program = Build::release().program("pointers");
    let off = tale(command(&program).env("INVAR", "off"));
    assert_results(&off, "program", false);
    let unbound = tale(command(&program).env("INVAR_WRITER", "off"));
    assert_results(&unbound, "program", false);
    let module = unbound.program();
    assert_eq!((module.bound, &*module.reason), (0, "by setting"));
    assert_eq!(module.key("pointers.length").value, "wide");
    // Its slot leads where it is to lead anyway.
    assert!(pointers(module, "pointers.fallback").iter().all(|status| *status == "Bound"));
    assert!(pointers(module, "pointers.table").iter().all(|status| *status == "Checked"));
}

fn bound_where_text_cannot_change(refused: &'static [Refused]) {
    let mut program = command(Build::release().program("pointers"));
    refuse(&mut program, refused);
    let tale = tale(&mut program);
    assert_results(&tale, "program", true);
    let module = tale.program();
    assert!(pointers(module, "").iter().all(|status| *status == "Bound"));
    assert!(module.bound < module.sites && module.reason.starts_with("every writer was refused"), "{module:#?}");
    assert_eq!(module.bound, pointers(module, "").len());
}

const WHY: &str = "pages with pointers were refused with errno 1";

fn refused_and_reported() {
    let run = |settings: &[(&str, &str)]| {
        let mut program = command(Build::release().program("pointers"));
        refuse(&mut program, &[Refused::MprotectWrite]);
        program.envs(settings.iter().copied());
        program
    };
    let tale = tale(&mut run(&[]));
    assert_results(&tale, "program", false);
    let module = tale.program();
    assert!(pointers(module, "pointers.length").iter().all(|status| *status == "Checked"));
    if invar_arch::PATCHES {
        assert_eq!(module.reason, WHY);
        let required = output(&mut run(&[("INVAR", "require")]));
        let errors = String::from_utf8(required.stderr).unwrap();
        assert_eq!(required.status.code(), Some(invar::EXIT_REQUIRED), "{errors}");
        assert!(errors.contains(WHY) && errors.contains(" pointer pointers.length == "), "{errors}");
    }
}

fn a_page_stays_writable() {
    let mut program = command(Build::release().target(MUSL, None).program("pointers"));
    refuse(&mut program, &[Refused::MprotectRead]);
    let tale = tale(&mut program);
    assert_results(&tale, "program", true);
    assert_eq!(tale.program().bound, tale.program().sites);
    if invar_arch::PATCHES {
        assert_eq!(tale.program().reason, WHY);
    }
    assert!(tale.results["program: slot"].starts_with("rw-p"));
}

/// Why nothing can be sealed, or why nobody would know.
fn no_seal() -> Option<String> {
    const SYS_MSEAL: libc::c_long = 462;
    // SAFETY: nothing is there.
    let result = unsafe { libc::syscall(SYS_MSEAL, 0, 0, 0) };
    let error = std::io::Error::last_os_error();
    (result != 0).then(|| format!("the kernel does not seal: {error}"))
}

fn the_program_is_sealed() {
    let tale = is_bound(&Build::release().program("pointers"), true);
    assert_eq!(tale.results["program: slot"], "r--p sealed");
}

/// The program that opens libraries, with this one.
fn host(arguments: &[&str]) -> Command {
    let mut host = command(Build::release().program("host"));
    host.args(arguments).arg(Build::release().library("pointed"));
    host
}

fn a_library_beside_threads() {
    let tale = tale(&mut host(&["--threads", "4"]));
    assert_results(&tale, "library", true);
    let module = tale.module("libpointed.so");
    assert_eq!(module.bound, module.sites, "{module:#?}");
    // Who seals a library has it never go.
    assert_eq!(tale.results["library: slot"], "r--p");
}

fn a_library_can_be_closed() {
    let tale = tale(&mut host(&["--cycles", "50"]));
    let [(_, before, after)] = &tale.held.iter().filter(|(what, ..)| what == "mappings").collect::<Vec<_>>()[..] else {
        panic!("{:?}", tale.held)
    };
    assert_eq!(before, after);
}

fn portable() {
    let build = Build::release().named("portable").rustflag("--cfg=invar_portable");
    let tale = is_bound(&build.program("pointers"), true);
    assert_eq!(tale.program().reason, "this architecture has no other form");
}

/// What is wrong with the records of one slot, by the value that they are for, and what the report has of each.
fn damaged_records() {
    let program = Build::release().program("pointers");
    let image = Image::read(&program);
    let (state, other) = (image.state("pointers.length"), image.state("pointers.fast"));
    let records: Vec<_> = image.sites.clone().step_by(16).filter(|&at| image.distance(at + 8) == state).collect();
    assert_eq!(records.len(), 4);
    let value = |at: usize| usize::from(image.bytes[at + 14]);
    let text = image.text().next().unwrap().0;
    let slot = image.distance(records[0]);
    let to = |at: usize, place: u64| (place.wrapping_sub(image.address(at)) as i32).to_le_bytes().to_vec();
    type Damage<'a> = &'a dyn Fn(usize) -> Option<(usize, Vec<u8>)>;
    let all = |at: usize, bytes: Vec<u8>| Some((at, bytes));
    // Of the records for values 0 to 3.
    const NO_SLOT: &str = "Invalid(NoSlot)";
    let cases: [(&str, Damage<'_>, [&str; 4]); 11] = [
        ("the slot is text", &|at| all(at, to(at, text)), [NO_SLOT; 4]),
        ("the slot is not aligned", &|at| all(at, to(at, slot + 4)), [NO_SLOT; 4]),
        ("the slot is nowhere", &|at| all(at, to(at, 1 << 30)), [NO_SLOT; 4]),
        ("the slot has another length", &|at| all(at + 12, vec![4]), [NO_SLOT; 4]),
        ("the slot is another one", &|at| all(at, to(at, slot + 64)), ["Foreign"; 4]),
        ("flags", &|at| all(at + 15, vec![1]), ["Invalid(Kind)"; 4]),
        ("no such key", &|at| all(at + 8, to(at + 8, state + 8)), ["Invalid(NoKey)"; 4]),
        ("a key of another sort", &|at| all(at + 8, to(at + 8, other)), ["Invalid(WrongKey)"; 4]),
        (
            "the chosen target is nowhere",
            &|at| (value(at) == 1).then(|| (at + 4, to(at + 4, 1 << 30))),
            ["Checked", NO_SLOT, "Checked", "Checked"],
        ),
        ("another fallback", &|at| (value(at) == 0).then(|| (at + 4, to(at + 4, text))), ["Foreign"; 4]),
        ("no fallback", &|at| (value(at) == 0).then(|| (at + 14, vec![9])), ["Invalid(NoFallback)"; 4]),
    ];
    for (what, damage, expected) in cases {
        let mut bytes = image.bytes.clone();
        for (at, new) in records.iter().filter_map(|&record| damage(record)) {
            bytes[at..at + new.len()].copy_from_slice(&new);
        }
        let copy = Temporary::executable("damaged", &bytes);
        let tale = tale(&mut command(&copy.0));
        assert_eq!(tale.results["program: length"], "3 by 1", "{what}");
        assert_eq!(tale.results["program: add"], "3 by 10", "{what}: the others are bound");
        let module = tale.program();
        let first = image.sites.start;
        for &record in &records {
            let status = &module.bindings[(record - first) / 16].status;
            assert_eq!(status, expected[value(record)], "{what}: record for {}", value(record));
        }
        let left = module.bindings.iter().filter(|binding| binding.status != "Bound").count();
        assert_eq!((module.bound, left), (module.sites - 4, 4), "{what}");
    }
}

/// A file whose slot leads to another function than its record says.
fn a_slot_that_was_changed() {
    let build = Build::release().named("pointers fixed").rustflag("-Crelocation-model=static");
    let program = build.program("pointers");
    let image = Image::read(&program);
    let state = image.state("pointers.nothing");
    let of = |value| {
        let mut records = image.site_records().into_iter();
        records.find(|record| record.state == state && record.value == value).expect("its record")
    };
    let (first, unused) = (of(0), of(2));
    assert_ne!(first.target, unused.target);
    let mut bytes = image.bytes.clone();
    let at = image.offset(first.site);
    assert_eq!(bytes[at..at + 8], first.target.to_le_bytes(), "without PIE nothing is relocated");
    bytes[at..at + 8].copy_from_slice(&unused.target.to_le_bytes());
    let copy = Temporary::executable("changed", &bytes);
    let tale = tale(&mut command(&copy.0));
    assert_eq!(tale.results["program: nothing"], "() by 100");
    assert!(pointers(tale.program(), "pointers.nothing").iter().all(|status| *status == "Foreign"));
    assert_eq!(tale.program().bound, tale.program().sites - 3);
}

/// Compiles the program in C.
fn compiled(words: &str, options: &[&OsStr]) -> Temporary {
    let program = Temporary::path("pointers-c");
    const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/pointers.c");
    const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/pointers-other.c");
    let mut compiler = compiler(words);
    must(compiler.args(["-Wall", "-Wextra", SOURCE, OTHER, "-o"]).arg(&program.0).args(options));
    program
}

fn said(program: &Temporary) -> (String, String) {
    let output = output(&mut command(&program.0));
    assert!(output.status.success(), "{output:?}");
    let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let (values, report) = said.split_once("--\n").unwrap_or_else(|| panic!("{said} {errors}"));
    (values.into(), report.into())
}

const CHOSEN: &str = "\
    one 102\nfour 104\nelsewhere 102\nadd 1003\nsub 999\nlast 7\nby not 103\nby value 103\nby order 103\n\
    by several 105\nby none 101\nseveral 1003\n";
const FALLBACKS: &str = "\
    one 101\nfour 101\nelsewhere 101\nadd 3\nsub -1\nlast 6\nby not 101\nby value 101\nby order 101\n\
    by several 101\nby none 101\nseveral 3\n";

/// Of each pointer the value of its key, which is its evidence too. A pointer without one has its fallback.
const NAMED: [(&str, &str); 7] = [
    ("table", "wide"),
    ("four", "third"),
    ("by_not", "not-first"),
    ("by_value", "size-2"),
    ("by_order", "size-1-or-more"),
    ("by_several", "not-first+size-LARGE-or-more+wide"),
    ("several", "wide+not-second"),
];

fn in_c(words: &str) {
    let library = libinvar().display();
    let options = [format!("-L{library}"), format!("-Wl,-rpath,{library}")];
    let options: Vec<&OsStr> = options.iter().map(OsStr::new).chain(LINK.map(OsStr::new)).collect();
    let program = compiled(words, &options);
    let (values, report) = said(&program);
    assert_eq!(values, CHOSEN);
    if sites().is_none() {
        assert!(report.contains(": 39 sites, 39 bound"), "{report}");
        for (key, value) in NAMED {
            assert!(report.contains(&format!("  key {key} = {value} (probe): {value}\n")), "{report}");
        }
        assert!(report.contains("  key by_none = fallback (probe): no arm holds\n"), "{report}");
        assert_eq!(report.matches(" pointer table == wide, 8 bytes: bound to wide\n").count(), 3, "{report}");
        let mut where_they_are = command(&program.0);
        let said = String::from_utf8(must(where_they_are.arg("where")).stdout).unwrap();
        assert_eq!(said, "one r--p faults\nfour r--p faults\ntable r--p faults\nlast r--p faults\n");
    }
}

/// What cannot be meant does not compile, in functions and in pointers.
fn c_conditions_are_checked() {
    let says = |words: &str, declaration: &str| {
        let text = format!(
            "#include <invar.h>\nINVAR_EXTERN_KEY(wide);\nINVAR_EXTERN_KEY(fast);\n\
             static int a(void) {{ return 1; }}\nstatic int b(void) {{ return 2; }}\n\
             {declaration}\nint main(void) {{ return chosen() + a() + b(); }}\n"
        );
        let source = Temporary::path("conditions.c");
        std::fs::write(&source.0, text).unwrap();
        let output = output(compiler(words).args(["-c", "-o", "/dev/null"]).arg(&source.0));
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (words, declaration) in ["gcc -xc -std=gnu99", "g++ -xc++ -std=c++11"].into_iter().flat_map(|words| {
        ["INVAR_DISPATCH(static, int, chosen, (void), (), ARMS, a);", "INVAR_POINTER(int, chosen, (void), ARMS, a);"]
            .map(|declaration| (words, declaration))
    }) {
        let of = |arms: &str| says(words, &declaration.replace("ARMS", arms));
        let right = "INVAR_AND(wide, INVAR_NOT(fast)), b, INVAR_AND_3(fast, wide, INVAR_AT_LEAST(wide, 1)), b";
        assert_eq!(of(right), (true, String::new()));
        // It is a part of a name, of pointers only.
        for arms in ["INVAR_IS(wide, 1 + 1), b", "INVAR_NOT(fast), b, INVAR_AND(fast, INVAR_AT_LEAST(wide, (1))), b"] {
            let (compiles, errors) = of(arms);
            assert_eq!(compiles, declaration.contains("DISPATCH"), "{words} {arms}: {errors}");
            assert_eq!(!compiles, errors.contains(".Linvar_word_"), "{errors}");
        }
        for (arms, sentence) in [
            ("INVAR_AND(wide, INVAR_AT_LEAST(fast, 0)), b", "a comparison with the first value has one answer only"),
            ("INVAR_AND(wide, INVAR_AND(wide, fast)), b", "invar_key_INVAR_AND"),
            ("INVAR_AND_3(wide, INVAR_AND_3(wide, fast, wide), fast), b", "invar_key_INVAR_AND_3"),
            ("INVAR_AND(wide, fast, wide), b", "\"invar_key_INVAR_AND\" passed 3 arguments"),
            ("INVAR_AND(wide), b", "\"invar_key_INVAR_AND\" requires 2 arguments"),
            ("wide, b, wide, b, wide, b, wide, b, wide, b", "error"),
        ] {
            let (compiles, errors) = of(arms);
            assert!(!compiles && errors.contains(sentence), "{words} {arms}: {errors}");
        }
    }
}

/// Each of which is made writable for a moment.
fn on_several_pages() {
    let program = Temporary::path("far-pointers");
    let library = libinvar().display();
    let mut compiler = compiler(&format!("gcc -O1 -L{library} -Wl,-rpath,{library}"));
    compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/far_pointers.c")).args(LINK);
    must(compiler.arg("-o").arg(&program.0));
    let (values, report) = said(&program);
    assert_eq!(values, "chosen 4\nfallback 0\n");
    if sites().is_none() {
        assert!(report.contains(": 8 sites, 8 bound"), "{report}");
    }
}

fn c_without_libinvar() {
    let (values, _) = said(&compiled("gcc -O2", &[]));
    // The header knows the machine only.
    assert_eq!(values, if cfg!(target_arch = "x86_64") { FALLBACKS } else { CHOSEN });
}

fn c_without_sites() {
    let (values, _) = said(&compiled("gcc -O2 -mcmodel=large", &[]));
    assert_eq!(values, CHOSEN);
}

fn c_tables_are_checked() {
    let fails = |declaration: &str| {
        let text = format!(
            "#include <invar.h>\nINVAR_EXTERN_KEY(wide);\nstatic int a(void) {{ return 1; }}\nstatic int b(void) {{ return 2; }}\n\
             {declaration}\n"
        );
        let source = Temporary::path("table.c");
        std::fs::write(&source.0, text).unwrap();
        let mut compiler = compiler("gcc -Werror -xc");
        let output = output(compiler.args(["-c", "-o", "/dev/null"]).arg(&source.0));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), errors.is_empty(), "{errors}");
        errors
    };
    let table = |fields: &str, list: &str| {
        fails(&format!("struct t {{ {fields} }}; INVAR_TABLE(struct t, t, {list}, wide, (a, b), (b, a));"))
    };
    assert_eq!(table("int (*x)(void), (*y)(void);", "(x, y)"), "");
    const WHAT: &str = "a table has pointers and nothing else, and each is listed in its place";
    for (fields, list) in [
        ("int (*x)(void), (*y)(void);", "(y, x)"),
        ("int (*x)(void), (*y)(void), (*z)(void);", "(x, y)"),
        ("int (*x)(void); int more; int (*y)(void);", "(x, y)"),
    ] {
        assert!(table(fields, list).contains(WHAT), "{fields} {list}: {}", table(fields, list));
    }
    let other = table("int (*x)(int), (*y)(void);", "(x, y)");
    assert!(other.contains("incompatible"), "{other}");
}
