//! `invar sites --manifest`: what of a file may change in memory, offset by offset, for tools that compare the two.

use crate::elf::Headers;
use crate::error::{Error, Result};
use crate::file::{CUT_OFF, Contents, Segments};
use crate::image::Image;
use crate::inspect::{Standing, inspect, obstacle};
use crate::module::{Key, Module, Record};
use crate::text::{self, Hex, lossy};
use invar_abi::judge;
use invar_abi::x86_64::bound;
use invar_abi::{Code, Site};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// `docs/json.md` describes it.
#[derive(Serialize)]
struct Document {
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
    new: [Form; 2],
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
    let mut records = 0;
    if let Some(module) = &module {
        records = module.records_len();
        if let Some(why) = obstacle(headers.is_x86_64()) {
            return Err(unusable(why));
        }
        sites.extend(module.records().filter_map(|record| entry(module, &segments, &record)));
    }
    let others = records - sites.len() as u64;
    let file = lossy(path.as_os_str().as_encoded_bytes());
    let document = Document { schema: "invar.manifest/1", version: env!("CARGO_PKG_VERSION"), file, sites, others };
    Ok(text::json(out, &document)?)
}

/// What a record lets change.
fn entry(module: &Module<'_>, segments: &Segments<'_>, record: &Record) -> Option<Entry> {
    let found = inspect(module, record, true);
    let code = found.code.filter(|_| found.standing == Standing::Checked)?;
    let places = [record.address, record.target, record.state];
    let (site, key): (Site, &Key) = judge::site(&record.record, places, &mut &*module).ok()?;
    // All values but the site's own have one form.
    let (own, others) = (0..key.values.len() as u8).partition::<Vec<_>, _>(|&value| value == site.value);
    let form = |values: Vec<u8>, value| {
        let values = values.into_iter().map(|value| key.value_name(value)).collect();
        Some(Form { values, bytes: pattern(&site, value)? })
    };
    Some(Entry {
        offset: segments.offset(record.address, record.length.into())?,
        address: Hex(record.address),
        length: record.length,
        key: key.name.clone(),
        old: text::hex_bytes(&code),
        new: [form(own, site.value)?, form(others, site.value ^ 1)?],
    })
}

/// The bytes of the form for this value. The place of each thread's request byte is not known before a process runs: its bytes
/// are `??`.
fn pattern(site: &Site, value: u8) -> Option<String> {
    let [zeros, ones] = [bound(site, value, 0)?, bound(site, value, -1)?];
    let byte = |(&zeros, &ones): (&u8, &u8)| if zeros == ones { format!("{zeros:02x}") } else { "??".into() };
    let (mut buffer, mut other) = ([0; Code::LONGEST], [0; Code::LONGEST]);
    let bytes = zeros.write_to(&mut buffer).iter().zip(ones.write_to(&mut other)).map(byte);
    Some(bytes.collect::<Vec<_>>().join(" "))
}
