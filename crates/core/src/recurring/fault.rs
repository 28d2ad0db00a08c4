//! What is wrong with a schedule. Pure.

/// One field that cannot be so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value:?} {right}")]
pub struct Fault {
    /// As users write it, with its section: `misfire.grace`.
    pub field: &'static str,
    /// As it was given, shortened.
    pub value: String,
    /// What is wrong with it, and what would be right; the end of a sentence that begins with field and value.
    pub right: String,
}

/// Characters of a value that are told back.
const LONGEST_TOLD: usize = 80;

impl Fault {
    /// A value that cannot be so.
    pub fn new(field: &'static str, value: impl AsRef<str>, right: impl Into<String>) -> Self {
        let value = value.as_ref();
        let mut told: String = value.chars().take(LONGEST_TOLD).collect();
        if told.len() < value.len() {
            told.push('…');
        }
        Self { field, value: told, right: right.into() }
    }
}

/// All of them in one sentence each.
pub fn in_words(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
