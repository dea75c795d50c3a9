//! Symbols that the loader binds: `STT_GNU_IFUNC` of the System V ABI's GNU extensions, with the machine's `R_*_IRELATIVE`. Each
//! machine whose C library does so has this file as a face, beside its own `symbol`.

/// Whether the C library of this target binds them. glibc does (sysdeps/*/dl-irel.h), musl does not.
pub const IFUNC: bool = cfg!(target_env = "gnu");

/// Emits a symbol with C linkage: where `$ifunc`, a constant, is 1, one whose resolver is `$resolve`, else a function that goes
/// on to `$ordinary`. Stands in a block of its own.
///
/// The attribute `$export` is `#[unsafe(no_mangle)]` as the program wrote it: the name must not be one that others have. It has
/// rustc export the symbol, from a `cdylib` too; the type that rustc gives it yields to the one here (LLVM,
/// `MCELFStreamer.cpp`, `CombineSymbolTypes`). Callers in Rust go by [`__symbol_link_name!`](crate::__symbol_link_name): that
/// name is hidden, so that each module's is its own.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol {
    ([$($export:tt)+] $name:ident $arguments:tt $result:ty, $ifunc:expr, $resolve:path, $ordinary:path) => {
        #[unsafe(naked)]
        $($export)+
        extern "C" fn $name() {
            ::core::arch::naked_asm!(
                ::core::concat!(".globl ", $crate::__symbol_link_name!($name)),
                ::core::concat!(".hidden ", $crate::__symbol_link_name!($name)),
                ".if {ifunc}",
                ::core::concat!(".type ", ::core::stringify!($name), ", %gnu_indirect_function"),
                ::core::concat!(".type ", $crate::__symbol_link_name!($name), ", %gnu_indirect_function"),
                ".else",
                ::core::concat!(".type ", $crate::__symbol_link_name!($name), ", %function"),
                ".endif",
                ::core::concat!($crate::__symbol_link_name!($name), ":"),
                ".if {ifunc}",
                $crate::__symbol_goes_on!("{resolve}"),
                ".else",
                $crate::__symbol_goes_on!("{ordinary}"),
                ".endif",
                ifunc = const $ifunc,
                resolve = sym $resolve,
                ordinary = sym $ordinary,
            )
        }
    };
}

/// By which name callers in Rust link to it.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol_link_name {
    ($name:ident) => {
        ::core::concat!("__invar_symbol_", ::core::stringify!($name))
    };
}

/// The address of a function of this module's, by its distance: nothing that the loader would have to relocate first.
#[doc(hidden)]
#[macro_export]
macro_rules! __address_of {
    ($function:path) => {{
        let address: *const ();
        // SAFETY: computes an address.
        unsafe {
            ::core::arch::asm!(
                $crate::__address_code!(),
                address = out(reg) address,
                function = sym $function,
                options(nomem, nostack, preserves_flags, pure),
            )
        };
        address
    }};
}
