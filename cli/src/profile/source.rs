//! Where in the source a site stands.

use crate::elf::Headers;
use crate::file::Contents;
use crate::symbols::{self, Symbols, demangled};
use crate::text::lossy;
use addr2line::Loader;
use goblin::elf::program_header::{PF_X, ProgramHeader};
use serde::Serialize;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

/// A module's file, as far as it can tell names and lines.
pub struct SourceFile {
    /// The address in the file that its first byte in memory has.
    first: u64,
    text: Vec<Range<u64>>,
    symbols: Symbols,
    lines: Option<Loader>,
}

/// Where a site stands.
#[derive(Debug, Default, Serialize)]
pub struct SourcePlace {
    /// The functions that it stands in, from the innermost that was inlined to the one that was not; from debug information.
    pub frames: Vec<Frame>,
    /// The function that it stands in, from the symbol table.
    pub symbol: Option<symbols::Place>,
}

/// A function, and a line in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Frame {
    /// Its name, demangled if it is Rust's.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line.
    pub line: Option<u32>,
}

/// Nobody inlines that deep, but debug information may say so.
const MOST_FRAMES: usize = 64;

impl SourceFile {
    /// Opens the file of a module that was loaded at this time or later. `Err` says why its names are not to be had.
    ///
    /// Debug information is mapped: whoever cuts off the file meanwhile ends this command.
    pub fn open(path: &[u8], loaded: Option<SystemTime>) -> Result<Self, &'static str> {
        let path = Path::new(OsStr::from_bytes(path));
        let file = Contents::open(path).map_err(|_| "its file is gone, or cannot be read: no names")?;
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        if let (Ok(modified), Some(loaded)) = (modified, loaded)
            && modified > loaded
        {
            return Err("its file was changed since it was loaded: no names");
        }
        let headers = Headers::read(&file, 0).map_err(|_| "its file is no program any more: no names")?;
        let first = headers.loads().map(|load| load.p_vaddr).min().unwrap_or(0);
        let range = |load: &ProgramHeader| load.p_vaddr..load.p_vaddr.saturating_add(load.p_memsz);
        let text = headers.loads().filter(|load| load.p_flags & PF_X != 0).map(range).collect();
        Ok(Self { first, text, symbols: Symbols::read(&file, &headers), lines: Loader::new(path).ok() })
    }

    /// The place of an address behind a call, from the module's first byte.
    pub fn place(&self, distance: u64) -> SourcePlace {
        let address = self.address(distance).wrapping_sub(1);
        if !self.text.iter().any(|range| range.contains(&address)) {
            return SourcePlace::default();
        }
        let mut frames = self.lines.as_ref().map(|lines| frames(lines, address)).unwrap_or_default();
        let symbol = self.symbols.find(address);
        // Line tables alone have names without paths; the outermost function has a symbol.
        if let (Some(Frame { function, .. }), Some(symbol)) = (frames.last_mut(), &symbol)
            && !function.as_deref().is_some_and(is_path)
        {
            *function = Some(symbol.name.clone());
        }
        SourcePlace { frames, symbol }
    }

    /// The address in its file.
    pub fn address(&self, distance: u64) -> u64 {
        self.first.wrapping_add(distance)
    }
}

/// As many as can be read.
fn frames(lines: &Loader, address: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    let Ok(mut found) = lines.find_frames(address) else { return frames };
    while frames.len() < MOST_FRAMES
        && let Ok(Some(frame)) = found.next()
    {
        let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        frames.push(Frame {
            function: name.map(|name| demangled(name.as_bytes())),
            file: frame.location.as_ref().and_then(|location| location.file).map(|file| lossy(file.as_bytes())),
            line: frame.location.as_ref().and_then(|location| location.line),
        });
    }
    frames
}

impl SourcePlace {
    /// The frame that a reader wants to see: the first of the program's own.
    pub fn frame(&self) -> Option<&Frame> {
        // The runtime's folder, where it is no package of a registry.
        let folder = self.frames.iter().find_map(|frame| match frame {
            Frame { function: Some(function), file: Some(file), .. } if function.ends_with("enter") => {
                file.strip_suffix("src/timeslice/section.rs")
            }
            _ => None,
        });
        self.frames.iter().find(|frame| !frame.is_others(folder)).or(self.frames.last())
    }
}

/// What lies between a program and its sites: the runtime, its locks, the standard library.
const CRATES: &[&str] = &["invar", "invar_arch", "invar_lock", "lock_api", "core", "alloc", "std"];
/// As a registry's folders begin; libinvar's, which capi/Makefile names, with the first.
const PACKAGES: &[&str] = &["invar-", "invar-rt-", "invar-arch-", "invar-lock-", "lock_api-"];
const FOLDERS: &[&str] = &["src/", "arch/", "lock/src/"];

impl Frame {
    /// Whether it is not the program's own: by its crate, or where the name has no path, by its file.
    fn is_others(&self, runtime: Option<&str>) -> bool {
        match (&self.function, &self.file) {
            (Some(function), _) if is_path(function) => CRATES.contains(&crate_of(function)),
            (_, Some(file)) => {
                let is_package = |component: &str| {
                    let versions = PACKAGES.iter().filter_map(|package| component.strip_prefix(package));
                    versions.into_iter().any(|version| version.starts_with(|first: char| first.is_ascii_digit()))
                };
                let inside = runtime.and_then(|folder| file.strip_prefix(folder));
                file.starts_with("/rustc/")
                    || file.split('/').any(is_package)
                    || inside.is_some_and(|path| FOLDERS.iter().any(|folder| path.starts_with(folder)))
            }
            _ => false,
        }
    }
}

fn is_path(function: &str) -> bool {
    function.contains("::")
}

/// The crate that a path begins with; in `<T as Trait>::function` the trait's, if `T` is a parameter.
fn crate_of(function: &str) -> &str {
    let mut path = function;
    while let Some(rest) = ["<", "&", "*", "mut ", "const ", "dyn "].iter().find_map(|prefix| path.strip_prefix(prefix))
    {
        path = rest;
    }
    let path = match path.split_once(" as ") {
        Some((implementor, of)) if !is_path(implementor) => of,
        _ => path,
    };
    path.split("::").next().unwrap_or(path)
}
