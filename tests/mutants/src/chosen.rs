/// Which change is chosen. Stands in the copy's `arch/lib.rs`, for `tests/mutants` alone.
#[allow(missing_docs, unsafe_code)]
#[doc(hidden)]
pub mod mutants {
    use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};

    static CHOSEN: AtomicU32 = AtomicU32::new(0);
    /// A byte for each change that was come by.
    static SEEN: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

    /// Before all other constructors; what runs earlier is as it was.
    #[used]
    #[unsafe(link_section = ".init_array.00001")]
    static START: extern "C" fn() = start;

    extern "C" fn start() {
        // SAFETY: strings of the environment, and memory that is never unmapped.
        unsafe {
            let number = libc::getenv(c"MUTANT".as_ptr());
            if !number.is_null() {
                CHOSEN.store(libc::atoi(number) as u32, Relaxed);
            }
            let path = libc::getenv(c"MUTANTS_SEEN".as_ptr());
            if !path.is_null() {
                let file = libc::open(path, libc::O_RDWR | libc::O_CLOEXEC);
                let memory = libc::mmap(core::ptr::null_mut(), 65536, 3, libc::MAP_SHARED, file, 0);
                if memory != libc::MAP_FAILED {
                    SEEN.store(memory.cast(), Relaxed);
                }
                libc::close(file);
            }
        }
    }

    #[inline(never)]
    pub fn is(number: u32) -> bool {
        core::hint::black_box(&START);
        let seen = SEEN.load(Relaxed);
        if !seen.is_null() {
            // SAFETY: in the mapping.
            unsafe { seen.add(number as usize).write_volatile(1) };
        }
        CHOSEN.load(Relaxed) == number
    }
}
