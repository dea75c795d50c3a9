//! `watched` enters sections of several sorts on a CPU that somebody else wants as well, and says what was counted of each, from the
//! file that `INVAR_PROFILE` names; run it with `INVAR_SLICE=profile`.
//!
//! One line a fact: its name, a tab, its value.
#![forbid(unsafe_code)]

use invar::timeslice::{self, Counts, enter};
use invar_guest_programs::{Area, end_by_signals, say};
use std::hint::{black_box, spin_loop};
use std::os::unix::process::parent_id;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

static OVER: AtomicBool = AtomicBool::new(false);

fn main() {
    end_by_signals();
    let rival = thread::spawn(|| {
        while !OVER.load(Relaxed) {
            spin_loop();
        }
    });
    let area = Area::of_this_thread();
    case("granted", || {
        for _ in 0..16 {
            drop(area.enter_granted());
        }
    });
    case("short", || {
        for _ in 0..60_000 {
            let _slice = enter();
            work(50);
        }
    });
    case("too long", || {
        for _ in 0..2_000 {
            let _slice = enter();
            work(2_500);
        }
    });
    case("with a system call", || {
        // An interrupted section that the kernel spent long on counts as one that was too long: until a few are told apart.
        let before = interrupted();
        for _ in 0..10 {
            for _ in 0..20_000 {
                let _slice = enter();
                work(50);
                black_box(parent_id());
                work(50);
            }
            if interrupted() - before >= 4 {
                break;
            }
        }
    });
    case("nested", || {
        for _ in 0..10 {
            let _outer = enter();
            let _inner = enter();
        }
    });
    case("not enrolled", || {
        let long = || {
            for _ in 0..2_000 {
                let _slice = enter();
                work(2_500);
            }
        };
        thread::spawn(long).join().expect("a thread");
    });
    OVER.store(true, Relaxed);
    rival.join().expect("the rival");

    let all = timeslice::counts().expect("counts");
    say("all", numbers(&all));
    let mut sum = Counts::default();
    let mut threads = Vec::new();
    assert!(timeslice::each_thread_counts(|number, counts| {
        threads.push((number, counts.requests));
        sum.requests += counts.requests;
        sum.lost += counts.lost;
    }));
    assert_eq!((sum.requests, sum.lost), (all.requests, all.lost));
    say("for threads beyond the last", threads.remove(0).1);
    say(
        "first thread",
        if threads.iter().any(|thread| thread.0 == std::process::id()) { "counted" } else { "missing" },
    );
    say("threads", threads.len());
}

fn numbers(counts: &Counts) -> String {
    let Counts { requests, grants, yields, lost, .. } = counts;
    format!("requests={requests} grants={grants} yields={yields} lost={lost}")
}

/// Five instructions or so for each step.
#[inline(never)]
fn work(steps: u32) {
    for step in 0..steps {
        black_box(step);
    }
}

/// The numbers of all sites together, behind their addresses (`docs/profile.md`), and how many sections are in a histogram.
fn sites() -> (usize, [u64; 9]) {
    let file = std::env::var("INVAR_PROFILE").expect("INVAR_PROFILE").replace("%p", &std::process::id().to_string());
    let bytes = std::fs::read(file).expect("the profile");
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let mut sum = [0; 9];
    let sites = bytes[327_936..].chunks(512).filter(|site| number(&site[..8]) != 0);
    let count = sites.clone().count();
    for site in sites {
        for (sum, at) in sum.iter_mut().zip(1..9) {
            *sum += number(&site[8 * at..8 * at + 8]);
        }
        sum[8] +=
            site[128..].chunks(4).map(|n| u64::from(u32::from_le_bytes(n.try_into().expect("four")))).sum::<u64>();
    }
    (count, sum)
}

/// How many losses of all sites are explained by an interruption.
fn interrupted() -> u64 {
    let (_, [_, _, _, _, _, interrupted, ..]) = sites();
    interrupted
}

/// Says what the work added.
fn case(name: &str, work: impl FnOnce()) {
    let (sites_before, before) = sites();
    work();
    let (sites_after, after) = sites();
    let [requests, grants, yields, lost, too_long, interrupted, nested, not_enrolled, held] =
        std::array::from_fn(|at| after[at] - before[at]);
    say(
        name,
        format_args!(
            "sites={} requests={requests} grants={grants} yields={yields} lost={lost} too_long={too_long} \
             interrupted={interrupted} nested={nested} not_enrolled={not_enrolled} held={held}",
            sites_after - sites_before
        ),
    );
}
