//! What a module writes when it is loaded, if a setting asks for it.

use super::copy::Copied;
use super::of;
use super::text::{print, print_others, print_sites};
use crate::module::Module;
use crate::settings;
use crate::sys::{self, File};
use crate::text::{Buffered, Sink, Text};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::outcome::said;

/// Writes one module's report to where `INVAR_REPORT` says.
#[cold]
pub(crate) fn write(module: &Module<'_>, destination: &CStr) {
    let mut file = if destination == c"stderr" { None } else { open(destination) };
    // What the file does not take, and all that follows, goes to standard error.
    let mut write = |text: &[u8]| {
        if !sys::print(file.as_ref(), text) && file.take().is_some() {
            complain(b"write to ", destination);
            sys::print(None, text);
        }
    };
    let mut out = Buffered::new(&mut write);
    match Copied::of(module) {
        Some(copied) => print(&of(&copied), &mut out),
        None => out.put(b"module: no memory for its report\n"),
    }
    if settings::is_first_to_say(said::OTHERS) {
        print_others(&mut out);
    }
    module.outcome.said.fetch_or(said::OTHERS, Relaxed);
    out.flush();
}

/// The file to append to; standard error where it cannot be opened.
#[cold]
fn open(destination: &CStr) -> Option<File> {
    let mut path = settings::expand(destination.to_bytes());
    path.put(b"\0");
    // A pipe that nobody reads is not waited for.
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY;
    match File::open(path.as_bytes(), flags) {
        Ok(file) => {
            file.wait_for_readers();
            Some(file)
        }
        Err(_) => {
            complain(b"open ", destination);
            None
        }
    }
}

#[cold]
fn complain(what: &[u8], destination: &CStr) {
    sys::complain(&[b"INVAR_REPORT: cannot ", what, destination.to_bytes(), b", reporting here"]);
}

/// Which site is the first that is not bound, and what stands there.
#[cold]
pub(crate) fn first_unbound(module: &Module<'_>) -> Text<256> {
    let mut text = Text::new();
    match Copied::of(module) {
        Some(copied) => print_sites(&of(&copied), true, &mut text),
        None => text.put(b"no memory to say which is not"),
    }
    text
}
