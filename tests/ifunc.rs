//! Symbols that the loader binds, from C and from Rust: whatever way a program is built, its resolvers call nothing, choose what the
//! keys say, and the three variants of a routine like `memcpy` do what `memcpy` does.
//!
//! `cargo test` builds a choice in which every two values of two columns meet. All combinations:
//!
//! ```sh
//! INVAR_TEST_MATRIX=full cargo test --test ifunc
//! ```

mod common;

use common::c::{LINK, compiler, libinvar, missing, missing_linker, must};
use common::{
    ANYWHERE, Build, Temporary, command, full_matrix, no_setuid, refuse, run, scratch, set_user, sites, test,
    with_either_binder,
};
use goblin::elf::{Elf, header, reloc};
use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind, Register};
use libtest_mimic::Trial;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let ways = if full_matrix() { all() } else { pairs() };
    let mut tests: Vec<Trial> = ways.into_iter().map(Way::test).collect();
    tests.push(test("the choice has every pair", ANYWHERE, the_choice_has_every_pair));
    tests.extend(IMPOSSIBLE.map(|(one, other, why)| {
        test(&format!("C, {one} with {other}"), Some(why.into()), || unreachable!("there is no such program"))
    }));
    tests.extend(INSTRUMENTED.map(|words| {
        let missing = needs(words).or_else(|| does_not_link(words));
        test(&format!("a resolver calls nothing, {words}"), missing, move || c_resolver_calls_nothing(words))
    }));
    let rust = if full_matrix() { &RUST[..] } else { &RUST[..4] };
    tests.extend(rust.iter().map(|&(name, settings, flags)| {
        test(&format!("Rust, {name}"), missing_linker_of(flags), move || rust_is_bound(name, settings, flags))
    }));
    tests.push(test("C and Rust know the same CPU", needs("gcc"), c_and_rust_know_the_same_cpu));
    tests.push(test("a program in C uses a library in Rust", needs("gcc"), c_uses_rust));
    tests.push(test("the last setting counts", needs("gcc"), the_last_setting_counts));
    tests.push(test(
        "settings name features as keys are named",
        needs("gcc").or_else(no_level),
        settings_name_features_as_keys_are_named,
    ));
    tests.push(test("resolvers read settings as keys do", needs("gcc"), resolvers_read_settings_as_keys_do));
    tests.push(test(
        "a resolver that cannot read settings is reported",
        sites(),
        a_resolver_that_cannot_read_settings_is_reported,
    ));
    tests.push(test(
        "resolvers of programs with raised privileges take no settings",
        needs("gcc").or_else(no_setuid),
        raised_privileges_take_no_settings,
    ));
    tests.push(test(
        "settings need to know that privileges are not raised",
        needs("gcc").or_else(no_chroot),
        settings_need_to_know_that_privileges_are_not_raised,
    ));
    tests.push(test(
        "a resolver in C that cannot read settings is reported",
        needs("gcc").or_else(|| missing("make")),
        a_resolver_in_c_that_cannot_read_settings_is_reported,
    ));
    tests.push(test(
        "libinvar reports both sorts of symbol",
        needs("gcc").or_else(|| missing("make")),
        libinvar_reports,
    ));
    tests.extend(with_either_binder("a symbol that two modules have", sites(), a_symbol_that_two_modules_have));
    for link in ["", "-static"] {
        tests.push(test(&format!("an ordinary symbol, musl {link}"), needs("musl-gcc"), move || {
            let way = format!("musl-gcc -O2 {link}");
            let program = c_program(&way, &way, &["copy.c", "copies.c"]);
            assert_eq!(symbol_types(&program, "mylib_copy"), [FUNC].into());
            assert_choices(&program);
        }));
    }
    tests.push(test("an ordinary symbol, by choice", needs("gcc"), || {
        for option in ["-DINVAR_NO_IFUNC", "-DINVAR_PORTABLE"] {
            let way = format!("gcc -O2 {option}");
            let program = c_program(&way, &way, &["copy.c", "copies.c"]);
            assert_eq!(symbol_types(&program, "mylib_copy"), [FUNC].into());
            assert_choices(&program);
        }
    }));
    run(tests)
}

/// Why this compiler cannot be used here.
fn needs(words: &str) -> Option<String> {
    sites().or_else(|| missing(words.split(' ').next().expect("a compiler")))
}

// What a program in C is built as.

#[derive(Clone, Copy)]
struct Way {
    /// In the order of [`COLUMNS`].
    values: [&'static str; 5],
}

/// How callers reach it, where a library has it, or of what sort the program is that has it itself; by which linker; when it is bound;
/// with marks for control flow enforcement or not; by which sanitizer it is instrumented.
const COLUMNS: [&[&str]; 5] = [
    &["PLT", "no PLT", "PIE", "non-PIE", "static", "static-pie"],
    &["bfd", "gold", "lld", "mold"],
    &["lazy", "now"],
    &["CET", "no CET"],
    &["plain", "ASan", "TSan"],
];

const IMPOSSIBLE: [(&str, &str, &str); 5] = [
    ("static", "ASan", "no sanitizer has a runtime for static programs"),
    ("static", "TSan", "no sanitizer has a runtime for static programs"),
    ("static-pie", "ASan", "no sanitizer has a runtime for static programs"),
    ("static-pie", "TSan", "no sanitizer has a runtime for static programs"),
    ("static-pie", "gold", "gold does not link static-pie"),
];

fn all() -> Vec<Way> {
    let mut ways = vec![vec![]];
    for column in COLUMNS {
        ways = ways.iter().flat_map(|way: &Vec<_>| column.iter().map(|value| [&way[..], &[*value]].concat())).collect();
    }
    let ways = ways.into_iter().map(|values| Way { values: values.try_into().unwrap() });
    ways.filter(|way| way.pairs().all(|(one, other)| !is_impossible(one, other))).collect()
}

fn is_impossible(one: &str, other: &str) -> bool {
    IMPOSSIBLE.iter().any(|&(a, b, _)| (a, b) == (one, other) || (b, a) == (one, other))
}

/// Always the one next that has most pairs which no one has yet.
fn pairs() -> Vec<Way> {
    let (all, mut chosen, mut met) = (all(), vec![], BTreeSet::new());
    loop {
        let new = |way: &Way| way.pairs().filter(|pair| !met.contains(pair)).count();
        let next = all.iter().rev().max_by_key(|way| new(way)).expect("there are some");
        if new(next) == 0 {
            return chosen;
        }
        met.extend(next.pairs());
        chosen.push(*next);
    }
}

fn the_choice_has_every_pair() {
    let chosen = pairs();
    for (at, column) in COLUMNS.iter().enumerate() {
        for (other_at, other_column) in COLUMNS.iter().enumerate().skip(at + 1) {
            for one in *column {
                for other in *other_column {
                    let met = chosen.iter().any(|way| (way.values[at], way.values[other_at]) == (one, other));
                    assert_ne!(met, is_impossible(one, other), "{one} and {other}");
                }
            }
        }
    }
    println!("{} of {}", chosen.len(), all().len());
}

impl Way {
    fn pairs(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let values = self.values;
        (0..5).flat_map(move |a| (a + 1..5).map(move |b| (values[a], values[b])))
    }

    fn test(self) -> Trial {
        let [_, linker, _, _, sanitizer] = self.values;
        let runtime = match sanitizer {
            "ASan" => "libasan.so",
            "TSan" => "libtsan.so",
            _ => "",
        };
        let missing = needs("gcc").or_else(|| missing_linker(linker)).or_else(|| {
            let found = Command::new("gcc").arg(format!("-print-file-name={runtime}")).output();
            let found = found.is_ok_and(|output| output.stdout.starts_with(b"/"));
            (!runtime.is_empty() && !found).then(|| format!("gcc has no {runtime}"))
        });
        test(&format!("C, {}", self.values.join(", ")), missing, move || self.holds())
    }

    fn holds(self) {
        let [form, linker, binding, cet, sanitizer] = self.values;
        let compile = match form {
            "PLT" => "-fPIC -fplt -DCALLS_ONLY",
            "no PLT" => "-fPIC -fno-plt",
            "non-PIE" | "static" => "-fno-pie",
            _ => "-fPIE",
        };
        let sanitize = match sanitizer {
            "ASan" => "-fsanitize=address",
            "TSan" => "-fsanitize=thread",
            _ => "",
        };
        let protection = if cet == "CET" { "full" } else { "none" };
        // What a distribution may add: it must not reach the resolver, which has no thread pointer in a static program.
        let words = format!("gcc -O2 {compile} {sanitize} -fcf-protection={protection} -fstack-protector-all");
        let link = format!("-fuse-ld={linker} -Wl,-z,{binding}");
        let name = self.values.join("-");

        let (program, owner) = if form.ends_with("PLT") {
            let folder = scratch().join(format!("ifunc-{}", name.replace(' ', "-")));
            std::fs::create_dir_all(&folder).unwrap();
            let library = folder.join("libcopy.so");
            must(compiler(&format!("{words} -shared {link}")).arg(source("copy.c")).arg("-o").arg(&library));
            let folder = folder.display();
            let way = format!("{words} -pie {link} -L{folder} -Wl,-rpath,{folder}");
            (c_program(&name, &format!("{way} -Wl,--no-as-needed -lcopy"), &["copies.c"]), library)
        } else {
            let form = match form {
                "PIE" => "-pie",
                "non-PIE" => "-no-pie",
                form => &format!("-{form}"),
            };
            let program = c_program(&name, &format!("{words} {form} {link}"), &["copy.c", "copies.c"]);
            (program.clone(), program)
        };
        self.has_this_form(&program, &owner);
        assert_choices(&program);
        // Mold 1 gives data the variant's address, and code without position independence that of an entry in the PLT.
        let one_address = (form, linker) != ("non-PIE", "mold") && (form, linker) != ("static", "mold");
        let pointers = &facts(&mut command(&program))["pointers"];
        assert!(pointers == "equal" || !one_address);
    }

    /// The program is what was asked for, and what has the routine has it as an IFUNC.
    fn has_this_form(self, program: &Path, owner: &Path) {
        let [form, _, binding, cet, _] = self.values;
        let bytes = std::fs::read(program).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let position_independent = !matches!(form, "non-PIE" | "static");
        assert_eq!(elf.header.e_type == header::ET_DYN, position_independent);
        assert_eq!(elf.interpreter.is_none(), form.starts_with("static"));
        if let (false, Some(dynamic)) = (form.starts_with("static"), &elf.dynamic) {
            let now = dynamic.info.flags_1 & goblin::elf::dynamic::DF_1_NOW != 0
                || dynamic.info.flags & goblin::elf::dynamic::DF_BIND_NOW != 0;
            assert_eq!(now, binding == "now");
        }
        let calls = |relocations: &goblin::elf::RelocSection<'_>| {
            relocations.iter().any(|relocation| {
                let symbol = elf.dynsyms.get(relocation.r_sym).expect("a symbol");
                elf.dynstrtab.get_at(symbol.st_name) == Some("mylib_copy")
            })
        };
        if form == "PLT" && binding == "lazy" {
            assert!(calls(&elf.pltrelocs) && !calls(&elf.dynrelas), "not bound at the first call");
        } else if form.ends_with("PLT") {
            assert!(calls(&elf.pltrelocs) || calls(&elf.dynrelas));
        }

        // Where code takes its address by distance, some linkers make that of an entry in the PLT the function's.
        let owner = Code::read(owner);
        let bound_by =
            |resolver: u64| owner.relocations.values().any(|&to| to == (reloc::R_X86_64_IRELATIVE, resolver as i64));
        assert!(owner.ifunc || bound_by(owner.symbol("invar_resolve_mylib_copy")), "no IFUNC symbol");
        // `endbr64` at what is reached by indirect jumps (Intel SDM volume 2).
        for function in ["copy_anywhere", "copy_avx2", "copy_avx512", "invar_resolve_mylib_copy"] {
            let start = owner.bytes(owner.symbol(function)).get(..4).expect("code");
            assert_eq!(start == [0xf3, 0x0f, 0x1e, 0xfa], cet == "CET", "{function} {start:x?}");
        }
    }
}

fn source(name: &str) -> String {
    format!("{}/tests/programs/c/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Builds a program of these sources. Objects first, libraries last.
fn c_program(name: &str, words: &str, sources: &[&str]) -> PathBuf {
    let path = scratch().join(format!("ifunc-c-{}", name.replace([' ', '=', ',', '/'], "-")));
    let (libraries, words): (Vec<_>, Vec<_>) = words.split(' ').partition(|word| word.starts_with("-l"));
    let mut command = compiler(&words.join(" "));
    must(command.args(sources.iter().map(|name| source(name))).args(libraries).arg("-o").arg(&path));
    path
}

/// What a program says, by the first word of each line.
fn facts(command: &mut Command) -> BTreeMap<String, String> {
    // The runtime of gcc 12's thread sanitizer does not know addresses as random as newer kernels make them.
    // SAFETY: one system call on a number.
    unsafe {
        command.pre_exec(|| {
            libc::personality(libc::ADDR_NO_RANDOMIZE as _);
            Ok(())
        })
    };
    let output = String::from_utf8(must(command).stdout).expect("text");
    let facts = output.lines().filter_map(|line| line.split_once('\t'));
    facts.map(|(name, value)| (name.into(), value.into())).collect()
}

/// The variant that a machine like this takes, without these features.
fn expected(without: &[&str]) -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") && !without.contains(&"avx512bw") {
            return "avx512";
        }
        if is_x86_feature_detected!("avx2") && !without.contains(&"avx2") {
            return "avx2";
        }
    }
    let _ = without;
    "anywhere"
}

/// Copies are right, and the variant is the one that it should be, with and without settings.
fn assert_choices(program: &Path) {
    for (settings, without) in [
        (&[][..], &[][..]),
        (&[("INVAR_KEYS", "cpu.avx512bw=off")], &["avx512bw"]),
        (&[("INVAR_KEYS", "cpu.avx2=off,cpu.avx512bw=off")], &["avx2", "avx512bw"]),
        (&[("INVAR", "off")], &["avx2", "avx512bw"]),
    ] {
        let facts = facts(command(program).envs(settings.iter().copied()));
        assert_eq!(facts["differ"], "0", "{settings:?}");
        assert_eq!(facts["variant"], format!("{} 3000", expected(without)), "{settings:?}");
    }
}

// What stands in a file.

const FUNC: u8 = goblin::elf::sym::STT_FUNC;
const IFUNC: u8 = goblin::elf::sym::STT_GNU_IFUNC;

/// The types under which a file defines this symbol.
fn symbol_types(path: &Path, name: &str) -> BTreeSet<u8> {
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let of = |symbols: &goblin::elf::Symtab<'_>, names: &goblin::strtab::Strtab<'_>| {
        let ours = symbols.iter().filter(|symbol| symbol.st_shndx != 0 && names.get_at(symbol.st_name) == Some(name));
        ours.map(|symbol| symbol.st_type()).collect::<Vec<_>>()
    };
    [of(&elf.syms, &elf.strtab), of(&elf.dynsyms, &elf.dynstrtab)].concat().into_iter().collect()
}

/// The code of a file, its symbols, and what the loader will put where.
struct Code {
    file: Vec<u8>,
    segments: Vec<(u64, u64, usize)>,
    symbols: BTreeMap<u64, String>,
    /// Whether `mylib_copy` is one.
    ifunc: bool,
    /// By address: the kind of relocation, and its addend.
    relocations: BTreeMap<u64, (u32, i64)>,
}

impl Code {
    fn read(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap();
        let elf = Elf::parse(&file).unwrap();
        let loaded = elf.program_headers.iter().filter(|header| header.p_type == goblin::elf::program_header::PT_LOAD);
        let segments = loaded.map(|header| (header.p_vaddr, header.p_filesz, header.p_offset as usize)).collect();
        let symbols = elf.syms.iter().filter(|symbol| symbol.st_shndx != 0);
        let symbols =
            symbols.map(|symbol| (symbol.st_value, elf.strtab.get_at(symbol.st_name).unwrap_or("").to_owned()));
        // Where two have one address, the longer name says more.
        let mut named = BTreeMap::<u64, String>::new();
        for (address, name) in symbols {
            let known = named.entry(address).or_default();
            if name.len() > known.len() {
                *known = name;
            }
        }
        // Static programs have theirs in sections only.
        let sections = elf.shdr_relocs.iter().flat_map(|(_, relocations)| relocations.iter());
        let relocations = elf.dynrelas.iter().chain(elf.pltrelocs.iter()).chain(sections);
        let relocations = relocations.map(|r| (r.r_offset, (r.r_type, r.r_addend.unwrap_or(0)))).collect();
        let ifunc = symbol_types(path, "mylib_copy").contains(&IFUNC);
        Self { segments, symbols: named, ifunc, relocations, file }
    }

    fn symbol(&self, name: &str) -> u64 {
        let found = self.symbols.iter().find(|(_, known)| *known == name);
        *found.unwrap_or_else(|| panic!("no symbol {name}")).0
    }

    /// The bytes from an address on.
    fn bytes(&self, address: u64) -> &[u8] {
        let (start, size, offset) = self
            .segments
            .iter()
            .find(|(start, size, _)| (*start..start + size).contains(&address))
            .unwrap_or_else(|| panic!("{address:#x} is not in the file"));
        &self.file[offset + (address - start) as usize..offset + *size as usize]
    }

    fn name(&self, address: u64) -> &str {
        self.symbols.range(..=address).next_back().map_or("?", |(_, name)| name)
    }

    /// What a slot leads to, which must be this module's own: that is written before anything is resolved.
    fn slot(&self, slot: u64, at: &str) -> u64 {
        match self.relocations.get(&slot) {
            Some(&(reloc::R_X86_64_RELATIVE, target)) => target as u64,
            Some((kind, _)) => panic!("by a slot of kind {kind} at {at}"),
            None => {
                let target = u64::from_le_bytes(self.bytes(slot)[..8].try_into().unwrap());
                assert_ne!(target, 0, "by an empty slot at {at}");
                target
            }
        }
    }

    /// Fails if code that can be reached from here leaves the module, goes by something that must be resolved first, or uses the thread
    /// pointer. Returns the functions, and how often `cpuid` and `syscall` stand in them.
    fn walk(&self, start: u64) -> (BTreeSet<&str>, BTreeMap<&'static str, usize>) {
        let (mut open, mut seen, mut names, mut counts) =
            (vec![(start, String::new())], BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        while let Some((from, by)) = open.pop() {
            // Reached only where the compiler's own checks fail.
            if self.name(from).contains("panic") {
                continue;
            }
            names.insert(self.name(from));
            let mut decoder = Decoder::with_ip(64, self.bytes(from), from, DecoderOptions::NONE);
            // The slots that registers were loaded from: code without optimisation calls by them.
            let mut loaded = BTreeMap::new();
            loop {
                let instruction = decoder.decode();
                let at = format!("{:#x} in {}{by}", instruction.ip(), self.name(instruction.ip()));
                let here = || format!(", from {}", self.name(instruction.ip()));
                assert!(!instruction.is_invalid(), "{at}");
                if !seen.insert(instruction.ip()) {
                    break;
                }
                assert!(
                    !matches!(instruction.segment_prefix(), Register::FS | Register::GS),
                    "a thread pointer at {at}"
                );
                if instruction.is_ip_rel_memory_operand() && instruction.mnemonic() != iced_x86::Mnemonic::Lea {
                    let address = instruction.ip_rel_memory_address();
                    let kind = self.relocations.get(&address).map_or(reloc::R_X86_64_RELATIVE, |(kind, _)| *kind);
                    assert_eq!(kind, reloc::R_X86_64_RELATIVE, "reads what must be resolved at {at}");
                }
                match instruction.mnemonic() {
                    iced_x86::Mnemonic::Cpuid => *counts.entry("cpuid").or_default() += 1,
                    iced_x86::Mnemonic::Syscall => *counts.entry("syscall").or_default() += 1,
                    _ => {}
                }
                let flow = instruction.flow_control();
                match flow {
                    FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
                        if instruction.op0_kind() == OpKind::NearBranch64 =>
                    {
                        open.push((instruction.near_branch_target(), here()));
                    }
                    FlowControl::IndirectCall | FlowControl::IndirectBranch
                        if instruction.is_ip_rel_memory_operand() =>
                    {
                        open.push((self.slot(instruction.ip_rel_memory_address(), &at), here()));
                    }
                    FlowControl::IndirectCall | FlowControl::IndirectBranch
                        if loaded.contains_key(&instruction.op0_register()) =>
                    {
                        let (address, is_slot) = loaded[&instruction.op0_register()];
                        open.push((if is_slot { self.slot(address, &at) } else { address }, here()));
                    }
                    FlowControl::Next if instruction.op0_kind() == OpKind::Register => {
                        let register = instruction.op0_register();
                        loaded.remove(&register);
                        if instruction.is_ip_rel_memory_operand() {
                            // A linker may have made the load of a slot into its content.
                            let is_slot = instruction.mnemonic() == iced_x86::Mnemonic::Mov;
                            loaded.insert(register, (instruction.ip_rel_memory_address(), is_slot));
                        }
                    }
                    // By one of the compiler's tables of distances, which stay in the function.
                    FlowControl::IndirectBranch => {
                        open.extend(self.blocks(instruction.ip()).into_iter().map(|block| (block, here())));
                    }
                    FlowControl::IndirectCall => panic!("by a pointer at {at}"),
                    _ => {}
                }
                if self.ends(&instruction) {
                    break;
                }
            }
        }
        (names, counts)
    }

    /// Whether what stands behind is not run into.
    fn ends(&self, instruction: &iced_x86::Instruction) -> bool {
        use FlowControl::{Call, Exception, IndirectBranch, Return, UnconditionalBranch};
        match instruction.flow_control() {
            Return | UnconditionalBranch | IndirectBranch | Exception => true,
            Call => self.name(instruction.near_branch_target()).contains("panic"),
            _ => false,
        }
    }

    /// Where code begins that is not run into, in the function that has this address: all that a jump in it may lead to, and more.
    fn blocks(&self, address: u64) -> Vec<u64> {
        let start = *self.symbols.range(..=address).next_back().expect("a function").0;
        let end = self.symbols.range(address + 1..).next().map_or(u64::MAX, |(&next, _)| next);
        let (mut blocks, mut ended) = (vec![], false);
        for instruction in Decoder::with_ip(64, self.bytes(start), start, DecoderOptions::NONE) {
            // Linkers fill up with zeros.
            if instruction.ip() >= end || self.bytes(instruction.ip()).starts_with(&[0, 0]) {
                break;
            }
            if ended && !matches!(instruction.mnemonic(), iced_x86::Mnemonic::Nop | iced_x86::Mnemonic::Int3) {
                blocks.push(instruction.ip());
                ended = false;
            }
            ended |= self.ends(&instruction);
        }
        blocks
    }
}

/// Compilers with whatever puts calls and checks into functions.
const INSTRUMENTED: [&str; 17] = [
    "gcc -O0 -fstack-protector-all",
    "gcc -O3 -fstack-protector-all -ftrivial-auto-var-init=pattern",
    "gcc -Os -finstrument-functions",
    "gcc -O2 -pg",
    "gcc -O1 -fprofile-generate",
    "gcc -O2 -fsanitize=address,undefined",
    "gcc -O0 -fsanitize=thread",
    "gcc -O2 -flto",
    "gcc -O2 -fsplit-stack",
    "clang -O0 -fstack-protector-all -ftrivial-auto-var-init=pattern",
    "clang -O3 -fstack-protector-all",
    "clang -O2 -finstrument-functions",
    "clang -O1 -fprofile-instr-generate -fcoverage-mapping",
    "clang -O2 -fsanitize=address,undefined -fsanitize-coverage=trace-pc-guard",
    "clang -O0 -fsanitize=thread",
    "clang -O2 -fsanitize=safe-stack",
    "g++ -xc++ -O2 -fsanitize=thread",
];

/// Why nothing can be linked with these options, from a try: their runtime may be in a package of its own.
fn does_not_link(words: &str) -> Option<String> {
    let mut command = compiler(&format!("{words} -fPIC -shared -xc - -o /dev/null"));
    let tried = command.stdin(Stdio::null()).output();
    (!tried.is_ok_and(|tried| tried.status.success())).then(|| "the options' runtime is not there".into())
}

fn c_resolver_calls_nothing(words: &str) {
    // As a library, where nothing is taken for the program's own.
    let program = c_program(words, &format!("{words} -fPIC -shared"), &["copy.c"]);
    let code = Code::read(&program);
    let (functions, counts) = code.walk(code.symbol("invar_resolve_mylib_copy"));
    println!("{functions:?} {counts:?}");
    // One function each for the system call and cpuid, unless a compiler put them in line.
    assert!(counts["cpuid"] >= 1 && counts["syscall"] >= 1, "{counts:?}");
}

fn c_and_rust_know_the_same_cpu() {
    let program = c_program("features", "gcc -O2", &["features.c"]);
    let said = String::from_utf8(must(&mut command(&program)).stdout).unwrap();
    let (this, others) = said.split_once('\n').expect("lines");
    assert_eq!(this, format!("{:#x}", invar_arch::cpu_features()));
    assert_eq!(invar_arch::cpu_features_for_resolvers(None), invar_arch::cpu_features());
    // And every other: features without what they build on, and states that are not saved.
    #[cfg(target_arch = "x86_64")]
    let mut met = 0;
    #[cfg(target_arch = "x86_64")]
    for line in others.lines() {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [registers @ .., saved, features] = &numbers[..] else { panic!("{line}") };
        let registers: Vec<_> = registers.iter().map(|register| *register as u32).collect();
        let expected = invar_arch::cpu_features_of(&registers.try_into().unwrap(), *saved as u8);
        assert_eq!(*features, expected, "{line}");
        met |= expected;
    }
    assert_eq!(others.lines().count(), 20_000);
    #[cfg(target_arch = "x86_64")]
    assert_eq!(met.count_ones() as usize, invar_arch::FEATURES.split(' ').count() - 1, "some are on none of them");
}

// Rust.

type Setting = (&'static str, &'static str);

/// Profile settings, and options of rustc. The first four are built every time.
const RUST: [(&str, &[Setting], &[&str]); 7] = [
    ("debug, static", &[("opt-level", "0"), ("debug-assertions", "true")], &["-Ctarget-feature=+crt-static"]),
    ("optimised, gold, lazy", &[], &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=gold", "-Crelro-level=partial"]),
    ("optimised, mold, fat LTO", &[("lto", "fat")], &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=mold"]),
    (
        "small, lld, thin LTO, non-PIE",
        &[("opt-level", "s"), ("lto", "thin"), ("panic", "abort")],
        &["-Crelocation-model=static"],
    ),
    ("debug, rust-lld", &[("opt-level", "0"), ("debug-assertions", "true")], &[]),
    (
        "optimised, bfd, static",
        &[],
        &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd", "-Ctarget-feature=+crt-static"],
    ),
    (
        "small, bfd, one unit",
        &[("opt-level", "s"), ("codegen-units", "1")],
        &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"],
    ),
];

fn missing_linker_of(flags: &[&str]) -> Option<String> {
    missing_linker(flags.iter().find_map(|flag| flag.strip_prefix("-Clink-arg=-fuse-ld="))?)
}

fn rust_program(name: &str, settings: &[Setting], flags: &[&str]) -> PathBuf {
    let build = Build::release().named(&format!("ifunc-{}", name.replace(',', "")));
    // Mold 1 takes stripping debug information for stripping all.
    let build = build.setting("strip", "none");
    let build = settings.iter().fold(build, |build, (entry, value)| build.setting(entry, value));
    flags.iter().fold(build, |build, flag| build.rustflag(*flag)).program("symbols")
}

fn rust_is_bound(name: &str, settings: &[Setting], flags: &[&str]) {
    let program = rust_program(name, settings, flags);
    assert_rust_choices(&program, &[], &[]);
    assert_rust_choices(&program, &[("INVAR_KEYS", "cpu.avx512bw=off")], &["avx512bw"]);
    assert_rust_choices(&program, &[("INVAR", "off")], &["avx2", "avx512bw"]);
    ordered_arms(&program);
    several_conditions(&program);
    if !invar_arch::IFUNC {
        return;
    }
    assert!(symbol_types(&program, "mylib_copy").contains(&IFUNC));
    assert!(symbol_types(&program, "mylib_both").contains(&IFUNC), "all of its keys are the CPU's");
    for ordinary in ["mylib_add", "mylib_mixed"] {
        assert_eq!(symbol_types(&program, ordinary), [FUNC].into());
    }
    let code = Code::read(&program);
    let is_resolver = |name: &str| name.contains("__invar_resolve") && !name.contains("__invar_variant");
    let resolvers = code.symbols.iter().filter(|(_, name)| is_resolver(name));
    let walked: Vec<_> = resolvers.map(|(&address, _)| code.walk(address)).collect();
    println!("{walked:?}");
    // That of the ordinary symbol may be gone.
    assert!(!walked.is_empty());
    assert!(walked.iter().all(|(_, counts)| counts["cpuid"] >= 1 && counts["syscall"] >= 1));
}

/// What the six functions `ordered!` of `copy` say, for each value of their key.
fn ordered_arms(program: &Path) {
    for (settings, says) in [
        (&[][..], "[0, 0, 2, 2, 0, 0]"),
        (&[("COPY_WIDTH", "wide")], "[1, 1, 1, 1, 2, 2]"),
        (&[("COPY_WIDTH", "widest")], "[2, 2, 0, 0, 2, 0]"),
        (&[("COPY_WIDTH", "widest"), ("INVAR", "off")], "[0, 0, 2, 2, 0, 1]"),
        (&[("COPY_WIDTH", "widest"), ("INVAR_WRITER", "off")], "[2, 2, 0, 0, 2, 0]"),
    ] {
        let output = String::from_utf8(must(command(program).envs(settings.iter().copied())).stdout).unwrap();
        assert!(output.contains(&format!("ordered\t{says}\n")), "{settings:?}: {output}");
        // The report goes by what the keys say.
        let at_least = if says.starts_with("[2") {
            "yes"
        } else if says.starts_with("[1") {
            "partly"
        } else {
            "no"
        };
        assert!(output.contains(&format!("key mylib_at_least = {at_least} (probe): ")), "{settings:?}: {output}");
    }
}

/// An arm holds where all of its conditions do, for the loader and for the keys.
fn several_conditions(program: &Path) {
    let has = |features| {
        let wanted = invar_arch::feature_mask(features);
        invar_arch::cpu_features() & wanted == wanted
    };
    let (sse, avx) = (has("sse4.2"), has("avx2"));
    for (settings, sse, avx, lowered) in [
        (&[][..], sse, avx, false),
        (&[("INVAR_KEYS", "cpu.avx2=off")], sse, false, sse && avx),
        (&[("INVAR_KEYS", "cpu.sse4.2=off")], false, avx, sse),
        (&[("INVAR_KEYS", "cpu.avx2=off,cpu.avx2=on")], sse, avx, false),
        (&[("INVAR_KEYS", "cpu.avx2=off,cpu.sse4.2=off")], false, false, sse),
        (&[("COPY_WIDTH", "wide")], sse, avx, false),
    ] {
        let output = String::from_utf8(must(command(program).envs(settings.iter().copied())).stdout).unwrap();
        let (both, variant) = match (sse, avx) {
            (true, true) => ("3", "third_level"),
            (true, false) => ("2", "second_level"),
            _ => ("1", "first_level"),
        };
        let mixed = if sse && settings != [("COPY_WIDTH", "wide")] { "2" } else { "1" };
        for line in [format!("both\t{both}"), format!("mixed\t{mixed}")] {
            assert!(output.lines().any(|said| said == line), "{settings:?}: no {line} in {output}");
        }
        let said = output.lines().find(|line| line.contains("key mylib_both = ")).expect("the key");
        assert!(said.contains(&format!(" = {variant} (probe): ")), "{settings:?}: {said}");
        assert_eq!(
            said.contains("; lowered by INVAR or INVAR_KEYS"),
            lowered && invar_arch::IFUNC,
            "{settings:?}: {said}"
        );
        assert!(!said.contains("decided otherwise"), "{settings:?}: {said}");
    }
}

fn assert_rust_choices(program: &Path, settings: &[Setting], without: &[&str]) {
    let output = String::from_utf8(must(command(program).envs(settings.iter().copied())).stdout).unwrap();
    let facts: BTreeMap<_, _> = output.lines().filter_map(|line| line.split_once('\t')).collect();
    let variant = expected(without);
    assert_eq!((facts["differ"], facts["keys"]), ("0", variant), "{output}");
    assert_eq!(facts["variant"], format!("{variant} 3000"), "{output}");
    let off = settings == [("INVAR", "off")];
    assert_eq!(facts["add"], if off { "3" } else { "1003" }, "{output}");
    let has_level = invar_arch::cpu_features() & invar_arch::feature_mask("sse4.2") != 0;
    assert_eq!(facts["level"], if off || !has_level { "1" } else { "2" }, "{output}");
    let (copy, add) = if invar_arch::IFUNC {
        ("an IFUNC symbol, by cpuid", "an ordinary symbol, as not all of its keys are the CPU's")
    } else {
        ("an ordinary symbol, as there is no IFUNC here", "an ordinary symbol, as there is no IFUNC here")
    };
    assert!(output.contains(&format!("key mylib_copy = copy_{variant} (probe): {copy}")), "{output}");
    let add_variant = if off { "add" } else { "add_backwards" };
    assert!(output.contains(&format!("key mylib_add = {add_variant} (probe): {add}")), "{output}");
    assert!(!output.contains("decided otherwise"), "{output}");
    let lowered = output.contains("lowered by INVAR or INVAR_KEYS");
    assert_eq!(lowered, invar_arch::IFUNC && variant != expected(&[]), "{output}");
}

/// The symbol is exported from a `cdylib`, and is what the loader of a program in C expects.
fn c_uses_rust() {
    let library = Build::release().named("ifunc-library").library("copier");
    assert_eq!(symbol_types(&library, "mylib_copy"), [IFUNC].into());
    let folder = library.parent().unwrap().display();
    for (name, words) in [
        ("rust-lazy", format!("gcc -O2 -DCALLS_ONLY -fPIE -pie -Wl,-z,lazy -L{folder} -Wl,-rpath,{folder} -lcopier")),
        ("rust-now", format!("gcc -O2 -fno-plt -fPIE -pie -Wl,-z,now -L{folder} -Wl,-rpath,{folder} -lcopier")),
        ("rust-non-pie", format!("gcc -O2 -fno-pie -no-pie -L{folder} -Wl,-rpath,{folder} -lcopier")),
    ] {
        assert_choices(&c_program(name, &words, &["copies.c"]));
    }
}

/// Each tells which variant its own is, by its own probe, when its keys are decided.
fn a_symbol_that_two_modules_have() {
    let program = rust_program("optimised", &[], &[]);
    let library = Build::release().named("ifunc-library").library("copier");
    for (settings, without) in [(&[][..], &[][..]), (&[("INVAR", "off")], &["avx2", "avx512bw"])] {
        let mut command = command(&program);
        let binder = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "LD_PRELOAD"));
        let libraries = binder.into_iter().chain([library.as_os_str()]).map(|path| path.to_str().unwrap());
        let libraries = libraries.collect::<Vec<_>>().join(":");
        let output = must(command.env("LD_PRELOAD", libraries).envs(settings.iter().copied())).stdout;
        let output = String::from_utf8(output).unwrap();
        let said = format!("key mylib_copy = copy_{} (probe): ", expected(without));
        assert_eq!(output.matches(&said).count(), 2, "{output}");
        let add = if without.is_empty() { "add_backwards" } else { "add" };
        assert!(output.contains(&format!("key mylib_add = {add} (probe): ")), "{output}");
        assert!(!output.contains("decided otherwise"), "{output}");
    }
}

// Settings.

/// Whatever the environment says: resolvers in Rust and in C choose what the runtime's keys have.
fn resolvers_read_settings_as_keys_do() {
    const KEYS: [&str; 20] = [
        "cpu.avx2=off",
        "cpu.avx2=on",
        "cpu.avx2=",
        "cpu.avx2=offx",
        "cpu.avx2",
        "cpu.avx2=off=",
        "cpu.avx512bw=off",
        "cpu.avx512bw=on",
        "cpu.avx512bw=none",
        "cpu.avx512=off",
        // Misspelt.
        "cpu.avx2=maybe",
        "cpu.avx2=OFF",
        "cpu.avx2 =off",
        " cpu.avx2=off",
        "CPU.AVX2=off",
        "cpu.avx2:off",
        "=off",
        "",
        "xcpu.avx2=off",
        "mylib_wide_and_a_name_that_is_longer_than_any_that_is_looked_for=off",
    ];
    const MODES: [&str; 8] = ["auto", "off", "", "offx", "auto,off", "=off", "OFF", "requrie"];
    let rust = rust_program("optimised", &[], &[]);
    let c = c_program("settings", "gcc -O2", &["copy.c", "copies.c"]);
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as usize % below
    };
    let mut met = BTreeSet::new();
    for _ in 0..60 {
        // Before the settings, so that they lie across the end of what is read at a time.
        let mut settings = vec![("A", "x".repeat(random(5000)))];
        let keys: Vec<_> = (0..random(4)).map(|_| KEYS[random(KEYS.len())]).collect();
        settings.push(("INVAR_KEYS", keys.join(",")));
        if random(3) == 0 {
            settings.push(("INVAR", MODES[random(MODES.len())].into()));
        }
        settings.push(("INVAR_KEYSX", "cpu.avx2=off,cpu.avx512bw=off".into()));
        settings.push(("INVARX", "off".into()));
        settings.push(("INVAR_KYES", "cpu.avx2=off".into()));
        let settings = || settings.iter().map(|(name, value)| (name, value));
        let rust = facts(command(&rust).env_clear().envs(settings()));
        let c = facts(command(&c).env_clear().envs(settings()));
        let said = format!("{:?}", &settings().skip(1).collect::<Vec<_>>());
        assert_eq!(rust["variant"], format!("{} 3000", rust["keys"]), "{said}");
        assert_eq!(c["variant"], rust["variant"], "{said}");
        met.insert(rust["keys"].clone());
    }
    assert!(met.len() > 1 || expected(&[]) == "anywhere", "{met:?}");
}

/// Why no variant of `levels.c` is chosen here.
fn no_level() -> Option<String> {
    let level = invar_arch::level(b"x86-64-v2");
    let has_it = level.is_some_and(|level| invar_arch::cpu_features() & level == level);
    (!has_it).then(|| "the CPU is below x86-64-v2".into())
}

/// With the dots and dashes that no identifier has.
fn settings_name_features_as_keys_are_named() {
    for option in ["-O2", "-O0 -DINVAR_NO_IFUNC"] {
        let program = c_program(&format!("levels{option}"), &format!("gcc {option}"), &["levels.c"]);
        for (keys, expected) in [
            ("", "1 3 4"),
            ("cpu.sse4.1=off", "0 3 4"),
            ("cpu.sse4-1=off,cpu.sse4_1=off,cpu.sse4.1.=off", "1 3 4"),
            ("cpu.x86-64-v2=off", "1 2 3"),
            ("cpu.x86.64.v2=off,cpu.x86_64_v2=off,cpu.x86-64-v3=off", "1 3 4"),
            ("cpu.x86-64-v2=off,cpu.sse4.2=off", "1 2 2"),
            ("cpu.x86-64-v2=off,cpu.sse4.2=off,cpu.sse4.1=off", "0 1 1"),
            ("cpu.x86-64-v2=off,cpu.sse4.2=off,cpu.sse4.1=off,cpu.sse3=off", "0 0 0"),
        ] {
            let said = must(command(&program).env("INVAR_KEYS", keys)).stdout;
            assert_eq!(String::from_utf8_lossy(&said).trim(), expected, "{option} {keys}");
        }
    }
}

/// Where `/proc` cannot be read, the symbol is bound by the CPU alone, and the report says that the keys would have it otherwise.
fn a_resolver_that_cannot_read_settings_is_reported() {
    let program = rust_program("debug, static", RUST[0].1, RUST[0].2);
    let mut command = command(&program);
    // SAFETY: system calls on numbers.
    unsafe { command.env("INVAR", "off").pre_exec(|| refuse::filter(libc::SYS_openat, None, refuse::REFUSE)) };
    let output = String::from_utf8(must(&mut command).stdout).unwrap();
    let line = output.lines().find(|line| line.contains("key mylib_copy")).expect("the key");
    assert!(line.contains(&format!("= copy_{} (probe): an IFUNC symbol", expected(&[]))), "{line}");
    assert!(line.contains("; /proc/self/environ cannot be read: without settings"), "{line}");
    assert_eq!(line.contains("; its keys were decided otherwise"), expected(&[]) != "anywhere", "{line}");
    assert!(output.contains(&format!("variant\t{} 3000", expected(&[]))), "{output}");
}

/// The same in C.
fn a_resolver_in_c_that_cannot_read_settings_is_reported() {
    let mut command = command(reporting("", "-static"));
    // SAFETY: system calls on numbers.
    unsafe { command.env("INVAR", "off").pre_exec(|| refuse::filter(libc::SYS_openat, None, refuse::REFUSE)) };
    let output = String::from_utf8(must(&mut command).stdout).unwrap();
    let said = format!(
        "key mylib_copy = copy_{} (probe): an IFUNC symbol, by cpuid; /proc/self/environ cannot",
        expected(&[])
    );
    assert!(output.contains(&said), "{output}");
}

/// Why no program can be started in a folder as its root.
fn no_chroot() -> Option<String> {
    let mut command = Command::new("/");
    // SAFETY: one system call in the child. A folder is never executed.
    let error = unsafe { command.pre_exec(|| chroot(c"/")) }.spawn().map(drop).unwrap_err();
    (error.raw_os_error() != Some(libc::EACCES))
        .then(|| "needs root, to start programs in a folder as their root".into())
}

fn chroot(folder: &CStr) -> std::io::Result<()> {
    // SAFETY: a path; and where this process is.
    let done = unsafe { libc::chroot(folder.as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Settings count only where `AT_SECURE` is there and 0: in a folder with a `/proc` of our making.
fn settings_need_to_know_that_privileges_are_not_raised() {
    let root = scratch().join(format!("ifunc-root-{}", std::process::id()));
    let files = root.join("proc/self");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("environ"), "INVAR=off\0").unwrap();
    std::fs::copy(c_program("alone", "gcc -O2 -static", &["copy.c", "copies.c"]), root.join("c")).unwrap();
    std::fs::copy(rust_program("debug, static", RUST[0].1, RUST[0].2), root.join("rust")).unwrap();
    let entry = |kind: u64, value: u64| [kind.to_le_bytes(), value.to_le_bytes()].concat();
    let [page, secure] = [entry(libc::AT_PAGESZ, 4096), entry(libc::AT_SECURE, 1)];
    for (vector, heeded) in [
        (None, false),
        (Some(vec![]), false),
        (Some(page.clone()), false),
        (Some([&page[..], &secure].concat()), false),
        (Some([page, entry(libc::AT_SECURE, 0), secure].concat()), true),
    ] {
        match &vector {
            Some(vector) => std::fs::write(files.join("auxv"), vector).unwrap(),
            None => assert!(!files.join("auxv").exists()),
        }
        for program in ["/c", "/rust"] {
            let folder = CString::new(root.as_os_str().as_bytes()).unwrap();
            let mut command = command(program);
            // SAFETY: two system calls on strings that are there.
            unsafe { command.pre_exec(move || chroot(&folder)) };
            let output = String::from_utf8(must(&mut command).stdout).unwrap();
            let variant = if heeded { "anywhere" } else { expected(&[]) };
            assert!(output.contains(&format!("variant\t{variant} 3000")), "{program} {vector:?} {output}");
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}

/// A setuid program of a user with fewer privileges cannot read its own environment in `/proc`; a setgid one can, and must not heed it.
fn raised_privileges_take_no_settings() {
    let c = c_program("setuid", "gcc -O2", &["copy.c", "copies.c"]);
    let rust = rust_program("optimised", &[], &[]);
    for program in [c, rust] {
        let copy = Temporary::executable("setuid-copies", &std::fs::read(program).unwrap());
        let variant = |command: &mut Command| {
            let output = String::from_utf8(must(command.env("INVAR", "off")).stdout).unwrap();
            let variant = output.lines().find_map(|line| line.strip_prefix("variant\t"));
            variant.expect("a variant").to_owned()
        };
        assert_eq!(variant(&mut command(&copy.0)), "anywhere 3000", "with the same privileges");
        let all = format!("{} 3000", expected(&[]));
        assert_eq!(variant(&mut set_user(&copy)), all);
        chown(&copy.0, Some(0), Some(65534)).unwrap();
        std::fs::set_permissions(&copy.0, std::fs::Permissions::from_mode(0o2755)).unwrap();
        assert_eq!(variant(&mut command(&copy.0)), all);
    }
}

/// A variable can be there twice.
fn the_last_setting_counts() {
    let c = c_program("twice", "gcc -O2", &["copy.c", "copies.c"]);
    let rust = rust_program("optimised", &[], &[]);
    for (environment, without) in [
        (&[c"INVAR_KEYS=cpu.avx512bw=off", c"INVAR_KEYS=x=y"][..], &[][..]),
        (&[c"INVAR_KEYS=x=y", c"INVAR_KEYS=cpu.avx512bw=off"], &["avx512bw"]),
        (&[c"INVAR_KEYS=cpu.avx512bw=off", c"INVAR_KEYS="], &["avx512bw"]),
        (&[c"INVAR=off", c"INVAR=auto"], &[]),
        (&[c"INVAR=auto", c"INVAR=off", c"INVAR=none"], &["avx512bw", "avx2"]),
    ] {
        for program in [&c, &rust] {
            let path = CString::new(program.as_os_str().as_bytes()).unwrap();
            let strings: Vec<_> = environment.iter().map(|string| string.as_ptr() as usize).chain([0]).collect();
            let mut command = command(program);
            // SAFETY: one system call, on strings that outlive it; both vectors end in null.
            unsafe {
                command.pre_exec(move || {
                    libc::execve(path.as_ptr(), [path.as_ptr(), std::ptr::null()].as_ptr(), strings.as_ptr().cast());
                    Err(std::io::Error::last_os_error())
                })
            };
            let output = String::from_utf8(must(&mut command).stdout).unwrap();
            assert!(output.contains(&format!("variant\t{} 3000", expected(without))), "{environment:?} {output}");
            assert!(!output.contains("decided otherwise"), "{output}");
        }
    }
}

/// A program in C that writes libinvar's report.
fn reporting(option: &str, link: &str) -> PathBuf {
    let path = scratch().join(format!("ifunc-c-reported{option}{link}"));
    let mut cc = compiler(&format!("gcc -O2 -DREPORT {option} {link}"));
    cc.args([source("copy.c"), source("copies.c")]).arg(format!("-L{}", libinvar().display())).args(LINK);
    must(cc.arg("-o").arg(&path));
    path
}

fn libinvar_reports() {
    for (option, sort) in [
        ("", "an IFUNC symbol, by cpuid"),
        ("-DINVAR_NO_IFUNC", "an ordinary symbol, as there is no IFUNC here, by cpuid"),
    ] {
        for link in ["", "-static"] {
            let path = reporting(option, link);
            for (settings, without) in [
                (&[][..], &[][..]),
                (&[("INVAR_KEYS", "cpu.avx512bw=off")], &["avx512bw"]),
                (&[("INVAR", "off")], &["avx2", "avx512bw"]),
                // The symbol's own key is not set.
                (&[("INVAR_KEYS", "mylib_copy=copy_anywhere")], &[]),
            ] {
                let mut command = command(&path);
                command.env("LD_LIBRARY_PATH", libinvar()).envs(settings.iter().copied());
                let output = String::from_utf8(must(&mut command).stdout).unwrap();
                let variant = expected(without);
                assert!(output.contains(&format!("variant\t{variant} 3000")), "{output}");
                assert!(output.contains(&format!("key mylib_copy = copy_{variant} (probe): {sort}")), "{output}");
                assert_eq!(output.matches("by cpuid").count(), 1, "{output}");
                let lowered = output.contains("lowered by INVAR or INVAR_KEYS");
                assert_eq!(lowered, variant != expected(&[]), "{output}");
                let bound = output.matches("branch mylib_copy == ").filter(|_| !output.contains("checked")).count();
                let bindings = if option.is_empty() { 0 } else { 2 };
                assert_eq!(bound, if settings == [("INVAR", "off")] { 0 } else { bindings }, "{output}");
            }
        }
    }
}
