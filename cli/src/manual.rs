//! invar(1), made of what `--help` says: the same words in the language of man(7).

use clap::{Arg, Command};

/// The page of this command and of its commands.
pub fn page(command: &mut Command) -> String {
    command.build();
    let name = command.get_name().to_owned();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let version = command.get_version().unwrap_or_default().to_owned();
    let mut page = format!(".TH {} 1 \"\" \"{name} {version}\" \"User Commands\"\n", name.to_uppercase());
    page +=
        ".\\\" Made of the help of the command: INVAR_TEST_WRITE=1 cargo test -p invar-tool --test documents manual\n";
    // mandb(8) wants a line without a capital letter and a dot.
    let mut letters = about.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_lowercase().to_string()).unwrap_or_default();
    page += &format!(".SH NAME\n{name} \\- {}\n", escaped(&(first + letters.as_str())));

    page += ".SH SYNOPSIS\n";
    page += &usage(command);
    for command in commands(command) {
        page += &format!(".br\n{}", usage(command));
    }
    page += ".SH DESCRIPTION\n";
    page += &paragraphs(&long(command));
    page += ".SH OPTIONS\n";
    page += &options(command, true);
    page += ".SH COMMANDS\n";
    for command in commands(command) {
        page += &format!(".SS {}\n", escaped(command.get_bin_name().unwrap_or_default()));
        page += &paragraphs(&long(command));
        page += &options(command, false);
        page += &after(command);
    }
    page += ".SH EXIT STATUS\n0 if nothing else is said.\n";
    page += &after(command);
    page += ".SH SEE ALSO\n.BR invar (3),\n.BR invar (7)\n";
    page
}

fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// How it is called: the command in bold.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let rest = usage.trim().trim_start_matches("Usage:").trim().trim_start_matches(name).trim();
    let lines = rest.split('\n').map(|line| line.trim().trim_start_matches(name).trim());
    let lines: Vec<_> = lines.map(|line| format!("\\fB{}\\fR {}\n", escaped(name), escaped(line))).collect();
    lines.join(".br\n")
}

fn long(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

fn after(command: &Command) -> String {
    command.get_after_help().map_or(String::new(), |text| format!(".PP\n{}", paragraphs(&text.to_string())))
}

/// A paragraph for each; those of all commands only where `is_whole`.
fn options(command: &Command, is_whole: bool) -> String {
    let shown = |argument: &&Arg| {
        let is_standard = ["help", "version"].contains(&argument.get_id().as_str());
        !argument.is_hide_set() && !is_standard && (is_whole || !argument.is_global_set())
    };
    command.get_arguments().filter(shown).map(option).collect()
}

fn option(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
    let takes = argument.get_action().takes_values();
    let value = if takes { format!("\\fI{}\\fR", escaped(&values.join(" "))) } else { String::new() };
    let mut text = String::from(".TP\n");
    text += &match argument.get_long() {
        Some(name) => format!("\\fB\\-\\-{}\\fR {value}", escaped(name)).trim_end().to_owned(),
        None => value,
    };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    text += &format!("\n{}", joined(&help, ".IP\n"));
    let possible: Vec<_> = if takes { argument.get_possible_values() } else { vec![] };
    let names: Vec<_> =
        possible.iter().filter(|value| !value.is_hide_set()).map(|value| format!("`{}`", value.get_name())).collect();
    if !names.is_empty() {
        text += &paragraph(&format!("One of {}.", names.join(", ")));
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        text += &paragraph(&format!("`{}` if nothing is said.", defaults.join(" ")));
    }
    text
}

/// Text with empty lines between its paragraphs, each of which ends with a dot. What stands between backquotes is bold.
fn paragraphs(text: &str) -> String {
    joined(text, ".PP\n")
}

fn joined(text: &str, between: &str) -> String {
    text.trim().split("\n\n").map(paragraph).collect::<Vec<_>>().join(between)
}

fn paragraph(text: &str) -> String {
    let text = format!("{}.", text.trim().trim_end_matches('.'));
    let lines = text.lines().map(|line| {
        let parts = line.trim().split('`').enumerate();
        let line: String = parts
            .map(|(at, part)| if at % 2 == 1 { format!("\\fB{}\\fR", escaped(part)) } else { escaped(part) })
            .collect();
        // A line that begins so would be a request.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        format!("{guard}{line}\n")
    });
    lines.collect()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
