//! Machines, by the numbers that ELF has for them (`e_machine`).

/// 32-bit x86.
pub const X86: u16 = 3;
/// 32-bit Arm.
pub const ARM: u16 = 40;
/// 64-bit x86.
pub const X86_64: u16 = 62;
/// 64-bit Arm.
pub const AARCH64: u16 = 183;
/// RISC-V, of 32 and of 64 bits.
pub const RISCV: u16 = 243;

/// What headers have for the machine of an ELF header: its number, or 0 if it is not listed here.
pub const fn number(machine: u16) -> u16 {
    if matches!(machine, X86 | ARM | X86_64 | AARCH64 | RISCV) { machine } else { 0 }
}

/// The machine that this is compiled for, as headers have it.
pub const HERE: u16 = if cfg!(target_arch = "x86_64") {
    X86_64
} else if cfg!(target_arch = "aarch64") {
    AARCH64
} else if cfg!(any(target_arch = "riscv64", target_arch = "riscv32")) {
    RISCV
} else if cfg!(target_arch = "x86") {
    X86
} else if cfg!(target_arch = "arm") {
    ARM
} else {
    0
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn machines_are_as_documented() {
        let known = [(X86, "x86"), (ARM, "Arm"), (X86_64, "x86-64"), (AARCH64, "AArch64"), (RISCV, "RISC-V")];
        let numbers = known.map(|(number, name)| std::format!("{number} {name}")).join(", ");
        let document = include_str!("../docs/site-abi.md");
        assert!(document.contains(&std::format!("`e_machine`: {numbers}; 0 for any other |")), "{numbers}");
        assert_eq!(known.map(|(machine, _)| number(machine)), known.map(|(number, _)| number));
        assert_eq!([0, 1, 63, u16::MAX].map(number), [0; 4]);
    }
}
