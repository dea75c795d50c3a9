//! `threads [LIBRARY]` starts threads in every way that libc has, and says what came of them: a name, a tab, a value.
//! `threads --only NUMBER` starts so many one after the other, in a way that leaves nothing to chance.

use std::ffi::{CString, c_int, c_ulong, c_void};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::{mem, ptr, thread};

fn say(name: &str, value: impl std::fmt::Display) {
    println!("{name}\t{value}");
}

fn main() {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--only") {
        return only(std::env::args().nth(2).and_then(|number| number.parse().ok()).expect("a number"));
    }
    // Keeps the runtime, with whatever features it has.
    say("time slice key", invar::timeslice::SLICE.get());
    #[cfg(feature = "hook")]
    say("hook in front", invar::timeslice::hook_is_in_front());
    say("std::thread", (0..100).map(|at| thread::spawn(move || at)).map(|it| it.join().unwrap()).sum::<u32>());
    say("pthread_create", pthread_create(ptr::null(), value));
    say("thrd_create", c11(5));
    say("pthread_exit", pthread_create(ptr::null(), exit));
    say("pthread_cancel", cancelled());
    say("smallest stack", small_stack());
    say("detached", detached());
    say("refused", refused());
    say("errno", errno());
    say("at once", at_once());
    if let Some(library) = std::env::args().nth(1) {
        from_a_library(&library);
    }
}

type Routine = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C" {
    #[link_name = "pthread_create"]
    fn create(thread: *mut c_ulong, attributes: *const c_void, start: Routine, argument: *mut c_void) -> c_int;
    fn pthread_exit(value: *mut c_void) -> !;
    fn pthread_cancel(thread: c_ulong) -> c_int;
    fn thrd_create(thread: *mut c_ulong, start: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> c_int;
    fn thrd_join(thread: c_ulong, result: *mut c_int) -> c_int;
}

const ARGUMENT: usize = 0x1234_5678_9abc_def0;

extern "C-unwind" fn value(argument: *mut c_void) -> *mut c_void {
    ptr::without_provenance_mut(argument.addr() ^ 1)
}

extern "C-unwind" fn exit(argument: *mut c_void) -> *mut c_void {
    // SAFETY: no destructor is pending.
    unsafe { pthread_exit(value(argument)) }
}

fn joined(thread: c_ulong) -> *mut c_void {
    let mut result = ptr::null_mut();
    // SAFETY: a thread that was not joined yet.
    assert_eq!(unsafe { libc::pthread_join(thread, &mut result) }, 0);
    result
}

fn pthread_create(attributes: *const c_void, routine: Routine) -> bool {
    let mut thread = 0;
    // SAFETY: as pthread_create(3) wants it.
    assert_eq!(unsafe { create(&mut thread, attributes, routine, ptr::without_provenance_mut(ARGUMENT)) }, 0);
    joined(thread).addr() == ARGUMENT ^ 1
}

fn c11(argument: usize) -> c_int {
    extern "C" fn start(argument: *mut c_void) -> c_int {
        -(argument.addr() as c_int)
    }
    let (mut thread, mut result) = (0, 0);
    // SAFETY: as the standard wants it.
    unsafe {
        assert_eq!(thrd_create(&mut thread, start, ptr::without_provenance_mut(argument)), 0);
        assert_eq!(thrd_join(thread, &mut result), 0);
    }
    result
}

fn cancelled() -> bool {
    extern "C-unwind" fn wait(_: *mut c_void) -> *mut c_void {
        unsafe extern "C-unwind" {
            fn pause() -> c_int;
        }
        loop {
            // SAFETY: waits for signals; a cancellation point.
            unsafe { pause() };
        }
    }
    let mut thread = 0;
    // SAFETY: as their manual pages want it.
    unsafe {
        assert_eq!(create(&mut thread, ptr::null(), wait, ptr::null_mut()), 0);
        assert_eq!(pthread_cancel(thread), 0);
    }
    // PTHREAD_CANCELED
    joined(thread).addr() == usize::MAX
}

fn with_attributes<T>(set: impl FnOnce(*mut libc::pthread_attr_t), run: impl FnOnce(*const c_void) -> T) -> T {
    // SAFETY: initialised before anything else, and destroyed once.
    unsafe {
        let mut attributes = mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
        set(&mut attributes);
        let result = run((&raw const attributes).cast());
        libc::pthread_attr_destroy(&mut attributes);
        result
    }
}

fn small_stack() -> bool {
    // SAFETY: attributes that were initialised.
    let set =
        |attributes| assert_eq!(unsafe { libc::pthread_attr_setstacksize(attributes, libc::PTHREAD_STACK_MIN) }, 0);
    with_attributes(set, |attributes| pthread_create(attributes, value))
}

static DONE: AtomicU32 = AtomicU32::new(0);

extern "C-unwind" fn count(_: *mut c_void) -> *mut c_void {
    DONE.fetch_add(1, SeqCst);
    ptr::null_mut()
}

/// On stacks that libc neither makes nor unmakes, and waited for without a system call.
fn only(number: u32) {
    unsafe extern "C" {
        // glibc, and musl too.
        fn pthread_tryjoin_np(thread: c_ulong, result: *mut *mut c_void) -> c_int;
    }
    const STACK: usize = 1 << 16;
    let mut stacks = vec![0_u8; (number as usize + 1) * STACK];
    let first = stacks.as_mut_ptr().wrapping_add(STACK - stacks.as_ptr().addr() % STACK);
    for at in 0..number {
        let stack = first.wrapping_add(at as usize * STACK).cast();
        // SAFETY: attributes that were initialised; memory that outlives the thread.
        let set = |attributes| assert_eq!(unsafe { libc::pthread_attr_setstack(attributes, stack, STACK) }, 0);
        let mut thread = 0;
        // SAFETY: as pthread_create(3) wants it.
        let create = |attributes| unsafe { create(&mut thread, attributes, count, ptr::null_mut()) };
        assert_eq!(with_attributes(set, create), 0);
        // SAFETY: a thread that was not joined yet; the kernel has taken its number back once it is gone.
        while unsafe { pthread_tryjoin_np(thread, ptr::null_mut()) } == libc::EBUSY {
            std::hint::spin_loop();
        }
    }
}

fn detached() -> u32 {
    // SAFETY: attributes that were initialised.
    let set = |attributes| {
        assert_eq!(unsafe { libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED) }, 0)
    };
    with_attributes(set, |attributes| {
        for _ in 0..10 {
            let mut thread = 0;
            // SAFETY: as pthread_create(3) wants it.
            assert_eq!(unsafe { create(&mut thread, attributes, count, ptr::null_mut()) }, 0);
        }
    });
    while DONE.load(SeqCst) < 10 {
        thread::yield_now();
    }
    DONE.load(SeqCst)
}

/// No memory is large enough for this stack; and the next thread is as good as any.
fn refused() -> String {
    // SAFETY: attributes that were initialised.
    let set = |attributes| assert_eq!(unsafe { libc::pthread_attr_setstacksize(attributes, 1 << 46) }, 0);
    let error = with_attributes(set, |attributes| {
        let mut thread = 0;
        // SAFETY: as pthread_create(3) wants it.
        unsafe { create(&mut thread, attributes, value, ptr::null_mut()) }
    });
    format!("{}, {}", error == libc::EAGAIN, pthread_create(ptr::null(), value))
}

/// In the creator and in the thread.
fn errno() -> String {
    extern "C-unwind" fn errno(_: *mut c_void) -> *mut c_void {
        // SAFETY: this thread's own.
        ptr::without_provenance_mut(unsafe { *libc::__errno_location() } as usize)
    }
    let mut thread = 0;
    // SAFETY: this thread's own; as pthread_create(3) wants it.
    let before = unsafe {
        *libc::__errno_location() = 77;
        assert_eq!(create(&mut thread, ptr::null(), errno, ptr::null_mut()), 0);
        *libc::__errno_location()
    };
    format!("{before}, {}", joined(thread).addr())
}

/// Several threads create threads, none of which goes on before all are there.
fn at_once() -> u32 {
    const EACH: u32 = 50;
    const CREATORS: u32 = 4;
    let all = &Barrier::new((EACH * CREATORS) as usize);
    let sum = AtomicU32::new(0);
    for _ in 0..2 {
        thread::scope(|scope| {
            for creator in 0..CREATORS {
                let sum = &sum;
                scope.spawn(move || {
                    for at in 0..EACH {
                        scope.spawn(move || {
                            all.wait();
                            sum.fetch_add(creator * EACH + at, SeqCst);
                        });
                    }
                });
            }
        });
    }
    sum.into_inner()
}

fn from_a_library(library: &str) {
    let library = CString::new(library).unwrap();
    // SAFETY: the library of the package `starter`, whose functions have these types.
    unsafe {
        let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        let function = libc::dlsym(library, c"starter_function".as_ptr());
        let function = mem::transmute::<*mut c_void, extern "C" fn() -> *const c_void>(function);
        say("the library calls what the program calls", function() == create as *const c_void);
        let start = libc::dlsym(library, c"starter_start".as_ptr());
        say("library", mem::transmute::<*mut c_void, extern "C" fn() -> u32>(start)());
    }
}
