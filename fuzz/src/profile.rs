//! A profile's file.

use crate::input::Input;
use crate::make::put;
use invar_tool::profile::layout::{self, CountedSite, FILE, Table};
use invar_tool::profile::sites::{CountedFile, Profile};
use invar_tool::profile::{listing, plot};
use std::path::PathBuf;

const MODULES: (usize, usize, usize) = (256, 1024, 64);
const THREADS: (usize, usize, usize) = (65_792, 256, 1024);
const SITES: (usize, usize, usize) = (327_936, 512, 1024);
/// As much of a record is in an input: of a site, its counters and the first numbers of its histogram.
const GIVEN: usize = 144;
/// Names lead to no file, whatever they say.
const FOLDER: &[u8] = b"/nonexistent/";

/// The bytes as a file; and a whole file with a header and records of these bytes.
pub fn run(input: &[u8]) {
    if let Ok(table) = Table::parse(input) {
        assert_eq!(input.len(), FILE);
        again(input, &table);
    }
    let file = file(&mut Input(input));
    match Table::parse(&file) {
        Ok(table) => {
            again(&file, &table);
            sums(&file, table);
        }
        Err(why) => assert!(!why.is_empty() && why != "not a profile", "{why}"),
    }
}

/// A profile with a record of each kind, and with numbers that no process reaches.
pub fn seeds() -> Vec<Vec<u8>> {
    let header = |counting: u64, grants: u64| {
        let numbers = [1234, counting, 30_000, 1, grants, 1_000_000, 2_000_000, 301_000_000, 102_000_000, 2, 1];
        numbers.iter().flat_map(|number: &u64| number.to_le_bytes()).collect::<Vec<_>>()
    };
    let record = |table: u8, index: u16, numbers: &[u64]| {
        let mut bytes = vec![table];
        bytes.extend(index.to_le_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.resize(3 + GIVEN, 0);
        bytes
    };
    let module = record(0, 3, &[0x1000, 0x9000, u64::from_le_bytes(*b"a.so\0\0\0\0")]);
    let common = record(1, 0, &[0, 0, 5, 1, 1, 1]);
    let thread = record(1, 7, &[9, 77, 50, 10, 9, 8]);
    let site = record(2, 0, &[0x1234, 50, 10, 9, 8, 1, 2, 3, 1, 4000, 3, 900, 0, 0, 0, 0, 5 << 32 | 7]);
    let full = record(2, 1023, &[u64::MAX; 18]);
    let empty = vec![header(2, 1)];
    let all = vec![header(2, 1), module.clone(), common.clone(), thread, site.clone()];
    let threads = vec![header(1, 0), common];
    let most = vec![header(2, 0), module, site, full];
    [empty, all, threads, most].iter().map(|parts| parts.concat()).collect()
}

/// A whole file, by an input: header, then records, each behind the number of its table and its place there.
fn file(input: &mut Input<'_>) -> Vec<u8> {
    let mut file = vec![0; FILE];
    put(&mut file, 0, b"invarsl1");
    let header = input.bytes(88);
    put(&mut file, 8, header);
    // A clock whose rate is not known is looked at for a hundredth of a second, which is too long for most inputs.
    if header.first() != Some(&0xff) {
        let clocks = [1_000_000, 2_000_000, 301_000_000, 102_000_000].map(u64::to_le_bytes);
        put(&mut file, 48, clocks.as_flattened());
    }
    while !input.0.is_empty() {
        let (start, size, count) = [MODULES, THREADS, SITES][usize::from(input.byte() % 3)];
        let at = start + size * (usize::from(input.half()) % count);
        let given = input.bytes(GIVEN);
        put(&mut file, at, given);
        if start == MODULES.0 {
            let path = given.get(16..).unwrap_or_default();
            put(&mut file, at + 16, &[FOLDER, path].concat());
        }
    }
    file
}

/// What was read and is written again, after `docs/profile.md`, is the same.
fn again(original: &[u8], table: &Table) {
    let mut file = vec![0; FILE];
    put(&mut file, 0, b"invarsl1");
    let later = table.later.map_or([0; 2], |later| [later.ticks, later.nanoseconds]);
    let header = [
        table.process,
        if table.has_sites { 2 } else { 1 },
        table.slice,
        table.slice_is_known.into(),
        table.grants.into(),
        table.start.ticks,
        table.start.nanoseconds,
        later[0],
        later[1],
        table.sites_lost,
        table.modules_lost,
    ];
    numbers(&mut file, 8, &header);
    for (index, module) in table.modules.iter().enumerate() {
        let at = MODULES.0 + MODULES.1 * index;
        numbers(&mut file, at, &[module.range.start, module.range.end]);
        put(&mut file, at + 16, &module.path);
    }
    for (index, thread) in table.threads.iter().enumerate() {
        let at = THREADS.0 + THREADS.1 * index;
        numbers(&mut file, at, &[1, thread.number, thread.requests, thread.grants, thread.yields, thread.lost]);
    }
    for (index, CountedSite { address, counts, ticks, held }) in table.sites.iter().enumerate() {
        let at = SITES.0 + SITES.1 * index;
        let layout::Counts { requests, grants, yields, lost, too_long, interrupted, nested, not_enrolled } = *counts;
        let all = [*address, requests, grants, yields, lost, too_long, interrupted, nested, not_enrolled, *ticks];
        numbers(&mut file, at, &all);
        for (bucket, number) in held.iter().enumerate() {
            put(&mut file, at + 128 + 4 * bucket, &u32::try_from(*number).expect("32 bits").to_le_bytes());
        }
    }
    // Free records are not written again, nor what a path has behind its end.
    let later = if table.later.is_some() { 80 } else { 64 };
    assert_eq!((&file[..later], &file[80..96]), (&original[..later], &original[80..96]));
    let is_used = |number: &[u8]| number != [0; 8];
    let modules = records(original, MODULES).filter(|record| is_used(&record[..8]) && is_used(&record[8..16]));
    let (mut of_path, mut count) = (0, 0);
    for (written, known) in records(&file, MODULES).zip(modules) {
        let length = known[16..].iter().position(|&byte| byte == 0).unwrap_or(known.len() - 16);
        assert_eq!(written[..16 + length], known[..16 + length]);
        (of_path, count) = (of_path + length, count + 1);
    }
    assert_eq!((count, of_path), (table.modules.len(), table.modules.iter().map(|module| module.path.len()).sum()));
    let threads = records(original, THREADS).filter(|record| is_used(&record[..8]) || is_used(&record[16..24]));
    let threads: Vec<_> = threads.map(|record| &record[8..48]).collect();
    assert!(records(&file, THREADS).map(|record| &record[8..48]).take(table.threads.len()).eq(threads));
    let sites: Vec<_> = records(original, SITES).filter(|record| is_used(&record[..8])).collect();
    let fields = |record: &[u8]| [&record[..80], &record[128..]].concat();
    let written = records(&file, SITES).take(table.sites.len());
    assert!(written.map(fields).eq(sites.into_iter().map(fields)));
}

/// The records of a table.
fn records(file: &[u8], (start, size, count): (usize, usize, usize)) -> impl Iterator<Item = &[u8]> {
    file[start..start + size * count].chunks_exact(size)
}

fn numbers(file: &mut [u8], at: usize, numbers: &[u64]) {
    numbers.iter().enumerate().for_each(|(index, number)| put(file, at + 8 * index, &number.to_le_bytes()));
}

/// Two processes that counted the same: each sum is twice as much, or the highest number.
fn sums(file: &[u8], table: Table) {
    let requests = |table: &Table| table.sites.iter().map(|site| u128::from(site.counts.requests)).sum::<u128>();
    let twice = (2 * requests(&table)).min(u64::MAX.into()) as u64;
    let tables = [table, Table::parse(file).expect("the same")];
    let files = tables.map(|table| CountedFile { path: PathBuf::from("a.profile"), made: None, table });
    let profile = Profile::new(files.into()).expect("of one machine");
    let sum = profile.sites.iter().map(|site| site.counts.requests).fold(0, u64::saturating_add);
    assert_eq!(sum, twice);
    for site in &profile.sites {
        let counts = site.counts;
        assert!(counts.late() <= counts.grants && counts.unexplained() <= counts.lost, "{counts:?}");
        assert!(site.preempted() <= counts.grants.saturating_add(counts.lost), "{counts:?}");
    }
    let [mut text, mut json] = [Vec::new(), Vec::new()];
    listing::text(&profile, None, &mut text).expect("text");
    listing::json(&profile, None, &mut json).expect("JSON");
    let text = String::from_utf8(text).expect("UTF-8");
    let is_control = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(is_control), "{text:?}");
    let document: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(document["sites"].as_array().map(Vec::len), Some(profile.sites.len()));
    let svg = plot::svg(&profile);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
}
