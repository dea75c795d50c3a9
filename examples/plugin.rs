//! A program that opens a plugin (`plugin/`) with a key of its own, and sees it in the report.

use std::error::Error;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

invar::key! {
    /// A key of the program itself.
    static QUIET: bool = |_| Ok(std::env::var_os("QUIET").is_some());
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo leaves what an example depends on in the folder beside it.
    let folder = std::env::current_exe()?.with_file_name("../deps/libinvar_example_plugin.so");
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the library's constructor is the runtime's, and may run here.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        // SAFETY: dlopen has failed, and so there is a text.
        return Err(unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy().into());
    }
    // SAFETY: the library is open.
    let symbol = unsafe { libc::dlsym(library, c"plugin_twice".as_ptr()) };
    if symbol.is_null() {
        return Err("the plugin has no plugin_twice".into());
    }
    // SAFETY: the plugin's function has this type, and the library stays open.
    let twice = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(i32) -> i32>(symbol) };
    println!("{}", twice(21));

    if !invar::branch!(QUIET) {
        let of_plugin = |name: &str| name == "invar-example-plugin.negative";
        invar::report().modules(|module| {
            for key in module.keys().filter(|key| of_plugin(key.name())) {
                println!("{} = {}", key.name(), key.value());
            }
        });
    }
    Ok(())
}
