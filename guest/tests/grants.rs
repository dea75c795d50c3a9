//! Grants are proved, not assumed: many threads want one lock on one CPU, and bound sites get them as much as the
//! protocol written by hand does.

use crate::kernels::{Kernel, facts, job};
use crate::libcs::UNREGISTERED;
use crate::test;
use invar_guest::console::{Counts, Job};
use libtest_mimic::Trial;

const THREADS: &str = "16";

/// What is compared, long enough for chance to have no say.
const BY_HAND: Way = Way { name: "slices by hand", way: "by-hand", milliseconds: 2000, setting: None };
const BOUND: Way = Way { name: "slices, bound", way: "slices", milliseconds: 2000, setting: None };
const CHECKED: Way =
    Way { name: "slices, checked form", way: "slices", milliseconds: 2000, setting: Some(("INVAR_WRITER", "off")) };

/// What slices compete with.
const OTHERS: [Way; 4] = [
    Way { name: "spin", way: "spin", milliseconds: 400, setting: None },
    Way { name: "spin, then yield", way: "spin-then-yield", milliseconds: 400, setting: None },
    Way { name: "spin, then futex", way: "spin-then-futex", milliseconds: 400, setting: None },
    Way { name: "pthread_mutex", way: "pthread_mutex", milliseconds: 400, setting: None },
];

/// The locks of `invar-lock`, and the same where the slice key is off, which makes them ordinary ones.
const LOCKS: [[Way; 2]; 2] = [
    [
        Way { name: "SpinLock", way: "spin-lock", milliseconds: 500, setting: None },
        Way {
            name: "SpinLock, slices off",
            way: "spin-lock",
            milliseconds: 500,
            setting: Some(("INVAR_KEYS", "slice=off")),
        },
    ],
    [
        Way { name: "Mutex", way: "mutex", milliseconds: 500, setting: None },
        Way { name: "Mutex, slices off", way: "mutex", milliseconds: 500, setting: Some(("INVAR_KEYS", "slice=off")) },
    ],
];

/// A way to have a lock.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// For `contend`.
    way: &'static str,
    milliseconds: u32,
    setting: Option<(&'static str, &'static str)>,
}

fn all() -> impl Iterator<Item = Way> {
    OTHERS.into_iter().chain([BY_HAND, BOUND, CHECKED]).chain(LOCKS.into_iter().flatten())
}

impl Way {
    fn job(self) -> Job {
        let environment: Vec<_> = [UNREGISTERED].into_iter().chain(self.setting).collect();
        let milliseconds = self.milliseconds.to_string();
        job(self.job_name(), &environment, &["/bin/contend", self.way, THREADS, &milliseconds])
    }

    fn job_name(self) -> String {
        format!("{THREADS} threads: {}", self.name)
    }

    /// How often a thread had the lock, and what the kernel counted.
    fn figures(self, kernel: Kernel) -> (u64, Counts) {
        // It ended well, so no signal ended it.
        let operations = facts(kernel.run(), &self.job_name())["operations"].parse().unwrap();
        (operations, kernel.run().outcomes[&self.job_name()].counts.expect("counts"))
    }
}

pub fn tests() -> Vec<Trial> {
    let slices = |kernel: Kernel| {
        let name = format!("bound slices are granted like those by hand, kernel {}", kernel.name());
        test(name, kernel.missing(), move || bound_slices_are_granted(kernel))
    };
    let locks = |kernel: Kernel| {
        let name = format!("locks gain by slices, kernel {}", kernel.name());
        test(name, kernel.missing(), move || locks_gain(kernel))
    };
    let kernels = [Kernel::On, Kernel::Strict];
    kernels.map(slices).into_iter().chain(kernels.map(locks)).collect()
}

pub fn jobs(kernel: Kernel) -> Vec<Job> {
    if kernel.grants() { all().map(Way::job).collect() } else { vec![] }
}

fn bound_slices_are_granted(kernel: Kernel) {
    let mut table = format!("kernel {}, {THREADS} threads, 1 CPU\n", kernel.name());
    for way in all() {
        let (operations, counts) = way.figures(kernel);
        let rate = operations / u64::from(way.milliseconds);
        table += &format!("{:22}{rate:6} operations a millisecond; {counts}\n", way.name);
    }
    let (by_hand, by_hand_counts) = BY_HAND.figures(kernel);
    // Much more would mean that it is not the protocol that is written by hand.
    for (way, enough, most) in [(BOUND, 0.98, 1.05), (CHECKED, 0.8, 1.05)] {
        let (operations, counts) = way.figures(kernel);
        let figures = [
            ("operations", operations, by_hand),
            ("grants", counts.granted, by_hand_counts.granted),
            ("yields", counts.yielded, by_hand_counts.yielded),
        ];
        for (what, ours, by_hand) in figures {
            let ratio = ours as f64 / by_hand as f64;
            table += &format!("{}: {ratio:.3} of the {what} by hand\n", way.name);
            assert!(by_hand > 1000 && (enough..=most).contains(&ratio), "{table}");
        }
    }
    print!("\n{table}");
}

/// Nobody enrolled their threads but they themselves.
fn locks_gain(kernel: Kernel) {
    for ([with, without], enough) in LOCKS.into_iter().zip([1.2, 1.03]) {
        let ((operations, counts), (ordinary, none)) = (with.figures(kernel), without.figures(kernel));
        let ratio = operations as f64 / ordinary as f64;
        let said = format!("{}: {ratio:.3} of the operations without slices; {counts}", with.name);
        println!("{said}");
        assert!(ratio > enough && counts.granted > 100 && counts.yielded * 10 > counts.granted * 9, "{said}");
        assert_eq!(none, Counts::default());
    }
}
