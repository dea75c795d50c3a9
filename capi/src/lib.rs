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

/// Makes the codes, from 0 on, and one text of what they say: pointers to several texts would be relocated.
macro_rules! codes {
    ($($name:ident = $text:literal,)*) => {
        /// The codes of `invar.h`. The kernel's errno is negative.
        #[derive(Clone, Copy)]
        #[repr(i32)]
        enum Code {
            $($name,)*
        }

        /// What each says, and a NUL behind it.
        const TEXTS: &[u8] = concat!($($text, "\0"),*).as_bytes();
    };
}

codes! {
    Ok = "success",
    Absent = "the slice extension is absent",
    NoArea = "the C library registers areas, and has registered none for this thread",
    OtherArea = "somebody else registered an area for this thread",
    NoKey = "no module has decided a key of this name",
    Invalid = "invalid argument",
    NotCounted = "nothing is counted: INVAR_SLICE does not ask for it, or the slice extension is absent",
    OtherFilters = "another thread has other seccomp filters",
    Killed = "a seccomp filter kills who installs another",
    Ending = "the thread is about to end, and has given its area back",
    InHandler = "not in a signal's handler, on an alternate signal stack or inside the loader",
    NotSet = "the code of a module cannot be exchanged",
}

/// `invar_strerror`: constant text for any number.
#[unsafe(no_mangle)]
extern "C" fn invar_strerror(code: c_int) -> *const c_char {
    if (-4095..0).contains(&code) {
        return c"refused by the kernel, or a filter".as_ptr();
    }
    // A number below these is above all codes as one without a sign.
    let (mut rest, mut number) = (TEXTS, code as u32);
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        if number == 0 {
            return rest.as_ptr().cast();
        }
        (rest, number) = (&rest[end + 1..], number - 1);
    }
    c"unknown code".as_ptr()
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

/// `invar_probe_slice`: the probe of the time slice keys of other modules.
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

/// `invar_count_module`: makes a module known to who reads the counts. Called by libinvar-preload.
///
/// # Safety
///
/// `path` must end in NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_count_module(from: *const c_void, to: *const c_void, path: *const c_char) {
    // SAFETY: as the caller vouches.
    timeslice::__capi::count_module(from as usize..to as usize, unsafe { CStr::from_ptr(path) }.to_bytes());
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

/// `struct invar_set_counts`.
#[repr(C)]
struct SetCounts {
    size: usize,
    bound: u64,
    checked: u64,
}

/// `invar_set_all`: sets switches.
///
/// # Safety
///
/// There must be so many settings, whose names and values end in NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_set_all(settings: *const Setting, count: usize) -> c_int {
    // SAFETY: as the caller vouches; nothing is written to.
    unsafe { invar_set_counted(settings, count, core::ptr::null_mut()) }
}

/// `invar_set_counted`: sets switches, and says how many of their sites are bound.
///
/// # Safety
///
/// There must be so many settings, whose names and values end in NUL. `counts` must be null or point to a structure whose first
/// field is its size, and so many bytes must be writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_set_counted(settings: *const Setting, count: usize, counts: *mut SetCounts) -> c_int {
    use invar::__capi::MOST_SETTINGS;
    // SAFETY: as the caller vouches.
    let Ok(size) = (unsafe { size_at(counts.cast()) }) else { return Code::Invalid as c_int };
    if count > MOST_SETTINGS || count > 0 && settings.is_null() {
        return Code::Invalid as c_int;
    }
    let mut wanted = [invar::Setting::named("", ""); MOST_SETTINGS];
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
    let result = invar::set(&wanted[..count]);
    // SAFETY: as the caller vouches.
    unsafe { after_set(result, counts, size) }
}

/// The code for what came of setting switches, whose counts are written where there is room for them.
///
/// # Safety
///
/// So many bytes must be writable at `counts`.
unsafe fn after_set(result: Result<invar::Set, NotSet>, counts: *mut SetCounts, size: usize) -> c_int {
    match result {
        Ok(set) => {
            let known = SetCounts { size, bound: set.bound.into(), checked: set.checked.into() };
            // SAFETY: as the caller vouches.
            unsafe { fill(counts, size, &known) };
            Code::Ok as c_int
        }
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

/// `invar_rebind_module`: asks the probes of the module with this header again. Called by `invar_rebind`.
///
/// # Safety
///
/// `differs` must be callable with three strings and the argument; `counts` as for [`invar_set_counted`].
#[unsafe(no_mangle)]
unsafe extern "C" fn invar_rebind_module(
    module: *const c_void,
    differs: Option<unsafe extern "C" fn(*const c_char, *const c_char, *const c_char, *mut c_void)>,
    argument: *mut c_void,
    counts: *mut SetCounts,
) -> c_int {
    // SAFETY: as the caller vouches.
    let Ok(size) = (unsafe { size_at(counts.cast()) }) else { return Code::Invalid as c_int };
    let tell = |key: &CStr, has: &CStr, is_now: &CStr| {
        if let Some(differs) = differs {
            // SAFETY: as the caller vouches.
            unsafe { differs(key.as_ptr(), has.as_ptr(), is_now.as_ptr(), argument) };
        }
    };
    // SAFETY: the module's own code calls.
    let result = unsafe { invar::__capi::rebind(module as usize, tell) };
    // SAFETY: as the caller vouches.
    unsafe { after_set(result, counts, size) }
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
    let Ok(size @ 1..) = (unsafe { size_at(counts.cast()) }) else { return Code::Invalid as c_int };
    let Some(all) = timeslice::counts() else { return Code::NotCounted as c_int };
    let known = Counts { size, requests: all.requests, grants: all.grants, yields: all.yields, lost: all.lost };
    // SAFETY: as the caller vouches.
    unsafe { fill(counts, size, &known) };
    Code::Ok as c_int
}

/// The size of a structure that begins with it, 0 for none.
///
/// # Errors
///
/// It has no room for its size.
///
/// # Safety
///
/// It must be null or point to a size.
unsafe fn size_at(structure: *const usize) -> Result<usize, ()> {
    if structure.is_null() {
        return Ok(0);
    }
    // SAFETY: as the caller vouches.
    let size = unsafe { structure.read() };
    if size < size_of::<usize>() { Err(()) } else { Ok(size) }
}

/// Fills in as much of a structure as it has room for: what a newer program has behind it stays as it is.
///
/// # Safety
///
/// So many bytes must be writable, and `T` must be plain data.
unsafe fn fill<T>(structure: *mut T, size: usize, known: &T) {
    let length = size.min(size_of::<T>());
    // SAFETY: as the caller vouches; of no bytes where it is null.
    unsafe { structure.cast::<u8>().copy_from_nonoverlapping(core::ptr::from_ref(known).cast(), length) };
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
