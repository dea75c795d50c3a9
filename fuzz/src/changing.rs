//! Memory that is another one at each look: a process that changes while it is read.

use crate::input::Input;
use crate::make::{Description, at};
use crate::{allocated, elf};
use invar_abi::judge::{self, Memory, Standing};
use invar_abi::{Code, Kind, SiteRecord, machine, x86_64};
use invar_tool::elf::Headers;
use invar_tool::image::Image;
use invar_tool::inspect::inspect;
use invar_tool::listing::{self, Listing};
use invar_tool::manifest;
use invar_tool::module::Module;
use invar_tool::sites;
use invar_tool::text::Format;
use std::cell::RefCell;
use std::path::Path;

/// No command looks more often at a module of this size.
const MOST_LOOKS: usize = 20_000;
const MOST_MEMORY: usize = 64 << 20;

/// The first bytes choose the module; each look takes from the others what becomes of it.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let choices = input.byte();
    let bytes = Description::of_everything(choices & 1 != 0).file(machine::X86_64);
    allocated::at_most(MOST_MEMORY, || match choices >> 1 & 3 {
        0 => process(&Changing::new(bytes, input.0)),
        1 => judged(&bytes, &mut input),
        2 => {
            let format = if choices & 8 == 0 { Format::Text } else { Format::Json };
            let mut out = Vec::new();
            let result = sites::of_file(Path::new("file"), &Changing::new(bytes, input.0), format, &mut out);
            _ = elf::said(result, out);
        }
        _ => {
            let mut out = Vec::new();
            let result = manifest::of_file(Path::new("file"), &Changing::new(bytes, input.0), &mut out);
            _ = elf::said(result, out);
        }
    });
}

/// Each way to look, with little that changes and with much; and what a module is judged by, changed early and late.
pub fn seeds() -> Vec<Vec<u8>> {
    let little = [0, 0, 0, 0, 0, 0xf0, 0x40, 0x08, 1, 0, 0, 0xff];
    let much: Vec<u8> = (0..200_u8).map(|at| at.wrapping_mul(37)).collect();
    let ways = (0..16).flat_map(|choice| [[&[choice], &little[..]].concat(), [&[choice], &much[..]].concat()]);
    let looks = (10..100).step_by(10).flat_map(|looks| {
        let late = |step: &[u8]| [&vec![0; looks + 1], step].concat();
        // The outcome's number of sites, and a key's state.
        [late(&[0xc3, 0x48, 0x08, 7, 7, 7, 7]), late(&[0xc1, 0x00, 0x0a, 1, 2])]
    });
    ways.chain(looks).collect()
}

/// An image from which each look takes a step of a script: nothing, a change of some bytes, or a failure.
///
/// Beside it, as it was at first.
struct Changing<'a>(RefCell<State<'a>>, Vec<u8>);

struct State<'a> {
    bytes: Vec<u8>,
    script: Input<'a>,
    looks: usize,
}

impl<'a> Changing<'a> {
    fn new(bytes: Vec<u8>, script: &'a [u8]) -> Self {
        let original = bytes.clone();
        Self(RefCell::new(State { bytes, script: Input(script), looks: 0 }), original)
    }

    fn has_ended(&self) -> bool {
        self.0.borrow().script.0.is_empty()
    }
}

impl Image for Changing<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let state = &mut *self.0.borrow_mut();
        state.looks += 1;
        assert!(state.looks < MOST_LOOKS, "it is looked at without end");
        match state.script.byte() {
            0..0xc0 => {}
            step @ 0xc0..0xf0 => {
                let length = state.bytes.len();
                let place = usize::from(state.script.half()) % length;
                let new = state.script.bytes(usize::from(step % 8) + 1);
                let end = length.min(place + new.len());
                state.bytes[place..end].copy_from_slice(&new[..end - place]);
            }
            _ => return false,
        }
        let start = usize::try_from(address).ok();
        let found = start.and_then(|start| state.bytes.get(start..start.checked_add(buffer.len())?));
        found.is_some_and(|bytes| {
            buffer.copy_from_slice(bytes);
            true
        })
    }
}

/// As a process is looked at: its memory, in place.
fn process(image: &Changing<'_>) {
    let Ok(headers) = Headers::read(image, 0) else { return };
    let Ok(Some(module)) = Module::read(image, 0, &headers) else { return };
    for record in module.records() {
        let found = inspect(&module, &record, true);
        assert!(found.standing.bound_to().is_none() || found.key.is_some());
    }
    let mut text = Vec::new();
    let listing = Listing::new("file".into(), &headers, Ok(module));
    listing::print(&listing, &mut text).expect("text");
    assert!(String::from_utf8(text).is_ok());
    serde_json::to_vec(&listing).expect("JSON");
    // What is called settled is what stands there now.
    let module = listing.module().expect("the module");
    if image.has_ended() && module.is_settled() {
        let verdicts: Vec<_> = module.keys.iter().map(|key| key.decided()).collect();
        let bytes = &image.0.borrow().bytes;
        let now = module.keys.iter().map(|key| {
            let state = &bytes[key.state as usize..];
            (state[1] == 2).then_some(state[0])
        });
        assert_eq!(verdicts, now.collect::<Vec<_>>());
        // Unless its outcome is elsewhere.
        let header = at::HEADER..at::RELRO_END;
        if bytes[header.clone()] == image.1[header] && !module.note_was_moved {
            let outcome = &bytes[at::OUTCOME..];
            let number =
                |at: usize| u32::from_le_bytes([outcome[at], outcome[at + 1], outcome[at + 2], outcome[at + 3]]);
            assert_eq!((outcome[0] != 0, number(8)), (module.outcome.loaded, module.outcome.bound));
        }
    }
}

/// The judge alone, by answers that need not fit each other.
fn judged(bytes: &[u8], input: &mut Input<'_>) {
    struct Answers<'a, 'b> {
        bytes: &'a [u8],
        input: &'a mut Input<'b>,
        last: Vec<u8>,
        number: Option<u64>,
    }
    impl Memory for Answers<'_, '_> {
        type Key = ();

        fn is_text(&mut self, _: u64, _: u8) -> bool {
            self.input.byte() < 0xf0
        }

        fn is_slot(&mut self, _: u64, _: u8) -> bool {
            self.input.byte() < 0xf0
        }

        fn is_loaded(&mut self, _: u64) -> bool {
            self.input.byte() < 0xf0
        }

        fn number(&mut self, (): ()) -> Option<u64> {
            let answer = self.input.byte();
            self.number = (answer < 0xf0).then(|| u64::from(answer) << (answer % 57));
            self.number
        }

        fn key(&mut self, _: u64) -> Option<((), u8)> {
            let answer = self.input.byte();
            (answer < 0xf0).then_some(((), answer))
        }

        fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool {
            assert!(bytes.len() <= Code::LONGEST);
            let answer = self.input.byte();
            let start = usize::try_from(address).ok();
            match start.and_then(|start| self.bytes.get(start..start.checked_add(bytes.len())?)) {
                Some(found) if answer < 0x80 => bytes.copy_from_slice(found),
                _ => {
                    let given = self.input.bytes(bytes.len());
                    bytes[..given.len()].copy_from_slice(given);
                }
            }
            self.last = bytes.to_vec();
            answer < 0xf0
        }
    }
    while !input.0.is_empty() {
        let number = usize::from(input.byte());
        let address = at::SITES + 16 * (number % 5);
        let mut record = [0; SiteRecord::LENGTH];
        record.copy_from_slice(&bytes[address..][..SiteRecord::LENGTH]);
        if number >= 0x80 {
            let given = input.bytes(SiteRecord::LENGTH);
            record[..given.len()].copy_from_slice(given);
        }
        let record = SiteRecord::decode(&record);
        let request = [None, Some(-0x64), Some(i32::from(input.byte()))][number % 3];
        let mut answers = Answers { bytes, input, last: Vec::new(), number: None };
        let Ok((site, ())) = judge::site(&record, record.places(address as u64), &mut answers) else { continue };
        if site.kind == Kind::Pointer {
            // What its slot leads to is no code.
            continue;
        }
        let Ok(standing) = judge::standing(&site, (), request, &mut answers) else { continue };
        // What is told is what was read last.
        let seen = &answers.last[..];
        assert_eq!(seen.len(), usize::from(site.length));
        let is = |form: Option<Code>| form.is_some_and(|form| form.write_to(&mut [0; Code::LONGEST]) == seen);
        let another = |request| x86_64::goes(&site, request);
        let is_known = !site.kind.is_slice() || request.is_some();
        let number = answers.number;
        let expected = match () {
            () if is(x86_64::checked(&site)) => Standing::Checked,
            () if site.kind == Kind::Constant && is(number.and_then(|number| x86_64::constant(&site, number))) => {
                Standing::FallsThrough
            }
            () if is(x86_64::falls_through(&site)) => Standing::FallsThrough,
            () if is_known && is(another(request.unwrap_or(0))) => Standing::Goes,
            // Four bytes of both kinds' forms say where requests go.
            () if !is_known && is(another(i32::from_le_bytes(seen[5..9].try_into().expect("four bytes")))) => {
                Standing::Requests
            }
            () => Standing::Foreign,
        };
        assert_eq!(standing, expected);
    }
}
