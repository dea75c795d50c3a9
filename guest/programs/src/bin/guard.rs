//! `guard [LIBRARY]` guards the process, unless a setting did, and then has everybody try to switch the extension off.
//! The library is this package's own. `guard nobody` does so without privileges, `guard in-vain` where one thread has a filter
//! of its own; `guard executed` is what a guarded process executes.
//!
//! One line a fact: its name, a tab, its value.
#![allow(unsafe_code)]

use invar_guest_programs::contest::GUARD;
use invar_guest_programs::{Area, confine, end_by_signals, evidence, filters, no_new_privs, open, say, switch_off};
use std::ffi::c_int;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

fn main() {
    end_by_signals();
    say("evidence", evidence());
    say("filters at load", filters());
    match std::env::args().nth(1).as_deref() {
        Some("nobody") => nobody(),
        Some("in-vain") => in_vain(),
        Some("executed") => say("executed, switched off", switched_off()),
        library => guarded(library),
    }
}

/// Another sort of thread, which is enrolled and waits.
fn bystanders() -> [Sender<()>; 2] {
    [(); 2].map(|()| {
        let (over, wait) = channel::<()>();
        let (enrolled, ready) = channel();
        thread::spawn(move || {
            enrolled.send(invar::timeslice::enrol()).expect("who waits for it");
            _ = wait.recv();
            LEFT_ENABLED.fetch_add(Area::of_this_thread().enabled().into(), SeqCst);
        });
        ready.recv().expect("an answer").expect("slices");
        over
    })
}

static LEFT_ENABLED: AtomicU32 = AtomicU32::new(0);

fn guarded(library: Option<&str>) {
    let area = Area::of_this_thread();
    let bystanders = bystanders();
    say("enabled before", area.enabled());
    say("guard", format_args!("{:?}", invar::timeslice::guard()));
    say("filters", filters());
    say("enabled after", area.enabled());
    say("guard again", format_args!("{:?}", invar::timeslice::guard()));
    if let Some(library) = library {
        // SAFETY: this package's library, whose function has this type.
        let guard: extern "C" fn() = unsafe { std::mem::transmute(open(library, GUARD)) };
        guard();
    }
    say("filters after all", filters());
    say("hostile thread, refused", thread::spawn(try_to_switch_all_off).join().expect("the hostile thread"));
    say("hostile thread, this thread enabled", area.enabled());
    for bystander in bystanders {
        bystander.send(()).expect("a bystander");
    }
    while thread_count() > 1 {
        thread::sleep(Duration::from_millis(1));
    }
    say("hostile thread, others enabled", LEFT_ENABLED.load(SeqCst));
    let later = || format!("enrolled {:?}, switched off {}", invar::timeslice::enrol(), switched_off());
    say("a later thread", thread::spawn(later).join().expect("a thread"));
    rival();
    say("granted", granted());
    fork();
    execute();
}

/// Whether the extension could be switched off in this thread, where it was on.
fn switched_off() -> String {
    let area = Area::of_this_thread();
    let before = area.enabled();
    let answer = switch_off();
    format!("{before} to {}, {answer}", area.enabled())
}

/// How many threads were refused, of all that there are: each is made to try, by a signal.
fn try_to_switch_all_off() -> u32 {
    static REFUSED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handler(_: c_int) {
        REFUSED.fetch_add((switch_off() == -(libc::EPERM as isize)).into(), SeqCst);
    }
    // SAFETY: the handler makes one system call.
    unsafe { libc::signal(libc::SIGUSR1, handler as extern "C" fn(c_int) as libc::sighandler_t) };
    for task in std::fs::read_dir("/proc/self/task").expect("the threads") {
        let task: i32 = task.expect("a thread").file_name().to_string_lossy().parse().expect("its number");
        // SAFETY: a signal with a handler, to a thread of this process.
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), task, libc::SIGUSR1) };
    }
    // On the one CPU: long enough for all of them to have run.
    thread::sleep(Duration::from_millis(100));
    REFUSED.load(SeqCst)
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").expect("the threads").count()
}

/// Wants the CPU all the time.
fn rival() {
    thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
}

/// How many of four sections are granted time.
fn granted() -> usize {
    let area = Area::of_this_thread();
    (0..4).filter(|_| area.enter_granted().is_some()).count()
}

fn fork() {
    // SAFETY: the child uses nothing that the other thread, which spins, could hold.
    let child = unsafe { libc::fork() };
    if child == 0 {
        rival();
        // The kernel maps a child's text when it is executed first: at the end of a granted section that takes too long.
        invar::timeslice::leave();
        say("child after fork", format_args!("switched off {}, granted {}", switched_off(), granted()));
        std::process::exit(0);
    }
    let mut status = -1;
    // SAFETY: fills in one number.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    say("child ended with", status);
}

fn execute() {
    // Up to its own name, in front of which there may be a loader and its options.
    let own = std::env::args().next().expect("a name");
    let command = std::fs::read_to_string("/proc/self/cmdline").expect("the command");
    let words: Vec<&str> = command.split('\0').collect();
    let end = words.iter().position(|word| *word == own).expect("its own name");
    let output = Command::new(words[0]).args(&words[1..=end]).arg("executed").output().expect("this program again");
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        println!("executed: {line}");
    }
    say("executed program ended with", output.status);
}

fn nobody() {
    // SAFETY: a number.
    assert_eq!(unsafe { libc::setuid(65534) }, 0);
    say("no_new_privs before", no_new_privs());
    say("guard", format_args!("{:?}", invar::timeslice::guard()));
    say("no_new_privs after", no_new_privs());
    say("filters", filters());
    say("switched off", switched_off());
}

fn in_vain() {
    let (ready, confined) = channel();
    let (over, wait) = channel::<()>();
    let other = thread::spawn(move || {
        confine("sched_yield=1");
        // SAFETY: no arguments, no effects.
        ready.send(unsafe { libc::gettid() }).expect("who waits for it");
        _ = wait.recv();
    });
    let number = confined.recv().expect("the thread's number");
    for _ in 0..2 {
        let said = format!("{:?}", invar::timeslice::guard());
        say("guard", said.replace(&number.to_string(), "of the other thread"));
    }
    say("filters", filters());
    say("no_new_privs", no_new_privs());
    say("switched off", switched_off());
    say("enrolled again", format_args!("{:?}", invar::timeslice::enrol()));
    drop(over);
    other.join().expect("the thread");
    rival();
    say("granted", granted());
}
