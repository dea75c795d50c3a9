//! One module's listing, from which text and JSON are made alike.

use crate::disassemble::{Labels, disassemble};
use crate::elf::Headers;
use crate::inspect::{Standing, Tally, inspect, obstacle};
use crate::keys::{self, Line, SLICE};
use crate::module::{Key, Module, Outcome, Record};
use crate::symbols::{Place, Symbols};
use crate::text::{Hex, WIDTH, clean, count, hex_bytes, wrap, wrap_at};
use invar::{Kind, kind_name};
use invar_abi::{flags, machine};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// A module and what is needed to list it.
pub struct Listing<'a> {
    /// Its file's path.
    pub path: String,
    /// Its functions, if their names are to be had.
    pub symbols: Symbols,
    /// What a reader should know of the module.
    pub remarks: Vec<String>,
    machine: String,
    forms: u16,
    checkable: bool,
    content: Result<Module<'a>, String>,
}

/// What to know of a module that a tool such as patchelf has rewritten.
const MOVED: &str = "its note leads elsewhere, as tools move notes: its header was found by its first bytes";

/// One site, ready to be shown.
#[derive(Serialize)]
pub struct Row {
    /// Position in the table.
    pub index: u64,
    /// Address in the module's file.
    pub address: Hex,
    /// The function that it stands in.
    pub symbol: Option<Place>,
    /// What kind of site.
    pub kind: Option<&'static str>,
    /// Its key's name.
    pub key: Option<String>,
    /// How its key's value stands to its own where it falls through, or goes to its target by a select.
    pub relation: Option<&'static str>,
    /// Its own value.
    pub value: Option<String>,
    /// In bytes.
    pub length: u8,
    /// What stands there.
    #[serde(flatten)]
    pub standing: Standing,
    /// Where a uprobe can be attached, whether the site is bound or not.
    pub uprobe: Option<Hex>,
    /// Where one would break the process, or may.
    pub no_uprobe: Option<Hex>,
    /// Its bytes, in hexadecimal.
    pub bytes: Option<String>,
    /// Its instructions.
    pub code: Vec<String>,
}

impl<'a> Listing<'a> {
    /// The module's listing, or that of the reason why it cannot be read.
    pub fn new(path: String, headers: &Headers, content: Result<Module<'a>, String>) -> Self {
        let forms = headers.forms();
        let obstacle = obstacle(forms);
        let was_moved = content.as_ref().is_ok_and(|module: &Module<'_>| module.note_was_moved);
        Self {
            path,
            symbols: Symbols::default(),
            remarks: obstacle.into_iter().chain(was_moved.then_some(MOVED)).map(str::to_owned).collect(),
            machine: headers.machine(),
            forms,
            checkable: obstacle.is_none(),
            content,
        }
    }

    /// The module, if it could be read.
    pub fn module(&self) -> Option<&Module<'a>> {
        self.content.as_ref().ok()
    }

    /// Every record of the site table.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.module().into_iter().flat_map(|module| module.records().map(|record| self.row(module, &record)))
    }

    fn row(&self, module: &Module<'_>, record: &Record) -> Row {
        let found = inspect(module, record, self.checkable);
        let address = record.address.wrapping_sub(module.base);
        let state = found.key.map(|key| (key.state.wrapping_sub(module.base), key.name.clone()));
        let labels = Labels { state, request_offset: module.outcome.request() };
        let code = found.code.as_deref();
        // Who only has the file does not know which processes there are that have bound it.
        let may_be_bound = match found.standing {
            Standing::Checked => !module.outcome.loaded,
            Standing::Bound(_) | Standing::Unverified(Some(_)) => true,
            Standing::Foreign(_) | Standing::Unverified(None) | Standing::Invalid(_) => false,
        };
        let is_code = found.kind != Some(Kind::Pointer);
        let is_known = is_code && (may_be_bound || found.standing == Standing::Checked);
        let last =
            found.kind.and_then(|kind| last_instruction(self.forms, kind)).map(|last| Hex(address.wrapping_add(last)));
        let relation = found.kind.map(|kind| invar::relation(kind).trim()).filter(|relation| !relation.is_empty());
        Row {
            index: record.index,
            address: Hex(address),
            symbol: code.and_then(|_| self.symbols.find(address)),
            kind: found.kind.map(kind_name),
            key: found.key.map(|key| key.name.clone()),
            relation: relation.filter(|_| found.key.is_some()),
            value: found.key.filter(|_| relation.is_some()).map(|key| key.value_name(record.value)),
            length: record.length,
            standing: found.standing,
            uprobe: is_known.then_some(Hex(address)),
            no_uprobe: last.filter(|_| may_be_bound),
            bytes: code.map(hex_bytes),
            code: code.map(|code| disassemble(self.forms, code, address, labels)).unwrap_or_default(),
        }
    }
}

/// Where in a site its last instruction stands, in checked and in bound form, if the checked form has two: the table of
/// `docs/site-abi.md`, "x86-64". Elsewhere it is one instruction.
fn last_instruction(forms: u16, kind: Kind) -> Option<u64> {
    match kind {
        _ if forms != machine::X86_64 => None,
        Kind::Branch | Kind::Ordered => Some(8),
        Kind::SliceEnter => Some(10),
        Kind::SliceLeave => Some(9),
        Kind::Constant | Kind::Select | Kind::Pointer => None,
    }
}

impl Row {
    /// Kind and key, as in "branch wide == on".
    pub fn what(&self) -> String {
        match (self.kind, &self.key, &self.value) {
            (None, ..) => "of no known kind".into(),
            (Some(kind), Some(key), Some(value)) => {
                format!("{kind} {} {} {}", clean(key), self.relation.unwrap_or("=="), clean(value))
            }
            // Nearly every slice site has the built-in key.
            (Some(kind), Some(key), _) if key != SLICE => format!("{kind} {}", clean(key)),
            (Some(kind), ..) => kind.into(),
        }
    }

    /// Writes its bytes and its instructions behind `first`, wrapped at this width, if it has any.
    pub fn print_code(&self, width: usize, first: &str, out: &mut dyn Write) -> io::Result<()> {
        let Some(bytes) = self.bytes.as_ref().filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        // The longest site has 14 bytes, and most have 9 or 10. A record that describes none may say anything.
        let most = hex_bytes(&[0; 16]).len();
        let shown = if bytes.len() > most { format!("{} ...", &bytes[..most]) } else { format!("{bytes:<29}") };
        wrap_at(width, out, &format!("{first}{shown}  "), &clean(&self.code.join("; ")))
    }

    /// Why nothing stands behind its record, if so: as a linker leaves it when it discards a function.
    fn dangles(&self) -> Option<&'static str> {
        match &self.standing {
            Standing::Invalid(why) if self.bytes.as_ref().is_none_or(String::is_empty) => Some(why),
            _ => None,
        }
    }
}

/// Writes a listing for people.
pub fn print(listing: &Listing<'_>, out: &mut dyn Write) -> io::Result<()> {
    let module = match &listing.content {
        Err(why) => return writeln!(out, "{}: {why}", clean(&listing.path)),
        Ok(module) => module,
    };
    let (sites, keys) = (count(module.records_len(), "site record"), count(module.keys.len() as u64, "key"));
    writeln!(out, "{}: {}, {sites}, {keys}", clean(&listing.path), listing.machine)?;
    for remark in &listing.remarks {
        wrap(out, "  ", remark)?;
    }
    if module.outcome.loaded {
        let at = format!("loaded at {:#x}; {}", module.base, describe(module));
        wrap(out, "  ", &at)?;
    }
    print_keys(module, out)?;
    print_sites(listing, module, out)
}

fn print_keys(module: &Module<'_>, out: &mut dyn Write) -> io::Result<()> {
    let is_switch = |key: &&Key| key.flags & flags::SWITCH != 0;
    let (switches, others) = module.keys.iter().partition::<Vec<_>, _>(is_switch);
    for (heading, keys) in [("keys", others), ("switches", switches)] {
        if keys.is_empty() {
            continue;
        }
        writeln!(out, "\n{heading}")?;
        let mut lines = keys.into_iter().map(Line::from).collect::<Vec<_>>();
        keys::sort(&mut lines);
        keys::print_compact(WIDTH, &lines, out)?;
    }
    for (index, why) in &module.invalid_keys {
        writeln!(out, "  key record {index}: invalid: {why}")?;
    }
    Ok(())
}

/// What a tool must know that stops where sites are.
const UPROBES: &str = "uprobes: on a site's first instruction, never on the last one of a site that is bound or may be; \
                       a debugger's breakpoints: on both";

fn print_sites(listing: &Listing<'_>, module: &Module<'_>, out: &mut dyn Write) -> io::Result<()> {
    if module.records_len() == 0 {
        return Ok(());
    }
    writeln!(out, "\nsites")?;
    if listing.forms == machine::X86_64 {
        wrap(out, "  ", UPROBES)?;
    }
    let widest =
        |key: &Key| "branch  == ".len() + key.name.len() + key.values.iter().map(String::len).max().unwrap_or(0);
    let width = module.keys.iter().map(widest).max().unwrap_or(0).clamp(16, 40);
    let mut tally = Tally::default();
    let mut rows = listing.rows().inspect(|row| tally.add(&row.standing)).peekable();
    while let Some(row) = rows.next() {
        let (first, mut last) = (row.index, row.index);
        while let Some(next) = rows.next_if(|next| row.dangles().is_some() && next.dangles() == row.dangles()) {
            last = next.index;
        }
        match row.dangles() {
            // A table may consist of nothing else.
            Some(why) if last > first => writeln!(out, "  records {first} to {last}: invalid: {why}")?,
            _ => print_site(&row, width, out)?,
        }
    }
    drop(rows);
    writeln!(out, "\n{}: {tally}", count(tally.total(), "site"))?;
    let unread = module.records_len() - tally.total();
    if unread > 0 {
        writeln!(out, "{} cannot be read", count(unread, "more record"))?;
    }
    Ok(())
}

/// Up to three lines, so that they are not longer than [`WIDTH`](crate::text::WIDTH) but for a long name.
fn print_site(row: &Row, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let (address, what) = (row.address.0, row.what());
    wrap(out, &format!("  {address:<#10x}{what:width$}  {:2}  ", row.length), &row.standing.to_string())?;
    if let Some(place) = &row.symbol {
        writeln!(out, "{:12}{place}", "")?;
    }
    row.print_code(WIDTH, &" ".repeat(12), out)
}

/// What came of binding a module, in words.
pub fn describe(module: &Module<'_>) -> String {
    let outcome = &module.outcome;
    let bound = u64::from(outcome.bound);
    match (bound, reason(outcome)) {
        _ if module.records_len() == 0 => "there is nothing to bind".into(),
        (0, Some(reason)) => format!("no site is bound: {reason}"),
        (0, None) => "no site is bound".into(),
        (_, reason) => {
            let (writers, time) = (outcome.writers.join(" and "), outcome.nanoseconds as f64 / 1000.0);
            let others = reason.filter(|_| bound < module.records_len());
            let others = others.map_or(String::new(), |reason| format!("; the others stay checked: {reason}"));
            let refused: Vec<_> = outcome.refusals.iter().map(|(writer, why)| format!("{writer} ({why})")).collect();
            let refused = if refused.is_empty() { String::new() } else { format!("; refused: {}", refused.join(", ")) };
            let by = if writers.is_empty() { "" } else { " by " };
            format!("{bound} bound{by}{writers} in {time:.1} us{others}{refused}")
        }
    }
}

fn reason(outcome: &Outcome) -> Option<String> {
    let reason = outcome.reason?;
    Some(match reason.detail() {
        None => reason.describe().into(),
        Some(detail) => format!("{} {detail}", reason.describe()),
    })
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Module", 9)?;
        fields.serialize_field("path", &self.path)?;
        fields.serialize_field("machine", &self.machine)?;
        fields.serialize_field("remarks", &self.remarks)?;
        fields.serialize_field("problem", &self.content.as_ref().err())?;
        if let Ok(module) = &self.content {
            fields.serialize_field("base", &Hex(module.base))?;
            fields.serialize_field("outcome", &module.outcome)?;
            fields.serialize_field("keys", &module.keys)?;
            fields.serialize_field("invalid_keys", &module.invalid_keys)?;
            fields.serialize_field("sites", &Rows(self))?;
        }
        fields.end()
    }
}

/// The rows, made as they are written.
struct Rows<'a, 'b>(&'a Listing<'b>);

impl Serialize for Rows<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rows())
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Standing", 3)?;
        fields.serialize_field("status", self.name())?;
        fields.serialize_field("bound_to", &self.bound_to())?;
        fields.serialize_field("why", &self.why())?;
        fields.end()
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Outcome", 7)?;
        fields.serialize_field("loaded", &self.loaded)?;
        fields.serialize_field("bound", &self.bound)?;
        fields.serialize_field("writers", &self.writers)?;
        let refusals: BTreeMap<_, _> = self.refusals.iter().map(|(writer, why)| (writer, why)).collect();
        fields.serialize_field("refusals", &refusals)?;
        fields.serialize_field("reason", &reason(self))?;
        fields.serialize_field("nanoseconds", &self.nanoseconds)?;
        fields.serialize_field("request_offset", &self.request)?;
        fields.end()
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Key", 6)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("values", &self.values)?;
        fields.serialize_field("value", &self.decided().map(|value| self.value_name(value)))?;
        fields.serialize_field("number", &self.number())?;
        fields.serialize_field("origin", &self.verdict.as_ref().map(|verdict| verdict.origin.name()))?;
        fields.serialize_field("evidence", &self.verdict.as_ref().map(|verdict| &verdict.evidence))?;
        fields.serialize_field("switch", &(self.flags & flags::SWITCH != 0))?;
        fields.end()
    }
}
