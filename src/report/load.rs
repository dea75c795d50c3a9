//! What a module writes when it is loaded, if a setting asks for it.

use super::of;
use super::text::print;
use crate::module::Module;
use crate::settings::SETTINGS;
use crate::sys::{self, File};
use crate::text::{Sink, Text};
use core::ffi::CStr;

/// Writes one module's report to where `INVAR_REPORT` says.
#[cold]
pub(crate) fn write(module: &Module<'_>, destination: &CStr) {
    struct Buffered {
        file: Option<File>,
        text: Text<1024>,
    }
    impl Sink for Buffered {
        #[cold]
        fn put(&mut self, bytes: &[u8]) {
            for part in bytes.chunks(256) {
                if self.text.as_bytes().len() + part.len() > 1024 {
                    self.flush();
                }
                self.text.put(part);
            }
        }
    }
    impl Buffered {
        #[cold]
        fn flush(&mut self) {
            sys::print(self.file.as_ref(), self.text.as_bytes());
            self.text = Text::new();
        }
    }
    let mut out = Buffered { file: open(destination), text: Text::new() };
    print(&of(module), &mut out);
    out.flush();
}

/// The file to append to; standard error where it is asked for, or where the file cannot be opened.
#[cold]
fn open(destination: &CStr) -> Option<File> {
    if destination == c"stderr" {
        return None;
    }
    let mut path = Text::<1024>::new();
    let mut bytes = destination.to_bytes_with_nul().iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' && bytes.as_slice().first() == Some(&b'p') {
            bytes.next();
            path.number(sys::process_id() as i64);
        } else {
            path.put(&[byte]);
        }
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    let opened = File::open(path.as_bytes(), flags).ok();
    if opened.is_none() {
        let mut text = Text::<512>::new();
        text.text("invar: INVAR_REPORT: cannot open ").put(destination.to_bytes());
        text.text(", reporting here\n");
        sys::print(None, text.as_bytes());
    }
    opened
}

/// Prints the settings table.
#[cold]
pub(crate) fn help() {
    let mut text = Text::<2048>::new();
    for (name, values, meaning) in SETTINGS {
        text.text(name).text("=").text(values).text("\n    ").text(meaning).text("\n");
    }
    sys::print(None, text.as_bytes());
}
