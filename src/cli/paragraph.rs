//! Sentences for a terminal of 80 columns.

use crate::config::text;

/// Sentences broken at [`text::COLUMNS`], later lines indented by `indent`.
pub fn fold(text: &str, indent: usize) -> String {
    paragraph("", text, indent)
}

/// A label and sentences beside it, broken at [`text::COLUMNS`], later lines indented by `indent`.
pub fn paragraph(label: &str, text: &str, indent: usize) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    text::fold(&words.join(" "), label, &" ".repeat(indent))
}
