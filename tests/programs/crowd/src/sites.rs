//! A program with a hundred sites on each of so many pages, half of which are bound to nops and half to jumps. It does nothing.

macro_rules! program {
    ($pages:literal) => {
        invar::key! {
            static ON: bool = |_| Ok(true);
        }

        core::arch::global_asm!(
            ".pushsection .text.sites, \"ax\", @progbits",
            ".set value, 0",
            concat!(".rept ", $pages),
            ".p2align 12, 0xcc",
            ".rept 100",
            "2: .byte 0x40",
            "cmp byte ptr [rip + {on}], value",
            "jne 4f",
            "3: .skip 15, 0x90",
            "4: .skip 15, 0x90",
            ".pushsection invar2_sites, \"aR\", @progbits",
            ".long 2b - ., 4b - ., {on} - .",
            ".byte 3b - 2b, 1, value, 0",
            ".popsection",
            ".set value, 1 - value",
            ".endr",
            ".endr",
            ".popsection",
            on = sym ON,
        );

        fn main() {}
    };
}
