//! A program that sets switches, in the ways that its arguments ask for.
//!
//! ```text
//! switched story                     set each switch to each value, one by one and together
//! switched beside SETS [LIBRARY]     the same from one thread while others execute the sites, and open and close the library
//! switched two SETS                   to one of two values, while others look whether a select ever has a third one
//! switched crowd SETS                from several threads at once
//! switched wrong                     what cannot be set
//! switched refused [mdwe] [memfd] [mremap] [threads] [replaced] [LIBRARY]
//!                                    these are refused once all is bound, and the library's file is gone, or another one is there
//! switched faulted [thread] [mremap] [LIBRARY]
//!                                    once between two lines, while somebody has system calls fail
//! switched again LIBRARY CAUSE       to the values that they have, where the library's sites could not be bound for this cause: beside
//!                                    `threads`, or for want of `descriptors`
//! switched apart LIBRARY             which is opened when a setting has it bind nothing
//! switched foreign                   where one site is not as it was
//! switched breakpoint                where a breakpoint stands on a site of a key
//! switched handler                   from a signal's handler, and while handlers execute the sites
//! switched child                     in a child of fork
//! switched forks CHILDREN LIBRARY    in children of fork that are made while another thread sets; they open the library, too
//! switched closing CHILDREN LIBRARY  children are made while the library is opened, sets, and is closed
//! switched interrupting LIBRARY       from a handler on the ordinary stack, which interrupts the loader at work
//! switched stack                     how much stack it takes
//! switched library LIBRARY           with a library that has the same switches
//! switched namespace LIBRARY         the same, where the library is in a namespace of its own
//! switched c LIBRARY                 with a library in C that has one of the switches
//! switched rebind                    after the environment of the probes has changed
//! switched restored FILE              in a process that goes on elsewhere: it waits until the file is there
//! switched serve                     what others ask for, until standard input ends: a line for each change of LEVEL or TRACE
//! ```

use std::ffi::{CString, c_void};
use std::hint::black_box;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use witness::result;

invar::values! {
    pub enum Level { Quiet, Error, Info, Debug }
}
invar::switch! {
    #[name = "switched.level"]
    static LEVEL: Level = |evidence| { evidence.text("the program's"); Ok(Level::Error) };
}
invar::switch! {
    #[name = "switched.trace"]
    static TRACE: bool = |_| {
        // No switch can be set before it is decided.
        EARLY.store(TRACE.set(true) == Err(invar::NotSet::Unknown), Relaxed);
        Ok(false)
    };
}
invar::switch! {
    #[name = "switched.broken"]
    static BROKEN: bool = |_| Err("on purpose");
}
invar::switch! {
    /// A name that C can have too.
    #[name = "switched_trace"]
    static IN_C: bool = |evidence| { evidence.text("Rust's"); Ok(false) };
}
invar::switch! {
    #[name = "switched.disputed"]
    static DISPUTED: Level = |_| Ok(Level::Quiet);
}
invar::key! {
    #[name = "switched.fixed"]
    static FIXED: bool = |_| Ok(true);
}
static EARLY: AtomicBool = AtomicBool::new(false);

const LEVELS: [Level; 4] = [Level::Quiet, Level::Error, Level::Info, Level::Debug];

/// What the sites of LEVEL in eight functions say, in bits 0 to 3, branches and selects; those of TRACE, in bits 4 and 5; and whether
/// LEVEL is Info or more, in bits 6 and 7.
macro_rules! sites {
    ($($name:ident $number:literal),*) => {
        $(#[inline(never)]
        fn $name() -> u32 {
            // Else the compiler makes one of all these functions.
            black_box($number);
            let mut seen = if invar::branch!(LEVEL == Level::Quiet) {
                1
            } else if invar::branch!(LEVEL == Level::Error) {
                2
            } else if invar::branch!(LEVEL == Level::Info) {
                4
            } else {
                8
            };
            seen |= invar::select!(LEVEL: Level { Quiet => 1, Error => 2, Info => black_box(4), Debug => 8 });
            seen |= if invar::branch!(TRACE) { 32 } else { 16 };
            seen |= if invar::branch!(LEVEL >= Level::Info) { 128 } else { 64 };
            black_box(seen)
        })*
        fn seen() -> u32 {
            let mut seen = 0;
            $(seen |= $name();)*
            seen
        }
    };
}
sites!(a 1, b 2, c 3, d 4, e 5, f 6, g 7, h 8);

fn is_for(level: Level, trace: bool) -> u32 {
    1 << level as u32 | if trace { 32 } else { 16 } | if level as u32 >= Level::Info as u32 { 128 } else { 64 }
}

/// What sites and keys say is the same.
fn agrees() -> bool {
    seen() == is_for(LEVEL.get(), TRACE.get())
}

/// A logging facade, as anybody would write it.
macro_rules! trace {
    ($($what:tt)*) => { if invar::branch!(TRACE) { eprintln!($($what)*) } };
}

/// A test looks at what this becomes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn through_a_facade(mut number: u32) -> u32 {
    number = number.rotate_left(1) ^ 0x1234_5678;
    trace!("first {number}");
    number = number.rotate_left(3) ^ 0x1234_5678;
    trace!("second {number}");
    number = number.rotate_left(5) ^ 0x1234_5678;
    trace!("third {number}");
    number
}

fn main() {
    black_box(through_a_facade(black_box(1)));
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse().expect("a number");
    assert!(agrees() && invar::branch!(FIXED) == FIXED.get());
    match arguments[0].as_str() {
        "story" => story(),
        "beside" => beside(number(1), arguments.get(2).map(String::as_str)),
        "two" => two(number(1)),
        "crowd" => crowd(number(1)),
        "wrong" => wrong(),
        "refused" => refused(&arguments[1..]),
        "faulted" => faulted(&arguments[1..]),
        "again" => again(&arguments[1], &arguments[2]),
        "apart" => apart(&arguments[1]),
        "foreign" => foreign(),
        "breakpoint" => breakpoint(),
        "handler" => handler(),
        "child" => child(),
        "forks" => forks(number(1), &arguments[2]),
        "closing" => closing(number(1), &arguments[2]),
        "interrupting" => interrupting(&arguments[1]),
        "stack" => stack(),
        "library" => library(&arguments[1]),
        "namespace" => namespace(&arguments[1]),
        "c" => with_c(&arguments[1]),
        "rebind" => rebind(),
        "restored" => restored(&arguments[1]),
        "serve" => return serve(),
        other => panic!("{other}?"),
    }
    witness::tell();
}

/// What the probes below say.
static MACHINE: AtomicBool = AtomicBool::new(false);
invar::switch! {
    #[name = "switched.follows"]
    static FOLLOWS: bool = |_| Ok(MACHINE.load(Relaxed));
}
invar::key! {
    #[name = "switched.stays"]
    static STAYS: bool = |_| if MACHINE.load(Relaxed) { Ok(true) } else { Err("not on this machine") };
}
invar::constant! {
    #[name = "switched.line"] #[fallback(32)]
    static LINE: u32 = |_| Ok(if MACHINE.load(Relaxed) { 128 } else { 64 });
}
invar::constant! {
    #[name = "switched.unknown"]
    static UNKNOWN: u64 = |_| if MACHINE.load(Relaxed) { Ok(u64::MAX) } else { Err("not on this machine") };
}
invar::switch! {
    /// What was set stays.
    #[name = "switched.by_hand"]
    static BY_HAND: bool = |_| Ok(MACHINE.load(Relaxed));
}

fn rebind() {
    BY_HAND.set(false).expect("set");
    let mut differ = Vec::new();
    let again = |differ: &mut Vec<String>| {
        invar::rebind(|key, has, is_now| differ.push(format!("{key} {has} {is_now}"))).expect("set")
    };
    let same = again(&mut differ);
    assert!(differ.is_empty() && (same.bound, same.checked) == (0, 0), "{differ:?}");
    MACHINE.store(true, Relaxed);
    let set = again(&mut differ);
    differ.sort();
    result("differ", differ.join(","));
    result("rebound", format!("{} {}", set.bound, set.checked));
    assert!(invar::branch!(FOLLOWS) && FOLLOWS.get() && !invar::branch!(STAYS) && !STAYS.get());
    assert_eq!((LINE.get(), UNKNOWN.get()), (64, 0));
    assert!(!invar::branch!(BY_HAND) && !BY_HAND.get());
    // And back: nobody has set it but its probe.
    MACHINE.store(false, Relaxed);
    again(&mut differ);
    assert!(!invar::branch!(FOLLOWS) && !FOLLOWS.get() && differ.len() == 3, "{differ:?}");
}

/// What was set stays through a checkpoint, and can be set beside a thread that runs on.
fn restored(file: &str) {
    LEVEL.set(Level::Info).expect("set");
    VALUE.store(seen(), Relaxed);
    let thread = std::thread::spawn(look);
    result("waits", "yes");
    while !std::path::Path::new(file).exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(LEVEL.get() == Level::Info && agrees());
    MACHINE.store(true, Relaxed);
    let mut differ = Vec::new();
    let set = invar::rebind(|key, has, is_now| differ.push(format!("{key} {has} {is_now}"))).expect("set");
    assert!(invar::branch!(FOLLOWS) && FOLLOWS.get() && !invar::branch!(STAYS));
    for (number, level) in LEVELS.into_iter().enumerate() {
        set_in_turn(level, number % 2 == 0);
        assert!(agrees());
    }
    ENDED.store(true, Relaxed);
    thread.join().expect("no wrong site");
    differ.sort();
    result("differ", differ.join(","));
    result("rebound", format!("{} {}", set.bound, set.checked));
}

fn serve() {
    std::thread::spawn(|| {
        let errno = invar::serve(|switch, value| switch != "switched.broken" && value != "debug").unwrap_err();
        println!("errno {errno}");
    });
    println!("ready");
    // It is looked for by what it has open.
    std::io::stdin().lines().for_each(|line| {
        line.expect("a line");
        println!("{:?} {} {}", LEVEL.get(), TRACE.get(), agrees());
    });
}

fn story() {
    result("before", format!("{:?} {}", LEVEL.get(), TRACE.get()));
    let all = LEVELS.iter().flat_map(|&from| LEVELS.map(|to| (from, to)));
    let mut last = None;
    for (from, to) in all {
        for level in [from, to] {
            let set = LEVEL.set(level).expect("set");
            assert_eq!(seen(), is_for(level, TRACE.get()));
            assert_eq!(LEVEL.get(), level);
            assert!(last.is_none_or(|last| last == (set.bound, set.checked)), "{set:?} {last:?}");
            last = Some((set.bound, set.checked));
        }
    }
    let (bound, checked) = last.unwrap();
    result("level", format!("{bound} {checked}"));
    for round in 0..4 {
        let (level, trace) = (LEVELS[round], round % 2 == 1);
        invar::set(&[LEVEL.to(level), invar::Setting::named("switched.trace", if trace { "on" } else { "off" })])
            .expect("set");
        assert_eq!((seen(), LEVEL.get(), TRACE.get()), (is_for(level, trace), level, trace));
    }
    // The last one counts.
    invar::set(&[TRACE.to(true), TRACE.to(false), LEVEL.to(Level::Info)]).expect("set");
    assert_eq!(seen(), is_for(Level::Info, false));
    let verdict = LEVEL.verdict().expect("decided");
    result("after", format!("{} {}", verdict.origin().name(), verdict.evidence()));
    assert!(BROKEN.set(true).is_ok() && BROKEN.get());
}

/// Even while nothing is being set: then the sites say what `VALUE` says.
static TURN: AtomicU64 = AtomicU64::new(0);
static VALUE: AtomicU32 = AtomicU32::new(0);
/// How often a thread looked while nothing was set.
static QUIET: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicBool = AtomicBool::new(false);

/// Sets and says so.
fn set_in_turn(level: Level, trace: bool) {
    TURN.fetch_add(1, Relaxed);
    invar::set(&[LEVEL.to(level), TRACE.to(trace)]).expect("set");
    VALUE.store(is_for(level, trace), Relaxed);
    TURN.fetch_add(1, Release);
}

/// Executes the sites until all is over; how often.
fn look() -> u64 {
    let mut looked = 0;
    while !ENDED.load(Relaxed) {
        let (turn, value) = (TURN.load(Acquire), VALUE.load(Relaxed));
        let seen = seen();
        assert!(seen & 15 != 0 && seen & 48 != 0 && seen & 192 != 0, "a site says nothing");
        if turn % 2 == 0 && turn == TURN.load(Acquire) {
            assert_eq!(seen, value, "{looked}");
            QUIET.fetch_add(1, Relaxed);
        }
        looked += 1;
    }
    looked
}

fn beside(sets: usize, library: Option<&str>) {
    VALUE.store(seen(), Relaxed);
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(look)).collect();
    let opener = library.map(|path| {
        let path = path.to_owned();
        std::thread::spawn(move || {
            let mut opened = 0;
            while !ENDED.load(Relaxed) {
                let library = Library::open(&path);
                let (says, has) = (library.call(c"library_says"), library.call(c"library_has"));
                // Others set meanwhile: each site had its value at one time.
                assert!(says / 100 < 4 && has / 100 < 4);
                library.close();
                opened += 1;
            }
            opened
        })
    });
    for number in 0..sets {
        set_in_turn(LEVELS[number % 4], number % 3 == 0);
        let quiet = QUIET.load(Relaxed);
        // Somebody has seen what is there now.
        while QUIET.load(Relaxed) == quiet {
            std::thread::yield_now();
        }
    }
    ENDED.store(true, Relaxed);
    let looked: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no wrong site")).collect();
    result("looked", looked.iter().sum::<u64>());
    result("quiet", QUIET.load(Relaxed));
    if let Some(opener) = opener {
        result("opened", opener.join().expect("opened and closed"));
    }
    assert!(agrees());
}

fn two(sets: usize) {
    LEVEL.set(Level::Debug).expect("set");
    let looks = || {
        let mut met = [0_u64; 4];
        while !ENDED.load(Relaxed) {
            // No value that the switch never has, however many compares it takes.
            met[invar::select!(LEVEL: Level { Quiet => 0, Error => 1, Info => 2, Debug => 3 })] += 1;
        }
        met
    };
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(looks)).collect();
    for number in 0..sets {
        LEVEL.set(if number % 2 == 0 { Level::Error } else { Level::Debug }).expect("set");
    }
    ENDED.store(true, Relaxed);
    let met = threads.into_iter().map(|thread| thread.join().expect("looked"));
    let [quiet, error, info, debug] = met.fold([0; 4], |sum, met| std::array::from_fn(|at| sum[at] + met[at]));
    result("met", format!("{} {} {}", quiet + info, error.min(1), debug.min(1)));
}

fn crowd(sets: usize) {
    let setters: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                for number in 0..sets {
                    if thread % 2 == 0 {
                        LEVEL.set(LEVELS[(thread + number) % 4]).expect("set");
                    } else {
                        TRACE.set(number % 2 == 0).expect("set");
                    }
                    seen();
                }
            })
        })
        .collect();
    setters.into_iter().for_each(|setter| setter.join().expect("set"));
    result("agrees", agrees());
}

fn wrong() {
    use invar::{NotSet, Setting, set};
    let before = seen();
    result("early", EARLY.load(Relaxed));
    let named = |name: &str, value: &str| set(&[LEVEL.to(Level::Debug), Setting::named(name, value)]);
    assert_eq!(named("switched.none", "on"), Err(NotSet::Unknown));
    assert_eq!(named("switched.fixed", "off"), Err(NotSet::Unknown), "it is no switch");
    assert_eq!(named("switched.trace", "loud"), Err(NotSet::NoValue));
    assert_eq!(named("switched.trace", ""), Err(NotSet::NoValue));
    assert_eq!(set(&vec![TRACE.to(true); 65]), Err(NotSet::TooMany));
    assert!(set(&vec![TRACE.to(false); 64]).is_ok() && set(&[]).is_ok());
    assert_eq!(seen(), before, "where one is wrong, none is set");
    result("agrees", agrees());
}

fn refused(what: &[String]) {
    let all = |wanted: &str| what.iter().any(|what| what == wanted);
    let library = what.iter().find(|what| what.starts_with('/')).map(|path| {
        let library = Library::open(path);
        std::fs::remove_file(path).expect("the test's own");
        if all("replaced") {
            std::fs::copy("/proc/self/exe", path).expect("another module");
        }
        library
    });
    let in_library = |level: Level, trace| {
        if let Some(library) = &library {
            let says = 100 * level as u32 + 10 * u32::from(trace);
            assert_eq!((library.call(c"library_says"), library.call(c"library_has")), (says, says));
        }
    };
    if all("mdwe") {
        // Linux 6.3, include/uapi/linux/prctl.h.
        const PR_SET_MDWE: i32 = 65;
        // SAFETY: numbers alone.
        assert_eq!(unsafe { libc::prctl(PR_SET_MDWE, 1, 0, 0, 0) }, 0, "{}", std::io::Error::last_os_error());
    }
    for (name, number) in [("memfd", libc::SYS_memfd_create), ("mremap", libc::SYS_mremap)] {
        if all(name) {
            forbid(number);
        }
    }
    if all("threads") {
        std::thread::spawn(std::thread::park);
    }
    let (level, trace) = (LEVEL.get(), TRACE.get());
    match invar::set(&[LEVEL.to(Level::Debug), TRACE.to(!trace)]) {
        Ok(set) => {
            assert_eq!((seen(), LEVEL.get(), TRACE.get()), (is_for(Level::Debug, !trace), Level::Debug, !trace));
            in_library(Level::Debug, !trace);
            result("set", format!("{} {}", set.bound, set.checked));
        }
        Err(why) => {
            assert_eq!((seen(), LEVEL.get(), TRACE.get()), (is_for(level, trace), level, trace), "all is as it was");
            in_library(level, trace);
            result("set", format!("{why:?}"));
        }
    }
}

/// Whatever fails: all sites go by the new values, or by the old ones, or so many do not as the error says. Then nothing fails any
/// more, and all of them can be set.
fn faulted(what: &[String]) {
    let all = |wanted: &str| what.iter().any(|what| what == wanted);
    let library = what.iter().find(|what| what.starts_with('/')).map(|path| Library::open(path));
    let agree = |level: Level, trace| {
        assert_eq!((seen(), LEVEL.get(), TRACE.get()), (is_for(level, trace), level, trace));
        if let Some(library) = &library {
            let says = 100 * level as u32 + 10 * u32::from(trace);
            assert_eq!((library.call(c"library_says"), library.call(c"library_has")), (says, says));
        }
    };
    if all("mremap") {
        forbid(libc::SYS_mremap);
    }
    VALUE.store(seen(), Relaxed);
    let thread = all("thread").then(|| std::thread::spawn(look));
    // The other thread has seen what is there now.
    let wait = || {
        let quiet = QUIET.load(Relaxed);
        while thread.is_some() && QUIET.load(Relaxed) == quiet {
            std::thread::yield_now();
        }
    };
    wait();
    let settings = |level: Level, trace| [LEVEL.to(level), TRACE.to(trace)];
    result("begins", "");
    TURN.fetch_add(1, Relaxed);
    let set = invar::set(&settings(Level::Debug, true));
    result("set", format!("{set:?}"));
    let torn = matches!(set, Err(invar::NotSet::Refused(_, 1..)));
    let again = |name, level, trace| {
        let again = invar::set(&settings(level, trace)).map(|set| (set.bound, set.checked));
        result(name, format!("{again:?}"));
    };
    if !torn {
        let (level, trace) = if set.is_ok() { (Level::Debug, true) } else { (Level::Error, false) };
        agree(level, trace);
        // The same values once more: what had to stay checked is bound.
        again("same", level, trace);
        agree(level, trace);
        VALUE.store(is_for(level, trace), Relaxed);
        TURN.fetch_add(1, Release);
        wait();
        TURN.fetch_add(1, Relaxed);
    } else {
        assert_eq!((LEVEL.get(), TRACE.get()), (Level::Error, false));
    }
    again("again", Level::Quiet, true);
    if torn {
        again("same", Level::Quiet, true);
    }
    agree(Level::Quiet, true);
    VALUE.store(is_for(Level::Quiet, true), Relaxed);
    TURN.fetch_add(1, Release);
    wait();
    ENDED.store(true, Relaxed);
    if let Some(thread) = thread {
        thread.join().expect("no wrong site");
    }
}

/// The sets say how many sites are bound and how many stay checked: while the cause is there, and twice when it is gone.
fn again(path: &str, cause: &str) {
    let thread = (cause == "threads").then(|| std::thread::spawn(std::thread::park));
    // The runtime can open the library's file then, and not make a memfd as well.
    let limit = (cause == "descriptors").then(|| limit_descriptors(|_, free| free + 1));
    let library = Library::open(path);
    let (level, trace) = (LEVEL.get(), TRACE.get());
    let set = |name| {
        let set = invar::set(&[LEVEL.to(level), TRACE.to(trace)]).expect("what is not bound is not wrong");
        let says = 100 * level as u32 + 10 * u32::from(trace);
        assert!(agrees() && (library.call(c"library_says"), library.call(c"library_has")) == (says, says));
        result(name, format!("{} {}", set.bound, set.checked));
    };
    set("refused");
    if let Some(thread) = thread {
        thread.thread().unpark();
        thread.join().expect("parked");
        // The kernel takes it from its list a moment later.
        while std::fs::read_dir("/proc/self/task").expect("threads").count() > 1 {
            std::thread::yield_now();
        }
    }
    if let Some(limit) = limit {
        limit_descriptors(|_, _| limit);
    }
    set("same");
    set("once more");
}

/// The library's copy of the runtime may ask no writer: who would leave the program's sites with another value sets nothing. The program's
/// copy may, and leaves the library's sites checked.
fn apart(path: &str) {
    // SAFETY: there is no other thread.
    unsafe { std::env::set_var("INVAR_WRITER", "off") };
    let library = Library::open(path);
    for name in ["first", "second"] {
        let trace = TRACE.get();
        result(name, library.call(c"library_turns"));
        assert!(agrees() && TRACE.get() == trace);
        let set = TRACE.set(!trace).expect("the program's copy may");
        assert!(agrees() && TRACE.get() != trace && library.call(c"library_says") / 10 % 10 == u32::from(!trace));
        result(&format!("{name} set"), format!("{} {}", set.bound, set.checked));
    }
}

/// Limits descriptors by what the limit is and by the lowest one that is free; returns what it was.
fn limit_descriptors(limit: impl FnOnce(u64, u64) -> u64) -> u64 {
    // SAFETY: numbers, and a descriptor of its own.
    unsafe {
        let free = libc::dup(0);
        assert!(free >= 0 && libc::close(free) == 0);
        let mut limits: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits), 0);
        let was = limits.rlim_cur;
        limits.rlim_cur = limit(was, free as u64);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limits), 0);
        was
    }
}

/// A debugger's, on the site of a key whose page has the switches' sites, too.
fn breakpoint() {
    let mut site = None;
    invar::report().modules(|module| {
        let of_key = |binding: &invar::Binding<'_>| binding.key().is_some_and(|key| key.name() == "switched.fixed");
        site = site.or(module.bindings().find(of_key).and_then(|binding| binding.site()).map(|site| site.address));
    });
    let at = site.expect("main has one") as usize;
    let page = (at & !4095) as *mut c_void;
    let protect = |protection| {
        // SAFETY: this thread alone is there, and goes on executing.
        assert_eq!(unsafe { libc::mprotect(page, 4096, protection) }, 0);
    };
    protect(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    // SAFETY: `int3` in the place of the first byte of a site that nobody executes any more.
    unsafe { (at as *mut u8).write_volatile(0xcc) };
    protect(libc::PROT_READ | libc::PROT_EXEC);
    LEVEL.set(Level::Debug).expect("a breakpoint is no change");
    assert!(agrees());
}

/// One site's last instruction becomes another one that does nothing.
fn foreign() {
    let page = |address: usize| (address & !4095) as *mut c_void;
    let protect = |address, protection| {
        // SAFETY: this thread alone is there, and goes on executing.
        assert_eq!(unsafe { libc::mprotect(page(address), 8192, protection) }, 0);
    };
    TRACE.set(true).expect("its site's nops become a jump");
    let start = a as fn() -> u32 as usize;
    // SAFETY: the function's code, and what follows it.
    let code = unsafe { std::slice::from_raw_parts(start as *const u8, 256) };
    let nops = [0x40, 0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0x66, 0x90];
    let at = start + code.windows(10).position(|code| code == nops).expect("LEVEL == Level::Error") + 8;
    protect(at, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    // SAFETY: the second byte of a nop of two, which becomes one of one.
    unsafe { (at as *mut u8).write_volatile(0x90) };
    protect(at, libc::PROT_READ | libc::PROT_EXEC);
    let before = seen();
    for _ in 0..3 {
        let set = invar::set(&[LEVEL.to(Level::Debug), TRACE.to(TRACE.get())]);
        assert_eq!(set, Err(invar::NotSet::Foreign(at - 8)), "{at:x}");
        assert!(seen() == before && agrees(), "all is as it was");
    }
}

/// This system call fails from now on: EPERM.
fn forbid(number: libc::c_long) {
    let code = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        code((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, 0),
        code((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, number as u32),
        code((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        code((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the filter.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

static HANDLED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicBool = AtomicBool::new(true);

fn handler() {
    extern "C" fn sees(_: i32) {
        let seen = seen();
        assert!(seen & 15 != 0 && seen & 48 != 0 && seen & 192 != 0, "a site says nothing");
        HANDLED.fetch_add(1, Relaxed);
    }
    extern "C" fn sets(_: i32) {
        REFUSED.fetch_and(TRACE.set(true) == Err(invar::NotSet::InSignalHandler), Relaxed);
        HANDLED.fetch_add(1, Relaxed);
    }
    // SAFETY: the handlers are functions of one number; the stack stays.
    unsafe {
        let stack = Box::leak(vec![0_u8; 1 << 16].into_boxed_slice());
        let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0);
        for (signal, handler, flags) in [
            (libc::SIGUSR1, sets as extern "C" fn(i32) as usize, libc::SA_ONSTACK),
            (libc::SIGALRM, sees as extern "C" fn(i32) as usize, libc::SA_RESTART),
        ] {
            let mut action: libc::sigaction = std::mem::zeroed();
            (action.sa_sigaction, action.sa_flags) = (handler, flags);
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
        }
        libc::raise(libc::SIGUSR1);
        result("refused", REFUSED.load(Relaxed) && HANDLED.load(Relaxed) == 1);
        assert!(!TRACE.get());
        let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
        while HANDLED.load(Relaxed) < 500 {
            let number = HANDLED.load(Relaxed) as usize;
            LEVEL.set(LEVELS[number % 4]).expect("set");
            assert!(agrees());
        }
        let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let timer = libc::itimerval { it_interval: never, it_value: never };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
    result("handled", HANDLED.load(Relaxed));
}

fn child() {
    TRACE.set(true).expect("set");
    // SAFETY: the child has one thread, as its parent.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let right = agrees() && TRACE.get() && TRACE.set(false).is_ok() && agrees() && !TRACE.get();
        // SAFETY: ends the child.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    result("child", status);
    result("parent", agrees() && TRACE.get());
}

/// How many children did what they were to do, and how many did not come to an end.
fn forks(children: usize, path: &str) {
    let setter = std::thread::spawn(|| {
        let mut sets = 0;
        while !ENDED.load(Relaxed) {
            invar::set(&[LEVEL.to(LEVELS[sets % 4]), TRACE.to(sets % 2 == 0)]).expect("set");
            sets += 1;
        }
        sets
    });
    const REFUSED: i32 = 9;
    let (mut right, mut refused, mut stuck) = (0, 0, 0);
    for _ in 0..children {
        // Not before the other thread is in the midst of it.
        std::thread::sleep(std::time::Duration::from_micros(200));
        // SAFETY: the child calls what locks of its parent's may stand before: this is to be seen.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: no handler: the child is killed.
            unsafe { libc::alarm(20) };
            let begins = agrees();
            if begins && TRACE.set(false) == Err(invar::NotSet::InSignalHandler) {
                // `fork` was tired of waiting, as where others have the CPUs.
                // SAFETY: ends the child.
                unsafe { libc::_exit(REFUSED) };
            }
            let is_set = TRACE.set(false).is_ok() && LEVEL.set(Level::Info).is_ok() && agrees() && !TRACE.get();
            let library = Library::open(path);
            let says = library.call(c"library_says") == 200;
            library.close();
            let right = begins && is_set && says;
            // SAFETY: ends the child.
            unsafe { libc::_exit(if right { 0 } else { 1 + i32::from(begins) + 2 * i32::from(is_set) }) };
        }
        let mut status = 0;
        // SAFETY: the child above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        right += u32::from(status == 0);
        refused += u32::from(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED);
        stuck += u32::from(libc::WIFSIGNALED(status));
    }
    ENDED.store(true, Relaxed);
    let sets = setter.join().expect("set");
    result("forks", format!("{right} {refused} {stuck}"));
    result("sets", sets);
}

/// Nobody is left in a library that is gone; how many children were made.
fn closing(children: usize, path: &str) {
    let path = path.to_owned();
    let opener = std::thread::spawn(move || {
        while !ENDED.load(Relaxed) {
            let library = Library::open(&path);
            assert!(library.flag(c"library_sets"));
            library.close();
        }
    });
    let mut made = 0;
    for _ in 0..children {
        std::thread::sleep(std::time::Duration::from_micros(200));
        // SAFETY: the child ends at once.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: the child above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        made += u32::from(status == 0);
    }
    ENDED.store(true, Relaxed);
    opener.join().expect("opened");
    result("closing", made);
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn interrupting(_: &str) {
    unreachable!("the test is another's");
}

/// From a signal's handler that runs where glibc's loader says what it is about to do: at the function where debuggers have their
/// breakpoint, which is called then. So is this one's.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn interrupting(path: &str) {
    use std::sync::atomic::AtomicPtr;

    /// As <link.h> has it.
    #[repr(C)]
    struct Debug {
        version: i32,
        map: *mut c_void,
        breakpoint: *mut u8,
        state: i32,
    }
    static DEBUG: AtomicPtr<Debug> = AtomicPtr::new(std::ptr::null_mut());
    static REFUSED: AtomicU64 = AtomicU64::new(0);

    extern "C" fn stopped(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the loader's.
        if unsafe { (&raw const (*DEBUG.load(Relaxed)).state).read_volatile() } != 0 {
            let is_refused = TRACE.set(true) == Err(invar::NotSet::InSignalHandler);
            REFUSED.fetch_add(u64::from(is_refused), Relaxed);
        }
        HANDLED.fetch_add(1, Relaxed);
        // SAFETY: what the kernel gives a handler. The function only returns.
        unsafe {
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            registers[libc::REG_RIP as usize] = (registers[libc::REG_RSP as usize] as *const i64).read();
            registers[libc::REG_RSP as usize] += 8;
        }
    }

    // SAFETY: the handler is of this type; the page is the loader's text, which no other thread executes.
    unsafe {
        let debug = libc::dlsym(libc::RTLD_DEFAULT, c"_r_debug".as_ptr()).cast::<Debug>();
        assert!(!debug.is_null() && (*debug).version >= 1 && !(*debug).map.is_null());
        DEBUG.store(debug, Relaxed);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = stopped as extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()), 0);
        let breakpoint = (*debug).breakpoint;
        let page = (breakpoint as usize & !4095) as *mut c_void;
        assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC), 0);
        breakpoint.write_volatile(0xcc);
        assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC), 0);
    }
    for round in 0..20 {
        let library = Library::open(path);
        LEVEL.set(LEVELS[round % 4]).expect("set");
        assert_eq!(library.call(c"library_says") / 100, round as u32 % 4);
        library.close();
    }
    assert!(agrees() && !TRACE.get());
    result("interrupting", format!("{} {}", HANDLED.load(Relaxed), REFUSED.load(Relaxed)));
}

/// How many bytes of its stack a thread has used that sets.
fn stack() {
    const BYTES: usize = 256 << 10;
    const PAINT: u8 = 0xa5;
    extern "C" fn sets(_: *mut c_void) -> *mut c_void {
        LEVEL.set(Level::Debug).expect("set");
        std::ptr::null_mut()
    }
    extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
        std::ptr::null_mut()
    }
    let used = |start: extern "C" fn(*mut c_void) -> *mut c_void| {
        let layout = std::alloc::Layout::from_size_align(BYTES, 4096).expect("a layout");
        // SAFETY: the thread's stack, which is looked at when the thread has ended.
        unsafe {
            let memory = std::alloc::alloc(layout);
            memory.write_bytes(PAINT, BYTES);
            let (mut attributes, mut thread) = (std::mem::zeroed(), std::mem::zeroed());
            assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
            assert_eq!(libc::pthread_attr_setstack(&raw mut attributes, memory.cast(), BYTES), 0);
            assert_eq!(libc::pthread_create(&raw mut thread, &raw const attributes, start, std::ptr::null_mut()), 0);
            assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
            let bytes = std::slice::from_raw_parts(memory, BYTES);
            let used = BYTES - bytes.iter().take_while(|&&byte| byte == PAINT).count();
            std::alloc::dealloc(memory, layout);
            used
        }
    };
    let thread = used(nothing);
    // Where it begins to read code, which it does once for many pages.
    LEVEL.set(Level::Quiet).expect("set");
    result("stack", used(sets) - thread);
}

fn library(path: &str) {
    LEVEL.set(Level::Info).expect("set");
    TRACE.set(true).expect("set");
    let library = Library::open(path);
    // It adopts what was set, not what was decided.
    result("opened", library.call(c"library_says"));
    assert_eq!(library.call(c"library_has"), 210);
    for (number, level) in LEVELS.into_iter().enumerate() {
        let set = LEVEL.set(level).expect("set");
        assert_eq!(library.call(c"library_says"), 100 * number as u32 + 10, "{set:?}");
        assert_eq!(library.call(c"library_has"), 100 * number as u32 + 10);
        assert!(agrees());
    }
    invar::set(&[invar::Setting::named("switched.library", "on"), TRACE.to(false)]).expect("set");
    assert_eq!((library.call(c"library_says"), library.call(c"library_has")), (301, 301));
    assert!(library.flag(c"library_sets") && agrees());
    // It is no switch of the library's, whose values are others.
    assert!(DISPUTED.set(Level::Debug).is_ok() && library.flag(c"library_sets"));
    let two = LEVEL.set(Level::Quiet).expect("set");
    library.close();
    let one = LEVEL.set(Level::Error).expect("set");
    result("sites", format!("{} {}", two.bound, one.bound));
    assert!(agrees());
    let library = Library::open(path);
    result("again", library.call(c"library_says"));
}

#[inline(never)]
fn in_c() -> bool {
    // Not one load for the branch and the key.
    black_box(invar::branch!(IN_C))
}

/// Either language sets the switch, and both go by it.
fn with_c(path: &str) {
    let library = Library::open(path);
    let stands = || {
        let (mut bound, mut all, mut modules) = (0, 0, 0);
        invar::report().modules(|module| {
            let ours = module.keys().find(|key| key.name() == "switched_trace");
            if let Some(key) = ours {
                modules += 1;
                assert_eq!(key.value(), if IN_C.get() { "on" } else { "off" });
            }
            for binding in module.bindings().filter(|site| site.key().is_some_and(|key| key.name() == "switched_trace"))
            {
                all += 1;
                bound += u32::from(binding.status() == invar::SiteStatus::Bound);
            }
        });
        assert_eq!((modules, bound), (2, all));
        all
    };
    let agrees = |on| {
        // The library's branch, and its value by a load.
        assert_eq!((in_c(), IN_C.get(), library.call(c"traced")), (on, on, if on { 2 } else { 0 }));
        stands()
    };
    result("sites", agrees(false));
    for on in [true, false, true] {
        let set = IN_C.set(on).expect("set");
        assert_eq!((set.bound, set.checked), (agrees(on), 0), "of both modules");
    }
    for (name, on) in [(c"trace_off", false), (c"trace_on", true), (c"trace_off", false)] {
        assert_eq!(library.call(name), 0, "INVAR_OK");
        agrees(on);
    }
    IN_C.set(true).expect("set");
    result("at last", agrees(true));
}

#[cfg(not(target_env = "gnu"))]
fn namespace(_: &str) {
    unreachable!("there are no namespaces");
}

/// Neither knows the other's modules.
#[cfg(target_env = "gnu")]
fn namespace(path: &str) {
    let path = CString::new(path).expect("a path");
    // SAFETY: runs the constructors of the library, and of all that it needs, a second time.
    let library = Library(unsafe { libc::dlmopen(libc::LM_ID_NEWLM, path.as_ptr(), libc::RTLD_NOW) });
    assert!(!library.0.is_null());
    let says = |expected| {
        assert_eq!((library.call(c"library_says"), library.call(c"library_has")), (expected, expected));
        assert!(agrees());
    };
    says(310);
    for level in LEVELS {
        LEVEL.set(level).expect("set");
        says(310);
    }
    let set = invar::set(&[invar::Setting::named("switched.library", "on")]);
    assert_eq!(set, Err(invar::NotSet::Unknown), "only that namespace has it");
    // Beside a thread that sets the program's.
    let setter = std::thread::spawn(|| {
        for number in 0..100 {
            LEVEL.set(LEVELS[number % 4]).expect("set");
        }
    });
    for _ in 0..100 {
        assert!(library.flag(c"library_follows"));
    }
    setter.join().expect("set");
    says(310);
    result("namespace", "its own");
}

/// A dlopened library.
struct Library(*mut c_void);

impl Library {
    fn open(path: &str) -> Self {
        let path = CString::new(path).expect("a path");
        // SAFETY: runs the library's constructors, which is what is wanted.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{path:?}");
        Self(handle)
    }

    fn call(&self, name: &std::ffi::CStr) -> u32 {
        // SAFETY: all functions of the library that are called so have this type.
        unsafe {
            let function = libc::dlsym(self.0, name.as_ptr());
            assert!(!function.is_null());
            std::mem::transmute::<*mut c_void, extern "C" fn() -> u32>(function)()
        }
    }

    fn flag(&self, name: &std::ffi::CStr) -> bool {
        self.call(name) & 255 == 1
    }

    fn close(self) {
        // SAFETY: an open handle, not used again.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}
