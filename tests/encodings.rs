//! Every encoding, against an independent decoder: the bytes of a site mean what the table in
//! `abi/x86_64.rs` says, whatever its addresses, values and offsets are.

mod common;

use common::{cases, run, sites, test};
use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
};
use invar_abi::x86_64::{bound, checked, constant, goes, link, near_branch};
use invar_abi::{Code, Kind, NearBranch, Site};
use invar_arch as arch;
use proptest::prelude::*;
use std::process::ExitCode;

fn main() -> ExitCode {
    run([
        test("the checked form compares and jumps", sites(), the_checked_form_compares_and_jumps),
        test("branches in line are as all are", sites(), branches_in_line_are_as_all_are),
        test("a value that falls through is two nops", sites(), a_value_that_falls_through_is_two_nops),
        test("another value jumps at a branch", sites(), another_value_jumps_at_a_branch),
        test("a select is a nop, or one jump", sites(), a_select_is_a_nop_or_one_jump),
        test("a constant loads its number, or holds it", sites(), a_constant_loads_its_number_or_holds_it),
        test("no other constant has a form", sites(), no_other_constant_has_a_form),
        test("an available slice is entered by one store", sites(), an_available_slice_is_entered_by_one_store),
        test(
            "an available slice is left by a shift and a jump",
            sites(),
            an_available_slice_is_left_by_a_shift_and_a_jump,
        ),
        test(
            "every form has the boundaries of the checked one",
            sites(),
            every_form_has_the_boundaries_of_the_checked_one,
        ),
        test("the kernel takes uprobes on the file", sites(), the_kernel_takes_uprobes_on_the_file),
        test("no other length is a site's", sites(), no_other_length_is_a_sites),
        test("what is out of reach has no form", sites(), what_is_out_of_reach_has_no_form),
        test("distances of four bytes fit to their ends", sites(), four_bytes_fit_to_their_ends),
        test("a form is stored and found whole", sites(), a_form_is_stored_and_found_whole),
    ])
}

proptest! {
    #![proptest_config(cases(4_000))]

    fn the_checked_form_compares_and_jumps(site in site()) {
        let decoded = decode(&site, checked(&site));
        let [compare, jump] = decoded[..] else { panic!("{decoded:?}") };
        assert_eq!(compare.code(), Opcode::Cmp_rm8_imm8);
        assert!(compare.is_ip_rel_memory_operand());
        assert_eq!(compare.ip_rel_memory_address(), site.state);
        assert_eq!(compare.immediate8(), site.value);
        assert_eq!(compare.segment_prefix(), Register::None);
        // Below the value, for an ordered one: by the carry of an unsigned compare.
        let (short, long) = match site.kind {
            Kind::Ordered => (Opcode::Jb_rel8_64, Opcode::Jb_rel32_64),
            _ => (Opcode::Jne_rel8_64, Opcode::Jne_rel32_64),
        };
        assert_eq!(jump.code(), if is_short(&site) { short } else { long });
        assert_eq!(jump.near_branch64(), site.target);
    }

    fn a_select_is_a_nop_or_one_jump(site in select(), value in any::<u8>()) {
        let unbound = decode(&site, checked(&site));
        let [nop] = unbound[..] else { panic!("{unbound:?}") };
        assert_does_nothing(&nop);
        // The links behind it do the same, and nothing of a record but its length stands elsewhere.
        let address = site.address + 9 + 14 * u64::from(site.value);
        let fits = |end: u64, to: u64| i32::try_from(to.wrapping_sub(end) as i64).is_ok();
        let is_there = fits(address + 8, site.state) && fits(address + 14, site.target);
        assert_eq!(link(&site).map(|(address, _)| address), is_there.then_some(address));
        if let Some((_, link)) = link(&site) {
            let mut bytes = [0; 16];
            let code = link.write_to(&mut bytes);
            let decoded: Vec<_> = Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().collect();
            let [compare, jump] = decoded[..] else { panic!("{decoded:?}") };
            let compared = (compare.code(), compare.ip_rel_memory_address(), compare.immediate8());
            assert_eq!(compared, (Opcode::Cmp_rm8_imm8, site.state, site.value));
            assert_eq!((jump.code(), jump.near_branch64()), (Opcode::Je_rel32_64, site.target));
        }
        // Only the record for the key's value tells where the site goes.
        assert_eq!(bound(&site, value, 0).is_some(), value == site.value);
        let decoded = decode(&site, bound(&site, site.value, 0));
        let [jump, nop] = decoded[..] else { panic!("{decoded:?}") };
        assert_eq!((jump.code(), jump.near_branch64()), (Opcode::Jmp_rel32_64, site.target));
        assert_does_nothing(&nop);
    }

    fn a_constant_loads_its_number_or_holds_it(site in a_constant(), number in a_number()) {
        let is_wide = site.value >= 32;
        let register = register(site.value);
        let decoded = decode(&site, checked(&site));
        let [load] = decoded[..] else { panic!("{decoded:?}") };
        assert_eq!(load.code(), if is_wide { Opcode::Mov_r64_rm64 } else { Opcode::Mov_r32_rm32 });
        assert_eq!((load.op0_register(), load.segment_prefix()), (register, Register::None));
        assert_eq!((load.is_ip_rel_memory_operand(), load.ip_rel_memory_address()), (true, site.target));

        let decoded = decode(&site, constant(&site, number));
        let mov = decoded.last().expect("an instruction");
        decoded[..decoded.len() - 1].iter().for_each(assert_does_nothing);
        let target = mov.op0_register();
        let held = if mov.code() == Opcode::Lea_r32_m { 0 } else { mov.immediate(1) };
        // As Linux puts it back, which clears bit B in its copy of an instruction that goes by RIP.
        let first = checked(&site).unwrap().first() as u8;
        assert!(first & 0xf0 != 0x40 || first & 1 == 0);
        match mov.code() {
            // What is moved to 32 bits fills up the register with zeros (Intel SDM volume 1, 3.4.1.1).
            Opcode::Mov_rm32_imm32 => {
                assert_eq!(target.full_register(), register.full_register());
                assert_eq!(held, number & 0xffff_ffff);
                assert!(!is_wide || number >> 32 == 0);
            }
            // Of the address, the lower half.
            Opcode::Lea_r32_m => {
                assert_eq!((target, mov.ip_rel_memory_address() & 0xffff_ffff), (register, number & 0xffff_ffff));
            }
            Opcode::Mov_r64_imm64 => assert_eq!((target, held, is_wide), (register, number, true)),
            other => panic!("{other:?}"),
        }
        // An immediate whose length `66` changes costs many CPUs some cycles (Intel, Optimization Reference Manual, 3.4.2.3).
        let code = constant(&site, number).unwrap();
        let at = (mov.ip() - site.address) as usize;
        assert!(mov.code() == Opcode::Mov_r64_imm64 || code.write_to(&mut [0; 16])[at] != 0x66);
    }

    fn no_other_constant_has_a_form(site in a_constant(), length in any::<u8>(), value in any::<u8>(), far in 1_u64 << 32..1 << 62) {
        let good = |site: &Site| matches!((site.length, site.value), (7, 0..16) | (11, 32..48));
        for other in [Site { length, ..site }, Site { value, ..site }] {
            assert_eq!((checked(&other).is_some(), constant(&other, 1).is_some()), (good(&other), good(&other)));
        }
        assert_eq!(checked(&Site { target: site.target.wrapping_add(far), ..site }), None);
        assert_eq!((bound(&site, 0, 0), goes(&site, 0), constant(&Site { kind: Kind::Branch, ..site }, 0)), (None, None, None));
    }

    /// What the runtime binds most of its sites by, from the distances of their records alone.
    fn branches_in_line_are_as_all_are(
        address in 1_u64 << 33..1 << 46,
        to_target in prop_oneof![-200_i32..200, any::<i32>()],
        to_state in any::<i32>(),
        length in prop_oneof![Just(10), Just(14), any::<u8>()],
        value in 0_u8..3,
        key in 0_u8..3,
        ordered in any::<bool>(),
    ) {
        let [target, state] = [to_target, to_state].map(|to| address.wrapping_add_signed(to.into()));
        let site = Site { address, target, state, length, kind: if ordered { Kind::Ordered } else { Kind::Branch }, value };
        let forms = near_branch(NearBranch { to_target, to_state, length, value, ordered }, key, |checked, bound| [checked, bound]);
        // Near the ends of 2 GiB only the forms themselves tell what is out of reach.
        let is_inside = |to: i32| to.unsigned_abs() < i32::MAX as u32 - 64;
        if is_inside(to_target) && is_inside(to_state) {
            assert_eq!(forms, checked(&site).zip(bound(&site, key, 0)).map(|(checked, bound)| [checked, bound]));
        }
        for code in forms.into_iter().flatten() {
            // SAFETY: as many bytes.
            assert_eq!(code.print(), unsafe { arch::print::<false>(code.write_to(&mut [0; 16]).as_ptr(), code.len()) });
        }
    }

    fn a_value_that_falls_through_is_two_nops(site in site(), request in any::<i32>()) {
        let decoded = decode(&site, bound(&site, site.value, request));
        assert_eq!(decoded.len(), 2, "{decoded:?}");
        decoded.iter().for_each(assert_does_nothing);
    }

    fn another_value_jumps_at_a_branch(
        site in prop_oneof![site_of(Kind::Branch), site_of(Kind::Ordered)],
        value in any::<u8>(),
        request in any::<i32>(),
    ) {
        // And a higher one does not, where it is ordered.
        let falls_through = if site.kind == Kind::Ordered { value >= site.value } else { value == site.value };
        assert_eq!(site.falls_through(value), falls_through);
        if falls_through {
            assert_eq!(bound(&site, value, request), bound(&site, site.value, request));
            return Ok(());
        }
        let decoded = decode(&site, bound(&site, value, request));
        let [jump, nop, again] = decoded[..] else { panic!("{decoded:?}") };
        assert_eq!(jump.code(), Opcode::Jmp_rel32_64);
        assert_does_nothing(&nop);
        assert_eq!(again.code(), if is_short(&site) { Opcode::Jmp_rel8_64 } else { Opcode::Jmp_rel32_64 });
        assert_eq!([jump, again].map(|jump| jump.near_branch64()), [site.target; 2]);
    }

    fn an_available_slice_is_entered_by_one_store(site in site_of(Kind::SliceEnter), request in any::<i32>()) {
        let decoded = decode(&site, bound(&site, site.value ^ 1, request));
        let [store, nop] = decoded[..] else { panic!("{decoded:?}") };
        assert_does_nothing(&nop);
        assert_eq!(store.code(), Opcode::Mov_rm8_imm8);
        assert_is_request(&store, request);
        assert_eq!(store.immediate8(), 1);
    }

    fn an_available_slice_is_left_by_a_shift_and_a_jump(site in site_of(Kind::SliceLeave), request in any::<i32>()) {
        let decoded = decode(&site, bound(&site, site.value ^ 1, request));
        let [shift, jump] = decoded[..] else { panic!("{decoded:?}") };
        assert_eq!(shift.code(), Opcode::Shr_rm8_1);
        assert_is_request(&shift, request);
        let unbound = decode(&site, checked(&site))[1];
        assert_eq!(jump.code(), if unbound.len() == 2 { Opcode::Jae_rel8_64 } else { Opcode::Jae_rel32_64 });
        assert_eq!((jump.ip(), jump.len(), jump.near_branch64()), (unbound.ip(), unbound.len(), site.target));
    }

    /// A thread that has executed the first instruction of one form goes on with the second of another; a uprobe puts the
    /// first byte of the file's form into any.
    fn every_form_has_the_boundaries_of_the_checked_one(
        site in any_site(),
        value in any::<u8>(),
        request in any::<i32>(),
        number in a_number(),
    ) {
        let checked_form = checked(&site);
        let checked = decode(&site, checked_form);
        for value in [value, site.value] {
            let form = match site.kind {
                Kind::Constant => constant(&site, number),
                Kind::Select => goes(&site, request),
                _ => bound(&site, value, request),
            };
            let decoded = decode(&site, form);
            assert!(checked.iter().all(|there| decoded.iter().any(|here| here.ip() == there.ip())), "{decoded:?}");
            let first = |code: Option<Code>| code.expect("a form").first() as u8;
            assert_eq!(first(form), first(checked_form));
        }
    }

    /// Linux, arch/x86/kernel/uprobes.c: `is_prefix_bad`.
    fn the_kernel_takes_uprobes_on_the_file(site in any_site()) {
        for instruction in decode(&site, checked(&site)) {
            let mut bytes = [0; 16];
            let at = (instruction.ip() - site.address) as usize;
            let code = &checked(&site).expect("a form").write_to(&mut bytes)[at..at + instruction.len()];
            let prefixes = code.iter().take_while(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3));
            assert!(!prefixes.clone().any(|prefix| matches!(prefix, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0)), "{code:x?}");
        }
    }

    fn no_other_length_is_a_sites(site in site(), length in any::<u8>()) {
        prop_assume!(!lengths(site.kind).contains(&length));
        let other = Site { length, ..site };
        assert_eq!(checked(&other), None);
        assert_eq!(bound(&other, site.value ^ 1, 0), None);
        assert_eq!(bound(&other, site.value, 0), None);
    }

    fn a_form_is_stored_and_found_whole(site in any_site(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        const BESIDE: u8 = 0xcc;
        let code = checked(&site).expect("a form");
        let mut text = [BESIDE; 32];
        // SAFETY: there are sixteen bytes from here on.
        unsafe { arch::store::<false>(code, text.as_mut_ptr().add(8)) };
        let (before, rest) = text.split_at(8);
        let (stored, behind) = rest.split_at(code.len());
        assert_eq!(stored, code.write_to(&mut [0; 16]));
        assert!([before, behind].concat().iter().all(|&byte| byte == BESIDE));

        let mut stored = stored.to_vec();
        // SAFETY: as long as the code.
        assert!(unsafe { arch::stands::<false>(code, stored.as_ptr()) });
        // SAFETY: as long as the code.
        assert_eq!(code.print(), unsafe { arch::print::<false>(stored.as_ptr(), stored.len()) });
        stored[at.index(code.len())] ^= 1_u8 << bit;
        // SAFETY: as long as the code.
        assert_ne!(code.print(), unsafe { arch::print::<false>(stored.as_ptr(), stored.len()) });
        // SAFETY: as long as the code.
        assert!(!unsafe { arch::stands::<false>(code, stored.as_ptr()) }, "a byte that differs is not seen");
    }

    fn what_is_out_of_reach_has_no_form(site in site(), far in 1_u64 << 32..1 << 62, up in any::<bool>()) {
        let beyond = |address: u64| if up { address.wrapping_add(far) } else { address.wrapping_sub(far) };
        assert_eq!(checked(&Site { state: beyond(site.state), ..site }), None);
        let far_target = Site { target: beyond(site.target), ..site };
        assert_eq!(checked(&far_target), None);
        if site.kind != Kind::SliceEnter {
            assert_eq!(goes(&far_target, 0), None);
        }
        // A short jump does not reach what a long one does.
        let short = Site { length: lengths(site.kind)[0], ..site };
        let end = short.address + u64::from(short.length);
        for (distance, reaches) in [(-129, false), (-128, true), (127, true), (128, false)] {
            let site = Site { target: end.wrapping_add_signed(distance), ..short };
            assert_eq!(checked(&site).is_some(), reaches, "{distance}");
        }
    }
}

/// Each distance of each form: what just fits is encoded, and means what it should; what just does not fit has no form.
fn four_bytes_fit_to_their_ends() {
    const ADDRESS: u64 = 1 << 40;
    let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let ends = [(low - 1, false), (low, true), (high, true), (high + 1, false)];
    for (kind, [compare, long]) in
        [(Kind::Branch, [8, 14]), (Kind::Ordered, [8, 14]), (Kind::SliceEnter, [10, 16]), (Kind::SliceLeave, [9, 15])]
    {
        assert_eq!(lengths(kind)[1], long);
        let is_branch = !kind.is_slice();
        // The value 1 goes to the target; of an ordered one it is the value below its own.
        let [goes, value] = if kind == Kind::Ordered { [1, 2] } else { [1, 0] };
        let site = |target: u64, state: u64| Site { address: ADDRESS, target, state, length: long, kind, value };
        let end = ADDRESS + u64::from(long);
        let near = end + 64;
        // The compare's, to the state, with either jump.
        for (distance, fits) in ends {
            let state = (ADDRESS + u64::from(compare)).wrapping_add_signed(distance);
            for site in [site(near, state), Site { length: lengths(kind)[0], ..site(near, state) }] {
                assert_eq!(checked(&site).is_some(), fits, "{site:?}: {distance:#x}");
                if fits {
                    assert_eq!(decode(&site, checked(&site))[0].ip_rel_memory_address(), state);
                }
            }
        }
        // The jump's at the end, of the checked form and of each bound form that leads to the target.
        for (distance, fits) in ends {
            let site = site(end.wrapping_add_signed(distance), near);
            let leads = |code: Option<Code>| decode(&site, code).last().expect("a jump").near_branch64();
            assert_eq!(checked(&site).is_some(), fits, "{site:?}: {distance:#x}");
            if fits {
                assert_eq!(leads(checked(&site)), site.target);
            }
            // Its first jump counts from six bytes behind its begin, which is nearer to what lies before the site.
            let first = distance + i64::from(long) - 6;
            let bound_fits = fits && (!is_branch || (low..=high).contains(&first));
            let has_target = kind != Kind::SliceEnter;
            assert_eq!(bound(&site, goes, -64).is_some(), bound_fits || !has_target, "{site:?}: {distance:#x}");
            if bound_fits && has_target {
                assert_eq!(leads(bound(&site, goes, -64)), site.target);
            }
            // It leads nowhere.
            assert!(bound(&site, value, -64).is_some());
        }
        // The first jump's of a branch.
        for (distance, fits) in ends {
            let site = site((ADDRESS + 6).wrapping_add_signed(distance), near);
            let last = distance - (i64::from(long) - 6);
            let fits = fits && (low..=high).contains(&last);
            if is_branch {
                assert_eq!(bound(&site, goes, 0).is_some(), fits, "{site:?}: {distance:#x}");
                if fits {
                    let jumps = decode(&site, bound(&site, goes, 0));
                    assert_eq!([jumps[0], jumps[2]].map(|jump| jump.near_branch64()), [site.target; 2]);
                }
            }
        }
        // The request's, which is encoded as it is.
        for request in [i32::MIN, i32::MAX] {
            let site = site(near, near);
            if !is_branch {
                assert_is_request(&decode(&site, bound(&site, 1, request))[0], request);
            }
        }
    }
    // A select's, and a constant's.
    for (distance, fits) in ends {
        let target = (ADDRESS + 6).wrapping_add_signed(distance);
        let site = Site { address: ADDRESS, target, state: ADDRESS, length: 9, kind: Kind::Select, value: 3 };
        assert_eq!(bound(&site, 3, 0).is_some(), fits, "{distance:#x}");
        for (length, value) in [(7, 9), (11, 41)] {
            let target = (ADDRESS + u64::from(length)).wrapping_add_signed(distance);
            let site = Site { target, length, kind: Kind::Constant, value, ..site };
            assert_eq!(checked(&site).is_some(), fits, "{distance:#x}");
            if fits {
                assert_eq!(decode(&site, checked(&site))[0].ip_rel_memory_address(), target);
            }
        }
    }
}

/// The lengths of the sites of a kind that jumps, with a short and with a long jump.
fn lengths(kind: Kind) -> [u8; 2] {
    match kind {
        Kind::Select | Kind::Constant => unreachable!("it has no jump of two lengths"),
        Kind::Branch | Kind::Ordered => [10, 14],
        Kind::SliceEnter => [12, 16],
        Kind::SliceLeave => [11, 15],
        Kind::Pointer => unreachable!("no code"),
    }
}

/// Whether the site's jump is the shorter one.
fn is_short(site: &Site) -> bool {
    site.length == lengths(site.kind)[0]
}

fn site() -> impl Strategy<Value = Site> {
    prop_oneof![site_of(Kind::Branch), site_of(Kind::Ordered), site_of(Kind::SliceEnter), site_of(Kind::SliceLeave)]
}

fn any_site() -> impl Strategy<Value = Site> {
    prop_oneof![4 => site(), 1 => select(), 1 => a_constant()]
}

fn select() -> impl Strategy<Value = Site> {
    site_of(Kind::Branch).prop_map(|site| Site { kind: Kind::Select, length: 9, ..site })
}

/// With a register of each number and width.
fn a_constant() -> impl Strategy<Value = Site> {
    (site_of(Kind::Branch), 0_u8..16, any::<bool>()).prop_map(|(site, register, is_wide)| {
        let [length, wide] = if is_wide { [11, 32] } else { [7, 0] };
        Site { kind: Kind::Constant, length, value: register + wide, ..site }
    })
}

/// Of all sizes, and those at which a form ends.
fn a_number() -> impl Strategy<Value = u64> {
    let ends = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, 1 << 63, u64::MAX];
    prop_oneof![any::<u64>(), any::<u32>().prop_map(u64::from), prop::sample::select(ends.to_vec())]
}

/// Intel SDM volume 2, 3.1.1.1, table 3-1: the registers by their numbers; from 32 on those of 64 bits.
fn register(number: u8) -> Register {
    let register = Register::EAX + u32::from(number % 32);
    if number < 32 { register } else { register.full_register() }
}

/// Any site that a linker could make: both distances fit into their instructions.
fn site_of(kind: Kind) -> impl Strategy<Value = Site> {
    // Room for a distance on both sides, and the edges of what fits.
    let address = 1_u64 << 33..1 << 62;
    let long = prop_oneof![any::<i32>(), Just(i32::MIN + 16), Just(i32::MAX - 16)].prop_map(|distance| {
        // Distances count from different places in the checked and the bound form.
        i64::from(distance).clamp((i32::MIN + 16).into(), (i32::MAX - 16).into())
    });
    let jump = prop_oneof![
        any::<i8>().prop_map(|distance| (false, i64::from(distance))),
        long.clone().prop_map(|distance| (true, distance)),
    ];
    (address, jump, long, any::<u8>()).prop_map(move |(address, (is_long, distance), state, value)| {
        let length = lengths(kind)[usize::from(is_long)];
        let end = address + u64::from(length);
        Site {
            address,
            target: end.wrapping_add_signed(distance),
            state: end.wrapping_add_signed(state),
            length,
            kind,
            value,
        }
    })
}

/// The instructions at `site`, which they fill exactly.
fn decode(site: &Site, code: Option<Code>) -> Vec<Instruction> {
    let code = code.expect("a form");
    assert_eq!(code.len(), site.length as usize);
    let mut bytes = [0; 16];
    let decoded: Vec<_> =
        Decoder::with_ip(64, code.write_to(&mut bytes), site.address, DecoderOptions::NONE).into_iter().collect();
    assert!(decoded.iter().all(|instruction| !instruction.is_invalid()), "{decoded:?}");
    decoded
}

/// A nop: no register and no memory is read or written.
fn assert_does_nothing(nop: &Instruction) {
    assert_eq!(nop.mnemonic(), iced_x86::Mnemonic::Nop);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(nop);
    assert!(info.used_memory().iter().all(|used| used.access() == OpAccess::NoMemAccess), "{nop}");
    let touched = |access| !matches!(access, OpAccess::None | OpAccess::NoMemAccess);
    assert!(!info.used_registers().iter().any(|used| touched(used.access()) && is_written(used.access())), "{nop}");
}

fn is_written(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// The first operand is the byte at a constant distance from the thread pointer, and needs no register.
fn assert_is_request(instruction: &Instruction, request: i32) {
    assert_eq!(instruction.op0_kind(), OpKind::Memory);
    assert_eq!(instruction.memory_segment(), Register::FS);
    assert_eq!((instruction.memory_base(), instruction.memory_index()), (Register::None, Register::None));
    assert_eq!(instruction.memory_displacement64(), i64::from(request) as u64);
    assert_eq!(instruction.memory_size().size(), 1);
}
