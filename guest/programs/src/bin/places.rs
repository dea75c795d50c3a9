//! `places` says how it was bound, whether its sites do what they should, and whether it can write through `/proc/self/mem` to memory
//! that is read-only.
#![allow(unsafe_code)]

use invar_guest_programs::say;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

invar::key! { static ON: bool = |_| Ok(true); }
invar::key! { static OFF: bool = |_| Ok(false); }

#[inline(never)]
fn first(x: u64) -> u64 {
    if invar::branch!(ON) { x + 1 } else { x + 1000 }
}

#[inline(never)]
fn second(x: u64) -> u64 {
    if invar::branch!(OFF) { x + 1000 } else { x + 2 }
}

fn main() {
    say("right", first(black_box(1)) == 2 && second(black_box(1)) == 3);
    say("forced", forced());
    invar::report().modules(|module| {
        let writers: Vec<_> = module.writers().map(|writer| writer.name()).collect();
        say("sites", module.sites());
        say("bound", module.bound());
        say("writers", writers.join("+"));
        say("reason", module.reason().map_or("none", |reason| reason.describe()));
        say("detail", module.reason().and_then(|reason| reason.detail()).unwrap_or(0));
    });
}

fn forced() -> bool {
    let page = 4096;
    // SAFETY: a new mapping, which nobody else knows.
    let memory = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), page, libc::PROT_READ, flags, -1, 0)
    };
    assert_ne!(memory, libc::MAP_FAILED);
    let file = std::fs::OpenOptions::new().write(true).open("/proc/self/mem");
    let written = file.and_then(|file| file.write_at(b"1", memory as u64));
    // SAFETY: the page can be read.
    let byte = unsafe { memory.cast::<u8>().read_volatile() };
    assert_eq!(written.is_ok(), byte == b'1');
    written.is_ok()
}
