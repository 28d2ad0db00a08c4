//! What `verify` found, as values to print or to test.

use serde::Serialize;

/// Everything that was found about one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Faults first.
    pub findings: Vec<Finding>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// One thing that is not as it should be, on one or more exchanges or queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether messages suffer.
    pub weight: Severity,
    /// `queue dormouse.v1.due`, `RabbitMQ 3.9.1`, …
    pub objects: Vec<String>,
    /// What is not as it should be: completes "queue … is …".
    pub problem: String,
    /// What it does to messages.
    pub effect: String,
    /// What to do: a command, or a sentence. May be empty.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It loses, delays, duplicates or freezes messages, or can.
    Fault,
    /// Worth knowing, and perhaps meant so.
    Note,
}

impl Verdict {
    /// Whether messages suffer, or can.
    pub fn has_faults(&self) -> bool {
        self.findings.iter().any(|finding| finding.weight == Severity::Fault)
    }
}
