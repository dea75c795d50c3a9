//! A module's segments: what lies in them, and in which memory.
#![allow(unsafe_code)]

use super::outcome::Outcome;
use crate::key::state::State;
use crate::sys::{self, File};
use core::ffi::CStr;
use core::ops::Range;
use invar_abi as abi;
use invar_abi::{Header, KeyRecord, SiteRecord};

#[cfg(target_pointer_width = "32")]
use libc::{Elf32_Ehdr as ElfHeader, Elf32_Phdr};
#[cfg(target_pointer_width = "64")]
use libc::{Elf64_Ehdr as ElfHeader, Elf64_Phdr};

#[cfg(target_pointer_width = "32")]
pub(super) type ProgramHeader = Elf32_Phdr;
#[cfg(target_pointer_width = "64")]
pub(super) type ProgramHeader = Elf64_Phdr;

/// How far from the beginning of a segment of data a header is looked for, in bytes. Linkers put what is read-only once it is
/// relocated there, and the header is of that.
const FURTHEST: usize = 4 << 20;

/// In the place of a path that nobody tells.
pub(super) const UNLISTED: &CStr = c"(not in the loader's list)";

/// A module's loaded segments.
#[derive(Clone, Copy)]
pub(super) struct Segments<'a> {
    pub(super) base: usize,
    pub(super) headers: &'a [ProgramHeader],
}

/// An executable segment, as far as it comes from the file.
pub(crate) struct TextSegment {
    pub(crate) range: Range<usize>,
    /// Where it begins in the file.
    pub(crate) offset: usize,
    /// The protection that it was mapped with.
    pub(crate) protection: i32,
}

impl<'a> Segments<'a> {
    /// # Safety
    ///
    /// `info` must describe an object that is loaded.
    #[cold]
    pub(super) unsafe fn from_loader(info: &'a libc::dl_phdr_info) -> Option<Self> {
        if info.dlpi_phdr.is_null() {
            return None;
        }
        // SAFETY: the loader's table has this many headers.
        let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        Some(Self { base: info.dlpi_addr as usize, headers })
    }

    /// The segments of a module whose ELF header may be at this address.
    #[inline(always)] // called once
    pub(super) fn from_header(address: usize) -> Option<Self> {
        if !address.is_multiple_of(sys::page_size()) || !is_elf_header(address) {
            return None;
        }
        // SAFETY: it is there, numbers alone.
        let header = unsafe { &*(address as *const ElfHeader) };
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
    pub(super) fn unlisted_path(&self) -> &'static CStr {
        let is_program = self.headers.as_ptr() as u64 == sys::auxiliary(libc::AT_PHDR);
        if is_program { c"" } else { UNLISTED }
    }

    /// Whether a module's header can be at this address.
    pub(super) fn hold_header(&self, address: usize) -> bool {
        self.contain(address, Header::LENGTH, libc::PF_R)
    }

    /// Where the note of this ABI version leads.
    #[inline(always)] // called once
    pub(super) fn note(&self) -> Option<usize> {
        for (range, _) in self.of_type(libc::PT_NOTE) {
            if let Some(notes) = self.table(range)
                && let found @ Some(_) = abi::note::leads_to(notes)
            {
                return found;
            }
        }
        None
    }

    /// The version of its tables, if that is another one.
    #[cold]
    pub(super) fn other_version(&self) -> Option<u32> {
        self.of_type(libc::PT_NOTE).find_map(|(range, _)| abi::note::other_version(self.table(range)?))
    }

    /// Where, behind this address, the first header may begin: in the part of the module's data that the file fills, and no further
    /// in than [`FURTHEST`]. Pages that the program has taken away from itself are passed by.
    #[inline(always)] // called once
    pub(super) fn candidate(&self, behind: usize) -> Option<usize> {
        const DATA: u32 = libc::PF_R | libc::PF_W;
        const STEP: usize = size_of::<u64>();
        let page = sys::page_size();
        for header in
            self.headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & DATA == DATA)
        {
            let start = self.base.wrapping_add(header.p_vaddr as usize);
            let end = start.saturating_add((header.p_filesz as usize).min(FURTHEST));
            let mut at = (start.max(behind.saturating_add(1)).saturating_add(STEP - 1)) & !(STEP - 1);
            let mut readable = 0;
            while at.saturating_add(STEP) <= end {
                if at >= readable {
                    readable = (at & !(page - 1)) + page;
                    if !sys::is_readable(at, STEP) {
                        at = readable;
                        continue;
                    }
                }
                // SAFETY: readable a moment ago, aligned. Volatile, since this may be anything, which may change at any time.
                if unsafe { (at as *const u64).read_volatile() } == u64::from_ne_bytes(abi::header::MAGIC) {
                    return Some(at);
                }
                at += STEP;
            }
        }
        None
    }

    /// Whether a tool has added code to the module after it was linked, behind its data: a module with its outcome there.
    ///
    /// llvm-bolt puts the functions that it moves, or the tables that go with them, into an executable segment behind all
    /// others, and the program headers too; or it keeps those, and gives that segment the place of PT_GNU_STACK (LLVM,
    /// bolt/lib/Rewrite/RewriteInstance.cpp). Linkers put headers first, and always leave that entry.
    #[cold]
    pub(super) fn are_rewritten(&self, outcome: usize) -> bool {
        let headers = self.headers.as_ptr() as usize;
        let text = || self.of_type(libc::PT_LOAD).filter(|(_, flags)| flags & libc::PF_X != 0).map(|(range, _)| range);
        let added = |range: Range<usize>| {
            range.start > outcome && (range.contains(&headers) || self.of_type(libc::PT_GNU_STACK).next().is_none())
        };
        text().any(|range| range.end <= outcome) && text().any(added)
    }

    /// The executable segments.
    pub(super) fn texts(&self) -> impl Iterator<Item = TextSegment> + use<'a> {
        let base = self.base;
        let is_text = |header: &&ProgramHeader| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0;
        self.headers.iter().filter(is_text).map(move |header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            let right = |flag, right| if header.p_flags & flag != 0 { right } else { 0 };
            TextSegment {
                range: start..start.saturating_add(header.p_filesz.min(header.p_memsz) as usize),
                offset: header.p_offset as usize,
                protection: right(libc::PF_R, libc::PROT_READ)
                    | right(libc::PF_W, libc::PROT_WRITE)
                    | right(libc::PF_X, libc::PROT_EXEC),
            }
        })
    }

    /// Whether a file has these program headers.
    #[cold]
    pub(super) fn are_of(&self, file: &File) -> bool {
        const ONE: usize = size_of::<ProgramHeader>();
        // Linkers put the table behind the ELF header: most files are read once.
        let mut bytes = [0; size_of::<ElfHeader>() + 16 * ONE];
        let Ok(mut length) = file.read_at(&mut bytes, 0) else { return false };
        if length < size_of::<ElfHeader>() {
            return false;
        }
        // SAFETY: numbers alone, of which there are enough.
        let header = unsafe { bytes.as_ptr().cast::<ElfHeader>().read_unaligned() };
        let (mut start, mut offset) = (0, header.e_phoff as usize);
        for loaded in self.headers {
            let part = |bytes: &[u8], start| bytes.get(offset.checked_sub(start)?..)?.first_chunk::<ONE>().copied();
            let mut found = part(&bytes[..length], start);
            if found.is_none() {
                (start, length) = (offset, file.read_at(&mut bytes, offset).unwrap_or(0));
                found = part(&bytes[..length], start);
            }
            // SAFETY: numbers alone, without padding.
            if found.as_ref() != Some(unsafe { &*core::ptr::from_ref(loaded).cast() }) {
                return false;
            }
            offset += ONE;
        }
        header.e_phnum as usize == self.headers.len()
    }

    /// Ranges and flags of the segments of this type.
    pub(super) fn of_type(&self, kind: u32) -> impl Iterator<Item = (Range<usize>, u32)> + use<'a> {
        let base = self.base;
        self.headers.iter().filter(move |header| header.p_type == kind).map(move |header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            (start..start.saturating_add(header.p_memsz as usize), header.p_flags)
        })
    }

    /// The segment that holds this range whole and has all of these flags.
    pub(super) fn holding(&self, address: usize, length: usize, flags: u32) -> Option<Range<usize>> {
        let end = address.checked_add(length)?;
        self.of_type(libc::PT_LOAD)
            .find(|(range, has)| range.start <= address && end <= range.end && has & flags == flags)
            .map(|(range, _)| range)
    }

    pub(super) fn contain(&self, address: usize, length: usize, flags: u32) -> bool {
        self.holding(address, length, flags).is_some()
    }

    pub(super) fn slice<T: Plain>(&self, address: usize, count: usize) -> Option<&'a [T]> {
        self.table(address..address.checked_add(count.checked_mul(size_of::<T>())?)?)
    }

    /// Bytes, of many that lie in one segment: it is looked for once. `known` is empty at first, and for these segments alone.
    pub(super) fn bytes(&self, known: &mut Range<usize>, address: usize, length: usize) -> Option<&'a [u8]> {
        let end = address.checked_add(length)?;
        if address < known.start || end > known.end {
            *known = self.holding(address, length, libc::PF_R)?;
        }
        // SAFETY: as for `table`.
        Some(if length == 0 { &[] } else { unsafe { core::slice::from_raw_parts(address as *const u8, length) } })
    }

    /// As many as are whole between two addresses.
    pub(super) fn table<T: Plain>(&self, range: Range<usize>) -> Option<&'a [T]> {
        match self.count(&range, size_of::<T>(), align_of::<T>())? {
            0 => Some(&[]),
            // SAFETY: loaded, readable, aligned, and every bit pattern is a value; nobody writes to a module's
            // read-only tables, and its text is only looked at between writes.
            count => Some(unsafe { core::slice::from_raw_parts(range.start as *const T, count) }),
        }
    }

    /// How many things of this size are there, if all of them can be read. Nothing lies anywhere.
    #[inline(never)]
    fn count(&self, range: &Range<usize>, size: usize, alignment: usize) -> Option<usize> {
        let range = range.start as u64..range.end as u64;
        abi::Segmented::records(self, &range, size as u64, alignment as u64).map(|count| count as usize)
    }

    pub(super) fn writable<T: Shared>(&self, address: usize) -> Option<&'a T> {
        const { assert!(align_of::<T>() <= 8) };
        let there = abi::Segmented::is_writable(self, address as u64, size_of::<T>() as u64);
        // SAFETY: loaded, writable, aligned, and every bit pattern is a value that may change at any time.
        there.then(|| unsafe { &*(address as *const T) })
    }
}

impl abi::Segmented for Segments<'_> {
    #[inline(never)]
    fn holds(&self, address: u64, length: u64, rights: u32) -> bool {
        self.contain(address as usize, length as usize, rights)
    }

    #[inline(never)]
    fn is_relro(&self, address: u64, length: u64) -> bool {
        let overlaps =
            |range: Range<usize>| (address as usize) < range.end && range.start < (address + length) as usize;
        self.of_type(libc::PT_GNU_RELRO).any(|(range, _)| overlaps(range))
    }
}

/// Whether an ELF header is at this address, a page's.
#[inline(always)] // called once
fn is_elf_header(page: usize) -> bool {
    // SAFETY: readable, on one page, numbers alone.
    sys::is_readable(page, size_of::<ElfHeader>())
        && unsafe { &*(page as *const ElfHeader) }.e_ident.starts_with(b"\x7fELF")
}

/// Types that are made of numbers alone.
///
/// # Safety
///
/// Every bit pattern must be a value.
pub(super) unsafe trait Plain {}
// SAFETY: numbers alone.
unsafe impl Plain for u8 {}
// SAFETY: numbers alone.
unsafe impl Plain for u32 {}
#[cfg(feature = "capi")]
// SAFETY: numbers alone.
unsafe impl Plain for [usize; 2] {}
// SAFETY: numbers alone.
unsafe impl Plain for Header {}
// SAFETY: numbers alone.
unsafe impl Plain for SiteRecord {}
// SAFETY: numbers alone.
unsafe impl Plain for KeyRecord {}

/// Types that another copy of the runtime may change while we look.
///
/// # Safety
///
/// Every bit pattern must be a value, and what changes must be atomic or behind a cell.
pub(super) unsafe trait Shared {}
// SAFETY: atomics, and cells guarded by one.
unsafe impl Shared for State {}
// SAFETY: atomics.
unsafe impl Shared for Outcome {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::vec::Vec;

    /// A program header.
    pub(in super::super) fn segment(kind: u32, flags: u32, start: usize, length: usize) -> ProgramHeader {
        // SAFETY: numbers alone.
        let mut header: ProgramHeader = unsafe { core::mem::zeroed() };
        (header.p_type, header.p_flags) = (kind, flags);
        (header.p_vaddr, header.p_memsz, header.p_filesz) = (start as _, length as _, length as _);
        header
    }

    /// A page with a header of a library's, and what can be wrong with it.
    #[test]
    fn a_header_says_where_its_segments_are() {
        #[repr(C, align(65536))]
        struct File {
            header: ElfHeader,
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
            (0x11000, 8, false),
            (0x12000, 8, false),
            (0x12038, 8, false),
            (0x12038, 16, false),
            (0x12040, 8, true),
            (0x12044, 4, false),
            (0x120b8, 8, true),
            (0x120b8, 9, false),
            (0x120f8, 8, true),
            (0x120f8, 9, false),
        ] {
            assert_eq!(abi::Segmented::is_writable(&segments, address, length), writable, "{address:x} {length}");
        }
        let mut known = 0..0;
        for (address, length, segment) in [
            (0x11080, 0, Some(0x11000)),
            (0x11100, 0, Some(0x11000)),
            (0x11100, 1, None),
            (0x110ff, 2, None),
            (0x10fff, 1, None),
            (0x12080, 0, Some(0x12000)),
            (0x11000, 0, Some(0x11000)),
            (0x11100, usize::MAX, None),
            (0x15000, 0, None),
            (0x12080, 0, Some(0x12000)),
        ] {
            let before = known.clone();
            let found = segments.bytes(&mut known, address, length);
            assert_eq!(found.map(<[u8]>::len), segment.map(|_| length), "{address:x} {length}");
            assert_eq!(known, segment.map_or(before, |start| start..start + 0x100), "{address:x} {length}");
        }
        assert_eq!(segments.slice::<u8>(0, 0), Some(&[][..]), "nothing lies anywhere");
        assert!(
            segments.slice::<SiteRecord>(0x11001, 1).is_none() && segments.slice::<u8>(0x11000, usize::MAX).is_none()
        );
        assert!(segments.slice::<SiteRecord>(0x11000, usize::MAX).is_none());
        assert!(segments.slice::<SiteRecord>(0x11000, 17).is_none(), "one too many");
    }

    #[test]
    fn headers_that_cannot_be_read_are_none() {
        let page = sys::page_size();
        let memory = sys::Scratch::new(2 * page).expect("memory");
        let place = memory.address();
        // SAFETY: numbers alone, in pages of ours of which nobody needs the second.
        unsafe {
            let header = &mut *(place as *mut ElfHeader);
            header.e_ident[..4].copy_from_slice(b"\x7fELF");
            header.e_phoff = (page - size_of::<ProgramHeader>()) as _;
            (header.e_phnum, header.e_phentsize) = (1, size_of::<ProgramHeader>() as u16);
            let load = segment(libc::PT_LOAD, 0, 0, page);
            ((place + page - size_of::<ProgramHeader>()) as *mut ProgramHeader).write(load);
            sys::protect(place + page, page, libc::PROT_NONE).expect("no access");
            assert_eq!(Segments::from_header(place).map(|found| found.base), Some(place));
            header.e_phnum = 2;
            assert!(Segments::from_header(place).is_none());
            // There is room for one, and a little more.
            header.e_phoff -= 8;
            assert!(Segments::from_header(place).is_none());
        }
        assert!(Segments::from_header(place + page).is_none());
    }

    #[test]
    fn texts_are_what_files_fill_and_code_may_run_in() {
        const R: u32 = libc::PF_R;
        const W: u32 = libc::PF_W;
        const X: u32 = libc::PF_X;
        let mut headers = [
            segment(libc::PT_LOAD, R | X, 0x1000, 0x100),
            segment(libc::PT_LOAD, R | W, 0x2000, 0x100),
            segment(libc::PT_NOTE, R | X, 0x3000, 0x100),
            segment(libc::PT_LOAD, R | W | X, 0x4000, 0x100),
            segment(libc::PT_LOAD, X, 0x5000, 0x100),
        ];
        (headers[0].p_offset, headers[0].p_memsz, headers[3].p_filesz) = (0x400, 0x200, 0x200);
        let texts = Segments { base: 0x10000, headers: &headers }.texts();
        let found: Vec<_> = texts.map(|text| (text.range, text.offset, text.protection)).collect();
        let [r, w, x] = [libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC];
        let expected = [(0x11000..0x11100, 0x400, r | x), (0x14000..0x14100, 0, r | w | x), (0x15000..0x15100, 0, x)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_is_known_by_its_program_headers() {
        const X: u32 = libc::PF_X;
        let program = File::open(b"/proc/self/exe\0", libc::O_RDONLY).expect("the program");
        let [table, count] = [libc::AT_PHDR, libc::AT_PHNUM].map(|what| sys::auxiliary(what) as usize);
        // SAFETY: the program's own.
        let headers = unsafe { core::slice::from_raw_parts(table as *const ProgramHeader, count) };
        let are_of = |headers: &[ProgramHeader], file: &File| Segments { base: 0, headers }.are_of(file);
        assert!(are_of(headers, &program) && !are_of(&headers[1..], &program));
        assert!(!are_of(&headers[..count - 1], &program), "it has one more");
        for changed in [0, count - 1] {
            let mut headers = headers.to_vec();
            headers[changed].p_align ^= 1;
            assert!(!are_of(&headers, &program), "{changed}");
        }
        assert!(!are_of(&[], &File::open(b"/dev/null\0", libc::O_RDONLY).expect("a file")), "no header");

        // More than are read at once, behind the ELF header and further on.
        let many: Vec<_> = (0..40).map(|at| segment(libc::PT_LOAD, X, at << 12, 0x100)).collect();
        // SAFETY: numbers alone, without padding.
        let table = unsafe { core::slice::from_raw_parts(many.as_ptr().cast::<u8>(), size_of_val(&many[..])) };
        for offset in [size_of::<ElfHeader>(), 5000] {
            // SAFETY: numbers alone.
            let mut header = unsafe { core::mem::zeroed::<ElfHeader>() };
            (header.e_phoff, header.e_phnum) = (offset as _, many.len() as u16);
            // SAFETY: as above; what is between is not looked at.
            let header =
                unsafe { core::slice::from_raw_parts((&raw const header).cast::<u8>(), size_of::<ElfHeader>()) };
            let mut bytes = header.to_vec();
            bytes.resize(offset, 0);
            bytes.extend(table);
            let sealed = |bytes: &[u8]| File::sealed(c"headers", bytes).expect("a file");
            assert!(are_of(&many, &sealed(&bytes)));
            for changed in [0, 15, 16, 17, 39] {
                let mut bytes = bytes.clone();
                bytes[offset + changed * size_of::<ProgramHeader>()] ^= 1;
                assert!(!are_of(&many, &sealed(&bytes)), "{offset} {changed}");
            }
            assert!(!are_of(&many, &sealed(&bytes[..bytes.len() - 1])), "the last one is not whole");
        }
    }

    /// In memory of which the program has taken a page away.
    #[test]
    fn a_header_is_looked_for_near_the_beginning_of_data() {
        let page = sys::page_size();
        let mut memory = sys::Scratch::new(FURTHEST + page).expect("memory");
        let start = memory.address();
        let headers = [segment(libc::PT_LOAD, libc::PF_R | libc::PF_W, start, FURTHEST + page)];
        let segments = Segments { base: 0, headers: &headers };
        let places = [page, FURTHEST - 8, FURTHEST];
        places.iter().for_each(|&at| memory.bytes()[at..at + 8].copy_from_slice(&abi::header::MAGIC));
        let found = |behind: usize| segments.candidate(start + behind).map(|found| found - start);
        assert_eq!((segments.candidate(0), found(0)), (Some(start + page), Some(page)));
        assert_eq!(found(page), Some(FURTHEST - 8));
        assert_eq!(found(FURTHEST - 8), None, "further in");
        assert_eq!((found(page - 1), found(page - 9)), (Some(page), Some(page)));
        for (kind, flags) in [(libc::PT_LOAD, libc::PF_R), (libc::PT_NOTE, libc::PF_R | libc::PF_W)] {
            let headers = [segment(kind, flags, start, FURTHEST + page)];
            assert_eq!(Segments { base: 0, headers: &headers }.candidate(0), None, "no data");
        }
        let behind = [segment(libc::PT_LOAD, libc::PF_R | libc::PF_W, start + page, page)];
        assert_eq!(Segments { base: 0, headers: &behind }.candidate(0), Some(start + page), "the first that there is");
        // SAFETY: a page of our own, which nobody reads.
        unsafe { sys::protect(start + page, page, libc::PROT_NONE) }.expect("no access");
        assert_eq!(found(0), Some(FURTHEST - 8));
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
        assert!(!is_rewritten(0x3000, 0x3000, false, false), "the code is not behind the data");
        let read_only = [segment(libc::PT_LOAD, libc::PF_R, 0x1000, 0x100), segment(libc::PT_LOAD, X, 0x3000, 0x100)];
        assert!(!Segments { base: 0, headers: &read_only }.are_rewritten(0x2000), "no code before the data");
    }
}
