//! Which function an address lies in.

use crate::elf::Headers;
use crate::image::{self, Image};
use crate::text::{clean, lossy};
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_FUNC, Symtab};
use memmap2::MmapMut;
use serde::Serialize;
use std::ffi::CStr;
use std::fmt;

/// The functions of one file, in the order of their addresses.
#[derive(Default)]
pub struct Symbols {
    functions: Vec<Function>,
    /// The file's table of names.
    strings: Option<MmapMut>,
}

struct Function {
    start: u64,
    size: u64,
    /// Where its name stands in the table.
    name: usize,
}

/// A place in a function; for people, fit for a terminal.
#[derive(Debug, Serialize)]
pub struct Place {
    /// The function's name, demangled if it is Rust's.
    pub name: String,
    /// Distance from the function's start.
    pub offset: u64,
}

/// A name's length in bytes and, demangled, in characters, beyond which it is cut off.
const MOST_BYTES: usize = 4096;
const MOST_CHARACTERS: usize = 256;

impl Symbols {
    /// The functions in the file's symbol table, or in its dynamic one if it has been stripped of that. Whatever is
    /// unreadable names nothing.
    pub fn read(file: &dyn Image, headers: &Headers) -> Self {
        let sections = headers.sections(file);
        let table = |kind| {
            // More than one of a kind is not to be had, but in a file that wants to keep us busy.
            let section = sections.iter().find(|section| section.sh_type == kind)?;
            Self::of_table(file, headers, &sections, section)
        };
        table(SHT_SYMTAB).or_else(|| table(SHT_DYNSYM)).unwrap_or_default()
    }

    fn of_table(
        file: &dyn Image,
        headers: &Headers,
        sections: &[SectionHeader],
        table: &SectionHeader,
    ) -> Option<Self> {
        let strings = sections.get(table.sh_link as usize)?;
        let strings = image::copy(file, strings.sh_offset, strings.sh_size)?;
        let symbols = image::copy(file, table.sh_offset, table.sh_size)?;
        let count = symbols.len().checked_div(usize::try_from(table.sh_entsize).ok()?)?;
        let mut functions = Symtab::parse(&symbols, 0, count, headers.context)
            .ok()?
            .iter()
            .filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_shndx != 0 && symbol.st_name < strings.len())
            .map(|symbol| Function { start: symbol.st_value, size: symbol.st_size, name: symbol.st_name })
            .collect::<Vec<_>>();
        functions.sort_by_key(|function| function.start);
        (!functions.is_empty()).then_some(Self { functions, strings: Some(strings) })
    }

    /// The function that this address of the file lies in.
    pub fn find(&self, address: u64) -> Option<Place> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let function = &self.functions[after.checked_sub(1)?];
        let offset = address - function.start;
        let name = self.strings.as_ref()?.get(function.name..)?;
        // Assembly code often gives no size.
        (offset < function.size || function.size == 0).then(|| Place { name: demangled(name), offset })
    }
}

/// A function's name, demangled if it is Rust's, cut off if it is very long.
pub(crate) fn demangled(name: &[u8]) -> String {
    let name = &name[..name.len().min(MOST_BYTES)];
    let name = lossy(CStr::from_bytes_until_nul(name).map_or(name, CStr::to_bytes));
    // The alternate form leaves out the hash.
    let mut text = format!("{:#}", rustc_demangle::demangle(&name));
    if let Some((end, _)) = text.char_indices().nth(MOST_CHARACTERS) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clean(&self.name))?;
        if self.offset > 0 { write!(f, "+{:#x}", self.offset) } else { Ok(()) }
    }
}
