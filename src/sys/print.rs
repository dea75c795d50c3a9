//! Text for people.
#![allow(unsafe_code)]

use super::file::File;
use super::raw::{Errno, call, retry};
use super::signals::{SET_BYTES, Silence};
use crate::text::{Sink, Text};

/// Writes a line for people, in parts, to standard error.
#[cold]
#[inline(never)]
pub(crate) fn complain(parts: &[&[u8]]) {
    let mut line = Text::<1024>::new();
    line.put(b"invar: ");
    parts.iter().for_each(|part| (&mut line as &mut dyn Sink).plain(part));
    print(None, line.as_bytes());
    print(None, b"\n");
}

/// Writes all of `bytes` to the file, or to standard error; returns false if they are not taken. The process gets no
/// signal for that: it may have been started with a pipe that nobody reads, and it did not ask to write.
#[cold]
pub(crate) fn print(file: Option<&File>, mut bytes: &[u8]) -> bool {
    static SIGNALS: u64 = 1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGXFSZ - 1);
    static AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let descriptor = file.map_or(libc::STDERR_FILENO as usize, File::descriptor);
    let _silence = Silence::begin(&SIGNALS);
    while !bytes.is_empty() {
        // SAFETY: the kernel reads the bytes.
        match retry(|| unsafe { call(libc::SYS_write, [descriptor, bytes.as_ptr() as usize, bytes.len()]) }) {
            Ok(written) if written > 0 => bytes = &bytes[written.min(bytes.len())..],
            Err(Errno(libc::EPIPE | libc::EFBIG)) => {
                // The signal that this write brought.
                let args = [&raw const SIGNALS as usize, 0, &raw const AT_ONCE as usize, SET_BYTES];
                // SAFETY: the kernel reads a set and a time.
                let _ = unsafe { call(libc::SYS_rt_sigtimedwait, args) };
                break;
            }
            _ => break,
        }
    }
    bytes.is_empty()
}
