//! What stands at a bound site, read from memory and disassembled.

use iced_x86::{
    CC_ae, Decoder, DecoderOptions, Formatter, Instruction, InstructionInfo, InstructionInfoFactory, IntelFormatter,
    Mnemonic, OpAccess, Register, SymbolResolver, SymbolResult, UsedMemory,
};
use invar_measure::machine::each_site;
use std::fmt;

/// A site's instructions.
pub(crate) struct Form(Vec<Instruction>);

impl Form {
    /// The code of a key's first bound site of this kind; empty if there is none.
    pub(crate) fn of(key: &str, kind: invar::Kind) -> Self {
        let mut first = None;
        each_site(key, |site| first = first.or(Some(site).filter(|site| site.kind == kind)));
        let Some(site) = first else { return Self(Vec::new()) };
        // SAFETY: a site of this program's text is as long as it says.
        let code = unsafe { std::slice::from_raw_parts(site.address as *const u8, site.length as usize) };
        Self(Decoder::new(64, code, DecoderOptions::NONE).iter().collect())
    }

    pub(crate) fn instructions(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Instruction::len).sum()
    }

    /// Whether it reads and writes no general register; the flags and the segment base do not count.
    pub(crate) fn uses_no_register(&self) -> bool {
        let general =
            |info: &InstructionInfo| info.used_registers().iter().any(|used| !used.register().is_segment_register());
        self.infos().all(|info| !general(&info))
    }

    /// Whether all the memory that it reads or writes is one byte at a constant distance from the thread pointer.
    pub(crate) fn touches_one_byte_of_the_thread(&self) -> bool {
        let memory = self.memory();
        let alone = |used: &UsedMemory| used.base() == Register::None && used.index() == Register::None;
        memory.first().is_some_and(|first| {
            let same = |used: &UsedMemory| used.displacement() == first.displacement();
            memory.iter().all(|used| {
                used.segment() == Register::FS && used.memory_size().size() == 1 && alone(used) && same(used)
            })
        })
    }

    /// Whether it is there, and does nothing.
    pub(crate) fn is_nop(&self) -> bool {
        let nop = |instruction: &Instruction| instruction.mnemonic() == Mnemonic::Nop;
        !self.0.is_empty() && self.0.iter().all(nop) && self.memory().is_empty()
    }

    /// What it reads or writes of memory; a nop's operand is neither.
    fn memory(&self) -> Vec<UsedMemory> {
        let used = self.infos().flat_map(|info| info.used_memory().to_vec());
        used.filter(|used| used.access() != OpAccess::NoMemAccess).collect()
    }

    fn infos(&self) -> impl Iterator<Item = InstructionInfo> {
        let mut factory = InstructionInfoFactory::new();
        self.0.iter().map(move |instruction| factory.info(instruction).clone())
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.instructions() == 1 { "" } else { "s" };
        write!(f, "{} instruction{plural}, {} bytes:", self.instructions(), self.bytes())?;
        // As the `invar` command shows code.
        let mut formatter = IntelFormatter::with_options(Some(Box::new(Names)), None);
        let options = formatter.options_mut();
        options.set_space_after_operand_separator(true);
        options.set_uppercase_hex(false);
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_branch_leading_zeros(false);
        options.set_show_branch_size(false);
        options.set_cc_ae(CC_ae::nc);
        for (at, instruction) in self.0.iter().enumerate() {
            let mut text = String::new();
            formatter.format(instruction, &mut text);
            write!(f, "{}{text}", if at == 0 { " " } else { "; " })?;
        }
        Ok(())
    }
}

/// The byte that `docs/site-abi.md` calls the request, and distances from the site, which is decoded as if at 0.
struct Names;

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let is_request = instruction.segment_prefix() == Register::FS && instruction.memory_displacement64() == address;
        match () {
            () if is_request => Some(SymbolResult::with_str(address, "request")),
            () if instruction.is_jmp_short_or_near() || instruction.is_jcc_short_or_near() => {
                Some(SymbolResult::with_str(0, "site"))
            }
            () => None,
        }
    }
}
