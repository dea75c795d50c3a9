//! What one thread pays for a lock that nobody else wants: asking always, adaptively, and never.
//!
//! The key that the locks depend on has one value in a process, so there are two processes of this program, asked in turns.

use invar_lock::lock_api::{Mutex, RawMutex};
use invar_lock::{RawSpinLock, adaptive};
use invar_measure::{Batch, Part, Table, alternate, calibrate, per_operation};
use std::cell::RefCell;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// Makes this program answer questions.
pub(crate) const ANSWER: &str = "--answer-lock-bench";

/// A row: what it is, the setting for the time slice key, and how long each of so many operations takes.
type Row = (&'static str, &'static str, fn(u64) -> f64);

const ROWS: &[Row] = &[
    ("Mutex, never", "off", cold::<invar_lock::RawMutex>),
    ("std::sync::Mutex", "off", std_mutex),
    ("Mutex, always", "force", asking::<invar_lock::RawMutex>),
    ("adaptive Mutex, cold", "force", cold::<adaptive::RawMutex>),
    ("the same, slices absent", "off", cold::<adaptive::RawMutex>),
    ("adaptive Mutex, hot", "force", hot::<adaptive::RawMutex>),
    ("SpinLock, never", "off", cold::<RawSpinLock>),
    ("SpinLock, always", "force", asking::<RawSpinLock>),
    ("adaptive SpinLock, cold", "force", cold::<adaptive::RawSpinLock>),
    ("the same, slices absent", "off", cold::<adaptive::RawSpinLock>),
    ("adaptive SpinLock, hot", "force", hot::<adaptive::RawSpinLock>),
];
/// What the table cannot tell.
const NOTE: &str = "\
Never and always are the same code, bound in two ways. Locks of other types are other code: where the
compiler puts it makes a nanosecond or two.";

/// Where those begin that are compared with the spin lock.
const SPIN: usize = 6;

pub(crate) fn run() -> io::Result<()> {
    let [off, force] = ["off", "force"].map(Answerer::start);
    let answerers = &RefCell::new([off?, force?]);
    let batch = |at: usize| -> io::Result<Batch<'_, io::Error>> {
        let of = usize::from(ROWS[at].1 == "force");
        answerers.borrow_mut()[of].ask(at, 100)?; // so that an error shows
        let ask = |count| answerers.borrow_mut()[of].ask(at, count);
        let count = calibrate(|count| ask(count).unwrap_or(f64::INFINITY));
        Ok(Box::new(move || answerers.borrow_mut()[of].ask(at, count)))
    };
    let mut batches = (0..ROWS.len()).map(batch).collect::<io::Result<Vec<_>>>()?;
    let samples = alternate(Duration::from_secs(12), &mut batches)?;
    let names: Vec<_> = ROWS.iter().map(|row| row.0).collect();
    let parts = [
        Part { title: "one thread, lock + unlock of a Mutex, ns", names: &names[..SPIN], first: 0 },
        Part { title: "one thread, lock + unlock of a SpinLock, ns", names: &names[SPIN..], first: SPIN },
    ];
    print!("{}", Table::of(&samples, &parts, &[NOTE]));
    Ok(())
}

/// A process of this program, with a setting.
struct Answerer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Answerer {
    fn start(slice: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ANSWER).env_clear().env("INVAR_KEYS", format!("slice={slice}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (questions, answers) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, row: usize, count: u64) -> io::Result<f64> {
        writeln!(self.questions, "{row} {count}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().map_err(|_| io::Error::other(format!("{}: {line:?}", ROWS[row].0)))
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the processes do: rows and counts in, nanoseconds out.
pub(crate) fn answer() -> io::Result<()> {
    for line in io::stdin().lines() {
        let line = line?;
        let numbers = line.split_once(' ').and_then(|(row, count)| Some((row.parse().ok()?, count.parse().ok()?)));
        let (row, count): (usize, u64) = numbers.ok_or_else(|| io::Error::other(line.clone()))?;
        println!("{}", ROWS[row].2(count));
    }
    Ok(())
}

#[inline(never)]
fn batch<R: RawMutex>(lock: &Mutex<R, u64>, count: u64) -> f64 {
    per_operation(count, || (0..count).for_each(|_| *black_box(lock).lock() += 1))
}

fn std_mutex(count: u64) -> f64 {
    let lock = &std::sync::Mutex::new(0);
    per_operation(count, || (0..count).for_each(|_| *black_box(lock).lock().unwrap_or_else(|it| it.into_inner()) += 1))
}

/// A lock that does not ask.
fn cold<R: RawMutex>(count: u64) -> f64 {
    let lock = Mutex::new(0);
    assert!(!asks::<R>(&lock));
    batch::<R>(&lock, count)
}

/// A lock that asks always.
fn asking<R: RawMutex>(count: u64) -> f64 {
    let lock = Mutex::new(0);
    assert!(asks::<R>(&lock));
    batch::<R>(&lock, count)
}

/// A lock for which somebody had to wait a moment ago.
fn hot<R: RawMutex + Sync>(count: u64) -> f64 {
    let lock = Mutex::<R, _>::new(0);
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        let guard = lock.lock();
        scope.spawn(|| {
            started.store(true, SeqCst);
            *lock.lock() += 1;
        });
        while !started.load(SeqCst) {
            thread::yield_now();
        }
        thread::sleep(Duration::from_micros(500)); // longer than it spins
        drop(guard);
    });
    assert!(asks(&lock), "it stayed cold");
    batch(&lock, count)
}

/// Whether the lock's holder has its request set.
fn asks<R: RawMutex>(lock: &Mutex<R, u64>) -> bool {
    let _guard = lock.lock();
    let area = invar_arch::area(invar::timeslice::__area().expect("an area"));
    // SAFETY: inside this thread's area.
    unsafe { area.add(invar_arch::AREA_REQUEST).read_volatile() != 0 }
}
