//! The figures of the README and of the book are those of the record, `docs/record/`, which `benches/record` makes.
//!
//! A comment marks a figure, and says where in the record it stands:
//!
//! ```text
//! 17<!-- record PART: "TITLE" "ROW" 4 / "TITLE" "OTHER ROW" 4 - 1 * 100 --> %
//! ```
//!
//! A figure is the number of this column, behind the row's name, in the paragraph of the part that begins with the title. `/`, `*`
//! and `-` are done from left to right, with figures, with numbers, and with what stands in `( )`. The text has as many decimals as it wants.
//!
//! - `*AMD EPYC*<!-- record PART: machine -->` is what the part's head has.
//! - `<!-- record PART: "TITLE", "TITLE" -->` on the line before a block: these paragraphs are the block.
//! - `<!-- record PART: cells -->` on the line before a block: under each heading, which begins a title, the rows' first numbers. Two
//!   tables may stand side by side.
//! - `<!-- record: parts -->` before a table: all parts, and what they were measured with.
//! - `<!-- not measured: WHY -->` in a paragraph: its figures are others', or no measurement's.
//!
//! A block of a part that is not in the record says so, with the command. A figure of such a part is a mistake.
//!
//! `INVAR_TEST_WRITE=1 cargo test --test record` writes the figures that the record has into the documents.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the files in a folder that end so, in order.
fn files(folder: &str, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What was measured, by the parts' names.
struct Record(BTreeMap<String, Measured>);

/// What one command said.
struct Measured {
    /// As "machine".
    head: BTreeMap<String, String>,
    /// What stands between empty lines.
    paragraphs: Vec<Vec<String>>,
}

type Found<T> = Result<T, String>;

impl Record {
    fn of_the_tree() -> Self {
        let name = |file: &String| file.trim_end_matches(".txt").to_owned();
        let parts = files("docs/record", ".txt").into_iter().map(|file| {
            let measured = Measured::of(&read(&format!("docs/record/{file}")));
            (name(&file), measured.unwrap_or_else(|why| panic!("{file}: {why}")))
        });
        Self(parts.collect())
    }

    fn part(&self, name: &str) -> Found<&Measured> {
        self.0.get(name).ok_or_else(|| format!("the record has no part {name:?}"))
    }
}

/// What each part says of how it was measured.
const HEAD: [&str; 7] = ["command", "measured", "machine", "kernel", "commit", "compiler", "load"];

impl Measured {
    fn of(text: &str) -> Found<Self> {
        let (head, said) = text.split_once("\n\n").ok_or("no head")?;
        let pairs = head.lines().filter_map(|line| line.split_once(": "));
        let head: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if let Some(missing) = HEAD.iter().find(|&&name| !head.contains_key(name)) {
            return Err(format!("its head does not say: {missing}"));
        }
        let paragraphs = said.split("\n\n").map(|text| text.trim_matches('\n')).filter(|text| !text.is_empty());
        let paragraphs = paragraphs.map(|text| text.lines().map(str::to_owned).collect()).collect();
        Ok(Self { head, paragraphs })
    }

    /// The one paragraph that begins so.
    fn paragraph(&self, title: &str) -> Found<&[String]> {
        let mut found = self.paragraphs.iter().filter(|lines| lines[0].trim_start().starts_with(title));
        match (found.next(), found.next()) {
            (Some(lines), None) => Ok(lines),
            (None, _) => Err(format!("no paragraph begins with {title:?}")),
            _ => Err(format!("several paragraphs begin with {title:?}")),
        }
    }

    /// The numbers of a row. A name ends where two blanks follow, or a blank and a number.
    fn numbers(&self, title: &str, name: &str) -> Found<Vec<f64>> {
        let mut rows = self.paragraph(title)?.iter().filter_map(|line| {
            let line = format!("  {}  ", line.trim());
            let behind = line.split_once(&format!("  {name}"))?.1.to_owned();
            let is_end = behind.starts_with("  ")
                || behind
                    .strip_prefix(' ')
                    .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
                || behind.starts_with(':');
            is_end.then_some(behind)
        });
        let row = rows.next().ok_or_else(|| format!("no row of {title:?} is {name:?}"))?;
        let words = row.split(|letter: char| letter.is_whitespace() || "[](){}=:;".contains(letter));
        Ok(words.filter_map(|word| word.trim_end_matches(',').replace(',', "").parse().ok()).collect())
    }

    /// What this comes to, from left to right.
    fn value(&self, expression: &str) -> Found<f64> {
        let mut words = words(expression)?.into_iter();
        let value = self.sum(&mut words)?;
        if words.next().is_some() { Err(format!("no end: {expression}")) } else { Ok(value) }
    }

    /// What stands before the end, or before what closes it.
    fn sum(&self, words: &mut dyn Iterator<Item = Word>) -> Found<f64> {
        let mut value = self.operand(words)?;
        while let Some(sign) = words.next() {
            let Word::Bare(sign) = sign else { return Err("no sign between figures".into()) };
            if sign == ")" {
                break;
            }
            let operand = self.operand(words);
            value = match sign.as_str() {
                "/" => value / operand?,
                "*" => value * operand?,
                "-" => value - operand?,
                _ => return Err(format!("no sign is {sign}")),
            };
        }
        Ok(value)
    }

    fn operand(&self, words: &mut dyn Iterator<Item = Word>) -> Found<f64> {
        match words.next() {
            Some(Word::Bare(open)) if open == "(" => self.sum(words),
            Some(Word::Bare(number)) => number.parse().map_err(|_| format!("no number is {number}")),
            Some(Word::Quoted(title)) => {
                let (Some(Word::Quoted(row)), Some(Word::Bare(column))) = (words.next(), words.next()) else {
                    return Err(format!("behind {title:?}: no row and no column"));
                };
                let column: usize = column.parse().map_err(|_| format!("no column is {column}"))?;
                let numbers = self.numbers(&title, &row)?;
                let number = column.checked_sub(1).and_then(|at| numbers.get(at));
                number.copied().ok_or_else(|| format!("row {row:?} of {title:?} has no number {column}: {numbers:?}"))
            }
            None => Err("no figure".into()),
        }
    }
}

enum Word {
    Quoted(String),
    Bare(String),
}

fn words(text: &str) -> Found<Vec<Word>> {
    let mut words = vec![];
    for (at, part) in text.split('"').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(|word| Word::Bare(word.to_owned()))),
            _ => words.push(Word::Quoted(part.to_owned())),
        }
    }
    if text.matches('"').count().is_multiple_of(2) { Ok(words) } else { Err(format!("a quote is open: {text}")) }
}

/// A number as the text has it: with as many decimals, and with commas if it has some.
fn written_as(shown: &str, value: f64) -> String {
    let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let text = format!("{value:.decimals$}");
    if !shown.contains(',') {
        return text;
    }
    let (whole, rest) =
        text.split_once('.').map_or((&*text, String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let digits: Vec<char> = whole.chars().rev().collect();
    let groups: Vec<String> = digits.chunks(3).map(|group| group.iter().collect()).collect();
    groups.join(",").chars().rev().collect::<String>() + &rest
}

/// The document with the figures that the record has.
fn rewritten(text: &str, record: &Record) -> Found<String> {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    let (mut is_code, mut number) = (false, 0);
    while let Some(line) = lines.next() {
        number += 1;
        let at = |why: String| format!("line {number}: {why}");
        let whole = line.strip_prefix("<!-- record").and_then(|rest| rest.strip_suffix("-->"));
        match whole.filter(|_| !is_code) {
            None => {
                is_code ^= line.starts_with("```");
                out += &if is_code { line.to_owned() } else { in_line(line, record).map_err(at)? };
                out += "\n";
            }
            Some(mark) => {
                out += &format!("{line}\n");
                let (part, what) = mark.split_once(':').ok_or_else(|| at("no part".into()))?;
                let (part, what) = (part.trim(), what.trim());
                let is_table = part.is_empty() && what == "parts";
                let mut old = vec![];
                if is_table {
                    while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                        old.push(row);
                    }
                } else {
                    let fence = lines.next().filter(|line| line.starts_with("```"));
                    out += &format!("{}\n", fence.ok_or_else(|| at("no block".into()))?);
                    old.extend(lines.by_ref().take_while(|&line| line != "```"));
                }
                out += &block(record, part, what, &old).map_err(at)?;
                number += old.len() + if is_table { 0 } else { 2 };
                out += if is_table { "" } else { "```\n" };
            }
        }
    }
    Ok(out)
}

/// A block, or a table, with what the record has.
fn block(record: &Record, part: &str, what: &str, old: &[&str]) -> Found<String> {
    if part.is_empty() {
        return Ok(parts(record));
    }
    let Some(measured) = record.0.get(part) else { return Ok(format!("not measured yet: benches/record {part}\n")) };
    if what == "cells" {
        return cells(measured, old);
    }
    let mut paragraphs = vec![];
    for word in words(what)? {
        match word {
            Word::Quoted(title) => paragraphs.push(measured.paragraph(&title)?.join("\n") + "\n"),
            Word::Bare(comma) if comma == "," => {}
            Word::Bare(other) => return Err(format!("no title: {other}")),
        }
    }
    Ok(paragraphs.join("\n"))
}

/// Where the second of two tables begins that stand side by side.
const SECOND_COLUMN: usize = 46;

fn cells(measured: &Measured, old: &[&str]) -> Found<String> {
    let mut headings = [""; 2];
    let mut out = String::new();
    for line in old {
        let (left, right) = line.split_at(line.len().min(SECOND_COLUMN));
        let mut row = String::new();
        for (column, cell) in [left, right].into_iter().enumerate() {
            row += &match cell.strip_prefix("  ").and_then(|row| row.trim_end().rsplit_once("  ")) {
                None => {
                    headings[column] = if cell.trim().is_empty() { headings[column] } else { cell.trim() };
                    cell.to_owned()
                }
                Some((name, shown)) => {
                    let width = cell.trim_end().len();
                    let numbers = measured.numbers(headings[column], name.trim())?;
                    let value = *numbers.first().ok_or_else(|| format!("no number: {cell}"))?;
                    let new = written_as(shown.trim(), value);
                    let name = name.trim_end();
                    let text =
                        format!("  {name}{new:>fill$}", fill = width.saturating_sub(name.len() + 2).max(new.len() + 1));
                    if column == 0 && !right.is_empty() { format!("{text:SECOND_COLUMN$}") } else { text }
                }
            };
        }
        out += &format!("{}\n", row.trim_end());
    }
    Ok(out)
}

/// What was measured with what.
fn parts(record: &Record) -> String {
    let mut out =
        String::from("| part | measured | machine | kernel | commit | load before |\n|---|---|---|---|---|---|\n");
    for (name, measured) in &record.0 {
        let [date, machine, kernel, commit, load] =
            ["measured", "machine", "kernel", "commit", "load"].map(|what| &measured.head[what]);
        out += &format!("| `{name}` | {date} | {machine} | {kernel} | {commit} | {load} |\n");
    }
    out
}

/// A line with the figures that the record has.
fn in_line(line: &str, record: &Record) -> Found<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("<!-- record ") {
        let (mark, behind) = behind.split_once("-->").ok_or("a mark has no end in its line")?;
        let (part, what) = mark.split_once(':').ok_or("no part")?;
        let (part, what) = (part.trim(), what.trim());
        let head = match record.0.get(part) {
            Some(measured) => measured.head.get(what).map(String::as_str),
            None => HEAD.contains(&what).then_some("a machine on which it is to be measured yet"),
        };
        if let Some(value) = head {
            let opened =
                before.strip_suffix('*').and_then(|text| text.rfind('*')).ok_or("no *text* before the mark")?;
            out += &format!("{}*{value}*", &before[..opened]);
        } else {
            let start = before.trim_end_matches(|letter: char| letter.is_ascii_digit() || ".,".contains(letter)).len();
            let shown = &before[start..];
            if !shown.starts_with(|letter: char| letter.is_ascii_digit()) {
                return Err(format!("no figure before {what}"));
            }
            out += &before[..start];
            out += &written_as(shown, record.part(part)?.value(what)?);
        }
        out += &format!("<!-- record {mark}-->");
        rest = behind;
    }
    Ok(out + rest)
}

/// The README and the book.
fn documents() -> Vec<String> {
    let pages = ["docs", "docs/ports"]
        .map(|folder| files(folder, ".md").into_iter().map(move |page| format!("{folder}/{page}")));
    std::iter::once("README.md".to_owned()).chain(pages.into_iter().flatten()).collect()
}

#[test]
fn figures_are_those_of_the_record() {
    let record = Record::of_the_tree();
    let mut marks = 0;
    for document in documents() {
        let text = read(&document);
        let new = rewritten(&text, &record).unwrap_or_else(|why| panic!("{document}, {why}"));
        marks += text.matches("<!-- record").count();
        if std::env::var_os("INVAR_TEST_WRITE").is_some() {
            std::fs::write(root().join(&document), new).unwrap();
            continue;
        }
        for (at, (is, wanted)) in text.lines().zip(new.lines()).enumerate() {
            assert_eq!(is, wanted, "{document}:{}: not what the record has", at + 1);
        }
        assert_eq!(text, new, "{document}: not what the record has");
    }
    assert!(marks > 20, "{marks}");
}

/// The command's parts are the record's, so that none is there which nobody can make again.
#[test]
fn each_part_has_its_command() {
    let script = read("benches/record");
    let bench = "cargo bench -p invar-bench --";
    let guest = "cargo test -p invar-guest --test guest -- --nocapture --test-threads=1";
    assert!(script.contains(&format!("bench='{bench}'\n")) && script.contains(&format!("guest='{guest}'\n")));
    let listed = script.lines().filter_map(|line| line.strip_prefix("    \"")?.strip_suffix('"')?.split_once('|'));
    let listed: BTreeMap<_, _> =
        listed.map(|(name, command)| (name, command.replace("$bench", bench).replace("$guest", guest))).collect();
    for (name, measured) in &Record::of_the_tree().0 {
        let command = listed.get(name.as_str()).unwrap_or_else(|| panic!("benches/record has no part {name}"));
        assert_eq!(&measured.head["command"], command, "{name}");
    }
}

/// What a number is followed by if it was measured.
const UNITS: [&str; 15] = [
    "ns",
    "us",
    "ms",
    "%",
    "percent",
    "KiB",
    "MiB",
    "nanoseconds",
    "microseconds",
    "milliseconds",
    "microsecond",
    "millisecond",
    "nanosecond",
    "instructions",
    "cycles",
];

/// Pages that describe formats and forms, whose numbers are fixed.
const FORMATS: [&str; 4] = ["docs/json.md", "docs/profile.md", "docs/site-abi.md", "docs/adding.md"];

/// The figures of a paragraph without a mark.
fn unmarked(paragraph: &str) -> Vec<String> {
    if paragraph.contains("<!-- not measured: ") {
        return vec![];
    }
    let mut text = String::new();
    // Code is what somebody types.
    for (at, part) in paragraph.split('`').enumerate() {
        text += if at % 2 == 0 { part } else { "code" };
    }
    while let Some((before, behind)) = text.split_once("<!-- record ") {
        let start = before.trim_end_matches(|letter: char| letter.is_ascii_digit() || ".,".contains(letter)).len();
        let end = behind.find("-->").map_or(behind.len(), |end| end + 3);
        text = format!("{}marked{}", &before[..start], &behind[end..]);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_number = |word: &str| {
        let word = word.trim_start_matches(['(', '+', '-']);
        !word.is_empty() && word.replace(',', "").parse::<f64>().is_ok()
    };
    let unit = |word: &str| word.trim_end_matches(|letter: char| ".,;:)".contains(letter)).to_owned();
    let pairs = words.windows(2).filter(|pair| is_number(pair[0]) && UNITS.contains(&&*unit(pair[1])));
    pairs.map(|pair| pair.join(" ")).collect()
}

#[test]
fn no_figure_is_without_a_mark() {
    let (mut paragraphs, mut found) = (0, vec![]);
    for document in documents().into_iter().filter(|document| !FORMATS.contains(&&**document)) {
        let text = read(&document);
        let (mut paragraph, mut is_code, mut last) = (String::new(), false, "");
        for line in text.lines().chain([""]) {
            if line.starts_with("```") {
                is_code = !is_code;
                // A block that was measured has units in the titles of its tables.
                let is_marked = last.starts_with("<!-- record ") || last.starts_with("<!-- not measured: ");
                let measured = |line: &&str| {
                    line.contains(", ns")
                        || line.contains(" a ms")
                        || line.contains("a millisecond")
                        || line.contains("waits in us")
                };
                let begins =
                    text[text.len().min(line.as_ptr() as usize - text.as_ptr() as usize)..].split("```").nth(1);
                if is_code && !is_marked && begins.is_some_and(|code| code.lines().any(|line| measured(&line))) {
                    found.push(format!("{document}: a block: {}", begins.unwrap().lines().nth(1).unwrap_or("")));
                }
            }
            let ends = line.is_empty() || is_code || line.starts_with("- ") || line.starts_with('|');
            if ends {
                paragraphs += 1;
                found.extend(unmarked(&paragraph).into_iter().map(|figure| format!("{document}: {figure}")));
                paragraph.clear();
            }
            if !is_code && !line.starts_with('|') {
                paragraph += line;
                paragraph += " ";
            }
            last = line;
        }
    }
    assert!(paragraphs > 200, "{paragraphs}");
    assert!(found.is_empty(), "not marked, see tests/record.rs:\n{}", found.join("\n"));
}

const SAID: &str = "\
command: true
measured: 2026-01-01
machine: a machine
kernel: a kernel
commit: 0
compiler: rustc
load: 0.00

one call, warm, ns                 more  ratio
direct call                      1,000.50 [1.41 1.43]
direct call twice                2.25 [1.41 1.43]            0.75  1.50 [1.00 1.00]

one call, cold, ns
  direct call   7
";

fn example() -> Record {
    Record(BTreeMap::from([("part".to_owned(), Measured::of(SAID).unwrap())]))
}

#[test]
fn figures_are_found() {
    let said = |text: &str| in_line(text, &example());
    let same = |text: &str| assert_eq!(said(text).as_deref(), Ok(text));
    same(r#"1,000.5<!-- record part: "one call, warm" "direct call" 1 --> ns"#);
    same(
        r#"2<!-- record part: "one call, warm" "direct call twice" 1 --> and 0.75<!-- record part: "one call, warm" "direct call twice" 4 -->"#,
    );
    same(r#"78<!-- record part: "one call, cold" "direct call" 1 / 9 * 100 --> %"#);
    same(r#"4.75<!-- record part: "one call, cold" "direct call" 1 - "one call, warm" "direct call twice" 1 -->."#);
    same("on *a machine*<!-- record part: machine -->");
    assert_eq!(
        said(r#"(8<!-- record part: "one call, cold" "direct call" 1 -->)"#).as_deref(),
        Ok(r#"(7<!-- record part: "one call, cold" "direct call" 1 -->)"#)
    );
    for (text, why) in [
        (r#"8<!-- record other: "one call, cold" "direct call" 1 -->"#, "no part"),
        (r#"8<!-- record part: "one call" "direct call" 1 -->"#, "several paragraphs"),
        (r#"8<!-- record part: "two calls" "direct call" 1 -->"#, "no paragraph"),
        (r#"8<!-- record part: "one call, cold" "direct" 1 -->"#, "no row"),
        (r#"8<!-- record part: "one call, cold" "direct call" 2 -->"#, "no number 2"),
        (r#"<!-- record part: "one call, cold" "direct call" 1 --> 8"#, "no figure before"),
        (r#"8<!-- record part: "one call, cold" "direct call" 1 + 1 -->"#, "no sign"),
    ] {
        assert!(said(text).is_err_and(|error| error.contains(why)), "{text}: {:?}", said(text));
    }
}

#[test]
fn blocks_are_found() {
    let text = "<!-- record part: \"one call, cold\" -->\n```text\nold\n```\nbehind\n";
    let new = "<!-- record part: \"one call, cold\" -->\n```text\none call, cold, ns\n  direct call   7\n```\nbehind\n";
    assert_eq!(rewritten(text, &example()).as_deref(), Ok(new));
    assert_eq!(rewritten(new, &example()).as_deref(), Ok(new));
    let cells = |left: &str, right: &str| {
        let first = format!("{:46}one call, cold", "one call, warm");
        format!(
            "<!-- record part: cells -->\n```text\n{first}\n{:46}  direct call{right:>10}\n```\n",
            format!("  direct call twice{left:>10}")
        )
    };
    assert_eq!(rewritten(&cells("9.00", "0.0"), &example()), Ok(cells("2.25", "7.0")));
    assert!(rewritten("<!-- record part: \"one call, cold\" -->\n\ntext\n", &example()).is_err());
    let missing = |text: &str| format!("<!-- record other: \"one call\" -->\n```text\n{text}```\n");
    let said = "not measured yet: benches/record other\n";
    assert_eq!(rewritten(&missing("1 ns\n"), &example()), Ok(missing(said)));
}

#[test]
fn figures_without_a_mark_are_found() {
    assert_eq!(unmarked("It takes 1.5 ns, and (17 %) of 2,000 us."), ["1.5 ns,", "(17 %)", "2,000 us."]);
    let marked = r#"It takes 1.5<!-- record part: "a" "b" 1 --> ns, `2 ns`, 3 of 4, and half."#;
    assert!(unmarked(marked).is_empty(), "{:?}", unmarked(marked));
    assert!(unmarked("Others say 3 ns. <!-- not measured: a paper -->").is_empty());
}
