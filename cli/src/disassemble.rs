//! Code as text, with the names that the site ABI gives to what it touches.

mod riscv64;

use iced_x86::{
    CC_ae, Code, Decoder, DecoderOptions, Formatter, FormatterOptions, Instruction, IntelFormatter, Register,
    SymbolResolver, SymbolResult,
};
use invar_abi::machine;
use invar_abi::state::NUMBER;
use yaxpeax_arch::{Decoder as _, U8Reader};

/// What the instructions of one site refer to.
pub struct Labels {
    /// The address of the key's state, and the key's name. A constant's number, which stands behind, has the same name.
    pub state: Option<(u64, String)>,
    /// Distance of each thread's request byte from its thread pointer, if it is known.
    pub request_offset: Option<i32>,
}

/// The instructions of this machine that stand at `address`, one text each; those of x86-64 in Intel syntax. None for a machine that is
/// not known.
pub fn disassemble(forms: u16, code: &[u8], address: u64, labels: Labels) -> Vec<String> {
    match forms {
        machine::X86_64 => x86_64(code, address, labels),
        machine::AARCH64 => code.chunks_exact(4).zip(0..).map(|(code, at)| aarch64(code, address + 4 * at)).collect(),
        machine::RISCV => riscv64::instructions(code, address),
        _ => vec![],
    }
}

/// One instruction.
fn aarch64(code: &[u8], address: u64) -> String {
    use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};
    let Ok(instruction) = InstDecoder::default().decode(&mut U8Reader::new(code)) else { return "(bad)".into() };
    match (instruction.opcode, instruction.operands[0]) {
        (Opcode::B, Operand::PCOffset(offset)) => format!("b {:#x}", address.wrapping_add_signed(offset)),
        // Which it prints as the hint that it is.
        _ if code == [0x1f, 0x20, 0x03, 0xd5] => "nop".into(),
        _ => instruction.to_string(),
    }
}

fn x86_64(code: &[u8], address: u64, labels: Labels) -> Vec<String> {
    let mut formatter = IntelFormatter::with_options(Some(Box::new(labels)), None);
    style(formatter.options_mut());
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .iter()
        .map(|instruction| {
            let mut text = String::new();
            match instruction.code() {
                // Which others print as an exchange of a register with itself.
                Code::Nopw => text.push_str("nop"),
                _ => formatter.format(&instruction, &mut text),
            }
            text
        })
        .collect()
}

fn style(options: &mut FormatterOptions) {
    options.set_space_after_operand_separator(true);
    options.set_uppercase_hex(false);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_branch_leading_zeros(false);
    options.set_displacement_leading_zeros(false);
    options.set_show_branch_size(false);
    // What `docs/site-abi.md` calls it.
    options.set_cc_ae(CC_ae::nc);
}

impl SymbolResolver for Labels {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let is_request = instruction.segment_prefix() == Register::FS
            && self.request_offset.is_some_and(|request| address as i64 == i64::from(request));
        match &self.state {
            _ if is_request => Some(SymbolResult::with_str(address, "request")),
            Some((state, name)) if address == *state || address == state.wrapping_add(NUMBER as u64) => {
                Some(SymbolResult::with_str(address, name))
            }
            _ => None,
        }
    }
}
