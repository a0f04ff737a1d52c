//! Tables for people, lines of JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use super::Failure;

/// How a command answers on standard output.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON object a line, nothing else.
    Json,
}

/// Whether standard output may carry colours and move the cursor: a terminal, and nobody objects.
pub(super) fn coloured() -> bool {
    std::io::stdout().is_terminal() && !is_plain()
}

/// The same for standard error.
pub(super) fn errors_are_coloured() -> bool {
    std::io::stderr().is_terminal() && !is_plain()
}

/// Whether the user objects to colours (no-color.org), or the terminal knows none.
pub(super) fn is_plain() -> bool {
    let objects = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    objects || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Says on standard error what the user should know though the command goes on.
pub(super) fn warn(what: &str) {
    let (on, off) = if errors_are_coloured() { ("\x1b[1;33m", "\x1b[0m") } else { ("", "") };
    // If it cannot be said there is nobody to say that to.
    let _ = writeln!(std::io::stderr().lock(), "{on}warning:{off} {what}");
}

/// A table without lines, so that it can be cut and grepped.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let colours = coloured();
    table.set_header(header.iter().map(|name| {
        let cell = Cell::new(name);
        if colours { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    table
}

/// A cell whose colour says whether it is good news.
pub(super) fn verdict(text: &str, good: bool) -> Cell {
    let cell = Cell::new(text);
    if coloured() { cell.fg(if good { Color::Green } else { Color::Red }) } else { cell }
}

/// Writes a table, or a list of names and values.
pub(super) fn print_table(table: &Table) -> Result<(), Failure> {
    print_line(&table.trim_fmt())
}

/// Writes one object on one line.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print_line(&value.to_string())
}

/// Writes a line. A reader that went away is no error: it has what it wanted.
pub(super) fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(&error)),
        _ => Ok(()),
    }
}

/// Writes bytes as a line. A reader that went away is no error.
pub(super) fn print_bytes_line(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.write_all(b"\n"));
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(&error)),
        _ => Ok(()),
    }
}

/// Standard output does not take what was written.
pub(super) fn unwritable(error: &std::io::Error) -> Failure {
    Failure::new(
        format!("standard output cannot be written: {error}"),
        "check the disk or the program reading it",
    )
}
