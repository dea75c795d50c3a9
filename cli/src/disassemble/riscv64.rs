//! RISC-V, of 64 bits, as assembly has it: the decoder knows what an instruction is, and writes operands in its own order.

use raki::{BaseIOpcode as Base, Decode, Instruction, Isa, OpcodeKind};

/// The instructions that stand at `address`, one text each: of what is no instruction of the base set, its bytes as a number.
pub(super) fn instructions(mut code: &[u8], address: u64) -> Vec<String> {
    let (mut texts, mut at) = (vec![], address);
    while let Some(&first) = code.first() {
        // The lowest bits say how long an instruction is.
        let length = if first & 3 == 3 { 4 } else { 2 };
        let (instruction, rest) = code.split_at(length.min(code.len()));
        texts.push(text(instruction, at));
        (code, at) = (rest, at.wrapping_add(length as u64));
    }
    texts
}

fn text(code: &[u8], address: u64) -> String {
    let number = code.iter().rev().fold(0_u32, |number, &byte| number << 8 | u32::from(byte));
    let decoded = (code.len() == 4).then(|| number.decode(Isa::Rv64).ok()).flatten();
    decoded
        .and_then(|instruction| base(&instruction, address))
        .unwrap_or_else(|| format!(".{}byte {number:#x}", code.len()))
}

/// One of the base set.
fn base(instruction: &Instruction, address: u64) -> Option<String> {
    let OpcodeKind::BaseI(opcode) = &instruction.opc else { return None };
    let number = i64::from(instruction.imm.unwrap_or_default());
    let goes = address.wrapping_add_signed(number);
    let [to, first, second] =
        [instruction.rd, instruction.rs1, instruction.rs2].map(|register| NAMES[register.unwrap_or_default() & 31]);
    Some(match opcode {
        Base::JAL if to == "zero" => format!("j {goes:#x}"),
        Base::JAL => format!("jal {to}, {goes:#x}"),
        Base::ADDI if [to, first] == ["zero"; 2] && number == 0 => "nop".into(),
        Base::ADDI if first == "zero" => format!("li {to}, {number}"),
        Base::BEQ | Base::BNE | Base::BLT | Base::BGE | Base::BLTU | Base::BGEU => {
            format!("{} {first}, {second}, {goes:#x}", instruction.opc)
        }
        Base::LB | Base::LH | Base::LW | Base::LD | Base::LBU | Base::LHU | Base::LWU | Base::JALR => {
            format!("{} {to}, {number}({first})", instruction.opc)
        }
        Base::SB | Base::SH | Base::SW | Base::SD => format!("{} {second}, {number}({first})", instruction.opc),
        _ => instruction.to_string(),
    })
}

/// The registers' names in the ABI (RISC-V ELF psABI, "Integer Register Convention").
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// As GNU binutils writes it, but for the base in which numbers are.
    #[test]
    fn instructions_are_written_as_assembly_has_them() {
        for (code, expected) in [
            (0x0000_0013_u32, "nop"),
            (0x0340_006f, "j 0x1034"),
            (0xfc1f_f06f, "j 0xfc0"),
            (0x0080_00ef, "jal ra, 0x1008"),
            (0x0010_0f13, "li t5, 1"),
            (0x0ccf_cf83, "lbu t6, 204(t6)"),
            (0x01ff_1463, "bne t5, t6, 0x1008"),
            (0x01ef_e463, "bltu t6, t5, 0x1008"),
            (0x7ff2_0fa3, "sb t6, 2047(tp)"),
            (0x0010_0073, "ebreak"),
            (0xffff_ffff, ".4byte 0xffffffff"),
            // `c.ebreak`, which debuggers set, and `c.nop`.
            (0x0001_9002, ".2byte 0x9002 .2byte 0x1"),
        ] {
            assert_eq!(instructions(&code.to_le_bytes(), 0x1000).join(" "), expected);
        }
        assert_eq!(instructions(&[0x6f, 0], 0), [".2byte 0x6f"], "cut off");
    }

    #[test]
    fn no_bytes_are_too_odd() {
        // A multiplicative generator with full period (L'Ecuyer 1999, table 2).
        let mut seed = 1_u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(3_202_034_522_624_059_733) % (1 << 63);
            assert!(!instructions(&seed.to_le_bytes(), seed).is_empty());
        }
    }
}
