//! Fuzzers of everything that reads what others have written: files, tables in memory, the environment, `/proc`.
//!
//! Each target is one function, which takes any bytes, and panics where a property does not hold. `tests/short.rs` runs each for
//! a moment, always with the same inputs; `fuzz/run TARGET` runs one for as long as one wants, guided by what it reaches.
//!
//! | target | what reads | what must hold |
//! |---|---|---|
//! | [`notes`] | a note segment | the runtime and the command find the same note |
//! | [`tables`] | a module in memory | the runtime and the command see the same keys and sites; what was decoded and is written again is the same |
//! | [`elf`] | a file | it is listed or refused, as text and as JSON alike; the independent reader of `tests/` sees the same in what is well formed |
//! | [`settings`] | the environment | each entry is taken or said to be misspelt, once |
//! | [`maps`] | `/proc/PID/maps` and `smaps` | the runtime and the command read the same lines; sums do not overflow |
//! | [`profile`] | a profile's file | what was read and is written again is the same; sums are those of the parts |
//! | [`changing`] | memory that is another one at each look | there is an answer, after a bounded number of looks |
#![deny(unsafe_code)]

pub mod allocated;
pub mod changing;
pub mod elf;
mod input;
pub mod make;
pub mod maps;
pub mod notes;
pub mod profile;
pub mod settings;
pub mod tables;

/// What is fuzzed, and how.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes any bytes; panics where a property does not hold.
    pub run: fn(&[u8]),
    /// Inputs that are worth a beginning.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "notes", run: notes::run, seeds: notes::seeds },
    Target { name: "tables", run: tables::run, seeds: tables::seeds },
    Target { name: "elf", run: elf::run, seeds: elf::seeds },
    Target { name: "settings", run: settings::run, seeds: settings::seeds },
    Target { name: "maps", run: maps::run, seeds: maps::seeds },
    Target { name: "profile", run: profile::run, seeds: profile::seeds },
    Target { name: "changing", run: changing::run, seeds: changing::seeds },
];
