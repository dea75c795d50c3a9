//! Defines `pthread_create` and `thrd_create`.
//!
//! These stand before the C library's: the linker takes an executable's own definitions before those of shared libraries, and
//! exports them, so that libraries find them first as well (System V ABI, "Shared Object Dependencies": breadth-first, from the
//! executable). Threads that libc starts by itself, for `SIGEV_THREAD` or `aio_read`, do not come by here: libc calls its
//! function by a name of its own.
#![allow(unsafe_code)]

use super::start::create;
use crate::key::handle::Key;
use crate::key::state::{RawProbe, Verdict};
use core::ffi::{CStr, c_int, c_void};
use invar_abi::{KeyRecord, flags};
use invar_arch::Call;

/// The types of both functions: a thread's handle, its attributes, its start routine and the argument of that.
type PthreadCreate = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;
#[cfg(not(all(target_feature = "crt-static", target_env = "musl")))]
type ThrdCreate = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> c_int;

/// POSIX.1-2024, `pthread_create`; the errors are those of the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    routine: *const c_void,
    argument: *mut c_void,
) -> c_int {
    let Some(next) = next::pthread_create() else { return libc::EAGAIN };
    // SAFETY: as the caller vouches.
    create(Call { function: routine, argument }, |call| unsafe {
        next(thread, attributes, call.function, call.argument)
    })
}

/// ISO C11, 7.26.5.1.
#[cfg(not(all(target_feature = "crt-static", target_env = "musl")))] // musl has no other name for its own
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_create(thread: *mut c_void, routine: *const c_void, argument: *mut c_void) -> c_int {
    /// glibc and musl, threads.h.
    const THRD_ERROR: c_int = 2;
    let Some(next) = next::thrd_create() else { return THRD_ERROR };
    // SAFETY: as the caller vouches.
    create(Call { function: routine, argument }, |call| unsafe { next(thread, call.function, call.argument) })
}

/// Whether libraries find our function by the name of the C library's. If not, the evidence says whose function they find.
static IN_FRONT: Key<bool> = Key::new();

const _: () = {
    extern "C" fn probe(verdict: &mut Verdict, _: &KeyRecord) {
        // SAFETY: the probe of this key.
        unsafe {
            crate::__key_record!(crate::key::declare::Name::Given("slice.hook"), IN_FRONT, bool, probe, flags::OWN)
        };
        verdict.value = is_in_front().into();
        let evidence = &mut verdict.evidence;
        if verdict.value != 0 {
            evidence.text("threads are enrolled when they are created");
        } else {
            evidence.text("in front of this pthread_create stands that of ");
            evidence.text(next::owner().and_then(|path| path.to_str().ok()).unwrap_or("another module"));
        }
    }
    #[used]
    static KEEP: RawProbe = probe;
};

/// Whether shared libraries find the hook on thread creation (Cargo feature `hook`) by the name `pthread_create`.
///
/// Where they do not, the linker did not export it, or another module's function stands in front of it. Then only threads that
/// are created by code of this file pass through. For a static program, which has no libraries, the answer is yes.
pub fn hook_is_in_front() -> bool {
    is_in_front()
}

fn is_in_front() -> bool {
    next::by_name().is_none_or(|found| found == pthread_create as PthreadCreate as *mut c_void)
}

/// The next functions of these names, the C library's or those of another module in between: in a program with the loader.
#[cfg(not(target_feature = "crt-static"))]
mod next {
    use super::*;
    use core::ptr::null_mut;
    use core::sync::atomic::{
        AtomicPtr,
        Ordering::{Acquire, Release},
    };

    pub(super) fn pthread_create() -> Option<PthreadCreate> {
        static NEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
        // SAFETY: a function of this type, or null.
        unsafe { core::mem::transmute(find(&NEXT, c"pthread_create")) }
    }

    pub(super) fn thrd_create() -> Option<ThrdCreate> {
        static NEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
        // SAFETY: as above.
        unsafe { core::mem::transmute(find(&NEXT, c"thrd_create")) }
    }

    fn find(next: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
        let mut found = next.load(Acquire);
        if found.is_null() {
            // SAFETY: a name; looks behind the module that this code is in.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
            next.store(found, Release);
        }
        found
    }

    pub(super) fn by_name() -> Option<*mut c_void> {
        // SAFETY: a name.
        Some(unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_create".as_ptr()) })
    }

    /// The path of the module whose function is found.
    pub(super) fn owner() -> Option<&'static CStr> {
        // SAFETY: plain old data; filled in for the address of a symbol of a module, whose name the loader keeps.
        unsafe {
            let mut info: libc::Dl_info = core::mem::zeroed();
            let found = libc::dladdr(by_name()?, &mut info) != 0 && !info.dli_fname.is_null();
            found.then(|| CStr::from_ptr(info.dli_fname))
        }
    }
}

/// The same in one file with the C library, by the names that it has for itself (glibc and musl).
#[cfg(target_feature = "crt-static")]
mod next {
    use super::*;

    unsafe extern "C" {
        fn __pthread_create(_: *mut c_void, _: *const c_void, _: *const c_void, _: *mut c_void) -> c_int;
        #[cfg(not(target_env = "musl"))]
        fn __thrd_create(_: *mut c_void, _: *const c_void, _: *mut c_void) -> c_int;
    }

    pub(super) fn pthread_create() -> Option<PthreadCreate> {
        Some(__pthread_create)
    }

    #[cfg(not(target_env = "musl"))]
    pub(super) fn thrd_create() -> Option<ThrdCreate> {
        Some(__thrd_create)
    }

    /// No library comes later.
    pub(super) fn by_name() -> Option<*mut c_void> {
        None
    }

    pub(super) fn owner() -> Option<&'static CStr> {
        None
    }
}
