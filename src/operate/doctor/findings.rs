//! In: what `verify` found. Out: which question each finding answers, so that none is told twice. Pure.

use crate::topology::Names;
use crate::topology::finding::{Finding, Severity, Verdict};

use super::check::{Check, Question};
use crate::operate::amount::first_of;
use crate::operate::count;

/// The question that a finding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Topology,
    /// Who consumes: AMQP tells it at once, and the management API some seconds later.
    Workers,
    FailedSends,
    TargetsDeadLetters,
    Replicas,
    Persistence,
    ConsumerTimeout,
    Permissions,
}

/// Of `verify`'s own words.
pub fn about(finding: &Finding, names: &Names) -> About {
    let Finding { objects, problem, .. } = finding;
    let says = |words: &str| problem.contains(words);
    let is_of = |name: &str| objects.iter().any(|object| object.split(' ').nth(1) == Some(name));
    let of_user = ["may not configure it", "may not write it", "may not read it"];
    if of_user.into_iter().any(says) || objects.iter().any(|object| object == "the worker's user") {
        About::Permissions
    } else if says("is read by no worker") {
        About::Workers
    } else if says("replicas") {
        About::Replicas
    } else if says("consumer-timeout") {
        About::ConsumerTimeout
    } else if problem.starts_with("dead-letters to") {
        About::TargetsDeadLetters
    } else if objects.iter().any(|object| object.starts_with("feature flag"))
        || ["x-dead-letter-strategy", "x-queue-type", "overflow"].iter().any(|key| says(key))
    {
        About::Persistence
    } else if is_of(&names.dlq()) || is_of(&names.parking()) {
        About::FailedSends
    } else {
        About::Topology
    }
}

/// What of a verdict is about one thing.
#[derive(Debug, Default)]
pub struct Told<'a> {
    pub findings: Vec<&'a Finding>,
}

impl<'a> Told<'a> {
    pub fn of(verdict: &'a Verdict, names: &Names, what: About) -> Self {
        let findings = verdict.findings.iter().filter(|finding| about(finding, names) == what);
        Self { findings: findings.collect() }
    }

    /// The answer to a question if there is a finding: the gravest, and how many more.
    pub fn answer(&self, question: Question) -> Option<Check> {
        let first = self.findings.iter().min_by_key(|finding| finding.weight)?;
        let Finding { weight, objects, problem, effect, remedy } = first;
        let mut evidence = format!("{}: {problem}, so {effect}", first_of(objects));
        if let Some(more) = self.findings.len().checked_sub(1).filter(|more| *more > 0) {
            let more = count(more as u64, "finding");
            evidence
                .push_str(&format!("; and {more} more, which `dormouse topology verify` tells"));
        }
        let remedy = if remedy.is_empty() { "dormouse topology verify" } else { remedy };
        Some(match weight {
            Severity::Fault => question.fail(evidence, remedy),
            Severity::Note => question.warn(evidence, remedy),
        })
    }
}
