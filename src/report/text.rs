//! The report as text: one line for each module, one for each of its keys, one for each of its sites.

use super::{Binding, KeyReport, ModuleReport, Report, kind_name, relation};
use crate::bind::{Reason, SiteStatus};
use crate::key::state::Verdict;
use crate::module;
use crate::text::{Sink, Text};
use core::ffi::CStr;
use invar_abi::{Kind, Origin, Site};
use invar_arch as arch;

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
        print_others(&mut out);
        out.1
    }
}

/// One line for the module, one for each key, one for each site.
#[cold]
pub(crate) fn print(report: &ModuleReport<'_>, out: &mut dyn Sink) {
    out.put(b"module ");
    out.plain(if report.path_bytes().is_empty() { b"(program)" } else { report.path_bytes() });
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
        out.put(match reason {
            Reason::Writable(_) => b"; ",
            _ => b"; what is not bound stays checked: ",
        });
        print_reason(reason, out);
    } else if !report.is_loaded() {
        out.put(b"; its constructor has not run");
    }
    for (at, (writer, reason)) in report.refusals().enumerate() {
        out.put(if at == 0 { b"; refused: " } else { b", " });
        out.put(writer.name().as_bytes());
        out.put(b" (");
        out.put(if let Reason::Refused(_) = reason { b"errno " } else { reason.brief().as_bytes() });
        if let Reason::Refused(errno) = reason {
            out.dec(errno as u64);
        }
        out.put(b")");
    }
    let invalid = report.invalid_keys();
    if invalid > 0 {
        out.put(b"; key records that are corrupt: ");
        out.dec(invalid as u64);
    }
    out.put(b"\n");
    report.keys().filter(|key| !is_plain_cpu_key(key)).for_each(|key| print_key(&key, report.is_loaded(), out));
    print_cpu_keys(report, 1, out);
    print_cpu_keys(report, 0, out);
    print_sites(report, false, out);
}

/// One line for each module that has tables of another version of the ABI, of which no more is known.
#[cold]
pub(crate) fn print_others(out: &mut dyn Sink) {
    // The loader's lock is held meanwhile: nothing is written under it.
    let mut lines = Text::<1024>::new();
    module::each_other(&mut |path, base, version| print_other(path, base, version, &mut lines));
    out.put(lines.as_bytes());
}

#[cold]
fn print_other(path: &CStr, base: usize, version: u32, line: &mut dyn Sink) {
    line.put(b"module ");
    line.plain(if path.is_empty() { b"(program)" } else { path.to_bytes() });
    line.put(b" at ");
    line.hex(base as u64);
    line.put(b": its tables are of version ");
    line.dec(version.into());
    line.put(b" of the site ABI, and left alone\n");
}

#[cold]
pub(crate) fn print_reason(reason: Reason, out: &mut dyn Sink) {
    out.put(reason.describe().as_bytes());
    if let Some(detail) = reason.detail() {
        out.put(b" ");
        out.dec(detail.into());
    }
}

#[cold]
fn print_key(report: &KeyReport<'_>, is_loaded: bool, out: &mut dyn Sink) {
    out.put(if report.is_switch() { b"  switch " } else { b"  key " });
    out.put(report.name_bytes());
    match &report.key.verdict {
        None => {
            out.put(b" undecided: ");
            out.put(why_undecided(report, is_loaded).as_bytes());
            out.put(b"\n");
        }
        Some(verdict) => {
            out.put(b" = ");
            print_value(report, out);
            out.put(b" (");
            out.put(verdict.origin().name().as_bytes());
            out.put(if verdict.evidence.as_bytes().is_empty() { b")" } else { b"): " });
            out.plain(verdict.evidence.as_bytes());
            out.put(b"\n");
        }
    }
}

/// The name of its value, or its number.
#[cold]
fn print_value(report: &KeyReport<'_>, out: &mut dyn Sink) {
    match report.number() {
        Some(number) => out.dec(number),
        None => out.put(report.value_name(report.key.value)),
    }
}

/// Why a key has no verdict yet, or will never have one.
#[cold]
fn why_undecided(report: &KeyReport<'_>, is_loaded: bool) -> &'static str {
    match (is_loaded, report.key.begun) {
        (true, _) => "its state is memory that something else uses",
        (false, true) => "it is being decided",
        (false, false) => "its module's constructor has not run",
    }
}

/// Whether there is no more to say of a key than its value: one of the CPU's features, as the CPU has it.
#[cold]
fn is_plain_cpu_key(report: &KeyReport<'_>) -> bool {
    let is_probed = |verdict: &Verdict| verdict.origin() == Origin::Probe;
    report.name_bytes().starts_with(CPU) && report.key.verdict.as_ref().is_some_and(is_probed)
}

/// The CPU's features that have this value, in one line.
#[cold]
fn print_cpu_keys(report: &ModuleReport<'_>, value: u8, out: &mut dyn Sink) {
    let mut first = true;
    for report in report.keys().filter(is_plain_cpu_key) {
        if report.key.value == value {
            if first {
                out.put(b"  keys cpu.* = ");
                out.put(report.value_name(value));
                out.put(b" (probe):");
                first = false;
            }
            out.put(b" ");
            out.put(&report.name_bytes()[CPU.len()..]);
        }
    }
    if !first {
        out.put(b"\n");
    }
}

/// How the names of the built-in keys for the CPU's features begin.
const CPU: &[u8] = b"cpu.";

/// One line for each site; or, in a line that has begun, the first that is not bound.
#[cold]
#[inline(never)]
pub(crate) fn print_sites(report: &ModuleReport<'_>, missed: bool, out: &mut dyn Sink) {
    for binding in report.bindings() {
        if !missed || binding.status != SiteStatus::Bound && binding.live {
            out.put(if missed { b"not " } else { b"  " });
            print_site(&binding, report.base(), out);
            if missed {
                return;
            }
            out.put(b"\n");
        }
    }
}

/// One site and what stands there, or its record and what is wrong with it.
#[cold]
fn print_site(binding: &Binding<'_>, base: usize, out: &mut dyn Sink) {
    out.put(b"site ");
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
            out.put(key.name_bytes());
            let relation = relation(site.kind);
            if !relation.is_empty() {
                out.put(relation.as_bytes());
                out.put(key.value_name(site.value));
            }
            out.put(b", ");
            out.dec(site.length.into());
            out.put(b" bytes");
        }
    }
    out.put(b": ");
    out.put(binding.status.describe());
    match (binding.status, &binding.found) {
        (SiteStatus::Bound, Some((_, key))) => print_value(key, out),
        (SiteStatus::Checked, Some((_, key))) if key.key.verdict.is_none() => out.put(b", its key is undecided"),
        (SiteStatus::Checked, Some((site, key))) if !arch::HOLDS_NUMBERS && !is_held(site, key) => {
            out.put(b", no instruction holds its number");
        }
        _ => {}
    }
}

/// Whether a site is no constant, or its number has an instruction that holds it.
#[cold]
fn is_held(site: &Site, key: &KeyReport<'_>) -> bool {
    site.kind != Kind::Constant || key.number().is_none_or(|number| arch::constant(site, number).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::copy::Copied;
    use super::*;
    use crate::module::image::Image;
    use core::sync::atomic::Ordering::Relaxed;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// The same report, put together from what the interface says of a module whose keys are all decided.
    fn expected(module: &ModuleReport<'_>) -> String {
        let writers: Vec<_> = module.writers().map(|writer| writer.name()).collect();
        let mut text = format!("module (program) at {:#x}: {} sites, ", module.base(), module.sites());
        text += &format!("{} bound", module.bound());
        if !writers.is_empty() {
            text += &format!(" by {}", writers.join(" and "));
        }
        if module.bound() > 0 {
            text += &format!(" in {} us", module.nanoseconds() / 1000);
        }
        if let Some(reason) = module.reason() {
            text += "; what is not bound stays checked: ";
            text += reason.describe();
            text += &reason.detail().map_or(String::new(), |detail| format!(" {detail}"));
        }
        assert_eq!(module.refusals().count(), 0, "nothing is refused here");
        text += "\n";
        let is_plain = |key: &KeyReport<'_>| {
            key.name().starts_with("cpu.") && key.verdict().is_some_and(|verdict| verdict.origin() == Origin::Probe)
        };
        for key in module.keys().filter(|key| !is_plain(key)) {
            let verdict = key.verdict().expect("decided");
            let evidence = verdict.evidence();
            let colon = if evidence.is_empty() { "" } else { ": " };
            let sort = if key.is_switch() { "switch" } else { "key" };
            let origin = verdict.origin().name();
            text += &format!("  {sort} {} = {} ({origin}){colon}{evidence}\n", key.name(), key.value());
        }
        for value in ["on", "off"] {
            let cpu = module.keys().filter(|key| is_plain(key) && key.value() == value);
            let names: Vec<_> = cpu.map(|key| key.name()["cpu.".len()..].to_string()).collect();
            if !names.is_empty() {
                text += &format!("  keys cpu.* = {value} (probe): {}\n", names.join(" "));
            }
        }
        for binding in module.bindings() {
            text += "  ";
            text += &site(module, &binding);
            text += "\n";
        }
        text
    }

    fn site(module: &ModuleReport<'_>, binding: &Binding<'_>) -> String {
        let (site, key) = (binding.site().expect("a site"), binding.key().expect("its key"));
        let kind = match site.kind {
            Kind::Branch => format!("branch {} == {}", key.name(), if site.value == 0 { "off" } else { "on" }),
            Kind::SliceEnter => format!("slice enter {}", key.name()),
            Kind::SliceLeave => format!("slice leave {}", key.name()),
            Kind::Pointer => format!("pointer {}", key.name()),
            Kind::Constant | Kind::Select | Kind::Ordered => unreachable!("this program has none"),
        };
        let status = str::from_utf8(binding.status().describe()).expect("words");
        let value = if binding.status() == SiteStatus::Bound { key.value() } else { "" };
        format!("site {:#x} {kind}, {} bytes: {status}{value}", site.address - module.base() as u64, site.length)
    }

    #[test]
    fn the_text_says_what_the_data_say() {
        let mut modules = 0;
        super::super::report().modules(|module| {
            let mut text = crate::text::Text::<60000>::new();
            print(module, &mut text);
            let said = text.as_str();
            let expected = expected(module);
            for (said, expected) in said.lines().zip(expected.lines()) {
                assert_eq!(said, expected);
            }
            assert_eq!(said, expected);
            modules += 1;

            // In a line that has begun: the first that is not bound.
            let missed = module.bindings().find(|binding| binding.status() != SiteStatus::Bound && binding.live);
            let mut text = crate::text::Text::<1000>::new();
            print_sites(module, true, &mut text);
            assert_eq!(text.as_str(), missed.map_or(String::new(), |missed| format!("not {}", site(module, &missed))));
        });
        assert_eq!(modules, 1, "this program alone");
        assert!(super::super::report().to_string().starts_with("module (program) at 0x"));
    }

    /// The lines for a module in memory of our own, behind what they begin with.
    fn printed(image: &Image) -> String {
        let module = image.module();
        let copied = Copied::of(&module).expect("memory");
        let mut text = crate::text::Text::<2000>::new();
        print(&super::super::of(&copied), &mut text);
        let begins = format!("module image at {:#x}: 1 sites, ", module.base);
        let lines = text.as_str().strip_prefix(&*begins).expect("the module");
        let site = "\n  site record 0: unknown kind or flags\n";
        lines.strip_suffix(site).expect("its site").into()
    }

    /// An image, one of whose keys has this name and state.
    fn with_key(image: &mut Image, at: usize, names: &[u8], state: [u8; 3]) {
        image.names[at] = [0; 160];
        image.names[at][..names.len()].copy_from_slice(names);
        (image.keys[at].names_length, image.keys[at].values) = (names.len() as u16, 2);
        let [value, status, origin] = state;
        image.states[at][0] = u64::from_ne_bytes([value, status, origin, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_module_that_is_not_loaded_says_so() {
        let mut image = Image::new();
        let why = "undecided: its module's constructor has not run";
        let expected = format!("0 bound; its constructor has not run\n  key one {why}\n  key one.more {why}");
        assert_eq!(printed(&image), expected);
        with_key(&mut image, 0, b"one\0off\0on\0", [0, 1, 0]);
        assert!(printed(&image).contains("\n  key one undecided: it is being decided\n"));
        image.outcome.phase.store(1, Relaxed);
        let why = "undecided: its state is memory that something else uses";
        assert_eq!(printed(&image), format!("0 bound\n  key one {why}\n  key one.more {why}"));
        image.keys[0].values = 1;
        let corrupt = "0 bound; key records that are corrupt: 1\n  key one.more ";
        assert!(printed(&image).starts_with(corrupt), "{}", printed(&image));
    }

    #[test]
    fn switches_are_told_from_keys() {
        let mut image = Image::new();
        image.outcome.phase.store(1, Relaxed);
        with_key(&mut image, 0, b"one\0off\0on\0", [1, 2, 0]);
        with_key(&mut image, 1, b"two\0off\0on\0", [1, 2, 5]);
        image.keys[1].flags = invar_abi::flags::SWITCH;
        assert_eq!(printed(&image), "0 bound\n  key one = on (probe)\n  switch two = on (set)");
        image.states[1][0] = 0;
        let why = "undecided: its state is memory that something else uses";
        assert_eq!(printed(&image), format!("0 bound\n  key one = on (probe)\n  switch two {why}"));
    }

    #[test]
    fn what_writers_did_is_said() {
        let image = Image::new();
        let outcome = &image.outcome;
        outcome.phase.store(1, Relaxed);
        let first_line = || String::from(printed(&image).lines().next().expect("a line"));
        outcome.bound.store(1, Relaxed);
        outcome.nanoseconds.store(2_999, Relaxed);
        assert_eq!(first_line(), "1 bound in 2 us");
        outcome.writers.store(5, Relaxed);
        outcome.reason.store(6, Relaxed);
        outcome.detail.store(13, Relaxed);
        let writable = Reason::Writable(13).describe();
        assert_eq!(first_line(), format!("1 bound by swap and mprotect in 2 us; {writable} 13"));
        outcome.bound.store(0, Relaxed);
        outcome.writers.store(0, Relaxed);
        outcome.reason.store(1, Relaxed);
        let refused = [Reason::Refused(1), Reason::Shared].map(Reason::to_refusal);
        outcome.refusals[0].store(refused[0], Relaxed);
        outcome.refusals[2].store(refused[1], Relaxed);
        let setting = Reason::Setting.describe();
        let expected = format!(
            "0 bound; what is not bound stays checked: {setting}; refused: swap (errno 1), \
             mprotect (the text is mapped shared)"
        );
        assert_eq!(first_line(), expected);
    }

    #[test]
    fn a_module_of_another_version_gets_a_line() {
        let line = |path| {
            let mut text = Text::<200>::new();
            print_other(path, 0x1000, 1, &mut text);
            String::from(text.as_str())
        };
        let rest = "at 0x1000: its tables are of version 1 of the site ABI, and left alone\n";
        assert_eq!(line(c"/lib/a.so"), format!("module /lib/a.so {rest}"));
        assert_eq!(line(c""), format!("module (program) {rest}"));
    }

    /// One line for those that are on, and one for those that are off.
    #[test]
    fn features_of_the_cpu_stand_together() {
        let lines = |one: [u8; 3], other: [u8; 3]| {
            let mut image = Image::new();
            image.outcome.phase.store(1, Relaxed);
            with_key(&mut image, 0, b"cpu.fast\0off\0on\0", one);
            with_key(&mut image, 1, b"cpu.wide\0off\0on\0", other);
            String::from(printed(&image).strip_prefix("0 bound\n").expect("a line"))
        };
        let [on, off, lowered] = [[1, 2, 0], [0, 2, 0], [0, 2, 3]];
        assert_eq!(lines(on, off), "  keys cpu.* = on (probe): fast\n  keys cpu.* = off (probe): wide");
        assert_eq!(lines(off, on), "  keys cpu.* = on (probe): wide\n  keys cpu.* = off (probe): fast");
        assert_eq!(lines(on, on), "  keys cpu.* = on (probe): fast wide");
        assert_eq!(lines(off, off), "  keys cpu.* = off (probe): fast wide");
        assert_eq!(lines(on, lowered), "  key cpu.wide = off (setting)\n  keys cpu.* = on (probe): fast");
    }
}
