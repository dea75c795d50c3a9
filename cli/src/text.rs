//! How listings are written.

use serde::{Serialize, Serializer};
use std::fmt;
use std::io::{self, Write};

/// The width that listings are wrapped at.
pub const WIDTH: usize = 100;
/// The width that pages of prose are wrapped at, as a terminal has it at first.
pub const NARROW: usize = 80;

/// How a listing is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs; `docs/json.md` describes it.
    Json,
}

impl Format {
    /// By the option `--json`.
    pub fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// A number that is shown in hexadecimal, in JSON as a string: readers of JSON lose digits above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Text from elsewhere, as it is; what is not UTF-8 is replaced. JSON escapes by itself.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Text from elsewhere, fit for a terminal: what would act on it, or on what stands beside it, is escaped.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// Characters that have no width, turn the direction of writing, or end a line.
/// Source: Unicode 16, general categories Cf, Zl and Zp.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

/// Bytes in hexadecimal, separated by spaces.
pub fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// "1 site", "2 sites".
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// As [`wrap_at`], at [`WIDTH`].
pub fn wrap(out: &mut dyn Write, first: &str, words: &str) -> io::Result<()> {
    wrap_at(WIDTH, out, first, words)
}

/// Writes `words` behind `first`, wrapped at this width; the lines that follow are indented as far as `first` is wide. It may have
/// colours in it.
pub fn wrap_at(limit: usize, out: &mut dyn Write, first: &str, words: &str) -> io::Result<()> {
    let indent = anstream::adapter::strip_str(first).to_string().chars().count();
    let mut line = String::from(first);
    let mut column = indent;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > limit {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(indent);
            column = indent;
        }
        if column > indent {
            line.push(' ');
            column += 1;
        }
        line.push_str(word);
        column += width;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes one JSON document, and ends its line.
pub fn json(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}
