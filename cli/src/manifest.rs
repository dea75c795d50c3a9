//! `invar sites --manifest`: what of a file may change in memory, offset by offset, for tools that compare the two.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::{CUT_OFF, Contents, Segments};
use crate::image::Image;
use crate::inspect::{Standing, inspect, obstacle, of_value};
use crate::module::{Key, Module, Record};
use crate::text::{self, Hex, lossy};
use invar_abi::forms::{bound, constant, examples, goes};
use invar_abi::judge;
use invar_abi::{Code, Kind, Site};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// `docs/json.md` describes it.
#[derive(Serialize)]
struct ManifestDocument {
    schema: &'static str,
    version: &'static str,
    file: String,
    sites: Vec<Entry>,
    /// Site records that nothing is bound by.
    others: u64,
}

/// One site in checked form.
#[derive(Serialize)]
struct Entry {
    offset: u64,
    address: Hex,
    length: u8,
    key: String,
    old: String,
    new: Vec<Form>,
}

/// A bound form.
#[derive(Serialize)]
struct Form {
    values: Vec<String>,
    bytes: String,
}

/// Writes the manifest of the file of this name.
pub fn run(path: &Path, out: &mut dyn Write) -> Result<()> {
    of_file(path, &Contents::open(path)?, out)
}

/// Writes the manifest of the file of this name and content.
pub fn of_file(path: &Path, content: &dyn Image, out: &mut dyn Write) -> Result<()> {
    let unusable = |why: &str| Error::file(path, why);
    let headers = Headers::of_loadable(content).map_err(unusable)?;
    let segments = Segments::new(content, &headers);
    let module = Module::read(&segments, 0, &headers).map_err(|why| unusable(&why))?;
    if segments.is_cut_off() {
        return Err(unusable(CUT_OFF));
    }
    let mut sites = Vec::new();
    let mut others = 0;
    if let Some(module) = &module {
        others = module.records_len();
        if let Some(why) = obstacle(headers.forms()) {
            return Err(unusable(why));
        }
        for (entry, count) in module.records().filter_map(|record| entry(module, &segments, &record)) {
            sites.push(entry);
            others -= u64::from(count);
        }
    }
    let file = lossy(path.as_os_str().as_encoded_bytes());
    let document =
        ManifestDocument { schema: "invar.manifest/1", version: env!("CARGO_PKG_VERSION"), file, sites, others };
    Ok(text::json(out, &document)?)
}

/// What a record lets change, and how many records describe it; nothing for those of a select but its first.
fn entry(module: &Module<'_>, segments: &Segments<'_>, record: &Record) -> Option<(Entry, u8)> {
    let found = inspect(module, record, true);
    let code = found.code.filter(|_| found.standing == Standing::Checked)?;
    let places = [record.address, record.target, record.state];
    let (site, key): (Site, &Key) = judge::site(&record.record, places, &mut &*module).ok()?;
    let form = |values: Vec<u8>, bytes: Option<String>| {
        let values = values.into_iter().map(|value| key.value_name(value)).collect();
        Some(Form { values, bytes: bytes? })
    };
    let all: Vec<u8> = (0..key.values.len() as u8).collect();
    let mut count = 1;
    let new = match site.kind {
        Kind::Constant => {
            let forms = examples(module.forms, &site).iter();
            let forms = forms.map(|numbers| form(all.clone(), constant_pattern(module.forms, &site, numbers)));
            forms.collect::<Option<Vec<_>>>()?
        }
        Kind::Select if site.value != 0 => return None,
        Kind::Select => {
            count = key.values.len() as u8;
            let forms = all
                .into_iter()
                .map(|value| form(vec![value], pattern(module.forms, &of_value(module, record, value).ok()?, value)));
            // Several values may have one arm.
            forms.collect::<Option<Vec<_>>>()?.into_iter().fold(Vec::new(), |mut forms: Vec<Form>, form| {
                match forms.iter_mut().find(|other| other.bytes == form.bytes) {
                    Some(other) => other.values.extend(form.values),
                    None => forms.push(form),
                }
                forms
            })
        }
        _ => {
            // There are two forms, and first stands that of the site's own value.
            let (own, others) = all.into_iter().partition::<Vec<_>, _>(|&value| site.falls_through(value));
            let mut forms = vec![form(own, pattern(module.forms, &site, site.value))?];
            // A machine without requests has none of that for them.
            forms.extend(form(others, other_pattern(module.forms, &site)));
            forms
        }
    };
    let entry = Entry {
        offset: segments.offset(record.address, record.length.into())?,
        address: Hex(record.address),
        length: record.length,
        key: key.name.clone(),
        old: text::hex_bytes(&code),
        new,
    };
    Some((entry, count))
}

/// The bytes of the form for this value.
fn pattern(forms: u16, site: &Site, value: u8) -> Option<String> {
    Some(common(&[bound(forms, site, value, 0)?, bound(forms, site, value, -1)?]))
}

/// Those of the form that goes to the target. The place of each thread's request byte is not known before a process runs.
fn other_pattern(forms: u16, site: &Site) -> Option<String> {
    // Each bit of it, and of the byte behind it, is in one of them another one.
    Some(common(&[goes(forms, site, 0)?, goes(forms, site, -1)?, goes(forms, site, -2)?]))
}

/// Those of a constant's form for numbers such as these, which are not known before a process runs.
fn constant_pattern(forms: u16, site: &Site, numbers: &[u64]) -> Option<String> {
    let forms: Option<Vec<_>> = numbers.iter().map(|&number| constant(forms, site, number)).collect();
    forms.map(|forms| common(&forms))
}

/// What forms have in common; where one differs `??` is to be.
fn common(forms: &[Code]) -> String {
    let forms: Vec<_> = forms.iter().map(|form| form.write_to(&mut [0; Code::LONGEST]).to_vec()).collect();
    let byte = |(at, byte): (usize, &u8)| {
        if forms.iter().all(|form| form[at] == *byte) { format!("{byte:02x}") } else { "??".into() }
    };
    forms[0].iter().enumerate().map(byte).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use invar_abi::machine;

    /// The bytes of which some depend on where requests go are left open, whatever that is.
    #[test]
    fn a_pattern_fits_every_request() {
        let (enter, leave) = (Kind::SliceEnter, Kind::SliceLeave);
        let sites = [
            (machine::X86_64, enter, 12),
            (machine::X86_64, leave, 11),
            (machine::RISCV, enter, 8),
            (machine::RISCV, leave, 16),
        ];
        for (forms, kind, length) in sites {
            let site = Site { address: 0x1000, target: 0x1040, state: 0x4000, length, kind, value: 0 };
            let pattern = other_pattern(forms, &site).unwrap();
            assert!(pattern.contains(|digit| digit != '?' && digit != ' '), "{pattern}");
            for request in -0x800..0x7fe {
                let code = goes(forms, &site, request).unwrap();
                let code = text::hex_bytes(code.write_to(&mut [0; Code::LONGEST]));
                let fits = pattern.split(' ').zip(code.split(' ')).all(|(is, byte)| is == "??" || is == byte);
                assert!(fits, "{pattern} {code}");
            }
        }
    }

    /// A number's form fits the pattern of its instruction, and no other.
    #[test]
    fn one_pattern_fits_every_number() {
        let bits = (0..64).flat_map(|bit| [1_u64 << bit, 0xfedc << bit, 0x7ff << bit]);
        let numbers: Vec<u64> = bits.flat_map(|number| [number, !number, number.wrapping_sub(1)]).collect();
        let machines = [(machine::X86_64, [7, 11], 4), (machine::AARCH64, [4, 4], 31), (machine::RISCV, [4, 4], 0)];
        for (forms, lengths, not) in machines {
            for value in (0..64).filter(|value| value % 32 != not && (forms != machine::X86_64 || value % 32 < 16)) {
                let is_wide = value >= 32;
                let length = lengths[usize::from(is_wide)];
                let site = Site { address: 0x1004, target: 0x4100, state: 0x4000, length, kind: Kind::Constant, value };
                let patterns: Vec<_> = examples(forms, &site)
                    .iter()
                    .map(|numbers| constant_pattern(forms, &site, numbers).expect("a pattern"))
                    .collect();
                let mut seen = vec![0; patterns.len()];
                for &number in &numbers {
                    let number = if is_wide { number } else { number & 0xffff_ffff };
                    let Some(code) = constant(forms, &site, number) else { continue };
                    let code = text::hex_bytes(code.write_to(&mut [0; Code::LONGEST]));
                    let fits = |pattern: &String| {
                        pattern.split(' ').zip(code.split(' ')).all(|(is, byte)| is == "??" || is == byte)
                    };
                    let fitting: Vec<_> = (0..patterns.len()).filter(|&at| fits(&patterns[at])).collect();
                    let [at] = fitting[..] else { panic!("{site:x?} {number:x}: {code} of {patterns:?}") };
                    seen[at] += 1;
                }
                assert!(seen.iter().all(|&count| count > 1), "{site:x?} {seen:?}");
            }
        }
    }
}
