//! The headers of an ELF file, wherever they stand: in a file, or in the memory of a process that has loaded it.

use crate::image::{self, Image};
use goblin::container::{Container, Ctx};
use goblin::elf::header::{
    EI_CLASS, ELFCLASS32, ELFMAG, ET_CORE, ET_DYN, ET_EXEC, ET_REL, Header, SIZEOF_IDENT, header32, header64,
    machine_to_str,
};
use goblin::elf::program_header::{PF_X, PT_LOAD, ProgramHeader};
use goblin::elf::{Elf, SectionHeader};
use invar_abi::{forms, machine};

/// The ELF header and the program headers.
#[derive(Debug, PartialEq)]
pub struct Headers {
    header: Header,
    /// Class and byte order.
    pub context: Ctx,
    /// The program headers.
    pub program: Vec<ProgramHeader>,
}

/// Linux loads nothing whose program headers take more (`fs/binfmt_elf.c`, `load_elf_phdrs`).
const MOST_PROGRAM_HEADERS: usize = 65536;
/// A program with a section for each of its functions would have been linked in a strange way.
const MOST_SECTIONS: u64 = 1 << 20;

impl Headers {
    /// Reads the headers of the ELF file whose first byte stands at `start`.
    pub fn read(image: &dyn Image, start: u64) -> Result<Self, &'static str> {
        let mut bytes = [0; header64::SIZEOF_EHDR];
        if !image.read(start, &mut bytes[..4]) || &bytes[..4] != ELFMAG {
            return Err("not an ELF file");
        }
        if !image.read(start, &mut bytes[..SIZEOF_IDENT]) {
            return Err("the ELF header is cut off");
        }
        let size = if bytes[EI_CLASS] == ELFCLASS32 { header32::SIZEOF_EHDR } else { header64::SIZEOF_EHDR };
        if !image.read(start, &mut bytes[..size]) {
            return Err("the ELF header is cut off");
        }
        let header = Elf::parse_header(&bytes).map_err(|_| "the ELF header is of no known class or byte order")?;
        let (Ok(container), Ok(endianness)) = (header.container(), header.endianness()) else {
            return Err("the ELF header is of no known class or byte order");
        };
        let context = Ctx::new(container, endianness);
        let (count, size) = (usize::from(header.e_phnum), ProgramHeader::size(context));
        if count > 0 && usize::from(header.e_phentsize) != size || count * size > MOST_PROGRAM_HEADERS {
            return Err("the program headers have a size or number that no program has");
        }
        let mut table = vec![0; count * size];
        if !start.checked_add(header.e_phoff).is_some_and(|address| image.read(address, &mut table)) {
            return Err("the program headers do not lie in the file");
        }
        let program =
            ProgramHeader::parse(&table, 0, count, context).map_err(|_| "the program headers cannot be read")?;
        Ok(Self { header, context, program })
    }

    /// Reads the headers of a file that may be loaded.
    pub fn of_loadable(file: &dyn Image) -> Result<Self, &'static str> {
        let headers = Self::read(file, 0)?;
        headers.never_loaded().map_or(Ok(headers), Err)
    }

    /// Why no file of this type is loaded, if none is.
    fn never_loaded(&self) -> Option<&'static str> {
        match self.header.e_type {
            ET_EXEC | ET_DYN => None,
            ET_REL => Some("an object file, not linked yet: its sites have no addresses and no table"),
            ET_CORE => {
                Some("a core dump, whose modules are not looked at: list the program itself, or a running process")
            }
            _ => Some("neither a program nor a shared library, by the type in its ELF header"),
        }
    }

    /// What is loaded.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.program.iter().filter(|header| header.p_type == PT_LOAD)
    }

    /// What is loaded to be executed.
    pub fn text_segments(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.loads().filter(|header| header.p_flags & PF_X != 0)
    }

    /// The machine's usual name.
    pub fn machine(&self) -> String {
        match (self.header.e_machine, machine_to_str(self.header.e_machine)) {
            (machine::X86_64, _) => "x86-64".into(),
            (machine, "EM_UNKNOWN") => format!("machine {machine}"),
            (_, name) => name.to_lowercase(),
        }
    }

    /// The machine, by ELF's number.
    pub fn machine_number(&self) -> u16 {
        self.header.e_machine
    }

    /// Whose forms its sites have ([`invar_abi::forms`]); 0 for a machine of which nobody knows any.
    pub fn forms(&self) -> u16 {
        let is_wide = self.context.container == Container::Big && self.context.le.is_little();
        if is_wide && forms::are_known(self.header.e_machine) { self.header.e_machine } else { 0 }
    }

    /// The section headers of the file that these are the headers of; none if they are unusable.
    pub fn sections(&self, file: &dyn Image) -> Vec<SectionHeader> {
        let (offset, count) = (self.header.e_shoff, u64::from(self.header.e_shnum));
        // Where there are too many for this field, the first header says how many there are.
        let count =
            if count == 0 { self.section_table(file, offset, 1).map_or(0, |first| first[0].sh_size) } else { count };
        if offset == 0 || count == 0 {
            return Vec::new();
        }
        self.section_table(file, offset, count).unwrap_or_default()
    }

    fn section_table(&self, file: &dyn Image, offset: u64, count: u64) -> Option<Vec<SectionHeader>> {
        if count > MOST_SECTIONS {
            return None;
        }
        let table = image::copy(file, offset, count * SectionHeader::size(self.context) as u64)?;
        SectionHeader::parse_from(&table, 0, count as usize, self.context).ok()
    }
}
