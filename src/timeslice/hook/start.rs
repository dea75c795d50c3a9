//! Has the C library create a thread that enrols before it does what it was created for.
#![allow(unsafe_code)]

use super::atomic::AtomicPtr;
use super::spare::{Linked, Spare};
use crate::timeslice::enrol::enrol_now;
use crate::timeslice::key::SLICE;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use invar_arch::{self as arch, Call};

/// Has the C library create a thread that makes this call. Where slices are off, its function is called as it would be
/// without the hook.
#[inline(always)]
pub(in crate::timeslice) fn create(call: Call, next: impl Fn(Call) -> c_int) -> c_int {
    if crate::branch!(SLICE) { create_enrolled(call, next) } else { next(call) }
}

#[cold]
fn create_enrolled(call: Call, next: impl Fn(Call) -> c_int) -> c_int {
    let start = Start::new(call);
    if start.is_null() {
        // Out of memory: the thread is created all the same, and not enrolled.
        return next(call);
    }
    let error = next(Call { function: arch::start as *const c_void, argument: start.cast() });
    if error != 0 {
        // SAFETY: no thread has it.
        unsafe { SPARE.give_back(start) };
    }
    error
}

/// What a new thread needs to know. Its memory comes from a list, and the thread gives it back there. If the thread called
/// `free`, glibc would make an arena for it, whether or not it ever needs one: by four system calls (seen with glibc 2.36),
/// unless a thread that is gone has left its own.
#[repr(C)]
struct Start {
    /// First, for [`arch::start`].
    begin: unsafe extern "C" fn(*mut Self) -> Call,
    call: Call,
    next: *mut Self,
}

/// Unused memory for it: as many pieces as there ever were threads at a time that had been created and did not run yet. It is
/// never freed.
static SPARE: Spare<Start> = Spare(AtomicPtr::new(null_mut()));

impl Linked for Start {
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: as the caller vouches.
        unsafe { (*this).next }
    }

    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: as the caller vouches.
        unsafe { (*this).next = next }
    }
}

impl Start {
    /// Null if there is no memory.
    fn new(call: Call) -> *mut Self {
        let mut start = SPARE.take();
        // SAFETY: who took it owns it, and so does who allocated it.
        unsafe {
            if start.is_null() {
                start = libc::malloc(size_of::<Self>()).cast();
            }
            if !start.is_null() {
                start.write(Self { begin, call, next: null_mut() });
            }
        }
        start
    }
}

/// In the new thread, before anything else.
unsafe extern "C" fn begin(start: *mut Start) -> Call {
    // SAFETY: this thread's, from `create_enrolled`, and given back once.
    let call = unsafe {
        let call = (*start).call;
        SPARE.give_back(start);
        call
    };
    // A thread that cannot be enrolled is one like any other.
    let _ = enrol_now();
    call
}
