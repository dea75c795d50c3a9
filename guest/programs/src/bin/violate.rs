//! `violate` breaks the protocol in a granted section: it sets the request again and makes a system call. Most kernels do
//! not mind; one that checks the protocol kills it.
#![forbid(unsafe_code)]

use invar_guest_programs::{Area, end_by_signals, say};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static OVER: AtomicBool = AtomicBool::new(false);

fn main() {
    end_by_signals();
    let rival = std::thread::spawn(|| {
        while !OVER.load(Relaxed) {
            std::hint::spin_loop();
        }
    });
    let area = Area::of_this_thread();
    let section = area.enter_granted();
    let granted = section.is_some();
    if granted {
        area.set_request();
        let _ = std::os::unix::process::parent_id();
    }
    drop(section);
    OVER.store(true, Relaxed);
    rival.join().expect("the rival");
    say("survived", granted);
}
