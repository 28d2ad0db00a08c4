//! Rows for people: aligned columns, at most 80 wide, and JSON for programs.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use serde::Serialize;

use super::Failure;
use crate::config::durations;
pub use crate::config::text::COLUMNS;

/// Between two columns.
const GAP: &str = "  ";

/// What a column that gives way keeps at least.
const NARROWEST: usize = 8;

/// Stands for what does not fit.
const CUT: char = '…';

/// Columns and rows. Displays a heading and then one row a line, without a line break at the end.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    side: Side,
    /// Whether it is cut when a row would be too wide.
    gives_way: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// A column of words, never cut.
pub fn left(title: &'static str) -> Column {
    Column { title, side: Side::Left, gives_way: false }
}

/// A column of numbers, never cut.
pub fn right(title: &'static str) -> Column {
    Column { title, side: Side::Right, gives_way: false }
}

/// A column of names, cut when a row would be too wide.
pub fn wide(title: &'static str) -> Column {
    Column { title, side: Side::Left, gives_way: true }
}

impl Table {
    pub fn new<const N: usize>(columns: [Column; N]) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column. Names come from strangers, so control characters are
    /// shown and not obeyed.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.map(|cell| printable(&cell)).into());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().map(move |row| width(&row[column]));
        let columns = self.columns.iter().enumerate();
        let mut widths: Vec<usize> = columns
            .map(|(at, column)| cells(at).max().unwrap_or(0).max(width(column.title)))
            .collect();
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(COLUMNS);
        while excess > 0 {
            let wide = (0..widths.len())
                .filter(|at| self.columns[*at].gives_way && widths[*at] > NARROWEST);
            let Some(widest) = wide.max_by_key(|at| widths[*at]) else { break };
            widths[widest] -= 1;
            excess -= 1;
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((cell, column), width) in cells.zip(&self.columns).zip(&widths) {
                let cell = cut(cell, *width);
                let pad = " ".repeat(width.saturating_sub(self::width(&cell)));
                match column.side {
                    Side::Left => line.extend([cell.as_str(), &pad, GAP]),
                    Side::Right => line.extend([pad.as_str(), &cell, GAP]),
                }
            }
            f.write_str(line.trim_end())
        };
        line(f, &mut self.columns.iter().map(|column| column.title))?;
        for row in &self.rows {
            f.write_str("\n")?;
            line(f, &mut row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

/// Names and values below one another, indented; long values are not cut.
pub fn facts(facts: &[(&str, String)]) -> String {
    let widest = facts.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let pad = " ".repeat(widest - width(name));
        format!("{name}{pad}{GAP}{}", printable(value)).trim_end().to_owned()
    };
    facts.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints to standard output. A reader that has seen enough, such as `head`, is no failure.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot print: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints one document.
pub fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document);
    print(json.map_err(|error| Failure::failed(error.to_string()))?)
}

/// How long ago, with the two largest units: `3d4h`, `12s`; below a second `0s`.
pub fn age(of: Duration) -> String {
    const STEPS_S: [u64; 4] = [24 * 3600, 3600, 60, 1];
    let seconds = of.as_secs();
    let largest = STEPS_S.iter().position(|step| seconds >= *step).unwrap_or(3);
    let finest = STEPS_S[(largest + 1).min(3)];
    durations::duration(Duration::from_secs(seconds - seconds % finest))
}

/// The text with control characters written out, so that a name can neither break a line nor steer
/// the terminal.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidirectional(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
    }
    shown
}

/// Characters that turn the direction of what follows them on the line.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn cut(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    text.chars().take(to.saturating_sub(1)).chain([CUT]).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::number;

    #[test]
    fn a_row_is_aligned_and_never_wider_than_a_terminal() {
        let mut table = Table::new([left("id"), right("ready"), wide("exchange"), wide("key")]);
        table.row(["a1".into(), number(1_234_567), "orders".into(), "k".repeat(200)]);
        table.row(["b\x1b[2J".into(), number(0), "e".repeat(30), "\n".into()]);
        let shown = table.to_string();
        assert!(shown.lines().all(|line| width(line) <= COLUMNS), "{shown}");
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains("\\u{1b}[2J"), "{shown}");
        let at = shown.lines().next().unwrap().find("exchange").unwrap();
        assert!(shown.lines().nth(1).unwrap()[at..].starts_with("orders"), "{shown}");
        assert!(shown.lines().nth(1).unwrap()[..at].ends_with("1,234,567  "), "{shown}");
    }

    #[test]
    fn ages_are_short() {
        let ages_s = [0, 59, 61, 3_599, 3_600, 90_061].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages_s, ["0s", "59s", "1m1s", "59m59s", "1h", "1d1h"]);
    }
}
