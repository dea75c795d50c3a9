//! Where nobody has written down how the loader binds symbols: they are ordinary functions.

/// The loader binds none.
pub const IFUNC: bool = false;

/// Emits an ordinary function with C linkage, which is `$ordinary`. Stands in a block of its own. The attribute `$export` is
/// `#[unsafe(no_mangle)]` as the program wrote it: the name must not be one that others have.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol {
    ([$($export:tt)+] $name:ident ($($argument:ident: $type:ty),*) $result:ty, $ifunc:expr, $resolve:path, $ordinary:path) => {
        $($export)+
        extern "C" fn $name($($argument: $type),*) -> $result {
            const _: () = ::core::assert!($ifunc == 0);
            $ordinary($($argument),*)
        }
    };
}

/// By which name callers in Rust link to it.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol_link_name {
    ($name:ident) => {
        ::core::stringify!($name)
    };
}

/// The address of a function.
#[doc(hidden)]
#[macro_export]
macro_rules! __address_of {
    ($function:path) => {
        $function as *const ()
    };
}
