//! How listings are written.

use serde::{Serialize, Serializer};
use std::fmt;
use std::io::{self, Write};

/// The width that text is wrapped at.
pub const WIDTH: usize = 100;

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

/// Text from elsewhere, fit for a terminal: what is not UTF-8 is replaced, control characters are escaped.
pub fn clean(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text
}

/// Bytes in hexadecimal, separated by spaces.
pub fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// "1 site", "2 sites".
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Writes `words` behind `first`, wrapped at [`WIDTH`]; the lines that follow are indented as far as `first` is wide.
pub fn wrap(out: &mut dyn Write, first: &str, words: &str) -> io::Result<()> {
    let indent = first.chars().count();
    let mut line = String::from(first);
    let mut column = indent;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > WIDTH {
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
