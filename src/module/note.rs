//! What this module says of itself: its header, by which it knows itself, and the note that leads others to it.
#![allow(unsafe_code)]

use super::outcome::{OUTCOME, Outcome};
use invar_abi as abi;
use invar_abi::Header;

/// The address that a header has in 64 bits: of so many words the one that is not 0 stands first, or last.
#[cfg(target_pointer_width = "64")]
macro_rules! address {
    () => {
        ".quad {code}"
    };
}
#[cfg(all(target_pointer_width = "32", target_endian = "little"))]
macro_rules! address {
    () => {
        ".long {code}, 0"
    };
}
#[cfg(all(target_pointer_width = "32", target_endian = "big"))]
macro_rules! address {
    () => {
        ".long 0, {code}"
    };
}

// The boundaries are weak so that a linker that drops the sections still links, and hidden so that each module has its own.
// One header is kept of all in a link, from C as well: they are a group.
core::arch::global_asm!(
    ".ifndef invar2_module",
    ".weak __start_invar2_sites",
    ".weak __stop_invar2_sites",
    ".weak __start_invar2_keys",
    ".weak __stop_invar2_keys",
    ".weak __ehdr_start",
    ".hidden __start_invar2_sites",
    ".hidden __stop_invar2_sites",
    ".hidden __start_invar2_keys",
    ".hidden __stop_invar2_keys",
    ".hidden __ehdr_start",
    ".pushsection .data.rel.ro.invar2_module, \"awG\", %progbits, invar2_module, comdat",
    ".balign {alignment}",
    ".weak invar2_module",
    ".hidden invar2_module",
    ".type invar2_module, %object",
    ".size invar2_module, {length}",
    "invar2_module:",
    ".byte {m0}, {m1}, {m2}, {m3}, {m4}, {m5}, {m6}, {m7}",
    ".long {version}",
    ".short {length}, {machine}",
    ".long 0",
    ".long __start_invar2_sites - ., __stop_invar2_sites - .",
    ".long __start_invar2_keys - ., __stop_invar2_keys - .",
    ".long {outcome} - ., __ehdr_start - ., {code} - .",
    address!(),
    ".popsection",
    ".endif",
    alignment = const abi::header::ALIGNMENT,
    m0 = const abi::header::MAGIC[0],
    m1 = const abi::header::MAGIC[1],
    m2 = const abi::header::MAGIC[2],
    m3 = const abi::header::MAGIC[3],
    m4 = const abi::header::MAGIC[4],
    m5 = const abi::header::MAGIC[5],
    m6 = const abi::header::MAGIC[6],
    m7 = const abi::header::MAGIC[7],
    version = const abi::VERSION,
    length = const Header::LENGTH,
    machine = const abi::machine::HERE,
    outcome = sym OUTCOME,
    code = sym note,
);

unsafe extern "C" {
    #[link_name = "invar2_module"]
    pub(super) safe static OWN: Header;
}

/// Emits this module's note, and returns its outcome. Called from the constructor, so that it is linked wherever that is.
#[inline(never)]
pub(crate) fn note() -> &'static Outcome {
    // SAFETY: no instruction, only data in other sections. The empty sections make the linker define the
    // boundary symbols.
    unsafe {
        core::arch::asm!(
            ".ifndef .Linvar_note",
            ".set .Linvar_note, .",
            ".endif",
            ".pushsection invar2_sites, \"ao\", %progbits, .Linvar_note",
            ".popsection",
            ".pushsection invar2_keys, \"aR\", %progbits",
            ".popsection",
            ".pushsection .note.invar, \"aR\", %note",
            ".balign 4",
            ".long {owner}, {descriptor}, {version}",
            ".asciz \"invar\"",
            ".balign 4",
            ".long {header} - ., 0",
            ".popsection",
            owner = const abi::note::OWNER.len(),
            descriptor = const abi::note::DESCRIPTOR,
            version = const abi::VERSION,
            header = sym OWN,
            options(nomem, nostack, preserves_flags),
        );
    }
    &OUTCOME
}

/// Where this module's header is.
pub(crate) fn own_header() -> usize {
    &raw const OWN as usize
}

/// Where the linker says that its ELF header is.
pub(super) fn own_elf_header() -> usize {
    OWN.elf_header.here()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{SITE_ABI, assert_layout, fields, table};

    #[test]
    fn notes_and_headers_are_as_documented() {
        let version = std::format!("owner `invar` (name size {}), **type {}", abi::note::OWNER.len(), abi::VERSION);
        assert!(SITE_ABI.contains(&version));
        assert!(SITE_ABI.contains(&std::format!("descriptor of {} bytes", abi::note::DESCRIPTOR)));
        let offsets: std::vec::Vec<usize> =
            table(SITE_ABI, "## The note").iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(offsets, [0, 4]);

        let header = fields!(Header: magic version length machine flags sites_start sites_stop keys_start keys_stop
            outcome elf_header code address);
        assert_layout(SITE_ABI, "## The module header", &header, Header::LENGTH);
        let magic: std::vec::Vec<_> = abi::header::MAGIC.iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert!(SITE_ABI.contains(&std::format!("`{}`", magic.join(" "))));
    }

    #[test]
    fn this_programs_header_can_be_used() {
        assert_eq!(OWN.check(abi::machine::HERE), Ok(()));
        assert!(!OWN.is_rewritten());
        assert_eq!(OWN.outcome.here(), &raw const OUTCOME as usize);
    }
}
