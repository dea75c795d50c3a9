//! What a library in somebody else's process does, for the tests of hosts: it has sites of every kind in many functions. Threads of
//! its own execute them from before it is bound until it is told to end. tests/programs/c/hosted.c does the same in C.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

invar::values! { pub enum Width { Narrow, Wide } }
invar::key! { #[name = "hosted.on"] static ON: bool = |_| Ok(true); }
invar::key! { #[name = "hosted.off"] static OFF: bool = |_| Ok(false); }
invar::key! { #[name = "hosted.width"] static WIDTH: Width = |_| Ok(Width::Wide); }
invar::key! {
    /// Every module probes it, as it proves something. Threads execute sites meanwhile.
    #[name = "hosted.proved"]
    #[requires("sse3")]
    static PROVED: bool = |_| {
        for turns in &TURNS {
            let before = turns.load(SeqCst);
            while turns.load(SeqCst) < before + 2 {
                std::thread::yield_now();
            }
        }
        BEFORE_BINDING.store(turns(), SeqCst);
        Ok(true)
    };
}

invar::dispatch! {
    fn by_width() -> u8 { WIDTH == Width::Wide => wide, _ => narrow }
}

fn wide() -> u8 {
    4
}

fn narrow() -> u8 {
    0
}

/// What a function sees once the keys are decided. Before that each of these bits may be missing, but for a thread that has seen it.
const SETTLED: u8 = 1 | 2 | 4 | 8;

/// One of many functions with the same sites at other places.
#[inline(never)]
fn look<const AT: u64>(sections: &mut u64) -> u8 {
    let mut seen = by_width();
    {
        let _slice = invar::timeslice::enter();
        *sections += AT;
    }
    if invar::branch!(ON) {
        seen |= 1;
    }
    if invar::branch!(OFF) {
        seen |= 128;
    }
    if invar::branch!(WIDTH == Width::Wide) {
        seen |= 2;
    }
    if invar::branch!(PROVED) {
        seen |= 8;
    }
    seen
}

macro_rules! functions {
    ($($at:literal)*) => {
        [$(look::<$at>, look::<{ 100 + $at }>, look::<{ 200 + $at }>, look::<{ 300 + $at }>, look::<{ 400 + $at }>),*]
    };
}

static FUNCTIONS: [fn(&mut u64) -> u8; 100] = functions!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);

/// What all functions count together.
const SECTIONS: u64 = 5 * 190 + 20 * 1000;

/// Executes all functions once. Returns how much was wrong, for who has `seen` this before.
fn turn(seen: &mut u8) -> u64 {
    // Before any of the sites is executed: none goes back behind this.
    let settled = IS_LOADED.load(SeqCst);
    let (mut wrong, mut sections) = (0, 0);
    for function in &FUNCTIONS {
        let now = function(&mut sections);
        let is_known = now & !SETTLED == 0 && *seen & !now == 0;
        wrong += u64::from(!is_known || settled && now != SETTLED);
        *seen = now;
    }
    wrong + u64::from(sections != SECTIONS) + u64::from(request() != 0)
}

/// This thread's request byte, outside of all critical sections.
fn request() -> u8 {
    unsafe extern "C" {
        static __rseq_offset: isize;
        static __rseq_size: u32;
    }
    let byte: u8;
    // SAFETY: libc's area lies there in every thread, and its numbers do not change.
    unsafe {
        if __rseq_size == 0 {
            return 0;
        }
        std::arch::asm!("mov {}, fs:[{}]", out(reg_byte) byte, in(reg) __rseq_offset + 28, options(nostack, readonly));
    }
    byte
}

const THREADS: usize = 2;
static HANDLES: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];
static TURNS: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];
static WRONG: AtomicU64 = AtomicU64::new(0);
static IS_LOADED: AtomicBool = AtomicBool::new(false);
static IS_OVER: AtomicBool = AtomicBool::new(false);
/// Turns of all threads, when the last key was decided and when the library was loaded.
static BEFORE_BINDING: AtomicU64 = AtomicU64::new(0);
static AT_LOAD: AtomicU64 = AtomicU64::new(0);

fn turns() -> u64 {
    TURNS.iter().map(|turns| turns.load(SeqCst)).sum()
}

extern "C" fn work(turns: *mut c_void) -> *mut c_void {
    // SAFETY: one of the numbers above.
    let turns = unsafe { &*turns.cast::<AtomicU64>() };
    let mut seen = 0;
    while !IS_OVER.load(SeqCst) {
        WRONG.fetch_add(turn(&mut seen), SeqCst);
        turns.fetch_add(1, SeqCst);
    }
    null_mut()
}

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Starts the threads, and has the host execute the sites too if it wants to.
extern "C" fn begin(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    for (handle, turns) in HANDLES.iter().zip(&TURNS) {
        let mut thread = 0;
        // SAFETY: as pthread_create(3) wants it. Threads of the standard library could wait for the loader.
        let result =
            unsafe { libc::pthread_create(&mut thread, null_mut(), work, (&raw const *turns).cast_mut().cast()) };
        assert_eq!(result, 0);
        handle.store(thread as usize, SeqCst);
    }
    while TURNS.iter().any(|turns| turns.load(SeqCst) == 0) {
        std::thread::yield_now();
    }
    meet(Some(check));
}

extern "C" fn loaded(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    AT_LOAD.store(turns(), SeqCst);
    IS_LOADED.store(true, SeqCst);
}

#[used]
#[unsafe(link_section = ".init_array.00001")]
static BEFORE_THE_RUNTIME: Constructor = begin;

#[used]
#[unsafe(link_section = ".init_array")]
static AFTER_THE_RUNTIME: Constructor = loaded;

/// For signal handlers and children: from nothing, and at any time.
extern "C" fn check() -> u64 {
    turn(&mut 0)
}

/// Tells a host that has such a function what it may execute, or that it no longer may.
fn meet(check: Option<extern "C" fn() -> u64>) {
    // SAFETY: the host's function has this type.
    unsafe {
        let function = libc::dlsym(libc::RTLD_DEFAULT, c"host_meets".as_ptr());
        if !function.is_null() {
            let meets: extern "C" fn(Option<extern "C" fn() -> u64>) = std::mem::transmute(function);
            meets(check);
        }
    }
}

/// Ends the threads.
fn end() -> u64 {
    meet(None);
    IS_OVER.store(true, SeqCst);
    for handle in &HANDLES {
        let thread = handle.swap(0, SeqCst);
        // SAFETY: a thread of ours, which was not joined yet.
        assert!(thread == 0 || unsafe { libc::pthread_join(thread as libc::pthread_t, null_mut()) } == 0);
    }
    WRONG.load(SeqCst)
}

/// This library among the modules: how many sites it has, and how many are bound.
fn sites() -> [u64; 2] {
    let mut found = [0; 2];
    // SAFETY: an address of this library; the structure is filled in.
    let base = unsafe {
        let mut info = std::mem::zeroed();
        assert_ne!(libc::dladdr((&raw const FUNCTIONS).cast(), &mut info), 0);
        info.dli_fbase as usize
    };
    invar::report().modules(|module| {
        if module.base() == base {
            found = [module.sites(), module.bound()].map(|number| number as u64);
        }
    });
    found
}

/// What a host can ask, by a number:
///
/// | | |
/// |---|---|
/// | 0 | executes each site, and says how much was wrong |
/// | 1, 2 | how many sites there are, and how many of them are bound |
/// | 3 | how often the threads went through all sites while the library was bound, its keys being decided |
/// | 4 | ends the threads, and says how much was wrong for any of them |
/// | 5 | prints all that is known of the process, for `tests/common` |
#[unsafe(no_mangle)]
pub extern "C" fn hosted_ask(what: u32) -> u64 {
    match what {
        0 => turn(&mut 0),
        1 => sites()[0],
        2 => sites()[1],
        3 => AT_LOAD.load(SeqCst) - BEFORE_BINDING.load(SeqCst),
        4 => end(),
        5 => {
            // Node has made it one that does not wait.
            // SAFETY: numbers.
            unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_SETFL, 0) };
            witness::tell();
            0
        }
        _ => u64::MAX,
    }
}
