//! Where counts go: one block of memory for the process, which every copy of the runtime in it knows, or a file that is
//! mapped in its place. `docs/profile.md` gives the layout; numbers are 64-bit and little-endian unless it says
//! otherwise.
//!
//! Nothing is ever taken out. To write a place's first word is to claim the place; from then on counters only grow.

use crate::sys;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use invar_arch as arch;

/// `invarsl` and the layout's version.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"invarsl1");

const MODULES: usize = 64;
const PATH: usize = 1024 - 16;
const THREADS: usize = 1024;
const SITES: usize = 1024;
/// How many places in a row are tried before there counts as being none.
const TRIES: usize = 32;
/// How many critical sections of one thread can be open at a time, each with a time of its own.
pub(crate) const OPEN: usize = 6;
/// Two for each power of two, from 2^4 ticks on.
pub(crate) const BUCKETS: usize = 96;
const FIRST_POWER: u32 = 4;

#[repr(C)]
pub(crate) struct Table {
    pub(crate) header: Header,
    modules: [ModuleRecord; MODULES],
    threads: [ThreadRecord; THREADS],
    sites: [SiteRecord; SITES],
}

#[repr(C)]
pub(crate) struct Header {
    /// [`MAGIC`], written last.
    pub(crate) magic: AtomicU64,
    pub(crate) process: AtomicU64,
    /// The value of the key `slice.counting`: 1 counts threads, 2 counts sites too.
    pub(crate) counting: AtomicU64,
    /// How long an extension lasts, in nanoseconds.
    pub(crate) slice: AtomicU64,
    /// 1 if the kernel said so, 0 if it is its default.
    pub(crate) slice_is_known: AtomicU64,
    /// 1 if the kernel grants, 0 where requests go to memory that nobody looks at.
    pub(crate) grants: AtomicU64,
    /// The time stamp counter, and the monotonic clock in nanoseconds, when the table was made; and at a later time.
    pub(crate) start: [AtomicU64; 2],
    pub(crate) later: [AtomicU64; 2],
    /// Sections entered at sites for which there was no place.
    pub(crate) sites_lost: AtomicU64,
    /// Modules for which there was none.
    pub(crate) modules_lost: AtomicU64,
    /// Of sections that were granted time and yielded: how many, and their CPU time, in nanoseconds, beyond that
    /// of an undisturbed one.
    pub(crate) disturbed: [AtomicU64; 2],
    reserved: [AtomicU64; 18],
}

/// A module whose sites are counted.
#[repr(C)]
struct ModuleRecord {
    start: AtomicU64,
    end: AtomicU64,
    path: [AtomicU8; PATH],
}

/// What one thread did; the first counts for all that found no place of their own.
#[repr(C)]
pub(crate) struct ThreadRecord {
    /// Its thread pointer, which another thread has after it ends, and the process, since a child of `fork` has the same.
    identity: AtomicU64,
    /// Its thread ID, as `gettid(2)` gives it.
    pub(crate) number: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) grants: AtomicU64,
    pub(crate) yields: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// How many sections are open.
    pub(crate) depth: AtomicU64,
    reserved: AtomicU64,
    open: [OpenSection; OPEN],
}

/// A critical section that is open.
#[repr(C)]
pub(crate) struct OpenSection {
    /// Its site's place, from 1; 0 if it has none.
    pub(crate) site: AtomicU64,
    /// The time stamp counter when it began; 0 if that is not known.
    pub(crate) began: AtomicU64,
    /// The thread's CPU time shortly before, in nanoseconds; 0 if it was not asked for.
    pub(crate) cpu_time: AtomicU64,
    /// 1 once another section ended its request.
    pub(crate) cut_short: AtomicU64,
}

/// What became of the sections that began at one site.
#[repr(C)]
pub(crate) struct SiteRecord {
    /// The address behind the call in its cold path.
    address: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) grants: AtomicU64,
    pub(crate) yields: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Of those lost: after more CPU time than an extension has; after less; ended by a section inside.
    pub(crate) too_long: AtomicU64,
    pub(crate) interrupted: AtomicU64,
    pub(crate) nested: AtomicU64,
    /// Requests of threads that are not enrolled: nobody looked at them.
    pub(crate) not_enrolled: AtomicU64,
    /// Ticks altogether, of all sections in the histogram.
    pub(crate) ticks: AtomicU64,
    /// Of sections whose request was still there: how many, and their ticks.
    pub(crate) undisturbed: [AtomicU64; 2],
    reserved: [AtomicU64; 4],
    pub(crate) held: [AtomicU32; BUCKETS],
}

const _: () = assert!(
    size_of::<Header>() == 256
        && size_of::<ModuleRecord>() == 1024
        && size_of::<ThreadRecord>() == 256
        && size_of::<SiteRecord>() == 512
        && size_of::<Table>() == 256 + 64 * 1024 + 1024 * (256 + 512)
);

impl Table {
    /// Makes a module known by its range of addresses; its path is cut off if it is very long.
    pub(crate) fn add_module(&self, range: core::ops::Range<usize>, path: &[u8]) {
        let start = range.start as u64;
        let free = self.modules.iter().find(|module| claim(&module.start, start.max(1)));
        let Some(module) = free else {
            self.header.modules_lost.fetch_add(1, Relaxed);
            return;
        };
        // A library that was loaded where another had been takes its record.
        for (to, &from) in module.path[..PATH - 1].iter().zip(path.iter().chain([&0])) {
            to.store(from, Relaxed);
        }
        module.end.store(range.end as u64, Relaxed);
    }

    /// Reads both clocks into the header, in a place where a system call does no harm.
    pub(crate) fn note_time(&self, into: &[AtomicU64; 2]) {
        into[0].store(arch::ticks(), Relaxed);
        into[1].store(sys::now(), Relaxed);
    }

    /// Nanoseconds for so many ticks, as far as the clocks are known.
    pub(crate) fn nanoseconds(&self, ticks: u64) -> u64 {
        // In so many steps for a nanosecond; half a year, and half an hour of ticks, before it overflows.
        const STEPS: u32 = 10;
        let Header { start, later, .. } = &self.header;
        let [ticks_between, time_between] =
            [0, 1].map(|at| later[at].load(Relaxed).saturating_sub(start[at].load(Relaxed)));
        let rate = (time_between << STEPS).checked_div(ticks_between).unwrap_or(0);
        ticks.saturating_mul(rate) >> STEPS
    }

    /// The calling thread's place, and whether it is its own. `thread_id` is asked the first time.
    pub(crate) fn thread(&self, process: u64, thread_id: impl FnOnce() -> u32) -> (&ThreadRecord, bool) {
        let identity = arch::thread_pointer() as u64 ^ process << 40;
        let [others, threads @ ..] = &self.threads;
        match place(threads, identity, |thread| &thread.identity) {
            Some((_, thread)) => {
                if thread.number.load(Relaxed) == 0 {
                    thread.number.store(thread_id().into(), Relaxed);
                }
                (thread, true)
            }
            None => (others, false),
        }
    }

    /// The place, from 1, of the site with this address behind its call; 0 if there is no more.
    pub(crate) fn site(&self, address: usize) -> u64 {
        place(&self.sites, address as u64, |site| &site.address).map_or(0, |(at, _)| at as u64 + 1)
    }

    pub(crate) fn site_at(&self, place: u64) -> Option<&SiteRecord> {
        self.sites.get(place.wrapping_sub(1) as usize)
    }

    /// Every thread that has a place, and the common one.
    pub(crate) fn threads(&self) -> impl Iterator<Item = &ThreadRecord> {
        let common = self.threads.iter().take(1);
        common.chain(self.threads.iter().skip(1).filter(|thread| thread.identity.load(Relaxed) != 0))
    }
}

impl ThreadRecord {
    /// The section at this depth. There is room for a few, so that one which was forgotten, or whose thread ended inside, is
    /// written over in the end.
    pub(crate) fn open(&self, depth: u64) -> &OpenSection {
        &self.open[depth as usize % OPEN]
    }
}

impl SiteRecord {
    /// Adds a section that took this many ticks; `undisturbed` if its request was still there.
    pub(crate) fn add(&self, ticks: u64, undisturbed: bool) {
        let power = (ticks | 1).ilog2();
        let half = if power > 0 { ticks >> (power - 1) & 1 } else { 0 };
        let bucket = (2 * power.saturating_sub(FIRST_POWER)) as usize + half as usize;
        self.held[if power < FIRST_POWER { 0 } else { bucket.min(BUCKETS - 1) }].fetch_add(1, Relaxed);
        self.ticks.fetch_add(ticks, Relaxed);
        if undisturbed {
            self.undisturbed[0].fetch_add(1, Relaxed);
            self.undisturbed[1].fetch_add(ticks, Relaxed);
        }
    }
}

/// The place of `key`, which is claimed for it if it has none; `None` if those where it could be are taken.
fn place<T>(places: &[T], key: u64, word: impl Fn(&T) -> &AtomicU64) -> Option<(usize, &T)> {
    // Fibonacci hashing; the low bits of an address say little.
    let start = ((key >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
    (start..start + TRIES).map(|at| at % places.len()).find_map(|at| {
        let place = &places[at];
        (word(place).load(Relaxed) == key || claim(word(place), key)).then_some((at, place))
    })
}

/// Claims what is free; true as well if somebody has claimed it for the same key.
fn claim(word: &AtomicU64, key: u64) -> bool {
    word.compare_exchange(0, key, Relaxed, Relaxed).is_ok() || word.load(Relaxed) == key
}

#[cfg(test)]
#[allow(unsafe_code)]
pub(super) mod tests {
    use super::*;
    use crate::documents::{PROFILE, assert_layout, fields, table as documented};
    use std::vec::Vec;

    /// A table of its own, in memory that stays.
    pub(in crate::timeslice) fn table() -> &'static Table {
        let address = sys::keep(None, size_of::<Table>()).unwrap();
        // SAFETY: new memory of this size, zero at first, that is never unmapped.
        unsafe { &*(address as *const Table) }
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Relaxed)
    }

    #[test]
    fn all_is_where_the_documentation_says() {
        let parts = fields!(Table: header modules threads sites);
        let counts = [None, Some((MODULES, size_of::<ModuleRecord>())), Some((THREADS, size_of::<ThreadRecord>()))];
        let counts = counts.into_iter().chain([Some((SITES, size_of::<SiteRecord>()))]);
        let rows = documented(PROFILE, "# Counts and profiles");
        let number = |text: &str| text.replace(',', "").parse::<usize>().unwrap();
        assert_eq!(rows.len(), parts.len());
        for ((row, (name, offset, size)), count) in rows.iter().zip(parts).zip(counts) {
            assert!(row[2].starts_with(name) && number(row[0]) == offset, "{row:?}");
            let sizes = count.map_or(std::format!("{size}"), |(count, size)| std::format!("{count} x {size}"));
            assert_eq!(row[1], sizes, "{row:?}");
        }
        let whole = PROFILE.split("one block of ").nth(1).unwrap().split(' ').next().unwrap();
        assert_eq!(number(whole), size_of::<Table>());
        assert!(PROFILE.contains(&std::format!("the bytes `{}`", core::str::from_utf8(&MAGIC.to_le_bytes()).unwrap())));

        let header = fields!(Header: magic process counting slice slice_is_known grants start later sites_lost
            modules_lost disturbed);
        assert_layout(PROFILE, "## Header", &header, size_of::<Header>());
        let [start, end, path] = fields!(ModuleRecord: start end path).map(|(_, offset, size)| (offset, size));
        let module = [("address of the first byte", start), ("address behind the last", end)];
        let module = module.into_iter().chain([("path, NUL-terminated, cut off if longer", path)]);
        let module: Vec<_> = module.map(|(name, (offset, size))| (name, offset, size)).collect();
        assert_layout(PROFILE, "## Modules", &module, size_of::<ModuleRecord>());
        let thread = fields!(ThreadRecord: identity number requests grants yields lost depth);
        assert_layout(PROFILE, "## Threads", &thread, size_of::<ThreadRecord>());
        assert_eq!((OPEN, size_of::<OpenSection>()), (6, 32));
        assert!(
            PROFILE
                .contains(&std::format!("| {} | | six records of 32 bytes", core::mem::offset_of!(ThreadRecord, open)))
        );
        let site = fields!(SiteRecord: address requests grants yields lost too_long interrupted nested not_enrolled ticks
            undisturbed held);
        assert_layout(PROFILE, "## Sites", &site, size_of::<SiteRecord>());
        assert!(PROFILE.contains(&std::format!("histogram: {BUCKETS} numbers of 32 bits")));
    }

    /// `docs/profile.md`: bucket `b` begins at 2^(4 + b / 2), and half as much more where `b` is odd.
    #[test]
    fn a_section_is_in_the_bucket_of_its_length() {
        let begin = |bucket: usize| (1_u64 << (4 + bucket / 2)) * (2 + bucket as u64 % 2) / 2;
        for bucket in 0..BUCKETS {
            let (first, end) = (if bucket == 0 { 0 } else { begin(bucket) }, begin(bucket + 1));
            for ticks in [first, first + 1, (first + end) / 2, end - 1] {
                let site = &table().sites[0];
                site.add(ticks, ticks % 2 == 1);
                let held: Vec<_> = (0..BUCKETS).filter(|&at| site.held[at].load(Relaxed) == 1).collect();
                assert_eq!(held, [bucket], "{ticks} ticks");
                assert_eq!(get(&site.ticks), ticks);
                let undisturbed = if ticks % 2 == 1 { [1, ticks] } else { [0, 0] };
                assert_eq!([0, 1].map(|at| get(&site.undisturbed[at])), undisturbed);
            }
        }
        let site = &table().sites[0];
        site.add(u64::MAX, false);
        assert_eq!(site.held[BUCKETS - 1].load(Relaxed), 1, "the last is for all that are longer");
    }

    #[test]
    fn each_site_has_a_place_until_there_is_none() {
        let table = table();
        let addresses: Vec<usize> = (0..2 * SITES).map(|at| 0x5500_0000_1000 + 24 * at).collect();
        let places: Vec<u64> = addresses.iter().map(|&address| table.site(address)).collect();
        let again: Vec<u64> = addresses.iter().map(|&address| table.site(address)).collect();
        assert_eq!(places, again, "it stays where it is");
        let mut given: Vec<u64> = places.iter().copied().filter(|&place| place != 0).collect();
        assert!(given.len() > SITES * 9 / 10, "{} of {SITES} places are used", given.len());
        given.sort();
        given.dedup();
        assert_eq!(given.len(), places.iter().filter(|&&place| place != 0).count(), "each has its own");
        assert!(given.iter().all(|place| (1..=SITES as u64).contains(place)));
        for (&address, &place) in addresses.iter().zip(&places) {
            match table.site_at(place) {
                Some(site) => assert_eq!(get(&site.address), address as u64),
                None => assert_eq!(place, 0),
            }
        }
        assert!(table.site_at(SITES as u64 + 1).is_none());
    }

    #[test]
    fn a_thread_has_one_place_and_a_child_another() {
        let table = table();
        let (first, own) = table.thread(5, || 77);
        assert!(own && core::ptr::eq(first, table.thread(5, || panic!("it is known")).0));
        // docs/profile.md: identity, number.
        assert_eq!(get(&first.identity), arch::thread_pointer() as u64 ^ 5 << 40);
        assert_eq!(get(&first.number), 77);
        let (child, own) = table.thread(6, || 0);
        assert!(own && !core::ptr::eq(first, child));
        assert_eq!(get(&table.thread(6, || 78).0.number), 78, "it is asked for until it is told");
        let others = std::thread::scope(|scope| scope.spawn(|| get(&table.thread(5, || 79).0.number)).join().unwrap());
        assert_eq!(others, 79);

        let listed: Vec<_> = table.threads().map(|thread| get(&thread.number)).collect();
        assert_eq!(listed[0], 0, "the common one comes first");
        let mut numbers = listed[1..].to_vec();
        numbers.sort();
        assert_eq!(numbers, [77, 78, 79]);
    }

    #[test]
    fn threads_without_a_place_share_the_first() {
        let table = table();
        table.threads[1..].iter().for_each(|thread| thread.identity.store(u64::MAX, Relaxed));
        let (thread, own) = table.thread(5, || panic!("nobody asks"));
        assert!(!own && core::ptr::eq(thread, &table.threads[0]));
        assert_eq!(table.threads().count(), THREADS);
    }

    #[test]
    fn open_sections_are_beside_each_other_while_there_is_room() {
        let thread = &table().threads[1];
        let at = |depth| core::ptr::from_ref(thread.open(depth));
        let different: std::collections::BTreeSet<_> = (0..OPEN as u64).map(at).collect();
        assert_eq!(different.len(), OPEN);
        assert_eq!(at(0), at(OPEN as u64), "then the oldest is written over");
        at(u64::MAX);
    }

    #[test]
    fn modules_are_listed_until_there_is_no_room() {
        let table = table();
        let long = [b'x'; 2 * PATH];
        table.add_module(0x1000..0x2000, &long);
        table.add_module(0x3000..0x4000, b"/usr/lib/short");
        let module = |at: usize| {
            let module = &table.modules[at];
            let path: Vec<u8> =
                module.path.iter().map(|byte| byte.load(Relaxed)).take_while(|&byte| byte != 0).collect();
            (get(&module.start), get(&module.end), path)
        };
        assert_eq!(module(0), (0x1000, 0x2000, long[..PATH - 1].to_vec()));
        assert_eq!(module(1), (0x3000, 0x4000, b"/usr/lib/short".to_vec()));
        // In the place of one that is gone, under its own name.
        table.add_module(0x1000..0x1800, b"new");
        assert_eq!(module(0), (0x1000, 0x1800, b"new".to_vec()));
        assert_eq!(module(2), (0, 0, Vec::new()));
        // A program that is not relocated may begin at 0.
        table.add_module(0..0x800, b"at 0");
        assert_eq!(module(2), (1, 0x800, b"at 0".to_vec()));

        for at in 3..MODULES + 5 {
            table.add_module(at << 16..(at << 16) + 1, b"more");
        }
        assert_eq!(get(&table.header.modules_lost), 5);
    }

    #[test]
    fn ticks_become_time_by_both_clocks() {
        let table = table();
        assert_eq!(table.nanoseconds(1000), 0, "no later time is known");
        let set = |at: &[AtomicU64; 2], ticks, time| {
            at[0].store(ticks, Relaxed);
            at[1].store(time, Relaxed);
        };
        set(&table.header.start, 1_000_000, 500);
        set(&table.header.later, 4_000_000, 1_000_500);
        assert_eq!([0, 3000, 30_000_000].map(|ticks| table.nanoseconds(ticks) / 10), [0, 99, 999_023]);
        set(&table.header.later, 1_500_000, 2_000_500);
        assert_eq!([1, 250].map(|ticks| table.nanoseconds(ticks)), [4, 1000]);
        // Clocks that went back give no time, and nothing overflows.
        set(&table.header.later, 10, 10);
        assert_eq!(table.nanoseconds(u64::MAX), 0);

        let before = arch::ticks();
        table.note_time(&table.header.start);
        table.note_time(&table.header.later);
        let [start, later] = [&table.header.start, &table.header.later].map(|at| (get(&at[0]), get(&at[1])));
        assert!(arch::ticks() == 0 || before <= start.0 && start.0 < later.0, "{start:?} {later:?}");
        assert!(0 < start.1 && start.1 <= later.1);
    }
}
