//! Critical sections, watched: what stands in for a request and for its end where somebody counts.
//!
//! Both run instead of a slice site's instructions, in any thread, in signal handlers, and between a program's lock and
//! its unlock. So they take no lock and no memory, cannot panic, and make system calls only where none can end a grant:
//! before a request, and after its end.
#![allow(unsafe_code)]

use super::counts::{self, process_id};
use super::table::{Header, OpenSection, SiteRecord, Table, ThreadRecord};
use crate::sys;
use crate::timeslice::area::{self, AreaOffset};
use crate::timeslice::enrol::is_enrolled;
use crate::timeslice::rseq::SYS_RSEQ_SLICE_YIELD;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use invar_arch as arch;

/// What is called where requests are counted.
pub(super) struct Watch;

impl arch::Observers for Watch {
    extern "C" fn request(site: usize) {
        entered(site);
    }
    extern "C" fn withdrawal(site: usize) {
        left(site);
    }
}

/// In the place of a request. `site` is the address behind the call that came here.
pub(crate) extern "C" fn entered(site: usize) {
    let Some(table) = counts::table() else { return };
    let Some(area) = area::offset().map(AreaOffset::of_this_thread) else { return };
    // SAFETY: the two bytes of the calling thread's area; the kernel writes them as well.
    let (request, granted) = unsafe {
        let request = area.add(arch::AREA_REQUEST);
        (request, request.add(1).read_volatile() != 0)
    };
    // SAFETY: as above.
    let inside = granted || unsafe { request.read_volatile() } != 0;
    let (thread, own) = table.thread(process_id(), || if inside { 0 } else { sys::thread_id() });
    add(&thread.requests);
    let sites_count = counts::sites_count(table);
    let place = if sites_count { table.site(site) } else { 0 };
    let known = table.site_at(place);
    match known {
        Some(site) => {
            add(&site.requests);
            if !is_enrolled() {
                add(&site.not_enrolled);
            }
        }
        None if sites_count => add(&table.header.sites_lost),
        None => {}
    }
    if own {
        let depth = thread.depth.load(Relaxed);
        if inside && let Some(outer) = depth.checked_sub(1) {
            thread.open(outer).cut_short.store(1, Relaxed);
        }
        // First the depth: a signal handler's sections are beside this one, then.
        thread.depth.store(depth.wrapping_add(1), Relaxed);
        let section = thread.open(depth);
        section.site.store(place, Relaxed);
        section.cut_short.store(0, Relaxed);
        // At sites that have lost a section before, to know why if they lose another.
        let asks = !inside && known.is_some_and(|site| site.lost.load(Relaxed) > 0);
        section.cpu_time.store(if asks { sys::thread_time() } else { 0 }, Relaxed);
        section.began.store(arch::ticks(), Relaxed);
    }
    // SAFETY: as above.
    unsafe { request.write_volatile(1) };
}

/// In the place of a request's withdrawal.
pub(crate) extern "C" fn left(_site: usize) {
    let Some(area) = area::offset() else { return };
    let kept = arch::take_back(area.get());
    let ended = arch::ticks();
    // SAFETY: the calling thread's area; the kernel writes it as well.
    let granted = !kept && unsafe { area.of_this_thread().add(arch::AREA_REQUEST + 1).read_volatile() } != 0;
    let yielded = granted && yield_cpu(area::yield_call());

    let Some(table) = counts::table() else { return };
    let (thread, own) = table.thread(process_id(), sys::thread_id);
    let section = if own { close(thread) } else { None };
    let site = section.and_then(|section| table.site_at(section.site.load(Relaxed)));
    if let (Some(section), Some(site)) = (section, site) {
        site.add(ended.saturating_sub(section.began.load(Relaxed)), kept);
    }
    let lost = !kept && !granted;
    for (happened, of_thread, of_site) in [
        (granted, &thread.grants, site.map(|site| &site.grants)),
        (yielded, &thread.yields, site.map(|site| &site.yields)),
        (lost, &thread.lost, site.map(|site| &site.lost)),
    ] {
        if happened {
            add(of_thread);
            of_site.map(add);
        }
    }
    if !kept && let (Some(section), Some(site)) = (section, site) {
        table.note_time(&table.header.later);
        if yielded {
            learn(table, section, site);
        } else if lost {
            explain(table, section, site).map(add);
        }
    }
}

/// The section that the thread opened last.
fn close(thread: &ThreadRecord) -> Option<&OpenSection> {
    let depth = thread.depth.load(Relaxed).checked_sub(1)?;
    thread.depth.store(depth, Relaxed);
    Some(thread.open(depth))
}

/// Yields the CPU that a grant lent, by this system call; whether the kernel says that this was in time.
fn yield_cpu(call: i32) -> bool {
    // SAFETY: no arguments, and no effect but that.
    let result = if call < 0 { Ok(0) } else { unsafe { sys::call(call.into(), []) } };
    // Another call than the kernel's own says nothing, and ends every grant.
    if call == SYS_RSEQ_SLICE_YIELD { result == Ok(1) } else { call >= 0 }
}

/// The counter for the reason why a request was lost, where there is one.
///
/// The kernel says only that it is gone: time was granted and expired, or a system call ended it, or a signal or a fault
/// kept the kernel from granting any. Who used up more CPU time than an extension has was too long in any case; of
/// that, what interrupts and the kernel take in any section is not the section's. So this is an estimate.
fn explain<'a>(table: &Table, section: &OpenSection, site: &'a SiteRecord) -> Option<&'a AtomicU64> {
    if section.cut_short.load(Relaxed) != 0 {
        return Some(&site.nested);
    }
    let Header { slice, disturbed: [sections, time], .. } = &table.header;
    let kernels = time.load(Relaxed).checked_div(sections.load(Relaxed)).unwrap_or(0);
    let used = cpu_time(section)?;
    Some(if used >= slice.load(Relaxed).saturating_add(kernels) { &site.too_long } else { &site.interrupted })
}

/// Learns from a section that was in time what interrupts, the kernel and the clock take.
fn learn(table: &Table, section: &OpenSection, site: &SiteRecord) {
    let [sections, ticks] = &site.undisturbed;
    let mean = ticks.load(Relaxed).checked_div(sections.load(Relaxed));
    if let (Some(used), Some(mean)) = (cpu_time(section), mean) {
        let [sections, time] = &table.header.disturbed;
        add(sections);
        time.fetch_add(used.saturating_sub(table.nanoseconds(mean)), Relaxed);
    }
}

/// The CPU time that the thread used up in a section that has ended, in nanoseconds, where it is known.
fn cpu_time(section: &OpenSection) -> Option<u64> {
    match section.cpu_time.load(Relaxed) {
        0 => None,
        before => Some(sys::thread_time().saturating_sub(before).max(1)),
    }
}

/// Counts one more; a whole instruction, so that a signal handler's own does not get lost.
fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeslice::profile::counting::Counting;
    use crate::timeslice::profile::counts::TABLE;
    use crate::timeslice::profile::table::tests::table;

    const HERE: usize = 0x1000;
    const THERE: usize = 0x2000;

    /// A thread whose requests this test answers in the kernel's place.
    struct Watched {
        table: &'static Table,
        request: *mut u8,
    }

    impl Watched {
        /// Runs a test; not where no request can be made, since there is nothing to watch.
        fn run(counting: Counting, test: impl FnOnce(Self)) {
            static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
            let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let area = area::offset();
            assert_eq!(area.is_some(), arch::REQUESTS);
            if let Some(area) = area {
                let table = table();
                table.header.counting.store(counting as u64, Relaxed);
                // Linux 7.0, include/uapi/linux/rseq.h: request, and granted behind it.
                let request = area.of_this_thread().wrapping_add(28);
                let watched = Self { table, request };
                watched.kernel_writes(0, 0);
                TABLE.store(core::ptr::from_ref(table).cast_mut(), Relaxed);
                test(watched);
                TABLE.store(core::ptr::null_mut(), Relaxed);
            }
        }

        fn kernel_writes(&self, request: u8, granted: u8) {
            // SAFETY: this thread's area.
            unsafe {
                self.request.write_volatile(request);
                self.request.add(1).write_volatile(granted);
            }
        }

        fn is_requested(&self) -> bool {
            // SAFETY: this thread's area.
            unsafe { self.request.read_volatile() == 1 }
        }

        /// A section, in which the kernel takes the request away if it writes something.
        fn section(&self, site: usize, kernel_writes: Option<u8>) {
            entered(site);
            assert!(self.is_requested());
            if let Some(granted) = kernel_writes {
                self.kernel_writes(0, granted);
            }
            left(site);
            assert!(!self.is_requested());
            self.kernel_writes(0, 0);
        }

        fn thread(&self) -> &ThreadRecord {
            self.table.thread(process_id(), || panic!("it is known")).0
        }

        /// Requests, grants, yields, lost: of the thread.
        fn counts(&self) -> [u64; 4] {
            let ThreadRecord { requests, grants, yields, lost, .. } = self.thread();
            [requests, grants, yields, lost].map(|counter| counter.load(Relaxed))
        }

        fn site(&self, address: usize) -> &SiteRecord {
            self.table.site_at(self.table.site(address)).expect("a place")
        }

        /// Requests, grants, yields, lost, too long, interrupted, nested: of a site.
        fn site_counts(&self, address: usize) -> [u64; 7] {
            let SiteRecord { requests, grants, yields, lost, too_long, interrupted, nested, .. } = self.site(address);
            [requests, grants, yields, lost, too_long, interrupted, nested].map(|counter| counter.load(Relaxed))
        }

        fn held(&self, address: usize) -> u32 {
            self.site(address).held.iter().map(|bucket| bucket.load(Relaxed)).sum()
        }
    }

    #[test]
    fn what_becomes_of_a_request_is_counted() {
        Watched::run(Counting::Profile, |watched| {
            watched.section(HERE, None);
            assert_eq!(watched.counts(), [1, 0, 0, 0]);
            watched.section(HERE, Some(1));
            assert_eq!(watched.counts(), [2, 1, 0, 0]);
            watched.section(THERE, Some(0));
            assert_eq!(watched.counts(), [3, 1, 0, 1]);
            assert_eq!(watched.site_counts(HERE), [2, 1, 0, 0, 0, 0, 0]);
            assert_eq!(watched.site_counts(THERE), [1, 0, 0, 1, 0, 0, 0], "the reason is not known at first");
            assert_eq!([HERE, THERE].map(|site| watched.held(site)), [2, 1]);
            let undisturbed = [HERE, THERE].map(|site| watched.site(site).undisturbed[0].load(Relaxed));
            assert_eq!(undisturbed, [1, 0]);
            assert!(watched.site(HERE).ticks.load(Relaxed) > watched.site(HERE).undisturbed[1].load(Relaxed));
            let not_enrolled = [HERE, THERE].map(|site| watched.site(site).not_enrolled.load(Relaxed));
            assert_eq!(not_enrolled, if is_enrolled() { [0, 0] } else { [2, 1] });
            assert_eq!(watched.thread().depth.load(Relaxed), 0);
            assert_eq!(watched.thread().number.load(Relaxed), sys::thread_id().into());
            assert_ne!(watched.table.header.later[1].load(Relaxed), 0, "clocks are read where time was lost");
        });
    }

    #[test]
    fn where_only_threads_count_sites_do_not() {
        Watched::run(Counting::Count, |watched| {
            watched.section(HERE, Some(1));
            assert_eq!(watched.counts(), [1, 1, 0, 0]);
            assert_eq!(watched.site_counts(HERE), [0; 7]);
            assert_eq!((watched.held(HERE), watched.table.header.sites_lost.load(Relaxed)), (0, 0));
        });
    }

    #[test]
    fn a_site_without_a_place_is_counted_as_lost() {
        Watched::run(Counting::Profile, |watched| {
            (1..4096).for_each(|at| _ = watched.table.site(0x7000_0000 + 64 * at));
            let full = (1..).map(|at| 0x10_0000 + 64 * at).find(|&address| watched.table.site(address) == 0).unwrap();
            watched.section(full, Some(0));
            assert_eq!((watched.counts(), watched.table.header.sites_lost.load(Relaxed)), ([1, 0, 0, 1], 1));
        });
    }

    #[test]
    fn a_site_that_lost_says_why_the_next_time() {
        Watched::run(Counting::Profile, |watched| {
            let slice = &watched.table.header.slice;
            watched.section(HERE, Some(0));
            slice.store(u64::MAX, Relaxed);
            watched.section(HERE, Some(0));
            assert_eq!(watched.site_counts(HERE), [2, 0, 0, 2, 0, 1, 0], "shorter than an extension: interrupted");
            slice.store(0, Relaxed);
            watched.section(HERE, Some(0));
            assert_eq!(watched.site_counts(HERE), [3, 0, 0, 3, 1, 1, 0], "longer: too long");
            // What the kernel takes in any section is not the section's.
            watched.table.header.disturbed[0].store(2, Relaxed);
            watched.table.header.disturbed[1].store(u64::MAX, Relaxed);
            watched.section(HERE, Some(0));
            assert_eq!(watched.site_counts(HERE), [4, 0, 0, 4, 1, 2, 0]);
        });
    }

    #[test]
    fn a_section_inside_ends_the_request() {
        Watched::run(Counting::Profile, |watched| {
            entered(HERE);
            assert_eq!(watched.thread().depth.load(Relaxed), 1);
            watched.section(THERE, None);
            left(HERE);
            assert_eq!(watched.site_counts(HERE), [1, 0, 0, 1, 0, 0, 1]);
            assert_eq!(watched.site_counts(THERE), [1, 0, 0, 0, 0, 0, 0]);
            // The same where the outer one was granted time.
            entered(HERE);
            watched.kernel_writes(0, 1);
            watched.section(THERE, None);
            left(HERE);
            assert_eq!(watched.site_counts(HERE)[6], 2);
            // And not where it was over.
            watched.section(HERE, None);
            watched.section(THERE, Some(0));
            assert_eq!((watched.site_counts(HERE)[6], watched.site_counts(THERE)[6]), (2, 0));
            assert_eq!(watched.thread().depth.load(Relaxed), 0);
        });
    }

    #[test]
    fn an_end_without_a_beginning_is_the_threads() {
        Watched::run(Counting::Profile, |watched| {
            watched.section(HERE, None);
            left(HERE);
            assert_eq!((watched.counts(), watched.site_counts(HERE)), ([1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]));
            assert_eq!((watched.held(HERE), watched.thread().depth.load(Relaxed)), (1, 0));
        });
    }

    #[test]
    fn only_the_kernels_own_call_says_that_it_was_in_time() {
        assert!(!yield_cpu(-1), "no call");
        assert!(yield_cpu(libc::SYS_sched_yield as i32), "it ends every grant");
        // Without a grant it says no, or is not there.
        assert!(!yield_cpu(SYS_RSEQ_SLICE_YIELD));
    }

    #[test]
    fn what_others_take_is_learned_from_sections_in_time() {
        Watched::run(Counting::Profile, |watched| {
            let (table, site) = (watched.table, watched.site(HERE));
            let [sections, time] = &table.header.disturbed;
            let section = table.thread(9, || 1).0.open(0);
            learn(table, section, site);
            assert_eq!(sections.load(Relaxed), 0, "neither time is known");
            section.cpu_time.store(1, Relaxed);
            learn(table, section, site);
            assert_eq!(sections.load(Relaxed), 0, "that of an undisturbed one is not");
            site.add(0, true);
            let before = sys::thread_time();
            learn(table, section, site);
            assert_eq!(sections.load(Relaxed), 1);
            let (took, after) = (time.load(Relaxed), sys::thread_time());
            assert!(before.saturating_sub(1) <= took && took <= after, "{before} {took} {after}");
            assert!(cpu_time(section).is_some());
            section.cpu_time.store(0, Relaxed);
            assert_eq!(cpu_time(section), None);
        });
    }
}
