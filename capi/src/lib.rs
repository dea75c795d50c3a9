//! libinvar: the runtime behind `include/invar.h`, for programs that are not in Rust. What each function does, and its
//! contract, stands there and in invar(3); here is only how the runtime says it.
#![no_std]

use core::ffi::{CStr, c_char, c_int, c_void};
use invar::timeslice::{self, Area, NotEnrolled, NotGuarded};
use invar::{NotSet, Reason};

/// The runtime does not panic; what the compiler cannot know of that ends here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// The codes of `invar.h`. The kernel's errno is negative.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Code {
    Ok = 0,
    Absent = 1,
    NoArea = 2,
    OtherArea = 3,
    NoKey = 4,
    Invalid = 5,
    NotCounted = 6,
    OtherFilters = 7,
    Killed = 8,
    Ending = 9,
    InHandler = 10,
    NotSet = 11,
}

impl Code {
    const ALL: [(Self, &CStr); 12] = [
        (Self::Ok, c"success"),
        (Self::Absent, c"the slice extension is absent"),
        (Self::NoArea, c"the C library registers areas, and has registered none for this thread"),
        (Self::OtherArea, c"somebody else registered an area for this thread"),
        (Self::NoKey, c"no module has decided a key of this name"),
        (Self::Invalid, c"invalid argument"),
        (Self::NotCounted, c"nothing is counted: INVAR_SLICE does not ask for it, or the slice extension is absent"),
        (Self::OtherFilters, c"another thread has other seccomp filters"),
        (Self::Killed, c"a seccomp filter kills who installs another"),
        (Self::Ending, c"the thread is about to end, and has given its area back"),
        (Self::InHandler, c"not on an alternate signal stack: a handler may have interrupted the loader"),
        (Self::NotSet, c"the code of a module cannot be exchanged"),
    ];
}

/// `invar_strerror`: constant text for any number.
#[unsafe(no_mangle)]
extern "C" fn invar_strerror(code: c_int) -> *const c_char {
    let known = Code::ALL.iter().find(|(known, _)| *known as c_int == code);
    match known {
        Some((_, text)) => text.as_ptr(),
        None if (-4095..0).contains(&code) => c"refused by the kernel, or a filter".as_ptr(),
        None => c"unknown code".as_ptr(),
    }
}

/// `invar_version`: major << 16 | minor << 8 | patch.
#[unsafe(no_mangle)]
extern "C" fn invar_version() -> u32 {
    const fn number(text: &str) -> u32 {
        let (bytes, mut at, mut number) = (text.as_bytes(), 0, 0);
        while at < bytes.len() {
            number = number * 10 + (bytes[at] - b'0') as u32;
            at += 1;
        }
        number
    }
    number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"))
}

/// `invar_load`: decides the keys and binds the sites of the module whose header this is. Called by the module's
/// constructor.
#[unsafe(no_mangle)]
extern "C" fn invar_load(module: *const c_void) -> c_int {
    let loaded = invar::__capi::load(module as usize);
    if loaded { Code::Ok as c_int } else { Code::Invalid as c_int }
}

/// `invar_decide`: decides a key that was asked for before it was, if its module is being loaded. Called by `invar_value`.
///
/// # Safety
///
/// `state` must be a key's of the module with this header.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_decide(state: *const invar::Verdict, module: *const c_void) -> c_int {
    // SAFETY: as the caller vouches.
    let decided = unsafe { invar::__capi::decide(state, module as usize) };
    if decided { Code::Ok as c_int } else { Code::NoKey as c_int }
}

/// `invar_probe_slice`: the probe of the slice keys of other modules.
///
/// # Safety
///
/// `verdict` must be what the runtime gives a probe.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_probe_slice(verdict: *mut invar::Verdict, _record: *const c_void) {
    // SAFETY: as the caller vouches.
    timeslice::__capi::probe_slice(unsafe { &mut *verdict });
}

/// `invar_count_request`: in the place of a request, where requests are counted.
#[unsafe(no_mangle)]
extern "C" fn invar_count_request(site: *const c_void) {
    timeslice::__capi::count_request(site as usize);
}

/// `invar_count_withdrawal`: in the place of its withdrawal.
#[unsafe(no_mangle)]
extern "C" fn invar_count_withdrawal(site: *const c_void) {
    timeslice::__capi::count_withdrawal(site as usize);
}

/// `invar_create_thread`: has `create` create a thread that makes this call, and is enrolled before. Called by libinvar-hook.
///
/// # Safety
///
/// `create` must be what `invar.h` says; `with` and the call must be right for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_create_thread(
    create: timeslice::__capi::Creator,
    with: *mut c_void,
    function: *const c_void,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: as the caller vouches.
    unsafe { timeslice::__capi::create_thread(create, with, function, argument) }
}

/// `invar_key`: copies the verdict of a key.
///
/// # Safety
///
/// `name` must end in NUL, and `size` bytes at `verdict` must be writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_key(name: *const c_char, verdict: *mut u8, size: usize) -> c_int {
    if name.is_null() || verdict.is_null() || size == 0 {
        return Code::Invalid as c_int;
    }
    // SAFETY: as the caller vouches.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let Some(found) = invar::__capi::verdict(name) else { return Code::NoKey as c_int };
    let size = size.min(size_of_val(&found));
    // SAFETY: as the caller vouches; a verdict is plain data.
    unsafe { verdict.copy_from_nonoverlapping((&raw const found).cast(), size) };
    Code::Ok as c_int
}

/// `struct invar_setting`.
#[repr(C)]
struct Setting {
    name: *const c_char,
    value: *const c_char,
}

/// `invar_set_all`: sets switches.
///
/// # Safety
///
/// There must be so many settings, whose names and values end in NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_set_all(settings: *const Setting, count: usize) -> c_int {
    const MOST: usize = 64;
    if count > MOST || count > 0 && settings.is_null() {
        return Code::Invalid as c_int;
    }
    let mut wanted = [invar::Setting::named("", ""); MOST];
    for (at, wanted) in wanted.iter_mut().take(count).enumerate() {
        // SAFETY: as the caller vouches.
        let Setting { name, value } = unsafe { settings.add(at).read() };
        if name.is_null() || value.is_null() {
            return Code::Invalid as c_int;
        }
        // SAFETY: as the caller vouches.
        let [name, value] = [name, value].map(|text| unsafe { CStr::from_ptr(text) }.to_bytes());
        *wanted = invar::__capi::setting(name, value);
    }
    match invar::set(&wanted[..count]) {
        Ok(_) => Code::Ok as c_int,
        Err(NotSet::Unknown) => Code::NoKey as c_int,
        Err(NotSet::NoValue | NotSet::TooMany) => Code::Invalid as c_int,
        Err(NotSet::InSignalHandler) => Code::InHandler as c_int,
        Err(NotSet::Refused(Reason::Refused(errno), _)) => -errno,
        Err(_) => Code::NotSet as c_int,
    }
}

/// `invar_set`: sets a switch.
///
/// # Safety
///
/// Name and value must end in NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_set(name: *const c_char, value: *const c_char) -> c_int {
    // SAFETY: as the caller vouches.
    unsafe { invar_set_all(&Setting { name, value }, 1) }
}

/// `invar_serve`: lets others set switches.
///
/// # Safety
///
/// `allow` must be callable with two strings and the argument.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_serve(
    allow: Option<unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void) -> c_int>,
    argument: *mut c_void,
) -> c_int {
    let Some(allow) = allow else { return Code::Invalid as c_int };
    let result = invar::__capi::serve(|name, value| {
        // SAFETY: as the caller vouches.
        unsafe { allow(name.as_ptr(), value.as_ptr(), argument) != 0 }
    });
    result.map_or_else(|errno| -errno, |never| match never {})
}

/// `invar_slice_enrol`: makes the calling thread one that can be granted slices.
#[unsafe(no_mangle)]
extern "C" fn invar_slice_enrol() -> c_int {
    match timeslice::enrol() {
        Ok(()) => Code::Ok as c_int,
        Err(NotEnrolled::NoArea) => Code::NoArea as c_int,
        Err(NotEnrolled::OtherArea) => Code::OtherArea as c_int,
        Err(NotEnrolled::Ending) => Code::Ending as c_int,
        Err(NotEnrolled::Refused(errno)) => -errno,
        Err(_) => Code::Absent as c_int,
    }
}

/// `invar_slice_enrol_contended`: the same for a path that is taken again and again.
#[unsafe(no_mangle)]
extern "C" fn invar_slice_enrol_contended() {
    timeslice::enrol_contended();
}

/// `invar_slice_guard`: makes it impossible to switch the extension off, for good.
#[unsafe(no_mangle)]
extern "C" fn invar_slice_guard() -> c_int {
    match timeslice::guard() {
        Ok(()) => Code::Ok as c_int,
        Err(NotGuarded::OtherFilters(_)) => Code::OtherFilters as c_int,
        Err(NotGuarded::Killed) => Code::Killed as c_int,
        Err(NotGuarded::Refused(errno)) => -errno,
        Err(_) => Code::Absent as c_int,
    }
}

/// `struct invar_counts`.
#[repr(C)]
struct Counts {
    size: usize,
    requests: u64,
    grants: u64,
    yields: u64,
    lost: u64,
}

/// `invar_slice_counts`: what the process's critical sections asked for and got.
///
/// # Safety
///
/// `counts` must point to a structure whose first field is its size, and so many bytes must be writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_slice_counts(counts: *mut Counts) -> c_int {
    // SAFETY: as the caller vouches.
    let size = if counts.is_null() { 0 } else { unsafe { (*counts).size } };
    if size < size_of::<usize>() {
        return Code::Invalid as c_int;
    }
    let Some(all) = timeslice::counts() else { return Code::NotCounted as c_int };
    let known = Counts { size, requests: all.requests, grants: all.grants, yields: all.yields, lost: all.lost };
    let length = size.min(size_of::<Counts>());
    // SAFETY: as the caller vouches; what a newer program has behind it stays as it is.
    unsafe { counts.cast::<u8>().copy_from_nonoverlapping((&raw const known).cast(), length) };
    Code::Ok as c_int
}

/// `struct invar_thread`.
#[repr(C)]
struct Thread {
    size: usize,
    address: u64,
    number: u32,
    area: c_int,
    enabled: bool,
    request: bool,
    asleep: bool,
    reserved: [u8; 5],
}

impl From<timeslice::Thread> for Thread {
    fn from(thread: timeslice::Thread) -> Self {
        let without = Self {
            size: size_of::<Self>(),
            address: 0,
            number: thread.id,
            area: Code::NoArea as c_int,
            enabled: false,
            request: false,
            asleep: false,
            reserved: [0; 5],
        };
        match thread.area {
            Area::Registered { address, enabled, request, asleep } => {
                Self { address: address as u64, area: Code::Ok as c_int, enabled, request, asleep, ..without }
            }
            Area::Unknown(errno) => Self { area: -errno, ..without },
            _ => without,
        }
    }
}

/// `invar_slice_audit`: lists the threads.
///
/// # Safety
///
/// `each` must be callable with the argument.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_slice_audit(
    each: Option<unsafe extern "C" fn(*const Thread, *mut c_void)>,
    argument: *mut c_void,
) -> c_int {
    let Some(each) = each else { return Code::Invalid as c_int };
    // SAFETY: as the caller vouches.
    match timeslice::audit(|thread| unsafe { each(&thread.into(), argument) }) {
        Ok(()) => Code::Ok as c_int,
        Err(errno) => -errno,
    }
}

/// `invar_report`: writes what was decided and bound to a descriptor.
#[unsafe(no_mangle)]
extern "C" fn invar_report(descriptor: c_int) -> c_int {
    if invar::__capi::report(descriptor) { Code::Ok as c_int } else { Code::Invalid as c_int }
}
