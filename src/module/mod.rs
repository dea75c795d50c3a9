//! Modules: the linked objects of this process that carry sites, found by the ELF note that each of them has.
//!
//! The note gives distances to the module's tables (`docs/site-abi.md`). It is found through the program
//! headers that the loader keeps, so it needs no exported symbol, is found in an `RTLD_LOCAL` library too, and is
//! gone when the library is.
//!
//! A module finds itself without the note, by what its linker told it ([`Own`]): tools move notes and remove them, and a
//! loader may not list a module that it has loaded.
#![allow(unsafe_code)]

use crate::key::{KeyRecord, RawProbe, State, flags};
use crate::site::{SiteRecord, leads_to};
use crate::sys::{self, File};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use invar_abi as abi;

#[cfg(target_pointer_width = "32")]
use libc::{Elf32_Ehdr as Header, Elf32_Phdr as ProgramHeader};
#[cfg(target_pointer_width = "64")]
use libc::{Elf64_Ehdr as Header, Elf64_Phdr as ProgramHeader};

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
    /// A tool has moved its code after it was linked: the tables lead to where the code no longer is.
    pub(crate) rewritten: bool,
    segments: Segments<'a>,
}

/// A module's loaded segments.
#[derive(Clone, Copy)]
struct Segments<'a> {
    base: usize,
    headers: &'a [ProgramHeader],
}

/// An executable segment, as far as it comes from the file.
pub(crate) struct TextSegment {
    pub(crate) range: Range<usize>,
    /// Where it begins in the file.
    pub(crate) offset: usize,
    /// The protection that it was mapped with.
    pub(crate) protection: i32,
}

/// A key of a module, every distance worked out and found to lie in the module.
#[derive(Clone, Copy)]
pub(crate) struct ModuleKey<'a> {
    pub(crate) state: &'a State,
    /// `None` in a module that was rewritten: nobody knows where it is.
    pub(crate) probe: Option<RawProbe>,
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
    /// What this module has said about the settings; and whether its keys are being decided.
    pub(crate) said: AtomicU32,
    pub(crate) nanoseconds: AtomicU64,
}

// Weak, so that two versions of this crate in one link share it as they share the tables: the first constructor
// binds all. Directives only, no instruction.
core::arch::global_asm!(
    // With fat LTO the assembly of both versions becomes one.
    ".ifndef invar2_outcome",
    ".pushsection .bss.invar2_outcome, \"aw\", %nobits",
    ".balign 8",
    ".weak invar2_outcome",
    ".hidden invar2_outcome",
    ".type invar2_outcome, %object",
    ".size invar2_outcome, 32",
    "invar2_outcome:",
    ".zero 32",
    ".popsection",
    // What key records refer to, so that no link leaves them without it in silence.
    ".weak invar2_is_to_be_linked_into_every_module_that_has_keys",
    ".hidden invar2_is_to_be_linked_into_every_module_that_has_keys",
    ".set invar2_is_to_be_linked_into_every_module_that_has_keys, invar2_outcome",
    ".endif",
);
const _: () = assert!(size_of::<Outcome>() == 32);

unsafe extern "C" {
    #[link_name = "invar2_outcome"]
    safe static OUTCOME: Outcome;
}

impl Outcome {
    /// Whether the module's constructor has run to its end.
    pub(crate) fn loaded(&self) -> bool {
        self.phase.load(Ordering::Acquire) != 0
    }
}

/// What this module knows of itself, by its linker. Another layout needs another name: two versions of this crate in one
/// link share it.
#[repr(C)]
struct Own {
    /// The distances that the note has.
    ends: [i32; ENDS],
    /// To the ELF header: `__ehdr_start` is there if the header is loaded. Else this leads nowhere.
    header: i32,
    /// To [`note`], and where that is. Tools that move code carry addresses along, and no distances.
    code: i32,
    address: usize,
}

#[cfg(target_pointer_width = "64")]
macro_rules! word {
    () => {
        ".balign 8, 0\n.quad {note}"
    };
}
#[cfg(target_pointer_width = "32")]
macro_rules! word {
    () => {
        ".balign 4, 0\n.long {note}"
    };
}

core::arch::global_asm!(
    ".ifndef invar2_own",
    ".weak __start_invar2_sites",
    ".weak __stop_invar2_sites",
    ".weak __start_invar2_keys",
    ".weak __stop_invar2_keys",
    ".weak __ehdr_start",
    ".hidden __start_invar2_sites",
    ".hidden __stop_invar2_sites",
    ".hidden __start_invar2_keys",
    ".hidden __stop_invar2_keys",
    ".hidden __ehdr_start",
    ".pushsection .data.rel.ro.invar2_own, \"aw\", %progbits",
    ".balign 8",
    ".weak invar2_own",
    ".hidden invar2_own",
    ".type invar2_own, %object",
    ".size invar2_own, {size}",
    "invar2_own:",
    ".long __start_invar2_sites - ., __stop_invar2_sites - .",
    ".long __start_invar2_keys - ., __stop_invar2_keys - .",
    ".long {outcome} - ., __ehdr_start - ., {note} - .",
    word!(),
    ".popsection",
    ".endif",
    size = const size_of::<Own>(),
    outcome = sym OUTCOME,
    note = sym note,
);

unsafe extern "C" {
    #[link_name = "invar2_own"]
    safe static OWN: Own;
}

impl Own {
    /// Whether a tool has moved the code of which this was written.
    fn is_rewritten(&self) -> bool {
        leads_to(&self.code) != self.address
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
            ".ifndef .Linvar_note",
            ".set .Linvar_note, .",
            ".endif",
            ".pushsection invar2_sites, \"ao\", %progbits, .Linvar_note",
            ".popsection",
            ".pushsection invar2_keys, \"aR\", %progbits",
            ".popsection",
            ".weak __start_invar2_sites",
            ".weak __stop_invar2_sites",
            ".weak __start_invar2_keys",
            ".weak __stop_invar2_keys",
            ".hidden __start_invar2_sites",
            ".hidden __stop_invar2_sites",
            ".hidden __start_invar2_keys",
            ".hidden __stop_invar2_keys",
            ".pushsection .note.invar, \"aR\", %note",
            ".balign 4",
            // Tells code in C of this module that it is loaded by a runtime of its own.
            ".ifndef invar2_runtime",
            ".weak invar2_runtime",
            ".hidden invar2_runtime",
            ".set invar2_runtime, .",
            // Decides a key of the module for such code, while its keys are being decided.
            ".pushsection .rodata.invar2_demand, \"a\", %progbits",
            ".balign 4",
            ".weak invar2_demand",
            ".hidden invar2_demand",
            ".set invar2_demand, .",
            ".long {demand} - .",
            ".hidden {demand}",
            ".popsection",
            ".endif",
            ".long 6, {descriptor}, {abi}",
            ".asciz \"invar\"",
            ".balign 4",
            ".long __start_invar2_sites - ., __stop_invar2_sites - .",
            ".long __start_invar2_keys - ., __stop_invar2_keys - .",
            ".long {outcome} - ., 0",
            ".popsection",
            descriptor = const DESCRIPTOR,
            abi = const abi::VERSION,
            outcome = sym OUTCOME,
            demand = sym crate::key::decide::demand_in_c,
            options(nomem, nostack, preserves_flags),
        );
    }
    &OUTCOME
}

/// This module's outcome, which two versions of this crate in one link share.
pub(crate) fn outcome() -> &'static Outcome {
    &OUTCOME
}

/// Calls `visit` with each module of the process that has a note of this ABI version, and with this one.
///
/// The loader's lock is held meanwhile (musl's loader has none, and unloads nothing), so no module can go away under the
/// visitor; who must not wait for anybody else's lock, and call nobody else's code.
pub(crate) fn each<F: FnMut(&Module<'_>)>(mut visit: F) {
    unsafe fn call<F: FnMut(&Module<'_>)>(visit: *mut c_void, module: &Module<'_>) {
        // SAFETY: the pointer below, while it is valid.
        unsafe { (*visit.cast::<F>())(module) };
    }
    walk(call::<F>, (&raw mut visit).cast());
}

/// [`each`], once for all visitors, and without a table for each of them, which the loader would have to relocate.
#[cold]
#[inline(never)]
fn walk(call: unsafe fn(*mut c_void, &Module<'_>), visit: *mut c_void) {
    struct Walk {
        call: unsafe fn(*mut c_void, &Module<'_>),
        visit: *mut c_void,
        /// The next object is the first.
        first: bool,
        /// This module was one of them.
        own: bool,
    }
    impl Walk {
        fn meet(&self, path: &CStr, segments: Segments<'_>, ends: Ends) {
            if let Some(module) = Module::new(path, segments, ends) {
                // SAFETY: `visit` is what `call` takes.
                unsafe { (self.call)(self.visit, &module) };
            }
        }
    }
    extern "C" fn one(info: *mut libc::dl_phdr_info, _size: usize, walk: *mut c_void) -> c_int {
        // SAFETY: `walk` is the pointer passed below; the loader describes a loaded object.
        let (walk, info) = unsafe { (&mut *walk.cast::<Walk>(), &*info) };
        let first = core::mem::replace(&mut walk.first, false);
        // SAFETY: as above.
        if let Some(segments) = unsafe { Segments::from_loader(info) } {
            let is_own = segments.hold_own();
            walk.own |= is_own;
            if let Some(ends) = if is_own { Some(Ends::of_own()) } else { segments.note() } {
                // SAFETY: as above.
                walk.meet(unsafe { path_of(info, first) }, segments, ends);
            }
        }
        // Go on.
        0
    }
    let mut walk = Walk { call, visit, first: true, own: false };
    // SAFETY: the callback gets back what outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut walk).cast()) };
    // Headers of something else would not have this module's record in their segments.
    if !walk.own
        && let Some(segments) = Segments::from_header(leads_to(&OWN.header))
        && segments.hold_own()
    {
        // `dl_iterate_phdr` is another's, or knows of no library that a static program opened.
        walk.meet(segments.unlisted_path(), segments, Ends::of_own());
    }
}

/// Runs `work` while no other copy of the runtime in this process does. It must be short, and wait for nobody.
///
/// The lock is the first module's. glibc's loader keeps that module where it is meanwhile, and all others out of here, by its
/// own lock; musl never unloads any. A signal's handler, which may want the same, has to wait.
#[cold]
#[inline(never)]
pub(crate) fn exclusively(work: &mut dyn FnMut()) {
    let _silence = sys::Silence::begin(&u64::MAX);
    let mut work = Some(work);
    each(|first| {
        if let Some(work) = work.take() {
            /// The lock was waited for in vain.
            static IN_VAIN: AtomicBool = AtomicBool::new(false);
            with_lock(&first.outcome.lock, &IN_VAIN, 1_000_000_000, work);
        }
    });
    // Where the loader lists none, nobody else is there either.
    if let Some(work) = work {
        work();
    }
}

/// Runs `work` with the lock. In a child of `fork` nobody may be there to give it back: after as many nanoseconds it goes on
/// without it, leaves it as it is, and does not wait for it again.
fn with_lock(lock: &AtomicU8, in_vain: &AtomicBool, longest: u64, work: &mut dyn FnMut()) {
    let longest = if in_vain.load(Ordering::Relaxed) { 0 } else { longest };
    let is_ours = sys::wait_until(longest, &mut || lock.swap(1, Ordering::Acquire) == 0);
    in_vain.store(!is_ours, Ordering::Relaxed);
    work();
    if is_ours {
        lock.store(0, Ordering::Release);
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

/// The module with this outcome, where the loader does not list it: its ELF header is the next one below, and its note
/// leads back.
///
/// # Safety
///
/// The module must stay loaded as long as the result is used.
#[cfg(feature = "capi")]
#[cold]
pub(crate) unsafe fn unlisted_other(outcome: usize) -> Option<Module<'static>> {
    /// Modules are smaller than this.
    const FURTHEST: usize = 1 << 30;
    let page = sys::page_size();
    let pages = (0..FURTHEST / page).map_while(|pages| (outcome & !(page - 1)).checked_sub(pages * page));
    let mut headers = pages.filter(|&page| is_elf_header(page));
    // What is loaded whole has its outcome in its data, and notes that can be read.
    let segments = Segments::from_header(headers.next()?).filter(|segments| segments.is_writable(outcome, 1))?;
    if !segments.of_type(libc::PT_NOTE).all(|(notes, _)| sys::is_readable(notes.start, notes.len())) {
        return None;
    }
    let module = Module::new(segments.unlisted_path(), segments, segments.note()?)?;
    (core::ptr::from_ref(module.outcome) as usize == outcome).then_some(module)
}

/// Whether an ELF header is at this address, a page's.
#[cold]
fn is_elf_header(page: usize) -> bool {
    // SAFETY: readable, on one page, numbers alone.
    sys::is_readable(page, size_of::<Header>()) && unsafe { &*(page as *const Header) }.e_ident.starts_with(b"\x7fELF")
}

/// The path of what the loader describes; empty for the program.
///
/// # Safety
///
/// The loader must describe an object that is loaded.
unsafe fn path_of(info: &libc::dl_phdr_info, is_first: bool) -> &CStr {
    // glibc lists the program without a name, musl by one of its own. The kernel says where the program's headers are;
    // where the loader itself was executed, those of the loader. musl's list begins with the program (ldso/dynlink.c).
    let is_program = info.dlpi_name.is_null()
        || info.dlpi_phdr as u64 == sys::auxiliary(libc::AT_PHDR)
        || cfg!(target_env = "musl") && is_first;
    // SAFETY: the loader's name ends in NUL.
    if is_program { c"" } else { unsafe { CStr::from_ptr(info.dlpi_name) } }
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

/// This module, if its tables can be used.
pub(crate) fn own() -> Option<Module<'static>> {
    // SAFETY: this code is the module's, and gone with it.
    unsafe { find(|module| core::ptr::eq(module.outcome, &OUTCOME)) }
}

/// How many distances lead from a note to the tables, and from a module's own record.
const ENDS: usize = 5;

/// Distances to a module's tables, which count from their own fields.
#[derive(Clone, Copy)]
struct Ends {
    address: usize,
    distances: [i32; ENDS],
}

impl Ends {
    fn of_own() -> Self {
        Self { address: OWN.ends.as_ptr() as usize, distances: OWN.ends }
    }

    fn of_note(descriptor: &[u8; DESCRIPTOR]) -> Self {
        let (fields, _) = descriptor.as_chunks::<4>();
        let distances = core::array::from_fn(|field| i32::from_ne_bytes(fields[field]));
        Self { address: descriptor.as_ptr() as usize, distances }
    }

    fn at(&self, field: usize) -> usize {
        (self.address + 4 * field).wrapping_add_signed(self.distances[field] as isize)
    }
}

impl<'a> Module<'a> {
    /// Works out the distances. What does not lie in the module's readable memory is no table.
    #[cold]
    fn new(path: &'a CStr, segments: Segments<'a>, ends: Ends) -> Option<Self> {
        let is_own = ends.address == OWN.ends.as_ptr() as usize;
        Some(Self {
            path,
            base: segments.base,
            sites: segments.table(ends.at(0)..ends.at(1))?,
            keys: segments.table(ends.at(2)..ends.at(3))?,
            outcome: segments.writable(ends.at(4))?,
            rewritten: is_own && OWN.is_rewritten() || segments.are_rewritten(ends.at(4)),
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
        wanted: &dyn Fn(&ModuleKey<'a>) -> bool,
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

    /// The first key of this name that settings can be for: not a symbol's.
    #[cold]
    pub(crate) fn key_named(&self, name: &[u8]) -> Option<ModuleKey<'a>> {
        self.find_key(name, 0, &|key| key.flags & flags::SYMBOL == 0).map(|(_, key)| key)
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
            && record.flags & !flags::ALL == 0
            && self.segments.contain(probe, 1, libc::PF_X);
        if !whole {
            return None;
        }
        Some(ModuleKey {
            state: self.segments.writable(leads_to(&record.state))?,
            // SAFETY: an address in the module's text, which a key record names as its probe.
            probe: (!self.rewritten).then(|| unsafe { core::mem::transmute::<usize, RawProbe>(probe) }),
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

    /// The executable segments.
    pub(crate) fn texts(&self) -> impl Iterator<Item = TextSegment> + use<'a> {
        let base = self.segments.base;
        let is_text = |header: &&ProgramHeader| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0;
        self.segments.headers.iter().filter(is_text).map(move |header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            TextSegment {
                range: start..start.saturating_add(header.p_filesz.min(header.p_memsz) as usize),
                offset: header.p_offset as usize,
                protection: [
                    (libc::PF_R, libc::PROT_READ),
                    (libc::PF_W, libc::PROT_WRITE),
                    (libc::PF_X, libc::PROT_EXEC),
                ]
                .into_iter()
                .fold(0, |all, (flag, right)| if header.p_flags & flag != 0 { all | right } else { all }),
            }
        })
    }

    /// Whether a file has the program headers that the module was loaded by.
    #[cold]
    pub(crate) fn is_loaded_from(&self, file: &File) -> bool {
        let mut header = [0; size_of::<Header>()];
        if file.read_at(&mut header, 0) != Ok(header.len()) {
            return false;
        }
        // SAFETY: numbers alone, of which there are enough.
        let header = unsafe { header.as_ptr().cast::<Header>().read_unaligned() };
        let mut left = self.segments.headers;
        let mut offset = header.e_phoff as usize;
        while let Some((loaded, rest)) = left.split_first() {
            let mut bytes = [0; size_of::<ProgramHeader>()];
            // SAFETY: numbers alone, without padding.
            let loaded: &[u8; size_of::<ProgramHeader>()] = unsafe { &*core::ptr::from_ref(loaded).cast() };
            if file.read_at(&mut bytes, offset) != Ok(bytes.len()) || bytes != *loaded {
                return false;
            }
            (left, offset) = (rest, offset + bytes.len());
        }
        header.e_phnum as usize == self.segments.headers.len()
    }

    /// Opens the file that it was loaded from: by the loader's path, which need not lead there any more.
    #[cold]
    pub(crate) fn open(&self) -> sys::Result<File> {
        // What is no file, as a FIFO, is not to be waited for.
        const FLAGS: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
        if !self.is_program() {
            return File::open(self.path.to_bytes_with_nul(), FLAGS);
        }
        let by_kernel = File::open(b"/proc/self/exe\0", FLAGS);
        by_kernel.or_else(|error| match sys::auxiliary(libc::AT_EXECFN) as *const c_char {
            path if path.is_null() => Err(error),
            // SAFETY: the kernel's string, which a program that changes it has to end as well.
            path => File::open(unsafe { CStr::from_ptr(path) }.to_bytes_with_nul(), FLAGS),
        })
    }

    /// The part of the module's text that holds this range whole: what may be executed, and perhaps not read.
    #[cold]
    #[inline(never)]
    pub(crate) fn text(&self, address: usize, length: usize) -> Option<Range<usize>> {
        self.segments.holding(address, length, libc::PF_X)
    }
}

impl<'a> ModuleKey<'a> {
    pub(crate) fn name(&self) -> &'a [u8] {
        self.text(0)
    }

    /// The name of one of the key's values.
    pub(crate) fn value_name(&self, value: u8) -> &'a [u8] {
        self.text(value as usize + 1)
    }

    /// Name and value names, as one string.
    pub(crate) fn names(&self) -> &'a [u8] {
        self.names
    }

    /// Whether all names are the same.
    pub(crate) fn same_as(&self, other: &ModuleKey<'_>) -> bool {
        self.names == other.names
    }

    fn text(&self, index: usize) -> &'a [u8] {
        name(self.names, index)
    }
}

/// One of a key's names: its own, or behind that a value's.
pub(crate) fn name(names: &[u8], index: usize) -> &[u8] {
    names.split(|&byte| byte == 0).nth(index).unwrap_or(b"?")
}

impl<'a> Segments<'a> {
    /// # Safety
    ///
    /// `info` must describe an object that is loaded.
    #[cold]
    unsafe fn from_loader(info: &'a libc::dl_phdr_info) -> Option<Self> {
        if info.dlpi_phdr.is_null() {
            return None;
        }
        // SAFETY: the loader's table has this many headers.
        let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        Some(Self { base: info.dlpi_addr as usize, headers })
    }

    /// The segments of a module whose ELF header may be at this address.
    #[cold]
    fn from_header(address: usize) -> Option<Self> {
        if !address.is_multiple_of(sys::page_size()) || !is_elf_header(address) {
            return None;
        }
        // SAFETY: it is there, numbers alone.
        let header = unsafe { &*(address as *const Header) };
        let (table, count) = (address.wrapping_add(header.e_phoff as usize), header.e_phnum as usize);
        let there = header.e_phentsize as usize == size_of::<ProgramHeader>()
            && table.is_multiple_of(align_of::<ProgramHeader>())
            && sys::is_readable(table, count * size_of::<ProgramHeader>());
        if !there {
            return None;
        }
        // SAFETY: readable, aligned, numbers alone; nobody writes to them.
        let headers: &[ProgramHeader] = unsafe { core::slice::from_raw_parts(table as *const ProgramHeader, count) };
        let first = headers.iter().find(|header| header.p_type == libc::PT_LOAD && header.p_offset == 0)?;
        Some(Self { base: address.wrapping_sub(first.p_vaddr as usize), headers })
    }

    /// What is said in the place of a path where the loader tells none; empty for the program.
    #[cold]
    fn unlisted_path(&self) -> &'static CStr {
        let is_program = self.headers.as_ptr() as u64 == sys::auxiliary(libc::AT_PHDR);
        if is_program { c"" } else { c"(not in the loader's list)" }
    }

    /// Whether these are this module's.
    fn hold_own(&self) -> bool {
        self.contain((&raw const OWN) as usize, size_of::<Own>(), libc::PF_R)
    }

    /// Where the note of this ABI version leads.
    #[cold]
    fn note(&self) -> Option<Ends> {
        let notes = self.of_type(libc::PT_NOTE).filter_map(|(range, _)| self.slice::<u8>(range.start, range.len()));
        notes.filter_map(find_note).next().map(Ends::of_note)
    }

    /// Whether a tool has added code to the module after it was linked, behind its data: a module with its outcome there.
    ///
    /// llvm-bolt puts the functions that it moves, or the tables that go with them, into an executable segment behind all
    /// others, and the program headers too; or it keeps those, and gives that segment the place of PT_GNU_STACK (LLVM,
    /// bolt/lib/Rewrite/RewriteInstance.cpp). Linkers put headers first, and always leave that entry.
    #[cold]
    fn are_rewritten(&self, outcome: usize) -> bool {
        let headers = self.headers.as_ptr() as usize;
        let text = || self.of_type(libc::PT_LOAD).filter(|(_, flags)| flags & libc::PF_X != 0).map(|(range, _)| range);
        let added = |range: Range<usize>| {
            range.start > outcome && (range.contains(&headers) || self.of_type(libc::PT_GNU_STACK).next().is_none())
        };
        text().any(|range| range.end <= outcome) && text().any(added)
    }

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
        if &notes[12..name_end] == abi::OWNER && kind == abi::VERSION && length == DESCRIPTOR {
            return descriptor.try_into().ok();
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..).unwrap_or(&[]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{SITE_ABI, assert_layout, fields, table};
    use core::sync::atomic::Ordering::Relaxed;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Whoever took it may be gone, as in a child of `fork`: the work is done. Or it was slow: then the lock is still its own.
    #[test]
    fn a_lock_is_given_back_by_who_took_it() {
        let (lock, in_vain) = (AtomicU8::new(0), AtomicBool::new(false));
        let locked = |longest| {
            let mut seen = None;
            with_lock(&lock, &in_vain, longest, &mut || seen = Some(lock.load(Relaxed)));
            (seen, lock.load(Relaxed), in_vain.load(Relaxed))
        };
        assert_eq!(locked(u64::MAX), (Some(1), 0, false), "free");
        lock.store(1, Relaxed);
        assert_eq!(locked(1_000), (Some(1), 1, true), "another's");
        assert_eq!(locked(u64::MAX), (Some(1), 1, true), "it is not waited for twice");
        lock.store(0, Relaxed);
        assert_eq!(locked(u64::MAX), (Some(1), 0, false), "free again");
    }

    /// A handler may want the same, and would wait for its own thread.
    #[test]
    fn signals_wait_for_what_is_exclusive() {
        static HANDLED: AtomicBool = AtomicBool::new(false);
        extern "C" fn handle(_: c_int) {
            HANDLED.store(true, Relaxed);
        }
        let mut meanwhile = None;
        // SAFETY: a signal that nobody else here uses, and a handler that sets a flag.
        unsafe { libc::signal(libc::SIGUSR1, handle as extern "C" fn(c_int) as libc::sighandler_t) };
        exclusively(&mut || {
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGUSR1) };
            meanwhile = Some(HANDLED.load(Relaxed));
        });
        assert_eq!((meanwhile, HANDLED.load(Relaxed)), (Some(false), true));
    }

    /// However many signals come.
    #[test]
    fn a_lock_is_waited_for() {
        static HANDLED: AtomicU32 = AtomicU32::new(0);
        extern "C" fn handle(_: c_int) {
            HANDLED.fetch_add(1, Relaxed);
        }
        // SAFETY: a signal that nobody else here uses, and a handler that counts.
        unsafe { libc::signal(libc::SIGUSR2, handle as extern "C" fn(c_int) as libc::sighandler_t) };
        let lock = AtomicU8::new(1);
        // SAFETY: no effects.
        let waits = unsafe { libc::pthread_self() } as usize;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Each comes in a nap of its own.
                for number in 0..100 {
                    // SAFETY: the thread waits for this one.
                    assert_eq!(unsafe { libc::pthread_kill(waits as libc::pthread_t, libc::SIGUSR2) }, 0);
                    while HANDLED.load(Relaxed) <= number {
                        std::thread::yield_now();
                    }
                }
                lock.store(0, Ordering::Release);
            });
            with_lock(&lock, &AtomicBool::new(false), 600_000_000_000, &mut || {
                assert_eq!(HANDLED.load(Relaxed), 100, "it was waited for");
            });
        });
        assert_eq!(lock.load(Relaxed), 0);
    }

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
    fn notes_and_outcomes_are_as_documented() {
        let outcome = fields!(Outcome: phase reason writers lock detail bound left request_offset said nanoseconds);
        assert_layout(SITE_ABI, "## Outcome", &outcome, size_of::<Outcome>());
        assert!(SITE_ABI.contains(&std::format!("the module's outcome, {} bytes", size_of::<Outcome>())));
        assert!(SITE_ABI.contains(&std::format!(
            "owner `invar` (name size {}), **type {}",
            abi::OWNER.len(),
            abi::VERSION
        )));
        assert!(SITE_ABI.contains(&std::format!("descriptor of {DESCRIPTOR} bytes")));
        // All but the last, the flags, are the distances that a module knows of itself as well.
        let offsets: Vec<usize> = table(SITE_ABI, "## The note").iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(offsets, (0..DESCRIPTOR).step_by(4).collect::<Vec<_>>());
        assert_eq!(size_of::<[i32; ENDS]>() + 4, DESCRIPTOR);
    }

    #[test]
    fn our_note_is_found_among_others() {
        let mut notes = note(b"GNU\0", 3, &[7; 20]);
        notes.extend(note(b"a longer name\0", 3, &[7; 70_001]));
        notes.extend(note(&[b'x'; 300], 3, &[7; 1]));
        notes.extend(note(b"invar\0", 1, &[1; DESCRIPTOR]));
        notes.extend(note(b"invar\0", abi::VERSION, &[2; DESCRIPTOR + 4]));
        assert_eq!(find_note(&notes), None, "other versions are not ours");
        notes.extend(note(b"invar\0", abi::VERSION, &[3; DESCRIPTOR]));
        assert_eq!(find_note(&notes), Some(&[3; DESCRIPTOR]));
    }

    /// A module in memory of our own, with two keys, a blank record and a site.
    #[repr(C, align(64))]
    struct Image {
        text: [u8; 64],
        names: [[u8; 160]; 2],
        sites: [SiteRecord; 1],
        between: [SiteRecord; 1],
        keys: [KeyRecord; 3],
        states: [[u64; 32]; 2],
        outcome: Outcome,
        headers: [ProgramHeader; 3],
    }

    /// How far `to` is from here, in an image.
    fn distance<T, U>(from: &T, to: &U) -> i32 {
        ((&raw const *to as isize) - (&raw const *from as isize)) as i32
    }

    fn segment(kind: u32, flags: u32, start: usize, length: usize) -> ProgramHeader {
        // SAFETY: numbers alone.
        let mut header: ProgramHeader = unsafe { core::mem::zeroed() };
        (header.p_type, header.p_flags) = (kind, flags);
        (header.p_vaddr, header.p_memsz) = (start as _, length as _);
        header
    }

    impl Image {
        fn new() -> std::boxed::Box<Self> {
            // SAFETY: numbers alone, and atomics.
            let mut image = std::boxed::Box::new(unsafe { core::mem::zeroed::<Self>() });
            for (at, names) in [&b"one\0off\0on\0"[..], b"one.more\0a\0b\0c\0"].into_iter().enumerate() {
                image.names[at][..names.len()].copy_from_slice(names);
                let record = &image.keys[at];
                image.keys[at] = KeyRecord {
                    state: distance(&record.state, &image.states[at]),
                    names: distance(&record.names, &image.names[at]),
                    probe: distance(&record.probe, &image.text),
                    names_length: names.len() as u16,
                    values: 2 + at as u8,
                    flags: 0,
                };
            }
            let start = image.start();
            let (keys, end) = (&raw const image.states as usize, &raw const image.headers as usize);
            image.headers = [
                segment(libc::PT_LOAD, libc::PF_R | libc::PF_X, 0, 64),
                segment(libc::PT_LOAD, libc::PF_R, 64, keys - start - 64),
                segment(libc::PT_LOAD, libc::PF_R | libc::PF_W, keys - start, end - keys),
            ];
            image
        }

        fn start(&self) -> usize {
            &raw const *self as usize
        }

        fn segments(&self) -> Segments<'_> {
            Segments { base: self.start(), headers: &self.headers }
        }

        fn module(&self) -> Module<'_> {
            let addresses = [
                &raw const self.sites as usize,
                &raw const self.between as usize,
                &raw const self.keys as usize,
                &raw const self.states as usize,
                &raw const self.outcome as usize,
            ];
            let distances =
                core::array::from_fn(|at| (addresses[at] as isize - self.start() as isize) as i32 - 4 * at as i32);
            Module::new(c"image", self.segments(), Ends { address: self.start(), distances }).expect("a module")
        }
    }

    #[test]
    fn a_modules_keys_are_found() {
        let image = Image::new();
        let module = image.module();
        assert_eq!((module.sites.len(), module.keys.len(), module.base), (1, 3, image.start()));
        assert!(!module.rewritten && !module.is_program() && module.name() == b"image");
        let keys: Vec<_> = module.keys().collect();
        assert_eq!((keys.len(), module.invalid_keys()), (2, 0), "a blank record is none");
        assert_eq!(
            (keys[0].name(), keys[0].value_name(0), keys[0].value_name(1)),
            (&b"one"[..], &b"off"[..], &b"on"[..])
        );
        assert_eq!((keys[1].name(), keys[1].value_name(2), keys[1].values), (&b"one.more"[..], &b"c"[..], 3));
        assert_eq!(keys[1].state as *const State as usize, &raw const image.states[1] as usize);
        assert!(keys[0].same_as(&keys[0]) && !keys[0].same_as(&keys[1]) && keys[0].probe.is_some());

        let at = |name: &[u8], start| module.find_key(name, start, &|_| true).map(|(at, _)| at);
        for start in 0..3 {
            assert_eq!(
                [&b"one"[..], b"one.more", b"one.", b"on", b""].map(|name| at(name, start)),
                [Some(0), Some(1), None, None, None]
            );
        }
        assert!(module.find_key(b"one", 0, &|key| key.values == 3).is_none(), "one that is not wanted");
        assert_eq!(module.key_at(&raw const image.states[1] as usize).map(|key| key.values), Some(3));
        assert!(module.key_at(&raw const image.states[1] as usize + 8).is_none());
        #[cfg(feature = "report")]
        assert!(module.key_named(b"one.more").is_some_and(|key| key.values == 3) && module.key_named(b"on").is_none());
    }

    #[test]
    fn a_key_that_leads_elsewhere_is_none() {
        type Change = (&'static str, fn(&mut Image));
        let broken: [Change; 14] = [
            ("names that end early", |image| image.keys[0].names_length -= 1),
            ("names that end late", |image| image.keys[0].names_length += 1),
            ("no names", |image| image.keys[0].names_length = 0),
            ("names that are elsewhere", |image| image.keys[0].names = 1 << 30),
            ("too many values", |image| image.keys[0].values = 3),
            ("too few values", |image| image.keys[0].values = 1),
            ("one value", |image| (image.keys[0].values, image.keys[0].names_length) = (1, 8)),
            ("a space", |image| image.names[0][1] = b' '),
            ("no ASCII", |image| image.names[0][1] = 0x7f),
            ("a flag of a later version", |image| image.keys[0].flags = 32),
            ("a probe in data", |image| image.keys[0].probe += 64),
            ("a state that is read-only", |image| image.keys[0].state -= 512),
            ("a state between two", |image| image.keys[0].state += 4),
            ("65 values", |image| {
                image.names[0] = [0; 160];
                (0..66).for_each(|at| image.names[0][2 * at] = b'a');
                (image.keys[0].values, image.keys[0].names_length) = (65, 132);
            }),
        ];
        for (what, change) in broken {
            let mut image = Image::new();
            change(&mut image);
            let module = image.module();
            assert_eq!((module.keys().count(), module.invalid_keys()), (1, 1), "{what}");
            assert!(module.find_key(b"one", 0, &|_| true).is_none(), "{what}");
            assert!(module.find_key(b"one.more", 1, &|_| true).is_some(), "{what}");
        }
        let mut image = Image::new();
        (0..65).for_each(|at| image.names[0][2 * at..][..2].copy_from_slice(b"a\0"));
        (image.keys[0].values, image.keys[0].names_length, image.keys[0].flags) = (64, 130, flags::ALL);
        assert_eq!((image.module().keys().count(), image.module().invalid_keys()), (2, 0), "64 are not too many");
    }

    #[test]
    fn records_of_code_that_is_not_there_do_not_count() {
        let mut image = Image::new();
        let record = &image.sites[0];
        let (to_base, to_text, to_data) = (
            distance(&record.site, &image.text),
            distance(&record.site, &image.text[8]),
            distance(&record.site, &image.names),
        );
        for (site, live) in [(0, 0), (to_base, 0), (to_text, 1), (to_text + 55, 1), (to_data, 0), (-(1 << 30), 0)] {
            image.sites[0].site = site;
            assert_eq!(image.module().live_sites(), live, "{site}");
        }
        // Old linkers put what is read only beside the code.
        image.headers[1].p_flags |= libc::PF_X;
        image.sites[0].site = 0;
        assert_eq!(image.module().live_sites(), 0, "a blank record leads to itself");
    }

    #[test]
    fn a_module_reaches_from_its_first_byte_to_its_last() {
        let image = Image::new();
        let (module, start, end) = (image.module(), image.start(), &raw const image.headers as usize);
        assert!(module.contains(start) && module.contains(end - 1));
        assert!(!module.contains(start - 1) && !module.contains(end));
        assert_eq!(module.range(), start..end);
        assert_eq!(module.text(start, 64), Some(start..start + 64));
        assert!(module.text(start, 65).is_none() && module.text(start + 64, 1).is_none());
    }

    #[test]
    fn this_program_finds_itself() {
        let own = own().expect("this program");
        assert!(own.is_program() && !own.rewritten && own.outcome.loaded() && own.name() == b"(program)");
        assert!(one_is(&mut |module| module.is_program()) && !one_is(&mut |_| false));
        // SAFETY: nothing of it is used.
        assert!(unsafe { find(|_| false) }.is_none());
        let header = leads_to(&OWN.header);
        let found = Segments::from_header(header).expect("the program's");
        assert_eq!((found.base, found.unlisted_path()), (own.base, c""));
        assert!(found.hold_own());
        assert!(Segments::from_header(header + 1).is_none() && Segments::from_header(0).is_none());
        assert!(Segments::from_header(header + sys::page_size()).is_none(), "no header");
    }

    /// A page with a header of a library's, and what can be wrong with it.
    #[test]
    fn a_header_says_where_its_segments_are() {
        #[repr(C, align(65536))]
        struct File {
            header: Header,
            table: [ProgramHeader; 3],
        }
        // SAFETY: numbers alone.
        let mut file = std::boxed::Box::new(unsafe { core::mem::zeroed::<File>() });
        file.header.e_ident[..4].copy_from_slice(b"\x7fELF");
        file.header.e_phoff = core::mem::offset_of!(File, table) as _;
        (file.header.e_phnum, file.header.e_phentsize) = (3, size_of::<ProgramHeader>() as u16);
        file.table = [
            segment(libc::PT_NOTE, 0, 0x10, 1),
            segment(libc::PT_LOAD, 0, 0x4000, 1),
            segment(libc::PT_LOAD, 0, 0x1000, 1),
        ];
        file.table[1].p_offset = 0x3000;
        let base = |file: &File| Segments::from_header(&raw const *file as usize).map(|found| found.base);
        let address = &raw const *file as usize;
        assert_eq!(base(&file), Some(address.wrapping_sub(0x1000)), "of what begins the file");
        let path = Segments::from_header(address).expect("segments").unlisted_path();
        assert_eq!(path, c"(not in the loader's list)");
        for change in [
            |file: &mut File| file.header.e_ident[0] = 0,
            |file: &mut File| file.header.e_phentsize -= 1,
            |file: &mut File| file.header.e_phoff += 1,
            |file: &mut File| file.header.e_phoff = 1 << 30,
            |file: &mut File| file.table[2].p_offset = 0x1000,
        ] {
            // SAFETY: numbers alone.
            let mut broken = std::boxed::Box::new(unsafe { core::ptr::read(&raw const *file) });
            change(&mut broken);
            assert_eq!(base(&broken), None);
        }
    }

    #[test]
    fn segments_hold_what_lies_in_them_whole() {
        const R: u32 = libc::PF_R;
        let headers = [
            segment(libc::PT_LOAD, R | libc::PF_X, 0x1000, 0x100),
            segment(libc::PT_LOAD, R | libc::PF_W, 0x2000, 0x100),
            segment(libc::PT_GNU_RELRO, R, 0x2000, 0x40),
            segment(libc::PT_GNU_RELRO, R, 0x20c0, 0x10),
            segment(libc::PT_NOTE, R, 0x5000, 0x100),
        ];
        let segments = Segments { base: 0x10000, headers: &headers };
        for (address, length, held) in [
            (0x11000, 1, true),
            (0x11000, 0x100, true),
            (0x11000, 0x101, false),
            (0x10fff, 1, false),
            (0x110ff, 1, true),
            (0x11100, 1, false),
            (0x15000, 1, false),
            (usize::MAX, 2, false),
        ] {
            assert_eq!(segments.contain(address, length, R), held, "{address:x} {length}");
            assert_eq!(segments.holding(address, length, R).is_some_and(|range| range == (0x11000..0x11100)), held);
        }
        assert!(segments.contain(0x11000, 1, R | libc::PF_X) && !segments.contain(0x12000, 1, R | libc::PF_X));
        for (address, length, writable) in [
            (0x11000, 1, false),
            (0x12000, 1, false),
            (0x1203f, 1, false),
            (0x1203f, 2, false),
            (0x12040, 1, true),
            (0x120bf, 1, true),
            (0x120bf, 2, false),
            (0x120ff, 1, true),
            (0x120ff, 2, false),
        ] {
            assert_eq!(segments.is_writable(address, length), writable, "{address:x} {length}");
        }
        assert_eq!(segments.slice::<u8>(0, 0), Some(&[][..]), "nothing lies anywhere");
        assert!(
            segments.slice::<SiteRecord>(0x11001, 1).is_none() && segments.slice::<u8>(0x11000, usize::MAX).is_none()
        );
        assert!(segments.slice::<SiteRecord>(0x11000, usize::MAX).is_none());
    }

    /// What llvm-bolt leaves, and what linkers do.
    #[test]
    fn code_behind_data_was_added_by_a_tool() {
        const X: u32 = libc::PF_R | libc::PF_X;
        let is_rewritten = |outcome: usize, added: usize, with_headers: bool, with_stack: bool| {
            let mut headers =
                std::vec![segment(libc::PT_LOAD, X, 0x1000, 0x100), segment(libc::PT_LOAD, X, added, 0x100)];
            if with_stack {
                headers.push(segment(libc::PT_GNU_STACK, 0, 0, 0));
            }
            if with_headers {
                headers[1] = segment(libc::PT_LOAD, X, headers.as_ptr() as usize, 0x100);
            }
            Segments { base: 0, headers: &headers }.are_rewritten(outcome)
        };
        assert!(is_rewritten(0x2000, 0x3000, false, false), "in the place of the stack's entry");
        assert!(!is_rewritten(0x2000, 0x3000, false, true), "a linker's");
        assert!(is_rewritten(0x2000, 0, true, true), "with the program headers");
        assert!(!is_rewritten(0x4000, 0x3000, false, false), "before the data");
        assert!(!is_rewritten(0x0800, 0x3000, false, false), "no code before the data");
        assert!(is_rewritten(0x1100, 0x3000, false, false), "the data right behind the code");
        let read_only = [segment(libc::PT_LOAD, libc::PF_R, 0x1000, 0x100), segment(libc::PT_LOAD, X, 0x3000, 0x100)];
        assert!(!Segments { base: 0, headers: &read_only }.are_rewritten(0x2000), "no code before the data");
    }

    proptest! {
        #[test]
        fn any_bytes_may_stand_in_a_note_segment(notes in prop::collection::vec(any::<u8>(), 0..200)) {
            find_note(&notes);
        }

        #[test]
        fn a_note_that_is_cut_off_is_none(cut in 0usize..44) {
            let whole = note(b"invar\0", abi::VERSION, &[3; DESCRIPTOR]);
            prop_assert_eq!(find_note(&whole[..cut]), None);
        }
    }
}
