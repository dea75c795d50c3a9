//! A library for hosts that call C functions, and for Java.

use std::ffi::c_void;

/// `static native long ask(int what)` of the class `Library`.
#[unsafe(no_mangle)]
pub extern "C" fn Java_Library_ask(_environment: *mut c_void, _class: *mut c_void, what: i32) -> i64 {
    hosted::hosted_ask(what as u32) as i64
}
