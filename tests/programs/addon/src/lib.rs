//! An addon for Node, by what of its interface (Node-API) is needed.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

type Callback = extern "C" fn(*mut c_void, *mut c_void) -> *mut c_void;

unsafe extern "C" {
    fn napi_create_function(
        environment: *mut c_void,
        name: *const c_char,
        length: usize,
        callback: Callback,
        data: *mut c_void,
        result: *mut *mut c_void,
    ) -> i32;
    fn napi_get_cb_info(
        environment: *mut c_void,
        info: *mut c_void,
        count: *mut usize,
        arguments: *mut *mut c_void,
        this: *mut *mut c_void,
        data: *mut *mut c_void,
    ) -> i32;
    fn napi_get_value_uint32(environment: *mut c_void, value: *mut c_void, result: *mut u32) -> i32;
    fn napi_create_double(environment: *mut c_void, value: f64, result: *mut *mut c_void) -> i32;
}

extern "C" fn ask(environment: *mut c_void, info: *mut c_void) -> *mut c_void {
    let (mut count, mut argument, mut what, mut result) = (1, null_mut(), u32::MAX, null_mut());
    // SAFETY: values of this call, and places for what is asked for.
    unsafe {
        assert_eq!(napi_get_cb_info(environment, info, &mut count, &mut argument, null_mut(), null_mut()), 0);
        assert_eq!(napi_get_value_uint32(environment, argument, &mut what), 0);
        assert_eq!(napi_create_double(environment, hosted::hosted_ask(what) as f64, &mut result), 0);
    }
    result
}

/// What the addon exports is the function.
#[unsafe(no_mangle)]
pub extern "C" fn napi_register_module_v1(environment: *mut c_void, _exports: *mut c_void) -> *mut c_void {
    let mut function = null_mut();
    // SAFETY: as Node-API wants it; the name ends in NUL.
    let result =
        unsafe { napi_create_function(environment, c"ask".as_ptr(), usize::MAX, ask, null_mut(), &mut function) };
    assert_eq!(result, 0);
    function
}
