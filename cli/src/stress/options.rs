//! What is to be tested, and for how long.

use clap::ValueEnum;

/// What to test, and for how long.
pub struct StressOptions {
    /// When it is enough.
    pub limit: Limit,
    /// How many threads execute sites.
    pub threads: usize,
    /// How they are exchanged.
    pub protocol: Protocol,
}

/// When a test is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so many seconds.
    Seconds(u64),
    /// After so many executions of sites.
    Executions(u64),
}

/// How sites are exchanged: as the runtime does it, or in ways that are wrong, so that it is seen that the test sees that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// By both writers in turns
    Runtime,
    /// By a private copy of the file's pages
    Swap,
    /// By pages of a file in memory
    Memfd,
    /// Wrong: the forms of ABI 1, which have nothing where the last instruction of the checked form begins
    Abi1,
    /// Wrong: byte by byte
    Bytes,
    /// Wrong: a store across two cache lines
    Lines,
}
