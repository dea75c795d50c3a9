//! Code as text, with the names that the site ABI gives to what it touches.

use iced_x86::{
    CC_ae, Code, Decoder, DecoderOptions, Formatter, FormatterOptions, Instruction, IntelFormatter, Register,
    SymbolResolver, SymbolResult,
};
use invar_abi::state::NUMBER;

/// What the instructions of one site refer to.
pub struct Labels {
    /// The address of the key's state, and the key's name. A constant's number, which stands behind, has the same name.
    pub state: Option<(u64, String)>,
    /// Distance of each thread's request byte from its thread pointer, if it is known.
    pub request_offset: Option<i32>,
}

/// The instructions that stand at `address`, one text each, in Intel syntax.
pub fn disassemble(code: &[u8], address: u64, labels: Labels) -> Vec<String> {
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
