//! A program whose probe has a thread open a library with a key of the same name, whose probe runs meanwhile. The environment
//! says which of the two ends first: `DECIDERS_FIRST` is `program` or `library`; or `asked`, as `library`, and the thread asks
//! for the program's key then.

use std::ffi::CString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;

/// What the library's probe and this program tell each other: 1, the library's probe has begun; 2, it may end.
static PROGRESS: AtomicU32 = AtomicU32::new(0);
static OPENING: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

invar::key! {
    #[name = "shared.agreed"]
    static AGREED: bool = |evidence| {
        witness::probing("shared.agreed", "deciders");
        evidence.text("program");
        let first = std::env::var("DECIDERS_FIRST").expect("who ends first");
        let library_first = first != "program";
        // SAFETY: no other thread is there that could look at the environment.
        unsafe { std::env::set_var("DECIDERS_PROGRESS", (&raw const PROGRESS as usize).to_string()) };
        if library_first {
            PROGRESS.store(2, SeqCst);
        }
        let opening = std::thread::spawn(move || {
            open();
            if first == "asked" {
                println!("result\ttold\t{}", AGREED.get());
            }
        });
        if library_first {
            opening.join().expect("a library that can be opened");
        } else {
            *OPENING.lock().unwrap() = Some(opening);
            while PROGRESS.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
        }
        Ok(false)
    };
}

fn open() {
    let path = CString::new(std::env::var("DECIDERS_LIBRARY").expect("a library")).expect("a path");
    // SAFETY: runs the library's constructors, which is what is wanted.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null());
}

fn main() {
    PROGRESS.store(2, SeqCst);
    if let Some(opening) = OPENING.lock().unwrap().take() {
        opening.join().expect("a library that can be opened");
    }
    witness::chose("program: agreed", invar::branch!(AGREED), &AGREED);
    witness::tell();
}
