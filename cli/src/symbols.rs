//! Which function an address lies in.

use crate::elf::Headers;
use crate::text::clean;
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_FUNC, Symtab};
use serde::Serialize;
use std::ffi::CStr;
use std::fmt;

/// The functions of one file, in the order of their addresses.
#[derive(Default)]
pub struct Symbols<'a> {
    functions: Vec<Function<'a>>,
}

struct Function<'a> {
    start: u64,
    size: u64,
    /// The string table from the name on.
    name: &'a [u8],
}

/// A place in a function.
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

impl<'a> Symbols<'a> {
    /// The functions in the file's symbol table, or in its dynamic one if it has been stripped of that. Whatever is
    /// unreadable names nothing.
    pub fn read(file: &'a [u8], headers: &Headers) -> Self {
        let sections = headers.sections(file);
        let table = |kind| {
            let functions = |section| functions(file, headers, &sections, section);
            sections.iter().filter(|section| section.sh_type == kind).find_map(functions)
        };
        let mut functions = table(SHT_SYMTAB).or_else(|| table(SHT_DYNSYM)).unwrap_or_default();
        functions.sort_by_key(|function| function.start);
        Self { functions }
    }

    /// The function that this address of the file lies in.
    pub fn find(&self, address: u64) -> Option<Place> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let function = &self.functions[after.checked_sub(1)?];
        let offset = address - function.start;
        // Assembly code often gives no size.
        (offset < function.size || function.size == 0).then(|| Place { name: demangled(function.name), offset })
    }
}

fn functions<'a>(
    file: &'a [u8],
    headers: &Headers,
    sections: &[SectionHeader],
    table: &SectionHeader,
) -> Option<Vec<Function<'a>>> {
    let strings = content(file, sections.get(table.sh_link as usize)?)?;
    let symbols = content(file, table)?;
    let count = symbols.len().checked_div(usize::try_from(table.sh_entsize).ok()?)?;
    let functions = Symtab::parse(symbols, 0, count, headers.context)
        .ok()?
        .iter()
        .filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_shndx != 0)
        .filter_map(|symbol| {
            let name = strings.get(symbol.st_name..)?;
            Some(Function { start: symbol.st_value, size: symbol.st_size, name })
        })
        .collect::<Vec<_>>();
    (!functions.is_empty()).then_some(functions)
}

fn content<'a>(file: &'a [u8], section: &SectionHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(section.sh_offset).ok()?;
    file.get(start..start.checked_add(usize::try_from(section.sh_size).ok()?)?)
}

fn demangled(name: &[u8]) -> String {
    let name = &name[..name.len().min(MOST_BYTES)];
    let name = clean(CStr::from_bytes_until_nul(name).map_or(name, CStr::to_bytes));
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
        match self.offset {
            0 => f.write_str(&self.name),
            offset => write!(f, "{}+{offset:#x}", self.name),
        }
    }
}
