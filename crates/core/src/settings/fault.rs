//! In: what was found wrong. Out: one line a fault that reads alone: key, value, origin, remedy.

use std::fmt;

use super::text::fold;

/// One thing wrong with the configuration, safe to print: secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key; for what belongs to no key, the file or the variable.
    pub key: String,
    /// The value at fault, as TOML writes it, cut to a readable length.
    pub value: Option<String>,
    /// The file, the variable, `command line` or `default`; unknown for a [`Config`](super::Config)
    /// that was not loaded.
    pub origin: Option<String>,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Every fault of a configuration, at least one. Displays a heading and then one fault a line,
/// folded at 80 columns with a deeper indent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(Vec<Fault>);

impl ConfigFaults {
    /// `faults` has at least one.
    pub fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// One by one, in the order in which they are shown.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }
}

impl std::error::Error for ConfigFaults {}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has 1 fault:")?,
            count => write!(f, "the configuration has {count} faults:")?,
        }
        for fault in &self.0 {
            write!(f, "\n{}", fold(&fault.to_string(), "  ", "      "))?;
        }
        Ok(())
    }
}

/// The candidate that was probably meant: the same last word in another section, or few letters off.
pub fn closest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > 100 {
        return None;
    }
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    candidates
        .map(|candidate| {
            let letters = strsim::levenshtein(typed, candidate);
            let distance = if last(typed) == last(candidate) { letters.min(1) } else { letters };
            (distance, letters, candidate)
        })
        .filter(|(distance, _, candidate)| *distance <= candidate.len() / 4 + 1)
        .min()
        .map(|(_, _, candidate)| candidate)
}
