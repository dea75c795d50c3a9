//! A module in memory of a test's own.
#![allow(unsafe_code)]

use super::outcome::Outcome;
use super::segments::tests::segment;
use super::segments::{ProgramHeader, Segments};
use super::tables::Module;
use invar_abi as abi;
use invar_abi::header::HeaderFault;
use invar_abi::{Distance, Header, KeyRecord, SiteRecord};

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
    pub(super) header: Header,
    pub(super) headers: [ProgramHeader; 4],
    pub(super) notes: [u32; 7],
}

/// How far `to` is from here, in an image.
pub(crate) fn distance<T, U>(from: &T, to: &U) -> Distance {
    Distance::new(((&raw const *to as isize) - (&raw const *from as isize)) as i32)
}

/// So much further.
pub(crate) fn further(distance: Distance, bytes: i32) -> Distance {
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

    pub(crate) fn start(&self) -> usize {
        &raw const *self as usize
    }

    pub(super) fn segments(&self) -> Segments<'_> {
        Segments { base: self.start(), headers: &self.headers }
    }

    pub(crate) fn module(&self) -> Module<'_> {
        self.read().expect("a module")
    }

    pub(super) fn read(&self) -> Result<Module<'_>, HeaderFault> {
        Module::new(c"image", self.segments(), &raw const self.header as usize)
    }
}
