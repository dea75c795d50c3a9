//! Sections, watched: what stands in for a request and for its end where somebody counts.
//!
//! Both run instead of a slice site's instructions, in any thread, in signal handlers, and between a program's lock and
//! its unlock. So they take no lock and no memory, cannot panic, and make system calls only where none can end a grant:
//! before a request, and after its end.

use super::table::{Header, Section, Site, Table, Thread};
use crate::rseq::{self, SYS_RSEQ_SLICE_YIELD};
use crate::{slice, sys};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use invar_arch as arch;

/// In the place of a request. `site` is the address behind the call that came here.
pub(crate) extern "C" fn entered(site: usize) {
    let Some(table) = super::table() else { return };
    let area = arch::area(slice::area());
    // SAFETY: the two bytes of the calling thread's area; the kernel writes them as well.
    let (request, granted) = unsafe {
        let request = area.add(arch::AREA_REQUEST);
        (request, request.add(1).read_volatile() != 0)
    };
    // SAFETY: as above.
    let inside = granted || unsafe { request.read_volatile() } != 0;
    let (thread, own) = table.thread(super::process(), || if inside { 0 } else { sys::thread_id() });
    add(&thread.requests);
    let place = if super::sites_count() { table.site(site) } else { 0 };
    let known = table.site_at(place);
    match known {
        Some(site) => {
            add(&site.requests);
            if !rseq::is_enrolled() {
                add(&site.not_enrolled);
            }
        }
        None if super::sites_count() => add(&table.header.sites_lost),
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
    let area = slice::area();
    let kept = arch::take_back(area);
    let ended = arch::ticks();
    // SAFETY: the calling thread's area; the kernel writes it as well.
    let granted = !kept && unsafe { arch::area(area).add(arch::AREA_REQUEST + 1).read_volatile() } != 0;
    let yielded = granted && give_up_cpu();

    let Some(table) = super::table() else { return };
    let (thread, own) = table.thread(super::process(), sys::thread_id);
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
fn close(thread: &Thread) -> Option<&Section> {
    let depth = thread.depth.load(Relaxed).checked_sub(1)?;
    thread.depth.store(depth, Relaxed);
    Some(thread.open(depth))
}

/// Gives up the CPU that a grant lent; whether the kernel says that this was in time.
fn give_up_cpu() -> bool {
    let number = slice::yield_number();
    // SAFETY: no arguments, and no effect but that.
    let result = if number < 0 { Ok(0) } else { unsafe { sys::call(number.into(), [0; 6]) } };
    // Another call than the kernel's own says nothing, and ends every grant.
    if number == SYS_RSEQ_SLICE_YIELD { result == Ok(1) } else { number >= 0 }
}

/// The counter for the reason why a request was lost, where there is one.
///
/// The kernel says only that it is gone: time was granted and ran out, or a system call ended it, or a signal or a fault
/// kept the kernel from granting any. Who used up more CPU time than an extension has was too long in any case; of
/// that, what interrupts and the kernel take in any section is not the section's. So this is an estimate.
fn explain<'a>(table: &Table, section: &Section, site: &'a Site) -> Option<&'a AtomicU64> {
    if section.cut_short.load(Relaxed) != 0 {
        return Some(&site.nested);
    }
    let Header { slice, disturbed: [sections, time], .. } = &table.header;
    let kernels = time.load(Relaxed).checked_div(sections.load(Relaxed)).unwrap_or(0);
    let used = cpu_time(section)?;
    Some(if used >= slice.load(Relaxed).saturating_add(kernels) { &site.too_long } else { &site.interrupted })
}

/// Learns from a section that was in time what interrupts, the kernel and the clock take.
fn learn(table: &Table, section: &Section, site: &Site) {
    let [sections, ticks] = &site.undisturbed;
    let mean = ticks.load(Relaxed).checked_div(sections.load(Relaxed));
    if let (Some(used), Some(mean)) = (cpu_time(section), mean) {
        let [sections, time] = &table.header.disturbed;
        add(sections);
        time.fetch_add(used.saturating_sub(table.nanoseconds(mean)), Relaxed);
    }
}

/// The CPU time that the thread used up in a section that has ended, in nanoseconds, where it is known.
fn cpu_time(section: &Section) -> Option<u64> {
    match section.cpu_time.load(Relaxed) {
        0 => None,
        before => Some(sys::thread_time().saturating_sub(before).max(1)),
    }
}

/// Counts one more; a whole instruction, so that a signal handler's own does not get lost.
fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
