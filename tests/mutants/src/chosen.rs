
#[allow(unused_extern_crates)]
extern crate self as invar_abi;

/// Which change is chosen. Stands in the copy's `abi/lib.rs`, for `tests/mutate` alone.
#[allow(missing_docs, unsafe_code)]
#[doc(hidden)]
pub mod mutants {
    use core::ffi::{c_char, c_int, c_long, c_void};
    use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};

    // The ABI depends on nothing, also here: a lock file says so.
    unsafe extern "C" {
        fn getenv(name: *const c_char) -> *const c_char;
        fn atoi(text: *const c_char) -> c_int;
        fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        fn mmap(at: *mut c_void, length: usize, access: c_int, flags: c_int, file: c_int, from: c_long) -> *mut c_void;
        fn close(file: c_int) -> c_int;
    }

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
            let number = getenv(c"MUTANT".as_ptr());
            if !number.is_null() {
                CHOSEN.store(atoi(number) as u32, Relaxed);
            }
            let path = getenv(c"MUTANTS_SEEN".as_ptr());
            if !path.is_null() {
                // To be read and written, and closed by exec; shared.
                let file = open(path, 0o2000002);
                let memory = mmap(core::ptr::null_mut(), 65536, 3, 1, file, 0);
                if memory as isize != -1 {
                    SEEN.store(memory.cast(), Relaxed);
                }
                close(file);
            }
        }
    }

    /// No while something is compiled. So functions that are `const` can be changed as well, for their calls in a running program.
    #[inline(always)]
    pub const fn is(number: u32) -> bool {
        core::intrinsics::const_eval_select((number,), never, is_chosen)
    }

    const fn never(_: u32) -> bool {
        false
    }

    #[inline(never)]
    fn is_chosen(number: u32) -> bool {
        core::hint::black_box(&START);
        let seen = SEEN.load(Relaxed);
        if !seen.is_null() {
            // SAFETY: in the mapping.
            unsafe { seen.add(number as usize).write_volatile(1) };
        }
        CHOSEN.load(Relaxed) == number
    }
}
