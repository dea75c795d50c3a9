//! How a symbol goes on to a function, and where one is.

/// The code of a symbol that goes on to a function, with all that it was given.
#[doc(hidden)]
#[macro_export]
macro_rules! __symbol_goes_on {
    ($function:literal) => {
        ::core::concat!("endbr64\njmp ", $function)
    };
}

/// The code that computes where `{function}` is, by its distance, into `{address}`.
#[doc(hidden)]
#[macro_export]
macro_rules! __address_code {
    () => {
        "lea {address}, [rip + {function}]"
    };
}
