//! The `invar` command, as a library so that its tests can hand it bytes that no file has.
//!
//! | module | what it does |
//! |---|---|
//! | [`demo`] | `invar`: this machine, this very program before and after binding, what that saves |
//! | [`probe`] | `invar probe`: the built-in keys |
//! | [`sites`] | `invar sites`: a program's keys and sites, as text and as JSON |
//! | [`manifest`] | `invar sites --manifest`: what of a file may change in memory |
//! | [`verify`] | `invar verify`: whether a process's text is that of its files, but for bound sites |
//! | [`profile`] | `invar profile`: what becomes of a program's critical sections |
//! | [`stress`] | `invar stress`: whether pages may be exchanged beside running threads, on this machine |
//! | [`elf`], [`module`] | headers; the note and what it leads to, from any [`Image`](image::Image) |
//! | [`file`](mod@file), [`process`] | the two images: a file, a process's memory |
//! | [`inspect`] | what stands at one site |
//! | [`keys`], [`symbols`], [`disassemble`], [`text`] | what the listings are made of |
#![deny(unsafe_code)]

pub mod demo;
pub mod disassemble;
pub mod elf;
pub mod error;
pub mod file;
pub mod image;
pub mod inspect;
pub mod keys;
pub mod listing;
pub mod manifest;
pub mod module;
mod own;
pub mod probe;
pub mod process;
pub mod profile;
pub mod set;
pub mod sites;
pub mod stress;
pub mod symbols;
pub mod text;
pub mod verify;
