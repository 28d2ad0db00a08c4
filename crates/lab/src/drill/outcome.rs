//! What came of a drill, in sentences.

use std::fmt;

use super::check::Verdict;
use super::error::DrillError;
use super::keyed::run::KeyRun;
use super::run::Run;
use crate::dev::WorkerProcess;

/// What came of a drill.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Faults that were made.
    pub faults: u32,
    /// Expectations of the drill's own that were not met.
    pub findings: Vec<Finding>,
    /// What is worth knowing, and was measured.
    pub notes: Vec<String>,
}

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding(pub String);

impl Outcome {
    /// Nothing that must never be, and something to judge: a load that a fault held up as a whole shows
    /// nothing about lateness, but what has a key is judged all the same.
    pub fn passed(&self) -> bool {
        let judged = !self.verdict.lateness_ms.is_empty() || self.verdict.keys.delivered > 0;
        let proves = self.verdict.expected > 0 && judged;
        self.verdict.is_clean() && proves && self.findings.is_empty()
    }

    /// What came of it in sentences, the last ones what should not be.
    pub fn words(&self) -> Vec<String> {
        let (verdict, twice) = (&self.verdict, self.verdict.duplicates);
        let mut words = vec![format!(
            "{} messages, {} faults; late by {} ms (median), by {} ms at most",
            verdict.confirmed,
            self.faults,
            verdict.lateness_ms(0.5),
            verdict.lateness_ms(1.0)
        )];
        if twice.total() > 0 {
            words.push(format!(
                "twice: {} by a worker's delivery, {} by its intake, {} by the drill's publisher, \
                 {} by its consumer",
                twice.by_delivery, twice.by_intake, twice.by_publisher, twice.by_consumer
            ));
        }
        if verdict.held_up > 0 {
            words.push(format!("{} late while a fault was in force", verdict.held_up));
        }
        if verdict.keys.schedules > 0 {
            words.extend(verdict.keys.words());
        }
        words.extend(self.notes.iter().cloned());
        words.extend(self.findings.iter().map(|finding| finding.0.clone()));
        words.extend(verdict.findings.iter().chain(&verdict.keys.findings).cloned());
        words
    }

    /// The end of a load and of what is done with keys beside it. No command of a plan is to be refused.
    pub(super) async fn judge(&mut self, run: Run, keyed: KeyRun) -> Result<(), DrillError> {
        let keys = keyed.end().await;
        let mut verdict = run.end().await?;
        self.expect(keys.refused == 0, || Finding::new("commands refused", keys.refused));
        self.expect(keys.stopped > 0 && keys.delivered > 0, || {
            Finding::new("nothing was stopped, or nothing delivered", keys.stopped)
        });
        verdict.keys = keys;
        self.verdict.add(verdict);
        Ok(())
    }

    pub(super) fn expect(&mut self, met: bool, finding: impl FnOnce() -> Finding) {
        if !met {
            self.findings.push(finding());
        }
    }

    /// What the workers themselves say of `dormouse_early_total`.
    pub(super) async fn expect_never_early(&mut self, hands: &[WorkerProcess]) {
        for hand in hands {
            let early = hand.metric("dormouse_early_total").await;
            self.expect(early == Some(0.0), || {
                Finding::new("dormouse_early_total", format!("{early:?}"))
            });
        }
    }
}

impl Finding {
    pub(super) fn new(what: &str, value: impl fmt::Display) -> Self {
        Self(format!("{what}: {value}"))
    }
}
