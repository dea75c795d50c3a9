//! Modules: the linked objects of this process that carry sites, each known by its header (`docs/site-abi.md`).
//!
//! Others find a module by its note, through the program headers that the loader keeps: that needs no exported symbol, works for
//! an `RTLD_LOCAL` library too, and ends with the library. Where a tool has moved the note, the header is found by its magic.
//!
//! A module finds itself without the note, by the header that its own code knows: tools remove notes as well, and a loader may
//! not list a module that it has loaded.
#![allow(unsafe_code)]

#[cfg(feature = "switch")]
mod loader;
mod note;
mod outcome;
mod segments;

use crate::key::state::{Numbered, RawProbe, State};
use crate::sys::{self, File};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use invar_abi as abi;
use invar_abi::header::HeaderFault;
use invar_abi::{Header, KeyRecord, Kind, Segmented as _, SiteRecord, flags};
pub(crate) use note::{note, own_header};
pub(crate) use outcome::{Outcome, outcome};
pub(crate) use segments::TextSegment;
use segments::{ProgramHeader, Segments, UNLISTED};

/// One module of this process.
#[derive(Clone, Copy)]
pub(crate) struct Module<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) base: usize,
    header: &'a Header,
    pub(crate) sites: &'a [SiteRecord],
    keys: &'a [KeyRecord],
    pub(crate) outcome: &'a Outcome,
    /// A tool has moved its code after it was linked: the tables lead to where the code no longer is.
    pub(crate) rewritten: bool,
    segments: Segments<'a>,
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

/// Calls `visit` with each module of the process that has a note of this ABI version, and with this one.
///
/// The loader's lock is held meanwhile (musl's loader has none, and unloads nothing), so no module can go away under the
/// visitor; who must not wait for anybody else's lock, and call nobody else's code.
pub(crate) fn each<F: FnMut(&Module<'_>)>(mut visit: F) {
    unsafe fn call<F: FnMut(&Module<'_>)>(visit: *mut c_void, module: &Module<'_>) {
        // SAFETY: the pointer below, while it is valid.
        unsafe { (*visit.cast::<F>())(module) };
    }
    _ = walk(own_header(), call::<F>, (&raw mut visit).cast());
}

/// [`each`], once for all visitors, and without a table for each of them, which the loader would have to relocate. The module with
/// the `known` header needs no note, nor the loader to list it; the result is why it was not visited.
#[cold]
#[inline(never)]
fn walk(known: usize, call: unsafe fn(*mut c_void, &Module<'_>), visit: *mut c_void) -> Result<(), HeaderFault> {
    extern "C" fn one(info: *mut libc::dl_phdr_info, _size: usize, walk: *mut c_void) -> c_int {
        // SAFETY: `walk` is the pointer passed below; the loader describes a loaded object.
        let (walk, info) = unsafe { (&mut *walk.cast::<Walk>(), &*info) };
        let first = core::mem::replace(&mut walk.first, false);
        // SAFETY: as above.
        if let Some(segments) = unsafe { Segments::from_loader(info) } {
            let header = if segments.hold_header(walk.known) { Some(walk.known) } else { segments.note() };
            if let Some(header) = header {
                // SAFETY: as above.
                walk.meet(unsafe { path_of(info, first) }, segments, header);
            }
        }
        // Go on.
        0
    }
    let mut walk = Walk { known, call, visit, first: true, met: Err(HeaderFault::ElfHeader) };
    // SAFETY: the callback gets back what outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut walk).cast()) };
    // `dl_iterate_phdr` is another's, or knows of no library that a static program opened. ELF headers of something else would
    // not have this header in their segments.
    if walk.met == Err(HeaderFault::ElfHeader)
        // Only libinvar is told of others.
        && (!cfg!(any(feature = "capi", test))
            || known.is_multiple_of(align_of::<Header>()) && sys::is_readable(known, Header::LENGTH))
        // SAFETY: this module's, or readable and aligned; numbers alone.
        && let Some(segments) = Segments::from_header(unsafe { &*(known as *const Header) }.elf_header.here())
        && segments.hold_header(known)
    {
        walk.meet(segments.unlisted_path(), segments, known);
    }
    walk.met
}

/// A visitor on the way through the loader's list.
struct Walk {
    known: usize,
    call: unsafe fn(*mut c_void, &Module<'_>),
    visit: *mut c_void,
    /// The next object is the first.
    first: bool,
    /// What came of the module with the known header.
    met: Result<(), HeaderFault>,
}
impl Walk {
    /// Visits the module with the known header, or the one whose note leads to this.
    fn meet(&mut self, path: &CStr, segments: Segments<'_>, mut header: usize) {
        let is_known = header == self.known;
        // As many are looked at, of what begins as headers do.
        let (mut candidate, mut left) = (0, 64);
        loop {
            match Module::new(path, segments, header) {
                Ok(module) => {
                    if is_known {
                        self.met = Ok(());
                    }
                    // SAFETY: `visit` is what `call` takes.
                    return unsafe { (self.call)(self.visit, &module) };
                }
                Err(fault) if is_known => {
                    self.met = Err(fault);
                    return;
                }
                // A tool has moved the note. The header is the first that can be used, of all that begin as headers do.
                Err(fault) if left > 0 && (fault == HeaderFault::Magic || candidate != 0) => {
                    match segments.candidate(candidate) {
                        Some(next) => (header, candidate, left) = (next, next, left - 1),
                        None => return,
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// Calls `visit` with path, base and version of each object with tables of another ABI version; as for [`each`].
#[cold]
#[inline(never)]
pub(crate) fn each_other(mut visit: &mut dyn FnMut(&CStr, usize, u32)) {
    extern "C" fn one(info: *mut libc::dl_phdr_info, _size: usize, visit: *mut c_void) -> c_int {
        // SAFETY: `visit` is the pointer passed below; the loader describes a loaded object.
        let (visit, info) = unsafe { (&mut *visit.cast::<&mut dyn FnMut(&CStr, usize, u32)>(), &*info) };
        // SAFETY: as above.
        if let Some(segments) = unsafe { Segments::from_loader(info) }
            && let Some(version) = segments.other_version()
        {
            // SAFETY: as above. What has no name is the program.
            visit(unsafe { path_of(info, false) }, segments.base, version);
        }
        // Go on.
        0
    }
    // SAFETY: the callback gets back what outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut visit).cast()) };
}

/// Whether the loader's list may be walked: not where this thread interrupted the loader, which may be about to unmap what is in the
/// list. If another thread is in the loader, it is waited for, for a second.
#[cfg(feature = "switch")]
#[cold]
pub(crate) fn loader_rests() -> bool {
    const LONGEST: u64 = 1_000_000_000;
    !loader::is_at_work() || sys::threads() != Ok(1) && sys::wait_until(LONGEST, &mut || !loader::is_at_work())
}

/// Runs `work` while no other copy of the runtime in this process does. It must be short, and wait for nobody.
///
/// The lock is the first module's. glibc's loader keeps that module where it is meanwhile, and all others out of here, by its
/// own lock; musl never unloads any. A signal's handler, which may want the same, has to wait.
#[cold]
#[inline(never)]
pub(crate) fn exclusively(work: &mut dyn FnMut()) {
    let _silence = sys::Silence::begin(&u64::MAX);
    with_first_lock(true, work);
}

/// The same, where signals wait already, and for work that needs no note of the process.
#[cold]
pub(crate) fn exclusively_in_silence(work: &mut dyn FnMut()) {
    with_first_lock(false, work);
}

/// Runs `work` with the first module's lock. `is_noted`: this copy then knows that the lock is given back in this process.
#[cold]
#[inline(never)]
fn with_first_lock(is_noted: bool, work: &mut dyn FnMut()) {
    let mut work = Some(work);
    each(|first| {
        if let Some(work) = work.take() {
            /// The lock was waited for in vain.
            static IN_VAIN: AtomicBool = AtomicBool::new(false);
            /// The process that had it last, by way of this copy.
            static TAKEN_IN: AtomicU32 = AtomicU32::new(0);
            const SECOND: u64 = 1_000_000_000;
            let lock = &first.outcome.lock;
            // Nobody waits long but for who sets switches. The process is asked for where that can matter: it is a system call.
            let is_asked = cfg!(feature = "switch") && (is_noted || lock.load(Ordering::Relaxed) != 0);
            let process = if is_asked { sys::process_id() as u32 } else { 0 };
            // Who has it in this process gives it back, however many others want it first. In a child, that may be a thread
            // of its parent's.
            let was_taken = process != 0 && TAKEN_IN.load(Ordering::Relaxed) == process;
            let longest = if was_taken { 60 * SECOND } else { SECOND };
            let is_ours = with_lock(lock, &IN_VAIN, longest, work);
            if process != 0 && is_ours {
                TAKEN_IN.store(process, Ordering::Relaxed);
            }
        }
    });
    // Where the loader lists none, nobody else is there either.
    if let Some(work) = work {
        work();
    }
}

/// Runs `work` with the lock. In a child of `fork` nobody may be there to give it back: after as many nanoseconds it goes on
/// without it, leaves it as it is, and does not wait for it again. Whether it had the lock.
fn with_lock(lock: &AtomicU8, in_vain: &AtomicBool, longest: u64, work: &mut dyn FnMut()) -> bool {
    let longest = if in_vain.load(Ordering::Relaxed) { 0 } else { longest };
    let is_ours = sys::wait_until(longest, &mut || lock.swap(1, Ordering::Acquire) == 0);
    in_vain.store(!is_ours, Ordering::Relaxed);
    work();
    if is_ours {
        lock.store(0, Ordering::Release);
    }
    is_ours
}

/// Calls `visit` with the module whose ELF header is at this address, as if the loader had listed it; not if there is none.
///
/// # Safety
///
/// Its segments must be mapped, as their flags say, and nobody may change them meanwhile.
#[cfg(feature = "fuzz")]
pub(crate) unsafe fn in_memory<F: FnMut(&Module<'_>)>(elf_header: usize, mut visit: F) {
    unsafe fn call<F: FnMut(&Module<'_>)>(visit: *mut c_void, module: &Module<'_>) {
        // SAFETY: the pointer below, while it is valid.
        unsafe { (*visit.cast::<F>())(module) };
    }
    let Some(segments) = Segments::from_header(elf_header) else { return };
    let Some(header) = segments.note() else { return };
    let (call, visit) = (call::<F>, (&raw mut visit).cast());
    Walk { known: 0, call, visit, first: false, met: Err(HeaderFault::ElfHeader) }.meet(c"", segments, header);
}

/// Whether any module is wanted.
#[cold]
#[inline(never)]
pub(crate) fn one_is(wanted: &mut dyn FnMut(&Module<'_>) -> bool) -> bool {
    let mut found = false;
    each(|module| found = found || wanted(module));
    found
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

/// Whether this module is a program that no loader has loaded: its constructors are the first code but libc's, and that of
/// `.preinit_array`. The same is said of a program without PT_INTERP that is given to a loader as an argument (`ld.so ./prog`).
#[cold]
pub(crate) fn is_static_program() -> bool {
    let [table, count] = [libc::AT_PHDR, libc::AT_PHNUM].map(|entry| sys::auxiliary(entry) as usize);
    // Linkers put a program's headers behind its ELF header; where a tool has moved them, nobody can tell.
    if !(1..4096).contains(&table.wrapping_sub(note::own_elf_header())) {
        return false;
    }
    // SAFETY: this program's headers, where the kernel says that they are: numbers alone.
    let headers = unsafe { core::slice::from_raw_parts(table as *const ProgramHeader, count) };
    headers.iter().all(|header| header.p_type != libc::PT_INTERP)
}

/// The module whose header is at this address; or for which of its fields it cannot be used.
///
/// # Safety
///
/// The module must stay loaded as long as the result is used.
pub(crate) unsafe fn at(header: usize) -> Result<Module<'static>, HeaderFault> {
    // SAFETY: as the caller vouches.
    unsafe { among_others(header) }.map(|(module, _)| module)
}

/// The same, and whether there are other modules.
///
/// # Safety
///
/// As for [`at`].
#[cold]
pub(crate) unsafe fn among_others(header: usize) -> Result<(Module<'static>, bool), HeaderFault> {
    struct Found {
        wanted: usize,
        module: Option<Module<'static>>,
        has_others: bool,
    }
    unsafe fn call(found: *mut c_void, module: &Module<'_>) {
        // SAFETY: the pointer below, while it is valid.
        let found = unsafe { &mut *found.cast::<Found>() };
        if module.has_header(found.wanted) {
            // SAFETY: as for `find`.
            found.module = Some(unsafe { core::mem::transmute::<Module<'_>, Module<'static>>(*module) });
        } else {
            found.has_others = true;
        }
    }
    let mut found = Found { wanted: header, module: None, has_others: false };
    walk(header, call, (&raw mut found).cast())?;
    found.module.map(|module| (module, found.has_others)).ok_or(HeaderFault::ElfHeader)
}

/// This module, if its header can be used.
#[cfg(any(feature = "timeslice", feature = "switch", test))]
pub(crate) fn own() -> Option<Module<'static>> {
    // SAFETY: this code is the module's, and gone with it.
    unsafe { at(own_header()) }.ok()
}

impl<'a> Module<'a> {
    /// Works out the distances of a header. What does not lie in the module's readable memory is no table.
    #[cold]
    fn new(path: &'a CStr, segments: Segments<'a>, header: usize) -> Result<Self, HeaderFault> {
        let [header] = segments.slice::<Header>(header, 1).ok_or(HeaderFault::Magic)? else {
            return Err(HeaderFault::Magic);
        };
        header.check(abi::machine::HERE)?;
        Ok(Self {
            path,
            base: segments.base,
            header,
            sites: segments.table(header.sites_start.here()..header.sites_stop.here()).ok_or(HeaderFault::Sites)?,
            keys: segments.table(header.keys_start.here()..header.keys_stop.here()).ok_or(HeaderFault::Keys)?,
            outcome: segments.writable(header.outcome.here()).ok_or(HeaderFault::Outcome)?,
            rewritten: header.is_rewritten() || segments.are_rewritten(header.outcome.here()),
            segments,
        })
    }

    /// Whether its header is at this address.
    pub(crate) fn has_header(&self, address: usize) -> bool {
        &raw const *self.header as usize == address
    }

    /// The module's keys; records that point anywhere else than they must are left out.
    pub(crate) fn keys(&self) -> Keys<'_, 'a> {
        self.keys_of(0, 0)
    }

    /// Those that have of `these` flags just the `wanted` ones. The flags are looked at first: the rest takes longer.
    pub(crate) fn keys_of(&self, these: u8, wanted: u8) -> Keys<'_, 'a> {
        Keys { module: self, rest: self.keys.iter(), these, wanted }
    }

    /// How many key records are left out; blank ones, which linkers leave where they discard code, are none.
    #[cold]
    pub(crate) fn invalid_keys(&self) -> usize {
        let invalid = |record: &&KeyRecord| !record.is_blank() && self.key(record).is_none();
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
            let names: &[u8] = self.segments.slice(record.names.here(), record.names_length as usize)?;
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

    /// The key of a record, if it leads to one.
    #[cold]
    #[inline(never)]
    fn key(&self, record: &'a KeyRecord) -> Option<ModuleKey<'a>> {
        let [state, names, probe] = [record.state.here(), record.names.here(), record.probe.here()];
        let names: Option<&[u8]> = self.segments.slice(names, record.names_length as usize);
        record.judge([state as u64, 0, probe as u64], names, &self.segments).ok()?;
        Some(ModuleKey {
            // SAFETY: the judge found it to be loaded, writable and aligned to 8 bytes. Every bit pattern is a value that may change at
            // any time.
            state: unsafe { &*(state as *const State) },
            // SAFETY: an address in the module's text, which a key record names as its probe.
            probe: (!self.rewritten).then(|| unsafe { core::mem::transmute::<usize, RawProbe>(probe) }),
            record,
            values: record.values,
            flags: record.flags,
            names: names?,
        })
    }

    /// From its first segment's start to its last one's end.
    pub(crate) fn range(&self) -> Range<usize> {
        let ranges = self.segments.of_type(libc::PT_LOAD).map(|(range, _)| range);
        ranges.reduce(|all, range| all.start.min(range.start)..all.end.max(range.end)).unwrap_or(0..0)
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

    /// How many of its site records are for code that is there, or were removed.
    #[cold]
    #[inline(never)]
    pub(crate) fn live_sites(&self) -> u32 {
        self.sites.iter().filter(|record| self.is_live(record)).count() as u32
    }

    /// Whether a record is for code that is there: a linker that discards code may have its record lead to itself, to address 0 of
    /// the file, or to what is no code. The record of no kind is one that was removed from the file, not its code.
    pub(crate) fn is_live(&self, record: &SiteRecord) -> bool {
        let address = record.address();
        let was_removed = record.kind == 0;
        let right = if record.kind == Kind::Pointer as u8 { libc::PF_W } else { libc::PF_X };
        was_removed || record.site.bytes() != 0 && address != self.base && self.segments.contain(address, 1, right)
    }

    /// Whether there are keys that are decided as those of symbols are: pointers depend on no others.
    pub(crate) fn has_symbols(&self) -> bool {
        self.keys.iter().any(|record| record.flags & flags::SYMBOL != 0)
    }

    /// Whether a pointer's slot can be at this address.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_slot(&self, address: usize) -> bool {
        self.segments.is_slot(address as u64, size_of::<usize>() as u64)
    }

    /// Whether this address lies in one of its segments.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_loaded(&self, address: usize) -> bool {
        self.segments.contain(address, 1, 0)
    }

    /// Whether the loader makes all of this read-only, once it has relocated it: it leaves the last page alone if that is no
    /// whole one.
    #[cold]
    pub(crate) fn is_relro(&self, start: usize, length: usize) -> bool {
        let page = sys::page_size();
        let whole = |range: Range<usize>| (range.start & !(page - 1))..(range.end & !(page - 1));
        let relro = self.segments.of_type(libc::PT_GNU_RELRO).map(|(range, _)| whole(range));
        relro.into_iter().any(|range| range.start <= start && start + length <= range.end)
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
        self.segments.texts()
    }

    /// Opens the file that it was loaded from: by the loader's path, which need not lead there any more. None if another one is there.
    #[cold]
    pub(crate) fn open(&self) -> sys::Result<Option<File>> {
        // What is no file, as a FIFO, is not to be waited for.
        const FLAGS: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
        let open = |path: &[u8]| {
            let file = File::open(path, FLAGS)?;
            Ok(self.segments.are_of(&file).then_some(file))
        };
        if self.path == UNLISTED {
            return Err(sys::Errno(libc::ENOENT));
        }
        if !self.is_program() {
            return open(self.path.to_bytes_with_nul());
        }
        let by_kernel = open(b"/proc/self/exe\0");
        // The other path is one that whoever started the program chose, and may lead elsewhere by now: not where privileges were
        // raised. Where the loader was executed, and told to run the program, the kernel knows the loader alone; glibc's then gives
        // the program's path here.
        let path = sys::auxiliary(libc::AT_EXECFN) as *const c_char;
        if matches!(by_kernel, Ok(Some(_))) || sys::auxiliary(libc::AT_SECURE) != 0 || path.is_null() {
            return by_kernel;
        }
        // SAFETY: the kernel's or the loader's string, which a program that changes it has to end as well.
        open(unsafe { CStr::from_ptr(path) }.to_bytes_with_nul()).or(by_kernel)
    }

    /// The part of the module's text that holds this range whole: what may be executed, and perhaps not read.
    #[cold]
    #[inline(never)]
    pub(crate) fn text(&self, address: usize, length: usize) -> Option<Range<usize>> {
        self.segments.holding(address, length, libc::PF_X)
    }
}

/// Keys of a module, in the order of its table.
pub(crate) struct Keys<'m, 'a> {
    module: &'m Module<'a>,
    rest: core::slice::Iter<'a, KeyRecord>,
    these: u8,
    wanted: u8,
}

impl<'a> Iterator for Keys<'_, 'a> {
    type Item = ModuleKey<'a>;

    fn next(&mut self) -> Option<ModuleKey<'a>> {
        let (module, these, wanted) = (self.module, self.these, self.wanted);
        self.rest.find_map(|record| if record.flags & these == wanted { module.key(record) } else { None })
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

    /// Its number, if it is a constant.
    pub(crate) fn number(&self) -> Option<&'a AtomicU64> {
        let numbered = core::ptr::from_ref(self.state) as usize as *const Numbered;
        // SAFETY: of a key with this flag, the number behind the state was found to be there.
        (self.flags & flags::NUMBER != 0).then(|| unsafe { &(*numbered).number })
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
#[inline(never)]
pub(crate) fn name(names: &[u8], index: usize) -> &[u8] {
    let (mut start, mut left) = (0, index);
    for (end, &byte) in names.iter().enumerate() {
        if byte == 0 {
            if left == 0 {
                return names.get(start..end).unwrap_or(b"?");
            }
            (start, left) = (end + 1, left - 1);
        }
    }
    b"?"
}

#[cfg(test)]
pub(crate) mod tests {
    use super::segments::tests::segment;
    use super::*;
    use core::sync::atomic::AtomicU32;
    use core::sync::atomic::Ordering::Relaxed;
    use invar_abi::{Distance, Kind};
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

    #[test]
    fn a_program_knows_whether_a_loader_has_loaded_it() {
        assert_eq!(is_static_program(), cfg!(target_feature = "crt-static"));
    }

    /// This program has the runtime once.
    #[test]
    fn a_module_may_be_alone() {
        // SAFETY: this code is the module's, and gone with it.
        let (own, has_others) = unsafe { among_others(own_header()) }.expect("this program");
        assert!(own.is_program() && own.has_header(own_header()) && !has_others);
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

    /// A module in memory of our own, with two keys, a blank record and a site.
    #[repr(C, align(64))]
    pub(crate) struct Image {
        pub(crate) text: [u8; 64],
        pub(crate) names: [[u8; 160]; 2],
        pub(crate) sites: [SiteRecord; 1],
        between: [SiteRecord; 1],
        pub(crate) keys: [KeyRecord; 3],
        pub(crate) states: [[u64; 32]; 2],
        pub(crate) outcome: Outcome,
        header: Header,
        headers: [ProgramHeader; 4],
        notes: [u32; 7],
    }

    /// How far `to` is from here, in an image.
    pub(crate) fn distance<T, U>(from: &T, to: &U) -> Distance {
        Distance::new(((&raw const *to as isize) - (&raw const *from as isize)) as i32)
    }

    /// So much further.
    fn further(distance: Distance, bytes: i32) -> Distance {
        Distance::new(distance.bytes() + bytes)
    }

    impl Image {
        pub(crate) fn new() -> std::boxed::Box<Self> {
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
            image.header = Header {
                magic: abi::header::MAGIC,
                version: abi::VERSION,
                length: Header::LENGTH as u16,
                machine: abi::machine::HERE,
                flags: 0,
                sites_start: distance(&image.header.sites_start, &image.sites),
                sites_stop: distance(&image.header.sites_stop, &image.between),
                keys_start: distance(&image.header.keys_start, &image.keys),
                keys_stop: distance(&image.header.keys_stop, &image.states),
                outcome: distance(&image.header.outcome, &image.outcome),
                elf_header: Distance::new(0),
                code: distance(&image.header.code, &image.text),
                address: &raw const image.text as u64,
            };
            image.notes = [6, 8, abi::VERSION, u32::from_ne_bytes(*b"inva"), u32::from_ne_bytes(*b"r\0\0\0"), 0, 0];
            image.notes[5] = distance(&image.notes[5], &image.header).bytes() as u32;
            let start = image.start();
            let (data, end) = (&raw const image.states as usize, &raw const image.headers as usize);
            image.headers = [
                segment(libc::PT_LOAD, libc::PF_R | libc::PF_X, 0, 64),
                segment(libc::PT_LOAD, libc::PF_R, 64, data - start - 64),
                segment(libc::PT_LOAD, libc::PF_R | libc::PF_W, data - start, size_of::<Self>() - (data - start)),
                segment(libc::PT_NOTE, libc::PF_R, end + size_of_val(&image.headers) - start, 28),
            ];
            image
        }

        fn start(&self) -> usize {
            &raw const *self as usize
        }

        fn segments(&self) -> Segments<'_> {
            Segments { base: self.start(), headers: &self.headers }
        }

        pub(crate) fn module(&self) -> Module<'_> {
            self.read().expect("a module")
        }

        fn read(&self) -> Result<Module<'_>, HeaderFault> {
            Module::new(c"image", self.segments(), &raw const self.header as usize)
        }

        /// Where the header is of the module that others find.
        fn found(&self) -> Option<usize> {
            unsafe fn call(found: *mut c_void, module: &Module<'_>) {
                // SAFETY: the pointer below.
                unsafe { *found.cast::<usize>() = &raw const *module.header as usize };
            }
            let mut found = 0;
            let visit = (&raw mut found).cast();
            let mut walk = Walk { known: 0, call, visit, first: false, met: Ok(()) };
            walk.meet(c"image", self.segments(), self.segments().note()?);
            (found != 0).then_some(found)
        }
    }

    #[test]
    fn a_header_that_leads_elsewhere_is_none() {
        type Change = (HeaderFault, fn(&mut Header));
        let broken: [Change; 16] = [
            (HeaderFault::Magic, |header| header.magic[3] ^= 1),
            (HeaderFault::Version, |header| header.version += 1),
            (HeaderFault::Version, |header| header.version = 0),
            (HeaderFault::Length, |header| header.length -= 8),
            (HeaderFault::Machine, |header| header.machine ^= 1),
            (HeaderFault::Flags, |header| header.flags = 1),
            (HeaderFault::Sites, |header| header.sites_start = further(header.sites_start, 32)),
            (HeaderFault::Sites, |header| header.sites_start = further(header.sites_start, -1)),
            (HeaderFault::Sites, |header| header.sites_stop = further(header.sites_stop, 1 << 20)),
            (HeaderFault::Keys, |header| header.keys_start = Distance::new(i32::MIN)),
            (HeaderFault::Keys, |header| header.keys_stop = Distance::new(i32::MAX)),
            (HeaderFault::Keys, |header| header.keys_stop = further(header.keys_stop, -64)),
            (HeaderFault::Outcome, |header| header.outcome = further(header.outcome, 4)),
            (HeaderFault::Outcome, |header| header.outcome = further(header.outcome, -1024)),
            (HeaderFault::Outcome, |header| header.outcome = Distance::new(0)),
            (HeaderFault::Outcome, |header| header.outcome = Distance::new(1 << 20)),
        ];
        for (at, (fault, change)) in broken.into_iter().enumerate() {
            let mut image = Image::new();
            change(&mut image.header);
            assert_eq!(image.read().err(), Some(fault), "{at}");
            assert!(image.found().is_none(), "{at}");
        }
        let mut image = Image::new();
        image.header.address += 1;
        assert!(image.module().rewritten && image.module().keys().all(|key| key.probe.is_none()));
    }

    /// Whatever tools make of the note.
    #[test]
    fn a_header_is_found_without_the_notes_help() {
        let mut image = Image::new();
        let is_it = |image: &Image| image.found() == Some(&raw const image.header as usize);
        assert!(is_it(&image));
        for moved in [-4096, 1, 4, 8, 16, 4096, 1 << 30] {
            image.notes[5] = image.notes[5].wrapping_add_signed(moved);
            assert!(is_it(&image), "{moved}");
            image.notes[5] = image.notes[5].wrapping_add_signed(-moved);
        }
        image.notes[5] += 8;
        // What only looks like one is passed by.
        image.states[0][4] = u64::from_ne_bytes(abi::header::MAGIC);
        assert!(is_it(&image));
        image.headers[2].p_filesz -= 16 * 14;
        assert!(is_it(&image));
        image.headers[2].p_filesz = 300;
        assert!(image.found().is_none(), "it is not in the file");
        image.headers[2].p_filesz = image.headers[2].p_memsz;
        image.headers[2].p_flags = libc::PF_R;
        assert!(image.found().is_none(), "it is not in data");
        image.headers[2].p_flags |= libc::PF_W;
        image.notes[2] += 1;
        assert!(image.found().is_none(), "nothing says that there is one");
    }

    #[test]
    fn not_all_that_begins_as_a_header_is_looked_at() {
        for (others, is_found) in [(1, true), (63, true), (64, false)] {
            let mut image = Image::new();
            image.notes[5] += 8;
            let words = image.states.as_flattened_mut();
            words[..others].fill(u64::from_ne_bytes(abi::header::MAGIC));
            assert_eq!(image.found().is_some(), is_found, "{others}");
        }
        // A header in its place that cannot be used is the module's all the same.
        let mut image = Image::new();
        let ours = image.header;
        let moved = (&raw const image.header as usize - &raw const image.states as usize) as i32;
        let by = |distance| further(distance, moved);
        let other = Header {
            sites_start: by(ours.sites_start),
            sites_stop: by(ours.sites_stop),
            keys_start: by(ours.keys_start),
            keys_stop: by(ours.keys_stop),
            outcome: by(ours.outcome),
            ..ours
        };
        // SAFETY: numbers alone, and there is room.
        unsafe { image.states.as_mut_ptr().cast::<Header>().write(other) };
        image.notes[5] += 8;
        assert_eq!(image.found(), Some(&raw const image.states as usize), "of two the first");
        image.notes[5] -= 8;
        image.header.version += 1;
        assert!(image.found().is_none());
    }

    #[test]
    fn what_the_loader_names_is_no_program() {
        // SAFETY: numbers and pointers.
        let mut info: libc::dl_phdr_info = unsafe { core::mem::zeroed() };
        // SAFETY: a string, or none.
        let is = |info: &libc::dl_phdr_info, first, path| unsafe { path_of(info, first) } == path;
        assert!(is(&info, false, c""));
        info.dlpi_name = c"a library".as_ptr();
        assert!(is(&info, false, c"a library"));
        assert!(is(&info, true, if cfg!(target_env = "musl") { c"" } else { c"a library" }));
        info.dlpi_phdr = sys::auxiliary(libc::AT_PHDR) as usize as *const _;
        assert!(is(&info, false, c""), "its headers are the program's");
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
            ("names that are elsewhere", |image| image.keys[0].names = Distance::new(1 << 30)),
            ("too many values", |image| image.keys[0].values = 3),
            ("too few values", |image| image.keys[0].values = 1),
            ("one value", |image| (image.keys[0].values, image.keys[0].names_length) = (1, 8)),
            ("a space", |image| image.names[0][1] = b' '),
            ("no ASCII", |image| image.names[0][1] = 0x7f),
            ("a switch for slices", |image| image.keys[0].flags = flags::SWITCH | flags::SLICE),
            ("a probe in data", |image| image.keys[0].probe = further(image.keys[0].probe, 64)),
            ("a state that is read-only", |image| image.keys[0].state = further(image.keys[0].state, -512)),
            ("a state between two", |image| image.keys[0].state = further(image.keys[0].state, 4)),
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
        (image.keys[0].values, image.keys[0].names_length, image.keys[0].flags) =
            (64, 130, flags::ALL & !(flags::SWITCH | flags::NUMBER));
        image.keys[1].probe = distance(&image.keys[1].probe, &image.text[63]);
        assert_eq!((image.module().keys().count(), image.module().invalid_keys()), (2, 0), "64 are not too many");
    }

    #[test]
    fn records_of_code_that_is_not_there_do_not_count() {
        let mut image = Image::new();
        image.sites[0].kind = Kind::Branch as u8;
        let record = &image.sites[0];
        let (to_base, to_text, to_data) = (
            distance(&record.site, &image.text),
            distance(&record.site, &image.text[8]),
            distance(&record.site, &image.names),
        );
        let places = [(Distance::new(0), 0), (to_base, 0), (to_text, 1), (further(to_text, 55), 1), (to_data, 0)];
        for (site, live) in places.into_iter().chain([(Distance::new(-(1 << 30)), 0)]) {
            image.sites[0].site = site;
            assert_eq!(image.module().live_sites(), live, "{site:?}");
        }
        // Old linkers put what is read only beside the code.
        image.headers[1].p_flags |= libc::PF_X;
        image.sites[0].site = Distance::new(0);
        assert_eq!(image.module().live_sites(), 0, "it leads to itself");
        image.sites[0].kind = 0;
        assert_eq!(image.module().live_sites(), 1, "it was removed");
    }

    #[test]
    fn a_module_reaches_from_its_first_byte_to_its_last() {
        let image = Image::new();
        let (module, start, end) = (image.module(), image.start(), image.start() + size_of::<Image>());
        let contains = |address| module.segments.contain(address, 1, 0);
        assert!(contains(start) && contains(end - 1) && !contains(start - 1) && !contains(end));
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
        let header = own.header.elf_header.here();
        let found = Segments::from_header(header).expect("the program's");
        assert_eq!((found.base, found.unlisted_path()), (own.base, c""));
        assert!(found.hold_header(own_header()));
        // SAFETY: the program stays.
        let other = |header| unsafe { at(header) }.err();
        assert_eq!(other(own_header()), None);
        assert_eq!(other(own_header() + 8), Some(HeaderFault::Magic), "the program's, and no header");
        for nowhere in [0, 8, own_header() + (1 << 40)] {
            assert_eq!(other(nowhere), Some(HeaderFault::ElfHeader), "{nowhere:x}");
        }
        assert!(Segments::from_header(header + 1).is_none() && Segments::from_header(0).is_none());
        assert!(Segments::from_header(header + sys::page_size()).is_none(), "no header");
    }
}
