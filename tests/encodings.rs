//! Every encoding, against an independent decoder: the bytes of a site mean what the table in
//! `abi/x86_64.rs` says, whatever its addresses, values and offsets are.

mod common;

use common::{cases, run, sites, test};
use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
};
use invar_abi::x86_64::{bound, checked, near_branch};
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
        assert_eq!(jump.code(), if is_short(&site) { Opcode::Jne_rel8_64 } else { Opcode::Jne_rel32_64 });
        assert_eq!(jump.near_branch64(), site.target);
    }

    /// What the runtime binds most of its sites by, from the distances of their records alone.
    fn branches_in_line_are_as_all_are(
        address in 1_u64 << 33..1 << 46,
        to_target in prop_oneof![-200_i32..200, any::<i32>()],
        to_state in any::<i32>(),
        length in prop_oneof![Just(10), Just(14), any::<u8>()],
        value in 0_u8..3,
        key in 0_u8..3,
    ) {
        let [target, state] = [to_target, to_state].map(|to| address.wrapping_add_signed(to.into()));
        let site = Site { address, target, state, length, kind: Kind::Branch, value };
        let forms = near_branch(NearBranch { to_target, to_state, length, value }, key, |checked, bound| [checked, bound]);
        // Near the ends of 2 GiB only the forms themselves tell what is out of reach.
        let is_inside = |to: i32| to.unsigned_abs() < i32::MAX as u32 - 64;
        if is_inside(to_target) && is_inside(to_state) {
            assert_eq!(forms, checked(&site).zip(bound(&site, key, 0)).map(|(checked, bound)| [checked, bound]));
        }
        for code in forms.into_iter().flatten() {
            // SAFETY: as many bytes.
            assert_eq!(code.print(), unsafe { arch::print(code.write_to(&mut [0; 16]).as_ptr(), code.len()) });
        }
    }

    fn a_value_that_falls_through_is_two_nops(site in site(), request in any::<i32>()) {
        let decoded = decode(&site, bound(&site, site.value, request));
        assert_eq!(decoded.len(), 2, "{decoded:?}");
        decoded.iter().for_each(assert_does_nothing);
    }

    fn another_value_jumps_at_a_branch(site in site_of(Kind::Branch), value in any::<u8>(), request in any::<i32>()) {
        prop_assume!(value != site.value);
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
    fn every_form_has_the_boundaries_of_the_checked_one(site in site(), value in any::<u8>(), request in any::<i32>()) {
        let checked_form = checked(&site);
        let checked = decode(&site, checked_form);
        for value in [value, site.value] {
            let form = bound(&site, value, request);
            let decoded = decode(&site, form);
            assert!(checked.iter().all(|there| decoded.iter().any(|here| here.ip() == there.ip())), "{decoded:?}");
            let first = |code: Option<Code>| code.expect("a form").first() as u8;
            assert_eq!(first(form), first(checked_form));
        }
    }

    /// Linux, arch/x86/kernel/uprobes.c: `is_prefix_bad`.
    fn the_kernel_takes_uprobes_on_the_file(site in site()) {
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

    fn a_form_is_stored_and_found_whole(site in site(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        const BESIDE: u8 = 0xcc;
        let code = checked(&site).expect("a form");
        let mut text = [BESIDE; 32];
        // SAFETY: there are sixteen bytes from here on.
        unsafe { arch::store(code, text.as_mut_ptr().add(8)) };
        let (before, rest) = text.split_at(8);
        let (stored, behind) = rest.split_at(code.len());
        assert_eq!(stored, code.write_to(&mut [0; 16]));
        assert!([before, behind].concat().iter().all(|&byte| byte == BESIDE));

        let mut stored = stored.to_vec();
        // SAFETY: as long as the code.
        assert!(unsafe { arch::stands(code, stored.as_ptr()) });
        stored[at.index(code.len())] ^= 1_u8 << bit;
        // SAFETY: as long as the code.
        assert!(!unsafe { arch::stands(code, stored.as_ptr()) }, "a byte that differs is not seen");
    }

    fn what_is_out_of_reach_has_no_form(site in site(), far in 1_u64 << 32..1 << 62, up in any::<bool>()) {
        let beyond = |address: u64| if up { address.wrapping_add(far) } else { address.wrapping_sub(far) };
        assert_eq!(checked(&Site { state: beyond(site.state), ..site }), None);
        let far_target = Site { target: beyond(site.target), ..site };
        assert_eq!(checked(&far_target), None);
        if site.kind != Kind::SliceEnter {
            assert_eq!(bound(&far_target, site.value ^ 1, 0), None);
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
    for (kind, [compare, long]) in [(Kind::Branch, [8, 14]), (Kind::SliceEnter, [10, 16]), (Kind::SliceLeave, [9, 15])]
    {
        assert_eq!(lengths(kind)[1], long);
        let site = |target: u64, state: u64| Site { address: ADDRESS, target, state, length: long, kind, value: 0 };
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
            let bound_fits = fits && (kind != Kind::Branch || (low..=high).contains(&first));
            let has_target = kind != Kind::SliceEnter;
            assert_eq!(bound(&site, 1, -64).is_some(), bound_fits || !has_target, "{site:?}: {distance:#x}");
            if bound_fits && has_target {
                assert_eq!(leads(bound(&site, 1, -64)), site.target);
            }
            // It leads nowhere.
            assert!(bound(&site, 0, -64).is_some());
        }
        // The first jump's of a branch.
        for (distance, fits) in ends {
            let site = site((ADDRESS + 6).wrapping_add_signed(distance), near);
            let last = distance - (i64::from(long) - 6);
            let fits = fits && (low..=high).contains(&last);
            if kind == Kind::Branch {
                assert_eq!(bound(&site, 1, 0).is_some(), fits, "{site:?}: {distance:#x}");
                if fits {
                    let jumps = decode(&site, bound(&site, 1, 0));
                    assert_eq!([jumps[0], jumps[2]].map(|jump| jump.near_branch64()), [site.target; 2]);
                }
            }
        }
        // The request's, which is encoded as it is.
        for request in [i32::MIN, i32::MAX] {
            let site = site(near, near);
            if kind != Kind::Branch {
                assert_is_request(&decode(&site, bound(&site, 1, request))[0], request);
            }
        }
    }
}

/// The lengths of a kind's sites, with a short and with a long jump.
fn lengths(kind: Kind) -> [u8; 2] {
    match kind {
        Kind::Branch => [10, 14],
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
    prop_oneof![site_of(Kind::Branch), site_of(Kind::SliceEnter), site_of(Kind::SliceLeave)]
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
