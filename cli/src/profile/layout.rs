//! A profile as it stands in its file, read after `docs/profile.md`. Nothing in it is believed.

use crate::error::{Error, Result};
use crate::file::Contents;
use crate::image::Image;
use serde::Serialize;
use std::path::Path;

/// How long a file of this layout is.
pub const FILE: usize = SITES + 1024 * SITE;
/// How many durations a histogram tells apart.
pub const BUCKETS: usize = 96;

const MAGIC: &[u8] = b"invarsl1";
const MODULES: usize = 256;
const MODULE: usize = 1024;
const THREADS: usize = MODULES + 64 * MODULE;
const THREAD: usize = 256;
const SITES: usize = THREADS + 1024 * THREAD;
const SITE: usize = 512;

/// What one process counted.
#[derive(Debug)]
pub struct Table {
    /// The process's number.
    pub process: u64,
    /// Whether sites were counted, and not threads only.
    pub has_sites: bool,
    /// How long an extension lasts, in nanoseconds.
    pub slice: u64,
    /// Whether the kernel said so.
    pub slice_is_known: bool,
    /// Whether the kernel grants.
    pub grants: bool,
    /// When counting began.
    pub start: Clocks,
    /// A later time, if there was one.
    pub later: Option<Clocks>,
    /// Sections entered at sites for which there was no place.
    pub sites_lost: u64,
    /// Modules for which there was none.
    pub modules_lost: u64,
    /// What carries sites.
    pub modules: Vec<CountedModule>,
    /// Who entered sections.
    pub threads: Vec<Thread>,
    /// Where they began.
    pub sites: Vec<CountedSite>,
}

/// Both clocks at one time.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The time stamp counter.
    pub ticks: u64,
    /// The monotonic clock.
    pub nanoseconds: u64,
}

/// A module that was loaded in the process.
#[derive(Debug)]
pub struct CountedModule {
    /// Its addresses.
    pub range: std::ops::Range<u64>,
    /// Its file.
    pub path: Vec<u8>,
}

/// What one thread's sections asked for and got.
#[derive(Debug, Serialize)]
pub struct Thread {
    /// As `gettid(2)` gives it; 0 for all that found no place.
    pub number: u64,
    /// Sections begun.
    pub requests: u64,
    /// Grants that were still there at the end.
    pub grants: u64,
    /// Of those, given up in time.
    pub yields: u64,
    /// Requests that were gone at the end, and no grant there.
    pub lost: u64,
}

/// What became of the sections of one site.
#[derive(Clone, Copy, Debug)]
pub struct CountedSite {
    /// Behind the call in its cold path.
    pub address: u64,
    /// The counters.
    pub counts: Counts,
    /// Time stamp counter, over all sections in the histogram.
    pub ticks: u64,
    /// How many sections took how long.
    pub held: [u64; BUCKETS],
}

/// A site's counters, as `docs/profile.md` has them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Counts {
    pub requests: u64,
    pub grants: u64,
    pub yields: u64,
    pub lost: u64,
    pub too_long: u64,
    pub interrupted: u64,
    pub nested: u64,
    pub not_enrolled: u64,
}

/// The profile in a file, as it is now: its process may still be running.
pub fn read(path: &Path) -> Result<Table> {
    let contents = Contents::open(path)?;
    let mut bytes = vec![0; FILE];
    let whole = contents.read(0, &mut bytes) && !contents.read(FILE as u64, &mut [0]);
    // What is no profile at all should be called that, however long it is.
    if !whole && !contents.read(0, &mut bytes[..MAGIC.len()]) {
        bytes.clear();
    } else if !whole {
        bytes.truncate(MAGIC.len());
    }
    Table::parse(&bytes).map_err(|why| Error::file(path, why))
}

impl Table {
    /// Reads the bytes of a whole file.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        match bytes.get(..MAGIC.len()) {
            Some(MAGIC) => {}
            Some(magic) if magic.starts_with(b"invarsl") => return Err("a profile of a layout that is not known here"),
            Some([0, 0, 0, 0, 0, 0, 0, 0]) if bytes.len() == FILE => {
                return Err("a profile whose process ended, or is, at the very start");
            }
            _ => return Err("not a profile"),
        }
        if bytes.len() != FILE {
            return Err("a profile that is cut off, or has something behind it");
        }
        let header = Fields(&bytes[..MODULES]);
        let clocks = |at| Clocks { ticks: header.number(at), nanoseconds: header.number(at + 8) };
        let table = Self {
            process: header.number(8),
            has_sites: match header.number(16) {
                1 => false,
                2 => true,
                _ => return Err("a damaged profile: it does not say what was counted"),
            },
            slice: header.number(24),
            slice_is_known: header.flag(32)?,
            grants: header.flag(40)?,
            start: clocks(48),
            later: Some(clocks(64)).filter(|later| later.ticks != 0),
            sites_lost: header.number(80),
            modules_lost: header.number(88),
            modules: records(bytes, MODULES, THREADS, MODULE).filter_map(CountedModule::read).collect(),
            threads: records(bytes, THREADS, SITES, THREAD).filter_map(Thread::read).collect(),
            sites: records(bytes, SITES, FILE, SITE).filter_map(CountedSite::read).collect(),
        };
        match table {
            Self { slice: 0, .. } => Err("a damaged profile: extensions without length"),
            Self { ref modules, .. } if modules.iter().any(|module| module.range.is_empty()) => {
                Err("a damaged profile: a module that ends before it begins")
            }
            table => Ok(table),
        }
    }
}

impl CountedModule {
    fn read(record: Fields<'_>) -> Option<Self> {
        let (start, end) = (record.number(0), record.number(8));
        let path = &record.0[16..];
        let length = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
        // Its end is written last.
        (start != 0 && end != 0).then(|| Self { range: start..end, path: path[..length].to_vec() })
    }
}

impl Thread {
    fn read(record: Fields<'_>) -> Option<Self> {
        let [number, requests, grants, yields, lost] = [8, 16, 24, 32, 40].map(|at| record.number(at));
        // The common record has no thread pointer.
        (record.number(0) != 0 || requests > 0).then_some(Self { number, requests, grants, yields, lost })
    }
}

impl CountedSite {
    fn read(record: Fields<'_>) -> Option<Self> {
        let address = record.number(0);
        let [requests, grants, yields, lost, too_long, interrupted, nested, not_enrolled] =
            [8, 16, 24, 32, 40, 48, 56, 64].map(|at| record.number(at));
        let counts = Counts { requests, grants, yields, lost, too_long, interrupted, nested, not_enrolled };
        (address != 0).then(|| Self {
            address,
            counts,
            ticks: record.number(72),
            held: std::array::from_fn(|bucket| record.half(128 + 4 * bucket)),
        })
    }
}

impl Counts {
    /// Adds another process's. Numbers that no process can reach stay at the highest.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.requests, other.requests),
            (&mut self.grants, other.grants),
            (&mut self.yields, other.yields),
            (&mut self.lost, other.lost),
            (&mut self.too_long, other.too_long),
            (&mut self.interrupted, other.interrupted),
            (&mut self.nested, other.nested),
            (&mut self.not_enrolled, other.not_enrolled),
        ] {
            *to = to.saturating_add(from);
        }
    }

    /// Of those granted, the ones that gave up the CPU too late, or by no system call.
    pub fn late(&self) -> u64 {
        self.grants.saturating_sub(self.yields)
    }

    /// Of those lost, the ones without a reason.
    pub fn unexplained(&self) -> u64 {
        let reasons = [self.too_long, self.interrupted, self.nested];
        self.lost.saturating_sub(reasons.into_iter().fold(0, u64::saturating_add))
    }
}

/// Where a bucket begins, in ticks, and where the next does; the first begins at 0, and the last has no end.
pub fn bounds(bucket: usize) -> (u64, Option<u64>) {
    let start = |bucket: usize| {
        let power = 1 << (4 + bucket / 2);
        if bucket.is_multiple_of(2) { power } else { power + power / 2 }
    };
    (if bucket == 0 { 0 } else { start(bucket) }, (bucket + 1 < BUCKETS).then(|| start(bucket + 1)))
}

#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

fn records(bytes: &[u8], start: usize, end: usize, size: usize) -> impl Iterator<Item = Fields<'_>> {
    bytes[start..end].chunks_exact(size).map(Fields)
}

impl Fields<'_> {
    fn number(self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn half(self, at: usize) -> u64 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes")).into()
    }

    fn flag(self, at: usize) -> std::result::Result<bool, &'static str> {
        match self.number(at) {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a damaged profile: neither yes nor no where one of them should be"),
        }
    }
}
