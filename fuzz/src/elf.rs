//! Files: what the command says of one that is not what it seems, and of one that is.

use crate::allocated;
use crate::input::Input;
use crate::make::{Description, at, put};
use invar_abi::machine;
use invar_tool::elf::Headers;
use invar_tool::error::Error;
use invar_tool::file::{Bytes, Segments};
use invar_tool::module::Module;
use invar_tool::symbols::Symbols;
use invar_tool::text::Format;
use invar_tool::{manifest, sites};
use reference::Image;
use serde_json::Value;
use std::path::Path;

/// The independent reader.
#[path = "../../tests/common/elf.rs"]
#[allow(dead_code, unreachable_pub)] // the tests', which use all of it
mod reference;

/// A listing may hold this much at one time, beside what it has written.
const MOST_MEMORY: usize = 64 << 20;

/// The bytes as a file; and a file that is well formed, by the same bytes.
pub fn run(input: &[u8]) {
    survives(input);
    agree(&Description::by(&mut Input(input)));
}

/// Files of each sort that this machine's command knows.
pub fn seeds() -> Vec<Vec<u8>> {
    let [before, after] = [false, true].map(Description::of_everything);
    // Evidence, and a function's name, that speak to the terminal.
    let mut speaking = after.file(machine::X86_64);
    let function = speaking.windows(5).position(|bytes| bytes == b"first").expect("a name");
    put(&mut speaking, function, b"\x1b[2J");
    put(&mut speaking, at::STATES + 18, b"\x1b[J");
    vec![
        speaking,
        before.file(machine::X86_64),
        after.file(machine::X86_64),
        before.file(machine::AARCH64),
        Description::default().file(machine::X86_64),
        // Descriptions: of two keys and eight sites, and of four keys.
        vec![0x87, 0xff, 1, 1, 3, 7, 7, 7, 2, 8, 9, 0, 9, 4, 4, 0, 0, 1, 0, 1, 1, 2, 2],
        vec![0x04, 0xff, 1, 1, 3, 7, 7, 7, 2, 8, 9, 0, 9, 4, 4, 0, 0, 1, 0, 1, 1, 2, 2],
    ]
}

/// What the command says of a file, and fails where it may not.
fn list(file: &[u8], format: Format) -> Result<String, String> {
    // A listing grows with the file, and is the reader's to keep.
    let mut out = Vec::with_capacity(256 * file.len() + (1 << 20));
    let room = out.capacity();
    let result = allocated::at_most(MOST_MEMORY, || sites::of_file(Path::new("file"), &Bytes(file), format, &mut out));
    assert!(out.capacity() == room, "{} bytes are said of a file of {}", out.len(), file.len());
    said(result, out)
}

/// What was written, or why the file cannot be used.
pub(crate) fn said(result: invar_tool::error::Result<()>, out: Vec<u8>) -> Result<String, String> {
    match result {
        Ok(()) => Ok(String::from_utf8(out).expect("UTF-8")),
        Err(Error::Input(_, why)) => {
            assert!(out.is_empty() && !why.contains('\n'), "{why}");
            Err(why)
        }
        Err(error) => panic!("{error}"),
    }
}

/// Both forms of a listing come out, or neither. A manifest names what lies in the file, and the sites that are listed as checked.
fn survives(file: &[u8]) {
    let text = list(file, Format::Text);
    let json = list(file, Format::Json);
    assert_eq!(text.as_ref().err(), json.as_ref().err());
    let listed = text.ok().map(|text| {
        let control = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(control), "{text:?}");
        let document: Value = serde_json::from_str(&json.expect("the same")).expect("JSON");
        assert_eq!(document["modules"].as_array().expect("modules").is_empty(), text.contains(": no sites"));
        document
    });
    let mut out = Vec::new();
    let result = manifest::of_file(Path::new("file"), &Bytes(file), &mut out);
    let Ok(manifest) = said(result, out) else { return };
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let sites = manifest["sites"].as_array().expect("sites");
    for site in sites {
        let number = |name: &str| site[name].as_u64().expect("a number");
        assert!(number("offset") + number("length") <= file.len() as u64, "{site:#}");
    }
    let document = listed.expect("what has a manifest is listed");
    let records = document["modules"].as_array().and_then(|modules| modules.first()?["sites"].as_array());
    let is_checked = |record: &&Value| record["status"] == "checked";
    let checked = records.map_or(0, |records| records.iter().filter(is_checked).count());
    assert_eq!(sites.len(), checked, "{manifest:#}\n{document:#}");
}

/// The reader that was written after the document alone sees the same keys and records.
fn agree(described: &Description) {
    let file = described.file(machine::X86_64);
    let bytes = Bytes(&file);
    let headers = Headers::of_loadable(&bytes).expect("headers");
    let segments = Segments::new(&bytes, &headers);
    let module = Module::read(&segments, 0, &headers).expect("a module that can be read").expect("a module");
    let reference = Image::parse(file.clone());
    assert_eq!(module.invalid_keys, []);
    assert!(!module.note_was_moved);

    let symbols = Symbols::read(&bytes, &headers);
    let names = [0x10, 0x90].map(|into| symbols.find(at::TEXT as u64 + into).map(|place| place.to_string()));
    assert_eq!(names, ["first+0x10", "fuzz::second+0x10"].map(|name| Some(name.into())));

    let keys = reference.key_records();
    assert_eq!((keys.len(), keys.len()), (module.keys.len(), described.keys.len()));
    for ((key, record), known) in module.keys.iter().zip(&keys).zip(&described.keys) {
        let seen = (&key.name, key.values.len(), key.state);
        assert_eq!(seen, (&record.name, usize::from(record.values), record.state));
        assert_eq!((&key.name, &key.values, key.decided()), (&known.name, &known.values, known.sealed));
    }
    let records = reference.site_records();
    assert_eq!((records.len() as u64, records.len()), (module.records_len(), described.sites.len()));
    for (record, known) in module.records().zip(&records) {
        let seen =
            (record.address, record.target, record.state, record.length, record.kind, record.value, record.flags);
        assert_eq!(seen, (known.site, known.target, known.state, known.length, known.kind, known.value, known.flags));
        let code = module.code(record.address, record.length).expect("code");
        assert_eq!(code, reference.at(known.site, known.length.into()));
        let found = invar_tool::inspect::inspect(&module, &record, true);
        let described = described.sites[record.index as usize];
        match described.bound {
            None => assert_eq!(found.standing.name(), "checked"),
            Some(value) => {
                let value = described.bound.and(module.keys.get(described.key)).map(|key| key.value_name(value));
                // A request that nothing leads to is none before the module is loaded.
                let is_known = known.kind == 1
                    || module.outcome.request().is_some()
                    || described.value == described.bound.unwrap();
                assert!(found.standing.bound_to() == value.as_deref() || !is_known, "{:?}", found.standing);
            }
        }
    }
}
