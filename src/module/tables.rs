//! One module: its tables, every distance of which was found to lie in it, and what is known of its segments.
#![allow(unsafe_code)]

use super::keys::ModuleKey;
use super::outcome::Outcome;
use super::segments::{Segments, TextSegment, UNLISTED};
use crate::key::state::{RawProbe, State};
use crate::sys::{self, File};
use core::ffi::{CStr, c_char};
use core::ops::Range;
use invar_abi as abi;
use invar_abi::header::HeaderFault;
use invar_abi::{Header, KeyRecord, Kind, Segmented as _, SiteRecord, flags};

/// One module of this process.
#[derive(Clone, Copy)]
pub(crate) struct Module<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) base: usize,
    pub(super) header: &'a Header,
    pub(crate) sites: &'a [SiteRecord],
    keys: &'a [KeyRecord],
    pub(crate) outcome: &'a Outcome,
    /// A tool has moved its code after it was linked: the tables lead to where the code no longer is.
    pub(crate) rewritten: bool,
    segments: Segments<'a>,
}

impl<'a> Module<'a> {
    /// Works out the distances of a header. What does not lie in the module's readable memory is no table.
    #[cold]
    pub(super) fn new(path: &'a CStr, segments: Segments<'a>, header: usize) -> Result<Self, HeaderFault> {
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
        let mut readable = 0..0;
        (start..start + self.keys.len()).find_map(|at| {
            let at = at % self.keys.len();
            let record = &self.keys[at];
            // By the name first, since the rest takes longer.
            let names = self.segments.bytes(&mut readable, record.names.here(), record.names_length as usize)?;
            if !(names.get(name.len()) == Some(&0) && names.starts_with(name)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::image::{Image, distance, further};
    use invar_abi::Distance;
    use std::vec::Vec;

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
}
