//! This process becomes the program: no parent stays, so that signals, the terminal and the exit status are the program's own.
#![allow(unsafe_code)] // execvpe, and questions to the kernel

use crate::inherited;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Replaces this process by the command, with these variables in its environment. Returns only why that failed.
pub fn replace(command: &[OsString], environment: &[(OsString, OsString)]) -> io::Error {
    let is_replaced = |entry: &CString| {
        let name = entry.as_bytes().split(|&byte| byte == b'=').next();
        environment.iter().any(|(new, _)| Some(new.as_bytes()) == name)
    };
    let entry = |(name, value): &(OsString, OsString)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat());
    let words = command.iter().map(|word| c_string(word.as_bytes())).collect::<io::Result<Vec<_>>>();
    let kept = own_environment().into_iter().filter(|entry| !is_replaced(entry)).map(Ok);
    let entries = kept.chain(environment.iter().map(entry)).collect::<io::Result<Vec<_>>>();
    let (words, entries) = match (words, entries) {
        (Ok(words), Ok(entries)) => (words, entries),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    let ended = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, envp) = (ended(&words), ended(&entries));
    inherited::restore();
    // SAFETY: both lists end in a null pointer, and their strings live until the end.
    unsafe { libc::execvpe(argv[0], argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// This process's environment as it is. std leaves out what has no `=`.
fn own_environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: a list of strings that ends in a null pointer, or none. This command has no other thread here, and changes no
    // variable of its own.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            entries.push(CStr::from_ptr(*entry).to_owned());
            entry = entry.add(1);
        }
    }
    entries
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}

/// Whether this process may execute the file, by the kernel's own answer: `execvp(3)` goes on to the next folder where it may not.
pub(super) fn may_execute(path: &Path) -> io::Result<()> {
    let path = c_string(path.as_os_str().as_bytes())?;
    // SAFETY: a string.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the file has capabilities (capabilities(7)), which raise the privileges of who runs it.
pub(super) fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = c_string(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: two strings, and no buffer: asks for the length.
    unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

/// How much of `struct rseq` this kernel knows (Linux 7.0, include/uapi/linux/auxvec.h); 0 if it does not say.
pub(super) fn rseq_feature_size() -> u64 {
    const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;
    // SAFETY: reads a table.
    unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE) }
}
