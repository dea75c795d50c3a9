//! The writers `swap` and `memfd`: a copy of the pages with sites, made from the module's file, takes their place.
//!
//! open the file and see that it is the module's -> map its pages a second time, private and writable -> take over what somebody
//! has changed in the text -> bind the sites in the copy -> for each run of pages: make them executable, see that the text is
//! still as it was, and exchange them.
//!
//! The pages that have sites are written before they are read. The kernel would have to change a page's entry that was read
//! first, and to tell all CPUs (on two of them, sixteen pages took three times as long).

use super::super::resolve::{Filled, Resolver, Work, mixed};
use super::super::status::Reason;
use super::super::window::Window;
use super::super::writer::{Ledger, Writer};
use crate::sys::{self, Errno, File, Mapping};
use core::ffi::c_void;
use core::ops::Range;
use invar_arch as arch;

/// Does some work to the sites of a window, by `swap` and `memfd` as they are allowed.
///
/// # Safety
///
/// See [`super::window`].
#[cold]
pub(super) unsafe fn exchange(
    window: &Window<'_>,
    resolver: &mut Resolver<'_>,
    allowed: [bool; 2],
    work: Work,
    ledger: &mut Ledger,
) -> Result<Filled, Reason> {
    let file = resolver.module.open().map_err(Reason::from).and_then(|file| file.ok_or(Reason::OtherFile));
    let copy = file.as_ref().map_err(|&why| why).and_then(|file| Copy::new(window, file, resolver, work));
    let copy = copy.inspect_err(|&why| {
        for (writer, allowed) in [Writer::Swap, Writer::Memfd].into_iter().zip(allowed) {
            if allowed {
                ledger.refuse(writer, why);
            }
        }
    })?;
    // SAFETY: the copy is the window's, and its own; the tables are the module's, as the caller vouches.
    let filled = unsafe { (work.fill)(resolver, window, copy.delta()) };
    copy.commit(window, allowed, ledger).map(|()| filled)
}

/// The kernel makes as many copies of pages before they are compared: they are to be in the CPU's cache still, as the file's are.
const AT_ONCE: usize = 32;

/// A private copy of the pages of a window.
struct Copy<'a> {
    file: &'a File,
    /// Where the first page of the span is in the file.
    offset: usize,
    /// The text.
    span: Range<usize>,
    /// The copy of the whole span. Where the text has pages without sites, it is never touched.
    address: usize,
    /// Of the text.
    protection: i32,
    /// The last page in which somebody has changed the text, or 0; and a print of what stood there. Debuggers take all
    /// breakpoints away at once.
    changed: usize,
    print: u64,
}

impl<'a> Copy<'a> {
    fn new(window: &Window<'_>, file: &'a File, resolver: &mut Resolver<'_>, work: Work) -> Result<Self, Reason> {
        let text = window.text;
        if text.protection & libc::PROT_WRITE != 0 {
            // The program itself may change it at any time.
            return Err(Reason::Changed);
        }
        if file.length()? < text.offset + text.range.len() {
            // Pages that the file does not have kill who touches them.
            return Err(Reason::OtherFile);
        }
        let span = window.span();
        let offset = (text.offset + span.start).wrapping_sub(text.range.start);
        let address = sys::map_file(file, offset, span.len(), libc::PROT_READ | libc::PROT_WRITE)?;
        let mut copy = Self { file, offset, span, address, protection: text.protection, changed: 0, print: 0 };
        let prepared = copy.prepare(window, resolver, work);
        prepared.inspect_err(|_| copy.forget(&copy.span))?;
        Ok(copy)
    }

    /// How far the copy lies behind the text.
    fn delta(&self) -> usize {
        self.address.wrapping_sub(self.span.start)
    }

    /// Has the pages with sites written to, and all of each run as they are in the text.
    fn prepare(&mut self, window: &Window<'_>, resolver: &mut Resolver<'_>, work: Work) -> Result<(), Reason> {
        let (delta, page) = (self.delta(), sys::page_size());
        let mut populated = 0;
        for pages in window.dense() {
            let (mut piece, at_once) = (pages.start..pages.start, AT_ONCE * page);
            while piece.end < pages.end {
                piece = piece.end..pages.end.min(piece.end + at_once);
                // The program may have made it writable since it was loaded, to change it itself.
                if piece.clone().step_by(page).any(sys::is_writable) {
                    return Err(Reason::Changed);
                }
                // SAFETY: our own pages.
                unsafe { sys::populate_for_writing(piece.start.wrapping_add(delta), piece.len()) }?;
                populated += piece.len();
                if work.before.is_none() {
                    // SAFETY: what is exchanged was found to be readable, and the copy of these pages is there.
                    piece.clone().step_by(page).for_each(|page| unsafe { self.take_over(page) });
                }
            }
        }
        // Pages that the file does not have any more would be a signal. To look at a thousand that are there takes 0.3 ms.
        if populated != self.span.len() && !window.runs().all(|run| sys::can_be_read(&self.pages(&run))) {
            return Err(Reason::OtherFile);
        }
        if let Some(before) = work.before {
            // SAFETY: the copy is the window's, and its own; the tables are the module's, as the caller vouches.
            unsafe { before(resolver, window, delta) };
        }
        for run in window.runs() {
            let left = run.step_by(page).filter(|&page| work.before.is_some() || !window.has_sites_at(page));
            // SAFETY: as above, and the copy of the others can be read.
            left.for_each(|page| unsafe { self.take_over(page) });
        }
        if self.changed != 0 {
            // SAFETY: our own pages.
            self.print = unsafe { print_of(self.changed.wrapping_add(delta)) };
        }
        Ok(())
    }

    /// Has a page of the copy as it is in the text.
    ///
    /// # Safety
    ///
    /// It is one of the span's, and can be read in the text and in the copy.
    unsafe fn take_over(&mut self, page: usize) {
        let (text, copy) = (page as *const c_void, page.wrapping_add(self.delta()) as *mut c_void);
        let length = sys::page_size();
        // SAFETY: as the caller vouches; the copy is our own. By functions of libc's, since the text may change.
        unsafe {
            if libc::memcmp(copy, text, length) != 0 {
                libc::memcpy(copy, text, length);
                self.changed = self.changed.max(page);
            }
        }
    }

    /// Exchanges each run of pages for the copy. The copy is gone then.
    fn commit(self, window: &Window<'_>, [swap, memfd]: [bool; 2], ledger: &mut Ledger) -> Result<(), Reason> {
        let exchange = Exchange::new(&self, window).inspect_err(|_| self.forget(&self.span))?;
        let (mut refusal, mut left) = (None, self.span.start);
        for run in window.runs() {
            // What lies between two runs.
            self.forget(&(left..run.start));
            left = run.end;
            let mut result = Err(Reason::Changed);
            if swap {
                result = self.swap(&run).and_then(|pages| exchange.with(pages, &run));
                match result {
                    Ok(()) => {
                        ledger.used |= Writer::Swap as u8;
                        continue;
                    }
                    Err(why) => ledger.refuse(Writer::Swap, why),
                }
            }
            if memfd {
                let changed = if self.changed != 0 { Err(Reason::Changed) } else { Ok(()) };
                let second = changed.and_then(|()| self.memfd(&run)).and_then(|pages| exchange.with(pages, &run));
                match second {
                    Ok(()) => ledger.used |= Writer::Memfd as u8,
                    Err(why) => ledger.refuse(Writer::Memfd, why),
                }
                result = if swap { second.or(result) } else { second };
            }
            self.forget(&run);
            refusal = refusal.or(result.err());
        }
        refusal.map_or(Ok(()), Err)
    }

    /// The copy itself, executable.
    fn swap(&self, run: &Range<usize>) -> Result<Pages, Reason> {
        let pages = self.pages(run);
        // SAFETY: our own pages.
        unsafe { sys::protect(pages.start, pages.len(), self.protection) }?;
        // A breakpoint that was taken away meanwhile would come back, and nobody would know it.
        // SAFETY: text that could be read.
        if run.start <= self.changed && unsafe { print_of(self.changed) } != self.print {
            return Err(Reason::Changed);
        }
        Ok(Pages::Copy(pages))
    }

    /// The same bytes in a memfd.
    fn memfd(&self, run: &Range<usize>) -> Result<Pages, Reason> {
        // SAFETY: our own pages.
        let bytes = unsafe { core::slice::from_raw_parts(self.pages(run).start as *const u8, run.len()) };
        let file = File::sealed(c"invar", bytes)?;
        Ok(Pages::Memfd(Mapping::of_file(&file, 0, run.len())?))
    }

    fn pages(&self, run: &Range<usize>) -> Range<usize> {
        run.start.wrapping_add(self.delta())..run.end.wrapping_add(self.delta())
    }

    /// Unmaps the copy of this part of the text.
    #[inline(never)]
    fn forget(&self, part: &Range<usize>) {
        if !part.is_empty() {
            // SAFETY: our own pages, which nobody uses any more.
            unsafe { sys::unmap(self.pages(part).start, part.len()) };
        }
    }
}

/// No page is smaller.
const PAGE: usize = 4096;

/// A print of a page, which may change.
///
/// # Safety
///
/// It can be read.
#[inline(never)]
unsafe fn print_of(page: usize) -> u64 {
    let (mut at, mut print) = (page, 0);
    loop {
        // SAFETY: as the caller vouches.
        print = mixed(print, unsafe { (at as *const u64).read_volatile() });
        at += size_of::<u64>();
        if at % PAGE == 0 {
            return print;
        }
    }
}

/// Executable pages that are to take the place of text.
enum Pages {
    Copy(Range<usize>),
    Memfd(Mapping),
}

/// What exchanges pages, from a place that stays.
struct Exchange<'a> {
    copy: &'a Copy<'a>,
    /// Where the code is that does it.
    code: usize,
    /// A second mapping of the code's own page, where that is in the text that is exchanged.
    _mapping: Option<Mapping>,
}

impl<'a> Exchange<'a> {
    fn new(copy: &'a Copy<'a>, window: &Window<'_>) -> Result<Self, Reason> {
        let (start, end) = (arch::exchange_code(), arch::exchange_code() + arch::EXCHANGE_LENGTH);
        if !window.runs().any(|run| start < run.end && run.start < end) {
            return Ok(Self { copy, code: start, _mapping: None });
        }
        let page = sys::page_size();
        let pages = start & !(page - 1)..end.next_multiple_of(page);
        let offset = (copy.offset + pages.start).wrapping_sub(copy.span.start);
        let mapping = Mapping::of_file(copy.file, offset, pages.len())?;
        let code = mapping.start() + (start - pages.start);
        // SAFETY: both are readable, and end behind the code.
        let [here, there] =
            [start, code].map(|at| unsafe { core::slice::from_raw_parts(at as *const u8, arch::EXCHANGE_LENGTH) });
        if here != there {
            return Err(Reason::Changed);
        }
        Ok(Self { copy, code, _mapping: Some(mapping) })
    }

    /// Has the pages take the place of a run of text.
    fn with(&self, pages: Pages, run: &Range<usize>) -> Result<(), Reason> {
        let from = match &pages {
            Pages::Copy(pages) => pages.start,
            Pages::Memfd(mapping) => mapping.start(),
        };
        if sys::is_locked(run) {
            // SAFETY: our own pages; and what was locked in memory stays so.
            unsafe { sys::lock(from, run.len()) }?;
        }
        let offset = self.copy.offset + (run.start - self.copy.span.start);
        let file = self.copy.file.descriptor();
        // SAFETY: our own pages, which mean the same as the text that they replace, as the file's do; and the code is not in
        // that text.
        let result = unsafe { arch::exchange_by(self.code, from, run.len(), run.start, file, offset) };
        if result as usize != run.start {
            return Err(Errno(-result as i32).into());
        }
        if let Pages::Memfd(mapping) = pages {
            // It is the text now.
            core::mem::forget(mapping);
        }
        Ok(())
    }
}
