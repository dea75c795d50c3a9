//! Every encoding of the machines whose sites are one jump, against the decoder of GNU binutils: the bytes of a site and of its check mean
//! what `abi/jump.rs` says, whatever the addresses and values are.

mod common;

use common::{ANYWHERE, missing_tool, must, run, test};
use invar_abi::judge::{self, Fault, Memory, Standing};
use invar_abi::machine::{AARCH64, RISCV};
use invar_abi::record::flags;
use invar_abi::{Code, Distance, Kind, Site, SiteRecord, forms, jump};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    run([
        test("AArch64's sites are what a decoder says", missing_tool(ARM.decoder), || sites_are_as_decoded(&ARM)),
        test("AArch64's checks are what a decoder says", missing_tool(ARM.decoder), || checks_are_as_decoded(&ARM)),
        test("RISC-V's sites are what a decoder says", missing_tool(RV64.decoder), || sites_are_as_decoded(&RV64)),
        test("RISC-V's checks are what a decoder says", missing_tool(RV64.decoder), || checks_are_as_decoded(&RV64)),
        test("AArch64's selects are what a decoder says", missing_tool(ARM.decoder), || selects_are_as_decoded(&ARM)),
        test("RISC-V's selects are what a decoder says", missing_tool(RV64.decoder), || selects_are_as_decoded(&RV64)),
        test("AArch64's constants are what a decoder says", missing_tool(ARM.decoder), || numbers_are_as_decoded(&ARM)),
        test("RISC-V's constants are what a decoder says", missing_tool(RV64.decoder), || {
            numbers_are_as_decoded(&RV64)
        }),
        test("what is out of reach has no form", ANYWHERE, what_is_out_of_reach_has_no_form),
        test("no other site has a form", ANYWHERE, no_other_site_has_a_form),
        test("a check that differs in a bit is seen", ANYWHERE, a_check_that_differs_is_seen),
        test("what stands at a site is told", ANYWHERE, what_stands_is_told),
    ])
}

struct Machine {
    number: u16,
    decoder: &'static str,
    options: &'static [&'static str],
    /// How far a jump and the way to a state reach, in bytes.
    jump: i64,
    state: i64,
    /// How many bytes the sites of a critical section have: its begin, and its end.
    enter: u8,
    leave: u8,
}

const ARM: Machine = Machine {
    number: AARCH64,
    decoder: "aarch64-linux-gnu-objdump",
    options: &["-m", "aarch64", "-M", "no-aliases"],
    jump: 1 << 27,
    state: 1 << 32,
    enter: 4,
    leave: 4,
};
const RV64: Machine = Machine {
    number: RISCV,
    decoder: "riscv64-linux-gnu-objdump",
    options: &["-m", "riscv:rv64", "-M", "no-aliases"],
    jump: 1 << 20,
    state: 1 << 31,
    enter: 8,
    leave: 16,
};

const KINDS: [Kind; 4] = [Kind::Branch, Kind::Ordered, Kind::SliceEnter, Kind::SliceLeave];

impl Machine {
    /// Of a site of this kind, in bytes.
    fn length(&self, kind: Kind) -> u8 {
        match kind {
            Kind::SliceEnter => self.enter,
            Kind::SliceLeave => self.leave,
            _ => 4,
        }
    }

    /// Whether sites of this kind have a form that makes a request.
    fn requests(&self, kind: Kind) -> bool {
        kind.is_slice() && self.length(kind) > 4
    }

    /// Sites with distances of all sizes, and the ends of what fits.
    fn sites(&self) -> Vec<Site> {
        // A multiplicative generator with full period (L'Ecuyer 1999, table 2).
        let mut seed = 1_u64;
        let mut next = |below: i64| {
            seed = seed.wrapping_mul(3_202_034_522_624_059_733) % (1 << 63);
            ((seed >> 8) as i64).rem_euclid(below)
        };
        let mut sites = vec![];
        for number in 0..400 {
            let reach = if number % 3 == 0 { 1 << 10 } else { self.jump };
            let to_target = match number % 16 {
                0 => -self.jump,
                // Its last instruction is as far as that.
                1 => self.jump - 4 - jump::LAST as i64,
                _ => next(2 * reach - 64) - reach,
            } & !3;
            let address = (1 << 40) + (next(1 << 40) & !3) as u64;
            let kind = KINDS[number % KINDS.len()];
            let length = self.length(kind);
            // The check has to jump back, from sixteen bytes behind its begin to behind the site; and the last of a site's
            // instructions, forward to the check.
            let lowest = i64::from(length) - 4 - self.jump;
            let target = address.wrapping_add_signed(to_target.max(lowest + 16).min(self.jump - 24));
            let reach = if number % 5 == 0 { 1 << 13 } else { self.state - (1 << 13) };
            let state = target.wrapping_add_signed(next(2 * reach) - reach);
            sites.push(Site { address, target, state, length, kind, value: next(256) as u8 });
        }
        sites
    }

    /// Constants, in all registers.
    fn constants(&self) -> Vec<Site> {
        let none = if self.number == AARCH64 { 31 } else { 0 };
        let to_constant = |site: Site| {
            let target = site.state.wrapping_sub(site.target).wrapping_add(site.address) & !7;
            let value = site.value % 64;
            let value = if value % 32 == none { value ^ 1 } else { value };
            Site { target, state: target.wrapping_sub(256), length: 4, kind: Kind::Constant, value, ..site }
        };
        self.sites().into_iter().map(to_constant).collect()
    }

    /// Whether one instruction moves a number into a register: of AArch64 all but 16 of its bits, of 64 or of the lower 32, are alike; of
    /// RISC-V it has 12 bits with a sign, or 20 in front of twelve that are 0.
    fn holds(&self, number: u64) -> bool {
        if self.number == RISCV {
            let number = number as i64;
            return number << 52 >> 52 == number || number >> 12 << 44 >> 32 == number;
        }
        let differ = |chunks: &[u16], from: u16| chunks.iter().filter(|&&chunk| chunk != from).count() < 2;
        let chunks = [0, 16, 32, 48].map(|shift| (number >> shift) as u16);
        let fits = |chunks| differ(chunks, 0) || differ(chunks, 0xffff);
        fits(&chunks) || chunks[2..] == [0, 0] && fits(&chunks[..2])
    }

    /// What it calls a jump, and a nop (Arm ARM, C6.2: the hint with this number).
    fn goes(&self) -> &'static str {
        if self.number == AARCH64 { "b" } else { "jal" }
    }
    fn nop(&self) -> (&'static str, Vec<&'static str>) {
        if self.number == AARCH64 { ("hint", vec!["#0x0"]) } else { ("addi", vec!["zero", "zero", "0"]) }
    }

    /// What the decoder makes of instructions that stand one behind the other.
    fn decode(&self, code: &[u8]) -> Vec<Instruction> {
        let file = common::Temporary::executable("code", code);
        let mut objdump = Command::new(self.decoder);
        objdump.args(["-D", "-b", "binary", "-z", "--adjust-vma", "0x400000000000"]).args(self.options).arg(&file.0);
        let said = String::from_utf8(must(&mut objdump).stdout).unwrap();
        let instructions: Vec<_> = said.lines().filter_map(Instruction::read).collect();
        assert_eq!(instructions.len(), code.len() / 4, "{said}");
        instructions
    }
}

/// An instruction of four bytes, as the decoder prints it.
#[derive(Debug)]
struct Instruction {
    address: i64,
    name: String,
    operands: Vec<String>,
}

impl Instruction {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let address = i64::from_str_radix(fields.next()?.trim().strip_suffix(':')?, 16).ok()?;
        assert_eq!(fields.next()?.trim().len(), 8, "four bytes: {line}");
        let name = fields.next()?.trim().to_owned();
        let operands = fields.next().unwrap_or("").split([' ', '\t']).next().unwrap_or("");
        // AArch64 has spaces behind commas, and a comment.
        let operands = if line.contains("//") || line.contains(", ") {
            line.split('\t').nth(3).unwrap_or("").split("//").next().unwrap_or("").to_owned()
        } else {
            operands.to_owned()
        };
        let operands = operands.split(',').map(|operand| operand.trim().to_owned()).collect();
        Some(Self { address, name, operands })
    }

    /// How far the last operand, an address, is from here.
    fn leads(&self) -> i64 {
        number(self.operands.last().expect("an operand")) - self.address
    }

    fn words(&self) -> (&str, Vec<&str>) {
        (&self.name, self.operands.iter().map(String::as_str).collect())
    }
}

/// `0x1f`, `#0x1f`, `#31` or `-31`.
fn number(text: &str) -> i64 {
    let text = text.trim_start_matches('#');
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn bytes(code: Code) -> Vec<u8> {
    code.write_to(&mut [0; Code::LONGEST]).to_vec()
}

/// Request bytes at all distances that have a form, and the lowest and highest.
fn request(number: usize) -> i32 {
    match number % 8 {
        0 => -0x800,
        1 => 0x7fe,
        _ => (number as i32 * 37) % 0xfff - 0x800,
    }
}

fn sites_are_as_decoded(machine: &Machine) {
    let sites = machine.sites();
    let mut code = vec![];
    for (number, site) in sites.iter().enumerate() {
        let falls_through = forms::bound(machine.number, site, site.value, 0).expect("a form");
        let other = site.value.wrapping_sub(1);
        let goes = forms::bound(machine.number, site, other, request(number));
        // A value below an ordered site's own.
        let expected = !site.kind.is_slice() || machine.requests(site.kind);
        assert_eq!(goes.is_some(), expected, "{site:x?}");
        let checked = forms::checked(machine.number, site).expect("a form");
        let all = [checked, falls_through, goes.unwrap_or(falls_through)];
        assert!(all.iter().all(|code| code.len() == usize::from(site.length)));
        code.extend(all.into_iter().flat_map(bytes));
    }
    let decoded = machine.decode(&code);
    let mut decoded = decoded.iter();
    let (jump, nop) = (machine.goes(), machine.nop());
    for (number, site) in sites.iter().enumerate() {
        let words = usize::from(site.length / 4);
        let [checked, falls_through, goes] = [0; 3].map(|_| decoded.by_ref().take(words).collect::<Vec<_>>());
        let to_target = site.target.wrapping_sub(site.address) as i64;
        for (at, checked) in checked.iter().enumerate() {
            assert_eq!((&*checked.name, checked.leads()), (jump, to_target - 4 * at as i64), "{site:x?}");
            assert!(machine.number == AARCH64 || checked.operands[0] == "zero", "it links nowhere: {checked:?}");
        }
        assert!(falls_through.iter().all(|it| it.words() == nop), "{falls_through:?}");
        let goes_on = !site.kind.is_slice() && (site.kind != Kind::Ordered || site.value > 0);
        if goes_on {
            assert_eq!((&*goes[0].name, goes[0].leads()), (jump, to_target + 20), "{site:x?}");
            assert!(machine.number == AARCH64 || goes[0].operands[0] == "zero", "it links nowhere: {goes:?}");
        } else if machine.requests(site.kind) {
            requests_are_as_decoded(site, request(number), &goes);
        } else {
            assert!(goes.iter().all(|it| it.words() == nop), "{goes:?}");
        }
    }
}

/// Linux, Documentation/userspace-api/rseq.rst: the request is stored, and at the end 0; then the grant is looked at.
fn requests_are_as_decoded(site: &Site, request: i32, goes: &[&Instruction]) {
    let at = |distance: i32| format!("{distance}(tp)");
    let words: Vec<_> = goes.iter().map(|it| it.words()).collect();
    if site.kind == Kind::SliceEnter {
        assert_eq!(words, [("addi", vec!["t6", "zero", "1"]), ("sb", vec!["t6", &*at(request)])], "{site:x?}");
        return;
    }
    let (store, load) = (at(request), at(request + 1));
    assert_eq!(words[..2], [("sb", vec!["zero", &*store]), ("lbu", vec!["t6", &*load])], "{site:x?}");
    assert_eq!((words[2].0, &words[2].1[..2], goes[2].leads()), ("beq", &["t6", "zero"][..], 8));
    let to_last = site.target.wrapping_sub(site.address) as i64 + 20 - 12;
    assert_eq!((words[3].0, words[3].1[0], goes[3].leads()), ("jal", "zero", to_last), "{site:x?}");
}

fn checks_are_as_decoded(machine: &Machine) {
    let sites = machine.sites();
    let mut code = vec![];
    for site in &sites {
        assert_eq!(forms::companions(machine.number, site.kind), 2);
        let parts = [0, 1].map(|part| forms::companion(machine.number, site, part).expect("a check"));
        assert_eq!(parts.map(|(address, code)| (address, code.len())), [(site.target, 16), (site.target + 16, 4)]);
        code.extend(parts.into_iter().flat_map(|(_, code)| bytes(code)));
    }
    for (site, [compare @ .., back]) in sites.iter().zip(machine.decode(&code).as_chunks::<5>().0) {
        compares(machine, site, site.target, compare);
        let behind = site.address + u64::from(site.length);
        assert_eq!((&*back.name, back.leads()), (machine.goes(), behind.wrapping_sub(site.target + 16) as i64));
    }
}

/// Behind a select stands a link for each value, which goes to the record's target; bound, the select itself does.
fn selects_are_as_decoded(machine: &Machine) {
    // Targets are the compiler's, which compresses instructions on RISC-V.
    let align = if machine.number == AARCH64 { 3 } else { 1 };
    let sites: Vec<_> = machine
        .sites()
        .into_iter()
        .map(|site| {
            let to_target =
                (site.target.wrapping_sub(site.address) as i64).max(6000 - machine.jump) + i64::from(site.value);
            let target = site.address.wrapping_add_signed(to_target.min(machine.jump - 4)) & !align;
            let state = site.state.wrapping_sub(site.target).wrapping_add(site.address);
            Site { target, state, length: 4, kind: Kind::Select, value: site.value & 63, ..site }
        })
        .collect();
    let mut code = vec![];
    for site in &sites {
        let link = site.address + 4 + 20 * u64::from(site.value);
        let parts = [0, 1].map(|part| forms::companion(machine.number, site, part).expect("a link"));
        assert_eq!(parts.map(|(address, code)| (address, code.len())), [(link, 16), (link + 16, 4)]);
        assert_eq!(forms::companions(machine.number, site.kind), 2);
        assert_eq!(forms::falls_through(machine.number, site), None);
        code.extend(parts.into_iter().flat_map(|(_, code)| bytes(code)));
        code.extend(
            [forms::checked(machine.number, site), forms::goes(machine.number, site, 0)]
                .map(|code| bytes(code.expect("a form")))
                .concat(),
        );
    }
    for (site, [compare @ .., jump, checked, goes]) in sites.iter().zip(machine.decode(&code).as_chunks::<7>().0) {
        let link = site.address + 4 + 20 * u64::from(site.value);
        compares(machine, site, link, compare);
        assert_eq!(
            (&*jump.name, jump.leads()),
            (machine.goes(), site.target.wrapping_sub(link + 16) as i64),
            "{site:x?}"
        );
        assert_eq!(checked.words(), machine.nop());
        assert_eq!(
            (&*goes.name, goes.leads()),
            (machine.goes(), site.target.wrapping_sub(site.address) as i64),
            "{site:x?}"
        );
    }
}

/// A register, its name with all of its bits and with the lower 32, and its number.
fn register(machine: &Machine, site: &Site) -> (String, String) {
    const NAMES: [&str; 32] = [
        "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
        "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
    ];
    let number = site.value % 32;
    if machine.number == AARCH64 {
        return (format!("x{number}"), format!("w{number}"));
    }
    let name = NAMES[usize::from(number)].to_owned();
    (name.clone(), name)
}

/// The first half of the number's address, the load, and what moves the number into the register: what that leaves there is the number.
fn numbers_are_as_decoded(machine: &Machine) {
    let sites = machine.constants();
    // Those whose bits lie together, their complements, and some around them.
    let mut numbers: Vec<u64> =
        (0..64).flat_map(|bit| [1 << bit, 0xffd5 << bit, 0x7ff << bit, 0xfffff << bit]).collect();
    numbers.extend(
        numbers.clone().iter().flat_map(|number| [!number, number + 1, number.wrapping_sub(1), !number << 32 >> 32]),
    );
    let mut code = vec![];
    let mut bound = vec![];
    for (number, site) in sites.iter().enumerate() {
        assert_eq!(forms::companions(machine.number, site.kind), 1);
        let (address, before) = forms::companion(machine.number, site, 0).expect("the instruction before it");
        assert_eq!(address, site.address - 4);
        code.extend([before, forms::checked(machine.number, site).expect("a form")].map(bytes).concat());
        for number in numbers.iter().skip(number % 7).step_by(7) {
            let is_wide = site.value >= 32;
            let number = if is_wide { *number } else { *number & 0xffff_ffff };
            let form = forms::constant(machine.number, site, number);
            assert_eq!(form.is_some(), machine.holds(number), "{number:x}");
            // What stands above the 32 bits of a narrow one is not looked at.
            assert!(is_wide || form == forms::constant(machine.number, site, number | 5 << 40));
            bound.extend(form.map(|form| (site, number, form)));
        }
    }
    for (site, [address, load]) in sites.iter().zip(machine.decode(&code).as_chunks::<2>().0) {
        let (whole, half) = register(machine, site);
        let is_wide = site.value >= 32;
        if machine.number == AARCH64 {
            assert_eq!(address.words().0, "adrp");
            assert_eq!(address.operands[0], whole);
            let pages = number(&address.operands[1]) / 4096 - address.address / 4096;
            assert_eq!(pages, (site.target >> 12) as i64 - ((site.address - 4) >> 12) as i64, "{site:x?}");
            assert_eq!((&*load.name, &load.operands[0]), ("ldr", if is_wide { &whole } else { &half }));
            let place = load.operands[1..].concat();
            let offset = place.trim_start_matches(&format!("[{whole}")).trim_end_matches(']');
            let offset = if offset.is_empty() { 0 } else { number(offset) };
            assert_eq!(offset as u64, site.target & 0xfff, "{place}");
        } else {
            assert_eq!((&*address.name, &address.operands[0]), ("auipc", &whole));
            let (low, base) = load.operands[1].split_once('(').expect("a base");
            assert_eq!((&*load.name, &load.operands[0]), (if is_wide { "ld" } else { "lwu" }, &whole));
            assert_eq!(base, format!("{whole})"));
            let distance = i64::from(((number(&address.operands[1]) as u32) << 12) as i32) + number(low);
            assert_eq!(distance, site.target.wrapping_sub(site.address - 4) as i64, "{site:x?}");
        }
    }
    assert!(bound.len() > 1000);
    let code: Vec<u8> = bound.iter().flat_map(|(_, _, form)| bytes(*form)).collect();
    for ((site, wanted, _), moved) in bound.iter().zip(machine.decode(&code)) {
        let (whole, half) = register(machine, site);
        let operand = |at: usize| number(&moved.operands[at]);
        let found = match &*moved.name {
            name @ ("movz" | "movn") => {
                let shift = moved.operands.get(2).map_or(0, |shift| number(shift.trim_start_matches("lsl ")));
                let chunk = (operand(1) as u64) << shift;
                let is_half = moved.operands[0] == half;
                assert!(is_half || moved.operands[0] == whole);
                (if name == "movz" { chunk } else { !chunk }) & if is_half { 0xffff_ffff } else { u64::MAX }
            }
            "addi" => {
                assert_eq!(moved.operands[..2], [whole, "zero".to_owned()]);
                operand(2) as u64
            }
            "lui" => {
                assert_eq!(moved.operands[0], whole);
                i64::from(((operand(1) as u32) << 12) as i32) as u64
            }
            other => panic!("{other}"),
        };
        assert_eq!(found, *wanted, "{site:x?} {moved:?}");
    }
}

/// Four instructions, for one place, compare the site's state with its value, and skip the next one if it does not hold.
fn compares(machine: &Machine, site: &Site, start: u64, [load, load_low, value, skip]: &[Instruction; 4]) {
    let is_ordered = site.kind == Kind::Ordered;
    let distance = if machine.number == AARCH64 {
        assert_eq!((&*load.name, &*load.operands[0]), ("adrp", "x16"));
        let page = |address: u64| (address >> 12) as i64;
        let pages = number(&load.operands[1]) / 4096 - load.address / 4096;
        assert_eq!(pages, page(site.state) - page(start), "{site:x?}");
        assert_eq!((&*load_low.name, &*load_low.operands[0]), ("ldrb", "w16"));
        let place = load_low.operands[1..].concat();
        let offset = place.trim_start_matches("[x16").trim_end_matches(']');
        assert!(place.starts_with("[x16"), "{load_low:?}");
        let offset = if offset.is_empty() { 0 } else { number(offset) };
        assert_eq!(offset as u64, site.state & 0xfff);
        assert_eq!((&*value.name, &value.operands[..2]), ("sub", &["w16".to_owned(), "w16".to_owned()][..]));
        assert_eq!(number(&value.operands[2]), site.value.into());
        let sign: &[&str] = if is_ordered { &["w16", "#31"] } else { &["w16"] };
        assert_eq!(skip.name, if is_ordered { "tbnz" } else { "cbnz" });
        assert_eq!(skip.operands[..sign.len()], *sign);
        skip.leads()
    } else {
        assert_eq!((&*load.name, &*load.operands[0]), ("auipc", "t6"));
        let (low, base) = load_low.operands[1].split_once('(').expect("a base");
        assert_eq!((&*load_low.name, &*load_low.operands[0], base), ("lbu", "t6", "t6)"));
        // The upper twenty bits, with a sign.
        let high = number(&load.operands[1]) as u32;
        let distance = i64::from((high << 12) as i32) + number(low);
        assert_eq!(distance, site.state.wrapping_sub(start) as i64, "{site:x?}");
        assert_eq!((&*value.name, &value.operands[..2]), ("addi", &["t5".to_owned(), "zero".to_owned()][..]));
        assert_eq!(number(&value.operands[2]), site.value.into());
        // Below the value, for an ordered one: by an unsigned comparison.
        let compared: (&str, &[&str]) = if is_ordered { ("bltu", &["t6", "t5"]) } else { ("bne", &["t5", "t6"]) };
        assert_eq!(skip.name, compared.0);
        assert_eq!(skip.operands[..2], *compared.1);
        skip.leads()
    };
    assert_eq!(distance, 8, "it skips the way back");
}

fn what_is_out_of_reach_has_no_form() {
    for machine in [&ARM, &RV64] {
        let at = |to_target: i64, to_state: i64| {
            let (address, target) = (1_u64 << 40, (1_u64 << 40).wrapping_add_signed(to_target));
            let state = target.wrapping_add_signed(to_state);
            Site { address, target, state, length: 4, kind: Kind::Branch, value: 1 }
        };
        for (distance, fits) in
            [(-machine.jump - 4, false), (-machine.jump, true), (machine.jump - 4, true), (machine.jump, false)]
        {
            assert_eq!(forms::checked(machine.number, &at(distance, 0)).is_some(), fits, "{distance:#x}");
            let last = at(distance - jump::LAST as i64, 0);
            assert_eq!(forms::goes(machine.number, &last, 0).is_some(), fits, "{distance:#x}");
            // Back, from where it stands to behind the site.
            let back = at(-distance - 12, 0);
            assert_eq!(forms::companion(machine.number, &back, 1).is_some(), fits, "{distance:#x}");
        }
        // By pages, of which the check begins one here; and with a low part that has a sign.
        for (request, fits) in [(-0x801, false), (-0x800, true), (0x7fe, true), (0x7ff, false), (i32::MAX, false)] {
            let leave = Site { kind: Kind::SliceLeave, length: machine.leave, ..at(0, 0) };
            let has_form = forms::goes(machine.number, &leave, request).is_some();
            assert_eq!(has_form, fits && machine.requests(leave.kind), "{request}");
        }
        let ends: [(i64, bool); 4] = if machine.number == AARCH64 {
            [(-machine.state - 1, false), (-machine.state, true), (machine.state - 1, true), (machine.state, false)]
        } else {
            let top = machine.state - 0x800;
            [(-machine.state - 1, false), (-machine.state, true), (top - 1, true), (top, false)]
        };
        for (distance, fits) in ends {
            let check = forms::companion(machine.number, &at(0, distance), 0);
            assert_eq!(check.is_some(), fits, "{distance:#x}");
        }
    }
}

fn no_other_site_has_a_form() {
    for machine in [&ARM, &RV64] {
        let site = machine.sites()[8];
        let has_form = |site: &Site| {
            let all = [forms::checked(machine.number, site), forms::falls_through(machine.number, site)];
            assert_eq!(all[0].is_some(), all[1].is_some(), "{site:x?}");
            all[0].is_some()
        };
        for kind in KINDS {
            for length in 0..=255 {
                let is_one = length == machine.length(kind);
                assert_eq!(has_form(&Site { kind, length, ..site }), is_one, "{kind:?} {length}");
            }
        }
        assert!(!has_form(&Site { kind: Kind::Pointer, ..site }));
        let constant = machine.constants()[8];
        for length in 0..=255 {
            assert_eq!(forms::checked(machine.number, &Site { length, ..constant }).is_some(), length == 4);
        }
        // 31 is no register of AArch64's, and 0 none of RISC-V's.
        let none = if machine.number == AARCH64 { 31 } else { 0 };
        for value in 0..=255_u8 {
            let site = Site { value, ..constant };
            let is_one = value < 64 && value % 32 != none;
            assert_eq!(forms::checked(machine.number, &site).is_some(), is_one, "{value}");
            assert_eq!(forms::constant(machine.number, &site, 1).is_some(), is_one, "{value}");
            assert_eq!(forms::falls_through(machine.number, &site), None);
            assert_eq!(forms::goes(machine.number, &site, 0), None);
        }
        for (address, target) in [(2, 0), (0, 4)] {
            let site = Site { address: constant.address + address, target: constant.target + target, ..constant };
            assert_eq!(forms::checked(machine.number, &site), None, "not aligned");
        }
        for off in 1..4 {
            assert!(!has_form(&Site { address: site.address + off, target: site.target + off, ..site }), "not aligned");
        }
    }
}

/// Text with a site and its check, of a machine that may be another one than this.
struct Text {
    machine: u16,
    start: u64,
    bytes: Vec<u8>,
}

const STATE: u64 = 0x40_0000;

impl Memory for Text {
    type Key = ();

    fn machine(&self) -> u16 {
        self.machine
    }

    fn is_text(&mut self, address: u64, length: u8) -> bool {
        self.start <= address && address + u64::from(length) <= self.start + self.bytes.len() as u64
    }

    fn key(&mut self, state: u64) -> Option<((), u8)> {
        (state == STATE).then_some(((), flags::SLICE))
    }

    fn is_slot(&mut self, _: u64, _: u8) -> bool {
        false
    }

    fn is_loaded(&mut self, address: u64) -> bool {
        self.is_text(address, 1)
    }

    fn number(&mut self, (): ()) -> Option<u64> {
        None
    }

    fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        let at = (address - self.start) as usize;
        bytes.copy_from_slice(&self.bytes[at..at + bytes.len()]);
        true
    }
}

/// A site at the begin of text, and its check behind.
fn text(machine: &Machine, kind: Kind) -> (Text, Site, SiteRecord) {
    let (start, value, length) = (0x1_0000, if kind.is_slice() { 0 } else { 3 }, machine.length(kind));
    let machine = machine.number;
    let site = Site { address: start, target: start + 64, state: STATE, length, kind, value };
    let mut bytes = vec![0; 64 + 24];
    let mut put = |address: u64, code: Code| {
        let at = (address - start) as usize;
        bytes[at..at + code.len()].copy_from_slice(code.write_to(&mut [0; Code::LONGEST]));
    };
    put(start, forms::checked(machine, &site).expect("a form"));
    for part in [0, 1] {
        let (address, code) = forms::companion(machine, &site, part).expect("a check");
        put(address, code);
    }
    let here = Distance::new(0);
    let record_flags = u8::from(kind == Kind::Ordered);
    let record =
        SiteRecord { site: here, target: here, state: here, length, kind: kind.number(), value, flags: record_flags };
    (Text { machine, start, bytes }, site, record)
}

fn a_check_that_differs_is_seen() {
    for (machine, kind) in [&ARM, &RV64].into_iter().flat_map(|machine| KINDS.map(|kind| (machine, kind))) {
        let (mut text, site, record) = text(machine, kind);
        let machine = machine.number;
        let places = [site.address, site.target, site.state];
        assert_eq!(judge::site(&record, places, &mut text).map(|(site, ())| site), Ok(site), "{machine} {kind:?}");
        // Where its last instruction leads no record says.
        for bit in 0..8 * 20 {
            let at = 64 + bit / 8;
            text.bytes[at] ^= 1 << (bit % 8);
            assert_eq!(judge::site(&record, places, &mut text), Err(Fault::Check), "{machine} {kind:?}: bit {bit}");
            text.bytes[at] ^= 1 << (bit % 8);
        }
        text.bytes.pop();
        assert_eq!(judge::site(&record, places, &mut text), Err(Fault::OutsideText), "it is cut off");
    }
}

fn what_stands_is_told() {
    for (of, kind) in [&ARM, &RV64].into_iter().flat_map(|machine| KINDS.map(|kind| (machine, kind))) {
        let (mut text, site, _) = text(of, kind);
        let machine = of.number;
        let mut told = |code: Option<Code>, request| {
            let code = code?;
            text.bytes[..code.len()].copy_from_slice(code.write_to(&mut [0; Code::LONGEST]));
            Some(judge::standing(&site, (), request, &mut text))
        };
        assert_eq!(told(forms::checked(machine, &site), None), Some(Ok(Standing::Checked)));
        assert_eq!(told(forms::falls_through(machine, &site), None), Some(Ok(Standing::FallsThrough)));
        let elsewhere = Site { target: site.target + 4, ..site };
        assert_eq!(told(forms::checked(machine, &elsewhere), None), Some(Ok(Standing::Foreign)), "{machine} {kind:?}");
        if !kind.is_slice() {
            assert_eq!(told(forms::goes(machine, &site, 0), None), Some(Ok(Standing::Goes)));
            continue;
        }
        // On a machine without requests there is no such form.
        for request in [-0x800, -1, 0, 28, 220, 0x7fe] {
            let form = forms::goes(machine, &site, request);
            assert_eq!(form.is_some(), of.requests(kind));
            let expected = |standing| form.map(|_| Ok(standing));
            assert_eq!(told(form, None), expected(Standing::Requests), "{request}");
            assert_eq!(told(form, Some(request)), expected(Standing::Goes), "{request}");
            assert_eq!(told(form, Some(request ^ 4)), expected(Standing::Foreign), "{request}: another byte");
        }
    }
}
