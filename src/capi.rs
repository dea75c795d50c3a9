//! What libinvar (`capi/`) needs beside the Rust interface. Not part of it.
#![allow(unsafe_code)]

use crate::module;
use crate::report::{of, text::print};
use crate::sys::{self, File};
use crate::text::{Sink, Text};
use crate::{Verdict, profile, runtime, slice};

/// Decides and binds for the module whose outcome this is; `false` if there is none.
pub fn load(outcome: usize) -> bool {
    runtime::load_other(outcome)
}

/// The probe of the slice key.
pub fn probe_slice(verdict: &mut Verdict) {
    slice::probe(verdict);
}

/// In the place of a request at the site that called.
pub fn count_request(site: usize) {
    profile::entered(site);
}

/// In the place of its withdrawal.
pub fn count_withdrawal(site: usize) {
    profile::left(site);
}

/// Writes the report to a descriptor, which stays open; `false` if not all of it was taken.
pub fn report(descriptor: i32) -> bool {
    let Some(file) = File::duplicate(descriptor) else { return false };
    let mut out = Written { file, text: Text::new(), taken: true };
    module::each_in_turn(|module| print(&of(module), &mut out));
    out.flush();
    out.taken
}

/// Text on its way to a file.
struct Written {
    file: File,
    text: Text<1024>,
    taken: bool,
}

impl Sink for Written {
    fn put(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(256) {
            if self.text.as_bytes().len() + part.len() > 1024 {
                self.flush();
            }
            self.text.put(part);
        }
    }
}

impl Written {
    fn flush(&mut self) {
        self.taken = self.taken && sys::print(Some(&self.file), self.text.as_bytes());
        self.text = Text::new();
    }
}
