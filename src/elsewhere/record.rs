//! How a key is found where there are no tables: its static leads to its declaration, and a constructor decides it.
#![allow(unsafe_code)] // of the macros

pub use crate::module::Declaration;
pub use invar_abi::KeyRecord;

/// Where a key's static has its declaration.
#[derive(Clone, Copy, Debug)]
pub struct Declared(pub(crate) Option<&'static Declaration>);

impl Declared {
    /// No macro has declared it.
    pub const NOT: Self = Self(None);

    /// It is this one.
    pub const fn by(declaration: &'static Declaration) -> Self {
        Self(Some(declaration))
    }
}

/// Declares a key beside its probe, and has a constructor decide it. The value is the key's [`Declared`].
#[doc(hidden)]
#[macro_export]
macro_rules! __declared {
    ($(@symbol)? $name:expr, $key:ident, $type:ty, $probe:ident, $flags:expr) => {{
        static __INVAR_NAMES: [u8; $crate::__private::names_length::<$type>($name)] =
            $crate::__private::names::<$type, { $crate::__private::names_length::<$type>($name) }>($name, $flags);
        static __INVAR_DECLARATION: $crate::__private::Declaration = $crate::__private::Declaration::new(
            &$key,
            &__INVAR_NAMES,
            <$type as $crate::Value>::NAMES.len() as u8,
            $probe,
            $flags,
        );
        extern "C" fn __invar_decide() {
            $crate::__private::load($crate::__private::Declared::by(&__INVAR_DECLARATION))
        }
        $crate::__constructor!(__invar_decide);
        $crate::__private::Declared::by(&__INVAR_DECLARATION)
    }};
}

/// Has a function called when the program or library is loaded.
///
/// What calls them goes by these sections: on ELF systems and for wasm `.init_array` (System V gABI, chapter 5; LLVM,
/// WasmObjectWriter.cpp), on Apple's `__mod_init_func` (loader.h, `S_MOD_INIT_FUNC_POINTERS`), on Windows `.CRT$XCU` ("CRT
/// initialization", learn.microsoft.com).
#[doc(hidden)]
#[macro_export]
macro_rules! __constructor {
    ($function:ident) => {
        const _: () = {
            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func,mod_init_funcs"))]
            #[cfg_attr(windows, unsafe(link_section = ".CRT$XCU"))]
            #[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = ".init_array"))]
            static __INVAR_CONSTRUCTOR: extern "C" fn() = $function;
        };
    };
}

/// Nothing, in an `unsafe` block: there are no tables.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_record {
    ($($all:tt)*) => {
        ()
    };
}

/// A pointer's static, or a table of them, in memory that can be written.
#[doc(hidden)]
#[macro_export]
macro_rules! __slots {
    ($($static:tt)*) => { $($static)* };
}

/// Has a slot of a pointer's static lead to `$target`, if `$number` is the value that the key's probe has chosen.
#[doc(hidden)]
#[macro_export]
macro_rules! __slot {
    ($verdict:ident, $static:ident, $offset:expr, ($($target:tt)+), $number:expr) => {
        if $verdict.value() == $number {
            // SAFETY: the slot is as large as a pointer, leads to functions of one type, and to one with CPU features only where its
            // key proves them.
            unsafe { $crate::__private::lead((&raw const $static).cast::<u8>().wrapping_add($offset), $($target)+ as *const ()) }
        }
    };
}
