//! Every decision and every site, as data and as text.

use crate::bind::{self, Reason, Resolver, SiteStatus};
use crate::key::{State, Verdict};
use crate::module::{self, Module, ModuleKey};
use crate::sys::{self, File};
use crate::text::{Sink, Text};
use crate::write::Writer;
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use invar_arch::{Kind, Site};

/// What the runtime did in this process: [`modules`](Self::modules), their keys, their sites. Displays as text.
///
/// It is read from the modules and their code at each call, so it says what is true now.
#[derive(Clone, Copy, Debug)]
pub struct Report(());

/// What the runtime did in this process.
pub fn report() -> Report {
    Report(())
}

impl Report {
    /// Calls `visit` with each module that carries sites or keys. No library can be unloaded meanwhile; do not
    /// load or unload one inside.
    pub fn modules(&self, mut visit: impl FnMut(&ModuleReport<'_>)) {
        module::each(&mut |module| visit(&of(module)));
    }
}

/// One module: an executable or a shared library.
#[derive(Clone, Copy)]
pub struct ModuleReport<'a> {
    module: Module<'a>,
}

pub(crate) fn of<'a>(module: &Module<'a>) -> ModuleReport<'a> {
    ModuleReport { module: *module }
}

impl<'a> ModuleReport<'a> {
    /// The path it was loaded from; empty for the program itself.
    pub fn path(&self) -> &'a CStr {
        self.module.path
    }

    /// What the loader added to the addresses in the file.
    pub fn base(&self) -> usize {
        self.module.base
    }

    /// Whether its constructor has run: before that nothing is decided or bound.
    pub fn is_loaded(&self) -> bool {
        self.module.outcome.loaded()
    }

    /// Why sites stay in checked form, if they do.
    pub fn reason(&self) -> Option<Reason> {
        let outcome = self.module.outcome;
        Reason::from_numbers(outcome.reason.load(Relaxed), outcome.detail.load(Relaxed))
    }

    /// Number of sites in its table.
    pub fn sites(&self) -> usize {
        self.module.sites.len()
    }

    /// Number of sites that were bound at load, each read back.
    pub fn bound(&self) -> usize {
        self.module.outcome.bound.load(Relaxed) as usize
    }

    /// Time that binding took, in nanoseconds, verification and read-back included.
    pub fn nanoseconds(&self) -> u64 {
        self.module.outcome.nanoseconds.load(Relaxed)
    }

    /// The writers that were used.
    pub fn writers(&self) -> impl Iterator<Item = Writer> + use<> {
        Writer::from_bits(self.module.outcome.writers.load(Relaxed))
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = KeyReport<'a>> + use<'a> {
        self.module.keys().map(|key| KeyReport { key })
    }

    /// Its sites, in the order of the table.
    pub fn bindings(&self) -> impl Iterator<Item = Binding<'a>> + use<'a> {
        let mut resolver = Resolver::new(&self.module);
        (0..self.module.sites.len()).map(move |index| {
            let (status, found) = bind::inspect(&mut resolver, index);
            Binding { index, status, found }
        })
    }
}

/// One key of one module.
#[derive(Clone, Copy)]
pub struct KeyReport<'a> {
    key: ModuleKey<'a>,
}

impl<'a> KeyReport<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        core::str::from_utf8(self.key.name()).unwrap_or("?")
    }

    /// The name of its value.
    pub fn value(&self) -> &'a str {
        core::str::from_utf8(self.key.value_name(self.key.state.value())).unwrap_or("?")
    }

    /// How it was decided; `None` if it is not yet.
    pub fn verdict(&self) -> Option<Verdict> {
        self.key.state.verdict()
    }
}

/// What became of one site.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    index: usize,
    status: SiteStatus,
    found: Option<(Site, ModuleKey<'a>)>,
}

impl<'a> Binding<'a> {
    /// Position in the module's table.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What stands there now.
    pub fn status(&self) -> SiteStatus {
        self.status
    }

    /// The site itself, unless the record is invalid.
    pub fn site(&self) -> Option<Site> {
        self.found.map(|(site, _)| site)
    }

    /// Its key, unless the record is invalid.
    pub fn key(&self) -> Option<KeyReport<'a>> {
        self.found.map(|(_, key)| KeyReport { key })
    }

    pub(crate) fn needs_slice(&self) -> bool {
        let is_slice =
            |key: &ModuleKey<'_>| core::ptr::from_ref(key.state) == (&raw const crate::slice::SLICE).cast::<State>();
        self.found.is_some_and(|(site, key)| site.kind != Kind::Branch && is_slice(&key))
    }
}

impl core::fmt::Display for Report {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        struct Formatted<'a, 'b>(&'a mut core::fmt::Formatter<'b>, core::fmt::Result);
        impl Sink for Formatted<'_, '_> {
            fn put(&mut self, bytes: &[u8]) {
                let Formatted(f, result) = self;
                *result = result.and_then(|()| bytes.utf8_chunks().try_for_each(|chunk| f.write_str(chunk.valid())));
            }
        }
        let mut out = Formatted(f, Ok(()));
        self.modules(|module| print(module, &mut out));
        out.1
    }
}

/// Writes one module's report to where `INVAR_REPORT` says.
#[cold]
pub(crate) fn write(module: &Module<'_>, destination: &CStr) {
    struct Buffered {
        file: Option<File>,
        text: Text<1024>,
    }
    impl Sink for Buffered {
        #[cold]
        fn put(&mut self, bytes: &[u8]) {
            for part in bytes.chunks(256) {
                if self.text.as_bytes().len() + part.len() > 1024 {
                    self.flush();
                }
                self.text.put(part);
            }
        }
    }
    impl Buffered {
        #[cold]
        fn flush(&mut self) {
            sys::print(self.file.as_ref(), self.text.as_bytes());
            self.text = Text::new();
        }
    }
    let mut out = Buffered { file: open(destination), text: Text::new() };
    print(&of(module), &mut out);
    out.flush();
}

/// The file to append to; standard error where it is asked for, or where the file cannot be opened.
#[cold]
fn open(destination: &CStr) -> Option<File> {
    if destination == c"stderr" {
        return None;
    }
    let mut path = Text::<1024>::new();
    let mut bytes = destination.to_bytes_with_nul().iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' && bytes.as_slice().first() == Some(&b'p') {
            bytes.next();
            path.number(sys::process_id() as i64);
        } else {
            path.put(&[byte]);
        }
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    let opened = File::open(path.as_bytes(), flags).ok();
    if opened.is_none() {
        let mut text = Text::<512>::new();
        text.text("invar: INVAR_REPORT: cannot open ").put(destination.to_bytes());
        text.text(", reporting here\n");
        sys::print(None, text.as_bytes());
    }
    opened
}

/// One line for the module, one for each key, one for each site.
#[cold]
fn print(report: &ModuleReport<'_>, out: &mut dyn Sink) {
    out.put(b"module ");
    out.put(if report.path().is_empty() { b"(program)" } else { report.path().to_bytes() });
    out.put(b" at ");
    out.hex(report.base() as u64);
    out.put(b": ");
    out.dec(report.sites() as u64);
    out.put(b" sites, ");
    out.dec(report.bound() as u64);
    out.put(b" bound");
    for (at, writer) in report.writers().enumerate() {
        out.put(if at == 0 { b" by " } else { b" and " });
        out.put(writer.name().as_bytes());
    }
    if report.bound() > 0 {
        out.put(b" in ");
        out.dec(report.nanoseconds() / 1000);
        out.put(b" us");
    }
    if let Some(reason) = report.reason() {
        out.put(b"; the others stay checked: ");
        print_reason(reason, out);
    }
    out.put(b"\n");
    for key in report.keys() {
        print_key(&key, out);
    }
    for binding in report.bindings() {
        print_binding(&binding, report.base(), out);
    }
}

#[cold]
fn print_reason(reason: Reason, out: &mut dyn Sink) {
    out.put(reason.describe().as_bytes());
    if let Some(detail) = reason.detail() {
        out.put(b" ");
        out.dec(detail.into());
    }
}

#[cold]
fn print_key(report: &KeyReport<'_>, out: &mut dyn Sink) {
    out.put(b"  key ");
    out.put(report.key.name());
    let mut verdict = Verdict::undecided();
    match report.key.state.copy(&mut verdict) {
        false => out.put(b" undecided\n"),
        true => {
            out.put(b" = ");
            out.put(report.key.value_name(verdict.value));
            out.put(b" (");
            out.put(verdict.origin().name().as_bytes());
            out.put(b"): ");
            out.put(verdict.evidence.as_bytes());
            out.put(b"\n");
        }
    }
}

#[cold]
fn print_binding(binding: &Binding<'_>, base: usize, out: &mut dyn Sink) {
    out.put(b"  site ");
    match binding.found {
        None => {
            out.put(b"record ");
            out.dec(binding.index as u64);
        }
        Some((site, key)) => {
            out.hex(site.address.wrapping_sub(base as u64));
            out.put(b" ");
            out.put(kind_name(site.kind).as_bytes());
            out.put(b" ");
            out.put(key.name());
            if site.kind == Kind::Branch {
                out.put(b" == ");
                out.put(key.value_name(site.value));
            }
            out.put(b", ");
            out.dec(site.length.into());
            out.put(b" bytes");
        }
    }
    out.put(b": ");
    out.put(match binding.status {
        SiteStatus::Bound => b"bound" as &[u8],
        SiteStatus::Checked => b"checked",
        SiteStatus::Foreign => b"foreign bytes, left alone",
        SiteStatus::Invalid(fault) => fault.describe().as_bytes(),
    });
    out.put(b"\n");
}

/// One word or two for what stands at a site.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Branch => "branch",
        Kind::SliceEnter => "slice enter",
        Kind::SliceLeave => "slice leave",
    }
}
