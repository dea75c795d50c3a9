//! What several processes counted, as one list of sites.

use super::clock::Rate;
use super::layout::{self, BUCKETS, Counts, Table, Thread, bounds};
use super::source::{SourceFile, SourcePlace};
use crate::error::{Error, Result};
use crate::text::{clean, lossy};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// A file that was read, and when it was made.
pub struct CountedFile {
    /// Its path.
    pub path: PathBuf,
    /// When counting began, as far as the file system knows.
    pub made: Option<SystemTime>,
    /// What it says.
    pub table: Table,
}

/// What one or several processes counted.
pub struct Profile {
    /// How long an extension lasts, in nanoseconds.
    pub slice: u64,
    /// Whether the kernel said so.
    pub slice_is_known: bool,
    /// How long a tick is, if that can be known.
    pub rate: Option<Rate>,
    /// Who counted.
    pub processes: Vec<ProfiledProcess>,
    /// Where sections began, those with most to gain first.
    pub sites: Vec<ProfiledSite>,
    /// What to know when reading on.
    pub remarks: Vec<String>,
}

/// One process.
pub struct ProfiledProcess {
    /// Its number.
    pub number: u64,
    /// Where it counted.
    pub path: PathBuf,
    /// Whether its kernel grants.
    pub grants: bool,
    /// Its modules that carry sites.
    pub modules: Vec<layout::CountedModule>,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Sections and modules for which there was no place.
    pub sites_lost: u64,
    /// The same of modules.
    pub modules_lost: u64,
}

/// One site, in all processes that ran it.
pub struct ProfiledSite {
    /// The file that it is in; `None` if the profile does not say.
    pub module: Option<Vec<u8>>,
    /// In that file, as it is linked; without one, in memory; behind the call in the site's cold path. Several where the
    /// compiler has made copies of one place in the source.
    pub addresses: Vec<u64>,
    /// Where in the source.
    pub place: SourcePlace,
    /// Whether a process that ran it has a kernel that grants.
    pub grants: bool,
    /// What was counted.
    pub counts: Counts,
    /// How long sections took.
    pub held: Held,
}

/// How long sections took, in ticks.
#[derive(Clone, Copy)]
pub struct Held {
    /// All of them together.
    pub ticks: u64,
    /// How many took how long, by the buckets of the layout.
    pub buckets: [u64; BUCKETS],
}

/// What a site is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // `meaning` says it
pub enum Judgement {
    Gains,
    TooLong,
    Interrupted,
    NotEnrolled,
    Nested,
    Late,
    Lost,
    NeverPreempted,
    Fits,
    Idle,
}

impl Profile {
    /// Adds up what these files say. All must be of one machine, with one length of extensions.
    pub fn new(files: Vec<CountedFile>) -> Result<Self> {
        let mut profile = Self {
            slice: files.first().map_or(0, |file| file.table.slice),
            slice_is_known: files.iter().all(|file| file.table.slice_is_known),
            rate: None,
            processes: Vec::new(),
            sites: Vec::new(),
            remarks: Vec::new(),
        };
        let mut sites = Sites::default();
        for CountedFile { path, made, table } in files {
            profile.agree(&path, &table)?;
            sites.add(&table, made);
            if !table.has_sites {
                let name = clean(&lossy(path.as_os_str().as_encoded_bytes()));
                profile.remarks.push(format!("{name} counts threads only (INVAR_SLICE=count): it has no sites"));
            }
            let Table { process: number, grants, modules, threads, sites_lost, modules_lost, .. } = table;
            profile.processes.push(ProfiledProcess {
                number,
                path,
                grants,
                modules,
                threads,
                sites_lost,
                modules_lost,
            });
        }
        profile.sites = sites.resolve(&mut profile.remarks);
        let (slice, rate) = (profile.slice, profile.rate);
        let rank = |site: &ProfiledSite| (Reverse(site.preempted()), Reverse(site.held.within(slice, rate)));
        // What stands behind that is there for the order to be the same each time.
        profile.sites.sort_by_cached_key(|site| {
            (rank(site), Reverse(site.counts.requests), site.module.clone(), site.addresses.clone())
        });
        profile.remark_on_losses();
        Ok(profile)
    }

    fn agree(&mut self, path: &std::path::Path, table: &Table) -> Result<()> {
        if table.slice != self.slice {
            return Err(Error::file(path, "counted with extensions of another length: show it by itself"));
        }
        match (self.rate, Rate::of(table)) {
            (Some(rate), Some(other)) if !other.is_close_to(rate) => {
                Err(Error::file(path, "counted with another clock than the files before: show it by itself"))
            }
            (rate, other) => {
                self.rate = rate.or(other);
                Ok(())
            }
        }
    }

    fn remark_on_losses(&mut self) {
        let total = |of: fn(&ProfiledProcess) -> u64| self.processes.iter().map(of).fold(0, u64::saturating_add);
        let (sites, modules) = (total(|process| process.sites_lost), total(|process| process.modules_lost));
        if sites > 0 {
            self.remarks.push(format!("{sites} sections began at sites for which the profile had no place"));
        }
        if modules > 0 {
            self.remarks.push(format!("{modules} modules found no place in the profile: their sites have no names"));
        }
        if self.rate.is_none() && !self.sites.is_empty() {
            let why =
                "how long a tick was is not known, since the profile does not say and this is another machine or boot";
            self.remarks.push(format!("{why}: durations are in ticks of the time stamp counter"));
        }
    }
}

/// Sites by module and distance from its first byte.
#[derive(Default)]
struct Sites {
    counted: BTreeMap<(Option<Vec<u8>>, u64), Counted>,
    loaded: BTreeMap<Vec<u8>, Option<SystemTime>>,
}

struct Counted {
    grants: bool,
    counts: Counts,
    held: Held,
}

impl Sites {
    fn add(&mut self, table: &Table, made: Option<SystemTime>) {
        for site in &table.sites {
            let module = table.modules.iter().find(|module| module.range.contains(&site.address));
            let distance = site.address - module.map_or(0, |module| module.range.start);
            if let Some(module) = module {
                let loaded = self.loaded.entry(module.path.clone()).or_insert(made);
                *loaded = (*loaded).min(made);
            }
            let key = (module.map(|module| module.path.clone()), distance);
            let counted = self.counted.entry(key).or_insert_with(|| Counted {
                grants: false,
                counts: Counts::default(),
                held: Held { ticks: 0, buckets: [0; BUCKETS] },
            });
            counted.grants |= table.grants;
            counted.counts.add(&site.counts);
            counted.held.add(&Held { ticks: site.ticks, buckets: site.held });
        }
    }

    /// Looks each of them up in its module's file.
    fn resolve(self, remarks: &mut Vec<String>) -> Vec<ProfiledSite> {
        let mut open = |(path, loaded): (Vec<u8>, Option<SystemTime>)| match SourceFile::open(&path, loaded) {
            Ok(module) => Some((path, module)),
            Err(why) => {
                remarks.push(format!("{}: {why}", clean(&lossy(&path))));
                None
            }
        };
        let files = self.loaded.into_iter().filter_map(&mut open).collect::<BTreeMap<_, _>>();
        let site = |((module, distance), counted): ((Option<Vec<u8>>, u64), Counted)| {
            let Counted { grants, counts, held } = counted;
            let file = module.as_ref().and_then(|path| files.get(path));
            let place = file.map_or_else(SourcePlace::default, |file| file.place(distance));
            let address = file.map_or(distance, |file| file.address(distance));
            ProfiledSite { module, addresses: vec![address], place, grants, counts, held }
        };
        let mut sites = Vec::<ProfiledSite>::new();
        let mut known = BTreeMap::new();
        for site in self.counted.into_iter().map(site) {
            let next = sites.len();
            let place = (site.module.clone(), site.place.frames.clone());
            match known.entry(place).or_insert(next) {
                &mut at if at < next && !site.place.frames.is_empty() => sites[at].add(site),
                _ => sites.push(site),
            }
        }
        sites
    }
}

impl ProfiledSite {
    fn add(&mut self, copy: Self) {
        self.addresses.extend(copy.addresses);
        self.grants |= copy.grants;
        self.counts.add(&copy.counts);
        self.held.add(&copy.held);
    }

    /// Sections that were, or would have been, preempted: it is these that can gain.
    ///
    /// What a section inside ended is not among them. It is lost whether somebody wanted the CPU or not.
    pub fn preempted(&self) -> u64 {
        self.counts.grants.saturating_add(self.counts.lost.saturating_sub(self.counts.nested))
    }

    /// What became of most sections that somebody wanted to preempt; where nothing did, or where it is more than half of
    /// all, what all are.
    pub fn verdict(&self, slice: u64, rate: Option<Rate>) -> Judgement {
        let counts = &self.counts;
        let most_are = |some: u64| some > counts.requests / 2;
        let reasons = [
            (counts.yields, Judgement::Gains),
            (counts.too_long, Judgement::TooLong),
            (counts.interrupted, Judgement::Interrupted),
            (counts.nested, Judgement::Nested),
            (counts.late(), Judgement::Late),
            (counts.unexplained(), Judgement::Lost),
        ];
        // The first of equals.
        let (most, reason) = reasons.into_iter().rev().max_by_key(|&(count, _)| count).expect("some reasons");
        match () {
            () if counts.requests == 0 => Judgement::Idle,
            () if self.grants && most_are(counts.not_enrolled) => Judgement::NotEnrolled,
            () if self.grants && most > 0 => reason,
            () if self.grants => Judgement::NeverPreempted,
            () if most_are(counts.nested) => Judgement::Nested,
            () if most_are(self.held.longer(slice, rate).unwrap_or(0)) => Judgement::TooLong,
            () => Judgement::Fits,
        }
    }
}

impl Held {
    fn add(&mut self, other: &Self) {
        self.ticks = self.ticks.saturating_add(other.ticks);
        for (to, from) in self.buckets.iter_mut().zip(other.buckets) {
            *to = to.saturating_add(from);
        }
    }

    /// How many sections there are.
    pub fn sections(&self) -> u64 {
        self.buckets.iter().copied().fold(0, u64::saturating_add)
    }

    /// Buckets with something in them: from, to, how many.
    pub fn filled(&self) -> impl Iterator<Item = (u64, Option<u64>, u64)> {
        let all = self.buckets.iter().enumerate();
        all.filter(|&(_, &count)| count > 0).map(|(bucket, &count)| {
            let (from, to) = bounds(bucket);
            (from, to, count)
        })
    }

    /// Which bucket the section is in that is longer than this share of all; its bounds.
    pub fn quantile(&self, share: f64) -> Option<(u64, Option<u64>)> {
        let sections = self.sections();
        let rank = ((sections as f64 * share).ceil() as u64).min(sections);
        let mut below = 0_u64;
        self.filled().find_map(|(from, to, count)| {
            below = below.saturating_add(count);
            (below >= rank).then_some((from, to))
        })
    }

    /// How many sections certainly took longer than an extension, if ticks can be converted.
    pub fn longer(&self, slice: u64, rate: Option<Rate>) -> Option<u64> {
        let rate = rate?;
        let longer = self.filled().filter(|&(from, ..)| rate.nanoseconds(from) >= slice as f64);
        Some(longer.map(|(.., count)| count).fold(0, u64::saturating_add))
    }

    /// Ticks that were spent in the others, as the middles of their buckets have it. Somebody who wants the CPU comes at any time,
    /// so this is what can gain where nobody counts the occasions.
    pub fn within(&self, slice: u64, rate: Option<Rate>) -> u64 {
        let is_within = |from: u64| rate.is_none_or(|rate| rate.nanoseconds(from) < slice as f64);
        let filled = self.filled().filter(|&(from, ..)| is_within(from));
        let ticks =
            |(from, to, count): (u64, Option<u64>, u64)| count.saturating_mul(from.midpoint(to.unwrap_or(from)));
        filled.map(ticks).fold(0, u64::saturating_add)
    }
}

impl Judgement {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::TooLong => "too long",
            Self::Interrupted => "interrupted",
            Self::NotEnrolled => "not enrolled",
            Self::Nested => "nested",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::NeverPreempted => "never preempted",
            Self::Fits => "fits",
            Self::Idle => "idle",
        }
    }

    /// What it says of most of the sections that somebody wanted to preempt, or of most, and what could be done.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Gains => "were let finish, and gave up the CPU in time",
            Self::TooLong => "take longer than an extension: do less under the lock",
            Self::Interrupted => "lost their request to a system call, a signal or a fault: keep these out",
            Self::NotEnrolled => "begin in threads that the kernel does not look at: enrol these",
            Self::Nested => "have a section inside, whose end ends their request: let only one of both ask",
            Self::Late => "were granted time, and did not give up the CPU in time",
            Self::Lost => "lost their request, and it is not known why: the first loss of a site never is",
            Self::NeverPreempted => "nobody wanted the CPU meanwhile: nothing to gain, and nothing lost",
            Self::Fits => "are shorter than an extension, and would be let finish where the kernel grants",
            Self::Idle => "no section has begun",
        }
    }
}
