//! Tables in memory: what the runtime and the command see of one module; and each table's bytes by themselves.
#![allow(unsafe_code)] // memory that the runtime reads in its place

use crate::make::{Description, at, put};
use invar::__fuzz as runtime;
use invar::SiteStatus;
use invar_abi::judge::Fault;
use invar_abi::{Header, KeyRecord, SiteRecord, header, machine, outcome, state};
use invar_tool::elf::Headers;
use invar_tool::file::Bytes;
use invar_tool::image::Image;
use invar_tool::inspect::{Standing, inspect};
use invar_tool::module::Module;
use std::cell::RefCell;

/// What an input fills, piece by piece. Its segments are those of the loader, which nobody else writes.
const FILLED: [std::ops::Range<usize>; 6] = [
    at::NOTE..at::NOTE + 28,
    at::HEADER..at::HEADER + Header::LENGTH,
    at::SITES..at::TEXT,
    at::OUTCOME..at::OUTCOME + outcome::LENGTH,
    at::STATES..at::STATES + 3 * state::LENGTH,
    at::TEXT..at::TEXT + 0x200,
];

/// The bytes as the pieces of a module; and as each table.
pub fn run(input: &[u8]) {
    decoded(input);
    let mut memory = Description::of_everything(true).memory(machine::HERE);
    let mut rest = input;
    for piece in FILLED {
        let (given, behind) = rest.split_at(piece.len().min(rest.len()));
        put(&mut memory, piece.start, given);
        rest = behind;
    }
    agree(&memory);
}

/// The pieces as they are right, before and after the module is loaded, and with what was once seen in two ways.
pub fn seeds() -> Vec<Vec<u8>> {
    let pieces = |memory: &[u8]| FILLED.iter().flat_map(|piece| memory[piece.clone()].to_vec()).collect::<Vec<_>>();
    let [before, after] = [false, true].map(|loaded| Description::of_everything(loaded).memory(machine::HERE));
    let with = |changes: &[(usize, &[u8])]| {
        let mut memory = after.clone();
        changes.iter().for_each(|(at, bytes)| put(&mut memory, *at, bytes));
        pieces(&memory)
    };
    vec![
        pieces(&before),
        pieces(&after),
        Vec::new(),
        // The outcome, and a key's state, in memory that is read-only by then.
        with(&[(at::HEADER + 36, &0_u32.wrapping_sub(12).to_le_bytes())]),
        with(&[(at::KEYS, &((at::HEADER - at::KEYS) as u32).to_le_bytes())]),
        // Half a record, where no memory is.
        with(&[(at::HEADER + 20, &[0, 0, 0, 0x40, 4, 0, 0, 0x40])]),
        // Names that are not ASCII, and a note that is padded with something else.
        with(&[(at::NAMES, b"\xff")]),
        with(&[(at::NOTE + 18, b"x")]),
        // What begins as a header does, and ends with its segment.
        with(&[
            (at::TEXT - 16, &header::MAGIC),
            (at::NOTE + 20, &((at::TEXT - 16 - at::NOTE - 20) as u32).to_le_bytes()),
        ]),
    ]
}

/// What was decoded and is written again is the same.
fn decoded(input: &[u8]) {
    if let Some(bytes) = input.first_chunk::<{ Header::LENGTH }>() {
        let header = Header::decode(bytes);
        let numbers = [header.sites_start, header.sites_stop, header.keys_start, header.keys_stop, header.outcome];
        let mut again = [&header.magic[..], &header.version.to_le_bytes(), &header.length.to_le_bytes()].concat();
        again.extend([&header.machine.to_le_bytes()[..], &header.flags.to_le_bytes()].concat());
        again.extend(
            numbers.iter().chain([&header.elf_header, &header.code]).flat_map(|number| number.bytes().to_le_bytes()),
        );
        again.extend(header.address.to_le_bytes());
        assert_eq!(again, bytes);
        assert_eq!(
            header.check(header.machine).is_ok(),
            bytes.starts_with(b"\x89invar\r\n\x02\0\0\0\x38\0") && bytes[16..20] == [0; 4]
        );
    }
    for bytes in input.as_chunks::<16>().0 {
        let site = SiteRecord::decode(bytes);
        let mut again = [site.site, site.target, site.state].map(|distance| distance.bytes().to_le_bytes()).concat();
        again.extend([site.length, site.kind, site.value, site.flags]);
        assert_eq!(again, bytes);
        let key = KeyRecord::decode(bytes);
        let mut again = [key.state, key.names, key.probe].map(|distance| distance.bytes().to_le_bytes()).concat();
        again.extend([&key.names_length.to_le_bytes()[..], &[key.values, key.flags]].concat());
        assert_eq!(again, bytes);
    }
    if let Some(bytes) = input.first_chunk::<{ outcome::LENGTH }>() {
        let seen = outcome::Outcome::decode(bytes);
        let mut again = *bytes;
        put(&mut again, 0, &[seen.phase, seen.reason, seen.writers]);
        for (at, number) in
            [(4, seen.detail), (8, seen.bound), (12, seen.left), (16, outcome::request_to_number(seen.request))]
        {
            put(&mut again, at, &number.to_le_bytes());
        }
        put(&mut again, 24, &seen.nanoseconds.to_le_bytes());
        put(&mut again, 32, &seen.refusals.map(u16::to_le_bytes).concat());
        assert_eq!(again, *bytes);
    }
    if let Some(bytes) = input.first_chunk::<{ state::LENGTH }>() {
        let sealed = state::Sealed::decode(bytes);
        assert_eq!(sealed.is_some(), bytes[1] == 2);
        if let Some(sealed) = sealed {
            assert_eq!((sealed.value, sealed.data.to_le_bytes().as_slice()), (bytes[0], &bytes[8..16]));
            assert!(bytes[18..].starts_with(sealed.evidence));
        }
    }
    assert!(header::candidates(input, 4).all(|at| input[at..].starts_with(&header::MAGIC) && at % 8 == 4));
}

thread_local! {
    /// Memory at an address where a page begins.
    static PAGES: RefCell<Box<Pages>> = RefCell::new(Box::new(Pages([0; 4096])));
}

#[repr(C, align(65536))]
struct Pages([u8; 4096]);

const _: () = assert!(at::END <= 4096);

/// What somebody sees of a module.
#[derive(Debug, Default, PartialEq)]
struct View {
    keys: Vec<(u64, String, Option<u8>)>,
    sites: Vec<String>,
}

fn agree(memory: &[u8]) {
    PAGES.with_borrow_mut(|pages| {
        pages.0.fill(0);
        put(&mut pages.0, 0, memory);
        let base = (&raw const pages.0).addr();
        // The loader relocates this one.
        let code = u64::from_le_bytes(memory[at::HEADER + 48..][..8].try_into().expect("eight bytes"));
        put(&mut pages.0, at::HEADER + 48, &code.wrapping_add(base as u64).to_le_bytes());
        let runtime = seen_by_the_runtime(base);
        let command = seen_by_the_command(base as u64, &pages.0[..at::END]);
        assert_eq!(runtime, command);
    });
}

fn seen_by_the_runtime(base: usize) -> Option<View> {
    let mut view = View::default();
    let look = &mut |seen: runtime::Seen<'_>| match seen {
        runtime::Seen::Key(state, names, value) => {
            let names = String::from_utf8_lossy(names).into_owned();
            view.keys.push(((state - base) as u64, names, value));
        }
        runtime::Seen::Site(status) => view.sites.push(match status {
            SiteStatus::Bound => "bound".into(),
            SiteStatus::Checked => "checked".into(),
            SiteStatus::Foreign => "foreign".into(),
            SiteStatus::Invalid(fault) => fault.describe().into(),
            status => panic!("{status:?}"),
        }),
    };
    // SAFETY: these pages, which nobody else has.
    unsafe { runtime::module(base, look) }.then_some(view)
}

/// A process in which there is nothing else.
struct Process<'a>(u64, Bytes<'a>);

impl Image for Process<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        address.checked_sub(self.0).is_some_and(|offset| self.1.read(offset, buffer))
    }
}

fn seen_by_the_command(base: u64, memory: &[u8]) -> Option<View> {
    let image = Process(base, Bytes(memory));
    let headers = Headers::read(&image, base).expect("headers");
    let module = Module::read(&image, base, &headers).ok()??;
    let keys = module.keys.iter().map(|key| {
        let names: String = std::iter::once(&key.name).chain(&key.values).flat_map(|name| [name, "\0"]).collect();
        (key.state - base, names, key.decided())
    });
    let inspected = module.records().map(|record| (record, inspect(&module, &record, true)));
    let sites = inspected.map(|(record, found)| match found.standing {
        // Without a verdict the command tells which form it is, and to the runtime it is none that should be there.
        Standing::Bound(_) if found.key.is_none_or(|key| key.verdict.is_none()) => "foreign".into(),
        Standing::Bound(_) => "bound".into(),
        Standing::Checked => "checked".into(),
        Standing::Foreign(_) => "foreign".into(),
        Standing::Invalid("removed by a tool") => Fault::Kind.describe().into(),
        Standing::Invalid(why) => why.to_owned(),
        // Kinds of a later version.
        Standing::Unverified(Some(_)) if record.kind > 3 => Fault::Kind.describe().into(),
        // Bound by somebody who did not say where requests go, which the runtime cannot have been.
        Standing::Unverified(_) => "foreign".into(),
    });
    Some(View { keys: keys.collect(), sites: sites.collect() })
}
