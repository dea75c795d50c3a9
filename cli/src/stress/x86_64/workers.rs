//! The threads that execute sites, and what they find wrong.
#![allow(unsafe_code)] // the chains are code

use super::call::{self, FLAGS, Returned};
use super::loaded::LoadedText;
use super::stand;
use super::text::{Chain, State, Text};
use std::os::unix::thread::{JoinHandleExt, RawPthread};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What threads share.
pub(super) struct Shared {
    pub(super) text: &'static Text,
    pub(super) loaded: LoadedText,
    /// The index of the key's [`State`]. While it is set for threads that run, [`switches`](Self::switches) is odd.
    state: AtomicU8,
    /// Odd while sites are being exchanged.
    pub(super) exchanges: AtomicU64,
    /// Odd while the key, as a switch, is set: a chain meets sites of both values.
    pub(super) switches: AtomicU64,
    /// How often each worker has gone through all chains.
    pub(super) rounds: Vec<AtomicU64>,
    /// Requests that were not made since a slice enter was exchanged while a thread stood in it. The thread comes from the
    /// compare of the checked form, and goes on with the nop of the bound one: that costs the benefit, once, and nothing else.
    pub(super) missed: AtomicU64,
    wrong: OnceLock<String>,
    gate: Gate,
}

impl Shared {
    pub(super) fn new(text: &'static Text, loaded: LoadedText, threads: usize) -> Self {
        Self {
            text,
            loaded,
            state: AtomicU8::new(0),
            exchanges: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            rounds: std::iter::repeat_with(AtomicU64::default).take(threads).collect(),
            missed: AtomicU64::new(0),
            wrong: OnceLock::new(),
            gate: Gate::default(),
        }
    }

    /// Starts the workers. They run as long as the process.
    pub(super) fn start(&'static self) -> std::io::Result<Vec<RawPthread>> {
        let start = |worker| {
            let builder = std::thread::Builder::new().name(format!("worker {worker}"));
            builder.spawn(move || self.work(worker)).map(|thread| thread.into_pthread_t())
        };
        (0..self.rounds.len()).map(start).collect()
    }

    /// What the key is from now on.
    pub(super) fn set(&self, state: State) {
        self.state.store(state.index() as u8, SeqCst);
    }

    /// How often all workers together have gone through all chains.
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.iter().map(|rounds| rounds.load(Relaxed)).sum()
    }

    /// What is wrong: the first thing that was found, or a fault.
    pub(super) fn wrong(&self) -> Option<String> {
        self.wrong.get().cloned().or_else(|| stand::fault().map(|(signal, at)| self.describe_fault(signal, at)))
    }

    /// Waits until no worker is in the text, nor will be. Returns whether that is so: not if something is wrong.
    pub(super) fn close(&self) -> bool {
        self.gate.is_closed.store(true, SeqCst);
        self.wait_until(|| *self.gate.lock() == self.rounds.len())
    }

    /// Lets workers go on.
    pub(super) fn open(&self) {
        let _inside = self.gate.lock();
        self.gate.is_closed.store(false, SeqCst);
        self.gate.changed.notify_all();
    }

    /// Waits until each worker has gone through all chains. Returns whether nothing is wrong yet.
    pub(super) fn all_pass(&self) -> bool {
        let rounds = || self.rounds.iter().map(|rounds| rounds.load(Relaxed)).collect::<Vec<_>>();
        let before = rounds();
        // The first of two has begun before.
        self.wait_until(|| before.iter().zip(rounds()).all(|(before, now)| now >= before + 2))
    }

    /// Waits until something is done that threads do on their way through the text. Returns whether nothing is wrong: not if
    /// this is never done, since a thread goes round in circles.
    pub(super) fn wait_until(&self, mut is_done: impl FnMut() -> bool) -> bool {
        /// Of so many microseconds, and many more where a CPU is busy.
        const WAIT: Duration = Duration::from_micros(20);
        /// Counted, and not timed: who is stopped as a whole has not waited.
        const WAITS: u32 = 2_000_000;
        for _ in 0..WAITS {
            if self.wrong().is_some() {
                return false;
            }
            if is_done() {
                return true;
            }
            std::thread::sleep(WAIT);
        }
        self.note(|| "a thread has not come back from the text".into());
        false
    }

    fn note(&self, what: impl FnOnce() -> String) {
        let _ = self.wrong.get_or_init(what);
    }

    fn work(&self, worker: usize) {
        stand::begin();
        if call::request_offset() != i64::from(self.text.request) {
            return self.note(|| "the request byte is at another place in another thread".into());
        }
        let mut random = Random(worker as u64 + 1);
        loop {
            if self.gate.is_closed.load(Relaxed) {
                self.gate.pass();
            }
            for chain in &self.text.chains {
                let before = self.counts();
                let state = State::at(self.state.load(SeqCst));
                let flags = random.next() & FLAGS | stand::flags();
                // SAFETY: the text is mapped, and as `Text` has made it, or as a writer under test has.
                let returned = unsafe { call::call(self.loaded.text().wrapping_add(chain.entry), flags) };
                let request = call::request();
                if returned.bits != chain.expected[state.index()] || returned.changed != 0 || request != 0 {
                    let now = self.counts();
                    let [overlaps, is_switched] = [0, 1].map(|at| before[at] % 2 == 1 || now[at] != before[at]);
                    self.judge(chain, state, &returned, request, overlaps, is_switched);
                }
            }
            self.rounds[worker].fetch_add(1, Relaxed);
        }
    }

    fn counts(&self) -> [u64; 2] {
        [&self.exchanges, &self.switches].map(|count| count.load(SeqCst))
    }

    /// Something is not as it was expected to be.
    #[cold]
    fn judge(&self, chain: &Chain, state: State, returned: &Returned, request: u8, overlaps: bool, is_switched: bool) {
        let differs = returned.bits ^ chain.expected[state.index()];
        // Each of them has gone by one of the values.
        let may_switch = if is_switched { chain.switches } else { 0 };
        let may_miss = if overlaps && state.decided == 1 { chain.enters } else { 0 };
        if differs & !(may_switch | may_miss) == 0 && returned.changed == 0 && request == 0 {
            self.missed.fetch_add((differs & may_miss).count_ones().into(), Relaxed);
            return;
        }
        self.note(|| {
            let sites = &self.text.sites[chain.sites.clone()];
            let some = format!("one of {} sites from byte {} of the text on", sites.len(), chain.entry);
            if returned.changed != 0 {
                return format!("a register was changed (by {:#x}) at {some}", returned.changed);
            }
            let from_last = differs.trailing_zeros() as usize;
            match sites.len().checked_sub(from_last + 1) {
                Some(index) => {
                    let site = self.text.describe(chain.sites.start + index);
                    let State { decided, set } = state;
                    format!("a wrong result, with {decided} decided and {set} set, of a {site}")
                }
                None => format!("the request byte was left at {request} by {some}"),
            }
        });
    }

    fn describe_fault(&self, signal: i32, at: usize) -> String {
        let name = match signal {
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGBUS => "SIGBUS",
            libc::SIGILL => "SIGILL",
            libc::SIGFPE => "SIGFPE",
            _ => "SIGTRAP",
        };
        let index = self.text.sites.iter().position(|site| self.text.range(site).contains(&at));
        match index {
            Some(index) => {
                let inside = at - self.text.range(&self.text.sites[index]).start;
                format!("{name} at byte {inside} of a {}", self.text.describe(index))
            }
            None if at < self.text.bytes.len() => format!("{name} between sites, at byte {at} of the text"),
            None => format!("{name} outside of the text"),
        }
    }
}

/// Where workers wait while nobody may be in the text.
#[derive(Default)]
struct Gate {
    is_closed: AtomicBool,
    /// How many workers wait.
    inside: Mutex<usize>,
    /// Notified when it opens.
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) {
        let mut inside = self.lock();
        *inside += 1;
        while self.is_closed.load(SeqCst) {
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        *inside -= 1;
    }
}

/// Numbers without a pattern (xorshift64; Marsaglia, "Xorshift RNGs", 2003). The same in every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
