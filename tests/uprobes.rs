//! Uprobes on sites of a program that runs, in Rust and C: attached, hit and detached. The program's results stay what they are.
//!
//! Where their functions begin, whatever the sites are. Where these are bound, on their first instruction; docs/site-abi.md
//! says why not on the second. Else on both.

mod common;

use common::elf::{Image, SiteRecord};
use common::probed::{LANGUAGES, RIGHT, Running, first_instruction, function_of, probed};
use common::uprobe::{Probe, cpus, no_uprobes};
use common::{Temporary, missing_tool, run, sites, test};
use std::collections::BTreeSet;
use std::io::Result;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let missing = |tool: Option<&str>| sites().or_else(|| tool.and_then(missing_tool)).or_else(no_uprobes);
    run(LANGUAGES.into_iter().flat_map(|(language, tool, program)| {
        [
            test(&format!("probes on a program that runs, {language}"), missing(tool), move || {
                on_a_program_that_runs(&copy(&program()).0);
            }),
            test(&format!("probes that are there before it is loaded, {language}"), missing(tool), move || {
                before_it_is_loaded(&copy(&program()).0);
            }),
        ]
    }))
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
