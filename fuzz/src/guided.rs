//! One target under libFuzzer: `fuzz/run TARGET`.
#![no_main]

use invar_fuzz::{TARGETS, Target};
use std::path::Path;
use std::sync::OnceLock;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("INVAR_FUZZ").unwrap_or_default();
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
            let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
            eprintln!("the targets are {names}");
            std::process::exit(2);
        };
        if let Some(folder) = std::env::var_os("INVAR_FUZZ_SEEDS") {
            for (number, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("a seed is written");
            }
        }
        CHOSEN.get_or_init(|| target);
    },
    |input: &[u8]| (CHOSEN.get().expect("a target").run)(input)
);
