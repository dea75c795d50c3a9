//! Figures beside the numbers that they are to reach.

use std::fmt;

/// A table of figures: first whether the target is met.
#[derive(Default)]
pub struct Targets(Vec<[String; 4]>);

/// The columns' widths; with two blanks between them a line has a hundred.
const WIDTHS: [usize; 4] = [9, 44, 26, 15];

impl Targets {
    /// Adds a figure, its target in words, and whether it is met.
    pub fn add(&mut self, what: &str, figure: String, wanted: &str, met: bool) {
        let verdict = if met { "met" } else { "NOT met" };
        self.0.push([verdict.into(), what.into(), figure, wanted.into()]);
    }

    /// Adds a figure without a target, or with one that cannot be applied, and why.
    pub fn show(&mut self, what: &str, figure: String, why: &str) {
        self.0.push(["no target".into(), what.into(), figure, why.into()]);
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "what", "figure", "target"].map(String::from);
        for row in [&head].into_iter().chain(&self.0) {
            let cells: Vec<_> = row.iter().zip(WIDTHS).map(|(cell, width)| wrapped(cell, width)).collect();
            for at in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                let mut line = String::new();
                for (cell, width) in cells.iter().zip(WIDTHS) {
                    line += &format!("{:width$}  ", cell.get(at).map_or("", String::as_str));
                }
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

/// The text in lines of this width; a longer word is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        while !letters.is_empty() {
            let part: String = letters.drain(..letters.len().min(width)).collect();
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + part.chars().count() <= width => *line += &format!(" {part}"),
                _ => lines.push(part),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_stands_first() {
        let mut targets = Targets::default();
        targets.add("binding", "29.1 ns".into(), "<= 35", true);
        targets.add("writing", "2.0".into(), "<= 1.3", false);
        targets.show("loading", "7".into(), "within noise");
        let text = targets.to_string();
        let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["met", "binding", "29.1", "ns", "<=", "35"]);
        assert_eq!(words[2][..3], ["NOT", "met", "writing"]);
        assert_eq!(words[3][..3], ["no", "target", "loading"]);
    }

    #[test]
    fn lines_have_at_most_a_hundred_columns_and_no_blanks_behind() {
        let mut targets = Targets::default();
        let long = "a figure of many words, and one of them is ".to_owned() + &"x".repeat(80);
        targets.add(&long, long.clone(), &long, false);
        for line in targets.to_string().lines() {
            assert!(line.chars().count() <= 100 && line == line.trim_end(), "{line:?}");
        }
        let back: String = wrapped(&long, 15).concat().replace(' ', "");
        assert_eq!(back, long.replace(' ', ""), "nothing is lost");
    }
}
