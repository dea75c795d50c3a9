//! The `invar` command, as a library so that its tests can hand it bytes that no file has.
//!
//! | module | what it does |
//! |---|---|
//! | [`demo`] | `invar`: this machine, this very program before and after binding, what that saves |
//! | [`probe`] | `invar probe`: the built-in keys |
//! | [`doctor`] | `invar doctor`: why the time slice extension is off here, and what to do |
//! | [`sites`] | `invar sites`: a program's keys and sites, as text and as JSON |
//! | [`manifest`] | `invar sites --manifest`: what of a file may change in memory |
//! | [`verify`] | `invar verify`: whether a process's text is that of its files, but for bound sites |
//! | [`run`] | `invar run`: time slices for a program that knows nothing of them |
//! | [`profile`] | `invar profile`: what becomes of a program's critical sections |
//! | [`stress`] | `invar stress`: whether pages may be exchanged beside running threads, on this machine |
//! | [`inherited`] | what programs inherit that are started: as this command found it |
//! | [`manual`] | invar(1), made of the help |
//! | [`elf`], [`module`] | headers; the note and what it leads to, from any [`Image`](image::Image) |
//! | [`file`](mod@file), [`process`] | the two images: a file, a process's memory |
//! | [`inspect`] | what stands at one site |
//! | [`keys`], [`symbols`], [`disassemble`], [`style`], [`text`], [`progress`] | what the listings are made of, and what is said before |
#![deny(unsafe_code)]

pub mod demo;
pub mod disassemble;
pub mod doctor;
pub mod elf;
pub mod error;
pub mod file;
pub mod image;
pub mod inherited;
pub mod inspect;
pub mod keys;
pub mod listing;
pub mod manifest;
pub mod manual;
pub mod module;
mod own;
mod peer;
pub mod probe;
pub mod process;
pub mod profile;
pub mod progress;
pub mod run;
pub mod set;
pub mod sites;
pub mod stress;
pub mod style;
pub mod symbols;
pub mod text;
pub mod verify;
