//! Uprobes on sites of a program that runs, in Rust and C: attached, hit and detached. The program's results stay what they are.
//!
//! Where their functions begin, whatever the sites are. Where these are bound, on their first instruction; docs/site-abi.md
//! says why not on the second. Else on both.

mod common;

use common::elf::{Image, SiteRecord};
use common::probed::{LANGUAGES, RIGHT, Running, first_instruction, function_of, probed};
use common::uprobe::{Probe, cpus, no_uprobes};
use common::{Build, Temporary, missing_tool, run, sites, test};
use std::collections::BTreeSet;
use std::io::Result;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let missing = |tool: Option<&str>| sites().or_else(|| tool.and_then(missing_tool)).or_else(no_uprobes);
    let newer = test("probes on ordered branches, selects and constants", missing(None), on_the_newer_kinds);
    run([newer].into_iter().chain(LANGUAGES.into_iter().flat_map(|(language, tool, program)| {
        [
            test(&format!("probes on a program that runs, {language}"), missing(tool), move || {
                on_a_program_that_runs(&copy(&program()).0);
            }),
            test(&format!("probes that are there before it is loaded, {language}"), missing(tool), move || {
                before_it_is_loaded(&copy(&program()).0);
            }),
        ]
    })))
}

/// On the first instruction, which is the only one of some: attached, hit and detached, whether the site is bound or not.
fn on_the_newer_kinds() {
    let program = copy(&Build::release().program("numbers"));
    let image = Image::read(&program.0);
    let is_newer = |record: &SiteRecord| record.kind > 3 || record.flags != 0;
    for settings in [&[("NUMBERS_ANSWER", "1")][..], &[("NUMBERS_ANSWER", "1"), ("INVAR_WRITER", "off")]] {
        let mut hits = std::collections::BTreeMap::new();
        let mut running = Running::start(&program.0, settings);
        // The first line is that of a probe, in the constructor.
        assert!(running.answer().starts_with("probe"));
        let before = running.answer();
        let newer = || image.site_records().into_iter().filter(is_newer);
        for record in newer() {
            let stands = running.code(record.site, record.length);
            let is_checked = stands == image.at(record.site, record.length.into());
            assert_eq!(is_checked, settings.len() == 2, "{record:x?} {stands:x?}");
        }
        for record in newer() {
            let probe = Probe::attach(&program.0, image.offset(record.site) as u64, Some(running.process.id()), -1)
                .unwrap_or_else(|error| panic!("{record:x?}: {error}"));
            assert_eq!(running.again(), before, "{settings:?} {record:x?}: attached");
            *hits.entry((record.kind, record.length)).or_insert(0) += probe.hits();
            drop(probe);
            assert_eq!(running.again(), before, "{settings:?} {record:x?}: detached");
        }
        running.end();
        let all = [(5, 7), (5, 11), (6, 9)];
        assert!(all.iter().all(|sort| hits.get(sort).is_some_and(|&hits| hits > 0)), "{settings:?}: {hits:?}");
        assert!(hits.iter().any(|(sort, &hits)| sort.0 == 1 && hits > 0), "{settings:?}: {hits:?}");
    }
}

/// A file of the test's own: a probe is in all processes that execute it.
fn copy(program: &Path) -> Temporary {
    Temporary::executable("probed", &std::fs::read(program).expect("its file"))
}

fn on_a_program_that_runs(program: &Path) {
    let image = Image::read(program);
    for settings in [
        &[("INVAR_KEYS", "slice=off")][..],
        &[("INVAR_KEYS", "slice=force")],
        &[("INVAR_KEYS", "slice=force"), ("INVAR_WRITER", "off")],
        &[("INVAR", "off")],
    ] {
        let is_bound = settings.len() == 1 && settings[0].0 == "INVAR_KEYS";
        let mut hits = [[0; 3]; 3];
        let mut running = Running::start(program, settings);
        // Before anything is attached; what is off runs the other branch.
        let before = running.answer();
        for record in probed(&image) {
            let stands = running.code(record.site, record.length);
            let is_checked = stands == image.at(record.site, record.length.into());
            assert_eq!(is_checked, !is_bound, "{settings:?} {record:x?} {stands:x?}");
        }
        assert!(before == RIGHT || settings[0].0 == "INVAR", "{before}");
        for record in probed(&image) {
            let places = [function_of(&image, record.site), record.site, record.site + first_instruction(&record)];
            for (place, address) in places.into_iter().enumerate() {
                if place == 2 && is_bound {
                    continue;
                }
                let at = image.offset(address) as u64;
                let process = running.process.id();
                let probe = Probe::attach(program, at, Some(process), -1)
                    .unwrap_or_else(|error| panic!("{record:x?}, {address:#x}: {error}"));
                assert_eq!(running.again(), before, "{settings:?} {record:x?}, {address:#x}: attached");
                hits[usize::from(record.kind) - 1][place] += probe.hits();
                drop(probe);
                assert_eq!(running.again(), before, "{settings:?} {record:x?}, {address:#x}: detached");
            }
        }
        running.end();
        // Each of the kinds, in each place that may have one.
        let places = if is_bound { 2 } else { 3 };
        assert!(hits.iter().all(|hits| hits[..places].iter().all(|&hits| hits >= 100)), "{settings:?}: {hits:?}");
    }
}

/// Whoever runs the file meets them: sites in which one stands are left as they are, and others are bound.
fn before_it_is_loaded(program: &Path) {
    let image = Image::read(program);
    let places: [fn(&Image, &SiteRecord) -> u64; 3] = [
        |image, record| function_of(image, record.site),
        |_, record| record.site,
        |_, record| record.site + first_instruction(record),
    ];
    for place in places {
        let addresses: BTreeSet<_> = probed(&image).iter().map(|record| place(&image, record)).collect();
        let probes: Vec<_> = addresses
            .iter()
            .map(|address| image.offset(*address) as u64)
            .flat_map(|at| cpus().into_iter().map(move |cpu| Probe::attach(program, at, None, cpu)))
            .collect::<Result<_>>()
            .unwrap_or_else(|error| panic!("{error}"));
        let mut running = Running::start(program, &[("INVAR_KEYS", "slice=force")]);
        assert_eq!(running.answer(), RIGHT);
        assert!(probes.iter().map(Probe::hits).sum::<u64>() >= 100);
        drop(probes);
        assert_eq!(running.again(), RIGHT, "detached");
        for record in probed(&image) {
            let site = record.site..record.site + u64::from(record.length);
            let is_met = addresses.iter().any(|address| site.contains(address));
            let is_checked = running.code(record.site, record.length) == image.at(record.site, record.length.into());
            assert_eq!(is_checked, is_met, "{record:x?}, probes at {addresses:x?}");
        }
        running.end();
    }
}
