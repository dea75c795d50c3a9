//! What is measured cold: how many copies, and what that word means.

/// How many copies there are of each variant that is measured cold.
pub(crate) const COPIES: usize = 4096;

/// What is cold, precisely.
pub(crate) const COLD: &str = "\
Of each variant 4096 copies, 128 bytes apart, each called once a round, in a new order each round.
Code cold: the copy's two cache lines are flushed to memory before its call, which is not predicted;
what it reads and writes, and functions that it calls, are warm.
Code and data cold: flushed is also what the copy itself reads and writes, not what functions do.
Each call is timed alone, from fence to fence, so that its stores count; every row has the fences.
A round's time is the mean of the middle half of its calls.";
