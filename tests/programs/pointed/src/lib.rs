//! A shared library with pointers.

/// Tells the story of a library.
#[unsafe(no_mangle)]
pub extern "C" fn tell_story() {
    pointers::tell("library");
}

/// Twice the number, and two: by a pointer.
#[unsafe(no_mangle)]
pub extern "C" fn small_work(number: u64) -> u64 {
    pointers::BY_C(2 * number)
}
