//! The modules of this process: the loader lists its objects, and notes say which of them are modules.
#![allow(unsafe_code)]

#[cfg(feature = "switch")]
use super::loader;
use super::note::{self, own_header};
use super::segments::{ProgramHeader, Segments};
use super::tables::Module;
use crate::sys;
use core::ffi::{CStr, c_int, c_void};
use core::num::NonZeroU64;
use invar_abi::Header;
use invar_abi::header::{self, HeaderFault};

/// Calls `visit` with each module of the process that has a note of this ABI version, and with this one.
///
/// The loader's lock is held meanwhile (musl's loader has none, and unloads nothing), so no module can go away under the
/// visitor; who must not wait for anybody else's lock, and call nobody else's code.
pub(crate) fn each<F: FnMut(&Module<'_>)>(visit: F) {
    each_among(None, visit);
}

/// The same for a module that was alone, which is the only one still where the loader has added nothing since.
pub(crate) fn each_among<F: FnMut(&Module<'_>)>(alone: Option<&Alone<'_>>, mut visit: F) {
    unsafe fn call<F: FnMut(&Module<'_>)>(visit: *mut c_void, module: &Module<'_>) {
        // SAFETY: the pointer below, while it is valid.
        unsafe { (*visit.cast::<F>())(module) };
    }
    _ = walk(own_header(), alone, call::<F>, (&raw mut visit).cast());
}

/// [`each_among`], once for all visitors, and without a table for each of them, which the loader would have to relocate. The module with
/// the `known` header needs no note, nor the loader to list it; the result is why it was not visited.
#[cold]
#[inline(never)]
fn walk(
    known: usize,
    alone: Option<&Alone<'_>>,
    call: unsafe fn(*mut c_void, &Module<'_>),
    visit: *mut c_void,
) -> Result<Option<Added>, HeaderFault> {
    extern "C" fn one(info: *mut libc::dl_phdr_info, size: usize, walk: *mut c_void) -> c_int {
        // SAFETY: `walk` is the pointer passed below; the loader describes a loaded object.
        let (walk, info) = unsafe { (&mut *walk.cast::<Walk<'_>>(), &*info) };
        walk.added = added(info, size);
        if STAYS
            && let Some(alone) = walk.alone
            && walk.added == Some(alone.added)
        {
            walk.met = Ok(());
            // SAFETY: `visit` is what `call` takes.
            unsafe { (walk.call)(walk.visit, alone.module) };
            // No other object is wanted.
            return 1;
        }
        let first = cfg!(target_env = "musl") && core::mem::replace(&mut walk.first, false);
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
    let mut walk = Walk { known, alone, call, visit, first: true, met: Err(HeaderFault::ElfHeader), added: None };
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
    walk.met.map(|()| walk.added)
}

/// How many objects the loader has added to its list, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added(NonZeroU64);

/// A module that was alone when the loader had added so many.
#[derive(Clone, Copy)]
pub(crate) struct Alone<'a> {
    pub(crate) module: &'a Module<'a>,
    pub(crate) added: Added,
}

/// glibc's loader adds nothing while anybody walks through its list (elf/dl-object.c, `_dl_add_to_namespace_list`; elf/dl-iteratephdr.c).
/// musl's may.
const STAYS: bool = cfg!(target_env = "gnu");

/// By a record of the loader's. Code that stands in for the loader's may leave 0 there, as musl's does.
fn added(info: &libc::dl_phdr_info, size: usize) -> Option<Added> {
    const END: usize = core::mem::offset_of!(libc::dl_phdr_info, dlpi_adds) + size_of::<u64>();
    NonZeroU64::new(if !STAYS {
        1
    } else if size >= END {
        info.dlpi_adds
    } else {
        0
    })
    .map(Added)
}

/// A visitor on the way through the loader's list.
struct Walk<'a> {
    known: usize,
    alone: Option<&'a Alone<'a>>,
    call: unsafe fn(*mut c_void, &Module<'_>),
    visit: *mut c_void,
    /// The next object is the first.
    first: bool,
    /// What came of the module with the known header.
    met: Result<(), HeaderFault>,
    added: Option<Added>,
}

impl Walk<'_> {
    /// Visits the module with the known header, or the one whose note leads to this.
    fn meet(&mut self, path: &CStr, segments: Segments<'_>, mut header: usize) {
        let is_known = header == self.known;
        let (mut candidate, mut left) = (0, header::MOST_CANDIDATES);
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
    Walk { known: 0, alone: None, call, visit, first: false, met: Err(HeaderFault::ElfHeader), added: None }
        .meet(c"", segments, header);
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
#[inline(always)] // smaller
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
#[cold]
#[inline(never)]
pub(crate) unsafe fn at(header: usize) -> Result<Module<'static>, HeaderFault> {
    // SAFETY: as the caller vouches.
    unsafe { among_others(header) }.map(|(module, _)| module)
}

/// The same, and how many objects the loader had added when there was no other module; nothing if there are others, or may be.
///
/// # Safety
///
/// As for [`at`].
#[cold]
pub(crate) unsafe fn among_others(header: usize) -> Result<(Module<'static>, Option<Added>), HeaderFault> {
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
    let added = walk(header, None, call, (&raw mut found).cast())?;
    let added = added.filter(|_| !found.has_others);
    found.module.map(|module| (module, added)).ok_or(HeaderFault::ElfHeader)
}

/// This module, if its header can be used.
#[cfg(any(feature = "timeslice", feature = "switch", test))]
pub(crate) fn own() -> Option<Module<'static>> {
    // SAFETY: this code is the module's, and gone with it.
    unsafe { at(own_header()) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::image::{Image, further};
    use invar_abi as abi;
    use invar_abi::Distance;

    /// Where the header is of the module that others find.
    fn found(image: &Image) -> Option<usize> {
        unsafe fn call(found: *mut c_void, module: &Module<'_>) {
            // SAFETY: the pointer below.
            unsafe { *found.cast::<usize>() = &raw const *module.header as usize };
        }
        let mut found = 0;
        let visit = (&raw mut found).cast();
        let mut walk = Walk { known: 0, alone: None, call, visit, first: false, met: Ok(()), added: None };
        walk.meet(c"image", image.segments(), image.segments().note()?);
        (found != 0).then_some(found)
    }

    #[test]
    fn a_program_knows_whether_a_loader_has_loaded_it() {
        assert_eq!(is_static_program(), cfg!(target_feature = "crt-static"));
    }

    /// This program has the runtime once.
    #[test]
    fn a_module_may_be_alone() {
        // SAFETY: this code is the module's, and gone with it.
        let (own, added) = unsafe { among_others(own_header()) }.expect("this program");
        assert!(own.is_program() && own.has_header(own_header()) && added.is_some());
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
            assert!(found(&image).is_none(), "{at}");
        }
        let mut image = Image::new();
        image.header.address += 1;
        assert!(image.module().rewritten && image.module().keys().all(|key| key.probe.is_none()));
    }

    /// Whatever tools make of the note.
    #[test]
    fn a_header_is_found_without_the_notes_help() {
        let mut image = Image::new();
        let is_it = |image: &Image| found(image) == Some(&raw const image.header as usize);
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
        assert!(found(&image).is_none(), "it is not in the file");
        image.headers[2].p_filesz = image.headers[2].p_memsz;
        image.headers[2].p_flags = libc::PF_R;
        assert!(found(&image).is_none(), "it is not in data");
        image.headers[2].p_flags |= libc::PF_W;
        image.notes[2] += 1;
        assert!(found(&image).is_none(), "nothing says that there is one");
    }

    #[test]
    fn not_all_that_begins_as_a_header_is_looked_at() {
        for (others, is_found) in [(1, true), (63, true), (64, false)] {
            let mut image = Image::new();
            image.notes[5] += 8;
            let words = image.states.as_flattened_mut();
            words[..others].fill(u64::from_ne_bytes(abi::header::MAGIC));
            assert_eq!(found(&image).is_some(), is_found, "{others}");
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
        assert_eq!(found(&image), Some(&raw const image.states as usize), "of two the first");
        image.notes[5] -= 8;
        image.header.version += 1;
        assert!(found(&image).is_none());
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
