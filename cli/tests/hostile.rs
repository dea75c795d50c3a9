//! `invar sites` on files that are not what they seem: it lists or refuses them, and neither panics nor takes more
//! memory than the file gives reason for. Each case is one that is known; `fuzz/` looks for others.

mod common;

use common::{ANYWHERE, HAS_SITES, INVAR, run_singly, sites, test};
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use goblin::elf::section_header::SHT_SYMTAB;
use invar_tool::error::Error;
use invar_tool::file::Bytes;
use invar_tool::manifest;
use invar_tool::sites::of_file;
use invar_tool::text::Format;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn main() -> ExitCode {
    // One after the other, since memory is counted.
    run_singly([
        test("any length of a file is listed or refused", ANYWHERE, any_length_is_listed_or_refused),
        test("wrong headers are refused", ANYWHERE, wrong_headers_are_refused),
        test("what is never loaded is refused", ANYWHERE, what_is_never_loaded_is_refused),
        test("a short header is whole", ANYWHERE, a_short_header_is_whole),
        test("a wrong note is refused", ANYWHERE, a_wrong_note_is_refused),
        test("a wrong header is refused", ANYWHERE, a_wrong_header_is_refused),
        test("a header is found where no note leads to it", ANYWHERE, a_header_is_found_where_no_note_leads_to_it),
        test("headers are not looked for without end", ANYWHERE, headers_are_not_looked_for_without_end),
        test("absurd segments are not believed", ANYWHERE, absurd_segments_are_not_believed),
        test("section headers are not needed", ANYWHERE, section_headers_are_not_needed),
        test("wrong site records are listed as such", sites(), wrong_site_records_are_listed_as_such),
        test("blank records take one line", ANYWHERE, blank_records_take_one_line),
        test("wrong key records are listed as such", ANYWHERE, wrong_key_records_are_listed_as_such),
        test("long names are not kept without end", ANYWHERE, long_names_are_not_kept_without_end),
        test("names cannot speak to the terminal", ANYWHERE, names_cannot_speak_to_the_terminal),
        test("another machine's sites are not checked", sites(), another_machines_sites_are_not_checked),
        test("a class or byte order that is not there", ANYWHERE, a_class_or_byte_order_that_is_not_there),
    ])
}

/// The file that all others are made of: this command's, cut short behind its segments, so that each case is quick.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut file = std::fs::read(INVAR).unwrap();
    let elf = goblin::elf::Elf::parse(&file).unwrap();
    let loads = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    let end = loads.map(|load| load.file_range().end).max().unwrap();
    file.truncate(end);
    file[SECTION_OFFSET..SECTION_OFFSET + 8].fill(0);
    file[SECTION_COUNT..SECTION_COUNT + 2].fill(0);
    file
});

// Where the ELF header has what (elf(5)).
const CLASS: usize = 4;
const ORDER: usize = 5;
const TYPE: usize = 16;
const MACHINE: usize = 18;
const PROGRAM_OFFSET: usize = 32;
const SECTION_OFFSET: usize = 40;
const PROGRAM_SIZE: usize = 54;
const PROGRAM_COUNT: usize = 56;
const SECTION_SIZE: usize = 58;
const SECTION_COUNT: usize = 60;
const PROGRAM_HEADER: usize = 56;

/// Where things are in `FILE`, by its own note. Note and tables are in the first segment, so that distances there are those in the
/// file.
struct Places {
    program_headers: Range<usize>,
    note: usize,
    /// The module's header, and how much further it is in memory.
    header: usize,
    further: usize,
    sites: Range<usize>,
    keys: Range<usize>,
}

static PLACES: LazyLock<Places> = LazyLock::new(|| {
    let elf = goblin::elf::Elf::parse(&FILE).unwrap();
    let notes = elf.program_headers.iter().filter(|header| header.p_type == PT_NOTE);
    let is_ours = |note: &usize| FILE[*note..].starts_with(b"\x06\0\0\0\x08\0\0\0\x02\0\0\0invar\0");
    let note = notes.flat_map(|note| note.file_range()).step_by(4).find(is_ours).expect("the note");
    let descriptor = note + 20;
    let first = elf.program_headers.iter().find(|header| header.p_type == PT_LOAD).unwrap();
    assert!(first.p_offset == 0 && note < first.p_filesz as usize);
    let leads_to = |field: usize, address: usize| {
        let distance = i32::from_le_bytes(FILE[field..field + 4].try_into().unwrap());
        address.wrapping_add_signed(distance as isize)
    };
    let address = leads_to(descriptor, descriptor);
    let data = elf.program_headers.iter().find(|load| load.p_type == PT_LOAD && load.vm_range().contains(&address));
    let data = data.expect("the header's segment");
    let further = (data.p_vaddr - data.p_offset) as usize;
    let header = address - further;
    assert!(FILE[header..].starts_with(MAGIC));
    let at = |field: usize| leads_to(header + field, address + field);
    let tables = [at(20)..at(24), at(28)..at(32)];
    let [sites, keys] = tables.map(|table| if table.is_empty() { 0..0 } else { table });
    let headers = elf.header.e_phoff as usize;
    let program_headers = headers..headers + elf.program_headers.len() * PROGRAM_HEADER;
    Places { program_headers, note, header, further, sites, keys }
});

/// What a module's header begins with, and how long it is (docs/site-abi.md).
const MAGIC: &[u8; 8] = b"\x89invar\r\n";
const HEADER: usize = 56;

/// A listing may take this much, whatever the file says.
const MOST_MEMORY: usize = 64 << 20;

/// More than a listing of this file can be long. Memory that is not touched costs nothing.
const MOST_OUTPUT: usize = 512 << 20;

/// What the command says of a file.
fn list(file: &[u8], format: Format) -> Result<String, String> {
    // Made before anything is counted: what is written grows with the file, and is the reader's to keep.
    let mut out = Vec::with_capacity(MOST_OUTPUT);
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = of_file(Path::new("file"), &Bytes(file), format, &mut out);
    let taken = PEAK.load(Relaxed) - before;
    assert!(taken < MOST_MEMORY, "took {taken} bytes");
    match result {
        Ok(()) => Ok(String::from_utf8(out).expect("UTF-8")),
        Err(Error::Input(_, why)) => {
            assert!(out.is_empty() && !why.contains('\n'), "{why}");
            Err(why)
        }
        Err(error) => panic!("{error}"),
    }
}

/// What a manifest names lies in the file; or there is none, for a reason.
fn manifest(file: &[u8]) {
    let mut out = Vec::new();
    match manifest::of_file(Path::new("file"), &Bytes(file), &mut out) {
        Ok(()) => {
            let document: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            for site in document["sites"].as_array().expect("sites") {
                let end = site["offset"].as_u64().unwrap() + site["length"].as_u64().unwrap();
                assert!(end <= file.len() as u64, "{site:#}");
            }
        }
        Err(Error::Input(_, why)) => assert!(out.is_empty() && !why.contains('\n'), "{why}"),
        Err(error) => panic!("{error}"),
    }
}

/// Both forms of a listing must come out, or neither.
fn survives(file: &[u8]) {
    manifest(file);
    let text = list(file, Format::Text);
    let json = list(file, Format::Json);
    assert_eq!(text.as_ref().err(), json.as_ref().err());
    if let Ok(text) = text {
        assert!(!text.contains('\u{1b}'));
        let document: serde_json::Value = serde_json::from_str(&json.unwrap()).expect("JSON");
        assert_eq!(document["modules"].as_array().unwrap().is_empty(), text.contains(": no sites"));
    }
}

/// The file with one change.
fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = FILE.clone();
    change(&mut file);
    file
}

/// The file with these bytes at this place.
fn with_at<const N: usize>(offset: usize, bytes: [u8; N]) -> Vec<u8> {
    with(|file| file[offset..offset + N].copy_from_slice(&bytes))
}

fn refusal(file: &[u8]) -> String {
    list(file, Format::Json).expect_err("refused");
    list(file, Format::Text).expect_err("refused")
}

fn listed(file: &[u8]) -> String {
    survives(file);
    list(file, Format::Text).expect("listed")
}

fn any_length_is_listed_or_refused() {
    let length = FILE.len();
    let lengths = (0..300).chain((300..length).step_by(length / 200)).chain(length - 50..=length);
    for length in lengths {
        survives(&FILE[..length]);
    }
    assert_eq!(refusal(&FILE[..3]), "not an ELF file");
    assert_eq!(refusal(&FILE[..40]), "the ELF header is cut off");
    assert_eq!(refusal(&FILE[..100]), "the program headers do not lie in the file");
    assert_eq!(refusal(&FILE[..PLACES.note]), "the file is cut off before the end of its segments");
    assert_eq!(refusal(&FILE[..PLACES.keys.start + 8]), "the module's header is cut off");
    let cut_off = file_of_keys(1, b"name\0off\0on\0");
    assert_eq!(refusal(&cut_off[..KEYS + 8]), "the key table is cut off");
    // What is left of the text is listed, and the rest as it is.
    let text = listed(&FILE[..FILE.len() - 1]);
    assert!(text.contains("the file is cut off"), "{text}");
}

fn write(file: &mut [u8], at: usize, number: u32) {
    file[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn wrong_headers_are_refused() {
    let outside = "the program headers do not lie in the file";
    for offset in [u64::MAX, u64::MAX - 64, 1 << 63, FILE.len() as u64, FILE.len() as u64 - 8] {
        assert_eq!(refusal(&with_at(PROGRAM_OFFSET, offset.to_le_bytes())), outside);
    }
    let absurd = "the program headers have a size or number that no program has";
    for size in [0, 1, 32, 57, u16::MAX] {
        assert_eq!(refusal(&with_at(PROGRAM_SIZE, size.to_le_bytes())), absurd);
    }
    for count in [u16::MAX, 0x8000, 1171] {
        assert_eq!(refusal(&with_at(PROGRAM_COUNT, count.to_le_bytes())), absurd);
    }
    let none = listed(&with_at(PROGRAM_COUNT, [0, 0]));
    assert_eq!(none, "file: no sites (no program headers: nothing that could be loaded)\n");
}

fn what_is_never_loaded_is_refused() {
    assert!(refusal(&with_at(TYPE, [1, 0])).starts_with("an object file, not linked yet: "));
    assert!(refusal(&with_at(TYPE, [4, 0])).starts_with("a core dump, "));
    for kind in [[0, 0], [5, 0], [0, 0xff]] {
        assert!(refusal(&with_at(TYPE, kind)).starts_with("neither a program nor a shared library"));
    }
    assert!(listed(&with_at(TYPE, [2, 0])).starts_with("file: x86-64, "));
}

fn a_short_header_is_whole() {
    let mut file = vec![0; 52];
    file[..20].copy_from_slice(&FILE[..20]);
    file[CLASS] = 1;
    assert_eq!(listed(&file), "file: no sites (no program headers: nothing that could be loaded)\n");
    assert_eq!(refusal(&file[..51]), "the ELF header is cut off");
}

fn a_wrong_note_is_refused() {
    let note = PLACES.note;
    let version = refusal(&with_at(note + 8, [3, 0, 0, 0]));
    assert_eq!(version, "its note (type 3, 8 bytes) is of an ABI version that this command does not know");
    let version = refusal(&with_at(note + 4, [4, 0, 0, 0]));
    assert_eq!(version, "its note (type 2, 4 bytes) is of an ABI version that this command does not know");
    for name in [0, 7, u32::MAX, 0x8000_0000] {
        assert_eq!(listed(&with_at(note, name.to_le_bytes())), "file: no sites\n");
    }
    assert_eq!(listed(&with_at(note + 4, [0xff; 4])), "file: no sites\n");
    assert_eq!(listed(&with_at(note + 12, *b"INVAR")), "file: no sites\n");
}

fn a_wrong_header_is_refused() {
    let Places { header, further, .. } = *PLACES;
    let unknown = |field| format!("its header is of an ABI version that this command does not know, by its {field}");
    assert_eq!(refusal(&with_at(header + 8, [3])), unknown("version"));
    assert_eq!(refusal(&with_at(header + 12, [64])), unknown("length"));
    assert_eq!(refusal(&with_at(header + 19, [1])), unknown("flags"));
    let machine = u16::from_le_bytes(FILE[MACHINE..MACHINE + 2].try_into().unwrap());
    let other = format!("its header is for another machine than the file's, which is {machine}");
    assert_eq!(refusal(&with_at(header + 14, [machine as u8 ^ 1])), other);
    let nowhere = "its note leads to no header, and none that can be used is elsewhere";
    for (at, byte) in MAGIC.iter().enumerate() {
        assert_eq!(refusal(&with_at(header + at, [byte ^ 0x20])), nowhere);
    }

    for (table, field) in [("site", 20), ("key", 28)] {
        let outside = format!("the {table} table does not lie in the module's readable memory");
        // From the first address there is, for two gigabytes.
        let wide = with(|file| {
            write(file, header + field, 0_u32.wrapping_sub((header + further + field) as u32));
            write(file, header + field + 4, 0x7fff_ffff);
        });
        assert_eq!(refusal(&wide), outside);
        let backwards = with(|file| {
            write(file, header + field, 0x7fff_ffff);
            write(file, header + field + 4, 0);
        });
        assert_eq!(refusal(&backwards), format!("the {table} table ends before it starts"));
        let odd = with(|file| {
            write(file, header + field, 1);
            write(file, header + field + 4, 21);
        });
        assert_eq!(refusal(&odd), outside);
    }
    let outcome = "the module's outcome is not in writable memory";
    assert_eq!(refusal(&with_at(header + 36, i32::MAX.to_le_bytes())), outcome);
    assert_eq!(refusal(&with_at(header + 36, [1, 0, 0, 0])), outcome);
    // What stands where no table should be is listed as far as it goes.
    survives(&with(|file| {
        write(file, header + 20, 0_u32.wrapping_sub((header + further) as u32 + 20));
        write(file, header + 24, 0x10000);
    }));
    // What only the process itself has a use for.
    let plain = listed(&FILE);
    for at in (40..HEADER).step_by(4) {
        assert_eq!(listed(&with_at(header + at, [0x77; 4])), plain);
    }
}

/// As patchelf, auditwheel and conda leave a file. That its note leads elsewhere is said, and all else is as it was.
fn a_header_is_found_where_no_note_leads_to_it() {
    let Places { note, header, .. } = *PLACES;
    let distance = u32::from_le_bytes(FILE[note + 20..note + 24].try_into().unwrap());
    let moved = |by: i32| with(|file| write(file, note + 20, distance.wrapping_add_signed(by)));
    let plain = listed(&FILE);
    let remark = "its note leads elsewhere, as tools move notes: its header was found by its first bytes";
    // The last leads to what the loader fills with zeros.
    let loads = goblin::elf::Elf::parse(&FILE).unwrap().program_headers;
    let end = loads.iter().filter(|load| load.p_type == PT_LOAD).map(|load| load.vm_range().end).max().unwrap();
    let zeros = ((end - 8) & !7) as i32 - (header + PLACES.further) as i32;
    for by in [1, 4, 8, -8, 4096, -4096, i32::MAX, i32::MIN, zeros] {
        let text = listed(&moved(by));
        let lines: Vec<_> = text.lines().filter(|line| line.trim() != remark).collect();
        assert_eq!(lines, plain.lines().collect::<Vec<_>>(), "{by}");
        assert_eq!(text.lines().count(), lines.len() + 1, "{by}: {text}");
    }
    // One that is broken is no better for being looked for.
    let mut broken = moved(8);
    broken[header + 8] = 3;
    assert_eq!(refusal(&broken), "its note leads to no header, and none that can be used is elsewhere");
}

/// Whatever a file is filled with, and however large it says that it is.
fn headers_are_not_looked_for_without_end() {
    let mut file = file_of_keys(1, b"name\0off\0on\0");
    let at = file.windows(6).position(|bytes| bytes == b"invar\0").expect("the note") + 8;
    write(&mut file, at, 4);
    assert!(listed(&file).contains("\n  name  off|on"), "it is found");
    // Each of these looks like one, and the one that is comes behind them. The runtime looks at as many.
    for (count, is_found) in [(1 << 20, false), (64, false), (63, true)] {
        let filled = [&file[..HEADER_PLACE], &MAGIC.repeat(count), &file[HEADER_PLACE..]].concat();
        let moved = extended(filled, 8 * count);
        let found = list(&moved, Format::Text);
        assert_eq!(found.is_ok(), is_found, "{found:?}");
    }
    for size in [1 << 20, 1 << 40, 1 << 62, u64::MAX - 0x1000] {
        file[HEADER_PLACE] = 0;
        file[64 + 32..64 + 40].copy_from_slice(&size.to_le_bytes());
        file[64 + 40..64 + 48].copy_from_slice(&size.to_le_bytes());
        assert!(list(&file, Format::Text).is_err());
    }
}

/// Makes a file of keys whole again in which so much has been put in front of the header.
fn extended(mut file: Vec<u8>, more: usize) -> Vec<u8> {
    let header = HEADER_PLACE + more;
    // What stands in front of it is further back; what stands behind has moved with it.
    let outcome = header + 36;
    let distance = u32::from_le_bytes(file[outcome..outcome + 4].try_into().unwrap());
    write(&mut file, outcome, distance.wrapping_sub(more as u32));
    let record = KEYS + more;
    for field in [record, record + 8] {
        let distance = u32::from_le_bytes(file[field..field + 4].try_into().unwrap());
        write(&mut file, field, distance.wrapping_sub(more as u32));
    }
    let length = (file.len() as u64).to_le_bytes();
    for size in [64 + 32, 64 + 40] {
        file[size..size + 8].copy_from_slice(&length);
    }
    file
}

fn absurd_segments_are_not_believed() {
    let headers = PLACES.program_headers.clone();
    // p_type, p_flags, p_offset, p_vaddr, p_filesz, p_memsz, p_align.
    for (field, size) in [(0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8), (48, 8)] {
        for header in headers.clone().step_by(PROGRAM_HEADER) {
            for value in [0, 1, u64::MAX, u64::MAX - 0xfff, 1 << 63, 1 << 47, 0xffff_ffff] {
                let at = header + field;
                survives(&with(|file| file[at..at + size].copy_from_slice(&value.to_le_bytes()[..size])));
            }
        }
    }
    // Every note as long as there are addresses, and every segment too.
    survives(&with(|file| {
        for header in headers.step_by(PROGRAM_HEADER) {
            file[header + 32..header + 48].fill(0x7f);
        }
    }));
}

fn section_headers_are_not_needed() {
    let whole = std::fs::read(INVAR).unwrap();
    let elf = goblin::elf::Elf::parse(&whole).unwrap();
    let (offset, count) = (elf.header.e_shoff as usize, elf.header.e_shnum as usize);
    let table = offset..offset + count * elf.header.e_shentsize as usize;
    let has_names = |file: &[u8]| listed(file).contains("invar_tool::own::add");
    assert_eq!(has_names(&whole), HAS_SITES);

    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = whole.clone();
        change(&mut file);
        file
    };
    let doubled = changed(&|file| {
        let new = file.len() as u64;
        file.extend_from_within(table.clone());
        file.extend_from_within(table.clone());
        file[SECTION_OFFSET..SECTION_OFFSET + 8].copy_from_slice(&new.to_le_bytes());
        file[SECTION_COUNT..SECTION_COUNT + 2].copy_from_slice(&(2 * count as u16).to_le_bytes());
    });
    assert_eq!(has_names(&doubled), HAS_SITES);
    for offset in [u64::MAX, whole.len() as u64, whole.len() as u64 - 64, 1] {
        let away = changed(&|file| file[SECTION_OFFSET..SECTION_OFFSET + 8].copy_from_slice(&offset.to_le_bytes()));
        assert!(!has_names(&away));
    }
    for number in [0, 1, u16::MAX] {
        survives(&changed(&|file| file[SECTION_COUNT..SECTION_COUNT + 2].copy_from_slice(&number.to_le_bytes())));
        survives(&changed(&|file| file[SECTION_SIZE..SECTION_SIZE + 2].copy_from_slice(&number.to_le_bytes())));
    }
    // st_size of every symbol: 1 reaches no site, and 0 says nothing.
    let symbols = elf.section_headers.iter().find(|section| section.sh_type == SHT_SYMTAB).expect("symbols");
    let symbols = symbols.file_range().unwrap();
    for (size, reaches) in [(1_u64, false), (0, HAS_SITES)] {
        let sized = changed(&|file| {
            for symbol in symbols.clone().step_by(24) {
                file[symbol + 16..symbol + 24].copy_from_slice(&size.to_le_bytes());
            }
        });
        assert_eq!(listed(&sized).contains("invar_tool::own::add+"), reaches);
    }
    // sh_offset, sh_size, sh_link, sh_entsize of every section.
    for (field, size) in [(24, 8), (32, 8), (40, 4), (56, 8)] {
        for value in [0, 3, u64::MAX, 1 << 62] {
            survives(&changed(&|file| {
                for section in table.clone().step_by(64) {
                    file[section + field..section + field + size].copy_from_slice(&value.to_le_bytes()[..size]);
                }
            }));
        }
    }
}

fn wrong_site_records_are_listed_as_such() {
    let all = PLACES.sites.len() / 16;
    let first = PLACES.sites.start;
    let tally = format!("\n{all} sites: {} checked, 1 invalid\n", all - 1);
    let outside = "site or target outside the module's text";
    for (file, why) in [
        (with_at(first, [0; 16]), "removed by a tool"),
        (with_at(first + 15, [2]), "unknown kind or flags"),
        (with_at(first + 13, [0]), "unknown kind or flags"),
        (with_at(first + 13, [7]), "unknown kind or flags"),
        (with_at(first + 15, [3]), "unknown kind or flags"),
        (with(|file| file[first + 13..first + 16].copy_from_slice(&[4, 1, 1])), "unknown kind or flags"),
        (with_at(first + 13, [200]), "unknown kind or flags"),
        (with_at(first + 13, [4]), "slot outside the module's data, or target outside the module"),
        (with_at(first, [0, 0, 0, 0x80]), outside),
        (with_at(first, [0, 0, 0, 0]), outside),
        (with_at(first + 4, [0xff, 0xff, 0xff, 0x7f]), outside),
        (with_at(first + 8, [0; 4]), "no key has its state there"),
        (with_at(first + 12, [0]), "no site of this kind has this length"),
        (with_at(first + 12, [12]), "no site of this kind has this length"),
        (with_at(first + 12, [255]), "no site of this kind has this length"),
    ] {
        let text = listed(&file);
        // Long lines are wrapped.
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!(" invalid: {why} ")), "{why}: {text}");
        let is_too_long = |line: &&str| line.chars().count() > 100 && !line.contains("::");
        assert_eq!(text.lines().find(is_too_long), None);
        assert!(text.ends_with(&tally), "{why}: {text}");
    }

    // Records of the newer kinds say nothing that the code does not.
    let kinds = |kind: u8| PLACES.sites.clone().step_by(16).filter(move |record| FILE[record + 13] == kind);
    for (kind, at, bytes, why) in [
        (6, 4, &[0, 0, 0, 0][..], "site or target outside the module's text"),
        (
            6,
            14,
            &[63],
            "it is not as the code behind the site says, or the record for the key's value is not in its place",
        ),
        (6, 12, &[10], "no site of this kind has this length"),
        (5, 4, &[0, 0, 0, 0], "its number is not its key's"),
        (5, 14, &[16], "no site of this kind has this length"),
        (5, 14, &[32], "no site of this kind has this length"),
    ] {
        let record = kinds(kind).next().expect("a record of this kind");
        let text = listed(&with(|file| file[record + at..][..bytes.len()].copy_from_slice(bytes)));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!(" invalid: {why} ")), "{kind} {at}: {text}");
    }

    // A slice enter as the branch that it looks like is one; a branch as a slice enter is not.
    let records = PLACES.sites.clone().step_by(16);
    for record in records.filter(|record| FILE[record + 13] == 1 && FILE[record + 15] == 0) {
        let text = listed(&with_at(record + 13, [2]));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(" invalid: no site of this kind can depend on this key "), "{text}");
    }
    let twice = with(|file| {
        file.copy_within(first..first + 16, first + 16);
        for distance in [first + 16, first + 20, first + 24] {
            let of_first = u32::from_le_bytes(file[distance..distance + 4].try_into().unwrap());
            write(file, distance, of_first.wrapping_sub(16));
        }
    });
    assert!(listed(&twice).ends_with(&format!("\n{all} sites: {all} checked\n")));
}

fn blank_records_take_one_line() {
    let names = b"name\0off\0on\0";
    let mut file = file_of_keys(1, names);
    let table = file.len().next_multiple_of(4);
    file.resize(table + 16 * 10_000, 0);
    // One of them says something, if nothing that makes sense.
    file[table + 16 * 7_000 + 13] = 77;
    set_sites(&mut file, table, 10_000);
    let text = listed(&file);
    let blank = |records: &str| format!("\n  records {records}: invalid: removed by a tool\n");
    assert!(text.contains(&blank("0 to 6999")) && text.contains(&blank("7001 to 9999")), "{text}");
    assert!(text.ends_with("\n10000 sites: 10000 invalid\n"), "{text}");
    assert!(text.lines().count() < 20, "{text}");
    let document: serde_json::Value = serde_json::from_str(&list(&file, Format::Json).unwrap()).unwrap();
    assert_eq!(document["modules"][0]["sites"].as_array().unwrap().len(), 10_000);
}

fn wrong_key_records_are_listed_as_such() {
    let first = PLACES.keys.start;
    for (file, why) in [
        (with_at(first + 14, [1]), "a key has 2 to 64 values"),
        (with_at(first + 14, [255]), "a key has 2 to 64 values"),
        (with_at(first + 14, [40]), "it has not as many names as values"),
        (with_at(first + 12, [0, 0]), "it has not as many names as values"),
        (with_at(first + 12, [0xff, 0xff]), ""),
        (with_at(first + 4, [0, 0, 0, 0x80]), "its names are not in readable memory"),
        (with_at(first, [0; 4]), "its state is not in writable memory"),
        (with_at(first + 8, [0; 4]), "its probe is not in the module's text"),
        (with_at(first + 14, [0]), "a key has 2 to 64 values"),
        (with_at(first + 15, [34]), "its flags are of a later version, or do not go together"),
        (with_at(first + 15, [64]), "no constant has such flags, values or names"),
        (with_at(first + 15, [128]), "its flags are of a later version"),
    ] {
        let text = listed(&file);
        assert!(text.contains(&format!("\n  key record 0: invalid: {why}")), "{why}: {text}");
    }
    // To the runtime a blank one is none.
    for blank in [with_at(first, [0; 16]), with_at(first + 12, [0; 3])] {
        let text = listed(&blank);
        assert!(!text.contains("key record"), "{text}");
    }
}

/// Where a file of keys has its module's header, and its key table.
const HEADER_PLACE: usize = 512;
const KEYS: usize = 1024;

/// A file of one segment that holds everything: headers, notes, the outcome, `keys` records of one key, and its state.
fn file_of_keys(keys: u32, names: &[u8]) -> Vec<u8> {
    // Another note stands in front, of an odd length.
    const OTHER: &[u8; 24] = b"\x04\0\0\0\x05\0\0\0\x03\0\0\0GNU\0\x01\x02\x03\x04\x05\0\0\0";
    const NOTES: usize = 64 + 2 * PROGRAM_HEADER;
    const NOTE: usize = NOTES + OTHER.len();
    const STATE: usize = 256;
    const TABLE: usize = KEYS;
    let mut file = vec![0; TABLE + 16 * keys as usize];
    file[..64].copy_from_slice(&FILE[..64]);
    file[PROGRAM_OFFSET..PROGRAM_OFFSET + 8].copy_from_slice(&64_u64.to_le_bytes());
    file[PROGRAM_COUNT..PROGRAM_COUNT + 2].copy_from_slice(&2_u16.to_le_bytes());
    let names_start = file.len() as u32;
    file.extend_from_slice(names);

    let length = file.len() as u64;
    for (header, kind, range) in [(0, PT_LOAD, 0..length), (1, PT_NOTE, NOTES as u64..NOTE as u64 + 28)] {
        let at = 64 + header * PROGRAM_HEADER;
        let size = range.end - range.start;
        let fields = [range.start, range.start, range.start, size, size, 4];
        write(&mut file, at, kind);
        write(&mut file, at + 4, 7);
        let fields = fields.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<_>>();
        file[at + 8..at + PROGRAM_HEADER].copy_from_slice(&fields);
    }
    file[NOTES..NOTE].copy_from_slice(OTHER);
    file[NOTE..NOTE + 20].copy_from_slice(&FILE[PLACES.note..][..20]);
    write(&mut file, NOTE + 20, (HEADER_PLACE - NOTE - 20) as u32);
    file[HEADER_PLACE..HEADER_PLACE + 20].copy_from_slice(&FILE[PLACES.header..][..20]);
    let tables = [TABLE, TABLE, TABLE, TABLE + 16 * keys as usize, STATE];
    for (field, address) in (HEADER_PLACE + 20..).step_by(4).zip(tables) {
        write(&mut file, field, (address as u32).wrapping_sub(field as u32));
    }
    for record in (TABLE..TABLE + 16 * keys as usize).step_by(16) {
        for (field, address) in [(record, STATE as u32), (record + 4, names_start), (record + 8, 0)] {
            write(&mut file, field, address.wrapping_sub(field as u32));
        }
        write(&mut file, record + 12, names.len() as u32 | 2 << 16);
    }
    file
}

/// Makes such a file's site table `sites` records at `table`, to which its segment is extended.
fn set_sites(file: &mut [u8], table: usize, sites: usize) {
    let fields = [HEADER_PLACE + 20, HEADER_PLACE + 24];
    for (field, address) in fields.into_iter().zip([table, table + 16 * sites]) {
        write(file, field, (address as u32).wrapping_sub(field as u32));
    }
    let length = (file.len() as u64).to_le_bytes();
    for size in [64 + 32, 64 + 40] {
        file[size..size + 8].copy_from_slice(&length);
    }
}

fn long_names_are_not_kept_without_end() {
    let text = listed(&file_of_keys(2, b"name\0off\0on\0"));
    assert_eq!(text.matches("\n  name  off|on").count(), 2, "{text}");

    let long = [&[b'x'; 65_000][..], b"\0off\0on\0"].concat();
    let why = "invalid: the names before it are longer than any module's";
    let text = listed(&file_of_keys(1000, &long));
    let kept = 1000 - text.matches(why).count();
    assert!((60..70).contains(&kept), "{kept} kept");

    let count = refusal(&file_of_keys(65_537, b"name\0off\0on\0"));
    assert_eq!(count, "the key table has 65537 records, which no module has");
}

fn names_cannot_speak_to_the_terminal() {
    let name = FILE.windows(11).position(|bytes| bytes == b"invar.cpus\0").expect("the key's name");
    let mut out = Vec::new();
    // No binder takes such a key. Right to left, and nothing at all, are no better than what turns a terminal over.
    for bytes in [[0x1b, b'[', b'2', b'J', 0xff, b'i'], [0xe2, 0x80, 0xae, 0xe2, 0x80, 0x8b]] {
        let file = with_at(name, bytes);
        let text = listed(&file);
        assert!(text.contains(": invalid: its names are not visible ASCII\n") && text.is_ascii(), "{text}");
        out.clear();
        of_file(Path::new(OsStr::from_bytes(&bytes)), &Bytes(&file), Format::Text, &mut out).unwrap();
        let text = str::from_utf8(&out).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{200b}']), "{text}");
        assert!(text.starts_with("\\u{1b}[2J\u{fffd}i: ") || text.starts_with("\\u{202e}\\u{200b}: "), "{text}");
    }
}

fn another_machines_sites_are_not_checked() {
    const ARM: u16 = 40;
    let all = PLACES.sites.len() / 16;
    let other = with(|file| {
        for at in [MACHINE, PLACES.header + 14] {
            file[at..at + 2].copy_from_slice(&ARM.to_le_bytes());
        }
    });
    let text = listed(&other);
    assert!(text.starts_with(&format!("file: arm, {all} site records, ")), "{text}");
    assert!(text.contains("\n  sites of this architecture cannot be checked\n"), "{text}");
    assert!(text.ends_with(&format!("\n{all} sites: {all} unverified\n")), "{text}");
    assert!(!text.contains("cmp byte"), "{text}");
}

fn a_class_or_byte_order_that_is_not_there() {
    for at in [CLASS, ORDER] {
        let unknown = "the ELF header is of no known class or byte order";
        assert_eq!(refusal(&with_at(at, [0])), unknown);
        assert_eq!(refusal(&with_at(at, [3])), unknown);
    }
    survives(&with_at(CLASS, [1]));
    survives(&with_at(ORDER, [2]));
    survives(&with_at(CLASS, [1, 2]));
}

/// Counts what is allocated, so that a size that a file makes up shows.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does the work; counting does not touch it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}
