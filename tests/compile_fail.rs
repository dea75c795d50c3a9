//! What the macros refuse, and in which words: each program here is written without a word `unsafe` of its own where one would be
//! needed, or means nothing. And what they take, in a crate that forbids `unsafe`.
//!
//! Sentences are looked for, not whole messages: those are the compiler's, and change.

mod common;

use common::{ANYWHERE, Temporary, cargo, must, rustc, scratch, test};
use std::path::PathBuf;
use std::process::{ExitCode, Output};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let mut tests = vec![
        test("a crate that forbids unsafe code has all but symbols", cpu(), || takes(SAFE)),
        test("symbols", cpu(), || takes(&format!("{PRELUDE}{SYMBOLS}"))),
        test("versions, in a crate that forbids unsafe code and takes no warning", ANYWHERE, || takes(VERSIONS)),
        test("names of the language and of macros are the program's own", cpu(), || takes(SHADOWED)),
        test("every stable feature is known", cpu(), every_stable_feature_is_known),
        test("a feature implies what the compiler takes it to imply", cpu(), features_imply_what_the_compiler_says),
    ];
    let program = |source: &str| format!("{PRELUDE}{source}");
    for (name, arms, sentence) in EITHER {
        let macros =
            [("dispatch!", DISPATCH), ("ifunc!", IFUNC), ("pointer!", POINTER), ("dispatch! by a pointer", BY_POINTER)];
        for (of, declaration) in macros {
            let source = program(&declaration.replace("ARMS", arms));
            tests.push(test(&format!("{of} refuses {name}"), cpu(), move || refuses(&source, sentence)));
        }
    }
    for (name, source, sentence) in REFUSED {
        tests.push(test(&format!("refused: {name}"), cpu(), move || refuses(&program(source), sentence)));
    }
    for (name, source, sentence) in VERSIONS_REFUSED {
        let source = format!("#![allow(dead_code, unused)]\n{source}\nfn main() {{}}");
        tests.push(test(&format!("multiversion refuses {name}"), ANYWHERE, move || refuses(&source, sentence)));
    }
    for (name, source, sentence) in VERSIONS_OF_A_CPU {
        let source = format!("#![allow(dead_code, unused)]\n{source}\nfn main() {{}}");
        tests.push(test(&format!("multiversion refuses {name}"), cpu(), move || refuses(&source, sentence)));
    }
    for (name, source, sentence) in FORBIDDEN {
        let source = format!("#![forbid(unsafe_code)]\n{source}\nfn main() {{}}");
        tests.push(test(&format!("forbidden: {name}"), ANYWHERE, move || refuses(&source, sentence)));
    }
    common::run(tests)
}

/// Why nothing can be said of CPU features here.
fn cpu() -> Option<String> {
    invar_arch::FEATURES.is_empty().then(|| "no CPU feature is known here".into())
}

/// What the programs have; not all of them use all of it.
const PRELUDE: &str = r#"
#![allow(dead_code, unused)]
invar::values! { pub enum Width { Narrow, Wide } }
invar::key! { #[name = "case.wish"] static WISH: bool = |_| Ok(true); }
invar::key! { #[name = "case.width"] static WIDTH: Width = |_| Ok(Width::Wide); }
invar::key! { #[name = "case.fast"] #[requires("avx512f")] static FAST: Width = |_| Ok(Width::Wide); }
invar::switch! { #[name = "case.trace"] static TRACE: bool = |_| Ok(true); }
invar::constant! { #[name = "case.line"] #[fallback(64)] static LINE: u32 = |_| Ok(128); }
static INDIRECT: &invar::Key<bool> = &WISH;
fn narrow(x: u64) -> u64 { x }
#[target_feature(enable = "avx2")]
fn wide(x: u64) -> u64 { x }
#[target_feature(enable = "avx512f")]
fn wider(x: u64) -> u64 { x }
unsafe fn peek(address: u64) -> u64 { unsafe { *(address as *const u64) } }
#[target_feature(enable = "avx2")]
unsafe fn peek_wide(address: u64) -> u64 { unsafe { *(address as *const u64) } }
fn main() {}
"#;

const DISPATCH: &str = "invar::dispatch! { fn chosen(x: u64) -> u64 { ARMS } }";
const POINTER: &str = "invar::pointer! { static CHOSEN: fn(u64) -> u64 = { ARMS }; }";
const BY_POINTER: &str = "invar::dispatch! { #[pointer] fn chosen(x: u64) -> u64 { ARMS } }";
const IFUNC: &str = "invar::ifunc! { #[unsafe(no_mangle)] extern \"C\" fn chosen(x: u64) -> u64 { ARMS } }";

/// What functions that are chosen by keys refuse, of either sort: the same rule. Name, arms, and what is said.
const EITHER: [(&str, &str, &str); 28] = [
    (
        "a variant that needs features of which its arm names none",
        "invar::cpu::SSE3 => wide, _ => narrow",
        "call to function `wide` with `#[target_feature]` is unsafe",
    ),
    (
        "a variant that needs more features than its arm names",
        r#"invar::cpu::AVX512F => #[target_feature(enable = "avx2")] wider, _ => narrow"#,
        "call to function `wider` with `#[target_feature]` is unsafe",
    ),
    (
        "a last variant that needs features",
        "WISH => narrow, _ => wide",
        "call to function `wide` with `#[target_feature]` is unsafe",
    ),
    ("an unsafe variant", "invar::cpu::SSE3 => peek, _ => narrow", "call to unsafe function `peek` is unsafe"),
    (
        "an unsafe variant with features",
        r#"invar::cpu::AVX2 => #[target_feature(enable = "avx2")] peek_wide, _ => narrow"#,
        "call to unsafe function `peek_wide` is unsafe",
    ),
    ("an unsafe last variant", "WISH => narrow, _ => peek", "call to unsafe function `peek` is unsafe"),
    (
        "a key that proves nothing",
        r#"WISH => #[target_feature(enable = "avx2")] wide, _ => narrow"#,
        "this key does not prove the CPU feature `avx2` that the variant needs",
    ),
    (
        "a key that proves less",
        r#"invar::cpu::AVX2 => #[target_feature(enable = "sse3,avx512f")] wider, _ => narrow"#,
        "this key does not prove the CPU feature `avx512f` that the variant needs",
    ),
    (
        "a key that proves what the feature builds on",
        r#"invar::cpu::AVX => #[target_feature(enable = "avx2")] wide, _ => narrow"#,
        "this key does not prove the CPU feature `avx2` that the variant needs",
    ),
    (
        "features where the CPU's key is off",
        r#"invar::cpu::AVX2 == false => #[target_feature(enable = "avx2")] wide, _ => narrow"#,
        "a key's first value proves nothing",
    ),
    (
        "features at a key's first value",
        r#"FAST == Width::Narrow => #[target_feature(enable = "avx512f")] wider, _ => narrow"#,
        "a key's first value proves nothing",
    ),
    (
        "a feature that nobody knows",
        r#"invar::cpu::AVX2 => #[target_feature(enable = "avx2,avx1024")] wide, _ => narrow"#,
        "invar knows no CPU feature `avx1024`",
    ),
    ("what leads to a key and is none", "INDIRECT => narrow, _ => narrow", "mismatched types"),
    (
        "what leads to a key that proves features",
        r#"PROVING => #[target_feature(enable = "avx2")] wide, _ => narrow } } static PROVING: &&invar::Key<bool,
            { 1 << 63 | 0xffff_ffff }> = &&OTHER; static OTHER: invar::Key<bool, { 1 << 63 | 0xffff_ffff }> = invar::Key::new();
            mod rest { fn rest() {"#,
        "mismatched types",
    ),
    (
        "what only says that it proves features",
        r#"CLAIM => #[target_feature(enable = "avx2")] wide, _ => narrow } } static CLAIM: Claim = Claim; struct Claim;
            impl Claim { const fn proves(&self) -> u64 { !0 } const fn get(&self) -> bool { true } }
            mod rest { fn rest() {"#,
        "mismatched types",
    ),
    ("a value of another type", "WIDTH == true => narrow, _ => narrow", "mismatched types"),
    ("a value that is not constant", "WISH == std::env::args().count() > 1 => narrow, _ => narrow", "E0015"),
    ("what is no static", "narrow => narrow, _ => narrow", "mismatched types"),
    ("arms without a last one", "WISH => narrow", "with `&&` between conditions, and `_ => variant` as the last"),
    (
        "an arm behind the last",
        "_ => narrow, WISH => narrow",
        "with `&&` between conditions, and `_ => variant` as the last",
    ),
    (
        "conditions that prove less together",
        r#"invar::cpu::AVX2 && WISH => #[target_feature(enable = "avx512f")] wider, _ => narrow"#,
        "this key does not prove the CPU feature `avx512f` that the variant needs",
    ),
    (
        "a condition that has one answer",
        "WISH && WIDTH >= Width::Narrow => narrow, _ => narrow",
        "no value stands before the first: this has one answer only",
    ),
    (
        "what is not so and has one answer",
        "WISH && !WIDTH < Width::Narrow => narrow, _ => narrow",
        "no value stands before the first: this has one answer only",
    ),
    (
        "a key by its whole path that proves less",
        r#"::invar::cpu::AVX2 => #[target_feature(enable = "avx512f")] wider, _ => narrow"#,
        "this key does not prove the CPU feature `avx512f` that the variant needs",
    ),
    (
        "features where a comparison is not so",
        r#"!FAST == Width::Narrow => #[target_feature(enable = "avx512f")] wider, _ => narrow"#,
        "this key does not prove the CPU feature `avx512f` that the variant needs",
    ),
    ("what is not so and has another type", "!WIDTH == true => narrow, _ => narrow", "mismatched types"),
    ("a second value of another type", "WISH && WIDTH == true => narrow, _ => narrow", "mismatched types"),
    ("what leads to a key and is none, behind another", "WISH && INDIRECT => narrow, _ => narrow", "mismatched types"),
];

/// Name, source, and what is said.
const REFUSED: [(&str, &str, &str); 51] = [
    // Pointers
    (
        "pointer! by a switch",
        "invar::pointer! { static CHOSEN: fn(u64) -> u64 = { WISH && !TRACE => narrow, _ => narrow }; }",
        "a pointer is chosen once, and does not follow a switch: dispatch! does",
    ),
    (
        "dispatch! with #[pointer] by a switch",
        "invar::dispatch! { #[pointer] fn chosen(x: u64) -> u64 { TRACE => narrow, _ => narrow } }",
        "a pointer is chosen once, and does not follow a switch: dispatch! does",
    ),
    // ifunc!
    (
        "ifunc! without the symbol's attribute",
        r#"invar::ifunc! { pub extern "C" fn memcpy(x: u64) -> u64 { WISH => narrow, _ => narrow } }"#,
        "no other may have its name, for which you vouch by #[unsafe(no_mangle)] before the function",
    ),
    (
        "ifunc! with the attribute of older editions",
        r#"invar::ifunc! { #[no_mangle] extern "C" fn mine(x: u64) -> u64 { WISH => narrow, _ => narrow } }"#,
        "ifunc! takes no attribute #[no_mangle]",
    ),
    (
        "ifunc! with another symbol behind the name",
        r#"invar::ifunc! { #[unsafe(no_mangle)] #[link_name = "exit"] extern "C" fn mine(x: u64) { WISH => drop, _ => drop } }"#,
        r#"ifunc! takes no attribute #[link_name = "exit"]"#,
    ),
    (
        "ifunc! with an attribute that may become one",
        r#"invar::ifunc! { #[unsafe(no_mangle)] #[cfg_attr(all(), link_name = "exit")] extern "C" fn mine(x: u64) {
            WISH => drop, _ => drop } }"#,
        "ifunc! takes no attribute #[cfg_attr",
    ),
    (
        "ifunc!, safe, with the word before an unsafe variant",
        r#"invar::ifunc! { #[unsafe(no_mangle)] extern "C" fn mine(x: u64) -> u64 { invar::cpu::SSE3 => unsafe peek, _ => narrow } }"#,
        r#"a function that is safe to call has no `unsafe` variants: declare it as `unsafe extern "C" fn`"#,
    ),
    (
        "ifunc!, unsafe, with an unsafe variant and not the word",
        r#"invar::ifunc! { #[unsafe(no_mangle)] unsafe extern "C" fn mine(x: u64) -> u64 { invar::cpu::SSE3 => peek, _ => narrow } }"#,
        "call to unsafe function `peek` is unsafe",
    ),
    (
        "ifunc!, unsafe, with an unsafe last variant and not the word",
        r#"invar::ifunc! { #[unsafe(no_mangle)] unsafe extern "C" fn mine(x: u64) -> u64 { WISH => narrow, _ => peek } }"#,
        "call to unsafe function `peek` is unsafe",
    ),
    (
        "ifunc!, unsafe, with a variant that needs more features than its arm names",
        r#"invar::ifunc! { #[unsafe(no_mangle)] unsafe extern "C" fn mine(x: u64) -> u64 { invar::cpu::SSE3 => wider, _ => narrow } }"#,
        "call to function `wider` with `#[target_feature]` is unsafe",
    ),
    (
        "ifunc!, unsafe, with an unsafe variant under a key that proves less",
        r#"invar::ifunc! { #[unsafe(no_mangle)] unsafe extern "C" fn mine(x: u64) -> u64 {
            invar::cpu::SSE3 => #[target_feature(enable = "avx2")] unsafe peek_wide, _ => narrow } }"#,
        "this key does not prove the CPU feature `avx2` that the variant needs",
    ),
    (
        "ifunc!, unsafe, called as if it were not",
        r#"invar::ifunc! { #[unsafe(no_mangle)] unsafe extern "C" fn mine(x: u64) -> u64 { WISH => unsafe peek, _ => narrow } }
            fn call() -> u64 { mine(1) }"#,
        "call to unsafe function `mine` is unsafe",
    ),
    // dispatch!
    (
        "dispatch! that is unsafe",
        "invar::dispatch! { unsafe fn chosen(x: u64) -> u64 { WISH => peek, _ => peek } }",
        "dispatch! has arms `KEY => variant,`",
    ),
    (
        "dispatch! with the word before an unsafe variant",
        "invar::dispatch! { fn chosen(x: u64) -> u64 { WISH => unsafe peek, _ => narrow } }",
        "expected identifier, found keyword `unsafe`",
    ),
    // key!
    (
        "key! that requires a feature which nobody knows",
        r#"invar::key! { #[requires("avx2,avx3")] static ODD: bool = |_| Ok(true); }"#,
        "invar knows no CPU feature `avx3`",
    ),
    (
        "key! of a type that is none of a key's",
        "invar::key! { static ODD: u8 = |_| Ok(1); }",
        "`u8: Value` is not satisfied",
    ),
    (
        "key! of a type with one value",
        "invar::values! { enum One { Only } } invar::key! { static ODD: One = |_| Ok(One::Only); }",
        "a key has 2 to 64 values",
    ),
    (
        "key! whose name does not fit a setting",
        r#"invar::key! { #[name = "a=b"] static ODD: bool = |_| Ok(true); }"#,
        "a key's name has only visible ASCII, without '=' and ','",
    ),
    (
        "key! by the name of the time slice key",
        r#"invar::key! { #[name = "slice"] static ODD: bool = |_| Ok(true); }"#,
        "names of invar's own keys: give this key another",
    ),
    (
        "key! by the name of one of its settings",
        r#"invar::key! { #[name = "slice.mine"] static ODD: bool = |_| Ok(true); }"#,
        "names of invar's own keys: give this key another",
    ),
    (
        "key! by the name of the CPU's",
        r#"invar::key! { #[name = "cpu.avx2"] static ODD: bool = |_| Ok(true); }"#,
        "names of invar's own keys: give this key another",
    ),
    (
        "ifunc! by the name of the time slice key",
        r#"invar::ifunc! { #[unsafe(no_mangle)] extern "C" fn slice(x: u64) -> u64 { WISH => narrow, _ => narrow } }"#,
        "names of invar's own keys: give this key another",
    ),
    (
        "key! with an unsafe probe",
        "unsafe fn probe(_: &mut invar::Evidence) -> Result<bool, &'static str> { Ok(true) }
            invar::key! { static ODD: bool = probe; }",
        "expected safe fn, found unsafe fn",
    ),
    (
        "key! with a probe that needs features",
        r#"#[target_feature(enable = "avx2")] fn probe(_: &mut invar::Evidence) -> Result<bool, &'static str> { Ok(true) }
            invar::key! { static ODD: bool = probe; }"#,
        "cannot coerce functions with `#[target_feature]` to safe function pointers",
    ),
    (
        "key! with the probe of another type",
        "invar::key! { static ODD: bool = |_| Ok(Width::Wide); }",
        "mismatched types",
    ),
    (
        "key! by a name of the macro's own",
        "invar::key! { #[name = \"odd\"] static __INVAR_NAMES: bool = |_| Ok(true); }",
        "IsKey` is not satisfied",
    ),
    // values!
    ("values! with numbers", "invar::values! { enum Odd { One = 1, Two = 2 } }", "no rules expected"),
    ("values! with fields", "invar::values! { enum Odd { One(u8), Two } }", "no rules expected"),
    (
        "values! in another size",
        "invar::values! { #[repr(u16)] enum Odd { One, Two } }",
        "conflicting representation hints",
    ),
    (
        "a key's type made by hand",
        "#[derive(Clone, Copy, PartialEq)] enum Odd { One, Two }
            impl invar::Value for Odd {
                const NAMES: &'static [&'static str] = &[\"one\", \"two\"];
                fn to_byte(self) -> u8 { 2 }
                fn from_byte(byte: u8) -> Option<Self> { None }
            }",
        "missing: `BY_MACRO`",
    ),
    // branch!
    ("branch! on what leads to a key", "fn f() -> bool { invar::branch!(INDIRECT) }", "mismatched types"),
    ("branch! on a variable", "fn f(key: &invar::Key<bool>) -> bool { invar::branch!(key) }", "non-constant value"),
    (
        "branch! with a value that is not constant",
        "fn f(value: Width) -> bool { invar::branch!(WIDTH == value) }",
        "non-constant value",
    ),
    (
        "branch! with a value by unsafe code",
        "const unsafe fn odd() -> bool { true } fn f() -> bool { invar::branch!(WISH == odd()) }",
        "call to unsafe function `odd` is unsafe",
    ),
    (
        "branch! at or above the first value",
        "fn f() -> bool { invar::branch!(WIDTH >= Width::Narrow) }",
        "no value stands before the first: this has one answer only",
    ),
    (
        "branch! below the first value",
        "fn f() -> bool { invar::branch!(WIDTH < Width::Narrow) }",
        "no value stands before the first: this has one answer only",
    ),
    (
        "branch! above the last value",
        "fn f() -> bool { invar::branch!(WIDTH > Width::Wide) }",
        "no value stands behind the last: this has one answer only",
    ),
    (
        "branch! up to the last value",
        "fn f() -> bool { invar::branch!(WISH <= true) }",
        "no value stands behind the last: this has one answer only",
    ),
    ("branch! above a value of another type", "fn f() -> bool { invar::branch!(WIDTH > false) }", "mismatched types"),
    ("branch! on a constant", "fn f() -> bool { invar::branch!(LINE) }", "mismatched types"),
    // dispatch! with several conditions.
    (
        "dispatch! with features that neither condition proves",
        r#"invar::dispatch! { fn chosen(x: u64) -> u64 {
            invar::cpu::SSE3 && WISH => #[target_feature(enable = "avx2")] wide, _ => narrow } }"#,
        "this key does not prove the CPU feature `avx2` that the variant needs",
    ),
    (
        "dispatch! with features where the key that proves them is off",
        r#"invar::dispatch! { fn chosen(x: u64) -> u64 {
            WISH && !invar::cpu::AVX2 => #[target_feature(enable = "avx2")] wide, _ => narrow } }"#,
        "this key does not prove the CPU feature `avx2` that the variant needs",
    ),
    (
        "dispatch! with features up to a value",
        r#"invar::dispatch! { fn chosen(x: u64) -> u64 {
            FAST < Width::Wide => #[target_feature(enable = "avx512f")] wider, _ => narrow } }"#,
        "this key does not prove the CPU feature `avx512f` that the variant needs",
    ),
    // select!
    (
        "select! without an arm for a value",
        "fn f() -> u8 { invar::select!(WIDTH: Width { Narrow => 1 }) }",
        "`Width::Wide` not covered",
    ),
    (
        "select! without an arm for a value, in patterns",
        "fn f() -> u8 { invar::select!(WISH { true => 1 }) }",
        "`false` not covered",
    ),
    (
        "select! with a name that is none of the type's",
        "fn f() -> u8 { invar::select!(WIDTH: Width { Narrow => 1, Wider => 2 }) }",
        "Wider",
    ),
    (
        "select! with arms of two types",
        "fn f() -> u8 { invar::select!(WISH { true => 1, false => \"\" }) }",
        "incompatible types",
    ),
    // constant! and value!
    (
        "constant! of a type that is none of a constant's",
        "invar::constant! { static ODD: i32 = |_| Ok(1); }",
        "`i32: Number` is not satisfied",
    ),
    (
        "constant! with a fallback that its type does not have",
        "invar::constant! { #[fallback(256)] static ODD: u8 = |_| Ok(1); }",
        "literal out of range for `u8`",
    ),
    ("value! of a key", "fn f() -> bool { invar::value!(WISH) }", "mismatched types"),
    // What the macros expand to.
    (
        "a key's record by hand",
        r#"extern "C" fn probe(_: &mut invar::Verdict, _: &invar::__private::KeyRecord) {
                invar::__key_record!(invar::__private::Name::Given("case.hand"), WISH, bool, probe, 0);
            }"#,
        "use of inline assembly is unsafe",
    ),
];

/// The same of functions with versions, on any machine.
const VERSIONS_REFUSED: [(&str, &str, &str); 26] = [
    (
        "no version",
        "#[invar::multiversion] fn f() {}",
        "no version is named: write the CPU features, as #[invar::multiversion(avx512bw, avx2)]",
    ),
    (
        "a feature that nobody knows",
        "#[invar::multiversion(avx1024, avx2)] fn f() {}",
        "invar knows no CPU feature `avx1024`",
    ),
    (
        "a feature in a list that nobody knows",
        r#"#[invar::multiversion("avx2,avx3")] fn f() {}"#,
        "invar knows no CPU feature `avx3`",
    ),
    ("features of two machines", "#[invar::multiversion(avx2+sve)] fn f() {}", "no CPU has all of `avx2+sve`"),
    (
        "a version that is never chosen",
        "#[invar::multiversion(avx2, avx512bw)] fn f() {}",
        "this version is never chosen: `avx2`, which stands before it, is there wherever it is",
    ),
    (
        "a version twice",
        "#[invar::multiversion(avx2+bmi2, bmi2+avx2)] fn f() {}",
        "this version is never chosen: `avx2+bmi2`",
    ),
    (
        "an attribute before a version",
        "#[invar::multiversion(#[inline] avx2)] fn f() {}",
        "before a version stands no attribute but #[cfg(...)]",
    ),
    ("what is no list", "#[invar::multiversion(avx2 = 1)] fn f() {}", "expected `,`"),
    (
        "an async function",
        "#[invar::multiversion(avx2)] async fn f() {}",
        "an async function has no versions, as its future runs after the call",
    ),
    (
        "a const function",
        "#[invar::multiversion(avx2)] const fn f() {}",
        "a const function has no versions, as nothing is decided yet when it is evaluated",
    ),
    (
        "a function for C",
        r#"#[invar::multiversion(avx2)] extern "C" fn f() {}"#,
        "a function with an ABI of its own has no versions: `invar::ifunc!` makes symbols for C",
    ),
    (
        "a variadic function",
        "#[invar::multiversion(avx2)] unsafe fn f(x: u8, ...) {}",
        "a variadic function has no versions",
    ),
    (
        "an opaque result",
        "#[invar::multiversion(avx2)] fn f() -> Option<impl Iterator<Item = u8>> { Some(0..1) }",
        "each version would return a type of its own",
    ),
    (
        "an argument under a condition",
        "#[invar::multiversion(avx2)] fn f(#[cfg(all())] x: u8) {}",
        "an argument under a condition has no versions: put the condition before the function",
    ),
    (
        "a function with features",
        r#"#[invar::multiversion(avx2)] #[target_feature(enable = "sse3")] fn f() {}"#,
        "the versions have the features that `multiversion` names",
    ),
    (
        "a static",
        "#[invar::multiversion(avx2)] fn f() { static COUNT: u8 = 1; }",
        "each version would have a static of its own: put it before the function",
    ),
    (
        "a static in a function inside",
        "#[invar::multiversion(avx2)] fn f() { fn g() { static COUNT: u8 = 1; } }",
        "each version would have a static of its own: put it before the function",
    ),
    (
        "a thread's static",
        "#[invar::multiversion(avx2)] fn f() { std::thread_local! { static COUNT: u8 = 1; } }",
        "each version would have a static of its own: put it before the function",
    ),
    (
        "what is no function",
        "#[invar::multiversion(avx2)] struct S;",
        "multiversion stands before a function with a body, or an `impl` block",
    ),
    (
        "a function of a trait",
        "#[invar::multiversion(avx2)] impl Clone for S { fn clone(&self) -> Self { S } } struct S;",
        "functions of a trait have no versions, as the compiler takes no #[target_feature] there",
    ),
    (
        "a function without a body",
        "trait T { #[invar::multiversion(avx2)] fn f(&self); }",
        "multiversion stands before a function with a body, or an `impl` block",
    ),
    (
        "a function of a block that has none",
        "struct S; #[invar::multiversion(avx2)] impl S { const fn f() {} fn g() {} }",
        "a const function has no versions",
    ),
    (
        "has! outside of a version",
        "fn f() -> bool { invar::has!(avx2) }",
        "`invar::has!` has a value in the body of a function with #[invar::multiversion], but not in items inside",
    ),
    (
        "has! in an item inside",
        "#[invar::multiversion(avx2)] fn f() { fn g() -> bool { invar::has!(avx2) } }",
        "`invar::has!` has a value in the body of a function with #[invar::multiversion], but not in items inside",
    ),
    (
        "version! outside of a version",
        "fn f() -> &'static str { invar::version!() }",
        "`invar::version!` has a value in the body of a function with #[invar::multiversion], but not in items inside",
    ),
    ("has! of nothing", "#[invar::multiversion(avx2)] fn f() -> bool { invar::has!() }", "unexpected end of input"),
];

/// And where the versions are there.
const VERSIONS_OF_A_CPU: [(&str, &str, &str); 8] = [
    (
        "what a version has not, without has!",
        "#[invar::multiversion(avx2)] fn f() { let x = std::arch::x86_64::_mm256_setzero_si256(); }",
        "call to function `_mm256_setzero_si256` with `#[target_feature]` is unsafe",
    ),
    (
        "more than has! asked for",
        "#[invar::multiversion(avx)] fn f() { if invar::has!(avx) { let x = std::arch::x86_64::_mm256_abs_epi8(g()); } }
            #[invar::multiversion(avx)] fn g<T>() -> T { loop {} }",
        "call to function `_mm256_abs_epi8` with `#[target_feature]` is unsafe",
    ),
    (
        "unsafe code without the word, in a safe function",
        "#[invar::multiversion(avx2)] fn f(x: *const u8) -> u8 { *x }",
        "dereference of raw pointer is unsafe",
    ),
    (
        "an unsafe function that is called as if it were not",
        "#[invar::multiversion(avx2)] unsafe fn f() {} fn g() { f() }",
        "call to unsafe function `f` is unsafe",
    ),
    (
        "a method of a trait, which shows as one only to the compiler",
        "struct S; impl Clone for S { #[invar::multiversion(avx2)] fn clone(&self) -> Self { S } }",
        "method `__invar_clone_avx2` is not a member of trait `Clone`",
    ),
    (
        "a trait's own function",
        "trait T { #[invar::multiversion(avx2)] fn f(&self) {} }",
        "cannot be applied to safe trait method",
    ),
    (
        "a block's parameter, where nothing shows the block",
        "struct S<T>(T); impl<T> S<T> { #[invar::multiversion(avx2)] fn f(x: T) {} }",
        "can't use generic parameters from outer item",
    ),
    (
        "a feature that is not stable",
        "#[invar::multiversion(xsave+xsaves+avx10)] fn f() {}",
        "invar knows no CPU feature `avx10`",
    ),
];

/// In a crate with `#![forbid(unsafe_code)]`.
const FORBIDDEN: [(&str, &str, &str); 2] = [
    (
        "a symbol",
        r#"invar::key! { #[name = "case.wish"] static WISH: bool = |_| Ok(true); }
            fn same(x: u64) -> u64 { x }
            invar::ifunc! { #[unsafe(no_mangle)] extern "C" fn mine(x: u64) -> u64 { WISH => same, _ => same } }"#,
        "declaration of a `no_mangle` function",
    ),
    ("unsafe code", "fn f() { unsafe {} }", "usage of an `unsafe` block"),
];

/// Every macro in its ordinary forms.
const SAFE: &str = r#"
#![forbid(unsafe_code)]
#![deny(warnings)]
invar::values! { pub enum Width { Narrow, Wide, Widest } }
invar::key! { #[name = "case.wish"] static WISH: bool = |_| Ok(true); }
invar::key! {
    /// Documented.
    #[name = "case.width"] #[requires("avx512bw")] pub static WIDTH: Width = |_| Ok(Width::Wide);
}
#[target_feature(enable = "avx512f")]
fn wide(x: &[u8]) -> usize { x.len() }
#[target_feature(enable = "avx512bw,avx512f,fma,sse2")]
fn wider(x: &[u8]) -> usize { x.len() }
fn narrow(x: &[u8]) -> usize { x.len() }
invar::dispatch! {
    /// Documented.
    pub fn chosen(x: &[u8]) -> usize {
        WIDTH == Width::Widest => #[target_feature(enable = "avx512bw,avx512f,fma,sse2")] wider,
        WIDTH == Width::Wide => #[target_feature(enable = "avx512bw")] wide,
        invar::cpu::X86_64_V4 => #[target_feature(enable = "avx512bw,fma")] wide,
        WIDTH >= Width::Wide && invar::cpu::AVX2 && !WISH => #[target_feature(enable = "avx512bw")] wide,
        WIDTH > Width::Narrow && WISH => #[target_feature(enable = "avx512f")] wide,
        WISH != true && WIDTH <= Width::Wide => narrow,
        ::invar::cpu::AVX512BW && !WIDTH <= Width::Wide => #[target_feature(enable = "avx512f")] wide,
        !::invar::cpu::SHA512 && ::invar::cpu::AVX2 == false => narrow,
        WISH => narrow,
        _ => narrow,
    }
}
invar::constant! {
    /// Documented.
    #[name = "case.line"] #[fallback(64)] pub static LINE: u32 = |_| Ok(128);
}
fn selected(x: u32) -> u32 {
    invar::select!(WIDTH: Width { Narrow => return 0, Wide | Widest => x + invar::value!(LINE) })
        + invar::select!(WISH { true => 1, _ => LINE.get() })
}
fn main() {
    let _ = (selected(1), invar::branch!(!WISH), invar::branch!(WIDTH >= Width::Wide));
    if invar::branch!(WISH) && invar::branch!(WIDTH == Width::Wide) && invar::branch!(::invar::cpu::SHA512) {
        chosen(b"");
    }
}
"#;

/// What macros expand to means the same whatever has its names where it stands, and without what every program has by a prelude.
const SHADOWED: &str = r#"
#![no_implicit_prelude]
#![deny(warnings)]
#![allow(dead_code, unused_macros)]
use ::invar as runtime;
mod core {}
mod std {}
mod invar {}
struct Key; struct Switch; struct Constant; struct Pointer; struct Verdict; struct Option; struct Result;
struct Some; struct None; struct Ok; struct Err;
trait Value {}
trait Number {}
macro_rules! concat { ($($any:tt)*) => { compile_error!("the program's own") } }
macro_rules! assert { ($($any:tt)*) => { compile_error!("the program's own") } }
macro_rules! stringify { ($($any:tt)*) => { compile_error!("the program's own") } }
macro_rules! unreachable { ($($any:tt)*) => { compile_error!("the program's own") } }
macro_rules! matches { ($($any:tt)*) => { compile_error!("the program's own") } }
macro_rules! panic { ($($any:tt)*) => { compile_error!("the program's own") } }
runtime::values! { pub enum Width { Narrow, Wide, Widest } }
runtime::key! { static WISH: bool = |_| ::core::result::Result::Ok(true); }
runtime::switch! { #[name = "case.width"] static WIDTH: Width = |_| ::core::result::Result::Ok(Width::Wide); }
runtime::key! { #[name = "case.stays"] static STAYS: Width = |_| ::core::result::Result::Ok(Width::Wide); }
runtime::constant! { #[fallback(64)] static LINE: u32 = |_| ::core::result::Result::Ok(128); }
fn one(x: u64) -> u64 { x }
fn other(x: u64) -> u64 { x }
runtime::dispatch! { fn chosen(x: u64) -> u64 { WISH => one, WIDTH >= Width::Wide && !WISH => one, _ => other } }
runtime::dispatch! { #[pointer] fn by_pointer(x: u64) -> u64 { WISH => one, !WISH && STAYS > Width::Narrow => one, _ => other } }
runtime::pointer! { static POINTED: fn(u64) -> u64 = { WISH => one, WISH && STAYS >= Width::Wide => one, _ => other }; }
runtime::pointers! { static TABLE: struct Table { it: fn(u64) -> u64 } = {
    WISH => { it: one }, WISH != true && STAYS < Width::Wide => { it: one }, _ => { it: other } }; }
runtime::ifunc! { #[unsafe(no_mangle)] extern "C" fn symbol(x: u64) -> u64 { WISH => one, WISH && STAYS <= Width::Narrow => one, _ => other } }
#[runtime::multiversion(crate = ::invar, avx2)]
fn version(x: u64) -> u64 { if ::invar::has!(avx2) { x } else { x + 1 } }
fn main() {
    let arm = runtime::select!(WIDTH: Width { Narrow => 1, _ => runtime::select!(WISH { true => 2, false => 3 }) });
    let _ = (arm, runtime::branch!(WISH), runtime::branch!(WIDTH < Width::Widest), runtime::value!(LINE));
    let _ = (chosen(1), by_pointer(1), POINTED(1), (TABLE.it)(1), symbol(1), version(1));
}
"#;

/// Without a word `unsafe`, also of the expansion's.
const VERSIONS: &str = r#"
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unused_qualifications, unused_unsafe, unsafe_op_in_unsafe_fn)]
//! Documented.
/// Documented.
#[invar::multiversion(avx512bw, avx2)]
#[must_use]
#[inline]
pub fn spaces(text: &[u8]) -> usize { text.iter().filter(|&&byte| byte == b' ').count() }
/// Documented.
pub struct Text<'a, T>(pub &'a [T]);
impl<'a, T: PartialEq> Text<'a, T> {
    /// Documented.
    #[invar::multiversion(avx2)]
    pub fn never(&self) -> ! { panic!("{}", self.0.len()) }
    /// Documented.
    #[invar::multiversion(avx2)]
    pub fn infallible(&self) -> std::convert::Infallible { panic!("{}", self.0.len()) }
    /// Documented.
    #[invar::multiversion(avx2)]
    pub fn count(&self, one: &T) -> usize { self.0.iter().filter(|&other| other == one).count() }
    /// Documented, and with what one version alone uses.
    #[invar::multiversion(#[cfg(all())] avx2)]
    pub fn first(&self, or: &'a T) -> &'a T {
        let mut first = or;
        if invar::has!(avx2) { first = self.0.first().unwrap_or(or); }
        if invar::has!(neon) && invar::has!(avx512f) { 1 } else { 2 };
        first
    }
}
/// Documented.
#[invar::multiversion(avx2)]
impl<T> Text<'_, T> {
    /// Documented.
    pub fn length(&self) -> usize { self.0.len() }
}
/// An argument that is called like a version is none.
#[invar::multiversion(avx2)]
fn captured(__invar_captured_avx2: unsafe fn() -> u8, __invar_captured_plain: unsafe fn() -> u8) -> bool {
    std::ptr::fn_addr_eq(__invar_captured_avx2, __invar_captured_plain)
}
fn none() -> u8 { 0 }
fn main() {
    let text = Text(b"a b");
    assert!(captured(none, none));
    assert_eq!(spaces(text.0) + text.count(&b' ') + text.length() + usize::from(*text.first(&0)), 5);
}
"#;

const SYMBOLS: &str = r#"
invar::ifunc! {
    /// Documented.
    #[unsafe(no_mangle)]
    #[must_use]
    #[allow(clippy::needless_pass_by_value)]
    #[expect(unreachable_pub)]
    #[warn(unused)]
    #[deny(missing_docs)]
    #[deprecated]
    pub extern "C" fn safe_to_call(x: u64) -> u64 {
        FAST == Width::Wide => #[target_feature(enable = "avx512f")] wider,
        ::invar::cpu::AVX2 => #[target_feature(enable = "avx2")] wide,
        WISH && !WIDTH >= Width::Wide && !::invar::cpu::SSE3 => narrow,
        _ => narrow,
    }
}
invar::pointer! {
    static POINTED: fn(u64) -> u64 = {
        ::invar::cpu::AVX2 && !WIDTH == Width::Wide => #[target_feature(enable = "avx2")] wide,
        !::invar::cpu::SSE3 => narrow,
        _ => narrow,
    };
}
invar::ifunc! {
    /// Documented.
    ///
    /// # Safety
    ///
    /// To be read.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn not_safe_to_call(x: u64) -> u64 {
        invar::cpu::AVX512BW => #[target_feature(enable = "avx512f")] wider,
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] unsafe peek_wide,
        invar::cpu::SSE3 => unsafe peek,
        _ => unsafe peek,
    }
}
invar::ifunc! {
    #[cfg(any())]
    #[unsafe(no_mangle)]
    pub extern "C" fn nowhere(x: Nothing) -> u64 { WISH => nothing, _ => nothing }
}
fn call(x: u64) -> u64 { POINTED(x) + safe_to_call(x) + unsafe { not_safe_to_call(x) } }
"#;

/// Fails unless the compiler takes this program.
fn takes(source: &str) {
    let output = compile(source);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Fails unless the compiler refuses this program, and says why.
fn refuses(source: &str, sentence: &str) {
    let output = compile(source);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "the compiler takes\n{source}");
    assert!(said.contains(sentence), "{sentence}: is not what is said of\n{source}\n{said}");
    println!("{said}");
}

/// As far as `cargo check` would go: what is wrong must be seen there.
fn compile(source: &str) -> Output {
    let (file, result) = (Temporary::path("case.rs"), Temporary::path("case.rmeta"));
    std::fs::write(&file.0, source).unwrap();
    let library = library();
    let mut rustc = rustc();
    rustc.args(["--edition=2024", "--crate-name=case", "--crate-type=bin", "--emit=metadata", "-o"]).arg(&result.0);
    if cfg!(invar_portable) {
        rustc.arg("--cfg=invar_portable");
    }
    rustc.arg("--extern").arg(format!("invar={}", library.display()));
    rustc.arg("-L").arg(format!("dependency={}", library.parent().expect("a folder").display()));
    // What cargo would say of the package.
    rustc.env("CARGO_PKG_NAME", "case").env("CARGO_CRATE_NAME", "case");
    rustc.arg(&file.0).output().expect("rustc")
}

/// The runtime with all macros, as far as a compiler that only checks needs it.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let mut cargo = cargo();
        cargo.args([
            "check",
            "--quiet",
            "--locked",
            "--package=multiversioned",
            "--message-format=json",
            "--target-dir",
        ]);
        cargo.arg(scratch().join("checked"));
        if cfg!(invar_portable) {
            cargo.env("RUSTFLAGS", "--cfg=invar_portable");
        }
        let said = String::from_utf8(must(&mut cargo).stdout).unwrap();
        let is_it = |path: &&str| path.ends_with(".rmeta") && path.contains("/libinvar-");
        said.split('"').find(is_it).expect("the library's path").into()
    };
    BUILT.get_or_init(build).clone()
}

/// The names that this compiler takes in `#[target_feature]` without a feature of its own.
fn stable_features() -> Vec<String> {
    let output = must(rustc().args(["--print", "target-features"]));
    let said = String::from_utf8(output.stdout).unwrap();
    // The second list has features of LLVM's, by the names that it has for them.
    let known = said.split("\n\n").next().expect("a list").lines().skip(1);
    let known: Vec<_> = known.filter_map(|line| line.split_once(" - ")).map(|(name, _)| name.trim()).collect();
    assert!(known.contains(&"avx2"), "{said}");
    // A file, in which each line is one.
    let source: String = known
        .iter()
        .enumerate()
        .map(|(at, name)| format!("#[target_feature(enable = \"{name}\")] fn f{at}() {{}}\n"))
        .collect();
    let output = compile(&format!("{source}fn main() {{}}"));
    let refused = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_refused = |name: &&str| refused.contains(&format!(" `{name}` is "));
    known.into_iter().filter(|name| !is_refused(name)).map(String::from).collect()
}

/// As a feature that is required, and as one that a variant needs.
fn every_stable_feature_is_known() {
    let stable = stable_features();
    assert!(stable.len() >= 25, "{stable:?}");
    for name in &stable {
        let known = invar_arch::features_named(name.as_bytes());
        assert!(known.is_some(), "this compiler knows the feature {name}: it is to stand in arch/x86_64/cpu.rs");
    }
    let arms = stable.iter().enumerate().map(|(at, name)| {
        format!(
            "invar::key! {{ #[name = \"case.{at}\"] #[requires(\"{name}\")] static KEY{at}: bool = |_| Ok(true); }}
            #[target_feature(enable = \"{name}\")] fn with{at}() {{}}
            invar::dispatch! {{ fn chosen{at}() {{ KEY{at} => #[target_feature(enable = \"{name}\")] with{at}, _ => without }} }}\n"
        )
    });
    takes(&format!(
        "#![forbid(unsafe_code)]\n#![allow(dead_code)]\nfn without() {{}}\nfn main() {{}}\n{}",
        arms.collect::<String>()
    ));
}

/// Feature by feature: what the compiler enables with it is what we take to be there with it, among those that it has.
fn features_imply_what_the_compiler_says() {
    let stable = stable_features();
    let mask =
        |names: &mut dyn Iterator<Item = &str>| names.map(invar_arch::feature_mask).fold(0, |all, one| all | one);
    let enabled = |feature: Option<&str>| {
        let mut rustc = rustc();
        rustc.args(["--print", "cfg"]).args(feature.map(|name| format!("-Ctarget-feature=+{name}")));
        let said = String::from_utf8(must(&mut rustc).stdout).unwrap();
        let names = said.lines().filter_map(|line| line.strip_prefix("target_feature=\"")?.strip_suffix('"'));
        mask(&mut names.filter(|name| stable.iter().any(|known| known == name)))
    };
    let (always, known) = (enabled(None), mask(&mut stable.iter().map(String::as_str)));
    let mut implying = 0;
    for name in &stable {
        let ours = invar_arch::feature_mask(name);
        assert_eq!(ours & known | always, enabled(Some(name)), "{name}");
        implying += u32::from((ours & !always).count_ones() > 1);
    }
    assert!(implying >= 8, "the compiler says nothing of what features imply");
}
