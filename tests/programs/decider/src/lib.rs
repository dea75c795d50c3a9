//! A library with a key that its program is deciding while this one is loaded.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

invar::key! {
    #[name = "shared.agreed"]
    static AGREED: bool = |evidence| {
        witness::probing("shared.agreed", "decider");
        evidence.text("library");
        let address: usize = std::env::var("DECIDERS_PROGRESS").unwrap().parse().unwrap();
        // SAFETY: the program's static, for which it gave the address.
        let progress = unsafe { &*(address as *const AtomicU32) };
        let _ = progress.compare_exchange(0, 1, SeqCst, SeqCst);
        while progress.load(SeqCst) != 2 {
            std::thread::yield_now();
        }
        Ok(true)
    };
}

/// Whether it is.
#[unsafe(no_mangle)]
pub extern "C" fn agreed() -> bool {
    invar::branch!(AGREED)
}
