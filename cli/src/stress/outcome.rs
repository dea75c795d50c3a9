//! What came of a stress test: what the process that runs it tells the command.

use serde::{Deserialize, Serialize};

/// How a stress test ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It was run.
    Done(StressOutcome),
    /// It cannot be run here, for this reason.
    Impossible(String),
}

/// `docs/json.md` describes it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct StressOutcome {
    pub(super) threads: u64,
    pub(super) sites: u64,
    pub(super) sites_across_lines: u64,
    pub(super) sites_across_pages: u64,
    pub(super) milliseconds: u64,
    pub(super) executions: ByKind,
    pub(super) exchanges: Exchanges,
    pub(super) stood: ByKind,
    pub(super) switched: u64,
    pub(super) missed_requests: u64,
    pub(super) remarks: Vec<String>,
    pub(super) wrong: Option<String>,
}

/// A number for each kind of site.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct ByKind {
    pub(super) branch: u64,
    pub(super) enter: u64,
    pub(super) leave: u64,
    pub(super) ordered: u64,
    pub(super) select: u64,
    pub(super) constant: u64,
}

impl ByKind {
    /// All together.
    pub(super) fn total(&self) -> u64 {
        let Self { branch, enter, leave, ordered, select, constant } = self;
        branch + enter + leave + ordered + select + constant
    }
}

/// How often the pages were exchanged, and how.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Exchanges {
    pub(super) swap: u64,
    pub(super) memfd: u64,
    pub(super) in_place: u64,
}

impl Exchanges {
    /// All together.
    pub(super) fn total(&self) -> u64 {
        self.swap + self.memfd + self.in_place
    }
}
