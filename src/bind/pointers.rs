//! Pointers: words of data that lead to what a key has chosen (`docs/site-abi.md`, kind 4).
//!
//! No instruction changes, so no thread can meet half of one: a slot is an aligned word, stored at once, and leads to code that means
//! the same before and after. The loader has made most slots read-only by now (`PT_GNU_RELRO`); their pages are writable for a
//! moment, as they were for the loader, and in the program they are sealed then.
#![allow(unsafe_code)]

use super::resolve::{self, Resolver};
use super::status::{Reason, SiteStatus};
use super::writer::Wish;
use crate::key::state::State;
use crate::module::Module;
use crate::sys::{self, Errno};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};
use invar_abi::judge::Fault;
use invar_abi::{Kind, Site, SiteRecord};

/// As many records stand one behind the other at most, of one slot.
const VALUES: usize = 64;

/// What a record says of a slot.
struct Slot {
    site: Site,
    /// Where it leads as it is linked.
    fallback: usize,
    /// Where it is to lead: `None` if its key is not sealed, or if no record is for the key's value.
    chosen: Option<usize>,
}

/// Works out the records of slots.
struct Slots<'r, 'a> {
    resolver: &'r mut Resolver<'a>,
    /// A page that the kernel could read a moment ago.
    readable: usize,
}

impl<'r, 'a> Slots<'r, 'a> {
    fn new(resolver: &'r mut Resolver<'a>) -> Self {
        Self { resolver, readable: usize::MAX }
    }

    fn slot(&mut self, record: &SiteRecord) -> Result<(Slot, &'a State), Fault> {
        let (site, key) = self.resolver.slot(record)?;
        let module = self.resolver.module;
        let fallback = target(module, record, 0).ok_or(Fault::NoFallback)?;
        let chosen = if key.decided() { target(module, record, key.value()) } else { None };
        Ok((Slot { site, fallback, chosen }, key))
    }

    /// What a slot holds; `None` if it cannot be read.
    fn holds(&mut self, slot: &Slot) -> Option<usize> {
        let address = slot.site.address as usize;
        let page = address & !(sys::page_size() - 1);
        if page != self.readable {
            if !sys::is_readable(address, size_of::<usize>()) {
                return None;
            }
            self.readable = page;
        }
        // SAFETY: an aligned word of the module's data, which the kernel could read a moment ago.
        Some(unsafe { &*(address as *const AtomicUsize) }.load(Relaxed))
    }

    /// What stands there.
    fn status(&mut self, slot: &Slot) -> SiteStatus {
        match self.holds(slot) {
            None => SiteStatus::Invalid(Fault::Unreadable),
            holds if holds == slot.chosen => SiteStatus::Bound,
            Some(holds) if holds == slot.fallback => SiteStatus::Checked,
            Some(_) => SiteStatus::Foreign,
        }
    }

    /// The slot and what it is to hold, by the record for its key's value: if it leads to its fallback, and that is another function.
    fn pending(&mut self, record: &SiteRecord) -> Option<(usize, usize)> {
        let (slot, key) = self.slot(record).ok()?;
        let chosen = slot.chosen.filter(|&chosen| record.value == key.value() && chosen != slot.fallback)?;
        (self.holds(&slot) == Some(slot.fallback)).then_some((slot.site.address as usize, chosen))
    }
}

/// Where a record's slot leads for this value: the records of one slot usually stand side by side.
fn target(module: &Module<'_>, record: &SiteRecord, value: u8) -> Option<usize> {
    let here = (core::ptr::from_ref(record) as usize).wrapping_sub(module.sites.as_ptr() as usize);
    let here = (here / size_of::<SiteRecord>()).min(module.sites.len());
    let near = &module.sites[here.saturating_sub(VALUES)..(here + VALUES).min(module.sites.len())];
    let is_it = |other: &&SiteRecord| {
        (other.kind, other.flags, other.value) == (record.kind, 0, value)
            && other.address() == record.address()
            && other.state.here() == record.state.here()
            && module.is_loaded(other.target.here())
    };
    near.iter().find(is_it).or_else(|| module.sites.iter().find(is_it)).map(|other| other.target.here())
}

/// What stands at a record's site, in code or in a slot, and the site itself if the record describes one.
#[cold]
pub(crate) fn inspect(resolver: &mut Resolver<'_>, record: &SiteRecord) -> (SiteStatus, Option<Site>) {
    if record.kind != Kind::Pointer as u8 {
        return resolve::inspect(resolver, record);
    }
    let mut slots = Slots::new(resolver);
    match slots.slot(record) {
        Ok((slot, _)) => (slots.status(&slot), Some(slot.site)),
        Err(fault) => (SiteStatus::Invalid(fault), None),
    }
}

/// What binds the pointers of this module, where it declares some: [`bind`]. Where nobody says so, nothing else leads there, and the
/// linker drops it.
static BINDER: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Says that this module declares pointers. Their probes do.
#[doc(hidden)]
pub fn declare_pointers() {
    // Hidden: a compiler that knows the one value which is ever stored calls it directly, and the linker keeps it everywhere.
    BINDER.store(core::hint::black_box(bind as *mut ()), Relaxed);
}

/// [`declare_pointers`] for C in this module (`invar2_pointers`).
#[cold]
extern "C" fn declare_pointers_in_c() {
    declare_pointers();
}

/// Emits what leads code in C of this module to [`declare_pointers_in_c`], in a section of its own: it is dropped, and what binds pointers
/// with it, where there is none that asks. Called from the constructor, so that it is linked wherever that is.
pub(crate) fn offer_to_c() {
    // SAFETY: no instruction, only data in another section.
    unsafe {
        core::arch::asm!(
            ".ifndef invar2_pointers",
            ".pushsection .rodata.invar2_pointers, \"a\", %progbits",
            ".balign 4",
            ".weak invar2_pointers",
            ".hidden invar2_pointers",
            ".set invar2_pointers, .",
            ".long {declare} - .",
            ".hidden {declare}",
            ".popsection",
            ".endif",
            declare = sym declare_pointers_in_c,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// Binds the pointers of a module, if it may have some.
///
/// # Safety
///
/// See [`bind`].
pub(super) unsafe fn bind_declared(module: &Module<'_>, wish: Wish) -> Option<Reason> {
    type Bind = unsafe fn(&Module<'_>) -> Option<Reason>;
    // SAFETY: null, or the address of a function of this type.
    let declared = unsafe { core::mem::transmute::<*mut (), Option<Bind>>(BINDER.load(Relaxed)) };
    // Only libinvar binds other modules.
    let binder = if cfg!(feature = "capi") && module.has_symbols() { Some(bind as Bind) } else { declared };
    let binder = binder.filter(|_| wish != Wish::None && !module.rewritten)?;
    // SAFETY: as the caller vouches.
    unsafe { binder(module) }
}

/// Has every slot that leads to its fallback lead to what its key has chosen, and counts the slots' records.
///
/// # Safety
///
/// The module's tables must be its own, and the keys its sites name must have their final values.
#[cold]
#[inline(never)]
unsafe fn bind(module: &Module<'_>) -> Option<Reason> {
    let is_pointer = |record: &&SiteRecord| record.kind == Kind::Pointer as u8;
    let mut resolver = Resolver::new(module);
    let mut slots = Slots::new(&mut resolver);
    let (page, mut refusal) = (sys::page_size(), None);
    let mut start = 0;
    loop {
        // The first page with such slots from there on.
        let mut first = usize::MAX;
        for record in module.sites.iter().filter(is_pointer).filter(|record| record.address() >= start) {
            let address = record.address() & !(page - 1);
            if address < first && slots.pending(record).is_some() {
                first = address;
            }
        }
        if first == usize::MAX {
            break;
        }
        let mut store = || {
            let records = module.sites.iter().filter(is_pointer);
            for record in records.filter(|record| record.address() & !(page - 1) == first) {
                if let Some((slot, chosen)) = slots.pending(record) {
                    // SAFETY: an aligned word that is writable by now; whoever reads it goes by the old function or by the new one.
                    unsafe { &*(slot as *const AtomicUsize) }.store(chosen, Release);
                }
            }
        };
        // SAFETY: `store` stores to slots of the page alone.
        refusal = refusal.or(unsafe { while_writable(module, first, &mut store) }.err());
        start = first + page;
    }
    let (mut bound, mut left) = (0, 0);
    for record in module.sites.iter().filter(is_pointer) {
        if let Ok((slot, _)) = slots.slot(record)
            && slot.chosen.is_some()
        {
            let is_bound = slots.status(&slot) == SiteStatus::Bound;
            bound += u32::from(is_bound);
            left += u32::from(!is_bound);
        }
    }
    module.outcome.bound.fetch_add(bound, Relaxed);
    module.outcome.left.fetch_add(left, Relaxed);
    refusal.map(|Errno(errno)| Reason::Pointers(errno))
}

/// Stores while a page of slots can be written to. What the loader makes read-only once it is relocated is read-only afterwards, also
/// where the loader has not made it so, as in a static program with musl; and in the program for good, where the kernel knows how to
/// seal: a library has to remain one that can be unloaded.
///
/// # Safety
///
/// `store` must store to slots of that page alone.
unsafe fn while_writable(module: &Module<'_>, page: usize, store: &mut dyn FnMut()) -> sys::Result<()> {
    let length = sys::page_size();
    if !module.is_relro(page, length) {
        // What else is on the page may have to stay writable, or may not.
        if !sys::is_writable(page) {
            return Err(Errno(libc::EACCES));
        }
        store();
        return Ok(());
    }
    // SAFETY: who can read the page can do so all the while.
    unsafe { sys::protect(page, length, libc::PROT_READ | libc::PROT_WRITE) }?;
    store();
    // SAFETY: nobody writes to what was relocated.
    unsafe { sys::protect(page, length, libc::PROT_READ) }?;
    if module.is_program() {
        // SAFETY: nobody unmaps the program's data, or changes what protects it.
        unsafe { sys::seal(page, length) };
    }
    Ok(())
}
