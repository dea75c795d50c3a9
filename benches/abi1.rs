//! The bound forms of sites beside those of site ABI 1. Those of today are longer: all forms of a site begin with
//! one byte, and have an instruction begin wherever the checked form has one. The bytes stand here as the tables of the two versions have
//! them: `docs/site-abi.md`, today and as it was before commit 0346d2a. Nothing is bound, so nothing else can differ.

use crate::cold::{COLD, COPIES};
use invar_measure::cold::{self, Functions};
use invar_measure::machine::{Bench, Loop};
use invar_measure::{Part, Table, Targets, alternate};
use std::io;
use std::time::Duration;

core::arch::global_asm!(
    // In the place of a thread's request byte.
    ".pushsection .tbss.invar_bench_request, \"awT\", @nobits",
    ".hidden invar_bench_request",
    ".globl invar_bench_request",
    "invar_bench_request: .zero 2",
    ".popsection",
);

/// Calls `$then!` with pairs of variants: the form of ABI 1, and the one of today.
macro_rules! pairs {
    ($then:ident) => { $then! {
        HoldsBefore "ABI 1" [".byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0", "inc eax"] [] [];
        Holds "today" [".byte 0x40, 0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0x66, 0x90", "inc eax"] [] [];

        OtherBefore "ABI 1"
            [".byte 0xe9", ".long 20f - . - 4", ".byte 0x0f, 0x1f, 0x40, 0", "inc eax", "21:"] [] ["20: dec eax", "jmp 21b"];
        Other "today"
            [".byte 0x40, 0xe9", ".long 20f - . - 4", ".byte 0x66, 0x90", "jmp 20f", "inc eax", "21:"]
            [] ["20: dec eax", "jmp 21b"];

        AbsentBefore "ABI 1"
            [".byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0"] [".byte 0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0"] [];
        Absent "today"
            [".byte 0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x90"]
            [".byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x90"] [];

        AvailableBefore "ABI 1"
            [".byte 0x64, 0xc6, 0x04, 0x25", ".long invar_bench_request@tpoff", ".byte 1"]
            [".byte 0x64, 0xd0, 0x2c, 0x25", ".long invar_bench_request@tpoff", "jnc 30f", "31:"] ["30: jmp 31b"];
        Available "today"
            [".byte 0x66, 0x64, 0xc6, 0x04, 0x25", ".long invar_bench_request@tpoff", ".byte 1, 0x66, 0x90"]
            [".byte 0x66, 0x64, 0xd0, 0x2c, 0x25", ".long invar_bench_request@tpoff", "jnc 30f", "31:"] ["30: jmp 31b"];
    } };
}

/// The same for as many in a row as compilers never leave: what it costs to fetch and decode them.
macro_rules! rows {
    ($then:ident) => { $then! {
        RowBefore "ABI 1" [".rept 4096", ".byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0", "inc eax", ".endr"] [] [];
        Row "today" [".rept 4096", ".byte 0x40, 0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0x66, 0x90", "inc eax", ".endr"] [] [];
    } };
}

/// What is done by each pair.
const PAIRS: [&str; 5] =
    ["branch that holds", "branch that does not", "section, absent", "section, available", "4,096 branches that hold"];
/// Behind these there is a row.
const COLD_PAIRS: usize = 4;
const NAMES: [&str; 2] = ["ABI 1", "today"];

macro_rules! loops {
    ($($variant:ident $name:literal $before:tt $behind:tt $cold:tt;)*) => {
        &[$({ invar_measure::batch!(code $before [] $behind $cold); code }),*]
    };
}
macro_rules! functions {
    ($($variants:tt)*) => { invar_measure::cold_functions!(4096; $($variants)*) };
}
const LOOPS: [&[Loop]; 2] = [pairs!(loops), rows!(loops)];
const FUNCTIONS: &[Functions<COPIES>] = pairs!(functions);

pub(crate) fn run() -> io::Result<()> {
    let bench = &Bench::new();
    let mut batches: Vec<_> = LOOPS.concat().into_iter().map(|code| bench.batch(code)).collect();
    let Ok(warm) = alternate(Duration::from_secs(8), &mut batches);
    let cold = cold::measure(FUNCTIONS, Duration::from_secs(10));
    for (samples, state, pairs, notes) in
        [(&warm, "warm", PAIRS.len(), &[][..]), (&cold, "code cold", COLD_PAIRS, &[COLD])]
    {
        let titles: Vec<_> = PAIRS.iter().take(pairs).map(|pair| format!("{pair}, {state}, ns")).collect();
        let part = |(at, title)| Part { title, names: &NAMES, first: 2 * at };
        print!(
            "{}",
            Table::of(samples, &titles.iter().map(String::as_str).enumerate().map(part).collect::<Vec<_>>(), notes)
        );
    }

    let mut targets = Targets::default();
    for (samples, state, pairs) in [(&warm, "warm", PAIRS.len()), (&cold, "code cold", COLD_PAIRS)] {
        for (at, pair) in PAIRS.iter().take(pairs).enumerate() {
            let ratio = samples.ratio(2 * at + 1, 2 * at);
            let (wanted, is_met) = match at {
                COLD_PAIRS => ("<= 1.05", ratio.median <= 1.05),
                _ => ("1.00, in noise", ratio.word() != "slower"),
            };
            targets.add(&format!("{pair}, {state}"), format!("{ratio} times"), wanted, is_met);
        }
    }
    print!("\n{targets}");
    Ok(())
}
