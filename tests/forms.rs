//! The forms of a site, byte by byte, in a program that cargo built: what the compiler left in its file, what
//! stands in memory after it was loaded, and how many instructions a function is then.

mod common;

use common::elf::Image;
use common::{BoundSite, Build, Tale, bound_in_c, command, run, sites, tale, test, with_either_binder};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};
use std::collections::BTreeSet;
use std::process::ExitCode;

fn main() -> ExitCode {
    let file = test("the file holds the checked form", sites(), the_file_holds_the_checked_form);
    let memory: [(&str, fn()); 7] = [
        ("memory holds the bound form, slices absent", || memory_holds_the_bound_form("off")),
        ("memory holds the bound form, slices forced", || memory_holds_the_bound_form("force")),
        ("an absent slice costs four nops", an_absent_slice_costs_four_nops),
        ("an available slice costs four instructions", an_available_slice_costs_four_instructions),
        ("an uncontended lock does nothing beyond", an_uncontended_lock_does_nothing_beyond),
        ("an adaptive lock that is cold asks nothing", an_adaptive_lock_that_is_cold_asks_nothing),
        ("a static branch costs two nops", a_static_branch_costs_two_nops),
    ];
    let memory = memory.into_iter().flat_map(|(name, body)| with_either_binder(name, sites(), body));
    run([file].into_iter().chain(memory))
}

/// The story, with the time slice key as the test wants it whatever this machine has.
fn story(slice: &str) -> Tale {
    tale(command(Build::release().program("story")).env("INVAR_KEYS", format!("slice={slice}")))
}

fn the_file_holds_the_checked_form() {
    let image = Image::read(&Build::release().program("story"));
    let mut forms = BTreeSet::new();
    for record in image.site_records() {
        let prefix: &[u8] = [&[0x40][..], &[0x66, 0x66, 0x40], &[0x66, 0x40]][usize::from(record.kind) - 1];
        let end = record.site + u64::from(record.length);
        let compare_end = record.site + prefix.len() as u64 + 7;
        let distance = |from: u64, to: u64| (to.wrapping_sub(from) as i32).to_le_bytes();
        let mut expected = [prefix, &[0x80, 0x3d], &distance(compare_end, record.state), &[record.value]].concat();
        match record.length - prefix.len() as u8 {
            9 => expected.extend([0x75, distance(end, record.target)[0]]),
            13 => expected.extend([[0x0f, 0x85].as_slice(), &distance(end, record.target)].concat()),
            other => panic!("{record:?} is {other} bytes long"),
        }
        assert_eq!(image.at(record.site, record.length.into()), expected, "{record:?}");
        forms.insert((record.kind, record.length));
    }
    let all = [(1, 10), (1, 14), (2, 12), (2, 16), (3, 11), (3, 15)];
    assert_eq!(forms, all.into(), "the program does not have a site of every kind and length");
}

fn memory_holds_the_bound_form(slice: &str) {
    let image = Image::read(&Build::release().program("story"));
    let tale = story(slice);
    tale.program().assert_bound();
    let sites: Vec<_> = tale.program().bindings.iter().map(|binding| binding.site.as_ref().unwrap()).collect();
    // The request byte's distance from the thread pointer is the same at every site, and constant.
    let request = sites.iter().find(|site| slice == "force" && site.kind == "slice enter").map(|site| {
        let operand = &site.bytes[5..9];
        i32::from_le_bytes(operand.try_into().unwrap())
    });
    // The binder in C takes the area that libc has.
    assert!(
        bound_in_c() || request.is_none_or(|request| request < 0),
        "initial-exec memory lies below the thread pointer"
    );

    for (site, record) in sites.iter().zip(image.site_records()) {
        assert_eq!(site.address, record.site);
        let long = matches!(site.length, 14..=16);
        let falls_through = key_value(&tale, site) == site.value;
        let jump = |opcode: &[u8], end: u64, bytes: usize| {
            [opcode, &(record.target.wrapping_sub(end) as i32).to_le_bytes()[..bytes]].concat()
        };
        let end = site.address + site.length as u64;
        let second = nop(if long { 6 } else { 2 });
        let expected = match (&*site.kind, falls_through) {
            ("branch", true) => [&[0x40], &nop(7)[..], &second].concat(),
            ("slice enter", true) => [&[0x66, 0x66], &nop(8)[..], &second].concat(),
            ("slice leave", true) => [&[0x66], &nop(8)[..], &second].concat(),
            ("branch", false) => {
                let again = if long { jump(&[0x40, 0xe9], end, 4) } else { jump(&[0xeb], end, 1) };
                [jump(&[0x40, 0xe9], site.address + 6, 4), nop(2), again].concat()
            }
            ("slice enter", false) => {
                [&[0x66, 0x64, 0xc6, 0x04, 0x25], &request.unwrap().to_le_bytes()[..], &[1], &second].concat()
            }
            ("slice leave", false) => {
                let jump = if long { jump(&[0x0f, 0x83], end, 4) } else { jump(&[0x73], end, 1) };
                [&[0x66, 0x64, 0xd0, 0x2c, 0x25], &request.unwrap().to_le_bytes()[..], &jump].concat()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(site.bytes, expected, "{site:?}");
    }
}

/// The value that the key of this site was decided to have.
fn key_value(tale: &Tale, site: &BoundSite) -> u8 {
    let value = tale.program().key(&site.key).value.to_lowercase();
    match &*value {
        "off" | "narrow" => 0,
        "on" | "wide" => 1,
        "widest" => 2,
        other => panic!("{other}"),
    }
}

/// One instruction of this length that does nothing.
fn nop(length: usize) -> Vec<u8> {
    match length {
        2 => vec![0x66, 0x90],
        6 => vec![0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        7 => vec![0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        8 => vec![0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        other => panic!("no form has a nop of {other} bytes"),
    }
}

/// The function, up to its return.
fn decoded(tale: &Tale, function: &str) -> Vec<Instruction> {
    let mut instructions: Vec<_> = Vec::new();
    for instruction in Decoder::with_ip(64, &tale.code[function], 0, DecoderOptions::NONE).iter() {
        instructions.push(instruction);
        if instruction.mnemonic() == Mnemonic::Ret {
            return instructions;
        }
    }
    panic!("{function} has no end: {instructions:?}");
}

fn instructions(tale: &Tale, function: &str) -> Vec<Mnemonic> {
    decoded(tale, function).iter().map(Instruction::mnemonic).collect()
}

/// Those that touch memory or go elsewhere, and the nops.
fn effects(tale: &Tale, function: &str) -> Vec<Mnemonic> {
    let effect = |it: &&Instruction| {
        let memory = it.op_kinds().any(|kind| kind == OpKind::Memory);
        memory || it.flow_control() != FlowControl::Next || it.mnemonic() == Mnemonic::Nop
    };
    decoded(tale, function).iter().filter(effect).map(Instruction::mnemonic).collect()
}

/// The function counts under a lock: take it, or go to the contended path; count; look who waits, and release.
fn an_uncontended_lock_does_nothing_beyond() {
    use Mnemonic::{Cmpxchg, Inc, Jae, Je, Jne, Mov, Movzx, Nop, Ret, Shr, Xchg};
    let (off, force) = (story("off"), story("force"));
    assert_eq!(effects(&off, "spin locked"), [Nop, Nop, Cmpxchg, Jne, Inc, Movzx, Mov, Nop, Nop, Je, Ret]);
    assert_eq!(effects(&force, "spin locked"), [Mov, Nop, Cmpxchg, Jne, Inc, Movzx, Mov, Shr, Jae, Je, Ret]);
    assert_eq!(effects(&off, "mutex locked"), [Nop, Nop, Cmpxchg, Jne, Inc, Xchg, Nop, Nop, Je, Ret]);
    assert_eq!(effects(&force, "mutex locked"), [Mov, Nop, Cmpxchg, Jne, Inc, Xchg, Shr, Jae, Je, Ret]);
}

/// The same, available or not: there is no site on its way, and so nothing that touches the thread's area.
fn an_adaptive_lock_that_is_cold_asks_nothing() {
    use Mnemonic::{Cmpxchg, Inc, Jne, Mov, Ret};
    for slice in ["off", "force"] {
        let program = Build::release().program("adaptive");
        let tale = tale(command(program).env("INVAR_KEYS", format!("slice={slice}")));
        tale.program().assert_bound();
        assert_eq!(effects(&tale, "spin locked"), [Cmpxchg, Jne, Inc, Mov, Mov, Jne, Ret]);
        assert_eq!(effects(&tale, "mutex locked"), [Cmpxchg, Jne, Inc, Cmpxchg, Jne, Ret]);
    }
}

fn an_absent_slice_costs_four_nops() {
    use Mnemonic::{Inc, Nop, Ret};
    assert_eq!(instructions(&story("off"), "section"), [Nop, Nop, Inc, Nop, Nop, Ret]);
}

fn an_available_slice_costs_four_instructions() {
    use Mnemonic::{Inc, Jae, Mov, Nop, Ret, Shr};
    assert_eq!(instructions(&story("force"), "section"), [Mov, Nop, Inc, Shr, Jae, Ret]);
}

fn a_static_branch_costs_two_nops() {
    use Mnemonic::{Lea, Nop, Ret};
    assert_eq!(instructions(&story("off"), "near"), [Nop, Nop, Lea, Ret]);
}
