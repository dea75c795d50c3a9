//! Decide once, at load; afterwards the code no longer asks.
//!
//! Some properties of a process cannot change once it has started: what the CPU can do, whether the kernel offers
//! the rseq time slice extension, how the program was configured. `invar` decides each of them once, in a
//! constructor, and writes the answer into the code: a branch becomes a nop or a jump, a time slice request becomes
//! one store or nothing. No flag is loaded, no pointer is called, no thread-local is tested.
//!
//! ```
//! invar::key! {
//!     /// Whether this program was asked to count.
//!     static COUNTING: bool = |evidence| {
//!         let set = std::env::var_os("COUNT").is_some();
//!         evidence.text(if set { "COUNT is set" } else { "COUNT is not set" });
//!         Ok(set)
//!     };
//! }
//!
//! fn work(items: &mut Vec<u32>) {
//!     if invar::branch!(COUNTING) {
//!         eprintln!("{} items", items.len());
//!     }
//!     items.push(1);
//! }
//! # work(&mut Vec::new());
//! ```
//!
//! # Words
//!
//! | term | meaning |
//! |---|---|
//! | key | a named value that cannot change after the start, [`key!`]: undecided, then decided once, then sealed |
//! | switch | a key that may be set again later, [`switch!`] |
//! | probe | the function that decides a key |
//! | verdict | what was decided: the value, where it comes from, and the *evidence*, which says why: [`Verdict`] |
//! | site | a place in the code that depends on a key, recorded in its module's table |
//! | static branch | a site of the form `if key`, [`branch!`]; [`dispatch!`] makes whole functions of them |
//! | critical section | what stands between a time slice request and its end: [`timeslice::CriticalSection`] |
//! | pointer | a word of data that leads to one of several functions, [`pointer!`]; [`pointers!`] makes a table |
//! | module | one linked object, executable or shared library, with its own copy of this runtime |
//! | bind | to write a key's value into its sites: [`report()`] lists them |
//! | checked form | what the compiler leaves at a site, correct without binding |
//! | bound form | what binding leaves at a site, for one value of its key |
//! | writer | a way to exchange code that is loaded already, [`Writer`] |
//!
//! `docs/glossary.md` in the sources defines these and all other terms.
//!
//! # What you can rely on
//!
//! **The checked form is correct.** It is complete: a compare and a jump. Where code
//! cannot be changed (another architecture, refused by the system) the program means
//! the same, is a little slower, and [`report()`] says why. Nothing aborts, panics or exits, unless `INVAR=require`
//! asks for it ([`EXIT_REQUIRED`]).
//!
//! **Every key has one verdict in a process.** A key adopts the verdict that is sealed for its name, in its own module or in
//! another one; where two threads decide it in two modules, the first to seal it decides for both. Two sorts may be lower in
//! one module than in another: a key that proves CPU features, where that module's own probe says so, and one that a thread
//! waited for in vain ([`Key::get`]).
//!
//! **No macro makes unsafe code safe.** Its expansion is sound in a program that writes no `unsafe`: variants are called as safe
//! code, features are proved, and you vouch by `#[unsafe(no_mangle)]` for a symbol that other modules could have. All macros but
//! [`ifunc!`] can be used under `#![forbid(unsafe_code)]`. Names that begin with two underscores belong to the macros: a program
//! should define none.
//!
//! **Settings can only lower** ([`SETTINGS`]): turn a key off, or choose a value that its probe allows.
//!
//! # Cargo features
//!
//! Every module carries its own copy of the runtime, and pays for what it has. Four features are on by default:
//!
//! - `timeslice`: the time slice key and [`timeslice::enter`]. A library that only branches on other keys does without the probes of
//!   the kernel.
//! - `report`: the text that `INVAR_REPORT` and `INVAR_HELP` print. Without it a module obeys the settings all the same. It still
//!   says what is misspelt in them, and why `INVAR=require` ends the process. [`report()`] is there as well.
//! - `profile`: `INVAR_SLICE`, and [`timeslice::counts`]. A module without it binds all sites whatever `INVAR_SLICE` says, and its
//!   critical sections are not counted.
//! - `switch`: keys that can be set again, [`switch!`]. In a module without it the sites of switches that C code declares stay in
//!   checked form.
//!
//! Three are not:
//!
//! - `multiversion`: the attribute of this name. One body is compiled for several sets of CPU features, and dispatched as by
//!   [`dispatch!`]. It needs syn while a program is built, and puts nothing of its own into it.
//! - `hook`, for executables: defines `pthread_create` and `thrd_create`. Each thread that libc starts by these names, for the
//!   program or for its libraries, is enrolled before its own code runs. See
//!   [`timeslice`](mod@timeslice#threads).
//! - `assert`, for tests: in builds with debug assertions, a critical section panics if it is nested, begins behind one that was
//!   forgotten, or ends in another thread. See [`timeslice`](mod@timeslice#finding-nested-critical-sections).
//!
//! # Limits
//!
//! - Sites are bound on Linux on x86-64, AArch64 and 64-bit RISC-V; elsewhere they stay in checked form. On the latter two,
//!   [`value!`] has no site, and on AArch64, where no kernel grants it yet, no time is requested. Pointers are bound on every
//!   little-endian Linux with glibc or musl. On other systems than Linux
//!   keys are decided and nothing else: `docs/platforms.md` in the sources has a table, and what is different there.
//! - Pages of code are exchanged, also while other threads run in them. Where the system refuses that, code is changed in place,
//!   but only while the process has one thread.
//! - A Rust `dylib` cannot export a key for the sites of another object, nor a symbol of [`ifunc!`] by its path. A program that
//!   uses one with this crate in it cannot have keys of its own, as rustc links a crate once. The linker refuses all of this.
//!   Executables, `cdylib`s and `staticlib`s carry keys of their own.
//! - A probe runs in a constructor: it must not panic.
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(invar_elsewhere, allow(dead_code))] // what only tables and settings would lead to

#[cfg(test)]
extern crate std;

#[cfg(all(feature = "capi", not(invar_elsewhere)))]
#[doc(hidden)]
#[path = "capi.rs"]
pub mod __capi;
#[cfg(all(feature = "fuzz", not(invar_elsewhere)))]
#[doc(hidden)]
#[path = "fuzz.rs"]
pub mod __fuzz;
#[cfg(test)]
mod documents;
mod key;
#[cfg(not(invar_elsewhere))]
mod load;
mod pointer;
#[cfg(feature = "switch")]
mod rebind;
mod report;
mod site;
#[cfg(feature = "switch")]
mod switch;
mod symbol;
mod text;

// What binds, and what stands in its place where nothing is bound (`build.rs`): `elsewhere/` has the same names.
#[cfg_attr(invar_elsewhere, path = "elsewhere/bind.rs")]
mod bind;
#[cfg_attr(invar_elsewhere, path = "elsewhere/cpu.rs")]
pub mod cpu;
#[cfg_attr(invar_elsewhere, path = "elsewhere/module.rs")]
mod module;
#[cfg(feature = "switch")]
#[cfg_attr(invar_elsewhere, path = "elsewhere/serve.rs")]
mod serve;
#[cfg_attr(invar_elsewhere, path = "elsewhere/settings.rs")]
mod settings;
#[cfg_attr(invar_elsewhere, path = "elsewhere/sys.rs")]
mod sys;
#[cfg_attr(invar_elsewhere, path = "elsewhere/timeslice.rs")]
pub mod timeslice;

pub use bind::writer::Writer;
pub use bind::{Reason, SiteStatus};
pub use invar_abi::judge::Fault;
pub use invar_abi::{Kind, Origin, Site};
#[cfg(feature = "multiversion")]
pub use invar_macros::multiversion;
pub use key::constant::{Constant, Number};
pub use key::handle::{Key, Value};
pub use key::state::Verdict;
pub use pointer::Pointer;
#[cfg(feature = "switch")]
pub use rebind::rebind;
pub use report::{Binding, KeyReport, ModuleReport, Report, kind_name, relation, report};
#[cfg(feature = "switch")]
pub use serve::serve;
pub use settings::{EXIT_REQUIRED, SETTINGS};
#[cfg(feature = "switch")]
pub use switch::{NotSet, Set, Setting, Switch, set};
pub use text::{Evidence, Text};

/// What the command `invar` reads as the runtime does. Not part of the interface.
#[doc(hidden)]
pub mod __command {
    pub use crate::settings::reader::value_of;
}

/// What the macros expand to. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bind::declare_pointers;
    pub use crate::key::constant::expansion::*;
    #[cfg(invar_elsewhere)]
    pub use crate::key::decide::{lead, load};
    pub use crate::key::declare::*;
    pub use crate::key::handle::ByMacro;
    pub use crate::pointer::expansion::*;
    pub use crate::site::select::expansion::*;
    pub use crate::symbol::expansion::*;
    pub use invar_arch::{
        __address_of, __number, __protected, __select, __site, __symbol, __symbol_link_name, __with_features, IFUNC,
        feature_mask,
    };
}
