//! In: words of somebody else. Out: the same, fit for one line of a fault or of TOML.

use std::fmt::Write;

/// The longest value shown in full.
const SHOWN: usize = 50;

/// At most [`SHOWN`] characters and a mark that there was more.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The last line says what is wrong; those before draw a picture.
pub fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").into()
}

/// A TOML array on one line.
pub fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // also what would turn the line around or be invisible
            c if c != '\'' && c.escape_debug().count() > 1 => {
                let _ = write!(quoted, "\\U{:08X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
