//! Where nobody has written down how the loader binds symbols: they are ordinary functions.

/// The loader binds none.
pub const IFUNC: bool = false;

/// Emits an ordinary function with C linkage, which is `$ordinary`. Stands in a block of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol {
    ($name:ident ($($argument:ident: $type:ty),*) $result:ty, $ifunc:expr, $resolve:path, $ordinary:path) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            const _: () = assert!($ifunc == 0);
            // SAFETY: as the caller vouches.
            unsafe { $ordinary($($argument),*) }
        }
    };
}

/// By which name callers in Rust link to it.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol_link_name {
    ($name:ident) => {
        stringify!($name)
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
