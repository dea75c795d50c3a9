//! Has the sites of running threads exchanged, again and again.
//!
//! A round: no thread is in the text; all sites get their checked form again, and the key a value -> the workers go on -> share
//! by share, one of them is made to stand inside a site of the share, the pages are exchanged for others with that share bound,
//! and the worker goes on, at once or after the next exchange. When all are bound, the key is set as a switch, there and back, while
//! the workers run.
#![allow(unsafe_code)] // two settings of the process

use super::super::options::{Limit, Protocol, StressOptions};
use super::super::outcome::{Answer, ByKind, StressOutcome};
use super::loaded::LoadedText;
use super::text::{KINDS, LINE, PAGE, SHARES, State, Text};
use super::workers::{Random, Shared};
use super::{call, stand};
use invar_abi::Kind;
use std::os::unix::thread::RawPthread;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// The kinds in which a thread can stand.
const INSIDE: [Kind; 5] = [Kind::Branch, Kind::SliceEnter, Kind::SliceLeave, Kind::Ordered, Kind::Select];
/// In so many rounds each of two writers exchanges sites of every such kind for every value while a thread stands in one.
const LEAST_ROUNDS: usize = 20;

/// Runs the test, for the command with this process ID.
pub(in super::super) fn run(options: &StressOptions, command: u32) -> Answer {
    end_with(command);
    match Test::new(options).and_then(Test::run) {
        Ok(outcome) => Answer::Done(outcome),
        Err(Impossible(why)) => Answer::Impossible(why),
    }
}

/// Why the test cannot be run.
struct Impossible(String);

impl Impossible {
    fn by(what: &str) -> impl Fn(std::io::Error) -> Self {
        move |why| Self(format!("{what}: {why}"))
    }
}

/// Ways to exchange the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Swap,
    Memfd,
    /// In place, which is wrong.
    Bytes,
    /// In place, which is wrong.
    Lines,
}

impl Writer {
    fn of(protocol: Protocol) -> Vec<Self> {
        match protocol {
            Protocol::Runtime => vec![Self::Swap, Self::Memfd],
            Protocol::Swap | Protocol::Abi1 => vec![Self::Swap],
            Protocol::Memfd => vec![Self::Memfd],
            Protocol::Bytes => vec![Self::Bytes],
            Protocol::Lines => vec![Self::Lines],
        }
    }

    fn is_in_place(self) -> bool {
        matches!(self, Self::Bytes | Self::Lines)
    }
}

/// What the text is exchanged for.
#[derive(Clone, Copy)]
enum TextForms {
    /// For this value of the key: bound up to this share.
    Bound(u8, usize),
    /// This value was decided, and the other one is set.
    Switched(u8),
}

struct Test {
    limit: Limit,
    shared: &'static Shared,
    workers: Vec<RawPthread>,
    writers: Vec<Writer>,
    /// For each value of the key: the text with the first share bound, with the first two, ... with all.
    bound: [[Vec<u8>; SHARES]; 2],
    /// The same with all bound, and the key set to the other value.
    switched: [Vec<u8>; 2],
    random: Random,
    outcome: StressOutcome,
}

impl Test {
    fn new(options: &StressOptions) -> Result<Self, Impossible> {
        let request = i32::try_from(call::request_offset());
        let request = request.map_err(|_| Impossible("thread locals are too far from the thread pointer".into()))?;
        // As long as the process.
        let text: &'static Text = Box::leak(Box::new(Text::new(request)));
        let (loaded, remark) = LoadedText::new(text).map_err(Impossible::by("no text can be mapped"))?;
        stand::prepare(text, loaded.text()).map_err(Impossible::by("signals cannot be handled"))?;
        let shared: &'static Shared = Box::leak(Box::new(Shared::new(text, loaded, options.threads)));
        let form = |site: &_, state| match options.protocol {
            Protocol::Abi1 => text.bound_by_abi_1(site, state),
            _ => text.bound(site, state),
        };
        let up_to =
            |value| std::array::from_fn(|share| text.with(0..share + 1, |site| form(site, State::decided(value))));
        let switched = |decided| text.with(0..SHARES, |site| form(site, State { decided, set: 1 - decided }));
        let across = |size| text.sites.iter().filter(|site| text.is_across(site, size)).count() as u64;
        let outcome = StressOutcome {
            threads: options.threads as u64,
            sites: text.sites.len() as u64,
            sites_across_lines: across(LINE),
            sites_across_pages: across(PAGE),
            remarks: remark.into_iter().collect(),
            ..StressOutcome::default()
        };
        Ok(Self {
            limit: options.limit,
            shared,
            workers: shared.start().map_err(Impossible::by("threads cannot be started"))?,
            writers: Writer::of(options.protocol),
            bound: [0, 1].map(up_to),
            switched: [0, 1].map(switched),
            random: Random(1),
            outcome,
        })
    }

    fn run(mut self) -> Result<StressOutcome, Impossible> {
        let start = Instant::now();
        let mut round = 0;
        while self.shared.wrong().is_none() && (round < LEAST_ROUNDS || !self.is_enough(start)) {
            let result = self.round(round);
            // A fault explains what failed behind it.
            if self.shared.wrong().is_none() {
                result?;
            }
            round += 1;
        }
        // Then the figures stay as they are.
        self.shared.close();
        self.outcome.wrong = self.shared.wrong();
        self.outcome.milliseconds = start.elapsed().as_millis() as u64;
        self.outcome.missed_requests = self.shared.missed.load(SeqCst);
        for kind in KINDS {
            *of(&mut self.outcome.executions, kind) = self.shared.rounds() * self.shared.text.count(kind) as u64;
        }
        Ok(self.outcome)
    }

    fn is_enough(&self, start: Instant) -> bool {
        match self.limit {
            Limit::Seconds(seconds) => start.elapsed() >= Duration::from_secs(seconds),
            Limit::Executions(number) => self.shared.rounds() >= number.div_ceil(self.outcome.sites),
        }
    }

    fn round(&mut self, round: usize) -> Result<(), Impossible> {
        let value = (round % 2) as u8;
        if !self.shared.close() {
            return Ok(());
        }
        self.shared.loaded.put_back().map_err(Impossible::by("the file cannot be mapped again"))?;
        self.shared.loaded.decide(value);
        self.shared.set(State::decided(value));
        self.shared.open();

        for share in 0..SHARES {
            let writer = self.writers[(round / 2 + share) % self.writers.len()];
            // What is wrong with stores in place needs nobody to stand.
            if !writer.is_in_place() {
                self.have_one_stand(INSIDE[(round + share) % INSIDE.len()], share)?;
            }
            self.exchange(writer, TextForms::Bound(value, share))?;
            let goes_on_later = round >= LEAST_ROUNDS && share + 1 < SHARES && self.random.next().is_multiple_of(2);
            if !goes_on_later {
                stand::release();
            }
            self.let_run();
            if self.shared.wrong().is_some() {
                return Ok(());
            }
        }
        let there = (State { decided: value, set: 1 - value }, TextForms::Switched(value));
        let back = (State::decided(value), TextForms::Bound(value, SHARES - 1));
        for (at, (state, image)) in [there, back].into_iter().enumerate() {
            let writer = self.writers[(round / 2 + at) % self.writers.len()];
            self.switch(writer, state, image)?;
            self.let_run();
        }
        Ok(())
    }

    /// Sets the key while all sites are bound, and workers run: pages first, as the runtime does.
    fn switch(&mut self, writer: Writer, state: State, image: TextForms) -> Result<(), Impossible> {
        let Shared { loaded, switches, .. } = self.shared;
        switches.fetch_add(1, SeqCst);
        let result = self.exchange(writer, image);
        if result.is_ok() {
            loaded.set(state.set);
            self.shared.set(state);
            self.outcome.switched += 1;
        }
        switches.fetch_add(1, SeqCst);
        result
    }

    /// Some microseconds, or more where others want the CPU.
    fn let_run(&mut self) {
        std::thread::sleep(Duration::from_micros(self.random.next() % 100));
    }

    /// Has a worker stand inside a site of this kind and share, unless one stands already.
    fn have_one_stand(&self, kind: Kind, share: usize) -> Result<(), Impossible> {
        /// All workers were told, and whoever steps comes to such a site in each round through all chains.
        const ROUNDS: u64 = 10_000;
        let rounds = || self.shared.rounds.iter().map(|rounds| rounds.load(Relaxed)).min().unwrap_or(0);
        if stand::standing().is_some() {
            return Ok(());
        }
        stand::tell(&self.workers, kind, share);
        let before = rounds();
        self.shared.wait_until(|| stand::standing().is_some() || rounds() > before + ROUNDS);
        match stand::standing().is_some() || self.shared.wrong().is_some() {
            true => Ok(()),
            false => Err(Impossible("threads do not step by the trap flag".into())),
        }
    }

    /// Exchanges the text.
    fn exchange(&mut self, writer: Writer, image: TextForms) -> Result<(), Impossible> {
        let Shared { text, loaded, exchanges, .. } = self.shared;
        let bound = match image {
            TextForms::Bound(value, share) => &self.bound[usize::from(value)][share],
            TextForms::Switched(decided) => &self.switched[usize::from(decided)],
        };
        let inside = stand::standing();
        let between = || self.shared.all_pass();
        let count = &mut self.outcome.exchanges;
        exchanges.fetch_add(1, SeqCst);
        let (result, count) = match writer {
            Writer::Swap => (loaded.swap(text, bound), &mut count.swap),
            Writer::Memfd => (loaded.memfd(bound), &mut count.memfd),
            Writer::Bytes => (loaded.store_bytes(text, bound, between), &mut count.in_place),
            Writer::Lines => (loaded.store_lines(text, bound, between), &mut count.in_place),
        };
        exchanges.fetch_add(1, SeqCst);
        if let Err(why) = result {
            return self.refused(writer, &why);
        }
        *count += 1;
        if let Some(site) = inside {
            *of(&mut self.outcome.stood, text.sites[site].kind) += 1;
        }
        if !writer.is_in_place() && !loaded.has(bound) {
            return Err(Impossible(format!("{writer:?} has no effect here")));
        }
        Ok(())
    }

    /// Where one writer is refused, the test goes on with the other, as the runtime does.
    fn refused(&mut self, writer: Writer, why: &std::io::Error) -> Result<(), Impossible> {
        let name = format!("{writer:?}").to_lowercase();
        let refusal = format!("{name} is refused: {why}");
        self.writers.retain(|other| *other != writer);
        if self.writers.is_empty() {
            return Err(Impossible(refusal));
        }
        self.outcome.remarks.push(refusal);
        Ok(())
    }
}

/// The number of this kind.
fn of(numbers: &mut ByKind, kind: Kind) -> &mut u64 {
    match kind {
        Kind::Branch => &mut numbers.branch,
        Kind::SliceEnter => &mut numbers.enter,
        Kind::SliceLeave => &mut numbers.leave,
        Kind::Ordered => &mut numbers.ordered,
        Kind::Select => &mut numbers.select,
        Kind::Constant => &mut numbers.constant,
        Kind::Pointer => unreachable!("none of `KINDS`"),
    }
}

/// Has the kernel end this process when the command ends, however that is; and leave no core of it.
fn end_with(command: u32) {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: system calls that read numbers.
    let parent = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setrlimit(libc::RLIMIT_CORE, &no_core);
        libc::getppid()
    };
    if parent as u32 != command {
        // It has ended before.
        std::process::exit(0);
    }
}
