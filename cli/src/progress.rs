//! What is being done while it takes long: a line on standard error, if that is a terminal. It is written over, and taken away at
//! the end.

use crate::style::{FAINT, styled};
use anstream::AutoStream;
use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The line. It goes away with this.
#[derive(Default)]
pub struct Progress {
    /// How many columns of the terminal are written to.
    columns: usize,
}

impl Progress {
    /// Says this in place of what was said before.
    pub fn say(&mut self, text: &str) {
        if !stderr().is_terminal() {
            return;
        }
        // A longer line would go on in the next one, where it cannot be written over.
        let text: String = text.chars().take(79).collect();
        let columns = text.chars().count();
        let over = " ".repeat(self.columns.saturating_sub(columns));
        self.columns = columns;
        // Whether somebody sees it changes nothing.
        let _ = write!(AutoStream::auto(stderr().lock()), "\r{}{over}\r", styled(FAINT, text));
    }

    /// Does this, and says every second how many seconds it has taken.
    pub fn count<T>(what: &str, of: Option<u64>, work: impl FnOnce() -> T) -> T {
        let (done, ended) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut progress, started) = (Self::default(), Instant::now());
                loop {
                    let seconds = started.elapsed().as_secs();
                    let of = of.map_or(String::new(), |all| format!(" of {all}"));
                    progress.say(&format!("{what}: {seconds}{of} seconds"));
                    if ended.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.columns > 0 {
            let _ = write!(stderr(), "\r{}\r", " ".repeat(self.columns));
        }
    }
}
