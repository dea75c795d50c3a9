//! Modules: the linked objects of this process that carry sites, found by the ELF note that each of them has.
//!
//! The note gives distances to the module's tables (`docs/site-abi.md`). It is found through the program
//! headers that the loader keeps, so it needs no exported symbol, is found in an `RTLD_LOCAL` library too, and is
//! gone when the library is.
#![allow(unsafe_code)]

use crate::key::{KeyRecord, RawProbe, State};
use crate::site::{SiteRecord, leads_to};
use crate::sys;
use core::ffi::{CStr, c_int, c_void};
use core::ops::Range;
use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(target_pointer_width = "64")]
type ProgramHeader = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type ProgramHeader = libc::Elf32_Phdr;

/// The note's owner.
const OWNER: &[u8] = b"invar\0";
/// The note's type: the version of the ABI.
const ABI: u32 = 1;
/// Length of the note's descriptor: five distances and the flags.
const DESCRIPTOR: usize = 24;

/// One module of this process.
#[derive(Clone, Copy)]
pub(crate) struct Module<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) base: usize,
    pub(crate) sites: &'a [SiteRecord],
    keys: &'a [KeyRecord],
    pub(crate) outcome: &'a Outcome,
    segments: Segments<'a>,
}

/// A module's loaded segments.
#[derive(Clone, Copy)]
struct Segments<'a> {
    base: usize,
    headers: &'a [ProgramHeader],
}

/// A key of a module, every distance worked out and found to lie in the module.
#[derive(Clone, Copy)]
pub(crate) struct ModuleKey<'a> {
    pub(crate) state: &'a State,
    pub(crate) probe: RawProbe,
    pub(crate) record: &'a KeyRecord,
    pub(crate) values: u8,
    pub(crate) flags: u8,
    /// Its name, then each value's, each with a NUL behind it.
    pub(crate) names: &'a [u8],
}

/// What came of binding a module; the note leads to it, so that every copy of the runtime can report it. Zero is
/// what has not been loaded yet.
#[repr(C)]
pub(crate) struct Outcome {
    /// 0 before the module's constructor, 1 when it has run.
    pub(crate) phase: AtomicU8,
    pub(crate) reason: AtomicU8,
    pub(crate) writers: AtomicU8,
    /// Of the first module in the loader's order: 1 while a copy of the runtime seals a key ([`exclusively`]).
    lock: AtomicU8,
    /// The kernel's error number, or the number of threads, with the reasons that have one.
    pub(crate) detail: AtomicU32,
    pub(crate) bound: AtomicU32,
    /// Sites that a pass over the table came by and left unbound.
    pub(crate) left: AtomicU32,
    /// Where the request byte of each thread lies, from its thread pointer, in the module's slice sites.
    pub(crate) request_offset: AtomicI32,
    /// What this module has said about the settings.
    pub(crate) said: AtomicU32,
    pub(crate) nanoseconds: AtomicU64,
}

// Weak, so that two versions of this crate in one link share it as they share the tables: the first constructor
// binds all. Directives only, no instruction.
core::arch::global_asm!(
    // With fat LTO the assembly of both versions becomes one.
    ".ifndef invar_outcome",
    ".pushsection .bss.invar_outcome, \"aw\", %nobits",
    ".balign 8",
    ".weak invar_outcome",
    ".hidden invar_outcome",
    ".type invar_outcome, %object",
    ".size invar_outcome, 32",
    "invar_outcome:",
    ".zero 32",
    ".popsection",
    ".endif",
);
const _: () = assert!(size_of::<Outcome>() == 32);

unsafe extern "C" {
    #[link_name = "invar_outcome"]
    safe static OUTCOME: Outcome;
}

impl Outcome {
    /// Whether the module's constructor has run to its end.
    pub(crate) fn loaded(&self) -> bool {
        self.phase.load(Ordering::Acquire) != 0
    }
}

/// Emits this module's note, and returns its outcome. Called from the constructor, so that it is linked wherever that is.
#[inline(never)]
pub(crate) fn note() -> &'static Outcome {
    // SAFETY: no instruction, only data in other sections. The empty sections make the linker define the
    // boundary symbols, which are weak so that a linker that drops them still links, and hidden so that each
    // module has its own.
    unsafe {
        core::arch::asm!(
            ".pushsection invar_sites, \"aR\", %progbits",
            ".popsection",
            ".pushsection invar_keys, \"aR\", %progbits",
            ".popsection",
            ".weak __start_invar_sites",
            ".weak __stop_invar_sites",
            ".weak __start_invar_keys",
            ".weak __stop_invar_keys",
            ".hidden __start_invar_sites",
            ".hidden __stop_invar_sites",
            ".hidden __start_invar_keys",
            ".hidden __stop_invar_keys",
            ".pushsection .note.invar, \"aR\", %note",
            ".balign 4",
            ".long 6, {descriptor}, {abi}",
            ".asciz \"invar\"",
            ".balign 4",
            ".long __start_invar_sites - ., __stop_invar_sites - .",
            ".long __start_invar_keys - ., __stop_invar_keys - .",
            ".long {outcome} - ., 0",
            ".popsection",
            descriptor = const DESCRIPTOR,
            abi = const ABI,
            outcome = sym OUTCOME,
            options(nomem, nostack, preserves_flags),
        );
    }
    &OUTCOME
}

/// Calls `visit` with each module of the process that has a note of this ABI version.
///
/// The loader's lock is held meanwhile, so no module can go away under the visitor; who must not wait for anybody
/// else's lock.
pub(crate) fn each<F: FnMut(&Module<'_>)>(mut visit: F) {
    extern "C" fn one<F: FnMut(&Module<'_>)>(info: *mut libc::dl_phdr_info, _size: usize, visit: *mut c_void) -> c_int {
        // SAFETY: `visit` is the pointer passed below; the loader describes a loaded object.
        unsafe {
            if let Some(module) = Module::from_loader(&*info) {
                (*visit.cast::<F>())(&module);
            }
        }
        // Go on.
        0
    }
    // SAFETY: the callback gets the closure back that outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(one::<F>), (&raw mut visit).cast()) };
}

/// Runs `work` while no other copy of the runtime in this process does. It must be short, and wait for nobody.
///
/// The lock is the first module's. glibc's loader keeps that module where it is meanwhile, and all others out of here, by its
/// own lock; musl never unloads any.
pub(crate) fn exclusively(work: impl FnOnce()) {
    let mut work = Some(work);
    each(|first| {
        if let Some(work) = work.take() {
            let lock = &first.outcome.lock;
            // In a child of `fork` nobody is there to give it back.
            let mut patience = 10_000;
            while lock.swap(1, Ordering::Acquire) != 0 && patience > 0 {
                patience -= 1;
                sys::yield_cpu();
            }
            work();
            lock.store(0, Ordering::Release);
        }
    });
    // Where the loader lists none, nobody else is there either.
    if let Some(work) = work {
        work();
    }
}

/// Whether any module is wanted.
#[cold]
#[inline(never)]
pub(crate) fn one_is(wanted: &mut dyn FnMut(&Module<'_>) -> bool) -> bool {
    let mut found = false;
    each(|module| found = found || wanted(module));
    found
}

/// Calls `visit` with each module, without the loader's lock: it may wait, print, load and panic.
///
/// A module must not be unloaded while it is visited. Whoever unloads one vouches for that, as for everything else that
/// the process might still do with it.
pub(crate) fn each_in_turn(mut visit: impl FnMut(&Module<'_>)) {
    for nth in 0.. {
        let mut number = 0..;
        // SAFETY: used during the visit only.
        let Some(module) = (unsafe { find(|_| number.next() == Some(nth)) }) else { return };
        visit(&module);
    }
}

/// The last module that is wanted.
///
/// # Safety
///
/// The module must stay loaded as long as the result is used.
pub(crate) unsafe fn find(mut wanted: impl FnMut(&Module<'_>) -> bool) -> Option<Module<'static>> {
    let mut found = None;
    each(|module| {
        if wanted(module) {
            // SAFETY: everything a module borrows lies in its own segments or in the loader's record of it,
            // both of which live as long as the module, as the caller vouches.
            found = Some(unsafe { core::mem::transmute::<Module<'_>, Module<'static>>(*module) });
        }
    });
    found
}

impl<'a> Module<'a> {
    /// # Safety
    ///
    /// `info` must describe an object that is loaded and relocated.
    #[cold]
    #[inline(never)]
    unsafe fn from_loader(info: &'a libc::dl_phdr_info) -> Option<Self> {
        if info.dlpi_phdr.is_null() {
            return None;
        }
        // SAFETY: the loader's table has this many headers.
        let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let segments = Segments { base: info.dlpi_addr as usize, headers };
        let descriptor = headers.iter().filter(|header| header.p_type == libc::PT_NOTE).find_map(|header| {
            let start = segments.base.wrapping_add(header.p_vaddr as usize);
            let notes: &[u8] = segments.slice(start, header.p_memsz as usize)?;
            find_note(notes)
        })?;
        // glibc lists the program without a name, musl by one of its own. The kernel says where the program's headers are;
        // where the loader itself was executed, those of the loader.
        let is_program = info.dlpi_name.is_null() || info.dlpi_phdr as u64 == sys::auxiliary(libc::AT_PHDR);
        // SAFETY: the loader's name ends in NUL.
        let path = if is_program { c"" } else { unsafe { CStr::from_ptr(info.dlpi_name) } };
        Self::from_note(path, segments, descriptor)
    }

    /// Works out the descriptor's distances. What does not lie in the module's readable memory is no table.
    #[cold]
    fn from_note(path: &'a CStr, segments: Segments<'a>, descriptor: &'a [u8; DESCRIPTOR]) -> Option<Self> {
        let (fields, _) = descriptor.as_chunks::<4>();
        let at = |index: usize| {
            let distance = i32::from_ne_bytes(fields[index]);
            (fields[index].as_ptr() as usize).wrapping_add_signed(distance as isize)
        };
        Some(Self {
            path,
            base: segments.base,
            sites: segments.table(at(0)..at(1))?,
            keys: segments.table(at(2)..at(3))?,
            outcome: segments.writable(at(4))?,
            segments,
        })
    }

    /// The module's keys; records that point anywhere else than they must are left out.
    pub(crate) fn keys(&self) -> impl Iterator<Item = ModuleKey<'a>> + use<'_, 'a> {
        self.keys.iter().filter_map(|record| self.key(record))
    }

    /// How many key records are left out; blank ones, which linkers leave where they discard code, are none.
    #[cold]
    pub(crate) fn invalid_keys(&self) -> usize {
        let invalid =
            |record: &&KeyRecord| (record.names_length, record.values) != (0, 0) && self.key(record).is_none();
        self.keys.iter().filter(invalid).count()
    }

    /// A key of this name that is wanted, and its position; looked for from `start` on.
    #[cold]
    pub(crate) fn find_key(
        &self,
        name: &[u8],
        start: usize,
        wanted: impl Fn(&ModuleKey<'a>) -> bool,
    ) -> Option<(usize, ModuleKey<'a>)> {
        (start..start + self.keys.len()).find_map(|at| {
            let at = at % self.keys.len();
            let record = &self.keys[at];
            // By the name first, since the rest takes longer.
            let names: &[u8] = self.segments.slice(leads_to(&record.names), record.names_length as usize)?;
            if !(names.starts_with(name) && names.get(name.len()) == Some(&0)) {
                return None;
            }
            let key = self.key(record)?;
            wanted(&key).then_some((at, key))
        })
    }

    /// The first key of this name.
    #[cfg(feature = "report")]
    #[cold]
    pub(crate) fn key_named(&self, name: &[u8]) -> Option<ModuleKey<'a>> {
        self.keys().find(|key| key.name() == name)
    }

    /// The key whose state has this address.
    #[cold]
    pub(crate) fn key_at(&self, state: usize) -> Option<ModuleKey<'a>> {
        self.keys.iter().filter(|record| record.state_address() == state).find_map(|record| self.key(record))
    }

    #[cold]
    #[inline(never)]
    fn key(&self, record: &'a KeyRecord) -> Option<ModuleKey<'a>> {
        let names: &[u8] = self.segments.slice(leads_to(&record.names), record.names_length as usize)?;
        let probe = leads_to(&record.probe);
        let mut ends = 0;
        for &byte in names {
            match byte {
                0 => ends += 1,
                b'!'..=b'~' => {}
                _ => return None,
            }
        }
        let whole = ends == record.values as u32 + 1
            && names.last() == Some(&0)
            && (2..=64).contains(&record.values)
            && self.segments.contain(probe, 1, libc::PF_X);
        if !whole {
            return None;
        }
        Some(ModuleKey {
            state: self.segments.writable(leads_to(&record.state))?,
            // SAFETY: an address in the module's text, which a key record names as its probe.
            probe: unsafe { core::mem::transmute::<usize, RawProbe>(probe) },
            record,
            values: record.values,
            flags: record.flags,
            names,
        })
    }

    /// Whether this address is in one of the module's segments.
    pub(crate) fn contains(&self, address: usize) -> bool {
        self.segments.contain(address, 1, 0)
    }

    /// From its first segment's start to its last one's end.
    #[cfg(feature = "profile")]
    pub(crate) fn range(&self) -> Range<usize> {
        let ranges = || self.segments.of_type(libc::PT_LOAD).map(|(range, _)| range);
        let start = ranges().map(|range| range.start).min().unwrap_or(0);
        start..ranges().map(|range| range.end).max().unwrap_or(start)
    }

    /// Whether the module can never be unloaded: the program, or a library that was linked with `-z nodelete`.
    #[cfg(feature = "capi")]
    pub(crate) fn stays(&self) -> bool {
        // System V ABI, "Dynamic Section", and elf.h: entries of two words, the last of which has tag 0.
        const DT_FLAGS_1: usize = 0x6fff_fffb;
        const DF_1_NODELETE: usize = 8;
        let mut words = self.segments.of_type(libc::PT_DYNAMIC).flat_map(|(range, _)| {
            let count = range.len() / size_of::<[usize; 2]>();
            self.segments.slice::<[usize; 2]>(range.start, count).unwrap_or_default()
        });
        self.is_program() || words.any(|&[tag, value]| tag == DT_FLAGS_1 && value & DF_1_NODELETE != 0)
    }

    /// How many of its site records are for code that is there.
    #[cold]
    #[inline(never)]
    pub(crate) fn live_sites(&self) -> u32 {
        self.sites.iter().filter(|record| self.is_live(record)).count() as u32
    }

    /// Whether a record is for code that is there: a linker that discards code may leave its record blank, or have it lead to
    /// address 0 of the file, or to what is no code.
    pub(crate) fn is_live(&self, record: &SiteRecord) -> bool {
        let address = record.address();
        record.site != 0 && address != self.base && self.segments.contain(address, 1, libc::PF_X)
    }

    /// Its path, for people.
    pub(crate) fn name(&self) -> &'a [u8] {
        if self.is_program() { b"(program)" } else { self.path.to_bytes() }
    }

    /// Whether this is the program itself.
    pub(crate) fn is_program(&self) -> bool {
        self.path.is_empty()
    }

    /// The part of the module's text that holds this range whole: what may be read and executed.
    #[cold]
    #[inline(never)]
    pub(crate) fn text(&self, address: usize, length: usize) -> Option<Range<usize>> {
        self.segments.holding(address, length, libc::PF_R | libc::PF_X)
    }
}

impl<'a> ModuleKey<'a> {
    pub(crate) fn name(&self) -> &'a [u8] {
        self.text(0)
    }

    /// Whether the key's state has this address.
    #[inline(always)]
    pub(crate) fn is_at(&self, state: usize) -> bool {
        core::ptr::from_ref(self.state) as usize == state
    }

    /// The name of one of the key's values.
    pub(crate) fn value_name(&self, value: u8) -> &'a [u8] {
        self.text(value as usize + 1)
    }

    /// Name and value names, as one string.
    pub(crate) fn same_as(&self, other: &ModuleKey<'_>) -> bool {
        self.names == other.names
    }

    fn text(&self, index: usize) -> &'a [u8] {
        self.names.split(|&byte| byte == 0).nth(index).unwrap_or(b"?")
    }
}

impl<'a> Segments<'a> {
    /// Ranges and flags of the segments of this type.
    fn of_type(&self, kind: u32) -> impl Iterator<Item = (Range<usize>, u32)> + use<'a> {
        let base = self.base;
        self.headers.iter().filter(move |header| header.p_type == kind).map(move |header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            (start..start.saturating_add(header.p_memsz as usize), header.p_flags)
        })
    }

    /// The segment that holds this range whole and has all of these flags.
    fn holding(&self, address: usize, length: usize, flags: u32) -> Option<Range<usize>> {
        let end = address.checked_add(length)?;
        self.of_type(libc::PT_LOAD)
            .find(|(range, has)| range.start <= address && end <= range.end && has & flags == flags)
            .map(|(range, _)| range)
    }

    fn contain(&self, address: usize, length: usize, flags: u32) -> bool {
        self.holding(address, length, flags).is_some()
    }

    fn slice<T: Plain>(&self, address: usize, count: usize) -> Option<&'a [T]> {
        let bytes = count.checked_mul(size_of::<T>())?;
        if count == 0 {
            return Some(&[]);
        }
        let readable = address.is_multiple_of(align_of::<T>()) && self.contain(address, bytes, libc::PF_R);
        // SAFETY: loaded, readable, aligned, and every bit pattern is a value; nobody writes to a module's
        // read-only tables, and its text is only looked at between writes.
        readable.then(|| unsafe { core::slice::from_raw_parts(address as *const T, count) })
    }

    fn table<T: Plain>(&self, range: Range<usize>) -> Option<&'a [T]> {
        self.slice(range.start, range.end.checked_sub(range.start)? / size_of::<T>())
    }

    fn writable<T: Shared>(&self, address: usize) -> Option<&'a T> {
        let there = address.is_multiple_of(align_of::<T>()) && self.is_writable(address, size_of::<T>());
        // SAFETY: loaded, writable, aligned, and every bit pattern is a value that may change at any time.
        there.then(|| unsafe { &*(address as *const T) })
    }

    /// Whether the range is writable by its segment, and not read-only since it was relocated.
    #[inline(never)]
    fn is_writable(&self, address: usize, length: usize) -> bool {
        let overlaps = |range: Range<usize>| address < range.end && range.start < address + length;
        self.contain(address, length, libc::PF_R | libc::PF_W)
            && !self.of_type(libc::PT_GNU_RELRO).any(|(range, _)| overlaps(range))
    }
}

/// Types that are made of numbers alone.
///
/// # Safety
///
/// Every bit pattern must be a value.
unsafe trait Plain {}
// SAFETY: numbers alone.
unsafe impl Plain for u8 {}
#[cfg(feature = "capi")]
// SAFETY: numbers alone.
unsafe impl Plain for [usize; 2] {}
// SAFETY: numbers alone.
unsafe impl Plain for SiteRecord {}
// SAFETY: numbers alone.
unsafe impl Plain for KeyRecord {}

/// Types that another copy of the runtime may change while we look.
///
/// # Safety
///
/// Every bit pattern must be a value, and what changes must be atomic or behind a cell.
unsafe trait Shared {}
// SAFETY: atomics, and cells guarded by one.
unsafe impl Shared for State {}
// SAFETY: atomics.
unsafe impl Shared for Outcome {}

/// The descriptor of our note among `notes`.
///
/// Steps by four bytes whatever the segment's alignment: mold puts notes of alignment 4 behind one of alignment 8
/// into one segment, and the one note that has alignment 8, the GNU property note, is a multiple of 8 long.
fn find_note(mut notes: &[u8]) -> Option<&[u8; DESCRIPTOR]> {
    while notes.len() >= 12 {
        let word = |at: usize| u32::from_ne_bytes([notes[at], notes[at + 1], notes[at + 2], notes[at + 3]]);
        let (name_length, length, kind) = (word(0) as usize, word(4) as usize, word(8));
        let name_end = 12usize.checked_add(name_length)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(length)?;
        let descriptor = notes.get(start..end)?;
        if &notes[12..name_end] == OWNER && kind == ABI && length == DESCRIPTOR {
            return descriptor.try_into().ok();
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..).unwrap_or(&[]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn note(owner: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [owner.len() as u32, descriptor.len() as u32, kind] {
            bytes.extend(word.to_ne_bytes());
        }
        for part in [owner, descriptor] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn our_note_is_found_among_others() {
        let mut notes = note(b"GNU\0", 3, &[7; 20]);
        notes.extend(note(b"invar\0", 2, &[1; DESCRIPTOR]));
        notes.extend(note(b"invar\0", ABI, &[2; DESCRIPTOR + 4]));
        assert_eq!(find_note(&notes), None, "other versions are not ours");
        notes.extend(note(b"invar\0", ABI, &[3; DESCRIPTOR]));
        assert_eq!(find_note(&notes), Some(&[3; DESCRIPTOR]));
    }

    proptest! {
        #[test]
        fn any_bytes_may_stand_in_a_note_segment(notes in prop::collection::vec(any::<u8>(), 0..200)) {
            find_note(&notes);
        }

        #[test]
        fn a_note_that_is_cut_off_is_none(cut in 0usize..44) {
            let whole = note(b"invar\0", ABI, &[3; DESCRIPTOR]);
            prop_assert_eq!(find_note(&whole[..cut]), None);
        }
    }
}
