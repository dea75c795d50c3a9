//! Every interleaving of a few threads, with two preemptions in each, keeps the locks' promises, in a model of
//! the memory and of the futex call: the protocols' own source, over loom's atomics.
#![forbid(unsafe_code)]
#![allow(dead_code, unreachable_pub)] // a part of the crate is compiled here

#[path = "../src/adaptive/protocol.rs"]
mod adaptive;
#[path = "../src/protocol.rs"]
mod protocol;

/// The model's side of `src/system.rs`.
mod system {
    use loom::sync::atomic::AtomicBool;
    pub use loom::sync::atomic::AtomicU8;
    use loom::sync::{Condvar, Mutex};
    use std::cell::{Cell, RefCell};
    use std::ops::Deref;
    use std::sync::atomic::Ordering::{self, SeqCst};

    pub const SPINS: u32 = 1;
    /// More than any model's threads lock in a run.
    pub const HEAT: u32 = 8;

    /// Loom leaves it open which of two writes is the later one if the first did not read what the second wrote, even after
    /// both threads have ended. In truth an exchange that succeeded came before what was stored over it, so here a store
    /// is an exchange.
    pub struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub fn new(value: u32) -> Self {
            Self(loom::sync::atomic::AtomicU32::new(value))
        }

        pub fn store(&self, value: u32, order: Ordering) {
            self.0.swap(value, order);
        }
    }

    impl Deref for AtomicU32 {
        type Target = loom::sync::atomic::AtomicU32;
        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    loom::thread_local! {
        /// Whether the thread's request is set.
        static REQUEST: Cell<bool> = Cell::new(false);
        /// What the thread has asked the system for.
        static CALLS: RefCell<Vec<String>> = RefCell::new(vec![]);
        /// What happens once, when the thread asks for this.
        static MEANWHILE: RefCell<Option<(&'static str, Box<dyn FnOnce()>)>> = RefCell::new(None);
    }

    fn called(call: &'static str) {
        note(call.into());
        let happens = MEANWHILE.with(|next| next.borrow_mut().take_if(|(when, _)| *when == call));
        if let Some((_, happens)) = happens {
            happens();
        }
    }

    pub fn note(call: String) {
        CALLS.with(|calls| calls.borrow_mut().push(call));
    }

    /// What the thread has asked for since this was asked last.
    pub fn calls() -> String {
        CALLS.with(|calls| calls.take().join(" "))
    }

    /// Lets something happen once, when the thread asks for this.
    pub fn meanwhile(call: &'static str, happens: impl FnOnce() + 'static) {
        MEANWHILE.with(|next| assert!(next.replace(Some((call, Box::new(happens)))).is_none(), "it did not happen"));
    }

    pub fn requested() -> bool {
        REQUEST.with(Cell::get)
    }

    pub struct Section(());

    /// Never on top of another one.
    pub fn enter() -> Section {
        called("enter");
        assert!(!REQUEST.with(|request| request.replace(true)), "a section in a section");
        Section(())
    }

    impl Drop for Section {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                leave();
            }
        }
    }

    pub fn leave() {
        called("leave");
        assert!(REQUEST.with(|request| request.replace(false)), "no section was open");
    }

    fn system_call(call: &'static str) {
        called(call);
        assert!(!requested(), "a system call in a section");
    }

    pub fn enrol() {
        system_call("enrol");
    }

    /// Loom decides who runs.
    pub fn relax() {
        called("relax");
    }

    pub fn yield_cpu() {
        system_call("yield");
        IN_VAIN.store(true, SeqCst);
        loom::thread::yield_now();
    }

    loom::lazy_static! {
        /// Whether somebody gave up the CPU, or was to sleep.
        pub static ref IN_VAIN: AtomicBool = AtomicBool::new(false);
        /// Under which the kernel compares and queues; and its queue of sleepers.
        static ref COMPARE: Mutex<()> = Mutex::new(());
        static ref SLEEPERS: Condvar = Condvar::new();
    }

    pub fn wait(word: &AtomicU32, expected: u32) {
        system_call("wait");
        IN_VAIN.store(true, SeqCst);
        let compare = COMPARE.lock().unwrap();
        if word.load(SeqCst) == expected {
            drop(SLEEPERS.wait(compare));
        }
    }

    pub fn wake(_: &AtomicU32) {
        system_call("wake");
        let _compare = COMPARE.lock().unwrap();
        SLEEPERS.notify_one();
    }
}

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32 as Count;
use loom::thread;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use system::{AtomicU8, AtomicU32, Section};

/// A lock in a model.
#[derive(Clone, Copy)]
struct Lock<W, G> {
    /// One that nobody has yet.
    new: fn() -> W,
    /// To lock, or to try.
    lock: fn(&W) -> Option<G>,
    unlock: fn(&W, G),
    /// Whether its holder has to ask.
    asks: fn(&W) -> bool,
    /// What must hold in the end, when nobody has it, if somebody waited in vain or nobody did.
    end: fn(&W, bool),
}

/// Threads that each lock so often, or try to, and count: all is counted, and nobody waits for ever, which loom would report.
fn model<W: Send + Sync + 'static, G: 'static>(threads: u32, times: u32, lock: Lock<W, G>) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let shared = Arc::new(((lock.new)(), Count::new(0)));
        let work = move |(word, count): &(W, Count)| {
            let mut counted = 0;
            for _ in 0..times {
                if let Some(guard) = (lock.lock)(word) {
                    assert_eq!(system::requested(), (lock.asks)(word), "what the holder asks");
                    // One is lost unless the lock keeps others out, and shows what they did.
                    count.store(count.load(Relaxed) + 1, Relaxed);
                    counted += 1;
                    (lock.unlock)(word, guard);
                }
                assert!(!system::requested(), "a request is left set");
            }
            counted
        };
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || work(&shared))
            })
            .collect();
        let counted = work(&shared) + others.into_iter().map(|other| other.join().unwrap()).sum::<u32>();
        assert_eq!(shared.1.load(Relaxed), counted);
        (lock.end)(&shared.0, system::IN_VAIN.load(SeqCst));
    });
}

/// In one run; more of them take minutes, and few faults need more.
const PREEMPTIONS: usize = 2;

const MUTEX: Lock<AtomicU32, Section> = Lock {
    new: || AtomicU32::new(protocol::mutex::FREE),
    lock: |word| Some(protocol::mutex::lock(word)),
    unlock: protocol::mutex::unlock,
    asks: |_| true,
    end: |word, _| assert!(!protocol::mutex::is_locked(word)),
};

#[test]
fn mutex_two_threads() {
    model(2, 2, MUTEX);
}

#[test]
fn mutex_three_threads() {
    model(3, 1, MUTEX);
}

/// Its waiters may look for ever, which has no end in a model: here they try.
const SPIN_LOCK: Lock<AtomicU8, Section> = Lock {
    new: || AtomicU8::new(protocol::spin::FREE),
    lock: protocol::spin::try_lock,
    unlock: protocol::spin::unlock,
    asks: |_| true,
    end: |word, _| assert!(!protocol::spin::is_locked(word)),
};

#[test]
fn spin_lock_three_threads() {
    model(3, 2, SPIN_LOCK);
}

/// Cold at first, and hot in the end if it was awaited.
const ADAPTIVE_MUTEX: Lock<AtomicU32, ()> = Lock {
    new: || AtomicU32::new(adaptive::FREE),
    lock: |word| {
        adaptive::mutex::lock(word);
        Some(())
    },
    unlock: |word, ()| adaptive::mutex::unlock(word),
    asks: |word| word.load(Relaxed) & adaptive::ASKING != 0,
    end: |word, in_vain| {
        let word = word.load(Relaxed);
        assert!(!in_vain || word >= adaptive::DEGREE, "the mark is lost");
        assert_eq!(word % adaptive::DEGREE, 0, "free");
        assert!(word <= adaptive::HOT, "hotter than it may be");
    },
};
const ADAPTIVE_SPIN_LOCK: Lock<AtomicU32, ()> = Lock {
    lock: |word| {
        adaptive::spin::lock(word);
        Some(())
    },
    unlock: |word, ()| adaptive::spin::unlock(word),
    ..ADAPTIVE_MUTEX
};

/// It becomes cold while several want it, and may become hot again.
fn cooling() -> AtomicU32 {
    AtomicU32::new(adaptive::DEGREE)
}

#[test]
fn adaptive_mutex_two_threads() {
    model(2, 2, ADAPTIVE_MUTEX);
    model(2, 2, Lock { new: cooling, ..ADAPTIVE_MUTEX });
}

#[test]
fn adaptive_mutex_three_threads() {
    model(3, 1, ADAPTIVE_MUTEX);
    model(3, 1, Lock { new: cooling, ..ADAPTIVE_MUTEX });
}

#[test]
fn adaptive_spin_lock_two_threads() {
    model(2, 2, ADAPTIVE_SPIN_LOCK);
    model(2, 2, Lock { new: cooling, ..ADAPTIVE_SPIN_LOCK });
    model(2, 1, Lock { new: || AtomicU32::new(adaptive::HOT), ..ADAPTIVE_SPIN_LOCK });
}

#[test]
fn adaptive_locks_can_be_tried() {
    let tried = |word: &AtomicU32| adaptive::try_lock(word).then_some(());
    for lock in [ADAPTIVE_MUTEX, ADAPTIVE_SPIN_LOCK] {
        model(3, 2, Lock { lock: tried, new: cooling, ..lock });
    }
}

/// It asks as often as it is hot, and costs nothing then.
#[test]
fn an_adaptive_lock_cools() {
    loom::model(|| {
        for (lock, unlock) in [
            (adaptive::mutex::lock as fn(&_), adaptive::mutex::unlock as fn(&_)),
            (adaptive::spin::lock, adaptive::spin::unlock),
        ] {
            let word = AtomicU32::new(adaptive::HOT);
            let asked = [(); system::HEAT as usize + 2].map(|()| {
                lock(&word);
                let asked = system::requested();
                unlock(&word);
                asked
            });
            assert_eq!(asked, std::array::from_fn(|at| at < system::HEAT as usize));
            assert_eq!(word.load(Relaxed), adaptive::FREE);
        }
    });
}

#[test]
fn a_failed_attempt_leaves_no_request() {
    loom::model(|| {
        let word = AtomicU32::new(protocol::mutex::FREE);
        let section = protocol::mutex::try_lock(&word).expect("it is free");
        assert!(protocol::mutex::is_locked(&word) && system::requested());
        protocol::mutex::unlock(&word, section);
        let other = protocol::mutex::lock(&word);
        drop(other); // as if another thread held it
        assert!(protocol::mutex::try_lock(&word).is_none() && !system::requested());

        let word = AtomicU32::new(adaptive::HOT);
        assert!(adaptive::try_lock(&word) && adaptive::is_locked(&word) && system::requested());
        system::leave(); // as if another thread held it
        assert!(!adaptive::try_lock(&word) && !system::requested());
    });
}

/// What a lock asks the system for, step by step; what another thread does meanwhile stands in brackets.
#[test]
fn a_lock_asks_for_what_it_needs_and_no_more() {
    /// Locks, and releases, a lock that another thread has and releases when this one asks for something.
    fn steps<W: 'static, G: 'static>(lock: &Lock<W, G>, released: Option<&'static str>) -> [String; 2] {
        let word = Arc::new((lock.new)());
        if let Some(when) = released {
            let theirs = (lock.lock)(&word).expect("it is free");
            let in_section = system::requested();
            if in_section {
                system::leave(); // it is the other thread's
            }
            let (word, unlock) = (word.clone(), lock.unlock);
            system::calls();
            system::meanwhile(when, move || {
                let before = system::calls();
                if in_section {
                    std::mem::forget(system::enter());
                    system::calls();
                }
                unlock(&word, theirs);
                let other = system::calls();
                system::note(before);
                system::note(format!("[{other}]"));
            });
        }
        let guard = (lock.lock)(&word).expect("it becomes free");
        let locked = system::calls();
        assert_eq!(system::requested(), (lock.asks)(&word));
        (lock.unlock)(&word, guard);
        [locked, system::calls()]
    }
    loom::model(move || {
        let always = Lock { lock: |word: &AtomicU8| Some(protocol::spin::lock(word)), ..SPIN_LOCK };
        let hot = || AtomicU32::new(adaptive::HOT);
        assert_eq!(steps(&MUTEX, None), ["enter", "leave"]);
        assert_eq!(steps(&MUTEX, Some("relax")), ["enter leave enrol relax [leave] enter", "leave"]);
        assert_eq!(
            steps(&MUTEX, Some("wait")),
            ["enter leave enrol relax enter leave wait [leave wake enrol] enter", "leave wake enrol"]
        );
        assert_eq!(steps(&always, None), ["enter", "leave"]);
        assert_eq!(steps(&always, Some("relax")), ["enter leave enrol relax [leave] enter", "leave"]);
        assert_eq!(
            steps(&always, Some("yield")),
            ["enter leave enrol relax enter leave yield [leave enrol] relax enter", "leave"]
        );
        for lock in [ADAPTIVE_MUTEX, ADAPTIVE_SPIN_LOCK] {
            assert_eq!(steps(&lock, None), ["", ""]);
            assert_eq!(steps(&lock, Some("enrol")), ["enrol []", ""], "free again before anybody looks");
            assert_eq!(steps(&lock, Some("relax")), ["enrol relax []", ""]);
            assert_eq!(steps(&Lock { new: hot, ..lock }, None), ["enter", "leave"]);
            assert_eq!(steps(&Lock { new: hot, ..lock }, Some("relax")), ["enrol relax [leave] enter", "leave"]);
        }
        for (new, leave) in [(ADAPTIVE_MUTEX.new, ""), (hot as fn() -> _, "leave ")] {
            assert_eq!(
                steps(&Lock { new, ..ADAPTIVE_MUTEX }, Some("wait")),
                [format!("enrol relax wait [{leave}wake enrol] enter"), "leave wake enrol".into()]
            );
            assert_eq!(
                steps(&Lock { new, ..ADAPTIVE_SPIN_LOCK }, Some("yield")),
                [format!("enrol relax yield [{leave}enrol] enter"), "leave".into()]
            );
        }
    });
}
