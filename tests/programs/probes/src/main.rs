//! Keys whose probes do what probes may do, and a few that they may not.

use invar::Evidence;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// What probes ask for. The first is the one that is last in most tables: its probe asks all others.
mod asks {
    use super::*;

    invar::key! {
        pub static FIRST: bool = |evidence| {
            let of_cpu = cfg!(not(target_arch = "x86_64")) || sse2();
            let slice = invar::timeslice::SLICE.verdict().is_some();
            write!(evidence, "second {}, cpu {of_cpu}, slice {slice}", SECOND.get()).unwrap();
            Ok(SECOND.get())
        };
    }
    invar::key! { pub static SECOND: bool = |_| Ok(third::THIRD.get()); }
    pub mod third {
        invar::key! { pub static THIRD: bool = |_| Ok(true); }
    }

    /// Every x86-64 CPU that this runs on has one of the two levels of vectors.
    #[cfg(target_arch = "x86_64")]
    fn sse2() -> bool {
        invar::cpu::SSSE3.get() == std::is_x86_feature_detected!("ssse3") && invar::cpu::SSSE3.verdict().is_some()
    }
    #[cfg(not(target_arch = "x86_64"))]
    fn sse2() -> bool {
        true
    }
}

/// Keys that ask for each other: one for itself, two, and three.
mod cycle {
    invar::key! { pub static ALONE: bool = |_| Ok(!ALONE.get()); }
    invar::key! { pub static PING: bool = |_| Ok(!PONG.get()); }
    invar::key! { pub static PONG: bool = |_| Ok(!PING.get()); }
    invar::key! { pub static ROCK: bool = |_| Ok(!PAPER.get()); }
    invar::key! { pub static PAPER: bool = |_| Ok(!SCISSORS.get()); }
    invar::key! { pub static SCISSORS: bool = |_| Ok(!ROCK.get()); }
}

/// Two that do not know each other, and two that have agreed on a name.
mod codec_a {
    invar::key! { pub static FAST: bool = |_| Ok(true); }
    invar::key! { #[name = "agreed.name"] pub static AGREED: bool = |evidence| { evidence.text("by a"); Ok(true) }; }
}
mod codec_b {
    invar::key! { pub static FAST: bool = |_| Ok(false); }
    invar::key! { #[name = "agreed.name"] pub static AGREED: bool = |evidence| { evidence.text("by b"); Ok(false) }; }
}

/// Two of one name that prove something: what one says to be too much the other does not have. Any CPU has what the first needs.
#[cfg(target_arch = "x86_64")]
mod proofs {
    invar::key! { #[name = "agreed.proof"] #[requires("sse2")] pub static LOW: bool = |_| Ok(false); }
    invar::key! { #[name = "agreed.proof"] #[requires("sse2")] pub static HIGH: bool = |_| Ok(LOW.get() || !LOW.get()); }
}

static SPIN: invar_lock::SpinLock<u32> = invar_lock::SpinLock::new(0);
static MUTEX: invar_lock::Mutex<u32> = invar_lock::Mutex::new(0);

invar::key! {
    /// Named so that it stands before others.
    static A_LOCK: bool = |evidence| {
        let before = witness::control_block();
        let (spin, mutex) = (SPIN.lock(), MUTEX.lock());
        let inside = witness::control_block();
        drop((spin, mutex));
        evidence.text(if before == inside && inside == witness::control_block() { "nothing else written" } else { "written to" });
        Ok(true)
    };
}

invar::key! {
    /// Four threads, joined, which wait for each other.
    static THREADS: bool = |evidence| {
        static THERE: AtomicU32 = AtomicU32::new(0);
        let body = || {
            let enrolled = invar::timeslice::enrol();
            *MUTEX.lock() += 1;
            THERE.fetch_add(1, SeqCst);
            while THERE.load(SeqCst) < 4 {
                std::thread::yield_now();
            }
            // That it is refused, and why, is right as well.
            (enrolled.is_ok() == on()).to_string() + &enrolled.map_or_else(|why| why.to_string(), |()| "enrolled".into())
        };
        let threads = [(); 4].map(|()| std::thread::spawn(body));
        let said = threads.map(|thread| thread.join().expect("a thread that ends"));
        evidence.text(&said[0]);
        Ok(said.iter().all(|other| *other == said[0]))
    };
}

/// Whether threads can be enrolled.
fn on() -> bool {
    invar::timeslice::SLICE
        .verdict()
        .is_some_and(|verdict| verdict.value() != 0 && verdict.origin() != invar::Origin::Forced)
}

invar::key! {
    static ENROLS: bool = |evidence: &mut Evidence| {
        let enrolled = invar::timeslice::enrol();
        evidence.text(&enrolled.map_or_else(|why| why.to_string(), |()| "enrolled".into()));
        Ok(enrolled.is_ok() == on())
    };
}

invar::key! {
    static ARGUMENTS: bool = |evidence| {
        for argument in std::env::args().skip(1) {
            evidence.text(&argument).text(";");
        }
        Ok(std::env::args().any(|argument| argument == "--on"))
    };
}

invar::key! {
    static REPORTS: bool = |evidence| {
        let text = invar::report().to_string();
        let own = text.lines().find(|line| line.contains("probes.reports ")).unwrap_or("not there");
        evidence.text(own.trim());
        Ok(text.contains("key slice = "))
    };
}

fn main() {
    witness::chose("asks first", invar::branch!(asks::FIRST), &asks::FIRST);
    witness::chose("asks second", invar::branch!(asks::SECOND), &asks::SECOND);
    witness::chose("cycle alone", invar::branch!(cycle::ALONE), &cycle::ALONE);
    witness::chose("codec a", invar::branch!(codec_a::FAST), &codec_a::FAST);
    witness::chose("codec b", invar::branch!(codec_b::FAST), &codec_b::FAST);
    witness::chose("a agreed", invar::branch!(codec_a::AGREED), &codec_a::AGREED);
    witness::chose("b agreed", invar::branch!(codec_b::AGREED), &codec_b::AGREED);
    #[cfg(target_arch = "x86_64")]
    witness::result("proofs", format_args!("{} {}", proofs::LOW.get(), proofs::HIGH.get()));
    for (name, key) in [
        ("lock", &A_LOCK),
        ("threads", &THREADS),
        ("enrols", &ENROLS),
        ("arguments", &ARGUMENTS),
        ("reports", &REPORTS),
    ] {
        witness::result(name, key.get());
    }
    witness::result("locked", *MUTEX.lock() + *SPIN.lock());
    witness::tell();
}
