//! A program that loads libraries with sites, in the ways that its arguments ask for.
//!
//! ```text
//! host [--threads N] LIBRARY...         open each (RTLD_LOCAL), let it tell its story
//! host --silent LIBRARY...              open each
//! host --cycles N LIBRARY               open and close it N times, and count what is left behind
//! host --beside N LIBRARY               open and close it N times, while another thread looks at what is there
//! ```
//!
//! A library that it was linked against is opened once more, which gives what is loaded already.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;

invar::values! {
    pub enum Width { Narrow, Wide, Widest }
}
invar::key! {
    #[name = "shared.width"]
    static WIDTH: Width = |evidence| { witness::probing("shared.width", "host"); evidence.text("host's"); Ok(Width::Wide) };
}

invar::key! {
    /// Its probe loads a library that has a key of this name.
    #[name = "shared.reentered"]
    static REENTERED: bool = |evidence| {
        witness::probing("shared.reentered", "host");
        let Ok(library) = std::env::var("HOST_LOADS") else { return Ok(false) };
        let _stays_open = Library::open(&library);
        evidence.text("host's");
        Ok(true)
    };
}

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut number_of = |option: &str| -> Option<usize> {
        arguments.next_if(|argument| argument == option)?;
        Some(arguments.next()?.parse().expect("a number"))
    };
    let threads = number_of("--threads").unwrap_or(1);
    let cycles = number_of("--cycles");
    let beside = number_of("--beside");
    let silent = arguments.next_if(|argument| argument == "--silent").is_some();
    let libraries: Vec<String> = arguments.collect();

    if let Some(cycles) = cycles {
        return cycle(&libraries[0], cycles);
    }
    if let Some(cycles) = beside {
        return cycle_beside_who_looks(&libraries[0], cycles);
    }
    // They end with the process.
    for _ in 1..threads {
        std::thread::spawn(std::thread::park);
    }
    for library in &libraries {
        let library = Library::open(library);
        if silent {
            continue;
        }
        // SAFETY: that is the function's type in every library that the tests load.
        let story: extern "C" fn() = unsafe { std::mem::transmute(library.symbol(c"tell_story")) };
        story();
    }
    witness::chose("host: reentered", invar::branch!(REENTERED), &REENTERED);
    witness::chose("host: width", if invar::branch!(WIDTH == Width::Wide) { Width::Wide } else { WIDTH.get() }, &WIDTH);
    witness::tell();
}

/// A dlopened library, which stays open.
struct Library(*mut c_void);

impl Library {
    fn open(path: &str) -> Self {
        let path = CString::new(path).expect("a path");
        // SAFETY: runs the library's constructors, which is what is wanted.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{}", last_error());
        Self(handle)
    }

    fn symbol(&self, name: &CStr) -> *mut c_void {
        // SAFETY: an open handle, a string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!address.is_null(), "{}", last_error());
        address
    }

    fn close(self) {
        // SAFETY: an open handle, not used again.
        let result = unsafe { libc::dlclose(self.0) };
        assert_eq!(result, 0, "{}", last_error());
    }
}

fn last_error() -> String {
    // SAFETY: asked right after an error.
    let error: *const c_char = unsafe { libc::dlerror() };
    if error.is_null() {
        return "no error".into();
    }
    // SAFETY: dlerror's strings end in NUL.
    unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned()
}

/// Opens and closes the library again and again. What it takes is counted after a few rounds, when the loader
/// has what it keeps for itself, and at the end.
fn cycle(library: &str, cycles: usize) {
    const WARM: usize = 10;
    let mut before = None;
    for round in 0..WARM + cycles {
        if round == WARM {
            before = Some(held());
        }
        let open = Library::open(library);
        // SAFETY: that is the function's type.
        let work: extern "C" fn(u64) -> u64 = unsafe { std::mem::transmute(open.symbol(c"small_work")) };
        assert_eq!(work(20), 42);
        let mut found = 0;
        invar::report().modules(|module| {
            if !module.path().is_empty() {
                assert!(module.sites() > 0 && module.bound() == module.sites(), "round {round}: not bound");
                found += 1;
            }
        });
        assert_eq!(found, 1, "round {round}: the library is not found");
        open.close();
        invar::report().modules(|module| assert!(module.path().is_empty(), "round {round}: not unloaded"));
    }
    let after = held();
    let before = before.expect("more rounds than warm ones");
    println!("held\tmappings\t{}\t{}", before.0, after.0);
    println!("held\tdescriptors\t{}\t{}", before.1, after.1);
    println!("end");
}

/// Opens and closes the library again and again, while another thread reads all that a report has, and lets go of its time
/// in the middle.
fn cycle_beside_who_looks(library: &str, cycles: usize) {
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut looked, mut met) = (false, false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                invar::report().modules(|module| {
                    std::thread::yield_now();
                    let is_library = module.path().to_bytes() == library.as_bytes();
                    let named = module.keys().filter(|key| key.verdict().is_some() && key.name() == "small.quick");
                    met |= is_library && named.count() == 1 && module.bindings().count() == module.sites();
                });
                looked = true;
            }
        });
        for _ in 0..cycles {
            let open = Library::open(library);
            // SAFETY: that is the function's type.
            let work: extern "C" fn(u64) -> u64 = unsafe { std::mem::transmute(open.symbol(c"small_work")) };
            assert_eq!(work(20), 42);
            open.close();
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    let say = |truth| if truth { "yes" } else { "no" };
    println!("looked: {}, met: {}", say(looked), say(met));
}

/// How many mappings and descriptors this process has.
fn held() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the maps");
    let descriptors = std::fs::read_dir(Path::new("/proc/self/fd")).expect("the descriptors").count();
    (maps.lines().count(), descriptors)
}
