//! How a key is found: by a record in its module's table.
#![allow(unsafe_code)]

use crate::key::state::{RawProbe, Verdict};
pub use invar_abi::KeyRecord;

/// What a key's static says of its declaration: nothing, since the key's record leads to the static.
#[derive(Clone, Copy, Debug)]
pub struct Declared;

impl Declared {
    /// No macro has declared it.
    pub const NOT: Self = Self;
}

/// Keeps a key linked with all that it needs: its probe, with the record in it, and the runtime.
#[derive(Debug)]
pub struct Keep(#[allow(dead_code)] RawProbe, #[allow(dead_code)] &'static Here);

impl Keep {
    /// For the key with this probe.
    pub const fn new(probe: extern "C" fn(&mut Verdict, &KeyRecord)) -> Self {
        // SAFETY: only its address is taken.
        Self(probe, unsafe { &HERE })
    }
}

/// A place in the runtime.
#[derive(Debug)]
#[repr(C)]
pub struct Here(u8);

unsafe extern "C" {
    /// Hidden (`module.rs`, `__key_record!`): a Rust `dylib` has a runtime for its own keys alone, and a program that
    /// uses such a library, and would have no other, is not linked. The linker's message shows the name.
    #[link_name = "invar2_is_to_be_linked_into_every_module_that_has_keys"]
    static HERE: Here;
}

/// Declares a key beside its probe, which holds its record: keeps both linked, and the runtime, unless the key is a symbol's. The
/// value is the key's [`Declared`].
#[doc(hidden)]
#[macro_export]
macro_rules! __declared {
    (@symbol $name:expr, $key:ident, $type:ty, $probe:ident, $flags:expr) => {{
        #[used]
        static __INVAR_KEEP: $crate::__private::RawProbe = $probe;
        $crate::__private::Declared
    }};
    ($name:expr, $key:ident, $type:ty, $probe:ident, $flags:expr) => {{
        #[used]
        static __INVAR_KEEP: $crate::__private::Keep = $crate::__private::Keep::new($probe);
        $crate::__private::Declared
    }};
}

/// Emits a key's record. Stands in its probe, since only an `asm!` in a function can name what this block
/// declares; the probe is compiled exactly once, being reached by its address alone.
///
/// Stands in an `unsafe` block: the runtime will call the probe, and bind by what it says.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_record {
    ($name:expr, $key:ident, $type:ty, $probe:ident, $flags:expr) => {{
        static __INVAR_NAMES: [u8; $crate::__private::names_length::<$type>($name)] =
            $crate::__private::names::<$type, { $crate::__private::names_length::<$type>($name) }>($name, $flags);
        const { $crate::__private::is_key(&raw const $key) };
        let _: $crate::__private::RawProbe = $probe;
        ::core::arch::asm!(
            ".pushsection invar2_keys, \"aR\", %progbits",
            ".balign 4",
            ".long {state} - ., {names} - ., {probe} - .",
            ".short {length}",
            ".byte {values}, {flags}",
            ".popsection",
            $crate::__private::__protected!("{state}"),
            ".hidden {names}",
            ".hidden {probe}",
            ".hidden invar2_is_to_be_linked_into_every_module_that_has_keys",
            state = sym $key,
            names = sym __INVAR_NAMES,
            probe = sym $probe,
            length = const __INVAR_NAMES.len(),
            values = const <$type as $crate::Value>::NAMES.len(),
            flags = const $flags,
            options(nomem, nostack, preserves_flags),
        );
    }};
}

/// Puts a pointer's static, or a table of them, where memory is read-only once it is relocated.
#[doc(hidden)]
#[macro_export]
macro_rules! __slots {
    ($($static:tt)*) => {
        #[unsafe(link_section = ".data.rel.ro.invar_pointers")]
        $($static)*
    };
}

/// Emits the record of a slot of a pointer's static, for one value of its key: kind 4 of docs/site-abi.md. Stands in the key's probe.
#[doc(hidden)]
#[macro_export]
macro_rules! __slot {
    ($verdict:ident, $static:ident, $offset:expr, ($($target:tt)+), $number:expr) => {
        // SAFETY: no instruction, only data. The slot is as large as a pointer, leads to functions of one type, and to one with CPU
        // features only where its key proves them.
        unsafe {
            ::core::arch::asm!(
                ".pushsection invar2_sites, \"ao?\", %progbits, {probe}",
                ".balign 4",
                ".long {slot} + {offset} - ., {target} - ., {state} - .",
                ".byte {length}, 4, {number}, 0",
                ".popsection",
                $crate::__private::__protected!("{slot}"),
                probe = sym __invar_probe,
                slot = sym $static,
                offset = const $offset,
                target = sym $($target)+,
                state = sym __INVAR_KEY,
                length = const ::core::mem::size_of::<usize>(),
                number = const $number,
                options(nomem, nostack, preserves_flags),
            )
        };
    };
}
