//! Colours of what is written for people. They are always written; [`anstream`] takes them out again where nobody wants them.

use anstyle::{AnsiColor, Style};

/// A heading.
pub const HEADING: Style = Style::new().bold();
/// What is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What is missing, or slower than it could be.
pub const POOR: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// What goes away again.
pub const FAINT: Style = Style::new().dimmed();

/// A text in this style.
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
