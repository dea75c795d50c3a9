//! What stands at a bound site, read from memory and disassembled.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use invar_bench::machine::each_site;
use std::fmt;

/// A site's instructions.
pub(crate) struct Form(pub(crate) Vec<Instruction>);

impl Form {
    /// The code of a key's first bound site of this kind; empty if there is none.
    pub(crate) fn of(key: &str, kind: invar::Kind) -> Self {
        let mut first = None;
        each_site(key, |site| first = first.or(Some(site).filter(|site| site.kind == kind)));
        let Some(site) = first else { return Self(Vec::new()) };
        // SAFETY: a site of this program's text is as long as it says.
        let code = unsafe { std::slice::from_raw_parts(site.address as *const u8, site.length as usize) };
        Self(Decoder::with_ip(64, code, site.address, DecoderOptions::NONE).iter().collect())
    }

    pub(crate) fn instructions(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Instruction::len).sum()
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.instructions() == 1 { "" } else { "s" };
        write!(f, "{} instruction{plural}, {} bytes: ", self.instructions(), self.bytes())?;
        let mut formatter = IntelFormatter::new();
        for (at, instruction) in self.0.iter().enumerate() {
            let mut text = String::new();
            formatter.format(instruction, &mut text);
            write!(f, "{}{text}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
