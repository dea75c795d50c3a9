//! `sections [RULE...]` says what the runtime found out and did, then enters sections on a CPU that somebody else wants
//! as well, and counts what came of them. The rules are filters that are installed between the two.
//!
//! One line a fact: its name, a tab, its value.
#![forbid(unsafe_code)]

use invar_guest_programs::{Area, confine, end_by_signals, filters, is_static, libc_version, owner, say};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How many sections are entered.
const SECTIONS: u32 = 16;

static OVER: AtomicBool = AtomicBool::new(false);

fn main() {
    end_by_signals();
    for rule in std::env::args().skip(1) {
        confine(&rule);
    }
    tell();

    let rival = std::thread::spawn(|| {
        while !OVER.load(Relaxed) {
            std::hint::spin_loop();
        }
    });
    let area = Area::of_this_thread();
    let (mut grants, mut yields) = (0, 0);
    for _ in 0..SECTIONS {
        let section = area.enter_granted();
        let granted = section.is_some();
        drop(section);
        grants += u32::from(granted);
        // Only a system call takes it back so early, and the end of the section makes the only one.
        yields += u32::from(granted && !area.granted());
        // Nothing gave up the CPU: the kernel will take it.
        while area.granted() {
            std::hint::spin_loop();
        }
    }
    OVER.store(true, Relaxed);
    rival.join().expect("the rival");
    say("sections", SECTIONS);
    say("grants", grants);
    say("yields", yields);
}

fn tell() {
    say("libc", libc_version());
    say("static", is_static());
    say("filters", filters());
    invar::report().modules(|module| {
        say("sites", module.sites());
        say("bound", module.bound());
        for key in module.keys().filter(|key| key.name() == "slice") {
            let verdict = key.verdict().expect("decided at load");
            say("slice", key.value());
            say("origin", verdict.origin().name());
            say("evidence", verdict.evidence());
        }
    });
    let libc = invar_arch::libc_area().filter(|&(_, size)| size > 0).map(|(offset, _)| offset);
    let ours = libc != invar::timeslice::__area();
    say("the kernel knows the area of", owner());
    say("requests go to the area of", if ours { "invar" } else { "libc" });
    say("its flags", format_args!("{:#x}", Area::of_this_thread().flags()));
}
