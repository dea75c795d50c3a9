//! What the guard costs: cheap system calls in a process that is guarded, against one that is not.
//!
//! A filter stays until its process ends, so there is a child for each, and they take turns.

use invar_arch::syscall;
use invar_measure::{Batch, Part, Table, alternate, calibrate, per_operation};
use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::time::Duration;

/// One whose number the filter lets pass, and one whose arguments it reads.
const CALLS: [(&str, fn()); 2] = [("getppid, ns", getppid), ("prctl(PR_GET_DUMPABLE), ns", prctl)];

fn getppid() {
    // SAFETY: no arguments, no effects.
    unsafe { syscall(libc::SYS_getppid as usize, []) };
}

fn prctl() {
    // SAFETY: a question.
    unsafe { syscall(libc::SYS_prctl as usize, [libc::PR_GET_DUMPABLE as usize, 0, 0, 0, 0, 0]) };
}

const NAMES: [&str; 2] = ["not guarded", "guarded"];

pub(crate) fn run() -> io::Result<()> {
    let not_guarded = RefCell::new(Worker::start(|| Ok(()))?);
    let guarded = RefCell::new(Worker::start(|| invar::timeslice::__guard_anyway().map_err(io::Error::other))?);
    let batch = |worker, call| -> Batch<'_, io::Error> {
        let worker: &RefCell<Worker> = worker;
        Box::new(move || worker.borrow_mut().time(call))
    };
    let mut batches: Vec<_> =
        (0..CALLS.len() as u8).flat_map(|call| [&not_guarded, &guarded].map(|worker| batch(worker, call))).collect();
    let samples = alternate(Duration::from_secs(8), &mut batches)?;
    let part =
        |(at, (title, _)): (usize, &(&'static str, fn()))| Part { title, names: &NAMES, first: NAMES.len() * at };
    let parts: Vec<_> = CALLS.iter().enumerate().map(part).collect();
    let note = "For this prctl the filter's program takes 7 instructions. For getppid it does not run.";
    print!("{}", Table::of(&samples, &parts, &[note]));
    Ok(())
}

/// A child process that times calls.
struct Worker {
    child: libc::pid_t,
    questions: PipeWriter,
    answers: PipeReader,
}

/// Asks a worker to end.
const END: u8 = u8::MAX;

impl Worker {
    fn start(prepare: fn() -> io::Result<()>) -> io::Result<Self> {
        let (to_do, questions) = io::pipe()?;
        let (answers, done) = io::pipe()?;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // Whoever asks finds nobody there to answer.
                let failed =
                    prepare().and_then(|()| work(to_do, done)).inspect_err(|error| eprintln!("{error}")).is_err();
                std::process::exit(failed.into());
            }
            child => Ok(Self { child, questions, answers }),
        }
    }

    /// The nanoseconds that a call of this number takes.
    fn time(&mut self, call: u8) -> io::Result<f64> {
        self.questions.write_all(&[call])?;
        let mut answer = [0; size_of::<f64>()];
        self.answers.read_exact(&mut answer)?;
        Ok(f64::from_ne_bytes(answer))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has failed is gone already.
        let _ = self.questions.write_all(&[END]);
        // SAFETY: our own child, and nothing is filled in.
        unsafe { libc::waitpid(self.child, std::ptr::null_mut(), 0) };
    }
}

/// Times calls until it is to end.
fn work(mut to_do: PipeReader, mut done: PipeWriter) -> io::Result<()> {
    let time = |call: fn(), count| per_operation(count, || (0..count).for_each(|_| call()));
    let counts = CALLS.map(|(_, call)| calibrate(|count| time(call, count)));
    loop {
        let mut question = [END];
        to_do.read_exact(&mut question)?;
        let Some(&(_, call)) = CALLS.get(question[0] as usize) else { return Ok(()) };
        let count = counts[question[0] as usize];
        // It has just been woken.
        time(call, count / 4);
        done.write_all(&time(call, count).to_ne_bytes())?;
    }
}
